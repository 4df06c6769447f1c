"""A Redis of ours, on a socket in a folder, which keeps nothing."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .children import Missing, ended, supervised, until

BINARY = "redis-server"


@contextmanager
def redis(folder: Path) -> Iterator[Path]:
    """Run a server for the time of a block, and give its socket.

    It listens on no port, writes nothing down, reads no configuration of the machine's service,
    and ends with the block.

    Raises:
        Missing: There is no such program.
    """
    program = shutil.which(BINARY)
    if program is None:
        raise Missing("Redis (Debian: redis-server)")
    path, log = folder / "redis.sock", folder / "redis.log"
    options = {
        "--port": "0",
        "--unixsocket": str(path),
        "--unixsocketperm": "700",
        "--save": "",
        "--appendonly": "no",
        "--daemonize": "no",
        "--dir": str(folder),
    }
    process = supervised([program, *(word for pair in options.items() for word in pair)], log)
    try:
        until(lambda: _answers(path), process, log)
        yield path
    finally:
        ended(process)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(5) == b"+PONG"
        except OSError:
            return False
