"""The operation that is running, as the code it calls sees it; and what it sees of its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, Self

from py_api_saga.current import Around, Direction, Where
from py_api_saga.definition import Definition, Names
from py_api_saga.entries import Entry, attempt_of, index_of, kind_of
from py_api_saga.executors.passage import Passage
from py_api_saga.operation import Later, Operation


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
        scribe: What writes values as texts for this run, or None if nothing of it is written.
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
    @property
    def scribe(self) -> Any: ...

    def name_of(self, i: int) -> str:
        """Give the name of an operation."""

    def known(self) -> Mapping[str, Any]:
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


if TYPE_CHECKING:

    class AskedRun(SeenRun, Protocol):
        """What whoever makes a call asks of the run that it belongs to, and tells it.

        A `Run` is one, of which these are the hot path; and the stand-in for it where a call is
        made elsewhere.

        Attributes:
            definition: Of the saga.
            operations: Of the saga, inside of what is around its calls.
            around: What that is.
            passages: By attempt that has not ended well, how far it has come through that; None if
                nothing is around its calls.
            is_elsewhere: Its plain functions are called in threads of ours.
            keeps_time: It is to know when its calls begin, and how long they take: see `begins`.
            notes: By attempt, what its code has noted of requests, or None.
            gate: What each call has to pass (`executors.around.Gate`), or None.
        """

        operations: tuple[Operation, ...]
        around: Sequence[Around]
        passages: dict[Entry, Passage] | None

        @property
        def definition(self) -> Definition: ...
        @property
        def is_elsewhere(self) -> bool: ...
        @property
        def keeps_time(self) -> bool: ...
        @property
        def notes(self) -> object: ...
        @property
        def gate(self) -> Any: ...

        def begins(self) -> Any:
            """Note that a call begins, just now, and give what `ended` takes."""

        def begins_anew(self, intent: Entry) -> None:
            """Note that a call which was held up begins just now."""

        def ended(self, intent: Entry, began: Any) -> None:
            """Note that a call has ended, just now, however that was; from any thread."""

        def begun(self, intent: Entry, later: Later) -> Entry:
            """Say of a call that returned `later(…)` what it waits for.

            Raises:
                LaterError: Nobody can answer, or not with such a result.
            """

        def since_first(self, i: int, kind: str, now: float) -> float:
            """Give the seconds since the first attempt of a call; the first to ask makes it."""

        def has_noted(self, intent: Entry) -> bool:
            """Tell whether an attempt has noted a request that was not refused."""

        def passage_of(self, intent: Entry) -> Passage | None:
            """Give how far an attempt has come that did not end well, and forget it."""

        def lacks(self, error: BaseException) -> BaseException | None:
            """Give what says in an error that this process is not set up for a call, or None."""

        def open_inbox(self) -> object:
            """Let other threads tell the run something."""

        def land(self, entry: Entry) -> None:
            """Tell, from its own thread, what became of a call that was given up."""

        def stop(self, interrupt: BaseException) -> None:
            """Take in an interrupt that has struck while a call was waited for."""

        def check_goes(self, interrupt: BaseException) -> None:
            """Raise what has struck before a call was made if nothing is to be decided."""

        def fate_of(self, interrupt: BaseException, intent: Entry) -> Entry:
            """Say what came of a call around which an interrupt has struck."""


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
    def results(self) -> Mapping[str, Any]:
        return self.run.known()

    @property
    def where(self) -> Where:
        i, kind, _, _ = attempt_of(self.intent)
        return self.run.where(i, kind, self.until)

    def remaining(self) -> float | None:
        return self.run.remaining(kind_of(self.intent), self.until)

    def sending(self) -> Request:
        return Request(self.run.notes_of(self.intent))
