"""What an engine is to whoever runs a saga on it, asks after it, or decides about it.

All of it is written once, on a few primitives that each engine has (`Engine.begin` and what follows
it). A saga is a workflow whose id is its own; what a person decides, and what is answered after the
end, begins a successor from its rows: `order-7~2`, `order-7~3`. An id is there once, so of two
decisions one is refused.

To `repair`, `answer` and the command an engine is a journal that drives its sagas itself: it can be
read, a saga at rest can be claimed and added to, and what is added begins a successor.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import ClassVar, Self

from py_api_saga import chance, clock
from py_api_saga.definition import Results
from py_api_saga.durable.knowing import namesake, note_of, results_of
from py_api_saga.durable.recorder import Recorder
from py_api_saga.durable.run import pending_of
from py_api_saga.engines.rows import LETTER, Rows, letters_in, readable
from py_api_saga.engines.standing import (
    SagaNumber,
    Standing,
    answer_there,
    number_of,
    saga_id_of,
    straggling,
    summary_of,
    workflow_id,
)
from py_api_saga.engines.submitting import see_room, see_size
from py_api_saga.engines.worker import Work, Worker
from py_api_saga.entries import abort
from py_api_saga.exceptions import (
    JournalError,
    SagaDefinitionError,
    SagaError,
    SagaInProgress,
    check_no_engine,
    seconds,
)
from py_api_saga.execution import Execution
from py_api_saga.journal.changes import (
    OPEN,
    PATIENCE,
    Append,
    Change,
    Claim,
    Create,
    Leave,
    Letter,
    Mail,
    Row,
    SagaExistsError,
    Summary,
    Take,
    changed,
    taken_over,
)
from py_api_saga.journal.format.entries import write_entry
from py_api_saga.journal.format.functions import Functions
from py_api_saga.journal.format.json_text import dumps, loads
from py_api_saga.journal.format.sagas import folding, read_rows
from py_api_saga.journal.format.values import Trees, Values
from py_api_saga.journal.health import Health
from py_api_saga.journal.holder import Holder
from py_api_saga.journal.protocol import Codec
from py_api_saga.standing import due_of, parked
from py_api_saga.status import SagaStatus
from py_api_saga.story.words import moment

_LOOK = 0.05  # seconds between two looks whether an answer was heard; it doubles
_LONGEST_LOOK = 1.0


class Engine(ABC):
    """A durable engine that sagas are run on by its workers.

    What the primitives raise besides what they say is a `JournalError`: the engine can't be
    reached, or says something else than was expected.

    Attributes:
        names: The functions and types that its sagas may name.
        codec: What values pass through on their way to it and back, or None.
        spans_deploys: Workers of several releases share it.
        unsure: Always empty: it knows what it runs.
        poll: Seconds between two looks of a worker at it; never used, as it calls its workers.
        kind: Its name, as it is typed.
    """

    spans_deploys: ClassVar = True
    unsure: ClassVar = ""
    poll: ClassVar = 1.0
    kind: ClassVar[str]

    def __init__(
        self,
        modules: Iterable[str],
        aliases: Mapping[str, str] | None = None,
        codec: Codec | None = None,
    ) -> None:
        """Say what sagas may name."""
        named = tuple(modules)
        if not named:
            message = (
                f"{type(self).__name__}: expected the modules where the functions of the sagas are "
                '(modules=["shop.operations"]), got none'
            )
            raise SagaDefinitionError(message)
        self.names = Functions(named, aliases or {})
        self.codec = codec
        self._process = os.getpid()
        self._is_fit = False

    # --- the primitives ---------------------------------------------------------------------------

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, for messages; never with a password."""

    @abstractmethod
    def check(self) -> None:
        """See that it is there, and fit for sagas.

        Raises:
            SagaDefinitionError: It is not fit: says what is wrong, and the cure.
            JournalError: It can't be reached.
        """

    @abstractmethod
    def begin(self, workflow: str, rows: Rows) -> bool:
        """Begin a workflow; False if there is one with this id, or was as far as it remembers."""

    @abstractmethod
    def given(self, workflow: str) -> Rows | None:
        """Give the rows that a workflow began with; None if there is none."""

    @abstractmethod
    def await_rest(self, workflow: str, timeout: float | None) -> Rows | None:
        """Give the rows of a saga once it is at rest, a straggler or not; None if the time is up.

        Args:
            workflow: The id of the workflow, which is there.
            timeout: Seconds; None for as long as it takes.
        """

    @abstractmethod
    async def aawait_rest(self, workflow: str, timeout: float | None) -> Rows | None:  # noqa: ASYNC109 - as its twin
        """Like `await_rest`, without blocking the loop, or a thread for long."""

    @abstractmethod
    def standing(self, workflow: str) -> Standing | None:
        """Tell how a workflow stands; None if there is none."""

    @abstractmethod
    def post(self, workflow: str, lines: Sequence[str], key: str) -> bool:
        """Send lines to a course, once for each key; False if the workflow has ended."""

    @abstractmethod
    def workflows(
        self, *, prefix: str = "", before: float | None = None, after: float | None = None
    ) -> Iterator[tuple[str, Standing]]:
        """Give workflows of sagas with their ids, newest first; read as they are taken.

        Args:
            prefix: What their ids begin with.
            before: Those that were begun before then, seconds since 1970.
            after: Those that were begun after then.
        """

    @abstractmethod
    def worker(self, work: Work) -> Worker:
        """Give what drives sagas here and makes their calls, in this process."""

    @abstractmethod
    def close(self) -> None:
        """Let go of connections; it connects again when it is used."""

    # --- running a saga -------------------------------------------------------------------------

    def execute(self, recorder: Recorder, wait: float | None) -> Results:
        """Run a saga, or answer for the one that has its id: what `…execute(engine=)` does.

        Args:
            recorder: The saga as it is to be written down.
            wait: Seconds to wait for its end; None for as long as it takes.
        """
        until = _until(wait)
        workflow = self._begun(recorder)
        return self._results(recorder.saga_id, workflow, self.await_rest(workflow, _left(until)))

    async def aexecute(self, recorder: Recorder, wait: float | None) -> Results:
        """Like `execute`; being cancelled, it waits no longer, and the saga goes on."""
        until = _until(wait)
        workflow = await asyncio.to_thread(self._begun, recorder)
        rows = await self.aawait_rest(workflow, _left(until))
        if rows is None:  # which asks the engine once more
            return await asyncio.to_thread(self._results, recorder.saga_id, workflow, rows)
        return self._results(recorder.saga_id, workflow, rows)

    def result(self, saga_id: str, *, wait: float | None = None) -> Results:
        """Give the results of a saga that was started, or raise what it has raised.

        Args:
            saga_id: Which one.
            wait: Seconds to wait for its end; None for as long as it takes.

        Raises:
            LookupError: There is no such saga.
            SagaPending: It has not ended by then.
            SagaException: It was undone.
            SagaStuck: It needs a person.
            JournalError: The engine can't be reached.
        """
        until = _until(wait)
        seen = self._there(saga_id)
        workflow = workflow_id(saga_id, seen.epoch)
        return self._results(saga_id, workflow, self.await_rest(workflow, _left(until)))

    async def aresult(self, saga_id: str, *, wait: float | None = None) -> Results:
        """Like `result`, under asyncio."""
        until = _until(wait)
        seen = await asyncio.to_thread(self._there, saga_id)
        workflow = workflow_id(saga_id, seen.epoch)
        rows = await self.aawait_rest(workflow, _left(until))
        return await asyncio.to_thread(self._results, saga_id, workflow, rows)

    def cancel(self, saga_id: str, *, who: str, why: str = "") -> SagaStatus:
        """Have a saga stop that runs: what it has done is undone, unless its pivot has passed.

        It hears of it at once or, on some engines, when a call ends.

        Args:
            saga_id: Which one.
            who: Who says so; kept with the saga.
            why: For which reason.

        Returns:
            Where it stood.

        Raises:
            LookupError: There is no such saga.
            SagaInProgress: It is at rest, so there is nothing to be cancelled.
            JournalError: The engine can't be reached.
        """
        seen = self._there(saga_id)
        reason = abort(InterruptedError(f"{who} said so: {why}"))
        lines = [note_of(who, why, "cancel"), write_entry(reason, Values(self))]
        workflow = workflow_id(saga_id, seen.epoch)
        if seen.status not in OPEN:
            message = f"saga {saga_id!r} is at rest: it is {seen.status.value}"
            raise SagaInProgress(message)
        if not self.post(workflow, lines, f"cancel:{chance.digits(8)}"):
            message = f"saga {saga_id!r} has ended just now, or its workflow was: look once more"
            raise SagaInProgress(message)
        return seen.status

    def _begun(self, recorder: Recorder) -> str:
        """Begin a saga, or see that the one which has its id is the same; give its workflow."""
        create = recorder.undriven()
        self.write(create)
        if not isinstance(create.error, SagaExistsError):
            create.check()
            return recorder.saga_id
        seen, _ = namesake(recorder)
        return workflow_id(recorder.saga_id, seen.epoch)

    def _results(self, saga_id: str, workflow: str, rows: Rows | None) -> Results:
        if rows is None:
            standing = self.standing(workflow)
            rows = [] if standing is None else standing.rows
            recorded = read_rows(readable(rows), Trees(self))
            with folding(f"the entries of saga {saga_id!r}"):
                execution = Execution(recorded.definition, recorded.entries)
            is_parked = standing is not None and not standing.is_open and parked(recorded)
            if not (execution.at_rest or is_parked):
                due = due_of(recorded, execution)
                until = clock.NEVER if due is None else due
                raise pending_of(saga_id, recorded.definition, execution, until)
        seen = summary_of(workflow, Standing(rows, is_open=False))
        return results_of(seen, read_rows(readable(rows), Values(self)))

    def _there(self, saga_id: str) -> Summary:
        """Find a saga.

        Raises:
            LookupError: There is none.
        """
        seen = self.find(saga_id)
        if seen is None:
            message = f"there is no saga {saga_id!r} on {self.place}"
            raise LookupError(message)
        return seen

    def _see_usable(self) -> None:
        """See that this object may be used here and, the first time, that the engine is fit.

        Raises:
            SagaDefinitionError: It was made by the process that this one was forked from; or as
                `check` says.
        """
        if os.getpid() != self._process:
            message = (
                f"{type(self).__name__}: expected the process that has made it, got a fork of it: "
                "its connections belong to the other one; make an engine in each process, after "
                "the fork (gunicorn: post_fork; Celery: worker_process_init)"
            )
            raise SagaDefinitionError(message)
        if not self._is_fit:
            self.check()
            self._is_fit = True

    # --- as a journal ---------------------------------------------------------------------------

    def now(self) -> float:
        """Tell the time, seconds since 1970."""
        return clock.time()

    def lately(self) -> float:
        """Tell the time, seconds since 1970."""
        return clock.time()

    def find(self, saga_id: str) -> Summary | None:
        """Give the summary of a saga, as its latest workflow tells; None if there is none."""
        self._see_usable()
        number, standing = 1, self.standing(saga_id)
        if standing is None:  # an engine may have forgotten it, and not yet what has followed
            latest = next(self.workflows(prefix=workflow_id(saga_id, 2)[:-1]), None)
            if latest is None:
                return None
            workflow, standing = latest
            number = number_of(workflow)
        while not standing.is_open:
            later = self.standing(workflow_id(saga_id, number + 1))
            if later is None:
                break
            number, standing = number + 1, later
        return summary_of(workflow_id(saga_id, number), standing)

    def rows(self, numbers: Collection[int]) -> Mapping[int, Sequence[Row]]:
        """Give the rows of sagas by the numbers that `find` and `select` have given."""
        return {number: readable(SagaNumber.rows_of(number)) for number in numbers}

    def mail(self, numbers: Collection[int]) -> Mapping[int, Sequence[Letter]]:
        """Give the answers to sagas that nobody has taken, by such numbers."""
        return {number: letters_in(SagaNumber.rows_of(number)) for number in numbers}

    def drives(self, seen: Summary) -> bool:
        """Tell whether it is at a saga: it runs, or has a call that was given up and may land."""
        return SagaNumber.standing_of(seen.number).is_open

    def lacking(self, seen: Summary) -> str:
        """Tell what no worker has that a saga waits for, such as "shop:charge"; "" for nothing."""
        return SagaNumber.standing_of(seen.number).lacks

    def who_is_at(self, seen: Summary) -> SagaInProgress:
        """Say why a saga is not to be decided about: it runs, or a call of it still does."""
        late = () if seen.status in OPEN else straggling(SagaNumber.rows_of(seen.number))
        if not late:
            return SagaInProgress(
                f"saga {seen.saga_id!r} runs on its engine: wait for it, or have it undone by "
                f"`saga cancel {seen.saga_id}`"
            )
        name, kind, since = late[0]
        call = name if kind == "action" else f"the {kind} of {name}"
        return SagaInProgress(
            f"saga {seen.saga_id!r}: {call} is still running since {moment(since)}, though it was "
            "given up: decide once it has ended, or its worker"
        )

    def select(
        self,
        statuses: Collection[SagaStatus] = (),
        name: str | None = None,
        *,
        before: float | None = None,
        after: float | None = None,
        prefix: str | None = None,
        below: int | None = None,
        limit: int | None = None,
    ) -> Sequence[Summary]:
        """List sagas, newest first; it reads each, until there are so many.

        Args:
            statuses: Of these, if any.
            name: Of this name.
            before: Begun before then, seconds since 1970.
            after: Begun after then.
            prefix: Whose id begins with it.
            below: Those that follow this number.
            limit: So many at most.
        """
        self._see_usable()
        return [*islice(self._selected(statuses, name, before, after, prefix, below), limit)]

    def _selected(
        self,
        statuses: Collection[SagaStatus],
        name: str | None,
        before: float | None,
        after: float | None,
        prefix: str | None,
        below: int | None,
    ) -> Iterator[Summary]:
        had: set[str] = set()
        for workflow, standing in self.workflows(prefix=prefix or "", before=before, after=after):
            saga_id = saga_id_of(workflow)
            if saga_id in had:  # its successor was begun later, so it came before
                continue
            had.add(saga_id)
            seen = summary_of(workflow, standing)
            follows = below is None or seen.number < below
            if (seen.status in statuses or not statuses) and name in (None, seen.name) and follows:
                yield seen

    def tally(self, most: int | None = None) -> Mapping[SagaStatus, int]:
        """Count sagas by status; it reads all of them, but for those that are enough."""
        counted = dict.fromkeys(SagaStatus, 0)
        for seen in self.select():
            counted[seen.status] += 1
        if most is not None:
            counted[SagaStatus.COMPLETED] = min(most, counted[SagaStatus.COMPLETED])
        return counted

    def counts(self) -> Mapping[tuple[str | None, SagaStatus], int]:
        """Count sagas by name and status; it reads all of them."""
        counted: dict[tuple[str | None, SagaStatus], int] = {}
        for seen in self.select():
            counted[seen.name, seen.status] = counted.get((seen.name, seen.status), 0) + 1
        return counted

    def waiting(self, limit: int | None = None) -> Sequence[Summary]:  # noqa: ARG002 - of a `Journal`
        """List none: its workers go on with its sagas."""
        return ()

    def left_mail(self, before: float) -> Sequence[Summary]:  # noqa: ARG002 - of a `View`
        """List none: it hands answers to its sagas itself."""
        return ()

    def who_hangs(self) -> Holder | None:
        """Tell nobody: nobody keeps others out."""
        return None

    def missing(self) -> str:
        """Say why it is not there; empty if it is.

        Raises:
            SagaError: As `check`.
        """
        self._see_usable()
        return ""

    def reader(self) -> Self:
        """Give itself: reading it changes nothing."""
        return self

    def onlooker(self) -> Self:
        """Give itself."""
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...  # noqa: B027 - it stays as it is

    def health(self) -> Health:
        """Examine it.

        Raises:
            SagaError: As `check`.
        """
        self.check()
        facts = {"engine": self.kind, "place": self.place}
        return Health(facts, [("engine", f"{self.kind}, {self.place}")], {}, None, [], [], [])

    def write(self, *changes: Change) -> None:
        """Make changes, as a journal does: each is settled when this returns, or says why not.

        Raises:
            SagaDefinitionError: It can't be used here, or a saga is too large for it.
            JournalError: It can't be reached.
        """
        self._see_usable()
        for change in changes:
            try:
                self._make(change)
            except (SagaDefinitionError, JournalError):
                raise
            except (SagaError, SagaExistsError, LookupError) as error:
                change.error = error
            change.settled = True

    async def awrite(self, *changes: Change) -> None:
        """Like `write`, without blocking the loop."""
        await asyncio.to_thread(self.write, *changes)

    def leave(self, claim: Claim) -> None:
        """Stop deciding about a saga."""
        claim.over = True

    def _make(self, change: Change) -> None:
        match change:
            case Create():
                if change.driven:
                    check_no_engine(self, "saga")
                see_size(change.body)
                if not self.begin(change.claim.saga_id, [(self.now(), change.body)]):
                    raise SagaExistsError
            case Take():
                self._take(change)
            case Append():
                self._append(change)
            case Mail():
                self._mail(change)
            case Leave():
                change.claim.over = True
            case _:
                message = (
                    f"an engine keeps its sagas as it is set up to: {type(change).__name__} is not "
                    "for it"
                )
                raise SagaDefinitionError(message)

    def _take(self, take: Take) -> None:
        """Claim a saga at rest for what is to be decided; it is the append that is refused."""
        claim, seen = take.claim, self.find(take.seen.saga_id)
        if seen is None or (seen.epoch, seen.status) != (take.seen.epoch, take.seen.status):
            raise changed(take.seen)
        if self.drives(seen):
            raise self.who_is_at(seen)
        claim.number, claim.epoch, claim.before = seen.number, seen.epoch + 1, seen
        claim.created, claim.rows = seen.created, len(SagaNumber.rows_of(seen.number))

    def _append(self, append: Append) -> None:
        """Begin the successor of a saga that was claimed, with one row more."""
        claim = append.claim
        rows = [*SagaNumber.rows_of(claim.number), (self.now(), append.body)]
        if not self.begin(workflow_id(claim.saga_id, claim.epoch), rows):
            raise taken_over(claim)
        claim.over = True

    def _mail(self, mail: Mail) -> None:
        """Hand an answer to its saga; to one that has ended, by beginning a successor."""
        saga_id, letter = mail.claim.saga_id, mail.letter
        line = dumps([LETTER, letter.key, letter.body])
        until, pause = clock.monotonic() + PATIENCE, _LOOK
        is_posted = False
        while True:
            seen = self.find(saga_id)
            if seen is None:
                message = f"there is no saga {saga_id!r} on {self.place}"
                raise LookupError(message)
            rows = SagaNumber.rows_of(seen.number)
            there = answer_there(saga_id, rows, letter.key)
            if there is not None:
                is_ours = is_posted and _outcome(there) == _outcome(letter)
                mail.there = None if is_ours else there
                return
            workflow = workflow_id(saga_id, seen.epoch)
            if not is_posted:
                see_room(rows, line)
            if self.drives(seen):
                if not is_posted:
                    # One that is refused, as there was no room for it say, does not stand for
                    # those that follow under the key of its call.
                    is_posted = self.post(workflow, [line], f"{letter.key} {_digest(line)}")
                    continue
            elif seen.status is SagaStatus.COMPLETED or self.begin(
                workflow_id(saga_id, seen.epoch + 1), [*rows, (self.now(), f"[{line}]")]
            ):
                return  # of what has completed it changes nothing
            if clock.monotonic() > until:
                message = (
                    f"saga {saga_id!r}: nobody has heard the answer in {PATIENCE:g} s, though it "
                    f"is with {self.place}: give it again, to be told which one stands"
                )
                raise JournalError(message)
            clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_LOOK)


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()[:16]


def _outcome(letter: Letter) -> object:
    """Give what a letter says, without who says so: what was taken in has no note any more."""
    return loads(letter.body)[:2]


def _until(wait: float | None) -> float | None:
    wait = seconds(wait, "wait")
    return None if wait is None else clock.monotonic() + wait


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - clock.monotonic())
