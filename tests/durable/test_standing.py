"""`saga_status`: where a saga on record stands, for a page that shows an order."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from commands import run
from pending import HOUR, KEY, pending, undo_pending
from recorded import Reversed, order, seen, stuck

from py_api_saga import (
    JournalError,
    SagaDefinitionError,
    SagaStanding,
    SagaStatus,
    Status,
    answer,
    recover,
    repair,
    saga_status,
)
from py_api_saga.journal.changes import Append, Take


def test_a_page_is_told_where_a_saga_stands(journal: Any) -> None:
    """From its start to its end: its status, and what became of each operation."""
    assert saga_status(journal, "x") is None

    order().start(journal=journal, saga_id="x")
    begun = saga_status(journal, "x")
    assert begun is not None
    assert begun[:4] == ("x", "depot", SagaStatus.RUNNING, None)
    assert {name: one.status for name, one in begun.operations.items()} == {
        "a": Status.PENDING,
        "b": Status.PENDING,
        "c": Status.PENDING,
    }

    recover(journal)
    ended = saga_status(journal, "x")
    assert ended is not None
    assert (ended.status, ended.reason) == (SagaStatus.COMPLETED, None)
    assert [one.status for one in ended.operations.values()] == [Status.SUCCEEDED] * 3
    assert [one.result for one in ended.operations.values()] == ["A", "B", "C"]


def test_a_page_is_told_why_a_saga_is_stuck(journal: Any) -> None:
    """In words, as the exception says it; each operation has the error that was raised last."""
    stuck(journal)

    found = saga_status(journal, "x")

    assert found is not None
    assert found.status is SagaStatus.STUCK
    assert found.reason == "b: its compensation raised OSError('no bank')"
    assert found.operations["b"].status is Status.STUCK
    assert "no courier" in str(found.operations["c"].error)


def test_a_page_is_told_that_recovery_gave_up(journal: Any) -> None:
    """Why it did, as long as nobody has decided since."""
    order().start(journal=journal, saga_id="x")
    take = Take(seen(journal, "x"))
    journal.write(take)
    journal.write(Append(take.check(), '[["parked",{"reason":"too often"}]]', SagaStatus.STUCK))

    found = saga_status(journal, "x")
    assert found is not None
    assert (found.status, found.reason) == (SagaStatus.STUCK, "recovery gave up: too often")

    repair.again(journal, "x", who="ada", why="")
    found = saga_status(journal, "x")
    assert found is not None
    assert (found.status, found.reason) == (SagaStatus.RUNNING, None)


def test_of_a_saga_that_was_purged_there_is_its_end(journal: Any) -> None:
    """What became of its operations is not on record any more."""
    run(order(), journal)
    repair.purge(journal, seen(journal, "x"))

    assert saga_status(journal, "x") == SagaStanding("x", "depot", SagaStatus.COMPLETED, None, {})


def test_what_cannot_be_read_is_an_error_that_names_the_saga(
    open_journal: Callable[..., Any],
) -> None:
    """Not a standing that leaves something out."""
    journal = open_journal(codec=Reversed())
    run(order(), journal)
    journal.codec = None

    with pytest.raises(JournalError, match=r"^saga 'x': "):
        saga_status(journal, "x")


def test_what_is_not_a_journal_is_refused() -> None:
    """In words."""
    with pytest.raises(SagaDefinitionError, match="saga_status"):
        saga_status("sagas.db", "x")  # type: ignore[arg-type]


# --- what it waits for ----------------------------------------------------------------------------


def test_a_page_is_told_what_a_saga_waits_for(journal: Any) -> None:
    """The keys that answer it, and until when; until it waits no more."""
    before = time.time()
    due = pending(journal).due
    assert due is not None

    found = saga_status(journal, "x")

    assert found is not None
    assert (found.status, found.awaited, found.due) == (SagaStatus.RUNNING, (KEY,), due)
    assert before + HOUR <= due
    assert found.operations["b"].status is Status.RUNNING
    answer(journal, KEY, result="B")
    ended = saga_status(journal, "x")
    assert ended is not None
    assert (ended.status, ended.awaited, ended.due) == (SagaStatus.COMPLETED, (), None)


def test_a_page_is_told_that_it_waits_for_ever_or_until_the_deadline(journal: Any) -> None:
    """Of several answers the first is due; none is, if all may take as long as they like."""
    pending(journal, timeout=None)
    ever = saga_status(journal, "x")
    assert ever is not None
    assert (ever.awaited, ever.due) == ((KEY,), None)

    late = pending(journal, "y", deadline=60, timeout=HOUR)
    found = saga_status(journal, "y")
    assert found is not None
    assert found.due == pytest.approx(late.due, abs=1)
    assert found.due is not None
    assert found.due < time.time() + 61


def test_a_rollback_is_not_told_of_its_deadline(journal: Any) -> None:
    """It takes as long as it has to."""
    due = undo_pending(journal).due

    found = saga_status(journal, "x")

    assert found is not None
    assert found.status is SagaStatus.COMPENSATING
    assert (found.awaited, found.due) == (("x:b:compensation",), due)
