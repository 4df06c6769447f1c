"""Entries: what the machine is told is all it knows, and it takes in nothing else."""

from typing import Any

import pytest
from dialogue import Op, again, define, graph, late_landings, one, replayed, resolved, state

from py_api_saga import Status
from py_api_saga.entries import (
    ACTION,
    ASK,
    COMPENSATION,
    FAILED,
    HAPPENED,
    IN_DOUBT,
    LOST,
    NOT_HAPPENED,
    RETRY,
    STARTED,
    SUCCEEDED,
    UNKNOWN,
    Entry,
    Setback,
    Word,
)
from py_api_saga.execution import Execution


def test_entries_are_what_was_told_and_no_more() -> None:
    """What needs no call follows: no entry says SKIPPED, or how the saga stands."""
    d = graph(Op(undo=False), Op())
    d.do("a")
    d.fail("b", error := ValueError("b"))

    assert d.stand() == "skipped failed"
    assert d.saga == "compensated"
    assert d.x.entries == [
        (STARTED, 0, ACTION, 1, 1, None),
        (SUCCEEDED, 0, ACTION, 1, 1, "a done"),
        (STARTED, 1, ACTION, 1, 1, None),
        (FAILED, 1, ACTION, 1, 1, error),
    ]


def test_folding_changes_nothing() -> None:
    """Recovery is the constructor: entries give the same machine, and stay what they were."""
    d = late_landings()
    entries = list(d.x.entries)

    again_ = Execution(d.definition, entries)

    assert state(again_) == state(d.x)
    assert again_.entries == entries
    assert again_.entries is not entries


def test_who_does_not_watch_is_told_of_what_is_unexpected() -> None:
    """Without a watcher a run that goes well notes no move; doubt and what sticks are noted."""
    definition = define(Op(pivot=True), Op(), chain=True)
    x = Execution(definition)
    for entry in (
        (STARTED, 0, ACTION, 1, 1, None),
        (SUCCEEDED, 0, ACTION, 1, 1, None),
        (STARTED, 1, ACTION, 1, 1, None),
    ):
        x.tell(entry)
    assert x.moves == []

    x.tell((FAILED, 1, ACTION, 1, 1, ValueError()))

    assert x.moves == [(1, Status.STUCK)]


@pytest.mark.parametrize(
    "entry",
    [
        (STARTED, 0, ACTION, 1, 1, None),  # it is in flight
        (STARTED, 1, ACTION, 1, 1, None),  # what it waits for is not done
        (STARTED, 2, ACTION, 2, 1, None),  # the first attempt is the next one
        (STARTED, 2, ACTION, 1, 2, None),  # nobody asked for a new key
        (STARTED, 2, COMPENSATION, 1, 1, None),
        (STARTED, 2, ASK, 0, 1, None),
        (SUCCEEDED, 0, ACTION, 2, 1, None),
        (SUCCEEDED, 0, ACTION, 1, 2, None),
        (SUCCEEDED, 0, COMPENSATION, 1, 1, None),
        (SUCCEEDED, 2, ACTION, 1, 1, None),
        (FAILED, 0, ACTION, 2, 1, ValueError()),
        (FAILED, 2, ACTION, 1, 1, ValueError()),
        (RETRY, 0, COMPENSATION, 1, 1, Setback(ValueError(), 1.0)),
        (IN_DOUBT, 2, ACTION, 1, 1, Setback(ValueError())),
        (LOST, 0, ACTION, 2, 1, False),
        (LOST, 0, ASK, 1, 1, False),
        (LOST, 2, ACTION, 1, 1, False),
        (HAPPENED, 0, ACTION, 1, 1, None),
        (NOT_HAPPENED, 0, ASK, 1, 1, None),
        (UNKNOWN, 2, ASK, 1, 1, None),
        resolved(0, Status.SUCCEEDED),
        resolved(2, Status.FAILED),
        again(0),
        again(2),
    ],
    ids=lambda entry: str(entry[:5]),
)
def test_what_contradicts_the_run_is_refused(entry: Entry) -> None:
    """An illegal entry raises IllegalMoveError and changes nothing."""
    d = graph(Op(), Op((0,)), Op())
    d.start("a")

    d.refuse(entry)

    d.do("c")
    d.end(SUCCEEDED, "a")
    d.do("b")
    assert d.saga == "completed"


def test_a_question_has_no_result() -> None:
    """A question ends with happened, not happened or unknown, and nothing else."""
    d = one(on_doubt="ask")
    d.doubt("a")
    question = d.start("a")

    wrong: tuple[tuple[Word, Any], ...] = (
        (SUCCEEDED, None),
        (FAILED, ValueError()),
        (RETRY, Setback(ValueError(), 1.0)),
        (IN_DOUBT, Setback(ValueError())),
    )
    for what, value in wrong:
        d.refuse((what, *question[1:5], value))

    d.end(UNKNOWN, "a")
    assert d.ready() == "-a"


def test_attempts_count_per_kind_and_never_restart() -> None:
    """Retries, crashes, a person and a new key all count on; a compensation counts by itself."""
    d = one(pivot=True)
    d.retry("a")
    d.start("a")
    d.crash()
    d.fail("a")  # in doubt, and a pivot in a live run: stuck
    d.again("a", new_key=True)
    assert d.intents("a") == [(STARTED, 0, ACTION, 4, 2, None)]
    d.start("a")
    d.crash()
    d.fail("a")
    assert d.x.tries == [5]
    d.resolve("a", Status.FAILED)

    e = graph(Op(), Op())
    e.retry("a")
    e.do("a")
    e.abort()
    e.retry("a")
    e.fail("a")
    e.again("a")
    assert e.intents("a") == [(STARTED, 0, COMPENSATION, 3, 1, None)]
    e.fail("a")
    e.resolve("a", Status.SUCCEEDED)
    assert e.intents("a") == [(STARTED, 0, COMPENSATION, 4, 1, None)]


def test_the_world_replays_with_strings_of_its_own() -> None:
    """The machine compares by value: what a journal gives back is not one of our constants."""
    d = late_landings()
    assert all(
        entry[0] is not original[0]
        for entry, original in zip(replayed(d.x).entries, d.x.entries, strict=True)
    )
