"""An interrupt wherever a signal can strike in a run with a journal: recovery finds all of it.

As in `test_strikes`, but what is left over may also be in the journal, for recovery to go on with.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import depot
import pytest
from strikes import EVERY as EVERY_PLAIN
from strikes import KINDS, PLACES, Struck, Tracer, chosen, files_of, is_heard, line_of
from world import in_time

from py_api_saga import Saga, SagaStatus, Status, recover
from py_api_saga.current import Around, CurrentOperation
from py_api_saga.execution import Execution
from py_api_saga.journal import MemoryJournal, SQLiteJournal
from py_api_saga.journal.format.sagas import read_rows
from py_api_saga.journal.format.values import Values

EVERY = EVERY_PLAIN if EVERY_PLAIN == 1 else EVERY_PLAIN * 4  # these take longer
DURABLE = files_of("durable", "journal") - files_of("journal/memory")


inside: list[object] = []  # what is around calls, until it is left


class Held:
    """What is around a call; a generator would be left by whoever throws it away.

    It asks the library for nothing: what strikes there would be an error of its own.
    """

    def __enter__(self) -> None:
        inside.append(self)

    def __exit__(self, *_: object) -> None:
        inside.remove(self)


def hold(_: CurrentOperation) -> Held:
    """Surround a call; of a class nobody could tell whether an error came out of it."""
    return Held()


def saga(do: Any, undo: Any, course: str, *around: Around) -> Saga:
    """Make a saga of two operations."""
    made = Saga(around=around)
    made.operation((do, "a"), (undo, "a"), name="a")
    if course == "failing":
        depot.behaviour["b"] = depot.fail(ValueError())
    return made.operation((do, "b"), (undo, "b"), name="b", after="a")


RUNS: dict[str, Callable[[str, Any], Any]] = {
    "chain": lambda course, journal: saga(depot.do, depot.undo, course).orchestrator_execute(
        journal=journal, saga_id="x"
    ),
    "graph": lambda course, journal: saga(depot.do, depot.undo, course).choreography_execute(
        journal=journal, saga_id="x"
    ),
    "chain, surrounded": lambda course, journal: saga(
        depot.do, depot.undo, course, hold
    ).orchestrator_execute(journal=journal, saga_id="x"),
    "graph, surrounded": lambda course, journal: saga(
        depot.do, depot.undo, course, hold
    ).choreography_execute(journal=journal, saga_id="x"),
    "async chain": lambda course, journal: asyncio.run(
        saga(depot.ado, depot.aundo, course).aorchestrator_execute(journal=journal, saga_id="x")
    ),
    "async chain, surrounded": lambda course, journal: asyncio.run(
        saga(depot.ado, depot.aundo, course, hold).aorchestrator_execute(
            journal=journal, saga_id="x"
        )
    ),
    "async graph": lambda course, journal: asyncio.run(
        saga(depot.ado, depot.aundo, course).achoreography_execute(journal=journal, saga_id="x")
    ),
}


def go(
    run: str, course: str, journal: Any, target: Any = None, kind: type[BaseException] = Struck
) -> tuple[Tracer, str]:
    """Run a saga once, and recover; give what is wrong, in words."""
    depot.reset()
    inside.clear()
    tracer = Tracer(target, kind)

    try:
        error = in_time(lambda: tracer.during(RUNS[run], course, journal))
    except AssertionError:
        return tracer, "it hangs"
    heard = kind is Struck or is_heard(tracer)
    if tracer.struck and heard and not isinstance(error, kind):
        return tracer, f"raised {error!r}"
    depot.behaviour.clear()
    recover(journal, around=[hold] if "surrounded" in run else [])
    return tracer, f"{len(inside)} managers not left" if inside else problem_in(journal)


def problem_in(journal: Any) -> str:
    """Say what is wrong with what is on record once all is recovered, and with what stands."""
    seen = journal.find("x")
    if seen is None:
        return f"{depot.standing} left over" if depot.standing else ""
    rows = journal.rows([seen.number])[seen.number]
    values = Values(journal)
    recorded = read_rows(rows, values, values.names.callee)
    execution = Execution(recorded.definition, recorded.entries)
    if execution.saga is not seen.status:
        return f"{execution.saga} in the entries and {seen.status} in the summary"
    names = zip("ab", execution.status, strict=True)
    stuck = {name for name, status in names if status is Status.STUCK}
    expected = {"a", "b"} if seen.status is SagaStatus.COMPLETED else stuck & {*depot.standing}
    if set(depot.standing) != expected or (seen.status is SagaStatus.STUCK and not stuck):
        return f"{seen.status}, and {depot.standing} stands"
    return ""


@pytest.mark.usefixtures("mute")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("course", ["succeeding", "failing"])
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("struck_by", KINDS)
def test_an_interrupt_anywhere_leaves_nothing_that_recovery_does_not_find(
    struck_by: str,
    kind: str,
    run: str,
    course: str,
    tmp_path: Path,
) -> None:
    """All stands, or nothing; what the journal says agrees with itself; and nothing hangs."""
    PLACES.update(DURABLE)
    numbers = iter(range(10**6))

    def journal() -> Any:
        if kind == "memory":
            return MemoryJournal(modules=["depot"])
        return SQLiteJournal(
            tmp_path / f"{next(numbers)}.db", modules=["depot"], durability="process"
        )

    undisturbed, problem = go(run, course, journal())
    assert not problem
    assert depot.standing == (["a", "b"] if course == "succeeding" else [])
    struck, wrong = 0, []
    for place in chosen(undisturbed.places(), KINDS[struck_by], EVERY):
        used = journal()
        tracer, problem = go(run, course, used, place, KINDS[struck_by])
        if kind == "sqlite":
            used.close()
        struck += tracer.struck
        if problem:
            wrong.append(f"{problem}: {line_of(*place[:2])}, time {place[2]}")
        if "hangs" in problem:
            break
    assert not wrong, "\n".join(wrong)
    assert struck > 50 / EVERY
