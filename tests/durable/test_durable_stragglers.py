"""Calls that were given up, and end when their saga is over, on record or gone."""

from __future__ import annotations

import threading
import time
from typing import Any

import depot
import pytest
from depot import do, undo
from recorded import WHO, Faulty, Wrapped, bodies, chain
from world import Watch, in_time

from py_api_saga import (
    JournalError,
    Retry,
    SagaAssembler,
    SagaException,
    SagaStatus,
    SagaStuck,
    recover,
)
from py_api_saga.journal.changes import Append
from py_api_saga.repair import DecisionError, again, purge


def late(journal: Any, go_on: threading.Event, watch: Watch) -> None:
    """Leave a saga that is compensated, while its action still runs."""
    depot.behaviour["a"] = lambda: go_on.wait(10)
    saga = SagaAssembler.saga(observers=[watch]).operation(
        (do, "a"), (undo, "a"), name="a", timeout=0.05
    )
    with pytest.raises(SagaException):
        saga.orchestrator_execute(journal=journal, saga_id="x")


def test_a_straggler_does_not_land_in_another_saga_of_its_id(
    journal: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Its own was forgotten, and the id given again."""
    go_on = threading.Event()
    late(journal, go_on, Watch())
    length = len(bodies(journal, "x"))
    purge(journal, journal.find("x"), forget=True)
    depot.behaviour.pop("a")
    fresh = chain(*(f"b{i}" for i in range(1, length)))
    fresh.orchestrator_execute(journal=journal, saga_id="x")
    assert len(bodies(journal, "x")) == length  # so that nothing but its number tells them apart
    rows = journal.rows([journal.find("x").number])

    go_on.set()

    def logged() -> None:
        while "when another process had taken the saga over" not in caplog.text:
            time.sleep(0.01)

    in_time(logged)
    assert journal.rows([journal.find("x").number]) == rows


def test_a_late_landing_that_goes_wrong_gives_its_saga_back(
    journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised in the thread of the straggler: nobody drives the saga after it."""
    go_on, ended = threading.Event(), threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: ended.set())

    def write(*changes: Any) -> None:
        if go_on.is_set() and any(isinstance(change, Append) for change in changes):
            raise MemoryError
        journal.write(*changes)

    late(Wrapped(journal, write=write), go_on, Watch())
    go_on.set()

    assert ended.wait(10)
    assert not journal.drives(journal.find("x"))


def test_a_call_that_was_given_up_may_be_said_to_have_ended(journal: Any) -> None:
    """The journal can't know, so nothing is called beside it until a person says so."""
    go_on = threading.Event()
    depot.behaviour["b"] = lambda: go_on.wait(10)
    saga = (
        SagaAssembler.saga()
        .operation((do, "a"), name="a", pivot=True)
        .operation((do, "b"), name="b", timeout=0.05)
    )
    with pytest.raises(SagaStuck):
        saga.orchestrator_execute(journal=journal, saga_id="x")
    with pytest.raises(DecisionError, match="may still be running"):
        again(journal, "x", **WHO)

    assert again(journal, "x", ended=True, **WHO) is SagaStatus.RUNNING

    depot.behaviour.clear()
    assert [done.outcome for done in recover(journal)] == [SagaStatus.COMPLETED]
    go_on.set()


def test_a_saga_whose_journal_failed_is_kept_while_its_straggler_lives(journal: Any) -> None:
    """Whoever recovered it would call again what still runs."""
    go_on = threading.Event()
    calls: list[int] = []

    def slow() -> None:
        calls.append(1)
        if len(calls) == 1:
            assert go_on.wait(10)

    depot.behaviour["a"] = slow
    again_in_a_while = Retry(TimeoutError, wait_initial=0.01, wait_jitter=0)
    saga = SagaAssembler.saga(retry=again_in_a_while).operation(
        (do, "a"), (undo, "a"), name="a", timeout=0.05
    )
    with pytest.raises(JournalError):
        saga.orchestrator_execute(journal=Faulty(journal, 1), saga_id="x")

    assert recover(journal) == []
    go_on.set()

    def recovered() -> Any:
        while not (done := recover(journal)):
            time.sleep(0.01)
        return done

    (done,) = in_time(recovered)
    assert done.outcome is SagaStatus.COMPLETED
