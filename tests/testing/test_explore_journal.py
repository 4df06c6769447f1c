"""`explore(modules=…)`: the same, with a real journal and the recovery that everybody has."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import till

from py_api_saga import (
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    current_operation,
    result_of,
)
from py_api_saga.journal import MemoryJournal
from py_api_saga.testing import explore
from py_api_saga.testing.telling import BrokenSagaError

MODULES = [__name__]
shop = till.Shop()  # of the schedule that runs: a journal names functions, and these know of it


def world() -> till.Shop:
    """Give a new shop, to the functions of this module as well."""
    global shop  # noqa: PLW0603 - that is how it is done where a journal names the functions
    shop = till.Shop()
    return shop


def reserve(pieces: int) -> str:
    """Action."""
    return shop.stock.reserve(till.key(), pieces)


def release() -> None:
    """Undo."""
    shop.stock.release(till.action_key())


def release_anew(reservation: str) -> None:
    """Undo that adds each time."""
    shop.stock.free += 2
    shop.stock.held.pop(reservation, None)


def charge(cents: int) -> str:
    """Action."""
    return shop.bank.charge(till.key(), cents)


def refund() -> None:
    """Undo."""
    shop.bank.refund(till.action_key())


def carelessly() -> str:
    """Action under a key for each attempt."""
    return shop.bank.charge(
        current_operation().idempotency_key + str(current_operation().attempt), 1200
    )


async def acharge(cents: int) -> str:
    """Action."""
    return shop.bank.charge(till.key(), cents)


async def arefund() -> None:
    """Undo."""
    shop.bank.refund(till.action_key())


def right(_: till.Shop) -> SagaAssembler:
    """As it should be."""
    return (
        SagaAssembler.saga(name="order")
        .operation((reserve, 2), release)
        .operation((charge, 1200), refund)
    )


def half_async(_: till.Shop) -> SagaAssembler:
    """Right, with coroutine functions."""
    return (
        SagaAssembler.saga(name="order")
        .operation((reserve, 2), release)
        .operation((acharge, 1200), arefund)
    )


def not_idempotent(_: till.Shop) -> SagaAssembler:
    """Its undo adds each time."""
    return (
        SagaAssembler.saga(name="order")
        .operation((reserve, 2), (release_anew, result_of()))
        .operation((charge, 1200), refund)
    )


def careless(_: till.Shop) -> SagaAssembler:
    """Charges under a key for each attempt."""
    return (
        SagaAssembler.saga(name="order")
        .operation((reserve, 2), release)
        .operation(carelessly, refund)
    )


def found(run: Any, **options: Any) -> list[Any]:
    """Explore, and give what is found."""
    try:
        explore(run, world=world, state=till.Shop.ledgers, **options)
    except BrokenSagaError as error:
        return [*error.findings]
    return []


@pytest.mark.parametrize(
    ("how", "on_crash"), [("orchestrator", None), ("choreography", "compensate")]
)
@pytest.mark.parametrize("run", [right, half_async, not_idempotent, careless])
def test_the_same_is_found_with_a_journal(run: Any, how: str, on_crash: Any) -> None:
    """Entries in memory stand for what is written down, word for word."""
    options = {"how": how, "on_crash": on_crash, "services": ["bank"]}
    with_journal = found(run, modules=MODULES, **options)

    assert with_journal == found(run, **options)
    assert bool(with_journal) is (run not in (right, half_async))


def view(_: till.Shop) -> None:
    """Runs it under an id, and does something afterwards."""
    try:
        right(_).orchestrator_execute(saga_id="order-1")
    except SagaException:
        return
    shop.bank.charges["fee"] = 1


def view_without_id(_: till.Shop) -> None:
    """Does so without an id."""
    try:
        right(_).orchestrator_execute()
    except SagaException:
        return
    shop.bank.charges["fee"] = 1


def two(_: till.Shop) -> None:
    """Runs two, one after the other."""
    with contextlib.suppress(SagaException):
        right(_).orchestrator_execute()
        right(_).orchestrator_execute(saga_id="second")


@pytest.mark.parametrize("run", [view, view_without_id, two])
def test_the_same_is_found_of_a_view(run: Any) -> None:
    """Also what a client gets that calls once more."""
    with_journal = found(run, modules=MODULES)

    assert with_journal == found(run)
    assert bool(with_journal) is (run is view_without_id)


def test_the_journal_of_a_saga_is_honoured() -> None:
    """What is on record there is what recovery goes on with, and what a client is answered."""
    journals: list[MemoryJournal] = []

    def run(_: till.Shop) -> None:
        if not shop.bank.refunded and not shop.stock.held:
            journals.append(MemoryJournal(MODULES))
        with contextlib.suppress(SagaException):
            right(_).orchestrator_execute(journal=journals[-1])

    explored = explore(run, world=world, state=till.Shop.ledgers, modules=MODULES)

    statuses = [journal.select()[0].status for journal in journals if journal.select()]
    assert len(statuses) == explored.schedules + 2
    assert {status.value for status in statuses} == {"completed", "compensated"}


def odd() -> object:
    """Action whose result no journal can keep."""
    return object()


def test_what_a_journal_cannot_keep_is_told_at_once() -> None:
    """Where there is none nobody would notice, in the first run or in any other."""

    def run(_: till.Shop) -> SagaAssembler:
        return SagaAssembler.saga().operation(odd).operation((reserve, 2), release)

    explore(run, world=world, state=till.Shop.ledgers)
    with pytest.raises(SagaDefinitionError, match="the result of the action of 'odd' cannot be"):
        explore(run, world=world, state=till.Shop.ledgers, modules=MODULES)


@contextlib.contextmanager
def counted(_: Any) -> Iterator[None]:
    """Is around each call."""
    calls.append("call")
    yield


calls: list[str] = []


def with_journal(_: till.Shop) -> None:
    """Has a journal, a deadline, and something around its calls."""
    saga = right(_)
    saga.around = (counted,)
    saga.journal = MemoryJournal(MODULES)
    with contextlib.suppress(SagaException):
        saga.orchestrator_execute(deadline=60)


def without_journal(_: till.Shop) -> None:
    """Has all this but the journal."""
    saga = right(_)
    saga.around = (counted,)
    with contextlib.suppress(SagaException):
        saga.orchestrator_execute(deadline=60)


@pytest.mark.parametrize("run", [with_journal, without_journal])
@pytest.mark.parametrize("modules", [None, MODULES])
@pytest.mark.parametrize("on_crash", [None, "compensate"])
def test_a_journal_is_kept_to_or_none_is_written(run: Any, modules: Any, on_crash: Any) -> None:
    """With a deadline, and with what is around the calls, in all four cases."""
    calls.clear()

    assert found(run, modules=modules, on_crash=on_crash, blind=False) == []
    assert len(calls) > 50


def test_no_journal_is_written_without_modules() -> None:
    """It may be that of the application."""
    journal = MemoryJournal(MODULES)

    def run(_: till.Shop) -> None:
        with contextlib.suppress(SagaException):
            right(_).orchestrator_execute(journal=journal, saga_id="order-1")

    explore(run, world=world, state=till.Shop.ledgers)
    assert journal.select() == []


def test_a_real_interrupt_ends_it_in_a_recovery_as_well() -> None:
    """A takeover raises nothing itself."""
    with pytest.raises(KeyboardInterrupt, match="really"):
        explore(
            lambda _: SagaAssembler.saga().operation((reserve, 2), release).operation(struck),
            world=world,
            state=till.Shop.ledgers,
            modules=MODULES,
            replay="struck:crash-before",
        )


def struck() -> None:
    """Action that somebody interrupts in a second attempt."""
    if current_operation().attempt > 1:
        raise KeyboardInterrupt("really")


def park(_: till.Shop) -> SagaAssembler:
    """Leaves a doubt to a person, whom calling once more does not help."""
    return SagaAssembler.saga(name="order").operation(
        (reserve, 2), (release_anew, result_of()), on_doubt="park"
    )


def test_what_cannot_be_called_once_more_stays_stuck() -> None:
    """In a journal as in memory."""
    with_journal = found(park, modules=MODULES, replay="reserve:lost")

    assert with_journal == found(park, replay="reserve:lost")
    assert with_journal[0].message.startswith("reserve is stuck")
