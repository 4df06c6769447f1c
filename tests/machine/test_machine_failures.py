"""Failures: when a saga turns, and what is tried again."""

from typing import Any

import pytest
from dialogue import Op, chain, graph, one

from py_api_saga.entries import ACTION, COMPENSATION, FAILED, RETRY, STARTED, Setback


def test_a_failure_undoes_what_was_done_but_not_itself() -> None:
    """An operation that declared failure has no effect, so its compensation is not run."""
    d = chain(Op(), Op(), Op())
    d.do("a")
    d.fail("b")
    assert d.saga == "compensating"
    assert d.ready() == "-a"
    d.do("a")

    assert d.stand() == "compensated failed pending"
    assert d.saga == "compensated"
    assert d.x.at_rest


def test_an_operation_that_ended_in_doubt_is_compensated() -> None:
    """Its compensation is run as well, since it may have happened."""
    d = chain(Op(), Op())
    d.do("a")
    d.doubt("b")
    assert d.stand() == "succeeded in_doubt"
    assert d.ready() == "-b"
    d.do("b", "a")
    assert d.saga == "compensated"


def test_doubt_is_sticky() -> None:
    """Once an attempt ended in doubt, a later failure proves nothing about it."""
    d = one()
    d.doubt("a", wait=0.0)
    d.retry("a")
    d.fail("a")

    assert d.stand() == "in_doubt"
    assert d.ready() == "-a"


def test_a_success_clears_the_doubt() -> None:
    """The attempt that succeeds says what came of it."""
    d = chain(Op(pivot=True), Op())
    d.doubt("a", wait=0.0)
    d.do("a", "b")

    assert d.saga == "completed"
    assert d.x.trouble is not None
    assert d.x.trouble.errors == {}


@pytest.mark.parametrize("on_doubt", ["ask", "park"])
def test_a_retry_in_a_live_run_is_neither_asked_nor_parked(on_doubt: Any) -> None:
    """`on_doubt` is for what is left in doubt, not for the next attempt."""
    d = one(on_doubt=on_doubt)
    d.doubt("a", wait=1.0)
    assert d.x.ready() == [(STARTED, 0, ACTION, 2, 1, 1.0)]
    d.do("a")
    assert d.saga == "completed"


def test_several_failures_are_all_kept() -> None:
    """No further attempt starts, running ones are awaited, and every error is remembered."""
    d = graph(Op(), Op(), Op(), Op())
    d.start("a", "b", "c")
    d.end(FAILED, "b", second := ValueError("b"))
    d.end(RETRY, "c", Setback(third := ValueError("c"), 0.0))
    assert d.ready() == ""
    d.end(FAILED, "a", first := ValueError("a"))

    assert d.stand() == "failed failed failed pending"
    assert d.saga == "compensated"
    assert d.x.trouble is not None
    assert d.x.trouble.errors == {0: first, 1: second, 2: third}


def test_a_compensation_that_raises_is_retried_and_then_stuck() -> None:
    """The others still run, and no error replaces another."""
    d = chain(Op(), Op(), Op())
    d.do("a", "b")
    d.fail("c", cause := ValueError("c"))
    d.retry("b", wait=3.0)
    assert d.x.ready() == [(STARTED, 1, COMPENSATION, 2, 1, 3.0)]
    d.fail("b", undo := ValueError("undo b"))
    assert d.ready() == "-a"
    d.do("a")

    assert d.stand() == "compensated stuck failed"
    assert d.saga == "stuck"
    assert d.x.trouble is not None
    assert d.x.trouble.errors == {2: cause}
    assert d.x.trouble.undo_errors == {1: undo}


def test_a_compensation_in_doubt_may_be_retried() -> None:
    """A coroutine past its timeout was cancelled: nothing lives, so the policy decides."""
    d = chain(Op(), Op())
    d.do("a")
    d.fail("b")
    d.doubt("a", wait=1.0)
    assert d.x.ready() == [(STARTED, 0, COMPENSATION, 2, 1, 1.0)]
