"""Which journal the command opens, and what it leaves alone in it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import depot
import pytest
from commands import READING, Say, alter, run, typed, written
from depot import do, fail
from recorded import begin, order, stuck
from world import unmeasured

from py_api_saga import SagaAssembler
from py_api_saga.cli import main as saga
from py_api_saga.cli.commands import COMMANDS
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.holder import Holder
from py_api_saga.journal.sqlite import gate, view
from py_api_saga.journal.sqlite.view import SQLiteView

# What takes --journal: two need none, and one names two.
OPENING = [one.name for one in COMMANDS if one.name not in ("demo", "schema", "copy")]


@pytest.mark.parametrize("name", OPENING)
def test_without_a_journal_it_says_how_to_name_one(
    name: str, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways are in the message, and the status is that of wrong usage."""
    monkeypatch.delenv("SAGA_JOURNAL", raising=False)

    ended, said = say(*typed(name))

    assert ended == 2
    assert "--journal PATH" in said
    assert "SAGA_JOURNAL" in said


@pytest.mark.parametrize("name", [one for one in OPENING if one != "worker"])
def test_a_journal_that_is_not_there_is_never_made(name: str, say: Say) -> None:
    """A slip of the pen is an error, for whatever command but the one that waits for it."""
    for arguments in (["--journal", "nope", *typed(name)], [*typed(name), "--journal", "nope"]):
        said = f"saga: there is no journal {Path('nope').absolute()}\n"
        assert say(*arguments) == (1, said)

    assert not Path("nope").exists()


def test_what_is_no_journal_is_refused(say: Say, journal: SQLiteJournal, tmp_path: Path) -> None:
    """Another file, another database, another format: each is an error in words."""
    text, other = tmp_path / "text", tmp_path / "other.db"
    text.write_text("no database at all, but long enough to be taken for one\n" * 20)
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("CREATE TABLE saga(number)")
    alter(journal, "PRAGMA user_version=7")

    assert say("--journal", str(text), "list")[0] == 1
    ended, said = say("--journal", str(other), "list")
    assert ended == 1
    assert said.startswith(f"saga: {other} is not a saga journal, but the database of another")
    ended, said = say("list")
    assert ended == 1
    assert "has format 7, this release of py_api_saga reads format 1" in said


def test_an_empty_file_is_not_a_journal_yet(say: Say, tmp_path: Path) -> None:
    """Whoever only looks makes none of it."""
    path = tmp_path / "empty.db"
    path.touch()

    ended, said = say("--journal", str(path), "list")

    assert (ended, "is not a saga journal: it is empty" in said) == (1, True)
    assert path.stat().st_size == 0


def test_a_file_that_another_program_keeps_to_itself_cannot_be_read(
    say: Say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SQLite's own error is passed on in one line."""
    path = tmp_path / "other.db"
    with closing(SQLiteJournal(path, modules=["depot"], journal_mode="delete")) as journal:
        order().start(journal=journal, saga_id="x")
    monkeypatch.setattr("py_api_saga.journal.sqlite.connecting.BUSY", 0)

    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        ended, said = say("--journal", str(path), "list")

    assert (ended, "database is locked" in said) == (1, True)


def test_a_journal_stays_in_its_mode(say: Say, tmp_path: Path) -> None:
    """What writes to a journal without a WAL does not give it one."""
    path = tmp_path / "other.db"
    with closing(SQLiteJournal(path, modules=["depot"], journal_mode="delete")) as journal:
        order().start(journal=journal, saga_id="x")

    assert say("--journal", str(path), "cancel", "x")[0] == 0
    assert SQLiteView(str(path)).journal_mode == "delete"


def test_who_only_reads_waits_for_nobody_and_changes_nothing(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even for the gate, at which a process may hang."""
    stuck(journal)
    journal.close()
    before = {path.name: path.read_bytes() for path in Path(journal.path).parent.iterdir()}

    monkeypatch.setattr(
        "py_api_saga.journal.sqlite.gate.Gate.enter", fail(AssertionError("waited"))
    )
    for name in READING[:-1]:
        assert say(*typed(name))[0] in (0, 4)

    after = {path.name: path.read_bytes() for path in Path(journal.path).parent.iterdir()}
    assert {name: after[name] for name in before} == before
    monkeypatch.undo()


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes somebody else")
def test_who_may_only_read_can_look_at_what_a_living_process_drives() -> None:
    """A monitor may be somebody else, or see the file on a mount that it cannot write."""
    look = (
        "import os, sys; from py_api_saga.journal.sqlite.view import SQLiteView; os.setuid(65534); "
        "read = SQLiteView(sys.argv[1]); print(read.drives(read.find('a')))"
    )
    with tempfile.TemporaryDirectory() as name, closing(SQLiteJournal(f"{name}/sagas.db")) as alive:
        begin(alive)
        for file in Path(name).iterdir():
            file.chmod(0o444)
        Path(name).chmod(0o555)
        ran = subprocess.run(
            [sys.executable, "-c", look, f"{name}/sagas.db"],
            capture_output=True,
            text=True,
            cwd="/",
            env=unmeasured(),
            check=False,
        )

    assert (ran.stdout, ran.stderr) == ("True\n", "")


@pytest.mark.parametrize("name", OPENING)
def test_a_path_of_no_file_is_no_journal(say: Say, tmp_path: Path, name: str) -> None:
    """Whatever is done with it."""
    ended, said = say(*typed(name), "--journal", str(tmp_path))

    assert (ended, said) == (
        1,
        f"saga: {tmp_path} is a directory: give the path of a file for the journal\n",
    )


def test_who_must_wait_for_a_process_that_writes_is_told_for_whom(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hang, and nobody else would say so."""
    order().start(journal=journal, saga_id="x")
    monkeypatch.setattr(view, "MOMENT", 0.03)
    holders = iter([Holder(4711, None, ""), Holder(4712, None, "")])
    monkeypatch.setattr(gate, "inside", lambda _: next(holders, None))
    assert say("cancel", "x") == (0, "x: COMPENSATED; it has ended\n")

    monkeypatch.setattr(gate, "inside", lambda _: Holder(4711, None, ""))
    ended, said = say("cancel", "x")
    assert ended == 1
    assert said.startswith(
        "saga: process 4711 is writing to the journal; waiting for it for 30 s; if it is stopped, "
        "`kill -CONT 4711` lets it go on; else end it\n"
    )


def test_who_only_reads_imports_nothing_that_a_journal_names(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in a journal is data."""
    stuck(journal)
    monkeypatch.delitem(sys.modules, "depot")

    for name in READING[:-1]:
        assert say(*typed(name))[0] in (0, 4)
        assert "depot" not in sys.modules


def test_no_text_commands_the_terminal(say: Say, journal: SQLiteJournal) -> None:
    """Control characters in names and errors are written as what they are."""
    depot.behaviour["a"] = fail(ValueError("\x1b[2Jgone\nx"))
    run(SagaAssembler.saga().operation((do, "a"), name="\x1b[2J\nb"), journal)
    alter(journal, "UPDATE saga SET name = '\x1b[2J', saga_id = '\x1b\n'")

    for arguments in (["list"], ["show", "\x1b\n"], ["why", "\x1b\n"], ["graph", "\x1b\n"]):
        for more in ([], ["--json"]):
            ended, said = say(*arguments, *more)
            assert (ended, "\x1b" in said) == (0, False)
    assert "\x1b" not in say("show", "\x1b[2J")[1]


def test_what_the_terminal_cannot_show_is_written_in_escapes(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A name with an umlaut does not end in a traceback where there is none."""
    run(SagaAssembler.saga(name="Hütte").operation((do, "a")), journal)
    with (tmp_path / "out").open("w", encoding="ascii") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert saga(["list"]) == 0

    assert "H\\xfctte" in (tmp_path / "out").read_text()


def test_a_journal_may_be_an_object_of_a_module(
    say: Say, journal: SQLiteJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it was made with; a file of the same name comes before it."""
    written(
        tmp_path / "shop_of_test.py",
        "from py_api_saga.journal import MemoryJournal, SQLiteJournal\n"
        f"journal = SQLiteJournal({journal.path!r}, modules=['depot'])\n"
        "memory, nothing = MemoryJournal(), None\n",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SAGA_JOURNAL")
    order().start(journal=journal, saga_id="x")
    named = ("--journal", "shop_of_test:journal")

    assert "x   depot  RUNNING" in say("list", *named)[1]
    assert say("recover", *named, "--modules", "json") == (0, "x: COMPLETED\n")
    assert "`saga" not in say("why", "x", *named)[1]
    for name in ("memory", "nothing", "none.at.all"):
        ended, said = say("list", "--journal", f"shop_of_test:{name}")
        assert (ended, "is not there, or is not a journal that other processes find" in said) == (
            1,
            True,
        )
    ended, said = say("list", "--journal", "no_shop_of_test:journal")
    assert (ended, "cannot import 'no_shop_of_test'" in said) == (1, True)
    assert say("doctor", "--new-owners", "shop_of_test:journal", "--yes")[0] == 0

    (tmp_path / "shop_of_test:journal").touch()
    assert "it is empty" in say("list", *named)[1]


def test_what_cannot_be_the_path_of_a_file_is_wrong_usage(say: Say) -> None:
    """SQLite has a name for a file in memory, which nobody else would find."""
    ended, said = say("--journal", ":memory:", "list")

    assert (ended, "saga: --journal: path: expected that of a file" in said) == (2, True)


def test_a_url_of_what_nothing_here_opens_is_refused_in_a_line(say: Say) -> None:
    """It may have a password, which is not repeated."""
    ended, said = say("--journal", "mysql://ada:secret@db/sagas", "list")

    assert ended == 2
    assert (
        "--journal: expected postgresql://…, the path of a file or MODULE:OBJECT, got mysql://…"
        in said
    )
    assert "secret" not in said
