"""What a checkout does: it reserves, has the customer pay, and sends the parcel.

The bank only begins a payment. The customer confirms it in an app, and the bank tells the shop by a
request of its own, which `app.py` receives. Until then the saga is a row of the journal.
"""

import os
from typing import Any

import requests

from py_api_saga import (
    NOT_HAPPENED,
    UNKNOWN,
    Later,
    current_operation,
    given,
    happened,
    later,
    result_of,
)
from py_api_saga.contrib.flask import Sagas
from py_api_saga.contrib.http import gently
from py_api_saga.contrib.requests import SagaSession

PRICES = {"mug": 1200, "shirt": 2500}  # cents
FINAL = {402, 422}  # what the services say when they mean no
PATIENCE = 2 * 86400.0  # seconds; at the bank a payment expires after one day

sagas = Sagas()
session = SagaSession()


class Refused(Exception):
    """A service has said no: nothing was done there, and asking again would not help."""


def ask(path: str, **about: object) -> str:
    """Ask a service for something, and give the number of what it has made."""
    try:
        reply = session.post(f"{os.environ['SERVICES']}/{path}", json=about)
    except requests.HTTPError as error:
        if error.response.status_code in FINAL:
            raise Refused(error.response.json()["error"]) from error
        raise
    return str(reply.json().get("id"))


def reserve(article: str) -> str:
    """Have the warehouse put the article aside."""
    return ask("reservations", article=article)


def release() -> None:
    """Have it put back: the session names what is to be undone."""
    ask("cancellations")


def pay(card: str, article: str) -> Later:
    """Have the bank begin a payment, under the key of this operation."""
    ask("payments", card=card, cents=PRICES[article], notify=f"{os.environ['SHOP']}/webhooks/bank")
    return later(timeout=PATIENCE)


def cancel_payment() -> None:
    """Have the bank cancel it, give the money back, or refuse it if it comes after this."""
    ask("payment_cancellations")


def was_it_paid(card: str, article: str) -> Any:  # noqa: ARG001 - those of the action
    """Ask the bank, when its own request has not come in time."""
    payments = session.get(f"{os.environ['SERVICES']}/").json()["payments"]
    payment = payments.get(current_operation().action_key, {})
    if payment.get("status") == "succeeded":
        return happened(payment["id"])
    if payment.get("status") == "declined":
        return NOT_HAPPENED
    return UNKNOWN  # it may still be confirmed, unless it is cancelled


def send(article: str, payment: str) -> str:
    """Have the warehouse send it, with the number of the payment on the invoice."""
    return ask("parcels", article=article, payment=payment)


def call_back() -> None:
    """Have the parcel come back."""
    ask("returns")


CHECKOUT = (
    sagas.saga(name="checkout", compensation_retry=gently)
    .operation((reserve, given("article")), release, retry=gently)
    .operation(
        (pay, given("card"), given("article")), cancel_payment, retry=gently, on_doubt=was_it_paid
    )
    .operation((send, given("article"), result_of("pay")), call_back, retry=gently)
)
