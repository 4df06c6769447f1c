"""`saga doctor --new-owners`: a file that tells who lives, for a journal that has come without."""

from __future__ import annotations

import argparse

from py_api_saga.cli.asking import agreed
from py_api_saga.cli.opening import path_of_file
from py_api_saga.cli.printing import write
from py_api_saga.journal.sqlite.renewal import renew
from py_api_saga.story.words import plural

_ASK = "Has every process that used {} ended? One that lives would lose its sagas to others."


def new_owners(arguments: argparse.Namespace) -> int:
    """Make the file, unless the one that is there is good; 1 if that was not to be."""
    if arguments.new_owners:
        arguments.journal = arguments.new_owners
    path = path_of_file(arguments)
    left = renew(path, lambda: arguments.yes or agreed(_ASK.format(path)))
    if left is None:
        write("nothing was changed")
        return 1
    beside = f"{path}-owners"
    if left < 0:
        write(f"{beside} is there, and nothing speaks against it: nothing was changed")
    else:
        ended = "of processes that have ended may be taken"
        write(f"made {beside}: {plural(left, 'open saga')} {ended}")
    return 0
