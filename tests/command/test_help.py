"""Every command has help, and is documented."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
from commands import READING, Say, alter, typed
from paths import ROOT
from recorded import stuck

from py_api_saga.cli.commands import COMMANDS, make_parser
from py_api_saga.journal import SQLiteJournal

OF_ENGINES = ("--engine", "--url", "--queue", "--namespace", "--lost-after", "--tls")
PAGE = (ROOT / "docs/reference/command.md").read_text(encoding="utf-8")


def test_help_is_there_before_one_has_looked_away() -> None:
    """The command imports what it needs when it needs it."""
    code = "import sys, py_api_saga.cli; print(*sorted(sys.modules))"
    there = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_PROCESS")}
    paths = {**there, "PYTHONPATH": str(ROOT / "src")}
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=paths
    ).stdout.split()

    assert {"asyncio", "sqlite3", "json", "http.client", "socket"}.isdisjoint(loaded)
    # What a journal promises is in the annotations of the library; what keeps one is not loaded.
    kept = ("py_api_saga.journal.sql", "py_api_saga.journal.memory", "py_api_saga.journal.format.v")
    assert [name for name in loaded if name.startswith(kept)] == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_help_with_an_example(command: Any, say: Say) -> None:
    """What it does, what it takes, something to type that is right, and what the status means."""
    ended, said = say(command.name, "-h")

    assert ended == 0
    assert f"usage: saga {command.name}" in said
    assert "\nexamples:\n  saga " in said
    assert "\nexit status: 0 " in said
    for example in command.examples:
        name, *arguments = shlex.split(example.partition(" > ")[0])
        assert name == "saga"
        assert make_parser().parse_args(arguments).run == command.run


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_is_documented(command: Any) -> None:
    """With a heading of its own, every option, and its exit status."""
    assert f"\n## saga {command.name}\n" in PAGE
    section = PAGE.split(f"\n## saga {command.name}\n")[1].split("\n## ")[0]
    for names, settings in command.options:
        option = names[0] if names[0].startswith("-") else settings["metavar"]
        common = option in ("--journal", "--codec", "--json", "--network", *OF_ENGINES)
        assert f"`{option}" in (PAGE if common else section), option
    assert "Exit status" in section


def keys(document: Any) -> set[str]:
    """Collect the keys of a JSON document, at any depth."""
    if isinstance(document, list):
        return set().union(*map(keys, document)) if document else set()
    if isinstance(document, dict):
        return set(document) | set().union(*map(keys, document.values()))
    return set()


@pytest.mark.parametrize("name", READING)
def test_the_shape_of_each_json_document_is_documented(
    name: str, say: Say, journal: SQLiteJournal
) -> None:
    """One document on standard output, and every key of it is on the page."""
    stuck(journal)
    alter(journal, "UPDATE entry SET body = replace(body, 'depot:undo', 'depot:gone')")
    ended, said = say(*typed(name), "--json")

    assert ended in (0, 4)
    section = PAGE.split(f"\n## saga {name}\n")[1].split("\n## ")[0]
    documented = set(re.findall(r"`([a-z_]+)`", section))
    if "sagas" in documented:
        documented |= set(re.findall(r"`([a-z_]+)`", PAGE.split("\n## saga list\n")[1]))
    assert keys(json.loads(said)) <= documented
