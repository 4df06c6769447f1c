"""One of the demo's services: an HTTP server in a process of its own, with a ledger of its own.

    python services.py stock /tmp/stock.db 0.07

It prints its port, answers on 127.0.0.1 until its standard input ends, and then ends itself: it
outlives nobody, however the process that started it came to its end. Three rules make it safe to
be called by a saga:

1. One effect for one `Idempotency-Key`. A key that was seen before gets its recorded answer again.
2. An undo names the effect by the key of the action. Undoing twice is undoing once.
3. An undo may come first, if the action is slow and its caller gave up: the action is then refused.

Standard library only, and nothing of py_api_saga: a service does not know that there are sagas.
"""

from __future__ import annotations

import json
import os
import socketserver
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

# What a customer may bring along to make a service fail. Any other card and city is fine.
DECLINED_CARD = "4000 0000 0000 0002"
LOST_ANSWER_CARD = "4000 0000 0000 0119"
DISPUTED_CARD = "4000 0000 0000 0259"  # charged, and its refund is refused to machines
UNREACHABLE_CITY = "Atlantis"

_SCHEMA = """
CREATE TABLE entry (
    number     INTEGER PRIMARY KEY,
    order_id   TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('effect', 'undo')),
    action_key TEXT NOT NULL,  -- of an undo: the key of the action that it undoes
    what       TEXT NOT NULL,
    UNIQUE (kind, action_key)
);
CREATE TABLE answer (
    key    TEXT PRIMARY KEY,   -- the request's Idempotency-Key
    status INTEGER NOT NULL,
    body   TEXT NOT NULL
);
"""

Body: TypeAlias = dict[str, Any]


class Answer(NamedTuple):
    """What a service answers: an HTTP status, a JSON object, and whether it was recorded before."""

    status: int
    body: Body
    recorded: bool = False


class Effect(NamedTuple):
    """What a service decided to do: a line for its ledger, and a JSON object for the caller."""

    what: str
    body: Body


class Refusal(Exception):
    """A service says no: an HTTP status and the reason in words."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Service:
    """What makes a service this one: the paths of its effect and its undo, and how it decides."""

    effect: str
    undo: str
    undone: str
    decide: Callable[[Body], Effect]


def _reserve(order: Body) -> Effect:
    return Effect(f"{order['quantity']} x {order['item']} reserved", {"shelf": "B4"})


def _charge(order: Body) -> Effect:
    if order["card"] == DECLINED_CARD:
        raise Refusal(HTTPStatus.PAYMENT_REQUIRED, "card declined")
    return Effect(f"{order['cents'] / 100:.2f} charged", {"receipt": f"receipt-{order['order']}"})


def _book(order: Body) -> Effect:
    if order["city"] == UNREACHABLE_CITY:
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "no driver")
    return Effect(
        f"from shelf {order['shelf']} to {order['city']}", {"parcel": f"parcel-{order['order']}"}
    )


SERVICES = {
    "stock": Service("reserve", "release", "released", _reserve),
    "payment": Service("charge", "refund", "refunded", _charge),
    "courier": Service("book", "cancel", "cancelled", _book),
}


class Ledger:
    """A service's memory: one SQLite file with every effect, every undo and every answer."""

    def __init__(self, path: Path) -> None:
        """Create the file at `path`; it must not exist."""
        self._database = sqlite3.connect(path, check_same_thread=False)
        # Nobody needs this file after a power failure: a sync per request would buy nothing.
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.executescript(_SCHEMA)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def answer(self, service: Service, path: str, key: str, body: Body) -> Answer:
        """Do what is asked for, once: the effect and its answer are recorded in one transaction.

        Raises:
            Refusal: Nothing was done, and the same request may be answered otherwise later.
            KeyError: The body lacks something that the service needs. Nothing was done.
        """
        if not key:
            raise Refusal(HTTPStatus.BAD_REQUEST, "an Idempotency-Key is needed")
        with self._lock, self._database:
            seen = self._database.execute("SELECT status, body FROM answer WHERE key = ?", (key,))
            for status, text in seen:
                return Answer(status, json.loads(text), recorded=True)
            if path == service.effect:
                answer = self._act(service, key, body)
            elif path == service.undo:
                answer = self._undo(service, body)
            else:
                raise Refusal(HTTPStatus.NOT_FOUND, f"no such path: {path}")
            self._database.execute(
                "INSERT INTO answer VALUES (?, ?, ?)", (key, answer.status, json.dumps(answer.body))
            )
            return answer

    def _act(self, service: Service, key: str, body: Body) -> Answer:
        if self._has("undo", key):
            return Answer(HTTPStatus.CONFLICT, {"error": "it was undone before it arrived"})
        try:
            effect = service.decide(body)
        except Refusal as refusal:
            if refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            return Answer(refusal.status, {"error": refusal.reason})
        self._enter(body["order"], "effect", key, effect.what)
        return Answer(HTTPStatus.CREATED, effect.body)

    def _undo(self, service: Service, body: Body) -> Answer:
        action_key = body["undoes"]
        if body.get("card") == DISPUTED_CARD and "by" not in body:
            return Answer(HTTPStatus.CONFLICT, {"error": "disputed"})
        if not self._has("undo", action_key):
            happened = self._has("effect", action_key)
            self._enter(
                body["order"], "undo", action_key, service.undone if happened else "came first"
            )
        return Answer(HTTPStatus.OK, {"undone": True})

    def _has(self, kind: str, action_key: str) -> bool:
        found = self._database.execute(
            "SELECT 1 FROM entry WHERE kind = ? AND action_key = ?", (kind, action_key)
        )
        return found.fetchone() is not None

    def _enter(self, order: str, kind: str, action_key: str, what: str) -> None:
        self._database.execute(
            "INSERT INTO entry (order_id, kind, action_key, what) VALUES (?, ?, ?, ?)",
            (order, kind, action_key, what),
        )


class Server(ThreadingHTTPServer):
    """The service on a free port of the loopback interface; closing it waits for open requests."""

    daemon_threads = False

    def __init__(self, service: Service, ledger: Ledger, pace: float) -> None:
        """Take `pace` seconds for each answer, so that a person can follow."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.service = service
        self.ledger = ledger
        self.pace = pace

    def server_bind(self) -> None:
        """Bind without asking the name service who 127.0.0.1 is: that can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        key = self.headers["Idempotency-Key"] or ""
        time.sleep(self.server.pace)
        try:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)))
            path = self.path.strip("/")
            answer = self.server.ledger.answer(self.server.service, path, key, body)
        except Refusal as refusal:
            answer = Answer(refusal.status, {"error": refusal.reason})
        except (KeyError, TypeError, ValueError) as error:
            answer = Answer(HTTPStatus.BAD_REQUEST, {"error": f"cannot read this: {error!r}"})
        else:
            if body.get("card") == LOST_ANSWER_CARD and not answer.recorded:
                return  # Done and recorded, but the line breaks before the answer is sent.
        with suppress(ConnectionError):  # The caller may have given up waiting.
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        body = json.dumps(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent: the demo's timeline tells what happens."""


def main(arguments: Sequence[str], stdin: int = 0) -> int:
    """Serve until nothing more can be read from the file descriptor `stdin`."""
    name, path, pace = arguments
    with (
        closing(Ledger(Path(path))) as ledger,
        Server(SERVICES[name], ledger, float(pace)) as server,
    ):
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        while os.read(stdin, 1024):
            pass
        server.shutdown()
    return 0


if __name__ == "__main__":  # pragma: no cover - run by its path, where coverage does not look
    sys.exit(main(sys.argv[1:]))
