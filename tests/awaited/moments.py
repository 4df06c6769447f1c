"""Processes that run, answer and recover sagas, killed at any moment."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from crash.harness import Process

from .bank import KINDS
from .ground import Ground

# Those that are answered early wait for the answer in their call, also where it is made again.
ANY = tuple(kind for kind in KINDS if "early" not in kind and kind != "naps")
GRAPHS = tuple(kind for kind in ANY if "graph" in kind)
LOT = 6.0  # seconds for which one journal is used


def moments(ground: Ground, chance: random.Random, kinds: tuple[str, ...], seconds: float) -> str:
    """Kill runners, answerers and recoverers for so long, and replace them."""
    kills, sagas = ground.kills, ground.found.ends.total()
    calls, repeated = ground.found.calls, ground.found.repeated
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        _lot(ground, chance, kinds, min(LOT, left))
    return (
        f"{ground.kills - kills} kills, {ground.found.ends.total() - sagas} sagas, "
        f"{ground.found.repeated - repeated} of {ground.found.calls - calls} calls again"
    )


def _lot(ground: Ground, chance: random.Random, kinds: tuple[str, ...], seconds: float) -> None:
    place = ground.yard.place()
    seeds = count(chance.randrange(1 << 20))
    start = _actors(ground, place, chance.sample(kinds, len(kinds)), seeds)
    living = [begin() for begin in start]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(chance.uniform(0.03, 0.25))
        k = chance.randrange(len(living))
        ground.kill(living[k])
        living[k] = start[k]()
    ground.kill(*living)
    ground.yard.outlive()
    ground.close(place)


def _actors(
    ground: Ground, place: Path, kinds: list[str], seeds: count[int]
) -> list[Callable[[], Process]]:
    """Give what starts each: two runners, two answerers, one of whom leaves the rest, a worker."""
    start = ground.yard.start
    return [
        lambda: start("run_for_ever", place, kinds=kinds, seed=next(seeds)),
        lambda: start("run_for_ever", place, kinds=kinds[::-1], seed=next(seeds)),
        lambda: start("answer_for_ever", place, me=0, seed=next(seeds), go_on=True),
        lambda: start("answer_for_ever", place, me=1, seed=next(seeds), go_on=False),
        lambda: start("recover_for_ever", place),
    ]
