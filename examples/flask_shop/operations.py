"""What a checkout does: two rows and two requests, each next to its undo.

A row is committed when its operation has returned, and rolled back if it raises. The session sends
the operation's idempotency key with each request, and tells a final no from a lost answer.
"""

import requests
from flask import current_app

from flask_shop.models import Order, db
from py_api_saga import given, result_of
from py_api_saga.contrib.flask import Sagas
from py_api_saga.contrib.http import gently
from py_api_saga.contrib.requests import SagaSession

PRICES = {"mug": 1200, "shirt": 2500}  # cents
FINAL = {402, 422}  # what the services say when they mean no

sagas = Sagas(db=db)
session = SagaSession()


class Refused(Exception):
    """A service has said no: nothing was done there, and asking again would not help."""


def ask(path: str, **about: object) -> str:
    """Ask a service for something, and give the number of what it has made."""
    try:
        reply = session.post(f"{current_app.config['SERVICES']}/{path}", json=about)
    except requests.HTTPError as error:
        if error.response.status_code in FINAL:
            raise Refused(error.response.json()["error"]) from error
        raise
    return str(reply.json().get("id"))


def create_order(order: str, article: str) -> None:
    """Write the order down; once more is the same, since it has its number already."""
    if db.session.get(Order, order) is None:
        db.session.add(Order(id=order, article=article, status="new"))


def fail_order(order: str) -> None:
    """Keep the order, so that its page can say what became of it: nothing stands any more."""
    if (found := db.session.get(Order, order)) is not None:
        found.status, found.reservation, found.payment = "failed", None, None


def reserve(article: str) -> str:
    """Have the warehouse put the article aside."""
    return ask("reservations", article=article)


def release() -> None:
    """Have it put back: the session names what is to be undone."""
    ask("cancellations")


def charge(card: str, article: str) -> str:
    """Have the bank charge the card."""
    return ask("charges", card=card, cents=PRICES[article])


def refund() -> None:
    """Have it give the money back."""
    ask("refunds")


def place_order(order: str, reservation: str, payment: str) -> None:
    """Note that all is done."""
    found = db.session.get_one(Order, order)
    found.status, found.reservation, found.payment = "placed", reservation, payment


CHECKOUT = (
    sagas.saga(name="checkout", compensation_retry=gently)
    .operation((create_order, given("order"), given("article")), (fail_order, given("order")))
    .operation((reserve, given("article")), release, retry=gently)
    .operation((charge, given("card"), given("article")), refund, retry=gently)
    .operation((place_order, given("order"), result_of("reserve"), result_of("charge")))
)
