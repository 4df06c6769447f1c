"""Path operations of FastAPI that receive a request once, plain and as coroutine functions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import barrier_shop
import pytest
import sqlalchemy
from barrier_shop import Client
from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel
from servers import shared
from servers.children import Missing
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import NullPool

from py_api_saga.contrib.barrier.fastapi import saga_barrier

USING = ("sqlite3", "sessionmaker", "async_sessionmaker", "AsyncEngine", "a context manager")


class Order(BaseModel):
    """What is sent."""

    name: str
    status: int = 201
    how: str = "answer"


class Charge(BaseModel):
    """What is answered."""

    id: str


def write(it: Any, name: str) -> Any:
    """Make an effect on what a view is given, which may have to be awaited."""
    if isinstance(it, sqlite3.Connection):
        return it.execute("INSERT INTO effect VALUES (?)", [name])
    statement = sqlalchemy.text("INSERT INTO effect VALUES (:name)")
    return it.execute(statement, {"name": name})


def charged(order: Order, response: Response) -> Any:
    """Answer in each way in which one may."""
    if order.how == "raise":
        raise HTTPException(order.status, {"error": "no"}, {"X-Why": "no"})
    response.headers["Location"] = f"/charges/{order.name}"
    if order.status != 201:
        response.status_code = order.status
    return {"id": order.name, "secret": "not in the model"}


def plain_bank(using: Any) -> FastAPI:
    """Write a bank of plain functions."""
    app = FastAPI()

    @app.post("/charges", status_code=201, response_model=Charge)
    @saga_barrier(using)
    def charge(it: Any, order: Order, response: Response) -> Any:
        write(it, order.name)
        return charged(order, response)

    @app.post("/refunds")
    @saga_barrier(using)
    def refund(it: Any, order: Order) -> dict[str, str]:
        write(it, order.name)
        return {}

    @app.post("/files/{name}")
    @saga_barrier(using, fingerprint=lambda request, _: request.method.encode())
    def file(_: Any, name: str) -> Response:
        if name == "stream":
            return StreamingResponse(iter("ab"))
        return Response(b"\xff\x00", 202, {"X-Kind": "bytes"}, "image/png")

    @app.post("/bugs")
    @saga_barrier(using)
    def bug(it: Any) -> None:
        write(it, "bug")
        raise ZeroDivisionError

    return app


def later_bank(using: Any) -> FastAPI:
    """Write a bank of coroutine functions."""
    app = FastAPI()

    @app.post("/charges", status_code=201, response_model=Charge)
    @saga_barrier(using)
    async def charge(it: AsyncSession, order: Order, response: Response) -> Any:
        await write(it, order.name)
        return charged(order, response)

    @app.post("/refunds")
    @saga_barrier(using)
    async def refund(it: AsyncSession, order: Order) -> dict[str, str]:
        await write(it, order.name)
        return {}

    @app.post("/bugs")
    @saga_barrier(using)
    async def bug(it: AsyncSession) -> None:
        await write(it, "bug")
        raise ZeroDivisionError

    return app


def client_of(app: FastAPI, count: Any) -> Client:
    """Ask through FastAPI's own client."""
    client = TestClient(app, raise_server_exceptions=False)

    def send(path: str, headers: dict[str, str], body: Any) -> tuple[int, Any, Any]:
        reply = client.post(path, json=body, headers=headers)
        try:
            return reply.status_code, reply.json(), reply.headers
        except ValueError:
            return reply.status_code, reply.content, reply.headers

    return Client(send, count)


@pytest.fixture(params=USING)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    """Give a client of a bank on each kind of what `using` takes."""
    kind, path = request.param, tmp_path / "bank.db"
    if kind in ("sqlite3", "sessionmaker"):
        with closing(sqlite3.connect(path, isolation_level=None)) as seen:
            barrier_shop.make(seen.execute, "sqlite")

            def count(name: str) -> int:
                found = seen.execute("SELECT count(*) FROM effect WHERE name = ?", [name])
                return int(found.fetchone()[0])

            if kind == "sqlite3":
                yield client_of(plain_bank(partial(sqlite3.connect, path)), count)
                return
            engine = sqlalchemy.create_engine(f"sqlite:///{path}")
            yield client_of(plain_bank(orm.sessionmaker(engine)), count)
            engine.dispose()
        return
    try:
        with shared.database() as database:
            barrier_shop.make(database.ask, "postgresql")
            later = create_async_engine(
                database.url.replace("postgresql", "postgresql+psycopg", 1),
                poolclass=NullPool,
                connect_args={"options": f"-csearch_path={database.schema}"},
            )
            using: Any = later

            @asynccontextmanager
            async def lent() -> Any:
                async with later.connect() as connection:
                    yield connection

            if kind == "async_sessionmaker":
                using = async_sessionmaker(later)
            elif kind != "AsyncEngine":
                using = lent
            yield client_of(
                later_bank(using),
                lambda name: database.ask("SELECT count(*) FROM effect WHERE name = %s", name)[0][
                    0
                ],
            )
    except Missing as missing:
        pytest.skip(f"there is no {missing}")


one = pytest.mark.parametrize("client", ["sqlite3"], indirect=True)
both = pytest.mark.parametrize("client", ["sqlite3", "async_sessionmaker"], indirect=True)


def test_charges_and_refunds_count_once(client: Client) -> None:
    """The table of what is received once, through path operations; the model is passed through."""
    barrier_shop.charges_and_refunds_count_once(client)


@both
def test_refusals_are_kept(client: Client) -> None:
    """An `HTTPException` is an answer as well, with its headers."""
    barrier_shop.refusals_are_kept(client)


@both
def test_a_bug_is_500_and_keeps_nothing(client: Client) -> None:
    """The next one is a first try."""
    for _ in range(2):
        assert client.post("/bugs", "b")[0::2] == (500, False, None)
    assert client.count("bug") == 0


@one
def test_an_answer_of_ones_own_is_kept(client: Client) -> None:
    """With its type, status and headers; one that is streamed can't be."""

    def send(path: str) -> tuple[int, Any, Any]:
        return client._send(path, {"Idempotency-Key": path}, None)  # noqa: SLF001

    first, second = send("/files/bytes"), send("/files/bytes")
    assert first[:2] == second[:2] == (202, b"\xff\x00")
    for name in ("Content-Type", "X-Kind", "Content-Length"):
        assert first[2][name] == second[2][name]
    assert second[2]["Idempotent-Replay"] == "true"
    assert send("/files/stream")[0] == 500


@one
def test_a_purged_answer_has_its_status(client: Client, tmp_path: Path) -> None:
    """And no body."""
    client.post("/charges", "a", name="a")
    with closing(sqlite3.connect(tmp_path / "bank.db", isolation_level=None)) as it:
        it.execute("UPDATE saga_barrier SET answer = NULL")

    assert client.post("/charges", "a", name="a")[:4] == (201, b"", True, True)


def test_what_the_view_is_given_is_not_asked_of_whoever_calls(tmp_path: Path) -> None:
    """The schema has neither the session nor what is the barrier's own."""
    schema = plain_bank(partial(sqlite3.connect, tmp_path / "bank.db")).openapi()

    operation = schema["paths"]["/files/{name}"]["post"]
    assert [each["name"] for each in operation["parameters"]] == ["name"]
    assert "requestBody" not in operation


def test_a_view_that_takes_nothing_is_refused() -> None:
    """It could write nothing."""
    with pytest.raises(TypeError, match="takes nothing: it is given the session"):

        @saga_barrier(sqlite3.connect)
        def view() -> None: ...


def test_a_database_that_is_away_is_503(tmp_path: Path) -> None:
    """The next one may be answered; a mistake is not taken for that."""
    away = partial(sqlite3.connect, f"file:{tmp_path}/none.db?mode=rw", uri=True)
    client = client_of(plain_bank(away), lambda _: 0)
    assert client.post("/charges", "a", name="a")[::2] == (503, False, None)

    engine = create_async_engine("postgresql+psycopg://nobody@127.0.0.1:1/nowhere")
    client = client_of(later_bank(engine), lambda _: 0)
    assert client.post("/charges", "a", name="a").status == 503
    client = client_of(later_bank(7), lambda _: 0)
    assert client.post("/charges", "a", name="a").status == 500
