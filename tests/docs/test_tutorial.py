"""The tutorial, done as it says: each block goes where it is told to, and is run."""

import re
import shlex
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import FILE, PAGES, Block, blocks_of
from paths import ROOT
from world import unmeasured

PAGE = "docs/tutorial.md"
LOG = re.compile(r"(saga checkout \(.+\): operation \w+: (in doubt|stuck)( \(\w+\))?\n)*")


class Reader:
    """Somebody who keeps the files of the page in one folder, and runs them from another."""

    def __init__(self, folder: Path, working: Path) -> None:
        self.folder = folder
        self.working = working
        self.ends: dict[str, list[int]] = defaultdict(list)  # file -> exit status of each run

    def add(self, code: str) -> None:
        """Put a block at the end of `first.py`, or into the new file that its first line names."""
        named = FILE.match(code)
        file = self.folder / (named[1] if named else "first.py")
        assert named is None or not file.exists(), "the page calls it a new file"
        with file.open("a", encoding="utf-8") as end:
            end.write(code)

    def type(self, line: str) -> str:
        """Type a line of shell, and give what it prints."""
        command, *words = shlex.split(line)
        if command == "python3":  # makes the environment, which we are in
            return ""
        if command == ".venv/bin/saga":
            return self.run_command(words)
        assert command == ".venv/bin/python"
        (name,) = words
        if name == "first.py":
            (self.folder / name).touch()
        return self.run(name)

    def run_command(self, words: list[str]) -> str:
        """Run the command in the folder where the files are, and give what it prints."""
        ran = self._run(self.folder, "-m", "py_api_saga", *words)
        assert (ran.returncode, ran.stderr) == (0, "")
        return ran.stdout

    def run(self, name: str) -> str:
        """Run a file, and give what it prints; only the log may be on standard error."""
        file = name if self.working == self.folder else str(self.folder / name)
        ran = self._run(self.working, file)
        assert LOG.fullmatch(ran.stderr), ran.stderr
        self.ends[name].append(ran.returncode)
        return ran.stdout

    def _run(self, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            encoding="utf-8",
            timeout=180,
            check=False,
            cwd=folder,
            env={
                **unmeasured(),
                "PYTHONPATH": str(ROOT / "src"),
                "PYTHONWARNINGS": "error",
                "PYTHONIOENCODING": "utf-8",
            },
        )


def steps() -> Iterator[tuple[Block, str]]:
    """Give each block that a reader does something with, and what the page shows of its output."""
    waiting: Block | None = None
    for block in blocks_of(PAGES[PAGE]):
        assert block.kind in {"python", "sh", "text", "output"}, "nothing is hidden from a reader"
        if block.kind in {"python", "sh"}:
            if waiting is not None:
                yield waiting, ""
            waiting = block
        else:
            assert waiting is not None
            assert block.follows
            yield waiting, block.text
            waiting = None
    assert waiting is None, "the last thing that is done shows what comes of it"


@pytest.mark.parametrize("elsewhere", [False, True], ids=["there", "from another folder"])
def test_whoever_does_as_the_tutorial_says_sees_what_it_shows(
    tmp_path: Path, *, elsewhere: bool
) -> None:
    """After each block, with what the blocks before have printed; or once, from another folder."""
    folder, working = tmp_path / "shop", tmp_path / "elsewhere"
    folder.mkdir()
    working.mkdir()
    reader = Reader(folder, working if elsewhere else folder)
    printed = ""
    for block, shown in steps():
        if block.kind == "sh":
            assert "".join(map(reader.type, block.text.splitlines())) == shown, block
            continue
        reader.add(block.text)
        if FILE.match(block.text) is None:
            printed += shown
            if not elsewhere:
                assert reader.run("first.py") == printed, block

    assert reader.run("first.py") == printed
    assert set(reader.ends.pop("first.py")) == {0}
    assert reader.ends == {"order.py": [-signal.SIGKILL, 0], "recovery.py": [0]}
    assert "checkout-9-1" in (folder / "checkout.html").read_text(encoding="utf-8")
    assert list(working.iterdir()) == [], "what the programs keep is beside them"
