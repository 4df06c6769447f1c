"""py_api_saga 0.0.3, section 2: `retry_attempts`, the tries of each action in all."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from py_api_saga import Retry, SagaAssembler, SagaDefinitionError, SagaException

Execute = Callable[..., Any]
Step = Callable[..., Callable[..., Any]]


@pytest.mark.parametrize("attempts", [None, 0, False, 0.0, True, 1])
def test_nothing_means_one_attempt(
    attempts: Any, execute: Execute, step: Step, log: list[str]
) -> None:
    """Rows "`None`, `0`, `False`, `0.0`" and "`True`": one attempt."""
    with pytest.raises(SagaException):
        execute(SagaAssembler.saga(attempts).operation(step("bad", raises=ValueError())))

    assert log == ["bad"]


@pytest.mark.parametrize("attempts", [3, 3.0])
def test_only_the_failing_operation_is_tried_again(
    attempts: Any, execute: Execute, step: Step, log: list[str]
) -> None:
    """Rows "`3`" and "`1.0`" (fix: integral floats count): earlier operations are not re-run."""
    saga = SagaAssembler.saga(attempts).operation(step("a"))
    saga.operation(step("bad", raises=ValueError()), after=["a"])

    with pytest.raises(SagaException):
        execute(saga)

    assert log == ["a", "bad", "bad", "bad"]


def test_attempts_follow_each_other_at_once(execute: Execute, step: Step, log: list[str]) -> None:
    """Row "`3`": no delay between attempts, however many."""
    waits: list[float | None] = []

    class Watched(SagaAssembler):
        observers = (lambda event: waits.append(event.wait),)

    saga = Watched.saga(50).operation(step("bad", raises=ValueError()))

    with pytest.raises(SagaException):
        execute(saga)

    assert len(log) == 50
    assert {wait for wait in waits if wait is not None} == {0}
    assert len(waits) > 49


def test_a_later_attempt_may_succeed(execute: Execute, log: list[str]) -> None:
    """Row "`3`": the saga goes on when an attempt succeeds, and the last error is forgotten."""

    def third_time_lucky() -> str:
        log.append("try")
        if len(log) < 3:
            raise ValueError(len(log))
        return "lucky"

    assert execute(SagaAssembler.saga(3).operation(third_time_lucky)) == ["lucky"]
    assert log == ["try", "try", "try"]


def test_the_last_error_is_the_one_reported(execute: Execute, log: list[str]) -> None:
    """Row "`3`": any `Exception` is tried again; the last attempt's error is reported."""
    errors = [ValueError("first"), LookupError("second"), OSError("third")]

    def bad() -> None:
        log.append("try")
        raise errors[len(log) - 1]

    with pytest.raises(SagaException) as caught:
        execute(SagaAssembler.saga(3).operation(bad))

    assert caught.value.operation_error is errors[2]


@pytest.mark.parametrize("attempts", [-1, -1.0, -300])
def test_negative_attempts_are_refused_at_once(attempts: Any) -> None:
    """Row "`-1`": refused when the saga is made, instead of failing every run (fix)."""
    with pytest.raises(SagaDefinitionError, match="retry_attempts") as caught:
        SagaAssembler.saga(attempts)

    assert str(attempts) in str(caught.value)


def test_one_as_a_float_is_one_attempt(execute: Execute, step: Step, log: list[str]) -> None:
    """Row "`1.0`": an integral float is accepted (fix)."""
    one: Any = 1.0

    with pytest.raises(SagaException):
        execute(SagaAssembler.saga(one).operation(step("bad", raises=ValueError())))

    assert log == ["bad"]


@pytest.mark.parametrize("attempts", [2.5, math.nan, math.inf, -math.inf])
def test_other_floats_are_refused_at_once(attempts: Any) -> None:
    """Row "`2.5`, `nan`, `inf`": refused when the saga is made (fix)."""
    with pytest.raises(SagaDefinitionError, match="retry_attempts") as caught:
        SagaAssembler.saga(attempts)

    assert str(attempts) in str(caught.value)


@pytest.mark.parametrize("attempts", ["", [], (), {}, b""])
def test_empty_values_are_refused(attempts: Any) -> None:
    """Row "`''`, `[]`, `()`, `{}`, `b''`": no longer silently one attempt (fix)."""
    with pytest.raises(SagaDefinitionError) as caught:
        SagaAssembler.saga(attempts)

    assert str(caught.value) == (
        f"`retry_attempts` cannot be {type(attempts)} type. Integer type is required."
    )


@pytest.mark.parametrize("attempts", ["3", [1], {"a": 1}, object(), object, 1j, b"1", (3,)])
def test_other_types_are_refused_in_the_old_words(attempts: Any) -> None:
    """Row "`'3'`, `[1]`, `{'a':1}`, `object`, `1j`": the predecessor's text, word for word."""
    with pytest.raises(SagaException) as caught:
        SagaAssembler(attempts)

    text = f"`retry_attempts` cannot be {type(attempts)} type. Integer type is required."
    assert str(caught.value) == text
    assert caught.value.args == (text,)
    assert caught.value.operation_error == text


def test_an_undo_is_tried_once(execute: Execute, step: Step, log: list[str]) -> None:
    """Row "undo with `retry_attempts=3`": one attempt, as before."""
    saga = SagaAssembler.saga(3).operation(step("a"), step("undo_a", raises=ValueError("no")))
    saga.operation(step("bad", raises=ValueError("boom")), after=["a"])

    with pytest.raises(SagaException) as caught:
        execute(saga)

    assert log.count("undo_a") == 1
    assert caught.value.compensation_errors == ["no"]


def test_an_undo_is_tried_again_where_asked_for(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """Row "undo with `retry_attempts=3`": `compensation_retry` tries it again (opt)."""
    again = Retry(ValueError, attempts=3, wait_initial=0, wait_jitter=0)
    saga = SagaAssembler.saga(3, compensation_retry=again)
    saga.operation(step("a"), step("undo_a", raises=ValueError("no")))
    saga.operation(step("bad", raises=ValueError("boom")), after=["a"])

    with pytest.raises(SagaException) as caught:
        execute(saga)

    assert log.count("undo_a") == 3
    assert caught.value.compensation_errors == ["no"]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_not_tried_again(
    interrupt: type[BaseException], execute: Execute, step: Step, log: list[str]
) -> None:
    """Row "KeyboardInterrupt with retry 3": one attempt, and it goes through."""
    with pytest.raises(interrupt):
        execute(SagaAssembler.saga(3).operation(step("stop", raises=interrupt())))

    assert log == ["stop"]
