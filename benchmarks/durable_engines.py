"""Show what a saga costs on DBOS and on Temporal, beside the same one written by hand there.

Prints Markdown, whatever else the machine does. README.md says how to run it and how it measures.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from core import HERE, SOURCE, machine, ratios, table, turns

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

OURS, HAND = "this library", "written by hand"
WHO = (OURS, HAND)
ENGINES = ("dbos", "temporal")
WORKERS = 2  # processes of each
CALLERS = 16
MOST_LATENCY, MOST_CPU = 1.1, 1.35
LOOK = 0.02  # seconds between two looks of a DBOS client whether its workflow has ended
IDLE = 1.0  # seconds for which a worker is watched that has nothing to do


class Bench(NamedTuple):
    """An engine, and what runs there.

    Attributes:
        run: Runs a saga of an id, by whoever made it, and waits for its end.
        records: Counts what the engine keeps of a saga: step rows, or events of its history.
        workers: The processes that work for each.
    """

    run: dict[str, Callable[[str], object]]
    records: dict[str, Callable[[str], int]]
    workers: dict[str, list[int]]


def saga() -> Any:
    """Make the saga that `durable_engines_hand` has by hand."""
    from short import do, undo  # noqa: PLC0415 - as its workers find them

    from py_api_saga import Saga  # noqa: PLC0415 - of the tree that is measured

    made = Saga(name="bench")
    for number in (1, 2, 3):
        made.operation((do, number), (undo, number))
    return made


class Loop:
    """An event loop in a thread, for a client that needs one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def __call__(self, it: Coroutine[Any, Any, Any]) -> Any:
        """Have it run there, and wait for it."""
        return asyncio.run_coroutine_threadsafe(it, self._loop).result()


@contextmanager
def workers(commands: dict[str, list[str]], **said: str) -> Iterator[dict[str, list[int]]]:
    """Start the workers of everyone, and end them with the block."""
    path = os.pathsep.join(map(str, (HERE, SOURCE)))
    environment = {**os.environ, "PYTHONPATH": path, **said}
    started: list[subprocess.Popen[bytes]] = []
    try:
        pids = {}
        for who, command in commands.items():
            mine = [
                subprocess.Popen(
                    [sys.executable, *command], env=environment, start_new_session=True
                )
                for _ in range(WORKERS)
            ]
            started += mine
            pids[who] = [process.pid for process in mine]
        yield pids
    finally:
        for process in started:
            process.kill()  # they have nothing to do; by SIGTERM they would wait for it
        for process in started:
            process.wait()


def commands(kind: str, *more: str) -> dict[str, list[str]]:
    """Give what starts a worker."""
    ours = ["-m", "py_api_saga", "worker", "--engine", kind, "--modules", "short", *more]
    return {OURS: ours, HAND: [str(HERE / "durable_engines_hand.py"), kind]}


@contextmanager
def on_dbos(servers: Any) -> Iterator[Bench]:
    """Bench it there; both are in one database."""
    from dbos import DBOSClient  # noqa: PLC0415 - an extra

    from py_api_saga.engines.dbos import DBOSEngine  # noqa: PLC0415 - of the tree that is measured

    psycopg = import_module("psycopg")
    with ExitStack() as stack:
        url = stack.enter_context(servers.dbos_database())
        engine = stack.enter_context(closing(DBOSEngine(url, modules=["short"])))
        client = DBOSClient(system_database_url=url, system_database_pool_size=CALLERS)
        stack.callback(client.destroy)
        pids = stack.enter_context(workers(commands("dbos", "--takeover"), SAGA_ENGINE_URL=url))

        def hand(name: str) -> object:
            options: Any = {
                "queue_name": "hand",
                "workflow_name": "hand",
                "workflow_id": name,
                "app_version": "hand",
            }
            return client.enqueue(options).get_result(polling_interval_sec=LOOK)

        def steps(name: str) -> int:
            query = "SELECT count(*) FROM dbos.operation_outputs WHERE workflow_uuid = %s"
            with psycopg.connect(url) as connection:
                return int(connection.execute(query, (name,)).fetchone()[0])

        run = {OURS: lambda name: saga().orchestrator_execute(engine=engine, saga_id=name)}
        yield Bench({**run, HAND: hand}, dict.fromkeys(WHO, steps), pids)


@contextmanager
def on_temporal(servers: Any) -> Iterator[Bench]:
    """Bench it there; both are in one namespace."""
    from temporalio.client import Client  # noqa: PLC0415 - an extra

    from py_api_saga.engines.temporal import TemporalEngine  # noqa: PLC0415 - as above

    made = import_module("servers.temporal").namespace(servers.temporal())
    loop = Loop()
    client = loop(Client.connect(made.address, namespace=made.name))
    engine = TemporalEngine(made.address, namespace=made.name, modules=["short"])
    said = {"SAGA_ENGINE_URL": made.address, "SAGA_BENCH_NAMESPACE": made.name}
    with (
        closing(engine),
        workers(commands("temporal", "--namespace", made.name), **said) as pids,
    ):

        def hand(name: str) -> object:
            return loop(client.execute_workflow("hand", id=name, task_queue="hand"))

        async def history(name: str) -> int:
            found = client.get_workflow_handle(name).fetch_history_events()
            return len([event async for event in found])

        run = {OURS: lambda name: saga().orchestrator_execute(engine=engine, saga_id=name)}
        events = dict.fromkeys(WHO, lambda name: int(loop(history(name))))
        yield Bench({**run, HAND: hand}, events, pids)


# --- what is measured -----------------------------------------------------------------------------


def cpu(pids: Sequence[int]) -> float:
    """Give the seconds of CPU that processes have taken."""
    ticks = 0
    for pid in pids:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(stat[11]) + int(stat[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def latencies(bench: Bench, rounds: int) -> dict[str, list[float]]:
    """Milliseconds until a saga has ended that runs alone, each once in a round."""
    found: dict[str, list[float]] = {who: [] for who in WHO}
    for number in range(rounds):
        for who in turns(WHO, number):
            begun = time.perf_counter()
            bench.run[who](f"{who[0]}-alone-{number}")
            found[who].append((time.perf_counter() - begun) * 1000)
    return found


def loads(
    bench: Bench, rounds: int, sagas: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Milliseconds of the workers' CPU for a saga, and of time, with many callers at once.

    What a worker takes that has nothing to do is measured before each, and not counted.
    """
    spent: dict[str, list[float]] = {who: [] for who in WHO}
    lasted: dict[str, list[float]] = {who: [] for who in WHO}
    for number in range(rounds):
        for who in turns(WHO, number):
            before = cpu(bench.workers[who])
            time.sleep(IDLE)
            idle = (cpu(bench.workers[who]) - before) / IDLE
            before, begun = cpu(bench.workers[who]), time.perf_counter()
            names = [f"{who[0]}-many-{number}-{n}" for n in range(sagas)]
            with ThreadPoolExecutor(CALLERS) as callers:
                for _ in callers.map(bench.run[who], names):
                    pass
            seconds = time.perf_counter() - begun
            taken = cpu(bench.workers[who]) - before - idle * seconds
            spent[who].append(taken / sagas * 1000)
            lasted[who].append(seconds / sagas * 1000)
    return spent, lasted


def judged(found: dict[str, list[float]], limit: float | None) -> list[str]:
    """Give medians, and the ratio of ours to the other, held against its target."""
    ratio = median(ratios(found[OURS], found[HAND]))
    verdict = ""
    if limit is not None:
        verdict = f" (≤ {limit:g}: {'PASS' if ratio <= limit else 'MISS'})"
    return [f"{median(found[who]):,.1f}" for who in WHO] + [f"{ratio:.2f}{verdict}"]


def measured(bench: Bench, *, quick: bool) -> list[list[str]]:
    """Measure all on an engine."""
    for who in WHO:  # whose first saga waits for a worker to come
        for n in range(2 if quick else 20):
            bench.run[who](f"{who[0]}-warm-{n}")
    alone = latencies(bench, 2 if quick else 40)
    spent, lasted = loads(bench, 2 if quick else 5, 10 if quick else 60)
    kept = {who: bench.records[who](f"{who[0]}-alone-0") for who in WHO}
    verdict = "PASS" if kept[OURS] <= kept[HAND] else "MISS"
    return [
        ["ms for one saga alone", *judged(alone, MOST_LATENCY)],
        ["ms of the workers' CPU for a saga", *judged(spent, MOST_CPU)],
        [f"ms for a saga, {CALLERS} callers at once", *judged(lasted, None)],
        ["steps or events on record", str(kept[OURS]), str(kept[HAND]), f"equal: {verdict}"],
    ]


BENCHES = {"dbos": on_dbos, "temporal": on_temporal}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default=",".join(ENGINES), help="engines, by comma")
    parser.add_argument("--quick", action="store_true", help="little of it, to see that it works")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that all that was started is ended
    unknown = {*options.only.split(",")} - {*ENGINES}
    if unknown:
        parser.error(f"--only: expected {', '.join(ENGINES)}, got {', '.join(unknown)}")
    sys.path[:0] = [str(SOURCE)]
    sys.path.append(str(HERE.parent / "tests"))  # which have the one way to start a server
    servers, children = map(import_module, ("servers.shared", "servers.children"))
    print(f"{machine()}.\n")
    with tempfile.TemporaryDirectory() as folder, servers.run():
        os.chdir(folder)  # an engine looks for a file of settings where it is started
        for kind in options.only.split(","):
            try:
                with BENCHES[kind](servers) as bench:
                    rows = measured(bench, quick=options.quick)
            except children.Missing as missing:
                sys.stderr.write(f"There is no {missing}.\n")
                return 1
            print(f"### A saga of 3 operations on {kind}\n")
            print(table(["", *WHO, "ratio"], rows), flush=True)
            print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
