"""Operations of `waiting.py` whose names say little, so that what is counted is the library's."""

from __future__ import annotations


def do(x: int) -> dict[str, int]:
    """Stand for an action."""
    return {"id": x}


def wait(x: int) -> object:  # noqa: ARG001 - as the other one
    """Stand for one whose answer comes within two days."""
    from py_api_saga import later  # noqa: PLC0415 - of the tree that is measured

    return later(timeout=2 * 86_400)


def undo(x: int) -> None:
    """Stand for a compensation."""
