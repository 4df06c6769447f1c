"""A machine: `python -m two_machines.machine one order-7`, or without an order, a worker."""

import sys
import time
from contextlib import closing

from py_api_saga import recover
from two_machines import shop

POLL = 0.5  # seconds; `saga worker` does the same, and more


def main(name: str, *orders: str) -> None:
    """Place orders and, if there are none, go on with those that others have left."""
    with closing(shop.journal()) as journal:
        for order in orders:
            print(f"machine {name} places {order}", flush=True)
            results = shop.checkout(order).orchestrator_execute(journal=journal, saga_id=order)
            print(f"machine {name} has placed {order}: {', '.join(results)}", flush=True)
        while not orders:
            for left in recover(journal):
                outcome = left.outcome.value
                print(f"machine {name} went on with {left.saga_id}: {outcome}", flush=True)
            time.sleep(POLL)


if __name__ == "__main__":
    main(*sys.argv[1:])
