"""Sagas in Starlette and FastAPI: recovery in the lifespan, what views are given, answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from world import until

from py_api_saga import (
    JournalError,
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    SagaStatus,
    takeover,
)
from py_api_saga.contrib import starlette
from py_api_saga.contrib.starlette import Sagas, install, saga_lifespan, sagas
from py_api_saga.current import CurrentOperation
from py_api_saga.durable.recovery import crowd_of
from py_api_saga.journal import MemoryJournal, SQLiteJournal

session: ContextVar[str] = ContextVar("session")
log: list[str] = []
gates: dict[str, asyncio.Event] = {}


class Refused(Exception):
    """A service has said no."""


@asynccontextmanager
async def session_per_call(operation: CurrentOperation) -> AsyncIterator[None]:
    """Stand for a session of a database, which is awaited."""
    log.append(f"open {operation.operation}")
    token = session.set(operation.operation)
    try:
        yield
    finally:
        session.reset(token)
        log.append(f"close {operation.operation}")


async def book(what: str) -> str:
    """Book, in a session."""
    log.append(f"book {what} in {session.get()}")
    return what


async def cancel(*_: object) -> None:
    """Undo it."""
    log.append(f"cancel in {session.get()}")


async def refuse() -> None:
    """Say no."""
    raise Refused


async def hang(what: str) -> None:
    """Take longer than the server lives."""
    log.append(f"hang {what}")
    await gates.setdefault(what, asyncio.Event()).wait()
    log.append(f"hung {what}")


@pytest.fixture(autouse=True)
def nothing_is_logged() -> None:
    """Nothing was called yet."""
    log.clear()
    gates.clear()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SQLiteJournal]:
    """A journal in a file."""
    journal = SQLiteJournal(tmp_path / "sagas.db", modules=["test_starlette"])
    yield journal
    journal.close()


def application(journal: Any, **options: Any) -> FastAPI:
    """Make an application that books."""
    app = FastAPI(lifespan=saga_lifespan(journal, **options))
    install(app, refusals=[Refused])

    @app.post("/book/{what}")
    async def run(what: str, sagas: Annotated[Sagas, Depends(sagas)], *, last: bool = True) -> Any:
        saga = sagas.saga(name="book").operation((book, what), cancel, name="a")
        saga.operation((book, what) if last else refuse, name="b")
        return list(await saga.aorchestrator_execute(saga_id=what))

    return app


# --- what views are given -------------------------------------------------------------------------


def test_a_view_is_given_what_all_sagas_have_in_common(journal: SQLiteJournal) -> None:
    """The journal, and a session for each call."""
    with TestClient(application(journal, around=[session_per_call])) as client:
        assert client.post("/book/x").json() == ["x", "x"]

        found = journal.find("x")

    assert found is not None
    assert found.status is SagaStatus.COMPLETED
    assert log == [
        *("open a", "book x in a", "close a"),
        *("open b", "book x in b", "close b"),
    ]


def test_what_one_saga_is_given_as_around_is_inside(journal: SQLiteJournal) -> None:
    """So that it can use the session."""
    common = Sagas(journal, [session_per_call])

    @asynccontextmanager
    async def look(_: CurrentOperation) -> AsyncIterator[None]:
        log.append(f"in {session.get()}")
        yield

    saga = common.saga(around=[look]).operation((book, "x"), name="a")
    asyncio.run(_run(saga))

    assert log[:2] == ["open a", "in a"]


async def _run(saga: SagaAssembler) -> None:
    await saga.aorchestrator_execute()


def test_a_saga_may_have_another_journal(journal: SQLiteJournal) -> None:
    """As where it is in memory."""
    other = MemoryJournal(modules=["test_starlette"])

    assert Sagas(journal, []).saga(journal=other).journal is other
    assert Sagas(journal, []).saga().journal is journal


def test_a_session_is_refused_as_an_argument(journal: SQLiteJournal) -> None:
    """When the saga is built: threads and tasks must not share it."""
    with pytest.raises(SagaDefinitionError, match="around="):
        Sagas(journal, []).saga().operation((book, AsyncSession()))  # type: ignore[misc]


def test_it_is_starlette_s_as_well(journal: SQLiteJournal) -> None:
    """Which has no dependencies: the function is called."""

    async def run(request: Request) -> JSONResponse:
        saga = sagas(request).saga().operation(refuse)
        return JSONResponse(list(await saga.aorchestrator_execute()))

    app = Starlette(routes=[Route("/", run)], lifespan=saga_lifespan(journal))
    install(app, refusals=[Refused])
    with TestClient(app) as client:
        reply = client.get("/")

    assert (reply.status_code, reply.headers["Saga-Answer"]) == (409, "final")
    assert reply.json() == {"error": "this was refused"}


def test_a_view_without_the_lifespan_is_told_so(journal: SQLiteJournal) -> None:
    """A test client that is not entered has not begun it; the answer tells strangers nothing."""
    client = TestClient(application(journal))

    reply = client.post("/book/x")

    assert (reply.status_code, reply.json()) == (500, {"error": "this has failed"})


def test_a_handler_of_ones_own_for_a_nearer_class_comes_first(journal: SQLiteJournal) -> None:
    """Whichever was registered first."""
    app = application(journal, around=[session_per_call])

    @app.exception_handler(SagaException)
    async def mine(_: Request, __: Exception) -> JSONResponse:
        return JSONResponse({}, 418)

    with TestClient(app) as client:
        assert client.post("/book/x?last=false").status_code == 418


# --- recovery -------------------------------------------------------------------------------------


def started(journal: Any, *names: str, function: Any = book) -> None:
    """Leave sagas for whoever recovers."""
    for name in names:
        saga = SagaAssembler.saga().operation((function, name), cancel, name="a")
        saga.operation((book, name), name="b").start(journal=journal, saga_id=name)


def status_of(journal: Any, saga_id: str) -> SagaStatus:
    """Tell where a saga stands."""
    found = journal.find(saga_id)
    assert found is not None
    status: SagaStatus = found.status
    return status


def test_what_was_left_is_recovered_while_the_server_answers(journal: SQLiteJournal) -> None:
    """One hangs; the views do not wait for it, nor do the others."""
    started(journal, "x")
    started(journal, "y", function=hang)
    with TestClient(application(journal, around=[session_per_call])) as client:
        until(lambda: "hang y" in log and status_of(journal, "x") is SagaStatus.COMPLETED)

        assert client.post("/book/z").status_code == 200
        client.portal.call(gates["y"].set)  # type: ignore[union-attr]
        until(lambda: status_of(journal, "y") is SagaStatus.COMPLETED)

    assert "book x in a" in log


def test_at_the_end_no_further_saga_is_begun_and_what_hangs_is_left_open(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is neither undone nor gone on with, though the end of the loop cancels it."""
    monkeypatch.setattr(starlette, "_GRACE", 0.05)
    monkeypatch.setattr(starlette, "_AT_ONCE", 1)
    started(journal, "x", function=hang)
    started(journal, "y")
    with TestClient(application(journal, around=[session_per_call])):
        until(lambda: "hang x" in log)

    assert log == ["open a", "hang x", "close a"]
    assert [status_of(journal, one) for one in "xy"] == [SagaStatus.RUNNING, SagaStatus.RUNNING]
    assert "recovery has left 1 sagas as they are" in caplog.text

    gates["x"] = asyncio.Event()
    gates["x"].set()
    with TestClient(application(journal, around=[session_per_call])):
        until(lambda: status_of(journal, "y") is SagaStatus.COMPLETED)
    done = takeover(journal, "x", around=[session_per_call])  # it is due only in a second
    assert done.outcome is SagaStatus.COMPLETED


def test_a_server_that_ends_at_once_begins_nothing(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it is still looking what there is to recover."""
    really = crowd_of
    looked = asyncio.Event()

    async def late(*args: Any, **options: Any) -> Any:
        await looked.wait()
        return await really(*args, **options)

    monkeypatch.setattr(starlette, "crowd_of", late)
    started(journal, "x")

    async def serve() -> None:
        async with saga_lifespan(journal, around=[session_per_call])(None):
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(looked.set)

    asyncio.run(serve())

    assert log == []
    assert status_of(journal, "x") is SagaStatus.RUNNING


def test_a_journal_that_cannot_be_read_does_not_keep_the_server_from_answering(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A database may be away for a moment; what was left is recovered after the next start."""

    class Away(MemoryJournal):
        def waiting(self, limit: int | None = None) -> Any:  # noqa: ARG002 - a journal's
            raise JournalError

    app = FastAPI(lifespan=saga_lifespan(Away()))

    @app.get("/")
    async def answer() -> str:
        return "here"

    with caplog.at_level(logging.ERROR), TestClient(app) as client:
        assert client.get("/").json() == "here"
    assert "the server goes on without recovery" in caplog.text


def test_a_lifespan_of_ones_own_is_around_it_and_its_state_is_handed_on(
    journal: SQLiteJournal,
) -> None:
    """An engine that operations need is there before recovery, and longer."""

    @asynccontextmanager
    async def mine(_: FastAPI) -> AsyncIterator[dict[str, str]]:
        log.append("engine")
        yield {"engine": "postgresql"}
        log.append("no engine")

    started(journal, "x")
    app = application(journal, around=[session_per_call], inner=mine)

    @app.get("/engine")
    async def engine(request: Request) -> Any:
        return request.state.engine

    with TestClient(app) as client:
        assert client.get("/engine").json() == "postgresql"
        until(lambda: status_of(journal, "x") is SagaStatus.COMPLETED)

    assert (log[0], log[1], log[-1]) == ("engine", "open a", "no engine")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: saga_lifespan("sagas.db"), "saga_lifespan: journal: expected a journal"),  # type: ignore[arg-type]
        (lambda: saga_lifespan(MemoryJournal(), around=[1]), "saga_lifespan: around"),  # type: ignore[list-item]
        (lambda: saga_lifespan(MemoryJournal(), inner=1), "saga_lifespan: inner"),  # type: ignore[arg-type]
        (lambda: install(FastAPI(), refusals=Refused), "refusals: expected"),  # type: ignore[arg-type]
    ],
)
def test_a_mistake_is_refused_when_the_application_is_made(wrong: Any, words: str) -> None:
    """And not in the first request."""
    with pytest.raises(SagaDefinitionError, match=words):
        wrong()
