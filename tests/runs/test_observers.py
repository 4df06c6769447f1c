"""Observers and the log: what they are told, in which order, and that they change nothing."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from world import PATIENCE, Execute, Watch, World, failure_of, steps

from py_api_saga import (
    Event,
    Observer,
    Retry,
    SagaAssembler,
    SagaException,
    SagaStatus,
    SagaStuck,
    happened,
)

Line = tuple[Any, ...]
AGAIN = Retry(Exception, attempts=2, wait_initial=0, wait_jitter=0)


class CardDeclined(Exception):
    """The bank says no."""


def told(watch: Watch) -> list[Line]:
    """Give each event as (kind, operation, attempt, type of error), as far as they are known."""
    lines: list[Line] = []
    for event in watch.events:
        error = type(event.error) if event.error is not None else None
        line: Line = (event.kind, event.operation, event.attempt, error)
        while line[-1] is None:
            line = line[:-1]
        lines.append(line if event.outcome is None else (*line, event.outcome))
    return lines


def observe(execute: Execute, saga: SagaAssembler) -> list[Line]:
    """Run a saga, whatever its end, and give what it told."""
    watch = Watch()
    saga.observers = (watch,)
    with contextlib.suppress(SagaException):
        execute(saga)
    return told(watch)


# --- the events of each course --------------------------------------------------------------------


def test_a_saga_that_goes_well(execute: Execute, world: World) -> None:
    """Started, each operation started and succeeded, completed."""
    assert observe(execute, steps(world, "stock", "charge")) == [
        ("saga started",),
        ("operation started", "stock", 1),
        ("succeeded", "stock", 1),
        ("operation started", "charge", 1),
        ("succeeded", "charge", 1),
        ("saga ended", SagaStatus.COMPLETED),
    ]


def test_a_saga_that_fails(execute: Execute, world: World) -> None:
    """The failure with its error, then each compensation."""
    saga = steps(world, "stock", "label")
    saga.operation((world.fail, "charge", CardDeclined()), name="charge", after="label")

    assert observe(execute, saga) == [
        ("saga started",),
        ("operation started", "stock", 1),
        ("succeeded", "stock", 1),
        ("operation started", "label", 1),
        ("succeeded", "label", 1),
        ("operation started", "charge", 1),
        ("failed", "charge", 1, CardDeclined),
        ("compensating", "label", 1),
        ("compensated", "label", 1),
        ("compensating", "stock", 1),
        ("compensated", "stock", 1),
        ("saga ended", SagaStatus.COMPENSATED),
    ]


def test_a_saga_with_retries(execute: Execute, world: World) -> None:
    """Each attempt is started anew, with its number; the last failure is final."""
    saga = SagaAssembler.saga()
    saga.operation((world.fail, "charge", CardDeclined()), name="charge", retry=AGAIN)

    assert observe(execute, saga) == [
        ("saga started",),
        ("operation started", "charge", 1),
        ("attempt failed", "charge", 1, CardDeclined),
        ("operation started", "charge", 2),
        ("failed", "charge", 2, CardDeclined),
        ("saga ended", SagaStatus.COMPENSATED),
    ]


def test_a_compensation_with_retries(execute: Execute, world: World) -> None:
    """The same, up to the one that is stuck."""
    saga = SagaAssembler.saga(compensation_retry=AGAIN)
    saga.operation((world.do, "stock"), (world.fail, "undo stock", OSError()), name="stock")
    saga.operation((world.fail, "charge", CardDeclined()), name="charge", after="stock")

    assert observe(execute, saga) == [
        ("saga started",),
        ("operation started", "stock", 1),
        ("succeeded", "stock", 1),
        ("operation started", "charge", 1),
        ("failed", "charge", 1, CardDeclined),
        ("compensating", "stock", 1),
        ("attempt failed", "stock", 1, OSError),
        ("compensating", "stock", 2),
        ("stuck", "stock", 2, OSError),
        ("saga ended", SagaStatus.STUCK),
    ]


def test_an_action_in_doubt(execute: Execute, world: World) -> None:
    """In doubt with its error, then compensated itself."""
    saga = SagaAssembler.saga()
    saga.operation((world.fail, "charge", TimeoutError()), (world.undo, "charge"), name="charge")

    assert observe(execute, saga) == [
        ("saga started",),
        ("operation started", "charge", 1),
        ("in doubt", "charge", 1, TimeoutError),
        ("compensating", "charge", 1),
        ("compensated", "charge", 1),
        ("saga ended", SagaStatus.COMPENSATED),
    ]


def test_an_action_that_is_asked_about(execute: Execute, world: World) -> None:
    """The answer is told as what it means."""
    saga = SagaAssembler.saga()
    saga.operation(
        (world.fail, "charge", TimeoutError()), (world.undo, "charge"), name="charge",
        on_doubt=lambda *_: happened(),
    )  # fmt: skip

    assert observe(execute, saga) == [
        ("saga started",),
        ("operation started", "charge", 1),
        ("in doubt", "charge", 1, TimeoutError),
        ("succeeded", "charge", 1),
        ("compensating", "charge", 1),
        ("compensated", "charge", 1),
        ("saga ended", SagaStatus.COMPENSATED),
    ]


def test_an_action_that_is_parked(execute: Execute, world: World) -> None:
    """In doubt, then stuck, each once."""
    saga = SagaAssembler.saga()
    saga.operation((world.fail, "charge", TimeoutError()), int, name="charge", on_doubt="park")

    assert observe(execute, saga) == [
        ("saga started",),
        ("operation started", "charge", 1),
        ("in doubt", "charge", 1, TimeoutError),
        ("stuck", "charge", 1, TimeoutError),
        ("saga ended", SagaStatus.STUCK),
    ]


def test_a_failure_after_the_pivot(execute: Execute, world: World) -> None:
    """Stuck, and nothing compensated."""
    saga = SagaAssembler.saga().operation((world.do, "charge"), name="charge", pivot=True)
    saga.operation((world.fail, "mail", CardDeclined()), name="mail", after="charge")

    assert observe(execute, saga) == [
        ("saga started",),
        ("operation started", "charge", 1),
        ("succeeded", "charge", 1),
        ("operation started", "mail", 1),
        ("stuck", "mail", 1, CardDeclined),
        ("saga ended", SagaStatus.STUCK),
    ]


def test_a_deadline_that_passed(execute: Execute, world: World) -> None:
    """Nothing was started, and the end says so."""
    watch = Watch()

    failure_of(execute, steps(world, "stock", observers=[watch]), deadline=0)

    assert told(watch) == [("saga started",), ("saga ended", SagaStatus.COMPENSATED)]


def test_an_operation_without_a_compensation_has_nothing_to_tell(
    execute: Execute, world: World
) -> None:
    """It is skipped in silence; the exception names it."""
    saga = SagaAssembler.saga().operation((world.do, "mail"), name="mail")
    saga.operation((world.fail, "charge", CardDeclined()), name="charge", after="mail")

    assert observe(execute, saga)[-2:] == [
        ("failed", "charge", 1, CardDeclined),
        ("saga ended", SagaStatus.COMPENSATED),
    ]


def test_the_wait_is_told(execute: Execute, world: World) -> None:
    """In seconds, as it was drawn, so that a timeline can show it."""
    watch = Watch()
    saga = SagaAssembler.saga(observers=[watch])
    waits = Retry(Exception, wait_initial=0.01, wait_jitter=0)
    saga.operation((world.fail, "charge", CardDeclined()), retry=waits)

    failure_of(execute, saga)

    assert [event.wait for event in watch.of("attempt failed")] == [0.01, 0.02]
    assert all(event.wait is None for event in watch.events if event.kind != "attempt failed")


def test_operations_at_once_are_told_as_they_come(execute_graph: Execute) -> None:
    """All are started, then each ends in its own time."""
    barrier = threading.Barrier(3)
    watch = Watch()
    saga = SagaAssembler.saga(observers=[watch])
    for name in "abc":
        saga.operation(lambda: barrier.wait(PATIENCE), name=name)

    execute_graph(saga)

    lines = told(watch)
    assert lines[1:4] == [("operation started", name, 1) for name in "abc"]
    assert sorted(lines[4:7]) == [("succeeded", name, 1) for name in "abc"]


def test_a_child_s_operations_have_dotted_names(execute: Execute, world: World) -> None:
    """As everywhere else."""
    saga = SagaAssembler.saga().operation(steps(world, "box"), name="packing")

    assert ("succeeded", "packing.box", 1) in observe(execute, saga)


def test_a_nested_saga_tells_its_own_observers(execute: Execute, world: World) -> None:
    """Two runs, two ids; the outer one knows nothing of the inner one."""
    outer, inner = Watch(), Watch()
    nested = steps(world, "inner", observers=[inner], name="nested")
    saga = SagaAssembler.saga(observers=[outer], name="outer")
    saga.operation(nested.orchestrator_execute, name="order")

    execute(saga)

    assert {event.operation for event in outer.events} == {None, "order"}
    assert {event.operation for event in inner.events} == {None, "inner"}
    assert {event.saga_name for event in inner.events} == {"nested"}
    assert outer.events[0].saga_id != inner.events[0].saga_id


# --- what an event holds --------------------------------------------------------------------------


def test_every_event_names_its_run(execute: Execute, world: World) -> None:
    """By the id that was given and the saga's name; the exception has the same id."""
    watch = Watch()
    saga = steps(world, "stock", observers=[watch], name="checkout")
    saga.operation((world.fail, "charge", CardDeclined()), after="stock")

    raised = failure_of(execute, saga, saga_id="order-7")

    assert {(event.saga_id, event.saga_name) for event in watch.events} == {("order-7", "checkout")}
    assert raised.saga_id == "order-7"


def test_a_run_without_an_id_has_a_random_one(execute: Execute, world: World) -> None:
    """The same in all its events, another one in the next run."""
    watch = Watch()
    saga = steps(world, "stock", observers=[watch])

    execute(saga)
    first = {event.saga_id for event in watch.events}
    execute(saga)
    both = {event.saga_id for event in watch.events}

    assert len(first) == 1
    assert len(both) == 2
    assert all(len(saga_id) == 32 for saga_id in both)
    assert {event.saga_name for event in watch.events} == {None}


def test_the_error_is_the_very_object(execute: Execute, world: World) -> None:
    """So that an observer can report it with its traceback."""
    watch, declined = Watch(), CardDeclined()
    saga = SagaAssembler.saga(observers=[watch]).operation((world.fail, "charge", declined))

    failure_of(execute, saga)

    assert watch.of("failed")[0].error is declined


def test_an_event_is_frozen_and_small() -> None:
    """It has slots, equals another with the same values, and can be made in a test."""
    event = Event("succeeded", "order-7", operation="charge", attempt=1)

    with pytest.raises(AttributeError):
        event.attempt = 2  # type: ignore[misc]
    assert not hasattr(event, "__dict__")
    assert event == Event("succeeded", "order-7", None, "charge", 1)
    assert Event._fields == (
        "kind", "saga_id", "saga_name", "operation", "attempt", "error", "wait", "outcome",
        "direction",
    )  # fmt: skip


def test_arguments_and_results_are_never_told(
    execute: Execute, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither to observers nor to the log, at any level, in any course."""

    class Token(str):
        __slots__ = ()

    def charge(token: str, amount: int) -> dict[str, str]:
        del amount
        return {"echo": token}

    def refund(token: str) -> str:
        return token

    def fail(token: str) -> None:
        del token
        raise CardDeclined

    watch = Watch()
    saga = SagaAssembler.saga(observers=[watch])
    secret = Token("t0p-s3cret")
    saga.operation((charge, secret, 1234567), (refund, secret), name="charge")
    saga.operation((fail, secret), name="courier", after="charge")

    with caplog.at_level(logging.DEBUG, "py_api_saga"):
        raised = failure_of(execute, saga)

    everything = [str(raised), raised.mermaid(), repr(saga), saga.mermaid(), caplog.text]
    everything += map(repr, watch.events)
    assert not [text for text in everything if "s3cret" in text or "1234567" in text]


# --- who observes ---------------------------------------------------------------------------------


def test_events_arrive_in_the_thread_that_drives(execute_sync: Execute, world: World) -> None:
    """One after the other, so an observer needs no lock, even for a choreography."""
    threads = []
    saga = steps(world, "a", "b", observers=[lambda _: threads.append(threading.get_ident())])
    saga.operation((world.fail, "c", CardDeclined()))

    failure_of(execute_sync, saga)

    assert set(threads) == {threading.get_ident()}


def test_events_arrive_in_the_thread_of_the_loop(execute_async: Execute, world: World) -> None:
    """Where plain functions run does not matter."""
    threads = []
    saga = steps(world, "a", "b", observers=[lambda _: threads.append(threading.get_ident())])

    execute_async(saga)

    assert set(threads) == {threading.get_ident()}


def test_several_observers_are_told_in_their_order(execute: Execute, world: World) -> None:
    """Each event goes to all of them before the next one."""
    lines: list[str] = []

    def observer(name: str) -> Observer:
        return lambda event: lines.append(f"{name}: {event.kind}")

    execute(steps(world, "stock", observers=[observer("first"), observer("second")]))

    kinds = ["saga started", "operation started", "succeeded", "saga ended"]
    assert lines == [f"{name}: {kind}" for kind in kinds for name in ("first", "second")]


def test_a_subclass_has_observers_of_its_own(execute: Execute, world: World) -> None:
    """As an attribute, for all its sagas; an argument takes their place."""
    everywhere, here = Watch(), Watch()

    class Checkout(SagaAssembler):
        observers = (everywhere,)

    execute(Checkout.saga().operation((world.do, "stock")))
    assert len(everywhere.events) == 4

    execute(Checkout.saga(observers=[here]).operation((world.do, "stock")))
    assert len(everywhere.events) == 4
    assert len(here.events) == 4


def test_an_observer_that_raises_is_logged_and_changes_nothing(
    execute: Execute, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The saga runs on as if it were not there, and the other observers are told."""

    def broken(_: Event) -> None:
        message = "no disk"
        raise OSError(message)

    watch = Watch()
    saga = steps(world, "stock", "charge", observers=[broken, watch])

    assert execute(saga) == ["STOCK", "CHARGE"]
    assert len(watch.events) == 6

    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 6
    assert errors[0].getMessage() == "an observer raised on 'saga started'"
    assert errors[0].exc_info is not None
    assert isinstance(errors[0].exc_info[1], OSError)


def test_an_observer_that_raises_does_not_stop_a_rollback(execute: Execute, world: World) -> None:
    """Nor does it change the exception."""

    def broken(event: Event) -> None:
        raise LookupError(event.kind)

    declined = CardDeclined()
    saga = steps(world, "stock", observers=[broken])
    saga.operation((world.fail, "charge", declined), after="stock")

    raised = failure_of(execute, saga)

    assert raised.__cause__ is declined
    assert world.standing == []


def test_an_observer_may_run_a_saga(execute_sync: Execute, world: World) -> None:
    """It is in no operation, and the saga that told it goes on."""
    inner = steps(world, "audit")

    def audit(event: Event) -> None:
        if event.kind == "saga ended":
            inner.orchestrator_execute()

    assert execute_sync(steps(world, "stock", observers=[audit])) == ["STOCK"]
    assert world.log == ["stock", "audit"]


def test_a_class_may_be_an_observer(execute: Execute, world: World) -> None:
    """Anything that can be called with an event."""

    class Seen(list[Event]):
        def __call__(self, event: Event) -> None:
            self.append(event)

    seen = Seen()
    execute(steps(world, "stock", observers=(seen, seen.append)))

    assert len(seen) == 8


# --- the log --------------------------------------------------------------------------------------


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Give what was logged, with the levels."""
    return [f"{record.levelname}: {record.getMessage()}" for record in caplog.records]


def test_the_log_is_the_first_observer(
    execute: Execute, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Under `py_api_saga`, with a level for each kind: ids and names."""
    saga = steps(world, "stock", name="checkout")
    saga.operation((world.fail, "charge", CardDeclined("card 4711")), name="charge", after="stock")

    with caplog.at_level(logging.DEBUG, "py_api_saga"):
        failure_of(execute, saga, saga_id="order-7")

    prefix = "saga checkout (order-7)"
    assert lines_of(caplog) == [
        f"INFO: {prefix}: saga started",
        f"DEBUG: {prefix}: operation stock: operation started",
        f"DEBUG: {prefix}: operation stock: succeeded",
        f"DEBUG: {prefix}: operation charge: operation started",
        f"INFO: {prefix}: operation charge: failed (CardDeclined)",
        f"INFO: {prefix}: operation stock: compensating",
        f"INFO: {prefix}: operation stock: compensated",
        f"INFO: {prefix}: COMPENSATED",
    ]
    assert {record.name for record in caplog.records} == {"py_api_saga"}


def test_a_saga_without_a_name_is_logged_by_its_id(
    execute: Execute, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Once."""
    with caplog.at_level(logging.INFO, "py_api_saga"):
        execute(steps(world, "stock"), saga_id="order-7")

    assert lines_of(caplog) == ["INFO: saga order-7: saga started", "INFO: saga order-7: COMPLETED"]


def test_a_hostile_name_stays_in_its_line_of_the_log(
    execute: Execute, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A line break in a name does not forge another entry."""
    saga = SagaAssembler.saga(name="a\nb").operation((world.do, "stock"), name="c\r\nd\u2028e")

    with caplog.at_level(logging.DEBUG, "py_api_saga"):
        execute(saga)

    assert [len(message.splitlines()) for message in caplog.messages] == [1, 1, 1, 1]


def test_by_default_only_alarms_are_logged(
    execute: Execute, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Doubt as a warning and what is stuck as an error; a failure is the caller's to judge."""
    execute(steps(world, "stock"))
    saga = SagaAssembler.saga()
    saga.operation((world.do, "stock"), (world.fail, "undo stock", OSError()), name="stock")
    saga.operation((world.fail, "charge", TimeoutError()), int, name="charge", after="stock")

    raised = failure_of(execute, saga, saga_id="order-7")

    assert isinstance(raised, SagaStuck)
    assert lines_of(caplog) == [
        "WARNING: saga order-7: operation charge: in doubt (TimeoutError)",
        "ERROR: saga order-7: operation stock: stuck (OSError)",
    ]


def test_a_plain_failure_is_not_logged_by_default(
    execute: Execute, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """It is raised to the caller, who decides how bad it is."""
    saga = steps(world, "stock").operation((world.fail, "charge", CardDeclined()), after="stock")

    failure_of(execute, saga)

    assert caplog.records == []


@pytest.fixture
def silenced() -> Iterator[Callable[[int], None]]:
    """Set the level of the log for the time of a test."""
    logger = logging.getLogger("py_api_saga")
    before = logger.level
    yield logger.setLevel
    logger.setLevel(before)


def test_the_log_can_be_silenced(
    execute: Execute,
    world: World,
    caplog: pytest.LogCaptureFixture,
    silenced: Callable[[int], None],
) -> None:
    """Like any other log; observers are told all the same."""
    silenced(logging.CRITICAL)
    watch = Watch()
    saga = SagaAssembler.saga(observers=[watch])
    saga.operation((world.fail, "charge", TimeoutError()), int, on_doubt="park")

    failure_of(execute, saga)

    assert caplog.records == []
    assert len(watch.of("stuck")) == 1


def test_a_handler_that_raises_changes_nothing(execute: Execute, world: World) -> None:
    """The log is an observer like any other."""

    class Broken(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            raise OSError

    logger, handler = logging.getLogger("py_api_saga"), Broken(logging.WARNING)
    logger.addHandler(handler)
    try:
        saga = steps(world, "stock")
        saga.operation(
            (world.fail, "charge", TimeoutError()), (world.undo, "charge"), after="stock"
        )
        # `Logger.exception` about the handler goes to the same handler: that may be all there is.
        failure_of(execute, saga)
    finally:
        logger.removeHandler(handler)

    assert world.log == ["stock", "charge", "undo charge", "undo stock"]


def test_a_coroutine_is_told_like_a_function(execute_async: Execute, world: World) -> None:
    """The same events in the same order."""

    async def charge() -> None:
        await asyncio.sleep(0)
        raise CardDeclined

    saga = steps(world, "stock").operation(charge, after="stock", retry=AGAIN)

    assert observe(execute_async, saga) == [
        ("saga started",),
        ("operation started", "stock", 1),
        ("succeeded", "stock", 1),
        ("operation started", "charge", 1),
        ("attempt failed", "charge", 1, CardDeclined),
        ("operation started", "charge", 2),
        ("failed", "charge", 2, CardDeclined),
        ("compensating", "stock", 1),
        ("compensated", "stock", 1),
        ("saga ended", SagaStatus.COMPENSATED),
    ]


# --- which way ------------------------------------------------------------------------------------


def ways(watch: Watch) -> list[tuple[str, str | None, str]]:
    """Give each event as (kind, operation, direction)."""
    return [(event.kind, event.operation, event.direction) for event in watch.events]


def test_every_event_tells_its_direction(execute: Execute, world: World) -> None:
    """That of the call it is about; of the saga as a whole, which way it goes."""
    watch, left = Watch(), [1]

    def undo() -> None:
        if left and left.pop():
            raise OSError

    saga = SagaAssembler.saga(observers=[watch]).operation(
        (world.do, "stock"), undo, name="stock", compensation_retry=AGAIN
    )
    saga.operation((world.fail, "charge", CardDeclined()), name="charge", after="stock")
    failure_of(execute, saga)

    assert ways(watch) == [
        ("saga started", None, "action"),
        ("operation started", "stock", "action"),
        ("succeeded", "stock", "action"),
        ("operation started", "charge", "action"),
        ("failed", "charge", "action"),
        ("compensating", "stock", "compensation"),
        ("attempt failed", "stock", "compensation"),
        ("compensating", "stock", "compensation"),
        ("compensated", "stock", "compensation"),
        ("saga ended", None, "compensation"),
    ]


def test_what_is_stuck_tells_what_of_it_is(execute: Execute, world: World) -> None:
    """An undo that failed, or an action of which nobody knows whether it happened."""
    watch = Watch()
    saga = SagaAssembler.saga(observers=[watch]).operation(
        (world.do, "a"), (world.fail, "undo a", OSError()), name="a"
    )
    saga.operation(
        (world.fail, "b", ConnectionResetError()),
        (world.undo, "b"),
        name="b",
        after="a",
        on_doubt="park",
    )
    failure_of(execute, saga)

    stuck = [(event.operation, event.direction) for event in watch.of("stuck")]
    assert sorted(stuck) == [("a", "compensation"), ("b", "action")]
    assert [event.direction for event in watch.of("in doubt")] == ["action"]


def test_a_saga_that_completes_ends_forward(execute: Execute, world: World) -> None:
    """It has never gone another way."""
    watch = Watch()
    execute(steps(world, "a", observers=[watch]))

    assert {event.direction for event in watch.events} == {"action"}
