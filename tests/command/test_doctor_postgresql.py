"""`saga doctor` on a journal in PostgreSQL: what it tells, and what it advises."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import depot
import pytest
from recorded import begin
from servers.shared import Database

from py_api_saga.journal import PostgreSQLJournal
from py_api_saga.journal.health import Health
from py_api_saga.journal.postgresql import examining


@pytest.fixture
def kept(database: Database) -> Iterator[PostgreSQLJournal]:
    """A journal with its tables."""
    depot.reset()
    journal = PostgreSQLJournal(database.url, schema=database.schema, modules=["depot"])
    with closing(journal):
        journal.create_schema()
        yield journal


def examined(journal: PostgreSQLJournal) -> Health:
    """Give what a view of it tells."""
    with journal.reader() as view:
        return view.health()


def test_the_doctor_tells_of_the_server_and_of_who_lives(kept: PostgreSQLJournal) -> None:
    """Version, settings, clock, pooler; each process with its lease."""
    claim = begin(kept)

    health = examined(kept)

    facts, said = health.facts, dict(health.says)
    assert said["server"].startswith("PostgreSQL 1")
    assert facts["synchronous_commit"] in ("on", "off", "local", "remote_write", "remote_apply")
    assert (facts["pooler"], facts["standby"], facts["format"]) == (False, False, 2)
    [process] = facts["processes"]
    assert process["pid"] == os.getpid()
    assert 0 < process["lease"] <= 30
    assert "its lease runs" in said["process"]
    assert abs(facts["clock_ahead"]) < 5
    assert (health.sagas["running"], health.left_by_dead, health.damage) == (1, 0, [])
    assert "secret" not in str(health)
    kept.leave(claim)


def test_the_doctor_names_indexes_that_are_missing(
    kept: PostgreSQLJournal, database: Database
) -> None:
    """And what makes them."""
    psycopg: Any = pytest.importorskip("psycopg")
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(f'DROP INDEX "{database.schema}".saga_saga_stuck')
        connection.execute(
            "UPDATE pg_class SET reltuples = 200000 WHERE oid = %s::regclass",
            (f'"{database.schema}".saga_entry',),
        )

    advice = examined(kept).advice

    assert (
        "the index saga_stuck is missing: run what `saga schema postgresql --upgrade`" in advice[0]
    )
    assert "saga_entry SET (autovacuum_vacuum_scale_factor = 0.02)" in advice[1]
    assert "saga_saga SET" not in " ".join(advice)


FACTS: dict[str, Any] = {
    "server_version": "16.1",
    "synchronous_commit": "on",
    "fsync": "on",
    "standby": False,
    "asynchronous_standbys": 0,
    "size": 4,
    "oldest_transaction": None,
    "pooler": False,
    "format": 1,
    "clock_ahead": 0.0,
    "processes": [],
}


@pytest.mark.parametrize(
    ("fact", "value", "said"),
    [
        ("synchronous_commit", "off", "which each transaction of the journal overrules"),
        ("fsync", "off", "the server has fsync=off"),
        ("standby", True, "it is a standby, which can only be read"),
        ("asynchronous_standbys", 1, "a failover to it loses what it has not got yet"),
        ("oldest_transaction", 7200, "a transaction has been open for 7,200 s"),
        ("pooler", True, "through a pooler"),
        ("clock_ahead", 60.0, "60 s ahead of this machine's"),
        ("clock_ahead", -60.0, "60 s behind this machine's"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(fact: str, value: Any, said: str) -> None:
    """And nothing of it, where all is well."""
    server: Any = SimpleNamespace(place="postgresql://db/shop", naming="saga_", durability="power")

    def words(facts: dict[str, Any]) -> str:
        lines = [text for _, text in examining.in_words(server, facts)]
        lines += examining.why_not_written(server, facts)
        return "\n".join(lines + examining.advice_on(facts, [], []))

    assert said not in words(FACTS)
    assert said in words(FACTS | {fact: value})
