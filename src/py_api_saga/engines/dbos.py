"""Sagas on DBOS: `DBOSEngine`, to run them there, and the worker that makes their calls.

A saga is a workflow, `saga.v1`, and each of its calls one step. What DBOS has on record of it is
JSON, on both sides: whatever is unpickled would be code.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from py_api_saga import clock
from py_api_saga.engines.course import Course, NewerFormatError
from py_api_saga.engines.engine import Engine
from py_api_saga.engines.rows import LETTER, Rows, letters_in
from py_api_saga.engines.standing import Standing, saga_id_of
from py_api_saga.engines.worker import QUEUE, Work
from py_api_saga.exceptions import SagaDefinitionError
from py_api_saga.journal.format.json_text import loads
from py_api_saga.journal.protocol import Codec

try:
    import sqlalchemy as sa
    from dbos import DBOSClient
    from dbos._error import DBOSWorkflowIDInUseError
except ImportError as missing:
    message = f"DBOSEngine needs DBOS: pip install 'py-api-saga[dbos]' ({missing})"
    raise ImportError(message) from missing

from py_api_saga.engines.dbos_awaiting import Awaiting
from py_api_saga.engines.dbos_loop import WORKFLOW, Recorded, replayed, rows_of
from py_api_saga.engines.dbos_server import SERIALIZER, Seen, Server, engine_of
from py_api_saga.engines.dbos_worker import DBOSWorker

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

LEASE = 30.0  # seconds
_PAGE = 100
_POOL = 8  # connections of an engine, at most


class Startable(Protocol):
    """A saga, as far as it can be started."""

    def start(
        self, *, saga_id: str | None, deadline: float | None, at_once: bool, engine: Any
    ) -> str:
        """Start it on an engine; gives its id."""


class DBOSEngine(Engine):
    """A PostgreSQL in which DBOS keeps workflows: sagas are run on it by workers.

    It connects when it is used first. Threads share it; a process that was forked needs its own.
    """

    kind: ClassVar = "dbos"

    def __init__(
        self,
        url: str,
        *,
        modules: Iterable[str],
        aliases: Mapping[str, str] | None = None,
        codec: Codec | None = None,
        queue: str = QUEUE,
    ) -> None:
        """Say where it is and what its sagas may name.

        Args:
            url: Of the system database of DBOS, `postgresql://user@host/database`.
            modules: Where the functions of the sagas are; packages stand for all within them.
            aliases: Names of functions that have been renamed, with what they are called now.
            codec: What values pass through on their way to it and back.
            queue: From which the workers take the sagas.

        Raises:
            SagaDefinitionError: The URL is not of a PostgreSQL, or there are no modules.
        """
        super().__init__(modules, aliases, codec)
        self.queue = queue
        self.server = Server(engine_of(url, _POOL))
        self._client: DBOSClient | None = None
        self._awaiting = Awaiting(self.server)
        self._transaction: sa.Connection | Session | None = None

    def __repr__(self) -> str:
        return f"DBOSEngine({self.place})"

    # --- the primitives ---------------------------------------------------------------------------

    @property
    def place(self) -> str:
        """Where it is, for messages; never with a password."""
        return self.server.place

    def check(self) -> None:
        """See that it is there, and fit for sagas.

        Raises:
            SagaDefinitionError: DBOS has no tables there, or PostgreSQL does not keep what it says:
                names the cure.
            JournalError: It can't be reached.
        """
        self.server.check()

    def begin(self, workflow: str, rows: Rows) -> bool:
        """Begin a workflow; False if there is one with this id."""
        options: Any = {
            "queue_name": self.queue,
            "workflow_name": WORKFLOW,
            "workflow_id": workflow,
            "app_version": WORKFLOW,
            "workflow_id_reuse_policy": "reject",
        }
        try:
            if self._transaction is None:
                self._dbos.enqueue(options, rows, clock.time())
            else:
                self._dbos.enqueue_in_transaction(self._transaction, options, rows, clock.time())
        except DBOSWorkflowIDInUseError:
            return False
        except sa.exc.SQLAlchemyError as error:
            raise self.server.cannot(error) from error
        return True

    @property
    def _dbos(self) -> DBOSClient:
        if self._client is None:
            self._client = DBOSClient(
                system_database_engine=self.server.engine,
                serializer=SERIALIZER,
                lazy=True,
                retry_connection_errors=False,
            )
        return self._client

    def given(self, workflow: str) -> Rows | None:
        """Give the rows that a workflow began with; None if there is none."""
        seen = self.server.look(workflow)
        return None if seen is None else rows_of(seen.given[0])

    def await_rest(self, workflow: str, timeout: float | None) -> Rows | None:
        """Give the rows of a saga once it is at rest, a straggler or not; None if not in time."""
        waiting = self._awaiting.begin(workflow)
        try:
            return rows_of(waiting.result(timeout))
        except TimeoutError:
            return rows_of(waiting.result()) if waiting.done() else None
        finally:
            self._awaiting.end(workflow, waiting)

    async def aawait_rest(self, workflow: str, timeout: float | None) -> Rows | None:  # noqa: ASYNC109 - as its twin
        """Like `await_rest`, without blocking the loop."""
        waiting = self._awaiting.begin(workflow)
        try:
            future = asyncio.wrap_future(waiting)
            done, _ = await asyncio.wait({future}, timeout=timeout)
            return rows_of(future.result()) if done else None
        finally:
            self._awaiting.end(workflow, waiting)

    def standing(self, workflow: str) -> Standing | None:
        """Tell how a workflow stands; None if there is none."""
        seen = self.server.look(workflow)
        return None if seen is None else self._standing(seen)

    def _standing(self, seen: Seen) -> Standing:
        if seen.result is not None:
            return Standing(rows_of(seen.result), is_open=False)
        outputs = self.server.steps(seen.workflow)
        given, began = seen.given
        rows = rows_of(given)
        with suppress(NewerFormatError):  # whoever reads the rows is told so
            course = Course(saga_id_of(seen.workflow), rows, began)
            replayed(course, Recorded(outputs), began)
            rows = course.rows()
        rows += self._posted(seen, rows)
        lacks, steps = seen.left or ("", [])
        is_past = any(step in outputs for step in steps)
        return Standing(rows, seen.is_open, "" if is_past else lacks)

    def _posted(self, seen: Seen, rows: Rows) -> Rows:
        """Give the answers that were posted, and that nobody has heard yet."""
        known = {letter.key for letter in letters_in(rows)}
        lines = [
            line
            for _, posted in self.server.news([seen.workflow]).get(seen.workflow, [])
            for line in posted
            if (tree := loads(line))[0] == LETTER and tree[1] not in known
        ]
        return [(clock.time(), f"[{','.join(lines)}]")] if lines else []

    def post(self, workflow: str, lines: Sequence[str], key: str) -> bool:
        """Send lines to a course, once for each key; False if the workflow has ended."""
        return self.server.post(workflow, lines, key)

    def workflows(
        self, *, prefix: str = "", before: float | None = None, after: float | None = None
    ) -> Iterator[tuple[str, Standing]]:
        """Give workflows of sagas with their ids, newest first; read as they are taken."""
        last: Seen | None = None
        while page := self.server.page(prefix, after, before, last, _PAGE):
            for last in page:
                yield last.workflow, self._standing(last)

    def worker(
        self,
        work: Work,
        *,
        executor: str | None = None,
        takeover: bool = False,
        lease: float = LEASE,
    ) -> DBOSWorker:
        """Give what drives sagas here and makes their calls, in this process; see `DBOSWorker`."""
        return DBOSWorker(
            self, self.server, self.queue, work, executor=executor, takeover=takeover, lease=lease
        )

    def close(self) -> None:
        """Let go of connections; it connects again when it is used."""
        self.server.engine.dispose()

    # --- in a transaction -------------------------------------------------------------------------

    def start_in_transaction(
        self,
        connection: Any,
        saga: Startable,
        *,
        saga_id: str | None = None,
        deadline: float | None = None,
        at_once: bool = False,
    ) -> str:
        """Start a saga in a transaction of yours, which is of the database that DBOS is in.

        It is there once the transaction has committed, and never if that is rolled back.

        Args:
            connection: Of psycopg, or a connection or session of SQLAlchemy's, not asyncio.
            saga: Which one.
            saga_id: Its id; by default a random one.
            deadline: As in `start`, from now on.
            at_once: As there.

        Returns:
            The id of the saga.

        Raises:
            SagaDefinitionError: As in `start`.
            SagaConflict: The id is that of another saga.
            JournalError: Your transaction can't go on.
        """
        self._see_usable()
        within = copy.copy(self)
        given = connection
        if not hasattr(connection, "get_bind") and not isinstance(connection, sa.Connection):
            given = _borrowed(connection, self.server.engine)
        within._transaction = given  # noqa: SLF001 - of its own class
        within.server = Server(self.server.engine, given)
        return saga.start(saga_id=saga_id, deadline=deadline, at_once=at_once, engine=within)


_IDLE = 0  # of libpq: a connection in no transaction


def _borrowed(connection: Any, engine: sa.Engine) -> sa.Connection:
    """Have SQLAlchemy use a connection of psycopg's, and leave its transaction alone.

    Raises:
        SagaDefinitionError: It is not one of psycopg's.
    """
    if not type(connection).__module__.startswith("psycopg") or not hasattr(connection, "pgconn"):
        message = (
            "start_in_transaction: connection: expected a connection of psycopg, or a connection "
            f"or session of SQLAlchemy's, got {type(connection).__name__}"
        )
        raise SagaDefinitionError(message)
    if connection.autocommit and connection.info.transaction_status == _IDLE:
        message = (
            "start_in_transaction: connection: expected one in a transaction, got one that commits "
            "each statement by itself: begin with `with connection.transaction():`"
        )
        raise SagaDefinitionError(message)
    with engine.connect():  # it has asked the server by then what that is able to do
        dialect: Any = copy.copy(engine.dialect)
    for name in ("do_begin", "do_commit", "do_rollback", "do_close"):
        setattr(dialect, name, lambda *_: None)
    borrowing = sa.create_engine(
        "postgresql+psycopg://",
        creator=lambda: connection,
        poolclass=sa.StaticPool,
        pool_reset_on_return=None,  # it is theirs, and may be closed by then
        _initialize=False,
    )
    borrowing.dialect = dialect
    return borrowing.connect()
