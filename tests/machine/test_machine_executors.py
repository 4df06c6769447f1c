"""What its executors owe the machine: they tell it in time, and of everything."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from world import HOUR, PATIENCE, Clock

from py_api_saga import Event, Retry, SagaAssembler, SagaException, SagaStuck, Status, happened

Execute = Callable[..., Any]


def now(attempts: int = 3) -> Retry:
    """Try again without waiting."""
    return Retry(Exception, attempts=attempts, wait_initial=0, wait_jitter=0)


def noting(log: list[Any], what: object, *, raises: BaseException | None = None) -> Any:
    """Make a function that notes its call."""

    def function() -> object:
        log.append(what)
        if raises is not None:
            raise raises
        return what

    return function


def test_an_intent_is_told_before_its_call(execute: Execute, log: list[Any]) -> None:
    """So that a crash leaves it in doubt, never unknown; the result is told after it."""

    def watch(event: Event) -> None:
        if event.operation == "b":
            log.append(event.kind)

    saga = SagaAssembler.saga(observers=[watch])
    saga.operation(noting(log, "a"), noting(log, "undo a"), name="a")
    saga.operation(noting(log, "b"), noting(log, "undo b"), name="b", after="a")
    saga.operation(noting(log, "c", raises=ValueError("c")), name="c", after="b")

    with pytest.raises(SagaException):
        execute(saga)

    assert log == [
        "a", "operation started", "b", "succeeded", "c", "compensating", "undo b", "compensated",
        "undo a",
    ]  # fmt: skip


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_undoes_and_is_raised_again(
    execute_sync: Execute, log: list[Any], interrupt: type[BaseException]
) -> None:
    """The operation that it struck is in doubt, so it is undone as well; then it goes on."""
    saga = SagaAssembler.saga()
    saga.operation(noting(log, "a"), noting(log, "undo a"), name="a")
    struck = noting(log, "b", raises=interrupt("stop"))
    saga.operation(struck, noting(log, "undo b"), name="b", after="a")
    saga.operation(noting(log, "c"), name="c", after="b")

    with pytest.raises(interrupt, match="stop"):
        execute_sync(saga)

    assert log == ["a", "b", "undo b", "undo a"]


def test_a_doubtful_call_is_not_called_again_while_it_lives(execute: Execute) -> None:
    """It has a retry policy, and its first attempt still runs: it is undone instead."""
    calls, go_on, landed = list[str](), threading.Event(), threading.Event()

    def slow() -> None:
        calls.append("slow")
        go_on.wait(PATIENCE)

    def undo() -> None:
        calls.append("undo")
        if calls.count("undo") == 2:
            landed.set()

    saga = SagaAssembler.saga().operation(slow, undo, timeout=0.02, retry=now())

    with pytest.raises(SagaException):
        execute(saga)

    assert calls == ["slow", "undo"]
    go_on.set()
    assert landed.wait(PATIENCE), "the landing is undone as well"
    assert calls == ["slow", "undo", "undo"]


def test_a_doubtful_exception_is_retried_and_sticky(execute: Execute, log: list[Any]) -> None:
    """A reply that was lost, then a refusal: it may have happened, so it is undone."""
    errors: list[BaseException] = [ConnectionResetError(), ValueError("no")]

    def charge() -> None:
        raise errors.pop(0)

    with pytest.raises(SagaException) as caught:
        execute(SagaAssembler.saga().operation(charge, noting(log, "refund"), retry=now(2)))

    assert log == ["refund"]
    assert caught.value.operations["charge"].status is Status.COMPENSATED
    assert isinstance(caught.value.__cause__, ValueError)


def test_the_answer_of_on_doubt_reaches_the_machine(execute: Execute, log: list[Any]) -> None:
    """What happened after all goes on with the result that the answer gave."""
    saga = SagaAssembler.saga()
    lost = noting(log, "pay", raises=TimeoutError())
    saga.operation(lost, name="pay", pivot=True, on_doubt=lambda: happened("paid"))
    saga.operation(noting(log, "ship"), name="ship", after="pay")

    assert execute(saga) == ["paid", "ship"]


def test_the_exception_names_the_first_error_in_operation_order(execute_graph: Execute) -> None:
    """Several fail at once: all errors are kept, the first operation's is the cause."""
    both = threading.Barrier(2)

    def fail(name: str) -> None:
        both.wait(PATIENCE)
        if name == "a":
            time.sleep(0.02)
        raise ValueError(name)

    saga = SagaAssembler.saga().operation((fail, "a"), name="a").operation((fail, "b"), name="b")

    with pytest.raises(SagaException) as caught:
        execute_graph(saga)

    assert str(caught.value.__cause__) == "a"
    assert list(map(str, caught.value.operation_errors.values())) == ["a", "b"]
    assert list(caught.value.operation_errors) == ["a", "b"]


def test_the_exception_of_a_stuck_saga_keeps_every_error(execute_chain: Execute) -> None:
    """The cause is the action's error; each compensation's stands beside it, the last one first."""
    saga = SagaAssembler.saga()
    saga.operation(int, noting([], "", raises=ValueError("undo a")), name="a")
    saga.operation(int, noting([], "undone b"), name="b")
    saga.operation(int, noting([], "", raises=ValueError("undo c")), name="c")
    saga.operation(noting([], "", raises=ValueError("d")), name="d")

    with pytest.raises(SagaStuck) as caught:
        execute_chain(saga)

    assert str(caught.value.__cause__) == "d"
    assert caught.value.compensation_success_result == ["undone b"]
    assert caught.value.compensation_errors == ["undo c", "undo a"]
    assert list(map(str, caught.value.stuck.values())) == ["undo a", "undo c"]


def test_a_run_that_was_stopped_names_what_it_did_not_start(
    execute_chain: Execute, clock: Clock
) -> None:
    """A deadline is nobody's failure: the first operation that was not started is named."""
    saga = (
        SagaAssembler.saga().operation((clock.forward, 2 * HOUR), name="a").operation(int, name="b")
    )

    with pytest.raises(SagaException) as caught:
        execute_chain(saga, deadline=HOUR)

    assert isinstance(caught.value.__cause__, TimeoutError)
    assert caught.value.operations["b"].status is Status.PENDING
    assert caught.value.operation_name == "b"
