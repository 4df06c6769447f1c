"""The exhaustive run: `python -m tests.crash --rounds 3 --seed 1`.

Prints how many faults of each kind there were, and what was lost or done twice; the exit code is 1
if anything was. A round takes some minutes.

`--postgresql` does it to journals in a PostgreSQL of its own, and to that, until there were
`--faults` of all kinds.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator

from . import bases, outages, sweeps
from .harness import Yard, open_yard
from .services import TROUBLES


def _round(yard: Yard, chance: random.Random, share: float) -> None:
    for mode in sweeps.WORKED + sweeps.UNDONE:
        sweeps.every_point(yard, mode)
        sweeps.quietly(yard, f"{mode}: every point")
        sweeps.every_pair(yard, mode, chance, share=share)
        sweeps.quietly(yard, f"{mode}: every pair")
    yard.journal_mode = "delete"
    for mode in ("chain", "graph undone"):
        sweeps.every_point(yard, mode)
        sweeps.every_rollback(yard, mode, step=3)
    sweeps.any_moment(yard, chance, seconds=30 * share + 3, workers=3)
    sweeps.quietly(yard, "with a rollback journal")
    yard.journal_mode = "wal"
    for mode in ("chain", "graph", "asyncio graph"):
        sweeps.every_rollback(yard, mode)
    sweeps.quietly(yard, "rollbacks")
    for mode in ("chain", "graph undone", "asyncio graph"):
        sweeps.torn_writes(yard, mode, range(500 + chance.randrange(500), 120_000, 1500))
        sweeps.full_disks(yard, mode, range(4096 + chance.randrange(2000), 130_000, 3000))
        sweeps.quietly(yard, f"{mode}: the disk")
    for mode in ("chain", "chain undone", "graph", "asyncio", "pivot"):
        sweeps.two_recoverers(yard, chance, mode, sagas=12)
    sweeps.failing_services(yard, ("chain", "graph", "asyncio", "again", "asyncio again"), TROUBLES)
    sweeps.quietly(yard, "two recoverers, services")
    sweeps.any_moment(yard, chance, seconds=60 * share + 5, workers=4)
    sweeps.quietly(yard, "at any moment")
    _callers(yard, chance, 60 * share + 5)


def _callers(yard: Yard, chance: random.Random, seconds: float) -> None:
    """Let callers meet on a few sagas, some seconds on each lot."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yard.answers += sweeps.many_callers(yard, chance, seconds=4)
    sweeps.quietly(yard, "many callers")


# Of the faults that befall PostgreSQL.
SHARES: dict[bases.Kind, float] = {"alone": 0.6, "with a standby": 0.2, "through pgbouncer": 0.2}


def _in_postgresql(chance: random.Random, options: argparse.Namespace) -> Iterator[Yard]:
    """Let each kind of outage happen, and then any of them until there were enough faults."""
    shares: dict[bases.Kind, float] = {
        "alone": 0.6,
        "with a standby": 0.2,
        "through pgbouncer": 0.2,
    }
    for kind, share in shares.items():
        with bases.bases(kind) as made, open_yard(made) as yard:
            yield yard
            if options.callers is not None:
                _callers(yard, chance, options.callers)
                return
            for mode in _modes(options) if kind == "alone" else ():
                outages.every_point(yard, mode)
                sweeps.quietly(yard, f"{mode}: every point")
            kinds = options.only or outages.kinds(kind)
            while True:
                outages.lot(made, yard, chance, chance.sample(kinds, len(kinds)))
                sweeps.quietly(yard, f"outages, {kind}")
                if yard.wrong or sum(yard.faults.values()) >= options.faults * share:
                    break


def _modes(options: argparse.Namespace) -> tuple[str, ...]:
    """Give the modes of sagas that are killed at each of their points."""
    if options.only:
        return ()
    return sweeps.WORKED + sweeps.UNDONE if options.faults else ("graph",)


def _in_a_file(chance: random.Random, options: argparse.Namespace) -> Iterator[Yard]:
    with open_yard() as yard:
        yield yard
        if options.callers is not None:
            _callers(yard, chance, options.callers)
            return
        for number in range(1, options.rounds + 1):
            sweeps.quietly(yard, f"round {number}")
            _round(yard, chance, options.share)


def main() -> int:
    """Strike, and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--share", type=float, default=0.1, help="of all pairs of points; 1.0 takes an hour"
    )
    parser.add_argument(
        "--callers", type=float, help="seconds of processes that ask for the same sagas, alone"
    )
    parser.add_argument("--postgresql", action="store_true", help="in place of a file")
    parser.add_argument(
        "--faults", type=int, default=1000, help="of PostgreSQL, at least; 0 for one of each kind"
    )
    parser.add_argument(
        "--only", nargs="+", choices=sorted(outages.KINDS), help="what befalls PostgreSQL"
    )
    options = parser.parse_args()
    begin, chance = time.monotonic(), sweeps.chance_of(options.seed)
    yards = list((_in_postgresql if options.postgresql else _in_a_file)(chance, options))
    faults = sum((yard.faults for yard in yards), Counter[str]())
    figures = {
        "faults in all": faults.total(),
        "sagas": sum(yard.sagas for yard in yards),
        "answers to callers who met on a saga": sum(yard.answers for yard in yards),
        "recoveries": sum(yard.recoveries for yard in yards),
        "lost effects": sum(yard.lost for yard in yards),
        "double effects": sum(yard.double for yard in yards),
        "calls repeated under their key": sum(yard.repeated for yard in yards),
        "calls of two processes at once": sum(yard.together for yard in yards),
        "seconds": round(time.monotonic() - begin),
    }
    wrong = [what for yard in yards for what in yard.wrong]
    lines = [f"{number:7} {what}" for what, number in (*sorted(faults.items()), *figures.items())]
    print(*lines, *(f"WRONG   {what}" for what in wrong), sep="\n")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
