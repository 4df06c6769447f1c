"""What an execution tells its observers, and the log as the first of them."""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from py_api_saga.interrupts import is_limit
from py_api_saga.log import DEBUG, ERROR, INFO, WARNING, complain, logger
from py_api_saga.status import SagaStatus
from py_api_saga.wording import in_line

EventKind: TypeAlias = Literal[
    "saga started",
    "saga resumed",
    "operation started",
    "attempt failed",
    "succeeded",
    "failed",
    "in doubt",
    "compensating",
    "compensated",
    "stuck",
    "landed late",
    "waiting",
    "answered",
    "let go",
    "saga ended",
]

_LEVELS: dict[EventKind, int] = {
    "saga started": INFO,
    "saga resumed": INFO,
    "operation started": DEBUG,
    "attempt failed": INFO,
    "succeeded": DEBUG,
    "failed": INFO,  # raised to the caller, who decides how bad it is
    "in doubt": WARNING,
    "compensating": INFO,
    "compensated": INFO,
    "stuck": ERROR,
    "landed late": WARNING,
    "waiting": INFO,
    "answered": INFO,
    "let go": WARNING,
    "saga ended": INFO,
}


class Event(NamedTuple):
    """Something that happened in a run. Never holds arguments or results.

    Attributes:
        kind: What happened.
        saga_id: The id of the run.
        saga_name: The name of the saga, if it has one.
        operation: The name of the operation; None for the saga as a whole.
        attempt: The number of the attempt, from 1, where there is one.
        error: What was raised, with "attempt failed", "failed", "in doubt", "stuck" and "let go";
            with "answered" what the answer is, if it is that the call failed.
        wait: Seconds until the next attempt, with "attempt failed".
        outcome: How it ended, with "saga ended".
        direction: Which call of the operation it is about, as `CurrentOperation.direction` has it:
            "action", "compensation" or "ask". Of the saga as a whole: "action" while it goes
            forward, "compensation" once it is undone.
    """

    kind: EventKind
    saga_id: str
    saga_name: str | None = None
    operation: str | None = None
    attempt: int | None = None
    error: BaseException | None = None
    wait: float | None = None
    outcome: SagaStatus | None = None
    direction: Literal["action", "compensation", "ask"] = "action"


def log(event: Event, /) -> None:
    """Write an event to the log `py_api_saga`: ids, names and types of errors."""
    level = _LEVELS[event.kind]
    if not logger().isEnabledFor(level):
        return
    text, values = "saga %s", [event.saga_id]
    if event.saga_name is not None:
        text, values = "saga %s (%s)", [in_line(event.saga_name), event.saga_id]
    if event.operation is not None:
        text += ": operation %s"
        values.append(in_line(event.operation))
    text += ": %s"
    values.append(event.kind if event.outcome is None else event.outcome.name)
    if event.error is not None:
        text += " (%s)"
        values.append(type(event.error).__name__)
    try:
        logger().log(level, text, *values)
    except Exception as error:  # of what the user has added to it
        if is_limit(error):
            raise
        complain("the log raised on %r", event.kind, error=error)


def emit(event: Event, observers: tuple[Callable[[Event], object], ...]) -> None:
    """Tell the log and the observers; what one of them raises is logged, but no time limit."""
    log(event)
    for observer in observers:
        try:
            observer(event)
        except Exception as error:  # of the user's
            if is_limit(error):
                raise
            complain("an observer raised on %r", event.kind, error=error)
