"""Measure what the library costs without a journal, beside its peers, in one run.

Prints Markdown. README.md says how to run it and how it measures, and holds one machine's tables.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import IO, TYPE_CHECKING, Any, Self, cast

from contenders import (
    BARE_LOOP,
    GATHER,
    PAUSE,
    POOL_PER_RUN,
    PREDECESSOR,
    SAGA_PY,
    SIMPLE_SAGA,
    THIS,
    THIS_ASYNC,
    THIS_GIVEN,
    WARM_POOL,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "src"
PACKAGES = {PREDECESSOR: "py-api-saga", SAGA_PY: "saga_py", SIMPLE_SAGA: "simple-saga"}
MODULES = {
    PREDECESSOR: "py_api_saga.py_api_saga",
    SAGA_PY: "saga",
    SIMPLE_SAGA: "simple_saga",
    THIS: "py_api_saga",
}
MIN_ROUNDS = 2  # for quartiles
# Instructions to the predecessor's, by contender, number of operations and whether the last fails.
MAX_RATIO = {
    (THIS, 1, False): 2.9,
    (THIS, 10, False): 1.9,
    (THIS, 100, False): 1.7,
    (THIS, 1, True): 2.5,
    (THIS, 10, True): 2.3,
    (THIS, 100, True): 2.15,
    (THIS_GIVEN, 10, False): 1.2,
    (THIS_GIVEN, 100, False): 1.2,
}
MAX_GROWTH = 1.5  # ns per operation, 10,000 operations to 100
MAX_CHOREOGRAPHY = 30.0  # ms for 100 operations of 20 ms on warm threads
MAX_IMPORT = 10.0  # ms over what it is measured against
CALLGRIND = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
IMPORT = """
import sys, time
sys.path.insert(0, sys.argv[1])
start = time.perf_counter_ns()
import dataclasses, logging, concurrent.futures.thread
base = time.perf_counter_ns()
import {module}
print((base - start) / 1e6, (time.perf_counter_ns() - base) / 1e6)
"""

Samples = dict[str, list[float]]  # by contender, one per round


class Worker:
    """A contender in a process of its own, asleep unless asked."""

    def __init__(self, name: str, folder: Path | None) -> None:
        """Start it with the folder in front of its import path."""
        command = [sys.executable, str(HERE / "contenders.py"), name]
        self._process = subprocess.Popen(
            [*command, *([str(folder)] if folder else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._requests = cast("IO[str]", self._process.stdin)
        self._answers = cast("IO[str]", self._process.stdout)

    def ask(self, **request: Any) -> Any:
        """Have one thing measured."""
        self._requests.write(json.dumps(request) + "\n")
        self._requests.flush()
        line = self._answers.readline()
        if not line:
            message = f"a contender died while it was asked for {request}"
            raise RuntimeError(message)
        return json.loads(line)

    def __enter__(self) -> Self:
        """Nothing to do: it runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it: it reads until its input is closed."""
        self._requests.close()
        self._process.wait()


def turns(names: Sequence[str], number: int) -> tuple[str, ...]:
    """Name everyone once; each round begins with another one."""
    start = number % len(names)
    return (*names[start:], *names[:start])


# --- what is measured -----------------------------------------------------------------------------


def chains(
    folders: dict[str, Path | None], sizes: Sequence[int], rounds: int, seconds: float
) -> dict[tuple[int, bool], Samples]:
    """Nanoseconds per operation, by size and whether the last operation fails."""
    samples: dict[tuple[int, bool], Samples] = {
        (size, fails): {name: [] for name in folders} for fails in (False, True) for size in sizes
    }
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker(name, folder)) for name, folder in folders.items()
        }
        for number in range(rounds):  # a round holds everything, so that any two can be compared
            for (size, fails), by_name in samples.items():
                for name in turns(list(folders), number):
                    found = workers[name].ask(
                        measure="nanoseconds", size=size, fails=fails, seconds=seconds
                    )
                    by_name[name].append(found)
    return samples


def choreographies(
    folders: dict[str, Path | None], sizes: Sequence[int], rounds: int
) -> dict[int, Samples]:
    """Milliseconds of a whole run, by size; each contender's first run is not counted."""
    samples: dict[int, Samples] = {size: {name: [] for name in folders} for size in sizes}
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker(name, folder)) for name, folder in folders.items()
        }
        for worker in workers.values():
            worker.ask(measure="side by side", size=max(sizes))
        for number in range(rounds):
            for size, by_name in samples.items():
                for name in turns(list(folders), number):
                    found = workers[name].ask(measure="side by side", size=size)
                    by_name[name].append(found)
    return samples


def first_choreographies(sizes: Sequence[int], rounds: int) -> dict[int, list[float]]:
    """Milliseconds of the first run of a process, by size."""
    samples: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(rounds):
        for size in sizes:
            with Worker(THIS, SOURCE) as worker:
                worker.ask(measure="side by side", size=0)  # imports, runs nothing
                found = worker.ask(measure="side by side", size=size)
                samples[size].append(found)
    return samples


def imports(folders: dict[str, Path | None], rounds: int) -> tuple[list[float], Samples]:
    """Milliseconds of fresh processes: what each is measured against, and what comes on top."""
    base: list[float] = []
    samples: Samples = {name: [] for name in folders if name in MODULES}
    with tempfile.TemporaryDirectory() as cache:  # bytecode is there, and the checkout stays clean
        command = [sys.executable, "-I", "-X", f"pycache_prefix={cache}", "-c"]
        for number in range(rounds + 1):
            for name in turns(list(samples), number):
                code = IMPORT.format(module=MODULES[name])
                done = subprocess.run(
                    [*command, code, str(folders[name])], check=True, capture_output=True, text=True
                )
                before, on_top = map(float, done.stdout.split())
                if number:  # the first round wrote the bytecode
                    base.append(before)
                    samples[name].append(on_top)
    return base, samples


def instructions(name: str, folder: Path | None, size: int, *, fails: bool) -> float:
    """Instructions per operation, counted by valgrind: nothing else that runs changes them.

    The difference of two numbers of sagas, so what starting the process takes is not in it.
    """
    times = max(1, 2000 // size)  # many, since the collector comes now and then
    counted = []
    for repeats in (times, 3 * times):
        request = {"measure": "repeats", "size": size, "fails": fails, "times": repeats}
        done = subprocess.run(
            [*CALLGRIND, sys.executable, str(HERE / "contenders.py"), name]
            + ([str(folder)] if folder else []),
            input=json.dumps(request) + "\n",
            env={**os.environ, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=True,
        )
        counted.append(int(done.stderr.rpartition("Collected : ")[2].split()[0]))
    return (counted[1] - counted[0]) / (2 * times * size)


def memory(folders: dict[str, Path | None], size: int) -> dict[str, dict[str, float]]:
    """Bytes per operation, by contender; counted, so once is enough."""
    found = {}
    for name, folder in folders.items():
        with Worker(name, folder) as worker:
            found[name] = worker.ask(measure="bytes", size=size)
    return found


# --- what is printed ------------------------------------------------------------------------------


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Format the median and the quartiles."""
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Compare round by round: noise that lasts longer than a round cancels out."""
    return [one / other for one, other in zip(above, below, strict=True)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Draw a Markdown table; all columns but the first are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def verdict(values: Sequence[float], limit: float, form: str, unit: str) -> tuple[str, str]:
    """Hold a median against its target."""
    return f"{spread(values, form)}{unit}", "PASS" if median(values) <= limit else "MISS"


def growth_sizes(samples: dict[tuple[int, bool], Samples]) -> tuple[int, int]:
    """Choose the sizes that show whether the costs are linear: caches are warm from 100 on."""
    return 100, max(size for size, _ in samples)


def report_chains(samples: dict[tuple[int, bool], Samples]) -> Iterator[str]:
    """Draw one table for success and one for failure."""
    for fails in (False, True):
        rows = []
        for (size, failing), by_name in samples.items():
            if failing is not fails:
                continue
            row = [f"{size:,}", *(f"{median(values):,.0f}" for values in by_name.values())]
            if PREDECESSOR in by_name:
                row.append(spread(ratios(by_name[THIS], by_name[PREDECESSOR]), ".2f"))
            rows.append(row)
        names = list(next(iter(samples.values())))
        small, large = growth_sizes(samples)
        row = [f"{large:,} ÷ {small:,}"]
        for name in names:
            grown = ratios(samples[large, fails][name], samples[small, fails][name])
            row.append(f"{median(grown):.2f}")
        rows.append([*row, *[""] * (PREDECESSOR in names)])
        compared = ["this ÷ 0.0.3"] * (PREDECESSOR in names)
        what = "the last one fails, the others are undone" if fails else "all succeed"
        yield f"### ns per operation, built and run: {what}"
        yield table(["operations", *names, *compared], rows)


def report_instructions(
    folders: dict[str, Path | None], sizes: Sequence[int]
) -> Iterator[tuple[str, str]]:
    """Draw the tables of what no other program can disturb; counted, so once is enough.

    Gives a title and a table, for success and for failure.
    """
    ours = [name for name in folders if name != PREDECESSOR]
    compared = ours if PREDECESSOR in folders else []
    for fails in (False, True):
        rows = []
        for size in sizes:
            found = {
                name: instructions(name, folder, size, fails=fails)
                for name, folder in folders.items()
            }
            ratio = {name: found[name] / found[PREDECESSOR] for name in compared}
            row = [f"{size:,}", *(f"{value:,.0f}" for value in found.values())]
            rows.append([*row, *(held(ratio[name], name, size, fails=fails) for name in compared)])
        head = ["operations", *folders, *(f"{name} ÷ 0.0.3" for name in compared)]
        title = "the last one fails, the others are undone" if fails else "all succeed"
        yield title, table(head, rows)


def held(ratio: float, name: str, size: int, *, fails: bool) -> str:
    """Hold a ratio against its target, if it has one."""
    limit = MAX_RATIO.get((name, size, fails))
    if limit is None:
        return f"{ratio:.2f}"
    return f"{ratio:.2f} (≤ {limit:g}: {'PASS' if ratio <= limit else 'MISS'})"


def report_choreographies(samples: dict[int, Samples], first: dict[int, list[float]]) -> str:
    """Draw the table of operations side by side."""
    rows = []
    for name in next(iter(samples.values())):
        rows.append([name, *(spread(by_name[name], ".1f") for by_name in samples.values())])
        if name == THIS:
            rows.append([f"{THIS}, first run", *(spread(first[size], ".1f") for size in samples)])
    return table(["", *(f"{size} operations" for size in samples)], rows)


def targets(
    chain: dict[tuple[int, bool], Samples],
    choreography: dict[int, Samples],
    imported: Samples,
) -> str:
    """Hold the medians against the targets."""
    rows: list[tuple[str, str, str, str]] = []
    small, large = growth_sizes(chain)
    for fails in (False, True):
        what = f"{large:,} ÷ {small} operations, {'failure' if fails else 'success'}"
        values = ratios(chain[large, fails][THIS], chain[small, fails][THIS])
        rows.append((what, f"≤ {MAX_GROWTH:g} x", *verdict(values, MAX_GROWTH, ".2f", " x")))
    for size, by_name in choreography.items():
        what = f"choreography of {size} x {PAUSE * 1000:.0f} ms, warm"
        held = verdict(by_name[THIS], MAX_CHOREOGRAPHY, ".1f", " ms")
        rows.append((what, f"≤ {MAX_CHOREOGRAPHY:g} ms", *held))
    held = verdict(imported[THIS], MAX_IMPORT, ".1f", " ms")
    rows.append(("import, over the base", f"≤ {MAX_IMPORT:g} ms", *held))
    return table(["target", "", "measured", ""], rows)


def machine() -> str:
    """Say what it was measured on, and when."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = (line.partition(":") for line in cpuinfo.read_text().splitlines())
        model = next(
            (value.strip() for key, _, value in lines if key.strip() == "model name"), model
        )
    python = f"{platform.python_implementation()} {platform.python_version()}"
    today = datetime.now(tz=UTC).date()
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, {python}, {today}"


# --- the command ----------------------------------------------------------------------------------


def install(folder: Path) -> dict[str, Path | None]:
    """Have each peer in a folder of its own; what is there already is left alone."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    if subprocess.run([*pip[:3], "--version"], capture_output=True, check=False).returncode:
        pip = [shutil.which("uv") or "uv", "pip", "install", "--quiet", "--no-deps", "--target"]
    found: dict[str, Path | None] = {}
    for name, package in PACKAGES.items():
        version = name.rpartition(" ")[2]
        target = folder.resolve() / f"{package}-{version}"
        found[name] = target
        if not any(target.glob("*.dist-info")):
            requirement = f"{package}=={version}"
            subprocess.run([*pip, str(target), requirement], check=True, stdout=sys.stderr)
    return found


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--peers", type=Path, metavar="FOLDER", help="measure them too; installs them there"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="15 if not given")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes, noisy")
    parser.add_argument("--sizes", help="numbers of operations, by comma")
    parser.add_argument(
        "--instructions", action="store_true", help="count these, with valgrind, and nothing else"
    )
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (2 if options.quick else 15)
    if options.instructions and not shutil.which(CALLGRIND[0]):
        parser.error("--instructions: valgrind is not installed")
    if options.rounds < MIN_ROUNDS:
        parser.error(f"--rounds must be at least {MIN_ROUNDS}")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print Markdown."""
    options = parse(arguments)
    quick, rounds = options.quick, options.rounds
    peers = install(options.peers) if options.peers else {}

    def write(text: str) -> None:
        sys.stdout.write(text + "\n\n")
        sys.stdout.flush()

    ours = {THIS: SOURCE, THIS_GIVEN: SOURCE}
    folders: dict[str, Path | None] = {BARE_LOOP: None, **peers, **ours}
    sizes: tuple[int, ...] = (1, 10, 100, 200) if quick else (1, 3, 10, 100, 1000, 10_000)
    if options.sizes:
        sizes = tuple(map(int, options.sizes.split(",")))
    parallel = (2, 10) if quick else (2, 10, 100)

    old = {PREDECESSOR: peers[PREDECESSOR]} if peers else {}
    if options.instructions:
        write(f"{machine()}.")
        chosen = {**old, **ours}
        for title, text in report_instructions(chosen, sizes):
            write(f"### Instructions per operation, built and run: {title}")
            write(text)
        return
    write(f"{machine()}; {rounds} rounds. Medians, with quartiles in brackets.")
    chain = chains(folders, sizes, rounds, 0.001 if quick else 0.03)
    for text in report_chains(chain):
        write(text)

    at_once = {POOL_PER_RUN: None, WARM_POOL: None, GATHER: None}
    choreography = choreographies(
        {**at_once, **old, THIS: SOURCE, THIS_ASYNC: SOURCE}, parallel, rounds
    )
    write(f"### ms for operations of {PAUSE * 1000:.0f} ms side by side")
    write(report_choreographies(choreography, first_choreographies(parallel, min(rounds, 7))))

    base, imported = imports(folders, rounds if quick else 2 * rounds)
    write("### ms to import, in a fresh process")
    against = "`dataclasses, logging, concurrent.futures.thread`"
    rows = [[against, spread(base, ".1f")]]
    rows += [[f"{name}, over it", spread(values, ".1f")] for name, values in imported.items()]
    write(table(["", "ms"], rows))

    size = 100 if quick else 1000
    write(f"### bytes per operation, {size:,} operations that succeed")
    counted = memory(folders, size)
    rows = [
        [name, *(f"{found[what]:,.0f}" for what in ("built", "peak", "results"))]
        for name, found in counted.items()
    ]
    write(table(["", "built", "running, at its peak", "its results"], rows))

    write("### Targets")
    write(targets(chain, choreography, imported))


if __name__ == "__main__":
    main()
