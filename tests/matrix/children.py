"""PostgreSQL and Redis as children of ours on Unix sockets, and a relay that drops answers."""

from __future__ import annotations

import importlib
import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from .dying import PATIENCE, Listener


class Missing(Exception):
    """A program or a package is not here."""


def package(name: str) -> Any:
    """Import a package of the extra `test`."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Missing(f"the package {name}") from error


@contextmanager
def child(command: list[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for the time of a block; it is asked to end, and then made to."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            raise AssertionError(f"{process.args!r} has not come up: {log.read_text()[-2000:]}")
        time.sleep(0.05)


# --- PostgreSQL -----------------------------------------------------------------------------------


class Postgres:
    """A PostgreSQL of ours; `host` is the folder of its socket, as drivers want it."""

    def __init__(self, host: Path) -> None:
        self.host = host
        self._psycopg = package("psycopg")

    def ask(self, query: str, *values: object) -> list[Any]:
        """Ask it from outside, in a transaction of its own."""
        with self.connected() as connection:
            cursor = connection.execute(query, values or None)
            rows: list[Any] = cursor.fetchall() if cursor.description else []
            return rows

    def ready(self) -> bool:
        """Tell whether it takes connections."""
        with suppress(self._psycopg.OperationalError):
            self.ask("SELECT 1")
            return True
        return False

    @property
    def checkpointer(self) -> int:
        """The pid of a process that is another one after PostgreSQL has started anew."""
        query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
        pid: int = self.ask(query)[0][0]
        return pid

    def wait_until_anew(self, checkpointer: int) -> None:
        """Wait until it has started anew, as it does when one of its processes was killed."""
        end = time.monotonic() + PATIENCE
        while True:
            with suppress(self._psycopg.OperationalError, IndexError):
                if self.checkpointer != checkpointer:
                    return
            assert time.monotonic() < end, "PostgreSQL has not come up again"
            time.sleep(0.05)

    def wait_until(self, query: str, *values: object) -> Any:
        """Wait until a query has a row, and give it."""
        end = time.monotonic() + PATIENCE
        while not (rows := self.ask(query, *values)):
            assert time.monotonic() < end, f"PostgreSQL has never come to {query}"
            time.sleep(0.01)
        return rows[0]

    def connected(self) -> Any:
        """Connect, for the time of a block that commits."""
        return self._psycopg.connect(host=str(self.host), user="postgres", dbname="postgres")


def _programs() -> Path:
    """Find the folder of PostgreSQL's programs, where Debian keeps them or on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    there = shutil.which("initdb")
    if not found and there is None:
        raise Missing("PostgreSQL (Debian: postgresql)")
    return found[-1].parent if found else Path(str(there)).resolve().parent


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """Start a PostgreSQL in a folder, as somebody without rights: it refuses to run as root."""
    programs, data, log = _programs(), folder / "data", folder / "log"
    it = Postgres(folder)
    options: dict[str, Any] = {"cwd": folder}
    if os.geteuid() == 0:
        options |= {"user": "nobody", "group": "nogroup", "extra_groups": []}
        shutil.chown(folder, "nobody", "nogroup")
    made = [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"]
    subprocess.run([*map(str, made)], check=True, stdout=subprocess.DEVNULL, **options)
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(folder),
        "fsync": "off",
        # With synchronous_commit "on", a COMMIT waits for a standby that never comes.
        "synchronous_standby_names": "nobody",
        "synchronous_commit": "local",
        "restart_after_crash": "on",
    }
    command = [str(programs / "postgres"), "-D", str(data)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    with child(command, log, **options) as process:
        _until(it.ready, process, log)
        yield it


# --- Redis ----------------------------------------------------------------------------------------


@contextmanager
def redis(folder: Path) -> Iterator[Path]:
    """Start a Redis that keeps nothing on disk, and give its socket."""
    program = shutil.which("redis-server")
    if program is None:
        raise Missing("Redis (Debian: redis-server)")
    path, log = folder / "redis", folder / "redis.log"
    command = [
        program,
        "--port",
        "0",
        "--unixsocket",
        str(path),
        "--save",
        "",
        "--dir",
        str(folder),
    ]
    with child(command, log, cwd=folder) as process:
        _until(path.exists, process, log)
        yield path


# --- a relay that drops an answer -----------------------------------------------------------------

Ends = Literal["fin", "silence", "gone", "at once"]
ENDS: tuple[Ends, ...] = ("fin", "silence", "gone", "at once")


class Relay(Listener):
    """A socket that passes on what it hears, but not an answer with a word, or to one with it.

    It waits until that answer is complete, so what was asked for is done; then the connection ends,
    or stays silent, or the relay goes down as well. "at once" ends it before anything.
    """

    def __init__(self, path: Path, behind: Path, word: bytes, complete: bytes, ends: Ends) -> None:
        self._behind, self._word, self._complete, self._ends = behind, word, complete, ends
        super().__init__(path)

    def serve(self, connection: socket.socket) -> None:
        """Copy both ways, until the word comes."""
        if self._ends == "at once":
            connection.recv(65536)
            return
        with socket.socket(socket.AF_UNIX) as there:
            there.connect(str(self._behind))
            self.keep(there)
            answer: bytes | None = None
            while answer is None or self._complete not in answer:
                readable = select.select([connection, there], [], [], PATIENCE)[0]
                for this in readable:
                    data = this.recv(65536)
                    answer = b"" if answer is None and self._word in data else answer
                    if this is connection:
                        there.sendall(data)
                    elif answer is None:
                        connection.sendall(data)
                    else:
                        answer += data
                if not readable or not data:
                    return
            if self._ends == "gone":
                self.go_down()
            if self._ends == "silence":
                self.drain(connection)


def relayed(
    stack: ExitStack, path: Path, behind: Path, word: bytes, complete: bytes, ends: Ends
) -> Relay:
    """Start a relay, for a stack to close."""
    relay = Relay(path, behind, word, complete, ends)
    stack.callback(relay.close)
    return relay
