"""The demo's second act: a process is killed in the middle of a charge, and a saga gets stuck.

Both orders are in a journal. The first one's process dies by `kill -9`, and another process, the
`saga recover` that anybody would type, finishes it. The second one can't be undone, since the bank
refuses a refund: a person finds it with `saga list`, refunds by hand, and says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from py_api_saga import SagaStuck
from py_api_saga.demo import casualty, checkout
from py_api_saga.demo.checkout import Order, Shop
from py_api_saga.demo.services import DISPUTED_CARD, UNREACHABLE_CITY
from py_api_saga.demo.timeline import UNDO, Screen, Timeline
from py_api_saga.journal import SQLiteJournal

KILLED = (
    "Killed in the middle of a charge",
    (
        "The same saga, with a journal, in a process of its own. It dies while the payment service "
        "is at work; another process finds the order in the journal and finishes it. The charge is "
        "asked for again under its key, so it counts once."
    ),
)
STUCK = (
    "A refund is refused, and a person mends it",
    (
        "No courier, and the bank disputes the refund: the saga can be neither finished nor "
        "undone. It says so, and waits for a person."
    ),
)
PATIENCE = 20.0  # seconds for a command
_NEEDS_ATTENTION = 4  # the exit status of a command that found something


def play_killed(screen: Screen, order: Order, shop: Shop, journal: Path, pace: float) -> bool:
    """Kill a checkout while its charge is on its way, and recover it; tell whether all went so."""
    with _casualty(screen, order, shop, journal) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        for line in process.stdout:
            if not line.startswith(casualty.BEGINS):
                screen.line(line.rstrip("\n"), indent=0)
            elif line.split()[1] == "charge":
                time.sleep(pace / 2)
                process.kill()
                screen.line(screen.paint(f"kill -9 {process.pid}", "red"))
                break
    screen.line()
    modules = [f"--modules={name}" for name in casualty.MODULES]
    return _saga(screen, journal, "recover", *modules) == 0


@contextmanager
def _casualty(
    screen: Screen, order: Order, shop: Shop, journal: Path
) -> Iterator[subprocess.Popen[str]]:
    colour = "colour" if screen.colour else "plain"
    arguments = [str(journal), json.dumps(asdict(order)), json.dumps(asdict(shop)), colour]
    process = subprocess.Popen(  # noqa: S603 - this interpreter and a module of this package
        [sys.executable, "-P", "-m", casualty.__name__, *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.communicate()


def play_stuck(screen: Screen, order: Order, shop: Shop, journal: Path) -> bool:
    """Let a saga get stuck, find it, and mend it by hand; tell whether all went so."""
    with closing(SQLiteJournal(journal, modules=casualty.MODULES)) as sagas:
        saga = checkout.checkout(shop, order, Timeline(screen, UNDO))
        try:
            saga.orchestrator_execute(journal=sagas, saga_id=order.id)
        except SagaStuck as error:
            for line in f"raised SagaStuck: {error}".splitlines():
                screen.line(line)
        else:  # pragma: no cover - the services would have to be others
            return False
    screen.line()
    found = _saga(screen, journal, "list", "--status=stuck")
    screen.line()
    checkout.refund_by_hand(shop, order)
    screen.line("Ada calls the bank, which refunds the card.")
    screen.line()
    note = "--note=by hand"
    mended = _saga(screen, journal, "resolve", order.id, "charge", "--compensated", note)
    return (found, mended) == (_NEEDS_ATTENTION, 0)


def _saga(screen: Screen, journal: Path, *arguments: str) -> int:
    """Run the `saga` command in a process of its own, and show what was typed and what it says."""
    shown = " ".join(f"'{text}'" if " " in text else text for text in arguments)
    screen.line(screen.paint(f"$ saga {shown}", "bold"))
    ran = subprocess.run(  # noqa: S603 - as above
        [sys.executable, "-P", "-m", "py_api_saga", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, "SAGA_JOURNAL": str(journal)},
    )
    for line in ran.stdout.splitlines():
        screen.line(line)
    return ran.returncode


def orders(first: int) -> tuple[Order, Order]:
    """Give the two orders of this act, numbered from the given one."""
    return (
        checkout.Order(f"order-{first}", "mug", 2, 2400, "4242 4242 4242 4242", "Lisbon"),
        checkout.Order(f"order-{first + 1}", "mug", 2, 2400, DISPUTED_CARD, UNREACHABLE_CITY),
    )
