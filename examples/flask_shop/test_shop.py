"""Tests of the shop, as a user writes them: `pytest flask_shop`."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from requests_mock import Mocker
from shop_services import answer, forget, ledger

from flask_shop import create_app
from flask_shop.models import Order, db
from flask_shop.operations import CHECKOUT
from py_api_saga.journal import MemoryJournal
from py_api_saga.testing import explore

KEYS = ("Idempotency-Key", "Saga-Undoes")
SERVICES = "http://services.example"


@pytest.fixture
def client() -> Iterator[FlaskClient]:
    """A client of a shop with its own database, and a journal in memory."""
    app = create_app(
        {
            "SQLALCHEMY_DATABASE_URI": "sqlite://",
            "SAGA_JOURNAL": MemoryJournal(modules=["flask_shop.operations"]),
            "SERVICES": SERVICES,
            "TESTING": True,
        }
    )
    with app.app_context():
        db.create_all()
    yield app.test_client()
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def services(requests_mock: Mocker) -> Mocker:
    """Services at which all goes well."""
    requests_mock.post(f"{SERVICES}/reservations", status_code=201, json={"id": "R1"})
    requests_mock.post(f"{SERVICES}/charges", status_code=201, json={"id": "C2"})
    requests_mock.post(f"{SERVICES}/cancellations", json={})
    requests_mock.post(f"{SERVICES}/refunds", json={})
    return requests_mock


def paths(services: Mocker) -> list[str]:
    """Give what was asked for, in order."""
    return [request.path for request in services.request_history]


def check_out(client: FlaskClient, **changes: str) -> int:
    """Place an order, and give the status of the answer."""
    wish = {"order": "7", "article": "mug", "card": "visa"} | changes
    return client.post("/checkout", json=wish).status_code


def test_an_order_is_placed(client: FlaskClient, services: Mocker) -> None:
    """Its page shows it, with the number of the payment."""
    assert check_out(client) == 201

    page = client.get("/orders/7").get_json()
    assert (page["status"], page["payment"]) == ("placed", "C2")
    assert paths(services) == ["/reservations", "/charges"]


def test_a_card_that_is_declined_releases_the_reservation(
    client: FlaskClient, services: Mocker
) -> None:
    """The charge has not happened, so there is nothing to refund."""
    services.post(f"{SERVICES}/charges", status_code=402, json={"error": "declined"})

    assert check_out(client) == 409

    assert client.get("/orders/7").get_json()["status"] == "failed"
    assert paths(services) == ["/reservations", "/charges", "/cancellations"]


def test_a_charge_whose_answer_is_lost_is_refunded(client: FlaskClient, services: Mocker) -> None:
    """Nobody knows whether the bank has charged: it is told which charge to take back."""
    services.post(f"{SERVICES}/charges", exc=requests.exceptions.ReadTimeout)

    assert check_out(client) == 502

    charge = services.request_history[1]
    refund = next(one for one in services.request_history if one.path == "/refunds")
    assert refund.headers["Saga-Undoes"] == charge.headers["Idempotency-Key"]
    assert client.get("/orders/7").get_json()["status"] == "failed"


def test_a_button_that_is_pressed_twice_is_one_order(client: FlaskClient, services: Mocker) -> None:
    """The second time nothing is asked for."""
    assert check_out(client) == check_out(client) == 201

    assert paths(services) == ["/reservations", "/charges"]


def test_an_order_is_whole_or_nothing(client: FlaskClient, services: Mocker) -> None:
    """Whatever goes wrong, once, in any of its operations and requests."""

    def asked(request: Any, context: Any) -> Any:
        key, undoes = (request.headers.get(name) for name in KEYS)
        context.status_code, said = answer(request.path[1:], key, undoes, request.json())
        return said

    def shop() -> None:
        forget()
        db.session.execute(db.delete(Order))
        db.session.commit()

    def stands(_: None) -> dict[str, object]:
        there = db.session.scalars(db.select(Order).filter(Order.status != "failed")).all()
        orders = [(order.id, order.status, order.payment is None) for order in there]
        return {"orders": orders, **{what: len(made) for what, made in ledger.items()}}

    for path in ("reservations", "charges", "cancellations", "refunds"):
        services.post(f"{SERVICES}/{path}", json=asked)
    order = {"order": "7", "article": "mug", "card": "visa"}
    with client.application.app_context():
        explore(lambda _: CHECKOUT.given(**order), world=shop, state=stands)


def test_an_order_that_there_is_not_has_no_page(client: FlaskClient) -> None:
    """And an article that there is not cannot be ordered."""
    assert client.get("/orders/8").status_code == 404
    assert check_out(client, article="moon") == 400
