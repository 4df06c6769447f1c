"""An event loop in a thread of ours: threads that have none go on with coroutine functions in it.

One for many sagas, since what their functions share (a client, a lock, the engine of a database)
belongs to the loop that has used it first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from py_api_saga.executors.inbox import GLANCE
from py_api_saga.executors.run import Run, put_behind
from py_api_saga.executors.threads import soon, start
from py_api_saga.log import complain

if TYPE_CHECKING:
    import asyncio


class _Place(NamedTuple):
    """A loop that runs in a thread, until `end` is set."""

    loop: asyncio.AbstractEventLoop
    end: asyncio.Event
    thread: threading.Thread


class _Waited:
    """What a thread waits for, and what came of it."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.task: asyncio.Task[None] | None = None
        self.value: Any = None
        self.error: BaseException | None = None

    async def work(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Await it; what it raises is raised where it is waited for."""
        try:
            self.value = await make()
        except BaseException as error:  # noqa: BLE001 - a SystemExit would end the loop of all
            self.error = error

    def ended(self, task: asyncio.Task[None]) -> None:
        """Wake whoever waits."""
        import asyncio  # noqa: PLC0415 - 34 ms to import, and most sagas need none

        if task.cancelled():  # before it began, by whoever ends all tasks of the loop
            self.error = asyncio.CancelledError()
        self.over.set()


class SideLoop:
    """A loop that opens when it is needed, for calls of any thread, until it is closed.

    It ends with the last call, if that is still on when it is closed: nobody has to wait for it.
    """

    def __init__(self) -> None:
        """Begin without a thread."""
        self._lock = threading.Lock()
        self._place: _Place | None = None
        self._calls = 0
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, run: Run, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run a coroutine in the loop, in a copy of this context, and wait for it.

        An interrupt of this thread cancels it, and is raised again when it is over; another one
        ends the run, and cancels all that is in the loop: what other threads wait for as well,
        but those that share a loop are never interrupted.

        Args:
            run: The run that it goes on with.
            make: Makes the coroutine.
        """
        place = self._enter()
        if place is None:  # something landed late, after the end of all
            import asyncio  # noqa: PLC0415 - as above

            return asyncio.run(make())
        try:
            return _wait(place, run, make)
        finally:
            self._leave()

    def _enter(self) -> _Place | None:
        with self._lock:
            if self._is_closed:
                return None
            place = self._place
            if place is None:
                place = self._place = _opened()
            self._calls += 1
            return place

    def _leave(self) -> None:
        with self._lock:
            self._calls -= 1
            place = self._place if self._is_closed and not self._calls else None
        _end(place)

    def close(self) -> None:
        """End the loop, with whatever was left in it, once no call is on."""
        with self._lock:
            self._is_closed = True
            place = None if self._calls else self._place
        _end(place)
        if place is not None:
            place.thread.join()


class OwnLoop:
    """A loop of the thread that calls, which is opened when it is needed, until it is closed.

    As a `SideLoop`, but without a thread: for those who want all calls in their own.
    """

    def __init__(self) -> None:
        """Begin without a loop."""
        self._runner: asyncio.Runner | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, _: Run, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run a coroutine in the loop, in a copy of this context, and wait for it."""
        import asyncio  # noqa: PLC0415 - as above

        if self._runner is None:
            self._runner = asyncio.Runner()
        try:
            return self._runner.run(make(), context=copy_context())
        except BaseException:
            self.close()  # what has struck the loop itself has left its task behind
            raise

    def close(self) -> None:
        """End the loop, with whatever was left in it."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()


def _opened() -> _Place:
    """Begin a thread with a loop, which ends when it is told to, whatever is raised in it."""
    import asyncio  # noqa: PLC0415 - as above

    opened: SimpleQueue[_Place | BaseException] = SimpleQueue()

    def serve() -> None:
        try:
            with asyncio.Runner() as runner:
                loop, end = runner.get_loop(), asyncio.Event()
                opened.put(_Place(loop, end, threading.current_thread()))
                while not end.is_set():
                    _run(runner, end)
        except BaseException as error:  # noqa: BLE001 - no more descriptors, say
            opened.put(error)

    def begin() -> bool:
        return start(threading.Thread(target=serve, name="saga-loop", daemon=True))

    if not soon(begin):
        raise RuntimeError("can't start new thread")
    place = opened.get()
    if isinstance(place, BaseException):
        raise place
    return place


def _run(runner: asyncio.Runner, end: asyncio.Event) -> None:
    try:
        runner.run(end.wait())
    except BaseException as error:  # noqa: BLE001 - it was stopped, or a task of the user's raised
        complain("something has stopped the event loop of recovery, which goes on", error=error)


def _end(place: _Place | None) -> None:
    if place is not None:
        place.loop.call_soon_threadsafe(place.end.set)


def _wait(place: _Place, run: Run, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    waited, context = _Waited(), copy_context()

    def begin() -> None:
        if waited.task is None:  # an interrupt may have it told twice
            waited.task = place.loop.create_task(waited.work(make), context=context)
            waited.task.add_done_callback(waited.ended)

    strikes: list[BaseException] = []
    told = 0
    while True:
        try:
            place.loop.call_soon_threadsafe(begin)
            while not waited.over.is_set():  # in here: an interrupt may strike where a loop jumps
                while told < len(strikes):
                    strike = _cancel_all if told else _cancel
                    place.loop.call_soon_threadsafe(strike, place, waited, run, strikes[told])
                    told += 1
                waited.over.wait(GLANCE)
            break
        except BaseException as interrupt:  # noqa: BLE001 - raised again when it is over
            strikes.append(interrupt)
    error, waited.error = waited.error, None
    try:
        if strikes:
            if error is not None:
                put_behind(strikes[0], error)
            raise strikes[0]
        if error is not None:
            raise error
        return waited.value
    finally:  # they know this frame, and must not be known by it
        del error, strikes


def _cancel(_: _Place, waited: _Waited, run: Run, interrupt: BaseException) -> None:
    if run.goes(interrupt):  # of recovery: then nothing is undone
        run.stop(interrupt)
    assert waited.task is not None  # noqa: S101 - it was begun before
    waited.task.cancel()


def _cancel_all(place: _Place, _: _Waited, run: Run, interrupt: BaseException) -> None:
    import asyncio  # noqa: PLC0415 - as above

    run.stop(interrupt)
    for task in asyncio.all_tasks(place.loop):
        task.cancel()
