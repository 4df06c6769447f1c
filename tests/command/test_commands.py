"""The commands that read a journal and change it: what they print, and what they leave in it."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
import runpy
import shlex
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self, cast

import depot
import errands
import pytest
from depot import ask, do, fail, undo
from paths import ROOT, SUPPORT
from recorded import begin, bodies, chain, order, seen, status, stuck
from world import output_of, unmeasured

from py_api_saga import (
    Retry,
    SagaAssembler,
    SagaException,
    SagaStatus,
    SagaStuck,
    Status,
    repair,
    result_of,
    takeover,
)
from py_api_saga.cli import health, opening, recovering, worker
from py_api_saga.cli import main as saga
from py_api_saga.cli.commands import COMMANDS, make_parser
from py_api_saga.cli.worker import Worker
from py_api_saga.exceptions import JournalError, RecordedError, SagaError
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.changes import Append, Create, Take
from py_api_saga.journal.format.json_text import dumps
from py_api_saga.journal.sqlite import gate, reading
from py_api_saga.journal.sqlite.gate import Holder
from py_api_saga.recovery import Recovered, Recovery
from py_api_saga.story.words import value_type

PAGE = (ROOT / "docs/reference/command.md").read_text(encoding="utf-8")
READING = ("list", "show", "why", "graph", "check", "doctor", "plan-deploy")

Say = Callable[..., tuple[int, str]]


class Reversed:
    """A codec that hides nothing from anybody who can read backwards."""

    def encode(self, text: str) -> str:
        return text[::-1]

    def decode(self, text: str) -> str:
        return text[::-1]


class Deaf:
    """A codec that opens nothing."""

    def encode(self, text: str) -> str:
        return text

    def decode(self, text: str) -> str:
        raise ValueError(text)


backwards, deaf = Reversed(), Deaf()


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SQLiteJournal]:
    """An empty journal, which the environment names to the command."""
    depot.reset()
    monkeypatch.setenv("SAGA_JOURNAL", str(tmp_path / "sagas.db"))
    monkeypatch.delenv("SAGA_CODEC", raising=False)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    modules = ["depot", "errands"]
    with closing(SQLiteJournal(tmp_path / "sagas.db", modules=modules)) as journal:
        journal.find("")  # makes the file
        yield journal
    depot.reset()


@pytest.fixture
def sealed(journal: SQLiteJournal) -> Iterator[SQLiteJournal]:
    """The same journal, written with a codec."""
    with closing(SQLiteJournal(journal.path, modules=["depot"], codec=backwards)) as other:
        yield other


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Run the command in this process; give its exit status, and all that it has written."""

    def say(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        try:
            status: Any = saga(arguments)
        except SystemExit as left:
            status = left.code
        out, errors = capsys.readouterr()
        return status, out + errors

    return say


def forward() -> SagaAssembler:
    """Pass a pivot, and go on with what comes after it."""
    return (
        SagaAssembler.saga(name="forward")
        .operation((do, "a"), (undo, "a"), name="a")
        .operation((do, "b"), name="b", pivot=True)
        .operation((do, "c"), name="c")
        .operation((do, "d"), name="d")
    )


def run(made: SagaAssembler, journal: Any, saga_id: str = "x") -> None:
    """Run a saga to its end, whatever that is."""
    try:
        made.orchestrator_execute(journal=journal, saga_id=saga_id)
    except SagaException:
        depot.behaviour.clear()


def stuck_forward(journal: Any, saga_id: str = "x") -> None:
    """Leave a saga that failed after its pivot."""
    depot.behaviour["c"] = fail(ValueError("no courier"))
    run(forward(), journal, saga_id)


def append(journal: Any, body: str, to: SagaStatus | None = None, saga_id: str = "x") -> None:
    """Write a row as a process does that drives a saga, and leave it."""
    take = Take(seen(journal, saga_id))
    journal.write(take)
    journal.write(change := Append(take.check(), body, to))
    change.check()
    journal.leave(take.claim)
    journal.close()  # which makes that durable


def alter(journal: SQLiteJournal, statement: str, *parameters: object) -> None:
    """Change the file behind the journal's back."""
    journal.close()
    with closing(sqlite3.connect(journal.path)) as connection, connection:
        connection.execute(statement, parameters)


# --- which journal -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [command.name for command in COMMANDS if command.name != "demo"])
def test_without_a_journal_it_says_how_to_name_one(
    name: str, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways are in the message, and the status is that of wrong usage."""
    monkeypatch.delenv("SAGA_JOURNAL", raising=False)

    ended, said = say(*typed(name))

    assert ended == 2
    assert "--journal PATH" in said
    assert "SAGA_JOURNAL" in said


def typed(name: str) -> list[str]:
    """Give a command with what it needs to begin."""
    more = {
        "recover": ["--modules", "depot"],
        "worker": ["--modules", "depot"],
        "takeover": ["x", "--modules", "depot"],
        "plan-deploy": ["--modules", "depot"],
        "purge": ["--older-than", "30d"],
        "resolve": ["x", "a", "--failed", "--note", "why"],
    }
    ids = ["x"] if name in ("show", "why", "graph", "retry", "compensate", "cancel") else []
    return [name, *more.get(name, ids)]


@pytest.mark.parametrize(
    "name", [command.name for command in COMMANDS if command.name not in ("demo", "worker")]
)
def test_a_journal_that_is_not_there_is_never_made(name: str, say: Say) -> None:
    """A slip of the pen is an error, for whatever command but the one that waits for it."""
    for arguments in (["--journal", "nope", *typed(name)], [*typed(name), "--journal", "nope"]):
        assert say(*arguments) == (1, "saga: there is no journal nope\n")

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
    assert (ended, said) == (1, f"saga: {other} is no journal of sagas\n")
    ended, said = say("list")
    assert ended == 1
    assert "has format 7, and this release reads 1" in said


def test_a_journal_stays_in_its_mode(say: Say, tmp_path: Path) -> None:
    """What writes to a journal without a WAL does not give it one."""
    path = tmp_path / "other.db"
    with closing(SQLiteJournal(path, modules=["depot"], journal_mode="delete")) as journal:
        order().start(journal=journal, saga_id="x")

    assert say("--journal", str(path), "cancel", "x")[0] == 0
    assert opening.pragmas_of(str(path)).journal_mode == "delete"


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
        "import os, sys; from py_api_saga.cli.opening import ReadOnly; os.setuid(65534); "
        "read = ReadOnly(sys.argv[1]); print(read.drives(read.find('a')))"
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


@pytest.mark.parametrize("name", sorted({command.name for command in COMMANDS} - {"demo"}))
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
    monkeypatch.setattr(opening, "MOMENT", 0.03)
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
    """A name with an umlaut is no traceback where there is none."""
    run(SagaAssembler.saga(name="Hütte").operation((do, "a")), journal)
    with (tmp_path / "out").open("w", encoding="ascii") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert saga(["list"]) == 0

    assert "H\\xfctte" in (tmp_path / "out").read_text()


# --- list ----------------------------------------------------------------------------------------


def test_sagas_are_listed_newest_first(say: Say, journal: SQLiteJournal) -> None:
    """Each with its status, its tries, and whether a process drives it; 4 for a stuck one."""
    run(order(), journal, "one")
    order().start(journal=journal, saga_id="two")
    assert say("list")[0] == 0
    stuck(journal, "three")

    ended, said = say("list")

    assert ended == 4
    lines = [line.split() for line in said.splitlines()]
    assert lines[0] == ["ID", "NAME", "STATUS", "SINCE", "AGE", "TRIES", "DRIVEN"]
    assert [(line[0], line[1], line[2], line[6], line[7]) for line in lines[1:]] == [
        ("three", "depot", "STUCK", "0", "-"),
        ("two", "depot", "RUNNING", "0", "no"),
        ("one", "depot", "COMPLETED", "0", "-"),
    ]


def test_a_list_is_filtered(say: Say, journal: SQLiteJournal) -> None:
    """By status, name and age; and it says if there would be more."""
    run(order(), journal, "one")
    run(forward(), journal, "two")
    order().start(journal=journal, saga_id="three")
    alter(journal, "UPDATE saga SET changed = changed - 7200000 WHERE saga_id = 'one'")

    def listed(*arguments: str) -> list[str]:
        ended, said = say("list", "--json", *arguments)
        assert ended == 0
        return [found["saga_id"] for found in json.loads(said)["sagas"]]

    assert listed("--status", "completed") == ["two", "one"]
    assert listed("--status", "Running,stuck") == ["three"]
    assert listed("--name", "forward") == ["two"]
    assert listed("--older-than", "1h") == ["one"]
    assert listed("--newer-than", "60m") == ["three", "two"]
    assert say("list", "--status", "stuck") == (0, "no sagas\n")
    ended, said = say("list", "--limit", "1")
    assert (ended, said.splitlines()[-1]) == (0, "saga: there are more; --limit is 1")


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--older-than", "30"],
        ["list", "--status", "done"],
        ["list", "--limit", "0"],
        ["purge", "--older-than", "30d", "--status", "stuck"],
        ["recover"],
        ["recover", "--modules", "depot", "--alias", "old"],
        ["worker", "--modules", "depot", "--interval", "0"],
        ["resolve", "x", "a", "--failed"],
        ["nothing"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_refused(arguments: list[str], say: Say) -> None:
    """Status 2, and what was expected."""
    ended, said = say(*arguments)

    assert ended == 2
    assert "usage: saga" in said


# --- show, why and graph -------------------------------------------------------------------------


def test_a_saga_is_shown_without_its_values(say: Say, journal: SQLiteJournal) -> None:
    """Types stand for arguments and results; errors are shown; what happened is in order."""
    stuck(journal)

    ended, said = say("show", "x")

    assert ended == 0
    assert said.startswith("x (depot): STUCK since ")
    assert "secret" not in said
    assert "a  COMPENSATED  depot:do(str, str) -> str" in said
    assert "b  STUCK        depot:do(str, result_of('a')) -> str" in said
    assert "undo: depot:undo(str, result_of())" in said
    assert "builtins.OSError: no bank" in said
    assert happened(said) == [
        ("-", "written down: 3 operations"),
        ("a", "is called, attempt 1"),
        ("a", "succeeded, and returned str"),
        ("b", "is called, attempt 1"),
        ("b", "succeeded, and returned str"),
        ("c", "is called, attempt 1"),
        ("c", "failed: ValueError('no courier')"),
        ("b", "its undo is called, attempt 1"),
        ("b", "its undo failed: OSError('no bank')"),
        ("a", "its undo is called, attempt 1"),
        ("a", "undone; the undo returned str"),
    ]


def happened(said: str) -> list[tuple[str, ...]]:
    """Give the timeline in what `saga show` says, without the times."""
    lines = said.split("timeline\n")[1].splitlines()
    return [tuple(re.split(r" {2,}", line.strip(), maxsplit=2)[1:]) for line in lines]


def test_values_are_shown_if_asked_for(say: Say, journal: SQLiteJournal) -> None:
    """As they are written in the journal."""
    stuck(journal)

    said = say("show", "x", "--values")[1]

    assert 'depot:do("a", "secret") -> "A"' in said
    assert "depot:do(\"b\", result_of('a'))" in said
    assert ("a", 'succeeded, and returned "A"') in happened(said)
    operation = json.loads(say("show", "x", "--values", "--json")[1])["operations"][0]
    assert operation["action"]["arguments"] == ["a", "secret"]
    assert operation["result"] == "A"


def test_a_decision_is_shown_with_who_and_why(say: Say, journal: SQLiteJournal) -> None:
    """An audit needs no other place to look."""
    stuck(journal)
    say("resolve", "x", "b", "--skipped", "--note", "ticket 7", "--who", "ada")

    lines = happened(say("show", "x")[1])

    assert lines[-2:] == [
        ("-", "ada decided: resolve b as skipped: ticket 7"),
        ("b", "resolved as SKIPPED"),
    ]


def test_sealed_values_stay_sealed_without_the_codec(
    say: Say, sealed: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors too; with the codec all is as ever."""
    stuck(sealed)

    said = say("show", "x", "--values")[1]
    assert "depot:do(sealed) -> {" in say("show", "x", "--values")[1]
    assert "no courier" not in said
    assert ("c", "failed: ValueError('(sealed)')") in happened(said)
    assert "depot:do(sealed) -> (sealed)" in say("show", "x")[1]

    assert "depot:do(str, str) -> str" in say("show", "x", "--codec", f"{__name__}:backwards")[1]
    monkeypatch.setenv("SAGA_CODEC", f"{__name__}:backwards")
    said = say("show", "x", "--values")[1]
    assert 'depot:do("a", "secret") -> "A"' in said
    assert ("c", "failed: ValueError('no courier')") in happened(said)
    assert ("c", "failed: ValueError('(sealed)')") in happened(
        say("show", "x", "--codec", f"{__name__}:deaf")[1]
    )
    ended, said = say("show", "x", "--values", "--codec", f"{__name__}:deaf")
    why = "a sealed value cannot be opened: its codec cannot open what is sealed: ValueError"
    assert (ended, said) == (1, f"saga: {why}\n")


@pytest.mark.parametrize(
    ("name", "ended", "words"),
    [
        ("depot", 2, "expected MODULE:OBJECT"),
        ("nowhere:codec", 1, "cannot import 'nowhere': ModuleNotFoundError"),
        ("depot:nothing.codec", 1, "is not there, or has no encode() and decode()"),
        ("depot:do", 1, "is not there, or has no encode() and decode()"),
    ],
)
@pytest.mark.usefixtures("journal")
def test_a_codec_that_is_none_is_refused(name: str, ended: int, words: str, say: Say) -> None:
    """In words that say what was looked for."""
    refused, said = say("list", "--codec", name)

    assert refused == ended
    assert words in said


ENTRIES: list[tuple[Any, tuple[str, str]]] = [
    (["started", 0, "action", 1, 1], ("a", "is called, attempt 1")),
    (
        ["in doubt", 0, "action", 1, 1, [["m.Lost", "reply"], 2.0, False, False]],
        ("a", "nobody knows what came of it: Lost('reply'); once more in 2 s"),
    ),
    (["recovered", -1, "", 0, 0, []], ("-", "recovery took over")),
    (["started", 0, "ask", 1, 1], ("a", "is asked whether it happened")),
    (["unknown", 0, "ask", 1, 1], ("a", "nobody could say whether it happened")),
    (["started", 0, "action", 2, 1], ("a", "is called, attempt 2")),
    (
        ["retry", 0, "action", 2, 1, [["m.Busy", "later"], 0.5]],
        ("a", "failed: Busy('later'); once more in 0.5 s"),
    ),
    (["started", 0, "action", 3, 1], ("a", "is called, attempt 3")),
    (["recovered", -1, "", 0, 0, [0]], ("-", "recovery took over; too old to be called again: a")),
    (["started", 0, "ask", 3, 1], ("a", "is asked whether it happened")),
    (["not happened", 0, "ask", 3, 1], ("a", "it did not happen")),
    (["started", 0, "action", 4, 1], ("a", "is called, attempt 4")),
    (["recovered", -1, "", 0, 0, [0]], ("-", "recovery took over; too old to be called again: a")),
    (["started", 0, "ask", 4, 1], ("a", "is asked whether it happened")),
    (
        ["happened", 0, "ask", 4, 1, {"$missing": True}],
        ("a", "it happened, with nobody knows what"),
    ),
    (["started", 1, "action", 1, 1], ("b", "is called, attempt 1")),
    (
        ["unstored", 1, "action", 1, 1, ["builtins.TypeError", "no"]],
        ("b", "succeeded, but: TypeError('no')"),
    ),
    (["started", 1, "compensation", 1, 1], ("b", "its undo is called, attempt 1")),
    (
        ["in doubt", 1, "compensation", 1, 1, [["m.Lost", "reply"], None, False, False]],
        ("b", "nobody knows what came of its undo: Lost('reply')"),
    ),
    (["abort", -1, "", 0, 0, ["builtins.TimeoutError", "late"]], ("-", "told to stop: Timeout…")),
    (["again", 1, "", 0, 0, True], ("b", "once more, under a new key")),
    (
        ["started", 1, "compensation", 2, 2],
        ("b", "its undo is called, attempt 2, under key 2"),
    ),
    (
        ["retry", 1, "compensation", 2, 2, [["m.Busy", "later"], 0.5]],
        ("b", "its undo failed: Busy('later'); once more in 0.5 s"),
    ),
    (["parked", {"reason": "tried 10 times"}], ("-", "recovery gave up: tried 10 times")),
    (["note", {"who": "ada", "why": "", "did": "retry"}], ("-", "ada decided: retry")),
]


def test_every_kind_of_entry_is_put_into_words(say: Say, journal: SQLiteJournal) -> None:
    """Whoever reads a timeline needs no manual."""
    made = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a", on_doubt=ask)
    made.operation((do, "b"), (undo, "b"), name="b").start(journal=journal, saga_id="x")
    append(journal, dumps([entry for entry, _ in ENTRIES]))

    ended, said = say("show", "x")

    assert ended == 0
    expected = [line for _, line in ENTRIES]
    shown = happened(said)[1:]
    assert [line if line[1] != "told to stop: Timeout…" else got for line, got in zip(
        expected, shown, strict=True
    )] == shown  # fmt: skip
    assert ("-", "told to stop: TimeoutError('late')") in shown
    json.loads(say("show", "x", "--json")[1])
    assert say("why", "x")[0] == 0


@pytest.mark.parametrize(
    ("tree", "shown"),
    [
        (None, "None"),
        (True, "bool"),
        ([1], "list"),
        ({"a": 1}, "dict"),
        ({}, "dict"),
        ({"$decimal": "1.2"}, "Decimal"),
        ({"$datetime": "2026-01-01"}, "datetime"),
        ({"$enum": ["shop.kinds:Size", "BIG"]}, "Size"),
        ({"$dataclass": ["shop:Order.Line", {}]}, "Order.Line"),
        ({"$function": "shop:charge"}, "shop:charge"),
        ({"$missing": True}, "no value"),
        ({"$sealed": "x"}, "(sealed)"),
        ({"$result": ["a", [[True, "shelf"], [False, 0]]]}, "result_of('a').shelf[0]"),
        ({"$result": 7}, "(malformed)"),
        ({"$enum": []}, "(malformed)"),
    ],
)
def test_a_value_is_shown_as_its_type(tree: Any, shown: str) -> None:
    """And as nothing of what it is."""
    assert value_type(tree) == shown


def test_a_saga_that_cannot_be_read_is_an_error(say: Say, journal: SQLiteJournal) -> None:
    """What is known of it is shown all the same."""
    contradicts, damaged = '[["succeeded",0,"action",1,1]]', "no JSON"
    for saga_id, body, why in (
        ("x", contradicts, "the journal's entries contradict"),
        ("y", damaged, "the journal's entries cannot be read: row 2 is damaged"),
    ):
        order().start(journal=journal, saga_id=saga_id)
        append(journal, "[]", SagaStatus.STUCK, saga_id)
        alter(journal, "UPDATE entry SET body = ? WHERE n = 2", body)

        ended, said = say("show", saga_id)
        assert ended == 1
        assert f"{saga_id} (depot): STUCK" in said
        assert f"it cannot be read: {why}" in said
        ended, said = say("why", saga_id)
        assert ended == 1
        assert "nobody can go on with it" in said
        ended, said = say("graph", saga_id)
        assert ended == 1
        assert "cannot be drawn" in said
        for decision in ("retry", "compensate"):
            ended, said = say(decision, saga_id)
            assert ended == 1
            assert re.search(rf"saga '{saga_id}'.*(contradict each other|row 2 is damaged)", said)
        ended, said = say("doctor")
        assert ended == 1
        assert f"DAMAGED: saga '{saga_id}': the journal's entries" in said


def test_arguments_of_no_shape_are_not_shown(say: Say, journal: SQLiteJournal) -> None:
    """A journal may hold anything."""
    order().start(journal=journal, saga_id="x")
    alter(journal, """UPDATE entry SET body = replace(body, '["a","secret"]', '7')""")

    assert "depot:do(sealed)" in say("show", "x")[1]


def test_keywords_are_shown(say: Say, journal: SQLiteJournal) -> None:
    """As Python writes them."""
    from functools import partial  # noqa: PLC0415

    SagaAssembler.saga().operation(partial(do, "a", n=2), name="a").start(
        journal=journal, saga_id="x"
    )

    assert "depot:do(str, n=int)" in say("show", "x")[1]
    assert "x: RUNNING" in say("show", "x")[1]


@pytest.mark.parametrize("name", ["show", "why", "graph"])
def test_a_saga_that_is_not_there_is_an_error(name: str, say: Say, journal: SQLiteJournal) -> None:
    """With the id and the journal in which it is not."""
    ended, said = say(name, "nope")

    assert ended == 1
    assert f"there is no saga 'nope' in the journal {journal.path}" in said


def test_a_graph_has_the_statuses(say: Say, journal: SQLiteJournal) -> None:
    """In Mermaid, or in JSON."""
    stuck(journal)

    ended, said = say("graph", "x")

    assert ended == 0
    assert said.startswith("flowchart LR\n")
    assert 'o1["b<br/>STUCK"]' in said
    assert json.loads(say("graph", "x", "--json")[1]) == {"saga_id": "x", "mermaid": said}


def remedies(say: Say, *arguments: str) -> list[str]:
    """Give the commands that `saga why` lists."""
    ended, said = say(*arguments, "--json")
    assert ended == 0
    return [remedy["command"] for remedy in json.loads(said)["remedies"]]


def test_why_names_exactly_what_is_possible_in_a_rollback(say: Say, journal: SQLiteJournal) -> None:
    """Each with what it leads to."""
    stuck(journal)

    ended, said = say("why", "x")

    assert ended == 0
    assert "its compensation raised OSError('no bank')" in said
    assert "failed, and has no effect: ValueError('no courier')" in said
    assert "if you have undone it by hand; the saga is then compensated" in said
    assert remedies(say, "why", "x") == [
        "saga retry x",
        "saga resolve x b --succeeded JSON --note TEXT",
        "saga resolve x b --failed --note TEXT",
        "saga resolve x b --compensated --note TEXT",
        "saga resolve x b --skipped --note TEXT",
        "saga takeover x --modules depot",
    ]


def test_why_names_exactly_what_is_possible_after_the_pivot(
    say: Say, journal: SQLiteJournal
) -> None:
    """There is no way back."""
    stuck_forward(journal)

    assert "It has passed its pivot" in say("why", "x")[1]
    path = journal.path
    assert remedies(say, "why", "x", "--journal", path) == [
        f"saga --journal {path} retry x",
        f"saga --journal {path} resolve x c --succeeded JSON --note TEXT",
        f"saga --journal {path} takeover x --modules depot",
    ]


ROUND_ABOUT = {
    "goods": "import dataclasses\n@dataclasses.dataclass\nclass Mug:\n    size: object\n",
    "sizes": "import enum\nclass Size(enum.Enum):\n    BIG = 1\n",
    "clerks": "class Clerk: pass\n",
    "manners": "def greet(): pass\n",
    "receipts": "import dataclasses\n@dataclasses.dataclass\nclass Receipt:\n    cents: int\n",
    "patience": "def is_busy(error): return False\n",
    "remorse": "def is_busy(error): return False\n",
    "doubts": "def ask(*_): pass\n",
    "undoing": "def undo(_): pass\n",
}


def test_why_names_the_modules_of_all_that_a_saga_names(
    say: Say, journal: SQLiteJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of functions, and of types in arguments and results: for want of one it would be parked."""
    monkeypatch.syspath_prepend(str(tmp_path))
    found: dict[str, Any] = {}
    for name, code in ROUND_ABOUT.items():
        written(tmp_path / f"{name}.py", code)
        found[name] = importlib.import_module(name)
    with closing(SQLiteJournal(journal.path, modules=["depot", *ROUND_ABOUT])) as wide:
        made = SagaAssembler.saga().operation(
            (do, "a", [found["goods"].Mug(found["sizes"].Size.BIG)], found["clerks"].Clerk),
            (found["undoing"].undo, found["manners"].greet),
            name="a",
            retry=Retry(found["patience"].is_busy),
            compensation_retry=Retry(found["remorse"].is_busy),
            on_doubt=found["doubts"].ask,
        )
        made.operation((do, "b"), name="b", pivot=True).operation((do, "c"), name="c")
        depot.behaviour.update({"a": lambda: found["receipts"].Receipt(7), "c": fail(ValueError())})
        run(made, wide)

    *_, last = remedies(say, "why", "x")

    assert set(re.findall(r"--modules (\w+)", last)) == {"depot", *ROUND_ABOUT}
    assert say("retry", "x")[0] == 0
    assert say(*shlex.split(last)[1:]) == (0, "x: COMPLETED\n")
    for name in ROUND_ABOUT:
        sys.modules.pop(name)


def test_why_says_if_sealed_values_may_name_modules(say: Say, sealed: SQLiteJournal) -> None:
    """Without the codec nobody can tell; with it, all are there."""
    order().start(journal=sealed, saga_id="x")

    for codec in ([], ["--codec", f"{__name__}:deaf"]):
        assert "to see which modules its sealed values name" in say("why", "x", *codec)[1]
    assert "sealed" not in say("why", "x", "--codec", f"{__name__}:backwards")[1]

    stuck(sealed, "y")
    hint = r"resolve y b --succeeded JSON --note TEXT\n .*; give the codec\n"
    assert re.search(hint, say("why", "y")[1])
    assert not re.search(hint, say("why", "y", "--codec", f"{__name__}:backwards")[1])


def test_what_goes_on_with_one_saga_leaves_all_others_alone(
    say: Say, journal: SQLiteJournal, tmp_path: Path
) -> None:
    """Those whose modules it does not list would be parked by a recovery."""
    errand(tmp_path, "one").start(journal=journal, saga_id="other")
    order().start(journal=journal, saga_id="x")

    type_in(say, "x", "takeover")

    assert status(journal) is SagaStatus.COMPLETED
    assert status(journal, "other") is SagaStatus.RUNNING


def test_what_why_prints_can_be_typed(say: Say, journal: SQLiteJournal) -> None:
    """Also where an id or the name of an operation begins as an option does."""
    made = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="-a")
    made.operation((do, "b"), name="b").start(journal=journal, saga_id="x")
    alter(journal, "UPDATE saga SET saga_id = '-x'")  # as it may be in an older journal
    type_in(say, "-x", "cancel")
    assert status(journal, "-x") is SagaStatus.COMPENSATED

    depot.behaviour.update({"b": fail(ValueError()), "undo a": fail(OSError())})
    run(made, journal, "force")
    alter(journal, "UPDATE saga SET saga_id = '--force' WHERE saga_id = 'force'")
    type_in(say, "--force", "retry")
    assert status(journal, "--force") is SagaStatus.COMPENSATING
    depot.behaviour["undo a"] = fail(OSError())
    say("recover", "--modules", "depot")
    type_in(say, "--force", "--compensated")
    assert status(journal, "--force") is SagaStatus.COMPENSATED


def type_in(say: Say, saga_id: str, word: str) -> tuple[int, str]:
    """Type the command with a word in it that `saga why` prints for a saga."""
    ended, said = say("why", "--json", "--", saga_id)
    assert ended == 0
    commands = [remedy["command"] for remedy in json.loads(said)["remedies"]]
    (command,) = [command for command in commands if word in command.split()]
    name, *arguments = shlex.split(command)
    assert name == "saga"
    ended, said = say(*arguments)
    assert ended == 0, said
    return ended, said


def test_why_names_the_codec_that_it_was_given(say: Say, sealed: SQLiteJournal) -> None:
    """Nothing that reads a value goes on without it."""
    order().start(journal=sealed, saga_id="x")
    codec = f"{__name__}:backwards"

    first, *_ = remedies(say, "why", "x", "--codec", codec)

    assert f"saga --codec {codec} " in first
    assert say(*shlex.split(first)[1:]) == (0, "x: COMPLETED\n")


def test_why_of_a_saga_that_waits(say: Say, journal: SQLiteJournal) -> None:
    """Recovery goes on; or it is cancelled, as long as that is possible."""
    order().start(journal=journal, saga_id="x")

    said = say("why", "x")[1]
    assert "It goes forward." in said
    assert "is still to be done" in said
    assert remedies(say, "why", "x") == ["saga takeover x --modules depot", "saga cancel x"]

    say("cancel", "x")
    assert say("why", "x")[1].count("is to be undone") == 0
    assert remedies(say, "why", "x") == []


def test_why_of_a_saga_whose_process_has_died(say: Say, journal: SQLiteJournal) -> None:
    """What was called is in doubt; what is owed is named."""
    order().start(journal=journal, saga_id="x")
    alter(journal, "UPDATE saga SET tries = 2, due = 4000000000000")
    called = ["started", 0, "action", 1, 1]
    append(journal, dumps([called]))
    said = say("why", "x")[1]
    assert "was called, and nobody knows what came of it: its process died or left" in said
    assert "recovery may try it again from" in said
    assert "recovery has tried it 2 times" in say("show", "x")[1]

    append(journal, dumps([["retry", 0, "action", 1, 1, [["m.Busy", "x"], 9.0]]]))
    assert "is tried again: Busy('x')" in say("why", "x")[1]
    rest = [
        ["started", 0, "action", 2, 1],
        ["succeeded", 0, "action", 2, 1, "A"],
        ["started", 1, "action", 1, 1],
    ]
    append(journal, dumps([*rest, ["abort", -1, "", 0, 0, ["m.Stop", "now"]]]))
    said = say("why", "x")[1]
    assert "It was told to stop: Stop('now')" in said
    assert "It is being undone." in said
    assert "stands, and is still to be undone" in said
    assert "was never started" in said
    assert "takeover" in remedies(say, "why", "x")[0]


@pytest.mark.parametrize("why", ["on_crash", "deadline"])
def test_why_of_a_saga_that_recovery_is_to_undo(say: Say, journal: SQLiteJournal, why: str) -> None:
    """Nobody has told it to stop: whoever goes on with it will."""
    saga = order(on_crash="compensate" if why == "on_crash" else "resume")
    saga.start(journal=journal, saga_id="x", deadline=0 if why == "deadline" else None)
    append(journal, dumps([["started", 0, "action", 1, 1], ["succeeded", 0, "action", 1, 1, "A"]]))

    said = say("why", "x")[1]
    assert (
        "It is to be undone, since its deadline has passed or it was left by its process." in said
    )
    assert "stands, and is still to be undone" in said
    assert said.count("was never started") == 2
    assert remedies(say, "why", "x") == ["saga takeover x --modules depot"]


def test_why_of_a_rollback_that_was_left(say: Say, journal: SQLiteJournal) -> None:
    """What stands, what is undone and what is on its way."""
    made = SagaAssembler.saga().operation((do, "a"), name="a")
    made.operation((do, "b"), (undo, "b"), name="b").operation((do, "c"), name="c")
    made.start(journal=journal, saga_id="x")
    rows: list[Any] = []
    for i in (0, 1):
        rows += [["started", i, "action", 1, 1], ["succeeded", i, "action", 1, 1, "R"]]
    rows += [["started", 2, "action", 1, 1], ["failed", 2, "action", 1, 1, ["m.No", "n"]]]
    append(journal, dumps([*rows, ["started", 1, "compensation", 1, 1]]))
    said = say("why", "x")[1]
    assert "stands; nothing undoes it" in said
    assert "its undo was called, and nobody knows what came of it" in said

    busy = ["retry", 1, "compensation", 1, 1, [["m.Busy", "x"], 9.0]]
    append(journal, dumps([busy]), SagaStatus.COMPENSATING)
    assert "its undo is tried again after Busy('x')" in say("why", "x")[1]

    undone = [["started", 1, "compensation", 2, 1], ["succeeded", 1, "compensation", 2, 1]]
    append(journal, dumps(undone), SagaStatus.COMPENSATED)
    said = say("why", "x")[1]
    assert "is undone" in said
    assert "a  SKIPPED" in said
    assert "All that can be undone is undone" in said


def test_why_of_what_may_have_happened(say: Say, journal: SQLiteJournal) -> None:
    """Doubt is not hidden, and the exception says of it what the command says."""
    lost = ["in doubt", 0, "action", 1, 1, [["m.Lost", "reply"], None, True, False]]
    called = ["started", 0, "action", 1, 1]
    recovered = ["recovered", -1, "", 0, 0, []]
    asked = [["started", 0, "ask", 1, 1], ["unknown", 0, "ask", 1, 1]]
    unknown = "nobody knows whether it happened"
    pivot = f"{unknown}, and it is the pivot"
    park = 'on_doubt="park" asks for a person'
    needs = "its compensation needs what the action returned, which nobody knows"
    cases: list[tuple[str, dict[str, Any], list[Any], str]] = [
        (
            "park",
            {"on_doubt": "park"},
            [called, lost],
            f"its action raised Lost('reply'), so {unknown}, and {park}",
        ),
        ("crash", {"on_doubt": "park"}, [called, recovered], f"{unknown}, and {park}"),
        ("old", {}, [called, ["recovered", -1, "", 0, 0, [0]]], "the service may have forgotten"),
        ("lost", {}, [called, lost], f"its action raised Lost('reply'), and {needs}"),
        (
            "pivot",
            {"pivot": True},
            [called, lost],
            f"its action raised Lost('reply'), so {pivot}: a function in on_doubt= can tell",
        ),
        (
            "vain",
            {"pivot": True, "on_doubt": ask},
            [called, [*lost[:5], [["m.Lost", "reply"], None, False, False]], *asked],
            f"its action raised Lost('reply'), so {pivot}: on_doubt= could not tell either",
        ),
    ]
    for saga_id, options, rows, expected in cases:
        made = SagaAssembler.saga()
        result = result_of() if saga_id == "lost" else 1
        undoing = {} if "pivot" in options else {"compensation": (undo, "a", result)}
        made.operation((do, "a"), *undoing.values(), name="a", **options)
        made.operation((do, "b"), name="b").start(journal=journal, saga_id=saga_id)
        append(journal, dumps(rows), SagaStatus.STUCK, saga_id)
        ended, said = say("why", saga_id)
        assert (ended, f"  a  STUCK    {expected}" in said) == (0, True), said
        with pytest.raises(SagaStuck, match=re.escape(f"STUCK a: {expected}")):
            made.orchestrator_execute(journal=journal, saga_id=saga_id)
    assert "the attempt was abandoned and may still land" in say("show", "lost")[1]

    made = SagaAssembler.saga().operation((do, "a"), name="a").operation((do, "b"), name="b")
    made.start(journal=journal, saga_id="skip")
    append(journal, dumps([called, lost]), SagaStatus.COMPENSATED, "skip")
    assert "may stand; nothing undoes it: Lost('reply')" in say("why", "skip")[1]


def test_why_of_what_cannot_be_undone_for_want_of_a_result(
    say: Say, journal: SQLiteJournal
) -> None:
    """To call it once more would not help, so it is neither listed nor done; to say it does."""
    made = SagaAssembler.saga().operation((do, "z"), (undo, "z"), name="z")
    made.operation((do, "a"), (undo, "a", result_of()), name="a")
    depot.behaviour.update({"a": fail(ConnectionResetError("lost")), "undo z": fail(OSError())})
    run(made, journal)
    raised = "its action raised ConnectionResetError('lost')"
    true = f"{raised}, and its compensation needs what the action returned, which nobody knows"

    said = say("why", "x")[1]
    assert "calls once more what is stuck and can be called" in said
    assert true in said
    say("retry", "x")
    say("recover", "--modules", "depot")
    assert remedies(say, "why", "x")[0] == "saga resolve x a --succeeded JSON --note TEXT"
    ended, said = say("retry", "x")
    assert (ended, "no call can undo what is stuck" in said) == (1, True)

    repair.resolve(journal, "x", "a", Status.SUCCEEDED, who="ada", why="without its result")
    say("recover", "--modules", "depot")
    assert true in say("why", "x")[1]
    say("resolve", "x", "a", "--succeeded", '"A"', "--note", "found it")
    say("recover", "--modules", "depot")
    assert (status(journal), depot.log[-1]) == (SagaStatus.COMPENSATED, "undo a")


def test_why_of_what_was_given_up_and_succeeded_after_all(say: Say, journal: SQLiteJournal) -> None:
    """Nobody is asked whether it happened, nor is it offered, or believed, that it did not."""
    go_on = threading.Event()
    depot.behaviour["a"] = lambda: go_on.wait(10) and "A"
    made = SagaAssembler.saga().operation(
        (do, "a"), (undo, "a"), name="a", timeout=0.05, on_doubt="park"
    )
    with pytest.raises(SagaStuck):
        made.operation((do, "b"), name="b").orchestrator_execute(journal=journal, saga_id="x")
    assert "nobody knows whether it happened" in say("why", "x")[1]
    go_on.set()
    wait_until(lambda: "succeeded, and returned" in say("show", "x")[1])
    wait_until(lambda: not journal.drives(seen(journal, "x")))

    assert "a  STUCK    it was given up, and succeeded after all" in say("why", "x")[1]
    assert remedies(say, "why", "x") == [
        "saga retry x",
        "saga resolve x a --succeeded JSON --note TEXT",
        "saga resolve x a --compensated --note TEXT",
        "saga resolve x a --skipped --note TEXT",
        "saga takeover x --modules depot",
    ]
    ended, said = say("resolve", "x", "a", "--failed", "--note", "n")
    assert (ended, "given up, but succeeded after all, as is on record" in said) == (1, True)

    assert say("retry", "x")[0] == 0
    say("recover", "--modules", "depot")
    assert (status(journal), depot.standing) == (SagaStatus.COMPENSATED, [])


def test_why_of_a_saga_that_needs_a_decision_before_either_way(
    say: Say, journal: SQLiteJournal
) -> None:
    """A pivot in doubt, of which nobody knows whether it was passed."""
    made = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a")
    made.operation((do, "b"), name="b", pivot=True, on_doubt="park")
    made.start(journal=journal, saga_id="x")
    rows = [["started", 0, "action", 1, 1], ["succeeded", 0, "action", 1, 1, "A"]]
    rows += [["started", 1, "action", 1, 1], ["recovered", -1, "", 0, 0, []]]
    append(journal, dumps(rows), SagaStatus.STUCK)

    said = say("why", "x")[1]

    assert "It can go neither forward nor back before a person decides." in said
    assert "and it is the pivot: a function in on_doubt= can tell" in said
    assert "saga resolve x b --failed --note TEXT" in said
    assert "saga compensate" not in said


def began(*operations: int) -> list[Any]:
    """Give entries in which these operations succeeded, one after the other."""
    rows: list[Any] = []
    for i in operations:
        rows += [["started", i, "action", 1, 1], ["succeeded", i, "action", 1, 1, "R"]]
    return rows


@pytest.mark.parametrize(("came", "ends"), [(True, "COMPLETED"), (False, "COMPENSATED")])
def test_why_of_a_saga_whose_process_died_in_its_pivot(
    say: Say, journal: SQLiteJournal, *, came: bool, ends: str
) -> None:
    """That it is undone is a promise only if the pivot turns out not to have happened."""
    made = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a")
    made.operation((do, "b"), name="b", pivot=True, on_doubt=ask).operation((do, "c"), name="c")
    made.start(journal=journal, saga_id="x")
    append(journal, dumps([*began(0), ["started", 1, "action", 1, 1]]))
    depot.standing.extend(["a", "b"] if came else ["a"])

    said = say("why", "x")[1]
    assert "It goes forward.\n" in said
    assert "has it undone instead, if it turns out that its pivot did not happen" in said
    ended, said = say("cancel", "x")
    assert (ended, said) == (
        0,
        "x: RUNNING; `saga recover` finds out whether its pivot happened, and undoes it if not\n",
    )
    said = say("why", "x")[1]
    assert "If it did not, the saga is undone; if it did, it goes forward." in said
    assert "is done, and is undone if the pivot did not happen" in said
    assert "is still to be done, if the pivot happened" in said
    assert "being undone" not in said
    assert "saga cancel" not in said
    assert say("recover", "--modules", "depot")[1].startswith(f"x: {ends}")


def test_a_cancelled_saga_that_was_in_a_call_will_be_undone(
    say: Say, journal: SQLiteJournal
) -> None:
    """It is open until recovery has done so, and does not go on."""
    order().start(journal=journal, saga_id="x")
    append(journal, dumps([["started", 0, "action", 1, 1]]))

    assert say("cancel", "x") == (0, "x: RUNNING; it will be undone: `saga recover` does it\n")
    assert "It is being undone." in say("why", "x")[1]
    assert say("recover", "--modules", "depot")[1].startswith("x: COMPENSATED")


def test_why_names_no_way_back_past_the_pivot(say: Say, journal: SQLiteJournal) -> None:
    """Neither of a saga that waits, nor of one that recovery gave up."""
    forward().start(journal=journal, saga_id="x")
    append(journal, dumps(began(0, 1)))

    said = say("why", "x")[1]
    assert "It goes forward. It has passed its pivot, so it cannot be undone any more." in said
    assert remedies(say, "why", "x") == ["saga takeover x --modules depot"]
    assert say("cancel", "x")[0] == 1

    append(journal, dumps([["parked", {"reason": "why"}]]), SagaStatus.STUCK)
    assert remedies(say, "why", "x") == ["saga retry x", "saga takeover x --modules depot"]
    assert say("compensate", "x")[0] == 1


def test_why_of_a_saga_that_recovery_gave_up(say: Say, journal: SQLiteJournal) -> None:
    """The reason, and how to let it go on or be undone."""
    order().start(journal=journal, saga_id="x")
    append(journal, dumps([["parked", {"reason": "no such function"}]]), SagaStatus.STUCK)

    said = say("why", "x")[1]

    assert "recovery gave up: no such function" in said
    assert "until a person says go on" in said
    assert remedies(say, "why", "x") == [
        "saga retry x",
        "saga compensate x",
        "saga takeover x --modules depot",
    ]
    say("retry", "x")
    assert "gave up" not in say("why", "x")[1]


def test_why_of_a_saga_that_has_ended(say: Say, journal: SQLiteJournal) -> None:
    """There is nothing to do, whether its details are there or not."""
    run(order(), journal)
    said = say("why", "x")[1]
    assert "There is nothing to do." in said
    assert "is done" in said

    say("purge", "--older-than", "0s")
    said = say("why", "x")[1]
    assert "its details were purged" in said
    assert "There is nothing to do." in said
    assert "its details were purged" in say("show", "x")[1]
    assert say("graph", "x") == (1, "saga: saga 'x' cannot be drawn: its details were purged\n")


def test_what_needs_nobody_is_not_explained_away(say: Say, journal: SQLiteJournal) -> None:
    """Rows that are gone, of a saga that should be open, are a fault."""
    order().start(journal=journal, saga_id="x")
    alter(journal, "DELETE FROM entry")
    assert say("show", "x")[0] == 1
    alter(journal, "UPDATE saga SET digest = 'd'")
    ended, said = say("why", "x", "--json")
    assert (ended, json.loads(said)["says"]) == (0, [])


# --- deciding ------------------------------------------------------------------------------------


def notes(journal: Any, saga_id: str = "x") -> list[dict[str, str]]:
    """Give the notes of decisions that a journal has of a saga."""
    lines = [line for body in bodies(journal, saga_id) for line in json.loads(body)]
    return [line[1] for line in lines if line[0] == "note"]


def test_what_is_stuck_is_retried(say: Say, journal: SQLiteJournal) -> None:
    """It is a decision, on record; recovery does the rest."""
    stuck(journal)

    assert say("retry", "x", "--who", "ada", "--note", "bank is up") == (
        0,
        "x: COMPENSATING; `saga recover` undoes what is left of it\n",
    )

    assert notes(journal) == [{"who": "ada", "why": "bank is up", "did": "retry"}]
    assert "undo b" not in depot.log[-1]
    assert say("recover", "--modules", "depot")[0] == 0
    assert status(journal) is SagaStatus.COMPENSATED
    assert depot.keys[-1] == "x:b:compensation"


def test_what_a_person_has_said_of_one_operation_is_told(say: Say, journal: SQLiteJournal) -> None:
    """Until recovery has called it once more; of the other, nothing was said."""
    depot.behaviour.update({name: fail(OSError("down")) for name in ("undo a", "undo b", "c")})
    run(chain("a", "b", "c"), journal)

    assert say("retry", "x", "b")[0] == 0

    raised = "STUCK   its compensation raised OSError('down')"
    told = f"b  {raised}; a person said once more, so recovery calls it"
    assert told in say("why", "x")[1]
    assert f"a  {raised}\n" in say("why", "x")[1]
    say("recover", "--modules", "depot")
    assert "said once more" not in say("why", "x")[1]
    assert depot.log[3:] == ["undo b", "undo a", "undo b"]


def test_what_is_not_stuck_anywhere_is_not_retried(say: Say, journal: SQLiteJournal) -> None:
    """A saga that was parked though it had ended leaves nothing to call."""
    run(order(), journal)
    alter(journal, "UPDATE saga SET status = 2")

    ended, said = say("retry", "x")

    assert (ended, "has no operation that is stuck" in said) == (1, True)


def test_one_operation_is_retried_under_a_new_key(say: Say, journal: SQLiteJournal) -> None:
    """For a service that has made up its mind."""
    stuck(journal)

    assert say("retry", "x", "b", "--new-key")[0] == 0

    say("recover", "--modules", "depot")
    assert depot.keys[-1] == "x:b:compensation:2"
    who = notes(journal)[0]["who"]
    assert re.fullmatch(r".+@.+", who)


def test_who_decides_has_a_name_even_in_a_container(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody has a login name, the number of the user will do."""
    stuck(journal)
    monkeypatch.setattr("getpass.getuser", fail(KeyError("uid not found")))

    say("retry", "x")

    assert notes(journal)[0]["who"].startswith(f"user {os.getuid()}@")


def test_a_stuck_operation_is_resolved(say: Say, journal: SQLiteJournal) -> None:
    """With what a person has found out, or done."""
    stuck(journal)

    assert say("resolve", "x", "b", "--compensated", "--note", "by hand") == (
        0,
        "x: COMPENSATED; it has ended\n",
    )
    assert status(journal) is SagaStatus.COMPENSATED
    stuck_forward(journal, "y")
    told = '{"price": {"$decimal": "1.20"}}'
    assert say("resolve", "y", "c", "--succeeded", told, "--note", "asked")[0] == 0
    assert 'with {"price":{"$decimal":"1.20"}}' in say("show", "y", "--values")[1]
    say("recover", "--modules", "depot")
    assert status(journal, "y") is SagaStatus.COMPLETED
    stuck(journal, "z")
    assert say("resolve", "z", "b", "--failed", "--note", "never was")[0] == 0
    assert status(journal, "z") is SagaStatus.COMPENSATED


def test_a_value_of_a_type_that_lies_where_one_stands_is_resolved(
    say: Say, journal: SQLiteJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its module is found as recovery finds it, and one that is not there is said at once."""
    (tmp_path / "parcels.py").write_text(
        "from dataclasses import dataclass\n\n\n@dataclass\nclass Parcel:\n    number: int\n"
    )
    monkeypatch.chdir(tmp_path)
    stuck_forward(journal)
    value = '{"$dataclass":["parcels:Parcel",{"number":7}]}'
    decision = ["resolve", "x", "c", "--succeeded", value, "--note", "asked them"]

    ended, said = say(*decision, "--modules", "parcel")
    assert (ended, "cannot import 'parcel'" in said) == (1, True)
    assert status(journal) is SagaStatus.STUCK

    assert say(*decision, "--modules", "parcels")[0] == 0
    sys.modules.pop("parcels")
    number = seen(journal, "x").number
    assert value in journal.rows([number])[number][-1].body


def test_a_person_says_that_a_call_which_was_given_up_has_ended(
    say: Say, journal: SQLiteJournal
) -> None:
    """The journal can't know: until then nothing is decided that it would contradict."""
    go_on = threading.Event()
    depot.behaviour.update({"undo a": lambda: go_on.wait(10), "b": fail(ValueError())})
    made = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a", timeout=0.05)
    with pytest.raises(SagaStuck):
        made.operation((do, "b")).orchestrator_execute(journal=journal, saga_id="x")
    decision = ["resolve", "x", "a", "--succeeded", '"A"', "--note", "its undo is dead"]

    ended, said = say(*decision)
    assert (ended, "may still be running" in said) == (1, True)
    ended, said = say("retry", "x")
    assert (ended, "--ended" in said) == (1, True)
    assert "only if the calls that were given up have ended for sure" in say("why", "x")[1]
    assert remedies(say, "why", "x") == [
        "saga retry x --ended",
        "saga resolve x a --succeeded JSON --ended --note TEXT",
        "saga resolve x a --failed --note TEXT",
        "saga resolve x a --compensated --note TEXT",
        "saga resolve x a --skipped --note TEXT",
        "saga takeover x --modules depot",
    ]
    assert say(*decision, "--ended") == (
        0,
        "x: COMPENSATING; `saga recover` undoes what is left of it\n",
    )

    depot.behaviour.clear()
    say("recover", "--modules", "depot")
    assert (status(journal), depot.standing) == (SagaStatus.COMPENSATED, [])
    go_on.set()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give one of --succeeded JSON, --failed, --compensated, --skipped"),
        (["--failed", "--skipped"], "give one of"),
        (["--succeeded", "{"], "--succeeded: not JSON"),
        (["--succeeded", '{"$enum": ["shop:Size", "BIG"]}'], "does not list in modules="),
        (["--failed", "--note", " "], "argument --note: expected some words, got ' '"),
        (["--failed", "--who", ""], "argument --who: expected some words, got ''"),
    ],
)
def test_a_resolution_must_say_what_came_of_it(
    arguments: list[str], words: str, say: Say, journal: SQLiteJournal
) -> None:
    """Exactly one thing, and in JSON; nothing is changed otherwise."""
    stuck(journal)

    ended, said = say("resolve", "x", "b", "--note", "n", *arguments)

    assert (ended, words in said) == (2, True)
    assert notes(journal) == []


def test_a_decision_that_makes_no_sense_is_refused(say: Say, journal: SQLiteJournal) -> None:
    """Nothing is changed, and the message says why."""
    stuck_forward(journal)
    stuck(journal, "y")
    before = [seen(journal, saga_id) for saga_id in ("x", "y")]

    for arguments, expected in (
        (["compensate", "x"], "has passed its pivot"),
        (["compensate", "nope"], "there is no saga 'nope'"),
        (["resolve", "x", "z", "--failed", "--note", "n"], "there is no operation 'z'"),
        (["resolve", "nope", "z", "--succeeded", "1", "--note", "n"], "there is no saga 'nope'"),
        (["compensate", "y"], "is being undone already"),
        (["cancel", "x"], "is stuck, so nothing is to come that could be cancelled"),
        (["cancel", "nope"], "there is no saga 'nope'"),
    ):
        ended, said = say(*arguments)
        assert (ended, expected in said) == (1, True), said
    assert notes(journal) == []
    assert [seen(journal, saga_id) for saga_id in ("x", "y")] == before


def test_a_stuck_saga_is_given_up(say: Say, journal: SQLiteJournal) -> None:
    """Whichever way it was going; `saga recover` undoes it."""
    order().start(journal=journal, saga_id="x")
    append(journal, dumps([["parked", {"reason": "why"}]]), SagaStatus.STUCK)

    assert say("compensate", "x", "--note", "no more")[0] == 0

    assert status(journal) is SagaStatus.COMPENSATED
    assert depot.log == []


def test_an_open_saga_that_nobody_drives_is_cancelled(say: Say, journal: SQLiteJournal) -> None:
    """Before it has begun, that is all."""
    order().start(journal=journal, saga_id="x")

    assert say("cancel", "x", "--note", "changed my mind") == (0, "x: COMPENSATED; it has ended\n")

    assert notes(journal)[0]["why"] == "changed my mind"
    assert "It was told to stop: InterruptedError(" in say("why", "x")[1]
    ended, said = say("cancel", "x")
    assert (ended, "has ended: it is compensated" in said) == (1, True)


def test_what_is_sealed_is_not_resolved_with_a_value_in_the_open(
    say: Say, sealed: SQLiteJournal
) -> None:
    """The codec must be given; then the value is sealed like the others."""
    stuck_forward(sealed)

    ended, said = say("resolve", "x", "c", "--succeeded", '"plain"', "--note", "n")
    assert ended == 1
    assert "--codec MODULE:OBJECT" in said
    assert "SAGA_CODEC" in said

    codec = ["--codec", f"{__name__}:backwards"]
    assert say("resolve", "x", "c", "--succeeded", '"plain"', "--note", "n", *codec)[0] == 0
    rows = sealed.rows([seen(sealed, "x").number])[seen(sealed, "x").number]
    assert '"plain"' not in rows[-1].body
    assert "nialp" in rows[-1].body


# --- recovering ----------------------------------------------------------------------------------


def test_recovery_says_what_became_of_each_saga(say: Say, journal: SQLiteJournal) -> None:
    """Oldest first; 4 if a person must look at one of them."""
    order().start(journal=journal, saga_id="x")
    assert say("recover", "--modules", "depot") == (0, "x: COMPLETED\n")
    assert say("recover", "--modules", "depot") == (0, "nothing to recover\n")

    order().start(journal=journal, saga_id="y")
    forward().start(journal=journal, saga_id="z")
    depot.behaviour["c"] = fail(ValueError("no courier"))
    ended, said = say("recover", "--modules", "depot", "--workers", "1")

    assert ended == 4
    first, second = said.splitlines()[:2]
    assert first == (
        "y: COMPENSATED: operation 'c' failed: ValueError('no courier'); compensated: b, a"
    )
    assert second.startswith("z: STUCK: operation 'c' failed: ValueError('no courier')")


def test_recovery_ends_with_an_error_if_a_saga_is_to_be_tried_again(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A saga that could not be written to its end stays open; a limit leaves others alone."""
    order().start(journal=journal, saga_id="x")
    order().start(journal=journal, saga_id="y")

    def full() -> None:
        monkeypatch.setattr(SQLiteJournal, "write", lambda _, *changes: refuse(*changes))

    depot.behaviour["b"] = full
    ended, said = say("recover", "--modules", "depot", "--limit", "1")

    assert ended == 1
    assert re.match(r"x: RUNNING, to be tried again: .*the disk is full", said)
    assert status(journal, "y") is SagaStatus.RUNNING
    assert seen(journal, "y").tries == 0


def refuse(*changes: Any) -> None:
    """Settle changes as a disk does that is full."""
    for change in changes:
        change.error, change.settled = JournalError("the disk is full"), True


def test_an_error_without_a_text_is_named() -> None:
    """There is always something behind the colon."""
    done = Recovered("x", SagaStatus.STUCK, RecordedError("m.Odd", ""))
    assert recovering.line(done) == "x: STUCK: Odd('')"


class Flags:
    """Those of Python, of which one can be set."""

    safe_path = True
    _real = sys.flags

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def test_modules_are_looked_for_where_one_stands(
    say: Say, journal: SQLiteJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `python -m` does it, unless Python was told not to; what is missing is said at once."""
    (tmp_path / "just_here.py").write_text("from depot import do\n")
    order().start(journal=journal, saga_id="x")
    monkeypatch.chdir(tmp_path)
    flags = Flags()
    monkeypatch.setattr(sys, "flags", flags)
    ended, said = say("recover", "--modules", "depot", "--modules", "just_here.*")
    assert (ended, "cannot import 'just_here'" in said) == (1, True)
    assert seen(journal, "x").tries == 0
    flags.safe_path = False

    assert say("recover", "--modules", "depot", "--modules", "just_here.*") == (
        0,
        "x: COMPLETED\n",
    )
    assert say("recover", "--modules", "just_here") == (0, "nothing to recover\n")
    sys.modules.pop("just_here")


def test_what_was_renamed_is_found_by_an_alias(say: Say, journal: SQLiteJournal) -> None:
    """One that leads nowhere is refused before anything is tried."""
    order().start(journal=journal, saga_id="x")
    alter(journal, "UPDATE entry SET body = replace(body, 'depot:', 'old.depot:')")
    recover = ["recover", "--modules", "depot"]

    ended, said = say(*recover, "--alias", "old.depot=older.depot")
    assert (ended, "which is not in modules=" in said) == (2, True)
    assert say(*recover, "--alias", "old.depot=depot") == (0, "x: COMPLETED\n")


LEFT_ALONE = "RUNNING, left alone: its values are sealed: give the codec"


@pytest.mark.parametrize("tries", [0, 9, 10])
def test_what_is_sealed_is_not_given_up_for_want_of_a_codec(
    tries: int, say: Say, sealed: SQLiteJournal
) -> None:
    """Without it nothing is begun, however often it was tried before; with it, all goes on."""
    order().start(journal=sealed, saga_id="x")
    alter(sealed, "UPDATE saga SET tries = ?", tries)
    before = seen(sealed, "x")

    for arguments in (["takeover", "x"], ["plan-deploy"]):
        ended, said = say(*arguments, "--modules", "depot")
        assert ended == 1
        assert "saga 'x': its values are sealed: give the codec" in said
    ended, said = say("recover", "--modules", "depot")
    assert (ended, said.startswith(f"x: {LEFT_ALONE} that ")) == (1, True)
    assert seen(sealed, "x") == before

    codec = ["--codec", f"{__name__}:backwards"]
    assert say("plan-deploy", "--modules", "depot", *codec)[0] == 0
    if tries < 10:
        assert say("recover", "--modules", "depot", *codec) == (0, "x: COMPLETED\n")


def test_what_is_sealed_keeps_nothing_else_from_being_recovered(
    say: Say, sealed: SQLiteJournal, journal: SQLiteJournal
) -> None:
    """It does not count for the limit either; a text that looks like a seal is none."""
    plain = SagaAssembler.saga().operation((do, "$sealed"))
    for number in range(99):  # with the next two, more than are read at once
        order().start(journal=sealed, saga_id=f"sealed-{number}")
    plain.start(journal=journal, saga_id="x")
    plain.start(journal=journal, saga_id="y")
    order().start(journal=sealed, saga_id="sealed-too")

    ended, said = say("recover", "--modules", "depot", "--limit", "1")
    assert (ended, said.count(LEFT_ALONE)) == (1, 99)
    assert said.startswith(f"x: COMPLETED\nsealed-0: {LEFT_ALONE}")
    assert status(journal, "y") is SagaStatus.RUNNING

    ended, said = say("recover", "--modules", "depot")
    assert (ended, said.count(LEFT_ALONE)) == (1, 100)
    assert said.startswith("y: COMPLETED\n")
    assert status(sealed, "sealed-too") is SagaStatus.RUNNING


def test_a_saga_that_the_disk_has_damaged_keeps_no_other_from_being_recovered(
    say: Say, sealed: SQLiteJournal, journal: SQLiteJournal
) -> None:
    """It is tried, and says why it cannot be read; what is sealed is still left alone."""
    SagaAssembler.saga().operation((do, "M" * 30_000)).start(journal=journal, saga_id="x")
    order().start(journal=sealed, saga_id="y")
    order().start(journal=journal, saga_id="z")
    journal.close()
    sealed.close()
    with Path(journal.path).open("r+b") as file:
        file.seek(file.read().index(b"M" * 4000) // 4096 * 4096)  # a page: where the next one is
        file.write(b"\xff" * 4)

    ended, said = say("recover", "--modules", "depot")

    assert ended == 1
    assert re.search(r"x: RUNNING, to be tried again: .*cannot be read: database disk image", said)
    assert f"y: {LEFT_ALONE}" in said
    assert "z: COMPLETED" in said
    assert (seen(journal, "x").tries, seen(journal, "y").tries) == (1, 0)


def test_a_row_of_bytes_keeps_no_other_saga_from_being_recovered(
    say: Say, journal: SQLiteJournal
) -> None:
    """Whoever has edited the file: SQLite keeps in a column what it is given."""
    for saga_id in ("x", "y", "z"):
        order().start(journal=journal, saga_id=saga_id)
    which = "UPDATE entry SET body = {} WHERE saga = (SELECT number FROM saga WHERE saga_id = ?)"
    alter(journal, which.format("x'ff00'"), "x")
    alter(journal, which.format("CAST(body AS BLOB)"), "y")

    ended, said = say("recover", "--modules", "depot")

    assert ended == 4
    assert re.search(r"x: STUCK: .*row 1 is damaged", said)
    assert "y: COMPLETED" in said
    assert "z: COMPLETED" in said


def test_what_cannot_be_read_is_overdue_and_counted(say: Say, journal: SQLiteJournal) -> None:
    """A monitor that fails says nothing of what else is wrong."""
    SagaAssembler.saga().operation((do, "M" * 30_000)).start(journal=journal, saga_id="x")
    order().start(journal=journal, saga_id="y")
    order().start(journal=journal, saga_id="z")
    append(journal, "[]", saga_id="z")
    alter(journal, "UPDATE entry SET at = 'long ago' WHERE n = 1")
    alter(journal, "UPDATE saga SET changed = 0")
    with Path(journal.path).open("r+b") as file:
        file.seek(file.read().index(b"M" * 4000) // 4096 * 4096)  # a page: where the next one is
        file.write(b"\xff" * 4)

    ended, said = say("check")

    assert ended == 4
    assert said.startswith("0 stuck, 2 overdue (open, undriven for 5m), ")


def test_one_saga_is_taken_over(say: Say, journal: SQLiteJournal) -> None:
    """Due or not; what has ended is left as it is."""
    order().start(journal=journal, saga_id="x")
    alter(journal, "UPDATE saga SET due = (strftime('%s', 'now') + 1800) * 1000")
    assert say("recover", "--modules", "depot") == (0, "nothing to recover\n")

    assert say("takeover", "x", "--modules", "depot") == (0, "x: COMPLETED\n")
    assert say("takeover", "x", "--modules", "depot") == (0, "x: COMPLETED: it was left as it is\n")
    ended, said = say("takeover", "nope", "--modules", "depot")
    assert (ended, "there is no saga 'nope'" in said) == (1, True)


def test_a_takeover_is_shown_with_who_and_why(say: Say, journal: SQLiteJournal) -> None:
    """As a decision is: one who says nothing is at the keyboard."""
    order().start(journal=journal, saga_id="x")
    order().start(journal=journal, saga_id="y")
    take = ["takeover", "--modules", "depot"]

    assert say(*take, "x", "--force", "--who", "ada", "--note", "it hangs")[0] == 0
    assert say(*take, "y")[0] == 0

    assert "ada decided: take over by force: it hangs" in say("show", "x")[1]
    (note,) = notes(journal, "y")
    assert re.fullmatch(r".+@.+", note.pop("who"))
    assert note == {"why": "", "did": "take over"}


# --- a worker ------------------------------------------------------------------------------------


def tell(number: int = signal.SIGTERM) -> None:
    """Send this process a signal, once it is a worker, which takes it in."""
    wait_until(lambda: isinstance(getattr(signal.getsignal(number), "__self__", None), Worker))
    os.kill(os.getpid(), number)


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so; it is an error if it never is."""
    limit = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < limit, "it never came to that"
        time.sleep(0.01)


@contextmanager
def meanwhile(action: Callable[[], object]) -> Iterator[None]:
    """Do something in a thread while something else is done."""
    thread = threading.Thread(target=action)
    thread.start()
    yield
    thread.join()


def test_a_worker_recovers_until_it_is_told_to_end(say: Say, journal: SQLiteJournal) -> None:
    """Also what comes while it is at work; a line for each, and status 0."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    order().start(journal=journal, saga_id="x")

    def proceed() -> None:
        forward().start(journal=journal, saga_id="y")
        wait_until(lambda: status(journal, "y") is SagaStatus.COMPLETED)
        tell(signal.SIGINT)

    with meanwhile(proceed):
        ended, said = say("worker", "--modules", "depot", "--interval", "0.05")

    assert ended == 0
    first, *rest, last = re.findall(r"Z (.*)", said)
    promise = "it ends within 20 s of a signal"
    assert (first, last) == (f"at work: 8 sagas at once, every 0.05 s; {promise}", "ended")
    assert sorted(rest) == [
        "told to end; 0 threads still at work",
        "x: COMPLETED",
        "y: COMPLETED",
    ]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_the_limit_of_a_worker_is_for_one_round(say: Say, journal: SQLiteJournal) -> None:
    """It goes on in the next one, and its help says so."""
    order().start(journal=journal, saga_id="x")
    order().start(journal=journal, saga_id="y")

    def proceed() -> None:
        wait_until(lambda: status(journal, "y") is SagaStatus.COMPLETED)
        tell()

    with meanwhile(proceed):
        assert say("worker", "--modules", "depot", "--limit", "1", "--interval", "0.02")[0] == 0

    assert status(journal, "x") is SagaStatus.COMPLETED
    assert "--limit N             sagas in a round" in say("worker", "-h")[1]
    assert "--limit N             sagas in all" in say("recover", "-h")[1]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each look for what is to be recovered, as it is taken."""
    waiting, looks = SQLiteJournal.waiting, []

    def looked(*arguments: Any) -> Any:
        looks.append(arguments)
        return waiting(*arguments)

    monkeypatch.setattr(SQLiteJournal, "waiting", looked)
    return looks


def test_a_worker_without_work_looks_again_and_says_nothing(
    say: Say, journal: SQLiteJournal, looks: list[Any]
) -> None:
    """Until it is told to end."""

    def proceed() -> None:
        wait_until(lambda: len(looks) >= 3)
        tell()

    assert journal.waiting(0.0) == []
    with meanwhile(proceed):
        ended, said = say("worker", "--modules", "depot", "--interval", "0.02")

    assert ended == 0
    assert re.findall(r"Z (.*)", said) == [
        "at work: 8 sagas at once, every 0.02 s; it ends within 20 s of a signal",
        "told to end; 0 threads still at work",
        "ended",
    ]


def test_a_worker_lets_what_runs_end_and_begins_nothing_more(
    say: Say, journal: SQLiteJournal
) -> None:
    """With one thread, the second saga is left for the next one."""

    def told() -> None:
        time.sleep(0.15)
        tell()
        time.sleep(0.15)

    depot.behaviour["a"] = told
    order().start(journal=journal, saga_id="x")
    order().start(journal=journal, saga_id="y")

    ended, said = say("worker", "--modules", "depot", "--workers", "1", "--interval", "0.02")

    assert ended == 0
    assert "told to end; " in said
    assert (status(journal, "x"), status(journal, "y")) == (
        SagaStatus.COMPLETED,
        SagaStatus.RUNNING,
    )
    assert depot.log == ["a", "b", "c"]
    assert not journal.drives(seen(journal, "y"))


def test_a_saga_that_takes_long_keeps_no_other_from_beginning(
    say: Say, journal: SQLiteJournal
) -> None:
    """A round does not wait for the one before."""
    begun = threading.Event()

    def wait() -> None:
        order().start(journal=journal, saga_id="y")
        begun.wait(60)

    depot.behaviour["p"] = wait
    depot.behaviour["a"] = begun.set
    depot.behaviour["c"] = tell
    SagaAssembler.saga().operation((do, "p")).start(journal=journal, saga_id="x")

    ended, _ = say("worker", "--modules", "depot", "--workers", "2", "--interval", "0.02")

    assert ended == 0
    assert (status(journal, "x"), status(journal, "y")) == (SagaStatus.COMPLETED,) * 2
    assert begun.is_set()


def test_a_worker_waits_for_a_journal_that_is_not_there_yet(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    """It says so once, makes none, and recovers as soon as there is one."""
    path = tmp_path / "later.db"
    work = ["worker", "--journal", str(path), "--modules", "depot", "--interval", "0.02"]
    at_work = start(*work)
    at_work.until_said(f"Z there is no journal {path}; looking every 0.02 s, for 300 s at most")
    path.touch()  # as whoever makes one begins
    time.sleep(0.1)
    path.unlink()

    with closing(SQLiteJournal(path, modules=["depot"])) as journal:
        order().start(journal=journal, saga_id="x")
        at_work.until_said("x: COMPLETED")
    at_work.process.send_signal(signal.SIGTERM)
    ended, said = at_work.end()

    assert ended == 0
    assert re.findall(r"Z (.*)", said) == [
        f"there is no journal {path}; looking every 0.02 s, for 300 s at most",
        "at work: 8 sagas at once, every 0.02 s; it ends within 20 s of a signal",
        "x: COMPLETED",
        "told to end; 0 threads still at work",
        "ended",
    ]


def test_a_worker_that_waits_for_its_journal_ends_when_it_is_told(say: Say, tmp_path: Path) -> None:
    """At once, and in peace; what will never do is said before it waits."""
    work = ["worker", "--journal", str(tmp_path / "later.db"), "--interval", "3600", "--modules"]
    assert say(*work, "nope")[0] == 1
    assert say(*work, "depot", "--codec", "nope:codec")[0] == 1
    ended, said = say("worker", "--journal", os.devnull, "--modules", "depot")
    assert (ended, "is no file, but a device or a pipe" in said) == (1, True)

    with meanwhile(tell):
        ended, said = say(*work, "depot")

    assert ended == 0
    assert [line.partition("Z ")[2].split()[0] for line in said.splitlines()] == ["there", "ended"]
    assert [*tmp_path.iterdir()] == []


def test_a_worker_outlives_a_journal_that_cannot_be_used(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, and tries again in the next round."""
    order().start(journal=journal, saga_id="x")
    waiting, times = SQLiteJournal.waiting, iter(range(9))

    def locked(*arguments: Any) -> Any:
        if next(times) < 2:
            raise JournalError("database is locked")
        return waiting(*arguments)

    monkeypatch.setattr(SQLiteJournal, "waiting", locked)
    depot.behaviour["c"] = tell
    ended, said = say("worker", "--modules", "depot", "--interval", "0.02")

    assert ended == 0
    assert said.count("the journal cannot be used, and is tried again: database is locked") == 2
    assert status(journal) is SagaStatus.COMPLETED


def test_a_worker_makes_no_journal_where_one_was_removed(
    say: Say, journal: SQLiteJournal, looks: list[Any]
) -> None:
    """It waits for the application to make it anew, and says so once."""
    folder = Path(journal.path).parent
    found: list[Path] = []
    assert journal.select() == []

    def proceed() -> None:
        wait_until(lambda: len(looks) >= 2)
        for file in folder.glob("sagas.db*"):
            file.unlink()
        time.sleep(0.2)
        found.extend(folder.glob("sagas.db*"))
        with closing(SQLiteJournal(journal.path, modules=["depot"])) as anew:
            order().start(journal=anew, saga_id="y")
            wait_until(lambda: status(anew, "y") is SagaStatus.COMPLETED)
        tell()

    with meanwhile(proceed):
        ended, said = say("worker", "--modules", "depot", "--interval", "0.02")

    assert (ended, found, said.count("there is no journal")) == (0, [], 1)
    assert "y: COMPLETED" in said


def test_a_worker_without_a_codec_works_on_beside_what_is_sealed(
    say: Say, sealed: SQLiteJournal, journal: SQLiteJournal, looks: list[Any]
) -> None:
    """It says so once of each saga, and leaves it to one that has the codec."""
    order().start(journal=sealed, saga_id="x")

    def proceed() -> None:
        wait_until(lambda: len(looks) >= 3)
        order().start(journal=sealed, saga_id="y")
        order().start(journal=journal, saga_id="z")
        wait_until(lambda: status(journal, "z") is SagaStatus.COMPLETED)
        tell()

    with meanwhile(proceed):
        ended, said = say("worker", "--modules", "depot", "--interval", "0.02")

    assert ended == 0
    assert said.count(f"Z x: {LEFT_ALONE}") == said.count(f"Z y: {LEFT_ALONE}") == 1
    assert (seen(sealed, "x").tries, seen(sealed, "y").tries) == (0, 0)


def test_a_worker_says_if_a_thread_of_its_fails(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours is in the log, and the next round begins."""
    order().start(journal=journal, saga_id="x")

    def work(_: Recovery) -> None:
        tell()
        raise RuntimeError("odd")

    monkeypatch.setattr(Recovery, "work", work)

    ended, said = say("worker", "--modules", "depot", "--interval", "0.02")

    assert ended == 0
    assert "a thread has failed: RuntimeError('odd')" in said
    assert status(journal) is SagaStatus.RUNNING


def test_a_worker_without_a_thread_looks_again(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, its own thread stays free for signals, and the next round does the work."""
    order().start(journal=journal, saga_id="x")
    start = threading.Thread.start
    refused: list[threading.Thread] = []

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("saga-worker") and len(refused) < 2:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)

    def proceed() -> None:
        wait_until(lambda: status(journal) is SagaStatus.COMPLETED)
        tell()

    with meanwhile(proceed):
        ended, said = say("worker", "--modules", "depot", "--interval", "0.02")

    assert ended == 0
    assert said.count("no more threads; it looks again in the next round") == 2
    assert "x: COMPLETED" in said


def test_a_worker_that_must_give_up_lets_what_runs_end(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that another round would not cure is status 1, after the last saga."""
    prepare, rounds = recovering.prepare, iter(range(99))
    given_up = threading.Event()

    def refused(*arguments: Any) -> Any:
        if next(rounds):
            given_up.set()
            raise SagaError("odd")
        return prepare(*arguments)

    monkeypatch.setattr(worker, "prepare", refused)
    depot.behaviour["a"] = lambda: given_up.wait(60)
    order().start(journal=journal, saga_id="x")

    ended, said = say("worker", "--modules", "depot", "--interval", "0.02")

    assert ended == 1
    assert said.endswith("saga: odd\n")
    assert status(journal) is SagaStatus.COMPLETED


def test_told_in_the_very_moment_of_a_round_it_begins_nothing(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking and beginning, too, a signal is heard."""
    order().start(journal=journal, saga_id="x")
    prepare = recovering.prepare

    def interrupted(*arguments: Any) -> Any:
        recovery = prepare(*arguments)
        tell()
        return recovery

    monkeypatch.setattr(worker, "prepare", interrupted)

    assert say("worker", "--modules", "depot")[0] == 0
    assert status(journal) is SagaStatus.RUNNING
    assert depot.log == []


def test_told_twice_a_worker_leaves_at_once(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without waiting for anything."""
    left: list[int] = []
    monkeypatch.setattr("os._exit", left.append)

    def twice() -> None:
        time.sleep(0.15)  # for the worker to look once or twice
        tell()
        while not left:  # two signals at once are one
            tell()
            time.sleep(0.02)

    depot.behaviour["a"] = twice
    order().start(journal=journal, saga_id="x")
    say("worker", "--modules", "depot")

    assert set(left) == {128 + signal.SIGTERM}


# --- processes of their own ----------------------------------------------------------------------


class Process:
    """The command as a process of its own, in a folder where its sagas leave files."""

    def __init__(self, folder: Path, *arguments: str, script: Path | None = None) -> None:
        paths = [str(SUPPORT), str(ROOT / "src")]
        kept = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_PROCESS")}
        self.folder = folder
        self.said = ""
        self.process = subprocess.Popen(
            [sys.executable, *(["-m", "py_api_saga"] if script is None else [script]), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env={
                **kept,
                "PYTHONPATH": os.pathsep.join(paths),
                "DJANGO_SETTINGS_MODULE": "settings",
            },
        )

    def until(self, name: str) -> None:
        """Wait for a file."""
        limit = time.monotonic() + 60
        while not (self.folder / name).exists():
            assert time.monotonic() < limit, f"{name} never came"
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.01)

    def until_said(self, words: str) -> None:
        """Read lines until one of them has these words."""
        assert self.process.stdout
        while words not in self.said:
            line = self.process.stdout.readline()
            assert line, f"{words!r} never came: {self.said}"
            self.said += line

    def end(self) -> tuple[int, str]:
        """Wait for the end; give the status, and all that was written."""
        self.said += self.process.communicate(timeout=60)[0]
        return self.process.returncode, self.said


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start the command; whatever becomes of the test, it is ended."""
    started: list[Process] = []

    def start(*arguments: str, script: Path | None = None) -> Process:
        started.append(Process(tmp_path, *arguments, script=script))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


def errand(folder: Path, *names: str) -> SagaAssembler:
    """Leave files, the last one slowly."""
    made = SagaAssembler.saga(name="errand")
    for name in names[:-1]:
        made.operation((errands.note, str(folder), name), (errands.take_back, str(folder), name))
    return made.operation((errands.linger, str(folder), names[-1]))


def test_a_worker_process_ends_after_what_it_has_begun(
    start: Callable[..., Process], journal: SQLiteJournal, tmp_path: Path
) -> None:
    """SIGTERM during a slow saga: that one ends, the other is not begun, and the status is 0."""
    errand(tmp_path, "one", "two").start(journal=journal, saga_id="x")
    errand(tmp_path, "three", "four").start(journal=journal, saga_id="y")
    journal.close()

    at_work = start("worker", "--modules", "errands", "--workers", "1", "--interval", "0.05")
    at_work.until("two")
    at_work.process.send_signal(signal.SIGTERM)
    at_work.until_said("told to end")
    assert at_work.process.poll() is None
    (tmp_path / "go").touch()
    ended, said = at_work.end()

    assert ended == 0
    assert "x: COMPLETED" in said
    assert "told to end; 1 thread still at work, for 20 s at most" in said
    assert (status(journal, "x"), status(journal, "y")) == (
        SagaStatus.COMPLETED,
        SagaStatus.RUNNING,
    )
    assert not (tmp_path / "three").exists()


def test_a_signal_just_before_the_worker_waits_ends_that_wait(journal: SQLiteJournal) -> None:
    """CPython runs its handler after the wait only, so the signal itself has to end that."""
    journal.close()
    code = """
    import ctypes, operator, select, signal, sys
    from functools import partial
    from py_api_saga import cli

    wait, libc = select.select, ctypes.CDLL(None)

    def struck(*arguments):  # between the two no line of Python runs, and so no handler
        both = [partial(libc.raise_, signal.SIGTERM), partial(wait, *arguments)]
        return list(map(operator.call, both))[1]

    libc.raise_ = libc["raise"]
    select.select = struck
    sys.exit(cli.main(["worker", "--modules", "json", "--interval", "60"]))
    """
    assert output_of(code)[-1].endswith("ended")


def test_a_worker_process_that_is_told_twice_leaves_a_saga_that_goes_on(
    start: Callable[..., Process], journal: SQLiteJournal, tmp_path: Path, say: Say
) -> None:
    """To the journal it is like a crash: what was called is in doubt, and is called again."""
    errand(tmp_path, "one", "two").start(journal=journal, saga_id="x")
    journal.close()

    at_work = start("worker", "--modules", "errands", "--interval", "0.05")
    at_work.until("two")
    at_work.process.send_signal(signal.SIGTERM)
    at_work.until_said("told to end")
    at_work.process.send_signal(signal.SIGTERM)
    assert at_work.end()[0] == 128 + signal.SIGTERM

    assert json.loads(say("doctor", "--json")[1])["left_by_dead"] == 1
    assert say("doctor")[0] == 0
    (tmp_path / "go").touch()
    assert say("takeover", "x", "--modules", "errands") == (0, "x: COMPLETED\n")
    assert ("two", "is called, attempt 2") not in happened(say("show", "x")[1])
    assert ("linger", "is called, attempt 2") in happened(say("show", "x")[1])


# --- a process that lacks something --------------------------------------------------------------


SET_UP = {
    "nowhere:setup": "cannot import 'nowhere': ModuleNotFoundError: No module named 'nowhere'",
    "depot:nothing": "--setup: 'depot:nothing' is not there",
    "depot:log.no.such": "--setup: 'depot:log.no.such' is not there",
    "depot:log": "--setup: 'depot:log' is no plain function: list",
    "depot:ado": "--setup: 'depot:ado' is no plain function: it has to be awaited",
    "ready:fail": "--setup: 'ready:fail' raised ValueError: no settings in this folder",
    "ready:leave": "--setup: 'ready:leave' raised SystemExit: 3",
    "ready:odd.thing": "--setup: cannot look for 'ready:odd.thing': KeyError: 'thing'",
    "needy:setup": "cannot import 'needy': RuntimeError: not set up",
}
READY = """
calls = []

class Odd:
    def __getattr__(self, name):
        raise KeyError(name)

class Project:
    @staticmethod
    def setup():
        calls.append("project")

odd = Odd()

def setup():
    calls.append("setup")

def fail():
    raise ValueError("no settings\\nin this folder")

def leave():
    raise SystemExit(3)
"""
NEEDY = """
import ready

if not ready.calls:
    raise RuntimeError("not set up")
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A folder with a module that can only be imported once another one was set up."""
    (tmp_path / "ready.py").write_text(READY, encoding="utf-8")
    (tmp_path / "needy.py").write_text(NEEDY, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    yield lambda: importlib.import_module("ready").calls
    for name in ("ready", "needy"):
        sys.modules.pop(name, None)


SETTING_UP = {
    "recover": ["--modules", "depot"],
    "worker": ["--modules", "depot"],
    "takeover": ["x", "--modules", "depot"],
    "plan-deploy": ["--modules", "depot"],
    "resolve": ["x", "a", "--failed", "--note", "n", "--modules", "depot"],
}


@pytest.mark.parametrize("name", SETTING_UP)
@pytest.mark.parametrize("what", SET_UP)
@pytest.mark.usefixtures("project")
def test_what_cannot_set_the_process_up_is_said_in_one_line(
    name: str, what: str, say: Say, journal: SQLiteJournal
) -> None:
    """With status 1, and before anything is claimed."""
    order().start(journal=journal, saga_id="x")
    before = seen(journal, "x")

    assert say(name, *SETTING_UP[name], "--setup", what) == (1, f"saga: {SET_UP[what]}\n")
    assert seen(journal, "x") == before


@pytest.mark.usefixtures("project", "journal")
@pytest.mark.parametrize("what", ["django", "django:", ":setup", ""])
def test_what_is_no_module_and_function_is_wrong_usage(what: str, say: Say) -> None:
    """It says which form it is to have."""
    ended, said = say("recover", "--modules", "depot", "--setup", what)

    assert (ended, said) == (2, f"saga: --setup: expected MODULE:FUNCTION, got {what!r}\n")


@pytest.mark.parametrize("name", SETTING_UP)
def test_a_process_is_set_up_once_before_modules_are_imported(
    name: str, say: Say, journal: SQLiteJournal, project: Callable[[], list[str]]
) -> None:
    """By each function that is named, in their order; a path may have dots."""
    order().start(journal=journal, saga_id="x")
    needs = [name, *SETTING_UP[name], "--modules", "needy"]

    ended, said = say(*needs)
    assert (ended, "cannot import 'needy': RuntimeError: not set up; if" in said) == (1, True)
    assert said.endswith(
        "say what to call: --setup MODULE:FUNCTION, such as --setup django:setup\n"
    )
    assert said.count("\n") == 1
    assert status(journal) is SagaStatus.RUNNING

    depot.behaviour["c"] = tell if name == "worker" else str
    ended, said = say(*needs, "--setup", "ready:Project.setup", "--setup", "ready:setup")
    assert "cannot import" not in said
    assert ended == (1 if name == "resolve" else 0)  # it is not stuck
    assert project() == ["project", "setup"]


def test_a_module_that_leaves_when_it_is_imported_is_an_error(
    say: Say, journal: SQLiteJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script, say, that ends with `sys.exit(main())`: nothing else may end the command."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.py").write_text("raise SystemExit(0)", encoding="utf-8")
    importlib.invalidate_caches()

    ended, said = say("recover", "--modules", "script")

    assert (ended, "cannot import 'script': SystemExit: 0" in said) == (1, True)
    assert journal.exists()


def lack() -> Any:
    """Need an application that this process does not have."""
    raise RuntimeError("Working outside of application context.\n\nThis typically means …")


def test_recover_that_lacks_something_says_what(say: Say, journal: SQLiteJournal) -> None:
    """A line for each that it has tried, and one on what it is about; nothing is decided."""
    for number in range(5):
        order().start(journal=journal, saga_id=f"x{number}")
    before = [seen(journal, f"x{number}") for number in range(5)]
    depot.behaviour["b"] = lack

    ended, said = say("recover", "--modules", "depot", "--workers", "1")

    assert ended == 1
    left = "RUNNING, left as it was: this process is not set up for it: RuntimeError: Working"
    assert [line.partition(" outside")[0] for line in said.splitlines()[:3]] == [
        f"x{number}: {left}" for number in range(3)
    ]
    assert said.splitlines()[3].startswith("saga: this process is not set up for these sagas")
    assert "Working outside of application context. (what sets it up" in said.splitlines()[3]
    assert len(said.splitlines()) == 4
    for number in range(5):
        now = seen(journal, f"x{number}")
        assert now._replace(epoch=0, owner=0) == before[number]._replace(epoch=0, owner=0)
    assert depot.log == ["a", "b"] * 3
    assert say("takeover", "x0", "--modules", "depot") == (1, f"{said.splitlines()[0]}\n")
    assert say("check", "--grace", "0s")[0] == 4


def test_a_worker_that_lacks_something_leaves(say: Say, journal: SQLiteJournal) -> None:
    """After three sagas in a row, in whatever rounds; what runs comes to its end before."""
    order().start(journal=journal, saga_id="x0")
    depot.behaviour["b"] = lack

    def proceed() -> None:
        wait_until(lambda: depot.log.count("b") == 1 and not journal.drives(seen(journal, "x0")))
        for number in (1, 2, 3):
            order().start(journal=journal, saga_id=f"x{number}")

    with meanwhile(proceed):
        ended, said = say("worker", "--modules", "depot", "--workers", "1", "--interval", "0.02")

    assert ended == 1
    lines = said.splitlines()
    assert [line for line in lines if "not set up for what is here; 0 threads" in line]
    assert lines[-2].endswith("Z ended")
    assert lines[-1].startswith("saga: this process is not set up for these sagas, which stay")
    assert depot.log == ["a", "b"] * 3
    assert {seen(journal, f"x{number}").tries for number in range(4)} == {0}
    assert {status(journal, f"x{number}") for number in range(4)} == {SagaStatus.RUNNING}


def test_a_worker_goes_on_beside_sagas_of_which_only_some_lack_something(
    say: Say, journal: SQLiteJournal
) -> None:
    """Two of three each time: it leaves these alone, and ends in peace."""
    for number in range(9):
        made = chain("good") if number % 3 == 2 else chain("bad")
        made.start(journal=journal, saga_id=f"x{number}")
    depot.behaviour["bad"] = lack
    depot.behaviour["good"] = lambda: tell() if depot.log.count("good") == 3 else None

    ended, said = say("worker", "--modules", "depot", "--workers", "1", "--interval", "0.02")

    assert (ended, said.count("left as it was"), said.count("COMPLETED")) == (0, 6, 3)


def test_coroutine_functions_of_all_rounds_run_in_one_loop(
    say: Say, journal: SQLiteJournal
) -> None:
    """What a module keeps for its loop lasts as long as the worker."""
    in_loops: list[Any] = []

    async def note() -> None:
        in_loops.append(asyncio.get_running_loop())
        if len(in_loops) == 3:
            tell()

    depot.behaviour["a"] = note
    for saga_id in ("x", "y", "z"):
        saga = SagaAssembler.saga().operation((depot.ado, "a"), name="a")
        saga.start(journal=journal, saga_id=saga_id)

    ended, _ = say("worker", "--modules", "depot", "--limit", "1", "--interval", "0.02")

    assert (ended, len(in_loops), len(set(in_loops))) == (0, 3, 1)
    assert in_loops[0].is_closed()


FLASK = """
from flask import Flask, current_app

from py_api_saga import current_operation

application = Flask("shop")
CONTEXT = False

def note(line):
    with open("ledger", "a", encoding="utf-8") as ledger:
        print(line, current_operation().attempt, file=ledger)

def charge():
    if CONTEXT:
        with application.app_context():
            return note(f"charge in {current_app.name}")
    return note(f"charge in {current_app.name}")

def refund():
    note("refund")

def book():
    note("book")

def use_contexts():
    global CONTEXT
    CONTEXT = True
"""
DJANGO = """
from py_api_saga import current_operation

def note(line):
    with open("ledger", "a", encoding="utf-8") as ledger:
        print(line, current_operation().attempt, file=ledger)

def charge():
    from django.contrib.auth.models import User
    note(f"charge of {User.objects.model.__name__}")

def refund():
    note("refund")

def book():
    note("book")
"""
SETTINGS = "INSTALLED_APPS = ['django.contrib.contenttypes', 'django.contrib.auth']\n"


@pytest.mark.parametrize(
    ("code", "setup", "lacks", "did"),
    [
        (FLASK, "operations:use_contexts", "Working outside of application", "charge in shop"),
        (DJANGO, "django:setup", "AppRegistryNotReady", "charge of User"),
    ],
    ids=["Flask", "Django"],
)
def test_a_worker_of_a_real_project_neither_charges_nor_refunds_without_it(
    code: str, setup: str, lacks: str, did: str, start: Callable[..., Process], tmp_path: Path
) -> None:
    """Left by a killed process in the middle of a charge; done, once the process is set up."""
    (tmp_path / "operations.py").write_text(code, encoding="utf-8")
    (tmp_path / "settings.py").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    died = start(script=tmp_path / "shop.py")
    assert died.end()[0] == -signal.SIGKILL
    journal = SQLiteJournal(tmp_path / "sagas.db")
    with closing(journal):
        before = journal.select()
        assert len(before) == 3
        work = ("worker", "--journal", "sagas.db", "--modules", "operations", "--interval", "0.05")

        ended, said = start(*work).end()

        assert (ended, lacks in said) == (1, True)
        assert "--setup" in said.splitlines()[-1]
        assert not (tmp_path / "ledger").exists()
        assert [one._replace(epoch=0, owner=0) for one in journal.select()] == [
            one._replace(epoch=0, owner=0) for one in before
        ]

        able = start(*work, "--setup", setup)
        for number in range(3):
            able.until_said(f"x{number}: COMPLETED")
        able.process.send_signal(signal.SIGTERM)
        assert able.end()[0] == 0
    lines = (tmp_path / "ledger").read_text(encoding="utf-8").splitlines()
    assert sorted({line.rpartition(" ")[0] for line in lines}) == ["book", did]
    assert len(lines) == 6


SHOP = """
import os, signal

if "User" in open("operations.py").read():
    import django
    django.setup()
import operations
from py_api_saga import SagaAssembler
from py_api_saga.journal import SQLiteJournal

journal = SQLiteJournal("sagas.db", modules=["operations"])

def die(event):
    if event.kind == "operation started":
        os.kill(os.getpid(), signal.SIGKILL)

for number in range(3):
    saga = SagaAssembler.saga(name="shop", observers=[die] if number == 2 else [])
    saga.operation(operations.charge, operations.refund).operation(operations.book)
    if number < 2:
        saga.start(journal=journal, saga_id=f"x{number}")
    else:
        saga.orchestrator_execute(journal=journal, saga_id=f"x{number}")
"""


@pytest.mark.parametrize("seconds", ["-1", "nan", "ages", "86401"])
@pytest.mark.parametrize("option", ["--grace", "--wait"])
@pytest.mark.usefixtures("journal")
def test_a_patience_is_a_number_of_seconds(option: str, seconds: str, say: Say) -> None:
    """From none to a day."""
    ended, said = say("worker", "--modules", "depot", option, seconds)

    assert (ended, f"expected 0 to 86400, got '{seconds}'" in said) == (2, True)


def test_a_worker_waits_for_a_journal_no_longer_than_it_says(say: Say, tmp_path: Path) -> None:
    """The path may be a typo: whoever reads the log, or the status, sees that."""
    path = tmp_path / "nope.db"
    work = ["worker", "--journal", str(path), "--modules", "depot", "--interval", "60"]

    ended, said = say(*work, "--wait", "0.1")

    assert ended == 1
    first, last = said.splitlines()
    assert first.endswith(f"Z there is no journal {path}; looking every 60 s, for 0.1 s at most")
    assert last == f"saga: there is no journal {path}, nor was there one in 0.1 s"
    assert say(*work, "--wait", "0")[0] == 1


def test_a_worker_gives_up_a_journal_that_was_removed(
    say: Say, journal: SQLiteJournal, looks: list[Any]
) -> None:
    """As one that was never there."""

    def proceed() -> None:
        wait_until(lambda: len(looks) >= 2)
        for file in Path(journal.path).parent.glob("sagas.db*"):
            file.unlink()

    with meanwhile(proceed):
        ended, said = say("worker", "--modules", "depot", "--interval", "0.02", "--wait", "0.1")

    assert (ended, said.splitlines()[-1]) == (
        1,
        f"saga: there is no journal {journal.path}, nor was there one in 0.1 s",
    )


def test_a_worker_leaves_what_hangs_after_its_grace(
    start: Callable[..., Process], journal: SQLiteJournal, tmp_path: Path
) -> None:
    """As a crash would: what was called is in doubt, and its owner is dead."""
    errand(tmp_path, "one", "two").start(journal=journal, saga_id="x")
    slow = SagaAssembler.saga().operation((errands.alinger, str(tmp_path), "three"))
    slow.start(journal=journal, saga_id="y")
    journal.close()

    at_work = start("worker", "--modules", "errands", "--interval", "0.05", "--grace", "0.3")
    at_work.until("two")
    at_work.until("three")
    at_work.process.send_signal(signal.SIGINT)
    ended, said = at_work.end()

    assert ended == 1
    assert "at work: 8 sagas at once, every 0.05 s; it ends within 0.3 s of a signal" in said
    assert "told to end; 2 threads still at work, for 0.3 s at most" in said
    assert said.splitlines()[-1].endswith(
        "Z not over after 0.3 s: left as by a crash, for the next recovery"
    )
    (tmp_path / "go").touch()
    assert [takeover(journal, saga_id).outcome.name for saga_id in "xy"] == ["COMPLETED"] * 2


def test_a_worker_that_nobody_reads_leaves_all_the_same(
    monkeypatch: pytest.MonkeyPatch, journal: SQLiteJournal, say: Say
) -> None:
    """What it has to say is not waited for."""
    left: list[int] = []
    may_go = threading.Event()

    def leave(status: int) -> None:
        left.append(status)
        may_go.set()

    def hang(text: str) -> None:
        if "left as by a crash" in text:
            may_go.wait(15)

    monkeypatch.setattr("os._exit", leave)
    monkeypatch.setattr(worker, "_log", hang)
    monkeypatch.setattr(worker, "_LAST_WORDS", 0.05)

    def hangs() -> None:
        tell()
        may_go.wait(15)

    depot.behaviour["a"] = hangs
    order().start(journal=journal, saga_id="x")

    say("worker", "--modules", "depot", "--grace", "0.1")

    assert left == [1]


def test_a_saga_that_a_process_drives_is_left_to_it_unless_forced(
    start: Callable[..., Process], journal: SQLiteJournal, tmp_path: Path, say: Say
) -> None:
    """The list says so, decisions are refused, and `takeover --force` is the way for a hang."""
    errand(tmp_path, "one", "two").start(journal=journal, saga_id="x")
    journal.close()
    other = start("recover", "--modules", "errands")
    other.until("two")

    assert say("list")[1].splitlines()[1].split()[-1] == "yes"
    assert "a process drives it" in say("show", "x")[1]
    said = say("why", "x")[1]
    assert "was called, and has not answered yet" in said
    assert "A living process is at it" in said
    assert "saga takeover x --force --modules errands" in said
    assert say("check", "--grace", "0s")[0] == 0
    ended, said = say("cancel", "x")
    assert (ended, "`saga takeover --force`" in said) == (1, True)
    assert say("compensate", "x")[0] == 1
    assert say("takeover", "x", "--modules", "errands")[0] == 1

    epoch = seen(journal, "x").epoch

    def let_go() -> None:
        wait_until(lambda: seen(journal, "x").epoch > epoch)
        (tmp_path / "go").touch()

    with meanwhile(let_go):
        assert say("takeover", "x", "--force", "--modules", "errands")[0] == 0
    assert status(journal) is SagaStatus.COMPLETED
    assert other.end()[0] in (0, 1)  # it may have come to the end before


def test_the_command_reads_as_a_process(
    start: Callable[..., Process], journal: SQLiteJournal
) -> None:
    """Status, text and JSON are those of the command line."""
    stuck(journal)
    journal.close()

    ended, said = start("list", "--json").end()

    assert ended == 4
    assert json.loads(said)["sagas"][0]["saga_id"] == "x"


def test_help_is_there_before_one_has_looked_away() -> None:
    """The command imports what it needs when it needs it."""
    code = "import sys, py_api_saga.cli; print(*sorted(sys.modules))"
    kept = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_PROCESS")}
    paths = {**kept, "PYTHONPATH": str(ROOT / "src")}
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=paths
    ).stdout.split()

    assert {"asyncio", "sqlite3", "json", "http.client", "socket"}.isdisjoint(loaded)
    assert [name for name in loaded if name.startswith("py_api_saga.journal")] == []


# --- check and doctor ----------------------------------------------------------------------------


def test_a_monitor_gets_one_line_and_a_status(say: Say, journal: SQLiteJournal) -> None:
    """4 if anything is stuck, overdue or tried too often."""
    assert say("check") == (
        0,
        "0 stuck, 0 overdue (open, undriven for 5m), 0 tried 3 times or more, 0 open in all\n",
    )
    order().start(journal=journal, saga_id="x")
    assert say("check")[0] == 0

    alter(journal, "UPDATE saga SET changed = changed - 600000")
    assert say("check")[0] == 0  # its process has written lately, and has but died
    alter(journal, "UPDATE entry SET at = at - 600000")
    ended, said = say("check")
    assert (ended, said.startswith("0 stuck, 1 overdue")) == (4, True)
    assert say("check", "--grace", "1h")[0] == 0
    alter(journal, "UPDATE saga SET tries = 3, due = (strftime('%s', 'now') + 1800) * 1000")
    ended, said = say("check")
    assert ended == 4
    assert "0 overdue (open, undriven for 5m), 1 tried 3 times or more, 1 open in all" in said
    stuck(journal, "y")
    found = json.loads(say("check", "--json")[1])
    assert (found["stuck"], found["overdue"], found["tried"], found["open"]) == (1, 0, 1, 1)
    assert [one["saga_id"] for one in found["sagas"]] == ["y", "x"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE saga SET tries = 1, due = 4000000000000",
        "UPDATE saga SET changed = changed + 4000000000000",
    ],
)
def test_a_monitor_hears_of_a_saga_whose_times_are_ahead(
    say: Say, journal: SQLiteJournal, change: str
) -> None:
    """A clock that ran ahead is not believed: neither the list of what is due, nor the grace."""
    order().start(journal=journal, saga_id="x")
    alter(journal, change)

    ended, said = say("check")

    assert (ended, said.startswith("0 stuck, 1 overdue")) == (4, True)
    assert "Recovery goes on" in say("why", "x")[1]
    assert [waits.saga_id for waits in journal.waiting(time.time())] == ["x"]


def test_the_doctor_finds_a_sound_file_sound(say: Say, journal: SQLiteJournal) -> None:
    """With versions, modes and sizes."""
    stuck(journal)

    ended, said = say("doctor")

    assert ended == 0
    assert f"SQLite    {sqlite3.sqlite_version}, which" in said
    assert "writing   nobody at this moment" in said
    assert "1 stuck" in said
    assert said.endswith("no damage\n")
    found = json.loads(say("doctor", "--json")[1])
    assert found["format"] == 1
    assert found["journal_mode"] == "wal"
    assert found["sagas"]["stuck"] == 1


@pytest.mark.usefixtures("journal")
def test_the_doctor_names_who_writes(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says why a WAL may be big."""
    monkeypatch.setattr(health, "inside", lambda _: Holder(4711, 1.0, ""))
    monkeypatch.setattr(health, "_BIG", -1)

    said = say("doctor")[1]

    assert "writing   process 4711, since 1970-01-01T00:00:01" in said
    assert "a reader that stays open" in said


def test_without_a_wal_its_size_is_none(say: Say, tmp_path: Path) -> None:
    """In the other mode there is no such file."""
    path = tmp_path / "other.db"
    with closing(SQLiteJournal(path, journal_mode="delete")) as journal:
        journal.find("")

    assert "WAL       0 bytes\n" in say("doctor", "--journal", str(path))[1]


def test_the_doctor_finds_damage(say: Say, journal: SQLiteJournal) -> None:
    """A file that SQLite cannot read to its end: status 1, and what it says."""
    for number in range(40):
        run(order(), journal, f"x{number}")
    journal.close()
    with closing(sqlite3.connect(journal.path)) as connection:
        connection.execute("PRAGMA journal_mode=delete")
    with Path(journal.path).open("r+b") as file:
        file.seek(5 * 4096)
        file.write(b"\xff" * 4096)

    ended, said = say("doctor")

    assert ended == 1
    assert "DAMAGED: " in said


def test_the_doctor_passes_on_what_sqlite_says_line_by_line(
    say: Say, journal: SQLiteJournal
) -> None:
    """SQLite gives its faults as one text, which is no line for a person."""
    for number in range(60):
        run(order(), journal, f"x{number}")
    journal.close()
    with closing(sqlite3.connect(journal.path)) as connection:
        connection.execute("PRAGMA journal_mode=delete")
    size = Path(journal.path).stat().st_size
    with Path(journal.path).open("r+b") as file:
        for page in range(9, size // 4096):
            file.seek(page * 4096 + 8)  # where the cells of a page are
            file.write(b"\xff" * 200)

    ended, said = say("doctor")

    lines = [line for line in said.splitlines() if line.startswith("DAMAGED: ")]
    assert ended == 1
    assert len(lines) > 2
    assert not any("\\n" in line or "***" in line for line in lines)


class Stumbling:
    """An SQLite that lists some faults, unless it stumbles on the way to so many."""

    def __init__(self, faults: int, stumbles: int) -> None:
        self.faults, self.stumbles = faults, stumbles

    def execute(self, question: str) -> Self:
        """Take a question."""
        if not self.stumbles:
            raise sqlite3.OperationalError
        self.most = int(question.partition("(")[2].rstrip(")"))
        return self

    def fetchall(self) -> list[tuple[str]]:
        """Answer it as SQLite does: one text."""
        if self.most >= self.stumbles:
            raise sqlite3.DatabaseError
        found = min(self.faults, self.most)
        return [("\n".join(["*** in database main ***", *["a fault"] * found]) if found else "ok",)]


@pytest.mark.parametrize(
    ("faults", "stumbles", "listed", "is_all"),
    [
        (0, 9999, 0, True),
        (999, 9999, 999, True),
        (1000, 9999, 1000, False),
        (5000, 9999, 1000, False),
        (5000, 1000, 100, False),
        (5, 2, 1, False),
    ],
)
def test_the_doctor_says_when_sqlite_stops(
    faults: int,
    stumbles: int,
    listed: int,
    is_all: bool,  # noqa: FBT001 - of a case
) -> None:
    """It lists a hundred unless it is told otherwise, and none if it stumbles before."""
    found = reading._faults(cast("Any", Stumbling(faults, stumbles)))  # noqa: SLF001 - no SQLite does so on demand

    assert (len(found) - (not is_all), found[-1:]) == (
        listed,
        ["a fault"][:listed]
        if is_all
        else ["SQLite lists no more than these: there may be other damage"],
    )


@pytest.mark.parametrize("stumbles", [0, 1])
def test_an_sqlite_that_lists_nothing_at_all_raises(stumbles: int) -> None:
    """Then there is nothing to pass on but its error; one of a lock is no damage."""
    with pytest.raises(sqlite3.DatabaseError):
        reading._faults(cast("Any", Stumbling(1, stumbles)))  # noqa: SLF001 - likewise


def test_the_doctor_says_if_the_tables_are_not_there(say: Say, journal: SQLiteJournal) -> None:
    """A journal without sagas is none."""
    alter(journal, "DROP VIEW needs_attention")
    alter(journal, "DROP VIEW timeline")
    alter(journal, "DROP TABLE saga")

    ended, said = say("doctor")

    assert ended == 1
    assert "DAMAGED: the sagas cannot be counted: no such table: saga" in said


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)
def test_which_sqlite_has_the_bug(version: tuple[int, int, int], *, has: bool) -> None:
    """As sqlite.org/wal.html lists them."""
    assert health.has_wal_reset_bug(version) is has


# --- purge ---------------------------------------------------------------------------------------


def test_what_ended_long_ago_is_purged(say: Say, journal: SQLiteJournal) -> None:
    """Its rows go, its id and its end stay; what is open or stuck is not touched."""
    order().start(journal=journal, saga_id="y")
    body = journal.rows([seen(journal, "y").number])[1][0].body
    journal.write(*(Create(f"x{n}", "depot", body, driven=False) for n in range(249)))
    alter(journal, "UPDATE saga SET status = 3")
    stuck(journal, "stuck")
    depot.behaviour["c"] = fail(ValueError())
    run(order(), journal, "undone")
    purge = ["purge", "--older-than"]

    assert say(*purge, "30d") == (0, "purged 0 sagas\n")
    assert say(*purge, "0s", "--dry-run") == (0, "would purge 251 sagas\n")
    assert say(*purge, "0s", "--status", "compensated") == (0, "purged 1 saga\n")
    assert say(*purge, "0s") == (0, "purged 250 sagas\n")
    assert say(*purge, "0s") == (0, "purged 0 sagas\n")

    found = seen(journal, "x7")
    assert (found.status, found.digest is None) == (SagaStatus.COMPLETED, False)
    assert journal.rows([found.number])[found.number] == []
    assert say("why", "stuck")[0] == 0
    assert "b  STUCK" in say("show", "stuck")[1]

    assert say(*purge, "0s", "--forget") == (0, "purged 251 sagas\n")
    assert journal.find("x7") is None


def test_what_cannot_be_purged_is_named(say: Say, journal: SQLiteJournal) -> None:
    """The others are purged all the same."""
    for saga_id in ("x", "y", "z"):
        run(order(), journal, saga_id)
    alter(journal, "UPDATE entry SET body = 'no' WHERE saga = 1 AND n = 1")
    alter(journal, "DELETE FROM entry WHERE saga = 3 AND n = 1")

    ended, said = say("purge", "--older-than", "0s")

    assert ended == 1
    assert "purged 1 saga\n" in said
    assert "x: left as it is: JournalError(" in said
    assert "saga 'z' cannot be read: row 1 of the saga is missing; only forget=True (--f" in said
    assert seen(journal, "x").digest is None
    assert say("purge", "--older-than", "0s", "--forget") == (0, "purged 3 sagas\n")


def test_what_is_sealed_is_purged_with_its_codec(say: Say, sealed: SQLiteJournal) -> None:
    """Its digest is of what is inside; who forgets it needs none."""
    run(order(), sealed)
    run(order(), sealed, "y")
    run(order(), SQLiteJournal(sealed.path, modules=["depot"]), "plain")
    purge = ["purge", "--older-than", "0s"]

    ended, said = say(*purge)
    assert (ended, said.count("left as it is: its values are sealed: give the codec")) == (1, 2)
    assert said.startswith("purged 1 saga\n")
    ended, said = say(*purge, "--codec", f"{__name__}:deaf")  # the other codec is what it needs
    assert (ended, "cannot open what is sealed" in said, "--forget" in said) == (1, True, False)
    assert say(*purge, "--codec", f"{__name__}:backwards") == (0, "purged 2 sagas\n")
    run(order(), sealed, "z")
    assert say(*purge, "--forget") == (0, "purged 4 sagas\n")


# --- plan-deploy ---------------------------------------------------------------------------------


def plan(say: Say, *arguments: str) -> dict[str, Any]:
    """Give what `saga plan-deploy` says, as JSON."""
    ended, said = say("plan-deploy", "--modules", "depot", "--json", *arguments)
    found: dict[str, Any] = json.loads(said)
    assert ended == (4 if found["strand"] else 0)
    return found


def test_a_deploy_that_strands_nothing_is_fine(say: Say, journal: SQLiteJournal) -> None:
    """Open and stuck sagas count, ended ones do not."""
    order().start(journal=journal, saga_id="x")
    stuck(journal, "y")
    run(order(), journal, "z")

    assert plan(say) == {"go_on": 2, "strand": 0, "sagas": []}
    assert say("plan-deploy", "--modules", "depot") == (
        0,
        "2 sagas would go on, 0 would strand\n",
    )


def test_a_function_that_is_gone_strands_its_sagas(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reason with the sagas that have it; a new name cures it."""
    for number in range(7):
        order().start(journal=journal, saga_id=f"x{number}")
    monkeypatch.setattr(depot, "redo", do, raising=False)
    alter(journal, "UPDATE entry SET body = replace(body, 'depot:do', 'depot:make')")

    ended, said = say("plan-deploy", "--modules", "depot")

    assert ended == 4
    assert said.startswith("0 sagas would go on, 7 would strand\n\n'depot:make' is not there")
    assert "  x6, x5, x4, x3, x2 and 2 more" in said
    assert plan(say, "--alias", "depot:make=depot:do")["strand"] == 0
    ended, said = say("plan-deploy", "--modules", "depot", "--alias", "a=b")
    assert (ended, "which is not in modules=" in said) == (2, True)


def test_a_signature_that_no_longer_fits_strands_its_sagas(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only if the call may still be made."""
    order().start(journal=journal, saga_id="open")
    stuck(journal, "undoing")
    stuck_forward(journal, "going")
    SagaAssembler.saga().operation((do, "a"), name="a", on_doubt=ask).start(
        journal=journal, saga_id="asking"
    )
    code = "def do(name, *, shelf): ...\ndef undo(name): ...\ndef ask(): ...\n"
    replaced = runpy.run_path(
        str(written(Path(journal.path).parent / "code.py", code)), {}, "depot"
    )
    for name in ("do", "undo", "ask"):
        monkeypatch.setattr(depot, name, replaced[name])

    said = json.dumps(plan(say)["sagas"]).replace("required keyword-only", "required")  # 3.12 on
    found = {one["saga_id"]: one["reasons"] for one in json.loads(said)}

    def misfit(operation: str, role: str, fault: str) -> str:
        return f"operation {operation!r}: the {role} cannot be called any more: {fault}"

    missing, many = "missing a required argument: 'shelf'", "too many positional arguments"
    assert found == {
        "asking": [misfit("a", "action", missing), misfit("a", "on_doubt", many)],
        "going": [misfit(name, "action", missing) for name in "cd"],
        "undoing": [misfit("b", "compensation", many)],
        "open": [
            misfit("a", "action", many),
            misfit("b", "action", many),
            misfit("b", "compensation", many),
            misfit("c", "action", missing),
        ],
    }


def written(path: Path, text: str) -> Path:
    """Write a file."""
    path.write_text(text)
    return path


def test_what_has_no_signature_is_taken_to_fit(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many functions in C have none."""
    SagaAssembler.saga().operation((do, "a")).start(journal=journal, saga_id="x")
    monkeypatch.setattr("inspect.signature", lambda *_, **__: fail(ValueError("none"))())

    assert plan(say)["strand"] == 0


# --- help and documentation ----------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_help_with_an_example(command: Any, say: Say) -> None:
    """What it does, what it takes, something to type that is right, and what the status means."""
    ended, said = say(command.name, "-h")

    assert ended == 0
    assert f"usage: saga {command.name}" in said
    assert "\nexamples:\n  saga " in said
    assert "\nexit status: 0 " in said
    for example in command.examples:
        name, *arguments = shlex.split(example.partition(" > ")[0])
        assert name == "saga"
        assert make_parser().parse_args(arguments).run == command.run


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_is_documented(command: Any) -> None:
    """With a heading of its own, every option, and its exit status."""
    assert f"\n## saga {command.name}\n" in PAGE
    section = PAGE.split(f"\n## saga {command.name}\n")[1].split("\n## ")[0]
    for names, settings in command.options:
        option = names[0] if names[0].startswith("-") else settings["metavar"]
        common = option in ("--journal", "--codec", "--json", "--network")
        assert f"`{option}" in (PAGE if common else section), option
    assert "Exit status" in section


def keys(document: Any) -> set[str]:
    """Collect the keys of a JSON document, at any depth."""
    if isinstance(document, list):
        return set().union(*map(keys, document)) if document else set()
    if isinstance(document, dict):
        return set(document) | set().union(*map(keys, document.values()))
    return set()


@pytest.mark.parametrize("name", READING)
def test_the_shape_of_each_json_document_is_documented(
    name: str, say: Say, journal: SQLiteJournal
) -> None:
    """One document on standard output, and every key of it is on the page."""
    stuck(journal)
    alter(journal, "UPDATE entry SET body = replace(body, 'depot:undo', 'depot:gone')")
    ended, said = say(*typed(name), "--json")

    assert ended in (0, 4)
    section = PAGE.split(f"\n## saga {name}\n")[1].split("\n## ")[0]
    documented = set(re.findall(r"`([a-z_]+)`", section))
    if "sagas" in documented:
        documented |= set(re.findall(r"`([a-z_]+)`", PAGE.split("\n## saga list\n")[1]))
    assert keys(json.loads(said)) <= documented
