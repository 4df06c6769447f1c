"""Sagas on Temporal, and what comes together that rarely does, or when nobody is at work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from servers import temporal
from world import PATIENCE, until

from py_api_saga import (
    Retry,
    SagaAssembler,
    SagaConflict,
    SagaException,
    answer,
    saga_status,
)

pytest.importorskip("temporalio")

from temporalio import workflow

from py_api_saga.engines.temporal import TemporalEngine
from py_api_saga.engines.temporal_worker import _Slots
from py_api_saga.engines.temporal_workflow import SagaV1

from . import temporal_calls as shop
from .test_temporal import at_work, chain, engine_of, events, see_agreement

HELD = 0.9  # seconds; a task that takes 2 counts as a deadlock


@pytest.fixture
def engine(namespace: temporal.Namespace) -> Iterator[TemporalEngine]:
    """An engine of a namespace of its own, without a worker."""
    shop.forget()
    made = engine_of(namespace)
    yield made
    made.close()


def test_a_timer_and_the_end_of_a_call_in_one_task_are_read_as_they_were_heard(
    engine: TemporalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end comes first: it begins the rollback, and the retry that was due is not made."""
    real = SagaV1._hear  # noqa: SLF001 - to hold a task

    def held(self: Any, course: Any) -> None:
        if not workflow.unsafe.is_replaying() and '"mark"' in str(self._news):
            shop.gates["fail"].set()  # while this task is on, the timer rings and the call ends
            time.sleep(HELD)
        real(self, course)

    monkeypatch.setattr(SagaV1, "_hear", held)
    patient = Retry(ConnectionError, attempts=5, wait_initial=HELD / 2, wait_jitter=0)
    saga = SagaAssembler.saga(name="order")
    saga.operation((shop.fail_once, "flaky"), (shop.undo, "flaky"), name="flaky", retry=patient)
    saga.operation((shop.wait, "mark", "mark"), (shop.undo, "mark"), name="mark")
    saga.operation((shop.wait_and_refuse, "bad", "fail"), (shop.undo, "bad"), name="bad")
    saga.start(engine=engine, saga_id="x", at_once=True)

    with at_work(engine):
        until(lambda: len(shop.calls) == 3)
        until(lambda: '"retry"' in str(engine.standing("x")))
        shop.gates["mark"].set()
        with pytest.raises(SagaException):
            engine.result("x", wait=PATIENCE)

    see_agreement(engine, "x")


def test_of_two_answers_that_nobody_has_heard_yet_one_stands(engine: TemporalEngine) -> None:
    """Without a worker: the second is told so, at once, and is not taken for the first."""
    chain((shop.begin, "a")).start(engine=engine, saga_id="x")
    keys: list[str] = []

    def waits() -> bool:
        standing = saga_status(engine, "x")
        keys[:] = () if standing is None else standing.awaited
        return bool(keys)

    with at_work(engine):
        until(waits)

    assert not answer(engine, keys[0], result="A").known
    assert answer(engine, keys[0], result="A").known
    with pytest.raises(SagaConflict, match="answered before, and otherwise"):
        answer(engine, keys[0], result="B")
    with at_work(engine):
        assert engine.result("x", wait=PATIENCE) == ["A"]


def test_whoever_waits_no_time_has_the_results_of_what_has_ended(engine: TemporalEngine) -> None:
    """So one can ask again and again without ever waiting."""
    with at_work(engine):
        saga = chain((shop.do, "a"))
        saga.orchestrator_execute(engine=engine, saga_id="x", wait=PATIENCE)

    assert engine.result("x", wait=0) == ["a"]
    assert saga.orchestrator_execute(engine=engine, saga_id="x", wait=0) == ["a"]


def test_an_id_is_taken_while_there_is_what_follows_it(engine: TemporalEngine) -> None:
    """Though the first workflow is forgotten, as after its retention."""
    chain((shop.do, "a")).start(engine=engine, saga_id="y")
    rows = engine.given("y")
    assert rows is not None
    assert engine.begin("x~2", rows)

    assert not engine.begin("x", rows)

    assert engine.given("x") is None


def test_a_call_that_was_given_up_has_no_place_any_more(engine: TemporalEngine) -> None:
    """A worker whose calls hang would make none: not even what undoes them."""
    saga = chain((shop.do, "a"))
    saga.operation((shop.wait, "b", "late"), (shop.undo, "b"), name="b", timeout=0.05)

    with at_work(engine, concurrency=1):
        with pytest.raises(SagaException):
            saga.orchestrator_execute(engine=engine, saga_id="x", wait=PATIENCE)
        assert shop.log == ["+a", "-b", "-a"]
        shop.gates["late"].set()
        until(lambda: (standing := engine.standing("x")) is not None and not standing.is_open)

    assert shop.log == ["+a", "-b", "-a", "+b", "-b"]


def test_a_place_is_waited_for() -> None:
    """And given to whoever asks without waiting, if one is free."""
    slots = _Slots(1)
    none: Any = None

    async def main() -> bool:
        await slots.reserve_slot(none)
        assert slots.try_reserve_slot(none) is None
        waiting = asyncio.create_task(slots.reserve_slot(none))
        await asyncio.sleep(0)
        slots.release_slot(none)
        await waiting
        slots.mark_slot_used(none)
        slots.free()
        return slots.try_reserve_slot(none) is not None

    assert asyncio.run(main())


def test_a_full_history_with_a_call_in_it_sets_no_timers(engine: TemporalEngine) -> None:
    """Nothing begins before the call has ended, however long something else has been due."""
    engine.terms = engine.terms._replace(events=12)
    soon = Retry(ConnectionError, attempts=3, wait_initial=0.05, wait_jitter=0)
    saga = SagaAssembler.saga(name="order")
    saga.operation((shop.fail_once, "flaky"), (shop.undo, "flaky"), name="flaky", retry=soon)
    saga.operation((shop.wait, "slow", "slow"), (shop.undo, "slow"), name="slow")
    saga.operation((shop.do, "quick"), (shop.undo, "quick"), name="quick")
    saga.start(engine=engine, saga_id="x", at_once=True)

    with at_work(engine):
        until(lambda: len(shop.calls) == 3 and '"retry"' in str(engine.standing("x")))
        time.sleep(HELD)  # in which nothing is to happen, however slow the machine is
        rung = events(engine, "x").count("TIMER_FIRED")
        shop.gates["slow"].set()
        assert engine.result("x", wait=PATIENCE) == ["flaky", "slow", "quick"]

    assert rung <= 1  # one that had been set before the history was full
