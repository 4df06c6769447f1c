"""The play: `python -m two_machines`, in the folder of the examples."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from urllib.request import urlopen

from two_machines import shop
from two_machines.postgresql import postgresql

ORDER = "order-7"


@contextmanager
def process(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a module of this folder, until the block ends."""
    command = [sys.executable, "-m", f"two_machines.{module}", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:  # noqa: S603 - our own
        try:
            yield running
        finally:
            running.kill()


def told(running: subprocess.Popen[str], words: str) -> None:
    """Show what a process says, down to a line that has these words."""
    assert running.stdout is not None  # noqa: S101 - a pipe was asked for
    for line in running.stdout:
        print(line, end="", flush=True)
        if words in line:
            return
    raise SystemExit(f"it has ended without a word of {words!r}")


def main() -> None:
    """Kill a machine in the middle of a charge, and let another finish its order."""
    with ExitStack() as opened:
        given = os.environ.get("DATABASE_URL")
        url = opened.enter_context(nullcontext(given) if given else postgresql())
        os.environ["SAGA_JOURNAL"] = url
        with closing(shop.journal()) as journal:
            journal.create_schema()

        service = opened.enter_context(process("service"))
        assert service.stdout is not None  # noqa: S101 - as above
        os.environ["SERVICE"] = service.stdout.readline().strip()

        two = opened.enter_context(process("machine", "two"))
        with process("machine", "one", ORDER) as one:
            told(one, "places")
            told(service, "charge")
            one.kill()
            print("machine one: kill -9, and its disk is gone", flush=True)
        told(service, "ship")  # once it is known that machine one is dead
        told(two, f"went on with {ORDER}")

        with urlopen(os.environ["SERVICE"], timeout=30) as answer:  # noqa: S310 - our own
            ledger: list[str] = json.load(answer)
        print("the ledger of the service:", *ledger, sep="\n    ")


if __name__ == "__main__":
    main()
