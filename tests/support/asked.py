"""A schedule that says what goes wrong at the places within an operation, and knows these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from py_api_saga.testing.places import within
from py_api_saga.testing.virtual import Place, replaced


class Died(BaseException):
    """The process did."""


class Asked:
    """Has a fault wherever that may be, or at the places of one name.

    Attributes:
        places: Where it was asked, in order, with what may go wrong there.
    """

    def __init__(self, fault: str | None, where: str = "") -> None:
        """Have it happen at the places whose name begins so."""
        self.fault, self.where = fault, where
        self.places: list[tuple[str, tuple[str, ...]]] = []

    def at(self, name: str, kinds: tuple[str, ...]) -> str | None:
        """Pass a place."""
        self.places.append((name, kinds))
        return self.fault if self.fault in kinds and name.startswith(self.where) else None

    def refusal(self, _: str, error: Exception) -> Exception:
        """Refuse as always."""
        return error

    def check_alive(self) -> None:
        """Die only once."""

    def die(self) -> NoReturn:
        """End the process."""
        raise Died


@contextmanager
def going_wrong(patches: Iterable[Place], fault: str | None, where: str = "") -> Iterator[Asked]:
    """Have a fault at the places of a block, as in an operation."""
    with replaced(patches), in_operation(fault, where) as here:
        yield here


@contextmanager
def in_operation(fault: str | None, where: str = "") -> Iterator[Asked]:
    """Be in an operation of a schedule, in a block."""
    here = Asked(fault, where)
    token = within.set(here)
    try:
        yield here
    finally:
        within.reset(token)
