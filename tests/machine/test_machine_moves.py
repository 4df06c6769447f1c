"""The tables of moves: each that is listed is made, and no other."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from dialogue import STORIES, Dialogue, one

from py_api_saga import SagaStatus, Status
from py_api_saga.entries import FAILED
from py_api_saga.execution import IllegalMoveError
from py_api_saga.status import LEGAL, SAGA_LEGAL


@pytest.fixture(scope="module")
def told() -> list[Dialogue]:
    """Tell all the stories."""
    return [story() for story in STORIES]


def moves(table: Mapping[Any, Iterable[Any]]) -> list[Any]:
    """List a table's moves, each with a name for the test."""
    return [
        pytest.param((a, b), id=f"{a.value} to {b.value}")
        for a in table
        for b in table
        if b in table[a]
    ]


@pytest.mark.parametrize("move", moves(LEGAL))
def test_every_listed_move_of_an_operation_is_made(move: object, told: list[Dialogue]) -> None:
    """The table lists no move that nothing leads to; the world shows that it lists all others."""
    assert [d for d in told if move in d.x.seen]


@pytest.mark.parametrize("move", moves(SAGA_LEGAL))
def test_every_listed_move_of_a_saga_is_made(move: object, told: list[Dialogue]) -> None:
    """The table lists no move that nothing leads to."""
    assert [d for d in told if move in d.x.saga_seen]


def test_the_tables_know_every_status() -> None:
    """Every status says what it may become; SKIPPED and COMPLETED are for ever."""
    assert set(LEGAL) == set(Status)
    assert set(SAGA_LEGAL) == set(SagaStatus)
    assert [status for status in Status if not LEGAL[status]] == [Status.SKIPPED]
    assert [status for status in SagaStatus if not SAGA_LEGAL[status]] == [SagaStatus.COMPLETED]


def test_a_move_that_is_not_listed_raises() -> None:
    """Should a rule of the machine ever contradict the table, the table wins."""
    d = one()
    d.start("a")
    d.x.status[0] = Status.SKIPPED

    with pytest.raises(IllegalMoveError, match="a: SKIPPED -> FAILED"):
        d.end(FAILED, "a", ValueError("a"))

    e = one()
    e.start("a")
    e.x.saga = SagaStatus.COMPLETED

    with pytest.raises(IllegalMoveError, match="saga: COMPLETED -> COMPENSATING"):
        e.end(FAILED, "a", ValueError("a"))
