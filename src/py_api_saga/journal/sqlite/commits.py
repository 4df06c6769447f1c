"""Commits: each writes a batch into a journal file, or settles it with what kept it from that."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from py_api_saga import clock
from py_api_saga.exceptions import JournalError
from py_api_saga.journal.changes import Append, Change
from py_api_saga.journal.sqlite.connecting import BUSY, cannot, has_struck
from py_api_saga.journal.sqlite.gate import shut
from py_api_saga.journal.sqlite.writes import Ledger

if TYPE_CHECKING:
    from py_api_saga.journal.sql.batch import Batch
    from py_api_saga.journal.sql.desk import Desk
    from py_api_saga.journal.sqlite.file import JournalFile

TRIES = 3  # of a transaction
PAUSE = 0.02  # seconds before the second, twice that before the third
BIG_WAL = 16 << 20  # bytes above which the leader tries to begin it anew
EACH = 64  # commits after which it looks how big that is
CHECKPOINT_PATIENCE = 100  # milliseconds that this may wait for readers


class Commits:
    """Writes the batches of the queue of one file.

    Attributes:
        turn: The file's.
        count: How many there were.
        big_wal: Bytes above which the leader tries to begin the WAL anew.
    """

    def __init__(self, file: JournalFile, desk: Desk) -> None:
        """Write into this file what this desk admits."""
        self._file, self._desk = file, desk
        self.turn = file.turn
        self.count = 0
        self.big_wal = BIG_WAL
        self._ledger = Ledger(0, file.lives)

    def record(self, batch: Batch) -> bool:
        """Settle all changes of a batch, unless the gate is shut; with the turn held."""
        file = self._file
        problem: Exception | None = None
        interrupt: Exception | None = None
        is_open = is_entered = True
        try:
            for attempt in range(TRIES):
                if attempt:
                    clock.sleep(PAUSE * attempt)  # inside: what befalls us would befall others too
                try:
                    is_open = file.enter()
                    is_entered = is_open and batch.enter()
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
            file.gate.unlock()
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
        return cannot("written", self._file.path, problem or RuntimeError("it was not tried"))

    def _write_rounds(self, batch: Batch) -> None:
        """Write all changes of a batch; inside the gate."""
        begins = any(type(change) is not Append for change in batch.changes)
        connection, owner = self._file.opened(begins=begins), self._desk.owner
        if owner != self._ledger.owner:
            self._ledger = Ledger(owner, self._file.lives)
        for changes in self._desk.rounds(batch.changes):
            self._transaction(connection, batch, changes)
        self._restart_wal(connection)

    def _transaction(
        self, connection: sqlite3.Connection, batch: Batch, changes: Sequence[Change]
    ) -> None:
        desk, ledger = self._desk, self._ledger
        with desk.lock:
            todo = desk.wanted(changes)
            releases = [claim for claim in batch.releases if claim.saga_id not in desk.running]
        connection.execute("BEGIN IMMEDIATE")
        if not ledger.write_together(connection, todo):
            connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            ledger.write_apart(connection, todo)
        if releases:
            ledger.release(connection, releases)
        ledger.note_commit(todo)
        if not self._file.is_usable():  # the child of a fork by a signal handler that struck here
            raise JournalError(f"the journal {self._file.path} is not ours any more")
        connection.execute("COMMIT")
        self.count += 1
        with desk.lock:
            for change in todo:
                desk.settle(change)
            if releases:
                batch.releases = [claim for claim in batch.releases if claim not in releases]

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
            return os.stat(self._file.path + "-wal").st_size  # noqa: PTH116 - paths are text here
        except OSError:  # there is none in the other mode
            return 0

    def _roll_back(self) -> None:
        connection = self._file.connection
        if connection is not None and connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")

    # --- while others write ---------------------------------------------------------------------

    def stand_in_line(self, batch: Batch) -> None:
        """Wait until the gate is open, in the thread of ours."""
        gate = self._file.gate
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
        return shut(self._file.path, self._file.gate.path)
