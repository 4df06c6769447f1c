"""Who a worker is to DBOS, and until when nobody takes the sagas that it has begun to drive.

DBOS has an id for whoever runs a workflow, and recovers what an id has left when that comes back. A
worker whose id is always the same therefore needs nothing more than that nobody else has it. One
that may never come back (`takeover`) has a row instead, with the time until which its sagas are its
own, by the clock of the database; others take them once that has passed.
"""

from __future__ import annotations

import os
import socket
from typing import Protocol

import sqlalchemy as sa

from py_api_saga import chance, clock
from py_api_saga.engines.dbos_loop import WORKFLOW
from py_api_saga.engines.dbos_server import Server
from py_api_saga.exceptions import JournalError, SagaDefinitionError
from py_api_saga.journal.postgresql.lease import Lease
from py_api_saga.log import logger

DDL = """
CREATE TABLE IF NOT EXISTS saga_worker (
    executor text PRIMARY KEY,
    until timestamptz NOT NULL
)
"""
_IS_THERE = "SELECT to_regclass('saga_worker') IS NOT NULL"
_RENEW = """
WITH before AS (SELECT until FROM saga_worker WHERE executor = :executor FOR UPDATE)
INSERT INTO saga_worker (executor, until)
VALUES (:executor, clock_timestamp() + make_interval(secs => :seconds))
ON CONFLICT (executor) DO UPDATE SET until = excluded.until
RETURNING coalesce((SELECT until > clock_timestamp() FROM before), true)
"""
# A row outlives what it is of: a worker that was only late may take more under its old id.
_FORGET = "DELETE FROM saga_worker WHERE until < now() - interval '1 day'"
_TAKE = """
WITH gone AS (
    SELECT executor FROM saga_worker
    WHERE executor <> :executor AND until < clock_timestamp()
    FOR UPDATE SKIP LOCKED  -- who is renewing its lease is not gone; and it waits for this
)
UPDATE dbos.workflow_status w
SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL
FROM gone o
WHERE w.status = 'PENDING' AND w.name = :name AND w.executor_id = o.executor
RETURNING o.executor
"""
_LEAVE = "UPDATE saga_worker SET until = now() WHERE executor = :executor"
# The server finds out within a minute that the other end is gone without a word.
_ALONE = """
SELECT set_config('tcp_keepalives_idle', '20', false),
    set_config('tcp_keepalives_interval', '10', false),
    set_config('tcp_keepalives_count', '3', false),
    pg_try_advisory_lock(hashtextextended('saga.v1:' || :executor, 0))
"""
_SWEEP = 1.0  # seconds between two looks for what others have left


class Identity(Protocol):
    """Who a worker is.

    Attributes:
        executor: Its id.
    """

    executor: str

    def begin(self) -> None:
        """See that nobody else is that.

        Raises:
            SagaDefinitionError: Somebody else is.
            JournalError: The database can't be reached.
        """

    def state(self) -> tuple[bool, int]:
        """Tell whether a call may begin, and how often that was not so."""

    def beat(self) -> None:
        """Stay that; called again and again, more often than each second.

        Raises:
            JournalError: The database can't be reached.
        """

    def end(self) -> None:
        """Be that no longer."""


class Alone:
    """A worker that comes back under the same id: no two may have it at once."""

    def __init__(self, server: Server, executor: str | None) -> None:
        """Take the id; that of the machine by default."""
        self._server = server
        self.executor = executor or os.environ.get("DBOS__VMID") or socket.gethostname()
        self._connection: sa.Connection | None = None
        self._holds, self._count = False, 0

    def begin(self) -> None:
        """See `Identity`."""
        self._holds = self._hold()
        if not self._holds:
            self._hang_up()
            message = (
                f"DBOS on {self._server.place}: another worker is executor {self.executor!r}; give "
                "each worker of a machine an id of its own that stays the same (DBOS__VMID in its "
                "environment), or have all of them use --takeover"
            )
            raise SagaDefinitionError(message)

    def _hold(self) -> bool:
        try:
            connection = self._server.engine.connect()
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            held = connection.execute(sa.text(_ALONE), {"executor": self.executor}).one()
        except sa.exc.SQLAlchemyError as error:
            raise self._server.cannot(error) from error
        self._connection = connection
        return bool(held[-1])

    def state(self) -> tuple[bool, int]:
        """See `Identity`."""
        return self._holds, self._count

    def beat(self) -> None:
        """See `Identity`."""
        connection = self._connection
        try:
            if connection is not None:
                connection.execute(sa.text("SELECT 1"))
                if self._holds:
                    return
        except sa.exc.SQLAlchemyError:  # with the connection the lock is gone
            self._holds = False
        self._hang_up()
        if self._hold():
            self._count += 1
            self._holds = True

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()  # its lock must not go back into the pool
            connection.close()

    def end(self) -> None:
        """See `Identity`."""
        self._hang_up()


class Leased:
    """A worker that may never come back: others take its sagas once its lease has run out."""

    def __init__(self, server: Server, executor: str | None, seconds: float) -> None:
        """Take the id, one that nobody has had by default, and how long nobody takes its sagas."""
        self._server = server
        self.executor = executor or f"{socket.gethostname()}:{chance.digits(8)}"
        self._lease = Lease(seconds)
        self._count = 0  # how often it has run out
        self._swept = float("-inf")

    def begin(self) -> None:
        """See `Identity`."""
        server = self._server
        if not self._has_table():
            try:
                with server.asked() as connection:
                    connection.execute(sa.text(DDL))
            except JournalError as error:
                if self._has_table():  # another worker has just made it
                    self.beat()
                    return
                ddl = " ".join(DDL.split())
                message = (
                    f"{error}; --takeover needs a table that this role may not make: have somebody "
                    f"run {ddl}; and GRANT SELECT, INSERT, UPDATE, DELETE ON saga_worker"
                )
                raise SagaDefinitionError(message) from error
        self.beat()

    def _has_table(self) -> bool:
        with self._server.asked() as connection:
            return bool(connection.execute(sa.text(_IS_THERE)).scalar())

    def state(self) -> tuple[bool, int]:
        """See `Identity`."""
        return not self._lease.is_late(), self._count

    def beat(self) -> None:
        """See `Identity`."""
        lease, now = self._lease, clock.boottime()
        if lease.is_due():
            values = {"executor": self.executor, "seconds": lease.seconds}
            with self._server.asked() as connection:
                was_alive = bool(connection.execute(sa.text(_RENEW), values).scalar())
            if not lease.renewed(now, was_alive=was_alive):
                # Others may have taken what this process drives: sagas look before their next call.
                self._count += 1
                lease.begin(now)
        if now - self._swept > _SWEEP:
            self._swept = now
            values = {"executor": self.executor, "name": WORKFLOW}
            with self._server.asked() as connection:
                taken = connection.execute(sa.text(_TAKE), values).all()
                connection.execute(sa.text(_FORGET))
            for executor in {row[0] for row in taken}:
                logger().warning("takes over the sagas of executor %s", executor)

    def end(self) -> None:
        """See `Identity`."""
        with self._server.asked() as connection:
            connection.execute(sa.text(_LEAVE), {"executor": self.executor})
