"""The pivot: before it a saga can be undone, after it it only goes forward."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from world import HOUR, PATIENCE, Clock, Execute, Watch, World, failure_of, statuses, steps

from py_api_saga import (
    NOT_HAPPENED,
    UNKNOWN,
    Retry,
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    SagaStatus,
    SagaStuck,
    current_operation,
    happened,
    result_of,
)

AT_ONCE = Retry(Exception, attempts=3, wait_initial=0, wait_jitter=0)


class CardDeclined(Exception):
    """The bank says no."""


def through(world: World, watch: Watch | None = None) -> SagaAssembler:
    """Make a saga whose second operation is the pivot."""
    saga = steps(world, "stock", observers=[] if watch is None else [watch])
    return saga.operation(
        (world.do, "charge"), (world.undo, "charge"), name="charge", after="stock", pivot=True
    )


def pivoting(world: World, action: Any, **options: Any) -> SagaAssembler:
    """Make a saga of three operations whose second one is a given pivot."""
    saga = steps(world, "stock")
    saga.operation(
        action, (world.undo, "charge"), name="charge", after="stock", pivot=True, **options
    )
    return saga.operation((world.do, "mail"), (world.undo, "mail"), name="mail", after="charge")


def lose(world: World, name: str, error: BaseException | None = None) -> None:
    """Take effect, but let nobody know."""
    world.do(name)
    raise error or TimeoutError("no reply")


def late(clock: Clock, call: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function when the deadline has passed."""
    clock.forward(2 * HOUR)
    return call(*arguments)


# --- on the way to it -----------------------------------------------------------------------------


def test_when_all_is_well_a_pivot_changes_nothing(execute: Execute, world: World) -> None:
    """All operations run, and their results are returned."""
    assert execute(pivoting(world, (world.do, "charge"))) == ["STOCK", "CHARGE", "MAIL"]


def test_a_failure_before_the_pivot_is_undone(execute: Execute, world: World) -> None:
    """As without it."""
    saga = steps(world, "order")
    saga.operation((world.fail, "stock", CardDeclined()), name="stock", after="order")
    saga.operation((world.do, "charge"), name="charge", after="stock", pivot=True)

    raised = failure_of(execute, saga)

    assert type(raised) is SagaException
    assert world.log == ["order", "stock", "undo order"]


def test_a_pivot_that_fails_is_undone(execute: Execute, world: World) -> None:
    """It said no: nothing has passed it."""
    raised = failure_of(execute, pivoting(world, (world.fail, "charge", CardDeclined())))

    assert type(raised) is SagaException
    assert world.log == ["stock", "charge", "undo stock"]
    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "FAILED", "mail": "PENDING"}


def test_a_pivot_is_retried_like_any_other(execute: Execute, world: World) -> None:
    """It passes when it succeeds."""
    errors = [CardDeclined(), CardDeclined()]

    def charge() -> str:
        if errors:
            raise errors.pop()
        return world.do("charge")

    assert execute(pivoting(world, charge, retry=AT_ONCE))["charge"] == "CHARGE"


# --- behind it ------------------------------------------------------------------------------------


def test_a_failure_after_the_pivot_undoes_nothing(execute: Execute, world: World) -> None:
    """The operation is stuck; what was done stands, also what could be undone."""
    declined = CardDeclined()
    saga = through(world)
    saga.operation(
        (world.fail, "mail", declined), (world.undo, "mail"), name="mail", after="charge"
    )
    saga.operation((world.do, "survey"), name="survey", after="mail")

    raised = failure_of(execute, saga)

    assert isinstance(raised, SagaStuck)
    assert world.log == ["stock", "charge", "mail"]
    assert statuses(raised) == {
        "stock": "SUCCEEDED",
        "charge": "SUCCEEDED",
        "mail": "STUCK",
        "survey": "PENDING",
    }
    assert raised.outcome is SagaStatus.STUCK
    assert raised.stuck == {"mail": declined}
    assert raised.operation_errors == {"mail": declined}
    assert raised.operation_name == "mail"
    assert raised.__cause__ is declined
    assert raised.compensation_success_result is None
    assert raised.operations["charge"].result == "CHARGE"


def test_it_is_stuck_only_when_its_attempts_are_spent(execute: Execute, world: World) -> None:
    """Retries are the way forward."""
    saga = through(world)
    saga.operation((world.fail, "mail", CardDeclined()), name="mail", after="charge", retry=AT_ONCE)

    failure_of(execute, saga)

    assert world.log == ["stock", "charge", "mail", "mail", "mail"]


def test_what_does_not_depend_on_a_stuck_operation_goes_on(
    execute_graph: Execute, world: World
) -> None:
    """Also what starts later, and what was waiting for a retry."""
    watch, errors = Watch(), [CardDeclined()]
    saga = through(world, watch)
    saga.operation((world.fail, "mail", CardDeclined()), name="mail", after="charge")

    def label() -> str:
        watch.wait_for("stuck", "mail")
        if errors:
            raise errors.pop()
        return world.do("label")

    soon = Retry(Exception, wait_initial=0.01, wait_jitter=0)
    saga.operation(label, name="label", after="charge", retry=soon)
    saga.operation((world.do, "courier"), name="courier", after="label")
    saga.operation((world.do, "survey"), name="survey", after=("mail", "courier"))

    raised = failure_of(execute_graph, saga)

    assert world.log == ["stock", "charge", "mail", "label", "courier"]
    assert statuses(raised) == {
        "stock": "SUCCEEDED",
        "charge": "SUCCEEDED",
        "mail": "STUCK",
        "label": "SUCCEEDED",
        "courier": "SUCCEEDED",
        "survey": "PENDING",
    }
    assert raised.operation_errors.keys() == {"mail"}


def test_several_may_be_stuck(execute_graph: Execute, world: World) -> None:
    """Each with its own error; the first one in operation order is the cause."""
    barrier = threading.Barrier(2)
    errors = [CardDeclined("a"), CardDeclined("b")]

    def meet(error: Exception) -> None:
        barrier.wait(PATIENCE)
        raise error

    saga = through(world)
    saga.operation((meet, errors[0]), name="a", after="charge")
    saga.operation((meet, errors[1]), name="b", after="charge")

    raised = failure_of(execute_graph, saga)

    assert raised.stuck == {"a": errors[0], "b": errors[1]}
    assert raised.__cause__ is errors[0]


def test_doubt_after_the_pivot_is_stuck(execute: Execute, world: World) -> None:
    """In a live run it is not called again."""
    saga = through(world)
    saga.operation((lose, world, "mail"), (world.undo, "mail"), name="mail", after="charge")

    raised = failure_of(execute, saga)

    assert world.log == ["stock", "charge", "mail"]
    assert statuses(raised)["mail"] == "STUCK"
    assert isinstance(raised.stuck["mail"], TimeoutError)


def test_doubt_after_the_pivot_is_asked_about(execute: Execute, world: World) -> None:
    """If it happened, the saga goes on with the answer's result."""
    saga = through(world)
    saga.operation(
        (lose, world, "mail"), name="mail", after="charge", on_doubt=lambda *_: happened("sent")
    )
    saga.operation((world.do, result_of("mail")), name="survey")

    assert execute(saga) == ["STOCK", "CHARGE", "sent", "SENT"]


@pytest.mark.parametrize("answer", [NOT_HAPPENED, UNKNOWN])
def test_doubt_after_the_pivot_that_is_not_cleared_is_stuck(
    execute: Execute, world: World, answer: Any
) -> None:
    """Whether it did not happen or nobody knows: the saga can't go on, and not back."""
    saga = through(world)
    saga.operation((lose, world, "mail"), name="mail", after="charge", on_doubt=lambda *_: answer)

    raised = failure_of(execute, saga)

    assert statuses(raised) == {"stock": "SUCCEEDED", "charge": "SUCCEEDED", "mail": "STUCK"}
    assert world.log == ["stock", "charge", "mail"]


def test_a_deadline_after_the_pivot_is_only_recorded(
    execute: Execute, world: World, clock: Clock
) -> None:
    """What has passed it is finished, however long it takes."""
    saga = through(world)
    saga.operation((late, clock, world.do, "mail"), name="mail", after="charge")
    saga.operation((world.do, "survey"), name="survey", after="mail")

    results = execute(saga, deadline=HOUR)

    assert world.log == ["stock", "charge", "mail", "survey"]
    assert results["survey"] == "SURVEY"


def test_behind_the_pivot_the_deadline_limits_nothing(
    execute: Execute, world: World, clock: Clock
) -> None:
    """So `remaining()` is None there, and no request is given up at once."""
    left: list[float | None] = []
    saga = pivoting(world, (clock.forward, 2 * HOUR))
    saga.operation(
        lambda: left.append(current_operation().remaining()), name="survey", after="charge"
    )

    execute(saga, deadline=HOUR)

    assert left == [None]


def test_a_deadline_before_the_pivot_rolls_back(
    execute: Execute, world: World, clock: Clock
) -> None:
    """It was never started, so nothing has passed it."""
    saga = SagaAssembler.saga()
    saga.operation((late, clock, world.do, "stock"), (world.undo, "stock"), name="stock")
    saga.operation((world.do, "charge"), name="charge", after="stock", pivot=True)

    raised = failure_of(execute, saga, deadline=HOUR)

    assert world.log == ["stock", "undo stock"]
    assert raised.operation_name == "charge"


def test_a_pivot_that_succeeds_after_the_deadline_has_passed(
    execute: Execute, world: World, clock: Clock
) -> None:
    """The deadline came while it ran: it counts, and the saga goes forward."""
    saga = pivoting(world, (late, clock, world.do, "charge"))

    assert execute(saga, deadline=HOUR)["mail"] == "MAIL"
    assert world.log == ["stock", "charge", "mail"]


def test_a_pivot_that_fails_after_the_deadline_rolls_back(
    execute: Execute, world: World, clock: Clock
) -> None:
    """The deadline came while it ran, and it did not happen."""
    declined = CardDeclined()
    saga = pivoting(world, (late, clock, world.fail, "charge", declined))

    raised = failure_of(execute, saga, deadline=HOUR)

    assert world.log == ["stock", "charge", "undo stock"]
    assert type(raised) is SagaException


# --- interrupts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_after_the_pivot_leaves_the_saga_stuck(
    execute: Execute, world: World, kind: type[BaseException]
) -> None:
    """Nothing is undone, nothing more is started, and the interrupt is raised again."""
    interrupt, watch = kind("stop"), Watch()
    saga = through(world, watch)
    saga.operation(
        (world.fail, "mail", interrupt), (world.undo, "mail"), name="mail", after="charge"
    )
    saga.operation((world.do, "survey"), name="survey", after="mail")

    with pytest.raises(kind) as caught:
        execute(saga)

    assert caught.value is interrupt
    assert world.log == ["stock", "charge", "mail"]
    assert watch.events[-1].outcome is SagaStatus.STUCK


def test_an_interrupt_after_the_pivot_awaits_what_runs(
    execute_graph: Execute, world: World
) -> None:
    """What runs beside it counts, and what comes behind that is not started."""
    opened = threading.Event()

    def stop() -> None:
        world.wait_for("label begins")
        threading.Timer(0.03, opened.set).start()
        raise KeyboardInterrupt

    saga = through(world)
    saga.operation(
        (world.gate, "label", opened), (world.undo, "label"), name="label", after="charge"
    )
    saga.operation(stop, name="mail", after="charge")
    saga.operation((world.do, "courier"), name="courier", after="label")

    with pytest.raises(KeyboardInterrupt):
        execute_graph(saga)

    assert world.log == ["stock", "charge", "label begins", "label"]


# --- in doubt about it ----------------------------------------------------------------------------


def test_a_pivot_in_doubt_counts_as_passed(execute: Execute, world: World) -> None:
    """Nobody knows whether there is a way back: it is stuck, and nothing is undone."""
    raised = failure_of(execute, pivoting(world, (lose, world, "charge")))

    assert isinstance(raised, SagaStuck)
    assert world.log == ["stock", "charge"]
    assert statuses(raised) == {"stock": "SUCCEEDED", "charge": "STUCK", "mail": "PENDING"}


def test_a_pivot_that_happened_goes_forward(execute: Execute, world: World) -> None:
    """It is asked, and the saga completes with the answer's result."""
    saga = pivoting(world, (lose, world, "charge"), on_doubt=lambda *_: happened("receipt"))

    assert execute(saga) == ["STOCK", "receipt", "MAIL"]
    assert world.log == ["stock", "charge", "mail"]


def test_a_pivot_that_did_not_happen_rolls_back(execute: Execute, world: World) -> None:
    """It is asked, and there is a way back."""
    saga = pivoting(world, (lose, world, "charge"), on_doubt=lambda *_: NOT_HAPPENED)

    raised = failure_of(execute, saga)

    assert type(raised) is SagaException
    assert world.log == ["stock", "charge", "undo stock"]
    assert statuses(raised) == {"stock": "COMPENSATED", "charge": "FAILED", "mail": "PENDING"}
    assert isinstance(raised.__cause__, TimeoutError)


def test_a_pivot_of_which_nobody_knows_is_stuck(execute: Execute, world: World) -> None:
    """It is asked, without an answer."""
    saga = pivoting(world, (lose, world, "charge"), on_doubt=lambda *_: UNKNOWN)

    raised = failure_of(execute, saga)

    assert statuses(raised) == {"stock": "SUCCEEDED", "charge": "STUCK", "mail": "PENDING"}


def test_a_pivot_that_is_late_is_stuck_until_it_lands(execute: Execute, world: World) -> None:
    """While it may still happen nobody is asked, and nothing is undone, also when it has landed."""
    gate, watch = threading.Event(), Watch()
    saga = steps(world, "stock", observers=[watch])
    saga.operation(
        (world.gate, "charge", gate), (world.undo, "charge"), name="charge", after="stock",
        pivot=True, timeout=0.05, on_doubt=lambda *_: NOT_HAPPENED,
    )  # fmt: skip

    raised = failure_of(execute, saga)
    assert statuses(raised) == {"stock": "SUCCEEDED", "charge": "STUCK"}

    gate.set()
    watch.wait_for("landed late", "charge")
    assert world.log == ["stock", "charge begins", "charge"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_pivot_undoes_nothing(
    execute: Execute, world: World, kind: type[BaseException]
) -> None:
    """It is in doubt, so it counts as passed; the interrupt is raised again."""
    with pytest.raises(kind):
        execute(pivoting(world, (lose, world, "charge", kind())))

    assert world.log == ["stock", "charge"]


def test_an_interrupted_pivot_that_did_not_happen_rolls_back(
    execute: Execute, world: World
) -> None:
    """The interrupt decides, now that there is a way back."""
    action = (world.fail, "charge", KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        execute(pivoting(world, action, on_doubt=lambda *_: NOT_HAPPENED))

    assert world.log == ["stock", "charge", "undo stock"]


def test_an_interrupted_pivot_that_happened_undoes_nothing(execute: Execute, world: World) -> None:
    """It has passed."""
    action = (lose, world, "charge", KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        execute(pivoting(world, action, on_doubt=lambda *_: happened("receipt")))

    assert not [line for line in world.log if line.startswith("undo")]


# --- what cannot be ------------------------------------------------------------------------------


def test_two_pivots_are_refused(world: World) -> None:
    """When the second one is added, naming the first; the saga stays as it was."""
    saga = through(world)

    with pytest.raises(SagaDefinitionError, match=r"operation 3: .* one pivot, and 'charge' is it"):
        saga.operation((world.do, "mail"), pivot=True)

    assert saga.orchestrator_execute() == ["STOCK", "CHARGE"]


def test_a_pivot_beside_others_is_refused_in_a_choreography(world: World) -> None:
    """An operation neither before nor after it could still fail when it has passed."""
    saga = through(world).operation((world.do, "mail"), name="mail")

    with pytest.raises(SagaDefinitionError, match=r"operation 3, 'mail': .* before or after"):
        saga.choreography_execute()

    assert world.log == []
    assert saga.orchestrator_execute()["mail"] == "MAIL"


@pytest.mark.parametrize("wrong", [1, "yes", None, 0])
def test_a_pivot_is_true_or_false(world: World, wrong: Any) -> None:
    """Nothing else."""
    with pytest.raises(SagaDefinitionError, match=r"operation 1: pivot: expected True or False"):
        SagaAssembler.saga().operation((world.do, "a"), pivot=wrong)
