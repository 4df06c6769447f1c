"""Show how the cost grows: with operations, open sagas, payload, the journal and processes.

Prints Markdown: CPU per unit, whatever else the machine does. README.md says how to run it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import HERE, SOURCE, machine, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from py_api_saga.journal import SQLiteJournal

LIMIT = 100  # sagas that are recovered at a time
MAX_GROWTH = 1.2  # of recovering so many, the most open ones to the fewest
BESIDE = 300  # sagas that are run to see what one costs
PROCESS_SECONDS = 2.0


class Clock:
    """Measures the CPU time of this process."""

    def __init__(self) -> None:
        """Begin."""
        self._begun = time.process_time()

    def each(self, count: int) -> str:
        """Give the microseconds of each of so many."""
        return f"{(time.process_time() - self._begun) / count * 1e6:,.1f}"


def opened(folder: Path, name: str) -> SQLiteJournal:
    """Open a journal that need not outlast a loss of power: syncs take no CPU time."""
    from py_api_saga.journal import SQLiteJournal  # noqa: PLC0415 - of the tree that is measured

    path = str(folder / f"{name}.db")
    return SQLiteJournal(path, modules=["durable_operations"], durability="process")


def in_loop(make: Callable[[int], Any], numbers: Iterator[int], at_once: int) -> None:
    """Await what is made of each number, so many at once."""

    async def one() -> None:
        for number in numbers:
            await make(number)

    async def main() -> None:
        await asyncio.gather(*(one() for _ in range(at_once)))

    asyncio.run(main())


# --- what grows -----------------------------------------------------------------------------------


def operations(folder: Path, most: int) -> tuple[list[str], list[list[str]]]:
    """µs for each operation of one saga."""
    from durable_operations import release, reserve  # noqa: PLC0415

    from py_api_saga import Saga, SagaException  # noqa: PLC0415

    def fail(_: str) -> None:
        raise ValueError

    def saga(count: int, last: Any, journal: Any = None) -> Saga:
        made = Saga(journal=journal)
        for _ in range(count - 1):
            made.operation((reserve, "order-1", 2), (release, "order-1"))
        return made.operation(last, (release, "order-1"))

    rows = []
    for size in sizes(1, most):
        rounds, good, row = max(1, 2000 // size), (reserve, "order-1", 2), [f"{size:,}"]
        clock = Clock()
        for _ in range(rounds):
            saga(size, good).orchestrator_execute()
        row.append(clock.each(rounds * size))
        clock = Clock()
        for _ in range(rounds):
            try:
                saga(size, (fail, "order-1")).orchestrator_execute()
            except SagaException:
                continue
        row.append(clock.each(rounds * size))
        if size > most // 10:
            rows.append([*row, "", "", ""])
            continue
        clock = Clock()
        saga(size, good).choreography_execute(max_workers=4)
        row.append(clock.each(size))
        journal = opened(folder, f"operations-{size}")
        durable, rounds = saga(size, good, journal), max(1, 300 // size)
        clock = Clock()
        for _ in range(rounds):
            durable.orchestrator_execute()
        row.append(clock.each(rounds * size))
        durable.orchestrator_execute(saga_id="x")
        clock = Clock()
        durable.orchestrator_execute(saga_id="x")
        rows.append([*row, clock.each(size)])
        journal.close()
    head = ["operations", "success", "failure", "at once", "on record", "asked again by id"]
    return head, rows


def open_sagas(folder: Path, most: int) -> tuple[list[str], list[list[str]]]:
    """µs for each saga, by how many are open and nobody drives them."""
    from durable_worker import checkout  # noqa: PLC0415

    from py_api_saga import recover  # noqa: PLC0415

    async def begin(journal: SQLiteJournal, i: int) -> None:
        await checkout(journal, i, "threads").astart()

    rows, recovered = [], []
    for size in sizes(1000, most):
        journal = opened(folder, f"open-{size}")
        clock = Clock()
        in_loop(partial(begin, journal), iter(range(size)), 512)
        row = [f"{size:,}", clock.each(size)]
        clock = Clock()
        for i in range(BESIDE):
            checkout(journal, i, "threads").orchestrator_execute()
        row.append(clock.each(BESIDE))
        clock = Clock()
        recover(journal, limit=LIMIT)
        recovered.append(float(clock.each(LIMIT).replace(",", "")))
        rows.append([*row, f"{recovered[-1]:,.1f}", f"{recovered[-1] / recovered[0]:.2f}"])
        journal.close()
    passed = "PASS" if recovered[-1] <= MAX_GROWTH * recovered[0] else "MISS"
    rows[-1][-1] += f" (≤ {MAX_GROWTH:g}: {passed})"
    recover_ = f"recover(limit={LIMIT})"
    return ["open", "started", "a new one beside them", recover_, "÷ the first"], rows


def payload(folder: Path, most: int) -> tuple[list[str], list[list[str]]]:
    """µs for a saga of one operation, by the bytes of its argument."""
    from durable_operations import release  # noqa: PLC0415

    from py_api_saga import Saga  # noqa: PLC0415

    rows = []
    for size in sizes(100, most):
        journal, row = opened(folder, f"payload-{size}"), [f"{size:,}"]
        rounds = 200 if size < 100_000 else 20
        line = {"article": "mug", "count": 2, "price": [1.5, "EUR"]}
        argument: Any
        for argument in ("x" * size, list(range(size // 8)), [line] * (size // 60)):
            clock = Clock()
            for _ in range(rounds):
                Saga(journal=journal).operation((release, argument)).orchestrator_execute()
            row.append(clock.each(rounds))
        rows.append(row)
        journal.close()
    return ["bytes", "a text", "a list of numbers", "a list of dicts"], rows


def journal_size(folder: Path, most: int) -> tuple[list[str], list[list[str]]]:
    """µs for what is asked of a journal, by how many sagas have ended in it."""
    from durable_worker import checkout  # noqa: PLC0415

    from py_api_saga import SagaStatus  # noqa: PLC0415

    journal, rows, done = opened(folder, "size"), [], 0
    for size in sizes(1000, most):
        clock = Clock()
        in_loop(
            lambda i: checkout(journal, i, "asyncio").aorchestrator_execute(),
            iter(range(done, size)),
            128,
        )
        row, done = [f"{size:,}", clock.each(size - done)], size
        for ask in (
            partial(journal.select, limit=20),
            partial(journal.select, [], "no such name", limit=20),
            partial(journal.select, [SagaStatus.STUCK], limit=20),
        ):
            clock = Clock()
            for _ in range(10):
                ask()
            row.append(clock.each(10))
        rows.append(row)
    journal.close()
    return ["ended", "a new one", "the newest 20", "by a name", "what is stuck"], rows


WORKER = """
import asyncio, json, sys, time
sys.path[:0] = sys.argv[1:3]
from durable_worker import checkout, open_journal
journal, at_once, seconds = open_journal(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
took = []
async def one():
    while time.time() < end:
        begun = time.perf_counter()
        await checkout(journal, len(took), "asyncio").aorchestrator_execute()
        took.append(time.perf_counter() - begun)
async def main():
    await asyncio.gather(*(one() for _ in range(at_once)))
journal.find("nothing")
print("ready", flush=True)
sys.stdin.readline()
end, cpu = time.time() + seconds, time.process_time()
asyncio.run(main())
print(json.dumps([len(took), time.process_time() - cpu, sorted(took)[int(len(took) * 0.99)]]))
"""


def processes(folder: Path, most: int) -> tuple[list[str], list[list[str]]]:
    """One journal for several processes, asyncio: µs for each saga, and the slowest 1 %."""
    rows = []
    for at_once in (1, 32):
        for count in (1, 2, 4, 8)[: most.bit_length()]:
            place = folder / f"processes-{count}-{at_once}"
            place.mkdir()
            command = [sys.executable, "-c", WORKER, str(SOURCE), str(HERE), str(place)]
            workers = [
                subprocess.Popen(
                    [*command, str(at_once), str(PROCESS_SECONDS)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for _ in range(count)
            ]
            for worker in workers:
                assert worker.stdout is not None
                worker.stdout.readline()
            found = [json.loads(worker.communicate("go\n")[0]) for worker in workers]
            sagas = sum(one[0] for one in found)
            cpu = sum(one[1] for one in found) / sagas * 1e6
            slowest = max(one[2] for one in found) * 1e3
            rows.append([f"{count} x {at_once} at once", f"{cpu:,.0f}", f"{slowest:,.1f}"])
    return ["processes", "CPU", "99 % within, ms"], rows


def sizes(first: int, most: int) -> list[int]:
    """Give powers of ten from the first to the most, which need not be one."""
    found = []
    while first < most:
        found.append(first)
        first *= 10
    return [*found, most]


SECTIONS: dict[str, tuple[Callable[[Path, int], tuple[list[str], list[list[str]]]], int, int]] = {
    "operations": (operations, 100_000, 100),
    "open": (open_sagas, 200_000, 2000),
    "payload": (payload, 1_000_000, 1000),
    "journal": (journal_size, 100_000, 2000),
    "processes": (processes, 8, 1),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--on", type=Path, help="the folder for the journals; by default a new one")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, by comma")
    parser.add_argument("--quick", action="store_true", help="less of it, to see that it works")
    options = parser.parse_args(arguments)
    unknown = {*options.only.split(",")} - {*SECTIONS}
    if unknown:
        parser.error(f"--only: expected {', '.join(SECTIONS)}, got {', '.join(unknown)}")
    sys.path[:0] = [str(SOURCE)]
    logging.getLogger().addHandler(logging.NullHandler())
    print(f"{machine()}.\n")
    for section in options.only.split(","):
        measure, most, few = SECTIONS[section]
        folder = Path(tempfile.mkdtemp(dir=options.on))
        try:
            head, rows = measure(folder, few if options.quick else most)
        finally:
            shutil.rmtree(folder)
        title = (measure.__doc__ or "").rstrip(".")
        print(f"### {section}: {title}\n\n{table(head, rows)}\n", flush=True)


if __name__ == "__main__":
    main()
