"""`python -m tests.examples`: kill a server in the middle of a charge; its worker goes on.

A failure says which shop, and what came. `--only NAME` plays one of them.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

from servers import shared

from .shops import PATIENCE, SHOPS, Shop, opened


def main() -> int:
    """Play each shop."""
    parser = argparse.ArgumentParser(prog="python -m tests.examples", description=__doc__)
    parser.add_argument("--only", choices=SHOPS)
    only = parser.parse_args().only
    with shared.run():
        for name in [only] if only else SHOPS:
            with shared.database() as made, TemporaryDirectory() as folder:
                made.ask(f"CREATE DATABASE {made.schema}")
                url = f"{made.url.rpartition('/')[0]}/{made.schema}"
                try:
                    with opened(name, url, Path(folder, "log"), SLOW="60") as shop:
                        sys.stdout.write(f"{name}: {play(shop)}\n")
                        sys.stdout.flush()
                finally:
                    made.ask(f"DROP DATABASE {made.schema} WITH (FORCE)")
    return 0


def play(shop: Shop) -> str:
    """Kill its server in the middle of a charge, and see what becomes of the order."""
    customer = threading.Thread(target=_lost, args=(shop,))
    customer.start()
    until(lambda: "C" in "".join(one["id"] for one in shop.ledger()["charges"].values()))
    begun = time.monotonic()
    assert shop.page("7")["status"] == "new", shop.page("7")
    killed = shop.workers()
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    customer.join(PATIENCE)
    until(lambda: shop.workers() and not {*shop.workers()} & {*killed})
    until(lambda: page_of(shop)["status"] == "placed")
    took = time.monotonic() - begun
    page, ledger = shop.page("7"), shop.ledger()
    asked = [one.partition(" ")[0] for one in ledger["asked"]]
    assert [one["id"] for one in ledger["charges"].values()] == [page["payment"]], (page, ledger)
    assert len(ledger["reservations"]) == 1, ledger
    assert asked == ["reservations", "charges", "charges"], asked
    return f"killed {len(killed)} processes; placed {took:.1f} s later, charged once"


def page_of(shop: Shop) -> dict[str, str]:
    """Give the page of the order, while the server comes back."""
    with suppress(OSError, HTTPException):
        page: dict[str, str] = shop.page("7")
        return page
    return {"status": "no server"}


def _lost(shop: Shop) -> None:
    """Order, and hear nothing of it."""
    with suppress(OSError, HTTPException):
        shop.check_out("7", card="slow")
        raise AssertionError("there was an answer")


def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    limit = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < limit, "it never came to that"
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
