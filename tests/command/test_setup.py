"""`--setup` and `--modules`: what a process needs before it can run sagas."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import depot
import pytest
from commands import Say, tell
from recorded import order, seen, status

from py_api_saga import SagaStatus
from py_api_saga.journal import SQLiteJournal

SET_UP = {
    "nowhere:setup": "cannot import 'nowhere': ModuleNotFoundError: No module named 'nowhere'",
    "depot:nothing": "--setup: 'depot:nothing' is not there",
    "depot:log.no.such": "--setup: 'depot:log.no.such' is not there",
    "depot:log": "--setup: 'depot:log' is not a plain function: list",
    "depot:ado": "--setup: 'depot:ado' is not a plain function: it has to be awaited",
    "ready:fail": "--setup: 'ready:fail' raised ValueError: no settings in this folder",
    "ready:leave": "--setup: 'ready:leave' raised SystemExit: 3",
    "ready:odd.thing": "--setup: cannot look for 'ready:odd.thing': KeyError: 'thing'",
    "needy:setup": "cannot import 'needy': RuntimeError: not set up",
}
READY = """
calls = []

class Odd:
    def __getattr__(self, name):
        raise KeyError(name)

class Project:
    @staticmethod
    def setup():
        calls.append("project")

odd = Odd()

def setup():
    calls.append("setup")

def fail():
    raise ValueError("no settings\\nin this folder")

def leave():
    raise SystemExit(3)
"""
NEEDY = """
import ready

if not ready.calls:
    raise RuntimeError("not set up")
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A folder with a module that can only be imported once another one was set up."""
    (tmp_path / "ready.py").write_text(READY, encoding="utf-8")
    (tmp_path / "needy.py").write_text(NEEDY, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    yield lambda: importlib.import_module("ready").calls
    for name in ("ready", "needy"):
        sys.modules.pop(name, None)


SETTING_UP = {
    "recover": ["--modules", "depot"],
    "worker": ["--modules", "depot"],
    "takeover": ["x", "--modules", "depot"],
    "plan-deploy": ["--modules", "depot"],
    "resolve": ["x", "a", "--failed", "--note", "n", "--modules", "depot"],
}


@pytest.mark.parametrize("name", SETTING_UP)
@pytest.mark.parametrize("what", SET_UP)
@pytest.mark.usefixtures("project")
def test_what_cannot_set_the_process_up_is_said_in_one_line(
    name: str, what: str, say: Say, journal: SQLiteJournal
) -> None:
    """With status 1, and before anything is claimed."""
    order().start(journal=journal, saga_id="x")
    before = seen(journal, "x")

    assert say(name, *SETTING_UP[name], "--setup", what) == (1, f"saga: {SET_UP[what]}\n")
    assert seen(journal, "x") == before


@pytest.mark.usefixtures("project", "journal")
@pytest.mark.parametrize("what", ["django", "django:", ":setup", ""])
def test_what_is_no_module_and_function_is_wrong_usage(what: str, say: Say) -> None:
    """It says which form it is to have."""
    ended, said = say("recover", "--modules", "depot", "--setup", what)

    assert (ended, said) == (2, f"saga: --setup: expected MODULE:FUNCTION, got {what!r}\n")


@pytest.mark.parametrize("name", SETTING_UP)
def test_a_process_is_set_up_once_before_modules_are_imported(
    name: str, say: Say, journal: SQLiteJournal, project: Callable[[], list[str]]
) -> None:
    """By each function that is named, in their order; a path may have dots."""
    order().start(journal=journal, saga_id="x")
    needs = [name, *SETTING_UP[name], "--modules", "needy"]

    ended, said = say(*needs)
    assert (ended, "cannot import 'needy': RuntimeError: not set up; if" in said) == (1, True)
    assert said.endswith(
        "say what to call: --setup MODULE:FUNCTION, such as --setup django:setup\n"
    )
    assert said.count("\n") == 1
    assert status(journal) is SagaStatus.RUNNING

    depot.behaviour["c"] = tell if name == "worker" else str
    ended, said = say(*needs, "--setup", "ready:Project.setup", "--setup", "ready:setup")
    assert "cannot import" not in said
    assert ended == (1 if name == "resolve" else 0)  # it is not stuck
    assert project() == ["project", "setup"]


def test_a_module_that_leaves_when_it_is_imported_is_an_error(
    say: Say, journal: SQLiteJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script, say, that ends with `sys.exit(main())`: nothing else may end the command."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script.py").write_text("raise SystemExit(0)", encoding="utf-8")
    importlib.invalidate_caches()

    ended, said = say("recover", "--modules", "script")

    assert (ended, "cannot import 'script': SystemExit: 0" in said) == (1, True)
    assert journal.exists()
