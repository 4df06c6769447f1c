"""The pivot: after it a saga only goes forward."""

import pytest
from dialogue import Op, chain, graph

from py_api_saga import Status
from py_api_saga.entries import HAPPENED, NOT_HAPPENED, SUCCEEDED, UNKNOWN, Word
from py_api_saga.status import MISSING


def test_after_the_pivot_a_failure_is_stuck() -> None:
    """Nothing rolls back; what does not depend on it goes on, and a person resumes the rest."""
    d = graph(Op(), Op((0,), pivot=True), Op((1,)), Op((1,)), Op((2,)))
    d.do("a", "b")
    d.retry("c")
    d.fail("c")
    assert d.stand() == "succeeded succeeded stuck pending pending"
    assert d.ready() == "d"
    d.do("d")
    assert d.saga == "stuck"
    d.again("c")
    assert d.saga == "stuck"
    d.start("c")
    assert d.saga == "running"
    d.end(SUCCEEDED, "c")
    d.do("e")
    assert d.saga == "completed"


def test_before_the_pivot_a_failure_rolls_back() -> None:
    """The pivot itself included: it is the last that can."""
    d = chain(Op(), Op(pivot=True), Op())
    d.do("a")
    d.fail("b")
    assert d.ready() == "-a"


@pytest.mark.parametrize(
    ("answer", "stands", "ready"),
    [
        (HAPPENED, "succeeded succeeded pending", "c"),
        (NOT_HAPPENED, "succeeded failed pending", "-a"),
        (UNKNOWN, "succeeded stuck pending", ""),
    ],
)
def test_a_pivot_in_doubt_in_a_live_run(answer: Word, stands: str, ready: str) -> None:
    """It is asked; the saga goes on, rolls back, or needs a person."""
    d = chain(Op(), Op(pivot=True, on_doubt="ask"), Op())
    d.do("a")
    d.doubt("b")
    assert d.ready() == "?b"
    d.start("b")
    d.end(answer, "b")

    assert d.stand() == stands
    assert d.ready() == ready


def test_what_is_behind_the_pivot_and_in_doubt_is_asked_too() -> None:
    """Known not to have happened, it has failed for good: stuck."""
    d = chain(Op(pivot=True), Op(on_doubt="ask"))
    d.do("a")
    d.doubt("b")
    assert d.ready() == "?b"
    d.start("b")
    d.end(NOT_HAPPENED, "b")
    assert d.stand() == "succeeded stuck"
    assert d.saga == "stuck"


def test_a_pivot_in_doubt_that_nobody_can_ask_is_stuck_in_a_live_run() -> None:
    """It counts as passed, so nothing is undone, and what came before it stands."""
    d = chain(Op(), Op(pivot=True), Op())
    d.do("a")
    d.doubt("b", alive=True)
    assert d.stand() == "succeeded stuck pending"
    assert d.saga == "stuck"


def test_a_pivot_in_doubt_is_called_again_by_recovery() -> None:
    """Also if an abort was recorded, which decides only if the pivot has not happened."""
    d = chain(Op(), Op(pivot=True), Op())
    d.do("a")
    d.start("b")
    d.abort()
    d.crash()
    assert d.ready() == "b"
    d.do("b")
    assert d.ready() == "c"


@pytest.mark.parametrize(("aborted", "ready"), [(False, "b"), (True, "-a")])
def test_a_pivot_that_did_not_happen(aborted: bool, ready: str) -> None:  # noqa: FBT001
    """After a crash it is called again, unless an abort was recorded."""
    d = chain(Op(), Op(pivot=True, on_doubt="ask"), Op())
    d.do("a")
    d.start("b")
    if aborted:
        d.abort()
    d.crash()
    assert d.ready() == "?b"
    d.start("b")
    d.end(NOT_HAPPENED, "b")

    assert d.ready() == ready


def test_the_error_of_a_pivot_that_happened_is_not_the_cause() -> None:
    """What raised and yet succeeded, by answer or by a person, has not failed the saga."""
    d = chain(Op(pivot=True, on_doubt="ask"), Op(), Op())
    d.doubt("a")
    d.start("a")
    d.end(HAPPENED, "a", "asked")
    d.fail("b")
    d.resolve("b", Status.SUCCEEDED, "said")
    d.fail("c", error := ValueError("c"))

    assert d.x.trouble is not None
    assert d.x.trouble.errors == {2: error}
    assert d.x.results == ["asked", "said", MISSING]
