"""What the workers show of themselves: how they end, that they are alive, and lines with the time.

They end told by SIGTERM or Ctrl-C, in peace or, if that takes too long, by force.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Self

from py_api_saga import clock
from py_api_saga.cli.printing import write
from py_api_saga.exceptions import SagaError
from py_api_saga.story.words import moment

_LAST_WORDS = 1.0  # seconds for which a process that has to go tries to say so


class _Guard:
    """Ends the process as a crash would, if it has not ended in time after it was to.

    A thread of its own, since the main one may wait for what hangs.
    """

    def __init__(self, seconds: float, left: str) -> None:
        """Give it so many seconds, and say what it leaves then."""
        self._seconds, self._left = seconds, left
        # Other than an Event's, their `put` may be interrupted by a signal handler that puts.
        self._told: SimpleQueue[None] = SimpleQueue()
        self._over: SimpleQueue[None] = SimpleQueue()
        self._thread = threading.Thread(target=self._watch, name="saga-guard", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.put(None)
        self._told.put(None)
        self._thread.join()

    def begin(self) -> None:
        """Begin to count, if it does not yet."""
        self._told.put(None)

    def _watch(self) -> None:
        self._told.get()
        try:
            self._over.get(timeout=self._seconds)
        except Empty:
            leave_now(f"not over after {self._seconds:g} s: {self._left}")


class Ending:
    """Hears that it is to end, and sees that it does.

    Whoever uses it is in the main thread, where Python takes in signals.

    Attributes:
        is_told: It is to begin nothing more.
    """

    def __init__(self, seconds: float, left: str, stop: Callable[[], None]) -> None:
        """Say how it ends.

        Args:
            seconds: Within so many after it was told, or by force.
            left: What is left then, in words.
            stop: Called in the signal handler: begins nothing more.
        """
        self.is_told = False
        self._stop, self._guard = stop, _Guard(seconds, left)
        self._ear, self._bell = socket.socketpair()  # Windows can wait for nothing else
        self._bell.settimeout(0)
        self._listens = selectors.DefaultSelector()  # select() knows no descriptor beyond 1,023
        self._listens.register(self._ear, selectors.EVENT_READ)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT as being told to end."""
        numbers = (signal.SIGTERM, signal.SIGINT)
        # CPython rings at once; the handler runs after the wait, if that was just about to begin.
        rung = signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)
        before = {number: signal.signal(number, self._told) for number in numbers}
        try:
            with self._guard:
                yield
        finally:
            signal.set_wakeup_fd(rung)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._listens.close()
            self._ear.close()
            self._bell.close()

    def _told(self, number: int, _: FrameType | None) -> None:
        """Begin nothing more; the second time, leave now: to others it is like a crash."""
        if self.is_told:
            os._exit(128 + number)
        self.is_told = True
        self.begin()
        self._stop()

    def begin(self) -> None:
        """Begin to count, if it does not yet."""
        self._guard.begin()

    def wait(self, seconds: float) -> None:
        """Wait for so long, or for a signal."""
        if self._listens.select(seconds):
            self._ear.recv(1)  # it may have been another signal


class Alive:
    """Says to whoever looks at a file that this process still works."""

    def __init__(self, path: str | None) -> None:
        """Name the file, or None for nobody."""
        self._path, self._is_touched = path, False

    def touch(self) -> None:
        """Say so.

        Raises:
            SagaError: It can't, and never could; later it is logged, and work goes on.
        """
        if self._path is None:
            return
        try:
            Path(self._path).touch()
        except OSError as error:
            message = f"--alive: {error}"
            if not self._is_touched:
                raise SagaError(message) from error
            log(message)
        else:
            self._is_touched = True


def leave_now(why: str) -> None:
    """End the process as a crash would, and try to say why."""
    last = threading.Thread(target=log, args=(why,), daemon=True)  # nobody may read it
    last.start()
    last.join(_LAST_WORDS)
    os._exit(1)


def log(text: str) -> None:
    """Write a line with the time, for whoever reads along."""
    write(f"{moment(clock.time())} {text}")
    sys.stdout.flush()
