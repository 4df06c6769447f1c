"""When nobody knows whether an action happened: what leaves doubt, and what is done about it."""

import asyncio
import contextlib
import logging
import pickle
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import httpx
import pytest
import requests
from world import Execute, Watch, World, failure_of, statuses, steps

from py_api_saga import (
    NOT_HAPPENED,
    UNKNOWN,
    Retry,
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    SagaStatus,
    SagaStuck,
    Status,
    current_operation,
    happened,
    result_of,
)
from py_api_saga.doubtful import DOUBTFUL

AT_ONCE = Retry(Exception, attempts=3, wait_initial=0, wait_jitter=0)


class CardDeclined(Exception):
    """The bank says no."""


class Vanished(Exception):
    """The bank says nothing."""


def vanish(world: World, name: str, error: Exception | None = None) -> None:
    """Take effect, but let the reply be lost."""
    world.do(name)
    raise error or TimeoutError("no reply")


def doubted(world: World, error: Exception | None = None, **options: Any) -> SagaAssembler:
    """Make a saga whose second operation is in doubt."""
    saga = steps(world, "stock", observers=options.pop("observers", ()))
    undo = options.pop("undo", (world.undo, "charge"))
    call = (vanish, world, "charge", error)
    return saga.operation(call, undo, name="charge", after="stock", **options)


# --- what leaves doubt ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [TimeoutError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError, socket.timeout],
)
def test_timeouts_and_broken_connections_leave_doubt(
    execute: Execute, world: World, error: type[Exception]
) -> None:
    """The action may have happened, so its own compensation is run, first."""
    raised = failure_of(execute, doubted(world, error()))

    assert world.log == ["stock", "charge", "undo charge", "undo stock"]
    assert world.standing == []
    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "COMPENSATED"}
    assert isinstance(raised.operation_error, error)
    assert raised.__cause__ is raised.operation_error
    assert raised.operation_name == "charge"


@pytest.mark.parametrize(
    "error",
    [ConnectionRefusedError, ConnectionError, OSError, InterruptedError, KeyError, CardDeclined],
)
def test_other_errors_leave_none(execute: Execute, world: World, error: type[Exception]) -> None:
    """A refused connection was never made; whoever else raises declares that nothing happened."""
    raised = failure_of(execute, doubted(world, error()))

    assert world.log == ["stock", "charge", "undo stock"]
    assert statuses(raised)["charge"] == "FAILED"


def test_subclasses_leave_doubt(execute: Execute, world: World) -> None:
    """As in an `except` clause."""

    class StillWaiting(TimeoutError):
        pass

    assert statuses(failure_of(execute, doubted(world, StillWaiting())))["charge"] == "COMPENSATED"


def test_doubtful_nothing_is_the_predecessor_s_behaviour(execute: Execute, world: World) -> None:
    """With `doubtful=()` every error says that nothing happened."""
    raised = failure_of(execute, doubted(world, doubtful=()))

    assert world.log == ["stock", "charge", "undo stock"]
    assert statuses(raised)["charge"] == "FAILED"


def test_doubtful_takes_types(execute: Execute, world: World) -> None:
    """Given types stand in the place of the default ones."""
    assert statuses(failure_of(execute, doubted(world, Vanished(), doubtful=Vanished))) == {
        "stock": "COMPENSATED",
        "charge": "COMPENSATED",
    }
    only = [Vanished]
    assert statuses(failure_of(execute, doubted(world, doubtful=only)))["charge"] == "FAILED"


def test_doubtful_takes_names(execute: Execute, world: World) -> None:
    """A class is named by its module and itself, so it need not be imported; bases count."""

    class Lost(Vanished):
        pass

    names = (f"{__name__}.Vanished", KeyError)
    for error in (Vanished(), Lost(), KeyError()):
        raised = failure_of(execute, doubted(world, error, doubtful=names))
        assert statuses(raised)["charge"] == "COMPENSATED"
    assert statuses(failure_of(execute, doubted(world, doubtful=names)))["charge"] == "FAILED"


@pytest.mark.parametrize("wrong", [5, "Vanished", [5], None, (Vanished, "name"), int, [object()]])
def test_what_is_no_exception_type_is_refused(world: World, wrong: Any) -> None:
    """With the position of the operation; nothing is added."""
    saga = SagaAssembler.saga()

    with pytest.raises(SagaDefinitionError, match=r"operation 1: doubtful: expected exception"):
        saga.operation((world.do, "a"), doubtful=wrong)

    with pytest.raises(SagaDefinitionError, match="Set operation first"):
        saga.orchestrator_execute()


def test_doubt_without_a_compensation_is_skipped(execute: Execute, world: World) -> None:
    """There is nothing to call; the message says that its effect may stand."""
    raised = failure_of(execute, doubted(world, undo=None))

    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "SKIPPED"}
    assert not isinstance(raised, SagaStuck)
    assert world.standing == ["charge"]


def test_doubt_about_a_result_that_the_compensation_needs_is_stuck(
    execute: Execute, world: World
) -> None:
    """Nobody knows the result, so nobody can undo it but a person; the others are undone."""
    raised = failure_of(execute, doubted(world, undo=(world.undo, result_of())))

    assert isinstance(raised, SagaStuck)
    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "STUCK"}
    assert list(raised.stuck) == ["charge"]
    assert isinstance(raised.stuck["charge"], TimeoutError)
    assert raised.operations["charge"].result is None


def test_a_result_that_is_none_is_known(execute: Execute, world: World) -> None:
    """None is a result like any other, and no doubt."""
    saga = SagaAssembler.saga()
    saga.operation((world.note, "a"), (lambda result: world.note(f"undo {result}"), result_of()))
    saga.operation((world.fail, "b", CardDeclined()), after="note")

    failure_of(execute, saga)

    assert world.log == ["a", "b", "undo None"]


def test_a_compensation_in_trouble_is_in_no_doubt(execute: Execute, world: World) -> None:
    """A compensation that times out by itself has failed, and is retried as asked or stuck."""
    saga = SagaAssembler.saga()
    saga.operation((world.do, "a"), (world.fail, "undo a", TimeoutError()), name="a")
    saga.operation((world.fail, "b", CardDeclined()), after="a")

    raised = failure_of(execute, saga)

    assert statuses(raised)["a"] == "STUCK"


# --- doubt is sticky ------------------------------------------------------------------------------


def attempts(world: World, *outcomes: Exception | None) -> Callable[[], str]:
    """Make an action whose attempts end like this."""
    rest = list(outcomes)

    def charge() -> str:
        outcome = rest.pop(0)
        if outcome is not None:
            world.note("charge fails")
            raise outcome
        return world.do("charge")

    return charge


def test_a_later_failure_does_not_clear_a_doubt(execute: Execute, world: World) -> None:
    """The first attempt may have happened, whatever a later one says."""
    saga = steps(world, "stock")
    action = attempts(world, TimeoutError(), CardDeclined("at last"), CardDeclined("at last"))
    saga.operation(action, (world.undo, "charge"), name="charge", after="stock", retry=AT_ONCE)

    raised = failure_of(execute, saga)

    fails = ["charge fails"] * 3
    assert world.log == ["stock", *fails, "undo charge", "undo stock"]
    assert statuses(raised)["charge"] == "COMPENSATED"
    assert isinstance(raised.operation_error, CardDeclined)


def test_success_clears_a_doubt(execute: Execute, world: World) -> None:
    """The same key was sent each time, so the service has done it once."""
    saga = steps(world, "stock")
    action = attempts(world, TimeoutError(), None)
    saga.operation(action, (world.undo, result_of()), name="charge", after="stock", retry=AT_ONCE)
    assert execute(saga) == ["STOCK", "CHARGE"]

    action = attempts(world, TimeoutError(), None)
    saga = steps(world, "stock")
    saga.operation(action, (world.undo, result_of()), name="charge", after="stock", retry=AT_ONCE)
    saga.operation((world.fail, "courier", CardDeclined()), name="courier", after="charge")

    raised = failure_of(execute, saga)

    assert world.log[-2:] == ["undo CHARGE", "undo stock"]
    assert raised.operation_errors.keys() == {"courier"}
    assert raised.operations["charge"].error is None


def test_a_doubtful_attempt_is_retried_without_a_question(execute: Execute, world: World) -> None:
    """In a live run the retry carries the same key; it is neither asked about nor parked."""
    keys = []

    def charge() -> str:
        keys.append(current_operation().idempotency_key)
        if len(keys) < 3:
            raise TimeoutError
        return world.do("charge")

    def ask() -> Any:
        world.note("asked")
        return UNKNOWN

    policies: list[Any] = ["park", ask]
    for on_doubt in policies:
        keys.clear()
        saga = steps(world, "stock")
        saga.operation(charge, name="charge", after="stock", retry=AT_ONCE, on_doubt=on_doubt)
        assert execute(saga)["charge"] == "CHARGE"
        assert len(keys) == 3
        assert len(set(keys)) == 1
    assert "asked" not in world.log


def test_a_rollback_between_attempts_finds_the_doubt(execute_graph: Execute, world: World) -> None:
    """What waits for its next attempt is in doubt if one of its attempts was."""
    hour = Retry(Exception, wait_initial=3600, wait_max=3600, wait_jitter=0)
    saga = steps(world, "order")
    saga.operation(
        (vanish, world, "stock"), (world.undo, "stock"), name="stock", after="order", retry=hour
    )
    saga.operation(
        lambda: (world.wait_for("stock"), world.fail("charge", CardDeclined())),
        name="charge", after="order",
    )  # fmt: skip

    raised = failure_of(execute_graph, saga)

    assert world.log[-2:] == ["undo stock", "undo order"]
    assert statuses(raised)["stock"] == "COMPENSATED"
    assert world.standing == []


# --- on_doubt -------------------------------------------------------------------------------------


def test_park_leaves_it_to_a_person(execute: Execute, world: World) -> None:
    """It is STUCK at once, and not compensated; the others are undone."""
    raised = failure_of(execute, doubted(world, on_doubt="park"))

    assert isinstance(raised, SagaStuck)
    assert world.log == ["stock", "charge", "undo stock"]
    assert world.standing == ["charge"]
    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "STUCK"}
    assert isinstance(raised.stuck["charge"], TimeoutError)


def test_park_does_not_matter_without_a_doubt(execute: Execute, world: World) -> None:
    """A plain failure is a plain failure."""
    raised = failure_of(execute, doubted(world, CardDeclined(), on_doubt="park"))

    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "FAILED"}


def test_park_does_not_matter_without_a_compensation(execute: Execute, world: World) -> None:
    """Whether it happened or not, there is nothing to call."""
    raised = failure_of(execute, doubted(world, undo=None, on_doubt="park"))

    assert statuses(raised)["charge"] == "SKIPPED"
    assert world.standing == ["charge"]


class Bank:
    """A bank that can be asked what came of a charge."""

    def __init__(self, world: World, answer: Any) -> None:
        self.world = world
        self.answer = answer
        self.asked: list[tuple[Any, ...]] = []
        self.key = ""

    def charge(self, amount: int, *, currency: str) -> str:
        """Charge, and lose the reply."""
        self.key = current_operation().idempotency_key
        self.world.do(f"charge {amount} {currency}")
        raise TimeoutError

    def look(self, amount: int, *, currency: str) -> Any:
        """Say what came of it."""
        it = current_operation()
        self.asked.append((amount, currency, it.direction, it.operation, it.attempt))
        assert it.idempotency_key == self.key == it.action_key
        self.world.note("asked")
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def saga(self, undo: Any, **options: Any) -> SagaAssembler:
        """Make a saga that charges and asks."""
        saga = steps(self.world, "stock")
        call = partial(self.charge, 12, currency="EUR")
        return saga.operation(
            call, undo, name="charge", after="stock", on_doubt=self.look, **options
        )


def test_it_is_asked_with_the_action_s_arguments_and_key(execute: Execute, world: World) -> None:
    """So that it can look up what the service did under that key."""
    bank = Bank(world, UNKNOWN)

    failure_of(execute, bank.saga((world.undo, "charge 12 EUR")))

    assert bank.asked == [(12, "EUR", "ask", "charge", 1)]


def test_it_is_asked_with_results(execute: Execute, world: World) -> None:
    """Placeholders in the action's arguments are filled for the question, too."""
    asked = []

    def look(*args: object) -> Any:
        asked.append(args)
        return NOT_HAPPENED

    saga = steps(world, "stock").operation(
        (vanish, world, result_of("stock"), TimeoutError()), name="charge", on_doubt=look
    )

    failure_of(execute, saga)

    assert asked[0][1] == "STOCK"


def test_happened_is_compensated_with_the_answer_s_result(execute: Execute, world: World) -> None:
    """The answer knows the result that the reply would have brought."""
    bank = Bank(world, happened("charge 12 EUR"))

    raised = failure_of(execute, bank.saga((world.undo, result_of())))

    assert world.log == ["stock", "charge 12 EUR", "asked", "undo charge 12 EUR", "undo stock"]
    assert world.standing == []
    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "COMPENSATED"}
    assert isinstance(raised.operation_error, TimeoutError)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_happened_is_a_value(protocol: int) -> None:
    """Answers with equal results are equal, hash alike and outlast a pickle."""
    answer = happened("charge 12 EUR")

    assert pickle.loads(pickle.dumps(answer, protocol)) == answer  # noqa: S301 - our own
    assert len({answer, happened("charge 12 EUR"), happened(None)}) == 2


def test_happened_without_a_result_means_none(execute: Execute, world: World) -> None:
    """`happened()` is for actions that return nothing."""
    bank = Bank(world, happened())

    undo = (lambda result: world.note(f"undo {result}"), result_of())
    raised = failure_of(execute, bank.saga(undo))

    assert world.log[-2:] == ["undo None", "undo stock"]
    assert statuses(raised)["charge"] == "COMPENSATED"


def test_not_happened_owes_nothing(execute: Execute, world: World) -> None:
    """It is FAILED, and its compensation is not run."""
    bank = Bank(world, NOT_HAPPENED)

    raised = failure_of(execute, bank.saga((world.undo, "charge 12 EUR")))

    assert world.log == ["stock", "charge 12 EUR", "asked", "undo stock"]
    assert statuses(raised)["charge"] == "FAILED"
    assert type(raised) is SagaException


def test_unknown_is_compensated(execute: Execute, world: World) -> None:
    """As without a function to ask."""
    bank = Bank(world, UNKNOWN)

    raised = failure_of(execute, bank.saga((world.undo, "charge 12 EUR")))

    assert world.log[-3:] == ["asked", "undo charge 12 EUR", "undo stock"]
    assert statuses(raised)["charge"] == "COMPENSATED"


def test_unknown_is_stuck_if_the_result_is_needed(execute: Execute, world: World) -> None:
    """As without a function to ask."""
    raised = failure_of(execute, Bank(world, UNKNOWN).saga((world.undo, result_of())))

    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "STUCK"}


@pytest.mark.parametrize(
    "answer", [OSError("bank is down"), TimeoutError(), None, True, "happened"]
)
def test_what_is_no_answer_means_unknown(
    execute: Execute, world: World, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Raising or answering something else is logged; the action is compensated to be sure."""
    bank = Bank(world, answer)

    with caplog.at_level(logging.WARNING, "py_api_saga"):
        raised = failure_of(execute, bank.saga((world.undo, "charge 12 EUR")))

    assert world.log[-3:] == ["asked", "undo charge 12 EUR", "undo stock"]
    assert statuses(raised)["charge"] == "COMPENSATED"
    assert [record for record in caplog.records if "on_doubt" in record.getMessage()]


def test_it_is_asked_once(execute: Execute, world: World) -> None:
    """Also when the retry of the action would allow more; a question is not an action."""
    bank = Bank(world, OSError())

    failure_of(execute, bank.saga((world.undo, "charge 12 EUR"), retry=AT_ONCE))

    assert len(bank.asked) == 1


def test_it_is_not_asked_when_all_is_well(execute: Execute, world: World) -> None:
    """Nor when the operation is undone for the sake of another."""
    asked: list[str] = []

    def ask(name: str) -> Any:
        asked.append(name)

    saga = steps(world, "stock")
    saga.operation(
        (world.do, "charge"), (world.undo, "charge"), name="charge", after="stock",
        on_doubt=ask,
    )  # fmt: skip
    execute(saga)
    saga.operation((world.fail, "courier", CardDeclined()), after="charge")
    failure_of(execute, saga)

    assert asked == []


def test_the_answer_may_be_awaited(execute_async: Execute, world: World) -> None:
    """A coroutine function may be asked under asyncio."""

    async def look(*_: object) -> Any:
        await asyncio.sleep(0)
        world.note("asked")
        return happened("charge")

    saga = doubted(world, undo=(world.undo, result_of()), on_doubt=look)

    failure_of(execute_async, saga)

    assert world.log == ["stock", "charge", "asked", "undo charge", "undo stock"]


def test_a_coroutine_is_refused_in_a_sync_run(execute_sync: Execute, world: World) -> None:
    """Before anything has run."""

    async def look(*_: object) -> Any:
        raise AssertionError

    with pytest.raises(SagaDefinitionError, match="on_doubt is a coroutine function"):
        execute_sync(doubted(world, on_doubt=look))

    assert world.log == []


@pytest.mark.parametrize("wrong", ["procede", "PARK", "", None, 5, ("park",), NOT_HAPPENED])
def test_a_misspelt_policy_is_refused(world: World, wrong: Any) -> None:
    """When the operation is added."""
    with pytest.raises(SagaDefinitionError, match=r'operation 1: on_doubt: expected "proceed"'):
        SagaAssembler.saga().operation((world.do, "a"), on_doubt=wrong)


def test_a_function_that_cannot_be_called_like_the_action_is_refused(world: World) -> None:
    """When the operation is added, not in the middle of a doubt."""

    def look() -> Any:
        raise AssertionError

    with pytest.raises(SagaDefinitionError, match=r"operation 1: the on_doubt cannot be called"):
        SagaAssembler.saga().operation((world.do, "a"), on_doubt=look)


def test_answers_are_told_to_observers(execute: Execute, world: World) -> None:
    """In doubt, then what was learnt, then the undoing."""
    watch = Watch()
    saga = doubted(world, observers=[watch], on_doubt=lambda *_: happened("charge"))

    failure_of(execute, saga)

    assert watch.lines == [
        "saga: saga started",
        "stock: operation started",
        "stock: succeeded",
        "charge: operation started",
        "charge: in doubt",
        "charge: succeeded",
        "charge: compensating",
        "charge: compensated",
        "stock: compensating",
        "stock: compensated",
        "saga: saga ended",
    ]


def test_several_in_doubt_are_each_settled_by_their_own_policy(
    execute_graph: Execute, world: World
) -> None:
    """One is asked about, one parked, one compensated, all in the same rollback."""
    barrier = threading.Barrier(4)

    def lose(name: str) -> None:
        barrier.wait(10)
        vanish(world, name)

    saga = SagaAssembler.saga()
    policies: dict[str, Any] = {
        "asked": lambda _: NOT_HAPPENED,
        "parked": "park",
        "plain": "proceed",
        "known": lambda _: happened("known"),
    }
    for name, policy in policies.items():
        saga.operation((lose, name), (world.undo, name), name=name, on_doubt=policy)

    raised = failure_of(execute_graph, saga)

    assert statuses(raised) == {
        "asked": "FAILED",
        "parked": "STUCK",
        "plain": "COMPENSATED",
        "known": "COMPENSATED",
    }
    assert raised.outcome is SagaStatus.STUCK
    assert raised.operations["asked"].status is Status.FAILED


# --- real clients against a real socket -----------------------------------------------------------

Manner = Literal["silent", "reset", "hang up", "half", "error"]


@contextlib.contextmanager
def server(manner: Manner) -> Iterator[str]:
    """Serve one connection, badly, and give its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            if manner == "silent":
                done.wait(10)
            elif manner == "reset":  # closing with a linger of zero sends RST
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            elif manner == "half":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            elif manner == "error":
                connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        done.set()
        thread.join()
        listener.close()


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """Give the URL of a port at which nobody listens."""
    with socket.socket() as bound:  # bound, so nobody else takes it, but not listening
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"


# Nothing here is encrypted, and to load certificates for each client would take 50 ms.
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def by_requests(url: str) -> None:
    """Charge with requests."""
    with requests.Session() as session:
        session.trust_env = False
        session.post(url, timeout=0.1).raise_for_status()


def by_httpx(url: str) -> None:
    """Charge with httpx."""
    with httpx.Client(trust_env=False, timeout=0.1, verify=PLAIN) as client:
        client.post(url).raise_for_status()


async def by_async_httpx(url: str) -> None:
    """Charge with httpx under asyncio."""
    async with httpx.AsyncClient(trust_env=False, timeout=0.1, verify=PLAIN) as client:
        (await client.post(url)).raise_for_status()


def post(execute: Execute, world: World, charge: Any, url: str) -> SagaException:
    """Run a saga that charges by a real request."""
    saga = steps(world, "stock")
    saga.operation((charge, url), (world.undo, "charge"), name="charge", after="stock")
    return failure_of(execute, saga)


BROKEN: list[Manner] = ["silent", "reset", "hang up", "half"]


@pytest.mark.parametrize("manner", BROKEN)
@pytest.mark.parametrize("client", [by_requests, by_httpx])
def test_a_reply_that_is_lost_leaves_doubt(
    execute_sync: Execute, world: World, client: Callable[[str], None], manner: Manner
) -> None:
    """A read timeout, a reset, a closed connection, a broken-off body: the request was sent."""
    with server(manner) as url:
        raised = post(execute_sync, world, client, url)

    assert world.log == ["stock", "undo charge", "undo stock"], raised
    assert statuses(raised)["charge"] == "COMPENSATED"


@pytest.mark.parametrize("manner", BROKEN)
def test_a_reply_that_is_lost_leaves_doubt_under_asyncio(
    execute_async: Execute, world: World, manner: Manner
) -> None:
    """Likewise."""
    with server(manner) as url:
        raised = post(execute_async, world, by_async_httpx, url)

    assert world.log == ["stock", "undo charge", "undo stock"], raised


@pytest.mark.parametrize("client", [by_requests, by_httpx])
def test_a_refused_connection_leaves_none(
    execute_sync: Execute, world: World, client: Callable[[str], None]
) -> None:
    """The request was never sent."""
    with nobody() as url:
        raised = post(execute_sync, world, client, url)

    assert world.log == ["stock", "undo stock"], raised
    assert statuses(raised)["charge"] == "FAILED"


def test_a_refused_connection_leaves_none_under_asyncio(
    execute_async: Execute, world: World
) -> None:
    """Likewise."""
    with nobody() as url:
        raised = post(execute_async, world, by_async_httpx, url)

    assert world.log == ["stock", "undo stock"], raised


@pytest.mark.parametrize("client", [by_requests, by_httpx])
def test_an_unknown_host_leaves_none(world: World, client: Callable[[str], None]) -> None:
    """The request was never sent."""
    saga = steps(world, "stock")
    saga.operation((client, "http://nobody.invalid/"), (world.undo, "charge"), name="charge")

    raised = failure_of(lambda it: it.orchestrator_execute(), saga)

    assert world.log == ["stock", "undo stock"], raised


@pytest.mark.parametrize("client", [by_requests, by_httpx])
def test_a_bad_address_leaves_none(world: World, client: Callable[[str], None]) -> None:
    """What the client itself refuses was never sent."""
    saga = steps(world, "stock")
    saga.operation((client, "gopher://nobody"), (world.undo, "charge"), name="charge")

    raised = failure_of(lambda it: it.orchestrator_execute(), saga)

    assert world.log == ["stock", "undo stock"], raised


@pytest.mark.parametrize("client", [by_requests, by_httpx])
def test_an_error_reply_leaves_none(world: World, client: Callable[[str], None]) -> None:
    """The service has said that it failed."""
    with server("error") as url:
        raised = post(lambda it: it.orchestrator_execute(), world, client, url)

    assert world.log == ["stock", "undo stock"], raised
    assert statuses(raised)["charge"] == "FAILED"


def test_a_connection_that_takes_too_long_leaves_none(world: World) -> None:
    """A connect timeout of requests is a TimeoutError of nobody's: the request was never sent."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        url = f"http://127.0.0.1:{full.getsockname()[1]}/"
        with contextlib.ExitStack() as waiting:  # fill the queue, so that nobody is let in
            for _ in range(2):
                other = waiting.enter_context(socket.socket())
                other.setblocking(False)
                other.connect_ex(full.getsockname())
            raised = post(lambda it: it.orchestrator_execute(), world, by_requests, url)

    assert isinstance(raised.operation_error, requests.ConnectTimeout)
    assert world.log == ["stock", "undo stock"]


def test_an_error_of_a_type_that_has_no_hash_is_a_failure_like_others(
    execute: Execute, world: World
) -> None:
    """Its metaclass may compare as it likes."""

    class Meta(type):
        def __eq__(cls, other: object) -> bool:
            return cls is other

        __hash__ = None  # type: ignore[assignment]

    class Weird(Exception, metaclass=Meta):
        pass

    def fail() -> None:
        raise Weird

    saga = steps(world, "a").operation(fail, after="a")

    assert isinstance(failure_of(execute, saga).operation_error, Weird)
    assert world.standing == []
    assert world.log[-1] == "undo a"


def test_any_number_of_types_of_errors_is_told_apart() -> None:
    """What was found out of each is kept for some of them."""
    kinds = [type(f"Kind{i}", (TimeoutError if i % 2 else ValueError,), {}) for i in range(200)]

    assert [DOUBTFUL.match(kind()) for kind in kinds * 2] == [False, True] * 200
