"""Answers to calls that have only begun something, from whoever has them.

An answer is put into the mail of its saga, without a claim, and is on disk before anything is done
with it. Then its saga is gone on with, as recovery does it, unless somebody is at it: who drives a
saga looks into its mail before leaving it, and who answers looks who drives it after the answer is
on disk. So one of the two finds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from py_api_saga.current import Around
from py_api_saga.durable.beginning import in_thread, to_its_end
from py_api_saga.durable.knowing import ago_on, note_of
from py_api_saga.durable.recovery import (
    MAX_TRIES,
    Begun,
    Finisher,
    backoff,
    check_who,
    tell_if_in_a_loop,
)
from py_api_saga.durable.waiting import ring
from py_api_saga.entries import ASK, STARTED
from py_api_saga.exceptions import (
    JournalError,
    SagaConflict,
    SagaDefinitionError,
    SagaInProgress,
    check_around,
    check_journal,
    refused,
)
from py_api_saga.executors import driving
from py_api_saga.interrupts import is_interrupt
from py_api_saga.journal.changes import Leave, Letter, Mail, Summary, Take, latest
from py_api_saga.journal.format.functions import NotStorableError
from py_api_saga.journal.format.letters import outcome_in, write_letter
from py_api_saga.journal.format.sagas import read_lines, reading
from py_api_saga.journal.protocol import Journal
from py_api_saga.keys import key_of, read_key
from py_api_saga.log import complain
from py_api_saga.observer import Observer
from py_api_saga.status import MISSING, SagaStatus


class Answered(NamedTuple):
    """What became of an answer. It is on record, whatever this says.

    Attributes:
        saga_id: The saga that it is for.
        known: The same answer was given before.
        status: Where the saga stands now: RUNNING or COMPENSATING if it waits for something else,
            is driven by somebody else, or is left to a worker.
        error: What the saga has raised, as in `Recovered`, with a `SagaPending` if it waits; a
            `JournalError` if it can't be gone on with for that; None if it has completed, or was
            left to somebody else.
    """

    saga_id: str
    known: bool
    status: SagaStatus
    error: BaseException | None = None


def answer(
    journal: Journal,
    key: str,
    *,
    result: object = MISSING,
    error: Exception | None = None,
    go_on: bool = True,
    around: Sequence[Around] = (),
    observers: Iterable[Observer] = (),
    who: str | None = None,
    why: str = "",
) -> Answered:
    """Say what came of a call that returned `later(…)`, and go on with its saga.

    It may come at any time after the call was begun: before `later()` is on record, while another
    process drives the saga, after its timeout, after its rollback. The same answer may be given
    any number of times. It beats what anybody else knows: a result says that the call took effect,
    so what is undone already is undone once more; an error that it did not, for good: it is not
    retried.

    Whoever may call this can have any saga believe anything: see that an answer is genuine first,
    by the signature of whoever sends it.

    Args:
        journal: Where the saga is.
        key: The idempotency key of the call, as `current_operation().idempotency_key` has it there;
            also in quotes, as a header has it, or with what follows a semicolon behind it.
        result: What the call returns, if it took effect; small, such as an id: what differs from
            one delivery to the next would be another answer.
        error: Instead: why it did not. Callers of the saga get its type by name, and its text.
        go_on: Whether to go on with the saga here. If not, a worker has to: senders of webhooks
            wait for seconds only. It is left to a worker also where this process lacks what the
            saga needs, and in an atomic block of Django's.
        around: As in `recover`, for what is called here.
        observers: As in `recover`.
        who: Who has decided that, if a person has; it is kept in the journal.
        why: For which reason; kept with `who`.

    Returns:
        What became of it. What the saga raises is in it, and not raised: the answer is on record.

    Raises:
        LookupError: There is no such saga, or it has not begun a call with this key: whoever has
            sent it should send it again, as the saga may be written down just now.
        SagaConflict: The call was answered otherwise before; or the saga was purged.
        SagaDefinitionError: It has both a result and an error, or neither; the result can't be
            stored; the key is none; or another argument makes no sense. Nothing was written.
        JournalError: It is not sure that the answer is on disk: give it again.
        BaseException: A KeyboardInterrupt or the like; the saga was let go, and the answer is kept
            if it had got so far.
    """
    posted = _checked(journal, key, result, error, around, observers, who, why)
    posted.read()
    journal.write(posted.mail)
    posted.check()
    if not go_on or _is_held() or _goes_on_itself(journal):
        return posted.stands()
    tell_if_in_a_loop()
    try:
        begun = posted.claim()
        if begun is None:
            return posted.stands()
        done = posted.finisher.finish(begun.claim, begun.seen)
    except BaseException as trouble:
        posted.let_go()
        if isinstance(trouble, JournalError):
            return posted.stands(trouble)
        raise
    return posted.told(done.outcome, done.error)


async def aanswer(
    journal: Journal,
    key: str,
    *,
    result: object = MISSING,
    error: Exception | None = None,
    go_on: bool = True,
    around: Sequence[Around] = (),
    observers: Iterable[Observer] = (),
    who: str | None = None,
    why: str = "",
) -> Answered:
    """Like `answer`, under asyncio: coroutine functions run in this loop, plain ones in threads.

    Being cancelled undoes nothing of the saga, as in `arecover`: it is raised in the end.
    """
    import asyncio  # noqa: PLC0415 - 34 ms to import

    posted = _checked(journal, key, result, error, around, observers, who, why)
    await asyncio.to_thread(posted.read)
    await journal.awrite(posted.mail)
    posted.check()
    if not go_on or _is_held() or _goes_on_itself(journal):
        return await asyncio.to_thread(posted.stands)
    answered: Answered = await to_its_end(_ago_on(posted))
    return answered


async def _ago_on(posted: _Posted) -> Answered:
    """Go on with the saga, unless somebody else does, in a task that only this knows of."""
    import asyncio  # noqa: PLC0415 - as above

    try:
        begun = await in_thread(posted.claim_and_read, undo=posted.give_back)
    except JournalError as trouble:
        return await asyncio.to_thread(posted.stands, trouble)
    if begun is None:
        return await asyncio.to_thread(posted.stands)
    problem = begun.error
    if begun.run is not None:
        try:
            await ago_on(begun.run, begun.limit)
        except BaseException as raised:  # noqa: BLE001 - it is in what is returned, or raised there
            problem = raised
    done = await in_thread(posted.finisher.result, begun, problem)
    return posted.told(done.outcome, done.error)


class _Posted:
    """One answer on its way.

    Attributes:
        mail: The change that puts it on record.
        finisher: Goes on with its saga.
    """

    mail: Mail
    _seen: Summary

    def __init__(
        self, journal: Journal, finisher: Finisher, saga_id: str, keys: Sequence[str], body: str
    ) -> None:
        self._journal, self.finisher = journal, finisher
        self._saga_id, self._keys, self._body = saga_id, keys, body
        self._known = False
        self._take: Take | None = None

    def read(self) -> None:
        """Find the call that is answered.

        Raises:
            LookupError: There is none.
            SagaConflict: Its saga was purged.
        """
        seen = self._journal.find(self._saga_id)
        if seen is None:
            message = f"there is no saga {self._saga_id!r} in the journal"
            raise LookupError(message)
        rows = () if seen.digest is not None else self._journal.rows([seen.number])[seen.number]
        if not rows:
            message = (
                f"saga {self._saga_id!r} was {seen.status.value} and purged: nobody waits for an "
                "answer"
            )
            raise SagaConflict(message)
        with reading(f"saga {self._saga_id!r}"):
            tree, lines = read_lines(rows)
            names = [item["name"] for item in tree["operations"]]
            begun = {
                key_of(self._saga_id, names[line[1]], line[2], line[4])
                for _, line in lines
                if line[0] == STARTED and line[2] != ASK
            }
        key = next((key for key in self._keys if key in begun), None)
        if key is None:
            message = (
                f"saga {self._saga_id!r} has not begun a call with this key: expected the "
                "idempotency_key of one that was started"
            )
            raise LookupError(message)
        self._seen = seen
        self.mail = Mail(self._saga_id, seen.number, Letter(key, self._body))
        self.mail.until = latest()

    def check(self) -> None:
        """See that it is on record, and that nobody has said anything else before.

        Raises:
            SagaConflict: Somebody has.
            LookupError, JournalError: It is not.
        """
        self.mail.check()
        there = self.mail.there
        if there is not None:
            values = self.finisher.values
            if outcome_in(there.body, values) != outcome_in(self._body, values):
                message = f"{there.key!r} was answered before, and otherwise: that answer stands"
                raise SagaConflict(message)
            self._known = True
        ring()

    def claim(self) -> Begun | None:
        """Claim the saga, unless somebody drives it, who will find the answer, or has found it."""
        journal = self._journal
        seen = journal.find(self._saga_id)
        if seen is None or journal.drives(seen) or not journal.mail([seen.number])[seen.number]:
            return None
        self._take = take = Take(seen, counted=True, delay=backoff(seen.tries))
        take.until = latest()
        try:
            journal.write(take)
        except BaseException:
            journal.leave(take.claim)
            raise
        if isinstance(take.error, SagaInProgress):
            return None
        return Begun(take.check(), seen)

    def claim_and_read(self) -> Begun | None:
        """Claim the saga, and read it."""
        begun = self.claim()
        return None if begun is None else self.finisher.begin(begun.claim, begun.seen)

    def let_go(self) -> None:
        """Leave the saga, if it was claimed, after an interrupt: this process may live on."""
        if self._take is not None:
            self._journal.leave(self._take.claim)
            left = Leave(self._take.claim)
            left.until = latest()  # if it is not written by then, it is with what is next
            with suppress(JournalError):
                self._journal.write(left)

    def give_back(self, begun: Begun | None) -> None:
        """Leave the saga, with which nobody is going on."""
        if begun is not None:
            self._journal.leave(begun.claim)

    def stands(self, error: JournalError | None = None) -> Answered:
        """Say where the saga stands that is not gone on with here, perhaps for want of a journal.

        The answer is on record, so nothing is raised.
        """
        seen = self._seen
        try:
            seen = self._journal.find(self._saga_id) or seen
        except JournalError as trouble:
            error = error or trouble
        return Answered(self._saga_id, self._known, seen.status, error)

    def told(self, status: SagaStatus, error: BaseException | None) -> Answered:
        """Say what came of going on.

        Raises:
            BaseException: An interrupt that has come meanwhile.
        """
        if error is not None and is_interrupt(error):
            raise error
        return Answered(self._saga_id, self._known, status, error)


def _checked(
    journal: Journal,
    key: str,
    result: object,
    error: Exception | None,
    around: Sequence[Around],
    observers: Iterable[Observer],
    who: str | None,
    why: str,
) -> _Posted:
    check_journal(journal, "answer")
    saga_id, keys = read_key(key, "answer: key")
    if (result is MISSING) == (error is None):
        got = "neither" if error is None else "both"
        message = f"answer: expected either result= or error=, got {got}"
        raise SagaDefinitionError(message)
    if error is not None and not isinstance(error, Exception):
        raise refused("answer: error", "an exception, such as Declined('expired card')", error)
    around = check_around(around, "answer")
    check_who("answer", who, why)
    finisher = Finisher(journal, observers, around, MAX_TRIES)
    note = None if who is None else note_of(who, why, "answer")
    try:
        body = write_letter(result, error, finisher.values, note)
    except NotStorableError as wrong:
        message = f"answer: result: it cannot be kept: {wrong}"
        raise SagaDefinitionError(message) from None
    return _Posted(journal, finisher, saga_id, keys, body)


def _goes_on_itself(journal: Journal) -> bool:
    """Tell whether a journal is an engine, whose workers go on with what is answered."""
    return hasattr(journal, "await_rest")


def _is_held() -> bool:
    """Tell whether nothing may be gone on with here, and say so, once for each reason."""
    reasons = [reason for hold in driving.holds if (reason := hold()) is not None]
    for reason in reasons:
        if reason not in _told:
            _told.add(reason)
            complain("answer() leaves sagas to a worker: %s", reason)
    return bool(reasons)


_told: set[str] = set()
