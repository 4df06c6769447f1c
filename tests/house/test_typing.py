"""Type checkers tell right calls from wrong ones, before anything runs."""

import importlib.util
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from paths import ROOT
from world import unmeasured

RIGHT = Path("tests", "typing", "right.py")
WRONG = Path("tests", "typing", "wrong.py")

Reported = dict[Path, dict[int, str]]  # file -> line -> what the checker says about it


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a checkout in whose root a stranger keeps files, called as those beside the tests."""
    for name in ("pyproject.toml", "src", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("shop", "world"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not yours')\n")
    return tmp_path


def run(checkout: Path, checker: str, *arguments: str) -> str:
    """Run a checker on both files at once; without the coverage that other subprocesses have."""
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed: pip install -e '.[test]'")
    command = [sys.executable, "-m", checker, *arguments, str(RIGHT), str(WRONG)]
    ran = subprocess.run(
        command, cwd=checkout, env=unmeasured(), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1, f"{checker} found nothing, or broke:\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def mypy(checkout: Path) -> Reported:
    """Run mypy, as strict as it is on the library itself."""
    reported: Reported = {}
    cache = ROOT / ".mypy_cache"
    options = ("--no-error-summary", "--follow-imports=silent", f"--cache-dir={cache}")
    for line in run(checkout, "mypy", *options).splitlines():
        if found := re.match(r"(?P<file>[^:]+):(?P<line>\d+): error: (?P<message>.*)", line):
            file, number, message = found.groups()
            reported.setdefault(Path(file), {})[int(number)] = message
    return reported


def pyright(checkout: Path) -> Reported:
    """Run pyright, as strict as it can be."""
    reported: Reported = {}
    said = json.loads(run(checkout, "pyright", "--outputjson", "--pythonpath", sys.executable))
    for found in said["generalDiagnostics"]:
        file = Path(found["file"]).resolve().relative_to(ROOT)
        reported.setdefault(file, {})[found["range"]["start"]["line"] + 1] = found["message"]
    return reported


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_exactly_the_wrong_calls_are_errors(
    checker: Callable[[Path], Reported], checkout: Path
) -> None:
    """Each line marked as an error is one, no other line is, and the right calls are all fine."""
    lines = (ROOT / WRONG).read_text().splitlines()
    wrong = {number: line for number, line in enumerate(lines, 1) if line.endswith("# error")}

    reported = checker(checkout)

    assert reported.pop(RIGHT, {}) == {}
    found = reported.pop(WRONG)
    assert {number: line for number, line in wrong.items() if number not in found} == {}
    assert {number: said for number, said in found.items() if number not in wrong} == {}
    assert reported == {}


def test_what_type_checkers_call_right_can_be_added_to_a_saga(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The right calls are right at run time too: no definition is refused."""
    monkeypatch.syspath_prepend(ROOT / RIGHT.parent)

    names = runpy.run_path(str(ROOT / RIGHT))

    assert names["basket"] == []  # and none of them was called
