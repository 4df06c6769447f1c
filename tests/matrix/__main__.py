"""Every client at every instant, and every driver: `python -m tests.matrix`.

Those that know their operation are also asked while their errors are hidden, by `from None`, which
only their notes survive. Prints a table, and each cell in which a saga was told something else than
the ledger has. The exit code is 1 if one of these is not excused, or if more is doubted for nothing
than was measured when the table of instants was made. `--short` passes errors on as they are, or
hidden, and in no other manner; `http` or `drivers` leaves out the other half. What needs a program
or a package that is not here is skipped in so many words; with `--must` that is a failure.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import drivers, lost_commits, processes, services, streams
from .cells import AGAIN, CLIENTS, EVERY, HIDING, KNOWING, MANNERS, READING, Told, applies, run
from .ways import MORE, REFUSALS, UNSEEN, WAYS, Yard

# Of the cells of `UNSEEN` those that may be in doubt: most clients tell a connection that was
# accepted and dropped like a reply that was lost.
FOR_NOTHING = 54
AT_ONCE = 8  # most cells wait for a socket

FAMILIES: dict[str, drivers.Family] = {
    "processes": processes.cells,
    "streams": streams.cells,
    "mail": services.mail_cells,
    "gRPC": services.grpc_cells,
    "Redis": services.redis_cells,
    "PostgreSQL": lost_commits.cells,
}


# --- HTTP -----------------------------------------------------------------------------------------


def _cells(manners: Iterable[str]) -> list[tuple[str, str, str, bool]]:
    """Give client, way, manner, and whether it runs as a graph."""
    pairs = [
        *itertools.product(CLIENTS, WAYS | MORE | REFUSALS),
        *itertools.product(KNOWING, WAYS | MORE | REFUSALS),
        *itertools.product(AGAIN | READING, WAYS | MORE),
    ]
    return [
        (client, way, manner, number % 2 == 1)
        for manner in manners
        for number, (client, way) in enumerate(pairs)
        if applies(client, way) and (manner not in HIDING or client in KNOWING)
    ]


def _judged(told: list[Told]) -> tuple[list[str], list[str]]:
    """Give what is wrong, and what is remarkable."""
    wrong: list[str] = []
    beyond: dict[tuple[str, str, str], list[str]] = {}
    for one in told:
        where = f"{one.client}, {one.way}, {one.manner}: {one.error}"
        if one.lost and one.excuse:
            beyond.setdefault((one.client, one.manner, one.excuse), []).append(one.way)
        elif one.lost:
            wrong.append(f"LOST          {where}, {one.effects} effect(s)")
        if one.outcome == "done" and not one.effects:
            wrong.append(f"MADE UP       {where}")
        if one.way in REFUSALS and one.manner != "noted" and one.outcome == "in doubt":
            wrong.append(f"REFUSED       {where}")
        if one.way in UNSEEN and (one.seen or one.effects):
            wrong.append(f"SEEN          {where}")  # a mistake in the table of instants
    return wrong, [
        f"beyond reach: {client}, {manner}: {excuse}: {'; '.join(ways)}"
        for (client, manner, excuse), ways in beyond.items()
    ]


HEADS = (
    "acted: done",
    "in doubt",
    "failed",
    "seen: in doubt",
    "failed",
    "nothing sent: in doubt",
    "failed",
)


def _table(told: list[Told]) -> Iterator[str]:
    """Say, of each client at the instants of `WAYS`, what it was told in how many cells."""
    yield _row("", *HEADS)
    for client in EVERY:
        mine = [one for one in told if one.client == client and one.way in WAYS]
        if not mine:
            continue
        acted = Counter(one.outcome for one in mine if one.effects)
        seen = Counter(one.outcome for one in mine if one.seen and not one.effects)
        unsent = Counter(one.outcome for one in mine if not one.seen)
        doubts = [(some["in doubt"], some["failed"]) for some in (acted, seen, unsent)]
        yield _row(client, acted["done"], *itertools.chain.from_iterable(doubts))


def _row(first: str, *others: object) -> str:
    cells = (f"{other:>{len(head) + 3}}" for other, head in zip(others, HEADS, strict=True))
    return f"{first:16}" + "".join(cells)


def _http(manners: list[str], only: str) -> tuple[int, list[str], list[str]]:
    """Give how many cells there were, what is wrong, and what there is to say."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        yard = Yard(Path(folder))
        cells = [cell for cell in _cells(manners) if only in cell[1]]
        told = list(pool.map(lambda cell: run(yard, *cell[:3], graph=cell[3]), cells))
    wrong, lines = _judged(told)
    for manner in manners:
        ours = [one for one in told if one.manner == manner]
        unsent = [one for one in ours if one.way in UNSEEN and one.client in CLIENTS]
        doubted = sum(one.outcome == "in doubt" for one in unsent)
        acted = sum(one.effects > 0 for one in ours)
        lost = sum(one.lost for one in ours)
        said = f"{len(ours)} cells, {acted} with an effect, {lost} of them told as failed; "
        said += f"{doubted} of {len(unsent)} in doubt though nothing was sent"
        lines += ["", f"{manner}: {said}", *_table(ours)]
        if doubted > FOR_NOTHING and manner != "noted":  # a note is in doubt at all of them
            wrong.append(f"DOUBTED       {manner}: {doubted} for nothing, more than {FOR_NOTHING}")
    return len(told), wrong, lines


# --- drivers --------------------------------------------------------------------------------------


def _drivers(only: str, *, must: bool) -> tuple[int, list[str], list[str]]:
    """Give how many cells there were, what is wrong, and what there is to say."""
    wrong, lines, counted = [], [""], Counter[str]()
    skipped: dict[str, int] = Counter()
    for one in drivers.every(FAMILIES, only):
        if one.missing:
            skipped[f"skipped: {one.name.split(':')[0]} needs {one.missing}"] += 1
            if must:
                wrong.append(f"MISSING       {one.name}: {one.missing}")
            continue
        counted[f"{'acted' if one.stands else 'refused' if one.refused else 'nothing'}"] += 1
        lines.append(f"{one.outcome:9} {one.stands} stand(s)  {one.name}: {one.error}")
        if one.wrong:
            wrong.append(f"{one.wrong:13} {one.name}: {one.error}, {one.stands} stand(s)")
    lines += [f"{line} ({number} cells)" for line, number in skipped.items()]
    lines.append(f"drivers: {sum(counted.values())} cells: {dict(counted)}")
    return sum(counted.values()), wrong, lines


def main() -> int:
    """Run the cells and say what came of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("half", nargs="?", choices=("http", "drivers"), help="only one of them")
    parser.add_argument("--short", action="store_true", help="the errors as they are, only")
    parser.add_argument("--only", default="", help="ways and drivers whose name has this")
    parser.add_argument("--must", action="store_true", help="fail if something is not here")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it says on stderr what it meets
    begin = time.monotonic()
    cells, wrong = 0, []
    manners = ["bare", *HIDING] if options.short else [*MANNERS, *HIDING]
    for half in ("http", "drivers"):
        if options.half not in (None, half):
            continue
        number, found, lines = (
            _http(manners, options.only)
            if half == "http"
            else _drivers(options.only, must=options.must)
        )
        cells += number
        wrong += found
        print(*lines, sep="\n")  # noqa: T201
    if not cells:
        wrong.append("MISSING       there was no cell to run")
    took = f"{time.monotonic() - begin:.0f} seconds"
    print("", *wrong, f"{cells} cells, {len(wrong)} wrong, {took}", sep="\n")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
