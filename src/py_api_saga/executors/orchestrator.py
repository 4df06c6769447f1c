"""Run a saga in the caller's thread, one call after the other."""

from __future__ import annotations

from py_api_saga.context import current
from py_api_saga.entries import SUCCEEDED
from py_api_saga.executors.attempt import attempt

TYPE_CHECKING = False  # as in `typing`, which takes 7 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator

    from py_api_saga.definition import Results
    from py_api_saga.executors.run import Run
    from py_api_saga.journal.changes import Change


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
            except BaseException as interrupt:  # noqa: BLE001 - raised again by `finish`
                if (error := run.repair(interrupt, run.cut_off)) is not None:
                    run.give_up(error)
        return run.finish()
    finally:
        current.set(outer)


def drive(run: Run) -> None:
    """Make every call that is ready, and wait for those that will be."""
    if run.plain and _made_at_once(run):
        return
    for change in turns(run):
        assert run.recorder is not None  # noqa: S101 - it has given the change
        run.recorder.journal.write(change)


def _made_at_once(run: Run) -> bool:
    """Make calls while nobody but the machine is to hear of them; say whether all is over.

    The same as `turns`, in fewer steps: most of what a saga without a journal costs.
    """
    execution = run.execution
    while not run.left and (intent := execution.start()) is not None:
        entry = attempt(run, intent)
        if entry[0] is SUCCEEDED:  # a function that reads it is one call more for each operation
            execution.tell(entry)
        else:
            run.tell(entry)
            del entry  # its error knows this frame, and must not be known by it
            if run.inbox is not None:
                return False
    return run.inbox is None and (execution.trouble is None or not run.waits)


def turns(run: Run) -> Iterator[Change]:
    """Make every call that is ready, and wait for those that will be.

    Gives what is to be written before the next call: goes on once that is settled.
    """
    while True:
        run.look()
        intent = run.start()
        if run.recorder is not None:
            yield from run.writing(intent)
            if run.lost is not None:
                intent = None
        if intent is not None:
            run.tell(attempt(run, intent))
        elif run.waits:
            run.pause()
        elif run.close():  # pragma: no branch - something landed just now
            return


def outlasting(run: Run) -> Iterator[Change]:
    """Do as `turns`, and roll back if what they call raises an interrupt: an observer, say."""
    while True:
        try:
            yield from turns(run)
        except GeneratorExit:  # nobody goes on
            raise
        except BaseException as interrupt:  # noqa: BLE001 - raised again by `finish`
            if (error := run.repair(interrupt, run.cut_off)) is not None:
                run.give_up(error)
        else:
            return
