"""One call's process died while others live: what RECOVERED says of all, said of that alone."""

from typing import Any

import pytest
from dialogue import Dialogue, Op, chain, define, graph, one

from py_api_saga.entries import (
    ACTION,
    COMPENSATION,
    FAILED,
    HAPPENED,
    IN_DOUBT,
    LOST,
    NOT_HAPPENED,
    STARTED,
    SUCCEEDED,
    UNKNOWN,
    Setback,
    Word,
    attempt_of,
    lost,
)

# --- an action ------------------------------------------------------------------------------------


def test_what_is_lost_is_called_again_and_others_go_on() -> None:
    """With the same key, counted on; the others are still in flight."""
    d = graph(Op(), Op(), Op((0, 1)))
    d.start("a", "b")
    d.end(LOST, "a", value=False)

    assert d.stand() == "in_doubt running pending"
    assert d.x.ready() == [(STARTED, 0, ACTION, 2, 1, None)]
    assert list(d.x.flying) == [1]
    d.do("a")
    d.end(SUCCEEDED, "b")
    d.do("c")
    assert d.saga == "completed"


def test_what_is_lost_is_in_doubt() -> None:
    """A failure of the next attempt disproves nothing: it is undone like a success."""
    d = graph(Op(), Op())
    d.start("a", "b")
    d.end(LOST, "a", value=False)
    d.end(SUCCEEDED, "b")
    d.fail("a")

    assert d.stand() == "in_doubt succeeded"
    assert d.ready() == "-b -a"


@pytest.mark.parametrize(
    ("answer", "stands", "ready"),
    [(HAPPENED, "succeeded", ""), (NOT_HAPPENED, "in_doubt", "a"), (UNKNOWN, "in_doubt", "a")],
)
def test_it_is_asked_first(answer: Word, stands: str, ready: str) -> None:
    """While others run; what happened is not called again."""
    d = graph(Op(on_doubt="ask"), Op())
    d.start("a", "b")
    d.end(LOST, "a", value=False)
    assert d.ready() == "?a"
    d.start("a")
    d.end(answer, "a", "asked")

    assert d.stand() == f"{stands} running"
    assert d.ready() == ready


def test_what_is_to_be_parked_is_stuck_alone() -> None:
    """It is left to a person; what does not depend on it goes on."""
    d = graph(Op(on_doubt="park"), Op(), Op((0,)))
    d.start("a", "b")
    d.end(LOST, "a", value=False)

    assert d.stand() == "stuck running pending"
    assert d.saga == "running"
    d.end(SUCCEEDED, "b")
    assert d.saga == "stuck"


def test_what_is_too_old_is_not_called_again() -> None:
    """That alone: another one whose process dies sooner is."""
    d = graph(Op(), Op(), Op())
    d.start("a", "b", "c")
    d.end(LOST, "a", value=True)
    d.end(LOST, "b", value=False)

    assert d.stand() == "stuck in_doubt running"
    assert d.ready() == "b"
    assert d.x.stuck_reasons() == {0: "key too old"}


def test_what_was_too_old_once_is_not_for_ever() -> None:
    """A person has it called under another key, whose process dies as well: that one is new."""
    d = one()
    d.start("a")
    d.end(LOST, "a", value=True)
    d.again("a", new_key=True)
    d.start("a")
    d.end(LOST, "a", value=False)

    assert d.x.ready() == [(STARTED, 0, ACTION, 3, 2, None)]


def test_a_saga_that_would_rather_be_undone_awaits_what_runs() -> None:
    """It counts; nothing else starts, and then all is undone, also what was lost."""
    d = Dialogue(define(Op(), Op(), Op(), Op((0,)), on_crash="compensate"))
    d.do("a")
    d.retry("c")
    d.start("b")
    d.start("d")
    d.end(LOST, "b", value=False)

    assert d.stand() == "succeeded in_doubt failed running"
    assert d.ready() == ""
    d.end(SUCCEEDED, "d")
    assert d.ready() == "-d -b"
    d.do("d", "b", "a")
    assert d.saga == "compensated"


def test_a_call_that_is_lost_behind_the_pivot_is_called_again() -> None:
    """Nothing rolls back there, whatever the saga says."""
    d = Dialogue(define(Op(pivot=True), Op((0,)), on_crash="compensate"))
    d.do("a")
    d.start("b")
    d.end(LOST, "b", value=False)

    assert d.ready() == "b"


@pytest.mark.parametrize(("doubt", "ready"), [("proceed", "b"), ("ask", "?b"), ("park", "")])
def test_a_pivot_that_is_lost_decides_whether_there_is_a_rollback(doubt: Any, ready: str) -> None:
    """Though one was decided: until it is known whether the pivot happened nothing is undone."""
    d = chain(Op(), Op(pivot=True, on_doubt=doubt))
    d.do("a")
    d.start("b")
    d.abort()
    d.end(LOST, "b", value=False)

    assert d.x.backward
    assert not d.x.rolling
    assert d.ready() == ready
    if ready == "b":
        d.do("b")
        assert d.saga == "completed"


def test_a_rollback_that_was_decided_begins_with_the_last_loss() -> None:
    """What was lost is undone like the rest, or asked about first."""
    d = graph(Op(), Op(on_doubt="ask"), Op())
    d.start("a", "b", "c")
    d.end(FAILED, "c", ValueError())
    d.end(LOST, "a", value=False)
    assert d.ready() == ""
    assert not d.x.rolling
    d.end(LOST, "b", value=True)

    assert d.stand() == "in_doubt in_doubt failed"
    assert d.ready() == "?b -a"


def test_what_is_awaited_cannot_be_lost() -> None:
    """No process has it."""
    d = graph(Op(), Op())
    d.wait("a")
    d.start("b")
    d.refuse((LOST, 0, ACTION, 1, 1, False))
    d.end(LOST, "b", value=False)

    assert list(d.x.awaited) == [0]
    assert d.ready() == "b"


def test_a_rollback_waits_for_no_answer_when_the_last_call_is_lost() -> None:
    """What is awaited as it begins is in doubt, and a timer has succeeded."""
    d = Dialogue(define(Op(), Op(), Op(), on_crash="compensate"))
    d.wait("a")
    d.wait("b", result="in time")
    d.start("c")
    d.end(LOST, "c", value=False)

    assert d.stand() == "in_doubt succeeded in_doubt"
    assert d.ready() == "-c -b -a"


# --- a question -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rolls", [False, True])
def test_a_question_that_is_lost_is_asked_again(*, rolls: bool) -> None:
    """In whatever direction: nobody has heard the answer."""
    d = graph(Op(on_doubt="ask"), Op())
    d.start("a", "b")
    if rolls:
        d.lose("a")
        d.end(FAILED, "b", ValueError())
    else:
        d.end(LOST, "a", value=False)
    d.start("a")
    d.end(LOST, "a", value=False)

    assert d.x.rolling is rolls
    assert d.ready() == "?a"
    d.start("a")
    d.end(UNKNOWN, "a")
    assert d.ready() == ("-a" if rolls else "a")


def test_a_question_that_is_lost_when_a_rollback_was_decided_is_asked_in_it() -> None:
    """Not before: what runs is awaited."""
    d = graph(Op(on_doubt="ask"), Op())
    d.start("a", "b")
    d.end(LOST, "a", value=False)
    d.start("a")
    d.abort()
    d.end(LOST, "a", value=False)
    assert d.ready() == ""
    d.end(SUCCEEDED, "b")

    assert d.ready() == "-b ?a"


def test_what_is_overdue_is_asked_about_again_and_never_called() -> None:
    """It was awaited in vain, and the question was lost."""
    d = one(on_doubt="ask")
    d.wait("a")
    d.overdue("a")
    d.start("a")
    d.end(LOST, "a", value=False)
    assert d.ready() == "?a"
    d.start("a")
    d.end(UNKNOWN, "a")

    assert d.ready() == "-a"


# --- a compensation -------------------------------------------------------------------------------


def test_a_compensation_that_is_lost_is_called_again() -> None:
    """Never asked: it tolerates that; others go on."""
    d = graph(Op(on_doubt="ask"), Op(), Op())
    d.do("a", "b")
    d.fail("c")
    d.start("a", "b")
    d.end(LOST, "a", value=False)

    assert d.stand() == "compensating compensating failed"
    assert d.x.ready() == [(STARTED, 0, COMPENSATION, 2, 1, None)]


def test_a_compensation_that_is_lost_with_a_key_too_old_is_stuck_alone() -> None:
    """A rollback does all that it can."""
    d = chain(Op(), Op(), Op())
    d.do("a", "b")
    d.fail("c")
    d.start("b")
    d.end(LOST, "b", value=True)

    assert d.stand() == "succeeded stuck failed"
    assert d.ready() == "-a"
    d.do("a")
    assert d.saga == "stuck"
    d.again("b")
    d.start("b")
    d.end(LOST, "b", value=False)
    assert d.x.ready() == [(STARTED, 1, COMPENSATION, 3, 1, None)]


# --- a straggler ----------------------------------------------------------------------------------


def test_a_straggler_that_is_lost_can_be_asked_about() -> None:
    """It can't land any more; nothing else waits for it."""
    d = one(on_doubt="ask")
    late = d.doubt("a", alive=True)
    assert d.ready() == "-a"
    d.land(late, LOST, value=False)

    d.refuse((SUCCEEDED, *late, "late"))
    d.refuse((LOST, *late, False))
    assert d.ready() == "?a"


def test_a_straggler_that_is_lost_when_its_undo_has_begun_leaves_that_alone() -> None:
    """What it may have done behind its undo nobody can see."""
    d = one(on_doubt="ask")
    late = d.doubt("a", alive=True)
    d.start("a")
    d.land(late, LOST, value=True)
    assert d.stand() == "compensating"
    d.end(SUCCEEDED, "a")

    assert d.saga == "compensated"


@pytest.mark.parametrize(
    ("first", "stands"), [("straggler", "in_doubt in_doubt"), ("flight", "stuck in_doubt")]
)
def test_a_rollback_that_begins_asks_nothing_about_what_may_land(first: str, stands: str) -> None:
    """Whoever is lost first: what can't be undone without a result is stuck if it may land yet."""
    d = graph(Op(on_doubt="ask", needs_result=True), Op())
    d.start("a", "b")
    late = d.lose("a", alive=True)
    losses = [lost(late), lost(attempt_of(d.x.flying[1]))]
    for loss in losses if first == "straggler" else reversed(losses):
        d.tell(loss)

    assert d.stand() == stands


@pytest.mark.parametrize(
    ("what", "value"), [(LOST, False), (IN_DOUBT, Setback(TimeoutError("late")))]
)
def test_a_straggler_of_a_key_that_was_denied_leaves_no_doubt(what: Word, value: Any) -> None:
    """Whoever answers knows better: what is denied under the next key as well did not happen."""
    d = chain(Op(pivot=True), Op())
    d.do("a")
    late = d.doubt("b", alive=True)
    d.deny("b")
    d.land(late, what, value)
    d.again("b")
    d.wait("b")
    d.deny("b", generation=2)

    assert d.x.trouble is not None
    assert d.x.trouble.doubted == frozenset()
    assert d.x.trouble.overdue == frozenset()
