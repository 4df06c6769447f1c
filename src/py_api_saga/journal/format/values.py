"""Values (arguments, results, texts of errors) on their way into a journal and out of it.

They are tagged JSON; with a codec each is `{"$sealed": text}`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from py_api_saga.exceptions import RecordedError
from py_api_saga.journal.format.functions import NotStorableError
from py_api_saga.journal.format.json_text import (
    MAX_VALUE,
    UNPLAIN,
    are_plain,
    dumps,
    is_plain,
    loads,
    plain_text,
    plainly_read,
)
from py_api_saga.journal.format.sealing import SEALED, SealedError, is_sealed, sealed, unsealed
from py_api_saga.journal.format.tagging import tagged
from py_api_saga.journal.protocol import Vocabulary
from py_api_saga.status import MISSING
from py_api_saga.wording import as_text

_MAX_TEXT = 4096  # characters kept of an error


class Values:
    """Values on their way into a journal and out of it."""

    __slots__ = ("_codec", "names")

    def __init__(self, journal: Vocabulary) -> None:
        """Use the names and the codec of a journal."""
        self.names = journal.names
        self._codec = journal.codec

    @property
    def seals(self) -> bool:
        """Whether there is a codec."""
        return self._codec is not None

    def write(self, value: object) -> str:
        """Write a value as JSON text.

        Raises:
            NotStorableError: It is of a type that can't be stored, or too large, or the codec
                makes no text of it.
        """
        if value is MISSING:  # which says nothing that needs a seal
            return '{"$missing":true}'
        text = plain_text(value) or dumps(tagged(value, self.names))
        if len(text) > MAX_VALUE // 4 and len(text.encode()) > MAX_VALUE:
            message = f"its JSON text is larger than {MAX_VALUE:,} bytes: store a reference to it"
            raise NotStorableError(message)
        return text if self._codec is None else dumps(sealed(self._codec, text))

    def tree(self, value: object) -> Any:
        """Make a value a JSON tree, sealed if there is a codec; raises as `write` does."""
        if self._codec is None:
            if not is_plain(value):
                return tagged(value, self.names)
            return value.copy() if isinstance(value, list | dict) else value
        return loads(self.write(value))

    def items(self, values: tuple[Any, ...]) -> Any:
        """Make a JSON tree of a list of values, in the same way."""
        if self._codec is None:
            return [*values] if are_plain(values) else tagged([*values], self.names)
        return self.tree([*values])

    def open(self, tree: Any) -> Any:
        """Give the plain tree of one that may be sealed.

        Raises:
            SealedError: It was sealed by a codec that this journal does not have.
            ValueError: What is sealed is malformed.
        """
        if not is_sealed(tree):
            return tree
        return loads(unsealed(self._codec, tree[SEALED]), MAX_VALUE)

    def read(self, tree: Any) -> Any:
        """Give the value that a tree stands for; raises ValueError or UnknownNameError."""
        value = plainly_read(tree)
        return _untagging().untagged(self.open(tree), self.names) if value is UNPLAIN else value

    def write_error(self, error: BaseException | None) -> list[Any] | None:
        """Write an error down as its type's name and its text."""
        if error is None:
            return None
        if isinstance(error, RecordedError):
            kind, text = error.kind, str(error)
        else:
            kind = f"{type(error).__module__}.{type(error).__qualname__}"
            text = as_text(error, str)
        text = text[:_MAX_TEXT].encode(errors="replace").decode()
        if self._codec is None:
            return [kind, text]
        try:
            return [kind, sealed(self._codec, text)]
        except NotStorableError:  # what happened must be on record all the same
            return [kind, "(its text could not be sealed)"]

    def read_error(self, tree: Any) -> RecordedError | None:
        """Give a stand-in for an error: its type is not looked for."""
        if tree is None:
            return None
        kind, text = tree
        if isinstance(text, dict):
            try:
                text = unsealed(self._codec, text.get(SEALED))
            except (SealedError, ValueError):  # who goes on with the saga needs no text
                text = "(sealed)"
        return RecordedError(str(kind), str(text))


@cache
def _untagging() -> Any:
    """Give the module that makes values of trees, with all types that it knows."""
    from py_api_saga.journal.format import untagging  # noqa: PLC0415 - 2 ms, and a new saga reads none

    return untagging


class Trees(Values):
    """Values that are left as they are written: for whoever shows a saga and imports nothing."""

    __slots__ = ()

    def read(self, tree: Any) -> Any:
        """Give the tree itself."""
        return MISSING if tree == {"$missing": True} else tree

    def write(self, value: object) -> str:
        """Write down such a tree."""
        return '{"$missing":true}' if value is MISSING else dumps(value)

    def tree(self, value: object) -> Any:
        """Give such a tree."""
        return {"$missing": True} if value is MISSING else value
