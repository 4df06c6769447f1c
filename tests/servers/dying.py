"""An HTTP service that dies at the instant which a path names, and a ledger of what it has done.

It listens on the loopback, in plain text or by TLS, and answers a forward proxy's requests too.
Nothing in it waits for time to pass: silence lasts until the client has gone, or `close()`.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Literal, NamedTuple

from servers.listener import HOST, PATIENCE, Listener, reset

from .instants import INSTANTS, Instant, answer


class Request(NamedTuple):
    """A request whose head has come in.

    Attributes:
        method: In capital letters.
        path: With the query.
        headers: By name, in small letters.
        head: As it came, up to the empty line.
    """

    method: str
    path: str
    headers: dict[str, str]
    head: bytes


class Ledger:
    """What a service has seen and done."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.effects = 0
        self._lock = threading.Lock()

    def saw(self, request: Request) -> int:
        """Keep a request, and give its number among those of its method, from 0."""
        with self._lock:
            self.requests.append(request)
            return sum(other.method == request.method for other in self.requests) - 1

    def acted(self) -> None:
        """Keep an effect."""
        with self._lock:
            self.effects += 1


class Service(Listener):
    """A service whose path says at which instant it dies, as in `/effect-fin`.

    With several, as in `/effect-fin,402-before`, the n-th POST meets the n-th instant, and what
    comes later the last one. A GET is what follows a redirect: it meets those after the first.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.ledger = Ledger()
        self._tls = tls
        self._dead = socket.socket()  # bound, so that nobody else takes it, but not listening
        self._dead.bind((HOST, 0))
        super().__init__()

    @property
    def url(self) -> str:
        """Where it is, without a path."""
        return f"{'https' if self._tls else 'http'}://{self.address}"

    def close(self) -> None:
        """Close it, as others."""
        super().close()
        self._dead.close()

    def serve(self, connection: socket.socket) -> None:
        """Answer requests as long as the connection stays."""
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_side=True)
            self.keep(connection)
        with connection:
            rest = b""
            while (head := _until(connection, rest, b"\r\n\r\n")) is not None:
                request, rest = _parsed(*head)
                steps = request.path.strip("/").split("/")[0].split(",")
                number = self.ledger.saw(request) + (request.method != "POST")
                instant = INSTANTS[steps[min(number, len(steps) - 1)]]
                rest = self._read(connection, request, rest, instant)
                if instant.acts and request.method == "POST":
                    self.ledger.acted()
                connection.sendall(self._addressed(instant.says, request))
                if not self._stays(connection, instant):
                    return

    def _read(
        self, connection: socket.socket, request: Request, body: bytes, instant: Instant
    ) -> bytes:
        if instant.reads == "head":
            return body
        length = int(request.headers.get("content-length", 0))
        if instant.reads == "some":
            length //= 2
        if "chunked" in request.headers.get("transfer-encoding", ""):
            both = _until(connection, body, b"0\r\n\r\n")
            return both[1] if both else b""
        missing = length - len(body)
        while missing > 0:
            more = connection.recv(min(missing, 65536))
            if not more:
                raise OSError("the client has gone")
            missing -= len(more)
        return body[length:]

    def _addressed(self, says: bytes, request: Request) -> bytes:
        dead = f"{HOST}:{self._dead.getsockname()[1]}"
        return says.replace(b"PATH", request.path.encode()).replace(b"DEAD", dead.encode())

    def _stays(self, connection: socket.socket, instant: Instant) -> bool:
        if instant.ends == "stays":
            return True
        if instant.ends == "gone":
            self.go_down()
        if instant.ends == "rst":
            reset(connection)
        elif instant.ends == "garbled":
            with socket.socket(fileno=connection.detach()) as raw:
                raw.sendall(b"\x17\x03\x03\x00\x20" + os.urandom(32))
                raw.shutdown(socket.SHUT_WR)
                self.keep(raw)
                self.drain(raw)
        else:
            if instant.ends != "silence":
                connection.shutdown(socket.SHUT_WR)
            self.drain(connection)
        return False


def _until(connection: socket.socket, data: bytes, mark: bytes) -> tuple[bytes, bytes] | None:
    """Read to a mark; give what is before it and what is after, or nothing if it never comes."""
    while mark not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    before, _, after = data.partition(mark)
    return before, after


def _parsed(head: bytes, rest: bytes) -> tuple[Request, bytes]:
    first, *lines = head.decode("latin1").split("\r\n")
    method, path, _ = first.split(" ")
    if "://" in path:  # as one writes to a forward proxy
        path = "/" + path.split("/", 3)[3]
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Request(method, path, headers, head), rest


class Rude(Listener):
    """A port that takes a connection and no request; `manner` says how it ends."""

    def __init__(self, manner: Literal["fin", "rst", "hears", "half", "refuses", "plain"]) -> None:
        self._manner = manner
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        """Drop it: at once, after it has heard something, or with an answer of its own."""
        if self._manner == "rst":
            reset(connection)
            return
        if self._manner != "fin":  # what is left unread turns the FIN into an RST
            connection.recv(100 if self._manner == "half" else 65536)
        if self._manner == "refuses":  # a proxy that cannot reach the service
            connection.sendall(answer(502))
        if self._manner == "plain":  # who speaks HTTP where TLS was expected
            connection.sendall(answer(400))
        connection.close()


class Tunnel(Listener):
    """A forward proxy for CONNECT, which passes on what it hears."""

    def serve(self, connection: socket.socket) -> None:
        """Connect to where the client wants to go, and copy both ways."""
        head = _until(connection, b"", b"\r\n\r\n")
        if head is None:
            return
        host, _, port = head[0].split(b" ")[1].decode().partition(":")
        with socket.create_connection((host, int(port)), PATIENCE) as there:
            connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            self.keep(there)
            both = {connection: there, there: connection}
            while both:
                for this in select.select(list(both), [], [], PATIENCE)[0]:
                    data = this.recv(65536)
                    if not data:
                        both.pop(this).shutdown(socket.SHUT_WR)
                    else:
                        both.get(this, there).sendall(data)


@contextlib.contextmanager
def full() -> Iterator[str]:
    """Give the address of a port that lets nobody in: its queue is full, and nobody accepts."""
    with contextlib.ExitStack() as waiting:
        listener = waiting.enter_context(socket.socket())
        listener.bind((HOST, 0))
        listener.listen(0)
        for _ in range(4):
            other = waiting.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(listener.getsockname())
        yield f"{HOST}:{listener.getsockname()[1]}"


@contextlib.contextmanager
def dies_in_the_queue() -> Iterator[str]:
    """Give the address of a port that lets a connection in and dies before it looks at it."""
    listener = socket.create_server((HOST, 0))

    def die() -> None:
        select.select([listener], [], [], PATIENCE)
        time.sleep(0.05)  # the request may come in, or not: both are right
        listener.close()

    thread = threading.Thread(target=die, daemon=True)
    thread.start()
    try:
        yield f"{HOST}:{listener.getsockname()[1]}"
    finally:
        with contextlib.suppress(OSError), socket.create_connection(listener.getsockname(), 1):
            pass  # wakes it, if nobody came
        thread.join(PATIENCE)


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """Give an address at which nobody listens."""
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        yield f"{HOST}:{bound.getsockname()[1]}"
