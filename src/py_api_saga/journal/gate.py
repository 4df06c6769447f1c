"""The gate: one process at a time writes to a journal, checkpoints, opens or closes it.

It is a `flock` on a file of its own. Record locks (`lockf`) on the gates of two journals make the
kernel see a deadlock (EDEADLK) where threads of two processes use both, since it takes a process
for one thread; `flock` belongs to the open file and knows no such rule.

It also keeps clear of a defect of SQLite 3.7.0 to 3.51.2 (https://sqlite.org/wal.html, "the WAL
reset bug"): a checkpoint that races a writer on another connection can corrupt the file.
"""

from __future__ import annotations

import os
from contextlib import suppress

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: one process only
    fcntl = None  # type: ignore[assignment]

_WIDTH = 12  # of a process id and a line break in the file


class Gate:
    """The gate of one journal, as one process sees it. Waiting for it has no limit."""

    def __init__(self, path: str) -> None:
        """Name the file; it is opened when it is needed."""
        self.path = path
        self._file = -1
        self._mine = f"{os.getpid():<{_WIDTH - 1}}\n".encode()

    def lock(self) -> None:
        """Wait until nobody else is inside; harmless for who is inside already."""
        if fcntl is None:  # pragma: no cover - Windows
            return
        if self._file < 0:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        if os.pread(self._file, _WIDTH, 0) != self._mine:
            os.pwrite(self._file, self._mine, 0)

    def unlock(self) -> None:
        """Let the next one in; harmless for who is not inside."""
        if self._file >= 0 and fcntl is not None:  # pragma: no branch - it was opened to lock it
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the descriptor back, which ends a lock unless it was inherited from a parent."""
        if self._file >= 0:  # pragma: no branch - a child may have one that was never opened
            os.close(self._file)
            self._file = -1


def holder(path: str) -> int | None:
    """Tell which process is inside the gate of this path: None if none is, 0 if it is unknown.

    The file says who came in last; whether that process is still inside, only the lock says.
    """
    if fcntl is None:  # pragma: no cover - Windows
        return None
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with suppress(ValueError):
            return int(os.pread(file, _WIDTH, 0))
        return 0
    else:
        return None
    finally:
        os.close(file)  # drops the lock; flock is not lost by closing another descriptor
