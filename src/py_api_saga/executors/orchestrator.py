"""Run a saga in the caller's thread, one call after the other."""

from __future__ import annotations

from py_api_saga.current import current
from py_api_saga.definition import Results
from py_api_saga.entries import SUCCEEDED
from py_api_saga.executors.attempt import attempt, attempting
from py_api_saga.executors.run import Run
from py_api_saga.executors.turns import WAIT, WRITE, turns


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
                if not (run.plain and _made_at_once(run)):
                    make_calls(run)
                break
            except BaseException as interrupt:  # noqa: BLE001 - raised again by `finish`
                if (error := run.repair(interrupt, run.fate_of)) is not None:
                    run.give_up(error)
        return run.finish()
    finally:
        current.set(outer)


def make_calls(run: Run) -> None:
    """Make every call that is ready, and wait for those that will be."""
    make = attempting(run)
    for turn in turns(run):
        if turn == WRITE:
            run.write()
        elif turn == WAIT:
            run.pause()
        else:
            run.tell(make(run, turn[0]))


def _made_at_once(run: Run) -> bool:
    """Make calls while nobody but the machine is to hear of them; say whether all is over.

    The same as `make_calls`, in fewer steps: most of what a saga without a journal costs.
    """
    execution = run.execution
    intent = None if run.left else execution.start()
    while intent is not None:
        entry = attempt(run, intent)
        # A function that reads the entry would be one call more for each operation.
        if entry[0] is SUCCEEDED and not run.left:
            intent = execution.go_on(entry)
        else:
            run.tell(entry)
            del entry  # its error knows this frame, and must not be known by it
            if run.inbox is not None:
                return False
            intent = None if run.left else execution.start()
    return run.inbox is None and (execution.trouble is None or not run.waits)
