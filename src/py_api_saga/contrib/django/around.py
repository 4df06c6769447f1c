"""What is around each call in a Django project: its language, time zone and urlconf; connections.

None of these moves into a thread or a task by itself as a request has it; and Django closes the
connections of a thread at the end of a request, in the request's own thread alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from functools import cache
from typing import Any

from asgiref.sync import SyncToAsync, sync_to_async
from django.db import connections
from django.urls import get_urlconf, set_urlconf
from django.utils import timezone, translation

from py_api_saga.current import CurrentOperation


def close_connections(*, only_old: bool = False) -> None:
    """Close the connections of this thread, but for one in a transaction, as a test case is in.

    Args:
        only_old: Only what is broken, or older than CONN_MAX_AGE allows.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            if only_old:
                connection.close_if_unusable_or_obsolete()
            else:
                connection.close()


class Surroundings:
    """Where a saga was made, for its calls in threads and in the loop.

    Around a call in the caller's own thread there is nothing. In a thread of the library's the
    connections are closed at the end of each call; Django's pool takes them back so.
    """

    def __init__(self) -> None:
        """Take in what holds here."""
        self._language: str | None = translation.get_language()
        self._zone: Any = timezone.get_current_timezone()
        self._urlconf: Any = get_urlconf()

    def __call__(
        self, operation: CurrentOperation
    ) -> AbstractContextManager[Any] | AbstractAsyncContextManager[Any]:
        """Give what is around one call."""
        if operation.where == "caller":
            return nullcontext()
        return self._inside(is_ours=operation.where == "thread")

    @contextmanager
    def _inside(self, *, is_ours: bool) -> Iterator[None]:
        before = get_urlconf()
        set_urlconf(self._urlconf)
        try:
            with translation.override(self._language), timezone.override(self._zone):
                yield
        finally:
            set_urlconf(before)
            if is_ours:
                close_connections()


class Recovering(Surroundings):
    """The same for recovery, which no request of Django's surrounds.

    So the connections that coroutine functions use, in the thread that `sync_to_async` has for
    them, are looked after here: at the end of each call as Django does it at the end of a request,
    and closed when recovery ends.
    """

    def __init__(self) -> None:
        """Take in what holds here."""
        super().__init__()
        self._has_awaited = False

    def __call__(
        self, operation: CurrentOperation
    ) -> AbstractContextManager[Any] | AbstractAsyncContextManager[Any]:
        """Give what is around one call."""
        if operation.where == "loop":
            return self._awaited()
        return super().__call__(operation)

    @asynccontextmanager
    async def _awaited(self) -> AsyncIterator[None]:
        self._has_awaited = True
        with self._inside(is_ours=False):
            try:
                yield
            finally:
                await sync_to_async(close_connections)(only_old=True)

    def end(self) -> None:
        """Close what was opened for coroutine functions, unless a loop runs in this thread."""
        if self._has_awaited:
            SyncToAsync.single_thread_executor.submit(close_connections).result()

    async def aend(self) -> None:
        """Close that, where a loop runs."""
        if self._has_awaited:
            await sync_to_async(close_connections)()


@cache
def of_the_command() -> Recovering:
    """Give what is around the calls that `manage.py saga` makes."""
    return Recovering()


def around_commands(
    operation: CurrentOperation,
) -> AbstractContextManager[Any] | AbstractAsyncContextManager[Any]:
    """Give what is around one of these calls."""
    return of_the_command()(operation)
