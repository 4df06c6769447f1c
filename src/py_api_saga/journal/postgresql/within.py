"""A saga written in a transaction of the user's: `saga.start(journal=journal.within(session))`.

It is one statement on the user's connection, between a savepoint and its release: there if and when
that connection commits, and whatever goes wrong with it, the transaction can go on. What SQLAlchemy
gives is spoken to in SQLAlchemy's own words, so any of its drivers will do; a session is asked for
its connection, and so flushes nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, Protocol, TypeAlias

from py_api_saga.exceptions import JournalError
from py_api_saga.journal.changes import Change, Claim, Create, Row, SagaExistsError, Summary
from py_api_saga.journal.format.functions import Functions
from py_api_saga.journal.postgresql.driver import psycopg
from py_api_saga.journal.postgresql.queries import Naming
from py_api_saga.journal.postgresql.reading import summaries
from py_api_saga.journal.postgresql.server import format_problem
from py_api_saga.journal.postgresql.trouble import cannot, code_of
from py_api_saga.journal.postgresql.writes import begun_elsewhere
from py_api_saga.journal.protocol import Codec

Found: TypeAlias = "tuple[Any, ...]"  # the one row that the statement gives
Given: TypeAlias = Mapping[str, Any]
Ask: TypeAlias = Callable[[bytes, Given], Found]
AskLater: TypeAlias = Callable[[bytes, Given], Awaitable[Found]]

_SAVE, _KEEP = b"SAVEPOINT py_api_saga", b"RELEASE SAVEPOINT py_api_saga"
_UNDO = b"ROLLBACK TO SAVEPOINT py_api_saga"
# The transaction is over, or its connection is: so the code whose it is has to hear of it, in the
# words of its driver. https://www.postgresql.org/docs/current/errcodes-appendix.html
_OVER = ("08", "40", "57P", "25P02", "25P03", "25P04")
_AUTOCOMMIT = "25P01"  # a savepoint outside of a transaction

_RUN = (
    "in a transaction of yours a saga can be started, and not run: nothing of the run would be on "
    "record before your commit. Write saga.start(journal=journal.within(…), saga_id=…). After the "
    "commit a worker runs it, or you do: saga.orchestrator_execute(journal=journal, saga_id=…)"
)
_AWAITED = "this transaction is one to await: write await saga.astart(journal=journal.within(…))"
_NO_TRANSACTION = (
    "the connection is in autocommit, and no transaction is open on it: what was written could not "
    "be rolled back with anything. Begin a transaction first, or start the saga without one: "
    "saga.start(journal=journal)"
)
_EXPECTED = (
    "within: expected a Session, Connection, AsyncSession or AsyncConnection of SQLAlchemy, or a "
    "connection of psycopg 3"
)


class Session(Protocol):
    """A session of SQLAlchemy's, or a registry of sessions."""

    def connection(self) -> object:
        """Give the connection that it uses, or what is to be awaited for it."""


class Connection(Protocol):
    """A connection of SQLAlchemy's."""

    def begin_nested(self) -> object:
        """Begin a savepoint."""


class Psycopg(Protocol):
    """A connection of psycopg 3."""

    def transaction(self) -> object:
        """Begin a block."""

    def pipeline(self) -> object:
        """Begin what is sent at once."""


Transactional: TypeAlias = Session | Connection | Psycopg


class Home(Protocol):
    """The journal, as far as it is needed here."""

    @property
    def place(self) -> str: ...  # noqa: D102 - as in `Journal`
    @property
    def names(self) -> Functions: ...  # noqa: D102
    @property
    def codec(self) -> Codec | None: ...  # noqa: D102
    def now(self) -> float: ...  # noqa: D102


class UsersTransaction:
    """What the `within` of a journal gives; see `Within`."""

    def __init__(
        self,
        home: Home,
        naming: Naming,
        query: bytes,
        ask: Ask | None,
        ask_later: AskLater | None = None,
    ) -> None:
        """Say who asks in that transaction, at once or what is to be awaited; nothing is yet."""
        self._home, self._naming = home, naming
        self._query = query
        self._ask, self._ask_later = ask, ask_later
        self._there: dict[str, tuple[Summary, list[Row]]] = {}

    @property
    def place(self) -> str:
        """Where the journal is."""
        return self._home.place

    @property
    def names(self) -> Functions:
        """What its sagas may name."""
        return self._home.names

    @property
    def codec(self) -> Codec | None:
        """What values pass through."""
        return self._home.codec

    def now(self) -> float:
        """Tell the time by the clock of the journal."""
        return self._home.now()

    # --- writing ---------------------------------------------------------------------------------

    def write(self, *changes: Change) -> None:
        """Write what is to be started; see `Within`.

        Raises:
            Exception: Of the driver: the transaction can't go on.
        """
        for create in _startable(changes):
            if self._ask is None:
                _refuse(create, _AWAITED)
                continue
            try:
                if not self._settle(create, self._ask(self._query, _given(create))):
                    self._settle(create, self._ask(self._query, _given(create)))
            except Exception as error:
                if self._ends(create, error):
                    raise

    async def awrite(self, *changes: Change) -> None:
        """Like `write`; what is not to be awaited blocks the loop, as it always does."""
        if self._ask_later is None:
            self.write(*changes)
            return
        for create in _startable(changes):
            try:
                if not self._settle(create, await self._ask_later(self._query, _given(create))):
                    self._settle(create, await self._ask_later(self._query, _given(create)))
            except Exception as error:
                if self._ends(create, error):
                    raise

    def _settle(self, create: Create, found: Found) -> bool:
        """Note what came of it; False if it is worth to be asked again."""
        version, readable_from, is_held, number, *there = found
        claim = create.claim
        claim.over = create.settled = True
        create.error = None
        if number is not None:
            claim.number, claim.rows = number, 1
        elif there[0] is not None:
            create.error = SagaExistsError(f"there is a saga {claim.saga_id!r}")
            self._there[claim.saga_id] = _read(there)
        elif (problem := format_problem(version or 0, readable_from or 0)) is not None:
            create.error = JournalError(f"the journal {self.place} ({self._naming}…) {problem}")
        else:
            create.error = begun_elsewhere(claim.saga_id)
            return not is_held  # if nobody has the id, it is there since the statement began
        return True

    def _ends(self, create: Create, error: Exception) -> bool:
        """Tell whether an error ends the transaction; else it is one of the journal's."""
        create.claim.over = create.settled = True
        if hasattr(error, "hide_parameters"):
            error.hide_parameters = True  # SQLAlchemy would show what was to be written
        origin = _origin(error)
        code = code_of(origin)
        if not code or code.startswith(_OVER):
            return True
        if code == _AUTOCOMMIT:
            create.error = JournalError(_NO_TRANSACTION)
        else:
            create.error = cannot("written", self.place, origin)
        create.error.__cause__ = origin
        return False

    def leave(self, claim: Claim) -> None:
        """Note that a claim is over."""
        claim.over = True

    # --- reading ---------------------------------------------------------------------------------

    def find(self, saga_id: str) -> Summary | None:
        """Give what a write has found there: that is all that is known here."""
        return self._there[saga_id][0] if saga_id in self._there else None

    def rows(self, numbers: Collection[int]) -> Mapping[int, Sequence[Row]]:
        """Give the first rows of what writes have found there."""
        known = {seen.number: rows for seen, rows in self._there.values()}
        return {number: known.get(number, []) for number in numbers}


def _startable(changes: Sequence[Change]) -> Iterator[Create]:
    """Give what can be written in a transaction, and refuse the rest, before any effect."""
    for change in changes:
        if isinstance(change, Create) and not change.driven:
            yield change
        else:
            _refuse(change, _RUN)


def _refuse(change: Change, why: str) -> None:
    change.error = JournalError(why)
    change.claim.over = change.settled = change.withdrawn = True


def _given(create: Create) -> Given:
    return {"saga_id": create.claim.saga_id, "name": create.name, "body": create.body}


def _read(found: Sequence[Any]) -> tuple[Summary, list[Row]]:
    """Read the summary of a saga, and its first row, unless it was purged."""
    *summary, at, body = found
    return summaries([tuple(summary)])[0], [] if body is None else [Row(1, at / 1000, body)]


def _origin(error: Exception) -> BaseException:
    """Give the error as the driver had it, if SQLAlchemy has wrapped it, once or twice."""
    origin: BaseException = getattr(error, "orig", None) or error
    # SQLAlchemy gives asyncpg the shape of other drivers, and says the same in more words.
    cause = origin.__cause__
    return cause if cause is not None and code_of(cause) else origin


# --- who asks ------------------------------------------------------------------------------------


def ways(it: Any) -> tuple[Ask | None, AskLater | None]:
    """Give what asks within a transaction: at once, or what is to be awaited.

    What is not imported is not of that kind, so nothing is imported to find out.

    Raises:
        TypeError: It is nothing that has a transaction, or of no driver that is known.
    """
    orm, engine, later = "sqlalchemy.orm", "sqlalchemy", "sqlalchemy.ext.asyncio"
    if _is(it, orm, "scoped_session") or _is(it, later, "async_scoped_session"):
        it = it()
    if _is(it, orm, "Session") or _is(it, engine, "Connection"):
        return partial(_by_sqlalchemy, it), None
    if _is(it, later, "AsyncSession", "AsyncConnection"):
        return None, partial(it.run_sync, _by_sqlalchemy)
    if isinstance(it, psycopg.Connection):
        return partial(by_psycopg, it), None
    if isinstance(it, psycopg.AsyncConnection):
        return None, partial(_later_by_psycopg, it)
    message = f"{_EXPECTED}, got {type(it).__module__}.{type(it).__qualname__}"
    raise TypeError(message)


def _is(it: object, module: str, *names: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(it, tuple([getattr(loaded, name) for name in names]))


def _by_sqlalchemy(it: Any, query: bytes, given: Given) -> Found:
    # A savepoint of the session's would flush what is pending, and expire the rest if it fails.
    connection = it.connection() if _is(it, "sqlalchemy.orm", "Session") else it
    if connection.dialect.name != "postgresql":
        message = f"{_EXPECTED}, to PostgreSQL, got one to {connection.dialect.name}"
        raise JournalError(message)
    with connection.begin_nested():
        found: Found = connection.execute(_text(query), given).one()
    return found


@lru_cache(maxsize=16)
def _text(query: bytes) -> Any:
    """Write a query as SQLAlchemy has its parameters."""
    from sqlalchemy import text  # noqa: PLC0415 - it is there, or nobody came here

    return text(re.sub(r"%\((\w+)\)s", r":\1", query.decode()))


def by_psycopg(connection: psycopg.Connection[Any], query: bytes, given: Given) -> Found:
    """Ask on a connection of psycopg's, between a savepoint and its release."""
    # Not as the connection makes its cursors, which may read a row or a placeholder differently.
    cursor = psycopg.Cursor(connection, row_factory=psycopg.rows.tuple_row)
    cursor.execute(_SAVE)
    try:
        cursor.execute(query, given)
        found = cursor.fetchall()[0]
    except BaseException:
        if connection.pgconn.pipeline_status:  # nothing is done there until it was synced
            with suppress(psycopg.Error), connection.pipeline():
                pass
        with suppress(psycopg.Error):  # then what is raised says so
            cursor.execute(_UNDO)
            cursor.execute(_KEEP)
        raise
    cursor.execute(_KEEP)
    return found


async def _later_by_psycopg(
    connection: psycopg.AsyncConnection[Any], query: bytes, given: Given
) -> Found:
    cursor = psycopg.AsyncCursor(connection, row_factory=psycopg.rows.tuple_row)
    await cursor.execute(_SAVE)
    try:
        await cursor.execute(query, given)
        found = (await cursor.fetchall())[0]
    except BaseException:
        if connection.pgconn.pipeline_status:
            with suppress(psycopg.Error):
                async with connection.pipeline():
                    pass
        with suppress(psycopg.Error):
            await cursor.execute(_UNDO)
            await cursor.execute(_KEEP)
        raise
    await cursor.execute(_KEEP)
    return found
