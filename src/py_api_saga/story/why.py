"""How a saga and each of its operations stand, and what can be done, in plain words.

Of what is stuck the words are those of `stuck`, which exceptions have as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

from py_api_saga.entries import ACTION, index_of, kind_of
from py_api_saga.execution import Execution
from py_api_saga.journal.changes import LONGEST_WAIT
from py_api_saga.journal.format.sagas import Recorded
from py_api_saga.status import SagaStatus, Status
from py_api_saga.story.remedies import remedies
from py_api_saga.story.saga import Line, Story, ahead
from py_api_saga.story.waits import Wait, is_suspended, says_of_all, waits
from py_api_saga.story.words import error_words, moment
from py_api_saga.stuck import stuck_words
from py_api_saga.trouble import Trouble
from py_api_saga.wording import in_line

_ENDS = {
    SagaStatus.COMPLETED: "Every operation succeeded. There is nothing to do.",
    SagaStatus.COMPENSATED: "All that can be undone is undone. There is nothing to do, unless an "
    "effect that stands must go.",
}
_LATE = "It has ended, but a late answer has come since: recovery acts upon it."


def explained(story: Story, saga: str) -> dict[str, Any]:
    """Give the reasons and the remedies as JSON has them; `saga` is how each command begins."""
    operations = []
    if story.recorded is not None and story.execution is not None:
        reasons = _Reasons(story, story.recorded, story.execution)
        operations = [
            {"name": name, "status": status.value, "says": reasons.tell(i)}
            for i, (name, status) in enumerate(
                zip(story.recorded.definition.names.all(), story.execution.status, strict=True)
            )
        ]
    return {
        "saga_id": story.seen.saga_id,
        "name": story.seen.name,
        "status": story.seen.status.value,
        "driven": story.driven,
        "says": _in_short(story),
        "operations": operations,
        "remedies": [remedy._asdict() for remedy in remedies(story, saga)],
    }


# --- the saga as a whole ---------------------------------------------------------------------


def _in_short(story: Story) -> list[str]:
    """Say in a sentence or two what has become of it."""
    seen, execution = story.seen, story.execution
    if story.fault is not None:
        return ["What was written down cannot be read, so nobody can go on with it."]
    lines = []
    if execution is not None and execution.trouble is not None:
        lines += [f"It was told to stop: {error_words(e)}" for e in execution.trouble.reasons]
    match seen.status:
        case SagaStatus.COMPLETED | SagaStatus.COMPENSATED:
            lines.append(_LATE if story.mail else _ENDS[seen.status])
            lines += _still_running(story)
        case SagaStatus.STUCK if execution is not None:
            lines += [_at_rest(story, execution), *_still_running(story)]
        case SagaStatus.RUNNING | SagaStatus.COMPENSATING if execution is not None:
            who = _what_engine_waits_for(story) if story.engine else _who_drives(story)
            lines += [_way(execution, ahead(story) or execution), who]
        case SagaStatus.STUCK | SagaStatus.RUNNING | SagaStatus.COMPENSATING:
            pass  # its rows are gone, and with them the reason
        case forgotten:  # pragma: no cover - as the type checker sees
            assert_never(forgotten)
    return lines


def _at_rest(story: Story, execution: Execution) -> str:
    if story.parked is not None:
        return "Recovery gave up on it and leaves it alone until a person says go on."
    if execution.rolling:
        return "Its rollback has ended, and what is STUCK below could not be undone."
    if execution.passed:
        return "It has passed its pivot, so it can only go forward, and something failed."
    return "It can go neither forward nor back before a person decides."


def _way(execution: Execution, ahead: Execution) -> str:
    if execution.goes_back:
        return "It is being undone."
    if ahead.goes_back:
        return "It is to be undone, since its deadline has passed or it was left by its process."
    if ahead.backward:
        return (
            "Nobody knows yet whether its pivot happened. If it did not, the saga is undone; if it "
            "did, it goes forward."
        )
    if execution.passed:
        return "It goes forward. It has passed its pivot, so it cannot be undone any more."
    return "It goes forward."


def _still_running(story: Story) -> list[str]:
    """Say of each call that was given up, and that an engine still knows of, since when it runs."""
    if story.recorded is None or not story.engine:
        return []
    names = story.recorded.definition.names.all()
    return [
        f"{_call_of(names, line)} is still running since {moment(line.at)}, though it was given "
        "up: until it has ended, or its worker, nothing can be decided."
        for line in story.late
    ]


def _call_of(names: Sequence[str], line: Line) -> str:
    assert line.entry is not None  # noqa: S101 - of a call
    name = in_line(names[index_of(line.entry)])
    return name if kind_of(line.entry) == ACTION else f"the {kind_of(line.entry)} of {name}"


def _who_drives(story: Story) -> str:
    seen = story.seen
    if story.driven:
        return "A living process is at it; there is nothing to do, unless that process hangs."
    if story.driven is None:
        return "Nobody can tell whether a process is at it, so nobody may take it."
    if is_suspended(story):
        return says_of_all(story, waits(story))
    words = "No process is at it"
    if story.waits_for is not None:
        return f"{words}. It waits for {story.waits_for}, which the last one that looked lacked."
    if seen.tries and seen.due <= story.now + LONGEST_WAIT:
        return f"{words}; recovery may try it again from {moment(seen.due)} on."
    return f"{words}: the one that was has died or left it, or none has begun. Recovery goes on."


def _what_engine_waits_for(story: Story) -> str:
    if story.lacks:
        return f"It waits for {story.lacks}, which no worker has that has looked at it."
    if is_suspended(story):
        return says_of_all(story, waits(story))
    return "Its engine is at it; there is nothing to do, unless no worker runs."


# --- its operations --------------------------------------------------------------------------


_ONCE_MORE = "; retry was requested: the next recovery calls it"
_IF_PIVOT = ", if the pivot happened"
_UNLESS_PIVOT = ", and is undone if the pivot did not happen"


class _Reasons:
    """Says of each operation how it stands."""

    def __init__(self, story: Story, recorded: Recorded, execution: Execution) -> None:
        self._driven, self._now = story.driven, story.now
        self._lacks, self._items = story.lacks, recorded.tree["operations"]
        self._waits: dict[int, Wait] = {wait.operation: wait for wait in waits(story)}
        self._operations = recorded.definition.operations
        self._execution = execution
        self._ahead = ahead(story) or execution
        self._trouble = execution.trouble or Trouble()
        self._stuck = execution.stuck_reasons()
        self._decided = {index_of(intent) for intent in execution.ready()}  # of what is stuck

    def tell(self, i: int) -> str:  # noqa: C901, PLR0911 - one for each status
        """Say how an operation stands, and why."""
        if (wait := self._waits.get(i)) is not None:
            return wait.says(self._now)
        execution, trouble = self._execution, self._trouble
        error, undo_error = trouble.errors.get(i), trouble.undo_errors.get(i)
        raised = "" if error is None else f": {error_words(error)}"
        match execution.status[i]:
            case Status.PENDING:
                return self._pending()
            case Status.RUNNING:
                return self._lacking(i) or self._running(i, raised)
            case Status.SUCCEEDED:
                return self._standing(i)
            case Status.FAILED:
                return f"failed, and has no effect{raised}"
            case Status.IN_DOUBT:
                return f"may have happened; nobody knows{raised}"
            case Status.COMPENSATING if undo_error is not None and i in trouble.waiting:
                return f"its undo is tried again after {error_words(undo_error)}"
            case Status.COMPENSATING:
                return self._lacking(i) or f"its undo was called{self._unanswered()}"
            case Status.COMPENSATED:
                return "is undone"
            case Status.SKIPPED:
                return f"{'may stand' if raised else 'stands'}; nothing undoes it{raised}"
            case Status.STUCK:
                why = stuck_words(self._stuck[i], error, undo_error)
                return why + _ONCE_MORE * (i in self._decided)
            case forgotten:  # pragma: no cover - as the type checker sees
                assert_never(forgotten)

    def _pending(self) -> str:
        if self._ahead.goes_back:
            return "was never started"
        return "is still to be done" + _IF_PIVOT * self._ahead.backward

    def _lacking(self, i: int) -> str:
        """Say that no worker has what it names, if that is so."""
        item, lacks = self._items[i], self._lacks
        of = (item["do"][0], item.get("undo", [""])[0], item.get("ask"))
        return f"waits for a worker that has {lacks}" if lacks and lacks in of else ""

    def _running(self, i: int, raised: str) -> str:
        if i in self._trouble.waiting:
            return f"is tried again{raised}"
        return f"was called{self._unanswered()}"

    def _unanswered(self) -> str:
        if self._driven:
            return ", and has not answered yet"
        return ", and nobody knows what came of it: its process died or left"

    def _standing(self, i: int) -> str:
        owed = self._operations[i].compensation is not None
        if not self._ahead.goes_back:
            return "is done" + _UNLESS_PIVOT * (owed and self._ahead.backward)
        return "stands, and is still to be undone" if owed else "stands; nothing undoes it"
