"""Spans of sagas that outlive what they were begun in: a journal leads to it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import depot
import pytest
from commands import lack
from depot import ado, do
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from paths import SUPPORT, search_path
from pending import KEY, pending
from recorded import Faulty, bodies, chain, crashed
from spans import Shop, Spans, telling
from world import unmeasured

from py_api_saga import (
    JournalError,
    SagaAssembler,
    SagaStatus,
    answer,
    arecover,
    later,
    recover,
    takeover,
)
from py_api_saga.journal import MemoryJournal, SQLiteJournal
from py_api_saga.journal.changes import Create


@pytest.fixture
def in_memory() -> Iterator[Any]:
    """A journal in memory: what takes a while is not waited for with each kind."""
    depot.reset()
    yield MemoryJournal(modules=["depot"])
    depot.reset()


@pytest.fixture
def spans() -> Iterator[Spans]:
    """What is told while a test runs."""
    with telling() as spans:
        yield spans


def by_takeover(journal: Any) -> Any:
    """Take one saga over."""
    return takeover(journal, "x")


def by_arecover(journal: Any) -> Any:
    """Recover under asyncio."""
    return asyncio.run(arecover(journal))


def here(journal: Any) -> Any:
    """Recover in this very thread."""
    return recover(journal, max_workers=0)


WAYS = pytest.mark.parametrize("go_on", [recover, here, by_arecover, by_takeover])


def traced(span: ReadableSpan) -> tuple[int, int]:
    """Give the trace and the id of a span."""
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def links(span: ReadableSpan) -> list[tuple[tuple[int, int], Any]]:
    """Give where a span leads to, and what it says of that."""
    return [
        ((link.context.trace_id, link.context.span_id), (link.attributes or {})["saga.link"])
        for link in span.links
    ]


def definition(journal: Any, saga_id: str = "x") -> Any:
    """Give what the first entry of a saga says."""
    return json.loads(bodies(journal, saga_id)[0])[0][1]


def in_a_request(spans: Spans, act: Callable[[], object]) -> ReadableSpan:
    """Do something in a span, and give that span."""
    with spans.tracer.start_as_current_span("GET /checkout"):
        act()
    return spans.one("GET /checkout")


@WAYS
def test_what_is_recovered_is_a_trace_of_its_own_that_leads_to_the_first(
    journal: Any, go_on: Callable[[Any], Any], spans: Spans
) -> None:
    """A span can't outlive its process; the requests of each attempt are in that attempt."""
    shop = Shop()
    depot.behaviour["b"] = lambda: shop.post("/b")
    begun = in_a_request(spans, lambda: crashed(journal, chain("a", "b"), 2))
    assert [line for line in spans.tree() if "saga" in line] == [
        "  saga depot (open) JournalError ERROR"
    ]

    spans.clear()
    go_on(journal)

    assert spans.tree() == ["saga depot (completed)", "  b #2 (succeeded)", "    POST"]
    run = spans.one("saga depot")
    assert (run.attributes or {})["saga.recovered"] is True
    assert run.parent is None
    assert traced(run)[0] != traced(begun)[0]
    assert links(run) == [(traced(begun), "begun")]


@WAYS
@pytest.mark.parametrize("act", [do, ado])
def test_a_saga_that_was_started_leads_to_who_started_it(
    journal: Any, act: Any, go_on: Callable[[Any], Any], spans: Spans
) -> None:
    """Its run is the first one, so it is not recovered."""
    saga = SagaAssembler.saga(name="depot").operation((act, "a"), name="a")
    begun = in_a_request(spans, lambda: saga.start(journal=journal, saga_id="x"))

    spans.clear()
    go_on(journal)

    run = spans.one("saga depot")
    assert links(run) == [(traced(begun), "begun")]
    assert (run.attributes or {})["saga.recovered"] is False
    assert spans.tree() == ["saga depot (completed)", "  a (succeeded)"]


@WAYS
def test_what_is_recovered_may_be_part_of_the_first_trace(
    in_memory: Any, go_on: Callable[[Any], Any]
) -> None:
    """If that was asked for: as if the process had not died."""
    with telling(parent="parent") as spans:
        begun = in_a_request(spans, lambda: crashed(in_memory, chain("a", "b"), 2))
        spans.clear()
        go_on(in_memory)

    run = spans.one("saga depot")
    assert run.parent is not None
    assert (run.parent.trace_id, run.parent.span_id) == traced(begun)
    assert links(run) == []


def test_who_asks_by_the_id_has_it_in_his_own_trace(journal: Any, spans: Spans) -> None:
    """He waits for it; and it leads to where it was begun."""
    begun = in_a_request(spans, lambda: crashed(journal, chain("a", "b"), 2))
    spans.clear()
    again = in_a_request(
        spans, lambda: chain("a", "b").orchestrator_execute(journal=journal, saga_id="x")
    )

    assert spans.tree() == [
        "GET /checkout",
        "  saga depot (completed)",
        "    b #2 (succeeded)",
    ]
    run = spans.one("saga depot")
    assert (run.attributes or {})["saga.recovered"] is True
    assert links(run) == [(traced(begun), "begun")]
    assert traced(run)[0] == traced(again)[0]


@pytest.mark.parametrize("go_on", [here, by_arecover, by_takeover])
def test_who_recovers_in_a_span_is_led_to_as_well(
    in_memory: Any, go_on: Callable[[Any], Any], spans: Spans
) -> None:
    """As in a task: the sagas of many requests are not part of it. Threads of a pool know none."""
    begun = in_a_request(spans, lambda: crashed(in_memory, chain("a", "b"), 2))
    spans.clear()
    with spans.tracer.start_as_current_span("recovery"):
        go_on(in_memory)

    run, task = spans.one("saga depot"), spans.one("recovery")
    assert links(run) == [(traced(begun), "begun"), (traced(task), "recovering")]
    assert traced(run)[0] != traced(task)[0]


def test_a_saga_that_is_answered_for_has_no_span(journal: Any, spans: Spans) -> None:
    """Nothing of it ran here, and it is not counted again."""
    for _ in range(2):
        chain("a").orchestrator_execute(journal=journal, saga_id="x")

    assert spans.tree() == ["saga depot (completed)", "  a (succeeded)"]
    assert [count for _, count in spans.points("saga.duration")] == [1]


@pytest.mark.parametrize("sampled", [True, False])
@pytest.mark.parametrize("parent", ["link", "parent"])
def test_a_trace_that_was_not_kept_is_written_down_too(
    in_memory: Any,
    sampled: bool,  # noqa: FBT001
    parent: Any,
) -> None:
    """A link leaves it to the sampler whether the recovery is kept; a parent decides that."""
    first = ParentBased(ALWAYS_ON if sampled else ALWAYS_OFF)
    with telling(first) as spans, spans.tracer.start_as_current_span("GET /checkout"):
        crashed(in_memory, chain("a", "b"), 2)
    assert int(definition(in_memory)["trace"][-2:], 16) & 1 == sampled
    with telling(parent=parent) as spans:
        recover(in_memory)

    assert bool(spans.all) is (sampled or parent == "link")


@pytest.mark.usefixtures("spans")
def test_without_a_span_there_is_no_trace_in_the_journal(journal: Any) -> None:
    """It is as ever."""
    chain("a").orchestrator_execute(journal=journal, saga_id="x")
    assert "trace" not in definition(journal)


HOSTILE = [
    "",
    "00",
    "00-" + "0" * 32 + "-" + "0" * 16 + "-01",
    "ff-" + "1" * 32 + "-" + "1" * 16 + "-01",
    "00-" + "1" * 32 + "-" + "1" * 16,
    "00-" + "g" * 32 + "-" + "1" * 16 + "-01",
    "00-" + "1" * 32 + "-" + "1" * 16 + "-01-more",
    "00-" + "1" * 31 + "\n-" + "1" * 16 + "-01",
    "\x00" * 55,
    "\udcff",
    "x" * 100_000,
    1,
    None,
    True,
    ["00-1-1-01"],
    {"traceparent": "00"},
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("parent", ["link", "parent"])
def test_a_trace_that_is_none_is_ignored(in_memory: Any, text: Any, parent: Any) -> None:
    """A journal is input: whatever stands there, the saga is recovered, and tells of itself."""
    chain("a").start(journal=in_memory, saga_id="y")
    tree = definition(in_memory, "y")
    recover(in_memory)
    body = json.dumps([["defined", tree | {"trace": text}]])
    in_memory.write(Create("x", "depot", body, driven=False))
    with telling(parent=parent) as spans:
        (done,) = recover(in_memory)

    assert done.outcome is SagaStatus.COMPLETED
    assert spans.tree() == ["saga depot (completed)", "  a (succeeded)"]
    assert not spans.one("saga depot").links


@WAYS
def test_a_saga_that_is_let_go_is_open(
    in_memory: Any, go_on: Callable[[Any], Any], spans: Spans
) -> None:
    """And so is the call that this process is not set up for: it has no answer."""
    chain("a").start(journal=in_memory, saga_id="x")
    depot.behaviour["a"] = lack
    go_on(in_memory)

    run, call = spans.tree()
    assert run.startswith("saga depot (open)")
    assert call.startswith("  a (let go)")
    assert run.endswith("ERROR")
    assert call.endswith("ERROR")


def test_a_result_that_cant_be_kept_has_failed(journal: Any, spans: Spans) -> None:
    """As its entry says."""
    depot.behaviour["a"] = object
    with pytest.raises(Exception, match="cannot be kept"):
        chain("a").orchestrator_execute(journal=journal, saga_id="x")

    assert "  a (unstored) TypeError ERROR" in spans.tree()


def test_a_saga_that_could_not_be_written_down_has_no_outcome(in_memory: Any, spans: Spans) -> None:
    """It was not begun."""
    with pytest.raises(JournalError):
        chain("a").orchestrator_execute(journal=Faulty(in_memory, 0), saga_id="x")

    assert spans.tree() == ["saga depot JournalError ERROR"]
    assert spans.points("saga.duration") == []


KILLED = """
import os, signal, sys
import depot
from depot import do, undo
from spans import telling
from py_api_saga import SagaAssembler
from py_api_saga.journal import SQLiteJournal

depot.behaviour["b"] = lambda: os.kill(os.getpid(), signal.SIGKILL)
with telling() as spans, spans.tracer.start_as_current_span("GET /checkout") as here:
    print(here.get_span_context().trace_id, here.get_span_context().span_id, flush=True)
    journal = SQLiteJournal(sys.argv[1], modules=["depot"])
    saga = SagaAssembler.saga(name="depot", journal=journal)
    for name in "ab":
        saga.operation((do, name), (undo, name), name=name)
    saga.orchestrator_execute(saga_id="x")
"""


def test_what_a_killed_process_has_left_leads_to_it(tmp_path: Path, spans: Spans) -> None:
    """By SIGKILL, in the middle of a call: the other process has only the file."""
    path, shop = str(tmp_path / "sagas.db"), Shop()
    ran = subprocess.run(
        [sys.executable, "-c", KILLED, path],
        capture_output=True,
        text=True,
        env={**unmeasured(), "PYTHONPATH": search_path(SUPPORT)},
        check=False,
    )
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    depot.reset()
    depot.behaviour["b"] = lambda: shop.post("/b")

    with closing(SQLiteJournal(path, modules=["depot"])) as journal:
        recover(journal)
    depot.reset()

    assert spans.tree() == ["saga depot (completed)", "  b #2 (succeeded)", "    POST"]
    trace_id, span_id = map(int, ran.stdout.split())
    assert links(spans.one("saga depot")) == [((trace_id, span_id), "begun")]


# --- what waits for an answer ---------------------------------------------------------------------


def points(spans: Spans, name: str) -> list[tuple[Any, ...]]:
    """Give a counter's values, with the operation, the kind and the outcome of each."""
    of = ("saga.operation.name", "saga.operation.kind", "saga.operation.outcome")
    return [(*map(about.get, of), value) for about, value in spans.points(name)]


def told_of(span: ReadableSpan) -> list[tuple[Any, ...]]:
    """Give the events of a span: what each is called, of which call it is, and what came of it."""
    said = [(event.name, event.attributes or {}) for event in span.events]
    of = ("saga.operation.kind", "saga.operation.outcome")
    return [(name, *map(about.get, of)) for name, about in said]


@pytest.mark.parametrize("go_on", [True, False])
def test_no_span_lies_open_while_a_saga_waits(journal: Any, spans: Spans, go_on: bool) -> None:  # noqa: FBT001
    """The call's ends as it returns, the run's as nothing else is left; the answer is an event.

    That of whoever takes it in: another run, which leads to where the saga was begun.
    """
    begun = in_a_request(spans, lambda: pending(journal))
    assert spans.tree() == [
        "GET /checkout",
        "  saga depot (waiting)",
        "    a (succeeded)",
        "    b (later)",
    ]
    assert told_of(spans.one("saga depot")) == [("saga.waiting", "action", None)]
    assert points(spans, "saga.waits") == [("b", "action", None, 1)]

    spans.clear()
    answer(journal, KEY, result="B", go_on=go_on)
    if not go_on:
        recover(journal)

    assert spans.tree() == ["saga depot (completed)", "  c (succeeded)"]
    run = spans.one("saga depot")
    assert told_of(run) == [("saga.answered", "action", "answered")]
    assert links(run) == [(traced(begun), "begun")]
    assert points(spans, "saga.answers") == [("b", "action", "answered", 1)]
    assert points(spans, "saga.late_landings") == []
    outcomes = [about["saga.outcome"] for about, _ in spans.points("saga.duration")]
    assert sorted(outcomes) == ["completed", "waiting"]


def test_a_refusal_is_an_event_with_its_class_alone(journal: Any, spans: Spans) -> None:
    """Its text may be a secret, like that of any error."""
    pending(journal)
    spans.clear()

    answer(journal, KEY, error=PermissionError("KASIMIR was declined"))

    (event,) = spans.one("saga depot").events
    assert (event.attributes or {})["error.type"] == "builtins.PermissionError"
    assert "KASIMIR" not in str(event.attributes)
    assert points(spans, "saga.answers") == [("b", "action", "denied", 1)]
    assert spans.tree() == ["saga depot (compensated)", "  undo a (succeeded)"]


def test_what_succeeds_by_itself_has_not_landed_late(journal: Any, spans: Spans) -> None:
    """It was not given up: its time has come."""
    depot.behaviour["b"] = lambda: later(until=0, result="kept")

    chain("a", "b").orchestrator_execute(journal=journal, saga_id="x")

    assert spans.tree() == ["saga depot (completed)", "  a (succeeded)", "  b (later)"]
    assert points(spans, "saga.late_landings") == []
