"""A warehouse and a bank, for the shops of these examples: `python shop_services.py`.

They do what a service should do for a saga: what is asked for twice under one key is done once, an
undo names what it undoes by the key of that, and what arrives after its undo is refused. The first
line says where they are.

The card "declined" is refused. With the card "slow" the bank charges, and then takes its time to
say so.

A *payment*, other than a charge, is for the customer to confirm: the bank says "pending".
`POST /app {"payment": "P1", "confirm": true}` is the customer at the app of the bank. Then the bank
tells the shop by a request that it signs, to the address that the shop has named, and sends it once
more until it is answered by a success.
"""

import hashlib
import hmac
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.request import Request, urlopen

SLOW = float(os.environ.get("SLOW", "2"))  # seconds
PRICES = {"mug": 1200, "shirt": 2500}  # cents
UNDOES = {
    "cancellations": "reservations",
    "refunds": "charges",
    "payment_cancellations": "payments",
    "returns": "parcels",
}
SECRET = os.environ.get("BANK_SECRET", "of an example").encode()
AGAIN = 0.2  # seconds; real ones wait longer each time, and give up after days

ledger: dict[str, dict[str, Any]] = {what: {} for what in UNDOES.values()}  # of each, by key
undone: set[str] = set()  # keys
answers: dict[str, tuple[int, Any]] = {}  # by key
asked: list[str] = []  # all that has arrived
told: list[str] = []  # what a shop has heard
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
    refusal = _refusal(about)
    if refusal is not None:
        return answers.setdefault(key, refusal)
    number = f"{what[0].upper()}{next(numbers)}"
    ledger[what][key] = {"id": number, **about}
    if what == "payments":
        ledger[what][key]["status"] = "pending"
        return answers.setdefault(key, (202, {"id": number, "status": "pending"}))
    return answers.setdefault(key, (201, {"id": number}))


def _refusal(about: dict[str, Any]) -> tuple[int, Any] | None:
    if about.get("card") == "declined":
        return 402, {"error": "the card was declined"}
    if about.get("article", "mug") not in PRICES:
        return 422, {"error": "there is none"}
    return None


def confirm(number: str, *, yes: bool) -> tuple[str, bytes] | None:
    """Have the customer decide; give the address to tell, and what; None if it is not pending."""
    for key, payment in ledger["payments"].items():
        if payment["id"] == number and payment["status"] == "pending":
            payment["status"] = "succeeded" if yes else "declined"
            event = {"type": f"payment.{payment['status']}", "key": key, "payment": number}
            return payment["notify"], json.dumps(event).encode()
    return None


def signature(body: bytes, at: float) -> Mapping[str, str]:
    """Sign an event, with the time at which it is sent."""
    made = hmac.new(SECRET, f"{at:.0f}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Bank-Signature": f"t={at:.0f},v1={made}", "Content-Type": "application/json"}


def tell(url: str, body: bytes) -> None:
    """Send an event until it has arrived."""
    while True:
        request = Request(url, body, dict(signature(body, time.time())))  # noqa: S310 - our own
        try:
            with urlopen(request, timeout=10) as answered:  # noqa: S310 - as above
                said = answered.status
        except (OSError, HTTPException) as error:
            said = getattr(error, "code", type(error).__name__)
        print(f"services: webhook {url}: {said}", flush=True)
        if said in (200, 204):
            told.append(body.decode())
            return
        again.wait(AGAIN)


def forget() -> None:
    """Begin anew, for a test that plays the services in its own process."""
    for book in ledger.values():
        book.clear()
    undone.clear()
    answers.clear()
    asked.clear()
    told.clear()


class Service(BaseHTTPRequestHandler):
    """Answers."""

    def do_POST(self) -> None:
        """Do it."""
        what = self.path.strip("/")
        about = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if what == "app":
            self._confirm(about)
            return
        key, undoes = self.headers["Idempotency-Key"], self.headers["Saga-Undoes"]
        with turn:
            is_new = key not in answers
            asked.append(f"{what} {key}")
            status, body = answer(what, key, undoes, about)
        print(f"services: {what} {key}: {status}", flush=True)
        if is_new and about.get("card") == "slow":
            again.wait(SLOW)
        self._send(status, body)

    def _confirm(self, about: dict[str, Any]) -> None:
        with turn:
            news = confirm(about["payment"], yes=about["confirm"])
        if news is not None:
            threading.Thread(target=tell, args=news, daemon=True).start()
        self._send(409 if news is None else 200, {})

    def do_GET(self) -> None:
        """Show the ledger, and what has arrived."""
        with turn:
            self._send(200, {**ledger, "asked": asked, "told": told})

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
