"""The one place that draws random numbers: for ids, marks, and waits that must not coincide.

Called as `chance.digits(…)` and never bound by name, so that a test kit can stand in for it. From
the operating system: `random` would be one more import in the trouble, and a fork would copy it.
"""

from __future__ import annotations

import os


def digits(count: int) -> str:
    """Draw so many random bytes, as hexadecimal digits."""
    return os.urandom(count).hex()


def fraction() -> float:
    """Draw a number in [0, 1)."""
    return int.from_bytes(os.urandom(6)) / (1 << 48)


def number() -> int:
    """Draw a whole number from 1 to 2⁶³ - 1."""
    return (int.from_bytes(os.urandom(8)) >> 1) or 1
