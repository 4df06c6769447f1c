"""Time that passes only for whoever sleeps: nothing waits, and no test takes as long as it says."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial
from math import ceil
from types import MemberDescriptorType
from typing import Any, Self, TypeAlias

from py_api_saga import chance, clock
from py_api_saga.exceptions import SagaDefinitionError, refused
from py_api_saga.executors.driving import IN_LINE, standing_in

__all__ = ["Clock"]

Place: TypeAlias = tuple[Any, str, object]  # whose attribute, its name, what is put there

stopwatch = time.perf_counter  # the real time, whatever is in place
_ANSWER = 0.5  # seconds that pass really, for an answer that comes over a connection
_MISSING = object()  # there was no such attribute
_LATEST = 253_402_300_799  # seconds since 1970: the last of the year 9999
_MOST_STRIKES = 100  # interrupts while something is put back: more are a fault that stays
_ours: ContextVar[Clock | None] = ContextVar("py_api_saga_virtual_time", default=None)


@contextmanager
def replaced(places: Iterable[Place]) -> Iterator[None]:
    """Put things in the place of others in a `with` block, and those back, whatever strikes."""
    places = list(places)
    before = [(thing, name, _own(thing, name)) for thing, name, _ in places]
    try:
        for thing, name, new in places:
            _put(thing, name, new)
        yield
    finally:
        _put_back(before[::-1])


def _own(thing: Any, name: str) -> object:
    """Give what a thing itself has under a name, in a slot if need be."""
    own: Mapping[str, object] = getattr(thing, "__dict__", {})
    if name not in own and isinstance(getattr(type(thing), name, None), MemberDescriptorType):
        return getattr(thing, name, _MISSING)
    return own.get(name, _MISSING)


def _put(thing: Any, name: str, value: object) -> None:
    """Set an attribute, or take it away; also of a frozen dataclass."""
    try:
        if value is not _MISSING:
            setattr(thing, name, value)
        elif _own(thing, name) is not _MISSING:
            delattr(thing, name)
    except AttributeError:
        if value is not _MISSING:
            object.__setattr__(thing, name, value)
        else:
            object.__delattr__(thing, name)


def _put_back(places: list[Place]) -> None:
    """Put back what was there before; an interrupt meanwhile is raised once all of it is."""
    struck: list[BaseException] = []
    for _ in range(_MOST_STRIKES):  # pragma: no branch - nobody has so much patience
        try:
            for thing, name, old in places:
                _put(thing, name, old)
            break
        except BaseException as interrupt:  # noqa: BLE001 - raised below
            struck.append(interrupt)
    if struck:
        raise struck[0]


@contextmanager
def seeded() -> Iterator[Callable[[], object]]:
    """Give what lets `random` begin anew in a `with` block; behind it, it goes on as before."""
    before = random.getstate()
    try:
        yield partial(random.seed, 0)
    finally:
        random.setstate(before)


class Clock:
    """Virtual time for a `with` block: what sleeps in it returns at once, and that time has passed.

    It holds for the waits of sagas (between attempts, until a `deadline=`), for `time.sleep`,
    `time.monotonic` and `time.time` as they are called in this context, and in copies of it, which
    threads of this library have; and for asyncio: in the loop that runs, and in those that the
    block makes, time jumps to what is due next. Threads that the block starts otherwise, and
    `datetime.now()`, have the real time.

    A choreography is made in line, as by `inline_choreography`, and what is random in the wait
    before another attempt is half of what it may be at most. A plain function with a `timeout=` has
    a thread of its own all the same, and is not cut off by a time that passes only virtually.

    Args:
        start: What time it is at the beginning, seconds since 1970; by default what it really is,
            to the next whole second.

    Attributes:
        passed: Seconds that have passed in the block.

    Raises:
        SagaDefinitionError: `start` is not a number; or, as the block is entered, it was entered
            already, or the loop that runs is not one of asyncio's own.
    """

    def __init__(self, start: float | None = None) -> None:
        # Of whole seconds, so that what is slept and then subtracted is not 7199.999999999993.
        self._start = ceil(clock.time()) if start is None else _moment(start)
        self._began = ceil(clock.monotonic())
        self._lock = threading.Lock()
        self._left: AbstractContextManager[Any] | None = None
        self.passed = 0.0

    def __enter__(self) -> Self:
        if self._left is not None:
            raise refused("Clock", "one that is not in use", "one whose block has not ended")
        with ExitStack() as stack:  # what strikes in here leaves nothing behind
            stack.enter_context(self.in_place(in_loop()))
            stack.enter_context(standing_in(IN_LINE))
            self._left = stack.pop_all()
        return self

    def __exit__(self, *raised: Any) -> None:  # noqa: PYI036 - handed on
        left, self._left = self._left, None
        if left is not None:  # pragma: no branch - else an interrupt has struck
            left.__exit__(*raised)

    @contextmanager
    def in_place(self, loop: asyncio.AbstractEventLoop | None = None) -> Iterator[None]:
        """Let this be the time in a block, also of a loop; sagas are driven as they are."""
        places: list[Place] = [
            (clock, "monotonic", _told(clock.monotonic, self.monotonic)),
            (clock, "time", _told(clock.time, self.time)),
            (clock, "sleep", _sleeping(clock.sleep)),
            (clock, "is_stopped", _told(clock.is_stopped, lambda: False)),
            (chance, "fraction", lambda: 0.5),
            (time, "monotonic", _told(time.monotonic, self.monotonic)),
            (time, "time", _told(time.time, self.time)),
            (time, "sleep", _sleeping(time.sleep)),
            (asyncio, "new_event_loop", self.new_loop),
            (asyncio.events, "new_event_loop", self.new_loop),
            *(() if loop is None else jumping(loop, self)),
        ]
        before = _ours.get()
        with replaced(places):
            _ours.set(self)
            try:
                yield
            finally:
                _ours.set(before)

    def monotonic(self) -> float:
        """Give seconds that never go back."""
        return self._began + self.passed

    def time(self) -> float:
        """Give the seconds since 1970."""
        return self._start + self.passed

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass.

        Raises:
            ValueError: They are negative.
        """
        if seconds < 0:
            message = "sleep length must be non-negative"
            raise ValueError(message)
        with self._lock:
            self.passed += seconds

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Make an event loop whose time is this one."""
        loop = asyncio.SelectorEventLoop()
        for thing, name, new in jumping(loop, self):
            setattr(thing, name, new)
        return loop


def _moment(start: object) -> float:
    """Check a time."""
    if isinstance(start, (int, float)) and type(start) is not bool and 0 <= start <= _LATEST:
        return start
    raise refused("Clock: start", "seconds since 1970, up to the year 9999, or None", start)


def _told(real: Callable[[], Any], virtual: Callable[[], Any]) -> Callable[[], Any]:
    """Give what tells the virtual time in the context of the block, and elsewhere the real one."""
    return lambda: real() if _ours.get() is None else virtual()


def _sleeping(real: Callable[[float], object]) -> Callable[[float], None]:
    def sleep(seconds: float, /) -> None:
        ours = _ours.get()
        if ours is None:
            real(seconds)
        else:
            ours.sleep(seconds)

    return sleep


def in_loop() -> asyncio.AbstractEventLoop | None:
    """Give the loop that runs in this thread, or None."""
    return asyncio._get_running_loop()  # noqa: SLF001 - the public one raises


def jumping(loop: asyncio.AbstractEventLoop, virtual: Clock) -> list[Place]:
    """Say what lets a loop never wait: its time jumps to the next timer, once nothing else is due.

    While a thread of its executor is at work, time stands still; and so it does for a moment while
    a connection is open, at whose other end somebody may be about to answer.

    Raises:
        SagaDefinitionError: It is not a loop of asyncio's own.
    """
    selector: Any = getattr(loop, "_selector", None)
    if selector is None or not isinstance(loop, asyncio.BaseEventLoop):
        message = (
            f"virtual time: expected an event loop of asyncio, got {type(loop).__module__}."
            f"{type(loop).__qualname__}, whose timers cannot be made to jump"
        )
        raise SagaDefinitionError(message)
    select, execute, shut_down = (
        selector.select,
        loop.run_in_executor,
        loop.shutdown_default_executor,
    )
    ahead = ceil(loop.time() - virtual.passed)  # as in `Clock`
    at_work = [0]
    files = selector.get_map()
    own = len(files)  # by which the loop is woken up

    def jump(timeout: float | None = None) -> Any:
        if timeout is not None and timeout > 0:
            if events := select(min(timeout, _ANSWER) if len(files) > own else 0):
                return events
            if not at_work[0]:
                virtual.sleep(timeout)
                return []
            timeout = None  # until a thread has ended, which wakes the loop
        return select(timeout)

    def ended(_: object) -> None:
        at_work[0] -= 1

    def run_in_executor(*args: Any) -> Awaitable[Any]:
        future = execute(*args)
        at_work[0] += 1
        future.add_done_callback(ended)
        return future

    async def shutdown_default_executor(*args: Any) -> None:
        at_work[0] += 1  # the thread that ends the others; `asyncio.run` gives it 300 s
        try:
            await shut_down(*args)
        finally:
            at_work[0] -= 1

    return [
        (loop, "time", lambda: ahead + virtual.passed),
        (loop, "run_in_executor", run_in_executor),
        (loop, "shutdown_default_executor", shutdown_default_executor),
        (selector, "select", jump),
    ]
