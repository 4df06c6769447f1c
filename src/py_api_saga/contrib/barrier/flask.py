"""`@saga_barrier` for views of Flask."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar

from flask import Request, Response, current_app, request

from py_api_saga.contrib.barrier.answers import (
    Answer,
    Outcome,
    attend,
    delivery,
    packed,
    unpacked,
)
from py_api_saga.contrib.barrier.opening import opened
from py_api_saga.exceptions import SagaInProgress, SagaPending

View = TypeVar("View", bound=Callable[..., Any])

__all__ = ["saga_barrier"]


def saga_barrier(
    using: Any, *, fingerprint: Callable[[Request], bytes] | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Response]]:
    """Have a view receive each request once; below `@app.post(…)`.

    It opens a transaction, in which the view is called with the session or connection first, and
    commits the answer with the effect. The error handlers of the application are asked before, so a
    refusal that they make of an exception is kept as well; but for what a saga raises that is not
    decided yet, of which nothing is kept.

    Args:
        using: Flask-SQLAlchemy's `db.session`, a `sessionmaker`, an `Engine`, or a function that
            gives a connection of psycopg or sqlite3, or a context manager of one.
        fingerprint: Gives what stands for the body of a request, if parts of that differ in a
            repetition.

    Raises:
        TypeError: In a request: `using` is nothing of that, or the answer is streamed.
    """

    def decorate(view: Callable[..., Any]) -> Callable[..., Response]:
        @wraps(view)
        def guarded(*args: Any, **keywords: Any) -> Response:
            body = request.get_data() if fingerprint is None else fingerprint(request)
            query = request.query_string.decode("latin-1")
            path = f"{request.path}?{query}" if query else request.path
            asked = delivery(request.headers, request.method, path, body)

            def call(given: tuple[Any, ...]) -> Answer:
                try:
                    answered = current_app.ensure_sync(view)(*given, *args, **keywords)
                except (SagaInProgress, SagaPending):  # nothing is decided, so nothing is kept
                    raise
                except Exception as error:  # noqa: BLE001 - a handler answers, or raises it
                    answered = current_app.handle_user_exception(error)
                    response = current_app.make_response(answered)
                    response.make_sequence()  # as it is not in an error of Werkzeug's
                    return _answer(response)
                return _answer(current_app.make_response(answered))

            return _sent(attend(partial(opened, using), asked, call))

        return guarded

    return decorate


def _answer(response: Response) -> Answer:
    if response.is_streamed:
        message = "saga_barrier: a streamed answer can't be kept: answer with the whole of it"
        raise TypeError(message)
    kept = packed(response.headers.items(), response.get_data())
    return Answer(response.status_code, kept, response)


def _sent(outcome: Outcome) -> Response:
    own: Response = _made(outcome) if outcome.own is None else outcome.own
    own.headers.extend(outcome.headers)
    return own


def _made(outcome: Outcome) -> Response:
    whole = unpacked(outcome.kept)
    if whole is None:
        return current_app.make_response((outcome.kept, outcome.status))
    headers, body = whole
    return current_app.response_class(body, outcome.status, headers)
