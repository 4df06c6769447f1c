"""The one place that reads time and sleeps.

Called as `clock.monotonic()` and never bound by name, so that a test kit can put another clock in
the place of these. What waits for something else (a lock, a queue, the timers of an event loop)
wakes up by itself, asks here what time it is, and counts what it has slept: see `Run.note_wait`.

    monotonic   seconds that never go back, for limits and waits in this process
    boottime    the same, and they also pass while the machine sleeps, for what others count on
    time        seconds since 1970, for what others read: journals ask for it by `Journal.now`
    sleep       seconds of this thread
    is_stopped  whether a test has put something in the place of `monotonic` that stands still
"""

from __future__ import annotations

import time as _time
from time import monotonic, sleep, time
from types import BuiltinFunctionType

__all__ = ["NEVER", "boottime", "is_stopped", "monotonic", "sleep", "time"]

NEVER = 253_402_300_799.0  # seconds since 1970, the end of the year 9999: what is due then never is

# Linux stops the other one while it sleeps, macOS this one: there the other goes on.
_BOOTTIME: int | None = getattr(_time, "CLOCK_BOOTTIME", getattr(_time, "CLOCK_MONOTONIC", None))


def boottime() -> float:
    """Give the seconds since this machine was started, sleep included."""
    return monotonic() if _BOOTTIME is None else _time.clock_gettime(_BOOTTIME)


def is_stopped() -> bool:
    """Tell whether another clock is in place, of which the timers of loops may know nothing."""
    return type(monotonic) is not BuiltinFunctionType
