"""What a run that did not complete has come to, as the exception that its caller gets."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from py_api_saga.definition import Definition
from py_api_saga.exceptions import SagaException, SagaStuck
from py_api_saga.report import Report
from py_api_saga.status import SagaStatus, Status
from py_api_saga.stuck import StuckReason
from py_api_saga.trouble import Trouble
from py_api_saga.wording import as_text

_STUCK = SagaStatus.STUCK  # looking up a member of an Enum costs 60 ns, a global 5


def failure(
    identify: Callable[[], str],
    definition: Definition,
    outcome: SagaStatus,
    statuses: list[Status],
    results: list[Any],
    trouble: Trouble,
    stuck: dict[int, StuckReason],
) -> SagaException:
    """Add up what went wrong to the exception that the caller gets.

    Args:
        identify: Gives the id of the run.
        definition: What it was to do.
        outcome: How it ended.
        statuses: By operation; the exception keeps this and what follows.
        results: By operation.
        trouble: What went wrong.
        stuck: Why each operation is stuck that is.
    """
    errors = trouble.errors
    failed: int | None
    if errors:
        if len(errors) > 1:
            errors = dict(sorted(errors.items()))
        failed = min(errors)
        error = errors[failed]
    else:
        failed = statuses.index(Status.PENDING) if Status.PENDING in statuses else None
        if trouble.reasons:
            error = trouble.reasons[0]
        else:
            error = RuntimeError("the process that ran the saga died")
            if Status.STUCK in statuses:
                failed = statuses.index(Status.STUCK)
    kind = SagaStuck if outcome is _STUCK else SagaException
    undone, undo_errors, texts = None, trouble.undo_errors, None
    if trouble.undone:
        undone = [trouble.undone[i] for i in _in_order(trouble.undone, definition)]
    if undo_errors:
        undo_errors = {i: undo_errors[i] for i in _in_order(undo_errors, definition)}
        texts = [as_text(raised, str) for raised in undo_errors.values()]
    label = None if failed is None else definition.operations[failed].label
    exception = kind(error, label, undone, texts)
    reasons: list[BaseException] = []
    if errors and trouble.reasons:
        reasons = [
            reason for reason in trouble.reasons if all(reason is not e for e in errors.values())
        ]
    exception._told = report = Report()  # noqa: SLF001 - set here alone, and read by its own class
    report.identify, report.outcome, report.stuck = identify, outcome, stuck
    report.name_all, report.after = definition.names.all, definition.after
    report.statuses, report.results, report.failed = statuses, results, failed
    report.passed = definition.pivot >= 0 and statuses[definition.pivot] is Status.SUCCEEDED
    report.errors, report.undo_errors, report.reasons = errors, undo_errors, reasons
    report.doubted = trouble.doubted
    return exception


def _in_order(ended: Container[int], definition: Definition) -> list[int]:
    """Sort what was compensated: a chain goes backwards, at once is in operation order."""
    places = range(len(definition.operations))
    return [i for i in (reversed(places) if definition.is_chain else places) if i in ended]
