"""What `durable.py` measures the library against: two journals written by hand.

*bare* knows its rows beforehand and writes them from one thread: as many commits as a chain needs,
and nothing else. *sketch* calls the functions, writes down what they return, and commits for all
that wait. Neither knows who drives a saga, undoes anything, or asks whether an id was given before.
Both have the library's tables.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_operations import ARGUMENTS, COROUTINES, PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from py_api_saga.journal import SQLiteJournal

COMPLETED = 3
dumps = json.JSONEncoder(separators=(",", ":")).encode


def new_id() -> str:
    """Make an id that is ordered in time, as the library does."""
    return f"{int(time.time() * 1000):011x}{os.urandom(8).hex()}"


class Row(NamedTuple):
    """What one commit adds to a saga."""

    saga: int
    n: int
    body: str
    begins: str = ""  # the id of the saga if this is its first row
    ends: bool = False


class Tables:
    """One connection to a file with the library's tables."""

    def __init__(self, path: str, synchronous: str = "FULL") -> None:
        """Open the file, which is made if it is not there."""
        from py_api_saga.journal.sqlite.queries import QUERIES, SCHEMA  # noqa: PLC0415 - DBOS has none

        self._create = QUERIES["create"]
        self.commits = 0
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute(f"PRAGMA synchronous={synchronous}")
        if not self.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in SCHEMA.values():
                self.connection.execute(statement)

    def commit(self, rows: Sequence[Row]) -> None:
        """Make rows durable in one transaction."""
        now, execute_all = int(time.time() * 1000), self.connection.executemany
        self.connection.execute("BEGIN IMMEDIATE")
        created = [(row.saga, row.begins, "checkout", 1, 1, now, now) for row in rows if row.begins]
        execute_all(self._create, created)
        execute_all(
            "INSERT INTO entry VALUES(?, ?, ?, ?)",
            [(row.saga, row.n, now, row.body) for row in rows],
        )
        ended = [(COMPLETED, now, row.saga) for row in rows if row.ends]
        execute_all("UPDATE saga SET status = ?, owner = 0, changed = ? WHERE number = ?", ended)
        self.connection.execute("COMMIT")
        self.commits += 1


# --- bare -----------------------------------------------------------------------------------------


def recorded(journal: SQLiteJournal) -> list[str]:
    """Give the bodies of the first saga in a journal, which is that of `order-0`."""
    return [row.body for row in journal.rows([1])[1]]


def bare(tables: Tables, bodies: Sequence[str], at_once: int, first: int = 1) -> int:
    """Write so many sagas, all in the same four commits; return how many."""
    numbers = range(first, first + at_once)
    for n, body in enumerate(bodies, 1):
        begins, ends = n == 1, n == len(bodies)
        tables.commit(
            [
                Row(i, n, body.replace("order-0", f"order-{i}"), new_id() if begins else "", ends)
                for i in numbers
            ]
        )
    return at_once


# --- sketch ---------------------------------------------------------------------------------------


class Batch:
    """Rows that wait for a commit, and a lock that those who wait take one after the other."""

    def __init__(self) -> None:
        """Begin without rows."""
        self.rows: list[Row] = []
        self.done = threading.Lock()
        self.done.acquire()


class Threads:
    """The first to come leads: it writes for all that came while the one before it wrote."""

    def __init__(self, tables: Tables) -> None:
        """Write into these tables."""
        self._tables = tables
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._batch = Batch()

    def write(self, row: Row) -> None:
        """Return when it is durable."""
        with self._lock:
            batch = self._batch
            batch.rows.append(row)
            leads = len(batch.rows) == 1
        if leads:
            with self._turn:
                with self._lock:
                    self._batch = Batch()
                self._tables.commit(batch.rows)
            batch.done.release()
        else:
            with batch.done:
                pass

    def run(self, i: int) -> None:
        """Run a saga."""
        order = f"order-{i}"
        self.write(Row(i, 1, definition(order, PLAIN), new_id()))
        for n, ((action, _), argument) in enumerate(zip(PLAIN, ARGUMENTS, strict=True)):
            self.write(after(i, n, action(order, argument)))


class Loop:
    """The same in an event loop: a thread of its own writes for all tasks that came meanwhile."""

    def __init__(self, tables: Tables) -> None:
        """Write into these tables."""
        self._tables = tables
        self._thread = ThreadPoolExecutor(1)
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Row, asyncio.Future[None]]] = []
        self._writes = False

    async def write(self, row: Row) -> None:
        """Return when it is durable."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((row, future))
        if not self._writes:
            self._writes = True
            self._loop.call_soon(self._begin)
        await future

    def _begin(self) -> None:
        batch, self._waiting = self._waiting, []
        self._writes = bool(batch)
        if batch:
            rows = [row for row, _ in batch]
            commit = self._loop.run_in_executor(self._thread, self._tables.commit, rows)
            commit.add_done_callback(lambda done: self._end(batch, done))

    def _end(
        self, batch: list[tuple[Row, asyncio.Future[None]]], done: asyncio.Future[None]
    ) -> None:
        done.result()
        for _, future in batch:
            future.set_result(None)
        self._loop.call_soon(self._begin)

    async def run(self, i: int) -> None:
        """Run a saga."""
        order = f"order-{i}"
        await self.write(Row(i, 1, definition(order, COROUTINES), new_id()))
        for n, ((action, _), argument) in enumerate(zip(COROUTINES, ARGUMENTS, strict=True)):
            await self.write(after(i, n, await action(order, argument)))


def definition(order: str, operations: Sequence[tuple[Callable[..., Any], ...]]) -> str:
    """Write down what a saga is to do, and that it begins."""
    calls = [
        [action.__name__, [order, argument], undo.__name__, [order]]
        for (action, undo), argument in zip(operations, ARGUMENTS, strict=True)
    ]
    return dumps([["defined", "checkout", calls], ["started", 0, "action", 1, 1]])


def after(i: int, n: int, result: object) -> Row:
    """Write down what an operation returned, and that the next one begins."""
    succeeded = ["succeeded", n, "action", 1, 1, result]
    if n == len(ARGUMENTS) - 1:
        return Row(i, n + 2, dumps([succeeded]), ends=True)
    return Row(i, n + 2, dumps([succeeded, ["started", n + 1, "action", 1, 1]]))
