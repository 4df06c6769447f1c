"""A middleware of aiohttp that knows its operation: what is of aiohttp alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from servers.dying import Service

from py_api_saga import SagaAssembler, SagaException
from py_api_saga.contrib.aiohttp import saga_middleware
from py_api_saga.testing import operation

KEY = "idempotency-key"


@pytest.fixture
def service() -> Iterator[Service]:
    """A service that dies at the instant that a path names."""
    running = Service()
    yield running
    running.close()


def keys(service: Service) -> list[str | None]:
    """Give the key of each request that the service has seen."""
    return [request.headers.get(KEY) for request in service.ledger.requests]


def test_what_aiohttp_sends_once_more_has_the_same_key(service: Service) -> None:
    """A PUT whose connection, which had been idle, is lost: aiohttp tries it again by itself."""
    url = f"{service.url}/ok,ok,effect-fin,ok"

    async def main() -> None:
        async with aiohttp.ClientSession(middlewares=[saga_middleware()]) as session:
            with operation(idempotency_key="k"):
                for _ in range(3):
                    async with session.put(url) as reply:
                        await reply.read()

    asyncio.run(main())
    assert keys(service) == ["k", "k;2", "k;2", "k;3"]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_what_the_operation_sends_after_a_loss_has_a_key_of_its_own(service: Service) -> None:
    """Another request is another one; and so is the same one in another operation."""

    async def main() -> None:
        async with aiohttp.ClientSession(middlewares=[saga_middleware()]) as session:
            for key in ("a", "b"):
                with operation(idempotency_key=key):
                    with pytest.raises(aiohttp.ServerDisconnectedError):
                        await session.put(f"{service.url}/effect-fin")
                    await session.put(f"{service.url}/ok")
                    with pytest.raises(aiohttp.ServerDisconnectedError):
                        await session.post(f"{service.url}/effect-fin")
                    await session.post(f"{service.url}/ok")
                    with pytest.raises(aiohttp.ServerDisconnectedError):
                        await session.put(f"{service.url}/effect-fin")

    asyncio.run(main())
    assert keys(service) == [
        *("a", "a", "a;2", "a;3", "a;4", "a;5", "a;5"),
        *("b", "b", "b;2", "b;3", "b;4", "b;5", "b;5"),
    ]


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("is_stream", [False, True])
def test_what_is_lost_twice_is_not_sent_by_aiohttp_any_more(
    service: Service, *, is_stream: bool
) -> None:
    """Nor is a stream even once: what the operation sends to the same place is another request."""

    async def stream() -> AsyncIterator[bytes]:
        yield b"1"

    async def main() -> None:
        async with aiohttp.ClientSession(middlewares=[saga_middleware()]) as session:
            with operation(idempotency_key="k"):
                for body in (b"1", b"2"):
                    with pytest.raises(aiohttp.ServerDisconnectedError):
                        await session.put(
                            f"{service.url}/effect-fin", data=stream() if is_stream else body
                        )

    asyncio.run(main())
    assert keys(service) == (["k", "k;2"] if is_stream else ["k", "k", "k;2", "k;2"])


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_an_error_of_another_middleware_leaves_doubt(service: Service) -> None:
    """It may have been raised when the answer had come; one that says more is believed."""
    undone: list[str] = []

    async def odd(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        answer = await handler(request)
        if answer.status == 402:
            answer.raise_for_status()
        raise KeyError

    async def charge(path: str) -> None:
        middlewares = (saga_middleware(), odd)
        async with aiohttp.ClientSession(middlewares=middlewares) as session:
            await session.post(f"{service.url}{path}")

    for path in ("/ok", "/402-before"):
        saga = SagaAssembler.saga().operation((charge, path), (undone.append, path))
        with pytest.raises(SagaException):
            asyncio.run(saga.aorchestrator_execute())

    assert undone == ["/ok"]


def test_what_a_refusal_says_can_be_read(service: Service) -> None:
    """Aiohttp's own error has no body: why a card was declined is in it."""

    async def main() -> str:
        async with aiohttp.ClientSession(middlewares=[saga_middleware()]) as session:
            with operation(), pytest.raises(aiohttp.ClientResponseError) as caught:
                await session.post(f"{service.url}/402-before")
        response: aiohttp.ClientResponse = vars(caught.value)["response"]
        return await response.text()

    assert asyncio.run(main()) == ""


def test_a_redirect_that_leads_nowhere_can_be_read(service: Service) -> None:
    """The session follows none without a place to go to."""

    async def main() -> int:
        middleware = saga_middleware(raises=False)
        async with aiohttp.ClientSession(middlewares=[middleware]) as session:
            with operation():
                async with session.post(f"{service.url}/300-before") as reply:
                    return reply.status

    assert asyncio.run(main()) == 300
