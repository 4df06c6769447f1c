"""The demo's shop: its services as processes, opened together and closed for sure."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from py_api_saga.demo import services
from py_api_saga.demo.checkout import Shop

_Process = subprocess.Popen[str]


class ShopError(Exception):
    """The shop could not be opened; whatever was started has been ended again."""


@dataclass(frozen=True)
class OpenShop:
    """Where each service listens, which process it is, and which file is its ledger.

    All of it is in `folder`, which goes with the shop.
    """

    shop: Shop
    pids: Mapping[str, int]
    ledgers: Mapping[str, Path]
    folder: Path


@contextmanager
def open_shop(pace: float) -> Iterator[OpenShop]:
    """Start the three services side by side; end them, and remove their ledgers, on the way out.

    Args:
        pace: Seconds that a service takes for each answer.

    Raises:
        ShopError: A service did not start. Its own words are on the standard error.
    """
    with ExitStack() as closing:
        folder = Path(closing.enter_context(TemporaryDirectory(prefix="saga-demo-")))
        ledgers = {name: folder / f"{name}.db" for name in services.SERVICES}
        processes: dict[str, _Process] = {}
        closing.callback(lambda: end(processes.values()))
        for name, ledger in ledgers.items():
            processes[name] = _start(name, ledger, pace)
        shop = Shop(**{name: _address(name, process) for name, process in processes.items()})
        pids = {name: process.pid for name, process in processes.items()}
        yield OpenShop(shop, pids, ledgers, folder)


def end(processes: Iterable[_Process], *, patience: float = 2.0) -> None:
    """End services by closing their standard input; kill what is there `patience` seconds later."""
    processes = list(processes)
    for process in processes:
        if process.stdin:
            process.stdin.close()
    for process in processes:
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def _start(name: str, ledger: Path, pace: float) -> _Process:
    return subprocess.Popen(  # noqa: S603 -- this interpreter and a file of this package
        # By its path, and without the current directory (-P), where anything may lie about.
        [sys.executable, "-P", services.__file__, name, str(ledger), str(pace)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C reaches a whole process group. The services must live on: the saga that is
        # interrupted needs them for its undo.
        process_group=0,
    )


def _address(name: str, process: _Process) -> str:
    port = process.stdout.readline().strip() if process.stdout else ""
    if not port:
        raise ShopError(f"the {name} service did not start")
    return f"127.0.0.1:{port}"
