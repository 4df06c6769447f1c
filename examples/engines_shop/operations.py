"""What a checkout does: a row of the shop's own and two requests, each next to its undo.

Nothing here knows of an engine: the same saga runs in memory, in a journal, on DBOS, on Temporal.
"""

import os

import requests
from sqlalchemy.orm import Session

from engines_shop.models import Stock, sessions
from py_api_saga import SagaAssembler, given, result_of
from py_api_saga.contrib.barrier import once
from py_api_saga.contrib.http import gently
from py_api_saga.contrib.requests import SagaSession

PRICES = {"mug": 1200}  # cents
FINAL = {402, 422}  # what the services say when they mean no

services = SagaSession()


class Refused(Exception):
    """Somebody has said no: nothing was done there, and asking again would not help."""


def ask(path: str, **about: object) -> str:
    """Ask a service for something, and give the number of what it has made.

    The session sends the operation's idempotency key, by which a service knows what comes twice.
    """
    try:
        reply = services.post(f"{os.environ['SERVICES']}/{path}", json=about)
    except requests.HTTPError as error:
        if error.response.status_code in FINAL:
            raise Refused(error.response.json()["error"]) from error
        raise
    return str(reply.json().get("id"))


@once(using=sessions)
def reserve(session: Session, article: str) -> None:
    """Take one from its shelf, once, however often this is called under one key."""
    stock = session.get_one(Stock, article)
    if not stock.pieces:
        raise Refused(f"there is no {article} left")
    stock.pieces -= 1


@once(using=sessions)
def release(session: Session, article: str) -> None:
    """Put it back."""
    session.get_one(Stock, article).pieces += 1


def charge(card: str, article: str) -> str:
    """Have the bank charge the card."""
    print(f"process {os.getpid()} charges {card}", flush=True)
    return ask("charges", card=card, cents=PRICES[article])


def refund() -> None:
    """Have it give the money back: the session names what is to be undone."""
    ask("refunds")


def send(article: str, payment: str) -> str:
    """Have the warehouse send it, with the number of the payment on the invoice."""
    return ask("parcels", article=article, payment=payment)


def call_back() -> None:
    """Have the parcel come back."""
    ask("returns")


CHECKOUT = (
    SagaAssembler.saga(name="checkout", compensation_retry=gently)
    .operation((reserve, given("article")), (release, given("article")))
    .operation((charge, given("card"), given("article")), refund, retry=gently)
    .operation((send, given("article"), result_of("charge")), call_back, retry=gently)
)
