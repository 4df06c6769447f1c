"""Who lives: each process locks one byte of the owners' file, at its number, until it dies.

The kernel frees a record lock the moment its process dies, keeps it while the process is paused,
and does not give it to a fork. So nothing has to be written for staying alive, and no clock has to
be believed. But it also drops all locks of a process on a file when the process closes any
descriptor of it (POSIX, fcntl): there is one descriptor per process and file, never closed. A
daemon closes it all the same. So before it is used it is asked whether it is still ours; if it is
not, the file is opened again and our numbers are locked again. A saga that was taken over meanwhile
is fenced off by its epoch.

All of that rests on everybody's looking into the same file. One that was put in its place tells
that nobody lives. So the file is refused if another one is at its path than the one that we have
open, or one that is too short to have had the lock of somebody who drives a saga.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from py_api_saga import clock
from py_api_saga.exceptions import JournalError
from py_api_saga.journal.reentry import interrupted, is_held
from py_api_saga.journal.sqlite.descriptors import Key, give_back, is_ours, keep_beside, open_beside
from py_api_saga.process import OwnLock

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: one process only
    fcntl = None  # type: ignore[assignment]

PROBES = 50  # at a lock of ours which somebody probes at this moment
APART = 0.001  # seconds between them
# Which bytes of a file SQLite locks to read it, and as long as it has it open in WAL mode
# (https://sqlite.org/src/file/src/os.h, SHARED_FIRST and SHARED_SIZE).
SQLITE_SHARES = (0x40000002, 510)

_files: dict[Key, Owners] = {}
_lock = threading.RLock()
_process = os.getpid()
_beginning = OwnLock()


class Owners:
    """The owners' file of one journal, as one process sees it."""

    def __init__(self, path: str, file: int) -> None:
        """Keep its descriptor for ever."""
        self.path = path
        self._file = file
        self._key = _key(os.fstat(file))
        self._mine: set[int] = set()

    def take(self, owner: int) -> bool:
        """Live under this number, unless somebody does: a restored backup may give it twice."""
        if owner in self._mine:
            return False
        with _lock:
            if not self._locked(owner, exclusive=True):
                return False
            self._mine.add(owner)
            cover(self._file, owner)
            return True

    def hold(self, owner: int) -> bool:
        """Tell whether we live under a number of ours, and see to it if its lock was lost.

        Any code in this process that has read the file has dropped our locks by closing it.

        Raises:
            JournalError: Another file is in the place of this one, or none.
        """
        self._check_place()
        with _lock:
            return owner in self._mine and self._retaken(owner)

    def _retaken(self, owner: int) -> bool:
        for probe in range(PROBES):
            if probe:
                clock.sleep(APART)
            if self._locked(owner, exclusive=True):  # of no effect if we have it
                return True
        self._mine.discard(owner)
        return False

    def free(self, owner: int) -> None:
        """Live under it no more."""
        self._mine.discard(owner)
        if is_ours(self._file) and fcntl is not None:  # pragma: no branch - Windows; else none is
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, owner)

    def alive(self, owner: int) -> bool:
        """Tell whether a process lives under this number.

        Others are probed with a shared lock, so two that probe do not see each other; we never
        probe ourselves: that would succeed, and taking the lock back would drop our own.

        Raises:
            JournalError: Another file is in the place of this one, or none.
        """
        if owner in self._mine:
            return True
        if owner == 0 or fcntl is None:
            return False
        _look()
        self._check_place()
        with _lock:  # a thread that takes a number would lose it when this one is done with it
            if not self._locked(owner, exclusive=False):
                return True
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, owner)
            return False

    def is_missing(self) -> bool:
        """Tell whether there is no file at its path any more."""
        return not os.path.lexists(self.path)

    def _check_place(self) -> None:
        try:
            seen = os.lstat(self.path)
        except FileNotFoundError:
            message = f"{self.path} is gone, and this process has it open"
        else:
            if _key(seen) == self._key:
                return
            message = f"{self.path} is another file than the one that this process has open"
        message += ": put that one back, or end every process that uses the journal" + _advice(
            self.path
        )
        raise JournalError(message)

    def _locked(self, owner: int, *, exclusive: bool) -> bool:
        if fcntl is None:  # pragma: no cover - Windows
            return True
        if not is_ours(self._file):
            self._open_again()
        how = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        try:
            fcntl.lockf(self._file, how | fcntl.LOCK_NB, 1, owner)
        except (BlockingIOError, PermissionError):  # POSIX leaves the choice
            return False
        return True

    def _open_again(self) -> None:
        """Open the file anew, since the descriptor is not ours any more, and lock our numbers."""
        file = _open(self.path, make=False)
        if _key(os.fstat(file)) != self._key:
            give_back(file)
            self._check_place()
        self._file = file
        for owner in [*self._mine]:
            self._retaken(owner)


def owners_at(path: str, known: int = 0) -> Owners:
    """Give the owners' file of this path; by its inode, which a path may change.

    Args:
        path: Of the file; a new one is made if nobody can have a lock in an old one.
        known: The highest number under which a process drives a saga.

    Raises:
        JournalError: It is not the file in which those processes have their locks.
        OSError: It can't be opened.
    """
    _look()
    with _lock:
        if problem := trouble(path, known):
            raise JournalError(problem)
        try:
            seen = os.lstat(path)
        except FileNotFoundError:
            owners = None
        else:
            owners = _files.get(_key(seen))
        if owners is None:
            owners = Owners(path, _open(path, make=True))
            _files[owners._key] = owners  # noqa: SLF001 - of this module
        return owners


def trouble(path: str, known: int) -> str:
    """Say why this can't be the file in which processes up to that number have their locks."""
    try:
        size = os.lstat(path).st_size
    except FileNotFoundError:
        size = -1
    if not known or size > known:
        return ""
    what = "is missing" if size < 0 else "is another file than before"
    return (
        f"{path} {what}, and sagas are open that processes have driven: which of these live cannot "
        f"be told. If it was moved, put it back; else end every process that uses the journal"
        f"{_advice(path)}"
    )


def _advice(path: str) -> str:
    return f", and run `saga doctor --new-owners {path.removesuffix('-owners')}`"


def cover(file: int, owner: int) -> None:
    """Make the file long enough to have had the lock of a number; whoever calls has the gate."""
    if os.fstat(file).st_size <= owner:
        os.ftruncate(file, owner + 1)


def make_anew(path: str, known: int) -> None:
    """Make a file for owners up to a number, in place of what is there; with the gate.

    Whoever lives is dead to it: so nobody may use the journal.

    Raises:
        OSError: It can't be made.
    """
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - paths are text here
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        cover(file, known)
    finally:
        os.close(file)


def who_lives(journal: str) -> bool:
    """Tell whether another process has a journal open: by its locks, and by those of SQLite.

    Whoever calls has none on either file, which closing a descriptor would drop.
    """
    for path, first, length in ((journal, *SQLITE_SHARES), (f"{journal}-owners", 1, 0)):
        try:
            file = open_beside(path, os.O_RDWR, journal)
        except (JournalError, OSError):  # no file of ours, so nobody's lock
            continue
        try:
            if fcntl is not None:  # pragma: no branch - Windows
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, first)
        except (BlockingIOError, PermissionError):
            return True
        finally:
            os.close(file)
    return False


def _open(path: str, *, make: bool) -> int:
    journal = path.removesuffix("-owners")
    try:
        return keep_beside(path, os.O_RDWR | os.O_CREAT * make, journal)
    except OSError:
        if not os.access(path, os.R_OK):
            raise
        return keep_beside(path, os.O_RDONLY, journal)  # enough to see who lives


def _key(seen: os.stat_result) -> Key:
    return seen.st_dev, seen.st_ino


def _look() -> None:
    if _process != os.getpid():
        _begin_anew()
    if is_held(_lock):
        raise interrupted()


def _begin_anew() -> None:
    """Leave what was the parent's, whose locks we did not inherit: a child opens its own."""
    global _lock, _files, _process  # noqa: PLW0603 - of the process, as the module is
    with _beginning:
        if _process != os.getpid():  # pragma: no branch - another thread was faster
            for owners in _files.values():
                give_back(owners._file)  # noqa: SLF001 - of this module; none of ours is locked yet
            _lock, _files = threading.RLock(), {}
            _process = os.getpid()  # last


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_begin_anew)
