"""`@saga_barrier` for views of Django, also for those that are coroutine functions."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, overload

from asgiref.sync import sync_to_async
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.core.handlers.exception import response_for_exception
from django.db import transaction
from django.http import Http404, HttpResponse, JsonResponse

from py_api_saga.contrib.barrier.answers import (
    Answer,
    Delivery,
    Outcome,
    aattend,
    attend,
    delivery,
    packed,
    unpacked,
)
from py_api_saga.contrib.barrier.opening import Opened, opened

View = Callable[..., Any]

__all__ = ["saga_barrier"]


@overload
def saga_barrier(view: View, /) -> View: ...
@overload
def saga_barrier(
    *, using: str = "default", fingerprint: Callable[[Any], bytes] | None = None
) -> Callable[[View], View]: ...
def saga_barrier(
    view: View | None = None,
    /,
    *,
    using: str = "default",
    fingerprint: Callable[[Any], bytes] | None = None,
) -> Any:
    """Have a view receive each request once: `@saga_barrier`, or with options.

    It opens a transaction, in which the view is called, and commits the answer with the effect. It
    stands above all other decorators but `csrf_exempt`, and a project may have `ATOMIC_REQUESTS`:
    this view is taken out of that. The app `py_api_saga.contrib.django.barrier` has the table.

    A view that is a coroutine function makes its effect by the ORM's methods for these, in the one
    thread that Django has for the request.

    Args:
        view: A function.
        using: The alias of the database that the effect is in.
        fingerprint: Gives, of a request, what stands for its body, if parts of that differ in a
            repetition.

    Raises:
        TypeError: In a request: the answer is streamed.
    """
    if view is None:
        return lambda decorated: _guarded(decorated, using, fingerprint)
    return _guarded(view, using, fingerprint)


def _guarded(view: View, using: str, fingerprint: Callable[[Any], bytes] | None) -> View:
    def read(request: Any) -> Delivery:
        body = request.body if fingerprint is None else fingerprint(request)
        return delivery(request.headers, request.method, request.get_full_path(), body)

    if inspect.iscoroutinefunction(view):

        @wraps(view)
        async def later(request: Any, *args: Any, **keywords: Any) -> Any:
            async def acall(_: object) -> Answer:
                try:
                    answered = await view(request, *args, **keywords)
                except _REFUSALS as error:
                    answered = response_for_exception(request, error)
                return _answer(answered)

            return _sent(await aattend(partial(_AOfDjango.open, using), read(request), acall))

        guarded: View = later
    else:

        @wraps(view)
        def at_once(request: Any, *args: Any, **keywords: Any) -> Any:
            def call(_: object) -> Answer:
                try:
                    answered = view(request, *args, **keywords)
                except _REFUSALS as error:
                    answered = response_for_exception(request, error)
                return _answer(answered)

            return _sent(attend(partial(opened, using), read(request), call))

        guarded = at_once
    return transaction.non_atomic_requests(using=using)(guarded)  # type: ignore[no-any-return]


_REFUSALS = (Http404, BadRequest, SuspiciousOperation)  # what Django makes a kept 4xx of


def _answer(response: Any) -> Answer:
    if getattr(response, "streaming", False):
        message = "saga_barrier: a streamed answer can't be kept: answer with the whole of it"
        raise TypeError(message)
    if not getattr(response, "is_rendered", True):
        response.render()
    kept = packed(response.items(), response.content)
    return Answer(response.status_code, kept, response)


def _sent(outcome: Outcome) -> Any:
    own = _made(outcome) if outcome.own is None else outcome.own
    for name, value in outcome.headers.items():
        own.headers[name] = value
    return own


def _made(outcome: Outcome) -> Any:
    whole = unpacked(outcome.kept)
    if whole is None:
        return JsonResponse(outcome.kept, status=outcome.status)
    headers, body = whole
    return HttpResponse(body, status=outcome.status, headers=dict(headers))


class _AOfDjango:
    """A block of `atomic` in the thread that Django has for a request under asyncio."""

    given = ()

    def __init__(self, inner: Opened) -> None:
        self._inner, self.connection = inner, _InThread(inner.connection)

    @classmethod
    async def open(cls, alias: str) -> Any:
        made: list[Opened] = []
        try:
            await _in_thread(lambda: made.append(opened(alias)))
        except BaseException as error:
            for inner in made:  # meanwhile this task was cancelled
                await _in_thread(inner.rollback, error)
            raise
        return cls(made[0])

    async def commit(self) -> None:
        await _in_thread(self._inner.commit)

    async def rollback(self) -> None:
        await _in_thread(self._inner.rollback, _RollbackError())

    async def close(self) -> None:
        """Leave it to Django, whose connection it is."""


class _InThread:
    """An alias, as it is spoken to under asyncio."""

    def __init__(self, alias: str) -> None:
        self._alias = alias

    async def run_sync(self, ask: Callable[[str], Any]) -> Any:
        return await _in_thread(ask, self._alias)


async def _in_thread(ask: Callable[..., Any], *args: Any) -> Any:
    """Have the thread of this request do something, and wait for its end, also if cancelled.

    asgiref lets a thread go on whose call is cancelled, so that nobody would roll back.
    """
    task = asyncio.ensure_future(sync_to_async(ask)(*args))
    struck: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            struck = error
    if struck is None:
        return task.result()
    task.exception()  # asked for, or asyncio would log it
    raise struck


class _RollbackError(Exception):
    """Has Django roll back."""
