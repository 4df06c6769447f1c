"""Where a saga on record stands, for whoever asks meanwhile: the page of an order, say."""

from __future__ import annotations

from typing import NamedTuple

from py_api_saga.entries import attempt_of, value_of
from py_api_saga.exceptions import JournalError, check_journal
from py_api_saga.execution import Execution
from py_api_saga.journal.changes import OPEN
from py_api_saga.journal.format.sagas import NOTE, PARKED, Recorded, folding, read_rows
from py_api_saga.journal.format.values import Values
from py_api_saga.journal.protocol import Journal
from py_api_saga.keys import key_of
from py_api_saga.report import OperationReport
from py_api_saga.status import MISSING, SagaStatus
from py_api_saga.stuck import stuck_words
from py_api_saga.trouble import Trouble
from py_api_saga.wording import in_line


class SagaStanding(NamedTuple):
    """Where a saga stands.

    Attributes:
        saga_id: Its id.
        name: Its name, or None.
        status: RUNNING or COMPENSATING while it is open, whether or not a process is at it; then
            COMPLETED, COMPENSATED or STUCK.
        reason: Why it is stuck, in words; None if it is not.
        operations: What became of each, by name, in order, like the `operations` of an exception;
            empty if its details were purged.
        awaited: The idempotency keys of the calls that have only begun something, and that are to
            be answered, in operation order; empty if it waits for none.
        due: When the first of them is too late, or its deadline, whichever is sooner, seconds since
            1970; None for never, and if it waits for none.
    """

    saga_id: str
    name: str | None
    status: SagaStatus
    reason: str | None
    operations: dict[str, OperationReport]
    awaited: tuple[str, ...] = ()
    due: float | None = None


def saga_status(journal: Journal, saga_id: str) -> SagaStanding | None:
    """Tell where a saga stands, without running or claiming anything.

    It reads one saga, and waits for nobody who writes. Under asyncio call it in a thread:
    `await asyncio.to_thread(saga_status, journal, saga_id)`.

    Args:
        journal: Where the saga is.
        saga_id: Which one.

    Returns:
        Where it stands; None if there is no saga of this id, or not before a transaction commits.

    Raises:
        SagaDefinitionError: `journal` is none.
        JournalError: The journal can't be read, or the saga names a type that is not in `modules=`,
            or was sealed by another codec.
    """
    check_journal(journal, "saga_status")
    seen = journal.find(saga_id)
    if seen is None:
        return None
    rows = () if seen.digest is not None else journal.rows([seen.number])[seen.number]
    if not rows:  # purged, perhaps just now
        return SagaStanding(saga_id, seen.name, seen.status, None, {})
    try:
        recorded = read_rows(rows, Values(journal))
        with folding():
            execution = Execution(recorded.definition, recorded.entries)
    except JournalError as error:
        message = f"saga {saga_id!r}: {error}"
        raise JournalError(message) from error
    is_stuck = seen.status is SagaStatus.STUCK
    reason = what_is_stuck(recorded, execution) if is_stuck else None
    operations = _operations(recorded, execution)
    awaited = keys_awaited(saga_id, recorded, execution)
    due = due_of(recorded, execution) if awaited else None
    return SagaStanding(saga_id, seen.name, seen.status, reason, operations, awaited, due)


def keys_awaited(saga_id: str, recorded: Recorded, execution: Execution) -> tuple[str, ...]:
    """Give the idempotency keys of the calls that wait for an answer, in operation order."""
    names, keys = recorded.definition.names.all(), []
    for _, entry in sorted(execution.awaited.items()):
        i, kind, _, generation = attempt_of(entry)
        keys.append(key_of(saga_id, names[i], kind, generation))
    return tuple(keys)


def due_of(recorded: Recorded, execution: Execution) -> float | None:
    """Tell when something is to be done about a saga that waits, seconds since 1970; None: never.

    When the first answer is too late or its deadline has passed, whichever is sooner.
    """
    dues = [value_of(entry).due for entry in execution.awaited.values()]
    is_told_to_stop = execution.trouble is not None and execution.trouble.reasons
    if execution.saga is SagaStatus.RUNNING and not is_told_to_stop:
        dues.append(recorded.plan.until)
    return min((due for due in dues if due is not None), default=None)


def _operations(recorded: Recorded, execution: Execution) -> dict[str, OperationReport]:
    trouble = execution.trouble or Trouble()
    return {
        name: OperationReport(
            execution.status[i],
            None if (result := execution.results[i]) is MISSING else result,
            trouble.undo_errors.get(i, trouble.errors.get(i)),
        )
        for i, name in enumerate(recorded.definition.names.all())
    }


def parked(recorded: Recorded) -> str | None:
    """Say why recovery has given up on a saga, unless somebody has decided since."""
    last = next(
        ((kind, says) for _, kind, says in reversed(recorded.notes) if kind in (NOTE, PARKED)), None
    )
    return None if last is None or last[0] == NOTE else str(last[1].get("reason"))


def what_is_stuck(recorded: Recorded, execution: Execution) -> str:
    """Say in a line why a saga is stuck: why recovery gave up, else why each operation is."""
    if execution.standing in OPEN and (reason := parked(recorded)) is not None:
        return f"recovery gave up: {in_line(reason)}"
    trouble, names = execution.trouble or Trouble(), recorded.definition.names.all()
    lines = []
    for i, why in execution.stuck_reasons().items():
        words = stuck_words(why, trouble.errors.get(i), trouble.undo_errors.get(i))
        lines.append(f"{in_line(names[i])}: {words}")
    return "; ".join(lines)
