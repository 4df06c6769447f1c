"""Book a journey by dependency: what can run at once does, what needs a result waits for it.

Run it with `python examples/travel.py`. Flight and hotel are booked at the same time; the car
needs the hour of landing; the visa form only has to come after the hotel. If one of them fails,
what was booked is cancelled along the same lines, backwards.
"""

import threading
import time

from py_api_saga import SagaAssembler, SagaException, current_operation, result_of

ROUND_TRIP = 0.02  # seconds that a call to a remote service takes


class SoldOut(Exception):
    """There is nothing left to book."""


class Agency:
    """Stands for one remote service: a booking for each idempotency key."""

    def __init__(self, prefix: str) -> None:
        self.bookings: dict[str, str] = {}
        self._prefix = prefix
        self._number = 0
        self._lock = threading.Lock()

    def book(self, what: str) -> str:
        """Book once for each key; the same key gets the same number again."""
        key = current_operation().idempotency_key
        time.sleep(ROUND_TRIP)
        with self._lock:
            if key not in self.bookings:
                self._number += 1
                self.bookings[key] = f"{self._prefix}{self._number} {what}"
            return self.bookings[key]

    def cancel(self) -> None:
        """Cancel what the action booked under its key; if it booked nothing, that is fine."""
        key = current_operation().action_key
        time.sleep(ROUND_TRIP)
        with self._lock:
            self.bookings.pop(key, None)


flights = Agency("F")
hotels = Agency("H")
cars = Agency("C")
offices = Agency("V")


def book_flight(traveller: str, to: str) -> dict[str, str]:
    """Book a flight; tells its number and when it lands."""
    return {"flight": flights.book(f"{traveller} to {to}"), "lands": "18:40"}


def book_hotel(traveller: str, city: str) -> str:
    """Book a room."""
    if city == "Atlantis":
        raise SoldOut(f"no room in {city}")
    return hotels.book(f"{traveller} in {city}")


def book_car(traveller: str, hour: str) -> str:
    """Book a car for the hour of landing."""
    return cars.book(f"{traveller} at {hour}")


def file_visa_form(traveller: str) -> str:
    """File the visa form, which asks for an address: there has to be a hotel first."""
    return offices.book(f"form of {traveller}")


def journey(traveller: str, city: str) -> SagaAssembler:
    """Say what to book, how to cancel it, and what needs what."""
    return (
        SagaAssembler.saga(name="journey")
        .operation((book_flight, traveller, city), flights.cancel)
        .operation((book_hotel, traveller, city), hotels.cancel)
        .operation((book_car, traveller, result_of("book_flight")["lands"]), cars.cancel)
        .operation((file_visa_form, traveller), offices.cancel, after=["book_hotel"])
    )


def travel(traveller: str, city: str) -> None:
    """Book one journey and print how it ended, and how long it took."""
    started = time.perf_counter()
    try:
        results = journey(traveller, city).choreography_execute(deadline=10)
    except SagaException as error:
        print(f"{traveller} stays at home: {error.operation_error}")
        for name, operation in error.operations.items():
            print(f"  {name}: {operation.status.value}")
    else:
        print(f"{traveller} goes to {city}:")
        for name in ("book_flight", "book_hotel", "book_car", "file_visa_form"):
            print(f"  {name}: {results[name]}")
    print(f"  took {(time.perf_counter() - started) * 1000:.0f} ms\n")


def main() -> None:
    """Book a journey that works and one that does not, then look into every ledger."""
    print(repr(journey("…", "…")), "\n")
    travel("Ada", "Lisbon")
    travel("Bob", "Atlantis")
    agencies = {"flights": flights, "hotels": hotels, "cars": cars, "offices": offices}
    for name, agency in agencies.items():
        print(f"{name}: {', '.join(agency.bookings.values())}")


if __name__ == "__main__":
    main()
