"""The side of whoever watches: it starts processes, waits, and keeps the figures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from servers.children import in_memory

from . import checks
from .bases import Bases, base_of
from .checks import Books, Verdict

TESTS = Path(__file__).resolve().parent.parent
PATIENCE = 60.0  # seconds after which a process is taken for one that hangs


def environment() -> dict[str, str]:
    """Give the environment of a process that imports this package.

    Nothing of what is killed is measured, and measuring would slow down each start.
    """
    env = {name: value for name, value in os.environ.items() if name[:3] != "COV"}
    paths = [str(TESTS), *filter(None, [env.get("PYTHONPATH")])]
    return env | {"PYTHONPATH": os.pathsep.join(paths)}


class Process:
    """A process that does a job."""

    def __init__(self, yard: Yard, pid: int, place: Path) -> None:
        self.yard, self.pid, self.place = yard, pid, place
        self.ended = ""

    def wait(self, seconds: float = PATIENCE) -> str:
        """Say how it has ended: "0", an exit code, "-9", "stopped", or "late" if it has not."""
        if not self.ended:
            how: str = self.yard.ask({"wait": self.pid, "seconds": seconds})
            if how in ("stopped", "late"):
                return how
            self.ended = how
        return self.ended

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nobody else can have got its number while it was not waited for."""
        if not self.ended:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it."""
        self.send(signal.SIGKILL)
        self.wait()

    def hear(self, *words: str) -> None:
        """Wait until somebody in its place has told a line that begins with these words."""
        until = time.monotonic() + PATIENCE
        while not any(line[: len(words)] == list(words) for line in checks.told(self.place)):
            assert time.monotonic() < until, (words, checks.told(self.place))
            time.sleep(0.003)


class Yard:
    """A folder, services, and a nursery of processes."""

    def __init__(self, folder: Path, bases: Bases | None = None, jobs: Iterable[str] = ()) -> None:
        folder.chmod(0o755)
        self.folder, self.bases = folder, bases
        self.books = Books(folder)
        self.faults: Counter[str] = Counter()
        self.sagas = self.recoveries = self.lost = self.double = self.answers = 0
        self.repeated = self.together = 0
        self.wrong: list[str] = []
        self.journal_mode = "wal"
        self._places = 0
        self._lock = threading.Lock()
        self._errors = (folder / "errors").open("wb")
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", "crash.nursery", str(folder), *jobs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(),
            text=True,
        )

    def close(self) -> None:
        """End the nursery, and with it all that it has started."""
        assert self._nursery.stdin
        assert self._nursery.stdout
        with suppress(BrokenPipeError):
            self._nursery.stdin.close()
        try:
            self._nursery.wait(10)
        except subprocess.TimeoutExpired:
            self._nursery.kill()
            self._nursery.wait()
        self._nursery.stdout.close()
        self._errors.close()
        self.books.close()

    def ask(self, request: dict[str, Any]) -> Any:
        """Let the nursery do something."""
        assert self._nursery.stdin
        assert self._nursery.stdout
        with self._lock:
            self._nursery.stdin.write(json.dumps(request) + "\n")
            self._nursery.stdin.flush()
            answer = self._nursery.stdout.readline()
        assert answer, (self.folder / "errors").read_text()
        return json.loads(answer)

    # --- processes -------------------------------------------------------------------------------

    def place(self) -> Path:
        """Make a folder for one journal."""
        self._places += 1
        place = self.folder / f"p{self._places}"
        place.mkdir()
        if self.bases:
            self.bases.make(place, lambda: self.do("prepare", place))
        return place

    def start(self, job: str, place: Path, **options: Any) -> Process:
        """Start a process."""
        options |= {"place": str(place), "journal_mode": self.journal_mode}
        return Process(self, self.ask({"spawn": job, "options": options}), place)

    def do(self, job: str, place: Path, *, ends: str = "0", **options: Any) -> None:
        """Let a process do a job, and see that it ends as it should ("" for in any way)."""
        process = self.start(job, place, **options)
        ended = process.wait()
        if ended == "late":
            process.kill()
        assert ended == (ends or ended) != "late", (job, options, ended, checks.told(place)[-5:])

    def points(self, job: str, place: Path, **options: Any) -> list[str]:
        """Let a process do a job, and give the points that it has passed."""
        self.do(job, place, **options)
        return passed(place)

    def outlive(self) -> None:
        """Wait until those who are dead drive nothing any more: by the kernel that is at once."""
        if self.bases:
            time.sleep(self.bases.lease + 0.5)

    def look(self, place: Path) -> None:
        """See that whatever is open there shows in `saga check`, now that nobody is at it."""
        self.do("look", place)

    # --- what came of it -------------------------------------------------------------------------

    def check(self, place: Path, *, stuck: Iterable[str] = ()) -> Verdict:
        """Look at a place when all is over, and keep the figures."""
        verdict = checks.check(place, self.books, stuck=stuck)
        lines = checks.told(place)
        self.faults.update(" ".join(line[1:]) for line in lines if line[0] == "struck")
        self.recoveries += sum(line[0] == "recovered" for line in lines)
        self.sagas += len(verdict.status)
        self.lost += verdict.lost
        self.double += verdict.double
        self.repeated += verdict.repeated
        self.together += verdict.together
        self.wrong += [f"{place.name}: {what}" for what in verdict.wrong]
        if not verdict.wrong:
            if self.bases and base_of(place):
                self.bases.drop(place)
            shutil.rmtree(place)
        return verdict

    def holds(self, place: Path, *, stuck: Iterable[str] = ()) -> dict[str, str]:
        """See that all is right at a place, and give what became of its sagas."""
        verdict = self.check(place, stuck=stuck)
        assert not verdict.wrong, verdict.wrong[:10]
        return verdict.status


def passed(place: Path) -> list[str]:
    """Give the points that the last process of a place has passed."""
    line = [line for line in checks.told(place) if line[0] == "passed"][-1]
    points: list[str] = json.loads(" ".join(line[1:]))
    return points


@contextmanager
def open_yard(bases: Bases | None = None, jobs: Iterable[str] = ()) -> Iterator[Yard]:
    """Start services and a nursery, and end them.

    With journals in databases, if they are given; and with the jobs of these modules.
    """
    with tempfile.TemporaryDirectory(prefix="saga-crash-", dir=in_memory()) as folder:
        yard = Yard(Path(folder), bases, jobs)
        try:
            yield yard
        finally:
            yard.close()
