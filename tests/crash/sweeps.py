"""Series of faults: at each point of a run, of a recovery, and at any moment."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from . import checks
from .harness import Process, Yard

AWAITED = ("awaited", "awaited graph", "awaited asyncio")
WORKED = ("chain", "graph", "backward", "pivot", "asyncio", "asyncio graph", "again", *AWAITED)
UNDONE = ("chain undone", "graph undone", "asyncio undone", "awaited undone", "awaited undo")
_numbers = count(1)


def chance_of(seed: int | str) -> random.Random:
    """Give chances that come again with the same seed."""
    return random.Random(seed)  # noqa: S311 - no secret


def undisturbed(yard: Yard, mode: str) -> list[str]:
    """Run a saga of a mode, see what becomes of it, and give the points that it passes."""
    place = yard.place()
    order = f"u{next(_numbers)}"
    points = yard.points("run", place, sagas=[(order, mode, {})])
    if mode.startswith("awaited"):  # now it is answered
        points += yard.points("recover", place)
    status = yard.holds(place)[order]
    assert status == ("completed" if mode in WORKED else "compensated")
    return points


def strike(
    yard: Yard,
    mode: str,
    at: int,
    then: Iterable[int] = (),
    *,
    troubles: dict[str, str] | None = None,
    caller: bool = False,
    twice: bool = True,
) -> None:
    """Kill a run at a point, and recoveries at theirs; then recover, or let a caller go on.

    Args:
        yard: Where.
        mode: Of the saga.
        at: The point of the run.
        then: The points of recoveries.
        troubles: What befalls the first request of an operation.
        caller: Whether who gave the id gives it again, instead of a recovery.
        twice: Whether all come once more when it has ended.
    """
    place = yard.place()
    order = f"s{next(_numbers)}"
    run: dict[str, Any] = {"sagas": [(order, mode, troubles or {})]}
    yard.do("run", place, ends="", at=at, **run)
    yard.look(place)
    for point in then:
        yard.do("recover", place, ends="", at=point, coroutine=(at + point) % 3 == 0)
    if caller:
        yard.do("run", place, **run)
    if not caller or mode.startswith("awaited"):
        yard.do("recover", place, coroutine=at % 4 == 0)
    if twice:
        _same_again(yard, place, order, run)
    yard.check(place)


def _same_again(yard: Yard, place: Path, order: str, run: dict[str, Any]) -> None:
    """See that a saga that has ended is not run again, whoever comes."""
    yard.books.read()
    before = len(yard.books.asked[order])
    verdict = checks.Verdict()
    checks.in_journal(place, verdict)
    yard.do("recover", place)
    if order in verdict.status:
        yard.do("run", place, **run)
        yard.books.read()
        if len(yard.books.asked[order]) != before:
            yard.wrong.append(f"{order}: it had ended and called again")


def every_point(yard: Yard, mode: str, *, step: int = 1, begin: int = 1) -> int:
    """Kill a run of a mode at each point, and its recovery at one more; give how many."""
    total = len(undisturbed(yard, mode))
    for at in range(begin, total + 1, step):
        then = [at * 7 % 20 + 1] if at % 2 else []
        strike(yard, mode, at, then, caller=at % 3 == 0, twice=step == 1 or at % 4 == 0)
    return total


def every_rollback(yard: Yard, mode: str, *, step: int = 1) -> None:
    """Kill a rollback at each point, of a saga that would succeed if it went forward again."""
    for at in range(1, 45, step):
        strike(yard, mode, at, [at * 5 % 20 + 1] if at % 2 else [], troubles={"book": "503 before"})


def every_pair(yard: Yard, mode: str, chance: random.Random, *, share: float = 1.0) -> None:
    """Kill a run at each point, and its recovery at each of its own, and that once more."""
    total = len(undisturbed(yard, mode))
    for at in range(1, total + 1):
        for then in range(1, 25):
            if chance.random() < share:
                strike(yard, mode, at, [then, chance.randint(1, 25)])


def torn_writes(yard: Yard, mode: str, limits: Iterable[int]) -> None:
    """End a run in the middle of a write, after so many bytes of a file."""
    for limit in limits:
        place = yard.place()
        order = f"w{next(_numbers)}"
        yard.do("run", place, ends="", sagas=[(order, mode, {})], limit=limit, fatal=True)
        yard.do("recover", place)
        yard.check(place)
        yard.faults["in the middle of a write"] += 1


def full_disks(yard: Yard, mode: str, limits: Iterable[int]) -> list[str]:
    """Let the disk be full after so many bytes of a file; give what callers are told."""
    heard = []
    for limit in limits:
        place = yard.place()
        order = f"d{next(_numbers)}"
        yard.do("run", place, sagas=[(order, mode, {})], limit=limit)
        heard += [" ".join(line[2:]) for line in checks.told(place) if line[0] == "told"]
        yard.do("recover", place)
        yard.check(place)
        yard.faults["a full disk"] += 1
    return heard


def any_moment(yard: Yard, chance: random.Random, *, seconds: float, workers: int) -> None:
    """Let workers run and recover sagas on one journal, and kill and replace them at any moment."""
    place = yard.place()
    seeds = count(chance.randrange(1 << 30))
    living = [yard.start("work", place, seed=next(seeds)) for _ in range(workers)]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(chance.uniform(0.02, 0.25))
        k = chance.randrange(workers)
        living[k].kill()
        yard.faults["at any moment"] += 1
        living[k] = yard.start("work", place, seed=next(seeds))
    for process in living:
        process.kill()
        yard.faults["at any moment"] += 1
    yard.look(place)
    yard.do("recover", place)
    yard.check(place)


def many_callers(
    yard: Yard, chance: random.Random, *, seconds: float, callers: int = 8, orders: int = 50
) -> int:
    """Let processes ask for the same few sagas, and kill and pause them; give how many answers.

    Each answer is held against those of the others, against the ledgers and against the journal.
    """
    place = yard.place()
    ids = [f"{place.name}-{k}" for k in range(orders)]
    seeds = count(chance.randrange(1 << 30))

    def caller() -> Process:
        return yard.start("ask", place, seed=next(seeds), orders=ids, seconds=seconds * 3)

    living = [caller() for _ in range(callers)]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(chance.uniform(0.01, 0.1))
        k = chance.randrange(callers)
        if chance.random() < 0.5:
            living[k].send(signal.SIGSTOP)
            time.sleep(chance.uniform(0.01, 0.3))
            living[k].send(signal.SIGCONT)
            yard.faults["a caller is paused"] += 1
        else:
            living[k].kill()
            checks.note_end(place, living[k].pid)
            yard.faults["a caller is killed"] += 1
            living[k] = caller()
    for process in living:
        process.kill()
        checks.note_end(place, process.pid)
        yard.faults["a caller is killed"] += 1
    yard.outlive()
    yard.look(place)
    yard.do("recover", place)
    answers, wrong = checks.answers(place, yard.books)
    yard.wrong += [f"{place.name}: {what}" for what in wrong]
    yard.check(place)
    return answers


def two_recoverers(yard: Yard, chance: random.Random, mode: str, *, sagas: int) -> None:
    """Let two processes recover the same sagas from the same instant on."""
    place = yard.place()
    for _ in range(sagas):
        order = f"t{next(_numbers)}"
        yard.do("run", place, ends="", sagas=[(order, mode, {})], at=chance.randint(10, 22))
    begin = time.time() + 0.1
    both = [yard.start("recover", place, begin=begin) for _ in range(2)]
    for process in both:
        assert process.wait() == "0", checks.told(place)[-3:]
    recovered = [line[1] for line in checks.told(place) if line[0] == "recovered"]
    assert len(recovered) == len(set(recovered)), recovered
    yard.check(place)


def failing_services(yard: Yard, modes: Iterable[str], kinds: Iterable[str]) -> None:
    """Let a service fail before or after its effect, with an answer or without one."""
    for mode in modes:
        place = yard.place()
        sagas = [
            (f"e{next(_numbers)}", mode, {operation: kind})
            for operation in ("reserve", "charge", "book")
            for kind in kinds
        ]
        yard.do("run", place, sagas=sagas, threads=4)
        status = yard.check(place).status
        expected = "completed" if mode.endswith("again") else "compensated"
        for order, _, trouble in sagas:
            yard.faults["a service: " + "".join(trouble.values())] += 1
            if status[order] != expected:
                yard.wrong.append(f"{order}: {trouble} made it {status[order]}")


def quietly(yard: Yard, word: str) -> None:
    """Say how far it is."""
    with suppress(BrokenPipeError):
        print(f"{word:30} {sum(yard.faults.values()):6} faults", flush=True)  # noqa: T201
