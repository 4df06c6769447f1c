"""Temporal as an engine: sagas are workflows of one type, `saga.v1`, and calls are activities.

How a saga stands is read from the history of its workflow, so that no worker need be there.
"""

from __future__ import annotations

try:
    import temporalio  # noqa: F401 - before all that needs it
except ImportError as error:
    message = f"Temporal as an engine needs its SDK: pip install 'py-api-saga[temporal]' ({error})"
    raise ImportError(message) from error

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from string import ascii_letters, digits
from typing import Any, ClassVar, TypeVar

from temporalio.client import (
    Client,
    RPCError,
    WorkflowExecution,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import RawValue, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCStatusCode, TLSConfig

from py_api_saga import clock
from py_api_saga.engines.engine import Engine
from py_api_saga.engines.errand import Workshop
from py_api_saga.engines.rows import Rows
from py_api_saga.engines.standing import Standing, number_of, saga_id_of, workflow_id
from py_api_saga.engines.temporal_history import History
from py_api_saga.engines.temporal_server import ANSWER, Question, Server, first_line
from py_api_saga.engines.temporal_worker import TemporalWorker
from py_api_saga.engines.temporal_workflow import (
    NOT_DEPLOYED,
    WORKFLOW,
    Terms,
    packed,
    packed_rows,
    rows_of,
    unpacked,
    unpacked_rows,
)
from py_api_saga.engines.worker import QUEUE, Work
from py_api_saga.exceptions import JournalError, SagaConflict, SagaDefinitionError, seconds
from py_api_saga.journal.format.json_text import dumps, loads
from py_api_saga.journal.protocol import Codec

T = TypeVar("T")

_PLAIN = frozenset(f"{ascii_letters}{digits}_.-~")  # what ids of workflows of sagas are made of
_LOST_AFTER = 30.0
_EVENTS = 10_000  # of a history, which Temporal ends at 51,200
_SHORTEST = 0.1  # seconds without a heartbeat that mean anything
# A workflow task is begun anew by another worker after this, if the one that has it is gone.
_TASK = timedelta(seconds=5)
_GLANCE = 1.0  # seconds to wait for the end alone; to ask for the rest as well costs more
_PAUSE = 0.5  # seconds until what could not be answered is asked again


class TemporalEngine(Engine):
    """Temporal, for sagas that its workers run: `saga worker --engine temporal`.

    An id is that of one saga as long as its workflow is there: the namespace's retention after its
    end. Then the same id is a new saga.

    Attributes:
        queue: The task queue that workers serve.
        terms: What each workflow is told that it begins.
    """

    kind: ClassVar[str] = "temporal"

    def __init__(
        self,
        target: str,
        *,
        modules: Iterable[str],
        aliases: Mapping[str, str] | None = None,
        codec: Codec | None = None,
        namespace: str = "default",
        queue: str = QUEUE,
        lost_after: float = _LOST_AFTER,
        tls: bool | TLSConfig | None = None,
        api_key: str | None = None,
    ) -> None:
        """Say where it is; nothing is connected yet.

        Args:
            target: Its address, HOST:PORT.
            modules: The modules where the functions and types of sagas are.
            aliases: What functions were called before, by what they are called now; as of a
                journal.
            codec: What values pass through on their way and back; as of a journal.
            namespace: Of Temporal.
            queue: The task queue that workers serve.
            lost_after: Seconds without a sign of life of its worker after which a call counts as
                lost, and the saga goes on with another worker. It is that of the sagas which are
                started, or gone on with, by this object.
            tls: Whether the connection is encrypted, or how; what is not said is Temporal's to
                choose.
            api_key: Of Temporal Cloud.

        Raises:
            SagaDefinitionError: One of them makes no sense.
        """
        super().__init__(modules, aliases, codec)
        where = type(self).__name__
        texts: dict[str, object] = {"target": target, "namespace": namespace, "queue": queue}
        for name, value in texts.items():
            if not (isinstance(value, str) and value):
                shown = "an empty text" if value == "" else type(value).__name__
                raise SagaDefinitionError(f"{where}: {name}: expected a text, got {shown}")
        if (
            "://" in target or "@" in target or ":" not in target
        ):  # it may hold a password: it is not shown
            message = f"{where}: expected the address of the server, HOST:PORT, got something else"
            raise SagaDefinitionError(message)
        if (seconds(lost_after, f"{where}: lost_after") or 0) < _SHORTEST:
            message = f"{where}: lost_after: expected at least {_SHORTEST} seconds"
            raise SagaDefinitionError(message)
        self._server = Server(target, namespace, tls=tls, api_key=api_key)
        self.queue, self.terms = queue, Terms(float(lost_after), _EVENTS)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.place})"

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return self._server.place

    def close(self) -> None:
        """Let go of the connection and the thread; it connects again when it is used."""
        self._server.close()

    def _ask(self, question: Question[T]) -> T:
        self._see_usable()
        return self._server.ask(question)

    # --- the primitives ---------------------------------------------------------------------------

    def check(self) -> None:
        """See that it is there, with the namespace.

        Raises:
            JournalError: Nobody answers, or there is no such namespace.
        """
        self._server.check()

    def worker(self, work: Work) -> TemporalWorker:
        """Give what drives sagas here and makes their calls, in this process."""
        workshop = Workshop(self.names, self.codec, work.around, work.observers, work.concurrency)
        return TemporalWorker(self._server, self.queue, workshop, work)

    def begin(self, workflow: str, rows: Rows) -> bool:
        """Begin a workflow; False if there is one with this id, or was within the retention.

        Raises:
            JournalError: It can't be reached.
        """

        async def start(client: Client) -> bool:
            # The first one may be beyond its retention while a successor is open.
            if number_of(workflow) == 1 and await _is_there(client, workflow_id(workflow, 2)):
                return False
            try:
                await client.start_workflow(
                    WORKFLOW,
                    args=[packed_rows(rows), self.terms.packed()],
                    id=workflow,
                    task_queue=self.queue,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                    task_timeout=_TASK,
                    rpc_timeout=ANSWER,
                )
            except WorkflowAlreadyStartedError:
                return False
            return True

        return self._ask(start)

    def given(self, workflow: str) -> Rows | None:
        """Give the rows that a workflow, or the run that is on, began with; None if there is none.

        Raises:
            SagaConflict: It is none of a saga.
            JournalError: It can't be reached.
        """

        async def first(client: Client) -> Rows | None:
            history = client.get_workflow_handle(workflow).fetch_history_events(
                page_size=1, rpc_timeout=ANSWER
            )
            try:
                event = await anext(history)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return None
                raise
            started = event.workflow_execution_started_event_attributes
            _see_type(workflow, started.workflow_type.name)
            given = await client.data_converter.decode(started.input.payloads, [RawValue, RawValue])
            return unpacked_rows(given[0])

        return self._ask(first)

    def await_rest(self, workflow: str, timeout: float | None) -> Rows | None:
        """Give the rows of a saga once it is at rest, a straggler or not; None if the time is up.

        Raises:
            JournalError: It can't be reached, or Temporal has ended the workflow.
        """
        return self._ask(lambda client: _awaited(client, workflow, timeout))

    async def aawait_rest(self, workflow: str, timeout: float | None) -> Rows | None:  # noqa: ASYNC109 - as its twin
        """Like `await_rest`, without blocking the loop."""
        self._see_usable()
        return await self._server.aask(lambda client: _awaited(client, workflow, timeout))

    def standing(self, workflow: str) -> Standing | None:
        """Tell how a workflow stands, as its history tells; None if there is none.

        Raises:
            SagaConflict: It is none of a saga.
            JournalError: The server can't be reached.
        """

        async def look(client: Client) -> Standing | None:
            handle = client.get_workflow_handle(workflow)
            try:
                described = await handle.describe(rpc_timeout=ANSWER)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return None
                raise
            lacks = [
                waiting.last_failure.message
                for waiting in described.raw_description.pending_activities
                if waiting.last_failure.application_failure_info.type == NOT_DEPLOYED
            ]
            return await self._standing(client, described, ", ".join(lacks))

        return self._ask(look)

    async def _standing(self, client: Client, seen: WorkflowExecution, lacks: str = "") -> Standing:
        _see_type(seen.id, seen.workflow_type)
        is_open = seen.status is WorkflowExecutionStatus.RUNNING
        if seen.status is WorkflowExecutionStatus.COMPLETED:
            return Standing(await _ended(client, seen.id), is_open, lacks)
        return Standing((await _history(client, seen.id)).rows(), is_open, lacks)

    def post(self, workflow: str, lines: Sequence[str], key: str) -> bool:
        """Send lines to a course, as a signal; False if the workflow has ended, or there is none.

        Raises:
            JournalError: It can't be reached.
        """
        news = packed(f"[{','.join([dumps(key), *lines])}]")

        async def tell(client: Client) -> bool:
            try:
                await client.get_workflow_handle(workflow).signal("tell", news, rpc_timeout=ANSWER)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return False
                raise
            return True

        return self._ask(tell)

    def workflows(
        self, *, prefix: str = "", before: float | None = None, after: float | None = None
    ) -> Iterator[tuple[str, Standing]]:
        """Give workflows of sagas with their ids, newest first; each is asked for as it is taken.

        Temporal lists a workflow some time after it has begun, about a second.

        Raises:
            JournalError: The server can't be reached.
        """
        wanted = [f"WorkflowType = '{WORKFLOW}'", "ExecutionStatus != 'ContinuedAsNew'"]
        if not _PLAIN.issuperset(prefix):
            return
        if prefix:
            wanted.append(f"WorkflowId STARTS_WITH '{prefix}'")
        if before is not None:
            wanted.append(f"StartTime < '{_moment(before)}'")
        if after is not None:
            wanted.append(f"StartTime > '{_moment(after)}'")

        async def look(client: Client) -> list[WorkflowExecution]:
            listed = client.list_workflows(" AND ".join(wanted), rpc_timeout=ANSWER)
            return [seen async for seen in listed]

        newest = sorted(self._ask(look), key=lambda seen: seen.start_time, reverse=True)
        for seen in newest:  # the order of the server's answer is that of the ends
            yield seen.id, self._ask(partial(self._standing, seen=seen))


# --- waiting --------------------------------------------------------------------------------------


async def _is_there(client: Client, workflow: str) -> bool:
    try:
        await client.get_workflow_handle(workflow).describe(rpc_timeout=ANSWER)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True


async def _awaited(client: Client, workflow: str, timeout: float | None) -> Rows | None:  # noqa: ASYNC109 - as of the engine
    """Wait for the rest of a saga: mostly that is its end, which costs nothing to wait for."""
    loop = asyncio.get_running_loop()
    until = None if timeout is None else clock.monotonic() + timeout
    end = loop.create_task(_ended(client, workflow))
    rest: asyncio.Task[Rows | None] | None = None
    try:
        await asyncio.wait({end}, timeout=_GLANCE if timeout is None else min(timeout, _GLANCE))
        while not end.done():
            left = None if until is None else until - clock.monotonic()
            if left is not None and left <= 0:
                return None
            rest = rest or loop.create_task(_rested(client, workflow))
            await asyncio.wait({end, rest}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if rest.done():
                rows, rest = rest.result(), None
                if rows is not None:
                    return rows
                await asyncio.wait({end}, timeout=_PAUSE)
        return end.result()
    finally:
        tasks = [task for task in (end, rest) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ended(client: Client, workflow: str) -> Rows:
    """Wait for the end of a workflow, and give its rows.

    Raises:
        JournalError: Temporal has ended it.
    """
    handle: WorkflowHandle[Any, RawValue] = client.get_workflow_handle(
        workflow, result_type=RawValue
    )
    try:
        return unpacked_rows(await handle.result())
    except WorkflowFailureError as error:
        saga_id = saga_id_of(workflow)
        message = (
            f"saga {saga_id!r}: Temporal has ended its workflow, which the saga has not: "
            f"{first_line(error.cause)}; what was done stands: saga why {saga_id}"
        )
        raise JournalError(message) from None


async def _rested(client: Client, workflow: str) -> Rows | None:
    """Wait for a saga to be at rest; None if that could not be awaited: look again.

    All who wait share an update: Temporal allows some at once, and 2,000 in a history. What it has
    answered is its answer for ever, so how much is on record when it is asked is in its id.
    """
    handle = client.get_workflow_handle(workflow)
    try:
        history = await _history(client, workflow)
        if history.at_rest:
            return history.rows()
        known = sum(len(body) for _, body in history.rows())
        answer: RawValue = await handle.execute_update(
            "rest", id=f"rest-{known}", result_type=RawValue
        )
    except (
        *(RPCError, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError),
    ):  # it has ended, say; whoever waits for the end hears what is wrong
        return None
    tree = loads(unpacked(answer))
    return None if tree is None else rows_of(tree)


async def _history(client: Client, workflow: str) -> History:
    """Read the history of a workflow's latest run."""
    handle = client.get_workflow_handle(workflow)
    return History(workflow, [it async for it in handle.fetch_history_events(rpc_timeout=ANSWER)])


# --- words ----------------------------------------------------------------------------------------


def _see_type(workflow: str, kind: str) -> None:
    """See that a workflow is one of a saga.

    Raises:
        SagaConflict: It is somebody else's.
    """
    if kind != WORKFLOW:
        message = f"saga_id {workflow!r} is that of another workflow, of the type {kind!r}"
        raise SagaConflict(message)


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
