"""Somebody's transaction holds the row of one saga: do all others keep their rate?

`python -m tests.crash.held --seconds 40` runs sagas in threads before, during and after that, and
prints how many a second there were; the exit code is 1 if in each of three tries there were less
than 80 % while the row was held, or if the saga itself has not gone on afterwards.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

from servers import shared
from servers.children import package

from py_api_saga import SagaAssembler
from py_api_saga.journal import PostgreSQLJournal

from . import shop

KEPT = 0.8  # of their rate
THREADS = 8
TRIES = 3


def wait() -> None:
    """Wait until the row is held."""
    _held.wait()


_held = threading.Event()


def saga(action: Any, *arguments: Any) -> SagaAssembler:
    """Make one of an action, and two that do nothing."""
    made = SagaAssembler.saga(name="held").operation((action, *arguments), name="first")
    for name in ("second", "third"):
        made.operation((shop.tick, 0), name=name)
    return made


@contextmanager
def holding(database: shared.Database, saga_id: str) -> Iterator[None]:
    """Have somebody else's transaction hold a saga's row, from when it is running on."""
    table = f"{database.schema}.saga_saga"
    with package("psycopg").connect(database.url) as other:
        while True:
            row = f"SELECT number FROM {table} WHERE saga_id = %s AND owner <> 0 FOR UPDATE"  # noqa: S608
            if other.execute(row, (saga_id,)).fetchall():
                break
            other.rollback()
            time.sleep(0.01)
        _held.set()
        yield
        other.rollback()


class Others:
    """Threads that run sagas as fast as they can, and count them."""

    def __init__(self, journal: Any, pool: ThreadPoolExecutor) -> None:
        self._over = threading.Event()
        self._ended = itertools.count(1)
        self._last = 0
        self._journal = journal
        self._running = [pool.submit(self._run) for _ in range(THREADS)]

    def _run(self) -> None:
        made = saga(shop.tick, 0)
        while not self._over.is_set():
            made.orchestrator_execute(journal=self._journal)
            self._last = next(self._ended)

    def rate(self, seconds: float) -> float:
        """Count for so many seconds; give how many end in one."""
        begin, before = time.monotonic(), self._last
        time.sleep(seconds)
        return (self._last - before) / (time.monotonic() - begin)

    def end(self) -> None:
        """Let them end, and see that none has failed."""
        self._over.set()
        for each in self._running:
            each.result()


def measure(database: shared.Database, seconds: float) -> float:
    """Give the share of their rate that others keep; the saga itself goes on in the end."""
    modules = ["crash.shop", "crash.held"]
    with (
        closing(
            PostgreSQLJournal(
                database.url, schema=database.schema, modules=modules, patience=2 * seconds + 30
            )
        ) as journal,
        ThreadPoolExecutor(THREADS + 1) as pool,
    ):
        _held.clear()
        saga_id = f"held-{time.monotonic_ns()}"
        ended: Future[Any] = pool.submit(
            lambda: saga(wait).orchestrator_execute(journal=journal, saga_id=saga_id)
        )
        others = Others(journal, pool)
        before = others.rate(seconds / 4)
        with holding(database, saga_id):
            during = others.rate(seconds)
            assert not ended.done(), "the row was not held"
        ended.result()
        after = others.rate(seconds / 4)
        others.end()
    share = 2 * during / (before + after)
    sys.stdout.write(
        f"sagas a second: {before:.0f} before, {during:.0f} while the row is held for "
        f"{seconds:.0f} s, {after:.0f} after it: {share:.0%}\n"
    )
    sys.stdout.flush()
    return share


def main() -> int:
    """Measure, and once or twice more if somebody else has taken the processors."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.held", description=__doc__)
    parser.add_argument("--seconds", type=float, default=40.0)
    options = parser.parse_args()
    with shared.run(), shared.database() as database:
        with closing(PostgreSQLJournal(database.url, schema=database.schema)) as journal:
            journal.create_schema()
        return 0 if any(measure(database, options.seconds) >= KEPT for _ in range(TRIES)) else 1


if __name__ == "__main__":
    from crash import held  # noqa: PLW0406 - as a journal names what is in here

    sys.exit(held.main())
