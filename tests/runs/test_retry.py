"""`Retry`: when an action or a compensation is called again, and how long the saga waits before."""

import copy
import dataclasses
import math
import pickle
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from world import HOUR, PATIENCE, Clock

from py_api_saga import (
    Event,
    Retry,
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    SagaStuck,
    Status,
)

Execute = Callable[..., Any]
Step = Callable[..., Callable[..., Any]]


class Busy(Exception):
    """A service asks for patience."""

    def __init__(self, seconds: Any = None) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class VeryBusy(Busy):
    """A special case."""


def now(on: Any, attempts: int | None = 3, **options: Any) -> Retry:
    """Try again without waiting."""
    return Retry(on, **{"attempts": attempts, "wait_initial": 0, "wait_jitter": 0, **options})


class Service:
    """Fail as often as it was told to, then answer."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.times: list[float] = []

    @property
    def calls(self) -> int:
        """How often it was called."""
        return len(self.times)

    def call(self) -> str:
        """Fail or answer."""
        self.times.append(time.perf_counter())
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def waits_of(events: list[Event]) -> list[float | None]:
    """What was waited after each attempt that failed and was followed by another."""
    return [event.wait for event in events if event.kind == "attempt failed"]


def run(execute: Execute, service: Service, retry: Retry | None) -> SagaException:
    """Run one operation that fails in the end, and return the exception."""
    with pytest.raises(SagaException) as caught:
        execute(SagaAssembler.saga().operation(service.call, retry=retry))
    return caught.value


# --- on ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on", "calls"),
    [
        (Busy, 3),
        (Exception, 3),
        ((KeyError, Busy), 3),
        (KeyError, 1),
        ((KeyError, OSError), 1),
        (VeryBusy, 1),
        (lambda _: True, 3),
        (lambda _: False, 1),
        (lambda error: isinstance(error, Busy), 3),
        (lambda error: isinstance(error, KeyError), 1),
    ],
)
def test_on_says_which_errors_are_tried_again(on: Any, calls: int, execute: Execute) -> None:
    """An exception type, a tuple of them, or a function of the error."""
    service = Service(*[Busy()] * 9)

    exception = run(execute, service, now(on))

    assert service.calls == calls
    assert isinstance(exception.operation_error, Busy)


def grouped(*errors: Exception) -> ExceptionGroup[Exception]:
    """Make a group of some errors, of which the last one is in a group of its own."""
    return ExceptionGroup("some", [*errors[:-1], ExceptionGroup("inner", [errors[-1]])])


@pytest.mark.parametrize(
    ("error", "on", "calls"),
    [
        (grouped(Busy(), VeryBusy()), Busy, 3),
        (grouped(Busy(), KeyError()), Busy, 1),
        (grouped(KeyError(), Busy()), Busy, 1),
        (grouped(KeyError(), Busy()), (KeyError, Busy), 3),
        (grouped(KeyError(), Busy()), ExceptionGroup, 3),
        (grouped(KeyError(), Busy()), Exception, 3),
    ],
)
def test_a_group_is_tried_again_if_all_its_members_are_meant(
    execute: Execute, error: Exception, on: Any, calls: int
) -> None:
    """As a task group raises them; one that nobody means is final."""
    service = Service(*[error] * 9)

    run(execute, service, now(on))

    assert service.calls == calls


def test_a_deep_group_is_looked_through() -> None:
    """Without end, and without running out of stack."""
    error: Exception = Busy()
    for _ in range(900):
        error = ExceptionGroup("one more", [error])

    assert now(Busy).after(error, 1, 0.0, 0.0) == 0
    assert now(KeyError).after(error, 1, 0.0, 0.0) is None


def test_what_an_error_was_raised_from_is_not_tried_again(execute: Execute) -> None:
    """`on` means what was raised."""
    error = KeyError()
    error.__cause__ = Busy()
    service = Service(error, error)

    run(execute, service, now(Busy))

    assert service.calls == 1


def test_subclasses_of_a_type_count(execute: Execute) -> None:
    """As in an `except` clause."""
    service = Service(VeryBusy(), Busy(), VeryBusy())

    assert execute(SagaAssembler.saga().operation(service.call, retry=now(Busy, 4))) == ["answer"]
    assert service.calls == 4


def test_each_error_is_judged_by_itself(execute: Execute) -> None:
    """An error that `on` does not mean ends the attempts at once."""
    service = Service(Busy(), KeyError("final"), Busy())

    exception = run(execute, service, now(Busy, 9))

    assert service.calls == 2
    assert isinstance(exception.operation_error, KeyError)


def test_on_is_required() -> None:
    """There is no dangerous default."""
    with pytest.raises(TypeError, match="on"):
        Retry()  # type: ignore[call-arg]


def test_the_rest_is_by_keyword_only() -> None:
    """`Retry(ValueError, 5)` could mean anything."""
    with pytest.raises(TypeError):
        Retry(ValueError, 5)  # type: ignore[call-arg]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_interrupts_are_never_tried_again(interrupt: type[BaseException], execute: Execute) -> None:
    """A predicate is not even asked."""
    asked: list[object] = []
    service = Service(interrupt(), interrupt())

    def ask(error: object) -> bool:
        asked.append(error)
        return True

    with pytest.raises(interrupt):
        execute(SagaAssembler.saga().operation(service.call, retry=now(ask)))

    assert service.calls == 1
    assert asked == []


# --- what a predicate returns ------------------------------------------------


@pytest.mark.parametrize("answer", [0.02, timedelta(milliseconds=20)])
def test_a_predicate_may_return_how_long_to_wait(answer: Any, execute: Execute) -> None:
    """Seconds or a timedelta, as in a `Retry-After` header; instead of the policy's own wait."""
    events: list[Event] = []
    service = Service(Busy(answer), Busy(answer))
    retry = Retry(lambda error: error.seconds, wait_initial=60, wait_max=60)  # type: ignore[attr-defined]
    saga = SagaAssembler.saga(observers=[events.append]).operation(service.call, retry=retry)

    assert execute(saga) == ["answer"]

    gaps = [later - first for first, later in zip(service.times, service.times[1:], strict=False)]
    assert len(gaps) == 2
    assert all(0.019 < gap < 5 for gap in gaps)
    assert waits_of(events) == [0.02, 0.02]


@pytest.mark.parametrize("answer", [0.0, timedelta(0)])
def test_no_seconds_are_an_answer_too(answer: Any, execute: Execute) -> None:
    """Zero seconds mean "at once", not "no"."""
    service = Service(Busy(), Busy())
    retry = Retry(lambda _: answer, wait_initial=60)

    assert execute(SagaAssembler.saga().operation(service.call, retry=retry)) == ["answer"]
    assert service.calls == 3


def test_a_predicate_is_given_the_error(execute: Execute) -> None:
    """Each one in turn, and none once the attempts are spent."""
    errors = [Busy(1), Busy(2), Busy(3), Busy(4)]
    given: list[object] = []

    def ask(error: Exception) -> bool:
        given.append(error)
        return True

    run(execute, Service(*errors), now(ask))

    assert given in (errors[:2], errors[:3])


@pytest.mark.parametrize("answer", [-1, math.nan, math.inf, "5", [], timedelta(seconds=-1)])
def test_an_answer_that_makes_no_sense_is_no(
    answer: Any, execute: Execute, step: Step, log: list[str]
) -> None:
    """The operation has failed with its own error, which does not get lost; all is undone."""
    service = Service(Busy(), Busy())
    saga = SagaAssembler.saga().operation(step("a"), step("undo_a"))
    saga.operation(service.call, retry=Retry(lambda _: answer), name="call", after=["a"])

    with pytest.raises(SagaException) as caught:
        execute(saga)

    assert service.calls == 1
    assert log == ["a", "undo_a"]
    assert caught.value.operation_name == "call"
    assert_error_is_kept(caught.value, Busy)


def test_a_predicate_that_raises_means_no(execute: Execute, step: Step, log: list[str]) -> None:
    """The operation has failed with its own error, which does not get lost; all is undone."""
    service = Service(Busy(), Busy())

    def ask(_: Exception) -> bool:
        raise ZeroDivisionError

    saga = SagaAssembler.saga().operation(step("a"), step("undo_a"))
    saga.operation(service.call, retry=Retry(ask), name="call", after=["a"])

    with pytest.raises(SagaException) as caught:
        execute(saga)

    assert service.calls == 1
    assert log == ["a", "undo_a"]
    assert caught.value.operation_name == "call"
    assert_error_is_kept(caught.value, Busy)


def test_a_predicate_that_raises_in_an_undo_leaves_it_stuck(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """The other undos run, and the undo's own error is kept."""
    service = Service(Busy(), Busy())

    def ask(_: Exception) -> bool:
        raise ZeroDivisionError

    saga = SagaAssembler.saga().operation(step("a"), step("undo_a"))
    saga.operation(step("b"), service.call, compensation_retry=Retry(ask), after=["a"])
    saga.operation(step("bad", raises=ValueError("boom")), after=["b"])

    with pytest.raises(SagaStuck) as caught:
        execute(saga)

    assert service.calls == 1
    assert log == ["a", "b", "bad", "undo_a"]
    assert repr(caught.value.operation_error) == "ValueError('boom')"
    assert list(caught.value.stuck) == ["b"]


def assert_error_is_kept(exception: SagaException, kind: type[Exception]) -> None:
    """Assert that the operation's own error is the one raised from, or in that error's chain."""
    error: BaseException | None = exception.__cause__
    assert error is exception.operation_error
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    assert isinstance(error, kind)


# --- attempts ----------------------------------------------------------------


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_attempts_are_counted_in_all(attempts: int, execute: Execute) -> None:
    """The first one counts."""
    service = Service(*[Busy()] * 9)

    run(execute, service, now(Busy, attempts))

    assert service.calls == attempts


def test_without_a_number_there_are_three(execute: Execute) -> None:
    """The default."""
    service = Service(*[Busy()] * 9)

    run(execute, service, Retry(Busy, wait_initial=0, wait_jitter=0))

    assert service.calls == 3


def test_none_is_no_limit(execute: Execute) -> None:
    """`attempts=None` goes on until it works."""
    service = Service(*[Busy()] * 100)

    assert execute(SagaAssembler.saga().operation(service.call, retry=now(Busy, None))) == [
        "answer"
    ]
    assert service.calls == 101


def test_nothing_is_tried_again_by_default(execute: Execute) -> None:
    """Without a policy there is one attempt."""
    service = Service(Busy())

    run(execute, service, None)

    assert service.calls == 1


def test_the_last_error_counts(execute: Execute) -> None:
    """It is the cause of the exception."""
    errors = [Busy(1), Busy(2), Busy(3)]

    exception = run(execute, Service(*errors), now(Busy))

    assert exception.operation_error is exception.__cause__ is errors[-1]
    assert exception.operations["call"].error is errors[-1]


def test_an_error_that_was_overcome_is_no_error(execute: Execute, step: Step) -> None:
    """An operation that succeeded at last has none, also when another one fails."""
    service = Service(Busy(), Busy())
    saga = SagaAssembler.saga().operation(service.call, retry=now(Busy))
    saga.operation(step("bad", raises=ValueError()), after=["call"])

    with pytest.raises(SagaException) as caught:
        execute(saga)

    assert caught.value.operations["call"].status is Status.SKIPPED
    assert caught.value.operations["call"].result == "answer"
    assert list(caught.value.operation_errors) == ["bad"]


# --- waits -------------------------------------------------------------------


def observed_waits(execute: Execute, retry: Retry, failures: int) -> list[float | None]:
    """Run an operation that fails so often; return the waits as observers were told."""
    events: list[Event] = []
    service = Service(*[Busy()] * failures)
    with pytest.raises(SagaException):
        execute(SagaAssembler.saga(observers=[events.append]).operation(service.call, retry=retry))
    return waits_of(events)


def test_waits_grow_exponentially(execute: Execute) -> None:
    """`wait_initial * wait_exp_base ** (n - 1)` seconds after attempt n."""
    waits = observed_waits(
        execute, Retry(Busy, attempts=5, wait_initial=0.001, wait_jitter=0, wait_exp_base=3), 9
    )

    assert [wait for wait in waits if wait is not None] == pytest.approx(
        [0.001, 0.003, 0.009, 0.027]
    )


def test_waits_have_a_limit(execute: Execute) -> None:
    """`wait_max`, jitter included."""
    waits = observed_waits(
        execute,
        Retry(Busy, attempts=6, wait_initial=0.001, wait_max=0.004, wait_jitter=0),
        9,
    )
    assert [wait for wait in waits if wait is not None] == pytest.approx(
        [0.001, 0.002, 0.004, 0.004, 0.004]
    )

    waits = observed_waits(execute, Retry(Busy, attempts=6, wait_max=0.004, wait_jitter=60), 9)
    assert all(wait is not None and 0 <= wait <= 0.004 for wait in waits)


def test_jitter_spreads_the_waits(execute: Execute) -> None:
    """A random part of up to `wait_jitter` seconds is added."""
    waits = observed_waits(execute, Retry(Busy, attempts=20, wait_initial=0, wait_jitter=0.002), 30)

    assert len(waits) in (19, 20)
    known = [wait for wait in waits if wait is not None]
    assert all(0 <= wait <= 0.002 for wait in known)
    assert len(set(known)) > 10


def test_a_wait_is_really_waited(execute: Execute) -> None:
    """The next attempt starts no earlier."""
    service = Service(Busy(), Busy())
    retry = Retry(Busy, wait_initial=0.03, wait_jitter=0, wait_exp_base=1)

    execute(SagaAssembler.saga().operation(service.call, retry=retry))

    first, second, third = service.times
    assert second - first > 0.029
    assert third - second > 0.029


def test_nothing_waits_after_the_last_attempt(execute: Execute) -> None:
    """The saga fails at once when no attempt is left."""
    service = Service(*[Busy(seconds) for seconds in (0.001, 60)])
    retry = Retry(lambda error: error.seconds, attempts=2)  # type: ignore[attr-defined]

    start = time.perf_counter()
    run(execute, service, retry)

    assert service.calls == 2
    assert time.perf_counter() - start < 30


def test_one_attempt_never_waits(execute: Execute) -> None:
    """Whatever the waits would be."""
    start = time.perf_counter()
    run(execute, Service(Busy()), Retry(Busy, attempts=1, wait_initial=60, wait_max=60))

    assert time.perf_counter() - start < 30


def test_waiting_holds_up_nobody_else(execute_graph: Execute, log: list[str]) -> None:
    """In a choreography the other operations run meanwhile."""
    service = Service(Busy())
    retry = Retry(Busy, wait_initial=0.5, wait_jitter=0)
    saga = SagaAssembler.saga().operation(service.call, retry=retry)

    def first() -> None:
        until_called(service)
        log.append("meanwhile")

    saga.operation(first, name="a")
    saga.operation(lambda: log.append(f"then {service.calls}"), name="b", after=["a"])

    execute_graph(saga)

    assert log == ["meanwhile", "then 1"]
    assert service.calls == 2


def until_called(service: Service) -> None:
    """Wait until a service was called: threads begin in any order."""
    deadline = time.perf_counter() + 60
    while not service.calls and time.perf_counter() < deadline:
        time.sleep(0.001)


def test_a_wait_ends_when_another_operation_fails(execute_graph: Execute) -> None:
    """No further attempt starts, and nothing waits for it."""
    service = Service(Busy(), Busy())
    retry = Retry(Busy, wait_initial=60, wait_max=60)
    saga = SagaAssembler.saga().operation(service.call, retry=retry)

    def bad() -> None:
        until_called(service)
        time.sleep(0.02)
        raise ValueError

    start = time.perf_counter()
    with pytest.raises(SagaException) as caught:
        execute_graph(saga.operation(bad))

    assert time.perf_counter() - start < 30
    assert service.calls == 1
    assert caught.value.operations["call"].status is Status.FAILED
    assert list(caught.value.operation_errors) == ["call", "bad"]


def test_a_deadline_ends_a_wait(execute: Execute, step: Step, log: list[str], clock: Clock) -> None:
    """A saga does not sleep past its deadline; what was done is undone."""
    service = Service(Busy(), Busy())
    retry = Retry(Busy, wait_initial=9 * HOUR, wait_max=9 * HOUR)
    saga = SagaAssembler.saga().operation(step("a"), step("undo_a"))

    def call() -> str:
        clock.forward(HOUR - 0.1)
        return service.call()

    saga.operation(call, retry=retry, after=["a"])

    start = time.perf_counter()
    with pytest.raises(SagaException):
        execute(saga, deadline=HOUR)

    assert time.perf_counter() - start < 30
    assert service.calls == 1
    assert log == ["a", "undo_a"]


# --- timeout -----------------------------------------------------------------


def test_a_timeout_limits_all_attempts_together(execute: Execute, clock: Clock) -> None:
    """No attempt starts later than so many seconds after the first."""
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        clock.forward(HOUR)
        raise Busy

    with pytest.raises(SagaException):
        execute(SagaAssembler.saga().operation(call, retry=now(Busy, 1000, timeout=2.5 * HOUR)))

    assert calls == 3


def test_a_wait_beyond_the_timeout_is_not_begun(execute: Execute) -> None:
    """If the next attempt would come too late, the saga fails at once."""
    service = Service(Busy(), Busy())

    start = time.perf_counter()
    run(execute, service, Retry(Busy, timeout=30, wait_initial=60, wait_max=60))

    assert service.calls == 1
    assert time.perf_counter() - start < 30


# --- compensations -----------------------------------------------------------


def undone_by(service: Service, step: Step, **options: Any) -> SagaAssembler:
    """Make a saga whose only undo is the service's call."""
    saga = SagaAssembler.saga().operation(step("a"), service.call, **options)
    return saga.operation(step("bad", raises=ValueError("boom")), after=["a"])


def test_a_compensation_is_tried_again_by_its_own_policy(execute: Execute, step: Step) -> None:
    """`compensation_retry=`: the saga ends COMPENSATED if an attempt succeeds."""
    service = Service(Busy(), Busy())

    with pytest.raises(SagaException) as caught:
        execute(undone_by(service, step, compensation_retry=now(Busy)))

    assert service.calls == 3
    assert not isinstance(caught.value, SagaStuck)
    assert caught.value.compensation_success_result == ["answer"]
    assert caught.value.compensation_errors is None
    assert caught.value.operations["a"].status is Status.COMPENSATED


def test_a_compensation_that_gives_up_is_stuck(execute: Execute, step: Step) -> None:
    """With the error of its last attempt, once."""
    last = Busy("last")
    service = Service(Busy(), Busy(), last)

    with pytest.raises(SagaStuck) as caught:
        execute(undone_by(service, step, compensation_retry=now(Busy)))

    assert service.calls == 3
    assert caught.value.stuck == {"a": last}
    assert caught.value.compensation_errors == ["last"]


def test_the_policy_of_the_action_is_not_the_compensations(execute: Execute, step: Step) -> None:
    """`retry=` and `retry_attempts=` leave compensations at one attempt."""
    for saga in (SagaAssembler.saga(retry=now(Exception)), SagaAssembler.saga(3)):
        service = Service(*[Busy()] * 5)
        saga.operation(step("a"), service.call, name="a")
        saga.operation(step("bad", raises=ValueError("boom")), after=["a"])
        with pytest.raises(SagaStuck):
            execute(saga)
        assert service.calls == 1


def test_the_policy_of_the_compensation_is_not_the_actions(execute: Execute) -> None:
    """`compensation_retry=` leaves actions at one attempt."""
    service = Service(*[Busy()] * 5)

    with pytest.raises(SagaException):
        execute(SagaAssembler.saga(compensation_retry=now(Exception)).operation(service.call))

    assert service.calls == 1


# --- precedence --------------------------------------------------------------


def test_operation_beats_saga_beats_class(execute: Execute) -> None:
    """Each of three operations in one saga has the policy nearest to it."""

    class Patient(SagaAssembler):
        retry = now(Busy, 2)

    def attempts(saga: SagaAssembler, **options: Any) -> int:
        service = Service(*[Busy()] * 9)
        with pytest.raises(SagaException):
            execute(saga.operation(service.call, **options))
        return service.calls

    assert attempts(Patient.saga()) == 2
    assert attempts(Patient.saga(retry=now(Busy, 3))) == 3
    assert attempts(Patient.saga(retry=now(Busy, 3)), retry=now(Busy, 4)) == 4
    assert attempts(Patient.saga(5)) == 5
    assert attempts(Patient.saga(5), retry=now(Busy, 4)) == 4
    assert attempts(SagaAssembler.saga(5), retry=now(KeyError, 4)) == 1


# --- doubt -------------------------------------------------------------------


def test_an_attempt_in_doubt_may_be_tried_again(execute: Execute) -> None:
    """A timeout that the policy means is tried again; if that succeeds, so has the operation."""
    service = Service(TimeoutError("no reply"))
    saga = SagaAssembler.saga().operation(service.call, retry=now(TimeoutError))

    assert execute(saga) == ["answer"]
    assert service.calls == 2


def test_a_doubt_stays_when_a_later_attempt_fails(
    execute: Execute, step: Step, log: list[str]
) -> None:
    """The first attempt may have happened: the operation is undone itself."""
    service = Service(TimeoutError("no reply"), Busy())
    saga = SagaAssembler.saga().operation(
        service.call, step("undo_call"), retry=now((TimeoutError, Busy), 2)
    )

    with pytest.raises(SagaException) as caught:
        execute(saga)

    assert log == ["undo_call"]
    assert caught.value.operations["call"].status is Status.COMPENSATED


class OddArgs(ConnectionResetError):
    """An error that does not let itself be examined."""

    @property
    def args(self) -> Any:  # type: ignore[override]
        """Fail."""
        message = "no args"
        raise RuntimeError(message)


class OddReason:
    """What an error may hold: it fails where requests has its reason."""

    @property
    def reason(self) -> Any:
        """Fail."""
        message = "no reason"
        raise RuntimeError(message)


@pytest.mark.parametrize("error", [OddArgs("lost"), ConnectionResetError(OddReason())])
def test_an_error_that_cannot_be_examined_is_no_danger(
    error: Exception, execute: Execute, step: Step, log: list[str]
) -> None:
    """Whether it leaves doubt is asked of its type at most: the saga ends, and is rolled back."""
    caught: list[BaseException] = []

    def main() -> None:
        saga = SagaAssembler.saga().operation(step("a"), step("undo_a"))
        saga.operation(step("bad", raises=error), step("undo_bad"), after=["a"])
        try:
            execute(saga)
        except BaseException as raised:  # noqa: BLE001 - told below
            caught.append(raised)

    thread = threading.Thread(target=main, daemon=True)
    thread.start()
    thread.join(PATIENCE)

    assert not thread.is_alive(), "the saga never ends"
    assert [type(raised) for raised in caught] == [SagaException]
    assert log == ["a", "bad", "undo_bad", "undo_a"]


# --- data --------------------------------------------------------------------


def test_a_policy_is_data() -> None:
    """Equal if its values are, hashable, frozen, printed as it was written; copies are equal."""
    policy = Retry((ValueError, Busy), attempts=4, timeout=9.5)

    assert policy == Retry((ValueError, Busy), attempts=4, timeout=9.5)
    assert policy != Retry((ValueError, Busy), attempts=5, timeout=9.5)
    assert len({policy, Retry((ValueError, Busy), attempts=4, timeout=9.5)}) == 1
    assert copy.deepcopy(policy) == policy
    assert pickle.loads(pickle.dumps(policy)) == policy  # noqa: S301 - our own bytes
    assert policy != 4
    assert repr(policy) == (
        f"Retry(on={(ValueError, Busy)!r}, attempts=4, timeout=9.5, wait_initial=0.1, "
        "wait_max=5.0, wait_jitter=1.0, wait_exp_base=2.0)"
    )
    with pytest.raises(AttributeError, match="frozen"):
        policy.attempts = 5  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del policy.attempts
    match policy:
        case Retry(on):
            assert on == (ValueError, Busy)


def test_a_policy_is_a_dataclass_to_whoever_asks() -> None:
    """It can be replaced in part, taken apart, and be the base of a dataclass."""
    policy = Retry(ValueError, attempts=4)

    @dataclasses.dataclass(frozen=True)
    class Patient(Retry):
        """Tries for longer."""

        attempts: int | None = 40

    assert dataclasses.replace(policy, attempts=5) == Retry(ValueError, attempts=5)
    assert policy.__replace__(timeout=5) == Retry(ValueError, attempts=4, timeout=5)
    with pytest.raises(SagaDefinitionError, match="attempts"):
        dataclasses.replace(policy, attempts=0)
    assert [field.name for field in dataclasses.fields(policy)][:3] == ["on", "attempts", "timeout"]
    assert dataclasses.asdict(policy)["wait_max"] == 5.0
    assert Patient(ValueError).attempts == 40


def test_the_defaults_are_those_of_stamina() -> None:
    """Seconds: .1, doubling, at most 5, with up to 1 of jitter."""
    policy = Retry(ValueError)

    assert (policy.attempts, policy.timeout) == (3, None)
    assert (policy.wait_initial, policy.wait_max) == (0.1, 5.0)
    assert (policy.wait_jitter, policy.wait_exp_base) == (1.0, 2.0)


BAD_NUMBERS = [
    *(-1, -0.1, math.nan, math.inf, -math.inf, "1", [1], True, timedelta(seconds=1)),
    10**400,  # no float
]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        *(
            ({"attempts": value}, "attempts")
            for value in (0, -1, 1.5, "3", math.nan, math.inf, [3])
        ),
        *(({"timeout": value}, "timeout") for value in BAD_NUMBERS),
        *(({"wait_initial": value}, "wait_initial") for value in (*BAD_NUMBERS, None)),
        *(({"wait_max": value}, "wait_max") for value in (*BAD_NUMBERS, None)),
        *(({"wait_jitter": value}, "wait_jitter") for value in (*BAD_NUMBERS, None)),
        *(({"wait_exp_base": value}, "wait_exp_base") for value in (*BAD_NUMBERS, None)),
    ],
)
def test_bad_numbers_are_refused(options: dict[str, Any], word: str) -> None:
    """When the policy is made: where, expected, got."""
    with pytest.raises(SagaDefinitionError, match=word) as caught:
        Retry(ValueError, **options)

    assert "got" in str(caught.value)


@pytest.mark.parametrize(
    "on", [5, None, "ValueError", [ValueError], (ValueError, 5), (ValueError, "x"), int, {}]
)
def test_a_bad_on_is_refused(on: Any) -> None:
    """It takes exception types or a function of the error."""
    with pytest.raises(SagaDefinitionError, match="on"):
        Retry(on)


@pytest.mark.parametrize("on", [KeyboardInterrupt, BaseException, (ValueError, SystemExit)])
def test_interrupts_in_on_are_refused(on: Any) -> None:
    """They are never tried again, so asking for it is a mistake."""
    with pytest.raises(SagaDefinitionError, match="on"):
        Retry(on)
