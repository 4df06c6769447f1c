"""The clients that know their operation, each behind one function: send a request, and read it all.

A client is made for each request, as nobody should in earnest: so a test needs no fixture for it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import aiohttp
import httpx
import httpx2
import requests

from py_api_saga.contrib.aiohttp import saga_middleware
from py_api_saga.contrib.httpx import AsyncSagaTransport, SagaTransport
from py_api_saga.contrib.requests import SagaSession

SECONDS = 20.0  # for what nobody waits for


class Wanted(NamedTuple):
    """What to send, and how.

    Attributes:
        method: In capital letters.
        url: Where to.
        headers: Of the caller's own.
        body: Bytes, or what is read once.
        seconds: The client's timeout.
        trusted: The file of the certificate that it trusts.
        proxy: The URL of a forward proxy.
        knows: Whether the client is one of ours, or a plain one.
        options: Of the client's rules.
    """

    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: Any = b"{}"
    seconds: float | None = SECONDS
    trusted: str | None = None
    proxy: str | None = None
    knows: bool = True
    options: Mapping[str, Any] = {}

    @property
    def context(self) -> ssl.SSLContext | bool:
        """What trusts that certificate; it takes 50 ms less than all of the system's."""
        return ssl.create_default_context(cafile=self.trusted) if self.trusted else False


def by_requests(wanted: Wanted) -> tuple[int, bytes]:
    """Send by requests."""
    with SagaSession(**wanted.options) if wanted.knows else requests.Session() as session:
        session.trust_env = False
        with session.request(
            wanted.method,
            wanted.url,
            data=wanted.body,
            headers=dict(wanted.headers),
            timeout=wanted.seconds,
            verify=wanted.trusted,
            proxies={"http": wanted.proxy, "https": wanted.proxy} if wanted.proxy else None,
        ) as reply:
            return reply.status_code, reply.content


def by_httpx(module: Any, wanted: Wanted) -> tuple[int, bytes]:
    """Send by httpx, or by httpx2."""
    inner = module.HTTPTransport(verify=wanted.context, proxy=wanted.proxy)
    transport = SagaTransport(inner, **wanted.options) if wanted.knows else inner
    with module.Client(
        transport=transport, timeout=wanted.seconds, follow_redirects=True
    ) as client:
        reply = client.request(
            wanted.method, wanted.url, content=wanted.body, headers=dict(wanted.headers)
        )
        return reply.status_code, reply.content


async def by_async_httpx(module: Any, wanted: Wanted) -> tuple[int, bytes]:
    """The same under asyncio."""
    inner = module.AsyncHTTPTransport(verify=wanted.context, proxy=wanted.proxy)
    transport = AsyncSagaTransport(inner, **wanted.options) if wanted.knows else inner
    async with module.AsyncClient(
        transport=transport, timeout=wanted.seconds, follow_redirects=True
    ) as client:
        reply = await client.request(
            wanted.method, wanted.url, content=wanted.body, headers=dict(wanted.headers)
        )
        return reply.status_code, reply.content


async def by_aiohttp(wanted: Wanted) -> tuple[int, bytes]:
    """Send by aiohttp."""
    limits = aiohttp.ClientTimeout(
        total=None, sock_connect=wanted.seconds, sock_read=wanted.seconds
    )
    async with (
        aiohttp.ClientSession(
            timeout=limits,
            middlewares=[saga_middleware(**wanted.options)] if wanted.knows else (),
        ) as session,
        session.request(
            wanted.method,
            wanted.url,
            data=wanted.body,
            headers=dict(wanted.headers),
            ssl=wanted.context,
            proxy=wanted.proxy,
        ) as reply,
    ):
        return reply.status, await reply.read()


class Sender(NamedTuple):
    """A client, and what it raises.

    Attributes:
        send: Gives the status and the body, or has to be awaited for them.
        is_async: Whether it has to be.
        status_error: For a bad answer.
        no_time: If a connection is not made in time.
    """

    send: Callable[[Wanted], Any]
    is_async: bool
    status_error: type[Exception]
    no_time: type[Exception]

    def function(self, *each: Wanted) -> Callable[[], Any]:
        """Make a function for an operation, that sends these one after the other."""
        if not self.is_async:
            return lambda: [self.send(wanted) for wanted in each]

        async def send_all() -> list[Any]:
            return [await self.send(wanted) for wanted in each]

        return send_all


SENDERS = {
    "requests": Sender(by_requests, False, requests.HTTPError, requests.ConnectTimeout),
    "httpx": Sender(partial(by_httpx, httpx), False, httpx.HTTPStatusError, httpx.ConnectTimeout),
    "httpx, asyncio": Sender(
        partial(by_async_httpx, httpx), True, httpx.HTTPStatusError, httpx.ConnectTimeout
    ),
    "httpx2": Sender(
        partial(by_httpx, httpx2), False, httpx2.HTTPStatusError, httpx2.ConnectTimeout
    ),
    "httpx2, asyncio": Sender(
        partial(by_async_httpx, httpx2), True, httpx2.HTTPStatusError, httpx2.ConnectTimeout
    ),
    "aiohttp": Sender(
        by_aiohttp, True, aiohttp.ClientResponseError, aiohttp.ConnectionTimeoutError
    ),
}
