"""Show how many schedules `explore` runs in a second of CPU, in worlds of several kinds.

Prints Markdown, whatever else the machine does. README.md says how to run it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from core import SOURCE, machine, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROUNDS = 15
TARGETS = {  # schedules per second of CPU, at least
    "a chain of 3, of fakes": 3_000,
    "the same, whose services fail": 1_000,
    "the same, in a test of Django's": 400,
}
LIMITS = {"a chain of 10": 1.0, "10 at once": 2.0}  # seconds of CPU for one fault, at most


class Service:
    """Holds what it was told to, by key."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.held: set[str] = set()

    def do(self) -> None:
        """Hold."""
        from py_api_saga import current_operation  # noqa: PLC0415 - of the tree that is measured

        self.held.add(current_operation().action_key)

    def undo(self) -> None:
        """Hold no longer."""
        from py_api_saga import current_operation  # noqa: PLC0415

        self.held.discard(current_operation().action_key)


class Services:
    """Several of them."""

    def __init__(self, names: tuple[str, ...] = ("a", "b", "c")) -> None:
        """Make new ones."""
        self.names = names
        for name in names:
            setattr(self, name, Service())

    def state(self) -> dict[str, int]:
        """Count what they hold."""
        return {name: len(getattr(self, name).held) for name in self.names}


def saga_of(calls: list[tuple[str, Any, Any]]) -> Any:
    """Make a saga of functions and their undos."""
    from py_api_saga import SagaAssembler  # noqa: PLC0415

    made = SagaAssembler.saga(name="measured")
    for name, do, undo in calls:
        made.operation(do, undo, name=name)
    return made


def of_services(world: Any) -> Any:
    """Make a saga with an operation for each of them."""

    def calls(name: str) -> tuple[str, Any, Any]:
        return name, lambda: getattr(world, name).do(), lambda: getattr(world, name).undo()

    return saga_of([calls(name) for name in world.names])


# --- the worlds -----------------------------------------------------------------------------------


def fakes() -> dict[str, Any]:
    """Explore a chain of three."""
    return {"run": of_services, "world": Services, "state": Services.state, "faults": 2}


def services() -> dict[str, Any]:
    """Explore it at each call of a service within an operation as well."""
    return {**fakes(), "services": ("a", "b", "c"), "faults": 1}


def http() -> dict[str, Any]:
    """Explore it over HTTP, mocked by requests-mock."""
    import requests_mock  # noqa: PLC0415 - only for this one

    from py_api_saga import current_operation  # noqa: PLC0415
    from py_api_saga.contrib.requests import SagaSession  # noqa: PLC0415

    session = SagaSession(gone_is_undone=True)

    def calls(name: str) -> tuple[str, Any, Any]:
        def do() -> None:
            session.put(f"http://{name}/{current_operation().action_key.lower()}")

        def undo() -> None:
            session.delete(f"http://{name}/{current_operation().action_key.lower()}")

        return name, do, undo

    @contextmanager
    def world() -> Iterator[set[str]]:
        held: set[str] = set()

        def put(request: Any, _: Any) -> str:
            held.add(request.url)
            return ""

        def delete(request: Any, _: Any) -> str:
            held.discard(request.url)
            return ""

        with requests_mock.Mocker() as mock:
            mock.put(requests_mock.ANY, text=put)
            mock.delete(requests_mock.ANY, text=delete)
            yield held

    def run(_: Any) -> Any:
        return saga_of([calls(name) for name in ("a", "b", "c")])

    return {"run": run, "world": world, "state": len}


def django() -> dict[str, Any]:
    """Explore it on a database of Django's, each schedule in a savepoint."""
    from django.conf import settings  # noqa: PLC0415 - only for this one

    if not settings.configured:
        import django as package  # noqa: PLC0415

        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        settings.configure(DATABASES={"default": database})
        package.setup()
    from django.db import connection, transaction  # noqa: PLC0415

    from py_api_saga import current_operation  # noqa: PLC0415
    from py_api_saga.contrib.django.testing import rolled_back  # noqa: PLC0415

    with connection.cursor() as cursor:
        for name in ("a", "b", "c"):
            cursor.execute(f"CREATE TABLE IF NOT EXISTS {name} (key TEXT PRIMARY KEY)")

    def calls(name: str) -> tuple[str, Any, Any]:
        def write(statement: str) -> None:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(statement, [current_operation().action_key])

        def do() -> None:
            write(f"INSERT OR IGNORE INTO {name} VALUES (%s)")  # noqa: S608 - our own names

        def undo() -> None:
            write(f"DELETE FROM {name} WHERE key = %s")  # noqa: S608

        return name, do, undo

    def run(_: Any) -> Any:
        return saga_of([calls(name) for name in ("a", "b", "c")])

    def state(_: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM a UNION ALL SELECT count(*) FROM b")
            return cursor.fetchall()

    # A test is in a transaction already, so that the world is a savepoint in it.
    return {"run": run, "world": rolled_back, "state": state, "around": rolled_back}


def coroutines() -> dict[str, Any]:
    """Explore coroutine functions, each of which sleeps for half a minute."""

    def calls(service: Service, name: str) -> tuple[str, Any, Any]:
        async def do() -> None:
            await asyncio.sleep(30)
            service.do()

        async def undo() -> None:
            await asyncio.sleep(30)
            service.undo()

        return name, do, undo

    def run(world: Any) -> Any:
        return saga_of([calls(getattr(world, name), name) for name in world.names])

    return {**fakes(), "run": run, "faults": 1}


def ten(how: str) -> dict[str, Any]:
    """Explore ten operations."""
    names = tuple(f"op{i}" for i in range(10))
    return {
        "run": of_services, "world": lambda: Services(names), "state": Services.state, "how": how,
    }  # fmt: skip


RATES: dict[str, Callable[[], dict[str, Any]]] = {
    "a chain of 3, of fakes": fakes,
    "the same, whose services fail": services,
    "the same, over HTTP (requests-mock)": http,
    "the same, in a test of Django's": django,
    "the same, coroutine functions that sleep for 30 s": coroutines,
}
SIZES: dict[str, Callable[[], dict[str, Any]]] = {
    "a chain of 10": lambda: ten("orchestrator"),
    "10 at once": lambda: ten("choreography"),
}


# --- measuring ----------------------------------------------------------------------------------


def measured(make: Callable[[], dict[str, Any]], rounds: int) -> tuple[int, float]:
    """Give the schedules of an exploration, and the seconds of CPU that one takes: the median."""
    from py_api_saga.testing import explore  # noqa: PLC0415 - of the tree that is measured

    said = make()
    run, around = said.pop("run"), said.pop("around", nullcontext)
    taken, schedules = [], 0
    with around():
        for _ in range(rounds + 1):  # the first one imports, and is not counted
            began = time.process_time()
            schedules = explore(run, blind=False, **said).schedules
            taken.append(time.process_time() - began)
    return schedules, statistics.median(taken[1:])


def verdict(*, good: bool) -> str:
    """Say whether a target is met."""
    return "PASS" if good else "MISS"


def rates(rounds: int) -> tuple[list[str], list[list[str]]]:
    """Schedules per second of CPU."""
    rows = []
    for name, make in RATES.items():
        schedules, seconds = measured(make, rounds)
        rate, target = schedules / seconds, TARGETS.get(name)
        said = "" if target is None else f"≥ {target:,}: {verdict(good=rate >= target)}"
        rows.append([name, f"{schedules:,}", f"{rate:,.0f}", said])
    return ["what", "schedules", "per second", "target"], rows


def sizes(rounds: int) -> tuple[list[str], list[list[str]]]:
    """Seconds of CPU for one fault."""
    rows = []
    for name, make in SIZES.items():
        schedules, seconds = measured(make, min(rounds, 3))
        said = f"≤ {LIMITS[name]:g}: {verdict(good=seconds <= LIMITS[name])}"
        rows.append([name, f"{schedules:,}", f"{seconds:.2f}", said])
    return ["what", "schedules", "s", "target"], rows


SECTIONS = {"rates": rates, "sizes": sizes}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, by comma")
    parser.add_argument("--quick", action="store_true", help="once each, to see that it works")
    options = parser.parse_args(arguments)
    unknown = {*options.only.split(",")} - {*SECTIONS}
    if unknown:
        parser.error(f"--only: expected {', '.join(SECTIONS)}, got {', '.join(unknown)}")
    sys.path[:0] = [str(SOURCE)]
    print(f"{machine()}.\n")
    for section in options.only.split(","):
        head, rows = SECTIONS[section](1 if options.quick else ROUNDS)
        title = (SECTIONS[section].__doc__ or "").rstrip(".")
        print(f"### {section}: {title}\n\n{table(head, rows)}\n", flush=True)


if __name__ == "__main__":
    main()
