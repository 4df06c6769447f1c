"""The clients: each sends one POST, as people write it, and gives the body or raises."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import requests
import requests.adapters
import urllib3
import urllib3.util
from senders import Sender, Wanted

from py_api_saga import current_operation

SMALL = b'{"cents": 1200}'
BIG = b"x" * 16_000_000  # more than the buffers of a connection hold


class Target(NamedTuple):
    """Where to send what.

    Attributes:
        url: With the path that names the instant.
        seconds: The client's timeout.
        trusted: The file of the certificate that it trusts.
        proxy: The URL of a forward proxy.
        body: What to send: `SMALL`, `BIG`, or "stream" for one that can be read only once.
    """

    url: str
    seconds: float
    trusted: str
    proxy: str | None = None
    body: bytes | str = SMALL

    @property
    def context(self) -> ssl.SSLContext:
        """What trusts that certificate; it takes 50 ms less than all of the system's."""
        return ssl.create_default_context(cafile=self.trusted)

    @property
    def headers(self) -> dict[str, str]:
        """The key under which a service may know the request again."""
        return {"Idempotency-Key": current_operation().idempotency_key}

    @property
    def sent(self) -> Any:
        """What to give to a client that is not asynchronous."""
        return _stream() if isinstance(self.body, str) else self.body


class NotCharged(Exception):
    """What people raise who read a status themselves."""


def _stream() -> Iterator[bytes]:
    yield SMALL


def _checked(status: int, body: bytes) -> bytes:
    if status >= 400:
        raise NotCharged(f"status {status}")
    return body


def by_requests(target: Target, tries: int = 0, *, reads: bool = False) -> bytes:
    """Send by requests."""
    with requests.Session() as session:
        session.trust_env = False
        if tries:
            adapter = requests.adapters.HTTPAdapter(max_retries=_again(tries))
            session.mount("http://", adapter)
            session.mount("https://", adapter)
        with session.post(
            target.url,
            data=target.sent,
            headers=target.headers,
            timeout=target.seconds,
            verify=target.trusted,
            proxies={"http": target.proxy, "https": target.proxy} if target.proxy else None,
        ) as reply:
            reply.raise_for_status()
            if reads:
                reply.json()
            return reply.content


def _again(tries: int) -> urllib3.util.Retry:
    return urllib3.util.Retry(tries, allowed_methods=None, status_forcelist=[503], backoff_factor=0)


def by_urllib3(target: Target, tries: int = 0) -> bytes:
    """Send by urllib3."""
    pools = (
        urllib3.ProxyManager(target.proxy, ca_certs=target.trusted)
        if target.proxy
        else urllib3.PoolManager(ca_certs=target.trusted)
    )
    with pools:
        reply = pools.request(
            "POST",
            target.url,
            body=target.sent,
            headers=target.headers,
            timeout=target.seconds,
            retries=_again(tries) if tries else None,
        )
        return _checked(reply.status, reply.data)


def by_httpx(module: Any, target: Target) -> bytes:
    """Send by httpx, or by httpx2."""
    with module.Client(
        verify=target.context,
        timeout=target.seconds,
        proxy=target.proxy,
        trust_env=False,
        follow_redirects=True,
    ) as client:
        reply = client.post(target.url, content=target.sent, headers=target.headers)
        body: bytes = reply.raise_for_status().content
        return body


async def by_async_httpx(module: Any, target: Target) -> bytes:
    """The same under asyncio."""
    async with module.AsyncClient(
        verify=target.context,
        timeout=target.seconds,
        proxy=target.proxy,
        trust_env=False,
        follow_redirects=True,
    ) as client:
        reply = await client.post(target.url, content=_awaited(target), headers=target.headers)
        body: bytes = reply.raise_for_status().content
        return body


def _awaited(target: Target) -> Any:
    async def stream() -> Any:
        yield SMALL

    return stream() if isinstance(target.body, str) else target.body


async def by_aiohttp(target: Target, *, total: bool, reads: bool = False) -> bytes:
    """Send by aiohttp, with a timeout for each step or one for all."""
    limits = (
        aiohttp.ClientTimeout(total=target.seconds)
        if total
        else aiohttp.ClientTimeout(
            total=None, sock_connect=target.seconds, sock_read=target.seconds
        )
    )
    async with (
        aiohttp.ClientSession(timeout=limits) as session,
        session.post(
            target.url,
            data=_awaited(target),
            headers=target.headers,
            ssl=target.context,
            proxy=target.proxy,
            raise_for_status=True,
        ) as reply,
    ):
        if reads:
            await reply.json()
        return await reply.read()


def _wanted(target: Target, body: Any) -> Wanted:
    return Wanted(
        "POST",
        target.url,
        body=body,
        seconds=target.seconds,
        trusted=target.trusted,
        proxy=target.proxy,
    )


def by_sender(sender: Sender, target: Target) -> Any:
    """Send by a client that knows its operation: it has a key by itself."""
    return sender.send(_wanted(target, target.sent))


async def by_async_sender(sender: Sender, target: Target) -> Any:
    """The same under asyncio."""
    return await sender.send(_wanted(target, _awaited(target)))


def by_http_client(target: Target) -> bytes:
    """Send by the standard library's lower client, which knows neither redirects nor proxies."""
    where = urlsplit(target.url)
    assert where.hostname is not None
    connection = (
        http.client.HTTPSConnection(
            where.hostname, where.port, timeout=target.seconds, context=target.context
        )
        if where.scheme == "https"
        else http.client.HTTPConnection(where.hostname, where.port, timeout=target.seconds)
    )
    with contextlib.closing(connection):
        connection.request("POST", where.path, target.sent, target.headers)
        with connection.getresponse() as reply:
            return _checked(reply.status, reply.read())


def by_urllib(target: Target) -> bytes:
    """Send by the standard library's upper client."""
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=target.context),
        urllib.request.ProxyHandler(
            {"http": target.proxy, "https": target.proxy} if target.proxy else {}
        ),
    )
    request = urllib.request.Request(  # noqa: S310 - the address is our own
        target.url, target.sent, target.headers, method="POST"
    )
    with opener.open(request, timeout=target.seconds) as reply:
        body: bytes = reply.read()
        return body
