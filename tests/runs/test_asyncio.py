"""Under asyncio: cancellation rolls back, the loop is never blocked, and nothing is left in it."""

import asyncio
import contextvars
import gc
import inspect
import random
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
import pytest
from world import PATIENCE, World, failure_of, script, steps

from py_api_saga import (
    Retry,
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    current_operation,
    result_of,
)

METHODS = ["aorchestrator_execute", "achoreography_execute"]
AT_ONCE = Retry(Exception, attempts=3, wait_initial=0, wait_jitter=0)


class CardDeclined(Exception):
    """The bank says no."""


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    """Name one way to run a saga."""
    return str(request.param)


def start(saga: SagaAssembler, method: str) -> Coroutine[Any, Any, Any]:
    """Start a run in one of the ways."""
    run: Coroutine[Any, Any, Any] = getattr(saga, method)()
    return run


async def turns(count: int = 5) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(true: Callable[[], bool]) -> None:
    """Let the loop turn until something is true."""
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 - it may come true in a thread
            await asyncio.sleep(0.001)


def alone() -> bool:
    """Tell whether no task but this one is left in the loop."""
    return asyncio.all_tasks() == {asyncio.current_task()}


class Steps:
    """Coroutine functions that change a world, over several turns of the loop."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def do(self, name: str) -> str:
        """Take effect."""
        await turns()
        return self.world.do(name)

    async def undo(self, name: str, gate: asyncio.Event | None = None) -> str:
        """Take it back, in several turns."""
        self.world.note(f"undo {name} begins")
        await turns()
        if gate is not None:
            await gate.wait()
        return self.world.undo(name)

    async def hang(self, name: str) -> None:
        """Take effect, but never return."""
        self.world.do(name)
        await asyncio.Event().wait()

    async def wait(self, name: str, gate: asyncio.Event) -> str:
        """Wait until a gate is opened, then take effect."""
        self.world.note(f"{name} begins")
        await gate.wait()
        return self.world.do(name)


@pytest.fixture
def later(world: World) -> Steps:
    """Give coroutine functions."""
    return Steps(world)


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Await a task that must end as cancelled."""
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    await turns(2)
    assert alone()


# --- cancellation ---------------------------------------------------------------------------------


def test_cancelling_a_chain_cancels_the_coroutine_that_runs(world: World, later: Steps) -> None:
    """It is in doubt, so it is undone first; then what was done before it."""

    async def main() -> None:
        saga = SagaAssembler.saga().operation((later.do, "stock"), (later.undo, "stock"))
        saga.operation((later.hang, "charge"), (later.undo, "charge"))
        saga.operation((later.do, "courier"))
        task = asyncio.create_task(saga.aorchestrator_execute())
        await until(lambda: "charge" in world.log)
        task.cancel()
        await cancelled(task)

    asyncio.run(main())

    assert [line for line in world.log if "begins" not in line] == [
        "stock", "charge", "undo charge", "undo stock",
    ]  # fmt: skip


def test_cancelling_a_graph_awaits_what_runs(world: World, later: Steps) -> None:
    """Its outcome counts, and what comes after it is not started."""

    async def main() -> None:
        gate = asyncio.Event()
        saga = SagaAssembler.saga()
        saga.operation((later.wait, "a", gate), (world.undo, "a"), name="a")
        saga.operation((later.wait, "b", gate), (world.undo, result_of()), name="b")
        saga.operation((later.do, "c"), after=["a", "b"])
        task = asyncio.create_task(saga.achoreography_execute())
        await until(lambda: len(world.log) == 2)
        task.cancel()
        await turns(10)
        assert not task.done()
        gate.set()
        await cancelled(task)

    asyncio.run(main())

    assert world.log[:4] == ["a begins", "b begins", "a", "b"]
    assert sorted(world.log[4:]) == ["undo B", "undo a"]


def test_a_function_in_a_thread_is_awaited(world: World, method: str) -> None:
    """A thread can't be cancelled: its outcome counts."""
    gate = threading.Event()

    async def main() -> None:
        saga = steps(world, "stock")
        saga.operation(
            (world.gate, "charge", gate), (world.undo, "charge"), name="charge", after="stock"
        )
        saga.operation((world.do, "courier"), after="charge")
        task = asyncio.create_task(start(saga, method))
        await until(lambda: "charge begins" in world.log)
        task.cancel()
        await turns(10)
        task.cancel()
        await turns(10)
        assert not task.done()
        gate.set()
        await cancelled(task)

    asyncio.run(main())

    assert world.log == ["stock", "charge begins", "charge", "undo charge", "undo stock"]


def test_cancelling_ends_the_wait_for_a_retry(world: World, method: str) -> None:
    """At once."""
    hour = Retry(Exception, wait_initial=3600, wait_max=3600, wait_jitter=0)

    async def main() -> None:
        saga = steps(world, "stock")
        saga.operation((world.fail, "charge", CardDeclined()), after="stock", retry=hour)
        task = asyncio.create_task(start(saga, method))
        await until(lambda: "charge" in world.log)
        await asyncio.sleep(0.02)
        task.cancel()
        await cancelled(task)

    asyncio.run(main())

    assert world.log == ["stock", "charge", "undo stock"]


def test_a_rollback_outlasts_any_number_of_cancellations(
    world: World, later: Steps, method: str
) -> None:
    """It is a task of its own, and is undone to its end whatever happens to the caller."""

    async def main() -> None:
        gate = asyncio.Event()
        saga = SagaAssembler.saga()
        for name, after in (("a", ()), ("b", "a"), ("c", "b")):
            saga.operation((later.do, name), (later.undo, name, gate), name=name, after=after)
        saga.operation((world.fail, "d", CardDeclined()), after="c")
        task = asyncio.create_task(start(saga, method))
        await until(lambda: "undo c begins" in world.log)
        for _ in range(100):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        gate.set()
        await cancelled(task)
        assert task.cancelling() == 100

    asyncio.run(main())

    assert world.standing == []
    assert [line for line in world.log if "undo" in line and "begins" not in line] == [
        "undo c", "undo b", "undo a",
    ]  # fmt: skip


def test_a_cancelled_rollback_raises_the_cancellation(
    world: World, later: Steps, method: str
) -> None:
    """Not the SagaException: whoever has cancelled must see that it was heard."""

    async def main() -> None:
        gate = asyncio.Event()
        saga = SagaAssembler.saga().operation((later.do, "a"), (later.undo, "a", gate), name="a")
        saga.operation((world.fail, "b", CardDeclined()), after="a")
        task = asyncio.create_task(start(saga, method))
        await until(lambda: "undo a begins" in world.log)
        task.cancel("enough")
        await turns()
        gate.set()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.args == ("enough",)

    asyncio.run(main())

    assert world.standing == []


def test_cancelled_twice_while_it_runs(world: World, later: Steps, method: str) -> None:
    """The second cancellation comes while the first one is being handled."""

    async def main() -> None:
        async def charge() -> None:
            try:
                world.do("charge")
                await asyncio.sleep(0.02)
            finally:
                await turns(5)

        saga = steps(world, "stock").operation(charge, (later.undo, "charge"), after="stock")
        task = asyncio.create_task(start(saga, method))
        await until(lambda: "charge" in world.log)
        task.cancel()
        await turns(2)
        task.cancel()
        await cancelled(task)

    asyncio.run(main())

    assert world.standing == []


def test_uncancel_is_not_called(world: World, later: Steps, method: str) -> None:
    """The count of cancellations is the caller's: timeouts and groups rely on it."""
    counts: list[int] = []

    async def main() -> None:
        gate = asyncio.Event()

        async def caller() -> None:
            try:
                saga = steps(world, "stock")
                saga.operation((later.wait, "charge", gate), (later.undo, "charge"), after="stock")
                await start(saga, method)
            finally:
                task = asyncio.current_task()
                assert task is not None
                counts.append(task.cancelling())

        task = asyncio.create_task(caller())
        await until(lambda: "charge begins" in world.log)
        task.cancel()
        await turns(3)
        task.cancel()
        gate.set()
        await cancelled(task)

    asyncio.run(main())

    assert counts == [2]
    assert world.standing == []


def test_a_cancellation_between_two_operations(world: World, later: Steps, method: str) -> None:
    """An action that cancels its own task: it is heard at the next turn of the loop."""

    async def main() -> None:
        tasks: list[asyncio.Task[Any]] = []

        async def charge() -> str:
            tasks[0].cancel()
            return world.do("charge")

        saga = SagaAssembler.saga().operation(charge, (later.undo, "charge"))
        saga.operation((later.do, "courier"), (later.undo, "courier"), after="charge")
        tasks.append(asyncio.create_task(start(saga, method)))
        await cancelled(tasks[0])

    asyncio.run(main())

    assert world.standing == []


def test_a_saga_that_was_cancelled_can_run_again(world: World, later: Steps, method: str) -> None:
    """Nothing of the first run is left in it."""

    async def main() -> None:
        gate = asyncio.Event()
        saga = steps(world, "stock")
        saga.operation((later.wait, "charge", gate), (later.undo, "charge"), after="stock")
        task = asyncio.create_task(start(saga, method))
        await until(lambda: "charge begins" in world.log)
        task.cancel()
        gate.set()
        await cancelled(task)
        assert world.standing == []
        assert await start(saga, method) == ["STOCK", "CHARGE"]
        assert alone()

    asyncio.run(main())


# --- scopes ---------------------------------------------------------------------------------------


def slow(world: World, later: Steps) -> SagaAssembler:
    """Make a saga that takes longer than any scope, but ends when it is cancelled.

    However late that is on a busy machine: with all at once nobody ends what hangs.
    """

    async def charge() -> str:
        world.do("charge")
        while not any(task.cancelling() for task in asyncio.all_tasks()):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        return "paid"

    saga = SagaAssembler.saga()
    saga.operation((later.do, "stock"), (later.undo, "stock"), name="stock")
    saga.operation(charge, (later.undo, "charge"), after="stock")
    return saga.operation((later.hang, "courier"), (later.undo, "courier"), after="charge")


async def within_asyncio_timeout(run: Coroutine[Any, Any, Any], seconds: float) -> None:
    """Use the standard library's scope."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await run


async def within_wait_for(run: Coroutine[Any, Any, Any], seconds: float) -> None:
    """Use its older form."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(run, seconds)


async def within_move_on_after(run: Coroutine[Any, Any, Any], seconds: float) -> None:
    """Use a scope that cancels at every turn of the loop."""
    with anyio.move_on_after(seconds) as scope:
        await run
    assert scope.cancelled_caught


async def within_fail_after(run: Coroutine[Any, Any, Any], seconds: float) -> None:
    """Use a scope that raises at its end."""
    with pytest.raises(TimeoutError):
        with anyio.fail_after(seconds):
            await run


async def within_a_cancelled_scope(run: Coroutine[Any, Any, Any], seconds: float) -> None:
    """Use a scope that is cancelled from outside."""
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_later(seconds, scope.cancel)
        await run
    assert scope.cancelled_caught


async def within_nested_scopes(run: Coroutine[Any, Any, Any], seconds: float) -> None:
    """Use two kinds in one another, the inner one of which has time left.

    If both end in one turn of the loop, these two let the cancellation out, whatever they hold.
    """
    with anyio.move_on_after(seconds) as scope:
        async with asyncio.timeout(seconds + PATIENCE):
            await run
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    "scope",
    [
        within_asyncio_timeout,
        within_wait_for,
        within_move_on_after,
        within_fail_after,
        within_a_cancelled_scope,
        within_nested_scopes,
    ],
)
def test_a_scope_that_ends_undoes_first(
    world: World,
    later: Steps,
    method: str,
    scope: Callable[[Coroutine[Any, Any, Any], float], Awaitable[None]],
) -> None:
    """Whatever kind it is: when it is left nothing stands, and code behind it may await."""

    async def main(seconds: float) -> None:
        await scope(start(slow(world, later), method), seconds)
        world.note("behind the scope")
        await turns()
        assert alone()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    for seconds in (0.02, 1, 30):  # on a busy machine it may end before there is an effect
        world.log.clear()
        asyncio.run(main(seconds))
        if "stock" in world.log:
            break

    assert world.standing == []
    assert world.log[-1] == "behind the scope"
    assert "undo stock" in world.log


def test_a_task_group_that_fails_undoes_first(world: World, later: Steps, method: str) -> None:
    """A sibling's error cancels the saga, which is undone before the group is left."""

    async def main() -> None:
        async def sibling() -> None:
            await until(lambda: "charge" in world.log)
            raise LookupError

        async def grouped() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(start(slow(world, later), method))
                group.create_task(sibling())

        with pytest.raises(ExceptionGroup) as caught:
            await grouped()
        assert isinstance(caught.value.exceptions[0], LookupError)
        assert world.standing == []
        assert alone()

    asyncio.run(main())


def test_a_group_of_anyio_that_fails_undoes_first(world: World, later: Steps, method: str) -> None:
    """The same."""

    async def main() -> None:
        async def sibling() -> None:
            await until(lambda: "charge" in world.log)
            raise LookupError

        async def grouped() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(start, slow(world, later), method)
                group.start_soon(sibling)

        with pytest.raises(ExceptionGroup):
            await grouped()
        assert world.standing == []
        assert alone()

    asyncio.run(main())


def test_a_scope_around_a_single_action(world: World, later: Steps, method: str) -> None:
    """A timeout that an action sets for itself is its own affair: a TimeoutError, so a doubt."""

    async def charge() -> None:
        async with asyncio.timeout(0.01):
            await later.hang("charge")

    saga = steps(world, "stock").operation(charge, (later.undo, "charge"), after="stock")

    raised = failure_of(lambda it: asyncio.run(start(it, method)), saga)

    assert isinstance(raised.operation_error, TimeoutError)
    assert world.standing == []


# --- the loop -------------------------------------------------------------------------------------


def test_functions_do_not_block_the_loop(world: World, method: str) -> None:
    """Actions and compensations that are plain run in threads, while the loop turns."""
    ticks: list[str] = []

    def wait(name: str) -> None:
        before = len(ticks)
        deadline = time.monotonic() + PATIENCE
        while len(ticks) < before + 3:  # the loop must tick while this blocks its thread
            assert time.monotonic() < deadline
            time.sleep(0.001)
        world.note(name)

    async def tick() -> None:
        while True:
            ticks.append("tick")
            await asyncio.sleep(0.001)

    async def main() -> None:
        ticking = asyncio.create_task(tick())
        saga = SagaAssembler.saga().operation((wait, "stock"), (wait, "undo stock"), name="stock")
        saga.operation((world.fail, "charge", CardDeclined()), after="stock")
        with pytest.raises(SagaException):
            await start(saga, method)
        ticking.cancel()

    asyncio.run(main())

    assert world.log == ["stock", "charge", "undo stock"]


def test_functions_run_in_threads_with_the_context(method: str) -> None:
    """Context variables of the caller are there, and the operation is known."""
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request")
    seen: list[Any] = []

    def look() -> None:
        seen.append((request.get(), current_operation().operation))
        seen.append(threading.current_thread())

    async def look_later() -> None:
        seen.append((request.get(), current_operation().operation))
        await asyncio.sleep(0)
        seen.append(threading.current_thread())

    async def main() -> None:
        request.set("r-1")
        saga = SagaAssembler.saga().operation(look).operation(look_later, after="look")
        await start(saga, method)
        with pytest.raises(LookupError):
            current_operation()

    asyncio.run(main())

    assert seen[0] == ("r-1", "look")
    assert seen[1] is not threading.main_thread()
    assert seen[2] == ("r-1", "look_later")
    assert seen[3] is threading.main_thread()


def test_concurrent_tasks_keep_their_contexts(method: str) -> None:
    """Two requests in one loop, with the same saga, never see each other's variables or results."""
    request: contextvars.ContextVar[int] = contextvars.ContextVar("request")

    async def first() -> int:
        await asyncio.sleep(0)
        return request.get()

    async def second(number: int) -> tuple[int, int, Any]:
        await asyncio.sleep(0)
        return number, request.get(), current_operation().results["first"]

    saga = SagaAssembler.saga().operation(first).operation((second, result_of("first")))

    async def handle(number: int) -> Any:
        request.set(number)
        return await start(saga, method)

    async def main() -> None:
        answers = await asyncio.gather(*[handle(number) for number in range(100)])
        assert answers == [[n, (n, n, n)] for n in range(100)]

    asyncio.run(main())


@pytest.mark.parametrize("end", ["well", "failure", "stuck", "timeout"])
def test_nothing_is_left_in_the_loop(world: World, later: Steps, method: str, end: str) -> None:
    """However it ends, no task is left behind, also none that has yet to be cleaned up."""

    async def main() -> None:
        saga = SagaAssembler.saga()
        undo: Any = (world.fail, "", OSError()) if end == "stuck" else (later.undo, "stock")
        saga.operation((later.do, "stock"), undo, name="stock")
        if end == "timeout":
            saga.operation((later.hang, "charge"), after="stock", timeout=0.01)
        elif end != "well":
            saga.operation((world.fail, "charge", CardDeclined()), after="stock")
        try:
            await start(saga, method)
        except SagaException:
            assert end != "well"
        assert alone()

    asyncio.run(main())


def test_everything_ready_runs_at_once() -> None:
    """A hundred coroutines, each of which waits until all have begun."""

    async def main() -> None:
        begun: list[int] = []

        async def meet(number: int) -> int:
            begun.append(number)
            await until(lambda: len(begun) == 100)
            return number

        saga = SagaAssembler.saga()
        for number in range(100):
            saga.operation((meet, number))
        assert await saga.achoreography_execute() == list(range(100))

    asyncio.run(main())


def test_at_most_max_workers_run_at_once() -> None:
    """Also of coroutines, and also in the rollback."""
    running: list[int] = []
    most: list[int] = []

    async def work(number: int) -> None:
        running.append(number)
        most.append(len(running))
        await turns()
        running.remove(number)

    async def fail() -> None:
        raise CardDeclined

    saga = SagaAssembler.saga()
    for number in range(10):
        saga.operation((work, number), (work, number), name=f"n{number}")
    saga.operation(fail, after=[f"n{number}" for number in range(10)])

    failure_of(lambda it: asyncio.run(it.achoreography_execute(max_workers=3)), saga)

    assert max(most) == 3
    assert len(most) == 20


def test_one_at_a_time_in_a_chain() -> None:
    """The next one starts when the one before has ended."""
    log: list[str] = []

    async def work(name: str) -> None:
        log.append(f"{name} begins")
        await turns()
        log.append(f"{name} ends")

    saga = SagaAssembler.saga().operation((work, "a")).operation((work, "b"))
    asyncio.run(saga.aorchestrator_execute())

    assert log == ["a begins", "a ends", "b begins", "b ends"]


def test_sagas_in_one_another(world: World, later: Steps, method: str) -> None:
    """An action may await a saga of its own, three deep, and its failure goes up through all."""

    async def nest(depth: int) -> Any:
        saga = SagaAssembler.saga()
        saga.operation((later.do, f"level {depth}"), (later.undo, f"level {depth}"), name="do")
        if depth < 3:
            saga.operation((nest, depth + 1), after="do")
        else:
            saga.operation((world.fail, "bottom", CardDeclined()), after="do")
        return await start(saga, method)

    async def main() -> SagaException:
        with pytest.raises(SagaException) as caught:
            await nest(0)
        assert alone()
        return caught.value

    raised = asyncio.run(main())

    assert world.standing == []
    for _ in range(3):
        assert isinstance(raised.operation_error, SagaException)
        raised = raised.operation_error
    assert isinstance(raised.operation_error, CardDeclined)


def test_a_cancelled_saga_in_another_is_undone_first(
    world: World, later: Steps, method: str
) -> None:
    """Each level undoes what is its own, from the inside out."""

    async def inner() -> None:
        saga = steps(world, "inner")
        saga.operation((later.hang, "pay"), (later.undo, "pay"), after="inner")
        await saga.aorchestrator_execute()

    async def main() -> None:
        saga = steps(world, "outer").operation(inner, (world.undo, "order"), after="outer")
        task = asyncio.create_task(saga.aorchestrator_execute())
        await until(lambda: "pay" in world.log)
        task.cancel()
        await cancelled(task)

    asyncio.run(main())

    assert world.log == [
        "outer", "inner", "pay", "undo pay begins", "undo pay", "undo inner", "undo order",
        "undo outer",
    ]  # fmt: skip
    assert method


def test_a_sync_saga_may_run_inside_a_loop(world: World) -> None:
    """It blocks the loop, as any function would; it is not refused."""

    async def main() -> None:
        assert steps(world, "a", "b").orchestrator_execute() == ["A", "B"]
        assert steps(world, "c", "d").choreography_execute() == ["C", "D"]

    asyncio.run(main())


def test_a_run_that_is_never_awaited_warns_like_any_coroutine(world: World, method: str) -> None:
    """And does nothing."""
    run = start(steps(world, "stock"), method)

    with pytest.warns(RuntimeWarning, match="never awaited"):
        del run

    assert world.log == []


def test_a_loop_that_is_thrown_away_is_left_in_peace(
    world: World, later: Steps, method: str
) -> None:
    """Its coroutines are closed with it: nothing can be awaited any more, and nothing is raised."""
    loop = asyncio.new_event_loop()
    saga = steps(world, "stock")
    saga.operation((later.hang, "charge"), (later.undo, "charge"), after="stock")
    messages: list[Any] = []
    loop.set_exception_handler(lambda _, context: messages.append(context["message"]))

    async def main() -> None:
        tasks.append(asyncio.create_task(start(saga, method)))
        await until(lambda: "charge" in world.log)

    tasks: list[asyncio.Task[Any]] = []
    loop.run_until_complete(main())
    loop.close()
    tasks.clear()
    gc.collect()  # errors in a coroutine that is closed would be "unraisable", which fails the test

    assert set(messages) <= {"Task was destroyed but it is pending!"}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_tasks_make_no_difference(world: World, later: Steps, method: str) -> None:
    """A task that ends before `create_task` returns is a task that has ended."""

    async def at_once(name: str) -> str:
        return world.do(name)

    async def main() -> None:
        factory = getattr(asyncio, "eager_task_factory")  # noqa: B009 - unknown to Python 3.11
        asyncio.get_running_loop().set_task_factory(factory)
        saga = SagaAssembler.saga().operation((at_once, "a"), (later.undo, "a"), name="a")
        saga.operation((at_once, "b"), (world.undo, "b"), name="b")
        assert await start(saga, method) == ["A", "B"]
        saga.operation((world.fail, "c", CardDeclined()), after=["a", "b"])
        with pytest.raises(SagaException):
            await start(saga, method)
        assert world.standing == []
        await turns(2)
        assert alone()

    asyncio.run(main())


# --- real signals ---------------------------------------------------------------------------------

HEAD = """
import asyncio, signal, sys, threading, time
from py_api_saga import SagaAssembler

def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()

def hear(name="charge"):
    say(name, "begins")
    assert sys.stdin.readline()
    say(name, "ends")

async def sleep(name="charge", seconds=30):
    say(name, "begins")
    until = time.monotonic() + seconds
    while time.monotonic() < until:  # CPython sees a signal that comes just before the loop
        await asyncio.sleep(0.05)  # waits for its files only once that wait is over
    say(name, "ends")

async def undo(name):
    await asyncio.sleep(0.01)
    say(name)
"""


def program(saga: str, run: str) -> str:
    """Make a program that runs a saga and says how it ended."""
    return f"""{HEAD}
saga = SagaAssembler.saga(){saga}
try:
    asyncio.run(saga.{run})
except BaseException as error:
    say(type(error).__name__)
"""


def test_ctrl_c_undoes_first() -> None:
    """`asyncio.run` cancels its main task, and then raises KeyboardInterrupt."""
    saga = """.operation((say, "stock"), (undo, "undo stock"))
saga.operation(sleep, (undo, "undo charge"))"""
    with script(program(saga, "aorchestrator_execute()")) as running:
        running.hear("stock")
        running.hear("charge begins")
        running.interrupt()
        assert running.end() == ["undo charge", "undo stock", "KeyboardInterrupt"]


def test_ctrl_c_awaits_what_runs() -> None:
    """In threads and in tasks of a graph."""
    saga = """.operation(hear, (undo, "undo a"), name="a")
saga.operation((sleep, "b", 0.2), (undo, "undo b"), name="b").operation((say, "c"), after="a")"""
    with script(program(saga, "achoreography_execute()")) as running:
        assert {running.stdout.readline(), running.stdout.readline()} == {
            "charge begins\n",
            "b begins\n",
        }
        running.interrupt()
        running.say("go on")
        assert sorted(running.end()) == [
            "KeyboardInterrupt", "b ends", "charge ends", "undo a", "undo b",
        ]  # fmt: skip


def test_a_second_ctrl_c_ends_a_rollback_that_hangs() -> None:
    """The compensation that hangs is cancelled with the loop."""
    saga = """.operation((say, "stock"), (sleep, "undo stock")).operation(sleep)"""
    with script(program(saga, "aorchestrator_execute()")) as running:
        running.hear("stock")
        running.hear("charge begins")
        running.interrupt()
        running.hear("undo stock begins")
        running.interrupt()
        assert running.end() == ["KeyboardInterrupt"]


@pytest.mark.parametrize("run", ["aorchestrator_execute()", "achoreography_execute()"])
def test_a_signal_handler_that_exits_undoes_first(run: str) -> None:
    """SystemExit out of the middle of the loop: it is raised again, with all undone."""
    saga = """.operation((say, "stock"), (undo, "undo stock"), name="stock")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
saga.operation((sleep, "charge", 0.3), (undo, "undo charge"), name="charge", after="stock")
saga.operation((sleep, "courier"), (undo, "undo courier"), after="charge")"""
    code = program(saga, run).replace("except BaseException", "except Exception")
    with script(code) as running:
        running.hear("stock")
        running.hear("charge begins")
        running.interrupt(signal.SIGTERM)
        lines = running.end(code=7)
    assert lines[-2:] == ["undo charge", "undo stock"]
    assert "courier begins" not in lines


STORM = """
import asyncio, time
from py_api_saga import SagaAssembler

ledger, count = set(), 60

async def do(number):
    if number % 3:
        await asyncio.sleep(0)
    ledger.add(number)

async def undo(number):
    await asyncio.sleep(0)
    ledger.discard(number)

saga = SagaAssembler.saga()
for number in range(count):
    if number % 10:
        saga.operation((do, number), (undo, number))
    else:
        saga.operation((ledger.add, number), (ledger.discard, number))

async def measured():
    for _ in range(3):
        begun = time.perf_counter()
        await saga.{run}
        print(time.perf_counter() - begun)

async def round():  # `asyncio.run` itself can be interrupted badly; only the saga is tried here
    print("go")
    await saga.{run}
    while True:  # it has not struck yet, or just before the loop began to wait
        await asyncio.sleep(0.05)

asyncio.run(measured())
outcomes = []
for _ in range({rounds}):
    ledger.clear()
    try:
        asyncio.run(round())
    except KeyboardInterrupt:
        pass
    outcomes.append(len(ledger))
    if len(ledger) not in (0, count):
        print("left over", sorted(ledger))
        break
print("done")
print(outcomes.count(0))
"""
ROUNDS = 30


@pytest.mark.parametrize("run", ["aorchestrator_execute()", "achoreography_execute()"])
def test_ctrl_c_at_any_moment_leaves_nothing(run: str) -> None:
    """All is done or all is undone."""
    chance = random.Random(run)  # noqa: S311 - the same delays each time
    with script(STORM.format(run=run, rounds=ROUNDS)) as running:
        took = [float(running.stdout.readline()) for _ in range(3)][-1]
        for _ in range(ROUNDS):
            running.hear("go")
            time.sleep(chance.random() * took * 1.1)
            running.interrupt()
        running.hear("done")
        undone = int(running.end()[0])

    assert undone > 0


@pytest.mark.skipif(sys.version_info < (3, 12), reason="functions are marked since Python 3.12")
def test_a_function_that_is_marked_as_a_coroutine_function_is_awaited(world: World) -> None:
    """As the wrapper of a decorator is, which returns what a coroutine function has returned."""

    async def act(name: str) -> str:
        world.do(name)
        return name

    def wrapper(*args: str) -> Any:
        return act(*args)

    vars(inspect)["markcoroutinefunction"](wrapper)
    saga = SagaAssembler.saga().operation((wrapper, "a"))

    assert asyncio.run(saga.aorchestrator_execute()) == ["a"]
    with pytest.raises(SagaDefinitionError):
        saga.orchestrator_execute()
