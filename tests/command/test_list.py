"""`saga list`: which sagas there are."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from commands import Process, Say, alter, forward, run
from recorded import order, stuck

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
