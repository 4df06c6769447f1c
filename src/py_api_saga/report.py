"""What became of a saga, as its exception tells it; why an operation is stuck says `stuck`."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

from py_api_saga.status import MISSING, SagaStatus, Status
from py_api_saga.stuck import StuckReason, stuck_words
from py_api_saga.wording import as_text, in_line


class OperationReport(
    namedtuple("OperationReport", "status result error")  # noqa: PYI024 - a typed one takes 1 ms more
):
    """What became of one operation.

    Attributes:
        status: Where it stands.
        result: What its action returned; None if it did not succeed.
        error: What its action raised last or, if its compensation failed, what that raised.
    """

    status: Status
    result: Any
    error: BaseException | None

    __slots__ = ()


class Report:
    """What became of a whole saga; lists are by operation index, maps hold what is rare.

    Whoever makes one sets its attributes: a constructor in Python costs as much as they do.
    """

    identify: Callable[[], str]  # gives the id of the run, which most never ask for
    outcome: SagaStatus
    name_all: Callable[[], Sequence[str]]  # gives the names of the operations, when asked
    after: Sequence[Sequence[int]]
    statuses: list[Status]
    results: list[Any]
    failed: int | None  # the operation that the exception names
    passed: bool  # the pivot: what has not run is still to be done
    errors: dict[int, BaseException]  # of actions
    undo_errors: dict[int, BaseException]
    reasons: list[BaseException]  # why it was stopped, if that is not what the exception names
    doubted: frozenset[int]  # which may or may not have happened
    stuck: dict[int, StuckReason]

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
        doubtful = [i for i in skipped if i in self.doubted]
        certain = [i for i in skipped if i not in self.doubted]
        for words, operations in (
            ("compensated", undone[::-1]),
            ("stands, having no compensation", certain),
            ("may stand, having no compensation", doubtful),
            *self._unfinished(),
        ):
            if operations:
                lines.append(f"{words}: {', '.join(map(self.said, operations))}")
        for i, why in self.stuck.items():
            said = stuck_words(why, self.errors.get(i), self.undo_errors.get(i))
            lines.append(f"STUCK {self.said(i)}: {said}")
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

    def portable(self) -> Report:
        """Copy it with what can't be pickled as text."""
        copy = Report()
        copy.__dict__.update(
            self.__dict__,
            identify=Fixed(self.identify()),
            name_all=Fixed(tuple(self.names)),
            results=[portable(result) for result in self.results],
            errors={i: portable(error) for i, error in self.errors.items()},
            undo_errors={i: portable(error) for i, error in self.undo_errors.items()},
            reasons=[portable(reason) for reason in self.reasons],
        )
        return copy


class Fixed:
    """A function that gives what it was made of; unlike a lambda, it can be pickled."""

    def __init__(self, value: Any) -> None:
        """Give this value."""
        self._value = value

    def __call__(self) -> Any:
        """Give the value."""
        return self._value


def portable(value: Any) -> Any:
    """Give the value, or a stand-in if it does not survive a pickle."""
    import pickle  # noqa: PLC0415 - 1.4 ms to import, for what few processes do

    try:
        pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes; loading fails as well
    except Exception:  # noqa: BLE001 - pickling calls the user's code
        text = as_text(value)
        return RuntimeError(text) if isinstance(value, BaseException) else text
    return value
