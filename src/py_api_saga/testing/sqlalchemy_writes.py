"""Writes through SQLAlchemy in an operation, each of which is a place where something may go wrong.

And so is the commit of a session, also under asyncio: there it is made in the same thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from py_api_saga.evidence import leaves_doubt
from py_api_saga.testing.places import Asked, asked, check_alive
from py_api_saga.testing.statements import UNREACHABLE, write_in
from py_api_saga.testing.virtual import Place, replaced

_EXECUTES = "_execute_context"  # of a connection: what all of its statements come through


@contextmanager
def writes_of_sqlalchemy() -> Iterator[None]:
    """Have them be such places in a `with` block, if SQLAlchemy is loaded."""
    if "sqlalchemy.engine" not in sys.modules:
        yield
        return
    from sqlalchemy import event  # noqa: PLC0415 - only where it is used
    from sqlalchemy.engine import Connection, Engine  # noqa: PLC0415
    from sqlalchemy.orm.session import SessionTransaction  # noqa: PLC0415

    writes = _Writes()
    places: list[Place] = [
        (SessionTransaction, "commit", writes.committing(SessionTransaction.commit)),
        (Connection, _EXECUTES, writes.executing(getattr(Connection, _EXECUTES))),
    ]
    event.listen(Engine, "before_cursor_execute", writes.before)
    try:
        with replaced(places):
            yield
    finally:
        event.remove(Engine, "before_cursor_execute", writes.before)


class _Writes:
    """What asks before each statement, and after the commit of a session."""

    def __init__(self) -> None:
        self._error: Exception | None = None  # what a commit may end with, of what was written to
        self._writer: Asked | None = None  # the call in which that was, which may be rolled back
        self._dies = False

    def before(self, connection: Any, _: Any, sql: str, *__: Any) -> None:
        """Fail in the place of a write: a listener of SQLAlchemy's."""
        name = write_in(sql)
        here = None if name is None else asked()
        if here is None or name is None:
            return
        self._error, self._writer = _error(connection, sql), here
        fault = here.at(name, ("refuses", "crash-after"))
        if fault == "refuses":
            raise here.refusal(name.rpartition(" ")[2], self._error)
        self._dies = fault == "crash-after"

    def executing(self, executes: Callable[..., Any]) -> Callable[..., Any]:
        """Give what executes a statement. Within it SQLAlchemy would give the connection up."""

        def execute(*args: Any, **options: Any) -> Any:
            self._dies = False
            value = executes(*args, **options)
            if self._dies and (here := asked()) is not None:
                here.die()
            return value

        return execute

    def committing(self, commits: Callable[..., Any]) -> Callable[..., Any]:
        """Give what commits a transaction of a session."""

        def commit(transaction: Any, *args: Any, **options: Any) -> Any:
            check_alive()
            here, is_whole = asked(), transaction.parent is None
            value = commits(transaction, *args, **options)
            if is_whole and self._error is not None and here is not None and here is self._writer:
                error, self._error = self._error, None
                kinds = ("lost", "crash-after") if leaves_doubt(error) else ("crash-after",)
                fault = here.at("COMMIT", kinds)
                if fault == "crash-after":
                    here.die()
                if fault == "lost":
                    raise error
            return value

        return commit


def _error(connection: Any, sql: str) -> Exception:
    """Make what SQLAlchemy raises if its driver has lost the server, or the file is locked."""
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415 - as above

    cause = connection.dialect.loaded_dbapi.OperationalError(UNREACHABLE)
    error = OperationalError(sql, None, cause)
    error.__cause__ = cause
    return error
