"""A worker's process at work: what the sagas that it drives share."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from py_api_saga.engines.dbos_loop import News
from py_api_saga.engines.dbos_server import Server
from py_api_saga.engines.errand import Workshop
from py_api_saga.entries import Attempt
from py_api_saga.exceptions import JournalError
from py_api_saga.log import logger

_AGAIN = 0.5  # seconds before the database is asked again that has not answered

T = TypeVar("T")


class LeftError(asyncio.CancelledError):
    """This incarnation has ended: the saga goes on elsewhere, or waits in the database."""


class Driven(Protocol):
    """A saga that this process drives.

    Attributes:
        loop: Whose tasks its steps are.
        alarm: Set while something that was posted is not heard, and if another one has begun.
    """

    loop: asyncio.AbstractEventLoop
    alarm: asyncio.Event

    def hear(self, news: News) -> None:
        """Take in what was posted; in the thread of the loop."""


class Shift:
    """What the sagas of a worker's process share.

    Attributes:
        workshop: What makes their calls.
        server: The database.
        executor: Who this process is to DBOS.
        may_begin: Tells whether a call may begin, which it may not under a lease that has run out.
        sagas: What it drives, by the ids of the workflows.
        making: The calls that are being made: what is known of each first, and its line of LOST.
        late: Calls that were given up after their timeout and have not ended.
        ends: Set once no call is to begin any more.
        is_cut: Set once calls that still run are told as LOST.
    """

    def __init__(
        self,
        workshop: Workshop,
        server: Server,
        executor: str,
        concurrency: int,
        lease: Callable[[], tuple[bool, int]],
    ) -> None:
        """Begin a shift; `lease` gives whether calls may begin, and how often it has run out."""
        self.workshop, self.server, self.executor, self.lease = workshop, server, executor, lease
        self.sagas: dict[str, Driven] = {}
        self.making: dict[asyncio.Future[str], str] = {}
        self.late: dict[tuple[str, Attempt], asyncio.Task[str]] = {}
        self.lost = 0  # calls that were told as LOST at the end
        self._room = concurrency
        self._queue: asyncio.Semaphore | None = None
        self.ends, self.is_cut = Flag(), Flag()
        self._lock = threading.Lock()
        self._heard: list[tuple[str, str]] = []

    @property
    def slots(self) -> asyncio.Semaphore:
        """Room for so many calls at once; it belongs to the loop of the first saga."""
        if self._queue is None:
            self._queue = asyncio.Semaphore(self._room)
        return self._queue

    def cut(self) -> None:
        """Tell the calls that still run as LOST; from any thread."""
        self.is_cut.set()
        for first, lost in list(self.making.items()):
            first.get_loop().call_soon_threadsafe(self._lose, first, lost)

    def _lose(self, first: asyncio.Future[str], lost: str) -> None:
        if not first.done():
            self.lost += 1
            first.set_result(lost)

    def note_heard(self, workflow: str, key: str) -> None:
        """Note that a workflow has heard what was posted, and that this is on record."""
        with self._lock:
            self._heard.append((workflow, key))

    def take_heard(self) -> list[tuple[str, str]]:
        """Give what was heard since this was last asked."""
        with self._lock:
            heard, self._heard = self._heard, []
            return heard

    def tell(self, news: dict[str, News]) -> None:
        """Hand out what was posted to sagas; from any thread."""
        for workflow, posted in news.items():
            here = self.sagas.get(workflow)
            if here is not None:
                here.loop.call_soon_threadsafe(here.hear, posted)

    async def pause(self, seconds: float) -> None:
        """Wait for so many seconds, or until calls are told as LOST."""
        cut = self.is_cut.future()
        await asyncio.wait({cut}, timeout=seconds)
        cut.cancel()

    async def asked(self, question: Callable[..., T], *args: Any) -> T:
        """Ask the database until it answers, or this shift ends: no error of it is an outcome."""
        while True:
            try:
                # The context of a step would have the database believe that the step asks.
                return await asyncio.get_running_loop().run_in_executor(
                    None, lambda: contextvars.Context().run(question, *args)
                )
            except JournalError as error:
                if self.is_cut.is_set():
                    raise LeftError from error
                logger().warning("%s", error)
                await self.pause(_AGAIN)


class Flag:
    """An event that any thread sets, and any task of any loop awaits."""

    def __init__(self) -> None:
        self._is_set = False
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = set()

    def is_set(self) -> bool:
        """Tell whether it is."""
        return self._is_set

    def set(self) -> None:
        """Set it, for good."""
        with self._lock:
            self._is_set = True
            waiting, self._waiting = self._waiting, set()
        for loop, future in waiting:
            loop.call_soon_threadsafe(_resolve, future)

    def future(self) -> asyncio.Future[None]:
        """Give what is done once it is set; cancel it when it is of no use any more."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self._is_set:
                future.set_result(None)
            else:
                entry = (loop, future)
                self._waiting.add(entry)
                future.add_done_callback(lambda _: self._waiting.discard(entry))
        return future


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
