r"""A Flask view that runs a checkout as a saga.

Start it with `python examples/flask_view.py`, or `flask --app examples/flask_view.py run -p 8000`;
then place an order:

    curl http://127.0.0.1:8000/checkout -H 'Content-Type: application/json' \
        -d '{"user": "ada", "article": "mug", "pieces": 1, "card": "visa", "address": "Elm Street"}'

The card "declined" is refused (409). For the address "nowhere" the answer of the courier is lost,
so nobody knows whether he comes: he is cancelled, and all else is undone (502). With the card
"no-refund" as well, the saga is stuck (500). `GET /ledgers` shows what has been left.
"""

import argparse
import uuid
from dataclasses import dataclass

import httpx
from flask import Flask, Response, abort, jsonify, request
from remote_services import Entry, Service, bad_card, no_trouble
from werkzeug.serving import ThreadedWSGIServer

from py_api_saga import SagaAssembler, SagaException, SagaStuck, current_operation, result_of

# --- Three services of others, each with an HTTP client. ---
#
# So that this runs by itself, a `Service` in this process answers each client. Leave out
# `transport=`, and the same client asks a real one.

PRICES = {"mug": 1200, "shirt": 2500}  # cents


def unknown_article(_: httpx.Request, entry: Entry) -> str | None:
    """Refuse to reserve what there is not."""
    article = entry["article"]
    return None if article in PRICES else f"we have no {article!r}"


stock = Service("R", unknown_article)
payments = Service("P", bad_card)
parcels = Service("C", no_trouble)


def client(name: str, service: Service) -> httpx.Client:
    """Make a client of a service. It may be used by many threads; its timeout ends each call."""
    transport = httpx.MockTransport(service)
    return httpx.Client(base_url=f"https://{name}.example", timeout=5, transport=transport)


warehouse = client("warehouse", stock)
bank = client("bank", payments)
couriers = client("couriers", parcels)


# --- The operations, each next to its undo. ---
#
# Every attempt of one call has the same idempotency key, and what is made is named by it, so the
# service makes it once. An undo knows the key of its action, and it was known before that was
# called: so it finds what the action did, if anything, also when the answer was lost.


class Refused(Exception):
    """A service said no. It did nothing, and asking again would not help."""


def make(service: httpx.Client, entry: Entry) -> Entry:
    """Have a service make an entry, once, however often it is asked."""
    reply = service.put(f"/entries/{current_operation().idempotency_key}", json=entry)
    if reply.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
        raise Refused(reply.json()["error"])
    reply.raise_for_status()
    made: Entry = reply.json()
    return made


def unmake(service: httpx.Client) -> None:
    """Have a service take back what the action made; if it never did, that is fine."""
    reply = service.delete(f"/entries/{current_operation().action_key}")
    if reply.status_code != httpx.codes.NOT_FOUND:
        reply.raise_for_status()


def reserve(user: str, article: str, pieces: int) -> Entry:
    """Reserve the goods."""
    return make(warehouse, {"user": user, "article": article, "pieces": pieces})


def release() -> None:
    """Undo `reserve`."""
    unmake(warehouse)


def charge(user: str, card: str, article: str, pieces: int) -> Entry:
    """Charge the card."""
    return make(bank, {"user": user, "card": card, "cents": PRICES[article] * pieces})


def refund() -> None:
    """Undo `charge`."""
    unmake(bank)


def book_courier(user: str, address: str, reservation: str) -> Entry:
    """Book a courier, who will ask for the goods by the number of the reservation."""
    return make(couriers, {"user": user, "address": address, "reservation": reservation})


def cancel_courier() -> None:
    """Undo `book_courier`."""
    unmake(couriers)


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
            refund,
        )
        .operation(
            (book_courier, order.user, order.address, result_of("reserve")["id"]),
            cancel_courier,
        )
        .operation((write_receipt, order.user))  # has no effect, so there is nothing to undo
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
