"""What a saga raises: its message, what it says about each operation, and that it travels."""

import asyncio
import builtins
import copy
import pickle
import textwrap
import threading
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from world import HOUR, PATIENCE, Clock, Execute, World, failure_of, output_of, steps

import py_api_saga
from py_api_saga import (
    NOT_HAPPENED,
    Retry,
    SagaAssembler,
    SagaDefinitionError,
    SagaError,
    SagaException,
    SagaStatus,
    SagaStuck,
    Status,
)


class CardDeclined(Exception):
    """The bank says no."""


class Unspeakable(Exception):
    """An error that can't be printed."""

    def __str__(self) -> str:
        raise AssertionError

    __repr__ = __str__


class Stubborn(Exception):
    """An error that can be pickled, and then not be loaded."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


class Locked(Exception):
    """An error that can't be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


def message(raised: SagaException, expected: str) -> None:
    """Compare a message with what is written in a test."""
    assert str(raised) == textwrap.dedent(expected).strip("\n")


def orchestrate(saga: SagaAssembler) -> SagaException:
    """Run a saga that must fail, one operation after the other."""
    return failure_of(lambda it: it.orchestrator_execute(), saga)


# --- the tree -------------------------------------------------------------------------------------


def test_the_tree() -> None:
    """What decides nothing about a saga will be a SagaError and no SagaException."""
    assert SagaError.__bases__ == (Exception,)
    assert SagaException.__bases__ == (SagaError,)
    assert SagaStuck.__bases__ == (SagaException,)
    assert SagaDefinitionError.__bases__ == (SagaException,)
    assert SagaAssembler.SagaException is SagaException
    assert SagaAssembler.saga().SagaException is SagaException


def test_the_constructor_is_the_predecessor_s() -> None:
    """With its names: the attribute is plural, the keyword is not; the first one is required."""
    error = CardDeclined()
    raised = SagaException(error, "charge", [1, None], ["no"])
    assert raised.args == (error, "charge", [1, None], ["no"])
    assert raised.operation_error is error
    assert raised.operation_name == "charge"
    assert raised.compensation_success_result == [1, None]
    assert raised.compensation_errors == ["no"]

    raised = SagaException(
        operation_error="wrong", operation_name=None, compensation_success_result=None,
        compensation_error=None,
    )  # fmt: skip
    assert str(raised) == "wrong"
    assert raised.operation_name is None

    with pytest.raises(TypeError):
        SagaException()  # type: ignore[call-arg]


def test_one_that_was_made_by_hand_knows_of_no_run() -> None:
    """All that a run adds is empty."""
    raised = SagaException(CardDeclined("no"), "charge")

    assert raised.operations == {}
    assert raised.operation_errors == {}
    assert raised.stuck == {}
    assert raised.outcome is None
    assert raised.saga_id is None
    assert raised.mermaid() == "flowchart LR\n"
    assert str(raised) == "operation 'charge' failed: CardDeclined('no')"


def test_a_definition_error_is_its_text() -> None:
    """In `operation_error`, too, as with the predecessor; nothing has run."""
    with pytest.raises(SagaDefinitionError) as caught:
        SagaAssembler.saga().orchestrator_execute()

    assert caught.value.operation_error == "Set operation first to execute the saga."
    assert str(caught.value) == "Set operation first to execute the saga."
    assert caught.value.operation_name is None
    assert caught.value.outcome is None
    assert caught.value.__cause__ is None
    assert caught.value.args == ("Set operation first to execute the saga.",)


# --- messages -------------------------------------------------------------------------------------


def test_the_message_of_a_failure(execute: Execute, world: World) -> None:
    """What failed, with its error, and what was undone, in that order."""
    saga = steps(world, "reserve", "label")
    saga.operation(
        (world.fail, "charge", CardDeclined("insufficient funds")), name="charge", after="label"
    )

    message(
        failure_of(execute, saga),
        """
        operation 'charge' failed: CardDeclined('insufficient funds')
          compensated: label, reserve
        """,
    )


def test_there_is_a_message_also_when_the_interpreter_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be imported any more then, and nothing has to be."""
    saga = steps(world, "reserve").operation(
        (world.fail, "charge", CardDeclined("no")), name="charge"
    )
    raised = failure_of(SagaAssembler.orchestrator_execute, saga)
    with monkeypatch.context() as ending:
        ending.setattr(builtins, "__import__", None)
        said = str(raised)

    assert said == "operation 'charge' failed: CardDeclined('no')\n  compensated: reserve"


# In a process of its own, in which what is imported late is not there yet.
OUT_OF_DESCRIPTORS = """
import asyncio, errno, os, resource, sys
from py_api_saga import SagaAssembler, SagaException, current_operation, result_of, Retry

log = []
saga = SagaAssembler.saga(name="checkout")
child = SagaAssembler.saga()

def exhaust():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            os.open("/dev/null", os.O_RDONLY)
    except OSError:
        pass

def reserve():
    {within}
    return {"shelf": "M7"}

def undo(name, place):
    key = current_operation().idempotency_key
    log.append(f"undo {name} {place}" + " hashed" * (name not in key))

def charge():
    current_operation().remaining()
    log.append("charge")
    raise ConnectionResetError(errno.ECONNRESET, "reset")

places = ["at", {"shelf": result_of("reserve")["shelf"]}]
child.operation(reserve, (undo, "reserve", places), name="reserve")
again = Retry(ConnectionError, attempts=2, wait_initial=0)
child.operation(charge, (undo, "charge", ()), name="charge", retry=again, after="reserve")
between = SagaAssembler.saga().operation(child, name="c" * 60)
saga.operation(between, name="b" * 60)
run = lambda: {run}
{before}
try:
    run()
except SagaException as error:
    for said in (type(error).__name__, error, log):
        print(said)
"""
CALLS = [
    "saga.orchestrator_execute(saga_id='x' * 128)",
    "saga.choreography_execute(saga_id='x' * 128)",
]
IN_LOOP = [f"asyncio.run({call.replace('.', '.a')})" for call in CALLS]  # opens descriptors itself


@pytest.mark.parametrize(
    ("run", "moment"),
    [*((run, "before") for run in CALLS), *((run, "within") for run in (*CALLS, *IN_LOOP))],
)
def test_a_process_without_descriptors_undoes_and_says_so(run: str, moment: str) -> None:
    """What trouble needs was imported before it came."""
    code = OUT_OF_DESCRIPTORS.replace("{run}", run)
    for other in ("before", "within"):
        code = code.replace(f"{{{other}}}", "exhaust()" if moment == other else "pass")

    lines = output_of(code)

    name, where = f"{'b' * 60}.{'c' * 60}.", ["at", {"shelf": "M7"}]
    assert lines == [
        "SagaException",
        f"operation '{name}charge' failed: ConnectionResetError(104, 'reset')",
        f"  compensated: {name}charge, {name}reserve",
        str(
            [
                "charge",
                "charge",
                "undo charge () hashed",
                f"undo reserve {where} hashed",
            ]
        ),
    ]


def test_the_message_when_nothing_was_done(execute: Execute, world: World) -> None:
    """One line."""
    saga = SagaAssembler.saga().operation((world.fail, "charge", CardDeclined()), name="charge")

    message(failure_of(execute, saga), "operation 'charge' failed: CardDeclined()")


def test_the_message_names_what_stands(execute: Execute, world: World) -> None:
    """Operations that have no compensation, and whose effects remain."""
    saga = steps(world, "reserve")
    saga.operation((world.do, "mail"), name="mail", after="reserve")
    saga.operation((world.do, "log"), name="log", after="mail")
    saga.operation((world.fail, "charge", CardDeclined()), name="charge", after="log")

    message(
        failure_of(execute, saga),
        """
        operation 'charge' failed: CardDeclined()
          compensated: reserve
          stands, having no compensation: mail, log
        """,
    )


def test_the_message_of_what_is_stuck(execute: Execute, world: World) -> None:
    """Each stuck operation has a line of its own, with its error."""
    down = ConnectionError("warehouse is down")
    saga = steps(world, "order")
    saga.operation((world.do, "reserve"), (world.fail, "", down), name="reserve", after="order")
    saga.operation((world.fail, "charge", CardDeclined()), name="charge", after="reserve")

    message(
        failure_of(execute, saga),
        """
        operation 'charge' failed: CardDeclined()
          compensated: order
          STUCK reserve: its compensation raised ConnectionError('warehouse is down')
        """,
    )


def test_the_message_of_what_is_parked(execute: Execute, world: World) -> None:
    """The error that left it in doubt is why."""
    saga = steps(world, "reserve")
    saga.operation(
        (world.fail, "charge", TimeoutError("no reply")), (world.undo, "charge"), name="charge",
        after="reserve", on_doubt="park",
    )  # fmt: skip

    message(
        failure_of(execute, saga),
        """
        operation 'charge' failed: TimeoutError('no reply')
          compensated: reserve
          STUCK charge: its action raised TimeoutError('no reply'), so nobody knows whether it happened, and on_doubt="park" asks for a person
        """,  # noqa: E501
    )


def test_the_message_after_the_pivot(execute: Execute, world: World) -> None:
    """What stands, since nothing was undone, and what is stuck."""
    saga = steps(world, "reserve")
    saga.operation((world.do, "charge"), name="charge", after="reserve", pivot=True)
    saga.operation((world.fail, "mail", OSError("full")), name="mail", after="charge")

    message(
        failure_of(execute, saga),
        """
        operation 'mail' failed: OSError('full')
          stands: reserve, charge
          STUCK mail: its action raised OSError('full')
        """,
    )


def test_the_message_of_several_failures(execute_graph: Execute, world: World) -> None:
    """All of them, the first one in operation order on top."""
    barrier = threading.Barrier(3)

    def meet(name: str, error: Exception | None) -> str:
        barrier.wait(PATIENCE)
        if error is not None:
            raise error
        return world.do(name)

    saga = SagaAssembler.saga()
    saga.operation((meet, "reserve", None), (world.undo, "reserve"), name="reserve")
    saga.operation((meet, "charge", CardDeclined("empty")), name="charge")
    saga.operation((meet, "courier", OSError("ill")), name="courier")

    message(
        failure_of(execute_graph, saga),
        """
        operation 'charge' failed: CardDeclined('empty')
          also failed: courier: OSError('ill')
          compensated: reserve
        """,
    )


def test_the_message_of_a_deadline(execute: Execute, world: World) -> None:
    """Before which operation it was stopped, and why."""
    raised = failure_of(execute, steps(world, "reserve", "charge"), deadline=0)

    expected = "the saga was stopped before operation 'reserve': "
    message(raised, expected + "TimeoutError('the deadline of the saga has passed')")


def test_the_message_of_a_deadline_with_nothing_left_to_start(
    execute: Execute, world: World, clock: Clock
) -> None:
    """No operation is named."""
    saga = SagaAssembler.saga().operation(
        (clock.forward, 2 * HOUR), (world.undo, "charge"), name="charge"
    )

    message(
        failure_of(execute, saga, deadline=HOUR),
        """
        the saga was stopped: TimeoutError('the deadline of the saga has passed')
          compensated: charge
        """,
    )


def test_the_message_of_a_deadline_while_a_retry_waits(
    execute: Execute, world: World, clock: Clock
) -> None:
    """The operation that kept failing is named with its error, and the deadline as well."""

    def charge() -> None:
        clock.forward(HOUR - 0.03)
        raise OSError("busy")

    days = Retry(Exception, wait_initial=99 * HOUR, wait_max=99 * HOUR, wait_jitter=0)
    saga = steps(world, "reserve")
    saga.operation(charge, name="charge", after="reserve", retry=days)

    message(
        failure_of(execute, saga, deadline=HOUR),
        """
        operation 'charge' failed: OSError('busy')
          also stopped: TimeoutError('the deadline of the saga has passed')
          compensated: reserve
        """,
    )


def test_the_message_survives_errors_that_cannot_be_printed(execute: Execute, world: World) -> None:
    """An error whose `str` and `repr` raise breaks nothing: all is undone, and it is named."""
    saga = steps(world, "order")
    saga.operation(
        (world.do, "reserve"), (world.fail, "", Unspeakable()), name="reserve", after="order"
    )
    saga.operation((world.fail, "charge", Unspeakable()), name="charge", after="reserve")

    raised = failure_of(execute, saga)

    assert world.log[-1] == "undo order"
    assert raised.compensation_errors == ["<Unspeakable, which cannot be printed>"]
    message(
        raised,
        """
        operation 'charge' failed: <Unspeakable, which cannot be printed>
          compensated: order
          STUCK reserve: its compensation raised <Unspeakable, which cannot be printed>
        """,
    )


def test_a_message_may_be_asked_for_while_it_is_handled(world: World) -> None:
    """A traceback shows the message and the original error above it."""
    saga = steps(world, "reserve").operation((world.fail, "charge", CardDeclined("no")))
    raised = orchestrate(saga)

    text = "".join(traceback.format_exception(raised))

    assert "CardDeclined: no" in text
    assert "The above exception was the direct cause" in text
    assert "SagaException: operation 'fail' failed: CardDeclined('no')" in text
    assert "During handling" not in text


def test_the_library_s_frames_are_behind_the_user_s(world: World) -> None:
    """The original error's traceback ends in the user's own function."""
    raised = orchestrate(SagaAssembler.saga().operation((world.fail, "charge", CardDeclined())))

    assert raised.__cause__ is not None
    frames = traceback.extract_tb(raised.__cause__.__traceback__)
    assert frames[-1].name == "fail"
    assert len(frames) <= 4


# --- what became of each operation ----------------------------------------------------------------


def test_operations_tell_status_result_and_error(execute: Execute, world: World) -> None:
    """By name, in operation order; results are there even of what was undone."""
    declined, down = CardDeclined(), OSError()
    saga = steps(world, "order")
    saga.operation((world.do, "reserve"), (world.fail, "", down), name="reserve", after="order")
    saga.operation((world.fail, "charge", declined), name="charge", after="reserve")
    saga.operation((world.do, "mail"), name="mail", after="charge")

    raised = failure_of(execute, saga)

    assert list(raised.operations) == ["order", "reserve", "charge", "mail"]
    table = [(it.status, it.result, it.error) for it in raised.operations.values()]
    assert table == [
        (Status.COMPENSATED, "ORDER", None),
        (Status.STUCK, "RESERVE", down),
        (Status.FAILED, None, declined),
        (Status.PENDING, None, None),
    ]
    assert raised.outcome is SagaStatus.STUCK


def test_what_was_in_doubt_keeps_its_error(execute: Execute, world: World) -> None:
    """Whether it was compensated or had not happened."""
    error = TimeoutError()
    for on_doubt, status in (
        ("proceed", Status.COMPENSATED),
        (lambda *_: NOT_HAPPENED, Status.FAILED),
    ):
        policy: Any = on_doubt
        saga = SagaAssembler.saga().operation(
            (world.fail, "charge", error), (world.undo, "charge"), name="charge", on_doubt=policy
        )
        report = failure_of(execute, saga).operations["charge"]
        assert (report.status, report.result, report.error) == (status, None, error)


def test_the_exception_does_not_change_afterwards(execute: Execute, world: World) -> None:
    """It is a picture of its own run; the saga may run again."""
    errors = [CardDeclined()]

    def charge() -> str:
        if errors:
            raise errors.pop()
        return world.do("charge")

    saga = steps(world, "stock").operation(charge, name="charge", after="stock")
    raised = failure_of(execute, saga)
    before = str(raised), dict(raised.operations)

    execute(saga)
    saga.operation((world.do, "more"))

    assert (str(raised), dict(raised.operations)) == before


def test_the_drawing_shows_what_became_of_each_operation(
    execute_chain: Execute, world: World
) -> None:
    """A Mermaid flowchart of the run, with the status in each box."""
    saga = steps(world, "reserve")
    saga.operation((world.fail, "charge", CardDeclined()), name="charge", after="reserve")
    saga.operation((world.do, "mail"), name="mail", after="charge")

    assert failure_of(execute_chain, saga).mermaid() == textwrap.dedent(
        """\
        flowchart LR
            o0["reserve<br/>COMPENSATED"]
            o1["charge<br/>FAILED"]
            o2["mail<br/>PENDING"]
            o0 --> o1
            o1 --> o2
        """
    )


# --- on the road ----------------------------------------------------------------------------------


def pickled(error: SagaException, protocol: int) -> SagaException:
    """Send an exception through a pickle."""
    arrived: SagaException = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301
    return arrived


ROADS: list[Any] = [
    *[pytest.param(partial(pickled, protocol=p), id=f"pickle {p}") for p in range(6)],
    pytest.param(copy.copy, id="copy"),
    pytest.param(copy.deepcopy, id="deepcopy"),
]
Road = Callable[[SagaException], SagaException]


@pytest.mark.parametrize("travel", ROADS)
def test_it_travels(travel: Road, world: World) -> None:
    """Through pickles and copies with all that it says, its type and its cause."""
    saga = steps(world, "order")
    saga.operation((world.do, "reserve"), (world.fail, "", OSError("x")), name="reserve")
    saga.operation((world.fail, "charge", CardDeclined("no")), name="charge", after="reserve")
    raised = orchestrate(saga)
    raised.add_note("seen by the night shift")

    arrived = travel(raised)

    assert type(arrived) is SagaStuck
    assert str(arrived) == str(raised)
    assert repr(arrived.args) == repr(raised.args)
    assert arrived.operation_name == "charge"
    assert arrived.compensation_success_result == ["order undone"]
    assert arrived.compensation_errors == ["x"]
    assert arrived.saga_id == raised.saga_id
    assert arrived.outcome is SagaStatus.STUCK
    assert arrived.mermaid() == raised.mermaid()
    assert list(arrived.operations) == ["order", "reserve", "charge"]
    assert arrived.operations["order"].status is Status.COMPENSATED
    assert arrived.operations["order"].result == "ORDER"
    assert repr(arrived.stuck) == repr(raised.stuck)
    assert isinstance(arrived.operation_error, CardDeclined)
    assert arrived.__cause__ is arrived.operation_error
    assert arrived.__notes__ == ["seen by the night shift"]


@pytest.mark.parametrize("travel", ROADS[:6])
@pytest.mark.parametrize("error", [Stubborn(402, reason="no"), Locked("no")])
def test_an_error_that_does_not_travel_is_replaced(
    travel: Road, error: Exception, world: World
) -> None:
    """By a RuntimeError with its text: whoever gets the pickle learns at least that."""
    saga = steps(world, "order")
    saga.operation((world.do, "reserve"), (world.fail, "", error), name="reserve")
    saga.operation((world.fail, "charge", error), name="charge", after="reserve")
    raised = orchestrate(saga)

    arrived = travel(raised)

    assert isinstance(arrived, SagaStuck)
    assert arrived.operation_name == "charge"
    assert type(arrived.operation_error) is RuntimeError
    assert isinstance(arrived.__cause__, RuntimeError)
    assert type(arrived.stuck["reserve"]) is RuntimeError
    assert type(arrived.operation_errors["charge"]) is RuntimeError
    assert type(arrived.args[0]) is RuntimeError
    assert type(error).__name__ in str(arrived)
    assert raised.operation_error is error  # the original is as it was


def test_an_error_that_cannot_be_printed_travels(world: World) -> None:
    """As itself."""
    raised = orchestrate(SagaAssembler.saga().operation((world.fail, "charge", Unspeakable())))

    arrived = pickle.loads(pickle.dumps(raised))  # noqa: S301

    assert type(arrived.operation_error) is Unspeakable
    assert str(arrived) == str(raised)


def test_results_that_do_not_travel_are_replaced(world: World) -> None:
    """By their text; the others are themselves."""
    saga = SagaAssembler.saga()
    saga.operation(threading.Lock, (lambda: threading.Lock()), name="lock")  # noqa: PLW0108
    saga.operation((world.do, "plain"), (world.undo, "plain"), name="plain")
    saga.operation((world.fail, "charge", CardDeclined()), name="charge")
    raised = orchestrate(saga)

    arrived = pickle.loads(pickle.dumps(raised))  # noqa: S301

    assert "lock" in arrived.operations["lock"].result
    assert arrived.operations["plain"].result == "PLAIN"
    assert arrived.compensation_success_result is not None
    assert str(arrived) == str(raised)


def test_a_nested_exception_travels(world: World) -> None:
    """A saga that failed inside an action is the original error of the outer one."""
    inner = steps(world, "inner").operation((world.fail, "pay", Locked("no")), name="pay")
    saga = SagaAssembler.saga().operation(inner.orchestrator_execute, name="order")
    raised = orchestrate(saga)
    assert isinstance(raised.operation_error, SagaException)

    arrived = pickle.loads(pickle.dumps(raised))  # noqa: S301

    assert isinstance(arrived.operation_error, SagaException)
    assert arrived.operation_error.operation_name == "pay"
    assert arrived.operation_error.operations["inner"].status is Status.COMPENSATED


def test_a_subclass_travels(world: World) -> None:
    """Applications derive their own from it, with constructors of their own."""
    raised = OrderFailed(
        "order-7", orchestrate(steps(world).operation((world.fail, "a", OSError())))
    )

    arrived = pickle.loads(pickle.dumps(raised))  # noqa: S301

    assert type(arrived) is OrderFailed
    assert arrived.order == "order-7"


class OrderFailed(SagaException):
    """An application's own exception."""

    def __init__(self, order: str, cause: SagaException) -> None:
        super().__init__(cause.operation_error, cause.operation_name)
        self.order = order


def test_a_definition_error_travels() -> None:
    """With its text and its notes."""
    with pytest.raises(SagaDefinitionError) as caught:
        SagaAssembler.saga().operation(None)  # type: ignore[call-overload]

    arrived = pickle.loads(pickle.dumps(caught.value))  # noqa: S301

    assert type(arrived) is SagaDefinitionError
    assert str(arrived) == "Please add function in operation argument."
    assert arrived.__notes__ == caught.value.__notes__


# --- to hold on to --------------------------------------------------------------------------------


def test_it_can_be_caught_as_the_predecessor_s(execute: Execute, world: World) -> None:
    """Every way to name it."""
    saga = SagaAssembler.saga().operation((world.fail, "charge", CardDeclined()))

    for kind in (SagaException, SagaError, SagaAssembler.SagaException, Exception):
        with pytest.raises(kind):
            execute(saga)


def test_each_run_raises_its_own(execute: Execute, world: World) -> None:
    """The same saga and even the same error: two runs, two exceptions, two ids."""
    saga = SagaAssembler.saga().operation((world.fail, "charge", CardDeclined()))

    first, second = failure_of(execute, saga), failure_of(execute, saga)

    assert first is not second
    assert first.saga_id != second.saga_id


def test_the_exception_crosses_tasks(world: World) -> None:
    """A task group collects it like any other."""
    saga = steps(world, "a").operation((world.fail, "b", CardDeclined()), after="a")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(saga.aorchestrator_execute())

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())

    assert isinstance(caught.value.exceptions[0], SagaException)


def test_every_exception_is_exported() -> None:
    """From the package itself."""
    for name in ("SagaError", "SagaException", "SagaStuck", "SagaDefinitionError"):
        assert getattr(py_api_saga, name).__name__ == name
        assert name in py_api_saga.__all__
