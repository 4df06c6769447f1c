"""Measure how fast a journal is looked at: counts, what is unfinished, a page, one saga.

Prints Markdown: the CPU that it takes, of PostgreSQL that of the session too. One waits for the
other, so it is about the time that goes by where nothing else runs. README.md says how to run it,
and holds one machine's table.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from core import SOURCE, machine, table
from durable import judged, server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from py_api_saga import Saga
    from py_api_saga.journal import PostgreSQLJournal, SQLiteJournal

    Journal = PostgreSQLJournal | SQLiteJournal

ROUNDS = 7
SECOND = 1000.0  # ms
MOST = {
    "the first page": {100_000: 50.0, 1_000_000: 100.0},
    "the first page, counted anew": {100_000: 50.0, 1_000_000: 100.0},
    "one saga": {100_000: 10.0, 1_000_000: 10.0},
}
# Each is a copy of a saga that the library has written: the first four, whose number is `kind`.
# One in 2,500 is stuck, one in 10,000 open, one in five was undone.
KIND = (
    """CASE WHEN i % 2500 = 0 THEN 3 WHEN i % 10000 = 7 THEN 4 WHEN i % 5 = 1 THEN 2 ELSE 1 END"""
)
SAGAS = """
INSERT INTO {p}saga(number, saga_id, name, status, owner, epoch, tries, created, changed, due)
{overriding} SELECT i, 'order-' || i,
  CASE i % 3 WHEN 0 THEN 'checkout' WHEN 1 THEN 'refund' ELSE 'signup' END, status,
  0, epoch, tries, created + i * 40, changed + i * 40, 0
FROM made JOIN {p}saga ON number = kind
"""
ENTRIES = """
INSERT INTO {p}entry(saga, n, at, body)
SELECT i, n, at + i * 40, body FROM made JOIN {p}entry ON saga = kind
"""
NUMBERS = {
    "file": """
CREATE TEMP TABLE made AS WITH RECURSIVE counted(i) AS
  (SELECT 5 UNION ALL SELECT i + 1 FROM counted WHERE i < {sagas})
SELECT i, {kind} AS kind FROM counted
""",
    "PostgreSQL": """
CREATE TEMP TABLE made AS SELECT i, {kind} AS kind FROM generate_series(5, {sagas}) AS i
""",
}


def statements(kind: str, sagas: int) -> list[str]:
    """Give what fills the tables of a journal."""
    words = {"{p}": "", "{overriding}": "", "{kind}": KIND, "{sagas}": str(sagas)}
    if kind == "PostgreSQL":
        words |= {"{p}": "saga_", "{overriding}": "OVERRIDING SYSTEM VALUE"}
    found = []
    for text in (NUMBERS[kind], SAGAS, ENTRIES):
        for word, means in words.items():
            text = text.replace(word, means)  # noqa: PLW2901 - one after the other
        found.append(text)
    return found


def refuse(_: str) -> None:
    """Stand for what can't be undone."""
    raise OSError("the bank is closed")


def decline(_: str) -> None:
    """Stand for an operation that fails."""
    raise ValueError("no courier")


def seed(journal: Journal) -> None:
    """Write down a saga of each kind, with the library: one that completed is 1, and so on."""
    from durable_operations import book, charge, refund, release, reserve  # noqa: PLC0415

    from py_api_saga import Saga, SagaException  # noqa: PLC0415

    def saga(undo: Any, last: Any) -> Saga:
        made = Saga(name="checkout", journal=journal)
        made.operation((reserve, "order-1", 2), (release, "order-1"))
        made.operation((charge, "order-1", 900), (undo, "order-1"))
        return made.operation(last)

    saga(refund, (book, "order-1", 3)).orchestrator_execute(saga_id="seed-1")
    for number, undo in ((2, refund), (3, refuse)):
        with suppress(SagaException):
            saga(undo, (decline, "order-1")).orchestrator_execute(saga_id=f"seed-{number}")
    saga(refund, (book, "order-1", 3)).start(saga_id="seed-4")


def filled(kind: str, place: str, sagas: int) -> Journal:
    """Make a journal with so many sagas."""
    from py_api_saga.journal import PostgreSQLJournal, SQLiteJournal  # noqa: PLC0415

    names = ["durable_operations", "__main__"]
    journal: Journal
    if kind == "file":
        import sqlite3  # noqa: PLC0415

        journal = SQLiteJournal(place, modules=names, durability="process")
        seed(journal)
        with closing(sqlite3.connect(place)) as connection, connection:
            for statement in statements(kind, sagas):
                connection.execute(statement)
    else:
        import psycopg  # noqa: PLC0415 - there may be no PostgreSQL to ask

        journal = PostgreSQLJournal(place, modules=names)
        journal.create_schema()
        seed(journal)
        with psycopg.connect(place, autocommit=True) as asking:
            for statement in (*statements(kind, sagas), "VACUUM ANALYZE saga_saga, saga_entry"):
                asking.execute(statement.encode())
    return journal


def looks(journal: Journal, sagas: int) -> dict[str, Callable[[], object]]:
    """Give what is looked at, by what it is."""
    from py_api_saga.pictures.board import Board  # noqa: PLC0415
    from py_api_saga.status import SagaStatus  # noqa: PLC0415
    from py_api_saga.story.attention import attention  # noqa: PLC0415

    view, board = journal.reader(), Board(journal.onlooker)
    view.drives(view.select(limit=1)[0])

    def page(name: str, query: str, board: Board | None = board) -> Callable[[], object]:
        def look() -> None:
            assert (board or Board(journal.onlooker)).answer(name, query).status == 200

        return look

    return {
        "counts by status": lambda: view.tally(1_000_000),
        "what needs a person": lambda: attention(view),
        "the newest 50": lambda: view.select(limit=51),
        "50 in the middle": lambda: view.select(below=sagas // 2, limit=51),
        "the newest 50 that are stuck": lambda: view.select({SagaStatus.STUCK}, limit=51),
        "the newest 50 of a name": lambda: view.select(name="refund", limit=51),
        "the first page": page("", ""),
        "the first page, counted anew": page("", "", None),
        "one saga": page("saga", f"saga=order-{sagas // 2500 * 2500}"),
    }


def spent_on(place: str) -> Callable[[], float]:
    """Give what tells how many seconds of CPU we have used, and the sessions of a database."""
    import psycopg  # noqa: PLC0415 - as above

    with psycopg.connect(place) as asking:
        others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        pids = asking.execute(f"{others} AND pid <> pg_backend_pid()".encode()).fetchall()
    files = [Path(f"/proc/{pid}/schedstat") for (pid,) in pids]  # nanoseconds first

    def spent() -> float:
        return time.process_time() + sum(int(one.read_text().split()[0]) for one in files) / 1e9

    return spent


def measured(kind: str, place: str, sagas: int) -> dict[str, float]:
    """Give the milliseconds that each look takes."""
    found = {}
    with closing(filled(kind, place, sagas)) as journal:
        for name, look in looks(journal, sagas).items():
            look()
            clock = time.process_time if kind == "file" else spent_on(place)
            took = []
            for _ in range(ROUNDS):
                began = clock()
                look()
                took.append((clock() - began) * SECOND)
            found[name] = median(took)
    return found


def report(sizes: Sequence[int], served: Sequence[int], scratch: Path) -> str:
    """Measure all of it, and draw the table."""
    columns: dict[str, tuple[int, dict[str, float]]] = {}
    with ExitStack() as stack:
        for sagas in sizes:
            found = measured("file", str(scratch / f"{sagas}.db"), sagas)
            columns[f"a file, {sagas:,}"] = sagas, found
        running = stack.enter_context(server(scratch)) if served else None
        for sagas in served if running else ():
            assert running is not None
            running.ask(f"CREATE DATABASE pages_{sagas}")
            url = f"{running.url.rpartition('/')[0]}/pages_{sagas}"
            columns[f"PostgreSQL, {sagas:,}"] = sagas, measured("PostgreSQL", url, sagas)
    names = list(next(iter(columns.values()))[1])
    rows = []
    for name in names:
        cells = []
        for sagas, found in columns.values():
            most = MOST.get(name, {}).get(sagas)
            cells.append(judged(f"{found[name]:.1f}", most, found[name], at_most=True))
        rows.append([name, *cells])
    return table(["", *columns], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--on", type=Path, help="the folder for the journals; by default a new one")
    parser.add_argument("--quick", action="store_true", help="less of it, to see that it works")
    parser.add_argument("--no-server", action="store_true", help="leave PostgreSQL out")
    options = parser.parse_args(arguments)
    sys.path[:0] = [str(SOURCE)]
    logging.getLogger("py_api_saga").addHandler(logging.NullHandler())
    sizes = (2_600,) if options.quick else (100_000, 1_000_000)
    with tempfile.TemporaryDirectory(dir=options.on, ignore_cleanup_errors=True) as scratch:
        found = report(sizes, () if options.no_server else sizes, Path(scratch))
    print(f"{machine()}.\n\n### ms to look at a journal, by how many sagas are in it\n\n{found}")


if __name__ == "__main__":
    main()
