"""Where an operation stands, and where its saga stands.

A leaf, so that the exceptions can name the statuses which the machine derives.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class _Status(Enum):
    """Members hash by identity: Enum's own hash is a Python call, 100 ns at each table lookup."""

    __hash__ = object.__hash__


class Status(_Status):
    """Where one operation stands."""

    PENDING = "pending"  # not started
    RUNNING = "running"  # its action was started, and may be between two attempts
    SUCCEEDED = "succeeded"  # its effect stands
    FAILED = "failed"  # it has no effect
    IN_DOUBT = "in_doubt"  # its action was started and nobody knows what came of it
    COMPENSATING = "compensating"  # its compensation was started
    COMPENSATED = "compensated"  # its effect is undone
    SKIPPED = "skipped"  # rolled back without a compensation: its effect, if any, stands
    STUCK = "stuck"  # it can be neither finished nor undone without a person


class SagaStatus(_Status):
    """Where a saga stands; the last three are ends, and STUCK is at rest until a person decides."""

    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"  # every operation succeeded
    COMPENSATED = "compensated"  # everything that can be undone is undone
    STUCK = "stuck"  # an operation needs a person


# Which status may follow which.
LEGAL: Final = {
    Status.PENDING: frozenset({Status.RUNNING}),
    Status.RUNNING: frozenset(
        {Status.RUNNING, Status.SUCCEEDED, Status.FAILED, Status.IN_DOUBT, Status.STUCK}
    ),
    Status.IN_DOUBT: frozenset(
        {
            Status.RUNNING,  # called again after a crash
            Status.SUCCEEDED,  # it happened
            Status.FAILED,  # it did not
            Status.COMPENSATING,
            Status.SKIPPED,
            Status.STUCK,  # parked
        }
    ),
    Status.SUCCEEDED: frozenset({Status.COMPENSATING, Status.SKIPPED}),
    Status.COMPENSATING: frozenset({Status.COMPENSATING, Status.COMPENSATED, Status.STUCK}),
    Status.COMPENSATED: frozenset({Status.COMPENSATING}),  # a late landing
    Status.FAILED: frozenset({Status.COMPENSATING}),  # a late landing
    Status.SKIPPED: frozenset(),
    Status.STUCK: frozenset(  # a person decided, or a compensation landed late
        {
            Status.RUNNING,
            Status.SUCCEEDED,
            Status.FAILED,
            Status.COMPENSATING,
            Status.COMPENSATED,
            Status.SKIPPED,
        }
    ),
}
SAGA_LEGAL: Final = {
    SagaStatus.RUNNING: frozenset(
        {SagaStatus.COMPLETED, SagaStatus.COMPENSATING, SagaStatus.STUCK}
    ),
    SagaStatus.COMPENSATING: frozenset({SagaStatus.COMPENSATED, SagaStatus.STUCK}),
    SagaStatus.STUCK: frozenset(  # a person decided, or something landed late
        {
            SagaStatus.RUNNING,
            SagaStatus.COMPENSATING,
            SagaStatus.COMPLETED,
            SagaStatus.COMPENSATED,
        }
    ),
    SagaStatus.COMPENSATED: frozenset({SagaStatus.COMPENSATING}),  # a late landing
    SagaStatus.COMPLETED: frozenset(),
}


class _Missing:
    """The result of an operation that has none yet; one object, also after a pickle."""

    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
