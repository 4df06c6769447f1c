"""`saga copy`: from a file into PostgreSQL, for a program that moves."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import depot
import pytest
from commands import Say, alter, run, written
from depot import fail
from pending import KEY, pending
from recorded import bodies, order, seen, status, stuck
from servers.shared import Database

from py_api_saga import (
    JournalError,
    SagaConflict,
    SagaException,
    SagaStatus,
    answer,
    recover,
    repair,
)
from py_api_saga.journal import PostgreSQLJournal, SQLiteJournal


@pytest.fixture
def name(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What names an empty journal in a database to the command."""
    module = f"copied_{secrets.token_hex(4)}"
    text = f"""
    from py_api_saga.journal import PostgreSQLJournal
    journal = PostgreSQLJournal({database.url!r}, schema={database.schema!r}, modules=["depot"])
    """
    written(tmp_path / f"{module}.py", "\n".join(line.strip() for line in text.splitlines()))
    monkeypatch.syspath_prepend(tmp_path)
    yield f"{module}:journal"
    sys.modules.pop(module, None)


@pytest.fixture
def target(database: Database) -> Iterator[PostgreSQLJournal]:
    """The same journal, for a program."""
    journal = PostgreSQLJournal(database.url, schema=database.schema, modules=["depot"])
    with closing(journal):
        journal.create_schema()
        yield journal


def test_what_has_ended_is_copied_with_all_that_is_known_of_it(
    say: Say, journal: SQLiteJournal, name: str, target: PostgreSQLJournal
) -> None:
    """Its id does not run anew there; to copy again adds what is new."""
    run(order(), journal, "done")
    depot.behaviour["c"] = fail(ValueError('no \\ courier, "he" said \u0000 {so}'))
    run(order(), journal, "undone")
    run(order(), journal, "purged")
    repair.purge(journal, seen(journal, "purged"))
    journal.close()

    assert say("copy", journal.path, name) == (
        0,
        "copied 3 sagas; 0 were there already, 0 were not copied\n",
    )

    for saga_id in ("done", "undone", "purged"):
        was, here = seen(journal, saga_id), seen(target, saga_id)
        assert here[1:4] + here[5:] == was[1:4] + was[5:9] + (0.0, was.digest)
        assert bodies(target, saga_id) == bodies(journal, saga_id)
        times = [
            [row.at for row in kept.rows([one.number])[one.number]]
            for kept, one in ((journal, was), (target, here))
        ]
        assert times[0] == times[1]
    depot.log.clear()
    assert order().orchestrator_execute(journal=target, saga_id="done") == ["A", "B", "C"]
    with pytest.raises(SagaException, match="no "):
        order().orchestrator_execute(journal=target, saga_id="undone")
    with pytest.raises(SagaConflict, match="has run before"):
        order().orchestrator_execute(journal=target, saga_id="purged")
    assert depot.log == []

    run(order(), journal, "more")
    journal.close()
    assert say("copy", journal.path, name)[1] == (
        "copied 1 saga; 3 were there already, 0 were not copied\n"
    )
    newest = [one.saga_id for one in target.select()]
    assert newest == ["more", "purged", "undone", "done"]


@pytest.mark.usefixtures("target")
def test_nothing_is_copied_while_anything_is_unfinished(
    say: Say, journal: SQLiteJournal, name: str
) -> None:
    """It would be in both, and run in both."""
    run(order(), journal, "done")
    order().start(journal=journal, saga_id="open")
    stuck(journal, "stuck")

    ended, said = say("copy", journal.path, name)

    assert ended == 1
    assert "has 1 open and 1 stuck saga," in said
    assert "no sagas" in say("list", "--journal", name)[1]


@pytest.mark.usefixtures("target")
def test_answers_are_copied_with_what_they_have_made_of_a_saga(
    say: Say, journal: SQLiteJournal, name: str, target: PostgreSQLJournal
) -> None:
    """What comes again is known there, too, and another answer is refused."""
    pending(journal)
    assert answer(journal, KEY, result="B").status is SagaStatus.COMPLETED
    run(order(), journal, "never-waited")

    assert say("copy", journal.path, name)[0] == 0

    assert bodies(target, "x") == bodies(journal, "x")
    depot.log.clear()
    assert answer(target, KEY, result="B").known
    with pytest.raises(SagaConflict, match="otherwise"):
        answer(target, KEY, result="C")
    assert depot.log == []
    assert target.waiting() == []


@pytest.mark.usefixtures("target")
def test_nothing_is_copied_while_an_answer_is_to_be_taken_in(
    say: Say, journal: SQLiteJournal, name: str
) -> None:
    """It would be lost, and with it that what was undone has happened after all."""
    pending(journal)
    assert say("cancel", "x")[0] == 0
    recover(journal)
    answer(journal, KEY, result="B", go_on=False)

    ended, said = say("copy", journal.path, name)

    assert ended == 1
    assert "has answers to 1 saga that nobody has taken in: `saga recover` takes them in" in said
    recover(journal)
    assert say("copy", journal.path, name)[0] == 0


def test_an_id_of_another_saga_is_not_copied(
    say: Say, journal: SQLiteJournal, name: str, target: PostgreSQLJournal
) -> None:
    """It is named; so is one that PostgreSQL has no letters for. The others are copied."""
    for saga_id in ("a", "b", "c"):
        run(order(), journal, saga_id)
    order().start(journal=target, saga_id="b")
    alter(journal, "UPDATE saga SET saga_id = 'c' || char(0) WHERE saga_id = 'c'")

    ended, said = say("copy", journal.path, name)

    assert ended == 1
    assert "b: not copied: its id is that of another" in said
    assert "not copied: it cannot be kept there" in said
    assert said.endswith("copied 1 saga; 0 were there already, 2 were not copied\n")
    assert status(target, "b") is SagaStatus.RUNNING


def test_a_copy_needs_a_file_and_a_database(
    say: Say, journal: SQLiteJournal, name: str, tmp_path: Path
) -> None:
    """Each is said in a line."""
    assert say("copy", str(tmp_path / "none.db"), name)[0] == 1
    ended, said = say("copy", journal.path, str(tmp_path / "other.db"))
    assert (ended, "expected the URL of a PostgreSQL database" in said) == (2, True)
    assert not (tmp_path / "other.db").exists()
    ended, said = say("copy", journal.path, name)
    assert (ended, "there is no journal in" in said) == (1, True)  # no tables yet
    ended, said = say("copy", journal.path, "mysql://shop/shop")
    assert (ended, "nothing here opens that" in said) == (2, True)


def test_what_a_database_refuses_is_an_error(
    journal: SQLiteJournal, target: PostgreSQLJournal, database: Database
) -> None:
    """Of the whole batch, of which nothing is there then."""
    psycopg = pytest.importorskip("psycopg")
    run(order(), journal, "a")
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(f'DROP TABLE "{database.schema}".saga_entry CASCADE')
    one = seen(journal, "a")

    with pytest.raises(JournalError, match="cannot be written"):
        target.take_in([(one, journal.rows([one.number])[one.number], [])])
    assert target.find("a") is None
