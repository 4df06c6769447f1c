"""Servers of the tests: they are there when asked for, and gone when whoever asked is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from servers import children, postgresql, shared
from servers.children import PATIENCE, Missing

TESTS = Path(__file__).parent.parent
A_RUN = """
import sys
from servers import shared
with shared.run():
    print(shared.FOLDER in shared.os.environ, shared.server(), flush=True)
    sys.stdin.read()
"""


@contextmanager
def run_of_its_own() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Have another process begin a run and ask for its server; give it, with the URL."""
    others = {name: value for name, value in os.environ.items() if name != shared.FOLDER}
    with subprocess.Popen(
        [sys.executable, "-c", A_RUN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**others, "PYTHONPATH": str(TESTS)},
        text=True,
    ) as process:
        assert process.stdout
        yield process, process.stdout.readline().split()[-1]


def takes_connections(url: str) -> bool:
    """Tell whether a server is there."""
    psycopg = children.package("psycopg")
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def test_each_test_has_a_schema_of_its_own(database: shared.Database) -> None:
    """What it makes is in there, and goes with it."""
    with shared.database() as other:
        for place in (database, other):
            assert place.ask("SELECT current_schema()") == [(place.schema,)]
            place.ask("CREATE TABLE saga ()")
    found = database.ask("SELECT count(*) FROM pg_namespace WHERE nspname = %s", other.schema)

    assert database.schema != other.schema
    assert found == [(0,)]


@pytest.mark.parametrize("killed", [False, True])
def test_a_server_ends_with_the_run_that_has_asked_for_it(
    database: shared.Database, *, killed: bool
) -> None:
    """Also if that is killed, and can do nothing more about it."""
    if "://" in os.environ.get(postgresql.CHOSEN, ""):
        pytest.skip("the server is not ours")
    with run_of_its_own() as (process, url):
        assert url != database.url
        assert takes_connections(url)
        if killed:
            process.send_signal(signal.SIGKILL)
    until = time.monotonic() + PATIENCE
    while takes_connections(url):
        assert time.monotonic() < until
        time.sleep(0.005)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder without the programs, a version that nobody has."""
    monkeypatch.setenv(postgresql.CHOSEN, str(tmp_path))
    with pytest.raises(Missing, match="which SAGA_TEST_POSTGRESQL names"):
        postgresql.programs()
    monkeypatch.setenv(postgresql.CHOSEN, "7")
    with pytest.raises(Missing, match="PostgreSQL 7"):
        postgresql.programs()
