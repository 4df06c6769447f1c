"""Run a saga on a pool of threads: every call that is ready, at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from py_api_saga.definition import Results
from py_api_saga.entries import STARTED, Entry, attempt_of, not_made, what_of
from py_api_saga.executors.attempt import attempt_safely
from py_api_saga.executors.inbox import Inbox
from py_api_saga.executors.run import Run
from py_api_saga.executors.running import at_home
from py_api_saga.executors.threads import soon, start
from py_api_saga.executors.turns import WAIT, WRITE, turns

if TYPE_CHECKING:
    from py_api_saga.executors.running import AskedRun

# A call to make; it is given what lets its thread take the next one.
Work: TypeAlias = Callable[[Callable[[], object]], object]


class Pool:
    """Threads for all runs of a process: an idle one is used again, else one more is started.

    Its size has no limit of its own: each run has one, and a run inside a call of another must
    never wait for a thread that the other holds. Not a `ThreadPoolExecutor`: that one takes no
    calls once the main thread has ended, loses count of its idle threads when it is interrupted or
    cannot start one, and in 3.12 also when two threads are fast. Here a call is handed to one
    thread, which is idle and off the list, so there is nothing to lose count of.
    """

    def __init__(self) -> None:
        """Start with no thread."""
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Start with no thread: the child of a fork has inherited none."""
        self._process = os.getpid()
        self._idle: list[SimpleQueue[Work]] = []

    def make(
        self, run: AskedRun, intent: Entry, permit: threading.Lock, tell: Callable[[Entry], object]
    ) -> None:
        """Make a call in a thread, in a copy of this context, and tell there what came of it.

        Whoever gets the permit first decides whether it is made: the thread, or whoever has thought
        better of it. If no thread is to be had, not even shortly, it is made in this one.
        """
        if self._process != os.getpid():  # pragma: no cover - a child ends without telling coverage
            self._begin_anew()
        context = copy_context()

        def work(rest: Callable[[], object]) -> None:
            entry = (
                context.run(attempt_safely, run, intent) if permit.acquire(blocking=False) else None
            )
            rest()  # first: who hears of it may have the next call
            if entry is not None:
                tell(entry)

        calls = soon(self._thread)
        if calls is not None:
            calls.put(work)
            return
        context.run(at_home.set, run)
        try:
            work(_be_here)
        except BaseException as interrupt:
            tell(run.fate_of(interrupt, intent))  # nobody else would
            raise

    def _thread(self) -> SimpleQueue[Work] | None:
        """Give what a thread takes its calls from; None if there can be no more threads."""
        try:
            return self._idle.pop()  # the last one: its stack is warm, and the others may rest
        except IndexError:
            calls: SimpleQueue[Work] = SimpleQueue()
        serve = partial(self._serve, calls, self._idle)
        thread = threading.Thread(target=serve, name="py_api_saga", daemon=True)
        return calls if start(thread) else None

    @staticmethod
    def _serve(calls: SimpleQueue[Work], idle: list[SimpleQueue[Work]]) -> None:
        rest = partial(idle.append, calls)
        while True:
            calls.get()(rest)


def _be_here() -> None:
    """Rest as a thread that is not the pool's."""


POOL = Pool()


def execute(run: Run, limit: int) -> Results:
    """Run a saga to its end, with at most so many calls at once.

    Raises:
        SagaException: It did not complete.
        BaseException: The interrupt that ended it, once all is undone.
    """
    inbox = run.open_inbox()
    run.is_elsewhere = True
    permits: dict[Entry, threading.Lock] = {}
    while True:
        try:
            _drive(run, inbox, permits, limit)
            break
        except BaseException as interrupt:  # noqa: BLE001 - raised again by `finish`
            if (error := run.repair(interrupt, partial(_fate_of, permits))) is not None:
                _await_begun(run, inbox, permits)
                run.give_up(error)
    return run.finish()


def _await_begun(run: Run, inbox: Inbox, permits: dict[Entry, threading.Lock]) -> None:
    """Wait until no thread makes a call: nobody else may make it beside that."""
    ended = {attempt_of(entry) for entry in run.execution.entries if what_of(entry) != STARTED}
    while True:
        try:
            for intent, permit in list(permits.items()):
                if permit.acquire(blocking=False):  # no thread has begun it, and none will
                    del permits[intent]
            while {attempt_of(intent) for intent in permits} - ended:
                inbox.wait(None)
                while inbox.entries:
                    ended.add(attempt_of(inbox.entries[0]))
                    inbox.entries.popleft()
        except BaseException:  # noqa: BLE001, S112 - an error is to be raised already
            continue
        return


def _fate_of(
    permits: dict[Entry, threading.Lock], interrupt: BaseException, intent: Entry
) -> Entry | None:
    """Take back a call that no thread has begun; of another one its thread will tell."""
    permit = permits.get(intent)
    if permit is None or permit.acquire(blocking=False):
        return not_made(intent, interrupt)
    return None


def _drive(run: Run, inbox: Inbox, permits: dict[Entry, threading.Lock], limit: int) -> None:
    """Make every call that is ready, as far as the limit goes, until none is left."""
    for turn in turns(run, limit):
        if turn == WRITE:
            run.write()
        elif turn == WAIT:
            run.pause()
        else:
            for intent in turn:
                permits[intent] = permit = threading.Lock()
                POOL.make(run, intent, permit, inbox.put)
