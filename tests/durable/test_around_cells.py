"""What is around a call, in each cell: kind of call, moment, error, executor and journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import depot
import pytest
from depot import aask, ado, ask, aundo, do, fail, undo
from recorded import opening, status
from world import PATIENCE

from py_api_saga import Retry, SagaAssembler, SagaException, SagaStatus, recover
from py_api_saga.current import CurrentOperation


class Way(NamedTuple):
    """How a saga is run, and what it calls."""

    method: str
    coroutines: bool = False
    timeout: float | None = None

    def operation(self, saga: SagaAssembler, name: str, **options: Any) -> SagaAssembler:
        """Add an operation of the depot."""
        act, take_back = (ado, aundo) if self.coroutines else (do, undo)
        return saga.operation(
            (act, name), (take_back, name), name=name, timeout=self.timeout, **options
        )

    def execute(self, saga: SagaAssembler, journal: Any) -> Any:
        """Run a saga, on record if there is a journal."""
        options = {} if journal is None else {"journal": journal, "saga_id": "x"}
        if not self.method.startswith("a"):
            return getattr(saga, self.method)(**options)

        async def main() -> Any:
            return await getattr(saga, self.method)(**options)

        return asyncio.run(main())


WAYS = {
    "chain": Way("orchestrator_execute"),
    "chain, own threads": Way("orchestrator_execute", timeout=PATIENCE),
    "at once": Way("choreography_execute"),
    "async chain": Way("aorchestrator_execute"),
    "async at once": Way("achoreography_execute"),
    "coroutines": Way("aorchestrator_execute", coroutines=True),
    "coroutines, limited": Way("aorchestrator_execute", coroutines=True, timeout=PATIENCE),
    "coroutines at once": Way("achoreography_execute", coroutines=True),
}


# What a file does otherwise than memory, it does for threads and for a loop alike in each way.
CELLS = [
    *((way, kind) for way in WAYS for kind in ("none", "memory")),
    *((way, "wal") for way in ("chain", "coroutines at once")),
]


@pytest.fixture(params=CELLS, ids=["-".join(cell) for cell in CELLS])
def cell(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Name a way to run a saga, and where it is on record."""
    way, kind = request.param
    return way, kind


@pytest.fixture
def way(cell: tuple[str, str]) -> Way:
    """Run a saga on each executor, and there with each kind of function."""
    return WAYS[cell[0]]


@pytest.fixture
def journal(cell: tuple[str, str]) -> Iterator[Any]:
    """Have a journal in memory, one in a file, or none."""
    depot.reset()
    if cell[1] == "none":
        yield None
    else:
        with opening(cell[1]) as journal:
            yield journal
    depot.reset()


class Stop(SystemExit):
    """What strikes."""


def around_of(
    direction: str, moment: str, error: BaseException, times: int = 1
) -> Callable[[CurrentOperation], Any]:
    """Make what raises at a moment of a kind of call of operation a, so many times."""
    left = [times]

    @contextmanager
    def around(operation: CurrentOperation) -> Iterator[None]:
        strikes = (operation.operation, operation.direction) == ("a", direction) and left[0] > 0
        if strikes:
            left[0] -= 1
        if strikes and moment == "entering":
            raise error
        try:
            yield
        finally:
            if strikes and moment == "leaving":
                raise error

    return around


def ended(way: Way, saga: SagaAssembler, journal: Any) -> str:
    """Run a saga, and tell what became of operation a; or what was raised."""
    try:
        way.execute(saga, journal)
    except SagaException as error:
        return error.operations["a"].status.name
    except BaseException as error:  # noqa: BLE001 - told by its type
        return type(error).__name__
    return "SUCCEEDED"


MOMENTS = pytest.mark.parametrize("moment", ["entering", "leaving"])
ERRORS = pytest.mark.parametrize("error", [OSError("no database"), Stop()], ids=["error", "stop"])

ACTION = {  # (moment, kind of error) -> what becomes of it, and what is called
    ("entering", OSError): ("FAILED", []),
    ("entering", Stop): ("Stop", []),
    ("leaving", OSError): ("COMPENSATED", ["a", "undo a"]),
    ("leaving", Stop): ("Stop", ["a", "undo a"]),
}


@MOMENTS
@ERRORS
def test_around_an_action(way: Way, journal: Any, moment: str, error: BaseException) -> None:
    """Entering in vain: it was not made. Leaving in vain: nobody knows whether it stands."""
    saga = SagaAssembler.saga(around=[around_of("action", moment, error)])
    way.operation(saga, "a")

    end = ended(way, saga, journal)

    assert (end, depot.log) == ACTION[moment, type(error)]
    assert depot.standing == []


@MOMENTS
def test_an_action_is_tried_again(way: Way, journal: Any, moment: str) -> None:
    """By the type of what was raised, whether it was made or not."""
    retry = Retry(OSError, attempts=2, wait_initial=0, wait_max=0, wait_jitter=0)
    saga = SagaAssembler.saga(around=[around_of("action", moment, OSError())])
    way.operation(saga, "a", retry=retry)

    assert ended(way, saga, journal) == "SUCCEEDED"
    assert depot.log == ["a"] * (1 if moment == "entering" else 2)
    assert depot.standing == ["a"]


def failing_saga(way: Way, around: Callable[[CurrentOperation], Any], **options: Any) -> Any:
    """Make a saga that is undone, since its second operation fails."""
    depot.behaviour["b"] = fail(ValueError("no"))
    saga = SagaAssembler.saga(around=[around])
    return way.operation(way.operation(saga, "a", **options), "b", after="a")


@MOMENTS
def test_around_a_compensation_it_is_a_failed_attempt(way: Way, journal: Any, moment: str) -> None:
    """Which is tried again by its policy, or stuck without one."""
    retry = Retry(OSError, attempts=2, wait_initial=0, wait_max=0, wait_jitter=0)
    around = around_of("compensation", moment, OSError())
    end = ended(way, failing_saga(way, around, compensation_retry=retry), journal)

    assert end == "COMPENSATED"
    assert depot.log == ["a", "b", *["undo a"] * (1 if moment == "entering" else 2)]


@MOMENTS
def test_without_a_policy_such_a_compensation_is_stuck(way: Way, journal: Any, moment: str) -> None:
    """As if it had failed itself."""
    around = around_of("compensation", moment, OSError())

    assert ended(way, failing_saga(way, around), journal) == "STUCK"
    assert depot.log == ["a", "b", *["undo a"] * (moment == "leaving")]


@MOMENTS
def test_an_interrupt_around_a_compensation_counts_as_not_made(
    way: Way, journal: Any, moment: str
) -> None:
    """In memory it is called once more; on record by whoever takes the saga next."""
    around = around_of("compensation", moment, Stop())

    assert ended(way, failing_saga(way, around), journal) == "Stop"
    times = 1 if moment == "entering" else 2
    if journal is not None:
        assert status(journal) is SagaStatus.COMPENSATING
        assert depot.standing == ([] if moment == "leaving" else ["a"])
        assert [done.outcome for done in recover(journal)] == [SagaStatus.COMPENSATED]
    assert depot.log == ["a", "b", *["undo a"] * times]


@MOMENTS
@ERRORS
def test_around_a_question_nobody_knows(
    way: Way, journal: Any, moment: str, error: BaseException
) -> None:
    """So what is in doubt is undone, whatever the answer would have been."""
    depot.behaviour["a"] = fail(ConnectionResetError())
    saga = SagaAssembler.saga(around=[around_of("ask", moment, error)])
    way.operation(saga, "a", on_doubt=aask if way.coroutines else ask)

    end = ended(way, saga, journal)

    assert end == ("Stop" if isinstance(error, Stop) else "COMPENSATED")
    assert depot.log == ["a", *["ask a"] * (moment == "leaving"), "undo a"]


def test_an_error_in_leaving_after_an_error_changes_nothing(way: Way, journal: Any) -> None:
    """It is logged."""
    depot.behaviour["a"] = fail(ValueError("no"))
    saga = SagaAssembler.saga(around=[around_of("action", "leaving", OSError())])

    assert ended(way, way.operation(saga, "a"), journal) == "FAILED"
    assert depot.log == ["a"]


def test_an_error_cannot_be_suppressed(way: Way, journal: Any) -> None:
    """A call that failed has failed."""

    class Swallowing:
        def __init__(self, _: CurrentOperation) -> None: ...

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> bool:
            return True

    depot.behaviour["a"] = fail(ValueError("no"))
    saga = SagaAssembler.saga(around=[Swallowing])

    assert ended(way, way.operation(saga, "a"), journal) == "FAILED"
    assert depot.log == ["a"]
