"""Writes through SQLAlchemy in an operation: what may go wrong, in sessions of both kinds."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from asked import Asked, Died, in_operation
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.pool import StaticPool

from py_api_saga.evidence import leaves_doubt
from py_api_saga.testing.sqlalchemy_writes import writes_of_sqlalchemy


class Base(DeclarativeBase):
    """Of the tables."""


class Stock(Base):
    """Pieces that are free."""

    __tablename__ = "stock"
    article: Mapped[str] = mapped_column(primary_key=True)
    free: Mapped[int]


@pytest.fixture
def make() -> Iterator[sessionmaker[Session]]:
    """Have ten mugs in a SQLite in memory."""
    engine = sa.create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(engine)
    made = sessionmaker(engine)
    with made.begin() as session:
        session.add(Stock(article="mug", free=10))
    yield made
    engine.dispose()


@contextmanager
def wrong(fault: str | None, where: str = "") -> Iterator[Asked]:
    """Have something go wrong in an operation."""
    with writes_of_sqlalchemy(), in_operation(fault, where) as here:
        yield here


def take(make: sessionmaker[Session]) -> None:
    """Take one away, and add another article, in a transaction."""
    with make.begin() as session:
        session.execute(sa.update(Stock).values(free=Stock.free - 1))
        session.add(Stock(article="plate", free=1))


def free(make: sessionmaker[Session]) -> dict[str, int]:
    """Read what there is."""
    with make() as session:
        return {one.article: one.free for one in session.scalars(sa.select(Stock))}


def test_each_write_is_a_place_and_so_is_a_commit(make: sessionmaker[Session]) -> None:
    """Reading is none, and neither is the end of a transaction that has only read."""
    with wrong(None) as here:
        take(make)
        free(make)

    assert here.places == [
        ("UPDATE stock", ("refuses", "crash-after")),
        ("INSERT stock", ("refuses", "crash-after")),
        ("COMMIT", ("crash-after",)),
    ]
    assert free(make) == {"mug": 9, "plate": 1}


@pytest.mark.parametrize(
    ("fault", "raised"), [("refuses", OperationalError), ("crash-after", Died)]
)
@pytest.mark.parametrize("where", ["UPDATE", "INSERT"])
def test_a_transaction_is_undone_as_a_whole(
    where: str, fault: str, raised: type[BaseException], make: sessionmaker[Session]
) -> None:
    """Whichever of its statements fails, or is the last one of its process."""
    with wrong(fault, where), pytest.raises(raised):
        take(make)

    assert free(make) == {"mug": 10}


def test_a_transaction_stands_when_the_process_dies_after_its_commit(
    make: sessionmaker[Session],
) -> None:
    """Since it has committed."""
    with wrong("crash-after", "COMMIT"), pytest.raises(Died):
        take(make)

    assert free(make) == {"mug": 9, "plate": 1}


def test_what_one_call_has_left_is_not_of_the_next(make: sessionmaker[Session]) -> None:
    """A write that was rolled back: whoever only reads afterwards has nothing to commit."""
    with writes_of_sqlalchemy():
        with in_operation("refuses", "INSERT"), pytest.raises(OperationalError):
            take(make)
        with in_operation("crash-after", "COMMIT") as here, make.begin() as session:
            session.scalars(sa.select(Stock)).all()

    assert here.places == []


def test_whoever_dies_after_a_write_that_fails_does_not_die_of_another(
    make: sessionmaker[Session],
) -> None:
    """The write has its own error, and the next call is of a process that lives."""
    with writes_of_sqlalchemy():
        with (
            in_operation("crash-after", "INSERT"),
            pytest.raises(IntegrityError),
            make.begin() as session,
        ):
            session.execute(sa.insert(Stock).values(article="mug", free=1))
        with in_operation(None):
            assert free(make) == {"mug": 10}


def test_a_part_of_a_transaction_is_no_commit(make: sessionmaker[Session]) -> None:
    """A savepoint is there once all of it is."""
    with wrong(None) as here, make.begin() as session:
        with session.begin_nested():
            session.add(Stock(article="plate", free=1))
        assert [name for name, _ in here.places] == ["INSERT stock"]


def test_outside_of_an_operation_nothing_goes_wrong(make: sessionmaker[Session]) -> None:
    """A world writes what it likes."""
    with writes_of_sqlalchemy():
        take(make)

    assert free(make) == {"mug": 9, "plate": 1}


def test_a_server_may_lose_the_answer_to_a_commit_also_under_asyncio(whole_database: str) -> None:
    """What was written stands, and the error says that nobody knows."""
    url = whole_database.replace("postgresql:", "postgresql+psycopg:")

    async def run() -> None:
        engine = create_async_engine(url)
        try:
            async with engine.begin() as connection:
                await connection.run_sync(Base.metadata.create_all)
            made = async_sessionmaker(engine, class_=AsyncSession)
            with wrong("lost", "COMMIT") as here:
                with pytest.raises(OperationalError) as caught:
                    async with made.begin() as session:
                        session.add(Stock(article="mug", free=10))
                assert leaves_doubt(caught.value)
            assert here.places[-1] == ("COMMIT", ("lost", "crash-after"))
            async with made() as session:
                assert (await session.get_one(Stock, "mug")).free == 10
        finally:
            await engine.dispose()

    asyncio.run(run())


def test_without_it_nothing_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that does not use it pays nothing."""
    monkeypatch.delitem(sys.modules, "sqlalchemy.engine")
    with wrong("refuses") as here:
        pass
    assert here.places == []
