"""A shop of the examples, started as its page says, and asked as a browser asks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PATIENCE = 300.0  # seconds after which something hangs, on the slowest machine
SHOPS = ("django_shop", "flask_shop", "fastapi_shop")
WAITING = "webhook_shop"  # whose bank answers later
ON_ENGINES = "engines_shop"  # which has no server of its own: workers make its calls


class Reply(NamedTuple):
    """An answer."""

    status: int
    body: Any


class Shop:
    """A shop that runs.

    Attributes:
        services: Where the warehouse and the bank are.
        server: The process whose children serve.
    """

    def __init__(self, said: dict[str, str]) -> None:
        """Take in what it has said when it was started."""
        self.services, self.server = said["services"], int(said["server"])
        self._port = int(said["port"])

    def ask(self, method: str, path: str, body: object = None) -> Reply:
        """Ask it for something."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request(method, path, json.dumps(body), headers)
            response = connection.getresponse()
            return Reply(response.status, json.load(response))
        finally:
            connection.close()

    def check_out(self, order: str, **changes: str) -> int:
        """Place an order, and give the status of the answer."""
        wish = {"order": order, "article": "mug", "card": "visa"} | changes
        return self.ask("POST", "/checkout", wish).status

    def page(self, order: str) -> Any:
        """Give what the page of an order shows."""
        return self.ask("GET", f"/orders/{order}").body

    def ledger(self) -> Any:
        """Give what stands at the services, and what they were asked for."""
        with urlopen(self.services, timeout=PATIENCE) as answer:  # noqa: S310 - our own
            return json.load(answer)

    def confirm(self, payment: str) -> None:
        """Be the customer at the app of the bank, and say yes."""
        body = json.dumps({"payment": payment, "confirm": True}).encode()
        with urlopen(f"{self.services}/app", body, timeout=PATIENCE):  # noqa: S310 - our own
            pass

    def heard(self) -> bool:
        """Tell whether the bank has told the shop all that it has to say."""
        return bool(self.ledger()["told"])

    def kill(self) -> list[int]:
        """End the processes that serve, with `kill -9`, and give them."""
        killed = self.workers()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        return killed

    def is_back(self, killed: list[int]) -> bool:
        """Tell whether others serve in their place."""
        serving = self.workers()
        return bool(serving) and not {*serving} & {*killed}

    def workers(self) -> list[int]:
        """Give the processes that serve."""
        children = Path(f"/proc/{self.server}/task/{self.server}/children")
        return [int(pid) for pid in children.read_text().split()]


def page_of(shop: Shop, order: str) -> dict[str, str]:
    """Give the page of an order, while the server comes back."""
    with suppress(OSError, HTTPException):
        page: dict[str, str] = shop.page(order)
        return page
    return {"status": "no server", "says": "nothing"}


def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    limit = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < limit, "it never came to that"
        time.sleep(0.1)


@contextmanager
def opened(name: str, url: str, log: Path, **more: str) -> Iterator[Shop]:
    """Start a shop with a database, for the time of a block, and end all of it."""
    environment = {**os.environ, "DATABASE_URL": url, "PYTHONUNBUFFERED": "1", **more}
    with log.open("w") as complaints:
        process = subprocess.Popen(
            [sys.executable, "-m", name, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            cwd=EXAMPLES,
            env={name: value for name, value in environment.items() if not name.startswith("COV")},
        )
    impatient = threading.Timer(PATIENCE, process.kill)
    impatient.start()
    listener = threading.Thread(target=lambda: None)
    try:
        assert process.stdout is not None
        said = _said(process.stdout, log)
        impatient.cancel()
        listener = threading.Thread(target=process.stdout.read)  # so that the pipe is never full
        listener.start()
        yield Shop(said)
    finally:
        impatient.cancel()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
        if listener.ident is not None:
            listener.join(PATIENCE)
        if process.stdout is not None:
            process.stdout.close()


def _said(lines: Any, log: Path) -> dict[str, str]:
    """Read what it says until it serves."""
    said: dict[str, str] = {}
    for line in lines:
        for name, pattern in {
            "services": r"Services on (\S+)/",
            "server": r"The server is process (\d+)",
            "port": r"Serving on http://127\.0\.0\.1:(\d+)/",
        }.items():
            if found := re.search(pattern, line):
                said[name] = found[1]
        if "port" in said:
            return said
    raise AssertionError(log.read_text())
