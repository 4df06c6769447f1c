"""The proof: `python -m tests.awaited`, with the parts that are to run, or all.

Prints what each part has done; the exit code is 1 if anything was missed, made twice, left open or
undone that should stand. All of it takes some minutes, `--short` one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

from crash.sweeps import chance_of

from . import kills, moments, races
from .ground import Ground, Where, grounds

LOT = 6  # sweeps that wait together until nobody of the dead drives anything
PARTS = ("races", "kills", "random", "graph")


def _part(part: str, ground: Ground, options: argparse.Namespace) -> Iterator[str]:
    """Run a part, and say in a line what each step of it has done."""
    short, chance = options.short, chance_of(f"{options.seed} {part}")
    if part == "races":
        for spread in races.SPREADS:
            rounds = options.rounds or (60 if short else 1000)
            while rounds > 0:  # each lot a process: those of the nursery do not live long
                yield races.race(ground, min(rounds, 250), spread, rounds)
                rounds -= 250
        yield races.at_once(ground, 45 if short else 300)
    elif part == "kills":
        for n in range(0, len(kills.STRIKES), LOT):
            lot = kills.STRIKES[n : n + LOT]
            sweeps = [kills.Sweep(ground, strike, 4 if short else 1) for strike in lot]
            ground.yard.outlive()
            for sweep in sweeps:
                yield sweep.close()
    elif part == "random":
        yield moments.moments(ground, chance, moments.ANY, options.seconds or (4 if short else 60))
    else:
        yield moments.moments(
            ground, chance, moments.GRAPHS, options.seconds or (4 if short else 40)
        )


def main() -> int:
    """Run the parts, and say what came of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.awaited", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, help="of each race")
    parser.add_argument("--seconds", type=float, help="of kills at any moment")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--sqlite", dest="where", action="store_const", const=["sqlite"])
    which.add_argument("--postgresql", dest="where", action="store_const", const=["postgresql"])
    options = parser.parse_args()
    if unknown := {*options.parts} - {*PARTS}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    begun, wrong = time.monotonic(), 0
    both: list[Where] = options.where or ["sqlite", "postgresql"]
    with grounds(both) as made:
        for ground in made:
            for part in options.parts or PARTS:
                for line in _part(part, ground, options):
                    _say(f"{ground.where}, {part}: {line}")
            found = ground.found
            _say(
                f"{ground.where}: {ground.kills} kills, {found.ends.total()} sagas, "
                f"{dict(found.ends)}, {found.answers} answers taken, {found.repeated} of "
                f"{found.calls} calls again under their key, {len(found.wrong)} wrong"
            )
            wrong += len(found.wrong)
            for what in found.wrong[:20]:
                _say(f"WRONG {what}")
    _say(f"seed {options.seed}: {wrong} wrong, {time.monotonic() - begun:.0f} s")
    return 1 if wrong else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
