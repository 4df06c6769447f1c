"""A new owners' file, for a journal that has come without: restored, or copied."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing

from py_api_saga.exceptions import JournalError
from py_api_saga.journal.sqlite.connecting import mounted_alone
from py_api_saga.journal.sqlite.gate import Gate, inside, shut
from py_api_saga.journal.sqlite.owners import make_anew, trouble, who_lives
from py_api_saga.journal.sqlite.view import SQLiteView


def renew(path: str, may: Callable[[], bool]) -> int | None:
    """Make the owners' file of the journal at a real path anew, unless the one there is good.

    Args:
        path: Of the journal, which is there.
        may: Asked before anything is done: whether every process that used it has ended.

    Returns:
        How many open sagas were driven by processes that have ended; -1 if the file was good, None
        if it was not to be.

    Raises:
        JournalError: A process uses the journal, as far as locks tell.
    """
    with SQLiteView(path) as journal:
        owners = journal.owners()
    known = max((owner for owner, _ in owners), default=0)
    beside = f"{path}-owners"
    if os.path.isfile(beside) and not os.path.islink(beside) and not trouble(beside, known):  # noqa: PTH113, PTH114 - paths are text here
        return -1
    if problem := mounted_alone(path) or _in_use(path):
        raise JournalError(problem)
    if not may():
        return None
    with closing(Gate(f"{path}-gate")) as gate:
        problem = _in_use(path) if gate.enter() else shut(path, gate.path)
        if problem:  # since we asked
            raise JournalError(problem)
        make_anew(beside, known)
    return sum(sagas for owner, sagas in owners if owner)


def _in_use(path: str) -> str:
    """Say who uses a journal, as far as locks tell."""
    writes = inside(f"{path}-gate")
    if writes is not None and writes.pid != os.getpid():
        return f"{writes} is writing to {path}: end it first"
    if who_lives(path):
        return f"a process has {path} open: end every process that uses it, and readers, first"
    return ""
