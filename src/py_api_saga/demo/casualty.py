"""The demo's casualty: a process that runs one durable checkout, and is killed in its middle.

    python -m py_api_saga.demo.casualty JOURNAL ORDER-AS-JSON SHOP-AS-JSON COLOUR

It says on its standard output when a call begins, as `begins charge`, for whoever is to kill it;
every other line is the timeline's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from py_api_saga import Event
from py_api_saga.demo.checkout import Order, Shop, checkout
from py_api_saga.demo.timeline import UNDO, Screen, Timeline
from py_api_saga.journal import SQLiteJournal

BEGINS = "begins "
MODULES = ("py_api_saga.demo.checkout",)


def main(arguments: Sequence[str]) -> int:
    """Check out an order, with a journal."""
    path, order, shop, colour = arguments
    screen = Screen(sys.stdout, colour=colour == "colour")
    timeline = Timeline(screen, UNDO)

    def watch(event: Event) -> None:
        timeline(event)
        if event.kind == "operation started":
            screen.line(f"{BEGINS}{event.operation}", indent=0)

    made = Order(**json.loads(order))
    saga = checkout(Shop(**json.loads(shop)), made, watch)
    saga.orchestrator_execute(journal=SQLiteJournal(path, modules=MODULES), saga_id=made.id)
    return 0


if __name__ == "__main__":  # pragma: no cover - run as a process, where coverage does not look
    sys.exit(main(sys.argv[1:]))
