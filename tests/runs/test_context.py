"""`current_operation()` and `function.saga_results`: what code that a saga calls can know."""

import asyncio
import contextlib
import contextvars
import functools
import operator
import pickle
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from world import until_gone

from py_api_saga import (
    UNKNOWN,
    Retry,
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    SagaStuck,
    current_operation,
    result_of,
)
from py_api_saga import testing as saga_testing
from py_api_saga.current import current
from py_api_saga.executors.running import SeenRun

Execute = Callable[..., Any]
Step = Callable[..., Callable[..., Any]]

PATIENCE = 60.0


class Seen:
    """What `current_operation()` gave in one call."""

    def __init__(self) -> None:
        operation = current_operation()
        self.saga_id = operation.saga_id
        self.saga_name = operation.saga_name
        self.operation = operation.operation
        self.direction = operation.direction
        self.attempt = operation.attempt
        self.key = operation.idempotency_key
        self.action_key = operation.action_key
        self.results = dict(operation.results)
        self.remaining = operation.remaining()


@pytest.fixture
def seen() -> list[Seen]:
    """What each call saw, in order."""
    return []


def note(seen: list[Seen], result: Any = None, error: BaseException | None = None) -> Any:
    """Note what the call can see, then return or fail."""
    seen.append(Seen())
    if error is not None:
        raise error
    return result


def bad() -> None:
    """Fail."""
    message = "boom"
    raise ValueError(message)


# --- outside -----------------------------------------------------------------


def test_outside_an_operation_there_is_none() -> None:
    """LookupError, which names the way out for a test."""
    with pytest.raises(LookupError, match=r"testing\.operation"):
        current_operation()


def test_after_a_run_there_is_none(execute: Execute, seen: list[Seen]) -> None:
    """In the caller's thread nothing is left behind, whether the run went well or not."""
    execute(SagaAssembler.saga().operation((note, seen)))
    with pytest.raises(LookupError):
        current_operation()

    with pytest.raises(SagaException):
        execute(SagaAssembler.saga().operation((note, seen), (note, seen)).operation(bad))
    with pytest.raises(LookupError):
        current_operation()

    with pytest.raises(KeyboardInterrupt):
        execute(SagaAssembler.saga().operation((note, seen, None, KeyboardInterrupt())))
    with pytest.raises(LookupError):
        current_operation()


def test_an_observer_is_no_operation(execute: Execute) -> None:
    """Code that runs between calls does not see the context of a call that has ended."""
    found: list[object] = []

    def look(_: object) -> None:
        try:
            found.append(current_operation().operation)
        except LookupError:
            found.append(None)

    with pytest.raises(SagaException):
        execute(SagaAssembler.saga(observers=[look]).operation(lambda: 1, lambda: 2).operation(bad))

    assert found
    assert set(found) == {None}


# --- what it tells -----------------------------------------------------------


def test_an_action_knows_where_it_is(execute: Execute, seen: list[Seen]) -> None:
    """Saga id and name, operation, direction, attempt and keys."""
    saga = SagaAssembler.saga(name="checkout").operation((note, seen), name="charge")

    execute(saga, saga_id="attempt-17")

    (it,) = seen
    assert it.saga_id == "attempt-17"
    assert it.saga_name == "checkout"
    assert it.operation == "charge"
    assert it.direction == "action"
    assert it.attempt == 1
    assert it.key.endswith(":charge:action")
    assert it.action_key == it.key
    assert it.results == {}
    assert it.remaining is None


def test_a_compensation_knows_its_actions_key(execute: Execute, seen: list[Seen]) -> None:
    """Its own key differs from the action's, which it knows as `action_key`."""
    saga = SagaAssembler.saga().operation((note, seen), (note, seen), name="charge")
    saga.operation(bad, after=["charge"])

    with pytest.raises(SagaException):
        execute(saga)

    action, compensation = seen
    assert (action.direction, compensation.direction) == ("action", "compensation")
    assert compensation.operation == "charge"
    assert compensation.attempt == 1
    assert compensation.key.endswith(":charge:compensation")
    assert compensation.action_key == action.key
    assert compensation.saga_id == action.saga_id


def test_a_question_knows_the_key_of_its_action(execute: Execute, seen: list[Seen]) -> None:
    """A function in `on_doubt=` is called with the action's key, to ask the service about it."""

    def ask(*_: Any) -> Any:
        note(seen)
        return UNKNOWN

    saga = SagaAssembler.saga().operation(
        (note, seen, None, TimeoutError("no reply")), (note, seen), on_doubt=ask, name="charge"
    )
    with pytest.raises(SagaException):
        execute(saga)

    action, question, compensation = seen
    assert question.direction == "ask"
    assert question.operation == "charge"
    assert question.action_key == action.key == compensation.action_key


def test_a_saga_without_a_name_has_none(execute: Execute, seen: list[Seen]) -> None:
    """`saga_name` is None, and `saga_id` a text all the same, new for each run."""
    saga = SagaAssembler.saga().operation((note, seen)).operation((note, seen))

    execute(saga)
    execute(saga)

    assert {it.saga_name for it in seen} == {None}
    assert seen[0].saga_id == seen[1].saga_id
    assert seen[2].saga_id == seen[3].saga_id
    assert seen[0].saga_id != seen[2].saga_id
    assert all(it.saga_id for it in seen)


def test_the_exception_has_the_same_saga_id(execute: Execute, seen: list[Seen]) -> None:
    """So that a log and a service's records can be matched."""
    saga = SagaAssembler.saga().operation((note, seen), name="a").operation(bad, after=["a"])

    with pytest.raises(SagaException) as caught:
        execute(saga)
    assert caught.value.saga_id == seen[0].saga_id
    with pytest.raises(SagaException) as caught:
        execute(saga, saga_id="mine")
    assert caught.value.saga_id == "mine"


def test_attempts_are_counted_and_keep_their_key(execute: Execute, seen: list[Seen]) -> None:
    """From 1, for actions and compensations apart; one key for all attempts of one call."""
    again = Retry(ValueError, attempts=3, wait_initial=0, wait_jitter=0)
    saga = SagaAssembler.saga(retry=again, compensation_retry=again)
    saga.operation((note, seen), (note, seen, None, ValueError("no")), name="a")
    saga.operation((note, seen, None, ValueError("boom")), name="b", after=["a"])

    with pytest.raises(SagaStuck):
        execute(saga)

    assert [(it.operation, it.direction, it.attempt) for it in seen] == [
        ("a", "action", 1),
        ("b", "action", 1),
        ("b", "action", 2),
        ("b", "action", 3),
        ("a", "compensation", 1),
        ("a", "compensation", 2),
        ("a", "compensation", 3),
    ]
    assert len({it.key for it in seen}) == 3


def test_every_call_of_every_run_has_a_key_of_its_own(execute: Execute, seen: list[Seen]) -> None:
    """Also two runs under one `saga_id`: in memory that is a label."""
    saga = (
        SagaAssembler.saga().operation((note, seen), (note, seen)).operation((note, seen), name="b")
    )
    saga.operation(bad, after=["b", "note"])

    for _ in range(2):
        with pytest.raises(SagaException):
            execute(saga, saga_id="same")

    assert len(seen) == len({it.key for it in seen}) == 6


def test_keys_have_at_most_255_characters(execute: Execute, seen: list[Seen]) -> None:
    """Whatever the names, and they stay distinct."""
    long = "x" * 63
    saga = SagaAssembler.saga()
    for end in "ab":
        saga.operation((note, seen), (note, seen), name=long + end)
    for depth in range(4):
        saga = SagaAssembler.saga().operation(saga, name=f"{depth}{long}")
    with pytest.raises(SagaException):
        execute(saga.operation(bad, after=[f"3{long}"]), saga_id="s" * 128)

    assert len(seen) == 4
    assert max(len(it.key) for it in seen) <= 255
    assert len({it.key for it in seen}) == 4


def test_results_so_far_are_found_by_name(execute: Execute, seen: list[Seen]) -> None:
    """Those of operations that have succeeded, also in compensations."""
    saga = SagaAssembler.saga().operation((note, seen, 1), (note, seen), name="a")
    saga.operation((note, seen, 2), (note, seen), name="b", after=["a"])
    saga.operation((note, seen, None, ValueError()), name="bad", after=["b"])

    with pytest.raises(SagaException):
        execute(saga)

    assert [it.results for it in seen] == [
        {},
        {"a": 1},
        {"a": 1, "b": 2},
        {"a": 1, "b": 2},
        {"a": 1, "b": 2},
    ]


def test_results_cannot_be_changed_from_inside(execute: Execute) -> None:
    """What an operation does to its view reaches no other operation."""

    def vandal() -> None:
        with contextlib.suppress(TypeError):
            current_operation().results["a"] = "changed"  # type: ignore[index]

    saga = SagaAssembler.saga().operation(lambda: 1, name="a").operation(vandal, after=["a"])
    saga.operation(lambda: dict(current_operation().results), name="look", after=["vandal"])

    assert execute(saga) == [1, None, {"a": 1, "vandal": None}]


def test_operations_of_a_child_have_dotted_names(execute: Execute, seen: list[Seen]) -> None:
    """In the context and in the keys."""
    child = SagaAssembler.saga(name="packing").operation((note, seen, 1), name="reserve")
    child.operation((note, seen, 2), name="label")
    saga = SagaAssembler.saga(name="shop").operation(child, name="packing")

    execute(saga)

    assert [it.operation for it in seen] == ["packing.reserve", "packing.label"]
    assert seen[1].results == {"packing.reserve": 1}
    assert seen[0].key.endswith(":packing.reserve:action")
    assert {it.saga_name for it in seen} == {"shop"}


# --- time left ---------------------------------------------------------------


def test_remaining_counts_down_to_the_deadline(execute: Execute) -> None:
    """Seconds until the saga's `deadline=`."""

    def count() -> tuple[float, float]:
        first = current_operation().remaining()
        time.sleep(0.01)
        second = current_operation().remaining()
        assert first is not None
        assert second is not None
        return first, second

    ((first, second),) = execute(SagaAssembler.saga().operation(count), deadline=60)

    assert 59 < first <= 60
    assert 59 < second <= first - 0.009


def test_remaining_counts_down_to_the_timeout(execute: Execute, seen: list[Seen]) -> None:
    """Seconds until the operation's `timeout=`, for each attempt anew."""
    saga = SagaAssembler.saga(2).operation((note, seen, None, ValueError()), timeout=30)

    with pytest.raises(SagaException):
        execute(saga)

    assert len(seen) == 2
    assert all(29 < (it.remaining or 0) <= 30 for it in seen)


@pytest.mark.parametrize(("deadline", "timeout"), [(30, 60), (60, 30)])
def test_remaining_is_the_lesser_of_both(
    deadline: float, timeout: float, execute: Execute, seen: list[Seen]
) -> None:
    """Whichever comes first."""
    execute(SagaAssembler.saga().operation((note, seen), timeout=timeout), deadline=deadline)

    assert 29 < (seen[0].remaining or 0) <= 30


# --- threads, asyncio, nesting -----------------------------------------------


def test_a_thread_that_copies_the_context_sees_the_operation(execute: Execute) -> None:
    """`contextvars.copy_context()` and `asyncio.to_thread` carry it along."""

    def spread() -> str:
        context = contextvars.copy_context()
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(context.run, lambda: current_operation().operation).result()

    assert execute(SagaAssembler.saga().operation(spread)) == ["spread"]


def test_a_coroutine_and_its_tasks_see_the_operation(execute_async: Execute) -> None:
    """Before and after an await, in tasks it starts, and in threads it asks."""

    def name() -> str:
        return current_operation().operation

    async def task() -> str:
        await asyncio.sleep(0)
        return name()

    async def spread() -> list[str]:
        before = name()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(task()) for _ in range(2)]
        return [before, *(task.result() for task in tasks), await asyncio.to_thread(name), name()]

    saga = SagaAssembler.saga().operation(spread).operation(spread, name="other")

    assert execute_async(saga) == [["spread"] * 5, ["other"] * 5]


def test_concurrent_operations_see_themselves(execute_graph: Execute) -> None:
    """Ten operations inside at once: each sees its own name and key."""
    barrier = threading.Barrier(10)

    def look(name: str) -> bool:
        barrier.wait(PATIENCE)
        ok = current_operation().operation == name
        barrier.wait(PATIENCE)
        return ok and f":{name}:" in current_operation().idempotency_key

    saga = SagaAssembler.saga()
    for number in range(10):
        saga.operation((look, f"op{number}"), name=f"op{number}")

    assert execute_graph(saga) == [True] * 10


def test_concurrent_coroutines_see_themselves(execute_async: Execute) -> None:
    """Two sagas in one event loop, switching at every await, each see their own."""

    async def look(name: str) -> bool:
        ok = []
        for _ in range(5):
            await asyncio.sleep(0)
            ok.append(current_operation().saga_id == name)
        return all(ok)

    async def both() -> list[Any]:
        sagas = [SagaAssembler.saga().operation((look, name)) for name in "ab"]
        runs = (
            saga.aorchestrator_execute(saga_id=name)
            if "orchestrator" in execute_async.__name__
            else saga.achoreography_execute(saga_id=name)
            for saga, name in zip(sagas, "ab", strict=True)
        )
        return list(await asyncio.gather(*runs))

    assert asyncio.run(both()) == [[True], [True]]


def test_a_nested_saga_has_its_own_context(execute: Execute, seen: list[Seen]) -> None:
    """And the outer one is back when it has ended, well or not."""
    inner = SagaAssembler.saga(name="inner").operation((note, seen, 1), name="in")

    def nest() -> tuple[str, str, str]:
        before = current_operation().operation
        inner.orchestrator_execute()
        between = current_operation().operation
        with pytest.raises(SagaException):
            SagaAssembler.saga().operation(bad).choreography_execute()
        return before, between, current_operation().operation

    saga = SagaAssembler.saga(name="outer").operation((note, seen, 0), name="out")
    saga.operation(nest, after=["out"])

    assert execute(saga)[1] == ("nest", "nest", "nest")
    assert [(it.saga_name, it.operation, it.results) for it in seen] == [
        ("outer", "out", {}),
        ("inner", "in", {}),
    ]
    assert seen[0].saga_id != seen[1].saga_id


def test_a_nested_saga_under_asyncio_has_its_own_context(
    execute_async: Execute, seen: list[Seen]
) -> None:
    """The same for sagas that are awaited inside coroutines."""

    async def nest() -> str:
        saga = SagaAssembler.saga(name="inner").operation((note, seen), name="in")
        await saga.aorchestrator_execute()
        await saga.achoreography_execute()
        return current_operation().operation

    assert execute_async(SagaAssembler.saga(name="outer").operation(nest)) == ["nest"]
    assert [it.saga_name for it in seen] == ["inner", "inner"]


def test_what_an_action_sets_in_its_context_stays_there(execute_graph: Execute) -> None:
    """Each call of a choreography has a copy of the caller's context, not the context itself."""
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="none")

    def set_it() -> None:
        tenant.set("other")

    saga = SagaAssembler.saga().operation(set_it)
    saga.operation(tenant.get, name="look", after=["set_it"])

    assert execute_graph(saga) == [None, "none"]
    assert tenant.get() == "none"


# --- testing.operation -------------------------------------------------------


def test_a_unit_test_can_supply_an_operation() -> None:
    """With defaults for what it does not care about."""
    with saga_testing.operation():
        it = Seen()

    assert it.operation == "operation"
    assert it.saga_id == "test"
    assert it.saga_name is None
    assert it.direction == "action"
    assert it.attempt == 1
    assert isinstance(it.key, str)
    assert it.key
    assert it.action_key == it.key
    assert it.results == {}
    assert it.remaining is None


def test_what_stands_in_for_a_run_answers_whatever_a_call_may_ask() -> None:
    """A call made elsewhere sees the same of its run, of whichever kind that is."""
    with saga_testing.operation(name="charge", results={"reserve": "mug"}):
        found = current.get()
        assert found is not None
        _, run, intent, _ = found
        seen: SeenRun = run

        assert (seen.operations, seen.values, seen.results) == ((), (), ("mug",))
        assert seen.names.all() == ["reserve"]
        assert seen.key_of(intent) == seen.action_key(0) == "test:charge:action"


def test_a_unit_test_can_supply_everything() -> None:
    """Each keyword is what `current_operation()` then tells."""
    with saga_testing.operation(
        name="charge",
        saga_id="s-1",
        saga_name="checkout",
        direction="compensation",
        attempt=3,
        idempotency_key="k",
        action_key="ak",
        results={"reserve": "mug"},
        remaining=2.5,
    ):
        it = Seen()

    assert vars(it) == {
        "saga_id": "s-1",
        "saga_name": "checkout",
        "operation": "charge",
        "direction": "compensation",
        "attempt": 3,
        "key": "k",
        "action_key": "ak",
        "results": {"reserve": "mug"},
        "remaining": 2.5,
    }


def test_a_key_is_enough() -> None:
    """`with py_api_saga.testing.operation(idempotency_key="k"):`, as the docs have it."""

    def charge() -> str:
        return current_operation().idempotency_key

    with saga_testing.operation(idempotency_key="k"):
        assert charge() == "k"


def test_default_keys_fit_the_direction() -> None:
    """Their form is that of a run: the compensation's differs from the action's."""
    with saga_testing.operation(name="charge", saga_id="s"):
        action = Seen()
    with saga_testing.operation(name="charge", saga_id="s", direction="compensation"):
        compensation = Seen()

    assert action.key == action.action_key == compensation.action_key == "s:charge:action"
    assert compensation.key == "s:charge:compensation"


def test_a_supplied_operation_ends_with_its_block() -> None:
    """Also when the block raises, and inside another one."""
    with saga_testing.operation(name="outer"):
        with pytest.raises(ValueError, match="boom"), saga_testing.operation(name="inner"):
            bad()
        with saga_testing.operation(name="inner"):
            assert current_operation().operation == "inner"
        assert current_operation().operation == "outer"
    with pytest.raises(LookupError):
        current_operation()


def test_a_saga_can_run_inside_a_supplied_operation(execute: Execute, seen: list[Seen]) -> None:
    """It has its own context, as any nested saga."""
    with saga_testing.operation(name="outer"):
        execute(SagaAssembler.saga().operation((note, seen), name="inner"))
        assert current_operation().operation == "outer"

    assert seen[0].operation == "inner"


def test_a_supplied_operation_reaches_saga_results() -> None:
    """A function of the predecessor's style can be tested, too, once it is part of a saga."""

    def charge() -> list[object]:
        return list(charge.saga_results)  # type: ignore[attr-defined]

    SagaAssembler.saga().operation(charge).orchestrator_execute()
    with saga_testing.operation(results={"reserve": "mug", "label": 7}):
        assert charge() == ["mug", 7]


# --- function.saga_results ---------------------------------------------------


def inspect_view(execute: Execute, look: Callable[[Any], Any]) -> Any:
    """Run two operations; the second looks at its `saga_results` of ["a", "b"]."""

    def looker() -> Any:
        return look(looker.saga_results)  # type: ignore[attr-defined]

    saga = SagaAssembler.saga().operation(lambda: "a", name="a")
    saga.operation(lambda: "b", name="b", after=["a"]).operation(looker, after=["b"])
    return execute(saga)[2]


@pytest.mark.parametrize(
    ("look", "expected"),
    [
        pytest.param(list, ["a", "b"], id="list"),
        pytest.param(len, 2, id="len"),
        pytest.param(lambda view: view[0], "a", id="index"),
        pytest.param(lambda view: view[-1], "b", id="last"),
        pytest.param(lambda view: view[:1], ["a"], id="slice"),
        pytest.param(lambda view: "b" in view, True, id="in"),
        pytest.param(lambda view: "x" in view, False, id="not in"),
        pytest.param(lambda view: [*view], ["a", "b"], id="star"),
        pytest.param(lambda view: list(reversed(view)), ["b", "a"], id="reversed"),
        pytest.param(lambda view: view.index("b"), 1, id="index()"),
        pytest.param(lambda view: view.count("a"), 1, id="count()"),
        pytest.param(lambda view: view == ["a", "b"], True, id="equal"),
        pytest.param(lambda view: view != ["a"], True, id="not equal"),
        pytest.param(bool, True, id="bool"),
        pytest.param(repr, "['a', 'b']", id="repr"),
        pytest.param(str, "['a', 'b']", id="str"),
        pytest.param(lambda view: isinstance(view, Sequence), True, id="Sequence"),
        pytest.param(lambda view: operator.add(view, ["c"]), ["a", "b", "c"], id="add"),
        pytest.param(lambda view: view.copy(), ["a", "b"], id="copy()"),
    ],
)
def test_the_view_is_like_a_list(
    look: Callable[[Any], Any], expected: object, execute: Execute
) -> None:
    """What the predecessor's users do with the list works, as long as they only read."""
    assert inspect_view(execute, look) == expected


def test_an_index_beyond_the_results_is_an_index_error(execute: Execute) -> None:
    """As in a list."""

    def look(view: Any) -> str:
        with pytest.raises(IndexError):
            view[2]
        return "looked"

    assert inspect_view(execute, look) == "looked"


def test_the_view_is_one_object_for_all_runs(execute: Execute) -> None:
    """A function keeps it from run to run, and it has no place to keep results."""
    views: list[Any] = []

    def look() -> None:
        views.append(look.saga_results)  # type: ignore[attr-defined]

    execute(SagaAssembler.saga().operation(look).operation(look))
    execute(SagaAssembler.saga().operation(look))

    assert views[0] is views[1] is views[2]
    assert not hasattr(views[0], "__dict__")


def test_a_decorated_function_has_a_view_of_its_own(execute: Execute) -> None:
    """`functools.wraps` copies attributes; what a function takes is not copied with them."""

    def charge() -> str:
        return "receipt"

    execute(SagaAssembler.saga().operation(charge))

    def twice(text: str) -> str:
        return f"{charge()}, {text}, {len(twice.saga_results)}"  # type: ignore[attr-defined]

    functools.update_wrapper(twice, charge)
    without_argument: Any = twice
    with pytest.raises(SagaDefinitionError, match="missing a required argument"):
        SagaAssembler.saga().operation(without_argument)
    assert execute(SagaAssembler.saga().operation((twice, "copy"))) == ["receipt, copy, 0"]


def test_the_view_outside_a_run_holds_nothing(execute: Execute) -> None:
    """Reading it after the run is LookupError, never an old result; printing it works."""

    def charge() -> str:
        return "receipt"

    execute(SagaAssembler.saga().operation(charge).operation(charge))

    view = getattr(charge, "saga_results", ())
    assert "receipt" not in repr(view)
    with contextlib.suppress(LookupError):
        assert list(view) == []


def test_functions_that_take_no_attributes_still_run(execute: Execute) -> None:
    """Builtins and methods have no `saga_results`, and need none."""
    items = [1]
    saga = SagaAssembler.saga().operation((items.append, 2)).operation((len, "abc"))

    assert execute(saga) == [None, 3]


def test_the_name_of_a_functions_own_attribute_is_not_lost(execute: Execute) -> None:
    """Functions keep their other attributes."""

    def charge() -> int:
        return charge.calls  # type: ignore[attr-defined,no-any-return]

    charge.calls = 7  # type: ignore[attr-defined]

    assert execute(SagaAssembler.saga().operation(charge)) == [7]


def test_two_sagas_in_two_threads_never_see_each_others_results(execute: Execute) -> None:
    """Overlap forced 50 times, through `current_operation()` and `saga_results` alike."""
    barrier = threading.Barrier(2)
    mixed: list[object] = []

    def make(owner: str) -> str:
        barrier.wait(PATIENCE)
        return owner

    def look(owner: str) -> None:
        barrier.wait(PATIENCE)
        operation = current_operation()
        view = list(look.saga_results)  # type: ignore[attr-defined]
        if operation.saga_id != owner or list(operation.results.values()) != [owner] != view:
            mixed.append((owner, operation.saga_id, view))
        barrier.wait(PATIENCE)

    def run(owner: str) -> None:
        saga = SagaAssembler.saga().operation((make, owner))
        saga.operation((look, owner), after=["make"])
        for _ in range(50):
            execute(saga, saga_id=owner)

    threads = [threading.Thread(target=run, args=(owner,), daemon=True) for owner in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * PATIENCE)

    assert not any(thread.is_alive() for thread in threads)
    assert not barrier.broken
    assert mixed == []


# --- nothing stays alive -----------------------------------------------------


class Thing:
    """Something whose end can be seen."""


class Boom(Exception):
    """An error whose end can be seen."""


def give(*args: Any) -> Any:
    """Return the last argument."""
    return args[-1]


def fail_with(_: Any) -> None:
    """Fail with a new error."""
    raise Boom


def read_view() -> list[object]:
    """Read the results."""
    return list(read_view.saga_results)  # type: ignore[attr-defined]


async def give_later(thing: Any) -> Any:
    """Return the argument."""
    await asyncio.sleep(0)
    return thing


def test_nothing_stays_alive_after_a_run(execute: Execute) -> None:
    """Neither arguments nor results, once the caller has let go of them."""

    def run() -> list["weakref.ref[Any]"]:
        argument, result = Thing(), Thing()
        saga = SagaAssembler.saga().operation((give, argument, result), name="a")
        saga.operation((give, [result_of("a")]), name="b").operation(read_view, after=["b"])
        execute(saga)
        return [weakref.ref(argument), weakref.ref(result)]

    until_gone(run)


def test_nothing_stays_alive_after_a_failure(execute: Execute) -> None:
    """Neither arguments, results nor errors, once the exception is gone."""

    def run() -> list["weakref.ref[Any]"]:
        argument, result = Thing(), Thing()
        saga = SagaAssembler.saga().operation((give, argument, result), (give, result_of()))
        saga.operation((give, Thing()), (fail_with, argument), name="b", after=["give"])
        saga.operation((fail_with, argument), after=["b"])
        try:
            execute(saga)
        except SagaStuck as error:
            inner = [error.operation_error, *error.stuck.values()]
            return [weakref.ref(thing) for thing in (argument, result, error, *inner)]
        raise AssertionError

    until_gone(run)


def test_nothing_stays_alive_after_coroutines(execute_async: Execute) -> None:
    """The same for coroutine functions."""

    def run() -> list["weakref.ref[Any]"]:
        thing = Thing()
        saga = SagaAssembler.saga().operation((give_later, thing), (give_later, thing))
        saga.operation((fail_with, thing), after=["give_later"])
        with pytest.raises(SagaException):
            execute_async(saga)
        return [weakref.ref(thing)]

    until_gone(run)


def test_nothing_stays_alive_after_a_timeout_that_did_not_pass(execute: Execute) -> None:
    """The thread of an operation with a timeout lets go as well."""

    def run() -> list["weakref.ref[Any]"]:
        thing = Thing()
        execute(SagaAssembler.saga().operation((give, thing), timeout=30), deadline=60)
        return [weakref.ref(thing)]

    until_gone(run)


def test_a_saga_does_not_stay_alive(execute: Execute) -> None:
    """Its functions outlive it."""

    def run() -> list["weakref.ref[Any]"]:
        thing = Thing()
        saga = SagaAssembler.saga().operation(partial(give, thing)).operation((give, thing))
        execute(saga)
        return [weakref.ref(saga), weakref.ref(thing)]

    until_gone(run)


def test_a_saved_view_keeps_nothing_alive(execute: Execute) -> None:
    """Nor does a saved `current_operation()` hand out what is gone with the run."""
    saved: list[Any] = []

    def save() -> None:
        saved.append(save.saga_results)  # type: ignore[attr-defined]

    def run() -> list["weakref.ref[Any]"]:
        thing = Thing()
        saga = SagaAssembler.saga().operation((give, thing), name="a").operation(save, after=["a"])
        execute(saga)
        return [weakref.ref(thing)]

    until_gone(run)


def test_the_results_of_a_function_can_be_pickled_and_compared() -> None:
    """What a decorator copies to another object, a task of a queue say, goes where that goes."""

    def act() -> None:
        pass

    def other() -> None:
        pass

    SagaAssembler.saga().operation(act, other)
    view: Any = act.saga_results  # type: ignore[attr-defined]

    assert view == other.saga_results  # type: ignore[attr-defined]
    again = pickle.loads(pickle.dumps(view))  # noqa: S301 - our own
    act.saga_results = again  # type: ignore[attr-defined]
    assert SagaAssembler.saga().operation(act).orchestrator_execute() == [None]
