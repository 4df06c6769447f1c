"""What a checkout does: two rows and two requests, each next to its undo.

A row is committed when its operation has returned, and rolled back if it raises. The client sends
the operation's idempotency key with each request, and tells a final no from a lost answer.
"""

import os

import httpx

from fastapi_shop.models import Order, session
from py_api_saga import SagaAssembler, given, result_of
from py_api_saga.contrib.http import gently
from py_api_saga.contrib.httpx import AsyncSagaTransport

PRICES = {"mug": 1200, "shirt": 2500}  # cents
FINAL = {402, 422}  # what the services say when they mean no
SERVICES = os.environ["SERVICES"]
CERTIFICATES = httpx.create_ssl_context()  # once: to read them takes longer than most requests


class Refused(Exception):
    """A service has said no: nothing was done there, and asking again would not help."""


async def ask(path: str, **about: object) -> str:
    """Ask a service for something, and give the number of what it has made."""
    transport = AsyncSagaTransport(httpx.AsyncHTTPTransport(verify=CERTIFICATES))
    async with httpx.AsyncClient(base_url=SERVICES, transport=transport) as client:
        try:
            reply = await client.post(f"/{path}", json=about)
        except httpx.HTTPStatusError as error:
            if error.response.status_code in FINAL:
                raise Refused(error.response.json()["error"]) from error
            raise
    return str(reply.json().get("id"))


async def create_order(order: str, article: str) -> None:
    """Write the order down; once more is the same, since it has its number already."""
    if await session().get(Order, order) is None:
        session().add(Order(id=order, article=article, status="new"))


async def fail_order(order: str) -> None:
    """Keep the order, so that its page can say what became of it: nothing stands any more."""
    if (found := await session().get(Order, order)) is not None:
        found.status, found.reservation, found.payment = "failed", None, None


async def reserve(article: str) -> str:
    """Have the warehouse put the article aside."""
    return await ask("reservations", article=article)


async def release() -> None:
    """Have it put back: the client names what is to be undone."""
    await ask("cancellations")


async def charge(card: str, article: str) -> str:
    """Have the bank charge the card."""
    return await ask("charges", card=card, cents=PRICES[article])


async def refund() -> None:
    """Have it give the money back."""
    await ask("refunds")


async def place_order(order: str, reservation: str, payment: str) -> None:
    """Note that all is done."""
    found = await session().get_one(Order, order)
    found.status, found.reservation, found.payment = "placed", reservation, payment


def checkout(saga: SagaAssembler) -> SagaAssembler:
    """Add the operations of a checkout to a saga."""
    return (
        saga.operation(
            (create_order, given("order"), given("article")), (fail_order, given("order"))
        )
        .operation((reserve, given("article")), release, retry=gently)
        .operation((charge, given("card"), given("article")), refund, retry=gently)
        .operation((place_order, given("order"), result_of("reserve"), result_of("charge")))
    )
