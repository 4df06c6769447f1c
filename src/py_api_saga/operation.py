"""An operation as data: its calls, what to do when one goes wrong, and what a question answers."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from py_api_saga.calls import Call
from py_api_saga.clock import NEVER
from py_api_saga.entries import ACTION, COMPENSATION, Awaited
from py_api_saga.evidence import DOUBTFUL, DoubtfulErrors
from py_api_saga.exceptions import LaterError, SagaDefinitionError, seconds
from py_api_saga.interrupts import is_interrupt
from py_api_saga.log import complain
from py_api_saga.retry import Retry
from py_api_saga.status import MISSING

if TYPE_CHECKING:
    from datetime import datetime

# --- asking what came of a call in doubt -----------------------------------------------------


class Happened(namedtuple("Happened", "result")):  # noqa: PYI024 - a typed one takes 0.2 ms more
    """The action took effect, and this was its result."""

    __slots__ = ()


def happened(result: object = None) -> Happened:
    """Answer, in an `on_doubt` function, that the action took effect, and with which result."""
    return Happened(result)


class _Answer:
    """One of two constant answers; pickles and copies are the constant itself."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name

    def __reduce__(self) -> str:
        return self._name


NOT_HAPPENED = _Answer("NOT_HAPPENED")
UNKNOWN = _Answer("UNKNOWN")
Answer: TypeAlias = Happened | _Answer
OnDoubt: TypeAlias = Literal["proceed", "park"] | Callable[..., Answer | Awaitable[Answer]]


# --- an answer that comes later ------------------------------------------------------------------


class Later(namedtuple("Later", "timeout until result")):  # noqa: PYI024 - as above
    """The call has only begun something; its answer comes later, from elsewhere: see `later`.

    Attributes:
        timeout: Seconds from now until the answer is too late; None for never.
        until: When it succeeds by itself, seconds since 1970, or None if it has a timeout.
        result: With this.
    """

    __slots__ = ()
    # What would have to be awaited is looked at by itself already, so that this costs nothing to
    # calls which return anything else; a test of its own would cost each of them 15 ns.
    __await__ = None


@overload
def later(*, timeout: float | None) -> Later: ...
@overload
def later(*, until: float | datetime, result: object = None) -> Later: ...
def later(
    *,
    timeout: Any = MISSING,
    until: Any = None,
    result: object = None,
) -> Later:
    """Say, as what an action or a compensation returns, that it has only begun something.

    A saga with a journal then waits there, without a thread and without a process, until somebody
    gives the answer (`answer`) or its time has come. What else is ready goes on meanwhile. The
    operation's own `timeout=` limits only how long it takes to begin.

    Args:
        timeout: Seconds from now after which the answer is too late; None for never, which is to
            be said aloud. An action is then asked about, if it has `on_doubt=`, and else undone; a
            compensation is stuck.
        until: Instead: when the call succeeds by itself, seconds since 1970 or a datetime with a
            time zone. An answer may come sooner.
        result: What it returns then.

    Raises:
        LaterError: It has both, or neither; the seconds are negative, or no number; the datetime
            has no time zone. The call has begun something by then: an action is in doubt.
    """
    if (timeout is MISSING) == (until is None):
        got = "neither" if until is None else "both"
        message = f"later: expected either timeout= or until=, got {got}"
        raise LaterError(message)
    if until is None:
        try:
            return Later(seconds(timeout, "later: timeout"), None, result)
        except SagaDefinitionError as error:
            raise LaterError(str(error)) from None
    at: Any = until
    if hasattr(at, "utcoffset"):  # a datetime, whose module takes 1 ms to import
        if at.utcoffset() is None:
            message = "later: until: expected a time with a time zone, got one without"
            raise LaterError(message)
        at = at.timestamp()
    if type(at) is bool or not isinstance(at, int | float) or not 0 <= at <= NEVER:
        expected = "later: until: expected seconds since 1970 or a datetime with a time zone"
        message = f"{expected}, got {type(until).__name__}"
        raise LaterError(message)
    return Later(None, float(at), result)


def awaiting(later: Later, now: Callable[[], float]) -> Awaited:
    """Give what a call waits for that has begun something, by this clock."""
    if later.until is not None:
        return Awaited(later.until, is_timer=True, result=later.result)
    return Awaited(None if later.timeout is None else now() + later.timeout)


# --- operations --------------------------------------------------------------------------------


class Policy:
    """What to do when an operation goes wrong; most operations share one.

    Attributes:
        retry, compensation_retry: When to call again, or None.
        timeout: Seconds for each attempt, or None.
        pivot: It is the pivot.
        doubtful: The errors that leave open what came of it.
        park: On doubt, leave it to a person.
        ask: On doubt, ask this, or None.
    """

    def __init__(
        self,
        retry: Retry | None = None,
        compensation_retry: Retry | None = None,
        timeout: float | None = None,
        pivot: bool = False,  # noqa: FBT001, FBT002 - as it is given to an operation
        doubtful: DoubtfulErrors = DOUBTFUL,
        park: bool = False,  # noqa: FBT001, FBT002
        ask: Call | None = None,
    ) -> None:
        """By default do nothing."""
        self.retry, self.compensation_retry, self.timeout = retry, compensation_retry, timeout
        self.pivot, self.doubtful, self.park, self.ask = pivot, doubtful, park, ask

    def falling_back_on(self, other: Policy) -> Policy:
        """Copy it, with another one's retries where it has none."""
        policy = self._copied()
        policy.retry = self.retry or other.retry
        policy.compensation_retry = self.compensation_retry or other.compensation_retry
        return policy

    def asking(self, ask: Call | None) -> Policy:
        """Copy it, with another question."""
        policy = self._copied()
        policy.ask = ask
        return policy

    def _copied(self) -> Policy:
        policy = Policy.__new__(Policy)
        policy.__dict__.update(self.__dict__)
        return policy

    def with_answers(
        self,
        kind: str,
        error: Exception,
        attempt: int,
        handled: BaseException | None,
        *,
        noted: bool,
    ) -> Policy:
        """Give what decides the same of this error, and asks no function of the user's.

        Whoever has made a call asks these: what the error means (`executors.meaning`) is then
        decided anywhere.

        Args:
            kind: Of the call.
            error: What it raised.
            attempt: The number of the attempt, from 1.
            handled: What its caller was handling, which is none of the call's.
            noted: Whether doubt is certain without asking.

        Raises:
            BaseException: An interrupt that has struck the function in a `Retry`. One that fails
                means that there is no further attempt, and is logged.
        """
        policy = self._copied()
        if kind != ACTION:
            policy.compensation_retry = _retry_with_answers(self.compensation_retry, error, attempt)
            return policy
        policy.retry = _retry_with_answers(self.retry, error, attempt)
        if not noted:
            policy.doubtful = self.doubtful.with_answers(error, handled)
        return policy


def _retry_with_answers(rule: Retry | None, error: Exception, attempt: int) -> Retry | None:
    try:
        return None if rule is None else rule.with_answers(error, attempt)
    except BaseException as raised:
        if is_interrupt(raised):
            raise
        complain("the function in Retry(on=...) raised: no further attempt", error=raised)
        return None


PLAIN = Policy()  # of an operation for which nothing was asked


class Operation:
    """One local transaction of a saga: its action and, optionally, what undoes it.

    Whoever makes one sets all its attributes: a constructor in Python costs as much as reading a
    call. `Operation.of` is one for those who make few.

    Attributes:
        label: What exceptions call it: its name or, as the predecessor did, the function's.
        action: What it does.
        compensation: What undoes it, or None.
        after: The operations it was declared to come after.
        policy: What to do when it goes wrong.
        scope: "packing.": the child saga in which its placeholders name operations.
    """

    __slots__ = ("action", "after", "compensation", "label", "policy", "scope")

    label: str
    action: Call
    compensation: Call | None
    after: tuple[int, ...]
    policy: Policy
    scope: str

    @classmethod
    def of(
        cls,
        label: str,
        action: Call,
        compensation: Call | None,
        after: tuple[int, ...],
        policy: Policy,
        scope: str,
    ) -> Operation:
        """Make one."""
        operation = cls()
        operation.label, operation.action, operation.compensation = label, action, compensation
        operation.after, operation.policy, operation.scope = after, policy, scope
        return operation

    def __reduce__(self) -> tuple[Any, ...]:  # what slots lack for the old pickle protocols
        values = (self.label, self.action, self.compensation, self.after)
        return Operation.of, (*values, self.policy, self.scope)


def call_of(operation: Operation, kind: str) -> Call:
    """Give the call that a kind names; it is there, or the machine would not have listed it."""
    if kind == ACTION:
        return operation.action
    call = operation.compensation if kind == COMPENSATION else operation.policy.ask
    assert call is not None  # noqa: S101
    return call
