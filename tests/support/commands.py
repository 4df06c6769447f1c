"""What the tests of the command share: sagas that it looks at, and processes that run it."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import depot
import errands
from depot import do, fail, undo
from paths import ROOT, SUPPORT
from recorded import Reversed, bodies, seen
from world import until

from py_api_saga import SagaAssembler, SagaException, SagaStatus
from py_api_saga.cli.ending import Ending
from py_api_saga.exceptions import JournalError
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.changes import Append, Take

READING = ("list", "stats", "show", "why", "graph", "check", "doctor", "plan-deploy")
Say = Callable[..., tuple[int, str]]


class Deaf:
    """A codec that opens nothing."""

    def encode(self, text: str) -> str:
        return text

    def decode(self, text: str) -> str:
        raise ValueError(text)


backwards, deaf = Reversed(), Deaf()


def forward() -> SagaAssembler:
    """Pass a pivot, and go on with what comes after it."""
    return (
        SagaAssembler.saga(name="forward")
        .operation((do, "a"), (undo, "a"), name="a")
        .operation((do, "b"), name="b", pivot=True)
        .operation((do, "c"), name="c")
        .operation((do, "d"), name="d")
    )


def run(made: SagaAssembler, journal: Any, saga_id: str = "x") -> None:
    """Run a saga to its end, whatever that is."""
    try:
        made.orchestrator_execute(journal=journal, saga_id=saga_id)
    except SagaException:
        depot.behaviour.clear()


def stuck_forward(journal: Any, saga_id: str = "x") -> None:
    """Leave a saga that failed after its pivot."""
    depot.behaviour["c"] = fail(ValueError("no courier"))
    run(forward(), journal, saga_id)


def append(journal: Any, body: str, to: SagaStatus | None = None, saga_id: str = "x") -> None:
    """Write a row as a process does that drives a saga, and leave it."""
    take = Take(seen(journal, saga_id))
    journal.write(take)
    journal.write(change := Append(take.check(), body, to))
    change.check()
    journal.leave(take.claim)
    journal.close()  # which makes that durable


def alter(journal: SQLiteJournal, statement: str, *parameters: object) -> None:
    """Change the file behind the journal's back."""
    journal.close()
    with closing(sqlite3.connect(journal.path)) as connection, connection:
        connection.execute(statement, parameters)


def typed(name: str) -> list[str]:
    """Give a command with what it needs to begin."""
    more = {
        "recover": ["--modules", "depot"],
        "worker": ["--modules", "depot"],
        "takeover": ["x", "--modules", "depot"],
        "plan-deploy": ["--modules", "depot"],
        "purge": ["--older-than", "30d"],
        "resolve": ["x", "a", "--failed", "--note", "why"],
        "answer": ["x", "a", "--result", "1", "--note", "why"],
        "report": ["--html", "-"],
    }
    ids = ["x"] if name in ("show", "why", "graph", "retry", "compensate", "cancel") else []
    return [name, *more.get(name, ids)]


_MEASURED = re.compile(r" \((?:\S+ m?s(?:, written down \S+ m?s later)?|process \d+ on \S*)\)$")


def happened(said: str) -> list[tuple[str, ...]]:
    """Give the timeline in what `saga show` says, without times, lengths and processes."""
    lines = [_MEASURED.sub("", line) for line in said.split("timeline\n")[1].splitlines()]
    return [tuple(re.split(r" {2,}", line.strip(), maxsplit=2)[1:]) for line in lines]


def remedies(say: Say, *arguments: str) -> list[str]:
    """Give the commands that `saga why` lists."""
    ended, said = say(*arguments, "--json")
    assert ended == 0
    return [remedy["command"] for remedy in json.loads(said)["remedies"]]


def notes(journal: Any, saga_id: str = "x") -> list[dict[str, str]]:
    """Give the notes of decisions that a journal has of a saga."""
    lines = [line for body in bodies(journal, saga_id) for line in json.loads(body)]
    return [line[1] for line in lines if line[0] == "note"]


def refuse(*changes: Any) -> None:
    """Settle changes as a disk does that is full."""
    for change in changes:
        change.error, change.settled = JournalError("the disk is full"), True


LEFT_ALONE = "RUNNING, left alone: its values are sealed: give the codec"


def tell(number: int = signal.SIGTERM) -> None:
    """Send this process a signal, once it is a worker, which takes it in."""
    until(lambda: isinstance(getattr(signal.getsignal(number), "__self__", None), Ending))
    os.kill(os.getpid(), number)


@contextmanager
def meanwhile(action: Callable[[], object]) -> Iterator[None]:
    """Do something in a thread while something else is done."""
    thread = threading.Thread(target=action)
    thread.start()
    yield
    thread.join()


class Process:
    """The command as a process of its own, in a folder where its sagas leave files."""

    def __init__(self, folder: Path, *arguments: str, script: Path | None = None) -> None:
        paths = [str(SUPPORT), str(ROOT / "src")]
        kept = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_PROCESS")}
        self.folder = folder
        self.said = ""
        self.process = subprocess.Popen(
            [sys.executable, *(["-m", "py_api_saga"] if script is None else [script]), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env={
                **kept,
                "PYTHONPATH": os.pathsep.join(paths),
                "DJANGO_SETTINGS_MODULE": "settings",
            },
        )

    def until(self, name: str) -> None:
        """Wait for a file."""
        limit = time.monotonic() + 60
        while not (self.folder / name).exists():
            assert time.monotonic() < limit, f"{name} never came"
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.01)

    def until_said(self, words: str) -> None:
        """Read lines until one of them has these words."""
        assert self.process.stdout
        while words not in self.said:
            line = self.process.stdout.readline()
            assert line, f"{words!r} never came: {self.said}"
            self.said += line

    def end(self) -> tuple[int, str]:
        """Wait for the end; give the status, and all that was written."""
        self.said += self.process.communicate(timeout=180)[0]
        return self.process.returncode, self.said


def errand(folder: Path, *names: str) -> SagaAssembler:
    """Leave files, the last one slowly."""
    made = SagaAssembler.saga(name="errand")
    for name in names[:-1]:
        made.operation((errands.note, str(folder), name), (errands.take_back, str(folder), name))
    return made.operation((errands.linger, str(folder), names[-1]))


def lack() -> Any:
    """Need an application that this process does not have."""
    raise RuntimeError("Working outside of application context.\n\nThis typically means …")


def written(path: Path, text: str) -> Path:
    """Write a file."""
    path.write_text(text)
    return path
