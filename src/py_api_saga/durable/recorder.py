"""What a run tells its journal, and when: all that was told, before the next call starts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from py_api_saga import chance, clock
from py_api_saga.definition import Definition
from py_api_saga.entries import STARTED, Entry, unstored, what_of
from py_api_saga.exceptions import SagaError
from py_api_saga.execution import Execution
from py_api_saga.journal.changes import Append, Change, Claim, Create, Leave, Take, latest
from py_api_saga.journal.format.definitions import MAX_AGE, Plan, write_definition
from py_api_saga.journal.format.entries import write_entry
from py_api_saga.journal.format.functions import NotStorableError
from py_api_saga.journal.format.json_text import loads
from py_api_saga.journal.format.values import Values
from py_api_saga.journal.protocol import Journal
from py_api_saga.status import SagaStatus

_STUCK = SagaStatus.STUCK  # looking up a member of an Enum costs 60 ns, a global 5


class Recorder:
    """Writes the entries of one run, as one row for each commit.

    Attributes:
        saga_id: Of the run.
        claim: Under which it writes; None until the saga is in the journal.
        deadline: When it is of no use any more to begin, on the monotonic clock, or None.
        is_refused: It gave up before it was in the journal.
        pending: What is to be written next, or was, and has not been looked at since; or None.
    """

    __slots__ = (
        "_head", "_name", "_status", "_texts", "_upto", "_written", "claim", "deadline",
        "is_refused", "journal", "pending", "saga_id",
    )  # fmt: skip

    def __init__(
        self,
        journal: Journal,
        saga_id: str,
        name: str | None,
        head: str,
        deadline: float | None = None,
    ) -> None:
        """Begin a saga with its first row, which holds the definition alone as yet."""
        self.journal = journal
        self.saga_id = saga_id
        self.claim: Claim | None = None
        self.deadline = deadline
        self.is_refused = False
        self._name = name
        self._head = head
        self._written = self._upto = 0  # entries
        self._status = SagaStatus.RUNNING
        self.pending: Change | None = None
        # By what an entry speaks of. None while a call runs: there may be many, and an empty dict
        # takes 64 bytes.
        self._texts: dict[tuple[Any, ...], str] | None = None

    @classmethod
    def resumed(cls, journal: Journal, claim: Claim, status: SagaStatus, written: int) -> Recorder:
        """Go on with a saga of which so many entries are written."""
        recorder = cls(journal, claim.saga_id, None, "")
        recorder.claim = claim
        recorder._status = status
        recorder._written = written
        return recorder

    def accept(self, entry: Entry, name_of: Callable[[int], str]) -> Entry:
        """Write an entry down as it is now, or say that its value can't be kept.

        Args:
            entry: What came of a call.
            name_of: Gives the name of an operation.
        """
        what, i, kind, attempt, generation, value = entry
        values = Values(self.journal)
        try:
            text = write_entry(entry, values)
        except NotStorableError as error:
            message = f"the result of the {kind} of {name_of(i)!r} cannot be kept: {error}"
            entry = unstored(entry, value, TypeError(message))
            what = what_of(entry)
            text = write_entry(entry, values)
        if self._texts is None:
            self._texts = {}
        self._texts[what, i, kind, attempt, generation] = text
        return entry

    @property
    def values(self) -> Values:
        """How values are written; made anew, since many runs may be waiting at once."""
        return Values(self.journal)

    @property
    def given(self) -> dict[str, Any]:
        """The definition as it would be read from the journal."""
        tree: dict[str, Any] = loads(self._head)[0][1]
        return tree

    def undriven(self) -> Create:
        """Give the change that writes the definition alone, for somebody else to run."""
        create = Create(self.saga_id, self._name, self._head, driven=False)
        create.until = latest(self.deadline)
        return create

    # --- committing ------------------------------------------------------------------------------

    def next(self, execution: Execution) -> Change | None:
        """Give what is to be written: what an interrupt has left on its way, or what was told.

        Once that is settled, give what was told meanwhile; None if nothing was.

        Raises:
            SagaExistsError: The first time: there is a saga with this id.
            SagaInProgress: Another process has taken it over.
            JournalError: It could not be written.
        """
        if (change := self.pending) is not None:
            if not change.settled:
                return change
            if change.error is not None:
                self.pending, self.is_refused = None, change.withdrawn
                change.check()
            self.claim, self._written = change.claim, self._upto
            self._head = ""  # it is in the journal, and large
            self.pending = None  # last: an interrupt before repeats all this
        entries, status = execution.entries, execution.saga
        if status is _STUCK:
            status = execution.standing
        if len(entries) == self._written and status is self._status and self.claim is not None:
            return None
        self._upto = len(entries)
        lines, texts = [], self._texts or {}
        for entry in entries[self._written :]:
            what, i, kind, attempt, generation, _ = entry
            if what is STARTED:
                lines.append(f'["started",{i},"{kind}",{attempt},{generation}]')
            else:
                text = texts.get((what, i, kind, attempt, generation))
                lines.append(text or write_entry(entry, self.values))
        self._texts = None
        if self.claim is None:  # if all is over already, the next change says so
            body = f"{','.join([self._head[:-1], *lines])}]"
            self.pending = Create(self.saga_id, self._name, body)
            self.pending.until = latest(self.deadline)
            self._head = body  # not before: an interrupt would have the lines added twice
        else:
            changed = None if status is self._status else status
            self.pending = Append(self.claim, f"[{','.join(lines)}]", changed)
            self._status = status
        return self.pending

    # --- owning ----------------------------------------------------------------------------------

    def let_go(self) -> None:
        """Have the claim count as never made once it is left, and this process make no other."""
        assert self.claim is not None  # noqa: S101 - a call was made
        self.claim.void = self.claim.barred = True

    def leave(self) -> None:
        """Drive the saga no longer: whoever comes next may."""
        claim = self.pending.claim if self.pending is not None else self.claim
        if claim is not None and not claim.over:
            self.journal.leave(claim)

    def give_back(self, *, at_once: bool) -> None:
        """Drive the saga no longer, as is on record when this returns.

        Never raises an error of the journal: then it is left as it always is.

        Args:
            at_once: Whether recovery may take it at once, though it was recovery that had it.
        """
        claim = self.claim
        if claim is None or claim.over:
            return
        with suppress(SagaError):
            leave = Leave(claim)
            leave.until = latest()
            self.journal.write(leave)
            seen = self.journal.find(self.saga_id)
            late = at_once and seen is not None and seen.due > self.journal.now()
            if late and seen is not None and seen.epoch == claim.epoch:
                take = Take(seen)  # which puts off nothing, and does not count as a try
                take.until = leave.until
                self.journal.write(take)
                if take.error is None:
                    leave = Leave(take.check())
                    leave.until = take.until
                    self.journal.write(leave)

    def claim_again(self) -> bool:
        """Claim the saga that this run has left, unless somebody has gone on with it."""
        old = self.claim
        seen = None if old is None else self.journal.find(self.saga_id)
        same = seen is not None and old is not None and seen.number == old.number
        if old is None or seen is None or not same or seen.epoch != old.epoch:
            return False
        take = Take(seen)
        self.journal.write(take)
        if take.error is not None:
            return False
        claim = take.check()
        if claim.rows != old.rows:
            self.journal.leave(claim)
            return False
        self.claim, self._status = claim, seen.status
        return True


def begin(
    journal: Journal,
    definition: Definition,
    name: str | None,
    saga_id: str | None,
    seconds: float | None,
    max_age: float | None,
    limit: int | None,
    in_loop: bool,  # noqa: FBT001 - of the executor
) -> Recorder:
    """Write a definition down, for a run that is about to begin.

    Raises:
        SagaDefinitionError: An argument or a function can't be stored.
    """
    until = deadline = None
    if seconds is not None:
        until, deadline = journal.now() + seconds, clock.monotonic() + seconds
    plan = Plan(name, until, MAX_AGE if max_age is None else max_age, limit, in_loop)
    head = write_definition(definition, plan, Values(journal))
    if saga_id is None:  # ordered in time, which keeps the index on it fast
        saga_id = f"{int(clock.time() * 1000):011x}{chance.digits(8)}"
    return Recorder(journal, saga_id, name, f"[{head}]", deadline)
