"""Sagas of the depot that wait for an answer, and what helps to answer them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import depot
import pytest
from depot import do, undo
from recorded import Wrapped, seen
from world import until

from py_api_saga import (
    JournalError,
    Later,
    SagaAssembler,
    SagaError,
    SagaException,
    SagaPending,
    SagaStatus,
    later,
    recover,
    result_of,
)
from py_api_saga.journal.changes import Change, Letter, Mail

Execute = Callable[..., Any]


class RefusedError(Exception):
    """The bank said no."""


def begun(timeout: float | None = None) -> Callable[[], Later]:
    """Make a behaviour that has only begun something."""
    return lambda: later(timeout=timeout)


def order(
    name: str = "b", timeout: float | None = None, saga: SagaAssembler | None = None, **options: Any
) -> SagaAssembler:
    """Make a saga a, b, c of which one waits, whatever runs it; with options of that one."""
    depot.behaviour[name] = begun(timeout)
    saga = saga or SagaAssembler.saga(name="depot")
    for index, each in enumerate("abc"):
        before = "abc"[index - 1 : index]
        more = options if each == name else {}
        what = (do, each, result_of(before)) if before else (do, each)
        saga.operation(what, (undo, each), name=each, after=before or (), **more)
    return saga


def wait(execute: Execute, saga: Any, journal: Any, **options: Any) -> SagaPending:
    """Run a saga that comes to wait, and give what its caller is told."""
    with pytest.raises(SagaPending) as caught:
        execute(saga, journal=journal, saga_id="x", **options)
    return caught.value


def run_out(execute: Execute, saga: Any, journal: Any) -> None:
    """Run a saga whose answer is too late in a moment, perhaps before it comes to wait."""
    with suppress(SagaError):
        execute(saga, journal=journal, saga_id="x")


def failure(execute: Execute, saga: Any, journal: Any) -> SagaException:
    """Give the exception of a saga that was undone."""
    with pytest.raises(SagaException) as caught:
        execute(saga, journal=journal, saga_id="x")
    return caught.value


def recovered(journal: Any, *statuses: SagaStatus) -> None:
    """Recover until the saga stands so, once its time has come."""

    def stands() -> bool:
        recover(journal)
        return seen(journal, "x").status in statuses

    until(stands)


def letters(journal: Any) -> Sequence[Letter]:
    """Give the answers to the saga that nobody has taken."""
    number = seen(journal, "x").number
    found: Sequence[Letter] = journal.mail([number]).get(number, ())
    return found


class Lost(Wrapped):
    """A journal on which no answer comes to lie."""

    def write(self, *changes: Change) -> None:
        """Write, but for the mail."""
        for change in changes:
            if isinstance(change, Mail):
                change.error, change.settled = JournalError("the disk is full"), True
        self._journal.write(*(change for change in changes if not change.settled))

    async def awrite(self, *changes: Change) -> None:
        """Do so in a loop."""
        self.write(*changes)
