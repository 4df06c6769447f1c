"""How names and errors are written in what people read."""

from __future__ import annotations

from collections.abc import Callable

from py_api_saga.interrupts import is_limit


def as_text(error: object, how: Callable[[object], str] = repr) -> str:
    """Write an error down, also one whose own `str` or `repr` raises."""
    try:
        return how(error)
    except Exception as raised:  # the user's method may raise anything
        if is_limit(raised):
            raise
        return f"<{type(error).__name__}, which cannot be printed>"


def in_line(text: str) -> str:
    """Write a name so that it stays in its line, whatever characters it is made of."""
    return text if text.isprintable() else repr(text)[1:-1]
