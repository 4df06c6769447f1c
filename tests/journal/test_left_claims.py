"""A claim that this process has left stands in PostgreSQL until its next commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from recorded import begin, seen, served

from py_api_saga.exceptions import SagaInProgress
from py_api_saga.journal.changes import Create, SagaExistsError, Take
from py_api_saga.journal.postgresql.server import Server

Lose = Callable[[], None]


@pytest.fixture
def lose(monkeypatch: pytest.MonkeyPatch) -> Lose:
    """Lose the answer to the next transaction, with its connection."""
    transact = Server.transact

    def lose() -> None:
        def lost(self: Server, connection: Any, *rest: Any) -> Any:
            monkeypatch.setattr(Server, "transact", transact)
            transact(self, connection, *rest)
            connection.close()
            raise psycopg.OperationalError("the answer is lost")

        monkeypatch.setattr(Server, "transact", lost)

    return lose


def test_what_was_claimed_before_is_not_the_claim_whose_answer_was_lost(lose: Lose) -> None:
    """It has the number of the process, and the epoch that this one would have had."""
    with served("postgresql") as journal:
        claim = begin(journal)
        old = seen(journal)
        journal.leave(claim)
        journal.write(first := Take(old))
        journal.leave(first.check())
        lose()
        journal.write(late := Take(old))

        with pytest.raises(SagaInProgress):
            late.check()


def test_what_was_begun_before_is_not_what_was_begun_with_its_answer_lost(lose: Lose) -> None:
    """Else it would have the rows of the other one."""
    with served("postgresql") as journal:
        journal.leave(begin(journal))
        lose()
        journal.write(late := Create("a", "x", "[2]"))

        with pytest.raises(SagaExistsError):
            late.check()


def test_a_claim_whose_answer_was_lost_is_made(lose: Lose) -> None:
    """Both kinds of it, once."""
    with served("postgresql") as journal:
        begin(journal, "other")
        lose()
        claim = begin(journal)
        journal.leave(claim)
        begin(journal, "another")
        lose()
        journal.write(take := Take(seen(journal)))

        assert take.check().epoch == 2
        assert journal.drives(seen(journal))
