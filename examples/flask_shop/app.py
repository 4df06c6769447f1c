r"""The application.

With the shop running, place an order, and look at its page:

    curl http://127.0.0.1:8000/checkout -H 'Content-Type: application/json' \
        -d '{"order": "7", "article": "mug", "card": "visa"}'
    curl http://127.0.0.1:8000/orders/7

The card "declined" is refused (409). With the card "slow" there is time to kill the server in the
middle of the charge; its worker finishes the order.
"""

import os
from typing import Any

from flask import Flask, abort, jsonify, request, url_for
from flask.typing import ResponseReturnValue

from flask_shop.models import Order, db
from flask_shop.operations import CHECKOUT, PRICES, Refused, sagas
from py_api_saga import SagaStatus, saga_status
from py_api_saga.contrib.flask import install
from py_api_saga.journal import PostgreSQLJournal

LEASE = 5.0  # seconds for which a process that died keeps its orders; 30 unless you say so
WORDS = {
    SagaStatus.RUNNING: "we are working on it",
    SagaStatus.COMPENSATING: "it could not be done, and is being undone",
    SagaStatus.COMPENSATED: "it could not be done, and nothing was charged",
    SagaStatus.STUCK: "something went wrong: we are looking into it",
    SagaStatus.COMPLETED: "it is on its way",
}


def create_app(settings: dict[str, Any] | None = None) -> Flask:
    """Make the application; settings are those of a test."""
    app = Flask("flask_shop")
    app.config.update(settings or settings_of_the_environment())
    db.init_app(app)
    sagas.init_app(app)
    install(app, refusals=[Refused])

    @app.cli.command("create-tables")
    def create_tables() -> None:
        """Make the tables of the shop, and those of the journal."""
        db.create_all()
        sagas.journal.create_schema()

    @app.post("/checkout")
    def checkout() -> ResponseReturnValue:
        """Check out. The number comes with the form, so a button that is pressed twice is one."""
        wish = request.get_json()
        if wish["article"] not in PRICES:
            abort(400)
        saga = CHECKOUT.given(order=wish["order"], article=wish["article"], card=wish["card"])
        saga.orchestrator_execute(saga_id=f"order-{wish['order']}", deadline=20)
        return jsonify(order=wish["order"], page=url_for("order", number=wish["order"])), 201

    @app.get("/orders/<number>")
    def order(number: str) -> ResponseReturnValue:
        """Show where an order stands, also while it is worked on or recovered."""
        stands = saga_status(sagas.journal, f"order-{number}")
        if stands is None:
            abort(404)
        row = db.session.get(Order, number)
        return jsonify(
            order=number,
            status="new" if row is None else row.status,
            payment=None if row is None else row.payment,
            says=WORDS[stands.status],
        )

    return app


def settings_of_the_environment() -> dict[str, Any]:
    """Read where the database and the services are; the journal is in the same database."""
    url = os.environ["DATABASE_URL"]
    return {
        "SQLALCHEMY_DATABASE_URI": url.replace("postgresql://", "postgresql+psycopg://"),
        "SAGA_JOURNAL": PostgreSQLJournal(url, modules=["flask_shop.operations"], lease=LEASE),
        "SAGA_MODULES": ["flask_shop.operations"],
        "SERVICES": os.environ["SERVICES"],
    }
