"""Recovery: what nobody drives any more goes forward or backward, and each saga is told of."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import depot
import pytest
from depot import ado, ask, aundo, do, fail, undo
from recorded import Faulty, Renamed, Unreadable, Wrapped, bodies, chain, crashed, status
from world import HOUR, PATIENCE

from py_api_saga import (
    JournalError,
    Recovered,
    SagaAssembler,
    SagaConflict,
    SagaDefinitionError,
    SagaException,
    SagaInProgress,
    SagaStatus,
    SagaStuck,
    arecover,
    recover,
    takeover,
)
from py_api_saga.journal import Journal
from py_api_saga.journal.changes import Change, Take

Execute = Callable[..., Any]
MODULES = ["depot"]


def test_recovery_goes_forward_by_default(journal: Journal) -> None:
    """What was in flight is called again under its key."""
    crashed(journal, chain("a", "b", "c"), 2)

    (done,) = recover(journal)

    assert done == ("x", SagaStatus.COMPLETED, None)
    assert depot.log == ["a", "b", "b", "c"]
    assert depot.keys[1] == depot.keys[2] == "x:b:action"


def test_recovery_goes_backward_if_asked(journal: Journal) -> None:
    """With on_crash="compensate" what may have happened is undone."""
    crashed(journal, chain("a", "b", "c", on_crash="compensate"), 2)

    (done,) = recover(journal)

    assert done.outcome is SagaStatus.COMPENSATED
    assert depot.log == ["a", "b", "undo b", "undo a"]
    assert "the process that ran the saga died" in str(done.error)


def test_a_deadline_that_has_passed_means_backward(
    journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a time of day, for whichever process comes next."""
    with pytest.raises(JournalError):
        chain("a", "b").orchestrator_execute(journal=Faulty(journal, 1), saga_id="x", deadline=HOUR)
    monkeypatch.setattr(journal, "now", lambda: time.time() + 2 * HOUR)

    (done,) = recover(journal)

    assert done.outcome is SagaStatus.COMPENSATED
    assert isinstance(done.error, SagaException)
    assert isinstance(done.error.operation_error, TimeoutError)
    assert depot.log == ["a", "undo a"]


def test_what_is_in_doubt_is_asked_about_first(journal: Journal) -> None:
    """An answer spares the second call."""
    saga = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a", on_doubt=ask)
    crashed(journal, saga, 1)

    (done,) = recover(journal)

    assert done.outcome is SagaStatus.COMPLETED
    assert depot.log == ["a", "ask a"]
    assert saga.orchestrator_execute(journal=journal, saga_id="x") == ["A"]


def test_what_is_too_old_is_parked(journal: Journal) -> None:
    """A service may have forgotten the key, and a second call would be a second effect."""
    crashed(journal, chain("a", max_doubt_age=0.01), 1)
    time.sleep(0.03)

    (done,) = recover(journal)

    assert done.outcome is SagaStatus.STUCK
    assert isinstance(done.error, SagaStuck)
    assert list(done.error.stuck) == ["a"]
    assert depot.log == ["a"]


def test_a_started_saga_waits_for_whoever_recovers(journal: Journal) -> None:
    """Only its definition is written; the first to recover runs it as if it were new."""
    saga = chain("a", "b", on_crash="compensate")

    assert saga.start(journal=journal, saga_id="x") == "x"
    assert saga.start(journal=journal, saga_id="x") == "x"

    assert depot.log == []
    assert [done.outcome for done in recover(journal)] == [SagaStatus.COMPLETED]
    assert depot.log == ["a", "b"]
    with pytest.raises(SagaConflict):
        chain("b", "a").operation((do, "z"), name="c").start(journal=journal, saga_id="x") and (
            SagaAssembler.saga(name="other")
            .operation((do, "a"))
            .start(journal=journal, saga_id="x")
        )


def test_a_saga_is_started_under_asyncio(journal: Journal) -> None:
    """Without blocking the loop; and a second time it is there."""

    async def main() -> None:
        for _ in range(2):
            assert await chain("a").astart(journal=journal, saga_id="x") == "x"
        other = SagaAssembler.saga(name="depot").operation((do, "b"), name="a")
        with pytest.raises(SagaConflict):
            await other.astart(journal=journal, saga_id="x")

    asyncio.run(main())

    assert [done.outcome for done in recover(journal)] == [SagaStatus.COMPLETED]
    assert depot.log == ["a"]


def test_a_started_saga_may_run_at_once(journal: Journal) -> None:
    """As a choreography does it."""
    barrier = threading.Barrier(2, timeout=60)
    depot.behaviour.update(a=barrier.wait, b=barrier.wait)
    saga = SagaAssembler.saga().operation((do, "a")).operation((do, "b"))

    saga.start(journal=journal, saga_id="x", at_once=True)

    assert [done.outcome for done in recover(journal)] == [SagaStatus.COMPLETED]


def test_start_needs_a_journal() -> None:
    """Without one there would be nothing that anybody could recover."""
    with pytest.raises(SagaDefinitionError, match="start: journal: expected a journal"):
        chain("a").start(saga_id="x")


def test_a_broken_saga_does_not_stop_the_others(journal: Any) -> None:
    """One whose functions are gone is parked with the reason, and the rest are finished."""
    crashed(journal, chain("a"), 1, "one")
    crashed(journal, chain("b"), 1, "two")
    other = SagaAssembler.saga(name="depot").operation((do, "c"), name="c")
    crashed(journal, other, 1, "three")
    seen = journal.find("two")
    broken = Renamed(journal, "depot:do", "depot:gone", seen.number)

    done = recover(broken)

    assert [(d.saga_id, d.outcome) for d in done] == [
        ("one", SagaStatus.COMPLETED),
        ("two", SagaStatus.STUCK),
        ("three", SagaStatus.COMPLETED),
    ]
    assert "depot:gone" in str(done[1].error)
    with pytest.raises(SagaStuck, match=r"it was parked: .*depot:gone") as caught:
        chain("b").orchestrator_execute(journal=journal, saga_id="two")
    assert (caught.value.saga_id, caught.value.outcome) == ("two", SagaStatus.STUCK)
    assert list(caught.value.stuck) == ["b"]


def test_a_saga_that_kills_its_process_is_parked_in_the_end(
    journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tries are counted before anything of it is read."""
    crashed(journal, chain("a"), 1)

    for hours in (1, 2):
        (failed,) = recover(Faulty(journal, 0), max_tries=2)
        assert failed.outcome is SagaStatus.RUNNING
        assert isinstance(failed.error, JournalError)
        monkeypatch.setattr(journal, "now", lambda hours=hours: time.time() + 3600 * hours)

    (done,) = recover(journal, max_tries=2)

    assert done.outcome is SagaStatus.STUCK
    assert "recovery was tried 2 times" in str(done.error)


def test_a_saga_that_failed_waits_before_it_is_tried_again(journal: Any) -> None:
    """A second first, then twice as long each time."""
    crashed(journal, chain("a"), 1)

    recover(Faulty(journal, 0))

    assert recover(journal) == []
    seen = journal.find("x")
    assert 0 < seen.due - time.time() <= 1
    assert seen.tries == 1


def test_recovery_under_asyncio(journal: Any) -> None:
    """Coroutine functions and plain ones, several sagas at once."""
    saga = (
        SagaAssembler.saga(name="depot")
        .operation((ado, "a"), (aundo, "a"), name="a")
        .operation((do, "b"), (undo, "b"), name="b", after="a")
    )

    async def main() -> list[Any]:
        for saga_id in "xyz":
            with pytest.raises(JournalError):
                await saga.aorchestrator_execute(journal=Faulty(journal, 2), saga_id=saga_id)
        return await arecover(journal)

    done = asyncio.run(main())

    assert [(d.saga_id, d.outcome) for d in done] == [(i, SagaStatus.COMPLETED) for i in "xyz"]
    assert sorted(set(depot.keys)) == sorted(f"{i}:{name}:action" for i in "xyz" for name in "ab")


def test_recovery_under_asyncio_says_what_came_of_those_that_did_not_complete(
    journal: Any,
) -> None:
    """One is undone, one is parked, and neither stops the third."""
    for saga_id in "xyz":
        crashed(journal, chain(saga_id), 1, saga_id)
    depot.behaviour["x"] = fail(ValueError("no courier"))
    number = journal.find("y").number

    done = asyncio.run(arecover(Renamed(journal, "depot:do", "depot:gone", number)))

    assert [(one.saga_id, one.outcome) for one in done] == [
        ("x", SagaStatus.COMPENSATED),
        ("y", SagaStatus.STUCK),
        ("z", SagaStatus.COMPLETED),
    ]
    assert "ValueError('no courier')" in str(done[0].error)
    assert "depot:gone" in str(done[1].error)
    assert status(journal, "y") is SagaStatus.STUCK


def slow_a() -> tuple[threading.Event, threading.Event]:
    """Let "a" tell when it has begun, and wait for leave to go on."""
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        assert go_on.wait(PATIENCE)
        return "A"

    depot.behaviour["a"] = slow
    return begun, go_on


def test_a_saga_whose_task_is_cancelled_is_undone_like_any_other(journal: Any) -> None:
    """By who cancels all tasks of a loop, say; what is recovered beside it goes on."""
    for name in "ab":
        crashed(journal, chain(name), 1, f"x-{name}")
    begun, go_on = slow_a()

    async def main() -> list[Recovered]:
        task = asyncio.create_task(arecover(journal, max_workers=1))
        assert await asyncio.to_thread(begun.wait, 10)
        (saga,) = asyncio.all_tasks() - {task, asyncio.current_task()}
        saga.cancel()
        await asyncio.sleep(0.01)
        go_on.set()
        return await task

    cancelled, completed = asyncio.run(main())

    assert cancelled[:2] == ("x-a", SagaStatus.COMPENSATED)
    assert isinstance(cancelled.error, asyncio.CancelledError)
    assert completed[:2] == ("x-b", SagaStatus.COMPLETED)
    assert depot.standing == ["b"]


def test_a_journal_that_cannot_be_read_ends_a_recovery_under_asyncio(journal: Any) -> None:
    """What is not an error of a journal is raised, after what was begun; nothing stays claimed."""
    for number in range(4):
        chain("a").start(journal=journal, saga_id=f"x{number}")

    with pytest.raises(ValueError, match="not as promised"):
        asyncio.run(arecover(Unreadable(journal), max_workers=2))

    ended = [status(journal, f"x{number}") for number in range(4)]
    assert ended == [SagaStatus.COMPLETED] * 2 + [SagaStatus.RUNNING] * 2
    assert [seen.saga_id for seen in journal.select() if journal.drives(seen)] == []


def test_a_claim_that_cannot_be_written_is_told(journal: Any) -> None:
    """The saga is as it was, and somebody tries it again."""
    crashed(journal, chain("a"), 1)

    class NoClaims(Wrapped):
        def write(self, *changes: Change) -> None:
            for change in changes:
                change.error, change.settled = JournalError("the disk is full"), True

    (done,) = recover(NoClaims(journal))

    assert (done.saga_id, done.outcome) == ("x", SagaStatus.RUNNING)
    assert isinstance(done.error, JournalError)
    assert [one.outcome for one in recover(journal)] == [SagaStatus.COMPLETED]


def test_what_somebody_else_claims_first_is_theirs(journal: Any) -> None:
    """Whoever was slower says nothing of it, and goes on with the rest."""
    for saga_id in "xy":
        crashed(journal, chain(saga_id), 1, saga_id)

    class Slow(Wrapped):
        def write(self, *changes: Change) -> None:
            """Let somebody be faster with the first saga."""
            if isinstance(changes[0], Take) and not depot.behaviour:
                depot.behaviour["x"] = str
                takeover(journal, "x")
            self._journal.write(*changes)

    done = recover(Slow(journal))

    assert [(one.saga_id, one.outcome) for one in done] == [("y", SagaStatus.COMPLETED)]
    assert status(journal, "x") is SagaStatus.COMPLETED
    assert depot.log == ["x", "y", "x", "y"]


def test_an_interrupt_in_a_recovered_action_undoes_its_saga_and_no_other(
    journal: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A function that calls `sys.exit` ends no recovery; the log has where it did."""
    crashed(journal, chain("a"), 1, "x")
    crashed(journal, chain("b"), 1, "y")
    depot.behaviour["a"] = fail(SystemExit("bye"))

    done = recover(journal)

    assert [(one.saga_id, one.outcome) for one in done] == [
        ("x", SagaStatus.COMPENSATED),
        ("y", SagaStatus.COMPLETED),
    ]
    assert isinstance(done[0].error, SystemExit)
    assert depot.standing == ["b"]
    assert "saga x: recovery raised" in caplog.text


def test_threads_recover_coroutine_functions_too(journal: Any) -> None:
    """In a loop of their own."""
    saga = SagaAssembler.saga().operation((ado, "a"), (aundo, "a"), name="a")

    async def main() -> None:
        with pytest.raises(JournalError):
            await saga.achoreography_execute(journal=Faulty(journal, 1), saga_id="x")

    asyncio.run(main())

    assert [done.outcome for done in recover(journal)] == [SagaStatus.COMPLETED]


def test_a_forced_takeover_refuses_the_late_writes(journal: Any) -> None:
    """The process that hung finds out at its next write, and undoes nothing."""
    begun, go_on = threading.Event(), threading.Event()

    def hang() -> str:
        if not begun.is_set():
            begun.set()
            assert go_on.wait(PATIENCE)
        return "A"

    depot.behaviour["a"] = hang
    errors: list[BaseException] = []

    def body() -> None:
        try:
            chain("a", "b").orchestrator_execute(journal=journal, saga_id="x")
        except BaseException as error:  # noqa: BLE001 - looked at below
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    assert begun.wait(PATIENCE)

    done = takeover(journal, "x", force=True)
    go_on.set()
    thread.join(PATIENCE)

    assert done.outcome is SagaStatus.COMPLETED
    assert isinstance(errors[0], SagaInProgress)
    assert not any(line.startswith("undo") for line in depot.log)


def test_a_takeover_is_written_with_who_and_why(journal: Any) -> None:
    """Before anything goes on; without a name nothing is noted, since no person decided it."""
    for saga_id in "xyz":
        crashed(journal, chain("a"), 1, saga_id)

    takeover(journal, "x", force=True, who="ada", why="it hangs")
    takeover(journal, "y", who="ada")
    takeover(journal, "z")

    written = {saga_id: bodies(journal, saga_id) for saga_id in "xyz"}
    assert json.loads(written["x"][1]) == [
        ["note", {"who": "ada", "why": "it hangs", "did": "take over by force"}]
    ]
    assert json.loads(written["y"][1]) == [["note", {"who": "ada", "why": "", "did": "take over"}]]
    assert "note" not in "".join(written["z"])
    assert {status(journal, saga_id) for saga_id in "xyz"} == {SagaStatus.COMPLETED}


def test_a_takeover_that_cannot_be_noted_goes_on_with_nothing(journal: Any) -> None:
    """The saga is left to the next one; so is one whose takeover has a reason and no name."""
    crashed(journal, chain("a"), 1)
    depot.log.clear()

    with pytest.raises(JournalError):
        takeover(Faulty(journal, 0), "x", who="ada")
    for who in (None, "", " "):
        with pytest.raises(SagaDefinitionError, match="the name of whoever decides"):
            takeover(journal, "x", who=who, why="it hangs")

    assert depot.log == []
    assert takeover(journal, "x").outcome is SagaStatus.COMPLETED


def test_a_takeover_of_what_is_not_there(journal: Journal) -> None:
    """It says so."""
    with pytest.raises(LookupError, match="no saga 'x'"):
        takeover(journal, "x")


def test_a_takeover_of_what_has_ended_changes_nothing(journal: Journal) -> None:
    """There is nothing to go on with."""
    chain("a").orchestrator_execute(journal=journal, saga_id="x")

    assert takeover(journal, "x") == ("x", SagaStatus.COMPLETED, None)
    assert depot.log == ["a"]


def test_a_recovery_that_is_cancelled_finishes_what_it_has_begun(journal: Any) -> None:
    """A server that stops does not undo a saga; nothing more is begun."""
    for saga_id in "xy":
        crashed(journal, chain("a", "b"), 1, saga_id)
    begun, go_on = slow_a()

    async def main() -> None:
        task = asyncio.create_task(arecover(journal, max_workers=1))
        assert await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        await asyncio.sleep(0.01)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert status(journal, "x") is SagaStatus.COMPLETED
    assert status(journal, "y") is SagaStatus.RUNNING
    assert not any(line.startswith("undo") for line in depot.log)


@pytest.mark.parametrize("how", ["recover", "arecover"])
def test_recovery_claims_no_more_sagas_than_it_has_workers(journal: Any, how: str) -> None:
    """What waited for a worker here could be running in another process."""
    driven: list[int] = []

    def look() -> str:
        driven.append(sum(journal.drives(seen) for seen in journal.select()))
        return "A"

    depot.behaviour["a"] = look
    for number in range(7):
        chain("a").start(journal=journal, saga_id=f"x{number}")

    if how == "arecover":
        done = asyncio.run(arecover(journal, max_workers=2))
    else:
        done = recover(journal, max_workers=2)

    assert [one.outcome for one in done] == [SagaStatus.COMPLETED] * 7
    assert 1 <= min(driven) <= max(driven) <= 4  # two that have just ended may be among them
