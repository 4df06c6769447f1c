"""Transactions that the barrier opens itself: for a view, and for a write of an operation's own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

from py_api_saga.contrib.barrier.connections import CAUGHT, is_awaited, is_of

Using: TypeAlias = str | Callable[[], Any]


class Opened(Protocol):
    """A transaction of ours.

    Attributes:
        connection: What `hands_of` takes.
        given: What whoever makes the effect is given first: the session or connection, or nothing.
    """

    connection: Any
    given: tuple[Any, ...]

    def send(self) -> None:
        """Send what a session holds back, so that no error of it comes out of COMMIT."""

    def commit(self) -> None:
        """Commit."""

    def rollback(self, error: BaseException) -> None:
        """Roll back, since this was raised."""

    def close(self) -> None:
        """Give back what was opened."""


def opened(using: Any) -> Opened:
    """Open a transaction.

    Args:
        using: An alias of Django's, a registry of sessions of SQLAlchemy's such as the `db.session`
            of Flask-SQLAlchemy, an engine, or what makes a session, a connection or a context
            manager of one when it is called.

    Raises:
        TypeError: It is nothing of that.
        RuntimeError: The alias is within a block of `atomic`.
    """
    if isinstance(using, str):
        return _OfDjango(using)
    if is_of(using, "sqlalchemy.orm", "scoped_session"):
        return _Opened(using(), close=None)
    if is_of(using, "sqlalchemy", "Engine"):
        using = using.connect
    made = made_by(using)
    if is_awaited(made):
        message = (
            f"using: {type(made).__qualname__} is one to await, and what makes the effect is not a "
            "coroutine function: make it one, or give what is not to be awaited"
        )
        raise TypeError(message)
    if not hasattr(made, "commit") and hasattr(made, "__enter__"):
        return _Opened(made.__enter__(), close=made.__exit__)
    return _Opened(made, close=lambda *_: made.close())


def made_by(using: Any) -> Any:
    """Call what makes a session or connection."""
    if not callable(using):
        message = (
            "using: expected an alias of Django's, a sessionmaker, a scoped_session, an engine or "
            f"a function that gives a connection, got {type(using).__module__}."
            f"{type(using).__qualname__}"
        )
        raise TypeError(message)
    return using()


class _Opened:
    """A transaction of a session, or of a connection."""

    def __init__(self, connection: Any, close: Callable[..., object] | None) -> None:
        self.connection, self.given = connection, (connection,)
        self._close = close

    def send(self) -> None:
        if hasattr(self.connection, "flush"):
            self.connection.flush()

    def commit(self) -> None:
        self.connection.commit()

    def rollback(self, error: BaseException) -> None:  # noqa: ARG002 - see `_OfDjango`
        with suppress(Exception):  # of a connection that is lost, which is as good
            self.connection.rollback()

    def close(self) -> None:
        if self._close is not None:
            with suppress(Exception):  # what is committed is; what was raised before says more
                self._close(None, None, None)


class _OfDjango:
    """A block of `atomic` that is in no other."""

    given = ()

    def __init__(self, alias: str) -> None:
        from django.db import connections, transaction  # noqa: PLC0415 - see `connections`

        self.connection = alias
        self._connection = connections[alias]
        if not self._connection.in_atomic_block and not self._connection.get_autocommit():
            message = f"the alias {alias!r} has autocommit off: nobody would commit what is written"
            raise RuntimeError(message)
        self._atomic = transaction.atomic(alias, durable=True)
        self._atomic.__enter__()
        self._is_over = False

    def send(self) -> None:
        if self._connection.needs_rollback:
            raise RuntimeError(CAUGHT)

    def commit(self) -> None:
        self._is_over = True  # Django rolls back what it can't commit
        self._atomic.__exit__(None, None, None)

    def rollback(self, error: BaseException) -> None:
        if not self._is_over:
            self._is_over = True
            with suppress(Exception):  # as above
                self._atomic.__exit__(type(error), error, error.__traceback__)

    def close(self) -> None:
        """Leave it to Django, whose connection it is."""


# --- what is awaited -----------------------------------------------------------------------------


class AOpened:
    """A transaction of ours in a session or connection that is to be awaited."""

    def __init__(self, connection: Any, close: Callable[[], Any] | None) -> None:
        """Own what was opened."""
        self.connection, self.given = connection, (connection,)
        self._close = close

    async def send(self) -> None:
        """Send what a session holds back."""
        if hasattr(self.connection, "flush"):
            await self.connection.flush()

    async def commit(self) -> None:
        """Commit."""
        await self.connection.commit()

    async def rollback(self) -> None:
        """Roll back."""
        with suppress(Exception):
            await self.connection.rollback()

    async def close(self) -> None:
        """Give back what was opened."""
        if self._close is not None:
            with suppress(Exception):
                await self._close()


async def aopened(using: Any) -> AOpened:
    """Open a transaction that is to be awaited; as `opened`, with what SQLAlchemy has for asyncio.

    Raises:
        TypeError: It is nothing of that.
    """
    later = "sqlalchemy.ext.asyncio"
    if is_of(using, later, "async_scoped_session"):
        return AOpened(using(), close=None)
    made = using.connect() if is_of(using, later, "AsyncEngine") else made_by(using)
    if is_awaited(made):
        if is_of(made, later, "AsyncConnection") and made.sync_connection is None:
            await made.start()
        return AOpened(made, close=made.close)
    if hasattr(made, "__aenter__"):
        entered = await made.__aenter__()

        async def leave() -> None:
            await made.__aexit__(None, None, None)

        return AOpened(entered, close=leave)
    with suppress(Exception):
        made.close()
    message = (
        f"using: a coroutine function needs what is to be awaited, such as an async_sessionmaker, "
        f"got what makes a {type(made).__module__}.{type(made).__qualname__}"
    )
    raise TypeError(message)
