"""A time limit, a kill or a second delivery at each place of a saga, in memory and durable."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import ledger
from .ledger import Line
from .workers import Answer, Celery, Queue, wait_for

LIMIT = 2  # seconds; RQ's are whole ones
MORE = 4  # how many times longer a limit is that came before its place was reached
LONG = 600  # seconds that nothing takes
UNDONE: list[str] = []
ALL = ["reserve", "charge", "book"]

# Where a limit strikes: what must be true of the lines before it, and which call it leaves open.
REACHED: dict[str, Callable[[list[Line]], bool]] = {
    "action": lambda lines: ledger.count(lines, "effect", "charge") == 1,
    "retry wait": lambda lines: ledger.count(lines, "busy", "charge") == 1,
    "compensation": lambda lines: ledger.count(lines, "begin", "refund") == 1,
    "choreography": lambda lines: ledger.count(lines, "effect", "charge") == 1,
    "choreography, retry wait": lambda lines: ledger.count(lines, "busy", "charge") == 1,
    "choreography, compensation": lambda lines: ledger.count(lines, "begin", "refund") == 1,
    "asyncio": lambda lines: ledger.count(lines, "effect", "charge") == 1,
    "after the pivot": lambda lines: ledger.count(lines, "effect", "book") == 1,
}
FOUR = ("action", "retry wait", "compensation", "choreography")


@dataclass
class Cell:
    """A task, and what must become of it."""

    kind: str
    durable: bool
    order: str
    limit: int = LIMIT
    task: Any = None
    answer: Answer | None = None
    wrong: list[str] = field(default_factory=list)

    @property
    def where(self) -> str:
        """Say which it is."""
        return f"{self.kind}, {'with a journal' if self.durable else 'in memory'}"

    @property
    def left(self) -> bool:
        """Whether its saga is left open, for recovery: its undo, or what comes after the pivot."""
        return self.durable and self.kind in {"compensation", "after the pivot"}

    @property
    def stands(self) -> list[str]:
        """Give what must stand in the end."""
        return UNDONE if self.kind in REACHED and self.kind != "after the pivot" else ALL


def cells(kinds: tuple[str, ...]) -> list[Cell]:
    """Make the cells of some kinds."""
    return [
        Cell(kind, durable, f"{kind.replace(', ', '-').replace(' ', '-')}-{place}-{LIMIT}")
        for kind in kinds
        for place, durable in (("memory", False), ("journal", True))
    ]


def strike(queue: Queue, kinds: tuple[str, ...]) -> list[Cell]:
    """Send all cells, let the limits strike, and check what came of each."""
    found = cells(kinds)
    with queue.working():
        _send(queue, found)
        early = [cell for cell in found if not _reached(queue, cell)]
        for cell in early:  # the machine was slow: the limit came before its place
            cell.limit *= MORE
            cell.order += "-again"
        _send(queue, early)
        for cell in found:
            _check_at_once(queue, cell)
        # What runs on would show by now: every limit has struck, and the last one was awaited.
        before = {cell.order: _lines(queue, cell) for cell in found}
        usual = Cell("as usual", True, "as-usual", LONG)
        _send(queue, [usual])
        if usual.answer != Answer("SUCCESS"):
            usual.wrong.append(f"the queue says {usual.answer}")
        for cell in found:
            if _lines(queue, cell) != before[cell.order]:
                cell.wrong.append("something ran on after the task had ended")
    _recover(queue, found)
    return [*found, usual]


def _lines(queue: Queue, cell: Cell) -> list[Line]:
    return ledger.of(cell.order, ledger.read(Path(queue.env[ledger.FILE])))


def _send(queue: Queue, found: list[Cell]) -> None:
    for cell in found:
        wait = 3.0 if queue.in_steps else 60.0
        arguments = [cell.order, cell.kind, cell.durable, wait]
        cell.task = queue.send("cell", arguments, cell.limit)
    for cell in found:
        cell.answer = queue.wait(cell.task)


def _reached(queue: Queue, cell: Cell) -> bool:
    """Tell whether the limit has struck where it was to."""
    lines = _lines(queue, cell)
    struck = [n for n, line in enumerate(lines) if line.what == "struck"]
    return bool(struck) and REACHED[cell.kind](lines[: struck[0]])


def _check_at_once(queue: Queue, cell: Cell) -> None:
    """See what must hold as soon as the queue has its answer."""
    lines = _lines(queue, cell)
    if not _reached(queue, cell):
        cell.wrong.append(f"the limit did not strike there: {ledger.summary(lines)}")
    if cell.answer != Answer("FAILURE", queue.limit):
        cell.wrong.append(f"the queue says {cell.answer}, not that its limit was raised")
    cell.wrong += ledger.contradictions(lines)
    if not cell.left and ledger.standing(lines) != cell.stands:
        cell.wrong.append(f"there stands {ledger.standing(lines)}")
    if cell.kind.endswith("retry wait") and ledger.count(lines, "begin", "charge") > 1:
        cell.wrong.append("it was tried again after the limit")
    if cell.left:
        if cell.kind == "compensation" and ledger.count(lines, "begin", "release"):
            cell.wrong.append("an undo did not wait for what was built on its operation")
        if ledger.count(lines, "begin", "refund") > 1:
            cell.wrong.append("the undo was made again in the process that was struck")


def _recover(queue: Queue, found: list[Cell]) -> None:
    """See that the journal shows what is open, let recovery go on with it, and look again."""
    shown = opened(queue)
    expected = {cell.order for cell in found if cell.left}
    told = command(queue, "recover", "--modules", "queues.shop")
    for cell in found:
        if cell.durable and (cell.order in shown) != (cell.order in expected):
            is_not = "is not" if cell.order in expected else "is"
            cell.wrong.append(f"`saga check` {is_not} showing it open")
    for cell in found:
        if not cell.left:
            continue
        lines = _lines(queue, cell)
        cell.wrong += ledger.contradictions(lines)
        if ledger.standing(lines) != cell.stands:
            cell.wrong.append(f"after recovery stands {ledger.standing(lines)}: {told}")
    if left := opened(queue):
        found[0].wrong.append(f"recovery has left {left}: {told}")


def opened(queue: Queue) -> set[str]:
    """Give the sagas that `saga check` shows as open, or stuck, and not driven."""
    shown = json.loads(command(queue, "check", "--grace", "0s", "--json"))
    return {saga["saga_id"] for saga in shown["sagas"]}


def command(queue: Queue, *words: str) -> str:
    """Run the command `saga` on the journal of a queue, and give what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "py_api_saga", *words, "--journal", "sagas.db"],
        cwd=queue.folder,
        env=queue.env,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


# --- killed, and delivered again -----------------------------------------------------------------


def kill(queue: Queue) -> list[Cell]:
    """Kill the process of a task; the queue delivers it again, and that under the same id."""
    cell = Cell("killed", True, "killed", LONG)
    arguments = [cell.order, cell.kind, True, 1.0]
    with queue.working():
        cell.task = queue.send("cell", arguments, LONG, again=1)
        if queue.in_steps:  # it kills its whole worker, and that the others
            wait_for("the worker's end", lambda: all(worker.ended for worker in queue.workers))
            queue.stop()
            queue.start(LOST_AFTER="1000")
        cell.answer = queue.wait(cell.task)
        _check_once(queue, cell)
        lines = _lines(queue, cell)
        again = queue.send("cell", arguments, LONG)
        if queue.wait(again) != Answer("SUCCESS") or _lines(queue, cell) != lines:
            cell.wrong.append("delivered once more, it has called again")
    return [cell]


def kill_by_limit(queue: Queue) -> list[Cell]:
    """Let a hard limit end a task: SystemExit, and a kill right behind it; recovery goes on."""
    cell = Cell("hard limit", durable=True, order="hard-limit")
    with queue.working():
        cell.task = queue.send("cell", [cell.order, cell.kind, True, 1.0], hard=LIMIT)
        cell.answer = queue.wait(cell.task)
        shown = wait_for("its end", lambda: opened(queue))
    if cell.answer != Answer("FAILURE", "TimeLimitExceeded") or shown != {cell.order}:
        cell.wrong.append(f"the queue says {cell.answer}, and open is {shown}")
    lines = _lines(queue, cell)
    if ledger.count(lines, "begin", "refund") != 1 or ledger.count(lines, "end", "refund"):
        cell.wrong.append(f"it was not killed in its refund: {ledger.summary(lines)}")
    file = Path(queue.env[ledger.FILE])
    ledger.note("killed", cell.order, who=lines[-1].who, file=file)
    told = command(queue, "recover", "--modules", "queues.shop")
    lines = _lines(queue, cell)
    cell.wrong += ledger.contradictions(lines)
    if ledger.standing(lines) or opened(queue):
        cell.wrong.append(f"there stands {ledger.standing(lines)}: {told}")
    return [cell]


def _check_once(queue: Queue, cell: Cell) -> None:
    lines = _lines(queue, cell)
    if cell.answer != Answer("SUCCESS"):
        cell.wrong.append(f"the queue says {cell.answer}")
    if ledger.count(lines, "killed", "") != 1 or ledger.count(lines, "begin", "charge") != 2:
        cell.wrong.append(f"it was not killed and called again once: {ledger.summary(lines)}")
    cell.wrong += ledger.contradictions(lines)
    if ledger.standing(lines) != ALL:
        cell.wrong.append(f"there stands {ledger.standing(lines)}")
    if left := opened(queue):
        cell.wrong.append(f"open is {left}")


def everything(queue: Queue, *, short: bool) -> Iterator[Cell]:
    """Check all that this module can, on one queue."""
    yield from strike(queue, FOUR if short else tuple(REACHED))
    yield from kill(queue)
    if isinstance(queue, Celery):
        yield from kill_by_limit(queue)
