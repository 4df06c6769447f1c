"""What other threads have to tell a run, while somebody drives it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from py_api_saga.entries import Entry

# Seconds that a thread waits at most before it looks around: a signal that comes just before
# CPython begins to wait for a lock is handled only when the wait ends.
GLANCE = 0.25
PARTING = 5.0  # seconds in which whoever has closed a run has left it, unless it was struck


class Inbox:
    """Entries from other threads, until nobody drives the run any more."""

    def __init__(self, wake: Callable[[], object] | None = None) -> None:
        """Open it; `wake` is called when there is something, instead of ending a `wait`."""
        self.entries: deque[Entry] = deque()
        # Unlocked once there is something, and locked again by whoever has waited for it. Not a
        # queue: `import queue` takes more than all the rest of this.
        self._signal = threading.Lock()
        self._signal.acquire()
        self._wake = wake or self._unlock
        self._lock = threading.Lock()
        self._closed = False
        # Held by whoever looks at the run when it is closed: to sum it up, or to land in it.
        self.late = threading.Lock()
        # Set once whoever drove the run has left it: what lands goes on with it only then, since
        # it may need the loop of that thread, or claim what that thread is about to leave.
        self.left = threading.Event()

    def put(self, entry: Entry) -> bool:
        """Hand an entry to whoever drives the run, or say that nobody does any more."""
        with self._lock:
            if self._closed:
                return False
            self.entries.append(entry)
        self._wake()
        return True

    def _unlock(self) -> None:
        if self._signal.locked():  # else nobody has waited since
            with suppress(RuntimeError):  # another thread was faster
                self._signal.release()

    def wait(self, seconds: float | None) -> float:
        """Wait until there may be an entry, at most so many seconds, and at most `GLANCE`.

        Returns:
            The seconds that it has slept in vain; 0 if there may be an entry.
        """
        seconds = GLANCE if seconds is None else min(seconds, GLANCE)
        if not self.entries:
            return 0.0 if self._signal.acquire(timeout=seconds) else seconds
        return 0.0

    def close(self) -> bool:
        """Stop taking entries, unless there are some."""
        with self._lock:
            self._closed = not self.entries
            return self._closed
