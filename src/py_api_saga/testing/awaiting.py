"""Worlds, states and checks that are to be awaited: in the loop of the exploration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from inspect import isasyncgen, iscoroutine
from typing import Any, Self, TypeVar

from py_api_saga.exceptions import SagaDefinitionError

T = TypeVar("T")


def awaited(loop: asyncio.AbstractEventLoop, running: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end.

    Raises:
        SagaDefinitionError: A loop runs in this thread already.
    """
    check_no_loop(running)
    return loop.run_until_complete(running)


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run what awaits nothing."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        value: T = ended.value
        return value
    raise AssertionError  # pragma: no cover - no coroutine function is called there


def check_no_loop(running: Coroutine[Any, Any, object]) -> None:
    """Refuse to run a coroutine where a loop runs: see `awaited`."""
    if asyncio._get_running_loop() is not None:  # noqa: SLF001 - the public one raises
        running.close()
        message = (
            "explore: coroutine functions run in a loop of its own, and one runs here already: "
            "call it in a thread, by `await asyncio.to_thread(explore, …)`"
        )
        raise SagaDefinitionError(message)


def end_tasks(
    loop: asyncio.AbstractEventLoop, others: AbstractSet[asyncio.Task[Any]] = frozenset()
) -> None:
    """End what is still going on in a loop, but for others, as the end of a process does."""
    if tasks := asyncio.all_tasks(loop) - others:
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks))
        for task in tasks:
            if not task.cancelled():
                task.exception()  # which nobody asks for


def close(loop: asyncio.AbstractEventLoop) -> None:
    """Close a loop, once what generators have left undone is done."""
    try:
        if asyncio._get_running_loop() is None:  # noqa: SLF001 - else it was not used
            loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def outside(function: Callable[..., T], *args: Any, **options: Any) -> T:
    """Call a function as if no loop ran in this thread: some refuse to work where one does."""
    loop = asyncio._get_running_loop()  # noqa: SLF001 - as a loop of one's own does it
    asyncio._set_running_loop(None)  # noqa: SLF001 - as above
    try:
        return function(*args, **options)
    finally:
        asyncio._set_running_loop(loop)  # noqa: SLF001 - as above


def looking(
    loop: asyncio.AbstractEventLoop, function: Callable[..., Any] | None
) -> Callable[..., Any] | None:
    """Give a plain function for a `state` or a `check`, which may be a coroutine function."""
    if function is None:
        return None
    looks = function

    def look(*args: Any) -> Any:
        found = looks(*args)
        return awaited(loop, found) if iscoroutine(found) else found

    return look


def making(loop: asyncio.AbstractEventLoop, make: Callable[[], Any]) -> Callable[[], Any]:
    """Give a plain function for a `world`.

    It may be a coroutine function, an asynchronous generator function, or give what is entered by
    `async with`.
    """

    def made() -> Any:
        world = make()
        if isasyncgen(world):
            generator = world
            world = asynccontextmanager(lambda: generator)()
        kind = type(world)
        if hasattr(kind, "__aenter__") and not hasattr(kind, "__enter__"):
            return _Entered(loop, world)
        return awaited(loop, world) if iscoroutine(world) else world

    return made


class _Entered:
    """What is entered by `with` in the place of what is entered by `async with`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, world: Any) -> None:
        self._loop, self._world = loop, world

    def __enter__(self) -> Self:
        entered: Self = awaited(self._loop, self._world.__aenter__())
        return entered

    def __exit__(self, *error: object) -> None:
        awaited(self._loop, self._world.__aexit__(*error))
