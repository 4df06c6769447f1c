"""Views of Flask that receive a request once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import barrier_shop
import psycopg
import pytest
import sqlalchemy
from barrier_shop import Client
from flask import Flask, Request, Response, abort, jsonify, request
from flask_sqlalchemy import SQLAlchemy
from servers import shared
from sqlalchemy import orm

from py_api_saga import SagaInProgress, SagaPending
from py_api_saga.contrib.barrier import opening
from py_api_saga.contrib.barrier.flask import saga_barrier
from py_api_saga.contrib.flask import install

USING = ("db.session", "sessionmaker", "Engine", "sqlite3", "psycopg", "a context manager")


class Declined(Exception):
    """The application has a handler for it."""


class Broken(Exception):
    """And for this: it is answered with a 502."""


def bank(using: Any, write: Any) -> Flask:  # noqa: C901 - a bank has some views
    """Write a bank whose views receive once; `write` makes an effect on what they are given."""
    app = Flask("bank")

    @app.errorhandler(Declined)
    def declined(error: Exception) -> tuple[Response, int]:
        return jsonify(error=str(error)), 404

    @app.errorhandler(Broken)
    def broken(error: Exception) -> tuple[Response, int]:
        return jsonify(error=str(error)), 502

    @app.post("/charges")
    @saga_barrier(using)
    def charge(it: Any) -> Any:
        order = request.get_json()
        write(it, order["name"])
        status = order.get("status", 201)
        if order.get("how") == "raise":
            raise {404: Declined, 502: Broken}.get(status) or abort(status)
        answer = jsonify(id=order["name"])
        answer.headers["Location"] = f"/charges/{order['name']}"
        answer.set_cookie("session", "secret")
        return answer, status

    @app.post("/refunds")
    @saga_barrier(using)
    def refund(it: Any) -> Any:
        write(it, request.get_json()["name"])
        return {}

    @app.post("/later")
    @saga_barrier(using)
    async def later(it: Any) -> Any:
        write(it, "later")
        return {}

    @app.post("/files/<name>")
    @saga_barrier(using)
    def file(_: Any, name: str) -> Any:
        return Response(b"\xff\x00" if name == "bytes" else iter("ab"), mimetype="image/png")

    @app.post("/bugs")
    @saga_barrier(using)
    def bug(it: Any) -> Any:
        write(it, "bug")
        raise ZeroDivisionError

    install(app)

    @app.post("/sagas/<kind>")
    @saga_barrier(using)
    def saga(it: Any, kind: str) -> Any:
        write(it, kind)
        raise SagaPending("x", ["x:a:action"], None) if kind == "waits" else SagaInProgress("x")

    def without_time(request: Request) -> bytes:
        return str(request.get_json()["name"]).encode()

    @app.post("/timed")
    @saga_barrier(using, fingerprint=without_time)
    def timed(it: Any) -> Any:
        write(it, request.get_json()["name"])
        return "done"

    return app


def client_of(app: Flask, count: Any) -> Client:
    """Ask through Flask's own client, which keeps what a server would send."""

    def send(path: str, headers: dict[str, str], body: Any) -> tuple[int, Any, Any]:
        with app.test_client(use_cookies=False) as client:
            reply = client.post(path, json=body, headers=headers)
            return reply.status_code, reply.get_json(silent=True), reply.headers

    return Client(send, count)


@pytest.fixture(params=USING)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    """Give a client of a bank on each kind of what `using` takes."""
    path = tmp_path / "bank.db"
    kind = request.param
    if kind == "psycopg":
        database: shared.Database = request.getfixturevalue("database")
        barrier_shop.make(database.ask, "postgresql")
        using = partial(psycopg.connect, database.url, options=f"-csearch_path={database.schema}")
        yield client_of(
            bank(using, lambda it, name: it.execute("INSERT INTO effect VALUES (%s)", [name])),
            lambda name: database.ask("SELECT count(*) FROM effect WHERE name = %s", name)[0][0],
        )
        return
    with closing(sqlite3.connect(path, isolation_level=None)) as seen:
        barrier_shop.make(seen.execute, "sqlite")

        def count(name: str) -> int:
            found = seen.execute("SELECT count(*) FROM effect WHERE name = ?", [name])
            return int(found.fetchone()[0])

        def by_sqlalchemy(it: Any, name: str) -> None:
            it.execute(sqlalchemy.text("INSERT INTO effect VALUES (:name)"), {"name": name})

        def by_sqlite(it: Any, name: str) -> None:
            it.execute("INSERT INTO effect VALUES (?)", [name])

        if kind == "sqlite3":
            yield client_of(bank(partial(sqlite3.connect, path), by_sqlite), count)
        elif kind == "a context manager":
            opened = [sqlite3.connect(path)]
            made = lambda: Lent(opened[0])  # noqa: E731 - as a pool has it
            yield client_of(bank(made, by_sqlite), count)
            opened[0].close()
        elif kind == "db.session":
            db = SQLAlchemy()
            app = bank(db.session, by_sqlalchemy)
            app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{path}"
            db.init_app(app)
            yield client_of(app, count)
            with app.app_context():
                db.engine.dispose()
        else:
            engine = sqlalchemy.create_engine(f"sqlite:///{path}")
            using_it: Any = orm.sessionmaker(engine) if kind == "sessionmaker" else engine
            yield client_of(bank(using_it, by_sqlalchemy), count)
            engine.dispose()


class Lent:
    """A connection of a pool: it is given back."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __enter__(self) -> sqlite3.Connection:
        return self.connection

    def __exit__(self, *_: object) -> None: ...


one = pytest.mark.parametrize("client", ["sqlite3"], indirect=True)


def test_charges_and_refunds_count_once(client: Client) -> None:
    """The table of what is received once, through views."""
    barrier_shop.charges_and_refunds_count_once(client)


@pytest.mark.parametrize("client", ["sqlite3", "db.session", "psycopg"], indirect=True)
def test_refusals_are_kept(client: Client) -> None:
    """What the application's handlers make of an exception is an answer as well."""
    barrier_shop.refusals_are_kept(client)


@pytest.mark.parametrize("client", ["psycopg"], indirect=True)
def test_a_view_may_be_a_coroutine_function(client: Client) -> None:
    """Flask runs it in another thread, which a connection of sqlite3 would not stand."""
    assert [client.post("/later", "a").replay for _ in range(2)] == [False, True]
    assert client.count("later") == 1


@one
def test_an_answer_in_bytes_is_kept(client: Client) -> None:
    """With its type."""

    def send() -> tuple[int, Any, Any]:
        return client._send("/files/bytes", {"Idempotency-Key": "a"}, None)  # noqa: SLF001

    first, second = send(), send()
    assert first[2]["Content-Type"] == second[2]["Content-Type"] == "image/png"
    assert second[2]["Idempotent-Replay"] == "true"
    assert second[2]["Content-Length"] == "2"


@one
def test_a_cookie_is_of_one_answer_alone(client: Client) -> None:
    """It may be the key to somebody's session."""
    replies = [
        client._send("/charges", {"Idempotency-Key": "a"}, {"name": "a"})  # noqa: SLF001
        for _ in range(2)
    ]
    assert ["Set-Cookie" in headers for _, _, headers in replies] == [True, False]


@one
def test_a_streamed_answer_and_a_bug_are_500(client: Client) -> None:
    """Nothing is kept, and nothing stands."""
    assert client.post("/files/stream", "a")[0::2] == (500, False, None)
    for _ in range(2):
        assert client.post("/bugs", "b")[0::2] == (500, False, None)
    assert client.count("bug") == 0


@one
@pytest.mark.parametrize(("kind", "status"), [("waits", 202), ("runs", 409)])
def test_a_saga_that_is_not_over_is_answered_and_nothing_is_kept(
    client: Client, kind: str, status: int
) -> None:
    """By what the application answers for sagas; the next one may find it over."""
    for _ in range(2):
        assert client.post(f"/sagas/{kind}", "a")[0::2] == (status, False, None)
    assert client.count(kind) == 0


@one
def test_what_differs_in_a_repetition_can_be_left_out(client: Client) -> None:
    """By a function that gives what counts."""
    client.post("/timed", "a", name="x", at=1)

    assert client.post("/timed", "a", name="x", at=2).replay
    assert client.post("/timed", "a", name="y", at=1).status == 422


@one
def test_a_purged_answer_has_its_status(client: Client, tmp_path: Path) -> None:
    """And no body."""
    client.post("/charges", "a", name="a")
    with closing(sqlite3.connect(tmp_path / "bank.db", isolation_level=None)) as it:
        it.execute("UPDATE saga_barrier SET answer = NULL")

    assert client.post("/charges", "a", name="a")[:4] == (201, None, True, True)


def test_a_database_that_is_away_is_503(tmp_path: Path) -> None:
    """Whether it can't be opened or goes as the answer is committed; a bug is still a bug."""

    def away() -> sqlite3.Connection:
        return sqlite3.connect(f"file:{tmp_path}/none.db?mode=rw", uri=True)

    client = client_of(bank(away, lambda *_: None), lambda _: 0)
    assert client.post("/charges", "a", name="a")[:3] == (
        503,
        {"error": "the database is not there, or has no room"},
        False,
    )
    client = client_of(bank(7, lambda *_: None), lambda _: 0)
    assert client.post("/charges", "a", name="a").status == 500


@pytest.mark.parametrize("client", ["a context manager"], indirect=True)
def test_a_database_that_goes_at_commit_is_503(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether it was committed, so whoever called is in doubt."""

    def commit(*_: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(opening._Opened, "commit", commit)  # noqa: SLF001 - where COMMIT is
    assert client.post("/charges", "a", name="a").status == 503
