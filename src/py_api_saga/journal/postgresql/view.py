"""A journal in PostgreSQL for whoever drives nothing in it: a command that shows, a page.

It drives nothing, and knows no names, so that nothing is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from py_api_saga.exceptions import JournalError
from py_api_saga.journal.changes import OPEN, STATUS_OF, Summary
from py_api_saga.journal.format.functions import Functions
from py_api_saga.journal.health import Health
from py_api_saga.journal.postgresql.connections import Connections
from py_api_saga.journal.postgresql.driver import psycopg
from py_api_saga.journal.postgresql.examining import examined
from py_api_saga.journal.postgresql.queries import Naming
from py_api_saga.journal.postgresql.reading import Reads
from py_api_saga.journal.postgresql.server import Server
from py_api_saga.journal.postgresql.trouble import is_gone
from py_api_saga.journal.protocol import Codec
from py_api_saga.status import SagaStatus


class View(Reads):
    """A journal in PostgreSQL, to be read by whoever drives nothing; then it is closed.

    Attributes:
        place: Where it is.
        names: Empty: nothing that it names is looked for.
        codec: What opens sealed values, or None.
        unsure: Empty: the database knows which processes live.
    """

    def __init__(
        self, connections: Connections, naming: Naming, durability: str, codec: Codec | None = None
    ) -> None:
        """Look at a journal that is there.

        Args:
            connections: Where one comes from that is closed in the end.
            naming: What the tables are called.
            durability: What its statements are made for.
            codec: What opens sealed values.

        Raises:
            JournalError: There is none of this format, or it can't be read.
        """
        self.place = connections.place
        self.codec = codec
        self.names = Functions()
        self.unsure = ""
        self._living: set[int] | None = None
        self._asks = Server(connections, naming, durability, 0.0)
        try:
            self._see_journal()
        except BaseException:
            self._asks.connections.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._asks.connections.close()

    @property
    def _server(self) -> Server:
        return self._asks

    def _see_journal(self) -> None:
        self._asks.look()

    def drives(self, seen: Summary) -> bool:
        """Tell whether a living process drives a saga: it lived when this was asked first."""
        if not seen.owner or seen.status not in OPEN:
            return False
        if self._living is None:
            self._living = {row[0] for row in self._asks.read("living")}
        return seen.owner in self._living

    def who_hangs(self) -> None:
        """Tell who keeps all others from writing: nobody can."""

    def counts(self) -> Mapping[tuple[str | None, SagaStatus], int]:
        """Count sagas by name and status; looks at all that there are."""
        found = self._asks.read("counts_by_name")
        return {(name, STATUS_OF[number]): many for name, number, many in found}

    def health(self) -> Health:
        """Examine the database, and the journal in it."""
        return examined(self._asks)


class Onlooker(View):
    """The same by a connection that is kept for the next one: of pages asked for again and again.

    A new one takes longer than a page, since its session knows none of the tables yet. Nothing is
    open on it between two reads, so it keeps the server from nothing.
    """

    def _see_journal(self) -> None:
        """Look on another connection, if the one that was kept is gone."""
        try:
            super()._see_journal()
        except JournalError as error:
            why = error.__cause__
            if not isinstance(why, psycopg.Error) or not is_gone(why):
                raise
            super()._see_journal()

    def __exit__(self, *_: object) -> None:
        """Keep the connection: it is closed with the journal."""
