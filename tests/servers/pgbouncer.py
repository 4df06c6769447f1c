"""A pgbouncer of ours before a PostgreSQL: each transaction may get another connection."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO
from urllib.parse import unquote, urlsplit

from .children import Missing, ended, in_memory, supervised, until
from .listener import HOST
from .postgresql import as_somebody, free_port, owned

POOL = 20  # connections to the server; the tests of one process need fewer


class Pgbouncer:
    """A pooler in a folder, in transaction mode, without prepared statements."""

    def __init__(
        self, folder: Path, behind: str, settings: Mapping[str, object] | None = None
    ) -> None:
        program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
        if program is None:
            raise Missing("pgbouncer (Debian: pgbouncer)")
        self.folder, self.log = folder, folder / "pgbouncer.log"
        self.port = free_port()
        there = urlsplit(behind)
        self.url = there._replace(
            netloc=f"{there.username}:{there.password}@{HOST}:{self.port}"
        ).geturl()
        options: dict[str, object] = {
            "listen_addr": HOST,
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "plain",
            "auth_file": folder / "users",
            "pool_mode": "transaction",
            "default_pool_size": POOL,
            "max_client_conn": 1000,
            "server_login_retry": 0.5,  # seconds after a server that was not there; else 15
            **(settings or {}),
        }
        lines = ["[databases]", f"* = host={there.hostname} port={there.port}", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in options.items()]
        user, password = unquote(there.username or ""), unquote(there.password or "")
        (folder / "users").write_text(f'"{user}" "{password}"\n')
        (folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
        self._program = program

    def start(self, pipe: IO[bytes] | None = None) -> None:
        """Start it, under a supervisor that reads a pipe, and wait until it takes connections."""
        owned(self.folder)
        command = [*as_somebody(), self._program, str(self.folder / "pgbouncer.ini")]
        self._process = supervised(command, self.log, pipe=pipe)
        until(self._listens, self._process, self.log)

    def stop(self) -> None:
        """End it."""
        ended(self._process)

    def _listens(self) -> bool:
        try:
            socket.create_connection((HOST, self.port)).close()
        except OSError:
            return False
        return True


@contextmanager
def pgbouncer(behind: str, **settings: object) -> Iterator[Pgbouncer]:
    """Run one before the server of a URL, for the time of a block."""
    with TemporaryDirectory(prefix="saga-pgb-", dir=in_memory()) as folder:
        it = Pgbouncer(Path(folder), behind, settings)
        it.start()
        try:
            yield it
        finally:
            it.stop()
