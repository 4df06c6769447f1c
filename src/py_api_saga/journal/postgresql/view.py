"""A journal in PostgreSQL for whoever drives nothing in it: a command that shows, a page.

It has a connection of its own, drives nothing, and knows no names, so that nothing is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from py_api_saga.journal.changes import OPEN, STATUS_OF, Summary
from py_api_saga.journal.format.functions import Functions
from py_api_saga.journal.health import Health
from py_api_saga.journal.postgresql.connections import Connections
from py_api_saga.journal.postgresql.examining import examined
from py_api_saga.journal.postgresql.queries import Naming
from py_api_saga.journal.postgresql.reading import Reads
from py_api_saga.journal.postgresql.server import Server
from py_api_saga.journal.protocol import Codec
from py_api_saga.status import SagaStatus


class View(Reads):
    """A journal in PostgreSQL, to be read by whoever drives nothing.

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

        Raises:
            JournalError: There is none of this format, or it can't be read.
        """
        self.place = connections.place
        self.codec = codec
        self.names = Functions()
        self.unsure = ""
        self._living: set[int] | None = None
        self._asks = Server(connections.apart(), naming, durability, 0.0)
        try:
            self._asks.look()
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
