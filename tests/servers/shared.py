"""The one PostgreSQL and the one Temporal of a run of the suite, started by the first who asks.

A run has a folder, which an environment variable tells to the processes that it starts: the workers
of pytest-xdist and others. In it is a named pipe. The process that has begun the run keeps it open;
the supervisor of the server, whichever process has started that, ends it when the pipe closes.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

from .children import PATIENCE, ROOM, Missing, in_memory, package
from .pgbouncer import Pgbouncer
from .postgresql import CHOSEN, Cluster
from .temporal import Temporal

FOLDER = "SAGA_TEST_SERVERS"


class Run:
    """A run of the suite or of a proof: as long as it is not ended, its servers live."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        if hasattr(os, "mkfifo") and FOLDER not in os.environ:
            self.folder = Path(mkdtemp(prefix="saga-run-", dir=in_memory(ROOM)))
            os.mkfifo(self.folder / "pipe")
            self._pipe = os.open(self.folder / "pipe", os.O_RDWR)
            os.environ[FOLDER] = str(self.folder)

    def end(self) -> None:
        """End the servers that were started, and wait until they are gone with the folder."""
        if self.folder is None:
            return
        if "://" in os.environ.get(CHOSEN, "") and (self.folder / "template").exists():
            template = dbos_template()
            _ask(f"DROP DATABASE {template}")  # nothing of ours is left in somebody's server
        del os.environ[FOLDER]
        os.close(self._pipe)
        if (self.folder / "server").exists():
            until = time.monotonic() + PATIENCE
            while self.folder.exists() and time.monotonic() < until:
                time.sleep(0.005)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def run() -> Iterator[None]:
    """Begin a run, for the time of a block, unless this process is within one."""
    begun = Run()
    try:
        yield
    finally:
        begun.end()


def server() -> str:
    """Give the URL of the server, which is started if no process of this run has done so.

    `SAGA_TEST_POSTGRESQL` may name one that runs elsewhere.

    Raises:
        Missing: There is none.
    """
    chosen = os.environ.get(CHOSEN, "")
    return chosen if "://" in chosen else _once("server", _start_server)


def pooler() -> str:
    """Give the URL of a pgbouncer before the server, in the same way."""
    behind = server()
    return _once("pooler", lambda folder, pipe: _start_pooler(folder, pipe, behind))


def dbos_template() -> str:
    """Give the name of a database that is migrated for DBOS: a template of others."""
    server()
    return _once("template", lambda *_: _migrated())


def temporal() -> str:
    """Give the address of a Temporal, which is started if no process of this run has done so.

    Raises:
        Missing: There is no program.
    """
    return _once("temporal", _start_temporal)


def _once(name: str, start: Callable[[Path, IO[bytes]], str]) -> str:
    """Give where something is, and start it if no process of this run has done so."""
    if FOLDER not in os.environ:
        raise Missing("server, as there are no named pipes here")
    import fcntl  # noqa: PLC0415 - there is none on Windows

    told = Path(os.environ[FOLDER]) / name
    with told.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            try:
                with (told.parent / "pipe").open("rb") as pipe:
                    answer = start(told.parent, pipe), ""
            except Missing as missing:
                answer = "", str(missing)
            told.write_text(json.dumps(answer))
        where, missing_is = json.loads(told.read_text())
    if missing_is:
        raise Missing(missing_is)
    return str(where)


def _start_server(folder: Path, pipe: IO[bytes]) -> str:
    cluster = Cluster(folder)
    cluster.make()
    cluster.start(pipe)
    return cluster.url


def _start_pooler(folder: Path, pipe: IO[bytes], behind: str) -> str:
    inner = folder / "pgbouncer"
    inner.mkdir()
    made = Pgbouncer(inner, behind)
    made.start(pipe)
    return made.url


def _start_temporal(folder: Path, pipe: IO[bytes]) -> str:
    made = Temporal(folder)
    made.start(pipe)
    return made.address


MIGRATION = """
import os
import dbos
dbos.DBOS.migrate(os.environ["DBOS_SYSTEM_DATABASE_URL"])
"""


def _migrated() -> str:
    """Make a database, and give its name."""
    name = f"dbos_{secrets.token_hex(6)}"
    migrate(_of(name))
    return name


def migrate(url: str) -> None:
    """Make what `dbos migrate` makes, without its password among the processes: two seconds."""
    package("dbos")
    ran = subprocess.run(
        [sys.executable, "-c", MIGRATION],
        env={**os.environ, "DBOS_SYSTEM_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not ran.returncode, ran.stdout + ran.stderr


def _of(name: str) -> str:
    """Give the URL of a database of the server."""
    return urlsplit(server())._replace(path=f"/{name}").geturl()


def _ask(query: str) -> None:
    with package("psycopg").connect(server(), autocommit=True) as connection:
        connection.execute(query)


@contextmanager
def dbos_database() -> Iterator[str]:
    """Make an empty database that is migrated for DBOS, for the time of a block: its URL.

    Raises:
        Missing: There is no PostgreSQL, or no DBOS.
    """
    name = f"test_{secrets.token_hex(6)}"
    _ask(f"CREATE DATABASE {name} TEMPLATE {dbos_template()}")
    try:
        yield _of(name)
    finally:
        with suppress(package("psycopg").OperationalError):  # it may be down by then
            _ask(f"DROP DATABASE {name} WITH (FORCE)")


class Database(NamedTuple):
    """A place for one test.

    Attributes:
        url: Of the database.
        schema: An empty schema of its own.
    """

    url: str
    schema: str

    def ask(self, query: str, *values: object) -> list[Any]:
        """Ask from outside, with this schema first in the search path; each statement commits."""
        options = f"-csearch_path={self.schema}"
        with package("psycopg").connect(self.url, autocommit=True, options=options) as connection:
            cursor = connection.execute(query, values or None)
            rows: list[Any] = cursor.fetchall() if cursor.description else []
            return rows


@contextmanager
def database() -> Iterator[Database]:
    """Make an empty schema, for the time of a block.

    Raises:
        Missing: There is no PostgreSQL.
    """
    made = Database(server(), f"test_{secrets.token_hex(6)}")
    made.ask(f"CREATE SCHEMA {made.schema}")
    try:
        yield made
    finally:
        with suppress(package("psycopg").OperationalError):  # it may be down by then
            made.ask(f"DROP SCHEMA {made.schema} CASCADE")
