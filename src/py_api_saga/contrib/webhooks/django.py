"""`@saga_webhook` for Django, also for coroutine functions."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias, overload

from django.db import transaction
from django.http import HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from py_api_saga.contrib.django.configured import get_journal
from py_api_saga.contrib.webhooks import (
    MAX_BODY,
    TOO_LONG,
    Reply,
    Verified,
    areceive,
    check_size,
    receive,
)
from py_api_saga.journal.protocol import Journal

__all__ = ["saga_webhook"]

Verify: TypeAlias = Callable[[Any, bytes], Verified | Awaitable[Verified | None] | None]
View: TypeAlias = Callable[..., Any]


@overload
def saga_webhook(verify: Verify, /) -> View: ...
@overload
def saga_webhook(
    *, journal: Journal | None = None, max_body: int = MAX_BODY
) -> Callable[[Verify], View]: ...
def saga_webhook(
    verify: Verify | None = None,
    /,
    *,
    journal: Journal | None = None,
    max_body: int = MAX_BODY,
) -> Any:
    """Make a view of a function that verifies a request: `@saga_webhook`, or with options.

    The view takes POST alone, without a CSRF token, and is taken out of `ATOMIC_REQUESTS`: the
    answer is written down in a transaction of its own. What is answered is in the table of
    `py_api_saga.contrib.webhooks`; Django's own `PermissionDenied` or `BadRequest` are a 403 or 400
    as everywhere. Nothing goes on with the saga in the request: a worker has to run.

    Args:
        verify: Is called with the request and its raw body, over which a signature is made. It
            gives the answer that this is, or None if it is none of ours; or awaits it.
        journal: In the place of the one that the settings name.
        max_body: Bytes; what is longer is a 413.

    Raises:
        SagaDefinitionError: `max_body` is not a number of bytes.
    """
    size = check_size(max_body)
    if verify is None:
        return lambda decorated: _view(decorated, journal, size)
    return _view(verify, journal, size)


def _view(verify: Verify, journal: Journal | None, size: int) -> View:
    def found() -> Journal:
        return get_journal() if journal is None else journal

    if inspect.iscoroutinefunction(verify):

        async def awaited(request: Any) -> Any:
            refusal, body = _read(request, size)
            return refusal or _sent(await areceive(partial(verify, request, body), found))

        view: View = awaited
    else:

        def at_once(request: Any) -> Any:
            refusal, body = _read(request, size)
            return refusal or _sent(receive(partial(verify, request, body), found))

        view = at_once
    view.__name__ = getattr(verify, "__name__", "saga_webhook")
    view.__doc__ = verify.__doc__
    exempt: View = csrf_exempt(transaction.non_atomic_requests(view))
    return exempt


def _read(request: Any, size: int) -> tuple[Any, bytes]:
    """Give an answer that refuses a request, or None, and its body."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"]), b""
    said = request.META.get("CONTENT_LENGTH") or "0"
    if not said.isdecimal() or int(said) > size or len(request.body) > size:
        return _sent(TOO_LONG), b""
    return None, request.body


def _sent(reply: Reply) -> Any:
    if reply.body is None:
        return HttpResponse(status=reply.status)
    return JsonResponse(dict(reply.body), status=reply.status)
