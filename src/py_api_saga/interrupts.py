"""What strikes a program from outside, rather than being raised by what it calls."""

from __future__ import annotations

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


# Read past whatever a metaclass makes of these.
_lineage = type.__dict__["__mro__"].__get__
_flags_of = type.__dict__["__flags__"].__get__
_DEFINED = 1 << 9  # by a `class` statement; none of the built-in classes is a limit
_module_of = type.__dict__["__module__"].__get__
_name_of = type.__dict__["__qualname__"].__get__
_SHORT = frozenset(name.rpartition(".")[2] for name in LIMITS)  # looked up first: it is faster


def is_limit(error: BaseException) -> bool:
    """Tell whether an error is a time limit of a task queue, known by name: nothing is imported."""
    if not _flags_of(type(error)) & _DEFINED:
        return False
    for kind in _lineage(type(error)):
        name = _name_of(kind)
        if name in _SHORT and f"{_module_of(kind)}.{name}" in LIMITS:
            return True
    return False


def is_interrupt(error: BaseException) -> bool:
    """Tell by its type alone whether an error has struck from outside.

    What is an `Exception` of any other class may have, too: only who knows where it was raised can
    say so.
    """
    return not isinstance(error, Exception) or is_limit(error)
