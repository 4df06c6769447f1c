"""The operation that is running, as the code it calls sees it."""

from __future__ import annotations

from contextvars import ContextVar

from py_api_saga import clock
from py_api_saga.calls import IS_ASYNC
from py_api_saga.entries import ACTION, COMPENSATION, attempt_of, index_of, kind_of
from py_api_saga.executors.calling import call_of
from py_api_saga.status import MISSING

TYPE_CHECKING = False  # as in `typing`, which takes 7 ms to import
if TYPE_CHECKING:
    from typing import Any, Self

    from py_api_saga.entries import Entry
    from py_api_saga.executors.run import Run
    from py_api_saga.operating import Direction, Where

# The run whose call is made in the thread that wanted another one, since there was none to be had.
at_home: ContextVar[Run | None] = ContextVar("py_api_saga_at_home", default=None)


class Request:
    """A request that may have been sent, as the user's code notes it: a `Sending`."""

    __slots__ = ("_notes",)

    def __init__(self, notes: set[object]) -> None:
        """Belong to an attempt, of which these are the notes."""
        self._notes = notes

    def __enter__(self) -> Self:
        self._notes.add(self)
        return self

    def __exit__(self, *_: object) -> None: ...

    def refused(self) -> None:
        self._notes.discard(self)


class Running:
    """The operation that is running, as the user's code sees it: a `CurrentOperation`."""

    __slots__ = ("intent", "run", "until")

    def __init__(self, run: Run, intent: Entry, until: float | None) -> None:
        """Speak of a call of a run, whose time is up then, on the monotonic clock."""
        self.run, self.intent, self.until = run, intent, until

    @property
    def saga_id(self) -> str:
        return self.run.saga_id

    @property
    def saga_name(self) -> str | None:
        return self.run.name

    @property
    def operation(self) -> str:
        return self.run.name_of(index_of(self.intent))

    @property
    def direction(self) -> Direction:
        kind: Any = kind_of(self.intent)  # one of three words, though an entry says any
        direction: Direction = kind
        return direction

    @property
    def attempt(self) -> int:
        _, _, attempt, _ = attempt_of(self.intent)
        return attempt

    @property
    def idempotency_key(self) -> str:
        i, kind, _, generation = attempt_of(self.intent)
        if kind != COMPENSATION:
            return self.action_key
        return self.run.key(i, kind, generation)

    @property
    def action_key(self) -> str:
        i = index_of(self.intent)
        return self.run.key(i, ACTION, self.run.execution.generation(i, ACTION))

    @property
    def results(self) -> dict[str, Any]:
        names, results = self.run.definition.names.all(), self.run.execution.results
        known = zip(names, results, strict=False)  # the saga may have grown since
        return {name: result for name, result in known if result is not MISSING}

    @property
    def where(self) -> Where:
        i, kind, _, _ = attempt_of(self.intent)
        if call_of(self.run.operations[i], kind)[IS_ASYNC]:
            return "loop"
        if at_home.get() is self.run:
            return "caller"
        return "caller" if self.until is None and not self.run.is_elsewhere else "thread"

    def remaining(self) -> float | None:
        limits = [] if self.until is None else [self.until]
        run = self.run
        is_limited = kind_of(self.intent) == ACTION and not run.execution.passed
        if is_limited and run.deadline is not None:  # not undoing, nor what must go forward
            limits.append(run.deadline)
        return max(0.0, min(limits) - clock.monotonic()) if limits else None

    def sending(self) -> Request:
        return Request(self.run.notes_of(self.intent))
