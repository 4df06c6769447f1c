"""What survives the process in which a saga ran: entries that were written down, or a journal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from py_api_saga import repair
from py_api_saga.durable import recovery
from py_api_saga.durable.answering import answer
from py_api_saga.durable.beginning import begin
from py_api_saga.durable.run import DurableRun, recovering
from py_api_saga.durable.unready import unready
from py_api_saga.entries import (
    ANSWERED,
    COMPENSATION,
    DENIED,
    Entry,
    again,
    attempt_of,
    recovered,
    value_of,
    what_of,
)
from py_api_saga.exceptions import SagaConflict
from py_api_saga.execution import Execution, IllegalMoveError
from py_api_saga.executors import driving
from py_api_saga.executors.around import surround
from py_api_saga.executors.run import Run
from py_api_saga.executors.side_loop import OwnLoop
from py_api_saga.journal.memory import MemoryJournal
from py_api_saga.journal.protocol import Journal
from py_api_saga.testing.answers import key_of
from py_api_saga.testing.driven import Driven
from py_api_saga.testing.trying import Try
from py_api_saga.testing.waiting import Patient


class InMemory:
    """Keeps the entries of runs, as far as they had been written down; no journal is written to."""

    def __init__(self, trial: Try) -> None:
        """Keep those of one schedule."""
        self._trial = trial

    def recorded(self, run: Run, limit: int | None) -> DurableRun | None:  # noqa: ARG002
        """Keep no record."""
        return None

    def begun(self, run: Run, limit: int | None) -> Driven:
        """Take a run in; one with an id that was there before is answered for."""
        trial = self._trial
        named = given_id(run, trial)
        for other in trial.sagas:
            if named is not None and other.named == named:
                if other.is_open:
                    self._take_over(other)
                    return other
                return Driven(self._anew(other), limit, named, is_known=True)
        run = Patient.like(run, named if isinstance(run, DurableRun) else run.label)
        if trial.on_crash is not None:
            run.definition.on_crash = trial.on_crash
        driven = Driven(run, limit, named)
        trial.sagas.append(driven)
        return driven

    @staticmethod
    def _anew(driven: Driven, durable: int | None = None) -> Patient:
        """Give a run as another process folds it from what was written down, and the mail."""
        run, entries = driven.run, driven.run.execution.entries[:durable]
        letters: list[Entry] = []
        if driven.letters:
            said = {key_of(entry) for entry in entries if what_of(entry) in (ANSWERED, DENIED)}
            letters = [letter for key, letter in driven.letters.items() if key not in said]
        return Patient.like(run, run.label, run.run_id, entries, letters)

    def recover(self, driven: Driven) -> None:
        """Fold what was written down, tell that another process takes over, and go on."""
        self._take_over(driven)
        self._trial.complete(driven)

    def _take_over(self, driven: Driven) -> None:
        driven.run = run = self._anew(driven, driven.durable)
        driving.change(run)
        execution = run.execution
        if not (execution.at_rest or execution.suspended):  # else nothing was lost
            execution.tell(recovered())

    def answer(self, driven: Driven, letter: Entry, *, go_on: bool) -> None:
        """Put an answer into the mail; the first one counts."""
        first = driven.letters.setdefault(key_of(letter), letter)
        if not _are_same(first, letter):
            raise SagaConflict
        run = driven.run
        assert isinstance(run, Patient)  # noqa: S101 - it was made here
        if go_on:
            self.recover(driven)
        elif first is letter:
            run.post(letter)

    def again(self, driven: Driven, stuck: Sequence[int]) -> bool:
        """Tell so, for the next recovery."""
        execution, is_any = driven.run.execution, False
        for i in stuck:
            with suppress(IllegalMoveError):
                if execution.may_be_called(i):
                    execution.tell(again(i, new_key=is_used_up(execution, i)))
                    is_any = True
        driven.durable = len(execution.entries)
        return is_any


class OnRecord:
    """Keeps sagas in a journal: in one of its own, in memory, unless they have another."""

    def __init__(self, trial: Try) -> None:
        """Begin with an empty journal."""
        self._trial = trial
        self._journal = MemoryJournal(modules=trial.wishes.modules or ())

    def recorded(self, run: Run, limit: int | None) -> DurableRun | None:
        """Give a run on record in the place of one that is not, or that a crash is to turn."""
        on_crash = self._trial.on_crash
        journal: Journal = self._journal
        if not isinstance(run, DurableRun):
            pass
        elif on_crash is None or run.execution.entries or run.definition.on_crash == on_crash:
            return None
        else:
            journal = run.recorder.journal
        definition, named = run.definition, given_id(run, self._trial)
        if on_crash is not None:
            definition.on_crash = on_crash
        left = None
        if run.deadline is not None:
            left = max(0.0, run.deadline - self._trial.wishes.clock.monotonic())
        recorder = begin(journal, definition, run.name, named, left, None, limit, in_loop=False)
        made = DurableRun(definition, run.name, run.observers, left, run.drive_late, recorder)
        if run.around:
            surround(made, run.around)
        return made

    def begun(self, run: Run, limit: int | None) -> Driven:
        """Take a run in, which may go on with one that was there before."""
        trial, named = self._trial, given_id(run, self._trial)
        for driven in trial.sagas:
            if driven.run.saga_id == run.saga_id:
                if not run.execution.entries:  # its id will be refused, and answered for
                    return Driven(run, limit, named)
                driven.run = run
                return driven
        driven = Driven(run, limit, named)
        trial.sagas.append(driven)
        return driven

    def recover(self, driven: Driven) -> None:
        """Take the saga over, as the next process does; and the one after it, if it is struck."""
        is_struck = True
        while is_struck:
            before = len(self._trial.aims.interrupts)
            run = self._run_of(driven)
            with self._going_on(driven):
                done = recovery.takeover(run.recorder.journal, run.saga_id, around=run.around)
            error = done.error  # which is not raised, whatever it is
            if error is not None and not isinstance(error, Exception):
                self._trial.check_ours(error)
            self._trial.check_alive()  # a takeover does not raise what it has met with
            is_struck = len(self._trial.aims.interrupts) > before and driven.is_open

    @staticmethod
    def _run_of(driven: Driven) -> DurableRun:
        run = driven.run
        assert isinstance(run, DurableRun)  # noqa: S101 - else it was given another one
        return run

    @contextmanager
    def _going_on(self, driven: Driven) -> Iterator[None]:
        """Let a process go on with a saga in a `with` block."""
        loop = OwnLoop()
        token = recovering.set((loop, unready))
        self._trial.recovering = driven
        try:
            with loop:
                yield
        finally:
            recovering.reset(token)
            self._trial.recovering = None

    def answer(self, driven: Driven, letter: Entry, *, go_on: bool) -> None:
        """Answer a call, and go on with its saga if nobody drives it."""
        run, trial = self._run_of(driven), self._trial
        i, kind, _, generation = attempt_of(letter)
        said = "result" if what_of(letter) == ANSWERED else "error"
        call = partial(
            answer, run.recorder.journal, run.key(i, kind, generation), around=run.around,
            **{said: value_of(letter)},
        )  # fmt: skip
        if not go_on:
            call(go_on=False)
            return
        try:
            with self._going_on(driven):
                call()
        except SagaConflict:
            raise
        except BaseException as error:  # which has ended the process that went on
            if isinstance(error, Exception):
                raise
            trial.check_ours(error)
        trial.check_alive()

    def again(self, driven: Driven, stuck: Sequence[int]) -> bool:
        """Write down that a person has said so."""
        run, is_any = self._run_of(driven), False
        for i in stuck:
            with suppress(repair.DecisionError):
                repair.again(
                    run.recorder.journal, run.saga_id, run.name_of(i), who="a person", why="mended",
                    new_key=is_used_up(run.execution, i),
                )  # fmt: skip
                is_any = True
        return is_any


def is_used_up(execution: Execution, i: int) -> bool:
    """Tell whether the key of an undo was refused for good, so that only another one helps."""
    key = (i, COMPENSATION, execution.generation(i, COMPENSATION))
    return any(what_of(entry) == DENIED and key_of(entry) == key for entry in execution.entries)


def _are_same(one: Entry, other: Entry) -> bool:
    """Tell whether two answers say the same."""
    if what_of(one) != what_of(other):
        return False
    if what_of(one) == ANSWERED:
        return bool(value_of(one) == value_of(other))
    first, second = value_of(one), value_of(other)
    return (type(first), str(first)) == (type(second), str(second))


def given_id(run: Run, trial: Try) -> str | None:
    """Give the id that a saga was given, or None if it has a random one."""
    if run.label is None or not isinstance(run, DurableRun):
        return run.label
    drawn = [f"{number:016x}" for number in range(1, trial.drawn + 1)]
    return None if run.label.endswith(tuple(drawn)) else run.label
