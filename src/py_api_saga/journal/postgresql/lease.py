"""The lease of a process: until when nobody takes the sagas that it drives, and who sees to it.

A process is one of these, by its own clock, which counts from before a renewal was sent and stops
5 % early, so that it never believes in its lease for longer than the database does:

- healthy: its lease runs;
- late: it has run out, since the process was paused or cut off; or a renewal was answered after the
  old lease had ended, so that others may have taken sagas meanwhile. No call starts until a renewal
  has succeeded and every claim was compared with what is on record then;
- fenced, each saga for itself: another process has claimed it, and nothing is written under the old
  claim any more.

Nothing here knows of a database: it is told when a renewal was sent, and what came of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from py_api_saga import clock

EARLY = 0.95  # of a lease: clocks of machines differ in how fast they go, too
LONGEST_BEAT = 1.0  # seconds between two looks of the heartbeat
IDLE_BEATS = 2.0  # thirds of a lease without a saga, after which it ends


class Lease:
    """Until when this process may make calls.

    Attributes:
        seconds: How long it is.
        until: When it ends by the clock of this machine that never stops.
    """

    def __init__(self, seconds: float) -> None:
        """Begin late: there is none."""
        self.seconds = seconds
        self.until = float("-inf")
        self._lock = threading.Lock()

    def is_late(self) -> bool:
        """Tell whether no call may start."""
        return clock.boottime() >= self.until

    def is_due(self) -> bool:
        """Tell whether it is to be renewed: a third of it is over."""
        return self.until - clock.boottime() < self.seconds * (EARLY - 1 / 3)

    def begin(self, sent: float) -> None:
        """Begin anew, by what was sent at that time: nothing is driven, or all was compared."""
        with self._lock:
            self.until = sent + self.seconds * EARLY

    def renewed(self, sent: float, *, was_alive: bool) -> bool:
        """Take in a renewal that was answered just now; false if it has left us late."""
        with self._lock:
            if not was_alive or clock.boottime() >= self.until:
                self.until = float("-inf")
                return False
            self.until = max(self.until, sent + self.seconds * EARLY)
            return True

    def end(self) -> None:
        """Be late from now on, until all was compared."""
        with self._lock:
            self.until = float("-inf")


class Tenant(Protocol):
    """Whose lease it is."""

    def renew(self) -> None:
        """Renew it, and look which claims stand if it was late; on a connection for that alone."""

    def hang_up(self) -> None:
        """Close that connection."""

    def is_idle(self) -> bool:
        """Tell whether nothing is driven."""


class Heartbeat:
    """A thread that renews a lease while it is needed and nothing that is written does so."""

    def __init__(self, lease: Lease, tenant: Tenant, is_ours: Callable[[], bool]) -> None:
        """Begin without a thread; `is_ours` tells whether this process is still the same."""
        self._lease, self._tenant, self._is_ours = lease, tenant, is_ours
        self._lock = threading.Lock()
        self._wake = threading.Event()  # set to end it
        self._thread: threading.Thread | None = None
        self.beats = 0  # renewals

    def start(self) -> None:
        """See that the thread lives, if there can be one."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is not None:
                return
            self._wake = wake = threading.Event()
            thread = threading.Thread(
                target=self._live, args=(wake,), name="py-api-saga-lease", daemon=True
            )
            with suppress(RuntimeError):  # no more threads, or the interpreter ends: commits renew
                thread.start()
                self._thread = thread

    def stop(self) -> None:
        """Let the thread end, soon; there may be another one at once."""
        with self._lock:
            self._wake.set()
            self._thread = None

    def _live(self, wake: threading.Event) -> None:
        lease, tenant = self._lease, self._tenant
        every = lease.seconds / 3
        pause, idle = min(every, LONGEST_BEAT), 0.0
        try:
            while not wake.wait(pause) and self._is_ours():
                idle = idle + pause if tenant.is_idle() else 0.0
                if idle >= IDLE_BEATS * every and self._ends():
                    break
                if lease.is_due() and not idle:
                    self.beat()
        finally:
            if self._is_ours():
                tenant.hang_up()

    def _ends(self) -> bool:
        """End, unless something was begun just now, whose `start` has found a thread."""
        with self._lock:
            if not self._tenant.is_idle():
                return False
            self._thread = None
            return True

    def beat(self) -> None:
        """Renew once; what fails is tried again at the next beat."""
        self.beats += 1
        try:
            self._tenant.renew()
        except Exception:  # noqa: BLE001 - whoever writes meets it as well, and says so
            self._tenant.hang_up()
