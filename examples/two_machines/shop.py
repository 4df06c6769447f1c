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
        .operation((ship, order))
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


def _ask(what: str, about: str) -> str:
    """Ask the service, under the key that all attempts of this call have."""
    request = Request(  # noqa: S310 - the service of this folder
        f"{os.environ['SERVICE']}/{what}",
        data=json.dumps(about).encode(),
        headers={"Idempotency-Key": current_operation().idempotency_key},
    )
    with urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
        said: str = json.load(answer)
        return said
