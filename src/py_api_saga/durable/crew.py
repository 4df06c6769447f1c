"""Threads that go on with many sagas in turns: none waits while something is being written."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import copy_context
from functools import partial

from py_api_saga.journal.changes import Change
from py_api_saga.journal.protocol import Journal


class _Job:
    """What is done with one saga, and what it waits for."""

    __slots__ = ("change", "context", "problem", "steps")

    def __init__(self, steps: Generator[Change, None, None]) -> None:
        self.steps = steps
        self.context = copy_context()  # of its own, whatever thread it goes on in
        self.change: Change | None = None
        self.problem: BaseException | None = None  # of whoever was to write that


class Crew:
    """Jobs, and the threads that share them: as many as call `work`.

    A job gives what is to be written before it goes on. Meanwhile its thread goes on with another
    one, and what many jobs have given is written together. There are never more jobs than threads:
    so whenever there is something to do, a thread is free for it, however long calls take.
    """

    def __init__(
        self, journal: Journal, begin: Callable[[], Generator[Change, None, None] | None]
    ) -> None:
        """Begin without a thread.

        Args:
            journal: Where what they give is written.
            begin: Gives one job more, or None if there are no more; called by one thread at a
                time. A job answers for what is raised in it.
        """
        self._journal, self._begin = journal, begin
        self._news = threading.Condition(threading.Lock())
        self._ready: deque[_Job] = deque()
        self._unwritten: list[_Job] = []
        self._threads = self._jobs = self._asleep = 0
        self._is_waking = self._is_beginning = self._is_writing = self._has_begun_all = False

    def work(self) -> None:
        """Take part until nothing is left to begin, and the others can end what was begun."""
        with self._news:
            self._threads += 1
        try:
            while (task := self._next()) is not None:
                task()
        except BaseException:
            with self._news:
                self._leave()
            raise

    def _leave(self) -> None:
        self._threads -= 1
        self._news.notify()  # who is woken leaves too, and wakes the next, or looks on

    def _next(self) -> Callable[[], object] | None:
        """Wait for something to do; None if the others need no more help."""
        with self._news:
            while (task := self._choose()) is None:
                if self._has_begun_all and self._jobs < self._threads:
                    self._leave()
                    return None
                self._asleep += 1
                self._news.wait()
                self._asleep -= 1
                self._is_waking = False
            if self._asleep and not self._is_waking and self._is_more():
                self._is_waking = True  # who wakes looks on
                self._news.notify()
            return task

    def _choose(self) -> Callable[[], object] | None:
        """Take what is to be done; what is to be written last, so that it is much."""
        if self._ready:
            return partial(self._go_on, self._ready.popleft())
        if self._may_begin:
            self._is_beginning = True
            self._jobs += 1
            return self._begin_one
        if self._unwritten and not self._is_writing:
            self._is_writing = True
            jobs, self._unwritten = self._unwritten, []
            return partial(self._write_for, jobs)
        return None

    @property
    def _may_begin(self) -> bool:
        is_free = self._jobs < self._threads and not self._is_beginning
        return is_free and not self._has_begun_all

    def _is_more(self) -> bool:
        to_write = self._unwritten and not self._is_writing
        return bool(self._ready or to_write or self._may_begin)

    def _begin_one(self) -> None:
        steps = None
        try:
            steps = self._begin()
        finally:
            with self._news:
                self._is_beginning = False
                if steps is None:
                    self._jobs -= 1
                    self._has_begun_all = True
                else:  # not gone on with here: who does so wakes somebody to begin the next one
                    self._ready.append(_Job(steps))

    def _go_on(self, job: _Job) -> None:
        """Do one step of a job, which gives what is to be written before the next one."""
        change, problem = None, job.problem
        try:
            with suppress(StopIteration):
                if problem is None:
                    change = job.context.run(next, job.steps)
                else:
                    job.problem = None
                    change = job.context.run(job.steps.throw, problem)
        finally:
            with self._news:
                if change is None:
                    self._jobs -= 1
                else:
                    job.change = change
                    self._unwritten.append(job)

    def _write_for(self, jobs: list[_Job]) -> None:
        problem = None
        try:
            self._journal.write(*[job.change for job in jobs if job.change is not None])
        except BaseException as error:  # noqa: BLE001 - one job answers for it
            problem = error
        unsettled: list[_Job] = []
        if problem is not None:  # it has struck one of them; the others are written again
            unsettled = [job for job in jobs if job.change is None or not job.change.settled]
            struck = (unsettled or jobs)[0]
            struck.problem = problem
            unsettled = [job for job in unsettled if job is not struck]
        with self._news:
            self._is_writing = False
            self._unwritten[:0] = unsettled
            self._ready.extend(job for job in jobs if job not in unsettled)
