"""What may follow from each thing that is told: the machine as a table.

`execution` says what does follow, which depends on more than a status: on what else is in flight,
on the pivot, on what was asked before. The table says all that may come of it: for each status an
operation may have, and each word of `entries`, the statuses in which it may be once that is told,
with whatever follows at once. Nothing else ever comes of it, and all of it does: tests let a world
loose on the machine and hold each step against the table. The docs draw it.

No status means that the word is refused there, with `IllegalMoveError`. One that is listed may be
refused as well: STARTED where no call is ready, say. SUCCEEDED, UNSTORED, FAILED, RETRY,
IN_DOUBT and LOST may be told in nearly every status, since a straggler may end at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final, Literal, TypeAlias, TypeVar

from py_api_saga.entries import (
    ABORT,
    AGAIN,
    ANSWERED,
    DENIED,
    FAILED,
    HAPPENED,
    IN_DOUBT,
    LATER,
    LOST,
    NOT_HAPPENED,
    RECOVERED,
    RESOLVED,
    RETRY,
    STARTED,
    SUCCEEDED,
    UNKNOWN,
    UNSTORED,
    Word,
)  # fmt: skip
from py_api_saga.status import SagaStatus, Status

AnyStatus = TypeVar("AnyStatus", Status, SagaStatus)
Table: TypeAlias = Mapping[AnyStatus, Mapping["Event", AbstractSet[AnyStatus]]]

Event: TypeAlias = 'Word | Literal["of another"]'
ANOTHER: Final = "of another"  # something is told of another operation


def _stays(status: AnyStatus, *words: Event) -> dict[Event, AbstractSet[AnyStatus]]:
    """Say what moves nothing."""
    return {word: {status} for word in words}


def _refused(_: type[AnyStatus], *words: Event) -> dict[Event, AbstractSet[AnyStatus]]:
    """Say what is refused."""
    return {word: set() for word in words}


FOLLOWS: Final[Table[Status]] = {
    Status.PENDING: {
        STARTED: {Status.RUNNING},
        **_stays(Status.PENDING, ABORT, RECOVERED, ANOTHER),
        **_refused(
            Status,
            SUCCEEDED,
            UNSTORED,
            FAILED,
            RETRY,
            IN_DOUBT,
            HAPPENED,
            NOT_HAPPENED,
            UNKNOWN,
            RESOLVED,
            AGAIN,
            LATER,
            LOST,
            ANSWERED,
            DENIED,
        ),
    },
    Status.RUNNING: {
        LATER: {Status.RUNNING, Status.SUCCEEDED, Status.IN_DOUBT, Status.SKIPPED, Status.STUCK},
        ANSWERED: {Status.SUCCEEDED},
        DENIED: {
            Status.RUNNING,
            Status.FAILED,
            Status.IN_DOUBT,
            Status.SKIPPED,
            Status.STUCK,
        },
        SUCCEEDED: {Status.SUCCEEDED, Status.SKIPPED},
        UNSTORED: {Status.SUCCEEDED, Status.SKIPPED, Status.STUCK},
        FAILED: {Status.FAILED, Status.IN_DOUBT, Status.SKIPPED, Status.STUCK},
        RETRY: {Status.RUNNING, Status.FAILED, Status.IN_DOUBT, Status.SKIPPED, Status.STUCK},
        IN_DOUBT: {Status.RUNNING, Status.IN_DOUBT, Status.SKIPPED, Status.STUCK},
        LOST: {Status.IN_DOUBT, Status.SKIPPED, Status.STUCK},
        ABORT: {
            Status.RUNNING,
            Status.SUCCEEDED,
            Status.FAILED,
            Status.IN_DOUBT,
            Status.SKIPPED,
            Status.STUCK,
        },
        RECOVERED: {
            Status.RUNNING,
            Status.SUCCEEDED,
            Status.FAILED,
            Status.IN_DOUBT,
            Status.SKIPPED,
            Status.STUCK,
        },
        ANOTHER: {
            Status.RUNNING,
            Status.SUCCEEDED,
            Status.FAILED,
            Status.IN_DOUBT,
            Status.SKIPPED,
            Status.STUCK,
        },
        **_stays(Status.RUNNING, STARTED),
        **_refused(Status, HAPPENED, NOT_HAPPENED, UNKNOWN, RESOLVED, AGAIN),
    },
    Status.SUCCEEDED: {
        ANSWERED: {Status.SUCCEEDED, Status.COMPENSATED},
        DENIED: {Status.SUCCEEDED, Status.STUCK},
        STARTED: {Status.COMPENSATING},
        ABORT: {Status.SUCCEEDED, Status.SKIPPED},
        RECOVERED: {Status.SUCCEEDED, Status.SKIPPED},
        ANOTHER: {Status.SUCCEEDED, Status.SKIPPED},
        **_stays(Status.SUCCEEDED, SUCCEEDED, UNSTORED, FAILED, RETRY, IN_DOUBT, LATER, LOST),
        **_refused(Status, HAPPENED, NOT_HAPPENED, UNKNOWN, RESOLVED, AGAIN),
    },
    Status.FAILED: {
        STARTED: {Status.COMPENSATING},
        **_stays(
            Status.FAILED,
            SUCCEEDED,
            UNSTORED,
            FAILED,
            RETRY,
            IN_DOUBT,
            ABORT,
            RECOVERED,
            ANOTHER,
            LATER,
            LOST,
            ANSWERED,
            DENIED,
        ),
        **_refused(Status, HAPPENED, NOT_HAPPENED, UNKNOWN, RESOLVED, AGAIN),
    },
    Status.IN_DOUBT: {
        ANSWERED: {Status.SUCCEEDED, Status.SKIPPED},
        DENIED: {Status.FAILED, Status.IN_DOUBT, Status.STUCK},
        STARTED: {Status.RUNNING, Status.IN_DOUBT, Status.COMPENSATING},
        SUCCEEDED: {Status.SUCCEEDED},
        UNSTORED: {Status.SUCCEEDED, Status.SKIPPED, Status.STUCK},
        HAPPENED: {Status.SUCCEEDED, Status.SKIPPED},
        NOT_HAPPENED: {Status.FAILED, Status.IN_DOUBT, Status.STUCK},
        UNKNOWN: {Status.FAILED, Status.IN_DOUBT, Status.SKIPPED, Status.STUCK},
        ABORT: {Status.FAILED, Status.IN_DOUBT, Status.SKIPPED, Status.STUCK},
        RECOVERED: {Status.IN_DOUBT, Status.SKIPPED, Status.STUCK},
        ANOTHER: {Status.FAILED, Status.IN_DOUBT, Status.SKIPPED, Status.STUCK},
        **_stays(Status.IN_DOUBT, FAILED, RETRY, IN_DOUBT, LATER, LOST),
        **_refused(Status, RESOLVED, AGAIN),
    },
    Status.COMPENSATING: {
        ANSWERED: {Status.COMPENSATING, Status.COMPENSATED},
        DENIED: {Status.COMPENSATING, Status.STUCK},
        SUCCEEDED: {Status.COMPENSATING, Status.COMPENSATED},
        UNSTORED: {Status.COMPENSATING, Status.COMPENSATED},
        FAILED: {Status.COMPENSATING, Status.STUCK},
        IN_DOUBT: {Status.COMPENSATING, Status.STUCK},
        RECOVERED: {Status.COMPENSATING, Status.STUCK},
        LOST: {Status.COMPENSATING, Status.STUCK},
        **_stays(Status.COMPENSATING, STARTED, RETRY, ABORT, ANOTHER, LATER),
        **_refused(Status, HAPPENED, NOT_HAPPENED, UNKNOWN, RESOLVED, AGAIN),
    },
    Status.COMPENSATED: {
        STARTED: {Status.COMPENSATING},
        **_stays(
            Status.COMPENSATED,
            SUCCEEDED,
            UNSTORED,
            FAILED,
            RETRY,
            IN_DOUBT,
            ABORT,
            RECOVERED,
            ANOTHER,
            LATER,
            LOST,
            ANSWERED,
            DENIED,
        ),
        **_refused(Status, HAPPENED, NOT_HAPPENED, UNKNOWN, RESOLVED, AGAIN),
    },
    Status.SKIPPED: {
        **_stays(
            Status.SKIPPED,
            SUCCEEDED,
            UNSTORED,
            FAILED,
            RETRY,
            IN_DOUBT,
            ABORT,
            RECOVERED,
            ANOTHER,
            LATER,
            LOST,
            ANSWERED,
            DENIED,
        ),
        **_refused(Status, STARTED, HAPPENED, NOT_HAPPENED, UNKNOWN, RESOLVED, AGAIN),
    },
    Status.STUCK: {
        ANSWERED: {Status.SUCCEEDED, Status.COMPENSATED, Status.STUCK},
        DENIED: {Status.FAILED, Status.STUCK},
        STARTED: {Status.RUNNING, Status.COMPENSATING},
        SUCCEEDED: {Status.COMPENSATED, Status.STUCK},
        UNSTORED: {Status.COMPENSATED, Status.STUCK},
        ABORT: {Status.SKIPPED, Status.STUCK},
        RECOVERED: {Status.SKIPPED, Status.STUCK},
        RESOLVED: {Status.SUCCEEDED, Status.FAILED, Status.COMPENSATED, Status.SKIPPED},
        ANOTHER: {Status.SKIPPED, Status.STUCK},
        **_stays(Status.STUCK, FAILED, RETRY, IN_DOUBT, AGAIN, LATER, LOST),
        **_refused(Status, HAPPENED, NOT_HAPPENED, UNKNOWN),
    },
}

# Of the saga: an entry may speak of any of its operations, or of the run.
SAGA_FOLLOWS: Final[Table[SagaStatus]] = {
    SagaStatus.RUNNING: {
        LATER: {
            SagaStatus.RUNNING,
            SagaStatus.COMPENSATING,
            SagaStatus.COMPENSATED,
            SagaStatus.STUCK,
        },
        ANSWERED: {SagaStatus.RUNNING, SagaStatus.COMPLETED, SagaStatus.STUCK},
        DENIED: {
            SagaStatus.RUNNING,
            SagaStatus.COMPENSATING,
            SagaStatus.COMPENSATED,
            SagaStatus.STUCK,
        },
        SUCCEEDED: {
            SagaStatus.RUNNING,
            SagaStatus.COMPENSATING,
            SagaStatus.COMPLETED,
            SagaStatus.COMPENSATED,
            SagaStatus.STUCK,
        },
        UNSTORED: {
            SagaStatus.RUNNING,
            SagaStatus.COMPENSATING,
            SagaStatus.COMPENSATED,
            SagaStatus.STUCK,
        },
        FAILED: {
            SagaStatus.RUNNING,
            SagaStatus.COMPENSATING,
            SagaStatus.COMPENSATED,
            SagaStatus.STUCK,
        },
        RETRY: {
            SagaStatus.RUNNING,
            SagaStatus.COMPENSATING,
            SagaStatus.COMPENSATED,
            SagaStatus.STUCK,
        },
        IN_DOUBT: {
            SagaStatus.RUNNING,
            SagaStatus.COMPENSATING,
            SagaStatus.COMPENSATED,
            SagaStatus.STUCK,
        },
        HAPPENED: {
            SagaStatus.RUNNING,
            SagaStatus.COMPENSATING,
            SagaStatus.COMPLETED,
            SagaStatus.COMPENSATED,
            SagaStatus.STUCK,
        },
        NOT_HAPPENED: {
            SagaStatus.RUNNING,
            SagaStatus.COMPENSATING,
            SagaStatus.COMPENSATED,
            SagaStatus.STUCK,
        },
        UNKNOWN: {
            SagaStatus.RUNNING,
            SagaStatus.COMPENSATING,
            SagaStatus.COMPENSATED,
            SagaStatus.STUCK,
        },
        ABORT: {
            SagaStatus.RUNNING,
            SagaStatus.COMPENSATING,
            SagaStatus.COMPENSATED,
            SagaStatus.STUCK,
        },
        RECOVERED: {
            SagaStatus.RUNNING,
            SagaStatus.COMPENSATING,
            SagaStatus.COMPENSATED,
            SagaStatus.STUCK,
        },
        LOST: {
            SagaStatus.RUNNING,
            SagaStatus.COMPENSATING,
            SagaStatus.COMPENSATED,
            SagaStatus.STUCK,
        },
        RESOLVED: {
            SagaStatus.RUNNING,
            SagaStatus.COMPENSATING,
            SagaStatus.COMPLETED,
            SagaStatus.COMPENSATED,
            SagaStatus.STUCK,
        },
        **_stays(SagaStatus.RUNNING, STARTED, AGAIN),
    },
    SagaStatus.COMPENSATING: {
        ANSWERED: {SagaStatus.COMPENSATING, SagaStatus.COMPENSATED, SagaStatus.STUCK},
        DENIED: {SagaStatus.COMPENSATING, SagaStatus.COMPENSATED, SagaStatus.STUCK},
        SUCCEEDED: {SagaStatus.COMPENSATING, SagaStatus.COMPENSATED, SagaStatus.STUCK},
        UNSTORED: {SagaStatus.COMPENSATING, SagaStatus.COMPENSATED, SagaStatus.STUCK},
        FAILED: {SagaStatus.COMPENSATING, SagaStatus.STUCK},
        IN_DOUBT: {SagaStatus.COMPENSATING, SagaStatus.STUCK},
        HAPPENED: {SagaStatus.COMPENSATING, SagaStatus.COMPENSATED, SagaStatus.STUCK},
        NOT_HAPPENED: {SagaStatus.COMPENSATING, SagaStatus.COMPENSATED, SagaStatus.STUCK},
        UNKNOWN: {SagaStatus.COMPENSATING, SagaStatus.COMPENSATED, SagaStatus.STUCK},
        RECOVERED: {SagaStatus.COMPENSATING, SagaStatus.STUCK},
        LOST: {SagaStatus.COMPENSATING, SagaStatus.STUCK},
        RESOLVED: {SagaStatus.COMPENSATING, SagaStatus.COMPENSATED, SagaStatus.STUCK},
        **_stays(SagaStatus.COMPENSATING, STARTED, RETRY, ABORT, AGAIN, LATER),
    },
    SagaStatus.COMPLETED: {
        **_stays(
            SagaStatus.COMPLETED,
            SUCCEEDED,
            UNSTORED,
            FAILED,
            RETRY,
            IN_DOUBT,
            RECOVERED,
            LATER,
            LOST,
            ANSWERED,
            DENIED,
        ),
        **_refused(SagaStatus, STARTED, HAPPENED, NOT_HAPPENED, UNKNOWN, ABORT, RESOLVED, AGAIN),
    },
    SagaStatus.COMPENSATED: {
        ANSWERED: {SagaStatus.COMPENSATING, SagaStatus.COMPENSATED},
        SUCCEEDED: {SagaStatus.COMPENSATING, SagaStatus.COMPENSATED},
        UNSTORED: {SagaStatus.COMPENSATING, SagaStatus.COMPENSATED},
        **_stays(SagaStatus.COMPENSATED, FAILED, RETRY, IN_DOUBT, RECOVERED, LATER, LOST, DENIED),
        **_refused(SagaStatus, STARTED, HAPPENED, NOT_HAPPENED, UNKNOWN, ABORT, RESOLVED, AGAIN),
    },
    SagaStatus.STUCK: {
        ANSWERED: {
            SagaStatus.COMPENSATING,
            SagaStatus.COMPLETED,
            SagaStatus.COMPENSATED,
            SagaStatus.STUCK,
        },
        DENIED: {SagaStatus.COMPENSATING, SagaStatus.COMPENSATED, SagaStatus.STUCK},
        STARTED: {SagaStatus.RUNNING, SagaStatus.COMPENSATING},
        SUCCEEDED: {SagaStatus.COMPENSATING, SagaStatus.COMPENSATED, SagaStatus.STUCK},
        UNSTORED: {SagaStatus.COMPENSATING, SagaStatus.COMPENSATED, SagaStatus.STUCK},
        ABORT: {SagaStatus.COMPENSATING, SagaStatus.COMPENSATED, SagaStatus.STUCK},
        RESOLVED: {
            SagaStatus.COMPENSATING,
            SagaStatus.COMPLETED,
            SagaStatus.COMPENSATED,
            SagaStatus.STUCK,
        },
        **_stays(SagaStatus.STUCK, FAILED, RETRY, IN_DOUBT, RECOVERED, AGAIN, LATER, LOST),
        **_refused(SagaStatus, HAPPENED, NOT_HAPPENED, UNKNOWN),
    },
}
