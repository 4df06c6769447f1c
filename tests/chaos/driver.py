"""Whoever runs the sagas: recovers first, then runs what is left; may be killed at any instant."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from py_api_saga import Retry, SagaAssembler, SagaException, recover
from py_api_saga.contrib.http import transient
from py_api_saga.contrib.requests import SagaSession
from py_api_saga.journal import SQLiteJournal

AT_ONCE = 12  # sagas
FEW = Retry(transient, attempts=2, wait_initial=0.02, wait_jitter=0.02)
MANY = Retry(Exception, attempts=200, wait_initial=0.02, wait_max=0.2)

_local = threading.local()


def session() -> SagaSession:
    """Give the session of this thread."""
    if not hasattr(_local, "session"):
        undoes = None if os.environ["BANK_WITHOUT"] == "undoes" else "Saga-Undoes"
        _local.session = SagaSession(undoes_header=undoes, timeout=(5, 60))
    made: SagaSession = _local.session
    return made


def charge(account: str, cents: int) -> str:
    """Charge an account."""
    url = f"{os.environ['BANK_FRONT']}/charges"
    reply = session().post(url, json={"account": account, "cents": cents})
    return str(reply.json()["id"])


def refund(account: str) -> None:
    """Give back what was charged."""
    session().post(f"{os.environ['BANK_FRONT']}/refunds", json={"account": account})


def ship(way: int) -> None:
    """Find a courier, or none for one way in four."""
    if way == 1:
        raise LookupError("no courier")


def pay(i: int) -> SagaAssembler:
    """Write the saga of a number: charges two accounts, the second of which may be too poor."""
    cents = 9999 if i % 10 == 9 else 1200
    return (
        SagaAssembler.saga(name="pay")
        .operation(
            (charge, f"{i}a", 700), (refund, f"{i}a"), name="a", retry=FEW, compensation_retry=MANY
        )
        .operation(
            (charge, f"{i}b", cents),
            (refund, f"{i}b"),
            name="b",
            retry=FEW,
            compensation_retry=MANY,
        )
        .operation((ship, i % 4))
    )


def main(path: str, numbers: Iterator[int]) -> None:
    """Run what was not run yet."""
    logging.disable(logging.CRITICAL)
    journal = SQLiteJournal(path, modules=["driver", "py_api_saga.contrib.http"])
    recover(journal)

    def run(i: int) -> None:
        saga = pay(i).given()  # which looks at all of it: what it raises is a mistake
        with suppress(SagaException):
            saga.orchestrator_execute(journal=journal, saga_id=f"pay-{i}")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(run, numbers))
    journal.close()


if __name__ == "__main__":
    # So that what a journal names is in a module, and not in `__main__`.
    sys.modules["driver"] = sys.modules["__main__"]
    for _function in (charge, refund, ship):
        _function.__module__ = "driver"
    main(sys.argv[1], iter(range(int(sys.argv[2]))))
