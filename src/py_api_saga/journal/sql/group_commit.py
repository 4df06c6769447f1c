"""Group commit: whoever comes first leads, and writes for all that wait.

There is no timer and no thread that waits for work: batches form while a commit runs. The first of
a batch waits for its turn to write, then writes it; the others of it follow, which is to wait.
Under asyncio the leader is a thread of its own, never one that runs actions, and it ends when
nothing has come for a moment. A batch that is about both is led by whichever comes first.

What becomes of a batch, and who may still think better of it:

- open: it takes changes. Nobody waits for anything but the turn, which others of this process have
  while they are inside the gate, and never while they wait for it.
- shut: its leader has found another process inside the gate. It takes changes as before, and a
  thread of ours leads it, which stands in line at the gate without the turn. The leader follows,
  so that whoever gives up, or is interrupted, has nothing to hand over that anybody waits for. Once
  inside, that thread writes the batch; if all have given up, it lets the next process in.
- entered: whoever leads is inside, and has closed the batch, with the lock held. What is in it is
  written, or fails; its fate is awaited, however long that takes.
- done: every change is settled; and told: whoever waited knows. What somebody holds in the database
  for whom nobody here is to wait was put off before that, and is written again by its caller.

A change whose caller does not wait without limit (`Change.until`) is withdrawn until its batch has
entered: with the lock held it is taken out of the batch and settled, in one. So nothing is written
of what was refused, and nothing is refused that is written. Others in the batch wait on, each as
long as it likes. A thread withdraws what it waits for itself, and a loop, by a timer that it has
while the batch can't be written, what its tasks wait for.

An interrupt (KeyboardInterrupt, SystemExit, any `Exception` that a signal handler raises) may
strike a thread at any line here. So each step may be done twice, what is settled is never touched
again, and a follower looks every second whether its leader is gone.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from py_api_saga import clock
from py_api_saga.exceptions import JournalError
from py_api_saga.journal.changes import Change, Claim
from py_api_saga.journal.reentry import interrupted, ownership
from py_api_saga.log import complain

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future, TimerHandle
    from weakref import ref

    from py_api_saga.journal.sql.desk import Desk

    class Writer(Protocol):
        """Writes the batches of a queue into a database.

        Attributes:
            turn: Held by the leader while it writes, and by whoever closes the database; never by
                whoever waits until it may write.
        """

        turn: threading.RLock

        def record(self, batch: Batch) -> bool:
            """Settle every change of a batch, and finish it; false if others keep us out.

            Called with the turn held, and raises nothing but interrupts.
            """

        def stand_in_line(self, batch: Batch) -> None:
            """Return when nobody keeps us out, or the queue is retired, however long that takes.

            Called in the thread of ours, without the turn. What was got there, `record` uses or
            gives back.
            """

        def hindrance(self) -> str:
            """Say why nothing can be written at this moment."""


GRAIN = 0.02  # seconds between two looks of a loop for what has waited long enough
_NOBODY = (None,)
ROLL_CALL = 1.0  # seconds after which a follower looks whether somebody leads
LINGER = 0.2  # seconds for which the thread of ours waits for more
POLL = 0.01  # seconds between two looks at the gate, if there can be no thread of ours


class RetiredError(Exception):
    """The queue takes no more changes; there may be a new one for the same file."""


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

    def __init__(self, queue: GroupCommit) -> None:
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
        """Close it, so that nobody withdraws from it any more; false if there is none to write.

        For whoever has the turn and may write now.
        """
        queue = self.queue
        with queue.lock:
            if queue.batch is self:
                self.shut = False  # if it stays open, it begins anew
                self.releases += queue.desk.releases
                queue.desk.releases.clear()
                if not (self.changes or self.releases):
                    return False
                queue.batch = Batch(queue)
            self.entered = True
            return not self.done

    def finish(self, why: Callable[[], JournalError], cause: BaseException | None) -> None:
        """Settle what could not be written, and keep the releases for the next commit.

        Args:
            why: Makes the error of such a change.
            cause: What was raised, if anything.
        """
        desk = self.queue.desk
        with desk.lock:
            for change in self.changes:
                if not change.settled:
                    change.error = error = why()  # its own: whoever gets it may say more in it
                    error.__cause__ = cause
                    desk.settle(change)
            desk.releases[:0] = self.releases
            self.releases = []
            self.done = True

    def put_off(self, sagas: Collection[str]) -> None:
        """Give what is left of these sagas back to those who wait for it, to be written again soon.

        For what others hold in the database, which nobody here is to wait for; with the lock held.
        """
        off = [c for c in self.changes if not c.settled and c.claim.saga_id in sagas]
        self.changes[:] = [change for change in self.changes if change not in off]
        for change in off:
            change.waiter = None

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


class GroupCommit:
    """The queue of one database in one process.

    Attributes:
        desk: Tells what may be written at all, and what follows from that.
        lock: The desk's, which also guards what is here.
        turn: The writer's.
        batch: The one that takes changes.
        unheard: Batches, and the loops in which it is waited for them.
        is_retired: It takes none any more.
        is_in_line: The thread of ours waits until it may write.
    """

    def __init__(self, desk: Desk, writer: Writer) -> None:
        """Begin without work."""
        self.desk, self._writer = desk, writer
        self.lock, self.turn = desk.lock, writer.turn
        self._has_turn, self._has_lock = ownership(self.turn), ownership(self.lock)
        self.batch = Batch(self)
        self.is_retired = False
        self._handed_over: deque[Batch] = deque()  # their leaders were interrupted
        self.unheard: set[tuple[Batch, AbstractEventLoop]] = set()
        self._watched: dict[int, ref[AbstractEventLoop]] = {}  # a set of them is slower
        self._wake = threading.Semaphore(0)
        self._thread: threading.Thread | None = None  # of ours
        self.is_in_line = False
        self._is_busy = False  # the thread of ours, with what was there before

    def write(self, changes: Sequence[Change]) -> None:
        """Return when they are settled; raise a first interrupt then, a second one at once.

        Raises:
            JournalError: A signal handler calls this while its thread writes.
        """
        if self._has_turn() or self._has_lock():  # it was interrupted by whoever asks
            raise interrupted()
        interrupt: BaseException | None = None
        while True:
            try:
                if interrupt is not None:
                    self._step_down()
                self._write(changes)
                break
            except RetiredError:
                self._step_down()
                if interrupt is not None:  # what it has struck goes into the next queue
                    raise interrupt from None
                raise
            except BaseException as error:
                if interrupt is not None:
                    self._step_down()
                    self._hand_over(changes)
                    raise
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def _step_down(self) -> None:
        """Give the turn back: an interrupt may have struck just when this thread had got it."""
        while self._has_turn():
            self.turn.release()

    def _write(self, changes: Sequence[Change]) -> None:
        with self.lock:
            for change in changes:
                self.put(change)
        for change in changes:
            batch = change.waiter  # first: it is gone once the change is settled
            if not isinstance(batch, Batch):
                continue  # that is so already, or it was put off
            if not change.settled:
                if change.until is None and batch.is_led_by(change):  # most need no more than that
                    self._lead(batch, ROLL_CALL)
                if not change.settled:
                    self._see_settled(change, batch, changes)
            elif batch.done and not batch.told:
                batch.tell()  # an interrupt came before that

    def _see_settled(self, change: Change, batch: Batch, changes: Sequence[Change]) -> None:
        """Lead a batch or follow, until this change is settled, or withdrawn with such of those.

        Or put off: then it is for the caller to write it again.
        """
        until = change.until
        left = ROLL_CALL if until is None else until - clock.monotonic()
        while not change.settled and change.waiter is batch:
            seconds, slept = ROLL_CALL, 0.0
            if left < ROLL_CALL:
                seconds = left if left > 0 else 0.0
            if not (batch.done or batch.is_led_by(change)):
                if batch.shut and self._thread is None:
                    seconds = min(seconds, POLL)
                if not batch.follow(seconds):
                    slept = seconds
                if change.settled:
                    return
            if not self._lead(batch, seconds - slept):
                slept = seconds
            if until is not None:
                # What was slept for is over, whatever a clock says: tests make them stand still.
                left = min(left - slept, until - clock.monotonic())
                if left <= 0 and not change.settled:
                    self.withdraw([c for c in changes if c.until is not None and c.until <= until])
                    until, left = None, ROLL_CALL  # unless it was, it is being written

    def withdraw(self, changes: Sequence[Change]) -> None:
        """Settle as refused those whose batch has not entered the gate; the others are written."""
        why = self._writer.hindrance()
        with self.lock:
            going, staying = {id(change) for change in changes}, set[int]()
            for batch in {change.waiter for change in changes}:
                if isinstance(batch, Batch):
                    if not batch.entered:
                        batch.changes[:] = [c for c in batch.changes if id(c) not in going]
                    staying.update(map(id, batch.changes))
            for change in changes:
                if not change.settled and id(change) not in staying:
                    self.desk.withdraw(change, why)
                    change.waiter = None

    def submit(self, changes: Sequence[Change], loop: AbstractEventLoop) -> Iterable[Future[None]]:
        """Give what is done when they are settled; cancelling it withdraws nothing.

        Raises:
            JournalError: As `write`.
        """
        if self._has_turn() or self._has_lock():  # it was interrupted by whoever asks
            raise interrupted()
        with self.lock:
            if changes and changes[0].waiter is not None:  # again, after an interrupt
                loop.call_soon(self.wake_thread)  # which may have struck who was to do so
            futures: dict[Batch, Future[None]] = {}
            for batch in map(self.put, changes):
                if batch is not None and not batch.done and batch not in futures:
                    futures[batch] = self._future(batch, changes, loop)
            return futures.values()

    def put(self, change: Change) -> Batch | None:
        """Give the batch that a change waits in, and put it there if it is not on its way.

        With the lock held. None if it is settled.
        """
        if self.is_retired:
            raise RetiredError
        if change.settled:
            return None
        batch = change.waiter  # once: it is gone when its batch is told
        if isinstance(batch, Batch) and batch.queue is self:
            return batch
        if not self.desk.admit(change):
            return None
        change.waiter = batch = self.batch
        batch.changes.append(change)
        if batch.gate is None and len(batch.changes) > 1:
            batch.take_followers()
        return batch

    def _future(
        self, batch: Batch, changes: Sequence[Change], loop: AbstractEventLoop
    ) -> Future[None]:
        waits = batch.loops.get(loop)
        if waits is None:
            waits = batch.loops[loop] = []
            self.unheard.add((batch, loop))
            watched = self._watched.get(id(loop))
            if watched is None or watched() is not loop:
                from weakref import ref  # noqa: PLC0415 - asyncio has it, the cold start does not

                self._watched[id(loop)] = ref(loop)
                loop.call_later(ROLL_CALL, self._look_after, loop)
            loop.call_soon(self.wake_thread)  # so the other tasks of this turn join the batch
        future = loop.create_future()
        waits.append((future, changes))
        if batch.shut or self._is_busy:
            batch.watch(loop, changes)
        return future

    def _look_after(self, loop: AbstractEventLoop) -> None:
        """Do again, in a loop, what it was to call: what strikes there it keeps to itself."""
        waiting = [batch for batch, where in tuple(self.unheard) if where is loop]
        for batch in waiting:
            if batch.told:
                batch.resolve(loop)
            elif not batch.shut:
                self.wake_thread()
        if waiting:
            loop.call_later(ROLL_CALL, self._look_after, loop)
        else:
            del self._watched[id(loop)]

    def _lead(self, batch: Batch, seconds: float) -> bool:
        """Write a batch unless the gate is shut; false if the turn does not come so soon."""
        if not self.turn.acquire(True, seconds):  # noqa: FBT003 - keywords would cost more
            return False
        if not batch.done:
            self._writer.record(batch)
        self.turn.release()
        if batch.done:
            batch.tell()
        else:
            self._shut(batch)
            if self._thread is None or not self.is_in_line:
                self.wake_thread()
        return True

    # --- the thread of ours ----------------------------------------------------------------------

    def _shut(self, batch: Batch) -> None:
        """Leave a batch to the thread of ours, since the gate is shut, or others take long."""
        with self.lock:
            if batch.done or batch.shut:
                return
            batch.shut = True
            batch.take_followers()
            if batch is not self.batch:
                self._keep(batch)
            loops = list(batch.loops)
        for loop in loops:
            with suppress(RuntimeError):  # that loop is closed
                loop.call_soon_threadsafe(batch.look_after, loop)

    def _keep(self, batch: Batch) -> None:
        if batch not in self._handed_over:
            self._handed_over.append(batch)

    def _hand_over(self, changes: Iterable[Change]) -> None:
        """Leave what is not settled to the thread of ours."""
        for change in changes:
            batch = change.waiter
            if isinstance(batch, Batch) and not batch.told:
                with self.lock:
                    self._keep(batch)
                self.wake_thread()

    def wake_thread(self) -> None:
        """Have a thread of ours lead; without one, this thread does, if the gate is open."""
        self._wake.release()
        with self.lock:
            if self._thread is not None and self._thread.is_alive():
                return
            self._thread = self._start_thread()
            started = self._thread is not None
        if not started:
            batch = self._next()
            if batch.changes and not self._led(batch):
                self._shut(batch)
                for loop in batch.loops:  # a thread that waits looks again by itself
                    with suppress(RuntimeError):
                        loop.call_soon_threadsafe(loop.call_later, POLL, self.wake_thread)

    def _start_thread(self) -> threading.Thread | None:
        thread = threading.Thread(target=self._serve, name="py-api-saga-journal", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there can be no more threads, or the interpreter is ending
            return None
        return thread

    def _serve(self) -> None:
        while self._wake.acquire(timeout=LINGER) or not self._ended():
            batch = self._next()
            if batch.changes:
                self._is_busy = True
                try:
                    self._lead_patiently(batch)
                except Exception as error:  # noqa: BLE001 - all is settled: nobody waits for this
                    complain("the thread that writes the journal was struck", error=error)
                self._is_busy = False

    def _next(self) -> Batch:
        return self._handed_over[0] if self._handed_over else self.batch

    def _lead_patiently(self, batch: Batch) -> None:
        """Write a batch, however long the gate is shut, unless all whose changes it has give up."""
        if self.turn.acquire(timeout=GRAIN):
            self.turn.release()
        else:  # another thread writes, and the disk may take its time
            self._shut(batch)
        while not self._led(batch):
            self._shut(batch)
            self.is_in_line = True
            self._writer.stand_in_line(batch)
            self.is_in_line = False
        if self.batch.shut:  # whose leader has seen us in line, with the batch before it
            self._wake.release()

    def _led(self, batch: Batch) -> bool:
        """Write a batch, or whatever the queue has once it is told; false if the gate is shut."""
        try:
            with self.turn:
                is_open = self.is_retired or self._writer.record(batch)
        finally:
            if batch.done:
                with self.lock:
                    if batch in self._handed_over:
                        self._handed_over.remove(batch)
                if not batch.told:
                    batch.tell()
        return is_open

    def _ended(self) -> bool:
        with self.lock:
            if self.batch.changes or self._handed_over or self._wake.acquire(blocking=False):
                return False
            self._thread = None
            return True

    # --- the end ---------------------------------------------------------------------------------

    def retire(self) -> bool:
        """Take no more changes, unless some wait; with the turn and the lock held."""
        self.is_retired = not (self.batch.changes or self._handed_over)
        return self.is_retired
