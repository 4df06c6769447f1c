"""What is sealed: values that the codec of a journal has made unreadable, `{"$sealed": text}`."""

from __future__ import annotations

from py_api_saga.exceptions import JournalError
from py_api_saga.interrupts import is_limit
from py_api_saga.journal.format.functions import NotStorableError
from py_api_saga.journal.format.json_text import MAX_VALUE
from py_api_saga.journal.protocol import Codec

SEALED = "$sealed"
MAX_SEALED = 4 * MAX_VALUE  # characters


class SealedError(JournalError):
    """What is sealed can't be opened here and now; elsewhere it can."""


def check_codec(codec: object) -> None:
    """Refuse what cannot be the `codec=` of a journal."""
    if codec is not None and not all(
        callable(getattr(codec, name, None)) for name in ("encode", "decode")
    ):
        message = f"codec: expected an object with encode and decode, got {type(codec).__name__}"
        raise TypeError(message)


def sealed(codec: Codec, text: str) -> dict[str, str]:
    """Have a text sealed; what the codec gives must be a text that can be kept, and read again."""
    try:
        made = codec.encode(text)
    except Exception as error:
        if is_limit(error):
            raise
        message = f"its codec cannot seal it: {type(error).__name__}"
        raise NotStorableError(message) from error
    if not isinstance(made, str):
        message = f"its codec gave {type(made).__name__}: encode must return text"
        raise NotStorableError(message)
    if len(made) > MAX_SEALED:
        message = f"its codec made more than {MAX_SEALED:,} characters of it"
        raise NotStorableError(message)
    try:
        made.encode()
    except UnicodeEncodeError:
        message = "its codec gave text that is not valid Unicode: encode bytes as base64, say"
        raise NotStorableError(message) from None
    return {SEALED: made}


def unsealed(codec: Codec | None, text: object) -> str:
    """Give the text that was sealed.

    Raises:
        SealedError: There is no codec, or it cannot open this.
        ValueError: What is sealed is malformed.
    """
    if codec is None:
        message = "it was written with a codec: open the journal with the same codec="
        raise SealedError(message)
    if not isinstance(text, str) or len(text) > MAX_SEALED:
        message = "a sealed value is not a text, or too large"
        raise ValueError(message)
    try:
        plain = codec.decode(text)
    except Exception as error:  # the user's: a key that is not there, a service that is away
        message = f"its codec cannot open what is sealed: {type(error).__name__}"
        raise SealedError(message) from error
    if not isinstance(plain, str):
        message = f"its codec gave {type(plain).__name__}: decode must return text"
        raise SealedError(message)
    return plain


def is_sealed(tree: object) -> bool:
    """Tell whether a tree is a value that was sealed."""
    return type(tree) is dict and len(tree) == 1 and SEALED in tree
