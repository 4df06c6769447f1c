"""Entries of the machine as JSON: `[what, operation, kind, attempt, generation, value]`.

A value that is None is left out. The format is described for users in the reference.
"""

from __future__ import annotations

from py_api_saga.entries import (
    ABORT,
    FAILED,
    HAPPENED,
    IN_DOUBT,
    KINDS,
    RECOVERED,
    RESOLVED,
    RETRY,
    STARTED,
    SUCCEEDED,
    UNKNOWN,
    UNSTORED,
    WORDS,
    Setback,
)
from py_api_saga.exceptions import RecordedError
from py_api_saga.journal.format.json_text import dumps
from py_api_saga.status import MISSING, Status

TYPE_CHECKING = False  # as in `typing`, which takes 7 ms to import
if TYPE_CHECKING:
    from typing import Any

    from py_api_saga.entries import Entry
    from py_api_saga.journal.format.values import Values

_ERRORS = frozenset({FAILED, ABORT})


def write_entry(entry: Entry, values: Values) -> str:
    """Write an entry as JSON text.

    Raises:
        NotStorableError: Its value can't be stored; nothing else of an entry can fail.
    """
    what, i, kind, attempt, generation, value = entry
    head = f'["{what}",{i},"{kind}",{attempt},{generation}'
    if what == STARTED or value is None:
        return f"{head}]"
    if what in (SUCCEEDED, HAPPENED):
        return f"{head},{values.write(value)}]"
    tree: Any
    if what in _ERRORS or what == UNKNOWN:
        tree = values.write_error(value)
    elif what == RETRY:
        tree = [values.write_error(value.error), value.wait]
    elif what == IN_DOUBT:
        tree = [values.write_error(value.error), value.wait, value.alive, value.interrupted]
    elif what == UNSTORED:
        _, error = value
        tree = values.write_error(error)
    elif what == RECOVERED:
        tree = sorted(value)
    elif what == RESOLVED:
        status, result = value
        tree = [status.value, values.tree(result)]
    else:  # AGAIN
        tree = bool(value)
    return f"{head},{dumps(tree)}]"


def read_entry(tree: Any, values: Values, operations: int) -> Entry:
    """Read an entry.

    Raises:
        ValueError: It is none, or speaks of an operation that there is not.
        UnknownNameError: A value names a type that the journal does not allow.
    """
    what, i, kind, attempt, generation, *more = tree
    alone = what in (ABORT, RECOVERED)
    known = what in WORDS and kind in _KINDS
    if (
        not known
        or any(type(number) is not int for number in (i, attempt, generation))
        or not (i == -1 if alone else 0 <= i < operations)
    ):
        message = "an entry is of no kind that this version knows"
        raise ValueError(message)
    value: Any = next(iter(more), None)
    if what in (SUCCEEDED, HAPPENED):
        value = values.read(value)
    elif what == UNSTORED:
        value = (MISSING, values.read_error(value))
    elif what in _ERRORS or what == UNKNOWN:
        value = values.read_error(value)
        if value is None and what in _ERRORS:
            value = RecordedError("builtins.Exception", "unknown")
    elif what == RETRY:
        error, wait, *_ = value
        value = Setback(values.read_error(error) or RecordedError("", ""), float(wait))
    elif what == IN_DOUBT:
        error, wait, alive, interrupted = value
        reason = values.read_error(error) or RecordedError("", "")
        value = Setback(reason, wait, alive=bool(alive), interrupted=bool(interrupted))
    elif what == RECOVERED:
        value = frozenset(value or ())
    elif what == RESOLVED:
        status, result, *_ = value
        value = (Status(status), values.read(result))
    return (_SAME[what], i, _SAME[kind], attempt, generation, value)


_KINDS = (*KINDS, "")
# The machine tells words apart by identity where it is in a hurry; JSON makes new strings.
_SAME = {word: word for word in (*WORDS, *_KINDS)}
