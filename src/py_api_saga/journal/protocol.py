"""What a journal is: a place for the entries of sagas, and for who drives each of them.

A saga in a journal is a summary, found by its id, and rows: one for each commit, each the JSON text
of the entries that it made durable together (`record` reads and writes these). All that changes a
journal is a `Change`, made durable by `write` or `awrite`. Whoever drives a saga holds a `Claim` of
it, which each of its changes carries: once another process has claimed the saga, they are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from py_api_saga.status import SagaStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from py_api_saga.journal.codec import Codec
    from py_api_saga.journal.names import Names

# How statuses are stored; those below 2 are open, which is what recovery looks for.
NUMBER_OF = {
    SagaStatus.RUNNING: 0,
    SagaStatus.COMPENSATING: 1,
    SagaStatus.STUCK: 2,
    SagaStatus.COMPLETED: 3,
    SagaStatus.COMPENSATED: 4,
}
STATUS_OF = {number: status for status, number in NUMBER_OF.items()}
OPEN = frozenset({SagaStatus.RUNNING, SagaStatus.COMPENSATING})


class Summary(NamedTuple):
    """A saga at a glance; times are seconds since 1970."""

    number: int
    saga_id: str
    name: str | None
    status: SagaStatus
    owner: int  # 0: nobody drives it
    epoch: int  # how often it was claimed
    tries: int  # how often recovery has claimed it since it was created, or a person looked
    created: float
    changed: float  # when its status changed last, or it was claimed
    due: float  # recovery leaves it alone until then
    digest: str | None  # of what it was to do; None unless its rows were purged


class Row(NamedTuple):
    """What one commit made durable."""

    n: int  # from 1
    at: float  # seconds since 1970
    body: str  # JSON, a list of entries


class Claim:
    """The right to drive a saga, which ends with the saga, by leaving it, or by a takeover.

    Attributes:
        saga_id: Of the saga.
        number: What the journal calls it inside; 0 until it is there.
        owner: The process, as the journal numbers them.
        epoch: How often the saga was claimed, this time included.
        rows: How many of its rows are durable.
        over: Nothing may be written under it any more.
    """

    __slots__ = ("epoch", "number", "over", "owner", "rows", "saga_id")

    def __init__(self, saga_id: str) -> None:
        """Name the saga; the journal fills in the rest when it writes."""
        self.saga_id = saga_id
        self.number = self.owner = self.rows = 0
        self.epoch = 1
        self.over = False


class Change:
    """One thing to be made durable, all or nothing, in a commit with whatever else waits.

    Attributes:
        claim: Under which it is made; what `Create` and `Take` are there to get.
        settled: It is durable, or never will be: `error` says which.
        error: Why it is not durable, or None.
        tried: What a journal notes to tell whether a commit that seemed to fail is there.
        waiter: Whom a journal is to tell, if that is not a thread which waits.
    """

    __slots__ = ("claim", "error", "settled", "tried", "waiter")

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.settled = False
        self.error: Exception | None = None
        self.tried: object = None
        self.waiter: object = None

    def check(self) -> Claim:
        """Give the claim.

        Raises:
            SagaExistsError: There is a saga with this id (`Create`).
            SagaInProgress: Somebody else drives it, or has taken it over.
            JournalError: It could not be written.
        """
        if self.error is not None:
            raise self.error
        return self.claim


class Create(Change):
    """A new saga with its first row, driven by this process or, if not `driven`, by nobody yet."""

    __slots__ = ("body", "driven", "name")

    def __init__(self, saga_id: str, name: str | None, body: str, *, driven: bool = True) -> None:
        super().__init__(Claim(saga_id))
        self.name, self.body, self.driven = name, body, driven


class Append(Change):
    """One more row, and where the saga stands since; one that is not open is not driven any more.

    `status` is None if it has not changed; `rested` starts the count of tries anew.
    """

    __slots__ = ("body", "rested", "status")

    def __init__(
        self, claim: Claim, body: str, status: SagaStatus | None, *, rested: bool = False
    ) -> None:
        Change.__init__(self, claim)  # `super` is a call more, and there is one for each commit
        self.body, self.status, self.rested = body, status, rested


class Take(Change):
    """A claim of a saga as it was seen, if nobody drives it and nobody has claimed it since.

    With `force` also if somebody drives it, whose changes are refused from then on. `due` is when
    recovery may try again (seconds since 1970) if this claim comes to nothing; `counted` counts
    as a try.
    """

    __slots__ = ("counted", "due", "force", "seen")

    def __init__(
        self, seen: Summary, *, force: bool = False, counted: bool = False, due: float = 0.0
    ) -> None:
        super().__init__(Claim(seen.saga_id))
        self.seen, self.force, self.counted, self.due = seen, force, counted, due


class Leave(Change):
    """The saga stays as it is, and nobody drives it any more."""

    __slots__ = ()


class Purge(Change):
    """An ended saga without its rows; with `forget` its id is free again."""

    __slots__ = ("digest", "forget", "seen")

    def __init__(self, seen: Summary, digest: str, *, forget: bool = False) -> None:
        super().__init__(Claim(seen.saga_id))
        self.seen, self.digest, self.forget = seen, digest, forget


class SagaExistsError(Exception):
    """There is a saga with this id."""


class Journal(Protocol):
    """Where sagas are recorded.

    Attributes:
        names: The functions and types that its sagas may name.
        codec: What its values pass through on their way to it and back, or None.
    """

    @property
    def names(self) -> Names: ...  # noqa: D102 - described above
    @property
    def codec(self) -> Codec | None: ...  # noqa: D102

    def write(self, *changes: Change) -> None:
        """Return when each change is settled; `Change.check` says how.

        A change that is on its way already is only waited for, so it is safe to write one again
        after an interrupt.

        Raises:
            BaseException: A first interrupt, once they are settled; a second one at once.
        """

    async def awrite(self, *changes: Change) -> None:
        """Do as `write`, without blocking the loop; cancelling it withdraws nothing."""

    def leave(self, claim: Claim) -> None:
        """Stop driving a saga, at once in this process, durably with its next commit.

        Never raises and never waits: for who leaves because the journal can't be written.
        """

    def find(self, saga_id: str) -> Summary | None:
        """Give the summary of a saga, or None if there is none."""

    def drives(self, seen: Summary) -> bool:
        """Tell whether somebody drives a saga: its owner lives and, if it is us, is at it."""

    def rows(self, numbers: Collection[int]) -> Mapping[int, Sequence[Row]]:
        """Give the rows of sagas by number, each in order."""

    def waiting(self, now: float, limit: int | None = None) -> Sequence[Summary]:
        """List the open sagas that nobody drives and that are due, oldest first."""

    def select(
        self,
        statuses: Collection[SagaStatus] = (),
        name: str | None = None,
        *,
        before: float | None = None,
        after: float | None = None,
        limit: int | None = None,
    ) -> Sequence[Summary]:
        """List sagas, newest first: of these statuses if any, changed before and after a time."""
