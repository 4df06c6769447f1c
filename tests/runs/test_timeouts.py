"""`timeout=`: an attempt that takes too long is given up, and may land all the same."""

import asyncio
import contextvars
import logging
import threading
import time
from typing import Any

import pytest
from world import PATIENCE, Execute, Watch, World, failure_of, output_of, statuses, steps

from py_api_saga import (
    NOT_HAPPENED,
    Event,
    Retry,
    SagaAssembler,
    SagaException,
    SagaStatus,
    SagaStuck,
    current_operation,
    result_of,
)

SHORT = 0.05  # seconds: what is to be in time does nothing, what is to be late waits for a gate
AT_ONCE = Retry(Exception, attempts=3, wait_initial=0, wait_jitter=0)


class CardDeclined(Exception):
    """The bank says no."""


@pytest.fixture
def gate() -> threading.Event:
    """Hold up what waits at it until it is set."""
    return threading.Event()


def join_stragglers(name: str = "charge") -> None:
    """Wait until the threads that calls with a timeout were given have ended."""
    for thread in threading.enumerate():
        if thread.name == f"saga {name}" and thread is not threading.current_thread():
            thread.join(PATIENCE)
            assert not thread.is_alive()


def late(
    world: World,
    gate: threading.Event,
    undo: Any = None,
    watch: Watch | None = None,
    **options: Any,
) -> SagaAssembler:
    """Make a saga whose second operation is late until the gate opens."""
    saga = steps(world, "stock", observers=[] if watch is None else [watch])
    undo = undo or (world.undo, "charge")
    return saga.operation(
        (world.gate, "charge", gate), undo, name="charge", after="stock", timeout=SHORT, **options
    )


# --- a plain function -----------------------------------------------------------------------------


def test_what_is_in_time_is_nothing_special(execute: Execute, world: World) -> None:
    """Its result counts, and its thread has ended."""
    saga = steps(world, "stock").operation((world.do, "charge"), after="stock", timeout=5)

    assert execute(saga) == ["STOCK", "CHARGE"]
    join_stragglers("do")


def test_what_fails_in_time_is_nothing_special(execute: Execute, world: World) -> None:
    """It is FAILED, without a doubt."""
    saga = steps(world, "stock")
    saga.operation(
        (world.fail, "charge", CardDeclined()), (world.undo, "charge"), name="charge",
        after="stock", timeout=5,
    )  # fmt: skip

    raised = failure_of(execute, saga)

    assert world.log == ["stock", "charge", "undo stock"]
    assert statuses(raised)["charge"] == "FAILED"


def test_each_attempt_has_the_whole_time(execute: Execute, world: World) -> None:
    """An attempt that failed in time is followed by another, with a time of its own."""
    left: list[float | None] = []

    def charge() -> str:
        left.append(current_operation().remaining())
        if len(left) < 3:
            raise CardDeclined
        return world.do("charge")

    saga = SagaAssembler.saga().operation(charge, timeout=5, retry=AT_ONCE)

    assert execute(saga) == ["CHARGE"]
    assert all(seconds is not None and 4 < seconds <= 5 for seconds in left)


def test_what_is_late_is_given_up_and_undone(
    execute: Execute, world: World, gate: threading.Event
) -> None:
    """It is in doubt: its own compensation runs first, and the saga does not wait for it."""
    raised = failure_of(execute, late(world, gate))

    assert world.log == ["stock", "charge begins", "undo charge", "undo stock"]
    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "COMPENSATED"}
    assert isinstance(raised.__cause__, TimeoutError)
    assert str(raised.__cause__) == f"the action of operation 'charge' took over {SHORT} s"
    assert raised.operation_name == "charge"
    gate.set()
    join_stragglers()


def test_it_is_not_called_again_while_it_lives(
    execute: Execute, world: World, gate: threading.Event
) -> None:
    """Two attempts at the same time would be worse than none, whatever the retry says."""
    failure_of(execute, late(world, gate, retry=AT_ONCE))

    assert world.log.count("charge begins") == 1
    gate.set()
    join_stragglers()


def test_it_runs_in_a_daemon_thread_with_a_copy_of_the_context(execute: Execute) -> None:
    """Context variables reach it; what is bound to a thread does not."""
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request")
    request.set("r-1")
    seen: list[Any] = []

    def look() -> None:
        seen.extend((request.get(), current_operation().operation))
        seen.append(threading.current_thread())

    execute(SagaAssembler.saga().operation(look, timeout=5))

    assert seen[:2] == ["r-1", "look"]
    assert seen[2].daemon
    assert seen[2] is not threading.main_thread()


def test_without_a_timeout_an_orchestrator_stays_in_its_thread() -> None:
    """Only a timeout needs a thread."""
    seen: list[Any] = []
    saga = SagaAssembler.saga().operation(lambda: seen.append(threading.current_thread()))

    saga.orchestrator_execute()

    assert seen == [threading.current_thread()]


def test_nothing_is_asked_while_it_lives(
    execute: Execute, world: World, gate: threading.Event
) -> None:
    """Nobody can say yet what it will have done: it is compensated."""

    def ask(*_: object) -> Any:
        world.note("asked")
        return NOT_HAPPENED

    failure_of(execute, late(world, gate, on_doubt=ask))

    assert world.log == ["stock", "charge begins", "undo charge", "undo stock"]
    gate.set()
    join_stragglers()


def test_it_is_asked_once_it_has_ended(
    execute_graph: Execute, world: World, gate: threading.Event
) -> None:
    """A straggler that failed while others still ran may be asked about."""

    def charge() -> None:
        world.note("charge begins")
        assert gate.wait(PATIENCE)
        raise CardDeclined

    def ask() -> Any:
        world.note("asked")
        return NOT_HAPPENED

    watch = Watch()

    def courier() -> str:
        watch.wait_for("in doubt", "charge")
        gate.set()
        join_stragglers()
        return world.do("courier")

    saga = SagaAssembler.saga(observers=[watch])
    saga.operation(charge, (world.undo, "charge"), name="charge", timeout=SHORT, on_doubt=ask)
    saga.operation(courier, (world.undo, "courier"), name="courier")

    raised = failure_of(execute_graph, saga)

    assert sorted(world.log[-2:]) == ["asked", "undo courier"]
    assert statuses(raised) == {"charge": "FAILED", "courier": "COMPENSATED"}


# --- late landings --------------------------------------------------------------------------------


class Keys:
    """The keys under which a compensation was called."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.keys: list[tuple[str, str, int]] = []

    def undo(self, name: str) -> str:
        """Undo, and note the ends of the keys."""
        it = current_operation()
        ends = [key.partition(f":{name}:")[2] for key in (it.idempotency_key, it.action_key)]
        self.keys.append((ends[0], ends[1], it.attempt))
        return self.world.undo(name)


ONCE = ("compensation", "action", 1)
TWICE = ("compensation:2", "action", 2)


def test_one_that_lands_while_in_doubt_has_succeeded(
    execute_graph: Execute, world: World, gate: threading.Event
) -> None:
    """Others still run: it is undone once, with its result, as if it had been in time."""
    watch, keys = Watch(), Keys(world)

    def courier() -> str:
        watch.wait_for("in doubt", "charge")
        gate.set()
        join_stragglers()
        return world.do("courier")

    undo = (lambda result: keys.undo(result.lower()), result_of())
    saga = SagaAssembler.saga(observers=[watch])
    saga.operation((world.gate, "charge", gate), undo, name="charge", timeout=SHORT)
    saga.operation(courier, (world.undo, "courier"), name="courier")

    raised = failure_of(execute_graph, saga)

    assert keys.keys == [ONCE]
    assert world.standing == []
    assert statuses(raised) == {"charge": "COMPENSATED", "courier": "COMPENSATED"}
    assert raised.operations["charge"].result == "CHARGE"
    assert isinstance(raised.__cause__, TimeoutError)
    assert len(watch.of("landed late")) == 1


def test_one_that_lands_while_it_is_compensated_is_compensated_once_more(
    execute: Execute, world: World, gate: threading.Event
) -> None:
    """After the running compensation, under the next generation of its key."""
    keys = Keys(world)

    def undo() -> str:
        undone = keys.undo("charge")
        if not gate.is_set():
            gate.set()
            join_stragglers_but_this()
        return undone

    def join_stragglers_but_this() -> None:
        world.wait_for("charge")
        for thread in threading.enumerate():
            if thread.name == "saga charge" and thread is not threading.current_thread():
                thread.join(PATIENCE)

    raised = failure_of(execute, late(world, gate, undo))

    assert world.log == [
        "stock", "charge begins", "undo charge", "charge", "undo charge", "undo stock",
    ]  # fmt: skip
    assert keys.keys == [ONCE, TWICE]
    assert world.standing == []
    assert type(raised) is SagaException


def test_one_that_lands_when_it_is_compensated_is_compensated_again(
    execute: Execute, world: World, gate: threading.Event
) -> None:
    """The run still goes on: it does it before it returns."""
    keys, watch = Keys(world), Watch()

    def undo_stock() -> str:
        gate.set()
        join_stragglers()
        return world.undo("stock")

    saga = SagaAssembler.saga(observers=[watch])
    saga.operation((world.do, "stock"), undo_stock, name="stock")
    saga.operation(
        (world.gate, "charge", gate), (keys.undo, "charge"), name="charge", after="stock",
        timeout=SHORT,
    )  # fmt: skip

    raised = failure_of(execute, saga)

    assert keys.keys == [ONCE, TWICE]
    assert world.standing == []
    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "COMPENSATED"}
    assert len(watch.of("saga ended")) == 1


def test_one_that_lands_after_the_run_is_compensated_by_its_own_thread(
    execute: Execute, world: World, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """Under the next generation of the key, with a warning in the log."""
    keys, watch = Keys(world), Watch()
    threads: list[str] = []

    def undo(name: str) -> str:
        threads.append(threading.current_thread().name)
        return keys.undo(name)

    raised = failure_of(execute, late(world, gate, (undo, "charge"), watch), saga_id="order-7")
    assert world.standing == []
    before, told = len(watch.events), (str(raised), dict(raised.operations))

    with caplog.at_level(logging.WARNING, "py_api_saga"):
        gate.set()
        join_stragglers()

    assert world.log[-2:] == ["charge", "undo charge"]
    assert world.standing == []
    assert keys.keys == [ONCE, TWICE]
    if not execute.__name__.startswith("a"):
        assert threads[-1] == "saga charge"
    assert "saga order-7: operation charge: landed late" in caplog.messages
    assert [(e.kind, e.operation) for e in watch.events[before:]] == [
        ("landed late", "charge"),
        ("compensating", "charge"),
        ("compensated", "charge"),
        ("saga ended", None),
    ]
    assert watch.events[-1].outcome is SagaStatus.COMPENSATED
    assert raised.outcome is SagaStatus.COMPENSATED
    assert (str(raised), dict(raised.operations)) == told  # a picture of what was raised


def test_a_compensation_that_fails_after_the_run_is_stuck_in_the_log(
    execute: Execute, world: World, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is there to catch an exception any more, so the log must have it."""
    watch = Watch()

    def undo() -> None:
        world.note("undo charge")
        if gate.is_set():
            raise OSError

    failure_of(execute, late(world, gate, undo, watch))

    with caplog.at_level(logging.ERROR, "py_api_saga"):
        gate.set()
        join_stragglers()

    assert "operation charge: stuck (OSError)" in caplog.text
    assert watch.events[-1].outcome is SagaStatus.STUCK


def test_one_that_lands_after_the_run_needs_no_loop(
    execute_async: Execute, world: World, gate: threading.Event
) -> None:
    """A compensation that is a coroutine function is run in a loop of the straggler's own."""

    async def undo() -> None:
        await asyncio.sleep(0)
        world.undo("charge")

    failure_of(execute_async, late(world, gate, undo))

    gate.set()
    join_stragglers()

    assert world.log[-2:] == ["charge", "undo charge"]
    assert world.standing == []


def test_one_that_lands_while_the_run_is_summed_up_waits(
    execute: Execute, world: World, gate: threading.Event
) -> None:
    """Only one thread at a time drives a run: the straggler's turn comes when it has ended."""
    watch = Watch()

    def release(event: Event) -> None:
        if event.kind == "saga ended" and not gate.is_set():
            gate.set()
            world.wait_for("charge")
            time.sleep(0.02)  # time enough to land, if it did not wait

    saga = SagaAssembler.saga(observers=[release, watch])
    saga.operation(
        (world.gate, "charge", gate), (world.undo, "charge"), name="charge", timeout=SHORT
    )

    raised = failure_of(execute, saga)
    join_stragglers()

    assert raised.operations["charge"].result is None
    assert statuses(raised) == {"charge": "COMPENSATED"}
    kinds = [event.kind for event in watch.events]
    assert kinds[-5:] == ["saga ended", "landed late", "compensating", "compensated", "saga ended"]
    assert world.standing == []


def test_several_that_land_after_the_run_are_each_compensated(
    execute_graph: Execute, world: World, gate: threading.Event
) -> None:
    """One after the other, whoever comes first."""
    watch = Watch()
    saga = SagaAssembler.saga(observers=[watch])
    for name in "abcd":
        action = (world.gate, name, gate)
        saga.operation(action, (world.undo, name), name=name, timeout=SHORT)

    failure_of(execute_graph, saga)
    assert world.standing == []
    gate.set()
    for name in "abcd":
        join_stragglers(name)

    assert world.standing == []
    assert len(watch.of("landed late")) == 4
    assert len(watch.of("compensated")) == 8


def test_one_that_fails_late_changes_nothing(
    execute: Execute, world: World, gate: threading.Event
) -> None:
    """Doubt stays doubt: it was compensated, and that was all."""
    watch = Watch()

    def charge() -> None:
        assert gate.wait(PATIENCE)
        raise CardDeclined

    saga = steps(world, "stock", observers=[watch])
    saga.operation(charge, (world.undo, "charge"), name="charge", after="stock", timeout=SHORT)

    raised = failure_of(execute, saga)
    events = len(watch.events)
    gate.set()
    join_stragglers()

    assert world.log == ["stock", "undo charge", "undo stock"]
    assert len(watch.events) == events
    assert isinstance(raised.operation_error, TimeoutError)


@pytest.mark.parametrize("interrupt", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_one_that_is_interrupted_late_changes_nothing(
    execute_sync: Execute, world: World, gate: threading.Event, interrupt: type[BaseException]
) -> None:
    """It ends in its own thread, in silence."""

    def charge() -> None:
        assert gate.wait(PATIENCE)
        raise interrupt

    saga = steps(world, "stock")
    saga.operation(charge, (world.undo, "charge"), name="charge", after="stock", timeout=SHORT)

    failure_of(execute_sync, saga)
    gate.set()
    join_stragglers()

    assert world.log == ["stock", "undo charge", "undo stock"]


def test_one_without_a_compensation_is_only_recorded(
    execute: Execute, world: World, gate: threading.Event
) -> None:
    """There is nothing to call; it was SKIPPED, and its effect stands."""
    watch = Watch()
    saga = SagaAssembler.saga(observers=[watch])
    saga.operation((world.gate, "charge", gate), name="charge", timeout=SHORT)

    raised = failure_of(execute, saga)
    gate.set()
    join_stragglers()

    assert statuses(raised) == {"charge": "SKIPPED"}
    assert world.standing == ["charge"]
    assert watch.events[-1].kind == "landed late"


@pytest.mark.parametrize("how", ["parked", "needs its result"])
def test_one_that_is_stuck_is_only_recorded(
    execute: Execute, world: World, gate: threading.Event, how: str
) -> None:
    """A person will decide."""
    if how == "parked":
        saga = late(world, gate, on_doubt="park")
    else:
        saga = late(world, gate, (world.undo, result_of()))

    raised = failure_of(execute, saga)
    gate.set()
    join_stragglers()

    assert isinstance(raised, SagaStuck)
    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "STUCK"}
    assert world.log == ["stock", "charge begins", "undo stock", "charge"]


def test_a_nested_saga_may_be_late(execute: Execute, world: World, gate: threading.Event) -> None:
    """It completes in the straggler's thread, and is then undone as a whole by its compensation."""

    def order() -> None:
        inner = steps(world, "inner").operation((world.gate, "pay", gate), (world.undo, "pay"))
        inner.orchestrator_execute()

    def undo() -> None:
        world.undo("pay")
        world.undo("inner")

    saga = SagaAssembler.saga().operation(order, undo, name="charge", timeout=SHORT)

    failure_of(execute, saga)
    gate.set()
    join_stragglers()

    assert world.standing == []


# --- compensations --------------------------------------------------------------------------------


def slow_undo(world: World, gate: threading.Event, watch: Watch | None = None) -> SagaAssembler:
    """Make a failing saga whose second operation is undone late."""

    def undo() -> str:
        world.note("undo charge begins")
        assert gate.wait(PATIENCE)
        return world.undo("charge")

    saga = steps(world, "stock", observers=[] if watch is None else [watch])
    saga.operation((world.do, "charge"), undo, name="charge", after="stock", timeout=SHORT)
    return saga.operation((world.fail, "courier", CardDeclined()), name="courier", after="charge")


def test_a_compensation_that_is_late_is_stuck(
    execute: Execute, world: World, gate: threading.Event
) -> None:
    """It is not called again, since it may still be running; the others go on."""
    raised = failure_of(execute, slow_undo(world, gate))

    assert isinstance(raised, SagaStuck)
    assert world.log == ["stock", "charge", "courier", "undo charge begins", "undo stock"]
    assert statuses(raised)["charge"] == "STUCK"
    assert isinstance(raised.stuck["charge"], TimeoutError)
    assert "the compensation of operation 'charge'" in str(raised.stuck["charge"])
    assert isinstance(raised.operation_error, CardDeclined)
    gate.set()
    join_stragglers()


def test_a_compensation_that_lands_while_the_run_goes_on_has_undone(
    execute: Execute, world: World, gate: threading.Event
) -> None:
    """Then nothing is stuck any more."""

    def undo_stock() -> str:
        gate.set()
        join_stragglers()
        return world.undo("stock")

    def undo_charge() -> str:
        assert gate.wait(PATIENCE)
        return world.undo("charge")

    saga = SagaAssembler.saga()
    saga.operation((world.do, "stock"), undo_stock, name="stock")
    saga.operation((world.do, "charge"), undo_charge, name="charge", after="stock", timeout=SHORT)
    saga.operation((world.fail, "courier", CardDeclined()), after="charge")

    raised = failure_of(execute, saga)

    assert type(raised) is SagaException
    assert statuses(raised)["charge"] == "COMPENSATED"
    assert raised.stuck == {}
    assert sorted(raised.compensation_success_result or []) == ["charge undone", "stock undone"]
    assert raised.compensation_errors is None


def test_a_compensation_that_lands_after_the_run_is_told_to_observers(
    execute: Execute, world: World, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller has been told that it was stuck; the log says that it no longer is."""
    watch = Watch()
    raised = failure_of(execute, slow_undo(world, gate, watch))
    assert isinstance(raised, SagaStuck)
    events = len(watch.events)

    with caplog.at_level(logging.WARNING, "py_api_saga"):
        gate.set()
        join_stragglers()

    assert world.standing == []
    told = [(event.kind, event.operation) for event in watch.events[events:]]
    assert told == [("landed late", "charge"), ("compensated", "charge"), ("saga ended", None)]
    assert watch.events[-1].outcome is SagaStatus.COMPENSATED
    assert "landed late" in caplog.text


def test_a_compensation_that_fails_late_stays_stuck(
    execute: Execute, world: World, gate: threading.Event
) -> None:
    """Nothing has changed."""

    def undo() -> None:
        assert gate.wait(PATIENCE)
        raise OSError

    watch = Watch()
    saga = SagaAssembler.saga(observers=[watch])
    saga.operation((world.do, "charge"), undo, name="charge", timeout=SHORT)
    saga.operation((world.fail, "courier", CardDeclined()), after="charge")

    raised = failure_of(execute, saga)
    events = len(watch.events)
    gate.set()
    join_stragglers()

    assert isinstance(raised.stuck["charge"], TimeoutError)
    assert len(watch.events) == events


def test_a_question_that_takes_too_long_is_not_answered(
    execute: Execute, world: World, gate: threading.Event
) -> None:
    """Nobody knows, so it is compensated."""

    def charge() -> None:
        world.do("charge")
        raise TimeoutError

    def ask() -> Any:
        assert gate.wait(PATIENCE)
        return NOT_HAPPENED

    saga = SagaAssembler.saga()
    saga.operation(charge, (world.undo, "charge"), name="charge", timeout=SHORT, on_doubt=ask)

    failure_of(execute, saga)
    gate.set()
    join_stragglers()

    assert world.log == ["charge", "undo charge"]


# --- coroutines -----------------------------------------------------------------------------------


async def forever(world: World, name: str) -> str:
    """Wait until it is cancelled, then clean up, which takes a while."""
    world.note(f"{name} begins")
    try:
        await asyncio.Event().wait()
    finally:
        for _ in range(3):
            await asyncio.sleep(0)
        world.note(f"{name} cleaned up")
    return world.do(name)


def test_a_coroutine_is_cancelled_and_awaited(execute_async: Execute, world: World) -> None:
    """It has cleaned up before anything is undone; it is in doubt all the same."""
    saga = steps(world, "stock")
    saga.operation(
        (forever, world, "charge"), (world.undo, "charge"), name="charge", after="stock",
        timeout=SHORT,
    )  # fmt: skip

    raised = failure_of(execute_async, saga)

    assert world.log == [
        "stock", "charge begins", "charge cleaned up", "undo charge", "undo stock",
    ]  # fmt: skip
    assert isinstance(raised.__cause__, TimeoutError)
    assert str(raised.__cause__) == f"the action of operation 'charge' took over {SHORT} s"


def test_a_coroutine_may_be_tried_again(execute_async: Execute, world: World) -> None:
    """Unlike a thread it has ended; its doubt is sticky."""
    saga = SagaAssembler.saga()
    saga.operation((forever, world, "charge"), (world.undo, "charge"), timeout=SHORT, retry=AT_ONCE)

    failure_of(execute_async, saga)

    assert world.log == [
        "charge begins" if n % 2 == 0 else "charge cleaned up" for n in range(6)
    ] + ["undo charge"]


def test_a_coroutine_may_succeed_the_second_time(execute_async: Execute, world: World) -> None:
    """Then all is well."""
    calls: list[int] = []

    async def charge() -> str:
        calls.append(current_operation().attempt)
        if len(calls) == 1:
            await asyncio.Event().wait()
        return world.do("charge")

    saga = SagaAssembler.saga().operation(charge, timeout=SHORT, retry=AT_ONCE)

    assert execute_async(saga) == ["CHARGE"]
    assert calls == [1, 2]


def test_a_coroutine_that_returns_though_cancelled_has_succeeded(
    execute_async: Execute, world: World
) -> None:
    """It knows better than the clock."""

    async def charge() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return world.do("charge")
        raise AssertionError

    assert execute_async(SagaAssembler.saga().operation(charge, timeout=SHORT)) == ["CHARGE"]


def test_a_coroutine_that_fails_when_cancelled_is_in_doubt(
    execute_async: Execute, world: World
) -> None:
    """Its error is the cause of ours, which says that time was up."""

    async def charge() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise CardDeclined from None
        raise AssertionError

    saga = SagaAssembler.saga().operation(charge, (world.undo, "charge"), timeout=SHORT)

    raised = failure_of(execute_async, saga)

    assert isinstance(raised.operation_error, TimeoutError)
    assert isinstance(raised.operation_error.__cause__, CardDeclined)
    assert world.log == ["undo charge"]


def test_doubtful_nothing_does_not_unmake_a_timeout_of_ours(
    execute: Execute, world: World, gate: threading.Event
) -> None:
    """`doubtful=` is about what the action raises; who was cut off has not said anything."""
    failure_of(execute, late(world, gate, doubtful=()))

    assert world.log[-2:] == ["undo charge", "undo stock"]
    gate.set()
    join_stragglers()


def test_doubtful_nothing_does_not_unmake_a_coroutine_s_timeout(
    execute_async: Execute, world: World
) -> None:
    """The same."""
    saga = SagaAssembler.saga().operation(
        (forever, world, "charge"), (world.undo, "charge"), timeout=SHORT, doubtful=()
    )

    failure_of(execute_async, saga)

    assert world.log[-1] == "undo charge"


def test_a_coroutine_that_undoes_too_slowly_is_stuck(execute_async: Execute, world: World) -> None:
    """It was cancelled and awaited; the others go on."""
    saga = steps(world, "stock")
    saga.operation(
        (world.do, "charge"), (forever, world, "undo charge"), name="charge", after="stock",
        timeout=SHORT,
    )  # fmt: skip
    saga.operation((world.fail, "courier", CardDeclined()), after="charge")

    raised = failure_of(execute_async, saga)

    assert world.log[-3:] == ["undo charge begins", "undo charge cleaned up", "undo stock"]
    assert isinstance(raised.stuck["charge"], TimeoutError)


def test_other_coroutines_go_on_while_one_is_late(world: World) -> None:
    """In a graph the one beside it ends well, and is then undone."""

    async def stock() -> str:
        await asyncio.to_thread(world.wait_for, "charge cleaned up")
        return world.do("stock")

    saga = SagaAssembler.saga()
    saga.operation(stock, (world.undo, "stock"), name="stock")
    saga.operation((forever, world, "charge"), (world.undo, "charge"), timeout=SHORT)

    failure_of(lambda it: asyncio.run(it.achoreography_execute()), saga)

    assert world.log[:3] == ["charge begins", "charge cleaned up", "stock"]
    assert world.standing == []


# --- the end of the process -----------------------------------------------------------------------

EXIT = """
    import asyncio, threading
    from py_api_saga import SagaAssembler, SagaException

    def sleep():
        threading.Event().wait()

    saga = SagaAssembler.saga().operation(sleep, (print, "undone"), timeout=0.05)
    try:
        {run}
    except SagaException as error:
        print(type(error.__cause__).__name__)
    print("threads:", sum(thread.name == "saga sleep" for thread in threading.enumerate()))
"""


@pytest.mark.parametrize(
    "run",
    [
        "saga.orchestrator_execute()",
        "saga.choreography_execute()",
        "asyncio.run(saga.aorchestrator_execute())",
        "asyncio.run(saga.achoreography_execute())",
    ],
)
def test_a_straggler_does_not_keep_the_process_from_exiting(run: str) -> None:
    """It is a daemon thread, which ends with the process."""
    assert output_of(EXIT.format(run=run)) == ["undone", "TimeoutError", "threads: 1"]
