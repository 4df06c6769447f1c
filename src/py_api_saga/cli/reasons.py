"""`saga why`: why a saga stands where it does, and the exact commands that are possible now."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

from py_api_saga.cli.opening import path_of, to_read
from py_api_saga.cli.showing import headlines
from py_api_saga.cli.story import Story, read
from py_api_saga.cli.words import error_words, moment, table, write, write_json
from py_api_saga.compensation import Trouble
from py_api_saga.execution import ABORT, AGAIN, RESOLVED, Execution, IllegalMoveError
from py_api_saga.journal.changes import OPEN
from py_api_saga.journal.recorder import standing
from py_api_saga.placeholder import OWN
from py_api_saga.status import MISSING, SagaStatus, Status
from py_api_saga.wording import in_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from py_api_saga.journal.record import Recorded

_MOST = 20  # stuck operations for which commands are listed one by one
_ENDS = {
    SagaStatus.COMPLETED: "Every operation succeeded. There is nothing to do.",
    SagaStatus.COMPENSATED: "All that can be undone is undone. There is nothing to do, unless an "
    "effect that stands must go.",
}


class Remedy(NamedTuple):
    """A command, and what it leads to."""

    command: str
    does: str


def main(arguments: argparse.Namespace) -> int:
    """Say why; 1 if the saga can't be read."""
    with to_read(arguments) as journal:
        story = read(journal, arguments.saga_id)
    saga = "saga"
    if arguments.journal:
        saga += f" --journal {shlex.quote(path_of(arguments))}"
    explained = as_json(story, saga)
    if arguments.json:
        write_json(explained)
    else:
        _write(story, explained)
    return 0 if story.fault is None else 1


def as_json(story: Story, saga: str) -> dict[str, Any]:
    """Give the reasons and the remedies; `saga` is how each command begins."""
    operations = []
    if story.recorded is not None and story.execution is not None:
        teller = _Teller(story, story.recorded, story.execution)
        operations = [
            {"name": name, "status": status.value, "says": teller.tell(i)}
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
        "remedies": [remedy._asdict() for remedy in _remedies(story, saga)],
    }


def _write(story: Story, explained: dict[str, Any]) -> None:
    write(*headlines(story), "", *explained["says"])
    if explained["operations"]:
        write("")
        rows = [
            [f"  {operation['name']}", operation["status"].upper(), operation["says"]]
            for operation in explained["operations"]
        ]
        write(*table(rows))
    if explained["remedies"]:
        write("", "What can be done:")
        for remedy in explained["remedies"]:
            write(f"  {remedy['command']}", f"      {remedy['does']}")


# --- the saga as a whole ---------------------------------------------------------------------


def _in_short(story: Story) -> list[str]:
    """Say in a sentence or two what has become of it."""
    seen, execution = story.seen, story.execution
    if story.fault is not None:
        return ["What was written down cannot be read, so nobody can go on with it."]
    lines = []
    if execution is not None and execution.trouble is not None:
        lines += [f"It was told to stop: {error_words(e)}" for e in execution.trouble.reasons]
    if seen.status in _ENDS:
        return [*lines, _ENDS[seen.status]]
    if execution is None:
        return lines
    if seen.status is SagaStatus.STUCK:
        if story.parked is not None:
            lines.append("Recovery gave up on it and leaves it alone until a person says go on.")
        elif execution.rolling:
            lines.append("Its rollback has ended, and what is STUCK below could not be undone.")
        elif execution.passed:
            lines.append(
                "It has passed its pivot, so it can only go forward, and something failed."
            )
        else:
            lines.append("It can go neither forward nor back before a person decides.")
    else:
        way = "It is being undone." if _goes_back(execution) else "It goes forward."
        lines.append(way)
        lines.append(_who_drives(story))
    return lines


def _goes_back(execution: Execution) -> bool:
    return execution.rolling or execution.backward


def _who_drives(story: Story) -> str:
    seen = story.seen
    if story.driven:
        return "A living process is at it; there is nothing to do, unless that process hangs."
    words = "No process is at it"
    if seen.tries:
        return f"{words}; recovery may try it again from {moment(seen.due)} on."
    return f"{words}: the one that was has died or left it, or none has begun. Recovery goes on."


# --- its operations --------------------------------------------------------------------------


class _Teller:
    """Says of each operation how it stands."""

    def __init__(self, story: Story, recorded: Recorded, execution: Execution) -> None:
        self._driven = story.driven
        self._operations = recorded.definition.operations
        self._execution = execution
        self._trouble = execution.trouble or Trouble()

    def tell(self, i: int) -> str:  # noqa: PLR0911 - one for each status
        """Say how an operation stands, and why."""
        execution, trouble = self._execution, self._trouble
        error, undo_error = trouble.errors.get(i), trouble.undo_errors.get(i)
        raised = "" if error is None else f": {error_words(error)}"
        match execution.status[i]:
            case Status.PENDING:
                return "was never started" if _goes_back(execution) else "is still to be done"
            case Status.RUNNING:
                return self._running(i, raised)
            case Status.SUCCEEDED:
                return self._standing(i)
            case Status.FAILED:
                return f"failed, and has no effect{raised}"
            case Status.IN_DOUBT:
                return f"may have happened; nobody knows{raised}"
            case Status.COMPENSATING if undo_error is not None and i in trouble.waiting:
                return f"its undo is tried again after {error_words(undo_error)}"
            case Status.COMPENSATING:
                return f"its undo was called{self._unanswered()}"
            case Status.COMPENSATED:
                return "is undone"
            case Status.SKIPPED:
                return f"{'may stand' if raised else 'stands'}; nothing undoes it{raised}"
            case _:
                return self._stuck(i)

    def _running(self, i: int, raised: str) -> str:
        if i in self._trouble.waiting:
            return f"is tried again{raised}"
        return f"was called{self._unanswered()}"

    def _unanswered(self) -> str:
        if self._driven:
            return ", and has not answered yet"
        return ", and nobody knows what came of it: its process died or left"

    def _standing(self, i: int) -> str:
        if not _goes_back(self._execution):
            return "is done"
        owed = self._operations[i].compensation is not None
        return "stands, and is still to be undone" if owed else "stands; nothing undoes it"

    def _stuck(self, i: int) -> str:
        trouble, undo = self._trouble, self._operations[i].compensation
        if i in trouble.undo_errors:
            return f"its undo raised {error_words(trouble.undo_errors[i])}"
        rolling = self._execution.rolling
        if (
            rolling
            and undo is not None
            and OWN in undo[3]
            and self._execution.results[i] is MISSING
        ):
            return "its undo needs what the action returned, which nobody knows"
        if i in trouble.too_old:
            return "the service may have forgotten its idempotency key, so it is not called again"
        if self._operations[i].policy.park and i in trouble.doubted:
            return 'nobody knows whether it happened, and on_doubt="park" asks for a person'
        error, unknown = trouble.errors.get(i), "nobody knows whether it happened"
        return unknown if error is None else f"its action raised {error_words(error)}"


# --- what can be done ------------------------------------------------------------------------


def _remedies(story: Story, saga: str) -> Iterator[Remedy]:
    """Yield the commands that the saga, as it stands, would not refuse."""
    seen, recorded, execution = story.seen, story.recorded, story.execution
    if seen.status in _ENDS or recorded is None or execution is None:
        return
    saga_id = shlex.quote(in_line(seen.saga_id))
    modules = " ".join(f"--modules {shlex.quote(in_line(m))}" for m in _modules(recorded))
    if seen.status in OPEN:
        if story.driven:
            command = f"{saga} takeover {saga_id} --force {modules}"
            yield Remedy(command, "takes it from its process, and goes on: if that one hangs")
            return
        yield Remedy(f"{saga} recover {modules}", "goes on with it, and with all others like it")
        if not _goes_back(execution) and _after(recorded, execution, _abort()) is not None:
            yield Remedy(f"{saga} cancel {saga_id}", "has it undone instead")
        return
    yield from _for_stuck(recorded, execution, f"{saga} {{}} {saga_id}")
    yield Remedy(f"{saga} recover {modules}", "goes on, once you have decided")


def _modules(recorded: Recorded) -> list[str]:
    """List the modules that its functions are in."""
    found: dict[str, None] = {}
    for operation in recorded.tree["operations"]:
        calls = [operation["do"], operation.get("undo", [None]), [operation.get("ask")]]
        found |= {str(call[0]).partition(":")[0]: None for call in calls if call[0]}
    return list(found)


def _for_stuck(recorded: Recorded, execution: Execution, saga: str) -> Iterator[Remedy]:
    stuck = [i for i, status in enumerate(execution.status) if status is Status.STUCK]
    names = recorded.definition.names.all()
    again = [_again(i) for i in stuck]
    if _after(recorded, execution, *again) is not None:
        way = "undone" if _goes_back(execution) else "done"
        does = f"calls once more what is stuck, so that it is {way} after all"
        yield Remedy(saga.format("retry"), does if stuck else "lets recovery try it again")
    for i in stuck[:_MOST]:
        call = f"{saga.format('resolve')} {shlex.quote(in_line(names[i]))}"
        for status, option in _OPTIONS.items():
            leads = _after(recorded, execution, (RESOLVED, i, "", 0, 0, (status, None)))
            if leads is not None:
                does = f"{_MEANING[status, execution.rolling]}; {_LEADS[leads]}"
                yield Remedy(f"{call} {option} --note TEXT", does)
    if not _goes_back(execution) and _after(recorded, execution, _abort()) is not None:
        yield Remedy(saga.format("compensate"), "gives up, and has it undone")


_OPTIONS = {
    Status.SUCCEEDED: "--succeeded JSON",
    Status.FAILED: "--failed",
    Status.COMPENSATED: "--compensated",
    Status.SKIPPED: "--skipped",
}
_MEANING = {
    (Status.SUCCEEDED, False): "if the action took effect; JSON is what it returned",
    (Status.SUCCEEDED, True): "if the action took effect, so that its undo is called; JSON is what "
    "it returned",
    (Status.FAILED, False): "if the action took no effect",
    (Status.FAILED, True): "if the action took no effect, so that nothing is to be undone",
    (Status.COMPENSATED, True): "if you have undone it by hand",
    (Status.SKIPPED, True): "if its effect is to stand",
}
_LEADS = {
    SagaStatus.RUNNING: "it then goes forward",
    SagaStatus.COMPENSATING: "the rollback then goes on",
    SagaStatus.COMPLETED: "the saga is then completed",
    SagaStatus.COMPENSATED: "the saga is then compensated",
    SagaStatus.STUCK: "the saga stays stuck for what else is stuck",
}


def _abort() -> tuple[str, int, str, int, int, Any]:
    return (ABORT, -1, "", 0, 0, InterruptedError())


def _again(i: int) -> tuple[str, int, str, int, int, Any]:
    return (AGAIN, i, "", 0, 0, False)


def _after(
    recorded: Recorded, execution: Execution, *decisions: tuple[str, int, str, int, int, Any]
) -> SagaStatus | None:
    """Tell where a saga would stand after a decision, or None if the machine refuses it."""
    trial = Execution(recorded.definition, execution.entries)
    try:
        for decision in decisions:
            trial.tell(decision)
    except IllegalMoveError:
        return None
    return standing(trial)
