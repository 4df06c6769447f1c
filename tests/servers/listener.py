"""A port of the loopback, or a Unix socket, with a thread for each connection to it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from pathlib import Path

PATIENCE = 30.0  # seconds after which a server of these tests gives up on a client
HOST = "127.0.0.1"


class Listener:
    """A port of the loopback, or a Unix socket, and a thread for each connection to it."""

    def __init__(self, path: Path | None = None) -> None:
        if path is None:
            self.socket = socket.create_server((HOST, 0), backlog=64)
            self.address = f"{HOST}:{self.socket.getsockname()[1]}"
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.bind(str(path))
            self.socket.listen(64)
            self.address = str(path)
        self._open: list[socket.socket] = []
        self._closed = False
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self.socket.accept()
                connection.settimeout(PATIENCE)
                thread = threading.Thread(target=self._keep, args=(connection,), daemon=True)
                with self._lock:
                    self._threads.append(thread)
                thread.start()

    def _keep(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            self.keep(connection)
            self.serve(connection)

    def keep(self, connection: socket.socket) -> None:
        """Let `close()` end a connection: what has come in is still read, and then its end."""
        with self._lock:
            if not self._closed:
                self._open.append(connection)
                return
        connection.shutdown(socket.SHUT_RDWR)

    def serve(self, connection: socket.socket) -> None:
        """Do what this one does with a connection."""
        raise NotImplementedError

    def drain(self, connection: socket.socket) -> None:
        """Read until the other side has gone, or this one is closed."""
        while connection.recv(65536):
            pass

    def go_down(self) -> None:
        """Accept no more: who connects now is refused."""
        with contextlib.suppress(OSError):  # wakes the thread that accepts
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def close(self) -> None:
        """Go down, let silence end, and wait for what is under way; the ledger is final then."""
        self.go_down()
        with self._lock:
            self._closed = True
            waiting = list(self._open)
        for connection in waiting:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a server of the tests hangs"


def reset(connection: socket.socket) -> None:
    """Close by RST: that is what a linger of zero seconds means."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
