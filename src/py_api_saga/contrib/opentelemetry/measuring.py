"""What is counted of runs and their calls, and in a journal that a worker is at."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from opentelemetry.metrics import Observation

from py_api_saga import clock
from py_api_saga.contrib.opentelemetry import naming
from py_api_saga.contrib.opentelemetry.naming import sound
from py_api_saga.entries import IN_DOUBT
from py_api_saga.exceptions import SagaError
from py_api_saga.log import complain
from py_api_saga.story.attention import Attention, attention
from py_api_saga.story.gauges import gauges

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import CallbackOptions, Meter

    from py_api_saga.journal.lasting import LastingJournal

_FRESH = 0.1  # seconds for which a journal is not read again: there are eight that ask

About = Mapping[str, str]


class Meters:
    """The instruments of one process."""

    def __init__(self, meter: Meter) -> None:
        """Make them."""
        self._runs = meter.create_histogram(
            naming.RUN_DURATION,
            "s",
            "How long sagas were driven, by how they ended.",
            explicit_bucket_boundaries_advisory=naming.BUCKETS,
        )
        self._calls = meter.create_histogram(
            naming.CALL_DURATION,
            "s",
            "How long attempts of calls took, by how they ended.",
            explicit_bucket_boundaries_advisory=naming.BUCKETS,
        )
        self._attempts = meter.create_counter(naming.ATTEMPTS, "1", "Attempts of calls.")
        self._doubts = meter.create_counter(
            naming.IN_DOUBTS, "1", "Attempts after which nobody knew what came of them."
        )
        self._landings = meter.create_counter(
            naming.LATE_LANDINGS, "1", "Calls that were given up, and succeeded after all."
        )
        self._waits = meter.create_counter(
            naming.WAITS, "1", "Calls that have only begun something, and wait for an answer."
        )
        self._answers = meter.create_counter(
            naming.ANSWERS, "1", "Answers to such calls, by whether they took effect."
        )
        self._places: list[Place] = []
        for name, unit, says, _ in gauges(_NOTHING):
            observed = [self._observed(name)]
            meter.create_observable_gauge(naming.GAUGES[name], observed, unit, says)

    def run(self, seconds: float, about: About, context: Context) -> None:
        """Count a run."""
        self._runs.record(seconds, about, context)

    def call(self, seconds: float, about: About, outcome: str, context: Context) -> None:
        """Count an attempt of a call."""
        self._calls.record(seconds, {**about, naming.CALL_OUTCOME: outcome}, context)
        self._attempts.add(1, about, context)
        if outcome == IN_DOUBT:
            self._doubts.add(1, about, context)

    def late(self, about: About) -> None:
        """Count a call that has landed late."""
        self._landings.add(1, about)

    def wait(self, about: About) -> None:
        """Count a call that waits for an answer."""
        self._waits.add(1, about)

    def answer(self, about: About, outcome: str) -> None:
        """Count an answer."""
        self._answers.add(1, {**about, naming.CALL_OUTCOME: outcome})

    # --- what the journals of workers say --------------------------------------------------------

    @contextmanager
    def watching(self, journal: LastingJournal) -> Iterator[None]:
        """Tell what is in a journal, whenever somebody asks, in a `with` block."""
        self._places.append(place := Place(journal))
        try:
            yield
        finally:
            self._places.remove(place)

    def _observed(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            for place in self._places.copy():
                there, figures = place.figures()
                for saga, value in figures.get(name, {}).items():
                    named = {naming.SAGA_NAME: sound(saga)} if saga else {}
                    yield Observation(value, {naming.JOURNAL: there, **named})

        return observe


_NOTHING = Attention((), (), (), (), (), {}, (), {}, (), 0.0)

Figures: TypeAlias = Mapping[str, Mapping[str, float]]  # by gauge, and by the name of the saga


class Place:
    """A journal, as it was a moment ago."""

    def __init__(self, journal: LastingJournal) -> None:
        """Read nothing yet."""
        self._journal = journal
        self._lock = threading.Lock()  # whoever asks does so in threads of their own
        self._figures: tuple[str, Figures] = "", {}
        self._due = clock.monotonic()

    def figures(self) -> tuple[str, Figures]:
        """Give where it is, and its figures; none if it can't be read just now."""
        with self._lock:
            if clock.monotonic() >= self._due:
                self._due = clock.monotonic() + _FRESH
                self._figures = self._read()
            return self._figures

    def _read(self) -> tuple[str, Figures]:
        try:
            with self._journal.onlooker() as view:
                return view.place, {one.name: one.values for one in gauges(attention(view))}
        except SagaError as error:
            complain("the journal can't be read for its metrics", error=error)
            return "", {}
