"""Run a saga under asyncio: coroutine functions on the loop, plain functions in threads."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from inspect import CO_COROUTINE
from types import FunctionType
from typing import TYPE_CHECKING, Any, Self

from py_api_saga import clock
from py_api_saga.calls import IS_ASYNC, NEEDS
from py_api_saga.current import current
from py_api_saga.definition import Results
from py_api_saga.entries import (
    ACTION,
    ASK,
    Entry,
    Setback,
    index_of,
    interrupted,
    kind_of,
    not_made,
    succeeded,
    value_of,
)
from py_api_saga.executors import driving
from py_api_saga.executors.around import Surrounded
from py_api_saga.executors.attempt import (
    attempting,
    begun,
    judged,
    judged_by,
    meant,
    not_entered,
    note_start,
    overdue,
    read_answer,
    running,
)
from py_api_saga.executors.calling import filled
from py_api_saga.executors.choreography import POOL
from py_api_saga.executors.passage import ENTERING
from py_api_saga.executors.run import Run
from py_api_saga.executors.turns import WAIT, WRITE, turns
from py_api_saga.operation import PLAIN, Later, call_of

if TYPE_CHECKING:
    from py_api_saga.executors.running import AskedRun


async def execute(  # noqa: C901, PLR0912 - a coroutine more takes room in each run
    run: Run,
    limit: int | None,
    exists: type[Exception] | tuple[()] = (),
    answer: Callable[[], Awaitable[Results]] | None = None,
) -> Results:
    """Run a saga to its end, with at most so many calls at once, each in a task of its own.

    Without a limit each call is awaited in the caller's own task before the next one starts:
    cancelling that task cancels the call. The rollback is a task of its own, which is awaited
    through any number of cancellations: they are raised again when it is over.

    Args:
        run: The run; once this is over it drives its saga no longer.
        limit: Of calls.
        exists: What says that there is a saga with this id already.
        answer: Answers for that one. Given, not left to a coroutine around this one: there may be
            many, and each takes a quarter of a kilobyte.

    Raises:
        SagaException: It did not complete.
        BaseException: The interrupt that ended it, once all is undone.
    """
    if driving.onlooker is not None and run.witness is None:
        try:
            with driving.seen(run):
                return await execute(run, limit)
        except exists:
            assert answer is not None  # noqa: S101 - as below
        return await answer()
    outer = current.get()
    run.is_elsewhere = True
    try:
        if driving.may_be and (other := driving.asked(run)) is not None:
            driven = other.adrive(run, limit)
            if driven is not None:
                return await driven
            limit, run.is_elsewhere = None, False
        driver: _OneByOne | _AtOnce = _OneByOne(run) if limit is None else _AtOnce(run, limit)
        while True:
            try:
                while True:  # in here: an interrupt may strike where a loop jumps back
                    if run.execution.rolling:
                        await _outlast_rollback(run, driver)
                    else:
                        await driver.drive()
                    if (run.left or run.is_calm) and driver.idle and run.close():
                        break
                break
            except GeneratorExit:  # the loop throws us away
                raise
            except BaseException as interrupt:  # noqa: BLE001 - raised again by `finish`
                if (error := run.repair(interrupt, driver.fate_of)) is not None:
                    await driver.rest()
                    run.give_up(error)
        return run.finish()
    except exists:
        pass
    finally:
        current.set(outer)
        run.leave()
    assert answer is not None  # noqa: S101 - it comes with what says that it is needed
    return await answer()


def finish_late(run: Run) -> None:
    """Undo, in the thread of a straggler and a loop of its own, what landed after the end."""
    asyncio.run(undo_late(run))


async def undo_late(run: Run) -> None:
    """Do so, in this loop."""
    await _OneByOne(run).drive()


async def outlast(
    future: asyncio.Future[Any],
    struck: Callable[[BaseException], object],
    strikes: tuple[type[BaseException], ...] = (asyncio.CancelledError,),
    begin: Callable[[], object] | None = None,
) -> None:
    """Wait until something is done, through any number of interrupts of this task.

    A cancel scope of anyio cancels at every turn of the loop until its task has left.

    Args:
        future: Done when that is.
        struck: Told of each interrupt.
        strikes: What is outlasted; all else is raised.
        begin: Begins it, if it has not begun.
    """
    while True:
        try:
            if begin is not None:
                once, begin = begin, None
                once()
            while not future.done():  # in here: an interrupt may strike where a loop jumps back
                await asyncio.wait({future})
        except GeneratorExit:  # the loop throws us away
            raise
        except strikes as strike:
            struck(strike)
        else:
            return


async def _outlast_rollback(run: Run, driver: _OneByOne | _AtOnce) -> None:
    """Await a rollback through any number of cancellations of this task.

    What else interrupts it is raised here: out of a task of its own it would stop the loop.
    """
    if driver.rollback is None:  # else an interrupt came while it was awaited
        driver.has_begun = False
        driver.rollback = asyncio.create_task(_roll_back(driver))
    task = driver.rollback

    def struck(cancelled: BaseException) -> None:
        if run.interrupt is not None and run.interrupt is driver.swallowed:
            run.interrupt = cancelled  # a scope of anyio cancels again, and knows its own
        driver.stop(cancelled)

    await outlast(task, struck)
    driver.rollback = None
    if task.cancelled():  # the loop is going down
        if not driver.has_begun:  # because of what has struck it just now
            raise asyncio.CancelledError
        run.left = True
    elif (interrupt := task.result()) is not None:
        raise interrupt


async def _roll_back(driver: _OneByOne | _AtOnce) -> BaseException | None:
    """Roll back in a task of its own, and give what has interrupted that."""
    task = asyncio.current_task()
    if driver.rollback is None:  # a task that runs at once, or before an interrupt let it be noted
        driver.rollback = task
    if driver.rollback is not task:
        return None
    driver.has_begun = True
    try:
        await driver.drive()
    except (GeneratorExit, asyncio.CancelledError):
        raise
    except BaseException as interrupt:  # noqa: BLE001 - raised by whoever awaits this
        return interrupt
    return None


class _Driver:
    """What makes the calls of a run in a task, until none is left or the rollback begins."""

    __slots__ = ("_is_backward", "arrived", "has_begun", "is_fresh", "rollback", "run", "swallowed")

    def __init__(self, run: Run) -> None:
        """Let the threads of stragglers wake the loop."""
        self.run = run
        self.rollback: asyncio.Task[BaseException | None] | None = None
        self.has_begun = False  # to roll back
        self.is_fresh = False  # the first interrupt, which has come in this turn of the loop
        self.swallowed: asyncio.CancelledError | None = None
        self.arrived: asyncio.Event | None = None
        self._is_backward = False  # what is driven is the rollback
        for operation in run.operations:  # a generator would cost more than the rest of this
            if operation.policy.timeout is not None:
                self._listen()
                break

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

    def look(self) -> bool:
        """Tell the run what has ended; leave it where the rollback begins, for another task."""
        if self.arrived is not None:
            self.arrived.clear()
        self.run.look()
        return self._is_for_another

    @property
    def _is_for_another(self) -> bool:
        """Whether another task goes on; what has ended by that is written down in this one."""
        execution = self.run.execution
        return execution.rolling is not self._is_backward and not execution.at_rest

    def close(self) -> bool:
        """Hear nothing more here; the run is closed by whoever awaits this."""
        return True

    @property
    def idle(self) -> bool:
        """Whether nothing that was started is still working."""
        return True

    def fate_of(self, interrupt: BaseException, intent: Entry) -> Entry | None:
        """Say of a call in flight, when an interrupt struck, what came of it if nobody will."""
        return None if self._is_rolling else self.run.fate_of(interrupt, intent)

    @property
    def _is_rolling(self) -> bool:
        """Whether a task of its own is at it, and tells what comes of its calls."""
        return self.rollback is not None and not self.rollback.done()

    def stop(self, interrupt: BaseException, kind: str = "") -> None:
        """Stop the run; the first time, a loop that goes down may cancel the rollback with it."""
        if self.run.interrupt is None:
            self.is_fresh = True
            asyncio.get_running_loop().call_soon(self._grow_old)
        self.run.stop(interrupt, kind)

    def _grow_old(self) -> None:
        self.is_fresh = False

    def _end_with_loop(self) -> None:
        """End a rollback whose own task is cancelled, as by a loop at a second Ctrl-C."""
        if self._is_backward and self.run.interrupt is not None and not self.is_fresh:
            self.run.left = True

    async def rest(self) -> None:
        """Wait until nothing that was started is still working, since nobody will go on."""
        while tasks := [task for task in self._working() if not task.done()]:
            with suppress(asyncio.CancelledError, Exception):  # an error is to be raised already
                await asyncio.wait(tasks)

    def _working(self) -> Iterable[asyncio.Task[Any]]:
        """Give the tasks of this run."""
        return () if self.rollback is None else (self.rollback,)

    async def _pause(self) -> None:
        """Wait until something has arrived or is due."""
        patience = self.run.patience()
        if patience and clock.is_stopped():
            await self._outwait(patience)
        elif self.arrived is None:
            await asyncio.sleep(patience or 0.0)
        else:
            try:
                async with asyncio.timeout(patience) as scope:
                    await self.arrived.wait()
            except TimeoutError:
                if not scope.expired():  # it has struck from outside
                    raise

    async def _outwait(self, seconds: float) -> None:
        """Wait while a test has stopped the clock, and with it the timers of the loop."""
        arrived, began = self.arrived or self._listen(), clock.monotonic()
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


class _Leaks:
    """Count the cancellations of a task that it has not had, for as long as this is entered.

    In Python 3.11 and 3.12 a group of tasks that is being left cancels its own task if one of its
    children fails, swallows that, and never takes it back from `Task.cancelling`:
    https://docs.python.org/3/library/asyncio-task.html#asyncio.TaskGroup, "Changed in 3.13".
    """

    __slots__ = ("_cancel", "_task", "count")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.count = 0
        self._task: Any = task
        self._cancel: Callable[..., bool] = task.cancel

    def __enter__(self) -> Self:
        if _GROUPS_LEAK:  # pragma: no branch - this is an older Python, or another one
            self._task.cancel = self
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._cancel, _Leaks):  # of a saga whose action runs this one
            self._task.cancel = self._cancel
        elif _GROUPS_LEAK:  # pragma: no branch - as above
            del self._task.cancel

    def __call__(self, *args: Any, **options: Any) -> bool:
        """Cancel the task, as everybody who does so comes by here."""
        frame = sys._getframe(1)  # noqa: SLF001 - to know who they are
        leaks = False
        if frame.f_globals.get("__name__") == "asyncio.taskgroups":
            leaks = getattr(frame.f_locals.get("self"), "_exiting", False)
        cancel: Callable[..., bool] = self
        while isinstance(cancel, _Leaks):
            cancel.count += leaks
            cancel = cancel._cancel  # noqa: SLF001 - of this class
        return cancel(*args, **options)


_GROUPS_LEAK = sys.version_info < (3, 13)


class _OneByOne(_Driver):
    """Each call in this task, after the one before it."""

    __slots__ = ()

    async def drive(self) -> None:
        """Make the calls."""
        run, task = self.run, asyncio.current_task()
        assert task is not None  # noqa: S101 - of a coroutine
        self._is_backward = run.execution.rolling
        with _Leaks(task) as leaks:
            cancelling = task.cancelling()
            for turn in turns(run, 1, self):
                if turn == WRITE:
                    await run.awrite()
                    continue
                entry = None if turn == WAIT else await aattempt(run, turn[0], task)
                if task.cancelling() > cancelling + leaks.count:
                    cancelling = task.cancelling() - leaks.count
                    self._end_with_loop()
                    _note_cancellation(self, entry)
                if entry is None:
                    await self._pause()
                else:
                    run.tell(entry)
                    del entry  # its error knows this frame, and must not be known by it


def _note_cancellation(driver: _Driver, entry: Entry | None) -> None:
    """Stop a run whose task was cancelled, also if its call has swallowed that."""
    value = None if entry is None else value_of(entry)
    if type(value) is Setback:
        value = value.error
    if not issubclass(type(value), asyncio.CancelledError):  # else that one is told
        driver.swallowed = asyncio.CancelledError()
        driver.run.stop(driver.swallowed)


class _AtOnce(_Driver):
    """Every call that is ready, each in a task."""

    __slots__ = ("_begun", "_ended", "_ends", "_limit", "_news", "_problem", "_tasks")

    def __init__(self, run: Run, limit: int) -> None:
        """Make at most so many at once."""
        super().__init__(run)
        self._news = self.arrived or self._listen()
        self._limit = limit
        self._tasks: dict[Entry, asyncio.Task[None]] = {}
        self._begun: dict[Entry, bool] = {}  # calls that may be made: whether they have begun
        self._ends: dict[Entry, Callable[[asyncio.Task[None]], None]] = {}
        self._ended: deque[Entry] = deque()
        self._problem: BaseException | None = None  # that decides nothing about a call

    @property
    def idle(self) -> bool:
        """Whether nothing that was started is still working."""
        return not (self._tasks or self._ended)

    def fate_of(self, interrupt: BaseException, intent: Entry) -> Entry | None:
        """Say of a call that has no task that it was not made, or that nobody hears of it."""
        if intent in self._tasks or index_of(intent) in map(index_of, self._ended):
            return None
        if self._is_rolling:
            return None
        if self._begun.pop(intent, False):  # an eager task, which runs before it can be noted
            return self.run.fate_of(interrupt, intent)
        return not_made(intent, interrupt)

    def _working(self) -> Iterable[asyncio.Task[Any]]:
        return (*super()._working(), *self._tasks.values())

    async def _attempt_safely(self, intent: Entry) -> None:
        """Attempt a call in a task, and tell here what came of it.

        Not in a callback of the task: the loop keeps what strikes in one to itself.
        """
        if self._begun.get(intent) is not False:
            return  # an interrupt came before this task was noted: its call was told as not made
        self._begun[intent] = True
        try:
            entry = await aattempt(self.run, intent, asyncio.current_task())
        except GeneratorExit:
            raise
        except BaseException as interrupt:  # noqa: BLE001 - it struck between two lines of ours
            self._tell_fate(intent, interrupt)
        else:
            self._tell(intent, entry)

    def _tell_fate(self, intent: Entry, interrupt: BaseException) -> None:
        """Have it heard what a call has ended with that was not judged."""
        if self.run.goes(interrupt):
            self._problem = interrupt
            self._news.set()
        else:
            self._tell(intent, self.run.fate_of(interrupt, intent))
            self.stop(interrupt, kind_of(intent))

    def _tell(self, intent: Entry, entry: Entry) -> None:
        """Have it heard what came of a call; harmless if done again."""
        self._begun.pop(intent, None)
        self._ended.append(entry)
        self._news.set()

    def _watch(self) -> None:
        """Hear of the end of each task, also if an interrupt came before it was noted."""
        for intent, task in self._tasks.items():
            end = self._ends.setdefault(intent, partial(self._end, intent))
            task.remove_done_callback(end)  # a scope that cancels at each turn comes here each time
            task.add_done_callback(end)

    def _end(self, intent: Entry, task: asyncio.Task[None]) -> None:
        """Forget a task, and tell of one that could not do so itself."""
        if intent in self._tasks:
            if task.cancelled():  # before it began, by whoever cancels all tasks of the loop
                self._tell(intent, not_made(intent, asyncio.CancelledError()))
            elif (error := task.exception()) is not None:  # at the very edge of the task
                self._tell_fate(intent, error)
            del self._tasks[intent]
            self._ends.pop(intent, None)

    def _sweep(self) -> None:
        """Forget the tasks of calls that have ended, also if the loop has not called back."""
        for intent, task in [pair for pair in self._tasks.items() if pair[1].done()]:
            self._end(intent, task)
        self._tasks.clear()

    def _make(self, intents: list[Entry]) -> None:
        for intent in intents:
            self._begun[intent] = False
            self._tasks[intent] = task = asyncio.create_task(self._attempt_safely(intent))
            self._ends[intent] = end = partial(self._end, intent)
            task.add_done_callback(end)

    def look(self) -> bool:
        """Tell the run what has ended, also of tasks; leave it where the rollback begins."""
        super().look()
        while self._ended:
            self.run.receive(self._ended[0])
            self._ended.popleft()
        if self._problem is not None:
            raise self._problem
        return self._is_for_another

    def close(self) -> bool:
        """Hear nothing more, unless an interrupt came at the edge of the last task."""
        self._sweep()
        return not self._ended

    async def drive(self) -> None:
        """Make the calls."""
        run = self.run
        self._is_backward = run.execution.rolling
        self._watch()
        for turn in turns(run, self._limit, self):
            if turn == WRITE:
                await run.awrite()
            elif turn == WAIT:
                await self._pause_through(run)
            else:
                self._make(turn)

    async def _pause_through(self, run: Run) -> None:
        """Wait; being cancelled meanwhile stops the run."""
        try:
            await self._pause()
        except asyncio.CancelledError as cancelled:
            self._end_with_loop()
            run.stop(cancelled)
            self._watch()


async def aattempt(  # noqa: C901, PLR0912 - a coroutine more takes room in each call
    run: AskedRun, intent: Entry, task: asyncio.Task[Any] | None
) -> Entry:
    """Make one call, in this task, and say what came of it."""
    # Few variables: each takes room in each call that runs, and there may be many.
    _, i, kind, _, _, _ = intent
    operation = run.operations[i]
    call = operation.action if kind == ACTION else call_of(operation, kind)
    if not call[IS_ASYNC]:
        return await _attempt_in_thread(run, intent)
    timeout, scope = operation.policy.timeout, None
    if timeout is not None:
        scope = asyncio.timeout(timeout)
    current.set((running, run, intent, None if timeout is None else clock.monotonic() + timeout))
    if operation.policy is not PLAIN:
        note_start(run, operation, i, kind)
    function, args, keywords, _, _ = call
    value: Any = _NOT_YET
    called: object = None
    began = run.begins() if run.keeps_time else None
    try:
        if call[NEEDS]:
            args, keywords = filled(run, operation, i, call)
        called = function
        if scope is None:  # entering one costs as much as the call
            value = await function(*args, **keywords)
        else:
            value = None
            async with scope:
                value = _NOT_YET
                value = await function(*args, **keywords)
    except BaseException as error:
        if isinstance(error, GeneratorExit) and _destroyed(task):
            raise  # nothing may be awaited any more
        if value is not _NOT_YET:  # it has struck before the call, or since
            raise
        problem = error
    else:
        if began is not None:
            run.ended(intent, began)
        if type(value) is Later:
            return begun(run, intent, value)
        return read_answer(intent, value) if kind == ASK else succeeded(intent, value)
    if began is not None and called is not None:
        run.ended(intent, began)
    try:
        return _judged(run, intent, problem, scope, called)  # out here, as in `attempt`
    finally:
        del problem  # it knows this frame, and must not be known by it


def _judged(
    run: AskedRun,
    intent: Entry,
    error: BaseException,
    scope: asyncio.Timeout | None,
    function: object,
) -> Entry:
    """Say what an error means that a coroutine has raised; raises what came from outside."""
    passage = run.passage_of(intent)
    if isinstance(error, Exception) and scope is not None and scope.expired():
        _, i, kind, _, _, _ = intent
        late = overdue(run, i, kind, run.operations[i].policy.timeout or 0.0)
        late.__cause__ = error
        if passage is not None and passage.moment == ENTERING:
            return not_entered(run, intent, late)
        return meant(run, intent, late, is_doubtful=True)
    if passage is not None:
        return judged_by(passage, run, intent, error)
    if not isinstance(error, Exception):
        return interrupted(intent, error)
    is_known = type(function) is Surrounded or (  # what other functions give raises elsewhere
        type(function) is FunctionType and function.__code__.co_flags & CO_COROUTINE
    )
    return judged(run, intent, error, function if is_known else None)


_NOT_YET = object()  # what a call gives until it has returned


def _destroyed(task: asyncio.Task[Any] | None) -> bool:
    """Tell whether the coroutine of a task is being closed, rather than run by its loop."""
    try:
        return asyncio.current_task() is not task
    except RuntimeError:
        return True


async def _attempt_in_thread(run: AskedRun, intent: Entry) -> Entry:
    """Make a call in a thread; a cancellation stops the saga, but not the thread."""
    if not run.is_elsewhere:
        return attempting(run)(run, intent)
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Entry] = loop.create_future()

    def tell(entry: Entry) -> None:
        with suppress(RuntimeError):  # as when a straggler wakes a loop
            loop.call_soon_threadsafe(future.set_result, entry)

    permit = threading.Lock()

    def struck(interrupt: BaseException) -> None:
        run.stop(interrupt)
        if permit.acquire(blocking=False):  # no thread has begun it
            run.check_goes(interrupt)
            future.set_result(not_made(intent, interrupt))

    make = partial(POOL.make, run, intent, permit, tell)
    await outlast(future, struck, (BaseException,), make)
    return future.result()
