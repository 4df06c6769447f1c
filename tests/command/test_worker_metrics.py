"""`saga worker` with OpenTelemetry: what is in its journal, told whenever somebody asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import depot
import pytest
from commands import Say, meanwhile, tell
from recorded import chain, stuck
from spans import Spans, telling
from world import PATIENCE, until

from py_api_saga.journal import SQLiteJournal


@pytest.fixture
def spans() -> Iterator[Spans]:
    """What is told while a test runs."""
    with telling() as spans:
        yield spans


GAUGES = ("saga.stuck", "saga.open", "saga.recovery.tries")


def while_it_works(say: Say, look: Callable[[], object]) -> tuple[int, str]:
    """Run a worker until something was looked at, and give how it ended."""

    def proceed() -> None:
        try:
            look()
        finally:
            tell()

    with meanwhile(proceed):
        return say("worker", "--modules", "depot", "--interval", "0.05")


def test_a_worker_tells_what_is_in_its_journal(
    say: Say, journal: SQLiteJournal, spans: Spans
) -> None:
    """What is stuck, what is open and since when, and how often it was tried."""
    stuck(journal, "s")
    opened = threading.Event()
    depot.behaviour["a"] = lambda: opened.wait(PATIENCE)
    chain("a").start(journal=journal, saga_id="x")
    told: list[Any] = []

    def look() -> None:
        until(lambda: "a" in depot.log[5:])
        until(lambda: dict(values(spans))["saga.recovery.tries"] == 1)
        told.extend(values(spans))
        opened.set()
        until(lambda: dict(values(spans))["saga.open"] == 0)

    ended, _ = while_it_works(say, look)

    assert ended == 0
    assert told == [("saga.stuck", 1), ("saga.open", 1), ("saga.recovery.tries", 1)]
    assert values(spans) == []  # nobody is at it any more


def values(spans: Spans) -> list[tuple[str, Any]]:
    """Give what the gauges say, of the one journal that there is."""
    found = [(name, point) for name in GAUGES for point in spans.points(name)]
    return [(name, value) for name, (_, value) in found]


def test_the_age_is_that_of_the_oldest(say: Say, journal: SQLiteJournal, spans: Spans) -> None:
    """In seconds, with the place of the journal."""
    told: list[Any] = []

    def look() -> None:
        until(lambda: spans.points("saga.open.age"))
        told.extend(spans.points("saga.open.age"))

    while_it_works(say, look)

    assert told == [({"saga.journal": journal.path}, 0.0)]


def test_a_journal_that_is_gone_is_not_told_of(
    say: Say,
    journal: SQLiteJournal,
    spans: Spans,
    caplog: pytest.LogCaptureFixture,
    looks: list[Any],
) -> None:
    """It is logged; the worker goes on, and so does whoever asks."""

    def look() -> None:
        until(lambda: len(looks) >= 2)  # before it has opened the file, it would make it anew
        assert spans.points("saga.open")
        for path in Path(journal.path).parent.glob("sagas.db*"):
            path.unlink()
        until(lambda: not spans.points("saga.open"))

    journal.close()
    while_it_works(say, look)

    assert "the journal can't be read for its metrics" in caplog.text
