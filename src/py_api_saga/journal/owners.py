"""Who lives: each process locks one byte of the owners' file, at its number, until it dies.

The kernel frees a record lock the moment its process dies, keeps it while the process is paused,
and does not give it to a fork. So nothing has to be written for staying alive, and no clock has to
be believed. But it also drops all locks of a process on a file when the process closes any
descriptor of it (POSIX, fcntl): there is one descriptor per process and file, never closed.
"""

from __future__ import annotations

import os
import threading

from py_api_saga.journal.reentry import interrupted, is_held

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: one process only
    fcntl = None  # type: ignore[assignment]

_files: dict[tuple[int, int], Owners] = {}
_lock = threading.RLock()


class Owners:
    """The owners' file of one journal, as one process sees it."""

    def __init__(self, file: int) -> None:
        """Keep its descriptor for ever."""
        self._file = file
        self._mine: set[int] = set()

    def take(self, owner: int) -> bool:
        """Live under this number, unless somebody does: a restored backup may give it twice."""
        if owner in self._mine:
            return False
        with _lock:
            if not self._locked(owner, exclusive=True):
                return False
            self._mine.add(owner)
            return True

    def free(self, owner: int) -> None:
        """Live under it no more."""
        self._mine.discard(owner)
        if fcntl is not None:  # pragma: no branch - Windows
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, owner)

    def alive(self, owner: int) -> bool:
        """Tell whether a process lives under this number.

        Others are probed with a shared lock, so two that probe do not see each other; we never
        probe ourselves: that would succeed, and taking the lock back would drop our own.
        """
        if owner in self._mine:
            return True
        if owner == 0 or fcntl is None:
            return False
        _look()
        with _lock:  # a thread that takes a number would lose it when this one is done with it
            if not self._locked(owner, exclusive=False):
                return True
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, owner)
            return False

    def _locked(self, owner: int, *, exclusive: bool) -> bool:
        if fcntl is None:  # pragma: no cover - Windows
            return True
        how = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        try:
            fcntl.lockf(self._file, how | fcntl.LOCK_NB, 1, owner)
        except (BlockingIOError, PermissionError):  # POSIX leaves the choice
            return False
        return True


def owners_at(path: str) -> Owners:
    """Give the owners' file of this path; by its inode, which a path may change."""
    _look()
    with _lock:
        try:
            seen = os.stat(path)  # noqa: PTH116 - paths are text here
        except FileNotFoundError:
            known = None
        else:
            known = _files.get((seen.st_dev, seen.st_ino))
        if known is None:
            try:
                file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            except OSError:
                if not os.access(path, os.R_OK):
                    raise
                file = os.open(path, os.O_RDONLY)  # enough to see who lives
            seen = os.fstat(file)
            known = _files[seen.st_dev, seen.st_ino] = Owners(file)
        return known


def _look() -> None:
    if is_held(_lock):
        raise interrupted()


def _after_fork_in_child() -> None:  # pragma: no cover - a child ends without telling coverage
    """Forget the numbers of the parent, whose locks we did not inherit; keep the descriptors."""
    for owners in _files.values():
        owners._mine.clear()  # noqa: SLF001 - of this module
    _lock.release()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_after_fork_in_child
    )
