"""`saga list`: which sagas there are."""

from __future__ import annotations

import json
from collections.abc import Callable

import depot
import pytest
from commands import Process, Say, alter, append, forward, run
from depot import fail
from recorded import order, stuck

from py_api_saga import SagaStatus
from py_api_saga.journal import SQLiteJournal


def test_sagas_are_listed_newest_first(say: Say, journal: SQLiteJournal) -> None:
    """Each with its status, its tries, and whether a process drives it; 4 for a stuck one."""
    run(order(), journal, "one")
    order().start(journal=journal, saga_id="two")
    assert say("list")[0] == 0
    stuck(journal, "three")

    ended, said = say("list")

    assert ended == 4
    lines = [line.split() for line in said.splitlines()]
    assert lines[0] == ["ID", "NAME", "STATUS", "AGE", "TRIES", "DRIVEN"]
    assert [(line[0], line[1], line[2], line[4], line[5]) for line in [lines[1], *lines[3:]]] == [
        ("three", "depot", "STUCK", "0", "-"),
        ("two", "depot", "RUNNING", "0", "no"),
        ("one", "depot", "COMPLETED", "0", "-"),
    ]


def test_why_a_saga_is_stuck_is_in_the_list(say: Say, journal: SQLiteJournal) -> None:
    """In a line of its own, as exceptions say it; in JSON it is null for all others."""
    order().start(journal=journal, saga_id="fine")
    stuck(journal, "bad")
    order().start(journal=journal, saga_id="odd")
    append(journal, '[["parked",{"reason":"tried\\n10 times"}]]', SagaStatus.STUCK, "odd")

    lines = say("list")[1].splitlines()
    assert lines[2] == "  recovery gave up: tried\\n10 times"
    assert lines[4] == "  b: its compensation raised OSError('no bank')"
    found = json.loads(say("list", "--json")[1])["sagas"]
    assert [one["reason"] for one in found] == [lines[2].strip(), lines[4].strip(), None]

    alter(journal, "UPDATE entry SET body = '[]'")
    assert "  what was written down cannot be read" in say("list")[1]


def test_a_list_fits_a_terminal(say: Say, journal: SQLiteJournal) -> None:
    """A name or a reason loses its end, an id never: it is to be copied."""
    depot.behaviour["c"] = fail(ValueError("no courier"))
    depot.behaviour["undo b"] = fail(OSError("no bank " * 20))
    long = "checkout-2026-11-30-1234567890"
    made = order()
    made.name = "checkout of all that a customer has put into a basket"
    run(made, journal, long)

    table = say("list")[1].splitlines()

    assert max(map(len, table)) == 80
    assert table[1].startswith(f"{long}  checkout of")
    assert "…  STUCK" in table[1]
    assert table[2].startswith("  b: its compensation raised OSError('no bank no bank")
    assert table[2].endswith("…")


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
    assert listed("--id-prefix", "t") == ["three", "two"]
    assert listed("--id-prefix", "two", "--status", "running") == []
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
        ["recover", "--modules", "depot", "--workers", "-1"],
        ["worker", "--modules", "depot", "--interval", "0"],
        ["worker", "--modules", "depot", "--workers", "0"],
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


def test_the_command_reads_as_a_process(
    start: Callable[..., Process], journal: SQLiteJournal
) -> None:
    """Status, text and JSON are those of the command line."""
    stuck(journal)
    journal.close()

    ended, said = start("list", "--json").end()

    assert ended == 4
    assert json.loads(said)["sagas"][0]["saga_id"] == "x"
