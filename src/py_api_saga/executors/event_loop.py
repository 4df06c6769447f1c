"""Run a saga under asyncio: coroutine functions on the loop, plain functions in threads."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from functools import partial
from time import monotonic
from types import BuiltinFunctionType
from typing import TYPE_CHECKING

from py_api_saga.context import current
from py_api_saga.execution import ASK, SUCCEEDED
from py_api_saga.executors.attempt import (
    answered,
    call_of,
    failed,
    filled,
    note_start,
    overdue,
    running,
)
from py_api_saga.executors.choreography import POOL
from py_api_saga.executors.run import interrupted, not_made

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from py_api_saga.definition import Results
    from py_api_saga.execution import Entry
    from py_api_saga.executors.run import Run
    from py_api_saga.operation import Operation


async def execute(
    run: Run,
    limit: int | None,
    exists: type[Exception] | tuple[()] = (),
    answer: Callable[[Run], Awaitable[Results]] | None = None,
) -> Results:
    """Run a saga to its end, with at most so many calls at once, each in a task of its own.

    Without a limit each call is awaited in the caller's own task before the next one starts:
    cancelling that task cancels the call. The rollback is a task of its own, which is awaited
    through any number of cancellations: they are raised again when it is over.

    Args:
        run: The run; once this is over it drives its saga no longer.
        limit: Of calls.
        exists: What says that the journal has a saga with this id.
        answer: Answers for that one. Given, not left to a coroutine around this one: there may be
            many, and each takes a quarter of a kilobyte.

    Raises:
        SagaException: It did not complete.
        BaseException: The interrupt that ended it, once all is undone.
    """
    outer = current.get()
    try:
        driver: _OneByOne | _AtOnce = _OneByOne(run) if limit is None else _AtOnce(run, limit)
        while True:
            try:
                while True:  # in here: an interrupt may strike where a loop jumps back
                    if run.execution.rolling:
                        await _outlast(run, driver)
                    else:
                        await driver.drive()
                    if (run.left or run.execution.at_rest) and driver.idle and run.close():
                        break
                break
            except (Exception, GeneratorExit):  # a defect of ours, or the loop throws us away
                raise
            except BaseException as interrupt:  # noqa: BLE001 - raised again by `finish`
                run.repair(interrupt, driver.lost)
        return run.finish()
    except exists:
        pass
    finally:
        current.set(outer)
        run.leave()
    assert answer is not None  # noqa: S101 - it comes with what says that it is needed
    return await answer(run)


def finish_late(run: Run) -> None:
    """Undo, in the thread of a straggler and a loop of its own, what landed after the end."""
    asyncio.run(undo_late(run))


async def undo_late(run: Run) -> None:
    """Do so, in this loop."""
    await _OneByOne(run).drive()


async def _outlast(run: Run, driver: _OneByOne | _AtOnce) -> None:
    """Await a rollback through any number of cancellations of this task.

    A cancel scope of anyio cancels at every turn of the loop until its task has left. What else
    interrupts the rollback is raised here: out of a task of its own it would stop the loop.
    """
    interrupts: list[BaseException] = []

    async def rollback() -> None:
        try:
            await driver.drive()
        except (KeyboardInterrupt, SystemExit) as interrupt:
            interrupts.append(interrupt)

    task = asyncio.create_task(rollback())
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as cancelled:
            run.stop(cancelled)
    if task.cancelled():  # the loop is going down
        run.left = True
    else:
        task.result()
    if interrupts:
        raise interrupts[0]


class _Driver:
    """What makes the calls of a run in a task, until none is left or the rollback begins."""

    __slots__ = ("arrived", "run")

    def __init__(self, run: Run) -> None:
        """Let the threads of stragglers wake the loop."""
        self.run = run
        self.arrived: asyncio.Event | None = None
        if any(operation.policy.timeout is not None for operation in run.operations):
            self._listen()

    def _listen(self) -> asyncio.Event:
        """Hear of what ends elsewhere; most runs have nothing such, and an Event is large."""
        arrived = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop was closed under the run, which can't go on
                loop.call_soon_threadsafe(arrived.set)

        self.run.open_inbox(wake)
        self.arrived = arrived
        return arrived

    @property
    def idle(self) -> bool:
        """Whether nothing that was started is still working."""
        return True

    def lost(self, interrupt: BaseException, intent: Entry) -> Entry | None:
        """Say of a call in flight, when an interrupt struck, what came of it if nobody will."""
        return self.run.cut_off(interrupt, intent)

    async def _pause(self) -> None:
        """Wait until something has arrived or is due."""
        patience = self.run.patience()
        if patience and type(monotonic) is not BuiltinFunctionType:
            await self._outwait(patience)
        elif self.arrived is None:
            await asyncio.sleep(patience or 0.0)
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self.arrived.wait()

    async def _outwait(self, seconds: float) -> None:
        """Wait while a test has stopped the clock, and with it the timers of the loop."""
        arrived, began = self.arrived or self._listen(), monotonic()
        loop = asyncio.get_running_loop()

        def slept() -> None:
            self.run.note_wait(began, seconds)
            arrived.set()

        timer = threading.Timer(seconds, loop.call_soon_threadsafe, (slept,))
        timer.start()
        try:
            await arrived.wait()
        finally:
            timer.cancel()


class _OneByOne(_Driver):
    """Each call in this very task, after the one before it."""

    __slots__ = ()

    async def drive(self) -> None:
        """Make the calls."""
        run = self.run
        rolling = run.execution.rolling
        while True:
            if self.arrived is not None:
                self.arrived.clear()
            run.look()
            if run.execution.rolling is not rolling:
                return
            intent = run.start()
            if run.recorder is not None:
                for change in run.writing(intent):
                    await run.recorder.journal.awrite(change)
                    del change  # the first one is large, and a call may take long
                if run.lost is not None:
                    intent = None
            if intent is not None:
                run.tell(await _attempt(run, intent))
            elif run.waits:
                await self._pause()
            else:
                return


class _AtOnce(_Driver):
    """Every call that is ready, each in a task."""

    __slots__ = ("_begun", "_ended", "_ends", "_limit", "_news", "_tasks")

    def __init__(self, run: Run, limit: int) -> None:
        """Make at most so many at once."""
        super().__init__(run)
        self._news = self.arrived or self._listen()
        self._limit = limit
        self._tasks: dict[Entry, asyncio.Task[Entry]] = {}
        self._begun: dict[Entry, bool] = {}  # calls that may be made: whether they have begun
        self._ends: dict[Entry, Callable[[asyncio.Task[Entry]], None]] = {}
        self._ended: deque[Entry] = deque()

    @property
    def idle(self) -> bool:
        """Whether nothing that was started is still working."""
        return not (self._tasks or self._ended)

    def lost(self, interrupt: BaseException, intent: Entry) -> Entry | None:
        """Say of a call that has no task that it was not made, or that nobody hears of it."""
        if intent in self._tasks or any(entry[1] == intent[1] for entry in self._ended):
            return None
        if self._begun.pop(intent, False):  # an eager task, which runs before it can be noted
            return interrupted(intent, interrupt)
        return not_made(intent, interrupt)

    async def _surely(self, intent: Entry) -> Entry:
        """Attempt a call in a task that nobody would hear of if it ended without an entry."""
        try:
            if self._begun.get(intent) is not False:
                # An interrupt came before this task was noted: its call was told as not made.
                return not_made(intent, asyncio.CancelledError())
            self._begun[intent] = True
            return await _attempt(self.run, intent)
        except GeneratorExit:
            raise
        except BaseException as interrupt:  # noqa: BLE001 - it struck between two lines of ours
            return interrupted(intent, interrupt)

    def _watch(self) -> None:
        """Hear of the end of each task, also if an interrupt came before it was noted."""
        for intent, task in self._tasks.items():
            end = self._ends.setdefault(intent, partial(self._end, intent))
            task.remove_done_callback(end)  # a scope that cancels at each turn comes here each time
            task.add_done_callback(end)

    def _end(self, intent: Entry, task: asyncio.Task[Entry]) -> None:
        if intent in self._tasks:
            if task.cancelled():  # before it began, by who cancels all tasks of the loop
                entry = not_made(intent, asyncio.CancelledError())
            else:
                error = task.exception()  # of an interrupt at the very edge of the task
                entry = task.result() if error is None else interrupted(intent, error)
            self._ended.append(entry)
            self._news.set()
            del self._tasks[intent]
            self._ends.pop(intent, None)
            self._begun.pop(intent, None)

    def _make(self, intents: list[Entry]) -> None:
        for intent in intents:
            self._begun[intent] = False
            self._tasks[intent] = task = asyncio.create_task(self._surely(intent))
            self._ends[intent] = end = partial(self._end, intent)
            task.add_done_callback(end)

    async def drive(self) -> None:
        """Make the calls."""
        run = self.run
        rolling = run.execution.rolling
        self._watch()
        while True:
            self._news.clear()
            run.look()
            while self._ended:
                run.receive(self._ended[0])
                self._ended.popleft()
            if run.execution.rolling is not rolling:
                return
            flying = run.execution.flying
            intents = []
            while len(flying) < self._limit and (intent := run.start()) is not None:
                intents.append(intent)
            if run.recorder is not None:
                for change in run.writing(*intents):
                    await run.recorder.journal.awrite(change)
            if run.recorder is None or run.lost is None:
                self._make(intents)
            if not (run.awaits or run.waits):
                return
            try:
                await self._pause()
            except asyncio.CancelledError as cancelled:
                run.stop(cancelled)
                self._watch()


async def _attempt(run: Run, intent: Entry) -> Entry:
    """Make one call and say what came of it."""
    # Few variables: each takes room in each call that runs, and there may be many.
    operation = run.operations[intent[1]]
    if not call_of(operation, intent[2])[4]:
        return await _attempt_in_thread(run, intent)
    timeout, scope = operation.policy.timeout, None
    if timeout is not None:
        scope = asyncio.timeout(timeout)
    current.set((running, run, intent, None if timeout is None else monotonic() + timeout))
    note_start(run, operation, intent[1], intent[2])
    task = asyncio.current_task()
    try:
        if scope is None:  # entering one costs as much as the call
            value = await _called(run, operation, intent)
        else:
            async with scope:
                value = await _called(run, operation, intent)
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        problem = error
    except BaseException as interrupt:
        if isinstance(interrupt, GeneratorExit) and _destroyed(task):
            raise  # nothing may be awaited any more
        return interrupted(intent, interrupt)
    else:
        if intent[2] == ASK:
            return answered(intent, value)
        return (SUCCEEDED, intent[1], intent[2], intent[3], intent[4], value)
    try:  # out here only what the caller handles is handled
        if scope is not None and scope.expired():
            late = overdue(run, intent[1], intent[2], timeout or 0.0)
            late.__cause__ = problem
            return failed(run, intent, late, in_doubt=True)
        return failed(run, intent, problem)
    finally:
        del problem  # it knows this frame, and must not be known by it


def _called(run: Run, operation: Operation, intent: Entry) -> Awaitable[Any]:
    """Make the awaitable of a call."""
    call = call_of(operation, intent[2])
    args, keywords = filled(run, operation, intent[1], call) if call[3] else call[1:3]
    awaitable: Awaitable[Any] = call[0](*args, **keywords)
    return awaitable


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
        with suppress(RuntimeError):  # as when a straggler wakes a loop
            loop.call_soon_threadsafe(future.set_result, entry)

    claim = threading.Lock()
    made = False
    while True:
        try:
            if not made:
                made = True
                POOL.make(run, intent, claim, tell)
            while not future.done():
                await asyncio.wait({future})
            return future.result()
        except GeneratorExit:
            raise
        except BaseException as interrupt:  # noqa: BLE001 - raised again when all is undone
            run.stop(interrupt)
            if claim.acquire(blocking=False):  # no thread has begun it
                return not_made(intent, interrupt)
