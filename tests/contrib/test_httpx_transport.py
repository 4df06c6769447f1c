"""Transports of httpx and httpx2 that know their operation: what is of these alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import httpx2
import pytest
import respx

from py_api_saga import SagaAssembler, SagaException
from py_api_saga.contrib.httpx import AsyncSagaTransport, SagaTransport
from py_api_saga.testing import operation

BOTH = pytest.mark.parametrize("module", [httpx, httpx2])
KEY = "idempotency-key"


class Bank:
    """What answers in place of a service, and keeps what it was sent."""

    def __init__(self, module: Any, *answers: Any) -> None:
        self.module, self.answers = module, list(answers)
        self.keys: list[str | None] = []
        self.limits: list[Any] = []

    def __call__(self, request: Any) -> Any:
        self.keys.append(request.headers.get(KEY))
        self.limits.append(request.extensions.get("timeout"))
        answer = self.answers.pop(0) if self.answers else 201
        if isinstance(answer, Exception):
            raise answer
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        return self.module.Response(status, headers=headers)

    def client(self, **options: Any) -> Any:
        """Give a client that sends to it, and knows its operation."""
        transport = SagaTransport(self.module.MockTransport(self))
        return self.module.Client(transport=transport, **options)


@pytest.mark.parametrize(
    ("make", "inner"),
    [
        (SagaTransport, httpx.AsyncHTTPTransport()),
        (AsyncSagaTransport, httpx2.HTTPTransport()),
        (SagaTransport, httpx.HTTPTransport),
        (SagaTransport, httpx.Client()),
        (SagaTransport, None),
    ],
)
def test_what_is_not_such_a_transport_is_refused(make: Callable[..., Any], inner: Any) -> None:
    """One of the other kind, a class, a client."""
    with pytest.raises(ValueError, match="expected a transport with handle_"):
        make(inner)


@BOTH
@pytest.mark.parametrize(
    ("given", "left", "used"),
    [
        (None, None, [5.0, 20.0, 20.0, 5.0]),
        (None, 2.0, [2.0] * 4),
        (9.0, None, [9.0] * 4),
        (9.0, 2.0, [2.0] * 4),
    ],
)
def test_no_phase_is_given_more_time_than_is_left(
    module: Any, given: float | None, left: float | None, used: list[float]
) -> None:
    """To connect, to read, to write, to wait for a connection; ours hold if a client has none."""
    bank = Bank(module)
    with bank.client(timeout=given) as client, operation(remaining=left):
        client.post("http://bank/")

    (limits,) = bank.limits
    assert [limits[phase] for phase in ("connect", "read", "write", "pool")] == used


@BOTH
def test_a_request_that_was_built_keeps_no_key(module: Any) -> None:
    """It may be kept in a module, and is another request in each operation, and each time."""
    bank = Bank(module)
    with bank.client() as client:
        request = client.build_request("POST", "http://bank/")
        for key in ("a", "b"):
            with operation(idempotency_key=key):
                client.send(request)
                answer = client.send(request)
        assert answer.request.headers[KEY] == "b;2"
        client.send(request)  # outside of one: by then it is a plain one

    assert bank.keys == ["a", "a;2", "b", "b;2", None]


@BOTH
def test_a_key_that_replaces_ours_is_the_callers(module: Any) -> None:
    """Also in a request that was sent before under one of ours."""
    bank = Bank(module)
    with bank.client() as client, operation(idempotency_key="k"):
        request = client.build_request("POST", "http://bank/")
        client.send(request)
        request.headers[KEY] = "mine"
        client.send(request)

    assert bank.keys == ["k", "mine"]


@BOTH
def test_what_is_sent_again_with_credentials_has_the_same_key(module: Any) -> None:
    """The service has refused it only for the lack of these; of `auth=` that reads answers."""
    challenge = {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'}
    bank = Bank(module, (401, challenge), 201, 201)
    transport = SagaTransport(module.MockTransport(bank), raises=False)
    with (
        module.Client(transport=transport, auth=module.DigestAuth("ada", "x")) as client,
        operation(idempotency_key="k"),
    ):
        client.post("http://bank/")
        client.post("http://bank/")

    assert bank.keys == ["k", "k", "k;2"]


@BOTH
def test_the_clients_error_knows_its_request_and_how_long_it_took(module: Any) -> None:
    """As if the client had raised it."""
    bank = Bank(module, 503)
    with bank.client() as client, operation(), pytest.raises(module.HTTPStatusError) as caught:
        client.post("http://bank/")

    assert caught.value.request.headers[KEY]
    assert caught.value.response.elapsed.total_seconds() >= 0


@BOTH
def test_a_redirect_that_leads_nowhere_can_be_read(module: Any) -> None:
    """The client follows none without a place to go to."""
    bank = Bank(module, 304)
    transport = SagaTransport(module.MockTransport(bank), raises=False)
    with module.Client(transport=transport) as client, operation():
        assert client.post("http://bank/").status_code == 304


class Inner:
    """A transport of neither: it notes what is done with it."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def handle_request(self, _: Any) -> Any:
        return httpx.Response(204)

    def __enter__(self) -> None:
        self.log.append("enter")

    def __exit__(self, *_: object) -> None:
        self.log.append("exit")

    def close(self) -> None:
        self.log.append("close")

    async def handle_async_request(self, _: Any) -> Any:
        return httpx.Response(204)

    async def __aenter__(self) -> None:
        self.log.append("enter")

    async def __aexit__(self, *_: object) -> None:
        self.log.append("exit")

    async def aclose(self) -> None:
        self.log.append("close")


def test_the_inner_transport_is_entered_and_closed_with_it() -> None:
    """By a client in a block, and by one that is closed."""
    inner = Inner()
    with httpx.Client(transport=SagaTransport(inner)) as client:
        client.get("http://bank/")
    httpx.Client(transport=SagaTransport(inner)).close()

    async def main() -> None:
        async with httpx.AsyncClient(transport=AsyncSagaTransport(inner)) as client:
            await client.get("http://bank/")
        await httpx.AsyncClient(transport=AsyncSagaTransport(inner)).aclose()

    asyncio.run(main())
    assert inner.log == ["enter", "exit", "close"] * 2


def test_respx_stands_in_for_a_service() -> None:
    """It sees the key; an error of its own is a lost answer."""
    undone: list[int] = []
    client = httpx.Client(transport=SagaTransport(httpx.HTTPTransport()))
    with respx.mock, client:
        route = respx.post("http://bank/charges")
        route.side_effect = [httpx.Response(402), httpx.ReadTimeout("?")]
        for expected in ([], [1]):
            saga = SagaAssembler.saga().operation(
                lambda: client.post("http://bank/charges"), (undone.append, 1), name="charge"
            )
            with pytest.raises(SagaException):
                saga.orchestrator_execute()
            assert undone == expected

    assert route.calls.last.request.headers[KEY].endswith(":charge:action")


@BOTH
@pytest.mark.parametrize("is_known", [False, True])
def test_an_error_that_says_nothing_leaves_doubt(module: Any, *, is_known: bool) -> None:
    """Such as one of a transport of yours, which may have had the answer."""
    undone: list[str] = []
    client = Bank(module, module.ConnectError("no") if is_known else KeyError()).client()
    saga = SagaAssembler.saga().operation((client.post, "http://bank/"), (undone.append, "x"))
    with client, pytest.raises(SagaException):
        saga.orchestrator_execute()

    assert undone == ([] if is_known else ["x"])
