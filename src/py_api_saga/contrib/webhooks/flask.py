"""`@saga_webhook` for Flask, also for coroutine functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from flask import Request, Response, current_app, jsonify, request
from werkzeug.exceptions import RequestEntityTooLarge

from py_api_saga.contrib.flask import Sagas
from py_api_saga.contrib.webhooks import (
    MAX_BODY,
    TOO_LONG,
    Reply,
    Verified,
    check_size,
    receive,
)
from py_api_saga.exceptions import check_journal
from py_api_saga.journal.protocol import Journal

__all__ = ["saga_webhook"]

Verify: TypeAlias = Callable[[Request, bytes], Verified | Awaitable[Verified | None] | None]


def saga_webhook(
    journal: Sagas | Journal, *, max_body: int = MAX_BODY
) -> Callable[[Verify], Callable[[], Response]]:
    """Make a view of a function that verifies a request; below `@app.post(…)`.

    What is answered is in the table of `py_api_saga.contrib.webhooks`; an `abort` in the function
    is answered as everywhere. Nothing goes on with the saga in the request: a worker has to run.

    Args:
        journal: Where the sagas are: the `Sagas` of the application, or a journal.
        max_body: Bytes; what is longer is a 413.

    Returns:
        What takes a function that is called with the request and its raw body, over which a
        signature is made. It gives the answer that this is, or None if it is none of ours; or
        awaits it.

    Raises:
        SagaDefinitionError: `journal` is neither; or `max_body` is not a number of bytes.
    """
    size = check_size(max_body)
    given = journal if isinstance(journal, Sagas) else check_journal(journal, "saga_webhook")

    def found() -> Journal:
        return given.journal if isinstance(given, Sagas) else given

    def decorate(verify: Verify) -> Callable[[], Response]:
        def view() -> Response:
            request.max_content_length = size + 1  # at which Werkzeug cuts off what has no length
            try:
                body = request.get_data()
            except RequestEntityTooLarge:
                return _sent(TOO_LONG)
            if len(body) > size:
                return _sent(TOO_LONG)

            def verified() -> object:
                return current_app.ensure_sync(verify)(_real(), body)

            return _sent(receive(verified, found))

        view.__name__ = getattr(verify, "__name__", "saga_webhook")  # Flask's name of the route
        view.__doc__ = verify.__doc__
        return view

    return decorate


def _real() -> Request:
    """Give the request itself, in the place of what stands for it in its context."""
    real: Request = request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 - werkzeug has no other way
    return real


def _sent(reply: Reply) -> Response:
    if reply.body is None:
        return current_app.response_class(status=reply.status)
    response = jsonify(dict(reply.body))
    response.status_code = reply.status
    return response
