"""A `later()` that nobody can wait for: the call has begun something by then."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import depot
import pytest
from depot import do, fail, undo
from letterbox import order
from recorded import status
from world import failure_of, statuses

from py_api_saga import (
    Retry,
    SagaAssembler,
    SagaException,
    SagaStatus,
    SagaStuck,
    later,
    leaves_doubt,
)
from py_api_saga.exceptions import LaterError

Execute = Callable[..., Any]

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "neither": ({}, "neither"),
    "both": ({"timeout": 1, "until": 1.0}, "both"),
    "negative": ({"timeout": -1}, "timeout"),
    "no number": ({"timeout": "soon"}, "timeout"),
    "without a zone": ({"until": dt.datetime(2026, 1, 1)}, "time zone"),  # noqa: DTZ001
    "a date": ({"until": "tomorrow"}, "seconds since 1970"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_later_says_what_is_wrong_with_it(case: str) -> None:
    """It raises at once, and leaves doubt about its call; so does what was raised from it."""
    options, words = WRONG[case]
    with pytest.raises(LaterError, match=words) as caught:
        later(**options)

    assert leaves_doubt(caught.value)
    linked = ValueError()
    linked.__cause__ = caught.value
    assert leaves_doubt(linked)


@pytest.mark.parametrize("case", ["neither", "negative"])
def test_an_action_whose_later_is_wrong_is_undone(
    execute: Execute, in_memory: Any, case: str
) -> None:
    """It has begun something: it is in doubt, and not tried again, whatever its retry says."""
    saga = order(retry=Retry(Exception, attempts=3, wait_initial=0))
    depot.behaviour["b"] = lambda: later(**WRONG[case][0])
    with pytest.raises(SagaException) as caught:
        execute(saga, journal=in_memory, saga_id="x")

    assert isinstance(caught.value.operation_error, LaterError)
    assert depot.log == ["a", "b", "undo b", "undo a"]


def test_without_a_journal_nobody_can_answer(execute: Execute) -> None:
    """The action is in doubt and undone, and the words say what is missing."""
    depot.reset()
    error = failure_of(execute, order(retry=Retry(Exception, attempts=3, wait_initial=0)))

    assert isinstance(error.operation_error, LaterError)
    assert "without a journal nobody can answer" in str(error.operation_error)
    assert "journal=" in str(error.operation_error)
    assert depot.log == ["a", "b", "undo b", "undo a"]
    assert statuses(error)["b"] == "COMPENSATED"
    depot.reset()


def undone(behaviour: Callable[[], Any]) -> SagaAssembler:
    """A saga that is undone, of which one compensation does this."""
    depot.behaviour.update({"take back b": behaviour, "c": fail(ValueError("no courier"))})
    again = Retry(Exception, attempts=3, wait_initial=0)
    return (
        SagaAssembler.saga(name="depot")
        .operation((do, "a"), (undo, "a"), name="a")
        .operation((do, "b"), (do, "take back b"), name="b", after="a", compensation_retry=again)
        .operation((do, "c"), name="c", after="b")
    )


def test_without_a_journal_a_compensation_is_stuck(execute: Execute) -> None:
    """At once: to make it again would begin the same thing once more."""
    depot.reset()
    with pytest.raises(SagaStuck, match="without a journal nobody can answer"):
        execute(undone(lambda: later(timeout=None)))

    assert depot.log == ["a", "b", "c", "take back b", "undo a"]
    depot.reset()


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (lambda: later(**WRONG["neither"][0]), "neither"),
        (lambda: later(until=4e9, result=object()), "object"),
    ],
    ids=["wrong", "a result that cannot be stored"],
)
def test_a_compensation_whose_later_is_wrong_is_stuck(
    execute: Execute, in_memory: Any, behaviour: Callable[[], Any], words: str
) -> None:
    """With a journal too, and the words say why."""
    with pytest.raises(SagaStuck, match=words):
        execute(undone(behaviour), journal=in_memory, saga_id="x")

    assert depot.log == ["a", "b", "c", "take back b", "undo a"]
    assert status(in_memory) is SagaStatus.STUCK


def test_a_result_that_cannot_be_stored_leaves_its_action_in_doubt(
    execute: Execute, in_memory: Any
) -> None:
    """It would be wanted when the time has come, by whatever process looks then."""
    saga = order(retry=Retry(Exception, attempts=3, wait_initial=0))
    depot.behaviour["b"] = lambda: later(until=4e9, result=object())
    with pytest.raises(SagaException, match="object") as caught:
        execute(saga, journal=in_memory, saga_id="x")

    assert isinstance(caught.value.operation_error, LaterError)
    assert depot.log == ["a", "b", "undo b", "undo a"]
