"""What Temporal replays: the workflow `saga.v1`, which has a course make the decisions.

Whatever is replayed is imported before a workflow begins, and reads no clock but the workflow's. A
change of which calls are ready, in which order, for the same entries is a new name: the histories
in `tests/golden/` say when that is so.

All payloads are JSON, and nothing in them is JSON within a text: quotes in it would be escaped, and
what is below the limits could double on the way. So a history can be read as it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from py_api_saga.engines.course import Asked, Course
    from py_api_saga.engines.rows import Rows
    from py_api_saga.entries import ABORT, LOST
    from py_api_saga.journal.format.json_text import dumps, loads

WORKFLOW = "saga.v1"
CALL = "saga.call"
# What a saga is told when Temporal cancels its workflow, for which its history may have the reason.
CANCELLED = dumps(
    [ABORT, -1, "", 0, 0, ["builtins.InterruptedError", "its workflow was cancelled in Temporal"]]
)
NOT_DEPLOYED = "NotDeployed"  # the type of the failure of a call that is for another worker
_META = {"encoding": b"json/plain"}

# Only what no worker has is tried again by Temporal: its attempts are not ours. That a call whose
# worker is gone is not made again is in no page of its docs; a test holds it.
_RETRIED = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=1.5,
    maximum_interval=timedelta(seconds=2),
    non_retryable_error_types=["TemporalTimeout:Heartbeat", "TemporalTimeout:StartToClose"],
)
_LONGEST = timedelta(days=3650)  # of a call: it ends by its own timeout, or by a missing heartbeat
# A completed workflow task is one message, which gRPC takes up to 4 MiB.
_AT_ONCE = 2 << 20
_SHORTEST = 0.001  # seconds of a timer; a shorter one is none


class Terms(NamedTuple):
    """What a workflow is told besides its rows, and tells who goes on.

    Attributes:
        lost_after: Seconds without a heartbeat after which a call counts as lost.
        events: Of a history, after which another one begins.
        heard: The keys of what it was told by signals.
    """

    lost_after: float
    events: int
    heard: tuple[str, ...] = ()

    def packed(self) -> RawValue:
        """Make a payload of it, which a person can read."""
        return packed(dumps(self._asdict()))


def told_terms(tree: Any) -> Terms:
    """Read terms."""
    return Terms(tree["lost_after"], tree["events"], tuple(tree["heard"]))


def packed(text: str) -> RawValue:
    """Make a payload of a JSON text."""
    return RawValue(Payload(metadata=_META, data=text.encode()))


def unpacked(value: RawValue) -> str:
    """Give the JSON text of a payload."""
    return value.payload.data.decode()


def packed_rows(rows: Rows) -> RawValue:
    """Make a payload of rows: `[[at, [line, …]], …]`."""
    return packed(text_of(rows))


def text_of(rows: Rows) -> str:
    """Write rows so that the lines in them are JSON themselves."""
    return "[" + ",".join([f"[{at!r},{body}]" for at, body in rows]) + "]"


def rows_of(tree: Any) -> Rows:
    """Read what `text_of` has written, parsed."""
    return [(at, dumps(lines)) for at, lines in tree]


def unpacked_rows(value: RawValue) -> Rows:
    """Give the rows that are in a payload."""
    return rows_of(loads(unpacked(value)))


@workflow.defn(name=WORKFLOW)
class SagaV1:
    """One saga, or what a person's decision makes of one: its course, and calls as activities.

    It never fails. What goes wrong is the course's, which parks the saga; and an error that is not
    foreseen fails a workflow task, which Temporal repeats until a worker that can do it comes.
    """

    def __init__(self) -> None:
        """Begin without a saga: `run` is given it, and what it can't do must not fail here."""
        self._heard: dict[str, None] = {}  # in order, as it is written down again
        self._news: deque[tuple[str, list[str]]] = deque()  # key, or empty; lines
        self._calls: set[asyncio.Task[None]] = set()
        self._wakes: float | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._has_rung = False
        self._rest: Rows | None = None  # while it is at rest
        self._leaves = False

    @workflow.signal
    def tell(self, news: RawValue) -> None:
        """Take lines from elsewhere: `[key, line, …]`, once for each key."""
        key, *lines = loads(unpacked(news))
        self._news.append((key, [*map(dumps, lines)]))

    @workflow.update
    async def rest(self) -> RawValue:
        """Give the rows once the saga is at rest; null if another run goes on before that."""
        await workflow.wait_condition(lambda: self._rest is not None or self._leaves)
        return packed("null") if self._rest is None else packed_rows(self._rest)

    @workflow.run
    async def run(self, rows: RawValue, terms: RawValue) -> RawValue:
        """Go on with the saga until nothing is left to do, and give its rows."""
        told = told_terms(loads(unpacked(terms)))
        self._heard.update(dict.fromkeys(told.heard))
        saga_id = workflow.info().workflow_id.partition("~")[0]
        course = Course(saga_id, unpacked_rows(rows), workflow.time())
        while True:
            self._hear(course)
            is_full = _is_full(course, told)
            if not is_full:
                await self._call_what_is_ready(course, told)
            elif not (self._calls or course.is_over):
                await self._leave()
                heard = told._replace(heard=tuple(self._heard))
                workflow.continue_as_new(args=[packed_rows(course.rows()), heard.packed()])
            self._rest = course.rows() if course.at_rest else None
            if course.is_over and not self._news:
                await self._leave()
                return packed_rows(course.rows())
            self._set_alarm(None if is_full else course.wakes())  # no call begins: only ends matter
            await self._wait()

    def _hear(self, course: Course) -> None:
        """Tell the course what has come, in order."""
        while self._news:
            key, lines = self._news.popleft()
            if key in self._heard:
                continue
            if key:
                self._heard[key] = None
            for line in lines:
                course.tell(line, workflow.time())

    async def _call_what_is_ready(self, course: Course, told: Terms) -> None:
        """Begin the calls that are ready, and no more of them at once than a message holds."""
        size = 0
        for asked in course.calls(workflow.time()):
            size += len(asked.text)
            if size > _AT_ONCE:
                await self._pause()
                size = len(asked.text)
            task = asyncio.create_task(self._call(asked, timedelta(seconds=told.lost_after)))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def _call(self, asked: Asked, lost_after: timedelta) -> None:
        """Have a worker make a call; what came of it is news."""
        try:
            line = unpacked(
                await workflow.execute_activity(
                    CALL,
                    packed(asked.text),
                    result_type=RawValue,
                    summary=f"{asked.name} {asked.kind}",
                    start_to_close_timeout=_LONGEST,
                    heartbeat_timeout=lost_after,
                    retry_policy=_RETRIED,
                )
            )
        except ActivityError:
            line = lost_line(asked.attempt)
        self._news.append(("", [line]))

    def _set_alarm(self, wakes: float | None) -> None:
        """Be woken when the course says; one timer serves as long as that stays the same."""
        if wakes == self._wakes:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._wakes, self._alarm = wakes, None
        if wakes is not None:
            wait = max(_SHORTEST, wakes - workflow.time())
            self._alarm = asyncio.get_running_loop().call_later(wait, self._ring)

    def _ring(self) -> None:
        self._wakes, self._alarm, self._has_rung = None, None, True

    async def _wait(self, *, for_news: bool = True) -> None:
        """Wait for news, or the alarm; that Temporal cancels the workflow is news."""
        try:
            await workflow.wait_condition(lambda: self._has_rung or (for_news and bool(self._news)))
        except asyncio.CancelledError:
            self._news.append(("", [CANCELLED]))
        self._has_rung = False

    async def _pause(self) -> None:
        """Let what was begun be sent."""
        asyncio.get_running_loop().call_later(_SHORTEST, self._ring)
        await self._wait(for_news=False)

    async def _leave(self) -> None:
        """Let those who wait for the rest have their answer before this run ends."""
        self._leaves = True
        if not workflow.all_handlers_finished():
            await workflow.wait_condition(workflow.all_handlers_finished)


def _is_full(course: Course, told: Terms) -> bool:
    """Whether no call is to begin, so that another history may; it waits for no straggler."""
    info = workflow.info()
    is_long = info.get_current_history_length() >= told.events
    return (is_long or info.is_continue_as_new_suggested()) and not course.stragglers


def lost_line(call: Sequence[Any]) -> str:
    """Say of a call that its worker is gone: operation, kind, attempt and generation."""
    return dumps([LOST, *call])
