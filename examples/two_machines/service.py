"""The bank and the warehouse: what is asked for twice under one key is done once.

An undo names what it undoes by the key of that, and whatever comes after its undo is refused.
The first line says where it is. Then it tells of each request, before it does anything.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLOW = 2.0  # seconds that a bank takes
done: dict[str, str] = {}  # by key: what stands
undone: set[str] = set()  # keys
doing = threading.Lock()


def answer(what: str, about: str, key: str, undoes: str | None) -> str:
    """Do what is asked for, unless this key has been here before; "" is a refusal."""
    print(f"service: {what} {about}", flush=True)
    with doing:
        if undoes is not None:
            undone.add(undoes)
            done.pop(undoes, None)
            return f"{what}: {about}"
        if key in undone:
            return ""
        if key in done:
            print(f"service: {what} {about}: done before, under this key", flush=True)
        else:
            if what == "charge":
                time.sleep(SLOW)
            done[key] = f"{what}: {about}"
        return done[key]


class Service(BaseHTTPRequestHandler):
    """Does what is asked for, and keeps a ledger."""

    def do_POST(self) -> None:
        """Do it."""
        about = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key, undoes = self.headers["Idempotency-Key"], self.headers["Saga-Undoes"]
        said = answer(self.path.strip("/"), about, key, undoes)
        self._answer(said, 200 if said else 410)

    def do_GET(self) -> None:
        """Show the ledger."""
        with doing:
            self._answer(list(done.values()))

    def _answer(self, what: str | list[str], status: int = 200) -> None:
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing more."""


class Quiet(ThreadingHTTPServer):
    """A server to which it is nothing new that a client dies."""

    def handle_error(self, *_: object) -> None:
        """Say nothing, unless it is something else."""
        if not isinstance(sys.exception(), ConnectionError):
            raise  # noqa: PLE0704 - it is being handled


if __name__ == "__main__":
    with Quiet(("127.0.0.1", 0), Service) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
