"""The workflow of a saga on DBOS: one loop, whose steps are recorded, and replayed by number.

Nothing here knows DBOS. What runs in a worker is the loop with steps that are DBOS's; what reads
how a saga stands is the same loop with the steps that are on record, which ends where these do.

A step is numbered when it is begun, in the order of the loop, so the same entries must lead to the
same steps: a change of that order is another workflow, with a name of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from py_api_saga.engines.course import Asked, Course
from py_api_saga.engines.rows import Rows
from py_api_saga.entries import Attempt
from py_api_saga.exceptions import JournalError

WORKFLOW = "saga.v1"  # its name, and the version of the application that its workers are
# The names of its steps that are not calls; those that are have the names of their operations.
STRAGGLER, WAIT, BEGIN, REST = "saga:straggler", "saga:wait", "saga:begin", "saga:rest"

News: TypeAlias = list[tuple[str, list[str]]]  # what was posted: the key, and lines for the course


class Told(NamedTuple):
    """What is on record of a step.

    Attributes:
        at: When it ended, seconds since 1970.
        news: What was posted to the saga until then; some of it may have been told before.
        line: What came of a call, or of one that was given up; empty for other steps.
        done: Which of the steps that a wait was for have ended, by their places.
    """

    at: float
    news: News
    line: str = ""
    done: Sequence[int] = ()


Step = TypeVar("Step")


class Steps(Protocol[Step]):
    """What the loop does: each of these is a step with a number, drawn when it is called."""

    async def begin(self) -> Told:
        """Leave a trace before the first call."""

    def call(self, asked: Asked) -> Step:
        """Begin a call."""

    def straggler(self, attempt: Attempt) -> Step:
        """Begin to await the end of a call that was given up."""

    async def rest(self, rows: Rows) -> None:
        """Let it be known that the saga is at rest, though a straggler lives."""

    async def wait(self, running: Sequence[Step], until: float | None) -> Told:
        """Wait until a step has ended, something was posted, or it is that time."""

    async def told(self, step: Step) -> Told:
        """Await a step that was begun; no step of its own."""


async def drive(course: Course, steps: Steps[Step], now: float) -> Rows:
    """Drive a saga to its end.

    Args:
        course: Where it stands.
        steps: What does it, or has done it before.
        now: When it was handed over, seconds since 1970.

    Returns:
        All that is on record then.
    """
    return await _Loop(course, steps, now).run()


class _Loop(Generic[Step]):
    """One run of the loop."""

    def __init__(self, course: Course, steps: Steps[Step], now: float) -> None:
        self._course, self._steps, self._now = course, steps, now
        self._running: list[Step] = []
        self._heard: set[str] = set()  # keys of what was posted
        self._late: set[Attempt] = set()  # calls that were given up, whose end is awaited
        self._rested: Rows | None = None

    async def run(self) -> Rows:
        course, steps = self._course, self._steps
        if course.must_know:
            self._take(await steps.begin())
        while True:
            self._begin()
            if course.is_over:
                return course.rows()
            await self._rest()
            wakes, running = course.wakes(), self._running
            is_awaited = course.execution is not None and bool(course.execution.awaited)
            if len(running) == 1 and wakes is None and not is_awaited:
                self._take(await steps.told(running.pop()))
                continue
            waited = await steps.wait(running, wakes)
            ended = [running[place] for place in waited.done]
            self._running = [step for step in running if step not in ended]
            for step in ended:
                self._take(await steps.told(step))
            self._take(waited)

    def _begin(self) -> None:
        """Begin what is to be done: to await the calls that were given up, and calls."""
        for attempt in self._course.stragglers:
            if attempt not in self._late:
                self._late.add(attempt)
                self._running.append(self._steps.straggler(attempt))
        self._running += [self._steps.call(asked) for asked in self._course.calls(self._now)]

    async def _rest(self) -> None:
        """Let it be known that the saga is at rest, if it is and that is news."""
        if self._course.at_rest and (rows := self._course.rows()) != self._rested:
            await self._steps.rest(rows)
            self._rested = rows

    def _take(self, told: Told) -> None:
        """Take in what is on record of a step."""
        course = self._course
        self._now = now = max(self._now, told.at)
        if told.line:
            course.tell(told.line, now)
        for key, lines in told.news:
            if key not in self._heard:
                self._heard.add(key)
                for line in lines:
                    course.tell(line, now)


class _EndOfRecordError(Exception):
    """Nothing more is on record."""


class Recorded:
    """The steps that are on record of a workflow, by their numbers: the loop ends with the last.

    Attributes:
        names: What the steps were called that the loop has begun, by their numbers.
    """

    def __init__(self, outputs: Mapping[int, Any]) -> None:
        """Take what was recorded of each step that has ended."""
        self._outputs = outputs
        self.names: dict[int, str] = {}

    def _step(self, name: str) -> int:
        number = len(self.names) + 1
        self.names[number] = name
        return number

    def _told(self, number: int) -> Told:
        if number not in self._outputs:
            raise _EndOfRecordError
        return read_told(self._outputs[number])

    async def begin(self) -> Told:
        """See `Steps`."""
        return self._told(self._step(BEGIN))

    def call(self, asked: Asked) -> int:
        """See `Steps`."""
        return self._step(asked.name)

    def straggler(self, attempt: Attempt) -> int:  # noqa: ARG002 - it is known by its number
        """See `Steps`."""
        return self._step(STRAGGLER)

    async def rest(self, rows: Rows) -> None:  # noqa: ARG002 - they are the loop's
        """See `Steps`."""
        if self._step(REST) not in self._outputs:
            raise _EndOfRecordError

    async def wait(self, running: Sequence[int], until: float | None) -> Told:  # noqa: ARG002
        """See `Steps`."""
        return self._told(self._step(WAIT))

    async def told(self, step: int) -> Told:
        """See `Steps`."""
        return self._told(step)


def replayed(course: Course, recorded: Recorded, now: float) -> bool:
    """Tell a course what is on record of its workflow; false if that has not ended with it."""
    loop = drive(course, recorded, now)
    try:
        loop.send(None)
    except StopIteration:
        return True
    except _EndOfRecordError:
        return False
    raise AssertionError  # nothing on record is waited for


def write_told(told: Told) -> list[Any]:
    """Write down what came of a step, as JSON has it."""
    at, news, line, done = told
    return [at, news, line or list(done)] if line or done else [at, news]


def read_told(output: Any) -> Told:
    """Read what is on record of a step.

    Raises:
        JournalError: It is something else.
    """
    try:
        at, news, *more = output
        came = more[0] if more else ""
        line, done = (came, ()) if isinstance(came, str) else ("", came)
        return Told(at, [(key, lines) for key, lines in news], line, done)
    except (TypeError, ValueError) as error:
        message = f"what DBOS has on record of a step is not of {WORKFLOW}: {type(output).__name__}"
        raise JournalError(message) from error


def rows_of(tree: Any) -> Rows:
    """Give rows as they are on record, where JSON has made lists of them."""
    return [(at, body) for at, body in tree]
