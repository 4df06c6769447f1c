"""The one place that reads time and sleeps.

Called as `clock.monotonic()` and never bound by name, so that a test kit can put another clock in
the place of these. What waits for something else (a lock, a queue, the timers of an event loop)
wakes up by itself, asks here what time it is, and counts what it has slept: see `Run.note_wait`.

    monotonic   seconds that never go back, for limits and waits in this process
    time        seconds since 1970, for what others read: journals ask for it by `Journal.now`
    sleep       seconds of this thread
"""

from __future__ import annotations

from time import monotonic, sleep, time

__all__ = ["monotonic", "sleep", "time"]
