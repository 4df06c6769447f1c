"""Sagas that live through something while every call of this library is noted, and its thread.

`python lives.py` prints what was noted as JSON: for each life its calls, as ("module:function",
thread). In a process of its own, since threads that live on from before would not be noted.
"""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import py_api_saga
from py_api_saga import (
    Event,
    Retry,
    SagaAssembler,
    SagaException,
    SagaPending,
    answer,
    current_operation,
    later,
    recover,
)
from py_api_saga.current import CurrentOperation
from py_api_saga.journal import SQLiteJournal

SOURCE = f"{Path(py_api_saga.__file__).parent}{os.sep}"
PATIENCE = 30.0
Noted = list[tuple[str, str]]

# How the threads are called that this library starts, and the word that a page has for each.
THREADS = {
    "py_api_saga": "pool",
    "py-api-saga-journal": "writer",
    "saga charge": "straggler",
    "saga-recovery_0": "worker",
}
go_on = threading.Event()
behaviour: dict[str, Callable[[], object]] = {}


def reserve(order: str) -> str:
    """Do so."""
    return f"a mug for {order}"


def release(_: str) -> None:
    """Undo `reserve`."""


def charge(order: str) -> object:
    """Do what the case says."""
    return behaviour.get("charge", lambda: f"paid for {order}")()


def refund(_: str) -> None:
    """Undo `charge`."""


async def acharge(order: str) -> object:
    """Like `charge`, but a coroutine function."""
    return charge(order)


def saga(do: Any = charge, around: Any = (), observers: Any = (), **options: Any) -> SagaAssembler:
    """Reserve, then charge."""
    made = SagaAssembler.saga(name="order", around=around, observers=observers)
    made.operation((reserve, "A-17"), (release, "A-17"), name="reserve")
    return made.operation((do, "A-17"), (refund, "A-17"), name="charge", **options)


# --- what a saga lives through --------------------------------------------------------------------


def chain(journal: SQLiteJournal) -> None:
    """All goes well, one after the other."""
    saga().orchestrator_execute(journal=journal)


def choreography(journal: SQLiteJournal) -> None:
    """All goes well, at once."""
    saga().choreography_execute(journal=journal)


def under_asyncio(journal: SQLiteJournal) -> None:
    """All goes well in an event loop."""
    asyncio.run(saga(acharge).aorchestrator_execute(journal=journal))


def retry(journal: SQLiteJournal) -> None:
    """The second action fails once, with an error that is known to leave no doubt."""
    errors = [ConnectionRefusedError("down")]
    behaviour["charge"] = lambda: fail(errors.pop()) if errors else "paid"
    again = Retry(OSError, attempts=2, wait_initial=0.01)
    saga(retry=again).orchestrator_execute(journal=journal)


def rollback(journal: SQLiteJournal) -> None:
    """The second action fails."""
    behaviour["charge"] = lambda: fail(ValueError("declined"))
    with suppress(SagaException):
        saga().orchestrator_execute(journal=journal)


def interrupt(journal: SQLiteJournal) -> None:
    """Ctrl-C in the second action."""
    behaviour["charge"] = lambda: fail(KeyboardInterrupt())
    with suppress(KeyboardInterrupt):
        saga().orchestrator_execute(journal=journal)


def strike(journal: SQLiteJournal) -> None:
    """Ctrl-C when the intent of the second action is on record, and the call has not begun."""

    def struck(event: Event) -> None:
        if (event.kind, event.operation) == ("operation started", "charge"):
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        saga(observers=[struck]).orchestrator_execute(journal=journal)


def landing(journal: SQLiteJournal) -> None:
    """The second action takes too long, all is undone, and then it succeeds after all."""
    behaviour["charge"] = lambda: go_on.wait(PATIENCE) and "paid"
    with suppress(SagaException):
        saga(timeout=0.05).orchestrator_execute(journal=journal)
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "saga charge":
            thread.join(PATIENCE)


def recovery(journal: SQLiteJournal) -> None:
    """Its process has died in the second action."""
    recover(journal)


def waiting(journal: SQLiteJournal) -> None:
    """The second action has only begun something, and its answer comes later."""
    keys: list[str] = []

    def begin() -> object:
        keys.append(current_operation().idempotency_key)
        return later(timeout=None)

    behaviour["charge"] = begin
    with suppress(SagaPending):
        saga().orchestrator_execute(journal=journal)
    answer(journal, keys[0], result="paid")


def around(journal: SQLiteJournal) -> None:
    """Each call has a connection; for the second one there is none."""

    @contextmanager
    def connected(call: CurrentOperation) -> Iterator[None]:
        if call.operation == "charge":
            raise ConnectionRefusedError
        yield

    with suppress(SagaException):
        saga(around=[connected]).orchestrator_execute(journal=journal)


def die(path: Path) -> None:
    """Let a process die in the second action."""
    pid = os.fork()
    if not pid:
        behaviour["charge"] = lambda: os._exit(9)
        chain(SQLiteJournal(path, modules=["__main__"]))
    os.waitpid(pid, 0)


def fail(error: BaseException) -> object:
    """Raise an error."""
    raise error


LIVES = {
    "chain": chain,
    "choreography": choreography,
    "asyncio": under_asyncio,
    "A retry": retry,
    "A rollback": rollback,
    "An interrupt": interrupt,
    "An interrupt between two lines": strike,
    "A late landing": landing,
    "A recovery": recovery,
    "An answer that comes later": waiting,
    "Something around each call": around,
}


# --- what is noted --------------------------------------------------------------------------------


def noted(live: Callable[[SQLiteJournal], None], journal: SQLiteJournal) -> Noted:
    """Note every call of this library while a saga lives through something."""
    calls: Noted = []
    main = "loop" if live is under_asyncio else "caller"

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(SOURCE):
            module = code.co_filename.removeprefix(SOURCE).removesuffix(".py").replace(os.sep, ".")
            name = f"{module.removesuffix('.__init__')}:{code.co_qualname}"
            thread = threading.current_thread().name
            calls.append((name, main if thread == "MainThread" else THREADS.get(thread, thread)))

    behaviour.clear()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        live(journal)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return calls


def main() -> None:
    """Live through all, and print what was noted."""
    found = {}
    with TemporaryDirectory() as folder:
        die(Path(folder, "A recovery.db"))
        for name, live in LIVES.items():
            journal = SQLiteJournal(Path(folder, f"{name}.db"), modules=["__main__"])
            found[name] = noted(live, journal)
            journal.close()
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
