"""The engines of this process: one for each journal file, none with an open file during a fork.

A fork in C runs no hook of ours: in its child an engine of the parent may have its file open. It is
never used there, and closed before an engine of the child opens that file, see `Engine`.
"""

from __future__ import annotations

import atexit
import os
import threading

from py_api_saga.exceptions import JournalError
from py_api_saga.journal.reentry import interrupted, is_held
from py_api_saga.journal.sqlite.file import Engine
from py_api_saga.process import OwnLock

TYPE_CHECKING = False  # as in `typing`, which takes 7 ms to import
if TYPE_CHECKING:
    from py_api_saga.journal.sqlite.opening import Options, Place

_engines: dict[tuple[int, int], Engine] = {}
_inherited: dict[tuple[int, int], list[Engine]] = {}  # of the processes that we descend from
_lock = threading.RLock()
_process = os.getpid()
_beginning = OwnLock()


def engine_at(place: Place, options: Options) -> Engine:
    """Give the engine of a file, which all of its journal objects in this process share."""
    path, key = place
    if _process != os.getpid():
        _begin_anew()
    if is_held(_lock):
        raise interrupted()
    with _lock:
        engine = _engines.get(key)
        before = 0
        if engine is not None and engine.path != path and not engine.lost:
            if engine.connection is not None:
                message = f"the journal {engine.path} was moved to {path} while it was in use"
                raise JournalError(message)
            engine.lost, before = True, engine.owner
        if engine is None or engine.lost:
            if any(other.path == path and other.is_interrupted() for other in _engines.values()):
                raise interrupted()  # in the middle of leaving a file that was there before
            inherited = _inherited.setdefault(key, [])
            engine = _engines[key] = Engine(place, options, inherited, before)
        elif engine.options != options:
            message = (
                f"{path} is in use in this process with {_words(engine.options)}: it can't "
                f"have {_words(options)} at the same time"
            )
            raise JournalError(message)
        return engine


def _words(options: Options) -> str:
    return f"durability={options.durability!r}, journal_mode={options.journal_mode!r}"


def close(engine: Engine) -> None:
    """Close the file of an engine; it is opened again when it is needed."""
    if (
        engine.is_usable() and not is_held(_lock) and engine.close()
    ):  # without the lock: it may wait at the gate, and others open their own files
        with _lock:
            for key in [key for key, other in _engines.items() if other is engine]:
                del _engines[key]


def _at_exit() -> None:
    """Close inside the gate: the last one that closes a file writes the WAL back."""
    if _process != os.getpid():
        _begin_anew()
    for engine in list(_engines.values()):
        try:
            close(engine)
        except Exception:  # noqa: BLE001 - the program ends, whatever it is
            engine.leave_open()
    for engines in _inherited.values():
        for engine in engines:
            engine.leave_open()


def _before_fork() -> None:
    if _process != os.getpid():  # pragma: no cover - a child ends without telling coverage
        _begin_anew()
    _lock.acquire()
    for engine in _engines.values():
        engine.pause()


def _after_fork_in_parent() -> None:
    for engine in _engines.values():
        engine.resume()
    _lock.release()


def _begin_anew() -> None:
    """Leave what is the parent's. Its gate is closed: else it stays locked if the parent dies."""
    global _lock, _engines, _process  # noqa: PLW0603 - of the process, as the module is
    with _beginning:
        if _process != os.getpid():  # pragma: no branch - another thread was faster
            for key, engine in _engines.items():
                engine.gate.abandon()
                if any(engine.connections()):
                    _inherited.setdefault(key, []).append(engine)
            _lock, _engines = threading.RLock(), {}
            _process = os.getpid()  # last


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_begin_anew,
    )
