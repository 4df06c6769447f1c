"""One journal file as this process has it: connections, gate, number, commits, and forks.

Each commit writes a batch, or settles it with what kept it from that.

SQLite keeps for each process, by inode, which locks the process holds, so that two connections of
it behave; a child of a fork inherits that belief without the locks, also for connections that it
opens anew (https://sqlite.org/howtocorrupt.html, 2.6). So none of ours is open during a fork of
Python's. One in C asks nobody: its child closes what it has inherited before it opens the file, or
uses it no more if its parent was in the middle of something.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from py_api_saga import clock
from py_api_saga.exceptions import JournalError
from py_api_saga.journal.changes import Append, Mail, milliseconds
from py_api_saga.journal.reentry import is_held
from py_api_saga.journal.sqlite.connecting import (
    BUSY,
    Options,
    Place,
    cannot,
    connect_to_write,
    has_struck,
    mounted_alone,
)
from py_api_saga.journal.sqlite.descriptors import (
    Kept,
    are_there,
    close_all,
    leave_open,
    open_on,
    opened_since,
)
from py_api_saga.journal.sqlite.gate import Gate, shut
from py_api_saga.journal.sqlite.owners import Owners, owners_at
from py_api_saga.journal.sqlite.queries import QUERIES
from py_api_saga.journal.sqlite.reading import Reader
from py_api_saga.journal.sqlite.writes import RowWriter

if TYPE_CHECKING:
    from py_api_saga.journal.sql.desk import Desk
    from py_api_saga.journal.sql.group_commit import Batch

LOOK = 0.01  # seconds between two looks whether the gate has opened, when a file is closed
TRIES = 3  # of a transaction
PAUSE = 0.02  # seconds before the second, twice that before the third
BIG_WAL = 16 << 20  # bytes above which the leader tries to begin it anew
EACH = 64  # commits after which it looks how big that is
CHECKPOINT_PATIENCE = 100  # milliseconds that this may wait for readers
_GOING_ON = {Append, Mail}  # what is written of a saga that was begun or claimed before


class JournalFile:
    """The connection, the gate and the owner of one file.

    Attributes:
        path: The real path.
        options: How it is written.
        turn: Held by whoever uses the connection; never while somebody waits at the gate.
        reader: Reads.
        connection: The only one that writes; None while the file is closed.
        gate: What one process at a time passes to write.
        lost: The file is another one.
        may_only_read: Why it may not be written, and so was not opened for that; or nothing.
        process: The only one that may use this; the child of a fork has one of its own.
        count: How many commits there were.
        big_wal: Bytes above which the leader tries to begin the WAL anew.
    """

    def __init__(
        self,
        place: Place,
        options: Options,
        desk: Desk,
        inherited: list[JournalFile],
        before: int,
    ) -> None:
        """Name the file; it is opened when it is needed.

        Args:
            place: Where it is.
            options: How it is written.
            desk: Which learns our number in it, and whether all that it knew is void.
            inherited: Files of the processes that we descend from, to be closed before.
            before: Our number in it while it had another name; 0 if there is none.
        """
        self.path, self._key = place
        self.options = options
        self.turn = threading.RLock()  # reentrant only to know who holds it
        self.reader = Reader(self.path)
        self.lost = False
        self.may_only_read = ""
        self.gate = Gate(self.path + "-gate")
        self.connection: sqlite3.Connection | None = None
        self.process = os.getpid()
        self._desk = desk
        self._owners: Owners | None = None
        self._inherited, self._before = inherited, before
        self._kept: tuple[Kept, ...] = ()  # what the connection has open
        self.count, self.big_wal = 0, BIG_WAL
        self._writer = RowWriter(0, self.lives)

    # --- opening ---------------------------------------------------------------------------------

    def is_open(self) -> bool:
        """Tell whether it is still the same, and we have a number in it.

        A connection to a file that was removed goes on reading what was in it.
        """
        has_descriptors = are_there(self._kept) and are_there(self.reader.kept)
        return bool(self._desk.owner) and self._is_there() and has_descriptors

    def opened(self, *, begins: bool = True) -> sqlite3.Connection:
        """Give the connection, with no transaction open; inside the gate, with the turn.

        Args:
            begins: A saga is claimed, so it matters that others see that we live.
        """
        self._check_place()
        if not are_there(self._kept) or not are_there(self.reader.kept):
            self._let_go()  # a daemon has closed them, and others may have their numbers
        desk, connection = self._desk, self.connection
        if connection is None:
            begins = True
            connection = self._connected()
            if desk.owner and self._was_replaced(connection):
                desk.forget()
        if connection.in_transaction:  # the leader before us was interrupted
            connection.execute("ROLLBACK")
        if begins and desk.owner and not self._is_seen(connection):
            desk.forget()
        if not desk.owner:
            self._owners = owners_at(f"{self.path}-owners", self._highest_owner(connection))
            desk.owner = self._new_owner(connection, self._owners)
        return connection

    def _connected(self) -> sqlite3.Connection:
        """Open the connection, once nothing is open that SQLite has inherited in this process."""
        while self._inherited:
            self._inherited[-1].close_all()
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
            return self._owners.hold(self._desk.owner)
        except JournalError:
            if self._owners.is_missing() and not self._highest_owner(connection):
                return False
            raise

    def _highest_owner(self, connection: sqlite3.Connection) -> int:
        """Give the highest number under which another process drives a saga, or has died."""
        now = {"now": milliseconds(clock.time())}
        owners = (owner for owner, _ in connection.execute(QUERIES["owners"], now))
        return max((owner for owner in owners if owner != self._before), default=0)

    def _was_replaced(self, connection: sqlite3.Connection) -> bool:
        """Tell whether the file was replaced while it was closed, by a new one or from a backup.

        The new one may have the number of the old inode; but it knows nothing of our owner.
        """
        next_owner: int = connection.execute(QUERIES["owner"]).fetchone()[0]
        return next_owner <= self._desk.owner

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
        """Close what was open of a file that is not ours any more; with the turn."""
        if is_held(self.reader.turn):  # who is interrupted goes on with the old file
            close_all([self.connection], self._kept)
            self.connection = None
        else:
            with self.reader.turn:
                self.close_all()

    def close_all(self) -> None:
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
        if any(file.was_in_use() for file in self._inherited):
            message = (
                f"the journal {self.path} was in use while this process was forked, by a server "
                f"that forks in C or in a signal handler, so this process cannot use it: have each "
                f"worker load the application for itself (uWSGI: lazy-apps = true), or call "
                f"journal.close() before the fork"
            )
            raise JournalError(message)

    def was_in_use(self) -> bool:
        """Tell whether the parent of this process, whose file this is, was at it in the fork.

        SQLite may hold a lock of its own then, for ever; and to close a transaction that is open
        rolls it back, in memory that the parent shares.
        """
        opened = [connection for connection in self.connections() if connection is not None]
        is_free = _is_free(self.turn) and _is_free(self.reader.turn)
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

    def enter(self) -> bool:
        """Go inside the gate, unless it is shut or the file may not be opened; with the turn."""
        if self.connection is None:
            self._check_before_gate()
        return self.gate.enter()

    def inside(self, action: Callable[[], object]) -> bool:
        """Do something inside the gate, unless it is shut; SQLite's own errors become ours."""
        try:
            is_open = self.enter()
            if is_open:
                action()
        except (sqlite3.Error, OSError) as error:
            if has_struck(error):
                raise
            raise cannot("written", self.path, error) from error
        finally:
            self.gate.unlock()
        return is_open

    def lives(self, owner: int) -> bool:
        """Tell whether another process lives; within ours, the desk decides. It was opened.

        Raises:
            JournalError: It could not be, so nobody can tell.
        """
        if self.may_only_read:
            raise JournalError(self.may_only_read)
        assert self._owners is not None  # noqa: S101 - opened
        return owner != self._desk.owner and self._owners.alive(owner)

    # --- writing ----------------------------------------------------------------------------------

    def record(self, batch: Batch) -> bool:
        """Settle all changes of a batch, unless the gate is shut; with the turn held."""
        problem: Exception | None = None
        interrupt: Exception | None = None
        is_open = is_entered = True
        try:
            for attempt in range(TRIES):
                if attempt:
                    clock.sleep(PAUSE * attempt)  # inside: what befalls us would befall others too
                try:
                    is_open = self.enter()
                    is_entered = is_open and batch.enter()
                    if is_entered:
                        self._write_all(batch)
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
        if is_entered and (batch.entered or batch.enter()):
            batch.finish(partial(self._why, problem), problem)
        if interrupt is not None:
            raise interrupt
        return is_open or is_entered

    def _why(self, problem: Exception | None) -> JournalError:
        """Say why a change could not be written; anew for each, which may say more in it."""
        if isinstance(problem, JournalError):
            return JournalError(*problem.args)
        return cannot("written", self.path, problem or RuntimeError("it was not tried"))

    def _write_all(self, batch: Batch) -> None:
        """Write all changes of a batch; inside the gate."""
        begins = not {*map(type, batch.changes)} <= _GOING_ON
        connection, owner = self.opened(begins=begins), self._desk.owner
        if owner != self._writer.owner:
            self._writer = RowWriter(owner, self.lives)
        while self._transaction(connection, batch):
            pass
        self._restart_wal(connection)

    def _transaction(self, connection: sqlite3.Connection, batch: Batch) -> bool:
        """Write as many of them as go into one transaction, and say whether that is not all."""
        desk, writer, releases = self._desk, self._writer, batch.releases
        with desk.lock:
            todo, is_more = desk.round(batch.changes)
            if releases:
                releases = [claim for claim in releases if claim.saga_id not in desk.running]
        connection.execute("BEGIN IMMEDIATE")
        if not writer.write_together(connection, todo):
            connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            writer.write_apart(connection, todo)
        if releases:
            writer.release(connection, releases)
        writer.note_commit(todo)
        if not self.is_usable():  # the child of a fork by a signal handler that struck here
            raise JournalError(f"the journal {self.path} is not ours any more")
        connection.execute("COMMIT")
        self.count += 1
        with desk.lock:
            for change in todo:
                desk.settle(change)
            if releases:
                batch.releases = [claim for claim in batch.releases if claim not in releases]
        return is_more

    def _restart_wal(self, connection: sqlite3.Connection) -> None:
        """Write the WAL back and begin it anew if it is big: readers that overlap prevent that."""
        if self.count % EACH or self._wal_size() < self.big_wal:
            return
        with suppress(sqlite3.Error):
            connection.execute(f"PRAGMA busy_timeout={CHECKPOINT_PATIENCE}")
            # Like RESTART, and the size of the file shows how much is in it.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            connection.execute(f"PRAGMA busy_timeout={BUSY * 1000}")
        self.big_wal = max(BIG_WAL, self._wal_size() + BIG_WAL // 16)

    def _wal_size(self) -> int:
        try:
            return os.stat(self.path + "-wal").st_size  # noqa: PTH116 - paths are text here
        except OSError:  # there is none in the other mode
            return 0

    def _roll_back(self) -> None:
        connection = self.connection
        if connection is not None and connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")

    def stand_in_line(self, batch: Batch) -> None:
        """Wait until the gate is open, in the thread of ours."""
        gate = self.gate
        with self.turn:
            try:
                if batch.queue.is_retired or gate.enter():
                    return  # it was opened, or closed for good, just now
            except (OSError, JournalError):  # which whoever writes then meets as well
                return
            line = gate.line_up()
        gate.wait(line)
        with self.turn:
            gate.step_out(line)

    def hindrance(self) -> str:
        """Say who is inside the gate."""
        return shut(self.path, self.gate.path)

    # --- closing ---------------------------------------------------------------------------------

    def disconnect(self, seconds: float) -> None:
        """Close the file; with its turn and the reader's. It is opened when needed.

        If the gate is shut for so long, outside of it: no fork and no end of a process waits for
        one that has stopped. That harms nothing, since SQLite writes a WAL back on closing only if
        it can lock the file for itself alone, so that there is nobody who could be writing
        (`sqlite3WalClose` in its wal.c).
        """
        if self.connection is None:
            self.reader.close()
        else:
            until = clock.monotonic() + seconds
            try:
                while not self.gate.enter() and clock.monotonic() < until:
                    clock.sleep(LOOK)
                self.close_all()
            finally:
                self.gate.unlock()

    def close(self) -> None:
        """Give up the number and the gate: this object is of no use any more."""
        if self._owners is not None:
            self._owners.free(self._desk.owner)
        self.gate.close()
        self.lost = True

    def pause(self) -> None:
        """Close the file, and keep everybody from going on, until `resume`.

        What the fork itself has interrupted, in a signal handler, stays open, and the child does
        without: see `was_in_use`.
        """
        is_interrupted = self.is_interrupted()
        self.turn.acquire()
        self.reader.turn.acquire()
        with suppress(Exception):  # a fork goes on whatever is raised before it
            if not is_interrupted:
                self.disconnect(BUSY)
        self._desk.lock.acquire()

    def resume(self) -> None:
        """Let everybody go on."""
        self._desk.lock.release()
        self.reader.turn.release()
        self.turn.release()

    def is_usable(self) -> bool:
        """Tell whether this is still the file, and we the process that has opened it."""
        return not self.lost and self.process == os.getpid()

    def is_interrupted(self) -> bool:
        """Tell whether this thread is in the middle of using the file: in a signal handler, say."""
        return any(map(is_held, (self.turn, self._desk.lock, self.reader.turn)))


def _is_free(lock: threading.RLock) -> bool:
    """Tell whether nobody held a lock when it was copied; this thread may be who did."""
    if is_held(lock) or not lock.acquire(blocking=False):
        return False
    lock.release()
    return True
