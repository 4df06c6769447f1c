"""A shop with three services, and its checkout as it should be: what the mistakes are made in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from py_api_saga import SagaAssembler, current_operation


class Refused(Exception):
    """A service says no, and has done nothing."""


class Stock:
    """Counts what is free; a key holds what it has reserved, and is in the log for good."""

    def __init__(self) -> None:
        self.free = 10
        self.held: dict[str, int] = {}
        self.log: set[str] = set()

    def reserve(self, key: str, pieces: int) -> str:
        """Reserve once for each key."""
        if key not in self.held:
            self.free -= pieces
            self.held[key] = pieces
            self.log.add(key)
        return key

    def release(self, key: str) -> None:
        """Put back what a key holds, if anything."""
        self.free += self.held.pop(key, 0)


class Bank:
    """Holds the money of each key, and takes none for a key that was refunded."""

    def __init__(self) -> None:
        self.held: dict[str, int] = {}
        self.paid_out: list[int] = []
        self._receipts: dict[str, str] = {}
        self._refunded: set[str] = set()
        self.pending: dict[str, int] = {}
        self.asked: dict[str, float] = {}  # since when a key is to be paid back

    def charge(self, key: str, cents: int) -> str:
        """Charge once for each key."""
        if key in self._refunded:
            raise Refused("it was refunded before it came")
        self.held[key] = cents
        self._receipts[key] = key
        return key

    def charge_anew(self, cents: int) -> str:
        """Charge, whoever asks, and however often."""
        number = f"charge {len(self.held) + 1}"
        self.held[number] = cents
        return number

    def refund(self, key: str) -> None:
        """Give back what a key has paid, and refuse it from now on."""
        self._refunded.add(key)
        self.held.pop(key, None)
        self.pending.pop(key, None)

    def refund_and_forget(self, key: str) -> None:
        """Give back what a key has paid."""
        self.held.pop(key, None)

    def begin(self, key: str, cents: int) -> None:
        """Ask the customer for the money of a key, who has yet to confirm it."""
        if key in self._refunded:
            raise Refused("it was refunded before it came")
        if key not in self.held:
            self.pending[key] = cents

    def confirm(self, key: str) -> str:
        """Take the money of a key, which the customer has confirmed, unless that was cancelled."""
        if key in self._refunded:
            raise Refused("it was cancelled")
        self.held[key] = self.pending.pop(key, 0) or self.held[key]
        return key

    def turn_down(self, key: str) -> Exception:
        """Let the customer turn it down."""
        self.pending.pop(key, None)
        return Refused("the card has expired")

    def pay_out(self, cents: int) -> None:
        """Pay, whoever asks, and however often."""
        self.paid_out.append(cents)

    def fetch_receipt(self, key: str) -> str | None:
        """Give the receipt of a key to whoever comes for it first."""
        return self._receipts.pop(key, None)


class Courier:
    """Sends a van for each key."""

    def __init__(self) -> None:
        self.vans: dict[str, str] = {}

    def book(self, key: str) -> str:
        """Send one van for each key."""
        return self.vans.setdefault(key, "a van")

    def cancel(self, key: str) -> None:
        """Call back the van of a key, if there is one."""
        self.vans.pop(key, None)


class Shop:
    """The world of a schedule."""

    def __init__(self) -> None:
        self.stock, self.bank, self.courier = Stock(), Bank(), Courier()
        self.mails: list[str] = []

    def ledgers(self) -> Mapping[str, object]:
        """Give what stands at the services, and what cannot be taken back."""
        return {
            "free stock": self.stock.free,
            "reserved": sorted(self.stock.held.values()),
            "money": sum(self.bank.held.values()) - sum(self.bank.paid_out),
            "vans": len(self.courier.vans),
            "mails": len(self.mails),
        }


SERVICES = ("stock", "bank", "courier")


def key() -> str:
    """Give the key of the call that is running."""
    return current_operation().idempotency_key


def undone() -> str:
    """Give the key of the action that is being undone."""
    return current_operation().action_key


def checkout(shop: Shop, **changed: Any) -> SagaAssembler:
    """Make the checkout as it should be, but for what is changed.

    Args:
        shop: Whose services are asked.
        changed: A function by the name of its part, None for an undo that is left out, or the
            options of an operation by its name: `charging={"timeout": 5}`.
    """
    part: dict[str, Any] = {
        "reserve": lambda: shop.stock.reserve(key(), 2),
        "release": lambda: shop.stock.release(undone()),
        "reserving": {},
        "charge": lambda: shop.bank.charge(key(), 1200),
        "refund": lambda: shop.bank.refund(undone()),
        "charging": {},
        "book": lambda: shop.courier.book(key()),
        "cancel": lambda: shop.courier.cancel(undone()),
        "booking": {},
    } | changed
    saga = SagaAssembler.saga(name="checkout")
    for action, undo, options in (
        ("reserve", "release", "reserving"),
        ("charge", "refund", "charging"),
        ("book", "cancel", "booking"),
    ):
        calls = (part[action],) if part[undo] is None else (part[action], part[undo])
        saga.operation(*calls, name=action, **part[options])
    return saga
