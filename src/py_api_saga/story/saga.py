"""A saga as its rows tell it, and where that leads: nothing that it names is imported."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeGuard

from py_api_saga.entries import STARTED, Entry, abort, attempt_of, recovered, what_of
from py_api_saga.exceptions import JournalError, SagaError
from py_api_saga.execution import Execution
from py_api_saga.journal.changes import OPEN, Letter, Row, Summary
from py_api_saga.journal.format.facts import Process, process_in, process_of, span_of
from py_api_saga.journal.format.sagas import (
    NOTE,
    PARKED,
    Recorded,
    awaited,
    folding,
    read_lines,
    read_rows,
)
from py_api_saga.journal.format.values import Trees
from py_api_saga.journal.protocol import Vocabulary
from py_api_saga.standing import parked


class Source(Vocabulary, Protocol):
    """What sagas are read from: a journal, or what reads one without driving anything in it.

    Attributes:
        place: Where it is, for messages.
    """

    @property
    def place(self) -> str: ...  # noqa: D102 - described above

    def now(self) -> float:
        """Tell the time by the journal's clock, seconds since 1970."""

    def find(self, saga_id: str) -> Summary | None:
        """Give the summary of a saga, or None if there is none."""

    def rows(self, numbers: Collection[int]) -> Mapping[int, Sequence[Row]]:
        """Give the rows of sagas by number, each in order."""

    def mail(self, numbers: Collection[int]) -> Mapping[int, Sequence[Letter]]:
        """Give the answers to sagas, by number, that nobody has taken; oldest first."""

    def drives(self, seen: Summary) -> bool | None:
        """Tell whether a living process drives a saga; None if that is unknown."""


class Runner(Source, Protocol):
    """A source that drives its sagas itself: an engine.

    Attributes:
        kind: Its name, as it is typed.
    """

    @property
    def kind(self) -> str: ...  # noqa: D102 - described above

    def lacking(self, seen: Summary) -> str:
        """Tell what no worker has that a saga waits for, such as "shop:charge"; "" for nothing."""


class Line(NamedTuple):
    """One thing that was written down: an entry of the machine, or what is none.

    Attributes:
        at: When its row was, seconds since 1970.
        kind: The entry's, NOTE or PARKED.
        entry: None if it is none.
        says: What a note says.
        began: Of the end of a call: when it began, seconds since 1970 by the journal's clock; None
            if nobody has written that down.
        took: How many seconds it took; None in the same case.
        process: Of the first entry of a process that goes on with what another has left: which it
            is; None if that is not on record.
    """

    at: float
    kind: str
    entry: Entry | None
    says: dict[str, Any]
    began: float | None = None
    took: float | None = None
    process: Process | None = None

    @property
    def waited(self) -> float | None:
        """How many seconds the end of the call had to wait for its row, if that is known."""
        if self.began is None or self.took is None:
            return None
        return max(0.0, self.at - self.began - self.took)


class Story(NamedTuple):
    """A saga as it was written down.

    Attributes:
        seen: Its summary.
        driven: Whether a living process drives it; None if nobody can tell.
        values: What reads its values; they stay trees.
        opens: The same, if there is a codec: what opens values that are sealed.
        now: When it was read, by the journal's clock.
        mail: The idempotency keys of calls whose answers are there, and that nobody has taken.
        engine: The name of the engine that drives it; "" if it is in a journal.
        lacks: What no worker of that has which it waits for; "" if nothing.
        recorded: What its rows say; None if they were purged or can't be read.
        execution: Where that leads; None in the same case.
        lines: What was written, in order; empty in the same case.
        fault: Why it can't be read, or None.
    """

    seen: Summary
    driven: bool | None
    values: Trees
    opens: Trees | None
    now: float
    mail: Collection[str] = ()
    engine: str = ""
    lacks: str = ""
    recorded: Recorded | None = None
    execution: Execution | None = None
    lines: tuple[Line, ...] = ()
    fault: str | None = None

    @property
    def process(self) -> Process | None:
        """The process that has written the saga down, and begun it if it was not only started."""
        return None if self.recorded is None else process_in(self.recorded.tree)

    @property
    def waits_for(self) -> str | None:
        """What it names that the last process lacked which has looked at it, and left it."""
        if self.seen.status not in OPEN or not self.lines:
            return None
        return awaited(self.lines[-1].kind, self.lines[-1].says)

    @property
    def late(self) -> Sequence[Line]:
        """Of each call that was given up and may still land: that it was begun."""
        trouble = None if self.execution is None else self.execution.trouble
        if trouble is None or not trouble.stragglers:
            return ()
        return [
            line
            for line in self.lines
            if line.entry is not None
            and what_of(line.entry) == STARTED
            and attempt_of(line.entry) in trouble.stragglers
        ]

    @property
    def parked(self) -> str | None:
        """Why recovery has given up on it, unless somebody has decided since."""
        return None if self.recorded is None else parked(self.recorded)


def find(journal: Source, saga_id: str) -> Summary:
    """Give the summary of a saga.

    Raises:
        SagaError: There is none.
    """
    seen = journal.find(saga_id)
    if seen is None:
        where = "on" if _runs(journal) else "in the journal"
        message = f"there is no saga {saga_id!r} {where} {journal.place}"
        raise SagaError(message)
    return seen


def read(journal: Source, saga_id: str) -> Story:
    """Read a saga; what can't be read is in `fault`.

    Raises:
        SagaError: There is none.
    """
    seen = find(journal, saga_id)
    number, values = seen.number, Trees(journal)
    letters = journal.mail([number])[number]  # first: what is in it may be taken any moment
    return told(journal, seen, journal.rows([number])[number], values, letters)


def told(
    journal: Source,
    seen: Summary,
    rows: Sequence[Row] | None,
    values: Trees,
    letters: Sequence[Letter],
) -> Story:
    """Tell what the rows of a saga say, or in `fault` why they say nothing.

    Args:
        journal: Where it is.
        seen: Its summary.
        rows: All that it has; None if they could not be read.
        values: What reads the values of this journal.
        letters: The answers for it that nobody has taken.
    """
    opens = None if journal.codec is None else values
    mail = [letter.key for letter in letters]
    story = Story(seen, journal.drives(seen), values, opens, journal.now(), mail)
    if _runs(journal):
        story = story._replace(engine=journal.kind, lacks=journal.lacking(seen))
    if rows is None:
        return story._replace(fault="its rows cannot be read")
    if not rows and seen.digest is not None:
        return story
    try:
        recorded, execution, lines = fold(rows, values)
    except JournalError as error:
        return story._replace(fault=str(error))
    return story._replace(recorded=recorded, execution=execution, lines=lines)


def _runs(journal: Source) -> TypeGuard[Runner]:
    return hasattr(journal, "lacking")


def fold(rows: Sequence[Row], values: Trees) -> tuple[Recorded, Execution, tuple[Line, ...]]:
    """Read the rows of a saga: what they say, where that leads, and line by line.

    Raises:
        JournalError: They can't be read, or contradict each other.
    """
    recorded = read_rows(rows, values)
    with folding():
        execution = Execution(recorded.definition, recorded.entries)
    entries = iter(recorded.entries)
    lines = []
    _, written = read_lines(rows)
    for at, line in written:
        kind = line[0]
        if kind in (NOTE, PARKED):
            lines.append(Line(at, kind, None, line[1]))
        else:
            began = took = None
            if (span := span_of(line)) is not None:
                began, took = rows[0].at + span.begin, span.length
            lines.append(Line(at, kind, next(entries), {}, began, took, process_of(line)))
    return recorded, execution, tuple(lines)


def ahead(story: Story) -> Execution | None:
    """Give where an open saga stands for whoever goes on with it, if its process does not."""
    recorded, execution = story.recorded, story.execution
    if recorded is None or execution is None or story.driven or story.seen.status not in OPEN:
        return execution
    found = Execution(recorded.definition, execution.entries)
    if execution.entries and not execution.suspended:  # of which nothing was lost
        found.tell(recovered())
    if recorded.plan.until is not None and recorded.plan.until < story.now:
        found.tell(abort(TimeoutError()))
    return found
