"""The operation that is running, as the code it calls sees it; and what it sees of its run."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Protocol, Self

from py_api_saga.current import Direction, Where
from py_api_saga.definition import Names
from py_api_saga.entries import Entry, attempt_of, index_of, kind_of
from py_api_saga.operation import Operation


class SeenRun(Protocol):
    """What a call sees of the run that it belongs to.

    A `Run` is one. So is whatever stands in for it where calls are made elsewhere: in the worker of
    an engine, or in a unit test.

    Attributes:
        saga_id: Its id.
        name: Of the saga, or None.
        operations: Of the saga.
        names: Theirs.
        results: By operation; MISSING if there is none.
        values: What the run was given.
    """

    @property
    def saga_id(self) -> str: ...
    @property
    def name(self) -> str | None: ...
    @property
    def operations(self) -> Sequence[Operation]: ...
    @property
    def names(self) -> Names: ...
    @property
    def results(self) -> Sequence[Any]: ...
    @property
    def values(self) -> tuple[Any, ...]: ...

    def name_of(self, i: int) -> str:
        """Give the name of an operation."""

    def known(self) -> dict[str, Any]:
        """Give the results so far, by the names of their operations."""

    def key_of(self, intent: Entry) -> str:
        """Give the idempotency key of a call."""

    def action_key(self, i: int) -> str:
        """Give the idempotency key of an operation's action, as it is now."""

    def remaining(self, kind: str, until: float | None) -> float | None:
        """Give the seconds that are left for a call of a kind, whose own time is up then."""

    def where(self, i: int, kind: str, until: float | None) -> Where:
        """Tell where a call is made, which has a time limit of its own or not."""

    def notes_of(self, intent: Entry) -> Notes:
        """Give what an attempt has noted of requests that it may have sent."""

    def origin(self, i: int) -> tuple[str, float]:
        """Give the first key of an operation's action, and when it was used first.

        That is a time (seconds since 1970) before which nothing was sent under it.
        """


# The run whose call is made in the thread that wanted another one, since there was none to be had.
at_home: ContextVar[SeenRun | None] = ContextVar("py_api_saga_at_home", default=None)


class Notes(set[object]):
    """What an attempt has noted: its requests that may have been sent, and were not refused.

    Attributes:
        numbers: How many requests were numbered; by the name that they have, or an empty one.
        under_way: The names of those that have no answer yet.
    """

    __slots__ = ("numbers", "under_way")

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self.numbers: dict[str, int] = {}
        self.under_way: set[str] = set()


class Noted(dict[Entry, Notes]):
    """What the attempts of a run have noted.

    Attributes:
        since: By operation, when its action noted its first request, seconds since 1970.
    """

    __slots__ = ("since",)

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self.since: dict[int, float] = {}


class Request:
    """A request that may have been sent, as the user's code notes it: a `Sending`."""

    __slots__ = ("_notes",)

    def __init__(self, notes: Notes) -> None:
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

    def __init__(self, run: SeenRun, intent: Entry, until: float | None) -> None:
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
        return self.run.key_of(self.intent)

    @property
    def action_key(self) -> str:
        return self.run.action_key(index_of(self.intent))

    @property
    def results(self) -> dict[str, Any]:
        return self.run.known()

    @property
    def where(self) -> Where:
        i, kind, _, _ = attempt_of(self.intent)
        return self.run.where(i, kind, self.until)

    def remaining(self) -> float | None:
        return self.run.remaining(kind_of(self.intent), self.until)

    def sending(self) -> Request:
        return Request(self.run.notes_of(self.intent))
