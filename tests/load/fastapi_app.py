"""A FastAPI application whose views book four things, each call in an async session of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from py_api_saga import current_operation, recover
from py_api_saga.contrib.starlette import Sagas, saga_lifespan, sagas
from py_api_saga.current import CurrentOperation
from py_api_saga.journal import MemoryJournal, SQLiteJournal

BOOKINGS = 4
MODULES = ["load.fastapi_app"]
_file = os.environ.get("LOAD_JOURNAL")
journal = SQLiteJournal(_file, modules=MODULES) if _file else MemoryJournal(modules=MODULES)
engine = create_async_engine(
    os.environ["LOAD_DATABASE"].replace("://", "+psycopg://", 1),
    pool_size=int(os.environ["LOAD_POOL"]),
    max_overflow=0,
    pool_timeout=60,
    connect_args={
        "application_name": os.environ["LOAD_NAME"],
        "options": f"-csearch_path={os.environ['LOAD_SCHEMA']}",
    },
)
sessions = async_sessionmaker(engine)
_session: ContextVar[AsyncSession] = ContextVar("session")
_customer: ContextVar[str | None] = ContextVar("customer", default=None)


@asynccontextmanager
async def session_per_call(_: CurrentOperation) -> AsyncIterator[None]:
    """Give each call a session of its own."""
    async with sessions.begin() as session:
        token = _session.set(session)
        try:
            yield
        finally:
            _session.reset(token)


async def book(user: str, number: int) -> list[str | None]:
    """Book something, once for its key, which takes a while."""
    await _session.get().execute(
        text("INSERT INTO bookings (key, person) VALUES (:key, :user) ON CONFLICT DO NOTHING"),
        {"key": current_operation().action_key, "user": user},
    )
    await _session.get().execute(text("SELECT pg_sleep(0.01)"))
    return [user, _customer.get(), str(number)]


async def cancel(*_: object) -> None:
    """Take it back."""
    await _session.get().execute(
        text("DELETE FROM bookings WHERE key = :key"), {"key": current_operation().action_key}
    )


@asynccontextmanager
async def connected(_: FastAPI) -> AsyncIterator[None]:
    """Give the connections back in the end."""
    yield
    await engine.dispose()


app = FastAPI(lifespan=saga_lifespan(journal, around=[session_per_call], inner=connected))


@app.get("/up")
async def is_up() -> Any:
    """Answer once the server does."""
    return {}


@app.get("/{how}/{user}")
async def run(how: str, user: str, id: str, sagas: Annotated[Sagas, Depends(sagas)]) -> Any:  # noqa: A002 - the trial's
    """Await all at once, or one after the other."""
    _customer.set(id)
    saga = sagas.saga(name="checkout")
    for number in range(BOOKINGS):
        saga.operation((book, user, number), cancel, name=f"book-{number}")
    execute = saga.achoreography_execute if how == "graph" else saga.aorchestrator_execute
    return {"got": [result[:2] for result in await execute(saga_id=id)], "language": id}


def what_was_left() -> None:
    """Go on with what is still left, and tell what was: a server that came back has done some."""
    recover(journal, around=[session_per_call])
    for seen in journal.select():
        if seen.epoch > 1:
            print(seen.saga_id)  # noqa: T201 - for the trial
