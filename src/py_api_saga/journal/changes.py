"""What a journal holds of each saga, who drives it, and all that changes it.

A saga in a journal is a summary, found by its id, and rows: one for each commit, each the JSON text
of the entries that it made durable together (`record` reads and writes these). All that changes a
journal is a `Change`, made durable by `write` or `awrite`. Whoever drives a saga holds a `Claim` of
it, which each of its changes carries: once another process has claimed the saga, they are refused.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping, Sequence

from py_api_saga import clock
from py_api_saga.clock import NEVER
from py_api_saga.exceptions import JournalError, SagaConflict, SagaInProgress
from py_api_saga.status import SagaStatus

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

# Seconds for which recovery leaves a saga alone at most. What is noted for later than that was
# noted under a clock that has been set back since, and is not believed.
LONGEST_WAIT = 3600.0


PATIENCE = 30.0  # seconds; see `latest`


def milliseconds(seconds: float) -> int:
    """Give a time as databases store it."""
    return int(seconds * 1000)


def tallied(counted: Mapping[int, int], most: int | None = None) -> Mapping[SagaStatus, int]:
    """Give how many sagas there are of each status, by what databases have counted of these.

    Args:
        counted: By the number of the status; what is not there is 0.
        most: How many that are COMPLETED are told at most.
    """
    tally = {status: counted.get(number, 0) for number, status in STATUS_OF.items()}
    if most is not None:
        tally[SagaStatus.COMPLETED] = min(most, tally[SagaStatus.COMPLETED])
    return tally


def latest(deadline: float | None = None) -> float:
    """Tell until when what begins, claims or decides something waits to be written.

    Args:
        deadline: When it is of no use any more, on the monotonic clock, as what is returned is.
    """
    until = clock.monotonic() + PATIENCE
    return until if deadline is None or deadline > until else deadline


class Summary(
    namedtuple(  # noqa: PYI024 - a typed one takes 1 ms more
        "Summary", "number saga_id name status owner epoch tries created changed due digest"
    )
):
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

    __slots__ = ()

    @property
    def suspended(self) -> bool:
        """Whether it was left to wait for answers, and nobody has tried anything with it since."""
        return self.due > 0 and not (self.owner or self.tries) and self.status in OPEN


class Row(namedtuple("Row", "n at body")):  # noqa: PYI024 - as above
    """What one commit made durable."""

    n: int  # from 1
    at: float  # seconds since 1970
    body: str  # JSON, a list of entries

    __slots__ = ()


class Claim:
    """The right to drive a saga, which ends with the saga, by leaving it, or by a takeover.

    Attributes:
        saga_id: Of the saga.
        number: What the journal calls it inside; 0 until it is there.
        owner: The process, as the journal numbers them.
        epoch: How often the saga was claimed, this time included.
        rows: How many of its rows are durable.
        over: Nothing may be written under it any more.
        before: The saga as it was when it was claimed; None if this claim began it.
        created: When the saga was, seconds since 1970, by the journal's clock; 0 until it is there.
        void: It came to nothing: to leave it puts back `tries`, `due` and `changed` of before.
        barred: `waiting` does not give the saga to this process again, once it is left.
    """

    __slots__ = (
        "barred", "before", "created", "epoch", "number", "over", "owner", "rows", "saga_id",
        "void",
    )  # fmt: skip

    def __init__(self, saga_id: str) -> None:
        """Name the saga; the journal fills in the rest when it writes."""
        self.saga_id = saga_id
        self.number = self.owner = self.rows = 0
        self.epoch = 1
        self.over = self.void = self.barred = False
        self.before: Summary | None = None
        self.created = 0.0


class Change:
    """One thing to be made durable, all or nothing, in a commit with whatever else waits.

    Attributes:
        claim: Under which it is made; what `Create` and `Take` are there to get.
        settled: It is durable, or never will be: `error` says which.
        error: Why it is not durable, or None.
        tried: What a journal notes to tell whether a commit that seemed to fail is there.
        until: When its caller gives up, on the monotonic clock, unless it is being written by then;
            None for never. Then it is settled with a JournalError, and nothing of it was written.
        waiter: Whom a journal is to tell, if that is not a thread which waits.
        withdrawn: Its caller gave up.
    """

    __slots__ = ("claim", "error", "settled", "tried", "until", "waiter", "withdrawn")

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.settled = self.withdrawn = False
        self.error: Exception | None = None
        self.tried: object = None
        self.until: float | None = None
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

    def check(self) -> Claim:
        """Like any change; an error says whether the saga may have come to be."""
        if isinstance(self.error, JournalError) and self.tried is None:
            self.error._may_stand = False  # noqa: SLF001 - the error's own kind of module
        return super().check()


class Letter(namedtuple("Letter", "key body")):  # noqa: PYI024 - as above
    """An answer to a call, in the mail of its saga.

    Attributes:
        key: The idempotency key of the call.
        body: JSON, `["answered", value, note]` or `["denied", error, note]`.
    """

    __slots__ = ()


class Mailing:
    """What an append does with the mail of its saga: in its own transaction, once its row is there.

    First what it has taken is marked as taken; then what nobody has taken is read, into `mail`. If
    there is none, and it suspends, the saga is driven by nobody from this commit on, its count of
    tries is 0, and it is due then. If there is some, the claim stays as it is, also in the row that
    ends the saga: whoever has it is to look into the mail first.

    Attributes:
        took: Keys of letters of which the rows up to this one say all.
        suspends: The saga waits for answers, and for nothing else.
        due: When something is to be done all the same, seconds since 1970; `NEVER` if never.
        mail: What the journal has found, oldest first; None until it has written.
    """

    __slots__ = ("due", "mail", "suspends", "took")

    def __init__(
        self, took: Sequence[str] = (), *, suspends: bool = False, due: float = NEVER
    ) -> None:
        self.took, self.suspends, self.due = took, suspends, due
        self.mail: Sequence[Letter] | None = None

    @property
    def has_suspended(self) -> bool:
        """Whether the saga waits now, and nobody drives it."""
        return self.suspends and self.mail is not None and not self.mail

    def lets_go(self, *, ended: bool) -> bool:
        """Tell whether nobody drives the saga any more, which this row has ended or not."""
        return (self.suspends or ended) and not self.mail


class Append(Change):
    """One more row, and where the saga stands since; one that is not open is not driven any more.

    `status` is None if it has not changed; `rested` starts the count of tries anew. `mailing` is
    None if it has nothing to do with the mail, as most have not.
    """

    __slots__ = ("body", "mailing", "rested", "status")

    def __init__(
        self, claim: Claim, body: str, status: SagaStatus | None, *, rested: bool = False
    ) -> None:
        Change.__init__(self, claim)  # `super` is a call more, and there is one for each commit
        self.body, self.status, self.rested = body, status, rested
        self.mailing: Mailing | None = None


class Take(Change):
    """A claim of a saga as it was seen, if nobody drives it and nobody has claimed it since.

    With `force` also if somebody drives it, whose changes are refused from then on. `delay` is for
    how long (seconds from this claim on, by the journal's clock) recovery leaves the saga alone if
    the claim comes to nothing; `counted` counts as a try.
    """

    __slots__ = ("counted", "delay", "force", "seen")

    def __init__(
        self, seen: Summary, *, force: bool = False, counted: bool = False, delay: float = 0.0
    ) -> None:
        super().__init__(Claim(seen.saga_id))
        self.seen, self.force, self.counted, self.delay = seen, force, counted, delay


class Mail(Change):
    """An answer to a call, from whoever has it: no claim is needed, and none is got.

    It is put into the mail of its saga unless there is one of the same key, which `there` then is.
    Of a saga that was purged it is refused with a `SagaConflict`, of one that is gone with a
    `LookupError`; so is whatever else `check` raises.
    """

    __slots__ = ("letter", "number", "there")

    def __init__(self, saga_id: str, number: int, letter: Letter) -> None:
        super().__init__(Claim(saga_id))
        self.number, self.letter = number, letter
        self.there: Letter | None = None


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


def taken_over(claim: Claim) -> SagaInProgress:
    """Somebody else has claimed the saga since, and drives it."""
    return SagaInProgress(
        f"saga {claim.saga_id!r} was taken over by another process: that one goes on with it; "
        f"nothing was undone here"
    )


def in_progress(saga_id: str) -> SagaInProgress:
    """The saga is already being driven."""
    return SagaInProgress(
        f"saga {saga_id!r} is being driven by somebody else: wait for it; if that one hangs, take "
        f"it over by `saga takeover --force`"
    )


def unread(saga_id: str) -> SagaInProgress:
    """The saga has an answer that it has not taken in, so it is not over yet."""
    return SagaInProgress(
        f"saga {saga_id!r} has an answer in its mail that nobody has taken in: recover it first"
    )


def purged(saga_id: str) -> SagaConflict:
    """Nobody can use an answer to the saga any more."""
    return SagaConflict(
        f"saga {saga_id!r} has ended and was purged: nobody can use an answer to it any more"
    )


def gone(saga_id: str) -> LookupError:
    """The saga was forgotten."""
    return LookupError(f"saga {saga_id!r} is not in the journal any more: it was forgotten")


def changed(seen: Summary) -> SagaInProgress:
    """The saga has changed since it was read."""
    return SagaInProgress(f"saga {seen.saga_id!r} has changed since it was looked at")
