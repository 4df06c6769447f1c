"""The gate: one process at a time writes to a journal, checkpoints, opens or closes it.

It is a `flock` on a file of its own. Record locks (`lockf`) on the gates of two journals make the
kernel see a deadlock (EDEADLK) where threads of two processes use both, since it takes a process
for one thread; `flock` belongs to the open file and knows no such rule.

It also keeps clear of a defect of SQLite 3.7.0 to 3.51.2 (https://sqlite.org/wal.html, "the WAL
reset bug"): a checkpoint that races a writer on another connection can corrupt the file.

Whoever may go in looks whether the gate is open (`enter`), with the turn of the queue. If it is
shut, one thread of ours stands in line, without the turn: the kernel lets in whoever has waited
longest, which who looks again and again would never be. Since the lock belongs to the open file, it
does not matter which thread has got it: with the turn, the next one of this process that looks is
inside. So who has stood in line looks, and leaves if nobody wants to write any more.

The file says who came in last, where that process runs, and when. The time is a second early at
most: it is written anew if it is older, which costs no commit more than a look at a clock.
"""

from __future__ import annotations

import os
from contextlib import suppress

from py_api_saga import clock
from py_api_saga.exceptions import JournalError
from py_api_saga.journal.holder import Holder
from py_api_saga.journal.sqlite.descriptors import give_back, is_ours, keep_beside, open_beside

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: one process only
    fcntl = None  # type: ignore[assignment]

_WIDTH = 12  # of a process id and a line break in the file
_WHOLE = 96  # of that, a time and the name of a machine
_FRESH = 1.0  # seconds for which the time in the file is near enough
MOMENT = 1.0  # seconds for which a process may be inside before anybody is told of it
_LOOK = 0.01  # seconds between two looks


class Gate:
    """The gate of one journal, as one process sees it.

    All but `wait` is for the thread that has the turn of the queue.
    """

    def __init__(self, path: str) -> None:
        """Name the file; it is opened when it is needed."""
        self.path = path
        self._file = -1
        self._mine = f"{os.getpid():<{_WIDTH - 1}}\n".encode()
        self._is_inside = False
        self._noted = float("-inf")  # when the file was written, on the monotonic clock
        self._lines: list[int] = []  # descriptors on which a thread waits

    def enter(self) -> bool:
        """Go in, unless another process is inside; harmless for whoever is inside already."""
        if fcntl is None:  # pragma: no cover - Windows
            return True
        if not is_ours(self._file):  # also if a daemon has closed it, and others have its number
            self._file = keep_beside(self.path, os.O_RDWR | os.O_CREAT, _journal(self.path))
        self._is_inside = True  # first: an interrupt may come before the next line
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._is_inside = False
            return False
        now = clock.monotonic()
        if now - self._noted >= _FRESH or os.pread(self._file, _WIDTH, 0) != self._mine:
            os.pwrite(self._file, self._mine + _note(), 0)
            self._noted = now
        return True

    def unlock(self) -> None:
        """Let the next one in; harmless for whoever is not inside or stands in line."""
        if self._is_inside and fcntl is not None:
            if is_ours(self._file):  # else it was let go when it was closed
                fcntl.flock(self._file, fcntl.LOCK_UN)
            self._is_inside = False

    # --- standing in line ------------------------------------------------------------------------

    def line_up(self) -> int:
        """Give what `wait` is to wait on; it stays open until `step_out`, whatever is closed."""
        self._lines.append(self._file)
        return self._file

    @staticmethod
    def wait(line: int) -> None:
        """Wait until no other process is inside, however long; without the turn.

        What is got belongs to all threads of this process: `enter`, then `unlock`.
        """
        with suppress(OSError):  # whoever enters then is told
            fcntl.flock(line, fcntl.LOCK_EX)

    def step_out(self, line: int) -> None:
        """Wait on it no more; if the gate was closed meanwhile, that ends what was got."""
        self._lines.remove(line)
        if line != self._file and line not in self._lines:
            give_back(line)

    # --- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Give the descriptor back, which ends a lock unless it was inherited from a parent."""
        if self._file not in self._lines:
            give_back(self._file)
        self._file, self._is_inside = -1, False

    def abandon(self) -> None:  # pragma: no cover - a child ends without telling coverage
        """Do so in a child of a fork, which has none of the threads that wait."""
        self._lines.clear()
        self.close()


def _note() -> bytes:
    """Write down when, and on which machine or in which container."""
    note = f"{int(clock.time()):<{_WIDTH - 1}} {os.uname().nodename}".encode(errors="replace")
    return note[: _WHOLE - _WIDTH - 1].ljust(_WHOLE - _WIDTH - 1) + b"\n"


def inside(path: str) -> Holder | None:
    """Tell who is inside the gate of this path, or None.

    The file says who came in last; whether that process is still inside, only the lock says.
    """
    if fcntl is None:  # pragma: no cover - Windows
        return None
    try:
        file = open_beside(path, os.O_RDONLY, _journal(path))
    except (OSError, JournalError):
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(os.pread(file, _WHOLE, 0))
    else:
        return None
    finally:
        os.close(file)  # drops the lock; flock is not lost by closing another descriptor


def _read(text: bytes) -> Holder:
    """Read what the file says; it may be anything."""
    pid, since, host = 0, None, ""
    with suppress(ValueError):
        pid = max(0, int(text[:_WIDTH]))
        since = float(int(text[_WIDTH : 2 * _WIDTH]))
        host = text[2 * _WIDTH :].decode(errors="replace").strip()
    return Holder(pid, since, "" if host == os.uname().nodename else host)


def lingering(path: str, moment: float = MOMENT) -> Holder | None:
    """Tell who has been inside for longer than a moment; it is looked twice at least.

    Whoever has just come in may not have said so yet, and the file still names the one before.
    """
    first, until = inside(path), clock.monotonic() + moment
    while first is not None:
        clock.sleep(_LOOK)
        if not first.is_as(inside(path)):
            return None
        if first.since is not None and clock.time() - first.since > moment + _FRESH:
            return first
        if clock.monotonic() > until:
            return first
    return None


def shut(journal: str, path: str) -> str:
    """Say why nothing can be written to a journal."""
    who = inside(path)
    if who is None:
        return f"the journal {journal} was being written to by others all the time"
    if who.pid == os.getpid() and not who.host:
        return f"the journal {journal} is being written to by this {who}: the disk is slow"
    return f"the journal {journal} is shut: {who} is writing to it; {who.remedy}"


def _journal(path: str) -> str:
    return path.removesuffix("-gate")
