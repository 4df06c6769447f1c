"""Ways in which people get a checkout wrong, each with the sentence that `explore()` has for it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from py_api_saga import (
    NOT_HAPPENED,
    Retry,
    SagaAssembler,
    current_operation,
    happened,
    result_of,
)
from py_api_saga.operation import Answer
from py_api_saga.testing.faults import FAULTS

from .shop import SERVICES, Refused, Shop, checkout, key, undone

Make = Callable[..., SagaAssembler]
AGAIN = Retry(ConnectionError, attempts=3)


@dataclass(frozen=True)
class Mistake:
    """A saga that is wrong, and what is to be said of it.

    Attributes:
        make: Makes the saga, about a shop, with what else is changed in it.
        says: What is wrong.
        when: What has gone wrong before.
        hint: What helps.
        told: What `explore()` is told besides.
    """

    make: Make
    says: str
    when: str
    hint: str
    told: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What a test of it is called."""
        return self.make.__name__


MISTAKES: list[Mistake] = []


def all_but(*kinds: str) -> list[str]:
    """List the other kinds of faults."""
    return [kind for kind in FAULTS if kind not in kinds]


def planted(says: str, *, when: str, hint: str, **told: Any) -> Callable[[Make], Make]:
    """Put a saga into the table."""

    def put(make: Make) -> Make:
        MISTAKES.append(Mistake(make, says, when, hint, told))
        return make

    return put


def retried(shop: Shop, **changed: Any) -> SagaAssembler:
    """Make the checkout with calls that are made again."""
    return checkout(shop, **{"charging": {"retry": AGAIN}, "booking": {"retry": AGAIN}} | changed)


# --- The undo ---


@planted(
    "compensated, but free stock is 12, expected 10",
    when=(
        "charge refuses: it raises, and does nothing, and undo reserve is done, but its "
        "answer is lost"
    ),
    hint=(
        "`undo reserve` has undone, but raised, and is called again: undoing twice must be "
        "the same as undoing once"
    ),
)
def an_undo_that_counts_twice(shop: Shop, **more: Any) -> SagaAssembler:
    """It puts back two pieces, whenever it is called for a key that has reserved some."""

    def release() -> None:
        if undone() in shop.stock.log:
            shop.stock.free += 2
            shop.stock.held.pop(undone(), None)

    return checkout(shop, release=release, **more)


@planted(
    (
        "reserve is stuck, so a person must look: its compensation raised "
        "KeyError('00000000000000000000000000000001:reserve:action')"
    ),
    when="the line breaks before reserve has done anything",
    hint=("`reserve` may not have happened at all: its undo is called, and must tolerate that"),
)
def an_undo_of_what_must_have_happened(shop: Shop, **more: Any) -> SagaAssembler:
    """A key that holds nothing is a KeyError."""

    def release() -> None:
        shop.stock.free += shop.stock.held.pop(undone())

    return checkout(shop, release=release, **more)


@planted(
    (
        "charge is stuck, so a person must look: its compensation needs what the action "
        "returned, which nobody knows"
    ),
    when="charge is done, but its answer is lost",
    hint=("`charge` may have happened although it raised: its undo is called, and must find it"),
)
def an_undo_by_result(shop: Shop, **more: Any) -> SagaAssembler:
    """Whose answer was lost has no result."""
    return checkout(shop, refund=(shop.bank.refund, result_of()), **more)


@planted(
    "reserve is stuck, so a person must look: its compensation raised KeyError('key')",
    when="the line breaks before reserve has done anything",
    hint=("`reserve` may not have happened at all: its undo is called, and must tolerate that"),
)
def an_undo_by_a_variable(shop: Shop, **more: Any) -> SagaAssembler:
    """Which dies with its process, and is not there if the answer was lost."""
    kept: dict[str, str] = {}

    def reserve() -> None:
        kept["key"] = shop.stock.reserve(key(), 2)

    return checkout(shop, reserve=reserve, release=lambda: shop.stock.release(kept["key"]), **more)


@planted(
    "compensated, but free stock is 8, expected 10",
    when="charge refuses: it raises, and does nothing",
    hint="all that was done before must be undone",
)
def an_undo_that_was_forgotten(shop: Shop, **more: Any) -> SagaAssembler:
    """Reserved for good."""
    return checkout(shop, release=None, **more)


@planted(
    "compensated, but vans is 1, expected 0",
    when="book is done, but its answer is lost",
    hint=(
        "`book` may have happened, and has no undo: it needs one, or is to be the pivot, "
        "with an on_doubt= that asks"
    ),
)
def a_last_operation_without_undo(shop: Shop, **more: Any) -> SagaAssembler:
    """Nothing comes after it that could fail, but its answer may be lost."""
    return checkout(shop, cancel=None, **more)


@planted(
    "compensated, but vans is 1, expected 0",
    when="charge refuses: it raises, and does nothing",
    hint="all that was done before must be undone",
)
def an_undo_of_one_of_two_effects(shop: Shop, **more: Any) -> SagaAssembler:
    """The shelf is never called back."""

    def reserve() -> str:
        shop.courier.book("shelf " + key())
        return shop.stock.reserve(key(), 2)

    return checkout(shop, reserve=reserve, **more)


@planted(
    "compensated, but money is 1200, expected 0",
    when=(
        "book refuses: it raises, and does nothing, and undo charge/bank.refund refuses: it "
        "raises, and does nothing"
    ),
    hint="what `undo charge/bank.refund` refuses must not be taken for undone",
    services=SERVICES,
)
def an_undo_that_catches_too_much(shop: Shop, **more: Any) -> SagaAssembler:
    """It has not undone, and says that it has."""

    def refund() -> None:
        with suppress(Exception):
            shop.bank.refund(undone())

    return checkout(shop, refund=refund, **more)


@planted(
    (
        "reserve is stuck, so a person must look: its compensation raised Refused('a van is "
        "on its way to this shelf')"
    ),
    when="charge refuses: it raises, and does nothing, and undo reserve is faster",
    hint="operations that run at once, and their undos, must not need one another",
    how="choreography",
)
def an_undo_that_depends_on_the_order(shop: Shop, **more: Any) -> SagaAssembler:
    """Nothing says that the van is called back first: charge and book came after nothing."""

    def release() -> None:
        if shop.courier.vans:
            raise Refused("a van is on its way to this shelf")
        shop.stock.release(undone())

    return checkout(shop, release=release, charging={"after": "reserve"}, **more)


@planted(
    ("book is stuck, so a person must look: its compensation raised Refused('nothing was paid')"),
    when="charge refuses: it raises, and does nothing",
    hint="all that was done before must be undone",
    how="choreography",
)
def an_undo_that_needs_what_another_removes(shop: Shop, **more: Any) -> SagaAssembler:
    """Both are made at once."""

    def cancel() -> None:
        shop.courier.cancel(undone())
        if not shop.bank.held:
            raise Refused("nothing was paid")

    return checkout(shop, cancel=cancel, **more)


@planted(
    "compensated, but money is -1200, expected 0",
    when="the line breaks before charge has done anything",
    hint=("`charge` may not have happened at all: its undo is called, and must tolerate that"),
)
def an_undo_without_a_key(shop: Shop, **more: Any) -> SagaAssembler:
    """The money is sent back, each time that it is called, also if it never came."""

    def refund() -> None:
        shop.bank.pay_out(1200)

    return checkout(shop, refund=refund, **more)


@planted(
    (
        "reserve is stuck, so a person must look: its compensation raised Refused('it is "
        "sold by now')"
    ),
    when="charge takes too long: it is given up, and its answer comes later",
    hint="`charge` is given up and undone, and its answer comes after that",
)
def an_undo_that_has_to_hurry(shop: Shop, **more: Any) -> SagaAssembler:
    """It is refused three seconds after the action; one call of another operation takes five."""
    since: list[float] = []

    def reserve() -> str:
        since[:] = [time.monotonic()]
        return shop.stock.reserve(key(), 2)

    def release() -> None:
        if since and time.monotonic() - since[0] > 3:
            raise Refused("it is sold by now")
        shop.stock.release(undone())

    charging = {"charging": {"timeout": 5}}
    return checkout(shop, **{"reserve": reserve, "release": release} | charging | more)


@planted(
    "compensated, but free stock is 8, expected 10",
    when=(
        "charge refuses: it raises, and does nothing, and undo reserve fails once, and does nothing"
    ),
    hint="`undo reserve` is called again, by its retry or by a person",
)
def an_undo_that_trusts_its_first_attempt(shop: Shop, **more: Any) -> SagaAssembler:
    """It takes what was begun for done."""

    def release() -> None:
        if current_operation().attempt == 1:
            shop.stock.release(undone())

    return checkout(shop, release=release, **more)


@planted(
    (
        "charge is stuck, so a person must look: its compensation needs what the action "
        "returned, which nobody knows"
    ),
    when=(
        "charge is done, but its answer is lost, and question of charge fails once, and does "
        "nothing"
    ),
    hint="nobody knows what came of it, so it is undone, or left to a person",
    faults=2,
    without=all_but("lost", "flaky"),
)
def an_undo_by_the_answer_to_a_question(shop: Shop, **more: Any) -> SagaAssembler:
    """There is a result if the bank can be asked, and none if it cannot."""

    def was_charged() -> Answer:
        return happened(key()) if key() in shop.bank.held else NOT_HAPPENED

    return checkout(
        shop, charging={"on_doubt": was_charged}, refund=(shop.bank.refund, result_of()), **more
    )


# --- The action ---


@planted(
    "completed, but money is 0, expected 1200",
    when="the line breaks before charge has done anything",
    hint=("`charge` may not have happened at all: its undo is called, and must tolerate that"),
)
def an_action_that_trusts_its_first_attempt(shop: Shop, **more: Any) -> SagaAssembler:
    """It takes what was begun for done."""

    def charge() -> str:
        if current_operation().attempt == 1:
            shop.bank.charge(key(), 1200)
        return key()

    return retried(shop, charge=charge, **more)


@planted(
    (
        "charge is stuck, so a person must look: its compensation needs what the action "
        "returned, which nobody knows"
    ),
    when="charge is done, but its answer is lost",
    hint=("`charge` may have happened although it raised: its undo is called, and must find it"),
)
def an_action_without_a_key(shop: Shop, **more: Any) -> SagaAssembler:
    """Whoever is called again after a crash charges again."""
    return checkout(
        shop,
        charge=lambda: shop.bank.charge_anew(1200),
        refund=(shop.bank.refund, result_of()),
        **more,
    )


@planted(
    "completed, but money is 2400, expected 1200",
    when="charge is done, but its answer is lost",
    hint=("`charge` may have happened although it raised: its undo is called, and must find it"),
)
def a_new_key_for_each_attempt(shop: Shop, **more: Any) -> SagaAssembler:
    """The undo knows only the last one."""
    made: dict[str, str] = {}

    def charge() -> str:
        made["key"] = uuid.uuid4().hex
        return shop.bank.charge(made["key"], 1200)

    return retried(
        shop, charge=charge, refund=lambda: shop.bank.refund(made.get("key", "")), **more
    )


@planted(
    "compensated, but money is 1200, expected 0",
    when="charge/courier.book refuses: it raises, and does nothing",
    hint="what `charge/courier.book` refuses must not be taken for done, nor half of it",
    services=SERVICES,
)
def effects_that_a_retry_makes_again(shop: Shop, **more: Any) -> SagaAssembler:
    """The first of three calls has no key, and is made again when the second has failed."""

    def charge() -> str:
        made = shop.bank.charge_anew(1200)
        shop.courier.book("receipt " + key())
        shop.courier.cancel("receipt " + key())
        return made

    return retried(shop, charge=charge, refund=(shop.bank.refund, result_of()), **more)


@planted(
    "completed, but vans is 0, expected 1",
    when="book/courier.book refuses: it raises, and does nothing",
    hint="what `book/courier.book` refuses must not be taken for done, nor half of it",
    services=SERVICES,
)
def an_action_that_catches_too_much(shop: Shop, **more: Any) -> SagaAssembler:
    """There is no van, and it says that it was booked."""

    def book() -> str | None:
        try:
            return shop.courier.book(key())
        except Exception:  # noqa: BLE001 - that is the mistake
            return None

    return checkout(shop, book=book, **more)


@planted(
    "compensated, but vans is 1, expected 0",
    when="reserve/stock.reserve refuses: it raises, and does nothing",
    hint="what `reserve/stock.reserve` refuses must not be taken for done, nor half of it",
    services=SERVICES,
)
def a_refusal_that_comes_half_way(shop: Shop, **more: Any) -> SagaAssembler:
    """The van to the shelf is booked, and then the stock says no: a no is not undone."""

    def reserve() -> None:
        shop.courier.book("shelf")
        shop.stock.reserve(key(), 2)

    def release() -> None:
        shop.stock.release(undone())
        shop.courier.cancel("shelf")

    return checkout(shop, reserve=reserve, release=release, **more)


@planted(
    "compensated, but money is 1200, expected 0",
    when="charge takes too long, and its process dies; in the end it takes effect, unseen",
    hint="only a service that refuses a key which was undone helps against this",
    ghosts=True,
)
def a_refund_that_forgets(shop: Shop, **more: Any) -> SagaAssembler:
    """A charge that arrives after its refund is charged."""
    return checkout(
        shop,
        charging={"timeout": 5},
        refund=lambda: shop.bank.refund_and_forget(undone()),
        **more,
    )


# --- What is said of doubt, and of the pivot ---


@planted(
    "compensated, but money is 1200, expected 0",
    when="charge/bank.charge is done, but its answer is lost",
    hint=(
        "`charge/bank.charge` has happened although it raised: the undo is called, and must find it"
    ),
    services=SERVICES,
)
def a_doubt_that_is_declared_away(shop: Shop, **more: Any) -> SagaAssembler:
    """A charge whose answer was lost is taken for one that was refused."""
    return checkout(shop, charging={"doubtful": ()}, **more)


@planted(
    "compensated, but money is 1200, expected 0",
    when="charge is done, but its answer is lost",
    hint=("`charge` may have happened although it raised: its undo is called, and must find it"),
)
def a_no_from_one_who_cannot_tell(shop: Shop, **more: Any) -> SagaAssembler:
    """It has not looked."""
    return checkout(shop, charging={"on_doubt": lambda: NOT_HAPPENED}, **more)


@planted(
    "compensated, but money is 1200, expected 0",
    when=(
        "charge is done, but its answer is lost, and the process dies just after question of "
        "charge, before that is written down"
    ),
    hint="the question is asked again",
    faults=2,
    without=all_but("lost", "crash-after"),
)
def a_question_that_takes_its_answer_away(shop: Shop, **more: Any) -> SagaAssembler:
    """Whoever asks again after a crash is told that there was nothing."""

    def was_charged() -> Answer:
        receipt = shop.bank.fetch_receipt(key())
        return NOT_HAPPENED if receipt is None else happened(receipt)

    return checkout(shop, charging={"on_doubt": was_charged}, **more)


@planted(
    "book is stuck, so a person must look: its action raised Refused('injected')",
    when="book refuses: it raises, and does nothing",
    hint=(
        "`book` comes after the pivot, when nothing is undone any more: it must not refuse; "
        'if it never does, say so: without=("book:refuses",)'
    ),
)
def a_refusal_after_the_pivot(shop: Shop, **more: Any) -> SagaAssembler:
    """The charge cannot be taken back, and the van can be refused."""
    return checkout(shop, charging={"pivot": True}, refund=None, cancel=None, **more)
