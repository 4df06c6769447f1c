"""HTTP clients, each request of which is a place where something may go wrong.

As far below as may be, so that a fault passes through all that a client, and whoever uses it, does
with an answer: hooks, middlewares, transports that try again, the sessions and transports of
`contrib`. What mocks a client is below, so that a request has its effect there, or not.

| client | where |
|---|---|
| requests | the adapter that a session takes for a request |
| httpx, httpx2 | the innermost transport |
| aiohttp | behind the last middleware |
| urllib3 | `urlopen` of a pool, unless requests calls it |
| urllib | `open` of an opener |
"""

from __future__ import annotations

import io
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from email.message import Message
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, Final, Protocol, TypeAlias
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from py_api_saga.testing.places import Asked, asked

__all__ = ["HTTP_KINDS", "clients"]

Patch: TypeAlias = tuple[Any, str, Any]  # whose attribute, its name, and what is put there

# What may become of a request; of one that changes nothing only the first two.
HTTP_KINDS: Final = (
    "refuses", "answers-503", "lost", "answers-504", "sent-again", "crash-after",
)  # fmt: skip
_READING = HTTP_KINDS[:2]
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110, 9.2.1
_STATUS = {"answers-503": 503, "answers-504": 504}
_NOT_SENT = "injected: no connection could be made"
_NO_ANSWER = "injected: it was sent, and no answer came"
_MISSING = object()
_is_below: ContextVar[bool] = ContextVar("py_api_saga_below_http", default=False)


def clients() -> Iterator[Patch]:
    """Give what is to be put in place in the clients that are loaded."""
    for name, patches in _CLIENTS.items():
        if name in sys.modules:
            yield from patches(sys.modules[name])


def _asked() -> Asked | None:
    """Give what to ask here; None also where another request is being answered."""
    return None if _is_below.get() else asked()


class _Request(Protocol):
    """One request, as its client has it."""

    method: str
    url: str

    def refused(self) -> Exception:
        """Give the client's own error for a connection that could not be made."""

    def lost(self) -> Exception:
        """Give the client's own error for an answer that did not come."""

    def answer(self, status: int) -> Any:
        """Give an answer without a body, or raise what the client has for it."""

    def sends_again(self, status: int | None) -> bool:
        """Tell whether the client would send it again by itself: after a status, or no answer."""


def _fault_of(request: _Request, here: Asked) -> str | None:
    """Pass the place of a request, and give what is to become of it."""
    method = request.method.upper()
    kinds = _READING if method in _SAFE else HTTP_KINDS
    ours = tuple(kind for kind in kinds if _is_to_be_seen(kind, request))
    return here.at(f"{method} {_host(request)}", ours)


def _is_to_be_seen(kind: str, request: _Request) -> bool:
    """Tell whether a fault gets past the client, which may send a request again by itself."""
    if kind in _STATUS:
        return not request.sends_again(_STATUS[kind])
    if kind in ("lost", "sent-again"):
        return request.sends_again(None) is (kind == "sent-again")
    return True


def _instead(request: _Request, fault: str, here: Asked) -> Any:
    """Give what the caller gets in the place of the service's answer."""
    if fault in _STATUS:
        return request.answer(_STATUS[fault])
    if fault == "refuses":
        raise here.refusal(_host(request), request.refused())
    raise request.lost()


def _host(request: _Request) -> str:
    return urlsplit(request.url).hostname or "localhost"  # its port is another one in each run


def _send(request: _Request, send: Callable[[], Any]) -> Any:
    """Send a request, unless something goes wrong with it."""
    here = _asked()
    if here is None:
        return send()
    fault = _fault_of(request, here)
    token = _is_below.set(True)
    try:
        if fault is None:
            return send()
        if fault not in _READING:
            send().close()
            if fault == "crash-after":
                here.die()
            if fault == "sent-again":
                return send()
        return _instead(request, fault, here)
    finally:
        _is_below.reset(token)


async def _asend(
    request: _Request,
    send: Callable[[], Awaitable[Any]],
    close: Callable[[Any], Awaitable[object]],
) -> Any:
    """Do the same under asyncio, where no client sends again by itself."""
    here = _asked()
    if here is None:
        return await send()
    fault = _fault_of(request, here)
    token = _is_below.set(True)
    try:
        if fault is None:
            return await send()
        if fault not in _READING:
            await close(await send())
            if fault == "crash-after":
                here.die()
        return _instead(request, fault, here)
    finally:
        _is_below.reset(token)


# --- requests -------------------------------------------------------------------------------------


def _of_requests(requests: Any) -> Iterator[Patch]:
    yield requests.Session, "send", _with_faults(requests, requests.Session.send)
    mocker = sys.modules.get("requests_mock.mocker")
    original = getattr(mocker, "_original_send", None)
    if original is not None:  # which it calls, whatever is in the place of `Session.send`
        yield mocker, "_original_send", _with_faults(requests, original)


def _with_faults(requests: Any, sends: Callable[..., Any]) -> Callable[..., Any]:
    """Have a session take, for one request, an adapter of ours around its own."""

    def send(session: Any, request: Any, **options: Any) -> Any:
        own = vars(session).get("get_adapter", _MISSING)
        if _asked() is None or isinstance(own, _Adapter):
            return sends(session, request, **options)
        session.get_adapter = _Adapter(requests, session, session.get_adapter)
        try:
            return sends(session, request, **options)
        finally:
            if own is _MISSING:
                del session.get_adapter
            else:
                session.get_adapter = own

    return send


class _Adapter:
    """In the place of a session's `get_adapter`, and of the adapter that this gives."""

    def __init__(self, requests: Any, session: Any, get: Callable[..., Any]) -> None:
        self._requests, self._session, self._get = requests, session, get

    def __call__(self, url: str) -> _Adapter:
        self._adapter = self._get(url=url)
        return self

    def send(self, request: Any, **options: Any) -> Any:
        """Send a request, unless something goes wrong with it."""
        ours = _OfRequests(self._requests, self._session, request)
        return _send(ours, lambda: self._adapter.send(request, **options))


class _OfRequests:
    """A request of requests."""

    def __init__(self, requests: Any, session: Any, request: Any) -> None:
        self._requests, self._session, self._request = requests, session, request
        self.method: str = request.method
        self.url: str = request.url

    def refused(self) -> Exception:
        error: Exception = self._requests.ConnectTimeout(_NOT_SENT, request=self._request)
        return error

    def lost(self) -> Exception:
        error: Exception = self._requests.ReadTimeout(_NO_ANSWER, request=self._request)
        return error

    def answer(self, status: int) -> Any:
        adapter = self._requests.adapters.HTTPAdapter()
        return adapter.build_response(self._request, _answer_of_urllib3(status))

    def sends_again(self, status: int | None) -> bool:
        """Ask the session's own adapter, which a mock may be in the place of."""
        adapter = type(self._session).get_adapter(self._session, self.url)
        retries = getattr(adapter, "max_retries", None)
        return hasattr(retries, "increment") and _tries_again(retries, self.method, status)


# --- urllib3 --------------------------------------------------------------------------------------


def _of_urllib3(urllib3: Any) -> Iterator[Patch]:
    kind = urllib3.connectionpool.HTTPConnectionPool
    opens = kind.urlopen

    def urlopen(pool: Any, method: str, url: str, *args: Any, **options: Any) -> Any:
        ours = _OfUrllib3(urllib3, pool, method, url, options.get("retries"))
        return _send(ours, lambda: opens(pool, method, url, *args, **options))

    yield kind, "urlopen", urlopen


class _OfUrllib3:
    """A request of urllib3."""

    def __init__(self, urllib3: Any, pool: Any, method: str, target: str, retries: Any) -> None:
        self._errors, self._pool, self._target = urllib3.exceptions, pool, target
        self._retries = urllib3.Retry.from_int(retries)
        self.method = method
        self.url = f"{pool.scheme}://{pool.host}"

    def refused(self) -> Exception:
        reason = self._errors.ConnectTimeoutError(self._pool, _NOT_SENT)
        error: Exception = self._errors.MaxRetryError(self._pool, self._target, reason)
        return reason if self._retries.total is False else error

    def lost(self) -> Exception:
        error: Exception = self._errors.ReadTimeoutError(self._pool, self._target, _NO_ANSWER)
        return error

    def answer(self, status: int) -> Any:
        return _answer_of_urllib3(status)

    def sends_again(self, status: int | None) -> bool:
        return _tries_again(self._retries, self.method, status)


def _tries_again(retries: Any, method: str, status: int | None) -> bool:
    """Ask a `Retry` of urllib3 whether it would have a request sent again."""
    urllib3: Any = sys.modules["urllib3"]  # whose objects these are

    answer = error = None
    if status is None:
        error = urllib3.exceptions.ReadTimeoutError(None, "/", _NO_ANSWER)
    elif retries.is_retry(method, status):
        answer = _answer_of_urllib3(status)
    else:
        return False
    try:
        retries.increment(method, "/", response=answer, error=error)
    except urllib3.exceptions.HTTPError:
        return False
    return True


def _answer_of_urllib3(status: int) -> Any:
    urllib3: Any = sys.modules["urllib3"]
    return urllib3.HTTPResponse(
        io.BytesIO(b""),
        {"Content-Length": "0"},
        status,
        reason=HTTPStatus(status).phrase,
        preload_content=False,
    )


# --- httpx, httpx2 --------------------------------------------------------------------------------


def _of_httpx(httpx: Any) -> Iterator[Patch]:
    for kind in _all_below(httpx.BaseTransport):
        if "handle_request" in vars(kind):
            yield kind, "handle_request", _handling(httpx, kind)
    for kind in _all_below(httpx.AsyncBaseTransport):
        if "handle_async_request" in vars(kind):
            yield kind, "handle_async_request", _ahandling(httpx, kind)


def _all_below(kind: type) -> Iterator[type]:
    """Give the classes that are made of one."""
    subclasses: list[type] = kind.__subclasses__()
    for one in subclasses:
        yield one
        yield from _all_below(one)


def _handling(httpx: Any, kind: Any) -> Callable[..., Any]:
    handles = kind.handle_request

    def handle_request(transport: Any, request: Any) -> Any:
        if _hands_on(httpx, transport, kind, "handle_request"):
            return handles(transport, request)
        return _send(_OfHttpx(httpx, request), lambda: handles(transport, request))

    return handle_request


def _ahandling(httpx: Any, kind: Any) -> Callable[..., Any]:
    handles = kind.handle_async_request

    async def handle_async_request(transport: Any, request: Any) -> Any:
        if _hands_on(httpx, transport, kind, "handle_async_request"):
            return await handles(transport, request)
        ours = _OfHttpx(httpx, request)
        return await _asend(ours, lambda: handles(transport, request), lambda it: it.aclose())

    return handle_async_request


def _hands_on(httpx: Any, transport: Any, kind: Any, method: str) -> bool:
    """Tell whether a transport has another one do it: what it is made of, or one that it holds."""
    if kind.__module__.partition(".")[0] == httpx.__name__:
        return False  # what these hold is below
    plain = (httpx.BaseTransport, httpx.AsyncBaseTransport)
    if any(method in vars(base) for base in kind.__mro__[1:] if base not in plain):
        return True
    held = [*vars(transport).values()]
    held += [one for some in held if isinstance(some, (list, tuple)) for one in some]
    return any(hasattr(one, method) for one in held)


class _OfHttpx:
    """A request of httpx, or httpx2."""

    def __init__(self, httpx: Any, request: Any) -> None:
        self._httpx, self._request = httpx, request
        self.method: str = request.method
        self.url = str(request.url)

    def refused(self) -> Exception:
        error: Exception = self._httpx.ConnectTimeout(_NOT_SENT, request=self._request)
        return error

    def lost(self) -> Exception:
        error: Exception = self._httpx.ReadTimeout(_NO_ANSWER, request=self._request)
        return error

    def answer(self, status: int) -> Any:
        return self._httpx.Response(status, request=self._request)

    def sends_again(self, _: int | None) -> bool:
        return False


# --- aiohttp --------------------------------------------------------------------------------------


def _of_aiohttp(aiohttp: Any) -> Iterator[Patch]:
    kind = aiohttp.ClientSession
    requests = kind._request  # noqa: SLF001 - what all of its methods call, and what mocks replace

    async def middleware(request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        return await _asend(_OfAiohttp(aiohttp, request), lambda: handler(request), _closed)

    async def request(session: Any, *args: Any, **options: Any) -> Any:
        if _asked() is not None:
            theirs = options.get("middlewares")
            theirs = session._middlewares if theirs is None else theirs  # noqa: SLF001 - as above
            options["middlewares"] = (*(theirs or ()), middleware)
        return await requests(session, *args, **options)

    yield kind, "_request", request


async def _closed(response: Any) -> None:
    response.close()


class _OfAiohttp:
    """A request of aiohttp."""

    def __init__(self, aiohttp: Any, request: Any) -> None:
        self._aiohttp, self._request = aiohttp, request
        self.method: str = request.method
        self.url = str(request.url)

    def refused(self) -> Exception:
        error: Exception = self._aiohttp.ConnectionTimeoutError(_NOT_SENT)
        return error

    def lost(self) -> Exception:
        error: Exception = self._aiohttp.SocketTimeoutError(_NO_ANSWER)
        return error

    def answer(self, status: int) -> Any:
        """Make one as the client does, which has no public way for it."""
        request = self._request
        response = request.response_class(
            self.method,
            request.original_url,
            writer=None,
            continue100=None,
            timer=request._timer,  # noqa: SLF001 - as it says
            request_info=request.request_info,
            traces=[],
            loop=request.loop,
            session=request._session,  # noqa: SLF001
            stream_writer=SimpleNamespace(output_size=0),
        )
        response.status, response.reason = status, HTTPStatus(status).phrase
        response.content = self._aiohttp.streams.EMPTY_PAYLOAD
        response._headers, response._raw_headers = type(request.headers)(), ()  # noqa: SLF001
        return response

    def sends_again(self, _: int | None) -> bool:
        return False


# --- urllib ---------------------------------------------------------------------------------------


def _of_urllib(request: Any) -> Iterator[Patch]:
    opens = request.OpenerDirector.open

    def open_(opener: Any, url: Any, data: Any = None, *args: Any, **options: Any) -> Any:
        asks = url if isinstance(url, request.Request) else request.Request(url)
        if asks.type not in ("http", "https"):
            return opens(opener, url, data, *args, **options)
        ours = _OfUrllib(asks.get_method() if data is None else "POST", asks.full_url)
        return _send(ours, lambda: opens(opener, url, data, *args, **options))

    yield request.OpenerDirector, "open", open_


class _OfUrllib:
    """A request of `urllib.request`."""

    def __init__(self, method: str, url: str) -> None:
        self.method, self.url = method, url

    def refused(self) -> Exception:
        return URLError(ConnectionRefusedError(_NOT_SENT))

    def lost(self) -> Exception:
        return TimeoutError(_NO_ANSWER)

    def answer(self, status: int) -> Any:
        raise HTTPError(self.url, status, HTTPStatus(status).phrase, Message(), io.BytesIO(b""))

    def sends_again(self, _: int | None) -> bool:
        return False


_CLIENTS: dict[str, Callable[[Any], Iterator[Patch]]] = {
    "requests": _of_requests,
    "urllib3": _of_urllib3,
    "httpx": _of_httpx,
    "httpx2": _of_httpx,
    "aiohttp": _of_aiohttp,
    "urllib.request": _of_urllib,
}
