"""The bench: what the journals of one process on one database share, and the writing there.

A batch is written as one transaction, in one round trip. What fails is written again, on another
connection where that may help, for as long as there is patience; then whoever waits is told. Until
there is a connection nobody is bound to wait: the batch stays open, as at a gate that is shut.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from py_api_saga import chance, clock
from py_api_saga.exceptions import JournalError
from py_api_saga.journal.changes import Change, Claim, Create, Leave, milliseconds, taken_over
from py_api_saga.journal.postgresql.connections import Connection
from py_api_saga.journal.postgresql.exchange import Found
from py_api_saga.journal.postgresql.lease import Heartbeat, Lease
from py_api_saga.journal.postgresql.server import LONGEST_PAUSE, PAUSE, Asked, Server
from py_api_saga.journal.postgresql.trouble import (
    UnreachableError,
    cannot,
    code_of,
    has_struck,
    is_again,
    is_of_value,
)
from py_api_saga.journal.postgresql.writes import Script, array, texts
from py_api_saga.journal.reentry import is_held
from py_api_saga.journal.sql.desk import Desk
from py_api_saga.journal.sql.group_commit import Batch, GroupCommit, RetiredError
from py_api_saga.process import HOST

# Changes of one transaction: its statements join what they are given by loops, each with each.
MOST = 1000
YIELDS = 4  # times that whoever was woken by the commit before may come into the next one
TURN = 0.5  # seconds for which a heartbeat that is late waits for whoever writes


class Bench:
    """What the journals of one process on one database share.

    Attributes:
        server: The database.
        desk: Who drives what in this process.
        queue: The group commit.
        turn: Held by whoever uses the connection that writes.
        lease: Until when nobody takes what this process drives.
        commits: How many there were.
        process: The only one that may use this; the child of a fork has one of its own.
        is_closed: It is of no use any more.
    """

    def __init__(self, server: Server, lease: float) -> None:
        """Name the database; it is opened when it is needed."""
        self.server = server
        self.desk = Desk()
        self.turn = threading.RLock()  # reentrant only to know who holds it
        self.queue = GroupCommit(self.desk, self)
        self.lease = Lease(lease)
        self.heartbeat = Heartbeat(self.lease, self, self._is_ours)
        self.commits = 0
        self.process = os.getpid()
        self.is_closed = False
        self._connection: Connection | None = None
        self._beating: Connection | None = None  # the heartbeat's
        self._out: float | None = None  # since when there is no connection
        self._is_registered = False  # the database knows our number
        self._unsure: set[str] = set()  # ids of which a transaction of ours may not have ended

    def is_usable(self) -> bool:
        """Tell whether this process may use it."""
        return self._is_ours() and not self.is_closed

    def _is_ours(self) -> bool:
        return self.process == os.getpid()

    # --- a batch ---------------------------------------------------------------------------------

    def record(self, batch: Batch) -> bool:
        """Settle every change of a batch; false if no connection is to be had as yet."""
        self.heartbeat.start()
        interrupt: Exception | None = None
        pause, until = PAUSE, clock.monotonic() + self.server.patience
        while (problem := self._attempt(batch)) is not None:
            if isinstance(problem, UnreachableError) and not batch.entered:
                if self._is_shut(problem):
                    return False
                self._out = None  # whoever comes next has patience anew
                break
            if has_struck(problem):
                interrupt = problem  # it is settled all the same, and that is raised then
            elif not self.server.has_patience(problem):
                break
            if clock.monotonic() + pause > until:
                break
            clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        if batch.entered or batch.enter():
            self._finish(batch, problem)
        if interrupt is not None:
            raise interrupt
        return True

    def _attempt(self, batch: Batch) -> Exception | None:
        """Write a batch, or give what kept it from being written."""
        try:
            connection = self._connected()
            if not batch.entered and len(self.desk.running) > 1:
                for _ in range(YIELDS):  # a fifth of the commits of 32 threads is spared by that
                    clock.sleep(0)
            if batch.entered or batch.enter():
                self._write_rounds(connection, batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            self._mend(error)
            return error
        return None

    def _finish(self, batch: Batch, problem: Exception | None) -> None:
        with self.desk.lock:
            for change in batch.changes:
                if type(change) is Create and change.tried and not change.settled:
                    self._unsure.add(change.claim.saga_id)
        batch.finish(lambda: self._why(problem), problem)

    def _why(self, problem: Exception | None) -> JournalError:
        """Say why a change could not be written; anew for each, which may say more in it."""
        if isinstance(problem, JournalError):
            return JournalError(*problem.args)
        if problem is not None and code_of(problem) == "42P01":
            return self.server.not_made()
        return cannot("written", self.server.place, problem or RuntimeError("it was not tried"))

    def _connected(self) -> Connection:
        """Give the connection, with no transaction open."""
        connection = self._connection
        if connection is not None and not self.server.is_clean(connection):
            self._drop()  # the leader before us was interrupted, or the server has gone
            connection = None
        if connection is None:
            connection = self._connection = self.server.connect()
            self._out = None
            if self.desk.running:  # it may be another server, which has not all that we know of
                self.lease.end()
        return connection

    def _is_shut(self, error: UnreachableError) -> bool:
        """Tell whether to wait for a connection, each for as long as it likes."""
        now = clock.monotonic()
        if self._out is None:
            self._out = now
        return self.server.has_patience(error) and now - self._out < self.server.patience

    def _mend(self, error: Exception) -> None:
        """Have a connection on which a transaction may begin, or none."""
        self.server.note(error)
        connection = self._connection
        if connection is None:
            return
        if is_again(error) or is_of_value(error):
            with suppress(Exception):
                connection.rollback()
        if not self.server.is_clean(connection):
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def _transact(self, connection: Connection, asked: Sequence[Asked]) -> dict[str, Found]:
        """Send statements as one transaction, and give what each has found by its name."""
        found = self.server.transact(connection, asked)
        self.commits += 1
        return {name: rows for (name, _), rows in zip(asked, found, strict=True)}

    def _write_rounds(self, connection: Connection, batch: Batch) -> None:
        """Write all changes of a batch; a late process sees before and after which claims stand."""
        if self._must_compare():
            self._compare(connection)
        while self._write(connection, batch):
            pass
        if self._must_compare():
            lost = self._compare(connection)
            for change in batch.changes:
                if change.claim in lost and change.error is None:
                    change.error = taken_over(change.claim)

    def _write(self, connection: Connection, batch: Batch) -> bool:
        """Write as many of them as go into one transaction, and say whether that is not all."""
        with self.desk.lock:
            todo, is_more = self.desk.round(batch.changes)
            if len(todo) > MOST:
                todo, is_more = todo[:MOST], True
            releases = [claim for claim in batch.releases if claim.saga_id not in self.desk.running]
            left = [*batch.releases, *self.desk.releases]
        try:
            scripts = [self._together(connection, todo, releases, left)]
        except Exception as error:
            if not is_of_value(error):
                raise
            self._mend(error)
            scripts = [self._together(connection, (), releases)]
            scripts += [self._alone(connection, change, left) for change in todo]
        busy = {change.claim.saga_id for script in scripts for change in script.busy}
        kept = [claim for script in scripts for claim in script.kept]
        with self.desk.lock:
            for change in todo:
                if change.claim.saga_id not in busy:
                    self.desk.settle(change)
                    self._unsure.discard(change.claim.saga_id)
            batch.releases = [c for c in batch.releases if c not in releases or c in kept]
            if busy:
                batch.put_off(busy)
        return is_more

    def _alone(self, connection: Connection, change: Change, left: Sequence[Claim]) -> Script:
        """Write one change by itself, or give it its error."""
        try:
            return self._together(connection, [change], (), left)
        except Exception as error:
            if not is_of_value(error):
                raise
            self._mend(error)
            change.error = JournalError(
                f"saga {change.claim.saga_id!r} could not be written: {type(error).__name__}"
            )
            change.error.__cause__ = error
            return Script(0, (), (), ())

    def _together(
        self,
        connection: Connection,
        todo: Sequence[Change],
        releases: Sequence[Claim],
        left: Sequence[Claim] = (),
    ) -> Script:
        """Write changes in one transaction, and look what has become of what it left alone."""
        desk, lease = self.desk, self.lease
        script = Script(desk.owner, todo, releases, self._unsure, left)
        asked = script.before_claims()
        if script.claims and not self._is_registered:
            desk.owner = desk.owner or chance.number()
            asked.append(("register", self._me()))
        elif self._is_registered and (script.claims or desk.running) and lease.is_due():
            asked.append(("renew", self._me()))
        asked += script.claiming(desk.owner)
        if not asked:
            return script
        script.note_commit()
        sent = clock.boottime()
        found = self._transact(connection, asked)
        if "register" in found:
            self._is_registered = True
            lease.begin(sent)
        elif "renew" in found:
            self._take_in(sent, found["renew"], is_alone=not self._claims())
        script.read(found)
        if looks := script.looks():
            script.judge(self._transact(connection, looks))
        return script

    # --- the lease -------------------------------------------------------------------------------

    def _me(self) -> Mapping[str, Any]:
        """Give what is known of this process."""
        return {
            "owner": self.desk.owner,
            "lease": milliseconds(self.lease.seconds),
            "host": HOST,
            "pid": self.process,
        }

    def _claims(self) -> list[Claim]:
        """Give the claims that are on record."""
        with self.desk.lock:
            return [claim for claim in self.desk.running.values() if claim.number]

    def _must_compare(self) -> bool:
        return bool(self.desk.running) and self.lease.is_late() and bool(self._claims())

    def _take_in(self, sent: float, found: Found, *, is_alone: bool) -> None:
        """Take in a renewal.

        Args:
            sent: When it was.
            found: What it found.
            is_alone: Nothing is driven, so it does not matter if we were late.
        """
        if not found:  # nobody knows of us: whoever compares sees to that
            self.lease.end()
        elif is_alone:
            self.lease.begin(sent)
        else:
            self.lease.renewed(sent, was_alive=found[0][0])

    def _compare(self, connection: Connection) -> set[Claim]:
        """Renew the lease, and end the claims that others have taken; with the turn held.

        Returns:
            What was taken: all, if nobody knows of us any more, since we were away for very long.
        """
        claims = self._claims()
        mine = {
            "owner": self.desk.owner,
            "numbers": array(claim.number for claim in claims),
            "ids": texts(claim.saga_id for claim in claims),
        }
        sent = clock.boottime()
        renewed, found = self.server.transact(connection, [("renew", self._me()), ("mine", mine)])
        if not renewed:
            self.desk.forget()
            self._is_registered = False
            return {*claims}
        stands = {(number, epoch): rows or 0 for number, epoch, rows in found}
        # A server that has not all of its rows is one that was put in the place of another.
        lost = {c for c in claims if stands.get((c.number, c.epoch), -1) < c.rows}
        self.desk.lose(lost)
        self.lease.begin(sent)
        return lost

    def renew(self) -> None:
        """Renew the lease, in the thread of the heartbeat; see `Tenant`."""
        connection = self._beating
        if connection is None or not self.server.is_clean(connection):
            self.hang_up()
            connection = self._beating = self.server.connect()
        if not self.lease.is_late():
            sent = clock.boottime()
            (found,) = self.server.transact(connection, [("renew", self._me())])
            self.lease.renewed(sent, was_alive=bool(found) and found[0][0])
        # A claim that is being settled must not seem to be lost: whoever settles has the turn.
        if self.lease.is_late() and self.turn.acquire(timeout=TURN):
            try:
                if self._must_compare():
                    self._compare(connection)
            finally:
                self.turn.release()

    def hang_up(self) -> None:
        """Close the heartbeat's connection."""
        connection, self._beating = self._beating, None
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def is_idle(self) -> bool:
        """Tell whether nothing is driven."""
        return not self.desk.running

    def goes_on(self, change: Change) -> bool:
        """Tell whether a change is settled so that a call may follow."""
        claim = change.claim
        return change.error is None and self.desk.running.get(claim.saga_id) is claim

    # --- while there is no connection ------------------------------------------------------------

    def stand_in_line(self, batch: Batch) -> None:
        """Wait for a connection, in the thread of ours, for as long as there is patience."""
        pause = PAUSE
        while True:
            clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            with self.turn:
                if batch.queue.is_retired:  # what is closed has no connection any more
                    return
                try:
                    self._connected()
                except UnreachableError as error:
                    if self._is_shut(error):
                        continue
                except Exception as error:  # noqa: BLE001 - whoever writes next meets it as well
                    self._mend(error)
                return

    def hindrance(self) -> str:
        """Say that there is no connection."""
        return f"there is no connection to {self.server.place}"

    # --- the end ---------------------------------------------------------------------------------

    def close(self) -> bool:
        """Close the connections, and tell whether this is of no use any more.

        While sagas run it is: they are made again. In a signal handler that has interrupted its
        use it stays as it is.
        """
        if is_held(self.turn) or is_held(self.desk.lock):
            return False
        if self.desk.releases and self._connection is not None:
            nothing = Leave(Claim(""))
            nothing.until = clock.monotonic() + self.server.patience
            with suppress(RetiredError):
                self.queue.write([nothing])
        with self.turn:
            with self.desk.lock:
                is_over = not self.desk.running and self.queue.retire()
            if is_over and self._is_registered and self._connection is not None:
                with suppress(Exception):  # it ends by itself
                    self.server.transact(
                        self._connection, [("end_owner", {"owner": self.desk.owner})]
                    )
            self._drop()
            self.server.connections.close()
            if is_over:
                self.heartbeat.stop()
                self.is_closed = True
            return is_over
