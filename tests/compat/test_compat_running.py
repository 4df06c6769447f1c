"""py_api_saga 0.0.3, section 4: results, undos, their order, and what the exception lists."""

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from py_api_saga import SagaAssembler, SagaException, SagaStuck, Status

Execute = Callable[..., Any]
Step = Callable[..., Callable[..., Any]]

PATIENCE = 60.0  # seconds that a barrier waits for those who never come


class Mute(Exception):
    """An error that cannot be printed."""

    def __str__(self) -> str:
        message = "no words"
        raise RuntimeError(message)

    __repr__ = __str__


def failure(execute: Execute, saga: SagaAssembler, **options: Any) -> SagaException:
    """Run a saga that fails, and return its exception."""
    with pytest.raises(SagaException) as caught:
        execute(saga, **options)
    return caught.value


def test_no_operations(execute: Execute) -> None:
    """Row "no operations, either mode": `Set operation first to execute the saga.`."""
    assert str(failure(execute, SagaAssembler.saga())) == "Set operation first to execute the saga."


def test_a_chain_returns_results_in_order(
    execute_chain: Execute, step: Step, log: list[str]
) -> None:
    """Row "orchestrator ok": the list of results in operation order, run in that order."""
    saga = SagaAssembler.saga().operation(step("a", returns=1)).operation(step("b", returns=None))
    saga.operation(step("c", returns=[3]))

    results = execute_chain(saga)

    assert results == [1, None, [3]]
    assert isinstance(results, list)
    assert log == ["a", "b", "c"]


def test_an_orchestrator_runs_in_the_callers_thread() -> None:
    """Row "orchestrator ok": actions and undos run in the caller's thread."""
    threads: list[int] = []

    def note() -> None:
        threads.append(threading.get_ident())

    def bad() -> None:
        note()
        raise ValueError

    with pytest.raises(SagaException):
        SagaAssembler.saga().operation(note, note).operation(bad).orchestrator_execute()

    assert threads == [threading.get_ident()] * 3


def test_a_choreography_returns_results_in_order(execute_graph: Execute) -> None:
    """Row "choreography ok": in operation order, whichever ends first."""
    turn = {name: threading.Event() for name in "abc"}

    def wait_for(name: str, then: str | None) -> str:
        assert turn[name].wait(PATIENCE)
        if then:
            turn[then].set()
        return name

    turn["c"].set()
    saga = SagaAssembler.saga().operation((wait_for, "a", None)).operation((wait_for, "b", "a"))
    saga.operation((wait_for, "c", "b"))

    results = execute_graph(saga)

    assert results == ["a", "b", "c"]
    assert isinstance(results, list)


def test_a_choreography_runs_all_at_once(execute_graph: Execute) -> None:
    """Row "choreography ok": as many threads as operations; all wait for each other."""
    barrier = threading.Barrier(20)
    saga = SagaAssembler.saga()
    for _ in range(20):
        saga.operation((barrier.wait, PATIENCE))

    assert sorted(execute_graph(saga)) == list(range(20))


class Gauge:
    """Count how many are inside at once."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self.lock = threading.Lock()

    def stay(self) -> None:
        """Be inside for a while."""
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        time.sleep(0.01)
        with self.lock:
            self.inside -= 1


@pytest.mark.parametrize(
    ("operations", "options", "most"), [(300, {}, 256), (9, {"max_workers": 2}, 2)]
)
def test_threads_are_capped(
    execute_graph: Execute, operations: int, options: dict[str, int], most: int
) -> None:
    """Row "choreography ok", 300 operations: at most 256 threads, or `max_workers` (fix)."""
    gauge = Gauge()
    saga = SagaAssembler.saga()
    for _ in range(operations):
        saga.operation(gauge.stay)

    results = execute_graph(saga, **options)

    assert results == [None] * operations
    assert 1 < gauge.most <= most


def test_what_was_done_is_undone_in_reverse(
    execute_chain: Execute, step: Step, log: list[str]
) -> None:
    """Row "op *k* fails (orchestrator)": the undos before it, reversed; nothing later runs."""
    saga = (
        SagaAssembler.saga()
        .operation(step("a"), step("undo_a", returns="ca!"))
        .operation(step("b"), step("undo_b", returns="cb!"))
        .operation(step("bad", raises=ValueError("boom")), step("undo_bad"))
        .operation(step("never"), step("undo_never"))
    )

    exception = failure(execute_chain, saga)

    assert log == ["a", "b", "bad", "undo_b", "undo_a"]
    assert exception.compensation_success_result == ["cb!", "ca!"]
    assert exception.compensation_errors is None
    assert exception.operation_name == "bad"
    assert repr(exception.operation_error) == "ValueError('boom')"


def test_undo_results_are_none_if_nothing_was_undone(execute: Execute, step: Step) -> None:
    """Row "results of undos": None if empty, not an empty list."""
    saga = SagaAssembler.saga().operation(step("bad", raises=ValueError()), step("undo_bad"))

    exception = failure(execute, saga)

    assert exception.compensation_success_result is None
    assert exception.compensation_errors is None


def test_an_action_is_never_its_own_undo(execute: Execute, step: Step, log: list[str]) -> None:
    """Row "**single-arg op, later op fails**": it is left alone, never run again (fix)."""
    saga = (
        SagaAssembler.saga()
        .operation(step("charge", returns="a!"))
        .operation(step("b"), step("undo_b", returns="cb!"), after=["charge"])
        .operation(step("bad", raises=ValueError()), after=["b"])
    )

    exception = failure(execute, saga)

    assert log == ["charge", "b", "bad", "undo_b"]
    assert exception.compensation_success_result == ["cb!"]
    assert exception.operations["charge"].status is Status.SKIPPED
    assert exception.operations["charge"].result == "a!"


def test_a_failing_undo_does_not_stop_the_others(
    execute_chain: Execute, step: Step, log: list[str]
) -> None:
    """Row "failing undo": recorded as `str(error)`, '' for empty errors; the rest continue."""
    empty, full = KeyError(), ValueError("no way back")
    saga = (
        SagaAssembler.saga()
        .operation(step("a"), step("undo_a", returns="ca!"))
        .operation(step("b"), step("undo_b", raises=RuntimeError()))
        .operation(step("c"), step("undo_c", raises=full))
        .operation(step("d"), step("undo_d", raises=empty))
        .operation(step("bad", raises=OSError("boom")))
    )

    exception = failure(execute_chain, saga)

    assert log[-4:] == ["undo_d", "undo_c", "undo_b", "undo_a"]
    assert exception.compensation_success_result == ["ca!"]
    assert exception.compensation_errors == ["", "no way back", ""]
    assert type(exception) is SagaStuck
    assert exception.operations["c"].error is full
    assert exception.operations["d"].error is empty
    assert exception.stuck["c"] is full
    assert set(exception.stuck) == {"b", "c", "d"}
    assert isinstance(exception.operation_error, OSError)


def test_an_undo_error_that_cannot_be_printed_changes_nothing(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """Row "undo whose exception's `__str__` raises": the others run (fix)."""
    mute = Mute()
    saga = (
        SagaAssembler.saga()
        .operation(step("a"), step("undo_a", returns="ca!"))
        .operation(step("b"), step("undo_b", raises=mute), after=["a"])
        .operation(step("bad", raises=ValueError("boom")), after=["b"])
    )

    exception = failure(execute, saga)

    assert log == ["a", "b", "bad", "undo_b", "undo_a"]
    assert repr(exception.operation_error) == "ValueError('boom')"
    assert exception.compensation_success_result == ["ca!"]
    assert exception.compensation_errors is not None
    assert [type(text) for text in exception.compensation_errors] == [str]
    assert exception.stuck["b"] is mute
    assert "boom" in str(exception)


def test_an_action_error_that_cannot_be_printed_changes_nothing(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """The same for an action: rolled back, raised, and printable."""
    mute = Mute()
    saga = SagaAssembler.saga().operation(step("a"), step("undo_a"))
    saga.operation(step("bad", raises=mute), after=["a"])

    exception = failure(execute, saga)

    assert log == ["a", "bad", "undo_a"]
    assert exception.operation_error is mute
    assert "bad" in str(exception)


def test_a_choreography_waits_for_those_that_run(execute_graph: Execute, log: list[str]) -> None:
    """Row "choreography, one fails": a sibling that runs is awaited, counts, and is undone."""
    failed = threading.Event()

    def slow() -> None:
        assert failed.wait(PATIENCE)
        time.sleep(0.05)
        log.append("slow")

    def bad() -> None:
        failed.set()
        raise ValueError("boom")

    saga = SagaAssembler.saga().operation(slow, (log.append, "undo_slow")).operation(bad)
    exception = failure(execute_graph, saga)

    assert log == ["slow", "undo_slow"]
    assert exception.operations["slow"].status is Status.COMPENSATED


def test_a_choreography_undoes_in_parallel(execute_graph: Execute) -> None:
    """Row "choreography, one fails": undos run at once, their results are in operation order."""
    both_done, both_undone = threading.Barrier(3), threading.Barrier(2)
    b_is_undone = threading.Event()

    def action() -> None:
        both_done.wait(PATIENCE)

    def undo_a() -> str:
        both_undone.wait(PATIENCE)
        assert b_is_undone.wait(PATIENCE)
        return "ca!"

    def undo_b() -> str:
        both_undone.wait(PATIENCE)
        b_is_undone.set()
        return "cb!"

    def bad() -> None:
        both_done.wait(PATIENCE)
        raise ValueError("boom")

    saga = SagaAssembler.saga().operation(action, undo_a).operation(bad).operation(action, undo_b)
    exception = failure(execute_graph, saga)

    assert exception.compensation_success_result == ["ca!", "cb!"]
    assert exception.compensation_errors is None
    assert exception.operation_name == "bad"


def test_failing_undos_of_a_choreography_are_in_order(execute_graph: Execute) -> None:
    """Row "choreography, one fails": errors of undos are in operation order, as results are."""
    ready = threading.Barrier(5)
    second = threading.Event()

    def action() -> None:
        ready.wait(PATIENCE)

    def undo(text: str, *, wait: bool) -> None:
        if wait:
            assert second.wait(PATIENCE)
        else:
            second.set()
        raise ValueError(text)

    def bad() -> None:
        ready.wait(PATIENCE)
        raise ValueError("boom")

    saga = (
        SagaAssembler.saga()
        .operation(action, functools.partial(undo, "no a", wait=True))
        .operation(action, lambda: "cb!")
        .operation(action, functools.partial(undo, "no c", wait=False))
        .operation(bad)
        .operation(action, lambda: "ce!")
    )
    exception = failure(execute_graph, saga)

    assert exception.compensation_success_result == ["cb!", "ce!"]
    assert exception.compensation_errors == ["no a", "no c"]


def test_all_errors_of_a_choreography_are_kept(execute_graph: Execute) -> None:
    """Row "choreography, two fail": the first is exposed; `operation_errors` has all (fix)."""
    first, second = ValueError("first"), KeyError("second")
    barrier, late = threading.Barrier(2), threading.Event()

    def slow_to_fail() -> None:
        barrier.wait(PATIENCE)
        assert late.wait(PATIENCE)
        raise first

    def quick_to_fail() -> None:
        barrier.wait(PATIENCE)
        late.set()
        raise second

    saga = SagaAssembler.saga().operation(slow_to_fail).operation(quick_to_fail)
    exception = failure(execute_graph, saga)

    assert exception.operation_name == "slow_to_fail"
    assert exception.operation_error is exception.__cause__ is first
    assert list(exception.operation_errors.items()) == [
        ("slow_to_fail", first),
        ("quick_to_fail", second),
    ]
    assert "second" in str(exception)


def test_nothing_starts_after_a_failure(execute_graph: Execute, step: Step, log: list[str]) -> None:
    """Row "choreography, one fails": what has not started is not started (fail-fast)."""
    saga = (
        SagaAssembler.saga()
        .operation(step("bad", raises=ValueError()))
        .operation(step("next"), after=["bad"])
        .operation(step("queued"))
    )

    exception = failure(execute_graph, saga, max_workers=1)

    assert log == ["bad"]
    assert exception.operations["next"].status is Status.PENDING
    assert exception.operations["queued"].status is Status.PENDING


def test_if_all_fail_there_is_nothing_to_undo(
    execute_graph: Execute, step: Step, log: list[str]
) -> None:
    """Row "all fail": no undos, both lists None."""
    barrier = threading.Barrier(2)

    def bad() -> None:
        barrier.wait(PATIENCE)
        raise ValueError("boom")

    saga = SagaAssembler.saga().operation(bad, step("undo")).operation(bad, step("undo"))
    exception = failure(execute_graph, saga)

    assert log == []
    assert exception.compensation_success_result is None
    assert exception.compensation_errors is None


def unwrapped(function: Callable[[], None]) -> Callable[[], None]:
    """Decorate without functools.wraps."""

    def wrapper() -> None:
        function()

    return wrapper


def bad_function() -> None:
    """Fail."""
    raise ValueError


def a_function_whose_name_is_longer_than_an_operation_may_be_called_by_far_and_away() -> None:
    """Fail."""
    raise ValueError


@pytest.mark.parametrize(
    ("action", "name"),
    [
        (bad_function, "bad_function"),
        (lambda: divmod(1, 0), "<lambda>"),
        (unwrapped(bad_function), "wrapper"),
        (
            a_function_whose_name_is_longer_than_an_operation_may_be_called_by_far_and_away,
            "a_function_whose_name_is_longer_than_an_operation_may_be_called_by_far_and_away",
        ),
    ],
)
def test_the_exception_names_the_function(execute: Execute, action: Any, name: str) -> None:
    """Row "operation_name": `func.__name__`: `<lambda>`, `wrapper` for undecorated wraps."""
    assert failure(execute, SagaAssembler.saga().operation(action)).operation_name == name


def test_the_name_stays_the_functions_when_made_unique(execute_chain: Execute) -> None:
    """Row "operation_name": `charge`, also where the operation is called `charge-2`."""

    def charge(amount: int) -> int:
        if amount > 100:
            raise ValueError(amount)
        return amount

    saga = SagaAssembler.saga()
    for amount in (1, 2, 300):
        saga.operation((charge, amount))
    exception = failure(execute_chain, saga)

    assert exception.operation_name == "charge"
    assert list(exception.operations) == ["charge", "charge-2", "charge-3"]
    assert list(exception.operation_errors) == ["charge-3"]


def test_an_operation_can_be_given_a_name(execute: Execute, step: Step) -> None:
    """Row "operation_name": an explicit name is the one reported (add)."""
    saga = SagaAssembler.saga().operation(step("bad", raises=ValueError()), name="pay by card")

    exception = failure(execute, saga)

    assert exception.operation_name == "pay by card"
    assert list(exception.operations) == ["pay by card"]


def test_a_child_saga_is_undone_by_its_parent(execute: Execute, step: Step, log: list[str]) -> None:
    """Row "nested saga that already committed inside an op": as a child saga it is undone (fix)."""
    child = SagaAssembler.saga().operation(step("reserve"), step("release"))
    child.operation(step("label"), step("unlabel"))
    saga = SagaAssembler.saga().operation(child, name="packing")
    saga.operation(step("bad", raises=ValueError()), after=["packing"])

    failure(execute, saga)

    assert log == ["reserve", "label", "bad", "unlabel", "release"]


def test_a_nested_saga_that_fails_is_the_operations_error(execute: Execute, step: Step) -> None:
    """Row "nested saga failing": the outer `operation_error` is the inner `SagaException`."""
    boom = ValueError("boom")

    def inner() -> Any:
        return SagaAssembler.saga().operation(step("bad", raises=boom)).orchestrator_execute()

    exception = failure(execute, SagaAssembler.saga().operation(inner))

    assert exception.operation_name == "inner"
    assert isinstance(exception.operation_error, SagaException)
    assert exception.operation_error.operation_name == "bad"
    assert exception.operation_error.operation_error is boom


def test_a_nested_choreography_never_waits_for_its_own_thread(execute: Execute) -> None:
    """Row "nested saga …": sagas in the actions of sagas, wide and deep, do not deadlock."""

    def nest(depth: int) -> int:
        if not depth:
            return 1
        saga = SagaAssembler.saga()
        for _ in range(3):
            saga.operation((nest, depth - 1))
        return sum(saga.choreography_execute())

    assert execute(SagaAssembler.saga().operation((nest, 3))) == [27]


def test_a_saga_can_be_run_again(execute: Execute) -> None:
    """Row "re-run same object": it works, and the second run sees nothing of the first (fix)."""
    seen: list[list[object]] = []

    def first() -> str:
        return "first"

    def second() -> int:
        seen.append(list(second.saga_results))  # type: ignore[attr-defined]
        return len(seen)

    saga = SagaAssembler.saga().operation(first).operation(second, after=["first"])

    assert execute(saga) == ["first", 1]
    assert execute(saga) == ["first", 2]
    assert seen == [["first"], ["first"]]


def test_a_saga_can_be_run_again_after_a_failure(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """Row "re-run same object": a failed run leaves nothing behind."""
    errors: list[Exception] = [ValueError("once")]

    def maybe() -> str:
        if errors:
            raise errors.pop()
        return "done"

    saga = SagaAssembler.saga().operation(step("a"), step("undo_a")).operation(maybe, after=["a"])
    failure(execute, saga)

    assert execute(saga) == [None, "done"]
    assert log == ["a", "undo_a", "a"]


def test_an_operation_can_be_added_after_a_run(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """Row "add operation after a run, run again": all of them run again."""
    saga = SagaAssembler.saga().operation(step("a", returns=1))
    assert execute(saga) == [1]

    saga.operation(step("b", returns=2), after=["a"])

    assert execute(saga) == [1, 2]
    assert log == ["a", "a", "b"]


def test_an_operation_added_during_a_run_is_not_part_of_it(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """Row "add operation after a run": each run takes its own snapshot."""
    saga = SagaAssembler.saga()

    def grow() -> None:
        if len(log) < 3:
            saga.operation(step("late"))

    saga.operation(grow)

    assert execute(saga) == [None]
    assert log == []
    assert execute(saga) == [None, None]
    assert log == ["late"]


def test_one_saga_can_run_in_two_threads(execute: Execute) -> None:
    """Row "same object run in two threads": results do not interleave (fix)."""
    barrier = threading.Barrier(2)
    seen: list[list[object]] = []

    def name() -> int:
        barrier.wait(PATIENCE)
        return threading.get_ident()

    def check() -> None:
        barrier.wait(PATIENCE)
        seen.append(list(check.saga_results))  # type: ignore[attr-defined]

    saga = SagaAssembler.saga().operation(name).operation(check, after=["name"])
    results: list[list[object]] = []
    threads = [
        threading.Thread(target=lambda: results.append(execute(saga)), daemon=True) for _ in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert len(results) == 2
    assert sorted(seen, key=repr) == sorted(([result[0]] for result in results), key=repr)
    assert seen[0] != seen[1]
