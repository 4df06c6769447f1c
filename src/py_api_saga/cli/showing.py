"""`saga show` and `saga graph`: a saga as it was written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from py_api_saga.cli.happenings import Teller
from py_api_saga.cli.listing import at_a_glance
from py_api_saga.cli.opening import to_read
from py_api_saga.cli.story import read
from py_api_saga.cli.words import (
    age,
    exact,
    is_sealed,
    moment,
    opened,
    plural,
    shown,
    shown_words,
    table,
    write,
    write_json,
)
from py_api_saga.compensation import Trouble
from py_api_saga.drawing import flowchart
from py_api_saga.exceptions import SagaError
from py_api_saga.journal.changes import OPEN
from py_api_saga.status import MISSING

if TYPE_CHECKING:
    import argparse

    from py_api_saga.cli.story import Story

_NO_CALL: list[Any] = [None]


def main(arguments: argparse.Namespace) -> int:
    """Show a saga; 1 if it can't be read."""
    with to_read(arguments) as journal:
        story = read(journal, arguments.saga_id)
    saga = as_json(story, whole=arguments.values)
    if arguments.json:
        write_json(saga)
    else:
        write(*headlines(story))
        _write_operations(saga, whole=arguments.values)
        _write_timeline(saga)
    return 0 if story.fault is None else 1


def graph(arguments: argparse.Namespace) -> int:
    """Draw a saga."""
    with to_read(arguments) as journal:
        story = read(journal, arguments.saga_id)
    if story.recorded is None or story.execution is None:
        why = story.fault or "its details were purged"
        message = f"saga {arguments.saga_id!r} cannot be drawn: {why}"
        raise SagaError(message)
    definition = story.recorded.definition
    notes = [status.name for status in story.execution.status]
    names = definition.names.all()
    picture = flowchart(list(zip(names, notes, strict=True)), definition.after)
    if arguments.json:
        write_json({"saga_id": story.seen.saga_id, "mermaid": picture})
    else:
        write(*picture.splitlines())
    return 0


# --- as JSON ---------------------------------------------------------------------------------


def as_json(story: Story, *, whole: bool) -> dict[str, Any]:
    """Give all that is known of a saga; values as their types, unless whole."""
    saga = at_a_glance(story.seen, driven=story.driven)
    saga |= {
        "parked": story.parked,
        "fault": story.fault,
        "operations": _operations(story, whole=whole),
        "timeline": _timeline(story, whole=whole),
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
                "error": None if error is None else {"type": _kind(error), "text": str(error)},
            }
        )
    return operations


def _kind(error: BaseException) -> str:
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


def _timeline(story: Story, *, whole: bool) -> list[dict[str, Any]]:
    if story.recorded is None:
        return []
    teller = Teller(story.recorded.definition.names.all(), story.opens, whole=whole)
    operations = plural(len(story.recorded.definition.operations), "operation")
    begun = {"at": exact(story.seen.created), "what": "defined", "operation": None}
    begun |= {"kind": None, "attempt": None, "generation": None}
    timeline: list[dict[str, Any]] = [begun | {"says": f"written down: {operations}"}]
    for line in story.lines:
        call = None if line.entry is None or not line.entry[2] else line.entry[2:5]
        kind, attempt, generation = (None, None, None) if call is None else call
        timeline.append(
            {
                "at": exact(line.at),
                "what": line.kind,
                "operation": teller.operation(line),
                "kind": kind,
                "attempt": attempt,
                "generation": generation,
                "says": teller.tell(line),
            }
        )
    return timeline


# --- in words --------------------------------------------------------------------------------


_DRIVEN = {
    True: "a process drives it",
    False: "no process drives it",
    None: "nobody can tell whether a process drives it",
}


def headlines(story: Story) -> list[str]:
    """Say which saga it is, and where it stands."""
    seen = story.seen
    name = "" if seen.name is None else f" ({seen.name})"
    since = f"since {moment(seen.changed)}, {age(seen.changed)} ago"
    lines = [f"{seen.saga_id}{name}: {seen.status.name} {since}"]
    if seen.status in OPEN:
        lines.append(_DRIVEN[story.driven])
        if seen.tries:
            lines.append(f"recovery has tried it {plural(seen.tries, 'time')}")
    if story.parked is not None:
        lines.append(f"recovery gave up: {story.parked}")
    if story.fault is not None:
        lines.append(f"it cannot be read: {story.fault}")
    elif story.recorded is None:
        lines.append("its details were purged")
    return lines


def _write_operations(saga: dict[str, Any], *, whole: bool) -> None:
    if not saga["operations"]:
        return
    write("", "operations")
    rows, errors = [], []
    for operation in saga["operations"]:
        result = ""
        if operation["result"] is not None:
            result = f" -> {shown_words(operation['result'], whole=whole)}"
        undo = operation["compensation"]
        words = call_words(operation["action"], whole=whole) + result
        words += " [pivot]" * operation["pivot"]
        rows.append(
            [
                f"  {operation['name']}",
                operation["status"].upper(),
                words,
                "" if undo is None else f"undo: {call_words(undo, whole=whole)}",
            ]
        )
        errors.append(operation["error"])
    for line, error in zip(table(rows), errors, strict=True):
        write(line)
        if error is not None:
            write(f"      {error['type']}: {error['text']}")


def call_words(call: dict[str, Any], *, whole: bool) -> str:
    """Write a call as Python has it, with types for values unless whole."""
    if call["arguments"] is None:
        return f"{call['function']}(sealed)"
    parts = [shown_words(value, whole=whole) for value in call["arguments"]]
    parts += [f"{key}={shown_words(v, whole=whole)}" for key, v in call["keywords"].items()]
    return f"{call['function']}({', '.join(parts)})"


def _write_timeline(saga: dict[str, Any]) -> None:
    if not saga["timeline"]:
        return
    write("", "timeline")
    rows = [
        [f"  {line['at']}", line["operation"] or "-", line["says"]] for line in saga["timeline"]
    ]
    write(*table(rows))
