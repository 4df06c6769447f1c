"""Assertions, faults by hand and virtual time, of sagas whose calls return `later(...)`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from py_api_saga import (
    SagaAssembler,
    SagaException,
    SagaPending,
    SagaStatus,
    answer,
    later,
    recover,
)
from py_api_saga.journal import MemoryJournal, SQLiteJournal
from py_api_saga.testing import (
    Clock,
    assert_compensated,
    assert_completed,
    assert_stuck,
    fail_at,
)

DAY = 86_400.0
KEY = "order-7:approval:action"
done: list[str] = []


def reserve() -> None:
    """Action."""
    done.append("reserve")


def release() -> None:
    """Undo."""
    done.append("release")


def ask() -> Any:
    """Action that asks somebody, who has a day."""
    return later(timeout=DAY)


def cool_off() -> Any:
    """Action that waits until the next day."""
    return later(until=datetime.fromtimestamp(START + DAY, UTC), result="kept")


def book() -> None:
    """Action."""
    done.append("book")


START = 1_800_000_000.0


@pytest.fixture
def journal() -> MemoryJournal:
    """A journal that knows the functions of this module."""
    done.clear()
    return MemoryJournal([__name__])


def approved(journal: Any, asking: Any = ask) -> SagaAssembler:
    """Reserve, ask, and book."""
    saga = SagaAssembler.saga(name="approved", journal=journal)
    return saga.operation(reserve, release).operation(asking, name="approval").operation(book)


def pending(journal: Any, asking: Any = ask) -> SagaPending:
    """Run it until it waits."""
    with pytest.raises(SagaPending) as raised:
        approved(journal, asking).orchestrator_execute(saga_id="order-7")
    return raised.value


WAITS = (
    f"but it waits for {KEY!r}: answer that first, answer(journal, {KEY!r}, result=...), or let "
    "its time come, and recover\n\n"
)


@pytest.mark.parametrize("check", [assert_completed, assert_compensated, assert_stuck])
def test_one_that_waits_has_not_ended_and_is_to_be_answered(
    journal: MemoryJournal, check: Any
) -> None:
    """Whichever end is expected; what it waits for is named by its key."""
    status = check.__name__.removeprefix("assert_").upper()
    error = pending(journal)

    for subject in ((error,), (journal, "order-7")):
        with pytest.raises(AssertionError) as caught:
            check(*subject)
        assert str(caught.value).startswith(f"expected saga 'order-7' to be {status}, {WAITS}")


def test_an_answered_one_has_ended(journal: MemoryJournal) -> None:
    """By a result, or by an error."""
    pending(journal)
    answer(journal, KEY, result="yes")
    assert_completed(journal, "order-7")

    other = MemoryJournal([__name__])
    pending(other)
    answer(other, KEY, error=ValueError("too dear"))
    assert_compensated(other, "order-7", "reserve")


def test_one_whose_answer_nobody_has_taken_in_is_not_to_be_answered(
    journal: MemoryJournal,
) -> None:
    """A worker is what is lacking."""
    pending(journal)
    answer(journal, KEY, result="yes", go_on=False)

    with pytest.raises(AssertionError, match="to be COMPLETED, but it is RUNNING"):
        assert_completed(journal, "order-7")


def test_what_fails_behind_an_answer_fails_where_it_is_gone_on_with(
    journal: MemoryJournal,
) -> None:
    """The block is that of the answer, too."""
    with fail_at("book", ConnectionError):
        pending(journal)
        told = answer(journal, KEY, result="yes")

    assert isinstance(told.error, SagaException)
    assert_compensated(journal, "order-7", "reserve")


def test_a_call_whose_beginning_is_lost_is_in_doubt(journal: MemoryJournal) -> None:
    """It has begun something, and its answer may come all the same."""
    with (
        pytest.raises(SagaException) as caught,
        fail_at("approval", ConnectionResetError, after=True),
    ):
        approved(journal).orchestrator_execute(saga_id="order-7")

    assert_compensated(caught.value, "reserve")
    assert answer(journal, KEY, result="yes").status is SagaStatus.COMPENSATED


def test_a_fault_behind_what_waits_says_that_it_waits(journal: MemoryJournal) -> None:
    """And what is to be done in the block; not once that is answered."""
    with pytest.raises(AssertionError) as caught, fail_at("book", ConnectionError):
        pending(journal)

    assert str(caught.value) == (
        "fail_at('book'): it was never called, so it did not fail; the saga waits for "
        f"{KEY!r}: in the block, answer that, answer(journal, {KEY!r}, result=...), or let its "
        "time come, and recover"
    )
    with pytest.raises(AssertionError) as caught, fail_at("undo reserve", ConnectionError):
        answer(journal, KEY, result="yes")
    assert str(caught.value) == ("fail_at('undo reserve'): it was never called, so it did not fail")


@pytest.mark.parametrize("is_file", [False, True])
def test_virtual_time_brings_what_is_due(is_file: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """An answer that is too late, and a time that has come; nobody waits for them."""
    made: Any = (
        MemoryJournal
        if not is_file
        else lambda names: SQLiteJournal(
            tmp_path / f"{len([*tmp_path.iterdir()])}.db", modules=names
        )
    )
    for asking, outcome in ((ask, SagaStatus.COMPENSATED), (cool_off, SagaStatus.COMPLETED)):
        journal = made([__name__])
        with Clock(START) as clock:
            error = pending(journal, asking)
            assert error.due == pytest.approx(START + DAY, abs=0.01)
            clock.sleep(DAY / 2)
            assert recover(journal, max_workers=0) == []
            clock.sleep(DAY / 2 + 1)
            assert [one.outcome for one in recover(journal, max_workers=0)] == [outcome]
