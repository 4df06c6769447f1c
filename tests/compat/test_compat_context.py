"""py_api_saga 0.0.3, section 5: `saga_results`, threads, coroutines, interrupts."""

import asyncio
import contextvars
import logging
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

from py_api_saga import (
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    SagaStuck,
    result_of,
)

Execute = Callable[..., Any]
Step = Callable[..., Callable[..., Any]]

PATIENCE = 60.0  # seconds that one thread waits for another
INTERRUPTS = [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError]


class Stop(BaseException):
    """An interrupt of the user's own."""


# --- saga_results ------------------------------------------------------------


def test_an_operation_sees_the_results_before_it(execute: Execute) -> None:
    """Row "`f.saga_results` in op k": the earlier results, in order."""
    seen: list[list[object]] = []

    def note(text: str) -> str:
        seen.append(list(note.saga_results))  # type: ignore[attr-defined]
        return text

    saga = SagaAssembler.saga().operation((note, "a"))
    saga.operation((note, "b"), after=["note"])
    saga.operation((note, "c"), after=["note-2"])

    assert execute(saga) == ["a", "b", "c"]
    assert seen == [[], ["a"], ["a", "b"]]


def test_the_results_cannot_be_corrupted(execute: Execute) -> None:
    """Row "`f.saga_results` in op k": read-only; a `.clear()` breaks nothing (fix)."""

    def first() -> str:
        return "a"

    def vandal() -> str:
        for attack in ("clear", "append", "pop", "sort", "reverse", "extend", "insert", "remove"):
            assert not hasattr(vandal.saga_results, attack)  # type: ignore[attr-defined]
        with pytest.raises(TypeError):
            vandal.saga_results[0] = "x"  # type: ignore[attr-defined]
        with pytest.raises(TypeError):
            del vandal.saga_results[0]  # type: ignore[attr-defined]
        return "b"

    def last() -> list[object]:
        return list(last.saga_results)  # type: ignore[attr-defined]

    saga = SagaAssembler.saga().operation(first).operation(vandal, after=["first"])
    saga.operation(last, after=["vandal"])

    assert execute(saga) == ["a", "b", ["a", "b"]]


def test_a_copy_of_the_results_is_the_users_own(execute: Execute) -> None:
    """Row "`f.saga_results` in op k": a list made of it may be changed at will."""

    def first() -> str:
        return "a"

    def copier() -> list[object]:
        mine = list(copier.saga_results)  # type: ignore[attr-defined]
        mine.clear()
        return list(copier.saga_results)  # type: ignore[attr-defined]

    saga = SagaAssembler.saga().operation(first).operation(copier, after=["first"])

    assert execute(saga) == ["a", ["a"]]


def test_a_choreography_sees_what_has_finished(execute_graph: Execute) -> None:
    """Row "in choreography": whatever finished so far; what it was built on is always there."""
    released = threading.Event()

    def slow() -> str:
        assert released.wait(PATIENCE)
        return "slow"

    def quick() -> str:
        return "quick"

    def reader() -> list[object]:
        released.set()
        return list(reader.saga_results)  # type: ignore[attr-defined]

    saga = SagaAssembler.saga().operation(slow).operation(quick).operation(reader, after=["quick"])

    results = execute_graph(saga)

    assert results[2] in (["quick"], ["slow", "quick"], ["quick", "slow"])


def test_an_undo_sees_the_results(execute: Execute) -> None:
    """Row "in an undo": available, also where the function was never an action (fix)."""
    seen: list[list[object]] = []

    def action(text: str) -> str:
        return text

    def undo() -> None:
        seen.append(list(undo.saga_results))  # type: ignore[attr-defined]

    def bad() -> None:
        raise ValueError

    saga = SagaAssembler.saga().operation((action, "a"), undo)
    saga.operation((action, "b"), undo, after=["action"])
    saga.operation(bad, after=["action-2"])
    with pytest.raises(SagaException):
        execute(saga)

    assert seen == [["a", "b"], ["a", "b"]]


def test_two_sagas_in_two_threads_never_see_each_other(execute: Execute) -> None:
    """Row "**two sagas, two threads, shared function**": 50 forced overlaps, no mix-up (fix)."""
    barrier = threading.Barrier(2)
    mixed: list[object] = []

    def whose(owner: str) -> str:
        barrier.wait(PATIENCE)
        return owner

    def shared(owner: str) -> None:
        barrier.wait(PATIENCE)  # both sagas are inside the same function now
        if list(shared.saga_results) != [owner]:  # type: ignore[attr-defined]
            mixed.append((owner, list(shared.saga_results)))  # type: ignore[attr-defined]
        barrier.wait(PATIENCE)

    def run(owner: str) -> None:
        saga = SagaAssembler.saga().operation((whose, owner))
        saga.operation((shared, owner), after=["whose"])
        mixed.extend(owner for _ in range(50) if execute(saga)[0] != owner)

    threads = [threading.Thread(target=run, args=(owner,), daemon=True) for owner in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * PATIENCE)

    assert not any(thread.is_alive() for thread in threads)
    assert mixed == []
    assert not barrier.broken


def test_a_nested_saga_leaves_the_outer_view_alone(execute: Execute) -> None:
    """Row "nested saga using the same function": each sees its own results (fix)."""

    def answer(text: str) -> str:
        return text

    def nest(depth: int) -> list[list[object]]:
        before = list(nest.saga_results)  # type: ignore[attr-defined]
        inner: list[list[object]] = []
        if depth:
            saga = SagaAssembler.saga().operation((answer, f"inner {depth}"))
            inner = saga.operation((nest, depth - 1)).orchestrator_execute()[1]
        after = list(nest.saga_results)  # type: ignore[attr-defined]
        return [before, *inner, after]

    saga = SagaAssembler.saga().operation((answer, "outer")).operation((nest, 1), after=["answer"])

    assert execute(saga)[1] == [["outer"], ["inner 1"], ["inner 1"], ["outer"]]


# --- coroutines and generators -----------------------------------------------


async def answer_later() -> str:
    """Answer after a turn of the loop."""
    await asyncio.sleep(0)
    return "later"


async def fail_later() -> None:
    """Fail after a turn of the loop."""
    await asyncio.sleep(0)
    message = "boom"
    raise ValueError(message)


def test_an_async_action_is_awaited(execute_async: Execute) -> None:
    """Row "async action": its body runs, and its result is what it returned (fix)."""
    assert execute_async(SagaAssembler.saga().operation(answer_later)) == ["later"]


def test_a_failing_async_action_fails(execute_async: Execute, step: Step, log: list[str]) -> None:
    """Row "async action": a failing one is no longer a success (fix)."""
    saga = SagaAssembler.saga().operation(step("a"), step("undo_a"))
    saga.operation(fail_later, after=["a"])

    with pytest.raises(SagaException) as caught:
        execute_async(saga)

    assert log == ["a", "undo_a"]
    assert caught.value.operation_name == "fail_later"
    assert repr(caught.value.operation_error) == "ValueError('boom')"


def test_an_async_action_is_refused_without_a_loop(
    execute_sync: Execute, step: Step, log: list[str]
) -> None:
    """Row "async action": a clear error in sync mode, before anything runs (fix)."""
    saga = SagaAssembler.saga().operation(step("a")).operation(answer_later)

    with pytest.raises(SagaDefinitionError, match="operation 2: the action") as caught:
        execute_sync(saga)

    assert log == []
    assert "execute" in str(caught.value)  # it names what to call instead


def test_an_async_undo_is_awaited(execute_async: Execute, step: Step) -> None:
    """Row "async undo": it runs, and its result is in `compensation_success_result` (fix)."""
    saga = SagaAssembler.saga().operation(step("a"), answer_later)
    saga.operation(step("bad", raises=ValueError()), after=["a"])

    with pytest.raises(SagaException) as caught:
        execute_async(saga)

    assert caught.value.compensation_success_result == ["later"]


def test_an_async_undo_is_refused_without_a_loop(
    execute_sync: Execute, step: Step, log: list[str]
) -> None:
    """Row "async undo": a clear error in sync mode, before anything runs (fix)."""
    saga = SagaAssembler.saga().operation(step("a"), answer_later)

    with pytest.raises(SagaDefinitionError, match="operation 1: the compensation"):
        execute_sync(saga)

    assert log == []


def test_a_plain_action_that_returns_an_awaitable_has_failed(
    execute_sync: Execute, step: Step, log: list[str]
) -> None:
    """Row "async action", in disguise: FAILED, never a success; closed, so nothing warns (fix)."""
    saga = SagaAssembler.saga().operation(step("a"), step("undo_a"))

    def disguised() -> Any:
        return answer_later()

    saga.operation(disguised, after=["a"])

    with pytest.raises(SagaException) as caught:
        execute_sync(saga)

    assert log == ["a", "undo_a"]
    assert caught.value.operation_name == "disguised"
    assert isinstance(caught.value.operation_error, TypeError)


def generate() -> Generator[int, None, None]:
    """Yield, which no saga would see."""
    yield 1


def test_a_generator_function_is_refused() -> None:
    """Row "generator function": refused when added (fix)."""
    with pytest.raises(SagaDefinitionError, match="generator"):
        SagaAssembler.saga().operation(generate)
    with pytest.raises(SagaDefinitionError, match="generator"):
        SagaAssembler.saga().operation(answer_later, generate)


def test_an_event_loop_goes_on_while_a_saga_runs(execute_async: Execute) -> None:
    """Row "called inside an event loop": the asyncio twins do not block it (fix)."""
    go_on = threading.Event()
    ticks: list[int] = []

    async def tick() -> None:
        while len(ticks) < 20:
            ticks.append(1)
            await asyncio.sleep(0.001)
        go_on.set()

    async def start() -> "asyncio.Task[None]":
        return asyncio.create_task(tick())

    def block() -> bool:
        return go_on.wait(PATIENCE)  # only the loop can set it

    saga = SagaAssembler.saga().operation(start).operation(block, after=["start"])

    assert execute_async(saga)[1] is True


def test_context_variables_reach_every_operation(execute: Execute) -> None:
    """Row "contextvars … in choreography": copied into each call (fix)."""
    request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="unset")
    seen: list[str] = []

    def bad() -> None:
        raise ValueError(request_id.get())

    def note() -> None:
        seen.append(request_id.get())

    saga = SagaAssembler.saga().operation(note, note, name="a")
    saga.operation(note, note, name="b").operation(bad, after=["a", "b"])
    token = request_id.set("r-17")
    try:
        with pytest.raises(SagaException) as caught:
            execute(saga)
    finally:
        request_id.reset(token)

    assert seen == ["r-17"] * 4
    assert str(caught.value.operation_error) == "r-17"


# --- interrupts --------------------------------------------------------------


@pytest.mark.parametrize("interrupt", [*INTERRUPTS, Stop])
def test_an_interrupt_in_an_action_rolls_back(
    interrupt: type[BaseException], execute: Execute, step: Step, log: list[str]
) -> None:
    """Row "KeyboardInterrupt / SystemExit / … in an **action**": undo, then the original (fix).

    The interrupted operation may have happened: it is undone as well.
    """
    original = interrupt()
    saga = SagaAssembler.saga().operation(step("a"), step("undo_a"))
    saga.operation(step("stop", raises=original), step("undo_stop"), after=["a"])
    saga.operation(step("never"), after=["stop"])

    with pytest.raises(interrupt) as caught:
        execute(saga)

    assert log == ["a", "stop", "undo_stop", "undo_a"]
    assert type(caught.value) is interrupt
    assert not isinstance(caught.value, SagaException)


def test_stop_iteration_is_an_error_like_any_other(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """Row "KeyboardInterrupt …": "`StopIteration` is handled normally"."""
    error = StopIteration("empty")
    saga = SagaAssembler.saga().operation(step("a"), step("undo_a"))
    saga.operation(step("bad", raises=error), after=["a"])

    with pytest.raises(SagaException) as caught:
        execute(saga)

    assert log == ["a", "bad", "undo_a"]
    assert caught.value.operation_error is error


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_while_a_choreography_runs(log: list[str]) -> None:
    """Row "real SIGINT while choreography runs": waits, undoes, raises KeyboardInterrupt (fix)."""
    came = threading.Event()

    def handler(*_: object) -> None:
        came.set()
        raise KeyboardInterrupt

    def press_ctrl_c() -> None:
        time.sleep(0.05)  # until the caller's thread is asleep: a signal just before may be late
        os.kill(os.getpid(), signal.SIGINT)
        assert came.wait(PATIENCE)  # it comes to the caller's thread, while this still runs
        log.append("done")

    before = signal.signal(signal.SIGINT, handler)
    try:
        saga = SagaAssembler.saga().operation(press_ctrl_c, (log.append, "undone"))
        with pytest.raises(KeyboardInterrupt):
            saga.choreography_execute()
    finally:
        signal.signal(signal.SIGINT, before)

    assert log == ["done", "undone"]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_while_an_orchestrator_runs(step: Step, log: list[str]) -> None:
    """Row "real SIGINT …": in an action of an orchestrator it is undone as well (fix)."""

    def press_ctrl_c() -> None:
        signal.raise_signal(signal.SIGINT)
        log.append("never")

    saga = SagaAssembler.saga().operation(step("a"), step("undo_a"))
    saga.operation(press_ctrl_c, step("undo_press"))

    with pytest.raises(KeyboardInterrupt):
        saga.orchestrator_execute()

    assert log == ["a", "undo_press", "undo_a"]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_system_exit_from_a_signal_handler(step: Step, log: list[str]) -> None:
    """Row "SystemExit from a signal handler (gunicorn timeout style)": undone, then out (fix)."""

    def handler(*_: object) -> None:
        raise SystemExit(3)

    def slow() -> None:
        signal.raise_signal(signal.SIGUSR1)
        log.append("never")

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        saga = SagaAssembler.saga().operation(step("a"), step("undo_a")).operation(slow)
        with pytest.raises(SystemExit) as caught:
            saga.orchestrator_execute()
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert caught.value.code == 3
    assert log == ["a", "undo_a"]


def behind(interrupt: BaseException) -> SagaException:
    """Find the saga's exception in the chain of an interrupt that was raised instead of it."""
    error: BaseException | None = interrupt
    while error is not None and not isinstance(error, SagaException):
        error = error.__cause__ or error.__context__
    assert isinstance(error, SagaException), "the interrupt hides what became of the saga"
    return error


def test_an_interrupt_in_an_undo_leaves_no_other_undone(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """Row "BaseException in an **undo**": the remaining undos run, then it is raised (fix).

    It counts as not made, and is called once more before it is given up.
    """
    saga = SagaAssembler.saga().operation(step("a"), step("undo_a"))
    saga.operation(step("b"), step("undo_b", raises=KeyboardInterrupt()), after=["a"])
    saga.operation(step("bad", raises=ValueError("boom")), after=["b"])

    with pytest.raises(KeyboardInterrupt) as caught:
        execute(saga)

    assert log == ["a", "b", "bad", "undo_b", "undo_b", "undo_a"]
    assert repr(behind(caught.value).operation_error) == "ValueError('boom')"


def test_an_interrupt_does_not_hide_what_is_stuck(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """Row "BaseException …": what could not be undone is found behind the interrupt."""
    saga = SagaAssembler.saga().operation(step("a"), step("undo_a", raises=ValueError("no")))
    saga.operation(step("stop", raises=KeyboardInterrupt()), step("undo_stop"), after=["a"])

    with pytest.raises(KeyboardInterrupt) as caught:
        execute(saga)

    assert log == ["a", "stop", "undo_stop", "undo_a"]
    exception = behind(caught.value)
    assert isinstance(exception, SagaStuck)
    assert list(exception.stuck) == ["a"]


# --- the rest ----------------------------------------------------------------


def test_a_run_is_logged_and_observed(
    execute: Execute, step: Step, caplog: pytest.LogCaptureFixture
) -> None:
    """Row "logging, hooks, timing, ids: none": there are now (add), and they hold no arguments."""
    kinds: list[str] = []
    saga = SagaAssembler.saga(name="shop", observers=[lambda event: kinds.append(event.kind)])
    saga.operation((step("charge"), "card 4242"))

    with caplog.at_level(logging.DEBUG, logger="py_api_saga"):
        execute(saga)

    assert kinds == ["saga started", "operation started", "succeeded", "saga ended"]
    assert "charge" in caplog.text
    assert "4242" not in caplog.text


def reserve(item: str) -> dict[str, str]:
    """Reserve."""
    return {"shelf": item[0]}


def put_back(shelf: str) -> str:
    """Undo it."""
    return f"back to {shelf}"


def pay(amount: int) -> None:
    """Fail."""
    raise ValueError(amount)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_builder_can_be_pickled(protocol: int, execute: Execute) -> None:
    """Row "pickle of the builder": it works if the functions are importable."""
    saga = SagaAssembler.saga(name="shop").operation(
        (reserve, "mug"), (put_back, result_of()["shelf"]), name="take"
    )
    saga.operation((pay, 5), after=["take"])

    again = pickle.loads(pickle.dumps(saga, protocol))  # noqa: S301 - our own bytes

    assert type(again) is SagaAssembler
    assert repr(again) == repr(saga)
    with pytest.raises(SagaException) as caught:
        execute(again)
    assert caught.value.compensation_success_result == ["back to m"]
    assert caught.value.operation_name == "pay"
