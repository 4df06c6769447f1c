"""Journals of several machines in one PostgreSQL, and the clock that their leases go by."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import depot
import pytest
from machines import Boottime
from servers.shared import Database

from py_api_saga import clock
from py_api_saga.journal import PostgreSQLJournal


@pytest.fixture
def open_at(database: Database) -> Iterator[Callable[..., PostgreSQLJournal]]:
    """Make journals in the schema of the test; each of another name is another machine's."""
    depot.reset()
    with ExitStack() as opened:

        def open_at(machine: str = "one", **options: Any) -> PostgreSQLJournal:
            url = f"{options.pop('url', database.url)}?application_name={machine}"
            options = {"schema": database.schema, "modules": ["depot"], **options}
            journal = PostgreSQLJournal(url, **options)
            journal.create_schema()
            return opened.enter_context(closing(journal))

        yield open_at
    depot.reset()


@pytest.fixture
def boottime(monkeypatch: pytest.MonkeyPatch) -> Boottime:
    """Take over the clock that leases are counted by."""
    taken = Boottime()
    monkeypatch.setattr(clock, "boottime", taken)
    return taken
