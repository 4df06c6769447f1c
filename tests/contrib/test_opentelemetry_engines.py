"""Spans of calls that a worker of an engine makes: the saga itself is nowhere, and has none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import depot
import flask
import pytest
from depot import ado, do, fail, undo
from spans import Shop, Spans, telling
from workbench import Bench, driven, workshop, written
from world import PATIENCE

from py_api_saga import SagaAssembler, later
from py_api_saga.engines.errand import NotDeployed


@pytest.fixture
def spans() -> Iterator[Spans]:
    """What is told while a test runs."""
    depot.reset()
    with telling() as spans:
        yield spans
    depot.reset()


def chain(act: Any = do, **options: Any) -> SagaAssembler:
    """Make a saga of one operation, which can be undone, and another one."""
    saga = SagaAssembler.saga(name="depot").operation((act, "a"), (undo, "a"), name="a", **options)
    return saga.operation((do, "b"), name="b")


def begun_in(spans: Spans, saga: SagaAssembler) -> tuple[Bench, Any]:
    """Have a saga begun in a span, and give what drives it, and that span."""
    with spans.tracer.start_as_current_span("POST /orders"):
        rows = written(saga)
    return Bench(rows, workshop()), spans.one("POST /orders").context


@pytest.mark.parametrize("act", [do, ado])
def test_each_call_is_a_trace_of_its_own_that_leads_to_where_its_saga_was_begun(
    spans: Spans, act: Any
) -> None:
    """What it sends is part of it."""
    shop = Shop()
    depot.behaviour["a"] = lambda: shop.post("/a")
    depot.behaviour["b"] = fail(ValueError("no"))

    async def drive() -> Any:
        bench, context = begun_in(spans, chain(act))
        await bench.drive()
        return context

    context = asyncio.run(drive())
    assert spans.tree() == [
        "POST /orders",
        "a (succeeded)",
        "  POST",
        "b (failed) ValueError ERROR",
        "undo a (succeeded)",
    ]
    (link,) = spans.one("a").links
    leads_to = link.context.trace_id, link.context.span_id
    assert leads_to == (context.trace_id, context.span_id)
    assert dict(link.attributes or {}) == {"saga.link": "begun"}
    about = dict(spans.one("undo a").attributes or {})
    assert about["saga.id"] == "x"
    assert about["saga.name"] == "depot"


def test_they_may_be_part_of_the_first_trace() -> None:
    """If that is asked for; hours apart, perhaps."""
    depot.reset()
    with telling(parent="parent") as spans:

        async def drive() -> None:
            bench, _ = begun_in(spans, chain())
            await bench.drive()

        asyncio.run(drive())

        assert spans.tree() == ["POST /orders", "  a (succeeded)", "  b (succeeded)"]


def test_a_saga_that_was_begun_in_no_span_leads_nowhere(spans: Spans) -> None:
    """And one without a name has none."""
    driven(SagaAssembler.saga().operation((do, "a"), name="a"))

    span = spans.one("a")
    assert (span.parent, list(span.links)) == (None, [])
    assert "saga.name" not in (span.attributes or {})


def test_a_call_that_waits_has_ended(spans: Spans) -> None:
    """Nobody knows for how long it does."""
    depot.behaviour["a"] = lambda: later(timeout=60)

    driven(chain())

    assert spans.tree() == ["a (later)"]
    ((_, waits),) = spans.points("saga.waits")
    assert waits == 1


def test_what_lands_late_is_counted(spans: Spans) -> None:
    """Its span has ended when it was given up."""
    opened = threading.Event()
    depot.behaviour["a"] = lambda: opened.wait(PATIENCE)
    depot.behaviour["undo a"] = opened.set

    driven(chain(timeout=0.05))

    assert spans.tree()[0] == "a (in doubt) TimeoutError ERROR"
    ((about, count),) = spans.points("saga.late_landings")
    assert (about["saga.operation.name"], count) == ("a", 1)


def test_a_call_for_which_a_worker_is_not_set_up_is_let_go(spans: Spans) -> None:
    """Nobody hears what came of it."""
    depot.behaviour["a"] = lambda: flask.current_app.name

    with pytest.raises(NotDeployed):
        driven(chain())

    assert spans.tree() == ["a (let go) RuntimeError ERROR"]


def test_what_goes_wrong_in_telling_changes_nothing(
    spans: Spans, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As of any run."""
    monkeypatch.setattr(
        "py_api_saga.contrib.opentelemetry.measuring.Meters.call", fail(ValueError())
    )

    driven(chain())

    assert depot.log == ["a", "b"]
    assert "OpenTelemetry could not be told of a saga" in caplog.text
    assert spans.all == []
