"""A saga as its rows tell it.

A row's body is a JSON list of entries. The first one of a saga is its definition, `["defined",
{…}]`. Two kinds are not entries of the machine: `["parked", {…}]` says why recovery has given up on
a saga, and `["note", {…}]` who changed it by hand, and why. Reading a saga gives whatever `find`
makes of the names of functions, so that it can be shown and answered for without importing a thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from py_api_saga.definition import Definition
from py_api_saga.entries import Entry
from py_api_saga.exceptions import JournalError
from py_api_saga.execution import IllegalMoveError
from py_api_saga.journal.changes import Row
from py_api_saga.journal.format import untagging  # noqa: F401 - at hand before values are read
from py_api_saga.journal.format.definitions import DEFINED, FORMAT, Find, Plan, read_definition
from py_api_saga.journal.format.entries import read_entry
from py_api_saga.journal.format.functions import UnknownNameError
from py_api_saga.journal.format.json_text import dumps, loads
from py_api_saga.journal.format.values import Values
from py_api_saga.wording import as_text

MAX_BODY = 256 << 20  # bytes; a definition may have ten thousand operations, and no more than so
PARKED, NOTE = "parked", "note"


class Recorded(NamedTuple):
    """A saga as its rows tell it."""

    definition: Definition
    plan: Plan
    entries: list[Entry]
    times: list[float]  # of each entry, when it was made durable, seconds since 1970
    notes: list[tuple[float, str, dict[str, Any]]]  # when, NOTE or PARKED, and what it says
    tree: dict[str, Any]  # the definition as it is written


def read_rows(rows: Sequence[Row], values: Values, find: Find | None = None) -> Recorded:
    """Read a saga.

    Args:
        rows: All of it, in order.
        values: How to read values.
        find: See `read_definition`. Without it no function is looked for and no argument is read:
            what there is can be told, and nothing can be called.

    Raises:
        JournalError: It contradicts itself, names what is not allowed or is not there any more,
            or is of a newer format.
    """
    with reading():
        return _read(rows, values, find)


@contextmanager
def reading(what: str = "the journal's entries") -> Iterator[None]:
    """Have whatever malformed rows make of the code that reads them be a JournalError."""
    try:
        yield
    except UnknownNameError as error:
        raise JournalError(str(error)) from error
    except JournalError:
        raise
    except Exception as error:
        message = f"{what} cannot be read: {as_text(error, str)}"
        raise JournalError(message) from error


@contextmanager
def folding(what: str = "the journal's entries") -> Iterator[None]:
    """Have entries that the machine refuses be a JournalError."""
    try:
        yield
    except (IllegalMoveError, LookupError) as error:
        message = f"{what} contradict each other: {error}"
        raise JournalError(message) from error


def _read(rows: Sequence[Row], values: Values, find: Find | None) -> Recorded:
    tree, lines = read_lines(rows)
    definition, plan = read_definition(tree, values, find)
    entries, times, notes = [], [], []
    for at, line in lines:
        if line[0] in (NOTE, PARKED):
            notes.append((at, line[0], line[1]))
        else:
            entries.append(read_entry(line, values, len(definition.operations)))
            times.append(at)
    return Recorded(definition, plan, entries, times, notes, tree)


def awaited(kind: str, says: dict[str, Any]) -> str | None:
    """Give the name for which a saga waits, if its last line, a note, says so."""
    name = says.get("waits_for") if kind == NOTE else None
    return name if isinstance(name, str) else None


def awaited_in(rows: Sequence[Row]) -> str | None:
    """Give the name for which a saga waits, if its last row says so, or None."""
    with suppress(Exception):  # rows may be anything
        kind, says, *_ = loads(rows[-1].body)[-1]
        return awaited(kind, says)
    return None


def read_lines(rows: Sequence[Row]) -> tuple[dict[str, Any], list[tuple[float, Any]]]:
    """Parse the rows of a saga: its definition, and all other entries with their times."""
    lines = []
    for number, row in enumerate(rows, 1):
        if row.n != number:
            message = f"row {number} of the saga is missing"
            raise JournalError(message)
        if len(row.body) > MAX_BODY:
            message = f"row {number} of the saga is larger than {MAX_BODY:,} characters"
            raise JournalError(message)
        try:
            lines += [(row.at, line) for line in loads(row.body)]
        except ValueError as error:
            message = f"the journal's entries cannot be read: row {number} is damaged: {error}"
            raise JournalError(message) from error
    if not lines or lines[0][1][0] != DEFINED:
        message = "the saga does not begin with its definition"
        raise JournalError(message)
    tree = lines[0][1][1]
    if tree["format"] != FORMAT:
        message = f"the saga is of format {tree['format']}, and this version reads {FORMAT}"
        raise JournalError(message)
    return tree, lines[1:]


# --- the same saga? --------------------------------------------------------------------------


def argument_conflict(
    recorded: dict[str, Any], given: dict[str, Any], values: Values
) -> str | None:
    """Say in which name or argument a saga differs from that on record under its id, or None.

    Functions and options are not compared, and operations that only one side has don't count: a
    deploy may lie between the two.
    """
    if recorded.get("name") != given.get("name"):
        return f"its name is {recorded.get('name')!r}, got {given.get('name')!r}"
    before = {item["name"]: item for item in recorded["operations"]}
    for item in given["operations"]:
        other = before.get(item["name"], {})
        for role, words in (("do", "action"), ("undo", "compensation")):
            calls = (item.get(role), other.get(role))
            if None not in calls and len({dumps(_arguments(call, values)) for call in calls}) > 1:
                return f"operation {item['name']!r}: the arguments of the {words} differ"
    return None


def _arguments(call: Sequence[Any], values: Values) -> list[Any]:
    return [_ordered(values.open(tree)) for tree in call[1:3]]


def _ordered(tree: Any) -> Any:
    """Put into one order what has none: dicts are equal in any, and so are sets."""
    kind = type(tree)
    if kind is list:
        return [*map(_ordered, tree)]
    if kind is not dict:
        return tree
    keys = sorted(tree)
    # `map` and not a comprehension, which takes twice as much of the stack.
    made = dict(zip(keys, map(_ordered, map(tree.get, keys)), strict=True))
    if len(keys) == 1 and keys[0] in _UNORDERED and type(made[keys[0]]) is list:
        made[keys[0]].sort(key=dumps)
    return made


_UNORDERED = frozenset({"$dict", "$set", "$frozenset"})


def digest(tree: dict[str, Any], values: Values) -> str:
    """Give a hash, 64 hexadecimal digits, of what `argument_conflict` compares."""
    import hashlib  # noqa: PLC0415 - only a purge needs it

    calls = [
        [item["name"], *(_arguments(item.get(role, ()), values) for role in ("do", "undo"))]
        for item in tree["operations"]
    ]
    return hashlib.sha256(dumps([tree.get("name"), calls]).encode()).hexdigest()
