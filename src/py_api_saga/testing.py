"""What tests of sagas need: an operation to be in, without a saga around it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from py_api_saga.context import current

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from py_api_saga.operating import CurrentOperation, Direction, Sending

__all__ = ["operation"]


@dataclass(frozen=True, slots=True)
class _Supplied:
    """A `CurrentOperation` made of what a test says."""

    saga_id: str
    saga_name: str | None
    operation: str
    direction: Direction
    attempt: int
    idempotency_key: str
    action_key: str
    results: Mapping[str, Any] = field(default_factory=dict)
    left: float | None = None
    notes: set[object] = field(default_factory=set)  # of requests; nobody asks for them here

    def remaining(self) -> float | None:
        return self.left

    def sending(self) -> Sending:
        from py_api_saga.executors.running import Request  # noqa: PLC0415 - few tests send

        return Request(self.notes)


@contextmanager
def operation(
    *,
    name: str = "operation",
    saga_id: str = "test",
    saga_name: str | None = None,
    direction: Direction = "action",
    attempt: int = 1,
    idempotency_key: str | None = None,
    action_key: str | None = None,
    results: Mapping[str, Any] | None = None,
    remaining: float | None = None,
) -> Iterator[CurrentOperation]:
    """Supply what `current_operation()` gives, for the time of a `with` block.

    Args:
        name: What `current_operation().operation` is to be.
        saga_id: The id of the run.
        saga_name: The name of the saga.
        direction: "action", "compensation" or "ask".
        attempt: The number of the attempt, from 1.
        idempotency_key: By default `saga_id:name:direction`, as in a real run.
        action_key: By default `saga_id:name:action`.
        results: The results so far, name to result.
        remaining: Seconds that are left, or None.
    """
    action = action_key
    if action is None:
        asked = idempotency_key if direction != "compensation" else None
        action = asked or f"{saga_id}:{name}:action"
    key = idempotency_key
    if key is None:
        key = action if direction != "compensation" else f"{saga_id}:{name}:compensation"
    supplied = _Supplied(
        saga_id, saga_name, name, direction, attempt, key, action, dict(results or {}), remaining
    )
    token = current.set((lambda *_: supplied, None, None, None))
    try:
        yield supplied
    finally:
        current.reset(token)
