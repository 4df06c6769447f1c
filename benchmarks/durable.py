"""Measure what durable sagas cost, beside peers, in one run.

Prints Markdown. README.md says how to run it and how it measures, and holds one machine's tables.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import IO, TYPE_CHECKING, Any, cast

from core import HERE, SOURCE, machine, ratios, table, turns
from durable_worker import BARE, DBOS, SKETCH, THIS, THIS_GIVEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from servers.postgresql import Cluster

DBOS_RELEASE = "dbos==3.4.0"
POSTGRES, SQLITE = "DBOS, PostgreSQL", "DBOS, SQLite"
SERVED = "this library, PostgreSQL"
AT_ONCE = (1, 8, 32, 128)
WORKER = str(HERE / "durable_worker.py")
LONGEST = 120.0  # seconds that a peer's recovery may take
IDEAL = 0.15  # seconds for three operations of 50 ms
COLD = """
import sys, time
sys.path[:0] = sys.argv[2:]
import durable_operations as operations
from py_api_saga import Saga
from py_api_saga.journal import SQLiteJournal
saga = Saga(journal=SQLiteJournal(sys.argv[1], modules=["durable_operations"]))
for (action, undo), argument in zip(operations.PLAIN, operations.ARGUMENTS):
    saga.operation((action, "order", argument), (undo, "order"))
saga.orchestrator_execute()
print(time.monotonic(), "asyncio" in sys.modules)
"""

Samples = dict[tuple[str, str, int], list[float]]  # contender, how, at once: one per round


# --- processes ------------------------------------------------------------------------------------


class Bench:
    """Where things are, and how much is measured."""

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        """Take in the command line."""
        self.quick: bool = options.quick
        self.rounds: int = options.rounds
        self.scratch = scratch
        self.peers: Path | None = options.peers and install(options.peers)
        self.server: Cluster | None = None
        self._number = 0

    def place(self, name: str = THIS) -> str:
        """Give a contender an empty folder or database, which nobody has used before."""
        self._number += 1
        folder = self.scratch / str(self._number)
        if name in (POSTGRES, SERVED):
            assert self.server is not None
            url = f"{self.server.url.rpartition('/')[0]}/bench_{self._number}"
            if name == SERVED:  # DBOS makes its own
                self.server.ask(f"CREATE DATABASE bench_{self._number}")
            return url
        folder.mkdir()
        return f"sqlite:///{folder}/dbos.db" if name == SQLITE else str(folder)

    def command(self, name: str, /, **request: Any) -> list[str]:
        """Write the command that has one thing measured."""
        folder = self.peers if name in (POSTGRES, SQLITE) else SOURCE
        return [sys.executable, WORKER, json.dumps(request), str(folder)]

    def ask(self, name: str, /, **request: Any) -> Any:
        """Have one thing measured, in a process of its own."""
        done = subprocess.run(
            self.command(name, **request), stdout=subprocess.PIPE, text=True, check=True
        )
        return json.loads(done.stdout.splitlines()[-1])

    def databases(self) -> list[str]:
        """Name those of the peers that are there."""
        if self.peers is None:
            return []
        return [POSTGRES, SQLITE] if self.server else [SQLITE]


def install(folder: Path) -> Path:
    """Have DBOS, with what it needs, in a folder of its own, unless it is there already."""
    target = folder.resolve() / DBOS_RELEASE.replace("==", "-")
    if not any(target.glob("dbos-*.dist-info")):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target"]
        if subprocess.run([*pip[:3], "--version"], capture_output=True, check=False).returncode:
            pip = [shutil.which("uv") or "uv", "pip", "install", "--quiet", "--target"]
        subprocess.run([*pip, str(target), DBOS_RELEASE], check=True, stdout=sys.stderr)
    return target


@contextmanager
def server(scratch: Path) -> Iterator[Cluster | None]:
    """Run a PostgreSQL on this disk, as its defaults have it; None where there is none."""
    sys.path.append(str(HERE.parent / "tests"))  # which have the one way to start one
    children, postgresql = map(import_module, ("servers.children", "servers.postgresql"))
    defaults = {"max_wal_size": "1GB", "min_wal_size": "80MB", "max_connections": "200"}
    with ExitStack() as stack:
        try:
            running = stack.enter_context(postgresql.cluster(scratch, **defaults))
        except children.Missing as missing:
            sys.stderr.write(f"There is no {missing}.\n")
            running = None
        yield running


# --- what is measured -----------------------------------------------------------------------------


def rates(bench: Bench) -> tuple[Samples, Iterator[str]]:
    """Microseconds of CPU for each saga, and the ratios to the peers of the same minute."""
    at_once = (1, 8) if bench.quick else AT_ONCE
    seconds = 0.2 if bench.quick else 1.5
    who = [(BARE, "threads")]
    who += [(name, how) for how in ("threads", "asyncio") for name in (SKETCH, THIS, THIS_GIVEN)]
    who += [(name, how) for name in bench.databases() for how in ("threads", "asyncio")]
    samples: Samples = {(name, how, many): [] for name, how in who for many in at_once}
    cpu: Samples = {key: [] for key in samples}
    for number in range(bench.rounds):
        for many in at_once:
            for turn in turns([str(i) for i in range(len(who))], number):
                name, how = who[int(turn)]
                found = bench.ask(
                    name,
                    measure="rate",
                    name=DBOS if name in (POSTGRES, SQLITE) else name,
                    how=how,
                    place=bench.place(name),
                    at_once=many,
                    seconds=seconds,
                )
                samples[name, how, many].append(found["rate"])
                cpu[name, how, many].append(found["cpu"])
    return samples, report_rates(samples, cpu, who, at_once)


def report_rates(
    samples: Samples, cpu: Samples, who: Sequence[tuple[str, str]], at_once: Sequence[int]
) -> Iterator[str]:
    """Draw what a saga takes of the CPU, and hold the ratios against the targets."""
    rows = [
        [f"{name}, {how}", *(f"{median(cpu[name, how, many]):,.0f}" for many in at_once)]
        for name, how in who
    ]
    yield "### µs of CPU for each durable saga of 3 operations, by how many run at once"
    yield table(["", *map(str, at_once)], rows)
    rows = []
    for how in ("threads", "asyncio"):
        peers = [(BARE, "threads"), (SKETCH, how)]
        peers += [(name, how) for name in (POSTGRES, SQLITE) if (name, how) in who]
        for mine in (THIS, THIS_GIVEN):
            for peer in peers:
                cells = [compared(samples, (mine, how), peer, many) for many in at_once]
                rows.append([f"{mine} ÷ {peer[0]}, {how}", *cells])
    yield "### Sagas per second, to those of others in the same minute"
    yield table(["", *map(str, at_once)], rows)


def compared(samples: Samples, mine: tuple[str, str], peer: tuple[str, str], many: int) -> str:
    """Give the median ratio to a peer and, if there is a target, whether it is met."""
    ratio = median(ratios(samples[*mine, many], samples[*peer, many]))
    target = {
        (THIS, "threads", BARE, 1): 0.7,
        (THIS, "threads", SKETCH, 128): 0.6,
        (THIS, "asyncio", SKETCH, 128): 0.5,
        (THIS_GIVEN, "asyncio", SKETCH, 128): 0.6,
        (THIS, "threads", POSTGRES, 1): 5.0,
        (THIS, "threads", POSTGRES, 32): 30.0,
        (THIS, "asyncio", POSTGRES, 128): 50.0,
    }.get((*mine, peer[0], many))
    return judged(f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}", target, ratio)


def judged(text: str, target: float | None, value: float, *, at_most: bool = False) -> str:
    """Add to a figure whether its target is met."""
    if target is None:
        return text
    met = value <= target if at_most else value >= target
    return f"{text} ({'≤' if at_most else '≥'} {target:g}: {'PASS' if met else 'MISS'})"


def commits(bench: Bench) -> Iterator[str]:
    """Commits, syncs and bytes of a saga."""
    sagas = 100 if bench.quick else 2000
    rows = []
    for how, many, operations in (
        ("threads", 1, 1),
        ("threads", 1, 3),
        ("threads", 1, 10),
        ("threads", 32, 3),
        ("threads", 128, 3),
        ("asyncio", 128, 3),
    ):
        request = {"measure": "count", "how": how, "at_once": many, "operations": operations}
        total = min(sagas, 300) if many == 1 else sagas
        found = bench.ask(THIS, **request, place=bench.place(), sagas=total)
        few, all_of_them = (syncs(bench, request, number) for number in (many, many + total))
        per_saga = None if few is None or all_of_them is None else (all_of_them - few) / total
        target = operations + 1 if many == 1 else {128: 0.2}.get(many)
        beyond = found["bytes"] - found["bodies"]
        row = [
            f"{operations} operations, {how}, {many} at once",
            judged(f"{found['commits']:.2f}", target, found["commits"], at_most=True),
            # A checkpoint of the write-ahead log, each 1,000 pages, syncs as well.
            "no strace" if per_saga is None else f"{per_saga:.2f}",
            f"{found['bytes']:,.0f}",
            f"{found['bodies']:,.0f}",
        ]
        limit = 300.0 if operations == 3 else None
        rows.append([*row, judged(f"{beyond:,.0f}", limit, beyond, at_most=True)])
    yield "### What a saga takes: commits, syncs, bytes"
    yield table(["", "commits", "syncs", "bytes in the file", "of them bodies", "beyond"], rows)


def syncs(bench: Bench, request: dict[str, Any], sagas: int) -> int | None:
    """Count the syncs of a process that runs so many sagas; None where there is no strace."""
    strace = shutil.which("strace")
    if strace is None:
        return None
    place = bench.place()
    log = f"{place}/strace"
    command = [strace, "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o", log]
    subprocess.run(
        [*command, *bench.command(THIS, **request, place=place, sagas=sagas)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    # A call that another thread interrupts is written on two lines.
    return sum("sync(" in line for line in Path(log).read_text().splitlines())


def recoveries(bench: Bench) -> Iterator[str]:
    """Seconds until all that was unfinished is finished, and what that takes of the CPU."""
    sizes = (100,) if bench.quick else (1000, 10_000)
    ended = 1000 if bench.quick else 500_000
    rows = []
    for sagas in sizes:
        for how in ("threads", "asyncio"):
            found = [recovery(bench, bench.place(), sagas, how) for _ in range(bench.rounds)]
            rows.append([f"{THIS}, {how}: {sagas:,} unfinished", *recovered(found, how)])
    full = bench.place()
    bench.ask(THIS, measure="fill", place=full, sagas=ended)
    for how in ("threads", "asyncio"):
        found = [recovery(bench, full, sizes[-1], how) for _ in range(bench.rounds)]
        what = f"{THIS}, {how}: {sizes[-1]:,} unfinished among {ended:,} ended"
        rows.append([what, *recovered(found, how)])
    for name in bench.databases():
        for sagas in sizes:
            found = [recovery(bench, bench.place(name), sagas, name)]
            rows.append([f"{name}: {sagas:,} unfinished", f"{found[0][0]:.2f}", ""])
            if found[0][0] > LONGEST / 10:
                break
    yield "### To recover what a killed process has left"
    yield table(["", "seconds", "µs of CPU for each saga"], rows)


def recovered(found: Sequence[tuple[float, float]], how: str) -> tuple[str, str]:
    """Draw what a recovery takes, and hold its CPU against the target."""
    seconds, cpu = (median(values) for values in zip(*found, strict=True))
    most = {"threads": 185.0, "asyncio": 235.0}[how]
    return f"{seconds:.2f}", judged(f"{cpu:,.0f}", most, cpu, at_most=True)


def recovery(bench: Bench, place: str, sagas: int, how: str) -> tuple[float, float]:
    """Begin so many sagas in a process, kill it, and have another one finish them.

    Seconds and, of this library, microseconds of CPU for each.
    """
    name = how if how in (POSTGRES, SQLITE) else THIS
    contender = THIS if name == THIS else DBOS
    request = {"measure": "hold", "name": contender, "place": place, "sagas": sagas}
    holder = subprocess.Popen(bench.command(name, **request), stdout=subprocess.PIPE, text=True)
    try:
        said = cast("IO[str]", holder.stdout).readline()
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    if said != "ready\n":
        message = f"{name} did not begin {sagas} sagas"
        raise RuntimeError(message)
    if name == THIS:
        found = bench.ask(name, measure="recover", place=place, how=how)
    else:
        found = bench.ask(name, measure="recover dbos", place=place, sagas=sagas, patience=LONGEST)
    if found["sagas"] != sagas:
        return float("inf"), float("inf")
    return found["seconds"], found.get("cpu", 0.0)


def crowds(bench: Bench) -> Iterator[str]:
    """Many sagas whose operations take 50 ms, all at once."""
    sagas = 200 if bench.quick else 10_000
    rows = []
    for name, label in ((BARE, "bare asyncio"), (SKETCH, SKETCH), (THIS, THIS)):
        found = [
            bench.ask(
                name, measure="crowd", name=name, place=bench.place(), sagas=sagas, seconds=0.05
            )
            for _ in range(bench.rounds)
        ]
        over = median(one["seconds"] for one in found) - IDEAL
        top = median(one["peak"] for one in found)
        grown = median(one["peak"] - one["before"] for one in found)
        mine = name == THIS
        rows.append(
            [
                label,
                judged(f"{over:.2f}", 3.0 if mine else None, over, at_most=True),
                judged(f"{top:.0f}", 100.0 if mine else None, top, at_most=True),
                f"{grown:.0f}",
            ]
        )
    yield f"### {sagas:,} sagas at once, of three operations of 50 ms, under asyncio"
    yield table(["", f"seconds over {IDEAL}", "MiB at the peak", "MiB grown"], rows)


def cold_starts(bench: Bench) -> Iterator[str]:
    """Milliseconds from the start of a process to the end of its first saga."""
    samples: dict[str, list[float]] = {"Python alone": [], "a new journal": [], "one there": []}
    loaded = False
    cache = [
        "-X",
        f"pycache_prefix={bench.scratch}/cache",
    ]  # bytecode is there, not in the checkout
    for number in range(2 if bench.quick else 3 * bench.rounds + 1):
        journal = f"{bench.place()}/sagas.db"
        for name, values in samples.items():
            begun = time.monotonic()
            code = "import time; print(time.monotonic())" if name == "Python alone" else COLD
            done = subprocess.run(
                [sys.executable, *cache, "-c", code, journal, str(SOURCE), str(HERE)],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            if number:  # the first round wrote the bytecode
                values.append((float(done.stdout.split()[0]) - begun) * 1000)
            loaded = loaded or "True" in done.stdout
    rows = []
    for name, values in samples.items():
        target = None if name == "Python alone" else 70.0
        text = judged(f"{median(values):.0f}", target, median(values), at_most=True)
        rows.append([f"first saga, {name}" if target else name, text])
    rows.append(["asyncio is imported", "yes: MISS" if loaded else "no: PASS"])
    yield "### ms from the start of a process to the end of its first durable saga"
    yield table(["", "ms"], rows)


def decays(bench: Bench) -> Iterator[str]:
    """How fast a journal is that holds many sagas already."""
    sagas = 50_000 if bench.quick else 500_000
    rows = []
    for ids, most in (("ordered", 0.1), ("random", 0.4)):
        found = bench.ask(
            THIS, measure="decay", place=bench.place(), sagas=sagas, at_once=128, ids=ids
        )
        first, *_, last = found["tenths"]
        relative = ratios(found["tenths"], found["beside"])
        lost = 1 - median(relative[-3:]) / median(relative[:3])
        judgement = judged(f"{lost:.0%}", most, lost, at_most=True)
        rows.append([f"{ids} ids", f"{first:,.0f}", f"{last:,.0f}", judgement])
    yield f"### Sagas per second while a journal grows to {sagas:,} sagas, 128 at once, asyncio"
    yield table(["", "first tenth", "last tenth", "lost, beside an empty journal"], rows)


SECTIONS: dict[str, Callable[[Bench], Iterator[str]]] = {
    "rates": lambda bench: rates(bench)[1],
    "commits": commits,
    "recovery": recoveries,
    "crowd": crowds,
    "cold": cold_starts,
    "decay": decays,
}


# --- the command ----------------------------------------------------------------------------------


def parse(
    arguments: Sequence[str] | None, about: str | None, sections: Sequence[str]
) -> argparse.Namespace:
    """Read the command line of a script that has these sections."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument(
        "--peers", type=Path, metavar="FOLDER", help="measure DBOS too; installs it there"
    )
    parser.add_argument(
        "--on", type=Path, metavar="FOLDER", help="where to write; else where temporary files are"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="5 if not given")
    parser.add_argument("--only", metavar="SECTIONS", help=f"some of {','.join(sections)}")
    parser.add_argument("--quick", action="store_true", help="less of everything, noisy")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.only = options.only.split(",") if options.only else list(sections)
    if unknown := set(options.only) - set(sections):
        parser.error(f"--only: expected some of {','.join(sections)}, got {','.join(unknown)}")
    return options


def write(text: str) -> None:
    """Print one table, or what is said beside it, as soon as it is there."""
    sys.stdout.write(text + "\n\n")
    sys.stdout.flush()


def begun(options: argparse.Namespace, stack: ExitStack) -> Bench:
    """Say where and when it is measured; give a bench, whose folder goes with the stack."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that PostgreSQL is stopped
    write(f"{machine()}; {options.rounds} rounds. Medians; {load()}.")
    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.on)))
    scratch.chmod(0o711)  # PostgreSQL may have a user of its own
    return Bench(options, scratch)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print Markdown."""
    options = parse(arguments, __doc__, list(SECTIONS))
    with ExitStack() as stack:
        bench = begun(options, stack)
        if bench.peers is not None and {"rates", "recovery"} & {*options.only}:
            bench.server = stack.enter_context(server(bench.scratch))
            if bench.server is None:
                write("PostgreSQL is not installed: DBOS is measured on SQLite only.")
        elif bench.peers is None:
            write("DBOS is not measured: --peers FOLDER installs it there.")
        for name in options.only:
            for text in SECTIONS[name](bench):
                write(text)


def load() -> str:
    """Say how busy the machine is with other things."""
    with suppress(OSError):
        return f"load before it began {os.getloadavg()[0]:.1f}"
    return "load unknown"


if __name__ == "__main__":
    main()
