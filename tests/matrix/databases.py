"""Drivers of PostgreSQL: how each makes a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from servers.children import package

Step = str | Callable[[], object]


class Way(NamedTuple):
    """How a driver makes a transaction.

    Attributes:
        host: The folder of the socket it connects to.
        steps: SQL, and what happens elsewhere in between.
        lone: Whether each step commits by itself.
        user: Who connects.
    """

    host: str
    steps: tuple[Step, ...]
    lone: bool = False
    user: str = "postgres"


def by_psycopg(way: Way) -> None:
    """Work by psycopg."""
    psycopg = package("psycopg")
    with psycopg.connect(**_options(way), autocommit=way.lone) as connection:
        _walk(way, connection.execute)


def _options(way: Way) -> dict[str, Any]:
    return {"host": way.host, "user": way.user, "dbname": "postgres"}


async def by_async_psycopg(way: Way) -> None:
    """Work by psycopg under asyncio."""
    psycopg = package("psycopg")
    connecting = psycopg.AsyncConnection.connect(**_options(way), autocommit=way.lone)
    async with await connecting as connection:
        await _awalk(way, connection.execute)


def by_psycopg2(way: Way) -> None:
    """Work by psycopg2, whose connection must be closed by hand."""
    connection = package("psycopg2").connect(**_options(way))
    try:
        connection.autocommit = way.lone
        with connection.cursor() as cursor:
            _walk(way, cursor.execute)
        connection.commit()
    finally:
        connection.close()


async def by_asyncpg(way: Way) -> None:
    """Work by asyncpg."""
    asyncpg = package("asyncpg")
    connection = await asyncpg.connect(host=way.host, user=way.user, database="postgres")
    try:
        if way.lone:
            await _awalk(way, connection.execute)
        else:
            async with connection.transaction():
                await _awalk(way, connection.execute)
    finally:
        connection.terminate()


def by_sqlalchemy(driver: str) -> Callable[[Way], None]:
    """Work by SQLAlchemy over a driver."""

    def work(way: Way) -> None:
        alchemy = package("sqlalchemy")
        engine = alchemy.create_engine(
            f"postgresql+{driver}://{way.user}@/postgres?host={way.host}",
            poolclass=alchemy.NullPool,
            isolation_level="AUTOCOMMIT" if way.lone else None,
        )
        with engine.begin() as connection:
            _walk(way, connection.exec_driver_sql)

    return work


async def by_async_sqlalchemy(way: Way) -> None:
    """Work by SQLAlchemy over asyncpg."""
    alchemy = package("sqlalchemy")
    engine = package("sqlalchemy.ext.asyncio").create_async_engine(
        f"postgresql+asyncpg://{way.user}@/postgres?host={way.host}",
        poolclass=alchemy.NullPool,
        isolation_level="AUTOCOMMIT" if way.lone else None,
    )
    async with engine.begin() as connection:
        await _awalk(way, connection.exec_driver_sql)


def by_django(way: Way) -> None:
    """Work by Django, whose connections belong to threads and names."""
    database = package("django.db")
    package("django_project").set_up()  # a process has one
    known = database.connections.databases
    name = f"{way.user} {way.host}"
    known[name] = known["default"] | {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "USER": way.user,
        "HOST": way.host,
    }
    connection = database.connections[name]
    try:
        if way.lone:
            with connection.cursor() as cursor:
                _walk(way, cursor.execute)
        else:
            with database.transaction.atomic(using=name), connection.cursor() as cursor:
                _walk(way, cursor.execute)
    finally:
        connection.close()


def _walk(way: Way, execute: Callable[[str], object]) -> None:
    for step in way.steps:
        if isinstance(step, str):
            execute(step)
        else:
            step()


async def _awalk(way: Way, execute: Callable[[str], Coroutine[Any, Any, object]]) -> None:
    for step in way.steps:
        if isinstance(step, str):
            await execute(step)
        else:
            await asyncio.to_thread(step)


# With the packages that each needs.
DRIVERS: dict[str, tuple[Callable[[Way], Any], tuple[str, ...]]] = {
    "psycopg": (by_psycopg, ("psycopg",)),
    "psycopg, asyncio": (by_async_psycopg, ("psycopg",)),
    "psycopg2": (by_psycopg2, ("psycopg2",)),
    "asyncpg": (by_asyncpg, ("asyncpg",)),
    "SQLAlchemy, psycopg": (by_sqlalchemy("psycopg"), ("sqlalchemy", "psycopg")),
    "SQLAlchemy, psycopg2": (by_sqlalchemy("psycopg2"), ("sqlalchemy", "psycopg2")),
    "SQLAlchemy, asyncpg": (by_async_sqlalchemy, ("sqlalchemy", "asyncpg", "greenlet")),
    "Django": (by_django, ("django", "psycopg")),
}
