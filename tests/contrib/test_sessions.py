"""Clients that know their operation, and a real service: what each answer means, and each key."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from senders import SENDERS, Sender, Wanted
from servers.dying import Service
from world import PATIENCE, Clock

from py_api_saga import (
    UNKNOWN,
    Retry,
    SagaAssembler,
    SagaException,
    SagaStuck,
    leaves_doubt,
)
from py_api_saga.contrib.http import TwoAtOnce, gently, request_name, transient
from py_api_saga.evidence import links_of

AT_ONCE = Retry(transient, attempts=3, wait_initial=0, wait_jitter=0, wait_max=0)
EVERY = pytest.mark.parametrize("sender", SENDERS.values(), ids=SENDERS)


@pytest.fixture
def service() -> Iterator[Service]:
    """A service that dies at the instant that a path names."""
    running = Service()
    yield running
    running.close()


def run(saga: SagaAssembler, sender: Sender, **options: Any) -> Any:
    """Run a saga as the functions of the client want it."""
    if not sender.is_async:
        return saga.orchestrator_execute(**options)

    async def main() -> Any:
        return await saga.aorchestrator_execute(**options)

    return asyncio.run(main())


def told(sender: Sender, *each: Wanted, **options: Any) -> str:
    """Run a saga of one operation that sends these, and tell what became of it."""
    undone: list[str] = []
    saga = SagaAssembler.saga(name="shop")
    saga.operation(sender.function(*each), (undone.append, "x"), name="charge", **options)
    try:
        run(saga, sender)
    except SagaException:
        return "in doubt" if undone else "failed"
    return "done"


def undone(sender: Sender, *each: Wanted, **options: Any) -> SagaException:
    """Run a saga that has to compensate by sending these, and give its exception."""

    def fail() -> None:
        raise ValueError

    saga = SagaAssembler.saga(name="shop")
    saga.operation((lambda: None), sender.function(*each), name="charge", **options)
    saga.operation(fail, name="fail", after="charge")
    with pytest.raises(SagaException) as caught:
        run(saga, sender)
    return caught.value


def post(service: Service, instant: str, **options: Any) -> Wanted:
    """Ask for something."""
    return Wanted("POST", f"{service.url}/{instant}", options=options)


def header(service: Service, name: str) -> list[str | None]:
    """Give a header of each request that the service has seen."""
    return [request.headers.get(name) for request in service.ledger.requests]


# --- what an answer means ---------------------------------------------------------------------

# Instant of the service; what an action is told; how often it is made by `transient`.
ROWS = [
    ("ok", "done", 1),
    ("303-after", "in doubt", 1),
    ("redirect-page", "in doubt", 1),
    ("redirect-dead", "in doubt", 1),
    ("304-before", "in doubt", 1),
    ("400-before", "failed", 1),
    ("402-before", "failed", 1),
    ("404-before", "failed", 1),
    ("408-after", "in doubt", 3),
    ("409-before", "in doubt", 3),
    ("409-final", "failed", 1),
    ("410-before", "failed", 1),
    ("422-before", "failed", 1),
    ("425-before", "failed", 3),
    ("429-before", "failed", 3),
    ("500-after", "in doubt", 3),
    ("501-before", "failed", 1),
    ("502-after", "in doubt", 3),
    ("503-after", "in doubt", 3),
    ("504-after", "in doubt", 3),
    ("505-before", "failed", 1),
    ("506-before", "failed", 1),
    ("507-after", "in doubt", 3),
    ("508-before", "failed", 1),
    ("510-before", "failed", 1),
    ("511-before", "failed", 1),
    ("599-after", "in doubt", 3),
    ("effect-fin", "in doubt", 3),
    ("effect-rst", "in doubt", 3),
    ("half-length", "in doubt", 3),
    ("garbage", "in doubt", 3),
]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # where an answer breaks off
@pytest.mark.parametrize(("instant", "means", "times"), ROWS)
@EVERY
def test_each_answer_means_what_the_table_says(
    service: Service, sender: Sender, instant: str, means: str, times: int
) -> None:
    """What an action is told, and whether it is worth another attempt, under the same key."""
    assert told(sender, post(service, instant), retry=AT_ONCE) == means

    requests = service.ledger.requests
    assert [request.method for request in requests] == ["POST"] * times
    assert len(set(header(service, "idempotency-key"))) == 1


@EVERY
def test_a_connection_that_is_refused_is_worth_another_attempt(
    service: Service, sender: Sender
) -> None:
    """Nothing was sent."""
    tries: list[int] = []
    service.close()

    def note(error: Exception) -> bool | float:
        tries.append(1)
        return transient(error)

    retry = Retry(note, attempts=3, wait_initial=0, wait_jitter=0, wait_max=0)
    assert told(sender, post(service, "ok"), retry=retry) == "failed"
    assert len(tries) == 2


@pytest.mark.parametrize("status", [300, 302, 304, 402, 404, 408, 409, 429, 500, 501, 502, 511])
@EVERY
def test_the_error_is_the_clients_own_and_says_the_same(
    service: Service, sender: Sender, status: int
) -> None:
    """It has the answer; and whoever judges it by itself comes to the same as the session."""
    judged: list[bool] = []

    def look(error: Exception) -> bool:
        judged.append(leaves_doubt(error))
        return False

    saga = SagaAssembler.saga()
    saga.operation(
        sender.function(post(service, f"{status}-before")),
        (lambda: None),
        name="charge",
        retry=Retry(look),
    )
    with pytest.raises(SagaException) as caught:
        run(saga, sender)

    error = caught.value.operation_errors["charge"]
    assert type(error) is sender.status_error
    answer = vars(error)["response"]
    assert status in (getattr(answer, "status_code", None), getattr(answer, "status", None))
    is_undone = caught.value.operations["charge"].status.name == "COMPENSATED"
    assert judged == [is_undone]


@EVERY
def test_what_a_conflict_means_is_an_option(service: Service, sender: Sender) -> None:
    """For services that say no by it; it is not tried again then."""
    wanted = post(service, "409-before", conflict="refused")

    assert told(sender, wanted, retry=AT_ONCE) == "failed"
    assert len(service.ledger.requests) == 1


@EVERY
def test_statuses_can_be_read_and_doubt_stays(service: Service, sender: Sender) -> None:
    """Without raising; whatever the operation raises then."""
    assert told(sender, post(service, "402-before", raises=False)) == "done"

    seen: list[int] = []

    def fail(answers: Any) -> None:
        seen.extend(status for status, _ in answers)
        raise KeyError

    def reading(instant: str) -> Callable[[], Any]:
        call = sender.function(post(service, instant, raises=False))
        if not sender.is_async:
            return lambda: fail(call())

        async def acall() -> None:
            fail(await call())

        return acall

    for instant in ("402-before", "502-after"):
        undone: list[int] = []
        saga = SagaAssembler.saga().operation(reading(instant), (undone.append, 1), name="charge")
        with pytest.raises(SagaException):
            run(saga, sender)
        assert bool(undone) is (instant == "502-after")
    assert seen == [402, 502]


@EVERY
def test_a_redirect_of_a_post_is_never_followed(service: Service, sender: Sender) -> None:
    """Not even where statuses are read: the client would follow it."""
    told(sender, post(service, "redirect-page,page", raises=False))

    assert [request.method for request in service.ledger.requests] == ["POST"]


@EVERY
def test_a_get_is_sent_as_it_is(service: Service, sender: Sender) -> None:
    """It has no key and leaves no note, follows redirects, and raises for a bad answer."""
    get = Wanted("GET", f"{service.url}/ok,redirect-page,page")
    assert told(sender, get) == "done"
    assert len(service.ledger.requests) == 2

    assert told(sender, Wanted("GET", f"{service.url}/ok,404-before")) == "failed"
    assert told(
        sender, Wanted("GET", f"{service.url}/ok,404-before", options={"raises": False})
    ) == ("done")
    assert set(header(service, "idempotency-key")) == {None}


@EVERY
def test_a_get_that_is_not_sent_has_not_happened(service: Service, sender: Sender) -> None:
    """As for any other error without doubt."""
    service.close()

    assert told(sender, Wanted("GET", f"{service.url}/ok")) == "failed"


@pytest.mark.parametrize("status", [404, 410])
@EVERY
def test_what_is_gone_is_undone_if_the_service_means_that(
    service: Service, sender: Sender, status: int
) -> None:
    """Only in a compensation, and only if asked for."""
    gone = post(service, f"{status}-before", gone_is_undone=True)

    assert not isinstance(undone(sender, gone), SagaStuck)
    assert isinstance(undone(sender, post(service, f"{status}-before")), SagaStuck)
    assert told(sender, gone) == "failed"


@EVERY
def test_a_question_has_no_key_and_may_be_answered_by_gone(
    service: Service, sender: Sender
) -> None:
    """A 404 is what it asks for; under the action's key a service would take it for the action."""
    answers: list[Any] = []

    call = sender.function(
        post(service, "404-before"), Wanted("GET", f"{service.url}/ok,410-before")
    )

    def ask() -> Any:
        answers.extend(call())
        return UNKNOWN

    async def aask() -> Any:
        answers.extend(await call())
        return UNKNOWN

    saga = SagaAssembler.saga().operation(
        sender.function(post(service, "502-after")),
        (lambda: None),
        name="charge",
        on_doubt=aask if sender.is_async else ask,
    )
    with pytest.raises(SagaException):
        run(saga, sender)

    assert [status for status, _ in answers] == [404, 410]
    assert [key is None for key in header(service, "idempotency-key")] == [False, True, True]
    assert header(service, "saga-action")[1:] == [None, None]


@EVERY
def test_the_first_of_two_requests_stands_when_the_second_is_refused(
    service: Service, sender: Sender
) -> None:
    """A 201, then a 402: no error tells, but the note of the first does."""
    assert told(sender, post(service, "ok"), post(service, "402-before")) == "in doubt"
    assert told(sender, post(service, "402-before"), post(service, "ok")) == "failed"


class PaymentError(Exception):
    """Of the user's own."""


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@EVERY
def test_no_error_has_to_tell_of_a_loss(service: Service, sender: Sender) -> None:
    """Not even `from None`, which says that nothing happened; but what was not sent was not."""
    call = sender.function(post(service, "effect-fin"))

    def hides() -> None:
        try:
            call()
        except Exception:  # noqa: BLE001 - as people write it
            raise PaymentError from None

    async def ahides() -> None:
        try:
            await call()
        except Exception:  # noqa: BLE001 - as above
            raise PaymentError from None

    undone: list[str] = []
    for when in ("sent", "refused"):
        saga = SagaAssembler.saga().operation(
            ahides if sender.is_async else hides, (undone.append, when), name="charge"
        )
        with pytest.raises(SagaException):
            run(saga, sender)
        service.close()

    assert undone == ["sent"]


# --- what a request says ----------------------------------------------------------------------


@EVERY
def test_each_request_of_an_attempt_has_a_key_of_its_own(service: Service, sender: Sender) -> None:
    """The n-th one the same in every attempt."""
    wanted = post(service, "ok,ok,503-before,ok,ok,503-before,ok")

    assert told(sender, wanted, wanted, wanted, retry=AT_ONCE) == "done"

    keys = header(service, "idempotency-key")
    base = keys[0]
    assert base is not None
    assert base.endswith(":charge:action")
    assert keys == [base, f"{base};2", f"{base};3"] * 3
    assert set(header(service, "saga-action")) == {base}
    assert set(header(service, "saga-undoes")) == {None}


@EVERY
def test_a_compensation_says_what_it_undoes_and_since_when(
    service: Service, sender: Sender
) -> None:
    """By the key of the action, and the time at which that was first sent."""
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    saga = SagaAssembler.saga(name="shop").operation(
        sender.function(post(service, "502-after")),
        sender.function(post(service, "ok"), post(service, "ok")),
        name="charge",
    )
    with pytest.raises(SagaException):
        run(saga, sender)

    action, *undo = header(service, "idempotency-key")
    assert action is not None
    assert undo == [action.replace(":action", ":compensation") + end for end in ("", ";2")]
    assert header(service, "saga-action") == [action, None, None]
    assert header(service, "saga-undoes") == [None, action, action]
    nothing, since, again = header(service, "saga-since")
    assert nothing is None
    assert since == again
    assert since is not None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", since)
    assert before <= datetime.fromisoformat(since) <= datetime.now(UTC)


@EVERY
def test_a_key_that_the_caller_has_set_is_kept(service: Service, sender: Sender) -> None:
    """It takes no number from the others."""
    own = post(service, "ok")._replace(headers={"idempotency-key": "mine", "Saga-Action": "other"})

    assert told(sender, post(service, "ok"), own, post(service, "ok")) == "done"

    first, mine, second = header(service, "idempotency-key")
    assert mine == "mine"
    assert second == f"{first};2"
    assert header(service, "saga-action")[1] == "other"


@EVERY
def test_what_is_told_in_which_header_is_an_option(service: Service, sender: Sender) -> None:
    """The name of the header, quotes, other methods, and to say nothing of the saga."""
    options: dict[str, Any] = {"header": "X-Request-Id", "quote": True, "undoes_header": None}
    other = Wanted("GET", f"{service.url}/ok,page", options={"methods": ("GET",)})

    assert told(sender, post(service, "ok", **options), other) == "done"

    first, second = service.ledger.requests
    assert "idempotency-key" not in first.headers
    assert re.fullmatch(r'".+:charge:action"', first.headers["x-request-id"])
    assert "saga-action" not in first.headers
    assert second.headers["idempotency-key"].endswith(":charge:action;2")


@EVERY
def test_outside_of_an_operation_it_is_a_plain_client(service: Service, sender: Sender) -> None:
    """Byte for byte, and no answer raises."""
    each = [
        Wanted(method, f"{service.url}/{instant}", knows=knows)
        for method, instant in (("POST", "502-after"), ("GET", "ok,page"), ("PUT", "404-before"))
        for knows in (True, False)
    ]

    if sender.is_async:

        async def main() -> list[Any]:
            return [await sender.send(wanted) for wanted in each]

        answers = asyncio.run(main())
    else:
        answers = [sender.send(wanted) for wanted in each]

    heads = [request.head for request in service.ledger.requests]
    assert heads[::2] == heads[1::2]
    assert answers[::2] == answers[1::2]


# --- requests at once -------------------------------------------------------------------------


def named(name: str) -> Any:
    """Name the requests of a block, unless the name is empty."""
    return request_name(name) if name else nullcontext()


def in_tasks(sender: Sender, wanted: Wanted, names: list[str]) -> Any:
    """Make a function that sends at once, in tasks."""

    async def one(name: str) -> None:
        with named(name):
            await sender.send(wanted)

    async def send_all() -> None:
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(one(name))

    return send_all


def in_threads(sender: Sender, wanted: Wanted, names: list[str], stop: Callable[[], object]) -> Any:
    """Make a function that sends at once, in threads; `stop` lets the others end at an error."""

    def send_all() -> None:
        errors: list[Exception] = []

        def work(name: str) -> None:
            try:
                with named(name):
                    sender.send(wanted)
            except Exception as error:  # noqa: BLE001 - raised by the operation
                errors.append(error)
                stop()

        threads = [threading.Thread(target=copy_context().run, args=(work, name)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        if errors:
            raise ExceptionGroup("of the threads", errors)

    return send_all


def at_once(sender: Sender, service: Service, instant: str, *names: str) -> Any:
    """Make a function that sends at once, under names if they are not empty."""
    wanted = post(service, instant)._replace(seconds=PATIENCE)
    if sender.is_async:
        return in_tasks(sender, wanted, list(names))
    return in_threads(sender, wanted, list(names), service.close)


@EVERY
def test_requests_at_once_have_names_for_keys(service: Service, sender: Sender) -> None:
    """In tasks and in threads, which have the context of the operation."""
    call = at_once(sender, service, "ok", "a", "b", "seat 3")

    run(SagaAssembler.saga().operation(call, name="it"), sender)

    keys = header(service, "idempotency-key")
    assert sorted(key.partition(";")[2] for key in keys if key) == ["a", "b", "seat 3"]


@EVERY
def test_two_at_once_without_names_are_refused_and_the_action_is_in_doubt(
    service: Service, sender: Sender
) -> None:
    """The first one is under way; the second was not sent."""
    undone: list[int] = []
    call = at_once(sender, service, "effect-hang", "", "")
    saga = SagaAssembler.saga().operation(call, (undone.append, 1), name="it")

    with pytest.raises(SagaException) as caught:
        run(saga, sender)

    assert undone == [1]
    group = caught.value.__cause__
    assert isinstance(group, ExceptionGroup)
    refused = group.subgroup(TwoAtOnce)
    assert refused is not None
    assert "request_name" in str(refused.exceptions[0])
    assert not transient(group)
    assert len(service.ledger.requests) <= 1


# --- time -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("instant", ["effect-hang", "half-hang"])
@EVERY
def test_no_read_outlasts_the_saga(service: Service, sender: Sender, instant: str) -> None:
    """A deadline bounds it, whatever the client's own limit.

    The service would not answer, and end the connection, in some other way, long after.
    """
    undone: list[int] = []
    saga = SagaAssembler.saga().operation(
        sender.function(post(service, instant)._replace(seconds=None)),
        (undone.append, 1),
        name="charge",
    )

    with pytest.raises(SagaException) as caught:
        run(saga, sender, deadline=0.2)

    error = caught.value.operation_errors["charge"]
    assert isinstance(error, Exception)
    assert any("Timeout" in type(link).__name__ for link in links_of(error))
    assert bool(undone) >= bool(service.ledger.effects)  # on a slow machine nothing was sent


@EVERY
def test_nothing_is_sent_when_no_time_is_left(
    service: Service, sender: Sender, clock: Clock
) -> None:
    """It says so as a connection that was not made in time; the action has not happened."""
    send = sender.function(post(service, "ok"))

    def late() -> Any:
        clock.forward(1000)
        return send()

    async def alate() -> None:
        await late()

    saga = SagaAssembler.saga().operation(
        alate if sender.is_async else late, (lambda: None), name="charge"
    )
    with pytest.raises(SagaException) as caught:
        run(saga, sender, deadline=100)

    assert service.ledger.requests == []
    assert type(caught.value.operation_errors["charge"]) is sender.no_time
    assert caught.value.operations["charge"].status.name == "FAILED"


def test_there_is_a_retry_to_begin_with() -> None:
    """It gives up within a minute, whatever a service wants to be waited for."""
    assert gently.on is transient
    assert (gently.attempts, gently.timeout) == (5, 60.0)
