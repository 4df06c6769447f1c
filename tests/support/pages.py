"""The pages of the documentation: what is on them, and how it is run.

Conventions, each an HTML comment that a reader does not see:

    <!-- setup … -->    code that runs and is not shown
    <!-- output -->     the `text` block that follows is the output of the block before

On a page that runs in a process and a folder of its own, also:

    # shop.py           as the first line of a `python` block: it is a file, which others import;
                        one in a folder that is there: shop/models.py
    saga …              in a `sh` block: the command is run, and must not fail
    export …            in a `sh` block: sets an environment variable

`python pages.py README.md` is such a process, which imports no more than the page does, and in
the end explores the sagas that the page has written down.
"""

import ast
import importlib
import io
import os
import re
import shlex
import sys
import types
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from paths import ROOT

from py_api_saga import cli

DOCS = ROOT / "docs"
FILES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts),
]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in FILES}

OK = {0, 4}  # 4: something needs a person
FILE = re.compile(r"# ((?:\w+/)?\w+\.py)\n")
FENCE = re.compile(
    r"^<!-- setup\n(?P<setup>.*?)^-->$"
    r"|(?P<marked>^<!-- output -->\n)?"
    r"^(?P<ticks>`{3,})(?P<kind>[^\n`]*)\n(?P<text>.*?)^(?P=ticks)$",
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    """A fenced block of a page, or its hidden setup."""

    kind: str  # the word behind the fence, "setup" or "output"
    text: str
    line: int  # of its first line, from 0
    follows: bool  # right behind the block before, with nothing between


def blocks_of(page: str) -> Iterator[Block]:
    """Yield the blocks of a page."""
    end = -1
    for found in FENCE.finditer(page):
        group = "text" if found["setup"] is None else "setup"
        kind = "setup" if group == "setup" else "output" if found["marked"] else found["kind"]
        line = page.count("\n", 0, found.start(group))
        yield Block(kind, found[group], line, end >= 0 and not page[end : found.start()].strip())
        end = found.end()


class Ran(NamedTuple):
    """What came of a page.

    Attributes:
        outputs: Each output that it shows, and the real one.
        namespace: What it has defined.
    """

    outputs: list[tuple[str, str]]
    namespace: dict[str, Any]


def run_page(name: str, *, alone: bool = False) -> Ran:
    """Run the code of a page in one namespace.

    With `alone` the process is the page's own: it is the main module there, and may leave files.
    """
    main = types.ModuleType("__main__")
    if alone:
        sys.modules["__main__"] = main
    shown, printed = [], ""
    for block in blocks_of(PAGES[name]):
        file = FILE.match(block.text) if alone and block.kind == "python" else None
        if file is not None:
            Path(file[1]).write_text(block.text, encoding="utf-8")
            importlib.invalidate_caches()
            printed = ""
        elif block.kind in {"python", "setup"}:
            # The lines before it, so that a traceback names the line of the page.
            code = compile("\n" * block.line + block.text, name, "exec")
            with redirect_stdout(io.StringIO()) as output:
                exec(code, vars(main))  # noqa: S102 - our own pages
            printed = output.getvalue()
        elif alone and block.kind == "sh":
            printed = "".join(map(run_line, block.text.splitlines()))
        elif block.kind == "output":
            shown.append((block.text.rstrip(), printed.rstrip()))
    return Ran(shown, vars(main))


def places_of_operations(name: str, *, alone: bool = False) -> Iterator[tuple[str, int]]:
    """Yield where a page adds an operation to a saga: the page, or a file of it, and the line."""
    for block in blocks_of(PAGES[name]):
        if block.kind not in {"python", "setup"}:
            continue
        file = FILE.match(block.text) if alone and block.kind == "python" else None
        where, offset = (name, block.line) if file is None else (Path(file[1]).name, 0)
        for node in ast.walk(ast.parse(block.text)):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Attribute) and called.attr == "operation":
                yield where, offset + (called.end_lineno or 0)


def run_line(line: str) -> str:
    """Run a line of shell that a page shows, if it is one of ours; give what it prints."""
    if not is_run(line):
        return ""
    command, *words = shlex.split(line)
    if command == "export":
        os.environ.update(dict(word.split("=", 1) for word in words))
        return ""
    with redirect_stdout(io.StringIO()) as output:
        status = cli.main(words)
    assert status in OK, f"{line}: exit status {status}"
    return output.getvalue()


def is_run(line: str) -> bool:
    """Tell whether the test of its page runs a line of shell."""
    return bool(re.match(r"export |saga (?!demo|worker|.*\bdashboard\b)", line))


if __name__ == "__main__":
    from documented import run_and_explore  # which imports this, and what explores

    run_and_explore(sys.argv[1], alone=True)
