"""Explores sagas that tell OpenTelemetry of themselves, and holds that against their journals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan
from spans import Spans, telling

from py_api_saga import SagaStatus
from py_api_saga.entries import STARTED, Entry, attempt_of, what_of
from py_api_saga.journal.format.sagas import Recorded, read_rows
from py_api_saga.journal.format.values import Values
from py_api_saga.testing import explore
from py_api_saga.testing.asked import How

from .shop import World, awaited, chain, fan

# What comes of a call that is made only after it was given up: nobody has seen it begin then.
UNSEEN = ("late-effect",)
SAGAS: Mapping[str, tuple[Callable[[World], Any], How]] = {
    "chain": (chain, "orchestrator"),
    "fan": (fan, "choreography"),
    "awaited": (awaited, "orchestrator"),
}

Call = tuple[object, ...]  # operation, kind, attempt, outcome


class Tried(NamedTuple):
    """What was looked at.

    Attributes:
        schedules: How many.
        calls: How many of their calls had a span, by outcome.
        runs: How many of their runs had one, by outcome.
    """

    schedules: int
    calls: Counter[object]
    runs: Counter[object]


def recorded(world: World) -> Recorded:
    """Read the one saga of a world."""
    (seen,) = world.journal.select()
    rows = world.journal.rows([seen.number])[seen.number]
    return read_rows(rows, Values(world.journal))


def written(saga: Recorded) -> Iterator[Call]:
    """Yield what the journal says of each attempt: what was told of it first, or that nothing was.

    What comes later is a late landing.
    """
    names, first = saga.definition.names.all(), dict[Any, Entry]()
    for entry in saga.entries:
        if attempt_of(entry)[1]:
            attempt = attempt_of(entry)
            if what_of(first.setdefault(attempt, entry)) == STARTED:
                first[attempt] = entry
    for (i, kind, number, _), entry in first.items():
        what = what_of(entry)
        yield names[i], kind, number, "let go" if what == STARTED else what


def seen(spans: Spans) -> Iterator[Call]:
    """Yield what the spans of calls say."""
    for span in spans.all:
        about = span.attributes or {}
        if "saga.operation.name" in about:
            yield tuple(about[f"saga.operation.{word}"] for word in WORDS)


WORDS = ("name", "kind", "attempt", "outcome")


class Watching:
    """Compares, after each schedule, what was told with what is on record."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans
        self.tried = Tried(0, Counter(), Counter())

    def world(self) -> World:
        """Begin a schedule."""
        self._spans.clear()
        return World()

    def check(self, world: World, outcome: SagaStatus) -> None:
        """Look at the end of one."""
        saga, spans = recorded(world), self._spans
        on_record, told = Counter(written(saga)), Counter(seen(spans))
        # A process that dies before a call has written down that it makes it, and no more.
        lacking = [call for call in (on_record - told).elements() if call[-1] != "let go"]
        odd = [*(told - on_record).elements()]
        assert not lacking, f"there is no span of {lacking}"
        assert not odd, f"there is a span of {odd}"
        runs = [span for span in spans.all if span.name == f"saga {saga.plan.name}"]
        assert runs, "there is no span of a run"
        for span in spans.all:
            if span not in runs:
                assert any(is_within(span, run) for run in runs), f"{span.name} is astray"
        ends = [(run.attributes or {}).get("saga.outcome") for run in runs]
        assert ends[-1] == outcome.value, f"runs have ended {ends}"
        recovered = [(run.attributes or {})["saga.recovered"] for run in runs]
        assert recovered == [False, *[True] * (len(runs) - 1)], f"recovered: {recovered}"
        before = self.tried
        self.tried = Tried(
            before.schedules + 1,
            before.calls + Counter(call[-1] for call in told.elements()),
            before.runs + Counter(ends),
        )


def is_within(span: ReadableSpan, run: ReadableSpan) -> bool:
    """Tell whether a span is right below that of a run."""
    assert run.context is not None
    return span.parent is not None and span.parent.span_id == run.context.span_id


def tried(name: str, more: int = 0, *, lose: int = 0, replay: str | None = None) -> Tried:
    """Explore a saga: each fault, and so many schedules of two.

    Args:
        name: Of one of the sagas.
        more: How many schedules of two faults, at most.
        lose: Every so manieth span is lost on the way, to show that it is missed; 0 for none.
        replay: The one schedule that is run, if not all.

    Raises:
        AssertionError: What was told is not what is on record.
    """
    saga, how = SAGAS[name]
    with telling() as spans:
        spans.lose = lose
        watching = Watching(spans)
        explore(
            saga,
            world=watching.world,
            state=World.ledgers,
            check=watching.check,
            how=how,
            faults=2 if more else 1,
            limit=more or 1,
            without=UNSEEN,
            modules=["traced.shop"],
            blind=False,
            replay=replay,
        )
    return watching.tried
