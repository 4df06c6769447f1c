"""`python -m tests.examples`: kill a server in the middle of a charge; its worker goes on.

So it does when the bank of the webhook shop takes a payment, and answers before that or later. The
shop on DBOS and on Temporal kills a worker itself, and another one goes on.

A failure says which shop, and what came. `--only NAME` plays one of them.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

from servers import shared

from .shops import EXAMPLES, ON_ENGINES, PATIENCE, SHOPS, WAITING, Shop, opened, page_of, until


def main() -> int:
    """Play each shop."""
    parser = argparse.ArgumentParser(prog="python -m tests.examples", description=__doc__)
    parser.add_argument("--only", choices=[*SHOPS, WAITING, ON_ENGINES])
    only = parser.parse_args().only
    if only in (None, WAITING):
        with (
            TemporaryDirectory() as folder,
            opened(WAITING, "", Path(folder, "log"), SLOW="60") as shop,
        ):
            sys.stdout.write(f"{WAITING}: {play_waiting(shop)}\n")
            sys.stdout.flush()
    if only in (None, ON_ENGINES):
        for engine in ("dbos", "temporal"):
            sys.stdout.write(f"{ON_ENGINES} {engine}: {play_on(engine)}\n")
            sys.stdout.flush()
    if only in (WAITING, ON_ENGINES):
        return 0
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
    killed = shop.kill()
    customer.join(PATIENCE)
    until(lambda: shop.is_back(killed))
    until(lambda: page_of(shop, "7")["status"] == "placed")
    took = time.monotonic() - begun
    page, ledger = shop.page("7"), shop.ledger()
    asked = [one.partition(" ")[0] for one in ledger["asked"]]
    assert [one["id"] for one in ledger["charges"].values()] == [page["payment"]], (page, ledger)
    assert len(ledger["reservations"]) == 1, ledger
    assert asked == ["reservations", "charges", "charges"], asked
    return f"killed {len(killed)} processes; placed {took:.1f} s later, charged once"


def play_waiting(shop: Shop) -> str:
    """Kill its server while the bank takes a payment, which is confirmed before that, or after.

    An answer that came before is kept, so the bank is not asked again; without one it is, under the
    same key, and answers later.
    """
    begun = time.monotonic()
    for order in ("before", "after"):
        seen = {*shop.ledger()["payments"]}
        customer = threading.Thread(target=_lost, args=(shop, order))
        customer.start()
        until(lambda: {*shop.ledger()["payments"]} - seen)  # noqa: B023 - called here alone
        [key] = {*shop.ledger()["payments"]} - seen
        payment = shop.ledger()["payments"][key]["id"]
        if order == "before":
            shop.confirm(payment)
            until(shop.heard)
        killed = shop.kill()
        customer.join(PATIENCE)
        until(lambda: shop.is_back(killed))  # noqa: B023 - as above
        if order == "after":
            until(lambda: page_of(shop, "after")["says"] == "please confirm the payment")
            shop.confirm(payment)
        until(lambda: page_of(shop, order)["says"] == "it is on its way")  # noqa: B023 - as above
        asked = [one for one in shop.ledger()["asked"] if one == f"payments {key}"]
        assert len(asked) == {"before": 1, "after": 2}[order], shop.ledger()
    ledger = shop.ledger()
    counts = {what: len(ledger[what]) for what in ("reservations", "payments", "parcels")}
    assert counts == dict.fromkeys(counts, 2), ledger
    took = time.monotonic() - begun
    return f"killed before and after the answer; both sent {took:.1f} s later, paid once each"


def play_on(engine: str) -> str:
    """Start the shop on an engine, by its command alone, and read what it says of its orders."""
    begun = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-m", ON_ENGINES, engine],
        cwd=EXAMPLES,
        env={**os.environ, "SLOW": "60"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    said = run.stdout
    assert run.returncode == 0, said + run.stderr
    for ended in (
        r"order-1, visa: completed, parcel P\d+",
        r"order-2, declined: undone, the card was declined",
        r"order-3, slow: completed, parcel P\d+",
        r"mugs on the shelf: 3",
        r"charges in the ledger: C\d+ C\d+",
        r"parcels in the ledger: P\d+ P\d+",
    ):
        assert re.search(f"^{ended}$", said, re.MULTILINE), said
    charged = re.findall(r"^process (\d+) charges slow$", said, re.MULTILINE)
    killed = re.findall(r"^process (\d+): kill -9", said, re.MULTILINE)
    assert killed == charged[:1], said
    assert len({*charged}) == 2, said  # by another one, under the same key
    return f"a worker was killed, another one went on; all in {time.monotonic() - begun:.1f} s"


def _lost(shop: Shop, order: str = "7") -> None:
    """Order, and hear nothing of it."""
    with suppress(OSError, HTTPException):
        shop.check_out(order, card="slow")
        raise AssertionError("there was an answer")


if __name__ == "__main__":
    sys.exit(main())
