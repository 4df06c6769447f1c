"""`saga check` and `saga doctor`: what a monitor is told, and whether the file is sound."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Self, cast

import pytest
from commands import Say, alter, run
from recorded import order, stuck

from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.holder import Holder
from py_api_saga.journal.sqlite import reading, view


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
    assert [waits.saga_id for waits in journal.waiting()] == ["x"]


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
    monkeypatch.setattr(view, "inside", lambda _: Holder(4711, 1.0, ""))
    monkeypatch.setattr(view, "_BIG", -1)

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
    """SQLite gives its faults as one text, which is not a line for a person."""
    for number in range(60):
        run(order(), journal, f"x{number}")
    journal.close()
    with closing(sqlite3.connect(journal.path)) as connection:
        connection.execute("PRAGMA journal_mode=delete")
    size = Path(journal.path).stat().st_size
    with Path(journal.path).open("r+b") as file:
        for page in range(9, size // 4096):
            file.seek(page * 4096)
            if b"CREATE " not in file.read(4096):  # else it is of the schema
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
    """Then there is nothing to pass on but its error; one of a lock is not damage."""
    with pytest.raises(sqlite3.DatabaseError):
        reading._faults(cast("Any", Stumbling(1, stumbles)))  # noqa: SLF001 - as above


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
    assert view.has_wal_reset_bug(version) is has


def test_the_doctor_says_if_there_are_sagas_without_entries(
    say: Say, journal: SQLiteJournal
) -> None:
    """What is open cannot be read then."""
    stuck(journal)
    alter(journal, "DROP VIEW needs_attention")
    alter(journal, "DROP VIEW timeline")
    alter(journal, "DROP TABLE entry")

    ended, said = say("doctor")

    assert ended == 1
    assert "DAMAGED: " in said
    assert "no such table: entry" in said
