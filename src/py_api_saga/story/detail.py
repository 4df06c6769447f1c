"""What a saga is made of, as JSON has it and as a heading and a picture say it; no reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from py_api_saga.clock import NEVER
from py_api_saga.drawing import flowchart
from py_api_saga.entries import COMPENSATION
from py_api_saga.exceptions import SagaError
from py_api_saga.journal.changes import OPEN, Summary
from py_api_saga.journal.holder import Holder
from py_api_saga.status import MISSING
from py_api_saga.story.timeline import timeline
from py_api_saga.story.waits import Wait, is_suspended, waits
from py_api_saga.story.words import (
    age,
    exact,
    is_sealed,
    moment,
    opened,
    plural,
    shown,
    shown_words,
)
from py_api_saga.trouble import Trouble

if TYPE_CHECKING:
    from py_api_saga.story.saga import Story

_NO_CALL: list[Any] = [None]


# --- as JSON ---------------------------------------------------------------------------------


def at_a_glance(seen: Summary, *, driven: bool | None) -> dict[str, Any]:
    """Give the summary of a saga as JSON has it."""
    return {
        "saga_id": seen.saga_id,
        "name": seen.name,
        "status": seen.status.value,
        "driven": driven,
        "tries": seen.tries,
        "created": exact(seen.created),
        "changed": exact(seen.changed),
        "due": exact(seen.due) if 0 < seen.due < NEVER and seen.status in OPEN else None,
        "waits": seen.suspended,
        "purged": seen.digest is not None,
    }


def holder_as_json(holder: Holder | None) -> dict[str, Any]:
    """Give who keeps others from writing as JSON has it."""
    return {"gate_holder": holder and holder.pid, "gate_held_since": holder and holder.came}


def in_full(story: Story, *, whole: bool) -> dict[str, Any]:
    """Give all that is known of a saga as JSON has it; values as their types, unless whole."""
    saga = at_a_glance(story.seen, driven=story.driven)
    saga |= {
        "parked": story.parked,
        "fault": story.fault,
        "awaited": [wait.as_json() for wait in waits(story)],
        "operations": _operations(story, whole=whole),
        "timeline": timeline(story, whole=whole),
    }
    return saga


def _operations(story: Story, *, whole: bool) -> list[dict[str, Any]]:
    recorded, execution = story.recorded, story.execution
    if recorded is None or execution is None:
        return []
    trouble = execution.trouble or Trouble()
    names = recorded.definition.names.all()
    operations = []
    for i, tree in enumerate(recorded.tree["operations"]):
        error, result = trouble.undo_errors.get(i, trouble.errors.get(i)), execution.results[i]
        policy = recorded.definition.operations[i].policy
        operations.append(
            {
                "name": names[i],
                "status": execution.status[i].value,
                "action": _call(story, tree["do"], whole=whole),
                "compensation": _call(story, tree.get("undo", _NO_CALL), whole=whole),
                "pivot": policy.pivot,
                "after": [names[j] for j in recorded.definition.after[i]],
                "attempts": execution.tries[i],
                "undo_attempts": trouble.undo_tries.get(i, 0),
                "result": None if result is MISSING else shown(result, story.opens, whole=whole),
                "error": None
                if error is None
                else {"type": kind_of_error(error), "text": str(error)},
            }
        )
    return operations


def kind_of_error(error: BaseException) -> str:
    """Name the type of an error that was read from a journal, or that the machine has made."""
    kind: str = getattr(error, "kind", type(error).__qualname__)
    return kind


def _call(story: Story, call: list[Any], *, whole: bool) -> dict[str, Any] | None:
    name, *parts = call
    if name is None:
        return None
    trees = [opened(tree, story.opens, whole=whole) for tree in parts[:2]]
    args, keywords, *_ = trees + [[], {}][len(parts) :]
    if not isinstance(args, list) or is_sealed(keywords) or not isinstance(keywords, dict):
        return {"function": str(name), "arguments": None, "keywords": None}
    return {
        "function": str(name),
        "arguments": [shown(tree, None, whole=whole) for tree in args],
        "keywords": {key: shown(tree, None, whole=whole) for key, tree in keywords.items()},
    }


def picture(story: Story) -> str:
    """Draw a saga as a Mermaid flowchart.

    Raises:
        SagaError: It can't be read, or its details were purged.
    """
    if story.recorded is None or story.execution is None:
        why = story.fault or "its details were purged"
        message = f"saga {story.seen.saga_id!r} cannot be drawn: {why}"
        raise SagaError(message)
    definition = story.recorded.definition
    notes = [
        f"{status.name} - waits" if i in story.execution.awaited else status.name
        for i, status in enumerate(story.execution.status)
    ]
    names = definition.names.all()
    return flowchart(list(zip(names, notes, strict=True)), definition.after)


# --- in words --------------------------------------------------------------------------------


DRIVEN = {
    True: "a process drives it",
    False: "no process drives it",
    None: "nobody can tell whether a process drives it",
}


def stands_open(story: Story) -> str:
    """Say of an open saga who drives it, or what it waits for in place of that."""
    if is_suspended(story):
        return f"it waits for {', '.join(map(_in_short, waits(story)))}"
    if story.lacks:
        return f"it waits for {story.lacks}, which no worker has"
    if story.engine:
        return "its engine drives it"
    return DRIVEN[story.driven]


def _in_short(wait: Wait) -> str:
    which = f"the undo of {wait.name}" if wait.kind == COMPENSATION else wait.name
    return which if wait.due is None else f"{which}, until {moment(wait.due)}"


def headlines(story: Story) -> list[str]:
    """Say which saga it is, and where it stands."""
    seen = story.seen
    name = "" if seen.name is None else f" ({seen.name})"
    since = f"since {moment(seen.changed)}, {age(seen.changed)} ago"
    lines = [f"{seen.saga_id}{name}: {seen.status.name} {since}"]
    if seen.status in OPEN:
        lines.append(stands_open(story))
        if seen.tries:
            lines.append(f"recovery has tried it {plural(seen.tries, 'time')}")
    if story.parked is not None:
        lines.append(f"recovery gave up: {story.parked}")
    if story.fault is not None:
        lines.append(f"it cannot be read: {story.fault}")
    elif story.recorded is None:
        lines.append("its details were purged")
    return lines


def call_words(call: dict[str, Any], *, whole: bool) -> str:
    """Write a call as Python has it, with types for values unless whole."""
    if call["arguments"] is None:
        return f"{call['function']}(sealed)"
    parts = [shown_words(value, whole=whole) for value in call["arguments"]]
    parts += [f"{key}={shown_words(v, whole=whole)}" for key, v in call["keywords"].items()]
    return f"{call['function']}({', '.join(parts)})"
