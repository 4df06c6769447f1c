"""The one loop of a run: what is to be done next, until nothing is.

It does none of that. Whoever drives a run, in a thread, with a pool, in an event loop or with the
threads of a recovery, goes through `turns` and does what each turn asks for:

    WRITE              make durable what was told (`Run.write`)
    a list of intents  make these calls, or have them made, and tell the run what came of each
    WAIT               wait until something was told, or is due (`Run.patience`)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from py_api_saga.entries import Entry
from py_api_saga.executors.run import Run

if TYPE_CHECKING:

    class Ear(Protocol):
        """What hears of what ends elsewhere; a run that a thread drives does so itself."""

        def look(self) -> bool | None:
            """Tell the run what has ended; say whether to leave it as it is, with calls to make."""

        def close(self) -> bool:
            """Hear nothing more, unless there is something."""


Turn: TypeAlias = list[Entry] | Literal["write", "wait"]

WRITE: Final = "write"
WAIT: Final = "wait"


def turns(run: Run, limit: int = 1, ear: Ear | None = None) -> Iterator[Turn]:
    """Give what is to be done next, with at most so many calls in flight."""
    execution, ear = run.execution, ear or run
    while not ear.look():
        intents: list[Entry] = []
        while len(execution.flying) < limit and (intent := run.start()) is not None:
            intents.append(intent)
        while run.prepare_write(intents):
            yield WRITE
        if intents:
            yield intents
        elif run.awaits or run.waits:
            yield WAIT
        elif ear.close():  # pragma: no branch - a straggler landed just now
            return
