"""Which executor runs a saga in the caller's thread; under asyncio it is `event_loop.execute`."""

from __future__ import annotations

from py_api_saga.executors import choreography, orchestrator

TYPE_CHECKING = False  # as in `typing`, which takes 7 ms to import
if TYPE_CHECKING:
    from py_api_saga.definition import Results
    from py_api_saga.executors.run import Run


def drive(run: Run, limit: int | None) -> Results:
    """Run a saga to its end, with at most so many calls at once; without a limit one by one.

    Raises:
        SagaException: It did not complete.
        BaseException: The interrupt that ended it, once all is undone.
    """
    if limit is None:
        return orchestrator.execute(run)
    return choreography.execute(run, limit)
