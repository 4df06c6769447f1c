"""The journal files of this process, none of which is open during a fork.

A fork in C runs no hook of ours: in its child a file of the parent may be open. It is never used
there, and closed before the child opens it for itself, see `JournalFile`.
"""

from __future__ import annotations

import atexit
import os
import threading

from py_api_saga.exceptions import JournalError
from py_api_saga.journal.reentry import interrupted, is_held
from py_api_saga.journal.sqlite.connecting import Options, Place
from py_api_saga.journal.sqlite.file import JournalFile
from py_api_saga.journal.sqlite.shared import Shared
from py_api_saga.process import OwnLock

_shared: dict[tuple[int, int], Shared] = {}
_inherited: dict[tuple[int, int], list[JournalFile]] = {}  # of the processes that we descend from
_lock = threading.RLock()
_process = os.getpid()
_beginning = OwnLock()


def shared_at(place: Place, options: Options) -> Shared:
    """Give what all journal objects of this process on one file share."""
    path, key = place
    if _process != os.getpid():
        _begin_anew()
    if is_held(_lock):
        raise interrupted()
    with _lock:
        shared = _shared.get(key)
        before = 0
        if shared is not None and shared.file.path != path and not shared.file.lost:
            if shared.file.connection is not None:
                message = f"the journal {shared.file.path} was moved to {path} while it was in use"
                raise JournalError(message)
            shared.file.lost, before = True, shared.desk.owner
        if shared is None or shared.file.lost:
            files = [other.file for other in _shared.values()]
            if any(file.path == path and file.is_interrupted() for file in files):
                raise interrupted()  # in the middle of leaving a file that was there before
            inherited = _inherited.setdefault(key, [])
            shared = _shared[key] = Shared(place, options, inherited, before)
        elif str(shared.file.options) != str(options):
            message = (
                f"{path} is in use in this process with {shared.file.options}: it can't "
                f"have {options} at the same time"
            )
            raise JournalError(message)
        return shared


def close(shared: Shared) -> None:
    """Close a file; it is opened again when it is needed."""
    if (
        shared.file.is_usable() and not is_held(_lock) and shared.close()
    ):  # without the lock: it may wait at the gate, and others open their own files
        with _lock:
            for key in [key for key, other in _shared.items() if other is shared]:
                del _shared[key]


def _at_exit() -> None:
    """Close inside the gate: the last one that closes a file writes the WAL back."""
    if _process != os.getpid():
        _begin_anew()
    for shared in list(_shared.values()):
        try:
            close(shared)
        except Exception:  # noqa: BLE001 - the program ends, whatever it is
            shared.file.leave_open()
    for files in _inherited.values():
        for file in files:
            file.leave_open()


def _before_fork() -> None:
    if _process != os.getpid():  # pragma: no cover - a child ends without telling coverage
        _begin_anew()
    _lock.acquire()
    for shared in _shared.values():
        shared.file.pause()


def _after_fork_in_parent() -> None:
    for shared in _shared.values():
        shared.file.resume()
    _lock.release()


def _begin_anew() -> None:
    """Leave what is the parent's. Its gate is closed: else it stays locked if the parent dies."""
    global _lock, _shared, _process  # noqa: PLW0603 - of the process, as the module is
    with _beginning:
        if _process != os.getpid():  # pragma: no branch - another thread was faster
            for key, shared in _shared.items():
                shared.file.gate.abandon()
                if any(shared.file.connections()):
                    _inherited.setdefault(key, []).append(shared.file)
            _lock, _shared = threading.RLock(), {}
            _process = os.getpid()  # last


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_begin_anew,
    )
