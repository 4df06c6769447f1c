"""A saga that cannot be run as it is written says so at once, and stays usable."""

import math
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from copy import copy
from datetime import timedelta
from functools import partial
from typing import Any, cast

import pytest

from py_api_saga import (
    NOT_HAPPENED,
    Retry,
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    current_operation,
    result_of,
)
from py_api_saga.definition import Names

Execute = Callable[..., Any]
Step = Callable[..., Callable[..., Any]]

SECRET = "4242-4242-4242"  # noqa: S105 - a card that does not exist


def pay(card: str, amount: int = 1, *, currency: str = "EUR") -> str:
    """Pay."""
    return f"{card} {amount} {currency}"


PAY: Any = pay  # for calls that a type checker would refuse


def nothing() -> None:
    """Do nothing."""


async def pay_later(card: str = "") -> str:
    """Pay, asynchronously."""
    return card


def generate(_: str = "") -> Iterator[int]:
    """Yield."""
    yield 1


async def generate_later(_: str = "") -> AsyncIterator[int]:
    """Yield, asynchronously."""
    yield 1


class Bank:
    """A thing to call in many ways."""

    def __init__(self, card: str = "") -> None:
        self.card = card

    def pay(self, card: str) -> str:
        """Pay."""
        return card

    async def pay_later(self, card: str = "") -> str:
        """Pay, asynchronously."""
        return card

    def generate(self, _: str = "") -> Iterator[int]:
        """Yield."""
        yield 1

    @classmethod
    def found(cls, card: str) -> str:
        """Found a bank."""
        return card

    @staticmethod
    def rate(card: str) -> str:
        """Rate a card."""
        return card


class AsyncBank:
    """A callable object whose call is a coroutine."""

    async def __call__(self, card: str = "") -> str:
        """Be called."""
        return card


class PlainBank:
    """A callable object."""

    def __call__(self, card: str) -> str:
        """Be called."""
        return card


class GeneratorBank:
    """A callable object whose call is a generator."""

    def __call__(self, _: str = "") -> Iterator[int]:
        """Be called."""
        yield 1


def named(name: str) -> Callable[[], str]:
    """Make a function of that name."""

    def function() -> str:
        return name

    function.__name__ = function.__qualname__ = name
    return function


def base() -> SagaAssembler:
    """Make a saga to which an operation is added wrongly: charge, reserve, twice, twice-2."""
    saga = SagaAssembler.saga().operation((pay, SECRET), name="charge").operation(named("reserve"))
    return saga.operation(named("twice")).operation(named("twice"))


RESULTS = [f"{SECRET} 1 EUR", "reserve", "twice", "twice"]


def refuse(saga: SagaAssembler, *args: Any, words: tuple[str, ...] = (), **options: Any) -> str:
    """Add what must be refused: the saga is as it was, the message has these words."""
    before = repr(saga)
    with pytest.raises(SagaDefinitionError) as caught:
        saga.operation(*args, **options)

    message = str(caught.value)
    for word in words:
        assert word in message
    assert SECRET not in message
    assert repr(saga) == before
    assert isinstance(caught.value, SagaException)
    assert caught.value.operation_error == message
    assert caught.value.operation_name is None
    assert isinstance(saga.orchestrator_execute(), list)
    return message


# --- after and placeholders --------------------------------------------------

BAD_REFERENCES = [
    pytest.param("reserv", ("'reserv'",), id="unknown"),
    pytest.param("later", ("'later'",), id="its own name"),
    pytest.param("twice", ("'twice'",), id="shared"),
    pytest.param("charge.reserve", ("'charge.reserve'",), id="a child's that is none"),
    pytest.param(" charge", ("' charge'",), id="blank"),
]


@pytest.mark.parametrize(("name", "words"), BAD_REFERENCES)
def test_a_bad_name_in_after_is_refused(name: str, words: tuple[str, ...]) -> None:
    """`after=` names operations declared before, each name only one."""
    refuse(base(), named("later"), after=[name], words=("operation 5", "after", *words))


@pytest.mark.parametrize(("name", "words"), BAD_REFERENCES)
def test_a_bad_name_in_a_placeholder_is_refused(name: str, words: tuple[str, ...]) -> None:
    """`result_of` names operations declared before, each name only one; in action and undo."""
    where = ("operation 5", "result_of", *words)
    refuse(base(), (pay, result_of(name)), name="later", words=where)
    refuse(base(), (pay, [{"deep": (result_of(name)["x"],)}]), name="later", words=where)
    refuse(base(), partial(pay, "card", currency=result_of(name)), name="later", words=where)
    if name != "later":
        refuse(base(), nothing, (pay, result_of(name)), name="later", words=where)


def test_a_later_name_is_unknown(execute: Execute) -> None:
    """An operation declared later cannot be named, so a cycle cannot be written."""
    saga = SagaAssembler.saga()
    with pytest.raises(SagaDefinitionError, match="'b'"):
        saga.operation(named("a"), after=["b"])
    with pytest.raises(SagaDefinitionError, match="'b'"):
        saga.operation((pay, result_of("b")), name="a")

    assert execute(saga.operation(named("b"))) == ["b"]


def test_a_message_lists_the_names_that_there_are() -> None:
    """What was expected: one of the names that exist."""
    message = refuse(base(), nothing, after=["reserv"])

    assert "reserve" in message.replace("'reserv'", "")


def test_a_shared_name_says_that_it_is_shared() -> None:
    """`charge` of two operations is not unknown but ambiguous; the message tells the names."""
    message = refuse(base(), nothing, after=["twice"])

    assert "twice-2" in message or "several" in message


@pytest.mark.parametrize("after", [5, [5], [None], [result_of("charge")], [pay]])
def test_after_takes_names_only(after: Any) -> None:
    """Anything but a name or a sequence of names is refused as such."""
    refuse(base(), nothing, after=after, words=("operation 5", "after"))


def test_after_takes_any_iterable_of_names(execute: Execute, step: Step, log: list[str]) -> None:
    """A list, a tuple, a set or a generator of names will do."""
    saga = SagaAssembler.saga().operation(step("a")).operation(step("b"), after=("a",))
    saga.operation(step("c"), after={"b"}).operation(step("d"), after=(n for n in ["c"]))

    execute(saga)

    assert log == ["a", "b", "c", "d"]


def test_a_string_in_after_is_never_taken_apart(execute: Execute, step: Step) -> None:
    """`after="ab"` means the operation "ab", or is refused; never "a" and "b"."""
    saga = SagaAssembler.saga()
    for name in ("a", "b", "ab"):
        saga.operation(step(name))

    try:
        saga.operation(step("c"), after="ab")
    except SagaDefinitionError as error:
        assert "after" in str(error)  # noqa: PT017 - either is a fair answer
    else:
        assert execute(saga) == [None] * 4


# --- names -------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", "x" * 65, "a:b", "a.b", ":", ".", 5, b"x", ["x"], result_of("charge")]
)
def test_a_name_of_bad_form_is_refused(name: Any) -> None:
    """Names are 1 to 64 characters without `:` or `.`."""
    refuse(base(), nothing, name=name, words=("operation 5", "name", "64"))


@pytest.mark.parametrize("name", ["x", "x" * 64, "pay by card", "größe/✓", "a-2", "<b>", "0"])
def test_any_other_name_is_accepted(name: str, execute: Execute) -> None:
    """From 1 to 64 characters of any other kind."""
    assert execute(SagaAssembler.saga().operation(named("f"), name=name))[name] == "f"


@pytest.mark.parametrize("name", ["charge", "reserve", "twice", "twice-2"])
def test_a_duplicate_explicit_name_is_refused(name: str) -> None:
    """An explicit name must be unique, also against names that were made by default."""
    refuse(base(), nothing, name=name, words=("operation 5", "name", f"'{name}'"))


@pytest.mark.parametrize("role", ["action", "compensation"])
def test_a_call_that_was_made_at_once_is_said_to_be_one(role: str) -> None:
    """The usual slip is a pair of parentheses: the note says how it is written."""
    made: Any = pay("mug")

    with pytest.raises(SagaDefinitionError) as caught:
        SagaAssembler.saga().operation(*((made,) if role == "action" else (nothing, made)))

    (note,) = caught.value.__notes__
    assert f"operation 1: the {role} must be a callable" in note
    assert 'instead of operation(reserve("mug")) write operation((reserve, "mug"))' in note
    assert "mug 1 EUR" not in note


def test_default_names_are_made_unique(execute: Execute) -> None:
    """`charge`, `charge-2`, …, whatever explicit names stand in the way."""
    charge = named("charge")
    saga = SagaAssembler.saga().operation(charge).operation(charge, name="charge-2")
    saga.operation(charge).operation(charge)

    results = execute(saga)

    assert len({name for name in ("charge-2", "charge-3", "charge-4") if results[name]}) == 3


@pytest.mark.parametrize("as_child", [False, True])
def test_a_name_that_several_share_is_refused_in_results(
    execute: Execute,
    as_child: bool,  # noqa: FBT001 - a case
) -> None:
    """It might mean each of them, so it says which there are; also in copies, and in a child's."""
    saga = SagaAssembler.saga().operation((pay, "a")).operation((pay, "b"))
    alone = SagaAssembler.saga().operation(saga, name="child") if as_child else saga
    results = execute(alone)["child"] if as_child else execute(alone)

    with pytest.raises(KeyError, match="pay-2") as caught:
        results["pay"]
    assert as_child or "several operations share this name" in str(caught.value)
    again = pickle.loads(pickle.dumps(results))  # noqa: S301 - our own bytes
    with pytest.raises(KeyError, match="pay-2"):
        again["pay"]
    assert results["pay-2"] == again["pay-2"] == "b 1 EUR"
    assert results[0] == "a 1 EUR"


def test_a_name_that_was_given_to_one_of_several_is_that_ones(execute: Execute) -> None:
    """And results know the operations of their own run, whatever was added since."""
    saga = SagaAssembler.saga().operation((pay, "a"), name="pay")
    before = execute(saga)
    saga.operation((pay, "b"))
    plain = SagaAssembler.saga().operation((pay, "a"))
    alone = execute(plain)
    plain.operation((pay, "b"))

    assert before["pay"] == alone["pay"] == execute(saga)["pay"] == "a 1 EUR"


def test_an_explicit_name_comes_first(execute: Execute) -> None:
    """A default name gives way to an explicit one that is there already."""
    results = execute(
        SagaAssembler.saga().operation((pay, "x"), name="charge").operation(named("charge"))
    )

    assert results["charge"] == "x 1 EUR"
    assert results["charge-2"] == "charge"


def test_names_of_functions_are_never_refused(execute: Execute) -> None:
    """A name that Python allows but a key does not is made fit, not refused."""
    odd = ["x" * 300, "a.b", "a:b", "", "<lambda>"]
    saga = SagaAssembler.saga()
    for name in odd:
        saga.operation(named(name))
    saga.operation(lambda: current_operation().idempotency_key)

    results = execute(saga)

    assert results[:5] == odd
    assert len(results[5]) <= 255


def test_two_long_function_names_stay_apart(execute: Execute) -> None:
    """Default names that are cut are still unique."""
    keys: list[str] = []

    def first() -> None:
        keys.append(current_operation().operation)

    def second() -> None:
        keys.append(current_operation().operation)

    first.__name__, second.__name__ = "x" * 100 + "1", "x" * 100 + "2"
    execute(SagaAssembler.saga().operation(first).operation(second))

    assert len(set(keys)) == 2


@pytest.mark.parametrize("name", [5, b"shop", ["shop"], ""])
def test_the_name_of_a_saga_is_a_text(name: Any) -> None:
    """`SagaAssembler.saga(name=)` takes a str that is not empty."""
    with pytest.raises(SagaDefinitionError, match="name"):
        SagaAssembler.saga(name=name)


# --- the pivot ---------------------------------------------------------------


def test_two_pivots_are_refused() -> None:
    """A saga has one point of no return."""
    saga = SagaAssembler.saga().operation(named("first"), pivot=True)

    refuse(saga, named("second"), pivot=True, words=("operation 2", "pivot", "'first'"))


def test_a_second_pivot_in_a_child_is_refused() -> None:
    """The operations of a child saga count as the parent's."""
    child = SagaAssembler.saga().operation(named("inner"), pivot=True)
    saga = SagaAssembler.saga().operation(named("outer"), pivot=True)

    refuse(saga, child, name="child", words=("operation 2", "pivot"))
    other = SagaAssembler.saga().operation(child, name="child")
    refuse(other, named("outer"), pivot=True, words=("operation 2", "pivot"))


def test_a_pivot_beside_other_operations_is_refused_before_anything_runs(
    execute_graph: Execute, step: Step, log: list[str]
) -> None:
    """In a choreography every operation comes before or after the pivot."""
    saga = SagaAssembler.saga().operation(step("before"))
    saga.operation(step("commit"), after=["before"], pivot=True)
    saga.operation(step("beside"), after=["before"])
    saga.operation(step("after"), after=["commit"])

    with pytest.raises(SagaDefinitionError, match="beside") as caught:
        execute_graph(saga)

    assert log == []
    assert "'commit'" in str(caught.value)
    assert saga.orchestrator_execute() == [None] * 4


def test_a_pivot_between_the_others_is_fine(execute: Execute, step: Step, log: list[str]) -> None:
    """In a chain always; in a choreography with edges before and after."""
    saga = SagaAssembler.saga().operation(step("a")).operation(step("b"))
    saga.operation(step("commit"), after=["a", "b"], pivot=True)
    saga.operation(step("c"), after=["commit"]).operation(step("d"), after=["c"])

    assert execute(saga) == [None] * 5
    assert log[2:] == ["commit", "c", "d"]


@pytest.mark.parametrize("pivot", [1, "yes", None, result_of("charge")])
def test_pivot_is_a_bool(pivot: Any) -> None:
    """Anything else is a mistake."""
    refuse(base(), nothing, pivot=pivot, words=("operation 5", "pivot"))


# --- numbers -----------------------------------------------------------------

BAD_SECONDS: list[Any] = [
    *(-1, -0.001, math.nan, math.inf, -math.inf, "5", [5], True, 1j, timedelta(seconds=1)),
    *(1e10, 1e300, 10**400),  # more than locks and clocks can count
]


def test_a_bad_timeout_is_refused() -> None:
    """`timeout=` is a finite number of seconds."""
    for seconds in BAD_SECONDS:
        refuse(base(), nothing, timeout=seconds, words=("operation 5", "timeout", "seconds"))


def test_a_bad_deadline_is_refused_before_anything_runs(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """`deadline=` is a finite number of seconds."""
    saga = SagaAssembler.saga().operation(step("a"))

    for seconds in BAD_SECONDS:
        with pytest.raises(SagaDefinitionError, match=r"deadline.*seconds"):
            execute(saga, deadline=seconds)
        assert log == []

    assert execute(saga, deadline=60) == [None]


def test_a_limit_may_be_far_away(execute: Execute, step: Step) -> None:
    """A thousand million seconds, some thirty years: whoever says so means never."""
    saga = SagaAssembler.saga().operation(step("a", returns=1), timeout=10**9)

    assert execute(saga, deadline=1e9) == [1]


def test_bad_max_workers_are_refused_before_anything_runs(
    execute_graph: Execute, step: Step, log: list[str]
) -> None:
    """`max_workers=` is a whole number of at least 1."""
    saga = SagaAssembler.saga().operation(step("a"))

    for workers in (0, -1, 1.5, True, math.nan, math.inf, "2", [2]):
        with pytest.raises(SagaDefinitionError, match="max_workers"):
            execute_graph(saga, max_workers=workers)
        assert log == []

    assert execute_graph(saga, max_workers=1) == [None]


BAD_IDS = ["", "x" * 129, "a b", "a:b", "a/b", "ä", "a\n", "\n", "a,b", "٣"]
BAD_IDS += ["-", "-x", "--force", ".", ".."]  # options and folders


def test_a_bad_saga_id_is_refused_before_anything_runs(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """`saga_id=` is 1 to 128 of the letters, digits, `_`, `.` and `-` of ASCII, and usable."""
    saga = SagaAssembler.saga().operation(step("a"))

    for saga_id in (*BAD_IDS, 5, b"x", 5.0, ["x"], result_of("a")):
        with pytest.raises(SagaDefinitionError, match="saga_id"):
            execute(saga, saga_id=saga_id)
        assert log == []

    assert execute(saga) == [None]


def test_a_good_saga_id_is_the_runs(execute: Execute) -> None:
    """The operations see it."""
    saga = SagaAssembler.saga().operation(lambda: current_operation().saga_id)

    for saga_id in ("x", "x" * 128, "checkout-17", "a_b.c-D", "0", "_", "...", ".x", "x-"):
        assert execute(saga, saga_id=saga_id) == [saga_id]


# --- policies ----------------------------------------------------------------


@pytest.mark.parametrize(
    "on_doubt", ["procede", "PARK", "", None, 5, b"park", [], result_of("charge")]
)
def test_a_misspelt_on_doubt_is_refused(on_doubt: Any) -> None:
    """`on_doubt=` is "proceed", "park" or a function."""
    refuse(base(), nothing, on_doubt=on_doubt, words=("operation 5", "on_doubt", "proceed", "park"))


@pytest.mark.parametrize("on_doubt", [nothing, lambda: NOT_HAPPENED, (pay, "card")])
def test_on_doubt_is_called_like_the_action(on_doubt: Any) -> None:
    """A function that cannot take the action's arguments is refused."""
    refuse(base(), (pay, SECRET, 5), on_doubt=on_doubt, words=("operation 5", "on_doubt"))


@pytest.mark.parametrize("doubtful", [5, "timeout", [5], [int], int, [ValueError, 5], None, {}])
def test_bad_doubtful_is_refused(doubtful: Any) -> None:
    """`doubtful=` holds exception types, or their dotted names."""
    if doubtful == {}:
        doubtful = {"a": 1}
    refuse(base(), nothing, doubtful=doubtful, words=("operation 5", "doubtful"))


@pytest.mark.parametrize("keyword", ["retry", "compensation_retry"])
@pytest.mark.parametrize("retry", [3, True, "3", ValueError, bool, (ValueError,)])
def test_a_retry_that_is_none_is_refused(keyword: str, retry: Any) -> None:
    """`retry=3` is a mistake for `retry=Retry(..., attempts=3)`, which the message names."""
    option: Any = {keyword: retry}
    refuse(base(), nothing, words=("operation 5", keyword, "Retry"), **option)
    with pytest.raises(SagaDefinitionError, match=keyword) as caught:
        SagaAssembler.saga(**option)
    assert "Retry" in str(caught.value)


def test_retry_attempts_together_with_retry_is_refused() -> None:
    """Two policies for the same thing: which one counts?"""
    with pytest.raises(SagaDefinitionError, match="retry_attempts") as caught:
        SagaAssembler.saga(3, retry=Retry(ValueError))

    assert "retry" in str(caught.value).replace("retry_attempts", "")


@pytest.mark.parametrize("observers", [5, "log", [5], [None], nothing])
def test_bad_observers_are_refused(observers: Any) -> None:
    """`observers=` holds callables."""
    with pytest.raises(SagaDefinitionError, match="observers"):
        SagaAssembler.saga(observers=observers)


@pytest.mark.parametrize("option", ["retries", "compensate", "args", "journal_"])
def test_an_unknown_option_is_a_type_error(option: str) -> None:
    """As for any Python function."""
    saga, unknown = base(), cast("Any", {option: 1})

    with pytest.raises(TypeError, match=rf"operation\(\) .*{option}"):
        saga.operation(nothing, **unknown)
    with pytest.raises(TypeError, match=option):
        SagaAssembler.saga(**unknown)
    assert saga.orchestrator_execute() == RESULTS


# --- coroutine functions and generators --------------------------------------

ASYNC = [
    pytest.param(pay_later, id="async def"),
    pytest.param((pay_later, SECRET), id="tuple"),
    pytest.param(partial(pay_later, SECRET), id="partial"),
    pytest.param((partial(partial(pay_later), SECRET),), id="partial of partial"),
    pytest.param(Bank().pay_later, id="method"),
    pytest.param((Bank.pay_later, Bank(), SECRET), id="function of a class"),
    pytest.param(partial(Bank().pay_later, SECRET), id="partial of method"),
    pytest.param(AsyncBank(), id="callable object"),
    pytest.param(partial(AsyncBank(), SECRET), id="partial of callable object"),
    pytest.param(AsyncBank().__call__, id="its __call__"),
]


@pytest.mark.parametrize("call", ASYNC)
def test_an_async_action_is_refused_in_a_sync_run(
    call: Any, execute_sync: Execute, step: Step, log: list[str]
) -> None:
    """Before anything runs, naming the operation and what to call instead."""
    saga = SagaAssembler.saga().operation(step("a"))
    saga.operation(call, name="later")

    with pytest.raises(SagaDefinitionError, match="operation 2: the action") as caught:
        execute_sync(saga)

    assert log == []
    assert f"a{execute_sync.__name__}" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("call", ASYNC)
def test_an_async_action_runs_under_asyncio(call: Any, execute_async: Execute) -> None:
    """Each of them is awaited."""
    assert execute_async(SagaAssembler.saga().operation(call)) in ([""], [SECRET])


@pytest.mark.parametrize("call", ASYNC)
def test_an_async_compensation_is_refused_in_a_sync_run(
    call: Any, execute_sync: Execute, step: Step, log: list[str]
) -> None:
    """Before anything runs: the undo would be missing when it is needed."""
    saga = SagaAssembler.saga().operation(step("a"), call, name="first")

    with pytest.raises(SagaDefinitionError, match="operation 1: the compensation"):
        execute_sync(saga)

    assert log == []


@pytest.mark.parametrize("ask", [pay_later, AsyncBank(), Bank().pay_later, partial(pay_later)])
def test_an_async_on_doubt_is_refused_in_a_sync_run(
    ask: Any, execute_sync: Execute, log: list[str]
) -> None:
    """Before anything runs: the answer would be missing when it is needed."""
    saga = SagaAssembler.saga().operation((log.append, "a"), on_doubt=ask, name="first")

    with pytest.raises(SagaDefinitionError, match="operation 1: the on_doubt"):
        execute_sync(saga)

    assert log == []


def test_an_async_operation_in_a_child_is_refused_in_a_sync_run(execute_sync: Execute) -> None:
    """It is found in a child saga, too."""
    child = SagaAssembler.saga().operation(pay_later)
    saga = SagaAssembler.saga().operation(child, name="child")

    with pytest.raises(SagaDefinitionError, match=r"operation 1: the action.*'child'"):
        execute_sync(saga)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(generate, id="generator function"),
        pytest.param((generate, SECRET), id="tuple"),
        pytest.param(partial(generate, SECRET), id="partial"),
        pytest.param(Bank().generate, id="method"),
        pytest.param(GeneratorBank(), id="callable object"),
        pytest.param(generate_later, id="async generator function"),
        pytest.param(partial(generate_later, SECRET), id="partial of async generator function"),
    ],
)
def test_generators_are_refused(call: Any) -> None:
    """Their body would never run: refused as action, compensation and question."""
    refuse(base(), call, words=("operation 5", "action", "generator"))
    refuse(base(), nothing, call, words=("operation 5", "compensation", "generator"))
    if callable(call) and not isinstance(call, partial):
        refuse(base(), nothing, on_doubt=call, words=("operation 5", "on_doubt", "generator"))


# --- arguments of calls ------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(pay, id="too few"),
        pytest.param((pay, SECRET, 2, 3), id="too many"),
        pytest.param(partial(pay, currency="USD"), id="partial, too few"),
        pytest.param(partial(PAY, SECRET, colour=SECRET), id="partial, unknown keyword"),
        pytest.param((partial(pay, SECRET, 1), 2), id="partial, too many"),
        pytest.param(partial(PAY, SECRET, card=SECRET), id="partial, twice"),
        pytest.param(Bank().pay, id="method, too few"),
        pytest.param((Bank().pay, SECRET, SECRET), id="method, too many"),
        pytest.param((Bank.pay, SECRET), id="function of a class, too few"),
        pytest.param(Bank.found, id="classmethod, too few"),
        pytest.param((Bank.rate, SECRET, SECRET), id="staticmethod, too many"),
        pytest.param((Bank, SECRET, SECRET), id="class, too many"),
        pytest.param(PlainBank(), id="callable object, too few"),
        pytest.param((PlainBank(), SECRET, SECRET), id="callable object, too many"),
        pytest.param((len,), id="builtin, too few"),
        pytest.param((len, SECRET, SECRET), id="builtin, too many"),
        pytest.param((lambda: None, SECRET), id="lambda, too many"),
        pytest.param((lambda *, key: key), id="lambda, keyword missing"),
        pytest.param((pay_later, SECRET, SECRET), id="coroutine function, too many"),
        pytest.param((lambda a, /, *_: a), id="variadic, too few"),
    ],
)
def test_a_wrong_number_of_arguments_is_refused(call: Any) -> None:
    """Refused when added, naming the operation's position and role, never the arguments."""
    refuse(base(), call, words=("operation 5", "action", "argument"))
    refuse(base(), nothing, call, words=("operation 5", "compensation", "argument"))


@pytest.mark.parametrize(
    "call",
    [
        pytest.param((pay, "x"), id="omitted defaults"),
        pytest.param((pay, "x", 2), id="all positions"),
        pytest.param(partial(pay, currency="USD", card="x"), id="keywords"),
        pytest.param((partial(pay, amount=3), "x"), id="partial and tuple"),
        pytest.param((Bank().pay, "x"), id="method"),
        pytest.param((Bank.pay, Bank(), "x"), id="function of a class"),
        pytest.param(Bank, id="class"),
        pytest.param((lambda *args, **_: args, 1, 2, 3), id="variadic"),
        pytest.param((int, "5"), id="builtin class"),
        pytest.param(threading.Event().set, id="method without arguments"),
        pytest.param((pay, result_of("charge")), id="placeholder"),
    ],
)
def test_right_calls_are_accepted(call: Any) -> None:
    """What Python would accept is accepted."""
    assert base().operation(call).orchestrator_execute()[:4] == RESULTS


def test_a_message_never_shows_arguments() -> None:
    """Arguments may be secrets: no message, note or `repr` of the saga shows them."""
    saga = base()
    for call in ((pay, SECRET, SECRET, SECRET), (SECRET, pay), [5, SECRET], {"card": SECRET}):
        with pytest.raises(SagaDefinitionError) as caught:
            saga.operation(call)  # type: ignore[arg-type]
        shown = [str(caught.value), repr(caught.value), *getattr(caught.value, "__notes__", ())]
        assert SECRET not in "\n".join(shown)
    assert SECRET not in repr(saga)
    assert SECRET not in saga.mermaid()


def test_an_action_that_is_a_placeholder_is_refused() -> None:
    """A placeholder can be called as little as the result it stands for is known."""
    for call in (result_of("charge"), (result_of("charge"), 1), partial(result_of("charge"), 1)):
        refuse(base(), call)
        refuse(base(), nothing, call)


# --- child sagas -------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"retry": Retry(ValueError)},
        {"compensation_retry": Retry(ValueError)},
        {"timeout": 5},
        {"pivot": True},
        {"doubtful": ()},
        {"on_doubt": "park"},
        {"on_doubt": nothing},
        {"compensation": nothing},
    ],
)
def test_a_child_saga_takes_name_and_after_only(options: dict[str, Any]) -> None:
    """Any other option belongs to the child's own operations."""
    child = SagaAssembler.saga().operation(named("inner"))

    refuse(base(), child, name="child", **options, words=("operation 5", "child", "name and after"))


def test_a_child_saga_as_a_compensation_is_refused() -> None:
    """A compensation is a call."""
    child = SagaAssembler.saga().operation(named("inner"))

    refuse(base(), nothing, child)


def test_a_child_saga_with_a_bad_name_is_refused() -> None:
    """Its name has the form of any other and is unique."""
    child = SagaAssembler.saga().operation(named("inner"))

    for name in ("", "a.b", "a:b", "x" * 65):
        refuse(base(), child, name=name, words=("operation 5", "name"))
    refuse(base(), child, name="charge", words=("operation 5", "'charge'"))
    refuse(base(), child, name="child", after=["unknown"], words=("operation 5", "'unknown'"))


def test_a_child_saga_without_operations_is_refused() -> None:
    """It could be neither done nor undone."""
    refuse(base(), SagaAssembler.saga(), name="child", words=("operation",))


def test_a_saga_that_is_its_own_child_is_finite(execute: Execute) -> None:
    """It is refused, or it is a copy of what was there."""
    saga = SagaAssembler.saga().operation(named("a"))
    try:
        saga.operation(saga, name="self")
    except SagaDefinitionError:
        assert execute(saga) == ["a"]
    else:
        assert execute(saga) == ["a", ["a"]]


# --- class attributes --------------------------------------------------------


def failing(log: list[str], name: str) -> Callable[[], None]:
    """Make a function that fails each time, and counts."""

    def function() -> None:
        log.append(name)
        raise ValueError(name)

    function.__name__ = name
    return function


def tries(attempts: int) -> Retry:
    """Try again without waiting."""
    return Retry(ValueError, attempts=attempts, wait_initial=0, wait_jitter=0)


def run(execute: Execute, saga: SagaAssembler) -> None:
    """Run a saga that fails."""
    with pytest.raises(SagaException):
        execute(saga)


def test_retry_attempts_of_a_class(execute: Execute, log: list[str]) -> None:
    """The class's value counts unless the saga has one of its own."""

    class Sub(SagaAssembler):
        retry_attempts = 2

    run(execute, Sub.saga().operation(failing(log, "class")))
    run(execute, Sub().operation(failing(log, "class")))
    run(execute, Sub.saga(3).operation(failing(log, "saga")))
    run(execute, Sub.saga(3).operation(failing(log, "operation"), retry=tries(4)))

    assert [log.count(name) for name in ("class", "saga", "operation")] == [4, 3, 4]


def test_retry_of_a_class(execute: Execute, log: list[str]) -> None:
    """Operation beats saga beats class."""

    class Sub(SagaAssembler):
        retry = tries(2)

    run(execute, Sub.saga().operation(failing(log, "class")))
    run(execute, Sub.saga(retry=tries(3)).operation(failing(log, "saga")))
    run(execute, Sub.saga(retry=tries(3)).operation(failing(log, "operation"), retry=tries(4)))

    assert [log.count(name) for name in ("class", "saga", "operation")] == [2, 3, 4]


def test_a_saga_may_replace_its_class_by_the_other_keyword(
    execute: Execute, log: list[str]
) -> None:
    """`retry_attempts=` of a saga beats `retry` of its class, and the other way round."""

    class Waits(SagaAssembler):
        retry = tries(2)

    class Counts(SagaAssembler):
        retry_attempts = 2

    run(execute, Waits.saga(3).operation(failing(log, "a")))
    run(execute, Counts.saga(retry=tries(4)).operation(failing(log, "b")))

    assert [log.count(name) for name in ("a", "b")] == [3, 4]


def test_a_class_with_both_is_refused() -> None:
    """`retry_attempts` together with `retry` is refused in a class as well."""

    class Both(SagaAssembler):
        retry_attempts = 2
        retry = tries(2)

    with pytest.raises(SagaDefinitionError, match="retry_attempts"):
        Both.saga()


def test_compensation_retry_of_a_class(execute: Execute, step: Step, log: list[str]) -> None:
    """Operation beats saga beats class, for undos too."""

    class Sub(SagaAssembler):
        compensation_retry = tries(2)

    def saga_of(saga: SagaAssembler, name: str, **options: Any) -> SagaAssembler:
        saga.operation(step("a"), failing(log, name), **options)
        return saga.operation(step("bad", raises=KeyError()), after=["a"])

    run(execute, saga_of(Sub.saga(), "class"))
    run(execute, saga_of(Sub.saga(compensation_retry=tries(3)), "saga"))
    saga = Sub.saga(compensation_retry=tries(3))
    run(execute, saga_of(saga, "operation", compensation_retry=tries(4)))

    assert [log.count(name) for name in ("class", "saga", "operation")] == [2, 3, 4]


def test_name_and_observers_of_a_class(execute: Execute) -> None:
    """The saga's name and observers beat the class's."""
    heard: list[str] = []

    class Sub(SagaAssembler):
        name = "of the class"
        observers = (lambda _: heard.append("class"),)

    def saga_name() -> str | None:
        return current_operation().saga_name

    assert execute(Sub.saga().operation(saga_name)) == ["of the class"]
    assert set(heard) == {"class"}
    heard.clear()
    saga = Sub.saga(name="of the saga", observers=[lambda _: heard.append("saga")])
    assert execute(saga.operation(saga_name)) == ["of the saga"]
    assert set(heard) == {"saga"}


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("retry_attempts", -1),
        ("retry_attempts", "3"),
        ("retry", 3),
        ("compensation_retry", 3),
        ("name", 5),
        ("observers", 5),
    ],
)
def test_a_bad_class_attribute_is_refused(attribute: str, value: Any) -> None:
    """When a saga of the class is made, as if it were given there."""
    bad: Any = type("Bad", (SagaAssembler,), {attribute: value})

    with pytest.raises(SagaDefinitionError, match=attribute):
        bad.saga()


def test_a_subclass_of_a_subclass_inherits(execute: Execute, log: list[str]) -> None:
    """Class attributes are inherited as all are in Python."""

    class Sub(SagaAssembler):
        retry_attempts = 2

    class SubSub(Sub):
        pass

    run(execute, SubSub.saga().operation(failing(log, "a")))

    assert log == ["a", "a"]


# --- looking -----------------------------------------------------------------


def test_a_refused_operation_leaves_no_trace_in_a_child_or_by_name(execute: Execute) -> None:
    """The name of what was refused is free, and no function was changed."""
    saga = SagaAssembler.saga()
    function = named("free")
    with pytest.raises(SagaDefinitionError):
        saga.operation(function, name="free", timeout=-1)
    with pytest.raises(SagaDefinitionError):
        saga.operation((cast("Any", function), 1), name="free")

    assert execute(saga.operation(function, name="free"))["free"] == "free"


def test_a_saga_that_grows_in_another_thread_has_no_name_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also if it grows while its names are looked at: two calls must never share a key."""
    names, look = Names.of(["charge", "other"]), Names._are_good  # noqa: SLF001

    def grow_and_look(self: Names, labels: list[str]) -> bool:
        self.append("charge")
        return look(self, labels)

    monkeypatch.setattr(Names, "_are_good", grow_and_look)
    names.all()
    monkeypatch.undo()

    assert names.all() == ["charge", "other", "charge-2"]


def test_a_copy_has_the_names_of_the_original() -> None:
    """Also where an operation has another one since a child has its own."""
    child = SagaAssembler.saga().operation(nothing, name="x")
    saga = SagaAssembler.saga().operation(child, name="nothing").operation(nothing)

    assert copy(saga).mermaid() == saga.mermaid()
    assert list(copy(saga).operation(nothing).orchestrator_execute()) == [[None], None, None]
    assert copy(saga).orchestrator_execute()["nothing-2"] is None


def test_what_a_user_calls_saga_results_is_overwritten() -> None:
    """It is not even looked at."""

    class Odd:
        @property
        def code(self) -> object:
            raise ZeroDivisionError

    def act() -> int:
        return 2

    act.saga_results = Odd()  # type: ignore[attr-defined]

    assert SagaAssembler.saga().operation(act).orchestrator_execute() == [2]


class Shelf(list[Any]):
    """An object with methods, which holds what looks like an argument of theirs."""

    def put(self, thing: str, times: int = 1) -> str:
        """Put a thing in."""
        self.extend([thing] * times)
        return thing

    async def aput(self, thing: str) -> str:
        """Put one in later."""
        return self.put(thing)


def test_a_method_is_called_on_its_object(execute: Execute) -> None:
    """With results in its own arguments; what the object holds is not looked at."""
    shelf = Shelf([result_of("nobody")])
    saga = SagaAssembler.saga().operation((shelf.put, "mug"), name="first")
    saga.operation((shelf.put, result_of("first"), 2), name="second")

    assert execute(saga) == ["mug", "mug"]
    assert shelf[1:] == ["mug"] * 3


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ((Shelf().put,), "missing a required argument: 'thing'"),
        ((Shelf().put, "mug", 1, 2), "too many positional arguments"),
    ],
)
def test_a_method_is_refused_like_a_function(call: Any, says: str) -> None:
    """If it can't be called with these arguments."""
    with pytest.raises(SagaDefinitionError, match=f"the action cannot be called .*{says}"):
        SagaAssembler.saga().operation(call)


def test_a_method_that_is_a_coroutine_function_is_awaited(execute_async: Execute) -> None:
    """As one that is none is refused without a loop."""
    shelf = Shelf()
    saga = SagaAssembler.saga().operation((shelf.aput, "mug"))

    assert execute_async(saga) == ["mug"]
    with pytest.raises(SagaDefinitionError, match="expected plain functions"):
        saga.orchestrator_execute()
