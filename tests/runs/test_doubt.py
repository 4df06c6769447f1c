"""When nobody knows whether an action happened: what leaves doubt, and what is done about it."""

# ruff: noqa: TRY301 - to raise and to handle in one place is the case

import asyncio
import contextlib
import copy
import logging
import pickle
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import depot
import httpx
import pytest
import recorded
import requests
from world import PATIENCE, Execute, Watch, World, failure_of, statuses, steps

from py_api_saga import (
    NOT_HAPPENED,
    UNKNOWN,
    JournalError,
    Retry,
    SagaAssembler,
    SagaConflict,
    SagaDefinitionError,
    SagaException,
    SagaStatus,
    SagaStuck,
    Status,
    current_operation,
    happened,
    leaves_doubt,
    recover,
    result_of,
)
from py_api_saga.evidence import DOUBTFUL, read_doubtful
from py_api_saga.exceptions import RecordedError
from py_api_saga.journal import SQLiteJournal
from py_api_saga.repair import purge

AT_ONCE = Retry(Exception, attempts=3, wait_initial=0, wait_jitter=0)


class CardDeclined(Exception):
    """The bank says no."""


class Vanished(Exception):
    """The bank says nothing."""


def vanish(world: World, name: str, error: Exception | None = None) -> None:
    """Take effect, but let the reply be lost."""
    world.do(name)
    raise error or TimeoutError("no reply")


def doubted(world: World, error: Exception | None = None, **options: Any) -> SagaAssembler:
    """Make a saga whose second operation is in doubt."""
    saga = steps(world, "stock", observers=options.pop("observers", ()))
    undo = options.pop("undo", (world.undo, "charge"))
    call = (vanish, world, "charge", error)
    return saga.operation(call, undo, name="charge", after="stock", **options)


# --- what leaves doubt ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [TimeoutError, ConnectionResetError, ConnectionAbortedError, BrokenPipeError, socket.timeout],
)
def test_timeouts_and_broken_connections_leave_doubt(
    execute: Execute, world: World, error: type[Exception]
) -> None:
    """The action may have happened, so its own compensation is run, first."""
    raised = failure_of(execute, doubted(world, error()))

    assert world.log == ["stock", "charge", "undo charge", "undo stock"]
    assert world.standing == []
    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "COMPENSATED"}
    assert isinstance(raised.operation_error, error)
    assert raised.__cause__ is raised.operation_error
    assert raised.operation_name == "charge"


@pytest.mark.parametrize(
    "error",
    [ConnectionRefusedError, ConnectionError, OSError, InterruptedError, KeyError, CardDeclined],
)
def test_other_errors_leave_none(execute: Execute, world: World, error: type[Exception]) -> None:
    """A refused connection was never made; whoever else raises declares that nothing happened."""
    raised = failure_of(execute, doubted(world, error()))

    assert world.log == ["stock", "charge", "undo stock"]
    assert statuses(raised)["charge"] == "FAILED"


def test_subclasses_leave_doubt(execute: Execute, world: World) -> None:
    """As in an `except` clause."""

    class StillWaiting(TimeoutError):
        pass

    assert statuses(failure_of(execute, doubted(world, StillWaiting())))["charge"] == "COMPENSATED"


def test_doubtful_nothing_is_the_predecessor_s_behaviour(execute: Execute, world: World) -> None:
    """With `doubtful=()` every error says that nothing happened."""
    raised = failure_of(execute, doubted(world, doubtful=()))

    assert world.log == ["stock", "charge", "undo stock"]
    assert statuses(raised)["charge"] == "FAILED"


def test_doubtful_takes_types(execute: Execute, world: World) -> None:
    """Given types stand in the place of the default ones."""
    assert statuses(failure_of(execute, doubted(world, Vanished(), doubtful=Vanished))) == {
        "stock": "COMPENSATED",
        "charge": "COMPENSATED",
    }
    only = [Vanished]
    assert statuses(failure_of(execute, doubted(world, doubtful=only)))["charge"] == "FAILED"


def test_doubtful_takes_names(execute: Execute, world: World) -> None:
    """A class is named by its module and itself, so it need not be imported; bases count."""

    class Lost(Vanished):
        pass

    names = (f"{__name__}.Vanished", KeyError)
    for error in (Vanished(), Lost(), KeyError()):
        raised = failure_of(execute, doubted(world, error, doubtful=names))
        assert statuses(raised)["charge"] == "COMPENSATED"
    assert statuses(failure_of(execute, doubted(world, doubtful=names)))["charge"] == "FAILED"


@pytest.mark.parametrize("meant", [Vanished, [f"{__name__}.Vanished"]])
def test_given_types_are_found_in_groups_and_chains(
    execute: Execute, world: World, meant: Any
) -> None:
    """By the same walk as the default ones, and nothing excuses them."""
    chained = ValueError()
    chained.__cause__ = Vanished()
    refused = httpx.ConnectTimeout("")
    refused.__cause__ = Vanished()
    errors: list[Exception] = [chained, refused, ExceptionGroup("", [ValueError(), chained])]
    for error in errors:
        raised = failure_of(execute, doubted(world, error, doubtful=meant))
        assert statuses(raised)["charge"] == "COMPENSATED"
    errors = [ValueError(), TimeoutError(), ExceptionGroup("", [TimeoutError()])]
    for error in errors:
        raised = failure_of(execute, doubted(world, error, doubtful=meant))
        assert statuses(raised)["charge"] == "FAILED"


def test_given_types_are_not_looked_for_below_a_saga() -> None:
    """Which knows what it did; but it may be meant itself."""
    inner = SagaException("inner")
    inner.__cause__ = Vanished()
    outer = ValueError()
    outer.__cause__ = inner

    assert not read_doubtful(Vanished, "").includes(outer)
    assert read_doubtful((Vanished, SagaException), "").includes(outer)


def test_given_types_are_found_by_their_names_in_what_was_recorded() -> None:
    """An error that a journal tells of has the name of its class alone."""
    outer = ValueError()
    outer.__cause__ = RecordedError(f"{__name__}.Vanished", "text")

    assert read_doubtful(Vanished, "").includes(outer)
    assert read_doubtful(f"{__name__}.Vanished", "").includes(outer)
    assert not read_doubtful(KeyError, "").includes(outer)


# --- functions of an error ------------------------------------------------------------------------


def is_patient(error: Exception) -> bool:
    """Take a timeout for a failure, and everything else for doubt."""
    return not isinstance(error, TimeoutError)


class Patient:
    """The same, as an object that can be called."""

    def __call__(self, error: Exception) -> bool:
        """Judge."""
        return is_patient(error)

    judge = __call__


@pytest.mark.parametrize(
    "predicate",
    [
        is_patient,
        Patient(),
        Patient().judge,
        partial(is_patient),
        lambda error: error.args == () and is_patient(error),
    ],
)
def test_doubtful_takes_a_function_of_the_error(
    execute: Execute, world: World, predicate: Any
) -> None:
    """In the place of the default; it is given what was raised, whatever is below that."""
    raised = failure_of(execute, doubted(world, KeyError(), doubtful=predicate))
    assert statuses(raised)["charge"] == "COMPENSATED"
    late = TimeoutError()
    late.__cause__ = ConnectionResetError()
    raised = failure_of(execute, doubted(world, late, doubtful=predicate))
    assert statuses(raised)["charge"] == "FAILED"


def test_any_of_types_names_and_functions_is_doubt(execute: Execute, world: World) -> None:
    """In a tuple of them."""
    meant = (Vanished, f"{__name__}.CardDeclined", lambda error: error.args == (5,))
    for error in (Vanished(), CardDeclined(), KeyError(5)):
        raised = failure_of(execute, doubted(world, error, doubtful=meant))
        assert statuses(raised)["charge"] == "COMPENSATED"
    raised = failure_of(execute, doubted(world, KeyError(6), doubtful=meant))
    assert statuses(raised)["charge"] == "FAILED"


def test_mine_too_and_but_not_that(execute: Execute, world: World) -> None:
    """What is public decides the rest."""

    def too(error: Exception) -> bool:
        return isinstance(error, Vanished) or leaves_doubt(error)

    def but(error: Exception) -> bool:
        return leaves_doubt(error) and "no reply" not in str(error)

    for judge, error, expected in (
        (too, Vanished(), "COMPENSATED"),
        (too, TimeoutError(), "COMPENSATED"),
        (too, KeyError(), "FAILED"),
        (but, TimeoutError(), "COMPENSATED"),
        (but, TimeoutError("no reply"), "FAILED"),
    ):
        raised = failure_of(execute, doubted(world, error, doubtful=judge))
        assert statuses(raised)["charge"] == expected
    raised = failure_of(execute, doubted(world, doubtful=(Vanished, leaves_doubt)))
    assert statuses(raised)["charge"] == "COMPENSATED"


LOOP: asyncio.AbstractEventLoop = asyncio.new_event_loop()  # never run
LOOP.close()


def silly(_: Exception) -> bool:
    """Raise instead of judging."""
    raise LookupError


async def later() -> bool:
    """Judge some time."""
    return False


@pytest.mark.parametrize("judge", [silly, lambda _: later(), lambda _: asyncio.Future(loop=LOOP)])
def test_a_function_that_does_not_judge_counts_as_doubt(
    execute: Execute, world: World, caplog: pytest.LogCaptureFixture, judge: Any
) -> None:
    """And the log says so."""
    with caplog.at_level(logging.WARNING, "py_api_saga"):
        raised = failure_of(execute, doubted(world, KeyError(), doubtful=judge))

    assert statuses(raised)["charge"] == "COMPENSATED"
    assert "a function in doubtful= raised: the action is in doubt" in caplog.text


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_such_a_function_is_one(
    execute: Execute, world: World, kind: type[BaseException]
) -> None:
    """The action has ended, and nobody can say how: it is in doubt."""

    def judge(_: Exception) -> bool:
        raise kind

    with pytest.raises(kind):
        execute(doubted(world, KeyError(), doubtful=judge))

    assert world.log == ["stock", "charge", "undo charge", "undo stock"]


async def judge_later(_: Exception) -> bool:
    """Judge, when it is awaited."""
    return True


class Awaited:
    """An object that can be called so."""

    async def __call__(self, _: Exception) -> bool:
        """The same."""
        return True


def judge_each(_: Exception) -> Iterator[bool]:
    """Judge, when it is asked for."""
    yield True


@pytest.mark.parametrize("judge", [judge_later, Awaited(), partial(judge_later), judge_each])
def test_a_function_that_must_be_awaited_is_refused(world: World, judge: Any) -> None:
    """When the operation is added."""
    with pytest.raises(
        SagaDefinitionError, match="operation 1: doubtful: expected a function that"
    ):
        SagaAssembler.saga().operation((world.do, "a"), doubtful=(KeyError, judge))


def judge(error: Exception) -> bool:
    """Judge as the journal's tests need it."""
    return isinstance(error, Vanished)


def test_a_function_is_kept_in_a_journal_by_its_name(execute: Execute, journal: Any) -> None:
    """And is asked by whoever goes on; ours may always be named."""
    depot.behaviour["b"] = depot.fail(KeyError("lost"))
    saga = recorded.chain("a")
    saga.operation(
        (depot.do, "b"), (depot.undo, "b"), name="b", after="a",
        doubtful=(Vanished, depot.is_lost, leaves_doubt),
    )  # fmt: skip

    failure_of(execute, saga, journal=journal, saga_id="x")
    assert depot.log == ["a", "b", "undo b", "undo a"]

    depot.log.clear()
    saga.start(journal=journal, saga_id="y")
    recover(journal)
    assert depot.log == ["a", "b", "undo b", "undo a"]


@pytest.mark.parametrize("judge", [lambda _: True, judge, Patient().judge, Patient()])
def test_a_function_that_could_not_be_found_again_is_refused(journal: Any, judge: Any) -> None:
    """As other functions are: before anything runs."""
    saga = SagaAssembler.saga().operation((depot.do, "a"), name="a", doubtful=judge)

    with pytest.raises(SagaDefinitionError, match="operation 'a': doubtful: "):
        saga.orchestrator_execute(journal=journal)

    assert depot.log == []


# --- what an error says itself --------------------------------------------------------------------


class Said(Exception):
    """An error that says what it means."""

    def __init__(self, outcome: object, cause: Exception | None = None) -> None:
        super().__init__("said")
        self.saga_outcome = outcome
        self.__cause__ = cause


def test_an_error_may_say_whether_it_happened(execute: Execute, world: World) -> None:
    """Which counts before what is below it, and before `doubtful=`; other words do not."""
    options: dict[str, Any]
    for error, options, expected in (
        (Said("in doubt"), {}, "COMPENSATED"),
        (Said("in doubt"), {"doubtful": ()}, "COMPENSATED"),
        (Said("not happened", TimeoutError()), {}, "FAILED"),
        (Said("not happened"), {"doubtful": Said}, "FAILED"),
        (Said("not happened"), {"doubtful": lambda _: True}, "FAILED"),
        (Said("no idea", TimeoutError()), {}, "COMPENSATED"),
        (Said(5), {}, "FAILED"),
    ):
        raised = failure_of(execute, doubted(world, error, **options))
        assert statuses(raised)["charge"] == expected
    assert leaves_doubt(Said("in doubt"))
    assert not leaves_doubt(Said("not happened", TimeoutError()))


def test_what_an_error_below_says_is_a_hint(execute: Execute, world: World) -> None:
    """That it is in doubt counts; that it is not, only for itself."""
    for inner, expected in (
        (Said("in doubt"), "COMPENSATED"),
        (Said("not happened"), "FAILED"),
        (Said("not happened", TimeoutError()), "COMPENSATED"),
    ):
        outer = CardDeclined()
        outer.__cause__ = inner
        assert statuses(failure_of(execute, doubted(world, outer)))["charge"] == expected


# --- asked by an action ---------------------------------------------------------------------------


def test_an_action_may_ask_whether_an_error_leaves_doubt(
    execute_sync: Execute, world: World
) -> None:
    """It is told what it handles itself, and not what its caller handles."""
    answers = []

    def charge() -> str:
        for error in (KeyError(), TimeoutError()):
            try:
                raise error
            except (KeyError, TimeoutError) as caught:
                try:
                    raise CardDeclined
                except CardDeclined as declined:
                    answers.append((leaves_doubt(caught), leaves_doubt(declined)))
        return world.do("charge")

    saga = SagaAssembler.saga().operation(charge)
    try:
        raise ConnectionResetError
    except ConnectionResetError:
        execute_sync(saga)

    assert answers == [(False, False), (True, True)]


def test_a_function_in_doubtful_may_ask_in_the_middle_of_its_own_trouble(
    execute_sync: Execute, world: World
) -> None:
    """What the caller was handling does not count there either."""

    def judge(error: Exception) -> bool:
        try:
            raise KeyError
        except KeyError:
            return leaves_doubt(error)

    def charge() -> None:
        world.fail("charge", CardDeclined())

    saga = steps(world, "stock").operation(charge, after="stock", doubtful=judge)
    try:
        raise TimeoutError
    except TimeoutError:
        raised = failure_of(execute_sync, saga)

    assert statuses(raised)["charge"] == "FAILED"


@pytest.mark.parametrize("method", ["aorchestrator_execute", "achoreography_execute"])
def test_a_coroutine_may_ask_whether_an_error_leaves_doubt(method: str) -> None:
    """The same."""
    answers = []

    async def charge() -> None:
        try:
            raise CardDeclined
        except CardDeclined as declined:
            answers.append(leaves_doubt(declined))

    async def main() -> None:
        try:
            raise ConnectionResetError
        except ConnectionResetError:
            await getattr(SagaAssembler.saga().operation(charge), method)()

    try:
        raise TimeoutError
    except TimeoutError:
        asyncio.run(main())

    assert answers == [False]


# --- what a saga within an action says ------------------------------------------------------------


def test_a_journal_that_could_not_be_opened_leaves_no_doubt(tmp_path: Any) -> None:
    """The saga was not begun; one that has begun stays open."""
    journal = SQLiteJournal(str(tmp_path / "nowhere" / "sagas.db"), modules=["depot"])
    with pytest.raises(JournalError) as unopened:
        recorded.chain("a").orchestrator_execute(journal=journal)
    assert not leaves_doubt(unopened.value)

    journal = SQLiteJournal(str(tmp_path / "sagas.db"), modules=["depot"])
    with pytest.raises(JournalError) as left:
        recorded.chain("a").orchestrator_execute(journal=recorded.Faulty(journal, 1))
    assert leaves_doubt(left.value)
    journal.close()
    depot.reset()


def test_an_id_that_has_run_before_and_was_purged_leaves_doubt(journal: Any) -> None:
    """Nobody knows any more what became of it; another saga's id was only not ours."""
    recorded.chain("a").orchestrator_execute(journal=journal, saga_id="x")
    with pytest.raises(SagaConflict) as other:
        recorded.chain("b").operation((depot.do, "a", 2), name="a").orchestrator_execute(
            journal=journal, saga_id="x"
        )
    purge(journal, journal.find("x"))
    with pytest.raises(SagaConflict) as purged:
        recorded.chain("a").orchestrator_execute(journal=journal, saga_id="x")

    assert not leaves_doubt(other.value)
    assert leaves_doubt(purged.value)


@pytest.mark.parametrize(
    "wrong", [5, "Vanished", [5], None, (Vanished, "name"), int, [object()], "a:b.c"]
)
def test_what_is_no_exception_type_is_refused(world: World, wrong: Any) -> None:
    """With the position of the operation; nothing is added."""
    saga = SagaAssembler.saga()

    with pytest.raises(SagaDefinitionError, match=r"operation 1: doubtful: expected exception"):
        saga.operation((world.do, "a"), doubtful=wrong)

    with pytest.raises(SagaDefinitionError, match="Set operation first"):
        saga.orchestrator_execute()


def test_the_default_is_one_thing() -> None:
    """Also in a saga that was copied, or handed to another process."""
    assert copy.deepcopy(DOUBTFUL) is copy.copy(DOUBTFUL) is DOUBTFUL
    assert pickle.loads(pickle.dumps(DOUBTFUL)) is DOUBTFUL  # noqa: S301 - our own


def test_what_is_meant_can_be_read() -> None:
    """By whoever looks at a policy."""
    assert repr(read_doubtful((KeyError, "shop.Lost", judge), "")) == "<KeyError, shop.Lost, judge>"
    assert repr(read_doubtful(Patient(), "")) == "<Patient>"


def test_doubt_without_a_compensation_is_skipped(execute: Execute, world: World) -> None:
    """There is nothing to call; the message says that its effect may stand."""
    raised = failure_of(execute, doubted(world, undo=None))

    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "SKIPPED"}
    assert not isinstance(raised, SagaStuck)
    assert world.standing == ["charge"]
    assert "\n  may stand, having no compensation: charge" in str(raised)
    assert str(pickle.loads(pickle.dumps(raised))) == str(raised)  # noqa: S301 - our own


def test_what_may_stand_is_on_record(execute: Execute, journal: Any) -> None:
    """Whoever asks by the id is told the same, by this process or another; also after a crash."""
    depot.behaviour["b"] = depot.fail(TimeoutError("no reply"))
    saga = recorded.chain("a").operation((depot.do, "b"), name="b", after="a")

    said = {str(failure_of(execute, saga, journal=journal, saga_id="x")) for _ in range(2)}

    (text,) = said
    assert text.splitlines() == [
        "operation 'b' failed: TimeoutError('no reply')",
        "  compensated: a",
        "  may stand, having no compensation: b",
    ]


def test_what_a_crash_has_left_may_stand_too(journal: Any) -> None:
    """Nothing was raised, so nobody can say that it stands."""
    saga = recorded.chain("a", on_crash="compensate").operation((depot.do, "b"), name="b")
    recorded.crashed(journal, saga, 2)

    recover(journal)

    with pytest.raises(SagaException) as caught:
        saga.orchestrator_execute(journal=journal, saga_id="x")
    assert "\n  may stand, having no compensation: b" in str(caught.value)


def test_a_pivot_that_a_crash_has_left_in_doubt_names_what_helps(journal: Any) -> None:
    """Though nothing was raised."""
    saga = recorded.chain("a")
    saga.operation((depot.do, "b"), name="b", pivot=True, on_doubt="park")
    recorded.crashed(journal, saga, 2)

    recover(journal)

    with pytest.raises(SagaStuck) as caught:
        saga.orchestrator_execute(journal=journal, saga_id="x")
    assert "STUCK b: nobody knows whether it happened, and it is the pivot" in str(caught.value)


def test_a_pivot_that_is_stuck_by_doubt_names_what_helps(execute: Execute, world: World) -> None:
    """It is neither undone nor called again, so a function has to be asked."""
    raised = failure_of(execute, doubted(world, pivot=True))

    assert isinstance(raised, SagaStuck)
    assert "STUCK charge: its action raised TimeoutError('no reply'), so nobody knows" in str(
        raised
    )
    assert "a function in on_doubt= can tell" in str(raised)


def test_doubt_about_a_result_that_the_compensation_needs_is_stuck(
    execute: Execute, world: World
) -> None:
    """Nobody knows the result, so nobody can undo it but a person; the others are undone."""
    raised = failure_of(execute, doubted(world, undo=(world.undo, result_of())))

    assert isinstance(raised, SagaStuck)
    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "STUCK"}
    assert list(raised.stuck) == ["charge"]
    assert isinstance(raised.stuck["charge"], TimeoutError)
    assert raised.operations["charge"].result is None


def test_a_result_that_is_none_is_known(execute: Execute, world: World) -> None:
    """None is a result like any other, and no doubt."""
    saga = SagaAssembler.saga()
    saga.operation((world.note, "a"), (lambda result: world.note(f"undo {result}"), result_of()))
    saga.operation((world.fail, "b", CardDeclined()), after="note")

    failure_of(execute, saga)

    assert world.log == ["a", "b", "undo None"]


def test_a_compensation_in_trouble_is_in_no_doubt(execute: Execute, world: World) -> None:
    """A compensation that times out by itself has failed, and is retried as asked or stuck."""
    saga = SagaAssembler.saga()
    saga.operation((world.do, "a"), (world.fail, "undo a", TimeoutError()), name="a")
    saga.operation((world.fail, "b", CardDeclined()), after="a")

    raised = failure_of(execute, saga)

    assert statuses(raised)["a"] == "STUCK"


# --- doubt is sticky ------------------------------------------------------------------------------


def attempts(world: World, *outcomes: Exception | None) -> Callable[[], str]:
    """Make an action whose attempts end like this."""
    rest = list(outcomes)

    def charge() -> str:
        outcome = rest.pop(0)
        if outcome is not None:
            world.note("charge fails")
            raise outcome
        return world.do("charge")

    return charge


def test_a_later_failure_does_not_clear_a_doubt(execute: Execute, world: World) -> None:
    """The first attempt may have happened, whatever a later one says."""
    saga = steps(world, "stock")
    action = attempts(world, TimeoutError(), CardDeclined("at last"), CardDeclined("at last"))
    saga.operation(action, (world.undo, "charge"), name="charge", after="stock", retry=AT_ONCE)

    raised = failure_of(execute, saga)

    fails = ["charge fails"] * 3
    assert world.log == ["stock", *fails, "undo charge", "undo stock"]
    assert statuses(raised)["charge"] == "COMPENSATED"
    assert isinstance(raised.operation_error, CardDeclined)


def test_success_clears_a_doubt(execute: Execute, world: World) -> None:
    """The same key was sent each time, so the service has done it once."""
    saga = steps(world, "stock")
    action = attempts(world, TimeoutError(), None)
    saga.operation(action, (world.undo, result_of()), name="charge", after="stock", retry=AT_ONCE)
    assert execute(saga) == ["STOCK", "CHARGE"]

    action = attempts(world, TimeoutError(), None)
    saga = steps(world, "stock")
    saga.operation(action, (world.undo, result_of()), name="charge", after="stock", retry=AT_ONCE)
    saga.operation((world.fail, "courier", CardDeclined()), name="courier", after="charge")

    raised = failure_of(execute, saga)

    assert world.log[-2:] == ["undo CHARGE", "undo stock"]
    assert raised.operation_errors.keys() == {"courier"}
    assert raised.operations["charge"].error is None


def test_a_doubtful_attempt_is_retried_without_a_question(execute: Execute, world: World) -> None:
    """In a live run the retry carries the same key; it is neither asked about nor parked."""
    keys = []

    def charge() -> str:
        keys.append(current_operation().idempotency_key)
        if len(keys) < 3:
            raise TimeoutError
        return world.do("charge")

    def ask() -> Any:
        world.note("asked")
        return UNKNOWN

    policies: list[Any] = ["park", ask]
    for on_doubt in policies:
        keys.clear()
        saga = steps(world, "stock")
        saga.operation(charge, name="charge", after="stock", retry=AT_ONCE, on_doubt=on_doubt)
        assert execute(saga)["charge"] == "CHARGE"
        assert len(keys) == 3
        assert len(set(keys)) == 1
    assert "asked" not in world.log


def test_a_rollback_between_attempts_finds_the_doubt(execute_graph: Execute, world: World) -> None:
    """What waits for its next attempt is in doubt if one of its attempts was."""
    hour = Retry(Exception, wait_initial=3600, wait_max=3600, wait_jitter=0)
    saga = steps(world, "order")
    saga.operation(
        (vanish, world, "stock"), (world.undo, "stock"), name="stock", after="order", retry=hour
    )
    saga.operation(
        lambda: (world.wait_for("stock"), world.fail("charge", CardDeclined())),
        name="charge", after="order",
    )  # fmt: skip

    raised = failure_of(execute_graph, saga)

    assert world.log[-2:] == ["undo stock", "undo order"]
    assert statuses(raised)["stock"] == "COMPENSATED"
    assert world.standing == []


# --- on_doubt -------------------------------------------------------------------------------------


def test_park_leaves_it_to_a_person(execute: Execute, world: World) -> None:
    """It is STUCK at once, and not compensated; the others are undone."""
    raised = failure_of(execute, doubted(world, on_doubt="park"))

    assert isinstance(raised, SagaStuck)
    assert world.log == ["stock", "charge", "undo stock"]
    assert world.standing == ["charge"]
    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "STUCK"}
    assert isinstance(raised.stuck["charge"], TimeoutError)


def test_park_does_not_matter_without_a_doubt(execute: Execute, world: World) -> None:
    """A plain failure is a plain failure."""
    raised = failure_of(execute, doubted(world, CardDeclined(), on_doubt="park"))

    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "FAILED"}


def test_park_does_not_matter_without_a_compensation(execute: Execute, world: World) -> None:
    """Whether it happened or not, there is nothing to call."""
    raised = failure_of(execute, doubted(world, undo=None, on_doubt="park"))

    assert statuses(raised)["charge"] == "SKIPPED"
    assert world.standing == ["charge"]


class Bank:
    """A bank that can be asked what came of a charge."""

    def __init__(self, world: World, answer: Any) -> None:
        self.world = world
        self.answer = answer
        self.asked: list[tuple[Any, ...]] = []
        self.key = ""

    def charge(self, amount: int, *, currency: str) -> str:
        """Charge, and lose the reply."""
        self.key = current_operation().idempotency_key
        self.world.do(f"charge {amount} {currency}")
        raise TimeoutError

    def look(self, amount: int, *, currency: str) -> Any:
        """Say what came of it."""
        it = current_operation()
        self.asked.append((amount, currency, it.direction, it.operation, it.attempt))
        assert it.idempotency_key == self.key == it.action_key
        self.world.note("asked")
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def saga(self, undo: Any, **options: Any) -> SagaAssembler:
        """Make a saga that charges and asks."""
        saga = steps(self.world, "stock")
        call = partial(self.charge, 12, currency="EUR")
        return saga.operation(
            call, undo, name="charge", after="stock", on_doubt=self.look, **options
        )


def test_it_is_asked_with_the_action_s_arguments_and_key(execute: Execute, world: World) -> None:
    """So that it can look up what the service did under that key."""
    bank = Bank(world, UNKNOWN)

    failure_of(execute, bank.saga((world.undo, "charge 12 EUR")))

    assert bank.asked == [(12, "EUR", "ask", "charge", 1)]


def test_it_is_asked_with_results(execute: Execute, world: World) -> None:
    """Placeholders in the action's arguments are filled for the question, too."""
    asked = []

    def look(*args: object) -> Any:
        asked.append(args)
        return NOT_HAPPENED

    saga = steps(world, "stock").operation(
        (vanish, world, result_of("stock"), TimeoutError()), name="charge", on_doubt=look
    )

    failure_of(execute, saga)

    assert asked[0][1] == "STOCK"


def test_happened_is_compensated_with_the_answer_s_result(execute: Execute, world: World) -> None:
    """The answer knows the result that the reply would have brought."""
    bank = Bank(world, happened("charge 12 EUR"))

    raised = failure_of(execute, bank.saga((world.undo, result_of())))

    assert world.log == ["stock", "charge 12 EUR", "asked", "undo charge 12 EUR", "undo stock"]
    assert world.standing == []
    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "COMPENSATED"}
    assert isinstance(raised.operation_error, TimeoutError)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_happened_is_a_value(protocol: int) -> None:
    """Answers with equal results are equal, hash alike and outlast a pickle."""
    answer = happened("charge 12 EUR")

    assert pickle.loads(pickle.dumps(answer, protocol)) == answer  # noqa: S301 - our own
    assert len({answer, happened("charge 12 EUR"), happened(None)}) == 2


def test_happened_without_a_result_means_none(execute: Execute, world: World) -> None:
    """`happened()` is for actions that return nothing."""
    bank = Bank(world, happened())

    undo = (lambda result: world.note(f"undo {result}"), result_of())
    raised = failure_of(execute, bank.saga(undo))

    assert world.log[-2:] == ["undo None", "undo stock"]
    assert statuses(raised)["charge"] == "COMPENSATED"


def test_not_happened_owes_nothing(execute: Execute, world: World) -> None:
    """It is FAILED, and its compensation is not run."""
    bank = Bank(world, NOT_HAPPENED)

    raised = failure_of(execute, bank.saga((world.undo, "charge 12 EUR")))

    assert world.log == ["stock", "charge 12 EUR", "asked", "undo stock"]
    assert statuses(raised)["charge"] == "FAILED"
    assert type(raised) is SagaException


def test_unknown_is_compensated(execute: Execute, world: World) -> None:
    """As without a function to ask."""
    bank = Bank(world, UNKNOWN)

    raised = failure_of(execute, bank.saga((world.undo, "charge 12 EUR")))

    assert world.log[-3:] == ["asked", "undo charge 12 EUR", "undo stock"]
    assert statuses(raised)["charge"] == "COMPENSATED"


def test_unknown_is_stuck_if_the_result_is_needed(execute: Execute, world: World) -> None:
    """As without a function to ask."""
    raised = failure_of(execute, Bank(world, UNKNOWN).saga((world.undo, result_of())))

    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "STUCK"}


@pytest.mark.parametrize(
    "answer", [OSError("bank is down"), TimeoutError(), None, True, "happened"]
)
def test_what_is_no_answer_means_unknown(
    execute: Execute, world: World, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Raising or answering something else is logged; the action is compensated to be sure."""
    bank = Bank(world, answer)

    with caplog.at_level(logging.WARNING, "py_api_saga"):
        raised = failure_of(execute, bank.saga((world.undo, "charge 12 EUR")))

    assert world.log[-3:] == ["asked", "undo charge 12 EUR", "undo stock"]
    assert statuses(raised)["charge"] == "COMPENSATED"
    assert [record for record in caplog.records if "on_doubt" in record.getMessage()]


def test_it_is_asked_once(execute: Execute, world: World) -> None:
    """Also when the retry of the action would allow more; a question is not an action."""
    bank = Bank(world, OSError())

    failure_of(execute, bank.saga((world.undo, "charge 12 EUR"), retry=AT_ONCE))

    assert len(bank.asked) == 1


def test_it_is_not_asked_when_all_is_well(execute: Execute, world: World) -> None:
    """Nor when the operation is undone for the sake of another."""
    asked: list[str] = []

    def ask(name: str) -> Any:
        asked.append(name)

    saga = steps(world, "stock")
    saga.operation(
        (world.do, "charge"), (world.undo, "charge"), name="charge", after="stock",
        on_doubt=ask,
    )  # fmt: skip
    execute(saga)
    saga.operation((world.fail, "courier", CardDeclined()), after="charge")
    failure_of(execute, saga)

    assert asked == []


def test_the_answer_may_be_awaited(execute_async: Execute, world: World) -> None:
    """A coroutine function may be asked under asyncio."""

    async def look(*_: object) -> Any:
        await asyncio.sleep(0)
        world.note("asked")
        return happened("charge")

    saga = doubted(world, undo=(world.undo, result_of()), on_doubt=look)

    failure_of(execute_async, saga)

    assert world.log == ["stock", "charge", "asked", "undo charge", "undo stock"]


def test_a_coroutine_is_refused_in_a_sync_run(execute_sync: Execute, world: World) -> None:
    """Before anything has run."""

    async def look(*_: object) -> Any:
        raise AssertionError

    with pytest.raises(SagaDefinitionError, match="on_doubt is a coroutine function"):
        execute_sync(doubted(world, on_doubt=look))

    assert world.log == []


@pytest.mark.parametrize("wrong", ["procede", "PARK", "", None, 5, ("park",), NOT_HAPPENED])
def test_a_misspelt_policy_is_refused(world: World, wrong: Any) -> None:
    """When the operation is added."""
    with pytest.raises(SagaDefinitionError, match=r'operation 1: on_doubt: expected "proceed"'):
        SagaAssembler.saga().operation((world.do, "a"), on_doubt=wrong)


def test_a_function_that_cannot_be_called_like_the_action_is_refused(world: World) -> None:
    """When the operation is added, not in the middle of a doubt."""

    def look() -> Any:
        raise AssertionError

    with pytest.raises(SagaDefinitionError, match=r"operation 1: the on_doubt cannot be called"):
        SagaAssembler.saga().operation((world.do, "a"), on_doubt=look)


def test_answers_are_told_to_observers(execute: Execute, world: World) -> None:
    """In doubt, then what was learnt, then the undoing."""
    watch = Watch()
    saga = doubted(world, observers=[watch], on_doubt=lambda *_: happened("charge"))

    failure_of(execute, saga)

    assert watch.lines == [
        "saga: saga started",
        "stock: operation started",
        "stock: succeeded",
        "charge: operation started",
        "charge: in doubt",
        "charge: succeeded",
        "charge: compensating",
        "charge: compensated",
        "stock: compensating",
        "stock: compensated",
        "saga: saga ended",
    ]


def test_several_in_doubt_are_each_settled_by_their_own_policy(
    execute_graph: Execute, world: World
) -> None:
    """One is asked about, one parked, one compensated, all in the same rollback."""
    barrier = threading.Barrier(4)

    def lose(name: str) -> None:
        barrier.wait(PATIENCE)
        vanish(world, name)

    saga = SagaAssembler.saga()
    policies: dict[str, Any] = {
        "asked": lambda _: NOT_HAPPENED,
        "parked": "park",
        "plain": "proceed",
        "known": lambda _: happened("known"),
    }
    for name, policy in policies.items():
        saga.operation((lose, name), (world.undo, name), name=name, on_doubt=policy)

    raised = failure_of(execute_graph, saga)

    assert statuses(raised) == {
        "asked": "FAILED",
        "parked": "STUCK",
        "plain": "COMPENSATED",
        "known": "COMPENSATED",
    }
    assert raised.outcome is SagaStatus.STUCK
    assert raised.operations["asked"].status is Status.FAILED


# --- real clients against a real socket -----------------------------------------------------------

Manner = Literal["silent", "reset", "hang up", "half"]


@contextlib.contextmanager
def server(*manners: Manner | int) -> Iterator[str]:
    """Serve one connection for each manner, badly, or with a status, and give the URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve() -> None:
        for manner in manners:
            answer(listener.accept()[0], manner)

    def answer(connection: socket.socket, manner: Manner | int) -> None:
        with connection:
            connection.recv(65536)
            if manner == "silent":
                done.wait(PATIENCE)
            elif manner == "reset":  # closing with a linger of zero sends RST
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            elif manner == "half":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            elif isinstance(manner, int):
                head = f"HTTP/1.1 {manner} so\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                connection.sendall(head.encode())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        done.set()
        thread.join()
        listener.close()


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """Give the URL of a port at which nobody listens."""
    with socket.socket() as bound:  # bound, so nobody else takes it, but not listening
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"


# Nothing here is encrypted, and to load certificates for each client would take 50 ms.
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def by_requests(url: str) -> None:
    """Charge with requests."""
    with requests.Session() as session:
        session.trust_env = False
        session.post(url, timeout=0.1).raise_for_status()


def by_httpx(url: str) -> None:
    """Charge with httpx."""
    with httpx.Client(trust_env=False, timeout=0.1, verify=PLAIN) as client:
        client.post(url).raise_for_status()


async def by_async_httpx(url: str) -> None:
    """Charge with httpx under asyncio."""
    async with httpx.AsyncClient(trust_env=False, timeout=0.1, verify=PLAIN) as client:
        (await client.post(url)).raise_for_status()


def post(execute: Execute, world: World, charge: Any, url: str) -> SagaException:
    """Run a saga that charges by a real request."""
    saga = steps(world, "stock")
    saga.operation((charge, url), (world.undo, "charge"), name="charge", after="stock")
    return failure_of(execute, saga)


BROKEN: list[Manner] = ["silent", "reset", "hang up", "half"]


@pytest.mark.parametrize("manner", BROKEN)
@pytest.mark.parametrize("client", [by_requests, by_httpx])
def test_a_reply_that_is_lost_leaves_doubt(
    execute_sync: Execute, world: World, client: Callable[[str], None], manner: Manner
) -> None:
    """A read timeout, a reset, a closed connection, a broken-off body: the request was sent."""
    with server(manner) as url:
        raised = post(execute_sync, world, client, url)

    assert world.log == ["stock", "undo charge", "undo stock"], raised
    assert statuses(raised)["charge"] == "COMPENSATED"


@pytest.mark.parametrize("manner", BROKEN)
def test_a_reply_that_is_lost_leaves_doubt_under_asyncio(
    execute_async: Execute, world: World, manner: Manner
) -> None:
    """The same."""
    with server(manner) as url:
        raised = post(execute_async, world, by_async_httpx, url)

    assert world.log == ["stock", "undo charge", "undo stock"], raised


@pytest.mark.parametrize("client", [by_requests, by_httpx])
def test_a_refused_connection_leaves_none(
    execute_sync: Execute, world: World, client: Callable[[str], None]
) -> None:
    """The request was never sent."""
    with nobody() as url:
        raised = post(execute_sync, world, client, url)

    assert world.log == ["stock", "undo stock"], raised
    assert statuses(raised)["charge"] == "FAILED"


def test_a_refused_connection_leaves_none_under_asyncio(
    execute_async: Execute, world: World
) -> None:
    """The same."""
    with nobody() as url:
        raised = post(execute_async, world, by_async_httpx, url)

    assert world.log == ["stock", "undo stock"], raised


@pytest.mark.parametrize("client", [by_requests, by_httpx])
def test_an_unknown_host_leaves_none(world: World, client: Callable[[str], None]) -> None:
    """The request was never sent."""
    saga = steps(world, "stock")
    saga.operation((client, "http://nobody.invalid/"), (world.undo, "charge"), name="charge")

    raised = failure_of(lambda it: it.orchestrator_execute(), saga)

    assert world.log == ["stock", "undo stock"], raised


@pytest.mark.parametrize("client", [by_requests, by_httpx])
def test_a_bad_address_leaves_none(world: World, client: Callable[[str], None]) -> None:
    """What the client itself refuses was never sent."""
    saga = steps(world, "stock")
    saga.operation((client, "gopher://nobody"), (world.undo, "charge"), name="charge")

    raised = failure_of(lambda it: it.orchestrator_execute(), saga)

    assert world.log == ["stock", "undo stock"], raised


@pytest.mark.parametrize("client", [by_requests, by_httpx])
@pytest.mark.parametrize("status", [502, 402])
def test_an_error_reply_leaves_doubt_unless_it_is_a_no(
    world: World, client: Callable[[str], None], status: int
) -> None:
    """A 502 may come from a proxy, after the service has acted; a 402 says that it has not."""
    with server(status) as url:
        raised = post(lambda it: it.orchestrator_execute(), world, client, url)

    in_doubt = status == 502
    assert world.log == ["stock", *["undo charge"] * in_doubt, "undo stock"], raised
    assert statuses(raised)["charge"] == ("COMPENSATED" if in_doubt else "FAILED")


def test_an_error_reply_is_worth_a_retry_though_it_leaves_doubt(world: World) -> None:
    """In doubt *and* tried again: under the same key, and the second answer is the answer."""
    keys = []

    def charge(url: str) -> str:
        keys.append(current_operation().idempotency_key)
        by_requests(url)
        return "charged"

    with server(503, 201) as url:
        saga = steps(world, "stock").operation((charge, url), retry=AT_ONCE, on_doubt="park")
        assert saga.orchestrator_execute() == ["STOCK", "charged"]

    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_connection_that_takes_too_long_leaves_none(world: World) -> None:
    """A connect timeout of requests is a TimeoutError of nobody's: the request was never sent."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        url = f"http://127.0.0.1:{full.getsockname()[1]}/"
        with contextlib.ExitStack() as waiting:  # fill the queue, so that nobody is let in
            for _ in range(2):
                other = waiting.enter_context(socket.socket())
                other.setblocking(False)
                other.connect_ex(full.getsockname())
            raised = post(lambda it: it.orchestrator_execute(), world, by_requests, url)

    assert isinstance(raised.operation_error, requests.ConnectTimeout)
    assert world.log == ["stock", "undo stock"]


def test_an_error_of_a_type_that_has_no_hash_is_a_failure_like_others(
    execute: Execute, world: World
) -> None:
    """Its metaclass may compare as it likes."""

    class Meta(type):
        def __eq__(cls, other: object) -> bool:
            return cls is other

        __hash__ = None  # type: ignore[assignment]

    class Weird(Exception, metaclass=Meta):
        pass

    def fail() -> None:
        raise Weird

    saga = steps(world, "a").operation(fail, after="a")

    assert isinstance(failure_of(execute, saga).operation_error, Weird)
    assert world.standing == []
    assert world.log[-1] == "undo a"


def test_any_number_of_types_of_errors_is_told_apart() -> None:
    """What was found out of each is kept for some of them."""
    kinds = [type(f"Kind{i}", (TimeoutError if i % 2 else ValueError,), {}) for i in range(200)]

    assert [DOUBTFUL.includes(kind()) for kind in kinds * 2] == [False, True] * 200
