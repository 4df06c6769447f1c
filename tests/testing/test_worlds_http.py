"""What may go wrong with a request, as each client and each mock of it has it."""

import asyncio
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import requests_mock
import responses
import respx
import urllib3
from asked import Asked, Died, going_wrong

from py_api_saga.contrib.aiohttp import saga_middleware
from py_api_saga.contrib.httpx import AsyncSagaTransport, SagaTransport
from py_api_saga.contrib.requests import SagaSession
from py_api_saga.evidence import leaves_doubt
from py_api_saga.testing import operation
from py_api_saga.testing.http_clients import HTTP_KINDS, clients
from py_api_saga.testing.virtual import replaced

URL = "http://bank.test:81/charges"


class Bank:
    """A service that counts what arrives."""

    def __init__(self) -> None:
        self.charges = 0

    def charge(self) -> int:
        """Count one, and give the status to answer with."""
        self.charges += 1
        return 200


@contextmanager
def wrong(fault: str | None) -> Iterator[Asked]:
    """Have each request of a block go wrong, in an operation that is running."""
    with going_wrong(clients(), fault) as here, operation():
        yield here


# --- each client, with each of its mocks, and as the library has it -------------------------------


def by_requests_mock(bank: Bank) -> int:
    """Charge through requests, all sessions of which are mocked."""
    with requests_mock.Mocker() as mock:
        mock.post(URL, json=lambda *_: bank.charge())
        return requests.post(URL, timeout=1).status_code


def by_a_session(bank: Bank) -> int:
    """Charge through a session of ours."""
    with requests_mock.Mocker() as mock:
        mock.post(URL, json=lambda *_: bank.charge())
        return SagaSession().post(URL).status_code


def by_a_session_alone(bank: Bank) -> int:
    """Charge through one that is mocked alone."""
    session = SagaSession()
    with requests_mock.Mocker(session=session) as mock:
        mock.post(URL, json=lambda *_: bank.charge())
        return session.post(URL).status_code


def by_responses(bank: Bank) -> int:
    """Charge through requests, with a hook that raises for a bad answer."""
    session = requests.Session()
    session.hooks["response"].append(lambda answer, **_: answer.raise_for_status())
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.add_callback("POST", URL, lambda _: (bank.charge(), {}, "{}"))
        return session.post(URL).status_code


def by_respx(bank: Bank) -> int:
    """Charge through httpx, which is mocked where it opens connections."""
    with respx.mock(assert_all_called=False) as mock:
        mock.post(URL).mock(side_effect=lambda _: httpx.Response(bank.charge()))
        return httpx.post(URL).status_code


def by_respx_above(bank: Bank) -> int:
    """Charge through httpx, which is mocked where it takes a transport."""
    with respx.mock(assert_all_called=False, using="httpx") as mock:
        mock.post(URL).mock(side_effect=lambda _: httpx.Response(bank.charge()))
        return httpx.post(URL).status_code


class TriesTwice(httpx2.BaseTransport):
    """A transport of a user's, around another one."""

    def __init__(self, inner: Any) -> None:
        self.inners = [inner]

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Hand it on."""
        answer: httpx2.Response = self.inners[0].handle_request(request)
        return answer


class Fake(httpx2.BaseTransport):
    """A service of a user's that is a transport."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank

    def handle_request(self, _: httpx2.Request) -> httpx2.Response:
        """Answer."""
        self.bank.charge()
        return httpx2.Response(200)


class Derived(httpx2.MockTransport):
    """A transport of a user's that is made of another one."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Leave it to that."""
        return super().handle_request(request)


def by_a_transport(bank: Bank) -> int:
    """Charge through a transport of ours within one of the user's."""
    transport = TriesTwice(SagaTransport(Fake(bank)))
    with httpx2.Client(transport=transport) as client:
        return client.post(URL).status_code


def by_a_mock_transport(bank: Bank) -> int:
    """Charge through a mock that a user has made another of."""
    with httpx2.Client(transport=Derived(lambda _: httpx2.Response(bank.charge()))) as client:
        return client.post(URL).status_code


class Around(httpx.AsyncBaseTransport):
    """A transport of a user's, around another one, under asyncio."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Hand it on."""
        answer: httpx.Response = await self.inner.handle_async_request(request)
        return answer


def by_an_async_transport(bank: Bank) -> int:
    """Charge through a transport of ours, under asyncio."""

    async def charge() -> int:
        inner = httpx.MockTransport(lambda _: httpx.Response(bank.charge()))
        transport = Around(AsyncSagaTransport(inner))
        async with httpx.AsyncClient(transport=transport) as client:
            return (await client.post(URL)).status_code

    return asyncio.run(charge())


@contextmanager
def served(bank: Bank) -> Iterator[str]:
    """Have the bank answer at an address, for clients without a mock."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bank.charge()
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_PUT = do_DELETE = do_POST  # noqa: N815 - the names of the standard library

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def by_urllib3(bank: Bank, method: str = "POST", **options: Any) -> int:
    """Charge through urllib3."""
    with served(bank) as url, urllib3.PoolManager(**options) as pool:
        return pool.request(method, url).status


def by_urllib(bank: Bank) -> int:
    """Charge through the standard library."""
    with (
        served(bank) as url,
        urllib.request.urlopen(url, data=b"12", timeout=30) as answer,  # noqa: S310 - http, as it says
    ):
        return int(answer.status)


def by_plain_requests(bank: Bank) -> int:
    """Charge through requests, of which nothing is mocked."""
    with served(bank) as url:
        return requests.post(url, timeout=30).status_code


def by_aiohttp(bank: Bank, *middlewares: Any) -> int:
    """Charge through aiohttp."""

    async def charge(url: str) -> int:
        async with (
            aiohttp.ClientSession(middlewares=middlewares) as session,
            session.post(url) as answer,
        ):
            await answer.read()
            return answer.status

    with served(bank) as url:
        return asyncio.run(charge(url))


def by_a_middleware(bank: Bank) -> int:
    """Charge through aiohttp as this library has it."""
    return by_aiohttp(bank, saga_middleware())


Client = Callable[[Bank], int]

# Client to its errors: for no connection, no answer, and a bad answer, or None if it gives that.
ERRORS: dict[Client, tuple[type[Exception], type[Exception], type[Exception] | None]] = {
    by_requests_mock: (requests.ConnectTimeout, requests.ReadTimeout, None),
    by_a_session: (requests.ConnectTimeout, requests.ReadTimeout, requests.HTTPError),
    by_a_session_alone: (requests.ConnectTimeout, requests.ReadTimeout, requests.HTTPError),
    by_responses: (requests.ConnectTimeout, requests.ReadTimeout, requests.HTTPError),
    by_plain_requests: (requests.ConnectTimeout, requests.ReadTimeout, None),
    by_respx: (httpx.ConnectTimeout, httpx.ReadTimeout, None),
    by_respx_above: (httpx.ConnectTimeout, httpx.ReadTimeout, None),
    by_a_transport: (httpx2.ConnectTimeout, httpx2.ReadTimeout, httpx2.HTTPStatusError),
    by_a_mock_transport: (httpx2.ConnectTimeout, httpx2.ReadTimeout, None),
    by_an_async_transport: (httpx.ConnectTimeout, httpx.ReadTimeout, httpx.HTTPStatusError),
    by_urllib3: (urllib3.exceptions.MaxRetryError, urllib3.exceptions.ReadTimeoutError, None),
    by_urllib: (urllib.error.URLError, TimeoutError, urllib.error.HTTPError),
    by_aiohttp: (aiohttp.ConnectionTimeoutError, aiohttp.SocketTimeoutError, None),
    by_a_middleware: (
        aiohttp.ConnectionTimeoutError,
        aiohttp.SocketTimeoutError,
        aiohttp.ClientResponseError,
    ),
}


@pytest.mark.parametrize("client", ERRORS)
def test_a_request_is_one_place(client: Client) -> None:
    """However many layers it passes: named by its method and its service, whose port may change."""
    bank = Bank()
    with wrong(None) as here:
        assert client(bank) == 200

    ((place, kinds),) = here.places
    assert place in ("POST bank.test", "POST 127.0.0.1")
    assert set(kinds) == {*HTTP_KINDS} - {"sent-again"}
    assert bank.charges == 1


@pytest.mark.parametrize("client", ERRORS)
def test_no_connection(client: Client) -> None:
    """It raises what the client raises then, and nothing arrives."""
    bank = Bank()
    refused, _, _ = ERRORS[client]
    with wrong("refuses"), pytest.raises(refused) as caught:
        client(bank)

    assert bank.charges == 0
    assert not leaves_doubt(caught.value)


@pytest.mark.parametrize("client", ERRORS)
def test_no_answer(client: Client) -> None:
    """It raises what the client raises then, but the request has arrived."""
    bank = Bank()
    _, lost, _ = ERRORS[client]
    with wrong("lost"), pytest.raises(lost) as caught:
        client(bank)

    assert bank.charges == 1
    assert leaves_doubt(caught.value)


@pytest.mark.parametrize(("fault", "charges"), [("answers-503", 0), ("answers-504", 1)])
@pytest.mark.parametrize("client", ERRORS)
def test_a_bad_answer(client: Client, fault: str, charges: int) -> None:
    """Passes through all that the client does with one, and comes before the effect, or after."""
    bank = Bank()
    *_, bad = ERRORS[client]
    with wrong(fault):
        if bad is None:
            assert client(bank) == int(fault[-3:])
        else:
            with pytest.raises(bad) as caught:
                client(bank)
            assert leaves_doubt(caught.value)

    assert bank.charges == charges


@pytest.mark.parametrize("client", ERRORS)
def test_the_process_dies(client: Client) -> None:
    """After the request has arrived, and nothing of a client stays open."""
    bank = Bank()
    with wrong("crash-after"), pytest.raises(Died):
        client(bank)

    assert bank.charges == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_urllib3_sends_some_requests_again(method: str) -> None:
    """What is idempotent, if its answer is lost: it arrives twice, and nothing is raised."""
    bank = Bank()
    with wrong("sent-again") as here, served(bank) as url:
        assert urllib3.PoolManager().request(method, url).status == 200

    assert bank.charges == 2
    ((_, kinds),) = here.places
    assert "lost" not in kinds


@pytest.mark.parametrize("fault", ["sent-again", "answers-503", "answers-504", "lost"])
def test_a_session_that_tries_again_hides_what_it_can(fault: str) -> None:
    """With an adapter that does: a lost answer is seen as a request that arrives twice."""
    bank = Bank()
    retry = urllib3.Retry(3, allowed_methods=None, status_forcelist=[503, 504])
    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))
    with requests_mock.Mocker() as mock, wrong(fault) as here:
        mock.post(URL, json=lambda *_: bank.charge())
        assert session.post(URL).status_code == 200

    ((_, kinds),) = here.places
    assert set(kinds) == {"refuses", "sent-again", "crash-after"}
    assert bank.charges == (2 if fault == "sent-again" else 1)


def test_urllib3_that_is_to_try_nothing_again() -> None:
    """Raises what it has raised itself."""
    with (
        wrong("refuses"),
        pytest.raises(urllib3.exceptions.ConnectTimeoutError),
    ):
        urllib3.PoolManager().request("POST", URL, retries=False)


def test_a_question_has_no_effect_that_could_be_lost() -> None:
    """A GET fails, or does not."""
    with requests_mock.Mocker() as mock, wrong(None) as here:
        mock.get(URL)
        requests.get(URL, timeout=1)

    assert here.places == [("GET bank.test", ("refuses", "answers-503"))]


def test_what_a_service_asks_is_its_own_affair() -> None:
    """A mock that sends requests itself is asked about none of these."""
    with requests_mock.Mocker() as mock, wrong(None) as here:
        mock.get("http://fraud.test", text="no")
        mock.post(URL, text=lambda *_: requests.get("http://fraud.test", timeout=1).text)
        assert requests.post(URL, timeout=1).text == "no"

    assert [name for name, _ in here.places] == ["POST bank.test"]


def test_each_redirect_is_a_request() -> None:
    """Since each of them is sent."""
    with requests_mock.Mocker() as mock, wrong(None) as here:
        mock.get(URL, status_code=302, headers={"Location": "http://bank.test/there"})
        mock.get("http://bank.test/there")
        assert requests.get(URL, timeout=1).status_code == 200

    assert [name for name, _ in here.places] == ["GET bank.test", "GET bank.test"]


def test_a_file_is_no_request() -> None:
    """Also if urllib opens it."""
    with (
        wrong("refuses") as here,
        urllib.request.urlopen(f"file://{__file__}") as file,  # noqa: S310 - this is the case
    ):
        assert file.read(3) == b'"""'

    assert here.places == []


@pytest.mark.parametrize("client", ERRORS)
def test_outside_of_an_operation_nothing_goes_wrong(
    client: Client,
) -> None:
    """Where nobody is to be asked, requests pass."""
    bank = Bank()
    with replaced(clients()), operation():
        assert client(bank) == 200

    assert bank.charges == 1


def test_only_what_is_loaded_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that uses no client pays for none."""
    for name in ("requests_mock.mocker", "urllib3", "httpx", "httpx2", "aiohttp", "urllib.request"):
        monkeypatch.delitem(sys.modules, name)

    assert [(thing, name) for thing, name, _ in clients()] == [(requests.Session, "send")]


def test_afterwards_all_is_as_it_was() -> None:
    """A client has its own methods again, and a session its own adapter."""
    places = [(thing, name) for thing, name, _ in clients()]
    before = [vars(thing)[name] for thing, name in places]
    with replaced(clients()):
        assert not {id(vars(thing)[name]) for thing, name in places} & {*map(id, before)}

    assert [vars(thing)[name] for thing, name in places] == before
    assert len(places) > 10
