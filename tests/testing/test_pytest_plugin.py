"""The plugin for pytest: it costs nothing until a test asks, and its options are defaults."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from paths import SUPPORT
from world import unmeasured

import _py_api_saga_pytest as plugin

Run = Callable[..., list[str]]


@pytest.fixture
def project(tmp_path: Path) -> Run:
    """Write files, run pytest on them in a process of its own, and give what that says.

    Of the plugins that are installed it has this one and those that are named: so it begins fast.
    """
    assert entry_points(group="pytest11", name="py_api_saga"), "install anew: pip install -e ."

    def run(
        *options: str,
        code: int = 0,
        plugins: tuple[str, ...] = ("py_api_saga",),
        path: Path | None = None,
        **files: str,
    ) -> list[str]:
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        env = {n: value for n, value in unmeasured().items() if not n.startswith("PYTEST_")}
        env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        if path is not None:
            env["PYTHONPATH"] = str(path)
        named = [option for name in plugins for option in ("-p", name)]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *named, *options]
        ran = subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        return (ran.stdout + ran.stderr).splitlines()

    return run


# --- what it costs -------------------------------------------------------------------------------


def test_nothing_is_imported_until_a_test_asks(project: Run, tmp_path: Path) -> None:
    """Of the library; and then as everybody imports it, its asserts not compiled anew."""
    installed = tmp_path / "installed" / "py_api_saga-1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Name: py-api-saga\nVersion: 1\n")
    (installed / "RECORD").write_text("py_api_saga/__init__.py,,\n_py_api_saga_pytest.py,,\n")
    (installed / "entry_points.txt").write_text("[pytest11]\npy_api_saga = _py_api_saga_pytest\n")

    said = project(
        path=installed.parent,
        conftest="""
            import sys

            import pytest


            def pytest_collection_finish():
                print("imported:", [m for m in sys.modules if m.split(".")[0] == "py_api_saga"])


            @pytest.fixture
            def explore():
                return "of this project"
        """,
        test_it="""
            def test_a_fixture_of_the_project_comes_first(explore):
                assert explore == "of this project"


            def test_time(saga_clock):
                import time

                import py_api_saga

                time.sleep(3600)
                assert saga_clock.passed == 3600
                assert "Rewriting" not in type(py_api_saga.__loader__).__name__
        """,
    )

    assert "imported: []" in said
    assert "2 passed" in said[-1]
    assert not any(line.startswith("sagas:") for line in said)


def test_it_can_be_turned_off(project: Run) -> None:
    """And is of no effect then."""
    said = project("--saga-faults=2", plugins=("no:py_api_saga",), code=4)

    assert any("unrecognized arguments: --saga-faults=2" in line for line in said)


def test_pytest_may_keep_what_it_compiles_elsewhere() -> None:
    """What it marks for that is its own affair."""

    class Manager:
        rewrite_hook = object()

    manager: Any = Manager()
    plugin.pytest_addoption(pytest.Parser(_ispytest=True), manager)


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--saga-faults=0", "--saga-faults: expected a whole number from 1 to 3, got '0'"),
        ("--saga-faults=4", "--saga-faults: expected a whole number from 1 to 3, got '4'"),
        ("--saga-faults=two", "--saga-faults: expected a whole number from 1 to 3, got 'two'"),
        ("--saga-seconds=-1", "--saga-seconds: expected seconds, a number above 0, got '-1'"),
        ("--saga-seconds=nan", "--saga-seconds: expected seconds, a number above 0, got 'nan'"),
        ("--saga-seconds=inf", "--saga-seconds: expected seconds, a number above 0, got 'inf'"),
        ("--saga-seconds=1m", "--saga-seconds: expected seconds, a number above 0, got '1m'"),
        ("--saga-replay= ", "--saga-replay: expected a schedule, as a finding names it"),
    ],
)
def test_a_bad_value_is_refused_in_words(
    option: str, says: str, pytestconfig: pytest.Config
) -> None:
    """Before any test is collected."""
    parser = pytest.Parser(_ispytest=True)
    plugin.pytest_addoption(parser, pytestconfig.pluginmanager)

    with pytest.raises(pytest.UsageError, match=re.escape(says)):
        parser.parse([option])


def test_a_good_value_is_read(pytestconfig: pytest.Config) -> None:
    """As what `explore` takes."""
    parser = pytest.Parser(_ispytest=True)
    plugin.pytest_addoption(parser, pytestconfig.pluginmanager)

    said = parser.parse(["--saga-faults=3", "--saga-seconds=0.5", "--saga-replay=charge:lost"])

    assert (said.saga_faults, said.saga_seconds, said.saga_replay) == (3, 0.5, "charge:lost")


# --- explorations --------------------------------------------------------------------------------

SHOP = """
    import pytest
    from kiosk import Kiosk, forgetful, right

    from py_api_saga.testing import explore as plainly


    def test_right(explore):
        assert explore(right, world=Kiosk, state=Kiosk.state).left == 0


    def test_forgetful(explore):
        explore(forgetful, world=Kiosk, state=Kiosk.state)


    def test_plainly():
        plainly(right, world=Kiosk, state=Kiosk.state)
"""
SUMMARY = re.compile(r"sagas: (\d) explorations?, ([\d,]+) schedules?, 1 finding, \d+\.\d\d s")


def _summary(said: list[str]) -> tuple[int, int]:
    """Give in how many tests there were how many schedules, as the one line says it."""
    [found] = [found for line in said if (found := SUMMARY.fullmatch(line))]
    return int(found[1]), int(found[2].replace(",", ""))


def test_one_schedule_is_run_again_and_told(project: Run) -> None:
    """As a failure that says all, without frames of ours; and the summary at the end."""
    options = ("--saga-replay", "book:lost", "-k", "forgetful")

    said = project(*options, path=SUPPORT, code=1, test_it=SHOP)

    assert any("compensated, but effects is ['book'], expected []" in line for line in said)
    assert any('replay="book:lost"' in line for line in said)
    assert not any("exploring.py" in line for line in said)
    tests, schedules = _summary(said)
    assert tests == 1
    assert schedules < 10  # besides the calm ones, to compare with


def test_the_processes_of_xdist_add_up(project: Run) -> None:
    """The options are theirs as well: two faults, in two tests with the fixture."""
    plugins = ("py_api_saga", "xdist")

    said = project("-n2", "--saga-faults=2", plugins=plugins, path=SUPPORT, code=1, test_it=SHOP)

    tests, schedules = _summary(said)
    assert tests == 2
    assert schedules > 200
