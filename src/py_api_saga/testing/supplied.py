"""An operation to be in, and a choreography in one thread: supplied by a test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from py_api_saga import clock
from py_api_saga.current import CurrentOperation, Direction, Where, current
from py_api_saga.definition import Names
from py_api_saga.entries import Entry, started
from py_api_saga.executors.driving import IN_LINE, standing_in
from py_api_saga.executors.running import Notes, Running
from py_api_saga.operation import Operation

__all__ = ["inline_choreography", "operation"]


@dataclass(frozen=True, slots=True)
class _Supplied:
    """The run that a test has its operation in, made of what it says: a `SeenRun`."""

    saga_id: str
    name: str | None
    operation: str
    keys: tuple[str, str]  # of the call, and of its action
    given: Mapping[str, Any]  # by name: results
    left: float | None
    place: Where
    began: float = field(default_factory=lambda: clock.time())  # noqa: PLW0108 - by name: see `clock`
    notes: Notes = field(default_factory=Notes)  # of requests; nobody asks for them here

    @property
    def operations(self) -> tuple[Operation, ...]:
        return ()

    @property
    def names(self) -> Names:
        return Names.of(self.given)

    @property
    def results(self) -> tuple[Any, ...]:
        return tuple(self.given.values())

    @property
    def values(self) -> tuple[Any, ...]:
        return ()

    @property
    def scribe(self) -> None:
        return None

    def name_of(self, _: int) -> str:
        return self.operation

    def known(self) -> dict[str, Any]:
        return dict(self.given)

    def key_of(self, _: Entry) -> str:
        key, _action = self.keys
        return key

    def action_key(self, _: int) -> str:
        _key, action = self.keys
        return action

    def remaining(self, _: str, __: float | None) -> float | None:
        return self.left

    def where(self, _: int, __: str, ___: float | None) -> Where:
        return self.place

    def notes_of(self, _: Entry) -> Notes:
        return self.notes

    def origin(self, _: int) -> tuple[str, float]:
        _key, action = self.keys
        return action, self.began


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
    where: Where = "caller",
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
        where: "caller", "loop" or "thread".
    """
    action = action_key
    if action is None:
        asked = idempotency_key if direction != "compensation" else None
        action = asked or f"{saga_id}:{name}:action"
    key = idempotency_key
    if key is None:
        key = action if direction != "compensation" else f"{saga_id}:{name}:compensation"
    supplied = _Supplied(
        saga_id, saga_name, name, (key, action), dict(results or {}), remaining, where
    )
    intent = started(0, direction, attempt, 1)
    token = current.set((Running, supplied, intent, None))
    try:
        yield Running(supplied, intent, None)
    finally:
        current.reset(token)


@contextmanager
def inline_choreography() -> Iterator[None]:
    """Have sagas make their calls one after the other, in the caller's thread, in a `with` block.

    Calls that are ready at once are made in the order of their declaration, and undone in the
    reverse one. So a choreography sees the transaction that a test is in, such as that of Django's
    `TestCase`. Under asyncio coroutine functions are awaited one after the other in the caller's
    task, and plain functions are called in the thread of the loop. A plain function with a
    `timeout=` still has a thread of its own.

    It holds in this context and in copies of it, not in threads that the block starts otherwise.
    """
    with standing_in(IN_LINE):
        yield
