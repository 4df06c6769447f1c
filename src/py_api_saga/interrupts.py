"""What strikes a program from outside, rather than being raised by what it calls."""

from __future__ import annotations

from py_api_saga.kinds import by_class, lineage, name_of, qualname_of

# What ends a job or a worker is an `Exception` with some, so that it may be caught. Not so with
# dramatiq, whose are named in case they ever are. From billiard 4.3, Celery 5.7, RQ 3.0, huey 3.5
# and dramatiq 2.2.
LIMITS = frozenset(
    {
        "billiard.exceptions.SoftTimeLimitExceeded",
        "billiard.exceptions.Terminated",
        "billiard.exceptions.TimeLimitExceeded",
        "celery.exceptions.SoftTimeLimitExceeded",
        "celery.exceptions.TimeLimitExceeded",
        "rq.timeouts.BaseTimeoutException",
        "rq.timeouts.JobTimeoutException",
        "huey.exceptions.TaskTimeout",
        "dramatiq.middleware.shutdown.Shutdown",
        "dramatiq.middleware.threading.Interrupt",
        "dramatiq.middleware.time_limit.TimeLimitExceeded",
        "dramatiq.threading.Interrupt",
    }
)


_SHORT = frozenset(name.rpartition(".")[2] for name in LIMITS)  # looked up first: it is faster


@by_class
def is_limit(kind: type) -> bool:
    """Tell whether an error is a time limit of a task queue, known by name: nothing is imported."""
    return any(qualname_of(base) in _SHORT and name_of(base) in LIMITS for base in lineage(kind))


def is_interrupt(error: BaseException) -> bool:
    """Tell by its type alone whether an error has struck from outside.

    What is an `Exception` of any other class may have, too: only who knows where it was raised can
    say so.
    """
    return not isinstance(error, Exception) or is_limit(error)
