"""Where a process may come to its end, counted; and what it tells before it does.

What is told is a line of a file that is only appended to, so that it outlives `kill -9`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from py_api_saga.journal.sqlite import connecting

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Here:
    """What is to befall this process."""

    file = -1  # where it tells
    place = Path()
    # The number of the point where it is struck, 0 for none; or a kind of point, and how many
    # threads are to meet there: then it is known what each of them is at.
    at: int | tuple[str, int] = 0
    met = threading.Event()
    how = "kill"
    journal_mode = "wal"
    passed: list[str] = []  # noqa: RUF012 - one for each process
    lock = threading.Lock()


def begin(place: Path, at: int | tuple[str, int], how: str) -> None:
    """Begin to count, and to tell."""
    Here.place, Here.at, Here.how = place, at, how
    Here.file = os.open(place / "told", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    counting = SimpleNamespace(**vars(sqlite3) | {"connect": _connect})
    vars(connecting)["sqlite3"] = counting


def tell(*words: object) -> None:
    """Tell a line, which is then there whatever happens to this process."""
    line = " ".join(str(word).replace("\n", "\\n") for word in words)
    os.write(Here.file, f"{line}\n".encode())


def point(kind: str) -> None:
    """Pass a point, or be struck there."""
    with Here.lock:
        Here.passed.append(kind)
        if isinstance(Here.at, int):
            struck, meeting = len(Here.passed) == Here.at, False
        else:
            lacking = Here.at[1] - Here.passed.count(kind) if kind == Here.at[0] else -1
            struck, meeting = lacking == 0, lacking > 0
    if meeting:
        Here.met.wait()
    if struck:
        tell("struck", kind)
        os.kill(os.getpid(), SIGNALS[Here.how])
        Here.met.set()


class _Connection(sqlite3.Connection):
    """A connection that passes a point before and after all that it makes durable."""

    def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
        if sql != "COMMIT" and not sql.startswith("PRAGMA journal_mode"):
            return super().execute(sql, *rest)
        point("before a commit")
        cursor = super().execute(sql, *rest)
        point("after a commit")
        return cursor

    def close(self) -> None:
        point("before closing")
        super().close()
        point("after closing")


def _connect(path: str, **options: Any) -> sqlite3.Connection:
    if "mode=ro" in path:
        options["factory"] = sqlite3.Connection
    connection: sqlite3.Connection = sqlite3.connect(path, **{"factory": _Connection} | options)
    return connection


def count_transactions() -> None:
    """Pass a point before and after each transaction with PostgreSQL that may write."""
    from py_api_saga.journal.postgresql.server import Server  # noqa: PLC0415 - it needs a driver

    if Server.transact is _transact:
        return
    _Real.transact = Server.transact
    Server.transact = _transact  # type: ignore[method-assign]


class _Real:
    transact: Any


def _transact(self: Any, connection: Any, asked: Any, begin: str = "begin") -> Any:
    writes = begin == "begin"
    if writes:
        point("before a commit")
    found = _Real.transact(self, connection, asked, begin)
    if writes:
        point("after a commit")
    return found


# --- no two processes at once ---------------------------------------------------------------------


class _Watch:
    """Files that a process locks while it calls for a saga; the kernel unlocks them if it dies."""

    lock = threading.Lock()
    held: dict[str, tuple[int, int]] = {}  # noqa: RUF012 - as above


def _lock(file: int) -> bool:
    import fcntl  # noqa: PLC0415 - there is none on Windows

    with contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _dies(pid: int) -> bool:
    """Tell whether a process runs no more, though the kernel has not closed all its files yet.

    Of one that is killed, the lock that says that it lives may be gone a moment before this one.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it was there, since it held the lock
        return Path("/proc/self/stat").exists()
    return state in "ZX" or bool(int(fields[5]) & 0x4)  # PF_EXITING


@contextlib.contextmanager
def calling(saga: str) -> Iterator[None]:
    """Tell if another process is calling for the same saga at the same time."""
    with _Watch.lock:
        file, times = _Watch.held.get(saga, (-1, 0))
        if file < 0:
            file = os.open(Here.place / f"calling-{saga}", os.O_RDWR | os.O_CREAT, 0o666)
            while not _lock(file):
                if not _dies(int(os.pread(file, 20, 0) or 0)):
                    tell("together", saga)
                    break
                time.sleep(0.001)
            os.pwrite(file, f"{os.getpid():<20}".encode(), 0)
        _Watch.held[saga] = file, times + 1
    try:
        yield
    finally:
        with _Watch.lock:
            file, times = _Watch.held.pop(saga)
            if times > 1:
                _Watch.held[saga] = file, times - 1
            else:
                os.close(file)
