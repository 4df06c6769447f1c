"""A Redis of our own: apt's binary as our child, on a socket in a folder, with nothing kept."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BINARY = "redis-server"
PATIENCE = 30.0  # seconds after which something hangs, on the slowest machine


@contextmanager
def redis_server(folder: Path) -> Iterator[Path]:
    """Run a server for the time of a block, and give its socket.

    It listens on no port, writes nothing down, reads no configuration of the machine's service,
    and ends with the block.

    Raises:
        FileNotFoundError: There is no such binary: `apt-get install redis-server`.
    """
    path = folder / "redis.sock"
    options = {
        "--port": "0",
        "--unixsocket": str(path),
        "--unixsocketperm": "700",
        "--save": "",
        "--appendonly": "no",
        "--daemonize": "no",
        "--dir": str(folder),
    }
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(
            [BINARY, *(word for option in options.items() for word in option)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for(path, process)
        yield path
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until it answers."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(path))
                client.sendall(b"PING\r\n")
                if client.recv(5) == b"+PONG":
                    return
            except OSError:
                pass
        time.sleep(0.02)
    log = (path.parent / "redis.log").read_text(errors="replace")
    raise RuntimeError(f"{BINARY} does not answer:\n{log[-2000:]}")
