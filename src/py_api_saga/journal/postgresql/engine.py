"""A journal on an application's SQLAlchemy engine: `SQLAlchemyJournal(engine, modules=[…])`.

The engine gives connections and nothing else: what is asked there is PostgreSQL's own, in the words
of `queries.sql`, by psycopg 3.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Unpack

from py_api_saga.exceptions import JournalError
from py_api_saga.journal.postgresql.connections import Connection
from py_api_saga.journal.postgresql.driver import psycopg
from py_api_saga.journal.postgresql.journal import DatabaseJournal, Options
from py_api_saga.journal.postgresql.trouble import unreachable

try:
    from sqlalchemy import Engine, exc, pool
except ImportError as error:
    message = f"it needs SQLAlchemy 2: pip install 'py-api-saga[sqlalchemy]' ({error})"
    raise ImportError(message) from error

_INSTEAD = 'PostgreSQLJournal("postgresql://…") makes connections of its own, by psycopg 3'


class EngineConnections:
    """Connections of an engine: what writes is taken out of its pool, what reads is lent by it.

    Attributes:
        key: The engine.
        place: Where it leads.
    """

    def __init__(self, engine: Engine) -> None:
        """Take an engine.

        Raises:
            JournalError: It is none that a journal can be kept by; says which would do.
        """
        if problem := _problem(engine):
            message = f"SQLAlchemyJournal: {problem}; {_INSTEAD}"
            raise JournalError(message)
        self._engine = engine
        self.key: Hashable = engine
        url = engine.url
        user, port = url.username, url.port
        where = f"{f'{user}@' if user else ''}{url.host or ''}{f':{port}' if port else ''}"
        self.place = f"postgresql://{where}/{url.database or ''}"

    def connect(self, patience: float) -> Connection:  # noqa: ARG002 - the engine has its own
        """Take a connection out of the pool, which may make another one in its place."""
        lent = self._lent()
        connection: Connection = lent.driver_connection  # first: then it does not tell any more
        lent.detach()
        _fit(connection)
        return connection

    @contextmanager
    def reading(self, patience: float) -> Iterator[Connection]:  # noqa: ARG002 - as above
        """Borrow a connection, and give it back as it was."""
        lent = self._lent()
        try:
            connection: Connection = lent.driver_connection
            before = connection.autocommit, connection.row_factory, connection.cursor_factory
            _fit(connection)
            yield connection
            connection.autocommit, connection.row_factory, connection.cursor_factory = before
        except BaseException:
            lent.invalidate()
            raise
        finally:
            lent.close()

    def _lent(self) -> Any:
        try:
            return self._engine.raw_connection()
        except (exc.SQLAlchemyError, psycopg.Error, UnicodeError, OSError) as error:
            problem = unreachable(error)
        raise problem  # out here nothing of the driver's is its context

    def apart(self) -> EngineConnections:
        """Give the same: a connection is only borrowed."""
        return self

    def close(self) -> None:
        """Leave the pool as it is: it is the user's."""


def _fit(connection: Connection) -> None:
    """Have a connection answer as one of ours does, whatever the engine makes of others."""
    connection.autocommit = True
    connection.row_factory = psycopg.rows.tuple_row
    connection.cursor_factory = psycopg.Cursor


def _problem(engine: Any) -> str:
    if not isinstance(engine, Engine):
        kind = type(engine).__name__
        return f"expected an Engine of SQLAlchemy that is not asynchronous, got {kind}"
    dialect = engine.dialect
    if (dialect.name, dialect.driver) != ("postgresql", "psycopg"):
        return (
            f'expected an engine for PostgreSQL by psycopg 3 ("postgresql+psycopg://…"), got one '
            f"for {dialect.name} by {dialect.driver}"
        )
    if getattr(dialect, "is_async", False):
        return "expected an Engine that is not asynchronous"
    if _has_one(engine.pool):
        return (
            "its pool has a single connection, and whoever holds it would wait for itself: give it "
            "pool_size=2 at least"
        )
    return ""


def _has_one(of: Any) -> bool:
    if isinstance(of, (pool.StaticPool, pool.SingletonThreadPool, pool.AssertionPool)):
        return True
    if not isinstance(of, pool.QueuePool):
        return False
    overflow: int = getattr(of, "_max_overflow", 1)  # -1: without limit
    return of.size() == 1 and overflow == 0


class SQLAlchemyJournal(DatabaseJournal):
    """Sagas in the application's own PostgreSQL, by the connections of its SQLAlchemy engine."""

    def __init__(self, engine: Engine, **options: Unpack[Options]) -> None:
        """Take an engine for `postgresql+psycopg://`; nothing is opened before it is used.

        Args:
            engine: It gives connections: one that writes is kept, and those that read are borrowed
                from its pool.
            **options: Those of `PostgreSQLJournal`; how long a connection may take to be
                made is for the engine to say.

        Raises:
            JournalError: The engine is asynchronous, has another driver or database, or a pool of
                one connection.
            ValueError: An option is none of what it may be.
            TypeError: `modules` is not a list of names, or `codec` has no `encode` and `decode`.
        """
        super().__init__(EngineConnections(engine), **options)

    def __repr__(self) -> str:
        return f"SQLAlchemyJournal({self.place!r})"
