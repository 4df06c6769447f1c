"""One trial: so many sagas, and then what stands in the bank is held against the journal."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from servers import shared
from servers.children import Missing, ended, package, supervised, until
from servers.postgresql import free_port

from py_api_saga import SagaStatus, saga_status
from py_api_saga.contrib import barrier
from py_api_saga.journal import SQLiteJournal

from .network import PATIENCE, Network

HERE = Path(__file__).parent
WORKERS = 4
EVERY = 12  # requests delivered, of which the bank loses a worker
SAGAS_PER_KILL, MOST_KILLS = 15, 40  # of whoever runs them


class Found(NamedTuple):
    """What came of a trial."""

    ends: Counter[str]  # of the sagas
    network: Counter[str]
    wrong: dict[str, str]  # by account: what stands
    accounts: int

    def __str__(self) -> str:
        network = ", ".join(f"{count} {what}" for what, count in sorted(self.network.items()))
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        return f"{ends}; {network}; {len(self.wrong)} of {self.accounts} accounts wrong"


def try_sagas(sagas: int, seed: int, folder: Path, without: str = "") -> Found:
    """Run sagas through a bad network, and count what is wrong in the end.

    Args:
        sagas: How many.
        seed: Of what is drawn.
        folder: An empty one.
        without: "barrier", or "undoes" for the header that says what an undo is of: to see that
            the proof can fail.

    Raises:
        Missing: There is no PostgreSQL, or no /proc.
    """
    if not Path("/proc/self/stat").exists():
        raise Missing("/proc")
    with shared.database() as database:
        database.ask("CREATE TABLE booking (account text, kind text)")
        for statement in barrier.ddl("postgresql"):
            database.ask(statement)
        url = package("psycopg.conninfo").make_conninfo(
            database.url, options=f"-csearch_path={database.schema}"
        )
        environment = {"BANK_URL": url, "BANK_WITHOUT": without}
        with _bank(folder, environment) as (port, master):
            dice = random.Random(seed)  # noqa: S311 - dice
            driver = _Driver(folder, sagas, environment, seed)

            def strike(number: int) -> None:
                if number % EVERY == 0 and (workers := _children(master)):
                    with suppress(ProcessLookupError):
                        os.kill(dice.choice(workers), signal.SIGKILL)
                driver.strike(number)

            network = Network(port, seed, strike)
            try:
                driver.run(network.port)
            finally:
                network.close()
        network.counts["driver killed"] = driver.kills
        seen = {
            account: (charges, refunds)
            for account, charges, refunds in database.ask(
                "SELECT account, count(*) FILTER (WHERE kind = 'charge'), "
                "count(*) FILTER (WHERE kind = 'refund') FROM booking GROUP BY account"
            )
        }
    return _judged(folder / "sagas.db", sagas, seen, network.counts)


def _judged(
    path: Path, sagas: int, seen: dict[str, tuple[int, int]], network: Counter[str]
) -> Found:
    journal = SQLiteJournal(str(path), modules=[])
    ends: Counter[str] = Counter()
    wrong = {}
    for i in range(sagas):
        standing = saga_status(journal, f"pay-{i}")
        end = standing.status.value if standing else "unknown"
        ends[end] += 1
        for account in (f"{i}a", f"{i}b"):
            charges, refunds = seen.get(account, (0, 0))
            if standing and standing.status is SagaStatus.COMPLETED:
                is_right = (charges, refunds) == (1, 0)
            else:
                is_right = charges == refunds <= 1 and end == "compensated"
            if not is_right:
                wrong[account] = f"{end}: charged {charges} times, refunded {refunds}"
    journal.close()
    return Found(ends, network, wrong, 2 * sagas)


class _Driver:
    """Whoever runs the sagas, as a process that is killed now and then, and started anew."""

    def __init__(self, folder: Path, sagas: int, environment: dict[str, str], seed: int) -> None:
        self._folder, self._sagas = folder, sagas
        self._environment = {**os.environ, **environment}
        dice = random.Random(-seed)  # noqa: S311 - dice
        # Of some requests, the one at which it is killed: the sagas take some three each.
        kills = min(MOST_KILLS, sagas // SAGAS_PER_KILL)
        self._at = {dice.randrange(1, 3 * sagas) for _ in range(kills)}
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self.kills = 0

    def strike(self, number: int) -> None:
        """Kill it at some of the requests."""
        with self._lock:
            if number in self._at and self._process is not None and self._process.poll() is None:
                self._process.kill()
                self.kills += 1

    def run(self, port: int) -> None:
        """Start it until it comes to its end."""
        self._environment["BANK_FRONT"] = f"http://127.0.0.1:{port}"
        path = str(self._folder / "sagas.db")
        command = [sys.executable, str(HERE / "driver.py"), path, str(self._sagas)]
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            self._process = subprocess.Popen(command, env=self._environment)
            try:
                code = self._process.wait()
            finally:
                self._process.kill()
                self._process.wait()
        assert code == 0


@contextmanager
def _bank(folder: Path, environment: dict[str, str]) -> Iterator[tuple[int, int]]:
    """Run the bank; give its port, and the process whose children the workers are."""
    port, pid, log = free_port(), folder / "pid", folder / "log"
    command = [
        *("env", *(f"{name}={value}" for name, value in environment.items())),
        *(sys.executable, "-m", "gunicorn", "--chdir", str(HERE), "--workers", str(WORKERS)),
        *("--bind", f"127.0.0.1:{port}", "--pid", str(pid), "--preload", "--log-level", "critical"),
        *("--timeout", "0", "--graceful-timeout", "1", "bank:app"),
    ]
    process = supervised(command, log)
    try:
        until(lambda: pid.exists() and len(_children(int(pid.read_text() or 0))) > 0, process, log)
        yield port, int(pid.read_text())
    finally:
        ended(process)


def _children(parent: int) -> list[int]:
    """Give the processes whose parent this is."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


__all__ = ["PATIENCE", "Found", "try_sagas"]
