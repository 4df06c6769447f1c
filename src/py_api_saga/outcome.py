"""What a run that did not complete has come to, as the exception that its caller gets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
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
    undone = texts = None
    if trouble.undone:
        undone = [trouble.undone[i] for i in _in_order(trouble.undone, definition.is_chain)]
    if trouble.undo_errors:
        order = _in_order(trouble.undo_errors, definition.is_chain)
        texts = [as_text(trouble.undo_errors[i], str) for i in order]
    label = None if failed is None else definition.operations[failed].label
    exception = kind(error, label, undone, texts)
    exception._told = partial(  # noqa: SLF001 - set here alone, and read by its own class
        _report, identify, outcome, statuses, results, failed, trouble, stuck,
        definition.names.all, definition.after, definition.pivot, definition.is_chain,
    )  # fmt: skip
    return exception


def _report(
    identify: Callable[[], str],
    outcome: SagaStatus,
    statuses: list[Status],
    results: list[Any],
    failed: int | None,
    trouble: Trouble,
    stuck: dict[int, StuckReason],
    name_all: Callable[[], Sequence[str]],
    after: Sequence[Sequence[int]],
    pivot: int,
    is_chain: bool,  # noqa: FBT001 - as it is in a definition
) -> Report:
    """Tell what became of it all; not the definition, which holds the arguments of calls."""
    report = Report()
    report.identify, report.outcome, report.stuck = identify, outcome, stuck
    report.name_all, report.after = name_all, after
    report.statuses, report.results, report.failed = statuses, results, failed
    report.passed = pivot >= 0 and statuses[pivot] is Status.SUCCEEDED
    report.errors = errors = dict(sorted(trouble.errors.items()))
    order = _in_order(trouble.undo_errors, is_chain)
    report.undo_errors = {i: trouble.undo_errors[i] for i in order}
    report.reasons = []
    if errors:
        report.reasons = [
            reason for reason in trouble.reasons if all(reason is not e for e in errors.values())
        ]
    report.doubted = trouble.doubted
    return report


def _in_order(ended: Iterable[int], is_chain: bool) -> list[int]:  # noqa: FBT001 - as above
    """Sort what was compensated: a chain goes backwards, at once is in operation order."""
    return sorted(ended, reverse=is_chain)
