"""The demo's checkout, written as a user of the library writes one.

Each operation is one call to a service, beside the call that undoes it. Two habits make it safe:

* Every call sends its idempotency key. A call that is made twice, because the first answer was
  lost, counts once.
* An undo says what it undoes by the key of the *action*, which is known before the action is
  called. So it also works when nobody knows whether the action has happened.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from typing import Any

from py_api_saga import Observer, Retry, SagaAssembler, current_operation, result_of


@dataclass(frozen=True)
class Shop:
    """Where the three services listen, each as `host:port`."""

    stock: str
    payment: str
    courier: str


@dataclass(frozen=True)
class Order:
    """What a customer wants, and where it shall go."""

    id: str
    item: str
    quantity: int
    cents: int
    card: str
    city: str


class Refused(Exception):
    """A service said no, and would say so again."""


class Unavailable(Exception):
    """A service cannot help just now; it may be worth asking again."""


def checkout(shop: Shop, order: Order, observer: Observer) -> SagaAssembler:
    """Reserve, charge and book; if one of them fails, undo what was done before it.

    Run in order, it is a chain. Run all at once, the courier still waits: it needs the shelf that
    the reservation returns, and nothing is sent before it is paid.
    """
    again = Retry((Unavailable, ConnectionError), attempts=2, wait_initial=0.1, wait_jitter=0.0)
    return (
        SagaAssembler.saga(name="checkout", retry=again, observers=[observer])
        .operation((reserve, shop, order), (release, shop, order))
        .operation((charge, shop, order), (refund, shop, order))
        .operation(
            (book, shop, order, result_of("reserve")["shelf"]),
            (cancel, shop, order),
            after=["charge"],
        )
    )


def reserve(shop: Shop, order: Order) -> dict[str, Any]:
    """Put the goods aside; returns their `shelf`."""
    return post(shop.stock, "reserve", order=order.id, item=order.item, quantity=order.quantity)


def release(shop: Shop, order: Order) -> None:
    """Undo `reserve`."""
    post(shop.stock, "release", order=order.id, undoes=current_operation().action_key)


def charge(shop: Shop, order: Order) -> dict[str, Any]:
    """Take the money; returns a `receipt`."""
    return post(shop.payment, "charge", order=order.id, card=order.card, cents=order.cents)


def refund(shop: Shop, order: Order) -> None:
    """Undo `charge`."""
    undoes = current_operation().action_key
    post(shop.payment, "refund", order=order.id, card=order.card, undoes=undoes)


def refund_by_hand(shop: Shop, order: Order) -> None:
    """Do what a person at the bank does: the key says that it is another request."""
    body = {"order": order.id, "card": order.card, "by": "ada"}
    _post(shop.payment, "refund", "by-hand", undoes=f"{order.id}:charge:action", **body)


def book(shop: Shop, order: Order, shelf: str) -> dict[str, Any]:
    """Have a courier fetch the goods; returns the `parcel`."""
    return post(shop.courier, "book", order=order.id, shelf=shelf, city=order.city)


def cancel(shop: Shop, order: Order) -> None:
    """Undo `book`."""
    post(shop.courier, "cancel", order=order.id, undoes=current_operation().action_key)


def post(address: str, path: str, **body: object) -> dict[str, Any]:
    """Ask a service to do something, once, however often it is asked.

    Raises:
        Refused: It answered 4xx.
        Unavailable: It answered 5xx.
        ConnectionError: The answer was lost.
        TimeoutError: No answer came in 5 seconds.
    """
    return _post(address, path, current_operation().idempotency_key, **body)


def _post(address: str, path: str, key: str, **body: object) -> dict[str, Any]:
    headers = {"Idempotency-Key": key}
    with closing(HTTPConnection(address, timeout=5.0)) as connection:
        connection.request("POST", f"/{path}", json.dumps(body), headers)
        response = connection.getresponse()
        answer: dict[str, Any] = json.load(response)
    if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise Unavailable(f"{response.status} {answer['error']}")
    if response.status >= HTTPStatus.BAD_REQUEST:
        raise Refused(f"{response.status} {answer['error']}")
    return answer
