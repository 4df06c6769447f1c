"""A network that loses requests, loses replies, delivers late and delivers twice.

And kills: a worker of the bank while it answers, or whoever runs the sagas. When, is counted in
requests, never in seconds.
"""

from __future__ import annotations

import random
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

LOST, MUTE, LATE, TWICE = 0.10, 0.20, 0.32, 0.47  # of a random number: below which it is so
PATIENCE = 60.0  # seconds


class Network:
    """What lies before a bank.

    Attributes:
        counts: How often each thing went wrong.
        port: Where it is.
    """

    def __init__(self, bank: int, seed: int, strike: Callable[[int], None]) -> None:
        """Lie before a port.

        Args:
            bank: The port of the bank.
            seed: Of what is drawn.
            strike: Called with the number of each request as it is on its way to the bank.
        """
        self.counts: Counter[str] = Counter()
        self._bank, self._random, self._strike = bank, random.Random(seed), strike  # noqa: S311 - dice
        self._lock = threading.Lock()
        self._seen = 0
        self._under_way: set[threading.Thread] = set()
        self._server = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port: int = self._server.getsockname()[1]
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def close(self) -> None:
        """Let nobody in any more, and wait until all that is under way has arrived."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._listener.join(PATIENCE)
        while self._under_way:
            for thread in [*self._under_way]:
                thread.join(PATIENCE)

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self._start(lambda: self._handle(connection))  # noqa: B023 - it is called at once

    def _start(self, do: Callable[[], object], delay: float = 0.0) -> None:
        begun = threading.Event()

        def body() -> None:
            begun.set()
            try:
                do()
            finally:
                self._under_way.discard(threading.current_thread())

        thread = threading.Timer(delay, body) if delay else threading.Thread(target=body)
        thread.daemon = True
        self._under_way.add(thread)
        thread.start()
        if not delay:
            begun.wait(PATIENCE)

    def _draw(self) -> tuple[float, float]:
        with self._lock:
            self._seen += 1
            return self._random.random(), self._random.random()

    def _note(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def _handle(self, connection: socket.socket) -> None:
        """Take a request in, and do with it what the dice say."""
        with connection, suppress(OSError):
            connection.settimeout(PATIENCE)
            request = _whole(connection)
            if request is None:
                return
            what, when = self._draw()
            self._note("requests")
            if what < LOST:
                self._note("lost")
            elif what < MUTE:
                self._note("without a reply")
                self._deliver(request)
            elif what < LATE:  # whoever sent it has given up, and may have undone it
                self._note("late")
                self._start(lambda: self._deliver(request), 0.01 + when)
            else:
                if what < TWICE:
                    self._note("twice")
                    self._start(lambda: self._deliver(request), when if when > 0.5 else 0.0)
                connection.sendall(self._deliver(request))

    def _deliver(self, request: bytes) -> bytes:
        """Take a request to the bank; give its answer, which is empty if a worker died of it."""
        with self._lock:
            self.counts["delivered"] += 1
            number = self.counts["delivered"]
        answer = b""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._bank)) as bank:
            bank.settimeout(PATIENCE)
            bank.sendall(request)
            self._strike(number)
            while more := bank.recv(65536):
                answer += more
        if not answer:
            self._note("unanswered by the bank")
        return answer


def _whole(connection: socket.socket) -> bytes | None:
    """Read one request, which is to be the last of its connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65536)):
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    length = next(
        int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        if not (more := connection.recv(65536)):
            return None
        body += more
    kept = [line for line in lines if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*kept, b"Connection: close", b"", b""]) + body
