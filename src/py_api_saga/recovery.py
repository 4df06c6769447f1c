"""Go on with what is in a journal: sagas of dead processes, and ids that were given before.

The only code that calls a function because a journal names it. Recovery is the constructor: the
entries are folded, RECOVERED is told, and the same executors go on that any run has.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from py_api_saga.compensation import Trouble, failure
from py_api_saga.definition import Results, arrange
from py_api_saga.events import complain
from py_api_saga.exceptions import (
    JournalError,
    SagaConflict,
    SagaError,
    SagaException,
    SagaInProgress,
    SagaStuck,
    as_text,
)
from py_api_saga.execution import ACTION, COMPENSATION, RECOVERED, STARTED, Execution
from py_api_saga.executors import choreography, orchestrator
from py_api_saga.executors.run import Run
from py_api_saga.journal.codec import dumps
from py_api_saga.journal.protocol import OPEN, Append, SagaExistsError, Take
from py_api_saga.journal.record import PARKED, difference, digest, read_lines, read_rows
from py_api_saga.journal.recorder import Recorder
from py_api_saga.journal.values import Values
from py_api_saga.status import SagaStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from py_api_saga.events import Observer
    from py_api_saga.journal.protocol import Claim, Journal, Row, Summary
    from py_api_saga.journal.record import Recorded

MAX_TRIES = 10
_BATCH = 128  # sagas claimed with one commit
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 3600.0  # seconds between two tries of one saga


class Recovered(NamedTuple):
    """What recovery did with one saga.

    Attributes:
        saga_id: Its id.
        outcome: Where it stands now: COMPLETED, COMPENSATED or STUCK; RUNNING or COMPENSATING if
            it could not be finished this time and is tried again.
        error: What was raised: the `SagaException` of a saga that did not complete, why it was
            parked, or why it is to be tried again; None if it completed.
    """

    saga_id: str
    outcome: SagaStatus
    error: BaseException | None = None


# --- a saga goes on --------------------------------------------------------------------------


def _resume(
    journal: Journal,
    values: Values,
    claim: Claim,
    seen: Summary,
    recorded: Recorded,
    observers: tuple[Observer, ...],
) -> Run:
    """Fold what is recorded and tell that another process takes over."""
    definition, plan = recorded.definition, recorded.plan
    recorder = Recorder.resumed(journal, values, claim, seen.status, len(recorded.entries))
    left = None if plan.until is None else max(0.0, plan.until - time())
    run = Run(
        definition,
        plan.name,
        observers,
        seen.saga_id,
        left,
        _finish_late if plan.in_loop else orchestrator.drive,
        recorder,
        recorded.entries,
    )
    execution = run.execution
    if execution.entries and not execution.at_rest:  # else it was never begun, or needs nobody
        execution.tell((RECOVERED, -1, "", 0, 0, _too_old(recorded, execution)))
    return run


def _finish_late(run: Run) -> None:
    from py_api_saga.executors import event_loop  # noqa: PLC0415 - asyncio: 34 ms to import

    event_loop.finish_late(run)


def _too_old(recorded: Recorded, execution: Execution) -> frozenset[int]:
    """Collect the operations whose keys services may have forgotten."""
    latest = time() - recorded.plan.max_age
    kind = COMPENSATION if execution.rolling else ACTION
    return frozenset(
        entry[1]
        for entry, at in zip(recorded.entries, recorded.times, strict=True)
        if at < latest
        and entry[0] == STARTED
        and entry[2] == kind
        and entry[4] == execution.generation(entry[1], kind)
    )


def _drive(run: Run, limit: int | None) -> Results:
    """Run to the end in this thread; coroutine functions get a loop of their own."""
    try:
        if any(_is_async(operation) for operation in run.operations):
            import asyncio  # noqa: PLC0415 - 34 ms to import

            return asyncio.run(_adrive(run, limit))
        if limit is None:
            return orchestrator.execute(run)
        return choreography.execute(run, limit)
    finally:
        run.leave()


async def _adrive(run: Run, limit: int | None) -> Results:
    from py_api_saga.executors import event_loop  # noqa: PLC0415 - likewise

    try:
        return await event_loop.execute(run, limit)
    finally:
        run.leave()


def _is_async(operation: Any) -> bool:
    calls = (operation.action, operation.compensation, operation.policy.ask)
    return any(call is not None and call[4] for call in calls)


# --- an id that was given before -------------------------------------------------------------


def execute(run: Run, limit: int | None) -> Results:
    """Run a saga that has a journal or, if its id is there, give what became of it.

    Raises:
        SagaConflict: The id is that of another saga.
        SagaInProgress: It is running elsewhere.
        JournalError: The journal can't be written or read.
        SagaException: It did not complete, now or when it was run.
        BaseException: The interrupt that ended it, once all is undone.
    """
    try:
        return orchestrator.execute(run) if limit is None else choreography.execute(run, limit)
    except SagaExistsError:
        pass
    finally:
        run.leave()
    known = _known(run)
    return known if isinstance(known, Results) else _drive(*known)


async def aexecute(run: Run, limit: int | None) -> Results:
    """Do as `execute`, under asyncio."""
    import asyncio  # noqa: PLC0415 - 34 ms to import

    from py_api_saga.executors import event_loop  # noqa: PLC0415 - likewise

    try:
        return await event_loop.execute(run, limit)
    except SagaExistsError:
        pass
    finally:
        run.leave()
    known = await asyncio.to_thread(_known, run)
    return known if isinstance(known, Results) else await _adrive(*known)


def start(recorder: Recorder) -> str:
    """Write down a saga that somebody else is to run; if it is there, see that it is the same."""
    if not recorder.write_undriven():
        _seen_and_rows(recorder)
    return recorder.saga_id


def _seen_and_rows(recorder: Recorder) -> tuple[Summary, Sequence[Row]]:
    """Find the saga that has the id of another, and see that it is the same."""
    journal, saga_id = recorder.journal, recorder.saga_id
    seen = journal.find(saga_id)
    if seen is None:
        message = f"saga {saga_id!r} was purged in this very moment; try again"
        raise JournalError(message)
    if seen.digest is not None:
        if digest(recorder.given, recorder.values) != seen.digest:
            _conflict(saga_id, "its name or its arguments differ")
        message = (
            f"saga {saga_id!r} has run before and was {seen.status.value}; what became of each "
            "operation was purged: give a new attempt a new saga_id"
        )
        raise SagaConflict(message)
    rows = journal.rows([seen.number])[seen.number]
    reason = difference(read_lines(rows)[0], recorder.given, recorder.values)
    if reason is not None:
        _conflict(saga_id, reason)
    return seen, rows


def _conflict(saga_id: str, reason: str) -> NoReturn:
    message = (
        f"saga_id {saga_id!r} is that of another saga: {reason}; give each attempt an id of its own"
    )
    raise SagaConflict(message)


def _known(run: Run) -> Results | tuple[Run, int | None]:
    """Answer for a saga that is there: its results, or a run that goes on with it."""
    recorder = run.recorder
    assert recorder is not None  # noqa: S101 - asked by the callers
    journal, values = recorder.journal, recorder.values
    seen, rows = _seen_and_rows(recorder)
    if seen.status not in OPEN:
        return _answer(seen, read_rows(rows, values))
    claim = _claim(journal, Take(seen))
    try:
        return _taken(journal, values, claim, seen, run.observers)
    except BaseException:
        journal.leave(claim)
        raise


def _claim(journal: Journal, take: Take) -> Claim:
    if not take.force and journal.drives(take.seen):
        message = f"saga {take.seen.saga_id!r} is running elsewhere; it was left alone"
        raise SagaInProgress(message)
    journal.write(take)
    return take.check()


def _taken(
    journal: Journal, values: Values, claim: Claim, seen: Summary, observers: tuple[Observer, ...]
) -> tuple[Run, int | None]:
    """Go on with a saga that was claimed."""
    rows = journal.rows([claim.number])[claim.number]
    recorded = read_rows(rows, values, values.names.find)
    return _resume(journal, values, claim, seen, recorded, observers), recorded.plan.limit


def _answer(seen: Summary, recorded: Recorded) -> Results:
    """Give the results of a saga that has ended, or raise what was raised then."""
    definition = recorded.definition
    execution = Execution(definition, recorded.entries)
    if seen.status is SagaStatus.COMPLETED:
        if definition.layout is not None:
            return arrange(definition.layout, execution.results)
        return Results.of(execution.results, definition.names)
    raise _failure(seen, recorded, execution)


def _failure(seen: Summary, recorded: Recorded, execution: Execution) -> SagaException:
    """Make the exception of a saga that is in the journal."""
    parked = next((says for _, kind, says in reversed(recorded.notes) if kind == PARKED), None)
    if execution.saga in OPEN and parked is not None:
        stuck = SagaStuck(f"saga {seen.saga_id!r} was parked: {parked.get('reason')}")
        stuck.args = (str(stuck),)
        return stuck
    exception = failure(
        lambda: seen.saga_id,
        recorded.definition,
        seen.status,
        execution.status,
        execution.results,
        execution.trouble or Trouble(),
    )
    if isinstance(exception.operation_error, BaseException):
        exception.__cause__ = exception.operation_error
    return exception


# --- recovery --------------------------------------------------------------------------------


class Recovery:
    """Finish or undo what dead processes left in a journal, a saga in each of several threads.

    `stop` ends it once what it has begun is done.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        limit: int | None = None,
        max_tries: int = MAX_TRIES,
        observers: Iterable[Observer] = (),
    ) -> None:
        self.journal = journal
        self.values = Values(journal)
        self._observers = tuple(observers)
        self._max_tries = max_tries
        seen = journal.waiting(time(), limit)
        # Those that were tried before come after the others and are claimed a few at a time: a
        # saga that kills its process must not use up the tries of many.
        self._todo = deque([s for s in seen if not s.tries] + [s for s in seen if s.tries])
        self._claimed: deque[tuple[Claim, Summary]] = deque()
        self._lock = threading.Lock()
        self._order = {summary.saga_id: i for i, summary in enumerate(self._todo)}
        self.results: list[Recovered] = []
        self._stopped = False

    def __len__(self) -> int:
        return len(self._order)

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopped = True

    def in_order(self) -> list[Recovered]:
        """Give what was done with each saga, oldest first."""
        return sorted(self.results, key=lambda done: self._order[done.saga_id])

    def _batch(self) -> list[Take]:
        """Take the next sagas off the list, as claims to be made."""
        todo, now = self._todo, time()
        size = max(1, _BATCH >> (4 * todo[0].tries)) if todo else 0
        return [
            Take(seen, counted=True, due=now + backoff(seen.tries))
            for seen in (todo.popleft() for _ in range(min(size, len(todo))))
        ]

    def _take_in(self, takes: list[Take]) -> None:
        for take in takes:
            if take.error is None:
                self._claimed.append((take.claim, take.seen))
            elif not isinstance(take.error, SagaInProgress):  # somebody else was faster
                self.results.append(Recovered(take.seen.saga_id, take.seen.status, take.error))

    def next(self) -> tuple[Claim, Summary] | None:
        """Claim one more saga, with others that come after it."""
        with self._lock:
            while not self._claimed and self._todo and not self._stopped:
                takes = self._batch()
                try:
                    self.journal.write(*takes)
                finally:
                    self._take_in([take for take in takes if take.settled])
            return self._claimed.popleft() if self._claimed and not self._stopped else None

    def work(self) -> None:
        """Go on with one saga after the other until none is left."""
        while (claimed := self.next()) is not None:
            self.results.append(self._surely(*claimed))

    def leave(self) -> None:
        """Give back what was claimed and not begun."""
        for claim, _ in self._claimed:
            self.journal.leave(claim)

    def _surely(self, claim: Claim, seen: Summary) -> Recovered:
        """Go on with a saga; nothing that it raises stops the others."""
        run = None
        try:
            run, limit = self.open(claim, seen)
            _drive(run, limit)
        except BaseException as error:  # noqa: BLE001 - it is in what is returned
            return self.result(claim, seen, run, error)
        return Recovered(seen.saga_id, SagaStatus.COMPLETED)

    def open(self, claim: Claim, seen: Summary) -> tuple[Run, int | None]:
        """Read a saga that was claimed."""
        if seen.tries >= self._max_tries:
            message = f"recovery was tried {seen.tries} times, and its process died each time"
            raise _ParkedError(message)
        try:
            return _taken(self.journal, self.values, claim, seen, self._observers)
        except Exception as error:
            raise _ParkedError(as_text(error, str)) from error

    def result(
        self, claim: Claim, seen: Summary, run: Run | None, error: BaseException
    ) -> Recovered:
        """Say what came of a saga that did not complete; park what can't be read."""
        if isinstance(error, _ParkedError):
            body = dumps([[PARKED, {"reason": str(error)}]])
            self.journal.write(park := Append(claim, body, SagaStatus.STUCK))
            return Recovered(seen.saga_id, SagaStatus.STUCK, park.error or error.__cause__ or error)
        if isinstance(error, SagaException) and error.outcome is not None:
            return Recovered(seen.saga_id, error.outcome, error)
        if run is None or not isinstance(error, SagaError):
            complain("saga %s: recovery raised", seen.saga_id, error=error)
            self.journal.leave(claim)
        stands = seen.status if run is None or run.lost is not None else run.execution.saga
        return Recovered(seen.saga_id, stands, error)


class _ParkedError(Exception):
    """Why recovery gives up on a saga until a person has looked at it."""


def backoff(tries: int) -> float:
    """Give the seconds until a saga is tried again, after so many tries before this one."""
    return min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(tries, 30))


def recover(
    journal: Journal,
    *,
    max_workers: int = 8,
    limit: int | None = None,
    max_tries: int = MAX_TRIES,
    observers: Iterable[Observer] = (),
) -> list[Recovered]:
    """Finish or undo every saga that a dead process has left, oldest first.

    A saga goes forward unless it was made with `on_crash="compensate"`, its deadline has passed,
    or its rollback had begun. What was in flight is in doubt: it is asked about, or called again
    under the same key. Safe to call from any number of processes at once: each saga is claimed by
    one of them. A saga that fails here is tried again, after a second first and at most an hour.

    Args:
        journal: Where the sagas are; its `modules=` must list those of their functions.
        max_workers: Sagas at once, each in a thread.
        limit: Sagas in all; None for every one that is due.
        max_tries: How often a saga is tried before it is parked as STUCK, because its process
            died each time.
        observers: Functions of an `Event`, told what happens.

    Returns:
        What was done with each saga that was claimed, oldest first (those that were tried before
        last); empty if there was nothing to do.

    Raises:
        JournalError: The journal can't be opened or read. What befalls a single saga is in its
            `Recovered`.
        BaseException: A KeyboardInterrupt or the like, once the sagas that were begun are done.

    Source:
        Forward and backward recovery: Garcia-Molina and Salem, "Sagas", SIGMOD 1987.
    """
    recovery = Recovery(journal, limit=limit, max_tries=max_tries, observers=observers)
    run_recovery(recovery, max_workers)
    return recovery.in_order()


def run_recovery(recovery: Recovery, max_workers: int) -> None:
    """Let so many threads work until all is done, or an interrupt comes."""
    workers = min(max_workers, len(recovery))
    if not workers:
        return
    try:
        with ThreadPoolExecutor(workers, "saga-recovery") as pool:
            try:
                for worker in [pool.submit(recovery.work) for _ in range(workers)]:
                    worker.result()
            finally:
                recovery.stop()
    finally:
        recovery.leave()


async def arecover(
    journal: Journal,
    *,
    max_workers: int = 8,
    limit: int | None = None,
    max_tries: int = MAX_TRIES,
    observers: Iterable[Observer] = (),
) -> list[Recovered]:
    """Do as `recover`, under asyncio: sagas are tasks, and plain functions run in threads."""
    import asyncio  # noqa: PLC0415 - 34 ms to import

    recovery = await asyncio.to_thread(
        Recovery, journal, limit=limit, max_tries=max_tries, observers=observers
    )

    async def work() -> None:
        while (claimed := await asyncio.to_thread(recovery.next)) is not None:
            claim, seen = claimed
            run = None
            try:
                run, saga_limit = await asyncio.to_thread(recovery.open, claim, seen)
                await _adrive(run, saga_limit)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - it is in what is returned
                done = await asyncio.to_thread(recovery.result, claim, seen, run, error)
                recovery.results.append(done)
            else:
                recovery.results.append(Recovered(seen.saga_id, SagaStatus.COMPLETED))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(max_workers, len(recovery))):
                group.create_task(work())
    finally:
        recovery.leave()
    return recovery.in_order()


def takeover(
    journal: Journal, saga_id: str, *, force: bool = False, observers: Iterable[Observer] = ()
) -> Recovered:
    """Go on with one saga, whether it is due or not; with `force` also if its process lives.

    A process that was forced out is refused at its next write and undoes nothing; a call whose
    intent it had committed before may still start, under its own key. So force a process out only
    if it hangs.

    Args:
        journal: Where the saga is.
        saga_id: Which one.
        force: Whether to take it from a process that lives.
        observers: Functions of an `Event`, told what happens.

    Returns:
        What became of it; a saga that has ended, or is stuck, is left as it is.

    Raises:
        LookupError: There is no such saga.
        SagaInProgress: Its process lives, and `force` was not given.
        JournalError: The journal can't be read, or not written.
    """
    seen = journal.find(saga_id)
    if seen is None:
        message = f"there is no saga {saga_id!r} in the journal"
        raise LookupError(message)
    if seen.status not in OPEN:
        return Recovered(saga_id, seen.status)
    claim = _claim(journal, Take(seen, force=force))
    recovery = Recovery(journal, limit=0, observers=observers)
    return recovery._surely(claim, seen)  # noqa: SLF001 - of this module
