"""What is kept of a saga on an engine where there may be no room for all of it.

A result that is too large is told as one that can't be stored, and an error is cut. What goes back
needs some room yet, so no call is made without end.
"""

from __future__ import annotations

from typing import Any

from py_api_saga.engines.rows import MAX_SAGA, MAX_VALUE, TREES, size_of
from py_api_saga.entries import (
    COMPENSATION,
    FAILED,
    HAPPENED,
    LATER,
    RETRY,
    SUCCEEDED,
    Entry,
    Setback,
)
from py_api_saga.journal.format.entries import unkept, write_entry
from py_api_saga.journal.format.functions import NotStorableError
from py_api_saga.journal.format.json_text import dumps
from py_api_saga.journal.format.sealing import is_sealed

_VALUE = 5  # where it is in an entry
_SHORT = 200  # characters that are kept of a text for which there is no room
_SPARE = MAX_SAGA // 2  # bytes beyond which no call is made again


def has_room(size: int, left: int) -> bool:
    """Tell whether a line is surely no trouble: what it says may have to be said twice."""
    return 2 * size <= min(MAX_VALUE, left)


def fitting(entry: Entry, tree: list[Any], left: int, name: str) -> str:
    """Say how a call ended for which there may be no room, as can be kept.

    Args:
        entry: How it has ended.
        tree: That as it came; it is changed.
        left: For how many bytes there is room.
        name: Of the operation.
    """
    what, _, kind, _, _, value = entry
    size, own = size_of(dumps(tree)), size_of(dumps(tree[_VALUE])) if len(tree) > _VALUE else 0
    if what in (SUCCEEDED, HAPPENED, LATER):
        is_small = own <= _SHORT and kind == COMPENSATION
        needed = size + own if what == LATER else size  # a timer tells its result once more
        if own <= MAX_VALUE and (needed <= left or is_small):
            return dumps(tree)
        why = f"its JSON text is larger than {MAX_VALUE:,} bytes: store a reference to it"
        if own <= MAX_VALUE:
            why = f"the saga is larger than {MAX_SAGA:,} bytes with it: store references"
        return write_entry(unkept(entry, name, NotStorableError(why)), TREES)
    if type(value) is Setback and value.wait is not None and left < -_SPARE:
        error, _, *more = tree[_VALUE]
        if what == RETRY:
            tree[0], tree[_VALUE] = FAILED, error
        else:
            tree[_VALUE] = [error, None, *more]
    if size > min(left, MAX_VALUE) and len(tree) > _VALUE:
        tree[_VALUE] = short(tree[_VALUE])
    return dumps(tree)


def short(tree: Any) -> Any:
    """Cut the texts in a tree, of which sealed ones can't be cut."""
    match tree:
        case str():
            return tree[:_SHORT]
        case list():
            return [short(item) for item in tree]
        case dict() if is_sealed(tree):
            return "(its text was too large to be kept)"
        case dict():
            return {key: short(value) for key, value in tree.items()}
    return tree
