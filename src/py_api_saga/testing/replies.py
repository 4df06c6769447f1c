"""Answers to what was only begun: what they are and when they come, as the schedule has it.

Each call that has returned `later(...)` comes to a point, "answer of charge", at which is decided
what becomes of its answer. By default it is given as soon as the saga waits for nothing else. What
was not given until all is over is given then.
"""

from __future__ import annotations

from asyncio import iscoroutine
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from py_api_saga.current import current
from py_api_saga.entries import Entry, answered, denied, value_of
from py_api_saga.exceptions import SagaConflict
from py_api_saga.executors.attempt import running
from py_api_saga.status import SagaStatus
from py_api_saga.story.words import span
from py_api_saga.testing.answers import Act, Moment, Reply, key_of
from py_api_saga.testing.awaiting import at_once, awaited
from py_api_saga.testing.faults import FIRST
from py_api_saga.testing.places import within
from py_api_saga.testing.virtual import in_loop
from py_api_saga.testing.wishes import Site, Wishes

if TYPE_CHECKING:
    from py_api_saga.testing.driven import Driven

    class Keeper(Protocol):
        """What keeps the sagas of a run."""

        def recover(self, driven: Driven) -> None:
            """Go on with a saga in another process."""

        def answer(self, driven: Driven, letter: Entry, *, go_on: bool) -> None:
            """Answer a call."""

    class Trial(Protocol):
        """The run: `trying.Try`."""

        wishes: Wishes
        trace: list[tuple[str, Site]]
        story: list[tuple[str, Any]]
        world: Any

        @property
        def keeper(self) -> Keeper:
            """What keeps its sagas."""

        def at(self, site: Site) -> str | None:
            """Come to a point."""

        def leave_unanswered(self, name: str) -> object:
            """Refuse to go on where nobody answers."""


_A_MOMENT = 0.002  # seconds: dues are written in milliseconds


async def begun(
    trial: Trial, driven: Driven, intent: Entry, *, has_due: bool, is_timer: bool
) -> None:
    """Decide what becomes of the answer to a call, unless that was decided for its key before."""
    reply = driven.replies.get(key_of(intent))
    if reply is not None and (reply.todo or reply.is_given):
        return
    if reply is not None and reply.is_done:  # it can only be told once more
        driven.replies[key_of(intent)] = Reply(
            intent, reply.operation, reply.label, None, is_timer=False
        )
        return
    site = trial.wishes.answer(driven.run, intent, has_due=has_due, is_timer=is_timer)
    if site is None:
        if not is_timer:
            trial.leave_unanswered(trial.wishes.site(driven.run, intent).name)
        return
    fault = trial.at(site)
    label = trial.trace[-1][0]
    reply = Reply(intent, site.operation, label, fault, is_timer=is_timer)
    driven.replies[key_of(intent)] = reply
    await at(trial, driven, "early", reply)


async def at(trial: Trial, driven: Driven, moment: Moment, reply: Reply) -> None:
    """Do what is to be done about an answer at a moment, while somebody drives the saga."""
    while reply.todo and reply.todo[0][0] == moment:
        _, act = reply.todo.pop(0)
        if (letter := await _letter(trial, driven, reply, act)) is not None:
            _post(trial, driven, reply, letter, go_on=False)


async def before_a_call(trial: Trial, driven: Driven) -> None:
    """Let those answers come that are awaited no more, before anything is done about that."""
    for reply in [*driven.replies.values()]:
        if not is_awaited(driven, reply):
            await at(trial, driven, "overdue", reply)


async def after_an_undo(trial: Trial, driven: Driven, i: int) -> None:
    """Let those answers come that were to wait for the undo of an operation."""
    for reply in [*driven.replies.values()]:
        if reply.call[0] == i:
            await at(trial, driven, "undone", reply)


def is_awaited(driven: Driven, reply: Reply) -> bool:
    """Tell whether a saga waits for an answer."""
    later = driven.run.execution.awaited.get(reply.call[0])
    return later is not None and key_of(later) == key_of(reply.intent)


def ready(driven: Driven) -> list[Reply]:
    """List the answers that may come now since they are awaited."""
    return [
        reply
        for reply in driven.replies.values()
        if reply.todo and reply.todo[0][0] == "in time" and is_awaited(driven, reply)
    ]


def left(driven: Driven) -> list[Reply]:
    """List the answers about which something is to be done yet."""
    return [reply for reply in driven.replies.values() if reply.todo]


def give(trial: Trial, driven: Driven, reply: Reply) -> None:
    """Do the next thing about an answer while nobody drives the saga, and go on with that."""
    _, act = reply.todo.pop(0)
    letter = at_once(_letter(trial, driven, reply, act))
    if letter is not None:
        _post(trial, driven, reply, letter, go_on=True)


def next_of(trial: Trial, driven: Driven) -> bool:
    """Let the next thing come for which a saga waits that nobody drives; tell if there is one.

    An answer that is awaited; else the time at which something is due; and once all is over, what
    has not come until then.
    """
    execution = driven.run.execution
    if not execution.suspended:
        todo = left(driven)
        if todo:
            give(trial, driven, todo[0])
        return bool(todo)
    awaited_ones = ready(driven)
    if awaited_ones:
        give(trial, driven, awaited_ones[_first(trial, awaited_ones)])
        return True
    left_s = _until_due(trial, driven)
    assert left_s is not None  # noqa: S101 - what is not answered has a time: see `Wishes.answer`
    names = [trial.wishes.site(driven.run, later).name for later in execution.awaited.values()]
    trial.at(trial.wishes.time_of(names))
    trial.story.append((f"{span(left_s)} pass", None))
    trial.wishes.clock.sleep(left_s + _A_MOMENT)
    trial.keeper.recover(driven)
    return True


def _first(trial: Trial, replies: Sequence[Reply]) -> int:
    """Say which of several answers comes first."""
    if len(replies) == 1:
        return 0
    labels = [reply.label for reply in replies]
    fault = trial.at(trial.wishes.order(labels))
    return 0 if fault is None else labels.index(fault.removeprefix(FIRST))


def _until_due(trial: Trial, driven: Driven) -> float | None:
    """Give the seconds until something is to be done though nobody answers; None for never."""
    run, execution, clock = driven.run, driven.run.execution, trial.wishes.clock
    dues = [value_of(later).due for later in execution.awaited.values()]
    left = [max(0.0, due - clock.time()) for due in dues if due is not None]
    reasons = execution.trouble is not None and execution.trouble.reasons
    if run.deadline is not None and execution.saga is SagaStatus.RUNNING and not reasons:
        left.append(max(0.0, run.deadline - clock.monotonic()))
    return min(left, default=None)


def _post(trial: Trial, driven: Driven, reply: Reply, letter: Entry, *, go_on: bool) -> None:
    trial.story.append((reply.label, letter))
    reply.is_given = True
    try:
        trial.keeper.answer(driven, letter, go_on=go_on)
    except SagaConflict:
        trial.story.append(("that contradicts the first answer, and changes nothing", None))


async def _letter(trial: Trial, driven: Driven, reply: Reply, act: Act) -> Entry | None:
    """Have the world do what is answered, and give the answer; None if nobody is told."""
    answers = trial.wishes.answers[trial.wishes.site(driven.run, reply.intent).name]
    if act == "refuse":
        error = trial.wishes.refusal(reply.operation)
        if answers.refuse is not None:
            error = _as_error(await _called(trial, driven, reply, answers.refuse), error)
        return denied(reply.call, error)
    value = await _called(trial, driven, reply, answers.give)
    if act == "do":
        reply.is_done = not isinstance(value, Exception)
        trial.story.append((f"{reply.label} is lost: what was begun is done", None))
        return None
    return (
        denied(reply.call, value) if isinstance(value, Exception) else answered(reply.call, value)
    )


async def _called(
    trial: Trial, driven: Driven, reply: Reply, function: Callable[[Any], object]
) -> object:
    """Call a function of the world as if from within the operation; give what it raises as well."""
    inside, outer = within.get(), current.get()
    within.set(None)
    current.set((running, driven.run, reply.intent, None))
    try:
        made: Any = function(trial.world)
        if not iscoroutine(made):
            return made
        return awaited(trial.wishes.loop, made) if in_loop() is None else await made
    except Exception as error:  # noqa: BLE001 - that is how it denies
        return error
    finally:
        current.set(outer)
        within.set(inside)


def _as_error(value: object, other: Exception) -> Exception:
    return value if isinstance(value, Exception) else other
