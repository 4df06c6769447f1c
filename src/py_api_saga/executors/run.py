"""One run of a saga: what its executor tells, when it must stop, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Never

from py_api_saga import chance, clock
from py_api_saga.calls import IS_ASYNC
from py_api_saga.current import Around, Where, current
from py_api_saga.definition import Definition, Names, Results
from py_api_saga.entries import (
    ACTION,
    COMPENSATION,
    FAILED,
    IN_DOUBT,
    RETRY,
    SUCCEEDED,
    UNKNOWN,
    Entry,
    Setback,
    abort,
    attempt_of,
    failed,
    in_doubt,
    index_of,
    kind_of,
    not_made,
    what_of,
)
from py_api_saga.error_details import traceback_of
from py_api_saga.events import Event, EventKind, emit
from py_api_saga.exceptions import LaterError, SagaError
from py_api_saga.execution import Execution, IllegalMoveError
from py_api_saga.executors.inbox import PARTING, Inbox
from py_api_saga.executors.passage import ENTERING, Passage
from py_api_saga.executors.running import Noted, Notes, at_home
from py_api_saga.interrupts import is_interrupt
from py_api_saga.keys import key_of
from py_api_saga.log import complain, is_heard
from py_api_saga.observer import Observer
from py_api_saga.operation import Later, call_of
from py_api_saga.outcome import failure
from py_api_saga.process import OwnLock
from py_api_saga.status import MISSING, SagaStatus, Status
from py_api_saga.stuck import StuckReason
from py_api_saga.trouble import Trouble

_FEW = 16  # notes that are not looked through for what is over
_TROUBLES = frozenset({FAILED, RETRY, IN_DOUBT, UNKNOWN})
_EVENTS: dict[Status, EventKind | None] = {  # of which observers hear; None of nothing
    Status.PENDING: None,
    Status.RUNNING: "operation started",
    Status.SUCCEEDED: "succeeded",
    Status.FAILED: "failed",
    Status.IN_DOUBT: "in doubt",
    Status.COMPENSATING: "compensating",
    Status.COMPENSATED: "compensated",
    Status.SKIPPED: None,
    Status.STUCK: "stuck",
}
_MOST_STRIKES = 16  # of an `Exception` in one run: more are not signals, but a fault that stays
_NOTHING_STUCK: dict[int, StuckReason] = {}  # nothing is ever added to it
# Looking up a member of an Enum costs 60 ns, a global 5.
_COMPLETED, _STUCK = SagaStatus.COMPLETED, SagaStatus.STUCK
_naming = OwnLock()
_LOADED = clock.time()  # nothing of any run of this process was sent before


class _Struck:
    """What a run remembers once an interrupt has come in or around a compensation.

    Attributes:
        put_off: Operations whose compensation is made again by whoever takes the saga next.
        again: Operations and generations whose compensation is called once more here.
        announced: Operations whose compensation is to start, and of which observers know.
        count: How many an `Exception` has struck between two lines of ours.
    """

    __slots__ = ("again", "announced", "count", "put_off")

    def __init__(self) -> None:
        self.put_off: set[int] = set()
        self.again: set[tuple[int, int]] = set()
        self.announced: set[int] = set()
        self.count = 0


class Run:
    """One run of a saga, driven by one thread at a time.

    Attributes:
        deadline: When it must stop, on the monotonic clock, or None.
        interrupt: What is to be raised again when it is over: a KeyboardInterrupt, say.
        left: Nothing more is to be called, though the saga may not have ended.
        inbox: What other threads tell it, if there are any.
        label: The id that it was given, or None.
        drive_late: How a thread that lands after the end goes on with it.
        observers: Functions of an event.
        plain: Nobody but the machine is to hear of a success: no observer, no clock.
        notes: By attempt, what its code has noted of requests that it has sent, or None.
        around: What is around each call.
        passages: By attempt that has not ended well, how far it has come through that.
        is_elsewhere: Its plain functions are called in threads of ours.
        witness: What sees it, and hears what came of each call (`driving.Witness`), or None.
        keeps_time: It is to know when its calls begin, and how long they take: see `begins`.
    """

    __slots__ = (
        "_announced", "_due", "_first", "_id", "_latest", "_stopped", "_struck", "_watched",
        "around", "deadline", "definition", "drive_late", "execution", "inbox", "interrupt",
        "is_elsewhere", "label", "left", "name", "notes", "observers", "operations", "passages",
        "plain", "witness",
    )  # fmt: skip
    keeps_time: ClassVar = False

    def __init__(
        self,
        definition: Definition,
        name: str | None,
        observers: tuple[Observer, ...],
        saga_id: str | None,
        seconds: float | None,
        drive_late: Callable[[Run], object],
        entries: Iterable[Entry] = (),
        run_id: str | None = None,
    ) -> None:
        """Begin a run, which may last for so many seconds, or go on with one.

        Its id is random, unless it is to be that of another one, as if the same had gone on.
        """
        self.definition = definition
        self.operations = definition.operations
        self.around: Sequence[Around] = ()
        self.passages: dict[Entry, Passage] | None = None
        self.is_elsewhere = False
        self.witness: Any = None
        self.name = name
        self.deadline = None if seconds is None else clock.monotonic() + seconds
        self.interrupt: BaseException | None = None
        self.left = False
        self.inbox: Inbox | None = None
        self.notes: Noted | None = None
        self.drive_late = drive_late
        self.label = saga_id
        self._id = run_id
        self._latest: BaseException | None = None
        self._stopped = False
        self._due: dict[int, float] | None = None
        self._first: dict[tuple[int, str], float] | None = None
        self._struck: _Struck | None = None
        self._announced: dict[int, int] | None = None
        self.observers = observers
        self._watched = observers != () or is_heard()
        self.execution = Execution(definition, entries, self._watched)
        self.plain = seconds is None and not self._watched
        if self._watched:
            self._begin()

    def _begin(self) -> None:
        self._emit("saga started")

    # --- what an executor asks and tells --------------------------------------------------------

    def start(self) -> Entry | None:
        """Begin the next call that is ready, or has waited its time, and give its intent."""
        if self.left:
            return None
        execution = self.execution
        intent = execution.start()
        if intent is None and execution.trouble is not None and execution.trouble.waiting:
            waiting = self._waiting()
            if not waiting:  # what is left is for whoever takes the saga next
                self.left = not execution.flying
                return None
            intent = min(waiting, key=self._wait_of)
            if self._wait_of(intent) > 0:
                return None
            execution.tell(intent)
        if execution.moves:
            self._announce()
        return intent

    def tell(self, entry: Entry) -> None:
        """Note what came of a call."""
        if self.deadline is not None:  # first: what comes after it does not complete the saga
            self._check_deadline()
        execution = self.execution
        what, _, _, _, _, value = entry
        if type(value) is Setback and value.interrupted:
            entry = self._weighed(entry)
            what = what_of(entry)
        execution.tell(entry)
        if self.witness is not None:
            self.witness.told(self, entry)
        if what in _TROUBLES:
            self._note_trouble(entry)
        if execution.moves:
            self._announce()

    @property
    def gate(self) -> Any:
        """What each call has to pass (`executors.around.Gate`), or None; a kind of run has one."""
        return None

    @property
    def awaits(self) -> bool:
        """Whether a call is in flight that will have an answer."""
        return bool(self.execution.flying)

    @property
    def is_calm(self) -> bool:
        """Whether nothing is left to do here, and no call has to end."""
        execution = self.execution
        return execution.at_rest or execution.suspended

    def lacks(self, error: BaseException) -> BaseException | None:  # noqa: ARG002 - others look
        """Give what says in an error that this process is not set up for a call, or None."""
        return None

    def receive(self, entry: Entry) -> None:
        """Note what another thread has told: the end of a call in flight, or of a straggler.

        Anything else is stale: the call landed before it was given up, or an interrupt came
        after it was noted and before it was taken off the list.
        """
        execution = self.execution
        what, i, kind, attempt, _, value = entry
        if execution.is_flying(entry):
            self.tell(entry)
        elif what == IN_DOUBT and value.alive:
            return  # it was noted before, and its straggler lives
        elif execution.trouble is not None and attempt_of(entry) in execution.trouble.stragglers:
            try:
                if what == SUCCEEDED:
                    self._emit("landed late", i, kind, attempt=attempt)
            finally:  # also if an observer raises an interrupt: it is to hear of it once
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
        inbox.left.wait(PARTING)
        with inbox.late:
            self.is_elsewhere = True
            self._go_on_late(entry)

    def _go_on_late(self, entry: Entry) -> None:
        """Note what landed after the end, and undo it if that is what is owed."""
        before = self.execution.saga
        self.receive(entry)
        changed = self.execution.saga is not before and not self.left
        if changed and self.execution.saga is SagaStatus.COMPENSATING:
            self.drive_late(self)
        self.commit()
        if changed and not self.left:
            self._emit("saga ended", outcome=self.execution.saga)

    # --- what an attempt says of itself ---------------------------------------------------------

    def notes_of(self, intent: Entry) -> Notes:
        """Give what an attempt has noted; any thread of it may add to that, and take from it."""
        with _naming.own:
            if self.notes is None:
                self.notes = Noted()
            elif len(self.notes) > 2 * len(self.execution.flying) + _FEW:
                for other in [*self.notes]:  # successes, which nobody has asked about
                    if not self.execution.is_flying(other):
                        del self.notes[other]
            if kind_of(intent) == ACTION:
                self.notes.since.setdefault(index_of(intent), clock.time())
            return self.notes.setdefault(intent, Notes())

    def has_noted(self, intent: Entry) -> bool:
        """Tell whether an attempt has noted a request that was not refused; asked at its end."""
        return self.notes is not None and bool(self.notes.pop(intent, None))

    def begins(self) -> Any:
        """Note that a call begins, just now, and give what `ended` takes; only if it keeps time."""
        raise NotImplementedError  # pragma: no cover - a run in memory does not

    def begins_anew(self, intent: Entry) -> None:
        """Note that a call which was held up begins just now, not when `begins` was asked."""
        raise NotImplementedError  # pragma: no cover - as above

    def ended(self, intent: Entry, began: Any) -> None:
        """Note that a call has ended, just now, however that was; from any thread."""
        raise NotImplementedError  # pragma: no cover - as above

    def begun(self, intent: Entry, later: Later) -> Entry:  # noqa: ARG002 - others wait
        """Say of a call that returned `later(…)` what it waits for.

        Raises:
            LaterError: Nobody can answer, or not with such a result.
        """
        _, i, kind, _, _, _ = intent
        message = (
            f"the {kind} of operation {self.name_of(i)!r} returned later(...), and without a "
            "journal nobody can answer: give the saga one (journal=...)"
        )
        raise LaterError(message)

    # --- around its calls -----------------------------------------------------------------------

    def passage_of(self, intent: Entry) -> Passage | None:
        """Give how far an attempt has come that did not end well, and forget it."""
        passage = None if self.passages is None else self.passages.pop(intent, None)
        if passage is not None:
            passage.problem = None  # it knows the frames that know this
        return passage

    # --- what is to outlast the process ---------------------------------------------------------

    def prepare_write(self, intents: list[Entry]) -> bool:  # noqa: ARG002 - in memory
        """Prepare what must be durable before calls start; tell whether to `write` it.

        It is called again after each `write`, and settles what was written.

        Args:
            intents: Of these calls; those that must not start after all are taken out.
        """
        return False

    def write(self) -> None:
        """Make durable what must be."""

    async def awrite(self) -> None:
        """Make durable what must be, without blocking the loop."""

    def commit(self) -> None:
        """Make durable all that was told."""

    def leave(self) -> None:
        """Drive the saga no longer, however that came; once: what lands late may have it then."""
        if self.inbox is not None:
            self.inbox.left.set()

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
        if trouble is None or not trouble.waiting or self.left:
            return False
        return self._struck is None or not trouble.waiting.keys() <= self._struck.put_off

    def _waiting(self) -> list[Entry]:
        """List the calls that wait, unless they are left to whoever takes the saga next."""
        intents = self.execution.ready()
        if self._struck is None:
            return intents
        return [intent for intent in intents if index_of(intent) not in self._struck.put_off]

    def _wait_of(self, intent: Entry) -> float:
        return (
            0.0 if self._due is None else self._due.get(index_of(intent), 0.0) - clock.monotonic()
        )

    def patience(self) -> float | None:
        """Give the seconds until something is to be done if nothing happens; None for never."""
        times = []
        if self.waits:
            times = [self._wait_of(intent) for intent in self._waiting()]
        is_forward = self.execution.saga is SagaStatus.RUNNING  # it stops nothing else
        if self.deadline is not None and is_forward and not self._stopped:
            times.append(self.deadline - clock.monotonic())
        return max(0.0, min(times)) if times else None

    def pause(self) -> None:
        """Wait until something is due, or may have been told."""
        seconds, began = self.patience(), clock.monotonic()
        if self.inbox is not None:
            seconds = self.inbox.wait(seconds)
        else:
            clock.sleep(seconds or 0.0)
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
        if clock.monotonic() >= self.deadline:
            self._stopped = True
            self._abort(TimeoutError("the deadline of the saga has passed"))

    # --- stopping -------------------------------------------------------------------------------

    def _abort(self, reason: BaseException) -> None:
        self.execution.tell(abort(reason))
        if self.execution.moves:
            self._announce()

    def stop(self, interrupt: BaseException, kind: str = "") -> None:
        """Take in an interrupt: roll back and raise it again; a second Ctrl-C ends that too.

        So does any `Exception` that strikes from outside, as a time limit does: who throws one
        wants an end. One interrupt may be told several times, by each call that it has struck.

        Args:
            interrupt: What was raised.
            kind: Of the call that has raised it; none if it struck between two lines of ours. One
                that an action has raised does not count as a second one: others may run beside it.
        """
        if interrupt is self._latest:
            return
        self._latest = interrupt
        if self.interrupt is None:
            self.interrupt = interrupt
        elif issubclass(type(interrupt), KeyboardInterrupt) or (
            kind != ACTION and isinstance(interrupt, Exception)
        ):
            self.left = True
        self._heed(interrupt, kind)

    def _heed(self, interrupt: BaseException, kind: str) -> None:  # noqa: ARG002 - see `stop`
        if not (self.execution.backward or self.execution.at_rest):
            self._abort(interrupt)  # after the pivot it is only recorded
        if self.execution.passed:  # nothing rolls back, and the caller wants to be gone
            self.left = True

    def goes(self, interrupt: BaseException) -> bool:  # noqa: ARG002 - in memory none does
        """Tell whether the saga is let go because of what has struck, and decides nothing."""
        return False

    def check_goes(self, interrupt: BaseException) -> None:
        """Raise what has struck before a call was made if nothing is to be decided: not even that.

        Raises:
            Exception: That.
        """
        if self.goes(interrupt):
            raise interrupt

    def _weighed(self, entry: Entry) -> Entry:
        """Say what an interrupt in a compensation means: that it was not made, or is stuck.

        It is called once more, unless this was the second time, or a second Ctrl-C.
        """
        _, i, kind, _, generation, setback = entry
        if kind != COMPENSATION or not self.execution.is_flying(entry):
            return entry
        struck = self._strikes()
        self.stop(setback.error, kind)
        if self.left or (i, generation) in struck.again:
            return failed(entry, setback.error)
        struck.again.add((i, generation))
        return entry

    def _strikes(self) -> _Struck:
        if self._struck is None:
            self._struck = _Struck()
        return self._struck

    def repair(
        self, interrupt: BaseException, fate_of: Callable[[BaseException, Entry], Entry | None]
    ) -> BaseException | None:
        """Take in an interrupt that struck between two lines of ours, and those that follow it.

        The machine is made anew from its entries, and told the fate of each call in flight.

        Args:
            interrupt: What was raised.
            fate_of: Says of a call in flight what came of it, or None if somebody else will: the
                executor's, which knows who makes the call, or that of the run, for the caller's.

        Returns:
            None if the run goes on; else what it is to `give_up` for, once what runs has ended.
        """
        while True:
            if (error := self._beyond(interrupt)) is not None:
                return error
            try:
                self._fold_again(interrupt, fate_of)
            except BaseException as another:  # noqa: BLE001 - taken in like the first one
                self.interrupt = interrupt if self.interrupt is None else self.interrupt
                interrupt = another
            else:
                return None

    def _beyond(self, interrupt: BaseException) -> BaseException | None:
        """Give what the run can't go on after: a defect of ours, or a fault that stays."""
        if not isinstance(interrupt, Exception):
            return None
        struck = self._strikes()
        struck.count += 1
        return interrupt if struck.count > _MOST_STRIKES or is_defect(interrupt) else None

    def give_up(self, error: BaseException) -> Never:
        """Leave the saga as it is, since its machine has contradicted itself, and raise why.

        Nothing more is called, nor made durable: what was told may be wrong.

        Raises:
            BaseException: That error, and behind it how the saga is left.
        """
        self.left = True
        behind = self._given_up(error)
        put_behind(error, behind)
        try:
            raise error
        finally:
            del error, behind

    def _given_up(self, error: BaseException) -> SagaError:
        """Say how the saga is left."""
        execution = self.execution
        trouble = (execution.trouble or Trouble()).copied()
        trouble.reasons.append(error)
        statuses, results = execution.status.copy(), execution.results.copy()
        stuck = execution.stuck_reasons()
        error.add_note(f"saga {self.saga_id!r} is stuck: it was left as it was")
        complain("saga %s was left as it was, with calls to make", self.saga_id)
        return failure(
            self._identify, self.definition, SagaStatus.STUCK, statuses, results, trouble, stuck
        )

    def _fold_again(
        self, interrupt: BaseException, fate_of: Callable[[BaseException, Entry], Entry | None]
    ) -> None:
        entries = self.execution.entries
        self.execution = execution = Execution(self.definition, entries, self._watched)
        execution.moves.clear()
        for intent in list(execution.flying.values()):
            entry = fate_of(interrupt, intent)
            if entry is not None:
                self._keep_quiet(intent)
                self.tell(entry)
        self.stop(interrupt)

    def _keep_quiet(self, intent: Entry) -> None:
        """Note that a compensation was announced that has not been made: it is to be so once."""
        _, i, kind, attempt, _, _ = intent
        if kind == COMPENSATION and self._announced and self._announced.get(i) == attempt:
            self._strikes().announced.add(i)

    def fate_of(self, interrupt: BaseException, intent: Entry) -> Entry:
        """Say of a call around which an interrupt struck that it was not made, or is in doubt."""
        _, i, kind, _, _, _ = intent
        if kind != ACTION:
            return not_made(intent, interrupt)
        passage = self.passage_of(intent)
        # Seen in test_strikes, which traces by itself.
        if passage is not None and passage.moment == ENTERING:  # pragma: no cover
            return not_made(intent, interrupt)
        operation = self.operations[i]  # a function with a timeout may live on in its thread
        in_a_thread = operation.policy.timeout is not None and not operation.action[IS_ASYNC]
        return in_doubt(intent, interrupt, alive=in_a_thread, interrupted=True)

    def _note_trouble(self, entry: Entry) -> None:
        _, i, kind, attempt, _, value = entry
        error, wait, struck = value, None, False
        if type(value) is Setback:
            error, wait = value.error, value.wait
            struck = value.interrupted or not isinstance(error, Exception)
        elif error is not None:
            struck = is_interrupt(error)
        if wait is not None and self._is_waiting(i):
            if self._due is None:
                self._due = {}
            self._due[i] = clock.monotonic() + wait
            if self._watched:
                self._emit("attempt failed", i, kind, attempt=attempt, error=error, wait=wait)
        if struck:
            if is_defect(error):  # in a thread or a task, which could only say that it was struck
                raise error
            self.stop(error, kind)

    def _is_waiting(self, i: int) -> bool:
        trouble = self.execution.trouble
        return trouble is not None and i in trouble.waiting

    # --- what is told to the outside ------------------------------------------------------------

    @property
    def saga_id(self) -> str:
        """The id that was given or a random one."""
        return self.label or self.run_id

    def _identify(self) -> str:
        return self.saga_id

    @property
    def _unique_id(self) -> str:
        """What keys begin with: in memory a `saga_id` is a label, which may be given again."""
        return self.run_id if self.label is None else f"{self.label}-{self.run_id}"

    @property
    def run_id(self) -> str:
        """A random id, 32 hexadecimal digits, made when first asked for, in whatever thread."""
        if self._id is None:
            with _naming.own:
                if self._id is None:  # pragma: no branch - another thread was faster
                    self._id = chance.digits(16)
        return self._id

    # --- what a call sees of it: a `SeenRun` ----------------------------------------------------

    @property
    def names(self) -> Names:
        """Of the operations."""
        return self.definition.names

    @property
    def results(self) -> Sequence[Any]:
        """By operation; MISSING if there is none."""
        return self.execution.results

    @property
    def values(self) -> tuple[Any, ...]:
        """What the run was given."""
        return self.definition.values

    def remaining(self, kind: str, until: float | None) -> float | None:
        """Give the seconds that are left for a call of a kind, whose own time is up then."""
        limits = [] if until is None else [until]
        is_limited = kind == ACTION and not self.execution.passed
        if is_limited and self.deadline is not None:  # not undoing, nor what must go forward
            limits.append(self.deadline)
        return max(0.0, min(limits) - clock.monotonic()) if limits else None

    @property
    def scribe(self) -> Any:
        """What writes values as texts: nothing of a run in memory is written."""
        return None

    def known(self) -> Mapping[str, Any]:
        """Give the results so far, by the names of their operations."""
        known = zip(self.definition.names.all(), self.execution.results, strict=False)
        return {
            name: result for name, result in known if result is not MISSING
        }  # it may have grown

    def key_of(self, intent: Entry) -> str:
        """Give the idempotency key of a call: a question has that of the action it asks about."""
        i, kind, _, generation = attempt_of(intent)
        return self.action_key(i) if kind != COMPENSATION else self.key(i, kind, generation)

    def action_key(self, i: int) -> str:
        """Give the idempotency key of an operation's action, as it is now."""
        return self.key(i, ACTION, self.execution.generation(i, ACTION))

    def origin(self, i: int) -> tuple[str, float]:
        """Give the first key of an operation's action, and a time before which it was not used."""
        return self.key(i, ACTION, 1), self._since(i)

    def _since(self, i: int) -> float:
        """Give when an action noted its first request, or a time before all requests."""
        return _LOADED if self.notes is None else self.notes.since.get(i, _LOADED)

    def where(self, i: int, kind: str, until: float | None) -> Where:
        """Tell where a call is made, which has a time limit of its own or not."""
        if call_of(self.operations[i], kind)[IS_ASYNC]:
            return "loop"
        if at_home.get() is self:
            return "caller"
        return "caller" if until is None and not self.is_elsewhere else "thread"

    def key(self, i: int, kind: str, generation: int) -> str:
        """Give the idempotency key of an operation's action or compensation."""
        return key_of(self._unique_id, self.name_of(i), kind, generation)

    def _emit(
        self,
        kind: EventKind,
        i: int | None = None,
        direction: str = "",
        *,
        attempt: int | None = None,
        error: BaseException | None = None,
        wait: float | None = None,
        outcome: SagaStatus | None = None,
    ) -> None:
        operation = None if i is None else self.name_of(i)
        way: Any = direction or (COMPENSATION if self.execution.rolling else ACTION)
        about = self.saga_id, self.name, operation
        event = Event(kind, *about, attempt, error, wait, outcome, way)
        operating = current.get()
        current.set(None)  # an observer is not an operation, whichever was the last in this thread
        try:
            emit(event, self.observers)
        finally:
            current.set(operating)

    def _announce(self) -> None:
        """Tell the observers of the moves since the last time.

        Each move once, and all of them: an interrupt out of an observer is raised in the end.
        """
        execution = self.execution
        moves, execution.moves = execution.moves, []
        interrupt: BaseException | None = None
        for i, status in moves:
            try:
                self._announce_move(i, status)
            except BaseException as error:  # noqa: BLE001 - raised in the end
                interrupt = interrupt or error
        if interrupt is not None:
            raise interrupt

    def _announce_move(self, i: int, status: Status) -> None:
        kind = _EVENTS[status]
        if kind is None:
            return
        execution, trouble = self.execution, self.execution.trouble
        attempt, error, direction = execution.tries[i], None, ACTION
        if trouble is not None:
            error = trouble.undo_errors.get(i, trouble.errors.get(i))
            undone = status in (Status.COMPENSATING, Status.COMPENSATED)
            if undone or (status is Status.STUCK and i in trouble.undo_errors):
                attempt, direction = trouble.undo_tries[i], COMPENSATION
        if status is Status.COMPENSATING:
            if self._announced is None:
                self._announced = {}
            self._announced[i] = attempt  # first: an observer may raise an interrupt
            if self._struck is not None and i in self._struck.announced:
                self._struck.announced.remove(i)  # of this call they know
                return
        if status in (
            Status.RUNNING,
            Status.SUCCEEDED,
            Status.COMPENSATING,
            Status.COMPENSATED,
        ):
            error = None
        self._emit(kind, i, direction, attempt=attempt, error=error)

    def finish(self, *, alone: bool = False) -> Results:
        """Give the results, or raise what the caller is to know; in one frame, see `driving`.

        Args:
            alone: Nothing lands meanwhile.

        Raises:
            SagaException: The saga did not complete.
            BaseException: The interrupt that ended it.
        """
        if self.inbox is not None and not alone:
            return self._finish_alone(self.inbox)
        execution = self.execution
        outcome = execution.saga
        if self.left and not execution.at_rest:
            outcome = SagaStatus.STUCK
            complain("saga %s was left as it was, with calls to make", self.saga_id)
        if self._watched:
            self._emit("saga ended", outcome=outcome)
        if outcome is _COMPLETED and self.interrupt is None:
            return execution.returned()
        # Errors know the frames they have passed; frames that know the errors would close a
        # circle, which keeps the whole run until the garbage collector comes.
        raise self._problem(outcome)

    def _finish_alone(self, inbox: Inbox) -> Results:
        """Finish while nothing lands; what does goes on with the run afterwards."""
        try:
            with inbox.late:
                return self.finish(alone=True)
        finally:
            inbox.left.set()

    def _problem(self, outcome: SagaStatus) -> BaseException:
        """Give what is to be raised in the end, and forget what only that is to know."""
        execution, interrupt = self.execution, self.interrupt
        if interrupt is not None and outcome is _COMPLETED:
            return interrupt
        trouble = execution.trouble
        assert trouble is not None  # noqa: S101 - else it would have completed
        statuses, results = execution.status, execution.results
        stuck = execution.stuck_reasons() if outcome is _STUCK else _NOTHING_STUCK
        if execution.at_rest and not trouble.stragglers:
            execution.entries, execution.trouble = [], None
        else:  # something may still land
            statuses, results, trouble = statuses.copy(), results.copy(), trouble.copied()
        exception = failure(
            self._identify, self.definition, outcome, statuses, results, trouble, stuck
        )
        cause = exception.operation_error
        if cause is not interrupt and isinstance(cause, BaseException):
            exception.__cause__ = cause
        if interrupt is None:
            return exception
        put_behind(interrupt, exception)  # what became of the saga is told as well
        return interrupt


def unnoticed(began: float, seconds: float) -> float:
    """Give how many of the seconds that were slept since then the clock has not seen."""
    return max(0.0, seconds - (clock.monotonic() - began))


def put_behind(error: BaseException, exception: BaseException) -> None:
    """Let an exception be the last in the chain of contexts of an error."""
    seen = set[int]()
    while error.__context__ is not None and id(error) not in seen:
        seen.add(id(error))
        error = error.__context__
    error.__context__ = exception


def is_defect(error: BaseException) -> bool:
    """Tell whether an error is of this library's own making: its lines contradict one another."""
    if not issubclass(type(error), (IllegalMoveError, AssertionError)):  # it may be odd
        return False
    frames = traceback_of(error)
    while frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    module = "" if frames is None else str(frames.tb_frame.f_globals.get("__name__"))
    return module.partition(".")[0] == __name__.partition(".")[0]
