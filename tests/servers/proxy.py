"""A network of ours before a server: it passes on, delays, swallows, cuts, and loses answers."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from .listener import HOST, PATIENCE, Listener

COMMITTED = b"COMMIT\0"  # what PostgreSQL says of a COMMIT that it has done
Loses = Literal["question", "answer"]


class Proxy(Listener):
    """A port of the loopback that leads to a server.

    Attributes:
        delay: Seconds that whatever goes either way waits here.
        trips: How often a client has asked for something and begun to get an answer.
        connections: How many clients have connected.
        lost: How many questions, and answers to a COMMIT, were lost.
    """

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._passes = threading.Event()
        self._passes.set()
        self._loses: list[Loses] = []
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._figures = threading.Lock()
        self.delay = 0.0
        self.trips = self.connections = self.lost = 0
        super().__init__()
        self.port = int(self.address.rpartition(":")[2])

    def swallow(self) -> None:
        """Pass nothing on from now on, either way; connections stay, and new ones seem to stand."""
        self._passes.clear()

    def pass_on(self) -> None:
        """Pass on again, also what was held back: it arrives late."""
        self._passes.set()

    def cut(self) -> int:
        """Break all connections, with what is under way on them, and give how many there were."""
        with self._figures:
            pairs = list(self._pairs)
        for pair in pairs:
            for end in pair:
                _break(end)
        return len(pairs)

    def lose(self, what: Loses, times: int = 1) -> None:
        """Break the connection of whoever asks something next, or gets a COMMIT answered."""
        with self._figures:
            self._loses += [what] * times

    def lose_no_more(self) -> None:
        """Lose nothing from now on."""
        with self._figures:
            self._loses.clear()

    def lead_to(self, behind: int) -> None:
        """Lead whoever connects from now on to another port."""
        self._behind = behind

    def close(self) -> None:
        """Break what is open, and go down."""
        self.go_down()
        self.cut()
        self.pass_on()
        super().close()

    def serve(self, connection: socket.socket) -> None:
        """Copy both ways until one end is closed."""
        self._passes.wait()
        with socket.create_connection((HOST, self._behind), PATIENCE) as there:
            self.keep(there)
            pair = connection, there
            for end in pair:
                end.settimeout(None)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._figures:
                self._pairs.add(pair)
                self.connections += 1
            asked = threading.Event()
            back = threading.Thread(target=self._copy, args=(there, connection, asked), daemon=True)
            back.start()
            try:
                self._copy(connection, there, asked)
            finally:
                back.join(PATIENCE)
                with self._figures:
                    self._pairs.discard(pair)

    def _copy(self, source: socket.socket, target: socket.socket, asked: threading.Event) -> None:
        asks = source.getsockname()[1] == self.port  # it comes from the client
        what: Loses = "question" if asks else "answer"
        mark, tail = (b"" if asks else COMMITTED), b""
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._passes.wait()
                if self.delay:
                    time.sleep(self.delay)
                if mark in tail + data and self._is_to_lose(what):
                    break
                tail = data[1 - len(COMMITTED) :]
                if asks:
                    asked.set()
                elif asked.is_set():
                    asked.clear()
                    with self._figures:
                        self.trips += 1
                target.sendall(data)
        for end in (source, target):
            _break(end)

    def _is_to_lose(self, what: Loses) -> bool:
        with self._figures:
            if what not in self._loses:
                return False
            self._loses.remove(what)
            self.lost += 1
            return True


def _break(end: socket.socket) -> None:
    """Wake whoever reads from this end, and let the other side see that it is gone."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(behind: int) -> Iterator[Proxy]:
    """Lead to a port, for the time of a block."""
    it = Proxy(behind)
    try:
        yield it
    finally:
        it.close()
