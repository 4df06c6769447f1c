"""The exact commands that are possible for a saga as it stands, and what each leads to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from py_api_saga.entries import (
    ACTION,
    COMPENSATION,
    Entry,
    abort,
    again,
    recovered,
    resolved,
    value_of,
)
from py_api_saga.execution import Execution, IllegalMoveError
from py_api_saga.journal.changes import OPEN
from py_api_saga.journal.format.sagas import Recorded
from py_api_saga.journal.format.values import Values
from py_api_saga.repair import ENDED
from py_api_saga.status import SagaStatus, Status
from py_api_saga.story.saga import Story, ahead
from py_api_saga.story.waits import is_due, is_suspended, waits
from py_api_saga.story.words import in_shell, is_sealed, opened

DOCTOR = "doctor"
_MOST = 20  # stuck operations for which commands are listed one by one


class Remedy(NamedTuple):
    """A command, and what it leads to."""

    command: str
    does: str


class Way(NamedTuple):
    """What can be done about a saga, and what it leads to.

    Attributes:
        verb: The command's.
        does: What it leads to.
        options: As they are typed.
        operation: Which one it is about; empty for the saga as a whole.
        status: What is said of that one, with `resolve` and `answer`.
        is_undo: With `answer`: it is the undo that waits.
        ended: It takes to know that calls which were given up have ended.
    """

    verb: str
    does: str
    options: Sequence[str] = ()
    operation: str = ""
    status: Status | None = None
    is_undo: bool = False
    ended: bool = False


def remedies(story: Story, saga: str) -> Iterator[Remedy]:
    """Yield the commands that the saga, as it stands, would not refuse."""
    return (Remedy(typed(way, story.seen.saga_id, saga), way.does) for way in ways(story))


def typed(way: Way, saga_id: str, saga: str) -> str:
    """Write the command; names that could be taken for options stand behind `--`."""
    if way.verb == DOCTOR:  # it is about the journal as a whole
        return " ".join([saga, way.verb, *way.options])
    names = [saga_id, way.operation] if way.operation else [saga_id]
    words = [in_shell(name) for name in names]
    if any(name.startswith("-") for name in names):
        return " ".join([saga, way.verb, *way.options, "--", *words])
    return " ".join([saga, way.verb, *words, *way.options])


def ways(story: Story) -> Iterator[Way]:
    """Yield what a person can do that the saga, as it stands, would not refuse."""
    seen, recorded, execution = story.seen, story.recorded, story.execution
    if seen.status in ENDED or recorded is None or execution is None:
        return
    found, is_left = _modules(recorded, story.opens)
    modules = [f"--modules {in_shell(name)}" for name in found]
    unseen = "; give the codec, also to see which modules its sealed values name" * is_left
    if not is_due(story):
        yield from _answers(story)
    if story.engine:
        yield from _on_engine(story, recorded, execution, "; give the codec" * is_left)
        return
    if seen.status in OPEN:
        if story.driven is None:
            does = "lets it be taken, once every process that uses the journal has ended"
            yield Way(DOCTOR, does, ["--new-owners"])
            return
        if story.driven:
            does = f"takes it from its process, and goes on: if that one hangs{unseen}"
            yield Way("takeover", does, ["--force", *modules])
            return
        if not is_suspended(story) or is_due(story):
            does = f"goes on with this saga alone, at once{unseen}"
            yield Way("takeover", does, modules)
        if is_due(story):
            yield from _answers(story)
        if _may_turn(recorded, ahead(story) or execution):
            yield Way("cancel", f"has it undone instead{_unless_passed(execution)}")
        return
    yield from _for_stuck(recorded, execution, "; give the codec" * is_left)
    does = f"goes on with this saga alone, once you have decided{unseen}"
    yield Way("takeover", does, modules)


def _on_engine(story: Story, recorded: Recorded, execution: Execution, key: str) -> Iterator[Way]:
    """Yield what can be done about a saga that goes on by itself."""
    if story.seen.status not in OPEN:
        if not story.driven:  # else a call that was given up still runs
            yield from _for_stuck(recorded, execution, key)
        return
    if is_due(story):
        yield from _answers(story)
    if _may_turn(recorded, execution):
        yield Way("cancel", f"has it undone instead{_unless_passed(execution)}")


def _answers(story: Story) -> Iterator[Way]:
    """Yield how each call is answered that waits for it; none that is answered already."""
    for wait in waits(story)[:_MOST]:
        if wait.is_answered:
            continue
        is_undo = wait.kind == COMPENSATION
        undo = ["--compensation"] * is_undo
        for status, option in _SAYS.items():
            does = _ANSWERS[wait.kind, status]
            if wait.kind == ACTION and status is Status.FAILED:
                passed = story.execution is not None and story.execution.passed
                does += "it is stuck then" if passed else "what was done is undone"
            yield Way("answer", does, [*undo, option, "--note TEXT"], wait.name, status, is_undo)


_SAYS = {Status.SUCCEEDED: "--result JSON", Status.FAILED: "--error TEXT"}
_ANSWERS = {
    (ACTION, Status.SUCCEEDED): "if it took effect; JSON is what it returns",
    (ACTION, Status.FAILED): "if it took no effect, and TEXT is why; ",
    (COMPENSATION, Status.SUCCEEDED): "if it is undone; JSON is what the undo returns",
    (COMPENSATION, Status.FAILED): "if it cannot be undone, and TEXT is why; it is stuck then",
}


def _modules(recorded: Recorded, opens: Values | None) -> tuple[list[str], bool]:
    """List the modules of all that a saga names, and tell whether values were left sealed."""
    names: list[Any] = []
    for operation in recorded.tree["operations"]:
        roles = (operation.get(role) or {} for role in ("retry", "compensation_retry"))
        names += [operation["do"][0], operation.get("undo", [""])[0], operation.get("ask")]
        names += [role.get("on") for role in roles]
    todo: list[Any] = [recorded.tree["operations"], *map(value_of, recorded.entries)]
    is_left = False
    while todo:
        tree = opened(todo.pop(), opens, whole=False)
        if isinstance(tree, dict):
            is_left |= is_sealed(tree)
            for inside in map(tree.get, ("$dataclass", "$enum", "$class", "$function")):
                names += inside[:1] if isinstance(inside, list) else [inside]
            todo += tree.values()
        elif isinstance(tree, (list, tuple)):
            todo += tree
    found = dict.fromkeys(
        name.partition(":")[0] for name in names if isinstance(name, str) and name
    )
    return list(found), is_left


def _for_stuck(recorded: Recorded, execution: Execution, key: str) -> Iterator[Way]:
    stuck = [i for i, status in enumerate(execution.status) if status is Status.STUCK]
    names = recorded.definition.names.all()
    able = [again(i) for i in stuck if execution.may_be_called(i)]
    leads, ended = _possible(recorded, execution, *able)
    if (able or not stuck) and leads is not None:
        way = "undone" if execution.goes_back else "done"
        which = "what is stuck" + " and can be called" * (len(able) < len(stuck))
        does = f"calls once more {which}, so that it is {way} after all"
        does = does if stuck else "lets recovery try it again"
        yield Way("retry", _SURELY * len(ended) + does, ended, ended=bool(ended))
    for i in stuck[:_MOST]:
        for status, option in _OPTIONS.items():
            leads, ended = _possible(recorded, execution, resolved(i, status, None))
            is_untrue = status is Status.FAILED and execution.succeeded_late(i)
            if leads is not None and not is_untrue:
                does = f"{_MEANING[status, execution.rolling]}; {_LEADS[leads]}"
                does += key * (status is Status.SUCCEEDED)
                does = _SURELY * len(ended) + does
                options = [option, *ended, "--note TEXT"]
                yield Way("resolve", does, options, names[i], status, ended=bool(ended))
    if _may_turn(recorded, execution):
        does = f"gives up, and has it undone{_unless_passed(execution)}"
        yield Way("compensate", does)


def _may_turn(recorded: Recorded, execution: Execution) -> bool:
    """Tell whether a saga goes forward, and a person may have it undone."""
    if execution.backward or execution.passed:
        return False
    return _after(recorded, execution, abort(InterruptedError())) is not None


def _unless_passed(execution: Execution) -> str:
    return ", if it turns out that its pivot did not happen" * execution.pivot_in_doubt


_SURELY = "only if the calls that were given up have ended for sure, as with their process: "
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


def _possible(
    recorded: Recorded, execution: Execution, *decisions: Entry
) -> tuple[SagaStatus | None, list[str]]:
    """Tell where a saga would stand after a decision, and whether that takes `--ended`."""
    leads = _after(recorded, execution, *decisions)
    if leads is None and execution.trouble is not None and execution.trouble.stragglers:
        return _after(recorded, execution, recovered(), *decisions), ["--ended"]
    return leads, []


def _after(recorded: Recorded, execution: Execution, *decisions: Entry) -> SagaStatus | None:
    """Tell where a saga would stand after a decision, or None if the machine refuses it."""
    trial = Execution(recorded.definition, execution.entries)
    try:
        for decision in decisions:
            trial.tell(decision)
    except IllegalMoveError:
        return None
    return trial.standing
