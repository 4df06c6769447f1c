"""Reads of a journal file: on a connection that cannot write, short, and complete in memory.

A reader that stays keeps the WAL from being reset, and readers that overlap let it grow without
end (https://sqlite.org/wal.html, "Avoiding Excessively Large WAL Files"). So they take turns.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from py_api_saga import clock
from py_api_saga.journal.changes import (
    NUMBER_OF,
    STATUS_OF,
    Letter,
    Row,
    Summary,
    milliseconds,
    tallied,
)
from py_api_saga.journal.prefixes import past
from py_api_saga.journal.reentry import interrupted, ownership
from py_api_saga.journal.sqlite.connecting import cannot, connect_to_read
from py_api_saga.journal.sqlite.descriptors import Kept, close_all, open_on, opened_since
from py_api_saga.journal.sqlite.queries import QUERIES
from py_api_saga.status import SagaStatus

T = TypeVar("T")

_ROWS = QUERIES["rows"]
_STUCK, _COMPLETED = NUMBER_OF[SagaStatus.STUCK], NUMBER_OF[SagaStatus.COMPLETED]
_COMPENSATED = NUMBER_OF[SagaStatus.COMPENSATED]
_ALL = -1  # what `tally` calls them
_OPEN = ["status < 2 AND due = 0", "status < 2 AND due > 0"]  # each by an index, newest first
_BEYOND = (1 << 63) - 1  # the largest number that there could be
_PREFIXED = "saga_id >= :first AND saga_id < coalesce(:past, x'')"  # no text is as great as a blob
MOST_FAULTS = 1000  # that SQLite is to list; 100 unless it is told


class Reader:
    """Reads one journal file; the connection is opened when it is needed.

    Attributes:
        turn: Held while something is read, and by whoever closes the file.
        connection: None while the file is closed.
        kept: What it has open.
    """

    def __init__(self, path: str) -> None:
        """Read this file."""
        self._path = path
        self.connection: sqlite3.Connection | None = None
        self.kept: tuple[Kept, ...] = ()
        self.turn = threading.RLock()
        self._has_turn = ownership(self.turn)

    def summaries(self, name: str, parameters: Any) -> list[Summary]:
        """Give what a query finds."""
        return self._summaries(QUERIES[name], parameters)

    def _summaries(self, query: str, parameters: Any) -> list[Summary]:
        return self._read(lambda c: [_summary(*row) for row in c.execute(query, parameters)])

    def select(
        self,
        statuses: Iterable[SagaStatus],
        below: int | None,
        limit: int | None,
        **filters: object,
    ) -> list[Summary]:
        """Give summaries, newest first, by an index where there is one: see the schema."""
        numbers = {NUMBER_OF[status] for status in statuses}
        filters |= {
            "statuses": sum(1 << number for number in numbers) or -1,
            "limit": -1 if limit is None else limit,
            "below": _BEYOND if below is None else below,
        }
        order = "newest"
        if not numbers or max(numbers) > _STUCK:
            parts = ["1" if filters["name"] is None else "name = :name"]
            if numbers == {_COMPENSATED} and filters["name"] is None:
                parts = ["status = 4"]
            if filters["first"] is not None:
                parts, order = [_PREFIXED], "newest_found"
        else:
            parts = _OPEN * (min(numbers) < _STUCK) + ["status = 2"] * (_STUCK in numbers)
        queries = (QUERIES["select"].replace("{which}", part) for part in parts)
        return self._summaries(f"{' UNION ALL '.join(queries)} {QUERIES[order]}", filters)

    def rows(self, numbers: Collection[int]) -> Mapping[int, list[Row]]:
        """Give the rows of sagas, all as they were at one moment."""

        def read(connection: sqlite3.Connection) -> Mapping[int, list[Row]]:
            connection.execute("BEGIN")
            # Bytes that are not a text make the JSON of one row unreadable, not the other rows.
            connection.text_factory = partial(str, encoding="utf-8", errors="backslashreplace")
            return {
                number: [
                    Row(n, at / 1000, body) for n, at, body in connection.execute(_ROWS, (number,))
                ]
                for number in numbers
            }

        return self._read(read)

    def tally(self) -> dict[int, int]:
        """Tell how many sagas there are of each status; there may be millions."""
        counted: Counter[int] = Counter()
        for status, number in self._read(lambda c: c.execute(QUERIES["tally"]).fetchall()):
            counted[status] += number  # those that are open come in two parts
        counted[_COMPLETED] = counted.pop(_ALL) - sum(counted.values())
        return counted

    def counts_by_name(self) -> list[tuple[str | None, int, int]]:
        """Tell how many sagas there are of each name and status."""
        return self._read(lambda c: c.execute(QUERIES["counts_by_name"]).fetchall())

    def owners(self) -> list[tuple[int, int]]:
        """Tell who drives open sagas, and how many; 0 is nobody, of those that do not just wait."""
        now = {"now": milliseconds(clock.time())}
        return self._read(lambda c: c.execute(QUERIES["owners"], now).fetchall())

    def mail(self, numbers: Collection[int]) -> Mapping[int, list[Letter]]:
        """Give the answers that sagas have not taken in, all as they were at one moment."""
        found = self._letters("mail", numbers)
        return {number: [Letter(*letter) for letter in letters] for number, letters in found}

    def taken_mail(self, numbers: Collection[int]) -> Mapping[int, list[tuple[float, Letter]]]:
        """Give those that they have taken in, each with the time at which it was given."""
        found = self._letters("taken_mail", numbers)
        return {
            number: [(at / 1000, Letter(*letter)) for at, *letter in letters]
            for number, letters in found
        }

    def _letters(self, name: str, numbers: Collection[int]) -> list[tuple[int, list[Any]]]:
        def read(connection: sqlite3.Connection) -> list[tuple[int, list[Any]]]:
            connection.execute("BEGIN")
            if connection.execute(QUERIES["has_mail"]).fetchone() is None:
                return [(number, []) for number in numbers]
            query = QUERIES[name]
            return [(number, connection.execute(query, (number,)).fetchall()) for number in numbers]

        return self._read(read)

    def left_mail(self, before: int) -> list[Summary]:
        """Give the sagas that have not taken in an answer that came before a time."""

        def read(connection: sqlite3.Connection) -> list[Summary]:
            connection.execute("BEGIN")
            if connection.execute(QUERIES["has_mail"]).fetchone() is None:
                return []
            return [_summary(*row) for row in connection.execute(QUERIES["left_mail"], (before,))]

        return self._read(read)

    def check(self) -> list[str]:
        """Give what SQLite finds wrong with the file, a fault each; reads all of it."""
        return self._read(_faults)

    def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        if self._has_turn():
            raise interrupted()
        with self.turn:
            try:
                before = None
                if self.connection is None:
                    before = open_on(self._path)
                    self.connection = connect_to_read(self._path)
                connection = self.connection
                try:
                    connection.text_factory = str
                    return read(connection)
                finally:
                    if before is not None:  # the log is opened when it is read first
                        self.kept = opened_since(before, self._path)
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise cannot("read", self._path, error) from error
            except BaseException:  # a cursor in its traceback would keep all reads where they were
                self.close()
                raise

    def close(self) -> None:
        """Close the connection, with the turn held."""
        close_all([self.connection], self.kept)
        self.connection, self.kept = None, ()


class Reads:
    """What `SQLiteJournal` and a view of it read alike."""

    def _reader(self) -> Reader:
        raise NotImplementedError  # pragma: no cover - both have one

    def now(self) -> float:
        """Tell the time, seconds since 1970, by the clock of this machine, which is the file's."""
        return clock.time()

    def lately(self) -> float:
        """Tell the same."""
        return clock.time()

    def find(self, saga_id: str) -> Summary | None:
        """Give the summary of a saga, or None if there is none."""
        found = self._reader().summaries("find", (saga_id,))
        return found[0] if found else None

    def mail(self, numbers: Collection[int]) -> Mapping[int, Sequence[Letter]]:
        """Give the answers to sagas, by number, that nobody has taken; oldest first."""
        return self._reader().mail(numbers)

    def left_mail(self, before: float) -> Sequence[Summary]:
        """List the sagas that have not taken in an answer that came before then, newest first."""
        return self._reader().left_mail(milliseconds(before))

    def rows(self, numbers: Collection[int]) -> Mapping[int, Sequence[Row]]:
        """Give the rows of sagas by number, each in order."""
        return self._reader().rows(numbers)

    def select(
        self,
        statuses: Collection[SagaStatus] = (),
        name: str | None = None,
        *,
        before: float | None = None,
        after: float | None = None,
        prefix: str | None = None,
        below: int | None = None,
        limit: int | None = None,
    ) -> Sequence[Summary]:
        """List sagas, newest first: of these statuses if any, changed before and after a time.

        With `prefix`, those whose id begins with it; with `below`, those whose number is less.
        """
        return self._reader().select(
            statuses,
            below,
            limit,
            name=name,
            before=None if before is None else before * 1000,
            after=None if after is None else after * 1000,
            first=prefix or None,
            past=past(prefix or ""),
        )

    def tally(self, most: int | None = None) -> Mapping[SagaStatus, int]:
        """Count sagas by status; `most` spares nothing here, and is kept to all the same."""
        return tallied(self._reader().tally(), most)


def _faults(connection: sqlite3.Connection, most: int = MOST_FAULTS) -> list[str]:
    """Ask SQLite what is wrong, and say so if that may not be all."""
    try:
        rows = connection.execute(f"PRAGMA quick_check({most})").fetchall()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:  # on the way to so many it has stumbled, and lists none
        if most == 1:
            raise
        return _faults(connection, most // 10)
    lines = [line for (text,) in rows for line in text.splitlines()]
    faults = [line for line in lines if line[:3] not in ("ok", "***")]
    if len(faults) >= most or most < MOST_FAULTS:
        faults.append("SQLite lists no more than these: there may be other damage")
    return faults


def _summary(
    number: int,
    saga_id: str,
    name: str | None,
    status: int,
    owner: int,
    epoch: int,
    tries: int,
    created: int,
    changed: int,
    due: int,
    digest: str | None,
) -> Summary:
    # `_make` takes half the time: there may be hundreds of thousands.
    return Summary._make(
        (
            number,
            saga_id,
            name,
            STATUS_OF[status],
            owner,
            epoch,
            tries,
            created / 1000,
            changed / 1000,
            due / 1000,
            digest,
        )
    )
