"""Wait for a saga whose answers are to come, up to a time: `wait=` of what executes one."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from py_api_saga import clock
from py_api_saga.definition import Results
from py_api_saga.exceptions import SagaError, SagaInProgress, SagaPending
from py_api_saga.journal.changes import OPEN, Summary
from py_api_saga.journal.protocol import Journal

FIRST_PAUSE = 0.02  # seconds between two looks at the journal; it doubles
LONGEST_PAUSE = 1.0

# No lock, which a fork would copy as another thread holds it: each use of it is one step.
_bells: list[Callable[[], object]] = []


def ring() -> None:
    """Wake whoever waits in this process: an answer was given in it."""
    for bell in [*_bells]:
        bell()


@contextmanager
def _listening(bell: Callable[[], object]) -> Iterator[None]:
    _bells.append(bell)
    try:
        yield
    finally:
        _bells.remove(bell)


class _Watch:
    """Looks after one saga that waits, from time to time."""

    def __init__(self, journal: Journal, saga_id: str, seconds: float) -> None:
        self._journal, self._saga_id = journal, saga_id
        self._until = clock.monotonic() + seconds
        self._pause = FIRST_PAUSE
        self._last: Summary | None = None

    def pause(self) -> float | None:
        """Give the seconds until the next look; None if the time is up."""
        left = self._until - clock.monotonic()
        if left <= 0:
            return None
        pause, self._pause = self._pause, min(LONGEST_PAUSE, 2 * self._pause)
        return min(pause, left)

    def woken(self) -> None:
        """Look often again, since something has happened."""
        self._pause = FIRST_PAUSE

    def is_due(self) -> bool:
        """Tell whether there may be more to say of the saga than that it waits."""
        seen = self._journal.find(self._saga_id)
        if seen is None or seen.status not in OPEN:
            return True
        if self._journal.drives(seen):
            return False
        if seen.due <= self._journal.now() or self._journal.mail([seen.number])[seen.number]:
            return True
        changed, self._last = seen != self._last, seen
        return changed


def wait_for(
    journal: Journal,
    saga_id: str,
    seconds: float,
    first: Callable[[], Results],
    again: Callable[[], Results],
) -> Results:
    """Run a saga and, while it waits, look after it for so many seconds; in this thread.

    Raises:
        SagaPending: It still waits.
        SagaInProgress: Somebody else drives it, and still does.
        Exception: What the saga raises.
    """
    watch, woken, run = _Watch(journal, saga_id, seconds), threading.Event(), first
    with _listening(woken.set):
        while True:
            try:
                return run()
            except (SagaPending, SagaInProgress) as error:
                last: SagaError = error
            run = again
            while True:
                if (pause := watch.pause()) is None:
                    raise last
                if woken.wait(pause):
                    woken.clear()
                    watch.woken()
                if watch.is_due():
                    break


async def await_for(
    journal: Journal,
    saga_id: str,
    seconds: float,
    first: Callable[[], Awaitable[Results]],
    again: Callable[[], Awaitable[Results]],
) -> Results:
    """Like `wait_for`, under asyncio."""
    import asyncio  # noqa: PLC0415 - 34 ms to import

    watch, woken, run = _Watch(journal, saga_id, seconds), asyncio.Event(), first
    loop: Any = asyncio.get_running_loop()

    def bell() -> None:
        with suppress(RuntimeError):  # the loop was closed, and with it all who wait there
            loop.call_soon_threadsafe(woken.set)

    with _listening(bell):
        while True:
            try:
                return await run()
            except (SagaPending, SagaInProgress) as error:
                last: SagaError = error
            run = again
            while True:
                if (pause := watch.pause()) is None:
                    raise last
                try:
                    async with asyncio.timeout(pause):
                        await woken.wait()
                    woken.clear()
                    watch.woken()
                except TimeoutError:
                    pass
                if await asyncio.to_thread(watch.is_due):
                    break
