"""A journal in PostgreSQL: `PostgreSQLJournal("postgresql://…", modules=["shop.operations"])`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack

from py_api_saga import clock
from py_api_saga.exceptions import JournalError
from py_api_saga.journal.changes import (
    LONGEST_WAIT,
    NUMBER_OF,
    Change,
    Claim,
    Leave,
    Letter,
    Row,
    Summary,
    milliseconds,
    taken_over,
)
from py_api_saga.journal.format.functions import Functions
from py_api_saga.journal.format.sealing import check_codec
from py_api_saga.journal.postgresql import benches
from py_api_saga.journal.postgresql.bench import Bench
from py_api_saga.journal.postgresql.connections import Connection, Connections, OwnConnections
from py_api_saga.journal.postgresql.queries import Naming, schema, statements
from py_api_saga.journal.postgresql.reading import Reads, summaries
from py_api_saga.journal.postgresql.server import Server
from py_api_saga.journal.postgresql.trouble import cannot
from py_api_saga.journal.postgresql.view import Onlooker, View
from py_api_saga.journal.postgresql.within import Transactional, UsersTransaction, ways
from py_api_saga.journal.postgresql.writes import array, texts
from py_api_saga.journal.protocol import Codec, Within
from py_api_saga.journal.sql.desk import refuse
from py_api_saga.journal.sql.group_commit import RetiredError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

Durability: TypeAlias = Literal["power", "process"]

_LOCK = 0x73616761  # "saga": who makes the tables
_PAUSE = 0.01  # seconds before what somebody else has locked is tried again
_LONGEST_PAUSE = 0.25


class Options(TypedDict, total=False):
    """What a journal in PostgreSQL may be given by name; see `PostgreSQLJournal`."""

    modules: Iterable[str]
    aliases: Mapping[str, str] | None
    codec: Codec | None
    prefix: str
    schema: str
    lease: float
    patience: float | None
    durability: Durability


class DatabaseJournal(Reads):
    """Sagas in a PostgreSQL database, by whatever gives connections to it."""

    spans_deploys = True  # its machines get a new release one after the other
    poll = 1.0  # seconds; what was started in a transaction of the user's waits for it

    def __init__(
        self,
        connections: Connections,
        *,
        modules: Iterable[str] = (),
        aliases: Mapping[str, str] | None = None,
        codec: Codec | None = None,
        prefix: str = "saga_",
        schema: str = "public",
        lease: float = 30.0,
        patience: float | None = None,
        durability: Durability = "power",
    ) -> None:
        if durability not in ("power", "process"):
            message = f"durability: expected 'power' or 'process', got {durability!r}"
            raise ValueError(message)
        check_codec(codec)
        self.codec = codec
        self.names = Functions(modules, aliases)  # the functions and types that its sagas may name
        self._connections = connections
        self._naming = Naming(schema, prefix).check()
        self._lease = _seconds(lease, "lease")
        self._patience = self._lease if patience is None else _seconds(patience, "patience")
        self._durability: Durability = durability
        self._bench: Bench | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Give what another process needs, which makes connections of its own."""
        return {**self.__dict__, "_bench": None}

    @property
    def place(self) -> str:
        """Where it is, for messages; never with a password."""
        return self._connections.place

    @property
    def bench(self) -> Bench:
        """What it shares with the other journals of this process on the same database.

        Raises:
            JournalError: They have other options.
        """
        bench = self._bench
        if bench is None or not bench.is_usable():
            bench = self._bench = benches.bench_at(
                self._connections, self._naming, self._durability, self._lease, self._patience
            )
        return bench

    def create_schema(self) -> None:
        """Make the tables, or what those of an earlier release lack; several may do so at once.

        Raises:
            JournalError: There is no connection, the role may not do that, or there are tables of
                another format.
        """
        server = self._server
        try:
            with closing(self._connections.connect(server.patience)) as connection:
                self._create(connection, server)
        except JournalError:
            raise
        except Exception as error:
            raise cannot("made", self.place, error) from error

    def _create(self, connection: Connection, server: Server) -> None:
        server.check_fit(connection)
        with connection.transaction():
            # One after the other: IF NOT EXISTS is not atomic.
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            for statement in schema(self._naming).values():
                connection.execute(statement.encode())
        server.check_format(connection)

    def within(self, connection: Transactional) -> Within:
        """Give what a saga is started in, in a transaction of yours: `start(journal=…)` takes it.

        The saga is there once your transaction has committed, and never if that, or the savepoint
        in which it was started, is rolled back. Whoever recovers next runs it, or whoever runs a
        saga with the same id in the journal itself. Nothing can be run in what this gives.

        Args:
            connection: A `Session` or `Connection` of SQLAlchemy's, with any driver, or a
                connection of psycopg 3; for `astart` an `AsyncSession`, an `AsyncConnection`, or an
                asynchronous one of psycopg's. To the database of this journal; not in autocommit,
                unless a transaction was begun.

        Raises:
            TypeError: It is none of these.
        """
        query = statements(self._naming, self._durability)["start"]
        return UsersTransaction(self, self._naming, query, *ways(connection))

    def take_in(
        self, sagas: Sequence[tuple[Summary, Sequence[Row], Sequence[tuple[float, Letter]]]]
    ) -> Collection[str]:
        """Take in sagas that have ended in another journal, in one commit.

        Args:
            sagas: Each with its rows and with the answers that it has taken in, each with the
                time at which it was given, seconds since 1970.

        Returns:
            The ids of those that are here since. An id that was here stays what it is, and what
            PostgreSQL can't store (a NUL in an id) is left out.

        Raises:
            JournalError: They could not be written: none is here since.
        """
        fit = [one for one in sagas if "\0" not in f"{one[0].saga_id}{one[0].name}"]
        rows = [(seen.saga_id, row) for seen, own, _ in fit for row in own]
        mail = [(seen.saga_id, at, letter) for seen, _, own in fit for at, letter in own]
        given = {
            "ids": texts(seen.saga_id for seen, _, _ in fit),
            "names": texts(seen.name for seen, _, _ in fit),
            "statuses": array(NUMBER_OF[seen.status] for seen, _, _ in fit),
            "epochs": array(seen.epoch for seen, _, _ in fit),
            "tries": array(seen.tries for seen, _, _ in fit),
            "created": array(round(seen.created * 1000) for seen, _, _ in fit),
            "changed": array(round(seen.changed * 1000) for seen, _, _ in fit),
            "digests": texts(seen.digest for seen, _, _ in fit),
            "of": texts(saga_id for saga_id, _ in rows),
            "n": array(row.n for _, row in rows),
            "at": array(round(row.at * 1000) for _, row in rows),
            "bodies": texts(row.body for _, row in rows),
            "answered": texts(saga_id for saga_id, _, _ in mail),
            "came": array(round(at * 1000) for _, at, _ in mail),
            "keys": texts(letter.key for _, _, letter in mail),
            "letters": texts(letter.body for _, _, letter in mail),
        }
        server = self._server
        try:
            with closing(server.connect()) as connection:
                found = server.transact(connection, [("take_in", given)])[0]
        except JournalError:
            raise
        except Exception as error:
            raise cannot("written", self.place, error) from error
        return {saga_id for (saga_id,) in found}

    # --- writing ---------------------------------------------------------------------------------

    def write(self, *changes: Change) -> None:
        """Return when each change is settled; see `Journal`."""
        pause, since = _PAUSE, None
        while True:
            try:
                bench = self.bench
                bench.queue.write(changes)
            except RetiredError:  # somebody has closed it: there is a new one
                continue
            except JournalError as error:
                refuse(changes, error)
                return
            if bench.lease.is_late():
                self._confirm(bench, changes)
            busy = [change for change in changes if not change.settled]
            if not busy:
                return
            since = since or clock.monotonic()
            if not _give_up(bench, busy, since):
                clock.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def awrite(self, *changes: Change) -> None:
        """Like `write`, without blocking the loop."""
        asyncio = sys.modules["asyncio"]  # programs without a loop do not load it
        loop: AbstractEventLoop = asyncio.get_running_loop()
        pause, since = _PAUSE, None
        while True:
            try:
                bench = self.bench
                for future in bench.queue.submit(changes, loop):
                    await future
            except RetiredError:
                continue
            except JournalError as error:
                refuse(changes, error)
                return
            if bench.lease.is_late():
                await self._aconfirm(bench, changes, loop)
            busy = [change for change in changes if not change.settled]
            if not busy:
                return
            since = since or clock.monotonic()
            if not _give_up(bench, busy, since):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    @staticmethod
    def _confirm(bench: Bench, changes: Sequence[Change]) -> None:
        """See that nobody goes on under a lease that has run out, however that came."""
        going = [change for change in changes if bench.goes_on(change)]
        error = None
        while bench.lease.is_late() and error is None and any(map(bench.goes_on, going)):
            bench.queue.write([comparing := Leave(Claim(""))])
            error = comparing.error
        _tell(bench, going, error)

    @staticmethod
    async def _aconfirm(bench: Bench, changes: Sequence[Change], loop: AbstractEventLoop) -> None:
        going = [change for change in changes if bench.goes_on(change)]
        error = None
        while bench.lease.is_late() and error is None and any(map(bench.goes_on, going)):
            for future in bench.queue.submit([comparing := Leave(Claim(""))], loop):
                await future
            error = comparing.error
        _tell(bench, going, error)

    def is_in_time(self) -> bool:
        """Tell whether the lease runs; see `Leased`."""
        return not self.bench.lease.is_late()

    def see_in_time(self, claim: Claim) -> None:
        """Return once it runs, and it is certain that the claim stands."""
        self._confirm(self.bench, [held := _held(claim)])
        self._see_held(held)

    async def asee_in_time(self, claim: Claim) -> None:
        """Like `see_in_time`, without blocking the loop."""
        loop: AbstractEventLoop = sys.modules["asyncio"].get_running_loop()
        await self._aconfirm(self.bench, [held := _held(claim)], loop)
        self._see_held(held)

    def _see_held(self, held: Change) -> None:
        if held.error is None and not self.bench.goes_on(held):
            held.error = taken_over(held.claim)
        held.check()

    def leave(self, claim: Claim) -> None:
        """Stop driving a saga, at once in this process, durably with its next commit."""
        claim.over = True
        bench = self._bench
        if bench is not None and bench.is_usable():
            bench.desk.leave(claim)

    # --- reading ---------------------------------------------------------------------------------

    @property
    def _server(self) -> Server:
        return self.bench.server

    def drives(self, seen: Summary) -> bool:
        """Tell whether somebody drives a saga: its owner's lease runs or, if it is us, we do."""
        desk = self.bench.desk
        if seen.saga_id in desk.running:
            return True
        if seen.owner in (0, desk.owner):
            return False
        return bool(self._server.read("lives", {"owners": array([seen.owner])}))

    def waiting(self, limit: int | None = None) -> Sequence[Summary]:
        """List the sagas that are to be gone on with and that nobody drives; see `Journal`.

        Those first that have been due for longest, and of these the oldest; those last for which
        there is mail alone.
        """
        desk = self.bench.desk
        with desk.lock:
            skip = {claim.number for claim in desk.running.values()} | desk.barred
        now = self.now()
        given = {
            "now": milliseconds(now),
            "late": milliseconds(now + LONGEST_WAIT),
            "owner": desk.owner,
            "skip": array(skip),
            "limit": limit,
        }
        found = summaries(self._server.read("waiting", given))
        those = {seen.number: seen for seen in found if seen.saga_id not in desk.running}
        return [*those.values()][:limit]

    def reader(self) -> View:
        """Give a view for whoever drives nothing: it registers nobody.

        Raises:
            JournalError: There is no journal of this format.
        """
        return View(self._connections.apart(), self._naming, self._durability, self.codec)

    def onlooker(self) -> Onlooker:
        """Give the same for a page that is asked for again and again: see `LastingJournal`.

        It reads by the connection of the journal that reads, which is closed with the journal.

        Raises:
            JournalError: There is no journal of this format.
        """
        return Onlooker(self._connections, self._naming, self._durability, self.codec)

    def missing(self) -> str:
        """Say why there is no journal of this format here, or not yet; empty if there is one.

        Makes none.

        Raises:
            JournalError: The database can't be asked.
        """
        server = self._server
        try:
            server.look()
        except JournalError as error:
            if error.__cause__ is not None:  # of the driver's
                raise
            server.read("is_made")  # raises if there is nobody to be asked
            return str(error)
        return ""

    def who_hangs(self) -> None:
        """Tell who keeps all others from writing: nobody can."""

    def close(self) -> None:
        """Close its connections, also for the other journals on it; made again when needed."""
        if self._bench is not None:
            benches.close(self._bench)
        self._connections.close()  # by which somebody may have looked on; the bench may have others


class PostgreSQLJournal(DatabaseJournal):
    """Sagas in the application's own PostgreSQL, which any number of machines share."""

    def __init__(self, conninfo: str, **options: Unpack[Options]) -> None:
        """Say where it is; nothing is opened before it is used.

        Args:
            conninfo: A connection string of libpq's: a URL, or keywords and values. Better without
                a password, for which PGPASSFILE or a service names a file.
            modules: Where the functions and types of its sagas are, see `Functions`.
            aliases: What has been renamed since, see `Functions`.
            codec: What values pass through on their way to the database and back.
            prefix: What the names of its tables begin with.
            schema: Where these are.
            lease: Seconds after which others go on with the sagas of a process that is silent.
            patience: Seconds for which a write that fails, or that the server does not answer, is
                tried again before the saga is left; as long as the lease, if None. What is read is
                tried for as long, and for the 10 seconds more that the server has to find it.
            durability: What is on record outlasts a loss of "power" of the server, or only the
                death of this "process": a crash of the server may lose the last commits then.

        Raises:
            JournalError: The driver, psycopg 3, is not there; or the connection string is none.
            ValueError: An option is none of what it may be.
            TypeError: `modules` is not a list of names, or `codec` has no `encode` and `decode`.
        """
        super().__init__(OwnConnections(conninfo), **options)

    def __repr__(self) -> str:
        return f"PostgreSQLJournal({self.place!r})"


def _seconds(value: float, name: str) -> float:
    if not 1 <= value <= 86_400:  # noqa: PLR2004 - a day
        message = f"{name}: expected seconds, from 1 to 86400, got {value!r}"
        raise ValueError(message)
    return float(value)


def _give_up(bench: Bench, busy: Sequence[Change], since: float) -> bool:
    """Settle what others have locked for longer than there is patience; false if none was."""
    now = clock.monotonic()
    late = [
        change
        for change in busy
        if now - since > bench.server.patience or (change.until is not None and change.until <= now)
    ]
    with bench.desk.lock:
        for change in late:
            bench.desk.withdraw(
                change,
                f"a transaction that has not ended holds it in {bench.server.place}, for "
                f"{now - since:.0f} s",
            )
    return bool(late)


def _tell(bench: Bench, going: Sequence[Change], error: Exception | None) -> None:
    """Have whoever waited know what it has lost meanwhile."""
    for change in going:
        if not bench.goes_on(change):
            change.error = taken_over(change.claim)
        elif error is not None:
            change.error = JournalError(*error.args)
            change.error.__cause__ = error.__cause__


def _held(claim: Claim) -> Change:
    """Give what stands for a claim that is held, where changes are asked for."""
    held = Change(claim)
    held.settled = True
    return held
