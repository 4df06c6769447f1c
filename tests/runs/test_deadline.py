"""`deadline=`: nothing more is started, what runs is awaited and counts, then all is undone."""

import asyncio
import threading
from typing import Any

import pytest
from world import HOUR, PATIENCE, Clock, Execute, Watch, World, failure_of, in_time, statuses, steps

from py_api_saga import (
    Retry,
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    SagaStatus,
    current_operation,
)
from py_api_saga import clock as clock_of_ours

SOON = 0.04  # seconds


def late(clock: Clock, world: World, name: str) -> str:
    """Take effect when the deadline has passed."""
    clock.forward(2 * HOUR)
    return world.do(name)


def fail(clock: Clock, world: World, error: Exception) -> None:
    """Fail, so that there is another attempt to wait for, in which the deadline passes."""
    clock.forward(HOUR - SOON)
    world.fail("charge", error)


def test_a_deadline_that_does_not_pass_changes_nothing(execute: Execute, world: World) -> None:
    """All operations run."""
    assert execute(steps(world, "a", "b"), deadline=60) == ["A", "B"]


def test_what_runs_when_it_passes_counts_and_is_undone(
    execute: Execute, world: World, clock: Clock
) -> None:
    """The action is awaited, however long it takes; the next one is not started."""
    saga = steps(world, "stock")
    saga.operation(
        (late, clock, world, "charge"), (world.undo, "charge"), name="charge", after="stock"
    )
    saga.operation((world.do, "courier"), name="courier", after="charge")

    raised = failure_of(execute, saga, deadline=HOUR)

    assert world.log == ["stock", "charge", "undo charge", "undo stock"]
    assert type(raised) is SagaException
    assert isinstance(raised.operation_error, TimeoutError)
    assert raised.__cause__ is raised.operation_error
    assert "deadline" in str(raised)
    assert raised.operation_name == "courier"
    assert raised.operation_errors == {}
    assert raised.outcome is SagaStatus.COMPENSATED
    assert statuses(raised) == {
        "stock": "COMPENSATED",
        "charge": "COMPENSATED",
        "courier": "PENDING",
    }


def test_it_rolls_back_even_if_nothing_was_left_to_start(
    execute: Execute, world: World, clock: Clock
) -> None:
    """Late is late: the caller has been promised an end by then. No operation is to blame."""
    saga = steps(world, "stock")
    saga.operation(
        (late, clock, world, "charge"), (world.undo, "charge"), name="charge", after="stock"
    )

    raised = failure_of(execute, saga, deadline=HOUR)

    assert world.log[-2:] == ["undo charge", "undo stock"]
    assert raised.operation_name is None
    assert isinstance(raised.operation_error, TimeoutError)


def test_a_deadline_of_zero_starts_nothing(execute: Execute, world: World) -> None:
    """It has passed before the first operation."""
    raised = failure_of(execute, steps(world, "stock", "charge"), deadline=0)

    assert world.log == []
    assert raised.operation_name == "stock"
    assert raised.outcome is SagaStatus.COMPENSATED
    assert raised.compensation_success_result is None


def test_it_ends_the_wait_for_a_retry(execute: Execute, world: World, clock: Clock) -> None:
    """Nobody waits for an attempt that will not be started."""
    days = Retry(Exception, wait_initial=99 * HOUR, wait_max=99 * HOUR, wait_jitter=0)
    saga = steps(world, "stock")
    saga.operation((fail, clock, world, OSError()), name="charge", after="stock", retry=days)

    raised = in_time(lambda: failure_of(execute, saga, deadline=HOUR), PATIENCE)

    assert world.log == ["stock", "charge", "undo stock"]
    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "FAILED"}
    assert isinstance(raised.operations["charge"].error, OSError)


def test_a_doubt_that_waited_for_a_retry_is_undone(
    execute: Execute, world: World, clock: Clock
) -> None:
    """Sticky: it may have happened."""
    days = Retry(Exception, wait_initial=99 * HOUR, wait_max=99 * HOUR, wait_jitter=0)
    saga = steps(world, "stock")
    saga.operation(
        (fail, clock, world, TimeoutError()), (world.undo, "charge"), name="charge",
        after="stock", retry=days,
    )  # fmt: skip

    failure_of(execute, saga, deadline=HOUR)

    assert world.log == ["stock", "charge", "undo charge", "undo stock"]


def test_no_further_attempt_starts(execute: Execute, world: World, clock: Clock) -> None:
    """An attempt that fails when the deadline has passed was the last one."""

    def charge() -> None:
        late(clock, world, "charge fails")
        raise OSError

    again = Retry(Exception, wait_initial=0, wait_jitter=0)
    saga = steps(world, "stock").operation(charge, name="charge", after="stock", retry=again)

    raised = failure_of(execute, saga, deadline=HOUR)

    assert world.log == ["stock", "charge fails", "undo stock"]
    assert statuses(raised)["charge"] == "FAILED"


def test_everything_that_runs_is_awaited(
    execute_graph: Execute, world: World, clock: Clock
) -> None:
    """All of it counts, and all of it is undone, after the last of it has ended."""
    all_run = threading.Barrier(3)

    def late_together(name: str) -> None:
        all_run.wait(PATIENCE)
        late(clock, world, name)

    saga = SagaAssembler.saga()
    for name in "abc":
        saga.operation((late_together, name), (world.undo, name), name=name)
    saga.operation((world.do, "d"), name="d", after=list("abc"))

    raised = failure_of(execute_graph, saga, deadline=HOUR)

    assert sorted(world.log[:3]) == ["a", "b", "c"]
    assert sorted(world.log[3:]) == ["undo a", "undo b", "undo c"]
    assert raised.operation_name == "d"


def test_it_does_not_wait_for_a_worker(execute_graph: Execute, world: World, clock: Clock) -> None:
    """What has no worker yet is never started."""
    saga = SagaAssembler.saga()
    for name in "abc":
        saga.operation((late, clock, world, name), (world.undo, name), name=name)

    raised = failure_of(execute_graph, saga, deadline=HOUR, max_workers=1)

    assert world.log == ["a", "undo a"]
    assert raised.operation_name == "b"


def test_it_does_not_limit_the_rollback(execute: Execute, world: World, clock: Clock) -> None:
    """What was done is undone, however long that takes, with all retries."""
    errors = [OSError(), OSError()]

    def undo() -> str:
        if errors:
            raise errors.pop()
        return world.undo("stock")

    soon = Retry(Exception, wait_initial=0.01, wait_jitter=0)
    saga = SagaAssembler.saga()
    saga.operation((late, clock, world, "stock"), undo, name="stock", compensation_retry=soon)

    failure_of(execute, saga, deadline=HOUR)

    assert world.standing == []


def test_a_compensation_has_all_the_time_it_needs(
    execute: Execute, world: World, clock: Clock
) -> None:
    """Nothing limits it, so `remaining()` is None: a request with a timeout of 0 would fail."""
    left: list[Any] = []

    def undo() -> None:
        left.append(current_operation().remaining())
        world.undo("stock")

    saga = SagaAssembler.saga().operation((late, clock, world, "stock"), undo, name="stock")

    failure_of(execute, saga, deadline=HOUR)

    assert left == [None]


def test_a_compensation_with_a_timeout_has_that(
    execute: Execute, world: World, clock: Clock
) -> None:
    """The operation's own limit counts, the deadline that has passed does not."""
    left: list[Any] = []

    def undo() -> None:
        left.append(current_operation().remaining())
        world.undo("stock")

    saga = SagaAssembler.saga().operation(
        (late, clock, world, "stock"), undo, name="stock", timeout=30 * HOUR
    )

    failure_of(execute, saga, deadline=HOUR)

    assert 29 * HOUR < left[0] <= 30 * HOUR


def test_a_deadline_that_passes_in_a_rollback_is_not_seen(
    execute: Execute, world: World, clock: Clock
) -> None:
    """The saga fails for the reason that it had."""

    def undo() -> None:
        clock.forward(2 * HOUR)
        world.undo("stock")

    saga = SagaAssembler.saga().operation((world.do, "stock"), undo, name="stock")
    saga.operation((world.fail, "charge", ValueError()), name="charge", after="stock")

    raised = failure_of(execute, saga, deadline=HOUR)

    assert isinstance(raised.operation_error, ValueError)
    assert world.log == ["stock", "charge", "undo stock"]


def test_a_deadline_that_passes_in_a_rollback_wakes_nobody(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compensation that waits for its next attempt is slept for once, and not in a hurry."""
    slept: list[float] = []
    busy = [OSError("busy")]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.forward(seconds)

    def undo() -> None:
        clock.forward(2 * HOUR)
        if busy:
            raise busy.pop()
        world.undo("stock")

    monkeypatch.setattr(clock_of_ours, "sleep", sleep)
    patient = Retry(OSError, attempts=2, wait_initial=5, wait_jitter=0)
    saga = SagaAssembler.saga(compensation_retry=patient)
    saga.operation((world.do, "stock"), undo, name="stock")
    saga.operation((world.fail, "charge", ValueError()), name="charge")

    with pytest.raises(SagaException):
        saga.orchestrator_execute(deadline=HOUR)

    assert world.log == ["stock", "charge", "undo stock"]
    assert len(slept) == 1


def test_a_timeout_within_the_deadline_is_the_operation_s(execute: Execute, world: World) -> None:
    """Each limit is told apart in the message."""
    gate = threading.Event()
    saga = SagaAssembler.saga().operation(
        (world.gate, "charge", gate), (world.undo, "charge"), name="charge", timeout=SOON
    )

    raised = failure_of(execute, saga, deadline=30)

    assert raised.operation_name == "charge"
    assert "took over" in str(raised)
    gate.set()


def test_a_coroutine_is_not_cancelled_by_the_deadline(execute_async: Execute, world: World) -> None:
    """Running calls are awaited and count."""

    async def charge() -> str:
        left = current_operation().remaining()
        assert left is not None
        await asyncio.sleep(left + 0.005)
        return world.do("charge")

    saga = SagaAssembler.saga().operation(charge, (world.undo, "charge"), name="charge")

    for seconds in (SOON, 1, 30):  # on a slow machine it may pass before the call begins
        failure_of(execute_async, saga, deadline=seconds)
        if world.log:
            break

    assert world.log == ["charge", "undo charge"]


def test_observers_see_the_end(execute: Execute, world: World, clock: Clock) -> None:
    """The rollback and its outcome."""
    watch = Watch()
    saga = SagaAssembler.saga(observers=[watch])
    saga.operation((late, clock, world, "stock"), (world.undo, "stock"), name="stock")

    failure_of(execute, saga, deadline=HOUR)

    assert watch.lines[-3:] == ["stock: compensating", "stock: compensated", "saga: saga ended"]
    assert watch.events[-1].outcome is SagaStatus.COMPENSATED


def test_errors_are_not_compared(execute: Execute, world: World, clock: Clock) -> None:
    """An operation that failed when the deadline had passed: its error is told, whatever it is."""

    class Odd(Exception):
        def __eq__(self, _: object) -> bool:
            raise AssertionError

        __hash__ = None  # type: ignore[assignment]

    odd = Odd()

    def charge() -> None:
        late(clock, world, "charge")
        raise odd

    saga = steps(world, "stock").operation(charge, name="charge", after="stock")

    raised = failure_of(execute, saga, deadline=HOUR)

    assert raised.operation_errors["charge"] is odd
    assert "deadline" in str(raised)
    assert "undo stock" in world.log


@pytest.mark.parametrize("wrong", [-1, -0.001, float("nan"), float("inf"), "5", True, [1]])
def test_what_is_no_number_of_seconds_is_refused(
    execute: Execute, world: World, wrong: Any
) -> None:
    """Before anything runs; the saga stays usable."""
    saga = steps(world, "stock")

    with pytest.raises(SagaDefinitionError, match=r"deadline: expected seconds"):
        execute(saga, deadline=wrong)

    assert world.log == []
    assert execute(saga) == ["STOCK"]
