"""Run a saga under asyncio: coroutine functions on the loop, plain functions in threads."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from py_api_saga.context import current
from py_api_saga.execution import SUCCEEDED
from py_api_saga.executors.attempt import answered, call_of, failed, filled, note_start, overdue
from py_api_saga.executors.choreography import POOL
from py_api_saga.executors.run import Running, interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from py_api_saga.execution import Entry
    from py_api_saga.executors.run import Run
    from py_api_saga.definition import Results


async def execute(run: Run, limit: int | None) -> Results:
    """Run a saga to its end, with at most so many calls at once, each in a task of its own.

    Without a limit each call is awaited in the caller's own task before the next one starts:
    cancelling that task cancels the call. The rollback is a task of its own, which is awaited through any number of cancellations: they
    are raised again when it is over.

    Raises:
        SagaException: It did not complete.
        BaseException: The interrupt that ended it, once all is undone.
    """
    arrived = asyncio.Event()
    loop = asyncio.get_running_loop()
    run.open_inbox(partial(_wake, loop, arrived))
    drive = _drive_one(run, arrived) if limit is None else _drive_many(run, arrived, limit)
    outer = current.get()
    try:
        while True:
            if run.execution.rolling:
                await _outlast(run, drive())
            else:
                try:
                    await drive()
                except asyncio.CancelledError as cancelled:
                    run.stop(cancelled)
            if (run.left or run.execution.at_rest) and run.close():
                return run.finish()
    finally:
        current.set(outer)


def finish_late(run: Run) -> None:
    """Undo, in the thread of a straggler and a loop of its own, what landed after the end."""

    async def main() -> None:
        await _drive_one(run, asyncio.Event())()

    asyncio.run(main())


def _wake(loop: asyncio.AbstractEventLoop, arrived: asyncio.Event) -> None:
    try:
        loop.call_soon_threadsafe(arrived.set)
    except RuntimeError:  # the loop was closed under the run, which can't go on
        pass


async def _outlast(run: Run, rollback: Coroutine[Any, Any, None]) -> None:
    """Await a rollback through any number of cancellations of this task.

    A cancel scope of anyio cancels at every turn of the loop until its task has left.
    """
    task = asyncio.create_task(rollback)
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as cancelled:
            run.stop(cancelled)
    try:
        task.result()
    except asyncio.CancelledError as cancelled:  # the loop is going down
        run.left = True
        run.stop(cancelled)


async def _pause(run: Run, arrived: asyncio.Event, waiting: list[Entry]) -> None:
    """Wait until something has arrived or is due."""
    try:
        async with asyncio.timeout(run.patience(waiting)):
            await arrived.wait()
    except TimeoutError:
        pass


def _drive_one(run: Run, arrived: asyncio.Event) -> Callable[[], Coroutine[Any, Any, None]]:
    """Make one call at a time, in this task, until none is left or the rollback begins."""

    async def drive() -> None:
        rolling = run.execution.rolling
        while True:
            arrived.clear()
            run.drain()
            intents = run.ready(1)
            if not intents or run.execution.rolling is not rolling:
                return
            intent = intents[0]
            if intent[5] is not None:
                intent = min(run.ready(1 << 30), key=run.wait_of)
                if run.wait_of(intent) > 0:
                    await _pause(run, arrived, [intent])
                    continue
            run.begin(intent)
            run.tell(await _attempt(run, intent))

    return drive


def _drive_many(
    run: Run, arrived: asyncio.Event, limit: int
) -> Callable[[], Coroutine[Any, Any, None]]:
    """Make every call that is ready, each in a task, until none is left or the rollback begins."""
    ended: deque[Entry] = deque()
    tasks: set[asyncio.Task[Entry]] = set()

    def end(intent: Entry, task: asyncio.Task[Entry]) -> None:
        tasks.discard(task)
        lost = task.cancelled()  # before it began, by a loop that is going down
        ended.append(interrupted(intent, asyncio.CancelledError()) if lost else task.result())
        arrived.set()

    async def drive() -> None:
        rolling = run.execution.rolling
        while True:
            arrived.clear()
            run.drain()
            while ended:
                run.receive(ended.popleft())
            if run.execution.rolling is not rolling:
                return
            flying = run.execution.flying
            intents = run.ready(limit - len(flying)) if len(flying) < limit else []
            waiting = [intent for intent in intents if run.wait_of(intent) > 0]
            for intent in intents:
                if intent not in waiting:
                    run.begin(intent)
                    task = asyncio.create_task(_attempt(run, intent))
                    tasks.add(task)
                    task.add_done_callback(partial(end, intent))
            if not (flying or waiting):
                return
            try:
                await _pause(run, arrived, waiting)
            except asyncio.CancelledError as cancelled:
                run.stop(cancelled)

    return drive


async def _attempt(run: Run, intent: Entry) -> Entry:
    """Make one call and say what came of it."""
    _, i, kind, number, generation, _ = intent
    operation = run.definition.operations[i]
    call = call_of(operation, kind)
    if not call.is_async:
        return await _attempt_in_thread(run, intent)
    timeout = operation.policy.timeout
    until = None if timeout is None else monotonic() + timeout
    current.set(Running(run, intent, until))
    note_start(run, operation, i, kind)
    task = asyncio.current_task()
    scope = asyncio.timeout(timeout)
    try:
        async with scope:
            args, keywords = filled(run, operation, i, call)
            value = await call.function(*args, **keywords)
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        if timeout is not None and scope.expired():
            late = overdue(run, i, kind, timeout)
            late.__cause__ = error
            return failed(run, intent, late, in_doubt=True)
        return failed(run, intent, error)
    except BaseException as interrupt:
        if isinstance(interrupt, GeneratorExit) and _destroyed(task):
            raise  # nothing may be awaited any more
        return interrupted(intent, interrupt)
    if kind == "ask":
        return answered(intent, value)
    return (SUCCEEDED, i, kind, number, generation, value)


def _destroyed(task: asyncio.Task[Any] | None) -> bool:
    """Tell whether the coroutine of a task is being closed, rather than run by its loop."""
    try:
        return asyncio.current_task() is not task
    except RuntimeError:
        return True


async def _attempt_in_thread(run: Run, intent: Entry) -> Entry:
    """Make a call in a thread; a cancellation stops the saga, but not the thread."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Entry] = loop.create_future()

    def tell(entry: Entry) -> None:
        loop.call_soon_threadsafe(future.set_result, entry)

    POOL.make(run, intent, threading.Lock(), tell)
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError as cancelled:
            run.stop(cancelled)
    return future.result()
