"""Somebody else's transaction holds what a journal in PostgreSQL needs: who waits, who doesn't."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from crash import held, shop
from servers.shared import Database

from py_api_saga import SagaStatus
from py_api_saga.journal import PostgreSQLJournal


@pytest.fixture
def journal(database: Database) -> Iterator[Any]:
    """An empty journal, which waits for long."""
    modules = ["crash.held", "crash.shop"]
    made = PostgreSQLJournal(database.url, schema=database.schema, modules=modules, patience=600)
    with closing(made) as journal:
        journal.create_schema()
        yield journal


def test_a_saga_whose_row_is_held_waits_and_no_other_does(journal: Any, database: Database) -> None:
    """Those of the same process, which share its commits: they run, one by one, and end."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            lambda: held.saga(held.wait).orchestrator_execute(journal=journal, saga_id="held")
        )
        with held.holding(database, "held"):
            for n in range(20):
                held.saga(shop.tick, n).orchestrator_execute(journal=journal, saga_id=f"{n}")
            assert not waiting.done()
        waiting.result()

    assert journal.find("held").status is SagaStatus.COMPLETED
