"""One measurement of `durable.py`, alone in a process: a request as JSON in, an answer out.

A contender is given by name, how it runs ("threads" or "asyncio"), and a folder, or a database's
address, in which it writes; `postgresql.py` has its measurements made here, too.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import itertools
import json
import logging
import os
import random
import sqlite3
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import durable_operations as operations
from durable_operations import ARGUMENTS, COROUTINES, PLAIN
from durable_peers import Loop, Tables, Threads, bare, recorded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from py_api_saga import Saga
    from py_api_saga.journal import PostgreSQLJournal, SQLiteJournal

    Journal = PostgreSQLJournal | SQLiteJournal

BARE, SKETCH, THIS, DBOS = "bare", "sketch", "this library", "DBOS"
THIS_GIVEN = "this library, given"  # each saga is written once
ACTIONS = ("reserve", "charge", "book", "release", "refund", "cancel")


# --- the contenders -------------------------------------------------------------------------------


def open_journal(folder: str, aliases: dict[str, str] | None = None) -> SQLiteJournal:
    """Open the library's journal in a file."""
    from py_api_saga.journal import SQLiteJournal  # noqa: PLC0415 - DBOS has none

    path = f"{folder}/sagas.db"
    return SQLiteJournal(path, modules=["durable_operations"], aliases=aliases)


def open_served(url: str, aliases: dict[str, str] | None = None) -> PostgreSQLJournal:
    """Open the library's journal in a database, with its tables."""
    from py_api_saga.journal import PostgreSQLJournal  # noqa: PLC0415 - DBOS has none

    journal = PostgreSQLJournal(url, modules=["durable_operations"], aliases=aliases)
    journal.create_schema()
    return journal


def open_at(place: str, aliases: dict[str, str] | None = None) -> Journal:
    """Open the one or the other."""
    return (open_served if "://" in place else open_journal)(place, aliases)


def checkout(journal: Journal, i: int, how: str, count: int = 3) -> Saga:
    """Build a saga, as is done for each request."""
    from py_api_saga import Saga  # noqa: PLC0415 - DBOS has none

    order = f"order-{i}"
    saga = Saga(name="checkout", journal=journal)
    calls = list(zip(COROUTINES if how == "asyncio" else PLAIN, ARGUMENTS, strict=True))
    for k in range(count):
        (action, undo), argument = calls[k % 3]
        saga.operation((action, order, argument), (undo, order))
    return saga


def checkout_once(journal: Journal, how: str) -> Saga:
    """Write the same saga once; what each run is given is its order."""
    from py_api_saga import Saga, given  # noqa: PLC0415 - DBOS has none

    saga = Saga(name="checkout", journal=journal)
    calls = zip(COROUTINES if how == "asyncio" else PLAIN, ARGUMENTS, strict=True)
    for (action, undo), argument in calls:
        saga.operation((action, given("order"), argument), (undo, given("order")))
    return saga


def start(name: str, how: str, place: str) -> Callable[[int], Any]:
    """Give what runs one saga, or makes the coroutine that does; under asyncio, inside the loop."""
    if name == DBOS:
        return load_dbos(place)[how]
    if name == SKETCH:
        tables = Tables(f"{place}/sagas.db")
        return Loop(tables).run if how == "asyncio" else Threads(tables).run
    journal = open_at(place)
    if name == THIS_GIVEN:
        saga = checkout_once(journal, how)
        if how == "asyncio":
            return lambda i: saga.given(order=f"order-{i}").aorchestrator_execute()
        return lambda i: saga.given(order=f"order-{i}").orchestrator_execute()
    if how == "asyncio":
        return lambda i: checkout(journal, i, how).aorchestrator_execute()
    return lambda i: checkout(journal, i, how).orchestrator_execute()


def load_dbos(address: str) -> dict[str, Callable[[int], Any]]:
    """Launch DBOS, with a workflow of the same three operations as its steps.

    On SQLite it uses a rollback journal; a write-ahead log suits it better, and stays once set.
    """
    if address.startswith("sqlite"):
        connection = sqlite3.connect(address.removeprefix("sqlite:///"))
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
    dbos = importlib.import_module("dbos").DBOS
    dbos(
        config={
            "name": "benchmark",
            "application_version": "1",
            "system_database_url": address,
            "log_level": "CRITICAL",
            "run_admin_server": False,
        }
    )
    plain = [dbos.step()(action) for action, _ in PLAIN]
    coroutines = [dbos.step()(action) for action, _ in COROUTINES]

    def run(i: int) -> list[Any]:
        calls = zip(plain, ARGUMENTS, strict=True)
        return [action(f"order-{i}", argument) for action, argument in calls]

    async def run_async(i: int) -> list[Any]:
        calls = zip(coroutines, ARGUMENTS, strict=True)
        return [await action(f"order-{i}", argument) for action, argument in calls]

    run = dbos.workflow(name="checkout")(run)
    run_async = dbos.workflow(name="checkout_async")(run_async)
    dbos.launch()
    return {"threads": run, "asyncio": run_async}


# --- sagas per second -----------------------------------------------------------------------------


def rate(name: str, how: str, place: str, at_once: int, seconds: float) -> dict[str, float]:
    """Sagas per second and their CPU, so many at once; those that have begun are all awaited."""
    if name == BARE:
        return bare_rate(place, at_once, seconds)
    if how == "asyncio":
        return asyncio.run(rate_in_loop(name, place, at_once, seconds))
    numbers = itertools.count(1)
    run = start(name, how, place)
    run(next(numbers))
    begun, cpu = time.perf_counter(), time.process_time()

    def work() -> None:
        while time.perf_counter() < begun + seconds:
            run(next(numbers))

    threads = [threading.Thread(target=work) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return measured(next(numbers) - 2, begun, cpu)


def measured(sagas: int, begun: float, cpu: float) -> dict[str, float]:
    """Give sagas per second, and microseconds of CPU for each in this process, since then."""
    return {
        "rate": sagas / (time.perf_counter() - begun),
        "cpu": (time.process_time() - cpu) / sagas * 1e6,
    }


async def rate_in_loop(name: str, place: str, at_once: int, seconds: float) -> dict[str, float]:
    """Do the same under asyncio."""
    numbers = itertools.count(1)
    run = start(name, "asyncio", place)
    await run(next(numbers))
    begun, cpu = time.perf_counter(), time.process_time()

    async def work() -> None:
        while time.perf_counter() < begun + seconds:
            await run(next(numbers))

    await asyncio.gather(*(work() for _ in range(at_once)))
    return measured(next(numbers) - 2, begun, cpu)


def bare_rate(place: str, at_once: int, seconds: float) -> dict[str, float]:
    """Sagas per second, so many in the same commits."""
    bodies = sample(place)
    tables = Tables(f"{place}/bare.db")
    numbers = itertools.count(1, at_once)
    bare(tables, bodies, at_once, next(numbers))
    begun, cpu = time.perf_counter(), time.process_time()
    done = 0
    while time.perf_counter() < begun + seconds:
        done += bare(tables, bodies, at_once, next(numbers))
    return measured(done, begun, cpu)


def sample(place: str) -> list[str]:
    """Let the library write a saga, to see what its rows are."""
    os.makedirs(f"{place}/sample")  # noqa: PTH103 - paths are text here
    journal = open_journal(f"{place}/sample")
    checkout(journal, 0, "threads").orchestrator_execute()
    bodies = recorded(journal)
    journal.close()
    return bodies


# --- counts and sizes -----------------------------------------------------------------------------


def count(place: str, how: str, at_once: int, sagas: int, operations: int) -> dict[str, float]:
    """Run so many sagas of so many operations; tell commits, and bytes beyond none, per saga."""
    empty = size_of_none(f"{place}/empty")
    journal = open_journal(place)
    journal.shared.open()
    run_all(journal, how, at_once, range(sagas), operations)
    commits = journal.shared.file.count
    journal.close()
    path = f"{place}/sagas.db"
    connection = sqlite3.connect(path)
    query = "SELECT sum(length(CAST(body AS BLOB))) FROM entry"
    bodies: int = connection.execute(query).fetchone()[0]
    size = Path(path).stat().st_size - empty
    return {"commits": commits / sagas, "bytes": size / sagas, "bodies": bodies / sagas}


def run_all(
    journal: Journal, how: str, at_once: int, numbers: Iterable[int], operations: int = 3
) -> None:
    """Run a saga for each of these numbers, so many at once."""
    left = iter(numbers)

    def work() -> None:
        for i in left:
            checkout(journal, i, how, operations).orchestrator_execute()

    async def work_in_loop() -> None:
        for i in left:
            await checkout(journal, i, how, operations).aorchestrator_execute()

    async def main() -> None:
        await asyncio.gather(*(work_in_loop() for _ in range(at_once)))

    if how == "asyncio":
        asyncio.run(main())
        return
    threads = [threading.Thread(target=work) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def count_served(url: str, how: str, at_once: int, sagas: int) -> dict[str, float]:
    """Tell commits, bytes of write-ahead log, on disk and of bodies per saga, in a database.

    Without those of the first sagas, with which the tables and what PostgreSQL knows of them begin.
    """
    journal = open_served(url)
    connection = importlib.import_module("psycopg").connect(url, autocommit=True)
    for table in ("saga_saga", "saga_entry"):  # it has its own time
        connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    begin = max(at_once, 50)
    run_all(journal, how, at_once, range(begin))
    query = """
        SELECT pg_current_wal_insert_lsn() - '0/0', pg_total_relation_size('saga_saga'),
          pg_total_relation_size('saga_entry'), (SELECT sum(octet_length(body)) FROM saga_entry)
    """
    commits, before = journal.bench.commits, connection.execute(query).fetchone()
    run_all(journal, how, at_once, range(begin, begin + sagas))
    commits, after = journal.bench.commits - commits, connection.execute(query).fetchone()
    names = ("wal", "saga", "entry", "bodies")
    grown = [float(new - old) / sagas for new, old in zip(after, before, strict=True)]
    return {"commits": commits / sagas, **dict(zip(names, grown, strict=True))}


def size_of_none(place: str) -> int:
    """Give the bytes of a journal without a saga."""
    os.makedirs(place)  # noqa: PTH103 - paths are text here
    journal = open_journal(place)
    journal.shared.open()
    journal.close()
    return Path(f"{place}/sagas.db").stat().st_size


# --- recovery -------------------------------------------------------------------------------------


def hold(name: str, place: str, sagas: int) -> None:
    """Begin so many sagas, half of them in their first operation, half in their second; wait."""

    async def main() -> None:
        flying = 0
        never = asyncio.Event()

        async def pause(operation: int, order: str) -> None:
            nonlocal flying
            if operation == int(order[-1]) % 2:
                flying += 1
                if flying == sagas:
                    sys.stdout.write("ready\n")
                    sys.stdout.flush()
                await never.wait()

        operations.pause = pause
        run = start(name, "asyncio", place)
        await asyncio.gather(*(run(i) for i in range(sagas)))

    asyncio.run(main())


def recover(place: str, how: str) -> dict[str, float]:
    """Seconds, and CPU for each saga, from the opening of the journal until nothing is left."""
    from py_api_saga.durable.recovery import arecover, recover  # noqa: PLC0415 - DBOS has none

    prefix = "durable_operations:"
    now_plain = {f"{prefix}{name}_async": f"{prefix}{name}" for name in ACTIONS}
    if "://" in place:  # nobody waits until the lease of whoever was killed is over
        with importlib.import_module("psycopg").connect(place) as connection:
            connection.execute("UPDATE saga_owner SET until = 0")
    journal = open_at(place, now_plain if how == "threads" else None)
    begun, cpu = time.perf_counter(), time.process_time()
    done = recover(journal) if how == "threads" else asyncio.run(arecover(journal))
    seconds = time.perf_counter() - begun
    ended = [one for one in done if one.error is None]
    assert len(ended) == len(done), done[0]
    cpu = (time.process_time() - cpu) / max(1, len(done)) * 1e6
    return {"seconds": seconds, "sagas": len(done), "cpu": cpu}


def recover_dbos(place: str, sagas: int, patience: float) -> dict[str, float]:
    """Seconds from the launch until as many workflows as were begun have ended."""
    begun = time.perf_counter()
    load_dbos(place)
    ended = count_dbos(place)
    while (found := ended()) < sagas and time.perf_counter() - begun < patience:
        time.sleep(0.05)
    answer = {"seconds": time.perf_counter() - begun, "sagas": found}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    os._exit(0)  # its threads may be at work


def count_dbos(place: str) -> Callable[[], int]:
    """Give what counts the workflows that have ended."""
    if place.startswith("sqlite"):
        lite = sqlite3.connect(place.removeprefix("sqlite:///"), isolation_level=None)
        query = "SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS'"
        return lambda: int(lite.execute(query).fetchone()[0])
    server = importlib.import_module("psycopg").connect(place, autocommit=True)
    query = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'"
    return lambda: int(server.execute(query).fetchone()[0])


def fill(place: str, sagas: int) -> None:
    """Let a journal hold so many sagas that have ended."""
    if "://" in place:
        fill_served(place, sagas)
        return
    bodies = sample(place)
    journal = open_journal(place)
    journal.shared.open()
    journal.close()
    tables = Tables(f"{place}/sagas.db", "OFF")
    for first in range(1, sagas, 1000):
        bare(tables, bodies, 1000, first)
    tables.connection.close()


def fill_served(url: str, sagas: int) -> None:
    """Do so in a database: copies of one saga that was run."""
    journal = open_served(url)
    checkout(journal, 0, "threads").orchestrator_execute()
    journal.close()
    with importlib.import_module("psycopg").connect(url) as connection:
        connection.execute(
            "INSERT INTO saga_saga(saga_id, name, status, epoch, owner, tries, created, changed,"
            " due) SELECT 'copy-' || i, name, status, epoch, owner, tries, created, changed, due"
            " FROM saga_saga, generate_series(2, %s) AS i",
            (sagas,),
        )
        connection.execute(
            "INSERT INTO saga_entry(saga, n, at, body) SELECT saga.number, n, at, body"
            " FROM saga_entry, (SELECT number FROM saga_saga WHERE saga_id LIKE 'copy-%') AS saga"
        )


# --- many at once ---------------------------------------------------------------------------------


def crowd(name: str, place: str, sagas: int, seconds: float) -> dict[str, float]:
    """Run so many sagas at once, whose operations take so long; tell the time and the memory."""

    async def main() -> float:
        if name == BARE:  # of asyncio
            run: Callable[[int], Awaitable[object]] = run_bare
        else:
            run = start(name, "asyncio", place)
        begun = time.perf_counter()
        await asyncio.gather(*(run(i) for i in range(sagas)))
        return time.perf_counter() - begun

    async def run_bare(i: int) -> None:
        for (action, _), argument in zip(COROUTINES, ARGUMENTS, strict=True):
            await action(f"order-{i}", argument)

    operations.pause = lambda _operation, _order: asyncio.sleep(seconds)
    if name == THIS:
        importlib.import_module("py_api_saga.durable.recovery")
    gc.collect()
    before = peak()
    return {"seconds": asyncio.run(main()), "before": before, "peak": peak()}


def peak() -> float:
    """Give the most memory that this process has had, MiB; 0 where nobody says."""
    status = Path("/proc/self/status")  # getrusage would tell that of whoever has started us
    if not status.exists():
        return 0.0
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024


# --- decay ----------------------------------------------------------------------------------------


def decay(place: str, sagas: int, at_once: int, ids: str) -> dict[str, list[float]]:
    """Sagas per second in each tenth of so many, and after each those of an empty journal."""
    found: dict[str, list[float]] = {"tenths": [], "beside": []}
    randoms = random.Random(1)  # noqa: S311 - not for secrets

    async def run(journal: SQLiteJournal, numbers: Iterator[int]) -> None:
        for i in numbers:
            saga_id = f"{randoms.getrandbits(128):032x}" if ids == "random" else None
            await checkout(journal, i, "asyncio").aorchestrator_execute(saga_id=saga_id)

    async def seconds_for(journal: SQLiteJournal, count: int) -> float:
        begun = time.perf_counter()
        numbers = iter(range(count))
        await asyncio.gather(*(run(journal, numbers) for _ in range(at_once)))
        return time.perf_counter() - begun

    async def main() -> None:
        journal = open_journal(place)
        await seconds_for(journal, at_once)
        for tenth in range(10):
            small = f"{place}/{tenth}"
            os.makedirs(small)  # noqa: PTH103
            found["tenths"].append(sagas / 10 / await seconds_for(journal, sagas // 10))
            other = open_journal(small)
            count = max(at_once, sagas // 100)
            found["beside"].append(count / await seconds_for(other, count))
            other.close()

    asyncio.run(main())
    return found


MEASURES: dict[str, Callable[..., Any]] = {
    "rate": rate,
    "count": count,
    "count served": count_served,
    "hold": hold,
    "recover": recover,
    "recover dbos": recover_dbos,
    "fill": fill,
    "crowd": crowd,
    "decay": decay,
}


def main(request: str, *folders: str) -> None:
    """Answer one request."""
    sys.path[:0] = folders
    logging.getLogger().addHandler(logging.NullHandler())  # recovery warns about each doubt
    asked = json.loads(request)
    measure = partial(MEASURES[asked.pop("measure")], **asked)
    sys.stdout.write(json.dumps(measure()) + "\n")
    sys.stdout.flush()
    if "dbos" in sys.modules:
        os._exit(0)  # its threads would go on


if __name__ == "__main__":
    main(*sys.argv[1:])
