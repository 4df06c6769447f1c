"""How much it costs: calls and time grow as the saga does, and no faster."""

import sys
import time
from collections.abc import Callable
from functools import partial

import pytest

from py_api_saga import SagaAssembler
from py_api_saga.definition import Definition
from py_api_saga.entries import ACTION, FAILED, SUCCEEDED, Entry
from py_api_saga.execution import Execution


def drive(x: Execution, width: int, *, fail: int = -1) -> None:
    """Drive a saga to its end, with at most so many calls at once; the oldest ends first."""
    flight: list[Entry] = []
    while not x.at_rest:
        for intent in x.ready(width - len(flight)) if width > len(flight) else ():
            x.tell(intent)
            flight.append(intent)
        _, i, kind, attempt, generation, _ = flight.pop(0)
        failed = i == fail and kind == ACTION
        x.tell((FAILED if failed else SUCCEEDED, i, kind, attempt, generation, ValueError()))


def saga_of(count: int, shape: str) -> Definition:
    """Write a chain, a graph without edges, or one in which the last operation waits for all."""
    saga = SagaAssembler.saga()
    for i in range(count):
        after = [str(j) for j in range(i)] if shape == "fan" and i == count - 1 else ()
        saga.operation(int, int, name=str(i), after=after)
    return saga._chain() if shape == "chain" else saga._graph()  # noqa: SLF001


def calls_of(function: Callable[[], object]) -> int:
    """Count the calls that a function makes, of functions in Python and in C."""
    count = 0

    def note(*args: object) -> None:
        nonlocal count
        count += args[1] in ("call", "c_call")

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.untraced
@pytest.mark.parametrize("fails", [False, True], ids=["success", "rollback"])
@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("shape", ["chain", "wide", "fan"])
def test_a_turn_makes_as_many_calls_in_a_large_saga(shape: str, width: int, fails: bool) -> None:  # noqa: FBT001
    """Eight times the operations take eight times the calls, and not 64."""
    small, large = (
        calls_of(partial(drive, Execution(saga_of(n, shape)), width, fail=n - 1 if fails else -1))
        for n in (50, 400)
    )

    assert large < 8.5 * small


@pytest.mark.untraced
@pytest.mark.parametrize("fails", [False, True], ids=["success", "rollback"])
@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("shape", ["chain", "wide", "fan"])
def test_a_turn_takes_as_long_in_a_large_saga(shape: str, width: int, fails: bool) -> None:  # noqa: FBT001
    """What scans all operations at each turn would take twenty times as long in 4,000 of them.

    Time of this thread, the best of three, and a generous bound: nothing else can fail it.
    """

    def cost_of(definition: Definition) -> float:
        count = len(definition.operations)
        x = Execution(definition)
        began = time.thread_time()
        drive(x, width, fail=count - 1 if fails else -1)
        return (time.thread_time() - began) / count

    small, large = saga_of(200, shape), saga_of(4000, shape)
    bound = 8 * min(cost_of(small) for _ in range(3))

    assert any(cost_of(large) < bound for _ in range(3))
