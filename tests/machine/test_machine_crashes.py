"""A process died: what the next one makes of the entries that are left."""

from typing import Any

import pytest
from dialogue import Dialogue, Op, chain, define, graph, one

from py_api_saga.entries import (
    ACTION,
    COMPENSATION,
    HAPPENED,
    NOT_HAPPENED,
    STARTED,
    SUCCEEDED,
    UNKNOWN,
    Word,
)
from py_api_saga.status import MISSING


def test_after_a_crash_what_was_started_is_called_again() -> None:
    """With the same key, counted on, though nobody knows what came of the first call."""
    d = chain(Op(), Op())
    d.do("a")
    d.start("b")
    d.crash()

    assert d.stand() == "succeeded in_doubt"
    assert d.x.ready() == [(STARTED, 1, ACTION, 2, 1, None)]
    d.do("b")
    assert d.saga == "completed"


@pytest.mark.parametrize(
    ("answer", "stands", "ready"),
    [(HAPPENED, "succeeded", ""), (NOT_HAPPENED, "in_doubt", "a"), (UNKNOWN, "in_doubt", "a")],
)
def test_after_a_crash_it_is_asked_first(answer: Word, stands: str, ready: str) -> None:
    """What happened is not called again; what did not, or may not have, is."""
    d = one(on_doubt="ask")
    d.start("a")
    d.crash()
    assert d.ready() == "?a"
    d.start("a")
    d.end(answer, "a", "asked")

    assert d.stand() == stands
    assert d.ready() == ready
    assert d.x.results == ["asked" if answer == HAPPENED else MISSING]


@pytest.mark.parametrize(("answer", "stands"), [(NOT_HAPPENED, "failed"), (UNKNOWN, "in_doubt")])
def test_not_happened_clears_the_doubt(answer: Word, stands: str) -> None:
    """A failure after it counts as one; after "unknown" it proves nothing."""
    d = one(on_doubt="ask")
    d.start("a")
    d.crash()
    d.start("a")
    d.end(answer, "a")
    d.fail("a")

    assert d.stand() == stands


def test_what_did_not_happen_is_not_undone() -> None:
    """Answered after a crash, and aborted before it was called again: nothing is owed."""
    d = graph(Op(on_doubt="ask", needs_result=True), Op(on_doubt="ask"))
    d.start("a", "b")
    d.crash()
    d.start("a", "b")
    d.end(NOT_HAPPENED, "a")
    d.end(UNKNOWN, "b")
    d.abort()

    assert d.stand() == "failed in_doubt"
    assert d.ready() == "?b"


def test_a_doubt_between_two_attempts_outlives_a_crash() -> None:
    """It is asked first, or parked: nobody knows what came of the attempt before."""
    d = graph(Op(on_doubt="ask"), Op(on_doubt="park"), Op())
    for name in "abc":
        d.doubt(name, wait=1.0)
    d.crash()

    assert d.stand() == "in_doubt stuck in_doubt"
    assert d.ready() == "?a c"


def test_an_answer_that_comes_when_a_rollback_was_decided() -> None:
    """It counts: what happened is undone with the rest."""
    d = graph(Op(on_doubt="ask"), Op(on_doubt="ask"), Op())
    d.start("a", "b", "c")
    d.crash()
    d.start("a", "b")
    d.fail("c")
    d.end(HAPPENED, "a", "asked")
    assert d.ready() == ""
    d.end(NOT_HAPPENED, "b")

    assert d.stand() == "succeeded failed in_doubt"
    assert d.ready() == "-c -a"


def test_after_a_crash_what_is_to_be_parked_is_stuck() -> None:
    """It is left to a person; what does not depend on it goes on."""
    d = graph(Op(on_doubt="park"), Op(), Op((0,)))
    d.start("a")
    d.crash()

    assert d.stand() == "stuck pending pending"
    assert d.saga == "running"
    d.do("b")
    assert d.saga == "stuck"


@pytest.mark.parametrize(
    ("answer", "stands"),
    [(HAPPENED, "succeeded"), (NOT_HAPPENED, "in_doubt"), (UNKNOWN, "stuck")],
)
def test_what_is_too_old_is_not_called_again(answer: Word, stands: str) -> None:
    """Services forget keys: only "it did not happen" lets it be called again."""
    d = one()
    d.start("a")
    d.crash("a")
    assert d.stand() == "stuck"

    e = one(on_doubt="ask")
    e.start("a")
    e.crash("a")
    assert e.ready() == "?a"
    e.start("a")
    e.end(answer, "a")
    assert e.stand() == stands


def test_what_is_too_old_may_still_be_undone() -> None:
    """The compensation has a key of its own."""
    d = graph(Op(), Op())
    d.do("b")
    d.start("a")
    d.abort()
    d.crash("a", "b")

    assert d.ready() == "-b -a"


def test_a_compensation_that_a_crash_interrupted_is_called_again() -> None:
    """Never asked; stuck if it is too old."""
    d = chain(Op(on_doubt="ask"), Op(on_doubt="ask"))
    d.do("a")
    d.doubt("b")
    d.start("b")
    d.end(UNKNOWN, "b")
    d.start("b")
    d.crash("a")
    assert d.x.ready() == [(STARTED, 1, COMPENSATION, 2, 1, None)]
    d.start("b")
    d.crash("b")

    assert d.stand() == "succeeded stuck"
    assert d.ready() == "-a"


@pytest.mark.parametrize("on_crash", ["resume", "compensate"])
def test_recovery_goes_forward_or_backward(on_crash: Any) -> None:
    """As the saga says; backward, nothing more starts."""
    d = Dialogue(define(Op(), Op((0,)), Op(), on_crash=on_crash))
    d.do("a")
    d.retry("c")
    d.start("b")
    d.crash()

    assert d.ready() == ("b c" if on_crash == "resume" else "-b")
    assert d.stand().endswith("running" if on_crash == "resume" else "failed")


def test_after_the_pivot_recovery_goes_forward_whatever_the_saga_says() -> None:
    """Nothing rolls back after the pivot."""
    d = Dialogue(define(Op(pivot=True), Op((0,)), on_crash="compensate"))
    d.do("a")
    d.start("b")
    d.crash()

    assert d.ready() == "b"


def test_a_rollback_that_had_begun_is_finished() -> None:
    """Though the saga resumes after a crash."""
    d = chain(Op(), Op(), Op())
    d.do("a", "b")
    d.fail("c")
    d.retry("b")
    d.crash()
    assert d.x.ready() == [(STARTED, 1, COMPENSATION, 2, 1, 0.0)]
    d.do("b", "a")
    assert d.saga == "compensated"


def test_a_crash_takes_the_stragglers_with_it() -> None:
    """They can't land any more, so it can be asked, and called again."""
    d = chain(Op(on_doubt="ask"))
    late = d.doubt("a", alive=True)
    assert d.ready() == "-a"
    d.crash()

    d.refuse((SUCCEEDED, *late, "late"))
    assert d.ready() == "?a"


@pytest.mark.parametrize("on_crash", ["resume", "compensate"])
def test_a_crash_wakes_no_stuck_saga(on_crash: Any) -> None:
    """A saga that needs a person is not resumed, in whatever direction."""
    d = Dialogue(define(Op(pivot=True), chain=True, on_crash=on_crash))
    d.doubt("a")
    assert d.saga == "stuck"
    d.crash()
    assert d.saga == "stuck"
    assert d.x.at_rest
