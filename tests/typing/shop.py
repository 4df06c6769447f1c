"""What the operations of right.py and wrong.py call."""

from collections.abc import Mapping
from typing import Any, Literal, Self, TypedDict

from py_api_saga import NOT_HAPPENED, SagaAssembler, happened


class Item(TypedDict):
    """A type that a checker cannot guess from a display."""

    sku: str


class Shop:
    """Has methods of each kind, can be made and can be called."""

    def __init__(self, name: str, size: int = 1) -> None:
        """Open a shop."""
        self.name = name
        self.size = size

    def sell(self, sku: str) -> str:
        """Sell by a method."""
        return f"{self.name} sells {sku}"

    def __call__(self, sku: str) -> str:
        """Sell by a callable object."""
        return self.sell(sku)

    @classmethod
    def open(cls, name: str) -> Self:
        """Open a shop by a class method."""
        return cls(name)

    @staticmethod
    def price(pieces: int) -> int:
        """Tell a price by a static method."""
        return pieces


class Shopping(SagaAssembler):
    """A subclass with a fluent method of its own."""

    def buy(self, sku: str) -> Self:
        """Reserve, and go on with the sentence."""
        return self.operation((reserve, sku), (release, sku))


def reserve(sku: str, pieces: int = 1) -> dict[str, str]:
    """Has a default."""
    return {sku: str(pieces)}


def release(sku: str, *, force: bool = False) -> None:
    """Has a keyword-only default."""


def charge(amount: float, currency: str = "EUR", *parts: str) -> str:
    """Takes a float, has a default, and takes as many more as one likes."""
    return f"{amount} {currency} {parts}"


def tidy() -> None:
    """Takes nothing."""


async def book(sku: str) -> str:
    """Is awaited."""
    return sku


def post(path: str, body: Mapping[str, object] | None = None) -> None:
    """Takes None, or a mapping of anything."""


def label(size: Literal["small", "large"]) -> None:
    """Takes one of two words."""


def pack(items: list[float], by: dict[str, object]) -> None:
    """Takes containers that are invariant."""


def ship(item: Item) -> None:
    """Takes a dict of one shape."""


def eight(a: int, b: str, c: int, d: str, e: int, f: str, g: int, h: str) -> None:
    """Takes as many arguments as are checked."""


def nine(a: int, b: str, c: int, d: str, e: int, f: str, g: int, h: str, i: float) -> None:
    """Takes more arguments than are checked."""


def asked(sku: str, pieces: int = 1) -> Any:
    """Tells what became of a reservation."""
    return happened({sku: pieces}) if sku else NOT_HAPPENED


async def asked_later(sku: str) -> Any:
    """Tells it later."""
    return asked(sku)
