"""How times, amounts, errors and values are said."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from py_api_saga import clock
from py_api_saga.exceptions import SagaError
from py_api_saga.journal.format.json_text import dumps
from py_api_saga.wording import as_text

if TYPE_CHECKING:
    from py_api_saga.journal.format.values import Values

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_MOMENT = 0.0005  # seconds: half of what is the least that is written
_TYPES = {"decimal": "Decimal", "uuid": "UUID", "missing": "no value", "sealed": "(sealed)"}
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_NAMED = ("$enum", "$dataclass")  # these say which


def moment(at: float) -> str:
    """Write a time, to the second, in UTC."""
    return f"{_date(at):%Y-%m-%d %H:%M:%SZ}"


def minute(at: float) -> str:
    """Write a time, to the minute, in UTC."""
    return f"{_date(at):%Y-%m-%d %H:%MZ}"


def exact(at: float) -> str:
    """Write a time, to the millisecond, in UTC, as ISO 8601."""
    written = _date(at).isoformat(timespec="milliseconds")
    return written.removesuffix("+00:00") + "Z"


def _date(at: float) -> datetime:
    """Give a time as a date; of a damaged row it may be none, and is the first or the last."""
    try:
        return datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        return _LAST if at > 0 else _FIRST


def age(at: float) -> str:
    """Write how long ago something was."""
    return duration(clock.time() - at)


def duration(seconds: float) -> str:
    """Write some seconds in the largest unit of which there is one."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return "0s"


def span(seconds: float) -> str:
    """Write how long something took, in one unit or two: 120 ms, 1.25 s, 3 min 7 s, 2 d 4 h."""
    if seconds < 1 - _MOMENT:
        return f"{seconds * 1000:.0f} ms" if seconds >= _MOMENT else "0 ms"
    if seconds < _UNITS[2][0]:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
    sizes = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    n = next(n for n, (_, size) in enumerate(sizes) if seconds >= size)
    (large, size), (small, part) = sizes[n : n + 2]
    rest = int(seconds % size // part)
    return f"{int(seconds // size):,} {large}" + f" {rest} {small}" * bool(rest)


def plural(number: int, noun: str) -> str:
    """Write a number of things."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def in_shell(text: str) -> str:
    """Write a name as it is typed in a shell: in one line, whatever characters it is made of."""
    if text.isprintable():
        return shlex.quote(text)
    return f"$'{''.join(map(_escaped, text))}'"  # as bash, zsh, ksh and POSIX.1-2024 read it


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode(errors="surrogatepass"))


def error_words(error: BaseException) -> str:
    """Write an error as its type and its text."""
    return as_text(error)


def value_type(tree: Any) -> str:
    """Name the type of a value, as it is written in a journal, and nothing of what it is."""
    if type(tree) is not dict:
        return "None" if tree is None else type(tree).__name__
    tag = next(iter(tree), "")
    if len(tree) != 1 or not tag.startswith("$"):
        return "dict"
    try:
        return _tagged_type(tag, tree[tag])
    except (LookupError, TypeError, ValueError):  # what is in a journal may be anything
        return "(malformed)"


def _tagged_type(tag: str, inside: Any) -> str:
    if tag == "$result":
        return _result_words(inside)
    if tag in _NAMED:
        return str(inside[0]).rpartition(":")[2]
    if tag in ("$class", "$function"):
        return str(inside)
    return _TYPES.get(tag[1:], tag[1:])


def _result_words(tree: Any) -> str:
    """Write a placeholder, which says where a value comes from, and nothing of what it is."""
    operation, path = tree
    steps = (f".{key}" if is_attribute else f"[{key!r}]" for is_attribute, key in path)
    return f"result_of({repr(operation) if operation else ''}){''.join(steps)}"


def shown(tree: Any, values: Values | None, *, whole: bool) -> Any:
    """Give what may be shown of a value: its type or, if asked for, its tree.

    Args:
        tree: As it is written, perhaps sealed.
        values: What opens it, or None.
        whole: Whether to show it.
    """
    tree = opened(tree, values, whole=whole)
    return tree if whole else value_type(tree)


def is_sealed(tree: Any) -> bool:
    """Tell whether a tree is sealed."""
    return isinstance(tree, dict) and tree.keys() == {"$sealed"}


def opened(tree: Any, values: Values | None, *, whole: bool) -> Any:
    """Give a tree that may be sealed, open if there is something that opens it.

    Raises:
        SagaError: The whole value is asked for, but was sealed by another codec, or tampered with.
    """
    if values is None:
        return tree
    try:
        return values.open(tree)
    except Exception as error:  # of the user's codec
        if not whole:
            return tree
        message = f"a sealed value cannot be opened: {as_text(error, str)}"
        raise SagaError(message) from error


def shown_words(value: Any, *, whole: bool) -> str:
    """Write what `shown` gave."""
    if whole and (type(value) is not dict or value.keys() != {"$result"}):
        return dumps(value)
    return value_type(value) if whole else str(value)
