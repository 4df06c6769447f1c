r"""A Django view that runs a checkout as a saga, with the whole project in this file.

Start it with `python examples/django_view.py runserver 127.0.0.1:8000 --noreload`, or give
`application` to a WSGI server; then place an order:

    curl http://127.0.0.1:8000/checkout -H 'Content-Type: application/json' \
        -d '{"user": "ada", "article": "mug", "pieces": 1, "card": "visa", "address": "Elm Street"}'

The card "declined" is refused (409). For the address "nowhere" the courier fails (502); with the
card "no-refund" as well, the saga is stuck (500). `GET /ledgers` shows what has been left.
"""

import json
import logging
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from itertools import count

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.servers.basehttp import WSGIServer
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

from py_api_saga import SagaAssembler, SagaException, SagaStuck, current_operation, result_of

# --- Stand-ins for remote services. Yours are HTTP clients, SDKs or models. ---

Entry = dict[str, object]


class Refused(Exception):
    """A service said no. It did nothing, and asking again would not help."""


class Ledger:
    """Stands for a remote service: one entry for each idempotency key, however often it comes."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._entries: dict[str, Entry] = {}
        self._numbers = count(1)
        self._lock = threading.Lock()

    def add(self, key: str, **entry: object) -> Entry:
        """Make an entry and return it; the same key gets the same entry again."""
        time.sleep(0.005)  # the way there and back
        with self._lock:
            if key not in self._entries:
                self._entries[key] = {"id": f"{self._prefix}{next(self._numbers)}", **entry}
            return self._entries[key]

    def remove(self, key: str) -> None:
        """Take an entry back; if there is none, that is fine."""
        time.sleep(0.005)
        with self._lock:
            self._entries.pop(key, None)

    def entries(self) -> list[Entry]:
        """Return what has been entered and not taken back."""
        with self._lock:
            return list(self._entries.values())


stock = Ledger("R")
payments = Ledger("P")
parcels = Ledger("C")

PRICES = {"mug": 1200, "shirt": 2500}  # cents


# --- The operations, each next to its undo. ---
#
# Every attempt of one call carries the same idempotency key (a real call sends it as a header), so
# a service counts it once. An undo knows the key of its action: it finds what the action did, if
# anything, even when the answer to the action was lost.


def reserve(user: str, article: str, pieces: int) -> Entry:
    """Reserve the goods."""
    if article not in PRICES:
        raise Refused(f"we have no {article!r}")
    return stock.add(current_operation().idempotency_key, user=user, article=article, pieces=pieces)


def release() -> None:
    """Undo `reserve`."""
    stock.remove(current_operation().action_key)


def charge(user: str, card: str, article: str, pieces: int) -> Entry:
    """Charge the card."""
    cents = PRICES[article] * pieces
    if card == "declined":
        raise Refused("the card was declined")
    return payments.add(current_operation().idempotency_key, user=user, card=card, cents=cents)


def refund(card: str) -> None:
    """Undo `charge`."""
    if card == "no-refund":
        raise ConnectionRefusedError("the bank does not answer")
    payments.remove(current_operation().action_key)


def book_courier(user: str, address: str, reservation: str) -> Entry:
    """Book a courier, who will ask for the goods by the number of the reservation."""
    if address == "nowhere":
        raise ConnectionRefusedError("the courier does not answer")
    key = current_operation().idempotency_key
    return parcels.add(key, user=user, address=address, reservation=reservation)


def cancel_courier() -> None:
    """Undo `book_courier`."""
    parcels.remove(current_operation().action_key)


def write_receipt(user: str) -> Entry:
    """Sum up what this saga has done so far: nobody else's results are in sight."""
    results = current_operation().results
    return {"user": user, "lines": {name: result["id"] for name, result in results.items()}}


@dataclass(frozen=True)
class Order:
    """What a customer sends as JSON."""

    user: str
    article: str
    pieces: int
    card: str
    address: str


def checkout_of(order: Order) -> SagaAssembler:
    """Say what to do for an order and how to undo it; nothing runs yet."""
    return (
        SagaAssembler.saga(name="checkout")
        .operation((reserve, order.user, order.article, order.pieces), release)
        .operation(
            (charge, order.user, order.card, order.article, order.pieces),
            (refund, order.card),
        )
        .operation(
            (book_courier, order.user, order.address, result_of("reserve")["id"]),
            cancel_courier,
        )
        .operation((write_receipt, order.user))
    )


# --- The web side. ---

logger = logging.getLogger("shop")


def checkout(request: HttpRequest) -> JsonResponse:
    """Place an order, or change nothing."""
    try:
        order = Order(**json.loads(request.body))
    except (TypeError, ValueError):
        return JsonResponse(
            {"error": "expected user, article, pieces, card and address"}, status=400
        )
    body: dict[str, object]
    # The id names the attempt, not the order: a customer may try again.
    saga_id = f"checkout-{uuid.uuid4().hex}"
    try:
        # Give up well before the web server's own limit, so that there is time to undo.
        results = checkout_of(order).orchestrator_execute(saga_id=saga_id, deadline=20)
    except SagaStuck as error:
        # It could not be undone either: call a person.
        logger.critical("%s: %s", saga_id, error)
        body = {"saga": saga_id, "stuck": list(error.stuck), "error": "we are looking into it"}
        return JsonResponse(body, status=500)
    except SagaException as error:
        # Everything was undone: 409 if a service refused, 502 if one failed.
        logger.warning("%s: %s", saga_id, error)
        refused = isinstance(error.operation_error, Refused)
        reason = str(error.operation_error) if refused else "please try again later"
        body = {"saga": saga_id, "failed": error.operation_name, "error": reason}
        return JsonResponse(body, status=409 if refused else 502)
    body = {
        "saga": saga_id,
        "reservation": results["reserve"],
        "payment": results["charge"],
        "parcel": results["book_courier"],
        "receipt": results["write_receipt"],
    }
    return JsonResponse(body, status=201)


def ledgers(_request: HttpRequest) -> JsonResponse:
    """Show what every service holds."""
    services = {"stock": stock, "payments": payments, "parcels": parcels}
    return JsonResponse({name: service.entries() for name, service in services.items()})


urlpatterns = [
    path("checkout", require_POST(checkout)),
    path("ledgers", require_GET(ledgers)),
]

settings.configure(
    DEBUG=False,
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
)
application = get_wsgi_application()


def main(arguments: list[str]) -> None:
    """Run a command of Django's; without one, serve on port 8000."""
    # Connections that may wait to be accepted. With Django's 10, the kernel drops most of a burst
    # of 200, and those clients try again only seconds later.
    WSGIServer.request_queue_size = 512
    command = arguments or ["runserver", "127.0.0.1:8000", "--noreload"]
    execute_from_command_line([sys.argv[0], *command])


if __name__ == "__main__":
    main(sys.argv[1:])
