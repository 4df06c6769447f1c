"""The text of a saga that is written once, with places for what each run is given.

Nothing that may change stands in it: what is not given, and no plain value either, a list, say, is
written anew for each run, since whoever has written the saga may have changed it meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from py_api_saga import chance
from py_api_saga.filling import put
from py_api_saga.journal.format.json_text import ATOMS, are_plain, dumps
from py_api_saga.journal.format.tagging import tagged
from py_api_saga.journal.format.values import Values
from py_api_saga.placeholder import Hole, Placeholder


class Blanks(Values):
    """Writes arguments down with a mark in each place where a run's own come.

    Attributes:
        mark: A text that stands nowhere else.
        wanted: What comes in these places, in order: the number of a value; or an argument, or the
            keywords of a call, and whether it is one argument.
    """

    __slots__ = ("mark", "wanted")

    def __init__(self, values: Values) -> None:
        """Write as these do, without a codec."""
        self.names, self._codec = values.names, None
        self.mark = f"given {chance.digits(12)}"
        self.wanted: list[int | tuple[Any, bool]] = []

    def items(self, values: tuple[Any, ...]) -> list[Any]:
        """Make a JSON tree of a list of arguments."""
        return [*map(self._blank, values)]

    def tree(self, value: object) -> Any:
        """Mark keywords, which are written anew for each run."""
        self.wanted.append((value, False))
        return self.mark

    def _blank(self, value: Any) -> Any:
        kind = type(value)
        if kind in ATOMS and are_plain((value,)):
            return value
        if kind is Placeholder and all(type(key) in (str, int) for _, key in value.__saga_path__):
            return tagged(value, self.names)
        self.wanted.append(value.__saga_operation__ if kind is Hole else (value, True))
        return self.mark

    def stencil(self, trees: Sequence[Any]) -> Stencil:
        """Make a stencil of trees that were made by this."""
        text = ",".join([*map(dumps, trees)]).replace("%", "%%")
        return Stencil(text.replace(f'"{self.mark}"', "%s"), self.wanted)


class Stencil:
    """A text with places for what a run is given.

    Attributes:
        text: The text, with "%s" in each place.
        wanted: As in `Blanks`.
    """

    __slots__ = ("_numbers", "text", "wanted")

    def __init__(self, text: str, wanted: Sequence[int | tuple[Any, bool]]) -> None:
        """Keep a text."""
        self.text, self.wanted = text, wanted
        self._numbers = {number for number in wanted if type(number) is int}

    def filled(self, given: Sequence[Any], values: Values) -> str:
        """Write the text of a run.

        Raises:
            NotStorableError: An argument can't be stored.
        """
        texts = {number: _text(given[number], values) for number in self._numbers}
        written = [
            texts[want] if type(want) is int else _written(want, given, values)
            for want in self.wanted
        ]
        return self.text % tuple(written)


def _text(value: Any, values: Values) -> str:
    """Write an argument as it stands in a list of them."""
    return dumps(values.items((value,)))[1:-1]


def _written(want: Any, given: Sequence[Any], values: Values) -> str:
    value, is_argument = want
    value = put(value, given)
    return _text(value, values) if is_argument else dumps(values.tree(value))
