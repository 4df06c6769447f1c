"""What is in the mail of a saga: `["answered", value, note]` or `["denied", error, note]`.

The note is that of a person, as a saga has it among its entries, or null.
"""

from __future__ import annotations

from typing import Any

from py_api_saga.entries import ANSWERED, DENIED, Attempt, Entry, answered, denied
from py_api_saga.exceptions import RecordedError
from py_api_saga.journal.format.json_text import dumps, loads
from py_api_saga.journal.format.values import Values
from py_api_saga.status import MISSING


def write_letter(
    result: object, error: BaseException | None, values: Values, note: str | None = None
) -> str:
    """Write an answer: an error, or else a result.

    Raises:
        NotStorableError: The result can't be stored.
    """
    if error is None:
        return f'["{ANSWERED}",{values.write(result)},{note or "null"}]'
    return f'["{DENIED}",{dumps(values.write_error(error))},{note or "null"}]'


def read_letter(body: str, call: Attempt, values: Values) -> tuple[Entry, str | None]:
    """Read an answer to a call, and the note with it.

    Raises:
        ValueError: It is none.
        UnknownNameError: It names a type that the journal does not allow, or is not here.
    """
    what, tree, note, *_ = loads(body)
    text = None if note is None else dumps(note)
    if what == ANSWERED:
        return answered(call, values.read(tree)), text
    if what == DENIED:
        return denied(call, values.read_error(tree) or RecordedError("", "")), text
    message = "an answer is of no kind that this version knows"
    raise ValueError(message)


def outcome_in(body: str, values: Values) -> Any:
    """Give the plain tree of what an answer says; equal for the same, however it was sealed."""
    what, tree, *_ = loads(body)
    if what == DENIED:
        error = values.read_error(tree)
        return what, None if error is None else (error.kind, str(error))
    return what, MISSING if tree == {"$missing": True} else values.open(tree)
