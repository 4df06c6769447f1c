"""Show what sagas cost that wait for answers: in the file, for whoever polls, and for each call.

Prints Markdown, whatever else the machine does. README.md says how to run it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import SOURCE, machine, table
from durable_operations import ARGUMENTS, PLAIN, begin_payment, refund
from short import do, undo, wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROUNDS = 9
MANY = 100_000  # sagas that wait, where a poll is measured
SIZED = 4_000  # sagas and letters whose bytes are counted: pages of 4 KiB don't show then
TARGETS = {
    "a saga of 3 that waits": 700,
    "an answer that nobody has taken": 150,
    "an answer that was taken": 150,
    "journal.waiting()": 100.0,
}


@contextmanager
def opened() -> Iterator[Any]:
    """Make an empty journal, which holds through a crash of its process."""
    from py_api_saga.journal import SQLiteJournal  # noqa: PLC0415 - of the tree that is measured

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/sagas.db"
        modules = ["durable_operations", "short"]
        with closing(SQLiteJournal(path, modules=modules, durability="process")) as journal:
            journal.find("")  # it is made when it is used
            yield journal


def checkout(journal: Any, i: int, *, waits: bool) -> Any:
    """Build a saga of three, whose second operation waits for an answer or does not."""
    from py_api_saga import Saga  # noqa: PLC0415

    saga = Saga(name="checkout", journal=journal)
    for (action, compensation), argument in zip(PLAIN, ARGUMENTS, strict=True):
        call = begin_payment if waits and compensation is refund else action
        undone = (compensation, f"order-{i}")
        saga.operation((call, f"order-{i}", argument), undone, name=action.__name__)
    return saga


def short(journal: Any, i: int, *, waits: bool) -> Any:
    """Build one of short names and arguments, of which the third operation needs a result."""
    from py_api_saga import Saga, result_of  # noqa: PLC0415

    del i
    second = wait if waits else do
    return (
        Saga(journal=journal)
        .operation((do, 1), (undo, 1), name="a")
        .operation((second, 2), (undo, 2), name="b")
        .operation((do, result_of("a")), name="c")
    )


def run(journal: Any, i: int, build: Callable[..., Any] = checkout, *, waits: bool) -> None:
    """Run one until it is done, or waits."""
    from py_api_saga import SagaPending  # noqa: PLC0415

    with suppress(SagaPending):
        build(journal, i, waits=waits).orchestrator_execute(saga_id=f"order-{i}")


def answer(journal: Any, i: int, *, go_on: bool) -> None:
    """Say that the payment of one was made."""
    from py_api_saga import answer  # noqa: PLC0415

    answer(journal, f"order-{i}:charge:action", result=f"pay-{i}", go_on=go_on)


def size(journal: Any) -> int:
    """Give the bytes of the file, with all that was written."""
    journal.close()
    return Path(journal.path).stat().st_size


# --- what is measured ---------------------------------------------------------------------------


def bytes_of(rounds: int) -> tuple[list[str], list[list[str]]]:
    """Bytes of the file, each."""
    count = min(SIZED, 500 * rounds)
    rows = []

    def row(name: str, more: int) -> None:
        rows.append([name, f"{more / count:,.0f}", held(more / count, name)])

    for what, build in (("a saga of 3", short), ("a checkout of 3", checkout)):
        with opened() as journal:
            before = size(journal)
            for i in range(count):
                run(journal, i, build, waits=False)
            row(f"{what} that has completed", size(journal) - before)
        with opened() as journal:
            before = size(journal)
            for i in range(count):
                run(journal, i, build, waits=True)
            row(f"{what} that waits", size(journal) - before)
    with opened() as journal:
        for i in range(count):
            run(journal, i, waits=True)
        before = size(journal)
        for i in range(count):
            answer(journal, i, go_on=False)
        row("an answer that nobody has taken", size(journal) - before)
        work(journal)
        row("an answer that was taken", mail(journal))
    return ["what", "bytes", "target"], rows


def mail(journal: Any) -> int:
    """Give the bytes of all answers: of the pages that are free without them."""
    import sqlite3  # noqa: PLC0415 - only for this

    journal.close()
    with closing(sqlite3.connect(journal.path)) as database, database:
        database.execute("DELETE FROM mail")
        asked = ("freelist_count", "page_size")
        pages, each = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in asked)
    return int(pages * each)


def polls(rounds: int) -> tuple[list[str], list[list[str]]]:
    """Microseconds of CPU to look, while so many sagas wait and none is due."""
    from py_api_saga import recover  # noqa: PLC0415

    many = MANY if rounds > 1 else 1_000
    with opened() as journal:
        looks: dict[str, Callable[[], object]] = {
            "journal.waiting()": journal.waiting,
            "recover(journal)": lambda: recover(journal),
            "journal.check()": journal.check,
            "journal.tally()": journal.tally,
            "journal.select({RUNNING}, limit=50)": lambda: journal.select(running(), limit=50),
        }
        empty = [taken(look, rounds) for look in looks.values()]
        fill(journal, many)
        full = [taken(look, rounds) for look in looks.values()]
    rows = [
        [name, f"{before:,.0f}", f"{now:,.0f}", held(now, name)]
        for name, before, now in zip(looks, empty, full, strict=True)
    ]
    return ["look", "no saga", f"{many:,} wait", "target"], rows


def running() -> set[Any]:
    """Give the status of what waits."""
    from py_api_saga import SagaStatus  # noqa: PLC0415

    return {SagaStatus.RUNNING}


def fill(journal: Any, many: int) -> None:
    """Have so many sagas wait, each until another moment of the next 100 days."""
    from py_api_saga.journal.changes import Append, Create, Mailing  # noqa: PLC0415

    run(journal, 0, waits=True)
    first, *others = [row.body for row in journal.rows([1])[1]]
    now = journal.now()
    for start in range(1, many, 1_000):
        ids = range(start, min(many, start + 1_000))
        creates = [Create(f"order-{i}", "checkout", first) for i in ids]
        journal.write(*creates)
        for body in others:
            rows = [Append(create.claim, body, None) for create in creates]
            if body is others[-1]:
                for i, row in zip(ids, rows, strict=True):
                    due = now + 3_600 + i * 7_919 % 8_640_000
                    row.mailing = Mailing(suspends=True, due=due)
            journal.write(*rows)


def taken(look: Callable[[], object], rounds: int) -> float:
    """Give the microseconds of CPU that a look takes: the median."""
    look()
    each, times = [], 20 if rounds > 1 else 1
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(times):
            look()
        each.append((time.process_time() - began) / times * 1e6)
    return statistics.median(each)


def calls(rounds: int) -> tuple[list[str], list[list[str]]]:
    """Commits, rows and microseconds of CPU of a saga of 3."""
    count = 100 if rounds > 1 else 5
    rows = []
    for name, waits, goes_on in (
        ("which waits for nothing", False, False),
        ("whose second call waits, and is answered", True, True),
        ("the same, answered only; a worker goes on", True, False),
    ):
        each = []
        with opened() as journal:
            commits = journal.shared.file.count
            for turn in range(rounds):
                began = time.process_time()
                for i in range(turn * count, (turn + 1) * count):
                    run(journal, i, waits=waits)
                    if waits:
                        answer(journal, i, go_on=goes_on)
                if waits and not goes_on:
                    work(journal)
                each.append((time.process_time() - began) / count * 1e6)
            commits = journal.shared.file.count - commits
            written = journal.rows([1])[1]
        commits_each = commits / (rounds * count)
        said = [f"{commits_each:,.2f}", f"{len(written)}", f"{statistics.median(each):,.0f}"]
        rows.append([name, *said])
    return ["a saga of 3", "commits", "rows", "µs of CPU"], rows


def work(journal: Any) -> None:
    """Go on with all that was answered."""
    from py_api_saga import recover  # noqa: PLC0415

    recover(journal)


def held(value: float, name: str) -> str:
    """Hold a value against its target."""
    limit = TARGETS.get(name)
    return "" if limit is None else f"≤ {limit:,g}: {'PASS' if value <= limit else 'MISS'}"


SECTIONS = {"bytes": bytes_of, "polls": polls, "calls": calls}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, by comma")
    parser.add_argument("--quick", action="store_true", help="little of it, to see that it works")
    options = parser.parse_args(arguments)
    unknown = {*options.only.split(",")} - {*SECTIONS}
    if unknown:
        parser.error(f"--only: expected {', '.join(SECTIONS)}, got {', '.join(unknown)}")
    sys.path[:0] = [str(SOURCE)]
    print(f"{machine()}.\n")
    for section in options.only.split(","):
        head, rows = SECTIONS[section](1 if options.quick else ROUNDS)
        title = (SECTIONS[section].__doc__ or "").rstrip(".")
        print(f"### {section}: {title}\n\n{table(head, rows)}\n", flush=True)


if __name__ == "__main__":
    main()
