"""The orders of the shop, the journal in the same database, and a session for each call."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from py_api_saga.current import CurrentOperation
from py_api_saga.journal import PostgreSQLJournal

DATABASE = os.environ["DATABASE_URL"]
LEASE = 5.0  # seconds for which a process that died keeps its orders; 30 unless you say so

engine = create_async_engine(DATABASE.replace("postgresql://", "postgresql+psycopg://"))
sessions = async_sessionmaker(engine)
journal = PostgreSQLJournal(DATABASE, modules=["fastapi_shop.operations"], lease=LEASE)


class Base(DeclarativeBase):
    """All tables of the shop."""


class Order(Base):
    """An order, from the first operation of its checkout on."""

    __tablename__ = "async_orders"

    id: Mapped[str] = mapped_column(primary_key=True)
    article: Mapped[str]
    status: Mapped[str]  # "new", "placed" or "failed"
    reservation: Mapped[str | None]
    payment: Mapped[str | None]


_session: ContextVar[AsyncSession] = ContextVar("session")


def session() -> AsyncSession:
    """Give the session of the call that is running."""
    return _session.get()


@asynccontextmanager
async def session_per_call(_: CurrentOperation) -> AsyncIterator[None]:
    """Give each call a session of its own, committed if it succeeds, rolled back if it fails."""
    async with sessions.begin() as mine:
        token = _session.set(mine)
        try:
            yield
        finally:
            _session.reset(token)


async def create_tables() -> None:
    """Make the tables of the shop, and those of the journal."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()
    await asyncio.to_thread(journal.create_schema)


if __name__ == "__main__":
    asyncio.run(create_tables())
