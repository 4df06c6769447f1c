"""What spans and metrics are called, and what they say: all of it, in one place.

OpenTelemetry has no conventions for sagas yet. When it has some, they come here, and nowhere else.
Nothing that a user gives or gets is among this: no argument, no result, no text of an error.
"""

from __future__ import annotations

from typing import Final

from py_api_saga.entries import ACTION, ASK, COMPENSATION

SCOPE: Final = "py_api_saga"  # of all that is made here

# --- spans ----------------------------------------------------------------------------------------

RUN: Final = "saga"  # its span is called so, and by the name of the saga if that has one
CALLS: Final = {ACTION: "{}", COMPENSATION: "undo {}", ASK: "ask {}"}  # by kind, of an operation

# --- attributes -----------------------------------------------------------------------------------

SAGA_ID: Final = "saga.id"
SAGA_NAME: Final = "saga.name"
OUTCOME: Final = "saga.outcome"  # completed, compensated, stuck, `OPEN` or `WAITING`
RECOVERED: Final = "saga.recovered"  # whether the run goes on with calls of another process

OPERATION: Final = "saga.operation.name"
KIND: Final = "saga.operation.kind"  # action, compensation, ask
ATTEMPT: Final = "saga.operation.attempt"  # from 1
CALL_OUTCOME: Final = "saga.operation.outcome"  # the word that a journal has for it, or `LET_GO`

ERROR_TYPE: Final = "error.type"  # of OpenTelemetry: the class
LINK: Final = "saga.link"  # of a link: `BEGUN` or `RECOVERING`

OPEN: Final = "open"  # it has not ended, and another process goes on with it
WAITING: Final = "waiting"  # it has not ended: it waits for an answer, and nobody has to drive it
LET_GO: Final = "let go"  # the call has no answer: see "let go" among the events
BEGUN: Final = "begun"  # the link leads to where the saga was written down
RECOVERING: Final = "recovering"  # it leads to whoever recovers

# --- events of the span of a run ------------------------------------------------------------------

WAITED_FOR: Final = "saga.waiting"  # a call has only begun something, and its span has ended
ANSWERED: Final = "saga.answered"  # with `CALL_OUTCOME`: answered, denied

# --- metrics --------------------------------------------------------------------------------------

RUN_DURATION: Final = "saga.duration"
CALL_DURATION: Final = "saga.operation.duration"
ATTEMPTS: Final = "saga.attempts"
IN_DOUBTS: Final = "saga.in_doubt"
LATE_LANDINGS: Final = "saga.late_landings"
WAITS: Final = "saga.waits"
ANSWERS: Final = "saga.answers"

JOURNAL: Final = "saga.journal"  # an attribute of gauges: where it is
GAUGES: Final = {  # by their names in `story.gauges`
    "saga_stuck": "saga.stuck",
    "saga_open": "saga.open",
    "saga_open_age_seconds": "saga.open.age",
    "saga_waiting": "saga.waiting",
    "saga_waiting_age_seconds": "saga.waiting.age",
    "saga_overdue": "saga.overdue",
    "saga_tried": "saga.tried",
    "saga_recovery_tries": "saga.recovery.tries",
}

# In seconds: those that OpenTelemetry advises for requests, and on to a day.
BUCKETS: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(30.0, 60.0, 300.0, 3600.0, 86400.0),
)


def sound(name: str) -> str:
    """Give a name as valid Unicode: exporters drop all spans of a batch for one that is not."""
    return name if name.isascii() else name.encode(errors="replace").decode()
