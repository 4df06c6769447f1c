"""Tables of earlier formats in PostgreSQL: refused with what to do, and renewed in place."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import django_project
import psycopg
import pytest
from recorded import bodies, chain, order
from servers import shared
from servers.shared import Database

from py_api_saga import JournalError, SagaStatus, recover
from py_api_saga.cli import main
from py_api_saga.journal import MemoryJournal, PostgreSQLJournal
from py_api_saga.journal.changes import Append, Create, Letter, Mail, Mailing

FIRST = Path(__file__).parents[1] / "golden" / "postgresql.1.sql"  # printed by that release
COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
WHERE table_schema = %s ORDER BY 1, ordinal_position
"""
CATALOGS = (
    COLUMNS,
    "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = %s ORDER BY 1",
    "SELECT viewname, definition FROM pg_views WHERE schemaname = %s ORDER BY 1",
    "SELECT version, readable_from, %s FROM saga_format",
)


@pytest.fixture
def first(database: Database) -> Database:
    """A journal of the first format, with an order that nobody has begun yet."""
    database.ask(FIRST.read_text().replace('"public"', f'"{database.schema}"'))
    order().start(journal=(written := MemoryJournal(modules=["depot"])), saga_id="x")
    database.ask(
        "INSERT INTO saga_saga(saga_id, name, status, epoch, owner, tries, created, changed, due)"
        " VALUES ('x', 'depot', 0, 0, 0, 0, 0, 0, 0)"
    )
    database.ask(
        "INSERT INTO saga_entry(saga, n, at, body) SELECT number, 1, 0, %s FROM saga_saga",
        bodies(written, "x")[0],
    )
    return database


def opened(database: Database) -> Any:
    """Open the journal there, and close it in the end."""
    options: dict[str, Any] = {"schema": database.schema, "modules": ["depot"], "patience": 1}
    return closing(PostgreSQLJournal(database.url, **options))


def catalogs(database: Database) -> list[str]:
    """Give what there is, in the words of the server."""
    return [
        str(database.ask(query, database.schema)).replace(database.schema, "") for query in CATALOGS
    ]


def by_itself(database: Database, _: pytest.MonkeyPatch) -> None:
    """Renew them as a program does at its start."""
    with opened(database) as journal:
        journal.create_schema()


def by_command(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renew them by what the command prints, each statement by itself."""
    monkeypatch.setattr("sys.stdout", said := StringIO())
    main(["schema", "postgresql", "--upgrade", "--schema", database.schema])
    for statement in said.getvalue().split(";\n\n")[:-1]:
        database.ask(statement)


def by_django(database: Database, _: pytest.MonkeyPatch) -> None:
    """Renew them as `manage.py migrate` does, which has made them long ago."""
    django_project.set_up()
    from django.db import connection  # noqa: PLC0415 - it is set up by now
    from django.db.migrations.state import ProjectState  # noqa: PLC0415
    from django.test import override_settings  # noqa: PLC0415

    django_project.lead("default", **django_project.at(database.url))
    said = {"JOURNAL": "alias:default", "OPTIONS": {"schema": database.schema}}
    migrations = "py_api_saga.contrib.django.migrations"
    with override_settings(PY_API_SAGA=said):
        for name in ("0002_indexes", "0003_mail"):
            migration = import_module(f"{migrations}.{name}").Migration(name, "py_api_saga")
            with connection.schema_editor(atomic=migration.atomic) as editor:
                migration.apply(ProjectState(), editor)
    connection.close()


@pytest.mark.parametrize("way", [by_itself, by_command, by_django])
def test_tables_of_the_first_format_become_those_of_this_one(
    first: Database, way: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place and again without harm: what is on record goes on, and may wait for answers."""
    for _ in range(2):
        way(first, monkeypatch)

    with opened(first) as journal:
        assert [(done.saga_id, done.outcome) for done in recover(journal)] == [
            ("x", SagaStatus.COMPLETED)
        ]
        journal.write(create := Create("waits", None, "[]"))
        suspended = Append(claim := create.check(), "[]", None)
        suspended.mailing = Mailing(suspends=True)
        journal.write(
            suspended, mail := Mail("waits", claim.number, Letter("waits:a:action", "[]"))
        )
        mail.check()
        assert [seen.saga_id for seen in journal.waiting()] == ["waits"]
        with journal.reader() as view:
            assert view.health().advice == []
    with shared.database() as new:
        by_itself(new, monkeypatch)
        assert catalogs(first) == catalogs(new)


def test_the_first_format_is_refused_with_what_renews_it(first: Database) -> None:
    """Before anything is called or read, in all words that people may have for it."""
    with opened(first) as journal:
        for use in (
            lambda: chain("a").orchestrator_execute(journal=journal, saga_id="new"),
            lambda: recover(journal),
            journal.reader,
        ):
            with pytest.raises(JournalError, match=r"has format 1.*uses 2: end the proc") as told:
                use()
            for words in ("create_schema()", "schema postgresql --upgrade", "manage.py migrate"):
                assert words in str(told.value)
        assert "has format 1" in journal.missing()

    assert first.ask("SELECT saga_id FROM saga_saga") == [("x",)]


def test_a_process_of_the_first_format_refuses_this_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not read what a saga waits for."""
    by_itself(database, monkeypatch)
    monkeypatch.setattr("py_api_saga.journal.postgresql.server.VERSION", 1)

    with opened(database) as journal, pytest.raises(JournalError, match="update py-api-saga"):
        chain("a").orchestrator_execute(journal=journal, saga_id="x")


# What the first release asks of a saga that it may claim, and of its lease: it may be connected.
ITS_OWN = (
    "SELECT FROM saga_saga WHERE owner NOT IN (SELECT number FROM saga_owner WHERE expires > 0)",
    "UPDATE saga_owner SET expires = 0",
    "INSERT INTO saga_owner(number, expires, host, pid, started) VALUES (1, 0, '', 0, 0)",
)


@pytest.mark.parametrize("query", ITS_OWN, ids=["claims", "renews", "registers"])
def test_a_process_of_the_first_format_that_is_connected_can_go_on_with_nothing(
    first: Database, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    """It looks at no format any more, and would park sagas that wait, as it can't read them."""
    first.ask(query)
    by_itself(first, monkeypatch)

    with pytest.raises(psycopg.errors.UndefinedColumn):
        first.ask(query)
