"""What is this process's own: its name among others, and locks that the child of a fork has anew.

A fork copies who holds a lock, but not the thread that would release it. Python's hooks around a
fork are for `os.fork` alone: uWSGI forks in C, and nothing of ours runs. So whoever takes such a
lock asks first which process this is, which takes 50 ns.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Final

from py_api_saga.release import VERSION

# What this machine is called; a name that is not valid Unicode could not be written down.
HOST: Final = (
    (os.uname().nodename if hasattr(os, "uname") else "").encode(errors="replace").decode()
)


def identity() -> dict[str, Any]:
    """Name this process for whoever reads a journal: its `host`, `pid`, and `version` of this."""
    return {"host": HOST, "pid": os.getpid(), "version": VERSION}


class OwnLock:
    """A reentrant lock of each process; the one that a child inherits is never asked again."""

    __slots__ = ("_locks",)

    def __init__(self) -> None:
        self._locks: dict[int, threading.RLock] = {}  # of this process and of its ancestors

    @property
    def own(self) -> threading.RLock:
        """The lock of this process; threads that ask at one moment get the same one."""
        process = os.getpid()
        lock = self._locks.get(process)
        return self._locks.setdefault(process, threading.RLock()) if lock is None else lock

    def acquire(self) -> None:
        """Wait for it, and hold it."""
        self.own.acquire()

    def release(self) -> None:
        """Hold it no more."""
        self.own.release()

    def __enter__(self) -> None:
        self.own.acquire()

    def __exit__(self, *_: object) -> None:
        self.own.release()
