"""A run that is on record: nothing is called before what was told is durable."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import ExitStack
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeAlias

from py_api_saga import clock
from py_api_saga.clock import NEVER
from py_api_saga.definition import Definition, Results
from py_api_saga.durable.mailbox import Mailbox
from py_api_saga.durable.reckoning import (
    calls_by_key,
    due_of,
    is_running,
    is_waited_for,
    overdue,
    unanswered,
)
from py_api_saga.durable.recorder import Recorder
from py_api_saga.entries import (
    ACTION,
    ANSWERED,
    COMPENSATION,
    DENIED,
    HAPPENED,
    LATER,
    STARTED,
    SUCCEEDED,
    Attempt,
    Entry,
    Setback,
    attempt_of,
    failed,
    index_of,
    is_unready,
    kind_of,
    not_made,
    value_of,
    what_of,
)
from py_api_saga.entries import later as told_later
from py_api_saga.events import EventKind
from py_api_saga.exceptions import JournalError, SagaError, SagaPending
from py_api_saga.execution import Execution
from py_api_saga.executors.around import surround
from py_api_saga.executors.run import Run, put_behind
from py_api_saga.journal.changes import (
    OPEN,
    Append,
    Change,
    Create,
    Letter,
    Mail,
    Mailing,
    SagaExistsError,
    latest,
)
from py_api_saga.journal.format.entries import span_text, unkept, write_entry
from py_api_saga.journal.format.functions import NotStorableError, UnknownNameError
from py_api_saga.journal.format.json_text import dumps
from py_api_saga.journal.format.letters import read_letter, write_letter
from py_api_saga.journal.format.values import Values
from py_api_saga.keys import key_of
from py_api_saga.log import complain
from py_api_saga.observer import Observer
from py_api_saga.operation import Later, awaiting
from py_api_saga.process import identity
from py_api_saga.status import SagaStatus, Status

# Set while a saga that is on record is gone on with, also for what its operations call: the loop
# of its coroutine functions, if there is one for several sagas; and what gives, of an error, what
# says in it that this process is not set up, or None.
Unready: TypeAlias = "Callable[[BaseException], BaseException | None]"
recovering: ContextVar[tuple[Any, Unready] | None] = ContextVar(
    "py_api_saga_recovering", default=None
)

_LONG = 86_400.0  # seconds; clocks that we wait on overflow, and looking once a day is nothing
_ENDS = frozenset(SagaStatus) - OPEN
_STUCK = SagaStatus.STUCK  # looking up a member of an Enum costs 60 ns, a global 5
_VALUED = frozenset({SUCCEEDED, HAPPENED, ANSWERED})  # with a value that the journal has to keep


class DurableRun(Run):
    """A run that is on record; observers hear of nothing before it is durable.

    Attributes:
        recorder: Its place in a journal.
        pending: What is to be written next, or was, and has not been looked at since; or None.
        lost: Why the journal can't be written any more, or is somebody else's to write.
        unready: What this process lacks for a call, or None: the saga is left to another one.
        times: When each of the entries that it goes on with was made durable, seconds since 1970.
        lets_go: It goes on with what another process has left: an `Exception` that strikes it
            between two lines of ours decides nothing, and leaves the saga to the next one.
        trace: What its definition says that it is part of: whatever another process has written.
        mailbox: Answers from elsewhere; None while nothing has waited for any, and none has come.
    """

    __slots__ = (
        "_begun", "_held", "_is_named", "_is_refused", "_is_resumed", "_listens", "_spans",
        "_standing", "_texts", "_unanswered", "_unmade", "_upto", "_written", "lets_go", "lost",
        "mailbox", "pending", "recorder", "times", "trace", "unready",
    )  # fmt: skip
    keeps_time = True

    def __init__(
        self,
        definition: Definition,
        name: str | None,
        observers: tuple[Observer, ...],
        seconds: float | None,
        drive_late: Callable[[Run], object],
        recorder: Recorder,
        entries: Iterable[Entry] = (),
        standing: SagaStatus = SagaStatus.RUNNING,
    ) -> None:
        """Begin a run, which may last for so many seconds, or go on with one that stands so."""
        super().__init__(
            definition, name, observers, recorder.saga_id, seconds, drive_late, entries
        )
        self.recorder = recorder
        self.pending: Change | None = None
        self._written = self._upto = len(self.execution.entries)
        self._standing: SagaStatus | None = standing  # on record; None: it is to be said again
        self.mailbox: Mailbox | None = None
        # By what an entry speaks of. None while a call runs: there may be many, and an empty dict
        # takes 64 bytes.
        self._texts: dict[tuple[Any, ...], str] | None = None
        # By attempt: when it began, seconds since 1970, and how many it took.
        self._spans: dict[Attempt, tuple[float, float]] = {}
        self._held: dict[Attempt, tuple[float, float]] | None = None  # those that begin anew
        # The definition names this process, or an entry has.
        self._is_named = recorder.claim is None
        self.lost: SagaError | None = None
        self.unready: BaseException | None = None
        self.times: Sequence[float] = ()
        self.trace: object = None
        self.lets_go = self.plain = False
        self._listens = False  # a call may be answered though it has raised
        self._begun = self._is_refused = False
        self._is_resumed = self._written > 0
        self._unmade: Sequence[Entry] = ()
        self._unanswered: tuple[Entry, ...] = ()
        self.execution.moves.clear()
        if hasattr(recorder.journal, "see_in_time"):  # a journal of leases: see `Leased`
            surround(self, ())

    @property
    def is_resumed(self) -> bool:
        """Whether it goes on with calls of another process."""
        return self._is_resumed

    @property
    def gate(self) -> Any:
        """What each call has to pass, if claims end by themselves in this journal."""
        journal: Any = self.recorder.journal
        if not hasattr(journal, "see_in_time"):
            return None
        from py_api_saga.durable.punctual import Punctual  # noqa: PLC0415 - few journals have leases

        return Punctual(journal)

    def _begin(self) -> None:
        """Say nothing yet: that is done once it is on record."""

    def _announce(self) -> None:
        """Tell nobody yet: what is not on record has not happened."""

    @property
    def _unique_id(self) -> str:
        """What keys begin with: a journal has one saga of an id."""
        return self.saga_id

    @property
    def scribe(self) -> Values:
        """What writes values as texts for the journal."""
        return self.recorder.values

    def _since(self, i: int) -> float:
        """Give when the first intent of an action was made durable, if that was before this run."""
        for entry, at in zip(self.execution.entries, self.times, strict=False):
            if what_of(entry) == STARTED and index_of(entry) == i and kind_of(entry) == ACTION:
                return at
        return super()._since(i)

    # --- time -----------------------------------------------------------------------------------

    def begins(self) -> tuple[float, float]:
        """Note that a call begins, by the clock of the journal, and by one that nobody sets."""
        return self.recorder.journal.lately(), clock.monotonic()

    def begins_anew(self, intent: Entry) -> None:
        """Note that a call which was held up begins, just now."""
        self._held = (self._held or {}) | {attempt_of(intent): self.begins()}

    def ended(self, intent: Entry, began: tuple[float, float]) -> None:
        """Note that a call has ended, just now."""
        attempt = attempt_of(intent)
        at, since = began if self._held is None else self._held.pop(attempt, began)
        self._spans[attempt] = at, clock.monotonic() - since

    def _span_of(self, entry: Entry) -> str:
        """Write down when the call began whose end an entry says, and its length, if known."""
        span, claim = self._spans.get(attempt_of(entry)), self.recorder.claim
        if span is None or claim is None or not claim.created:
            return ""
        return span_text(claim.created, *span)

    # --- what an executor tells -----------------------------------------------------------------

    def tell(self, entry: Entry) -> None:
        """Note what came of a call, as the journal can keep it."""
        if self.deadline is not None:
            self._check_deadline()
        execution = self.execution
        what, i, _, _, _, value = entry
        if what in _VALUED:
            execution.tell(accepted := self._accepted(entry))
            if self.witness is not None:
                self.witness.told(self, accepted)
            return
        if what == LATER:
            entry = self._awaiting(entry)
        elif is_unready(entry):
            if self.witness is not None:
                self.witness.told(self, entry)
            if execution.is_flying(entry):
                self._let_go(entry)
                return
            entry = failed(entry, value)  # of a straggler, whose answer nobody takes
        elif type(value) is Setback:
            if value.interrupted and self._is_unasked(entry):
                self._unanswered += (execution.flying[i],)
                return
            self._listens = True
        super().tell(entry)

    def _accepted(self, entry: Entry) -> Entry:
        """Write an entry down as it is now, or say that its value can't be kept."""
        what, i, kind, attempt, generation, _ = entry
        values = self.recorder.values
        try:
            text = write_entry(entry, values, self._span_of(entry))
        except NotStorableError as error:
            entry = unkept(entry, self.name_of(i), error)
            what = what_of(entry)
            text = write_entry(entry, values, self._span_of(entry))
        if self._texts is None:
            self._texts = {}
        self._texts[what, i, kind, attempt, generation] = text
        return entry

    def begun(self, intent: Entry, later: Later) -> Entry:
        """Say of a call that returned `later(…)` what it waits for, by the clock of the journal."""
        return told_later(intent, awaiting(later, self.recorder.journal.lately))

    def _awaiting(self, entry: Entry) -> Entry:
        """Write down what a call waits for; if that can't be kept, say what comes of the call."""
        what, i, kind, attempt, generation, _ = entry
        try:
            text = write_entry(entry, self.recorder.values, self._span_of(entry))
        except NotStorableError as error:
            return unkept(entry, self.name_of(i), error)
        self._texts = {**(self._texts or {}), (what, i, kind, attempt, generation): text}
        self.mailbox = self.mailbox or Mailbox()
        if self._watched:
            self.mailbox.news.append(("waiting", entry, len(self.execution.moves)))
        return entry

    def _is_unasked(self, entry: Entry) -> bool:
        """Tell whether a call in flight is to have no answer, since the saga was let go."""
        return self._has_let_go and self.execution.is_flying(entry)

    def lacks(self, error: BaseException) -> BaseException | None:
        """Give what says in an error that this process is not set up for a call; None if nothing.

        Whoever began the saga is set up for it, surely; so only who goes on with one asks.
        """
        home = recovering.get()
        return None if home is None else home[1](error)

    def _let_go(self, entry: Entry) -> None:
        """Call nothing more, since this process lacks something, and decide nothing.

        The call stays without an answer, as after a crash. What else runs is awaited, and counts.
        """
        _, i, kind, attempt, _, error = entry
        intent = self.execution.flying[i]
        if intent in self._unanswered:  # told again after an interrupt
            return
        self._unanswered += (intent,)
        self._be_unready(error)
        self._emit("let go", i, kind, attempt=attempt, error=error)

    def refuse(self, error: BaseException) -> None:
        """Call nothing at all, since this process lacks something for it, as this error says."""
        self._be_unready(error)
        self._begun = True  # and nothing is to be told of it
        self._emit("let go", error=error)

    def _be_unready(self, error: BaseException) -> None:
        self.left = True
        if self.unready is None:
            self.unready = error
            error.add_note(f"saga {self.saga_id!r} stays open in its journal, for another process")
        self.recorder.let_go()

    @property
    def awaits(self) -> bool:
        """Whether a call is in flight that will have an answer."""
        return len(self.execution.flying) > len(self._unanswered)

    # --- answers from elsewhere -------------------------------------------------------------------

    def look(self) -> None:
        """Note all that other threads have told, what is in the mail, and what is due."""
        box = self.mailbox
        if box is not None and box.is_suspended and not self._is_woken():
            return
        if self.deadline is not None or self.inbox is not None:
            super().look()
        if box is not None and not self.left:
            self._read_mail(box)

    def take_over_mail(self, mail: Sequence[Letter]) -> None:
        """Begin with what has come since the saga was driven last."""
        self.mailbox = Mailbox(mail, self.recorder.journal.now())
        trouble = self.execution.trouble
        self._stopped = trouble is not None and bool(trouble.reasons)  # not at each wakening
        if self._standing not in OPEN:
            self._standing = None  # to be driven no longer, its end has to be said again

    def _is_woken(self) -> bool:
        """Claim the saga again if a straggler has landed since nobody drives it."""
        entries = deque[Entry]() if self.inbox is None else self.inbox.entries
        if entries and not self.claim_again(entries[0]):
            entries.clear()
        return bool(entries)

    def close(self) -> bool:
        """End the run, unless another thread has told something meanwhile, or mail has come."""
        box = self.mailbox
        if box is None or self.left or box.is_suspended:
            return super().close()
        if box.letters or box.took or box.looks or self._overdue():
            return False
        return super().close()

    def _overdue(self) -> list[Entry]:
        """List what has waited long enough for an answer."""
        if not self.execution.awaited:
            return []
        return overdue(self.execution, self.recorder.journal.lately())

    def _read_mail(self, box: Mailbox) -> None:
        """Tell what the letters say, but for those whose call is in flight; then what is due."""
        if box.letters:
            calls = calls_by_key(self.execution.entries, self.key)
            for key, body in [*box.letters.items()]:
                call = calls.get(key)
                if call is None or not is_running(self.execution, call):
                    if call is not None and is_waited_for(self.execution, call):
                        self._hear(box, call, body)
                        if self.left:
                            return
                    box.take(key)
        if self.execution.awaited:
            self._look_for_due(box)

    def _hear(self, box: Mailbox, call: Attempt, body: str) -> None:
        """Tell what a letter says."""
        try:
            entry, note = read_letter(body, call, self.recorder.values)
        except (ValueError, LookupError, JournalError, UnknownNameError) as error:
            self._be_unready(error)  # another process may be able to read it
            return
        if note is not None and note not in box.notes:
            box.notes += (note,)
        if self._watched:
            box.news.append(("answered", entry, len(self.execution.moves)))
        self.tell(entry)

    def _look_for_due(self, box: Mailbox) -> None:
        """Tell which calls have waited long enough; but first the mail is to be read once more."""
        due = self._overdue()
        if not due:
            return
        if box.looked < max(map(due_of, due)):
            box.looks = True
            return
        for later in due:
            if self.execution.awaited.get(index_of(later)) is not later:
                continue  # what was told of another one has given it up
            self.tell(unanswered(later, self.name_of(index_of(later))))

    def patience(self) -> float | None:
        """Give the seconds until something is to be done if nothing happens; None for never."""
        seconds = super().patience()
        if self.mailbox is None or self.left:
            return seconds
        times = [] if seconds is None else [seconds]
        now = self.recorder.journal.lately()
        times += [
            max(0.0, min(due_of(later) - now, _LONG)) for later in self.execution.awaited.values()
        ]
        return min(times, default=None)

    @property
    def pending_until(self) -> float:
        """When something is to be done though nobody answers, seconds since 1970; or NEVER."""
        execution = self.execution
        dues = [due_of(later) for later in execution.awaited.values()]
        reasons = execution.trouble is not None and execution.trouble.reasons
        if self.deadline is not None and execution.saga is SagaStatus.RUNNING and not reasons:
            left = self.deadline - clock.monotonic()
            dues.append(self.recorder.journal.lately() + left)
        return min(dues, default=NEVER)

    def _mailing(self, box: Mailbox) -> Mailing:
        """Say what the next row does with the mail."""
        suspends = self.execution.suspended and not (self.left or box.looks)
        return Mailing(box.took, suspends=suspends, due=self.pending_until if suspends else NEVER)

    def _take_mail(self, mailing: Mailing) -> None:
        """Take what a row has found in the mail; harmless if done again."""
        found = mailing.mail or ()
        if self.mailbox is None:
            if not found:
                return
            self.mailbox = Mailbox()
        box = self.mailbox
        box.took = tuple([key for key in box.took if key not in mailing.took])
        box.notes = ()
        box.letters |= {letter.key: letter.body for letter in found if letter.key not in box.took}
        box.looks, box.looked = False, self.recorder.journal.lately()
        box.is_suspended = mailing.has_suspended
        if found and self._standing not in OPEN:
            self._standing = None  # it is said again, once nothing is in the mail

    def waiting_error(self) -> SagaPending:
        """Say for what the saga waits."""
        return pending_of(self.saga_id, self.definition, self.execution, self.pending_until)

    # --- the journal ----------------------------------------------------------------------------

    def prepare_write(self, intents: list[Entry]) -> bool:
        """Prepare what must be durable before calls start; tell whether to `write` it.

        Called again after each `write`, it settles what was written, and observers hear of it. If
        it can't be written `lost` says why: no further call starts, and what runs is awaited.
        """
        if self.lost is None:
            self._unmade = intents
            try:
                if self._prepare_pending():
                    return True
            except SagaError as error:
                self.lose(error)
            else:
                # Nobody is to hear of anything.
                has_news = self.mailbox is not None and self.mailbox.news
                if self._begun and not (self.execution.moves or has_news):
                    self._unmade = ()
                    return False
        self._note_written(intents)
        return False

    def _prepare_pending(self) -> bool:  # noqa: C901, PLR0912, PLR0915 - a call more is paid for
        """Settle what is `pending`, then put there what was told since; tell if there is something.

        Raises:
            SagaExistsError: The first time: there is a saga with this id.
            SagaInProgress: Another process has taken it over.
            JournalError: It could not be written.
        """
        recorder, execution, change = self.recorder, self.execution, self.pending
        box = self.mailbox
        if change is not None:
            if not change.settled:
                return True
            if change.error is not None:
                self.pending, self._is_refused = None, change.withdrawn
                change.check()
            recorder.claim, self._written = change.claim, self._upto
            if type(change) is Append and change.mailing is not None:
                self._take_mail(change.mailing)
                box = self.mailbox
            recorder.head = ""  # it is in the journal, and large
            self.pending = None  # last: an interrupt before repeats all this
        entries, status, claim = execution.entries, execution.saga, recorder.claim
        if status is _STUCK:
            status = execution.standing
        if len(entries) == self._written and claim is not None:
            if self._standing is None and box is not None and box.letters:
                return False  # the end is said again once they have been looked at
            suspends = execution.suspended and not self.left
            if status is self._standing and (box is None or not box.is_to_say(suspends=suspends)):
                return False
        self._upto = len(entries)
        lines: list[str] = []
        texts = self._texts or {}
        for entry in entries[self._written :]:
            what, i, kind, attempt, generation, _ = entry
            if not (self._is_named or lines):
                lines.append(write_entry(entry, recorder.values, dumps(identity())))
            elif what is STARTED:
                lines.append(f'["started",{i},"{kind}",{attempt},{generation}]')
            else:
                text = texts.get((what, i, kind, attempt, generation))
                lines.append(text or write_entry(entry, recorder.values, self._span_of(entry)))
                self._spans.pop(attempt_of(entry), None)
        self._texts = None
        if claim is None:  # if all is over already, the next change says so
            body = f"{','.join([recorder.head[:-1], *lines])}]"
            self.pending = Create(self.saga_id, recorder.name, body)
            self.pending.until = latest(recorder.deadline)
            recorder.head = body  # not before: an interrupt would have the lines added twice
            return True
        changed = None if status is self._standing else status
        self._is_named |= bool(lines)
        mailing = None
        if box is not None:
            lines += box.notes
            mailing = self._mailing(box)
        elif self._listens or (
            execution.trouble is not None and (execution.trouble.doubted or changed in _ENDS)
        ):
            mailing = Mailing()  # of a call that was lost, or has failed at this moment
        self.pending = append = Append(claim, f"[{','.join(lines)}]", changed)
        append.mailing = mailing
        append.rested = box is not None and changed in _ENDS  # any number of answers may come yet
        self._standing = status
        return True

    @property
    def unwritten(self) -> Change:
        """What must be made durable next."""
        change = self.pending
        assert change is not None  # noqa: S101 - `prepare_write` has said so
        return change

    def write(self) -> None:
        """Make durable what must be."""
        self.recorder.journal.write(self.unwritten)

    def awrite(self) -> Coroutine[Any, Any, None]:
        """Make durable what must be, without blocking the loop."""
        return self.recorder.journal.awrite(self.unwritten)

    def commit(self) -> None:
        """Make durable all that was told."""
        while self.prepare_write([]):
            self.write()

    def lose(self, error: SagaError) -> None:
        """Call nothing more: the journal can't be written any more, or not by this process."""
        self.lost, self.left = error, True
        if not self._is_refused:  # else it is not in there
            error.add_note(f"saga {self.saga_id!r} stays as it is in its journal")

    def _note_written(self, intents: list[Entry]) -> None:
        """Let observers hear of what is on record; if the journal is lost, make no calls."""
        self._unmade = ()
        if self.lost is not None:
            while intents:
                self.execution.tell(not_made(intents[0], self.lost))
                del intents[0]
            return
        if not self._begun:
            self._begun = True
            if self._watched:
                self._emit("saga resumed" if self._is_resumed else "saga started")
        if self.mailbox is not None and self.mailbox.news:
            self._tell_news(self.mailbox)
        elif self.execution.moves:
            super()._announce()

    def _tell_news(self, box: Mailbox) -> None:
        """Let observers hear what waits, and what was answered, among the moves; each once."""
        execution = self.execution
        moves, execution.moves = execution.moves, []
        news, box.news = box.news, []
        told, steps = 0, []
        for kind, entry, before in news:
            steps.append(partial(self._tell_moves, moves[told:before]))
            steps.append(partial(self._hears, kind, entry))
            told = before
        steps.append(partial(self._tell_moves, moves[told:]))
        with ExitStack() as all_of_them:  # also if an interrupt comes out of an observer
            for step in reversed(steps):
                all_of_them.callback(step)

    def _tell_moves(self, moves: list[tuple[int, Status]]) -> None:
        self.execution.moves = moves
        super()._announce()

    def _hears(self, kind: EventKind, entry: Entry) -> None:
        i, direction, attempt, _ = attempt_of(entry)
        error = value_of(entry) if what_of(entry) == DENIED else None
        self._emit(kind, i, direction, attempt=attempt, error=error)

    def leave(self) -> None:
        """Drive the saga no longer, however that came; once: what lands late may have it then."""
        if self.inbox is None:
            self._leave()
        elif not self.inbox.left.is_set():
            self._leave()
            self.inbox.left.set()

    def _leave(self) -> None:
        """Leave the claim.

        One that can't be written any more is kept while a straggler of it lives here: whoever
        recovered it would call again what still runs.
        """
        trouble = self.execution.trouble
        if self.lost is not None and trouble and trouble.stragglers:
            return
        claim = self.recorder.claim if self.pending is None else self.pending.claim
        if claim is not None and not claim.over:
            self.recorder.journal.leave(claim)

    def _go_on_late(self, entry: Entry) -> None:
        """Note what landed after the end, unless somebody else has gone on with the saga."""
        if self.claim_again(entry):
            try:
                super()._go_on_late(entry)
            finally:
                self._leave()

    def claim_again(self, entry: Entry) -> bool:
        """Claim the saga after its end, for what has landed; tell if nobody else has it."""
        if self.lost is not None:  # nothing can be written; the last straggler gives it back
            trouble = self.execution.trouble
            assert trouble is not None  # noqa: S101 - it knows of the straggler
            trouble.stragglers -= {attempt_of(entry)}
            self._leave()
            return False
        try:
            if (seen := self.recorder.claim_again()) is not None:
                self._standing = seen.status
                if self.mailbox is not None:
                    self.mailbox.is_suspended = False
                return True
        except SagaError as error:
            complain("saga %s: a late landing was not recorded", self.saga_id, error=error)
            return False
        name = self.name_of(index_of(entry))
        complain(
            "saga %s: operation %s finished after its timeout, when another process had taken the "
            "saga over",
            self.saga_id,
            name,
        )
        self._post(entry)
        return False

    def _post(self, entry: Entry) -> None:
        """Tell whoever has the saga now that an action took effect after all, by an answer."""
        what, i, kind, _, generation, value = entry
        claim = self.recorder.claim
        if what != SUCCEEDED or kind != ACTION or claim is None:
            return
        try:
            body = write_letter(value, None, self.recorder.values)
        except NotStorableError:
            return
        mail = Mail(self.saga_id, claim.number, Letter(self.key(i, kind, generation), body))
        mail.until = latest()
        self.recorder.journal.write(mail)
        if mail.error is not None:
            complain("saga %s: that could not be recorded", self.saga_id, error=mail.error)

    # --- stopping -------------------------------------------------------------------------------

    def stop(self, interrupt: BaseException, kind: str = "") -> None:
        """Take in an interrupt, as any run does; but what the journal has raised does not count."""
        if not kind and type(interrupt) is JournalError:
            self.lose(interrupt)
        else:
            super().stop(interrupt, kind)

    def _heed(self, interrupt: BaseException, kind: str) -> None:
        has_suspended = self.mailbox is not None and self.mailbox.is_suspended
        if self._has_let_go or self.unready is not None or has_suspended:
            return  # nothing is decided here any more
        if not kind and self.goes(interrupt):
            self.left = True
            return
        super()._heed(interrupt, kind)

    @property
    def _has_let_go(self) -> bool:
        """Whether the saga was let go because of what has struck: nothing is decided any more."""
        return self.lets_go and self.left and isinstance(self.interrupt, Exception)

    def goes(self, interrupt: BaseException) -> bool:
        """Tell whether the saga is let go because of what has struck, and decides nothing."""
        return self.lets_go and isinstance(interrupt, Exception)

    def _weighed(self, entry: Entry) -> Entry:
        """Put off a compensation that was struck: whoever takes the saga next makes it again."""
        if kind_of(entry) == COMPENSATION and self.execution.is_flying(entry):
            self._strikes().put_off.add(index_of(entry))
        return entry

    def _beyond(self, interrupt: BaseException) -> BaseException | None:
        """Give what the run can't go on after, as for any run, and for what it is let go.

        Raises:
            SagaExistsError: It is not an interrupt, but says that the journal has such a saga.
        """
        if self._has_let_go:
            return self.interrupt
        if type(interrupt) is SagaExistsError:
            raise interrupt
        beyond = super()._beyond(interrupt)
        return interrupt if beyond is None and self.goes(interrupt) else beyond

    def _given_up(self, error: BaseException) -> SagaError:
        """Say that the saga is left as its journal has it."""
        if self.lost is None:
            self.lose(JournalError(f"it was left: {type(error).__name__} was raised"))
        assert self.lost is not None  # noqa: S101 - it is now
        error.add_note(f"saga {self.saga_id!r} is open in its journal, for recovery")
        return self.lost

    def _fold_again(
        self, interrupt: BaseException, fate_of: Callable[[BaseException, Entry], Entry | None]
    ) -> None:
        def fate(interrupt: BaseException, intent: Entry) -> Entry | None:
            return None if intent in self._unanswered else fate_of(interrupt, intent)

        super()._fold_again(interrupt, fate)

    def fate_of(self, interrupt: BaseException, intent: Entry) -> Entry:
        """Say what came of a call, as any run does; without its intent on record, not made."""
        if intent in self._unmade:
            return not_made(intent, interrupt)
        return super().fate_of(interrupt, intent)

    def finish(self, *, alone: bool = False) -> Results:
        """Give the results, or raise what the caller is to know.

        Also if the saga has not ended, and is open in its journal.
        """
        if self.inbox is not None and not alone:
            with self.inbox.late:  # what lands waits until the saga is left
                return self.finish(alone=True)
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
                note = f"saga {self.saga_id!r} is open in its journal, for recovery"
                interrupt.add_note(note)
                if isinstance(interrupt, Exception):  # who catches it is to know that as well
                    put_behind(interrupt, JournalError(note))
                put_off = self._struck is not None and bool(self._struck.put_off)
                self.recorder.give_back(at_once=put_off)
                raise interrupt
        finally:
            del lost, interrupt
        if self.execution.suspended and not self.left:
            raise self.waiting_error()
        return super().finish(alone=True)


def pending_of(
    saga_id: str, definition: Definition, execution: Execution, until: float
) -> SagaPending:
    """Say for what a saga waits that nobody drives, until when."""
    names = definition.names.all()
    keys = [
        key_of(saga_id, names[i], kind_of(later), attempt_of(later)[3])
        for i, later in sorted(execution.awaited.items())
    ]
    return SagaPending(saga_id, keys, None if until >= NEVER else until)
