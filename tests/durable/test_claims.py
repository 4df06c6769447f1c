"""Claims on their way: who asks for a saga, and is interrupted, or comes a moment too late."""

from __future__ import annotations

import asyncio
import pickle
import threading
from typing import Any

import depot
import pytest
from depot import fail
from recorded import SQLITE, WHO, Wrapped, chain, crashed, seen, status, stuck
from world import PATIENCE

from py_api_saga import SagaException, SagaInProgress, SagaStatus, arecover, recover, takeover
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.changes import Create, Take
from py_api_saga.repair import again, purge, purge_all


class Middle:
    """Where a thread stops until the coroutine that waits for it has been cancelled."""

    def __init__(self) -> None:
        self._reached, self._cancelled = threading.Event(), threading.Event()

    def pause(self) -> None:
        """Wait here, in the thread."""
        self._reached.set()
        assert self._cancelled.wait(PATIENCE)

    async def cancel(self, going: Any) -> None:
        """Cancel what has come there; it waits for the thread, and then it is cancelled."""
        task = asyncio.ensure_future(going)
        assert await asyncio.to_thread(self._reached.wait, PATIENCE)
        task.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not task.done()
        self._cancelled.set()
        with pytest.raises(asyncio.CancelledError):
            await task


class Slow(Wrapped):
    """A journal whose claims take a while."""

    def __init__(self, journal: Any, middle: Middle) -> None:
        super().__init__(journal)
        self.middle, self.claimed = middle, threading.Event()

    def write(self, *changes: Any) -> None:
        """Write, and dawdle over a claim."""
        takes = any(isinstance(change, Take) for change in changes)
        if takes:
            self.middle.pause()
        self._journal.write(*changes)
        if takes:
            self.claimed.set()


@pytest.mark.parametrize("how", ["execute", "recover"])
def test_a_cancellation_while_a_saga_is_claimed_gives_it_back(journal: Any, how: str) -> None:
    """The thread that claims it goes on; nobody is left with a claim and no driver."""
    crashed(journal, chain("a"), 1)
    middle = Middle()
    slow = Slow(journal, middle)

    async def main() -> None:
        await middle.cancel(
            arecover(slow)
            if how == "recover"
            else chain("a").aorchestrator_execute(journal=slow, saga_id="x")
        )

    asyncio.run(main())

    assert slow.claimed.is_set()
    assert takeover(journal, "x").outcome is SagaStatus.COMPLETED


def test_a_cancellation_while_a_start_looks_at_its_saga_waits_for_that(journal: Any) -> None:
    """No thread of a start that has ended goes on with the journal."""
    chain("a").start(journal=journal, saga_id="x")
    middle, looked = Middle(), threading.Event()

    def find(saga_id: str) -> Any:
        middle.pause()
        looked.set()
        return journal.find(saga_id)

    async def main() -> None:
        wrapped: Any = Wrapped(journal, find=find)
        await middle.cancel(chain("a").astart(journal=wrapped, saga_id="x"))
        assert looked.is_set()

    asyncio.run(main())


def test_an_interrupt_while_a_saga_is_claimed_gives_it_back(journal: Any) -> None:
    """Ctrl-C strikes when the claim has just settled."""
    crashed(journal, chain("a"), 1)

    def write(*changes: Any) -> None:
        journal.write(*changes)
        if any(isinstance(change, Take) for change in changes):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chain("a").orchestrator_execute(journal=Wrapped(journal, write=write), saga_id="x")

    assert chain("a").orchestrator_execute(journal=journal, saga_id="x") == ["A"]


def test_an_interrupt_while_a_person_decides_gives_the_saga_back(journal: Any) -> None:
    """It strikes when the claim for the decision has just settled."""
    stuck(journal)

    def write(*changes: Any) -> None:
        journal.write(*changes)
        if any(isinstance(change, Take) for change in changes):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again(Wrapped(journal, write=write), "x", **WHO)

    assert not journal.drives(journal.find("x"))


def test_what_was_purged_meanwhile_is_left_as_it_is(journal: Any) -> None:
    """Whoever has looked before that is told so, and the others are purged all the same."""
    for saga_id in ("x", "y"):
        chain("a").orchestrator_execute(journal=journal, saga_id=saga_id)
    before = [seen(journal, saga_id) for saga_id in ("x", "y")]
    purge(journal, before[0])
    digest = seen(journal, "x").digest

    ((left, error),) = purge_all(journal, before)

    assert (left, type(error)) == (before[0], SagaInProgress)
    assert "was purged meanwhile" in str(error)
    assert seen(journal, "x").digest == digest
    assert seen(journal, "y").digest


def test_an_interrupt_while_an_id_is_found_taken_is_raised(journal: Any) -> None:
    """Rather than answered with the results."""
    chain("a").orchestrator_execute(journal=journal, saga_id="x")

    def write(*changes: Any) -> None:
        first = any(isinstance(change, Create) and not change.settled for change in changes)
        journal.write(*changes)
        if first:
            raise KeyboardInterrupt

    async def awrite(*changes: Any) -> None:
        await journal.awrite(*changes)
        task = asyncio.current_task()
        if task is not None and not task.cancelling():
            task.cancel()
            await asyncio.sleep(0)

    with pytest.raises(KeyboardInterrupt):
        chain("a").orchestrator_execute(journal=Wrapped(journal, write=write), saga_id="x")
    wrapped: Any = Wrapped(journal, awrite=awrite)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(chain("a").aorchestrator_execute(journal=wrapped, saga_id="x"))

    assert depot.log == ["a"]


def test_a_saga_that_was_started_and_runs_may_be_started_again(journal: Any) -> None:
    """It is there, in this process as in another; another saga under its id is not."""
    seen: list[Any] = []

    def start() -> None:
        seen.append(chain("a").start(journal=journal, saga_id="x"))

    depot.behaviour["a"] = start
    chain("a").start(journal=journal, saga_id="x")
    recover(journal)

    assert seen == ["x"]


def test_a_purge_that_comes_second_keeps_the_digest(journal: Any) -> None:
    """What the saga was to do is known after both."""
    chain("a").orchestrator_execute(journal=journal, saga_id="x")
    seen = journal.find("x")
    purge(journal, seen)
    digest = journal.find("x").digest

    for summary in (seen, journal.find("x")):
        try:
            purge(journal, summary)
        except SagaInProgress:
            assert summary is seen

    assert journal.find("x").digest == digest


@pytest.mark.parametrize("open_journal", SQLITE, indirect=True)
def test_a_journal_that_is_in_use_can_be_sent_to_another_process(journal: SQLiteJournal) -> None:
    """Which opens the file for itself."""
    chain("a").start(journal=journal, saga_id="x")
    recover(journal)

    copy = pickle.loads(pickle.dumps(journal))  # noqa: S301 - our own bytes

    assert status(copy, "x") is SagaStatus.COMPLETED


@pytest.mark.parametrize("ended", ["completed", "compensated"])
def test_a_cancellation_while_an_answer_is_looked_up_is_raised(journal: Any, ended: str) -> None:
    """There is nothing to give back."""
    if ended == "compensated":
        depot.behaviour["b"] = fail(ValueError("no"))
        with pytest.raises(SagaException):
            chain("a", "b").orchestrator_execute(journal=journal, saga_id="x")
    else:
        chain("a", "b").orchestrator_execute(journal=journal, saga_id="x")
    middle = Middle()

    def find(saga_id: str) -> Any:
        middle.pause()
        return journal.find(saga_id)

    async def main() -> None:
        wrapped: Any = Wrapped(journal, find=find)
        await middle.cancel(chain("a", "b").aorchestrator_execute(journal=wrapped, saga_id="x"))

    asyncio.run(main())


def test_a_cancellation_while_nothing_is_left_to_claim_is_raised(journal: Any) -> None:
    """There is nothing to give back."""
    chain("a").start(journal=journal, saga_id="x")
    middle = Middle()

    def write(*changes: Any) -> None:
        journal.write(*changes)
        for change in changes:
            if isinstance(change, Take):  # somebody else was faster
                change.error = SagaInProgress("x")
                middle.pause()

    async def main() -> None:
        await middle.cancel(arecover(Wrapped(journal, write=write)))

    asyncio.run(main())
