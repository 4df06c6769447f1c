"""`explore`: what is around a call sees what goes wrong in it, and a journal what comes late."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import depot
import pytest
from depot import do, undo
from till import Shop, order

from py_api_saga import SagaAssembler, SagaStatus
from py_api_saga.current import CurrentOperation
from py_api_saga.journal import MemoryJournal
from py_api_saga.testing import explore


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("refuses", "Refused"),
        ("lost", "ConnectionResetError"),
        ("cancelled", "KeyboardInterrupt"),
    ],
)
def test_what_is_around_a_call_sees_what_goes_wrong_in_it(fault: str, error: str) -> None:
    """As a session does, that is to be rolled back: the fault is the function's own."""
    seen: list[str] = []

    @contextmanager
    def noted(operation: CurrentOperation) -> Iterator[None]:
        try:
            yield
        except BaseException as raised:
            seen.append(f"{operation.operation}: {type(raised).__name__}")
            raise

    def run(shop: Shop) -> SagaAssembler:
        saga = order(shop)
        saga.around = (noted,)
        return saga

    explore(run, world=Shop, state=Shop.ledgers, replay=f"charge:{fault}")

    assert seen == [f"charge: {error}"]


class World:
    """Names what is in the depot."""

    def __init__(self) -> None:
        depot.reset()
        self.journal = MemoryJournal(modules=["depot"])


@pytest.mark.parametrize(
    ("on_crash", "schedule", "end"),
    [
        ("resume", "a:late", SagaStatus.COMPENSATED),
        ("resume", "a:crash-before, b:crash-before", SagaStatus.COMPLETED),
        ("compensate", "b:crash-after, undo b:crash-before", SagaStatus.COMPENSATED),
        ("compensate", "b:crash-after, undo b:cancelled", SagaStatus.COMPENSATED),
    ],
)
def test_on_record_all_is_brought_to_its_end(on_crash: Any, schedule: str, end: SagaStatus) -> None:
    """What lands after the end of its saga; and what is struck once more as it is recovered."""
    ends: list[Any] = []

    def run(world: World) -> SagaAssembler:
        return (
            SagaAssembler.saga(journal=world.journal)
            .operation((do, "a"), (undo, "a"), name="a", timeout=5.0)
            .operation((do, "b"), (undo, "b"), name="b")
        )

    def check(world: World, outcome: SagaStatus) -> None:
        (seen,) = world.journal.select()
        ends.append((outcome, seen.status, [*depot.standing]))

    explore(run, world=World, check=check, modules=["depot"], on_crash=on_crash, replay=schedule)

    assert ends == [(end, end, ["a", "b"] if end is SagaStatus.COMPLETED else [])]
