"""What survives the process in which a saga ran: entries that were written down, or a journal."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from py_api_saga import repair
from py_api_saga.durable import recovery
from py_api_saga.durable.beginning import begin
from py_api_saga.durable.run import DurableRun, recovering
from py_api_saga.durable.unready import unready
from py_api_saga.entries import again, recovered
from py_api_saga.execution import IllegalMoveError
from py_api_saga.executors import driving
from py_api_saga.executors.around import surround
from py_api_saga.executors.run import Run
from py_api_saga.executors.side_loop import OwnLoop
from py_api_saga.journal.memory import MemoryJournal
from py_api_saga.journal.protocol import Journal
from py_api_saga.testing.driven import Driven
from py_api_saga.testing.trying import Try


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
                return Driven(self._anew(other.run), limit, named, is_known=True)
        if isinstance(run, DurableRun):
            run = self._plain(run, named)
        if trial.on_crash is not None:
            run.definition.on_crash = trial.on_crash
        driven = Driven(run, limit, named)
        trial.sagas.append(driven)
        return driven

    @staticmethod
    def _plain(run: DurableRun, named: str | None) -> Run:
        """Give a run that writes nothing in the place of one that does."""
        plain = Run(run.definition, run.name, run.observers, named, None, run.drive_late)
        plain.deadline = run.deadline
        if run.around:
            surround(plain, run.around)
        return plain

    @staticmethod
    def _anew(run: Run, durable: int | None = None) -> Run:
        """Give a run as another process folds it from what was written down."""
        entries = run.execution.entries[:durable]
        anew = Run(
            run.definition,
            run.name,
            run.observers,
            run.label,
            None,
            run.drive_late,
            entries,
            run.run_id,
        )
        anew.deadline = run.deadline
        if run.around:
            surround(anew, run.around)
        return anew

    def recover(self, driven: Driven) -> None:
        """Fold what was written down, tell that another process takes over, and go on."""
        self._take_over(driven)
        self._trial.complete(driven)

    def _take_over(self, driven: Driven) -> None:
        driven.run = run = self._anew(driven.run, driven.durable)
        driving.change(run)
        run.execution.tell(recovered())

    def again(self, driven: Driven, stuck: Sequence[int]) -> bool:
        """Tell so, for the next recovery."""
        execution, is_any = driven.run.execution, False
        for i in stuck:
            with suppress(IllegalMoveError):
                if execution.may_be_called(i):
                    execution.tell(again(i))
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
        assert isinstance(run, DurableRun)  # noqa: S101 - else it was given another one
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
            self._take_over(driven)
            is_struck = len(self._trial.aims.interrupts) > before and driven.is_open

    def _take_over(self, driven: Driven) -> None:
        run = driven.run
        assert isinstance(run, DurableRun)  # noqa: S101 - as above
        loop = OwnLoop()
        token = recovering.set((loop, unready))
        self._trial.recovering = driven
        try:
            with loop:
                done = recovery.takeover(run.recorder.journal, run.saga_id, around=run.around)
        finally:
            recovering.reset(token)
            self._trial.recovering = None
        error = done.error  # which is not raised, whatever it is
        if error is not None and not isinstance(error, Exception):
            self._trial.check_ours(error)
        self._trial.check_alive()  # a takeover does not raise what it has met with

    def again(self, driven: Driven, stuck: Sequence[int]) -> bool:
        """Write down that a person has said so."""
        run, is_any = driven.run, False
        assert isinstance(run, DurableRun)  # noqa: S101 - as above
        for i in stuck:
            with suppress(repair.DecisionError):
                repair.again(
                    run.recorder.journal, run.saga_id, run.name_of(i), who="a person", why="mended"
                )
                is_any = True
        return is_any


def given_id(run: Run, trial: Try) -> str | None:
    """Give the id that a saga was given, or None if it has a random one."""
    if run.label is None or not isinstance(run, DurableRun):
        return run.label
    drawn = [f"{number:016x}" for number in range(1, trial.drawn + 1)]
    return None if run.label.endswith(tuple(drawn)) else run.label
