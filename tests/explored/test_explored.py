"""Every planted mistake is found with one fault, and told in words; in what is right nothing is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

from py_api_saga import SagaException
from py_api_saga.testing import explore
from py_api_saga.testing.faults import FAULTS, Place
from py_api_saga.testing.telling import BrokenSagaError, Explored, Finding

from . import awaited, mistakes, on_record, on_record_awaited, over_http
from .mistakes import MISTAKES, Mistake
from .right import RIGHT
from .shop import SERVICES, Shop, checkout

MOST = 500  # schedules with one fault in a saga of three operations


def explored(make: Callable[[Shop], object], **told: Any) -> Explored:
    """Explore a saga of the shop."""
    return explore(make, **{"world": Shop, "state": Shop.ledgers, **told})


def findings_of(run: Callable[[Any], object], **told: Any) -> list[Finding]:
    """Explore something, and give what is found."""
    try:
        explore(run, **told)
    except BrokenSagaError as broken:
        return [*broken.findings]
    return []


def findings(make: Callable[[Shop], object], **told: Any) -> list[Finding]:
    """Explore a saga of the shop, and give what is found."""
    return findings_of(make, **{"world": Shop, "state": Shop.ledgers, **told})


# --- The mistakes ------------------------------------------------------------------------------


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda one: one.name)
def test_a_planted_mistake_is_found_with_one_fault_and_told(mistake: Mistake) -> None:
    """What is wrong, when, and what helps; and its schedule, run again, says the same."""
    with pytest.raises(BrokenSagaError) as caught:
        explored(mistake.make, **mistake.told)

    first = caught.value.findings[0]
    assert (first.message, ", and ".join(first.when), first.hint) == (
        mistake.says,
        mistake.when,
        mistake.hint,
    )
    assert 3 <= caught.value.explored.schedules <= MOST
    assert findings(mistake.make, **mistake.told, replay=first.replay) == [first]


# --- What is right -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", RIGHT)
def test_nothing_is_found_in_a_saga_that_is_right(name: str) -> None:
    """And each of its undos is missed if it is left out."""
    right = RIGHT[name]

    assert 30 <= explored(right.make, **right.told).schedules <= MOST


# --- The check itself --------------------------------------------------------------------------


def forgets_the_bank(shop: Shop) -> Mapping[str, object]:
    """Give a state in which two of three services are left out."""
    return {"free stock": shop.stock.free}


def looks_at_either_end(shop: Shop, _: object) -> None:
    """Be content with what a saga leaves that was undone, and with what one that was not."""
    assert shop.stock.free in (8, 10)


@pytest.mark.parametrize(
    ("check", "unseen"),
    [
        ({"state": forgets_the_bank}, ["charge", "book"]),
        ({"check": looks_at_either_end}, ["reserve", "charge", "book"]),
    ],
)
def test_a_check_that_cannot_fail_is_named(check: Mapping[str, Any], unseen: list[str]) -> None:
    """With the operations whose undos nobody misses, though nothing else is found."""
    with pytest.raises(BrokenSagaError) as caught:
        explore(checkout, world=Shop, **check)

    told = "".join(one.message for one in caught.value.findings)
    assert [name for name in ("reserve", "charge", "book") if name in told] == unseen
    assert explore(checkout, world=Shop, blind=unseen, **check).schedules > 0


# --- With a journal ----------------------------------------------------------------------------


RIGHT_IN_ORDER = {
    "orchestrator": ["right", "an undo that needs what another removes"],
    "choreography": ["right"],
}


@pytest.mark.parametrize("how", RIGHT_IN_ORDER)
@pytest.mark.parametrize("name", on_record.PARTS)
def test_the_same_is_found_with_a_journal_as_without(name: str, how: str) -> None:
    """The entries in memory stand for what a journal would have kept."""
    found = [
        findings_of(
            lambda _: on_record.checkout(name),
            world=on_record.opened,
            state=Shop.ledgers,
            how=how,
            modules=modules,
        )
        for modules in (None, [on_record.__name__])
    ]

    assert found[0] == found[1]
    assert bool(found[0]) == (name not in RIGHT_IN_ORDER[how])


@pytest.mark.parametrize("how", RIGHT_IN_ORDER)
@pytest.mark.parametrize("name", on_record_awaited.PARTS)
def test_the_same_is_found_of_what_waits_with_a_journal_as_without(name: str, how: str) -> None:
    """Answers come and times pass at the same points, and mean the same."""
    found = [
        findings_of(
            lambda _: on_record_awaited.checkout(name, how),
            world=on_record.opened,
            state=Shop.ledgers,
            answers=on_record_awaited.ANSWERS,
            how=how,
            modules=modules,
        )
        for modules in (None, on_record_awaited.MODULES)
    ]

    assert found[0] == found[1]
    assert bool(found[0]) == (not name.startswith("right"))


# --- The table of faults -----------------------------------------------------------------------


def a_mail_after_the_saga(shop: Shop) -> None:
    """Send a mail once the saga has ended; whoever dies before that never sends it."""
    checkout(shop).orchestrator_execute()
    shop.mails.append("it is on its way")


def forgotten_by_a_deadline(shop: Shop) -> None:
    """Run a saga that has a minute, and no undo of its first operation."""
    try:
        mistakes.an_undo_that_was_forgotten(shop).orchestrator_execute(deadline=60)
    except SagaException:
        shop.mails.clear()


TIMED = {"timeout": 5}
BY_HTTP = {"world": over_http.opened}


# By kind of fault, and where it happens: a saga in which that alone, and perhaps a refusal, shows a
# mistake; and what `explore` is told besides.
ALONE: Mapping[tuple[str, Place], tuple[Callable[[Shop], object], Mapping[str, Any]]] = {
    ("refuses", "action"): (mistakes.an_undo_that_was_forgotten, {}),
    ("refuses", "service"): (
        mistakes.an_action_that_catches_too_much,
        {"services": SERVICES},
    ),
    ("refuses", "service of undo"): (
        mistakes.an_undo_that_catches_too_much,
        {"services": SERVICES},
    ),
    ("lost", "action"): (mistakes.an_undo_by_result, {}),
    ("lost", "undo"): (mistakes.an_undo_that_counts_twice, {}),
    ("lost", "service"): (mistakes.a_doubt_that_is_declared_away, {"services": SERVICES}),
    ("lost", "service of undo"): (
        mistakes.an_undo_without_a_key,
        {"services": SERVICES, "without": {"undo charge:lost"}},
    ),
    ("answers-503", "service"): (over_http.an_answer_that_nobody_looks_at, BY_HTTP),
    ("answers-503", "service of undo"): (over_http.an_undo_that_does_not_look, BY_HTTP),
    ("answers-504", "service"): (over_http.a_504_that_is_taken_for_a_no, BY_HTTP),
    ("answers-504", "service of undo"): (over_http.an_undo_without_a_key, BY_HTTP),
    ("sent-again", "service"): (over_http.a_client_that_sends_again, BY_HTTP),
    ("sent-again", "service of undo"): (over_http.an_undo_that_is_sent_again, BY_HTTP),
    ("doubt", "action"): (mistakes.an_undo_of_what_must_have_happened, {}),
    ("flaky", "action"): (mistakes.an_action_that_trusts_its_first_attempt, {}),
    ("flaky", "undo"): (mistakes.an_undo_that_trusts_its_first_attempt, {}),
    ("flaky", "question"): (mistakes.an_undo_by_the_answer_to_a_question, {"faults": 2}),
    ("down", "action"): (partial(mistakes.retried, release=None), {}),
    ("down", "undo"): (mistakes.an_undo_that_trusts_its_first_attempt, {}),
    ("twice", "action"): (mistakes.an_action_without_a_key, {}),
    ("twice", "undo"): (mistakes.an_undo_that_counts_twice, {}),
    ("crash-before", "action"): (mistakes.an_action_that_trusts_its_first_attempt, {}),
    ("crash-before", "undo"): (mistakes.an_undo_that_trusts_its_first_attempt, {}),
    ("crash-after", "action"): (mistakes.an_action_without_a_key, {}),
    ("crash-after", "undo"): (mistakes.an_undo_that_counts_twice, {}),
    ("crash-after", "question"): (
        mistakes.a_question_that_takes_its_answer_away,
        {"faults": 2},
    ),
    ("crash-after", "service"): (
        mistakes.an_action_without_a_key,
        {"services": SERVICES, "without": {"charge:crash-after"}},
    ),
    ("crash-after", "service of undo"): (
        mistakes.an_undo_without_a_key,
        {"services": SERVICES, "without": {"undo charge:crash-after"}},
    ),
    ("crash-after", "end"): (
        a_mail_after_the_saga,
        {"without": {f"{name}:crash-after" for name in ("reserve", "charge", "book")}},
    ),
    ("late", "action"): (partial(mistakes.an_undo_by_result, charging=TIMED), {}),
    ("late-effect", "action"): (partial(mistakes.an_undo_by_result, charging=TIMED), {}),
    ("ghost", "action"): (mistakes.a_refund_that_forgets, {"ghosts": True}),
    ("deadline", "action"): (forgotten_by_a_deadline, {}),
    ("cancelled", "action"): (mistakes.an_undo_that_was_forgotten, {}),
    ("cancelled", "undo"): (mistakes.an_undo_that_counts_twice, {}),
    ("another first", "order"): (
        mistakes.an_undo_that_depends_on_the_order,
        {"how": "choreography"},
    ),
}


def answered_by(*functions: Callable[[Shop], object], name: str = "charge") -> dict[str, Any]:
    """Say who answers."""
    return {name: functions}


UNDO = "undo charge"
ALONE_AWAITED: Mapping[tuple[str, Place], tuple[Callable[[Shop], object], Mapping[str, Any]]] = {
    ("refuses", "answer"): (
        awaited.a_fee_that_a_refusal_leaves,
        {"answers": awaited.ANSWERS},
    ),
    ("refuses", "answer of undo"): (
        awaited.an_undo_that_is_begun_only_once,
        {"answers": awaited.UNDO_ANSWERS},
    ),
    ("lost", "answer"): (
        awaited.an_undo_that_only_cancels,
        {"answers": awaited.ANSWERS, "without": {"book:lost"}},
    ),
    ("lost", "answer of undo"): (
        awaited.undone_later,
        {"answers": answered_by(awaited.pay_back_each_time, name=UNDO)},
    ),
    ("late-effect", "answer"): (
        awaited.an_undo_that_leaves_what_is_pending,
        {"answers": awaited.ANSWERS},
    ),
    ("never", "answer"): (awaited.an_undo_by_what_was_answered, {"answers": awaited.ANSWERS}),
    ("never", "answer of undo"): (
        awaited.an_undo_that_is_begun_only_once,
        {
            "answers": answered_by(awaited.pay_back_in_time, name=UNDO),
            "without": {"answer of undo charge:refuses"},
        },
    ),
    ("answered-early", "answer"): (
        awaited.awaited_at_once,
        {"answers": answered_by(awaited.confirm_and_tell), "how": "choreography"},
    ),
    ("answered-early", "answer of undo"): (
        awaited.undone_at_once,
        {
            "answers": answered_by(awaited.pay_back_once_it_is_released, name=UNDO),
            "how": "choreography",
        },
    ),
    ("answered-late", "answer"): (awaited.an_undo_that_only_cancels, {"answers": awaited.ANSWERS}),
    ("answered-late", "answer of undo"): (
        awaited.undone_later,
        {"answers": answered_by(awaited.pay_back_in_time, name=UNDO)},
    ),
    ("answered-undone", "answer"): (
        awaited.an_undo_that_is_made_only_once,
        {"answers": answered_by(awaited.confirm_anyway)},
    ),
    ("answered-ended", "answer"): (
        awaited.an_undo_that_is_made_only_once,
        {"answers": answered_by(awaited.confirm_anyway)},
    ),
    ("answered-twice", "answer"): (
        awaited.awaiting,
        {"answers": answered_by(awaited.confirm_each_time)},
    ),
    ("answered-twice", "answer of undo"): (
        awaited.undone_later,
        {"answers": answered_by(awaited.pay_back_each_time, name=UNDO)},
    ),
    ("contradicted", "answer"): (
        awaited.awaiting,
        {"answers": answered_by(awaited.confirm, awaited.take_back)},
    ),
    ("contradicted", "answer of undo"): (
        awaited.undone_later,
        {
            "answers": answered_by(awaited.pay_back, awaited.charge_again, name=UNDO),
            "without": {"answer of undo charge:refuses"},
        },
    ),
    ("sooner", "timer"): (
        awaited.cooled_off,
        {"answers": answered_by(awaited.cut_short, name="cool off")},
    ),
}
ALONE = {**ALONE, **ALONE_AWAITED}


def test_each_place_of_each_kind_of_fault_has_a_mistake_that_only_it_shows() -> None:
    """So that none is in the table for nothing."""
    assert {(kind, place) for kind, fault in FAULTS.items() for place in fault.at} == set(ALONE)


# What must have gone wrong before, at a place to which nothing leads otherwise.
NEEDED = {
    "answer of undo": ["refuses"],
    "order": ["refuses"],
    "question": ["doubt", "lost"],
    "service of undo": ["refuses"],
    "undo": ["refuses"],
}


def found_alone(kind: str, place: Place) -> list[Finding]:
    """Explore a saga under one kind of fault, and what that needs to come to pass."""
    make, told = ALONE[kind, place]
    needed = {kind, *NEEDED.get(place, ())}
    without = {*FAULTS, *told.get("without", ())} - needed
    return findings(make, **{**told, "without": without, "blind": False})


@pytest.mark.parametrize(("kind", "place"), ALONE)
def test_what_one_kind_of_fault_shows_is_not_found_without_its_row(
    kind: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its hints is given; none, without what the row has for the place where it shows."""
    fault = FAULTS[kind]
    hint = re.escape(fault.at[place].hint).replace(re.escape("{site}"), ".+")
    hints = [one.hint for one in found_alone(kind, place)]
    assert any(re.fullmatch(hint, said) for said in hints), hints

    at = {other: of for other, of in fault.at.items() if other != place}
    monkeypatch.setitem(FAULTS, kind, fault._replace(at=at))

    assert found_alone(kind, place) == []
