"""All coroutine functions of one recovery share a loop, which is in a thread of ours."""

from __future__ import annotations

import _thread
import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import depot
import pytest
from depot import ado, aundo, do, fail, undo
from recorded import Wrapped, begun, chain, seen, status
from world import PATIENCE, Watch, until

from py_api_saga import SagaAssembler, SagaStatus, arecover, recover, takeover
from py_api_saga.durable import recovery
from py_api_saga.durable.run import DurableRun
from py_api_saga.executors import side_loop, threads

COMPLETED, COMPENSATED = SagaStatus.COMPLETED, SagaStatus.COMPENSATED


def coroutines(*names: str, **options: Any) -> SagaAssembler:
    """Make a chain of coroutine functions."""
    saga = SagaAssembler.saga(**options)
    for name in names:
        saga.operation((ado, name), (aundo, name), name=name)
    return saga


def loops() -> list[threading.Thread]:
    """Give the threads of ours that have a loop."""
    return [thread for thread in threading.enumerate() if thread.name == "saga-loop"]


class Bank:
    """A client with a pool of one connection, as modules have one: it belongs to a loop."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.threads: set[threading.Thread] = set()
        self.most = self.now = 0

    async def charge(self) -> str:
        """Wait for the connection: a lock is bound to the loop where two want it."""
        self.threads.add(threading.current_thread())
        self.now += 1
        self.most = max(self.most, self.now)
        async with self.lock:
            await asyncio.sleep(0.001)
        self.now -= 1
        return "paid"


def test_coroutine_functions_of_many_sagas_share_what_belongs_to_a_loop(journal: Any) -> None:
    """Chains and graphs, one with a plain function, in one loop; as many as there are workers."""
    bank = Bank()
    for number in range(8):
        saga = coroutines("a", "b")
        if number == 3:
            saga.operation((do, "plain"), name="plain")
        saga.start(journal=journal, saga_id=f"x{number}", at_once=number % 2 == 0)
    plain = chain("d")
    plain.start(journal=journal, saga_id="y")
    in_threads: list[Any] = []
    depot.behaviour["a"] = depot.behaviour["b"] = bank.charge
    depot.behaviour["plain"] = depot.behaviour["d"] = lambda: in_threads.append(
        asyncio._get_running_loop()  # noqa: SLF001 - None without one
    )

    done = recover(journal, max_workers=3)

    assert [one.outcome for one in done] == [COMPLETED] * 9
    assert [thread.name for thread in bank.threads] == ["saga-loop"]
    assert 2 <= bank.most <= 6  # two at once in each graph
    assert in_threads == [None, None]
    assert loops() == []


def test_the_journals_own_work_is_done_elsewhere(journal: Any) -> None:
    """What claims, reads and writes never keeps the loop from going on."""
    threads: dict[str, set[str]] = {}

    class Telling(Wrapped):
        def __getattr__(self, name: str) -> Any:
            found = getattr(self._journal, name)
            if name not in ("write", "rows", "find", "waiting"):
                return found

            def told(*arguments: Any) -> Any:
                threads.setdefault(name, set()).add(threading.current_thread().name)
                return found(*arguments)

            return told

    begun(journal, 4, lambda: coroutines("a", "b"))
    depot.behaviour["b"] = fail(ValueError("no"))

    recover(Telling(journal), max_workers=2)

    assert {"write", "rows", "waiting"} <= threads.keys()
    assert "saga-loop" not in set().union(*threads.values())


def test_what_is_left_in_the_loop_ends_with_it(journal: Any) -> None:
    """Tasks are cancelled, asynchronous generators closed; as `asyncio.run` does it."""
    ended: list[str] = []
    kept: list[Any] = []

    async def linger() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("task")

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append("generator")

    async def leave_behind() -> int:
        kept.append(asyncio.create_task(linger()))
        kept.append(given := numbers())
        await asyncio.sleep(0)
        return await anext(given)

    begun(journal, 1, lambda: coroutines("a"))
    depot.behaviour["a"] = leave_behind

    assert [one.outcome for one in recover(journal)] == [COMPLETED]
    assert sorted(ended) == ["generator", "task"]
    assert loops() == []


def test_an_interrupt_in_one_saga_does_not_end_the_loop_of_the_others(journal: Any) -> None:
    """It is undone, as in any run; and they go on."""

    async def both() -> None:
        if len(loops()) and depot.log.count("a") == 1:
            raise SystemExit
        await asyncio.sleep(0.01)

    begun(journal, 3, lambda: coroutines("z", "a"))
    depot.behaviour["a"] = both

    done = recover(journal, max_workers=3)

    assert sorted(one.outcome.value for one in done) == ["compensated", "completed", "completed"]
    (error,) = [one.error for one in done if one.error is not None]
    assert isinstance(error, SystemExit)


def test_a_loop_that_somebody_stops_goes_on(journal: Any, caplog: pytest.LogCaptureFixture) -> None:
    """By `stop()`, or by an interrupt in a task of theirs: that is logged, and no saga minds."""
    kept: list[Any] = []

    async def leave() -> None:
        raise SystemExit

    async def stop() -> None:
        if depot.log.count("a") == 1:
            asyncio.get_running_loop().stop()
        else:
            kept.append(asyncio.create_task(leave()))
        await asyncio.sleep(0.01)

    begun(journal, 2, lambda: coroutines("z", "a"))
    depot.behaviour["a"] = stop

    done = recover(journal, max_workers=1)

    assert [one.outcome for one in done] == [COMPLETED] * 2
    assert caplog.text.count("has stopped the event loop of recovery, which goes on") == 2
    assert loops() == []


def test_without_a_loop_a_saga_is_tried_again(
    journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of descriptors, say: nothing was called."""
    begun(journal, 1, lambda: coroutines("a"))

    def refuse() -> None:
        raise OSError("too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(asyncio.events, "new_event_loop", refuse)
        (done,) = recover(journal)

    assert "too many open files" in str(done.error)
    assert (depot.log, status(journal, "x0"), seen(journal, "x0").tries) == (
        [],
        SagaStatus.RUNNING,
        1,
    )
    assert takeover(journal, "x0").outcome is COMPLETED


def test_without_a_thread_for_a_loop_a_saga_is_tried_again(
    journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once more, after one was asked for some times: nothing was called, so nothing has failed."""
    begun(journal, 1, lambda: coroutines("a"))
    start, asked = threading.Thread.start, []

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "saga-loop":
            asked.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threads, "SHORTLY", (0.0, 0.0))
        patched.setattr(threading.Thread, "start", refuse)
        (done,) = recover(journal)

    assert (len(asked), str(done.error), done.outcome) == (
        3,
        "can't start new thread",
        SagaStatus.RUNNING,
    )
    assert depot.log == []
    assert takeover(journal, "x0").outcome is COMPLETED


@pytest.mark.parametrize("few", [0, 1])
def test_recovery_goes_on_with_the_threads_that_there_are(
    journal: Any, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """Or without any, in the thread that has called it: no saga waits for a second thread."""
    begun(journal, 3, lambda: chain("a", "b"))
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("saga-recovery"):
            if len(started) == few:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        found = recover(journal)

    assert [done.outcome for done in found] == [COMPLETED] * 3
    assert (len(started), sorted(depot.log)) == (few, ["a"] * 3 + ["b"] * 3)


def test_a_ctrl_c_of_recovery_without_threads_begins_nothing_more(
    journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saga that it struck is undone, the others wait, and the interrupt is raised."""
    begun(journal, 3, lambda: chain("a", "b"))
    depot.behaviour["b"] = lambda: signal.raise_signal(signal.SIGINT)
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("saga-recovery"):
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(KeyboardInterrupt):
            recover(journal)

    assert [status(journal, f"x{number}") for number in range(3)].count(COMPENSATED) == 1
    assert {seen(journal, f"x{number}").status for number in range(3)} == {
        COMPENSATED,
        SagaStatus.RUNNING,
    }
    depot.behaviour.clear()
    assert [done.outcome for done in recover(journal)] == [COMPLETED] * 2


def test_what_is_cancelled_before_it_begins_is_told() -> None:
    """By whoever cancels all tasks of the loop; else its thread would wait for ever."""

    async def main() -> None:
        waited = side_loop._Waited()  # noqa: SLF001 - it takes a moment that no test can choose
        task = asyncio.create_task(waited.work(lambda: asyncio.sleep(60)))
        task.add_done_callback(waited.ended)
        task.cancel()
        await asyncio.wait({task})
        await asyncio.sleep(0)
        assert waited.over.is_set()
        assert isinstance(waited.error, asyncio.CancelledError)

    asyncio.run(main())


# --- interrupts of whoever waits -----------------------------------------------------------------


def test_a_ctrl_c_of_whoever_takes_a_saga_over_undoes_it(journal: Any) -> None:
    """The call is cancelled, all is undone, and the interrupt is told."""

    async def struck() -> None:
        _thread.interrupt_main()
        await asyncio.sleep(60)

    coroutines("z", "a").start(journal=journal, saga_id="x")
    depot.behaviour["a"] = struck

    done = takeover(journal, "x")

    assert isinstance(done.error, KeyboardInterrupt)
    assert (status(journal), depot.standing) == (COMPENSATED, [])
    assert depot.log == ["z", "a", "undo a", "undo z"]
    assert loops() == []


def test_a_ctrl_c_is_raised_also_if_nothing_minds_it() -> None:
    """As in any run, which completes then."""

    async def deaf() -> str:
        _thread.interrupt_main()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "what?"
        raise AssertionError

    run: Any = SimpleNamespace(goes=lambda _: False)
    with side_loop.SideLoop() as loop, pytest.raises(KeyboardInterrupt):
        loop.call(run, deaf)
    assert loops() == []


def test_a_second_one_leaves_a_rollback_that_hangs(journal: Any) -> None:
    """The saga is open, and the next recovery goes on; nothing of it runs on here."""

    async def struck() -> None:
        _thread.interrupt_main()
        await asyncio.sleep(60)

    coroutines("z", "a").start(journal=journal, saga_id="x")
    depot.behaviour["a"] = struck
    depot.behaviour["undo a"] = struck

    done = takeover(journal, "x")

    assert isinstance(done.error, KeyboardInterrupt)
    assert not journal.drives(seen(journal, "x"))
    assert loops() == []
    assert "undo z" not in depot.log


# --- what lands late -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["open", "ended", "arecover"])
def test_what_lands_late_is_undone_in_the_same_loop_while_there_is_one(
    in_memory: Any, how: str
) -> None:
    """Else in one of its own: nobody keeps a loop for what may never land."""
    journal = in_memory
    is_open = how == "open"
    lands, watch = threading.Event(), Watch()
    undone_in: list[str] = []
    saga = SagaAssembler.saga()
    saga.operation((do, "a"), (aundo, "a"), name="a", timeout=1.0)
    saga.operation((do, "b"), name="b").start(journal=journal, saga_id="x", at_once=True)
    depot.behaviour["a"] = lambda: str(lands.wait(PATIENCE))
    depot.behaviour["undo a"] = lambda: undone_in.append(threading.current_thread().name)
    coroutines("c").start(journal=journal, saga_id="y")

    async def hold() -> None:
        if is_open:
            await asyncio.to_thread(watch.wait_for, "saga ended")
            lands.set()
            await asyncio.to_thread(until, lambda: len(undone_in) == 2)

    depot.behaviour["c"] = hold

    if how == "arecover":
        asyncio.run(arecover(journal, observers=[watch]))
    else:
        recover(journal, observers=[watch])
    lands.set()
    until(lambda: len(undone_in) == 2)

    first = "MainThread" if how == "arecover" else "saga-loop"
    assert (undone_in[0], undone_in[1] == "saga-loop") == (first, is_open)
    until(lambda: status(journal) is COMPENSATED and not loops())


@pytest.mark.parametrize(
    "make", [(do, fail), (ado, fail)], ids=["in its thread", "in the loop of recovery"]
)
def test_what_lands_while_its_saga_is_being_left_is_undone(
    in_memory: Any, monkeypatch: pytest.MonkeyPatch, make: tuple[Any, Any]
) -> None:
    """It waits until the saga was left, which would else be taken from it in the middle."""
    lands, watch = threading.Event(), Watch()
    first, failing = make
    saga = SagaAssembler.saga()
    saga.operation((first, "z"), name="z")
    saga.operation((do, "a"), (undo, "a"), name="a", timeout=0.05)
    saga.operation((failing, "b"), name="b").start(journal=in_memory, saga_id="x", at_once=True)
    depot.behaviour["a"] = lambda: str(lands.wait(PATIENCE))
    leave = DurableRun.leave

    def slowly(run: DurableRun) -> None:
        if run.execution.at_rest:
            lands.set()
            time.sleep(0.1)  # for the straggler to come in between
        leave(run)

    monkeypatch.setattr(DurableRun, "leave", slowly)

    recover(in_memory, observers=[watch])

    assert lands.is_set()
    until(lambda: depot.log.count("undo a") == 2)
    until(lambda: status(in_memory) is COMPENSATED)
    assert "a" not in depot.standing


@pytest.mark.parametrize("recover_it", [takeover, recover], ids=["takeover", "recover"])
def test_coroutine_functions_are_recovered_beside_a_loop_that_runs(
    journal: Any, recover_it: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """In a thread of ours, with a warning, once: meanwhile the caller's loop does nothing."""
    saga = SagaAssembler.saga().operation((depot.ado, "a"), name="a")
    for saga_id in ("x", "y"):
        saga.start(journal=journal, saga_id=saga_id)
    recovery._tell_of_the_loop.cache_clear()  # noqa: SLF001 - said once in the life of a process

    async def main() -> None:
        if recover_it is takeover:
            takeover(journal, "x")
            takeover(journal, "y")
        else:
            recover(journal, limit=1)
            recover(journal)

    asyncio.run(main())

    assert [status(journal, saga_id) for saga_id in ("x", "y")] == [SagaStatus.COMPLETED] * 2
    assert caplog.text.count("await arecover(...)") == 1
