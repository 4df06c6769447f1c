"""A journal at an alias of Django's: its own connections, and the transaction of a view."""

from __future__ import annotations

import asyncio
import logging
import pickle
import secrets
import sys
import unittest
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib import import_module
from typing import Any

import depot
import django
import django_project
import pytest
from django.db import OperationalError, connection, connections, transaction
from django.db.transaction import TransactionManagementError
from django.test import TestCase
from recorded import Reversed, order
from servers.shared import Database
from world import until

from py_api_saga import (
    JournalError,
    SagaAssembler,
    SagaConflict,
    SagaDefinitionError,
    SagaPending,
    SagaStatus,
    later,
    recover,
)
from py_api_saga.contrib import django as contrib
from py_api_saga.contrib.django.journal import DjangoJournal, why_not

Made = Callable[..., DjangoJournal]


@pytest.fixture
def make(database: Database) -> Iterator[Made]:
    """Make journals in a project whose "default" is there; nothing stands in the depot."""
    django_project.set_up()
    django_project.lead("default", **django_project.at(database.url))
    depot.reset()

    def made(alias: str = "default", **options: Any) -> DjangoJournal:
        options = {"modules": ["depot"], "schema": database.schema, **options}
        return opened.enter_context(closing(DjangoJournal(alias, **options)))

    with ExitStack() as opened:
        yield made
        connections["default"].close()
    depot.reset()


@pytest.fixture
def journal(make: Made) -> DjangoJournal:
    """One whose tables are there."""
    journal = make()
    journal.create_schema()
    return journal


def ended(journal: DjangoJournal) -> list[tuple[str, SagaStatus]]:
    """Recover, and tell what came of it."""
    return [(run.saga_id, run.outcome) for run in recover(journal)]


def ask(query: str) -> Any:
    """Ask on Django's own connection."""
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def told(call: Callable[[], object]) -> str:
    """Give what a `JournalError` says."""
    with pytest.raises(JournalError) as raised:
        call()
    return str(raised.value)


@contextmanager
def rolled_back() -> Iterator[None]:
    """Have an atomic block around a block, which fails in the end."""
    with suppress(KeyError), transaction.atomic():
        yield
        raise KeyError


# --- in the transaction of a view -----------------------------------------------------------------


def test_a_saga_is_there_once_the_atomic_block_has_committed(journal: DjangoJournal) -> None:
    """Before nobody else sees it; afterwards whoever recovers runs it."""
    with transaction.atomic():
        assert order().start(journal=journal.within(), saga_id="x") == "x"
        assert journal.find("x") is None
        assert ended(journal) == []

    assert ended(journal) == [("x", SagaStatus.COMPLETED)]
    assert depot.standing == ["a", "b", "c"]


def test_what_a_view_rolls_back_has_never_been(journal: DjangoJournal) -> None:
    """Neither with the whole, nor with a block inside."""
    with transaction.atomic():
        with rolled_back():
            order().start(journal=journal.within(), saga_id="inner")
        order().start(journal=journal.within(), saga_id="outer")
    with rolled_back():
        order().start(journal=journal.within(), saga_id="never")

    assert ended(journal) == [("outer", SagaStatus.COMPLETED)]


def test_the_same_saga_twice_is_one_and_another_is_refused(journal: DjangoJournal) -> None:
    """In one transaction, and in the next: both go on."""
    another = SagaAssembler.saga(name="another").operation((depot.do, "z"), name="z")
    for _ in range(2):
        with transaction.atomic():
            assert order().start(journal=journal.within(), saga_id="x") == "x"
            assert order().start(journal=journal.within(), saga_id="x") == "x"
            with pytest.raises(SagaConflict):
                another.start(journal=journal.within(), saga_id="x")
            assert ask("SELECT 1") == 1

    assert ended(journal) == [("x", SagaStatus.COMPLETED)]


def test_it_runs_here_once_the_transaction_has_committed(journal: DjangoJournal) -> None:
    """By `on_commit`, as the user's own line says; under the same id it is the same saga."""
    results = []
    with transaction.atomic():
        order().start(journal=journal.within(), saga_id="x")
        transaction.on_commit(
            lambda: results.append(order().orchestrator_execute(journal=journal, saga_id="x"))
        )
        assert results == []

    assert results == [["A", "B", "C"]]


def test_without_a_transaction_nothing_is_started(journal: DjangoJournal) -> None:
    """For it could not be rolled back with anything."""
    message = told(lambda: order().start(journal=journal.within(), saga_id="x"))

    assert "no transaction is open on the database 'default' in this thread" in message
    assert "with transaction.atomic() or ATOMIC_REQUESTS" in message
    assert journal.find("x") is None


def test_a_transaction_without_an_atomic_block_will_do(journal: DjangoJournal) -> None:
    """As with AUTOCOMMIT off, where whoever writes commits."""
    connection.set_autocommit(False)
    try:
        order().start(journal=journal.within(), saga_id="x")
        connection.commit()
        order().start(journal=journal.within(), saga_id="y")
        connection.rollback()
    finally:
        connection.set_autocommit(True)

    assert ended(journal) == [("x", SagaStatus.COMPLETED)]


def test_a_transaction_that_has_failed_says_so_in_djangos_words(journal: DjangoJournal) -> None:
    """It can't go on, and the view has to hear of it."""
    with rolled_back():
        transaction.set_rollback(True)
        with pytest.raises(TransactionManagementError):
            order().start(journal=journal.within(), saga_id="x")

    assert journal.find("x") is None


def test_a_connection_that_is_lost_is_an_error_of_djangos(
    journal: DjangoJournal, database: Database
) -> None:
    """So that what the view catches is what it gets from the rest of Django."""
    with rolled_back():
        database.ask("SELECT pg_terminate_backend(%s)", ask("SELECT pg_backend_pid()"))
        with pytest.raises(OperationalError):
            order().start(journal=journal.within(), saga_id="x")

    assert journal.find("x") is None


def test_missing_tables_leave_the_transaction_as_it_is(make: Made) -> None:
    """What the journal lacks is an error of the journal."""
    journal = make()

    with transaction.atomic():
        message = told(lambda: order().start(journal=journal.within(), saga_id="x"))
        assert ask("SELECT 1") == 1

    assert "its tables are not there" in message


def test_an_event_loop_has_no_transaction_of_djangos(journal: DjangoJournal) -> None:
    """Which is told with what to do instead, before anything is written."""

    async def view() -> None:
        await order().astart(journal=journal.within(), saga_id="x")

    assert "await sync_to_async(that function)()" in told(lambda: asyncio.run(view()))


def test_nothing_that_is_started_is_in_djangos_log_of_queries(
    journal: DjangoJournal, caplog: pytest.LogCaptureFixture
) -> None:
    """With DEBUG that log has all values; a saga's are nobody's business."""
    caplog.set_level(logging.DEBUG, "django.db.backends")
    connection.force_debug_cursor = True
    try:
        with transaction.atomic():
            order().start(journal=journal.within(), saga_id="x")
            ask("SELECT 42")
        logged = f"{connection.queries}{caplog.text}"
    finally:
        connection.force_debug_cursor = False

    assert "42" in logged
    assert "secret" not in logged


def test_a_transaction_of_somebody_else_is_taken_as_by_any_journal(
    journal: DjangoJournal, database: Database
) -> None:
    """A connection of psycopg's, say."""
    import psycopg  # noqa: PLC0415 - where there is a server

    with psycopg.connect(database.url) as theirs:
        order().start(journal=journal.within(theirs), saga_id="x")
    with pytest.raises(TypeError):
        journal.within("default")  # type: ignore[arg-type]

    assert ended(journal) == [("x", SagaStatus.COMPLETED)]


def test_a_test_case_sees_what_it_starts_and_nobody_else_does(journal: DjangoJournal) -> None:
    """It is rolled back with the test."""
    seen = []

    class Case(TestCase):  # type: ignore[misc]  # Django has no type hints
        def test(self) -> None:
            order().start(journal=journal.within(), saga_id="x")
            seen.append(ask(f"SELECT count(*) FROM {journal.table('saga')}"))  # noqa: S608 - a name
            seen.append(journal.find("x"))

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)

    assert (result.testsRun, result.errors, result.failures) == (1, [], [])
    assert seen == [1, None]
    assert journal.find("x") is None


# --- connections of its own -----------------------------------------------------------------------


def test_what_is_on_record_does_not_wait_for_the_view(journal: DjangoJournal) -> None:
    """Nor go with it: a saga that runs within a transaction is written beside it."""
    with rolled_back():
        order().orchestrator_execute(journal=journal, saga_id="x")

    found = journal.find("x")
    assert found is not None
    assert found.status is SagaStatus.COMPLETED


def test_an_answer_stands_though_the_view_that_gave_it_is_rolled_back(
    journal: DjangoJournal,
) -> None:
    """It has a transaction of its own, and nothing is gone on with in that of the view."""
    depot.behaviour["b"] = lambda: later(timeout=None)
    with pytest.raises(SagaPending):
        order().orchestrator_execute(journal=journal, saga_id="x")

    with rolled_back():
        answered = contrib.answer("x:b:action", result="paid", journal=journal)

    assert (answered.status, answered.known) == (SagaStatus.RUNNING, False)
    assert depot.log == ["a", "b"]
    assert ended(journal) == [("x", SagaStatus.COMPLETED)]


def test_no_answer_is_given_in_the_transaction_of_a_view(journal: DjangoJournal) -> None:
    """It would be gone with that, and whoever gave it would not give it again."""
    with transaction.atomic(), pytest.raises(SagaDefinitionError, match="only be started"):
        contrib.answer("x:b:action", result="paid", journal=journal.within())  # type: ignore[arg-type]


def test_whoever_only_looks_has_a_connection_that_is_closed(make: Made) -> None:
    """As a page does, and the command."""
    name = f"looks_{secrets.token_hex(6)}"
    django_project.lead("default", OPTIONS={"application_name": name})
    journal = make()
    journal.create_schema()
    order().start(journal=journal, saga_id="x")
    journal.close()
    django_project.lead("default", OPTIONS={})
    those = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'"  # noqa: S608
    until(lambda: ask(those) == 0)
    django_project.lead("default", OPTIONS={"application_name": name})

    with journal.reader() as view:
        django_project.lead("default", OPTIONS={})
        assert view.find("x") is not None
        assert ask(those) == 1

    until(lambda: ask(those) == 0)


def test_connections_are_neither_djangos_nor_of_its_pool(make: Made) -> None:
    """A request would close the former, and the latter are counted."""
    django_project.lead("default", OPTIONS={"pool": True, "application_name": "shop"})
    journal = make()
    journal.create_schema()

    order().orchestrator_execute(journal=journal, saga_id="x")

    assert journal.find("x") is not None
    assert connections["default"].connection is None
    django_project.lead("default", OPTIONS={})
    assert ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shop'") > 0


def test_the_journal_has_the_role_of_the_alias(make: Made, database: Database) -> None:
    """Else its tables were another one's than those of the project."""
    role = f"role_{secrets.token_hex(6)}"
    database.ask(f"CREATE ROLE {role}")
    database.ask(f"GRANT ALL ON SCHEMA {database.schema} TO {role}")
    try:
        django_project.lead("default", OPTIONS={"assume_role": role})
        journal = make()
        journal.create_schema()
        order().orchestrator_execute(journal=journal, saga_id="x")
        of_all = "SELECT schemaname, tableowner FROM pg_tables WHERE tablename = 'saga_saga'"
        owners = dict(database.ask(of_all))  # other tests have theirs
        django_project.lead("default", OPTIONS={"assume_role": "nobody knows"})
        journal.close()
        message = told(lambda: order().start(journal=journal, saga_id="y"))
    finally:
        database.ask(f"DROP OWNED BY {role}")
        database.ask(f"DROP ROLE {role}")

    assert owners[database.schema] == role
    assert 'role "nobody knows" does not exist' in message


def test_a_test_database_can_be_made_and_dropped_while_a_journal_is_open(make: Made) -> None:
    """PostgreSQL drops none that somebody is connected to; and the alias means another one then."""
    before = connection.settings_dict["NAME"]
    unserialized = {} if django.VERSION >= (6,) else {"serialize": False}  # not any more
    journal = make(schema="public")
    assert "there is no journal" in journal.missing()
    connection.settings_dict["TEST"] = {
        **connection.settings_dict["TEST"],
        "NAME": f"test_{secrets.token_hex(6)}",
        "MIGRATE": False,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.core.management.call_command", lambda *_, **__: None)
        name = connection.creation.create_test_db(verbosity=0, **unserialized)
        journal.create_schema()
        order().orchestrator_execute(journal=journal, saga_id="x")
        assert name in journal.place
        connection.creation.destroy_test_db(before, verbosity=0)

    assert before in journal.place
    assert "there is no journal" in journal.missing()


# --- what it can't be kept in ---------------------------------------------------------------------


def test_an_alias_that_is_not_there_is_named_with_those_that_are(make: Made) -> None:
    """When the journal is used: settings may not be read before."""
    journal = make("defualt")

    message = told(lambda: order().start(journal=journal, saga_id="x"))

    assert "DATABASES has no 'defualt'; it has 'default', 'file', 'lake'" in message
    assert journal.place == "'defualt' of Django's databases"
    assert told(journal.missing) == message


def test_another_vendor_is_refused_with_what_to_write_instead(make: Made) -> None:
    """A file has a journal of its own."""
    message = told(lambda: order().start(journal=make("file"), saga_id="x"))

    assert "the database 'file' is sqlite, and a DjangoJournal is kept in PostgreSQL" in message
    assert '{"JOURNAL": BASE_DIR / "sagas.db", …}' in message


def test_settings_that_django_refuses_are_told_as_it_tells_them(make: Made) -> None:
    """Of the engine, and of what is in it."""
    before = dict(connections.settings["lake"])
    try:
        django_project.lead("lake", NAME="")
        message = told(make("lake").missing)
        django_project.lead("lake", ENGINE="shop.backend")
        problem = why_not("lake")
    finally:
        connections.settings["lake"].update(before)

    assert "Please supply the NAME" in message
    assert "'shop.backend' isn't an available database backend" in problem
    assert why_not("default") == ""


def test_a_journal_can_be_sent_to_another_process(journal: DjangoJournal) -> None:
    """Which makes connections of its own; no password goes with it."""
    sent = pickle.dumps(journal)
    again = pickle.loads(sent)  # noqa: S301 - it is our own

    order().start(journal=journal, saga_id="x")

    assert again.find("x") is not None
    assert repr(again) == "DjangoJournal('default')"
    assert connection.settings_dict["PASSWORD"].encode() not in sent
    assert connection.settings_dict["PASSWORD"] not in again.place


def test_without_django_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """As each module does that needs an extra."""
    monkeypatch.setitem(sys.modules, "django.db", None)
    monkeypatch.delitem(sys.modules, DjangoJournal.__module__)

    with pytest.raises(ImportError, match=r"pip install 'py-api-saga\[django\]'"):
        import_module(DjangoJournal.__module__)


def test_options_are_those_of_any_journal(make: Made) -> None:
    """A codec and names of tables."""
    journal = make(codec=Reversed(), prefix="other_")
    journal.create_schema()

    order().orchestrator_execute(journal=journal, saga_id="x")

    assert journal.table("saga").endswith('"other_saga"')
    assert "secret" not in str(journal.rows([journal.find("x").number]))  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="prefix"):
        make(prefix="Sagas")


# --- its tables -----------------------------------------------------------------------------------


def test_a_migration_makes_the_tables_in_its_transaction(make: Made) -> None:
    """What is rolled back leaves none, and what is there stays."""
    journal = make()
    with rolled_back():
        journal.migrate(connection)
    assert journal.missing()

    for _ in range(2):
        with transaction.atomic():
            journal.migrate(connection)

    assert journal.missing() == ""
    assert ended(journal) == []


def test_other_databases_are_left_alone_by_its_migration(make: Made) -> None:
    """Those of other aliases, and of other vendors."""
    journal, of_a_file = make(), make("file")

    journal.migrate(connections["file"])
    of_a_file.migrate(connections["file"])

    assert connections["file"].introspection.table_names() == []
    assert journal.missing()


def test_tables_of_another_format_stop_a_migration(
    journal: DjangoJournal, database: Database
) -> None:
    """A release that can't read them must not go on."""
    database.ask("UPDATE saga_format SET version = 99, readable_from = 98")

    with transaction.atomic():
        message = told(lambda: journal.migrate(connection))

    assert "has format 99" in message


def test_a_later_migration_adds_the_indexes_that_are_lacking(
    journal: DjangoJournal, make: Made, database: Database
) -> None:
    """Outside of a transaction, and again without harm; other databases are left alone."""
    database.ask(
        f"DROP INDEX {database.schema}.saga_saga_stuck, {database.schema}.saga_saga_compensated"
    )

    def advice() -> list[str]:
        with journal.reader() as view:
            return view.health().advice

    lacking = advice()
    assert [line.split()[2] for line in lacking] == ["saga_stuck", "saga_compensated"]

    for _ in range(2):
        journal.upgrade(connection)
    make("file").upgrade(connections["file"])

    assert advice() == []
    database.ask(f"DROP INDEX {database.schema}.saga_saga_stuck")
    with transaction.atomic():
        message = told(lambda: journal.upgrade(connection))
    assert "the journal" in message


def test_a_migration_that_may_not_make_them_says_so(make: Made, database: Database) -> None:
    """In words, with the error of the database as the cause."""
    role = f"role_{secrets.token_hex(6)}"
    database.ask(f"CREATE ROLE {role}")
    try:
        django_project.lead("default", OPTIONS={"assume_role": role})
        message = told(lambda: make().migrate(connection))
    finally:
        connection.close()
        database.ask(f"DROP ROLE {role}")

    assert "the role may not do that" in message
