"""`saga worker`: recover again and again, until a signal says that it is enough.

What it does for an engine is in `engine_work`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from typing import NamedTuple

from py_api_saga import chance, clock
from py_api_saga.cli.ending import Alive, Ending, log
from py_api_saga.cli.engine import is_engine, see_for_journal
from py_api_saga.cli.engine_work import work
from py_api_saga.cli.opening import to_look_for
from py_api_saga.cli.recovering import (
    begins_nothing,
    left_alone,
    line,
    open_to_recover,
    prepare,
)
from py_api_saga.cli.setting_up import around_of, import_modules
from py_api_saga.current import Around
from py_api_saga.durable.recovery import Readiness, Recovery, workers_of
from py_api_saga.exceptions import JournalError, SagaError
from py_api_saga.executors.driving import working
from py_api_saga.executors.side_loop import SideLoop
from py_api_saga.journal.lasting import LastingJournal
from py_api_saga.story.words import error_words, plural

_THREADS = 8
_PATIENCE = 300.0  # seconds for a journal that is not there
_LOOK = 0.1  # seconds between two looks at what runs
_LEFT = "left as by a crash, for the next recovery"


def main(arguments: argparse.Namespace) -> int:
    """Work until told to end."""
    import_modules(arguments)  # what is missing is said now, not once there is a journal
    around = around_of(arguments)
    place = to_look_for(arguments) if arguments.engine is None else open_to_recover(arguments)
    if is_engine(place):
        return work(place, arguments, around)
    see_for_journal(arguments)
    worker = Worker(
        arguments.workers or _THREADS,
        arguments.limit,
        arguments.interval or place.poll,
        arguments.grace,
        _PATIENCE if arguments.wait is None else arguments.wait,
        around,
        arguments.alive,
    )
    with worker.listening():
        if worker.waits_for(place):
            with closing(open_to_recover(arguments)) as journal, working(journal):
                worker.run(journal)
    return 0


class _Round(NamedTuple):
    """One look at the journal: what was found, and the threads that are at it."""

    recovery: Recovery
    threads: list[Future[None]]


class Worker:
    """Recovers in rounds. A saga that takes long keeps one thread, and no round from beginning.

    All but the sagas runs in the main thread, where Python takes in signals.
    """

    def __init__(
        self,
        threads: int,
        limit: int | None,
        interval: float,
        grace: float,
        patience: float,
        around: Sequence[Around] = (),
        alive: str | None = None,
    ) -> None:
        """Say how much, how often and how long.

        Args:
            threads: So many sagas at once.
            limit: So many sagas in a round, or None.
            interval: Seconds between two rounds, give or take a tenth.
            grace: Seconds for what runs, once it is told to end.
            patience: Seconds for a journal that is not there.
            around: What is entered around each call.
            alive: The path of a file that is touched at each look, or None.
        """
        self._around = around
        self._alive = Alive(alive)
        self._threads = threads
        self._limit = limit
        self._interval = interval
        self._grace, self._patience = grace, patience
        self._rounds: list[_Round] = []
        self._readiness, self._loop = Readiness(), SideLoop()  # of all rounds
        self._ending = Ending(grace, _LEFT, self._stop)
        self._sealed: set[int] = set()  # sagas of which it has said so
        self._gives_up: float | None = None  # when, if there is still no journal

    def listening(self) -> AbstractContextManager[None]:
        """Take SIGTERM and SIGINT as being told to end."""
        return self._ending.listening()

    def _stop(self) -> None:
        """Begin nothing more; of the second signal, and of what lasts, the ending takes care."""
        for one in self._rounds:
            one.recovery.stop()

    def waits_for(self, journal: LastingJournal) -> bool:
        """Wait until there is a journal; false if told to end before.

        Raises:
            SagaError: There is none, and it has waited long enough.
        """
        while not self._ending.is_told:
            self._alive.touch()
            if self._sees(journal):
                return True
            due = self._next()
            self._wait(due if self._gives_up is None else min(due, self._gives_up))
        log("ended")
        return False

    def _sees(self, journal: LastingJournal) -> bool:
        """Tell whether there is a journal, and say once if there is none: nobody is to make it."""
        now = clock.monotonic()
        if not (why := journal.missing()):
            self._gives_up = None
            return True
        if self._gives_up is None:
            self._gives_up = now + self._patience
            log(f"{why}; looking every {self._interval:g} s, for {self._patience:g} s at most")
        elif now >= self._gives_up:
            message = f"{why}, nor was there one in {self._patience:g} s"
            raise SagaError(message)
        return False

    def _next(self) -> float:
        """Give the time of the next round; machines that were started together drift apart."""
        return clock.monotonic() + self._interval * (0.9 + chance.fraction() / 5)

    def run(self, journal: LastingJournal) -> None:
        """Work until told to end, and until what was begun has ended.

        Raises:
            SagaError: This process is not set up for what it is to go on with.
        """
        log(
            f"at work: {plural(self._threads, 'saga')} at once, every {self._interval:g} s; "
            f"it ends within {self._grace:g} s of a signal"
        )
        due = clock.monotonic()
        with self._loop, ThreadPoolExecutor(self._threads, "saga-worker") as pool:
            try:
                while not self._ending.is_told and self._readiness.problem is None:
                    if clock.monotonic() >= due:
                        due = self._next()
                        self._begin(journal, pool)
                    self._look()
                    self._wait(due)
                self._end()
            finally:  # whatever happens, nothing more begins
                self._stop()
                self._ending.begin()
        if self._readiness.problem is not None:
            raise SagaError(begins_nothing(self._readiness.problem))

    def _end(self) -> None:
        """Wait until what was begun has ended."""
        self._ending.begin()
        why = "told to end" if self._readiness.problem is None else "not set up for what is here"
        at_work = self._running()
        most = f", for {self._grace:g} s at most" if at_work else ""
        log(f"{why}; {plural(at_work, 'thread')} still at work{most}")
        while self._rounds:
            self._look()
            clock.sleep(_LOOK / 10)
        log("ended")

    def _running(self) -> int:
        return sum(not thread.done() for one in self._rounds for thread in one.threads)

    def _begin(self, journal: LastingJournal, pool: ThreadPoolExecutor) -> None:
        """Look what is due, and let the threads that are free begin it."""
        self._alive.touch()
        free = self._threads - self._running()
        if not free:
            return
        try:
            if not self._sees(journal):
                return
            recovery, sealed = prepare(
                journal, self._limit, self._readiness, self._loop, self._around
            )
        except JournalError as error:
            log(f"the journal cannot be used, and is tried again: {error}")
            return
        for seen in sealed:
            if seen.number not in self._sealed:
                self._sealed.add(seen.number)
                log(left_alone(seen))
        if len(recovery):
            one = _Round(recovery, [])
            self._rounds.append(one)
            if self._ending.is_told:  # just now
                recovery.stop()
            one.threads.extend(workers_of(recovery, pool, min(free, len(recovery))))
            if not one.threads:
                recovery.stop()
                log("this process can have no more threads; it looks again in the next round")

    def _look(self) -> None:
        """Log what has ended since the last look."""
        for one in self._rounds.copy():
            is_over = all(thread.done() for thread in one.threads)  # before its last results
            results = one.recovery.results
            while results:
                log(line(results.pop(0)))
            if is_over:
                for thread in one.threads:
                    if (error := thread.exception()) is not None:
                        log(f"a thread has failed: {error_words(error)}")
                one.recovery.leave()
                self._rounds.remove(one)

    def _wait(self, due: float) -> None:
        """Wait for the next round, for the next look at what runs, or for a signal."""
        seconds = _LOOK if self._rounds else max(0.0, due - clock.monotonic())
        self._ending.wait(seconds)
