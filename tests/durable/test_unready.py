"""A process that lacks something decides nothing: its sagas stay as they were."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import depot
import flask
import pytest
from depot import ado, aundo, do, fail, undo
from django.core.exceptions import AppRegistryNotReady, ImproperlyConfigured
from recorded import Faulty, Wrapped, bodies, chain, crashed, seen, status
from world import PATIENCE, Watch, until

from py_api_saga import (
    Event,
    Retry,
    SagaAssembler,
    SagaException,
    SagaStatus,
    arecover,
    recover,
    takeover,
)
from py_api_saga.durable.unready import unready
from py_api_saga.journal import MemoryJournal

RUNNING, COMPLETED, COMPENSATED = (
    SagaStatus.RUNNING,
    SagaStatus.COMPLETED,
    SagaStatus.COMPENSATED,
)


class RefusedError(Exception):
    """What a service says, or what a program wraps everything in."""


def lack() -> Any:
    """Ask for Flask's application where there is none."""
    return flask.current_app.name


def raised(function: Callable[[], Any]) -> BaseException:
    """Give what a function raises."""
    try:
        function()
    except BaseException as error:  # noqa: BLE001 - what is asked for
        return error
    raise AssertionError


# --- which errors --------------------------------------------------------------------------------


def of_another_loop(make: Callable[[], Any]) -> BaseException:
    """Use something in a loop that has been used in another one, which is closed by then."""

    async def contend(lock: asyncio.Lock) -> None:
        async with lock:
            await asyncio.sleep(0)

    async def first() -> Any:
        thing = make()
        if isinstance(thing, asyncio.Lock):
            await asyncio.gather(contend(thing), contend(thing))
        return thing

    async def second() -> None:
        if isinstance(thing, asyncio.Lock):
            await asyncio.gather(contend(thing), contend(thing))
        elif isinstance(thing, asyncio.AbstractEventLoop):
            thing.call_soon(print)
        else:
            await thing

    thing = asyncio.run(first())
    return raised(lambda: asyncio.run(second()))


def in_a_thread(function: Callable[[], Any]) -> BaseException:
    """Call a function in a thread without a loop."""
    found: list[BaseException] = []
    thread = threading.Thread(target=lambda: found.append(raised(function)))
    thread.start()
    thread.join()
    return found[0]


LACKING: dict[str, Callable[[], BaseException]] = {
    "no application": lambda: raised(lack),
    "no request": lambda: raised(lambda: flask.request.path),
    "no models yet": lambda: AppRegistryNotReady("Apps aren't loaded yet."),
    "no settings": lambda: type("Worse", (ImproperlyConfigured,), {})("DATABASES"),
    "a lock of another loop": lambda: of_another_loop(asyncio.Lock),
    "a future of another loop": lambda: of_another_loop(
        lambda: asyncio.get_running_loop().create_future()
    ),
    "a loop that is closed": lambda: of_another_loop(asyncio.get_running_loop),
    "no loop that runs": lambda: in_a_thread(asyncio.get_running_loop),
    "no loop in this thread": lambda: in_a_thread(
        lambda: asyncio.get_event_loop_policy().get_event_loop()
    ),
}


@pytest.mark.parametrize("name", LACKING)
def test_what_says_that_a_process_is_not_set_up_is_known(name: str) -> None:
    """As Flask, Django and asyncio really say it."""
    error = LACKING[name]()

    assert unready(error) is error


def test_a_gathering_of_another_loops_futures_is_known_too() -> None:
    """Which is a ValueError."""

    async def first() -> Any:
        return asyncio.get_running_loop().create_future()

    async def second() -> None:
        await asyncio.ensure_future(future, loop=asyncio.get_running_loop())

    future = asyncio.run(first())

    assert unready(raised(lambda: asyncio.run(second()))) is not None


class UnprintableError(RuntimeError):
    """One that has no text to be read."""

    def __str__(self) -> str:
        raise KeyError


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("the loop of the conveyor is closed"),
        RuntimeError(),
        RuntimeError(7),
        ValueError("attached to a different account"),
        RefusedError("Working outside of application context."),
        type("ImproperlyConfigured", (Exception,), {})("of somebody else's"),
        UnprintableError(),
        RecursionError("Event loop is closed"),
        OSError("no running event loop"),
    ],
    ids=repr,
)
def test_any_other_error_says_nothing_of_the_process(error: Exception) -> None:
    """Only these do: by name, or by the text of two classes."""
    assert unready(error) is None


def wrapped(how: str) -> tuple[BaseException, BaseException]:
    """Raise an error as programs wrap one; give that, and what is in it."""
    inner = raised(lack)

    def explicitly() -> None:
        raise RefusedError from inner

    def in_except() -> None:
        try:
            raise inner
        except RuntimeError:
            raise RefusedError  # noqa: B904 - most people wrap like this

    def with_nothing() -> None:
        try:
            raise inner
        except RuntimeError:
            raise RefusedError from None

    def in_a_circle() -> None:
        error = RefusedError()
        error.__context__ = other = RefusedError()
        other.__context__ = error
        raise error

    def far_below() -> None:
        error = inner
        for _ in range(100):
            outer = RefusedError()
            outer.__cause__ = error
            error = outer
        raise error

    def in_a_group() -> None:
        group = BaseExceptionGroup("deeper", [ValueError(), RefusedError(), inner])
        raise BaseExceptionGroup("two things", [group])

    ways = (explicitly, in_except, with_nothing, in_a_circle, far_below, in_a_group)
    return raised({way.__name__: way for way in ways}[how]), inner


@pytest.mark.parametrize("how", ["explicitly", "in_except", "in_a_group"])
def test_it_is_found_in_what_an_error_was_made_of(how: str) -> None:
    """Its cause, what was being handled, or one of a group."""
    error, inner = wrapped(how)

    assert unready(error) is inner


@pytest.mark.parametrize("how", ["with_nothing", "in_a_circle", "far_below"])
def test_it_is_not_looked_for_without_end_or_where_it_was_hidden(how: str) -> None:
    """`from None` says that it has nothing to do with it."""
    assert unready(wrapped(how)[0]) is None


def test_what_the_caller_was_handling_is_none_of_it() -> None:
    """It is at the end of the chain of each error that is raised meanwhile."""
    error, inner = wrapped("in_except")

    assert unready(error, inner) is None


# --- what becomes of the saga --------------------------------------------------------------------


def plain(**options: Any) -> SagaAssembler:
    """Make a chain of three."""
    return chain("a", "b", "c", **options)


def coroutines(**options: Any) -> SagaAssembler:
    """Make one of coroutine functions."""
    saga = SagaAssembler.saga(**options)
    for i, name in enumerate("abc"):
        after = "abc"[i - 1] if i else ()
        saga.operation((ado, name), (aundo, name), name=name, after=after)
    return saga


def by_takeover(journal: Any, **options: Any) -> Any:
    """Take one saga over."""
    return [takeover(journal, "x", **options)]


def by_arecover(journal: Any, **options: Any) -> Any:
    """Recover under asyncio."""
    return asyncio.run(arecover(journal, **options))


WAYS = pytest.mark.parametrize("go_on", [recover, by_arecover, by_takeover])
FORMS = pytest.mark.parametrize(
    ("make", "method"),
    [
        (plain, "orchestrator"),
        (plain, "choreography"),
        (coroutines, "aorchestrator"),
        (coroutines, "achoreography"),
    ],
    ids=["chain", "at once", "coroutines", "coroutines at once"],
)


def untouched(journal: Any, before: Any, saga_id: str = "x") -> None:
    """See that a saga is open, and as due and as often tried as before it was claimed."""
    now = seen(journal, saga_id)
    as_before = before._replace(epoch=now.epoch, owner=0, status=now.status)
    assert now._replace(changed=before.changed) == as_before
    assert not journal.drives(now)
    assert now.status in (RUNNING, SagaStatus.COMPENSATING)


@FORMS
@WAYS
def test_a_saga_that_needs_what_this_process_lacks_is_let_go(
    journal: Any, make: Callable[..., SagaAssembler], method: str, go_on: Callable[..., Any]
) -> None:
    """Nothing is undone, the call has no answer on record, and whoever has it goes on."""
    make().start(journal=journal, saga_id="x", at_once="choreography" in method)
    before, watch = seen(journal, "x"), Watch()
    depot.behaviour["b"] = lack

    (done,) = go_on(journal, observers=[watch])

    assert (done.outcome, unready(done.error)) == (RUNNING, done.error)
    assert "stays open in its journal" in done.error.__notes__[0]
    untouched(journal, before)
    assert depot.log == ["a", "b"]
    assert bodies(journal, "x")[-1].endswith('["started",1,"action",1,1]]')
    (event,) = watch.of("let go")
    assert (event.operation, event.attempt, event.error) == ("b", 1, done.error)
    assert watch.lines[-1] == "b: let go"

    assert recover(journal) == []  # this process has what it had before
    depot.behaviour.clear()
    assert takeover(journal, "x").outcome is COMPLETED
    assert depot.log == ["a", "b", "b", "c"]
    assert len(set(depot.keys)) == 3


@WAYS
def test_a_rollback_waits_for_a_process_that_can_do_it(
    journal: Any, go_on: Callable[..., Any]
) -> None:
    """A compensation that lacks something has not failed; nor is it called once more here."""
    saga = SagaAssembler.saga(on_crash="compensate")
    for name in "ab":
        retry = Retry(RefusedError, wait_initial=0, wait_jitter=0)
        saga.operation((do, name), (undo, name), name=name, compensation_retry=retry)
    crashed(journal, saga, 2)
    before, times = seen(journal, "x"), depot.log.count("undo a")
    depot.behaviour["undo a"] = lambda: wrapped_up(lack)

    (done,) = go_on(journal)

    assert done.outcome is SagaStatus.COMPENSATING
    untouched(journal, before)
    assert depot.log.count("undo a") == times + 1
    depot.behaviour.clear()
    assert takeover(journal, "x").outcome is COMPENSATED
    assert depot.standing == []


def wrapped_up(function: Callable[[], Any]) -> Any:
    """Raise an error of our own from whatever a function raises."""
    try:
        return function()
    except Exception as error:
        raise RefusedError("it did not work") from error


@WAYS
def test_a_question_without_an_application_has_no_answer(
    journal: Any, go_on: Callable[..., Any]
) -> None:
    """Else "unknown" would be taken for one, and the call be made again."""
    saga = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a", on_doubt=depot.ask)
    crashed(journal, saga.operation((do, "b"), name="b"), 1)
    before, times = seen(journal, "x"), depot.log.count("a")
    depot.behaviour["ask a"] = lack

    (done,) = go_on(journal)

    assert done.outcome is RUNNING
    untouched(journal, before)
    assert depot.log.count("a") == times
    depot.behaviour.clear()
    assert takeover(journal, "x").outcome is COMPLETED
    assert depot.log.count("a") == times


def tells(let_go: threading.Event) -> Callable[[Event], None]:
    """Make an observer that tells when a saga is let go."""

    def observe(event: Event) -> None:
        if event.kind == "let go":
            let_go.set()

    return observe


def test_what_else_runs_is_awaited_and_counts(journal: Any) -> None:
    """One lacks something; the other ends after that, and is not called again."""
    let_go = threading.Event()
    saga = SagaAssembler.saga()
    for name in "ab":
        saga.operation((do, name), (undo, name), name=name)
    saga.start(journal=journal, saga_id="x", at_once=True)
    before = seen(journal, "x")
    depot.behaviour["a"] = lack
    depot.behaviour["b"] = lambda: str(let_go.wait(PATIENCE))

    recover(journal, observers=[tells(let_go)])

    untouched(journal, before)
    assert bodies(journal, "x")[-1].startswith('[["succeeded",1,"action",1,1,"True",')
    depot.behaviour.clear()
    assert takeover(journal, "x").outcome is COMPLETED
    assert sorted(depot.log) == ["a", "a", "b"]


def test_two_at_once_may_lack_something(journal: Any) -> None:
    """Each is told; the saga is let go once."""
    watch = Watch()
    saga = SagaAssembler.saga()
    for name in "ab":
        saga.operation((do, name), (undo, name), name=name)
    saga.start(journal=journal, saga_id="x", at_once=True)
    before, both = seen(journal, "x"), threading.Barrier(2, timeout=PATIENCE)
    depot.behaviour["a"] = depot.behaviour["b"] = lambda: both.wait() < PATIENCE and lack()

    (done,) = recover(journal, observers=[watch])

    assert sorted(str(event.operation) for event in watch.of("let go")) == ["a", "b"]
    assert (done.outcome, len(done.error.__notes__)) == (RUNNING, 1)  # type: ignore[union-attr]
    untouched(journal, before)


def test_a_failure_beside_it_is_undone_elsewhere(journal: Any) -> None:
    """It is on record; but what lacks something may have happened, and is owed."""
    let_go = threading.Event()
    saga = SagaAssembler.saga()
    for name in "ab":
        saga.operation((do, name), (undo, name), name=name)
    saga.start(journal=journal, saga_id="x", at_once=True)
    depot.behaviour["a"] = lack
    depot.behaviour["b"] = lambda: let_go.wait(PATIENCE) and fail(RefusedError("no"))()

    (done,) = recover(journal, observers=[tells(let_go)])

    assert (done.outcome, status(journal)) == (RUNNING, RUNNING)
    depot.behaviour.clear()
    assert takeover(journal, "x").outcome is COMPENSATED
    assert sorted(depot.log) == ["a", "b", "undo a"]


@FORMS
def test_an_interrupt_while_it_lets_go_decides_nothing_either(
    journal: Any, make: Callable[..., SagaAssembler], method: str
) -> None:
    """Of an observer, say: it is raised, and the saga stays as it was."""
    make().start(journal=journal, saga_id="x", at_once="choreography" in method)
    before = seen(journal, "x")
    depot.behaviour["b"] = lack

    def leave(event: Any) -> None:
        if event.kind == "let go":
            raise SystemExit

    done = takeover(journal, "x", observers=[leave])

    assert isinstance(done.error, RuntimeError)
    untouched(journal, before)
    assert "abort" not in "".join(bodies(journal, "x"))
    depot.behaviour.clear()
    assert takeover(journal, "x").outcome is COMPLETED


# --- who else is let go --------------------------------------------------------------------------


def run(saga: SagaAssembler, method: str, **options: Any) -> None:
    """Run a saga by its method, in a loop if it needs one."""
    execute = getattr(saga, f"{method}_execute")

    async def main() -> None:
        await execute(**options)

    if method.startswith("a"):
        asyncio.run(main())
    else:
        execute(**options)


@FORMS
def test_whoever_resumes_a_saga_by_its_id_is_told_what_is_lacking(
    journal: Any, make: Callable[..., SagaAssembler], method: str
) -> None:
    """Bare, and not as a failure of the saga, which stays as it was."""
    make().start(journal=journal, saga_id="x", at_once="choreography" in method)
    before = seen(journal, "x")
    depot.behaviour["b"] = lambda: wrapped_up(lack)

    with pytest.raises(RuntimeError, match="Working outside of application context"):
        run(make(), method, journal=journal, saga_id="x")

    untouched(journal, before)
    assert depot.log == ["a", "b"]
    depot.behaviour.clear()
    assert takeover(journal, "x").outcome is COMPLETED


def test_whoever_handles_one_such_error_may_still_undo(journal: Any) -> None:
    """What was being handled when all began is in the chain of each error after it."""
    plain().start(journal=journal, saga_id="x")
    depot.behaviour["b"] = fail(RefusedError("no"))

    try:
        lack()
    except RuntimeError:
        done = takeover(journal, "x")

    assert done.outcome is COMPENSATED


def test_in_a_run_that_is_none_of_recovery_it_is_a_failure(execute: Any, journal: Any) -> None:
    """As any other: whoever calls is set up as well as it ever will be."""
    depot.behaviour["b"] = lack

    with pytest.raises(SagaException) as caught:
        execute(plain(), journal=journal, saga_id="x")

    assert caught.value.outcome is COMPENSATED
    assert depot.log == ["a", "b", "undo a"]


def nested(kind: str) -> Any:
    """Run a saga inside of an operation."""
    saga = chain("inner", "deep")
    if kind == "in memory":
        return list(saga.orchestrator_execute())
    return list(saga.orchestrator_execute(journal=depot.behaviour["journal"](), saga_id="child"))


@pytest.mark.parametrize("kind", ["in memory", "durable"])
def test_a_child_saga_of_a_recovered_one_decides_nothing_for_it(journal: Any, kind: str) -> None:
    """With a journal it stays open too; in memory it has to be undone, and is run anew later."""
    depot.behaviour["journal"] = lambda: journal
    depot.behaviour["b"] = lambda: nested(kind)
    depot.behaviour["deep"] = lack
    plain().start(journal=journal, saga_id="x")
    before = seen(journal, "x")

    (done,) = recover(journal)

    assert done.outcome is RUNNING
    untouched(journal, before)
    assert ("undo inner" in depot.log) == (kind == "in memory")
    assert "undo a" not in depot.log
    del depot.behaviour["deep"]
    assert takeover(journal, "x").outcome is COMPLETED
    if kind == "durable":
        assert (status(journal, "child"), depot.log.count("inner")) == (COMPLETED, 1)


# --- stragglers ----------------------------------------------------------------------------------


def test_a_straggler_that_lacked_something_only_ends(in_memory: Any) -> None:
    """Its call was given up before, so nobody waits for its answer: doubt stays."""
    journal = in_memory
    given_up, watch = threading.Event(), Watch()
    saga = SagaAssembler.saga().operation((do, "z"), (undo, "z"), name="z")
    saga.operation((do, "a"), (undo, "a"), name="a", timeout=1.0)
    saga.operation((do, "b"), name="b").start(journal=journal, saga_id="x")
    depot.behaviour["a"] = lambda: given_up.wait(PATIENCE) and lack()

    depot.behaviour["undo a"] = given_up.set
    depot.behaviour["undo z"] = lambda: until(
        lambda: all(thread.name != "saga a" for thread in threading.enumerate())
    )

    (done,) = recover(journal, observers=[watch])

    assert (done.outcome, watch.of("let go")) == (COMPENSATED, [])


def test_what_lands_late_and_cannot_be_undone_here_is_left_open(in_memory: Any) -> None:
    """In the thread of the straggler, after the end: as in recovery itself."""
    journal = in_memory
    lands, watch = threading.Event(), Watch()
    saga = SagaAssembler.saga()
    saga.operation((do, "a"), (undo, "a"), name="a", timeout=1.0)
    saga.operation((do, "b"), name="b").start(journal=journal, saga_id="x")
    depot.behaviour["a"] = lambda: str(lands.wait(PATIENCE))
    (done,) = recover(journal, observers=[watch])
    assert done.outcome is COMPENSATED
    depot.behaviour["undo a"] = lack

    lands.set()
    watch.wait_for("let go", "a")
    until(lambda: not journal.drives(seen(journal, "x")))

    assert status(journal) is SagaStatus.COMPENSATING
    assert len(watch.of("saga ended")) == 1
    depot.behaviour.clear()
    assert takeover(journal, "x").outcome is COMPENSATED
    assert depot.standing == []


# --- several sagas -------------------------------------------------------------------------------


@pytest.mark.parametrize("go_on", [recover, by_arecover])
def test_after_three_in_a_row_nothing_more_is_begun(
    journal: Any, go_on: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """What was claimed with them is given back as if it had not been, for whoever is set up."""
    for number in range(9):
        plain().start(journal=journal, saga_id=f"x{number}")
    before = [seen(journal, f"x{number}") for number in range(9)]
    depot.behaviour["b"] = lack

    done = go_on(journal, max_workers=4)

    assert 3 <= len(done) <= 6
    assert {one.outcome for one in done} == {RUNNING}
    assert all(unready(one.error) is one.error for one in done)
    for number in range(9):
        untouched(journal, before[number], f"x{number}")
    assert depot.log.count("b") == len(done)
    assert caplog.text.count("recovery begins nothing more: this process is not set up") == 1

    depot.behaviour.clear()
    again = recover(journal)
    assert {one.saga_id for one in again}.isdisjoint(one.saga_id for one in done)
    assert len(again) + len(done) == 9


def test_one_sagas_own_fault_does_not_stop_the_others(journal: Any) -> None:
    """Two that lack something, one that does not, and so on: all are tried."""
    for number in range(8):
        names = ("good",) if number % 3 == 2 else ("bad",)
        chain(*names).start(journal=journal, saga_id=f"x{number}")
    depot.behaviour["bad"] = lack

    done = recover(journal, max_workers=1)

    assert len(done) == 8
    assert [one.outcome for one in done].count(COMPLETED) == 2


def test_a_limit_is_of_sagas_that_this_process_may_claim(journal: Any) -> None:
    """The oldest one, which it has let go, keeps no other back."""
    chain("bad").start(journal=journal, saga_id="x")
    chain("good").start(journal=journal, saga_id="y")
    depot.behaviour["bad"] = lack

    assert [one.saga_id for one in recover(journal, limit=1)] == ["x"]
    assert [one.saga_id for one in recover(journal, limit=1)] == ["y"]


def test_tries_of_before_are_kept(journal: Any) -> None:
    """Neither counted, nor forgotten: the saga may be one that kills its process."""
    plain().start(journal=journal, saga_id="x")

    recover(Faulty(journal, 0))
    before = seen(journal, "x")
    assert before.tries == 1
    depot.behaviour["b"] = lack

    assert takeover(journal, "x").outcome is RUNNING
    untouched(journal, before)


def test_others_see_at_once_that_a_saga_was_let_go() -> None:
    """Also if this process writes nothing more for long."""
    written: list[str] = []

    class Telling(Wrapped):
        def write(self, *changes: Any) -> None:
            written.extend(type(change).__name__ for change in changes)
            self._journal.write(*changes)

    journal = MemoryJournal(modules=["depot"])
    plain().start(journal=journal, saga_id="x")
    depot.behaviour["b"] = lack
    try:
        recover(Telling(journal))
    finally:
        depot.reset()

    assert written[-1] == "Leave"
