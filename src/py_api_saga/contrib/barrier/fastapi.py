"""`@saga_barrier` for path operations of FastAPI, also for those that are coroutine functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request, Response
from fastapi.encoders import jsonable_encoder
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from py_api_saga.contrib.barrier.answers import (
    Answer,
    Delivery,
    Outcome,
    aattend,
    attend,
    delivery,
    lasting,
    packed,
    unpacked,
)
from py_api_saga.contrib.barrier.opening import aopened, opened

__all__ = ["saga_barrier"]

_ASKED = "saga_asked"  # the parameter that FastAPI fills for the barrier
_VALUE, _RAISED = "$value", "$raised"


class _Asked(NamedTuple):
    """A request, and the answer that FastAPI is about to make."""

    request: Request
    response: Response
    body: bytes


async def _read(request: Request, response: Response) -> _Asked:
    return _Asked(request, response, await request.body())


def saga_barrier(
    using: Any, *, fingerprint: Callable[[Request, bytes], bytes] | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Have a path operation receive each request once; below `@app.post(…)`.

    It opens a transaction, in which the function is called with the session or connection first, a
    parameter that FastAPI does not see, and commits the answer with the effect. What it returns is
    kept as JSON and passes through the `response_model` as ever; `raise HTTPException(402)` is an
    answer as well. Other exceptions are not: roll back, and nothing is kept, whatever a handler of
    the application makes of them.

    Args:
        using: For a coroutine function an `async_sessionmaker` or `AsyncEngine`; for a plain one a
            `sessionmaker`, an `Engine`, or a function that gives a connection of psycopg or
            sqlite3, or a context manager of one.
        fingerprint: Gives, of a request and its body, what stands for that body, if parts of it
            differ in a repetition.

    Raises:
        TypeError: The function has no first parameter; or in a request: `using` is nothing of that.
    """

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        def read(asked: _Asked) -> Delivery:
            request, _, body = asked
            url = request.url
            path = f"{url.path}?{url.query}" if url.query else url.path
            counted = body if fingerprint is None else fingerprint(request, body)
            return delivery(request.headers, request.method, path, counted)

        if inspect.iscoroutinefunction(view):

            @wraps(view)
            async def later(**keywords: Any) -> Any:
                asked: _Asked = keywords.pop(_ASKED)

                async def acall(given: tuple[Any, ...]) -> Answer:
                    try:
                        return _answer(asked, await view(*given, **keywords))
                    except HTTPException as error:
                        return _refusal(error)

                return _sent(asked, await aattend(partial(aopened, using), read(asked), acall))

            guarded: Callable[..., Any] = later
        else:

            @wraps(view)
            def at_once(**keywords: Any) -> Any:
                asked: _Asked = keywords.pop(_ASKED)

                def call(given: tuple[Any, ...]) -> Answer:
                    try:
                        return _answer(asked, view(*given, **keywords))
                    except HTTPException as error:
                        return _refusal(error)

                return _sent(asked, attend(partial(opened, using), read(asked), call))

            guarded = at_once
        vars(guarded)["__signature__"] = _signature(view)  # which FastAPI reads
        return guarded

    return decorate


def _signature(view: Callable[..., Any]) -> inspect.Signature:
    """Give the parameters that FastAPI is to fill: all but the first, and one of ours."""
    signature = inspect.signature(view, eval_str=True)
    first, *rest = signature.parameters.values() or (None,)
    if first is None:
        message = (
            f"saga_barrier: {view.__qualname__} takes nothing: it is given the session or "
            "connection first"
        )
        raise TypeError(message)
    named = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in rest]
    asked = inspect.Parameter(
        _ASKED, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[_Asked, Depends(_read)]
    )
    return signature.replace(parameters=[*named, asked])


def _answer(asked: _Asked, value: Any) -> Answer:
    if isinstance(value, Response):
        body = getattr(value, "body", None)
        if not isinstance(body, bytes):
            message = "saga_barrier: a streamed answer can't be kept: answer with the whole of it"
            raise TypeError(message)
        return Answer(value.status_code, packed(value.headers.items(), body), value)
    route = asked.request.scope.get("route")
    status = asked.response.status_code or getattr(route, "status_code", None) or 200
    kept = {
        _VALUE: jsonable_encoder(value),
        "status": asked.response.status_code,
        "headers": lasting(asked.response.headers.items()),
    }
    return Answer(status, kept, kept)


def _refusal(error: HTTPException) -> Answer:
    kept = {_RAISED: [jsonable_encoder(error.detail), dict(error.headers or {})]}
    return Answer(error.status_code, kept, kept)


def _sent(asked: _Asked, outcome: Outcome) -> Any:
    kept, headers = outcome.kept, outcome.headers
    if isinstance(outcome.own, Response):
        outcome.own.headers.update(headers)
        return outcome.own
    if kept is not None and _RAISED in kept:
        detail, own = kept[_RAISED]
        raise HTTPException(outcome.status, detail, {**own, **headers})
    if kept is not None and _VALUE in kept:
        asked.response.headers.update({**dict(kept["headers"]), **headers})
        asked.response.status_code = kept["status"]
        return kept[_VALUE]
    whole = unpacked(kept)
    if whole is None:
        return JSONResponse(kept, outcome.status, dict(headers))
    own_headers, body = whole
    made = Response(body, outcome.status)
    for name, value in own_headers:
        made.headers[name] = value
    made.headers.update(headers)
    return made
