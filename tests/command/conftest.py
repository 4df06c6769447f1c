"""A journal that the environment names, and ways to run the command on it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import depot
import pytest
from commands import Process, Say, backwards

from py_api_saga.cli import main as saga
from py_api_saga.journal import SQLiteJournal


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SQLiteJournal]:
    """An empty journal, which the environment names to the command."""
    depot.reset()
    monkeypatch.setenv("SAGA_JOURNAL", str(tmp_path / "sagas.db"))
    monkeypatch.delenv("SAGA_CODEC", raising=False)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    modules = ["depot", "errands"]
    with closing(SQLiteJournal(tmp_path / "sagas.db", modules=modules)) as journal:
        journal.find("")  # makes the file
        yield journal
    depot.reset()


@pytest.fixture
def sealed(journal: SQLiteJournal) -> Iterator[SQLiteJournal]:
    """The same journal, written with a codec."""
    with closing(SQLiteJournal(journal.path, modules=["depot"], codec=backwards)) as other:
        yield other


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Run the command in this process; give its exit status, and all that it has written."""

    def say(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        try:
            status: Any = saga(arguments)
        except SystemExit as left:
            status = left.code
        out, errors = capsys.readouterr()
        return status, out + errors

    return say


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each look for what is to be recovered, as it is taken."""
    waiting, looks = SQLiteJournal.waiting, []

    def looked(*arguments: Any) -> Any:
        looks.append(arguments)
        return waiting(*arguments)

    monkeypatch.setattr(SQLiteJournal, "waiting", looked)
    return looks


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start the command; whatever becomes of the test, it is ended."""
    started: list[Process] = []

    def start(*arguments: str, script: Path | None = None) -> Process:
        started.append(Process(tmp_path, *arguments, script=script))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()
