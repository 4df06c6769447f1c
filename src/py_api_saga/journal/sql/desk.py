"""The desk: who drives what in this process, and what follows from a commit.

A journal in a database has one desk for each database and process. It knows no SQL, no file and no
clock: the database decides between processes, the desk between the threads and tasks of one.

The life of a claim:

- asked for: `admit` enters it before anything is written, so that whoever of this process wants the
  same saga at that moment is refused at once;
- held: the commit that makes it durable was settled. From then on each row of its saga is written
  under it;
- over, in one of four ways: its saga has ended (`settle`), it was refused or taken over (`settle`,
  `lose`), its caller has left it (`leave`), or the database is not the one that it was (`forget`).

A claim that was left stands in the database until the next commit clears it there (`releases`): to
leave never waits. All of it may be done twice, since an interrupt may strike between any two lines.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from py_api_saga.exceptions import JournalError, SagaInProgress
from py_api_saga.journal.changes import (
    OPEN,
    Append,
    Change,
    Claim,
    Create,
    Leave,
    Mail,
    Purge,
    SagaExistsError,
    Take,
    in_progress,
)

_NOT_DONE: dict[type[Change], str] = {
    Create: "was not started, and is not in the journal",
    Take: "was not claimed",
    Append: "is as it was",
    Mail: "was not given the answer, which is not in the journal",
    Purge: "was not purged",
}


class Desk:
    """Who drives what in this process.

    All but `leave`, `lose` and `forget`, which take the lock, is called with the lock held.

    Attributes:
        lock: Held for moments only, around what several threads change. Reentrant only to know who
            holds it: whoever interrupts that thread must not wait for it.
        owner: What the database calls this process; 0 until it was asked.
        running: Claims of this process by saga id, from the moment they are asked for.
        releases: Claims that were left, for the next commit.
        barred: Sagas, by number, of which this process has found that it can't go on with them.
    """

    def __init__(self) -> None:
        """Begin with nothing that is driven."""
        self.lock = threading.RLock()
        self.owner = 0
        self.running: dict[str, Claim] = {}
        self.releases: list[Claim] = []
        self.barred: set[int] = set()

    # --- before a commit -------------------------------------------------------------------------

    def admit(self, change: Change) -> bool:
        """Tell whether a change may be tried, and enter a claim; one that may not is settled."""
        claim = change.claim
        holder = self.running.get(claim.saga_id)
        if type(change) is Append:
            if holder is claim:
                return True
            claim.over = True
            change.error = SagaInProgress(
                f"saga {claim.saga_id!r} is not driven under this claim any more: it has ended, "
                f"was left or taken over, or was claimed by the parent of this process before a "
                f"fork"
            )
        elif type(change) is Leave:
            self._leave(claim)
            return True
        elif type(change) is Mail:  # whoever drives it finds the answer
            return True
        elif holder is None or holder is claim or (type(change) is Take and change.force):
            if change.driven if type(change) is Create else type(change) is Take and not holder:
                self.running[claim.saga_id] = claim
            return True
        else:
            change.error = in_progress(claim.saga_id)
            if type(change) is Create and not change.driven:  # that it is there is enough
                change.error = SagaExistsError(f"there is a saga {claim.saga_id!r}")
            claim.over = True
        change.settled = True
        return False

    def leave(self, claim: Claim) -> None:
        """Stop driving a saga, durably with the next commit."""
        with self.lock:
            self._leave(claim)

    def _leave(self, claim: Claim) -> None:
        """Do so. What was put into a batch before is written before."""
        claim.over = True
        if claim.barred:
            self.barred.add(claim.number)
        if self.running.get(claim.saga_id) is claim:
            del self.running[claim.saga_id]
            self._release(claim)

    def _release(self, claim: Claim) -> None:
        if claim.number and claim.owner == self.owner:
            self.releases.append(claim)

    def round(self, changes: Iterable[Change]) -> tuple[list[Change], bool]:
        """Give what one transaction is to do, and whether that is not all.

        It has at most one change of each saga, so that a row's number is known before the next one
        is tried. What nobody wants any more and nobody has tried is settled: a claim, left by an
        interrupt.
        """
        todo: dict[str, Change] = {}
        is_more = False
        for change in changes:
            claim = change.claim
            if change.settled:
                continue
            if claim.saga_id in todo:
                is_more = True
            elif claim.over and change.tried is None and isinstance(change, Create | Take):
                message = f"saga {claim.saga_id!r} was left before it was claimed"
                change.error = SagaInProgress(message)
                change.settled = True
            else:
                todo[claim.saga_id] = change
        return [*todo.values()], is_more

    def withdraw(self, change: Change, why: str) -> None:
        """Settle a change whose caller gave up before it was written."""
        what = _NOT_DONE.get(type(change))
        text = why if what is None else f"saga {change.claim.saga_id!r} {what}: {why}"
        change.error, change.withdrawn = JournalError(text), True
        self.settle(change)

    # --- after it --------------------------------------------------------------------------------

    def settle(self, change: Change) -> None:
        """Note what came of a change; harmless if done again."""
        if type(change) is Append:
            has_ended = change.status is not None and change.status not in OPEN
            if change.error is None:
                assert type(change.tried) is int  # noqa: S101 - the number of its row
                change.claim.rows = change.tried
                if change.mailing is not None:
                    has_ended = change.mailing.lets_go(ended=has_ended)
            else:
                has_ended = isinstance(change.error, SagaInProgress)
            if has_ended:
                self._end(change.claim)
        elif type(change) is Create or type(change) is Take:
            self._settle_claim(change)
        change.settled = True  # last: an interrupt before repeats it

    def _settle_claim(self, change: Create | Take) -> None:
        claim = change.claim
        if change.error is None:
            if type(change) is Create:
                claim.rows = 1
                if not change.driven:
                    claim.over = True
                    return
            before = self.running.get(claim.saga_id)
            if claim.over:  # its caller was interrupted twice, and has left
                self._end(claim)
                self._release(claim)
            elif before is not claim:
                if before is not None:
                    before.over = True
                self.running[claim.saga_id] = claim
            return
        self._end(claim)
        if isinstance(change.error, SagaExistsError | SagaInProgress):
            claim.number = claim.owner = 0  # it is not ours, so nobody must release it
        else:
            self._release(claim)  # a commit that failed may be on disk all the same

    def _end(self, claim: Claim) -> None:
        claim.over = True
        if self.running.get(claim.saga_id) is claim:
            del self.running[claim.saga_id]

    def lose(self, claims: Iterable[Claim]) -> None:
        """End claims of sagas that somebody else has claimed since."""
        with self.lock:
            for claim in claims:
                self._end(claim)

    def forget(self) -> None:
        """End all claims, as the database is another one, or has lost who we are."""
        with self.lock:
            for claim in [claim for claim in self.running.values() if claim.number]:
                self._end(claim)
            self.releases.clear()
            self.barred.clear()
            self.owner = 0


def refuse(changes: Iterable[Change], error: JournalError) -> None:
    """Settle changes that came to no queue, since the database can't be used."""
    for change in changes:
        if not change.settled:
            change.error, change.settled = JournalError(*error.args), True
            change.error.__cause__ = error.__cause__
            if not isinstance(change, Append):
                change.claim.over = True
