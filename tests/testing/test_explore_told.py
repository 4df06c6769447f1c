"""What `explore` says of a finding where most of its kind call for something else."""

from __future__ import annotations

from typing import Any

import pytest
from till import Shop, action_key, key

from py_api_saga import SagaAssembler
from py_api_saga.testing import explore
from py_api_saga.testing.telling import BrokenSagaError, Finding


def first_finding(run: Any, **options: Any) -> Finding:
    """Explore what must be broken, and give the first that is found."""
    with pytest.raises(BrokenSagaError) as raised:
        explore(run, **{"world": Shop, "state": Shop.ledgers, **options})
    return raised.value.findings[0]


def reserving(shop: Shop) -> SagaAssembler:
    """Reserve, and release."""
    return SagaAssembler.saga().operation(
        lambda: shop.stock.reserve(key(), 2),
        lambda: shop.stock.release(action_key()),
        name="reserve",
    )


def charge_what_is_reserved(shop: Shop) -> None:
    """Charge for what another operation has reserved."""
    if not shop.stock.held:
        raise ValueError("nothing is reserved")
    shop.bank.charge(key(), 1200)


def charging(shop: Shop, *, after: str | tuple[str, ...]) -> SagaAssembler:
    """Reserve and charge at once, unless one is said to come after the other."""
    return reserving(shop).operation(
        lambda: charge_what_is_reserved(shop),
        lambda: shop.bank.refund(action_key()),
        name="charge",
        after=after,
    )


def test_a_forgotten_after_is_found_though_all_is_undone() -> None:
    """Nothing has failed in itself: only the order was another one than that of the calm run."""
    finding = first_finding(lambda shop: charging(shop, after=()), how="choreography")

    assert finding.message == (
        "compensated, though only the order is another: "
        "charge raised ValueError('nothing is reserved')"
    )
    assert finding.operation == "charge"
    assert finding.replay == "order:first charge"


def test_what_comes_after_another_is_right() -> None:
    """Then no order can make it fail."""
    explored = explore(
        lambda shop: charging(shop, after="reserve"),
        world=Shop,
        state=Shop.ledgers,
        how="choreography",
    )

    assert explored.schedules > 30


def test_an_operation_without_an_undo_is_said_to_have_none() -> None:
    """Where others are told what theirs has to tolerate."""
    finding = first_finding(
        lambda shop: reserving(shop).operation(lambda: shop.bank.charge(key(), 1200), name="charge")
    )

    assert finding.replay == "charge:lost"
    assert finding.hint == (
        "`charge` may have happened, and has no undo: it needs one, or is to be the pivot, with an "
        "on_doubt= that asks"
    )


def test_what_comes_after_the_pivot_must_not_refuse() -> None:
    """Nothing is undone any more; and how to say that it never does."""

    def pivoted(shop: Shop) -> SagaAssembler:
        saga = SagaAssembler.saga().operation(lambda: None, name="go", pivot=True)
        return saga.operation(lambda: shop.bank.charge(key(), 1200), name="charge")

    never = ("go:lost", "go:doubt", "go:cancelled")
    finding = first_finding(pivoted, without=never)

    assert finding.replay == "charge:refuses"
    assert (
        'it must not refuse; if it never does, say so: without=("charge:refuses",)' in finding.hint
    )


def test_what_a_run_does_after_its_saga_is_not_done_by_recovery() -> None:
    """A crash in the saga has it go on, and the rest of the view does not."""

    def view(shop: Shop) -> None:
        reserving(shop).orchestrator_execute()
        shop.bank.charge("view", 1200)

    finding = first_finding(view)

    assert finding.message == "completed, but charged is [], expected [1200]"
    assert finding.hint == (
        "what a run does besides its saga is not done by whoever goes on with that: make it an "
        "operation, or give the saga an id and call again"
    )


@pytest.mark.parametrize(
    ("name", "end"), [(None, "end of the saga"), ("order", "end of order")], ids=str
)
def test_a_crash_behind_a_saga_is_told_of_its_end(name: str | None, end: str) -> None:
    """Nothing is to be written down there: the next line of the view is not come to."""

    def view(shop: Shop) -> None:
        SagaAssembler.saga(name=name).operation(lambda: None, name="go").orchestrator_execute()
        shop.bank.charge("view", 1200)

    finding = first_finding(view, without=("go:crash-before", "go:crash-after"), blind=False)

    assert finding.replay == f"{end}:crash-after"
    assert finding.when == [f"the process dies just after the {end}, before the next line"]
    assert f"! {finding.when[0]}" in finding.story


def held(shop: Shop, _: object) -> None:
    """Fail by more than a line."""
    if shop.stock.free != 10:
        raise AssertionError(f"free is {shop.stock.free}\nwhich is too few")


def test_the_first_line_of_a_report_sums_it_up() -> None:
    """It is all that pytest's summary shows of a test that fails."""
    with pytest.raises(BrokenSagaError) as raised:
        explore(reserving, world=Shop, check=held)

    lines = ["1 finding: completed, but free is 8", "", "1. completed, but free is 8"]
    assert str(raised.value).splitlines()[:3] == lines


def test_what_pytest_has_failed_is_a_finding() -> None:
    """Its failures are not AssertionErrors, and end a test where they are raised."""

    def check(shop: Shop, _: object) -> None:
        if shop.bank.charges:
            pytest.fail("it was charged")

    finding = first_finding(lambda shop: charging(shop, after="reserve"), check=check)

    assert finding.message == "completed, but it was charged"


def test_the_middle_of_a_long_story_is_left_out() -> None:
    """A run without an end has a thousand lines, of which few say more than one."""
    story = [f"  line {number}" for number in range(100)]
    text = str(Finding("wrong", "", ["nothing goes wrong"], story, "", ""))

    assert "     line 29\n     … 40 more lines\n     line 70\n" in text
    assert "line 30" not in text
