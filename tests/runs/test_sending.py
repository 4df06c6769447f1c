"""A note made before a request is sent: it tells what no exception does."""

# ruff: noqa: B904, TRY301 - to raise, to handle and to raise in one place is the case

import asyncio
import contextvars
import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from world import PATIENCE, Execute, World, failure_of, statuses, steps

from py_api_saga import Retry, SagaAssembler, current_operation, leaves_doubt
from py_api_saga import testing as saga_testing
from py_api_saga.executors.running import Request

AT_ONCE = Retry(Exception, attempts=3, wait_initial=0, wait_jitter=0)


class PaymentError(Exception):
    """The bank says no, or says nothing."""


class Declined(PaymentError):
    """The bank says no, and the error says so."""

    saga_outcome = "not happened"


def charged(world: World, charge: Callable[[], Any], **options: Any) -> SagaAssembler:
    """Make a saga that charges by a function."""
    saga = steps(world, "stock")
    return saga.operation(charge, (world.undo, "charge"), name="charge", after="stock", **options)


def send(world: World, *, answer: str = "charged") -> Any:
    """Send a request, and give the note."""
    with current_operation().sending() as request:
        world.do("charge")
        if answer == "declined":
            request.refused()
    return request


# What each of them does after, or while, it sends; and whether it is in doubt then.


def parses(world: World) -> None:
    """A KeyError after a 201 tells nothing."""
    send(world)
    world.note(dict[str, str]()["id"])


def hides(world: World) -> None:
    """`from None` says that it did not happen; a note says that it may."""
    try:
        send(world)
        raise TimeoutError
    except TimeoutError:
        raise PaymentError from None


def raises_within(_: World) -> None:
    """In the block."""
    with current_operation().sending():
        raise PaymentError


def is_declined_second(world: World) -> None:
    """A 201, then a 402: the error of the second says that nothing happened, but the first did."""
    send(world)
    send(world, answer="declined")
    raise Declined


def is_declined(world: World) -> None:
    """A final no, and nothing else was sent."""
    send(world, answer="declined")
    raise PaymentError


def is_declined_twice(world: World) -> None:
    """A note is struck once, and never another one."""
    first = send(world)
    second = send(world, answer="declined")
    second.refused()
    first.__exit__(None, None, None)
    raise PaymentError


def is_refused_later(world: World) -> None:
    """The answer may come after the block."""
    send(world).refused()
    raise Declined


def asks(_: World) -> None:
    """Nothing is sent before the block is entered."""
    current_operation().sending().refused()
    current_operation().sending()
    raise PaymentError


def sends_in_a_thread(world: World) -> None:
    """A thread of the operation's, with what it was handed."""
    operation = current_operation()

    def work() -> None:
        with operation.sending():
            world.note("in a thread")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    raise PaymentError


def sends_in_a_context(world: World) -> None:
    """A thread with a copy of the context."""
    context = contextvars.copy_context()
    thread = threading.Thread(target=lambda: context.run(send, world))
    thread.start()
    thread.join()
    raise PaymentError


IN_DOUBT = [
    parses, hides, raises_within, is_declined_second, is_declined_twice, sends_in_a_thread,
    sends_in_a_context,
]  # fmt: skip
NOT = [is_declined, is_refused_later, asks]


@pytest.mark.parametrize("way", [*IN_DOUBT, *NOT])
def test_what_was_sent_and_not_refused_leaves_doubt(
    execute: Execute, world: World, way: Callable[[World], None]
) -> None:
    """Whatever the error is, and whatever it says."""
    expected = "COMPENSATED" if way in IN_DOUBT else "FAILED"
    saga = charged(world, lambda: way(world))

    assert statuses(failure_of(execute, saga))["charge"] == expected


@pytest.mark.parametrize("way", [*IN_DOUBT, *NOT])
def test_what_a_coroutine_has_sent_leaves_doubt(
    execute_async: Execute, world: World, way: Callable[[World], None]
) -> None:
    """The same."""
    expected = "COMPENSATED" if way in IN_DOUBT else "FAILED"

    async def charge() -> None:
        await asyncio.sleep(0)
        way(world)

    assert statuses(failure_of(execute_async, charged(world, charge)))["charge"] == expected


def test_tasks_of_an_operation_send_too(execute_async: Execute, world: World) -> None:
    """Each note is its own, whoever made it first."""

    async def one(answer: str) -> None:
        with current_operation().sending() as request:
            await asyncio.sleep(0)
            if answer == "declined":
                request.refused()

    async def charge() -> None:
        world.note("charge")
        await asyncio.gather(*map(one, answers))
        raise PaymentError

    for answers, expected in (  # noqa: B007 - `charge` reads it
        (["declined", "charged", "declined"], "COMPENSATED"),
        (["declined"] * 3, "FAILED"),
    ):
        raised = failure_of(execute_async, charged(world, charge))
        assert statuses(raised)["charge"] == expected


def test_doubtful_nothing_does_not_strike_a_note(execute: Execute, world: World) -> None:
    """`doubtful=()` is about errors; a note is what the action says on purpose."""
    for options in ({"doubtful": ()}, {"doubtful": lambda _: False}):
        raised = failure_of(execute, charged(world, lambda: parses(world), **options))
        assert statuses(raised)["charge"] == "COMPENSATED"


def test_a_note_is_of_one_attempt(execute: Execute, world: World) -> None:
    """One that succeeds clears the doubt; a refusal later does not, for the first may have come."""
    tries: list[int] = []

    def charge(ways: list[Callable[[World], Any]]) -> str:
        tries.append(current_operation().attempt)
        ways[len(tries) - 1](world)
        return "charged"

    for ways, expected in (
        ([parses, send], None),
        ([parses, is_declined, is_declined], "COMPENSATED"),
        ([is_declined, is_declined, is_declined], "FAILED"),
        ([is_declined, asks, parses], "COMPENSATED"),
    ):
        tries.clear()
        saga = charged(world, lambda ways=ways: charge(ways), retry=AT_ONCE)  # type: ignore[misc]
        if expected is None:
            assert execute(saga)["charge"] == "charged"
        else:
            assert statuses(failure_of(execute, saga))["charge"] == expected
        assert tries == list(range(1, len(ways) + 1))


def test_a_success_ignores_a_note(execute: Execute, world: World) -> None:
    """It says what happened."""
    saga = charged(world, lambda: send(world))
    assert (
        statuses(
            failure_of(execute, saga.operation((world.fail, "x", KeyError()), after="charge"))
        )["charge"]
        == "COMPENSATED"
    )


def test_a_compensation_and_a_question_ignore_a_note(execute: Execute, world: World) -> None:
    """They are called again, or not, by their own rules."""

    def undo() -> None:
        if not current_operation().attempt > 1:
            parses(world)

    def ask() -> Any:
        parses(world)

    saga = steps(world, "stock")
    saga.operation(
        (world.fail, "charge", TimeoutError()), undo, name="charge", after="stock",
        on_doubt=lambda *_: ask(), compensation_retry=AT_ONCE,
    )  # fmt: skip

    assert statuses(failure_of(execute, saga))["charge"] == "COMPENSATED"


def test_a_timeout_of_ours_is_in_doubt_with_or_without_a_note(
    execute_async: Execute, world: World
) -> None:
    """A refusal does not help: the attempt was cut off."""

    async def charge() -> None:
        send(world, answer="declined")
        await asyncio.sleep(60)

    saga = charged(world, charge, timeout=0.01)

    assert statuses(failure_of(execute_async, saga))["charge"] == "COMPENSATED"


def test_notes_do_not_pile_up(execute: Execute) -> None:
    """What is over has none, however many operations have sent."""

    def sends() -> None:
        with current_operation().sending():
            pass

    def look() -> int:
        gc.collect()
        return sum(type(thing) is Request for thing in gc.get_objects())

    saga = SagaAssembler.saga()
    for number in range(100):
        saga.operation(sends, name=f"a{number}", after=[f"a{number - 1}"] if number else ())
    saga.operation(look, name="look", after="a99")

    gc.freeze()  # what is older needs no look: ten times faster
    try:
        assert execute(saga)["look"] < 30
    finally:
        gc.unfreeze()


def test_what_runs_keeps_its_note(execute_graph: Execute, world: World) -> None:
    """However many others have sent meanwhile, and are over."""
    ended = threading.Event()

    def first() -> None:
        with current_operation().sending():
            assert ended.wait(PATIENCE)
        raise ValueError

    def sends() -> None:
        with current_operation().sending():
            pass

    saga = SagaAssembler.saga().operation(first, (world.undo, "first"), name="first")
    saga.operation(sends, name="a0")
    for number in range(1, 40):
        saga.operation(sends, name=f"a{number}", after=f"a{number - 1}")
    saga.operation(ended.set, name="end", after="a39")

    failure_of(execute_graph, saga)

    assert "undo first" in world.log


def test_a_note_is_made_in_a_test_of_an_operation_too() -> None:
    """Nobody asks for it there."""
    with saga_testing.operation() as operation:
        with operation.sending() as request:
            request.refused()
        with pytest.raises(KeyError), current_operation().sending():
            raise KeyError
    assert not leaves_doubt(KeyError())


def test_in_a_test_nothing_of_the_caller_s_is_known() -> None:
    """There is no attempt around the test."""
    with saga_testing.operation():
        try:
            raise TimeoutError
        except TimeoutError:
            with pytest.raises(PaymentError) as caught:
                raise PaymentError
    assert leaves_doubt(caught.value)


@pytest.fixture(autouse=True)
def _in_no_operation() -> Iterator[None]:
    """None of these leaves an operation behind."""
    yield
    with pytest.raises(LookupError):
        current_operation()
