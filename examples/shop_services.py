"""A warehouse and a bank, for the shops of these examples: `python shop_services.py`.

They do what a service should do for a saga: what is asked for twice under one key is done once, an
undo names what it undoes by the key of that, and what arrives after its undo is refused. The first
line says where they are.

The card "declined" is refused. With the card "slow" the bank charges, and then takes its time to
say so.
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

SLOW = float(os.environ.get("SLOW", "2"))  # seconds
PRICES = {"mug": 1200, "shirt": 2500}  # cents
UNDOES = {"cancellations": "reservations", "refunds": "charges"}

ledger: dict[str, dict[str, Any]] = {"reservations": {}, "charges": {}}  # of each, by key
undone: set[str] = set()  # keys
answers: dict[str, tuple[int, Any]] = {}  # by key
asked: list[str] = []  # all that has arrived
turn = threading.Lock()
again = threading.Event()  # never set: to wait for
numbers = count(1)


def answer(what: str, key: str, undoes: str | None, about: dict[str, Any]) -> tuple[int, Any]:
    """Do what is asked for, unless it was done under this key."""
    if key in answers:
        return answers[key]
    if what in UNDOES:
        taken = ledger[UNDOES[what]].pop(undoes or "", None)
        undone.add(undoes or "")
        return answers.setdefault(key, (200, {"undone": taken is not None}))
    if key in undone:
        return 410, {"error": "it was undone before it arrived"}
    if about.get("card") == "declined":
        return answers.setdefault(key, (402, {"error": "the card was declined"}))
    if about.get("article", "mug") not in PRICES:
        return answers.setdefault(key, (422, {"error": "there is none"}))
    number = f"{what[0].upper()}{next(numbers)}"
    ledger[what][key] = {"id": number, **about}
    return answers.setdefault(key, (201, {"id": number}))


def forget() -> None:
    """Begin anew, for a test that plays the services in its own process."""
    for book in ledger.values():
        book.clear()
    undone.clear()
    answers.clear()
    asked.clear()


class Service(BaseHTTPRequestHandler):
    """Answers."""

    def do_POST(self) -> None:
        """Do it."""
        what = self.path.strip("/")
        about = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key, undoes = self.headers["Idempotency-Key"], self.headers["Saga-Undoes"]
        with turn:
            is_new = key not in answers
            asked.append(f"{what} {key}")
            status, body = answer(what, key, undoes, about)
        print(f"services: {what} {key}: {status}", flush=True)
        if is_new and about.get("card") == "slow":
            again.wait(SLOW)
        self._send(status, body)

    def do_GET(self) -> None:
        """Show the ledger, and what has arrived."""
        with turn:
            self._send(200, {**ledger, "asked": asked})

    def _send(self, status: int, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

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
