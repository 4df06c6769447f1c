"""What a journal is to those who use it, and what may encrypt its values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from py_api_saga.journal.changes import Change, Claim, Letter, Row, Summary
from py_api_saga.journal.format.functions import Functions
from py_api_saga.status import SagaStatus


class Codec(Protocol):
    """What encrypts values, or signs them: two functions over the JSON text of one value."""

    def encode(self, text: str) -> str:
        """Make of a text what is to be stored."""

    def decode(self, text: str) -> str:
        """Give back the text; raises if it was tampered with."""


class Vocabulary(Protocol):
    """What the values of a journal are written and read with.

    Attributes:
        names: The functions and types that its sagas may name.
        codec: What its values pass through on their way to it and back, or None.
    """

    @property
    def names(self) -> Functions: ...  # noqa: D102 - described above
    @property
    def codec(self) -> Codec | None: ...  # noqa: D102


class Within(Vocabulary, Protocol):
    """A transaction of yours, in which sagas can be started: what `within` of a journal returns.

    Such a saga is there once your transaction has committed, and never if that is rolled back.
    Whoever recovers next runs it, or whoever runs a saga with its id, in the journal itself.

    Nothing can be run in it: nothing of a run would be on record before your commit, and if that
    failed nobody would know of what was called. So it has less than a journal.

    Attributes:
        place: Where the journal is, for messages; never with a password.
    """

    @property
    def place(self) -> str: ...  # noqa: D102 - described above

    def write(self, *changes: Change) -> None:
        """Write, in your transaction, sagas that somebody else is to run; refuse all else."""

    async def awrite(self, *changes: Change) -> None:
        """Like `write`, under asyncio."""

    def leave(self, claim: Claim) -> None:
        """Note that a claim which was refused is over."""

    def find(self, saga_id: str) -> Summary | None:
        """Give the summary of a saga that a write has found there."""

    def rows(self, numbers: Collection[int]) -> Mapping[int, Sequence[Row]]:
        """Give the first row of each of these, which holds what it is to do."""

    def now(self) -> float:
        """Tell the time by the clock of the journal, seconds since 1970."""


class Journal(Vocabulary, Protocol):
    """Where sagas are recorded.

    What those who use one rely on, whatever it is kept in, and whoever writes to it meanwhile:

    - **An append** (`Append`) is durable as a whole, as the row after the last one of its saga, or
      not at all; and only while its claim is the saga's newest. To look whether it is, and to write
      the row, must be one: between the two nobody may claim the saga. In a file where writers take
      turns, one transaction is enough; in a database where they do not, the append has to lock the
      summary of its saga, else a takeover that commits between the statement and its COMMIT reads
      the rows, and then there is one more. Two appends under one claim are in the order in which
      they were written. An append that seemed to fail, and is written again, is there once.
    - **A claim** (`Create`, `Take`) is a compare-and-swap: it succeeds for one of all that try at
      once, and only if the saga is as it was seen, or was left since. It raises the epoch, which
      every later change carries: from its commit on, nothing is written under an older one.
      `Claim.rows` tells how many rows there are under the new epoch, counted once nobody can write
      under the old one any more.
    - **An answer** (`Mail`) needs no claim, and is there once, whoever gives it and however often.
      A row that looks into the mail (`Mailing`) reads it in its own transaction, and lets the saga
      go there, if it does: of the two, either the row finds the answer, or whoever has given it
      finds the saga left. In a database where writers do not take turns, both have to lock the
      summary, and the mail has to be read by a statement that begins after that.
    - **A read** (`find`, `rows`, `mail`, `select`, `waiting`) gives what is durable, of each saga
      as it was at one moment, and never what may still be rolled back. What was settled before the
      read began is in it. It decides nothing: whoever acts on it claims, and a claim compares.

    Attributes:
        place: Where it is, for messages; never with a password.
        spans_deploys: Processes of another release may use it meanwhile, as machines do in a
            rolling deploy: so what names something that one lacks may be had by another.
    """

    @property
    def place(self) -> str: ...  # noqa: D102 - described above
    @property
    def spans_deploys(self) -> bool: ...  # noqa: D102

    def write(self, *changes: Change) -> None:
        """Return when each change is settled; `Change.check` says how.

        A change that is on its way already is only waited for, so it is safe to write one again
        after an interrupt. One that has an `until` is settled by then as not written, unless it is
        being written.

        Raises:
            BaseException: A first interrupt, once they are settled; a second one at once.
        """

    async def awrite(self, *changes: Change) -> None:
        """Like `write`, without blocking the loop; cancelling it withdraws nothing."""

    def leave(self, claim: Claim) -> None:
        """Stop driving a saga, at once in this process, durably with its next commit.

        Never raises and never waits, so that a caller can leave even when the journal cannot be
        written. A claim that is `void` is taken back with it, and of one that is `barred` this
        process remembers so.
        """

    def find(self, saga_id: str) -> Summary | None:
        """Give the summary of a saga, or None if there is none."""

    def drives(self, seen: Summary) -> bool:
        """Tell whether somebody drives a saga: its owner lives and, if it is us, is at it."""

    def rows(self, numbers: Collection[int]) -> Mapping[int, Sequence[Row]]:
        """Give the rows of sagas by number, each in order."""

    def mail(self, numbers: Collection[int]) -> Mapping[int, Sequence[Letter]]:
        """Give the answers to sagas that nobody has taken, oldest first; by number, as `rows`.

        All of them in one read: recovery asks of many at once, and most have none.
        """

    def now(self) -> float:
        """Tell the time, seconds since 1970, by the clock by which this journal dates everything.

        The clocks of the machines that share a journal differ: what they decide about a saga
        (whether it is due, past its deadline, too long in doubt) they decide by this one.
        """

    def lately(self) -> float:
        """Tell the same time at once, by what was found of that clock last; asks nobody.

        For whoever writes down when something was, and decides nothing by it.
        """

    def waiting(self, limit: int | None = None) -> Sequence[Summary]:
        """List the open sagas that nobody drives and that are due, oldest first.

        What was put off may come last, by when it has become due. So may those that nobody drives
        and whose mail has what nobody has taken, also if they have ended.

        Also those that were tried and are due more than `LONGEST_WAIT` from now: a clock was set
        back. One that waits for answers was not tried, and its due is believed.
        Not those that this process is barred from, having found that it can't go on with them.

        Args:
            limit: So many at most; what is not asked for is not read.
        """

    def select(
        self,
        statuses: Collection[SagaStatus] = (),
        name: str | None = None,
        *,
        before: float | None = None,
        after: float | None = None,
        prefix: str | None = None,
        below: int | None = None,
        limit: int | None = None,
    ) -> Sequence[Summary]:
        """List sagas, newest first: of these statuses if any, changed before and after a time.

        With `prefix`, those whose id begins with it; with `below`, those whose number is less: what
        follows a page whose last one has that number.
        """

    def tally(self, most: int | None = None) -> Mapping[SagaStatus, int]:
        """Count sagas by status, as they are at one moment.

        Args:
            most: How many that are COMPLETED are enough: if so many are told, there may be more.
                What else there is is counted by indexes, all of it.
        """


class Leased(Protocol):
    """What a journal has besides whose claims end by themselves, unless a lease is renewed."""

    def is_in_time(self) -> bool:
        """Tell whether the lease runs, so that nobody has taken what this process drives."""

    def see_in_time(self, claim: Claim) -> None:
        """Return once it runs, and it is certain that the claim stands.

        Raises:
            SagaInProgress: It does not: somebody has taken the saga over.
            JournalError: Nobody can tell.
        """

    async def asee_in_time(self, claim: Claim) -> None:
        """Like `see_in_time`, without blocking the loop."""
