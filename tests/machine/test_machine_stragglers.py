"""Stragglers: calls that were given up, and end all the same."""

from typing import Any

import pytest
from dialogue import Op, again, chain, graph, one, resolved

from py_api_saga import Status
from py_api_saga.entries import (
    ACTION,
    COMPENSATION,
    FAILED,
    IN_DOUBT,
    RETRY,
    STARTED,
    SUCCEEDED,
    Setback,
    Word,
)


def test_an_attempt_past_its_timeout_is_not_called_again() -> None:
    """Not while it may still land, whatever the policy says; it is undone instead."""
    d = one()
    d.doubt("a", wait=1.0, alive=True)

    assert d.stand() == "in_doubt"
    assert d.ready() == "-a"


def test_while_a_straggler_lives_nothing_is_asked() -> None:
    """The answer is unknown, and when the straggler has failed it can be asked."""
    d = graph(Op(on_doubt="ask"), Op(on_doubt="ask", needs_result=True))
    d.start("a", "b")
    late = d.lose("a", alive=True)
    d.lose("b", alive=True)

    assert d.stand() == "in_doubt stuck"
    assert d.ready() == "-a"
    d.land(late, FAILED, ValueError("late"))
    assert d.ready() == "?a"


@pytest.mark.parametrize(
    ("what", "value"),
    [
        (FAILED, ValueError()),
        (RETRY, Setback(ValueError(), 1.0)),
        (IN_DOUBT, Setback(TimeoutError())),
    ],
)
def test_a_late_failure_only_ends_the_straggler(what: Word, value: Any) -> None:
    """Doubt stays: an earlier effect is not disproved."""
    d = graph(Op(), Op())
    d.start("b")
    late = d.doubt("a", alive=True)
    d.land(late, what, value)
    assert d.stand() == "in_doubt running"
    d.end(SUCCEEDED, "b")

    assert d.ready() == "-b -a"
    d.refuse((SUCCEEDED, *late, "twice"))


def test_landing_while_in_doubt_means_success() -> None:
    """It is undone all the same, since its timeout failed the saga, but with its result."""
    d = chain(Op(), Op(needs_result=True), Op())
    d.do("a")
    e = graph(Op(needs_result=True), Op())
    e.start("b")
    late = e.doubt("a", alive=True)
    e.land(late)
    assert e.stand() == "succeeded running"
    assert e.x.results[0] == "late"
    assert e.ready() == ""
    e.end(SUCCEEDED, "b")
    assert e.ready() == "-b -a"

    late = d.doubt("b", alive=True)
    assert d.stand() == "succeeded stuck pending"  # nobody knew the result in time


def test_landing_while_its_undo_waits_for_its_turn() -> None:
    """It is listed once, as what has succeeded, after what was built on it."""
    d = graph(Op(), Op())
    late = d.doubt("b", alive=True)
    assert d.ready() == "-b"
    d.land(late)
    assert d.stand() == "pending succeeded"
    assert d.x.ready() == [(STARTED, 1, COMPENSATION, 1, 1, None)]


def test_landing_while_being_undone() -> None:
    """Undone once more, under the next generation of the key, after the running one."""
    d = one()
    late = d.doubt("a", alive=True)
    d.start("a")
    d.land(late)
    assert d.stand() == "compensating"
    assert d.ready() == ""
    d.end(RETRY, "a", Setback(ValueError(), 0.0))
    assert d.intents("a") == [(STARTED, 0, COMPENSATION, 2, 1, 0.0)]
    d.do("a")
    assert d.saga == "compensating"
    assert d.x.ready() == [(STARTED, 0, COMPENSATION, 3, 2, None)]
    assert d.x.generation(0, COMPENSATION) == 2
    assert d.x.generation(0, ACTION) == 1
    d.do("a")
    assert d.saga == "compensated"


def test_landing_after_it_was_undone() -> None:
    """The saga had ended, and goes on: once for each landing."""
    d = one()
    late = d.doubt("a", alive=True)
    d.do("a")
    assert d.saga == "compensated"
    d.land(late)
    assert d.saga == "compensating"
    assert d.x.ready() == [(STARTED, 0, COMPENSATION, 2, 2, None)]
    d.refuse((SUCCEEDED, *late, "twice"))
    d.do("a")
    assert d.saga == "compensated"


def test_landing_after_a_person_said_that_it_failed() -> None:
    """The person was wrong: compensated under the next generation."""
    d = one(on_doubt="park")
    late = d.doubt("a", alive=True)
    d.resolve("a", Status.FAILED)
    assert d.saga == "compensated"
    d.land(late)
    assert d.stand() == "failed"
    assert d.x.ready() == [(STARTED, 0, COMPENSATION, 1, 2, None)]
    d.do("a")
    assert d.stand() == "compensated"


def test_landing_on_a_pivot_that_a_person_failed() -> None:
    """It is undone like the rest, before what it was built on."""
    d = chain(Op(), Op(pivot=True))
    d.do("a")
    late = d.doubt("b", alive=True)
    assert d.stand() == "succeeded stuck"
    d.resolve("b", Status.FAILED)
    d.land(late)

    assert d.x.ready(1) == [(STARTED, 1, COMPENSATION, 1, 2, None)]


@pytest.mark.parametrize("status", ["skipped", "stuck", "succeeded"])
def test_landing_elsewhere_is_only_recorded(status: str) -> None:
    """SUCCEEDED, SKIPPED and STUCK stay so, and the result is known."""
    d = one(undo=status != "skipped", pivot=status == "succeeded", on_doubt="park")
    late = d.doubt("a", alive=True)
    if status == "succeeded":
        d.resolve("a", Status.SUCCEEDED, "said")
    assert d.stand() == status
    saga = d.x.saga
    d.land(late)

    assert d.stand() == status
    assert d.x.saga is saga
    assert d.x.results == ["late"]
    assert d.ready() == ""


def test_a_compensation_past_its_timeout_is_stuck_until_it_lands() -> None:
    """It is never called again while it lives; landing, it was undone after all."""
    d = chain(Op(), Op(), Op())
    d.do("a", "b")
    d.fail("c")
    late = d.doubt("b", wait=1.0, alive=True)
    assert d.stand() == "succeeded stuck failed"
    d.do("a")
    assert d.saga == "stuck"
    d.refuse(again(1))
    d.refuse(resolved(1, Status.SUCCEEDED))
    d.land(late, value="undone late")

    assert d.stand() == "compensated compensated failed"
    assert d.saga == "compensated"
    assert d.x.trouble is not None
    assert d.x.trouble.undo_errors == {}
    assert d.x.trouble.undone == {0: "a done", 1: "undone late"}


def test_a_late_compensation_does_not_count_for_a_landing_behind_it() -> None:
    """The action landed while it was undone, so it is owed once more, however late that ends."""
    d = one()
    action = d.doubt("a", alive=True)
    undo = d.start("a")[1:5]
    d.land(action)
    d.lose("a", alive=True)
    assert d.saga == "stuck"
    d.land(undo)

    assert d.saga == "compensating"
    assert d.x.ready() == [(STARTED, 0, COMPENSATION, 2, 2, None)]


def test_a_compensation_that_lands_when_a_person_has_decided() -> None:
    """It changes nothing any more."""
    d = chain(Op(), Op())
    d.do("a")
    d.fail("b")
    late = d.doubt("a", alive=True)
    d.resolve("a", Status.SKIPPED)
    d.land(late)

    assert d.stand() == "skipped failed"
    assert d.saga == "compensated"
