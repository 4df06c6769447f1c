"""What the processes do: run sagas that wait, answer them, recover them."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from typing import Any

from crash.jobs import job, open_journal
from crash.points import Here, tell
from crash.sweeps import chance_of

from py_api_saga import (
    JournalError,
    SagaConflict,
    SagaException,
    SagaInProgress,
    SagaPending,
    SagaStatus,
    SagaStuck,
    answer,
    recover,
)

from . import bank

LATE = 0.12  # seconds after which the bank says what is to be late
PATIENCE = 40.0  # seconds after which a saga that is still open is said to be so
OPERATIONS = {"charge": 1, "charge2": 2}
OPEN = (SagaStatus.RUNNING, SagaStatus.COMPENSATING)


def _open() -> Any:
    return open_journal(modules=["awaited.bank"])


# --- running --------------------------------------------------------------------------------------


def _execute(journal: Any, saga_id: str) -> None:
    """Run a saga, and say what its caller was told."""
    saga, method, options = bank.saga_of(saga_id)
    try:
        going = getattr(saga, method)(journal=journal, saga_id=saga_id, **options)
        if method.startswith("a"):
            asyncio.run(going)
        word = "completed"
    except SagaPending as pending:
        word = f"pending {' '.join(pending.awaited)}"
    except SagaInProgress:
        word = "in-progress"
    except SagaStuck:
        word = "stuck"
    except SagaException:
        word = "compensated"
    tell("heard", saga_id, word)


@job
def run_waiting(sagas: list[str]) -> None:
    """Run these sagas, one after the other."""
    with closing(_open()) as journal:
        for saga_id in sagas:
            _execute(journal, saga_id)


@job
def run_for_ever(kinds: list[str], seed: int) -> None:
    """Run sagas of these kinds until somebody ends this process."""
    journal = _open()
    for number in count():
        _execute(journal, f"{kinds[number % len(kinds)]}.{seed}-{number}")


@job
def race(rounds: int, spread: float, seed: int) -> None:
    """Run sagas whose action sleeps for up to so many seconds once the bank has the key."""
    chance = chance_of(seed)
    pipe = os.open(Here.place / "asked", os.O_WRONLY)
    os.environ["SAGA_ASKED"] = str(pipe)

    def linger(key: str) -> None:  # noqa: ARG001 - as what it stands for
        pause = chance.random() * spread
        if pause > 0.0005:
            time.sleep(pause)

    bank._linger = linger  # noqa: SLF001 - in this process only
    with closing(_open()) as journal:
        for number in range(rounds):
            _execute(journal, f"chain.{seed}-{number}")
    os.close(pipe)


# --- answering ------------------------------------------------------------------------------------


def _send(journal: Any, key: str, *, go_on: bool, result: object = None) -> str:
    """Answer a call as the bank has decided, and note that the bank has got rid of it."""
    word = bank.decided(key) or bank.decide(key)
    outcome: Any = {"result": key if result is None else result}
    if word == "refused":
        outcome = {"error": bank.Refused("no")}
    try:
        answered = answer(journal, key, go_on=go_on, **outcome)
    except JournalError as error:  # it comes again
        tell("away", key, repr(error))
        return ""
    said = "known" if answered.known else "new"
    tell("acked", key, said, answered.status.value, repr(answered.error))
    Path(Here.place, f"acked-{key}").touch()
    return said


class _Asked:
    """The keys that the bank has, as they come."""

    def __init__(self) -> None:
        self._read = 0
        self.acked: set[str] = set()

    def new(self) -> Iterator[str]:
        """Give those that are new, each once it is told; and hear which ones are done."""
        with (Here.place / "told").open() as file:
            file.seek(self._read)
            while (line := file.readline()).endswith("\n"):
                self._read = file.tell()
                word, *rest = line.split()
                if word == "acked":
                    self.acked.add(rest[0])
                elif word == "asked":
                    yield rest[0]


def _delay(key: str, chance: random.Random) -> float:
    kind = bank.kind_of(key.partition(":")[0])
    if ("brief" in kind or kind == "deadline") and chance.random() < 0.7:
        return LATE
    return chance.choice((0.0, 0.0, chance.random() * 0.03))


@job
def answer_for_ever(me: int, seed: int, *, go_on: bool) -> None:
    """Answer every other call, some twice, until somebody ends this process."""
    journal, asked, chance = _open(), _Asked(), chance_of(seed)
    todo: list[tuple[float, str]] = []
    while True:
        for key in asked.new():
            if sum(key.encode()) % 2 == me or me > 1:
                heappush(todo, (time.monotonic() + _delay(key, chance), key))
        if not todo or todo[0][0] > time.monotonic():
            time.sleep(0.001)
            continue
        at, key = heappop(todo)
        if key in asked.acked:
            continue
        if not _send(journal, key, go_on=go_on):
            heappush(todo, (at + 0.05, key))
        elif chance.random() < 0.2 and _send(journal, key, go_on=go_on) == "new":
            tell("error", "answered twice, and both were new:", key)


@job
def answer_at_once() -> None:
    """Answer what comes through a pipe, in the moment it comes, until it ends."""
    with closing(_open()) as journal, (Here.place / "asked").open() as pipe:
        for line in pipe:
            if _send(journal, line.strip(), go_on=True) != "new":
                tell("error", "it was not taken as new:", line.strip())


@job
def answer_keys(keys: list[str], *, go_on: bool = True) -> None:
    """Answer these calls."""
    with closing(_open()) as journal:
        for key in keys:
            _send(journal, key, go_on=go_on)


@job
def answer_otherwise(me: str, sagas: list[str], begin: float) -> None:
    """Answer these sagas at the same moments as somebody else, who says the same of every third."""
    with closing(_open()) as journal:
        for n, saga_id in enumerate(sagas):
            time.sleep(max(0.0, begin + n * 0.008 - time.time()))
            result = "both" if n % 3 == 0 else me
            try:
                known = answer(journal, f"{saga_id}:charge:action", result=result).known
                tell("said", saga_id, result, "known" if known else "first")
            except SagaConflict:
                tell("said", saga_id, result, "conflict")


@job
def tell_results(sagas: list[str]) -> None:
    """Tell with what these sagas were answered."""
    with closing(_open()) as journal:
        for saga_id in sagas:
            saga, method, _ = bank.saga_of(saga_id)
            results = getattr(saga, method)(journal=journal, saga_id=saga_id)
            tell("results", saga_id, results["charge"])


# --- recovering -----------------------------------------------------------------------------------


def _recover(journal: Any) -> None:
    """Recover, however often those who did so before were killed."""
    recover(journal, max_workers=4, max_tries=1_000_000)


@job
def recover_for_ever() -> None:
    """Recover until somebody ends this process."""
    journal = _open()
    while True:
        with suppress(JournalError):
            _recover(journal)
        time.sleep(0.02)


@job
def recover_now(pause: float = 0.0) -> None:
    """Recover what is due in a moment, once."""
    time.sleep(pause)
    with closing(_open()) as journal:
        _recover(journal)


def _posted(journal: Any, key: str) -> bool:
    """Tell whether an answer is on record, taken or not."""
    saga_id, name, kind, *_ = key.split(":")
    seen = journal.find(saga_id)
    if seen is None:
        return False
    if any(letter.key == key for letter in journal.mail([seen.number]).get(seen.number, ())):
        return True
    rows = journal.rows([seen.number])[seen.number]
    entries = [entry for row in rows for entry in json.loads(row.body) if isinstance(entry, list)]
    return any(
        entry[:3] == [word, OPERATIONS[name], kind]
        for word in ("answered", "denied")
        for entry in entries
    )


@job
def look_for_answers() -> None:
    """Tell which answers are on record of those that nobody has been told of."""
    asked = _Asked()
    keys = [*asked.new()]
    with closing(_open()) as journal:
        for key in {*keys} - asked.acked:
            if _posted(journal, key):
                tell("posted", key)


@job
def finish(*, lost: bool = False) -> None:
    """Let everything come to its end: the bank sends what it has not got rid of, a worker goes on.

    With `lost` the bank does not send again what is on record, though it was not told so.
    """
    asked, todo = _Asked(), set[str]()
    posted = {line.split()[1] for line in _told() if line.startswith("posted ")} if lost else set()
    until = time.monotonic() + PATIENCE
    with closing(_open()) as journal:
        while True:
            todo |= {*asked.new()} - posted
            for key in sorted(todo - asked.acked):
                _send(journal, key, go_on=False)
            _recover(journal)
            left = journal.select(OPEN)
            if (not left and not journal.waiting()) or time.monotonic() > until:
                break
            time.sleep(0.01)
        for seen in left:
            tell(
                "open", seen.saga_id, seen.status.value, f"due in {seen.due - journal.now():.1f} s"
            )
        for seen in journal.select():
            for letter in journal.mail([seen.number]).get(seen.number, ()):
                tell("untaken", letter.key)


def _told() -> list[str]:
    return (Here.place / "told").read_text().splitlines()
