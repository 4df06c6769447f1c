"""The shop whose bank answers later, as functions of a module, which a journal can name."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from py_api_saga import NOT_HAPPENED, UNKNOWN, SagaAssembler, happened, later, result_of
from py_api_saga.operation import Answer, Later

from . import on_record
from .on_record import book, cancel, refund, refund_receipt, release, reserve, shop
from .on_record import charge as charge_at_once
from .shop import Refused, Shop, key, undone

DAY = 86_400.0


def charge() -> Later:
    """Begin to charge, for two days."""
    shop.bank.begin(key(), 1200)
    return later(timeout=2 * DAY)


def charge_for_ever() -> Later:
    """Begin to charge, for ever."""
    shop.bank.begin(key(), 1200)
    return later(timeout=None)


def refund_what_is_held() -> None:
    """Undo `charge`, but leave what is pending."""
    shop.bank.refund_and_forget(undone())


def was_held() -> Answer:
    """Say what is held for sure, and that nothing was charged of what is pending."""
    return happened(key()) if key() in shop.bank.held else NOT_HAPPENED


def is_held() -> Answer:
    """Say what is held for sure, and nothing of what is pending."""
    return happened(key()) if key() in shop.bank.held else UNKNOWN


def begin_refund() -> Later:
    """Begin to undo `charge`."""
    return later(timeout=DAY)


def cool_off() -> Later:
    """Wait for two weeks."""
    return later(until=time.time() + 14 * DAY, result="kept")


def confirm(_: Shop) -> str:
    """Have the customer confirm."""
    return shop.bank.confirm(key())


def turn_down(_: Shop) -> Exception:
    """Have the customer turn it down."""
    return shop.bank.turn_down(key())


def pay_back(_: Shop) -> None:
    """Have the bank pay back what it was asked to."""
    shop.bank.refund(undone())


def refuse(_: Shop) -> Exception:
    """Have the bank refuse."""
    return Refused("there is no such account")


ANSWERS = {"charge": (confirm, turn_down), "undo charge": (pay_back, refuse)}

PARTS: Mapping[str, Mapping[str, object]] = {
    "right": {},
    "right, for ever": {"charge": charge_for_ever},
    "right, asked": {"ask": is_held},
    "right, undone later": {"charge": charge_at_once, "refund": begin_refund},
    "right, both later": {"refund": begin_refund},
    "right, cooled off": {"charge": cool_off, "refund": None},
    "an undo that leaves what is pending": {"refund": refund_what_is_held},
    "a no of what is pending": {"ask": was_held},
    "an undo by result": {"refund": (refund_receipt, result_of())},
}


def checkout(name: str, how: str) -> SagaAssembler:
    """Make a checkout that is right, or has a mistake; a van may be booked at once."""
    part: dict[str, Any] = {"charge": charge, "refund": refund, "ask": "proceed", **PARTS[name]}
    calls = [part["charge"]] + [part["refund"]] * (part["refund"] is not None)
    booking: dict[str, Any] = {"after": "reserve"} if how == "choreography" else {}
    return (
        SagaAssembler.saga(name="checkout")
        .operation(reserve, release)
        .operation(*calls, name="charge", on_doubt=part["ask"])
        .operation(book, cancel, **booking)
    )


MODULES = [__name__, on_record.__name__]
