"""The code of `docs/howto/task-queues.md`, as it is printed, with real workers.

Only `operations.py` is another one, whose functions have a ledger and troubles, and the long waits
are short. The commands are those of the page too.
"""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path

from py_api_saga import SagaStatus, answer, saga_status
from py_api_saga.journal import SQLiteJournal

from . import ledger
from .ledger import FILE, Line
from .matrix import ALL, UNDONE, Cell, command
from .workers import Dramatiq, Queue, wait_for

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "howto" / "task-queues.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE_OF = re.compile(r"# (\w+\.py)\n")
SHORTER = {"LATER = 600": "LATER = 1", "interval=10": "interval=1"}  # waits, in seconds

TASKS = {"celery": "celery_tasks.checkout", "rq": "rq_tasks.checkout", "dramatiq": "checkout"}
LIMIT = 2  # seconds
WORKERS = 2  # so that two can have the same message at once


def written(folder: Path) -> dict[str, list[str]]:
    """Write the files of the page into a folder, and give its commands by their first word."""
    commands: dict[str, list[str]] = {}
    text = PAGE.read_text(encoding="utf-8")
    for long, short in SHORTER.items():
        assert text.count(long) == 1, long
        text = text.replace(long, short)
    for kind, block in BLOCK.findall(text):
        if kind == "sh":
            commands |= {line.split()[0]: line.split() for line in block.splitlines()}
        elif named := FILE_OF.match(block):
            (folder / named[1]).write_text(block, encoding="utf-8")
    shutil.copy(HERE / "operations.py", folder)
    return commands


class Checkouts:
    """Orders that are sent to the page's worker on a queue."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.journal = SQLiteJournal(str(queue.folder / "sagas.db"), modules=[])
        self.cells: list[Cell] = []
        self._counts: list[tuple[Cell, str, str, int]] = []

    def send(self, order: str, limit: int = 0) -> None:
        """Send an order."""
        self.queue.send(TASKS[self.queue.name], [order], limit, again=3)

    def ends(self, order: str, *ends: SagaStatus) -> Cell:
        """Wait until each attempt has ended as it should, and see that the ledger agrees."""
        cell = Cell(f"the page, {order}", durable=True, order=order)
        self.cells.append(cell)

        def found(attempt: int) -> SagaStatus | None:
            seen = self.journal.find(f"checkout-{order}-{attempt}")
            return None if seen is None else seen.status

        def over() -> bool:
            return all(found(n) is status for n, status in enumerate(ends, 1))

        try:
            wait_for(f"{order} to be {[status.value for status in ends]}", over, 60.0)
        except TimeoutError as error:
            said = self.queue.said()[-3000:]
            cell.wrong.append(f"{error}; it was {[found(n) for n in (1, 2, 3, 4)]}; {said}")
            return cell
        lines = self.lines(order)
        cell.wrong += ledger.contradictions(lines)
        stands = ALL if ends[-1] is SagaStatus.COMPLETED else UNDONE
        if ledger.standing(lines) != stands:
            cell.wrong.append(f"there stands {ledger.standing(lines)}")
        return cell

    def lines(self, order: str) -> list[Line]:
        """Give the ledger's lines of an order."""
        return ledger.of(order, ledger.read(self.file))

    @property
    def file(self) -> Path:
        """The ledger."""
        return Path(self.queue.env[FILE])

    def counts(self, cell: Cell, what: str, name: str, times: int) -> None:
        """Say how often something is to be done, in all."""
        self._counts.append((cell, what, name, times))

    def close(self) -> None:
        """See how often it was done, now that nobody works any more."""
        for cell, what, name, times in self._counts:
            seen = ledger.count(self.lines(cell.order), what, name)
            if seen != times:
                cell.wrong.append(f"{what} {name}: {seen} times, not {times}")
        self.journal.close()


def _as_usual(shop: Checkouts) -> None:
    """Done; and delivered again after its end, nothing is done."""
    shop.send("usual")
    cell = shop.ends("usual", SagaStatus.COMPLETED)
    shop.send("usual")
    shop.send("behind")
    shop.ends("behind", SagaStatus.COMPLETED)
    shop.counts(cell, "begin", "charge", 1)


def _next_attempts(shop: Checkouts) -> None:
    """Undone for want of a courier: the next attempt has another id, and there are three."""
    shop.send("later")
    shop.send("never")
    done = shop.ends("later", SagaStatus.COMPENSATED, SagaStatus.COMPLETED)
    shop.counts(done, "begin", "charge", 2)
    cell = shop.ends("never", *[SagaStatus.COMPENSATED] * 3)
    shop.send("never")  # the first attempt once more: it sends the second, which sends the third
    shop.send("behind-never")
    shop.ends("behind-never", SagaStatus.COMPLETED)
    shop.counts(cell, "begin", "charge", 3)
    if shop.journal.find("checkout-never-4") is not None:
        cell.wrong.append("there was a fourth attempt")


def _twice_at_once(shop: Checkouts) -> None:
    """The second one meets SagaInProgress, comes later, and finds all done."""
    shop.send("twice")
    shop.send("twice")
    refused = re.compile(r"SagaInProgress\W+saga 'checkout-twice-1'")  # however it is worded
    wait_for("the second delivery", lambda: refused.search(shop.queue.said()))
    ledger.note("met", "twice", file=shop.file)
    cell = shop.ends("twice", SagaStatus.COMPLETED)
    shop.counts(cell, "begin", "charge", 1)


def _struck(shop: Checkouts) -> None:
    """A limit is raised as what it is, and all is undone once."""
    shop.send("struck", LIMIT)
    cell = shop.ends("struck", SagaStatus.COMPENSATED)
    try:
        wait_for("the limit", lambda: shop.queue.limit in shop.queue.said(), 30.0)
    except TimeoutError:
        cell.wrong.append(f"the queue has not seen {shop.queue.limit}")
    shop.counts(cell, "begin", "charge", 1)
    shop.counts(cell, "begin", "refund", 1)


def _waiting(shop: Checkouts) -> None:
    """A saga that waits leaves its worker; the message that comes after the answer goes on."""
    shop.send("waits")
    seen = partial(saga_status, shop.journal, "checkout-waits-1")
    wait_for("an answer to be waited for", lambda: (found := seen()) and found.awaited, 60.0)
    shop.send("behind-waits")
    shop.ends("behind-waits", SagaStatus.COMPLETED)
    answer(shop.journal, "checkout-waits-1:charge:action", result=None, go_on=False)
    shop.send("waits")
    cell = shop.ends("waits", SagaStatus.COMPLETED)
    if "SagaPending" in shop.queue.said():
        cell.wrong.append("the queue took what waits for failed")
    shop.counts(cell, "begin", "charge", 1)


def _killed(shop: Checkouts) -> None:
    """Killed in a call: the queue, or recovery, makes that call again and goes on."""
    shop.send("killed")
    if isinstance(shop.queue, Dramatiq):  # which misses its worker after a minute
        wait_for("the worker's end", lambda: all(worker.ended for worker in shop.queue.workers))
        command(shop.queue, "recover", "--modules", "operations")
    cell = shop.ends("killed", SagaStatus.COMPLETED)
    shop.counts(cell, "begin", "charge", 2)


def everything(queue: Queue) -> list[Cell]:
    """Run the page's worker, send it orders, and say what came of each."""
    commands = written(queue.folder)
    queue.many = WORKERS if queue.name == "rq" else 1
    shop = Checkouts(queue)
    try:
        with queue.working(commands[queue.name]):
            for scene in (_as_usual, _next_attempts, _twice_at_once, _waiting, _struck, _killed):
                try:
                    scene(shop)
                except TimeoutError as error:
                    raise TimeoutError(f"{queue.name}: {error}; {queue.said()[-5000:]}") from error
    finally:
        shop.close()
    return shop.cells
