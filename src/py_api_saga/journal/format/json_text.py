"""JSON texts, as a journal holds them, and the values that are written as they are.

What is read is input: a text that is too long is not looked at, and no message quotes one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from json import JSONDecodeError, JSONDecoder, JSONEncoder
from json import encoder as _json_encoder
from types import NoneType
from typing import Any, Final, NoReturn

MAX_VALUE = 1 << 20  # bytes of the JSON text, as UTF-8, of one value
MAX_DIGITS = 4300  # of an int; Python reads no longer ones, since that takes quadratic time

ATOMS = frozenset({str, int, float, bool, NoneType})
_KEYS = frozenset({str})
_HUGE = 5**MAX_DIGITS << MAX_DIGITS  # 10 to that, in half the time
_TINY = -_HUGE  # to negate it takes longer than all the rest of a small value
_INFINITY = float("inf")
_LOWEST = -_INFINITY


def _no_constant(name: str) -> NoReturn:
    message = f"not JSON: {name}"
    raise ValueError(message)


def _short_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        message = f"not read: an int of more than {MAX_DIGITS} digits"
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
    is_guarded = 0 < sys.get_int_max_str_digits() <= MAX_DIGITS
    try:
        return (_DECODE if is_guarded else _DECODE_SHORT)(text)
    except JSONDecodeError as error:  # it holds the text, which may be a secret
        message = f"not JSON: {error.msg}, at character {error.pos}"
        raise ValueError(message) from None
    except RecursionError:
        message = "not read: nested too deep"
        raise ValueError(message) from None


# --- what JSON has -------------------------------------------------------------------------------

UNPLAIN: Final = object()  # what is none of these


def is_plain(value: Any) -> bool:
    """Tell whether it is an atom, or one list or dict of atoms, and is written as it is.

    Most values are. `tagged` gives the same for them, in three times the time.
    """
    kind = type(value)
    if kind is dict:
        return are_keys(value) and are_plain(value.values())
    return are_plain(value) if kind is list else kind in ATOMS and are_plain((value,))


def plain_text(value: Any) -> str | None:
    """Write such a value as JSON text; None if there is more to it."""
    kind = type(value)
    if kind is dict:
        is_flat = _KEYS.issuperset(map(type, value)) and ATOMS.issuperset(map(type, value.values()))
    else:
        is_flat = ATOMS.issuperset(map(type, value)) if kind is list else kind in ATOMS
    if not is_flat:
        return None
    try:
        text = "".join(_CHUNKS(value, 0))
    except ValueError:  # a float that JSON does not have, or an int that Python does not write
        return None
    # ASCII has no lone surrogate, so short a text no int that is too long, and where no text begins
    # with "$" no key does. This is seen in the half of the time.
    if text.isascii() and len(text) <= MAX_DIGITS and '"$' not in text:
        return text
    return text if is_plain(value) else None


def plainly_read(tree: Any) -> Any:
    """Give the value of a tree of this kind, which shares nothing with it; else UNPLAIN."""
    kind = type(tree)
    if kind in ATOMS:
        return tree
    if kind is list:
        return tree.copy() if ATOMS.issuperset(map(type, tree)) else UNPLAIN
    is_plain = kind is dict and are_keys(tree) and ATOMS.issuperset(map(type, tree.values()))
    return tree.copy() if is_plain else UNPLAIN


def are_plain(items: Iterable[Any]) -> bool:
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


def are_keys(keys: Iterable[Any]) -> bool:
    """Tell whether a dict with these keys can be taken for nothing else."""
    for key in keys:
        if type(key) is not str or (key < "%" and key[:1] == "$"):  # few keys sort before "%"
            return False
        if not key.isascii() and not _is_unicode(key):
            return False
    return True


def _is_unicode(text: str) -> bool:
    """Tell whether a text has no lone surrogate, which is neither UTF-8 nor text in a database."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
