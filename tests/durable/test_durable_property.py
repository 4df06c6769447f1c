"""Random sagas whose journal fails at random moments, until somebody has recovered each of them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

import depot
import pytest
from depot import ask, do, fail, undo
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from recorded import KINDS, Faulty, opening, status

from py_api_saga import (
    BoundSaga,
    JournalError,
    Retry,
    SagaAssembler,
    SagaException,
    SagaStatus,
    given,
    recover,
    takeover,
)

NAMES = "abcde"
AGAIN = Retry(OSError, attempts=2, wait_initial=0, wait_jitter=0)


class Op(NamedTuple):
    """What an operation is, and how it behaves."""

    after: frozenset[int]
    has_undo: bool
    action: str  # "works", "fails", "is busy once", "is lost": done, and its answer is not there
    undo: str  # "works", "fails once"
    asks: bool


OPS = st.builds(
    Op,
    st.frozensets(st.integers(0, 4), max_size=2),
    st.booleans(),
    st.sampled_from(["works", "works", "works", "fails", "is busy once", "is lost"]),
    st.sampled_from(["works", "works", "fails once"]),
    st.booleans(),
)


def first(error: Exception) -> Any:
    """Make a behaviour that raises the first time."""
    left = [error]

    def behave() -> str:
        if left:
            raise left.pop()
        return "done"

    return behave


def lose(name: str) -> Any:
    """Make a behaviour that takes effect and then loses its answer."""

    def behave() -> None:
        if name not in depot.standing:
            depot.standing.append(name)
        raise TimeoutError

    return behave


def build(ops: list[Op], pivot: int, on_crash: Any, *, once: bool) -> SagaAssembler | BoundSaga:
    """Write a saga down, at once or with its arguments apart, and tell the depot how to behave."""
    depot.reset()
    saga = SagaAssembler.saga(on_crash=on_crash, retry=AGAIN, compensation_retry=AGAIN)
    for i, op in enumerate(ops):
        name = NAMES[i]
        actions = {
            "fails": fail(ValueError("no")),
            "is busy once": first(OSError("busy")),
            "is lost": lose(name),
        }
        if op.action in actions:
            depot.behaviour[name] = actions[op.action]
        if op.undo == "fails once":
            depot.behaviour[f"undo {name}"] = first(OSError("busy"))
        after = {NAMES[j] for j in op.after if j < i}
        if i == pivot:
            after = set(NAMES[:i])
        elif i > pivot >= 0:
            after.add(NAMES[pivot])
        argument = given(name) if once else name
        saga.operation(
            (do, argument),
            (undo, argument) if op.has_undo else None,
            name=name,
            after=sorted(after),
            on_doubt=ask if op.asks else "proceed",
            pivot=i == pivot,
        )
    return saga.given(**{name: name for name in NAMES[: len(ops)]}) if once else saga


def live(journal: Any, saga: SagaAssembler | BoundSaga, method: str, faults: list[int]) -> None:
    """Run a saga until its journal fails, and recover it until it has ended."""
    execute = getattr(saga, method)
    with suppress(JournalError, SagaException):
        execute(journal=Faulty(journal, faults[0] if faults else 99), saga_id="x")
    if journal.find("x") is None:
        return
    for good in (*faults[1:], 99):
        takeover(Faulty(journal, good), "x")


def check(journal: Any, ops: list[Op]) -> None:
    """See that what stands is what the summary of a saga says."""
    undoable = {NAMES[i] for i, op in enumerate(ops) if op.has_undo}
    outcome = status(journal, "x")
    if outcome is SagaStatus.COMPLETED:
        assert sorted(depot.standing) == list(NAMES[: len(ops)])
        assert not any(line.startswith("undo") for line in depot.log)
    elif outcome is SagaStatus.COMPENSATED:
        assert undoable.isdisjoint(depot.standing)
    else:
        assert outcome is SagaStatus.STUCK
    assert len(set(depot.standing)) == len(depot.standing)
    assert set(depot.keys) <= {
        f"x:{name}:{kind}" for name in NAMES for kind in ("action", "compensation")
    }
    first_undo = next((i for i, line in enumerate(depot.log) if line[:5] == "undo "), None)
    if first_undo is not None:
        assert not any(line in NAMES for line in depot.log[first_undo:])
    assert recover(journal) == []


@pytest.mark.untraced
@settings(deadline=None, max_examples=200)
@for_all(
    st.lists(OPS, min_size=1, max_size=5),
    st.integers(-1, 4),
    st.sampled_from(["resume", "compensate"]),
    st.sampled_from(["orchestrator_execute", "choreography_execute"]),
    st.lists(st.integers(0, 8), max_size=5),
    st.sampled_from(["memory", *KINDS]),
    st.booleans(),
)
def test_whatever_happens_a_saga_ends_as_it_says(
    ops: list[Op],
    pivot: int,
    on_crash: str,
    method: str,
    faults: list[int],
    kind: str,
    once: bool,  # noqa: FBT001
) -> None:
    """COMPLETED is all effects, COMPENSATED none that can be undone; no call has a second key."""
    saga = build(ops, pivot if pivot < len(ops) else -1, on_crash, once=once)
    with opening(kind) as journal:
        live(journal, saga, method, faults)
        if journal.find("x") is None:
            assert depot.log == []
        else:
            check(journal, ops)
