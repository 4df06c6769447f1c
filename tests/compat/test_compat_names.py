"""py_api_saga 0.0.3, section 1: import paths, the class, the exception."""

import copy
import pickle
import traceback
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
from world import until_gone

import py_api_saga
import py_api_saga.py_api_saga as old_path
from py_api_saga import (
    SagaAssembler,
    SagaDefinitionError,
    SagaError,
    SagaException,
    SagaStatus,
    SagaStuck,
    Status,
)

Execute = Callable[..., Any]
Step = Callable[..., Callable[..., Any]]

GOLDEN = Path(__file__).parent.parent / "golden"


def reload(value: Any, protocol: int = pickle.DEFAULT_PROTOCOL) -> Any:
    """Pickle a thing and load it again."""
    return pickle.loads(pickle.dumps(value, protocol))  # noqa: S301 - our own bytes


def golden(name: str) -> Any:
    """Load a pickle of the predecessor."""
    return pickle.loads((GOLDEN / name).read_bytes())  # noqa: S301 - made by golden/make.py


class Lock:
    """A thing that no pickle can hold."""

    def __reduce__(self) -> str:
        message = "cannot pickle a lock"
        raise TypeError(message)


class HoldsLock(Exception):
    """An error that does not survive a pickle."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = Lock()


class Mute(Exception):
    """An error that cannot be printed."""

    def __str__(self) -> str:
        message = "no words"
        raise RuntimeError(message)

    __repr__ = __str__


def failure(execute: Execute, saga: SagaAssembler) -> SagaException:
    """Run a saga that fails, and return its exception."""
    with pytest.raises(SagaException) as caught:
        execute(saga)
    return caught.value


# --- imports and building ----------------------------------------------------


def test_the_import_of_the_readme_works() -> None:
    """Row "`from py_api_saga import SagaAssembler` (README)": it works (fix)."""
    assert py_api_saga.SagaAssembler is SagaAssembler


def test_the_old_import_path_is_an_alias() -> None:
    """Row "`from py_api_saga.py_api_saga import SagaAssembler`": the same class."""
    assert old_path.SagaAssembler is SagaAssembler


@pytest.mark.parametrize(
    "build",
    [
        lambda: SagaAssembler(2),
        lambda: SagaAssembler.saga(2),
        lambda: SagaAssembler.saga(retry_attempts=2),
        lambda: SagaAssembler(retry_attempts=2),
    ],
)
def test_a_saga_is_built_in_either_spelling(
    build: Callable[[], SagaAssembler], execute: Execute, step: Step, log: list[str]
) -> None:
    """Row "`SagaAssembler(2)`, `.saga(2)`, `.saga(retry_attempts=2)`": all the same."""
    failure(execute, build().operation(step("bad", raises=ValueError())))

    assert log == ["bad", "bad"]


def test_saga_of_a_subclass_returns_the_subclass(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """Row "`class Sub(SagaAssembler)`; `Sub.saga()`": it returns a Sub (fix)."""

    class Sub(SagaAssembler):
        def reserve(self) -> Self:
            return self.operation(step("reserve"), step("release"))

    saga = Sub.saga(2)
    assert type(saga) is Sub
    assert type(saga.reserve().operation(step("pay")).reserve()) is Sub

    execute(saga)
    assert sorted(log) == ["pay", "reserve", "reserve"]


def test_the_exception_is_reached_through_class_and_instance() -> None:
    """Row "`SagaAssembler.SagaException` also via instance": one class, an `Exception`."""
    assert SagaAssembler.SagaException is SagaException
    assert SagaAssembler().SagaException is SagaException
    assert issubclass(SagaException, Exception)


# --- the exception -----------------------------------------------------------


def test_the_exception_is_constructed_as_before() -> None:
    """Row "ctor": four positions, keyword `compensation_error`, attribute `compensation_errors`."""
    error = ValueError("boom")

    whole = SagaException(error, "bad", ["a"], ["b"])
    named = SagaException(
        operation_error=error,
        operation_name="bad",
        compensation_success_result=["a"],
        compensation_error=["b"],
    )

    for exception in (whole, named):
        assert exception.operation_error is error
        assert exception.operation_name == "bad"
        assert exception.compensation_success_result == ["a"]
        assert exception.compensation_errors == ["b"]


def test_the_exception_needs_only_an_error() -> None:
    """Row "ctor": the last three default to None, and `SagaException()` is a TypeError."""
    exception = SagaException(ValueError("boom"))

    assert exception.operation_name is None
    assert exception.compensation_success_result is None
    assert exception.compensation_errors is None
    with pytest.raises(TypeError):
        SagaException()  # type: ignore[call-arg]


def test_an_exception_that_the_user_made_has_empty_structures() -> None:
    """Row "ctor": what only a run can know is empty or None, and printing works."""
    exception = SagaException(ValueError("boom"), "bad")

    assert dict(exception.operations) == {}
    assert dict(exception.operation_errors) == {}
    assert dict(exception.stuck) == {}
    assert "bad" in str(exception)
    assert "boom" in str(exception)
    assert isinstance(exception.mermaid(), str)


def test_the_text_is_readable_and_args_are_kept(execute_chain: Execute, step: Step) -> None:
    """Row "`str(e)`": a sentence instead of a tuple (fix); `args` and attributes as before."""
    error = ValueError("boom")
    saga = (
        SagaAssembler.saga()
        .operation(step("a"), step("undo_a", returns="ca!"))
        .operation(step("bad", raises=error))
    )

    exception = failure(execute_chain, saga)

    assert "operation 'bad' failed: ValueError('boom')" in str(exception)
    assert "compensated: a" in str(exception)
    assert exception.args == (error, "bad", ["ca!"], None)


def test_validation_errors_are_their_text() -> None:
    """Row "`str(e)`": for validation errors it is the text itself, in `args` too."""
    with pytest.raises(SagaException) as caught:
        SagaAssembler.saga().orchestrator_execute()

    assert str(caught.value) == "Set operation first to execute the saga."
    assert caught.value.args == ("Set operation first to execute the saga.",)


@pytest.mark.parametrize(
    "duplicate",
    [
        copy.copy,
        copy.deepcopy,
        *(partial(reload, protocol=protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
    ],
)
def test_a_copy_or_pickle_keeps_everything(
    duplicate: Callable[[SagaException], SagaException], step: Step
) -> None:
    """Row "pickling / copy": it works, the attributes are kept; so is what is new."""
    saga = (
        SagaAssembler.saga()
        .operation(step("a", returns=1), step("undo_a", returns="ca!"))
        .operation(step("b"), step("undo_b", raises=KeyError("kb")))
        .operation(step("bad", raises=ValueError("boom")))
    )
    error = failure(lambda saga: saga.orchestrator_execute(), saga)
    again = duplicate(error)

    assert type(again) is SagaStuck
    assert repr(again.args) == repr(error.args)
    assert repr(again.operation_error) == "ValueError('boom')"
    assert again.operation_name == "bad"
    assert again.compensation_success_result == ["ca!"]
    assert again.compensation_errors == ["'kb'"]
    assert str(again) == str(error)
    assert again.outcome is SagaStatus.STUCK
    assert again.saga_id == error.saga_id
    assert list(again.operations) == ["a", "b", "bad"]
    assert again.operations["a"].status is Status.COMPENSATED
    assert again.operations["a"].result == 1
    assert repr(again.stuck) == "{'b': KeyError('kb')}"
    assert repr(again.operation_errors) == repr(error.operation_errors)
    assert again.mermaid() == error.mermaid()


@pytest.mark.parametrize("kind", [HoldsLock, Mute])
def test_a_pickle_works_though_an_inner_error_does_not_pickle(
    kind: type[Exception], execute: Execute, step: Step
) -> None:
    """Row "pickling / copy": errors and results that can't be pickled are kept as text."""
    saga = (
        SagaAssembler.saga()
        .operation(step("a", returns=Lock()), step("undo_a", raises=HoldsLock("ha")))
        .operation(step("bad", raises=kind("boom")), after=["a"])
    )
    error = failure(execute, saga)

    again = reload(error)

    assert type(again) is SagaStuck
    assert again.operation_name == "bad"
    assert isinstance(again.operation_error, Exception)
    assert list(again.stuck) == ["a"]
    assert str(again)


def test_an_exception_shows_itself_whatever_is_in_it() -> None:
    """Row "`str(e)`": asyncio and debuggers take its `repr`, which never raises."""
    exception = SagaException(Mute(), "bad", [Mute()], ["ca!"])

    assert "SagaException" in repr(exception)
    assert "bad" in repr(exception)
    assert "bad" in str(exception)


@pytest.mark.parametrize("kind", [SagaError, SagaDefinitionError, SagaStuck, SagaException])
def test_every_exception_of_the_library_pickles(kind: type[SagaError]) -> None:
    """Row "pickling / copy": the subclasses pickle as themselves."""
    again = reload(kind("some text"))

    assert type(again) is kind
    assert str(again) == "some text"


def test_the_original_error_is_the_cause(execute: Execute, step: Step) -> None:
    """Row "`__cause__`": the exception is raised from the operation's error (fix)."""
    error = ValueError("boom")

    exception = failure(execute, SagaAssembler.saga().operation(step("bad", raises=error)))

    assert exception.__cause__ is error
    assert exception.operation_error is error


def test_a_traceback_tells_the_whole_story(execute: Execute, step: Step) -> None:
    """Row "`__cause__`": a printed traceback shows the user's line, the error and what is stuck."""
    saga = (
        SagaAssembler.saga()
        .operation(step("reserve"), step("release", raises=KeyError("warehouse")))
        .operation(step("charge", raises=ValueError("declined")), after=["reserve"])
    )

    text = "".join(traceback.format_exception(failure(execute, saga)))

    assert "ValueError: declined" in text
    assert "in function\n" in text  # the frame of the user's function
    assert "charge" in text
    assert "STUCK reserve" in text
    assert "KeyError('warehouse')" in text


def test_usage_errors_are_the_same_class(execute: Execute) -> None:
    """Row "usage errors": `operation_error` is a str; a subclass of their own."""
    exception = failure(execute, SagaAssembler.saga())

    assert type(exception) is SagaDefinitionError
    assert issubclass(SagaDefinitionError, SagaException)
    assert exception.operation_error == "Set operation first to execute the saga."
    assert exception.operation_name is None
    assert exception.compensation_success_result is None
    assert exception.compensation_errors is None


def test_each_undo_result_can_be_told_apart(execute_chain: Execute, step: Step) -> None:
    """Row "which op each undo result belongs to": bare lists as before; `.operations` knows."""
    saga = (
        SagaAssembler.saga()
        .operation(step("a", returns=1), step("undo_a"))
        .operation(step("b", returns=2), step("undo_b"))
        .operation(step("bad", raises=ValueError("boom")))
        .operation(step("never"))
    )

    exception = failure(execute_chain, saga)

    assert exception.compensation_success_result == [None, None]
    reports = exception.operations
    assert list(reports) == ["a", "b", "bad", "never"]
    assert [report.status for report in reports.values()] == [
        Status.COMPENSATED,
        Status.COMPENSATED,
        Status.FAILED,
        Status.PENDING,
    ]
    assert [report.result for report in reports.values()] == [1, 2, None, None]
    assert reports["bad"].error is exception.operation_error
    assert reports["a"].error is None


def test_functions_keep_nothing_alive_after_the_run(execute: Execute) -> None:
    """Row "function after the run": it holds no results (fix: the memory leak)."""

    class Big:
        """A result worth freeing."""

    def make() -> Big:
        return Big()

    def run() -> list[weakref.ref[Big]]:
        saga = SagaAssembler.saga().operation(make).operation(make)
        return [weakref.ref(result) for result in execute(saga)]

    until_gone(run)


# --- pickles of the predecessor ----------------------------------------------

OLD = {  # shape: operation_error, operation_name, compensation_success_result, compensation_errors
    "first_fails": ("ValueError('boom')", "badly", None, None),
    "undone": ("ValueError('boom')", "badly", ["-b", "-a"], None),
    "undone_without_results": ("ValueError('boom')", "badly", [None, None], None),
    "undo_failed": ("ValueError('boom')", "badly", ["-a"], ["no way back"]),
    "choreography": ("ValueError('boom')", "badly", ["-a"], ["no way back"]),
    "usage": ("'Set operation first to execute the saga.'", None, None, None),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("shape", OLD)
def test_a_pickled_exception_of_the_predecessor_loads(shape: str, protocol: int) -> None:
    """Section 6, "pickled exceptions of 0.0.3": they still load, as the same class."""
    error = golden(f"{shape}.{protocol}.pickle")

    assert type(error) is SagaException
    assert (
        repr(error.operation_error),
        error.operation_name,
        error.compensation_success_result,
        error.compensation_errors,
    ) == OLD[shape]
    assert error.args[0] is error.operation_error
    assert str(error)
    assert dict(error.operations) == {}


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickled_nested_exception_of_the_predecessor_loads(protocol: int) -> None:
    """Section 6, "pickled exceptions of 0.0.3": an exception inside an exception, too."""
    outer = golden(f"nested.{protocol}.pickle")

    inner = outer.operation_error
    assert type(outer) is type(inner) is SagaException
    assert outer.operation_name == "nested"
    assert inner.operation_name == "badly"
    assert repr(inner.operation_error) == "ValueError('inner')"


def test_a_loaded_pickle_can_be_pickled_again() -> None:
    """Section 6, "pickled exceptions of 0.0.3": what was loaded can be passed on."""
    error = golden("undo_failed.4.pickle")

    again = reload(error)

    assert again.compensation_errors == ["no way back"]
    assert repr(again.args) == repr(error.args)


def test_the_assembler_is_a_saga() -> None:
    """Section 6, "`SagaAssembler` is a `Saga`": and `saga` is a classmethod of both."""
    assert issubclass(SagaAssembler, py_api_saga.Saga)
    assert isinstance(SagaAssembler.saga(2), py_api_saga.Saga)
    assert isinstance(SagaAssembler(2), py_api_saga.Saga)
