"""A worker of Temporal: it replays sagas, and makes their calls.

Temporal's own part is in a loop of its own, in the thread of the engine, and the users' coroutine
functions are in another. So one that blocks its loop delays others like it, but no heartbeat: a
worker whose heartbeats are missing is taken for dead.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client, RPCError, WorkflowHandle
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCStatusCode
from temporalio.worker import (
    CustomSlotSupplier,
    FixedSizeSlotSupplier,
    SlotMarkUsedContext,
    SlotPermit,
    SlotReleaseContext,
    SlotReserveContext,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerTuner,
)

from py_api_saga.engines.errand import NotDeployed, Workshop
from py_api_saga.engines.loop_thread import LoopThread
from py_api_saga.engines.temporal_server import Server
from py_api_saga.engines.temporal_workflow import (
    CALL,
    NOT_DEPLOYED,
    SagaV1,
    lost_line,
    packed,
    unpacked,
)
from py_api_saga.engines.worker import Work
from py_api_saga.entries import LOST
from py_api_saga.journal.format.json_text import dumps, loads
from py_api_saga.log import complain

# A workflow is kept where it ran last; how long that worker has to begin its next task.
_STICKY = timedelta(seconds=2)
_TASKS = 100  # of workflows at once, as by default
_UNTHROTTLED = timedelta(seconds=0.1)
_BUSY = 0.02  # seconds between two looks for a free place, while there is none
_BEATS = 3  # heartbeats in the time after which a call counts as lost
_LOOK = 0.01  # seconds between two looks whether Temporal's part has begun
_PARTING = 4.0  # seconds for a call that is cancelled; the workshop takes two, if its loop is free
_FAREWELL = 1.0  # seconds for the loop of coroutine functions to end; one may block it
_PAUSE = 1.0  # seconds until the server is told once more of a call that was given up


class TemporalWorker:
    """Drives sagas, and makes their calls, from when it begins until it is told to end."""

    def __init__(self, server: Server, queue: str, workshop: Workshop, work: Work) -> None:
        """Take what it is told; nothing is connected yet."""
        self._server, self._queue, self._workshop, self._work = server, queue, workshop, work
        self._slots = _Slots(work.concurrency)
        self._calls: LoopThread | None = None
        self._worker: Worker | None = None
        self._run: asyncio.Task[None] | None = None
        self._lost = 0
        self._fault: BaseException | None = None
        self.running = 0

    @property
    def fault(self) -> BaseException | None:
        """What has ended it though nobody has told it to; None while it works."""
        return self._fault

    def begin(self) -> None:
        """Begin to work; returns once it does.

        Raises:
            JournalError: The server is not there, or has no such namespace.
        """
        self._server.check()
        self._calls = LoopThread("saga-calls")
        self._server.ask(self._begin)

    async def _begin(self, client: Client) -> None:
        self._worker = worker = Worker(
            client,
            task_queue=self._queue,
            workflows=[SagaV1],
            activities=[self._call],
            workflow_runner=UnsandboxedWorkflowRunner(),  # no code of users is in a workflow
            tuner=WorkerTuner.create_composite(
                workflow_supplier=FixedSizeSlotSupplier(_TASKS),
                activity_supplier=self._slots,
                local_activity_supplier=FixedSizeSlotSupplier(_TASKS),
                nexus_supplier=FixedSizeSlotSupplier(_TASKS),
            ),
            # Else it holds heartbeats back until little is left of the time that they have.
            max_heartbeat_throttle_interval=_UNTHROTTLED,
            default_heartbeat_throttle_interval=_UNTHROTTLED,
            sticky_queue_schedule_to_start_timeout=_STICKY,
            graceful_shutdown_timeout=timedelta(seconds=self._work.grace),
        )
        self._run = run = asyncio.create_task(worker.run())
        run.add_done_callback(self._has_ended)
        while not (worker.is_running or run.done()):  # it asks the server first
            await asyncio.wait({run}, timeout=_LOOK)

    def _has_ended(self, run: asyncio.Task[None]) -> None:
        self._fault = None if run.cancelled() else run.exception()

    def end(self) -> int:
        """Begin no call any more, let those that run come to their end, and leave.

        Returns:
            How many calls have not ended in the grace: they are told to their sagas as LOST.
        """
        worker, run = self._worker, self._run
        if worker is not None and run is not None and not run.done():
            self._server.thread().call(_shut_down(worker, run))
        if self._calls is not None:
            self._calls.end(_FAREWELL)
        return self._lost

    @activity.defn(name=CALL)
    async def _call(self, errand: RawValue) -> RawValue:
        """Make a call, and give the line that says what came of it.

        Temporal cancels it when the grace is over, or when its saga is no longer there. It would
        have a cancelled one made again by itself, so that is never what this ends with.
        """
        text, info = unpacked(errand), activity.info()
        handle = activity.client().get_workflow_handle(
            info.workflow_id or "", run_id=info.workflow_run_id
        )
        temporal = self._server.thread()

        given_up: list[str] = []

        async def give_up(line: str) -> None:
            given_up.append(line)
            self._slots.free()
            await temporal.acall(_tell(handle, line))

        assert self._calls is not None  # noqa: S101 - it has begun
        made = _Made(self._calls.loop, self._workshop.call(text, give_up))
        beats, is_cancelled = _Beats(info.heartbeat_timeout), False
        self.running += 1
        try:
            try:
                line = await made.line()
            except asyncio.CancelledError:
                is_cancelled = True
                line = await made.parting()
        except NotDeployed as missing:
            raise _for_another(missing) from None
        except Exception as error:  # noqa: BLE001 - Temporal would have the same attempt made again
            complain("nobody knows what came of a call", error=error)
            line = lost_line(loads(text)["intent"])
        finally:
            if given_up:
                self._slots.keep()
            self.running -= 1
            beats.end()
        self._lost += is_cancelled and loads(line)[0] == LOST
        return packed(line)


def _for_another(missing: NotDeployed) -> ApplicationError:
    """Have Temporal give a call to another worker, or once more to this one, without alarm."""
    benign = ApplicationErrorCategory.BENIGN
    return ApplicationError(str(missing), type=NOT_DEPLOYED, category=benign)


class _Slots(CustomSlotSupplier):
    """Places for calls; one that was given up after its timeout has none any more.

    It may hang for ever, and the worker would make fewer and fewer calls.
    """

    def __init__(self, size: int) -> None:
        """Have so many."""
        self._free = size
        self._lock = threading.Lock()

    def _take(self) -> bool:
        with self._lock:
            if self._free <= 0:
                return False
            self._free -= 1
            return True

    def free(self) -> None:
        """Have one more."""
        with self._lock:
            self._free += 1

    def keep(self) -> None:
        """Have one less; of those that are taken none is taken back."""
        with self._lock:
            self._free -= 1

    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:  # noqa: ARG002 - of Temporal
        """Wait for a place. It looks again and again: whoever is woken may have been cancelled."""
        while not self._take():  # noqa: ASYNC110 - as it says
            await asyncio.sleep(_BUSY)
        return SlotPermit()

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:  # noqa: ARG002
        """Give a place if one is free."""
        return SlotPermit() if self._take() else None

    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        """It was counted as it was taken."""

    def release_slot(self, ctx: SlotReleaseContext) -> None:  # noqa: ARG002
        """Take a place back."""
        self.free()


class _Made:
    """A call that is made in the loop of the users' functions, and awaited in that of Temporal."""

    def __init__(
        self, there: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, str]
    ) -> None:
        """Begin it, in a copy of this context."""
        self._here, self._there, self._coroutine = asyncio.get_running_loop(), there, coroutine
        self._line: asyncio.Future[str] = self._here.create_future()
        self._task: asyncio.Task[str] | None = None
        there.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._task = self._there.create_task(self._coroutine)
        self._task.add_done_callback(self._tell)

    def _tell(self, task: asyncio.Task[str]) -> None:
        with suppress(RuntimeError):  # nobody waits any more
            self._here.call_soon_threadsafe(self._take, task)

    def _take(self, task: asyncio.Task[str]) -> None:
        if task.cancelled():
            self._line.set_exception(RuntimeError("the loop of the users' functions has ended"))
        elif (error := task.exception()) is not None:
            self._line.set_exception(error)
        else:
            self._line.set_result(task.result())

    async def line(self) -> str:
        """Await what came of it.

        Raises:
            NotDeployed: It is for another worker.
        """
        return await asyncio.shield(self._line)

    async def parting(self) -> str:
        """Cancel it, and give what came of it by then.

        Raises:
            NotDeployed: It is for another worker.
            TimeoutError: It does not end, since something blocks its loop.
        """
        self._there.call_soon_threadsafe(self._cancel)
        async with asyncio.timeout(_PARTING):
            return await self.line()

    def _cancel(self) -> None:
        assert self._task is not None  # noqa: S101 - it was begun before
        self._task.cancel()


class _Beats:
    """Signs of life of one call, sent from the loop that Temporal's part is in."""

    def __init__(self, timeout: timedelta | None) -> None:
        assert timeout is not None  # noqa: S101 - the workflow has set it
        self._period = timeout.total_seconds() / _BEATS
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.call_later(self._period, self._beat)  # in the context of the call

    def _beat(self) -> None:
        activity.heartbeat()
        self._next = self._loop.call_later(self._period, self._beat)

    def end(self) -> None:
        self._next.cancel()


async def _tell(handle: WorkflowHandle[Any, Any], line: str) -> None:
    """Tell a workflow of a call that was given up, until the server has it; if it is open."""
    key = dumps(loads(line)[:5])
    news = packed(f"[{dumps(key)},{line}]")
    while True:
        try:
            await handle.signal("tell", news)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return
            await asyncio.sleep(_PAUSE)
        else:
            return


async def _shut_down(worker: Worker, run: asyncio.Task[None]) -> None:
    await worker.shutdown()
    await asyncio.gather(run, return_exceptions=True)
