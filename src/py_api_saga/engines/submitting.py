"""A saga on its way to an engine: what it is written down as, and what is refused before."""

from __future__ import annotations

from typing import Any

from py_api_saga.engines.rows import MAX_SAGA, MAX_VALUE, Rows
from py_api_saga.exceptions import SagaDefinitionError
from py_api_saga.journal.format.json_text import dumps, loads


def see_size(body: str) -> None:
    """See that an engine takes a saga with these arguments.

    Args:
        body: The first row.

    Raises:
        SagaDefinitionError: It is too large as a whole, or an argument is.
    """
    if len(body) <= MAX_VALUE // 4:  # characters, each of at most four bytes
        return
    for item in loads(body)[0][1]["operations"]:
        for role, words in (("do", "action"), ("undo", "compensation")):
            for argument in _arguments(item.get(role, ())):
                if len(dumps(argument).encode()) > MAX_VALUE:
                    message = (
                        f"operation {item['name']!r}: an argument of the {words} is larger than "
                        f"{MAX_VALUE:,} bytes as JSON, which is more than engines take: store a "
                        "reference to it"
                    )
                    raise SagaDefinitionError(message)
    if len(body.encode()) > MAX_SAGA:
        message = (
            f"all arguments together are larger than {MAX_SAGA:,} bytes as JSON, which is more "
            "than engines take: store references to what is large"
        )
        raise SagaDefinitionError(message)


def see_room(rows: Rows, line: str) -> None:
    """See that there is room for an answer in a saga.

    Raises:
        SagaDefinitionError: There is none.
    """
    size, most = len(line.encode()), MAX_SAGA - sum(len(body.encode()) for _, body in rows)
    if size > min(most, MAX_VALUE):
        message = (
            f"answer: expected at most {max(0, min(most, MAX_VALUE)):,} bytes as JSON, for which "
            f"there is room in the saga on its engine, got {size:,}: answer with a reference to "
            "what is large"
        )
        raise SagaDefinitionError(message)


def _arguments(call: Any) -> list[Any]:
    """Give the arguments of a call as it is written down; those that are sealed are one."""
    found: list[Any] = []
    for part in call[1:3]:
        match part:
            case list():
                found += part
            case dict():
                found += part.values()
    return found
