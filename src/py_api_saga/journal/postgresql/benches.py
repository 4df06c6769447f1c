"""The benches of this process, one for each database and prefix.

A fork may be Python's or one in C, of which no hook of ours hears. So each use asks which process
this is. A child never closes what it has inherited, which would end the session of its parent.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Hashable
from contextlib import suppress

from py_api_saga.exceptions import JournalError
from py_api_saga.journal.postgresql.bench import Bench
from py_api_saga.journal.postgresql.connections import Connections
from py_api_saga.journal.postgresql.queries import Naming
from py_api_saga.journal.postgresql.server import Server
from py_api_saga.journal.reentry import interrupted, is_held
from py_api_saga.process import OwnLock

_benches: dict[Hashable, Bench] = {}
_inherited: list[Bench] = []  # kept, so that nothing of them is closed here
_lock = OwnLock()


def bench_at(
    connections: Connections, naming: Naming, durability: str, lease: float, patience: float
) -> Bench:
    """Give what all journals of this process on one database share.

    Raises:
        JournalError: There is one already, with other options.
    """
    if is_held(_lock.own):
        raise interrupted()
    key = (connections.key, naming)
    with _lock:
        bench = _benches.get(key)
        if bench is not None and bench.process != os.getpid():
            _inherited.append(bench)
        if bench is None or not bench.is_usable():
            bench = _benches[key] = Bench(Server(connections, naming, durability, patience), lease)
            return bench
    server = bench.server
    ours = (durability, lease, patience)
    theirs = (server.durability, bench.lease.seconds, server.patience)
    if ours != theirs:
        message = (
            f"{connections.place} is in use in this process with {_words(*theirs)}: it can't have "
            f"{_words(*ours)} at the same time"
        )
        raise JournalError(message)
    return bench


def _words(durability: str, lease: float, patience: float) -> str:
    return f"durability={durability!r}, lease={lease:g}, patience={patience:g}"


def close(bench: Bench) -> None:
    """Close what is open of a database; it is opened again when it is needed."""
    if bench.is_usable() and bench.close():
        with _lock:
            for key in [key for key, other in _benches.items() if other is bench]:
                del _benches[key]


def _at_exit() -> None:
    for bench in list(_benches.values()):
        with suppress(Exception):  # the program ends, whatever it is; leases end by themselves
            close(bench)


atexit.register(_at_exit)
