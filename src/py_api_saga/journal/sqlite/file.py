"""One engine for each journal file and process: what its journal objects share.

SQLite keeps for each process, by inode, which locks the process holds, so that two connections of
it behave; a child of a fork inherits that belief without the locks, also for connections that it
opens anew (https://sqlite.org/howtocorrupt.html, 2.6). So none of ours is open during a fork of
Python's. One in C asks nobody: its child closes what it has inherited before it opens the file, or
uses it no more if its parent was in the middle of something.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from time import monotonic

from py_api_saga.exceptions import JournalError, SagaInProgress
from py_api_saga.journal.changes import (
    OPEN,
    Append,
    Claim,
    Create,
    Leave,
    Purge,
    SagaExistsError,
    Take,
    latest,
)
from py_api_saga.journal.reentry import interrupted, is_held
from py_api_saga.journal.sql.group_commit import GroupCommit, RetiredError
from py_api_saga.journal.sqlite.descriptors import (
    are_there,
    close_all,
    leave_open,
    open_on,
    opened_since,
)
from py_api_saga.journal.sqlite.gate import Gate, shut
from py_api_saga.journal.sqlite.opening import (
    PATIENCE,
    cannot,
    connect_to_write,
    has_struck,
    mounted_alone,
)
from py_api_saga.journal.sqlite.owners import owners_at
from py_api_saga.journal.sqlite.queries import QUERIES
from py_api_saga.journal.sqlite.reading import Reader
from py_api_saga.journal.sqlite.writes import Ledger, in_progress

TYPE_CHECKING = False  # as in `typing`, which takes 7 ms to import
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

    from py_api_saga.journal.changes import Change, Summary
    from py_api_saga.journal.sql.group_commit import Batch
    from py_api_saga.journal.sqlite.descriptors import Kept
    from py_api_saga.journal.sqlite.opening import Options, Place
    from py_api_saga.journal.sqlite.owners import Owners

TRIES = 3  # of a transaction
PAUSE = 0.02  # seconds before the second, twice that before the third
BIG_WAL = 16 << 20  # bytes above which the leader tries to begin it anew
GLANCE = 64  # commits after which it looks how big that is
CHECKPOINT_PATIENCE = 100  # milliseconds that this may wait for readers
LOOK = 0.01  # seconds between two looks whether the gate has opened, when a file is closed


_NOT_DONE: dict[type[Change], str] = {
    Create: "was not started, and is not in the journal",
    Take: "was not claimed",
    Append: "is as it was",
    Purge: "was not purged",
}


class Engine:
    """The connection, the queue, the gate, the owner and the running executions of one file.

    Attributes:
        path: The real path.
        options: How it is written.
        queue: The group commit; its lock also guards `running`, its turn the connection.
        reader: Reads.
        running: Claims of this process by saga id, from the moment they are asked for.
        commits: How many there were.
        owner: Our number in the owners' file; 0 until the file is opened.
        connection: The only one that writes; None while the file is closed.
        gate: What one process at a time passes to write.
        big_wal: Bytes above which the leader tries to begin the WAL anew.
        barred: Sagas, by number, of which this process has found that it can't go on with them.
        lost: The file is another one.
        process: The only one that may use this; the child of a fork has an engine of its own.
    """

    def __init__(
        self, place: Place, options: Options, inherited: list[Engine], before: int
    ) -> None:
        """Name the file; it is opened when it is needed.

        Args:
            place: Where it is.
            options: How it is written.
            inherited: Engines of the processes that we descend from, to be closed before.
            before: Our number in it while it had another name; 0 if there is none.
        """
        self.path, self._key = place
        self.options = options
        self.queue = GroupCommit(self._admit, self._record, self._stand_in_line, self._refusing)
        self.reader = Reader(self.path)
        self.running: dict[str, Claim] = {}
        self.barred: set[int] = set()
        self.commits = self.owner = 0
        self.lost = False
        self.gate = Gate(self.path + "-gate")
        self.connection: sqlite3.Connection | None = None
        self._owners: Owners | None = None
        self._ledger: Ledger | None = None
        self.big_wal = BIG_WAL
        self.process = os.getpid()
        self._inherited, self._before = inherited, before
        self._kept: tuple[Kept, ...] = ()  # what the connection has open
        self._may_only_read = ""  # why

    # --- opening and closing ---------------------------------------------------------------------

    def open(self) -> None:
        """Make sure that the file is a journal, still the same, and that we have a number in it.

        A connection to a file that was removed goes on reading what was in it.
        """
        has_descriptors = are_there(self._kept) and are_there(self.reader.kept)
        if not self.owner or not self._is_there() or not has_descriptors:
            if self.is_interrupted():
                raise interrupted()
            with self.queue.turn:
                self._may_only_read = mounted_alone(self.path)
                is_open = bool(self._may_only_read) or self._inside(self._opened)
            if not is_open:
                self._pass_through(latest())

    def _pass_through(self, until: float) -> None:
        """Go into the gate once, which opens the file; with what waits to be written.

        Raises:
            JournalError: The gate is shut until then, or the file can't be opened.
        """
        nothing = Leave(Claim(""))
        nothing.until = until
        try:
            self.queue.write([nothing])
        except RetiredError as error:
            message = f"the journal {self.path} was closed while it was to be opened"
            raise JournalError(message) from error
        nothing.check()

    def _opened(self, *, begins: bool = True) -> tuple[sqlite3.Connection, Ledger]:
        """Give the connection, with no transaction open; inside the gate, with the turn.

        Args:
            begins: A saga is claimed, so it matters that others see that we live.
        """
        self._check_place()
        if not are_there(self._kept) or not are_there(self.reader.kept):
            self._let_go()  # a daemon has closed them, and others may have their numbers
        connection = self.connection
        if connection is None:
            begins = True
            connection = self._connected()
            if self._ledger is not None and self._was_replaced(connection):
                self._begin_anew()
        if connection.in_transaction:  # the leader before us was interrupted
            connection.execute("ROLLBACK")
        if begins and self._ledger is not None and not self._is_seen(connection):
            self._begin_anew()
        if self._ledger is None:
            self._owners = owners_at(f"{self.path}-owners", self._highest_owner(connection))
            owner = self._new_owner(connection, self._owners)
            self._ledger = Ledger(owner, self._owners.alive)
            self.owner = owner
        return connection, self._ledger

    def _connected(self) -> sqlite3.Connection:
        """Open the connection, once nothing is open that SQLite has inherited in this process."""
        while self._inherited:
            self._inherited[-1]._close_all()  # noqa: SLF001 - of this class
            self._inherited.pop()
        before = open_on(self.path)
        connection = self.connection = connect_to_write(self.path, self.options)
        self._kept = opened_since(before, self.path)
        return connection

    def _is_seen(self, connection: sqlite3.Connection) -> bool:
        """Tell whether others see that we live; else we need another number.

        Raises:
            JournalError: They look into another file.
        """
        assert self._owners is not None  # noqa: S101 - opened
        try:
            return self._owners.hold(self.owner)
        except JournalError:
            if self._owners.is_missing() and not self._highest_owner(connection):
                return False
            raise

    def _highest_owner(self, connection: sqlite3.Connection) -> int:
        """Give the highest number under which another process drives a saga, or has died."""
        owners = (owner for owner, _ in connection.execute(QUERIES["owners"]))
        return max((owner for owner in owners if owner != self._before), default=0)

    def _was_replaced(self, connection: sqlite3.Connection) -> bool:
        """Tell whether the file was replaced while it was closed, by a new one or from a backup.

        The new one may have the number of the old inode; but it knows nothing of our owner.
        """
        next_owner: int = connection.execute(QUERIES["owner"]).fetchone()[0]
        return next_owner <= self.owner

    def _begin_anew(self) -> None:
        """Forget what was driven in the file before."""
        with self.queue.lock:
            for claim in [claim for claim in self.running.values() if claim.number]:
                self._end(claim)
            self.queue.batch.releases.clear()
            self.barred.clear()
        self._ledger = None

    def _is_there(self) -> bool:
        """Tell whether the file is still the one that we have begun with."""
        try:
            seen = os.stat(self.path)  # noqa: PTH116 - paths are text here
        except OSError:
            return False
        return (seen.st_dev, seen.st_ino) == self._key

    def _check_place(self) -> None:
        if not self._is_there():
            self.lost = True
            self._let_go()
            message = f"the journal {self.path} was moved or removed while it was in use"
            raise JournalError(message)

    def _let_go(self) -> None:
        """Close what was open of a file that is not ours any more; with the turn of the queue."""
        if is_held(self.reader.turn):  # who is interrupted goes on with the old file
            close_all([self.connection], self._kept)
            self.connection = None
        else:
            with self.reader.turn:
                self._close_all()

    def _close_all(self) -> None:
        """Close both connections: SQLite forgets a file when none is open; with both turns."""
        close_all(self.connections(), (*self._kept, *self.reader.kept))
        self.connection = self.reader.connection = None
        self._kept = self.reader.kept = ()

    def connections(self) -> tuple[sqlite3.Connection | None, ...]:
        """Give what is open, in the order in which it is to be closed."""
        return self.reader.connection, self.connection

    def _check_before_gate(self) -> None:
        """See that the file may be opened, before anything is made or waited for.

        Raises:
            JournalError: It is mounted by itself; or a fork in C has left it open in the middle of
                something, so that it can't be closed before.
        """
        if problem := mounted_alone(self.path):
            raise JournalError(problem)
        if any(engine.was_in_use() for engine in self._inherited):
            message = (
                f"the journal {self.path} was in use while this process was forked, by a server "
                f"that forks in C or in a signal handler, so this process cannot use it: have each "
                f"worker load the application for itself (uWSGI: lazy-apps = true), or call "
                f"journal.close() before the fork"
            )
            raise JournalError(message)

    def was_in_use(self) -> bool:
        """Tell whether the parent of this process, whose engine this is, was at it in the fork.

        SQLite may hold a lock of its own then, for ever; and to close a transaction that is open
        rolls it back, in memory that the parent shares.
        """
        opened = [connection for connection in self.connections() if connection is not None]
        is_free = _is_free(self.queue.turn) and _is_free(self.reader.turn)
        return not is_free or any(connection.in_transaction for connection in opened)

    def leave_open(self) -> None:
        """See that the end of the interpreter closes nothing: what is open may not be ours."""
        leave_open(self.connections())

    @staticmethod
    def _new_owner(connection: sqlite3.Connection, owners: Owners) -> int:
        while True:
            connection.execute("BEGIN IMMEDIATE")
            owner: int = connection.execute(QUERIES["owner"]).fetchone()[0]
            connection.execute(QUERIES["owner_taken"], (owner + 1,))
            connection.execute("COMMIT")
            if owners.take(owner):
                return owner

    def _inside(self, action: Callable[[], object]) -> bool:
        """Do something inside the gate, unless it is shut; SQLite's own errors become ours."""
        try:
            if self.connection is None:
                self._check_before_gate()
            is_open = self.gate.enter()
            if is_open:
                action()
        except (sqlite3.Error, OSError) as error:
            if has_struck(error):
                raise
            raise cannot("written", self.path, error) from error
        finally:
            self.gate.unlock()
        return is_open

    def _stand_in_line(self) -> None:
        """Wait until the gate is open, in the thread of ours."""
        with self.queue.turn:
            try:
                if self.queue.is_retired or self.gate.enter():
                    return  # it was opened, or closed for good, just now
            except (OSError, JournalError):  # which whoever writes then meets as well
                return
            line = self.gate.line_up()
        self.gate.wait(line)
        with self.queue.turn:
            self.gate.step_out(line)

    def disconnect(self, seconds: float) -> None:
        """Close the file; with the turns of the queue and the reader. It is opened when needed.

        If the gate is shut for so long, outside of it: no fork and no end of a process waits for
        one that has stopped. That harms nothing, since SQLite writes a WAL back on closing only if
        it can lock the file for itself alone, so that there is nobody who could be writing
        (`sqlite3WalClose` in its wal.c).
        """
        if self.connection is None:
            self.reader.close()
        else:
            until = monotonic() + seconds
            try:
                while not self.gate.enter() and monotonic() < until:
                    time.sleep(LOOK)
                self._close_all()
            finally:
                self.gate.unlock()

    def close(self) -> bool:
        """Close the file, and tell whether this engine is of no use any more.

        In a signal handler that has interrupted its use it stays open, until the process ends.
        """
        if self.is_interrupted():
            return False
        patience = float(PATIENCE)
        if self.queue.batch.releases:
            try:
                self._pass_through(monotonic() + patience)
            except JournalError:  # it is enough that our number becomes free
                patience = 0.0
        with self.queue.turn, self.reader.turn:
            self.disconnect(patience)
            with self.queue.lock:
                if self.running or not self.queue.retire():
                    return False
            if self._owners is not None:
                self._owners.free(self.owner)
            self.gate.close()
            self.lost = True
            return True

    def pause(self) -> None:
        """Close the file, and keep everybody from going on, until `resume`.

        What the fork itself has interrupted, in a signal handler, stays open, and the child does
        without: see `was_in_use`.
        """
        is_interrupted = self.is_interrupted()
        self.queue.turn.acquire()
        self.reader.turn.acquire()
        with suppress(Exception):  # a fork goes on whatever is raised before it
            if not is_interrupted:
                self.disconnect(PATIENCE)
        self.queue.lock.acquire()

    def resume(self) -> None:
        """Let everybody go on."""
        self.queue.lock.release()
        self.reader.turn.release()
        self.queue.turn.release()

    def is_usable(self) -> bool:
        """Tell whether this is still the engine of this file in this process."""
        return not self.lost and self.process == os.getpid()

    def is_interrupted(self) -> bool:
        """Tell whether this thread is in the middle of using the file: in a signal handler, say."""
        return self.queue.is_held_here() or is_held(self.reader.turn)

    # --- who drives what -------------------------------------------------------------------------

    def drives(self, seen: Summary) -> bool:
        """Tell whether somebody drives a saga."""
        return seen.saga_id in self.running or self._lives(seen.owner)

    def _lives(self, owner: int) -> bool:
        """Tell whether another process lives; within ours, the running executions decide."""
        self.open()
        if self._may_only_read:
            raise JournalError(self._may_only_read)
        assert self._owners is not None  # noqa: S101 - opened
        return owner != self.owner and self._owners.alive(owner)

    def waiting(self, now: int, longest: int) -> Iterator[Summary]:
        """Give the open sagas that are due and that nobody drives, oldest first."""
        if self._may_only_read:
            raise JournalError(self._may_only_read)
        lives: dict[int, bool] = {}
        for seen in self.reader.summaries("open", (now, now + longest)):
            if seen.owner not in lives:
                lives[seen.owner] = self._lives(seen.owner)
            is_free = not lives[seen.owner] and seen.saga_id not in self.running
            if is_free and seen.number not in self.barred:
                yield seen

    def check(self) -> list[str]:
        """List what is wrong with the file, and what nobody goes on with."""
        problems = self.reader.check()
        dead = [count for owner, count in self.reader.owners() if not self._drives_any(owner)]
        if dead:
            problems.append(f"{sum(dead)} open sagas have nobody who drives them: recover them")
        return problems

    def _drives_any(self, owner: int) -> bool:
        return owner == self.owner or self._lives(owner)

    def leave(self, claim: Claim) -> None:
        """Stop driving a saga, durably with the next commit."""
        with self.queue.lock:
            self._leave(claim)

    def _leave(self, claim: Claim) -> None:
        """Do so; with the lock held. What was put into the batch before is written before."""
        claim.over = True
        if claim.barred:
            self.barred.add(claim.number)
        if self.running.get(claim.saga_id) is claim:
            del self.running[claim.saga_id]
            self._release(claim)

    def _release(self, claim: Claim) -> None:
        if claim.number and claim.owner == self.owner:
            self.queue.batch.releases.append(claim)

    def _admit(self, change: Change) -> bool:
        """Tell whether a change may be tried, and enter a claim; with the lock held."""
        claim = change.claim
        holder = self.running.get(claim.saga_id)
        if type(change) is Append:
            if holder is claim:
                return True
            change.error = self._not_driven(claim)
        elif type(change) is Leave:
            self._leave(claim)
            return True
        elif holder is None or holder is claim or (type(change) is Take and change.force):
            if change.driven if type(change) is Create else type(change) is Take and not holder:
                self.running[claim.saga_id] = claim
            return True
        else:
            change.error = in_progress(claim.saga_id)
            if type(change) is Create and not change.driven:  # that it is there is enough
                change.error = SagaExistsError(f"there is a saga {claim.saga_id!r}")
            claim.over = True
        change.settled = True
        return False

    def _not_driven(self, claim: Claim) -> SagaInProgress:
        claim.over = True
        return SagaInProgress(
            f"saga {claim.saga_id!r} is not driven under this claim any more: it has ended, was "
            f"left or taken over, or was claimed by the parent of this process before a fork"
        )

    # --- a commit --------------------------------------------------------------------------------

    def _record(self, batch: Batch) -> bool:
        """Settle all changes of a batch, unless the gate is shut; with the turn held."""
        problem: Exception | None = None
        interrupt: Exception | None = None
        is_open = is_entered = True
        try:
            for attempt in range(TRIES):
                if attempt:
                    time.sleep(PAUSE * attempt)  # inside: what befalls us would befall others too
                try:
                    if self.connection is None:
                        self._check_before_gate()
                    is_open = self.gate.enter()
                    is_entered = is_open and self.queue.enter(batch)
                    if is_entered:
                        self._write_rounds(batch)
                    problem = None
                    break
                except JournalError as error:
                    problem = error
                    break
                except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
                    problem = error
                    if has_struck(error):  # it is settled all the same, and that is raised then
                        interrupt = error
                    self._roll_back()
        finally:
            self.gate.unlock()
        # It has not entered if the gate could not even be opened.
        if is_entered and (batch.entered or self.queue.enter(batch)):
            with self.queue.lock:
                self._finish(batch, problem)
        if interrupt is not None:
            raise interrupt
        return is_open or is_entered

    def _write_rounds(self, batch: Batch) -> None:
        """Write all changes of a batch; inside the gate."""
        begins = any(type(change) is not Append for change in batch.changes)
        connection, ledger = self._opened(begins=begins)
        for changes in self._rounds(batch):
            self._transaction(connection, ledger, batch, changes)
        self._restart_wal(connection)

    def _rounds(self, batch: Batch) -> Iterator[Sequence[Change]]:
        """Give what is to be done, in transactions that have at most one change of each saga.

        So a row's number is known before the next one is tried.
        """
        if not batch.changes:
            yield ()
        while todo := [change for change in batch.changes if not change.settled]:
            if 1 < len(todo) > len({change.claim.saga_id for change in todo}):
                first: dict[str, Change] = {}
                for change in todo:
                    first.setdefault(change.claim.saga_id, change)
                todo = list(first.values())
            yield todo

    def _transaction(
        self,
        connection: sqlite3.Connection,
        ledger: Ledger,
        batch: Batch,
        changes: Sequence[Change],
    ) -> None:
        with self.queue.lock:
            todo = [change for change in changes if not self._was_left(change)]
            releases = [claim for claim in batch.releases if claim.saga_id not in self.running]
        connection.execute("BEGIN IMMEDIATE")
        if not ledger.write_together(connection, todo):
            connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            ledger.write_apart(connection, todo)
        if releases:
            ledger.release(connection, releases)
        ledger.note_commit(todo)
        if not self.is_usable():  # the child of a fork by a signal handler that struck here
            raise JournalError(f"the journal {self.path} is not ours any more")
        connection.execute("COMMIT")
        self.commits += 1
        with self.queue.lock:
            for change in todo:
                self._settle(change)
            if releases:
                batch.releases = [claim for claim in batch.releases if claim not in releases]

    def _was_left(self, change: Change) -> bool:
        """Settle what nobody wants any more and nobody has tried: a claim, left by an interrupt."""
        left = change.claim.over and change.tried is None and isinstance(change, Create | Take)
        if left:
            message = f"saga {change.claim.saga_id!r} was left before it was claimed"
            change.error = SagaInProgress(message)
            change.settled = True
        return left

    def _restart_wal(self, connection: sqlite3.Connection) -> None:
        """Write the WAL back and begin it anew if it is big: readers that overlap prevent that."""
        if self.commits % GLANCE or self._wal_size() < self.big_wal:
            return
        with suppress(sqlite3.Error):
            connection.execute(f"PRAGMA busy_timeout={CHECKPOINT_PATIENCE}")
            # Like RESTART, and the size of the file shows how much is in it.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            connection.execute(f"PRAGMA busy_timeout={PATIENCE * 1000}")
        self.big_wal = max(BIG_WAL, self._wal_size() + BIG_WAL // 16)

    def _wal_size(self) -> int:
        try:
            return os.stat(self.path + "-wal").st_size  # noqa: PTH116 - paths are text here
        except OSError:  # there is none in the other mode
            return 0

    def _refusing(self) -> Callable[[Change], None]:
        """See who is inside the gate, and give what settles a change that waited for that."""
        why = shut(self.path, self.gate.path)

        def refuse(change: Change) -> None:
            what = _NOT_DONE.get(type(change))
            text = why if what is None else f"saga {change.claim.saga_id!r} {what}: {why}"
            change.error, change.withdrawn = JournalError(text), True
            self._settle(change)

        return refuse

    def _roll_back(self) -> None:
        connection = self.connection
        if connection is not None and connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")

    def _finish(self, batch: Batch, problem: Exception | None) -> None:
        """Settle what could not be written, and keep the releases for the next commit."""
        for change in batch.changes:
            if not change.settled:
                # Each its own: whoever gets it may say more about its saga in it.
                if isinstance(problem, JournalError):
                    change.error = JournalError(*problem.args)
                else:
                    why = problem or RuntimeError("it was not tried")
                    change.error = cannot("written", self.path, why)
                change.error.__cause__ = problem
                self._settle(change)
        if batch.releases:
            self.queue.batch.releases[:0] = batch.releases
            batch.releases = []
        batch.done = True

    # --- what follows from a commit --------------------------------------------------------------

    def _settle(self, change: Change) -> None:
        """Note what came of a change; with the lock held, and harmless if done again."""
        if type(change) is Append:
            self._settle_append(change)
        elif type(change) is Create or type(change) is Take:
            self._settle_claim(change)
        change.settled = True  # last: an interrupt before repeats it

    def _settle_append(self, change: Append) -> None:
        claim = change.claim
        if change.error is None:
            assert isinstance(change.tried, int)  # noqa: S101 - the number of its row
            claim.rows = change.tried
            if change.status is not None and change.status not in OPEN:
                self._end(claim)
        elif isinstance(change.error, SagaInProgress):
            self._end(claim)

    def _end(self, claim: Claim) -> None:
        claim.over = True
        if self.running.get(claim.saga_id) is claim:
            del self.running[claim.saga_id]

    def _settle_claim(self, change: Create | Take) -> None:
        claim = change.claim
        if change.error is None:
            if type(change) is Create:
                claim.rows = 1
                if not change.driven:
                    claim.over = True
                    return
            before = self.running.get(claim.saga_id)
            if claim.over:  # its caller was interrupted twice, and has left
                self._end(claim)
                self._release(claim)
            elif before is not claim:
                if before is not None:
                    before.over = True
                self.running[claim.saga_id] = claim
            return
        self._end(claim)
        if isinstance(change.error, SagaExistsError | SagaInProgress):
            claim.number = claim.owner = 0  # it is not ours, so nobody must release it
        else:
            self._release(claim)  # a commit that failed may be on disk all the same


def _is_free(lock: threading.RLock) -> bool:
    """Tell whether nobody held a lock when it was copied; this thread may be who did."""
    if is_held(lock) or not lock.acquire(blocking=False):
        return False
    lock.release()
    return True
