"""Results as a journal would give them back, in a test that has none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from recorded import chain
from world import World, failure_of

from py_api_saga import UNKNOWN, SagaAssembler, SagaException, happened, result_of
from py_api_saga.executors import driving
from py_api_saga.testing import encoded_results


@dataclass
class Ticket:
    """A result that a journal can keep if it may name this module."""

    number: int


class Handle:
    """One that none can keep."""


@pytest.fixture(autouse=True)
def nothing_stays() -> Any:
    """Each block has taken back what it did to the runs of this process."""
    yield
    assert driving._changes == ()  # noqa: SLF001 - where it would be


def giving(value: Any, seen: list[Any]) -> SagaAssembler:
    """Make a saga that hands a result on."""

    def act() -> Any:
        return value

    return (
        SagaAssembler.saga()
        .operation(act, name="reserve")
        .operation((seen.append, result_of("reserve")), name="note")
    )


def test_a_result_is_another_object_of_the_same_value(execute: Any) -> None:
    """To the other operations, and to the caller; on each executor."""
    ticket, seen = Ticket(7), list[Any]()

    with encoded_results(modules=[__name__]):
        results = execute(giving(ticket, seen))

    assert results["reserve"] == seen[0] == ticket
    assert results["reserve"] is not ticket


def test_a_result_that_no_journal_can_keep_fails_the_test(execute: Any) -> None:
    """The run goes on with it, and the block does not end well."""
    handle, seen = Handle(), list[Any]()

    with pytest.raises(AssertionError) as caught, encoded_results(modules=[__name__]):
        execute(giving(handle, seen))

    assert seen == [handle]
    assert str(caught.value).startswith(
        f"a journal can't keep the result of reserve: it is of type {__name__}.Handle: store what"
    )


def test_a_module_that_is_not_listed_is_named() -> None:
    """As a journal says it."""
    with pytest.raises(AssertionError, match="modules="), encoded_results():
        giving(Ticket(7), []).orchestrator_execute()


def test_coroutine_functions_and_undos_and_answers_go_the_same_way(world: World) -> None:
    """Each by the name of its operation."""

    async def act() -> Handle:
        await asyncio.sleep(0)
        return Handle()

    def undo() -> Any:
        return Handle()

    def ask() -> Any:
        return happened(Handle())

    def lose() -> None:
        raise ConnectionResetError

    saga = (
        SagaAssembler.saga()
        .operation(act, undo, name="a")
        .operation(lose, (world.undo, "b"), name="b", on_doubt=lambda: UNKNOWN)
    )
    asking = SagaAssembler.saga().operation(lose, name="pay", on_doubt=ask, pivot=True)

    def both() -> None:
        asking.orchestrator_execute()
        with pytest.raises(SagaException):
            asyncio.run(saga.aorchestrator_execute())

    with pytest.raises(AssertionError) as caught, encoded_results(modules=[__name__]):
        both()

    said = [line.partition(":")[0] for line in str(caught.value).splitlines()]
    assert said == [f"a journal can't keep the result of {name}" for name in ("pay", "a", "undo a")]


def test_a_saga_that_fails_does_not_hide_it() -> None:
    """A test may expect that it does."""

    def refuse() -> None:
        raise ValueError("no")

    saga = SagaAssembler.saga().operation(Handle, name="a").operation(refuse, name="b")

    with pytest.raises(AssertionError, match="the result of a:") as caught, encoded_results():
        saga.orchestrator_execute()

    assert isinstance(caught.value.__cause__, SagaException)


def test_a_run_that_has_a_journal_is_left_to_that(journal: Any) -> None:
    """Which refuses what it can't keep by itself."""
    with encoded_results():
        results = chain("a").orchestrator_execute(journal=journal, saga_id="x")

    assert results == ["A"]


def test_it_goes_through_the_codec_as_well() -> None:
    """What seals values is given their text, and opens it again."""
    sealed: list[str] = []

    class Codec:
        def encode(self, text: str) -> str:
            sealed.append(text)
            return text[::-1]

        def decode(self, text: str) -> str:
            return text[::-1]

    with encoded_results(codec=Codec()):
        assert giving({"n": 1}, []).orchestrator_execute()["reserve"] == {"n": 1}

    assert sealed[0] == '{"n":1}'


def test_bad_input_is_refused_in_words() -> None:
    """By what a journal says."""
    wrong: Callable[..., Any] = encoded_results
    with pytest.raises(TypeError, match="modules"), wrong(modules="shop"):
        raise NotImplementedError


def test_it_is_over_with_its_block() -> None:
    """Afterwards results are handed on as they are."""
    handle = Handle()
    with encoded_results():
        failure_of(lambda saga: saga.orchestrator_execute(), SagaAssembler.saga())

    assert giving(handle, []).orchestrator_execute()["reserve"] is handle
