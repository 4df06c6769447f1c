"""What is around each call: entered before it and left after it, with a defined end for each error.

Every cell runs on each executor, and there with plain functions and with coroutine functions.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, NoReturn

import pytest
from ways import LATER, PLAIN, Way
from world import PATIENCE, Watch, World, failure_of, in_time, statuses, until_gone

from py_api_saga import (
    NOT_HAPPENED,
    Retry,
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    SagaStuck,
    current_operation,
    given,
    happened,
    result_of,
)
from py_api_saga.current import CurrentOperation
from py_api_saga.exceptions import LeavingError
from py_api_saga.executors.passage import is_strike
from py_api_saga.testing import operation

AT_ONCE = Retry(Exception, attempts=3, wait_initial=0, wait_max=0, wait_jitter=0)


@pytest.fixture(params=LATER)
def later(request: pytest.FixtureRequest) -> Way:
    """Run coroutine functions."""
    return Way(request.param, coroutines=True)


def noting(world: World, name: str) -> Any:
    """Make what notes when it is entered and left, and what leaves it."""

    @contextmanager
    def around(operation: CurrentOperation) -> Iterator[None]:
        world.note(f"{name} in {operation.direction} of {operation.operation}")
        try:
            yield
        except BaseException as error:
            world.note(f"{name} out by {type(error).__name__}")
            raise
        world.note(f"{name} out")

    return around


def failing(error: BaseException, *, leaving: bool, times: int = 10**9, of: str = "action") -> Any:
    """Make what raises as it is entered, or left, for the calls of a kind, so many times."""
    left = [times]

    @contextmanager
    def around(operation: CurrentOperation) -> Iterator[None]:
        strikes = operation.direction == of and left[0] > 0
        if strikes:
            left[0] -= 1
        if strikes and not leaving:
            raise error
        try:
            yield
        finally:
            if strikes and leaving:
                raise error

    return around


# --- in which order ------------------------------------------------------------------------------


def test_an_action_is_made_inside_and_the_first_is_outermost(way: Way, world: World) -> None:
    """Each is entered in its order, and left in the reverse one."""
    around = [noting(world, "a"), noting(world, "b")]

    results = way.execute(way.steps(world, "one", around=around))

    assert results == ["ONE"]
    assert world.log == ["a in action of one", "b in action of one", "one", "b out", "a out"]


def test_a_compensation_is_made_inside_too(way: Way, world: World) -> None:
    """What the failing action raises passes through, as it was."""
    saga = way.steps(world, "one", around=[noting(world, "a")])
    saga.operation((way.of(world.fail), "two", ValueError()), name="two", after="one")

    error = failure_of(way.execute, saga)

    assert type(error.operation_error) is ValueError
    assert world.log == [
        *("a in action of one", "one", "a out"),
        *("a in action of two", "two", "a out by ValueError"),
        *("a in compensation of one", "undo one", "a out"),
    ]


def test_a_question_is_asked_inside_too(way: Way, world: World) -> None:
    """It has a manager of its own, after that of the action has been left."""

    def ask(name: str, _: object) -> Any:
        world.note(f"ask {name}")
        return NOT_HAPPENED

    saga = SagaAssembler.saga(around=[noting(world, "a")]).operation(
        (way.of(world.fail), "one", ConnectionResetError()), name="one", on_doubt=way.of(ask)
    )

    error = failure_of(way.execute, saga)

    assert statuses(error) == {"one": "FAILED"}
    assert world.log == [
        *("a in action of one", "one", "a out by ConnectionResetError"),
        *("a in ask of one", "ask one", "a out"),
    ]


def test_each_attempt_has_its_own(way: Way) -> None:
    """The waits between them have none."""
    attempts: list[int] = []

    @contextmanager
    def around(operation: CurrentOperation) -> Iterator[None]:
        attempts.append(operation.attempt)
        yield

    def twice_in_vain() -> str:
        if len(attempts) < 3:
            raise ValueError
        return "done"

    saga = SagaAssembler.saga(around=[around]).operation(way.of(twice_in_vain), retry=AT_ONCE)

    assert way.execute(saga) == ["done"]
    assert attempts == [1, 2, 3]


def test_those_of_the_class_are_outermost(way: Way, world: World) -> None:
    """Then those that the saga was given; one of a subclass stands for that of its base."""

    class Shop(SagaAssembler):
        around = (noting(world, "class"),)

    class Corner(Shop):
        around = (noting(world, "corner"),)

    way.execute(Shop.saga(around=[noting(world, "saga")]).operation(way.of(lambda: None), name="x"))
    way.execute(Corner.saga().operation(way.of(lambda: None), name="y"))

    assert world.log == [
        *("class in action of x", "saga in action of x", "saga out", "class out"),
        *("corner in action of y", "corner out"),
    ]


def test_those_of_a_child_are_not_kept(way: Way, world: World) -> None:
    """Its operations are the parent's from then on."""
    child = way.steps(world, "inner", around=[noting(world, "child")])
    saga = SagaAssembler.saga(around=[noting(world, "parent")]).operation(child, name="c")

    way.execute(saga)

    assert world.log == ["parent in action of c.inner", "inner", "parent out"]


def test_results_are_put_in_inside(way: Way, world: World) -> None:
    """So what a result needs to be read, a session of a database say, is there by then."""

    class Row:
        def __getitem__(self, key: str) -> str:
            world.note(f"read {key}")
            return key

    saga = SagaAssembler.saga(around=[noting(world, "a")])
    saga.operation(way.of(Row), name="row")
    saga.operation((way.of(world.do), result_of("row")["shelf"]), name="use")

    assert way.execute(saga)["use"] == "SHELF"
    assert world.log[2:] == ["a in action of use", "read shelf", "shelf", "a out"]


def test_a_result_that_is_not_there_is_an_error_of_the_call(way: Way, world: World) -> None:
    """As without anything around: it fails, and what is around is left by that error."""
    saga = SagaAssembler.saga(around=[noting(world, "a")])
    saga.operation(way.of(dict), name="row")
    saga.operation((way.of(world.do), result_of("row")["shelf"]), name="use")

    error = failure_of(way.execute, saga)

    assert error.operation_name == "use"
    assert world.log[2:] == ["a in action of use", "a out by KeyError"]


# --- what is known inside ------------------------------------------------------------------------


def test_what_is_around_is_given_the_operation_that_is_current(way: Way) -> None:
    """`current_operation()` works there, and says the same."""
    keys: list[str] = []

    @contextmanager
    def around(operation: CurrentOperation) -> Iterator[None]:
        assert current_operation().idempotency_key == operation.idempotency_key
        keys.append(operation.idempotency_key)
        yield

    def act() -> None:
        keys.append(current_operation().idempotency_key)

    way.execute(SagaAssembler.saga(around=[around]).operation(way.of(act), name="act"))

    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_context_variable_that_is_set_there_is_seen_by_the_call(way: Way) -> None:
    """It is the same thread or task, and the same context; so it can be reset as well."""
    variable: ContextVar[str] = ContextVar("variable", default="outside")
    seen: list[str] = []

    @contextmanager
    def around(operation: CurrentOperation) -> Iterator[None]:
        token = variable.set(operation.operation)
        yield
        variable.reset(token)

    saga = SagaAssembler.saga(around=[around])
    way.execute(saga.operation(way.of(lambda: seen.append(variable.get())), name="inside"))

    assert seen == ["inside"]
    assert variable.get() == "outside"


WHERE = {
    ("orchestrator_execute", False): "caller",
    ("choreography_execute", False): "thread",
    ("aorchestrator_execute", False): "thread",
    ("achoreography_execute", False): "thread",
    ("aorchestrator_execute", True): "loop",
    ("achoreography_execute", True): "loop",
}


def test_a_call_knows_whose_thread_it_is_in(way: Way) -> None:
    """A connection of a thread of ours must be closed there; the caller's own must not."""
    where: list[str] = []

    @contextmanager
    def around(operation: CurrentOperation) -> Iterator[None]:
        where.append(operation.where)
        yield

    saga = SagaAssembler.saga(around=[around]).operation(
        way.of(lambda: where.append(current_operation().where))
    )
    way.execute(saga)

    assert where == [WHERE[way.method, way.coroutines]] * 2


@pytest.mark.parametrize("method", PLAIN)
def test_a_call_with_a_time_limit_is_in_a_thread_of_ours(method: str) -> None:
    """Also where the others are in the caller's."""
    where: list[str] = []

    saga = SagaAssembler.saga().operation(
        lambda: where.append(current_operation().where), timeout=PATIENCE
    )
    getattr(saga, method)()

    assert where == ["thread"]


def test_a_saga_in_a_call_of_another_is_in_its_callers_thread() -> None:
    """Whosever that is: what it must not do is close what the outer call uses."""
    where: list[str] = []

    def inner() -> None:
        where.append(current_operation().where)

    def outer() -> None:
        SagaAssembler.saga().operation(inner).orchestrator_execute()
        where.append(current_operation().where)

    SagaAssembler.saga().operation(outer).choreography_execute()

    assert where == ["caller", "thread"]


# --- an error in entering ------------------------------------------------------------------------


def test_an_error_in_entering_means_that_an_action_was_not_made(way: Way, world: World) -> None:
    """Without doubt, whatever the error: it has failed, and those outside are left."""
    lost = ConnectionResetError("no database")  # which would be in doubt, had a call raised it
    around = [noting(world, "outer"), failing(lost, leaving=False)]
    saga = way.steps(world, "one", around=around)

    error = failure_of(way.execute, saga)

    assert error.operation_error is lost
    assert statuses(error) == {"one": "FAILED"}
    assert world.log == ["outer in action of one", "outer out by ConnectionResetError"]


def test_an_error_in_entering_is_retried_by_the_policy(way: Way, world: World) -> None:
    """Like one that the call has raised."""
    around = [failing(ConnectionResetError(), leaving=False, times=2)]
    saga = SagaAssembler.saga(around=around).operation(
        (way.of(world.do), "one"), name="one", retry=AT_ONCE
    )

    assert way.execute(saga) == ["ONE"]
    assert world.log == ["one"]


def test_an_error_in_entering_does_not_end_an_earlier_doubt(way: Way, world: World) -> None:
    """The first attempt may have happened, so it is undone."""
    calls: list[int] = []

    @contextmanager
    def around(operation: CurrentOperation) -> Iterator[None]:
        if operation.direction == "action" and operation.attempt > 1:
            raise OSError("no database")
        yield

    def lost() -> None:
        calls.append(1)
        raise ConnectionResetError

    saga = SagaAssembler.saga(around=[around]).operation(
        way.of(lost), (way.of(world.undo), "one"), name="one", retry=AT_ONCE
    )
    error = failure_of(way.execute, saga)

    assert calls == [1]
    assert statuses(error) == {"one": "COMPENSATED"}
    assert world.log == ["undo one"]


def test_a_note_made_in_entering_leaves_no_doubt(way: Way, world: World) -> None:
    """What is around a call may send requests, but the call has not."""

    @contextmanager
    def around(operation: CurrentOperation) -> Iterator[None]:
        with operation.sending():
            raise ValueError
        yield

    error = failure_of(way.execute, way.steps(world, "one", around=[around]))

    assert statuses(error) == {"one": "FAILED"}


def undoing(way: Way, world: World, around: list[Any], **options: Any) -> SagaAssembler:
    """Make a saga whose first operation is undone, since the second one fails."""
    saga = SagaAssembler.saga(around=around).operation(
        (way.of(world.do), "one"), (way.of(world.undo), "one"), name="one", **options
    )
    return saga.operation((way.of(world.fail), "two", ValueError()), name="two", after="one")


@pytest.mark.parametrize("leaving", [False, True], ids=["entering", "leaving"])
def test_an_error_around_a_compensation_is_a_failed_attempt(
    way: Way, world: World, *, leaving: bool
) -> None:
    """It is tried again by `compensation_retry`."""
    around = [failing(OSError(), leaving=leaving, times=2, of="compensation")]
    saga = undoing(way, world, around, compensation_retry=AT_ONCE)

    error = failure_of(way.execute, saga)

    assert statuses(error)["one"] == "COMPENSATED"
    assert world.log.count("undo one") == (3 if leaving else 1)


@pytest.mark.parametrize("leaving", [False, True], ids=["entering", "leaving"])
def test_a_compensation_that_is_never_well_surrounded_is_stuck(
    way: Way, world: World, *, leaving: bool
) -> None:
    """With the error, and nothing is said to be undone."""
    lost = OSError("no database")
    saga = undoing(way, world, [failing(lost, leaving=leaving, of="compensation")])

    with pytest.raises(SagaStuck) as caught:
        way.execute(saga)

    told = caught.value.stuck["one"]
    assert told is not None
    assert (told if not leaving else told.__cause__) is lost
    assert ("undo one" in world.log) is leaving


@pytest.mark.parametrize("leaving", [False, True], ids=["entering", "leaving"])
def test_an_error_around_a_question_leaves_it_without_an_answer(
    way: Way, world: World, *, leaving: bool
) -> None:
    """Nobody knows, so the action in doubt is compensated."""
    asked: list[str] = []

    def ask(*_: object) -> Any:
        asked.append("asked")
        return NOT_HAPPENED

    around = [failing(OSError(), leaving=leaving, of="ask")]
    saga = SagaAssembler.saga(around=around).operation(
        (way.of(world.fail), "one", ConnectionResetError()),
        (way.of(world.undo), "one"),
        name="one",
        on_doubt=way.of(ask),
    )

    error = failure_of(way.execute, saga)

    assert statuses(error) == {"one": "COMPENSATED"}
    assert asked == ["asked"] * leaving
    assert world.log == ["one", "undo one"]


# --- an interrupt --------------------------------------------------------------------------------


class Stop(SystemExit):
    """What strikes."""


class SoftTimeLimitExceeded(Exception):
    """A time limit, known by its name."""


SoftTimeLimitExceeded.__module__ = "billiard.exceptions"
INTERRUPTS = (Stop, SoftTimeLimitExceeded)


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_an_interrupt_in_entering_means_that_an_action_was_not_made(
    way: Way, world: World, interrupt: type[BaseException]
) -> None:
    """It is raised again once what was done is undone, and the action's own undo is not called."""

    @contextmanager
    def around(operation: CurrentOperation) -> Iterator[None]:
        if operation.operation == "two":
            raise interrupt
        yield

    watch = Watch()
    saga = way.steps(world, "one", "two", around=[around], observers=[watch])

    with pytest.raises(interrupt):
        way.execute(saga)

    assert world.log == ["one", "undo one"]
    assert "two: in doubt" not in watch.lines
    assert watch.lines[-1] == "saga: saga ended"


@pytest.mark.parametrize("interrupt", INTERRUPTS)
@pytest.mark.parametrize("leaving", [False, True], ids=["entering", "leaving"])
def test_an_interrupt_around_a_compensation_has_it_called_once_more(
    way: Way, world: World, interrupt: type[BaseException], *, leaving: bool
) -> None:
    """It counts as not made; a second time it is stuck, and does not go on for ever."""
    around = [failing(interrupt(), leaving=leaving, times=1, of="compensation")]
    with pytest.raises(interrupt):
        way.execute(undoing(way, world, around))
    assert world.standing == []
    assert world.log[-1] == "undo one"

    again, watch = World(), Watch()
    around = [failing(interrupt(), leaving=leaving, of="compensation")]
    saga = undoing(way, again, around)
    saga.observers = [watch]
    with pytest.raises(interrupt):
        in_time(lambda: way.execute(saga))
    assert "one: stuck" in watch.lines


def test_an_interrupt_while_entering_in_vain_is_judged_comes_before_the_call_too(
    way: Way, world: World
) -> None:
    """The function in a policy is asked about what entering has raised."""

    def strike(_: Exception) -> bool:
        raise Stop

    saga = SagaAssembler.saga(around=[failing(OSError(), leaving=False)]).operation(
        (way.of(world.do), "one"), (way.of(world.undo), "one"), name="one", retry=Retry(strike)
    )

    with pytest.raises(Stop):
        way.execute(saga)

    assert world.log == []


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_an_interrupt_in_leaving_an_action_leaves_it_in_doubt(
    way: Way, world: World, interrupt: type[BaseException]
) -> None:
    """As one that strikes in the action itself: its own undo is called."""
    saga = way.steps(world, "one", around=[failing(interrupt(), leaving=True)])

    with pytest.raises(interrupt):
        way.execute(saga)

    assert world.log == ["one", "undo one"]


def test_an_interrupt_in_leaving_after_an_error_is_not_lost(way: Way, world: World) -> None:
    """It counts as if it had come in the call."""
    saga = SagaAssembler.saga(around=[failing(Stop(), leaving=True)]).operation(
        (way.of(world.fail), "one", ValueError()), (way.of(world.undo), "one"), name="one"
    )

    with pytest.raises(Stop):
        way.execute(saga)

    assert world.log == ["one", "undo one"]


def test_a_cancellation_in_entering_means_that_a_coroutine_was_not_made(world: World) -> None:
    """What is around it is left, and the saga is undone."""
    chain = Way("aorchestrator_execute", coroutines=True)

    async def main() -> None:
        entered = asyncio.Event()

        @asynccontextmanager
        async def around(operation: CurrentOperation) -> AsyncIterator[None]:
            if operation.operation == "two":
                entered.set()
                try:
                    await asyncio.sleep(PATIENCE)
                finally:
                    world.note("gave up")
            yield

        saga = chain.steps(world, "one", "two", around=[around])
        task = asyncio.ensure_future(saga.aorchestrator_execute())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert world.log == ["one", "gave up", "undo one"]


# --- an error in leaving -------------------------------------------------------------------------


def test_an_error_in_leaving_an_action_leaves_it_in_doubt(way: Way, world: World) -> None:
    """A failed commit may have committed: its own compensation is called."""
    lost = ValueError("commit")  # which a call could raise without any doubt
    around = [noting(world, "outer"), failing(lost, leaving=True)]

    error = failure_of(way.execute, way.steps(world, "one", around=around))

    assert statuses(error) == {"one": "COMPENSATED"}
    told = error.operation_error
    assert isinstance(told, LeavingError)
    assert told.__cause__ is lost
    assert str(told) == (
        "the action of operation 'one' had succeeded, but failing.<locals>.around, which is around "
        "it, raised ValueError as it was left"
    )
    assert world.log[:3] == ["outer in action of one", "one", "outer out by ValueError"]
    assert "undo one" in world.log


def test_what_is_raised_in_leaving_is_retried_by_its_own_type(way: Way, world: World) -> None:
    """A policy names what a commit raises, not what this library makes of it."""
    once = Retry(KeyError, attempts=3, wait_initial=0, wait_max=0, wait_jitter=0)
    around = [failing(KeyError(), leaving=True, times=1)]
    saga = SagaAssembler.saga(around=around).operation(
        (way.of(world.do), "one"), name="one", retry=once
    )

    assert way.execute(saga) == ["ONE"]
    assert world.log == ["one", "one"]


def test_an_error_in_leaving_after_an_error_is_logged(
    way: Way, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """What the call has raised counts."""
    first = ValueError()
    around = [noting(world, "outer"), failing(OSError("no rollback"), leaving=True)]
    saga = SagaAssembler.saga(around=around).operation(
        (way.of(world.fail), "one", first), (way.of(world.undo), "one"), name="one"
    )

    error = failure_of(way.execute, saga)

    assert error.operation_error is first
    assert statuses(error) == {"one": "FAILED"}
    assert world.log == ["outer in action of one", "one", "outer out by ValueError"]
    record = caplog.records[0]
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        "what is around each call, failing.<locals>.around, raised as it was left, after the "
        "action of operation one had failed: that counts"
    )


def test_an_error_that_is_raised_again_is_no_other_one(
    way: Way, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Some managers raise what they were given, which is not worth a line in the log."""

    class Again:
        def __enter__(self) -> None: ...

        def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
            if error is not None:
                raise error

    saga = SagaAssembler.saga(around=[lambda _: Again()]).operation(
        (way.of(world.fail), "one", ValueError()), name="one"
    )

    assert type(failure_of(way.execute, saga).operation_error) is ValueError
    assert not caplog.records


class Swallowing:
    """A manager of either kind that suppresses whatever leaves it."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> bool:
        return True


class SwallowingLater:
    """Another one, to be awaited."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> bool:
        return True


def swallowing(_: CurrentOperation) -> Swallowing:
    """Give one."""
    return Swallowing()


def swallowing_later(_: CurrentOperation) -> SwallowingLater:
    """Give one."""
    return SwallowingLater()


def test_an_error_cannot_be_suppressed(way: Way, world: World) -> None:
    """Whoever is outside sees it as well."""
    around = [noting(world, "outer"), swallowing_later if way.coroutines else swallowing]
    first = ValueError()
    saga = SagaAssembler.saga(around=around).operation(
        (way.of(world.fail), "one", first), name="one"
    )

    assert failure_of(way.execute, saga).operation_error is first
    assert world.log[-1] == "outer out by ValueError"


def test_an_interrupt_cannot_be_suppressed_either(way: Way, world: World) -> None:
    """It is raised when all is undone."""
    around = [swallowing_later if way.coroutines else swallowing]
    saga = way.steps(world, "one", around=around)
    saga.operation((way.of(world.fail), "two", Stop()), name="two", after="one")

    with pytest.raises(Stop):
        way.execute(saga)

    assert world.log == ["one", "two", "undo one"]


def test_an_error_in_entering_cannot_be_suppressed_outside(way: Way, world: World) -> None:
    """The call was not made, whatever those outside make of it."""
    around = [swallowing, failing(OSError(), leaving=False)]

    error = failure_of(way.execute, way.steps(world, "one", around=around))

    assert statuses(error) == {"one": "FAILED"}
    assert world.log == []


def test_what_notes_a_success_in_a_manager_is_told_of_an_awaitable(world: World) -> None:
    """A plain function that returns one has failed, and must not be committed."""

    async def forgotten() -> None: ...

    def call() -> Any:
        return forgotten()

    saga = SagaAssembler.saga(around=[noting(world, "a")]).operation(call, name="call")

    with pytest.raises(SagaException, match="returned an awaitable"):
        saga.orchestrator_execute()
    assert world.log[-1] == "a out by TypeError"


# --- under asyncio -------------------------------------------------------------------------------


def test_a_coroutine_may_have_managers_of_both_kinds(later: Way, world: World) -> None:
    """In one order; what has both ways is awaited."""

    @asynccontextmanager
    async def awaited(operation: CurrentOperation) -> AsyncIterator[None]:
        world.note(f"awaited in {operation.operation}")
        await asyncio.sleep(0)
        yield
        await asyncio.sleep(0)
        world.note("awaited out")

    class Both:
        def __init__(self, _: CurrentOperation) -> None: ...

        def __enter__(self) -> NoReturn:
            raise AssertionError

        def __exit__(self, *_: object) -> None: ...

        async def __aenter__(self) -> None:
            world.note("both in")

        async def __aexit__(
            self,
            _: type[BaseException] | None,
            error: BaseException | None,
            __: TracebackType | None,
        ) -> None:
            world.note(f"both out, {error}")

    saga = later.steps(world, "one", around=[awaited, noting(world, "plain"), Both])
    later.execute(saga)

    assert world.log == [
        *("awaited in one", "plain in action of one", "both in", "one"),
        *("both out, None", "plain out", "awaited out"),
    ]


def test_a_manager_may_give_what_is_awaited(later: Way, world: World) -> None:
    """It need not be a coroutine function."""

    class Given:
        def __init__(self, _: CurrentOperation) -> None: ...

        def __aenter__(self) -> Any:
            world.note("in")
            return asyncio.sleep(0)

        def __aexit__(self, *_: object) -> Any:
            world.note("out")
            return asyncio.sleep(0)

    assert later.execute(later.steps(world, "one", around=[Given])) == ["ONE"]
    assert world.log == ["in", "one", "out"]


@contextlib.asynccontextmanager
async def later_only(_: CurrentOperation) -> AsyncIterator[None]:
    """Give a manager that has to be awaited."""
    yield


class OnlyLater(SwallowingLater):
    """A class of them."""

    def __init__(self, _: CurrentOperation) -> None: ...


@pytest.mark.parametrize("around", [later_only, OnlyLater, functools.partial(later_only)])
@pytest.mark.parametrize("method", [*PLAIN, *LATER])
def test_a_plain_function_with_a_manager_to_be_awaited_is_refused(
    method: str, around: Any, world: World
) -> None:
    """Before anything runs."""
    saga = Way(method, coroutines=method in LATER).steps(world, "one", around=[around])
    saga.operation((world.do, "two"), name="two")

    with pytest.raises(SagaDefinitionError) as caught:
        Way(method, coroutines=False).execute(saga)

    number = 2 if method in LATER else 1
    name = "two" if method in LATER else "one"
    assert str(caught.value).startswith(
        f"operation {number}, {name!r}: the action is a plain function: expected context managers "
        "around it that need not be awaited, got "
    )
    assert world.log == []


def test_a_plain_undo_or_question_is_refused_as_well(world: World) -> None:
    """They are made inside of the same."""

    async def act() -> None:
        world.note("act")

    for options in ({"compensation": lambda: None}, {"on_doubt": happened}):
        undo = options.pop("compensation", None)
        saga = SagaAssembler.saga(around=[later_only]).operation(act, undo, **options)
        with pytest.raises(
            SagaDefinitionError, match=r"the (compensation|ask) is a plain function"
        ):
            asyncio.run(saga.aorchestrator_execute())
    assert world.log == []


def test_what_shows_itself_only_when_called_has_failed_in_entering(world: World) -> None:
    """Nobody can know before that it gives what must be awaited."""
    saga = SagaAssembler.saga(around=[swallowing_later]).operation((world.do, "one"), name="one")

    error = failure_of(lambda saga: saga.orchestrator_execute(), saga)

    assert statuses(error) == {"one": "FAILED"}
    assert str(error.operation_error) == (
        "around: swallowing_later returned an asynchronous context manager, SwallowingLater, for a "
        "plain function"
    )
    assert world.log == []


# --- what makes no sense -------------------------------------------------------------------------


@contextmanager
def fine(_: CurrentOperation) -> Iterator[None]:
    """Do nothing."""
    yield


async def awaited(_: CurrentOperation) -> Any:
    """Give what nobody awaits."""


def generator(_: CurrentOperation) -> Iterator[None]:
    """Lack a decorator."""
    yield


WRONG = {
    "a function": fine,
    "a text": "shop:session",
    "a number": 3,
    "one that is not callable": [fine, 3],
    "one that is None": [None],
    "a coroutine function": [awaited],
}


@pytest.mark.parametrize("around", WRONG.values(), ids=WRONG)
def test_what_cannot_be_around_is_refused_when_the_saga_is_made(around: Any) -> None:
    """As an attribute of a class when it is run, before anything is."""
    with pytest.raises(SagaDefinitionError, match=r"^saga: around: expected "):
        SagaAssembler.saga(around=around)

    shop: type[SagaAssembler] = type("Shop", (SagaAssembler,), {"around": around})
    with pytest.raises(SagaDefinitionError, match=r"^saga: around: expected "):
        shop.saga().operation(str).orchestrator_execute()


NO_MANAGERS = {
    "nothing": (lambda _: None, "returned NoneType, expected a context manager"),
    "a number": (lambda _: 5, "returned int, expected a context manager"),
    "a coroutine": (
        functools.partial(awaited),
        "returned coroutine, expected a context manager",
    ),
    "a generator": (
        generator,
        "returned generator, expected a context manager{}; is @contextmanager missing?",
    ),
}


@pytest.mark.parametrize("what", NO_MANAGERS)
def test_what_returns_no_context_manager_fails_the_call(what: str, way: Way, world: World) -> None:
    """Without doubt, and in words that name the type."""
    around, words = NO_MANAGERS[what]
    either = " or an asynchronous one" if way.coroutines else ""

    error = failure_of(way.execute, way.steps(world, "one", around=[around]))

    assert statuses(error) == {"one": "FAILED"}
    assert isinstance(error.operation_error, TypeError)
    assert words.split("{}")[0] in str(error.operation_error)
    assert either in str(error.operation_error)
    assert world.log == []


def test_a_manager_that_is_used_up_fails_the_call(way: Way, world: World) -> None:
    """As `@contextmanager` tells it."""
    one = fine(None)  # type: ignore[arg-type]
    saga = way.steps(world, "one", "two", around=[lambda _: one])

    error = failure_of(way.execute, saga)

    assert error.operation_name == "two"
    assert statuses(error) == {"one": "STUCK", "two": "FAILED"}


# --- time limits ---------------------------------------------------------------------------------


def test_entering_is_within_the_time_limit_of_a_thread(world: World) -> None:
    """What is given up may still make its call: it is in doubt, and its straggler lands."""
    opened, watch = threading.Event(), Watch()

    @contextmanager
    def around(operation: CurrentOperation) -> Iterator[None]:
        world.note(f"in {operation.direction}, {operation.where}")
        if operation.direction == "action":
            opened.wait(PATIENCE)
        yield
        world.note(f"out of {operation.direction}")

    saga = SagaAssembler.saga(around=[around], observers=[watch]).operation(
        (world.do, "one"), (world.undo, "one"), name="one", timeout=0.01
    )
    error = failure_of(lambda saga: saga.orchestrator_execute(), saga)
    assert statuses(error) == {"one": "COMPENSATED"}
    opened.set()
    watch.wait_for("saga ended", times=2)

    assert world.standing == []
    assert world.log == [
        *("in action, thread", "in compensation, thread", "undo one", "out of compensation"),
        *("one", "out of action"),
        *("in compensation, thread", "undo one", "out of compensation"),
    ]


def test_entering_is_within_the_time_limit_of_a_coroutine(later: Way, world: World) -> None:
    """Which is cancelled, so its call was surely not made."""

    @asynccontextmanager
    async def around(operation: CurrentOperation) -> AsyncIterator[None]:
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            world.note(f"gave up {operation.operation}")
        yield

    saga = SagaAssembler.saga(around=[around]).operation(
        (later.of(world.do), "one"), (later.of(world.undo), "one"), name="one", timeout=0.01
    )
    error = failure_of(later.execute, saga)

    assert statuses(error) == {"one": "FAILED"}
    assert isinstance(error.operation_error, TimeoutError)
    assert world.log == ["gave up one"]


def test_a_coroutine_that_took_too_long_is_left_by_its_cancellation(
    later: Way, world: World
) -> None:
    """And is in doubt, as without anything around it."""

    async def slow() -> None:
        await asyncio.sleep(PATIENCE)

    saga = SagaAssembler.saga(around=[noting(world, "a")]).operation(
        slow, (later.of(world.undo), "slow"), name="slow", timeout=0.01
    )
    error = failure_of(later.execute, saga)

    assert statuses(error) == {"slow": "COMPENSATED"}
    assert world.log[:2] == ["a in action of slow", "a out by CancelledError"]


# --- with arguments given -------------------------------------------------------------------------


def test_a_saga_that_is_given_its_arguments_has_what_it_was_written_with(
    way: Way, world: World
) -> None:
    """They are put in inside, as results are."""
    saga = SagaAssembler.saga(around=[noting(world, "a")]).operation(
        (way.of(world.do), given("what")), (way.of(world.undo), given("what")), name="one"
    )

    assert way.execute(saga.given(what="mug")) == ["MUG"]  # type: ignore[arg-type]
    assert world.log == ["a in action of one", "mug", "a out"]


def test_an_error_that_was_raised_nowhere_is_not_a_strike() -> None:
    """It has no frame that could tell."""
    assert not is_strike(ValueError(), None, globals())


# --- what stays alive ----------------------------------------------------------------------------


def test_nothing_stays_alive_after_a_failure(way: Way) -> None:
    """Errors know the frames that they have passed, which must not know the errors."""

    class Thing:
        pass

    def act(_: Thing) -> NoReturn:
        raise ValueError

    def run() -> weakref.ref[Thing]:
        thing = Thing()
        saga = SagaAssembler.saga(around=[swallowing, fine]).operation((way.of(act), thing))
        with pytest.raises(SagaException):
            way.execute(saga)
        return weakref.ref(thing)

    run()  # what is imported late
    if way.method == "orchestrator_execute":
        gc.disable()
        try:
            assert run()() is None
        finally:
            gc.enable()
    until_gone(lambda: [run()])


def test_the_fixture_of_unit_tests_has_a_place_too() -> None:
    """A function that asks for it can be tested by itself."""
    with operation(where="thread"):
        assert current_operation().where == "thread"
    with operation():
        assert current_operation().where == "caller"
