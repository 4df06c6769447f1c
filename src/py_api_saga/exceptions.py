"""What a saga raises.

    SagaError
    ├── SagaException             the saga has ended without success: all undone, or
    │   ├── SagaStuck             … neither finished nor undone: a person must look
    │   └── SagaDefinitionError   … it was never run, since it can't be run as it is written
    ├── SagaInProgress            somebody else drives it
    ├── SagaConflict              its id belongs to another saga
    └── JournalError              its journal can't be read or written

What decides nothing about a saga is a `SagaError` and no `SagaException`: who catches the latter
to tell the customer that nothing was bought must not be wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from py_api_saga.drawing import flowchart, in_line
from py_api_saga.status import MISSING, SagaStatus, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def as_text(error: object, how: Callable[[object], str] = repr) -> str:
    """Write an error down, also one whose own `str` or `repr` raises."""
    try:
        return how(error)
    except Exception:  # noqa: BLE001 - the user's method may raise anything
        return f"<{type(error).__name__}, which cannot be printed>"


class OperationReport(NamedTuple):
    """What became of one operation.

    Attributes:
        status: Where it stands.
        result: What its action returned; None if it did not succeed.
        error: What its action raised last or, if its compensation failed, what that raised.
    """

    status: Status
    result: Any
    error: BaseException | None


class Report(NamedTuple):
    """What became of a whole saga; lists are by operation index, maps hold what is rare."""

    identify: Callable[[], str]  # gives the id of the run, which most never ask for
    outcome: SagaStatus
    name_all: Callable[[], Sequence[str]]  # gives the names of the operations, likewise
    after: Sequence[Sequence[int]]
    statuses: list[Status]
    results: list[Any]
    failed: int | None  # the operation that the exception names
    passed: bool  # the pivot: what has not run is still to be done
    errors: dict[int, BaseException]  # of actions
    undo_errors: dict[int, BaseException]
    reasons: list[BaseException]  # why it was stopped, if that is not what the exception names

    @property
    def names(self) -> Sequence[str]:
        """The names of the operations."""
        return self.name_all()[: len(self.statuses)]

    def said(self, i: int) -> str:
        """Write the name of an operation as it is said in a message."""
        return in_line(self.names[i])

    def operations(self) -> dict[str, OperationReport]:
        """Name to report, in operation order."""
        return {
            name: OperationReport(
                self.statuses[i],
                None if self.results[i] is MISSING else self.results[i],
                self.undo_errors.get(i, self.errors.get(i)),
            )
            for i, name in enumerate(self.names)
        }

    def having(self, status: Status) -> list[int]:
        """List the operations that have a status."""
        return [i for i, other in enumerate(self.statuses) if other is status]

    def headline(self, error: object) -> str:
        """Say which operation failed, or that it was not even started."""
        if self.failed is None:
            return f"the saga was stopped: {as_text(error)}"
        name, status = self.names[self.failed], self.statuses[self.failed]
        if status is Status.PENDING:
            return f"the saga was stopped before operation {name!r}: {as_text(error)}"
        return f"operation {name!r} failed: {as_text(error)}"

    def lines(self) -> list[str]:
        """Say what became of the other operations."""
        lines = []
        for i, error in self.errors.items():
            if i != self.failed:
                lines.append(f"also failed: {self.said(i)}: {as_text(error)}")
        lines += [f"also stopped: {as_text(reason)}" for reason in self.reasons]
        undone, skipped = self.having(Status.COMPENSATED), self.having(Status.SKIPPED)
        doubtful = [i for i in skipped if i in self.errors]
        certain = [i for i in skipped if i not in self.errors]
        for words, operations in (
            ("compensated", undone[::-1]),
            ("stands, having no compensation", certain),
            ("may stand, having no compensation", doubtful),
            *self._unfinished(),
        ):
            if operations:
                lines.append(f"{words}: {', '.join(map(self.said, operations))}")
        for i in self.having(Status.STUCK):
            lines.append(f"STUCK {self.said(i)}: {self._why_stuck(i)}")
        return lines

    def _unfinished(self) -> list[tuple[str, list[int]]]:
        """List what a saga leaves that was left in its middle, or could not go on."""
        if self.outcome is not SagaStatus.STUCK:
            return []
        return [
            ("stands", self.having(Status.SUCCEEDED)),
            ("may stand", self.having(Status.IN_DOUBT)),
            ("not finished", self.having(Status.RUNNING)),
            ("not undone", self.having(Status.COMPENSATING)),
            ("not started", self.having(Status.PENDING) if self.passed else []),
        ]

    def _why_stuck(self, i: int) -> str:
        if i in self.undo_errors:
            return f"its compensation raised {as_text(self.undo_errors[i])}"
        if i in self.errors:
            return f"its action raised {as_text(self.errors[i])}"
        return "nobody knows whether it happened"

    def portable(self) -> Report:
        """Copy it with what can't be pickled as text."""
        return self._replace(
            identify=Fixed(self.identify()),
            name_all=Fixed(tuple(self.names)),
            results=[_portable(result) for result in self.results],
            errors={i: _portable(error) for i, error in self.errors.items()},
            undo_errors={i: _portable(error) for i, error in self.undo_errors.items()},
            reasons=[_portable(reason) for reason in self.reasons],
        )


class Fixed:
    """A function that gives what it was made of; unlike a lambda, it can be pickled."""

    def __init__(self, value: Any) -> None:
        """Give this value."""
        self._value = value

    def __call__(self) -> Any:
        """Give the value."""
        return self._value


def _portable(value: Any) -> Any:
    """Give the value, or a stand-in if it does not survive a pickle."""
    import pickle  # noqa: PLC0415 - 1.4 ms to import, for what few processes do

    try:
        pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes; loading fails as well
    except Exception:  # noqa: BLE001 - pickling calls the user's code
        text = as_text(value)
        return RuntimeError(text) if isinstance(value, BaseException) else text
    return value


MAX_NAME = 64  # characters, so that saga, operation and kind fit a key of 255


def refused(where: str, expected: str, got: object) -> SagaDefinitionError:
    """Make the error for a wrong value; only numbers, words and None are shown."""
    shown = type(got).__name__
    if got is None or type(got) in (bool, int, float):
        shown = repr(got)
    elif isinstance(got, str):
        shown = repr(got if len(got) <= MAX_NAME else got[:MAX_NAME] + "…")
    return SagaDefinitionError(f"{where}: expected {expected}, got {shown}")


MAX_SECONDS = 1_000_000_000  # 31 years; the clocks that we wait on overflow at 292


def seconds(value: object, where: str) -> float | None:
    """Check an optional number of seconds."""
    if value is None:
        return None
    if isinstance(value, (int, float)) and type(value) is not bool and 0 <= value <= MAX_SECONDS:
        return value
    raise refused(where, f"seconds (a number from 0 to {MAX_SECONDS:,}) or None", value)


# What needs a person, once nobody drives the saga any more.
_OPEN = frozenset({Status.STUCK, Status.IN_DOUBT, Status.RUNNING, Status.COMPENSATING})


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

    _told: tuple[Any, ...] | None = None  # what a report is made of, which most never ask for

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
        return None if self._told is None else Report._make(self._told)

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
        return {name: report.error for name, report in reports if report.status in _OPEN}

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
        report = self._report
        if report is None:
            return flowchart((), ())
        notes = (status.name for status in report.statuses)
        return flowchart(list(zip(report.names, notes, strict=True)), report.after)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(as_text, self.args))})"

    def __str__(self) -> str:
        error, report = self.operation_error, self._report
        if report is not None:
            return "\n  ".join([report.headline(error), *report.lines()])
        if isinstance(error, str):
            return error
        return f"operation {self.operation_name!r} failed: {as_text(error)}"

    def __reduce__(self) -> tuple[Any, ...]:
        state = {
            name: value if name == "_told" else _portable(value)
            for name, value in self.__dict__.items()
        }
        report = self._report
        if report is not None:
            state["_told"] = report.portable()
        state["args"] = tuple(map(_portable, self.args))
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


class SagaDefinitionError(SagaException):
    """The saga can't be run as it is written. Nothing was changed, nothing has run."""


class SagaInProgress(SagaError):
    """Somebody else drives the saga: another process or thread, or one that has taken it over.

    Nothing was undone, and whoever drives it goes on.
    """


class SagaConflict(SagaError):
    """The `saga_id` is that of another saga: its name or an argument differs. Nothing has run."""


class JournalError(SagaError):
    """The journal can't be opened, read or written.

    If a saga was running, no further call was started, compensations included; it stays open,
    and recovery goes on with it.
    """
