"""Values (arguments, results, texts of errors) on their way into a journal and out of it.

They are tagged JSON; with a codec each is `{"$sealed": text}`.
"""

from __future__ import annotations

from py_api_saga.exceptions import JournalError, RecordedError
from py_api_saga.interrupts import is_limit
from py_api_saga.journal.format.functions import NotStorableError
from py_api_saga.journal.format.json_text import MAX_VALUE, dumps, loads
from py_api_saga.journal.format.tagging import are_plain, deep_tagged, tagged
from py_api_saga.journal.format.untagging import untagged
from py_api_saga.status import MISSING
from py_api_saga.wording import as_text

TYPE_CHECKING = False  # as in `typing`, which takes 7 ms to import
if TYPE_CHECKING:
    from typing import Any

    from py_api_saga.journal.protocol import Codec, Journal

_MAX_TEXT = 4096  # characters kept of an error
_MAX_SEALED = 4 * MAX_VALUE  # characters
_SEALED = "$sealed"


class SealedError(JournalError):
    """What is sealed can't be opened here and now; elsewhere it can."""


class Values:
    """Values on their way into a journal and out of it."""

    __slots__ = ("_codec", "names")

    def __init__(self, journal: Journal) -> None:
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
        text = dumps(tagged(value, self.names))
        if len(text) > MAX_VALUE // 4 and len(text.encode()) > MAX_VALUE:
            message = f"its JSON text is larger than {MAX_VALUE:,} bytes: store a reference to it"
            raise NotStorableError(message)
        return text if self._codec is None else dumps(_sealed(self._codec, text))

    def tree(self, value: object) -> Any:
        """Make a value a JSON tree, sealed if there is a codec; raises as `write` does."""
        if self._codec is None:
            return tagged(value, self.names)
        return loads(self.write(value))

    def items(self, values: tuple[Any, ...]) -> Any:
        """Make a JSON tree of a list of values, in the same way."""
        if self._codec is None:
            return [*values] if are_plain(values) else deep_tagged([*values], self.names)
        return self.tree([*values])

    def open(self, tree: Any) -> Any:
        """Give the plain tree of one that may be sealed.

        Raises:
            SealedError: It was sealed by a codec that this journal does not have.
            ValueError: What is sealed is malformed.
        """
        if type(tree) is not dict or len(tree) != 1 or _SEALED not in tree:
            return tree
        return loads(self._decoded(tree[_SEALED]), MAX_VALUE)

    def _decoded(self, text: object) -> str:
        if self._codec is None:
            message = "it was written with a codec: open the journal with the same codec="
            raise SealedError(message)
        if not isinstance(text, str) or len(text) > _MAX_SEALED:
            message = "a sealed value is not a text, or too large"
            raise ValueError(message)
        try:
            plain = self._codec.decode(text)
        except Exception as error:  # the user's: a key that is not there, a service that is away
            message = f"its codec cannot open what is sealed: {type(error).__name__}"
            raise SealedError(message) from error
        if not isinstance(plain, str):
            message = f"its codec gave {type(plain).__name__}: decode must return text"
            raise SealedError(message)
        return plain

    def read(self, tree: Any) -> Any:
        """Give the value that a tree stands for; raises ValueError or UnknownNameError."""
        return untagged(self.open(tree), self.names)

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
            return [kind, _sealed(self._codec, text)]
        except NotStorableError:  # what happened must be on record all the same
            return [kind, "(its text could not be sealed)"]

    def read_error(self, tree: Any) -> RecordedError | None:
        """Give a stand-in for an error: its type is not looked for."""
        if tree is None:
            return None
        kind, text = tree
        if isinstance(text, dict):
            try:
                text = self._decoded(text.get(_SEALED))
            except (SealedError, ValueError):  # who goes on with the saga needs no text
                text = "(sealed)"
        return RecordedError(str(kind), str(text))


def _sealed(codec: Codec, text: str) -> dict[str, str]:
    """Have a text sealed; what the codec gives must be a text that can be kept, and read again."""
    try:
        sealed = codec.encode(text)
    except Exception as error:
        if is_limit(error):
            raise
        message = f"its codec cannot seal it: {type(error).__name__}"
        raise NotStorableError(message) from error
    if not isinstance(sealed, str):
        message = f"its codec gave {type(sealed).__name__}: encode must return text"
        raise NotStorableError(message)
    if len(sealed) > _MAX_SEALED:
        message = f"its codec made more than {_MAX_SEALED:,} characters of it"
        raise NotStorableError(message)
    try:
        sealed.encode()
    except UnicodeEncodeError:
        message = "its codec gave text that is not valid Unicode: encode bytes as base64, say"
        raise NotStorableError(message) from None
    return {_SEALED: sealed}


class Trees(Values):
    """Values that are left as they are written: for whoever shows a saga and imports nothing."""

    __slots__ = ()

    def read(self, tree: Any) -> Any:
        """Give the tree itself."""
        return MISSING if tree == {"$missing": True} else tree
