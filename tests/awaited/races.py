"""Answers that race with `later()`, and with one another."""

from __future__ import annotations

import os
import time
from collections import Counter

from crash import checks

from .ground import Ground

SPREADS = (0.0, 0.002, 0.006)  # seconds for which an action sleeps once the bank has its key


def race(ground: Ground, rounds: int, spread: float, seed: int) -> str:
    """Let a process run sagas whose calls another one answers at once; nobody recovers them."""
    place = ground.yard.place()
    os.mkfifo(place / "asked")
    both = [
        ground.yard.start("answer_at_once", place),
        ground.yard.start("race", place, rounds=rounds, spread=spread, seed=seed),
    ]
    ended = [process.wait(110.0) for process in both]
    if ended != ["0", "0"]:
        ground.found.wrong.append(f"the race ended with {ended}")
    heard = Counter(line[2] for line in checks.told(place) if line[0] == "heard")
    found = ground.look(place)
    if found.repeated:
        ground.found.wrong.append(f"{found.repeated} calls were made twice, and nobody was killed")
    if found.ends != {"completed": rounds}:
        ground.found.wrong.append(f"of {rounds}, {dict(found.ends)}")
    return (
        f"{rounds} races, up to {spread * 1000:.0f} ms: {found.ends['completed']} completed, "
        f"the driver found {heard['completed']} answers itself"
    )


def at_once(ground: Ground, sagas: int) -> str:
    """Let two processes answer the same calls at the same time, mostly not the same."""
    place = ground.yard.place()
    ids = [f"chain.{n}" for n in range(sagas)]
    ground.yard.do("run_waiting", place, sagas=ids)
    begin = time.time() + 0.3
    both = [
        ground.yard.start("answer_otherwise", place, me=me, sagas=ids, begin=begin)
        for me in ("one", "two")
    ]
    for process in both:
        if (ended := process.wait()) != "0":
            ground.found.wrong.append(f"an answerer ended with {ended}")
    said: dict[str, list[list[str]]] = {saga_id: [] for saga_id in ids}
    for word, *rest in checks.told(place):
        if word == "said":
            said[rest[0]].append(rest[1:])
    for n, (saga_id, told) in enumerate(said.items()):
        expected = ["first", "known"] if n % 3 == 0 else ["conflict", "first"]
        if sorted(word for _, word in told) != expected:
            ground.found.wrong.append(f"{saga_id}: answerers were told {told}")
    ground.yard.do("tell_results", place, sagas=ids)
    for word, *rest in checks.told(place):
        if word == "results":
            first = next((result for result, how in said[rest[0]] if how == "first"), None)
            if rest[1] != first:
                ground.found.wrong.append(f"{rest[0]} has {rest[1]}, and {first} was first")
    counts = Counter(word for told in said.values() for _, word in told)
    _drop(ground, place)
    return f"{sagas} calls, answered by two at once: {dict(sorted(counts.items()))}"


def _drop(ground: Ground, place: object) -> None:
    """Nothing stands in the bank's books here, so that only the sagas' ends are looked at."""
    verdict = checks.Verdict()
    checks.in_journal(place, verdict)  # type: ignore[arg-type]
    ground.found.wrong += verdict.wrong
    ends = Counter(verdict.status.values())
    ground.found.ends += ends
    if set(ends) != {"completed"}:
        ground.found.wrong.append(f"answered by two at once: {dict(ends)}")
