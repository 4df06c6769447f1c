"""A journal in PostgreSQL as it is on several machines, whose leases a test has in its hands."""

from __future__ import annotations

import threading
from collections.abc import Iterator
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
        "UPDATE saga_owner SET expires = expires - 60000 WHERE number = %s",
        journal.bench.desk.owner,
    )


@contextmanager
def transaction(database: Database) -> Iterator[Any]:
    """Have a transaction open that a user has begun."""
    with psycopg.connect(database.url) as connection:
        connection.execute(f"SET search_path = {database.schema}")
        connection.commit()
        yield connection


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
