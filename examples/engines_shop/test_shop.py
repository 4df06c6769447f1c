"""Tests of the shop, as a user writes them: `SERVICES=… SHOP_DATABASE=… pytest engines_shop`.

They need no engine: what a saga does, and what is undone, is the same in memory.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from requests_mock import Mocker
from shop_services import answer, forget, ledger
from sqlalchemy import text

from engines_shop.models import Stock, create_tables, database, pieces, sessions
from engines_shop.operations import CHECKOUT
from py_api_saga import SagaException
from py_api_saga.testing import explore

KEYS = ("Idempotency-Key", "Saga-Undoes")
ORDER = {"article": "mug", "card": "visa"}


@pytest.fixture(autouse=True)
def shop(requests_mock: Mocker) -> Iterator[None]:
    """Make a database, and play the services in this process."""

    def asked(request: Any, context: Any) -> Any:
        key, undoes = (request.headers.get(name) for name in KEYS)
        context.status_code, said = answer(request.path[1:], key, undoes, request.json())
        return said

    for path in ("charges", "refunds", "parcels", "returns"):
        requests_mock.post(f"{os.environ['SERVICES']}/{path}", json=asked)
    forget()
    create_tables()
    yield
    database.dispose()


def test_an_order_is_sent_and_charged() -> None:
    """And one piece less is on the shelf."""
    CHECKOUT.given(**ORDER).orchestrator_execute()

    assert (pieces("mug"), len(ledger["charges"]), len(ledger["parcels"])) == (4, 1, 1)


def test_a_card_that_is_declined_puts_the_mug_back() -> None:
    """The charge has not happened, so there is nothing to refund."""
    with pytest.raises(SagaException, match="the card was declined"):
        CHECKOUT.given(article="mug", card="declined").orchestrator_execute()

    assert (pieces("mug"), len(ledger["charges"]), len(ledger["parcels"])) == (5, 0, 0)


def test_an_order_is_whole_or_nothing() -> None:
    """Whatever goes wrong, once, in any of its operations and requests."""

    def world() -> None:
        forget()
        with sessions.begin() as session:
            session.get_one(Stock, "mug").pieces = 5
            session.execute(text("DELETE FROM saga_barrier"))

    def stands(_: None) -> dict[str, int]:
        return {"mugs": pieces("mug"), **{what: len(made) for what, made in ledger.items()}}

    explore(lambda _: CHECKOUT.given(**ORDER), world=world, state=stands)
