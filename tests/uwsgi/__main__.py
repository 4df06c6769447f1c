"""Real uWSGI: `python -m tests.uwsgi [--short]`, with the `uwsgi` of the wheel beside this Python.

Four workers are asked for the same ten ids at once, then for many; one of them is killed in a saga,
which is recovered while its master lives; and a process forks in C while its children write. What
came of it is read from the ledger and the journal. Exit status: 1 if anything is wrong, 2 without
`uwsgi`.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).parent))  # a journal names functions as they are imported

from operations import noted  # type: ignore[import-not-found]  # the path is that of this file

from py_api_saga import SagaStatus, recover
from py_api_saga.journal import SQLiteJournal

HERE = Path(__file__).parent
UWSGI = Path(sys.executable).with_name("uwsgi")
PATIENCE = 30.0  # seconds
SETTINGS: dict[str, tuple[Sequence[str], bool]] = {
    "journal opened in the master": ((), True),
    "the same, with threads": (("--enable-threads", "--threads", "2"), True),
    "the same, Python is told of the fork": (("--py-call-osafterfork",), True),
    "opened by each worker": ((), False),
    "lazy-apps": (("--lazy-apps",), True),
}
STORM = """
import ctypes, os, sys
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.changes import Append, Create
from py_api_saga.status import SagaStatus
fork = ctypes.PyDLL(None).fork
journal = SQLiteJournal(sys.argv[1])
def run(saga_id):
    journal.write(create := Create(saga_id, "x", "[1]"))
    journal.write(append := Append(create.check(), "[2]", SagaStatus.COMPLETED))
    append.check()
run("first")
journal.find("first")
children = []
for n in range(int(sys.argv[2])):
    child = fork()
    if not child:
        try:
            run(f"child-{n}")
            journal.find("first")
            n % 3 or journal.close()
        finally:
            os._exit(0)
    children.append(child)
    n % 5 or run(f"parent-{n}")
    while len(children) > 3:
        os.waitpid(children.pop(0), 0)
while children:
    os.waitpid(children.pop(0), 0)
print(len(journal.select({SagaStatus.COMPLETED})), journal.check())
"""


class Server:
    """One uWSGI on a loopback port, with a journal and a ledger of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.path, self.ledger = folder / "sagas.db", folder / "ledger"

    def ask(self, query: str) -> str:
        """Ask for a saga, and give what became of it."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/?{query}", timeout=PATIENCE) as answer:
                said: bytes = answer.read()
        except OSError as error:
            return type(error).__name__
        return said.decode().partition(" ")[2]

    def ask_at_once(self, queries: Sequence[str]) -> Counter[str]:
        """Ask for many, each in a thread."""
        said: Counter[str] = Counter()
        threads = [
            threading.Thread(target=lambda query: said.update([self.ask(query)]), args=(query,))
            for query in queries
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return said

    def wait_for(self, saga_id: str) -> int:
        """Wait until a saga is in its long step, and tell in which process."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for line in noted(self.ledger):
                if (line["saga"], line["step"], line["what"]) == (saga_id, 1, "begins"):
                    process: int = line["process"]
                    return process
            time.sleep(0.05)
        message = f"saga {saga_id!r} has not begun"
        raise TimeoutError(message)


@contextmanager
def server(folder: Path, options: Sequence[str], *, early: bool) -> Iterator[Server]:
    """Run uWSGI with four workers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    running = Server(folder, port)
    os.environ["LEDGER"] = str(running.ledger)
    running.ledger.touch()
    search = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "SAGA_JOURNAL": str(running.path), "PYTHONPATH": search}
    if early:
        environment["EARLY"] = "1"
    command = [
        str(UWSGI), "--http-socket", f"127.0.0.1:{port}", "--listen", "64", "--wsgi-file",
        str(HERE / "app.py"), "--processes", "4", "--master", "--need-app", "--die-on-term",
        *options,
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    try:
        until = time.monotonic() + PATIENCE
        while running.ask(f"warm-{time.monotonic_ns()}&0") != "completed":
            if time.monotonic() > until or process.poll() is not None:
                message = f"uWSGI does not answer: {(folder / 'log').read_text()[-2000:]}"
                raise TimeoutError(message)
            time.sleep(0.2)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wrongs(running: Server, killed: str) -> list[str]:
    """Hold the journal against the ledger: what was lost, made twice, or made by two at once."""
    wrong: list[str] = []
    by_saga: dict[str, list[dict[str, Any]]] = {}
    for line in noted(running.ledger):
        by_saga.setdefault(line["saga"], []).append(line)
    with closing(SQLiteJournal(running.path, modules=["operations"])) as journal:
        stands = {seen.saga_id: seen.status for seen in journal.select()}
        wrong += journal.check()
    for saga_id, lines in by_saga.items():
        made = Counter((line["what"], line["step"]) for line in lines)
        processes = [line["process"] for line in sorted(lines, key=itemgetter("at"))]
        changes = sum(one != other for one, other in pairwise(processes))
        if changes > (saga_id == killed):
            wrong.append(f"{saga_id}: {changes + 1} processes took turns")
        if saga_id != killed and set(made.values()) != {1}:
            wrong.append(f"{saga_id}: called more than once: {made}")
        acted = {step for what, step in made if what == "acts"}
        undone = {step for what, step in made if what == "undoes"}
        expected = {
            SagaStatus.COMPLETED: acted == {0, 1, 2} and not undone,
            SagaStatus.COMPENSATED: acted == undone,
        }
        if not expected.get(stands.get(saga_id, SagaStatus.STUCK), False):
            wrong.append(f"{saga_id}: {stands.get(saga_id)}, made {acted}, undone {undone}")
    return wrong


def play(name: str, *, ids: int, load: int) -> list[str]:
    """Play all of it on one setting, and list what was wrong."""
    options, early = SETTINGS[name]
    with (
        tempfile.TemporaryDirectory() as folder,
        server(Path(folder), options, early=early) as running,
    ):
        said = running.ask_at_once([f"same-{n}&0.2" for n in range(ids) for _ in range(4)])
        wrong = [] if said["completed"] >= ids else [f"of {ids} ids: {dict(said)}"]
        many = running.ask_at_once([f"s-{n}&{'no' if n % 3 else '0'}" for n in range(load)])
        if many.total() != many["completed"] + many["SagaException"]:
            wrong.append(f"of {load} requests: {dict(many)}")
        victim = threading.Thread(target=running.ask, args=("victim&2",))
        victim.start()
        os.kill(running.wait_for("victim"), signal.SIGKILL)
        victim.join()
        with closing(SQLiteJournal(running.path, modules=["operations"])) as journal:
            recovered = {each.saga_id: each.outcome.value for each in recover(journal)}
        if recovered != {"victim": "completed"}:
            wrong.append(f"recovered {recovered}")
        print(f"{name}: {ids} ids {dict(said)}, {load} requests {dict(many)}, {recovered}")  # noqa: T201
        return wrong + wrongs(running, "victim")


def storm(forks: int) -> list[str]:
    """Fork in C, again and again, while children write; the file must be sound."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/sagas.db"
        command = [sys.executable, "-c", STORM, path, str(forks)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        with closing(sqlite3.connect(path)) as connection:
            sound = connection.execute("PRAGMA integrity_check").fetchall()
    expected = 1 + forks + len(range(0, forks, 5))
    print(f"{forks} forks in C: {ended.stdout.strip()}, {sound}")  # noqa: T201
    if ended.stdout.strip() == f"{expected} []" and sound == [("ok",)]:
        return []
    return [f"after {forks} forks, expected {expected}: {ended.stdout} {ended.stderr} {sound}"]


def main() -> int:
    """Play, and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.uwsgi", description=__doc__)
    parser.add_argument("--short", action="store_true", help="two settings, and few forks")
    short = parser.parse_args().short
    if not UWSGI.exists():
        print(f"there is no {UWSGI}: install the extra `proof`", file=sys.stderr)  # noqa: T201
        return 2
    begin = time.monotonic()
    names = list(SETTINGS)[:2] if short else list(SETTINGS)
    wrong = [
        f"{name}: {what}"
        for name in names
        for what in play(name, ids=10, load=30 if short else 120)
    ]
    wrong += storm(200 if short else 3000)
    print(*[f"WRONG   {what}" for what in wrong], sep="\n", end="")  # noqa: T201
    print(f"{len(wrong)} wrong, {time.monotonic() - begin:.0f} seconds")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
