"""What is refused of a database, a connection string, an engine: in words, before any effect."""

from __future__ import annotations

import logging
import pickle
import secrets
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import depot
import pytest
from recorded import begin, chain, seen
from servers.postgresql import free_port
from servers.shared import Database
from sqlalchemy import create_engine, pool
from sqlalchemy.ext.asyncio import create_async_engine

from py_api_saga import JournalError
from py_api_saga.journal import PostgreSQLJournal, SQLAlchemyJournal
from py_api_saga.journal.changes import Create
from py_api_saga.journal.postgresql.trouble import UnreachableError, unreachable

SECRETS = ("xy@zzy", "xy:zzy", "xy/zzy", "xy%zzy", "xy#zzy", "xy?zzy", "xy[zzy", "xy zzy")


@pytest.fixture
def journal(database: Database) -> Iterator[PostgreSQLJournal]:
    """One without tables."""
    depot.reset()
    made = PostgreSQLJournal(database.url, schema=database.schema, modules=["depot"], patience=1)
    with closing(made) as journal:
        yield journal


def refused(journal: Any, words: str) -> None:
    """See that a saga is refused before anything is called."""
    with pytest.raises(JournalError, match=words):
        chain("a").orchestrator_execute(journal=journal, saga_id="x")
    assert depot.log == []


# --- the database --------------------------------------------------------------------------------


def test_no_server(journal: PostgreSQLJournal) -> None:
    """Nobody listens there, and nobody waits for it."""
    depot.reset()
    away = PostgreSQLJournal(f"host=127.0.0.1 port={free_port()} user=me", modules=["depot"])
    refused(away, "nobody listens there")
    with pytest.raises(JournalError, match="cannot be made: nobody listens there"):
        away.create_schema()
    with pytest.raises(JournalError, match="cannot be read: nobody listens there"):
        away.find("x")
    with pytest.raises(JournalError, match="cannot be read"):
        away.reader()
    assert journal.place


def test_no_tables(journal: PostgreSQLJournal) -> None:
    """The error says how to make them; the second time they are there."""
    refused(journal, r"there is no journal.*create_schema\(\)")
    with pytest.raises(JournalError, match="there is no journal"):
        journal.find("x")
    with pytest.raises(JournalError, match="there is no journal"):
        journal.reader()
    with pytest.raises(JournalError, match="there is no journal"):
        journal.take_in([])
    assert "create_schema" in journal.missing()
    journal.create_schema()
    journal.create_schema()
    assert journal.missing() == ""
    begin(journal)


def test_tables_that_go_while_they_are_in_use(
    journal: PostgreSQLJournal, database: Database
) -> None:
    """That is said as well."""
    journal.create_schema()
    begin(journal)
    database.ask("DROP TABLE saga_entry CASCADE")
    change = Create("b", None, "[1]")
    journal.write(change)
    with pytest.raises(JournalError, match="there is no journal"):
        change.check()


@pytest.mark.parametrize(
    ("version", "readable_from", "words"),
    [(3, 3, "has format 3.*update py-api-saga"), (99, 98, "has format 99.*update py-api-saga")],
)
def test_another_format(
    journal: PostgreSQLJournal, database: Database, version: int, readable_from: int, words: str
) -> None:
    """Whoever does not know it keeps off."""
    journal.create_schema()
    database.ask("UPDATE saga_format SET version = %s, readable_from = %s", version, readable_from)
    refused(journal, words)
    with pytest.raises(JournalError, match=words):
        journal.reader()
    with pytest.raises(JournalError, match=words):
        journal.create_schema()


def test_a_newer_format_that_this_release_can_use(
    journal: PostgreSQLJournal, database: Database
) -> None:
    """Two releases overlap in a deployment."""
    journal.create_schema()
    database.ask("UPDATE saga_format SET version = 3")
    begin(journal)
    journal.create_schema()

    assert database.ask("SELECT version, readable_from FROM saga_format") == [(3, 2)]


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("SELECT 140000, 'UTF8', 'on', false", "it is PostgreSQL 14, older than 15"),
        ("SELECT 150000, 'LATIN1', 'on', false", "its encoding is LATIN1"),
        ("SELECT 150000, 'UTF8', 'off', false", 'fsync=off.*durability="process"'),
        ("SELECT 150000, 'UTF8', 'on', true", "a standby, which can only be read"),
    ],
)
def test_a_server_that_will_not_do(journal: PostgreSQLJournal, server: str, words: str) -> None:
    """Too old, of another encoding, forgetful, or a standby: as it says itself."""
    journal.create_schema()
    queries = journal.bench.server.queries
    journal.bench.server.queries = {**queries, "server": server.encode()}
    refused(journal, words)
    with pytest.raises(JournalError, match=words):
        journal.create_schema()


def test_no_rights(journal: PostgreSQLJournal, database: Database) -> None:
    """The error says which are needed."""
    journal.create_schema()
    role = f"role_{secrets.token_hex(6)}"
    database.ask(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    place = database.url.rpartition("@")[2]
    try:
        options: dict[str, Any] = {"schema": database.schema, "modules": ["depot"]}
        with closing(PostgreSQLJournal(f"postgresql://{role}:x@{place}", **options)) as stranger:
            refused(stranger, "permission denied|there is no journal")
            database.ask(f"GRANT USAGE ON SCHEMA {database.schema} TO {role}")
            refused(stranger, "permission denied.*needs USAGE on the schema")
            with pytest.raises(JournalError, match="cannot be made: permission denied"):
                PostgreSQLJournal(
                    f"postgresql://{role}:x@{place}", schema=database.schema, prefix="mine_"
                ).create_schema()
    finally:
        database.ask(f"DROP OWNED BY {role}")
        database.ask(f"DROP ROLE {role}")


def test_a_role_whose_commits_are_not_waited_for(
    journal: PostgreSQLJournal, database: Database
) -> None:
    """And that has other defaults: each transaction of ours has its own settings."""
    journal.create_schema()
    options = "-csynchronous_commit=off -cdefault_transaction_isolation=serializable"
    url = f"{database.url}?options={quote(options)}%20-cdefault_transaction_read_only%3Don"
    with closing(PostgreSQLJournal(url, schema=database.schema)) as other:
        queries = other.bench.server.queries
        other.bench.server.queries = {
            **queries,
            "end_owner": b"SELECT current_setting('synchronous_commit'),"
            b" current_setting('transaction_isolation')",
        }
        begin(other)
        connection = other.bench._connection  # noqa: SLF001
        assert connection is not None
        found = other.bench.server.transact(connection, [("end_owner", None)])
        assert found == [[("on", "read committed")]]


def test_options_that_are_none() -> None:
    """Refused where they are given."""
    wrong: list[dict[str, Any]] = [
        {"prefix": "Saga-"},
        {"schema": 'a"b'},
        {"lease": 0},
        {"patience": 100_000},
        {"durability": "disk"},
    ]
    for options in wrong:
        with pytest.raises(ValueError, match=next(iter(options))):
            PostgreSQLJournal("", **options)


def test_a_journal_can_be_pickled(journal: PostgreSQLJournal) -> None:
    """Another process makes connections of its own."""
    journal.create_schema()
    begin(journal)
    other = pickle.loads(pickle.dumps(journal))  # noqa: S301 - our own
    assert seen(other).saga_id == "a"
    assert repr(other) == repr(journal)


# --- passwords -----------------------------------------------------------------------------------


def told(action: Any, caplog: pytest.LogCaptureFixture) -> str:
    """Do something that fails, and give all that anybody is told of it."""
    caplog.set_level(logging.DEBUG)
    said = ""
    try:
        action()
    except Exception as error:  # noqa: BLE001 - whatever it is
        said = "".join([str(error), repr(error), *traceback.format_exception(error)])
        linked: BaseException | None = error
        while linked is not None:
            said += f"{linked!r}{linked.args}{getattr(linked, '__notes__', '')}"
            linked = linked.__cause__ or linked.__context__
    return said + caplog.text


FORMS = (
    "postgresql://me:{}@127.0.0.1:1/db",
    "postgres://me:12{}@127.0.0.1:1/db",
    "postgresql://me:{}@/db?host=127.0.0.1&port=1",
    "host=127.0.0.1 port=1 user=me password={}",
    "host=127.0.0.1 port=1 user=me password='{}",
    "postgresql://127.0.0.1:1/db?user=me&password={}",
)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("form", FORMS)
def test_no_password_is_shown(form: str, secret: str, caplog: pytest.LogCaptureFixture) -> None:
    """However wrong the string is: the driver quotes what it takes for a host or a port."""

    def connect() -> None:
        journal = PostgreSQLJournal(form.format(secret))
        caplog.handler.stream.write(f"{journal!r} {journal.place} {journal!s}")
        journal.create_schema()

    said = told(connect, caplog)
    assert "connection string" in said or "nobody listens there" in said
    assert "zzy" not in said


@pytest.mark.parametrize("secret", SECRETS)
def test_an_encoded_password_is_the_password(
    database: Database, secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As the sentences say: percent-encoded in a URL, between quotes in the other form."""
    role = f"role_{secrets.token_hex(6)}"
    database.ask(f"CREATE ROLE {role} LOGIN PASSWORD '{secret}'")
    place, port = database.url.rpartition("@")[2].partition("/")[0].split(":")
    try:
        for string in (
            f"postgresql+psycopg://{role}:{quote(secret, safe='')}@{place}:{port}/postgres",
            f"host={place} port={port} user={role} dbname=postgres password='{secret}'",
        ):
            journal = PostgreSQLJournal(string, schema=database.schema)
            with closing(journal):
                said = told(lambda: journal.find("x"), caplog)  # noqa: B023 - at once
            assert "permission denied for schema" in said
            assert "zzy" not in said
            wrong = PostgreSQLJournal(string.replace("zzy", "zzyx"), schema=database.schema)
            said = told(lambda: wrong.find("x"), caplog)  # noqa: B023 - at once
            assert "the server refuses the user or the password" in said
            assert "zzy" not in said
    finally:
        database.ask(f"DROP ROLE {role}")


def test_what_can_not_be_resolved_is_not_named() -> None:
    """Of what libpq says of a connection our own words are left."""
    said = str(unreachable(OSError('could not translate host name "xy@zzy" to address')))
    assert said == "there is no such host"
    odd = unreachable(OSError("xy@zzy"))
    assert isinstance(odd, UnreachableError)
    assert str(odd) == "no connection can be made"


@pytest.mark.parametrize(
    ("string", "words"),
    [
        ("postgresql://me@127.0.0.1:123456/shop", "the port is none"),
        ("host='!' dbname=shop", "the host is none"),
        ("hostaddr='!' dbname=shop", "the address of the host is none"),
        ("postgresql://127.0.0.1/shop%7C", "the name of the database is none"),
        ("postgresql://m%7Ce@127.0.0.1/shop", "the user is none"),
    ],
)
def test_a_part_that_is_not_what_it_should_be_is_named(string: str, words: str) -> None:
    """But never quoted: it may be a part of a password."""
    with pytest.raises(JournalError, match=f"is not right: {words}: ") as caught:
        PostgreSQLJournal(string)
    assert not {"123456", "'!'", "shop%7C", "m|e"} & set(str(caught.value).split())


@pytest.mark.parametrize(
    ("string", "shows"),
    [
        ("postgresql://me@db.example:5433/shop", "postgresql://me@db.example:5433/shop"),
        ("host=/run/postgresql dbname=shop", "postgresql:///shop?host=/run/postgresql"),
        ("service=shop", "postgresql:///?service=shop"),
        ("postgres://h1,h2/shop", "postgresql://h1,h2/shop"),
    ],
)
def test_where_it_is(string: str, shows: str) -> None:
    """As a URL, also if it was given otherwise."""
    assert PostgreSQLJournal(string).place.replace(":5432", "") == shows


# --- engines -------------------------------------------------------------------------------------


def test_sagas_on_an_engine(database: Database) -> None:
    """Its pool is as it was afterwards; the password is nowhere."""
    depot.reset()
    url = database.url.replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(url, pool_size=2, max_overflow=0)
    journal = SQLAlchemyJournal(engine, schema=database.schema, modules=["depot"])
    journal.create_schema()
    with engine.connect() as theirs:
        chain("a", "b").orchestrator_execute(journal=journal, saga_id="x")
        assert seen(journal, "x").name == "depot"
        with journal.reader() as view:
            assert view.find("x") == seen(journal, "x")
        assert theirs.exec_driver_sql("SELECT 1").scalar() == 1
    with engine.connect() as again:
        assert not again.connection.driver_connection.autocommit  # type: ignore[union-attr]
    assert repr(journal).startswith("SQLAlchemyJournal('postgresql://postgres@")
    assert depot.log == ["a", "b"]
    journal.close()
    engine.dispose()


def test_what_a_borrowed_connection_breaks_on_is_given_up(database: Database) -> None:
    """The pool gets no connection back that somebody has ended."""
    url = database.url.replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(url, pool_size=2)
    journal = SQLAlchemyJournal(engine, schema=database.schema)
    journal.create_schema()
    assert journal.find("x") is None
    database.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = '' AND pid <> pg_backend_pid() AND query LIKE '%%COMMIT%%'"
    )
    assert journal.find("x") is None
    journal.close()
    engine.dispose()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: "postgresql://", "expected an Engine of SQLAlchemy"),
        (lambda: create_async_engine("postgresql+psycopg://x"), "not asynchronous"),
        (lambda: create_async_engine("postgresql+psycopg://x").sync_engine, "not asynchronous"),
        (lambda: create_engine("postgresql+psycopg2://x"), "postgresql by psycopg2"),
        (lambda: create_engine("sqlite://"), "sqlite by pysqlite"),
        (
            lambda: create_engine("postgresql+psycopg://x", pool_size=1, max_overflow=0),
            "a single connection",
        ),
        (
            lambda: create_engine("postgresql+psycopg://x", poolclass=pool.StaticPool),
            "a single connection",
        ),
    ],
)
def test_engines_that_will_not_do(make: Any, words: str) -> None:
    """Another driver, an asynchronous one, a pool that would wait for itself."""
    with pytest.raises(JournalError, match=f"{words}.*PostgreSQLJournal"):
        SQLAlchemyJournal(make())


def test_an_engine_whose_server_is_away() -> None:
    """Says so in our words."""
    url = f"postgresql+psycopg://me:xy%40zzy@127.0.0.1:{free_port()}/db"
    engine = create_engine(url, poolclass=pool.NullPool)
    journal = SQLAlchemyJournal(engine)
    assert "zzy" not in repr(journal)
    with pytest.raises(JournalError, match="cannot be read: nobody listens there"):
        journal.find("x")


@pytest.mark.parametrize(
    ("lacks", "name", "says"),
    [
        ("psycopg", "PostgreSQLJournal", "py-api-saga[postgresql]"),
        ("sqlalchemy", "SQLAlchemyJournal", "py-api-saga[sqlalchemy]"),
    ],
)
def test_without_the_extra_it_is_named(lacks: str, name: str, says: str, tmp_path: Path) -> None:
    """The library itself is imported without any of these."""
    code = (
        f"import sys; sys.modules[{lacks!r}] = None\n"
        "import py_api_saga, py_api_saga.journal as journal\n"
        f"try: journal.{name}\n"
        f"except ImportError as error: print(error)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert says in ran.stdout
