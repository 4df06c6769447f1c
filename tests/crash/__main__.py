"""The exhaustive run: `python -m tests.crash --rounds 3 --seed 1`.

Prints how many faults of each kind there were, and what was lost or done twice; the exit code is 1
if anything was. A round takes some minutes.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from . import sweeps
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
    options = parser.parse_args()
    begin, chance = time.monotonic(), sweeps.chance_of(options.seed)
    with open_yard() as yard:
        if options.callers is not None:
            _callers(yard, chance, options.callers)
            options.rounds = 0
        for number in range(1, options.rounds + 1):
            sweeps.quietly(yard, f"round {number}")
            _round(yard, chance, options.share)
        lines = [f"{number:7} {kind}" for kind, number in sorted(yard.faults.items())]
        lines += [
            f"{sum(yard.faults.values()):7} faults in all",
            f"{yard.sagas:7} sagas",
            f"{yard.answers:7} answers to callers who met on a saga",
            f"{yard.recoveries:7} recoveries",
            f"{yard.lost:7} lost effects",
            f"{yard.double:7} double effects",
            f"{time.monotonic() - begin:7.0f} seconds",
            *(f"WRONG   {what}" for what in yard.wrong),
        ]
    print(*lines, sep="\n")  # noqa: T201
    return 1 if yard.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
