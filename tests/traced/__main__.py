"""The proof: `python -m tests.traced --schedules 500`.

Explores sagas, and holds what OpenTelemetry was told of each schedule against the journal: as many
spans as attempts, each with its outcome, each below the run that made it. Then it has
`opentelemetry-instrument` find the library by itself. The exit code is 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from .trial import SAGAS, tried

PROGRAM = """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from py_api_saga import SagaAssembler

trace.set_tracer_provider(spans := TracerProvider())  # after it was instrumented, as happens
spans.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
reader = PeriodicExportingMetricReader(ConsoleMetricExporter())
metrics.set_meter_provider(MeterProvider([reader]))
SagaAssembler.saga(name="found").operation(int, name="a").orchestrator_execute()
"""


def main() -> int:
    """Try at least so many schedules."""
    parser = argparse.ArgumentParser(prog="python -m tests.traced", description=__doc__)
    parser.add_argument("--schedules", type=int, default=500)
    options = parser.parse_args()
    begun, schedules = time.monotonic(), 0
    for name in SAGAS:
        found = tried(name, more=options.schedules // len(SAGAS))
        schedules += found.schedules
        sys.stdout.write(
            f"{name}: {found.schedules} schedules, {found.calls.total():,} spans of calls "
            f"{dict(found.calls)}, {found.runs.total():,} of runs {dict(found.runs)}\n"
        )
    sys.stdout.write(f"{schedules} in {time.monotonic() - begun:.0f} s\n")
    return 0 if schedules >= options.schedules and is_found() else 1


def is_found() -> bool:
    """Tell whether a process that is instrumented from outside tells of its sagas."""
    ran = subprocess.run(
        ["opentelemetry-instrument", sys.executable, "-c", PROGRAM],  # noqa: S607 - of this Python
        capture_output=True,
        text=True,
        check=False,
    )
    wanted = ('"name": "saga found"', '"name": "a"', '"name": "saga.operation.duration"')
    lacking = [line for line in wanted if line not in ran.stdout]
    sys.stdout.write(f"opentelemetry-instrument: lacks {lacking}\n{ran.stderr}" if lacking else "")
    return not lacking


if __name__ == "__main__":
    sys.exit(main())
