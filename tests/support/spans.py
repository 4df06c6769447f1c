"""What OpenTelemetry was told: spans, as a tree, and metrics; and a shop behind a traced client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import requests
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import StatusCode
from requests.adapters import BaseAdapter

from py_api_saga.contrib.opentelemetry import instrument, uninstrument


class Spans:
    """What one process has told; times are those of the spans.

    Attributes:
        lose: Every so manieth span is left out; 0 for none.
    """

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.lose = 0
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler or ParentBased(ALWAYS_ON))
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader])
        self.tracer = self.provider.get_tracer("tests")

    @property
    def all(self) -> Sequence[ReadableSpan]:
        """All spans that have ended, as they began."""
        spans = sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
        return [span for number, span in enumerate(spans, 1) if number % (self.lose or number + 1)]

    def named(self, name: str) -> list[ReadableSpan]:
        """Give the spans of a name."""
        return [span for span in self.all if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        """Give the only one of a name."""
        (span,) = self.named(name)
        return span

    def tree(self) -> list[str]:
        """Give them as an outline: each below the one that it is part of, by two spaces."""
        ids = {span.context.span_id for span in self.all if span.context is not None}

        def walk(parent: int | None, depth: int) -> Iterator[str]:
            for span in self.all:
                above = span.parent.span_id if span.parent is not None else None
                if (above if above in ids else None) == parent and span.context is not None:
                    yield "  " * depth + told(span)
                    yield from walk(span.context.span_id, depth + 1)

        return [*walk(None, 0)]

    def points(self, name: str) -> list[tuple[Mapping[str, Any], Any]]:
        """Give what a metric has: attributes, and the value, or how often one was recorded."""
        data = self._reader.get_metrics_data()
        return [
            (dict(point.attributes or {}), getattr(point, "value", getattr(point, "count", None)))
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def clear(self) -> None:
        """Forget the spans."""
        self._exporter.clear()


def told(span: ReadableSpan) -> str:
    """Say in a line what a span says: its name, its attempt and outcome, and whether it failed."""
    about = span.attributes or {}
    number = about.get("saga.operation.attempt", 1)
    words = [span.name, f"#{number}" if number != 1 else ""]
    outcome = about.get("saga.operation.outcome", about.get("saga.outcome"))
    words.append(f"({outcome})" if outcome else "")
    words.append(str(about.get("error.type", "")))
    words.append("ERROR" if span.status.status_code is StatusCode.ERROR else "")
    return " ".join(filter(None, words))


@contextmanager
def telling(sampler: Sampler | None = None, **options: Any) -> Iterator[Spans]:
    """Have sagas, and the client of the shop, tell of what they do in a block."""
    spans = Spans(sampler)
    instrument(tracer_provider=spans.provider, meter_provider=spans.meters, **options)
    client = RequestsInstrumentor()
    client.instrument(tracer_provider=spans.provider, meter_provider=spans.meters)
    try:
        yield spans
    finally:
        client.uninstrument()
        uninstrument()
        spans.provider.shutdown()
        spans.meters.shutdown()


class Shop(BaseAdapter):
    """Stands for a service behind a connection.

    Attributes:
        traces: The trace that each request was part of, as its header said, by path.
    """

    def __init__(self) -> None:
        super().__init__()
        self.traces: dict[str, str | None] = {}

    def send(  # type: ignore[override]  # of all that a client says only this matters
        self, request: requests.PreparedRequest, **_: Any
    ) -> requests.Response:
        """Answer."""
        self.traces[request.path_url] = request.headers.get("traceparent")
        reply = requests.Response()
        reply.status_code, reply.request, reply.url = 200, request, str(request.url)
        reply._content = b"{}"  # noqa: SLF001 - there is no connection to read it from
        return reply

    def close(self) -> None:
        """Nothing is open."""

    def post(self, path: str) -> None:
        """Send a request, with the client that tells of it."""
        with requests.Session() as session:
            session.mount("http://", self)
            session.post(f"http://shop{path}")
