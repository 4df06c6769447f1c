"""One way to break the library, and how to find out which test notices it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parent.parent
SOURCE = TESTS.parent / "src" / "py_api_saga"
NO_TEST = "no test"  # it cannot even be imported
TIMEOUT = 180  # seconds; the slowest of the tests takes a few


class Edit(NamedTuple):
    """A replacement in one file."""

    file: str
    old: str  # a text that the file holds once
    new: str


class Mutant(NamedTuple):
    """A way to break the library."""

    breaks: str  # what it does wrong
    caught_by: str  # the test that must notice; "" if any may
    edits: tuple[Edit, ...]


def places(mutant: Mutant) -> list[int]:
    """Count the places that each edit would change: one, or it needs a new text."""
    return [(SOURCE / file).read_text(encoding="utf-8").count(old) for file, old, _ in mutant.edits]


def caught(mutant: Mutant, tests: str, which: Sequence[str]) -> str:
    """Run tests on a copy that is broken so; name the first that fails, and what it says.

    Args:
        mutant: How it is broken.
        tests: The file of the tests, or their folder.
        which: What `pytest -k` is told, time after time until one fails.

    Returns:
        An empty text if none fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        _break(mutant, Path(folder) / SOURCE.name)
        for words in which:
            command = [
                *(sys.executable, "-m", "pytest", str(TESTS / tests), "-k", words, "-xq"),
                *("-o", "addopts=", "-p", "no:cacheprovider", "--no-header", "--tb=short"),
            ]
            try:
                ran = subprocess.run(
                    command,
                    cwd=TESTS.parent,
                    env={**os.environ, "PYTHONPATH": folder},
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=TIMEOUT,
                )
            except subprocess.TimeoutExpired:
                return "the tests did not end"
            if ran.returncode:
                return _said(ran)
    return ""


def _break(mutant: Mutant, copy: Path) -> None:
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for file, old, new in mutant.edits:
        text = (copy / file).read_text(encoding="utf-8")
        (copy / file).write_text(text.replace(old, new), encoding="utf-8")


def _said(ran: subprocess.CompletedProcess[str]) -> str:
    """Give the test that has failed and the first line of its error."""
    failed = re.search(r"^(?:FAILED|ERROR) \S*?::(\w+)", ran.stdout, re.MULTILINE)
    if failed is None:
        return f"{NO_TEST}: {ran.stdout[-2000:]}{ran.stderr[-500:]}"
    error = re.search(r"^E +(.+)", ran.stdout, re.MULTILINE)
    return f"{failed[1]}: {error[1][:100] if error else ''}"
