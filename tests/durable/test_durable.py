"""Sagas with a journal: what is written when, an id given again, and going on after a failure."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import depot
import pytest
from depot import ado, ask, aundo, do, fail, undo
from recorded import Faulty, Renamed, Unreadable, Wrapped, bodies, chain, crashed, status
from world import HOUR, Clock, Watch, in_time

from py_api_saga import (
    JournalError,
    Recovered,
    Retry,
    SagaAssembler,
    SagaConflict,
    SagaDefinitionError,
    SagaException,
    SagaInProgress,
    SagaStatus,
    SagaStuck,
    Status,
    arecover,
    happened,
    recover,
    result_of,
    takeover,
)
from py_api_saga.journal import Journal, MemoryJournal
from py_api_saga.journal.changes import Append, Change, Take
from py_api_saga.repair import purge, resolve

Execute = Callable[..., Any]
MODULES = ["depot"]


# --- writing ------------------------------------------------------------------------------------


def test_a_chain_of_n_operations_is_n_plus_one_rows(execute: Execute, journal: Journal) -> None:
    """Each intent shares a row with the result before it, and the last one with the end."""
    results = execute(chain("a", "b", "c"), journal=journal, saga_id="x")

    assert results == ["A", "B", "C"]
    assert results["b"] == "B"
    rows = bodies(journal, "x")
    assert len(rows) == 4
    assert rows[1] == '[["succeeded",0,"action",1,1,"A"],["started",1,"action",1,1]]'
    assert status(journal, "x") is SagaStatus.COMPLETED


def test_keys_are_made_of_the_id_alone(execute: Execute, journal: Journal) -> None:
    """With a journal an id is used once, so keys need nothing random."""
    execute(chain("a"), journal=journal, saga_id="x")

    assert depot.keys == ["x:a:action"]


def test_without_an_id_one_is_made_that_sorts_by_time(journal: Journal) -> None:
    """Ids that are ordered keep the index on them fast."""
    watch = Watch()
    for _ in range(2):
        chain("a", observers=[watch]).orchestrator_execute(journal=journal)
        time.sleep(0.002)

    ids = [event.saga_id for event in watch.of("saga ended")]
    assert ids == sorted(ids)
    assert status(journal, ids[0]) is SagaStatus.COMPLETED


def test_the_journal_may_be_an_attribute_of_a_class(execute: Execute, journal: Any) -> None:
    """A class says it once for all its sagas, and an argument says otherwise."""

    class Durable(SagaAssembler):
        pass

    Durable.journal = journal
    other = MemoryJournal(modules=MODULES)
    execute(Durable.saga().operation((do, "a")), saga_id="x")
    execute(Durable.saga(journal=other).operation((do, "a")), saga_id="y")
    execute(Durable.saga().operation((do, "a")), saga_id="z", journal=other)

    assert journal.find("x")
    assert not journal.find("y")
    assert not journal.find("z")
    assert other.find("y")
    assert other.find("z")


def test_nothing_is_told_before_it_is_written(execute: Execute, journal: Journal) -> None:
    """Observers hear of what is durable, in order, as without a journal."""
    heard: list[tuple[str, int]] = []

    def watch(event: Any) -> None:
        seen = journal.find("x")
        rows = len(journal.rows([seen.number])[seen.number]) if seen else 0
        heard.append((f"{event.operation}: {event.kind}", rows))

    execute(chain("a", "b", observers=[watch]), journal=journal, saga_id="x")

    assert heard == [
        ("None: saga started", 1),
        ("a: operation started", 1),
        ("a: succeeded", 2),
        ("b: operation started", 2),
        ("b: succeeded", 3),
        ("None: saga ended", 3),
    ]


def test_what_a_cancellation_ends_is_not_told_before_it_is_written(journal: Journal) -> None:
    """Not even that what waited for another attempt has failed."""
    heard: list[tuple[str, int]] = []
    depot.behaviour["b"] = fail(OSError("busy"))
    later = Retry(OSError, wait_initial=60, wait_jitter=0)

    def watch(event: Any) -> None:
        heard.append((f"{event.operation}: {event.kind}", len(bodies(journal, "x"))))

    saga = SagaAssembler.saga(observers=[watch]).operation((do, "a"), name="a")
    saga.operation((do, "b"), name="b", retry=later)

    async def main() -> None:
        task = asyncio.ensure_future(saga.aorchestrator_execute(journal=journal, saga_id="x"))
        while len(heard) < 5:  # noqa: ASYNC110 - the last of them says that it waits
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert heard[5:] == [("b: failed", 4), ("None: saga ended", 4)]


# --- an id that is given again --------------------------------------------------------------------


def test_a_completed_saga_gives_its_results_again(execute: Execute, journal: Journal) -> None:
    """What has run under an id does not run again."""
    first = execute(chain("a", "b"), journal=journal, saga_id="x")
    again = execute(chain("a", "b"), journal=journal, saga_id="x")

    assert again == first == ["A", "B"]
    assert again["a"] == "A"
    assert depot.log == ["a", "b"]


def test_a_compensated_saga_raises_again(execute: Execute, journal: Journal) -> None:
    """The same exception, with a stand-in for the error."""
    depot.behaviour["b"] = fail(ValueError("no courier"))
    errors = []
    for _ in range(2):
        with pytest.raises(SagaException) as caught:
            execute(chain("a", "b"), journal=journal, saga_id="x")
        errors.append(caught.value)

    first, again = errors
    assert str(again) == str(first)
    assert again.operation_name == "b"
    assert str(again.operation_error) == "no courier"
    assert again.__cause__ is again.operation_error
    assert again.compensation_success_result == ["a undone"]
    assert again.saga_id == "x"
    assert {n: r.status for n, r in again.operations.items()} == {
        "a": Status.COMPENSATED,
        "b": Status.FAILED,
    }
    assert depot.log == ["a", "b", "undo a"]


def test_a_stuck_saga_is_not_resumed_by_a_caller(execute: Execute, journal: Journal) -> None:
    """It is a person's, and says so each time."""
    depot.behaviour["b"] = fail(ValueError("no courier"))
    depot.behaviour["undo a"] = fail(OSError("no warehouse"))
    for _ in range(2):
        with pytest.raises(SagaStuck) as caught:
            execute(chain("a", "b"), journal=journal, saga_id="x")

        assert list(caught.value.stuck) == ["a"]
        assert "STUCK a: its compensation raised OSError('no warehouse')" in str(caught.value)
    assert depot.log == ["a", "b", "undo a"]
    assert status(journal, "x") is SagaStatus.STUCK
    assert recover(journal) == []


def test_other_arguments_under_the_same_id_are_a_conflict(
    execute: Execute, journal: Journal
) -> None:
    """The message names the operation and not the arguments."""
    execute(chain("a", "b"), journal=journal, saga_id="x")
    other = SagaAssembler.saga(name="depot").operation((do, "secret"), name="a")

    with pytest.raises(
        SagaConflict, match="operation 'a': the arguments of the action differ"
    ) as c:
        execute(other, journal=journal, saga_id="x")

    assert "secret" not in str(c.value)
    assert depot.log == ["a", "b"]


def test_another_name_under_the_same_id_is_a_conflict(execute: Execute, journal: Journal) -> None:
    """Two sagas can't share an id."""
    execute(chain("a"), journal=journal, saga_id="x")

    with pytest.raises(SagaConflict, match="its name is 'depot', got None"):
        execute(SagaAssembler.saga().operation((do, "a"), name="a"), journal=journal, saga_id="x")


def test_operations_that_one_side_lacks_do_not_count(execute: Execute, journal: Journal) -> None:
    """A deploy may have come in between."""
    execute(chain("a", "b"), journal=journal, saga_id="x")

    assert execute(chain("a"), journal=journal, saga_id="x") == ["A", "B"]
    assert execute(chain("a", "b", "c"), journal=journal, saga_id="x") == ["A", "B"]


def test_a_saga_that_runs_is_in_progress(execute: Execute, journal: Journal) -> None:
    """Somebody else with the same id is told so, and nothing runs twice."""
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> str:
        begun.set()
        assert go_on.wait(10)
        return "A"

    depot.behaviour["a"] = wait
    results: list[Any] = []
    thread = threading.Thread(
        target=lambda: results.append(execute(chain("a"), journal=journal, saga_id="x"))
    )
    thread.start()
    assert begun.wait(10)
    with pytest.raises(SagaInProgress):
        execute(chain("a"), journal=journal, saga_id="x")
    assert recover(journal) == []
    with pytest.raises(SagaInProgress):
        takeover(journal, "x")
    go_on.set()
    thread.join(10)

    assert results == [["A"]]
    assert depot.log == ["a"]


def test_an_id_that_is_forgotten_in_this_very_moment_is_nobody_s_fault(
    execute: Execute, journal: Journal
) -> None:
    """It was taken when the saga was to be written, and is free when one looks for what took it."""
    execute(chain("a"), journal=journal, saga_id="x")

    class Forgotten(Changed):
        def find(self, _: str) -> None:
            """Find nothing any more."""

    with pytest.raises(JournalError, match="'x' was purged while it was being read; try again"):
        execute(chain("a"), journal=Forgotten(journal), saga_id="x")

    assert depot.log == ["a"]


class Changed:
    """A journal of which something is different."""

    def __init__(self, journal: Any) -> None:
        self._journal = journal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


def test_a_caller_who_cannot_go_on_leaves_the_saga_to_others(
    execute: Execute, journal: Any
) -> None:
    """An orphan whose function is not there in this process does not belong to another one."""
    crashed(journal, chain("a", "b"), 2)
    number = journal.find("x").number

    with pytest.raises(JournalError, match="depot:gone"):
        execute(
            chain("a", "b"),
            journal=Renamed(journal, "depot:undo", "depot:gone", number),
            saga_id="x",
        )

    assert not journal.drives(journal.find("x"))
    assert execute(chain("a", "b"), journal=journal, saga_id="x") == ["A", "B"]


def test_entries_that_contradict_one_another_are_no_answer(execute: Execute, journal: Any) -> None:
    """The results of a saga are not made up."""
    execute(chain("a", "b"), journal=journal, saga_id="x")
    start, other = '["started",0,"action",1,1]', '["started",1,"action",1,1]'

    with pytest.raises(JournalError, match="entries of saga 'x' contradict each other"):
        execute(
            chain("a", "b"),
            journal=Renamed(journal, start, other, journal.find("x").number),
            saga_id="x",
        )


# --- when the journal can't be written --------------------------------------------------------


@pytest.mark.parametrize("good", range(3))
def test_an_orphan_is_finished_by_the_next_caller(
    execute: Execute, journal: Journal, good: int
) -> None:
    """At whichever write the journal failed: nothing further was called, and all is done once."""
    with pytest.raises(JournalError, match="the disk is full"):
        execute(chain("a", "b"), journal=Faulty(journal, good), saga_id="x")

    assert depot.log == ["a", "b"][:good]
    if good:
        assert status(journal, "x") is SagaStatus.RUNNING
    assert execute(chain("a", "b"), journal=journal, saga_id="x") == ["A", "B"]
    assert depot.log == [[], ["a"], ["a", "b"]][good] + [["a", "b"], ["a", "b"], ["b"]][good]
    assert len(set(depot.keys)) == 2


@pytest.mark.parametrize("good", range(1, 5))
def test_a_rollback_that_had_begun_is_finished(
    execute: Execute, journal: Journal, good: int
) -> None:
    """Recovery undoes what was to be undone; what was in doubt is called again or undone."""
    depot.behaviour["c"] = fail(ValueError("no courier"))
    with pytest.raises(JournalError):
        execute(chain("a", "b", "c"), journal=Faulty(journal, good), saga_id="x")

    (done,) = recover(journal)

    assert (done.saga_id, done.outcome) == ("x", SagaStatus.COMPENSATED)
    assert isinstance(done.error, SagaException)
    assert done.error.operation_name == "c"
    assert depot.standing == []
    assert recover(journal) == []
    assert status(journal, "x") is SagaStatus.COMPENSATED


def test_no_compensation_starts_once_the_journal_fails(execute: Execute, journal: Journal) -> None:
    """An undo that is not on record would be followed by a recovery that goes forward."""
    depot.behaviour["b"] = fail(ValueError("no courier"))
    with pytest.raises(JournalError) as caught:
        execute(chain("a", "b"), journal=Faulty(journal, 2), saga_id="x")

    assert depot.log == ["a", "b"]
    assert "'x'" in "".join(caught.value.__notes__)


def overlapping() -> SagaAssembler:
    """Make a saga of two operations at once, of which the first ends after the second."""
    go_on = threading.Event()

    def slow() -> str:
        assert go_on.wait(10)
        return "A"

    depot.behaviour["a"] = slow
    depot.behaviour["b"] = lambda: threading.Timer(0.05, go_on.set).start()
    saga = SagaAssembler.saga(name="depot")
    return saga.operation((do, "a"), (undo, "a"), name="a").operation(
        (do, "b"), (undo, "b"), name="b"
    )


def test_what_runs_is_awaited_when_the_journal_fails(
    execute_graph: Execute, journal: Journal
) -> None:
    """In a choreography: nothing that the run started works on when it returns."""
    saga = overlapping()
    saga.operation((do, "c"), name="c", after="b")
    with pytest.raises(JournalError):
        execute_graph(saga, journal=Faulty(journal, 1), saga_id="x")

    assert depot.standing == ["b", "a"]
    (done,) = recover(journal)
    assert done.outcome is SagaStatus.COMPLETED


def test_what_ends_after_the_journal_has_failed_is_awaited_and_no_more(
    execute_graph: Execute, journal: Journal
) -> None:
    """Nothing more is written by this run, and recovery makes the calls again."""
    saga = overlapping()
    with pytest.raises(JournalError, match="the disk is full"):
        execute_graph(saga, journal=Faulty(journal, 1), saga_id="x")

    assert sorted(depot.standing) == ["a", "b"]
    assert len(bodies(journal, "x")) == 1
    (done,) = recover(journal)
    assert done.outcome is SagaStatus.COMPLETED


def test_an_interrupt_says_that_the_journal_has_failed_too(
    execute: Execute, journal: Journal
) -> None:
    """It is raised again, and what became of the saga stands behind it."""

    class Stop(BaseException):
        pass

    depot.behaviour["b"] = fail(Stop())

    with pytest.raises(Stop) as caught:
        execute(chain("a", "b"), journal=Faulty(journal, 2), saga_id="x")

    error = caught.value.__context__
    while error is not None and not isinstance(error, JournalError):
        error = error.__context__
    assert "the disk is full" in str(error)
    assert depot.log == ["a", "b"]
    assert status(journal, "x") is SagaStatus.RUNNING


# --- recovery -------------------------------------------------------------------------------------


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
        assert go_on.wait(10)
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

    class NoClaims(Changed):
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

    class Slow(Changed):
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
            assert go_on.wait(10)
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
    assert begun.wait(10)

    done = takeover(journal, "x", force=True)
    go_on.set()
    thread.join(10)

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


# --- what can't be kept ---------------------------------------------------------------------------


def test_an_argument_that_cannot_be_kept_is_refused_before_anything_runs(
    execute: Execute, journal: Journal
) -> None:
    """The message names the operation, the position and the type."""
    saga = chain("a").operation((do, "b", 1, object()), name="b")

    with pytest.raises(
        SagaDefinitionError, match=r"operation 'b': the action: argument 3, of type object"
    ):
        execute(saga, journal=journal, saga_id="x")

    assert depot.log == []
    assert journal.find("x") is None


def test_a_function_that_cannot_be_found_again_is_refused(
    execute: Execute, journal: Journal
) -> None:
    """What recovery could not resolve does not start."""
    for function in (lambda: 1, Watch().of, Watch, len):
        saga = SagaAssembler.saga().operation((do, "a")).operation(partial_of(function), name="b")
        with pytest.raises(SagaDefinitionError, match="operation 'b': the action"):
            execute(saga, journal=journal, saga_id="x")

    assert depot.log == []


def partial_of(function: Any) -> Any:
    """Give it arguments that fit."""
    return {len: (len, "abc")}.get(
        function, (function, "x") if function.__name__ == "of" else function
    )


def test_a_result_that_cannot_be_kept_rolls_back(execute: Execute, journal: Any) -> None:
    """It happened, and nobody could go on from it: it is undone with the result in memory."""
    depot.behaviour["a"] = object
    with pytest.raises(SagaException) as caught:
        execute(
            SagaAssembler.saga()
            .operation((do, "a"), (undo, "a", result_of()), name="a")
            .operation((do, "b"), name="b", after="a"),
            journal=journal,
            saga_id="x",
        )

    assert caught.value.operation_name == "a"
    assert "cannot be kept" in str(caught.value)
    assert caught.value.outcome is SagaStatus.COMPENSATED
    assert depot.log == ["a", "undo a"]


def test_a_result_of_the_pivot_that_cannot_be_kept_is_stuck(
    execute: Execute, journal: Journal
) -> None:
    """Nothing may be undone after it: a person resolves it with a value."""
    depot.behaviour["b"] = object
    saga = (
        SagaAssembler.saga()
        .operation((do, "a"), (undo, "a"), name="a")
        .operation((do, "b"), name="b", pivot=True, after="a")
        .operation((do, "c"), name="c", after="b")
    )
    for _ in range(2):
        with pytest.raises(SagaStuck) as caught:
            execute(saga, journal=journal, saga_id="x")

        assert list(caught.value.stuck) == ["b"]
    assert depot.log == ["a", "b"]


def test_a_late_landing_is_recorded_and_undone(journal: Any) -> None:
    """The straggler's thread claims the saga that its run has left."""
    go_on = threading.Event()
    depot.behaviour["a"] = lambda: go_on.wait(10)
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


def late(journal: Any, go_on: threading.Event, watch: Watch, *, undo_it: Any = (undo, "a")) -> None:
    """Give up a call that lands when it is told to, and end its saga before."""

    def slow() -> str:
        assert go_on.wait(10)
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


def test_a_late_landing_is_undone_in_a_loop_if_the_saga_was_started_in_one(journal: Any) -> None:
    """Also if a process without a loop has finished it."""
    go_on = threading.Event()

    def slow() -> str:
        assert go_on.wait(10)
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

    class Faster(Changed):
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

    class Broken(Changed):
        def find(self, _: str) -> None:
            raise JournalError("the disk is gone")

    late(Broken(journal), go_on, Watch())

    go_on.set()
    until_said(caplog, "saga x: a late landing was not recorded")

    assert "the disk is gone" in caplog.text
    assert depot.log == ["a", "undo a"]


def test_retries_are_on_record_before_the_wait(journal: Any, clock: Clock) -> None:
    """A crash between two attempts leaves no doubt."""

    class Passing(Wrapped):
        """A journal that lets time pass once a retry is on record."""

        def write(self, *changes: Change) -> None:
            self._journal.write(*changes)
            if any('["retry"' in change.body for change in changes if isinstance(change, Append)):
                clock.forward(2 * HOUR)

    depot.behaviour["a"] = fail(ValueError("busy"))
    hour = Retry(ValueError, wait_initial=HOUR, wait_max=HOUR, wait_jitter=0)
    saga = SagaAssembler.saga(retry=hour).operation((do, "a"), name="a")

    with pytest.raises(SagaException):
        in_time(lambda: saga.orchestrator_execute(journal=Passing(journal), saga_id="x"))

    rows = bodies(journal, "x")
    assert [row.count('["retry"') for row in rows] == [0, 1, 0, 1, 0, 0]


def test_options_that_make_no_sense_are_refused() -> None:
    """When they are given."""
    with pytest.raises(SagaDefinitionError, match="saga: journal: expected a journal"):
        SagaAssembler.saga(journal="sagas.db")  # type: ignore[arg-type]
    with pytest.raises(SagaDefinitionError, match='saga: on_crash: expected "resume"'):
        SagaAssembler.saga(on_crash="panic")  # type: ignore[arg-type]
    with pytest.raises(SagaDefinitionError, match="saga: max_doubt_age: expected seconds"):
        SagaAssembler.saga(max_doubt_age=-1)


def test_a_late_landing_may_have_what_cannot_be_kept(journal: Any) -> None:
    """It is undone all the same, with the result in memory."""
    go_on = threading.Event()

    def slow() -> object:
        assert go_on.wait(10)
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


def test_an_undo_may_return_anything(execute: Execute, journal: Journal) -> None:
    """What it returns is told here, and forgotten by the journal."""
    kept = object()
    depot.behaviour["b"] = fail(ValueError("no courier"))
    saga = (
        SagaAssembler.saga()
        .operation((do, "a"), depot.give, name="a")
        .operation((do, "b"), name="b", after="a")
    )
    depot.behaviour["give"] = lambda: kept
    with pytest.raises(SagaException) as first:
        execute(saga, journal=journal, saga_id="x")
    with pytest.raises(SagaException) as again:
        execute(saga, journal=journal, saga_id="x")

    assert first.value.compensation_success_result == [kept]
    assert again.value.outcome is SagaStatus.COMPENSATED


def test_an_answer_may_hold_what_cannot_be_kept(journal: Any) -> None:
    """That it happened is known all the same; nobody could go on from it, so it is undone."""
    saga = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a", on_doubt=ask)
    crashed(journal, saga, 1)
    depot.behaviour["ask a"] = lambda: happened(object())

    (done,) = recover(journal)

    assert done.outcome is SagaStatus.COMPENSATED
    assert depot.log == ["a", "ask a", "undo a"]
    assert '["unstored",0,"ask",1,1,["builtins.TypeError"' in "".join(bodies(journal, "x"))
    with pytest.raises(SagaException, match="cannot be kept"):
        saga.orchestrator_execute(journal=journal, saga_id="x")


# --- interrupts -----------------------------------------------------------------------------------


def test_an_interrupt_is_recorded_and_rolled_back(execute: Execute, journal: Journal) -> None:
    """As without a journal."""

    class Stop(BaseException):
        pass

    depot.behaviour["b"] = fail(Stop())
    with pytest.raises(Stop):
        execute(chain("a", "b", "c"), journal=journal, saga_id="x")

    assert depot.standing == []
    assert status(journal, "x") is SagaStatus.COMPENSATED


def test_a_second_ctrl_c_leaves_the_rollback_to_recovery(
    execute_sync: Execute, journal: Journal
) -> None:
    """The saga stays open in its journal."""
    depot.behaviour["c"] = fail(KeyboardInterrupt())
    depot.behaviour["undo b"] = fail(KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt) as caught:
        execute_sync(chain("a", "b", "c"), journal=journal, saga_id="x")

    assert "is open in its journal" in "".join(caught.value.__notes__)
    assert status(journal, "x") is SagaStatus.COMPENSATING
    depot.behaviour.clear()
    assert [done.outcome for done in recover(journal)] == [SagaStatus.COMPENSATED]
    assert depot.standing == []


def test_an_interrupt_after_the_pivot_leaves_the_rest_to_recovery(
    execute: Execute, journal: Journal
) -> None:
    """Nothing is undone, and whoever recovers goes forward."""

    class Stop(BaseException):
        pass

    depot.behaviour["b"] = fail(Stop())
    saga = (
        SagaAssembler.saga()
        .operation((do, "a"), name="a", pivot=True)
        .operation((do, "b"), name="b", after="a")
        .operation((do, "c"), name="c", after="b")
    )
    with pytest.raises(Stop) as caught:
        execute(saga, journal=journal, saga_id="x")

    assert "is open in its journal" in "".join(caught.value.__notes__)
    assert depot.log == ["a", "b"]
    depot.behaviour.clear()
    assert [done.outcome for done in recover(journal)] == [SagaStatus.COMPLETED]
    assert depot.log == ["a", "b", "b", "c"]
    assert depot.keys[1] == depot.keys[2]


def test_a_cancellation_during_a_commit_calls_nothing(execute_async: Execute, journal: Any) -> None:
    """The call whose intent it was has not begun, so nothing is in doubt."""
    writing = asyncio.Event()

    async def awrite(*changes: Change) -> None:
        writing.set()
        await asyncio.sleep(0.05)
        await asyncio.shield(journal.awrite(*changes))

    async def main() -> None:
        saga, slow = chain("a", "b"), Wrapped(journal, awrite=awrite)
        run = getattr(saga, execute_async.__name__)(journal=slow, saga_id="x")
        task = asyncio.ensure_future(run)
        await writing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert depot.log == []
    assert status(journal, "x") is SagaStatus.COMPENSATED


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


@dataclass(frozen=True)
class Patient(Retry):
    """A retry with defaults of its own."""

    attempts: int | None = 10


def test_the_options_of_a_subclass_of_retry_are_written_down(journal: Journal) -> None:
    """What recovery reads is a plain Retry, with other defaults."""
    saga = SagaAssembler.saga(retry=Patient(ValueError)).operation((depot.do, "a"))

    saga.start(journal=journal, saga_id="x")

    assert '"retry":{"on":["builtins.ValueError"],"attempts":10}' in bodies(journal, "x")[0]


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
