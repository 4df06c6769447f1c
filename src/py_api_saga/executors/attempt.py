"""One attempt of one call: make it, and say what came of it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from types import FunctionType
from typing import TYPE_CHECKING

from py_api_saga import chance, clock
from py_api_saga.calls import Picking
from py_api_saga.current import CurrentOperation, current
from py_api_saga.entries import (
    ACTION,
    ASK,
    COMPENSATION,
    FAILED,
    IN_DOUBT,
    RETRY,
    SUCCEEDED,
    Entry,
    attempt_of,
    failed,
    happened,
    in_doubt,
    index_of,
    interrupted,
    kind_of,
    not_happened,
    not_made,
    retry,
    unknown,
    unready,
    value_of,
    what_of,
)
from py_api_saga.error_details import traceback_of
from py_api_saga.exceptions import LaterError, LeavingError, SagaError
from py_api_saga.executors.around import Surrounded
from py_api_saga.executors.calling import NEVER_AWAITABLE, filled, not_awaited
from py_api_saga.executors.inbox import GLANCE
from py_api_saga.executors.meaning import meaning
from py_api_saga.executors.passage import AT_THE_DOOR, CALLING, ENTERING, HELD, Passage, is_beside
from py_api_saga.executors.run import is_defect, unnoticed
from py_api_saga.executors.running import Running, at_home
from py_api_saga.executors.threads import soon, start
from py_api_saga.interrupts import is_interrupt, is_limit
from py_api_saga.log import complain
from py_api_saga.operation import NOT_HAPPENED, PLAIN, UNKNOWN, Happened, Later, Operation, call_of

if TYPE_CHECKING:
    from py_api_saga.executors.running import AskedRun


def attempt(  # noqa: C901, PLR0912 - a function more is paid for by each call
    run: AskedRun, intent: Entry, until: float | None = None
) -> Entry:
    """Make a call in this thread and say what came of it.

    Args:
        run: The run.
        intent: The call.
        until: When its time will be up, on the monotonic clock. Without it a call whose time is
            limited is made in a thread of its own, and this one waits for it.
    """
    _, i, kind, number, generation, _ = intent
    operation = run.operations[i]
    if kind == ACTION:
        call = operation.action
    elif kind == COMPENSATION and operation.compensation is not None:
        call = operation.compensation
    else:
        call = call_of(operation, kind)
    function, args, keywords, needs, _ = call
    if operation.policy is not PLAIN:
        if until is None and operation.policy.timeout is not None:
            return _attempt_within(operation.policy.timeout, run, intent)
        note_start(run, operation, i, kind)
    current.set((running, run, intent, until))
    problem: BaseException
    try:
        if needs:
            if type(needs) is Picking:  # as `filled`, in fewer steps
                args = needs.pick(run.definition.values)
            else:
                args, keywords = filled(run, operation, i, call)
    except BaseException as error:  # noqa: BLE001 - what results are made of may raise anything
        problem, called = error, None
    else:
        called = function
        try:  # nothing but the call, so that what strikes after it is not taken for its error
            value = function(*args, **keywords) if keywords else function(*args)
        except BaseException as error:  # noqa: BLE001 - the user's code may raise anything
            problem = error
        else:
            returned = type(value)
            if returned in NEVER_AWAITABLE or not hasattr(returned, "__await__"):
                if kind == ASK:
                    return read_answer(intent, value)
                return (SUCCEEDED, i, kind, number, generation, value)
            if returned is Later:  # which pretends to be awaitable: see there
                return begun(run, intent, value)
            problem, called = not_awaited(run, i, kind, value), None
    try:
        return judged(run, intent, problem, called)  # out here only what the caller handles is
    finally:
        del problem  # it knows this frame, and must not be known by it


def clocked(run: AskedRun, intent: Entry, until: float | None = None) -> Entry:
    """Like `attempt`, in a run that keeps time: note when the call begins, and when it has ended.

    One that gets a thread of its own comes here once more, in that.
    """
    if until is None and run.operations[index_of(intent)].policy.timeout is not None:
        return attempt(run, intent)
    began = run.begins()
    entry = attempt(run, intent, until)
    run.ended(intent, began)
    return entry


def attempting(run: AskedRun) -> Callable[..., Entry]:
    """Give what makes the calls of a run: what keeps no time costs nothing where nobody asks."""
    return clocked if run.keeps_time else attempt


def running(run: AskedRun, intent: Entry, until: float | None) -> CurrentOperation:
    """Give the operation that is running, as the code that it calls sees it."""
    return Running(run, intent, until)


def read_answer(intent: Entry, answer: object) -> Entry:
    """Say what an `on_doubt` function has answered; anything else than an answer is UNKNOWN."""
    if isinstance(answer, Happened):
        return happened(intent, answer.result)
    if answer is NOT_HAPPENED:
        return not_happened(intent)
    if answer is not UNKNOWN:
        complain(
            "an on_doubt function must return happened(result), NOT_HAPPENED or UNKNOWN, got %s",
            type(answer).__name__,
        )
    return unknown(intent)


def begun(run: AskedRun, intent: Entry, later: Later) -> Entry:
    """Say of a call that it has only begun something, or what it means that it can't."""
    if kind_of(intent) == ASK:
        return read_answer(intent, later)
    try:
        return run.begun(intent, later)
    except LaterError as error:
        problem = error
    return meant(run, intent, problem)  # out here, as in `attempt`


def note_start(run: AskedRun, operation: Operation, i: int, kind: str) -> None:
    """Note when the first attempt began, if the policy counts from there."""
    policy = operation.policy
    rule = policy.retry if kind == ACTION else policy.compensation_retry
    if rule is not None and rule.timeout is not None:
        run.since_first(i, kind, clock.monotonic())


_CALLERS = frozenset({"attempt", "aattempt"})  # of the user's functions


def struck_beside(error: BaseException, function: object) -> bool:
    """Tell whether an error came from outside, as a call of a function began or had just ended."""
    frames = traceback_of(error)
    if frames is None or frames.tb_frame.f_code.co_name not in _CALLERS:
        return False  # one error, raised in several threads
    if type(function) is FunctionType:
        inner = frames.tb_next  # as in most cases that of the function: see `is_beside`
        return (inner is None or inner.tb_frame.f_code is not function.__code__) and is_beside(
            error, frames, function
        )
    # It has noted what it was told, and nothing of this. Compiled ones have odd frames.
    return type(function) is Surrounded and not issubclass(type(error), AT_THE_DOOR)


def judged(run: AskedRun, intent: Entry, error: BaseException, function: object = None) -> Entry:
    """Say what an error means that a call has raised, or what it is made of.

    Raises:
        BaseException: The error, which came from outside, beside the call of this function.
    """
    passage = run.passages and run.passage_of(intent)  # few runs have any
    if passage:
        return judged_by(passage, run, intent, error)
    if struck_beside(error, function):
        raise error
    if isinstance(error, Exception) and not is_limit(error):
        return meant(run, intent, error)
    return interrupted(intent, error)


def judged_by(passage: Passage, run: AskedRun, intent: Entry, error: BaseException) -> Entry:
    """Say what an error means that has come from around a call, or out of it.

    Raises:
        BaseException: The error, which came from outside, between two lines of ours.
    """
    if passage.moment == HELD and isinstance(error, SagaError):
        return not_made(intent, error)
    if passage.struck and isinstance(error, Exception):  # pragma: no cover - as above
        assert run.passages is not None  # noqa: S101 - it was among them
        run.passages[intent] = passage  # for `Run.fate_of`
        raise error
    moment = passage.moment
    if not isinstance(error, Exception) or is_limit(error):
        is_before = moment in (ENTERING, HELD) and kind_of(intent) != COMPENSATION
        return not_made(intent, error) if is_before else interrupted(intent, error)
    if moment == CALLING:
        return meant(run, intent, error)
    if (lacking := run.lacks(error)) is not None:
        return unready(intent, lacking)
    return (
        not_entered(run, intent, error)
        if moment == ENTERING
        else _left(run, intent, passage, error)
    )


def not_entered(run: AskedRun, intent: Entry, error: Exception) -> Entry:
    """Say of a call that was not made since entering what is around it failed: without doubt."""
    entry = meant(run, intent, error, is_doubtful=True)  # another attempt is all that is asked
    if what_of(entry) != IN_DOUBT:
        return entry
    setback = value_of(entry)
    if setback.interrupted:
        return not_made(intent, setback.error)
    return failed(intent, error) if setback.wait is None else retry(intent, error, setback.wait)


def _left(run: AskedRun, intent: Entry, passage: Passage, error: Exception) -> Entry:
    """Say of a call that has succeeded that this may not stand."""
    entry = meant(run, intent, error, is_doubtful=True)
    i, kind, _, _ = attempt_of(intent)
    leaving = LeavingError(
        f"the {kind} of operation {run.name_of(i)!r} had succeeded, but {passage.left}, which is "
        f"around it, raised {type(error).__name__} as it was left"
    )
    leaving.__cause__ = error
    what, value = what_of(entry), value_of(entry)
    if what == FAILED:
        return failed(intent, leaving)
    if what in (IN_DOUBT, RETRY) and not value.interrupted:
        told = in_doubt if what == IN_DOUBT else retry
        return told(intent, leaving, value.wait)
    return entry


def meant(run: AskedRun, intent: Entry, error: Exception, *, is_doubtful: bool = False) -> Entry:
    """Say what an error means, once all is known that this depends on: see `meaning`.

    Not to be called where the error is handled: what is handled here is the caller's affair.

    Args:
        run: The run.
        intent: The call.
        error: What it raised.
        is_doubtful: Whether it is in doubt, whatever the type of the error.
    """
    _, i, kind, number, _, _ = intent
    if not is_doubtful and (lacking := run.lacks(error)) is not None:
        return unready(intent, lacking)
    policy = run.operations[i].policy
    elapsed, drawn, handled = 0.0, 0.0, sys.exception()
    noted = is_doubtful or (run.notes is not None and run.has_noted(intent))
    if kind == ASK:
        complain("an on_doubt function raised", error=error)
    elif policy is not PLAIN:
        rule = policy.retry if kind == ACTION else policy.compensation_retry
        if rule is not None:
            drawn = chance.fraction()
            if rule.timeout is not None:
                elapsed = run.since_first(i, kind, clock.monotonic())
        try:
            policy = policy.with_answers(kind, error, number, handled, noted=noted)
        except BaseException as interrupt:  # noqa: BLE001 - it struck a function of the user's
            return interrupted(intent, interrupt)
    return meaning(policy, intent, error, elapsed, drawn, handled, noted)


def overdue(run: AskedRun, i: int, kind: str, timeout: float) -> TimeoutError:
    """The time of an attempt is up."""
    return TimeoutError(f"the {kind} of operation {run.name_of(i)!r} took over {timeout:g} s")


class _Handover:
    """The result of a call in a thread of its own, until whoever waits for it gives up."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.entry: Entry | None = None
        self._lock = threading.Lock()
        self._abandoned = False

    def wait(self, until: float) -> None:
        """Wait for the result until then, on the monotonic clock, and give up."""
        while not self.done.is_set():
            began = clock.monotonic()
            left = until - began
            if not self.done.wait(pause := min(left, GLANCE)):
                if left <= 0 and self.abandon():
                    return
                until -= unnoticed(began, pause)

    def put(self, entry: Entry) -> bool:
        """Hand the result over, or say that nobody waits any more."""
        with self._lock:
            if self._abandoned:
                return False
            self.entry = entry
        self.done.set()
        return True

    def abandon(self) -> bool:
        """Give up, unless the result has come."""
        with self._lock:
            self._abandoned = self.entry is None
            return self._abandoned


def _attempt_within(timeout: float, run: AskedRun, intent: Entry) -> Entry:
    """Make a call in a daemon thread of its own and wait for it; a straggler tells the run.

    If no thread is to be had, not even shortly, it is made in this one, and outlasts its time.
    """
    i = index_of(intent)
    until = clock.monotonic() + timeout
    handover = _Handover()
    run.open_inbox()

    permit = threading.Lock()

    def body() -> None:
        if permit.acquire(blocking=False):
            entry = attempt_safely(run, intent, until)
            if not handover.put(entry):
                run.land(entry)

    def begin() -> bool:
        name, target = f"saga {run.name_of(i)}", copy_context().run
        return start(threading.Thread(target=target, args=(body,), name=name, daemon=True))

    try:
        return _wait_within(run, intent, begin, permit, handover, until) or _given_up(
            run, intent, timeout
        )
    except BaseException:
        handover.abandon()  # whoever takes the call in will take it for alive
        raise


def _given_up(run: AskedRun, intent: Entry, timeout: float) -> Entry:
    """Say of a call whose time is up that nobody knows what came of it."""
    _, i, kind, _, _, _ = intent
    late = overdue(run, i, kind, timeout)
    if kind not in (ACTION, COMPENSATION):
        return meant(run, intent, late)
    return in_doubt(intent, late, alive=True)


def _wait_within(
    run: AskedRun,
    intent: Entry,
    begin: Callable[[], bool],
    permit: threading.Lock,
    handover: _Handover,
    until: float,
) -> Entry | None:
    """Start a thread and wait for what it tells; None if its time is up."""
    interrupt: BaseException | None = None
    is_begun = True
    try:
        is_begun = soon(begin)
    except BaseException as error:  # noqa: BLE001 - raised again when all is undone
        if permit.acquire(blocking=False):  # the thread has not begun it
            return _not_begun(run, intent, error)
        interrupt = error
    if not is_begun:
        at_home.set(run)
        return attempt_safely(run, intent, until)
    while True:
        try:
            handover.wait(until)
            break
        except BaseException as error:  # noqa: BLE001 - raised again when all is undone
            # A compensation has its time: who gave it up would leave it to another process, which
            # makes it beside this one.
            if interrupt is not None:
                run.stop(interrupt)
                if kind_of(intent) != COMPENSATION and handover.abandon():
                    break
            interrupt = error
    if interrupt is not None:
        run.stop(interrupt)
    return handover.entry


def _not_begun(run: AskedRun, intent: Entry, error: BaseException) -> Entry:
    """Say that a call was not made, since something has struck before its thread was started."""
    run.check_goes(error)
    run.stop(error)
    return not_made(intent, error)


def attempt_safely(run: AskedRun, intent: Entry, until: float | None = None) -> Entry:
    """Attempt a call, and say what came of it whatever is raised: else nobody would hear of it."""
    try:
        return attempting(run)(run, intent, until)
    except BaseException as error:  # noqa: BLE001 - of this library's own code
        complain("an attempt ended without a result", error=error)
        kind = kind_of(intent)
        if is_interrupt(error) or is_defect(error) or kind == ASK:
            return interrupted(intent, error)
        # No signal strikes a thread of ours: it is a fault of what it calls, which would stay.
        return in_doubt(intent, error) if kind == ACTION else failed(intent, error)
