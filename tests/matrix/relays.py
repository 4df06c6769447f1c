"""A relay before a server on a Unix socket, which drops an answer."""

from __future__ import annotations

import select
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from servers.listener import PATIENCE, Listener

Ends = Literal["fin", "silence", "gone", "at once"]
ENDS: tuple[Ends, ...] = ("fin", "silence", "gone", "at once")


class Relay(Listener):
    """A socket that passes on what it hears, but not an answer with a word, or to one with it.

    It waits until that answer is complete, so what was asked for is done; then the connection ends,
    or stays silent, or the relay goes down as well. "at once" ends it before anything.
    """

    def __init__(self, path: Path, behind: Path, word: bytes, complete: bytes, ends: Ends) -> None:
        self._behind, self._word, self._complete, self._ends = behind, word, complete, ends
        super().__init__(path)

    def serve(self, connection: socket.socket) -> None:
        """Copy both ways, until the word comes."""
        if self._ends == "at once":
            connection.recv(65536)
            return
        with socket.socket(socket.AF_UNIX) as there:
            there.connect(str(self._behind))
            self.keep(there)
            answer: bytes | None = None
            while answer is None or self._complete not in answer:
                readable = select.select([connection, there], [], [], PATIENCE)[0]
                for this in readable:
                    data = this.recv(65536)
                    answer = b"" if answer is None and self._word in data else answer
                    if this is connection:
                        there.sendall(data)
                    elif answer is None:
                        connection.sendall(data)
                    else:
                        answer += data
                if not readable or not data:
                    return
            if self._ends == "gone":
                self.go_down()
            if self._ends == "silence":
                self.drain(connection)


def relayed(
    stack: ExitStack, path: Path, behind: Path, word: bytes, complete: bytes, ends: Ends
) -> Relay:
    """Start a relay, for a stack to close."""
    relay = Relay(path, behind, word, complete, ends)
    stack.callback(relay.close)
    return relay
