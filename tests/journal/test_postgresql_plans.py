"""How PostgreSQL finds what a journal asks for, in tables that nobody has analyzed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import psycopg
import pytest
from servers.shared import Database

from py_api_saga.journal import PostgreSQLJournal
from py_api_saga.journal.postgresql.writes import array, texts

# What looks at all sagas, since it is about all of them.
ALL = {"counts_by_name"}

GIVEN: dict[str, Any] = {
    "owner": 7,
    "lease": 30000,
    "host": "here",
    "pid": 1,
    "numbers": array([5, 70000]),
    "epochs": array([1, 1]),
    "ns": array([2, 2]),
    "bodies": texts(["[2]", "[2]"]),
    "statuses": array([None, None]),
    "rested": array([False, False]),
    "keys": texts(["s5:a:action", "s70000:a:action"]),
    "suspends": array([True, True]),
    "taken": array([5, 70000]),
    "tries": array([None, None]),
    "dues": array([None, None]),
    "changed": array([None, None]),
    "ids": texts(["s5", "s70000"]),
    "names": texts(["x", None]),
    "driven": array([True, True]),
    "owners": array([3, 3]),
    "force": array([False, False]),
    "counted": array([1, 1]),
    "delays": array([0, 0]),
    "digests": texts(["d", "d"]),
    "id": "s5",
    "saga_id": "s5",
    "body": "[1]",
    "created": array([0, 0]),
    "of": texts(["s5", "s70000"]),
    "answered": texts(["s5", "s70000"]),
    "came": array([0, 0]),
    "letters": texts(["[]", "[]"]),
    "n": array([1, 1]),
    "at": array([0, 0]),
    "now": 1 << 50,
    "late": 1 << 60,
    "skip": array([1]),
    "limit": 10,
    "below": 1 << 60,
    "most": 1000,
    "name": "x",
    "before": None,
    "after": None,
    "prefix": "s500",
    "past": "s501",
}
# For which other values are given than to a write of the same name.
SELECTED = {"statuses": array([3])}
NOT_STATEMENTS = {"begin", "begin_reading", "settings", "commit", "server", "is_made", "now"}


@pytest.mark.untraced
def test_no_table_is_read_from_end_to_end(database: Database) -> None:
    """With 100,000 sagas, most of which have ended; also if the plan was made when it was empty."""
    with closing(PostgreSQLJournal(database.url, schema=database.schema)) as journal:
        journal.create_schema()
        queries = journal.bench.server.queries
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(f"SET search_path = {database.schema}")
        for table in ("saga_saga", "saga_entry", "saga_mail"):
            connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        connection.execute(
            "INSERT INTO saga_saga"
            "(saga_id, name, status, epoch, owner, tries, created, changed, due)"
            " SELECT 's' || i, 'x', CASE WHEN i % 100 = 0 THEN i / 100 % 3 ELSE 3 END,"
            " 1, 3, 0, i, i, 0 FROM generate_series(1, 100000) AS i"
        )
        connection.execute(
            "INSERT INTO saga_entry(saga, n, at, body) SELECT number, 1, 0, '[1]' FROM saga_saga"
        )
        connection.execute(
            "INSERT INTO saga_mail(saga, at, taken, key, body)"
            " SELECT number, 0, number % 1000 > 0, saga_id || ':a:action', '[]' FROM saga_saga"
        )
        wrong = {
            (plans, name): plan
            for plans in ("force_custom_plan", "force_generic_plan")
            for name, plan in planned(connection, queries, plans).items()
            if any(f"Seq Scan on saga_{table}" in plan for table in ("saga", "entry", "mail"))
        }

    assert wrong == {}


def planned(connection: Any, queries: Mapping[str, bytes], plans: str) -> dict[str, str]:
    """Give how each statement would be done, by its name."""
    connection.execute(f"SET plan_cache_mode = {plans}")
    found = {}
    for name, query in queries.items():
        if name in NOT_STATEMENTS or name in ALL:
            continue
        given = {**GIVEN, **(SELECTED if name.startswith("select") else {})}
        connection.execute(queries["begin"])
        connection.execute(queries["settings"])
        explained = connection.execute(b"EXPLAIN " + query, given if b"%(" in query else None)
        found[name] = "\n".join(line for (line,) in explained.fetchall())
        connection.execute("ROLLBACK")
    return found


@pytest.mark.untraced
def test_sagas_that_wait_cost_nothing_until_they_are_due(database: Database) -> None:
    """Looking for what is due reads a few pages, however many wait, and have had answers."""
    with closing(PostgreSQLJournal(database.url, schema=database.schema)) as journal:
        journal.create_schema()
        queries = journal.bench.server.queries
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(f"SET search_path = {database.schema}")
        connection.execute(
            "INSERT INTO saga_saga"
            "(saga_id, name, status, epoch, owner, tries, created, changed, due)"
            " SELECT 's' || i, 'x', i % 2, 1, 0, 0, i, i, 253402300799000"
            " FROM generate_series(1, 5000) AS i"
        )
        connection.execute(
            "INSERT INTO saga_mail(saga, at, taken, key, body)"
            " SELECT number, 0, true, saga_id || ':a:action', '[]' FROM saga_saga"
        )
        given = {"owner": 7, "skip": "{}", "now": 1 << 40, "late": 1 << 41}
        pages = [read(connection, queries, {**given, "limit": limit}) for limit in (None, 10)]
        connection.execute("ANALYZE saga_saga, saga_mail")
        pages += [read(connection, queries, {**given, "limit": limit}) for limit in (None, 10)]

    assert max(pages) < 30


def read(connection: Any, queries: Mapping[str, bytes], given: Mapping[str, Any]) -> int:
    """Give how many pages are read to find nothing that is due."""
    connection.execute(queries["begin_reading"])
    connection.execute(queries["settings"])
    query = b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + queries["waiting"]
    ((found,),) = connection.execute(query, given).fetchall()
    connection.execute("COMMIT")
    plan = found[0]["Plan"]
    assert plan["Actual Rows"] == 0
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
