"""Requests that are received once, and local writes that count once.

For whoever is called by sagas: `received`, within a transaction of theirs, and `saga_barrier` in
`barrier.flask`, `barrier.django` and `barrier.fastapi`, which opens one. For the operations of a
saga themselves: `once`. All of it is one table, `ddl`, in the database that the effects are in.
"""

from py_api_saga.contrib.barrier.receiving import (
    NotKept,
    Received,
    Refused,
    Request,
    fingerprint,
    forget,
    purge,
    received,
    said,
)
from py_api_saga.contrib.barrier.table import ddl
from py_api_saga.contrib.barrier.writes import AlreadyUndone, OnceError, once

__all__ = [
    "AlreadyUndone",
    "NotKept",
    "OnceError",
    "Received",
    "Refused",
    "Request",
    "ddl",
    "fingerprint",
    "forget",
    "once",
    "purge",
    "received",
    "said",
]
