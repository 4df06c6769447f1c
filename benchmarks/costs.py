"""Count what a saga costs besides, in instructions: asyncio, a journal, arguments, traces, a start.

Prints Markdown. README.md says how to run it. How busy the machine is does not change what is
counted, and of a process it is what its own code takes, in all its threads: not the kernel's part.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from core import CALLGRIND, HERE, SOURCE, machine, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

AT_ONCE = 64  # sagas, where some run at once
SIZE = 10  # operations of a saga in memory
ORDER = {
    "id": "order-1",
    "lines": [{"article": f"article-{i}", "count": i, "price": 1.5} for i in range(12)],
    "address": {"street": "Elm Street", "number": 7, "tags": ["new", "gift"]},
}


# --- what is counted: so many sagas, in a process of its own --------------------------------------


def _in_loop(runs: Iterator[Any], at_once: int) -> None:
    async def one() -> None:
        for run in runs:
            await run()

    async def main() -> None:
        await asyncio.gather(*(one() for _ in range(at_once)))

    asyncio.run(main())


async def _nothing(argument: int) -> None:
    pass


def memory_in_loop(times: int, _folder: str) -> None:
    """Coroutine functions one after the other, built anew, without a journal."""
    from py_api_saga import Saga  # noqa: PLC0415 - of the tree that is counted, here and below

    async def run() -> None:
        saga = Saga()
        for _ in range(SIZE):
            saga.operation((_nothing, 1), (_nothing, 1))
        await saga.aorchestrator_execute()

    _in_loop(iter([run] * times), 1)


def memory_in_loop_given(times: int, _folder: str) -> None:
    """The same, written once."""
    from py_api_saga import Saga, given  # noqa: PLC0415

    saga = Saga()
    for _ in range(SIZE):
        saga.operation((_nothing, given("x")), (_nothing, given("x")))
    _in_loop(iter([lambda: saga.given(x=1).aorchestrator_execute()] * times), 1)


def durable_in_thread(times: int, folder: str) -> None:
    """Three operations on record, built anew, one saga after the other."""
    from durable_worker import checkout, open_journal  # noqa: PLC0415

    journal = open_journal(folder)
    for number in range(times):
        checkout(journal, number, "threads").orchestrator_execute()


def durable_in_loop(times: int, folder: str) -> None:
    """Three operations on record, built anew, 64 sagas at once under asyncio."""
    from durable_worker import checkout, open_journal  # noqa: PLC0415

    journal = open_journal(folder)
    _in_loop(
        (partial(_run, checkout(journal, i, "asyncio")) for i in range(times)),
        AT_ONCE,
    )


async def _run(saga: Any) -> None:
    await saga.aorchestrator_execute()


def durable_in_loop_given(times: int, folder: str) -> None:
    """The same, written once."""
    from durable_worker import checkout_once, open_journal  # noqa: PLC0415

    saga = checkout_once(open_journal(folder), "asyncio")
    _in_loop(
        (partial(_run, saga.given(order=f"order-{i}")) for i in range(times)),
        AT_ONCE,
    )


def _started(times: int, *arguments: Any) -> None:
    from durable_operations import book, cancel  # noqa: PLC0415

    from py_api_saga import Saga  # noqa: PLC0415
    from py_api_saga.journal import MemoryJournal  # noqa: PLC0415

    journal = MemoryJournal(modules=["durable_operations"])
    for _ in range(times):
        Saga(journal=journal).operation((book, *arguments), (cancel, arguments[0])).start()


def flat_arguments(times: int, _folder: str) -> None:
    """Write a saga down whose arguments are a text and a number."""
    _started(times, "order-1", 450)


def nested_arguments(times: int, _folder: str) -> None:
    """Write a saga down one of whose arguments is an order of twelve lines."""
    _started(times, ORDER, 450)


def long_list(times: int, _folder: str) -> None:
    """Write a saga down one of whose arguments is a list of 2,000 numbers."""
    _started(times, list(range(2000)), 450)


def large_text(times: int, _folder: str) -> None:
    """Write a saga down one of whose arguments is a text of 100,000 characters."""
    _started(times, "x" * 100_000, 450)


def _plain(argument: int) -> None:
    pass


def _traced(times: int) -> None:
    from py_api_saga import Saga  # noqa: PLC0415

    for _ in range(times):
        saga = Saga()
        for _ in range(SIZE):
            saga.operation((_plain, 1), (_plain, 1))
        saga.orchestrator_execute()


def without_traces(times: int, _folder: str) -> None:
    """In memory, built anew, with nothing turned on."""
    _traced(times)


def traces_of_the_api(times: int, _folder: str) -> None:
    """The same, traced by the API of OpenTelemetry alone: nobody takes the spans."""
    from py_api_saga.contrib.opentelemetry import instrument  # noqa: PLC0415

    instrument()
    _traced(times)


def traces_of_the_sdk(times: int, _folder: str) -> None:
    """The same with the SDK: all spans and metrics, which go nowhere."""
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    from py_api_saga.contrib.opentelemetry import instrument  # noqa: PLC0415

    meters = MeterProvider([InMemoryMetricReader()])
    instrument(tracer_provider=TracerProvider(), meter_provider=meters)
    _traced(times)


class Piece(NamedTuple):
    """What is counted, so many times, for so many of a unit each."""

    function: Callable[[int, str], None]
    times: int
    each: int
    unit: str


PIECES = {
    "asyncio": (
        Piece(memory_in_loop, 150, SIZE, "operation"),
        Piece(memory_in_loop_given, 150, SIZE, "operation"),
    ),
    "durable": (
        Piece(durable_in_thread, 150, 1, "saga"),
        Piece(durable_in_loop, 4 * AT_ONCE, 1, "saga"),
        Piece(durable_in_loop_given, 4 * AT_ONCE, 1, "saga"),
    ),
    "arguments": (
        Piece(flat_arguments, 300, 1, "saga"),
        Piece(nested_arguments, 100, 1, "saga"),
        Piece(long_list, 30, 1, "saga"),
        Piece(large_text, 30, 1, "saga"),
    ),
    "traces": (
        Piece(without_traces, 150, SIZE, "operation"),
        Piece(traces_of_the_api, 100, SIZE, "operation"),
        Piece(traces_of_the_sdk, 50, SIZE, "operation"),
    ),
}
RECORD = """
from py_api_saga.journal import SQLiteJournal
journal = SQLiteJournal(sys.argv[3] + "/sagas.db", modules=["durable_operations"])
"""
SAGA = """
from durable_operations import release, reserve
from py_api_saga import Saga
saga = Saga(journal=journal).operation((reserve, "order-1", 2), (release, "order-1"))
saga.orchestrator_execute()
"""
STARTS = {
    "`import py_api_saga`": "import py_api_saga",
    "and a first saga in memory": "journal = None" + SAGA,
    "and a first saga on record": RECORD + SAGA,
}


# --- counting -------------------------------------------------------------------------------------


def count(command: Sequence[str]) -> int | None:
    """Give the instructions of a process; None if it fails, as an older tree does that lacks it."""
    ran = subprocess.run(
        [*CALLGRIND, "--fair-sched=yes", *command],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    return None if ran.returncode else int(ran.stderr.rpartition("Collected : ")[2].split()[0])


def instructions(piece: Piece, source: Path, times: int) -> float | None:
    """Give the instructions of one: the difference of two numbers of them, without the start."""
    counted = []
    for repeats in (times, 3 * times):
        with tempfile.TemporaryDirectory() as folder:
            name = piece.function.__name__
            command = [sys.executable, __file__, "--source", str(source), "--piece", name]
            counted.append(count([*command, "--times", str(repeats), "--folder", folder]))
    if counted[0] is None or counted[1] is None:
        return None
    return (counted[1] - counted[0]) / (2 * times * piece.each)


def start(code: str, source: Path) -> float | None:
    """Give the instructions of a fresh process, over those of Python itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = "import sys\nsys.path[:0] = sys.argv[1:3]\n"
        command = [sys.executable, "-I", "-S", "-X", f"pycache_prefix={folder}", "-c"]
        places = [str(source), str(HERE), folder]
        subprocess.run([*command, path + code, *places], check=False, capture_output=True)
        Path(folder, "sagas.db").unlink(missing_ok=True)
        bare, all_of_it = count([*command, path, *places]), count([*command, path + code, *places])
    return None if bare is None or all_of_it is None else all_of_it - bare


def row(title: str, found: Sequence[float | None]) -> list[str]:
    """Draw a row: what was counted in each tree and, of two, the second to the first."""
    cells = [title, *("-" if value is None else f"{value:,.0f}" for value in found)]
    if len(found) > 1:
        before, now = found[0], found[-1]
        cells.append("-" if before is None or now is None else f"{now / before:.2f}")
    return cells


# --- the command ----------------------------------------------------------------------------------


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--against", type=Path, help="another src/ folder, to compare with")
    parser.add_argument("--only", default=",".join([*PIECES, "start"]), help="sections, by comma")
    parser.add_argument("--quick", action="store_true", help="less of it, to see that it works")
    parser.add_argument("--piece", help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, default=SOURCE, help=argparse.SUPPRESS)
    parser.add_argument("--times", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    unknown = {*options.only.split(",")} - {*PIECES, "start"}
    if unknown:
        parser.error(f"--only: expected {', '.join([*PIECES, 'start'])}, got {', '.join(unknown)}")
    if not options.piece and not shutil.which(CALLGRIND[0]):
        parser.error("valgrind is not installed")
    return options


def run_piece(options: argparse.Namespace) -> None:
    """Do what is counted."""
    sys.path[:0] = [str(options.source)]
    logging.getLogger().addHandler(logging.NullHandler())
    functions = {piece.function.__name__: piece.function for piece in chain(*PIECES.values())}
    functions[options.piece](options.times, options.folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Count, and print Markdown."""
    options = parse(arguments)
    if options.piece:
        run_piece(options)
        return
    sources = [*([options.against.resolve()] if options.against else []), SOURCE]
    head = ["before", "now", "now ÷ before"] if options.against else ["instructions"]
    print(f"{machine()}.\n")
    for section in options.only.split(","):
        rows = []
        if section == "start":
            for title, code in STARTS.items():
                rows.append(row(title, [start(code, source) for source in sources]))
        for piece in PIECES.get(section, ()):
            times = max(1, piece.times // 10) if options.quick else piece.times
            found = [instructions(piece, source, times) for source in sources]
            words = (piece.function.__doc__ or "").rstrip(".")
            rows.append(row(f"{words}: each {piece.unit}", found))
        print(f"### {section}\n\n{table(['', *head], rows)}\n", flush=True)


if __name__ == "__main__":
    main()
