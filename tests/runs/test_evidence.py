"""What an error tells of whether its call has happened: each link of it, and the walk to it."""

# ruff: noqa: B904, TRY301 - to raise, to handle and to raise in one place is the case

import asyncio
import logging
import pickle
import smtplib
import ssl
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError, URLError

import aiohttp
import asyncpg  # type: ignore[import-untyped]
import billiard.exceptions  # type: ignore[import-untyped]
import django.db.utils
import dramatiq.middleware
import grpc  # type: ignore[import-untyped]
import httpx
import httpx2
import psycopg
import psycopg2  # type: ignore[import-untyped]
import pytest
import redis
import requests
import rq.timeouts
import sqlalchemy.exc
import urllib3
from multidict import CIMultiDict, CIMultiDictProxy
from world import Execute, World, failure_of, statuses, steps
from yarl import URL

from py_api_saga import (
    JournalError,
    SagaAssembler,
    SagaConflict,
    SagaDefinitionError,
    SagaException,
    SagaInProgress,
    SagaPending,
    SagaStuck,
    leaves_doubt,
)
from py_api_saga.evidence import DOUBTFUL
from py_api_saga.exceptions import LaterError, RecordedError
from py_api_saga.known_errors import known_names

# Names that no installed package has: of packages that the tests do without.
ABSENT = (
    *("valkey", "psycopg_pool", "pymysql", "asyncmy", "MySQLdb", "mysql", "huey", "gevent"),
    *("eventlet", "trio"),
)


class PaymentError(Exception):
    """What an application makes of what its client has raised."""


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """Raise an error from another one, so that it has a traceback."""
    try:
        raise error from cause
    except BaseException as caught:  # noqa: BLE001 - it is to be looked at
        return caught


def beside(error: BaseException, handling: BaseException) -> BaseException:
    """Raise an error while another one is being handled."""
    try:
        try:
            raise handling
        except BaseException:  # noqa: BLE001 - as above
            raise error
    except BaseException as caught:  # noqa: BLE001 - as above
        return caught


def chain(length: int, last: BaseException) -> BaseException:
    """Make a chain of so many errors above a last one."""
    for _ in range(length):
        last = raised(ValueError(), last)
    return last


def charged(world: World, error: BaseException, **options: Any) -> SagaAssembler:
    """Make a saga whose second operation raises an error."""
    saga = steps(world, "stock")
    undo = (world.undo, "charge")
    return saga.operation(
        (world.fail, "charge", error), undo, name="charge", after="stock", **options
    )


# --- groups ---------------------------------------------------------------------------------------


def test_a_timeout_out_of_a_task_group_leaves_doubt(execute_async: Execute, world: World) -> None:
    """As it is raised by asyncio, in a group."""

    async def send() -> None:
        world.do("charge")
        raise TimeoutError

    async def charge() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(send())

    saga = steps(world, "stock").operation(charge, (world.undo, "charge"), after="stock")

    assert statuses(failure_of(execute_async, saga))["charge"] == "COMPENSATED"
    assert world.standing == []


def test_any_member_of_a_group_leaves_doubt(execute: Execute, world: World) -> None:
    """However deep it is."""
    inner = ExceptionGroup("inner", [KeyError(), ConnectionResetError()])
    error = ExceptionGroup("outer", [ValueError(), inner])

    assert statuses(failure_of(execute, charged(world, error)))["charge"] == "COMPENSATED"


@pytest.mark.parametrize("last", [ValueError(), TimeoutError()])
def test_groups_may_be_deep_and_wide(last: Exception) -> None:
    """Nobody runs out of stack, or of patience; and being large leaves no doubt."""
    deep: Exception = last
    for _ in range(900):
        deep = ExceptionGroup("one more", [deep])
    wide = BaseExceptionGroup(
        "wide", [*(raised(ValueError(i), KeyError()) for i in range(2000)), last]
    )

    start = time.perf_counter()
    assert leaves_doubt(deep) is leaves_doubt(wide) is isinstance(last, TimeoutError)
    assert time.perf_counter() - start < 5  # it takes some 20 ms


def test_what_a_group_was_raised_from_counts_too() -> None:
    """A group is a link like others."""
    assert leaves_doubt(raised(ExceptionGroup("", [ValueError()]), TimeoutError()))


# --- chains ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [raised, beside])
def test_what_an_error_was_raised_from_or_beside_leaves_doubt(
    execute: Execute, world: World, how: Callable[..., BaseException]
) -> None:
    """Which is how most people wrap: `raise PaymentError from timeout`, or in the `except`."""
    error = how(PaymentError(), TimeoutError())

    assert statuses(failure_of(execute, charged(world, error)))["charge"] == "COMPENSATED"


def test_from_none_says_that_it_did_not_happen(execute: Execute, world: World) -> None:
    """What was handled is then no link."""

    def charge() -> None:
        world.note("charge")
        try:
            raise TimeoutError
        except TimeoutError:
            raise PaymentError from None

    saga = steps(world, "stock").operation(charge, (world.undo, "charge"), after="stock")

    assert statuses(failure_of(execute, saga))["charge"] == "FAILED"


def declined() -> None:
    """Raise an error that is all there is."""
    raise PaymentError


def declined_in_trouble() -> None:
    """Raise an error while one of its own is handled, and not the caller's."""
    try:
        raise KeyError
    except KeyError:
        raise PaymentError


@pytest.mark.parametrize("charge", [declined, declined_in_trouble])
def test_what_the_caller_was_handling_does_not_count(
    execute_sync: Execute, world: World, charge: Callable[[], None]
) -> None:
    """A saga that is run in an `except` block finds that error in the context of all of its own."""
    saga = steps(world, "stock").operation(charge, name="charge", after="stock")
    try:
        try:
            raise TimeoutError("first")
        except TimeoutError:
            raise ConnectionResetError("second")
    except ConnectionResetError:
        raised_ = failure_of(execute_sync, saga)

    assert statuses(raised_)["charge"] == "FAILED"


@pytest.mark.parametrize("method", ["aorchestrator_execute", "achoreography_execute"])
def test_what_the_caller_was_handling_does_not_count_under_asyncio(
    world: World, method: str
) -> None:
    """Whether it is handled around the loop, or in the coroutine that awaits the saga."""

    async def charge() -> None:
        await asyncio.sleep(0)
        raise PaymentError

    async def inner() -> SagaException:
        saga = steps(world, "stock").operation(charge, (world.undo, "charge"), after="stock")
        try:
            raise ConnectionAbortedError
        except ConnectionAbortedError:
            with pytest.raises(SagaException) as caught:
                await getattr(saga, method)()
        return caught.value

    try:
        raise TimeoutError
    except TimeoutError:
        error = asyncio.run(inner())

    assert statuses(error)["charge"] == "FAILED"


def test_what_the_action_handles_counts_wherever_the_saga_runs(
    execute_sync: Execute, world: World
) -> None:
    """Though a caller handles something, too."""

    def charge() -> None:
        try:
            raise TimeoutError
        except TimeoutError:
            raise PaymentError

    saga = steps(world, "stock").operation(charge, (world.undo, "charge"), after="stock")
    try:
        raise KeyError
    except KeyError:
        error = failure_of(execute_sync, saga)

    assert statuses(error)["charge"] == "COMPENSATED"


def test_a_cycle_ends_the_walk() -> None:
    """With what was found until then."""
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert not leaves_doubt(first)
    second.__context__, second.__suppress_context__ = TimeoutError(), False
    assert leaves_doubt(first)
    wrapper = requests.ConnectionError()
    wrapper.__cause__ = wrapper
    assert leaves_doubt(wrapper)


def test_after_a_hundred_links_it_is_doubt() -> None:
    """Where so many are, nobody knows what they hide."""
    assert not leaves_doubt(chain(99, KeyError()))
    assert leaves_doubt(chain(99, TimeoutError()))
    assert leaves_doubt(chain(150, KeyError()))


class Another(ValueError):
    """An error that has another reason each time it is asked."""

    @property
    def reason(self) -> Exception:
        """Make one."""
        return Another()

    original_error = reason


def test_links_that_are_made_as_they_are_looked_at_end_somewhere() -> None:
    """They are doubt, soon."""
    assert leaves_doubt(Another())


def test_more_links_than_anybody_has_are_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at them must end."""
    monkeypatch.setattr("py_api_saga.evidence.MOST_SEEN", 10)
    assert leaves_doubt(ExceptionGroup("", [ValueError() for _ in range(20)]))


# --- what excuses ---------------------------------------------------------------------------------


def test_an_exempt_link_excuses_what_is_directly_below_it() -> None:
    """A connection that was not made in time is a TimeoutError inside; nothing was sent."""
    for inside in (TimeoutError(), ConnectionResetError(), ssl.SSLError()):
        assert leaves_doubt(inside)
        assert not leaves_doubt(raised(httpx.ConnectTimeout(""), inside))
        assert leaves_doubt(raised(httpx.ConnectTimeout(""), raised(OSError(), inside)))


def test_an_exempt_link_excuses_no_error_of_a_library_or_the_user() -> None:
    """Only what is built in is its own inside."""

    class Waited(TimeoutError):
        pass

    for inside in (httpx.ReadTimeout(""), Waited(), requests.ReadTimeout()):
        assert leaves_doubt(raised(httpx.ConnectTimeout(""), inside))


def test_an_earlier_try_below_an_exempt_link_leaves_doubt() -> None:
    """A ReadTimeout, then a ConnectTimeout in the `except`: the walk goes on beneath."""
    assert leaves_doubt(beside(httpx.ConnectTimeout(""), httpx.ReadTimeout("")))
    twice = raised(httpx.ConnectTimeout(""), beside(TimeoutError("connect"), TimeoutError("read")))
    assert leaves_doubt(twice)


def test_what_was_excused_in_one_place_is_not_in_another() -> None:
    """The same timeout is the inside of one link, and the context of another."""
    timeout = TimeoutError()
    connect = raised(httpx.ConnectTimeout(""), timeout)
    assert leaves_doubt(BaseExceptionGroup("", [connect, beside(PaymentError(), timeout)]))


def test_a_timeout_of_asyncio_is_no_cancellation() -> None:
    """Which it makes it of: what the TimeoutError is, that is."""

    async def main() -> BaseException:
        try:
            async with asyncio.timeout(0):
                await asyncio.sleep(60)
        except TimeoutError as error:
            return error
        raise AssertionError

    timeout = asyncio.run(main())
    assert isinstance(timeout.__cause__, asyncio.CancelledError)
    assert leaves_doubt(timeout)
    assert not leaves_doubt(raised(httpx.ConnectTimeout(""), timeout))
    assert leaves_doubt(raised(PaymentError(), asyncio.CancelledError()))


def test_a_lower_layer_of_a_client_hands_an_excuse_on() -> None:
    """anyio, below httpx: a connection that broke while it was made."""
    import anyio  # noqa: PLC0415 - it comes with httpx

    broken = raised(anyio.BrokenResourceError(), ConnectionResetError())
    assert leaves_doubt(broken)
    assert not leaves_doubt(raised(httpx.ConnectError(""), broken))


def test_to_wait_for_a_socket_is_no_error() -> None:
    """As it is found in the context of what asyncio raises over TLS."""
    assert not leaves_doubt(beside(PaymentError(), ssl.SSLWantReadError()))


# --- wrappers -------------------------------------------------------------------------------------


def test_a_wrapper_is_as_what_it_holds() -> None:
    """And in doubt if it holds nothing that is known."""
    refused = ConnectionRefusedError()
    assert not leaves_doubt(URLError(refused))
    assert leaves_doubt(URLError(ConnectionResetError()))
    assert leaves_doubt(URLError(OSError("Tunnel connection failed")))
    assert leaves_doubt(URLError("it is a text"))
    assert leaves_doubt(requests.ConnectionError())
    assert not leaves_doubt(raised(aiohttp.ClientConnectionError(), refused))
    assert not leaves_doubt(URLError(URLError(refused)))
    assert leaves_doubt(ExceptionGroup("", [URLError(refused), URLError("")]))


def test_a_wrapper_that_holds_nothing_is_not_excused_by_what_was_before() -> None:
    """What was handled when it was raised is not inside of it."""
    assert leaves_doubt(beside(requests.ConnectionError("broken"), requests.ConnectTimeout()))


def test_a_wrapper_holds_what_another_link_holds_too() -> None:
    """Requests names its reason, and raises its own beside it."""
    refused = ConnectionRefusedError()
    assert not leaves_doubt(beside(URLError(raised(OSError(), refused)), refused))


# --- interrupts and time limits -------------------------------------------------------------------


class Stop(BaseException):
    """An interrupt that nobody knows."""


LIMITS: list[BaseException] = [
    Stop(),
    KeyboardInterrupt(),
    SystemExit(),
    GeneratorExit(),
    asyncio.CancelledError(),
    billiard.exceptions.SoftTimeLimitExceeded(),
    billiard.exceptions.TimeLimitExceeded(),
    rq.timeouts.JobTimeoutException(),
    rq.timeouts.HorseMonitorTimeoutException(),
    dramatiq.middleware.TimeLimitExceeded(),
    dramatiq.middleware.Shutdown(),
]


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: type(limit).__name__)
def test_interrupts_and_time_limits_found_as_links_leave_doubt(limit: BaseException) -> None:
    """Whoever handles one in an action was struck in its middle."""
    assert leaves_doubt(raised(PaymentError(), limit))
    assert leaves_doubt(beside(PaymentError(), limit))
    assert leaves_doubt(BaseExceptionGroup("", [ValueError(), limit]))


def test_an_interrupt_that_is_handled_leaves_doubt(execute: Execute, world: World) -> None:
    """In each executor."""
    error = beside(PaymentError(), SystemExit())

    assert statuses(failure_of(execute, charged(world, error)))["charge"] == "COMPENSATED"


# --- our own errors -------------------------------------------------------------------------------


def failing(*, undo: Any = None, error: Exception | None = None) -> SagaException:
    """Run a saga that fails in its second operation, and give what it raises."""
    saga = SagaAssembler.saga().operation(int, undo, name="a")

    def fail() -> None:
        raise error or TimeoutError

    with pytest.raises(SagaException) as caught:
        saga.operation(fail, int, name="b").orchestrator_execute()
    return caught.value


def broken() -> None:
    """Undo nothing, and say so."""
    raise OSError


def test_a_saga_that_is_undone_is_a_refusal() -> None:
    """Though it failed by a timeout: what is below it is settled."""
    undone = failing(undo=int)
    assert isinstance(undone.__cause__, TimeoutError)
    assert not leaves_doubt(undone)
    assert not leaves_doubt(raised(PaymentError(), undone))
    assert leaves_doubt(beside(PaymentError(), beside(ValueError(), TimeoutError())))


def test_a_saga_of_which_something_stands_leaves_doubt() -> None:
    """What has no compensation, or could not be undone."""
    assert leaves_doubt(failing())
    assert leaves_doubt(failing(undo=broken))
    assert leaves_doubt(pickle.loads(pickle.dumps(failing())))  # noqa: S301 - our own


def test_errors_of_ours_that_decide_nothing() -> None:
    """Somebody drives the saga; or it is left in its journal; or it was never run."""
    assert leaves_doubt(SagaInProgress("x"))
    assert leaves_doubt(JournalError("x"))
    assert leaves_doubt(SagaStuck("x"))
    assert not leaves_doubt(SagaConflict("x"))
    assert not leaves_doubt(SagaDefinitionError("x"))
    assert not leaves_doubt(raised(SagaDefinitionError("x"), TimeoutError()))
    assert not leaves_doubt(SagaException("made by hand"))
    assert leaves_doubt(raised(SagaException("made by hand"), TimeoutError()))


@pytest.mark.parametrize(
    "error",
    [SagaPending("x", ["x:charge:action"], None), LaterError("x")],
    ids=["it waits", "nobody can wait for it"],
)
def test_a_call_that_has_only_begun_something_leaves_doubt(error: Exception) -> None:
    """In a saga within the action, or by its own `later(…)`: by itself, and as any link."""
    assert leaves_doubt(error)
    assert leaves_doubt(raised(PaymentError(), error))
    assert leaves_doubt(beside(PaymentError(), error))
    assert leaves_doubt(ExceptionGroup("both", [PaymentError(), error]))
    recorded = RecordedError(f"py_api_saga.exceptions.{type(error).__name__}", "x")
    assert leaves_doubt(raised(PaymentError(), recorded))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("builtins.TimeoutError", True),
        ("requests.exceptions.ConnectTimeout", False),
        ("requests.exceptions.HTTPError", True),  # nobody knows its status
        ("requests.exceptions.ConnectionError", True),
        ("shop.Declined", False),
        ("builtins.KeyboardInterrupt", True),
        ("py_api_saga.exceptions.SagaStuck", True),
        ("py_api_saga.exceptions.SagaException", True),
        ("py_api_saga.exceptions.SagaInProgress", True),
        ("py_api_saga.exceptions.SagaConflict", False),
        ("py_api_saga.exceptions.SagaDefinitionError", False),
    ],
)
def test_an_error_that_a_journal_has_recorded_is_judged_by_its_name(
    kind: str,
    expected: bool,  # noqa: FBT001 - of the table
) -> None:
    """Its class is not looked for."""
    assert leaves_doubt(raised(PaymentError(), RecordedError(kind, "text"))) is expected


# --- answers --------------------------------------------------------------------------------------


def by_requests(status: int, headers: Any = None, **more: Any) -> Exception:
    """Make what `raise_for_status` of requests raises."""
    response = requests.Response()
    response.status_code = status
    response.request = requests.Request("POST", "http://bank/", headers=headers).prepare()
    vars(response).update(more)
    return requests.HTTPError(response=response)


def by_httpx(status: int, headers: Any = None, *, module: Any = httpx, method: str = "POST") -> Any:
    """Make what `raise_for_status` of httpx raises."""
    request = module.Request(method, "http://bank/", headers=headers)
    response = module.Response(status, request=request)
    return module.HTTPStatusError("", request=request, response=response)


def by_httpx2(status: int, headers: Any = None) -> Exception:
    """Make that of httpx2."""
    error: Exception = by_httpx(status, headers, module=httpx2)
    return error


def by_aiohttp(status: int, headers: Any = None, history: tuple[Any, ...] = ()) -> Exception:
    """Make what aiohttp raises."""
    sent = CIMultiDictProxy(CIMultiDict(headers or {}))
    info = aiohttp.RequestInfo(URL("http://bank/"), "POST", sent, URL("http://bank/"))
    return aiohttp.ClientResponseError(info, history, status=status)


def by_urllib(status: int, headers: Any = None) -> Exception:
    """Make what `urlopen` raises, which keeps its request only where it was raised."""
    from urllib.request import HTTPDefaultErrorHandler, Request  # noqa: PLC0415 - for its frames

    request = Request("http://bank/", b"{}", headers or {})
    try:
        HTTPDefaultErrorHandler().http_error_default(request, None, status, "", {})  # type: ignore[arg-type]
    except HTTPError as error:
        return error
    raise AssertionError


class ApiError(Exception):
    """What an SDK raises, with the answer in it."""

    def __init__(self, response: Any) -> None:
        super().__init__("the API says no")
        self.response = response


def by_sdk(status: int, headers: Any = None) -> Exception:
    """Make an error of a class that nobody knows."""
    return ApiError(SimpleNamespace(status_code=status, request=SimpleNamespace(headers=headers)))


ANSWERS = [by_requests, by_httpx, by_httpx2, by_aiohttp, by_urllib, by_sdk]
OPEN = (*range(300, 304), 307, 308, 408, 500, 502, 503, 504, 507, 509, 520, 599, 200, 201, 204, 100)
REFUSED = (400, 401, 402, 403, 404, 409, 410, 418, 422, 425, 429, 499, 501, 505, 506, 508, 510, 511)


@pytest.mark.parametrize("client", ANSWERS)
def test_an_answer_is_judged_by_its_status(client: Callable[[int], Exception]) -> None:
    """A 5xx, but for some, and a redirect may have been passed on; another 4xx is a no."""
    assert {status for status in (*OPEN, *REFUSED) if leaves_doubt(client(status))} == {*OPEN}


@pytest.mark.parametrize("client", ANSWERS)
def test_a_conflict_under_our_key_may_be_about_our_own_request(client: Any) -> None:
    """An earlier one is in flight."""
    assert leaves_doubt(client(409, {"idempotency-KEY": "17"}))
    assert not leaves_doubt(client(409, {"X-Other": "17"}))


def test_a_conflict_of_a_request_that_nobody_has_kept_is_a_no() -> None:
    """As other refusals: nothing says that it was about our own."""
    assert not leaves_doubt(ApiError(SimpleNamespace(status_code=409)))
    assert not leaves_doubt(raised(HTTPError("http://bank/", 409, "", {}, None)))  # type: ignore[arg-type]


def test_our_key_is_known_in_any_header(execute: Execute, world: World) -> None:
    """Some services have a name of their own for it."""
    from py_api_saga import current_operation  # noqa: PLC0415

    def charge() -> None:
        world.note("charge")
        raise by_requests(409, {"PayPal-Request-Id": current_operation().idempotency_key})

    saga = steps(world, "stock").operation(charge, (world.undo, "charge"), after="stock")

    assert statuses(failure_of(execute, saga))["charge"] == "COMPENSATED"


def test_a_redirect_of_a_request_without_effects_is_none() -> None:
    """To GET a thing that is elsewhere changes nothing."""
    assert not leaves_doubt(by_httpx(304, method="GET"))
    assert leaves_doubt(by_httpx(304))


def test_a_no_after_a_redirect_is_of_the_second_request() -> None:
    """The first one may have done it."""
    assert leaves_doubt(by_requests(404, history=[requests.Response()]))
    assert leaves_doubt(by_aiohttp(404, history=(object(),)))


def tried(*past: Any) -> SimpleNamespace:
    """Make the retries of urllib3 with what it has tried."""
    return SimpleNamespace(history=tuple(past))


def past(error: Exception | None = None, status: int | None = None) -> Any:
    """Make one such try."""
    return urllib3.util.retry.RequestHistory("POST", "/", error, status, None)


def test_a_no_after_hidden_tries_is_of_the_last_one() -> None:
    """urllib3 tries again below requests; one that was not even connected does not matter."""
    refused = urllib3.exceptions.NewConnectionError(None, "refused")  # type: ignore[arg-type]
    for retries, expected in (
        (tried(past(urllib3.exceptions.ProtocolError("lost"))), True),
        (tried(past(status=503)), True),
        (tried(past(refused)), False),
        (tried(), False),
    ):
        raw = SimpleNamespace(retries=retries)
        assert leaves_doubt(by_requests(402, raw=raw)) is expected
        assert leaves_doubt(ApiError(SimpleNamespace(status=402, retries=retries))) is expected


def test_the_response_may_be_a_dict() -> None:
    """As botocore's is."""

    def said(status: Any) -> Exception:
        return ApiError({"ResponseMetadata": {"HTTPStatusCode": status}})

    assert leaves_doubt(said(503))
    assert not leaves_doubt(said(400))
    assert leaves_doubt(ApiError({"status": "502 Bad Gateway"}))
    assert leaves_doubt(ApiError({"status_code": 500, "ResponseMetadata": None}))
    assert not leaves_doubt(ApiError({}))


@pytest.mark.parametrize("status", ["error", "", None, True, 0, 99, 1000, 5.03, object(), b"503"])
def test_what_is_no_status_tells_nothing(status: Any) -> None:
    """Of an SDK's error; one of a client that has an answer is in doubt then."""
    assert not leaves_doubt(ApiError(SimpleNamespace(status_code=status, status=status)))
    assert leaves_doubt(aiohttp.ClientResponseError(None, (), status=status))  # type: ignore[arg-type]


def test_only_the_errors_of_clients_have_a_status_themselves() -> None:
    """`code` and `status` of any other error may mean anything."""

    class Declined(Exception):
        code = status = status_code = 500

    assert not leaves_doubt(Declined())


def test_an_answer_that_aiohttp_could_not_read_has_a_made_up_status() -> None:
    """By its number it were a final no."""
    cause = aiohttp.http_exceptions.BadStatusLine("\x00")
    assert leaves_doubt(raised(by_aiohttp(400), cause))


def test_a_wrapper_may_have_an_answer() -> None:
    """It is judged by that."""
    declined = requests.Response()
    declined.status_code = 402
    assert not leaves_doubt(requests.ConnectionError(response=declined))


# --- tries that hide ------------------------------------------------------------------------------


def refused_by(*, known: dict[str, Any], function: str, module: str) -> BaseException:
    """Raise that a connection was refused, from within a function of a client's."""
    names = ", ".join(known)
    code = f"def {function}({names}):\n    raise error\n"
    space = {"__name__": module, "error": httpx.ConnectError("refused")}
    exec(code, space)  # noqa: S102 - a frame of that name, in a module of that name
    try:
        space[function](**known)  # type: ignore[operator]
    except httpx.ConnectError as error:
        return error
    raise AssertionError


SESSION = SimpleNamespace(_retry_connection=True)


@pytest.mark.parametrize(
    ("function", "module", "known", "expected"),
    [
        ("resolve_redirects", "requests.sessions", {}, True),
        ("http_error_302", "urllib.request", {}, True),
        ("resolve_redirects", "shop.pages", {}, False),
        ("_send_handling_redirects", "httpx._client", {"history": [1]}, True),
        ("_send_handling_redirects", "httpx2._client", {"history": []}, False),
        ("_request", "aiohttp.client", {"history": [1]}, True),
        ("_request", "aiohttp.client", {"history": []}, False),
        (
            "_request",
            "aiohttp.client",
            {"history": [], "method": "PUT", "self": SESSION, "retry_persistent_connection": False},
            True,
        ),
        (
            "_request",
            "aiohttp.client",
            {"history": [], "method": "PUT", "self": SESSION, "retry_persistent_connection": True},
            False,
        ),
        ("urlopen", "urllib3.connectionpool", {"retries": tried()}, False),
        ("urlopen", "urllib3.connectionpool", {"retries": None}, False),
        ("urlopen", "urllib3.connectionpool", {"retries": tried(past(OSError()))}, False),
        ("urlopen", "urllib3.connectionpool", {"retries": tried(past(TimeoutError()))}, True),
        ("urlopen", "urllib3.connectionpool", {"retries": tried(past(status=303))}, True),
        ("urlopen", "urllib3.poolmanager", {"redirect_location": "http://["}, True),
    ],
)
def test_a_refused_connection_may_hide_an_earlier_try(
    function: str,
    module: str,
    known: dict[str, Any],
    expected: bool,  # noqa: FBT001 - as above
) -> None:
    """A client that follows a redirect, or tries again by itself, tells of the last try alone."""
    error = refused_by(known=known, function=function, module=module)

    assert leaves_doubt(error) is expected


def test_an_unknown_error_may_hide_an_earlier_try(execute: Execute, world: World) -> None:
    """A redirect to what is not an address."""
    code = "def resolve_redirects():\n    raise ValueError('Invalid IPv6 URL')\n"
    space: dict[str, Any] = {"__name__": "requests.sessions"}
    exec(code, space)  # noqa: S102 - as above
    with pytest.raises(ValueError, match="IPv6") as caught:
        space["resolve_redirects"]()

    assert leaves_doubt(caught.value)
    raised_ = failure_of(execute, charged(world, caught.value))
    assert statuses(raised_)["charge"] == "COMPENSATED"


def test_retries_of_urllib3_that_nobody_has_seen_are_doubt() -> None:
    """Made by hand, or pickled: it has no traceback, and so no history."""
    reason = urllib3.exceptions.NewConnectionError(None, "refused")  # type: ignore[arg-type]
    error = urllib3.exceptions.MaxRetryError(None, "/", reason)  # type: ignore[arg-type]
    assert leaves_doubt(error)
    assert leaves_doubt(requests.ConnectionError(error))


# --- beyond HTTP ----------------------------------------------------------------------------------


class Rpc(grpc.RpcError):  # type: ignore[misc]
    """What a call by gRPC raises."""

    def __init__(self, code: Any, details: str = "") -> None:
        super().__init__()
        self._code, self._details = code, details

    def code(self) -> Any:
        """Give its code."""
        if isinstance(self._code, Exception):
            raise self._code
        return self._code

    def details(self) -> str:
        """Say more."""
        return self._details


class State(psycopg.OperationalError):
    """An error of psycopg with a state."""

    def __init__(self, state: str | None) -> None:
        super().__init__("database")
        self.sqlstate = state


class Code(psycopg2.OperationalError):  # type: ignore[misc]
    """One of psycopg2 with a state."""

    def __init__(self, state: str | None) -> None:
        super().__init__("database")
        self.code = state

    @property
    def pgcode(self) -> str | None:
        """Give it."""
        return self.code


def my(module: str, *args: Any) -> Exception:
    """Make an error of a driver of MySQL."""
    kind = type("OperationalError", (Exception,), {"__module__": module})
    error: Exception = kind(*args)
    return error


def connecting(error: Exception, module: str, function: str = "connect") -> BaseException:
    """Raise an error where a driver makes a connection."""
    space: dict[str, Any] = {"__name__": module, "error": error}
    exec(f"def {function}():\n    raise error\n", space)  # noqa: S102 - as above
    try:
        space[function]()
    except Exception as caught:  # noqa: BLE001 - as above
        return caught
    raise AssertionError


def wrapped(cause: Exception) -> BaseException:
    """Wrap an error of a driver as Django does."""
    return raised(django.db.utils.OperationalError(*cause.args), cause)


CODES = [Rpc(code) for code in grpc.StatusCode]
LOST = {"DEADLINE_EXCEEDED", "UNAVAILABLE", "CANCELLED", "UNKNOWN", "INTERNAL", "DATA_LOSS"}
BEYOND: list[tuple[BaseException, bool]] = [
    (subprocess.TimeoutExpired("pay", 1), True),
    (subprocess.CalledProcessError(1, "pay"), False),
    (subprocess.CalledProcessError(-9, "pay"), True),
    (BrokenProcessPool(), True),
    (EOFError(), True),
    (asyncio.IncompleteReadError(b"", 5), True),
    (asyncio.LimitOverrunError("", 5), True),
    (smtplib.SMTPServerDisconnected(), True),
    (smtplib.SMTPRecipientsRefused({}), False),
    (smtplib.SMTPDataError(550, "no"), False),
    (smtplib.SMTPResponseException(421, "bye"), False),
    (connecting(smtplib.SMTPResponseException(421, "bye"), "smtplib", "__exit__"), True),
    *((error, error.code().name in LOST) for error in CODES),
    (Rpc(None), True),
    (Rpc(ValueError()), True),
    (Rpc(grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (5 vs 4)"), True),
    (redis.ConnectionError(), True),
    (redis.TimeoutError(), True),
    (redis.AuthenticationError(), False),
    (redis.exceptions.BusyLoadingError(), False),
    (redis.ResponseError(), False),
    (beside(redis.ConnectionError(), ConnectionRefusedError()), False),
    (beside(redis.ConnectionError(), ConnectionResetError()), True),
    (connecting(beside(redis.TimeoutError(), TimeoutError()), "redis.connection"), False),  # type: ignore[arg-type]
    (connecting(redis.ConnectionError(), "redis.connection", "send_packed_command"), True),
    *((State(state), True) for state in ("08006", "08003", "57P01", "57P02", "57P03", None)),
    *((State(state), False) for state in ("40001", "40P01", "55P03", "57014", "53300", "57P04")),
    *((Code(state), True) for state in ("08006", "57P01", None)),
    *((Code(state), False) for state in ("40001", "40P01", "55P03", "57014")),
    (psycopg.IntegrityError(), False),
    (psycopg.errors.ConnectionTimeout(), False),
    (psycopg.OperationalError("refused", pgconn=object()), False),  # type: ignore[arg-type]
    (connecting(psycopg2.OperationalError("refused"), "psycopg2"), False),
    (raised(PaymentError(), connecting(psycopg2.OperationalError(), "psycopg2")), False),
    (asyncpg.ConnectionDoesNotExistError(), True),
    (asyncpg.exceptions.AdminShutdownError(), True),
    (asyncpg.SerializationError(), False),
    (asyncpg.PostgresError(), False),
    (wrapped(State(None)), True),
    (wrapped(State("40001")), False),
    (sqlalchemy.exc.OperationalError("COMMIT", {}, State(None)), True),
    (sqlalchemy.exc.OperationalError("COMMIT", {}, State("40P01")), False),
    (sqlalchemy.exc.TimeoutError(), False),  # of its pool
    (my("pymysql.err", 2013, "lost"), True),
    (my("pymysql.err", 2003, "refused"), False),
    (my("MySQLdb", 2006, "gone"), True),
    (my("pymysql.err"), False),
]


@pytest.mark.parametrize(
    ("error", "expected"),
    BEYOND,
    ids=[f"{i} {type(e).__name__}" for i, (e, _) in enumerate(BEYOND)],
)
def test_other_clients_leave_doubt_where_a_connection_was_lost(
    error: BaseException,
    expected: bool,  # noqa: FBT001 - as above
) -> None:
    """And none where one was refused, or where they were told no."""
    assert leaves_doubt(error) is expected
    assert leaves_doubt(raised(PaymentError(), error)) is expected


def test_every_name_is_that_of_a_class() -> None:
    """A name with a typing mistake would never be met."""
    import importlib  # noqa: PLC0415

    missing = []
    for name in known_names():
        if name.startswith(ABSENT):
            continue
        module, _, path = name.rpartition(".")
        try:
            thing: Any = importlib.import_module(module)
        except ImportError:
            module, _, outer = module.rpartition(".")
            thing = getattr(importlib.import_module(module), outer)
        if not hasattr(thing, path):
            missing.append(name)
    assert sorted(missing) == []


# --- odd errors -----------------------------------------------------------------------------------


class Meta(type):
    """A metaclass that makes all that it can as odd as it can."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(cls, other: object) -> bool:
        raise LookupError

    @property
    def __mro__(cls) -> Any:
        raise LookupError

    @property
    def __module__(cls) -> Any:  # type: ignore[override]
        raise LookupError


class Odd(Exception):
    """An error that raises whatever is asked of it."""

    def __getattribute__(self, name: str) -> Any:
        raise LookupError(name)

    def __str__(self) -> str:
        raise LookupError

    __repr__ = __str__


class Made(Exception):
    """An error that has whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(status_code=lambda: 5, reason=3)


class Liar(Exception):
    """An error that says that it is another one."""

    args = 5  # type: ignore[assignment]
    __cause__ = 5  # type: ignore[assignment]
    __traceback__ = 5  # type: ignore[assignment]
    saga_outcome = 5
    reason = response = orig = property(lambda _: 1 / 0)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return TimeoutError


class Nowhere(Exception):
    """An error whose module is not a text."""


Nowhere.__module__ = 5  # type: ignore[assignment]


def odd_errors() -> Sequence[BaseException]:
    """Make errors that are odd, each in another way."""
    strange = Meta("Strange", (Exception,), {})
    return (
        Odd(),
        Made(),
        Liar(),
        Nowhere(),
        strange(),
        ValueError(Odd(), Made(), SimpleNamespace(reason=Odd())),
        ApiError(Odd()),
        ApiError(Made()),
        ApiError(type("Dict", (dict,), {"get": 5})(status=5)),
        ApiError(SimpleNamespace(status_code=type("Text", (str,), {})("40x"))),
    )


@pytest.mark.parametrize("number", range(len(odd_errors())))
def test_an_odd_error_is_a_failure_like_others(execute: Execute, world: World, number: int) -> None:
    """Whatever its attributes are, or raise."""
    error = odd_errors()[number]

    def charge() -> None:
        world.fail("charge", error)

    saga = steps(world, "stock").operation(charge, (world.undo, "charge"), after="stock")
    raised_ = failure_of(execute, saga)

    assert statuses(raised_)["charge"] == "FAILED"
    assert world.log == ["stock", "charge", "undo stock"]


@pytest.mark.parametrize("number", range(len(odd_errors())))
def test_an_odd_error_hides_nothing(number: int) -> None:
    """What it was raised from is seen."""
    error = odd_errors()[number]
    outer = raised(PaymentError(), raised(error, TimeoutError()))
    assert leaves_doubt(outer)


class Uncountable(int):
    """A number that can't be compared."""

    def __ge__(self, other: object) -> bool:
        raise LookupError

    __le__ = __gt__ = __lt__ = __ge__


def test_an_error_that_cannot_be_judged_is_in_doubt(
    execute: Execute, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """And the log says so."""
    error = ApiError(SimpleNamespace(status_code=Uncountable(402)))
    with caplog.at_level(logging.WARNING, "py_api_saga"):
        raised_ = failure_of(execute, charged(world, error))

    assert statuses(raised_)["charge"] == "COMPENSATED"
    assert "could not be judged" in caplog.text


def test_any_number_of_classes_is_told_apart() -> None:
    """What was found out of each is kept for some of them."""
    kinds = [type(f"K{i}", (TimeoutError if i % 2 else ValueError,), {}) for i in range(600)]

    assert [DOUBTFUL.includes(kind()) for kind in kinds * 2] == [False, True] * 600
