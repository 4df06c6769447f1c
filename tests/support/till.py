"""A small world to explore: a shop whose services keep keys, and a saga that is right with it."""

from __future__ import annotations

from typing import Any

from py_api_saga import SagaAssembler, current_operation


class Declined(Exception):
    """A service said no."""


class Stock:
    """Holds pieces, by key."""

    def __init__(self) -> None:
        self.free = 10
        self.held: dict[str, int] = {}

    def reserve(self, key: str, pieces: int) -> str:
        if key not in self.held:
            self.free -= pieces
            self.held[key] = pieces
        return key

    def release(self, key: str) -> None:
        self.free += self.held.pop(key, 0)


class Bank:
    """Takes charges, by key; one that was refunded is refused."""

    def __init__(self) -> None:
        self.charges: dict[str, int] = {}
        self.refunded: set[str] = set()

    def charge(self, key: str, cents: int) -> str:
        if key in self.refunded:
            raise Declined
        self.charges[key] = cents
        return key

    def refund(self, key: str) -> None:
        self.refunded.add(key)
        self.charges.pop(key, None)


class Shop:
    """The world."""

    def __init__(self) -> None:
        self.stock = Stock()
        self.bank = Bank()

    def ledgers(self) -> dict[str, Any]:
        """What stands."""
        return {"free": self.stock.free, "charged": sorted(self.bank.charges.values())}


def key() -> str:
    """The key of this call."""
    return current_operation().idempotency_key


def action_key() -> str:
    """The key of the action that is undone."""
    return current_operation().action_key


def order(shop: Shop, **options: Any) -> SagaAssembler:
    """The saga as it should be; an option changes a function, or the options of an operation."""
    f: dict[str, Any] = {
        "reserve": lambda: shop.stock.reserve(key(), 2),
        "release": lambda: shop.stock.release(action_key()),
        "charge": lambda: shop.bank.charge(key(), 1200),
        "refund": lambda: shop.bank.refund(action_key()),
        "reserving": {},
        "charging": {},
    } | options
    return (
        SagaAssembler.saga(name="order")
        .operation(f["reserve"], f["release"], name="reserve", **f["reserving"])
        .operation(f["charge"], f["refund"], name="charge", **f["charging"])
    )
