"""One case under load: requests by many threads at once, and what is left in the end."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Self

from paths import ROOT
from servers import shared
from servers.children import PATIENCE, package

from .cases import Case, command

BOOKINGS = 4  # rows of a user whose saga has completed
_LOOK = 0.05  # seconds between two looks at the connections
_HERE = os.pathsep.join(str(ROOT / "tests" / folder) for folder in ("", "support"))


class Found(NamedTuple):
    """What a trial has found.

    Attributes:
        requests: How many there were.
        seconds: How long they took.
        failed: What those that failed say.
        foreign: Answers with the context of another request.
        peak: Connections that were open at once, as far as was seen.
        left: Connections that stayed open.
        recovered: What recovery said.
        half: Users of whose bookings some are there, and some are not.
        wrong: What must not be, in words.
    """

    requests: int
    seconds: float
    failed: list[str]
    foreign: list[str]
    peak: int
    left: int
    recovered: str
    half: list[Any]
    wrong: list[str]

    def __str__(self) -> str:
        """Say it in a line."""
        told = (
            f"{self.requests} requests in {self.seconds:.1f} s; failed {len(self.failed)}; "
            f"foreign {len(self.foreign)}; connections at most {self.peak}, left {self.left}"
        )
        if self.recovered:
            told += f"; recovered {self.recovered}, half-done users {len(self.half)}"
        return f"{told}; {'; '.join(self.wrong) or 'ok'}"


@contextmanager
def served(case: Case, environment: dict[str, str]) -> Iterator[tuple[int, int]]:
    """Start the server, and give its port and its pid; end it, and all that it has started."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listens:
        child = subprocess.Popen(
            command(case, listens.fileno()),
            env=environment,
            cwd=ROOT / "tests",
            pass_fds=[listens.fileno()],
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        port: int = listens.getsockname()[1]
        told: list[bytes] = []
        errors: Any = child.stderr
        reads = threading.Thread(target=lambda: told.append(errors.read()))
        reads.start()
        try:
            _asked(port, "/up")
            yield port, child.pid
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            reads.join(PATIENCE)
            sys.stderr.write(b"".join(told).decode())
            raise
        finally:
            child.terminate()
            try:
                child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            reads.join(PATIENCE)
            errors.close()


def _asked(port: int, path: str) -> tuple[int, bytes]:
    asking = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        asking.request("GET", path)
        answer = asking.getresponse()
        return answer.status, answer.read()
    finally:
        asking.close()


class Load:
    """Requests, from many threads."""

    def __init__(self, case: Case, port: int, requests: int) -> None:
        self._case, self._port = case, port
        self._users: SimpleQueue[int] = SimpleQueue()
        for user in range(requests):
            self._users.put(user)
        self.failed: list[str] = []
        self.foreign: list[str] = []
        self.answered = 0

    def work(self) -> None:
        """Ask for one user after the other."""
        while True:
            try:
                user = self._users.get_nowait()
            except Empty:
                return
            path = f"{self._case.path.format(user=user)}?id=user-{user}"
            try:
                status, body = _asked(self._port, path)
                self.answered += 1
                if status != http.client.OK:
                    self.failed.append(f"{user}: {status}")
                    continue
                told = json.loads(body)
                if any(found != [str(user), told["language"]] for found in told["got"]):
                    self.foreign.append(f"{user}: {told}")
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(f"{user}: {error!r}")


class Census:
    """Counts, from outside, the connections of the application."""

    def __init__(self, database: shared.Database, name: str) -> None:
        self._database, self._name = database, name
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE)

    def _watch(self) -> None:
        with package("psycopg").connect(self._database.url, autocommit=True) as asks:
            while not self._over.wait(_LOOK):
                query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
                self.peak = max(self.peak, asks.execute(query, [self._name]).fetchone()[0])

    def left(self, allowed: int) -> int:
        """Count those that stay; what is being closed may take a moment."""
        until = time.monotonic() + PATIENCE
        while True:
            query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
            open_now: int = self._database.ask(query, self._name)[0][0]
            if open_now <= allowed or time.monotonic() > until:
                return open_now
            time.sleep(_LOOK)


def _environment(case: Case, database: shared.Database, name: str, folder: Path) -> dict[str, str]:
    more = {
        "LOAD_DATABASE": database.url,
        "LOAD_NAME": name,
        "LOAD_SCHEMA": database.schema,
        "PYTHONPATH": _HERE,
        **case.environment,
    }
    if "LOAD_JOURNAL" in more:
        more["LOAD_JOURNAL"] = str(folder / "sagas.db")
    return {**os.environ, **more}


def _workers_of(pid: int) -> list[int]:
    """Give the processes that a server has started."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def try_case(case: Case, folder: Path, requests: int = 200, at_once: int = 40) -> Found:
    """Try one case, and say what came of it.

    Raises:
        Missing: There is no PostgreSQL.
    """
    with shared.database() as database:
        database.ask("CREATE TABLE bookings (key text PRIMARY KEY, person text)")
        name = f"load-{secrets.token_hex(4)}"
        environment = _environment(case, database, name, folder)
        with served(case, environment) as (port, pid), Census(database, name) as census:
            load = Load(case, port, requests)
            threads = [threading.Thread(target=load.work) for _ in range(at_once)]
            began = time.monotonic()
            for thread in threads:
                thread.start()
            if case.kills:
                _kill_one(load, pid, requests)
            for thread in threads:
                thread.join()
            seconds = time.monotonic() - began
            left = census.left(case.left)
        recovered = _recover(case, environment) if case.kills else ""
        rows = database.ask("SELECT person, count(*) FROM bookings GROUP BY person")
        half = [row for row in rows if row[1] != BOOKINGS]
        found = Found(
            *(requests, seconds, load.failed, load.foreign, census.peak, left, recovered, half), []
        )
        return found._replace(wrong=[*_wrong(case, found, len(rows))])


def _kill_one(load: Load, pid: int, requests: int) -> None:
    """Kill one worker as soon as some requests are answered, and others are under way."""
    until = time.monotonic() + PATIENCE
    while load.answered < requests // 8 and time.monotonic() < until:
        time.sleep(_LOOK / 10)
    os.kill(max(_workers_of(pid), key=_connections_of), signal.SIGKILL)


def _connections_of(pid: int) -> int:
    """Count what a process has open: the one that has most is in the middle of most requests."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _recover(case: Case, environment: dict[str, str]) -> str:
    ran = subprocess.run(
        [sys.executable, *case.recovers],
        env=environment,
        cwd=ROOT / "tests",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if ran.returncode:
        return ran.stdout + ran.stderr
    return str(len([line for line in ran.stdout.splitlines() if "nothing" not in line]))


def _wrong(case: Case, found: Found, users: int) -> Iterator[str]:
    """Say what must not be."""
    if found.failed and not case.kills:
        yield f"{len(found.failed)} requests failed, such as {found.failed[0]}"
    if found.foreign:
        yield f"{len(found.foreign)} had the context of another, such as {found.foreign[0]}"
    if found.left > case.left:
        yield f"{found.left} connections are left"
    if case.peak is not None and found.peak > case.peak:
        yield f"{found.peak} connections were open at once, of {case.peak}"
    if found.half:
        yield f"{len(found.half)} users are half done, such as {found.half[0]}"
    if not case.kills and users != found.requests:
        yield f"{users} of {found.requests} users have their bookings"
    if case.kills and not found.recovered.isdigit():
        yield "recovery failed"
    elif case.kills and found.recovered == "0":
        yield "nothing was left to recover: the kill proved nothing"
