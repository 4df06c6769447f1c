"""Values as JSON with tags, and back: equal, and of the same types.

What JSON has is written as it is. Everything else is a dict of one key that begins with "$", such
as `{"$decimal": "1.20"}`; a dict that could be taken for one is written as pairs. Two names for one
list become two lists. What can't come back as it was is refused, in words that say where in the
value it is, of what type, and what to do instead; never with the value itself, which may be a
secret. Reading runs no code of the user's but that of the types which a journal may name: the
default factories of dataclasses, and what makes a Flag of an int.
"""

from __future__ import annotations

import re
import sys
from binascii import a2b_base64, b2a_base64
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag
from functools import cached_property
from json import JSONDecodeError, JSONDecoder, JSONEncoder
from json import encoder as _json_encoder
from types import BuiltinFunctionType, FunctionType, MethodType, NoneType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias
from uuid import UUID

from py_api_saga.journal.names import NotStorableError, UnknownNameError
from py_api_saga.placeholder import Placeholder
from py_api_saga.status import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from py_api_saga.journal.names import Names


class Codec(Protocol):
    """What encrypts values, or signs them: two functions over the JSON text of one value."""

    def encode(self, text: str) -> str:
        """Make of a text what is to be stored."""

    def decode(self, text: str) -> str:
        """Give back the text; raises if it was tampered with."""


MAX_VALUE = 1 << 20  # bytes of the JSON text, as UTF-8, of one value
# Levels of one value. Each is up to three levels of JSON, and Python reads some 900 of these.
MAX_DEPTH = 100
_DIGITS = 4300  # of an int; Python reads no longer ones, since that takes quadratic time
_HUGE = 10**_DIGITS
_TINY = -_HUGE  # to negate it takes longer than all the rest of a small value
_INFINITY = float("inf")
_LOWEST = -_INFINITY
_SHOWN = 40  # characters of a key in a message
_ZONE = re.compile(r"[A-Za-z][\w+-]*(?:/[A-Za-z][\w+-]*)*", re.ASCII)
_ATOMS = frozenset({str, int, float, bool, NoneType})


# --- JSON ------------------------------------------------------------------------------------


def _no_constant(name: str) -> NoReturn:
    message = f"not JSON: {name}"
    raise ValueError(message)


def _short_int(digits: str) -> int:
    if len(digits) > _DIGITS:
        message = f"not read: an int of more than {_DIGITS} digits"
        raise ValueError(message)
    return int(digits)


# `JSONEncoder.encode` makes one of these at each call, which takes as long as to encode a value.
# Trees hold no circles, so it need not look for any.
_MAKE = getattr(_json_encoder, "c_make_encoder", None)  # PyPy has none
_JSON = JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
)
_ARGS = (None, _JSON.default, _json_encoder.encode_basestring, None, ":", ",", False, False, False)
_CHUNKS: Callable[[Any, Any], Iterable[str]] = _MAKE(*_ARGS) if _MAKE else _JSON.iterencode
_DECODE = JSONDecoder(parse_constant=_no_constant).decode
_DECODE_SHORT = JSONDecoder(parse_constant=_no_constant, parse_int=_short_int).decode


def dumps(tree: Any) -> str:
    """Write a tree as JSON text, as short as can be; raises what `json` does for what is none."""
    return "".join(_CHUNKS(tree, 0))


def loads(text: str, limit: int | None = None) -> Any:
    """Parse JSON text.

    Args:
        text: What to parse.
        limit: Characters beyond which it is not even looked at.

    Raises:
        ValueError: It is too long or malformed, or has an int of more than 4300 digits.
    """
    if type(text) is not str:
        message = f"not JSON: expected a text, got {type(text).__name__}"
        raise ValueError(message)
    if limit is not None and len(text) > limit:
        message = f"not read: longer than {limit:,} characters"
        raise ValueError(message)
    # Python itself refuses long ints, and faster, unless the program has told it not to.
    is_guarded = 0 < sys.get_int_max_str_digits() <= _DIGITS
    try:
        return (_DECODE if is_guarded else _DECODE_SHORT)(text)
    except JSONDecodeError as error:  # it holds the text, which may be a secret
        message = f"not JSON: {error.msg}, at character {error.pos}"
        raise ValueError(message) from None
    except RecursionError:
        message = "not read: nested too deep"
        raise ValueError(message) from None


# --- writing ---------------------------------------------------------------------------------


def tagged(value: Any, names: Names) -> Any:
    """Make a tree for JSON of a value; shares no list or dict with it.

    Raises:
        NotStorableError: A part of it is of a type that can't be stored, or holds itself, or it
            is larger than can be stored in any case.
    """
    # Most values are an atom or one container of atoms, and are done here: the rest of this module
    # gives the same for them, in three times the time.
    kind = type(value)
    if kind in _ATOMS:
        if _are_plain((value,)):
            return value
    elif kind is tuple:
        if _are_plain(value):
            return {"$tuple": [*value]}
    elif kind is dict:
        if _are_keys(value) and _are_plain(value.values()):
            return value.copy()
    elif kind is list and _are_plain(value):
        return value.copy()
    try:
        return _Writer(names).tag(value)
    except _Fault as fault:
        message = fault.text()
    except RecursionError:  # the caller had used up most of the stack
        message = "it is nested too deep for what is left of Python's stack"
    raise NotStorableError(message)


def _are_plain(items: Iterable[Any]) -> bool:
    """Tell whether all of these are written as they are."""
    for item in items:
        kind = type(item)
        if kind is str:
            if not item.isascii() and not _is_unicode(item):
                return False
        elif kind is int:
            if not _TINY < item < _HUGE:
                return False
        elif kind is float:
            if not _LOWEST < item < _INFINITY:
                return False
        elif item is not None and kind is not bool:
            return False
    return True


def _are_keys(keys: Iterable[Any]) -> bool:
    """Tell whether a dict with these keys can be taken for nothing else."""
    for key in keys:
        if type(key) is not str or (key < "%" and key[:1] == "$"):  # few keys sort before "%"
            return False
        if not key.isascii() and not _is_unicode(key):
            return False
    return True


def _is_unicode(text: str) -> bool:
    """Tell whether a text has no lone surrogate, which is no UTF-8, nor text in a database."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
    """Write a key in a path; what is no text and no number may say more than it should."""
    if type(key) is str:
        return f"[{key if len(key) <= _SHOWN else key[:_SHOWN] + '…'!r}]"
    if type(key) is int and _TINY < key < _HUGE:
        return f"[{key}]"
    return f"[<{_type_name(type(key))}>]"


class _Writer:
    """Makes the tree of one value."""

    __slots__ = ("depth", "left", "names")

    def __init__(self, names: Names) -> None:
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


def _tag_str(_: _Writer, value: str) -> Any:
    if value.isascii() or _is_unicode(value):
        return value
    return {"$str": list(map(ord, value))}


def _tag_int(_: _Writer, value: int) -> int:
    if _TINY < value < _HUGE:
        return value
    message = f"is an int of more than {_DIGITS} digits: store it as a text, in hexadecimal"
    raise _Fault(message)


def _tag_float(_: _Writer, value: float) -> Any:
    return value if _LOWEST < value < _INFINITY else {"$float": repr(value)}


def _tag_dict(writer: _Writer, value: dict[Any, Any]) -> Any:
    if _are_keys(value):
        return dict(writer.pairs(value, value.items(), _key))
    return {"$dict": writer.pairs(value, value.items(), _key)}


def _tag_set(writer: _Writer, value: Any) -> Any:
    # Sorted, so that equal sets make equal texts: their own order is another one in each process.
    return {f"${type(value).__name__}": sorted(writer.items(value, lambda _: "{…}"), key=dumps)}


def _tag_moment(_: _Writer, value: Any) -> Any:
    tag, text, zone = f"${type(value).__name__}", value.isoformat(), value.tzinfo
    key = None if zone is None or type(zone) is timezone else _key_of(zone)
    if value.fold:
        return {tag: [text, key, 1]}
    return {tag: text if key is None else [text, key]}


def _key_of(zone: Any) -> str:
    """Give the name under which a time zone is found again."""
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - 5 ms, and few values need it

    try:
        if type(zone) is ZoneInfo and _zone(zone.key) is not None:
            return zone.key
    except Exception:  # noqa: BLE001, S110 - of a file that is no time zone, or is not there
        pass
    message = f"has a time zone of type {_type_name(type(zone))}: use a zoneinfo.ZoneInfo by name"
    raise _Fault(message)


def _zone(key: Any) -> Any:
    """Find a time zone by name, which is that of a file.

    Raises:
        Exception: There is none, of any type.
    """
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    if not _ZONE.fullmatch(key):
        raise ValueError
    return ZoneInfo(key)


def _tag_placeholder(writer: _Writer, value: Placeholder) -> Any:
    path = writer.pairs(value, value.__saga_path__, lambda _: "[a key of result_of]")
    return {"$result": [value.__saga_operation__, path]}


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
    kind = type(value)
    name, known = writer.of_type(value), [field.name for field in fields(kind)]
    for attribute in getattr(value, "__dict__", ()):
        if attribute not in known and not _is_derived(kind, attribute):
            message = (
                f"is of type {_type_name(kind)} and has an attribute {attribute!r} that is no "
                "field, and would be lost: make it a field, or a property"
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
    base = next((base for base in kind.__mro__ if base in _TAGS), None)
    if base is not None:
        why = (
            f", and would come back as a plain {base.__name__}: convert it to one, or {_AS_FIELDS}"
        )
    elif kind in (bytearray, memoryview):
        why = ": convert it to bytes"
    elif is_dataclass(kind):
        why = ", which inherits from a dataclass and is none: decorate it with @dataclass"
    else:
        why = (
            ": store what it is found by, such as an id, and look it up in the function that needs "
            f"it, or {_AS_FIELDS}"
        )
    message = f"is of type {_type_name(kind)}{why}"
    raise _Fault(message)


_AS_FIELDS = "make it a dataclass in a module that the journal lists in modules="


def _tag_of(kind: type) -> Callable[[_Writer, Any], Any]:
    if issubclass(kind, Enum):
        return _tag_enum
    if issubclass(kind, type):
        return lambda writer, value: {"$class": writer.name(value, value)}
    return _tag_dataclass if "__dataclass_fields__" in vars(kind) else _refuse


def _as_is(_: _Writer, value: Any) -> Any:
    return value


def _tag_function(writer: _Writer, value: Any) -> Any:
    return {"$function": writer.name(value, value)}


_TAGS: dict[type, Callable[[_Writer, Any], Any]] = {
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
    bytes: lambda _, value: {"$bytes": b2a_base64(value, newline=False).decode()},
    Decimal: lambda _, value: {"$decimal": str(value)},
    datetime: _tag_moment,
    time: _tag_moment,
    date: lambda _, value: {"$date": value.isoformat()},
    timedelta: lambda _, value: {"$timedelta": [value.days, value.seconds, value.microseconds]},
    UUID: lambda _, value: {"$uuid": str(value)},
    slice: _tag_slice,
    Placeholder: _tag_placeholder,
    type(MISSING): lambda _, __: {"$missing": True},
    FunctionType: _tag_function,
    BuiltinFunctionType: _tag_function,
    MethodType: _tag_function,
}


# --- reading ---------------------------------------------------------------------------------


def untagged(tree: Any, names: Names) -> Any:
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

    def __init__(self, names: Names) -> None:
        self.names = names
        self.depth = 0
        self.tag = "value"  # what is being read

    def read(self, tree: Any) -> Any:
        kind = type(tree)
        if kind in _ATOMS:
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
        elif _are_keys(tree):
            made = {key: self.read(item) for key, item in tree.items()}
        else:
            made = self.tagged(tree)
        self.depth -= 1
        return made

    def tagged(self, tree: dict[Any, Any]) -> Any:
        tag, *more = tree
        make = None if more or type(tag) is not str else _UNTAGS.get(tag)
        if make is None:
            shown = tag[:_SHOWN] if isinstance(tag, str) else type(tag).__name__
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
            message = f"{name} is {'no' if is_class else 'a'} class"
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


def _read_moment(kind: Any, tree: Any) -> Any:
    if type(tree) is str:
        return kind.fromisoformat(tree)
    text, key, *folds = _checked(tree, list)
    if folds not in ([], [1]):
        raise ValueError
    made = kind.fromisoformat(_checked(text, str)).replace(fold=len(folds))
    # By the time on the clock, also where the rules of its zone have changed since.
    return made if key is None else made.replace(tzinfo=_zone(key))


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
        message = f"{name} is no Enum any more"
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
        message = f"{name} is no dataclass any more"
        raise _MalformedError(message)
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
        message = f"{name} has no field {str(next(iter(values)))[:_SHOWN]!r} any more"
        raise _MalformedError(message)
    return made


def _read_missing(_: _Reader, tree: Any) -> Any:
    if tree is not True:
        raise ValueError
    return MISSING


_FLOATS = {"nan": float("nan"), "inf": _INFINITY, "-inf": -_INFINITY}
_UNTAGS: dict[str, Callable[[_Reader, Any], Any]] = {
    "$str": lambda _, tree: "".join(map(chr, _read_ints(tree))),
    "$float": lambda _, tree: _FLOATS[tree],
    "$dict": lambda reader, tree: _whole(dict(reader.pairs(tree)), len(tree)),
    "$tuple": lambda reader, tree: tuple(reader.items(tree)),
    "$set": lambda reader, tree: _whole(set(reader.items(tree)), len(tree)),
    "$frozenset": lambda reader, tree: _whole(frozenset(reader.items(tree)), len(tree)),
    "$bytes": lambda _, tree: a2b_base64(_checked(tree, str), strict_mode=True),
    "$decimal": lambda _, tree: Decimal(_checked(tree, str)),
    "$datetime": lambda _, tree: _read_moment(datetime, tree),
    "$time": lambda _, tree: _read_moment(time, tree),
    "$date": lambda _, tree: date.fromisoformat(tree),
    "$timedelta": lambda _, tree: timedelta(*_whole(_read_ints(tree), 3)),
    "$uuid": lambda _, tree: UUID(_checked(tree, str)),
    "$slice": lambda reader, tree: slice(*_whole(reader.items(tree), 3)),
    "$result": _read_result,
    "$missing": _read_missing,
    "$enum": _read_enum,
    "$dataclass": _read_dataclass,
    "$class": lambda reader, tree: reader.find(tree),
    "$function": lambda reader, tree: reader.find(tree, is_class=False),
}
