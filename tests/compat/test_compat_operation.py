"""py_api_saga 0.0.3, section 3: what `.operation(...)` takes, and what it refuses."""

import functools
import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest

from py_api_saga import SagaAssembler, SagaDefinitionError, SagaException

Execute = Callable[..., Any]
Step = Callable[..., Callable[..., Any]]

ADD_FUNCTION = "Please add function in operation argument."


def plain() -> str:
    """Answer."""
    return "plain"


def double(number: int, times: int = 2) -> int:
    """Multiply."""
    return number * times


class Unparsed:
    """Callable, but what reads its signature fails, as `ast` did where two threads used it."""

    @property
    def __signature__(self) -> None:
        raise SystemError("AST constructor recursion depth mismatch")

    def __call__(self) -> int:
        return 7


class Shop:
    """A thing with methods of each kind."""

    def __init__(self, stock: str = "mug") -> None:
        self.stock = stock

    def sell(self) -> str:
        """Sell what there is."""
        return f"sold {self.stock}"

    @staticmethod
    def opened() -> str:
        """Answer without a shop."""
        return "open"

    @classmethod
    def founded(cls) -> str:
        """Answer for all shops."""
        return cls.__name__

    def __call__(self, note: str = "") -> str:
        """Be called."""
        return f"called {self.stock}{note}"


@functools.wraps(plain)
def wrapped() -> str:
    """Stand before another function."""
    return "wrapped " + plain()


@functools.singledispatch
def dispatched(value: object) -> str:
    """Answer for any type."""
    return f"object {value}"


@dispatched.register
def _(value: int) -> str:
    return f"int {value}"


@functools.lru_cache
def cached(number: int) -> int:
    """Remember."""
    return number + 1


class OddFunctions:
    """Functions with an attribute that confused the predecessor."""

    @staticmethod
    def make() -> Callable[[], str]:
        """Return a function that has an `__iter__` attribute."""

        def iterable() -> str:
            return "not iterated"

        iterable.__iter__ = None  # type: ignore[attr-defined]
        return iterable


def result(execute: Execute, action: Any) -> Any:
    """Run one operation and return its result."""
    (only,) = execute(SagaAssembler.saga().operation(action))
    return only


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        pytest.param(plain, "plain", id="f"),
        pytest.param(lambda: "lambda", "lambda", id="lambda"),
        pytest.param(staticmethod(plain), "plain", id="staticmethod"),
        pytest.param(Shop.opened, "open", id="Cls.staticmethod"),
        pytest.param((Shop.sell, Shop("cup")), "sold cup", id="(Cls.method, obj)"),
        pytest.param(wrapped, "wrapped plain", id="functools.wraps"),
        pytest.param((dispatched, 5), "int 5", id="singledispatch"),
    ],
)
def test_what_was_accepted_is_accepted(execute: Execute, action: Any, expected: object) -> None:
    """Row "`f` · `lambda` · `staticmethod` · `(Cls.method, obj)` · `functools.wraps` …": ok."""
    assert result(execute, action) == expected


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        pytest.param((plain,), "plain", id="(f,)"),
        pytest.param((double, 4), 8, id="(f, 4)"),
        pytest.param((double, 4, 3), 12, id="(f, 4, 3)"),
        pytest.param([double, 4, 3], 12, id="[f, 4, 3]"),
        pytest.param([plain], "plain", id="[f]"),
        pytest.param((plain), "plain", id="(f)"),
    ],
)
def test_a_call_is_a_tuple_or_a_list(execute: Execute, action: Any, expected: object) -> None:
    """Row "`(f,)`, `(f, 1, 2)`, `[f, 1, 2]` (list form works too), `(f)`": ok."""
    assert result(execute, action) == expected


def test_a_dict_is_passed_as_a_position(execute: Execute) -> None:
    """Row "no kwargs possible": `(f, 1, {"k": 5})` passes the dict as an argument."""

    def both(*args: object) -> tuple[object, ...]:
        return args

    assert result(execute, (both, 1, {"k": 5})) == (1, {"k": 5})


def test_keywords_go_in_a_partial(execute: Execute) -> None:
    """Row "no kwargs possible": keywords go in a `functools.partial`."""
    assert result(execute, partial(double, 4, times=5)) == 20


def test_action_and_compensation_are_keywords_too(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """Row "`action=f` keyword": it works (fix)."""
    saga = SagaAssembler.saga().operation(action=step("a"), compensation=step("undo_a"))
    saga.operation(step("b"), compensation=step("undo_b"))
    saga.operation(action=step("bad", raises=ValueError()), after=["a", "b"])

    with pytest.raises(SagaException):
        execute(saga)

    assert sorted(log) == ["a", "b", "bad", "undo_a", "undo_b"]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        pytest.param(Shop().sell, "sold mug", id="bound method"),
        pytest.param(partial(double, 3), 6, id="partial"),
        pytest.param((partial(double, times=7), 3), 21, id="(partial, 3)"),
        pytest.param((len, "four"), 4, id="builtin"),
        pytest.param((print,), None, id="builtin without a signature of its own"),
        pytest.param((max, 3, 9), 9, id="builtin that has no signature"),
        pytest.param((operator.add, 3, 9), 12, id="operator.add"),
        pytest.param((str.upper, "low"), "LOW", id="method descriptor"),
        pytest.param("low".upper, "LOW", id="builtin method"),
        pytest.param((str, 5), "5", id="class"),
        pytest.param((dict, [("a", 1)]), {"a": 1}, id="builtin class"),
        pytest.param(Shop("pan"), "called pan", id="callable object"),
        pytest.param((Shop("pan"), "!"), "called pan!", id="(callable object, 1)"),
        pytest.param(Mock(return_value=7), 7, id="Mock"),
        pytest.param((Mock(return_value=7), 1, 2), 7, id="(Mock, 1, 2)"),
        pytest.param(MagicMock(return_value=7), 7, id="MagicMock"),
        pytest.param((cached, 6), 7, id="lru_cache function"),
        pytest.param(Shop.founded, "Shop", id="classmethod"),
        pytest.param(operator.methodcaller("sell"), None, id="methodcaller"),
        pytest.param(Unparsed(), 7, id="signature that Python fails to read"),
    ],
)
def test_any_callable_is_accepted(execute: Execute, action: Any, expected: object) -> None:
    """Row "bound method · `partial` · builtin · class · …": any callable (fix)."""
    if isinstance(action, operator.methodcaller):
        action, expected = (action, Shop("jug")), "sold jug"

    assert result(execute, action) == expected


def test_any_callable_is_a_compensation(execute: Execute, step: Step) -> None:
    """Row "bound method · `partial` · builtin · …": in the compensation, too (fix)."""
    undone: list[str] = []
    saga = (
        SagaAssembler.saga()
        .operation(step("a"), (undone.append, "builtin method"))
        .operation(step("b"), partial(undone.append, "partial"))
        .operation(step("c"), [undone.extend, ["list"]])
        .operation(step("bad", raises=ValueError()), after=["a", "b", "c"])
    )

    with pytest.raises(SagaException):
        execute(saga)

    assert sorted(undone) == ["builtin method", "list", "partial"]


def test_callables_without_a_name_still_have_one(execute: Execute) -> None:
    """Row "bound method · `partial` · … · `Mock`": each can be named in the exception."""
    actions: list[Any] = [partial(int, "x"), Mock(side_effect=ValueError), (Shop.sell, None)]
    for action in actions:
        with pytest.raises(SagaException) as caught:
            execute(SagaAssembler.saga().operation(action))

        assert isinstance(caught.value.operation_name, str)
        assert list(caught.value.operations) == [caught.value.operation_name]


REFUSED = [
    pytest.param(None, id="None"),
    pytest.param(5, id="5"),
    pytest.param("abc", id="'abc'"),
    pytest.param(b"abc", id="b'abc'"),
    pytest.param(range(3), id="range(3)"),
    pytest.param((None,), id="(None,)"),
    pytest.param(((plain, 1),), id="((f, 1),)"),
    pytest.param((), id="()"),
    pytest.param([], id="[]"),
    pytest.param("", id="''"),
    pytest.param({}, id="{}"),
    pytest.param({plain: 1}, id="{f: 1}"),
    pytest.param({0: plain}, id="{0: f}"),
    pytest.param({plain}, id="{f}"),
    pytest.param((_ for _ in [plain]), id="generator"),
]


@pytest.mark.parametrize("action", REFUSED)
def test_what_is_no_call_is_refused_in_the_old_words(action: Any) -> None:
    """Rows "`None` · `5` · …", "`()` · `[]` · `''`" and "`{}` / `{f:1}` · …": same text."""
    with pytest.raises(SagaDefinitionError) as caught:
        SagaAssembler.saga().operation(action)

    assert str(caught.value) == ADD_FUNCTION
    assert caught.value.args == (ADD_FUNCTION,)
    assert caught.value.operation_error == ADD_FUNCTION


@pytest.mark.parametrize("compensation", [case for case in REFUSED if case.id != "None"])
def test_what_is_no_undo_is_refused_in_the_old_words(compensation: Any) -> None:
    """The same rows, for the compensation; only None is welcome there."""
    with pytest.raises(SagaDefinitionError) as caught:
        SagaAssembler.saga().operation(plain, compensation)

    assert str(caught.value) == ADD_FUNCTION


def test_a_function_with_an_iter_attribute_is_a_function(execute: Execute) -> None:
    """Row "function with an `__iter__` attribute": called like any other (fix)."""
    assert result(execute, OddFunctions.make()) == "not iterated"


def test_a_callable_that_can_be_iterated_is_a_callable(execute: Execute) -> None:
    """Row "function with an `__iter__` attribute": callable objects with `__iter__`, too (fix)."""

    class Both:
        """A thing that is both."""

        def __iter__(self) -> Iterator[int]:
            return iter([1])

        def __call__(self) -> str:
            return "called"

    assert result(execute, Both()) == "called"


def test_an_operation_without_arguments_is_refused() -> None:
    """Row "`.operation()`": `Operation can not be empty`."""
    empty: Any = SagaAssembler.saga().operation

    with pytest.raises(SagaDefinitionError) as caught:
        empty()

    assert str(caught.value) == "Operation can not be empty"


@pytest.mark.parametrize("more", [1, 2, 7])
def test_three_calls_are_refused(more: int) -> None:
    """Row "3+ args": `Only two operations (action, compensation) are allowed.`."""
    anything: Any = SagaAssembler.saga().operation

    with pytest.raises(SagaDefinitionError) as caught:
        anything(plain, plain, *[plain] * more)

    assert str(caught.value) == "Only two operations (action, compensation) are allowed."


def test_none_is_no_compensation(execute: Execute, step: Step, log: list[str]) -> None:
    """Row "`.operation(f, None)`": None stands for no compensation (fix)."""
    saga = SagaAssembler.saga().operation(step("a"), None)
    saga.operation(step("bad", raises=ValueError()), None, after=["a"])

    with pytest.raises(SagaException) as caught:
        execute(saga)

    assert log == ["a", "bad"]
    assert caught.value.compensation_success_result is None


def test_a_rejected_operation_adds_nothing(execute: Execute, step: Step, log: list[str]) -> None:
    """Row "a rejected `.operation`": nothing added, the builder is still usable."""
    saga = SagaAssembler.saga().operation(step("a", returns=1))
    bad: Any = [(5,), (), (step("x"), 5), (step("x"), step("y"), step("z")), (step("x"), ())]
    for args in bad:
        with pytest.raises(SagaException):
            saga.operation(*args)

    assert execute(saga.operation(step("b", returns=2))) == [1, 2]
    assert sorted(log) == ["a", "b"]


def test_operation_returns_the_saga() -> None:
    """Row "returns self": so that a saga is one sentence."""
    saga = SagaAssembler.saga()

    assert saga.operation(plain) is saga
    assert saga.operation(plain, plain) is saga


def test_mutable_arguments_are_captured_by_reference(execute: Execute) -> None:
    """Row "mutable args captured by reference": `lst.append` after the build is seen."""
    basket = ["mug"]
    saga = SagaAssembler.saga().operation((len, basket))
    basket.append("jug")

    assert execute(saga) == [2]
    basket.append("pan")
    assert execute(saga) == [3]


def test_an_action_gets_the_very_object(execute: Execute) -> None:
    """Row "mutable args captured by reference": the action may change what it was given."""
    basket: list[str] = []

    execute(
        SagaAssembler.saga()
        .operation((basket.append, "mug"))
        .operation((operator.iadd, basket, ["jug"]))
    )

    assert sorted(basket) == ["jug", "mug"]


def test_the_same_operation_twice_is_allowed(execute: Execute, step: Step, log: list[str]) -> None:
    """Row "same op twice": allowed."""
    again = step("again", returns="x")

    assert execute(SagaAssembler.saga().operation(again).operation(again)) == ["x", "x"]
    assert log == ["again", "again"]
