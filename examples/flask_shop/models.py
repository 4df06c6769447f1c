"""The orders of the shop."""

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """All tables of the shop."""


db = SQLAlchemy(model_class=Base)


class Order(Base):
    """An order, from the first operation of its checkout on."""

    __tablename__ = "orders"

    id: Mapped[str] = mapped_column(primary_key=True)
    article: Mapped[str]
    status: Mapped[str]  # "new", "placed" or "failed"
    reservation: Mapped[str | None]
    payment: Mapped[str | None]
