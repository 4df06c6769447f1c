"""Ask whoever is at the terminal before something is done that cannot be undone."""

from __future__ import annotations

import sys


def agreed(question: str) -> bool:
    """Ask at the terminal; nobody who could answer says no."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        return False


def somebody_is_there() -> bool:
    """Tell whether there is a terminal at which somebody could be asked."""
    return sys.stdin is not None and sys.stdin.isatty()
