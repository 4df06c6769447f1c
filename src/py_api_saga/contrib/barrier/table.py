"""The table of the barrier: its DDL, and all that is asked of it, in SQL of two databases.

A row stands for one request under its key, for a local write (`once`), for an action that was
undone and must not come any more, or for how far back rows have been forgotten. Whatever is not a
request has a key that begins with a space, as that of a request can't.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from py_api_saga.contrib.barrier.connections import Hands

MAX_KEY = 255  # characters
DAY = 86_400.0  # seconds
UNDONE = 410  # what an action is told that comes after its undo
DONE = 200
ONCE = "once "  # begins what a row of a local write has for a fingerprint

_DDL = """\
CREATE TABLE IF NOT EXISTS saga_barrier (
  key varchar(255) NOT NULL PRIMARY KEY,
  action varchar(255) NOT NULL,
  fingerprint varchar(255) NOT NULL,
  status integer NOT NULL,
  answer text,
  at {timestamp} NOT NULL
)"""
_INDEX = "CREATE INDEX IF NOT EXISTS saga_barrier_action ON saga_barrier (action)"
_TIMESTAMPS = {"postgresql": "timestamptz", "sqlite": "text"}
_MOMENTS = {"postgresql": "to_timestamp(?)", "sqlite": "datetime(?, 'unixepoch')"}

_FIND = "SELECT fingerprint, status, answer FROM saga_barrier WHERE key = ?"
_FIND_DONE = (
    "SELECT fingerprint, status, answer FROM saga_barrier "
    "WHERE action = ? AND status BETWEEN 200 AND 299"
)
_ADD = (
    "INSERT INTO saga_barrier (key, action, fingerprint, status, answer, at) "
    "VALUES (?, ?, ?, ?, ?, CURRENT_TIMESTAMP)"
)
_ADD_IF_MISSING = f"{_ADD} ON CONFLICT (key) DO NOTHING"
_FILL = "UPDATE saga_barrier SET answer = ? WHERE key = ?"
_TOUCH = "UPDATE saga_barrier SET answer = answer WHERE key = ''"  # of no row; locks SQLite's file
# There may be a barrier in each schema of a database, which has one space of locks for all.
_LOCK = "CAST(CAST('saga_barrier' AS regclass) AS bigint) << 32 # CAST(? AS bigint)"
_FORGOTTEN = " forgotten"  # the key of the row that says how far back
_LATER = re.compile(r"(:(?:action|compensation)):\d+(?=;|$)")  # a generation of a key of ours


class Kept(NamedTuple):
    """What is kept under a key."""

    fingerprint: str
    status: int
    answer: str | None  # None once it was purged


Lock: TypeAlias = tuple[str, bool]  # its name, and whether others may have it too


def ddl(dialect: str) -> tuple[str, ...]:
    """Give the statements that make the table, which may be run again where it is.

    With Django it is the migration of the app `py_api_saga.contrib.django.barrier`.

    Args:
        dialect: "postgresql" or "sqlite".

    Raises:
        ValueError: It is another one.
    """
    if dialect not in _TIMESTAMPS:
        message = f"barrier.ddl: expected 'postgresql' or 'sqlite', got {dialect!r}"
        raise ValueError(message)
    return _DDL.format(timestamp=_TIMESTAMPS[dialect]), _INDEX


# --- keys ----------------------------------------------------------------------------------------


def first_of(key: str) -> str:
    """Give a key of ours as it was in the first generation."""
    return _LATER.sub(r"\1", key)


def own(kind: str, key: str) -> str:
    """Make a key of a row that stands for no request."""
    made = f" {kind} {key}"
    if len(made) > MAX_KEY:
        made = f" {kind} {hashlib.sha256(key.encode()).hexdigest()}"
    return made


def tombstone(action: str) -> str:
    """Name the row that says of an action that it was undone."""
    return own("undone", action)


# --- what is asked -------------------------------------------------------------------------------


class InFlightError(Exception):
    """Somebody else has a lock just now."""


def lock(hands: Hands, locks: Sequence[Lock]) -> str:
    """Take locks until the transaction ends, or none: in SQLite the whole file.

    Returns:
        The isolation level of the transaction, in lower case; "" where there is but one.

    Raises:
        InFlightError: In PostgreSQL one of them is taken; SQLite waits, and raises of its own.
    """
    if hands.dialect == "sqlite":
        hands.run(_TOUCH)
        return ""
    numbered = sorted((_number(name), is_shared) for name, is_shared in locks)
    asked = ", ".join(
        f"pg_try_advisory_xact_lock{'_shared' if is_shared else ''}({_LOCK})"
        for _, is_shared in numbered
    )
    rows, _ = hands.run(
        f"SELECT current_setting('transaction_isolation'), {asked}",
        *(number for number, _ in numbered),
    )
    isolation, *taken = rows[0]
    if not all(taken):
        raise InFlightError
    return str(isolation)


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def find(hands: Hands, key: str) -> Kept | None:
    """Give what is kept under a key."""
    rows, _ = hands.run(_FIND, key)
    return Kept(*rows[0]) if rows else None


def find_done(hands: Hands, action: str) -> Kept | None:
    """Give one of the rows of an action that were answered with a 2xx."""
    rows, _ = hands.run(_FIND_DONE, action)
    return Kept(*rows[0]) if rows else None


def add(hands: Hands, key: str, action: str, kept: Kept) -> None:
    """Keep something under a key that is not there."""
    hands.run(_ADD, key, action, *kept)


def add_if_missing(hands: Hands, key: str, action: str, kept: Kept) -> bool:
    """Keep something, unless the key is there; wait for whoever is adding it. Tell what came."""
    _, count = hands.run(_ADD_IF_MISSING, key, action, *kept)
    return count == 1


def fill(hands: Hands, key: str, answer: str) -> bool:
    """Put the answer into a row; tell whether it is there."""
    _, count = hands.run(_FILL, answer, key)
    return count == 1


# --- what is forgotten ---------------------------------------------------------------------------


def purge(hands: Hands, before: float) -> int:
    """Clear the answers to requests that are older than a moment; give how many."""
    moment = _MOMENTS[hands.dialect]
    _, count = hands.run(
        f"UPDATE saga_barrier SET answer = NULL WHERE at < {moment} "  # noqa: S608 - our own text
        "AND answer IS NOT NULL AND key NOT LIKE ?",
        before,
        " %",
    )
    return count


def forget(hands: Hands, before: float) -> int:
    """Delete all rows that are older than a moment, and note which that was; give how many."""
    moment = _MOMENTS[hands.dialect]
    _, count = hands.run(
        f"DELETE FROM saga_barrier WHERE at < {moment} AND key <> ?",  # noqa: S608 - as above
        before,
        _FORGOTTEN,
    )
    known = forgotten(hands)
    if not add_if_missing(hands, _FORGOTTEN, "", Kept("-", 0, repr(before))):
        fill(hands, _FORGOTTEN, repr(max(before, known or before)))
    return count


def forgotten(hands: Hands) -> float | None:
    """Give the moment before which rows may have been forgotten, or None."""
    kept = find(hands, _FORGOTTEN)
    return None if kept is None else float(kept.answer or 0)


def may_be_forgotten(hands: Hands, since: float | None) -> bool:
    """Tell whether what began then, or nobody knows when, may be older than what is left.

    Clocks of two machines differ, but not by a day.
    """
    horizon = forgotten(hands)
    return horizon is not None and (since is None or since < horizon + DAY)
