"""Whose transaction it is: what runs our statements on each kind of connection.

What is not imported is not of that kind, so nothing is imported to find out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import lru_cache
from typing import Any, Protocol

_DIALECTS = ("postgresql", "sqlite")
_EXPECTED = (
    "the barrier: expected a connection of psycopg, psycopg2 or sqlite3, a Session, Connection, "
    "AsyncSession or AsyncConnection of SQLAlchemy, or the alias of a database of Django's"
)
_AUTOCOMMIT = (
    "the connection is in autocommit and no transaction is open on it: what the barrier notes "
    "would be committed before the effect. Turn autocommit off, or begin a transaction first"
)
_MISSING = (
    "the table of the barrier is not there: run the statements of barrier.ddl(…), or with Django "
    "add 'py_api_saga.contrib.django.barrier' to INSTALLED_APPS and migrate that alias"
)
CAUGHT = (
    "an error of the database was caught where Django has all of its block of `atomic` rolled "
    "back: let it out, or catch it around a block of its own"
)
_COMMITTED = (
    "the barrier: expected that whoever makes the effect leaves COMMIT to whoever has opened the "
    "transaction: leave it out; flush() sends what a session holds back"
)
_BUSY = frozenset({5, 6})  # SQLITE_BUSY, SQLITE_LOCKED
_UNREADABLE = frozenset({10, 13, 14})  # SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN
# Of drivers, and of what wraps them.
_DATABASES = frozenset(
    {"asyncpg", "django", "psycopg", "psycopg2", "psycopg_pool", "sqlalchemy", "sqlite3"}
)


class Savepoint(Protocol):
    """What an effect is made in, so that it can be taken back alone."""

    def keep(self) -> None:
        """Let the effect stand; what was not sent yet is sent."""

    def undo(self) -> None:
        """Take the effect back."""


class Hands(Protocol):
    """What runs our statements on somebody's connection, within their transaction."""

    dialect: str

    def run(self, statement: str, *values: Any) -> tuple[Sequence[Any], int]:
        """Run a statement, with `?` for its values; give its rows, and how many it changed."""

    def savepoint(self) -> Savepoint:
        """Begin a savepoint."""

    def check(self) -> None:
        """Refuse a connection in autocommit."""

    def alone(self) -> AbstractContextManager[None]:
        """Refuse a COMMIT in a block, by which an effect would stand of which nothing is noted.

        With a connection of a driver nobody can, and Django does so itself.
        """


def hands_of(connection: Any) -> Hands:
    """Find what runs statements on a connection that is not to be awaited.

    Raises:
        TypeError: It is of no kind that is known, or of another database.
    """
    if isinstance(connection, str):
        return _Django(connection)
    if is_of(connection, "sqlalchemy.orm", "scoped_session"):
        connection = connection()
    if is_of(connection, "sqlalchemy.orm", "Session"):
        return _SQLAlchemy(connection, connection.connection())
    if is_of(connection, "sqlalchemy", "Connection"):
        return _SQLAlchemy(connection, connection)
    for module, make in _DRIVERS.items():
        if is_of(connection, module, "Connection") or is_of(connection, module, "connection"):
            return make(connection)
    raise unknown(connection)


def unknown(connection: object) -> TypeError:
    """The connection is of no kind that is known."""
    kind = type(connection)
    return TypeError(f"{_EXPECTED}; got {kind.__module__}.{kind.__qualname__}")


def is_of(thing: object, module: str, *names: str) -> bool:
    """Tell whether a thing is of a class of a module, which need not be there."""
    loaded = sys.modules.get(module)
    kinds = [getattr(loaded, name) for name in names if isinstance(getattr(loaded, name, 0), type)]
    return isinstance(thing, tuple(kinds))


def is_awaited(thing: object) -> bool:
    """Tell whether it is a session or connection of SQLAlchemy's that is to be awaited."""
    return is_of(thing, "sqlalchemy.ext.asyncio", "AsyncSession", "AsyncConnection")


def _known(dialect: str) -> str:
    if dialect not in _DIALECTS:
        message = f"the barrier: expected PostgreSQL or SQLite, got {dialect}"
        raise TypeError(message)
    return dialect


class Autocommit(RuntimeError):
    """The connection is in autocommit, and no transaction is open on it."""

    saga_outcome = "not happened"


# --- connections of drivers ----------------------------------------------------------------------


class _Driver:
    """A connection as PEP 249 has it."""

    def __init__(self, connection: Any, dialect: str, cursor: Callable[[], Any], mark: str) -> None:
        self.dialect = dialect
        self._connection, self._cursor, self._mark = connection, cursor, mark

    def run(self, statement: str, *values: Any) -> tuple[Sequence[Any], int]:
        cursor = self._cursor()
        try:
            cursor.execute(statement.replace("?", self._mark), values)
            return cursor.fetchall() if cursor.description else (), cursor.rowcount
        except Exception as error:
            hint(error)
            raise
        finally:
            with suppress(Exception):  # of a connection that is lost
                cursor.close()

    def savepoint(self) -> Savepoint:
        return _Spoken(self)

    def check(self) -> None:
        if is_autocommit(self._connection, self.dialect):
            raise Autocommit(_AUTOCOMMIT)

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()


class _Spoken:
    """A savepoint in SQL."""

    def __init__(self, hands: _Driver) -> None:
        self._run = hands.run
        self._run("SAVEPOINT saga_effect")

    def keep(self) -> None:
        self._run("RELEASE SAVEPOINT saga_effect")

    def undo(self) -> None:
        self._run("ROLLBACK TO SAVEPOINT saga_effect")
        self._run("RELEASE SAVEPOINT saga_effect")


def is_autocommit(connection: Any, dialect: str) -> bool:
    """Tell of a driver's connection whether its next statement would be committed at once."""
    if dialect == "sqlite":
        is_manual = connection.isolation_level is None
        return (is_manual or getattr(connection, "autocommit", -1) is True) and not (
            connection.in_transaction
        )
    if getattr(connection, "autocommit", False) is not True:
        return False
    if is_of(connection, "psycopg", "Connection", "AsyncConnection"):
        return bool(connection.info.transaction_status == 0)  # idle
    status = getattr(connection, "get_transaction_status", None)  # of psycopg2
    return status is None or status() == 0


def _psycopg(connection: Any) -> Hands:
    import psycopg  # noqa: PLC0415 - it is there, since the connection is of it

    def cursor() -> Any:  # not as the connection makes its own, which may read rows differently
        return psycopg.Cursor(connection, row_factory=psycopg.rows.tuple_row)

    return _Driver(connection, "postgresql", cursor, "%s")


def _psycopg2(connection: Any) -> Hands:
    plain = sys.modules["psycopg2.extensions"].cursor

    return _Driver(connection, "postgresql", lambda: connection.cursor(cursor_factory=plain), "%s")


def _sqlite3(connection: Any) -> Hands:
    def cursor() -> Any:
        made = connection.cursor()
        made.row_factory = None
        return made

    return _Driver(connection, "sqlite", cursor, "?")


_DRIVERS: dict[str, Callable[[Any], Hands]] = {
    "psycopg": _psycopg,
    "psycopg2.extensions": _psycopg2,
    "sqlite3": _sqlite3,
}


# --- SQLAlchemy ----------------------------------------------------------------------------------


class _SQLAlchemy:
    """A session of SQLAlchemy's, or a connection."""

    def __init__(self, owner: Any, connection: Any) -> None:
        self.dialect = _known(connection.dialect.name)
        self._owner, self._connection = owner, connection

    def run(self, statement: str, *values: Any) -> tuple[Sequence[Any], int]:
        given = {f"v{i}": value for i, value in enumerate(values)}
        try:
            found = self._connection.execute(
                _text(statement), given, execution_options={"preserve_rowcount": True}
            )
        except Exception as error:
            hint(error)
            raise
        return (found.fetchall(), 0) if found.returns_rows else ((), found.rowcount)

    def savepoint(self) -> Savepoint:
        return _Nested(self._owner, self.alone())

    @contextmanager
    def alone(self) -> Iterator[None]:
        from sqlalchemy import event  # noqa: PLC0415 - it is there, or nobody came here

        event.listen(self._connection, "commit", _refuse)
        try:
            yield
        finally:
            event.remove(self._connection, "commit", _refuse)

    def check(self) -> None:
        driver = self._connection.connection.driver_connection
        seen = self._connection.connection.dbapi_connection  # as SQLAlchemy has set it
        if is_autocommit(driver if self.dialect == "sqlite" else seen, self.dialect):
            raise Autocommit(_AUTOCOMMIT)


class _Nested:
    """A savepoint of SQLAlchemy's: what a session holds goes back with it."""

    def __init__(self, owner: Any, alone: AbstractContextManager[None]) -> None:
        self._nested = owner.begin_nested()
        self._alone = alone
        alone.__enter__()

    def keep(self) -> None:
        self._alone.__exit__(None, None, None)
        self._nested.commit()

    def undo(self) -> None:
        self._alone.__exit__(None, None, None)
        self._nested.rollback()


def _refuse(_: object) -> None:
    raise RuntimeError(_COMMITTED)


@lru_cache(maxsize=64)
def _text(statement: str) -> Any:
    from sqlalchemy import text  # noqa: PLC0415 - it is there, or nobody came here

    parts = statement.split("?")
    named = [f"{part}:v{i}" for i, part in enumerate(parts[:-1])]
    return text("".join([*named, parts[-1]]))


# --- Django --------------------------------------------------------------------------------------


class _Django:
    """The connection of an alias, as this thread has it."""

    def __init__(self, alias: str) -> None:
        from django.db import connections  # noqa: PLC0415 - only a project of Django's has aliases

        self._alias, self._connection = alias, connections[alias]
        self.dialect = _known(self._connection.vendor)

    def run(self, statement: str, *values: Any) -> tuple[Sequence[Any], int]:
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(statement.replace("?", "%s"), values)
            except Exception as error:
                hint(error)
                raise
            return cursor.fetchall() if cursor.description else (), cursor.rowcount

    def savepoint(self) -> Savepoint:
        return _Inner(self._alias)

    def check(self) -> None:
        if self._connection.get_autocommit() and not self._connection.in_atomic_block:
            raise Autocommit(_AUTOCOMMIT)

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()


class _Undo(Exception):
    """Has Django's atomic roll back."""


class _Inner:
    """A savepoint of Django's: what was to be done on commit goes back with it."""

    def __init__(self, alias: str) -> None:
        from django.db import connections, transaction  # noqa: PLC0415 - as above

        self._connection = connections[alias]
        self._atomic = transaction.atomic(alias)
        self._atomic.__enter__()

    def keep(self) -> None:
        if self._connection.needs_rollback:  # Django would take the effect back, and say nothing
            self.undo()
            raise RuntimeError(CAUGHT)
        self._atomic.__exit__(None, None, None)

    def undo(self) -> None:
        self._atomic.__exit__(_Undo, _Undo(), None)


# --- errors --------------------------------------------------------------------------------------


def hint(error: Exception) -> None:
    """Say in an error what helps, if it is that the table is not there."""
    if re.search(r"(?i)no such table:? .*saga_barrier|saga_barrier\W* does not exist", str(error)):
        error.add_note(_MISSING)


def _chain(error: BaseException | None) -> list[Any]:
    """Give an error with what it wraps."""
    chain: list[Any] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = getattr(error, "orig", None) or error.__cause__
    return chain


def is_busy(error: Exception) -> bool:
    """Tell whether SQLite says that somebody else has the file."""
    return any(code & 0xFF in _BUSY for code in _codes(error))


def _codes(error: Exception) -> list[int]:
    found = [getattr(link, "sqlite_errorcode", None) for link in _chain(error)]
    return [code for code in found if isinstance(code, int)]


def is_of_database(error: BaseException) -> bool:
    """Tell whether an error is of a driver, or of what wraps one."""
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return not modules.isdisjoint(_DATABASES)


def is_away(error: Exception) -> bool:
    """Tell whether an error says that the database is not to be reached, or has no room."""
    if codes := _codes(error):
        return any(code & 0xFF in _UNREADABLE | _BUSY for code in codes)
    if not is_of_database(error):
        return isinstance(error, OSError)
    names = {kind.__name__ for link in _chain(error) for kind in type(link).__mro__}
    return not names.isdisjoint({"OperationalError", "InterfaceError", "TimeoutError", "OSError"})
