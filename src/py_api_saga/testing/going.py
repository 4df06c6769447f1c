"""One schedule from its beginning to its end: run, crash, go on, mend, look at what has become."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from py_api_saga.exceptions import SagaPending
from py_api_saga.executable import Executable
from py_api_saga.executors.driving import standing_in
from py_api_saga.status import SagaStatus, Status
from py_api_saga.stuck import stuck_words
from py_api_saga.testing import replies
from py_api_saga.testing.awaiting import awaited, check_no_loop, end_tasks
from py_api_saga.testing.boundaries import proxied
from py_api_saga.testing.driven import Driven
from py_api_saga.testing.faults import Place, is_order
from py_api_saga.testing.keeping import InMemory, OnRecord
from py_api_saga.testing.trying import UNSEEN, Crash, EndlessError, Try, UnansweredError
from py_api_saga.testing.wishes import Wishes, deepcopied
from py_api_saga.trouble import Trouble
from py_api_saga.wording import as_text, in_line

# What excuses that a saga needs a person: an undo, or a question, was made to fail.
_FAILING = frozenset(
    {"refuses", "flaky", "down", "lost", "answers-503", "answers-504", "cancelled", "never"}
)
_UNDOING: frozenset[Place] = frozenset({"undo", "service of undo", "question", "answer of undo"})


class States(NamedTuple):
    """How the world stands when all is as it should be, as `state=` gives it.

    Attributes:
        before: In a new world.
        after: After a calm run.
        between: As each saga of the calm run has ended.
    """

    before: Any
    after: Any
    between: list[Any]


class Went(NamedTuple):
    """How a schedule went.

    Attributes:
        trial: The run.
        message: What is wrong, or None.
        operation: Where that is at home.
    """

    trial: Try
    message: str | None
    operation: str = ""


def go(wishes: Wishes, plan: Mapping[str, str], states: States | None) -> Went:
    """Run one schedule in a world of its own, and judge what has become of it."""
    trial = Try(wishes, plan)
    trial.keeper = InMemory(trial) if wishes.modules is None else OnRecord(trial)
    wishes.begin()
    with entered(wishes.world) as world:
        trial.world, trial.others = world, asyncio.all_tasks(wishes.loop)
        try:
            return _went(trial, states)
        finally:
            end_tasks(wishes.loop, trial.others)


def _went(trial: Try, states: States | None) -> Went:
    wishes, world = trial.wishes, trial.world
    try:
        with standing_in(trial), proxied(wishes.services, world):
            _run(trial)
    except EndlessError as error:
        message = f"it does not end: it came to {len(trial.trace):,} points, at last {error}"
        return Went(trial, message, trial.trace[-1][1].operation)
    if wishes.is_calm:
        if wishes.state is not None:
            trial.snapshots.append(deepcopied(wishes.state(world)))
        return Went(trial, None)
    return _judged(trial, states)


@contextlib.contextmanager
def entered(make: Callable[[], Any]) -> Iterator[Any]:
    """Make a world, and take it away again if it says how."""
    made = make()
    if hasattr(type(made), "__next__"):
        generator = made
        made = contextlib.contextmanager(lambda: generator)()
    if hasattr(type(made), "__enter__") and hasattr(type(made), "__exit__"):
        with made as world:
            yield world
    else:
        yield made


# --- the run ----------------------------------------------------------------------------------


def _run(trial: Try) -> None:
    """Call the test's function, and bring all sagas to their ends, whatever dies meanwhile."""
    _call(trial)
    while True:
        interrupts = len(trial.aims.interrupts)
        try:
            _recover(trial)
            _wait(trial)
            while _mend(trial):
                _wait(trial)
        except Crash:
            trial.has_crashed = True
            continue
        if len(trial.aims.interrupts) > interrupts:
            continue  # whoever was interrupted as it recovered leaves the rest to others
        was_left = trial.has_crashed or trial.has_waited
        if not (was_left and any(driven.named for driven in trial.sagas)):
            break
        trial.story.append(("its client calls once more", None))
        _call(trial)
    trial.haunt()


def _call(trial: Try) -> None:
    """Call the test's function, once."""
    trial.has_crashed = trial.has_waited = False
    try:
        _called(trial)
    except Crash:
        pass
    except (EndlessError, UnansweredError):
        raise
    except BaseException as error:
        ours = error in trial.aims.interrupts or (
            isinstance(error, asyncio.CancelledError) and bool(trial.aims.interrupts)
        )
        if not (ours or isinstance(error, Exception)) or not trial.sagas:
            raise
        if not isinstance(error, SagaPending):
            trial.raised = error
        trial.story.append((f"the caller gets {type(error).__name__}", None))
    if isinstance(trial.dead, (EndlessError, UnansweredError)):
        raise trial.dead
    trial.has_crashed = trial.dead is not None


def _called(trial: Try) -> None:
    wishes = trial.wishes
    made: Any = wishes.run(trial.world)
    if asyncio.iscoroutine(made):
        check_no_loop(made)
        awaited(wishes.loop, _awaited(trial, made))
    elif isinstance(made, Executable) and not trial.sagas:
        _return(trial, made)
        if made._async:  # noqa: SLF001 - there is no other way to ask
            awaited(wishes.loop, getattr(made, f"a{wishes.how}_execute")())
        else:
            getattr(made, f"{wishes.how}_execute")()


async def _awaited(trial: Try, running: Any) -> None:
    made = await running
    if isinstance(made, Executable) and not trial.sagas:
        _return(trial, made)
        await getattr(made, f"a{trial.wishes.how}_execute")()


def _return(trial: Try, made: Any) -> None:
    """Note that the test's function has returned a saga, and in which direction it recovers."""
    trial.returned = True
    saga = getattr(made, "_saga", made)  # of one that was given its arguments
    trial.on_crash = trial.on_crash or saga.on_crash


def _recover(trial: Try) -> None:
    """Go on with what was left, by a crash or by an interrupt."""
    if trial.dead is not None:
        end_tasks(trial.wishes.loop, trial.others)
        trial.dead = None
        trial.story.append(("another process goes on", None))
    for driven in trial.sagas:
        if driven.is_open:
            trial.keeper.recover(driven)


def _wait(trial: Try) -> None:
    """Let answers come, and time pass, until nothing waits and nothing is to come."""
    for driven in trial.sagas:
        while (driven.replies or driven.run.execution.awaited) and replies.next_of(trial, driven):
            if driven.is_open:  # whoever was interrupted as it went on leaves the rest to others
                return


def _mend(trial: Try) -> bool:
    """Mend what is stuck for a reason, as a person would: what was out of order first.

    Tell whether something waits for an answer since then.
    """
    before = len(trial.mended)
    for driven in trial.sagas:
        for _ in range(2 + len(trial.plan)):
            trial.aims.down.clear()
            stuck = _stuck(driven)
            if not stuck or not _is_excused(trial, driven, stuck):
                break
            names = [driven.run.name_of(i) for i in stuck]
            trial.mended += names
            trial.story.append((f"STUCK: {', '.join(names)}", None))
            if not trial.keeper.again(driven, stuck):
                break
            trial.story.append(("a person mends what was broken, and says: once more", None))
            trial.keeper.recover(driven)
    trial.aims.down.clear()
    if len(trial.mended) == before:
        return False
    return any(driven.run.execution.awaited or replies.left(driven) for driven in trial.sagas)


def _stuck(driven: Driven) -> list[int]:
    execution = driven.run.execution
    return [i for i, status in enumerate(execution.status) if status is Status.STUCK]


def _is_excused(trial: Try, driven: Driven, stuck: list[int]) -> bool:
    """Tell whether a person must look for a reason that excuses it."""
    for label, site in trial.hits.items():
        kind = trial.plan[label]
        if kind == "down" or (site.place in _UNDOING and kind in _FAILING):
            return True
    return all(driven.run.operations[i].policy.park for i in stuck)


# --- what has become of it --------------------------------------------------------------------


def _judged(trial: Try, states: States | None) -> Went:
    """Say what is wrong with how the run has ended."""
    for driven in trial.sagas:
        if stuck := _stuck(driven):
            return _person_needed(trial, driven, stuck)
        trial.story.append((f"saga: {driven.run.execution.saga.value}", None))
    return _looked(trial, states)


def _person_needed(trial: Try, driven: Driven, stuck: list[int]) -> Went:
    """Say why a saga is stuck, in the words of `saga why`, but not what was injected into it."""
    run, execution = driven.run, driven.run.execution
    trouble, reasons = execution.trouble or Trouble(), execution.stuck_reasons()
    said = []
    for i in stuck:
        error = trouble.errors.get(i) if reasons[i] == "action raised" else None
        said.append(stuck_words(reasons[i], error, trouble.undo_errors.get(i)))
    names = " and ".join(in_line(run.name_of(i)) for i in stuck)
    is_ = "is" if len(stuck) == 1 else "are"
    trial.story.append((f"saga: {execution.saga.value}", None))
    message = f"{names} {is_} stuck, so a person must look: {'; '.join(dict.fromkeys(said))}"
    return Went(trial, message, run.name_of(stuck[0]))


def _short(error: object) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _looked(trial: Try, states: States | None) -> Went:
    """Hold the world against what it should be."""
    wishes, outcome = trial.wishes, outcome_of(trial)
    said = outcome.value
    try:
        if wishes.check is not None:
            wishes.check(trial.world, outcome)
        if states is not None and wishes.state is not None:
            wanted = _wanted(trial, states)
            if wanted and not bool((got := wishes.state(trial.world)) == wanted[0]):
                return Went(trial, f"{said}, but {difference(wanted[0], got)}")
    except _failures() as error:
        text = str(error).partition("\n")[0]
        return Went(trial, f"{said}, but {text or 'the check fails'}")
    except Exception as error:  # noqa: BLE001 - of the test's
        return Went(trial, f"{said}, but the check raises {as_text(error, _short)}")
    return _failed_by_order(trial)


def _failures() -> tuple[type[BaseException], ...]:
    """Give what fails a test: `pytest.fail` and `pytest.raises` raise an exception of their own."""
    fail: Any = getattr(sys.modules.get("pytest"), "fail", None)
    return (AssertionError,) if fail is None else (AssertionError, fail.Exception)


def _failed_by_order(trial: Try) -> Went:
    """Say so if a saga was undone though nothing has gone wrong but which call was first."""
    for driven in trial.sagas if all(map(is_order, trial.plan.values())) else ():
        trouble, outcome = driven.run.execution.trouble, driven.run.execution.saga
        if outcome is not SagaStatus.COMPLETED and trouble is not None and trouble.errors:
            i = min(trouble.errors)
            name, error = driven.run.name_of(i), as_text(trouble.errors[i])
            message = f"{outcome.value}, though only the order is another: {name} raised {error}"
            return Went(trial, message, name)
    return Went(trial, None)


def outcome_of(trial: Try) -> SagaStatus:
    """Say what became of a run: of several sagas, COMPLETED only if all of them did."""
    ends = [driven.run.execution.saga for driven in trial.sagas if not driven.is_inner]
    return next((end for end in ends if end is not SagaStatus.COMPLETED), SagaStatus.COMPLETED)


def _wanted(trial: Try, states: States) -> list[Any]:
    """Give how the world should stand, or nothing where nobody knows.

    After the first sagas have completed, and those behind them were undone, as it stood between.
    """
    ends = [driven.run.execution.saga for driven in trial.sagas if not driven.is_inner]
    done = 0
    while done < len(ends) and ends[done] is SagaStatus.COMPLETED:
        done += 1
    if done == len(ends):
        return [states.after] if done == len(states.between) else _between(states, done)
    if SagaStatus.COMPLETED in ends[done:]:
        return []
    return _between(states, done) if done else [states.before]


def _between(states: States, done: int) -> list[Any]:
    """Give how the world stood when so many sagas had ended, or nothing if nobody has looked."""
    return [state for state in states.between[done - 1 : done] if state is not UNSEEN]


def difference(wanted: Any, got: Any) -> str:
    """Say in what two states differ, by the first key for which they do."""
    if isinstance(wanted, Mapping) and isinstance(got, Mapping):
        for key in (*wanted, *got):
            if key not in got or key not in wanted or wanted[key] != got[key]:
                return f"{key} is {_shown(got, key)}, expected {_shown(wanted, key)}"
    return f"the world is {as_text(got)}, expected {as_text(wanted)}"


def _shown(state: Mapping[Any, Any], key: Any) -> str:
    return as_text(state[key]) if key in state else "missing"
