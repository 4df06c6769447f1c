"""Doubt: what is asked, what is undone, and what is left to a person."""

import pytest
from dialogue import Op, chain, graph, one

from py_api_saga.entries import ASK, FAILED, HAPPENED, NOT_HAPPENED, STARTED, UNKNOWN


def test_asked_in_a_rollback_and_it_happened() -> None:
    """It is compensated, with the result that the answer gave."""
    d = one(on_doubt="ask", needs_result=True)
    d.doubt("a")
    assert d.x.ready() == [(STARTED, 0, ASK, 1, 1, None)]
    d.start("a")
    d.end(HAPPENED, "a", "the result")

    assert d.stand() == "succeeded"
    assert d.x.results == ["the result"]
    assert d.ready() == "-a"


def test_asked_in_a_rollback_and_it_did_not_happen() -> None:
    """Nothing is owed for it."""
    d = chain(Op(), Op(on_doubt="ask"))
    d.do("a")
    d.doubt("b")
    assert d.ready() == "?b"
    d.start("b")
    d.end(NOT_HAPPENED, "b")

    assert d.stand() == "succeeded failed"
    assert d.ready() == "-a"


@pytest.mark.parametrize(("needs_result", "ready"), [(False, "-a"), (True, "")])
def test_asked_in_a_rollback_and_nobody_knows(needs_result: bool, ready: str) -> None:  # noqa: FBT001
    """Compensated as without a question, if that can be done without the result."""
    d = one(on_doubt="ask", needs_result=needs_result)
    d.doubt("a")
    d.start("a")
    d.end(UNKNOWN, "a")

    assert d.ready() == ready
    assert d.stand() == ("stuck" if needs_result else "in_doubt")


def test_nobody_to_ask_in_a_rollback() -> None:
    """Compensate; stuck if that needs a result nobody knows, or if it was to be parked."""
    d = graph(Op(), Op(needs_result=True), Op(on_doubt="park"), Op(undo=False), Op())
    d.start(*"abcde")
    for name in "abcd":
        d.lose(name)
    d.end(FAILED, "e", ValueError("e"))

    assert d.stand() == "in_doubt stuck stuck skipped failed"
    assert d.ready() == "-a"
    d.do("a")
    assert d.saga == "stuck"


def test_what_could_not_be_asked_is_not_asked_twice() -> None:
    """One question in a rollback; a crash in it asks again."""
    d = one(on_doubt="ask")
    d.doubt("a")
    d.start("a")
    d.end(UNKNOWN, "a")
    assert d.ready() == "-a"
    d.crash()
    assert d.ready() == "?a"
    d.start("a")
    d.crash()
    assert d.x.ready() == [(STARTED, 0, ASK, 1, 1, None)]
