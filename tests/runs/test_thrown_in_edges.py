"""What is thrown in at one certain place of ours, which a signal would hardly ever find."""

import asyncio
import logging
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import depot
import pytest
from recorded import Wrapped, chain, seen, status
from thrown import Alarm, TimeLimit, cause_of, made, ours
from world import PATIENCE, Execute, Watch, World, in_time, steps

from py_api_saga import (
    JournalError,
    Retry,
    SagaAssembler,
    SagaException,
    SagaStatus,
    SagaStuck,
    recover,
    result_of,
    takeover,
)
from py_api_saga.durable import knowing
from py_api_saga.executors import attempt, event_loop
from py_api_saga.executors.inbox import Inbox
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.changes import Append, Create
from py_api_saga.journal.sql.group_commit import Batch, GroupCommit, RetiredError
from py_api_saga.journal.sqlite import connecting
from py_api_saga.journal.sqlite.writes import RowWriter
from py_api_saga.log import complain
from py_api_saga.wording import as_text

LIMIT = made("rq.timeouts.JobTimeoutException")


def once(function: Callable[..., Any], error: BaseException, *, first: bool = True) -> Any:
    """Make a function of another one that is struck the first time, before or after it has run."""
    struck: list[object] = []

    def strike(*args: Any, **options: Any) -> Any:
        if struck:
            return function(*args, **options)
        struck.append(args)
        if not first:
            function(*args, **options)
        raise error

    return strike


# --- around a call --------------------------------------------------------------------------------


def test_what_strikes_beside_a_call_leaves_it_in_doubt(
    execute: Execute, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether it has begun, or had just ended; and it is raised again."""
    monkeypatch.setattr(attempt, "struck_beside", lambda error, _: str(error) == "struck")
    saga = steps(world, "stock")
    saga.operation(
        (world.fail, "charge", RuntimeError("struck")), (world.undo, "charge"), after="stock"
    )

    if "choreography" in execute.__name__ or execute.__name__.startswith("a"):
        with pytest.raises(Exception, match="struck"):  # in a thread it is nobody's signal
            execute(saga)
    else:
        with pytest.raises(RuntimeError):
            execute(saga)

    assert world.log == ["stock", "charge", "undo charge", "undo stock"]


def test_a_timed_compensation_that_is_struck_twice_has_its_time(world: World) -> None:
    """It counts; but nothing more is undone."""
    gate, first = threading.Event(), TimeLimit(1)
    saga = steps(world, "stock")
    saga.operation(
        (world.do, "charge"), (world.gate, "undo", gate), name="charge", after="stock", timeout=60
    )
    saga.operation((world.fail, "courier", ValueError()), after="charge")

    with Alarm(first, TimeLimit(2)) as alarm:
        alarm.after(
            lambda: world.wait_for("undo begins"),
            lambda: alarm.after(lambda: None, gate.set),
        )
        with pytest.raises(TimeLimit) as caught:
            saga.orchestrator_execute()

    assert caught.value is first
    assert world.log[-1] == "undo"
    assert list(cause_of(caught.value, SagaStuck).stuck) == []


# --- a defect while threads are at work -----------------------------------------------------------


def test_a_defect_waits_for_the_threads_and_for_no_call_that_none_has_begun(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it is struck meanwhile."""
    gate, pool = threading.Event(), sys.modules["py_api_saga.executors.choreography"].POOL
    make, made_calls = pool.make, []

    def broken(*args: Any) -> None:
        made_calls.append(args)
        if len(made_calls) > 1:
            world.wait_for("a begins")
            monkeypatch.setattr(Inbox, "wait", once(Inbox.wait, KeyboardInterrupt()))
            threading.Timer(0.02, gate.set).start()
            ours(AssertionError)()
        make(*args)

    monkeypatch.setattr(pool, "make", broken)
    saga = SagaAssembler.saga()
    saga.operation((world.gate, "a", gate), name="a").operation((world.do, "b"), name="b")

    with pytest.raises(AssertionError, match="a defect"):
        in_time(saga.choreography_execute)

    assert world.log == ["a begins", "a"]


def test_a_run_that_was_lost_and_has_a_defect_says_both(journal: Any) -> None:
    """The journal's error is behind the defect."""
    run: Any = chain("a")._run(chain("a")._chain(), "x", None, print, journal)  # noqa: SLF001
    lost = run.lost = JournalError("the disk is full")

    with pytest.raises(AssertionError) as caught:
        run.give_up(AssertionError("a defect"))

    assert cause_of(caught.value, JournalError) is lost


# --- under asyncio --------------------------------------------------------------------------------


async def _hang(world: World, name: str) -> None:
    """Wait for ever to be undone."""
    world.note(f"{name} begins")
    await asyncio.sleep(PATIENCE)


@pytest.mark.parametrize("kind", [TimeLimit, asyncio.CancelledError])
def test_what_strikes_the_wait_for_a_rollback_waits_on(
    execute_async: Execute,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[BaseException],
) -> None:
    """The rollback goes on by itself: no second one is begun beside it."""
    wait = asyncio.wait
    struck: list[Any] = []

    async def strike(tasks: Any, **options: Any) -> Any:
        if "undo a begins" in world.log and not struck:
            struck.append(tasks)
            raise kind
        return await wait(tasks, **options, timeout=0.001)

    async def undo() -> None:
        world.note("undo a begins")
        for _ in range(20):
            await asyncio.sleep(0.001)
        world.note("undo a")

    monkeypatch.setattr(asyncio, "wait", strike)
    saga = SagaAssembler.saga().operation((world.do, "a"), undo, name="a")
    saga.operation((world.fail, "b", ValueError()), after="a")

    with pytest.raises(kind):
        in_time(lambda: execute_async(saga))

    assert world.log == ["a", "b", "undo a begins", "undo a"]


@pytest.mark.parametrize("how", ["cancelled", "struck"])
def test_a_rollback_that_is_struck_before_it_begins_begins_again(
    execute_async: Execute, world: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Whether its task is cancelled, or nobody has noted that there is one."""
    create_task = asyncio.create_task
    struck: list[Any] = []

    def strike(coroutine: Any, **options: Any) -> Any:
        task = create_task(coroutine, **options)
        if coroutine.__name__ == "_roll_back" and not struck:
            struck.append(task)
            if how == "struck":
                raise TimeLimit
            task.cancel()
        return task

    monkeypatch.setattr(asyncio, "create_task", strike)
    saga = steps(world, "a")
    saga.operation((world.fail, "b", ValueError()), after="a")

    with pytest.raises((TimeLimit, asyncio.CancelledError)):
        in_time(lambda: execute_async(saga))

    assert world.log == ["a", "b", "undo a"]


def test_a_loop_that_goes_down_after_an_interrupt_ends_the_rollback(
    execute_async: Execute, world: World
) -> None:
    """As a second Ctrl-C has it do: the undo that hangs is not made again."""

    async def main() -> None:
        saga = steps(world, "a")
        saga.operation((world.do, "b"), (_hang, world, "undo b"), name="b", after="a")
        saga.operation((_hang, world, "c"), name="c", after="b")
        running = asyncio.ensure_future(getattr(saga, execute_async.__name__)())
        for line in ("c begins", "undo b begins"):
            while line not in world.log:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0)
            if line == "c begins":
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    task.cancel()
        for task in asyncio.all_tasks() - {asyncio.current_task(), running}:
            task.cancel()
        await running

    with pytest.raises(asyncio.CancelledError):
        in_time(lambda: asyncio.run(main()))

    assert world.log == ["a", "b", "c begins", "undo b begins"]


def driver_of(world: World, *names: str) -> tuple[Any, Any]:
    """Make a driver of a graph, and the intent of its first call."""
    saga = steps(world, *names)
    run = saga._run(saga._graph(), None, None, event_loop.finish_late)  # noqa: SLF001
    return event_loop._AtOnce(run, 9), run.start()  # noqa: SLF001


def test_who_gives_up_waits_for_the_tasks(world: World) -> None:
    """Through any number of cancellations."""

    async def main() -> None:
        driver, intent = driver_of(world, "a")
        gate = asyncio.Event()
        task = driver._tasks[intent] = asyncio.ensure_future(gate.wait())  # noqa: SLF001
        resting = asyncio.ensure_future(driver.rest())
        for _ in range(3):
            await asyncio.sleep(0)
            resting.cancel()
        assert not resting.done()
        gate.set()
        await resting
        assert task.done()

    asyncio.run(main())


def test_a_call_of_a_rollback_that_goes_on_is_not_told_by_others(world: World) -> None:
    """Its own task does; and a task that begins at once notes itself."""

    async def main() -> None:
        driver, intent = driver_of(world, "a")
        driver.rollback = asyncio.ensure_future(asyncio.sleep(0))
        assert driver.fate_of(TimeLimit(), intent) is None
        await driver.rollback
        driver.rollback = None
        await asyncio.create_task(event_loop._roll_back(driver))  # noqa: SLF001
        assert driver.rollback is not None
        assert world.log == ["a"]

    async def act() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(event_loop._AtOnce, "drive", lambda _: asyncio.sleep(0))  # noqa: SLF001
            world.do("a")
            await main()

    asyncio.run(act())


def test_a_task_that_is_cancelled_before_it_begins_has_made_no_call(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By who cancels it alone: the saga is stopped."""
    create_task = asyncio.create_task
    struck: list[Any] = []

    def cancel(coroutine: Any, **options: Any) -> Any:
        task = create_task(coroutine, **options)
        if coroutine.__name__ == "_attempt_safely" and "a" in world.log and not struck:
            struck.append(task)
            task.cancel()
        return task

    async def main() -> None:
        await steps(world, "a", "b").achoreography_execute()

    def run() -> None:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(main())

    monkeypatch.setattr(asyncio, "create_task", cancel)
    in_time(run)
    assert world.log == ["a", "undo a"]


def test_what_strikes_at_the_edge_of_the_last_task_is_raised(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has told what came of its call; all is done, and stands."""
    tell = event_loop._AtOnce._tell  # noqa: SLF001
    monkeypatch.setattr(event_loop._AtOnce, "_tell", once(tell, TimeLimit(), first=False))  # noqa: SLF001

    async def main() -> None:
        await steps(world, "a").achoreography_execute()

    with pytest.raises(TimeLimit):
        in_time(lambda: asyncio.run(main()))

    assert world.standing == ["a"]


def test_a_cancellation_that_ends_in_doubt_is_raised(world: World) -> None:
    """The action makes an error of it that leaves doubt."""

    async def charge() -> None:
        world.note("charge begins")
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            raise TimeoutError from None

    async def main() -> None:
        saga = steps(world, "stock").operation(charge, (world.undo, "charge"))
        running = asyncio.ensure_future(saga.aorchestrator_execute())
        while "charge begins" not in world.log:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0)
        running.cancel()
        await running

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert world.log == ["stock", "charge begins", "undo charge", "undo stock"]


def test_what_strikes_when_a_timed_coroutine_has_ended_is_none_of_its_errors(
    execute_async: Execute, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in doubt, though it has succeeded: what it gave was lost on the way."""
    struck: list[object] = []

    class Struck:
        async def __aenter__(self) -> None:
            """Begin."""

        async def __aexit__(self, *_: object) -> None:
            """Be struck."""
            if not struck:
                struck.append(self)
                raise TimeLimit

        def expired(self) -> bool:
            """Say that there was time."""
            return False

    async def charge() -> str:
        return world.do("charge")

    async def refund() -> str:
        return world.undo("charge")

    monkeypatch.setattr(asyncio, "timeout", lambda _: Struck())
    saga = SagaAssembler.saga().operation(charge, refund, timeout=9)

    with pytest.raises(TimeLimit):
        in_time(lambda: execute_async(saga))

    assert world.log == ["charge", "undo charge"]


def test_a_coroutine_whose_argument_cannot_be_made_has_failed(
    execute_async: Execute, world: World
) -> None:
    """It was not called, so nothing is in doubt."""

    async def charge(_: object) -> None:
        world.do("charge")

    saga = steps(world, "stock")
    part: Any = result_of("stock")["nothing"]
    saga.operation((charge, part), (world.undo, "charge"), name="charge", after="stock")

    with pytest.raises(SagaException, match="'charge' failed"):
        execute_async(saga)

    assert world.log == ["stock", "undo stock"]


# --- in recovery ----------------------------------------------------------------------------------


def test_what_strikes_the_task_of_a_recovered_call_lets_its_saga_go(
    journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its call stays unanswered on record, as after a crash; nothing is decided."""
    saga = SagaAssembler.saga(name="depot")
    saga.operation((depot.ado, "a"), (depot.aundo, "a"), name="a")
    saga.operation((depot.ado, "b"), (depot.aundo, "b"), name="b", after="a")
    saga.start(journal=journal, saga_id="x", at_once=True)
    made_call = event_loop.aattempt
    struck: list[Any] = []

    async def strike(run: Any, intent: Any, task: Any) -> Any:
        entry = await made_call(run, intent, task)
        if intent[1] == 1 and not struck:
            struck.append(intent)
            raise TimeLimit
        return entry

    monkeypatch.setattr(event_loop, "aattempt", strike)
    (done,) = recover(journal)

    assert (done.outcome, type(done.error)) == (SagaStatus.RUNNING, TimeLimit)
    assert depot.log == ["a", "b"]
    assert seen(journal, "x").tries == 1


def test_a_recovered_saga_that_is_struck_in_a_wait_decides_nothing(journal: Any) -> None:
    """What runs is awaited; a call that was not made is told by nobody."""
    run: Any = chain("a", "b")._run(chain("a", "b")._chain(), "x", None, print, journal)  # noqa: SLF001
    run.lets_go = True
    limit = TimeLimit()

    run.stop(limit)

    assert (run.left, run.interrupt, run.execution.backward) == (True, limit, False)
    with pytest.raises(TimeLimit):
        run.check_goes(limit)
    run.check_goes(SystemExit())


def test_a_saga_that_nobody_goes_on_with_makes_no_call(journal: Any) -> None:
    """As when a crew of recovery ends with its process."""
    run: Any = chain("a")._run(chain("a")._chain(), "x", None, print, journal)  # noqa: SLF001
    steps_of_it: Any = knowing.steps(run, None)
    next(steps_of_it)

    steps_of_it.close()

    assert depot.log == []


async def _for_long() -> None:
    await asyncio.sleep(PATIENCE)


@pytest.mark.parametrize(("waits", "at_once"), [("call", False), ("retry", False), ("retry", True)])
def test_a_recovery_of_coroutines_that_is_struck_lets_its_saga_go(
    journal: Any, waits: str, *, at_once: bool
) -> None:
    """In the thread that waits for their loop: what is cancelled there decides nothing."""
    again = Retry(ValueError, wait_initial=600, wait_max=600)
    saga = SagaAssembler.saga(name="depot")
    saga.operation((depot.ado, "a"), (depot.aundo, "a"), name="a")
    saga.operation((depot.ado, "b"), (depot.aundo, "b"), name="b", after="a", retry=again)
    saga.start(journal=journal, saga_id="x", at_once=at_once)
    failure = depot.fail(ValueError("not yet"))
    depot.behaviour["b"] = _for_long if waits == "call" else failure
    watch, limit = Watch(), TimeLimit()

    def has_come() -> None:
        if waits == "retry":
            watch.wait_for("attempt failed", "b")
        while "b" not in depot.log:
            time.sleep(0.001)

    with Alarm(limit) as alarm:
        alarm.after(has_come)
        done = takeover(journal, "x", observers=[watch])

    assert (done.outcome, done.error) == (SagaStatus.RUNNING, limit)
    assert depot.log == ["a", "b"]
    depot.behaviour.clear()
    assert takeover(journal, "x").outcome is SagaStatus.COMPLETED
    assert not [line for line in depot.log if line.startswith("undo")]


def test_what_strikes_a_call_that_has_no_thread_leaves_it_in_doubt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made in the thread that drives the saga, and nobody else would tell of it."""
    pool = sys.modules["py_api_saga.executors.choreography"].POOL
    monkeypatch.setattr("py_api_saga.executors.threads.SHORTLY", ())
    monkeypatch.setattr(pool, "_thread", lambda: None)
    monkeypatch.setattr(Inbox, "put", once(Inbox.put, TimeLimit()))

    with pytest.raises(TimeLimit):
        in_time(steps(world, "a", "b").choreography_execute)

    assert world.log == ["a", "undo a"]


# --- in the journal -------------------------------------------------------------------------------


def test_a_journal_that_raises_its_error_has_failed(execute: Execute, journal: Any) -> None:
    """Rather than saying so in what it was to write: no further call starts."""

    class Raising(Wrapped):
        def write(self, *changes: Any) -> None:
            """Fail."""
            if isinstance(changes[0], Append):
                message = "the disk is full"
                raise JournalError(message)
            self._journal.write(*changes)

        async def awrite(self, *changes: Any) -> None:
            """Fail in the same way."""
            if isinstance(changes[0], Append):
                message = "the disk is full"
                raise JournalError(message)
            await self._journal.awrite(*changes)

    with pytest.raises(JournalError, match="the disk is full"):
        in_time(lambda: execute(chain("a", "b"), journal=Raising(journal), saga_id="x"))

    assert depot.log == ["a"]
    assert status(journal) is SagaStatus.RUNNING


def test_a_journal_that_always_raises_what_nobody_expects_ends_the_run(
    execute: Execute, journal: Any
) -> None:
    """Not for ever an interrupt."""

    class Raising(Wrapped):
        def write(self, *changes: Any) -> None:
            """Fail, unlike any journal of ours."""
            if isinstance(changes[0], Append):
                raise KeyError
            self._journal.write(*changes)

        async def awrite(self, *changes: Any) -> None:
            """Fail in the same way."""
            self.write(*changes)

    with pytest.raises(KeyError):
        in_time(lambda: execute(chain("a", "b"), journal=Raising(journal), saga_id="x"))

    assert depot.log == ["a"]


@pytest.fixture
def sqlite(tmp_path: Path) -> Any:
    """A journal in a file."""
    depot.reset()
    journal = SQLiteJournal(tmp_path / "journal", modules=["depot"], durability="process")
    yield journal
    journal.close()
    depot.reset()


@pytest.mark.parametrize("error", [TimeoutError(), RuntimeError()], ids=["timeout", "other"])
@pytest.mark.parametrize("times", [1, 9])
def test_what_strikes_a_commit_is_raised_when_it_is_settled(
    sqlite: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, times: int
) -> None:
    """It is on disk; or, if it is struck whenever it is tried, it never will be."""
    write, left = RowWriter.write_together, [error] * times

    def strike(*args: Any) -> Any:
        if left:
            raise left.pop()
        return write(*args)

    monkeypatch.setattr(RowWriter, "write_together", strike)
    create = Create("x", None, "[1]")
    with pytest.raises(type(error)):
        sqlite.write(create)

    assert create.settled
    assert (create.error is None) is (times == 1)
    monkeypatch.undo()
    assert (sqlite.find("x") is not None) is (times == 1)


def test_what_strikes_while_a_file_is_opened_is_raised(
    sqlite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it is of a class that files raise, too."""
    module = sys.modules["py_api_saga.journal.sqlite.file"]
    connect = once(module.connect_to_write, TimeoutError())
    monkeypatch.setattr(module, "connect_to_write", connect)

    with pytest.raises(TimeoutError):
        sqlite.find("x")


@pytest.mark.parametrize("place", ["_create_all", "_create"])
def test_what_strikes_while_rows_are_written_is_none_of_theirs(
    sqlite: Any, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Whether they are written together or one by one."""
    if place == "_create":
        monkeypatch.setattr(RowWriter, "_create_all", lambda *_: False)
    monkeypatch.setattr(RowWriter, place, once(getattr(RowWriter, place), TimeLimit()))
    create = Create("x", None, "[1]")

    with pytest.raises(TimeLimit):
        sqlite.write(create)

    assert create.check().number


def test_what_is_of_a_file_has_its_number() -> None:
    """And what SQLite raises is its own."""
    assert not connecting.has_struck(OSError(28, "full"))
    assert connecting.has_struck(TimeoutError())
    assert not connecting.has_struck(sqlite3.OperationalError())
    assert connecting.has_struck(TimeLimit())


def test_an_interrupt_is_not_lost_when_the_queue_has_retired(tmp_path: Path) -> None:
    """It is raised; what it struck goes into the next queue when it is written again."""
    errors: list[BaseException] = [TimeLimit(), RetiredError()]
    queue = SQLiteJournal(tmp_path / "sagas.db").shared.queue

    def strike(_: object) -> None:
        raise errors.pop(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, "_write", strike)
        with pytest.raises(TimeLimit):
            queue.write([])
    assert not errors


def test_the_thread_that_writes_outlives_what_strikes_it(
    sqlite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under asyncio: what it was to write is settled, and those who wait know; that is logged."""
    logged = threading.Event()
    monkeypatch.setattr(
        "py_api_saga.journal.sql.group_commit.complain", lambda *_, **__: logged.set()
    )
    monkeypatch.setattr(
        RowWriter, "write_together", once(RowWriter.write_together, RuntimeError("no"))
    )

    async def main() -> Create:
        create = Create("x", None, "[1]")
        await sqlite.awrite(create)
        return create

    assert in_time(lambda: asyncio.run(main())).check().number
    assert logged.wait(PATIENCE)


def test_a_callback_that_is_struck_is_made_up_for(
    sqlite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop logs what strikes in one, and nobody hears of it; nobody waits for ever, either."""
    monkeypatch.setattr("py_api_saga.journal.sql.group_commit.ROLL_CALL", 0.01)
    for place, name in ((Batch, "resolve"), (GroupCommit, "wake_thread")):
        strike = once(getattr(place, name), RuntimeError("struck"))
        monkeypatch.setattr(place, name, strike)
    kept: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: kept.append(context))
        await sqlite.awrite(Create("x", None, "[1]"))

    in_time(lambda: asyncio.run(main()))
    assert [str(context["exception"]) for context in kept] == ["struck", "struck"]


def test_a_loop_is_looked_after_as_long_as_something_is_waited_for(
    sqlite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then no timer of it is left."""
    monkeypatch.setattr("py_api_saga.journal.sql.group_commit.ROLL_CALL", 0.001)

    async def main() -> None:
        await sqlite.awrite(Create("x", None, "[1]"))
        watched = sqlite.shared.queue._watched  # noqa: SLF001
        while watched:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.001)

    in_time(lambda: asyncio.run(main()))


def test_a_loop_wakes_nobody_for_what_waits_at_the_gate(tmp_path: Path) -> None:
    """The thread of ours stands there already."""
    woken: list[object] = []
    queue = SQLiteJournal(tmp_path / "sagas.db").shared.queue

    async def main() -> None:
        loop, batch = asyncio.get_running_loop(), Batch(queue)
        batch.shut = True
        queue.unheard.add((batch, loop))
        queue._look_after(loop)  # noqa: SLF001

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, "wake_thread", lambda: woken.append(queue))
        asyncio.run(main())
    assert not woken


def test_a_claim_that_is_over_is_not_given_back_twice(journal: Any) -> None:
    """Nothing is written."""
    run: Any = chain("a")._run(chain("a")._chain(), "x", None, print, journal)  # noqa: SLF001
    run.recorder.give_back(at_once=True)

    assert journal.find("x") is None


def test_a_saga_that_others_have_claimed_is_not_taken_to_give_it_back(
    journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recovery's own is, to be due at once; if somebody is faster, so be it."""
    saga = chain("a", "b")
    depot.behaviour["b"] = depot.fail(ValueError("no"))
    errors: list[BaseException] = [SystemExit(1), SystemExit(2)]

    def strike() -> None:
        if errors:
            raise errors.pop(0)

    depot.behaviour["undo a"] = strike
    with pytest.raises(SystemExit):
        saga.orchestrator_execute(journal=journal, saga_id="x")
    module = sys.modules["py_api_saga.durable.recorder"]
    take = module.Take

    def late(found: Any) -> Any:
        return take(found._replace(epoch=found.epoch - 1))

    monkeypatch.setattr(module, "Take", late)
    (done,) = recover(journal)

    assert done.outcome is SagaStatus.COMPENSATING
    assert seen(journal, "x").due > 0
    assert not journal.drives(seen(journal, "x"))


# --- in what is written for people ----------------------------------------------------------------


def test_a_limit_is_nobody_s_text_nor_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user's own code raises there changes nothing; a limit is raised."""

    class Odd:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def __repr__(self) -> str:
            raise self.error

    assert "cannot be printed" in as_text(Odd(ValueError()))
    with pytest.raises(LIMIT):
        as_text(Odd(LIMIT()))

    class Raising(logging.Filter):
        def __init__(self, error: Exception) -> None:
            super().__init__()
            self.error = error

        def filter(self, _: logging.LogRecord) -> bool:
            raise self.error

    log = logging.getLogger("py_api_saga")
    for error in (ValueError(), LIMIT()):
        monkeypatch.setattr(log, "filters", [Raising(error)])
        if isinstance(error, LIMIT):
            with pytest.raises(LIMIT):
                complain("something")
        else:
            complain("something")


def test_a_limit_in_a_codec_is_an_interrupt(open_journal: Callable[..., Any]) -> None:
    """It says nothing of the value: what was done is undone."""

    class Codec:
        def __init__(self) -> None:
            self.errors: list[Exception] = []

        def encode(self, text: str) -> str:
            """Be struck."""
            if "A" in text and "a" in depot.log and not self.errors:
                self.errors.append(LIMIT())
                raise self.errors[0]
            return text

        def decode(self, text: str) -> str:
            """Give it as it is."""
            return text

    journal = open_journal(codec=Codec())
    with pytest.raises(LIMIT):
        chain("a", "b").orchestrator_execute(journal=journal, saga_id="x")

    assert depot.standing == []
    assert status(journal) is SagaStatus.COMPENSATED
