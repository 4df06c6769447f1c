"""Tests of the shop, as a user writes them: `SERVICES=… pytest webhook_shop`."""

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from requests_mock import Mocker
from shop_services import answer, confirm, forget, ledger, signature

from py_api_saga import current_operation, recover
from py_api_saga.journal import MemoryJournal
from py_api_saga.testing import explore
from webhook_shop import create_app
from webhook_shop.operations import CHECKOUT, Refused, sagas

KEYS = ("Idempotency-Key", "Saga-Undoes")
SERVICES = os.environ["SERVICES"]
SHOP = os.environ.setdefault("SHOP", "http://shop.example")


@pytest.fixture
def client() -> Iterator[FlaskClient]:
    """A client of a shop with a journal in memory."""
    journal = MemoryJournal(modules=["webhook_shop.operations"])
    app = create_app({"SAGA_JOURNAL": journal, "TESTING": True})
    with app.app_context():
        yield app.test_client()


@pytest.fixture(autouse=True)
def services(requests_mock: Mocker) -> Mocker:
    """The warehouse and the bank of the examples, played in this process."""

    def asked(request: Any, context: Any) -> Any:
        key, undoes = (request.headers.get(name) for name in KEYS)
        context.status_code, said = answer(request.path[1:], key, undoes, request.json())
        return said

    forget()
    for path in ("reservations", "payments", "parcels"):
        requests_mock.post(f"{SERVICES}/{path}", json=asked)
    for path in ("cancellations", "payment_cancellations", "returns"):
        requests_mock.post(f"{SERVICES}/{path}", json=asked)
    requests_mock.get(f"{SERVICES}/", json=lambda *_: ledger)
    return requests_mock


def check_out(client: FlaskClient, order: str = "7") -> int:
    """Place an order, and give the status of the answer."""
    wish = {"order": order, "article": "mug", "card": "visa"}
    return client.post("/checkout", json=wish).status_code


def decide(client: FlaskClient, *, yes: bool, at: float | None = None) -> list[int]:
    """Have the customer decide, and the bank say so twice; give what it is answered."""
    [payment] = ledger["payments"].values()
    news = confirm(payment["id"], yes=yes)
    assert news is not None
    address, body = news
    assert address == f"{SHOP}/webhooks/bank"
    signed = signature(body, time.time() if at is None else at)
    return [client.post("/webhooks/bank", data=body, headers=signed).status_code for _ in range(2)]


def page(client: FlaskClient) -> Any:
    """Give what the page of the order says."""
    return client.get("/orders/7").get_json()["says"]


def stands() -> dict[str, int]:
    """Count what there is of each."""
    return {what: len(made) for what, made in ledger.items() if made}


def test_an_order_waits_for_the_bank_and_is_sent_when_that_has_answered(
    client: FlaskClient,
) -> None:
    """The customer may press the button twice; a worker goes on."""
    assert check_out(client) == check_out(client) == 202
    assert page(client) == "please confirm the payment"

    assert decide(client, yes=True) == [200, 200]
    recover(sagas.journal, around=[sagas.around])

    assert page(client) == "it is on its way"
    assert check_out(client) == 201
    assert stands() == {"reservations": 1, "payments": 1, "parcels": 1}


def test_a_customer_who_does_not_confirm_gets_nothing(client: FlaskClient) -> None:
    """Nothing is paid, so there is nothing to cancel; the reservation is released."""
    check_out(client)

    assert decide(client, yes=False) == [200, 200]
    recover(sagas.journal, around=[sagas.around])

    assert page(client) == "it could not be done, and nothing was paid"
    assert check_out(client) == 409
    assert stands() == {"payments": 1}  # declined: the bank keeps it in its books


def test_only_the_bank_can_say_that_it_is_paid(client: FlaskClient) -> None:
    """Whoever knows the key does not know the secret; and an old message is not a new one."""
    check_out(client)
    [key] = ledger["payments"]
    forged = {"type": "payment.succeeded", "key": key, "payment": "P1"}
    unsigned = client.post("/webhooks/bank", json=forged)
    wrong = client.post("/webhooks/bank", json=forged, headers={"Bank-Signature": "t=1,v1=é"})

    assert (unsigned.status_code, wrong.status_code) == (403, 403)
    assert decide(client, yes=True, at=time.time() - 3600) == [400, 400]
    assert page(client) == "please confirm the payment"


def test_what_is_for_another_shop_comes_again_there(client: FlaskClient) -> None:
    """It is not this one's, and must not be lost."""
    body = b'{"type": "payment.succeeded", "key": "order-8:pay:action", "payment": "P9"}'

    told = client.post("/webhooks/bank", data=body, headers=signature(body, time.time()))

    assert told.status_code == 404


def test_an_order_is_whole_or_nothing(client: FlaskClient) -> None:  # noqa: ARG001 - its context
    """Whatever goes wrong, once, in any operation, any request, and in what the bank says."""

    def shop() -> None:
        forget()

    def decided(*, yes: bool) -> str | Refused:
        payment = ledger["payments"].get(current_operation().idempotency_key)
        if payment is None or confirm(payment["id"], yes=yes) is None or not yes:
            return Refused("the customer did not confirm, or it was cancelled before")
        return str(payment["id"])

    def confirmed(_: None) -> str | Refused:
        return decided(yes=True)

    def declined(_: None) -> str | Refused:
        return decided(yes=False)

    def standing(_: None) -> dict[str, int]:
        counted = stands()
        paid = [one for one in ledger["payments"].values() if one["status"] != "declined"]
        return {**counted, "payments": len(paid)}

    order = {"article": "mug", "card": "visa"}
    explore(
        lambda _: CHECKOUT.given(**order),
        world=shop,
        state=standing,
        answers={"pay": (confirmed, declined)},
    )


def test_an_order_that_there_is_not_has_no_page(client: FlaskClient) -> None:
    """And an article that there is not cannot be ordered."""
    assert client.get("/orders/8").status_code == 404
    moon = {"order": "8", "article": "moon", "card": "visa"}
    assert client.post("/checkout", json=moon).status_code == 400
