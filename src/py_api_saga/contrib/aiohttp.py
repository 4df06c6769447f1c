"""A middleware for sessions of `aiohttp` that knows the operation it is used in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from py_api_saga.contrib.http import Exchange, Options, Rules, bounded, library
from py_api_saga.known_errors import REDIRECTS, REFUSALS

if TYPE_CHECKING:
    import aiohttp
else:
    aiohttp = library("aiohttp", "aiohttp")

__all__ = ["saga_middleware"]

# What aiohttp sends once more by itself, and after which errors.
_IDEMPOTENT = frozenset({"PUT", "DELETE"})
_REPEATED = (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)


class _Lost(NamedTuple):
    """The last request of a task, if its connection was lost: aiohttp may send it once more."""

    exchange: Exchange
    url: object


_lost: ContextVar[_Lost | None] = ContextVar("py_api_saga_lost", default=None)


def saga_middleware(
    **options: Unpack[Options],
) -> Callable[
    [aiohttp.ClientRequest, Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]],
    Awaitable[aiohttp.ClientResponse],
]:
    """Make a middleware for `aiohttp.ClientSession(middlewares=[saga_middleware()])`.

    Outside of an operation the session is a plain one. Within one

    - each POST, PUT, PATCH and DELETE has the operation's idempotency key, or one derived from it,
      and tells the service which action it belongs to, or which one it undoes;
    - a bad answer raises what `raise_for_status()` raises, and a redirect of one of these methods
      is not followed, but raises as well;
    - an answer or an error after which nobody knows what happened leaves the action in doubt,
      whatever becomes of the error;
    - to get the answer's head, and each read after it, takes no longer than the time that is left
      for the operation. The session's own limits hold besides.

    It tries nothing again: that is what `retry=` of the operation is for. What aiohttp sends once
    more by itself, a PUT or DELETE whose connection had been idle, has the same key.

    Args:
        **options: Those of `contrib.requests.SagaSession` without `timeout`, for which the session
            has limits. But a redirect raises in any case, since the session would follow it.

    Raises:
        ValueError: An option can't be meant.
    """
    rules = Rules(**options, timeout=None)

    async def middleware(
        request: aiohttp.ClientRequest,
        handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]],
    ) -> aiohttp.ClientResponse:
        exchange = rules.exchange(request.method, request.headers)
        if exchange is None:
            return await handler(request)
        is_again = _number_again(exchange, request)
        with exchange:
            if (late := exchange.too_late()) is not None:
                raise aiohttp.ConnectionTimeoutError(late)
            request.headers.update(exchange.headers)
            try:
                async with asyncio.timeout(bounded(None, exchange.remaining())):
                    response = await handler(request)
            except Exception as error:
                exchange.failed(error)
                is_sent_again = not is_again and not getattr(request.body, "consumed", False)
                if is_sent_again and exchange.number and isinstance(error, _REPEATED):
                    _lost.set(_Lost(exchange, request.url))
                raise
            _limit(response, exchange)
            is_bad = exchange.answered(response.status, response.headers)
            if exchange.acts and REDIRECTS <= response.status < REFUSALS:
                is_bad = is_bad or "Location" in response.headers
        if is_bad:
            raise await _bad(response, exchange)
        return response

    return middleware


def _number_again(exchange: Exchange, request: aiohttp.ClientRequest) -> bool:
    """Give a request the number of the last one of this task, if aiohttp sends that once more."""
    lost = _lost.get()
    if lost is None:
        return False
    _lost.set(None)
    is_same = lost.exchange.method == exchange.method and lost.url == request.url
    if is_same and exchange.method in _IDEMPOTENT and exchange.is_beside(lost.exchange):
        exchange.number = lost.exchange.number
        return True
    return False


def _limit(response: aiohttp.ClientResponse, exchange: Exchange) -> None:
    """Let no read of what is left of an answer take longer than there is time."""
    left = exchange.remaining()
    connection = response.connection
    if left is None or connection is None or connection.protocol is None:
        return  # all was read
    protocol = connection.protocol
    protocol.read_timeout = bounded(protocol.read_timeout, left)
    protocol.start_timeout()


async def _bad(response: aiohttp.ClientResponse, exchange: Exchange) -> Exception:
    """Make what says that an answer is bad, as `raise_for_status()` does, with what it says."""
    with suppress(Exception):
        await response.read()
    response.release()
    message = response.reason or ""
    if response.status < REFUSALS:
        message += f": the redirect of a {exchange.method} is not followed"
    error: Any = aiohttp.ClientResponseError(
        response.request_info,
        response.history,
        status=response.status,
        message=message,
        headers=response.headers,
    )
    error.response = response
    labelled: Exception = exchange.labelled(error, response.status)
    return labelled
