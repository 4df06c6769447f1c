"""The gate of runs whose claims may end by themselves: no call starts under one that has.

A journal on many machines gives a claim for as long as a lease runs. A write says that it does;
but a call may wait for its thread, or its task for the loop, longer than that. So whoever makes the
call looks again, as the last thing: see `Leased`.
"""

from __future__ import annotations

from typing import Protocol

from py_api_saga.durable.recorder import Recorder
from py_api_saga.exceptions import SagaError
from py_api_saga.journal.protocol import Leased


class Recorded(Protocol):
    """What it asks of a run."""

    recorder: Recorder

    def lose(self, error: SagaError) -> None:
        """Call nothing more."""


class Punctual:
    """Lets a call of a run begin only while its claim stands."""

    __slots__ = ("_journal",)

    def __init__(self, journal: Leased) -> None:
        """Ask this journal."""
        self._journal = journal

    def is_open(self, run: Recorded) -> bool:
        """Tell whether a call may be made."""
        claim = run.recorder.claim
        return claim is not None and not claim.over and self._journal.is_in_time()

    def wait(self, run: Recorded) -> None:
        """Return when it may; raises what the run is lost to, if it may not."""
        claim = run.recorder.claim
        assert claim is not None  # noqa: S101 - nothing is called before it is on record
        try:
            self._journal.see_in_time(claim)
        except SagaError as error:
            run.lose(error)
            raise

    async def await_(self, run: Recorded) -> None:
        """Like `wait`, under asyncio."""
        claim = run.recorder.claim
        assert claim is not None  # noqa: S101 - as above
        try:
            await self._journal.asee_in_time(claim)
        except SagaError as error:
            run.lose(error)
            raise
