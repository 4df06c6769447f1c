"""What starts a shop with all that it needs: a PostgreSQL, its services, a server and a worker."""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from socket import create_connection, create_server
from tempfile import TemporaryDirectory

from two_machines.postgresql import PATIENCE, postgresql

HERE = Path(__file__).parent


@contextmanager
def process(*command: str, stdout: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run Python in this folder, until the block ends."""
    running = subprocess.Popen([sys.executable, *command], stdout=stdout, text=True, cwd=HERE)  # noqa: S603 - our own
    with running:
        try:
            yield running
        finally:
            running.terminate()
            with suppress(subprocess.TimeoutExpired):
                running.wait(PATIENCE)
            running.kill()


def play(server: Sequence[str], worker: Sequence[str], make: Sequence[str] | None = None) -> None:
    """Start a shop, and run it until Ctrl-C.

    `DATABASE_URL` names a database that it may use; without it a PostgreSQL is started. A shop that
    makes no tables needs none: it has a folder, in `FOLDER`.

    Args:
        server: Serves at `PORT`, as arguments of Python.
        worker: Goes on with what dead processes have left.
        make: Makes the tables.
    """
    parser = argparse.ArgumentParser(description="Serve a shop that checks out by sagas.")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    port = str(parser.parse_args().port or _free_port())
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that all of it is ended
    with ExitStack() as opened, suppress(KeyboardInterrupt):
        os.environ["SHOP"] = f"http://127.0.0.1:{port}"
        if make is None:
            os.environ["FOLDER"] = opened.enter_context(TemporaryDirectory())
        else:
            given = os.environ.get("DATABASE_URL")
            os.environ["DATABASE_URL"] = opened.enter_context(
                nullcontext(given) if given else postgresql()
            )
        services = opened.enter_context(process("shop_services.py", stdout=subprocess.PIPE))
        assert services.stdout is not None  # noqa: S101 - a pipe was asked for
        os.environ["SERVICES"] = services.stdout.readline().strip()
        if make is not None:
            subprocess.run([sys.executable, *make], check=True, cwd=HERE)  # noqa: S603 - our own
        command = [part.replace("PORT", port) for part in server]
        running = opened.enter_context(process(*command))
        opened.enter_context(process(*worker))
        _wait_for(int(port), running)
        print(f"Services on {os.environ['SERVICES']}/", flush=True)
        print(f"The server is process {running.pid}", flush=True)
        print(f"Serving on http://127.0.0.1:{port}/", flush=True)
        for line in services.stdout:
            print(line, end="", flush=True)


def _free_port() -> int:
    with closing(create_server(("127.0.0.1", 0))) as free:
        port: int = free.getsockname()[1]
        return port


def _wait_for(port: int, server: subprocess.Popen[str]) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > until or server.poll() is not None:
                raise
            time.sleep(0.05)
        else:
            return
