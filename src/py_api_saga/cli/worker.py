"""`saga worker`: recover again and again, until a signal says that it is enough."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from py_api_saga.cli.opening import codec_of, import_modules, named
from py_api_saga.cli.recovering import left_alone, line, open_to_recover, prepare
from py_api_saga.cli.words import error_words, moment, plural, write
from py_api_saga.exceptions import JournalError
from py_api_saga.journal.opening import check_kind

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from concurrent.futures import Future
    from types import FrameType

    from py_api_saga.journal.sqlite import SQLiteJournal
    from py_api_saga.recovery import Recovery

_LOOK = 0.1  # seconds between two looks at what runs


def main(arguments: argparse.Namespace) -> int:
    """Work until told to end."""
    path = named(arguments)
    import_modules(arguments.modules)  # what is missing is said now, not once there is a journal
    codec_of(arguments)
    worker = Worker(arguments.workers, arguments.limit, arguments.interval)
    with worker.listening():
        if worker.waits_for(path):
            with closing(open_to_recover(arguments)) as journal:
                worker.run(journal)
    return 0


def _is_there(path: str) -> bool:
    try:
        seen = os.stat(path)  # noqa: PTH116 - paths are text here
    except FileNotFoundError:
        return False
    check_kind(path, seen)
    return seen.st_size > 0


class _Round(NamedTuple):
    """One look at the journal: what was found, and the threads that are at it."""

    recovery: Recovery
    threads: list[Future[None]]


class Worker:
    """Recovers in rounds. A saga that takes long keeps one thread, and no round from beginning.

    All but the sagas runs in the main thread, where Python takes in signals.
    """

    def __init__(self, threads: int, limit: int | None, interval: float) -> None:
        """Work with so many threads, and begin so many sagas in a round; seconds between rounds."""
        self._threads = threads
        self._limit = limit
        self._interval = interval
        self._rounds: list[_Round] = []
        self._sealed: set[int] = set()  # sagas of which it has said so
        self._is_told = self._misses = False
        self._ear, self._bell = socket.socketpair()  # select on Windows takes nothing else
        self._bell.settimeout(0)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT as being told to end."""
        numbers = (signal.SIGTERM, signal.SIGINT)
        # CPython rings at once; the handler runs after the wait, if that was just about to begin.
        rung = signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)
        before = {number: signal.signal(number, self._told) for number in numbers}
        try:
            yield
        finally:
            signal.set_wakeup_fd(rung)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._ear.close()
            self._bell.close()

    def _told(self, number: int, _: FrameType | None) -> None:
        """Begin nothing more; the second time, leave now: to the journal it is like a crash."""
        if self._is_told:
            os._exit(128 + number)
        self._is_told = True
        for one in self._rounds:
            one.recovery.stop()

    def waits_for(self, path: str) -> bool:
        """Wait until there is a journal; false if told to end before."""
        while not self._is_told:
            if self._sees(path):
                return True
            self._wait(time.monotonic() + self._interval)
        self._log("ended")
        return False

    def _sees(self, path: str) -> bool:
        """Tell whether there is a journal, and say once if there is none: nobody is to make it."""
        is_there = _is_there(path)
        if not is_there and not self._misses:
            self._log(f"there is no journal {path}; looking every {self._interval:g} s")
        self._misses = not is_there
        return is_there

    def run(self, journal: SQLiteJournal) -> None:
        """Work until told to end, and until what was begun has ended."""
        self._log(f"at work: {plural(self._threads, 'saga')} at once, every {self._interval:g} s")
        due = time.monotonic()
        with ThreadPoolExecutor(self._threads, "saga-worker") as pool:
            try:
                while not self._is_told:
                    if time.monotonic() >= due:
                        due = time.monotonic() + self._interval
                        self._begin(journal, pool)
                    self._look()
                    self._wait(due)
                self._log(f"told to end; {plural(self._running(), 'thread')} still at work")
                while self._rounds:
                    self._look()
                    time.sleep(_LOOK / 10)
                self._log("ended")
            finally:  # whatever happens, nothing more begins
                for one in self._rounds:
                    one.recovery.stop()

    def _running(self) -> int:
        return sum(not thread.done() for one in self._rounds for thread in one.threads)

    def _begin(self, journal: SQLiteJournal, pool: ThreadPoolExecutor) -> None:
        """Look what is due, and let the threads that are free begin it."""
        free = self._threads - self._running()
        if not free:
            return
        try:
            if not self._sees(journal.path):
                return
            recovery, sealed = prepare(journal, self._limit)
        except JournalError as error:
            self._log(f"the journal cannot be used, and is tried again: {error}")
            return
        for seen in sealed:
            if seen.number not in self._sealed:
                self._sealed.add(seen.number)
                self._log(left_alone(seen))
        if len(recovery):
            one = _Round(recovery, [])
            self._rounds.append(one)
            if self._is_told:  # in this very moment
                recovery.stop()
            one.threads.extend(pool.submit(recovery.work) for _ in range(min(free, len(recovery))))

    def _look(self) -> None:
        """Log what has ended since the last look."""
        for one in self._rounds.copy():
            is_over = all(thread.done() for thread in one.threads)  # before its last results
            results = one.recovery.results
            while results:
                self._log(line(results.pop(0)))
            if is_over:
                for thread in one.threads:
                    if (error := thread.exception()) is not None:
                        self._log(f"a thread has failed: {error_words(error)}")
                one.recovery.leave()
                self._rounds.remove(one)

    def _wait(self, due: float) -> None:
        """Wait for the next round, for the next look at what runs, or for a signal."""
        seconds = _LOOK if self._rounds else max(0.0, due - time.monotonic())
        if select.select([self._ear], [], [], seconds)[0]:
            self._ear.recv(1)  # it may have been another signal

    @staticmethod
    def _log(text: str) -> None:
        write(f"{moment(time.time())} {text}")
        sys.stdout.flush()
