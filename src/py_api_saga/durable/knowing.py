"""Sagas that are in a journal: answered for if they have ended, gone on with if they have not.

The only code that maps a name in a journal to a function. Going on is the constructor: the entries
are folded, RECOVERED is told, and the same executors go on that any run has.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, NoReturn

from py_api_saga.calls import IS_ASYNC
from py_api_saga.definition import Definition, Results
from py_api_saga.durable.reckoning import first_intents, too_old
from py_api_saga.durable.recorder import Recorder
from py_api_saga.durable.run import DurableRun, Unready, pending_of, recovering
from py_api_saga.durable.unready import unready
from py_api_saga.entries import recovered
from py_api_saga.exceptions import (
    JournalError,
    SagaConflict,
    SagaException,
    SagaInProgress,
    SagaPending,
)
from py_api_saga.execution import Execution
from py_api_saga.executors.around import surround
from py_api_saga.executors.attempt import clocked
from py_api_saga.executors.driving import change, executor, seen
from py_api_saga.executors.orchestrator import make_calls
from py_api_saga.executors.run import Run
from py_api_saga.executors.turns import WAIT, WRITE, turns
from py_api_saga.journal.changes import (
    OPEN,
    Change,
    Claim,
    Leave,
    Letter,
    Row,
    Summary,
    Take,
    in_progress,
    latest,
)
from py_api_saga.journal.format.json_text import dumps
from py_api_saga.journal.format.sagas import (
    NOTE,
    PARKED,
    Recorded,
    argument_conflict,
    digest,
    folding,
    read_lines,
    read_rows,
    reading,
)
from py_api_saga.journal.format.values import Values
from py_api_saga.journal.protocol import Journal
from py_api_saga.observer import Observer
from py_api_saga.outcome import failure
from py_api_saga.status import SagaStatus
from py_api_saga.trouble import Trouble


def namesake(recorder: Recorder) -> tuple[Summary, Sequence[Row]]:
    """Find the saga that has the id of another, and see that it is the same.

    Which it surely is if that other one has written it down itself.
    """
    journal, saga_id = recorder.journal, recorder.saga_id
    seen = journal.find(saga_id)
    if seen is None:
        message = f"saga {saga_id!r} was purged while it was being read; try again"
        raise JournalError(message)
    if seen.digest is not None:
        if recorder.head and digest(recorder.given, recorder.values) != seen.digest:
            _conflict(saga_id, "its name or its arguments differ")
        message = (
            f"saga {saga_id!r} has run before and was {seen.status.value}; what became of each "
            "operation was purged: give a new attempt a new saga_id"
        )
        conflict = SagaConflict(message)
        conflict._may_stand = True  # noqa: SLF001 - what has run before is on no record
        raise conflict
    rows = journal.rows([seen.number])[seen.number]
    if recorder.head:
        with reading(f"saga {saga_id!r}"):
            reason = argument_conflict(read_lines(rows)[0], recorder.given, recorder.values)
        if reason is not None:
            _conflict(saga_id, reason)
    return seen, rows


def _conflict(saga_id: str, reason: str) -> NoReturn:
    message = (
        f"saga_id {saga_id!r} is that of another saga: {reason}; give each attempt an id of its own"
    )
    raise SagaConflict(message)


def known(run: DurableRun) -> Results | tuple[DurableRun, int | None]:
    """Answer for a saga that is there: its results, or a run that goes on with it."""
    recorder = run.recorder
    journal, values = recorder.journal, recorder.values
    seen, rows = namesake(recorder)
    if seen.status not in OPEN:
        return results_of(seen, read_rows(rows, values))
    if (pending := waits(journal, values, seen, rows)) is not None:
        raise pending
    claim = claim_of(journal, Take(seen), recorder.deadline)
    try:
        going_on, limit = taken(journal, values, claim, seen, run.observers)
        if run.around:
            surround(going_on, run.around)
    except BaseException:
        journal.leave(claim)
        raise
    return going_on, limit


def waits(
    journal: Journal, values: Values, seen: Summary, rows: Sequence[Row]
) -> SagaPending | None:
    """Say for what a saga waits that nobody drives, if that is so, and nobody has to go on."""
    if seen.tries or seen.due <= journal.now() or journal.drives(seen):
        return None
    if journal.mail([seen.number])[seen.number]:
        return None
    recorded = read_rows(rows, values)
    with folding(f"the entries of saga {seen.saga_id!r}"):
        execution = Execution(recorded.definition, recorded.entries)
    if not execution.suspended:
        return None
    return pending_of(seen.saga_id, recorded.definition, execution, seen.due)


def claim_of(journal: Journal, take: Take, deadline: float | None = None) -> Claim:
    """Claim a saga; gives up where `latest` says so.

    Raises:
        SagaInProgress: Somebody drives it, and is not to be forced out.
        JournalError: It could not be written, or not in time.
    """
    if not take.force and journal.drives(take.seen):
        raise who_is_at(journal, take.seen)
    take.until = latest(deadline)
    try:
        journal.write(take)
    except BaseException:
        journal.leave(take.claim)
        raise
    return take.check()


def who_is_at(journal: Journal, seen: Summary) -> SagaInProgress:
    """A saga is being driven; an engine says what of it runs."""
    engine: Any = journal
    said: SagaInProgress = (
        engine.who_is_at(seen) if hasattr(journal, "who_is_at") else in_progress(seen.saga_id)
    )
    return said


def note_of(who: str, why: str, did: str) -> str:
    """Write down what a person has decided; what is not valid Unicode in it is replaced."""
    said = {"who": who, "why": why, "did": did}
    texts = {key: text.encode(errors="replace").decode() for key, text in said.items()}
    return dumps([NOTE, texts])


def note_of_waiting(name: str) -> str:
    """Write down that a saga waits for what the process that has claimed it lacks."""
    return dumps([NOTE, {"who": "recovery", "why": "", "did": "leave it", "waits_for": name}])


def taken(
    journal: Journal,
    values: Values,
    claim: Claim,
    seen: Summary,
    observers: tuple[Observer, ...],
    rows: Sequence[Row] | None = None,
    mail: Sequence[Letter] | None = None,
) -> tuple[DurableRun, int | None]:
    """Go on with a saga that was claimed; its rows and its mail may have been read since."""
    if rows is None:
        rows = journal.rows([claim.number])[claim.number]
    if mail is None:
        mail = journal.mail([claim.number])[claim.number]
    recorded = read_rows(rows, values, values.names.callee)
    return _resume(journal, values, claim, seen, recorded, observers, mail), recorded.plan.limit


def results_of(seen: Summary, recorded: Recorded) -> Results:
    """Give the results of a saga that has ended, or raise what was raised then."""
    definition = recorded.definition
    with folding(f"the entries of saga {seen.saga_id!r}"):
        execution = Execution(definition, recorded.entries)
    if seen.status is SagaStatus.COMPLETED:
        return execution.returned()
    raise _failure(seen, recorded, execution)


def _failure(seen: Summary, recorded: Recorded, execution: Execution) -> SagaException:
    """Make the exception of a saga that is in the journal."""
    trouble = execution.trouble or Trouble()
    parked = next((says for _, kind, says in reversed(recorded.notes) if kind == PARKED), None)
    if execution.saga in OPEN and parked is not None:
        trouble.reasons.append(JournalError(f"it was parked: {parked.get('reason')}"))
    exception = failure(
        lambda: seen.saga_id,
        recorded.definition,
        seen.status,
        execution.status,
        execution.results,
        trouble,
        execution.stuck_reasons(),
    )
    cause: Any = exception.operation_error  # never a text, which is for what was never run
    exception.__cause__ = cause
    return exception


# --- going on ----------------------------------------------------------------------------------


def _resume(
    journal: Journal,
    values: Values,
    claim: Claim,
    seen: Summary,
    recorded: Recorded,
    observers: tuple[Observer, ...],
    mail: Sequence[Letter],
) -> DurableRun:
    """Fold what is recorded and tell that another process takes over.

    Raises:
        JournalError: The entries contradict each other.
    """
    definition, plan = recorded.definition, recorded.plan
    recorder = Recorder(journal, claim.saga_id, values)
    recorder.claim = claim
    left = None if plan.until is None else max(0.0, plan.until - journal.now())
    in_loop = plan.in_loop or _has_coroutines(definition)
    drive_late = _finish_late if in_loop else make_calls
    with folding(f"the entries of saga {seen.saga_id!r}"):
        run = DurableRun(
            definition,
            plan.name,
            observers,
            left,
            drive_late,
            recorder,
            recorded.entries,
            seen.status,
        )
    run.times, run.trace = recorded.times, recorded.tree.get("trace")
    execution = run.execution
    if mail or execution.awaited:
        run.take_over_mail(mail)
    # Else it was never begun, or needs nobody; or it waits, and nothing was lost.
    if execution.entries and not (execution.at_rest or _lost_nothing(execution)):
        first = first_intents(recorded.entries, recorded.times)
        execution.tell(recovered(too_old(execution, first, journal.now() - plan.max_age)))
    return run


def _lost_nothing(execution: Execution) -> bool:
    """Tell whether a saga only waits: no process was needed for it, so none has died.

    But for attempts that were given up and may live on in the one that it was left by, which is
    not known. Where a crash turns nothing back they are taken for dead: else nobody would ask what
    came of them. If one lands all the same, it says so by an answer.
    """
    if not execution.suspended:
        return False
    trouble = execution.trouble
    if trouble is None or not trouble.stragglers:
        return True
    goes_on = execution.definition.on_crash == "resume" or execution.passed
    return not (goes_on or execution.backward)


def _finish_late(run: Run) -> None:
    from py_api_saga.executors import event_loop  # noqa: PLC0415 - asyncio: 34 ms to import

    home = recovering.get()
    if home is None or home[0] is None:
        event_loop.finish_late(run)
    else:
        home[0].call(run, partial(event_loop.undo_late, run))


def _judge() -> Unready:
    """Make what looks into errors, but not at what this thread handles: it is behind all."""
    return partial(unready, handled=sys.exception())


def go_on(run: DurableRun, limit: int | None) -> Results:
    """DurableRun to the end; coroutine functions in the loop of this recovery, or else a new one.

    Raises:
        Exception: What says that this process is not set up for it: the saga stays as it is.
    """
    return copy_context().run(_go_on, run, limit)  # what is set there is over with it, surely


def _go_on(run: DurableRun, limit: int | None) -> Results:
    home = recovering.get()
    recovering.set((None if home is None else home[0], _judge()))
    try:
        if _has_coroutines(run.definition):
            results: Results = _in_side_loop(run, limit)
            return results
        return executor(limit)(run)
    finally:
        run.leave()
        if run.unready is not None:
            run.recorder.journal.write(*_giving_back(run))


def _in_side_loop(run: DurableRun, limit: int | None) -> Any:
    """Let a loop in a thread of ours run it: that of this recovery, if there is one."""
    import asyncio  # noqa: PLC0415 - 34 ms to import

    from py_api_saga.executors.side_loop import SideLoop  # noqa: PLC0415 - as above

    loop, judge = recovering.get() or (None, _judge())
    # A loop that this thread has kept from running can't be waited for.
    if loop is not None and asyncio._get_running_loop() is None:  # noqa: SLF001 - it raises nothing
        return loop.call(run, partial(ago_on, run, limit))
    with SideLoop() as loop:
        recovering.set((loop, judge))
        return loop.call(run, partial(ago_on, run, limit))


def steps(run: DurableRun, limit: int | None) -> Iterator[Change]:
    """Like `go_on`, but give what is to be written: goes on, in whatever thread, once it is.

    Only a chain of plain functions does so; others wait. No interrupt may strike between two
    steps, as in a thread that is not the main one.
    """
    if limit is not None or _has_coroutines(run.definition):
        go_on(run, limit)
        return
    try:
        change(run)
        with seen(run):
            yield from _outlasting(run)
            yield from _giving_back(run)
            run.finish()
    finally:
        run.leave()


def _outlasting(run: DurableRun) -> Iterator[Change]:
    """Make every call in this thread; roll back if an interrupt strikes: of an observer, say."""
    while True:
        try:
            for turn in turns(run):
                if turn == WRITE:
                    yield run.unwritten
                elif turn == WAIT:
                    run.pause()
                else:
                    run.tell(clocked(run, turn[0]))
        except GeneratorExit:  # nobody goes on
            raise
        except BaseException as interrupt:  # noqa: BLE001 - raised again by `finish`
            if (error := run.repair(interrupt, run.fate_of)) is not None:
                run.give_up(error)
        else:
            return


async def ago_on(run: DurableRun, limit: int | None) -> Results:
    """Like `go_on`, in the loop that runs."""
    from py_api_saga.executors.event_loop import execute as in_loop  # noqa: PLC0415 - asyncio

    token = recovering.set(recovering.get() or (None, _judge()))
    try:
        return await in_loop(run, limit)
    finally:
        try:
            if run.unready is not None:
                await run.recorder.journal.awrite(*_giving_back(run))
        finally:
            recovering.reset(token)


def _giving_back(run: DurableRun) -> Iterator[Change]:
    """Give what makes it durable at once that a saga was left for which this process is not set up.

    Until then others would take it for driven, and this process may have nothing else to write.
    """
    recorder = run.recorder
    if run.unready is not None and recorder.claim is not None:
        left = Leave(recorder.claim)
        left.until = latest()  # if it is not written by then, it is with what is next
        yield left


def _has_coroutines(definition: Definition) -> bool:
    for operation in definition.operations:
        for call in (operation.action, operation.compensation, operation.policy.ask):
            if call is not None and call[IS_ASYNC]:
                return True
    return False
