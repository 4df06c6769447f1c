"""What a saga waits for: calls that have only begun something, until when, and what comes then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from py_api_saga.clock import NEVER
from py_api_saga.entries import (
    ACTION,
    ANSWERED,
    COMPENSATION,
    DENIED,
    Awaited,
    Entry,
    Kind,
    attempt_of,
    kind_of,
    value_of,
)
from py_api_saga.exceptions import SagaError
from py_api_saga.execution import Execution
from py_api_saga.journal.changes import Summary
from py_api_saga.journal.format.sagas import Recorded
from py_api_saga.keys import key_of
from py_api_saga.repair import DecisionError
from py_api_saga.standing import due_of
from py_api_saga.story.saga import Story
from py_api_saga.story.words import exact, minute, moment, plural
from py_api_saga.wording import in_line

Then: TypeAlias = Literal["succeeds", "asked", "undone", "stuck"]

_THEN: Final[dict[Then, str]] = {
    "succeeds": "it succeeds by itself",
    "asked": "it is asked whether it happened",
    "undone": "the saga is undone",
    "stuck": "it is stuck",
}


class Wait(NamedTuple):
    """A call that has only begun something, and whose answer comes later.

    Attributes:
        operation: Its index.
        name: That of the operation.
        kind: Of the call: action or compensation.
        key: Its idempotency key, by which it is answered.
        due: When the answer is too late, seconds since 1970; None for never.
        then: What comes of it then.
        is_answered: The answer is there, and nobody has taken it in yet.
    """

    operation: int
    name: str
    kind: Kind
    key: str
    due: float | None
    then: Then
    is_answered: bool

    def says(self, now: float) -> str:
        """Say how it stands with it, for whoever reads it now."""
        begun = "its undo was begun" if self.kind == COMPENSATION else "was begun"
        if self.is_answered:
            return f"{begun}, and its answer has come, which nobody has taken in yet"
        if self.due is None:
            return f"{begun} and waits for an answer, however long that takes"
        then = _THEN[self.then]
        at = moment(self.due)
        if self.due <= now:
            came = "its time came" if self.then == "succeeds" else "no answer had come"
            return f"{begun}, and {came} by {at}: next {then}"
        if self.then == "succeeds":
            return f"{begun} and waits until {at}; then {then}, unless answered before"
        return f"{begun} and waits for an answer, until {at}; then {then}"

    def as_json(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {
            "operation": self.name,
            "kind": self.kind,
            "key": self.key,
            "due": None if self.due is None else exact(self.due),
            "then": self.then,
            "answered": self.is_answered,
        }


def waits(story: Story) -> Sequence[Wait]:
    """Give what a saga waits for, in operation order; nothing if it can't be read."""
    if story.recorded is None or story.execution is None:
        return []
    saga_id, mail = story.seen.saga_id, story.mail
    return [*_waits(story.recorded, story.execution, saga_id, mail)]


def _waits(
    recorded: Recorded, execution: Execution, saga_id: str, mail: Iterable[str]
) -> Iterator[Wait]:
    names = recorded.definition.names.all()
    for i, entry in sorted(execution.awaited.items()):
        _, kind, _, generation = attempt_of(entry)
        awaited: Awaited = value_of(entry)
        key = key_of(saga_id, names[i], kind, generation)
        then = _then(execution, i, kind, awaited)
        yield Wait(i, names[i], kind, key, awaited.due, then, key in mail)


def _then(execution: Execution, i: int, kind: Kind, awaited: Awaited) -> Then:
    """Tell what comes of a call whose answer is too late."""
    if awaited.is_timer:
        return "succeeds"
    if kind != ACTION:
        return "stuck"
    policy = execution.definition.operations[i].policy
    if policy.ask is not None:
        return "asked"
    forward = execution.passed or i == execution.definition.pivot
    return "stuck" if forward or policy.park or execution.lacks_result(i) else "undone"


def key_to_answer(story: Story, operation: str, *, is_undo: bool) -> str:
    """Give the idempotency key by which an operation's action, or its undo, is answered.

    Raises:
        LookupError: There is no such operation.
        DecisionError: An answer would not be taken in: it is not waited for, nor expected late.
        SagaError: The saga can't be read, or was purged.
    """
    saga_id, recorded, execution = story.seen.saga_id, story.recorded, story.execution
    if recorded is None or execution is None:
        why = "its details were purged" if story.fault is None else story.fault
        message = f"saga {saga_id!r} cannot be answered: {why}"
        raise SagaError(message)
    names = recorded.definition.names.all()
    if operation not in names:
        there = ", ".join(map(in_line, names))
        message = f"there is no operation {operation!r}; there are {there}"
        raise LookupError(message)
    i = names.index(operation)
    kind: Kind = COMPENSATION if is_undo else ACTION
    generation = execution.generation(i, kind)
    for entry in (execution.awaited.get(i), execution.flying.get(i)):
        if entry is not None and kind_of(entry) == kind:
            return key_of(saga_id, operation, kind, attempt_of(entry)[-1])
    key = key_of(saga_id, operation, kind, generation)
    if execution.expects(i, kind, generation) or key in story.mail:
        return key
    if any(_answers(entry, i, kind, generation) for entry in execution.entries):
        return key  # it may be the same answer
    what = "the undo of " * is_undo + in_line(operation)
    message = f"saga {saga_id!r}: {what} waits for no answer"
    if i in execution.awaited:
        other = "its action does: leave out --compensation" if is_undo else _UNDO_DOES
        raise DecisionError(f"{message}; {other}")
    stands = execution.status[i].value.replace("_", " ")
    message += f": the operation is {stands}; `saga why` says what can be done"
    raise DecisionError(message)


def _answers(entry: Entry, i: int, kind: Kind, generation: int) -> bool:
    what, of, is_kind, _, key, _ = entry
    return what in (ANSWERED, DENIED) and (of, is_kind, key) == (i, kind, generation)


_UNDO_DOES = "its undo does: give --compensation if it is that"


# --- the saga as a whole --------------------------------------------------------------------------


def is_suspended(story: Story) -> bool:
    """Tell whether a saga waits for answers, and for nothing else."""
    at_it = story.driven and not story.engine  # which keeps what waits, and drives nothing of it
    return story.execution is not None and story.execution.suspended and not at_it


def is_due(story: Story) -> bool:
    """Tell whether there is something to be done about a saga that waits."""
    assert story.recorded is not None  # noqa: S101 - nobody asks of what cannot be read
    assert story.execution is not None  # noqa: S101
    due = due_of(story.recorded, story.execution)
    return bool(story.mail) or (due is not None and due <= story.now)


def says_of_all(story: Story, those: Sequence[Wait]) -> str:
    """Say what a saga waits for that waits for nothing else, and who goes on with it when."""
    answers = "an answer" if len(those) == 1 else plural(len(those), "answer")
    who = "its engine" if story.engine else "the next recovery"
    if story.mail:
        return f"An answer has come that nobody has taken in yet: {who} does."
    assert story.recorded is not None  # noqa: S101 - it waits for something
    assert story.execution is not None  # noqa: S101
    due = due_of(story.recorded, story.execution)
    if due is None:
        return f"It waits for {answers}, however long that takes. Nobody has to drive it."
    if due <= story.now:
        return f"It waits for {answers}, and is due since {moment(due)}: {who} goes on."
    return f"It waits for {answers}, until {moment(due)}. Nobody has to drive it until then."


def at_a_glance(seen: Summary, now: float, *, is_answered: bool = False) -> str:
    """Say in a few words until when a saga waits, by its summary alone.

    Args:
        seen: One that is suspended.
        now: The time, by the clock of the journal.
        is_answered: Whether an answer is there that nobody has taken.
    """
    if is_answered:
        return "waits, answered"
    if seen.due >= NEVER:
        return "waits for an answer"
    if seen.due <= now:
        return f"waits, due since {minute(seen.due)}"
    return f"waits until {minute(seen.due)}"
