"""Descriptors that are kept open, and may have become somebody else's.

A daemon closes every descriptor that it has, and what it opens next gets the same numbers. So a
number is asked what it is before it is used. For those that we open, device and inode would say too
little: their locks belong to one opening of a file. Each of these is put at a position in its file
where nobody else's will be. Nothing reads or writes at the position of such a descriptor, so it
stays there, and to ask for it takes a quarter of the time that `os.fstat` takes.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import namedtuple
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from py_api_saga.exceptions import JournalError

if TYPE_CHECKING:
    import sqlite3


Key = tuple[int, int]  # device, inode

MARK = 0x73616761  # "saga"; below 2 GiB, which every file system allows
OPEN = "/dev/fd"  # Linux and the BSDs, macOS among them, list a process's descriptors there
_CLONE_FILES = 0x400  # unshare(2)
_EXPECTED = "expected a regular file that the journal has made: move it away"


# --- files beside a journal -----------------------------------------------------------------------


def open_beside(path: str, flags: int, journal: str) -> int:
    """Open a file that lies beside a journal, for a moment.

    Args:
        path: Of that file. A new one is for its owner only.
        flags: Of `os.open`. No link is followed, nor is a pipe waited for.
        journal: Whose owner may own that file, besides us and root.

    Raises:
        JournalError: It is not a regular file, has several names, or is a stranger's.
        OSError: It can't be opened.
    """
    careful = os.O_NOFOLLOW | os.O_NONBLOCK if hasattr(os, "O_NOFOLLOW") else 0  # not on Windows
    try:
        number = os.open(path, flags | careful, 0o600)
    except OSError as error:
        if os.path.islink(path):  # noqa: PTH114 - paths are text here
            message = f"{path} is a symbolic link: {_EXPECTED}"
            raise JournalError(message) from error
        raise
    if problem := _strange(os.fstat(number), journal):
        os.close(number)
        message = f"{path} {problem}: {_EXPECTED}"
        raise JournalError(message)
    return number


def keep_beside(path: str, flags: int, journal: str) -> int:
    """Do the same for as long as this process lives: see `is_ours`."""
    number = open_beside(path, flags, journal)
    os.lseek(number, MARK, os.SEEK_SET)
    return number


def _strange(seen: os.stat_result, journal: str) -> str:
    """Say what speaks against a file; nothing if it may be ours."""
    if not stat.S_ISREG(seen.st_mode):
        return "is not a regular file"
    if seen.st_nlink > 1:
        return f"has {seen.st_nlink} names (hard links)"
    if not hasattr(os, "geteuid"):  # pragma: no cover - Windows
        return ""
    plausible = {os.geteuid(), 0}
    with suppress(OSError):  # it may be gone, which others will say
        plausible.add(os.stat(journal).st_uid)  # noqa: PTH116 - paths are text here
    if seen.st_uid in plausible:
        return ""
    return f"belongs to user {seen.st_uid}, who is neither root, nor you, nor the journal's owner"


def is_ours(number: int) -> bool:
    """Tell whether this is still the descriptor that `keep_beside` gave; -1 never is."""
    try:
        return os.lseek(number, 0, os.SEEK_CUR) == MARK
    except OSError:  # closed, or something without positions: a socket, a pipe
        return False


def give_back(number: int) -> None:
    """Close a descriptor that `keep_beside` gave, unless it is somebody else's meanwhile."""
    if is_ours(number):
        os.close(number)


# --- what SQLite has open -------------------------------------------------------------------------


class Kept(namedtuple("Kept", "number key path")):  # noqa: PYI024 - a typed one takes 0.4 ms more
    """A descriptor that SQLite keeps: it never says which, nor asks whether it is still its own."""

    number: int
    key: Key
    path: str

    __slots__ = ()

    def is_there(self) -> bool:
        """Tell whether it is still on the same file."""
        try:
            seen = os.fstat(self.number)
        except OSError:
            return False
        return (seen.st_dev, seen.st_ino) == self.key


def are_there(kept: Iterable[Kept]) -> bool:
    """Tell whether all of these are; asked before each commit, so it takes 0.3 µs for each."""
    try:
        for one in kept:
            if os.lseek(one[0], 0, os.SEEK_CUR) != MARK:
                break
        else:
            return True
    except OSError:
        return False
    return all(one.is_there() for one in kept)


def open_on(journal: str) -> set[Kept]:
    """List the descriptors of this process that are open on a journal's files."""
    files: dict[Key, str] = {}
    for path in (journal, f"{journal}-wal", f"{journal}-shm"):
        with suppress(OSError):
            seen = os.stat(path)  # noqa: PTH116 - paths are text here
            files[seen.st_dev, seen.st_ino] = path
    numbers: Sequence[str] = ()
    with suppress(OSError):  # not every system has such a folder, nor every container
        numbers = os.listdir(OPEN)  # noqa: PTH208 - pathlib: 5 ms to import
    found = set()
    for number in map(int, numbers):
        with suppress(OSError):  # that of the folder itself is closed
            seen = os.fstat(number)
            key = seen.st_dev, seen.st_ino
            if key in files:
                found.add(Kept(number, key, files[key]))
    return found


def opened_since(before: set[Kept], journal: str) -> tuple[Kept, ...]:
    """List those that were not open before, and mark them.

    An SQLite that was built without pread(2) moves them: then `os.fstat` is asked each time.
    """
    found = tuple(open_on(journal) - before)
    for one in found:
        os.lseek(one.number, MARK, os.SEEK_SET)
    return found


def close_all(connections: Iterable[sqlite3.Connection | None], kept: Iterable[Kept]) -> None:
    """Close connections to one file, also if their descriptors are somebody else's meanwhile.

    SQLite would then lock, write to and close what others have opened. But they have to be closed,
    since new ones would share what SQLite knows of the file in this process: which locks it holds,
    and the descriptor of the shared memory. So a thread gets a table of descriptors of its own,
    in which the journal's files have their numbers again, and closes them there.

    Raises:
        JournalError: The system does not allow that; then they stay open.
    """
    opened = [connection for connection in connections if connection is not None]
    kept = dict.fromkeys(kept)
    if not opened:
        return
    if are_there(kept):
        for connection in opened:
            connection.close()
        return
    if not _within_table_of_its_own(lambda: _close_restored(opened, kept)) and not _restored(kept):
        message = (
            f"descriptors of the journal {next(iter(kept)).path} were closed in this process, and "
            f"others have their numbers: call journal.close() before you close all descriptors, "
            f"and start this process again"
        )
        raise JournalError(message)
    for connection in opened:
        connection.close()  # of no effect if it was closed in the thread
    for one in kept:
        if one.is_there():  # closed in the thread alone
            os.close(one.number)


def _within_table_of_its_own(action: Callable[[], None]) -> bool:
    """Do something in a thread that has its own table of descriptors; False if there is none."""
    done: list[bool] = []

    def work() -> None:
        with suppress(Exception):  # whatever it is, there is another way
            import ctypes  # noqa: PLC0415 - 10 ms, in an emergency only

            if not ctypes.CDLL(None).unshare(_CLONE_FILES):
                action()
                done.append(True)

    thread = threading.Thread(target=work, name="py-api-saga-closes", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more threads
        return False
    thread.join()
    return bool(done)


def _close_restored(connections: Iterable[sqlite3.Connection], kept: Iterable[Kept]) -> None:
    """Put the files back under their numbers, whatever is there, and close."""
    for one in kept:
        if not one.is_there():
            number = _reopened(one)
            if number != one.number:
                os.dup2(number, one.number, inheritable=False)
                os.close(number)
    for connection in connections:
        connection.close()


def _restored(kept: Iterable[Kept]) -> bool:
    """Put the files back under their numbers, if all of these are free."""
    import fcntl  # noqa: PLC0415 - not on Windows, where there is no such folder either

    for one in kept:
        if not one.is_there():
            number = _reopened(one)
            if number != one.number:
                got = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, one.number)
                os.close(number)
                if got != one.number:
                    os.close(got)
                    return False
    return True


def _reopened(one: Kept) -> int:
    """Open a file again; what can't be locked for writing if it is not there any more.

    SQLite would take a lock that it gets for one on the journal, and write to its file.
    """
    with suppress(OSError):
        number = os.open(one.path, os.O_RDWR)
        seen = os.fstat(number)
        if (seen.st_dev, seen.st_ino) == one.key:
            return number
        os.close(number)
    return os.open("/", os.O_RDONLY)


def leave_open(connections: Iterable[sqlite3.Connection | None]) -> None:
    """Never close these, not even when the interpreter ends: they are not ours to close."""
    import ctypes  # noqa: PLC0415 - 10 ms, in an emergency only

    for connection in connections:
        if connection is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
