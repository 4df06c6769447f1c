"""A test of the user's that stops the clock: what a saga has slept for has passed all the same."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from freezegun import freeze_time
from world import Execute, World, failure_of, in_time, steps

from py_api_saga import Retry, SagaAssembler, SagaException

SOON = 0.02  # seconds


@pytest.fixture(params=[False, True], ids=["all", "but asyncio's"])
def stopped(request: pytest.FixtureRequest) -> Iterator[None]:
    """Stop all clocks, or all but that of event loops."""
    with freeze_time("2026-11-29", real_asyncio=request.param):
        yield


def busy(world: World, times: int) -> Any:
    """Make a function that fails so many times before it takes effect."""

    def charge() -> str:
        if world.log.count("busy") < times:
            world.fail("busy", ConnectionRefusedError())
        return world.do("charge")

    return charge


def again(**options: Any) -> Retry:
    """Try again soon."""
    return Retry(ConnectionError, **{"wait_initial": SOON, "wait_jitter": 0, **options})


@pytest.mark.usefixtures("stopped")
def test_a_wait_for_the_next_attempt_ends(execute: Execute, world: World) -> None:
    """In each executor: it is slept for once, not for ever."""
    saga = SagaAssembler.saga().operation(busy(world, 2), retry=again())

    assert in_time(lambda: execute(saga)) == ["CHARGE"]
    assert world.log == ["busy", "busy", "charge"]


@pytest.mark.usefixtures("stopped")
def test_a_wait_in_which_something_ends_first_ends_as_well(
    execute_graph: Execute, world: World
) -> None:
    """What is told meanwhile shortens no wait, and lengthens none."""
    saga = steps(world, "other")
    saga.operation(busy(world, 1), retry=again(), name="charge")

    assert in_time(lambda: execute_graph(saga)) == ["OTHER", "CHARGE"]


@pytest.mark.usefixtures("stopped")
def test_the_time_of_a_retry_and_of_a_saga_passes(execute: Execute, world: World) -> None:
    """`Retry(timeout=)` and `deadline=` count what was slept for."""
    forever = again(attempts=None, wait_max=SOON, timeout=5 * SOON)
    saga = SagaAssembler.saga().operation(busy(world, 1000), retry=forever)
    in_time(lambda: failure_of(execute, saga))
    assert 2 <= len(world.log) <= 6

    forever = again(attempts=None, wait_max=SOON)
    saga = SagaAssembler.saga().operation(busy(world, 1000), retry=forever)
    error = in_time(lambda: failure_of(execute, saga, deadline=5 * SOON))
    assert "the deadline of the saga has passed" in str(error)


@pytest.mark.usefixtures("stopped")
def test_a_call_that_hangs_is_given_up(execute_sync: Execute, world: World) -> None:
    """`timeout=` of a plain function is slept for as well."""
    gate = threading.Event()
    saga = SagaAssembler.saga().operation(
        (world.gate, "charge", gate), (world.undo, "charge"), timeout=SOON
    )

    with pytest.raises(SagaException, match="took over") as caught:
        in_time(lambda: execute_sync(saga))
    gate.set()
    world.wait_for("charge")

    assert caught.value.operation_name == "gate"
