"""`saga doctor --new-owners`: a file that tells who lives, for a journal that has come without."""

from __future__ import annotations

import argparse
import os
from contextlib import closing

from py_api_saga.cli.opening import path_of
from py_api_saga.cli.printing import write
from py_api_saga.exceptions import JournalError
from py_api_saga.journal.sqlite.connecting import mounted_alone
from py_api_saga.journal.sqlite.gate import Gate, inside, shut
from py_api_saga.journal.sqlite.owners import make_anew, trouble, who_lives
from py_api_saga.journal.sqlite.view import View
from py_api_saga.story.words import plural

_ASK = "Has every process that used {} ended? One that lives would lose its sagas to others. [y/N] "


def new_owners(arguments: argparse.Namespace) -> int:
    """Make the file, unless the one that is there is good; 1 if that was not to be."""
    if arguments.new_owners:
        arguments.journal = arguments.new_owners
    path = os.path.realpath(path_of(arguments))
    with View(path) as journal:
        owners = journal.owners()
    known = max((owner for owner, _ in owners), default=0)
    beside = f"{path}-owners"
    if os.path.isfile(beside) and not os.path.islink(beside) and not trouble(beside, known):  # noqa: PTH113, PTH114 - paths are text here
        write(f"{beside} is there, and nothing speaks against it: nothing was changed")
        return 0
    if problem := mounted_alone(path) or _in_use(path):
        raise JournalError(problem)
    if not arguments.yes and not _agreed(path):
        write("nothing was changed")
        return 1
    with closing(Gate(f"{path}-gate")) as gate:
        problem = _in_use(path) if gate.enter() else shut(path, gate.path)
        if problem:  # since we asked
            raise JournalError(problem)
        make_anew(beside, known)
    left = sum(sagas for owner, sagas in owners if owner)
    write(f"made {beside}: {plural(left, 'open saga')} of processes that have ended may be taken")
    return 0


def _agreed(path: str) -> bool:
    try:
        return input(_ASK.format(path)).strip().lower() in {"y", "yes"}
    except EOFError:
        return False


def _in_use(path: str) -> str:
    """Say who uses a journal, as far as locks tell."""
    writes = inside(f"{path}-gate")
    if writes is not None and writes.pid != os.getpid():
        return f"{writes} is writing to {path}: end it first"
    if who_lives(path):
        return f"a process has {path} open: end every process that uses it, and readers, first"
    return ""
