"""One fault, by hand: in whatever runs a saga, it is as if the function had raised it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import depot
import pytest
from recorded import chain
from world import PATIENCE, World, failure_of, statuses, steps

from py_api_saga import (
    NOT_HAPPENED,
    Retry,
    SagaAssembler,
    SagaException,
    SagaStatus,
    arecover,
    recover,
    takeover,
)
from py_api_saga.executors import driving
from py_api_saga.testing import fail_at, inline_choreography

AT_ONCE = Retry(ConnectionError, attempts=3, wait_initial=0, wait_max=0, wait_jitter=0)


class Declined(Exception):
    """What a bank says."""


@pytest.fixture(autouse=True)
def nothing_stays() -> Any:
    """Each block has taken back what it did to the runs of this process."""
    yield
    assert driving._changes == ()  # noqa: SLF001 - where it would be


# --- before and after ----------------------------------------------------------------------------


def test_it_is_refused_before_it_has_an_effect(execute: Any, world: World) -> None:
    """On each executor: what was done before is undone, and of this there is nothing to undo."""
    with fail_at("b", Declined("no")):
        error = failure_of(execute, steps(world, "a", "b", "c"))

    assert world.log == ["a", "undo a"]
    assert isinstance(error.__cause__, Declined)
    assert statuses(error) == {"a": "COMPENSATED", "b": "FAILED", "c": "PENDING"}


def test_its_answer_is_lost(execute: Any, world: World) -> None:
    """The effect was made, an error that leaves doubt is raised, and its own undo is called."""
    with fail_at("b", ConnectionResetError, after=True):
        error = failure_of(execute, steps(world, "a", "b", "c"))

    assert world.log == ["a", "b", "undo b", "undo a"]
    assert world.standing == []
    assert statuses(error)["b"] == "COMPENSATED"


def test_an_undo_fails(execute: Any, world: World) -> None:
    """By the name of its operation, with "undo" before it."""
    with fail_at("c", Declined), fail_at("undo b", OSError("no")):
        error = failure_of(execute, steps(world, "a", "b", "c"))

    assert world.standing == ["b"]
    assert set(error.stuck) == {"b"}


def test_the_answer_of_an_undo_is_lost(execute: Any, world: World) -> None:
    """It was made, and nobody knows."""
    with fail_at("b", Declined), fail_at("undo a", OSError("no"), after=True):
        error = failure_of(execute, steps(world, "a", "b"))

    assert world.standing == []
    assert set(error.stuck) == {"a"}


def test_another_attempt_succeeds(execute: Any, world: World) -> None:
    """The first calls fail, so many as it says."""
    saga = SagaAssembler.saga(retry=AT_ONCE).operation((world.do, "a"), name="a")

    with fail_at("a", ConnectionResetError, times=2, after=True):
        execute(saga)

    assert world.log == ["a", "a", "a"]


def test_each_attempt_fails(execute: Any, world: World) -> None:
    """Without a number it goes on."""
    saga = SagaAssembler.saga(retry=AT_ONCE).operation((world.do, "a"), (world.undo, "a"), name="a")

    with fail_at("a", ConnectionRefusedError("busy"), times=None):
        failure_of(execute, saga)

    assert world.log == []


def test_a_question_is_asked_about_it(world: World) -> None:
    """`on_doubt` and `doubtful` see no difference to an error of the function itself."""
    asked: list[str] = []

    def ask(name: str) -> Any:
        asked.append(name)
        return NOT_HAPPENED

    saga = SagaAssembler.saga().operation((world.do, "a"), (world.undo, "a"), on_doubt=ask)

    with fail_at("do", ConnectionResetError):
        failure_of(lambda saga: saga.orchestrator_execute(), saga)

    assert (asked, world.log) == (["a"], [])


def test_what_is_around_the_call_sees_the_error(execute_sync: Any, world: World) -> None:
    """Its transaction, say, is rolled back."""
    seen: list[str] = []

    class Around:
        def __init__(self, operation: Any) -> None:
            self.name = operation.operation

        def __enter__(self) -> None: ...

        def __exit__(self, kind: object, *_: object) -> None:
            seen.append(f"{self.name}: {getattr(kind, '__name__', kind)}")

    saga = SagaAssembler.saga(around=[Around]).operation((world.do, "a"), name="a")
    saga.operation((world.do, "b"), name="b", after="a")

    with fail_at("b", Declined):
        failure_of(execute_sync, saga)

    assert seen == ["a: None", "b: Declined"]


def test_coroutine_functions_fail_too(execute_async: Any, world: World) -> None:
    """Before and after."""

    async def act(name: str) -> str:
        await asyncio.sleep(0)
        return world.do(name)

    async def back(name: str) -> None:
        await asyncio.sleep(0)
        world.undo(name)

    saga = SagaAssembler.saga().operation((act, "a"), (back, "a"), name="a", retry=AT_ONCE)
    saga.operation((act, "b"), (back, "b"), name="b", after="a")

    with fail_at("b", ConnectionResetError, after=True):
        failure_of(execute_async, saga)
    with fail_at("a", ConnectionRefusedError):
        execute_async(saga)

    assert world.log == ["a", "b", "undo b", "undo a", "a", "b"]


def test_an_interrupt_is_one(execute_sync: Any, world: World) -> None:
    """All is undone, and it is raised again; nothing remains of the fault."""
    with pytest.raises(KeyboardInterrupt), fail_at("b", KeyboardInterrupt):
        execute_sync(steps(world, "a", "b"))

    assert world.standing == []
    execute_sync(steps(world, "a", "b"))
    assert world.standing == ["a", "b"]


# --- what is run in whatever way -----------------------------------------------------------------


def test_a_child_saga_fails_at_one_of_its_operations(execute: Any, world: World) -> None:
    """Under the name that it has in the whole."""
    saga = steps(world, "a").operation(steps(world, "box", "label"), name="packing", after="a")

    with fail_at("packing.label", Declined):
        failure_of(execute, saga)

    assert world.standing == []


def test_what_is_given_at_each_run_fails_in_one(world: World) -> None:
    """The saga itself is left as it was."""
    saga = steps(world, "a", "b")
    given: Any = saga.given()

    with fail_at("b", Declined):
        failure_of(lambda saga: saga.orchestrator_execute(), given)
    given.orchestrator_execute()

    assert world.standing == ["a", "b"]


@pytest.mark.parametrize(
    "method",
    [
        "orchestrator_execute",
        "choreography_execute",
        "aorchestrator_execute",
        "achoreography_execute",
    ],
)
def test_it_holds_in_a_thread_that_knows_nothing_of_the_block(method: str, world: World) -> None:
    """A server that answers the test may run the saga in one."""
    errors: list[Any] = []

    def serve() -> None:
        try:
            running = getattr(steps(world, "a", "b"), method)()
            if method.startswith("a"):
                asyncio.run(running)
        except SagaException as error:
            errors.append(error.operation_name)

    with fail_at("b", Declined):
        thread = threading.Thread(target=serve)
        thread.start()
        thread.join(PATIENCE)

    assert errors == ["b"]
    assert world.standing == []


def test_it_works_in_line(world: World) -> None:
    """So in Django's `TestCase`, one call after the other."""
    threads: set[threading.Thread] = set()
    saga = SagaAssembler.saga()
    for name in "ab":
        saga.operation(lambda: threads.add(threading.current_thread()), name=name)

    with inline_choreography(), fail_at("b", ConnectionResetError, after=True):
        failure_of(lambda saga: saga.choreography_execute(), saga)

    assert threads == {threading.current_thread()}
    assert world.log == []


def test_a_saga_on_record_fails(execute: Any, journal: Any) -> None:
    """In each journal; and what is recorded is the saga itself."""
    with fail_at("b", ConnectionResetError, after=True):
        error = failure_of(execute, chain("a", "b"), journal=journal, saga_id="x")

    assert depot.standing == []
    assert statuses(error) == {"a": "COMPENSATED", "b": "COMPENSATED"}


@pytest.mark.parametrize(
    "go_on",
    [
        recover,
        lambda journal: recover(journal, max_workers=0),
        lambda journal: asyncio.run(arecover(journal)),
        lambda journal: [takeover(journal, "x")],
    ],
    ids=["recover", "in this thread", "arecover", "takeover"],
)
@pytest.mark.parametrize("at_once", [False, True])
def test_a_saga_fails_as_it_is_recovered(
    go_on: Callable[[Any], Any], journal: Any, *, at_once: bool
) -> None:
    """In whatever thread or loop that is done."""
    chain("a", "b").start(journal=journal, saga_id="x", at_once=at_once)

    with fail_at("b", ConnectionResetError, after=True), fail_at("undo a", OSError):
        [done] = go_on(journal)

    assert done.outcome is SagaStatus.STUCK
    assert depot.standing == ["a"]


def test_coroutine_functions_fail_as_they_are_recovered(journal: Any) -> None:
    """In the loop that recovery has for them."""
    saga = SagaAssembler.saga().operation((depot.ado, "a"), (depot.aundo, "a"), name="a")
    saga.start(journal=journal, saga_id="x")

    with fail_at("a", Declined, after=True):
        [done] = recover(journal)

    assert done.outcome is SagaStatus.COMPENSATED
    assert depot.log == ["a"]


# --- several, and the end of it ------------------------------------------------------------------


def test_the_inner_one_of_two_fails_first(world: World) -> None:
    """Of one operation: another attempt meets the outer one."""
    saga = SagaAssembler.saga(retry=AT_ONCE).operation((world.do, "a"), name="a")

    with fail_at("a", ConnectionResetError("outer")), fail_at("a", ConnectionResetError("inner")):
        saga.orchestrator_execute()

    assert world.log == ["a"]


def test_two_sagas_at_once_have_so_many_faults_between_them(world: World) -> None:
    """Of many runs, each in a thread, so many fail as it says."""
    failures: list[str] = []

    def serve() -> None:
        try:
            steps(world, "a").orchestrator_execute()
        except SagaException as error:
            failures.append(str(error.operation_name))

    with fail_at("a", Declined, times=3):
        threads = [threading.Thread(target=serve) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)

    assert failures == ["a"] * 3
    assert world.standing == ["a"] * 5


def test_what_goes_on_after_the_block_is_left_alone(world: World) -> None:
    """A run that was begun in it calls the function as it is."""
    opened, begun = threading.Event(), threading.Event()

    def gate() -> None:
        begun.set()
        assert opened.wait(PATIENCE)

    saga = SagaAssembler.saga().operation(gate, name="gate").operation((world.do, "b"), name="b")
    thread = threading.Thread(target=saga.orchestrator_execute)

    def begin() -> None:
        thread.start()
        assert begun.wait(PATIENCE)

    with pytest.raises(AssertionError, match="it was never called"), fail_at("b", Declined):
        begin()
    opened.set()
    thread.join(PATIENCE)

    assert world.log == ["b"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, pytest.skip.Exception])
def test_an_interrupt_of_the_test_goes_as_it_came(error: type[BaseException]) -> None:
    """Whether the fault had happened or not; and nothing remains."""
    with pytest.raises(error), fail_at("a", Declined):
        raise error


# --- a fault that did not happen -----------------------------------------------------------------


def _missed(where: str, saga: Any, world: World, **options: Any) -> str:
    """Say what a fault complains of that did not happen."""
    run = (lambda: None) if saga is None else saga(world).orchestrator_execute
    with pytest.raises(AssertionError) as caught, fail_at(where, Declined, **options):
        run()
    return str(caught.value)


@pytest.mark.parametrize(
    ("where", "options", "saga", "says"),
    [
        ("a", {}, None, "fail_at('a'): no saga was run in this block"),
        (
            "c",
            {},
            lambda world: steps(world, "a", "b"),
            "fail_at('c'): nothing that was run has an operation 'c'; there were a, b",
        ),
        (
            "undo c",
            {},
            lambda world: steps(world, "a"),
            "fail_at('undo c'): nothing that was run has an operation 'c'; there were a",
        ),
        (
            "undo a",
            {},
            lambda world: SagaAssembler.saga().operation((world.do, "a"), name="a"),
            "fail_at('undo a'): operation 'a' has no compensation",
        ),
        (
            "undo a",
            {},
            lambda world: steps(world, "a"),
            "fail_at('undo a'): it was never called, so it did not fail",
        ),
        (
            "a",
            {"times": 2},
            lambda world: steps(world, "a", retry=Retry(ArithmeticError)),
            "fail_at('a'): it failed once, expected times=2: it was not called so often",
        ),
        (
            "a",
            {"after": True},
            lambda world: SagaAssembler.saga(retry=AT_ONCE).operation(
                (world.fail, "a", ConnectionRefusedError()), name="a"
            ),
            "fail_at('a'): it was called 3 times, and raised an error of its own",
        ),
    ],
)
def test_a_fault_that_did_not_happen_fails_the_test(
    where: str, options: Any, saga: Any, says: str, world: World
) -> None:
    """And says why: also if the saga has failed otherwise, as the test may expect."""
    assert _missed(where, saga, world, **options) == says


def test_what_else_was_raised_is_its_cause(world: World) -> None:
    """So the test does not pass since the saga has failed somewhere else."""
    saga = SagaAssembler.saga().operation((world.fail, "a", Declined()), name="a")

    with pytest.raises(AssertionError) as caught, fail_at("b", Declined):
        saga.orchestrator_execute()

    assert isinstance(caught.value.__cause__, SagaException)


def test_an_assertion_of_the_test_has_it_in_a_note(world: World) -> None:
    """It fails anyway, and this may be why."""
    with pytest.raises(AssertionError, match="nothing stands") as caught, fail_at("b", Declined):
        _expect_nothing(world)

    assert caught.value.__notes__ == [
        "fail_at('b'): nothing that was run has an operation 'b'; there were a"
    ]


def test_an_assertion_after_the_fault_stands_alone(world: World) -> None:
    """There is nothing to add."""
    saga = steps(world, "b", retry=Retry(Declined, wait_initial=0, wait_max=0, wait_jitter=0))

    with pytest.raises(AssertionError, match="nothing stands") as caught, fail_at("b", Declined):
        _expect_nothing(world, saga)

    assert not hasattr(caught.value, "__notes__")


def _expect_nothing(world: World, saga: Any = None) -> None:
    """Run a saga, and do not like what it does."""
    (saga or steps(world, "a")).orchestrator_execute()
    raise AssertionError("nothing stands")


class Picky(Exception):
    """An error that wants to know of what."""

    def __init__(self, order: str) -> None:
        super().__init__(order)


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "says"),
    [
        ((print, Declined), {}, TypeError, 'the name of an operation, such as "charge"'),
        (("a", "Declined"), {}, TypeError, "an exception, or a class of one, got str"),
        (("a", int), {}, TypeError, "an exception, or a class of one, got type"),
        (("a", Picky), {}, TypeError, "the class Picky, which can't be made without arguments"),
        (("a", Declined), {"times": 0}, ValueError, "at least 1, or None for each call, got 0"),
        (("a", Declined), {"times": "2"}, TypeError, "a whole number or None, got str"),
        (("a", Declined), {"times": True}, TypeError, "a whole number or None, got bool"),
    ],
)
def test_bad_input_is_refused_in_words(
    arguments: Any, options: Any, kind: type[Exception], says: str
) -> None:
    """By an error that no test expects which expects that a saga fails."""
    with pytest.raises(kind, match=says), fail_at(*arguments, **options):
        raise NotImplementedError
