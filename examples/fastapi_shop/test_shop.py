"""Tests of the shop, as a user writes them: `DATABASE_URL=… SERVICES=… pytest fastapi_shop`."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import respx
from fastapi.testclient import TestClient
from shop_services import answer, forget, ledger

from fastapi_shop import models
from fastapi_shop.app import app
from fastapi_shop.models import Order, create_tables
from fastapi_shop.operations import checkout
from py_api_saga import SagaAssembler
from py_api_saga.contrib.http import gently
from py_api_saga.testing import explore

SERVICES = os.environ["SERVICES"]


@pytest.fixture(scope="session", autouse=True)
def tables() -> None:
    """The tables, in a database that is the tests' own."""
    asyncio.run(create_tables())


@pytest.fixture
def client() -> Iterator[TestClient]:
    """A client of the shop, whose lifespan has begun."""
    with TestClient(app) as client:
        yield client


@pytest.fixture
def services() -> Iterator[respx.MockRouter]:
    """Services at which all goes well."""
    with respx.mock(base_url=SERVICES, assert_all_called=False) as router:
        router.post("/reservations").respond(201, json={"id": "R1"})
        router.post("/charges").respond(201, json={"id": "C2"})
        router.post("/cancellations").respond(json={})
        router.post("/refunds").respond(json={})
        yield router


def paths(services: respx.MockRouter) -> list[str]:
    """Give what was asked for, in order."""
    return [call.request.url.path for call in services.calls]


def check_out(client: TestClient, order: str, **changes: str) -> int:
    """Place an order, and give the status of the answer."""
    wish = {"order": order, "article": "mug", "card": "visa"} | changes
    return client.post("/checkout", json=wish).status_code


def test_an_order_is_placed(client: TestClient, services: respx.MockRouter) -> None:
    """Its page shows it, with the number of the payment."""
    assert check_out(client, "1") == 201

    page = client.get("/orders/1").json()
    assert (page["status"], page["payment"]) == ("placed", "C2")
    assert paths(services) == ["/reservations", "/charges"]


def test_a_card_that_is_declined_releases_the_reservation(
    client: TestClient, services: respx.MockRouter
) -> None:
    """The charge has not happened, so there is nothing to refund."""
    services.post("/charges").respond(402, json={"error": "declined"})

    assert check_out(client, "2") == 409

    assert client.get("/orders/2").json()["status"] == "failed"
    assert paths(services) == ["/reservations", "/charges", "/cancellations"]


def test_a_charge_whose_answer_is_lost_is_refunded(
    client: TestClient, services: respx.MockRouter
) -> None:
    """Nobody knows whether the bank has charged: it is told which charge to take back."""
    charges = services.post("/charges").mock(side_effect=httpx.ReadTimeout)

    assert check_out(client, "3") == 502

    key = charges.calls[0].request.headers["Idempotency-Key"]
    refund = services.post("/refunds").calls[0].request
    assert refund.headers["Saga-Undoes"] == key
    assert client.get("/orders/3").json()["status"] == "failed"


def test_a_button_that_is_pressed_twice_is_one_order(
    client: TestClient, services: respx.MockRouter
) -> None:
    """The second time nothing is asked for."""
    assert check_out(client, "4") == check_out(client, "4") == 201

    assert paths(services) == ["/reservations", "/charges"]


class Rows:
    """Stands for a session: what is written is there once it is committed."""

    def __init__(self, table: dict[str, Order]) -> None:
        """Read a table as it is."""
        self.table, self.mine = table, dict[str, Order]()

    def add(self, order: Order) -> None:
        """Write a row."""
        self.mine[order.id] = order

    async def get(self, _: type[Order], number: str) -> Order | None:
        """Read a row, to write it."""
        if number not in self.mine and (row := self.table.get(number)) is not None:
            columns = Order.__table__.columns.keys()
            self.mine[number] = Order(**{name: getattr(row, name) for name in columns})
        return self.mine.get(number)

    async def get_one(self, _: type[Order], number: str) -> Order:
        """Read a row that is there, to write it."""
        row = await self.get(Order, number)
        assert row is not None
        return row


def test_an_order_is_whole_or_nothing(services: respx.MockRouter) -> None:
    """Whatever goes wrong, once, in any of its operations and requests."""
    table: dict[str, Order] = {}

    @asynccontextmanager
    async def rows(_: object) -> AsyncIterator[None]:
        session: Any = Rows(table)
        token = models._session.set(session)  # noqa: SLF001 - as `session_per_call` does
        try:
            yield
            table.update(session.mine)
        finally:
            models._session.reset(token)  # noqa: SLF001 - as above

    def asked(request: httpx.Request) -> httpx.Response:
        key, undoes = (request.headers.get(n) for n in ("Idempotency-Key", "Saga-Undoes"))
        status, said = answer(request.url.path[1:], key, undoes, json.loads(request.content))
        return httpx.Response(status, json=said)

    def shop() -> None:
        forget()
        table.clear()

    def stands(_: None) -> dict[str, object]:
        there = [row for row in table.values() if row.status != "failed"]
        orders = [(order.id, order.status, order.payment is None) for order in there]
        return {"orders": orders, **{what: len(made) for what, made in ledger.items()}}

    for path in ("reservations", "charges", "cancellations", "refunds"):
        services.post(f"/{path}").mock(side_effect=asked)
    saga = checkout(SagaAssembler.saga(compensation_retry=gently, around=[rows]))
    order = {"order": "7", "article": "mug", "card": "visa"}
    explore(lambda _: saga.given(**order), world=shop, state=stands)


def test_an_order_that_there_is_not_has_no_page(client: TestClient) -> None:
    """And an article that there is not cannot be ordered."""
    assert client.get("/orders/8").status_code == 404
    assert check_out(client, "8", article="moon") == 422
