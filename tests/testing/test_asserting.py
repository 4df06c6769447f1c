"""How a saga has ended, asserted; what fails says why."""

from __future__ import annotations

from typing import Any

import depot
import pytest
from depot import fail
from recorded import chain, crashed, order, stuck
from world import World, failure_of, steps

from py_api_saga import JournalError, SagaAssembler, SagaException, recover
from py_api_saga.journal import MemoryJournal
from py_api_saga.repair import purge
from py_api_saga.testing import assert_compensated, assert_completed, assert_stuck


def _says(check: Any, *arguments: Any) -> str:
    """Say what an assertion complains of."""
    with pytest.raises(AssertionError) as caught:
        check(*arguments)
    return str(caught.value)


@pytest.fixture
def undone(world: World) -> SagaException:
    """What a saga raises that was undone."""
    saga = steps(world, "a", "b")
    saga.operation((world.fail, "c", ValueError("no courier")), name="c", after="b")
    error: SagaException = failure_of(lambda saga: saga.orchestrator_execute(), saga)
    return error


@pytest.fixture
def stays(world: World) -> SagaException:
    """What a saga raises whose second undo has failed."""
    saga = steps(world, "a")
    saga.operation((world.do, "b"), (world.fail, "undo b", OSError("no bank")), name="b")
    saga.operation((world.fail, "c", ValueError("no courier")), name="c", after="b")
    error: SagaException = failure_of(lambda saga: saga.orchestrator_execute(), saga)
    return error


def test_what_a_saga_returned_has_completed(execute: Any, world: World) -> None:
    """On each executor."""
    results = execute(steps(world, "a"))

    assert_completed(results)
    assert _says(assert_compensated, results, "a") == (
        "expected the saga to be COMPENSATED, but it is COMPLETED\n\nEvery operation succeeded."
    )
    assert "to be STUCK, but it is COMPLETED" in _says(assert_stuck, results)


def test_what_a_saga_raised_says_what_was_undone(undone: SagaException) -> None:
    """The operations in any order; or without any."""
    assert_compensated(undone)
    assert_compensated(undone, "a", "b")
    assert_compensated(undone, "b", "a")
    assert _says(assert_completed, undone) == (
        "expected the saga to be COMPLETED, but it is COMPENSATED\n\n"
        "operation 'c' failed: ValueError('no courier')\n"
        "  compensated: b, a"
    )


def test_all_that_were_undone_are_to_be_named(undone: SagaException) -> None:
    """So a test sees one that is undone too much, or not at all."""
    assert _says(assert_compensated, undone, "a").splitlines()[0] == (
        "expected the saga to be COMPENSATED with these operations undone: a; got a, b"
    )
    assert "undone: a, b, c; got a, b\n" in _says(assert_compensated, undone, "a", "b", "c")


def test_a_name_that_no_operation_has_is_named(undone: SagaException) -> None:
    """A typo is said to be one."""
    assert "got a, b; there is no operation reserve\n" in _says(
        assert_compensated, undone, "a", "reserve"
    )


def test_an_undo_that_failed_is_not_one_that_was_made(stays: SagaException) -> None:
    """Such a saga is stuck, and what is stuck was not undone."""
    assert_stuck(stays)
    assert_stuck(stays, "b")
    assert _says(assert_compensated, stays, "a", "b") == (
        "expected the saga to be COMPENSATED, but it is STUCK\n\n"
        "operation 'c' failed: ValueError('no courier')\n"
        "  compensated: a\n"
        "  STUCK b: its compensation raised OSError('no bank')"
    )
    assert "with these operations stuck: a; got b\n" in _says(assert_stuck, stays, "a")


def test_what_never_ran_is_neither() -> None:
    """Its exception is one of a saga all the same."""
    error = failure_of(lambda saga: saga.orchestrator_execute(), SagaAssembler.saga())

    for check in (assert_completed, assert_compensated, assert_stuck):
        assert "but it never ran\n\nSet operation first" in _says(check, error)


# --- on record -----------------------------------------------------------------------------------


def test_a_journal_says_what_was_undone(journal: Any) -> None:
    """By the id of the saga; in each journal."""
    depot.behaviour["c"] = fail(ValueError("no courier"))
    with pytest.raises(SagaException):
        chain("a", "b", "c").orchestrator_execute(journal=journal, saga_id="x")

    assert_compensated(journal, "x")
    assert_compensated(journal, "x", "b", "a")
    says = _says(assert_completed, journal, "x")
    assert says.startswith("expected saga 'x' to be COMPLETED, but it is COMPENSATED\n\nx (depot)")
    assert says.endswith(
        "\n  a COMPENSATED: is undone"
        "\n  b COMPENSATED: is undone"
        "\n  c FAILED: failed, and has no effect: ValueError('no courier')"
    )


def test_a_journal_says_what_has_completed(journal: Any) -> None:
    """With nothing to name."""
    chain("a").orchestrator_execute(journal=journal, saga_id="x")

    assert_completed(journal, "x")
    assert "saga 'x' to be STUCK, but it is COMPLETED" in _says(assert_stuck, journal, "x", "a")


def test_a_journal_says_what_is_stuck_and_why(journal: Any) -> None:
    """In the words of `saga why`."""
    stuck(journal)

    assert_stuck(journal, "x")
    assert_stuck(journal, "x", "b")
    says = _says(assert_compensated, journal, "x", "a", "b")
    assert "Its rollback has ended, and what is STUCK below could not be undone." in says
    assert "\n  b STUCK: its compensation raised OSError('no bank')" in says


def test_what_is_open_is_said_to_be_so(journal: Any) -> None:
    """What a process has left has not ended; once it is recovered it has."""
    crashed(journal, order(), 2)

    assert "to be COMPLETED, but it is RUNNING" in _says(assert_completed, journal, "x")
    recover(journal)
    assert_completed(journal, "x")


def test_what_was_purged_has_ended_and_names_nothing(journal: Any) -> None:
    """Its operations are gone."""
    chain("a").orchestrator_execute(journal=journal, saga_id="x")
    purge(journal, journal.find("x"))

    assert_completed(journal, "x")
    assert "its details were purged" in _says(assert_compensated, journal, "x")


def test_there_is_no_such_saga(journal: Any) -> None:
    """It fails, and says so."""
    for check in (assert_completed, assert_compensated, assert_stuck):
        assert _says(check, journal, "y").startswith("there is no saga 'y' in the journal")


def test_a_journal_that_cannot_be_read_says_so_itself() -> None:
    """That is not how a saga has ended."""

    class Broken(MemoryJournal):
        def find(self, _: str) -> Any:
            raise JournalError("the disk is gone")

    with pytest.raises(JournalError, match="the disk is gone"):
        assert_completed(Broken(), "x")


def test_bad_input_is_refused_in_words(undone: SagaException) -> None:
    """As by an error that no test expects."""
    wrong: Any = assert_stuck
    with pytest.raises(TypeError, match=r"or a journal and the id of a saga in it, got str$"):
        wrong("x")
    with pytest.raises(TypeError, match=r"got type$"):
        wrong(MemoryJournal, "x")
    with pytest.raises(ValueError, match="x") as caught:
        int("x")
    with pytest.raises(TypeError, match=r"got ExceptionInfo; give its \.value$"):
        wrong(caught)
    with pytest.raises(TypeError, match="expected the id of a saga in the journal, got none"):
        wrong(MemoryJournal())
    with pytest.raises(TypeError, match="expected names of operations, got int"):
        wrong(undone, 1)
    wrong = assert_completed
    with pytest.raises(TypeError, match="expected no names of operations: each has succeeded"):
        wrong(undone, "a")
