"""What the processes do, each from its fork to its end."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import multiprocessing
import os
import resource
import signal
import sqlite3
import threading
import time
import traceback
import warnings
import zlib
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from py_api_saga import (
    JournalError,
    Saga,
    SagaAssembler,
    SagaException,
    SagaInProgress,
    SagaPending,
    SagaStuck,
    answer,
    cli,
    clock,
    definition,
    events,
    saga_status,
)
from py_api_saga.durable import answering, recovery
from py_api_saga.executors import event_loop, run, running
from py_api_saga.journal import PostgreSQLJournal, SQLiteJournal
from py_api_saga.journal.changes import Take
from py_api_saga.journal.sqlite import file as journal_file
from py_api_saga.process import OwnLock

from . import checks, points, shop
from .bases import base_of
from .points import Here, point, tell
from .sweeps import chance_of

__all__ = ["do", "job", "open_journal", "tell"]
MODES_ASKED = [mode for mode in shop.MODES if mode != "unclear"]
_JOBS: dict[str, Callable[..., None]] = {}
# What is imported here need not be imported by each; nor while it is interrupted, after which
# Python may keep others waiting for the module for ever.
_BEFORE_THE_FORKS = (event_loop, events, running)


def do(job: str, place: str, at: int | list[Any] = 0, how: str = "kill", **options: Any) -> None:
    """Do a job by its name, and tell the points that it has passed."""
    logging.getLogger("py_api_saga").setLevel(logging.CRITICAL)
    # What a process does here is lawful, though some interpreters think it unwise.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    recovery.backoff = vars(answering)["backoff"] = _no_wait
    points.begin(Path(place), at if isinstance(at, int) else (at[0], at[1]), how)
    Here.journal_mode = options.pop("journal_mode", "wal")
    if "limit" in options:
        resource.setrlimit(resource.RLIMIT_FSIZE, (options.pop("limit"), resource.RLIM_INFINITY))
    if options.pop("fatal", False):  # the write that crosses the limit ends the process
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    _JOBS[job](**options)
    tell("passed", json.dumps(Here.passed))


def _no_wait(tries: int) -> float:  # noqa: ARG001 - as what it stands for
    return 0.0


def job(function: Callable[..., None]) -> Callable[..., None]:
    """Let this be done by its name."""
    _JOBS[function.__name__.strip("_")] = function
    return function


def open_journal(**options: Any) -> Any:
    """Open the journal of this process's place."""
    options.setdefault("modules", ["crash.shop"])
    if base := base_of(Here.place):
        points.count_transactions()
        options |= {"lease": base.lease, "patience": base.patience}
        return PostgreSQLJournal(base.url, **options)
    options["journal_mode"] = Here.journal_mode
    return SQLiteJournal(Here.place / "sagas.db", **options)


@job
def _prepare() -> None:
    """Make the tables in the database of a place."""
    with closing(open_journal()) as journal:
        journal.create_schema()


def _execute(
    journal: Any, saga: Saga, saga_id: str, *, graph: bool = False, coroutine: bool = False
) -> None:
    """Run a saga, and tell what its caller is told."""
    method = f"{'choreography' if graph else 'orchestrator'}_execute"
    try:
        if coroutine:
            asyncio.run(getattr(saga, f"a{method}")(journal=journal, saga_id=saga_id))
        else:
            getattr(saga, method)(journal=journal, saga_id=saga_id)
        outcome = "completed"
    except SagaStuck:
        outcome = "stuck"
    except SagaException as error:
        outcome = "compensated" if error.operation_name else "compensated as a whole"
    except SagaInProgress:
        outcome = "in progress"
    except SagaPending:
        outcome = "pending"
    except JournalError as error:
        outcome = f"journal: {error}"
    tell("told", saga_id, outcome)
    point("told")


@job
def _run(sagas: list[tuple[str, str, dict[str, str]]], threads: int = 1) -> None:
    """Run checkouts, each an id, a mode and troubles, one after the other or in threads."""
    journal, todo = open_journal(), list(reversed(sagas))

    def work() -> None:
        with suppress(IndexError):
            while True:
                order, mode, troubles = todo.pop()
                how = shop.MODES[mode]
                tell("begun", order, mode)
                saga = shop.checkout(order, mode, troubles)
                graph, coroutine = "graph" in how, "asyncio" in how
                _execute(journal, saga, order, graph=graph, coroutine=coroutine)

    if threads == 1:
        work()
    else:
        _in_threads([work] * threads)
    journal.close()


def _in_threads(bodies: list[Callable[[], object]]) -> None:
    def telling(body: Callable[[], object]) -> None:
        try:
            body()
        except BaseException:  # noqa: BLE001 - its last words
            tell("error", traceback.format_exc())

    threads = [threading.Thread(target=telling, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@job
def _recover(
    max_tries: int = 1_000_000,
    begin: float = 0.0,
    aliases: dict[str, str] | None = None,
    modules: list[str] | None = None,
    change: str = "",
    *,
    coroutine: bool = False,
) -> None:
    """Recover until nothing is left, from a given moment on, perhaps with other functions.

    What waits is answered, as a service does that comes again until it was heard.
    """
    if change == "renamed":
        shop.make_reservation = vars(shop).pop("reserve")  # type: ignore[attr-defined]
        shop.make_reservation.__name__ = shop.make_reservation.__qualname__ = "make_reservation"  # type: ignore[attr-defined]
    elif change == "signature":
        shop.charge = lambda order: {"order": order}  # type: ignore[assignment,misc]
        shop.charge.__module__, shop.charge.__qualname__ = "crash.shop", "charge"
    with closing(open_journal(aliases=aliases, modules=modules or ["crash.shop"])) as journal:
        time.sleep(max(0.0, begin - time.time()))
        options: Any = {"max_tries": max_tries, "max_workers": 4}
        while (
            done := (
                asyncio.run(recovery.arecover(journal, **options))
                if coroutine
                else recovery.recover(journal, **options)
            )
        ) or _answer_all(journal):
            for saga in done:
                if isinstance(saga.error, SagaPending):
                    continue
                if saga.outcome.name in ("RUNNING", "COMPENSATING"):
                    tell("unfinished", saga.saga_id, repr(saga.error))
                    raise saga.error or AssertionError
                seen = journal.find(saga.saga_id)
                if seen is None or seen.status is not saga.outcome:
                    tell("unfinished", saga.saga_id, f"was-said-to-be-{saga.outcome.value}")
                tell("recovered", saga.saga_id, saga.outcome.value, repr(saga.error))
                if isinstance(saga.error, SagaException) and saga.error.__cause__:
                    tell("cause", saga.saga_id, repr(saga.error.__cause__))


def _answer_all(journal: Any) -> int:
    """Answer what was asked for, and tell of it when that is on record; give how many there were.

    Every third answer is left to others.
    """
    lines = checks.told(Here.place)
    done = {line[1] for line in lines if line[0] == "answered"}
    todo = [line[1] for line in lines if line[0] == "asked" and line[1] not in done]
    for key in dict.fromkeys(todo):
        answer(journal, key, result={"order": key}, go_on=zlib.crc32(key.encode()) % 3 > 0)
        tell("answered", key)
        point("answered")
    return len(todo)


@job
def _takeover(saga_id: str) -> None:
    """Force out whoever drives a saga, and go on with it."""
    with closing(open_journal()) as journal:
        done = recovery.takeover(journal, saga_id, force=True)
        tell("taken", saga_id, done.outcome.value)


@job
def _steal(saga_id: str) -> None:
    """Force out whoever drives a saga, and die."""
    with closing(open_journal()) as journal:
        seen = journal.find(saga_id)
        assert seen is not None
        journal.write(take := Take(seen, force=True))
        take.check()


@job
def _work(seed: int, threads: int = 3, ahead: float = 0.0) -> None:
    """Run and recover sagas in threads until somebody ends this process.

    Args:
        seed: Of its chances.
        threads: How many.
        ahead: The seconds by which the clock of this machine goes before those of others.
    """
    vars(clock)["time"] = lambda: time.time() + ahead
    journal, modes = open_journal(), [mode for mode in shop.MODES if mode != "unclear"]

    def work(k: int) -> None:
        chance, i = chance_of(f"{seed}-{k}"), 0
        while True:
            if chance.random() < 0.3:
                _recover_once(journal)
            if chance.random() < 0.2:
                _answer_once(journal)
            i += 1
            order, mode = f"{Here.place.name}-{seed}-{k}-{i}", chance.choice(modes)
            troubles = {}
            if mode.endswith("again") and chance.random() < 0.5:
                trouble = ("503 before", "500 after", "cut before", "cut after")
                troubles[chance.choice(shop.NAMES)] = chance.choice(trouble)
            how = shop.MODES[mode]
            tell("begun", order, mode)
            saga = shop.checkout(order, mode, troubles)
            graph, coroutine = "graph" in how, "asyncio" in how
            _execute(journal, saga, order, graph=graph, coroutine=coroutine)

    _in_threads([partial(work, k) for k in range(threads)])


def _recover_once(journal: Any) -> None:
    """Recover what is there; of a database that is away nothing more is expected."""
    try:
        for done in recovery.recover(journal, max_tries=1_000_000, max_workers=2):
            tell("recovered", done.saga_id, done.outcome.value, repr(done.error))
    except JournalError as error:
        if base_of(Here.place) is None:
            raise
        tell("away", repr(error))


def _answer_once(journal: Any) -> None:
    """Answer what waits; from a database that is away it comes again."""
    try:
        _answer_all(journal)
    except JournalError as error:
        if base_of(Here.place) is None:
            raise
        tell("away", repr(error))


@job
def _ask(seed: int, orders: list[str], seconds: float) -> None:
    """Ask for the same few sagas as others do, recover at times, and tell each answer."""
    journal, chance = open_journal(), chance_of(seed)
    until = time.monotonic() + seconds
    while (begin := time.monotonic()) < until:
        if chance.random() < 0.2:
            tell("holds", "*", os.getpid(), begin)
            for done in recovery.recover(journal, max_tries=1_000_000, max_workers=4):
                tell("recovered", done.saga_id, done.outcome.value, repr(done.error))
            _answer_all(journal)
            tell("answer", "*", os.getpid(), begin, time.monotonic(), "recovered")
            continue
        order = chance.choice(orders)
        mode = MODES_ASKED[zlib.crc32(order.encode()) % len(MODES_ASKED)]
        how = shop.MODES[mode]
        tell("holds", order, os.getpid(), begin)
        tell("begun", order, mode)
        method = f"{'choreography' if 'graph' in how else 'orchestrator'}_execute"
        answer = _answer_of(journal, shop.checkout(order, mode, {}), order, method, how)
        tell("answer", order, os.getpid(), begin, time.monotonic(), *answer)


def _answer_of(
    journal: Any, saga: Saga, order: str, method: str, how: dict[str, Any]
) -> tuple[str, ...]:
    """Run a saga, and give what its caller is told: a word, and what comes with it each time."""
    try:
        if "asyncio" in how:
            results = asyncio.run(getattr(saga, f"a{method}")(journal=journal, saga_id=order))
        else:
            results = getattr(saga, method)(journal=journal, saga_id=order)
    except SagaStuck:
        return ("stuck",)
    except SagaException as error:
        return "compensated", *(
            f"{name}={report.status.value}" for name, report in error.operations.items()
        )
    except SagaInProgress:
        return ("in-progress",)
    except SagaPending:
        return ("pending",)
    except JournalError as error:
        return "journal", repr(error)
    return "completed", repr(list(results))


@job
def _look() -> None:
    """See that `saga check` shows whatever is open in the journal and has nobody."""
    base = base_of(Here.place)
    where = base.url if base else str(Here.place / "sagas.db")
    there = dict(checks.statuses(Here.place))
    if not there:
        return
    with closing(open_journal()) as journal:
        standings = {saga_id: saga_status(journal, saga_id) for saga_id in there}
    # Of those that wait nothing is to be shown: nothing is wrong with them.
    there = {i: there[i] for i, standing in standings.items() if standing and not standing.awaited}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        ended = cli.main(["check", "--grace", "0s", "--json", "--journal", where])
    shown = {seen["saga_id"] for seen in json.loads(said.getvalue())["sagas"]}
    hidden = {i for i, status in there.items() if status not in checks.ENDS.values()} - shown
    if hidden or (ended == 4) != bool(shown):
        tell("error", "saga check does not show", *hidden)


# --- without services -----------------------------------------------------------------------------


def _notes(order: str, number: int, wait: float = 0.0) -> SagaAssembler:
    saga = SagaAssembler.saga(name="notes")
    for i in range(number):
        saga.operation((shop.note, order, f"n{i}", wait), (shop.unnote, order, f"n{i}"))
    return saga


@job
def _note(prefix: str, sagas: int, threads: int = 1, operations: int = 2) -> None:
    """Run many sagas that only write lines."""
    journal = open_journal()

    def work(k: int) -> None:
        for i in range(sagas // threads):
            order = f"{prefix}-{k}-{i}"
            _execute(journal, _notes(order, operations), order)

    _in_threads([partial(work, k) for k in range(threads)])
    journal.close()


@job
def _fork(forks: int) -> None:
    """Fork again and again while threads run sagas; every child runs one, and so does a pool."""
    journal, stop = open_journal(), threading.Event()
    first = threading.Event()

    def work(k: int) -> None:
        i = 0
        while not stop.is_set():
            i += 1
            _execute(journal, _notes(f"busy-{k}-{i}", 2), f"busy-{k}-{i}")

    def long() -> None:
        first.set()
        _execute(journal, _notes("parent", 4, 0.2), "parent")

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    threads.append(threading.Thread(target=long))
    for thread in threads:
        thread.start()
    assert first.wait(shop.PATIENCE)
    locks = [definition._naming, run._naming]  # noqa: SLF001 - a child must not inherit them locked
    for n in range(forks):
        if locks:
            threads.append(_hold(locks.pop()))
        pid = os.fork()
        if not pid:
            _child_of_fork(journal, n)
        assert _ends(pid), f"child {n} hangs"
    with multiprocessing.get_context("fork").Pool(3) as pool:
        owners = pool.map(_in_pool, range(6), chunksize=1)
    assert owners
    assert journal.shared.desk.owner not in owners
    stop.set()
    for thread in threads:
        thread.join(shop.PATIENCE)
        assert not thread.is_alive()
    journal.close()


def _hold(lock: OwnLock) -> threading.Thread:
    """Let a thread be for a moment where it usually is only for an instant: inside a lock."""
    holding = threading.Event()

    def hold() -> None:
        with lock:
            holding.set()
            time.sleep(0.1)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(shop.PATIENCE)
    return thread


def _child_of_fork(journal: SQLiteJournal, n: int) -> None:
    code = 1

    try:
        Here.passed = []
        assert not _open_files("/sagas.db")  # SQLite's locks are not inherited, its belief is
        _execute(journal, _notes(f"child-{n}", 1), f"child-{n}")
        taken = recovery.recover(journal)
        assert not [done for done in taken if not done.saga_id.startswith("child-")], taken
        code = 0
    except BaseException as error:  # noqa: BLE001 - its last words
        tell("error", n, repr(error))
    finally:
        os._exit(code)


def _open_files(name: str) -> list[str]:
    """List the files of such a name that this process has open, where the system says so."""
    found = []
    for file in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):
            found.append(os.readlink(file))  # noqa: PTH115 - it may not be a path
    return [path for path in found if path.endswith((name, f"{name}-wal", f"{name}-shm"))]


def _in_pool(n: int) -> int:
    journal = open_journal()
    order = f"pool-{os.getpid()}-{n}"
    _execute(journal, _notes(order, 1), order)
    owner: int = journal.shared.desk.owner
    return owner


def _ends(pid: int) -> bool:
    until = time.monotonic() + shop.PATIENCE
    while time.monotonic() < until:
        known, status = os.waitpid(pid, os.WNOHANG)
        if known:
            return status == 0
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def _strike_a_saga(_: int, frame: FrameType | None) -> None:
    """Interrupt what runs within a saga, and not the job around it, which need not withstand it."""
    while frame is not None:
        if frame.f_code is _execute.__code__:
            raise KeyboardInterrupt
        frame = frame.f_back


@job
def _interrupted(times: int, seed: int) -> None:
    """Run sagas in threads while the main one is interrupted, often twice in a commit."""
    chance, journal, stop = chance_of(seed), open_journal(), threading.Event()
    ended = [0, 0]

    def follow(k: int) -> None:
        i = 0
        while not stop.is_set():
            i += 1
            _execute(journal, _notes(f"f-{k}-{i}", 2), f"f-{k}-{i}")

    def strike() -> None:
        while not stop.wait(chance.uniform(0.0005, 0.006)):
            os.kill(os.getpid(), signal.SIGINT)
            if chance.random() < 0.5:
                time.sleep(chance.uniform(0, 0.0005))
                os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, _strike_a_saga)
    threads = [threading.Thread(target=follow, args=(k,)) for k in range(6)]
    threads.append(threading.Thread(target=strike))
    for thread in threads:
        thread.start()
    until, i = time.monotonic() + shop.PATIENCE, 0
    while ended[1] < times and time.monotonic() < until:
        try:
            i += 1
            _execute(journal, _notes(f"m-{i}", 2), f"m-{i}")
            ended[0] += 1
        except KeyboardInterrupt:
            ended[1] += 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop.set()
    for thread in threads:
        thread.join(shop.PATIENCE)
        assert not thread.is_alive(), "it hangs"
    tell("interrupted", *ended, journal.shared.file.count)
    time.sleep(0.3)
    assert not journal.shared.desk.running, journal.shared.desk.running
    journal.close()


@job
def _batch(sagas: int) -> None:
    """Run sagas at once under asyncio, which all wait for a file and go on in one commit."""
    journal = open_journal()

    async def one(order: str) -> None:
        saga = SagaAssembler.saga().operation((shop.wait_for, "go"), name="wait")
        saga.operation((shop.note, order, "after"), name="after")
        try:
            await saga.aorchestrator_execute(journal=journal, saga_id=order)
            tell("told", order, "completed")
        except SagaInProgress:
            tell("told", order, "in progress")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for i in range(sagas):
                group.create_task(one(f"b-{i}"))

    asyncio.run(main())
    tell("commits", journal.shared.file.count)
    journal.close()


@job
def _read(sagas: int, big: int) -> None:
    """Run sagas while readers overlap for ever, and tell how big the WAL became."""
    journal_file.BIG_WAL = big
    journal, stop, reads = open_journal(), threading.Event(), [0]
    with closing(journal):
        _execute(journal, _notes("r", 1), "r")
        threads = [threading.Thread(target=_overlap, args=(stop, reads, k)) for k in range(3)]
        for thread in threads:
            thread.start()
        highest = 0
        for i in range(sagas):
            _execute(journal, _notes(f"r-{i}", 8), f"r-{i}")
            highest = max(highest, (Here.place / "sagas.db-wal").stat().st_size)
        stop.set()
        for thread in threads:
            thread.join()
    tell("wal", highest, reads[0])


def _overlap(stop: threading.Event, reads: list[int], k: int) -> None:
    time.sleep(k * 0.007)
    while not stop.is_set():
        path = f"file:{Here.place}/sagas.db?mode=ro"
        with closing(sqlite3.connect(path, uri=True, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            seen = reader.execute("SELECT count(*) FROM entry").fetchone()
            time.sleep(0.02)
            assert seen == reader.execute("SELECT count(*) FROM entry").fetchone()
            reads[0] += 1


@job
def _unprivileged() -> None:
    """Try a saga as somebody who may not write, and tell what came of it."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    _execute(open_journal(), _notes("u", 1), "u")


@job
def _poisoned(sagas: int, which: int) -> None:
    """Start sagas that nobody drives yet; one of them ends the process of whoever does."""
    journal = open_journal()
    for i in range(sagas):
        saga = _notes(f"p-{i}", 1)
        if i == which:
            saga.operation((shop.poison, f"p-{i}"))
        saga.start(journal=journal, saga_id=f"p-{i}")
    journal.close()


@job
def _count(operations: int, stop: int, graph: bool) -> None:  # noqa: FBT001 - an option of a job
    """Run one saga of many operations, or go on with it, and tell in which order they ran."""
    journal = open_journal(durability="process")
    saga = SagaAssembler.saga(name="big")
    for i in range(operations):
        saga.operation((shop.count, i, stop), (shop.uncount, i), name=str(i))
    _execute(journal, saga, "big", graph=graph)
    counted = shop._counted  # noqa: SLF001 - of this package
    tell("counted", len(counted), min(counted), max(counted), len(set(counted)))
    journal.close()


@job
def _oneself() -> None:
    """Recover in the process that runs a saga, and then let another one recover."""
    journal = open_journal()
    saga = SagaAssembler.saga().operation((shop.wait_for, "go"), name="wait")

    async def main() -> None:
        task = asyncio.create_task(saga.aorchestrator_execute(journal=journal, saga_id="mine"))
        while journal.find("mine") is None:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.002)
        assert recovery.recover(journal) == []
        seen = journal.find("mine")
        assert seen is not None
        assert journal.drives(seen)
        # As the claims of others ask: whether the process of this number lives.
        owners = journal.shared.file._owners  # noqa: SLF001 - the lock that must not be lost
        assert owners is not None
        assert owners.alive(seen.owner)
        tell("looked")
        await task
        tell("told mine completed")

    asyncio.run(main())
    journal.close()


@job
def _fails(commit: int, *, recovers: bool = False) -> None:
    """Run a checkout whose journal fails at one commit and works again after it."""
    journal, order = open_journal(), f"{Here.place.name}-{commit}"
    how = {"commits": 0}
    begin = points._Connection.execute  # noqa: SLF001 - of this package

    def execute(self: Any, sql: str, *rest: Any) -> Any:
        if sql == "COMMIT":
            how["commits"] += 1
            if commit <= how["commits"] < commit + journal_file.TRIES:
                self.rollback()
                raise sqlite3.OperationalError("disk I/O error")
        return begin(self, sql, *rest)

    points._Connection.execute = execute  # type: ignore[method-assign]  # noqa: SLF001
    tell("begun", order, "chain undone")
    _execute(journal, shop.checkout(order, "chain undone", {}), order)
    if recovers:
        assert not journal.shared.desk.running
        for done in recovery.recover(journal):
            tell("recovered", done.saga_id, done.outcome.value)
    journal.close()


@job
def _late() -> None:
    """Run a saga of which a call lands when it was undone and its run has returned."""
    journal = open_journal()
    saga = SagaAssembler.saga().operation(
        (shop.note, "late", "a", 0.3), (shop.unnote, "late", "a"), name="a", timeout=0.05
    )
    _execute(journal, saga, "late")
    until = time.monotonic() + shop.PATIENCE
    while not shop.undone_again.is_set():
        assert time.monotonic() < until
        time.sleep(0.005)
    while journal.shared.desk.running:
        time.sleep(0.005)
    journal.close()
