"""What the machine is told, one entry for each thing that happens; and a verb to say each of them.

An entry is a plain tuple (a named one costs more than the rest of a turn):

    (what, operation index, kind of call, attempt, generation, value)

    STARTED        a call is about to be made; `Execution.ready` lists these, which are called
                   *intents*. The value of one that is still to be waited for is the seconds
    SUCCEEDED      it returned value
    UNSTORED       it returned value[0], which the journal can't keep; value[1] says why
    FAILED         it raised value, and is not called again
    LATER          it has only begun something, whose answer comes later; value is an `Awaited`
    ANSWERED       from elsewhere: the call took effect, with the result value
    DENIED         from elsewhere: it did not, for the reason value
    RETRY          it ended with a `Setback`, and is called again
    IN_DOUBT       nobody knows what came of the action; value is a `Setback`
    HAPPENED       asked: the action took effect, with the result value
    NOT_HAPPENED   asked: it did not
    UNKNOWN        asked: nobody knows; value is what the question raised, if it did
    ABORT          the run is to stop, for the reason value
    RECOVERED      a process took over after a crash; value is the operations whose keys are too
                   old to be used again
    LOST           one call's process died, and others live; value tells whether its key is too old
    RESOLVED       a person decided: value is (status, result)
    AGAIN          a person said: once more; value tells whether under a new key

ABORT and RECOVERED speak of the run: their operation is -1. What is not told of a call has no kind,
attempt and generation.

Two are written as literals where they are made, since they are made for each operation of a saga
in memory: the first intents (in `execution`) and the success of a call (in `executors.attempt`).
All others are made by the verbs below. Whoever reads an entry unpacks it, or asks a reader.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias

from py_api_saga.status import Status

Kind: TypeAlias = Literal["action", "compensation", "ask", ""]  # of a call; "" of none
Word: TypeAlias = (
    'Literal["started", "succeeded", "unstored", "failed", "later", "answered", "denied", "retry", '
    '"in doubt", "happened", "not happened", "unknown", "abort", "recovered", "lost", "resolved", '
    '"again"]'
)
Entry: TypeAlias = tuple[Word, int, Kind, int, int, Any]
Attempt: TypeAlias = tuple[int, Kind, int, int]  # operation, kind, attempt, generation

# The kinds of calls, and the words for what is told.
ACTION: Final = "action"
COMPENSATION: Final = "compensation"
ASK: Final = "ask"
STARTED: Final = "started"
SUCCEEDED: Final = "succeeded"
UNSTORED: Final = "unstored"
FAILED: Final = "failed"
LATER: Final = "later"
ANSWERED: Final = "answered"
DENIED: Final = "denied"
RETRY: Final = "retry"
IN_DOUBT: Final = "in doubt"
HAPPENED: Final = "happened"
NOT_HAPPENED: Final = "not happened"
UNKNOWN: Final = "unknown"
ABORT: Final = "abort"
RECOVERED: Final = "recovered"
LOST: Final = "lost"
RESOLVED: Final = "resolved"
AGAIN: Final = "again"

KINDS: Final[tuple[Kind, ...]] = (ACTION, COMPENSATION, ASK)
WORDS: Final[tuple[Word, ...]] = (
    STARTED, SUCCEEDED, UNSTORED, FAILED, LATER, ANSWERED, DENIED, RETRY, IN_DOUBT, HAPPENED,
    NOT_HAPPENED, UNKNOWN, ABORT, RECOVERED, LOST, RESOLVED, AGAIN,
)  # fmt: skip


class Setback:
    """How an attempt ended that is not the end of its call: the value of RETRY and IN_DOUBT.

    Attributes:
        error: What was raised.
        wait: Seconds until the next attempt; None if there is none.
        alive: The attempt was abandoned and may still land.
        interrupted: By what ends the run, which may be gone on with elsewhere. A compensation
            counts as not made then.
    """

    __slots__ = ("alive", "error", "interrupted", "wait")

    def __init__(
        self,
        error: BaseException,
        wait: float | None = None,
        *,
        alive: bool = False,
        interrupted: bool = False,
    ) -> None:
        """Take what was raised, and what it means."""
        self.error, self.wait = error, wait
        self.alive, self.interrupted = alive, interrupted


class Awaited:
    """What a call waits for that has only begun something: the value of LATER.

    Attributes:
        due: When the answer is too late, seconds since 1970 by the clock of the journal; None for
            never.
        is_timer: It then succeeds by itself.
        result: With this, if it does.
    """

    __slots__ = ("due", "is_timer", "result")

    def __init__(self, due: float | None, *, is_timer: bool = False, result: object = None) -> None:
        """Wait until then."""
        self.due, self.is_timer, self.result = due, is_timer, result


# --- what came of a call: of its intent ----------------------------------------------------------


def started(i: int, kind: Kind, attempt: int, generation: int, wait: float | None = None) -> Entry:
    """Intend a call, which may have to wait for so many seconds yet."""
    return (STARTED, i, kind, attempt, generation, wait)


def succeeded(intent: Entry, value: object) -> Entry:
    """Say that a call returned a value."""
    _, i, kind, attempt, generation, _ = intent
    return (SUCCEEDED, i, kind, attempt, generation, value)


def unstored(intent: Entry, value: object, error: BaseException) -> Entry:
    """Say that a call returned what the journal can't keep, and why it can't."""
    _, i, kind, attempt, generation, _ = intent
    return (UNSTORED, i, kind, attempt, generation, (value, error))


def failed(intent: Entry, error: BaseException) -> Entry:
    """Say that a call raised an error and is not made again."""
    _, i, kind, attempt, generation, _ = intent
    return (FAILED, i, kind, attempt, generation, error)


def later(intent: Entry, awaited: Awaited) -> Entry:
    """Say that a call has only begun something, and what it waits for."""
    _, i, kind, attempt, generation, _ = intent
    return (LATER, i, kind, attempt, generation, awaited)


def answered(call: Attempt, result: object) -> Entry:
    """Say from elsewhere that a call took effect, with a result."""
    return (ANSWERED, *call, result)


def denied(call: Attempt, error: BaseException) -> Entry:
    """Say from elsewhere that a call took no effect, and why."""
    return (DENIED, *call, error)


def retry(intent: Entry, error: BaseException, wait: float, *, interrupted: bool = False) -> Entry:
    """Say that a call raised an error, and is made again after so many seconds."""
    _, i, kind, attempt, generation, _ = intent
    setback = Setback(error, wait, interrupted=interrupted)
    return (RETRY, i, kind, attempt, generation, setback)


def in_doubt(
    intent: Entry,
    error: BaseException,
    wait: float | None = None,
    *,
    alive: bool = False,
    interrupted: bool = False,
) -> Entry:
    """Say that nobody knows what came of a call, with what a `Setback` takes."""
    _, i, kind, attempt, generation, _ = intent
    setback = Setback(error, wait, alive=alive, interrupted=interrupted)
    return (IN_DOUBT, i, kind, attempt, generation, setback)


def happened(intent: Entry, result: object) -> Entry:
    """Answer that the action took effect, with a result."""
    _, i, kind, attempt, generation, _ = intent
    return (HAPPENED, i, kind, attempt, generation, result)


def not_happened(intent: Entry) -> Entry:
    """Answer that the action took no effect."""
    _, i, kind, attempt, generation, _ = intent
    return (NOT_HAPPENED, i, kind, attempt, generation, None)


def unknown(intent: Entry, error: BaseException | None = None) -> Entry:
    """Answer that nobody knows, perhaps since the question raised an error."""
    _, i, kind, attempt, generation, _ = intent
    return (UNKNOWN, i, kind, attempt, generation, error)


def not_made(intent: Entry, interrupt: BaseException) -> Entry:
    """Say of a call that an interrupt came before it: an undo is made now, an action never."""
    kind = kind_of(intent)
    if kind == COMPENSATION:
        return retry(intent, interrupt, 0.0)
    return failed(intent, interrupt) if kind == ACTION else unknown(intent, interrupt)


def interrupted(intent: Entry, interrupt: BaseException) -> Entry:
    """Say of a call that was interrupted that nobody knows what came of it.

    A compensation counts as not made: it is one that may be made again.
    """
    kind = kind_of(intent)
    if kind == ACTION:
        return in_doubt(intent, interrupt, interrupted=True)
    if kind == COMPENSATION:
        return retry(intent, interrupt, 0.0, interrupted=True)
    return unknown(intent, interrupt)


# --- what befell the run, and what a person decided -----------------------------------------------


def abort(reason: BaseException) -> Entry:
    """Say that the run is to stop."""
    return (ABORT, -1, "", 0, 0, reason)


def recovered(too_old: Iterable[int] = ()) -> Entry:
    """Say that a process took over; the keys of these operations are too old to be used again."""
    return (RECOVERED, -1, "", 0, 0, frozenset(too_old))


def lost(call: Attempt, *, too_old: bool = False) -> Entry:
    """Say of one call that its process died; whether its key is too old to be used again."""
    return (LOST, *call, too_old)


def resolved(i: int, status: Status, result: object) -> Entry:
    """Say that a person knows what came of a stuck operation."""
    return (RESOLVED, i, "", 0, 0, (status, result))


def again(i: int, *, new_key: bool = False) -> Entry:
    """Say that a person wants a stuck operation to be called once more."""
    return (AGAIN, i, "", 0, 0, new_key)


# --- reading --------------------------------------------------------------------------------------


def what_of(entry: Entry) -> Word:
    """Give the word for what is told."""
    return entry[0]


def index_of(entry: Entry) -> int:
    """Give the operation that an entry speaks of; -1 if that is the run."""
    return entry[1]


def kind_of(entry: Entry) -> Kind:
    """Give the kind of the call that an entry speaks of."""
    return entry[2]


def attempt_of(entry: Entry) -> Attempt:
    """Tell which attempt of which call an entry speaks of; that of its intent is the same."""
    return entry[1:5]


def value_of(entry: Entry) -> Any:
    """Give the value, which is as the table says."""
    return entry[5]


# --- what is told of a call to a run with a journal, and never to the machine ---------------------

_UNREADY: Final = "unready"  # so it is none of its words


def unready(intent: Entry, lacking: BaseException) -> Entry:
    """Say that this process lacks something for a call, which another one may have."""
    _, i, kind, attempt, generation, _ = intent
    word: Any = _UNREADY
    return (word, i, kind, attempt, generation, lacking)


def is_unready(entry: Entry) -> bool:
    """Tell whether an entry says that this process lacks something for a call."""
    word: str = entry[0]
    return word == _UNREADY
