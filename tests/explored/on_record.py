"""The shop as functions of a module, which a journal can name, with some of the mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from py_api_saga import SagaAssembler, current_operation, result_of

from .shop import Refused, Shop, key, undone

shop = Shop()


def opened() -> Shop:
    """Open the shop anew."""
    vars(shop).update(vars(Shop()))
    return shop


def reserve() -> str:
    """Reserve by key."""
    return shop.stock.reserve(key(), 2)


def release() -> None:
    """Undo `reserve`."""
    shop.stock.release(undone())


def release_twice() -> None:
    """Undo `reserve`, each time that it is called."""
    if undone() in shop.stock.log:
        shop.stock.free += 2
        shop.stock.held.pop(undone(), None)


def release_at_first() -> None:
    """Undo `reserve`, but not when it is called again."""
    if current_operation().attempt == 1:
        shop.stock.release(undone())


def charge() -> str:
    """Charge by key."""
    return shop.bank.charge(key(), 1200)


def charge_anew() -> str:
    """Charge without one."""
    return shop.bank.charge_anew(1200)


def refund() -> None:
    """Undo `charge`."""
    shop.bank.refund(undone())


def refund_receipt(receipt: str) -> None:
    """Undo `charge` by its result."""
    shop.bank.refund(receipt)


def book() -> str:
    """Book by key."""
    return shop.courier.book(key())


def cancel() -> None:
    """Undo `book`."""
    shop.courier.cancel(undone())


def cancel_if_paid() -> None:
    """Undo `book`, which needs what the undo of `charge` removes."""
    shop.courier.cancel(undone())
    if not shop.bank.held:
        raise Refused("nothing was paid")


PARTS: Mapping[str, Mapping[str, object]] = {
    "right": {},
    "an undo that counts twice": {"release": release_twice},
    "an undo that trusts its first attempt": {"release": release_at_first},
    "an undo by result": {"refund": (refund_receipt, result_of())},
    "an action without a key": {"charge": charge_anew, "refund": (refund_receipt, result_of())},
    "an undo that was forgotten": {"release": None},
    "an undo that needs what another removes": {"cancel": cancel_if_paid},
}


def checkout(name: str) -> SagaAssembler:
    """Make a checkout that is right, or has a mistake."""
    part: dict[str, Any] = {"release": release, "charge": charge, "refund": refund}
    part |= {"cancel": cancel, **PARTS[name]}
    saga = SagaAssembler.saga(name="checkout")
    for action, undo in (
        (reserve, part["release"]),
        (part["charge"], part["refund"]),
        (book, part["cancel"]),
    ):
        saga.operation(*([action] if undo is None else [action, undo]))
    return saga
