"""Who drives a run: the executor that its method asks for, or whatever stands in for that.

A run can be changed before anybody drives it: see `changing`. Under asyncio `event_loop.execute`
asks here as well, and so does the recovery of several sagas in turns. And something may look on at
all runs of the process: see `look_on`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from py_api_saga.current import CurrentOperation
from py_api_saga.definition import Results
from py_api_saga.entries import Entry
from py_api_saga.executors import choreography, orchestrator
from py_api_saga.executors.around import surround
from py_api_saga.executors.run import Run

if TYPE_CHECKING:
    from py_api_saga.executors.running import SeenRun

    class Witness(Protocol):
        """What sees one run, which holds it. What goes wrong in it is its own affair."""

        def around(self, operation: CurrentOperation, /) -> AbstractContextManager[Any]:
            """Give what is outermost around a call."""

        def told(self, run: Run, entry: Entry) -> None:
            """Hear what came of a call, in the thread that drives the run."""

        def ended(self, run: Run, error: BaseException | None) -> None:
            """Hear that it is driven no longer, and what is raised, if anything is."""

    class CallWitness(Protocol):
        """What sees the one call that is made here of a run which is elsewhere."""

        def around(self, operation: CurrentOperation, /) -> AbstractContextManager[Any]:
            """Give what is outermost around the call."""

        def told(self, entry: Entry) -> None:
            """Hear what came of it; once more if it was given up, and has ended since."""

    class Onlooker(Protocol):
        """What looks on at all runs of this process."""

        def begins(self, run: Run) -> Witness:
            """Give what sees this run, of which nothing has been called yet."""

        def sees_call(self, run: SeenRun, trace: object) -> CallWitness:
            """Give what sees a call of a run that is elsewhere, and is part of this if it says."""

        def trace(self) -> str | None:
            """Give what a saga that is written down now is part of, as a W3C `traceparent`."""

        def working(self, place: Any) -> AbstractContextManager[Any]:
            """Tell of the place in which a worker looks for sagas, in a `with` block."""

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
# Whether there has been one yet, or a change, or an onlooker; looked at first, since asking a
# context costs a small saga 1 %.
may_be = False
# What changes each run of this process before it is driven, in this order. Not of a context: a
# server, a pool or a test client may run the saga in a thread that has another one.
_changes: tuple[Callable[[Run], object], ...] = ()
onlooker: Onlooker | None = None  # of this process
# What says why no saga may be gone on with in this thread now, or None: what frameworks know of, as
# an open transaction of the caller's. Asked by whoever could as well leave it to another process.
holds: list[Callable[[], str | None]] = []


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


@contextmanager
def changing(how: Callable[[Run], object]) -> Iterator[None]:
    """Give each run that this process begins in a `with` block to something that changes it.

    That is done before it is driven, whoever drives it, and before any call is made.
    """
    global may_be, _changes  # noqa: PLW0603 - see there
    try:
        may_be, _changes = True, (*_changes, how)
        yield
    finally:
        _changes = tuple([other for other in _changes if other is not how])


def change(run: Run) -> None:
    """Change a run that is about to be driven."""
    for one in _changes:
        one(run)


def asked(run: Run) -> Driver | None:
    """Change a run that is about to be driven, and give what drives it instead, or None."""
    change(run)
    return stand_in.get()


def look_on(by: Onlooker | None) -> None:
    """Let something look on at all runs of this process that begin from now on, or nothing."""
    global may_be, onlooker
    may_be, onlooker = may_be or by is not None, by


def executor(limit: int | None) -> Callable[[Run], Results]:
    """Give what runs a saga to its end, with at most so many calls at once; without a limit one.

    Its caller calls it: what a saga raises in the end costs 1 % more for each frame that it passes.
    """
    if may_be and (_changes or onlooker is not None or stand_in.get() is not None):
        return partial(_drive, limit=limit)
    return orchestrator.execute if limit is None else partial(choreography.execute, limit=limit)


def _drive(run: Run, limit: int | None) -> Results:
    """Change a run, and have it driven by whatever stands in, if something does."""
    driver = asked(run)
    with seen(run):
        if driver is not None:
            return driver.drive(run, limit)
        return orchestrator.execute(run) if limit is None else choreography.execute(run, limit)


class Seen:
    """Lets something see a run while that is driven in a `with` block, and be around its calls."""

    __slots__ = ("_around", "_by", "_run")

    def __init__(self, run: Run, by: Onlooker) -> None:
        """Take a run of which nothing has been called yet."""
        self._run, self._by, self._around = run, by, run.around

    def __enter__(self) -> None:
        run = self._run
        run.witness = witness = self._by.begins(run)
        run.plain = False
        surround(run, (witness.around, *self._around))

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        run = self._run
        run.around = self._around  # another run, which goes on in its place, is seen by itself
        run.witness.ended(run, error)


def working(place: object) -> AbstractContextManager[Any]:
    """Let whoever looks on tell of the place in which a worker looks for sagas, if anybody does."""
    return nullcontext() if onlooker is None else onlooker.working(place)


def seen(run: Run) -> AbstractContextManager[None]:
    """Let whoever looks on see a run while that is driven in a `with` block, if anybody does."""
    return nullcontext() if onlooker is None else Seen(run, onlooker)
