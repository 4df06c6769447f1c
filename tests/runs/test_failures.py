"""When an operation fails: who is undone, in which order, and what the caller is told."""

import asyncio
import threading

import pytest
from world import PATIENCE, Execute, World, failure_of, statuses, steps

from py_api_saga import (
    Retry,
    SagaAssembler,
    SagaException,
    SagaStatus,
    SagaStuck,
    Status,
    result_of,
)

AT_ONCE = Retry(Exception, attempts=3, wait_initial=0, wait_jitter=0)
IN_AN_HOUR = Retry(Exception, attempts=3, wait_initial=3600, wait_max=3600, wait_jitter=0)


class CardDeclined(Exception):
    """The bank says no."""


def meet(world: World, name: str, barrier: threading.Barrier, error: Exception | None) -> str:
    """Wait until all have come, then fail or take effect."""
    barrier.wait(PATIENCE)
    if error is not None:
        world.fail(name, error)
    return world.do(name)


# --- who is undone --------------------------------------------------------------------------------


def test_what_was_done_is_undone_in_reverse(execute: Execute, world: World) -> None:
    """The last one first; what comes after the failure is never started."""
    saga = steps(world, "stock", "label", "charge")
    saga.operation((world.fail, "courier", CardDeclined()), name="courier", after="charge")
    saga.operation((world.do, "mail"), (world.undo, "mail"), name="mail", after="courier")

    error = failure_of(execute, saga)

    undone = ["undo charge", "undo label", "undo stock"]
    assert world.log == ["stock", "label", "charge", "courier", *undone]
    assert world.standing == []
    assert statuses(error) == {
        "stock": "COMPENSATED",
        "label": "COMPENSATED",
        "charge": "COMPENSATED",
        "courier": "FAILED",
        "mail": "PENDING",
    }
    assert error.outcome is SagaStatus.COMPENSATED
    assert type(error) is SagaException


def test_the_failing_operation_is_not_undone(execute: Execute, world: World) -> None:
    """It has declared that it changed nothing."""
    saga = steps(world, "stock")
    saga.operation(
        (world.fail, "charge", CardDeclined()), (world.undo, "charge"), name="charge", after="stock"
    )

    failure_of(execute, saga)

    assert world.log == ["stock", "charge", "undo stock"]


def test_nothing_is_undone_when_the_first_one_fails(execute: Execute, world: World) -> None:
    """There is nothing to undo, and the lists say None, as they always did."""
    saga = SagaAssembler.saga().operation((world.fail, "charge", CardDeclined()), int)

    error = failure_of(execute, saga)

    assert world.log == ["charge"]
    assert error.compensation_success_result is None
    assert error.compensation_errors is None
    assert error.outcome is SagaStatus.COMPENSATED


def test_the_exception_is_raised_from_the_original_error(execute: Execute, world: World) -> None:
    """The very object that the operation raised, with its traceback."""
    declined = CardDeclined("insufficient funds")
    saga = steps(world, "stock")
    saga.operation((world.fail, "charge", declined), name="charge", after="stock")

    error = failure_of(execute, saga)

    assert error.__cause__ is declined
    assert error.operation_error is declined
    assert error.operation_name == "charge"
    assert error.operation_errors == {"charge": declined}
    assert declined.__traceback__ is not None
    assert error.stuck == {}


def test_what_has_no_compensation_stands_and_is_named(execute: Execute, world: World) -> None:
    """It is SKIPPED; the others are undone around it."""
    saga = steps(world, "stock")
    saga.operation((world.do, "mail"), name="mail", after="stock")
    saga.operation((world.do, "charge"), (world.undo, "charge"), name="charge", after="mail")
    saga.operation((world.fail, "courier", CardDeclined()), name="courier", after="charge")

    error = failure_of(execute, saga)

    assert world.log == ["stock", "mail", "charge", "courier", "undo charge", "undo stock"]
    assert world.standing == ["mail"]
    assert error.operations["mail"].status is Status.SKIPPED
    assert "mail" in str(error)


def test_an_action_is_never_run_again_as_its_own_undo(execute: Execute, world: World) -> None:
    """None as a compensation means that there is none."""
    saga = SagaAssembler.saga().operation((world.do, "charge"), name="charge")
    saga.operation((world.fail, "courier", CardDeclined()), after="charge")

    error = failure_of(execute, saga)

    assert world.log == ["charge", "courier"]
    assert error.compensation_success_result is None


def test_results_of_a_chain_s_compensations_come_in_the_order_they_ran(
    execute_chain: Execute, world: World
) -> None:
    """The reverse of the operations, with None where one returned nothing."""
    saga = SagaAssembler.saga()
    saga.operation((world.do, "a"), (world.undo, "a"))
    saga.operation((world.do, "b"), (world.note, "undo b"))
    saga.operation((world.do, "c"), (world.undo, "c"))
    saga.operation((world.fail, "d", CardDeclined()))

    error = failure_of(execute_chain, saga)

    assert error.compensation_success_result == ["c undone", None, "a undone"]
    assert error.compensation_errors is None


def test_results_of_a_graph_s_compensations_come_in_operation_order(
    execute_graph: Execute, world: World
) -> None:
    """Whatever ended first."""
    saga = steps(world, "a", "b", "c")
    saga.operation((world.fail, "d", CardDeclined()), after="c")

    error = failure_of(execute_graph, saga)

    assert world.log[-3:] == ["undo c", "undo b", "undo a"]
    assert error.compensation_success_result == ["a undone", "b undone", "c undone"]


def test_a_compensation_gets_results(execute: Execute, world: World) -> None:
    """Its own operation's result and those before it."""
    saga = SagaAssembler.saga()
    saga.operation((world.do, "a"), (world.undo, result_of()), name="a")
    saga.operation((world.do, "b"), (world.undo, result_of("a")), name="b", after="a")
    saga.operation((world.do, "c"), (world.undo, result_of("c")), name="c", after="b")
    saga.operation((world.fail, "d", CardDeclined()), after="c")

    failure_of(execute, saga)

    assert world.log[-3:] == ["undo C", "undo A", "undo A"]


def test_a_saga_may_fail_and_then_succeed(execute: Execute, world: World) -> None:
    """Each run starts afresh."""
    moods = [CardDeclined()]

    def charge() -> str:
        if moods:
            raise moods.pop()
        return world.do("charge")

    saga = steps(world, "stock").operation(charge, (world.undo, "charge"), after="stock")

    failure_of(execute, saga)
    assert world.standing == []

    assert execute(saga) == ["STOCK", "CHARGE"]
    assert world.standing == ["stock", "charge"]


@pytest.mark.untraced
def test_a_thousand_operations_are_undone(execute_chain: Execute) -> None:
    """Without a limit from recursion, in reverse."""
    log: list[int] = []
    saga = SagaAssembler.saga()
    for number in range(1000):
        saga.operation((log.append, number), (log.append, -number))
    saga.operation((int, "no number"))

    error = failure_of(execute_chain, saga)

    assert log == [*range(1000), *range(-999, 1)]
    assert isinstance(error.operation_error, ValueError)


@pytest.mark.parametrize(
    "error",
    [
        StopIteration("over"),
        StopAsyncIteration(),
        RecursionError(),
        MemoryError(),
        AssertionError(),
        ExceptionGroup("several", [ValueError(1), OSError(2)]),
        RuntimeWarning("a warning raised"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_exception_is_a_failure(execute: Execute, world: World, error: Exception) -> None:
    """None of them is treated in a way of its own, on its way through threads and loops."""
    saga = steps(world, "stock").operation((world.fail, "charge", error), after="stock")

    raised = failure_of(execute, saga)

    assert raised.operation_error is error
    assert world.standing == []


def test_an_error_that_equals_nothing_is_kept(execute: Execute, world: World) -> None:
    """Errors are never compared, hashed or tested for truth."""

    class Odd(Exception):
        def __eq__(self, _: object) -> bool:
            raise AssertionError

        def __bool__(self) -> bool:
            raise AssertionError

        __hash__ = None  # type: ignore[assignment]

    odd = Odd()
    saga = steps(world, "stock").operation((world.fail, "charge", odd), after="stock")

    assert failure_of(execute, saga).operation_error is odd
    assert world.standing == []


# --- an argument or a result that will not do -----------------------------------------------------


def test_a_missing_part_of_a_result_is_a_failure(execute: Execute, world: World) -> None:
    """`result_of("stock")["shelf"]` fails the operation that wanted it, which is not called."""
    saga = steps(world, "stock")
    saga.operation((world.do, result_of("stock")["shelf"]), name="courier")

    error = failure_of(execute, saga)

    assert isinstance(error.operation_error, TypeError)
    assert error.operation_name == "courier"
    assert world.log == ["stock", "undo stock"]


def test_a_missing_part_in_a_compensation_is_stuck(execute: Execute, world: World) -> None:
    """Its compensation can't be called, so somebody must look."""
    saga = SagaAssembler.saga()
    saga.operation((world.do, "stock"), (world.undo, result_of().shelf), name="stock")
    saga.operation((world.fail, "charge", CardDeclined()), after="stock")

    error = failure_of(execute, saga)

    assert isinstance(error, SagaStuck)
    assert isinstance(error.stuck["stock"], AttributeError)
    assert world.standing == ["stock"]


def test_a_plain_action_that_returns_a_coroutine_fails(execute: Execute, world: World) -> None:
    """It is closed, so nothing warns of it, and the message says how to write it."""

    async def later() -> None:
        world.note("never")

    saga = steps(world, "stock").operation(lambda: later(), name="charge", after="stock")  # noqa: PLW0108

    error = failure_of(execute, saga)

    assert isinstance(error.operation_error, TypeError)
    assert "async def" in str(error)
    assert world.log == ["stock", "undo stock"]


def test_a_plain_action_that_returns_a_future_fails(execute_async: Execute, world: World) -> None:
    """The future is cancelled."""
    futures: list[asyncio.Future[None]] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def prepare() -> None:
        loops.append(asyncio.get_running_loop())

    def later() -> asyncio.Future[None]:
        futures.append(loops[0].create_future())
        return futures[0]

    saga = SagaAssembler.saga().operation(prepare, (world.undo, "prepare"))
    saga.operation(later, name="charge", after="prepare")

    error = failure_of(execute_async, saga)

    assert isinstance(error.operation_error, TypeError)
    assert futures[0].cancelled()
    assert world.log == ["undo prepare"]


def test_a_plain_compensation_that_returns_a_coroutine_is_stuck(
    execute: Execute, world: World
) -> None:
    """Nothing was undone, and the saga does not claim that it was."""

    async def later() -> None:
        world.note("never")

    saga = SagaAssembler.saga()
    saga.operation((world.do, "stock"), lambda: later(), name="stock")  # noqa: PLW0108
    saga.operation((world.fail, "charge", CardDeclined()), after="stock")

    error = failure_of(execute, saga)

    assert isinstance(error, SagaStuck)
    assert isinstance(error.stuck["stock"], TypeError)
    assert world.standing == ["stock"]


# --- compensations that fail ----------------------------------------------------------------------


def test_a_compensation_that_fails_is_stuck_and_the_others_run(
    execute: Execute, world: World
) -> None:
    """Also what the stuck operation was built on is undone; no error replaces the original one."""
    declined, down = CardDeclined(), OSError("warehouse is down")
    saga = steps(world, "order")
    saga.operation(
        (world.do, "stock"), (world.fail, "undo stock", down), name="stock", after="order"
    )
    saga.operation((world.do, "label"), (world.undo, "label"), name="label", after="stock")
    saga.operation((world.fail, "charge", declined), name="charge", after="label")

    error = failure_of(execute, saga)

    assert isinstance(error, SagaStuck)
    assert world.log[-3:] == ["undo label", "undo stock", "undo order"]
    assert world.standing == ["stock"]
    assert error.__cause__ is declined
    assert error.operation_error is declined
    assert error.operation_name == "charge"
    assert error.operation_errors == {"charge": declined}
    assert error.stuck == {"stock": down}
    assert error.outcome is SagaStatus.STUCK
    assert error.compensation_errors == ["warehouse is down"]
    assert sorted(error.compensation_success_result or []) == ["label undone", "order undone"]
    assert statuses(error) == {
        "order": "COMPENSATED",
        "stock": "STUCK",
        "label": "COMPENSATED",
        "charge": "FAILED",
    }
    assert error.operations["stock"].error is down


def test_all_errors_of_compensations_are_kept(execute: Execute, world: World) -> None:
    """In the order in which a chain ran them, in operation order for a graph."""
    errors = {name: OSError(f"no {name}") for name in "abc"}
    saga = SagaAssembler.saga()
    for name, after in (("a", ()), ("b", "a"), ("c", "b")):
        undo = (world.fail, f"undo {name}", errors[name])
        saga.operation((world.do, name), undo, name=name, after=after)
    saga.operation((world.fail, "d", CardDeclined()), after="c")

    error = failure_of(execute, saga)

    assert world.log[-3:] == ["undo c", "undo b", "undo a"]
    assert error.stuck == errors
    assert sorted(error.compensation_errors or []) == ["no a", "no b", "no c"]
    assert error.compensation_success_result is None


def test_errors_of_a_chain_s_compensations_come_in_the_order_they_ran(
    execute_chain: Execute, world: World
) -> None:
    """As the predecessor told them: `str` of each, and an empty text for an empty error."""
    saga = SagaAssembler.saga()
    saga.operation((world.do, "a"), (world.fail, "undo a", OSError("no a")))
    saga.operation((world.do, "b"), (world.fail, "undo b", OSError()))
    saga.operation((world.fail, "c", CardDeclined()))

    assert failure_of(execute_chain, saga).compensation_errors == ["", "no a"]


def test_a_compensation_is_tried_once(execute: Execute, world: World) -> None:
    """Unless a retry was asked for: the action's is not the compensation's."""
    saga = SagaAssembler.saga(3)
    saga.operation((world.do, "a"), (world.fail, "undo a", OSError()), name="a")
    saga.operation((world.fail, "b", CardDeclined()), after="a")

    failure_of(execute, saga)

    assert world.log == ["a", "b", "b", "b", "undo a"]


def test_a_compensation_is_retried_by_its_own_policy(execute: Execute, world: World) -> None:
    """And once it succeeds, its earlier errors are forgotten."""
    errors = [OSError("twice"), OSError("once")]

    def undo() -> str:
        if errors:
            world.fail("undo a fails", errors.pop())
        return world.undo("a")

    saga = SagaAssembler.saga(compensation_retry=AT_ONCE).operation((world.do, "a"), undo, name="a")
    saga.operation((world.fail, "b", CardDeclined()), after="a")

    error = failure_of(execute, saga)

    assert world.log == ["a", "b", "undo a fails", "undo a fails", "undo a"]
    assert not isinstance(error, SagaStuck)
    assert error.compensation_errors is None
    assert error.operations["a"].error is None
    assert error.stuck == {}


def test_a_compensation_is_stuck_when_its_attempts_are_spent(
    execute: Execute, world: World
) -> None:
    """Then the next one has its turn."""
    saga = steps(world, "order")
    saga.operation(
        (world.do, "a"), (world.fail, "undo a", OSError()), name="a", after="order",
        compensation_retry=AT_ONCE,
    )  # fmt: skip
    saga.operation((world.fail, "b", CardDeclined()), after="a")

    error = failure_of(execute, saga)

    assert world.log == ["order", "a", "b", "undo a", "undo a", "undo a", "undo order"]
    assert list(error.stuck) == ["a"]


def test_a_waiting_compensation_does_not_hold_up_the_others(
    execute_graph: Execute, world: World
) -> None:
    """While one waits for its next attempt, those beside it are undone."""
    errors = [OSError("once")]

    def undo() -> str:
        if errors:
            world.fail("undo a fails", errors.pop())
        world.wait_for("undo b")
        return world.undo("a")

    soon = Retry(Exception, wait_initial=0.01, wait_jitter=0)
    saga = SagaAssembler.saga()
    saga.operation((world.do, "a"), undo, name="a", compensation_retry=soon)
    saga.operation((world.do, "b"), (world.undo, "b"), name="b")
    saga.operation((world.fail, "c", CardDeclined()), after=["a", "b"])

    error = failure_of(execute_graph, saga, max_workers=1)

    assert world.log[-3:] == ["undo a fails", "undo b", "undo a"] or world.log[-3:] == [
        "undo b",
        "undo a fails",
        "undo a",
    ]
    assert not isinstance(error, SagaStuck)


# --- a graph --------------------------------------------------------------------------------------


def test_a_graph_is_undone_along_its_edges(execute_graph: Execute, world: World) -> None:
    """Each operation after all that were built on it."""
    saga = SagaAssembler.saga()
    for name, after in (
        ("a", ()), ("b", "a"), ("c", "a"), ("d", ("b", "c")), ("e", ()), ("f", ("d", "e")),
    ):  # fmt: skip
        saga.operation((world.do, name), (world.undo, name), name=name, after=after)
    saga.operation((world.fail, "g", CardDeclined()), name="g", after="f")

    failure_of(execute_graph, saga)

    undone = [line.removeprefix("undo ") for line in world.log[7:]]
    assert sorted(undone) == ["a", "b", "c", "d", "e", "f"]
    for later, earlier in ("fd", "fe", "db", "dc", "ba", "ca"):
        assert undone.index(later) < undone.index(earlier)
    assert world.standing == []


def test_a_stuck_operation_does_not_block_the_rest_of_a_graph(
    execute_graph: Execute, world: World
) -> None:
    """What it was built on is undone all the same, after it."""
    saga = steps(world, "a")
    saga.operation((world.do, "b"), (world.fail, "undo b", OSError()), name="b", after="a")
    saga.operation((world.do, "c"), (world.undo, "c"), name="c", after="a")
    saga.operation((world.fail, "d", CardDeclined()), after=("b", "c"))

    error = failure_of(execute_graph, saga)

    assert world.log[-1] == "undo a"
    assert list(error.stuck) == ["b"]
    assert world.standing == ["b"]


def test_what_runs_beside_a_failure_is_awaited_and_undone(
    execute_graph: Execute, world: World
) -> None:
    """Its result counts; nothing is undone before it has ended."""
    opened = threading.Event()

    def charge() -> None:
        world.wait_for("stock begins")
        threading.Timer(0.05, opened.set).start()
        world.fail("charge", CardDeclined())

    saga = SagaAssembler.saga()
    saga.operation((world.gate, "stock", opened), (world.undo, result_of()), name="stock")
    saga.operation((world.do, "label"), (world.undo, "label"), name="label")
    saga.operation(charge, name="charge")

    error = failure_of(execute_graph, saga)

    assert world.log.index("stock") < world.log.index("undo label")
    assert "undo STOCK" in world.log
    assert error.operations["stock"].result == "STOCK"
    assert error.operations["stock"].status is Status.COMPENSATED


def test_nothing_starts_after_a_failure(execute_graph: Execute, world: World) -> None:
    """Also what would have become ready by what was still running."""
    opened = threading.Event()

    def charge() -> None:
        world.wait_for("stock begins")
        threading.Timer(0.02, opened.set).start()
        world.fail("charge", CardDeclined())

    saga = SagaAssembler.saga()
    saga.operation((world.gate, "stock", opened), (world.undo, "stock"), name="stock")
    saga.operation(charge, name="charge")
    saga.operation((world.do, "courier"), (world.undo, "courier"), name="courier", after="stock")

    error = failure_of(execute_graph, saga)

    assert "courier" not in world.log
    assert error.operations["courier"].status is Status.PENDING


def test_when_several_fail_all_errors_are_kept(execute_graph: Execute, world: World) -> None:
    """The first one in operation order is the cause, whichever came first in time."""
    errors = [CardDeclined("a"), CardDeclined("b"), CardDeclined("c")]

    def late() -> None:
        barrier.wait(PATIENCE)
        world.wait_for("c")
        world.fail("b", errors[1])

    barrier = threading.Barrier(3)
    saga = SagaAssembler.saga()
    saga.operation((meet, world, "a", barrier, None), (world.undo, "a"), name="a")
    saga.operation(late, name="b")
    saga.operation((meet, world, "c", barrier, errors[2]), (world.undo, "c"), name="c")

    error = failure_of(execute_graph, saga)

    assert error.operation_name == "b"
    assert error.operation_error is error.__cause__ is errors[1]
    assert error.operation_errors == {"b": errors[1], "c": errors[2]}
    assert list(error.operation_errors) == ["b", "c"]
    assert world.log[-1] == "undo a"
    assert world.standing == []


def test_when_all_fail_nothing_is_undone(execute_graph: Execute, world: World) -> None:
    """Both lists are None."""
    barrier = threading.Barrier(4)
    saga = SagaAssembler.saga()
    for name in "abcd":
        undo = (world.undo, name)
        saga.operation((meet, world, name, barrier, CardDeclined(name)), undo, name=name)

    error = failure_of(execute_graph, saga)

    assert list(error.operation_errors) == ["a", "b", "c", "d"]
    assert error.compensation_success_result is None
    assert error.compensation_errors is None
    assert not [line for line in world.log if line.startswith("undo")]


def test_a_failure_ends_the_wait_for_a_retry(execute_graph: Execute, world: World) -> None:
    """What waits for its next attempt when a rollback begins is FAILED, at once."""
    saga = steps(world, "order")
    saga.operation((world.fail, "stock", OSError()), name="stock", retry=IN_AN_HOUR, after="order")
    saga.operation(
        lambda: (world.wait_for("stock"), world.fail("charge", CardDeclined())),
        name="charge", after="order",
    )  # fmt: skip

    error = failure_of(execute_graph, saga)

    assert world.log == ["order", "stock", "charge", "undo order"]
    assert statuses(error) == {"order": "COMPENSATED", "stock": "FAILED", "charge": "FAILED"}
    assert set(error.operation_errors) == {"stock", "charge"}
    assert error.operation_name == "stock"


def test_no_further_attempt_starts_after_a_failure(execute_graph: Execute, world: World) -> None:
    """What fails while a rollback is due is not tried again, whatever its policy says."""
    failed = threading.Event()

    def stock() -> None:
        world.note("stock begins")
        assert failed.wait(PATIENCE)
        world.fail("stock", OSError())

    def charge() -> None:
        world.wait_for("stock begins")
        threading.Timer(0.05, failed.set).start()
        world.fail("charge", CardDeclined())

    saga = SagaAssembler.saga()
    saga.operation(stock, name="stock", retry=AT_ONCE)
    saga.operation(charge, name="charge")

    failure_of(execute_graph, saga)

    assert world.log.count("stock") == 1


def test_independent_operations_that_succeeded_are_undone(
    execute_graph: Execute, world: World
) -> None:
    """Order or not: what was done is undone."""
    barrier = threading.Barrier(3)
    saga = SagaAssembler.saga()
    for name, error in (("a", None), ("b", CardDeclined()), ("c", None)):
        undo = (world.undo, name)
        saga.operation((meet, world, name, barrier, error), undo, name=name)

    failure_of(execute_graph, saga)

    assert sorted(world.log[3:]) == ["undo a", "undo c"]
    assert world.standing == []


# --- child sagas ----------------------------------------------------------------------------------


def test_a_later_failure_of_the_parent_undoes_the_whole_child(
    execute: Execute, world: World
) -> None:
    """In its own order."""
    saga = steps(world, "order").operation(
        steps(world, "box", "label", "seal"), name="packing", after="order"
    )
    saga.operation((world.fail, "courier", CardDeclined()), name="courier", after="packing")

    error = failure_of(execute, saga)

    assert world.log[5:] == ["undo seal", "undo label", "undo box", "undo order"]
    assert statuses(error)["packing.label"] == "COMPENSATED"


def test_a_failure_inside_a_child_undoes_the_parent(execute: Execute, world: World) -> None:
    """The child is part of the parent; the operation is called by both names."""
    child = steps(world, "box").operation((world.fail, "label", CardDeclined()), name="label")
    saga = steps(world, "order").operation(child, name="packing", after="order")

    error = failure_of(execute, saga)

    assert error.operation_name == "packing.label"
    assert "undo order" in world.log
    assert world.standing == []


# --- the same for coroutines ----------------------------------------------------------------------


async def do_later(world: World, name: str) -> str:
    """Take effect after a turn of the loop."""
    await asyncio.sleep(0)
    return world.do(name)


async def undo_later(world: World, name: str) -> str:
    """Take it back after a turn of the loop."""
    await asyncio.sleep(0)
    return world.undo(name)


async def fail_later(world: World, name: str, error: Exception) -> None:
    """Fail after a turn of the loop."""
    await asyncio.sleep(0)
    world.fail(name, error)


def test_coroutines_are_undone_like_functions(execute_async: Execute, world: World) -> None:
    """Mixed with plain functions, in reverse."""
    saga = SagaAssembler.saga()
    saga.operation((do_later, world, "a"), (world.undo, "a"), name="a")
    saga.operation((world.do, "b"), (undo_later, world, result_of()), name="b", after="a")
    saga.operation((do_later, world, "c"), (fail_later, world, "undo c", OSError("no")), after="b")
    saga.operation((fail_later, world, "d", CardDeclined()), after="do_later")

    error = failure_of(execute_async, saga)

    assert world.log == ["a", "b", "c", "d", "undo c", "undo B", "undo a"]
    assert isinstance(error, SagaStuck)
    assert error.compensation_errors == ["no"]
    assert isinstance(error.__cause__, CardDeclined)


def test_several_coroutines_fail_together(execute_async: Execute, world: World) -> None:
    """In a graph all errors are kept; in a chain the second one never runs."""
    saga = SagaAssembler.saga()
    saga.operation((do_later, world, "a"), (undo_later, world, "a"))
    saga.operation((fail_later, world, "b", CardDeclined("b")), name="b")
    saga.operation((fail_later, world, "c", CardDeclined("c")), name="c")

    error = failure_of(execute_async, saga)

    assert error.operation_name == "b"
    graph = execute_async.__name__ == "achoreography_execute"
    assert list(error.operation_errors) == (["b", "c"] if graph else ["b"])
    assert world.standing == []
