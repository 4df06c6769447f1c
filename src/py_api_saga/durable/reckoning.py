"""What follows from what is on record of a run, and from the time: whoever asks tells what it is.

No clock is read here, nothing is written, and nobody is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from py_api_saga.clock import NEVER
from py_api_saga.entries import (
    ACTION,
    ANSWERED,
    ASK,
    COMPENSATION,
    DENIED,
    STARTED,
    Attempt,
    Awaited,
    Entry,
    attempt_of,
    in_doubt,
    succeeded,
    value_of,
)
from py_api_saga.execution import Execution
from py_api_saga.status import SagaStatus

# When each key was used first, seconds since 1970: by operation, kind of call and generation.
FirstIntents: TypeAlias = dict[tuple[int, str, int], float]


def may_time_out(execution: Execution) -> bool:
    """Tell whether a deadline still says something to a run: it goes forward, and has not ended."""
    return execution.saga is SagaStatus.RUNNING and not execution.at_rest


# --- answers from elsewhere ----------------------------------------------------------------------


def calls_by_key(
    entries: Iterable[Entry], key: Callable[[int, str, int], str]
) -> dict[str, Attempt]:
    """Give the last attempt under each key of an action or a compensation."""
    calls: dict[str, Attempt] = {}
    for entry in entries:
        what, i, kind, attempt, generation, _ = entry
        if what == STARTED and kind != ASK:
            calls[key(i, kind, generation)] = (i, kind, attempt, generation)
    return calls


def is_running(execution: Execution, call: Attempt) -> bool:
    """Tell whether a call runs, or it is just being asked what came of it."""
    i, kind, _, _ = call
    return execution.runs(i, kind)


def is_waited_for(execution: Execution, call: Attempt) -> bool:
    """Tell whether an answer to a call would be taken in."""
    i, kind, _, generation = call
    return execution.awaits(i, kind, generation) or execution.expects(i, kind, generation)


def is_answered(entries: Iterable[Entry], call: Attempt) -> bool:
    """Tell whether an answer under the key of a call is on record."""
    i, kind, _, generation = call
    key = (i, kind, generation)
    return any(
        what in (ANSWERED, DENIED) and (j, of, other) == key for what, j, of, _, other, _ in entries
    )


def due_of(later: Entry) -> float:
    """Give until when an answer is awaited, seconds since 1970; NEVER if for ever."""
    awaited: Awaited = value_of(later)
    return NEVER if awaited.due is None else awaited.due


def overdue(execution: Execution, now: float) -> list[Entry]:
    """List what has waited long enough for an answer."""
    return [later for later in execution.awaited.values() if due_of(later) <= now]


def unanswered(later: Entry, name: str) -> Entry:
    """Say of a call whose answer has not come in time what that means: a timer has succeeded."""
    awaited: Awaited = value_of(later)
    if awaited.is_timer:
        return succeeded(later, awaited.result)
    _, kind, _, _ = attempt_of(later)
    return in_doubt(
        later, TimeoutError(f"the {kind} of operation {name!r} was not answered in time")
    )


# --- keys that services may have forgotten --------------------------------------------------------


def first_intents(entries: Iterable[Entry], times: Iterable[float]) -> FirstIntents:
    """Give when each key was used first, of entries and when each was made durable."""
    first: FirstIntents = {}
    for (what, i, kind, _, generation, _), at in zip(entries, times, strict=True):
        if what == STARTED:
            first.setdefault((i, kind, generation), at)
    return first


def is_too_old(execution: Execution, first: FirstIntents, i: int, latest: float) -> bool:
    """Tell whether the key under which an operation would be called again is from before that."""
    kind = COMPENSATION if execution.rolling else ACTION
    return first.get((i, kind, execution.generation(i, kind)), latest) < latest


def too_old(execution: Execution, first: FirstIntents, latest: float) -> frozenset[int]:
    """Collect the operations of which that is so."""
    every = range(len(execution.status))
    return frozenset([i for i in every if is_too_old(execution, first, i, latest)])
