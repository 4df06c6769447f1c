"""The engines of this process: one for each journal file, none with an open file during a fork."""

from __future__ import annotations

import atexit
import os
import threading
from contextlib import suppress

from py_api_saga.exceptions import JournalError
from py_api_saga.journal.engine import Engine
from py_api_saga.journal.reentry import interrupted, is_held

TYPE_CHECKING = False  # as in `typing`, which takes 7 ms to import
if TYPE_CHECKING:
    from py_api_saga.journal.opening import Options, Place

_engines: dict[tuple[int, int], Engine] = {}
_abandoned: list[Engine] = []  # of the parent: if one is open, it must not be closed here
_lock = threading.RLock()


def engine_at(place: Place, options: Options) -> Engine:
    """Give the engine of a file, which all of its journal objects in this process share."""
    path, key = place
    if is_held(_lock):
        raise interrupted()
    with _lock:
        engine = _engines.get(key)
        if engine is not None and engine.path != path and not engine.lost:
            if engine.connection is not None:
                message = f"the journal {engine.path} was moved to {path} while it was in use"
                raise JournalError(message)
            engine.lost = True
        if engine is None or engine.lost:
            if any(other.path == path and other.is_interrupted() for other in _engines.values()):
                raise interrupted()  # in the middle of leaving a file that was there before
            engine = _engines[key] = Engine(place, options)
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
        not is_held(_lock) and engine.close()
    ):  # without the lock: it may wait at the gate, and others open their own files
        with _lock:
            for key in [key for key, other in _engines.items() if other is engine]:
                del _engines[key]


def _at_exit() -> None:
    """Close inside the gate: the last one that closes a file writes the WAL back."""
    for engine in list(_engines.values()):
        with suppress(Exception):
            close(engine)


def _before_fork() -> None:
    _lock.acquire()
    for engine in _engines.values():
        engine.pause()


def _after_fork_in_parent() -> None:
    for engine in _engines.values():
        engine.resume()
    _lock.release()


def _after_fork_in_child() -> None:  # pragma: no cover - a child ends without telling coverage
    for engine in _engines.values():
        engine.abandon()
        _abandoned.append(engine)
    _engines.clear()
    _lock.release()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
