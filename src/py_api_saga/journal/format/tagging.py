"""Values as trees for JSON, with tags for what JSON does not have.

What JSON has is written as it is. Everything else is a dict of one key that begins with "$", such
as `{"$decimal": "1.20"}`; a dict that could be taken for one is written as pairs. Two names for one
list become two lists. What can't come back as it was is refused, in words that say where in the
value it is, of what type, and what to do instead; never with the value itself, which may be a
secret.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from enum import Enum, Flag
from functools import cached_property
from types import BuiltinFunctionType, FunctionType, MethodType, NoneType
from typing import Any, NoReturn, TypeAlias

from py_api_saga.definition import Results, positions
from py_api_saga.journal.format.functions import Functions, NotStorableError
from py_api_saga.journal.format.json_text import MAX_DIGITS, MAX_VALUE, are_keys, are_plain, dumps
from py_api_saga.placeholder import Placeholder
from py_api_saga.status import MISSING

# Levels of one value. Each is up to three levels of JSON, and Python reads some 900 of these.
MAX_DEPTH = 100
SHOWN = 40  # characters of a key in a message
_ZONE = r"[A-Za-z][\w+-]*(?:/[A-Za-z][\w+-]*)*"


def tagged(value: Any, names: Functions) -> Any:
    """Make a tree for JSON of a value; shares no list or dict with it.

    Raises:
        NotStorableError: A part of it is of a type that can't be stored, or holds itself, or it
            is larger than can be stored in any case.
    """
    if type(value) is tuple and are_plain(value):  # all the rest takes three times as long
        return {"$tuple": [*value]}
    try:
        return _Writer(names).tag(value)
    except _Fault as fault:
        message = fault.text()
    except RecursionError:  # the caller had used up most of the stack
        message = "it is nested too deep for what is left of Python's stack"
    raise NotStorableError(message)


class _Fault(Exception):
    """Why a value can't be stored, found somewhere inside it."""

    def __init__(self, reason: str, *, is_deep: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_deep = is_deep
        self.path: list[str] = []  # from the inside out
        self.holders: list[object] = []

    def inside(self, holder: object, step: str) -> None:
        """Say in what the fault was found."""
        self.path.append(step)
        self.holders.append(holder)

    def text(self) -> str:
        """Say what is wrong, and where."""
        path = "".join(reversed(self.path))
        if self.is_deep:
            if len({id(holder) for holder in self.holders}) < len(self.holders):
                return "it holds itself, directly or further down: make it a value without circles"
            path = ""  # it would be a hundred steps long
        return f"{path or 'it'} {self.reason}"


def _type_name(kind: type) -> str:
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def _key(key: object) -> str:
    """Write a key in a path; anything but a text or a number may say more than it should."""
    if type(key) is str:
        return f"[{key if len(key) <= SHOWN else key[:SHOWN] + '…'!r}]"
    if type(key) is int and are_plain((key,)):
        return f"[{key}]"
    return f"[<{_type_name(type(key))}>]"


class _Writer:
    """Makes the tree of one value."""

    __slots__ = ("depth", "left", "names")

    def __init__(self, names: Functions) -> None:
        self.names = names
        self.depth = 0
        # Each item takes a byte or more. Lists that hold a list twice, which holds one twice, and
        # so on, would have us count until the end of time.
        self.left = MAX_VALUE

    def tag(self, value: Any) -> Any:
        kind = type(value)
        return (_TAGS.get(kind) or _tag_of(kind))(self, value)

    def enter(self, holder: object, count: int) -> None:
        self.depth += 1
        self.left -= count
        if self.depth > MAX_DEPTH:
            message = f"is nested more than {MAX_DEPTH} levels deep: store it flat, or as a text"
            fault = _Fault(message, is_deep=True)
            fault.holders.append(holder)
            raise fault
        if self.left < 0:
            message = f"makes it more than fits into {MAX_VALUE:,} bytes: store a reference to it"
            raise _Fault(message)

    def items(self, value: Any, step: Callable[[int], str] = _key) -> list[Any]:
        self.enter(value, len(value))
        if are_plain(value):
            self.depth -= 1
            return [*value]
        made: list[Any] = []
        try:
            for item in value:
                made.append(self.tag(item))  # noqa: PERF401 - its length says where a fault is
        except _Fault as fault:
            fault.inside(value, step(len(made)))
            raise
        self.depth -= 1
        return made

    def pairs(self, holder: object, items: Iterable[tuple[Any, Any]], step: _Step) -> list[Any]:
        made: list[Any] = []
        self.enter(holder, 0)
        key: object = None
        try:
            for key, item in items:
                self.left -= 1
                made.append([self.tag(key), self.tag(item)])
        except _Fault as fault:
            fault.inside(holder, step(key))
            raise
        self.depth -= 1
        return made

    def of_type(self, value: object) -> str:
        """Name the type of a value."""
        return self.name(type(value), value)

    def name(self, thing: object, value: object) -> str:
        try:
            return self.names.of(thing)
        except NotStorableError as error:
            message = f"is of type {_type_name(type(value))}: {error}"
            raise _Fault(message) from None


_Step: TypeAlias = "Callable[[Any], str]"
_Tag: TypeAlias = "Callable[[_Writer, Any], Any]"


def _tag_str(_: _Writer, value: str) -> Any:
    if are_plain((value,)):
        return value
    return {"$str": list(map(ord, value))}


def _tag_int(_: _Writer, value: int) -> int:
    if are_plain((value,)):
        return value
    message = f"is an int of more than {MAX_DIGITS} digits: store it as a text, in hexadecimal"
    raise _Fault(message)


def _tag_float(_: _Writer, value: float) -> Any:
    return value if are_plain((value,)) else {"$float": repr(value)}


def _tag_dict(writer: _Writer, value: dict[Any, Any]) -> Any:
    if are_keys(value):
        if are_plain(value.values()):
            writer.enter(value, len(value))
            writer.depth -= 1
            return value.copy()
        return dict(writer.pairs(value, value.items(), _key))
    return {"$dict": writer.pairs(value, value.items(), _key)}


def _tag_set(writer: _Writer, value: Any) -> Any:
    # Sorted, so that equal sets make equal texts: their own order is another one in each process.
    return {f"${type(value).__name__}": sorted(writer.items(value, lambda _: "{…}"), key=dumps)}


def _tag_moment(_: _Writer, value: Any) -> Any:
    tag, text, zone = f"${type(value).__name__}", value.isoformat(), value.tzinfo
    key = None if zone is None else _key_of(zone)
    if value.fold:
        return {tag: [text, key, 1]}
    return {tag: text if key is None else [text, key]}


def _key_of(zone: Any) -> str | None:
    """Give the name under which a time zone is found again; None for one that the text holds."""
    from datetime import timezone  # noqa: PLC0415 - it is there, since the value is of its module

    if type(zone) is timezone:
        return None
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - 5 ms, and few values need it

    try:
        if type(zone) is ZoneInfo and zone_named(zone.key) is not None:
            return zone.key
    except Exception:  # noqa: BLE001, S110 - of a file that is not a time zone, or is not there
        pass
    message = f"has a time zone of type {_type_name(type(zone))}: use a zoneinfo.ZoneInfo by name"
    raise _Fault(message)


def zone_named(key: Any) -> Any:
    """Find a time zone by name, which is that of a file.

    Raises:
        Exception: There is none, of any type.
    """
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - as above

    if not re.fullmatch(_ZONE, key, re.ASCII):
        raise ValueError
    return ZoneInfo(key)


def _tag_placeholder(writer: _Writer, value: Placeholder) -> Any:
    path = value.__saga_path__
    steps = writer.pairs(value, path, lambda _: "[a key of result_of]") if path else []
    return {"$result": [value.__saga_operation__, steps]}


def _tag_slice(writer: _Writer, value: slice) -> Any:
    return {"$slice": writer.items((value.start, value.stop, value.step))}


def _tag_enum(writer: _Writer, value: Any) -> Any:
    kind, name = type(value), value._name_
    if kind.__members__.get(name) is value:
        return {"$enum": [writer.of_type(value), name]}
    if isinstance(value, Flag):  # several of its members at once
        return {"$enum": [writer.of_type(value), value._value_]}
    message = f"is of type {_type_name(kind)} and none of its members: store its value"
    raise _Fault(message)


def _tag_dataclass(writer: _Writer, value: Any) -> Any:
    from dataclasses import fields  # noqa: PLC0415 - it is there, since the value is one

    kind = type(value)
    name, known = writer.of_type(value), [field.name for field in fields(kind)]
    for attribute in getattr(value, "__dict__", ()):
        if attribute not in known and not _is_derived(kind, attribute):
            message = (
                f"is of type {_type_name(kind)} and has an attribute {attribute!r} that is "
                "not a field, and would be lost: make it a field, or a property"
            )
            raise _Fault(message)
    try:
        object.__new__(kind)
        items = [(field, getattr(value, field)) for field in known]
    except TypeError:
        message = f"is of type {_type_name(kind)}, {_IS_MORE}"
        raise _Fault(message) from None
    except AttributeError:
        message = f"is of type {_type_name(kind)}, and one of its fields has no value: give it one"
        raise _Fault(message) from None
    return {"$dataclass": [name, dict(writer.pairs(value, items, lambda field: f".{field}"))]}


_IS_MORE = "a dataclass that is an exception or a container too: store a plain dataclass"


def _is_derived(kind: type, attribute: str) -> bool:
    """Tell whether an attribute is made again when it is asked for, or is of typing's own."""
    return attribute == "__orig_class__" or any(
        isinstance(vars(base).get(attribute), cached_property) for base in kind.__mro__
    )


def _refuse(_: _Writer, value: object) -> NoReturn:
    kind = type(value)
    base = next((base for base in kind.__mro__ if base in _TAGS or _tag_by_name(base)), None)
    if base is not None:
        why = (
            f", and would come back as a plain {base.__name__}: convert it to one, or {_AS_FIELDS}"
        )
    elif kind in (bytearray, memoryview):
        why = ": convert it to bytes"
    elif hasattr(kind, "__dataclass_fields__"):
        why = ", which inherits from a dataclass and is none: decorate it with @dataclass"
    else:
        why = (
            ": store what it is found by, such as an id, and look it up in the function that needs "
            f"it, or {_AS_FIELDS}"
        )
    message = f"is of type {_type_name(kind)}{why}"
    raise _Fault(message)


_AS_FIELDS = "make it a dataclass in a module that the journal lists in modules="


def _tag_of(kind: type) -> _Tag:
    if issubclass(kind, Enum):
        return _tag_enum
    if issubclass(kind, type):
        return _tag_class
    if "__dataclass_fields__" in vars(kind):
        return _tag_dataclass
    return _tag_by_name(kind) or _refuse


def _tag_by_name(kind: type) -> _Tag | None:
    """Find how to write a type of a module that is not imported for those who don't use it."""
    name = _type_name(kind)
    tag = _TAGS_BY_NAME.get(name)
    module, _, own_name = name.rpartition(".")
    # A class may say that it is of any module, and have any name.
    if tag is None or getattr(sys.modules.get(module), own_name, None) is not kind:
        return None
    _TAGS[kind] = tag  # from now on it is found at once
    return tag


def _as_is(_: _Writer, value: Any) -> Any:
    return value


def _tag_class(writer: _Writer, value: Any) -> Any:
    return {"$class": writer.name(value, value)}


def _tag_bytes(_: _Writer, value: bytes) -> Any:
    from binascii import b2a_base64  # noqa: PLC0415 - few values need it

    return {"$bytes": b2a_base64(value, newline=False).decode()}


def _tag_results(writer: _Writer, value: Results) -> Any:
    return {"$results": [writer.items(value), dict(positions(value))]}


def _tag_function(writer: _Writer, value: Any) -> Any:
    return {"$function": writer.name(value, value)}


_TAGS: dict[type, _Tag] = {
    NoneType: _as_is,
    bool: _as_is,
    str: _tag_str,
    int: _tag_int,
    float: _tag_float,
    list: _Writer.items,
    dict: _tag_dict,
    tuple: lambda writer, value: {"$tuple": writer.items(value)},
    set: _tag_set,
    frozenset: _tag_set,
    bytes: _tag_bytes,
    slice: _tag_slice,
    Results: _tag_results,
    Placeholder: _tag_placeholder,
    type(MISSING): lambda _, __: {"$missing": True},
    FunctionType: _tag_function,
    BuiltinFunctionType: _tag_function,
    MethodType: _tag_function,
}
_TAGS_BY_NAME: dict[str, _Tag] = {
    "datetime.date": lambda _, value: {"$date": value.isoformat()},
    "datetime.datetime": _tag_moment,
    "datetime.time": _tag_moment,
    "datetime.timedelta": lambda _, value: {
        "$timedelta": [value.days, value.seconds, value.microseconds]
    },
    "decimal.Decimal": lambda _, value: {"$decimal": str(value)},
    "uuid.UUID": lambda _, value: {"$uuid": str(value)},
}
