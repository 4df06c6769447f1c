"""Operations that the golden journals name. What is here may grow, and never change."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from py_api_saga import NOT_HAPPENED, SagaAssembler, current_operation, later

broken: set[str] = set()  # names whose calls fail
keys: list[str] = []  # of the calls that were made


class Size(Enum):
    """An argument that is a member of an Enum."""

    SMALL = "s"


@dataclass(frozen=True)
class Parcel:
    """An argument, and a result, that is a dataclass."""

    number: int
    size: Size


def do(name: str, *values: Any, **named: Any) -> Any:
    """Succeed with what was given, or fail."""
    keys.append(current_operation().idempotency_key)
    if name in broken:
        raise ValueError(f"{name} is broken")
    return named or (values[0] if len(values) == 1 else values) or name


def begin(name: str, until: float | None = None) -> Any:
    """Begin what is answered later, or is over by itself at some time."""
    keys.append(current_operation().idempotency_key)
    return later(timeout=None) if until is None else later(until=until, result=name)


def undo(name: str, *_: Any, **__: Any) -> str:
    """Undo, or fail."""
    keys.append(current_operation().idempotency_key)
    if f"undo {name}" in broken:
        raise OSError(f"undo {name} is broken")
    return f"{name} undone"


def ask(*_: Any, **__: Any) -> Any:
    """Say that it has not happened."""
    return NOT_HAPPENED


def is_busy(error: Exception) -> bool:
    """Tell whether it is worth another attempt."""
    return "busy" in str(error)


def pair(**options: Any) -> SagaAssembler:
    """Make a saga of two operations."""
    return (
        SagaAssembler.saga(name="pair", max_doubt_age=1e9, **options)
        .operation((do, "a", 1), (undo, "a"), name="a")
        .operation((do, "b", 2), (undo, "b"), name="b")
    )


def waiting(until: float | None = None) -> SagaAssembler:
    """Make a saga of two operations, the second of which waits."""
    return (
        SagaAssembler.saga(name="waiting", max_doubt_age=1e9)
        .operation((do, "a", 1), (undo, "a"), name="a")
        .operation((begin, "b", until), (undo, "b"), name="b")
    )
