"""A Flask project's tasks, on Celery: `celery -A queues.flask_tasks worker`.

As the how-to has it: a view starts the saga in its own transaction, and then sends the task.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from servers.shared import Database
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from py_api_saga import Recovered, given, recover
from py_api_saga.contrib.flask import Sagas
from py_api_saga.journal import PostgreSQLJournal

POOL = 4  # connections of the application, in each process


class Base(DeclarativeBase):
    """The tables of the shop."""


db = SQLAlchemy(model_class=Base)
sagas = Sagas(db=db)
application: Flask


class Order(Base):
    """An order."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]


def note(order: int, status: str) -> None:
    """Write down what has become of an order."""
    db.session.get_one(Order, order).status = status


SHOP = (
    sagas.saga(name="checkout")
    .operation((note, given("order"), "charged"), (note, given("order"), "failed"), name="charge")
    .operation((note, given("order"), "placed"), name="place")
)


def make(url: str, schema: str) -> Flask:
    """Make the application on a database."""
    app = Flask("flask_tasks")
    app.config.update(
        SQLALCHEMY_DATABASE_URI=url.replace("://", "+psycopg://", 1),
        SQLALCHEMY_ENGINE_OPTIONS={
            "pool_size": POOL,
            "max_overflow": 0,
            "connect_args": {
                "application_name": __name__,
                "options": f"-csearch_path={schema}",
            },
        },
        SAGA_JOURNAL=PostgreSQLJournal(url, modules=[__name__], schema=schema),
        SAGA_MODULES=[__name__],
    )
    db.init_app(app)
    sagas.init_app(app)
    return app


def place_order(order: int, *, fails: bool = False) -> None:
    """Write an order and its saga down, both or neither, as a view does."""
    with application.app_context():
        db.session.add(Order(id=order, status="new"))
        db.session.flush()
        SHOP.given(order=order).start(
            journal=sagas.journal.within(db.session), saga_id=f"order-{order}"
        )
        if fails:
            db.session.rollback()
        else:
            db.session.commit()


def begin(database: Database) -> dict[str, str]:
    """Make its tables, and give what its worker is told."""
    global application  # noqa: PLW0603 - a project is one of its process
    application = make(database.url, database.schema)
    with application.app_context():
        db.create_all()
        sagas.journal.create_schema()
    return {"SHOP_DATABASE": database.url, "SHOP_SCHEMA": database.schema}


def finish() -> list[Recovered]:
    """Recover, as a periodic task does."""
    with application.app_context():
        return recover(sagas.journal, around=[sagas.around])


def orders() -> dict[int, str]:
    """Give the status of each order."""
    with application.app_context():
        return {row.id: row.status for row in db.session.scalars(db.select(Order))}


def end() -> None:
    """Close everything."""
    with application.app_context():
        db.engine.dispose()
        sagas.journal.close()


if "SHOP_DATABASE" in os.environ:  # in the worker
    application = make(os.environ["SHOP_DATABASE"], os.environ["SHOP_SCHEMA"])
    app: Any = import_module("celery").Celery("flask_tasks")
    app.conf.update(task_acks_late=True, broker_connection_retry_on_startup=True)

    def checkout(order: int) -> None:
        """Make the saga sooner than its worker would."""
        with application.app_context():
            SHOP.given(order=order).orchestrator_execute(
                journal=sagas.journal, saga_id=f"order-{order}"
            )

    app.task(checkout, name="checkout")
