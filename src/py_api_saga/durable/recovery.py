"""Finish or undo what dead processes have left in a journal, from any number of processes."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from py_api_saga.current import Around
from py_api_saga.durable.beginning import in_thread
from py_api_saga.durable.crew import Crew
from py_api_saga.durable.knowing import (
    ago_on,
    claim_of,
    go_on,
    note_of,
    note_of_waiting,
    steps,
    taken,
)
from py_api_saga.durable.run import DurableRun, recovering
from py_api_saga.durable.unready import LackingError, unready
from py_api_saga.exceptions import (
    JournalError,
    SagaDefinitionError,
    SagaError,
    SagaException,
    SagaInProgress,
    check_around,
    check_journal,
    check_no_engine,
    refused,
)
from py_api_saga.executors.around import surround
from py_api_saga.executors.driving import IN_LINE, standing_in
from py_api_saga.executors.side_loop import OwnLoop, SideLoop
from py_api_saga.interrupts import is_limit
from py_api_saga.journal.changes import (
    LONGEST_WAIT,
    OPEN,
    Append,
    Change,
    Claim,
    Leave,
    Letter,
    Row,
    Summary,
    Take,
    latest,
)
from py_api_saga.journal.format.functions import UnknownNameError
from py_api_saga.journal.format.json_text import dumps
from py_api_saga.journal.format.sagas import PARKED, awaited_in
from py_api_saga.journal.format.sealing import SealedError
from py_api_saga.journal.format.values import Values
from py_api_saga.journal.protocol import Journal
from py_api_saga.log import complain
from py_api_saga.loops import check_loop
from py_api_saga.observer import Observer
from py_api_saga.status import SagaStatus
from py_api_saga.wording import as_text

if TYPE_CHECKING:
    import asyncio


MAX_TRIES = 10
_BATCH = 128  # sagas claimed with one commit
_IN_A_ROW = 3  # sagas for which a process lacks something
_FIRST_WAIT = 1.0  # seconds between the first two tries of one saga


class Recovered(NamedTuple):
    """What recovery did with one saga.

    Attributes:
        saga_id: Its id.
        outcome: Where it stands now: COMPLETED, COMPENSATED or STUCK; RUNNING or COMPENSATING if
            it could not be finished this time and is tried again, or if it waits for answers.
        error: What was raised: the `SagaException` of a saga that did not complete, why it was
            parked, or why it is to be tried again, also what says that this process is not set up
            for it; a `SagaPending` if it waits; None if it completed.
    """

    saga_id: str
    outcome: SagaStatus
    error: BaseException | None = None


class Begun(NamedTuple):
    """A saga that was claimed: the run that goes on with it, or why there is none."""

    claim: Claim
    seen: Summary
    run: DurableRun | None = None
    limit: int | None = None
    error: BaseException | None = None


class Readiness:
    """Whether a process has what the sagas need that it recovers.

    One may lack something by a fault of its own. Three in a row say that it is the process.

    Attributes:
        problem: What the third one lacked, or None.
    """

    def __init__(self) -> None:
        """Begin with no saga."""
        self.problem: BaseException | None = None
        self._lock = threading.Lock()
        self._in_a_row = 0

    def note(self, lacking: BaseException | None) -> None:
        """Take in that a saga has ended, for want of something or otherwise; from any thread."""
        with self._lock:
            self._in_a_row = 0 if lacking is None else self._in_a_row + 1
            if self._in_a_row != _IN_A_ROW or self.problem is not None:
                return
            self.problem = lacking
        complain("recovery begins nothing more: this process is not set up for it", error=lacking)


class Finisher:
    """Goes on with sagas that were claimed, and says what came of each.

    Attributes:
        rows: Of those that were read already, by number.
        mail: Their letters that were read already, by number.
    """

    def __init__(
        self,
        journal: Journal,
        observers: Iterable[Observer],
        around: Sequence[Around],
        max_tries: int | None = None,
    ) -> None:
        """Go on with sagas of this journal, and park those that were tried so often."""
        self.journal, self.values = journal, Values(journal)
        self.rows: dict[int, Sequence[Row]] = {}
        self.mail: dict[int, Sequence[Letter]] = {}
        self._observers, self._around = tuple(observers), around
        self._max_tries = max_tries

    def begin(self, claim: Claim, seen: Summary) -> Begun:
        """Read a saga that was claimed."""
        try:
            return Begun(claim, seen, *self._opened(claim, seen))
        except BaseException as error:  # noqa: BLE001 - it is in what is returned
            return Begun(claim, seen, error=error)

    def finish(self, claim: Claim, seen: Summary) -> Recovered:
        """Go on with a saga in this thread alone, which an interrupt may strike."""
        begun, error = Begun(claim, seen), None
        try:
            begun = self.begin(claim, seen)
            error = begun.error
            if begun.run is not None:
                go_on(begun.run, begun.limit)
        except BaseException as raised:  # noqa: BLE001 - it is in what is returned
            error = raised
        return self.result(begun, error)

    def _opened(self, claim: Claim, seen: Summary) -> tuple[DurableRun, int | None]:
        if self._max_tries is not None and seen.tries >= self._max_tries:
            message = f"recovery was tried {seen.tries} times, and the saga has not ended"
            raise _ParkedError(message)
        rows = self.rows.pop(claim.number, None)
        if rows is None:
            rows = self.journal.rows([claim.number])[claim.number]
        try:
            mail = self.mail.pop(claim.number, None)
            opened = taken(self.journal, self.values, claim, seen, self._observers, rows, mail)
        except SealedError:  # the journal was opened without its key, say: nothing is wrong with it
            raise
        except Exception as error:
            if is_limit(error):  # of this process, which says nothing of the saga
                raise
            unknown = error.__cause__
            name = unknown.name if isinstance(unknown, UnknownNameError) else None
            if name is not None and self.journal.spans_deploys:
                raise LackingError(name, is_noted=awaited_in(rows) == name) from error
            raise _ParkedError(as_text(error, str)) from error
        run, limit = opened
        run.lets_go = True
        if self._around:
            try:
                surround(run, self._around)
            except SagaDefinitionError as error:  # of whoever has started this process
                run.refuse(error)
        return run, limit

    def result(self, begun: Begun, error: BaseException | None) -> Recovered:
        """Say what came of a saga; park what can't be read."""
        claim, seen, run, _, _ = begun
        if run is not None and run.unready is not None:
            return Recovered(seen.saga_id, run.execution.saga, run.unready)
        if error is None:
            return Recovered(seen.saga_id, SagaStatus.COMPLETED)
        if isinstance(error, _ParkedError):
            body = dumps([[PARKED, {"reason": str(error)}]])
            park = Append(claim, body, SagaStatus.STUCK)
            park.until = latest()
            self.journal.write(park)
            if park.error is not None:
                self.journal.leave(claim)
                return Recovered(seen.saga_id, seen.status, park.error)
            return Recovered(seen.saga_id, SagaStatus.STUCK, error.__cause__ or error)
        if isinstance(error, SagaException) and error.outcome is not None:
            return Recovered(seen.saga_id, error.outcome, error)
        if isinstance(error, LackingError):
            self._leave_to_others(claim, error)
        elif run is None or not isinstance(error, SagaError):
            complain("saga %s: recovery raised", seen.saga_id, error=error)
            self.journal.leave(claim)
        stands = seen.status if run is None or run.lost is not None else run.execution.saga
        return Recovered(seen.saga_id, stands, error)

    def _leave_to_others(self, claim: Claim, lacking: LackingError) -> None:
        """Leave a saga as it was before the claim, and make no other; it says for what it waits."""
        claim.void = claim.barred = True
        if not lacking.is_noted:
            note = Append(claim, f"[{note_of_waiting(lacking.name)}]", None)
            note.until = latest()
            self.journal.write(note)  # if it can't be, nobody but our caller is told
        self.journal.leave(claim)
        left = Leave(claim)
        left.until = latest()
        self.journal.write(left)


class Recovery(Finisher):
    """Finish or undo what dead processes left in a journal, several sagas at once.

    `stop` ends it once what it has begun is done.

    Attributes:
        problem: Why it has ended before all was done, though nobody told it to; or None.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        limit: int | None = None,
        max_tries: int = MAX_TRIES,
        observers: Iterable[Observer] = (),
        around: Sequence[Around] = (),
        due: Sequence[Summary] | None = None,
        readiness: Readiness | None = None,
        loop: SideLoop | None = None,
    ) -> None:
        """Look what is due, or take these; others may share what is known, and a loop."""
        check_journal(journal, "recover")
        check_no_engine(journal, "recover")
        _counted(max_tries, "recover: max_tries")
        self.batch = _BATCH  # at most so many are claimed at once
        super().__init__(journal, observers, check_around(around, "recover"), max_tries)
        if due is None:
            due = journal.waiting(_counted(limit, "recover: limit") if limit else limit)
        # One that was parked over an answer has ended, and is listed for ever: it is a person's,
        # who lets its tries count anew.
        due = [seen for seen in due if seen.status in OPEN or seen.tries < max_tries]
        # Those that were tried before come after the others and are claimed a few at a time: a
        # saga that kills its process must not use up the tries of many.
        self._todo = deque([s for s in due if not s.tries] + [s for s in due if s.tries])
        self._claimed: deque[tuple[Claim, Summary]] = deque()
        self._order = {summary.saga_id: i for i, summary in enumerate(self._todo)}
        self.results: list[Recovered] = []
        self._crew = Crew(journal, self._begin_steps)
        self._stopped = False
        self.problem: BaseException | None = None
        self._readiness = readiness or Readiness()
        self.loop: SideLoop | OwnLoop = (
            loop or SideLoop()
        )  # for the coroutine functions of all sagas

    def __len__(self) -> int:
        return len(self._order)

    def stop(self, problem: BaseException | None = None) -> None:
        """Begin nothing more, for this reason."""
        if problem is not None:
            self.problem = problem
        self._stopped = True

    def in_order(self) -> list[Recovered]:
        """Give what was done with each saga, oldest first."""
        return sorted(self.results, key=lambda done: self._order[done.saga_id])

    def _batch(self) -> list[Take]:
        """Take the next sagas off the list, as claims to be made."""
        todo = self._todo
        size = max(1, self.batch >> (4 * todo[0].tries)) if todo else 0
        takes = [
            Take(seen, counted=True, delay=backoff(seen.tries))
            for seen in (todo.popleft() for _ in range(min(size, len(todo))))
        ]
        for take in takes:
            take.until = latest()
        return takes

    def _take_in(self, takes: list[Take]) -> None:
        for take in takes:
            if take.error is None:
                self._claimed.append((take.claim, take.seen))
            elif take.withdrawn:  # nobody gets at the journal: one says so for all that are left
                self._todo.clear()
                self.results.append(Recovered(take.seen.saga_id, take.seen.status, take.error))
                return
            elif not isinstance(take.error, SagaInProgress):  # somebody else was faster
                self.results.append(Recovered(take.seen.saga_id, take.seen.status, take.error))

    def next(self) -> tuple[Claim, Summary] | None:
        """Claim one more saga, with others that come after it; for one thread at a time."""
        while not self._claimed and self._todo and not self._stopped:
            takes = self._batch()
            try:
                self.journal.write(*takes)
            finally:
                self._take_in([take for take in takes if take.settled])
            with suppress(JournalError):  # else each is read alone, and says why it can't be
                numbers = [claim.number for claim, _ in self._claimed]
                self.mail.update(self.journal.mail(numbers))
                self.rows.update(self.journal.rows(numbers))
        return self._claimed.popleft() if self._claimed and not self._stopped else None

    def work(self) -> None:
        """Go on with sagas until none is left to begin; each thread that does so adds one."""
        self._crew.work()

    def work_alone(self) -> None:
        """Like `work`, in this thread, which an interrupt may strike, saga by saga."""
        while (claimed := self.next()) is not None:
            self.results.append(done := self.finish(*claimed))
            if done.error is not None and not isinstance(done.error, Exception):
                self.stop(done.error)
                raise done.error

    def _begin_steps(self) -> Generator[Change, None, None] | None:
        claimed = self.next()
        return None if claimed is None else self._steps(*claimed)

    def _steps(self, claim: Claim, seen: Summary) -> Generator[Change, None, None]:
        """Go on with a saga, step by step; nothing that it raises stops the others."""
        recovering.set((self.loop, unready))  # in a context of this saga alone
        begun = self.begin(claim, seen)
        error, run = begun.error, begun.run
        if run is not None:
            run.is_elsewhere = True
            try:
                if seen.tries:  # it may kill this process too, with what others have not written
                    go_on(run, begun.limit)
                else:
                    yield from steps(run, begun.limit)
            except BaseException as raised:  # noqa: BLE001 - it is in the result
                error = raised
        self.results.append(self.result(begun, error))

    def begin_some(self, most: int) -> list[Begun]:
        """Claim so many sagas, and read them; fewer if there are no more."""
        begun: list[Begun] = []
        try:
            while len(begun) < most and (claimed := self.next()) is not None:
                begun.append(self.begin(*claimed))
        except BaseException:
            self.give_back(begun)
            raise
        return begun

    def give_back(self, begun: Iterable[Begun]) -> None:
        """Leave sagas with which nobody is going on."""
        for one in begun:
            self.journal.leave(one.claim)

    def leave(self) -> None:
        """Give back what was claimed and not begun, as if that had not been."""
        leaves = []
        for claim, _ in self._claimed:
            claim.void = True
            self.journal.leave(claim)
            leaves.append(left := Leave(claim))
            left.until = latest()  # if it is not written by then, it is with what is next
        if leaves and self.problem is not None:  # this process may live on, and write nothing
            self.journal.write(*leaves)

    def result(self, begun: Begun, error: BaseException | None) -> Recovered:
        """Say what came of a saga; three in a row that this process lacks something for end all."""
        if not isinstance(error, LackingError):  # which says nothing of how this process is set up
            self._readiness.note(None if begun.run is None else begun.run.unready)
        if self._readiness.problem is not None:
            self.stop(self._readiness.problem)
        return super().result(begun, error)


class _ParkedError(Exception):
    """Why recovery gives up on a saga until a person has looked at it."""


def backoff(tries: int) -> float:
    """Give the seconds until a saga is tried again, after so many tries before this one."""
    return min(LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(tries, 30))


def tell_if_in_a_loop() -> None:
    """Say so once if this thread has a loop, which we keep from running."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:  # noqa: SLF001 - as in `knowing`
        _tell_of_the_loop()


@cache
def _tell_of_the_loop() -> None:
    complain(
        "recover() and takeover() keep the event loop of this thread from running until they are "
        "done: use `await arecover(...)`, or call them by `asyncio.to_thread`"
    )


def _counted(value: object, where: str, least: int = 1) -> int:
    if type(value) is int and value >= least:
        return value
    raise refused(where, f"a whole number of at least {least}", value)


def recover(
    journal: Journal,
    *,
    max_workers: int = 32,
    limit: int | None = None,
    max_tries: int = MAX_TRIES,
    observers: Iterable[Observer] = (),
    around: Sequence[Around] = (),
) -> list[Recovered]:
    """Finish or undo every saga that a dead process has left, oldest first.

    A saga goes forward unless it was made with `on_crash="compensate"`, its deadline has passed,
    or its rollback had begun. What was in flight is in doubt: it is asked about, or called again
    under the same key. Safe to call from any number of processes at once: each saga is claimed by
    one of them. A saga that fails here is tried again, after a second first and at most an hour.

    Args:
        journal: Where the sagas are; its `modules=` must list those of their functions.
        max_workers: Sagas at once, and threads: so many calls may run side by side. 0 for none:
            all calls are made in this very thread, one after the other, also those that would run
            at once.
        limit: Sagas in all; None for every one that is due.
        max_tries: How often a saga is tried before it is parked as STUCK, since each time its
            process has died, or was stopped.
        observers: Functions of an `Event`, told what happens.
        around: What is entered around each call, as in a saga, which does not write it down.

    Returns:
        What was done with each saga that was claimed, oldest first (those that were tried before
        last); empty if there was nothing to do. The last may be one that was not claimed: its error
        says who has kept all others from writing, for 30 s.

    Raises:
        JournalError: The journal can't be opened or read. What befalls a single saga is in its
            `Recovered`.
        SagaDefinitionError: An argument makes no sense.
        BaseException: A KeyboardInterrupt or the like, once the sagas that were begun are done.

    Source:
        Forward and backward recovery: Garcia-Molina and Salem, "Sagas", SIGMOD 1987.
    """
    workers = _counted(max_workers, "recover: max_workers", 0)
    recovery = Recovery(
        journal, limit=limit, max_tries=max_tries, observers=observers, around=around
    )
    tell_if_in_a_loop()
    run_recovery(recovery, workers)
    return recovery.in_order()


def _recover_here(recovery: Recovery) -> None:
    """Do all in this very thread; in a context of its own."""
    recovery.batch = 1
    recovery.loop = loop = OwnLoop()
    recovering.set((loop, unready))
    try:
        with standing_in(IN_LINE), loop:
            recovery.work_alone()
    finally:
        recovery.leave()


def run_recovery(recovery: Recovery, max_workers: int) -> None:
    """Let so many threads work until all is done, or an interrupt comes; 0: do all in this one."""
    if not max_workers:
        copy_context().run(_recover_here, recovery)
        return
    workers = min(max_workers, len(recovery))
    if not workers:
        return
    recovery.batch = min(recovery.batch, workers)  # what waits for a worker here runs nowhere else
    try:
        with recovery.loop, ThreadPoolExecutor(workers, "saga-recovery") as pool:
            try:
                at_work = workers_of(recovery, pool, workers)
                for worker in at_work:
                    worker.result()
                if not at_work:
                    recovery.work_alone()
            finally:
                recovery.stop()
    finally:
        recovery.leave()


def workers_of(recovery: Recovery, pool: ThreadPoolExecutor, most: int) -> list[Future[None]]:
    """Let so many threads of a pool work, or as many as there can be."""
    at_work: list[Future[None]] = []
    with suppress(RuntimeError):  # no more threads; the pool keeps the work, for one that is free
        for _ in range(most):
            at_work.append(pool.submit(recovery.work))  # noqa: PERF401 - what is there is kept
    return at_work


async def arecover(
    journal: Journal,
    *,
    max_workers: int = 32,
    limit: int | None = None,
    max_tries: int = MAX_TRIES,
    observers: Iterable[Observer] = (),
    around: Sequence[Around] = (),
) -> list[Recovered]:
    """Like `recover`, under asyncio: sagas are tasks, and plain functions run in threads."""
    crowd = await crowd_of(
        journal,
        max_workers,
        limit=limit,
        max_tries=max_tries,
        observers=observers,
        around=around,
    )
    await crowd.work()
    return crowd.recovery.in_order()


async def crowd_of(journal: Journal, max_workers: int, **options: Any) -> Crowd:
    """Look what is due, for so many tasks at once; the options are those of a `Recovery`."""
    import asyncio  # noqa: PLC0415 - 34 ms to import

    check_loop("arecover")
    recovery = await asyncio.to_thread(Recovery, journal, **options)
    return Crowd(recovery, _counted(max_workers, "recover: max_workers"))


class Crowd:
    """Sagas in tasks of one loop, at most so many at once.

    Attributes:
        recovery: Which they are; to `stop` it begins nothing more.
    """

    def __init__(self, recovery: Recovery, most: int) -> None:
        """Go on with these."""
        import asyncio  # noqa: PLC0415 - as above

        self.recovery, self._most = recovery, most
        recovery.batch = min(recovery.batch, most)
        self._tasks: dict[asyncio.Task[None], DurableRun | None] = {}
        self._news = asyncio.Event()

    def let_be(self) -> int:
        """Call nothing more of what was begun, whatever its calls come to; tell how many there are.

        They stay open in the journal, as by a crash, until their process has ended. To be called
        in the loop.
        """
        self.recovery.stop()
        runs = [run for run in self._tasks.values() if run is not None]
        for run in runs:
            run.lose(JournalError("recovery was ended in the middle of it"))
        return len(runs)

    async def work(self) -> None:
        """Begin as many as there is room for, until none is left and all have ended.

        Being cancelled does not undo what was begun: it is raised in the end.
        """
        try:
            await self._work()
        finally:
            self.recovery.leave()

    async def _work(self) -> None:
        import asyncio  # noqa: PLC0415 - as above

        problem: BaseException | None = None
        more = len(self.recovery) > 0
        while more or self._tasks:
            try:
                if more:
                    more = await self._begin()
                if self._tasks:
                    await self._news.wait()
                    self._news.clear()
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised in the end
                problem, more = error, False
                self.recovery.stop()
        if problem is not None:
            raise problem

    async def _begin(self) -> bool:
        """Begin those that there is room for, and say whether there may be more."""
        import asyncio  # noqa: PLC0415 - as above

        recovery, room = self.recovery, self._most - len(self._tasks)
        begun = await in_thread(recovery.begin_some, room, undo=recovery.give_back)
        for one in begun:
            task = asyncio.create_task(self._go_on(one))
            self._tasks[task] = one.run
            task.add_done_callback(self._ended)
        return len(begun) == room

    async def _go_on(self, begun: Begun) -> None:
        recovery, error = self.recovery, begun.error
        if begun.run is not None:
            try:
                await ago_on(begun.run, begun.limit)
            except BaseException as raised:  # noqa: BLE001 - it is in the result
                error = raised
        if error is not None:  # which may have to be written
            done = await in_thread(recovery.result, begun, error)
        else:
            done = recovery.result(begun, None)
        recovery.results.append(done)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._news.set()


def check_who(where: str, who: object, why: object) -> None:
    """Refuse a reason of nobody, and a name that is none."""
    if (who is not None or why) and not (isinstance(who, str) and who.strip()):
        raise refused(f"{where}: who", "the name of whoever decides", who)
    if not isinstance(why, str):
        raise refused(f"{where}: why", "a text", why)


def takeover(
    journal: Journal,
    saga_id: str,
    *,
    force: bool = False,
    observers: Iterable[Observer] = (),
    around: Sequence[Around] = (),
    who: str | None = None,
    why: str = "",
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
        around: What is entered around each call, as in `recover`.
        who: Who decides that; it is kept in the journal, as what is decided by `repair` is. None
            if no person does: then nothing is noted.
        why: For which reason; kept with `who`.

    Returns:
        What became of it; a saga that has ended, or is stuck, is left as it is.

    Raises:
        LookupError: There is no such saga.
        SagaDefinitionError: `journal` is none; or `who` is blank, or there is a `why` without it,
            or one that is not a text.
        SagaInProgress: Its process lives, and `force` was not given.
        JournalError: The journal can't be read, or not written.
    """
    check_journal(journal, "takeover")
    check_no_engine(journal, "takeover")
    around = check_around(around, "takeover")
    check_who("takeover", who, why)
    seen = journal.find(saga_id)
    if seen is None:
        message = f"there is no saga {saga_id!r} in the journal"
        raise LookupError(message)
    if seen.status not in OPEN:
        return Recovered(saga_id, seen.status)
    claim = claim_of(journal, Take(seen, force=force))
    if who is not None:
        try:
            did = "take over by force" if force else "take over"
            note = Append(claim, f"[{note_of(who, why, did)}]", None)
            note.until = latest()
            journal.write(note)
            note.check()
        except BaseException:
            journal.leave(claim)
            raise
    tell_if_in_a_loop()
    return Finisher(journal, observers, around).finish(claim, seen)
