"""A saga as an engine keeps it: the rows of a journal, each with the time at which it was told.

`[[at, body], …]`, where `at` is seconds since 1970 and `body` the JSON text of a list of entries.
An answer that nobody has taken yet may be among them, as `["letter", key, body]`.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from py_api_saga.journal.changes import Letter, Row
from py_api_saga.journal.format.json_text import dumps, loads

Rows: TypeAlias = list[tuple[float, str]]

# Temporal takes payloads of 2 MiB at most, and a saga goes through it as one; DBOS has no limit of
# its own, and a row of PostgreSQL a larger one.
MAX_SAGA: Final = 1 << 20  # bytes, with its results
MAX_VALUE: Final = 256 << 10  # bytes, of an argument or a result
LETTER: Final = "letter"


def readable(rows: Rows) -> list[Row]:
    """Give rows as a journal has them, without the answers that nobody has taken."""
    kept: list[Row] = []
    for at, body in rows:
        lines = body
        if f'["{LETTER}"' in body:
            lines = dumps([line for line in loads(body) if line[0] != LETTER])
        kept.append(Row(len(kept) + 1, at, lines))
    return kept


def letters_in(rows: Rows) -> list[Letter]:
    """Give the answers in rows that nobody has taken, oldest first."""
    return [
        Letter(line[1], line[2])
        for _, body in rows
        if f'["{LETTER}"' in body
        for line in loads(body)
        if line[0] == LETTER
    ]
