"""Group commit: whoever comes first leads, and writes for all that wait.

There is no timer and no thread that waits for work: batches form while a commit runs. The first of
a batch waits for its turn to write, then closes the batch and writes it; the others of it follow,
which is to wait. Under asyncio the leader is a thread of ours, never one that runs actions, and it
ends when nothing has come for a moment. A batch that is about both is led by whichever comes first.

An interrupt (what is no `Exception`: KeyboardInterrupt, SystemExit) may strike a thread at any
line here. So each step may be done twice, what is settled is never touched again, and a follower
looks every second whether its leader is gone.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress

from py_api_saga.journal.reentry import interrupted, is_held

TYPE_CHECKING = False  # as in `typing`, which takes 7 ms to import
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable, Iterable, Sequence

    from py_api_saga.journal.changes import Change, Claim

GLANCE = 1.0  # seconds after which a follower looks whether somebody leads
LINGER = 0.2  # seconds for which the thread of ours waits for more


class RetiredError(Exception):
    """The queue takes no more changes; there may be a new one for the same file."""


class Batch:
    """What one commit is to make durable.

    Attributes:
        queue: The only one that may write it: after a fork, the child has a queue of its own.
        changes: In the order in which they came. One that came twice, since its thread was
            interrupted while it put it here, is settled the first time.
        releases: Claims that were left meanwhile.
        done: Every change is settled, and nobody may wait here any more.
        told: Those who waited know.
    """

    __slots__ = ("changes", "done", "gate", "loops", "queue", "releases", "told")

    def __init__(self, queue: GroupCommit) -> None:
        self.queue = queue
        self.changes: list[Change] = []
        self.releases: list[Claim] = []
        self.gate: threading.Lock | None = None  # held until it is done, if somebody follows
        self.loops: dict[AbstractEventLoop, list[Future[None]]] = {}
        self.done = self.told = False

    def follow(self) -> None:
        """Wait until it is done, or somebody should look whether it ever will be."""
        gate = self.gate
        if gate is not None and gate.acquire(timeout=GLANCE):
            with suppress(RuntimeError):  # somebody told twice
                gate.release()  # for the next follower; waking all at once would cost the leader

    def tell(self) -> None:
        """Wake those who wait; an interrupt in the middle of it makes it begin anew."""
        if self.gate is not None:
            with suppress(RuntimeError):  # it was free already
                self.gate.release()
        for loop, futures in self.loops.items():
            with suppress(RuntimeError):  # that loop is closed: nobody waits there
                loop.call_soon_threadsafe(_resolve, futures)
        self.told = True
        for change in self.changes:  # else it is a circle, which only the garbage collector ends
            change.waiter = None


def _resolve(futures: Iterable[Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


class GroupCommit:
    """The queue of one journal file in one process.

    Attributes:
        lock: Held for moments only, around what several threads change.
        turn: Held by the leader while it writes, and by whoever closes the file.
        batch: The one that takes changes.
    """

    def __init__(self, admit: Callable[[Change], bool], record: Callable[[Batch], None]) -> None:
        """Begin without work.

        Args:
            admit: Tells whether a change may be written at all, and settles it if not; called
                with the lock held, and again after an interrupt.
            record: Settles every change of a batch, and marks it as done; raises nothing but
                interrupts.
        """
        self._admit, self._record = admit, record
        # Reentrant only to know who holds them: see `is_held_here`.
        self.lock = threading.RLock()
        self.turn = threading.RLock()
        self.batch = Batch(self)
        self._retired = False
        self._handed_over: deque[Batch] = deque()  # their leaders were interrupted twice
        self._wake = threading.Semaphore(0)
        self._writer: threading.Thread | None = None

    def is_held_here(self) -> bool:
        """Tell whether this very thread is at it, and is interrupted by who asks."""
        return is_held(self.turn) or is_held(self.lock)

    def write(self, changes: Sequence[Change]) -> None:
        """Return when they are settled; raise a first interrupt then, a second one at once.

        Raises:
            JournalError: A signal handler calls this while its thread writes.
        """
        if self.is_held_here():
            raise interrupted()
        interrupt: BaseException | None = None
        while True:
            try:
                self._write(changes)
                break
            except Exception:
                raise
            except BaseException as error:
                if interrupt is not None:
                    self._hand_over(changes)
                    raise
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def _write(self, changes: Sequence[Change]) -> None:
        with self.lock:
            self.put(changes)
        for change in changes:
            batch = change.waiter  # first: it is gone once the change is settled
            if not change.settled:
                assert isinstance(batch, Batch)  # noqa: S101 - it was put
                while not batch.told:
                    if batch.changes[0] is not change and not batch.done:
                        batch.follow()
                    if not batch.told:
                        self._lead(batch)

    def submit(self, changes: Sequence[Change], loop: AbstractEventLoop) -> list[Future[None]]:
        """Give what is done when they are settled; cancelling it withdraws nothing.

        Raises:
            JournalError: As `write`.
        """
        if self.is_held_here():
            raise interrupted()
        with self.lock:
            if changes and changes[0].waiter is not None:  # again, after an interrupt
                loop.call_soon(self.wake_writer)  # which may have struck who was to do so
            self.put(changes)
            batches = {change.waiter for change in changes if not change.settled}
            return [
                self._future(batch, loop)
                for batch in batches
                if isinstance(batch, Batch) and not batch.done
            ]

    def put(self, changes: Iterable[Change]) -> None:
        """Put into the batch what is not on its way; with the lock held."""
        if self._retired:
            raise RetiredError
        batch = self.batch
        for change in changes:
            waiter = change.waiter  # once: it is gone when its batch is told
            if change.settled or (isinstance(waiter, Batch) and waiter.queue is self):
                continue
            if self._admit(change):
                batch.changes.append(change)
                change.waiter = batch
        if len(batch.changes) > 1 and batch.gate is None:
            gate = threading.Lock()
            gate.acquire()
            batch.gate = gate

    def _future(self, batch: Batch, loop: AbstractEventLoop) -> Future[None]:
        futures = batch.loops.get(loop)
        if futures is None:
            futures = batch.loops[loop] = []
            loop.call_soon(self.wake_writer)  # so the other tasks of this turn join the batch
        future = loop.create_future()
        futures.append(future)
        return future

    def _lead(self, batch: Batch) -> None:
        with self.turn:
            if not batch.done:
                with self.lock:
                    if self.batch is batch:
                        self.batch = Batch(self)
                self._record(batch)
        batch.tell()

    # --- the thread of ours ----------------------------------------------------------------------

    def _hand_over(self, changes: Iterable[Change]) -> None:
        """Leave what is not settled to the thread of ours."""
        for change in changes:
            batch = change.waiter
            if isinstance(batch, Batch) and not batch.told:
                self._handed_over.append(batch)
                self.wake_writer()

    def wake_writer(self) -> None:
        """Have a thread of ours lead; without one, this thread does."""
        self._wake.release()
        with self.lock:
            if self._writer is not None and self._writer.is_alive():
                return
            self._writer = self._start_writer()
            started = self._writer is not None
        if not started:
            self._serve_one()

    def _start_writer(self) -> threading.Thread | None:
        thread = threading.Thread(target=self._serve, name="py-api-saga-journal", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there can be no more threads, or the interpreter is ending
            return None
        return thread

    def _serve(self) -> None:
        while self._wake.acquire(timeout=LINGER) or not self._ended():
            self._serve_one()

    def _serve_one(self) -> None:
        batch = self._handed_over.popleft() if self._handed_over else self.batch
        if batch.changes and not batch.told:
            self._lead(batch)

    def _ended(self) -> bool:
        with self.lock:
            if self.batch.changes or self._handed_over or self._wake.acquire(blocking=False):
                return False
            self._writer = None
            return True

    # --- the end ---------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what waits, now."""
        self._lead(self.batch)

    def retire(self) -> bool:
        """Take no more changes, unless some wait; with the turn and the lock held."""
        self._retired = not (self.batch.changes or self._handed_over)
        return self._retired
