"""The database that DBOS keeps its workflows in, as far as more is asked of it than DBOS offers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import sqlalchemy as sa
from dbos import DBOSPortableJSONSerializer

from py_api_saga.engines.dbos_loop import REST, WORKFLOW, News
from py_api_saga.exceptions import JournalError, SagaDefinitionError

# JSON, on both sides: what is unpickled is code that runs.
SERIALIZER = DBOSPortableJSONSerializer()
OPEN = ("ENQUEUED", "PENDING", "DELAYED")
# The attribute of a workflow that was given back: what the worker lacked, and of which steps it is
# known that they were not begun.
LEFT = "saga.left"
FAR = 253_402_300_799_000  # milliseconds since 1970, the end of the year 9999: nothing is due

_TABLES = """
SELECT to_regclass('dbos.workflow_status') IS NOT NULL
    AND to_regclass('dbos.workflow_input') IS NOT NULL
    AND to_regclass('dbos.workflow_output') IS NOT NULL
    AND to_regclass('dbos.operation_outputs') IS NOT NULL
    AND to_regclass('dbos.notifications') IS NOT NULL
"""
_SEEN = """
SELECT w.workflow_uuid, w.status, w.created_at, w.serialization, w.attributes,
    i.inputs, o.output
FROM dbos.workflow_status w
LEFT JOIN dbos.workflow_input i USING (workflow_uuid)
LEFT JOIN dbos.workflow_output o USING (workflow_uuid)
WHERE w.name = :name
"""
_ONE = f"{_SEEN} AND w.workflow_uuid = :workflow"
_PAGE = f"""
{_SEEN} AND starts_with(w.workflow_uuid, :prefix)
    AND w.created_at > :after AND w.created_at < :before
    AND (w.created_at, w.workflow_uuid) < (:last, :last_id)
ORDER BY w.created_at DESC, w.workflow_uuid DESC
LIMIT :limit
"""
_STEPS = """
SELECT function_id, serialization, output, error
FROM dbos.operation_outputs
WHERE workflow_uuid = :workflow
"""
_RESTING = """
SELECT w.workflow_uuid, w.status, w.serialization, coalesce(o.output, r.output), o.error
FROM dbos.workflow_status w
LEFT JOIN dbos.workflow_output o USING (workflow_uuid)
LEFT JOIN LATERAL (
    SELECT output FROM dbos.operation_outputs s
    WHERE s.workflow_uuid = w.workflow_uuid AND s.function_name = :rest
    ORDER BY function_id DESC LIMIT 1
) r ON w.status IN ('ENQUEUED', 'PENDING', 'DELAYED')
WHERE w.workflow_uuid = ANY(:workflows)
    AND (w.status NOT IN ('ENQUEUED', 'PENDING', 'DELAYED') OR r.output IS NOT NULL)
"""
_NEWS = """
SELECT destination_uuid, message_uuid, message
FROM dbos.notifications
WHERE destination_uuid = ANY(:workflows) AND topic = :topic AND NOT consumed
ORDER BY created_at_epoch_ms, message_uuid
"""
_HEARD = """
UPDATE dbos.notifications SET consumed = true WHERE message_uuid = ANY(:messages)
"""
_LOCK = "SELECT status FROM dbos.workflow_status WHERE workflow_uuid = :workflow FOR UPDATE"
_POST = """
INSERT INTO dbos.notifications (destination_uuid, topic, message, message_uuid, serialization)
VALUES (:workflow, :topic, :message, :key, :serialization)
ON CONFLICT DO NOTHING
"""
_WAKE = """
UPDATE dbos.workflow_status SET status = 'ENQUEUED', delay_until_epoch_ms = NULL
WHERE workflow_uuid = :workflow AND status = 'DELAYED'
"""
_IS_MINE = """
SELECT EXISTS (
    SELECT FROM dbos.workflow_status
    WHERE workflow_uuid = :workflow AND status = 'PENDING' AND executor_id = :executor
)
"""
_TAKEN = "SELECT recovery_attempts FROM dbos.workflow_status WHERE workflow_uuid = :workflow"
_GIVE_BACK = """
UPDATE dbos.workflow_status
SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL,
    attributes = CASE jsonb_typeof(attributes) WHEN 'object' THEN attributes ELSE '{}' END
        || CAST(:attributes AS jsonb),  -- of a workflow that has none DBOS keeps JSON's null
    -- Behind all others, which would wait for ever if none of these had a worker.
    priority = CASE WHEN CAST(:lacks AS text) <> '' THEN 1 ELSE priority END
WHERE workflow_uuid = :workflow AND status = 'PENDING' AND executor_id = :executor
"""
_LEFT = """
WITH before AS (
    SELECT attributes -> :key AS given FROM dbos.workflow_status
    WHERE workflow_uuid = :workflow AND status = 'PENDING' AND executor_id = :executor
    FOR UPDATE
), forgotten AS (
    UPDATE dbos.workflow_status SET attributes = attributes - :key
    FROM before
    WHERE workflow_uuid = :workflow AND given IS NOT NULL
)
SELECT given FROM before
"""
_GIVE_ALL_BACK = """
UPDATE dbos.workflow_status
SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL
WHERE name = :name AND status = 'PENDING' AND executor_id = :executor
"""
_GIVE_ORPHANS_BACK = """
UPDATE dbos.workflow_status
SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL
WHERE name = :name AND status = 'PENDING' AND executor_id = :executor
    AND workflow_uuid <> ALL(:driven)
    AND started_at_epoch_ms < extract(epoch FROM clock_timestamp()) * 1000 - :patience
"""
_HOLD = """
SELECT 1 FROM dbos.workflow_status
WHERE workflow_uuid = :workflow AND status = 'PENDING' AND executor_id = :executor
FOR UPDATE
"""
_SUSPEND = """
UPDATE dbos.workflow_status
SET status = 'DELAYED', owner_xid = NULL, started_at_epoch_ms = NULL, delay_until_epoch_ms = :until
WHERE workflow_uuid = :workflow AND status = 'PENDING' AND executor_id = :executor
    AND NOT EXISTS (
        SELECT FROM dbos.notifications
        WHERE destination_uuid = :workflow AND topic = :topic AND NOT consumed
            AND message_uuid <> ALL(:heard)
    )
"""


class Seen(NamedTuple):
    """A workflow, as its row tells.

    Attributes:
        workflow: Its id.
        created: When it was begun, milliseconds since 1970.
        is_open: It has not ended.
        given: What it began with: rows, and when that was, seconds since 1970.
        result: The rows that it has ended with; None while it is open, and if DBOS has ended it.
        left: What a worker lacked that has given it back, and which steps it has not begun; or
            None.
    """

    workflow: str
    created: int
    is_open: bool
    given: list[Any]
    result: Any
    left: tuple[str, list[int]] | None


def engine_of(url: str, size: int) -> sa.Engine:
    """Make what connects to a database; it is not reached yet.

    Args:
        url: Where it is, as DBOS takes it.
        size: How many connections there are at most.

    Raises:
        SagaDefinitionError: It is not a URL, or not of PostgreSQL.
    """
    try:
        read = sa.make_url(url)
    except sa.exc.ArgumentError:
        message = "DBOS: expected a URL, postgresql://user@host/database, got something else"
        raise SagaDefinitionError(message) from None
    if read.get_backend_name() not in ("postgresql", "postgres"):
        message = f"DBOS: expected a PostgreSQL (postgresql://…), got {read.get_backend_name()}"
        raise SagaDefinitionError(message)
    return sa.create_engine(
        read.set(drivername="postgresql+psycopg"),
        pool_size=size,
        max_overflow=0,
        pool_pre_ping=True,
        # As a default it may be another one, under which what was just posted is not seen.
        isolation_level="READ COMMITTED",
        connect_args={
            "application_name": "py-api-saga",
            "connect_timeout": 10,
            # Else a connection whose other end is gone is waited for, for two hours.
            "keepalives_idle": 20,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,  # milliseconds
        },
    )


class Server:
    """A database of DBOS's.

    What is asked of it raises `JournalError` if it can't be reached or does not answer.

    Attributes:
        engine: What connects to it.
        place: Where it is, without a password.
    """

    def __init__(self, engine: sa.Engine, within: Any = None) -> None:
        """Take what connects to it, which is not reached yet, or a transaction to ask it in."""
        self.engine, self._within = engine, within
        url = engine.url
        port = f":{url.port}" if url.port else ""
        user = f"{url.username}@" if url.username else ""
        self.place = f"postgresql://{user}{url.host or ''}{port}/{url.database or ''}"

    @property
    def url(self) -> str:
        """Where it is, with the password: never to be shown."""
        return self.engine.url.render_as_string(hide_password=False)

    @contextmanager
    def asked(self) -> Iterator[sa.Connection]:
        """Give a connection for one transaction.

        Raises:
            JournalError: It can't be reached, or does not answer as expected.
        """
        try:
            if self._within is not None:
                yield self._within
                return
            with self.engine.begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            raise self.cannot(error) from error

    def cannot(self, error: BaseException) -> JournalError:
        """Say that what was asked could not be answered."""
        cause = getattr(error, "orig", None) or error
        return JournalError(f"DBOS on {self.place}: {str(cause).strip() or type(cause).__name__}")

    def _ask(self, query: str, **values: Any) -> Sequence[Any]:
        with self.asked() as connection:
            return connection.execute(sa.text(query), values).all()

    def check(self) -> None:
        """See that it is there, and fit for sagas.

        Raises:
            SagaDefinitionError: It is not fit; says what is wrong, and the cure.
            JournalError: It can't be reached.
        """
        with self.asked() as connection:
            is_there = connection.execute(sa.text(_TABLES)).scalar()
            commits = connection.execute(sa.text("SHOW synchronous_commit")).scalar()
        if not is_there:
            message = (
                f"DBOS on {self.place}: expected its tables, as DBOS 3.4 or newer makes them, in "
                "the schema dbos; found none, or older ones: run `dbos migrate --sys-db-url URL`"
            )
            raise SagaDefinitionError(message)
        if commits == "off":
            message = (
                f"DBOS on {self.place}: synchronous_commit is off, so a saga may vanish in a crash "
                "of the server while what it has done stands; set it: ALTER DATABASE … SET "
                "synchronous_commit = on, for the role as well if that has one of its own"
            )
            raise SagaDefinitionError(message)

    def look(self, workflow: str) -> Seen | None:
        """Give a workflow; None if there is none."""
        found = self._ask(_ONE, name=WORKFLOW, workflow=workflow)
        return self._seen(found[0]) if found else None

    def page(
        self, prefix: str, after: float | None, before: float | None, last: Seen | None, limit: int
    ) -> list[Seen]:
        """Give workflows, newest first, those after the last one that was given."""
        found = self._ask(
            _PAGE,
            name=WORKFLOW,
            prefix=prefix,
            after=0 if after is None else int(after * 1000),
            before=FAR if before is None else int(before * 1000),
            last=FAR if last is None else last.created,
            last_id="" if last is None else last.workflow,
            limit=limit,
        )
        return [self._seen(row) for row in found]

    def _seen(self, row: Any) -> Seen:
        workflow, status, created, serialization, attributes, inputs, output = row
        is_open = status in OPEN
        return Seen(
            workflow,
            created,
            is_open,
            self._read(workflow, serialization, inputs)["positionalArgs"],
            None if output is None else self._read(workflow, serialization, output),
            (attributes or {}).get(LEFT),
        )

    def _read(self, workflow: str, serialization: str, text: str) -> Any:
        """Read what is on record.

        Raises:
            JournalError: It is not JSON.
        """
        if serialization != SERIALIZER.name():
            message = (
                f"DBOS on {self.place}: expected workflow {workflow!r} to be kept as "
                f"{SERIALIZER.name()}, found {serialization}: whatever runs {WORKFLOW} needs "
                "DBOSConfig(serializer=DBOSPortableJSONSerializer()), as `saga worker` has; what "
                "is pickled is never read, since that would run it"
            )
            raise JournalError(message)
        return json.loads(text)

    def _result(
        self, workflow: str, status: str, serialization: str, output: str | None, error: str | None
    ) -> Any:
        """Give the rows that a workflow has ended with.

        Raises:
            JournalError: It has not ended by itself.
        """
        if status == "SUCCESS" and output is not None:
            return self._read(workflow, serialization, output)
        why = error or "somebody has cancelled it in DBOS, which undoes nothing"
        message = (
            f"DBOS on {self.place}: workflow {workflow!r} is {status}, which no saga ends as: "
            f"{why[:300]}; `dbos workflow resume {workflow}` has it go on"
        )
        raise JournalError(message)

    def steps(self, workflow: str) -> dict[int, Any]:
        """Give what is on record of the steps of a workflow, by their numbers."""
        return {
            number: self._read(workflow, serialization, output)
            for number, serialization, output, error in self._ask(_STEPS, workflow=workflow)
            if error is None
        }

    def resting(self, workflows: Sequence[str]) -> dict[str, Any]:
        """Give the rows of those that are at rest, by their ids; an error for what has failed."""
        found: dict[str, Any] = {}
        for workflow, status, serialization, output, error in self._ask(
            _RESTING, workflows=list(workflows), rest=REST
        ):
            try:
                is_open = status in OPEN
                found[workflow] = self._result(
                    workflow, "SUCCESS" if is_open else status, serialization, output, error
                )
            except JournalError as failed:
                found[workflow] = failed
        return found

    # --- news -------------------------------------------------------------------------------------

    def post(self, workflow: str, lines: Sequence[str], key: str) -> bool:
        """Leave lines for a workflow, once for each key; false if it has ended."""
        with self.asked() as connection:
            status = connection.execute(sa.text(_LOCK), {"workflow": workflow}).scalar()
            if status not in OPEN:
                return False
            values = {
                "workflow": workflow,
                "topic": WORKFLOW,
                "message": json.dumps(list(lines)),
                "key": message_id(key, workflow),
                "serialization": SERIALIZER.name(),
            }
            connection.execute(sa.text(_POST), values)
            connection.execute(sa.text(_WAKE), {"workflow": workflow})
        return True

    def news(self, workflows: Sequence[str]) -> dict[str, News]:
        """Give what was posted to workflows and is not known to have been heard."""
        found: dict[str, News] = {}
        for workflow, message, lines in self._ask(_NEWS, workflows=list(workflows), topic=WORKFLOW):
            key = message.removesuffix(f"::{workflow}")
            found.setdefault(workflow, []).append((key, json.loads(lines)))
        return found

    def heard(self, messages: Sequence[str]) -> None:
        """Note that these have been heard, and that this is on record."""
        with self.asked() as connection:
            connection.execute(sa.text(_HEARD), {"messages": list(messages)})

    # --- who runs a workflow ----------------------------------------------------------------------

    def is_mine(self, workflow: str, executor: str) -> bool:
        """Tell whether a workflow is still run by this executor."""
        return bool(self._ask(_IS_MINE, workflow=workflow, executor=executor)[0][0])

    def taken(self, workflow: str) -> int:
        """Tell how often a workflow was taken from its queue."""
        return int(self._ask(_TAKEN, workflow=workflow)[0][0])

    def give_back(self, workflow: str, executor: str, lacks: str, steps: Sequence[int]) -> None:
        """Put a workflow back into its queue, if it is this executor's; others are fenced off.

        Args:
            workflow: Its id.
            executor: Whose it is.
            lacks: What it did not have; may be empty.
            steps: Those without a record that were not begun.
        """
        values = {"workflow": workflow, "executor": executor}
        attributes = json.dumps({LEFT: [lacks, list(steps)]})
        with self.asked() as connection:
            said = {"attributes": attributes, "lacks": lacks}
            connection.execute(sa.text(_GIVE_BACK), values | said)

    def left(self, workflow: str, executor: str) -> Sequence[int]:
        """Give, once, which steps were not begun by whoever gave it back: now they may be."""
        found = self._ask(_LEFT, workflow=workflow, executor=executor, key=LEFT)
        return found[0][0][1] if found and found[0][0] else ()

    def give_all_back(self, executor: str) -> None:
        """Put whatever this executor has taken back into its queue."""
        with self.asked() as connection:
            values = {"name": WORKFLOW, "executor": executor}
            connection.execute(sa.text(_GIVE_ALL_BACK), values)

    def give_orphans_back(self, executor: str, driven: Sequence[str], patience: float) -> None:
        """Put back what this executor has taken long ago, and nobody drives."""
        values = {"name": WORKFLOW, "executor": executor, "driven": list(driven)}
        with self.asked() as connection:
            connection.execute(sa.text(_GIVE_ORPHANS_BACK), {**values, "patience": patience * 1000})

    def suspend(
        self, workflow: str, executor: str, until: float | None, heard: Sequence[str]
    ) -> bool | None:
        """Have a workflow wait in the database; None if it is another's, False if it has news.

        Args:
            workflow: Its id.
            executor: Whose it is.
            until: When it goes on by itself, seconds since 1970.
            heard: The keys of what it has heard.
        """
        due = FAR if until is None else int(until * 1000)
        values = {"workflow": workflow, "executor": executor}
        more = {"until": due, "topic": WORKFLOW, "heard": [message_id(k, workflow) for k in heard]}
        with self.asked() as connection:
            # Two statements: the second sees what was posted while the first waited for the row.
            if not connection.execute(sa.text(_HOLD), values).all():
                return None
            return connection.execute(sa.text(_SUSPEND), {**values, **more}).rowcount > 0


def message_id(key: str, workflow: str) -> str:
    """Give the id of a message, as DBOS makes it of an idempotency key."""
    return f"{key}::{workflow}"
