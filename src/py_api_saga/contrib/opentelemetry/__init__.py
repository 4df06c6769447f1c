"""Spans and metrics of every saga of a process, for OpenTelemetry.

Configures nothing: which spans are kept, and where they go, is decided by the provider that your
application, or `opentelemetry-instrument`, sets up.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Literal

try:
    from opentelemetry import metrics, trace
except ImportError as missing:
    needs = f"it needs OpenTelemetry: pip install 'py-api-saga[otel]' ({missing})"
    raise ImportError(needs) from missing

from py_api_saga.contrib.opentelemetry import naming
from py_api_saga.contrib.opentelemetry.measuring import Meters
from py_api_saga.contrib.opentelemetry.seeing import Tracing
from py_api_saga.exceptions import SagaDefinitionError, refused
from py_api_saga.executors.driving import look_on
from py_api_saga.release import VERSION

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["Instrumentor", "instrument", "uninstrument"]

_lock = threading.Lock()
_chosen: dict[str, Any] | None = None  # since it was instrumented


def instrument(
    *,
    parent: Literal["link", "parent"] = "link",
    record_exceptions: bool = False,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
) -> None:
    """Have every saga of this process make spans and metrics, from its next run on.

    Once for a process, before or after a provider is set up. Again with the same arguments it
    changes nothing.

    Args:
        parent: What the span of a saga that is recovered has of the span in which the saga was
            begun: "link" makes it a trace of its own, with a link to that; "parent" makes it part
            of that trace, and kept or dropped as that was.
        record_exceptions: Whether spans of calls say what was raised, with its text and its
            traceback, where arguments may be. Its class they say in any case.
        tracer_provider: Makes the spans; by default that of the process.
        meter_provider: The same for metrics.

    Raises:
        SagaDefinitionError: `parent` or `record_exceptions` is something else; or the process is
            instrumented already, with other arguments.
    """
    global _chosen  # noqa: PLW0603 - there is one for all
    if parent not in ("link", "parent"):
        raise refused("instrument: parent", '"link" or "parent"', parent)
    if type(record_exceptions) is not bool:
        raise refused("instrument: record_exceptions", "True or False", record_exceptions)
    chosen = {
        "parent": parent,
        "record_exceptions": record_exceptions,
        "tracer_provider": tracer_provider,
        "meter_provider": meter_provider,
    }
    with _lock:
        if _chosen == chosen:
            return
        if _chosen is not None:
            others = ", ".join(name for name, value in chosen.items() if _chosen[name] != value)
            message = (
                f"instrument: sagas are instrumented already, with another {others}: call it once, "
                "or uninstrument() before"
            )
            raise SagaDefinitionError(message)
        version = VERSION
        tracer = trace.get_tracer(naming.SCOPE, version, tracer_provider)
        meters = Meters(metrics.get_meter(naming.SCOPE, version, meter_provider))
        look_on(Tracing(tracer, meters, parent, record_exceptions=record_exceptions))
        _chosen = chosen


def uninstrument() -> None:
    """Have no saga do so that begins from now on; what runs goes on as it has begun."""
    global _chosen  # noqa: PLW0603 - as above
    with _lock:
        look_on(None)
        _chosen = None


class Instrumentor:
    """What `opentelemetry-instrument` finds, and calls in each process that it starts."""

    def instrument(self, **options: Any) -> None:
        """Call `instrument` with those of these options that it has."""
        known = instrument.__kwdefaults__ or {}
        instrument(**{name: value for name, value in options.items() if name in known})

    def uninstrument(self, **_: Any) -> None:
        """Call `uninstrument`."""
        uninstrument()
