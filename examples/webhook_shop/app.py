r"""The application.

With the shop running, place an order, and look at its page. Then be the customer at the bank, whose
address the shop has said when it started, and look again:

    curl http://127.0.0.1:8000/checkout -H 'Content-Type: application/json' \
        -d '{"order": "7", "article": "mug", "card": "visa"}'
    curl http://127.0.0.1:8000/orders/7
    curl http://127.0.0.1:PORT/app -d '{"payment": "P2", "confirm": true}'
    curl http://127.0.0.1:8000/orders/7

With `"confirm": false` the payment is declined, and the reservation is released. Kill the server
before you confirm, for an hour if you like: the bank sends its message until somebody hears it.
"""

import hashlib
import hmac
import json
import os
import time
from pathlib import Path
from typing import Any

from flask import Flask, Request, abort, jsonify, request, url_for
from flask.typing import ResponseReturnValue

from py_api_saga import SagaPending, SagaStatus, saga_status
from py_api_saga.contrib.flask import install
from py_api_saga.contrib.webhooks import NotVerified, Verified
from py_api_saga.contrib.webhooks.flask import saga_webhook
from webhook_shop.operations import CHECKOUT, PRICES, Refused, sagas

SECRET = os.environ.get("BANK_SECRET", "of an example").encode()
TOLERANCE = 300.0  # seconds between two clocks, and on the way
WORDS = {
    SagaStatus.RUNNING: "we are working on it",
    SagaStatus.COMPENSATING: "it could not be done, and is being undone",
    SagaStatus.COMPENSATED: "it could not be done, and nothing was paid",
    SagaStatus.STUCK: "something went wrong: we are looking into it",
    SagaStatus.COMPLETED: "it is on its way",
}


def create_app(settings: dict[str, Any] | None = None) -> Flask:
    """Make the application; settings are those of a test."""
    app = Flask("webhook_shop")
    app.config.update(settings or settings_of_the_environment())
    sagas.init_app(app)
    install(app, refusals=[Refused])

    @app.post("/checkout")
    def checkout() -> ResponseReturnValue:
        """Check out: as far as the bank, which tells us later what the customer has done."""
        wish = request.get_json()
        if wish["article"] not in PRICES:
            abort(400)
        page = url_for("order", number=wish["order"])
        saga = CHECKOUT.given(article=wish["article"], card=wish["card"])
        try:
            saga.orchestrator_execute(saga_id=f"order-{wish['order']}")
        except SagaPending:
            return jsonify(order=wish["order"], page=page), 202
        return jsonify(order=wish["order"], page=page), 201

    @app.get("/orders/<number>")
    def order(number: str) -> ResponseReturnValue:
        """Show where an order stands, also while it waits."""
        stands = saga_status(sagas.journal, f"order-{number}")
        if stands is None:
            abort(404)
        says = "please confirm the payment" if stands.awaited else WORDS[stands.status]
        return jsonify(order=number, status=stands.status.value, says=says)

    app.post("/webhooks/bank")(saga_webhook(sagas)(said_by_the_bank))
    return app


def said_by_the_bank(request: Request, body: bytes) -> Verified | None:
    """Read what the bank says, if it is the bank: it has signed the time and the body."""
    said = dict(
        part.split("=", 1)
        for part in request.headers.get("Bank-Signature", "").split(",")
        if "=" in part
    )
    at = said.get("t", "")
    good = hmac.new(SECRET, f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(good.encode(), said.get("v1", "").encode()):
        raise NotVerified("the signature is wrong")
    if abs(time.time() - float(at)) > TOLERANCE:
        raise NotVerified("it was signed too long ago", status=400)
    event = json.loads(body)
    match event["type"]:
        case "payment.succeeded":
            return Verified(event["key"], result=event["payment"])
        case "payment.declined":
            return Verified(event["key"], error=Refused("the customer did not confirm"))
    return None


def settings_of_the_environment() -> dict[str, Any]:
    """Read where the journal is."""
    return {
        "SAGA_JOURNAL": Path(os.environ["FOLDER"], "sagas.db"),
        "SAGA_MODULES": ["webhook_shop.operations"],
    }
