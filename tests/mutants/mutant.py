"""One way to break the library, and how to find out which test notices it.

An edit names a function, in whatever file that is: to move it breaks no mutant.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePath
from typing import NamedTuple

TESTS = Path(__file__).resolve().parent.parent
SOURCE = TESTS.parent / "src" / "py_api_saga"
NO_TEST = "no test"  # it cannot even be imported
TIMEOUT = 180  # seconds; the slowest of the tests takes a few


class Edit(NamedTuple):
    """A replacement in one function."""

    file: str  # from the root of the library; if it has moved, `where` is looked for everywhere
    where: str  # the qualified name of the function or class; "" for the whole file
    old: str  # a text that stands in it once
    new: str


class Mutant(NamedTuple):
    """A way to break the library."""

    breaks: str  # what it does wrong
    caught_by: str  # whose tests must notice: a folder, a file or a test, as for pytest
    edits: tuple[Edit, ...]


class Place(NamedTuple):
    """Where an edit applies: a part of a file."""

    file: str
    start: int  # in characters, as `end`
    end: int


class NotFoundError(LookupError):
    """The text of an edit stands nowhere, or in several places."""


class Sources:
    """The files of a library, and what is defined in them."""

    def __init__(self, root: Path) -> None:
        """Read them."""
        paths = sorted([*root.rglob("*.py"), *root.rglob("*.sql")])
        self.texts = {
            path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths
        }
        self._places: dict[tuple[str, str], list[Place]] = {}
        for file, text in self.texts.items():
            self._places[file, ""] = [Place(file, 0, len(text))]
            if file.endswith(".py"):
                starts = [0]  # of each line
                for line in text.splitlines(keepends=True):
                    starts.append(starts[-1] + len(line))
                for name, first, last in _definitions(ast.parse(text), ""):
                    place = Place(file, starts[first - 1], starts[last])
                    self._places.setdefault((file, name), []).append(place)

    def place_of(self, edit: Edit) -> Place:
        """Find where an edit applies: in its own file, or else in the only other one that has it.

        Raises:
            NotFoundError: It must be written anew.
        """
        name = PurePath(edit.file).name
        elsewhere = [
            place
            for (file, where), places in self._places.items()
            if where == edit.where and (where or PurePath(file).name == name)
            for place in places
        ]
        for places in (self._places.get((edit.file, edit.where), []), elsewhere):
            counts = [self.texts[place.file].count(edit.old, *place[1:]) for place in places]
            if sum(counts) == 1:
                return places[counts.index(1)]
        message = f"not found once in {edit.where or 'all'} of {edit.file}, nor in another file"
        raise NotFoundError(f"{message}: {edit.old!r}")


def _definitions(tree: ast.AST, within: str) -> Iterator[tuple[str, int, int]]:
    """List the functions and classes of a module: qualified name, first line and last."""
    for node in ast.iter_child_nodes(tree):
        name = within
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            yield within + node.name, first, node.end_lineno or first
            name = f"{within}{node.name}."
        yield from _definitions(node, name)


@cache
def library() -> Sources:
    """Read the library that is to be broken, once."""
    return Sources(SOURCE)


def caught(mutant: Mutant, *which: str) -> str:
    """Run tests on a copy that is broken so; name the first that fails, and what it says.

    Args:
        mutant: How it is broken.
        which: What `pytest -k` is told, time after time until one fails.

    Returns:
        An empty text if none fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        _break(mutant, Path(folder) / SOURCE.name)
        for words in which or ("test",):
            command = [
                *(sys.executable, "-m", "pytest", str(TESTS / mutant.caught_by), "-k", words),
                *("-xq", "-o", "addopts=", "-p", "no:cacheprovider", "--no-header", "--tb=short"),
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
    # From the end on, so that what comes before stays where it is.
    for place, edit in sorted(
        ((library().place_of(edit), edit) for edit in mutant.edits), reverse=True
    ):
        path = copy / place.file
        text = path.read_text(encoding="utf-8")
        start = text.index(edit.old, place.start)
        path.write_text(text[:start] + edit.new + text[start + len(edit.old) :], encoding="utf-8")


def _said(ran: subprocess.CompletedProcess[str]) -> str:
    """Give the test that has failed and the first line of its error."""
    failed = re.search(r"^(?:FAILED|ERROR) \S*?::(\w+)", ran.stdout, re.MULTILINE)
    if failed is None:
        return f"{NO_TEST}: {ran.stdout[-2000:]}{ran.stderr[-500:]}"
    error = re.search(r"^E +(.+)", ran.stdout, re.MULTILINE)
    return f"{failed[1]}: {error[1][:100] if error else ''}"
