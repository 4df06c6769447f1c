"""What is asked of a page in its address, and the addresses that pages lead to.

All pages lie side by side, and which saga is meant stands behind the question mark: so links are
relative, wherever the pages are mounted, and an id may be any text.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode

from py_api_saga.status import SagaStatus, Status

Kind = TypeVar("Kind", bound=Enum)

HOME = "./"  # from any of the pages
_LONGEST = 4096  # characters
_FIELDS = 20
_TEXT = 256  # characters of a name, an id, or the class of an error; none is so long
_NUMBER = re.compile(r"[0-9]{1,18}")  # of a saga: what databases have room for


class AddressError(ValueError):
    """An address makes no sense: the text says why."""


class Asked(NamedTuple):
    """What was asked for.

    Attributes:
        saga_id: Which saga, of a page of one.
        status: Those that stand so.
        name: Those of this name.
        prefix: Those whose id begins with this.
        error: Those that are stuck since this was raised: a class, with its module or without.
        below: Those that came before this one, by its number.
        verb: What is to be decided.
        operation: About which operation.
        said: What came of that one.
    """

    saga_id: str = ""
    status: SagaStatus | None = None
    name: str = ""
    prefix: str = ""
    error: str = ""
    below: int | None = None
    verb: str = ""
    operation: str = ""
    said: Status | None = None

    def address(self, **others: object) -> str:
        """Give the address of a list with these filters, and others in the place of some."""
        fields = {
            "status": self.status and self.status.value,
            "name": self.name,
            "id": self.prefix,
            "error": self.error,
            "below": self.below,
        }
        return address(HOME, **fields | others)


def read(query: str) -> Asked:
    """Read what stands behind the question mark; what nobody here knows is left out.

    Raises:
        AddressError: It makes no sense.
    """
    fields = pairs(query)
    below = fields.get("below")
    if below is not None and not _NUMBER.fullmatch(below):
        message = "below: expected the number of a saga"
        raise AddressError(message)
    return Asked(
        fields.get("saga", ""),
        _one_of(SagaStatus, "status", fields.get("status")),
        fields.get("name", ""),
        fields.get("id", ""),
        fields.get("error", ""),
        None if below is None else int(below),
        fields.get("verb", ""),
        fields.get("operation", ""),
        _one_of(Status, "said", fields.get("said")),
    )


def pairs(query: str, longest: int = _LONGEST, text: int = _TEXT) -> dict[str, str]:
    """Read the fields of an address, or of a form; of several that are called alike the last.

    Raises:
        AddressError: It is too long, or its characters are none.
    """
    if len(query) > longest:
        message = f"expected {longest:,} characters at most, got {len(query):,}"
        raise AddressError(message)
    try:
        found = parse_qsl(query, errors="strict", max_num_fields=_FIELDS)
    except ValueError as error:  # not UTF-8, or too many
        message = f"expected {_FIELDS} fields in UTF-8 at most"
        raise AddressError(message) from error
    for _, value in found:
        if len(value) > text or "\0" in value:
            message = f"expected texts of {text:,} characters at most"
            raise AddressError(message)
    return dict(found)


def _one_of(kind: type[Kind], name: str, word: str | None) -> Kind | None:
    try:
        return None if word is None else kind(word)
    except ValueError as error:
        message = f"{name}: expected one of {', '.join(str(one.value) for one in kind)}"
        raise AddressError(message) from error


def address(page: str, **fields: object) -> str:
    """Give an address, with the fields that say something."""
    said = {key: value for key, value in fields.items() if value not in (None, "")}
    return f"{page}?{urlencode(said)}" if said else page


def of_saga(saga_id: str) -> str:
    """Give the address of the page of a saga."""
    return address("saga", saga=saga_id)
