"""What one commit is to make durable, and those who wait for it: threads, and tasks of loops."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from py_api_saga import clock
from py_api_saga.exceptions import JournalError
from py_api_saga.journal.changes import Change, Claim

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future, TimerHandle

    from py_api_saga.journal.sql.desk import Desk

    class Queue(Protocol):
        """What a batch asks of the queue that it is of."""

        desk: Desk
        unheard: set[tuple[Batch, AbstractEventLoop]]
        is_retired: bool

        def withdraw(self, changes: Sequence[Change]) -> None:
            """Settle as refused those whose batch has not entered."""

        def enter(self, batch: Batch) -> bool:
            """Close a batch; false if there is none to write."""


GRAIN = 0.02  # seconds between two looks of a loop for what has waited long enough
_NOBODY = (None,)


class Batch:
    """What one commit is to make durable.

    Attributes:
        queue: The only one that may write it: after a fork, the child has a queue of its own.
        changes: In the order in which they came. One that came twice, since its thread was
            interrupted while it put it here, is settled the first time.
        releases: Claims that were left before it entered.
        shut: The gate is, or others write for long; a thread of ours leads, and whoever has
            little patience looks after it.
        entered: It takes no more changes, and gives none back.
        done: Every change is settled, and nobody may wait here any more.
        told: Those who waited know.
    """

    __slots__ = (
        "changes", "done", "entered", "gate", "loops", "queue", "releases", "shut", "timers",
        "told",
    )  # fmt: skip

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.changes: list[Change] = []
        self.releases: list[Claim] = []
        self.gate: threading.Lock | None = None  # held until it is done, if somebody follows
        self.loops: dict[AbstractEventLoop, list[tuple[Future[None], Sequence[Change]]]] = {}
        self.timers: dict[AbstractEventLoop, TimerHandle] | None = None
        self.shut = self.entered = self.done = self.told = False

    def is_led_by(self, change: Change) -> bool:
        """Tell whether it is for the caller of this change to write it."""
        # It is empty if an interrupt has struck while that was withdrawn.
        return not self.shut and (self.changes or _NOBODY)[0] is change

    def enter(self) -> bool:
        """Close it, with the turn, when it may be written; false if there is nothing to write."""
        return self.queue.enter(self)

    def finish(self, why: Callable[[], JournalError], cause: BaseException | None) -> None:
        """Settle what could not be written, and keep the releases for the next commit.

        Args:
            why: Makes the error of each change that was not; rarely asked.
            cause: What was raised, if anything.
        """
        desk = self.queue.desk
        with desk.lock:
            desk.give_up(self.changes, why, cause)
            desk.releases[:0] = self.releases
            self.releases = []
            self.done = True

    def take_followers(self) -> None:
        """Let others than the leader wait; with the lock held."""
        if self.gate is None:
            gate = threading.Lock()
            gate.acquire()
            self.gate = gate

    def follow(self, seconds: float) -> bool:
        """Wait until it is done; false if it is not so soon."""
        gate = self.gate
        if gate is None or not gate.acquire(timeout=seconds):
            return False
        with suppress(RuntimeError):  # somebody told twice
            gate.release()  # for the next follower; waking all at once would cost the leader
        return True

    def tell(self) -> None:
        """Wake those who wait; an interrupt in the middle of it makes it begin anew."""
        if self.gate is not None:
            with suppress(RuntimeError):  # it was free already
                self.gate.release()
        for loop in self.loops:
            with suppress(RuntimeError):  # that loop is closed: nobody waits there
                if loop.is_closed():
                    self.queue.unheard.discard((self, loop))
                else:
                    loop.call_soon_threadsafe(self.resolve, loop)
        self.told = True
        for change in self.changes:  # else it is a circle, which only the garbage collector ends
            change.waiter = None

    # --- for a loop, in its thread ---------------------------------------------------------------

    def resolve(self, loop: AbstractEventLoop) -> None:
        """Wake the tasks whose changes are settled."""
        self._set_timer(loop, None)
        waits = self.loops[loop]
        for future, changes in waits:
            if not future.done() and (self.told or all(change.settled for change in changes)):
                future.set_result(None)
        waits[:] = [wait for wait in waits if not wait[0].done()]
        if not waits:
            self.queue.unheard.discard((self, loop))

    def watch(self, loop: AbstractEventLoop, changes: Iterable[Change]) -> None:
        """Look after these as well, in time."""
        for change in changes:
            if change.until is not None:
                timer = (self.timers or {}).get(loop)
                seconds = max(0.0, change.until - clock.monotonic())
                if timer is None or timer.when() > loop.time() + seconds:
                    self._set_timer(loop, seconds)

    def _set_timer(self, loop: AbstractEventLoop, seconds: float | None) -> None:
        """Look after a loop so soon, and not when it was to be done before; None for never."""
        timer = None if self.timers is None else self.timers.pop(loop, None)
        if timer is not None:
            timer.cancel()
        if seconds is not None:
            if self.timers is None:
                self.timers = {}
            self.timers[loop] = loop.call_later(seconds, self.look_after, loop)

    def look_after(self, loop: AbstractEventLoop) -> None:
        """Withdraw what has waited long enough, and look again when more will have."""
        late: list[Change] = []
        soonest, now = None, clock.monotonic()
        for _, changes in self.loops[loop]:
            for change in changes:
                until = change.until
                if until is None or change.settled:
                    continue
                if until <= now:
                    late.append(change)
                elif soonest is None or until < soonest:
                    soonest = until
        if late:
            self.queue.withdraw(late)
        self.resolve(loop)
        if soonest is not None and not self.entered:
            self._set_timer(loop, max(GRAIN, soonest - now))
