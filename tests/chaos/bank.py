"""A bank in Flask and PostgreSQL, run by gunicorn: two views, with the barrier or without it."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import psycopg
from flask import Flask, request

from py_api_saga.contrib.barrier.flask import saga_barrier

CONNECT = partial(psycopg.connect, os.environ["BANK_URL"])
WITHOUT = os.environ["BANK_WITHOUT"]
LIMIT = 9000  # cents

app = Flask("bank")


def received(view: Any) -> Any:
    """Receive once, or, to see that the proof can fail, as often as it comes."""
    if WITHOUT != "barrier":
        return saga_barrier(CONNECT)(view)

    def plain() -> Any:
        with CONNECT() as connection:
            answered = view(connection)
            if answered[1] >= 300:
                connection.rollback()
            return answered

    plain.__name__ = view.__name__
    return plain


@app.post("/charges")
@received
def charge(connection: Any) -> Any:
    """Charge an account, unless it is too much."""
    asked = request.get_json()
    connection.execute(
        "INSERT INTO booking (account, kind) VALUES (%s, 'charge')", [asked["account"]]
    )
    if asked["cents"] > LIMIT:
        return {"error": "declined"}, 402
    return {"id": asked["account"]}, 201


@app.post("/refunds")
@received
def refund(connection: Any) -> Any:
    """Give back what was charged, whatever that was: it is not for the bank to know."""
    asked = request.get_json()
    connection.execute(
        "INSERT INTO booking (account, kind) VALUES (%s, 'refund')", [asked["account"]]
    )
    return {}, 200
