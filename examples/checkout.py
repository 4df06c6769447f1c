"""Place orders: reserve the goods, charge the card, book a courier; or do nothing at all.

Run it with `python examples/checkout.py`. Five orders meet five fates: one is placed, the second
card is declined, the third finds no courier, the fourth can be neither placed nor undone, and of
the fifth nobody knows whether a courier was booked: he is cancelled. The library logs the last two
(to stderr, as long as nobody has set up logging).
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
        self._lock = threading.Lock()

    def reserve(self, order: str, article: str, pieces: int) -> str:
        """Reserve once for each order; tells the shelf."""
        with self._lock:
            if order not in self.reservations:
                if self.free.get(article, 0) < pieces:
                    raise Refused(f"not enough of {article!r}")
                self.free[article] -= pieces
                self.reservations[order] = (article, pieces)
            return f"shelf {len(article)}"

    def release(self, order: str) -> None:
        """Put the goods back; an order that has nothing reserved is fine."""
        with self._lock:
            article, pieces = self.reservations.pop(order, (None, 0))
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
        """Book once for each order. Orders to Mars are booked too, but nobody hears of it."""
        with self._lock:
            if address == "the moon":
                raise Refused("no courier goes there")
            if order not in self.parcels:
                self.parcels[order] = f"parcel {next(self._numbers)} from {shelf} to {address}"
            if address == "Mars":
                raise TimeoutError("no answer")
            return self.parcels[order]

    def cancel(self, order: str) -> None:
        """Cancel what was booked for an order; if nothing was, that is fine."""
        with self._lock:
            self.parcels.pop(order, None)


stock = Stock(mug=3)
payments = Payments()
couriers = Couriers()


# An operation and its undo, side by side. An undo goes by what is known before its action is
# called, the number of the order, so that it works even if the answer was lost. The idempotency key
# stays the same however often one call is tried, so the service can count it once: a real call
# would carry it as a header.


def reserve(order: str, article: str, pieces: int) -> str:
    """Reserve the goods; tells the shelf."""
    return stock.reserve(order, article, pieces)


def release(order: str) -> None:
    """Undo `reserve`."""
    stock.release(order)


def charge(order: str, card: str, cents: int) -> str:
    """Charge the card."""
    return payments.charge(order, card, cents, key=current_operation().idempotency_key)


def refund(order: str) -> None:
    """Undo `charge`."""
    payments.refund(order, charge_key=current_operation().action_key)


def book_courier(order: str, address: str, shelf: str) -> str:
    """Book the courier."""
    return couriers.book(order, address, shelf)


def cancel_courier(order: str) -> None:
    """Undo `book_courier`. The last operation needs an undo too: its answer may be lost."""
    couriers.cancel(order)


def checkout(order: str, card: str, address: str) -> None:
    """Run one checkout and print how it ended."""
    saga = (
        SagaAssembler.saga(name="checkout")
        .operation((reserve, order, "mug", 1), (release, order))
        .operation((charge, order, card, 1200), (refund, order))
        .operation(
            (book_courier, order, address, result_of("reserve")),
            (cancel_courier, order),
        )
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
    """Place five orders, then look into every ledger."""
    checkout("order-1", card="visa", address="12 Elm Street")
    checkout("order-2", card="declined", address="3 Oak Lane")
    checkout("order-3", card="visa", address="the moon")
    checkout("order-4", card="visa", address="the moon")
    checkout("order-5", card="visa", address="Mars")
    print("stock:  ", stock.free, "reserved:", stock.reservations)
    print("bank:   ", payments.paid)
    print("parcels:", couriers.parcels)


if __name__ == "__main__":
    main()
