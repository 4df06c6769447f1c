"""A run in memory that waits, as one with a journal does: there is nobody to answer it else."""

from __future__ import annotations

from collections.abc import Iterable

from py_api_saga import clock
from py_api_saga.definition import Results
from py_api_saga.entries import (
    ACTION,
    ASK,
    STARTED,
    Awaited,
    Entry,
    Kind,
    attempt_of,
    in_doubt,
    index_of,
    kind_of,
    later,
    succeeded,
    value_of,
    what_of,
)
from py_api_saga.exceptions import SagaPending
from py_api_saga.execution import Execution
from py_api_saga.executors.around import surround
from py_api_saga.executors.run import Run
from py_api_saga.operation import Later


class Patient(Run):
    """A run whose calls may return `later(...)`: once one has, or one is answered, it is `Waiting`.

    So one that never waits takes as many steps as any run in memory.
    """

    _letters: list[Entry]
    _posted: list[Entry]
    _seen: int
    _looks: bool
    _looked: float
    __slots__ = ("_letters", "_looked", "_looks", "_posted", "_seen")

    @classmethod
    def like(
        cls,
        run: Run,
        saga_id: str | None,
        run_id: str | None = None,
        entries: Iterable[Entry] = (),
        letters: Iterable[Entry] = (),
    ) -> Patient:
        """Make one of another run, in its place or, in another process, to go on with it."""
        anew = cls(
            run.definition, run.name, run.observers, saga_id, None, run.drive_late, entries, run_id
        )
        anew.deadline, anew.witness = run.deadline, run.witness
        anew._letters, anew._posted, anew._seen, anew._looks = [*letters], [], 0, False
        anew._looked = 0.0
        if anew._letters or anew.execution.awaited:
            anew._looked = clock.time()
            anew.__class__ = Waiting
        if run.around:
            surround(anew, run.around)
        return anew

    def begun(self, intent: Entry, later_: Later) -> Entry:
        """Say of a call that returned `later(...)` what it waits for."""
        self.__class__ = Waiting
        if later_.until is not None:
            return later(intent, Awaited(later_.until, is_timer=True, result=later_.result))
        timeout = later_.timeout
        return later(intent, Awaited(None if timeout is None else clock.time() + timeout))

    def post(self, letter: Entry) -> None:
        """Put an answer into the mail while it runs."""
        self.__class__ = Waiting
        self._posted.append(letter)


class Waiting(Patient):
    """A run that waits, or has waited.

    What is posted to it is looked into when a row would have been written, and said once nothing
    of the same call is in flight: as `DurableRun` does it.
    """

    __slots__ = ()

    def prepare_write(self, intents: list[Entry]) -> bool:  # noqa: ARG002 - as in `Run`
        """Look into the mail if there is anything to be written."""
        execution = self.execution
        if self._posted or execution.awaited:
            size = len(execution.entries)
            if size != self._seen or self._looks:
                self._letters += self._posted
                self._posted.clear()
                self._seen, self._looks, self._looked = size, False, clock.time()
        return False  # in memory nothing is

    def look(self) -> None:
        """Note what the mail says, and what is due."""
        super().look()
        if self._letters:
            self._read()
        if self.execution.awaited:
            self._look_for_due()

    def close(self) -> bool:
        """End the run, unless there is mail, or something is due."""
        if self._letters or self._looks or (self.execution.awaited and self._overdue()):
            return False
        return super().close()

    def patience(self) -> float | None:
        """Give the seconds until something is to be done, or is due."""
        seconds = super().patience()
        times = [] if seconds is None else [seconds]
        times += [max(0.0, due - clock.time()) for due in self._dues()]
        return min(times, default=None)

    def finish(self, *, alone: bool = False) -> Results:
        """Say for what it waits, if it does."""
        execution = self.execution
        if not execution.suspended:
            return super().finish(alone=alone)
        calls = [attempt_of(entry) for _, entry in sorted(execution.awaited.items())]
        keys = [self.key(i, kind, generation) for i, kind, _, generation in calls]
        raise SagaPending(self.saga_id, keys, min(self._dues(), default=None))

    def _read(self) -> None:
        letters, self._letters = self._letters, []
        for letter in letters:
            what, i, kind, _, generation, value = letter
            execution = self.execution
            flight = execution.flying.get(i)
            of = "" if flight is None else ACTION if kind_of(flight) == ASK else kind_of(flight)
            if flight is not None and (of, attempt_of(flight)[3]) == (kind, generation):
                self._letters.append(letter)
            elif execution.awaits(i, kind, generation) or execution.expects(i, kind, generation):
                attempt = last_attempt(execution, i, kind, generation)
                self.tell((what, i, kind, attempt, generation, value))

    def _dues(self) -> list[float]:
        dues = [value_of(entry).due for entry in self.execution.awaited.values()]
        return [due for due in dues if due is not None]

    def _overdue(self) -> list[Entry]:
        now, awaited = clock.time(), self.execution.awaited.values()
        return [one for one in awaited if (value_of(one).due or now + 1) <= now]

    def _look_for_due(self) -> None:
        overdue = self._overdue()
        if not overdue:
            return
        if self._looked < max(value_of(one).due for one in overdue):
            self._looks = True  # what has come meanwhile is told first
            return
        for one in overdue:
            if self.execution.awaited.get(index_of(one)) is not one:
                continue
            if value_of(one).is_timer:
                self.tell(succeeded(one, value_of(one).result))
            else:
                name = self.name_of(index_of(one))
                error = TimeoutError(f"the {kind_of(one)} of operation {name!r} was not answered")
                self.tell(in_doubt(one, error))


def last_attempt(execution: Execution, i: int, kind: Kind, generation: int) -> int:
    """Give the number of the last attempt that was started under a key."""
    calls = [attempt_of(entry) for entry in execution.entries if what_of(entry) == STARTED]
    return max(n for j, of, n, key in calls if (j, of, key) == (i, kind, generation))
