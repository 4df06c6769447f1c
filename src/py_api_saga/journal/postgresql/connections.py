"""Where the connections of a journal come from."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeAlias

from py_api_saga.journal.postgresql.driver import psycopg
from py_api_saga.journal.postgresql.place import parsed, shown
from py_api_saga.journal.postgresql.trouble import UnreachableError, unreachable
from py_api_saga.journal.reentry import interrupted, is_held

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"


class Connections(Protocol):
    """Gives connections to one database, which are in autocommit.

    Attributes:
        key: Equal for what gives connections to the same database in the same way.
        place: Where that is, for messages; never with a password.
    """

    @property
    def key(self) -> Hashable: ...  # noqa: D102 - described above
    @property
    def place(self) -> str: ...  # noqa: D102

    def connect(self, patience: float) -> Connection:
        """Make a connection that is the caller's alone, and closed by nobody else.

        Args:
            patience: Seconds after which a server that does not answer is given up.

        Raises:
            UnreachableError: There is none to be had.
        """

    def reading(self, patience: float) -> Any:
        """Give a connection for a moment: a context manager."""

    def apart(self) -> Connections:
        """Give the same for somebody who closes it sooner."""

    def close(self) -> None:
        """Close what is open and nobody uses at this moment; it is opened again when needed."""


class _Reader:
    """The connection of a process that reads; threads take turns.

    Attributes:
        turn: Held while something is read.
        connection: None until it is needed.
        process: The only one that may use it.
    """

    def __init__(self) -> None:
        self.turn = threading.RLock()  # reentrant only to know who holds it
        self.connection: Connection | None = None
        self.process = os.getpid()


class MadeConnections:
    """Connections that are made here: one for whoever asks, and one that reads, in turns."""

    def __init__(self) -> None:
        self._readers = [_Reader()]  # that of this process last; those of its ancestors stay open

    def parameters(self) -> Mapping[str, Any]:
        """Give what to connect with, in the words of libpq, or of the driver."""
        raise NotImplementedError  # pragma: no cover - each has some

    def connect(self, patience: float) -> Connection:
        """Make a connection; see `Connections`."""
        given: Mapping[str, Any] = {**_enduring(patience), **self.parameters()}
        problem: UnreachableError | None = None
        if "," in str(given.get("host", "")) or "," in str(given.get("hostaddr", "")):
            given = {"target_session_attrs": "read-write", **given}
        try:
            return psycopg.connect(**{**given, "autocommit": True, "client_encoding": "UTF8"})
        except (psycopg.Error, UnicodeError, ValueError, OSError) as error:
            problem = unreachable(error)
        raise problem  # out here nothing of the driver's is its context

    def _reader(self) -> _Reader:
        reader = self._readers[-1]
        if reader.process != os.getpid():
            reader = _Reader()
            self._readers.append(reader)
        return reader

    @contextmanager
    def reading(self, patience: float) -> Iterator[Connection]:
        """Give the one connection that reads; threads take turns."""
        reader = self._reader()
        if is_held(reader.turn):
            raise interrupted()
        with reader.turn:
            connection = reader.connection
            if connection is None or connection.closed:
                connection = reader.connection = self.connect(patience)
            try:
                yield connection
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the connection that reads; it is made again when it is needed."""
        reader = self._reader()
        with reader.turn:
            connection, reader.connection = reader.connection, None
            if connection is not None:
                with suppress(Exception):
                    connection.close()


class OwnConnections(MadeConnections):
    """Connections by what a connection string says.

    Attributes:
        key: Of the database.
        place: Where it is.
    """

    def __init__(self, conninfo: str) -> None:
        """Read the string.

        Raises:
            JournalError: It is none.
        """
        super().__init__()
        self._conninfo = conninfo
        self._parameters = parsed(conninfo)
        self.key: Hashable = tuple(sorted(self._parameters.items()))
        self.place = shown(self._parameters)

    def __getstate__(self) -> str:
        """Give what another process needs, which makes connections of its own."""
        return self._conninfo

    def __setstate__(self, conninfo: str) -> None:
        self.__init__(conninfo)  # type: ignore[misc]

    def parameters(self) -> Mapping[str, Any]:
        """Give those of the string."""
        return self._parameters

    def apart(self) -> OwnConnections:
        """Give the same with a connection of its own that reads."""
        return OwnConnections(self._conninfo)


def _enduring(patience: float) -> Mapping[str, Any]:
    """Give what makes a connection notice that its server is gone, unless the user says more."""
    seconds = max(2, round(patience / 2))  # libpq takes no less
    return {
        "connect_timeout": min(seconds, 10),
        "keepalives": 1,
        "keepalives_idle": seconds,
        "keepalives_interval": max(1, seconds // 3),
        "keepalives_count": 3,
        "tcp_user_timeout": round(patience * 1000),
        "application_name": "py-api-saga",
    }
