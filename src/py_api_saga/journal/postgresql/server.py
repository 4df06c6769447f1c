"""One PostgreSQL as this process speaks with it: transactions of one round trip, and its clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from psycopg.pq import PipelineStatus, TransactionStatus

from py_api_saga import clock
from py_api_saga.exceptions import JournalError
from py_api_saga.journal.postgresql.connections import Connection, Connections
from py_api_saga.journal.postgresql.exchange import Found, exchange
from py_api_saga.journal.postgresql.queries import (
    STATEMENT_TIMEOUT,
    VERSION,
    Naming,
    statements,
)
from py_api_saga.journal.postgresql.trouble import (
    UNPREPARED,
    UnreachableError,
    cannot,
    code_of,
    has_struck,
    is_again,
    is_gone,
)

Asked: TypeAlias = tuple[
    str, Mapping[str, Any] | None
]  # a statement by name, what it is asked with

OLDEST = 150000  # the first release of PostgreSQL that it is tested with
FRESH = 10.0  # seconds for which its clock is believed to go as ours does
PAUSE = 0.02  # seconds before something is tried again, twice that the next time, and so on
LONGEST_PAUSE = 1.0
_OTHERWISE = frozenset({"42P01", "42703"})  # there is no such table, or no such column


class Server:
    """A database, and the tables of a journal in it.

    Attributes:
        connections: Where connections to it come from.
        queries: What is asked of it, by name.
        patience: Seconds for which what fails is tried again.
        naming: What its tables are called.
        can_prepare: Nobody has said yet that statements can't be prepared: a pooler that gives each
            transaction to another session.
        was_reached: There has been a connection.
    """

    def __init__(
        self, connections: Connections, naming: Naming, durability: str, patience: float
    ) -> None:
        """Name it; nothing is opened yet."""
        self.connections, self.naming, self.patience = connections, naming, patience
        self.durability = durability
        self.queries = statements(naming, durability)
        self.can_prepare = True
        self.was_reached = False
        self._ahead = 0.0  # its clock of ours, in seconds
        self._asked: float | None = None  # when that was found, by ours
        self._prepared: WeakKeyDictionary[Connection, set[bytes]] = WeakKeyDictionary()

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return self.connections.place

    # --- opening ---------------------------------------------------------------------------------

    def connect(self) -> Connection:
        """Make a connection for whoever writes.

        Raises:
            UnreachableError: There is none to be had.
            JournalError: No journal can be written there, or none of this format.
        """
        connection = self.connections.connect(self.patience)
        try:
            self._check(connection)
        except BaseException:
            connection.close()
            raise
        self.was_reached = True
        return connection

    def _check(self, connection: Connection) -> None:
        self.check_fit(connection)
        if not self.is_made(connection):
            raise self.not_made()
        self.check_format(connection)

    def check_fit(self, connection: Connection) -> None:
        """See that a journal can be kept there.

        Raises:
            JournalError: It can't.
            UnreachableError: It is a standby; in a moment it may be none, or there may be another.
        """
        version, encoding, fsync, is_standby = self.ask(connection, "server")[0]
        ours = connection.info.encoding
        if is_standby:
            raise UnreachableError("it is a standby, which can only be read", is_passing=False)
        if version < OLDEST:
            problem = f"it is PostgreSQL {version // 10000}, older than {OLDEST // 10000}"
        elif encoding != "UTF8" or ours != "utf-8":
            problem = (
                f"its encoding is {encoding}, and that of the connection {ours}: both have to be "
                f"UTF8, or texts could not be kept"
            )
        elif fsync == "off" and self.durability == "power":
            problem = (
                "it has fsync=off, so what is on record does not outlast a loss of power: set it, "
                'or say durability="process"'
            )
        else:
            return
        message = f"no journal can be kept in {self.place}: {problem}"
        raise JournalError(message)

    def is_made(self, connection: Connection) -> bool:
        """Tell whether the tables are there."""
        return bool(self.ask(connection, "is_made")[0][0])

    def ask(self, connection: Connection, name: str) -> Found:
        """Ask one thing, by itself, or in the transaction of whoever has the connection."""
        return connection.execute(self.queries[name], prepare=False).fetchall()

    def not_made(self) -> JournalError:
        """The tables are not there."""
        return JournalError(
            f"there is no journal in {self.place}: no table {self.naming}format; call "
            f"journal.create_schema() once, or run what `saga schema postgresql` prints"
        )

    def check_format(self, connection: Connection) -> None:
        """See that the tables have a format that this release can use.

        Raises:
            JournalError: They have not.
        """
        self._see_format(self.ask(connection, "version"))

    def _see_format(self, found: Found) -> None:
        if (problem := format_problem(*(found[0] if found else (0, 0)))) is not None:
            raise self._unfit(problem)

    def _unfit(self, problem: str) -> JournalError:
        return JournalError(f"the journal {self.place} ({self.naming}…) {problem}")

    def look(self) -> None:
        """See that there is a journal that this release can read.

        Raises:
            JournalError: There is none, or it can't be read.
        """
        self._see_format(self.read("version"))  # which says so if there is no such table

    # --- transactions ----------------------------------------------------------------------------

    def transact(
        self, connection: Connection, asked: Sequence[Asked], begin: str = "begin"
    ) -> list[Found]:
        """Send statements as one transaction, in one round trip, and give what each has found."""
        queries = self.queries
        script: list[tuple[bytes, Mapping[str, Any] | None]]
        script = [(queries[begin], None), (queries["settings"], None)]
        script += [(queries[name], given) for name, given in asked]
        script.append((queries["commit"], None))
        prepared = None
        # What is read on may be lent, and be reset; and an engine may say that it is never done.
        if self.can_prepare and begin == "begin" and connection.prepare_threshold is not None:
            prepared = self._prepared.setdefault(connection, set())
        sent = clock.boottime()
        silence = self.patience if begin == "begin" else self._silence(len(asked))
        _, told, *found, _ = exchange(connection, script, prepared, silence)
        answered = clock.boottime()
        self._ahead = told[0][0] / 1000 - (sent + answered) / 2
        self._asked = answered
        return found

    def _silence(self, statements: int) -> float:
        """Give the seconds after which a reader takes it for gone: each statement has its time."""
        return self.patience + STATEMENT_TIMEOUT * statements

    def is_clean(self, connection: Connection) -> bool:
        """Tell whether a transaction may begin on a connection: nobody was interrupted on it."""
        if connection.closed:
            return False
        pgconn = connection.pgconn
        return (
            pgconn.transaction_status == TransactionStatus.IDLE
            and pgconn.pipeline_status == PipelineStatus.OFF
        )

    def note(self, error: BaseException) -> None:
        """Take in an error of a statement: through some poolers nothing can be prepared."""
        if code_of(error) in UNPREPARED:
            self.can_prepare = False

    def has_patience(self, error: Exception) -> bool:
        """Tell whether what has failed so is worth to be tried again."""
        if isinstance(error, UnreachableError):
            return self.was_reached or error.is_passing
        return is_gone(error) or is_again(error)

    # --- reading ---------------------------------------------------------------------------------

    def read(self, name: str, given: Mapping[str, Any] | None = None) -> Found:
        """Give what one statement finds.

        Raises:
            JournalError: It can't be read.
        """
        return self.read_all([(name, given)])[0]

    def read_all(self, asked: Sequence[Asked]) -> list[Found]:
        """Give what several find, all as it was at one moment.

        Raises:
            JournalError: It can't be read.
        """
        pause, until = PAUSE, clock.monotonic() + self.patience
        while True:
            try:
                with self.connections.reading(self.patience) as connection:
                    found = self.transact(connection, asked, "begin_reading")
            except JournalError:
                raise
            except Exception as error:
                self.note(error)
                if not self.has_patience(error) or clock.monotonic() + pause > until:
                    if has_struck(error):
                        raise
                    problem: Exception = error
                    break
            else:
                self.was_reached = True
                return found
            clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        raise self._unread(problem)

    def _unread(self, problem: Exception) -> JournalError:
        code = code_of(problem)
        if code in _OTHERWISE and (unfit := self._of_another_format()) is not None:
            return unfit
        if code == "42P01":
            return self.not_made()
        error = cannot("read", self.place, problem)
        error.__cause__ = problem
        return error

    def _of_another_format(self) -> JournalError | None:
        """Say so if that is why a table or a column is not there."""
        with suppress(Exception):  # if it can't be asked: what is known is said
            with self.connections.reading(self.patience) as connection:
                found = self.ask(connection, "version") if self.is_made(connection) else []
            if found and (problem := format_problem(*found[0])) is not None:
                return self._unfit(problem)
        return None

    def now(self) -> float:
        """Tell the time by its clock, seconds since 1970; it is asked every few seconds."""
        if self._asked is None or not 0 <= clock.boottime() - self._asked < FRESH:
            self.read("now")
        return clock.boottime() + self._ahead

    def lately(self) -> float:
        """Tell the same by what was found last, as by each transaction."""
        return self.now() if self._asked is None else clock.boottime() + self._ahead


def format_problem(version: int, readable_from: int) -> str | None:
    """Say of a journal, by the format that it has, why it can't be used; None if it can."""
    if version == VERSION or version > VERSION >= readable_from:
        return None
    return f"has format {version}, and this release of py-api-saga uses {VERSION}: " + (
        "update py-api-saga"
        if version > VERSION
        else "end the processes of the earlier release, then call journal.create_schema() once, "
        "run what `saga schema postgresql --upgrade` prints, or with Django `manage.py migrate`"
    )
