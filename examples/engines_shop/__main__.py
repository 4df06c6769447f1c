"""The play: `python -m engines_shop dbos`, or `temporal`, in the folder of the examples."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from urllib.request import urlopen

from shop_play import HERE, process

from engines_shop.servers import dbos, temporal

SERVERS = {"dbos": dbos, "temporal": temporal}
WORKER = ["-m", "py_api_saga", "worker", "--modules", "engines_shop.operations"]
TAKEOVER = ["--takeover", "--lease", "3"]  # seconds for which a dead worker keeps its orders
CARDS = ("visa", "declined", "slow")  # with the last one the bank takes its time to answer


def main() -> None:
    """Place three orders, and kill the worker that charges the last one."""
    parser = argparse.ArgumentParser(description="A shop whose sagas run on an engine.")
    parser.add_argument("engine", choices=[*SERVERS])
    name = parser.parse_args().engine
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that all of it is ended
    listening, saying = os.pipe()  # all of them speak into one
    with os.fdopen(listening, encoding="utf-8") as lines:
        with ExitStack() as opened:
            folder = opened.enter_context(TemporaryDirectory(prefix="engines-shop-"))
            url = opened.enter_context(SERVERS[name]())
            os.environ |= {"SHOP_DATABASE": f"sqlite:///{folder}/shop.db"}
            os.environ |= {"ENGINE": name, "SAGA_ENGINE_URL": url}
            make = [sys.executable, "-m", "engines_shop.models"]
            subprocess.run(make, check=True, cwd=HERE)  # noqa: S603 - our own
            opened.enter_context(process("shop_services.py", stdout=saying))
            os.environ["SERVICES"] = lines.readline().strip()
            worker = [*WORKER, "--engine", name, *(TAKEOVER if name == "dbos" else ())]
            workers = [opened.enter_context(process(*worker, stdout=saying)) for _ in range(2)]
            customer = process("-m", "engines_shop.customer", *CARDS, stdout=saying)
            running = opened.enter_context(customer)
            os.close(saying)  # so that there is an end once all of them have gone
            listener = threading.Thread(target=listen, args=(lines, workers))
            listener.start()
            failed = running.wait()
            with urlopen(os.environ["SERVICES"], timeout=30) as answer:  # noqa: S310 - our own
                ledger = json.load(answer)
        listener.join()
    for what in ("charges", "parcels"):
        print(f"{what} in the ledger:", *[one["id"] for one in ledger[what].values()])
    raise SystemExit(failed)


def listen(lines: Iterable[str], workers: Iterable[subprocess.Popen[str]]) -> None:
    """Show what is said, and kill whoever charges the slow card, once the bank has heard of it."""
    charging, killed = 0, False
    for line in lines:
        print(line, end="", flush=True)
        if found := re.match(r"process (\d+) charges slow", line):
            charging = int(found[1])
        elif charging and not killed and line.startswith("services: charges"):
            killed = True
            for one in workers:
                if one.pid == charging:
                    one.kill()
            print(f"process {charging}: kill -9, in the middle of its charge", flush=True)


if __name__ == "__main__":
    main()
