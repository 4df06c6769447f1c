"""Measure what durable sagas cost in PostgreSQL, beside a file and DBOS on the same server.

Prints Markdown. README.md says how to run it and how it measures, and holds one machine's tables.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from statistics import median
from typing import TYPE_CHECKING

from core import ratios, table, turns
from durable import (
    POSTGRES,
    SERVED,
    Bench,
    Samples,
    begun,
    judged,
    parse,
    recovery,
    server,
    write,
)
from durable_worker import DBOS, THIS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

AT_ONCE = (1, 32, 128)
WAYS = ("threads", "asyncio")
WAYS_AND_CROWDS = [(how, many) for how in WAYS for many in AT_ONCE]
MOST_COMMITS = {1: 4.0, 32: 0.26, 128: 0.08}
MOST_CPU = 2.2  # to that with a file, in the client
# Bytes for a saga, beyond its bodies: 2,400 and 1,400 for one whose bodies take 557.
MOST_WAL = 2400.0 - 557
MOST_ON_DISK = 1400.0 - 557
MOST_SECONDS = 2.1  # of a recovery, to those with a file
LEAST_RATE = {1: 3.0, 32: 5.0, 128: 14.0}  # in threads, to DBOS's


def writes(bench: Bench) -> Iterator[str]:
    """Commits, write-ahead log and what stays on disk, of a saga of three operations."""
    rows = []
    for how, many in WAYS_AND_CROWDS[: 1 if bench.quick else None]:
        sagas = 100 if bench.quick else 1000 if many == 1 else 4000
        request = {"measure": "count served", "how": how, "at_once": many, "sagas": sagas}
        found = bench.ask(SERVED, **request, url=bench.place(SERVED))
        commits, bodies, wal = found["commits"], found["bodies"], found["wal"]
        size = found["saga"] + found["entry"]
        most = MOST_COMMITS[many] if how == "threads" else None
        rows.append(
            [
                f"{how}, {many} at once",
                judged(f"{commits:.2f}", most, round(commits, 2), at_most=True),
                f"{bodies:,.0f}",
                f"{wal:,.0f}",
                judged(f"{wal - bodies:,.0f}", MOST_WAL, wal - bodies, at_most=True),
                f"{size:,.0f}",
                judged(f"{size - bodies:,.0f}", MOST_ON_DISK, size - bodies, at_most=True),
            ]
        )
    yield "### What a saga of 3 operations writes: commits, bytes"
    head = ["", "commits", "bodies", "write-ahead log", "beyond bodies", "on disk", "beyond bodies"]
    yield table(head, rows)


def rates(bench: Bench) -> Iterator[str]:
    """CPU of the client for a saga, and how many there are in a second."""
    at_once = (1, 8) if bench.quick else AT_ONCE
    seconds = 0.2 if bench.quick else 1.5
    who = [THIS, SERVED] + ([POSTGRES] if bench.peers else [])
    rate: Samples = {(name, how, n): [] for name in who for how in WAYS for n in at_once}
    cpu: Samples = {key: [] for key in rate}
    for number in range(bench.rounds):
        for how in WAYS:
            for many in at_once:
                for name in turns(who, number):
                    found = bench.ask(
                        name,
                        measure="rate",
                        name=DBOS if name == POSTGRES else THIS,
                        how=how,
                        place=bench.place(name),
                        at_once=many,
                        seconds=seconds,
                    )
                    rate[name, how, many].append(found["rate"])
                    cpu[name, how, many].append(found["cpu"])
    names = {THIS: "a file", SERVED: "PostgreSQL", POSTGRES: DBOS}
    yield "### µs of the client's CPU for a saga of 3 operations, by how many run at once"
    rows = [
        [f"{names[name]}, {how}", *(f"{median(cpu[name, how, many]):,.0f}" for many in at_once)]
        for how in WAYS
        for name in who
    ]
    for how in WAYS:
        found = [median(ratios(cpu[SERVED, how, n], cpu[THIS, how, n])) for n in at_once]
        cells = [judged(f"{ratio:.2f}", MOST_CPU, ratio, at_most=True) for ratio in found]
        rows.append([f"PostgreSQL ÷ a file, {how}", *cells])
    yield table(["", *map(str, at_once)], rows)
    yield "### Sagas per second"
    rows = [
        [f"{names[name]}, {how}", *(f"{median(rate[name, how, many]):,.0f}" for many in at_once)]
        for how in WAYS
        for name in who
    ]
    for how in WAYS if bench.peers else ():
        cells = []
        for many in at_once:
            ratio = median(ratios(rate[SERVED, how, many], rate[POSTGRES, how, many]))
            least = LEAST_RATE.get(many) if how == "threads" else None
            cells.append(judged(f"{ratio:.1f}", least, ratio))
        rows.append([f"PostgreSQL ÷ {DBOS}, {how}", *cells])
    yield table(["", *map(str, at_once)], rows)


def recoveries(bench: Bench) -> Iterator[str]:
    """Seconds until what a killed process has left among what has ended is finished."""
    sagas, ended = (100, 1000) if bench.quick else (10_000, 100_000)
    seconds: dict[str, list[float]] = {THIS: [], SERVED: []}
    cpu: dict[str, list[float]] = {THIS: [], SERVED: []}
    places = {name: bench.place(name) for name in seconds}
    for place in places.values():
        bench.ask(THIS, measure="fill", place=place, sagas=ended)
    for number in range(bench.rounds):
        for name in turns(list(places), number):
            took, each = recovery(bench, places[name], sagas, "threads")
            seconds[name].append(took)
            cpu[name].append(each)
    rows = [
        [label, f"{median(seconds[name]):.2f}", f"{median(cpu[name]):,.0f}"]
        for name, label in ((THIS, "a file"), (SERVED, "PostgreSQL"))
    ]
    took, each = (median(ratios(found[SERVED], found[THIS])) for found in (seconds, cpu))
    row = ["PostgreSQL ÷ a file", judged(f"{took:.2f}", MOST_SECONDS, took, at_most=True)]
    rows.append([*row, f"{each:.2f}"])
    yield f"### To recover {sagas:,} unfinished sagas among {ended:,} that have ended, in threads"
    yield table(["", "seconds", "µs of the client's CPU for each"], rows)


SECTIONS: dict[str, Callable[[Bench], Iterator[str]]] = {
    "writes": writes,
    "rates": rates,
    "recovery": recoveries,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print Markdown."""
    options = parse(arguments, __doc__, list(SECTIONS))
    with ExitStack() as stack:
        bench = begun(options, stack)
        bench.server = stack.enter_context(server(bench.scratch))
        if bench.server is None:
            sys.exit(1)
        if bench.peers is None:
            write("DBOS is not measured: --peers FOLDER installs it there.")
        for name in options.only:
            for text in SECTIONS[name](bench):
                write(text)


if __name__ == "__main__":
    main()
