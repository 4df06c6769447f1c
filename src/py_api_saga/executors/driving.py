"""Who drives a run: the executor that its method asks for, or whatever stands in for that.

Under asyncio `event_loop.execute` asks here as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Protocol

from py_api_saga.definition import Results
from py_api_saga.executors import choreography, orchestrator
from py_api_saga.executors.run import Run

if TYPE_CHECKING:

    class Driver(Protocol):
        """What drives runs in the place of the executors."""

        def drive(self, run: Run, limit: int | None) -> Results:
            """Run a saga to its end, with at most so many calls at once."""

        def adrive(self, run: Run, limit: int | None) -> Awaitable[Results] | None:
            """Do so under asyncio; None for one call after the other, in the caller's task."""


class InLine:
    """Makes all calls in the caller's thread, one after the other, also those of a choreography."""

    def drive(self, run: Run, limit: int | None) -> Results:  # noqa: ARG002 - one by one
        """Run a saga to its end."""
        return orchestrator.execute(run)

    def adrive(self, _: Run, __: int | None) -> None:
        """Leave that to `event_loop.execute`."""


IN_LINE = InLine()
stand_in: ContextVar[Driver | None] = ContextVar("py_api_saga_stand_in", default=None)
# Whether there has been one yet; looked at first, since asking a context costs a small saga 1 %.
may_be = False


@contextmanager
def standing_in(driver: Driver) -> Iterator[None]:
    """Let something drive the runs of this context, and of copies of it, in a `with` block."""
    global may_be  # noqa: PLW0603 - see there
    may_be = True
    before = stand_in.get()
    stand_in.set(driver)
    try:
        yield
    finally:
        stand_in.set(before)


def executor(limit: int | None) -> Callable[[Run], Results]:
    """Give what runs a saga to its end, with at most so many calls at once; without a limit one.

    Its caller calls it: what a saga raises in the end costs 1 % more for each frame that it passes.
    """
    if may_be and (driver := stand_in.get()) is not None:
        return partial(driver.drive, limit=limit)
    return orchestrator.execute if limit is None else partial(choreography.execute, limit=limit)
