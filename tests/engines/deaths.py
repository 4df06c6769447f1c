"""Machines that die: workers at each point that a saga passes, and at random; servers; the frozen.

What is done is audited: each saga has ended as it should, and what stands in the ledger is all of
it or nothing.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from servers import shared, temporal
from servers.children import in_memory
from servers.postgresql import clusters
from world import until

from py_api_saga import Retry, SagaAssembler, SagaStatus, answer

from . import shop
from .cases import COMPENSATED, COMPLETED
from .places import DBOS, LEASE, MODULES, NOVELTY, Kind, Place, Temporal, opened
from .points import Points
from .shop import ALL, DIAMOND, Unavailable, buy, checkout, diamond, give_back, open_shop

SIDE_BY_SIDE = 4  # sweeps at once, which wait for leases most of the time
CALLERS = 12
STAFF = ("w1", "w2")
CHAIN = ("reserve", "wrap", "ship")
_numbers = count(1)


class Found:
    """What was found wrong, and how much was done.

    Attributes:
        wrong: What is, in words.
        deaths: How many there were.
        sagas: How many have ended, by how.
    """

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.deaths = 0
        self.sagas: Counter[str] = Counter()

    def audit(self, place: Place, goods: str, ends: Mapping[SagaStatus, Counter[str]]) -> None:
        """Hold what stands of an order against how its saga has ended, which may be so or so."""
        try:
            end = place.end(goods)
        except Exception as error:  # noqa: BLE001 - its caller should have been told something else
            self.wrong.append(f"{place.kind}, {goods}: its caller is told {error!r}")
            return
        self.sagas[end.status.value] += 1
        if end.status not in ends:
            self.wrong.append(f"{place.kind}, {goods}: it is {end.status.value}: {end.error}")
            return
        stands = place.books.stands().get(goods, Counter())
        if stands != ends[end.status]:
            self.wrong.append(f"{place.kind}, {goods}: {end.status.value}, {dict(stands)} stands")


# --- at each point --------------------------------------------------------------------------------


class Tale(NamedTuple):
    """A saga that passes points.

    Attributes:
        make: Makes it.
        ends: How it may end, and what stands then.
        options: How it is begun.
        is_answered: It waits for an answer.
        asks: What may have happened is asked about, or undone: never called again.
    """

    make: Callable[[str], SagaAssembler]
    ends: Mapping[SagaStatus, Counter[str]]
    options: Mapping[str, Any] = {}
    is_answered: bool = False
    asks: bool = False


_NOTHING: Counter[str] = Counter()
_AGAIN = Retry(Unavailable, attempts=4, wait_initial=0.1, wait_jitter=0)
TALES: dict[str, Tale] = {
    "forward": Tale(checkout, {COMPLETED: ALL}),
    "undone": Tale(partial(checkout, calls={"ship": {"no": 1}}), {COMPENSATED: _NOTHING}),
    "again": Tale(
        partial(checkout, calls={"charge": {"busy": 1}}, options={"charge": {"retry": _AGAIN}}),
        {COMPLETED: ALL},
    ),
    "asked": Tale(
        partial(checkout, options={name: {"on_doubt": shop.ask} for name in ALL}),
        {COMPLETED: ALL},
        asks=True,
    ),
    "backward": Tale(
        partial(checkout, on_crash="compensate"),
        {COMPLETED: ALL, COMPENSATED: _NOTHING},
        asks=True,
    ),
    "pivot": Tale(
        partial(checkout, on_crash="compensate", options={"reserve": {"pivot": True}}),
        {COMPLETED: ALL, COMPENSATED: _NOTHING},
    ),
    "at once": Tale(diamond, {COMPLETED: DIAMOND}, {"at_once": True}),
    "at once, undone": Tale(
        partial(diamond, calls={"ship": {"no": 1}}), {COMPENSATED: _NOTHING}, {"at_once": True}
    ),
    "answered": Tale(
        partial(checkout, calls={"charge": {"function": shop.buy_later}}),
        {COMPLETED: ALL},
        is_answered=True,
    ),
}


def _tell(place: Place, tale: Tale, goods: str) -> None:
    """Begin a saga, and answer it if it waits."""
    place.begin(tale.make(goods), goods, **tale.options)
    if tale.is_answered:
        key = f"{goods}:charge:action"
        # Nobody answers a request before it has done anything: a worker may die between the two.
        until(lambda: place.books.stands().get(goods, _NOTHING)["charge"])
        until(lambda: _answered(place, key))


def _answered(place: Place, key: str) -> bool:
    """Tell whether an answer was taken: before the call is on record it is to come again."""
    try:
        answer(place.store, key, result={"id": "7"})
    except LookupError:
        return False
    return True


def sweep(kind: Kind, name: str, share: int, offset: int, found: Found) -> str:
    """Have a worker die at each point that a saga passes, or at each of so many; say what was done.

    Args:
        kind: Of the place, which is opened for this.
        name: Of the saga.
        share: One point of so many.
        offset: Which of them.
        found: Where it is counted.
    """
    tale, begun = TALES[name], time.monotonic()
    with (
        TemporaryDirectory(prefix="saga-engines-", dir=in_memory()) as folder,
        opened(kind, Path(folder)) as place,
    ):
        points = Points(place.folder)
        for worker in STAFF:
            place.hire(worker, passes_points=True)
        _tell(place, tale, "warm")
        place.end("warm")
        points.begin()
        _tell(place, tale, "undisturbed")
        found.audit(place, "undisturbed", tale.ends)
        passed = points.passed
        struck = range(1 + offset % share, len(passed) + 1, share)
        for number in struck:
            goods = f"{kind}-{name.replace(', ', '-').replace(' ', '-')}-{number}"
            points.begin(number)
            _tell(place, tale, goods)
            found.audit(place, goods, tale.ends)
            if tale.asks and place.books.hits(f"{shop.REPEATED}{goods}:%:action"):
                found.wrong.append(f"{kind}, {goods}: called again, though it had happened")
            found.deaths += len(points.passed) >= number
    seconds = time.monotonic() - begun
    return f"{name}: {len(passed)} points, {len(struck)} deaths, {seconds:.0f} s"


def sweeps(kind: Kind, share: int, only: str, found: Found) -> Iterator[str]:
    """Do so with each saga whose name has this in it."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        numbered = [(n, name) for n, name in enumerate(TALES) if only in name]
        yield from pool.map(lambda it: sweep(kind, it[1], share, it[0] * 5, found), numbered)


# --- many sagas at once ---------------------------------------------------------------------------


def _mixed(chance: random.Random) -> tuple[dict[str, Any], SagaStatus]:
    """Choose what befalls a saga, and tell how it is to end."""
    calls: dict[str, dict[str, Any]] = {
        "reserve": {"lasts": chance.uniform(0, 0.3)},
        "charge": {"lasts": chance.uniform(0, 0.6)},
        "ship": {"lasts": chance.uniform(0, 0.3)},
    }
    options: dict[str, dict[str, Any]] = {}
    fate, status = chance.random(), COMPLETED
    if fate < 0.25:
        calls["ship"]["no"], status = 1, COMPENSATED
    elif fate < 0.35:
        calls["charge"]["no"], status = 1, COMPENSATED
    elif fate < 0.5:
        calls["charge"]["busy"] = 2
        options["charge"] = {"retry": Retry(Unavailable, attempts=6, wait_initial=0.1)}
    elif fate < 0.6:
        options["charge"] = {"on_doubt": shop.ask}
    return {"calls": calls, "options": options}, status


def crowd(
    place: Place, sagas: int, chance: random.Random, found: Found, trouble: Callable[[], object]
) -> str:
    """Run many sagas while there is trouble again and again; say what was done.

    Args:
        place: Where, with workers.
        sagas: How many.
        chance: Decides what befalls each.
        found: Where it is counted.
        trouble: Makes some, and ends when that is over; called until all have ended.
    """
    begun, mark, enough = time.monotonic(), next(_numbers), threading.Event()
    plan = {f"{place.kind}-{mark}-{n}": _mixed(chance) for n in range(sagas)}

    def one(goods: str) -> None:
        options, status = plan[goods]
        place.begin(checkout(goods, **options), goods)
        stands = ALL if status is COMPLETED else _NOTHING
        found.audit(place, goods, {status: stands})

    def troubled() -> None:
        while not enough.is_set():
            trouble()

    with ThreadPoolExecutor(CALLERS) as callers, ThreadPoolExecutor(1) as other:
        making = other.submit(troubled)
        try:
            for _ in callers.map(one, plan):
                pass
        finally:
            enough.set()
            making.result()
    hits = place.books.hits()
    again = len(hits) - len({hit.key for hit in hits})
    seconds = time.monotonic() - begun
    return f"{sagas} sagas, {again} of {len(hits)} calls again under their key, {seconds:.0f} s"


@contextmanager
def _staffed(kind: Kind) -> Iterator[Place]:
    with (
        TemporaryDirectory(prefix="saga-engines-", dir=in_memory()) as folder,
        opened(kind, Path(folder)) as place,
    ):
        for worker in STAFF:
            place.hire(worker)
        yield place


def killed_at_random(kind: Kind, sagas: int, seed: int, found: Found) -> str:
    """Kill one worker or the other at any moment, and hire another in its stead."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    with _staffed(kind) as place:

        def trouble() -> None:
            time.sleep(chance.uniform(0.7, 1.8))
            worker = chance.choice(STAFF)
            place.kill(worker)
            found.deaths += 1
            time.sleep(chance.uniform(0.2, 1.0))
            place.hire(worker)

        return crowd(place, sagas, random.Random(seed), found, trouble)  # noqa: S311 - no secret


def frozen_at_random(kind: Kind, sagas: int, seed: int, found: Found) -> str:
    """Freeze a worker for longer than its lease, and have it go on."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    with _staffed(kind) as place:

        def trouble() -> None:
            time.sleep(chance.uniform(0.5, 1.0))
            worker = chance.choice(STAFF)
            place.freeze(worker)
            found.deaths += 1
            time.sleep(LEASE * chance.uniform(0.5, 2.5))
            place.thaw(worker)

        return crowd(place, sagas, random.Random(seed), found, trouble)  # noqa: S311 - no secret


# --- the engine's own server ----------------------------------------------------------------------


@contextmanager
def _apart(kind: Kind) -> Iterator[tuple[Place, Callable[[], None], Callable[[], None]]]:
    """Open a place with a server of its own; give what lets that crash, and what starts it anew."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="saga-e-", dir=in_memory())))
        open_shop(folder)
        if kind == "dbos":
            cluster = stack.enter_context(clusters())()
            cluster.make()
            cluster.start()
            url = cluster.url.rpartition("/")[0] + "/sagas"
            shared.migrate(url)
            place: Place = DBOS(folder, url)
            crash: Callable[[], None] = partial(cluster.stop, "immediate")
            start: Callable[[], None] = cluster.start
        else:
            server = stack.enter_context(temporal.temporal())
            place = Temporal(folder, temporal.namespace(server.address))
            crash, start = server.kill, server.start
        stack.callback(place.close)
        yield place, crash, start


def restarted(kind: Kind, sagas: int, seed: int, found: Found) -> str:
    """Let the server of the engine crash under load, and come back a moment later.

    Callers who are told meanwhile that it is not there ask again.
    """
    with _apart(kind) as (place, crash, start):
        for worker in STAFF:
            place.hire(worker)
        place.run(checkout("warm"), "warm")
        chance, mark = random.Random(seed), next(_numbers)  # noqa: S311 - no secret
        plan = {f"{kind}-{mark}-{n}": _mixed(chance) for n in range(sagas)}
        for goods, (options, _) in plan.items():
            place.begin(checkout(goods, **options), goods)
        begun = time.monotonic()
        for _ in range(2):
            time.sleep(chance.uniform(0.3, 1.0))
            crash()
            found.deaths += 1
            time.sleep(1.0)
            start()
        for goods, (_, status) in plan.items():
            stands = ALL if status is COMPLETED else _NOTHING
            found.audit(place, goods, {status: stands})
    return f"{sagas} sagas, 2 crashes of the server, {time.monotonic() - begun:.0f} s"


# --- a rolling deploy -----------------------------------------------------------------------------


def deployed(kind: Kind, sagas: int, found: Found) -> str:
    """Run sagas with a function that only one of two workers has, and the other never gets."""
    from .novelty import unwrap, wrap  # noqa: PLC0415 - of a later release

    def made(goods: str) -> SagaAssembler:
        saga = SagaAssembler.saga(name="new")
        saga.operation((buy, goods, "reserve"), (give_back, goods, "reserve"), name="reserve")
        saga.operation((wrap, goods), (unwrap, goods), name="wrap")
        saga.operation((buy, goods, "ship"), (give_back, goods, "ship"), name="ship")
        return saga

    with (
        TemporaryDirectory(prefix="saga-engines-", dir=in_memory()) as folder,
        opened(kind, Path(folder)) as place,
    ):
        place.hire("older")
        place.hire("newer", (*MODULES, NOVELTY))
        place.run(checkout("warm"), "warm")
        begun = time.monotonic()

        def one(n: int) -> None:
            place.begin(made(f"new-{n}"), f"new-{n}")
            found.audit(place, f"new-{n}", {COMPLETED: Counter(CHAIN)})

        with ThreadPoolExecutor(CALLERS) as callers:
            for _ in callers.map(one, range(sagas)):
                pass
        wraps = place.books.hits("new-%:wrap:action")
        if {hit.worker for hit in wraps} != {"newer"} or len(wraps) != sagas:
            found.wrong.append(f"{kind}, deploy: {len(wraps)} calls of the new function")
    return f"{sagas} sagas, {time.monotonic() - begun:.0f} s"
