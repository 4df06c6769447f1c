"""Sagas of the depot, journals that turn on them, and what is on record in one."""

from __future__ import annotations

import base64
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import depot
import django_project
import pytest
from depot import do, fail, undo
from servers import shared
from servers.children import Missing, in_memory
from sqlalchemy import create_engine

from py_api_saga import JournalError, SagaAssembler, SagaStatus, SagaStuck, result_of
from py_api_saga.journal import (
    Journal,
    MemoryJournal,
    PostgreSQLJournal,
    SQLAlchemyJournal,
    SQLiteJournal,
)
from py_api_saga.journal.changes import Append, Change, Claim, Create, Summary

WHO: dict[str, Any] = {"who": "ada", "why": "looked it up"}


# --- sagas ----------------------------------------------------------------------------------------


def chain(*names: str, **options: Any) -> SagaAssembler:
    """Make a saga of operations that take effect one after the other, in any executor."""
    saga = SagaAssembler.saga(name="depot", **options)
    for index, name in enumerate(names):
        after = names[index - 1 : index] if index else ()
        saga.operation((do, name), (undo, name), name=name, after=after)
    return saga


def order(**options: Any) -> SagaAssembler:
    """Reserve, charge and book."""
    return (
        SagaAssembler.saga(name="depot", **options)
        .operation((do, "a", "secret"), (undo, "a"), name="a")
        .operation((do, "b", result_of("a")), (undo, "b", result_of()), name="b")
        .operation((do, "c"), name="c")
    )


def stuck(journal: Any, saga_id: str = "x") -> None:
    """Leave an order whose second undo has failed."""
    depot.behaviour["c"] = fail(ValueError("no courier"))
    depot.behaviour["undo b"] = fail(OSError("no bank"))
    with pytest.raises(SagaStuck):
        order().orchestrator_execute(journal=journal, saga_id=saga_id)
    depot.behaviour.clear()


def begun(journal: Any, sagas: int, make: Callable[[], SagaAssembler]) -> None:
    """Write down so many sagas that nobody drives."""
    for number in range(sagas):
        make().start(journal=journal, saga_id=f"x{number}")


def crashed(journal: Any, saga: SagaAssembler, good: int, saga_id: str = "x") -> None:
    """Run a saga until its journal fails: as if the process had died, to whoever reads it."""
    with pytest.raises(JournalError):
        saga.orchestrator_execute(journal=Faulty(journal, good), saga_id=saga_id)


# --- journals -------------------------------------------------------------------------------------

SQLITE: dict[str, dict[str, Any]] = {
    "wal": {},
    "delete": {"journal_mode": "delete"},
}
# `SAGA_TEST_JOURNALS="pgbouncer" pytest tests/durable` has what takes any journal take these.
ASKED = tuple(os.environ.get("SAGA_TEST_JOURNALS", "").split())
KINDS = ASKED or ("memory", *SQLITE)
SERVERS = ("postgresql", "sqlalchemy", "django", "pgbouncer")  # kinds that need one
SERVED = tuple(kind for kind in SERVERS if kind in ("postgresql", *ASKED))  # for conformance


@contextmanager
def served(kind: str, **options: Any) -> Iterator[Any]:
    """Make an empty journal of a kind that needs a server; without one the test is skipped."""
    with ExitStack() as opened:
        try:
            made = opened.enter_context(shared.database())
            url = shared.pooler() if kind == "pgbouncer" else made.url
        except Missing as missing:
            pytest.skip(f"there is no {missing}")
        journal = _served(kind, url, opened, {"schema": made.schema, **options})
        journal.create_schema()
        yield opened.enter_context(closing(journal))


def _served(kind: str, url: str, opened: ExitStack, options: dict[str, Any]) -> Any:
    if kind == "sqlalchemy":
        engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), pool_size=2)
        opened.callback(engine.dispose)
        return SQLAlchemyJournal(engine, **options)
    if kind == "django":
        django_project.set_up()
        django_project.lead("default", **django_project.at(url))
        return import_module("py_api_saga.contrib.django.journal").DjangoJournal(**options)
    return PostgreSQLJournal(url, **options)


@contextmanager
def opening(kind: str, **options: Any) -> Iterator[Any]:
    """Make an empty journal of a kind, in which sagas may name what is in `depot`.

    A file of one is in memory, if there is such a place, where it takes no time to sync it.
    """
    if kind == "memory":
        yield MemoryJournal(modules=["depot"], **options)
        return
    if kind in SERVERS:
        with served(kind, modules=["depot"], **options) as journal:
            yield journal
        return
    options |= SQLITE[kind]
    # A call that was given up may look into its journal when the test is over.
    place = TemporaryDirectory(prefix="saga-test-", dir=in_memory(), ignore_cleanup_errors=True)
    with place as folder:
        path = Path(folder, "sagas.db")
        with closing(SQLiteJournal(path, modules=["depot"], **options)) as journal:
            yield journal


class Wrapped:
    """A journal that does something else at one place."""

    def __init__(self, journal: Any, **others: Any) -> None:
        self._journal = journal
        self.__dict__.update(others)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


class Faulty(Wrapped):
    """A journal that can't be written any more after so many changes."""

    def __init__(self, journal: Any, good: int) -> None:
        super().__init__(journal)
        self.good = good

    def _fault(self, changes: tuple[Change, ...]) -> bool:
        for change in changes:
            if not change.settled and isinstance(change, (Create, Append)):
                if self.good <= 0:
                    change.error, change.settled = JournalError("the disk is full"), True
                self.good -= 1
        return all(change.settled for change in changes)

    def write(self, *changes: Change) -> None:
        """Write, or fail."""
        if not self._fault(changes):
            self._journal.write(*changes)

    async def awrite(self, *changes: Change) -> None:
        """Write, or fail."""
        if not self._fault(changes):
            await self._journal.awrite(*changes)


class Flaky:
    """A connection whose commits fail: before or after they are on disk."""

    def __init__(self, journal: SQLiteJournal, *, after: bool, times: int = 1) -> None:
        self.times, self.after = times, after
        self.real: Any = journal.shared.file.connection
        journal.shared.file.connection = self  # type: ignore[assignment]

    def execute(self, sql: str, *parameters: Any) -> Any:
        if sql == "COMMIT" and self.times:
            self.times -= 1
            if self.after:
                self.real.execute(sql)
            message = "disk I/O error"
            raise sqlite3.OperationalError(message)
        return self.real.execute(sql, *parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class Renamed(Wrapped):
    """A journal in which a saga names another function, and whose programs are all of one release.

    So what is not found is parked: nobody else has it.
    """

    def __init__(self, journal: Any, old: str, new: str, number: int) -> None:
        super().__init__(journal, spans_deploys=False)
        self._old, self._new, self._number = old, new, number

    def rows(self, numbers: Any) -> Any:
        """Give rows that name it."""
        found = self._journal.rows(numbers)
        if self._number not in found:
            return found
        rows = [
            row._replace(body=row.body.replace(self._old, self._new)) for row in found[self._number]
        ]
        return {**found, self._number: rows}


class Reversed:
    """A codec that hides what it stores from whoever does not read backwards."""

    def encode(self, text: str) -> str:
        """Hide."""
        return base64.b64encode(text.encode()[::-1]).decode()

    def decode(self, text: str) -> str:
        """Find."""
        return base64.b64decode(text)[::-1].decode()


class Salted(Reversed):
    """One that writes the same in another way each time, as ciphers do."""

    def encode(self, text: str) -> str:
        """Hide."""
        return secrets.token_hex(4) + super().encode(text)

    def decode(self, text: str) -> str:
        """Find."""
        return super().decode(text[8:])


# --- what is on record ----------------------------------------------------------------------------


def begin(journal: Journal, saga_id: str = "a", body: str = "[1]") -> Claim:
    """Create a saga and drive it."""
    journal.write(create := Create(saga_id, "x", body))
    return create.check()


def seen(journal: Journal, saga_id: str = "a") -> Summary:
    """Look at a saga that is there."""
    found = journal.find(saga_id)
    assert found is not None
    return found


def bodies(journal: Journal, saga_id: str = "a") -> list[str]:
    """Give the rows of a saga as they are written."""
    number = seen(journal, saga_id).number
    return [row.body for row in journal.rows([number])[number]]


def status(journal: Any, saga_id: str = "x") -> SagaStatus:
    """Tell where a saga stands, by its summary."""
    return seen(journal, saga_id).status


class Unreadable(Wrapped):
    """A journal that breaks its promise at the second reading, and tells so."""

    def __init__(self, journal: Any) -> None:
        super().__init__(journal)
        self.reads = 0
        self.broken = threading.Event()

    def rows(self, numbers: Any) -> Any:
        """Read, or raise what is not an error of a journal."""
        self.reads += 1
        if self.reads == 2:
            self.broken.set()
            message = "not as promised"
            raise ValueError(message)
        return self._journal.rows(numbers)
