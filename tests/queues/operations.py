"""What stands in for the page's `operations.py`: the same functions, with a ledger outside.

A copy of this file lies in the folder of the workers, so that the journal finds it by that name.
What happens is in the name of the order.
"""

from __future__ import annotations

import os
import signal
import time

from py_api_saga import Later, later
from queues.ledger import calling, count, note, of, read, take_back, take_effect

PATIENCE = 60.0  # seconds after which a limit, or a second delivery, is taken for lost


class NoCourier(Exception):
    """There is no van today."""


def _wait_for(order: str, word: str) -> None:
    """Wait until a line says so, or a limit strikes."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if any(line.what == word for line in of(order, read())):
            return
        time.sleep(0.02)
    raise TimeoutError(word)


def reserve(order: str) -> None:
    """Reserve."""
    with calling(order, "reserve"):
        take_effect(order, "reserve")


def release(order: str) -> None:
    """Undo it."""
    with calling(order, "release"):
        take_back(order, "reserve")


def charge(order: str, cents: int) -> Later | None:
    """Charge; then be killed, be struck, wait until another has come, or for an answer."""
    del cents
    with calling(order, "charge"):
        take_effect(order, "charge")
        if order == "killed" and count(of(order, read()), "begin", "charge") == 1:
            note("killed", order)
            os.kill(os.getpid(), signal.SIGKILL)
        if order == "struck":
            _wait_for(order, "never")
        if order == "twice":
            _wait_for(order, "met")
    return later(timeout=None) if order == "waits" else None


def refund(order: str) -> None:
    """Undo it."""
    with calling(order, "refund"):
        take_back(order, "charge")


def book_courier(order: str) -> None:
    """Book, unless there is no van: never for one order, and not the first time for another."""
    with calling(order, "book"):
        first = count(of(order, read()), "begin", "book") == 1
        if order == "never" or (order == "later" and first):
            raise NoCourier
        take_effect(order, "book")


def cancel_courier(order: str) -> None:
    """Undo it."""
    with calling(order, "cancel"):
        take_back(order, "book")
