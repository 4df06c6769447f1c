r"""A Flask view that runs a checkout as a saga.

Start it with `python examples/flask_view.py`, or `flask --app examples/flask_view.py run -p 8000`;
then place an order:

    curl http://127.0.0.1:8000/checkout -H 'Content-Type: application/json' \
        -d '{"user": "ada", "article": "mug", "pieces": 1, "card": "visa", "address": "Elm Street"}'

The card "declined" is refused (409). For the address "nowhere" the courier fails (502); with the
card "no-refund" as well, the saga is stuck (500). `GET /ledgers` shows what has been left.
"""

import argparse
import threading
import time
import uuid
from dataclasses import dataclass
from itertools import count

from flask import Flask, Response, abort, jsonify, request
from werkzeug.serving import ThreadedWSGIServer

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

app = Flask(__name__)


@app.post("/checkout")
def checkout() -> tuple[Response, int]:
    """Place an order, or change nothing."""
    try:
        order = Order(**request.get_json())
    except TypeError:
        abort(400, "expected user, article, pieces, card and address")
    # The id names the attempt, not the order: a customer may try again.
    saga_id = f"checkout-{uuid.uuid4().hex}"
    # Give up well before the web server's own limit, so that there is time to undo.
    results = checkout_of(order).orchestrator_execute(saga_id=saga_id, deadline=20)
    return jsonify(
        saga=saga_id,
        reservation=results["reserve"],
        payment=results["charge"],
        parcel=results["book_courier"],
        receipt=results["write_receipt"],
    ), 201


@app.errorhandler(SagaException)
def undone(error: SagaException) -> tuple[Response, int]:
    """Answer for a saga that was undone: 409 if a service refused, 502 if one failed."""
    app.logger.warning("%s: %s", error.saga_id, error)
    refused = isinstance(error.operation_error, Refused)
    reason = str(error.operation_error) if refused else "please try again later"
    body = {"saga": error.saga_id, "failed": error.operation_name, "error": reason}
    return jsonify(body), 409 if refused else 502


@app.errorhandler(SagaStuck)
def stuck(error: SagaStuck) -> tuple[Response, int]:
    """Answer for a saga that could not be undone either, and call a person."""
    app.logger.critical("%s: %s", error.saga_id, error)
    body = {"saga": error.saga_id, "stuck": list(error.stuck), "error": "we are looking into it"}
    return jsonify(body), 500


@app.get("/ledgers")
def ledgers() -> Response:
    """Show what every service holds."""
    return jsonify(stock=stock.entries(), payments=payments.entries(), parcels=parcels.entries())


class Server(ThreadedWSGIServer):
    """Werkzeug's server, a thread for each request. In production, take gunicorn or the like."""

    # Connections that may wait to be accepted. With the usual 128, the kernel drops some of a
    # burst of 200, and those clients try again only a second later.
    request_queue_size = 512


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Serve a checkout that runs as a saga.")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    server = Server("127.0.0.1", parser.parse_args(arguments).port, app)
    print(f"Serving on http://127.0.0.1:{server.port}/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("Stopped.")


if __name__ == "__main__":
    main()
