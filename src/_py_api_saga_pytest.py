"""The plugin for pytest, `py_api_saga`: options `--saga-…`, fixtures `explore` and `saga_clock`.

It stands beside the package, since pytest imports the plugins of all that is installed, before any
test is collected, also for those who test no saga; and before the coverage of the package can be
measured, if that is what is tested. What it needs of the library it imports when a test asks.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from py_api_saga.testing import Clock, Explored

_MOST_FAULTS = 3


class _Tally(NamedTuple):
    """What was explored in a session, or in one of its processes."""

    tests: int = 0
    schedules: int = 0
    findings: int = 0
    seconds: float = 0.0


_TALLY = pytest.StashKey[_Tally]()
_WORKER = "py_api_saga"  # what a process of pytest-xdist says at its end


# --- options ---------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the options: defaults of what the fixture `explore` is called with."""
    _let_the_library_be(pluginmanager)
    group = parser.getgroup("sagas", "sagas, as the fixture `explore` runs them (py-api-saga)")
    group.addoption(
        "--saga-faults",
        type=_faults,
        metavar="N",
        help=f"so many faults after one another, 1 to {_MOST_FAULTS}, unless the test says",
    )
    group.addoption(
        "--saga-seconds",
        type=_seconds,
        metavar="S",
        help="explore for at most so long in each test, unless it says",
    )
    group.addoption(
        "--saga-replay",
        type=_replay,
        metavar="SCHEDULE",
        help='run the one schedule that a finding names in replay="…"; choose its test with -k',
    )


def _let_the_library_be(pluginmanager: Any) -> None:
    """Have pytest import the library as everybody does.

    Of all that is installed with a plugin it would compile the `assert`s anew, only to say more of
    those that fail: importing the library would take 0.3 s the first time, and then three times as
    long as it does.
    """
    marked = getattr(pluginmanager.rewrite_hook, "_must_rewrite", None)
    if isinstance(marked, set):  # else there is nothing to be rewritten, or in a way of its own
        marked.discard("py_api_saga")


def _faults(value: str) -> int:
    if value not in map(str, range(1, _MOST_FAULTS + 1)):
        message = f"expected a whole number from 1 to {_MOST_FAULTS}, got {value!r}"
        raise argparse.ArgumentTypeError(message)
    return int(value)


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        message = f"expected seconds, a number above 0, got {value!r}"
        raise argparse.ArgumentTypeError(message)
    return seconds


def _replay(value: str) -> str:
    if not value.strip():
        message = 'expected a schedule, as a finding names it in replay="…", got nothing'
        raise argparse.ArgumentTypeError(message)
    return value


# --- fixtures --------------------------------------------------------------------------------


@pytest.fixture
def explore(pytestconfig: pytest.Config) -> Callable[..., Explored]:
    """Run a saga under every fault: `py_api_saga.testing.explore`, with what `--saga-…` says.

    What the command line says is a default: what a test says itself counts. Without any it is the
    plain function, which works without this fixture as well; only the summary does not count it.
    """
    from py_api_saga.testing import explore as plainly  # noqa: PLC0415 - as is said above
    from py_api_saga.testing.telling import BrokenSagaError  # noqa: PLC0415

    names = ("faults", "seconds", "replay")
    said = {name: pytestconfig.getoption(f"--saga-{name}") for name in names}
    asked: dict[str, Any] = {name: value for name, value in said.items() if value is not None}

    @wraps(plainly)
    def explore(*args: Any, **options: Any) -> Explored:
        __tracebackhide__ = True  # of pytest: the report says all
        try:
            explored = plainly(*args, **{**asked, **options})
        except BrokenSagaError as broken:
            _count(pytestconfig, broken.explored, len(broken.findings))
            raise
        _count(pytestconfig, explored, 0)
        return explored

    return explore


@pytest.fixture
def saga_clock() -> Iterator[Clock]:
    """Let time pass virtually in a test: `py_api_saga.testing.Clock`.

    A coroutine function that is a test runs in a loop that is there before: it enters a `Clock` by
    itself.
    """
    from py_api_saga.testing import Clock  # noqa: PLC0415 - as is said above

    with Clock() as clock:
        yield clock


# --- the summary -----------------------------------------------------------------------------


def _count(config: pytest.Config, explored: Explored, findings: int) -> None:
    _add(config, (1, explored.schedules, findings, explored.seconds))


def _add(config: pytest.Config, more: Iterable[float]) -> None:
    before = config.stash.get(_TALLY, _Tally())
    tests, schedules, findings, seconds = map(add, before, more)
    config.stash[_TALLY] = _Tally(int(tests), int(schedules), int(findings), seconds)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Say in a process of pytest-xdist what was explored there."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_WORKER] = [*session.config.stash.get(_TALLY, ())]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add what was explored in such a process, unless it died."""
    told = getattr(node, "workeroutput", {}).get(_WORKER)
    if told:
        _add(node.config, told)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say in a line what was explored in all."""
    tally = config.stash.get(_TALLY, None)
    if tally is not None:
        counted = (
            (tally.tests, "exploration"),
            (tally.schedules, "schedule"),
            (tally.findings, "finding"),
        )
        parts = [f"{number:,} {noun}{'' if number == 1 else 's'}" for number, noun in counted]
        terminalreporter.write_line(f"sagas: {', '.join(parts)}, {tally.seconds:.2f} s")
