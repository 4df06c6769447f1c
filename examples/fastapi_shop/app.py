r"""The application.

With the shop running, place an order, and look at its page:

    curl http://127.0.0.1:8000/checkout -H 'Content-Type: application/json' \
        -d '{"order": "7", "article": "mug", "card": "visa"}'
    curl http://127.0.0.1:8000/orders/7

The card "declined" is refused (409). With the card "slow" there is time to kill the server in the
middle of the charge; its worker, or the next server, finishes the order.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel

from fastapi_shop.models import Order, engine, journal, session_per_call, sessions
from fastapi_shop.operations import Refused, checkout
from py_api_saga import SagaStatus, saga_status
from py_api_saga.contrib.http import gently
from py_api_saga.contrib.starlette import Sagas, install, saga_lifespan, sagas

WORDS = {
    SagaStatus.RUNNING: "we are working on it",
    SagaStatus.COMPENSATING: "it could not be done, and is being undone",
    SagaStatus.COMPENSATED: "it could not be done, and nothing was charged",
    SagaStatus.STUCK: "something went wrong: we are looking into it",
    SagaStatus.COMPLETED: "it is on its way",
}


class Wish(BaseModel):
    """What a customer sends; the number comes with the form."""

    order: str
    article: Literal["mug", "shirt"]
    card: str


class Page(BaseModel):
    """What the page of an order shows."""

    order: str
    status: str
    payment: str | None
    says: str


@asynccontextmanager
async def connected(_: FastAPI) -> AsyncIterator[None]:
    """Give the connections back when the server ends."""
    yield
    await engine.dispose()


app = FastAPI(lifespan=saga_lifespan(journal, around=[session_per_call], inner=connected))
install(app, refusals=[Refused])


@app.post("/checkout", status_code=201)
async def check_out(wish: Wish, sagas: Annotated[Sagas, Depends(sagas)]) -> dict[str, str]:
    """Check out. A button that is pressed twice is one order."""
    saga = checkout(sagas.saga(name="checkout", compensation_retry=gently))
    await saga.given(**wish.model_dump()).aorchestrator_execute(
        saga_id=f"order-{wish.order}", deadline=20
    )
    return {"order": wish.order, "page": f"/orders/{wish.order}"}


@app.get("/orders/{number}")
async def order(number: str) -> Page:
    """Show where an order stands, also while it is worked on or recovered."""
    stands = await asyncio.to_thread(saga_status, journal, f"order-{number}")
    if stands is None:
        raise HTTPException(404)
    async with sessions() as session:
        row = await session.get(Order, number)
    return Page(
        order=number,
        status="new" if row is None else row.status,
        payment=None if row is None else row.payment,
        says=WORDS[stands.status],
    )
