"""Tests of the shop, as a user writes them: `pytest django_shop`, or `manage test django_shop`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import django
import requests
from requests_mock import Mocker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_shop.settings")
django.setup()  # which pytest-django does as well, if its settings are named

from django.conf import settings  # noqa: E402
from django.db import connections  # noqa: E402
from shop_services import answer, forget, ledger  # noqa: E402

from django_shop.models import Order  # noqa: E402
from django_shop.operations import CHECKOUT  # noqa: E402
from py_api_saga.contrib.django.testing import SagaTestCase, rolled_back  # noqa: E402
from py_api_saga.testing import explore  # noqa: E402

KEYS = ("Idempotency-Key", "Saga-Undoes")


class CheckoutTest(SagaTestCase):
    """Each test is in a transaction, with a journal of its own; the services are played."""

    def setUp(self) -> None:
        """Have services at which all goes well."""
        self.services = Mocker()
        self.services.start()
        self.addCleanup(self.services.stop)
        made = {"reservations": "R1", "charges": "C2", "cancellations": None, "refunds": None}
        for path, number in made.items():
            self.services.post(f"{settings.SERVICES}/{path}", json={"id": number})

    def paths(self) -> list[str]:
        """Give what was asked for, in order."""
        return [request.path for request in self.services.request_history]

    def check_out(self, **changes: str) -> int:
        """Place an order, and give the status of the answer."""
        wish = {"order": "7", "article": "mug", "card": "visa"} | changes
        status: int = self.client.post("/checkout", wish, "application/json").status_code
        return status

    def test_an_order_is_placed(self) -> None:
        """Its page shows it, with the number of the payment."""
        assert self.check_out() == 201

        page = self.client.get("/orders/7").json()
        assert (page["status"], page["payment"]) == ("placed", "C2")
        assert self.paths() == ["/reservations", "/charges"]

    def test_a_card_that_is_declined_releases_the_reservation(self) -> None:
        """The charge has not happened, so there is nothing to refund."""
        refusal = {"error": "declined"}
        self.services.post(f"{settings.SERVICES}/charges", status_code=402, json=refusal)

        assert self.check_out() == 409

        assert self.client.get("/orders/7").json()["status"] == "failed"
        assert self.paths() == ["/reservations", "/charges", "/cancellations"]

    def test_a_charge_whose_answer_is_lost_is_refunded(self) -> None:
        """Nobody knows whether the bank has charged: it is told which charge to take back."""
        self.services.post(f"{settings.SERVICES}/charges", exc=requests.exceptions.ReadTimeout)

        assert self.check_out() == 502

        asked = self.services.request_history
        refund = next(one for one in asked if one.path == "/refunds")
        assert refund.headers["Saga-Undoes"] == asked[1].headers["Idempotency-Key"]
        assert self.client.get("/orders/7").json()["status"] == "failed"

    def test_a_button_that_is_pressed_twice_is_one_order(self) -> None:
        """The second time nothing is asked for."""
        assert self.check_out() == self.check_out() == 201

        assert self.paths() == ["/reservations", "/charges"]

    def test_what_a_worker_finishes_is_on_the_page(self) -> None:
        """As after a crash of the server."""
        saga = CHECKOUT.given(order="8", article="mug", card="visa")
        saga.start(saga_id="order-8")
        assert self.client.get("/orders/8").json()["says"] == "we are working on it"

        self.recover_sagas()

        assert Order.objects.get(number="8").status == "placed"
        assert self.client.get("/orders/8").json()["says"] == "it is on its way"

    def test_the_transaction_of_a_request_is_not_in_the_way(self) -> None:
        """Whoever has ATOMIC_REQUESTS marks the view."""
        with patch.dict(connections.settings["default"], ATOMIC_REQUESTS=True):
            assert self.check_out() == 201

    def test_an_order_is_whole_or_nothing(self) -> None:
        """Whatever goes wrong, once, in any of its operations and requests."""

        def asked(request: Any, context: Any) -> Any:
            key, undoes = (request.headers.get(name) for name in KEYS)
            context.status_code, said = answer(request.path[1:], key, undoes, request.json())
            return said

        @contextmanager
        def shop() -> Iterator[None]:
            forget()
            with rolled_back():
                yield

        def stands(_: None) -> dict[str, object]:
            there = Order.objects.exclude(status="failed")
            orders = [(order.number, order.status, order.payment is None) for order in there]
            return {"orders": orders, **{what: len(made) for what, made in ledger.items()}}

        for path in ("reservations", "charges", "cancellations", "refunds"):
            self.services.post(f"{settings.SERVICES}/{path}", json=asked)
        order = {"order": "7", "article": "mug", "card": "visa"}
        explore(lambda _: CHECKOUT.given(**order), world=shop, state=stands)

    def test_an_order_that_there_is_not_has_no_page(self) -> None:
        """And an article that there is not cannot be ordered."""
        assert self.client.get("/orders/9").status_code == 404
        assert self.check_out(article="moon") == 400
