"""Runs that have a journal: begun or, because their id is there, answered for or gone on with."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import cache, partial
from typing import Any

from py_api_saga.definition import Results
from py_api_saga.durable.recorder import Recorder, begin
from py_api_saga.durable.run import DurableRun
from py_api_saga.executors.driving import executor
from py_api_saga.journal.changes import SagaExistsError

__all__ = [
    "DurableRun",
    "aexecute",
    "astart",
    "begin",
    "execute",
    "in_thread",
    "start",
    "to_its_end",
]


def execute(run: DurableRun, limit: int | None, wait: float | None = None) -> Results:
    """Run a saga that has a journal or, if its id is there, give what became of it.

    Args:
        run: The run.
        limit: Of calls at once; None for one after the other.
        wait: Seconds to wait for answers from elsewhere, if it is for these that it waits.

    Raises:
        SagaPending: It waits for answers.
        SagaConflict: The id is that of another saga.
        SagaInProgress: Somebody else drives it.
        JournalError: The journal can't be written or read.
        SagaException: It did not complete, now or when it was run.
        BaseException: The interrupt that ended it, once all is undone.
    """
    if wait is not None:
        results: Results = _waiting().wait_for(
            run.recorder.journal,
            run.saga_id,
            wait,
            partial(execute, run, limit),
            partial(_known_results, run),
        )
        return results
    try:
        return executor(limit)(run)
    except SagaExistsError:
        pass
    finally:
        run.leave()
    if run.interrupt is not None:
        raise run.interrupt
    return _known_results(run)


def _known_results(run: DurableRun) -> Results:
    there = _knowing().known(run)
    results: Results = there if isinstance(there, Results) else _knowing().go_on(*there)
    return results


def aexecute(
    run: DurableRun,
    limit: int | None,
    in_loop: Callable[..., Coroutine[Any, Any, Results]],
    wait: float | None = None,
) -> Coroutine[Any, Any, Results]:
    """Like `execute`, under asyncio, by what runs a saga there."""
    if wait is not None:
        waited: Coroutine[Any, Any, Results] = _waiting().await_for(
            run.recorder.journal,
            run.saga_id,
            wait,
            partial(aexecute, run, limit, in_loop),
            partial(_answer_known, run),
        )
        return waited
    return in_loop(run, limit, SagaExistsError, partial(_answer_known, run))


async def _answer_known(run: DurableRun) -> Results:
    if run.interrupt is not None:
        raise run.interrupt
    there = await in_thread(_knowing().known, run, undo=_give_back)
    return there if isinstance(there, Results) else await _knowing().ago_on(*there)


@cache
def _waiting() -> Any:
    """Give the module that waits for answers."""
    from py_api_saga.durable import waiting  # noqa: PLC0415 - few wait

    return waiting


@cache
def _knowing() -> Any:
    """Give the module that answers for sagas which are there."""
    from py_api_saga.durable import knowing  # noqa: PLC0415 - 2 ms, and a new saga needs none

    return knowing


def _give_back(there: Results | tuple[DurableRun, int | None]) -> None:
    if not isinstance(there, Results):
        there[0].leave()


async def in_thread(
    function: Callable[..., Any], *args: Any, undo: Callable[[Any], object] = id
) -> Any:
    """Await a thread through any number of interrupts, since it may claim something.

    Args:
        function: What to call there.
        args: Its arguments.
        undo: Gives back what the function gives, if nobody waits for it any more.
    """
    import asyncio  # noqa: PLC0415 - 34 ms to import

    return await to_its_end(asyncio.to_thread(function, *args), undo)


async def to_its_end(work: Coroutine[Any, Any, Any], undo: Callable[[Any], object] = id) -> Any:
    """Await a task of its own through any number of interrupts, which are raised in the end.

    Args:
        work: What is to be done.
        undo: As in `in_thread`.
    """
    import asyncio  # noqa: PLC0415 - as above

    from py_api_saga.executors.event_loop import outlast  # noqa: PLC0415 - as above

    task = asyncio.ensure_future(work)
    interrupts: list[BaseException] = []
    await outlast(task, interrupts.append, (asyncio.CancelledError, Exception))
    if not interrupts:
        return task.result()
    if task.exception() is None:
        undo(task.result())
    raise interrupts[-1]


def start(recorder: Recorder) -> str:
    """Write down a saga that somebody else is to run; if it is there, see that it is the same."""
    create = recorder.undriven()
    recorder.journal.write(create)
    if isinstance(create.error, SagaExistsError):
        _knowing().namesake(recorder)
    else:
        create.check()
    return recorder.saga_id


async def astart(recorder: Recorder) -> str:
    """Like `start`, under asyncio."""
    create = recorder.undriven()
    await recorder.journal.awrite(create)
    if isinstance(create.error, SagaExistsError):
        await in_thread(_knowing().namesake, recorder)
    else:
        create.check()
    return recorder.saga_id
