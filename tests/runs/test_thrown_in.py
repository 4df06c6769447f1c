"""What is thrown in from outside is an interrupt, whatever it is; and one in an undo fails none."""

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

import anyio
import depot
import pytest
from recorded import Wrapped, bodies, chain, seen, status
from thrown import Alarm, TimeLimit, cause_of, made, ours
from world import PATIENCE, Execute, Watch, World, in_time, output_of, steps

from py_api_saga import (
    Event,
    JournalError,
    Retry,
    SagaAssembler,
    SagaStatus,
    SagaStuck,
    recover,
    takeover,
)
from py_api_saga.durable.crew import Crew, _Job
from py_api_saga.durable.recovery import Recovery
from py_api_saga.execution import Execution, IllegalMoveError
from py_api_saga.executors import attempt
from py_api_saga.interrupts import LIMITS, is_limit
from py_api_saga.journal.changes import Append

COMPENSATED, COMPENSATING, COMPLETED, RUNNING, STUCK = (
    SagaStatus.COMPENSATED,
    SagaStatus.COMPENSATING,
    SagaStatus.COMPLETED,
    SagaStatus.RUNNING,
    SagaStatus.STUCK,
)


# --- in our own waits -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TimeLimit, TimeoutError, RuntimeError, OSError])
def test_a_limit_that_strikes_while_threads_are_awaited_undoes_them(
    world: World, kind: type[Exception]
) -> None:
    """What runs is awaited and counts; nothing runs on when it is raised again."""
    gate, limit = threading.Event(), kind()
    saga = steps(world, "stock")
    saga.operation((world.gate, "charge", gate), (world.undo, "charge"), name="charge")

    with Alarm(limit) as alarm:
        alarm.after(lambda: world.wait_for("charge begins"), gate.set)
        with pytest.raises(kind) as caught:
            saga.choreography_execute()

    assert caught.value is limit
    assert world.standing == []
    assert world.log[-1] == "undo stock" or world.log[-1] == "undo charge"


@pytest.mark.parametrize("run", ["orchestrator_execute", "choreography_execute"])
@pytest.mark.parametrize("kind", [TimeLimit, TimeoutError])
def test_a_limit_that_strikes_while_a_retry_waits_ends_the_wait(
    world: World, run: str, kind: type[Exception]
) -> None:
    """No further attempt is made, and what stands is undone."""
    watch, limit = Watch(), kind()
    again = Retry(ValueError, wait_initial=600, wait_max=600)
    saga = steps(world, "stock", observers=[watch])
    saga.operation((world.fail, "charge", ValueError()), name="charge", after="stock", retry=again)

    with Alarm(limit) as alarm:
        alarm.after(lambda: watch.wait_for("attempt failed", "charge"))
        with pytest.raises(kind) as caught:
            getattr(saga, run)()

    assert caught.value is limit
    assert world.log == ["stock", "charge", "undo stock"]


def test_a_second_limit_ends_the_rollback(world: World) -> None:
    """As a second Ctrl-C does: what runs is awaited, and nothing more is undone."""
    gates, first = {"charge": threading.Event(), "undo": threading.Event()}, TimeLimit(1)

    def undo() -> None:
        world.gate("undo charge", gates["undo"])
        world.undo("charge")

    saga = steps(world, "stock")
    saga.operation((world.gate, "charge", gates["charge"]), undo, name="charge", after="stock")

    with Alarm(first, TimeLimit(2)) as alarm:

        def again() -> None:
            gates["charge"].set()
            alarm.after(lambda: world.wait_for("undo charge begins"), gates["undo"].set)

        alarm.after(lambda: world.wait_for("charge begins"), again)
        with pytest.raises(TimeLimit) as caught:
            saga.choreography_execute()

    assert caught.value is first
    assert world.log[-1] == "undo charge"
    assert "stock" in world.standing
    assert cause_of(caught.value, SagaStuck).outcome is STUCK


def test_a_limit_that_strikes_while_a_timed_action_runs_lets_it_end(world: World) -> None:
    """It has its time, in a thread of its own, and counts; then all is undone."""
    gate, limit = threading.Event(), TimeLimit()
    saga = steps(world, "stock")
    saga.operation((world.gate, "charge", gate), (world.undo, "charge"), name="charge", timeout=60)

    with Alarm(limit) as alarm:
        alarm.after(lambda: world.wait_for("charge begins"), gate.set)
        with pytest.raises(TimeLimit):
            saga.orchestrator_execute()

    assert world.log == ["stock", "charge begins", "charge", "undo charge", "undo stock"]


@pytest.mark.parametrize("begun", [False, True])
def test_whether_a_timed_action_has_begun_is_asked_of_its_claim(
    world: World, monkeypatch: pytest.MonkeyPatch, *, begun: bool
) -> None:
    """Not of the class of what struck while its thread was started: here one that a lack has."""
    start = threading.Thread.start
    strikes = [RuntimeError("struck")]

    def strike(thread: threading.Thread) -> None:
        if begun or not strikes:
            start(thread)
        if strikes:
            if begun:
                world.wait_for("a")
            raise strikes.pop()

    monkeypatch.setattr(threading.Thread, "start", strike)
    saga = SagaAssembler.saga().operation((world.do, "a"), (world.undo, "a"), timeout=5)

    with pytest.raises(RuntimeError, match="struck"):
        saga.orchestrator_execute()

    assert world.log == (["a", "undo a"] if begun else [])


def test_what_strikes_while_a_pool_s_thread_is_started_makes_no_call(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised again, and does not count as a failure of the action."""
    struck: list[object] = []

    def strike(thread: threading.Thread) -> None:
        if thread.name == "py_api_saga" and not struck:
            struck.append(thread)
            raise RuntimeError("struck")
        start(thread)

    start = threading.Thread.start
    pool = sys.modules["py_api_saga.executors.choreography"].POOL
    monkeypatch.setattr(threading.Thread, "start", strike)
    monkeypatch.setattr(pool, "_idle", [])

    with pytest.raises(RuntimeError, match="struck"):
        steps(world, "a").choreography_execute()

    assert world.log == []


def test_a_timeout_error_in_a_wait_of_the_loop_is_not_taken_for_its_end(world: World) -> None:
    """Though the wait has a limit of its own."""
    limit = TimeoutError("struck")

    async def main() -> None:
        watch = Watch()
        saga = steps(world, "stock", observers=[watch])
        again = Retry(ValueError, wait_initial=600, wait_max=600)
        saga.operation(
            (world.fail, "charge", ValueError()), name="charge", after="stock", retry=again
        )
        running = asyncio.ensure_future(saga.achoreography_execute())
        while not watch.of("attempt failed"):  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiter = running._fut_waiter  # type: ignore[attr-defined]  # noqa: SLF001
        waiter.set_exception(limit)
        await running

    with pytest.raises(TimeoutError) as caught:
        asyncio.run(main())

    assert caught.value is limit
    assert world.log == ["stock", "charge", "undo stock"]


# --- in an action ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_a_limit_known_by_name_in_an_action_is_an_interrupt(
    execute: Execute, world: World, name: str
) -> None:
    """In doubt, not retried, rolled back, raised again: nothing is imported to know it."""
    limit = made(name)()
    saga = steps(world, "stock")
    saga.operation(
        (world.fail, "charge", limit), (world.undo, "charge"), name="charge", after="stock",
        retry=Retry(Exception, wait_initial=0, wait_jitter=0),
    )  # fmt: skip

    with pytest.raises(type(limit)) as caught:
        execute(saga)

    assert caught.value is limit
    assert world.log == ["stock", "charge", "undo charge", "undo stock"]


@pytest.mark.parametrize(
    "name",
    [
        "billiard.exceptions.SoftTimeLimitExceeded",
        "billiard.exceptions.TimeLimitExceeded",
        "rq.timeouts.BaseTimeoutException",
        "rq.timeouts.JobTimeoutException",
        "dramatiq.middleware.shutdown.Shutdown",
        "dramatiq.middleware.time_limit.TimeLimitExceeded",
        "dramatiq.threading.Interrupt",
    ],
)
def test_the_limits_are_named_as_they_are_today(name: str) -> None:
    """By those who raise them."""
    module, _, short = name.rpartition(".")
    pytest.importorskip(module.partition(".")[0])
    kind = getattr(pytest.importorskip(module), short)

    assert is_limit(kind())
    assert not is_limit(type(short, (Exception,), {"__module__": "shop"})())


def test_limits_of_two_actions_at_once_undo_both(world: World) -> None:
    """The second one is not a second Ctrl-C: nobody has thrown it at the rollback."""
    barrier = threading.Barrier(2)
    kind = made("rq.timeouts.JobTimeoutException")

    def strike(name: str) -> None:
        barrier.wait(PATIENCE)
        world.fail(name, kind(name))

    saga = steps(world, "stock")
    for name in "ab":
        saga.operation((strike, name), (world.undo, name), name=name, after="stock")

    with pytest.raises(kind):
        saga.choreography_execute()

    assert sorted(world.log[3:]) == ["undo a", "undo b", "undo stock"]


def test_a_limit_in_the_function_of_a_retry_is_one(execute: Execute, world: World) -> None:
    """As any other interrupt there."""
    limit = made("huey.exceptions.TaskTimeout")()

    def on(_: Exception) -> bool:
        raise limit

    saga = steps(world, "stock")
    saga.operation(
        (world.fail, "charge", ValueError()), (world.undo, "charge"), after="stock", retry=Retry(on)
    )

    with pytest.raises(type(limit)):
        execute(saga)
    assert world.log == ["stock", "charge", "undo charge", "undo stock"]


def test_what_strikes_beside_a_call_is_no_error_of_it() -> None:
    """Its traceback leads elsewhere; what cannot be called is an error of the call."""

    def action() -> None:
        raise ValueError

    def handler() -> None:
        raise ValueError

    def attempt_of(function: Any, *args: object) -> BaseException:
        try:
            attempt_of.__code__ = attempt_of.__code__.replace(co_name="attempt")
            function(*args)
        except Exception as error:  # noqa: BLE001 - it is looked at
            return error
        raise AssertionError

    attempt_of.__code__ = attempt_of.__code__.replace(co_name="attempt")
    beside = attempt.struck_beside
    assert not beside(attempt_of(action), action)
    assert beside(attempt_of(handler), action)
    assert not beside(attempt_of(action, 1), action)
    assert not beside(attempt_of(int, "x"), int)
    alone = ValueError()
    alone.__traceback__ = attempt_of(int, "x").__traceback__
    assert beside(alone, action)
    assert not beside(ValueError(), action)
    with pytest.raises(ValueError) as elsewhere:  # noqa: PT011 - whatever it says
        handler()
    assert not beside(elsewhere.value, action)


# --- what observers throw -------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [False, True], ids=["in memory", "durable"])
@pytest.mark.parametrize("kind", [SystemExit, pytest.fail.Exception])
def test_an_observer_that_interrupts_each_undo_hears_of_each_once(
    execute: Execute, journal: Any, kind: type[BaseException], *, durable: bool
) -> None:
    """Each is made all the same, and the rollback ends."""
    heard: list[str | None] = []

    def leave(event: Event) -> None:
        if event.kind == "compensating":
            heard.append(event.operation)
            raise kind("stop")

    saga = chain("a", "b", observers=[leave])
    saga.operation(depot.give, name="evil", after="b")
    depot.behaviour["give"] = depot.fail(ValueError("no"))
    options: dict[str, Any] = {"journal": journal, "saga_id": "x"} if durable else {}

    with pytest.raises(kind):
        in_time(lambda: execute(saga, **options))

    assert heard == ["b", "a"]
    assert depot.log == ["a", "b", "undo b", "undo a"]
    if durable:
        assert status(journal) is COMPENSATED
        assert len(bodies(journal, "x")) < 12


def test_an_observer_that_interrupts_a_late_landing_hears_of_it_once(world: World) -> None:
    """It lands all the same."""
    gate, heard = threading.Event(), []

    def leave(event: Event) -> None:
        if event.kind == "landed late":
            heard.append(event.operation)
            raise SystemExit

    def undo() -> None:
        gate.set()
        world.wait_for("a")
        while len(heard) + len(inbox) < 1:
            threading.Event().wait(0.001)

    inbox: list[object] = []
    saga = SagaAssembler.saga(observers=[leave])
    saga.operation((world.do, "first"), undo, name="first")
    saga.operation(
        (world.gate, "a", gate), (world.undo, "a"), name="a", timeout=0.01, after="first"
    )
    put = sys.modules["py_api_saga.executors.inbox"].Inbox.put

    def noted(box: Any, entry: Any) -> bool:
        taken: bool = put(box, entry)
        inbox.append(entry)
        return taken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("py_api_saga.executors.inbox.Inbox.put", noted)
        with pytest.raises(SystemExit):
            in_time(saga.orchestrator_execute)

    assert heard == ["a"]
    assert world.standing == ["first"]  # its undo does nothing


@pytest.mark.parametrize("kind", [TimeLimit, made("rq.timeouts.JobTimeoutException")])
def test_what_an_observer_or_the_log_raises_is_logged_unless_it_is_a_limit(
    world: World, kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """An error of the observer's changes nothing; a time limit is nobody's error."""
    import logging  # noqa: PLC0415 - of this test alone

    def leave(event: Event) -> None:
        if event.kind == "succeeded":
            raise kind

    class Raising(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if "succeeded" in record.getMessage() and "observer" not in record.getMessage():
                raise kind
            return True

    caplog.set_level(logging.DEBUG, "py_api_saga")
    name = f"{kind.__module__}.{kind.__name__}"
    log = logging.getLogger("py_api_saga")
    for watched in (True, False):
        saga = steps(world, "a", observers=[leave] if watched else [])
        strange = Raising()
        if not watched:
            log.addFilter(strange)
        try:
            if name in LIMITS:
                with pytest.raises(kind):
                    saga.orchestrator_execute()
            else:
                assert saga.orchestrator_execute() == ["A"]
        finally:
            log.removeFilter(strange)


# --- defects of ours ------------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [False, True], ids=["in memory", "durable"])
@pytest.mark.parametrize("kind", [IllegalMoveError, AssertionError])
def test_a_defect_of_ours_leaves_the_saga(
    execute: Execute,
    journal: Any,
    kind: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
    *,
    durable: bool,
) -> None:
    """Nothing more is called, and it is raised; the saga is open in its journal, or stuck."""
    saga = chain("a", "b", "c")
    options: dict[str, Any] = {"journal": journal, "saga_id": "x"} if durable else {}

    def break_it() -> None:
        for verb in ("tell", "go_on"):
            monkeypatch.setattr(Execution, verb, ours(kind))

    depot.behaviour["b"] = break_it

    with pytest.raises(kind, match="a defect") as caught:
        in_time(lambda: execute(saga, **options))

    monkeypatch.undo()
    assert depot.log == ["a", "b"]
    if durable:
        assert cause_of(caught.value, JournalError) is not None
        assert "open in its journal" in caught.value.__notes__[0]
        assert status(journal) is RUNNING
        depot.behaviour.clear()
        assert [done.outcome for done in recover(journal)] == [COMPLETED]
    else:
        assert cause_of(caught.value, SagaStuck).outcome is STUCK
        assert "is stuck" in caught.value.__notes__[0]


def test_a_defect_of_ours_waits_for_what_runs(
    execute_graph: Execute, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another process would make the same call beside it."""
    gate = threading.Event()
    tell = Execution.tell

    def broken(execution: Execution, entry: Any) -> None:
        if entry[0] == "succeeded":
            threading.Timer(0.02, gate.set).start()
            ours(AssertionError)()
        tell(execution, entry)

    monkeypatch.setattr(Execution, "tell", broken)
    saga = SagaAssembler.saga()
    saga.operation((world.gate, "a", gate), name="a")
    saga.operation(lambda: world.wait_for("a begins"), name="b")
    saga.operation((world.do, "c"), name="c", after="b")

    with pytest.raises(AssertionError, match="a defect"):
        in_time(lambda: execute_graph(saga))

    assert world.log == ["a begins", "a"]


def test_a_defect_in_a_thread_of_ours_leaves_the_saga(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread says so to whoever drives the saga."""
    monkeypatch.setattr(
        sys.modules["py_api_saga.executors.attempt"], "attempt", ours(AssertionError)
    )

    with pytest.raises(AssertionError, match="a defect"):
        in_time(steps(world, "a", "b").choreography_execute)

    assert world.log == []


def test_an_assertion_that_is_not_ours_is_an_interrupt(execute: Execute, world: World) -> None:
    """A signal handler may assert something, too."""

    def handler() -> None:
        raise AssertionError("theirs")

    struck: list[object] = []
    saga = steps(world, "a", "b", observers=[Watch()])
    run = sys.modules["py_api_saga.executors.run"].Run
    start = run.start

    def strike(self: Any) -> Any:
        if "a" in world.log and not struck:
            struck.append(self)
            handler()
        return start(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "start", strike)
        with pytest.raises(AssertionError, match="theirs"):
            in_time(lambda: execute(saga))

    assert world.standing == []


# --- in recovery ----------------------------------------------------------------------------------


def also_coroutines() -> SagaAssembler:
    """Make a saga that is driven in a loop."""
    saga = SagaAssembler.saga(name="depot")
    return saga.operation((depot.ado, "a"), (depot.aundo, "a"), name="a").operation(
        (depot.ado, "b"), (depot.aundo, "b"), name="b", after="a"
    )


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("at_once", [False, True], ids=["a chain", "at once"])
@pytest.mark.parametrize(
    "make", [lambda: chain("a", "b"), also_coroutines], ids=["functions", "coroutines"]
)
def test_what_strikes_a_recovered_saga_between_two_lines_lets_it_go(
    journal: Any,
    make: Callable[[], SagaAssembler],
    monkeypatch: pytest.MonkeyPatch,
    *,
    at_once: bool,
    workers: int,
) -> None:
    """Its try counts, and nothing is undone; the others of its batch go on."""
    for number in range(3):
        make().start(journal=journal, saga_id=f"x{number}", at_once=at_once)
    run = sys.modules["py_api_saga.executors.run"].Run
    start = run.start
    struck: list[object] = []

    def strike(self: Any) -> Any:
        if self.saga_id == "x0" and self.execution.results[0] == "A" and not struck:
            struck.append(self)
            raise TimeLimit
        return start(self)

    monkeypatch.setattr(run, "start", strike)
    done = recover(journal, max_workers=workers)

    assert [one.outcome for one in done] == [RUNNING, COMPLETED, COMPLETED]
    assert isinstance(done[0].error, TimeLimit)
    assert not [line for line in depot.log if line.startswith("undo")]
    left = seen(journal, "x0")
    assert (left.tries, left.owner) == (1, left.owner)
    assert not journal.drives(left)
    assert takeover(journal, "x0").outcome is COMPLETED


def test_a_limit_while_a_recovered_saga_is_read_does_not_park_it(
    journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing of the saga."""
    chain("a").start(journal=journal, saga_id="x")
    limit = made("rq.timeouts.JobTimeoutException")

    def strike(*_: object) -> None:
        raise limit

    monkeypatch.setattr("py_api_saga.durable.recovery.taken", strike)
    (done,) = recover(journal)

    assert done.outcome is RUNNING
    assert isinstance(done.error, limit)
    assert status(journal) is RUNNING


@pytest.mark.parametrize("settled", [False, True])
def test_what_strikes_a_write_for_several_sagas_lets_one_of_them_go(
    journal: Any, *, settled: bool
) -> None:
    """The others are written again, if they have not been written already."""
    for number in range(3):
        chain("a").start(journal=journal, saga_id=f"x{number}")
    struck: list[int] = []

    class Raising(Wrapped):
        def write(self, *changes: Any) -> None:
            """Be struck before all is written, or after that."""
            strikes = isinstance(changes[0], Append) and not struck
            if settled or not strikes:
                self._journal.write(*changes)
            if strikes:
                struck.append(len(changes))
                raise TimeLimit

    recovery = Recovery(Raising(journal))
    recovery.batch = 3
    claimed = [recovery.next() for _ in range(3)]
    waiting = [recovery._steps(*one) for one in claimed if one is not None]  # noqa: SLF001
    crew = Crew(recovery.journal, lambda: waiting.pop() if waiting else None)
    jobs = [_Job(turns) for turns in waiting[::-1]]
    waiting.clear()
    for job in jobs:
        job.change = job.context.run(next, job.steps)
    crew._jobs = len(jobs)  # noqa: SLF001
    crew._write_for(jobs)  # noqa: SLF001
    crew.work()
    while crew._jobs:  # noqa: SLF001
        crew.work()

    outcomes = {done.saga_id: done.outcome for done in recovery.results}
    assert sorted(outcomes.values(), key=str) == [COMPLETED, COMPLETED, RUNNING]
    assert struck == [3]


# --- in a compensation, with a journal ------------------------------------------------------------

GATED = threading.Event()


def failing(*, graph: bool = False, **options: Any) -> SagaAssembler:
    """Make a saga whose last operation fails, when two branches are to be undone."""
    saga = SagaAssembler.saga(name="depot")
    saga.operation((depot.do, "a"), (depot.undo, "a"), name="a")
    after = "a" if graph else ()
    saga.operation((depot.do, "b"), (depot.undo, "b"), name="b", after="a", **options)
    saga.operation((depot.do, "c"), (depot.undo, "c"), name="c", after=after)
    return saga.operation((depot.do, "d"), name="d", after=["b", "c"])


def strikes(error: BaseException, *others: BaseException) -> Callable[[], None]:
    """Make a behaviour that raises each of these once."""
    errors = [error, *others]

    def strike() -> None:
        if errors:
            raise errors.pop(0)

    return strike


@pytest.mark.parametrize("options", [{}, {"timeout": 9}], ids=["plain", "timed"])
@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, made("billiard.exceptions.SoftTimeLimitExceeded")]
)
def test_an_interrupted_compensation_waits_in_the_journal(
    execute: Execute, journal: Any, kind: type[BaseException], options: dict[str, Any]
) -> None:
    """With what it was built on; the rest is undone, and whoever comes next makes it again."""
    graph = "choreography" in execute.__name__
    depot.behaviour["d"] = depot.fail(ValueError("no"))
    depot.behaviour["undo b"] = strikes(kind("stop"))

    with pytest.raises(kind) as caught:
        execute(failing(graph=graph, **options), journal=journal, saga_id="x")

    undone = [line for line in depot.log if line.startswith("undo")]
    assert sorted(undone) == ["undo b", "undo c"]
    assert any("open in its journal" in note for note in caught.value.__notes__)
    assert (cause_of(caught.value, JournalError) is not None) is isinstance(caught.value, Exception)
    left = seen(journal, "x")
    assert (left.status, left.owner, left.due) == (COMPENSATING, 0, 0.0)
    keys, depot.keys[:] = list(depot.keys), []

    (done,) = recover(journal)

    assert done.outcome is COMPENSATED
    assert depot.log[-2:] == ["undo b", "undo a"]
    assert depot.keys[0] in keys
    assert depot.standing == []


def test_a_call_by_the_same_id_makes_an_interrupted_compensation_again(
    execute: Execute, journal: Any
) -> None:
    """At once, though the process that left it lives."""
    depot.behaviour["d"] = depot.fail(ValueError("no"))
    depot.behaviour["undo b"] = strikes(SystemExit(1))
    with pytest.raises(SystemExit):
        execute(failing(graph=True), journal=journal, saga_id="x")

    with pytest.raises(Exception, match="'d' failed"):
        execute(failing(graph=True), journal=journal, saga_id="x")

    assert status(journal) is COMPENSATED
    assert depot.standing == []


@pytest.mark.parametrize("make", [failing, lambda: failing(graph=True)], ids=["a chain", "a graph"])
@pytest.mark.parametrize("kind", [SystemExit, made("rq.timeouts.JobTimeoutException")])
def test_recovery_s_own_rollback_that_is_interrupted_may_be_taken_at_once(
    journal: Any, make: Callable[[], SagaAssembler], kind: type[BaseException]
) -> None:
    """Its try counts, so that what kills each process is parked in the end."""
    depot.behaviour["d"] = depot.fail(ValueError("no"))
    depot.behaviour["undo b"] = strikes(SystemExit(1), kind("again"))
    with pytest.raises(SystemExit):
        make().orchestrator_execute(journal=journal, saga_id="x")

    (first,) = recover(journal)
    assert (first.outcome, type(first.error)) == (COMPENSATING, kind)
    left = seen(journal, "x")
    assert (left.tries, left.due, journal.drives(left)) == (1, 0.0, False)

    (second,) = recover(journal)
    assert second.outcome is COMPENSATED
    assert depot.standing == []


def test_an_interrupted_compensation_of_a_coroutine_waits_in_the_journal(
    execute_async: Execute, journal: Any
) -> None:
    """Cancelled by itself, say."""
    saga = also_coroutines()
    saga.operation((depot.ado, "c"), name="c", after="b")
    depot.behaviour["c"] = depot.fail(ValueError("no"))
    depot.behaviour["undo b"] = strikes(asyncio.CancelledError())

    with pytest.raises(asyncio.CancelledError):
        execute_async(saga, journal=journal, saga_id="x")

    assert depot.standing == ["a"]
    assert seen(journal, "x").owner == 0
    assert [done.outcome for done in recover(journal)] == [COMPENSATED]


def test_a_journal_that_fails_meanwhile_is_left_as_always(journal: Any) -> None:
    """The interrupt is raised all the same."""
    depot.behaviour["d"] = depot.fail(ValueError("no"))
    depot.behaviour["undo b"] = strikes(SystemExit(1))

    class Failing(Wrapped):
        def find(self, saga_id: str) -> Any:
            """Be away."""
            raise JournalError(saga_id)

    with pytest.raises(SystemExit):
        failing().orchestrator_execute(journal=Failing(journal), saga_id="x")

    assert [done.outcome for done in recover(journal)] == [COMPENSATED]


@pytest.mark.parametrize("run", ["orchestrator_execute()", "choreography_execute()"])
def test_a_server_s_timeout_in_a_refund_is_no_failure_of_it(run: str) -> None:
    """Gunicorn kills a worker that is late with SIGABRT, whose handler raises SystemExit."""
    code = """
    import os, signal, sys
    from py_api_saga import SagaAssembler, SagaException

    signal.signal(signal.SIGABRT, lambda *_: sys.exit(1))
    log = []

    def refund():
        log.append("refund begins")
        if log.count("refund begins") == 1:
            os.kill(os.getpid(), signal.SIGABRT)
        log.append("refund ends")

    def courier():
        raise ValueError

    saga = (SagaAssembler.saga()
        .operation((log.append, "charge"), refund, name="charge")
        .operation(courier, after="charge"))
    try:
        saga.{run}
    except SystemExit as error:
        print(error.code, log)
    """
    begun = ["charge", "refund begins", "refund begins", "refund ends"]
    alone = ["charge", "refund begins", "refund ends"]
    (line,) = output_of(code.replace("{run}", run))
    # in a choreography the handler runs in the main thread, which waits for that of the refund
    assert line == f"1 {begun if run.startswith('orch') else alone}"


# --- a cancellation that an action swallows -------------------------------------------------------


def swallowing(world: World, ends: Callable[[], Any]) -> Callable[[], Any]:
    """Make an action that is cancelled, and goes on."""

    async def charge() -> Any:
        world.note("charge begins")
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            world.note("swallowed")
        world.do("charge")
        return ends()

    return charge


def cancelled(execute_async: Execute, saga: SagaAssembler, world: World) -> None:
    """Run a saga in a task that is cancelled in its action."""

    async def main() -> None:
        running = asyncio.ensure_future(getattr(saga, execute_async.__name__)())
        while "charge begins" not in world.log:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0)
        running.cancel()
        await running

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


@pytest.mark.parametrize("is_last", [True, False])
def test_a_cancellation_that_an_action_swallows_ends_the_saga(
    world: World, *, is_last: bool
) -> None:
    """What it did counts, and is undone."""
    saga = steps(world, "stock")
    saga.operation(swallowing(world, str), (world.undo, "charge"), name="charge")
    if not is_last:
        saga.operation((world.do, "courier"), name="courier")

    cancelled(saga.aorchestrator_execute, saga, world)

    assert world.log == [
        "stock",
        "charge begins",
        "swallowed",
        "charge",
        "undo charge",
        "undo stock",
    ]


def test_a_cancellation_that_an_action_makes_an_error_of_ends_the_saga(world: World) -> None:
    """It is not retried, and the cancellation is raised."""
    saga = steps(world, "stock")
    charge = swallowing(world, depot.fail(ValueError("cancelled")))
    again = Retry(ValueError, wait_initial=0, wait_jitter=0)
    saga.operation(charge, (world.undo, "charge"), name="charge", retry=again)

    cancelled(saga.aorchestrator_execute, saga, world)

    assert world.log == ["stock", "charge begins", "swallowed", "charge", "undo stock"]


def test_a_scope_of_the_action_s_own_cancels_nothing_else(world: World) -> None:
    """Of asyncio or of anyio: it gives its cancellations back when it is left."""

    async def charge() -> str:
        with anyio.move_on_after(0.001):
            await asyncio.sleep(PATIENCE)
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(PATIENCE)
        except TimeoutError:
            pass
        return world.do("charge")

    saga = steps(world, "stock").operation(charge).operation((world.do, "courier"))

    assert asyncio.run(saga.aorchestrator_execute()) == ["STOCK", "CHARGE", "COURIER"]


@pytest.mark.parametrize("child", [True, False])
def test_a_group_of_tasks_that_fails_in_an_action_cancels_nothing_else(
    world: World, *, child: bool
) -> None:
    """It cancels its own task, whether that waits for it or is still in it."""

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError

    async def charge() -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
                if not child:
                    await asyncio.sleep(PATIENCE)
        except* ValueError:
            pass
        return world.do("charge")

    async def inner() -> Any:
        saga = SagaAssembler.saga().operation(charge)
        return await saga.operation((world.do, "inner")).aorchestrator_execute()

    saga = steps(world, "stock").operation(inner).operation(charge).operation((world.do, "last"))
    results = asyncio.run(saga.aorchestrator_execute())

    assert results == ["STOCK", ["CHARGE", "INNER"], "CHARGE", "LAST"]


@pytest.mark.parametrize("outer", ["timeout", "anyio", "group"])
def test_an_outer_scope_that_an_action_defies_gets_its_way(world: World, outer: str) -> None:
    """The saga is undone, and the scope knows its own cancellation."""
    saga = steps(world, "stock").operation(swallowing(world, str), (world.undo, "charge"))
    saga.operation((world.do, "courier"))

    async def main() -> None:
        if outer == "timeout":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await saga.aorchestrator_execute()
        elif outer == "anyio":
            with anyio.move_on_after(0.01):
                await saga.aorchestrator_execute()
        else:

            async def fails() -> None:
                await asyncio.sleep(0.01)
                raise ValueError

            with pytest.raises(ExceptionGroup):  # noqa: PT012 - a block of a block
                async with asyncio.TaskGroup() as group:
                    group.create_task(fails())
                    await saga.aorchestrator_execute()

    asyncio.run(main())

    assert world.standing == []
    assert "courier" not in world.log


def test_a_saga_in_a_task_that_was_cancelled_before_runs(world: World) -> None:
    """In a `finally`, say: only what comes while it runs is its own."""

    async def main() -> Any:
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            assert await steps(world, "stock", "charge").aorchestrator_execute() == [
                "STOCK",
                "CHARGE",
            ]

    async def outer() -> None:
        task = asyncio.ensure_future(main())
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(outer())
    assert world.standing == ["stock", "charge"]
