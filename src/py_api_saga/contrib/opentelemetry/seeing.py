"""Spans around runs and around each of their calls."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, Link, NonRecordingSpan, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from py_api_saga import clock
from py_api_saga.contrib.opentelemetry import naming
from py_api_saga.contrib.opentelemetry.naming import sound
from py_api_saga.entries import (
    ANSWERED,
    DENIED,
    HAPPENED,
    LATER,
    SUCCEEDED,
    UNSTORED,
    Attempt,
    Entry,
    Setback,
    attempt_of,
    index_of,
    is_unready,
    kind_of,
    what_of,
)
from py_api_saga.exceptions import SagaException, SagaPending
from py_api_saga.executors.running import Running
from py_api_saga.interrupts import is_limit
from py_api_saga.journal.changes import SagaExistsError
from py_api_saga.kinds import qualname_of
from py_api_saga.log import complain
from py_api_saga.status import SagaStatus

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanContext, Tracer

    from py_api_saga.contrib.opentelemetry.measuring import Meters
    from py_api_saga.current import CurrentOperation
    from py_api_saga.executors import running
    from py_api_saga.executors.run import Run
    from py_api_saga.journal.lasting import LastingJournal

_W3C = TraceContextTextMapPropagator()
_NS = 1e9  # in a second
_AS_IT_SHOULD = (SagaStatus.COMPLETED.value, SagaStatus.COMPENSATED.value, naming.WAITING)
_AT_ITS_END = {SagaStatus.COMPLETED, SagaStatus.COMPENSATED, SagaStatus.STUCK}


class Tracing:
    """What looks on at all runs of a process: an `Onlooker`.

    Attributes:
        tracer: Makes spans.
        meters: What is counted.
        parent: What the span of a saga that is recovered has of the one it was begun in.
        record_exceptions: Whether what calls raise is kept, with its text and its traceback.
    """

    def __init__(
        self,
        tracer: Tracer,
        meters: Meters,
        parent: Literal["link", "parent"],
        *,
        record_exceptions: bool,
    ) -> None:
        """Begin to look on."""
        self.tracer, self.meters, self.parent = tracer, meters, parent
        self.record_exceptions = record_exceptions

    def begins(self, run: Run) -> SeenRun:
        """Give what sees this run."""
        return SeenRun(self, run)

    def sees_call(self, run: running.SeenRun, trace: object) -> SeenElsewhere:
        """Give what sees one call of a run that is elsewhere."""
        return SeenElsewhere(self, run, trace)

    def trace(self) -> str | None:
        """Give the span that is current, as a `traceparent`, or None.

        Its `tracestate` is not kept: it is of use along a request, for whoever has made it.
        """
        here = trace.get_current_span().get_span_context()
        if not here.is_valid:
            return None
        return f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}"

    def working(self, place: LastingJournal) -> AbstractContextManager[None]:
        """Tell of a journal for as long as a worker is at it, in a `with` block."""
        return self.meters.watching(place)


def _told_of(trace_text: object) -> SpanContext | None:
    """Read what a journal has for a trace: anything may be there."""
    if not isinstance(trace_text, str):
        return None
    found = trace.get_current_span(_W3C.extract({"traceparent": trace_text}, contexts.Context()))
    there = found.get_span_context()
    return there if there.is_valid else None


class SeenRun:
    """Sees one run: a `Witness`.

    Its span is made with the first call, or else in the end: a saga that was there already, and is
    answered for, has none.
    """

    __slots__ = (
        "_attributes",
        "_began",
        "_caller",
        "_calls",
        "_context",
        "_lock",
        "_since",
        "_span",
        "tracing",
    )

    def __init__(self, tracing: Tracing, run: Run) -> None:
        """Begin with what is current where the run is begun."""
        self.tracing = tracing
        self._caller = contexts.get_current()
        self._began, self._since = int(clock.time() * _NS), clock.monotonic()
        self._lock = threading.Lock()
        self._span: Span = INVALID_SPAN
        self._context: Context | None = None
        self._calls: dict[Attempt, SeenCall] = {}
        self._attributes = {} if run.name is None else {naming.SAGA_NAME: sound(run.name)}

    # --- the span of the run --------------------------------------------------------------------

    def context(self, run: Run) -> Context:
        """Give that of the span of the run, in which its calls are; any thread may ask first."""
        with self._lock:
            if self._context is None:
                self._context = self._begin(run)
            return self._context

    def _begin(self, run: Run) -> Context:
        name = self._attributes.get(naming.SAGA_NAME)
        above, links = self._above(run)
        self._span = self.tracing.tracer.start_span(
            naming.RUN if name is None else f"{naming.RUN} {name}",
            above,
            attributes={
                naming.SAGA_ID: run.saga_id,
                **self._attributes,
                naming.RECOVERED: getattr(run, "is_resumed", False),
            },
            links=links,
            start_time=self._began,
        )
        return trace.set_span_in_context(self._span, above)

    def _above(self, run: Run) -> tuple[Context, list[Link]]:
        """Give what the span of the run is part of, and what it leads to.

        A saga that is recovered outlives what it was begun in, so it is a trace of its own; unless
        somebody asks for it by its id, and waits for it.
        """
        links: list[Link] = []
        begun = _told_of(getattr(run, "trace", None))
        here = trace.get_current_span(self._caller).get_span_context()
        if not getattr(run, "lets_go", False):
            if begun is not None and begun.span_id != here.span_id:
                links.append(Link(begun, {naming.LINK: naming.BEGUN}))
            return self._caller, links
        if here.is_valid:
            links.append(Link(here, {naming.LINK: naming.RECOVERING}))
        if begun is None:
            above: Span = INVALID_SPAN
        elif self.tracing.parent == "parent":
            above = NonRecordingSpan(begun)
        else:
            above = INVALID_SPAN
            links.insert(0, Link(begun, {naming.LINK: naming.BEGUN}))
        return trace.set_span_in_context(above, self._caller), links

    # --- its calls ------------------------------------------------------------------------------

    def around(self, operation: CurrentOperation, /) -> SeenCall:
        """Give what is around a call."""
        return SeenCall(self, cast("Running", operation))

    def begin(self, call: SeenCall, run: Run, intent: Entry) -> tuple[Span, Context]:
        """Begin the span of a call."""
        i, kind, number, _ = attempt = attempt_of(intent)
        self._calls[attempt] = call
        name, within = sound(run.name_of(i)), self.context(run)
        call.about = {**self._attributes, naming.OPERATION: name, naming.KIND: kind}
        span = self.tracing.tracer.start_span(
            naming.CALLS[kind].format(name),
            within,
            attributes={naming.SAGA_ID: run.saga_id, **call.about, naming.ATTEMPT: number},
            start_time=call.began,
        )
        return span, trace.set_span_in_context(span, within)

    def told(self, run: Run, entry: Entry) -> None:
        """Hear what came of a call."""
        what, call = what_of(entry), self._calls.pop(attempt_of(entry), None)
        try:
            if call is not None:
                call.end(naming.LET_GO if is_unready(entry) else what, _error_of(entry))
                if what == LATER:
                    self._waits(run, call.about)
            elif what in (ANSWERED, DENIED):
                self._is_answered(run, entry)
            elif what in (SUCCEEDED, UNSTORED) and not _was_begun(run, entry):
                # It was given up before; others were never made.
                self.tracing.meters.late(self._about(run, entry))
        except Exception as error:  # of a processor of spans, say
            if is_limit(error):
                raise
            _complain(error)

    def _about(self, run: Run, entry: Entry) -> dict[str, str]:
        """Give what metrics say of the call that an entry speaks of."""
        name = sound(run.name_of(index_of(entry)))
        return {**self._attributes, naming.OPERATION: name, naming.KIND: kind_of(entry)}

    def _waits(self, run: Run, about: dict[str, str]) -> None:
        """Note that a call waits: its span has ended, as nobody knows for how long it does."""
        self.context(run)
        self._span.add_event(naming.WAITED_FOR, about)
        self.tracing.meters.wait(about)

    def _is_answered(self, run: Run, entry: Entry) -> None:
        """Note that an answer has come; the call's span has ended, perhaps in another process."""
        what, about, error = what_of(entry), self._about(run, entry), _error_of(entry)
        facts = {**about, naming.CALL_OUTCOME: what}
        if error is not None:
            facts[naming.ERROR_TYPE] = sound(getattr(error, "kind", qualname_of(type(error))))
        self.context(run)
        self._span.add_event(naming.ANSWERED, facts)
        self.tracing.meters.answer(about, what)

    def ended(self, run: Run, error: BaseException | None) -> None:
        """Hear that the run is driven no longer."""
        if isinstance(error, SagaExistsError):
            return
        try:
            self._end(run, error)
        except Exception as raised:  # as above
            if is_limit(raised):
                raise
            _complain(raised)

    def _end(self, run: Run, error: BaseException | None) -> None:
        calls, self._calls = self._calls, {}
        for call in calls.values():  # nobody says what came of these
            call.end(naming.LET_GO, None)
        context, span, seconds = self.context(run), self._span, clock.monotonic() - self._since
        outcome = naming.WAITING if isinstance(error, SagaPending) else _outcome(run, error)
        if outcome is not None:
            span.set_attribute(naming.OUTCOME, outcome)
            about = {**self._attributes, naming.OUTCOME: outcome}
            self.tracing.meters.run(seconds, about, context)
        if error is not None and outcome not in _AS_IT_SHOULD:
            _fail(span, error)
        span.end(self._began + int(seconds * _NS))


class SeenElsewhere:
    """Sees the one call that is made here of a run which is elsewhere: a `CallWitness`.

    That run has no span. What the saga was begun in outlives nothing of it, so its call is a trace
    of its own, or part of what goes on here, and leads there; unless that is to be its parent.
    """

    __slots__ = ("_begun", "_call", "_run", "tracing")

    def __init__(self, tracing: Tracing, run: running.SeenRun, trace: object) -> None:
        """Take the run, and what that was begun in."""
        self.tracing, self._run, self._begun = tracing, run, _told_of(trace)
        self._call: SeenCall | None = None

    def around(self, operation: CurrentOperation, /) -> SeenCall:
        """Give what is around the call."""
        return SeenCall(self, cast("Running", operation))

    def begin(self, call: SeenCall, run: Run, intent: Entry) -> tuple[Span, Context]:
        """Begin the span of the call."""
        within, links = contexts.get_current(), list[Link]()
        if self._begun is not None and self.tracing.parent == "parent":
            within = trace.set_span_in_context(NonRecordingSpan(self._begun), within)
        elif self._begun is not None:
            links.append(Link(self._begun, {naming.LINK: naming.BEGUN}))
        self._call, call.about = call, self._about(intent)
        _, _, number, _ = attempt_of(intent)
        span = self.tracing.tracer.start_span(
            naming.CALLS[kind_of(intent)].format(call.about[naming.OPERATION]),
            within,
            attributes={naming.SAGA_ID: run.saga_id, **call.about, naming.ATTEMPT: number},
            links=links,
            start_time=call.began,
        )
        return span, trace.set_span_in_context(span, within)

    def _about(self, entry: Entry) -> dict[str, str]:
        """Give what metrics say of the call."""
        run = self._run
        named = {} if run.name is None else {naming.SAGA_NAME: sound(run.name)}
        operation = sound(run.name_of(index_of(entry)))
        return {**named, naming.OPERATION: operation, naming.KIND: kind_of(entry)}

    def told(self, entry: Entry) -> None:
        """Hear what came of the call."""
        what, call, self._call = what_of(entry), self._call, None
        try:
            if call is not None:
                call.end(naming.LET_GO if is_unready(entry) else what, _error_of(entry))
                if what == LATER:
                    self.tracing.meters.wait(call.about)
            elif what in (SUCCEEDED, UNSTORED):  # it was given up before
                self.tracing.meters.late(self._about(entry))
        except Exception as error:  # as above
            if is_limit(error):
                raise
            _complain(error)


class SeenCall:
    """What is around one attempt of a call: its span, which ends once its outcome is known.

    Attributes:
        about: What metrics say of it.
        began: When, in nanoseconds since 1970.
    """

    __slots__ = (
        "_operation",
        "_run",
        "_seconds",
        "_since",
        "_span",
        "_token",
        "_within",
        "about",
        "began",
    )

    def __init__(self, run: SeenRun | SeenElsewhere, operation: Running) -> None:
        """Take the call."""
        self._run, self._operation = run, operation
        self._span: Span = INVALID_SPAN
        self._within = contexts.Context()
        self._token: Any = None
        self._seconds: float | None = None
        self._since, self.began = 0.0, 0
        self.about: dict[str, str] = {}

    def __enter__(self) -> Self:
        self.began, self._since = int(clock.time() * _NS), clock.monotonic()
        try:
            run: Any = self._operation.run
            self._span, self._within = self._run.begin(self, run, self._operation.intent)
            self._token = contexts.attach(self._within)
        except Exception as error:  # of a sampler, say: the call is made all the same
            if is_limit(error):
                raise
            _complain(error)
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: object) -> None:
        self._seconds = clock.monotonic() - self._since
        # A coroutine that is thrown away is closed in some other context, and its own is gone.
        if self._token is not None and kind is not GeneratorExit:
            contexts.detach(self._token)

    def end(self, outcome: str, error: BaseException | None) -> None:
        """End the span, at the time at which the call has ended or was given up."""
        tracing, span = self._run.tracing, self._span
        seconds = self._seconds
        if seconds is None:
            seconds = clock.monotonic() - self._since
        span.set_attribute(naming.CALL_OUTCOME, outcome)
        if error is not None:
            _fail(span, error)
            if tracing.record_exceptions:
                span.record_exception(error)
        tracing.meters.call(seconds, self.about, outcome, self._within)
        span.end(self.began + int(seconds * _NS))


def _outcome(run: Any, error: BaseException | None) -> str | None:
    """Say how it stands with the saga; None if it was never begun."""
    recorder = getattr(run, "recorder", None)
    if recorder is not None and recorder.claim is None:
        return None
    if isinstance(error, SagaException) and error.outcome is not None:
        return error.outcome.value
    if recorder is None and run.left and not run.execution.at_rest:
        return SagaStatus.STUCK.value
    status: SagaStatus = run.execution.standing
    is_lost = recorder is not None and not (run.lost is None is run.unready)
    return naming.OPEN if is_lost or status not in _AT_ITS_END else status.value


def _was_begun(run: Run, entry: Entry) -> bool:
    """Tell whether a call had only begun something: then it succeeds as its time has come."""
    attempt = attempt_of(entry)
    return any(
        what_of(one) == LATER and attempt_of(one) == attempt for one in run.execution.entries
    )


def _error_of(entry: Entry) -> BaseException | None:
    """Give what a call has raised, if its entry says that it did."""
    what, _, _, _, _, value = entry
    if type(value) is Setback:
        return value.error
    if what == UNSTORED:
        _, error = value
        value = error
    elif what in (SUCCEEDED, HAPPENED, ANSWERED):  # a result may be an error
        return None
    return value if isinstance(value, BaseException) else None


def _fail(span: Span, error: BaseException) -> None:
    """Have a span say that it went wrong, and of which class the error was; nothing else of it."""
    span.set_status(Status(StatusCode.ERROR))
    span.set_attribute(naming.ERROR_TYPE, sound(qualname_of(type(error))))


def _complain(error: Exception) -> None:
    """Log what has gone wrong in telling of a saga, which changes nothing in it."""
    complain("OpenTelemetry could not be told of a saga", error=error)
