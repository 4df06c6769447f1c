"""Where the proofs take place: yards of `crash`, with journals in files or in a PostgreSQL."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from crash import bases, checks
from crash.harness import Process, Yard, open_yard

from .audit import Audit, audit

Where = Literal["sqlite", "postgresql"]
JOBS = ("awaited.jobs",)


class Ground:
    """A yard, and what was found in all its places.

    Attributes:
        yard: Where processes live.
        where: What the journals are.
        found: What all audits have found.
        kills: How many processes were killed.
    """

    def __init__(self, yard: Yard, where: Where) -> None:
        self.yard, self.where = yard, where
        self.found = Audit()
        self.kills = 0

    def strike(self, job: str, place: Path, at: int, **options: object) -> bool:
        """Let a process do a job until it comes to a point; tell whether it came there."""
        process = self.yard.start(job, place, at=at, **options)
        ended = process.wait()
        if ended not in ("0", "-9"):
            self.found.wrong.append(f"{job} {options} ended with {ended} at {at}")
        self.kills += ended == "-9"
        return ended == "-9"

    def kill(self, *processes: Process) -> None:
        """Kill these."""
        for process in processes:
            process.kill()
            self.kills += 1

    def close(self, place: Path, *others: Process, lost: bool = False) -> Audit:
        """Let all come to its end at a place, then end these, and look at it from outside.

        Those who were killed there may drive nothing any more.
        """
        if lost:
            self.yard.do("look_for_answers", place)
        self.yard.do("finish", place, lost=lost)
        for process in others:
            process.kill()
        return self.look(place)

    def look(self, place: Path, ends: dict[str, set[str]] | None = None) -> Audit:
        """Look at a place, where all is over."""
        found = audit(place, ends)
        self.found.add(found)
        if not found.wrong:
            if self.yard.bases:
                self.yard.bases.drop(place)
            shutil.rmtree(place)
        return found


@contextmanager
def grounds(which: Iterable[Where]) -> Iterator[list[Ground]]:
    """Open grounds, each with processes of its own."""
    with ExitStack() as opened:
        made = []
        for where in which:
            base = opened.enter_context(bases.bases("alone")) if where == "postgresql" else None
            made.append(Ground(opened.enter_context(open_yard(base, JOBS)), where))
        yield made


def wait_for(place: Path, word: str, times: int, seconds: float) -> int:
    """Wait until a word was told so many times; give how many times it was."""
    until = time.monotonic() + seconds
    while True:
        found = sum(line[0] == word for line in checks.told(place))
        if found >= times or time.monotonic() > until:
            return found
        time.sleep(0.02)
