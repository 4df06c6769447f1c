"""Place orders: reserve the goods, charge the card, book a courier; or do nothing at all.

Run it with `python examples/checkout.py`. Four orders meet four fates: one is placed, the second
card is declined, the third finds no courier, and the fourth can be neither placed nor undone: the
library logs that as an error (to stderr, as long as nobody has set up logging).
"""

import threading
from itertools import count

from py_api_saga import SagaAssembler, SagaException, SagaStuck, current_operation, result_of


class Refused(Exception):
    """A service said no. It did nothing, and asking again would not help."""


class Stock:
    """Stands for the warehouse: what is free, and who has reserved what."""

    def __init__(self, **free: int) -> None:
        self.free = free
        self.reservations: dict[str, tuple[str, int]] = {}
        self._by_key: dict[str, str] = {}
        self._lock = threading.Lock()

    def reserve(self, article: str, pieces: int, *, key: str) -> dict[str, str]:
        """Reserve once for each key, however often the same call arrives."""
        with self._lock:
            if key not in self._by_key:
                if self.free.get(article, 0) < pieces:
                    raise Refused(f"not enough of {article!r}")
                self.free[article] -= pieces
                self._by_key[key] = f"R{len(self._by_key) + 1}"
                self.reservations[self._by_key[key]] = (article, pieces)
            return {"reservation": self._by_key[key], "shelf": f"shelf {len(article)}"}

    def release(self, reservation: str) -> None:
        """Put the goods back; a reservation that is gone already is fine."""
        with self._lock:
            article, pieces = self.reservations.pop(reservation, (None, 0))
            if article is not None:
                self.free[article] += pieces


class Payments:
    """Stands for the bank: which order has paid how many cents."""

    def __init__(self) -> None:
        self.paid: dict[str, int] = {}
        self._refunded: set[str] = set()
        self._lock = threading.Lock()

    def charge(self, order: str, card: str, cents: int, *, key: str) -> str:
        """Charge an order once. A charge that arrives after its refund is refused."""
        with self._lock:
            if card == "declined" or key in self._refunded:
                raise Refused("the card was declined")
            self.paid[order] = cents
            return f"{cents} cents from {card}"

    def refund(self, order: str, *, charge_key: str) -> None:
        """Give the money back, if there was any; from now on refuse a charge under that key."""
        with self._lock:
            if order == "order-4":
                raise ConnectionRefusedError("the bank does not answer")
            self._refunded.add(charge_key)
            self.paid.pop(order, None)


class Couriers:
    """Stands for the courier: which order is picked up where."""

    def __init__(self) -> None:
        self.parcels: dict[str, str] = {}
        self._numbers = count(1)
        self._lock = threading.Lock()

    def book(self, order: str, address: str, shelf: str) -> str:
        """Book once for each order."""
        with self._lock:
            if address == "the moon":
                raise Refused("no courier goes there")
            if order not in self.parcels:
                self.parcels[order] = f"parcel {next(self._numbers)} from {shelf} to {address}"
            return self.parcels[order]


stock = Stock(mug=3)
payments = Payments()
couriers = Couriers()


# An operation and its undo, side by side. The idempotency key stays the same however often one
# call is tried, so the service can count it once: a real call would carry it as a header.


def reserve(article: str, pieces: int) -> dict[str, str]:
    """Reserve the goods; tells the reservation and the shelf."""
    return stock.reserve(article, pieces, key=current_operation().idempotency_key)


def release(reserved: dict[str, str]) -> None:
    """Undo `reserve`, by what it returned."""
    stock.release(reserved["reservation"])


def charge(order: str, card: str, cents: int) -> str:
    """Charge the card."""
    return payments.charge(order, card, cents, key=current_operation().idempotency_key)


def refund(order: str) -> None:
    """Undo `charge`, by what was known before: works even if its answer was lost."""
    payments.refund(order, charge_key=current_operation().action_key)


def book_courier(order: str, address: str, shelf: str) -> str:
    """Book the courier. It is the last operation, so there is nothing to undo."""
    return couriers.book(order, address, shelf)


def checkout(order: str, card: str, address: str) -> None:
    """Run one checkout and print how it ended."""
    saga = (
        SagaAssembler.saga(name="checkout")
        .operation((reserve, "mug", 1), (release, result_of()))
        .operation((charge, order, card, 1200), (refund, order))
        .operation((book_courier, order, address, result_of("reserve")["shelf"]))
    )
    try:
        results = saga.orchestrator_execute(saga_id=order)
    except SagaStuck as stuck:
        print(f"{order} is STUCK, a person must look:\n{stuck}\n")
    except SagaException as error:
        print(f"{order} was undone:\n{error}\n")
    else:
        print(f"{order} is placed: {results['charge']}, {results['book_courier']}\n")


def main() -> None:
    """Place four orders, then look into every ledger."""
    checkout("order-1", card="visa", address="12 Elm Street")
    checkout("order-2", card="declined", address="3 Oak Lane")
    checkout("order-3", card="visa", address="the moon")
    checkout("order-4", card="visa", address="the moon")
    print("stock:  ", stock.free, "reserved:", stock.reservations)
    print("bank:   ", payments.paid)
    print("parcels:", couriers.parcels)


if __name__ == "__main__":
    main()
