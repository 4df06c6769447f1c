"""A journal's file for whoever drives nothing in it: a command that shows, a page.

It waits for nobody and makes no file, so that it also works beside a process that hangs; and it
knows no names, so that nothing is imported.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, Self

from py_api_saga.exceptions import JournalError
from py_api_saga.journal.changes import OPEN, STATUS_OF, Letter, Summary
from py_api_saga.journal.format.functions import Functions
from py_api_saga.journal.holder import Holder
from py_api_saga.journal.protocol import Codec
from py_api_saga.journal.sqlite.connecting import (
    VERSION,
    cannot,
    check_format,
    connect_to_read,
    mounted_alone,
)
from py_api_saga.journal.sqlite.gate import MOMENT, inside, lingering
from py_api_saga.journal.sqlite.owners import Owners, owners_at, trouble
from py_api_saga.journal.sqlite.reading import Reader, Reads
from py_api_saga.status import SagaStatus

if TYPE_CHECKING:
    from py_api_saga.journal.health import Health


class SQLiteView(Reads):
    """A journal's file, to be read by whoever drives nothing.

    Attributes:
        place: The real path of the file.
        names: Empty: nothing that it names is looked for.
        codec: What opens sealed values, or None.
        journal_mode: The file's, as SQLite calls it.
        unsure: Why nobody can tell which processes live; empty if it can be told, or if nobody has
            asked yet.
    """

    def __init__(self, path: str, codec: Codec | None = None) -> None:
        """Open a file that is there.

        Raises:
            JournalError: It is not a journal of this format, or can't be read.
        """
        self.place = os.path.realpath(path)
        self.codec = codec
        self.names = Functions()
        self.journal_mode, self._page_size = _pragmas(self.place)
        self._read = Reader(self.place)
        self.unsure = ""
        self._owners: Owners | None = None
        self._has_looked = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._read.close()

    def _reader(self) -> Reader:
        return self._read

    def drives(self, seen: Summary) -> bool | None:
        """Tell whether a living process drives a saga; None if that is unknown."""
        return seen.status in OPEN and self.lives(seen.owner)

    def lives(self, owner: int) -> bool | None:
        """Tell whether the process that has this number lives; None if that is unknown."""
        if not owner:
            return False
        if not self._has_looked:
            self._look()
        if self.unsure:
            return None
        return self._owners is not None and self._owners.alive(owner)

    def _look(self) -> None:
        """Find the file that tells who lives, and say if there is none; reading makes none."""
        path = f"{self.place}-owners"
        known = max((owner for owner, _ in self._read.owners()), default=0)
        self._has_looked = True
        try:
            self.unsure = trouble(path, known)
            if not self.unsure and os.path.lexists(path):
                self._owners = owners_at(path)
        except (JournalError, OSError) as error:
            self.unsure = str(error)

    def who_hangs(self) -> Holder | None:
        """Tell who has been writing for longer than a moment, so that nobody else can."""
        return lingering(f"{self.place}-gate", MOMENT)

    def owners(self) -> list[tuple[int, int]]:
        """Tell which processes drive open sagas, by number, and how many; 0 is none."""
        return self._read.owners()

    def _counted(self) -> Mapping[SagaStatus, int]:
        try:
            return self.tally()
        except JournalError as error:
            message = f"the sagas cannot be counted: {error.__cause__}"
            raise JournalError(message) from error

    def taken_mail(self, numbers: Collection[int]) -> Mapping[int, list[tuple[float, Letter]]]:
        """Give the answers that sagas have taken in, by number, each with when it was given."""
        return self._read.taken_mail(numbers)

    def counts(self) -> Mapping[tuple[str | None, SagaStatus], int]:
        """Count sagas by name and status; looks at all that there are."""
        return {(name, STATUS_OF[n]): many for name, n, many in self._read.counts_by_name()}

    def health(self) -> Health:
        """Examine the file; reads all of it."""
        from py_api_saga.journal.health import Health  # noqa: PLC0415 - a cold start needs none

        path, holder = self.place, inside(f"{self.place}-gate")
        stat = os.stat(path)  # noqa: PTH116 - paths are text here
        facts = {
            "path": path,
            "sqlite": sqlite3.sqlite_version,
            "wal_reset_bug": has_wal_reset_bug(sqlite3.sqlite_version_info),
            "format": VERSION,
            "journal_mode": self.journal_mode,
            "page_size": self._page_size,
            "permissions": f"{stat.st_mode & 0o777:04o}",
            "size": stat.st_size,
            "wal_size": _size(f"{path}-wal"),
            "gate_holder": holder and holder.pid,
            "gate_held_since": holder and holder.came,
        }
        damage: list[str] = []
        sagas: dict[str, int] = {}
        left: int | None = 0
        refuses: list[str] = []
        try:
            damage += self._read.check()
            counted = self._counted()
            sagas = {status.value: number for status, number in counted.items()}
            dead = [n for owner, n in self.owners() if owner and self.lives(owner) is False]
            left = None if self.unsure else sum(dead)
            refuses += [text for text in (mounted_alone(path), self.unsure) if text]
        except JournalError as error:
            damage.append(str(error))
        return Health(facts, _in_words(facts), sagas, left, refuses, damage, [])


_BIG = 64 << 20  # bytes of a WAL that somebody keeps from being written back
_BUG = {
    True: ", which has the WAL-reset bug; the gate keeps clear of it, as long as nothing else "
    "writes to the file",
    False: ", which is free of the WAL-reset bug",
}


def _in_words(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Say what there is to say of a file."""
    why_big = "; a reader that stays open keeps it from being written back"
    writes = "nobody at this moment"
    if facts["gate_holder"] is not None:
        since = facts["gate_held_since"]
        writes = f"process {facts['gate_holder'] or 'unknown'}" + (
            f", since {since}" if since else ""
        )
    return [
        ("file", f"{facts['path']}, {facts['permissions']}, {facts['size']:,} bytes"),
        ("format", f"{facts['format']}, {facts['journal_mode']}, pages of {facts['page_size']:,}"),
        ("WAL", f"{facts['wal_size']:,} bytes" + why_big * (facts["wal_size"] > _BIG)),
        ("SQLite", facts["sqlite"] + _BUG[facts["wal_reset_bug"]]),
        ("writing", writes),
    ]


def _pragmas(path: str) -> tuple[str, int]:
    """Give the mode of a journal's file, and the size of its pages."""
    try:
        with closing(connect_to_read(path)) as connection:
            if check_format(connection, path):
                message = f"{path} is not a saga journal: it is empty"
                raise JournalError(message)
            mode, size = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "page_size")
            )
    except sqlite3.Error as error:
        raise cannot("read", path, error) from error
    return mode, size


def has_wal_reset_bug(version: tuple[int, ...]) -> bool:
    """Tell whether an SQLite can corrupt a file if a checkpoint races a writer.

    Source:
        https://sqlite.org/wal.html, "The WAL-reset bug": 3.7.0 to 3.51.2, except 3.44.6 and later
        of 3.44, and 3.50.7 and later of 3.50.
    """
    is_fixed = (3, 44, 6) <= version < (3, 45) or (3, 50, 7) <= version < (3, 51)
    return (3, 7) <= version < (3, 51, 3) and not is_fixed


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - paths are text here
    except FileNotFoundError:
        return 0
