"""`saga show --html` and `saga report`: pages of sagas, written where they may be."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import depot
import pytest
from commands import Say, alter, run
from depot import fail
from recorded import order, stuck

from py_api_saga.cli import main as saga
from py_api_saga.journal import SQLiteJournal


def test_a_page_is_written_and_written_again(
    say: Say, journal: SQLiteJournal, tmp_path: Path
) -> None:
    """With the commands as they are to be typed; nothing else is said."""
    stuck(journal)
    file = tmp_path / "x.html"

    assert say("--journal", journal.path, "show", "x", "--html", str(file)) == (0, "")
    first = file.read_text(encoding="utf-8")
    assert say("show", "x", "--html", str(file)) == (0, "")

    assert first.startswith("<!doctype html>")
    assert f"saga --journal {journal.path} retry x" in first
    assert ">saga retry x<" in file.read_text(encoding="utf-8")
    assert "secret" not in first


def test_values_are_on_the_page_if_they_are_asked_for(say: Say, journal: SQLiteJournal) -> None:
    """They may be secrets, so nobody gets them otherwise."""
    stuck(journal)

    assert "secret" not in say("show", "x", "--html", "-")[1]
    assert "secret" in say("show", "x", "--html", "-", "--values")[1]
    assert "secret" not in say("report", "--html", "-")[1]
    assert "secret" in say("report", "--html", "-", "--values")[1]


def test_a_page_goes_to_an_output_of_any_encoding(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What that has not is written as a reference, which a browser reads the same."""
    depot.behaviour["c"] = fail(ValueError("naïve-日本"))
    run(order(), journal)
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))

    assert saga(["show", "x", "--html", "-"]) == 0

    assert b"na&#239;ve-&#26085;&#26412;" in written.getvalue()


def test_no_other_file_is_written_over(say: Say, journal: SQLiteJournal, tmp_path: Path) -> None:
    """A name that was mistyped must not cost the journal; an empty file costs nobody anything."""
    stuck(journal)
    before = Path(journal.path).read_bytes()
    empty = tmp_path / "empty"
    empty.touch()

    for command in (["show", "x"], ["report"]):
        ended, said = say(*command, "--html", journal.path)
        assert ended == 1
        assert "is there, and is not a page of HTML: give another name" in said
    assert Path(journal.path).read_bytes() == before
    assert say("show", "x", "--html", str(empty)) == (0, "")


def test_a_file_that_cannot_be_written_is_said_in_words(
    say: Say, journal: SQLiteJournal, tmp_path: Path
) -> None:
    """A folder, and a folder that is not there."""
    stuck(journal)

    assert say("show", "x", "--html", str(tmp_path)) == (
        1,
        f"saga: cannot write '{tmp_path}': Is a directory\n",
    )
    ended, said = say("report", "--html", str(tmp_path / "no" / "x.html"))
    assert ended == 1
    assert "x.html': No such file or directory" in said


def test_wrong_usage_is_said_in_words(say: Say, journal: SQLiteJournal) -> None:
    """Two formats at once, no file, and what `saga list` would refuse."""
    stuck(journal)

    assert say("show", "x", "--json", "--html", "-") == (
        2,
        "saga: --json and --html: give one of them\n",
    )
    assert say("report")[0] == 2
    assert say("report", "--html", "-", "--status", "sad")[0] == 2
    assert say("show", "y", "--html", "-")[0] == 1


def test_a_saga_that_cannot_be_read_has_a_page_that_says_why(
    say: Say, journal: SQLiteJournal
) -> None:
    """The status says so too; in a report it keeps no other saga back."""
    stuck(journal)
    run(order(), journal, "fine")
    alter(journal, "UPDATE entry SET body = '[' WHERE n = 2 AND saga = 1")

    ended, said = say("show", "x", "--html", "-")
    assert ended == 1
    assert "row 2 is damaged" in said

    ended, said = say("report", "--html", "-")
    assert ended == 4
    assert "row 2 is damaged" in said
    assert ">fine</b>" in said


def test_a_report_has_those_that_were_asked_for(say: Say, journal: SQLiteJournal) -> None:
    """The filters are those of `saga list`; it says if there are more."""
    stuck(journal, "bad-1")
    run(order(), journal, "good-1")
    run(order(), journal, "good-2")

    ended, said = say("report", "--html", "-")
    assert ended == 4
    assert said.index("Needs a person") < said.index("bad-1") < said.index("good-2")
    assert said.index("good-2") < said.index("good-1")
    assert "There are more" not in said

    ended, said = say("report", "--html", "-", "--status", "completed", "--limit", "1")
    assert ended == 0
    assert "good-2</b>" in said
    assert "good-1</b>" not in said
    assert "There are more" in said

    assert "bad-1</b>" in say("report", "--html", "-", "--id-prefix", "bad")[1]
    assert ">0 sagas<" in say("report", "--html", "-", "--name", "other")[1]
