"""A saga as an engine keeps it: the rows of a journal, each with the time at which it was told.

`[[at, body], …]`, where `at` is seconds since 1970 and `body` the JSON text of a list of entries.
Answers may be among them that have changed nothing: as `["letter", key, body]` one that is yet to
be looked at, since its call is in flight; and as `["letter", key, body, true]` one that came when
the end of its call was known.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

from py_api_saga.journal.changes import Letter, Row
from py_api_saga.journal.format.functions import Functions
from py_api_saga.journal.format.json_text import dumps, loads
from py_api_saga.journal.format.values import Trees
from py_api_saga.journal.protocol import Codec

Rows: TypeAlias = list[tuple[float, str]]

# Temporal takes payloads of 2 MiB at most, and a saga goes through it as one; DBOS has no limit of
# its own, and a row of PostgreSQL a larger one.
MAX_SAGA: Final = 1 << 20  # bytes, with its results
MAX_VALUE: Final = 256 << 10  # bytes, of an argument or a result
LETTER: Final = "letter"


class _Unnamed(NamedTuple):
    """What trees are read with: no names, no codec."""

    names: Functions
    codec: Codec | None = None


TREES: Final = Trees(_Unnamed(Functions()))  # values as they are written, and sealed ones so too
_PENDING: Final = 3  # the items of an answer that is yet to be looked at


def readable(rows: Rows) -> list[Row]:
    """Give rows as a journal has them, without the answers that have changed nothing."""
    kept: list[Row] = []
    for at, body in rows:
        lines = body
        if f'["{LETTER}"' in body:
            lines = dumps([line for line in loads(body) if line[0] != LETTER])
        kept.append(Row(len(kept) + 1, at, lines))
    return kept


def letters_in(rows: Rows) -> list[Letter]:
    """Give the answers in rows that are yet to be looked at, oldest first."""
    return [Letter(key, body) for key, body, *taken in _all_letters(rows) if not taken]


def useless_in(rows: Rows) -> list[Letter]:
    """Give the answers in rows that came when the end of their calls was known, oldest first."""
    return [Letter(key, body) for key, body, *taken in _all_letters(rows) if taken]


def without_letters(rows: Rows) -> Rows:
    """Give rows without the answers that are yet to be looked at; all others stay as they are."""
    left: Rows = []
    for at, body in rows:
        kept = body
        if f'["{LETTER}"' in body:
            lines = loads(body)
            stay = [line for line in lines if line[0] != LETTER or len(line) > _PENDING]
            if not stay:
                continue
            if len(stay) < len(lines):
                kept = dumps(stay)
        left.append((at, kept))
    return left


def _all_letters(rows: Rows) -> list[list[Any]]:
    return [
        line[1:]
        for _, body in rows
        if f'["{LETTER}"' in body
        for line in loads(body)
        if line[0] == LETTER
    ]


def size_of(text: str) -> int:
    """Give the bytes that a text takes."""
    return len(text) if text.isascii() else len(text.encode())


class Pages:
    """The rows of a saga, to which lines are added; what is told at one moment shares a row.

    Attributes:
        size: Of all, in bytes.
    """

    def __init__(self, rows: Rows) -> None:
        """Begin with these."""
        self._closed = rows
        self._at: float | None = None
        self._lines: list[str] = []
        self.size = sum([size_of(body) for _, body in rows])

    def add(self, line: str, now: float) -> None:
        """Add a line that is told now."""
        self.size += size_of(line) + 1
        if now != self._at:
            self._close()
            self._at = now
            if self._closed and self._closed[-1][0] == now:
                _, body = self._closed.pop()
                self._lines = [body[1:-1]] if body != "[]" else []
        self._lines.append(line)

    def _close(self) -> None:
        if self._at is not None:
            self._closed.append((self._at, f"[{','.join(self._lines)}]"))
            self._lines = []

    def all(self) -> Rows:
        """Give all of them."""
        self._close()
        self._at = None
        return [*self._closed]
