"""A Flask application whose views book four things, by Flask-SQLAlchemy's session."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, has_request_context, jsonify, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text
from sqlalchemy.orm import DeclarativeBase

from py_api_saga import current_operation
from py_api_saga.contrib.flask import Sagas

BOOKINGS = 4


class Base(DeclarativeBase):
    """There are no models: the tables are the trial's."""


db = SQLAlchemy(model_class=Base)
sagas = Sagas(db=db)
application = Flask("load")
application.config.update(
    SQLALCHEMY_DATABASE_URI=os.environ["LOAD_DATABASE"].replace("://", "+psycopg://", 1),
    SQLALCHEMY_ENGINE_OPTIONS={
        "pool_size": int(os.environ["LOAD_POOL"]),
        "max_overflow": 0,
        "pool_timeout": 60,
        "connect_args": {
            "application_name": os.environ["LOAD_NAME"],
            "options": f"-csearch_path={os.environ['LOAD_SCHEMA']}",
        },
    },
    SAGA_JOURNAL=os.environ.get("LOAD_JOURNAL"),
    SAGA_MODULES=["load.flask_app"],
)
db.init_app(application)
sagas.init_app(application)


def book(user: str, number: int) -> list[str | None]:
    """Book something, once for its key, which takes a while."""
    db.session.execute(
        text("INSERT INTO bookings (key, person) VALUES (:key, :user) ON CONFLICT DO NOTHING"),
        {"key": current_operation().action_key, "user": user},
    )
    db.session.execute(text("SELECT pg_sleep(0.01)"))
    said = request.args["id"] if has_request_context() else None
    return [user, said, str(number)]


def cancel(*_: object) -> None:
    """Take it back."""
    db.session.execute(
        text("DELETE FROM bookings WHERE key = :key"), {"key": current_operation().action_key}
    )


@application.get("/up")
def is_up() -> Any:
    """Answer once the server does."""
    return jsonify()


@application.get("/<how>/<user>")
def run(how: str, user: str) -> Any:
    """Book all at once, in threads, or one after the other in the thread of the request."""
    saga = sagas.saga(name="checkout")
    for number in range(BOOKINGS):
        saga.operation((book, user, number), cancel, name=f"book-{number}")
    execute = saga.choreography_execute if how == "graph" else saga.orchestrator_execute
    results = execute(saga_id=request.args["id"])
    return jsonify(got=[result[:2] for result in results], language=request.args["id"])
