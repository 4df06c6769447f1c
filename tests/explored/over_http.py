"""Mistakes that only a request shows: a checkout whose bank is asked by HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import requests
import requests_mock
import urllib3

from py_api_saga import SagaAssembler

from .shop import Shop, checkout, key, undone

BANK = "http://bank.example"
insistent = requests.Session()  # sends again what got no answer
insistent.mount(
    "http://",
    requests.adapters.HTTPAdapter(max_retries=urllib3.Retry(1, allowed_methods=None)),
)


@contextmanager
def opened() -> Iterator[Shop]:
    """Open a shop whose bank is behind requests-mock."""
    shop = Shop()

    def answer(do: Callable[..., object]) -> Any:
        return lambda request, _: {"done": str(do(*request.json()))}

    with requests_mock.Mocker() as mock:
        mock.post(f"{BANK}/charges", json=answer(shop.bank.charge))
        mock.post(f"{BANK}/charges/anew", json=answer(shop.bank.charge_anew))
        mock.post(f"{BANK}/refunds", json=answer(shop.bank.refund))
        mock.post(f"{BANK}/payments", json=answer(shop.bank.pay_out))
        yield shop


def _ask(path: str, *about: object, session: Any = requests, looks: bool = True) -> None:
    answer = session.post(f"{BANK}/{path}", json=about)
    if looks:
        answer.raise_for_status()


def charge(**how: Any) -> None:
    """Charge by key."""
    _ask("charges", key(), 1200, **how)


def charge_anew(**how: Any) -> None:
    """Charge without one."""
    _ask("charges/anew", 1200, **how)


def refund(**how: Any) -> None:
    """Undo `charge`."""
    _ask("refunds", undone(), **how)


def pay_out(**how: Any) -> None:
    """Send the money back, each time that it is called."""
    _ask("payments", 1200, **how)


def asking(shop: Shop, **changed: Any) -> SagaAssembler:
    """Make the checkout as it should be, but for what is changed."""
    return checkout(shop, **{"charge": charge, "refund": refund} | changed)


def an_answer_that_nobody_looks_at(shop: Shop) -> SagaAssembler:
    """A 503 is taken for a charge."""
    return asking(shop, charge=partial(charge, looks=False))


def an_undo_that_does_not_look(shop: Shop) -> SagaAssembler:
    """A 503 is taken for a refund."""
    return asking(shop, refund=partial(refund, looks=False))


def a_504_that_is_taken_for_a_no(shop: Shop) -> SagaAssembler:
    """The gateway has given up, and the bank has not."""
    return asking(shop, charging={"doubtful": ()})


def an_undo_without_a_key(shop: Shop) -> SagaAssembler:
    """Two payments, if the first seems to have failed."""
    return asking(shop, refund=pay_out)


def a_client_that_sends_again(shop: Shop) -> SagaAssembler:
    """By itself, and without a key."""
    return asking(shop, charge=partial(charge_anew, session=insistent))


def an_undo_that_is_sent_again(shop: Shop) -> SagaAssembler:
    """By the client itself, and without a key."""
    return asking(shop, refund=partial(pay_out, session=insistent))
