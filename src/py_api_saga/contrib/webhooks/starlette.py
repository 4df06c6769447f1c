"""`@saga_webhook` for Starlette and FastAPI, also for coroutine functions."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from py_api_saga.contrib.webhooks import (
    MAX_BODY,
    TOO_LONG,
    Reply,
    Verified,
    areceive,
    check_size,
)
from py_api_saga.exceptions import check_journal
from py_api_saga.journal.protocol import Journal

__all__ = ["saga_webhook"]

Verify: TypeAlias = Callable[[Request, bytes], Verified | Awaitable[Verified | None] | None]
View: TypeAlias = Callable[[Request], Awaitable[Response]]


def saga_webhook(journal: Journal, *, max_body: int = MAX_BODY) -> Callable[[Verify], View]:
    """Make an endpoint of a function that verifies a request; below `@app.post(…)` in FastAPI.

    In Starlette it is what `Route("/webhooks/bank", …, methods=["POST"])` takes. What is answered
    is in the table of `py_api_saga.contrib.webhooks`; an `HTTPException` is answered as everywhere.
    Nothing goes on with the saga in the request: a worker has to run.

    Args:
        journal: Where the sagas are.
        max_body: Bytes; what is longer is a 413.

    Returns:
        What takes a function that is called with the request and its raw body, over which a
        signature is made; a plain one in a thread. It gives the answer that this is, or None if it
        is none of ours.

    Raises:
        SagaDefinitionError: `journal` is none; or `max_body` is not a number of bytes.
    """
    size = check_size(max_body)
    given = check_journal(journal, "saga_webhook")

    def decorate(verify: Verify) -> View:
        async def view(request: Request) -> Response:
            body = await _read(request, size)
            if body is None:
                return _sent(TOO_LONG)

            async def verified() -> object:
                again = Request(request.scope, _receiving(body))  # of which it may read the body
                if inspect.iscoroutinefunction(verify):
                    return await verify(again, body)
                return await asyncio.to_thread(verify, again, body)

            return _sent(await areceive(verified, lambda: given))

        view.__name__ = getattr(verify, "__name__", "saga_webhook")
        view.__doc__ = verify.__doc__
        return view

    return decorate


async def _read(request: Request, size: int) -> bytes | None:
    """Read a body; None if it is longer than this."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > size:
            return None
    return bytes(body)


def _receiving(body: bytes) -> Callable[[], Awaitable[Any]]:
    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _sent(reply: Reply) -> Response:
    if reply.body is None:
        return Response(status_code=reply.status)
    return JSONResponse(dict(reply.body), reply.status)
