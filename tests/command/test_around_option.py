"""`--around`: what is entered around each call of a saga that the command goes on with."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import depot
import pytest
from commands import Say, tell
from recorded import chain, seen, status

from py_api_saga import SagaStatus
from py_api_saga.journal import SQLiteJournal

FRAMES = """
from contextlib import contextmanager

import depot

class Shop:
    @staticmethod
    @contextmanager
    def outer(operation):
        depot.log.append(f"outer of {operation.operation}")
        yield

@contextmanager
def inner(operation):
    depot.log.append("inner")
    yield
"""

WRONG = {
    "nowhere:frame": "cannot import 'nowhere': ModuleNotFoundError: No module named 'nowhere'",
    "depot:nothing": "--around: 'depot:nothing' is not there",
    "depot:log": "--around: 'depot:log' is not a plain function: list",
    "depot:ado": "--around: 'depot:ado' is not a plain function: it has to be awaited",
}
GOING_ON = {
    "recover": ["--modules", "depot"],
    "worker": ["--modules", "depot"],
    "takeover": ["x", "--modules", "depot"],
}


@pytest.fixture
def frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with a module that has something to be around calls."""
    (tmp_path / "frames.py").write_text(FRAMES, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("frames", None)


@pytest.mark.parametrize("name", GOING_ON)
@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_around_is_said_in_one_line(
    name: str, what: str, say: Say, journal: SQLiteJournal
) -> None:
    """With status 1, and before anything is claimed."""
    chain("a").start(journal=journal, saga_id="x")
    before = seen(journal, "x")

    assert say(name, *GOING_ON[name], "--around", what) == (1, f"saga: {WRONG[what]}\n")
    assert seen(journal, "x") == before


@pytest.mark.parametrize("what", ["frames", "frames:", ":outer", ""])
def test_a_name_of_another_form_is_wrong_usage(what: str, say: Say, journal: SQLiteJournal) -> None:
    """It says which form it is to have."""
    assert journal.path

    ended, said = say("recover", "--modules", "depot", "--around", what)

    assert (ended, said) == (2, f"saga: --around: expected MODULE:FUNCTION, got {what!r}\n")


@pytest.mark.parametrize("name", GOING_ON)
@pytest.mark.usefixtures("frames")
def test_the_first_that_is_named_is_outermost(name: str, say: Say, journal: SQLiteJournal) -> None:
    """A path may have dots."""
    chain("a", "b").start(journal=journal, saga_id="x")
    if name == "worker":
        depot.behaviour["b"] = tell  # it to end

    around = ["--around", "frames:Shop.outer", "--around", "frames:inner"]
    ended, _ = say(name, *GOING_ON[name], *around)

    assert ended == 0
    assert depot.log == ["outer of a", "inner", "a", "outer of b", "inner", "b"]
    assert status(journal) is SagaStatus.COMPLETED


def test_what_gives_no_context_manager_fails_the_saga_in_words(
    say: Say, journal: SQLiteJournal, monkeypatch: Any
) -> None:
    """Nobody can know before it is called."""
    monkeypatch.setattr(depot, "give", lambda _: 3)
    chain("a").start(journal=journal, saga_id="x")

    ended, said = say("recover", "--modules", "depot", "--around", "depot:give")

    assert ended == 0
    assert "COMPENSATED" in said
    assert "returned int, expected a context manager" in said
    assert depot.log == []
