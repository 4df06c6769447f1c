"""`saga stats`: how many sagas there are, of which name, and what is unfinished in them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from py_api_saga.cli.opening import to_read
from py_api_saga.cli.printing import table, write, write_json
from py_api_saga.entries import recovered
from py_api_saga.exceptions import JournalError
from py_api_saga.execution import Execution
from py_api_saga.journal.changes import OPEN, Row, Summary
from py_api_saga.journal.format.values import Trees
from py_api_saga.journal.lasting import View
from py_api_saga.status import SagaStatus, Status
from py_api_saga.story.many import each_read
from py_api_saga.story.saga import fold
from py_api_saga.story.words import age, exact

_ENDS = (SagaStatus.COMPLETED, SagaStatus.COMPENSATED)
_UNFINISHED = (SagaStatus.RUNNING, SagaStatus.COMPENSATING, SagaStatus.STUCK)


class _Of:
    """What is counted of the sagas of one name, or of all of them."""

    def __init__(self) -> None:
        self.statuses = dict.fromkeys(_UNFINISHED + _ENDS, 0)
        self.oldest: Summary | None = None
        self.in_doubt = self.retries = self.waiting = 0

    def take_in(self, seen: Summary, in_doubt: int, retries: int) -> None:
        """Count an unfinished saga."""
        self.statuses[seen.status] += 1
        self.in_doubt += in_doubt
        self.retries += retries
        self.waiting += seen.suspended
        oldest = self.oldest
        if seen.status in OPEN and (oldest is None or seen.created < oldest.created):
            self.oldest = seen

    def as_json(self, *, ended: bool) -> dict[str, Any]:
        """Give it as JSON has it; those that have ended are null unless they were counted."""
        counts = {
            status.value: number if ended or status not in _ENDS else None
            for status, number in self.statuses.items()
        }
        oldest = self.oldest
        return {
            **counts,
            "oldest_open": oldest and {"saga_id": oldest.saga_id, "created": exact(oldest.created)},
            "waiting": self.waiting,
            "in_doubt": self.in_doubt,
            "retries": self.retries,
        }

    def cells(self, *, ended: bool) -> list[str]:
        """Give it as a line of a table."""
        counts = [self.statuses[status] for status in _UNFINISHED + _ENDS * ended]
        oldest = "-" if self.oldest is None else age(self.oldest.created)
        rest = (self.in_doubt, self.retries)
        return [*(f"{n:,}" for n in (*counts, self.waiting)), oldest, *(f"{n:,}" for n in rest)]


def main(arguments: argparse.Namespace) -> int:
    """Count."""
    ended = arguments.ended
    with to_read(arguments) as journal:
        everything, by_name, unread = _count(journal, arguments.name)
        if ended:
            _count_ended(journal.counts(), arguments.name, everything, by_name)
    if arguments.json:
        names = [{"name": name, **by_name[name].as_json(ended=ended)} for name in _order(by_name)]
        write_json({**everything.as_json(ended=ended), "unread": unread, "names": names})
    else:
        heads = ["NAME", "RUNNING", "COMPENSATING", "STUCK"]
        heads += ["COMPLETED", "COMPENSATED"] * ended
        rows = [[*heads, "WAITING", "OLDEST", "IN DOUBT", "RETRIES"]]
        rows += [[name or "-", *by_name[name].cells(ended=ended)] for name in _order(by_name)]
        write(*table([*rows, ["(all)", *everything.cells(ended=ended)]]))
        if unread:
            write(f"{unread:,} of them cannot be read: `saga doctor` says why")
    return 0


def _order(names: Mapping[str | None, _Of]) -> Sequence[str | None]:
    return sorted(names, key=lambda name: (name is None, name))


def _count(journal: View, name: str | None) -> tuple[_Of, dict[str | None, _Of], int]:
    """Count what is unfinished: in all, by name, and how many can't be read."""
    everything, by_name, unread, values = _Of(), dict[str | None, _Of](), 0, Trees(journal)
    for seen, rows in each_read(journal, journal.select(_UNFINISHED, name)):
        is_left = seen.status in OPEN and journal.drives(seen) is False
        found = _look_into(rows, values, is_left=is_left)
        unread += found is None
        for one in (everything, by_name.setdefault(seen.name, _Of())):
            one.take_in(seen, *(found or (0, 0)))
    return everything, by_name, unread


def _look_into(
    rows: Sequence[Row] | None, values: Trees, *, is_left: bool
) -> tuple[int, int] | None:
    """Count the operations in doubt, and the calls made again; None if it can't be read.

    What was in flight in a saga that its process has left is in doubt.
    """
    try:
        execution: Execution = fold(rows or (), values)[1]
    except JournalError:
        return None
    if is_left and execution.entries and not execution.suspended:
        execution.tell(recovered())
    undone = () if execution.trouble is None else execution.trouble.undo_tries.values()
    tries = [*execution.tries, *undone]
    return execution.status.count(Status.IN_DOUBT), sum(max(0, n - 1) for n in tries)


def _count_ended(
    counts: Mapping[tuple[str | None, SagaStatus], int],
    name: str | None,
    everything: _Of,
    by_name: dict[str | None, _Of],
) -> None:
    for (of, status), number in counts.items():
        if status in _ENDS and name in (None, of):
            by_name.setdefault(of, _Of()).statuses[status] += number
            everything.statuses[status] += number
