"""Abort: nothing more is begun, and what was done is undone."""

from collections.abc import Callable

import pytest
from dialogue import Dialogue, Op, a_failure_undoes_what_was_done, all_goes_well, chain, graph, one

from py_api_saga.entries import (
    ABORT,
    FAILED,
    HAPPENED,
    NOT_HAPPENED,
    RETRY,
    SUCCEEDED,
    UNKNOWN,
    Setback,
    Word,
)


def test_an_abort_lets_running_calls_count() -> None:
    """Nothing more starts, running calls are awaited, then all is undone."""
    d = graph(Op(), Op(), Op())
    d.start("a")
    d.retry("b")
    d.abort()
    assert d.stand() == "running failed pending"
    assert d.ready() == ""
    d.end(SUCCEEDED, "a")
    assert d.ready() == "-a"


def test_an_abort_rolls_back_though_nothing_was_left_to_start() -> None:
    """The last operation was running already: it succeeds, and is undone."""
    d = chain(Op(), Op())
    d.do("a")
    d.start("b")
    d.abort()
    d.end(SUCCEEDED, "b")

    assert d.saga == "compensating"
    d.do("b", "a")
    assert d.saga == "compensated"


def test_an_abort_ends_the_retries() -> None:
    """An attempt that fails after it is the last, whatever its policy says."""
    d = one()
    d.start("a")
    d.abort()
    d.end(RETRY, "a", Setback(ValueError("a"), 0.0))

    assert d.stand() == "failed"
    assert d.saga == "compensated"


def test_an_abort_before_anything_has_started() -> None:
    """Nothing is owed, so all is undone."""
    d = one()
    d.abort()
    assert d.stand() == "pending"
    assert d.saga == "compensated"


def test_an_abort_after_the_pivot_is_only_recorded() -> None:
    """Nothing rolls back any more."""
    d = chain(Op(), Op(pivot=True), Op())
    d.do("a", "b")
    d.abort()
    assert d.ready() == "c"
    d.do("c")
    assert d.saga == "completed"
    assert d.x.trouble is not None
    assert len(d.x.trouble.reasons) == 1


@pytest.mark.parametrize("end", [SUCCEEDED, FAILED])
def test_an_abort_while_the_pivot_runs_waits_for_it(end: Word) -> None:
    """The pivot decides: once it has succeeded the saga goes on."""
    d = chain(Op(), Op(pivot=True), Op())
    d.do("a")
    d.start("b")
    d.abort()
    assert d.ready() == ""
    d.end(end, "b", ValueError("b"))

    assert d.ready() == ("c" if end == SUCCEEDED else "-a")


def test_an_abort_between_two_attempts_of_a_doubtful_pivot() -> None:
    """It counts as passed until it is known not to have happened."""
    d = chain(Op(), Op(pivot=True, on_doubt="ask"), Op())
    d.do("a")
    d.doubt("b", wait=1.0)
    d.abort()
    assert d.stand() == "succeeded in_doubt pending"
    assert d.ready() == "?b"
    d.start("b")
    d.end(NOT_HAPPENED, "b")
    assert d.stand() == "succeeded failed pending"
    assert d.ready() == "-a"


def a_pivot_did_not_happen() -> Dialogue:
    """A process died within it, and the next one has asked."""
    d = chain(Op(), Op(pivot=True, on_doubt="ask"), Op())
    d.do("a")
    d.start("b")
    d.crash()
    d.start("b")
    d.end(NOT_HAPPENED, "b")
    return d


def test_an_abort_once_the_pivot_is_known_not_to_have_happened_undoes_all() -> None:
    """It was to be called again after a crash, and is not."""
    d = a_pivot_did_not_happen()
    assert d.ready() == "b"
    d.abort()

    assert d.stand() == "succeeded failed pending"
    assert d.ready() == "-a"


@pytest.mark.parametrize("answer", [HAPPENED, NOT_HAPPENED, UNKNOWN])
def test_an_abort_while_the_pivot_is_asked_about_once_more_waits_for_the_answer(
    answer: Word,
) -> None:
    """Who knows nothing now adds nothing to what was known before the second crash."""
    d = a_pivot_did_not_happen()
    d.crash()
    d.start("b")
    d.abort()
    assert d.stand() == "succeeded in_doubt pending"
    d.end(answer, "b")

    assert d.ready() == ("c" if answer == HAPPENED else "-a")


@pytest.mark.parametrize("ending", [all_goes_well, a_failure_undoes_what_was_done])
def test_a_saga_that_has_ended_cannot_be_aborted(ending: Callable[[], Dialogue]) -> None:
    """COMPLETED and COMPENSATED are ends."""
    ending().refuse((ABORT, -1, "", 0, 0, TimeoutError()))
