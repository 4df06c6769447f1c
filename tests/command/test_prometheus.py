"""What a monitor measures of a journal, and how Prometheus reads it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import depot
import pytest
from commands import Say
from paths import ROOT
from recorded import chain, crashed, stuck

from py_api_saga import SagaAssembler
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.changes import Leave, Take
from py_api_saga.story.attention import attention
from py_api_saga.story.gauges import exposition, gauges

# https://prometheus.io/docs/instrumenting/exposition_formats/#text-format-details
SAMPLE = re.compile(
    r'([a-zA-Z_:][a-zA-Z0-9_:]*)\{([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"\} (\S+)'
)
ESCAPED = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}
NAMES = [
    "saga_stuck", "saga_open", "saga_open_age_seconds", "saga_waiting", "saga_waiting_age_seconds",
    "saga_overdue", "saga_tried", "saga_recovery_tries",
]  # fmt: skip


def measured(text: str) -> dict[str, dict[str, float]]:
    """Read the text as Prometheus does: each metric with HELP, TYPE and its samples."""
    assert text.endswith("\n")
    found: dict[str, dict[str, float]] = {}
    lines: Iterator[str] = iter(text.splitlines())
    for line in lines:
        if (about := re.fullmatch(r"# HELP (\w+) \S.*", line)) is not None:
            name = about[1]
            assert name not in found
            assert next(lines) == f"# TYPE {name} gauge"
            found[name] = {}
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample is not None, line
        metric, label, value, number = sample.groups()
        assert (metric, label) == (name, "saga_name")
        of = re.sub(r"\\.", lambda one: ESCAPED[one[0]], value)
        assert of not in found[name]
        found[name][of] = float(number)
    return found


@pytest.fixture
def read() -> Callable[[Any, float], dict[str, dict[str, float]]]:
    """Measure a journal."""

    def read(journal: Any, grace: float = 300.0) -> dict[str, dict[str, float]]:
        with journal.reader() as view:
            return measured(exposition(gauges(attention(view, grace))))

    return read


def test_an_empty_journal_has_each_of_them(journal: SQLiteJournal, read: Any) -> None:
    """With a zero: what is missing would look as if nobody measured."""
    assert read(journal) == {name: {"": 0.0} for name in NAMES}


def test_what_is_unfinished_is_counted_by_name(journal: SQLiteJournal, read: Any) -> None:
    """Stuck, open, overdue and tried; what has ended is not looked at."""
    began = time.time()
    stuck(journal)
    SagaAssembler.saga(name="ship").operation((depot.do, "a")).start(journal=journal, saga_id="s")
    SagaAssembler.saga().operation((depot.do, "a")).start(journal=journal, saga_id="n")
    chain("a").orchestrator_execute(journal=journal, saga_id="done")
    for _ in range(3):
        take = Take(journal.find("s"), counted=True)  # type: ignore[arg-type]
        journal.write(take)
        journal.write(Leave(take.check()))

    found = read(journal, -1.0)

    names = ("", "depot", "ship")
    assert list(found) == NAMES
    assert found["saga_stuck"] == dict(zip(names, (0, 1, 0), strict=True))
    assert found["saga_open"] == dict(zip(names, (1, 0, 1), strict=True))
    assert found["saga_overdue"] == dict(zip(names, (1, 0, 1), strict=True))
    assert found["saga_tried"] == dict(zip(names, (0, 0, 1), strict=True))
    assert found["saga_recovery_tries"] == dict(zip(names, (0, 0, 3), strict=True))
    ages = found["saga_open_age_seconds"]
    assert ages["depot"] == 0
    assert all(0 <= ages[name] <= time.time() - began + 0.002 for name in names)


def test_the_oldest_and_the_most_tried_are_told(journal: SQLiteJournal, read: Any) -> None:
    """Of several of one name."""
    for saga_id, tries in (("old", 1), ("new", 2), ("newest", 0)):
        crashed(journal, chain("a", "b"), 1, saga_id)
        for _ in range(tries):
            take = Take(journal.find(saga_id), counted=True)  # type: ignore[arg-type]
            journal.write(take)
            journal.write(Leave(take.check()))
    oldest = journal.find("old")
    assert oldest is not None

    found = read(journal)

    assert found["saga_recovery_tries"] == {"depot": 2}
    assert found["saga_open"] == {"depot": 3}
    age = found["saga_open_age_seconds"]["depot"]
    assert 0 <= time.time() - oldest.created - age < 60


HOSTILE = ['a"b', "back\\slash", "two\nlines", "\x1b[2J", "ä", '"} 7\nsaga_stuck{saga_name="', "\\"]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_breaks_out_of_its_label(
    journal: SQLiteJournal, read: Any, name: str, say: Say
) -> None:
    """Nor commands a terminal, where somebody looks at it."""
    SagaAssembler.saga(name=name).operation((depot.do, "a")).start(journal=journal)

    found = read(journal)
    ended, said = say("check", "--prometheus")

    assert [*found["saga_open"].values()] == [1.0]
    (shown,) = found["saga_open"]
    assert shown == (name if name.isprintable() else repr(name)[1:-1])
    assert (ended, list(measured(said))) == (0, NAMES)
    assert "\x1b" not in said


def test_the_command_writes_it_and_is_fine_with_what_it_found(
    journal: SQLiteJournal, say: Say
) -> None:
    """Whoever reads the figures decides; a job that writes them to a file is not to fail."""
    stuck(journal)

    ended, said = say("check", "--prometheus")

    assert ended == 0
    assert measured(said)["saga_stuck"] == {"depot": 1.0}
    assert say("check")[0] == 4


def test_without_a_journal_there_are_no_figures(say: Say, tmp_path: Path) -> None:
    """And the status says so."""
    ended, said = say("check", "--prometheus", "--journal", str(tmp_path / "none"))

    assert ended == 1
    assert said.startswith("saga: there is no journal")


def test_each_is_on_the_page() -> None:
    """With what it is; and no alert is about another one."""
    page = (ROOT / "docs" / "howto" / "monitoring.md").read_text()

    assert re.findall(r"^\| `(saga_\w+)`", page, re.MULTILINE) == NAMES
    assert set(re.findall(r"\bsaga_\w+", page)) - {*NAMES, "saga_name"} == set()
