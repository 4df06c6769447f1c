"""Where a saga stands, as the history of its workflow tells: no worker is asked.

A course is led through what its workflow was told, task by task, so it comes to the same. It is the
same code: what differs is that nothing has to be called.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from temporalio.api.enums.v1 import EventType

from py_api_saga.engines.course import Course, NewerFormatError
from py_api_saga.engines.rows import LETTER, Rows
from py_api_saga.engines.standing import saga_id_of
from py_api_saga.engines.temporal_workflow import (
    CANCELLED,
    Terms,
    lost_line,
    rows_of,
    told_terms,
)
from py_api_saga.journal.format.json_text import dumps, loads

_FAILED = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED: "activity_task_failed_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: "activity_task_timed_out_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED: "activity_task_canceled_event_attributes",
}


class History:
    """A run of a workflow, as its events tell of it."""

    def __init__(self, workflow: str, events: Iterable[Any]) -> None:
        """Lead a course through them; if no worker has taken it up yet there is none."""
        self._course: Course | None = None
        self._saga_id = saga_id_of(workflow)
        self._rows: Rows = []
        self._terms = Terms(0, 0)
        self._heard: set[str] = set()
        self._begun: dict[int, str] = {}  # what is told of a call if it is lost, by its event
        self._signals: list[str] = []
        self._told = 0.0  # when the last of them came
        self._ends: list[str] = []
        self._has_rung = False  # a timer
        self._task: Any = None  # the event of the workflow task that is on
        for event in events:
            self._take(event)

    @property
    def at_rest(self) -> bool:
        """Whether nothing is left to call or to wait for, but what was given up."""
        return self._course is not None and self._course.at_rest

    def rows(self) -> Rows:
        """Give the saga as far as it has come."""
        rows = self._rows if self._course is None else self._course.rows()
        posted = [line for line in self._signals if line.startswith(f'["{LETTER}"')]
        return [*rows, (self._told, f"[{','.join(posted)}]")] if posted else rows

    def _take(self, event: Any) -> None:
        """Take in an event."""
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                given = event.workflow_execution_started_event_attributes.input.payloads
                self._rows = rows_of(loads(_text(given[0])))
                self._terms = told_terms(loads(_text(given[1])))
                self._heard = {*self._terms.heard}
            case EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED:
                self._task = event
            case EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                self._go_on()
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                errand = event.activity_task_scheduled_event_attributes.input.payloads[0]
                self._begun[event.event_id] = lost_line(loads(_text(errand))["intent"])
            case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                done = event.activity_task_completed_event_attributes
                self._ends.append(_text(done.result.payloads[0]))
            case EventType.EVENT_TYPE_TIMER_FIRED:
                self._has_rung = True
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
                self._hear(event.workflow_execution_signaled_event_attributes.input.payloads[0])
                self._told = event.event_time.ToNanoseconds() / 1e9
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
                self._ends.append(CANCELLED)
            case kind if kind in _FAILED:
                self._ends.append(self._begun[getattr(event, _FAILED[kind]).scheduled_event_id])

    def _hear(self, news: Any) -> None:
        key, *lines = loads(_text(news))
        if key not in self._heard:
            self._heard.add(key)
            self._signals += map(dumps, lines)

    def _go_on(self) -> None:
        """Do what the workflow has done in a task: signals come before the ends of calls."""
        at = self._task.event_time.ToNanoseconds() / 1e9
        course, is_first = self._course, False
        if course is None:
            try:
                course, is_first = Course(self._saga_id, self._rows, at), True
            except NewerFormatError:  # whoever reads the rows says so
                return
            self._course = course
        task = self._task.workflow_task_started_event_attributes
        is_long = self._task.event_id >= self._terms.events or task.suggest_continue_as_new
        # A timer is heard with the ends of calls, and these are told before anything is called.
        for lines, is_woken in ((self._signals, is_first), (self._ends, self._has_rung)):
            for line in lines:
                course.tell(line, at)
            if (lines or is_woken) and (not is_long or course.stragglers):
                course.calls(at)
            lines.clear()
        self._has_rung = False


def _text(payload: Any) -> str:
    return str(payload.data.decode())
