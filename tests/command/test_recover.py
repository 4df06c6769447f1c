"""`saga recover` and `saga takeover`: what becomes of the sagas that nobody drives."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import depot
import pytest
from commands import (
    LEFT_ALONE,
    Process,
    Say,
    alter,
    append,
    errand,
    forward,
    lack,
    meanwhile,
    notes,
    refuse,
)
from depot import do, fail
from recorded import order, seen, status
from world import until

from py_api_saga import SagaAssembler, SagaStatus
from py_api_saga.cli import recovering
from py_api_saga.durable.recovery import Recovered
from py_api_saga.exceptions import RecordedError
from py_api_saga.journal import SQLiteJournal


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


@pytest.mark.parametrize("workers", ["0", "2"])
def test_without_workers_all_is_done_in_the_thread_of_the_command(
    say: Say, journal: SQLiteJournal, workers: str
) -> None:
    """As by `recover(max_workers=0)`; with some, in none that has imported the modules."""
    here = []
    depot.behaviour["a"] = lambda: here.append(threading.current_thread())
    order().start(journal=journal, saga_id="x")
    order().start(journal=journal, saga_id="y")

    said = say("recover", "--modules", "depot", "--workers", workers)

    assert said == (0, "x: COMPLETED\ny: COMPLETED\n")
    assert [thread is threading.main_thread() for thread in here] == [workers == "0"] * 2


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

    codec = ["--codec", "commands:backwards"]
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
        until(lambda: seen(journal, "x").epoch > epoch)
        (tmp_path / "go").touch()

    with meanwhile(let_go):
        assert say("takeover", "x", "--force", "--modules", "errands")[0] == 0
    assert status(journal) is SagaStatus.COMPLETED
    assert other.end()[0] in (0, 1)  # it may have come to the end before
