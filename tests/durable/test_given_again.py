"""An id that is given again: the same answer, a conflict, or a saga that is in progress."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import depot
import pytest
from depot import do, fail
from recorded import Renamed, Wrapped, chain, crashed, status
from world import PATIENCE

from py_api_saga import (
    JournalError,
    SagaAssembler,
    SagaConflict,
    SagaException,
    SagaInProgress,
    SagaStatus,
    SagaStuck,
    Status,
    recover,
    takeover,
)
from py_api_saga.journal import Journal

Execute = Callable[..., Any]
MODULES = ["depot"]


def test_a_completed_saga_gives_its_results_again(execute: Execute, journal: Journal) -> None:
    """What has run under an id does not run again."""
    first = execute(chain("a", "b"), journal=journal, saga_id="x")
    again = execute(chain("a", "b"), journal=journal, saga_id="x")

    assert again == first == ["A", "B"]
    assert again["a"] == "A"
    assert depot.log == ["a", "b"]


def test_a_compensated_saga_raises_again(execute: Execute, journal: Journal) -> None:
    """The same exception, with a stand-in for the error."""
    depot.behaviour["b"] = fail(ValueError("no courier"))
    errors = []
    for _ in range(2):
        with pytest.raises(SagaException) as caught:
            execute(chain("a", "b"), journal=journal, saga_id="x")
        errors.append(caught.value)

    first, again = errors
    assert str(again) == str(first)
    assert again.operation_name == "b"
    assert str(again.operation_error) == "no courier"
    assert again.__cause__ is again.operation_error
    assert again.compensation_success_result == ["a undone"]
    assert again.saga_id == "x"
    assert {n: r.status for n, r in again.operations.items()} == {
        "a": Status.COMPENSATED,
        "b": Status.FAILED,
    }
    assert depot.log == ["a", "b", "undo a"]


def test_a_stuck_saga_is_not_resumed_by_a_caller(execute: Execute, journal: Journal) -> None:
    """It is a person's, and says so each time."""
    depot.behaviour["b"] = fail(ValueError("no courier"))
    depot.behaviour["undo a"] = fail(OSError("no warehouse"))
    for _ in range(2):
        with pytest.raises(SagaStuck) as caught:
            execute(chain("a", "b"), journal=journal, saga_id="x")

        assert list(caught.value.stuck) == ["a"]
        assert "STUCK a: its compensation raised OSError('no warehouse')" in str(caught.value)
    assert depot.log == ["a", "b", "undo a"]
    assert status(journal, "x") is SagaStatus.STUCK
    assert recover(journal) == []


def test_other_arguments_under_the_same_id_are_a_conflict(
    execute: Execute, journal: Journal
) -> None:
    """The message names the operation and not the arguments."""
    execute(chain("a", "b"), journal=journal, saga_id="x")
    other = SagaAssembler.saga(name="depot").operation((do, "secret"), name="a")

    with pytest.raises(
        SagaConflict, match="operation 'a': the arguments of the action differ"
    ) as c:
        execute(other, journal=journal, saga_id="x")

    assert "secret" not in str(c.value)
    assert depot.log == ["a", "b"]


def test_another_name_under_the_same_id_is_a_conflict(execute: Execute, journal: Journal) -> None:
    """Two sagas can't share an id."""
    execute(chain("a"), journal=journal, saga_id="x")

    with pytest.raises(SagaConflict, match="its name is 'depot', got None"):
        execute(SagaAssembler.saga().operation((do, "a"), name="a"), journal=journal, saga_id="x")


def test_operations_that_one_side_lacks_do_not_count(execute: Execute, journal: Journal) -> None:
    """A deploy may have come in between."""
    execute(chain("a", "b"), journal=journal, saga_id="x")

    assert execute(chain("a"), journal=journal, saga_id="x") == ["A", "B"]
    assert execute(chain("a", "b", "c"), journal=journal, saga_id="x") == ["A", "B"]


def test_a_saga_that_runs_is_in_progress(execute: Execute, journal: Journal) -> None:
    """Somebody else with the same id is told so, and nothing runs twice."""
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> str:
        begun.set()
        assert go_on.wait(PATIENCE)
        return "A"

    depot.behaviour["a"] = wait
    results: list[Any] = []
    thread = threading.Thread(
        target=lambda: results.append(execute(chain("a"), journal=journal, saga_id="x"))
    )
    thread.start()
    assert begun.wait(PATIENCE)
    with pytest.raises(SagaInProgress):
        execute(chain("a"), journal=journal, saga_id="x")
    assert recover(journal) == []
    with pytest.raises(SagaInProgress):
        takeover(journal, "x")
    go_on.set()
    thread.join(PATIENCE)

    assert results == [["A"]]
    assert depot.log == ["a"]


def test_an_id_that_is_forgotten_in_this_very_moment_is_nobody_s_fault(
    execute: Execute, journal: Journal
) -> None:
    """It was taken when the saga was to be written, and is free when one looks for what took it."""
    execute(chain("a"), journal=journal, saga_id="x")

    class Forgotten(Wrapped):
        def find(self, _: str) -> None:
            """Find nothing any more."""

    with pytest.raises(JournalError, match="'x' was purged while it was being read; try again"):
        execute(chain("a"), journal=Forgotten(journal), saga_id="x")

    assert depot.log == ["a"]


def test_a_caller_who_cannot_go_on_leaves_the_saga_to_others(
    execute: Execute, journal: Any
) -> None:
    """An orphan whose function is not there in this process does not belong to another one."""
    crashed(journal, chain("a", "b"), 2)
    number = journal.find("x").number

    with pytest.raises(JournalError, match="depot:gone"):
        execute(
            chain("a", "b"),
            journal=Renamed(journal, "depot:undo", "depot:gone", number),
            saga_id="x",
        )

    assert not journal.drives(journal.find("x"))
    assert execute(chain("a", "b"), journal=journal, saga_id="x") == ["A", "B"]


def test_entries_that_contradict_one_another_are_no_answer(execute: Execute, journal: Any) -> None:
    """The results of a saga are not made up."""
    execute(chain("a", "b"), journal=journal, saga_id="x")
    start, other = '["started",0,"action",1,1]', '["started",1,"action",1,1]'

    with pytest.raises(JournalError, match="entries of saga 'x' contradict each other"):
        execute(
            chain("a", "b"),
            journal=Renamed(journal, start, other, journal.find("x").number),
            saga_id="x",
        )
