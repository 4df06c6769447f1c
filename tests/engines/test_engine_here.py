"""The engine of tests keeps what it promises, so that what uses engines can be tried on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import depot
import pytest
from depot import do, fail
from engine_here import EngineHere
from recorded import order
from world import PATIENCE, until

from py_api_saga import SagaAssembler, SagaException, SagaPending, SagaStuck, repair, saga_status
from py_api_saga.engines.worker import Work
from py_api_saga.status import SagaStatus


@pytest.fixture
def engine() -> Iterator[EngineHere]:
    """One without a worker."""
    depot.reset()
    yield EngineHere(["depot"])
    depot.reset()


def test_a_saga_runs_once_whoever_asks_for_it(engine: EngineHere) -> None:
    """The second caller gets what the first one got."""
    with engine.at_work():
        first = order().orchestrator_execute(engine=engine, saga_id="x")
        assert order().orchestrator_execute(engine=engine, saga_id="x") == first

    assert depot.log == ["a", "b", "c"]


def test_a_saga_that_fails_is_undone(engine: EngineHere) -> None:
    """In the order in which it should be."""
    depot.behaviour["c"] = fail(ValueError("no"))

    with engine.at_work(), pytest.raises(SagaException, match="no"):
        order().orchestrator_execute(engine=engine, saga_id="x")

    assert depot.log == ["a", "b", "c", "undo b", "undo a"]


def test_a_saga_waits_for_a_worker(engine: EngineHere) -> None:
    """It is there meanwhile."""
    with pytest.raises(SagaPending):
        order().orchestrator_execute(engine=engine, saga_id="x", wait=0.01)

    with engine.at_work():
        assert engine.result("x") == ["A", "B", "C"]


def test_a_worker_that_dies_loses_its_call_and_nothing_else(
    engine: EngineHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one makes it again, under its key."""
    monkeypatch.setattr("py_api_saga.engines.errand._PARTING", 0.01)
    may_go = threading.Event()
    depot.behaviour["b"] = lambda: may_go.wait(PATIENCE)
    order().start(engine=engine, saga_id="x")
    first = engine.worker(Work())
    first.begin()
    until(lambda: depot.log == ["a", "b"])
    first.die()
    del depot.behaviour["b"]

    with engine.at_work():
        assert engine.result("x") == ["A", "B", "C"]

    may_go.set()
    assert depot.log == ["a", "b", "b", "c"]
    assert len(set(depot.keys)) == 3


def test_a_worker_that_ends_tells_what_is_lost(
    engine: EngineHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its grace."""
    monkeypatch.setattr("py_api_saga.engines.errand._PARTING", 0.01)
    may_go = threading.Event()
    depot.behaviour["b"] = lambda: may_go.wait(PATIENCE)
    order().start(engine=engine, saga_id="x")
    first = engine.worker(Work(grace=0.01))
    first.begin()
    until(lambda: depot.log == ["a", "b"])

    assert first.end() == 1

    assert '"lost"' in engine.flows["x"].rows[-1][1]
    may_go.set()


def test_a_decision_begins_a_successor(engine: EngineHere) -> None:
    """Once, whoever decides beside it."""
    depot.behaviour["c"] = fail(ValueError("no"))
    depot.behaviour["undo a"] = fail(OSError("no bank"))

    with engine.at_work():
        with pytest.raises(SagaStuck):
            order().orchestrator_execute(engine=engine, saga_id="x")
        depot.behaviour.clear()
        assert repair.again(engine, "x", who="ada", why="now") is SagaStatus.COMPENSATING
        with pytest.raises(SagaException):
            engine.result("x")

    assert [*engine.flows] == ["x", "x~2"]
    standing = saga_status(engine, "x")
    assert standing is not None
    assert standing.status is SagaStatus.COMPENSATED


def test_what_no_worker_has_is_said(engine: EngineHere) -> None:
    """It is waited for, and no attempt is counted."""
    other = EngineHere(["errands"])
    other.flows = engine.flows
    SagaAssembler.saga().operation((do, "a")).start(engine=engine, saga_id="x")

    with other.at_work():
        other.wait_for(lambda: bool(other.flows["x"].lacks))

    assert other.flows["x"].lacks == "depot:do"
