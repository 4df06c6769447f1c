"""CONTRIBUTING says what to read in the first hour: it is there, and it is an hour."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "py_api_saga"
HOUR = 1450  # lines
SECTION = (ROOT / "CONTRIBUTING.md").read_text().partition("## The first hour")[2]
ROWS = re.findall(
    r"^\| `([\w.]+)` \| (?:`([\w.]+)`|the end) \|", SECTION.partition("\n## ")[0], re.MULTILINE
)


def lines_of(module: str, down_to: str) -> int:
    """Count the lines of a module before that of a class or function; all, if there is no name.

    Raises:
        StopIteration: It has nothing of this name.
    """
    text = (SOURCE / module.replace(".", "/")).with_suffix(".py").read_text()
    place: ast.AST = ast.parse(text)
    for name in filter(None, down_to.split(".")):
        place = next(
            node
            for node in ast.iter_child_nodes(place)
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name
        )
    return place.lineno - 1 if down_to else text.count("\n")  # type: ignore[attr-defined]


def test_the_first_hour_is_listed() -> None:
    """From the sentence down to the machine."""
    modules = [module for module, _ in ROWS]

    assert (modules[0], modules[-1]) == ("assembler", "execution")


@pytest.mark.parametrize(("module", "down_to"), ROWS)
def test_what_is_to_be_read_is_there(module: str, down_to: str) -> None:
    """Each module, with the name down to which it is to be read."""
    assert lines_of(module, down_to) > 0


def test_it_is_read_in_an_hour() -> None:
    """All of it together is as long as a newcomer reads with understanding."""
    assert sum(lines_of(*row) for row in ROWS) <= HOUR
