"""Any saga, run on an engine by a worker: what it does, keeps, gives and raises is as here.

Its calls are made one after the other, so that both have one order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import depot
import pytest
from courses import plain, told
from depot import ask, do, fail, undo
from engine_here import EngineHere
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from recorded import Reversed

from py_api_saga import (
    Retry,
    SagaAssembler,
    SagaException,
    result_of,
)
from py_api_saga.journal import MemoryJournal

NAMES = "abcde"
AGAIN = Retry(OSError, attempts=2, wait_initial=0, wait_jitter=0)


class Op(NamedTuple):
    """What an operation is, and how it behaves."""

    after: frozenset[int]
    undo: str  # "plain", "of the result", "none"
    action: str  # "works", "fails", "is busy once", "is busy", "is lost": done, and nobody knows
    undoing: str  # "works", "fails once", "fails"
    doubt: str  # "proceed", "park", "ask"
    is_child: bool  # in a child saga, beside another one


OPS = st.builds(
    Op,
    st.frozensets(st.integers(0, 4), max_size=2),
    st.sampled_from(["plain", "of the result", "none"]),
    st.sampled_from(["works", "works", "works", "fails", "is busy once", "is busy", "is lost"]),
    st.sampled_from(["works", "works", "fails once", "fails"]),
    st.sampled_from(["proceed", "park", "ask"]),
    st.booleans(),
)


def behave(ops: list[Op]) -> None:
    """Tell the depot how to behave, from the beginning."""
    depot.reset()
    for name, op in zip(NAMES, ops, strict=False):
        actions = {
            "fails": fail(ValueError(f"no {name}")),
            "is busy once": _once(OSError("busy")),
            "is busy": fail(OSError("busy")),
            "is lost": _lost(name),
        }
        if op.action in actions:
            depot.behaviour[name] = actions[op.action]
        if op.undoing != "works":
            busy = OSError("busy")
            depot.behaviour[f"undo {name}"] = (
                _once(busy) if op.undoing == "fails once" else fail(busy)
            )


def _once(error: Exception) -> Any:
    left = [error]

    def behaviour() -> Any:
        if left:
            raise left.pop()
        return {"done": True}

    return behaviour


def _lost(name: str) -> Any:
    def behaviour() -> None:
        if name not in depot.standing:
            depot.standing.append(name)
        raise TimeoutError(name)

    return behaviour


def build(ops: list[Op], pivot: int, on_crash: Any) -> SagaAssembler:
    """Write the saga down."""
    saga = SagaAssembler.saga(on_crash=on_crash, retry=AGAIN, compensation_retry=AGAIN)
    known: list[str] = []
    for i, op in enumerate(ops):
        name = NAMES[i]
        after = {NAMES[j] for j in op.after if j < i}
        after = {*NAMES[:i]} if i == pivot else after | {NAMES[pivot]} if i > pivot >= 0 else after
        undoing = {"plain": (undo, name), "of the result": (undo, name, result_of()), "none": None}
        results = [result_of(other) for other in sorted(after) if other in known]
        options: Any = {"name": name, "after": sorted(after)}
        if op.is_child and i != pivot:
            pack = SagaAssembler.saga(name=name, retry=AGAIN, compensation_retry=AGAIN)
            pack.operation((do, name), undoing[op.undo], name="box")
            pack.operation((do, f"{name}2", result_of("box")), (undo, f"{name}2"), name="label")
            saga.operation(pack, **options)
        else:
            doubt: Any = ask if op.doubt == "ask" else op.doubt
            options |= {"on_doubt": doubt, "pivot": i == pivot}
            saga.operation((do, name, *results), undoing[op.undo], **options)
        known.append(name)
    return saga


def outcome_of(saga: SagaAssembler, *, at_once: bool, **where: Any) -> Any:
    """Run a saga; give what it gives or raises, and what it has done."""
    method = saga.choreography_execute if at_once else saga.orchestrator_execute
    options: Any = {"max_workers": 1} if at_once else {}
    try:
        given = repr(method(saga_id="x", **options, **where))
    except SagaException as error:
        stood = {name: (it.status, it.result) for name, it in error.operations.items()}
        given = f"{type(error).__name__}: {error} {stood}"
    return given, [*depot.log], [*depot.keys], sorted(depot.standing)


@pytest.mark.untraced
@settings(max_examples=80, derandomize=True, database=None, deadline=None)
@for_all(
    st.lists(OPS, min_size=1, max_size=5),
    st.integers(-1, 4),
    st.sampled_from(["resume", "compensate"]),
    st.booleans(),
    st.sampled_from([None, None, Reversed()]),
)
def test_it_is_the_same_on_an_engine(
    ops: list[Op],
    pivot: int,
    on_crash: Any,
    at_once: bool,  # noqa: FBT001 - drawn
    codec: Any,
) -> None:
    """The same calls under the same keys, entries, results and errors."""
    pivot = pivot if pivot < len(ops) else -1
    journal = MemoryJournal(modules=["depot"], codec=codec)
    engine = EngineHere(["depot"], codec=codec)
    behave(ops)
    here = outcome_of(build(ops, pivot, on_crash), at_once=at_once, journal=journal)
    behave(ops)
    with engine.at_work():
        there = outcome_of(build(ops, pivot, on_crash), at_once=at_once, engine=engine)
    depot.reset()

    assert there == here
    assert entries_of(engine) == entries_of(journal)


def entries_of(place: Any) -> list[Any]:
    """Give what is on record of the saga."""
    seen = place.find("x")
    return plain(told([(row.at, row.body) for row in place.rows([seen.number])[seen.number]]))
