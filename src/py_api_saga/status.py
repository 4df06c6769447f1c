"""Where an operation stands, and where its saga stands.

A leaf, so that the exceptions can name the statuses which the machine derives; which of them may
follow which is a table in `execution`.
"""

from __future__ import annotations

from enum import Enum

TYPE_CHECKING = False  # as in `typing`, which takes 7 ms to import
if TYPE_CHECKING:
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


class _Missing:
    """The result of an operation that has none yet; one object, also after a pickle."""

    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
