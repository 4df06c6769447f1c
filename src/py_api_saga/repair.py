"""What a person decides about a saga that is stuck, or that nobody drives.

Each decision is an entry of the machine, with a note in the same row: who made it, and why; the
machine refuses what makes no sense. A decision calls nothing: whoever recovers next goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from py_api_saga import entries
from py_api_saga.durable.knowing import claim_of, note_of, who_is_at
from py_api_saga.entries import COMPENSATION, Entry, kind_of
from py_api_saga.exceptions import JournalError, SagaError, SagaInProgress, check_journal
from py_api_saga.execution import Execution, IllegalMoveError
from py_api_saga.journal.changes import (
    Append,
    Claim,
    Leave,
    Purge,
    Row,
    Summary,
    Take,
    changed,
    latest,
)
from py_api_saga.journal.format.entries import write_entry
from py_api_saga.journal.format.functions import NotStorableError
from py_api_saga.journal.format.sagas import (
    PARKED,
    Recorded,
    digest,
    folding,
    read_lines,
    read_rows,
)
from py_api_saga.journal.format.sealing import SealedError
from py_api_saga.journal.format.values import Trees, Values
from py_api_saga.journal.protocol import Journal
from py_api_saga.status import MISSING, SagaStatus, Status
from py_api_saga.wording import as_text, in_line

ENDED = frozenset({SagaStatus.COMPLETED, SagaStatus.COMPENSATED})


class DecisionError(SagaError):
    """The decision makes no sense, or not as the saga stands; nothing was changed."""


def resolve(
    journal: Journal,
    saga_id: str,
    operation: str,
    status: Status,
    result: object = MISSING,
    *,
    ended: bool = False,
    seen: Summary | None = None,
    who: str,
    why: str,
) -> SagaStatus:
    """Say what came of a stuck operation.

    One that waits for an answer is answered instead: see `answer`.

    Args:
        journal: Where the saga is.
        saga_id: Which one.
        operation: The name of the operation.
        status: SUCCEEDED or FAILED: whether its action took effect; in a rollback also
            COMPENSATED or SKIPPED, if its effect was undone by hand or is to stand.
        result: With SUCCEEDED, what the action returned, for those who need it.
        ended: Whether calls that were given up after their `timeout=` have ended for sure, with
            their process or otherwise. The journal can't know; while one may live, what it could
            undo or do again is refused.
        seen: The saga as it was seen, if it is to be refused if it has changed since.
        who: Who says so; not blank.
        why: How they know; not blank.

    Returns:
        Where the saga stands since.

    Raises:
        LookupError: There is no such saga or operation.
        DecisionError: It isn't stuck, or can't be resolved like that: not as FAILED past the
            pivot, nor if a call that was given up has succeeded after all; `status` is
            not a `Status`; or `who` or `why` says nothing.
        SagaInProgress: Somebody drives it, or it has changed since it was seen.
        SagaDefinitionError: `journal` is none.
        JournalError: The journal can't be read or written.
    """
    if not isinstance(status, Status):
        expected = "Status.SUCCEEDED, .FAILED, .COMPENSATED or .SKIPPED"
        message = f"status: expected {expected}, got {type(status).__name__}"
        raise DecisionError(message)
    _see_said(why, "why: expected how it is known what came of the operation")

    def decide(recorded: Recorded, execution: Execution) -> list[Entry]:
        i = _index(recorded, operation)
        _see_unawaited(saga_id, operation, execution, i)
        if status is Status.FAILED and execution.succeeded_late(i):
            message = (
                f"saga {saga_id!r}: {operation} cannot be resolved as failed: it was given up, but "
                "succeeded after all, as is on record"
            )
            raise DecisionError(message)
        return [*_buried(ended=ended), entries.resolved(i, status, result)]

    did = f"resolve {operation} as {status.value}"
    return _decide(journal, saga_id, did, decide, who, why, seen)


def again(
    journal: Journal,
    saga_id: str,
    operation: str | None = None,
    *,
    new_key: bool = False,
    ended: bool = False,
    seen: Summary | None = None,
    who: str,
    why: str,
) -> SagaStatus:
    """Call once more, in the same direction, what is stuck; or go on with a saga that was parked.

    An open saga that recovery has tried before is due at once; either way its tries are counted
    anew. What can't be undone without a result that nobody knows is not called: resolve it.

    Args:
        journal: Where the saga is.
        saga_id: Which one.
        operation: The name of one operation; None for all that are stuck.
        new_key: Whether under a new idempotency key, so that services take it for a new call.
        ended: As in `resolve`.
        seen: The saga as it was seen, if it is to be refused if it has changed since.
        who: Who says so; not blank.
        why: For which reason; may be "".

    Returns, Raises: As `resolve`.
    """

    def decide(recorded: Recorded, execution: Execution) -> list[Entry]:
        stuck = [i for i, status in enumerate(execution.status) if status is Status.STUCK]
        chosen = stuck if operation is None else [_index(recorded, operation)]
        for i in chosen:
            _see_unawaited(saga_id, recorded.definition.names.all()[i], execution, i)
        if not chosen and execution.suspended and not _is_parked(recorded):
            message = f"saga {saga_id!r} has no operation that is stuck: it waits for an answer"
            raise DecisionError(message)
        if not chosen and execution.at_rest:
            message = f"saga {saga_id!r} has no operation that is stuck"
            raise DecisionError(message)
        able = [i for i in chosen if i not in stuck or execution.may_be_called(i)]
        if chosen and not able:
            message = (
                f"saga {saga_id!r}: no call can undo what is stuck: that needs what the action "
                "returned, which nobody knows; resolve it instead"
            )
            raise DecisionError(message)
        return [*_buried(ended=ended), *(entries.again(i, new_key=new_key) for i in able)]

    did = f"retry{'' if operation is None else ' ' + operation}{' --new-key' * new_key}"
    return _decide(journal, saga_id, did, decide, who, why, seen)


def compensate(
    journal: Journal, saga_id: str, *, seen: Summary | None = None, who: str, why: str
) -> SagaStatus:
    """Undo a saga that nobody drives, stuck or not; refused once its pivot has passed.

    Args, Returns, Raises: As `again`.
    """

    def decide(_: Recorded, execution: Execution) -> list[Entry]:
        if execution.passed:
            message = f"saga {saga_id!r} has passed its pivot and can only go forward"
            raise DecisionError(message)
        if execution.rolling:
            message = (
                f"saga {saga_id!r} is being undone already: what is stuck can be called again, or "
                "resolved"
            )
            raise DecisionError(message)
        return [entries.abort(InterruptedError(f"{who} said so: {why}"))]

    return _decide(journal, saga_id, "compensate", decide, who, why, seen)


def cancel(
    journal: Journal, saga_id: str, *, seen: Summary | None = None, who: str, why: str
) -> SagaStatus:
    """Undo a saga that is to go on; on an engine also one that runs, which hears of it.

    Args, Returns: As `again`.

    Raises:
        DecisionError: It is stuck, so nothing is to come that could be cancelled; or as
            `compensate`.
        Exception: As `again`.
    """
    found = journal.find(saga_id)
    if found is not None and found.status is SagaStatus.STUCK:
        message = (
            f"saga {saga_id!r} is stuck, so nothing is to come that could be cancelled: "
            "`saga compensate` gives it up, `saga retry` goes on with it, and `saga why` says "
            "what else is possible"
        )
        raise DecisionError(message)
    engine: Any = journal
    if found is None or not hasattr(journal, "cancel") or not journal.drives(found):
        return compensate(journal, saga_id, seen=seen, who=who, why=why)
    if seen is not None and _place(seen) != _place(found):
        raise changed(seen)
    _see_said(who, "who: expected the name of whoever decides")
    status: SagaStatus = engine.cancel(saga_id, who=who, why=why)
    return status


def purge(journal: Journal, seen: Summary, *, forget: bool = False) -> None:
    """Drop the rows of a saga that has ended; with `forget` its id is free again.

    Raises:
        DecisionError: It has not ended.
        SagaInProgress: Something has come in between.
        JournalError: The journal can't be read or written.
    """
    for _, error in purge_all(journal, [seen], forget=forget):
        raise error


def purge_all(
    journal: Journal, sagas: Sequence[Summary], *, forget: bool = False
) -> list[tuple[Summary, Exception]]:
    """Drop the rows of sagas that have ended, in one commit; with `forget` their ids are free.

    Returns:
        Those that were left as they are, with what `purge` raises for each.
    """
    check_journal(journal, "repair")
    rows = {} if forget else journal.rows([seen.number for seen in sagas])
    changes: list[tuple[Summary, Purge]] = []
    left: list[tuple[Summary, Exception]] = []
    for seen in sagas:
        try:
            what = _digest(journal, seen, rows.get(seen.number, ()), forget=forget)
        except (DecisionError, SagaInProgress, JournalError) as error:
            left.append((seen, error))
        else:
            changes.append((seen, purge := Purge(seen, what, forget=forget)))
            purge.until = latest()
    journal.write(*(change for _, change in changes))
    left += [(seen, change.error) for seen, change in changes if change.error is not None]
    return left


def _digest(journal: Journal, seen: Summary, rows: Sequence[Row], *, forget: bool) -> str:
    if seen.status not in ENDED:
        message = f"saga {seen.saga_id!r} has not ended: it is {seen.status.value}"
        raise DecisionError(message)
    if forget:
        return ""
    if not rows:
        if seen.digest is None:
            message = f"saga {seen.saga_id!r} was purged meanwhile"
            raise SagaInProgress(message)
        return seen.digest
    try:
        return digest(read_lines(rows)[0], Values(journal))
    except Exception as error:  # whatever a malformed tree makes of this code, or a codec of a text
        message = f"saga {seen.saga_id!r} cannot be read: {as_text(error, str)}"
        if not isinstance(error, SealedError):  # which its codec opens
            message += "; only forget=True (--forget) drops it unread, and its id with it"
        raise JournalError(message) from error


def _buried(*, ended: bool) -> list[Entry]:
    """Tell, as after a crash, that no call of a saga is running any more."""
    return [entries.recovered()] if ended else []


def _see_said(text: object, expected: str) -> None:
    """See that a text says something."""
    if not isinstance(text, str) or not text.strip():
        got = repr(text) if isinstance(text, str) else type(text).__name__
        message = f"{expected}, got {got}"
        raise DecisionError(message)


def _see_unawaited(saga_id: str, operation: str, execution: Execution, i: int) -> None:
    """See that an operation does not wait for an answer, which beats what a person decides."""
    if i in execution.awaited:
        undo = " --compensation" * (kind_of(execution.awaited[i]) == COMPENSATION)
        message = (
            f"saga {saga_id!r}: {operation} waits for an answer: answer it, by "
            f"`saga answer {saga_id} {in_line(operation)}{undo}` with --result JSON or --error TEXT"
        )
        raise DecisionError(message)


def _is_parked(recorded: Recorded) -> bool:
    """Tell whether recovery has given up on a saga, and nobody has decided since."""
    return bool(recorded.notes) and recorded.notes[-1][1] == PARKED


def _index(recorded: Recorded, operation: str) -> int:
    names: Sequence[str] = recorded.definition.names.all()
    if operation not in names:
        message = f"there is no operation {operation!r}; there are {', '.join(map(in_line, names))}"
        raise LookupError(message)
    return names.index(operation)


def _decide(
    journal: Journal,
    saga_id: str,
    did: str,
    decide: Callable[[Recorded, Execution], list[Entry]],
    who: str,
    why: str,
    known: Summary | None = None,
) -> SagaStatus:
    """Claim a saga, write down what was decided, and leave it."""
    check_journal(journal, "repair")
    _see_said(who, "who: expected the name of whoever decides")
    if not isinstance(why, str):
        message = f"why: expected a text, got {type(why).__name__}"
        raise DecisionError(message)
    seen = journal.find(saga_id)
    if seen is None:
        message = f"there is no saga {saga_id!r} in the journal"
        raise LookupError(message)
    if known is not None and _place(known) != _place(seen):
        raise changed(seen)
    if seen.status in ENDED:
        message = f"saga {saga_id!r} has ended: it is {seen.status.value}"
        raise DecisionError(message)
    if journal.drives(seen):
        raise who_is_at(journal, seen)
    note = note_of(who, why, did)
    _decided(journal, seen, decide)  # what is refused is refused before anything changes
    claim = claim_of(journal, Take(seen))
    try:
        lines, status = _decided(journal, seen, decide)
        body = f"[{','.join([note, *lines])}]"
        append = Append(claim, body, status, rested=True)
        append.until = latest()
        journal.write(append)
        append.check()
    finally:
        if not claim.over:
            _let_go(journal, claim)
    return status


def _let_go(journal: Journal, claim: Claim) -> None:
    """Leave a saga for whoever goes on, at once: this process may write nothing more for hours."""
    journal.leave(claim)
    left = Leave(claim)
    left.until = latest()  # if it is not written by then, it is with what is next
    with suppress(JournalError):
        journal.write(left)


def _place(seen: Summary) -> tuple[int, SagaStatus, int]:
    """Give what is another after whatever anybody has done about a saga."""
    return seen.number, seen.status, seen.epoch


def _decided(
    journal: Journal, seen: Summary, decide: Callable[[Recorded, Execution], list[Entry]]
) -> tuple[list[str], SagaStatus]:
    """Tell the machine what was decided: what is to be written, and where the saga stands then."""
    values = Values(journal)
    try:
        recorded = read_rows(journal.rows([seen.number])[seen.number], Trees(journal))
        with folding():
            execution = Execution(recorded.definition, recorded.entries)
    except JournalError as error:
        message = f"saga {seen.saga_id!r}: {error}"
        raise JournalError(message) from error
    lines = []
    try:
        for entry in decide(recorded, execution):
            execution.tell(entry)
            lines.append(write_entry(entry, values))
    except IllegalMoveError as error:
        message = f"saga {seen.saga_id!r}: {error}"
        raise DecisionError(message) from error
    except NotStorableError as error:
        message = f"saga {seen.saga_id!r}: the result cannot be kept: {error}"
        raise DecisionError(message) from None
    return lines, execution.standing
