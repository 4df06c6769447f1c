"""Ctrl-C and its like: everything is undone first, then they are raised again, unwrapped."""

import asyncio
import random
import signal
import sys
import threading
import time
from typing import Any

import pytest
from world import PATIENCE, Execute, Script, Watch, World, in_time, output_of, script, steps

from py_api_saga import (
    Event,
    Retry,
    SagaAssembler,
    SagaStatus,
    current_operation,
    happened,
    result_of,
)

AT_ONCE = Retry(Exception, attempts=3, wait_initial=0, wait_jitter=0)


class Stop(BaseException):
    """Somebody's own interrupt."""


INTERRUPTS = [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, Stop]


def interrupted(execute: Execute, saga: SagaAssembler, kind: type[BaseException]) -> BaseException:
    """Run a saga that must raise an interrupt, and give it."""
    with pytest.raises(kind) as caught:
        execute(saga)
    return caught.value


def same(raised: BaseException, interrupt: BaseException) -> bool:
    """Tell whether it is the very interrupt; asyncio makes a new CancelledError of each."""
    return raised is interrupt or isinstance(interrupt, asyncio.CancelledError)


# --- raised by an action --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", INTERRUPTS)
def test_an_interrupted_action_is_undone_itself(
    execute: Execute, world: World, kind: type[BaseException]
) -> None:
    """Nobody knows whether it happened: its own compensation runs, then those before it."""
    interrupt = kind("stop")
    saga = steps(world, "stock")
    saga.operation(
        (world.fail, "charge", interrupt), (world.undo, "charge"), name="charge", after="stock"
    )
    saga.operation((world.do, "courier"), name="courier", after="charge")

    raised = interrupted(execute, saga, kind)

    assert world.log == ["stock", "charge", "undo charge", "undo stock"]
    assert same(raised, interrupt)
    assert raised.args == ("stop",)


@pytest.mark.parametrize("kind", INTERRUPTS)
def test_an_interrupted_coroutine_is_undone_itself(
    execute_async: Execute, world: World, kind: type[BaseException]
) -> None:
    """The same."""

    async def charge() -> None:
        await asyncio.sleep(0)
        world.fail("charge", kind("stop"))

    saga = steps(world, "stock").operation(charge, (world.undo, "charge"), after="stock")

    interrupted(execute_async, saga, kind)

    assert world.log == ["stock", "charge", "undo charge", "undo stock"]


def test_an_interrupt_is_not_retried(execute: Execute, world: World) -> None:
    """Whoever wants to stop does not want to be asked again."""
    saga = SagaAssembler.saga(3)
    saga.operation((world.fail, "charge", KeyboardInterrupt()), (world.undo, "charge"))

    interrupted(execute, saga, KeyboardInterrupt)

    assert world.log == ["charge", "undo charge"]


def test_an_interrupt_is_raised_from_nothing(execute: Execute, world: World) -> None:
    """It is what the caller gets, not wrapped and without a cause."""
    interrupt = KeyboardInterrupt()
    saga = steps(world, "stock").operation((world.fail, "charge", interrupt), after="stock")

    raised = interrupted(execute, saga, KeyboardInterrupt)

    assert raised is interrupt
    assert raised.__cause__ is None


def test_an_interrupted_action_is_asked_about(execute: Execute, world: World) -> None:
    """It is in doubt like any other."""
    saga = steps(world, "stock")
    saga.operation(
        (world.fail, "charge", KeyboardInterrupt()), (world.undo, result_of()), name="charge",
        after="stock", on_doubt=lambda *_: happened("the charge"),
    )  # fmt: skip

    interrupted(execute, saga, KeyboardInterrupt)

    assert world.log == ["stock", "charge", "undo the charge", "undo stock"]


def test_what_runs_beside_an_interrupt_is_awaited_and_undone(
    execute_graph: Execute, world: World
) -> None:
    """Its result counts, and nothing more is started."""
    opened = threading.Event()

    def stop() -> None:
        world.wait_for("stock begins")
        threading.Timer(0.03, opened.set).start()
        raise KeyboardInterrupt

    saga = SagaAssembler.saga()
    saga.operation((world.gate, "stock", opened), (world.undo, result_of()), name="stock")
    saga.operation(stop, name="charge")
    saga.operation((world.do, "courier"), name="courier", after="stock")

    interrupted(execute_graph, saga, KeyboardInterrupt)

    assert world.log == ["stock begins", "stock", "undo STOCK"]


def test_an_interrupt_beats_a_failure(execute_graph: Execute, world: World) -> None:
    """If one operation fails and another is interrupted, the interrupt is what is raised."""
    barrier = threading.Barrier(2)

    def meet(error: BaseException) -> None:
        barrier.wait(PATIENCE)
        raise error

    saga = SagaAssembler.saga()
    saga.operation((meet, ValueError()), name="a")
    saga.operation((meet, SystemExit(3)), (world.undo, "b"), name="b")

    assert interrupted(execute_graph, saga, SystemExit).args == (3,)
    assert world.log == ["undo b"]


def test_a_nested_saga_is_undone_before_its_parent(execute: Execute, world: World) -> None:
    """Each level undoes what is its own."""

    def order() -> None:
        inner = steps(world, "inner")
        inner.operation((world.fail, "pay", KeyboardInterrupt()), (world.undo, "pay"))
        inner.orchestrator_execute()

    saga = steps(world, "stock").operation(order, (world.undo, "order"), after="stock")

    interrupted(execute, saga, KeyboardInterrupt)

    assert world.log == [
        "stock", "inner", "pay", "undo pay", "undo inner", "undo order", "undo stock",
    ]  # fmt: skip


def test_an_interrupt_in_time_is_an_interrupt(execute: Execute, world: World) -> None:
    """Also in the thread that an operation with a timeout has for itself."""
    saga = steps(world, "stock")
    saga.operation(
        (world.fail, "charge", SystemExit()), (world.undo, "charge"), after="stock", timeout=5
    )

    interrupted(execute, saga, SystemExit)

    assert world.log == ["stock", "charge", "undo charge", "undo stock"]


# --- raised by what else the user gives -----------------------------------------------------------


class Interrupting:
    """A compensation that is struck so many times before it takes its effect back."""

    def __init__(self, world: World, *interrupts: BaseException) -> None:
        self.world = world
        self.interrupts = list(interrupts)
        self.keys: list[str] = []

    def __call__(self, name: str) -> str:
        """Undo it, unless it is struck."""
        self.keys.append(current_operation().idempotency_key)
        if self.interrupts:
            self.world.fail(f"undo {name} begins", self.interrupts.pop(0))
        return self.world.undo(name)


@pytest.mark.parametrize("kind", INTERRUPTS)
def test_an_interrupted_compensation_is_made_once_more(
    execute: Execute, world: World, kind: type[BaseException]
) -> None:
    """In its place in the order, under the same key; then the rest is undone, and it is raised."""
    watch, undo = Watch(), Interrupting(world, kind("stop"))
    saga = steps(world, "order", observers=[watch])
    saga.operation((world.do, "stock"), (undo, "stock"), name="stock", after="order")
    saga.operation((world.do, "label"), (world.undo, "label"), name="label", after="stock")
    saga.operation((world.fail, "charge", ValueError()), after="label")

    raised = interrupted(execute, saga, kind)

    assert raised.args == ("stop",)
    assert world.log[-4:] == ["undo label", "undo stock begins", "undo stock", "undo order"]
    assert len(set(undo.keys)) == 1
    assert watch.of("stuck") == []
    assert watch.events[-1].outcome is SagaStatus.COMPENSATED


@pytest.mark.parametrize("second", [SystemExit(2), ValueError("no")], ids=["struck", "fails"])
def test_a_compensation_that_is_interrupted_and_not_made_then_is_stuck(
    execute: Execute, world: World, second: BaseException
) -> None:
    """The rest goes on, and the first interrupt is raised."""
    first, watch = SystemExit(1), Watch()
    undo = Interrupting(world, first, second)
    saga = steps(world, "order", observers=[watch])
    saga.operation((world.do, "stock"), (undo, "stock"), name="stock", after="order")
    saga.operation((world.fail, "charge", ValueError()), after="stock")

    raised = interrupted(execute, saga, SystemExit)

    assert raised is first
    assert world.log[-3:] == ["undo stock begins", "undo stock begins", "undo order"]
    assert [event.operation for event in watch.of("stuck")] == ["stock"]
    assert watch.events[-1].outcome is SagaStatus.STUCK


def test_a_second_interrupt_ends_the_rollback(execute_chain: Execute, world: World) -> None:
    """Whoever presses Ctrl-C again does not want to wait; what is left over is named as stuck."""
    watch = Watch()
    saga = steps(world, "order", observers=[watch])
    saga.operation(
        (world.do, "stock"), (world.fail, "undo stock", KeyboardInterrupt(2)), after="order"
    )
    first = KeyboardInterrupt(1)
    saga.operation((world.fail, "charge", first), (world.undo, "charge"), after="do")

    raised = interrupted(execute_chain, saga, KeyboardInterrupt)

    assert raised is first
    assert world.log == ["order", "stock", "charge", "undo charge", "undo stock"]
    assert world.standing == ["order", "stock"]
    assert watch.events[-1].outcome is SagaStatus.STUCK


def test_a_second_interrupt_of_another_kind_does_not(execute: Execute, world: World) -> None:
    """Only Ctrl-C is a person who is pressing."""
    saga = steps(world, "order")
    undo = Interrupting(world, SystemExit(2))
    saga.operation((world.do, "stock"), (undo, "stock"), name="stock", after="order")
    saga.operation((world.fail, "charge", SystemExit(1)), (world.undo, "charge"), after="stock")

    raised = interrupted(execute, saga, SystemExit)

    assert raised.args == (1,)
    expected = ["undo charge", "undo stock begins", "undo stock", "undo order"]
    assert world.log[-4:] == expected


def test_an_interrupted_question_is_no_answer(execute: Execute, world: World) -> None:
    """The operation is compensated, and the interrupt is raised."""

    def ask() -> Any:
        raise KeyboardInterrupt

    def charge() -> None:
        world.do("charge")
        raise TimeoutError

    saga = steps(world, "stock")
    saga.operation(charge, (world.undo, "charge"), after="stock", on_doubt=ask)

    interrupted(execute, saga, KeyboardInterrupt)

    assert world.log == ["stock", "charge", "undo charge", "undo stock"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, Stop])
def test_an_interrupt_in_the_function_of_a_retry_is_one(
    execute_sync: Execute, world: World, kind: type[BaseException]
) -> None:
    """It decides about an attempt that has failed; the interrupt is not lost in a thread."""

    def on(_: Exception) -> bool:
        raise kind

    saga = steps(world, "stock")
    saga.operation(
        (world.fail, "charge", ValueError()), (world.undo, "charge"), name="charge",
        after="stock", retry=Retry(on),
    )  # fmt: skip

    def run() -> None:
        interrupted(execute_sync, saga, kind)

    in_time(run)
    assert world.log[:2] == ["stock", "charge"]
    assert world.log[-1] == "undo stock"


@pytest.mark.parametrize("is_async", [False, True], ids=["function", "coroutine"])
def test_an_interrupt_in_the_function_of_a_retry_is_one_under_asyncio(
    execute_async: Execute, world: World, *, is_async: bool
) -> None:
    """The same, in the thread of a function and in the task of a coroutine."""

    def on(_: Exception) -> bool:
        raise Stop

    async def later() -> None:
        world.fail("charge", ValueError())

    saga = steps(world, "stock")
    charge: Any = later if is_async else (world.fail, "charge", ValueError())
    saga.operation(charge, (world.undo, "charge"), name="charge", after="stock", retry=Retry(on))

    in_time(lambda: interrupted(execute_async, saga, Stop), 3)
    assert world.log[:2] == ["stock", "charge"]
    assert world.log[-1] == "undo stock"


class Striking:
    """A reason in an error that strikes whoever looks at it: there, in the middle of our lines."""

    def __init__(self, interrupt: BaseException) -> None:
        self.interrupt = interrupt

    @property
    def reason(self) -> str:
        """Say why."""
        raise self.interrupt


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, Stop])
def test_an_interrupt_while_an_error_is_judged_loses_nothing(
    execute: Execute, world: World, kind: type[BaseException]
) -> None:
    """The action has ended, what it means is not yet told: it is in doubt."""
    saga = steps(world, "stock")
    error = TimeoutError(Striking(kind("struck")))
    saga.operation((world.fail, "charge", error), (world.undo, "charge"), after="stock")

    in_time(lambda: interrupted(execute, saga, kind), 3)

    assert world.log == ["stock", "charge", "undo charge", "undo stock"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, Stop])
def test_an_interrupt_while_a_coroutine_s_error_is_judged_loses_nothing(
    execute_async: Execute, world: World, kind: type[BaseException]
) -> None:
    """The same, in the task of a coroutine."""

    async def charge() -> None:
        await asyncio.sleep(0)
        world.fail("charge", TimeoutError(Striking(kind("struck"))))

    saga = steps(world, "stock").operation(charge, (world.undo, "charge"), after="stock")

    in_time(lambda: interrupted(execute_async, saga, kind), 3)

    assert world.log == ["stock", "charge", "undo charge", "undo stock"]


# --- between two lines of ours --------------------------------------------------------------------


class Strike:
    """An observer in which a signal strikes: as between two lines of the thread that drives."""

    def __init__(self, number: int, interrupt: BaseException) -> None:
        self.left = number
        self.interrupt = interrupt
        self.kinds: list[str] = []

    def __call__(self, event: Event) -> None:
        """Count the events, and strike."""
        self.kinds.append(event.kind)
        self.left -= 1
        if self.left == 0:
            raise self.interrupt


@pytest.mark.parametrize("event", range(1, 8))
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, Stop])
def test_an_interrupt_between_two_lines_leaves_nothing(
    execute: Execute, world: World, event: int, kind: type[BaseException]
) -> None:
    """Wherever it strikes while operations are started and succeed, all of them are undone."""
    strike = Strike(event, kind("struck"))
    saga = steps(world, "a", "b", "c", observers=[strike])

    raised = in_time(lambda: interrupted(execute, saga, kind))

    assert raised is strike.interrupt
    assert world.standing == (["a", "b", "c"] if event == 7 else [])
    assert (
        strike.kinds[event - 1]
        == ["saga started", *["operation started", "succeeded"] * 3][event - 1]
    )


@pytest.mark.parametrize("event", range(7, 13))
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_between_two_lines_of_a_rollback_leaves_nothing(
    execute: Execute, world: World, event: int, kind: type[BaseException]
) -> None:
    """A compensation that was about to start, or has just ended, is made all the same."""
    strike = Strike(event, kind("struck"))
    saga = steps(world, "a", "b", observers=[strike])
    saga.operation((world.fail, "c", ValueError()), after="b")

    raised = in_time(lambda: interrupted(execute, saga, kind))

    assert raised is strike.interrupt
    assert world.standing == []


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_while_a_straggler_is_noted_does_not_lose_it(
    execute: Execute, world: World, kind: type[BaseException]
) -> None:
    """The attempt that was given up may still land, and is undone then."""
    gate = threading.Event()

    def strike(event: Event) -> None:
        if event.kind == "in doubt":
            raise kind

    saga = SagaAssembler.saga(observers=[strike])
    saga.operation(
        (world.gate, "charge", gate), (world.undo, "charge"), name="charge", timeout=0.05
    )

    interrupted(execute, saga, kind)
    gate.set()

    world.wait_for("undo charge", 2)
    assert world.log == ["charge begins", "undo charge", "charge", "undo charge"]
    assert world.standing == []


# --- real signals ---------------------------------------------------------------------------------

HEAD = """
import asyncio, signal, sys, threading, time
from py_api_saga import Retry, SagaAssembler, SagaException

def say(*words):  # in one piece, whichever threads speak at the same time
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()

def pause(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.05)  # one long sleep can miss a signal just before it

def sleep(name="charge", seconds=30):
    say(name, "begins")
    pause(seconds)
    say(name, "ends")

def hear(name="charge"):
    say(name, "begins")
    assert sys.stdin.readline()
    say(name, "ends")
"""


def program(saga: str, run: str) -> str:
    """Make a program that runs a saga and says how it ended."""
    return f"""{HEAD}
{saga}
try:
    saga.{run}
except BaseException as error:
    say(type(error).__name__)
say("threads:", [t.name for t in threading.enumerate() if t.name.startswith("saga ")])
"""


def test_ctrl_c_while_an_action_sleeps() -> None:
    """The action is interrupted; it and those before it are undone at once."""
    saga = """saga = (SagaAssembler.saga()
        .operation((say, "stock"), (say, "undo stock"))
        .operation(sleep, (say, "undo charge"))
        .operation((say, "courier")))"""
    with script(program(saga, "orchestrator_execute()")) as running:
        running.hear("stock")
        running.hear("charge begins")
        running.interrupt()
        assert running.end() == ["undo charge", "undo stock", "KeyboardInterrupt", "threads: []"]


def test_ctrl_c_while_a_choreography_waits() -> None:
    """What runs in threads is awaited and counts; then all is undone."""
    saga = """saga = (SagaAssembler.saga()
        .operation(hear, (say, "undo charge"), name="charge")
        .operation((say, "courier"), after="charge"))"""
    with script(program(saga, "choreography_execute()")) as running:
        running.hear("charge begins")
        running.interrupt()
        time.sleep(0.05)
        running.say("go on")
        expected = ["charge ends", "undo charge", "KeyboardInterrupt", "threads: []"]
        assert running.end() == expected


@pytest.mark.parametrize("run", ["orchestrator_execute()", "choreography_execute()"])
def test_ctrl_c_while_a_retry_waits(run: str) -> None:
    """The wait is over at once."""
    saga = """
def fail():
    say("fails")
    raise ValueError

saga = (SagaAssembler.saga()
    .operation((say, "stock"), (say, "undo stock"), name="stock")
    .operation(fail, after="stock", retry=Retry(ValueError, wait_initial=60, wait_max=60)))"""
    with script(program(saga, run)) as running:
        running.hear("stock")
        running.hear("fails")
        time.sleep(0.05)
        running.interrupt()
        assert running.end() == ["undo stock", "KeyboardInterrupt", "threads: []"]


@pytest.mark.parametrize("run", ["orchestrator_execute()", "choreography_execute()"])
def test_ctrl_c_while_an_action_with_a_timeout_runs(run: str) -> None:
    """The attempt has its time; if it ends in time its outcome counts."""
    saga = """saga = (SagaAssembler.saga()
        .operation(hear, (say, "undo charge"), name="charge", timeout=20)
        .operation((say, "courier"), after="charge"))"""
    with script(program(saga, run)) as running:
        running.hear("charge begins")
        running.interrupt()
        time.sleep(0.05)
        running.say("go on")
        expected = ["charge ends", "undo charge", "KeyboardInterrupt", "threads: []"]
        assert running.end() == expected


@pytest.mark.parametrize("run", ["orchestrator_execute()", "choreography_execute()"])
def test_a_signal_handler_that_exits_undoes_first(run: str) -> None:
    """As a server's worker is told to stop: SystemExit with its code, once all is undone."""
    saga = """signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
saga = (SagaAssembler.saga()
    .operation((say, "stock"), (say, "undo stock"), name="stock")
    .operation(sleep, (say, "undo charge"), after="stock"))"""
    seconds = "30" if run.startswith("orch") else "0.2"
    code = program(saga.replace("operation(sleep", f'operation((sleep, "charge", {seconds})'), run)
    code = code.replace("except BaseException", "except Exception")
    with script(code) as running:
        running.hear("stock")
        running.hear("charge begins")
        running.interrupt(signal.SIGTERM)
        lines = running.end(code=7)
    assert lines[-2:] == ["undo charge", "undo stock"]


def test_a_second_ctrl_c_ends_the_rollback() -> None:
    """The compensation that runs is interrupted, and no further one starts."""
    saga = """saga = (SagaAssembler.saga()
        .operation((say, "order"), (say, "undo order"))
        .operation((say, "stock"), (sleep, "undo stock"))
        .operation(sleep, (say, "undo charge")))"""
    with script(program(saga, "orchestrator_execute()")) as running:
        for line in ("order", "stock", "charge begins"):
            running.hear(line)
        running.interrupt()
        running.hear("undo charge")
        running.hear("undo stock begins")
        running.interrupt()
        assert running.end() == ["KeyboardInterrupt", "threads: []"]


def test_a_second_ctrl_c_ends_the_rollback_of_a_choreography() -> None:
    """The compensations that run are awaited, and no further one starts."""
    saga = """saga = (SagaAssembler.saga()
        .operation((say, "stock"), (say, "undo stock"), name="stock")
        .operation((say, "charge"), (hear, "undo charge"), name="charge", after="stock")
        .operation((hear, "courier"), name="courier", after="charge"))"""
    with script(program(saga, "choreography_execute()")) as running:
        for line in ("stock", "charge", "courier begins"):
            running.hear(line)
        running.interrupt()
        time.sleep(0.05)
        running.say("go on")
        running.hear("courier ends")
        running.hear("undo charge begins")
        running.interrupt()
        time.sleep(0.05)
        running.say("go on")
        assert running.end() == ["undo charge ends", "KeyboardInterrupt", "threads: []"]


def test_ctrl_c_in_a_thread_s_saga_does_not_matter_to_it() -> None:
    """Signals come to the main thread; a saga that another thread drives goes on."""
    code = f"""{HEAD}
def work():
    saga = SagaAssembler.saga().operation((say, "stock")).operation(hear)
    say(saga.{{run}} == [None, None])

thread = threading.Thread(target=work)
try:
    thread.start()
    say("main waits")
    pause(30)  # not join(): interrupted, it takes the thread for ended
except KeyboardInterrupt:
    say("KeyboardInterrupt")
"""
    for run in ("orchestrator_execute()", "choreography_execute()"):
        with script(code.replace("{run}", run)) as running:
            begun = {running.stdout.readline().rstrip() for _ in range(3)}
            assert begun == {"main waits", "stock", "charge begins"}
            running.interrupt()
            running.hear("KeyboardInterrupt")
            running.say("go on")
            assert running.end() == ["charge ends", "True"]


ROUNDS = 30
STORM = """
import signal, sys, threading, time
from py_api_saga import SagaAssembler, current_operation

signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
ledger, count = set(), {count}
saga = SagaAssembler.saga()
for number in range(count):
    saga.operation((ledger.add, number), (ledger.discard, number))
for _ in range(3):
    begun = time.perf_counter()
    saga.{run}
    took = time.perf_counter() - begun
print(took)
outcomes = []
for _ in range({rounds}):
    ledger.clear()
    try:
        print("go")
        saga.{run}
        while True:  # it has not struck yet; one long sleep can miss a signal just before it
            time.sleep(0.001)
    except (KeyboardInterrupt, SystemExit):
        pass
    outcomes.append(len(ledger))
    try:
        current_operation()
    except LookupError:
        pass
    else:
        raise AssertionError
    if len(ledger) not in (0, count):
        print("left over", sorted(ledger))
        break
print("done")
print(outcomes.count(0))
"""


def storm(running: Script, number: int) -> int:
    """Send a signal in each round, after a random part of the time that a run takes."""
    took = float(running.stdout.readline())
    chance = random.Random(number)  # noqa: S311 - the same delays each time
    for _ in range(ROUNDS):
        running.hear("go")
        time.sleep(chance.random() * took * 1.1)
        running.interrupt(number)
    running.hear("done")
    return int(running.end()[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("run", "count"), [("orchestrator_execute()", 3000), ("choreography_execute()", 150)]
)
def test_a_signal_at_any_moment_leaves_nothing(run: str, count: int, number: int) -> None:
    """Between any two lines, in a C function, in our bookkeeping: all is done or all is undone."""
    with script(STORM.format(run=run, count=count, rounds=ROUNDS)) as running:
        undone = storm(running, number)

    assert undone > 0  # else the signals came too late to prove anything


def test_a_signal_while_a_thread_is_started_does_not_hang_the_process() -> None:
    """What was interrupted while it started a thread leaves none that blocks the exit."""
    code = """
    import signal, threading
    from py_api_saga import SagaAssembler

    start, struck = threading.Thread.start, []

    def strike(self):
        start(self)
        if not struck:
            struck.append(True)
            signal.raise_signal(signal.SIGINT)

    threading.Thread.start = strike
    ledger = set()
    saga = SagaAssembler.saga()
    for number in range(3):
        saga.operation((ledger.add, number), (ledger.discard, number))
    try:
        saga.choreography_execute()
    except KeyboardInterrupt:
        print("interrupted", ledger)
    """
    assert output_of(code) == ["interrupted set()"]


@pytest.mark.parametrize("begun", [False, True])
def test_an_interrupt_while_a_timed_action_is_started(
    world: World, monkeypatch: pytest.MonkeyPatch, *, begun: bool
) -> None:
    """What has begun in its thread is awaited and undone; what has not is never called."""
    start = threading.Thread.start
    strikes = [KeyboardInterrupt]

    def strike(thread: threading.Thread) -> None:
        if begun or not strikes:
            start(thread)
        if strikes:
            if begun:
                world.wait_for("a")
            raise strikes.pop()

    monkeypatch.setattr(threading.Thread, "start", strike)
    saga = SagaAssembler.saga().operation((world.do, "a"), (world.undo, "a"), timeout=5)
    with pytest.raises(KeyboardInterrupt):
        saga.orchestrator_execute()

    assert world.log == (["a", "undo a"] if begun else [])


def test_a_signal_while_a_timed_action_is_started_loses_nothing() -> None:
    """An action with a timeout runs in a thread; if Ctrl-C strikes while that starts, it counts."""
    code = """
    import signal, threading
    from py_api_saga import SagaAssembler

    start = threading.Thread.start

    def strike(self):
        start(self)
        signal.raise_signal(signal.SIGINT)

    threading.Thread.start = strike
    ledger, released = [], threading.Event()

    def charge():
        released.wait(0.1)
        ledger.append("charge")

    def refund():
        ledger.append("refund")

    try:
        SagaAssembler.saga().operation(charge, refund, timeout=5).orchestrator_execute()
    except KeyboardInterrupt:
        for thread in threading.enumerate():
            if thread is not threading.main_thread():
                thread.join()
        print(ledger)
    """
    assert output_of(code) == ["['charge', 'refund']"]


def test_an_interrupt_while_a_task_is_made_makes_no_call_in_silence(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that nobody has noted makes no call: there is nothing to undo."""
    create_task = asyncio.create_task
    struck: list[Any] = []

    def strike(coroutine: Any) -> Any:
        task = create_task(coroutine)
        if coroutine.__qualname__.endswith("._attempt_safely") and not struck:
            struck.append(task)
            raise Stop
        return task

    monkeypatch.setattr(asyncio, "create_task", strike)

    async def run() -> None:
        await steps(world, "stock").achoreography_execute()

    with pytest.raises(Stop):
        in_time(lambda: asyncio.run(run()))
    assert struck
    assert world.log == []


def test_an_interrupt_at_the_edge_of_a_task_leaves_its_call_in_doubt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside of what catches it, a task ends with it: the call counts as interrupted."""
    module = sys.modules["py_api_saga.executors.event_loop"]
    judge = module.interrupted
    struck: list[Any] = []

    def strike(*args: Any) -> Any:
        if len(struck) < 2:  # where the call is made, and where its task catches that
            struck.append(args)
            raise Stop
        return judge(*args)

    async def charge() -> None:
        world.do("charge")
        raise Stop

    monkeypatch.setattr(module, "interrupted", strike)
    saga = SagaAssembler.saga().operation(charge, (world.undo, "charge"))

    async def run() -> None:
        await saga.achoreography_execute()

    with pytest.raises(Stop):
        in_time(lambda: asyncio.run(run()))
    assert world.log == ["charge", "undo charge"]
