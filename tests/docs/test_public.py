"""What is public: the reference says so, and no page names anything else of this library."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pages import DOCS, FENCE, PAGES, blocks_of
from paths import ROOT

import py_api_saga
import py_api_saga.py_api_saga
from py_api_saga import testing

# Pages for whoever changes this library. What the second one names is held to the code by a test of
# its own.
INSIDE = {"docs/explanation/life-of-a-call.md"}
SOURCE = Path(py_api_saga.__file__).parent
EXAMPLES = {path.name: path.read_text() for path in sorted((ROOT / "examples").glob("*.py"))}

# Modules whose public names are imported from them, as the reference says.
MODULES = {
    "py_api_saga",
    "py_api_saga.contrib.barrier",
    "py_api_saga.contrib.barrier.django",
    "py_api_saga.contrib.barrier.fastapi",
    "py_api_saga.contrib.barrier.flask",
    "py_api_saga.contrib.django",
    "py_api_saga.contrib.django.barrier",
    "py_api_saga.contrib.django.fixtures",
    *(f"py_api_saga.contrib.{module}" for module in ("aiohttp", "http", "httpx", "requests")),
    *(f"py_api_saga.contrib.{module}" for module in ("flask", "opentelemetry", "starlette")),
    "py_api_saga.contrib.http.gently",
    "py_api_saga.contrib.webhooks",
    *(f"py_api_saga.contrib.webhooks.{module}" for module in ("django", "flask", "starlette")),
    "py_api_saga.exceptions",
    "py_api_saga.journal",
    "py_api_saga.pictures",
    "py_api_saga.py_api_saga",
    "py_api_saga.repair",
    "py_api_saga.testing",
}


def documented() -> set[str]:
    """Give what the reference describes, as `module.name`."""
    text = "".join(page for name, page in PAGES.items() if name.startswith("docs/reference/"))
    found = re.findall(r"auto(?:class|function|exception):: ([\w.]+)", text)
    modules = [py_api_saga, py_api_saga.py_api_saga, testing]
    offered = {f"{module.__name__}.{name}" for module in modules for name in module.__all__}
    return {*found, *MODULES, *offered}


PUBLIC = documented()


def imported(code: str) -> Iterator[str]:
    """Yield what of ours a piece of code imports, as `module.name`."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("py_api_saga"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("py_api_saga"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def private(code: str) -> Iterator[str]:
    """Yield the attributes that a piece of code takes of a thing, and that are the thing's own."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute) and re.match(r"_[^_]", node.attr):
            owner = ast.unparse(node.value)
            if owner not in {"self", "cls"}:
                yield f"{owner}.{node.attr}"


def code_of(name: str) -> Iterator[str]:
    """Yield the code of a page."""
    kinds = {"python", "setup"}
    yield from (block.text for block in blocks_of(PAGES[name]) if block.kind in kinds)


@cache
def own_classes() -> set[str]:
    """Give the names of the classes that are nowhere public."""
    trees = (ast.parse(path.read_text()) for path in SOURCE.rglob("*.py"))
    classes = {n.name for tree in trees for n in ast.walk(tree) if isinstance(n, ast.ClassDef)}
    return {name for name in classes if name[0] != "_"} - {one.rpartition(".")[2] for one in PUBLIC}


@pytest.mark.parametrize("name", sorted({*PAGES} - INSIDE))
def test_a_page_imports_what_is_public(name: str) -> None:
    """And takes nothing of a thing that begins with an underscore, which may change at any time."""
    code = "\n".join(code_of(name))

    assert set(imported(code)) - PUBLIC == set()
    assert set(private(code)) == set()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_imports_what_is_public(name: str) -> None:
    """Examples are copied."""
    assert set(imported(EXAMPLES[name])) - PUBLIC == set()
    assert set(private(EXAMPLES[name])) == set()


@pytest.mark.parametrize("name", sorted({*PAGES} - INSIDE))
def test_the_words_of_a_page_name_what_is_public(name: str) -> None:
    """No file of the library, no module that is not in the reference, no class of the inside."""
    prose = FENCE.sub("", PAGES[name])
    spans = re.findall(r"`([^`\n]+)`", prose)
    dotted = {m for span in spans for m in re.findall(r"\bpy_api_saga(?:\.\w+)+(?!/)", span)}
    files = {span for span in spans if re.search(r"\bpy_api_saga/", span)}
    words = {span: re.split(r"\W", span, maxsplit=1)[0] for span in spans}
    inside = {span for span, word in words.items() if word in own_classes()}

    assert dotted - PUBLIC == set()
    assert files == set()
    assert inside == set()


def test_what_is_documented_is_there() -> None:
    """So the test above means something."""
    assert {"py_api_saga.Saga", "py_api_saga.repair.resolve"} <= PUBLIC
    assert "Execution" in own_classes()
    assert DOCS.joinpath("reference").is_dir()
