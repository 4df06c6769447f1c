"""Many sagas at a time: their rows piece by piece, and why those are stuck that are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from py_api_saga.exceptions import JournalError
from py_api_saga.execution import Execution
from py_api_saga.journal.changes import Row, Summary
from py_api_saga.journal.format.values import Trees
from py_api_saga.journal.lasting import View
from py_api_saga.journal.protocol import Journal
from py_api_saga.standing import what_is_stuck
from py_api_saga.status import SagaStatus, Status
from py_api_saga.story.detail import at_a_glance, kind_of_error
from py_api_saga.story.saga import Story, fold, told
from py_api_saga.trouble import Trouble

_BATCH = 100  # sagas whose rows are read together


def listed(journal: View, sagas: Sequence[Summary]) -> list[dict[str, Any]]:
    """Give sagas as JSON has them in a list: each at a glance, and why it is stuck if it is.

    Also whether one that waits is answered, which somebody has to go on with then.
    """
    reasons = reasons_of(journal, [seen for seen in sagas if seen.status is SagaStatus.STUCK])
    answered = answered_of(journal, sagas)
    return [
        at_a_glance(seen, driven=journal.drives(seen))
        | {"answered": seen.number in answered, "reason": reasons.get(seen.number)}
        for seen in sagas
    ]


def answered_of(journal: View, sagas: Sequence[Summary]) -> Collection[int]:
    """Tell by number which of the sagas that wait have an answer that nobody has taken."""
    numbers = [seen.number for seen in sagas if seen.suspended]
    if not numbers:
        return ()
    return {number for number, letters in journal.mail(numbers).items() if letters}


def stories(journal: View, sagas: Sequence[Summary]) -> Iterable[Story]:
    """Read sagas, in their order; of one that can't be read, the story says why."""
    values, mail = Trees(journal), journal.mail([seen.number for seen in sagas])
    return (
        told(journal, seen, rows, values, mail[seen.number])
        for seen, rows in each_read(journal, sagas)
    )


def reasons_of(journal: View, sagas: Sequence[Summary]) -> Mapping[int, str]:
    """Say by number why sagas are stuck."""
    reasons = {}
    values = Trees(journal)
    for seen, rows in each_read(journal, sagas):
        try:
            recorded, execution, _ = fold(rows or (), values)
        except JournalError:
            reasons[seen.number] = "what was written down cannot be read"
        else:
            reasons[seen.number] = what_is_stuck(recorded, execution)
    return reasons


def of_error(journal: View, sagas: Sequence[Summary], error: str) -> Iterator[Summary]:
    """Give those in which an error of this very class was raised last; with its module or without.

    By what is stuck or, if nothing is, by anything.
    """
    values = Trees(journal)
    for seen, rows in each_read(journal, sagas):
        try:
            execution = fold(rows or (), values)[1]
        except JournalError:
            continue
        if any(kind == error or kind.endswith(f".{error}") for kind in kinds_of_error(execution)):
            yield seen


def kinds_of_error(execution: Execution) -> Iterator[str]:
    """Name the classes of what was raised last by what is stuck or, if nothing is, by anything."""
    trouble = execution.trouble or Trouble()
    errors = trouble.errors | trouble.undo_errors
    stuck = {i for i, status in enumerate(execution.status) if status is Status.STUCK}
    for i, error in errors.items():
        if not stuck or i in stuck:
            yield kind_of_error(error)


def each_read(
    journal: Journal | View, sagas: Sequence[Summary]
) -> Iterable[tuple[Summary, Sequence[Row] | None]]:
    """Give each saga with its rows; None where they can't be read, which keeps no other back."""
    for batch in batches(sagas):
        try:
            rows = journal.rows([seen.number for seen in batch])
        except JournalError:
            if len(batch) == 1:
                yield batch[0], None
            else:
                for seen in batch:
                    yield from each_read(journal, [seen])
        else:
            yield from ((seen, rows[seen.number]) for seen in batch)


def batches(sagas: Sequence[Summary], size: int = _BATCH) -> Iterable[Sequence[Summary]]:
    """Cut a list into pieces, so that not all rows are in memory at once."""
    return (sagas[start : start + size] for start in range(0, len(sagas), size))
