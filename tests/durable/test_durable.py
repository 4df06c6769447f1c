"""Sagas with a journal: what is written when, and what becomes of them when it cannot be."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import depot
import pytest
from depot import do, fail, undo
from recorded import Faulty, Wrapped, bodies, chain, status
from world import HOUR, PATIENCE, Clock, Watch, in_time

from py_api_saga import (
    JournalError,
    Retry,
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    SagaStatus,
    recover,
)
from py_api_saga.journal import Journal, MemoryJournal
from py_api_saga.journal.changes import Append, Change

Execute = Callable[..., Any]
MODULES = ["depot"]


@pytest.mark.parametrize("before", [(), ("a",)])
def test_a_failure_with_nothing_to_undo_is_on_record(
    execute: Execute, journal: Journal, before: tuple[str, ...]
) -> None:
    """Before the caller hears of it: recovery would call again what the caller knows has failed."""
    depot.behaviour["b"] = fail(ValueError("no"))
    saga = SagaAssembler.saga()
    for name in (*before, "b"):
        saga.operation((do, name), name=name, after=before if name == "b" else ())

    with pytest.raises(SagaException):
        execute(saga, journal=journal, saga_id="x")

    assert status(journal) is SagaStatus.COMPENSATED
    assert recover(journal) == []


def test_a_chain_of_n_operations_is_n_plus_one_rows(execute: Execute, journal: Journal) -> None:
    """Each intent shares a row with the result before it, and the last one with the end."""
    results = execute(chain("a", "b", "c"), journal=journal, saga_id="x")

    assert results == ["A", "B", "C"]
    assert results["b"] == "B"
    rows = bodies(journal, "x")
    assert len(rows) == 4
    assert re.fullmatch(
        r'\[\["succeeded",0,"action",1,1,"A",\[\d+,\d+]],\["started",1,"action",1,1]]', rows[1]
    )
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
        assert go_on.wait(PATIENCE)
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


@dataclass(frozen=True)
class Patient(Retry):
    """A retry with defaults of its own."""

    attempts: int | None = 10


def test_the_options_of_a_subclass_of_retry_are_written_down(journal: Journal) -> None:
    """What recovery reads is a plain Retry, with other defaults."""
    saga = SagaAssembler.saga(retry=Patient(ValueError)).operation((depot.do, "a"))

    saga.start(journal=journal, saga_id="x")

    assert '"retry":{"on":["builtins.ValueError"],"attempts":10}' in bodies(journal, "x")[0]
