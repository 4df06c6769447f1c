"""Somebody with a transaction of theirs in PostgreSQL, in each way in which one may have it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from servers.children import package

from py_api_saga import SagaAssembler
from py_api_saga.journal import PostgreSQLJournal, Within

# What they have, and by which driver.
SESSIONS = ("Session psycopg", "Session psycopg2")
LATER_SESSIONS = ("AsyncSession psycopg", "AsyncSession asyncpg")
CONNECTIONS = ("Connection psycopg", "Connection psycopg2")
LATER_CONNECTIONS = ("AsyncConnection psycopg", "AsyncConnection asyncpg")
PLAIN, LATER_PLAIN = "psycopg", "async psycopg"
KINDS = (*SESSIONS, *CONNECTIONS, PLAIN, *LATER_SESSIONS, *LATER_CONNECTIONS, LATER_PLAIN)


class User:
    """Somebody with a transaction.

    Attributes:
        it: What `within` takes.
        run: Gives what was to be awaited, if that is so.
    """

    def __init__(self, kind: str, it: Any, run: Callable[[Any], Any]) -> None:
        self.it, self.run = it, run
        self._is_later = kind.lower().startswith("async")
        self._is_plain = kind in (PLAIN, LATER_PLAIN)

    def start(
        self, saga: SagaAssembler, journal: PostgreSQLJournal | Within, **options: Any
    ) -> str:
        """Start a saga in this transaction, of a journal or as it was made of one."""
        within = journal.within(self.it) if isinstance(journal, PostgreSQLJournal) else journal
        start = saga.astart if self._is_later else saga.start
        started: str = self.run(start(journal=within, **options))
        return started

    def ask(self, query: str) -> Any:
        """Ask for one value, if there is one."""
        statement = query if self._is_plain else package("sqlalchemy").text(query)
        found = self.run(self.it.execute(statement))
        has_rows = found.description if self._is_plain else found.returns_rows
        return self.run(found.fetchone())[0] if has_rows else None

    def commit(self) -> None:
        """Make it durable."""
        self.run(self.it.commit())

    def rollback(self) -> None:
        """Let nothing have been."""
        self.run(self.it.rollback())


@contextmanager
def user(kind: str, url: str, isolation: str = "READ COMMITTED") -> Iterator[User]:
    """Connect as one of a kind; `isolation` may be AUTOCOMMIT as well."""
    with ExitStack() as opened:
        run: Callable[[Any], Any] = _at_once
        if kind.lower().startswith("async"):
            run = _in_loop(opened.enter_context(asyncio.Runner()))
        if kind in (PLAIN, LATER_PLAIN):
            it = run(_connect(kind, url, isolation))
        else:
            it = _by_sqlalchemy(kind, url, isolation, opened, run)
        opened.callback(lambda: run(it.close()))
        yield User(kind, it, run)


def _at_once(value: Any) -> Any:
    return value


def _in_loop(runner: asyncio.Runner) -> Callable[[Any], Any]:
    async def wait(value: Awaitable[Any]) -> Any:
        return await value

    return lambda value: runner.run(wait(value)) if inspect.isawaitable(value) else value


def _connect(kind: str, url: str, isolation: str) -> Any:
    psycopg = package("psycopg")
    connect = psycopg.connect if kind == PLAIN else psycopg.AsyncConnection.connect
    if isolation == "AUTOCOMMIT":
        return connect(url, autocommit=True)
    if isolation == "READ COMMITTED":
        return connect(url)
    level = isolation.replace(" ", r"\ ")
    return connect(url, options=f"-cdefault_transaction_isolation={level}")


def _by_sqlalchemy(
    kind: str, url: str, isolation: str, opened: ExitStack, run: Callable[[Any], Any]
) -> Any:
    what, driver = kind.split()
    sqlalchemy, pool = package("sqlalchemy"), package("sqlalchemy.pool").NullPool
    url = url.replace("postgresql://", f"postgresql+{driver}://")
    options = {"isolation_level": isolation, "poolclass": pool}
    if what.startswith("Async"):
        later = package("sqlalchemy.ext.asyncio")
        engine = later.create_async_engine(url, **options)
        opened.callback(lambda: run(engine.dispose()))
        return later.AsyncSession(engine) if what == "AsyncSession" else run(engine.connect())
    engine = sqlalchemy.create_engine(url, **options)
    opened.callback(engine.dispose)
    return package("sqlalchemy.orm").Session(engine) if what == "Session" else engine.connect()
