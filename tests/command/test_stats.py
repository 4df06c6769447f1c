"""`saga stats`: how many sagas there are, and what is unfinished in them."""

from __future__ import annotations

import json
from typing import Any

import depot
import pytest
from commands import Say, alter, forward, run
from depot import do, fail
from recorded import crashed, order, stuck

from py_api_saga import Retry, SagaAssembler
from py_api_saga.journal import SQLiteJournal


def found(say: Say, *arguments: str) -> dict[str, Any]:
    """Give what it counts."""
    ended, said = say("stats", "--json", *arguments)
    assert ended == 0
    counted: dict[str, Any] = json.loads(said)
    return counted


def test_what_is_unfinished_is_counted_by_name(say: Say, journal: SQLiteJournal) -> None:
    """With the age of the oldest that is open; what has ended costs nothing, and is not counted."""
    run(order(), journal, "done")
    stuck(journal, "bad")
    order().start(journal=journal, saga_id="old")
    forward().start(journal=journal, saga_id="new")
    SagaAssembler.saga().operation((do, "a")).start(journal=journal, saga_id="nameless")
    alter(journal, "UPDATE saga SET created = created - 7200000 WHERE saga_id = 'old'")

    ended, said = say("stats")

    assert ended == 0
    assert [line.split() for line in said.splitlines()] == [
        ["NAME", "RUNNING", "COMPENSATING", "STUCK", "WAITING", "OLDEST", "IN", "DOUBT", "RETRIES"],
        ["depot", "1", "0", "1", "0", "2h", "0", "0"],
        ["forward", "1", "0", "0", "0", "0s", "0", "0"],
        ["-", "1", "0", "0", "0", "0s", "0", "0"],
        ["(all)", "3", "0", "1", "0", "2h", "0", "0"],
    ]
    counts = found(say)
    assert counts["oldest_open"]["saga_id"] == "old"
    assert counts["completed"] is None
    assert [one["name"] for one in counts["names"]] == ["depot", "forward", None]
    assert [one["name"] for one in found(say, "--name", "forward")["names"]] == ["forward"]


def test_what_has_ended_is_counted_if_asked_for(say: Say, journal: SQLiteJournal) -> None:
    """Also of names of which nothing is unfinished."""
    run(order(), journal, "one")
    run(order(), journal, "two")
    depot.behaviour["c"] = fail(ValueError())
    run(order(), journal, "three")
    stuck(journal, "four")
    run(forward(), journal, "five")

    counts = found(say, "--ended")

    assert (counts["completed"], counts["compensated"], counts["stuck"]) == (3, 1, 1)
    by_name = {one["name"]: one for one in counts["names"]}
    assert by_name["forward"]["completed"] == 1
    assert (by_name["depot"]["completed"], by_name["depot"]["compensated"]) == (2, 1)
    assert found(say, "--ended", "--name", "forward")["completed"] == 1
    assert "(all)    0        0             1      3          1" in say("stats", "--ended")[1]


def test_doubts_and_retries_of_what_is_unfinished_are_counted(
    say: Say, journal: SQLiteJournal
) -> None:
    """Operations of which nobody knows what came, and calls that were made more than once."""
    depot.behaviour["a"] = fail(TimeoutError("no answer"))
    retried = SagaAssembler.saga(name="again").operation(
        (do, "a"),
        name="a",
        retry=Retry(TimeoutError, wait_initial=0.0, wait_jitter=0.0),
        pivot=True,
    )
    run(retried, journal, "x")
    crashed(journal, order(), 2, "y")
    journal.close()  # which leaves what its process has left

    counts = found(say)

    assert (counts["in_doubt"], counts["retries"]) == (1, 2)
    assert counts["stuck"] == 1


@pytest.mark.usefixtures("journal")
def test_an_empty_journal_has_nothing_to_count(say: Say) -> None:
    """All is zero."""
    assert found(say)["running"] == 0
    assert say("stats")[1].splitlines()[1].split() == ["(all)", "0", "0", "0", "0", "-", "0", "0"]


def test_what_cannot_be_read_is_counted_all_the_same(say: Say, journal: SQLiteJournal) -> None:
    """And said to be so."""
    order().start(journal=journal, saga_id="x")
    alter(journal, "UPDATE entry SET body = '[]'")

    assert (found(say)["running"], found(say)["unread"]) == (1, 1)
    assert "1 of them cannot be read: `saga doctor` says why" in say("stats")[1]
