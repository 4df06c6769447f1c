"""The one place that draws random numbers: for ids, marks, and waits that must not coincide.

Called as `chance.digits(…)` and never bound by name, so that a test kit can stand in for it. From
the operating system: `random` would be one more import in the trouble, and a fork would copy it.
"""

from __future__ import annotations

import os

# By process, so that no child of a fork, not even of one in C, draws what its parent does.
_drawn: dict[int, list[str]] = {}
_EACH = 8  # bytes; most ids take so many
_POOL = 128 * _EACH  # bytes that are drawn at once: to ask the system costs 1 to 2 µs
if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_drawn.clear)


def digits(count: int) -> str:
    """Draw so many random bytes, as hexadecimal digits."""
    if count != _EACH:
        return os.urandom(count).hex()
    pool = _drawn.setdefault(os.getpid(), [])
    while True:
        try:
            return pool.pop()
        except IndexError:
            text = os.urandom(_POOL).hex()
            pool += [text[i : i + 2 * _EACH] for i in range(0, len(text), 2 * _EACH)]


def fraction() -> float:
    """Draw a number in [0, 1)."""
    return int.from_bytes(os.urandom(6)) / (1 << 48)


def number() -> int:
    """Draw a whole number from 1 to 2⁶³ - 1."""
    return (int.from_bytes(os.urandom(8)) >> 1) or 1
