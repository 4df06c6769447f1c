"""Run a saga in the caller's thread, one call after the other."""

from __future__ import annotations

from time import sleep
from typing import TYPE_CHECKING

from py_api_saga.context import current
from py_api_saga.execution import SUCCEEDED
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
            except BaseException as interrupt:
                if isinstance(interrupt, Exception):
                    raise  # a defect of ours
                run.repair(interrupt, run.cut_off)
        return run.finish()
    finally:
        current.set(outer)


def drive(run: Run) -> None:
    """Make every call that is ready, and wait for those that will be."""
    recorder, execution, plain = run.recorder, run.execution, run.plain
    while True:
        if run.inbox is not None or run.deadline is not None:
            run.look()
        intent = execution.start() if plain and not run.left else run.start()
        if intent is None and plain and execution.trouble and execution.trouble.waiting:
            intent = run.start()  # which knows what has waited
        if recorder is not None and not run.commit(intent):
            intent = None
        if intent is not None:
            entry = attempt(run, intent)
            if plain and entry[0] is SUCCEEDED:
                execution.tell(entry)
            else:
                run.tell(entry)
                del entry  # its error knows this frame, and must not be known by it
        elif execution.trouble is not None and run.waits:
            if run.inbox is None:
                sleep(run.patience() or 0.0)
            else:
                run.inbox.wait(run.patience())
        elif run.inbox is None or run.close():  # pragma: no branch - something landed just now
            return
