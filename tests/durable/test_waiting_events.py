"""What observers hear of a saga that waits: in the order in which it happened, each thing once."""

from __future__ import annotations

from typing import Any

import depot
import pytest
from pending import KEY, pending, undo_pending
from recorded import chain

from py_api_saga import Event, SagaPending, SagaStatus, answer, later, recover


def heard(events: list[Event]) -> list[tuple[Any, ...]]:
    """Give what each event is of."""
    return [(event.kind, event.operation) for event in events if event.operation is not None]


def run(journal: Any, events: list[Event], *, at_once: bool) -> None:
    """Run a saga until it waits for its second operation."""
    depot.behaviour["b"] = lambda: later(timeout=None)
    saga = chain("a", "b", "c", observers=[events.append])
    execute = saga.choreography_execute if at_once else saga.orchestrator_execute
    with pytest.raises(SagaPending):
        execute(journal=journal, saga_id="x")


@pytest.mark.parametrize("at_once", [False, True])
def test_a_run_that_waits_ends_with_that(journal: Any, at_once: bool) -> None:  # noqa: FBT001
    """Behind the start of the call; and no end of the saga is told of."""
    events: list[Event] = []

    run(journal, events, at_once=at_once)

    assert events[0].kind == "saga started"
    assert heard(events) == [
        ("operation started", "a"),
        ("succeeded", "a"),
        ("operation started", "b"),
        ("waiting", "b"),
    ]
    assert (events[-1].attempt, events[-1].direction, events[-1].error) == (1, "action", None)


@pytest.mark.parametrize("at_once", [False, True])
def test_an_answer_is_told_before_what_comes_of_it(journal: Any, at_once: bool) -> None:  # noqa: FBT001
    """By the run that takes it in, whoever has given it."""
    run(journal, [], at_once=at_once)
    depot.behaviour.clear()
    events: list[Event] = []

    answer(journal, KEY, result="B", go_on=False)
    recover(journal, observers=[events.append])

    assert events[0].kind == "saga resumed"
    assert heard(events) == [
        ("answered", "b"),
        ("succeeded", "b"),
        ("operation started", "c"),
        ("succeeded", "c"),
    ]
    assert (events[1].attempt, events[1].direction, events[1].error) == (1, "action", None)
    assert events[-1].outcome is SagaStatus.COMPLETED


def test_a_refusal_is_told_with_its_error(journal: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Of an action, which then has failed, and of an undo, which then is stuck."""
    caplog.set_level("INFO", logger="py_api_saga")
    pending(journal)
    events: list[Event] = []
    answer(journal, KEY, error=PermissionError("no"), observers=[events.append])

    assert heard(events)[:3] == [("answered", "b"), ("failed", "b"), ("compensating", "a")]
    assert "no" in str(events[1].error)
    assert "saga depot (x): operation b: answered (RecordedError)" in caplog.messages

    undo_pending(journal, "y")
    events.clear()
    answer(journal, "y:b:compensation", error=PermissionError("no"), observers=[events.append])
    assert heard(events)[:2] == [("answered", "b"), ("stuck", "b")]
    assert (events[1].direction, events[1].attempt) == ("compensation", 1)


def test_an_interrupt_out_of_an_observer_keeps_nothing_from_the_others(journal: Any) -> None:
    """All that is on record is told, each once; then the interrupt is raised."""
    pending(journal)
    events: list[Event] = []

    def strike(event: Event) -> None:
        if event.kind == "answered":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answer(journal, KEY, result="B", observers=[strike, events.append])
    recover(journal, observers=[events.append])

    told = heard(events)
    assert told.count(("succeeded", "b")) == 1
    assert told[0] == ("succeeded", "b")
