"""Run a saga in the caller's thread, one call after the other."""

from __future__ import annotations

from functools import partial
from time import sleep
from typing import TYPE_CHECKING

from py_api_saga.context import current
from py_api_saga.executors.attempt import attempt

if TYPE_CHECKING:
    from py_api_saga.definition import Results
    from py_api_saga.executors.run import Run


def execute(run: Run) -> Results:
    """Run a saga to its end.

    Raises:
        SagaException: It did not complete.
        BaseException: The interrupt that ended it, once all is undone.
    """
    outer = current.get()
    try:
        while True:
            try:
                drive(run)
                break
            except Exception:
                raise
            except BaseException as interrupt:  # noqa: BLE001 - raised again by `finish`
                run.repair(interrupt, partial(run.cut_off, interrupt))
        return run.finish()
    finally:
        current.set(outer)


def drive(run: Run) -> None:
    """Make every call that is ready, and wait for those that will be."""
    execution = run.execution
    while True:
        if run.inbox is not None:
            run.drain()
        if run.deadline is not None:
            run.check_deadline()
        intents = execution.ready(1)
        if run.left or not intents:
            if run.close():
                return
            continue
        intent = intents[0]
        if intent[5] is not None:  # nothing but retries is left, and each is due in its own time
            intent = min(execution.ready(), key=run.wait_of)
            if run.wait_of(intent) > 0:
                _wait(run, run.patience([intent]) or 0.0)
                continue
        run.begin(intent)
        run.tell(attempt(run, intent))


def _wait(run: Run, seconds: float) -> None:
    if run.inbox is None:
        sleep(seconds)
    else:
        run.inbox.wait(seconds)
