"""The server of the dashboard: of the standard library, on the loopback, for a few at a time."""

from __future__ import annotations

import io
import os
import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any, cast

from py_api_saga import clock
from py_api_saga.cli.dashboard.answering import Acts, Request, answered, line
from py_api_saga.cli.dashboard.guarding import LOOPBACK
from py_api_saga.pictures.board import Answer, Board
from py_api_saga.wording import as_text

HERE = "127.0.0.1"
AT_ONCE = 32  # requests; more are turned away
PATIENCE = 10.0  # seconds for all of a request to come, and for all of the answer to be taken


class Server(socketserver.ThreadingTCPServer):
    """Serves the pages of a journal, each request in a thread of its own."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = os.name == "posix"  # elsewhere two could listen at the same port

    def __init__(
        self, port: int, board: Board, names: tuple[str, ...] = (), acts: Acts | None = None
    ) -> None:
        """Listen.

        Args:
            port: At this one; 0 for any that is free.
            board: The pages.
            names: By which it may be called, besides those of the loopback.
            acts: What it takes to decide; None where nobody does.

        Raises:
            OSError: Somebody else listens at this port.
        """
        self._board, self._names, self._acts = board, (*LOOPBACK, *names), acts
        self._room = threading.BoundedSemaphore(AT_ONCE)
        super().__init__((HERE, port), Handler)

    @property
    def port(self) -> int:
        """At which it listens."""
        return int(self.server_address[1])

    def answer(self, request: Request) -> Answer:
        """Answer a request."""
        return answered(request, self._board, self._names, self._acts)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a thread, or turn the request away."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Let the next one in, once this one has its answer."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong, in a line; but not that somebody left in the middle."""
        del request, client_address
        error = sys.exception()
        if not isinstance(error, OSError):
            print(f"saga: {as_text(error)}", file=sys.stderr)


class _Timely(io.RawIOBase):
    """Reads from a socket what comes in time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._until = clock.monotonic() + PATIENCE

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - clock.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class Handler(BaseHTTPRequestHandler):
    """Answers one request, after which the connection is closed."""

    server_version, sys_version = "saga", ""
    timeout = PATIENCE

    def setup(self) -> None:
        """Read for so long and no longer, however slowly it comes."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Timely(self.connection))

    def log_message(self, *_: object) -> None:
        """Say nothing: a page asks every two seconds."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Say what is wrong with what came."""
        del explain
        self._send(line(code, message or "this cannot be read"))

    def do_GET(self) -> None:
        """Answer."""
        request = Request(self.command, self.path, self.headers, self.rfile.read)
        self._send(cast("Server", self.server).answer(request))

    do_HEAD = do_GET  # noqa: N815 - as the standard library has it
    do_POST = do_GET  # noqa: N815

    def _send(self, answer: Answer) -> None:
        data = answer.body.encode("utf-8", "backslashreplace")
        self.send_response(answer.status)
        self.send_header("Content-Type", f"{answer.kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.connection.settimeout(PATIENCE)
            self.wfile.write(data)
