"""A choreography in the thread of a test: one call after the other, and nothing else changes."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from world import PATIENCE, Watch, World, failure_of, statuses

from py_api_saga import SagaAssembler, current_operation, result_of
from py_api_saga.executors.driving import standing_in
from py_api_saga.executors.orchestrator import make_calls
from py_api_saga.executors.run import Run
from py_api_saga.testing import inline_choreography


def in_line(saga: SagaAssembler, **options: Any) -> Any:
    """Run a saga so."""
    with inline_choreography():
        return saga.choreography_execute(**options)


def in_line_awaited(saga: SagaAssembler, **options: Any) -> Any:
    """Run a saga so, under asyncio."""

    async def main() -> Any:
        with inline_choreography():
            return await saga.achoreography_execute(**options)

    return asyncio.run(main())


WAYS = pytest.mark.parametrize("execute", [in_line, in_line_awaited])


@WAYS
def test_calls_are_made_in_the_callers_thread_in_their_order(execute: Any, world: World) -> None:
    """Those that could all start at once; and each knows whose thread it is in."""
    threads: list[tuple[threading.Thread, str]] = []

    def act(name: str) -> str:
        threads.append((threading.current_thread(), current_operation().where))
        return world.do(name)

    saga = SagaAssembler.saga()
    for name in "abc":
        saga.operation((act, name), name=name)

    assert execute(saga) == ["A", "B", "C"]
    assert world.log == ["a", "b", "c"]
    assert threads == [(threading.current_thread(), "caller")] * 3


@WAYS
def test_what_is_undone_is_undone_so_too(execute: Any, world: World) -> None:
    """Each operation after those that came after it."""
    saga = SagaAssembler.saga()
    for name in "ab":
        saga.operation((world.do, name), (world.undo, name), name=name)
    saga.operation((world.do, result_of("b")), (world.undo, "B"), name="c")
    saga.operation((world.fail, "d", ValueError()), name="d", after="a")

    error = failure_of(execute, saga)

    assert statuses(error) == {
        "a": "COMPENSATED", "b": "COMPENSATED", "c": "COMPENSATED", "d": "FAILED",
    }  # fmt: skip
    assert world.log == ["a", "b", "B", "d", "undo B", "undo b", "undo a"]


def test_coroutines_are_awaited_one_after_the_other(world: World) -> None:
    """In the caller's task."""
    tasks: list[Any] = []

    async def act(name: str) -> None:
        world.note(f"{name} begins")
        await asyncio.sleep(0)
        tasks.append(asyncio.current_task())
        world.do(name)

    async def main() -> None:
        with inline_choreography():
            saga = SagaAssembler.saga().operation((act, "a"), name="a")
            await saga.operation((act, "b"), name="b").achoreography_execute()
        tasks.append(asyncio.current_task())

    asyncio.run(main())

    assert world.log == ["a begins", "a", "b begins", "b"]
    assert len(set(tasks)) == 1


def test_a_call_with_a_time_limit_has_its_thread(world: World) -> None:
    """Nothing else could give it up."""
    where: list[str] = []
    saga = SagaAssembler.saga().operation(
        lambda: where.append(current_operation().where), timeout=PATIENCE
    )

    in_line(saga)

    assert where == ["thread"]
    assert world.log == []


def test_it_is_over_with_its_block(world: World) -> None:
    """Also if that raises, and it may be in another one."""
    threads: set[threading.Thread] = set()
    saga = SagaAssembler.saga().operation(lambda: threads.add(threading.current_thread()))

    with inline_choreography():
        with pytest.raises(ValueError, match="odd"), inline_choreography():
            raise ValueError("odd")
        saga.choreography_execute()
        assert threads == {threading.current_thread()}
    saga.choreography_execute()

    assert len(threads) == 2
    assert world.log == []


def test_observers_hear_the_same(world: World) -> None:
    """In the caller's thread, as always."""
    watch = Watch()
    saga = SagaAssembler.saga(observers=[watch]).operation((world.do, "a"), name="a")

    in_line(saga.operation((world.do, "b"), name="b"))

    assert watch.lines == [
        "saga: saga started",
        "a: operation started",
        "a: succeeded",
        "b: operation started",
        "b: succeeded",
        "saga: saga ended",
    ]


@pytest.mark.parametrize("method", ["orchestrator_execute", "choreography_execute"])
def test_a_test_kit_may_drive_runs_itself(method: str) -> None:
    """Each method asks who does, with the limit of calls at once."""

    class Kit:
        def drive(self, run: Any, limit: int | None) -> Any:
            return [limit, *run.operations]

        def adrive(self, run: Any, limit: int | None) -> Any:
            async def driven() -> Any:
                return self.drive(run, limit)

            return driven()

    async def main() -> Any:
        return await getattr(saga, f"a{method}")()

    saga = SagaAssembler.saga().operation(str).operation(str)
    with standing_in(Kit()):
        plain, awaited = getattr(saga, method)(), asyncio.run(main())

    assert plain[0] == awaited[0] == (None if method == "orchestrator_execute" else 2)
    assert len(plain) == len(awaited) == 3


def test_a_run_that_is_made_again_may_have_the_same_keys(world: World) -> None:
    """As a test kit needs it that lets one crash without a journal."""
    saga = SagaAssembler.saga().operation((world.do, "a"), name="a")
    first = Run(saga._chain(), None, (), None, None, make_calls)  # noqa: SLF001
    again = Run(saga._chain(), None, (), None, None, make_calls, (), first.run_id)  # noqa: SLF001
    other = Run(saga._chain(), None, (), None, None, make_calls)  # noqa: SLF001

    assert again.key(0, "action", 1) == first.key(0, "action", 1)
    assert other.key(0, "action", 1) != first.key(0, "action", 1)
