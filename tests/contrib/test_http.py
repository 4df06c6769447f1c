"""What HTTP clients that know their operation have in common: options, names, keys, retries."""

from __future__ import annotations

import email.utils
import importlib
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from datetime import datetime
from email.message import Message
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import urllib3.exceptions
from servers.dying import Service
from yarl import URL

from py_api_saga import Retry, SagaAssembler, SagaException, SagaStatus, recover, repair
from py_api_saga.contrib.aiohttp import saga_middleware
from py_api_saga.contrib.barrier import table
from py_api_saga.contrib.http import TwoAtOnce, fit, gently, request_name, transient
from py_api_saga.contrib.httpx import AsyncSagaTransport, SagaTransport
from py_api_saga.contrib.requests import SagaSession
from py_api_saga.journal import MemoryJournal
from py_api_saga.testing import operation

MAKERS: dict[str, Callable[..., object]] = {
    "requests": SagaSession,
    "httpx": lambda **options: SagaTransport(httpx.MockTransport(lambda _: None), **options),  # type: ignore[arg-type]
    "httpx, asyncio": lambda **options: AsyncSagaTransport(httpx2.AsyncHTTPTransport(), **options),
    "aiohttp": saga_middleware,
}


@pytest.fixture
def service() -> Iterator[Service]:
    """A service that dies at the instant that a path names."""
    running = Service()
    yield running
    running.close()


# --- options ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"header": ""},
        {"header": "Idempotency:Key"},
        {"header": "Idempotency\nKey"},
        {"header": None},
        {"header": "saga-action"},
        {"undoes_header": ""},
        {"undoes_header": "Saga Undoes"},
        {"undoes_header": "idempotency-key"},
        {"undoes_header": "Saga-Since"},
        {"methods": "POST"},
        {"methods": ()},
        {"methods": ("post",)},
        {"methods": (1,)},
        {"conflict": "no"},
        {"quote": 1},
        {"gone_is_undone": None},
        {"raises": "no"},
    ],
)
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_an_option_that_cannot_be_meant_is_refused(
    make: Callable[..., object], options: dict[str, Any]
) -> None:
    """When the client is made, in words that name the option."""
    with pytest.raises(ValueError, match=f"{next(iter(options))}.*: expected"):
        make(**options)


@pytest.mark.parametrize(
    "timeout", [0, -1, (5, 0), (5,), (5, 20, 1), "5", True, float("nan"), float("inf"), (None, -1)]
)
def test_a_timeout_that_cannot_be_meant_is_refused(timeout: Any) -> None:
    """Seconds, more than none."""
    with pytest.raises(ValueError, match="timeout: expected seconds"):
        SagaSession(timeout=timeout)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_what_can_be_meant_is_taken(make: Callable[..., object]) -> None:
    """Each option at once, as for a service of one's own."""
    make(
        header="X-Key",
        quote=True,
        undoes_header=None,
        methods=["POST", "LOCK"],
        gone_is_undone=True,
        conflict="refused",
        raises=False,
    )


@pytest.mark.parametrize(
    ("module", "needs"),
    [("requests", ["requests"]), ("httpx", ["httpx", "httpx2"]), ("aiohttp", ["aiohttp"])],
)
def test_a_library_that_is_not_here_is_named(
    monkeypatch: pytest.MonkeyPatch, module: str, needs: list[str]
) -> None:
    """With the command that installs it."""
    monkeypatch.delitem(sys.modules, f"py_api_saga.contrib.{module}")
    for name in needs:
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(ImportError, match=rf"pip install 'py-api-saga\[{module}\]'"):
        importlib.import_module(f"py_api_saga.contrib.{module}")


# --- names and keys ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", " a", "a ", "a;b", "seat-ä", "a\nb", "12", None, 12])
def test_a_name_that_could_not_be_told_from_others_is_refused(name: Any) -> None:
    """It is a part of the key, and must not look like the number of another one."""
    with pytest.raises(ValueError, match="request_name: "), request_name(name):
        raise AssertionError


def test_a_key_that_fits_is_sent_as_it_is() -> None:
    """What others are made of never collides with it."""
    plain = "order-1:charge card:action"
    odd = ["order-ä:charge:action", "order-%C3%A4:charge:action", " x", "x\n", "a" * 256]
    long = [f"{'x' * 254}{end};2" for end in ("a", "b")]
    long += [f"{'x' * 254}{end}" for end in (";2:action", ":action;2", ":action", ":action:2;2")]

    assert fit(plain) == plain
    sent = [fit(key) for key in [plain, *odd, *long, "a" * 255]]
    assert len(set(sent)) == len(sent)
    assert all(len(key) <= 255 and key.isascii() and key.isprintable() for key in sent)
    assert fit("a" * 255) == "a" * 255
    assert fit(odd[0]) == "order-%C3%A4:charge:action"


def test_a_long_key_is_the_same_for_the_action_and_whoever_undoes_it(service: Service) -> None:
    """Also where the saga's id or a name is not ASCII."""
    session = SagaSession(header="X-Key")
    key = f"ä{'x' * 253}:action"

    def post(direction: Any, name: str) -> None:
        with operation(direction=direction, action_key=key), request_name(name):
            session.post(f"{service.url}/ok")

    post("action", "x" * 200)
    post("compensation", "y")

    action, compensation = service.ledger.requests
    assert len(action.headers["x-key"]) <= 255
    assert compensation.headers["saga-undoes"] == action.headers["saga-action"]
    assert len(action.headers["saga-action"]) <= 255
    session.close()


@pytest.mark.parametrize("length", [*range(20, 27), 40])
@pytest.mark.parametrize("name", ["", ";2", ";seat-12"])
def test_a_long_key_tells_its_generation(length: int, name: str) -> None:
    """So the undo that was made under the first is not made again under the second."""
    first, *others = [
        fit(f"{'訂' * length}:refund:compensation{end}{name}") for end in ("", ":2", ":17")
    ]

    assert max(map(len, [first, *others])) <= 255
    assert {table.first_of(key) for key in others} == {first}
    assert len({first, *others}) == 3


# --- what is worth another attempt -------------------------------------------------------------


def reply(status: int, *, keyed: bool = False, **headers: str) -> requests.HTTPError:
    """Make what requests raises for an answer."""
    response = requests.Response()
    response.status_code = status
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    given = {"Idempotency-Key": "k"} if keyed else {}
    response.request = requests.Request("POST", "http://bank/", headers=given).prepare()
    return requests.HTTPError(f"{status}", response=response)


def by_httpx(module: Any, status: int) -> Exception:
    """Make what httpx raises for an answer."""
    request = module.Request("POST", "http://bank/")
    response = module.Response(status, headers={"Retry-After": "3"}, request=request)
    error: Exception = module.HTTPStatusError("no", request=request, response=response)
    return error


def by_aiohttp(status: int) -> Exception:
    """Make what aiohttp raises for an answer."""
    info: Any = aiohttp.RequestInfo(URL("http://bank/"), "POST", None, URL("http://bank/"))  # type: ignore[arg-type]
    return aiohttp.ClientResponseError(info, (), status=status, headers={"Retry-After": "3"})  # type: ignore[arg-type]


def by_urllib(status: int) -> Exception:
    """Make what urllib raises for an answer."""
    headers = Message()
    headers["Retry-After"] = "3"
    return urllib.error.HTTPError("http://bank/", status, "no", headers, None)


def at(seconds: float, now: float | None = None) -> str:
    """Write a date as headers have it."""
    return email.utils.formatdate((time.time() if now is None else now) + seconds, usegmt=True)


class PaymentError(Exception):
    """Of the user's own."""


class Refused(PaymentError):
    """It says itself that nothing happened."""

    saga_outcome = "not happened"


def raised(error: Exception, below: Exception, *, handling: bool = False) -> Exception:
    """Give an error that was raised from another one, or in the handling of it."""
    try:
        try:
            raise below
        except type(below):
            if handling:
                raise error  # noqa: B904 - to raise it so is the case
            raise error from below
    except type(error) as made:
        return made


def overruled() -> Exception:
    """Give a conflict that its session means as a no."""
    error: Any = reply(409, keyed=True)
    error.saga_outcome = "not happened"
    made: Exception = error
    return made


YEAR_2100 = 4_102_444_800.0
PASSING: dict[str, tuple[Exception, object]] = {
    "503": (reply(503), True),
    "503, in 7 s": (reply(503, Retry_After="7"), 7.0),
    "429, in 0.5 s": (reply(429, Retry_After="0.5"), 0.5),
    "429, at a date of the service's": (
        reply(429, Retry_After=at(30, YEAR_2100), Date=at(0, YEAR_2100)),
        30.0,
    ),
    "429, in the past": (reply(429, Retry_After=at(-30)), True),
    "429, negative": (reply(429, Retry_After="-3"), True),
    "429, at once": (reply(429, Retry_After="0"), True),
    "429, in words": (reply(429, Retry_After="soon"), True),
    "429, next year": (reply(429, Retry_After="31536000"), True),
    "408": (reply(408), True),
    "409 without a key": (reply(409), False),
    "409 with a key": (reply(409, keyed=True), True),
    "409, final": (reply(409, keyed=True, Saga_Answer="final"), False),
    "409, overruled": (overruled(), False),
    "303": (reply(303), False),
    "402": (reply(402, Retry_After="3"), False),
    "501": (reply(501), False),
    "httpx": (by_httpx(httpx, 502), 3.0),
    "httpx2": (by_httpx(httpx2, 502), 3.0),
    "httpx2, 404": (by_httpx(httpx2, 404), False),
    "aiohttp": (by_aiohttp(500), 3.0),
    "urllib": (by_urllib(504), 3.0),
    "refused": (requests.ConnectionError(urllib3.exceptions.NewConnectionError("c", "no")), True),  # type: ignore[arg-type]
    "lost, and nothing is known of it": (requests.ConnectionError("?"), True),
    "no answer": (httpx2.ReadTimeout("?"), True),
    "reset": (ConnectionResetError(), True),
    "a wrong address": (requests.exceptions.MissingSchema("?"), False),
    "a wrong address, httpx": (httpx.UnsupportedProtocol("?"), False),
    "a circle": (requests.TooManyRedirects("?"), False),
    "two at once": (TwoAtOnce(), False),
    "of the user's": (PaymentError(), False),
    "a defect": (KeyError("id"), False),
    "raised from one that passes": (raised(PaymentError(), reply(503, Retry_After="2")), 2.0),
    "raised while handling one": (raised(PaymentError(), reply(503), handling=True), True),
    "raised from one that does not": (raised(PaymentError(), reply(402)), False),
    "says no itself, from one that passes": (raised(Refused(), reply(429)), True),
    "a group that passes": (
        ExceptionGroup("g", [reply(503), ExceptionGroup("h", [reply(429, Retry_After="9")])]),
        9.0,
    ),
    "a group that does not": (ExceptionGroup("g", [reply(503), KeyError()]), False),
}


@pytest.mark.parametrize(("error", "expected"), PASSING.values(), ids=PASSING)
def test_another_attempt_is_for_what_may_pass(error: Exception, expected: object) -> None:
    """True, or the seconds that the service wants to be waited for."""
    got = transient(error)

    assert type(got) is type(expected)
    assert got == pytest.approx(expected)


def test_a_date_is_taken_by_our_clock_if_the_service_says_no_time() -> None:
    """So many seconds from now on, a little less for what has passed since."""
    seconds = transient(reply(429, Retry_After=at(1000)))

    assert 0 < seconds <= 1000


def test_what_the_caller_was_handling_is_none_of_the_calls() -> None:
    """A saga that runs in an `except` block."""
    tries: list[int] = []

    def charge() -> None:
        tries.append(1)
        raise PaymentError

    retry = Retry(transient, attempts=3, wait_initial=0, wait_jitter=0)
    try:
        raise TimeoutError  # noqa: TRY301 - to be handled is the case
    except TimeoutError:
        with pytest.raises(SagaException):
            SagaAssembler.saga().operation(charge, retry=retry).orchestrator_execute()
    assert tries == [1]


def test_the_time_of_a_retry_bounds_what_a_service_wants() -> None:
    """An hour is not waited for, if there is a minute."""
    tries: list[int] = []

    def charge() -> None:
        tries.append(1)
        raise reply(429, Retry_After="3600")

    with pytest.raises(SagaException):
        SagaAssembler.saga().operation(charge, retry=gently).orchestrator_execute()
    assert tries == [1]


# --- with a journal ----------------------------------------------------------------------------

shop = SagaSession()  # of this module, as in an application


def charge(url: str) -> None:
    """Charge a card."""
    shop.post(url)


def refund(url: str) -> None:
    """Give it back."""
    shop.post(url)


def test_what_is_on_record_may_name_ours(service: Service) -> None:
    """`gently`, and `Retry(transient)`, though no journal lists the modules of the library."""
    journal = MemoryJournal(modules=[__name__])
    at_once = Retry(transient, attempts=2, wait_initial=0, wait_jitter=0)
    for number, retry in enumerate((gently, at_once)):
        saga = SagaAssembler.saga(journal=journal)
        saga.operation((charge, f"{service.url}/429-before,ok"), retry=retry)
        saga.start(saga_id=f"order-{number}")

    assert [one.outcome for one in recover(journal)] == [SagaStatus.COMPLETED] * 2


def test_whoever_goes_on_says_since_when_the_action_was_sent(service: Service) -> None:
    """The journal knows: a process that undoes what another one has done has sent nothing."""
    journal = MemoryJournal(modules=[__name__])
    saga = SagaAssembler.saga(journal=journal).operation(
        (charge, f"{service.url}/502-after,402-before,ok"),
        (refund, f"{service.url}/502-after,402-before,ok"),
        name="charge",
    )
    before = time.time() - 0.001
    saga.start(saga_id="order-1")
    recover(journal)
    after = time.time()

    repair.again(journal, "order-1", "charge", who="ada", why="the bank is back")
    assert [one.outcome for one in recover(journal)] == [SagaStatus.COMPENSATED]

    action, first, again = service.ledger.requests
    assert action.headers["saga-action"] == "order-1:charge:action"
    assert first.headers["saga-undoes"] == again.headers["saga-undoes"] == "order-1:charge:action"
    noted, recorded = (
        datetime.fromisoformat(request.headers["saga-since"]).timestamp()
        for request in (first, again)
    )
    assert before <= recorded <= noted <= after
