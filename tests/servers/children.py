"""Servers as children of ours, and where they keep what they write."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

PATIENCE = 180.0  # seconds after which a server is taken for one that hangs
SUPERVISOR = Path(__file__).parent / "supervisor.py"
MEMORY = "/dev/shm"  # noqa: S108 - only folders of our own are made there
ROOM = 1 << 30  # bytes that a server may need; a container may have 64 MB there


class Missing(Exception):
    """A program or a package is not here."""


def package(name: str) -> Any:
    """Import a package of the extra `test`."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Missing(f"the package {name}") from error


def in_memory(room: int = 0) -> str | None:
    """Give a place where a sync takes no time, if there is one with room for so many bytes."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= room:
        return MEMORY
    return None


class Supervisor(subprocess.Popen[bytes]):
    """What holds a server; it may outlive the process that has started it."""

    def __del__(self, *_: object, **__: object) -> None:
        """Say nothing of it."""


def supervised(
    command: Iterable[str],
    log: Path,
    *,
    how: signal.Signals = signal.SIGTERM,
    pipe: IO[bytes] | None = None,
    remove: Path | None = None,
) -> Supervisor:
    """Start a server under a supervisor, which ends it when a pipe closes.

    Args:
        command: The server.
        log: Where it writes.
        how: The signal that ends it.
        pipe: What to read; if it is None, a pipe whose other end is `process.stdin`.
        remove: A folder that goes with it.
    """
    kept = str(remove or "")
    with log.open("ab") as output:
        return Supervisor(
            [sys.executable, "-I", "-S", str(SUPERVISOR), str(int(how)), kept, *command],
            stdin=pipe or subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the tests, which then close the pipe
        )


def ended(process: Supervisor) -> None:
    """Close the pipe of a supervisor, and wait until its server is gone."""
    if process.stdin:
        process.stdin.close()
    process.wait(PATIENCE)


def until(ready: Callable[[], bool], process: Supervisor, log: Path) -> None:
    """Wait until a server is ready; it is an AssertionError with its words if it ends instead."""
    end = time.monotonic() + PATIENCE
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            raise AssertionError(f"a server has not come up: {log.read_text()[-2000:]}")
        time.sleep(0.01)
