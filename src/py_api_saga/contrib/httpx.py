"""Transports for `httpx` and `httpx2` that know the operation they are used in."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from contextlib import suppress
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self, Unpack

from py_api_saga import clock
from py_api_saga.contrib.http import Exchange, Rules, TimedOptions, bounded, library

if TYPE_CHECKING:
    import httpx
    import httpx2

    # What type checkers see: whichever client it is given to, it is a transport of that.
    class _Sync(httpx.BaseTransport, httpx2.BaseTransport): ...  # type: ignore[misc]

    class _Async(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport): ...  # type: ignore[misc]
else:
    _Sync = _Async = object  # neither client asks for more, and only one may be here
    if find_spec("httpx2") is None:
        library("httpx", "httpx")

__all__ = ["AsyncSagaTransport", "SagaTransport"]

_MARK = "py_api_saga"  # among a request's extensions: the headers that it has from us
_PHASES = ("connect", "read", "write", "pool")


class _Marked(dict[str, str]):
    """The headers that a request has from us.

    Attributes:
        exchange: For which it has them.
    """

    exchange: Exchange


class _Rules:
    """What both have in common: what is done to a request, and to an answer."""

    def __init__(self, inner: Any, **options: Unpack[TimedOptions]) -> None:
        if isinstance(inner, type) or not callable(getattr(inner, self._HANDLER, None)):
            raise ValueError(  # noqa: TRY004 - as for each option
                f"{type(self).__name__}: expected a transport with {self._HANDLER}, such as "
                f"{self._LIKE}, got {type(inner).__name__}"
            )
        self._inner = inner
        self._rules = Rules(**options)

    _HANDLER = _LIKE = ""

    def _begun(self, request: Any) -> Exchange | None:
        """Begin a request of an operation; without what it has from us for an earlier one."""
        extensions: MutableMapping[str, Any] = request.extensions
        marked = extensions.pop(_MARK, None)
        if isinstance(marked, _Marked):
            for name, value in marked.items():
                if request.headers.get(name) == value:
                    del request.headers[name]
        exchange = self._rules.exchange(request.method, request.headers)
        if isinstance(marked, _Marked) and exchange is not None:
            before = marked.exchange
            if before.was_refused and exchange.is_beside(before):
                exchange.number = before.number  # the same again, with credentials, say
        return exchange

    def _prepare(self, exchange: Exchange, request: Any) -> None:
        """Give a request its headers, and no more time than is left.

        Raises:
            httpx.ConnectTimeout: None is left.
        """
        if (late := exchange.too_late()) is not None:
            raise _package(request).ConnectTimeout(late, request=request)
        request.headers.update(exchange.headers)
        marked = _Marked(exchange.headers)
        marked.exchange = exchange
        given: dict[str, float | None] = request.extensions.get("timeout") or {}
        connect, read = self._rules.timeout
        ours = {"connect": connect, "pool": connect, "read": read, "write": read}
        left = exchange.remaining()
        limits = {
            phase: bounded(ours[phase] if given.get(phase) is None else given[phase], left)
            for phase in _PHASES
        }
        request.extensions = {**request.extensions, "timeout": limits, _MARK: marked}

    def _is_bad(self, exchange: Exchange, response: Any) -> bool:
        """Note an answer, and tell whether to raise; a redirect would be followed by the client."""
        status, headers = response.status_code, response.headers
        is_bad = exchange.answered(status, headers)
        return is_bad or (exchange.acts and bool(response.has_redirect_location))


class SagaTransport(_Rules, _Sync):
    """A transport around another one, that knows the operation it is used in.

    Give it to a client: `httpx2.Client(transport=SagaTransport(httpx2.HTTPTransport()))`, or the
    same with `httpx`. Outside of an operation the client is a plain one. Within one

    - each POST, PUT, PATCH and DELETE has the operation's idempotency key, or one derived from it,
      and tells the service which action it belongs to, or which one it undoes;
    - a bad answer raises what `raise_for_status()` raises, and a redirect of one of these methods
      is not followed, but raises as well;
    - an answer or an error after which nobody knows what happened leaves the action in doubt,
      whatever becomes of the error;
    - to connect, and each read or write, takes no longer than the time that is left for the
      operation.

    It tries nothing again: that is what `retry=` of the operation is for. A proxy is to be given to
    the inner transport: with `proxy=` a client sends past this one.

    Args:
        inner: What sends, such as `httpx2.HTTPTransport()`.
        **options: Those of `SagaSession`. But a redirect raises in any case, since the client would
            follow it, and `timeout` counts where the client has no limit; its own default is 5 s.

    Raises:
        ValueError: An option can't be meant, or `inner` is not such a transport.
    """

    _HANDLER, _LIKE = "handle_request", "httpx2.HTTPTransport()"

    def handle_request(self, request: Any) -> Any:
        """Send a request and judge its answer, as a client asks for it.

        Raises:
            httpx.HTTPError: As the inner one, and `HTTPStatusError` for a bad answer.
            TwoAtOnce: Another request of the operation is under way, and they have no names.
        """
        exchange = self._begun(request)
        if exchange is None:
            return self._inner.handle_request(request)
        with exchange:
            self._prepare(exchange, request)
            began = clock.monotonic()
            try:
                response = self._inner.handle_request(request)
            except Exception as error:
                exchange.failed(error)
                raise
            if not self._is_bad(exchange, response):
                return response
        with suppress(Exception):  # what can be read of it
            response.read()
        response.close()
        raise _bad(exchange, request, response, began)

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._inner.__exit__(*error)

    def close(self) -> None:
        """Close the inner one."""
        self._inner.close()


class AsyncSagaTransport(_Rules, _Async):
    """The same for `AsyncClient`: around `httpx2.AsyncHTTPTransport()`, or that of `httpx`."""

    _HANDLER, _LIKE = "handle_async_request", "httpx2.AsyncHTTPTransport()"

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request and judge its answer, as a client asks for it.

        Raises:
            httpx.HTTPError: As the inner one, and `HTTPStatusError` for a bad answer.
            TwoAtOnce: Another request of the operation is under way, and they have no names.
        """
        exchange = self._begun(request)
        if exchange is None:
            return await self._inner.handle_async_request(request)
        with exchange:
            self._prepare(exchange, request)
            began = clock.monotonic()
            try:
                response = await self._inner.handle_async_request(request)
            except Exception as error:
                exchange.failed(error)
                raise
            if not self._is_bad(exchange, response):
                return response
        with suppress(Exception):  # what can be read of it
            await response.aread()
        await response.aclose()
        raise _bad(exchange, request, response, began)

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._inner.__aexit__(*error)

    async def aclose(self) -> None:
        """Close the inner one."""
        await self._inner.aclose()


def _package(thing: Any) -> Any:
    """Give the package of a request: httpx, or httpx2."""
    return sys.modules[type(thing).__module__.partition(".")[0]]


def _bad(exchange: Exchange, request: Any, response: Any, began: float) -> Exception:
    """Make what says that an answer is bad, as `raise_for_status()` does."""
    response.request = request
    response.elapsed = timedelta(seconds=clock.monotonic() - began)
    status_error: type[Exception] = _package(request).HTTPStatusError
    try:
        response.raise_for_status()
    except status_error as bad:
        error = bad
    error.__traceback__ = None  # which knows this frame, and that the error
    labelled: Exception = exchange.labelled(error, response.status_code)
    return labelled
