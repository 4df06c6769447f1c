"""What should not happen, and the rare turns of what may: each ends, and none is swallowed."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import pickle
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any

import pytest
from world import PATIENCE, World, in_time

from py_api_saga import (
    NOT_HAPPENED,
    UNKNOWN,
    Event,
    Retry,
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    SagaStatus,
    SagaStuck,
    Status,
    result_of,
)
from py_api_saga.calls import Call
from py_api_saga.entries import ABORT, COMPENSATION, RECOVERED, RESOLVED, SUCCEEDED
from py_api_saga.execution import Execution
from py_api_saga.executors import attempt as attempts
from py_api_saga.executors import choreography, event_loop, orchestrator
from py_api_saga.executors.calling import filled
from py_api_saga.outcome import failure
from py_api_saga.status import MISSING

Execute = Callable[..., Any]


class Defect(RuntimeError):
    """Something in the library itself is broken."""


def broken(*_: object, **__: object) -> Any:
    """Stand for a part of the library that is broken."""
    raise Defect


# --- defects of ours --------------------------------------------------------------------------


def test_a_defect_of_the_orchestrator_is_raised(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for an interrupt, nor for a failure of the operation."""
    monkeypatch.setattr(orchestrator, "attempt", broken)
    saga = SagaAssembler.saga().operation((world.do, "a"), (world.undo, "a"))

    with pytest.raises(Defect):
        saga.orchestrator_execute()


def test_a_defect_of_the_choreography_is_raised(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for an interrupt, nor for a failure of the operation."""
    monkeypatch.setattr(choreography.POOL, "make", broken)
    saga = SagaAssembler.saga().operation((world.do, "a"), (world.undo, "a"))

    with pytest.raises(Defect):
        saga.choreography_execute()


def test_a_defect_in_a_pool_s_thread_is_no_hang(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would hear of a thread that ends without a word: its call is in doubt."""
    monkeypatch.setattr(attempts, "attempt", broken)
    saga = SagaAssembler.saga().operation((world.do, "a"), (world.undo, "a"))

    with pytest.raises(SagaStuck) as caught:
        in_time(saga.choreography_execute)

    assert isinstance(caught.value.operation_error, Defect)


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_failed_run_is_no_garbage(world: World, before: int) -> None:
    """Errors know the frames they passed; the run does not know the errors: no circle is left."""
    gc = importlib.import_module("gc")
    saga = SagaAssembler.saga()
    for _ in range(before):
        saga.operation((world.do, "a"), (world.undo, "a"))
    saga.operation(broken)

    def run() -> None:
        with pytest.raises(SagaException):
            saga.orchestrator_execute()

    run()
    gc.freeze()  # what is older needs no look: ten times faster
    gc.disable()
    try:
        with contextlib.suppress(SagaException):
            saga.orchestrator_execute()
        assert gc.collect() == 0
    finally:
        gc.enable()
        gc.unfreeze()


# --- rare turns -------------------------------------------------------------------------------


class Awaitable:
    """Something to await that can be neither closed nor cancelled."""

    def __await__(self) -> Generator[None, None, None]:
        yield


def test_an_awaitable_that_cannot_be_closed_is_a_failure_too(execute: Execute) -> None:
    """It is let go as it is."""
    saga = SagaAssembler.saga().operation(Awaitable)

    with pytest.raises(SagaException) as caught:
        execute(saga)

    assert isinstance(caught.value.operation_error, TypeError)
    assert "async def" in str(caught.value)


def test_a_retry_waits_where_a_straggler_could_land(execute: Execute, world: World) -> None:
    """A limited operation that fails and is tried again later is done once."""
    tries: list[int] = []

    def act() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError
        return world.do("a")

    again = Retry(ValueError, wait_initial=0.01, wait_jitter=0)
    saga = SagaAssembler.saga().operation(act, timeout=5, retry=again)

    assert execute(saga) == ["A"]
    assert world.standing == ["a"]


def test_a_second_interrupt_leaves_a_timed_action(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is kept until the action has ended; at the second nobody waits for it."""

    class Striking(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - as its base
            raise KeyboardInterrupt

    class Handover(attempts._Handover):  # noqa: SLF001 - a real signal may strike in the tracer
        def __init__(self) -> None:
            super().__init__()
            self.done = Striking()

    monkeypatch.setattr(attempts, "_Handover", Handover)
    go_on = threading.Event()
    saga = SagaAssembler.saga().operation((go_on.wait, 5), (world.undo, "a"), timeout=60)

    with pytest.raises(KeyboardInterrupt):
        in_time(saga.orchestrator_execute)

    go_on.set()


async def _cancel_all_but(task: asyncio.Task[Any] | None) -> None:
    for other in asyncio.all_tasks() - {task, asyncio.current_task()}:
        other.cancel()


def test_a_loop_that_goes_down_ends_the_rollback(world: World) -> None:
    """Who cancels the rollback's own task is a loop that cancels all: what stands is named."""
    again = Retry(ValueError, attempts=None, wait_initial=60, wait_max=60)
    undoing = asyncio.Event()

    async def undo() -> None:
        undoing.set()
        raise ValueError

    async def main() -> None:
        saga = (
            SagaAssembler.saga(compensation_retry=again)
            .operation((world.do, "a"), (world.undo, "a"))
            .operation((world.do, "b"), undo)
            .operation(broken)
        )
        task = asyncio.create_task(saga.aorchestrator_execute())
        await undoing.wait()
        await asyncio.sleep(0.01)
        await _cancel_all_but(task)
        with pytest.raises(SagaStuck) as caught:
            await task
        assert caught.value.operations["do"].status.name == "SUCCEEDED"
        assert caught.value.outcome is SagaStatus.STUCK

    asyncio.run(main())
    assert world.standing == ["a", "b"]


def test_a_wait_beyond_all_numbers_is_the_longest_wait() -> None:
    """`wait_exp_base` to the power of a thousand is not a float: `wait_max` it is."""
    policy = Retry(ValueError, attempts=None, wait_exp_base=1e9, wait_max=7.0, wait_jitter=0)

    assert policy.after(ValueError(), 1000, 0.0, 0.0) == 7.0


def test_a_partial_of_a_subclass_hides_no_generator() -> None:
    """A generator function is refused, however it is wrapped."""

    class Later(partial[Any]):
        pass

    def numbers() -> Iterator[int]:
        yield 1

    with pytest.raises(SagaDefinitionError, match="generator"):
        SagaAssembler.saga().operation(Later(numbers))


def test_constants_say_their_names_and_are_one() -> None:
    """Also after a pickle: they are compared by identity."""
    assert [repr(NOT_HAPPENED), repr(UNKNOWN), repr(MISSING)] == [
        "NOT_HAPPENED",
        "UNKNOWN",
        "MISSING",
    ]
    for constant in (NOT_HAPPENED, UNKNOWN, MISSING):
        assert pickle.loads(pickle.dumps(constant)) is constant  # noqa: S301 - our own bytes


def test_the_types_for_checkers_can_be_imported() -> None:
    """What nothing imports at run time is a module nevertheless."""
    assert importlib.import_module("py_api_saga.typed_call").TypedCall is not None


def test_what_a_crash_left_and_nobody_knows_is_said_so() -> None:
    """An operation that is parked after a crash is stuck though nothing was raised."""
    saga = SagaAssembler.saga().operation(broken, name="charge", on_doubt="park")
    definition = saga._chain()  # noqa: SLF001 - there is no crash in memory
    execution = Execution(definition)
    execution.start()
    execution.tell((RECOVERED, -1, "", 0, 0, frozenset()))
    assert execution.trouble is not None
    execution.trouble.reasons.append(TimeoutError("it is late"))

    exception = failure(
        lambda: "run",
        definition,
        execution.saga,
        execution.status,
        execution.results,
        execution.trouble,
        execution.stuck_reasons(),
    )

    assert isinstance(exception, SagaStuck)
    assert "STUCK charge: nobody knows whether it happened" in str(exception)


def test_a_result_that_nobody_knows_is_no_argument() -> None:
    """A person may have a compensation called whose argument nobody knows: it fails, in words."""
    saga = SagaAssembler.saga().operation(broken, name="charge")
    run = saga._run(saga._chain(), None, None, orchestrator.make_calls)  # noqa: SLF001 - as above
    operation = run.operations[0]
    call: Call = (broken, (result_of(),), {}, ("",), False)

    with pytest.raises(LookupError, match="the result of 'charge' is not known"):
        filled(run, operation, 0, call)


def test_a_person_may_settle_a_doubt_while_the_rest_is_awaited() -> None:
    """What is resolved as SUCCEEDED after an abort was told is undone with the rest."""
    saga = (
        SagaAssembler.saga()
        .operation(broken, broken, name="a", on_doubt="park")
        .operation(broken, broken, name="b")
    )
    execution = Execution(saga._graph())  # noqa: SLF001 - there is no crash in memory
    execution.start()
    execution.tell((RECOVERED, -1, "", 0, 0, frozenset()))
    other = execution.start()
    assert other is not None
    execution.tell((ABORT, -1, "", 0, 0, TimeoutError()))

    execution.tell((RESOLVED, 0, "", 0, 0, (Status.SUCCEEDED, "known")))
    execution.tell((SUCCEEDED, *other[1:5], None))

    assert [intent[1:3] for intent in execution.ready()] == [(1, COMPENSATION), (0, COMPENSATION)]


def test_results_travel_twice() -> None:
    """Results from a pickle, which have no saga behind them, can be pickled again."""
    results = SagaAssembler.saga().operation(int, name="zero").orchestrator_execute()

    for _ in range(2):
        results = pickle.loads(pickle.dumps(results))  # noqa: S301 - our own bytes

    assert results["zero"] == 0


def test_a_call_that_was_taken_back_is_not_made(world: World) -> None:
    """A thread that finds its call claimed by whoever has thought better of it does nothing."""
    saga = SagaAssembler.saga().operation((world.do, "a"))
    run = saga._run(saga._graph(), None, None, orchestrator.make_calls)  # noqa: SLF001 - no interrupt
    intent = run.start()
    assert intent is not None
    claim = threading.Lock()
    claim.acquire()
    told: list[object] = []

    choreography.POOL.make(run, intent, claim, told.append)
    SagaAssembler.saga().operation((world.do, "later")).choreography_execute()
    time.sleep(0.02)

    assert (world.log, told) == (["later"], [])


def test_a_task_that_is_cancelled_before_it_begins_has_done_nothing(world: World) -> None:
    """Who cancels all tasks of the loop takes back what has not begun; the rest is undone."""

    async def main() -> None:
        task = asyncio.current_task()

        async def first() -> None:
            world.do("a")
            await _cancel_all_but(task)

        async def second() -> None:
            world.do("b")

        saga = SagaAssembler.saga().operation(first, (world.undo, "a")).operation(second)
        with pytest.raises(asyncio.CancelledError):
            await saga.achoreography_execute()

    asyncio.run(main())
    assert world.log == ["a", "undo a"]


def test_a_signature_says_what_it_takes_by_default() -> None:
    """No address of an object, and the names of the errors that leave doubt."""
    signature = str(inspect.signature(SagaAssembler.operation))

    assert " at 0x" not in signature
    assert "action: 'Any' = <not given>" in signature
    assert "TimeoutError, ConnectionResetError" in signature
    assert "httpx.ReadTimeout" in signature


# --- an interrupt in an unlucky moment ----------------------------------------------------------


def test_a_timed_call_whose_thread_was_not_begun_is_not_made(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt comes before the thread has begun: it does nothing when it does begin."""
    threads: list[threading.Thread] = []

    class Late(threading.Thread):
        def start(self) -> None:
            threads.append(self)
            raise KeyboardInterrupt

    saga = SagaAssembler.saga().operation((world.do, "a"), (world.undo, "a"))
    saga.operation((world.do, "b"), (world.undo, "b"), timeout=5)
    with monkeypatch.context() as patched:
        patched.setattr(attempts.threading, "Thread", Late)  # type: ignore[attr-defined]
        with pytest.raises(KeyboardInterrupt):
            saga.orchestrator_execute()

    threading.Thread.start(threads[0])
    threads[0].join(PATIENCE)
    assert world.log == ["a", "undo a"]


def test_an_interrupt_around_a_timed_call_leaves_it_in_doubt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may live on in its thread: it is undone, as what may have happened."""

    def struck(*_: object) -> None:
        monkeypatch.undo()  # the compensation has time of its own
        raise KeyboardInterrupt

    monkeypatch.setattr(attempts, "_wait_within", struck)
    saga = SagaAssembler.saga().operation((world.do, "a"), (world.undo, "a"), timeout=5)

    with pytest.raises(KeyboardInterrupt) as caught:
        saga.orchestrator_execute()

    context = caught.value.__context__
    assert isinstance(context, SagaException)
    assert context.operations["do"].error is caught.value


def test_a_call_that_no_thread_took_is_not_made_under_asyncio(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt comes before a thread has it: the operation has not happened."""

    def struck(*_: object) -> None:
        monkeypatch.undo()  # the rollback has threads again
        raise Stop

    class Stop(BaseException):
        pass

    async def main() -> None:
        saga = SagaAssembler.saga().operation((world.do, "a"), (world.undo, "a"))
        monkeypatch.setattr(choreography.POOL, "make", struck)
        with pytest.raises(Stop) as caught:
            await saga.aorchestrator_execute()
        context = caught.value.__context__
        assert isinstance(context, SagaException)
        assert context.operations["do"].status is Status.FAILED

    asyncio.run(main())
    assert world.log == []


def test_a_coroutine_that_is_thrown_away_awaits_nothing(world: World) -> None:
    """Its thread goes on, and nobody is there to hear of it."""
    go_on = threading.Event()
    saga = SagaAssembler.saga().operation((go_on.wait, 5))

    async def main() -> None:
        run = saga._run(saga._chain(), None, None, orchestrator.make_calls)  # noqa: SLF001
        run.is_elsewhere = True
        intent = run.start()
        assert intent is not None
        attempt = event_loop._attempt_in_thread(run, intent)  # noqa: SLF001
        attempt.send(None)
        attempt.close()
        go_on.set()

    asyncio.run(main())
    assert world.log == []


def forward(world: World, strike: Callable[[], object]) -> SagaAssembler:
    """Pass a pivot, be interrupted beside an action that succeeds, and leave one to do."""
    return (
        SagaAssembler.saga()
        .operation((world.do, "pivot"), name="pivot", pivot=True)
        .operation(strike, name="slow", after="pivot")
        .operation((world.do, "last"), name="last", after="slow")
    )


def behind(interrupt: BaseException) -> SagaStuck:
    """Give what stands at the end of the chain of an interrupt."""
    error: BaseException = interrupt
    while error.__context__ is not None and not isinstance(error, SagaStuck):
        error = error.__context__
    assert isinstance(error, SagaStuck)
    return error


def left_behind(interrupt: BaseException) -> SagaStuck:
    """Give what an interrupt after the pivot tells of the saga."""
    context = behind(interrupt)
    assert context.operation_name == "last"
    assert "stands: pivot, slow" in str(context)
    assert "not started: last" in str(context)
    return context


def test_an_interrupt_beside_an_action_after_the_pivot_is_raised_again(world: World) -> None:
    """In a choreography: what runs counts, what is left is named, nothing is undone."""
    came = threading.Event()

    def handler(*_: object) -> None:
        came.set()
        raise KeyboardInterrupt

    def strike() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        came.wait(PATIENCE)

    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            forward(world, strike).choreography_execute()
    finally:
        signal.signal(signal.SIGINT, before)

    left_behind(caught.value)
    assert world.log == ["pivot"]


def test_an_interrupt_between_two_actions_after_the_pivot_is_raised_again(world: World) -> None:
    """In the caller's thread, with nothing in doubt."""

    def struck(event: Event) -> None:
        if (event.kind, event.operation) == ("succeeded", "slow"):
            raise KeyboardInterrupt

    saga = forward(world, int)
    saga.observers = (struck,)

    with pytest.raises(KeyboardInterrupt) as caught:
        saga.orchestrator_execute()

    left_behind(caught.value)


def test_a_cancellation_after_the_pivot_is_not_swallowed(
    execute_async: Execute, world: World
) -> None:
    """A plain function that runs in a thread is awaited and counts; then the task is cancelled."""
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    def strike() -> None:
        loop, task = loops[0]
        loop.call_soon_threadsafe(task.cancel)
        time.sleep(0.05)

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        loops.append((asyncio.get_running_loop(), task))
        await getattr(forward(world, strike), execute_async.__name__)()

    with pytest.raises(asyncio.CancelledError) as caught:
        asyncio.run(main())

    assert "not started: last" in str(behind(caught.value))


def test_a_rollback_that_was_left_names_what_was_being_undone(world: World) -> None:
    """With what its compensation has raised so far."""
    undo_error = OSError("the warehouse is down")

    def undo() -> None:
        raise undo_error

    waits: list[Event] = []

    def struck(event: Event) -> None:
        if event.kind in ("attempt failed", "compensating"):
            waits.append(event)
            raise KeyboardInterrupt

    saga = SagaAssembler.saga(
        compensation_retry=Retry(OSError, attempts=9, wait_initial=0.01, wait_jitter=0),
        observers=[struck],
    )
    saga.operation((world.do, "a"), undo, name="a").operation(broken, name="boom")

    with pytest.raises(KeyboardInterrupt) as caught:
        saga.orchestrator_execute()

    context = behind(caught.value)
    assert "not undone: a" in str(context)
    assert list(context.stuck) == ["a"]


def test_a_defect_found_while_an_interrupt_is_taken_in_is_raised(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for one more interrupt."""

    def struck(event: Event) -> None:
        if event.kind == "succeeded":
            monkeypatch.setattr(Execution, "__init__", broken)
            raise KeyboardInterrupt

    saga = SagaAssembler.saga(observers=[struck]).operation((world.do, "a"), (world.undo, "a"))

    with pytest.raises(Defect):
        saga.orchestrator_execute()


def test_a_call_that_an_interrupt_has_struck_is_not_made_or_in_doubt_or_heard_of() -> None:
    """Under asyncio, at once: not begun; begun before its task was noted; or noted."""

    async def main() -> None:
        saga = SagaAssembler.saga().operation(int)
        run = saga._run(saga._graph(), None, None, event_loop.finish_late)  # noqa: SLF001
        driver = event_loop._AtOnce(run, 1)  # noqa: SLF001
        intent = run.start()
        assert intent is not None

        not_begun = driver.fate_of(KeyboardInterrupt(), intent)
        driver._begun[intent] = True  # noqa: SLF001
        begun = driver.fate_of(KeyboardInterrupt(), intent)
        driver._ended.append(intent)  # noqa: SLF001

        assert not_begun is not None
        assert not_begun[0] == "failed"
        assert begun is not None
        assert begun[0] == "in doubt"
        assert driver.fate_of(KeyboardInterrupt(), intent) is None

    asyncio.run(main())
