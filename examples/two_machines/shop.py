"""What a shop does for an order: the code that every machine has."""

import json
import os
from urllib.request import Request, urlopen

from py_api_saga import SagaAssembler, current_operation
from py_api_saga.journal import PostgreSQLJournal

LEASE = 3.0  # seconds for which a machine that died keeps its orders; 30 unless you say so


def journal() -> PostgreSQLJournal:
    """Give the journal that all machines share; where it is, the environment says."""
    return PostgreSQLJournal(os.environ["SAGA_JOURNAL"], modules=["two_machines.shop"], lease=LEASE)


def checkout(order: str) -> SagaAssembler:
    """Reserve, charge and ship."""
    return (
        SagaAssembler.saga(name="checkout")
        .operation((reserve, order), (release, order))
        .operation((charge, order, 1200), (refund, order))
        .operation((ship, order), (call_back, order))
    )


def reserve(order: str) -> str:
    """Take a mug from its shelf."""
    return _ask("reserve", order)


def release(order: str) -> str:
    """Put it back."""
    return _ask("release", order)


def charge(order: str, cents: int) -> str:
    """Charge the card."""
    return _ask("charge", f"{order}, {cents} cents")


def refund(order: str) -> str:
    """Give the money back."""
    return _ask("refund", order)


def ship(order: str) -> str:
    """Send the mug."""
    return _ask("ship", order)


def call_back(order: str) -> str:
    """Have it brought back. The last operation needs an undo too: its answer may be lost."""
    return _ask("recall", order)


def _ask(what: str, about: str) -> str:
    """Ask the service, under the key that all attempts of this call have.

    An undo says by the key of its action what it undoes, since there may be no answer to go by.
    """
    operation = current_operation()
    headers = {"Idempotency-Key": operation.idempotency_key}
    if operation.direction == "compensation":
        headers["Saga-Undoes"] = operation.action_key
    url = f"{os.environ['SERVICE']}/{what}"
    request = Request(url, data=json.dumps(about).encode(), headers=headers)  # noqa: S310 - ours
    with urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
        said: str = json.load(answer)
        return said
