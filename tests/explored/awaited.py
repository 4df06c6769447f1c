"""The shop whose bank answers later: how people get that wrong, and sagas that are right."""

from __future__ import annotations

import time
from typing import Any

from py_api_saga import (
    NOT_HAPPENED,
    UNKNOWN,
    SagaAssembler,
    current_operation,
    happened,
    later,
    result_of,
)
from py_api_saga.operation import Answer, Later

from .mistakes import planted
from .shop import Refused, Shop, checkout, key, undone

DAY = 86_400.0

# --- What the bank, its customers and others do ---------------------------------------------------


def confirm(shop: Shop) -> str:
    """Have the customer confirm."""
    return shop.bank.confirm(key())


def confirm_anyway(shop: Shop) -> str:
    """Have the bank take the money, whatever was cancelled meanwhile."""
    shop.bank.held[key()] = 1200
    return key()


def confirm_each_time(shop: Shop) -> str:
    """Count each delivery."""
    if key() in shop.bank.held:
        shop.bank.held["once more"] = 1200
        return key()
    return shop.bank.confirm(key())


def confirm_and_tell(shop: Shop) -> str:
    """Tell the customer as well of the van that is on its way."""
    if shop.courier.vans:
        shop.mails.append("it is on its way")
    return shop.bank.confirm(key())


def turn_down(shop: Shop) -> Exception:
    """Have the customer turn it down."""
    return shop.bank.turn_down(key())


def take_back(shop: Shop) -> Exception:
    """Have the customer turn it down, also if it was paid."""
    shop.bank.held.pop(key(), None)
    return shop.bank.turn_down(key())


def pay_back(shop: Shop) -> None:
    """Have the bank pay back what it was asked to."""
    if undone() in shop.bank.asked:
        shop.bank.refund(undone())


def pay_back_in_time(shop: Shop) -> None:
    """Have the bank do so within a day."""
    if time.time() <= shop.bank.asked[undone()] + DAY:
        shop.bank.refund(undone())


def pay_back_each_time(shop: Shop) -> None:
    """Have the bank do so for each delivery."""
    shop.bank.pay_out(1200)


def pay_back_once_it_is_released(shop: Shop) -> None:
    """Have the bank do so if what was reserved is back, and else not."""
    if not shop.stock.held:
        shop.bank.refund(undone())


def forget(shop: Shop) -> Exception:
    """Have the bank refuse, and know nothing of it any more."""
    shop.bank.asked.pop(undone(), None)
    return Refused("there is no such account")


def charge_again(shop: Shop) -> Exception:
    """Have the bank take the money back that it has paid back."""
    shop.bank.held[undone()] = 1200
    return Refused("there is no such account")


def cut_short(shop: Shop) -> str:
    """Have the customer want it at once, and be told so."""
    shop.mails.append("as you wish")
    return "kept"


ANSWERS = {"charge": (confirm, turn_down)}
UNDO_ANSWERS = {"undo charge": (pay_back, forget)}


# --- Sagas ----------------------------------------------------------------------------------------


def awaiting(shop: Shop, **changed: Any) -> SagaAssembler:
    """Make the checkout with a bank that has two days to answer."""

    def charge() -> Later:
        shop.bank.begin(key(), 1200)
        return later(timeout=2 * DAY)

    return checkout(shop, **{"charge": charge} | changed)


def awaiting_for_ever(shop: Shop) -> SagaAssembler:
    """Make it with one that has no limit."""

    def charge() -> Later:
        shop.bank.begin(key(), 1200)
        return later(timeout=None)

    return checkout(shop, charge=charge)


def undone_later(shop: Shop, **changed: Any) -> SagaAssembler:
    """Make the checkout with a bank that has a day to pay back."""

    def refund() -> Later:
        shop.bank.asked.setdefault(undone(), time.time())
        return later(timeout=DAY)

    return checkout(shop, **{"refund": refund} | changed)


def asked(shop: Shop) -> SagaAssembler:
    """Ask the bank, which knows nothing of what is pending."""

    def was_charged() -> Answer:
        return happened(key()) if key() in shop.bank.held else UNKNOWN

    return awaiting(shop, charging={"on_doubt": was_charged})


def pivoted(shop: Shop) -> SagaAssembler:
    """Go forward after the charge; what has not come in time is cancelled, and then it has not."""

    def was_charged() -> Answer:
        if key() in shop.bank.held:
            return happened(key())
        shop.bank.refund(key())
        return NOT_HAPPENED

    charging = {"pivot": True, "on_doubt": was_charged}
    return awaiting(shop, charging=charging, refund=None, cancel=None)


def approved(shop: Shop) -> SagaAssembler:
    """Ask a person before a van is sent."""
    return (
        SagaAssembler.saga(name="approved")
        .operation(
            lambda: shop.stock.reserve(key(), 2),
            lambda: shop.stock.release(undone()),
            name="reserve",
        )
        .operation(lambda: later(timeout=None), name="approval")
        .operation(
            lambda: shop.courier.book(key()), lambda: shop.courier.cancel(undone()), name="book"
        )
    )


def cooled_off(shop: Shop) -> SagaAssembler:
    """Wait for two weeks, if nobody says anything sooner."""

    def cool_off() -> Later:
        return later(until=time.time() + 14 * DAY, result="kept")

    return checkout(shop).operation(cool_off, name="cool off")


def awaited_at_once(shop: Shop) -> SagaAssembler:
    """Book the van while the bank is waited for."""
    return awaiting(shop, charging={"after": "reserve"}, booking={"after": "reserve"})


def undone_at_once(shop: Shop) -> SagaAssembler:
    """Undo all at once, as it was done."""
    at_once = {"after": ()}
    return undone_later(shop, charging=at_once, booking={"after": ("reserve", "charge")})


def slowly(shop: Shop) -> SagaAssembler:
    """Begin the charge by a coroutine function."""

    async def charge() -> Later:
        shop.bank.begin(key(), 1200)
        return later(timeout=2 * DAY)

    return checkout(shop, charge=charge, charging={"timeout": 60})


async def confirm_slowly(shop: Shop) -> str:
    """Have the customer confirm, in a loop."""
    return shop.bank.confirm(key())


# --- Mistakes -------------------------------------------------------------------------------------

PENDING = (
    "what was given up must not happen any more: its undo has to cancel what is pending, and "
    "`on_doubt=` may say NOT_HAPPENED only of what can't happen any more"
)


@planted(
    "compensated, but money is 1200, expected 0",
    when="the answer of charge has not come in time, and in the end it is done, unseen",
    hint=PENDING,
    answers=ANSWERS,
)
def an_undo_that_leaves_what_is_pending(shop: Shop, **more: Any) -> SagaAssembler:
    """It gives back what has come, and the rest may come yet."""
    return awaiting(shop, refund=lambda: shop.bank.refund_and_forget(undone()), **more)


@planted(
    "compensated, but money is 1200, expected 0",
    when="the answer of charge has not come in time, and in the end it is done, unseen",
    hint=PENDING,
    answers=ANSWERS,
)
def a_no_of_what_is_pending(shop: Shop, **more: Any) -> SagaAssembler:
    """What the bank does not hold yet it may hold tomorrow, and nothing is undone for a no."""

    def was_charged() -> Answer:
        return happened(key()) if key() in shop.bank.held else NOT_HAPPENED

    return awaiting(shop, charging={"on_doubt": was_charged}, **more)


@planted(
    "charge is stuck, so a person must look: its compensation raised Refused('nothing was paid')",
    when="charge is done, but its answer is lost",
    hint="`charge` may have happened although it raised: its undo is called, and must find it",
    answers=ANSWERS,
)
def an_undo_of_what_must_have_come(shop: Shop, **more: Any) -> SagaAssembler:
    """What was never paid can't be given back."""

    def refund() -> None:
        if undone() not in shop.bank.held:
            raise Refused("nothing was paid")
        shop.bank.refund(undone())

    return awaiting(shop, refund=refund, **more)


@planted(
    (
        "charge is stuck, so a person must look: its compensation needs what the action "
        "returned, which nobody knows"
    ),
    when="the answer of charge is lost, though it was done in time",
    hint=("it has happened when its time is up: `on_doubt=` says so, or its undo must find it"),
    answers=ANSWERS,
    without=[
        f"charge:{kind}" for kind in ("lost", "doubt", "cancelled", "crash-before", "crash-after")
    ],
)
def an_undo_by_what_was_answered(shop: Shop, **more: Any) -> SagaAssembler:
    """Without an answer there is no receipt."""
    return awaiting(shop, refund=(shop.bank.refund, result_of()), **more)


@planted(
    "completed, but money is 2400, expected 1200",
    when="the answer of charge comes twice",
    hint="whoever answers may do so more than once: it must count once",
    answers={"charge": confirm_each_time},
)
def an_answer_that_counts_twice(shop: Shop, **more: Any) -> SagaAssembler:
    """The handler books each delivery of the webhook; it gives the same receipt for each."""
    return awaiting(shop, **more)


@planted(
    "completed, but money is 0, expected 1200",
    when="the answer of charge comes, and later another one, which is a refusal",
    hint="the first answer counts: nothing may come of another one",
    answers={"charge": (confirm, take_back)},
)
def a_last_word_that_counts(shop: Shop, **more: Any) -> SagaAssembler:
    """The handler gives back what was paid, though the saga goes on with it."""
    return awaiting(shop, **more)


@planted(
    "compensated, but money is 5, expected 0",
    when="the answer of charge is a refusal, and nothing is done",
    hint=(
        "it counts as not done, so that its undo is not called: nothing of it may be left, and "
        "all that was done before must be undone"
    ),
    answers=ANSWERS,
)
def a_fee_that_a_refusal_leaves(shop: Shop, **more: Any) -> SagaAssembler:
    """What is done as it is begun is not undone if it is denied."""

    def charge() -> Later:
        shop.bank.begin(key(), 1200)
        shop.bank.held["fee"] = 5
        return later(timeout=2 * DAY)

    def refund() -> None:
        shop.bank.held.pop("fee", None)
        shop.bank.refund(undone())

    return awaiting(shop, charge=charge, refund=refund, **more)


@planted(
    "compensated, but money is 1200, expected 0",
    when=(
        "book refuses: it raises, and does nothing, and the answer of undo charge is a refusal, "
        "and nothing is done"
    ),
    hint="a person sees to it, and says `retry`: it must be possible to begin anew",
    answers=UNDO_ANSWERS,
    without=["undo charge:flaky", "undo charge:down", "undo charge:crash-before"],
)
def an_undo_that_is_begun_only_once(shop: Shop, **more: Any) -> SagaAssembler:
    """It takes what was begun for what is still asked for."""

    def refund() -> Later:
        if current_operation().attempt == 1:
            shop.bank.asked[undone()] = time.time()
        return later(timeout=DAY)

    return undone_later(shop, refund=refund, **more)


# --- What only one kind of fault shows ------------------------------------------------------------


def an_undo_that_only_cancels(shop: Shop) -> SagaAssembler:
    """What has come it leaves."""

    def refund() -> None:
        held = shop.bank.held.get(undone(), 0)
        shop.bank.refund(undone())
        if held:
            shop.bank.held[undone()] = held

    return awaiting(shop, refund=refund)


def an_undo_that_is_made_only_once(shop: Shop) -> SagaAssembler:
    """What has come behind it it leaves."""

    def refund() -> None:
        if undone() not in shop.bank.asked:
            shop.bank.asked[undone()] = time.time()
            shop.bank.refund(undone())

    return awaiting(shop, refund=refund)
