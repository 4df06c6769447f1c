"""What a saga raises.

    SagaError
    ├── SagaException             the saga has ended without success: all undone, or
    │   ├── SagaStuck             … neither finished nor undone: a person must look
    │   └── SagaDefinitionError   … it was never run, since it can't be run as it is written
    ├── LeavingError              what an operation has ended with: see `around=`
    ├── SagaInProgress            somebody else drives it
    ├── SagaPending               it waits for answers
    ├── SagaConflict              its id belongs to another saga
    └── JournalError              its journal can't be read or written

What decides nothing about a saga is a `SagaError` and no `SagaException`: who catches the latter
to tell the customer that nothing was bought must not be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import FunctionType
from typing import Any, TypeVar

from py_api_saga.report import OperationReport, Report, portable
from py_api_saga.status import SagaStatus, Status
from py_api_saga.wording import as_text

T = TypeVar("T")

MAX_NAME = 64  # characters, so that saga, operation and kind fit a key of 255


def refused(where: str, expected: str, got: object) -> SagaDefinitionError:
    """A value is wrong; of what came only numbers, words and None are shown."""
    shown = type(got).__name__
    if got is None or type(got) in (bool, int, float):
        shown = repr(got)
    elif isinstance(got, str):
        shown = repr(got if len(got) <= MAX_NAME else got[:MAX_NAME] + "…")
    return SagaDefinitionError(f"{where}: expected {expected}, got {shown}")


def check_journal(journal: T, where: str) -> T:
    """Refuse what is not a journal: a path, say, or a class."""
    check_beginning(journal, where)
    if not hasattr(journal, "waiting"):
        expected = "the journal itself: in what its within() gives a saga can only be started"
        raise refused(f"{where}: journal", expected, journal)
    return journal


def check_beginning(journal: T, where: str) -> T:
    """Refuse what sagas can't even be started in; in a transaction of the user's they can."""
    if isinstance(journal, type) or not hasattr(journal, "awrite"):
        expected = 'a journal, such as SQLiteJournal("sagas.db")'
        raise refused(f"{where}: journal", expected, journal)
    return journal


def check_no_engine(journal: object, where: str) -> None:
    """Refuse an engine in the place of a journal: it runs its sagas, and recovers them, itself."""
    if hasattr(journal, "await_rest"):
        expected = "a journal (an engine is given as engine=, and `saga worker --engine` runs it)"
        raise refused(f"{where}: journal", expected, journal)


_SURROUNDING = "functions of a CurrentOperation that return a context manager"
_COROUTINE = 0x80  # a flag of code


def check_around(around: Sequence[T], where: str) -> tuple[T, ...]:
    """Refuse what can't be around a call, as far as one can know before it is called.

    Raises:
        SagaDefinitionError: It is not a list or tuple of functions, or one is to be awaited.
    """
    if isinstance(around, (list, tuple)):
        for one in around:
            if not callable(one):
                raise refused(f"{where}: around", _SURROUNDING, one)
            if type(one) is FunctionType and one.__code__.co_flags & _COROUTINE:
                message = f"{where}: around: expected {_SURROUNDING}, got a coroutine function"
                raise SagaDefinitionError(message)
        return tuple(around)
    raise refused(f"{where}: around", f"a list or tuple of {_SURROUNDING}", around)


MAX_SECONDS = 1_000_000_000  # 31 years; the clocks that we wait on overflow at 292


def seconds(value: object, where: str) -> float | None:
    """Check an optional number of seconds."""
    if value is None:
        return None
    if isinstance(value, (int, float)) and type(value) is not bool and 0 <= value <= MAX_SECONDS:
        return value
    raise refused(where, f"seconds (a number from 0 to {MAX_SECONDS:,}) or None", value)


# What needs a person, once nobody drives the saga any more.
UNSETTLED = frozenset({Status.STUCK, Status.IN_DOUBT, Status.RUNNING, Status.COMPENSATING})


class RecordedError(Exception):
    """What was raised in another process, as a journal tells of it: its type is not looked for.

    Attributes:
        kind: The name of its type, as "module.Class".
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(kind, text)
        self.kind = kind

    def __str__(self) -> str:
        return str(self.args[1])

    def __repr__(self) -> str:
        return f"{self.kind.rpartition('.')[2]}({self.args[1]!r})"


class SagaError(Exception):
    """All that this library raises on purpose."""

    _may_stand = False  # whether a saga has begun to run, and its effects may stand


class LeavingError(SagaError):
    """A call had succeeded, and what is around it raised as it was left: nobody knows what stands.

    A failed commit may have committed. Never raised by itself: it is what an operation has ended
    with, and what was raised is its cause.
    """

    saga_outcome = "in doubt"  # also to a saga whose action has run this one


class SagaException(SagaError):
    """An operation failed, and what was done is undone. Raised from the original error.

    Attributes:
        operation_error: What the operation raised; the text itself for `SagaDefinitionError`; a
            `TimeoutError` if the deadline passed.
        operation_name: The operation that failed (its function's name if it was given none); the
            first one that was not started if the saga was stopped; or None.
        compensation_success_result: What the compensations returned, in the order in which they
            ran (choreography: in operation order), or None if there were none.
        compensation_errors: `str` of what compensations raised, in that order, or None.
    """

    _told: Report | partial[Report] | None = None

    def __init__(
        self,
        operation_error: BaseException | str,
        operation_name: str | None = None,
        compensation_success_result: list[Any] | None = None,
        compensation_error: list[str] | None = None,
    ) -> None:
        """Keep what the predecessor kept; `args` are the positional arguments, as they were."""
        self.operation_name = operation_name
        self.operation_error = operation_error
        self.compensation_success_result = compensation_success_result
        self.compensation_errors = compensation_error

    @property
    def _report(self) -> Report | None:
        """What became of the saga; made when it is first asked for, as most never are."""
        told = self._told
        if isinstance(told, partial):
            self._told = told = told()
        return told

    @property
    def operations(self) -> Mapping[str, OperationReport]:
        """Map each name to the report of what became of it, in operation order."""
        report = self._report
        return {} if report is None else report.operations()

    @property
    def operation_errors(self) -> Mapping[str, BaseException]:
        """Map the name of each operation that failed to what it raised, in operation order.

        Several can fail in a choreography; the first one is the cause of this exception.
        """
        report = self._report
        return {} if report is None else {report.names[i]: e for i, e in report.errors.items()}

    @property
    def stuck(self) -> Mapping[str, BaseException | None]:
        """Map each operation that needs a person to what was raised, or None if nothing was.

        If a rollback was left in its middle, also those that were being called or undone.
        """
        if self.outcome is not SagaStatus.STUCK:
            return {}
        reports = self.operations.items()
        return {name: report.error for name, report in reports if report.status in UNSETTLED}

    @property
    def outcome(self) -> SagaStatus | None:
        """COMPENSATED or STUCK; None if no saga has run."""
        report = self._report
        return None if report is None else report.outcome

    @property
    def saga_id(self) -> str | None:
        """The id of the run; None if no saga has run."""
        report = self._report
        return None if report is None else report.identify()

    def mermaid(self) -> str:
        """Draw the saga with the status of each operation, as a Mermaid flowchart."""
        from py_api_saga.drawing import flowchart  # noqa: PLC0415 - few draw

        report = self._report
        if report is None:
            return flowchart((), ())
        notes = (status.name for status in report.statuses)
        return flowchart(list(zip(report.names, notes, strict=True)), report.after)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(as_text, self.args))})"

    def __str__(self) -> str:
        error = self.operation_error
        report = self._report
        if report is not None:
            return "\n  ".join([report.headline(error), *report.lines()])
        if isinstance(error, str):
            return error
        return f"operation {self.operation_name!r} failed: {as_text(error)}"

    def __reduce__(self) -> tuple[Any, ...]:
        state = {
            name: value if name == "_told" else portable(value)
            for name, value in self.__dict__.items()
        }
        if (report := self._report) is not None:
            state["_told"] = report.portable()
        state["args"] = tuple(map(portable, self.args))
        return _revive, (type(self), state)

    def __copy__(self) -> SagaException:
        return _revive(type(self), {**self.__dict__, "args": self.args})


def _revive(kind: type[SagaException], state: dict[str, Any]) -> SagaException:
    """Make the exception again, with its cause, which a pickle of an exception loses."""
    error = kind.__new__(kind)
    error.args = state.pop("args")
    error.__dict__.update(state)
    if isinstance(error.operation_error, BaseException):
        error.__cause__ = error.operation_error
    return error


class SagaStuck(SagaException):
    """The saga can be neither finished nor undone: a person must look at what `stuck` names."""

    # What it says is in `report`, as of any exception of a run; why something is stuck in `stuck`.


class SagaDefinitionError(SagaException):
    """The saga can't be run as it is written. Nothing was changed, nothing has run."""


class LaterError(SagaDefinitionError):
    """A call has begun something and returned what nobody can wait for: a wrong `later(...)`.

    Unlike whatever else is defined wrongly, it is found when the call has been made: an action is
    in doubt, a compensation is stuck, and neither is tried again.
    """

    saga_outcome = "in doubt"  # also to a saga whose action has run this one


class SagaInProgress(SagaError):
    """Somebody else drives the saga: another process or thread, or one that has taken it over.

    Nothing was undone, and whoever drives it goes on.
    """

    _may_stand = True


class SagaPending(SagaError):
    """Nothing is wrong, and nothing is decided: the saga waits in its journal for answers.

    Nobody drives it, and no thread waits. Whoever answers (`answer`), or recovers it once it is
    due, goes on with it; run it once more with the same `saga_id` to have its results.

    Of a saga on an engine: it has not ended in the time for which it was waited for. It goes on
    there, be it that it waits for answers or not.

    Attributes:
        saga_id: Its id.
        awaited: The idempotency keys of the calls that are to be answered, in operation order.
        due: When the first of them is too late, or the deadline of the saga, whichever is sooner,
            seconds since 1970; None for never.
    """

    _may_stand = True

    def __init__(self, saga_id: str, awaited: Sequence[str], due: float | None) -> None:
        super().__init__(saga_id, tuple(awaited), due)
        self.saga_id, self.awaited, self.due = saga_id, tuple(awaited), due

    def __str__(self) -> str:
        if not self.awaited:
            return f"saga {self.saga_id!r} has not ended yet: it goes on on its engine"
        return f"saga {self.saga_id!r} waits for {', '.join(self.awaited)}"


class SagaConflict(SagaError):
    """The `saga_id` is that of another saga: its name or an argument differs. Nothing has run."""


class JournalError(SagaError):
    """The journal can't be opened, read or written.

    If a saga was running, no further call was started, compensations included; it stays open,
    and recovery goes on with it. One that gave up before its first write, since another process
    kept the journal for itself, says so: it is not in the journal, and nothing has run.
    """

    _may_stand = True  # unless it is known that the saga was not even begun
