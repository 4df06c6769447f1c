"""What happened to a saga, line by line: what each entry of the journal says, in plain words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from py_api_saga.entries import (
    ABORT,
    AGAIN,
    ANSWERED,
    ASK,
    COMPENSATION,
    DENIED,
    FAILED,
    HAPPENED,
    IN_DOUBT,
    LATER,
    LOST,
    NOT_HAPPENED,
    RECOVERED,
    RESOLVED,
    RETRY,
    STARTED,
    SUCCEEDED,
    UNKNOWN,
    UNSTORED,
    Awaited,
    Entry,
    attempt_of,
    index_of,
    kind_of,
    value_of,
)
from py_api_saga.journal.format.facts import Process
from py_api_saga.journal.format.sagas import NOTE, awaited
from py_api_saga.journal.format.values import Values
from py_api_saga.status import MISSING
from py_api_saga.story.words import error_words, exact, moment, plural, shown, shown_words, span

if TYPE_CHECKING:
    from py_api_saga.story.saga import Line, Story


def timeline(story: Story, *, whole: bool) -> list[dict[str, Any]]:
    """List what happened, in order, as JSON has it; values as their types, unless whole.

    Each has `at`, `what`, `operation`, `kind`, `attempt`, `generation`, `began`, `took` and
    `waited` (seconds), `process` and `says`; all but the first two and the last are None where
    they are not known, or there is nothing to know. Empty if the details were purged.
    """
    if story.recorded is None:
        return []
    chronicler = Chronicler(story.recorded.definition.names.all(), story.opens, whole=whole)
    operations = plural(len(story.recorded.definition.operations), "operation")
    happened = [
        {
            "at": exact(story.seen.created),
            "what": "defined",
            **dict.fromkeys(_OF_A_CALL),
            "process": process_tree(story.process),
            "says": f"written down: {operations}",
        }
    ]
    for line in story.lines:
        kind, attempt, generation = None, None, None
        if line.entry is not None and kind_of(line.entry):
            _, kind, attempt, generation = attempt_of(line.entry)
        happened.append(
            {
                "at": exact(line.at),
                "what": line.kind,
                "operation": chronicler.operation(line),
                "kind": kind,
                "attempt": attempt,
                "generation": generation,
                "began": None if line.began is None else exact(line.began),
                "took": line.took,
                "waited": None if line.waited is None else round(line.waited, 3),
                "process": process_tree(line.process),
                "says": chronicler.tell(line),
            }
        )
    return happened


_OF_A_CALL = ("operation", "kind", "attempt", "generation", "began", "took", "waited")


_WAITED = 0.05  # seconds from the end of a call to its row of which it is worth to speak


def besides(took: float | None, waited: float | None, process: Process | None) -> str:
    """Say in brackets what is known of a line besides: who wrote it, how long its call took.

    Args:
        took: How many seconds that was; None if it speaks of no call that has ended.
        waited: How many more it had to wait to be written down.
        process: Which one it is; None if the line is not the first of one.
    """
    if process is not None:
        return f" (process {process.pid} on {process.host})"
    if took is None:
        return ""
    late = waited is not None and waited >= _WAITED
    return f" ({span(took)}{f', written down {span(waited or 0.0)} later' * late})"


def process_tree(process: Process | None) -> dict[str, Any] | None:
    """Give a process as JSON has it."""
    return None if process is None else process._asdict()


class Chronicler:
    """Puts what was written down about one saga into words."""

    def __init__(self, names: Sequence[str], opens: Values | None, *, whole: bool) -> None:
        """Call the operations by these names, and show values whole or as their types."""
        self._names = names
        self._opens = opens
        self._whole = whole

    def operation(self, line: Line) -> str | None:
        """Name the operation that a line speaks of, if it speaks of one."""
        i = -1 if line.entry is None else index_of(line.entry)
        return self._names[i] if i >= 0 else None

    def tell(self, line: Line) -> str:
        """Say what happened."""
        says = line.says
        if line.entry is None:
            if (name := awaited(line.kind, says)) is not None:
                return f"left by a process that lacks {name}, to one that has it"
            if line.kind == NOTE:
                why = f": {says['why']}" if says.get("why") else ""
                return f"{says.get('who')} decided: {says.get('did')}{why}"
            return f"recovery gave up: {says.get('reason')}"
        return _SAY[line.kind](self, line.entry)

    def _value(self, tree: Any) -> str:
        if tree is MISSING:
            return "nobody knows what"
        return shown_words(shown(tree, self._opens, whole=self._whole), whole=self._whole)

    def _started(self, entry: Entry) -> str:
        _, _, kind, attempt, generation, _ = entry
        what = {COMPENSATION: "its undo is called", ASK: "is asked whether it happened"}
        key = "" if generation == 1 else f", under key {generation}"
        if kind == ASK:
            return what[kind]
        return f"{what.get(kind, 'is called')}, attempt {attempt}{key}"

    def _succeeded(self, entry: Entry) -> str:
        if kind_of(entry) == COMPENSATION:
            return f"undone; the undo returned {self._value(value_of(entry))}"
        return f"succeeded, and returned {self._value(value_of(entry))}"

    def _unstored(self, entry: Entry) -> str:
        _, error = value_of(entry)
        return f"succeeded, but: {error_words(error)}"

    def _failed(self, entry: Entry) -> str:
        undo = "its undo " * (kind_of(entry) == COMPENSATION)
        return f"{undo}failed: {error_words(value_of(entry))}"

    def _later(self, entry: Entry) -> str:
        undo = "its undo " * (kind_of(entry) == COMPENSATION)
        awaited: Awaited = value_of(entry)
        if awaited.due is None:
            return f"{undo}was begun, and waits for an answer, however long that takes"
        until = f"{undo}was begun, and waits for an answer, until {moment(awaited.due)}"
        return until + ", when it succeeds by itself" * awaited.is_timer

    def _answered(self, entry: Entry) -> str:
        undo = "its undo " * (kind_of(entry) == COMPENSATION)
        return f"{undo}was answered: it happened, with {self._value(value_of(entry))}"

    def _denied(self, entry: Entry) -> str:
        undo = "its undo " * (kind_of(entry) == COMPENSATION)
        return f"{undo}was answered: it failed: {error_words(value_of(entry))}"

    def _retry(self, entry: Entry) -> str:
        undo = "its undo " * (kind_of(entry) == COMPENSATION)
        setback = value_of(entry)
        return f"{undo}failed: {error_words(setback.error)}; once more in {setback.wait:g} s"

    def _in_doubt(self, entry: Entry) -> str:
        doubt = value_of(entry)
        words = f"nobody knows what came of it: {error_words(doubt.error)}"
        if kind_of(entry) == COMPENSATION:
            words = f"nobody knows what came of its undo: {error_words(doubt.error)}"
        if doubt.alive:
            words += "; the attempt was abandoned and may still land"
        return words if doubt.wait is None else f"{words}; once more in {doubt.wait:g} s"

    def _recovered(self, entry: Entry) -> str:
        old = [self._names[i] for i in sorted(value_of(entry)) if 0 <= i < len(self._names)]
        return "recovery took over" + f"; too old to be called again: {', '.join(old)}" * bool(old)

    def _lost(self, entry: Entry) -> str:
        whose = {COMPENSATION: "of its undo", ASK: "that was asked about it"}
        words = f"the process {whose.get(kind_of(entry), 'of its call')} died"
        return f"{words}; too old to be called again" if value_of(entry) else words

    def _happened(self, entry: Entry) -> str:
        return f"it happened, with {self._value(value_of(entry))}"

    def _resolved(self, entry: Entry) -> str:
        status, result = value_of(entry)
        words = f"resolved as {status.name}"
        return words if result is MISSING else f"{words}, with {self._value(result)}"


_SAY: dict[str, Callable[[Chronicler, Entry], str]] = {
    STARTED: Chronicler._started,  # noqa: SLF001 - the table is of this module
    SUCCEEDED: Chronicler._succeeded,  # noqa: SLF001
    UNSTORED: Chronicler._unstored,  # noqa: SLF001
    FAILED: Chronicler._failed,  # noqa: SLF001
    LATER: Chronicler._later,  # noqa: SLF001
    ANSWERED: Chronicler._answered,  # noqa: SLF001
    DENIED: Chronicler._denied,  # noqa: SLF001
    RETRY: Chronicler._retry,  # noqa: SLF001
    IN_DOUBT: Chronicler._in_doubt,  # noqa: SLF001
    HAPPENED: Chronicler._happened,  # noqa: SLF001
    NOT_HAPPENED: lambda _, __: "it did not happen",
    UNKNOWN: lambda _, __: "nobody could say whether it happened",
    ABORT: lambda _, entry: f"told to stop: {error_words(value_of(entry))}",
    RECOVERED: Chronicler._recovered,  # noqa: SLF001
    LOST: Chronicler._lost,  # noqa: SLF001
    RESOLVED: Chronicler._resolved,  # noqa: SLF001
    AGAIN: lambda _, entry: "once more" + ", under a new key" * bool(value_of(entry)),
}
