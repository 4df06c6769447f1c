"""The SQL of a journal in PostgreSQL, with the names that its tables have there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from py_api_saga.journal.sql.statements import read

VERSION = 2  # of the format; the first one had no mail

_SCHEMA = read(globals(), "schema.sql")
_QUERIES = read(globals(), "queries.sql")
_NOW = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_SYNC = {
    # A server that waits for a standby to have applied it does more than is asked for.
    "power": "CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' "
    "ELSE 'on' END",
    "process": "'off'",
}
_WHICH = {
    "select_all": ("true", "number"),
    "select_named": ("name = %(name)s", "name DESC, number"),
    "select_like": (
        "saga_id >= %(prefix)s AND (%(past)s::text IS NULL OR saga_id < %(past)s)",
        "number",
    ),
    "select_open": ("status < 2", "number"),
    "select_stuck": ("status = 2", "number"),
    "select_compensated": ("status = 4", "number"),
}
LOCK_TIMEOUT = 1.0  # seconds; of what waits, which is rare
STATEMENT_TIMEOUT = 10.0

# What is not an index, and is not as it was in the first format. The last two end what an earlier
# release does there, and begin what this one does.
_CHANGED = ("mail", "needs_attention", "fence", "renewed")
_INDEX = "CREATE INDEX IF NOT EXISTS"
_PREFIX = re.compile(r"[a-z_][a-z0-9_]{0,39}")
_SCHEMA_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$-]{0,62}")


class Naming(NamedTuple):
    """What the tables of a journal are called.

    Attributes:
        schema: Where they are.
        prefix: What their names begin with.
    """

    schema: str
    prefix: str

    def __str__(self) -> str:
        return f'"{self.schema}".{self.prefix}'

    def check(self) -> Naming:
        """See that these can be names.

        Raises:
            ValueError: They can't.
        """
        if not (_PREFIX.fullmatch(self.prefix)):
            message = (
                f"prefix: expected lower case letters, digits and _, at most 40 and not beginning "
                f"with a digit, got {self.prefix!r}"
            )
            raise ValueError(message)
        if not (_SCHEMA_NAME.fullmatch(self.schema)):
            message = (
                f"schema: expected the name of a schema, of letters, digits, _, $ and -, "
                f"got {self.schema!r}"
            )
            raise ValueError(message)
        return self


@lru_cache(maxsize=64)
def statements(naming: Naming, durability: str) -> Mapping[str, bytes]:
    """Give all that is asked of a journal, by name."""
    queries = dict(_QUERIES)
    select = queries.pop("select")
    for name, (which, order) in _WHICH.items():
        queries[name] = select.replace("{which}", which).replace("{order}", order)
    return {name: _named(text, naming, durability).encode() for name, text in queries.items()}


def schema(naming: Naming) -> Mapping[str, str]:
    """Give the statements that make the tables, by name, in order."""
    return {name: _named(text, naming) for name, text in _SCHEMA.items()}


def upgrade(naming: Naming) -> Sequence[str]:
    """Give what makes of the tables of an earlier release those of this one.

    Each is to be run by itself, outside of a transaction; it keeps nobody waiting, and may be run
    again. The last one says that all is there.
    """
    texts = schema(naming)
    table, *others = [texts[name] for name in _CHANGED]
    indexes = [text for text in texts.values() if text.startswith(_INDEX)]
    concurrently = "CREATE INDEX CONCURRENTLY IF NOT EXISTS"
    return [table, *[text.replace(_INDEX, concurrently, 1) for text in indexes], *others]


def _named(text: str, naming: Naming, durability: str = "power") -> str:
    for name, value in (
        ("{p}", str(naming)),
        ("{n}", naming.prefix),
        ("{now}", _NOW),
        ("{sync}", _SYNC[durability]),
        ("{lock_timeout}", str(int(LOCK_TIMEOUT * 1000))),
        ("{statement_timeout}", str(int(STATEMENT_TIMEOUT * 1000))),
        ("{version}", str(VERSION)),
    ):
        text = text.replace(name, value)
    return text
