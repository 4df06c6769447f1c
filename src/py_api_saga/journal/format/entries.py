"""Entries of the machine as JSON: `[what, operation, kind, attempt, generation, value, facts]`.

A value that is None is left out, and so are the facts, which only those read who show a saga: see
`facts`. The format is described for users in the reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from py_api_saga import entries as told
from py_api_saga.entries import KINDS, WORDS, Awaited, Entry, Kind, Setback, Word
from py_api_saga.exceptions import LaterError, RecordedError
from py_api_saga.journal.changes import milliseconds
from py_api_saga.journal.format.json_text import dumps
from py_api_saga.status import MISSING, Status

if TYPE_CHECKING:
    from py_api_saga.journal.format.functions import NotStorableError
    from py_api_saga.journal.format.values import Values


def write_entry(  # noqa: C901 - one for each word
    entry: Entry, values: Values, facts: str = ""
) -> str:
    """Write an entry as JSON text.

    Args:
        entry: The entry.
        values: How to write its value.
        facts: What is known besides of how it came, as JSON text; empty for nothing.

    Raises:
        NotStorableError: Its value can't be stored; nothing else of an entry can fail.
    """
    what, i, kind, attempt, generation, value = entry
    head = f'["{what}",{i},"{kind}",{attempt},{generation}'
    end = f",{facts}]" if facts else "]"
    if what == told.STARTED or value is None:
        return f"{head},null{end}" if facts else f"{head}]"
    tree: Any
    match what:
        case told.SUCCEEDED | told.HAPPENED | told.ANSWERED:
            return f"{head},{values.write(value)}{end}"
        case told.FAILED | told.DENIED | told.ABORT | told.UNKNOWN | told.NOT_HAPPENED:
            tree = values.write_error(value)
        case told.LATER:
            tree = [value.due, value.is_timer, values.tree(value.result)]
        case told.RETRY:
            tree = [values.write_error(value.error), value.wait]
        case told.IN_DOUBT:
            tree = [values.write_error(value.error), value.wait, value.alive, value.interrupted]
        case told.UNSTORED:
            _, error = value
            tree = values.write_error(error)
        case told.RECOVERED:
            tree = sorted(value)
        case told.RESOLVED:
            status, result = value
            tree = [status.value, values.tree(result)]
        case told.LOST | told.AGAIN:
            tree = bool(value)
        case forgotten:  # pragma: no cover - as the type checker sees
            assert_never(forgotten)
    return f"{head},{dumps(tree)}{end}"


def unkept(entry: Entry, name: str, error: NotStorableError) -> Entry:
    """Say what comes of a call that has returned what can't be kept.

    Args:
        entry: What it returned, or that it has only begun something.
        name: Of the operation.
        error: Why that can't be written.
    """
    what, _, kind, _, _, value = entry
    if what != told.LATER:
        message = f"the result of the {kind} of {name!r} cannot be kept: {error}"
        return told.unstored(entry, value, TypeError(message))
    wrong = LaterError(
        f"the {kind} of operation {name!r} returned later(..., result=...), and this result cannot "
        f"be kept: {error}"
    )
    return told.in_doubt(entry, wrong) if kind == told.ACTION else told.failed(entry, wrong)


# No call begins before its saga. By less than this, in milliseconds, one seems to where the clock
# is another machine's, and known to within a round trip; by more, where a clock was set back.
_ESTIMATED = 1000


def span_text(created: float, began: float, length: float) -> str:
    """Write down when a call began and how many seconds it took, for `facts.span_of`.

    Args:
        created: When its saga was, to the millisecond, seconds since 1970.
        began: When the call began, by the same clock; rounded as journals do with a time.
        length: Seconds.
    """
    after = milliseconds(began) - round(created * 1000)
    if -_ESTIMATED < after < 0:
        after = 0
    return f"[{after},{round(length * 1000)}]"


def read_entry(tree: Any, values: Values, operations: int) -> Entry:
    """Read an entry.

    Raises:
        ValueError: It is none, or speaks of an operation that there is not.
        UnknownNameError: A value names a type that the journal does not allow.
    """
    what, i, kind, attempt, generation, *more = tree
    word, alone = _WORDS.get(what), what in (told.ABORT, told.RECOVERED)
    if (
        word is None
        or kind not in _KINDS
        or any(type(number) is not int for number in (i, attempt, generation))
        or not (i == -1 if alone else 0 <= i < operations)
    ):
        message = "an entry is of no kind that this version knows"
        raise ValueError(message)
    value = _read_value(word, next(iter(more), None), values)
    return (word, i, _KINDS[kind], attempt, generation, value)


def _read_value(  # noqa: C901, PLR0911 - as many forms
    what: Word, value: Any, values: Values
) -> Any:
    match what:
        case told.SUCCEEDED | told.HAPPENED | told.ANSWERED:
            return values.read(value)
        case told.FAILED | told.DENIED | told.ABORT:
            return values.read_error(value) or RecordedError("builtins.Exception", "unknown")
        case told.UNKNOWN:
            return values.read_error(value)
        case told.UNSTORED:
            return MISSING, values.read_error(value)
        case told.LATER:
            due, is_timer, result, *_ = value
            due = None if due is None else float(due)
            return Awaited(due, is_timer=bool(is_timer), result=values.read(result))
        case told.RETRY:
            error, wait, *_ = value
            return Setback(values.read_error(error) or RecordedError("", ""), float(wait))
        case told.IN_DOUBT:
            error, wait, alive, interrupted = value
            reason = values.read_error(error) or RecordedError("", "")
            return Setback(reason, wait, alive=bool(alive), interrupted=bool(interrupted))
        case told.RECOVERED:
            return frozenset(value or ())
        case told.RESOLVED:
            status, result, *_ = value
            return Status(status), values.read(result)
        case told.LOST:
            return bool(value)
        case told.STARTED | told.NOT_HAPPENED | told.AGAIN:
            return value
        case forgotten:  # pragma: no cover - as the type checker sees
            assert_never(forgotten)


# The machine tells words apart by identity where it is in a hurry; JSON makes new strings.
_WORDS: dict[str, Word] = {word: word for word in WORDS}
_KINDS: dict[str, Kind] = {"": "", **{kind: kind for kind in KINDS}}
