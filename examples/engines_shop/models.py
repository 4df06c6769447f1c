"""The stock of the shop, in a database of its own."""

import os

from sqlalchemy import create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from py_api_saga.contrib import barrier

database = create_engine(os.environ["SHOP_DATABASE"])
sessions = sessionmaker(database)


class Base(DeclarativeBase):
    """All tables of the shop."""


class Stock(Base):
    """How much of an article there is."""

    __tablename__ = "stock"

    article: Mapped[str] = mapped_column(primary_key=True)
    pieces: Mapped[int]


def create_tables() -> None:
    """Make the tables of the shop, with the one in which `once` notes what was written."""
    Base.metadata.create_all(database)
    with sessions.begin() as session:
        for statement in barrier.ddl("sqlite"):
            session.execute(text(statement))
        session.merge(Stock(article="mug", pieces=5))


def pieces(article: str) -> int:
    """Count what is there of an article."""
    with sessions() as session:
        return session.get_one(Stock, article).pieces


if __name__ == "__main__":
    create_tables()
