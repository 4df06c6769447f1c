"""Recovery with several sagas at once: calls side by side, and commits together."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import depot
import pytest
from depot import ado, fail
from recorded import Unreadable, Wrapped, begun, chain, order, status
from world import PATIENCE

from py_api_saga import Event, SagaAssembler, SagaStatus, recover
from py_api_saga.durable import recovery
from py_api_saga.durable.crew import Crew
from py_api_saga.journal.changes import Append, Change

COMPLETED = SagaStatus.COMPLETED
SEEN: ContextVar[str] = ContextVar("SEEN", default="nothing")


def outcomes(journal: Any, **options: Any) -> list[SagaStatus]:
    """Recover, and say what came of each, oldest first."""
    return [done.outcome for done in recover(journal, **options)]


def test_a_call_that_takes_long_holds_up_no_other_saga(journal: Any) -> None:
    """While it runs another saga ends, durably, as the call itself sees."""
    written = threading.Event()

    class Telling(Wrapped):
        def write(self, *changes: Change) -> None:
            """Tell when the second saga has ended."""
            self._journal.write(*changes)
            for change in changes:
                if change.claim.saga_id == "y" and isinstance(change, Append) and change.status:
                    written.set()

    chain("a").start(journal=journal, saga_id="x")
    chain("b", "c").start(journal=journal, saga_id="y")
    seen: list[Any] = []

    def wait() -> str:
        assert written.wait(PATIENCE)
        seen.append(status(journal, "y"))
        return "A"

    depot.behaviour["a"] = wait

    assert outcomes(Telling(journal), max_workers=2) == [COMPLETED] * 2
    assert seen == [COMPLETED]


def coroutines() -> SagaAssembler:
    """Make a saga that is driven in an event loop."""
    return SagaAssembler.saga().operation((ado, "a")).operation((ado, "b"))


@pytest.mark.parametrize(
    ("make", "options"),
    [(order, {}), (order, {"at_once": True}), (coroutines, {})],
    ids=["a chain", "at once", "coroutine functions"],
)
def test_as_many_calls_run_at_once_as_there_are_workers(
    journal: Any, make: Callable[[], SagaAssembler], options: dict[str, Any]
) -> None:
    """Each waits for the others: with one thread less none of them would end."""
    in_loop = make is coroutines
    barrier: Any = asyncio.Barrier(5) if in_loop else threading.Barrier(5, timeout=30)
    for number in range(5):
        make().start(journal=journal, saga_id=f"x{number}", **options)
    for name in "ab":
        depot.behaviour[name] = barrier.wait

    assert outcomes(journal, max_workers=5) == [COMPLETED] * 5


def test_an_interrupt_from_an_observer_undoes_a_recovered_saga(journal: Any) -> None:
    """As in any run; the others go on."""
    begun(journal, 2, lambda: chain("a", "b"))

    def leave(event: Event) -> None:
        if event[:2] == ("succeeded", "x0") and event.operation == "a":
            raise SystemExit

    done = recover(journal, observers=[leave], max_workers=2)

    assert [one.outcome for one in done] == [SagaStatus.COMPENSATED, COMPLETED]
    assert isinstance(done[0].error, SystemExit)
    assert depot.log.count("undo a") == 1


def test_what_comes_while_something_is_written_is_written_together(
    journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one write, which is one commit: however many there are, none waits for another one."""
    crews: list[Crew] = []
    writes: list[list[str]] = []

    class Seen(Crew):
        """One whose threads can be counted."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            crews.append(self)

    class Slow(Wrapped):
        """A journal whose first write ends when all other threads have given what is to come."""

        def write(self, *changes: Change) -> None:
            """Wait, if these are the first intents; the claims of the sagas were before them."""
            if isinstance(changes[0], Append):
                writes.append([change.claim.saga_id for change in changes])
                while len(writes) == 1 and crews[0]._asleep < 7:  # noqa: SLF001 - nobody tells it
                    time.sleep(0.001)
            self._journal.write(*changes)

    begun(journal, 8, lambda: chain("a"))
    monkeypatch.setattr(recovery, "Crew", Seen)

    assert outcomes(Slow(journal), max_workers=8) == [COMPLETED] * 8

    first, second = writes[:2]
    assert set(first + second) == {f"x{number}" for number in range(8)}


def test_one_worker_takes_one_saga_after_the_other(journal: Any) -> None:
    """Oldest first, each to its end."""
    begun(journal, 3, lambda: chain("a", "b"))

    assert outcomes(journal, max_workers=1) == [COMPLETED] * 3
    assert depot.log == ["a", "b"] * 3


def test_a_saga_does_not_see_the_context_of_another(journal: Any) -> None:
    """Though they share a thread; its own operations see it, as in any run."""
    begun(journal, 3, lambda: chain("a", "b"))
    seen: list[str] = []

    def leave() -> str:
        seen.append(SEEN.get())
        SEEN.set("something")
        return "A"

    depot.behaviour["a"] = leave
    depot.behaviour["b"] = lambda: seen.append(SEEN.get())

    assert outcomes(journal, max_workers=3) == [COMPLETED] * 3
    assert sorted(seen) == ["nothing"] * 3 + ["something"] * 3


def test_a_journal_that_raises_spoils_those_it_was_to_write(
    journal: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Each says so and is left, to be tried again; whoever wrote for them goes on."""
    begun(journal, 3, lambda: chain("a"))

    class Raising(Wrapped):
        def write(self, *changes: Change) -> None:
            """Fail once, unlike any journal of ours."""
            if any(isinstance(change, Append) for change in changes) and not depot.behaviour:
                depot.behaviour["b"] = str
                message = "not as promised"
                raise ValueError(message)
            self._journal.write(*changes)

    done = recover(Raising(journal), max_workers=1)

    assert [one.outcome for one in done] == [SagaStatus.RUNNING, COMPLETED, COMPLETED]
    assert isinstance(done[0].error, ValueError)
    assert "saga x0: recovery raised" in caplog.text
    (left,) = [seen for seen in journal.select() if seen.status is SagaStatus.RUNNING]
    assert not journal.drives(left)


def test_a_journal_that_cannot_be_read_ends_the_recovery_after_what_was_begun(
    journal: Any,
) -> None:
    """What is not an error of a journal is raised; what runs ends before, and nothing hangs."""
    chain("a").start(journal=journal, saga_id="x0")
    for number in range(1, 4):
        chain("b").start(journal=journal, saga_id=f"x{number}")
    broken = Unreadable(journal)  # when the second saga has ended, and the first is in its call
    depot.behaviour["a"] = lambda: broken.broken.wait(PATIENCE) and "A"

    with pytest.raises(ValueError, match="not as promised"):
        recover(broken, max_workers=2)

    assert [status(journal, f"x{number}") for number in range(4)] == (
        [COMPLETED] * 2 + [SagaStatus.RUNNING] * 2
    )
    assert [seen.saga_id for seen in journal.select() if journal.drives(seen)] == []


def test_a_rollback_is_recovered_in_turns_too(journal: Any) -> None:
    """Whatever a saga does, it gives what is to be written before it goes on."""
    begun(journal, 4, order)
    depot.behaviour["c"] = fail(ValueError("no courier"))

    assert outcomes(journal, max_workers=4) == [SagaStatus.COMPENSATED] * 4
    assert depot.log.count("undo b") == depot.log.count("undo a") == 4
    assert depot.standing == []
