"""Every client at every instant: `python -m tests.matrix`, or `--short` for each cell once.

Prints each cell in which a saga was told something else than the ledger has, and a table; the exit
code is 1 if one of them is not excused, or if more is doubted for nothing than was measured when
the table of instants was made. It takes some two minutes, the short run half a minute.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .cells import AGAIN, CLIENTS, EVERY, MANNERS, Told, applies, run
from .ways import MORE, REFUSALS, WAYS, Yard

# Of the cells of `WAYS` without an effect, in which no request was seen: what may be in doubt. Most
# clients tell a connection that was accepted and dropped like a reply that was lost.
FOR_NOTHING = 54
AT_ONCE = 8  # most cells wait for a socket


def _cells(manners: Iterable[str]) -> list[tuple[str, str, str, bool]]:
    """Give client, way, manner, and whether it runs as a graph."""
    pairs = [
        *itertools.product(CLIENTS, WAYS | MORE | REFUSALS),
        *itertools.product(AGAIN, WAYS | MORE),
    ]
    return [
        (client, way, manner, number % 2 == 1)
        for manner in manners
        for number, (client, way) in enumerate(pairs)
        if applies(client, way)
    ]


def _table(told: list[Told]) -> Iterable[str]:
    yield f"{'':18}   effect: done  doubt  failed   seen, no effect: doubt  failed   nothing sent: doubt  failed"
    for client in EVERY:
        mine = [one for one in told if one.client == client and one.way in WAYS]
        acted = Counter(one.outcome for one in mine if one.effects)
        seen = Counter(one.outcome for one in mine if one.seen and not one.effects)
        unsent = Counter(one.outcome for one in mine if not one.seen)
        yield (
            f"{client:18} {acted['done']:14} {acted['in doubt']:6} {acted['failed']:7}"
            f" {seen['in doubt']:24} {seen['failed']:7} {unsent['in doubt']:21} {unsent['failed']:7}"
        )


def _judged(told: list[Told]) -> tuple[list[str], list[str]]:
    """Give what is wrong, and what is remarkable."""
    wrong, remarks = [], []
    for one in told:
        where = f"{one.client}, {one.way}, {one.manner}: {one.error}"
        if one.lost and one.excuse:
            remarks.append(f"beyond reach   {where} ({one.excuse})")
        elif one.lost:
            wrong.append(f"LOST           {where}, {one.effects} effect(s)")
        elif one.excuse and one.outcome == "in doubt":
            remarks.append(f"reached        {where}")
        if one.outcome == "done" and not one.effects and one.seen:
            wrong.append(f"MADE UP        {where}")
        if one.way in REFUSALS and one.manner != "noted" and one.outcome == "in doubt":
            wrong.append(f"REFUSED        {where}")
    return wrong, remarks


def main() -> int:
    """Run the cells and say what came of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("--short", action="store_true", help="the errors as they are, only")
    parser.add_argument("--only", default="", help="ways whose name has this")
    parser.add_argument("--all", action="store_true", help="print each cell")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    begin = time.monotonic()
    manners = ["bare"] if options.short else list(MANNERS)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        yard = Yard(Path(folder))
        cells = [cell for cell in _cells(manners) if options.only in cell[1]]
        told = list(pool.map(lambda cell: run(yard, *cell[:3], graph=cell[3]), cells))
    wrong, remarks = _judged(told)
    if options.all:
        remarks = [f"{one.outcome:9} {one}" for one in told]
    lines = [*remarks]
    for manner in manners:
        ours = [one for one in told if one.manner == manner]
        main = [one for one in ours if one.way in WAYS and one.client in CLIENTS]
        doubted = sum(one.for_nothing for one in main)
        unsent = sum(not one.seen for one in main)
        lost = sum(one.lost for one in ours)
        lines += [
            "",
            f"{manner}: {len(ours)} cells, {sum(one.effects > 0 for one in ours)} with an effect,"
            f" {lost} of them told as failed; {doubted} of {unsent} in doubt though nothing was sent",
            *_table(ours),
        ]
        if doubted > FOR_NOTHING and manner != "noted":
            wrong.append(f"DOUBTED        {manner}: {doubted} for nothing, more than {FOR_NOTHING}")
    lines += ["", *wrong, f"{len(told)} cells in {time.monotonic() - begin:.0f} seconds"]
    print(*lines, sep="\n")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
