"""Somebody who receives requests, on each kind of connection that the barrier takes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from servers import shared
from servers.children import package

from py_api_saga.contrib import barrier
from py_api_saga.contrib.barrier import Refused

SQLITE = ("sqlite3", "Session sqlite", "Connection sqlite", "scoped_session sqlite")
POSTGRESQL = ("psycopg", "psycopg2", "Session psycopg", "Connection psycopg2")
AWAITED = ("AsyncSession psycopg", "AsyncConnection asyncpg")
KINDS = (*SQLITE, *POSTGRESQL, *AWAITED)
PLAIN = (*SQLITE, *POSTGRESQL)
Answer = tuple[int, Any, dict[str, str]]


class Receiver:
    """A service with one kind of connection, whose effects are rows of a table `effect`.

    Attributes:
        connect: Opens a connection, or a session, which is to be closed.
        url: Of the database, as SQLAlchemy has it; None of a connection of a driver.
    """

    def __init__(self, kind: str, place: str, schema: str, opened: ExitStack) -> None:
        self.kind, self.is_awaited = kind, kind.startswith("Async")
        self.what, _, self.driver = kind.partition(" ")
        self.is_sqlite = kind in SQLITE
        self._place, self._schema = place, schema
        self.patience = 20.0  # seconds that SQLite waits for its file
        self.url = self._url()
        self.engine: Any = None
        self._runner = opened.enter_context(asyncio.Runner()) if self.is_awaited else None
        if self.driver:
            self._make_engine(opened)
        for statement in [*barrier.ddl("sqlite" if self.is_sqlite else "postgresql")]:
            self.do(statement)
        self.do("CREATE TABLE IF NOT EXISTS effect (name varchar(300))")

    def _url(self) -> str:
        if self.is_sqlite:
            return f"sqlite:///{self._place}"
        return self._place.replace("postgresql://", f"postgresql+{self.driver}://")

    def _make_engine(self, opened: ExitStack) -> None:
        sqlalchemy, pool = package("sqlalchemy"), package("sqlalchemy.pool").NullPool
        options: dict[str, Any] = {"poolclass": pool}
        path = f"-csearch_path={self._schema}"
        if self.is_sqlite:
            options["connect_args"] = {"timeout": self.patience}
        elif self.driver == "asyncpg":
            options["connect_args"] = {"server_settings": {"search_path": self._schema}}
        else:
            options["connect_args"] = {"options": path}
        if self.is_awaited:
            later = package("sqlalchemy.ext.asyncio")
            self.engine = later.create_async_engine(self.url, **options)
            opened.callback(lambda: self.run(self.engine.dispose()))
        else:
            self.engine = sqlalchemy.create_engine(self.url, **options)
            opened.callback(self.engine.dispose)

    def run(self, value: Any) -> Any:
        """Give what was to be awaited, if that is so."""

        async def wait() -> Any:
            return await value

        return self._runner.run(wait()) if self._runner is not None else value

    def connect(self) -> Any:
        """Open a connection of the kind."""
        if self.what == "sqlite3":
            return sqlite3.connect(self._place, timeout=self.patience)
        if not self.driver:
            return package(self.what).connect(self._place, options=f"-csearch_path={self._schema}")
        if self.what == "Session":
            return package("sqlalchemy.orm").Session(self.engine)
        if self.what == "scoped_session":
            orm = package("sqlalchemy.orm")
            return orm.scoped_session(orm.sessionmaker(self.engine))
        if self.what == "AsyncSession":
            return package("sqlalchemy.ext.asyncio").AsyncSession(self.engine)
        return self.engine.connect()  # of an AsyncEngine, to be started

    def execute(self, connection: Any, statement: str, *values: Any) -> Any:
        """Run a statement on a connection that is not to be awaited; give its rows, if any."""
        if self.driver:
            text = package("sqlalchemy").text
            for i in range(len(values)):
                statement = statement.replace("?", f":v{i}", 1)
            found = connection.execute(
                text(statement), {f"v{i}": value for i, value in enumerate(values)}
            )
            return found.fetchall() if found.returns_rows else None
        cursor = connection.cursor()
        cursor.execute(statement.replace("?", "?" if self.is_sqlite else "%s"), values)
        return cursor.fetchall() if cursor.description else None

    def do(self, statement: str, *values: Any) -> Any:
        """Run a statement in a transaction of its own, whatever the kind."""
        if self.is_awaited:
            return self.run(self._later(lambda it: self.execute(it, statement, *values)))
        connection = self.connect()
        try:
            found = self.execute(connection, statement, *values)
            connection.commit()
        finally:
            connection.close()
        return found

    async def _later(self, ask: Callable[[Any], Any]) -> Any:
        async with self.connect() as connection:
            found = await connection.run_sync(ask)
            await connection.commit()
        return found

    def effects(self, name: str) -> int:
        """Count what stands under a name."""
        return int(self.do("SELECT count(*) FROM effect WHERE name = ?", name)[0][0])

    def rows(self) -> int:
        """Count what the barrier keeps."""
        return int(self.do("SELECT count(*) FROM saga_barrier")[0][0])

    def receive(
        self,
        key: str | None,
        body: bytes = b"1",
        *,
        status: int = 201,
        raises: Exception | None = None,
        within: Callable[[], object] | None = None,
        **said: Any,
    ) -> Answer:
        """Receive a request as a service does; give its status, its body and its headers."""
        asked = (key, barrier.fingerprint("POST", "/x", body))
        if self.is_awaited:
            return self.run(self._receive_later(asked, said, status, raises, within))  # type: ignore[no-any-return]
        connection = self.connect()
        try:
            with barrier.received(connection, *asked, **said) as request:
                if request.known is None:
                    self._effect(connection, key)
                    answered = self._answer(request, key, status, raises, within)
                else:
                    answered = request.known
            connection.commit()
        except Refused as refused:
            connection.rollback()
            return refused.status, refused.body, refused.headers
        except BaseException:
            connection.rollback()
            raise
        finally:
            connection.close()
        return *answered, request.headers

    async def _receive_later(
        self, asked: Any, said: Any, status: int, raises: Any, within: Any
    ) -> Answer:
        async with self.connect() as connection:
            try:
                async with barrier.received(connection, *asked, **said) as request:
                    if request.known is None:
                        await connection.run_sync(lambda it: self._effect(it, asked[0]))
                        answered = self._answer(request, asked[0], status, raises, within)
                    else:
                        answered = request.known
                await connection.commit()
            except Refused as refused:
                await connection.rollback()
                return refused.status, refused.body, refused.headers
        return *answered, request.headers

    def _effect(self, connection: Any, name: str | None) -> None:
        self.execute(connection, "INSERT INTO effect (name) VALUES (?)", name)

    def _answer(
        self, request: Any, key: Any, status: int, raises: Any, within: Any
    ) -> tuple[int, Any]:
        if within is not None:
            within()
        if raises is not None:
            raise raises
        answered: tuple[int, Any] = request.answer(status, {"name": key})
        return answered


@contextmanager
def receiver(kind: str, folder: Path) -> Iterator[Receiver]:
    """Give a service with empty tables; `Missing` if there is no such database."""
    with ExitStack() as opened:
        if kind in SQLITE:
            yield Receiver(kind, str(folder / "service.db"), "", opened)
        else:
            made = opened.enter_context(shared.database())
            yield Receiver(kind, made.url, made.schema, opened)
