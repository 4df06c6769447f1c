"""What the sagas call, and the sagas: each kind is one place where a time limit may strike."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from py_api_saga import Event, Observer, Retry, SagaAssembler
from py_api_saga.journal import SQLiteJournal

from . import ledger
from .ledger import calling, note, take_back, take_effect

# An exception that is set into a thread may strike in `logging`, and leave its lock locked.
logging.getLogger("py_api_saga").setLevel(logging.WARNING)

PATIENCE = 60.0  # seconds after which a limit that was to strike is taken for lost
GLANCE = 0.02  # seconds between two looks


class Busy(Exception):
    """A service has done nothing; it may do so later."""


class Refused(Exception):
    """A service has done nothing, and will not."""


class NeverStruckError(Exception):
    """The limit that was to strike here did not."""


def journal() -> SQLiteJournal:
    """Make the journal of this folder."""
    folder = Path(os.environ[ledger.FILE]).parent
    return SQLiteJournal(str(folder / "sagas.db"), modules=["queues.shop"])


# --- calls -------------------------------------------------------------------------------------


def _until_struck() -> None:
    """Wait for a limit that is raised in this thread, in steps: some are raised between two."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        time.sleep(GLANCE)
    raise NeverStruckError


def _until_others_are_struck(order: str) -> None:
    """Wait for a limit that is raised in another thread."""
    until = time.monotonic() + PATIENCE
    while not any(line.what == "struck" for line in ledger.of(order, ledger.read())):
        if time.monotonic() > until:
            raise NeverStruckError
        time.sleep(GLANCE)


def _calls(order: str, name: str) -> int:
    """Count how often it was called, this time included."""
    return ledger.count(ledger.of(order, ledger.read()), "begin", name)


def reserve(order: str) -> str:
    """Reserve."""
    with calling(order, "reserve"):
        take_effect(order, "reserve")
    return "shelf 7"


def release(order: str) -> None:
    """Undo it."""
    with calling(order, "release"):
        take_back(order, "reserve")


def charge(order: str, trouble: str) -> int:
    """Charge, with a trouble: what a limit, a busy service or a kill strikes."""
    with calling(order, "charge"):
        if trouble == "busy" and _calls(order, "charge") == 1:
            note("busy", order, "charge")
            raise Busy
        take_effect(order, "charge")
        if trouble == "killed" and _calls(order, "charge") == 1:
            note("killed", order)
            os.kill(os.getpid(), signal.SIGKILL)
        if trouble in {"struck", "busy"}:
            _until_struck()
        if trouble == "others struck":
            _until_others_are_struck(order)
    return 1200


async def acharge(order: str) -> int:
    """Charge under asyncio, and be struck."""
    with calling(order, "charge"):
        take_effect(order, "charge")
        await asyncio.sleep(PATIENCE)
    raise NeverStruckError


def refund(order: str, trouble: str) -> None:
    """Undo it, with a trouble in the first call."""
    with calling(order, "refund"):
        if trouble == "struck" and _calls(order, "refund") == 1:
            _until_struck()
        if trouble == "others struck" and _calls(order, "refund") == 1:
            _until_others_are_struck(order)
        take_back(order, "charge")


def book(order: str, trouble: str) -> None:
    """Book a courier."""
    with calling(order, "book"):
        if trouble == "refused":
            raise Refused
        take_effect(order, "book")
        if trouble == "struck" and _calls(order, "book") == 1:
            _until_struck()


def cancel(order: str) -> None:
    """Undo it."""
    with calling(order, "cancel"):
        take_back(order, "book")


# --- sagas -------------------------------------------------------------------------------------

# The troubles of a charge, of its refund and of the booking.
KINDS: dict[str, tuple[str, str, str]] = {
    "action": ("struck", "", ""),
    "retry wait": ("busy", "", ""),
    "compensation": ("", "struck", "refused"),
    "choreography": ("others struck", "", ""),
    "choreography, retry wait": ("busy", "", ""),
    "choreography, compensation": ("", "others struck", "refused"),
    "asyncio": ("", "", ""),
    "after the pivot": ("", "", "struck"),
    "killed": ("killed", "", ""),
    "hard limit": ("struck", "struck", ""),
    "as usual": ("", "", ""),
}


def _observe(event: Event) -> None:
    if event.kind == "saga ended" and event.outcome is not None:
        note("outcome", event.saga_id, event.outcome.value)


def saga_of(
    order: str, kind: str, wait: float, observers: Sequence[Observer] = (_observe,)
) -> SagaAssembler:
    """Write a saga of a kind; `wait` is how many seconds a busy service is left alone."""
    charging, refunding, booking = KINDS[kind]
    retry = Retry(Busy, attempts=2, wait_initial=wait, wait_max=wait, wait_jitter=0)
    charged: Any = (acharge, order) if kind == "asyncio" else (charge, order, charging)
    graph = kind.startswith("choreography")
    return (
        SagaAssembler.saga(name="queued", observers=observers)
        .operation((reserve, order), (release, order), name="reserve")
        .operation(
            charged,
            (refund, order, refunding),
            name="charge",
            retry=retry,
            pivot=kind == "after the pivot",
        )
        .operation(
            (book, order, booking), (cancel, order), name="book", after="charge" if graph else ()
        )
    )


def run(order: str, kind: str, *, durable: bool, wait: float) -> list[Any]:
    """Run a saga of a kind to its end, under the id of its order."""
    if kind == "any moment":
        run_on(order, durable=durable)
    saga = saga_of(order, kind, wait)
    options = options_of(order, durable=durable)
    if kind.startswith("choreography"):
        return list(saga.choreography_execute(**options))
    return list(saga.orchestrator_execute(**options))


def run_on(order: str, *, durable: bool) -> None:
    """Run one saga after the other, in turns as a chain and as a graph, until a limit strikes."""
    options: dict[str, Any] = {"journal": journal()} if durable else {}
    until = time.monotonic() + PATIENCE
    for number in count():
        each = f"{order}-{number}"
        # No observer: a limit that is raised in one is taken for its own error.
        saga = saga_of(each, "as usual", 0.0, observers=())
        if number % 2:
            saga.choreography_execute(saga_id=each, **options)
        else:
            saga.orchestrator_execute(saga_id=each, **options)
        if time.monotonic() > until:
            raise NeverStruckError


async def arun(order: str, *, durable: bool) -> list[Any]:
    """Run one under asyncio."""
    saga = saga_of(order, "asyncio", 0.0)
    return list(await saga.aorchestrator_execute(**options_of(order, durable=durable)))


def options_of(order: str, *, durable: bool) -> dict[str, Any]:
    """Give what is said to every saga."""
    return {"saga_id": order} | ({"journal": journal()} if durable else {})


@contextmanager
def hearing(number: int, order: str) -> Iterator[None]:
    """Note the signal of a limit before the queue's own handler raises."""
    raises: Any = signal.getsignal(number)
    assert callable(raises), "the queue has set no limit"

    def heard(*arguments: object) -> object:
        note("struck", order)
        return raises(*arguments)

    signal.signal(number, heard)
    try:
        yield
    finally:
        signal.signal(number, raises)
