"""Temporal: its program, wherever it is, and servers of ours, of the kind that developers run."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from .children import Missing, Supervisor, ended, in_memory, package, supervised, until
from .listener import HOST
from .postgresql import free_port

CHOSEN = "TEMPORAL_CLI"
A_DAY = 86_400  # seconds for which a namespace keeps what has ended; less is refused


def program() -> str:
    """Find the program `temporal`, which has the server in it: the wheel's, or one on the path.

    `TEMPORAL_CLI` may name it.

    Raises:
        Missing: There is none.
    """
    chosen = os.environ.get(CHOSEN)
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(chosen or "temporal", path=None if chosen else beside)
    if found is None:
        raise Missing(f"Temporal in {chosen}, which {CHOSEN} names" if chosen else "Temporal")
    return found


class Namespace(NamedTuple):
    """A place for one test.

    Attributes:
        address: Of the server, HOST:PORT.
        name: Of an empty namespace of its own.
    """

    address: str
    name: str


class Temporal:
    """A server on a port of the loopback; what it keeps is in memory, or in a file of its folder.

    Its other ports (metrics, HTTP and those within it) are on the loopback too, and it finds free
    ones by itself.
    """

    def __init__(self, folder: Path, *, keeps: bool = False) -> None:
        self.log, self.port = folder / "temporal.log", free_port()
        self._file = folder / "temporal.db" if keeps else None
        self._program, self._client = program(), package("temporalio.client")
        self._process: Supervisor | None = None

    @property
    def address(self) -> str:
        """Where it is; the same after it was started again."""
        return f"{HOST}:{self.port}"

    def start(self, pipe: IO[bytes] | None = None) -> None:
        """Start it, under a supervisor that reads a pipe, and wait until it is ready."""
        command = [self._program, "server", "start-dev", "--headless", "--log-level", "error"]
        command += ["--ip", HOST, "--port", str(self.port)]
        # Else a timer rings up to a second late, which is nothing where people wait for days.
        command += ["--dynamic-config-value", 'history.timerProcessorMaxTimeShift="20ms"']
        if self._file is not None:
            command += ["--db-filename", str(self._file)]
        # It takes a second to end in peace. Nobody needs that of what is in memory, and a file is
        # to survive a crash.
        self._process = supervised(command, self.log, how=signal.SIGKILL, pipe=pipe)
        until(self.ready, self._process, self.log)

    def ready(self) -> bool:
        """Tell whether it takes workflows: it listens a while before."""
        return asyncio.run(self._ready())

    async def _ready(self) -> bool:
        try:
            client = await self._client.Client.connect(self.address)
            async for _ in client.list_workflows("", page_size=1):
                break
        except RuntimeError:  # what it listens with is not there, or does not know yet
            return False
        return True

    def kill(self) -> None:
        """Let it crash; it may be started again."""
        if self._process is not None:
            ended(self._process)
            self._process = None


def namespace(address: str) -> Namespace:
    """Make an empty namespace in a server."""
    made = Namespace(address, f"test-{secrets.token_hex(6)}")
    asyncio.run(_register(made))
    return made


async def _register(made: Namespace) -> None:
    client: Any = await package("temporalio.client").Client.connect(made.address)
    request = package("temporalio.api.workflowservice.v1").RegisterNamespaceRequest(
        namespace=made.name
    )
    request.workflow_execution_retention_period.seconds = A_DAY
    await client.workflow_service.register_namespace(request)


@contextmanager
def temporal(on: Path | None = None) -> Iterator[Temporal]:
    """Run a server that keeps what it has in a file, for the time of a block.

    Raises:
        Missing: There is no program, or no client.
    """
    with tempfile.TemporaryDirectory(prefix="saga-temporal-", dir=on or in_memory()) as folder:
        it = Temporal(Path(folder), keeps=True)
        it.start()
        try:
            yield it
        finally:
            it.kill()
