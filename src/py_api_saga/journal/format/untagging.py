"""Trees of JSON as the values that they stand for: equal, and of the same types.

Reading runs no code of the user's but that of the types which a journal may name: the default
factories of dataclasses, and what makes a Flag of an int.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag
from typing import Any

from py_api_saga.definition import Results
from py_api_saga.journal.format.functions import Functions, UnknownNameError
from py_api_saga.journal.format.json_text import ATOMS, are_keys
from py_api_saga.journal.format.tagging import MAX_DEPTH, SHOWN, zone_named
from py_api_saga.placeholder import Placeholder
from py_api_saga.status import MISSING


def untagged(tree: Any, names: Functions) -> Any:
    """Make the value that a tree stands for; shares no list or dict with it.

    Raises:
        UnknownNameError: It names a type or function that is not there, or not allowed.
        ValueError: It is malformed, or of types that have changed since.
    """
    reader = _Reader(names)
    try:
        return reader.read(tree)
    except (UnknownNameError, _MalformedError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a malformed tree makes of this code
        message = f"malformed {reader.tag} ({type(error).__name__})"
    raise ValueError(message)  # without the error: what it says may hold the value


class _MalformedError(ValueError):
    """A tree that stands for no value, in our words."""


class _Reader:
    """Makes the value of one tree."""

    __slots__ = ("depth", "names", "tag")

    def __init__(self, names: Functions) -> None:
        self.names = names
        self.depth = 0
        self.tag = "value"  # what is being read

    def read(self, tree: Any) -> Any:
        kind = type(tree)
        if kind in ATOMS:
            return tree
        self.depth += 1
        if self.depth > MAX_DEPTH + 1:  # each level of a value is one here too, and its atoms
            message = f"a value is nested more than {MAX_DEPTH} levels deep"
            raise _MalformedError(message)
        if kind is list:
            made: Any = self.items(tree)
        elif kind is not dict:
            message = f"expected a tree of JSON, got {kind.__name__}"
            raise _MalformedError(message)
        elif are_keys(tree):
            made = {key: self.read(item) for key, item in tree.items()}
        else:
            made = self.tagged(tree)
        self.depth -= 1
        return made

    def tagged(self, tree: dict[Any, Any]) -> Any:
        tag, *more = tree
        make = None if more or type(tag) is not str else _UNTAGS.get(tag)
        if make is None:
            shown = tag[:SHOWN] if isinstance(tag, str) else type(tag).__name__
            message = f"unknown tag {shown!r}: it may be of a newer version"
            raise _MalformedError(message)
        self.tag = tag
        return make(self, tree[tag])

    def items(self, tree: Any) -> list[Any]:
        return list(map(self.read, _checked(tree, list)))

    def pairs(self, tree: Any) -> list[tuple[Any, Any]]:
        return [(self.read(key), self.read(item)) for key, item in _lists(tree)]

    def find(self, name: Any, *, is_class: bool = True) -> Any:
        found = self.names.find(name)
        if issubclass(type(found), type) is not is_class:
            message = f"{name} is {'not a' if is_class else 'a'} class"
            raise _MalformedError(message)
        return found


def _checked(tree: Any, kind: type) -> Any:
    if type(tree) is not kind:
        raise TypeError
    return tree


def _lists(tree: Any) -> Iterable[Any]:
    """Check a list of lists."""
    return (_checked(item, list) for item in _checked(tree, list))


def _whole(items: Any, count: int) -> Any:
    """Check that nothing was there twice."""
    if len(items) != count:
        raise LookupError
    return items


def _read_ints(tree: Any) -> list[int]:
    return [_checked(item, int) for item in _checked(tree, list)]


def _read_float(_: _Reader, tree: Any) -> float:
    if tree not in ("nan", "inf", "-inf"):
        raise LookupError
    return float(tree)  # a new one each time: keys that are not a number are told apart as objects


def _read_bytes(_: _Reader, tree: Any) -> bytes:
    return a2b_base64(_checked(tree, str), strict_mode=True)


def _read_decimal(_: _Reader, tree: Any) -> Any:
    return Decimal(_checked(tree, str))


def _read_uuid(_: _Reader, tree: Any) -> Any:
    from uuid import UUID  # noqa: PLC0415 - 2 ms, and few values are one

    return UUID(_checked(tree, str))


def _read_timedelta(_: _Reader, tree: Any) -> Any:
    return timedelta(*_whole(_read_ints(tree), 3))


def _read_date(_: _Reader, tree: Any) -> Any:
    return date.fromisoformat(tree)


def _read_datetime(_: _Reader, tree: Any) -> Any:
    return _read_moment(datetime, tree)


def _read_time(_: _Reader, tree: Any) -> Any:
    return _read_moment(time, tree)


def _read_moment(kind: Any, tree: Any) -> Any:
    if type(tree) is str:
        return _from_iso(kind, tree)
    text, key, *folds = _checked(tree, list)
    if folds not in ([], [1]):
        raise ValueError
    made = _from_iso(kind, _checked(text, str)).replace(fold=len(folds))
    # By the time on the clock, also where the rules of its zone have changed since.
    return made if key is None else made.replace(tzinfo=zone_named(key))


def _from_iso(kind: Any, text: str) -> Any:
    """Read a moment, also one with an offset of less than a second, which CPython takes for UTC."""
    made = kind.fromisoformat(text)
    if text[-16:-6] in ("+00:00:00.", "-00:00:00."):
        offset = timedelta(microseconds=int(text[-16] + text[-6:]))
        made = made.replace(tzinfo=timezone(offset))
    return made


def _read_result(reader: _Reader, tree: Any) -> Placeholder:
    operation, steps = _checked(tree, list)
    path = []
    for is_attribute, key in _lists(steps):
        if _checked(is_attribute, bool):
            # As on a placeholder. `__class__` and the like lead from a result to anything.
            if not _checked(key, str).isidentifier() or key.startswith("__"):
                raise ValueError
            path.append((True, key))
        else:
            path.append((False, reader.read(key)))
    return Placeholder(_checked(operation, str), tuple(path))


def _read_enum(reader: _Reader, tree: Any) -> Any:
    name, member = _checked(tree, list)
    kind = reader.find(name)
    if not issubclass(kind, Enum):
        message = f"{name} is not an Enum any more"
        raise _MalformedError(message)
    if type(member) is str:
        found = kind.__members__.get(member)
    else:
        found = kind(_checked(member, int)) if issubclass(kind, Flag) else None
    if type(found) is not kind:
        message = f"{name} has no such member any more"
        raise _MalformedError(message)
    return found


def _read_dataclass(reader: _Reader, tree: Any) -> Any:
    name, values = _checked(tree, list)
    kind, values = reader.find(name), dict(_checked(values, dict))
    if "__dataclass_fields__" not in vars(kind):
        message = f"{name} is not a dataclass any more"
        raise _MalformedError(message)
    from dataclasses import MISSING as NO_DEFAULT  # noqa: PLC0415 - it is there: this is one
    from dataclasses import fields  # noqa: PLC0415

    made = object.__new__(kind)  # its __init__ has run, when this value was made
    for field in fields(kind):
        if field.name in values:
            item = reader.read(values.pop(field.name))
        elif field.default is not NO_DEFAULT:
            item = field.default
        elif field.default_factory is not NO_DEFAULT:
            item = field.default_factory()
        else:
            message = f"{name} has a new field {field.name!r}, which needs a default"
            raise _MalformedError(message)
        object.__setattr__(made, field.name, item)
    if values:
        message = f"{name} has no field {str(next(iter(values)))[:SHOWN]!r} any more"
        raise _MalformedError(message)
    return made


def _read_missing(_: _Reader, tree: Any) -> Any:
    if tree is not True:
        raise ValueError
    return MISSING


def _read_results(reader: _Reader, tree: Any) -> Results:
    items, places = _whole(tree, 2)
    names, taken = map(str, _checked(places, dict)), _read_ints(list(places.values()))
    if not all(0 <= position < len(items) for position in taken):
        raise ValueError
    return Results.of(reader.items(items), dict(zip(names, taken, strict=True)))


_UNTAGS: dict[str, Callable[[_Reader, Any], Any]] = {
    "$str": lambda _, tree: "".join(map(chr, _read_ints(tree))),
    "$float": _read_float,
    "$dict": lambda reader, tree: _whole(dict(reader.pairs(tree)), len(tree)),
    "$tuple": lambda reader, tree: tuple(reader.items(tree)),
    "$set": lambda reader, tree: _whole(set(reader.items(tree)), len(tree)),
    "$frozenset": lambda reader, tree: _whole(frozenset(reader.items(tree)), len(tree)),
    "$bytes": _read_bytes,
    "$decimal": _read_decimal,
    "$datetime": _read_datetime,
    "$time": _read_time,
    "$date": _read_date,
    "$timedelta": _read_timedelta,
    "$uuid": _read_uuid,
    "$slice": lambda reader, tree: slice(*_whole(reader.items(tree), 3)),
    "$result": _read_result,
    "$results": _read_results,
    "$missing": _read_missing,
    "$enum": _read_enum,
    "$dataclass": _read_dataclass,
    "$class": lambda reader, tree: reader.find(tree),
    "$function": lambda reader, tree: reader.find(tree, is_class=False),
}
