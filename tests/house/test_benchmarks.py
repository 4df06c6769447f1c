"""The benchmarks run as they stand. How fast anything is, no test says: machines differ."""

import os
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from tempfile import gettempdir

import pytest
from paths import ROOT
from servers.children import ROOM, Missing, in_memory
from servers.postgresql import programs
from world import unmeasured

SCRIPT = ROOT / "benchmarks" / "core.py"


def measure(*options: str, script: Path = SCRIPT) -> subprocess.CompletedProcess[str]:
    """Run the script as a user would."""
    return subprocess.run(
        [sys.executable, str(script), *options],
        capture_output=True,
        text=True,
        check=False,
        env=unmeasured(),
    )


@pytest.fixture(scope="module")
def report() -> list[str]:
    """Measure with as little work as possible, without peers: they would have to be installed."""
    done = measure("--quick")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_everything_is_measured_without_peers(report: list[str]) -> None:
    """Nothing has to be installed to measure this library beside a bare loop."""
    assert [line for line in report if line.startswith("### ")] == [
        "### ns per operation, built and run: all succeed",
        "### ns per operation, built and run: the last one fails, the others are undone",
        "### ms for operations of 20 ms side by side",
        "### ms to import, in a fresh process",
        "### bytes per operation, 100 operations that succeed",
        "### Targets",
    ]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in report if line.startswith("| ")]
    for named in ("bare loop", "a pool per run", "asyncio.gather", "this library"):
        assert named in rows


def test_instructions_are_those_of_the_sagas_and_not_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each operation takes; the real valgrind takes a minute to tell."""
    valgrind = tmp_path / "valgrind"
    valgrind.write_text(
        f"""#!{sys.executable}
import json, sys
asked = json.loads(sys.stdin.readline())
each = 9000 if asked["fails"] else 7000
print("==1== Collected :", 5_000_000 + each * asked["size"] * asked["times"], file=sys.stderr)
"""
    )
    valgrind.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    done = measure("--quick", "--instructions")

    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| 1")]
    assert rows == [
        f"| {size} | {count} | {count} |" for count in ("7,000", "9,000") for size in (1, 10, 100)
    ]


def test_without_valgrind_no_instructions_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what is missing."""
    monkeypatch.setenv("PATH", str(tmp_path))

    done = measure("--instructions")

    assert done.returncode == 2
    assert "valgrind is not installed" in done.stderr


def test_the_report_is_markdown_that_can_be_pasted(report: list[str]) -> None:
    """In each table all rows have as many columns as the head."""
    tables = [list(rows) for table, rows in groupby(report, lambda line: line[:1] == "|") if table]
    assert len(tables) == 6
    for head, *rows in tables:
        assert rows
        assert {row.count("|") for row in rows} == {head.count("|")}


def test_every_target_that_can_be_measured_is_judged(report: list[str]) -> None:
    """Without the predecessor the ratios to it are left out, not made up."""
    targets = [line for line in report if line.endswith((" PASS |", " MISS |"))]
    assert len(targets) == 5
    assert not any("0.0.3" in line for line in report)


def test_a_single_round_is_refused() -> None:
    """One sample has no quartiles; that is said before anything is measured."""
    done = measure("--rounds", "1")
    assert done.returncode == 2
    assert "--rounds must be at least 2" in done.stderr


def test_durable_sagas_are_measured_without_peers() -> None:
    """What a journal costs is measured beside two journals by hand; DBOS is installed if asked."""
    done = measure("--quick", "--only", "rates,cold", script=SCRIPT.with_name("durable.py"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = [line.split(" | ")[0].removeprefix("| ") for line in done.stdout.splitlines()]
    for named in ("bare, threads", "sketch, asyncio", "this library, asyncio"):
        assert named in rows
    assert "| asyncio is imported | no: PASS |" in done.stdout
    assert "DBOS is not measured: --peers FOLDER installs it there." in rows


def test_what_a_saga_writes_in_postgresql_is_what_it_may() -> None:
    """Commits are counted. The log has what the server adds of its own, which few sagas feel."""
    options = ("--quick", "--only", "writes", "--on", in_memory(ROOM) or gettempdir())
    try:
        programs()
    except Missing as missing:
        pytest.skip(f"there is no {missing}")

    done = measure(*options, script=SCRIPT.with_name("postgresql.py"))

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (row,) = (line for line in done.stdout.splitlines() if " at once | " in line)
    assert row.startswith("| threads, 1 at once | 4.00 (≤ 4: PASS) | ")
    beyond_bodies = int(row.split(" | ")[4].split()[0].replace(",", ""))
    assert 1_000 < beyond_bodies < 2_400  # bytes; 1,843 of many sagas


def test_a_journal_is_looked_at_as_pages_do() -> None:
    """With so few sagas nothing is judged; each look finds what it should."""
    done = measure("--quick", "--no-server", script=SCRIPT.with_name("viewing.py"))

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = [line.split(" | ")[0].removeprefix("| ") for line in done.stdout.splitlines()]
    assert {"counts by status", "what needs a person", "the first page", "one saga"} <= {*rows}


def test_a_section_that_there_is_not_is_refused() -> None:
    """It is said before anything is measured, with what there is."""
    done = measure("--only", "nonsense", script=SCRIPT.with_name("durable.py"))
    assert done.returncode == 2
    assert "--only: expected some of rates,commits" in done.stderr


def test_what_grows_is_measured() -> None:
    """Operations, open sagas and payload; the rest takes its time."""
    script = SCRIPT.with_name("growth.py")

    done = measure("--quick", "--only", "open,payload", script=script)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "### open: " in done.stdout
    assert "| 1,000 | " in done.stdout


def test_costs_are_those_of_the_sagas_and_not_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each saga takes, here and in another tree; the real valgrind takes minutes to tell."""
    valgrind = tmp_path / "valgrind"
    valgrind.write_text(
        f"""#!{sys.executable}
import sys
arguments = sys.argv
times = int(arguments[arguments.index("--times") + 1])
each = 5000 if "other" in " ".join(arguments) else 7000
print("==1== Collected :", 5_000_000 + each * times, file=sys.stderr)
"""
    )
    valgrind.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    script = SCRIPT.with_name("costs.py")
    done = measure("--quick", "--only", "arguments", "--against", "other", script=script)

    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| Write")]
    assert len(rows) == 4
    assert all(row.endswith("| 5,000 | 7,000 | 1.40 |") for row in rows)


def test_how_fast_schedules_are_explored_is_measured() -> None:
    """In each world, once; the sizes take seconds, and are made of the same."""
    done = measure("--quick", "--only", "rates", script=SCRIPT.with_name("explore.py"))

    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 5


def test_what_sagas_cost_that_wait_is_measured() -> None:
    """Bytes, polls and calls, of few: what is held against targets is the rest."""
    done = measure("--quick", script=SCRIPT.with_name("waiting.py"))

    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 3 * 2 + 6 + 5 + 3


@pytest.mark.parametrize(
    "name", ["growth.py", "costs.py", "explore.py", "waiting.py", "durable_engines.py"]
)
def test_a_section_that_is_not_there_is_refused(name: str) -> None:
    """It says which there are."""
    done = measure("--only", "nothing", script=SCRIPT.with_name(name))

    assert done.returncode == 2
    assert "--only: expected " in done.stderr
