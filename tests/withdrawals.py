"""Changes that are withdrawn just when the gate opens: is what was told what is on record?

`python -m tests.withdrawals --seconds 60` plays for longer than the suite does.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from py_api_saga import JournalError, SagaStatus
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.changes import Append, Change, Create, Take

THREADS, TASKS = 6, 12
LONGEST = 0.008  # seconds for which the gate is shut, and for which somebody waits


class Play:
    """Threads and tasks that write with random patience, at a gate that opens and shuts."""

    def __init__(self, journal: SQLiteJournal, seed: int) -> None:
        """Play on this journal."""
        self.journal, self.seed = journal, seed
        self.over = threading.Event()
        self.wrong: list[str] = []
        self.told: dict[str, int] = {}  # by id: how often its claims were accepted
        self.refused: set[str] = set()
        self.counts: Counter[str] = Counter()

    def shut(self) -> None:
        """Keep the gate shut now and then, as another process does."""
        dice = random.Random(self.seed)  # noqa: S311 - no secret
        with Path(self.journal.path + "-gate").open() as other:
            while not self.over.is_set():
                fcntl.flock(other, fcntl.LOCK_EX)
                time.sleep(dice.uniform(0, LONGEST))
                fcntl.flock(other, fcntl.LOCK_UN)
                time.sleep(dice.uniform(0, LONGEST / 2))

    def changes(self, who: str) -> Iterator[Change]:
        """Begin sagas, claim and end them; goes on once a change is settled."""
        dice, number = random.Random(f"{self.seed} {who}"), 0  # noqa: S311 - no secret
        while not self.over.is_set():
            number += 1
            saga_id, driven = f"{who}-{number}", dice.random() < 0.5
            while True:  # a refused one is begun again at once, under the same id
                yield from self.impatient(
                    dice, create := Create(saga_id, "x", "[1]", driven=driven)
                )
                if create.error is None or dice.random() < 0.5:
                    break
            if create.error is not None:
                self.refused.add(saga_id)
                continue
            self.told[saga_id], claim = int(driven), create.claim
            if not driven:
                seen = self.journal.find(saga_id)
                if seen is None:
                    self.wrong.append(f"{saga_id} was begun, and is not there")
                    continue
                yield from self.impatient(dice, take := Take(seen, counted=True))
                if take.error is not None:
                    continue
                self.told[saga_id], claim = 1, take.claim
            yield (append := Append(claim, "[2]", SagaStatus.COMPLETED))
            if append.error is not None:
                self.wrong.append(f"{saga_id} runs, and was told {append.error}")

    def impatient(self, dice: random.Random, change: Change) -> Iterator[Change]:
        """Give a change whose caller does not wait long."""
        change.until = time.monotonic() + dice.uniform(-LONGEST / 8, LONGEST)
        yield change
        self.counts["refused" if change.error else "accepted"] += 1
        is_shut = isinstance(change.error, JournalError) and change.withdrawn
        if change.error is not None and not is_shut:
            self.wrong.append(f"{change.claim.saga_id} was refused for {change.error!r}")

    def write(self, who: str) -> None:
        """Do so in a thread."""
        for change in self.changes(who):
            self.journal.write(change)

    async def awrite(self, who: str) -> None:
        """Do so in a task."""
        for change in self.changes(who):
            await self.journal.awrite(change)

    async def tasks(self) -> None:
        """Do so in many."""
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self.wrong.append(str(context))
        )
        await asyncio.gather(*(self.awrite(f"task{k}") for k in range(TASKS)))

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Play until this is over."""
        threads = [
            threading.Thread(target=self.write, args=(f"thread{k}",)) for k in range(THREADS)
        ]
        threads.append(threading.Thread(target=lambda: asyncio.run(self.tasks())))
        gate = threading.Thread(target=self.shut)
        for thread in (gate, *threads):
            thread.start()
        yield
        self.over.set()
        for thread in (gate, *threads):
            thread.join(30)
            if thread.is_alive():
                self.wrong.append("somebody hangs")

    def compare(self) -> None:
        """Hold what everybody was told against the journal."""
        there = {seen.saga_id: seen for seen in self.journal.select()}
        self.wrong += [
            f"{saga_id} was refused, and is there" for saga_id in self.refused & {*there}
        ]
        self.wrong += [f"{saga_id} is lost" for saga_id in {*self.told} - {*there}]
        for saga_id, claims in self.told.items():
            seen = there.get(saga_id)
            if seen is not None and seen.epoch != claims:
                self.wrong.append(f"{saga_id} was claimed {seen.epoch} times, not {claims}")
            if seen is not None and claims and seen.status is not SagaStatus.COMPLETED:
                self.wrong.append(f"{saga_id} is {seen.status}")
        if {*there} - {*self.told} - self.refused:
            self.wrong.append("there are sagas that nobody was told of")


def play(folder: Path, seconds: float, seed: int) -> Play:
    """Play for so long, and look what is wrong."""
    with closing(SQLiteJournal(folder / "sagas.db", durability="process")) as journal:
        journal.find("")
        game = Play(journal, seed)
        with game.going_on():
            time.sleep(seconds)
        game.compare()
    return game


def main() -> int:
    """Play from the command line; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        game = play(Path(folder), options.seconds, options.seed)
    sys.stdout.write(
        f"seed {options.seed}: {game.counts['accepted']:,} accepted, {game.counts['refused']:,} "
        f"refused, {len(game.wrong)} wrong\n"
    )
    sys.stdout.writelines(f"{line}\n" for line in game.wrong[:20])
    return 1 if game.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
