"""Threads: what is ready runs at once, nothing is left running, and nothing ever deadlocks."""

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from world import PATIENCE, Execute, World, failure_of, in_time, output_of, steps, until_gone

from py_api_saga import Retry, SagaAssembler, SagaDefinitionError, SagaException, result_of
from py_api_saga.executors import choreography, threads
from py_api_saga.executors.attempt import attempt_safely
from py_api_saga.executors.threads import MAX_THREADS


class CardDeclined(Exception):
    """The bank says no."""


class Crowd:
    """Count how many calls run at once, and let them go when enough have come."""

    def __init__(self, enough: int) -> None:
        self.enough = enough
        self.running = 0
        self.most = 0
        self.calls = 0
        self._changed = threading.Condition()

    def join(self, *_: object) -> None:
        """Be there until enough have been there at once, or a moment has passed."""
        with self._changed:
            self.calls += 1
            self.running += 1
            self.most = max(self.most, self.running)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most >= self.enough, PATIENCE)
        time.sleep(0.001)  # so that one too many would be seen
        with self._changed:
            self.running -= 1


# --- at once --------------------------------------------------------------------------------------


def test_everything_that_is_ready_runs_at_once(execute_graph: Execute) -> None:
    """Each waits for all the others, so less would hang."""
    crowd = Crowd(20)
    saga = SagaAssembler.saga()
    for _ in range(20):
        saga.operation(crowd.join)

    in_time(lambda: execute_graph(saga))

    assert crowd.most == 20


def test_what_becomes_ready_starts_at_once(execute_graph: Execute, world: World) -> None:
    """It does not wait for others of its generation to end."""
    opened = threading.Event()
    saga = SagaAssembler.saga()
    saga.operation((world.gate, "slow", opened), name="slow")
    saga.operation((world.do, "a"), name="a")
    saga.operation((world.do, "b"), name="b", after="a")
    saga.operation(opened.set, after="b")

    in_time(lambda: execute_graph(saga))

    assert world.log[-1] == "slow"


def test_results_come_in_operation_order(execute_graph: Execute, world: World) -> None:
    """Whatever ended first."""
    opened = threading.Event()

    def late() -> str:
        world.wait_for("b")
        opened.set()
        return "C"

    saga = SagaAssembler.saga()
    saga.operation((world.gate, "a", opened), name="a")
    saga.operation((world.do, "b"), name="b")
    saga.operation(late, name="c")

    assert in_time(lambda: execute_graph(saga)) == ["A", "B", "C"]


def test_results_are_edges(execute_graph: Execute, world: World) -> None:
    """An operation waits for those whose results it needs."""
    saga = SagaAssembler.saga()
    saga.operation((world.do, "a"), name="a")
    saga.operation((world.do, "b"), name="b")
    saga.operation((lambda *names: "+".join(names), result_of("a"), result_of("b")), name="c")

    assert execute_graph(saga)["c"] == "A+B"


def test_at_most_max_workers_run_at_once(execute_graph: Execute) -> None:
    """Actions and compensations alike."""
    actions, undos = Crowd(3), Crowd(3)
    saga = SagaAssembler.saga()
    for number in range(9):
        saga.operation(actions.join, undos.join, name=f"n{number}")
    saga.operation((World().fail, "", CardDeclined()), after=[f"n{number}" for number in range(9)])

    in_time(lambda: failure_of(execute_graph, saga, max_workers=3))

    assert (actions.most, actions.calls) == (3, 9)
    assert (undos.most, undos.calls) == (3, 9)


def test_one_worker_runs_one_after_the_other(execute_graph: Execute, world: World) -> None:
    """In declaration order."""
    saga = SagaAssembler.saga()
    for name in "abcde":
        saga.operation((world.do, name))

    execute_graph(saga, max_workers=1)

    assert world.log == list("abcde")


def test_a_retry_that_waits_takes_no_worker(execute_graph: Execute, world: World) -> None:
    """While one operation waits for its next attempt, the only worker does others."""
    errors = [CardDeclined()]

    def charge() -> str:
        if errors:
            raise errors.pop()
        assert world.log == ["a", "b"]
        return world.do("charge")

    soon = Retry(Exception, wait_initial=0.02, wait_jitter=0)
    saga = SagaAssembler.saga().operation(charge, retry=soon, name="charge")
    saga.operation((world.do, "a"), name="a").operation((world.do, "b"), name="b", after="a")

    execute_graph(saga, max_workers=1)

    assert world.log == ["a", "b", "charge"]


def test_a_long_wait_does_not_hold_up_a_short_one(execute_graph: Execute, world: World) -> None:
    """Of several that wait for a retry, the one that is due first is called first."""
    errors = {"long": [CardDeclined()], "short": [CardDeclined()]}

    def flaky(name: str) -> str:
        if errors[name]:
            raise errors[name].pop()
        return world.do(name)

    def waiting(seconds: float) -> Retry:
        return Retry(Exception, wait_initial=seconds, wait_max=seconds, wait_jitter=0)

    saga = SagaAssembler.saga()
    saga.operation((flaky, "long"), name="long", retry=waiting(0.1))
    saga.operation((flaky, "short"), name="short", retry=waiting(0.01))

    execute_graph(saga, max_workers=1)

    assert world.log == ["short", "long"]


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "4", True, [1]])
def test_a_wrong_number_of_workers_is_refused(
    execute_graph: Execute, world: World, wrong: Any
) -> None:
    """Before anything runs."""
    with pytest.raises(SagaDefinitionError, match="max_workers: expected a whole number"):
        execute_graph(steps(world, "a"), max_workers=wrong)

    assert world.log == []


def test_by_default_at_most_256_run_at_once() -> None:
    """However many there are."""
    assert MAX_THREADS == 256
    crowd = Crowd(256)
    saga = SagaAssembler.saga()
    for _ in range(300):
        saga.operation(crowd.join)

    in_time(saga.choreography_execute)

    assert (crowd.most, crowd.calls) == (256, 300)


def test_compensations_run_at_once(execute_graph: Execute) -> None:
    """Those that do not depend on each other."""
    crowd = Crowd(10)
    saga = SagaAssembler.saga()
    for number in range(10):
        saga.operation(int, crowd.join, name=f"n{number}")
    saga.operation((World().fail, "", CardDeclined()), after=[f"n{number}" for number in range(10)])

    in_time(lambda: failure_of(execute_graph, saga))

    assert crowd.most == 10


def test_compensations_wait_for_what_was_built_on_them(
    execute_graph: Execute, world: World
) -> None:
    """And for that only: the reversed graph, at once."""
    opened = threading.Event()

    def undo_slow() -> None:
        world.note("undo slow begins")
        assert opened.wait(PATIENCE)
        world.undo("slow")

    def undo_a() -> None:
        world.undo("a")
        opened.set()

    saga = SagaAssembler.saga()
    saga.operation((world.do, "root"), (world.undo, "root"), name="root")
    saga.operation((world.do, "slow"), undo_slow, name="slow", after="root")
    saga.operation((world.do, "a"), undo_a, name="a")
    saga.operation((world.do, "b"), (world.undo, "b"), name="b", after="a")
    saga.operation((world.fail, "c", CardDeclined()), after=["slow", "b"])

    in_time(lambda: failure_of(execute_graph, saga))

    undone = [line for line in world.log if line.startswith("undo") and "begins" not in line]
    assert undone == ["undo b", "undo a", "undo slow", "undo root"]


# --- nothing is left ------------------------------------------------------------------------------


def test_nothing_is_still_working_when_it_returns(execute: Execute) -> None:
    """Well or not: every call that was begun has ended, in the rollback as well."""
    begun: list[int] = []
    ended: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        time.sleep(0.001)
        ended.append(number)
        if number == 7:
            raise CardDeclined

    saga = SagaAssembler.saga()
    for number in range(10):
        saga.operation((work, number), (work, 100 + number))

    failure_of(execute, saga)

    assert sorted(begun) == sorted(ended)


def test_idle_threads_are_used_again(execute_graph: Execute) -> None:
    """A thousand small runs do not leave a thousand threads."""
    saga = SagaAssembler.saga().operation(int).operation(int).operation(int)
    for _ in range(10):
        execute_graph(saga)
    before = threading.active_count()

    for _ in range(200):
        execute_graph(saga)

    assert threading.active_count() <= before + 6


def test_idle_threads_hold_on_to_nothing(execute_graph: Execute) -> None:
    """What a call was given and has returned can be freed while its thread lives on."""

    class Big:
        pass

    def run() -> list[weakref.ref[Big]]:
        given, made = Big(), Big()
        saga = SagaAssembler.saga().operation((lambda _: made, given))
        execute_graph(saga)
        return [weakref.ref(given), weakref.ref(made)]

    until_gone(run)


def test_idle_threads_do_not_keep_the_process_from_exiting() -> None:
    """It ends as soon as the main thread does."""
    code = """
    import atexit, time
    from py_api_saga import SagaAssembler
    saga = SagaAssembler.saga()
    for _ in range(20):
        saga.operation((time.sleep, 0.01))
    saga.choreography_execute()
    begun = time.monotonic()
    atexit.register(lambda: print(time.monotonic() - begun < 30))
    """
    assert output_of(code) == ["True"]


def test_a_saga_goes_on_when_the_main_thread_has_ended() -> None:
    """The process waits for the thread that drives it, and it can start and undo operations."""
    code = """
    import threading
    from py_api_saga import SagaAssembler, SagaException

    begun = threading.Event()
    log = []

    def stock():
        begun.set()
        threading.main_thread().join()
        log.append("stock")

    def fail():
        raise ValueError

    def work():
        saga = SagaAssembler.saga().operation(stock, (log.append, "undo stock"))
        saga.operation(fail, after="stock")
        try:
            saga.choreography_execute()
        except SagaException as error:
            print(type(error).__name__, type(error.__cause__).__name__, log)

    threading.Thread(target=work).start()
    begun.wait()  # Python 3.12 starts no thread any more once the main one has ended
    """
    assert output_of(code) == ["SagaException ValueError ['stock', 'undo stock']"]


# --- sagas in one another -------------------------------------------------------------------------

RUNS: list[Callable[[SagaAssembler], Any]] = [
    lambda saga: saga.orchestrator_execute(),
    lambda saga: saga.choreography_execute(),
    lambda saga: asyncio.run(saga.aorchestrator_execute()),
    lambda saga: asyncio.run(saga.achoreography_execute()),
]


@pytest.mark.parametrize("run", RUNS, ids=["chain", "graph", "async chain", "async graph"])
def test_sagas_in_one_another_never_deadlock(run: Callable[[SagaAssembler], Any]) -> None:
    """Three deep, and wider than any pool: all the outer ones are busy while the inner ones run."""
    leaves: list[int] = []

    def nest(depth: int) -> int:
        if depth == 0:
            leaves.append(1)
            return 1
        saga = SagaAssembler.saga()
        for _ in range(4):
            saga.operation((nest, depth - 1))
        return sum(run(saga))

    assert in_time(lambda: nest(3)) == 64
    assert len(leaves) == 64


def test_sagas_in_one_another_with_one_worker_each(world: World) -> None:
    """The limit is each run's own."""

    def nest(depth: int) -> str:
        if depth == 0:
            return world.do("leaf")
        saga = SagaAssembler.saga().operation((nest, depth - 1)).operation((nest, depth - 1))
        return str(saga.choreography_execute(max_workers=1)[0])

    in_time(lambda: nest(4))

    assert world.log == ["leaf"] * 16


def test_every_executor_in_every_other(world: World) -> None:
    """Whatever runs inside an action of whatever."""

    def nest(outer: Callable[[SagaAssembler], Any], inner: Callable[[SagaAssembler], Any]) -> Any:
        child = steps(world, "inner")
        return outer(SagaAssembler.saga().operation((inner, child)))

    for outer in RUNS:
        for inner in RUNS:
            assert in_time(partial(nest, outer, inner)) == [["INNER"]]


def test_failures_go_up_through_sagas_in_one_another(execute_sync: Execute, world: World) -> None:
    """Each level undoes its own, and the outermost exception leads down to the first error."""

    def nest(depth: int) -> Any:
        saga = steps(world, f"level {depth}")
        after = f"level {depth}"
        if depth:
            saga.operation((nest, depth - 1), after=after)
        else:
            saga.operation((world.fail, "bottom", CardDeclined()), after=after)
        return execute_sync(saga)

    with pytest.raises(SagaException) as caught:
        nest(3)

    assert world.standing == []
    assert world.log[-4:] == [f"undo level {depth}" for depth in range(4)]
    error: Any = caught.value
    for _ in range(4):
        error = error.operation_error
    assert isinstance(error, CardDeclined)


def test_one_saga_in_twenty_threads(execute: Execute) -> None:
    """Each run has its own results, and its own failure."""

    def first(number: int) -> int:
        return number

    def odd_fails(value: int) -> int:
        if value % 2:
            raise CardDeclined(value)
        return value * 10

    undone: list[int] = []
    saga = SagaAssembler.saga()
    saga.operation((first, 1))
    saga.operation((first, result_of("first")), name="second")

    def one(value: int) -> Any:
        own = SagaAssembler.saga().operation(saga, name="shared")
        own.operation((first, value), (undone.append, result_of()), name="mine", after="shared")
        own.operation((odd_fails, result_of("mine")), name="checked")
        assert execute(saga) == [1, 1]
        try:
            return execute(own)["checked"]
        except SagaException as error:
            return error.operation_error

    with ThreadPoolExecutor(20) as pool:
        answers = in_time(lambda: list(pool.map(one, range(20))))

    for value, answer in enumerate(answers):
        if value % 2:
            assert answer.args == (value,)
        else:
            assert answer == value * 10
    assert sorted(undone) == list(range(1, 20, 2))


def test_one_saga_may_grow_while_it_runs(execute: Execute, world: World) -> None:
    """A run has its own picture of it; the next one takes what was added."""
    saga = SagaAssembler.saga()

    def grow() -> None:
        saga.operation((world.do, "late"))

    saga.operation(grow, name="grow")

    assert execute(saga) == [None]
    assert world.log == []


# --- fork -----------------------------------------------------------------------------------------

FORK = """
import os, sys, time, warnings
from py_api_saga import SagaAssembler, SagaException

warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forking beside threads

def fail():
    raise ValueError

def run():
    log = []
    saga = SagaAssembler.saga()
    for number in range(5):
        saga.operation((log.append, number), (log.remove, number), name=f"n{number}")
    assert saga.choreography_execute() == [None] * 5
    assert sorted(log) == list(range(5))
    log.clear()
    saga.operation(fail, after=[f"n{number}" for number in range(5)])
    try:
        saga.choreography_execute()
    except SagaException:
        assert log == []
    return "ok"

warm = SagaAssembler.saga()
for _ in range(10):
    warm.operation((time.sleep, 0.01))
warm.choreography_execute()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_has_threads_of_its_own() -> None:
    """It has inherited none, also if the parent's were warm, and it can end."""
    code = f"""{FORK}
child = os.fork()
if not child:
    print(run(), "child")
    sys.exit(0)
_, status = os.waitpid(child, 0)
print(run(), "parent", os.waitstatus_to_exitcode(status))
"""
    assert output_of(code) == ["ok child", "ok parent 0"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_worker_pool_runs_sagas() -> None:
    """As servers do that fork their workers after they have warmed up."""
    code = f"""{FORK}
import multiprocessing
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.starmap(run, [()] * 4))
print(run())
"""
    assert output_of(code) == ["['ok', 'ok', 'ok', 'ok']", "ok"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_inside_an_action_leaves_the_parent_s_saga_alone() -> None:
    """The child ends without touching what its parent runs."""
    code = f"""{FORK}
def fork():
    child = os.fork()
    if not child:
        os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

print(SagaAssembler.saga().operation(fork).operation(run).choreography_execute())
print(SagaAssembler.saga().operation(fork).operation(run).orchestrator_execute())
"""
    assert output_of(code) == ["[3, 'ok']", "[3, 'ok']"]


# --- when there are no more threads ---------------------------------------------------------------


# In a process of its own, whose pool is still empty.
EXHAUSTED = """
import asyncio, threading, time
from py_api_saga import SagaAssembler, SagaException, SagaStuck, current_operation

start, left = threading.Thread.start, [0]

def start_or_not(thread):
    if left[0]:
        left[0] -= 1
        raise RuntimeError("can't start new thread")
    start(thread)

threading.Thread.start = start_or_not
log = []

def outcome(saga):
    try:
        return {run}
    except SagaException as error:
        return type(error).__name__, str(error.__cause__)
"""
GRAPHS = ["saga.choreography_execute()", "asyncio.run(saga.achoreography_execute())"]
ALL = [*GRAPHS, "saga.orchestrator_execute()", "asyncio.run(saga.aorchestrator_execute())"]


@pytest.mark.parametrize("run", GRAPHS)
@pytest.mark.parametrize("few", [1, 99])
def test_a_thread_that_cannot_be_started_is_no_failure(run: str, few: int) -> None:
    """The call was not made: it is made shortly, or in the end by whoever wanted a thread."""
    code = f"""{EXHAUSTED.replace("{run}", run)}
saga = SagaAssembler.saga().operation((log.append, "a"), (log.append, "undo a"), name="a")
left[0] = {few}
print(outcome(saga), log)

def exhaust():
    log.clear()
    left[0] = {few}

def slow(name):  # keeps its thread, so that one of the five needs another
    log.append(name)
    time.sleep(0.05)

saga.operation(exhaust, (log.append, "undo b"), name="b", after="a")
for name in "cdefg":
    saga.operation((slow, name), (log.remove, name), name=name, after="b")
print(outcome(saga), sorted(log))
"""
    assert output_of(code, measured=True) == [
        "[None] ['a']",
        "[None, None, None, None, None, None, None] ['c', 'd', 'e', 'f', 'g']",
    ]


@pytest.mark.parametrize("run", ALL)
@pytest.mark.parametrize("few", [1, 99])
def test_a_timed_call_is_made_also_without_a_thread(run: str, few: int) -> None:
    """It needs a thread of its own in any executor; without one, its time has no limit."""
    code = f"""{EXHAUSTED.replace("{run}", run)}
def slow(name):
    time.sleep(0.02 if left[0] else 0)
    log.append(name)

undo = (log.append, "undo a")
saga = SagaAssembler.saga().operation((slow, "a"), undo, timeout={5 if few == 1 else 0.01})
left[0] = {few}
print(outcome(saga), log)
"""
    assert output_of(code, measured=True) == ["[None] ['a']"]


@pytest.mark.parametrize("run", ["saga.choreography_execute()", "saga.orchestrator_execute()"])
def test_a_call_that_got_no_thread_knows_that_it_is_in_its_caller_s(run: str) -> None:
    """What closes connections in a thread of ours must leave those of the caller alone."""
    code = f"""{EXHAUSTED.replace("{run}", run)}
def look():
    log.append((current_operation().where, threading.current_thread() is threading.main_thread()))

saga = SagaAssembler.saga().operation(look, timeout=5)
left[0] = 99
print(outcome(saga), log)
"""
    assert output_of(code, measured=True) == ["[None] [('caller', True)]"]


@pytest.mark.parametrize("run", GRAPHS)
@pytest.mark.parametrize("few", [1, 99])
def test_a_compensation_without_a_thread_is_not_stuck(run: str, few: int) -> None:
    """It was not called, so it has not failed: it is called, and its attempt is the first."""
    code = f"""{EXHAUSTED.replace("{run}", run)}
def fail():
    left[0] = {few}
    raise ValueError("no")

def undo(name):
    log.append(f"undo {{name}} {{current_operation().attempt}}")

saga = SagaAssembler.saga()
for name in "abc":
    saga.operation((log.append, name), (undo, name), name=name)
saga.operation(fail, after=["a", "b", "c"])
print(outcome(saga), sorted(log))
"""
    undone = ["a", "b", "c", "undo a 1", "undo b 1", "undo c 1"]
    assert output_of(code) == [f"('SagaException', 'no') {undone}"]


def test_what_strikes_while_a_thread_starts_is_raised() -> None:
    """It is not a lack of threads, and the thread may have begun."""

    class Struck(threading.Thread):
        def start(self) -> None:
            super().start()
            raise RuntimeError("a new thread of thought")

    begun = threading.Event()
    with pytest.raises(RuntimeError, match="of thought"):
        threads.start(Struck(target=begun.set))
    assert begun.wait(PATIENCE)


def test_what_strikes_a_call_that_has_no_thread_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made where an interrupt strikes: what was done is undone, and that is raised."""
    monkeypatch.setattr(choreography.POOL, "_thread", lambda: None)
    monkeypatch.setattr(threads, "SHORTLY", ())
    made = attempt_safely

    def struck(run: Any, intent: Any) -> Any:
        entry = made(run, intent)
        if intent[1] == 1 and intent[2] == "action":
            raise KeyboardInterrupt
        return entry

    monkeypatch.setattr(choreography, "attempt_safely", struck)
    with pytest.raises(KeyboardInterrupt):
        steps(world, "a", "b").choreography_execute()

    assert world.log == ["a", "b", "undo b", "undo a"]


@pytest.mark.parametrize("run", GRAPHS)
def test_a_thread_is_free_before_it_tells_what_came_of_its_call(run: str) -> None:
    """So what follows from a call is made in the thread of that call, if there is no other."""
    code = f"""{EXHAUSTED.replace("{run}", run)}
def thread(*_):
    return threading.current_thread().name

saga = SagaAssembler.saga().operation(thread, name="a")
print(outcome(saga))
left[0] = 99
for name in "bcd":
    saga.operation(thread, name=name, after=chr(ord(name) - 1))
print(outcome(saga), left)
"""
    one = "py_api_saga"
    assert output_of(code) == [str([one]), f"{[one] * 4} [99]"]


@pytest.mark.parametrize("run", GRAPHS)
def test_no_deadlock_after_a_thread_could_not_be_started(run: str) -> None:
    """What could not be started then is not in the way of what comes after it."""
    code = f"""{EXHAUSTED.replace("{run}", run)}
def nest(depth):
    if depth == 0:
        return "leaf"
    return outcome(SagaAssembler.saga().operation((nest, depth - 1)))

left[0] = 1
print(outcome(SagaAssembler.saga().operation(int))[0])
left[0] = 3
print(nest(5))
"""
    assert output_of(code) == ["0", "[[[[['leaf']]]]]"]
