"""Limits that strike wherever a task happens to be, in the midst of one saga after the other."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from . import ledger
from .ledger import FILE, Line
from .matrix import ALL, UNDONE, Cell, command, opened
from .workers import Answer, Queue

LIMIT = 1  # seconds


def everything(queue: Queue, tasks: int) -> list[Cell]:
    """Strike so many tasks, and see that each saga is done, undone, or shown and recovered."""
    queue.env[FILE] = str(queue.folder / "moments")  # it is long: nothing else is looked for in it
    found = [
        Cell("any moment", durable=number % 2 == 1, order=f"moment-{number}", limit=LIMIT)
        for number in range(tasks)
    ]
    with queue.working():
        for cell in found:
            arguments = [cell.order, cell.kind, cell.durable, 0.0]
            cell.task = queue.send("cell", arguments, cell.limit)
        for cell in found:
            cell.answer = queue.wait(cell.task)
            if cell.answer != Answer("FAILURE", queue.limit):
                cell.wrong.append(f"the queue says {cell.answer}")
        shown = opened(queue)
        _check(queue, found, shown)
    told = command(queue, "recover", "--modules", "queues.shop")
    _check(queue, found, set())
    if left := opened(queue):
        found[0].wrong.append(f"recovery has left {left}: {told}")
    return found


def _check(queue: Queue, found: list[Cell], shown: set[str]) -> None:
    """See that nothing is half done of any of their sagas, but of those that are shown open."""
    sagas: dict[str, dict[int, list[Line]]] = defaultdict(lambda: defaultdict(list))
    for line in ledger.read(Path(queue.env[FILE])):
        if line.what != "struck":
            order, _, counted = line.order.rpartition("-")
            sagas[order][int(counted)].append(line)
    for cell in found:
        last = max(sagas[cell.order], default=0)
        for number, lines in sagas[cell.order].items():
            stands = sorted(ledger.standing(lines))
            if stands == sorted(ALL) or (number == last and stands == UNDONE):
                continue
            if f"{cell.order}-{number}" not in shown:
                cell.wrong.append(f"{number}: there stands {stands}: {ledger.summary(lines)}")
