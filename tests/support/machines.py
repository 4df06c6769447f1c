"""A journal in PostgreSQL as it is on several machines, whose leases a test has in its hands."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from servers.shared import Database

from py_api_saga import clock
from py_api_saga.journal import PostgreSQLJournal, SQLAlchemyJournal
from py_api_saga.journal.changes import Change

AnyChange = TypeVar("AnyChange", bound=Change)


class Boottime:
    """The clock of this machine, which can be set forward."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._real = clock.boottime

    def __call__(self) -> float:
        """Tell the time."""
        return self._real() + self.ahead


def stand_still(journal: PostgreSQLJournal | SQLAlchemyJournal) -> None:
    """Have the heart beat when a test lets it."""
    journal.bench.heartbeat.start = lambda: None  # type: ignore[method-assign]


def expire(journal: PostgreSQLJournal, database: Database) -> None:
    """Let the lease of a process end, for everybody but itself."""
    database.ask(
        "UPDATE saga_owner SET until = until - 60000 WHERE number = %s",
        journal.bench.desk.owner,
    )


@contextmanager
def transaction(database: Database) -> Iterator[Any]:
    """Have a transaction open that a user has begun."""
    with psycopg.connect(database.url) as connection:
        connection.execute(f"SET search_path = {database.schema}")
        connection.commit()
        yield connection


class Slow:
    """A server whose answers to some question take their time."""

    def __init__(
        self, journal: PostgreSQLJournal, to: str, meanwhile: Callable[[], object]
    ) -> None:
        self._to, self._meanwhile = to, meanwhile
        self._server = journal.bench.server
        self._real = self._server.transact
        self._server.transact = self  # type: ignore[method-assign,assignment]

    def __call__(self, connection: Any, asked: Any, *more: Any) -> Any:
        """Answer, after what happens meanwhile."""
        asked = [*asked]
        found = self._real(connection, asked, *more)
        if any(name == self._to for name, _ in asked):
            self._server.transact = self._real  # type: ignore[method-assign]
            self._meanwhile()
        return found


class Losing:
    """A server of which some COMMITs seem to fail: before they are done, or after."""

    def __init__(
        self,
        journal: PostgreSQLJournal,
        how: str,
        of: str,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        self._how, self._of, self._meanwhile = how, of, meanwhile
        self._server = journal.bench.server
        self._real = self._server.transact
        self._server.transact = self  # type: ignore[method-assign,assignment]
        self.lost = 0

    def __call__(self, connection: Any, asked: Any, *more: Any) -> Any:
        """Answer, unless that is lost."""
        asked = [*asked]
        if self.lost or all(name != self._of for name, _ in asked):
            return self._real(connection, asked, *more)
        self.lost = 1
        if self._how == "after":
            self._real(connection, asked, *more)
        self._meanwhile()
        connection.close()
        message = "server closed the connection unexpectedly"
        raise psycopg.OperationalError(message)


def away(*_: Any) -> Any:
    """Answer as a server that is gone."""
    message = "server closed the connection unexpectedly"
    raise psycopg.OperationalError(message)


def write(journal: PostgreSQLJournal, change: AnyChange) -> AnyChange:
    """Write one change."""
    journal.write(change)
    return change


def written(journal: PostgreSQLJournal, change: Change) -> threading.Thread:
    """Write one change in a thread."""
    thread = threading.Thread(target=journal.write, args=(change,), daemon=True)
    thread.start()
    return thread
