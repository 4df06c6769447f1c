"""Spans and metrics of sagas: what they are part of, what they say, and what they never say."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
import tomllib
import weakref
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, NoReturn

import pytest
from opentelemetry import baggage, context
from opentelemetry import trace as traces
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import NoOpTracerProvider
from paths import ROOT
from spans import Shop, Spans, telling
from ways import LATER, PLAIN, Way
from world import HOUR, PATIENCE, Clock, Watch, World, failure_of, steps, until, until_gone

from py_api_saga import (
    NOT_HAPPENED,
    UNKNOWN,
    Retry,
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    SagaStuck,
    happened,
)
from py_api_saga.contrib.opentelemetry import instrument, uninstrument
from py_api_saga.executors import driving

AT_ONCE = Retry(ConnectionRefusedError, attempts=2, wait_initial=0, wait_jitter=0)


@pytest.fixture
def spans() -> Iterator[Spans]:
    """What is told while a test runs."""
    with telling() as spans:
        yield spans


@pytest.fixture
def shop() -> Shop:
    """A service that counts as elsewhere."""
    return Shop()


def checkout(way: Way, shop: Shop, **options: Any) -> SagaAssembler:
    """Reserve, charge, which works the second time, and book, which does not."""
    tries: list[int] = []

    def charge() -> None:
        shop.post("/charge")
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionRefusedError("KASIMIR was declined")

    def book() -> NoReturn:
        shop.post("/book")
        raise PermissionError("no van for KASIMIR")

    def post(path: str) -> Callable[[], None]:
        return lambda: shop.post(path)

    return (
        SagaAssembler.saga(name="checkout")
        .operation(way.of(post("/reserve")), way.of(post("/release")), name="reserve", **options)
        .operation(
            way.of(charge),
            way.of(post("/refund")),
            name="charge",
            after="reserve",
            retry=AT_ONCE,
            **options,
        )
        .operation(way.of(book), name="book", after="charge", **options)
    )


ALL_OF_IT = [
    "GET /checkout",
    "  saga checkout (compensated)",
    "    reserve (succeeded)",
    "      POST",
    "    charge (retry) ConnectionRefusedError ERROR",
    "      POST",
    "    charge #2 (succeeded)",
    "      POST",
    "    book (failed) PermissionError ERROR",
    "      POST",
    "    undo charge (succeeded)",
    "      POST",
    "    undo reserve (succeeded)",
    "      POST",
]


@pytest.mark.parametrize("timeout", [None, 2 * PATIENCE])
def test_each_request_is_part_of_the_attempt_that_sent_it(
    way: Way, shop: Shop, spans: Spans, timeout: float | None
) -> None:
    """In each executor, also in the thread of a call whose time is limited; and its header says so.

    A saga that was undone as it should be has not failed, as far as a trace goes.
    """
    with spans.tracer.start_as_current_span("GET /checkout"), pytest.raises(SagaException):
        way.execute(checkout(way, shop, timeout=timeout))

    assert spans.tree() == ALL_OF_IT
    sent = {span.context.span_id for span in spans.named("POST") if span.context is not None}
    assert {int(str(trace).split("-")[2], 16) for trace in shop.traces.values()} < sent


def test_a_span_says_which_call_it_is_and_nothing_that_is_the_users(
    way: Way, shop: Shop, spans: Spans
) -> None:
    """All attributes there are; and no text of an error, where arguments often are."""
    with pytest.raises(SagaException):
        way.execute(checkout(way, shop), saga_id="order-1")

    assert spans.one("saga checkout").attributes == {
        "saga.id": "order-1",
        "saga.name": "checkout",
        "saga.recovered": False,
        "saga.outcome": "compensated",
    }
    assert [dict(span.attributes or {}) for span in spans.named("charge")] == [
        {
            "saga.id": "order-1",
            "saga.name": "checkout",
            "saga.operation.name": "charge",
            "saga.operation.kind": "action",
            "saga.operation.attempt": 1,
            "saga.operation.outcome": "retry",
            "error.type": "ConnectionRefusedError",
        },
        {
            "saga.id": "order-1",
            "saga.name": "checkout",
            "saga.operation.name": "charge",
            "saga.operation.kind": "action",
            "saga.operation.attempt": 2,
            "saga.operation.outcome": "succeeded",
        },
    ]
    said = [span.to_json() for span in spans.all]
    assert not [text for text in said if "KASIMIR" in text]
    assert [span.events for span in spans.all] == [()] * len(spans.all)


def test_what_was_raised_is_said_in_full_if_asked_for(way: Way, shop: Shop) -> None:
    """With its text and its traceback, as other libraries do it."""
    with telling(record_exceptions=True) as spans, pytest.raises(SagaException):
        way.execute(checkout(way, shop))

    (event,) = spans.one("book").events
    assert (event.attributes or {})["exception.message"] == "no van for KASIMIR"


def test_a_saga_without_a_name_is_called_a_saga(way: Way, spans: Spans, world: World) -> None:
    """And has no name for an attribute either."""
    way.execute(SagaAssembler.saga().operation(way.of(lambda: world.do("a")), name="a"))

    assert spans.tree() == ["saga (completed)", "  a (succeeded)"]
    assert "saga.name" not in (spans.one("a").attributes or {})


def test_a_stuck_saga_has_failed(way: Way, spans: Spans, world: World) -> None:
    """As its undo that did not work has."""

    def fail(name: str) -> NoReturn:
        world.fail(name, OSError(name))

    saga = (
        SagaAssembler.saga(name="checkout")
        .operation((way.of(world.do), "a"), (way.of(fail), "undo a"), name="a")
        .operation((way.of(fail), "b"), name="b", after="a")
    )
    with pytest.raises(SagaStuck):
        way.execute(saga)

    assert spans.tree() == [
        "saga checkout (stuck) SagaStuck ERROR",
        "  a (succeeded)",
        "  b (failed) OSError ERROR",
        "  undo a (failed) OSError ERROR",
    ]


@pytest.mark.parametrize(
    ("answer", "word"),
    [(happened("A"), "happened"), (NOT_HAPPENED, "not happened"), (UNKNOWN, "unknown")],
    ids=["happened", "not happened", "unknown"],
)
def test_a_question_has_a_span_of_its_own(
    way: Way, spans: Spans, world: World, answer: Any, word: str
) -> None:
    """What was in doubt, what was asked, and what the answer was, which is not an error."""

    def ask(_: str) -> Any:
        return answer

    def lost(name: str) -> NoReturn:
        world.fail(name, ConnectionResetError("lost"))

    saga = SagaAssembler.saga().operation(
        (way.of(lost), "a"), (way.of(world.undo), "a"), name="a", on_doubt=way.of(ask)
    )
    with pytest.raises(SagaException):
        way.execute(saga)

    undone = [] if answer is NOT_HAPPENED else ["  undo a (succeeded)"]
    assert spans.tree() == [
        "saga (compensated)",
        "  a (in doubt) ConnectionResetError ERROR",
        f"  ask a ({word})",
        *undone,
    ]


def test_a_saga_in_an_operation_is_part_of_it(way: Way, spans: Spans, world: World) -> None:
    """Whoever runs the inner one."""

    def inner() -> None:
        steps(world, "b", name="inner").choreography_execute()

    way.execute(SagaAssembler.saga(name="outer").operation(way.of(inner), name="a"))

    assert spans.tree() == [
        "saga outer (completed)",
        "  a (succeeded)",
        "    saga inner (completed)",
        "      b (succeeded)",
    ]


def test_what_a_request_carries_along_its_calls_carry(way: Way, spans: Spans) -> None:
    """The baggage of whoever runs the saga is that of each call, and is there after it."""
    carried: list[object] = []
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    try:
        way.execute(
            SagaAssembler.saga().operation(
                way.of(lambda: carried.append(baggage.get_baggage("tenant"))), name="a"
            )
        )
        assert baggage.get_baggage("tenant") == "acme"
        assert not traces.get_current_span().get_span_context().is_valid
    finally:
        context.detach(token)

    assert carried == ["acme"]
    assert spans.tree() == ["saga (completed)", "  a (succeeded)"]


@pytest.mark.parametrize("sampled", [True, False])
def test_a_saga_is_kept_if_what_it_is_part_of_is(way: Way, shop: Shop, sampled: bool) -> None:  # noqa: FBT001
    """The client's spans as well: all of a trace, or nothing of it."""
    root = ALWAYS_ON if sampled else ALWAYS_OFF
    with telling(ParentBased(root)) as spans:  # noqa: SIM117
        with spans.tracer.start_as_current_span("GET /checkout"), pytest.raises(SagaException):
            way.execute(checkout(way, shop))

    assert spans.tree() == (ALL_OF_IT if sampled else [])
    assert {int(str(trace)[-2:], 16) & 1 for trace in shop.traces.values()} == {sampled}


# --- calls that are given up ----------------------------------------------------------------------


@pytest.mark.parametrize("method", [*PLAIN, *LATER])
def test_a_call_whose_time_is_up_ends_then_and_may_land_late(
    method: str, spans: Spans, world: World, clock: Clock
) -> None:
    """Its span is in doubt, however long the function goes on; what follows is part of the saga."""
    way, opened = Way(method, coroutines=False), threading.Event()
    saga = (
        SagaAssembler.saga(name="checkout")
        .operation((world.gate, "a", opened), (world.undo, "a"), name="a", timeout=HOUR)
        .operation((world.do, "b"), name="b", after="a")
    )
    watch = Watch()
    saga.observers = [watch]
    passes = threading.Thread(target=pass_once_begun, args=(world, clock))
    passes.start()
    raised = failure_of(way.execute, saga)
    passes.join()

    assert raised.outcome is not None
    before = spans.tree()
    assert "  a (in doubt) TimeoutError ERROR" in before
    opened.set()
    watch.wait_for("landed late", "a")
    until(lambda: spans.points("saga.late_landings"))
    about = {
        "saga.name": "checkout",
        "saga.operation.name": "a",
        "saga.operation.kind": "action",
    }
    assert spans.points("saga.late_landings") == [(about, 1)]
    assert spans.points("saga.in_doubt") == [(about, 1)]


def pass_once_begun(world: World, clock: Clock) -> None:
    """Let more time pass than a call has, once it has begun, however slow the machine is."""
    world.wait_for("a begins")
    clock.forward(2 * HOUR)


def test_a_call_that_was_given_up_and_fails_has_not_landed(
    spans: Spans, world: World, clock: Clock
) -> None:
    """Nothing is counted twice."""
    opened = threading.Event()

    def fail() -> NoReturn:
        world.note("a begins")
        assert opened.wait(PATIENCE)
        world.fail("over", OSError("late"))

    saga = SagaAssembler.saga().operation(fail, (world.undo, "a"), name="a", timeout=HOUR)
    passes = threading.Thread(target=pass_once_begun, args=(world, clock))
    passes.start()
    failure_of(lambda saga: saga.orchestrator_execute(), saga)
    passes.join()
    opened.set()
    world.wait_for("over")
    until(lambda: not [one for one in threading.enumerate() if one.name == "saga a"])

    assert spans.points("saga.late_landings") == []
    assert len(spans.named("a")) == 1


def test_a_saga_that_was_left_in_the_middle_is_stuck(spans: Spans, world: World) -> None:
    """By a second Ctrl-C, which ends the rollback too."""

    def strike(name: str) -> NoReturn:
        world.fail(name, KeyboardInterrupt())

    saga = (
        steps(world, "a")
        .operation((world.do, "b"), (strike, "undo b"), name="b")
        .operation((strike, "c"), name="c")
    )
    with pytest.raises(KeyboardInterrupt):
        saga.orchestrator_execute()

    first, *_ = spans.tree()
    assert first == "saga (stuck) KeyboardInterrupt ERROR"


# --- metrics --------------------------------------------------------------------------------------


def test_runs_and_calls_are_counted(way: Way, shop: Shop, spans: Spans) -> None:
    """By names and outcomes, never by ids."""
    for _ in range(2):
        with pytest.raises(SagaException):
            way.execute(checkout(way, shop))

    named: dict[str, Any] = {"saga.name": "checkout"}
    assert spans.points("saga.duration") == [({**named, "saga.outcome": "compensated"}, 2)]
    charge = {**named, "saga.operation.name": "charge", "saga.operation.kind": "action"}
    attempts = spans.points("saga.attempts")
    assert (charge, 4) in attempts
    assert len(attempts) == 5
    calls = spans.points("saga.operation.duration")
    assert ({**charge, "saga.operation.outcome": "retry"}, 2) in calls
    assert ({**charge, "saga.operation.outcome": "succeeded"}, 2) in calls
    assert len(calls) == 6


# --- what goes wrong in telling -------------------------------------------------------------------


class Broken(SpanProcessor):
    """Raises whenever it is told something."""

    def on_start(self, *_: Any, **__: Any) -> NoReturn:
        """Raise."""
        message = "on_start"
        raise RuntimeError(message)

    def on_end(self, *_: Any) -> NoReturn:
        """Raise."""
        message = "on_end"
        raise RuntimeError(message)


class EndBroken(Broken):
    """Raises in the end only."""

    def on_start(self, *_: Any, **__: Any) -> None:  # type: ignore[override]
        """Do nothing."""


@pytest.mark.parametrize("processor", [Broken, EndBroken])
def test_a_saga_runs_as_without_it_whatever_is_wrong_there(
    way: Way, world: World, processor: type[SpanProcessor], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged; no call fails of it, and none is made twice."""
    provider = TracerProvider()
    provider.add_span_processor(processor())
    instrument(tracer_provider=provider)
    try:
        way.execute(SagaAssembler.saga().operation((way.of(world.do), "a"), name="a"))
    finally:
        uninstrument()

    assert world.log == ["a"]
    assert {record.message.split(":")[0] for record in caplog.records} == {
        "OpenTelemetry could not be told of a saga"
    }


@pytest.mark.parametrize("processor", [Broken, EndBroken])
def test_a_time_limit_that_strikes_there_counts_as_anywhere(
    execute: Any, world: World, processor: type[SpanProcessor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saga is undone, and the limit is raised again."""
    limit = type("SoftTimeLimitExceeded", (Exception,), {"__module__": "celery.exceptions"})

    def strike(*_: Any, **__: Any) -> NoReturn:
        raise limit

    monkeypatch.setattr(processor, "on_end", strike)
    if processor is Broken:
        monkeypatch.setattr(processor, "on_start", strike)
    provider = TracerProvider()
    provider.add_span_processor(processor())
    instrument(tracer_provider=provider)
    try:
        with pytest.raises(limit):
            execute(steps(world, "a", "b"))
    finally:
        uninstrument()

    assert world.standing == []


def test_a_coroutine_that_is_thrown_away_leaves_no_complaint(
    spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    """As a loop does that is closed: the context that was there is gone with it."""

    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        running = SagaAssembler.saga(name="x").operation(hang, name="a").aorchestrator_execute()
        begun = running.__await__()
        next(begun)
        held.append(begun)

    held: list[Any] = []
    asyncio.run(main())
    held.pop().close()

    assert spans.tree() == [
        "saga x (open) GeneratorExit ERROR",
        "  a (let go)",
    ]
    assert not [record for record in caplog.records if "detach" in record.message]


def test_a_run_is_freed_as_it_ends(way: Way, spans: Spans) -> None:
    """What has seen it does not keep it, nor what its calls were given."""

    class Large:
        """Stands for what takes room."""

    def run() -> list[weakref.ref[Any]]:
        large = Large()
        way.execute(SagaAssembler.saga().operation((way.of(lambda _: None), large), name="a"))
        return [weakref.ref(large)]

    until_gone(run)
    assert spans.tree()


# --- turning it on and off ------------------------------------------------------------------------


def test_it_is_turned_on_once(world: World) -> None:
    """Again with the same arguments changes nothing; with others it is refused, in words."""
    with telling() as spans:
        same: dict[str, Any] = {"tracer_provider": spans.provider, "meter_provider": spans.meters}
        instrument(**same)
        with pytest.raises(
            SagaDefinitionError,
            match="instrumented already, with another parent, record_exceptions: call it once",
        ):
            instrument(**same, parent="parent", record_exceptions=True)
        steps(world, "a").orchestrator_execute()

    assert spans.tree() == ["saga (completed)", "  a (succeeded)"]


def test_what_begins_after_it_was_turned_off_tells_nothing(execute: Any, world: World) -> None:
    """And it may be turned on again."""
    with telling() as spans:
        uninstrument()
        uninstrument()
        execute(steps(world, "a"))
        instrument(tracer_provider=spans.provider, parent="parent")
        execute(steps(world, "b"))

    assert spans.tree() == ["saga (completed)", "  b (succeeded)"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parent": "child"}, """instrument: parent: expected "link" or "parent", got 'child'"""),
        ({"parent": None}, 'instrument: parent: expected "link" or "parent", got None'),
        (
            {"record_exceptions": 1},
            "instrument: record_exceptions: expected True or False, got 1",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(options: Any, message: str) -> None:
    """Before anything is turned on."""
    with pytest.raises(SagaDefinitionError) as caught:
        instrument(**options)

    assert str(caught.value) == message
    assert driving.onlooker is None


def test_a_process_that_is_instrumented_from_outside_finds_it(world: World) -> None:
    """By the entry point, and with options that are meant for others."""
    declared = tomllib.loads(Path(ROOT, "pyproject.toml").read_text())
    ((name, path),) = declared["project"]["entry-points"]["opentelemetry_instrumentor"].items()
    instrumentor = EntryPoint(name, path, "opentelemetry_instrumentor").load()()
    with telling() as spans:
        uninstrument()
        instrumentor.instrument(skip_dep_check=True, tracer_provider=spans.provider)
        steps(world, "a").orchestrator_execute()
        instrumentor.uninstrument(skip_dep_check=True)

    assert spans.tree() == ["saga (completed)", "  a (succeeded)"]


def test_without_a_provider_it_does_nothing(execute: Any, world: World) -> None:
    """As for a library that uses OpenTelemetry in an application that does not."""
    instrument(tracer_provider=NoOpTracerProvider(), meter_provider=NoOpMeterProvider())
    try:
        execute(steps(world, "a"))
        with pytest.raises(SagaException):
            execute(steps(world, "a").operation(int, name="b").operation((int, "x"), after="b"))
    finally:
        uninstrument()

    assert world.log == ["a", "a", "undo a"]


def script(text: str) -> list[str]:
    """Run a process of its own, measured, and give the lines that it prints."""
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_who_does_not_ask_for_it_does_not_import_it() -> None:
    """Neither do sagas, nor the command; and where it is not installed, that is said."""
    said = script(
        """
        import sys
        sys.modules["opentelemetry"] = None  # as if it were not installed
        from py_api_saga import SagaAssembler, recover
        from py_api_saga.journal import MemoryJournal
        import py_api_saga.cli.worker
        journal = MemoryJournal(modules=["builtins"])
        SagaAssembler.saga().operation(int, name="a").orchestrator_execute(journal=journal)
        SagaAssembler.saga().operation(int, name="a").start(journal=journal)
        print(recover(journal)[0].outcome.name)
        print([name for name in sys.modules if "opentelemetry" in name])
        try:
            import py_api_saga.contrib.opentelemetry
        except ImportError as error:
            print(error)
        """
    )

    assert said == [
        "COMPLETED",
        "['opentelemetry']",
        (
            "it needs OpenTelemetry: pip install 'py-api-saga[otel]' (import of opentelemetry "
            "halted; None in sys.modules)"
        ),
    ]
