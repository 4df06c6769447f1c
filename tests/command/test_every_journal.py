"""Each command on each journal that it opens: the same words, whatever it is kept in."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import depot
import pytest
from boards import deciding
from commands import Say, forward, meanwhile, run, stuck_forward, tell, written
from depot import fail
from recorded import begin, bodies, order, status, stuck
from servers import shared
from servers.children import Missing
from world import until

from py_api_saga import SagaStatus
from py_api_saga.journal import PostgreSQLJournal, SQLiteJournal

ON_POSTGRESQL = """
from py_api_saga.journal import PostgreSQLJournal
journal = PostgreSQLJournal({url!r}, schema={schema!r}, modules=["depot"])
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def kept(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """An empty journal, which the environment names to the command."""
    depot.reset()
    monkeypatch.delenv("SAGA_CODEC", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    if request.param == "sqlite":
        monkeypatch.setenv("SAGA_JOURNAL", str(tmp_path / "sagas.db"))
        with closing(SQLiteJournal(tmp_path / "sagas.db", modules=["depot"])) as journal:
            journal.find("")  # makes the file
            yield journal
    else:
        place = request.getfixturevalue("database")
        module = f"kept_{secrets.token_hex(4)}"
        text = ON_POSTGRESQL.format(url=place.url, schema=place.schema)
        written(tmp_path / f"{module}.py", text)
        monkeypatch.setenv("SAGA_JOURNAL", f"{module}:journal")
        with closing(import_module(module).journal) as journal:
            journal.create_schema()
            yield journal
        del sys.modules[module]
    depot.reset()


def documents(say: Say, *arguments: str) -> Any:
    """Give the JSON document that a command prints."""
    return json.loads(say(*arguments, "--json")[1])


def test_what_there_is_can_be_looked_at(say: Say, kept: Any) -> None:
    """In a list, counted, one by one, drawn, and by a monitor; nobody imports anything for it."""
    run(order(), kept, "done")
    order().start(journal=kept, saga_id="waits")
    stuck(kept, "bad")
    begun = begin(kept, "driven", bodies(kept, "waits")[0])

    ended, said = say("list")
    assert ended == 4
    assert [line.split()[::5] for line in said.splitlines() if line[0] != " "] == [
        ["ID", "DRIVEN"],
        ["driven", "yes"],
        ["bad", "-"],
        ["waits", "no"],
        ["done", "-"],
    ]
    assert "  b: its compensation raised OSError('no bank')" in said
    assert ">saga retry bad<" in say("show", "bad", "--html", "-")[1]
    ended, said = say("report", "--html", "-")
    assert ended == 4
    assert said.index(">bad</b>") < said.index(">waits</b>") < said.index(">done</b>")
    assert [one["saga_id"] for one in documents(say, "list", "--id-prefix", "d")["sagas"]] == [
        "driven",
        "done",
    ]
    counts = documents(say, "stats", "--ended")
    assert (counts["running"], counts["stuck"], counts["completed"]) == (2, 1, 1)
    assert documents(say, "show", "bad")["operations"][1]["error"]["text"] == "no bank"
    assert "saga" in documents(say, "why", "bad")["remedies"][0]["command"]
    assert "flowchart" in documents(say, "graph", "bad")["mermaid"]
    checked = documents(say, "check")
    assert (checked["stuck"], checked["open"], checked["gate_holder"]) == (1, 2, None)
    assert say("check")[0] == 4
    found = documents(say, "doctor")
    assert (found["damage"], found["sagas"]["stuck"]) == ([], 1)
    assert say("doctor")[1].endswith("no damage\n")
    assert documents(say, "plan-deploy", "--modules", "depot")["go_on"] == 3
    kept.leave(begun)


def test_what_was_left_is_gone_on_with(say: Say, kept: Any) -> None:
    """By one command, by a worker, and one by one."""
    order().start(journal=kept, saga_id="x")
    assert say("recover", "--modules", "depot") == (0, "x: COMPLETED\n")
    assert say("recover", "--modules", "depot", "--workers", "0") == (0, "nothing to recover\n")

    order().start(journal=kept, saga_id="y")

    def proceed() -> None:
        until(lambda: status(kept, "y") is SagaStatus.COMPLETED)
        tell()

    with meanwhile(proceed):
        assert say("worker", "--modules", "depot", "--interval", "0.02")[0] == 0

    order().start(journal=kept, saga_id="z")
    assert say("takeover", "z", "--modules", "depot") == (0, "z: COMPLETED\n")


def test_a_worker_looks_as_often_as_its_journal_asks(say: Say, kept: Any) -> None:
    """In a database what was started in a transaction waits for it; in a file, what crashed."""
    order().start(journal=kept, saga_id="x")

    def proceed() -> None:
        until(lambda: status(kept, "x") is SagaStatus.COMPLETED)
        tell()

    with meanwhile(proceed):
        ended, said = say("worker", "--modules", "depot")

    assert ended == 0
    assert f"every {5 if isinstance(kept, SQLiteJournal) else 1} s;" in said


def test_what_a_person_decides_is_done(say: Say, kept: Any) -> None:
    """About one saga or many; what has ended long ago is dropped."""
    stuck(kept, "one")
    assert say("retry", "one")[0] == 0
    assert say("recover", "--modules", "depot")[1].startswith("one: COMPENSATED")
    stuck(kept, "two")
    assert say("resolve", "two", "b", "--skipped", "--note", "n")[0] == 0
    order().start(journal=kept, saga_id="three")
    assert say("cancel", "three")[0] == 0
    stuck_forward(kept, "four")
    stuck_forward(kept, "five")
    assert say("compensate", "four")[0] == 1  # it has passed its pivot
    ended, said = say("retry", "--all", "--yes", "--name", "forward", "--error", "ValueError")
    assert (ended, said.splitlines()[-1]) == (0, "retry: 2 done, 0 skipped")
    forward().start(journal=kept, saga_id="six")
    assert say("cancel", "--all", "--yes", "--name", "forward", "--limit", "3")[0] == 1

    assert say("purge", "--older-than", "0s", "--dry-run")[1].startswith("would purge ")
    assert say("purge", "--older-than", "0s")[0] == 0
    assert documents(say, "show", "one")["purged"]


@pytest.fixture
def url() -> Iterator[str]:
    """The URL of an empty database of its own."""
    try:
        opened = shared.server()
    except Missing as missing:
        pytest.skip(f"there is no {missing}")
    psycopg = pytest.importorskip("psycopg")
    name = f"saga_{secrets.token_hex(6)}"
    with psycopg.connect(opened, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    made = psycopg.conninfo.conninfo_to_dict(opened) | {"dbname": name}
    host, port, user = made["host"], made["port"], made["user"]
    yield f"postgresql+psycopg://{user}:{made.get('password', 'secret')}@{host}:{port}/{name}"
    with psycopg.connect(opened, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("kept", ["sqlite"], indirect=True)
def test_a_url_opens_a_journal_in_a_database(
    say: Say, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is there; what is shown of the URL has no password."""
    monkeypatch.setenv("SAGA_JOURNAL", url)
    ended, said = say("list")
    assert (ended, "there is no journal in postgresql://" in said) == (1, True)
    assert ":secret" not in said

    with closing(PostgreSQLJournal(url, modules=["depot"])) as journal:
        journal.create_schema()
        depot.behaviour["c"] = fail(ValueError("no courier"))
        stuck(journal)

    assert say("list", "--journal", url.replace("+psycopg", ""))[0] == 4
    assert say("list", "--journal", url.replace("postgresql+psycopg", "postgres"))[0] == 4
    said = say("why", "x", "--journal", url)[1]
    assert "--journal postgresql://" in said
    assert ":secret" not in said
    assert say("retry", "x")[0] == 0
    psycopg: Any = pytest.importorskip("psycopg")
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("DROP INDEX saga_saga_named")
    ended, said = say("doctor")
    assert (ended, "ADVICE: the index saga_named is missing: run what" in said) == (0, True)
    ended, said = say("doctor", "--new-owners", url)
    assert (ended, "expected a journal that is a file" in said) == (2, True)


def test_a_database_that_is_not_there_is_an_error_in_a_line(say: Say) -> None:
    """Without the password, nor what a driver says of it."""
    pytest.importorskip("psycopg")
    for password in ("secret", "se@cret", "se/cret", "se%cret", "se cret", "se[cret"):
        ended, said = say("--journal", f"postgresql://ada:{password}@127.0.0.1:1/shop", "list")

        assert ended == 1
        assert len(said.splitlines()) <= 2
        assert "cret" not in said


def test_without_the_driver_the_extra_is_named(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a line."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for name in [name for name in sys.modules if "journal.postgresql" in name]:
        monkeypatch.delitem(sys.modules, name)

    ended, said = say("--journal", "postgresql://127.0.0.1/shop", "list")

    assert (ended, "py-api-saga[postgresql]" in said) == (1, True)


@pytest.mark.parametrize("more", [(), ("--prefix", "order_", "--schema", "public")])
def test_the_schema_can_be_printed_for_a_migration(
    say: Say, url: str, more: tuple[str, ...]
) -> None:
    """What is printed makes the tables, also twice; and adds indexes that are gone."""
    psycopg: Any = pytest.importorskip("psycopg")
    prefix = "order_" if more else "saga_"
    ended, said = say("schema", "postgresql", *more)
    assert ended == 0
    database = url.replace("+psycopg", "")
    with psycopg.connect(database, autocommit=True) as connection:
        for _ in range(2):
            connection.execute(said)
        connection.execute(f"DROP INDEX {prefix}saga_stuck")
        ended, upgrade = say("schema", "postgresql", "--upgrade", *more)
        assert ended == 0
        for statement in upgrade.split(";\n\n")[:-1]:
            connection.execute(statement)
        found = connection.execute("SELECT to_regclass(%s)", (f"{prefix}saga_stuck",)).fetchone()
    assert found[0] is not None
    with closing(PostgreSQLJournal(database, prefix=prefix, modules=["depot"])) as journal:
        run(order(), journal)
        assert status(journal, "x") is SagaStatus.COMPLETED


def test_a_schema_has_names_that_can_be_names(say: Say) -> None:
    """Nothing else is put into a statement."""
    ended, said = say("schema", "postgresql", "--prefix", "x; DROP TABLE")

    assert (ended, "prefix: expected lower case letters" in said) == (2, True)
    assert say("schema", "oracle")[0] == 2


def test_pages_of_it_are_served_and_decide(say: Say, kept: Any) -> None:
    """What needs a person, one saga, and a decision, which recovery then goes on with."""
    run(order(), kept, "done")
    stuck(kept, "bad")
    with deciding(kept, lambda: kept) as looker:
        page = looker.get()
        assert page.title == "(1) sagas"
        assert "b its compensation raised OSError('no bank')" in page.says
        assert looker.get("saga?saga=done").status == 200
        assert looker.get("?id=d&below=5").status == 200
        asked = looker.get("decide?saga=bad&verb=retry")
        led = looker.post({**asked.form(), "note": "the bank is back"})
        assert led.headers["Location"] == "saga?saga=bad"
        assert "ada@here decided: retry: the bank is back" in looker.get("saga?saga=bad").says
    assert "bad: COMPENSATED" in say("recover", "--modules", "depot")[1]
