"""Calls that were given up, and end when their saga is over, on record or gone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import depot
import pytest
from depot import ado, aundo, do, undo
from recorded import WHO, Faulty, Wrapped, bodies, chain, status
from world import PATIENCE, Watch, in_time

from py_api_saga import (
    JournalError,
    Retry,
    SagaAssembler,
    SagaException,
    SagaInProgress,
    SagaStatus,
    SagaStuck,
    Status,
    recover,
    result_of,
)
from py_api_saga.journal.changes import Append, Change, Take
from py_api_saga.repair import DecisionError, again, purge, resolve

Execute = Callable[..., Any]
MODULES = ["depot"]


def late(journal: Any, go_on: threading.Event, watch: Watch, *, undo_it: Any = (undo, "a")) -> None:
    """Give up a call that lands when it is told to, and end its saga before."""

    def slow() -> str:
        assert go_on.wait(PATIENCE)
        return "A"

    depot.behaviour["a"] = slow
    saga = SagaAssembler.saga(observers=[watch]).operation(
        (do, "a"), undo_it, name="a", timeout=0.05
    )
    with pytest.raises(SagaException):
        saga.orchestrator_execute(journal=journal, saga_id="x")


def until_said(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Wait for a line of the log."""

    def wait() -> None:
        while text not in caplog.text:
            time.sleep(0.01)

    in_time(wait)


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

    assert ended.wait(PATIENCE)
    assert not journal.drives(journal.find("x"))


def test_a_call_that_was_given_up_may_be_said_to_have_ended(journal: Any) -> None:
    """The journal can't know, so nothing is called beside it until a person says so."""
    go_on = threading.Event()
    depot.behaviour["b"] = lambda: go_on.wait(PATIENCE)
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
            assert go_on.wait(PATIENCE)

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


def test_a_late_landing_is_recorded_and_undone(journal: Any) -> None:
    """The straggler's thread claims the saga that its run has left."""
    go_on = threading.Event()
    depot.behaviour["a"] = lambda: go_on.wait(PATIENCE)
    watch = Watch()
    saga = SagaAssembler.saga(observers=[watch]).operation(
        (do, "a"), (undo, "a"), name="a", timeout=0.05
    )

    with pytest.raises(SagaException):
        saga.orchestrator_execute(journal=journal, saga_id="x")
    assert status(journal, "x") is SagaStatus.COMPENSATED
    go_on.set()
    watch.wait_for("saga ended", times=2)

    def seen() -> bool:
        return status(journal, "x") is SagaStatus.COMPENSATED and "x:a:compensation:2" in depot.keys

    def wait() -> None:
        while not seen():
            time.sleep(0.01)

    in_time(wait)
    assert depot.standing == []


def test_a_late_landing_is_undone_in_a_loop_if_the_saga_was_started_in_one(journal: Any) -> None:
    """Also if a process without a loop has finished it."""
    go_on = threading.Event()

    def slow() -> str:
        assert go_on.wait(PATIENCE)
        return "A"

    depot.behaviour["a"] = slow
    watch = Watch()
    saga = (
        SagaAssembler.saga()
        .operation((ado, "b"), name="b")
        .operation((do, "a"), (aundo, "a"), name="a", timeout=0.05)
    )

    async def main() -> None:
        with pytest.raises(JournalError):
            await saga.aorchestrator_execute(journal=Faulty(journal, 1), saga_id="x")

    asyncio.run(main())
    (done,) = recover(journal, observers=[watch])
    assert done.outcome is SagaStatus.COMPENSATED

    go_on.set()
    watch.wait_for("saga ended", times=2)

    assert depot.keys[-1] == "x:a:compensation:2"
    assert depot.standing == ["b"]
    assert status(journal, "x") is SagaStatus.COMPENSATED


def test_a_late_landing_in_a_saga_that_a_person_has_resolved_is_told_in_the_log(
    journal: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever went on with the saga decides about it; nothing is written, and nothing undone."""
    go_on = threading.Event()
    late(journal, go_on, Watch(), undo_it=(undo, "a", result_of()))
    resolve(journal, "x", "a", Status.FAILED, who="ada", why="looked it up")
    rows = bodies(journal, "x")

    go_on.set()
    until_said(
        caplog,
        "saga x: operation a finished after its timeout, when another",
    )

    assert bodies(journal, "x") == rows
    assert depot.log == ["a"]


def test_a_late_landing_in_a_saga_that_was_forgotten_is_told_in_the_log(
    journal: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """There is nothing left to write it into."""
    go_on = threading.Event()
    late(journal, go_on, Watch())
    purge(journal, journal.find("x"), forget=True)

    go_on.set()
    until_said(
        caplog,
        "saga x: operation a finished after its timeout, when another",
    )

    assert journal.find("x") is None
    assert depot.log == ["a", "undo a"]


@pytest.mark.parametrize("rows_more", [0, 1])
def test_a_late_landing_that_comes_second_changes_nothing(
    journal: Any, caplog: pytest.LogCaptureFixture, rows_more: int
) -> None:
    """Somebody has claimed the saga since it was looked at, or written what this run is without."""
    go_on = threading.Event()

    class Faster(Wrapped):
        def write(self, *changes: Change) -> None:
            for change in changes:
                if isinstance(change, Take) and not rows_more:
                    change.error, change.settled = SagaInProgress("somebody was faster"), True
                    return
            self._journal.write(*changes)
            for change in changes:
                if isinstance(change, Take):
                    change.claim.rows += rows_more

    late(Faster(journal), go_on, Watch())
    rows = bodies(journal, "x")

    go_on.set()
    until_said(
        caplog,
        "saga x: operation a finished after its timeout, when another",
    )

    assert bodies(journal, "x") == rows
    assert depot.log == ["a", "undo a"]
    assert not journal.drives(journal.find("x"))


def test_a_late_landing_that_cannot_be_recorded_is_told_in_the_log(
    journal: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The journal can't be read: what landed stands, and the log says so."""
    go_on = threading.Event()

    class Broken(Wrapped):
        def find(self, _: str) -> None:
            raise JournalError("the disk is gone")

    late(Broken(journal), go_on, Watch())

    go_on.set()
    until_said(caplog, "saga x: a late landing was not recorded")

    assert "the disk is gone" in caplog.text
    assert depot.log == ["a", "undo a"]


def test_a_late_landing_may_have_what_cannot_be_kept(journal: Any) -> None:
    """It is undone all the same, with the result in memory."""
    go_on = threading.Event()

    def slow() -> object:
        assert go_on.wait(PATIENCE)
        return object()

    depot.behaviour["a"] = slow
    watch = Watch()
    saga = SagaAssembler.saga(observers=[watch]).operation(
        (do, "a"), (undo, "a", result_of()), name="a", timeout=0.05
    )
    with pytest.raises(SagaStuck):  # the compensation needs a result that nobody knows
        saga.orchestrator_execute(journal=journal, saga_id="x")
    go_on.set()
    watch.wait_for("landed late", "a")
