"""Sagas that are right, of each kind: `explore()` finds nothing in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from py_api_saga import NOT_HAPPENED, UNKNOWN, Retry, SagaAssembler, happened
from py_api_saga.operation import Answer

from . import awaited as waiting
from .mistakes import retried
from .over_http import asking, opened
from .shop import SERVICES, Shop, checkout, key, undone

FOREVER = Retry((ConnectionError, TimeoutError), attempts=30)


@dataclass(frozen=True)
class Right:
    """A saga that is right.

    Attributes:
        make: Makes it, about a shop.
        told: What `explore()` is told besides.
    """

    make: Callable[[Shop], SagaAssembler]
    told: Mapping[str, Any]

    @property
    def is_chain(self) -> bool:
        """Whether one call comes after the other, so that three faults are few enough."""
        return not {"how", "services", "world"} & {*self.told}


def timed(shop: Shop) -> SagaAssembler:
    """Give a charge up after five seconds."""
    return checkout(shop, charging={"timeout": 5})


def asked(shop: Shop) -> SagaAssembler:
    """Ask the bank what it has done, if nobody knows."""

    def was_charged() -> Answer:
        return happened(key()) if key() in shop.bank.held else UNKNOWN

    return checkout(shop, charging={"on_doubt": was_charged})


def pivoted(shop: Shop) -> SagaAssembler:
    """Go forward after the charge, however long that takes; nothing of it can be refused."""

    def was_charged() -> Answer:
        return happened(key()) if key() in shop.bank.held else NOT_HAPPENED

    return checkout(
        shop,
        charging={"retry": FOREVER, "pivot": True, "on_doubt": was_charged},
        booking={"retry": FOREVER},
        refund=None,
        cancel=None,
    )


def awaited(shop: Shop) -> SagaAssembler:
    """Have services that take half a minute."""

    async def slowly(do: Callable[[], Any]) -> Any:
        await asyncio.sleep(30)
        return do()

    return checkout(
        shop,
        reserve=(slowly, lambda: shop.stock.reserve(key(), 2)),
        release=(slowly, lambda: shop.stock.release(undone())),
        charge=(slowly, lambda: shop.bank.charge(key(), 1200)),
        refund=(slowly, lambda: shop.bank.refund(undone())),
    )


def yes(_: Shop) -> str:
    """Have a person say so."""
    return "yes"


NO_VAN_LACKS = ("book:refuses", "book:lost", "book:doubt", "book:cancelled")

RIGHT: dict[str, Right] = {
    "a chain": Right(checkout, {}),
    "a chain, undone after a crash": Right(checkout, {"on_crash": "compensate"}),
    "a chain, by service": Right(checkout, {"services": SERVICES}),
    "a chain, by HTTP": Right(asking, {"world": opened}),
    "at once": Right(checkout, {"how": "choreography"}),
    "tried again": Right(retried, {}),
    "tried again, undone after a crash": Right(retried, {"on_crash": "compensate"}),
    "tried again, by service": Right(retried, {"services": SERVICES}),
    "given up": Right(timed, {}),
    "given up, with ghosts": Right(timed, {"ghosts": True}),
    "given up, at once": Right(timed, {"how": "choreography"}),
    "asked": Right(asked, {}),
    "behind a pivot": Right(pivoted, {"without": ("book:refuses",)}),
    "asyncio": Right(awaited, {}),
    "asyncio, at once": Right(awaited, {"how": "choreography"}),
    "answered later": Right(waiting.awaiting, {"answers": waiting.ANSWERS}),
    "answered later, undone after a crash": Right(
        waiting.awaiting, {"answers": waiting.ANSWERS, "on_crash": "compensate"}
    ),
    "answered some time": Right(waiting.awaiting_for_ever, {"answers": waiting.ANSWERS}),
    "answered later, and asked": Right(waiting.asked, {"answers": waiting.ANSWERS}),
    "answered later, at once": Right(
        waiting.awaited_at_once, {"answers": waiting.ANSWERS, "how": "choreography"}
    ),
    "answered later, behind a pivot": Right(
        waiting.pivoted, {"answers": waiting.ANSWERS, "without": NO_VAN_LACKS}
    ),
    "undone later": Right(waiting.undone_later, {"answers": waiting.UNDO_ANSWERS}),
    "approved": Right(waiting.approved, {"answers": {"approval": yes}}),
    "cooled off": Right(waiting.cooled_off, {}),
    "cut short": Right(waiting.cooled_off, {"answers": {"cool off": yes}}),
    "answered in a loop": Right(waiting.slowly, {"answers": {"charge": waiting.confirm_slowly}}),
}
