"""What is counted of runs and their calls, and in a journal that a worker is at."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from py_api_saga import clock
from py_api_saga.contrib.opentelemetry import naming
from py_api_saga.entries import IN_DOUBT
from py_api_saga.exceptions import SagaError
from py_api_saga.journal.changes import OPEN
from py_api_saga.log import complain
from py_api_saga.status import SagaStatus

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import CallbackOptions, Meter

    from py_api_saga.journal.lasting import LastingJournal, View

_FRESH = 0.1  # seconds for which a journal is not read again: there are four that ask

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
        self._places: list[Place] = []
        for name, (unit, says) in GAUGES.items():
            meter.create_observable_gauge(name, [self._observed(name)], unit, says)

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
                for there, figures in place.figures().items():
                    yield Observation(figures[name], {naming.JOURNAL: there})

        return observe


GAUGES = {
    naming.STUCK_SAGAS: ("1", "Sagas that need a person."),
    naming.OPEN_SAGAS: ("1", "Sagas that have not ended."),
    naming.OLDEST: ("s", "How long ago the oldest open saga was begun."),
    naming.TRIES: ("1", "How often recovery has tried the open saga that it has tried most."),
}


class Place:
    """A journal, as it was a moment ago."""

    def __init__(self, journal: LastingJournal) -> None:
        """Read nothing yet."""
        self._journal = journal
        self._lock = threading.Lock()  # whoever asks does so in threads of their own
        self._figures: Mapping[str, Mapping[str, float]] = {}
        self._due = clock.monotonic()

    def figures(self) -> Mapping[str, Mapping[str, float]]:
        """Give the figures by the place that they are of; empty if it can't be read just now."""
        with self._lock:
            if clock.monotonic() >= self._due:
                self._due = clock.monotonic() + _FRESH
                self._figures = self._read()
            return self._figures

    def _read(self) -> Mapping[str, Mapping[str, float]]:
        try:
            with self._journal.reader() as view:
                return {view.place: _counted(view)}
        except SagaError as error:
            complain("the journal can't be read for its metrics", error=error)
            return {}


def _counted(view: View) -> Mapping[str, float]:
    sagas, now = view.select({SagaStatus.STUCK, *OPEN}), view.now()
    open_ones = [seen for seen in sagas if seen.status in OPEN]
    return {
        naming.STUCK_SAGAS: len(sagas) - len(open_ones),
        naming.OPEN_SAGAS: len(open_ones),
        naming.OLDEST: max((now - seen.created for seen in open_ones), default=0.0),
        naming.TRIES: max((seen.tries for seen in open_ones), default=0),
    }
