"""One run of a saga: what its executor tells, when it must stop, and how it ends."""

from __future__ import annotations

import os
from time import monotonic, sleep

from py_api_saga.compensation import failure
from py_api_saga.context import current
from py_api_saga.events import Event, emit, log
from py_api_saga.exceptions import SagaError
from py_api_saga.execution import (
    ABORT,
    ACTION,
    COMPENSATION,
    FAILED,
    HAPPENED,
    IN_DOUBT,
    RETRY,
    SUCCEEDED,
    UNKNOWN,
    Doubt,
    Execution,
    verdict,
)
from py_api_saga.executors.inbox import Inbox
from py_api_saga.log import complain, is_heard
from py_api_saga.process import OwnLock
from py_api_saga.status import SagaStatus, Status

TYPE_CHECKING = False  # as in `typing`, which takes 7 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from py_api_saga.definition import Definition, Results
    from py_api_saga.events import EventKind
    from py_api_saga.execution import Entry
    from py_api_saga.journal.changes import Change
    from py_api_saga.journal.recorder import Recorder
    from py_api_saga.observer import Observer

MAX_KEY = 255  # characters
_FEW = 16  # notes that are not looked through for what is over
UNREADY = "unready"  # told of a call to a run, never to the machine: this process lacks something
_TROUBLES = frozenset({FAILED, RETRY, IN_DOUBT, UNKNOWN})
_EVENTS: dict[Status, EventKind] = {
    Status.RUNNING: "operation started",
    Status.SUCCEEDED: "succeeded",
    Status.FAILED: "failed",
    Status.IN_DOUBT: "in doubt",
    Status.COMPENSATING: "compensating",
    Status.COMPENSATED: "compensated",
    Status.STUCK: "stuck",
}
_VALUED = frozenset({SUCCEEDED, HAPPENED})  # with a value that the journal has to keep
_COMPLETED = SagaStatus.COMPLETED  # looking up a member of an Enum costs 60 ns, a global 5
_naming = OwnLock()


class Run:
    """One run of a saga, driven by one thread at a time.

    Attributes:
        deadline: When it must stop, on the monotonic clock, or None.
        interrupt: What is to be raised again when it is over: a KeyboardInterrupt, say.
        left: Nothing more is to be called, though the saga may not have ended.
        inbox: What other threads tell it, if there are any.
        drive_late: How a thread that lands after the end goes on with it.
        observers: Functions of an event.
        recorder: What writes it into a journal, or None.
        plain: Nobody but the machine is to hear of a success: no journal, no observer, no clock.
        lost: Why the journal can't be written any more, or is somebody else's to write.
        notes: By attempt, what its code has noted of requests that it has sent, or None.
        unready: What this process lacks for a call, or None: the saga is left to another one.
    """

    __slots__ = (
        "_begun", "_due", "_first", "_id", "_label", "_latest", "_stopped",
        "_unanswered", "_unmade", "_watched", "deadline", "definition", "drive_late", "execution",
        "inbox", "interrupt", "left", "lost", "name", "notes", "observers", "operations",
        "plain", "recorder", "unready",
    )  # fmt: skip

    def __init__(
        self,
        definition: Definition,
        name: str | None,
        observers: tuple[Observer, ...],
        saga_id: str | None,
        seconds: float | None,
        drive_late: Callable[[Run], object],
        recorder: Recorder | None = None,
        entries: Iterable[Entry] = (),
    ) -> None:
        """Begin a run, which may last for so many seconds, or go on with one."""
        self.definition = definition
        self.operations = definition.operations
        self.name = name
        self.deadline = None if seconds is None else monotonic() + seconds
        self.interrupt: BaseException | None = None
        self.left = False
        self.inbox: Inbox | None = None
        self.notes: dict[Entry, set[object]] | None = None
        self.drive_late = drive_late
        self._label = saga_id
        self._id: str | None = None
        self._latest: BaseException | None = None
        self._stopped = False
        self._due: dict[int, float] | None = None
        self._first: dict[tuple[int, str], float] | None = None
        self.observers = observers
        self._watched = observers != () or is_heard()
        self.execution = Execution(definition, entries, self._watched)
        self.recorder = recorder
        self.plain = recorder is None and seconds is None and not self._watched
        if recorder is None:
            if self._watched:
                self._emit("saga started")
        else:
            self.lost: SagaError | None = None
            self.unready: BaseException | None = None
            self._unanswered: tuple[Entry, ...] = ()
            self._begun = recorder.claim is not None
            self._unmade: tuple[Entry | None, ...] = ()
            self.execution.moves.clear()

    # --- what an executor asks and tells --------------------------------------------------------

    def start(self) -> Entry | None:
        """Begin the next call that is ready, or has waited its time, and give its intent."""
        if self.left:
            return None
        execution = self.execution
        intent = execution.start()
        if intent is None and execution.trouble is not None and execution.trouble.waiting:
            intent = min(execution.ready(), key=self._wait_of)
            if self._wait_of(intent) > 0:
                return None
            execution.tell(intent)
        if execution.moves and self.recorder is None:
            self._announce()
        return intent

    def tell(self, entry: Entry) -> None:
        """Note what came of a call."""
        if self.deadline is not None:  # first: what comes after it does not complete the saga
            self._check_deadline()
        execution, recorder = self.execution, self.recorder
        if recorder is not None:
            if entry[0] in _VALUED:
                entry = recorder.accept(entry, self.name_of)
            elif entry[0] == UNREADY:
                if execution.is_flying(entry):
                    self._let_go(entry, recorder)
                    return
                entry = (FAILED, *entry[1:])  # of a straggler, of which nobody takes the answer
            elif self._ends_rollback(entry):
                entry = not_made(entry, entry[5])  # recovery makes it
        execution.tell(entry)
        if entry[0] in _TROUBLES and not isinstance(entry[5], Exception):
            self._note_trouble(entry)
        if execution.moves and recorder is None:
            self._announce()

    def _let_go(self, entry: Entry, recorder: Recorder) -> None:
        """Call nothing more, since this process lacks something, and decide nothing.

        The call stays without an answer, as after a crash. What else runs is awaited, and counts.
        """
        _, i, _, attempt, _, error = entry
        intent = self.execution.flying[i]
        if intent in self._unanswered:  # told again after an interrupt
            return
        self.left = True
        self._unanswered += (intent,)
        if self.unready is None:
            self.unready = error
            error.add_note(f"saga {self.saga_id!r} stays open in its journal, for another process")
        recorder.let_go()
        self._emit("let go", i, attempt=attempt, error=error)

    @property
    def awaits(self) -> bool:
        """Whether a call is in flight that will have an answer."""
        flying = self.execution.flying
        if self.recorder is None or not self._unanswered:
            return bool(flying)
        return len(flying) > len(self._unanswered)

    def receive(self, entry: Entry) -> None:
        """Note what another thread has told: the end of a call in flight, or of a straggler.

        Anything else is stale: the call landed before it was given up, or an interrupt came
        after it was noted and before it was taken off the list.
        """
        execution = self.execution
        if execution.is_flying(entry):
            self.tell(entry)
        elif entry[0] == IN_DOUBT and entry[5].alive:
            return  # it was noted before, and its straggler lives
        elif execution.trouble is not None and entry[1:5] in execution.trouble.stragglers:
            if entry[0] == SUCCEEDED:
                self._emit("landed late", entry[1], attempt=entry[3])
            self.tell(entry)

    def look(self) -> None:
        """Note all that other threads have told, and whether the time is up."""
        if self.deadline is not None:
            self._check_deadline()
        if self.inbox is not None:
            entries = self.inbox.entries
            while entries:
                self.receive(entries[0])
                entries.popleft()

    def close(self) -> bool:
        """End the run, unless another thread has told something meanwhile."""
        return self.inbox is None or self.inbox.close()

    def land(self, entry: Entry) -> None:
        """Tell, from its own thread, what became of a straggler; after the end, go on there."""
        inbox = self.inbox
        if inbox is None or inbox.put(entry):
            return
        with inbox.late:
            if self.recorder is not None and not self._claim_again(self.recorder, entry):
                return
            try:
                self._take_in(entry)
            finally:
                self.leave()

    def _take_in(self, entry: Entry) -> None:
        """Note what landed after the end, and undo it if that is what is owed."""
        before = self.execution.saga
        self.receive(entry)
        changed = self.execution.saga is not before and not self.left
        if changed and self.execution.saga is SagaStatus.COMPENSATING:
            self.drive_late(self)
        self.commit()
        if changed and (self.recorder is None or self.unready is None):
            self._emit("saga ended", outcome=self.execution.saga)

    # --- what an attempt says of itself ---------------------------------------------------------

    def notes_of(self, intent: Entry) -> set[object]:
        """Give what an attempt has noted; any thread of it may add to that, and take from it."""
        with _naming.own:
            if self.notes is None:
                self.notes = {}
            elif len(self.notes) > 2 * len(self.execution.flying) + _FEW:
                for other in [*self.notes]:  # successes, which nobody has asked about
                    if not self.execution.is_flying(other):
                        del self.notes[other]
            return self.notes.setdefault(intent, set())

    def has_noted(self, intent: Entry) -> bool:
        """Tell whether an attempt has noted a request that was not refused; asked at its end."""
        return self.notes is not None and bool(self.notes.pop(intent, None))

    # --- the journal ----------------------------------------------------------------------------

    def commit(self, *intents: Entry | None) -> bool:
        """Make durable all that was told; say whether the calls of these intents may start."""
        if self.recorder is None:
            return True
        for change in self.writing(*intents):
            self.recorder.journal.write(change)
        return self.lost is None

    def writing(self, *intents: Entry | None) -> Iterator[Change]:
        """Give what makes durable all that was told; the next one once it is settled.

        If it can't be written `lost` says why: no further call starts, and what runs is to be
        awaited.

        Args:
            intents: The calls that are to start then.
        """
        recorder = self.recorder
        assert recorder is not None  # noqa: S101 - asked by the callers
        if self.lost is None:
            self._unmade = intents
            try:
                change = recorder.next(self.execution)
                while change is not None:
                    yield change
                    change = recorder.settled(change, self.execution)
            except SagaError as error:
                self._lose(error)
        self._committed(intents)

    def _lose(self, error: SagaError) -> None:
        self.lost, self.left = error, True
        if self.recorder is None or not self.recorder.is_refused:  # else it is not in there
            error.add_note(f"saga {self.saga_id!r} stays as it is in its journal")

    def _committed(self, intents: tuple[Entry | None, ...]) -> None:
        self._unmade = ()
        if self.lost is not None:
            for intent in intents:
                if intent is not None:
                    self.execution.tell(not_made(intent, self.lost))
            return
        if not self._begun:
            self._begun = True
            if self._watched:
                self._emit("saga started")
        if self.execution.moves:
            self._announce()

    def leave(self) -> None:
        """Drive the saga no longer, however that came.

        One that can't be written any more is kept while a straggler of it lives here: whoever
        recovered it would call again what still runs.
        """
        trouble = self.execution.trouble
        kept = self.recorder is not None and self.lost is not None
        if self.recorder is not None and not (kept and trouble and trouble.stragglers):
            self.recorder.leave()

    def _claim_again(self, recorder: Recorder, entry: Entry) -> bool:
        if self.lost is not None:  # nothing can be written; the last straggler gives it back
            trouble = self.execution.trouble
            assert trouble is not None  # noqa: S101 - it knows of the straggler
            trouble.stragglers -= {entry[1:5]}
            self.leave()
            return False
        try:
            if recorder.claim_again():
                return True
        except SagaError as error:
            complain("saga %s: a late landing was not recorded", self.saga_id, error=error)
            return False
        name = self.name_of(entry[1])
        complain("saga %s: operation %s landed late, and others went on", self.saga_id, name)
        return False

    def open_inbox(self, wake: Callable[[], object] | None = None) -> Inbox:
        """Let other threads tell the run something."""
        if self.inbox is None:
            self.inbox = Inbox(wake)
        return self.inbox

    def name_of(self, i: int) -> str:
        """Give the name of an operation."""
        return self.definition.names.all()[i]

    # --- time -----------------------------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """Whether there are calls to make once they have waited their time."""
        trouble = self.execution.trouble
        return trouble is not None and bool(trouble.waiting) and not self.left

    def _wait_of(self, intent: Entry) -> float:
        return 0.0 if self._due is None else self._due.get(intent[1], 0.0) - monotonic()

    def patience(self) -> float | None:
        """Give the seconds until something is to be done if nothing happens; None for never."""
        times = []
        if self.waits:
            times = [self._wait_of(intent) for intent in self.execution.ready()]
        if self.deadline is not None and not self._stopped:
            times.append(self.deadline - monotonic())
        return max(0.0, min(times)) if times else None

    def pause(self) -> None:
        """Wait until something is due, or may have been told."""
        seconds, began = self.patience(), monotonic()
        if self.inbox is not None:
            seconds = self.inbox.wait(seconds)
        else:
            sleep(seconds or 0.0)
        self.note_wait(began, seconds or 0.0)

    def note_wait(self, began: float, seconds: float) -> None:
        """Take what was slept for as passed, also where a test has stopped the clock."""
        missed = unnoticed(began, seconds)
        if not missed:
            return
        self._due = {i: due - missed for i, due in (self._due or {}).items()}
        self._first = {call: first - missed for call, first in (self._first or {}).items()}
        if self.deadline is not None:
            self.deadline -= missed

    def since_first(self, i: int, kind: str, now: float) -> float:
        """Give the seconds since the first attempt of a call; the first one to ask makes it."""
        if self._first is None:
            self._first = {}
        return now - self._first.setdefault((i, kind), now)

    def _check_deadline(self) -> None:
        """Stop the run if its time is up."""
        execution = self.execution
        if self._stopped or execution.at_rest or execution.saga is not SagaStatus.RUNNING:
            return
        assert self.deadline is not None  # noqa: S101 - asked by the callers
        if monotonic() >= self.deadline:
            self._stopped = True
            self._abort(TimeoutError("the deadline of the saga has passed"))

    # --- stopping -------------------------------------------------------------------------------

    def _abort(self, reason: BaseException) -> None:
        self.execution.tell((ABORT, -1, "", 0, 0, reason))
        if self.execution.moves and self.recorder is None:
            self._announce()

    def stop(self, interrupt: BaseException) -> None:
        """Take in an interrupt: roll back and raise it again; a second Ctrl-C ends that too.

        One interrupt may be told several times, by each call that it has struck.
        """
        if interrupt is self._latest:
            return
        self._latest = interrupt
        if self.interrupt is None:
            self.interrupt = interrupt
        elif isinstance(interrupt, KeyboardInterrupt):
            self.left = True
        if self.recorder is not None and self.unready is not None:
            return  # nothing is decided here any more
        if not (self.execution.backward or self.execution.at_rest):
            self._abort(interrupt)  # after the pivot it is only recorded
        if self.execution.passed:  # nothing rolls back, and the caller wants to be gone
            self.left = True

    def _ends_rollback(self, entry: Entry) -> bool:
        """Tell whether a second Ctrl-C has struck in a compensation."""
        what, _, kind, _, _, error = entry
        again = self.interrupt is not None and error is not self._latest
        ctrl_c = what == FAILED and kind == COMPENSATION and isinstance(error, KeyboardInterrupt)
        return again and ctrl_c

    def repair(
        self, interrupt: BaseException, lost: Callable[[BaseException, Entry], Entry | None]
    ) -> None:
        """Take in an interrupt that struck between two lines of ours, and those that follow it.

        Args:
            interrupt: What was raised.
            lost: Says of a call in flight what came of it, or None if somebody else will.
        """
        while True:
            try:
                self._fold_again(interrupt, lost)
            except BaseException as another:
                if isinstance(another, Exception):
                    raise  # a defect of ours
                self.interrupt = interrupt if self.interrupt is None else self.interrupt
                interrupt = another
            else:
                return

    def _fold_again(
        self, interrupt: BaseException, lost: Callable[[BaseException, Entry], Entry | None]
    ) -> None:
        entries = self.execution.entries
        self.execution = execution = Execution(self.definition, entries, self._watched)
        execution.moves.clear()
        unanswered = () if self.recorder is None else self._unanswered
        for intent in list(execution.flying.values()):
            entry = None if intent in unanswered else lost(interrupt, intent)
            if entry is not None:
                self.tell(entry)
        self.stop(interrupt)

    def cut_off(self, interrupt: BaseException, intent: Entry) -> Entry:
        """Say of a call around which an interrupt struck that it was made, or not, or in part."""
        _, i, kind, attempt, generation, _ = intent
        if kind != ACTION or (self.recorder is not None and intent in self._unmade):
            return not_made(intent, interrupt)
        in_a_thread = self.operations[i].policy.timeout is not None  # where it may live on
        return (
            IN_DOUBT,
            i,
            kind,
            attempt,
            generation,
            Doubt(interrupt, alive=in_a_thread, interrupted=True),
        )

    def _note_trouble(self, entry: Entry) -> None:
        what, i, _, attempt, _, value = entry
        error, wait = value, None
        if what in (RETRY, IN_DOUBT):
            error, wait, _ = verdict(value)
        if wait is not None and self._is_waiting(i):
            if self._due is None:
                self._due = {}
            self._due[i] = monotonic() + wait
            if self._watched:
                self._emit("attempt failed", i, attempt=attempt, error=error, wait=wait)
        if isinstance(error, BaseException) and not isinstance(error, Exception):
            self.stop(error)

    def _is_waiting(self, i: int) -> bool:
        trouble = self.execution.trouble
        return trouble is not None and i in trouble.waiting

    # --- what is told to the outside ------------------------------------------------------------

    @property
    def saga_id(self) -> str:
        """The id that was given or a random one."""
        return self._label or self.run_id

    def _identify(self) -> str:
        return self.saga_id

    @property
    def run_id(self) -> str:
        """A random id, 32 hexadecimal digits, made when first asked for, in whatever thread."""
        if self._id is None:
            with _naming.own:
                if self._id is None:  # pragma: no branch - another thread was faster
                    self._id = os.urandom(16).hex()
        return self._id

    def key(self, i: int, kind: str, generation: int) -> str:
        """Give the idempotency key of an operation's action or compensation.

        Without a journal a `saga_id` is a label, which may be given again: keys carry the random
        id of the run.
        """
        run = self.saga_id
        if self.recorder is None and self._label is not None:
            run += f"-{self.run_id}"
        end = f":{kind}" if generation == 1 else f":{kind}:{generation}"
        name = self.name_of(i)
        key = f"{run}:{name}{end}"
        if len(key) > MAX_KEY:  # child sagas of child sagas
            import hashlib  # noqa: PLC0415 - rare, and 1 ms to import

            key = f"{run}:{hashlib.sha256(name.encode()).hexdigest()[:32]}{end}"
        return key

    def _emit(
        self,
        kind: EventKind,
        i: int | None = None,
        *,
        attempt: int | None = None,
        error: BaseException | None = None,
        wait: float | None = None,
        outcome: SagaStatus | None = None,
    ) -> None:
        operation = None if i is None else self.name_of(i)
        event = Event(kind, self.saga_id, self.name, operation, attempt, error, wait, outcome)
        operating = current.get()
        current.set(None)  # an observer is no operation, whichever was the last in this thread
        try:
            emit(event, (log, *self.observers))
        finally:
            current.set(operating)

    def _announce(self) -> None:
        """Tell the observers of the moves since the last time."""
        execution = self.execution
        moves, execution.moves = execution.moves, []
        trouble = execution.trouble
        for i, status in moves:
            kind = _EVENTS.get(status)
            if kind is None:
                continue
            attempt, error = execution.tries[i], None
            if trouble is not None:
                error = trouble.undo_errors.get(i, trouble.errors.get(i))
                undone = status in (Status.COMPENSATING, Status.COMPENSATED)
                if undone or (status is Status.STUCK and i in trouble.undo_errors):
                    attempt = trouble.undo_tries[i]
            if status in (
                Status.RUNNING,
                Status.SUCCEEDED,
                Status.COMPENSATING,
                Status.COMPENSATED,
            ):
                error = None
            self._emit(kind, i, attempt=attempt, error=error)

    def finish(self) -> Results:
        """Give the results, or raise what the caller is to know.

        Raises:
            SagaException: The saga did not complete.
            BaseException: The interrupt that ended it.
        """
        if self.inbox is None:
            return self._sum_up()
        with self.inbox.late:
            return self._sum_up()

    def _sum_up(self) -> Results:
        execution = self.execution
        if self.recorder is not None:
            self._sum_up_durably()
        outcome = execution.saga
        if self.left and not execution.at_rest:
            outcome = SagaStatus.STUCK
            complain("saga %s was left as it was, with calls to make", self.saga_id)
        if self._watched:
            self._emit("saga ended", outcome=outcome)
        definition, interrupt = self.definition, self.interrupt
        if outcome is _COMPLETED:
            if interrupt is not None:
                raise interrupt
            return execution.returned()
        trouble = execution.trouble
        assert trouble is not None  # noqa: S101 - else it would have completed
        statuses, results = execution.status, execution.results
        # Errors know the frames they have passed; frames that know the errors would close a
        # circle, which keeps the whole run until the garbage collector comes.
        if execution.at_rest and not trouble.stragglers:
            execution.entries, execution.trouble = [], None
        else:  # something may still land
            statuses, results, trouble = statuses.copy(), results.copy(), trouble.copied()
        exception = failure(self._identify, definition, outcome, statuses, results, trouble)
        cause = exception.operation_error
        if cause is not interrupt and isinstance(cause, BaseException):
            exception.__cause__ = cause
        try:
            if interrupt is None:
                raise exception
            put_behind(interrupt, exception)  # what became of the saga is told as well
            raise interrupt
        finally:
            del exception, interrupt, cause, trouble

    def _sum_up_durably(self) -> None:
        """Raise what the caller is to know if the saga has not ended, and its journal is open."""
        if self.left and self.lost is None:  # what has come since the second interrupt
            self.commit()
        lost: BaseException | None = self.lost if self.unready is None else self.unready
        interrupt = self.interrupt
        try:
            if lost is not None:
                if interrupt is None:
                    raise lost
                put_behind(interrupt, lost)
                raise interrupt
            if interrupt is not None and not self.execution.at_rest:
                interrupt.add_note(f"saga {self.saga_id!r} is open in its journal, for recovery")
                raise interrupt
        finally:
            del lost, interrupt


def unnoticed(began: float, seconds: float) -> float:
    """Give how many of the seconds that were slept since then the clock has not seen."""
    return max(0.0, seconds - (monotonic() - began))


def put_behind(error: BaseException, exception: BaseException) -> None:
    """Let an exception be the last in the chain of contexts of an error."""
    seen = set[int]()
    while error.__context__ is not None and id(error) not in seen:
        seen.add(id(error))
        error = error.__context__
    error.__context__ = exception


def not_made(intent: Entry, interrupt: BaseException) -> Entry:
    """Say of a call that an interrupt came before it: an undo is made now, an action never."""
    _, i, kind, attempt, generation, _ = intent
    if kind == COMPENSATION:
        return (RETRY, i, kind, attempt, generation, (interrupt, 0.0))
    what = FAILED if kind == ACTION else UNKNOWN
    return (what, i, kind, attempt, generation, interrupt)


def interrupted(intent: Entry, interrupt: BaseException) -> Entry:
    """Say of a call that was interrupted that nobody knows what came of it."""
    _, i, kind, attempt, generation, _ = intent
    if kind == ACTION:
        return (IN_DOUBT, i, kind, attempt, generation, Doubt(interrupt, interrupted=True))
    what = FAILED if kind == COMPENSATION else UNKNOWN
    return (what, i, kind, attempt, generation, interrupt)
