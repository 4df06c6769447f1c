"""An engine in this process: what it keeps are texts, and its workers are loops in threads.

It keeps the promises of `Engine`, as MemoryJournal keeps those of a journal: a saga is begun once
under an id, a worker that dies loses its calls and nothing else, and a decision begins a successor.
So a test of what is built on engines needs no server.

    engine = EngineHere(["shop"])
    with engine.at_work() as worker:
        order().orchestrator_execute(engine=engine, saga_id="order-7")
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from world import PATIENCE

from py_api_saga.engines.course import Asked, Course
from py_api_saga.engines.engine import Engine
from py_api_saga.engines.errand import NotDeployed, Workshop
from py_api_saga.engines.loop_thread import LoopThread
from py_api_saga.engines.rows import Rows
from py_api_saga.engines.standing import Standing, saga_id_of
from py_api_saga.engines.worker import Work
from py_api_saga.journal.protocol import Codec

_AGAIN = 0.02  # seconds until a worker that lacks a function is asked once more


class Flow:
    """A workflow, as the engine keeps it: its rows, and what has come for it."""

    def __init__(self, number: int, rows: Rows) -> None:
        self.number, self.began, self.given = number, time.time(), list(rows)
        self.rows = list(rows)
        self.news: deque[str] = deque()
        self.keys: set[str] = set()
        self.is_open, self.at_rest = True, False
        self.worker: WorkerHere | None = None
        self.lacks = ""


class EngineHere(Engine):
    """Sagas in this process, on workers in threads of it.

    Attributes:
        trouble: What `check` is to raise; None if it is there and fit.
        closed: How often it was closed.
    """

    kind = "here"

    def __init__(
        self,
        modules: Iterable[str],
        aliases: Mapping[str, str] | None = None,
        codec: Codec | None = None,
    ) -> None:
        super().__init__(modules, aliases, codec)
        self.changed = threading.Condition()
        self.flows: dict[str, Flow] = {}
        self.workers: list[WorkerHere] = []
        self.trouble: Exception | None = None
        self.closed = 0

    @property
    def place(self) -> str:
        return "an engine in this process"

    def check(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def begin(self, workflow: str, rows: Rows) -> bool:
        with self.changed:
            if workflow in self.flows:
                return False
            self.flows[workflow] = Flow(len(self.flows) + 1, rows)
            self.ring()
            return True

    def given(self, workflow: str) -> Rows | None:
        with self.changed:
            flow = self.flows.get(workflow)
            return None if flow is None else list(flow.given)

    def await_rest(self, workflow: str, timeout: float | None) -> Rows | None:
        with self.changed:
            flow = self.flows[workflow]
            self.changed.wait_for(lambda: flow.at_rest, timeout)
            return list(flow.rows) if flow.at_rest else None

    async def aawait_rest(self, workflow: str, timeout: float | None) -> Rows | None:  # noqa: ASYNC109
        return await asyncio.to_thread(self.await_rest, workflow, timeout)

    def standing(self, workflow: str) -> Standing | None:
        with self.changed:
            flow = self.flows.get(workflow)
            return None if flow is None else Standing(list(flow.rows), flow.is_open, flow.lacks)

    def post(self, workflow: str, lines: Sequence[str], key: str) -> bool:
        with self.changed:
            flow = self.flows.get(workflow)
            if flow is None or not flow.is_open:
                return False
            if key not in flow.keys:
                flow.keys.add(key)
                flow.news.extend(lines)
                self.ring()
            return True

    def workflows(
        self, *, prefix: str = "", before: float | None = None, after: float | None = None
    ) -> Iterator[tuple[str, Standing]]:
        with self.changed:
            those = [*self.flows.items()][::-1]
        for workflow, flow in those:
            if (
                workflow.startswith(prefix)
                and (before is None or flow.began < before)
                and (after is None or flow.began > after)
            ):
                yield workflow, Standing(list(flow.rows), flow.is_open, flow.lacks)

    def worker(self, work: Work) -> WorkerHere:
        return WorkerHere(self, work)

    def close(self) -> None:
        self.closed += 1

    # --- for tests ------------------------------------------------------------------------------

    def ring(self) -> None:
        """Wake whoever waits for a change; under its lock."""
        self.changed.notify_all()
        for worker in self.workers:
            worker.wake()

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        with self.changed:
            assert self.changed.wait_for(is_so, PATIENCE), {
                name: flow.rows for name, flow in self.flows.items()
            }

    @contextmanager
    def at_work(self, **told: Any) -> Iterator[WorkerHere]:
        """Have a worker work, and end it in peace; `told` is what `Work` has."""
        worker = self.worker(Work(**told))
        worker.begin()
        try:
            yield worker
        finally:
            worker.end()


class WorkerHere:
    """A worker of such an engine.

    Attributes:
        work: What it was told.
        fault: What is to have ended it, set by tests.
        running: How many calls it makes.
        is_ending: It was told to end, and begins no call any more.
    """

    def __init__(self, engine: EngineHere, work: Work) -> None:
        self.engine, self.work = engine, work
        self.fault: BaseException | None = None
        self.running = 0
        self._shop = Workshop(
            engine.names, engine.codec, work.around, work.observers, work.concurrency
        )
        self._thread: LoopThread | None = None
        self._wakes = asyncio.Event()
        self._calls: set[asyncio.Task[None]] = set()
        self._main: asyncio.Task[None] | None = None
        self.is_ending = False

    # --- what a worker is -------------------------------------------------------------------------

    def begin(self) -> None:
        self.engine.check()
        self._thread = LoopThread("worker-here")
        with self.engine.changed:
            self.engine.workers.append(self)
        self._ask(self._begin())

    def end(self) -> int:
        """End in peace: what has not ended after the grace is lost."""
        left: int = self._ask(self._end())
        self.engine.wait_for(lambda: not any(flow.news for flow in self._flows() if flow.is_open))
        self._leave()
        return left

    def die(self) -> None:
        """End as by a crash: nothing is told, and what it had is for the next worker."""
        self._leave()

    # --- in its loop ------------------------------------------------------------------------------

    def wake(self) -> None:
        """Have it look for news."""
        assert self._thread is not None
        self._thread.loop.call_soon_threadsafe(self._wakes.set)

    def _ask(self, coroutine: Any) -> Any:
        assert self._thread is not None
        return self._thread.call(coroutine)

    async def _begin(self) -> None:
        self._main = asyncio.ensure_future(self._drive_all())

    async def _end(self) -> int:
        self.is_ending = True
        if self._calls:
            await asyncio.wait([*self._calls], timeout=self.work.grace)
        left = self.running
        for task in self._calls:
            task.cancel()
        if self._calls:
            await asyncio.wait([*self._calls])  # which tell that they are lost
        assert self._main is not None
        if self._main.done():
            self._main.result()
        return left

    def _flows(self) -> list[Flow]:
        return [flow for flow in self.engine.flows.values() if flow.worker is self]

    def _leave(self) -> None:
        with self.engine.changed:
            self.engine.workers.remove(self)
            for flow in self._flows():
                flow.worker = None
            self.engine.ring()
        assert self._thread is not None
        self._thread.end()

    async def _drive_all(self) -> None:
        """Take each workflow that nobody has, and drive it."""
        drives: dict[str, asyncio.Task[None]] = {}
        rings: dict[str, asyncio.Event] = {}
        while True:
            with self.engine.changed:
                for workflow, flow in self.engine.flows.items():
                    if flow.is_open and flow.worker is None:
                        flow.worker = self
                        rings[workflow] = asyncio.Event()
                        drives[workflow] = asyncio.ensure_future(
                            self._drive(workflow, flow, rings[workflow])
                        )
            for workflow, task in drives.items():
                if task.done():
                    task.result()
                rings[workflow].set()
            await self._wakes.wait()
            self._wakes.clear()

    async def _drive(self, workflow: str, flow: Flow, rings: asyncio.Event) -> None:
        course = Course(saga_id_of(workflow), flow.rows, time.time())
        while True:
            with self.engine.changed:
                while flow.news:
                    course.tell(flow.news.popleft(), time.time())
                asked = [] if self.is_ending else course.calls(time.time())
                flow.rows, flow.at_rest = course.rows(), course.at_rest
                flow.is_open = not course.is_over
                self.engine.changed.notify_all()
            for one in asked:
                task = asyncio.ensure_future(self._call(flow, one))
                self._calls.add(task)
                task.add_done_callback(self._calls.discard)
            if not flow.is_open:
                return
            wakes = course.wakes()
            pause = None if wakes is None else max(0.001, wakes - time.time())
            try:
                await asyncio.wait_for(rings.wait(), pause)
            except TimeoutError:
                continue
            rings.clear()

    async def _call(self, flow: Flow, asked: Asked) -> None:
        self.running += 1
        try:
            line = await self._made(flow, asked)
        finally:
            self.running -= 1
        await self._tell(flow, line)

    async def _made(self, flow: Flow, asked: Asked) -> str:
        """Make a call, once a worker has what it names: this one, as there is no other."""
        while True:
            try:
                line = await self._shop.call(asked.text, lambda line: self._tell(flow, line))
            except NotDeployed as missing:
                if self.is_ending:
                    raise asyncio.CancelledError from None
                with self.engine.changed:
                    flow.lacks = str(missing)
                    self.engine.changed.notify_all()
                await asyncio.sleep(_AGAIN)
            else:
                flow.lacks = ""
                return line

    async def _tell(self, flow: Flow, line: str) -> None:
        with self.engine.changed:
            if flow.worker is self:
                flow.news.append(line)
                self.engine.ring()
