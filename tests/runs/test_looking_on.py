"""Who looks on at all runs of a process: around each call, told what came of it and of the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import depot
import pytest
from depot import ado, do, undo
from recorded import bodies
from world import PATIENCE, World, failure_of, in_time, steps

from py_api_saga import Retry, SagaAssembler, SagaConflict, arecover, recover, takeover
from py_api_saga.current import CurrentOperation
from py_api_saga.entries import Entry
from py_api_saga.executors.driving import look_on
from py_api_saga.journal import MemoryJournal
from py_api_saga.testing import inline_choreography


class Looking:
    """Notes what it sees, of all runs in one list."""

    def __init__(self, trace: str | None = None) -> None:
        self.lines: list[str] = []
        self.runs: list[Any] = []
        self._trace = trace

    def begins(self, run: Any) -> Sees:
        """See one more run."""
        self.lines.append("begins")
        self.runs.append(run)
        return Sees(self.lines)

    def sees_call(self, run: object, trace: object) -> NoReturn:  # noqa: ARG002
        """No call is made of a run that is elsewhere."""
        pytest.fail("a worker of an engine made a call")

    def trace(self) -> str | None:
        """Give what it was made with."""
        return self._trace

    @contextmanager
    def working(self, place: object) -> Iterator[None]:
        """Note where a worker looks."""
        self.runs.append(place)
        yield


class Sees:
    """Sees one run."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    @contextmanager
    def around(self, operation: CurrentOperation) -> Iterator[None]:
        """Note that a call begins."""
        self.lines.append(f"{operation.direction} {operation.operation} {operation.attempt}")
        yield

    def told(self, _: object, entry: Entry) -> None:
        """Note what came of it."""
        what, i, kind, attempt, _, _ = entry
        self.lines.append(f"{what} {kind} {'abc'[i]} {attempt}")

    def ended(self, _: object, error: BaseException | None) -> None:
        """Note what is raised."""
        self.lines.append(f"ended {type(error).__name__}")


@contextmanager
def looking(**options: Any) -> Iterator[Looking]:
    """Look on in a block."""
    look_on(here := Looking(**options))
    try:
        yield here
    finally:
        look_on(None)


ALL_OF_IT = [
    "begins",
    "action a 1",
    "succeeded action a 1",
    "action b 1",
    "retry action b 1",
    "action b 2",
    "failed action b 2",
    "compensation a 1",
    "succeeded compensation a 1",
    "ended SagaException",
]


def failing(world: World) -> SagaAssembler:
    """Make a saga whose second operation is tried twice, in vain."""
    twice = Retry(ConnectionRefusedError, attempts=2, wait_initial=0, wait_jitter=0)
    error = ConnectionRefusedError("no")
    return steps(world, "a").operation((world.fail, "b", error), name="b", after="a", retry=twice)


def test_each_call_and_what_came_of_it_is_seen(execute: Any, world: World) -> None:
    """On every executor, from the first call to the last undo."""
    with looking() as here:
        failure_of(execute, failing(world))

    assert here.lines == ALL_OF_IT


@pytest.mark.parametrize("way", ["choreography_execute", "achoreography_execute"])
def test_so_it_is_where_something_stands_in_for_the_executor(way: str, world: World) -> None:
    """As a test kit does."""

    def run(saga: SagaAssembler) -> Any:
        with inline_choreography():
            running = getattr(saga, way)()
            return asyncio.run(_awaited(running)) if way.startswith("a") else running

    with looking() as here:
        failure_of(run, failing(world))

    assert here.lines == ALL_OF_IT


async def _awaited(running: Any) -> Any:
    return await running


def test_it_is_outside_of_what_a_saga_has_around_its_calls(execute: Any, world: World) -> None:
    """So what is opened there for a call is seen as part of it."""

    @contextmanager
    def noted(_: CurrentOperation) -> Iterator[None]:
        here.lines.append("inside")
        yield

    with looking() as here:
        execute(steps(world, "a", around=[noted]))

    assert here.lines == [
        "begins",
        "action a 1",
        "inside",
        "succeeded action a 1",
        "ended NoneType",
    ]


def test_runs_that_begin_later_are_not_seen(execute: Any, world: World) -> None:
    """Once nobody looks on any more."""
    with looking() as here:
        pass
    execute(steps(world, "a"))

    assert not here.lines


@pytest.mark.parametrize(
    "go_on",
    [
        recover,
        lambda journal: recover(journal, max_workers=0),
        lambda journal: asyncio.run(arecover(journal)),
        lambda journal: takeover(journal, "x"),
        lambda journal: depot_saga().orchestrator_execute(journal=journal, saga_id="x"),
    ],
    ids=["recover", "recover here", "arecover", "takeover", "by its id"],
)
@pytest.mark.parametrize("act", [do, ado])
def test_sagas_that_are_gone_on_with_are_seen(
    go_on: Callable[[Any], Any], act: Any, in_memory: Any
) -> None:
    """By whoever does it; what the run is part of is what the journal says."""
    with looking(trace="00-1-2-01") as here:
        depot_saga(act).start(journal=in_memory, saga_id="x")
        in_time(lambda: go_on(in_memory), PATIENCE)

    assert here.lines[-4:] == ["begins", "action a 1", "succeeded action a 1", "ended NoneType"]
    assert here.runs[-1].trace == "00-1-2-01"
    assert '"trace":"00-1-2-01"' in bodies(in_memory, "x")[0]


def depot_saga(act: Any = do) -> SagaAssembler:
    """Make a saga that a journal can name."""
    return SagaAssembler.saga().operation((act, "a"), (undo, "a"), name="a")


def test_a_saga_that_is_there_already_is_not_begun(in_memory: Any) -> None:
    """What was seen of it ends with the error that says so, before any call."""
    depot_saga().orchestrator_execute(journal=in_memory, saga_id="x")
    with looking() as here:
        depot_saga().orchestrator_execute(journal=in_memory, saga_id="x")
        asyncio.run(_awaited(depot_saga().aorchestrator_execute(journal=in_memory, saga_id="x")))
        with pytest.raises(SagaConflict):
            SagaAssembler.saga(name="other").operation((do, "a")).orchestrator_execute(
                journal=in_memory, saga_id="x"
            )

    assert [line for line in here.lines if line != "begins"] == ["ended SagaExistsError"] * 3


def test_what_a_saga_is_part_of_makes_it_no_other(in_memory: Any) -> None:
    """It is not among what is compared when an id is given again."""
    with looking(trace="one"):
        depot_saga().orchestrator_execute(journal=in_memory, saga_id="x")
    with looking(trace="two"):
        results = depot_saga().orchestrator_execute(journal=in_memory, saga_id="x")

    assert list(results) == ["A"]


@pytest.fixture
def in_memory() -> Iterator[Any]:
    """A journal in memory."""
    depot.reset()
    yield MemoryJournal(modules=["depot"])
    depot.reset()
