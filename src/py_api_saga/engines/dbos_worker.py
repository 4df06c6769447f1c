"""A worker of sagas on DBOS: it takes them from the queue, drives them, and makes their calls."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dbos import DBOS, DBOSClient, DBOSConfig

from py_api_saga import clock
from py_api_saga.engines.dbos_incarnation import Incarnation
from py_api_saga.engines.dbos_lease import Alone, Identity, Leased
from py_api_saga.engines.dbos_loop import WORKFLOW, rows_of
from py_api_saga.engines.dbos_server import SERIALIZER, Server
from py_api_saga.engines.dbos_shift import LeftError, Shift
from py_api_saga.engines.dbos_watch import Watch
from py_api_saga.engines.engine import Engine
from py_api_saga.engines.errand import Workshop
from py_api_saga.engines.rows import Rows
from py_api_saga.engines.worker import QUEUE, Work
from py_api_saga.exceptions import JournalError, SagaDefinitionError, seconds

POLL = 0.05  # seconds between two looks into the queue
HELD = 2  # sagas that it has taken for each call that it makes at once
_LAST = 5.0  # seconds for what is still to be recorded once the grace is over


class DBOSWorker:
    """A worker of sagas on DBOS; see `worker.Worker`. A process has one at a time."""

    def __init__(
        self,
        engine: Engine,
        server: Server,
        queue: str,
        work: Work,
        *,
        executor: str | None,
        takeover: bool,
        lease: float,
    ) -> None:
        """Say what it works for; nothing is begun yet.

        Args:
            engine: Whose functions and codec it works with.
            server: The database of that.
            queue: From which it takes sagas.
            work: What it is told, whatever its engine.
            executor: Who it is to DBOS, which recovers what it has left when that is back: by
                default what DBOS__VMID says or else the name of the machine, with `takeover` an id
                that nobody has had.
            takeover: Whether it takes over the sagas of other such workers that are gone, and they
                take over its own.
            lease: Seconds for which nobody takes its sagas, if it can't be reached.

        Raises:
            SagaDefinitionError: One of these makes no sense.
        """
        self._engine, self._server, self._queue, self._work = engine, server, queue, work
        self._identity: Identity = (
            Leased(server, executor, _checked(lease)) if takeover else Alone(server, executor)
        )
        self._shift: Shift | None = None
        self._watch: Watch | None = None
        self._dbos: DBOS | None = None

    @property
    def running(self) -> int:
        """How many calls it makes now, those included that were given up after their timeout."""
        return 0 if self._shift is None else len(self._shift.making)

    @property
    def fault(self) -> BaseException | None:
        """What has ended it though nobody has told it to."""
        return None if self._watch is None else self._watch.fault

    def begin(self) -> None:
        """Begin to work; returns once it does.

        Raises:
            SagaDefinitionError: It makes no sense, or the engine is not fit for sagas.
            JournalError: The engine is not there.
        """
        engine, server, work, identity = self._engine, self._server, self._work, self._identity
        engine.check()
        _see_no_other()
        identity.begin()
        workshop = Workshop(
            engine.names, engine.codec, work.around, work.observers, work.concurrency
        )
        shift = Shift(workshop, server, identity.executor, work.concurrency, identity.state)
        try:
            self._dbos = _launched(self._queue, work.concurrency, shift)
        except BaseException:
            identity.end()
            raise
        self._shift, self._watch = shift, Watch(server, identity, shift)
        self._watch.begin()

    def end(self) -> int:
        """Begin no call any more, let those that run come to their end, and leave.

        Returns:
            How many calls had not ended after the grace, and were told as LOST.
        """
        shift, watch, dbos = self._shift, self._watch, self._dbos
        if shift is None or watch is None or dbos is None:
            return 0
        for event in dbos.background_thread_stop_events:
            event.set()  # nothing more is taken from the queue
        shift.ends.set()
        for thread in threading.enumerate():
            if thread.name == f"queue-worker-{self._queue}":  # what it has taken is on its way
                thread.join(_LAST)
        _wait_until(lambda: not shift.sagas, self._work.grace)
        shift.cut()
        _wait_until(lambda: not shift.sagas, _LAST)
        watch.end()
        DBOS.destroy(destroy_registry=True)
        with suppress(JournalError):  # else it comes back, or its lease ends by itself
            self._server.give_all_back(shift.executor)
            self._identity.end()
        self._shift = self._dbos = None
        return shift.lost


def _checked(given: float) -> float:
    """Check a lease.

    Raises:
        SagaDefinitionError: It is not a number of seconds above 0.
    """
    lease = seconds(given, "lease")
    if lease is None or lease <= 0:
        message = f"lease: expected a number of seconds above 0, got {given!r}"
        raise SagaDefinitionError(message)
    return lease


def _wait_until(holds: Callable[[], bool], patience: float) -> None:
    until = clock.monotonic() + patience
    while not holds() and clock.monotonic() < until:
        clock.sleep(0.02)


def _see_no_other() -> None:
    """See that no DBOS runs in this process.

    Raises:
        SagaDefinitionError: One does: it has another serializer, version and queues.
    """
    from dbos import _dbos  # noqa: PLC0415 - private, and asked nowhere else

    if _dbos._dbos_global_instance is not None:  # noqa: SLF001
        message = (
            "DBOSWorker: expected a process without a DBOS of its own, got one, whose records are "
            "pickled and of another version; run `saga worker` in a process of its own"
        )
        raise SagaDefinitionError(message)


class _Quiet(logging.Filter):
    """Lets DBOS say nothing of incarnations that have ended on purpose: they are cancelled."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Asyncio task cancelled for workflow or step")


_QUIET = _Quiet()


def _keep_errors_off_record(database: Any) -> None:
    """Have no error be what came of a step, or of a saga.

    None of ours raises on purpose, so it is one of the database's, as DBOS recorded something: on
    record it would be the end of the saga, or be replayed for ever. The saga stays as it was, and
    is given back (`Watch`). A hack: DBOS has no setting for it; the alternative, errors that are
    caught in the steps, does not see those that come after them.
    """
    record, end = database.record_operation_result, database.update_workflow_outcome

    def recorded(result: Any, **options: Any) -> None:
        if result["error"] is not None:
            raise LeftError
        record(result, **options)

    def ended(workflow: str, status: str, **options: Any) -> bool:
        # With the owner it is told of a workflow whose input can't be read: nobody drives that.
        if status == "ERROR" and "owner_xid" not in options:
            raise LeftError
        return bool(end(workflow, status, **options))

    database.record_operation_result, database.update_workflow_outcome = recorded, ended


def _launched(queue: str, concurrency: int, shift: Shift) -> DBOS:
    async def saga(rows: Any, began: float) -> Rows:
        here = Incarnation(shift, DBOS.workflow_id or "", began)
        return await here.drive(rows_of(rows))

    config: DBOSConfig = {
        "name": QUEUE,
        "system_database_url": shift.server.url,
        "application_version": WORKFLOW,
        "executor_id": shift.executor,
        "serializer": SERIALIZER,
        "run_migrations": False,
        "log_level": "WARNING",
    }
    DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)(saga)
    dbos = DBOS(config=config)
    DBOS.logger.addFilter(_QUIET)  # once, however often a worker begins
    try:
        # Before the launch, which looks once a second for queues that it does not know yet.
        client = DBOSClient(system_database_engine=shift.server.engine, serializer=SERIALIZER)
        client.register_queue(
            queue,
            worker_concurrency=concurrency * HELD,
            polling_interval_sec=POLL,
            application_name=QUEUE,
        )
        DBOS.listen_queues([queue])
        DBOS.launch()
        _keep_errors_off_record(dbos._sys_db)  # noqa: SLF001 - as it says
    except Exception as error:
        DBOS.destroy(destroy_registry=True)
        raise shift.server.cannot(error) from error
    return dbos
