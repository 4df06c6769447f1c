"""The services of the demo, with faults on request and one log of all that they were asked.

A request's `trouble` befalls the first request under its key: "503 before" and "500 after" the
effect, "cut before" and "cut after" it (the line breaks without an answer).
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from py_api_saga.demo.services import SERVICES, Answer, Ledger, Refusal, Server

TROUBLES = ("503 before", "500 after", "cut before", "cut after")


class Log:
    """What all services were asked, in one order: a line of JSON for each answer."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._troubled: set[str] = set()

    def write(self, *line: object) -> None:
        """Write a line; with the lock held."""
        os.write(self._file, json.dumps(line).encode() + b"\n")

    def befalls(self, trouble: str, key: str) -> bool:
        """Tell whether a key is new to trouble; with the lock held."""
        if not trouble or key in self._troubled:
            return False
        self._troubled.add(key)
        return True


class _Server(Server):
    """One service."""

    request_queue_size = 256

    def __init__(self, name: str, folder: Path, log: Log) -> None:
        super().__init__(SERVICES[name], Ledger(folder / f"{name}.db"), 0.0)
        self.RequestHandlerClass = _Handler
        self.name, self.log = name, log


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        server, path = self.server, self.path.strip("/")
        key = self.headers["Idempotency-Key"] or ""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.log.lock:
            trouble: str = body.get("trouble", "")
            if not server.log.befalls(trouble, key):
                trouble = ""
            if trouble.endswith("before"):
                answer = Answer(503, {"error": "busy"})
            else:
                try:
                    answer = server.ledger.answer(server.service, path, key, body)
                except Refusal as refusal:
                    answer = Answer(refusal.status, {"error": refusal.reason})
            undoes = body.get("undoes")
            now = time.monotonic()  # of the machine, so that it can be compared with a caller's
            server.log.write(server.name, path, body["order"], key, undoes, answer.status, now)
        if trouble == "500 after":
            answer = Answer(500, {"error": "on the way out"})
        if not trouble.startswith("cut"):
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        body = json.dumps(answer.body).encode()
        head = f"HTTP/1.0 {answer.status} -\r\nContent-Length: {len(body)}\r\n\r\n"
        with suppress(ConnectionError):  # who asked may be dead
            self.wfile.write(head.encode() + body)

    def handle(self) -> None:
        with suppress(ConnectionError, ValueError):  # it may have died in the middle of asking
            super().handle()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def serve(folder: Path, told: int) -> None:
    """Serve for as long as the parent of this process lives; tells the ports first."""
    log = Log(folder / "requests")
    parent, ports = os.getppid(), {}
    for name in SERVICES:
        server = _Server(name, folder, log)
        server.daemon_threads = True
        ports[name] = server.server_port
        threading.Thread(target=server.serve_forever, args=(0.5,), daemon=True).start()
    os.write(told, json.dumps(ports).encode() + b"\n")
    os.close(told)
    while os.getppid() == parent:
        time.sleep(0.1)
