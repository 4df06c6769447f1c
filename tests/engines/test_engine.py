"""An engine to whoever runs a saga on it, asks after it, answers it or decides about it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import depot
import letterbox
import pytest
from depot import do, fail, undo
from engine_here import EngineHere
from recorded import order
from world import PATIENCE, until

from py_api_saga import (
    JournalError,
    SagaAssembler,
    SagaConflict,
    SagaDefinitionError,
    SagaException,
    SagaInProgress,
    SagaPending,
    SagaStatus,
    SagaStuck,
    aanswer,
    answer,
    repair,
    result_of,
    saga_status,
)
from py_api_saga.engines import engine as engine_module
from py_api_saga.engines.rows import MAX_VALUE
from py_api_saga.journal import MemoryJournal
from py_api_saga.journal.changes import Append, Purge, Take

RUNS: dict[str, Callable[..., Any]] = {
    "orchestrator_execute": lambda saga, **given: saga.orchestrator_execute(**given),
    "choreography_execute": lambda saga, **given: saga.choreography_execute(**given),
    "aorchestrator_execute": lambda saga, **given: asyncio.run(saga.aorchestrator_execute(**given)),
    "achoreography_execute": lambda saga, **given: asyncio.run(saga.achoreography_execute(**given)),
}
RESULTS: dict[str, Callable[..., Any]] = {
    "result": lambda engine, *args, **given: engine.result(*args, **given),
    "aresult": lambda engine, *args, **given: asyncio.run(engine.aresult(*args, **given)),
}
ANSWERS: dict[str, Callable[..., Any]] = {
    "answer": answer,
    "aanswer": lambda *args, **given: asyncio.run(aanswer(*args, **given)),
}
who: dict[str, Any] = {"who": "ada", "why": "seen"}


@pytest.fixture
def engine() -> Iterator[EngineHere]:
    """One without a worker."""
    depot.reset()
    yield EngineHere(["depot"])
    depot.reset()


def in_line() -> SagaAssembler:
    """Make the same order of operations of which each waits for the one before, also in a graph."""
    return (
        SagaAssembler.saga(name="depot")
        .operation((do, "a"), (undo, "a"), name="a")
        .operation((do, "b", result_of("a")), (undo, "b"), name="b")
        .operation((do, "c", result_of("b")), name="c")
    )


def stuck(engine: EngineHere) -> None:
    """Run a saga of which one undo fails."""
    depot.behaviour["c"] = fail(ValueError("no"))
    depot.behaviour["undo a"] = fail(OSError("no bank"))
    with engine.at_work(), pytest.raises(SagaStuck):
        order().orchestrator_execute(engine=engine, saga_id="x")
    depot.behaviour.clear()


def waiting(engine: EngineHere, **options: Any) -> str:
    """Have a saga wait for an answer, and give the key of the call."""
    letterbox.order(**options).start(engine=engine, saga_id="x")
    keys: list[str] = []

    def waits() -> bool:
        standing = saga_status(engine, "x")
        keys[:] = () if standing is None else standing.awaited
        return bool(keys)

    until(waits)
    return keys[0]


@pytest.mark.parametrize("how", RUNS)
def test_a_saga_is_run_by_the_workers_in_each_way(engine: EngineHere, how: str) -> None:
    """The caller gets what it would get of a run in its own process."""
    with engine.at_work():
        results = RUNS[how](order(), engine=engine, saga_id="x")

    assert results == ["A", "B", "C"]
    assert results["b"] == "B"
    assert sorted(depot.log) == ["a", "b", "c"]


@pytest.mark.parametrize("how", RUNS)
def test_a_failure_tells_what_a_journal_tells_its_second_caller(
    engine: EngineHere, how: str
) -> None:
    """Its error by name and text, and what became of each operation."""
    depot.behaviour["c"] = fail(ValueError("no stock"))
    journal: Any = MemoryJournal(["depot"])
    told = []

    with engine.at_work():
        for where in ({"engine": engine}, {"journal": journal}, {"journal": journal}):
            with pytest.raises(SagaException) as caught:
                RUNS[how](in_line(), **where, saga_id="x")
            told.append(caught.value)

    ours, _, other = told
    assert str(ours) == str(other)
    for field in ("operation_name", "saga_id", "outcome", "compensation_success_result"):
        assert getattr(ours, field) == getattr(other, field)
    error: Any = ours.operation_error
    assert (error.kind, str(error)) == ("builtins.ValueError", "no stock")
    assert ours.__cause__ is error


@pytest.mark.parametrize("how", RUNS)
def test_whoever_waits_no_longer_is_told_that_it_goes_on(engine: EngineHere, how: str) -> None:
    """Nothing is decided: the same call, made again, has the results."""
    with pytest.raises(SagaPending) as caught:
        RUNS[how](order(), engine=engine, saga_id="x", wait=0)

    assert str(caught.value) == "saga 'x' has not ended yet: it goes on on its engine"
    assert (caught.value.awaited, caught.value.due) == ((), None)
    with engine.at_work():
        assert RUNS[how](order(), engine=engine, saga_id="x", wait=PATIENCE) == ["A", "B", "C"]


def test_whoever_waits_no_longer_is_told_for_what_the_saga_waits(engine: EngineHere) -> None:
    """The keys that are to be answered, and until when."""
    with engine.at_work():
        key = waiting(engine, timeout=1000.0)
        with pytest.raises(SagaPending) as caught:
            engine.result("x", wait=0)

    assert caught.value.awaited == (key,)
    assert caught.value.due is not None


def test_the_id_of_another_saga_is_refused(engine: EngineHere) -> None:
    """Its arguments differ, so nobody is given the results of the other one."""
    order().start(engine=engine, saga_id="x")

    with pytest.raises(SagaConflict, match="operation 'a': the arguments of the action differ"):
        SagaAssembler.saga(name="depot").operation((depot.do, "z"), name="a").start(
            engine=engine, saga_id="x"
        )


def test_an_id_is_made_up_for_whoever_does_not_wait(engine: EngineHere) -> None:
    """And given back."""
    saga_id = order().start(engine=engine)

    with engine.at_work():
        assert engine.result(saga_id) == ["A", "B", "C"]


def test_a_task_that_is_cancelled_leaves_its_saga_to_the_engine(engine: EngineHere) -> None:
    """It goes on, and nothing is undone."""
    may_go = threading.Event()
    depot.behaviour["b"] = lambda: may_go.wait(PATIENCE) and "B"

    async def given_up() -> None:
        running = order().aorchestrator_execute(engine=engine, saga_id="x")
        task = asyncio.create_task(running)
        while depot.log != ["a", "b"]:  # noqa: ASYNC110 - it is another thread that does it
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        may_go.set()

    with engine.at_work():
        asyncio.run(given_up())
        assert engine.result("x") == ["A", "B", "C"]


@pytest.mark.parametrize("how", RESULTS)
def test_whoever_has_the_id_can_ask_for_the_results(engine: EngineHere, how: str) -> None:
    """Without the saga; those of what there is not are asked for in vain."""
    order().start(engine=engine, saga_id="x")

    with pytest.raises(SagaPending):
        RESULTS[how](engine, "x", wait=0)
    with engine.at_work():
        assert RESULTS[how](engine, "x") == ["A", "B", "C"]
    with pytest.raises(LookupError, match="there is no saga 'y' on an engine in this process"):
        RESULTS[how](engine, "y")


# --- decisions ------------------------------------------------------------------------------------


def test_a_saga_that_runs_can_be_cancelled(engine: EngineHere) -> None:
    """It hears of it, and what it has done is undone."""
    may_go = threading.Event()
    depot.behaviour["b"] = lambda: may_go.wait(PATIENCE) and "B"
    with engine.at_work():
        order().start(engine=engine, saga_id="x")
        until(lambda: depot.log == ["a", "b"])

        assert repair.cancel(engine, "x", **who) is SagaStatus.RUNNING

        may_go.set()
        with pytest.raises(SagaException, match="ada said so: seen"):
            engine.result("x")
    assert depot.log == ["a", "b", "undo b", "undo a"]
    assert '["note",{"who":"ada","why":"seen","did":"cancel"}]' in str(engine.flows["x"].rows)


def test_what_is_at_rest_is_not_cancelled(engine: EngineHere) -> None:
    """There is nothing to come; what is stuck is decided about."""
    stuck(engine)

    with pytest.raises(repair.DecisionError, match="stuck, so nothing is to come"):
        repair.cancel(engine, "x", **who)
    with pytest.raises(SagaInProgress, match="saga 'x' is at rest: it is stuck"):
        engine.cancel("x", who="ada")
    with pytest.raises(LookupError, match="there is no saga 'y'"):
        repair.cancel(engine, "y", **who)
    with pytest.raises(LookupError, match="there is no saga 'y'"):
        engine.cancel("y", who="ada")
    assert [*engine.flows] == ["x"]


def test_nobody_is_cancelled_by_nobody(engine: EngineHere) -> None:
    """Who says so is kept, so it must be somebody; and it must be the saga that was seen."""
    order().start(engine=engine, saga_id="x")
    seen = engine.find("x")
    assert seen is not None

    with pytest.raises(repair.DecisionError, match="who: expected the name"):
        repair.cancel(engine, "x", who=" ", why="")
    with pytest.raises(SagaInProgress, match="has changed since it was looked at"):
        repair.cancel(engine, "x", seen=seen._replace(epoch=2), **who)


@pytest.mark.parametrize(
    "decide",
    [
        lambda engine: repair.again(engine, "x", **who),
        lambda engine: repair.compensate(engine, "x", **who),
    ],
    ids=["retry", "compensate"],
)
def test_a_saga_that_runs_is_not_decided_about(
    engine: EngineHere, decide: Callable[[Any], object]
) -> None:
    """It says what to do instead."""
    order().start(engine=engine, saga_id="x")

    with pytest.raises(SagaInProgress, match=r"runs on its engine: wait for it, or .*`saga cancel"):
        decide(engine)


def test_a_saga_with_a_call_that_may_land_is_not_decided_about(engine: EngineHere) -> None:
    """It is answered at once all the same, and what lands is undone; then it can be decided."""
    may_go = threading.Event()
    depot.behaviour["b"] = lambda: may_go.wait(PATIENCE) and "B"
    depot.behaviour["undo a"] = fail(OSError("no bank"))
    with engine.at_work():
        saga = SagaAssembler.saga(name="depot")
        saga.operation((depot.do, "a"), (depot.undo, "a"), name="a")
        saga.operation((depot.do, "b"), (depot.undo, "b"), name="b", timeout=0.01)
        with pytest.raises(SagaStuck):
            saga.orchestrator_execute(engine=engine, saga_id="x")

        with pytest.raises(SagaInProgress, match=r"saga 'x': b is still running since .*Z, though"):
            repair.again(engine, "x", **who)

        del depot.behaviour["undo a"]
        may_go.set()
        until(lambda: not engine.flows["x"].is_open)
        repair.again(engine, "x", **who)
        with pytest.raises(SagaException):
            engine.result("x")

    assert depot.log.count("undo b") == 2
    standing = saga_status(engine, "x")
    assert standing is not None
    assert standing.status is SagaStatus.COMPENSATED


def test_what_follows_a_forgotten_workflow_is_found(engine: EngineHere) -> None:
    """An engine keeps what has ended for a while; its successor may wait for longer."""
    stuck(engine)
    repair.again(engine, "x", **who)

    del engine.flows["x"]

    seen = engine.find("x")
    assert seen is not None
    assert (seen.epoch, seen.status) == (2, SagaStatus.COMPENSATING)
    assert engine.find("y") is None


def test_whoever_waits_no_time_is_told_what_has_ended(engine: EngineHere) -> None:
    """Also where the engine has no time to say that it is at rest."""
    with engine.at_work():
        assert order().orchestrator_execute(engine=engine, saga_id="x") == ["A", "B", "C"]
    engine.await_rest = lambda *_: None  # type: ignore[method-assign]

    assert engine.result("x", wait=0) == ["A", "B", "C"]


def test_an_answer_that_nobody_hears_is_not_said_to_stand(
    engine: EngineHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be another one that came before; whoever gives it again is told."""
    monkeypatch.setattr(engine_module, "PATIENCE", 0.1)
    with engine.at_work():
        key = waiting(engine)

    with pytest.raises(JournalError, match="give it again, to be told which one stands"):
        answer(engine, key, result="B")
    with engine.at_work():
        assert engine.result("x", wait=PATIENCE) == ["A", "B", "C"]
        assert answer(engine, key, result="B").known


def test_of_two_decisions_one_is_refused(engine: EngineHere) -> None:
    """Both have seen the saga as it was; the second would take back what the first has done."""
    stuck(engine)
    seen = engine.find("x")
    assert seen is not None
    takes = [Take(seen), Take(seen)]
    engine.write(*takes)

    appends = [Append(take.check(), "[]", None) for take in takes]
    engine.write(*appends)

    assert appends[0].error is None
    with pytest.raises(SagaInProgress, match="was taken over by another process"):
        appends[1].check()
    late = Take(seen)
    engine.write(late)
    with pytest.raises(SagaInProgress, match="has changed since it was looked at"):
        late.check()


def test_a_claim_alone_changes_nothing(engine: EngineHere) -> None:
    """Nobody is kept from deciding by somebody who has looked and gone away."""
    stuck(engine)
    seen = engine.find("x")
    assert seen is not None
    take = Take(seen)
    engine.write(take)

    engine.leave(take.check())

    assert take.claim.over
    with engine.at_work():
        repair.again(engine, "x", **who)
        with pytest.raises(SagaException):
            engine.result("x")


def test_what_an_engine_does_not_do_is_refused(engine: EngineHere) -> None:
    """It keeps its sagas as long as it is set up to."""
    stuck(engine)
    seen = engine.find("x")
    assert seen is not None

    with pytest.raises(SagaDefinitionError, match="Purge is not for it"):
        engine.write(Purge(seen, ""))


# --- looking --------------------------------------------------------------------------------------


def test_sagas_are_listed_newest_first(engine: EngineHere) -> None:
    """By status, name, beginning of the id, and what follows a page."""
    depot.behaviour["c"] = fail(ValueError("no"))
    with engine.at_work():
        for number in range(2):
            with pytest.raises(SagaException):
                order().orchestrator_execute(engine=engine, saga_id=f"a{number}")
        depot.behaviour.clear()
        order().orchestrator_execute(engine=engine, saga_id="b")
    SagaAssembler.saga(name="other").operation((depot.do, "a")).start(engine=engine, saga_id="c")

    assert _ids(engine.select()) == ["c", "b", "a1", "a0"]
    assert _ids(engine.select({SagaStatus.COMPENSATED})) == ["a1", "a0"]
    assert _ids(engine.select(name="other")) == ["c"]
    assert _ids(engine.select(prefix="a")) == ["a1", "a0"]
    assert _ids(engine.select(limit=2)) == ["c", "b"]
    assert _ids(engine.select(below=engine.select()[1].number)) == ["a1", "a0"]
    assert engine.tally() == {
        SagaStatus.RUNNING: 1,
        SagaStatus.COMPENSATING: 0,
        SagaStatus.STUCK: 0,
        SagaStatus.COMPLETED: 1,
        SagaStatus.COMPENSATED: 2,
    }
    assert engine.tally(0)[SagaStatus.COMPLETED] == 0
    assert engine.counts()[order().name, SagaStatus.COMPENSATED] == 2


def test_a_saga_is_listed_once_however_many_have_decided(engine: EngineHere) -> None:
    """As its latest workflow says."""
    stuck(engine)
    with engine.at_work():
        repair.again(engine, "x", **who)
        with pytest.raises(SagaException):
            engine.result("x")

    [seen] = engine.select()
    assert (seen.saga_id, seen.status, seen.epoch) == ("x", SagaStatus.COMPENSATED, 2)


def _ids(seen: Any) -> list[str]:
    return [one.saga_id for one in seen]


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ANSWERS)
def test_an_answer_is_heard_once(engine: EngineHere, how: str) -> None:
    """The same one again changes nothing, and another one is refused."""
    with engine.at_work():
        key = waiting(engine)

        assert not ANSWERS[how](engine, key, result="B").known
        assert engine.result("x") == ["A", "B", "C"]
        again = ANSWERS[how](engine, key, result="B")
        with pytest.raises(SagaConflict, match="was answered before, and otherwise"):
            ANSWERS[how](engine, key, result="Z")
        with pytest.raises(SagaConflict, match="was answered before, and otherwise"):
            ANSWERS[how](engine, key, error=letterbox.RefusedError("no"))

    assert (again.known, again.status) == (True, SagaStatus.COMPLETED)
    assert depot.log == ["a", "b", "c"]
    assert [*engine.flows] == ["x"]


def test_a_denial_is_heard(engine: EngineHere) -> None:
    """What was done before is undone; and the same denial again is known."""
    with engine.at_work():
        key = waiting(engine)
        answer(engine, key, error=letterbox.RefusedError("no"))
        with pytest.raises(SagaException, match="no"):
            engine.result("x")

        assert answer(engine, key, error=letterbox.RefusedError("no")).known

    assert depot.log == ["a", "b", "undo a"]


def test_an_answer_that_comes_too_late_has_its_effect_undone(engine: EngineHere) -> None:
    """By a successor, once: the payment stands, and the saga was undone."""
    with engine.at_work():
        key = waiting(engine)
        repair.cancel(engine, "x", **who)
        with pytest.raises(SagaException):
            engine.result("x")
        before = depot.log.count("undo b")

        answer(engine, key, result="B")
        with pytest.raises(SagaException):
            engine.result("x")
        assert answer(engine, key, result="B").known

    assert depot.log.count("undo b") == before + 1
    assert [*engine.flows] == ["x", "x~2"]


def test_an_answer_to_what_was_never_begun_is_refused(engine: EngineHere) -> None:
    """Whoever has sent it should send it again, as the saga may be begun just now."""
    with pytest.raises(LookupError, match="there is no saga 'x'"):
        answer(engine, "x:b:action", result=1)
    order().start(engine=engine, saga_id="x")
    with pytest.raises(LookupError, match="has not begun a call with this key"):
        answer(engine, "x:b:action", result=1)


def test_an_answer_that_is_too_large_is_refused(engine: EngineHere) -> None:
    """Before it is sent, so that nobody believes it was heard."""
    with engine.at_work():
        key = waiting(engine)
        with pytest.raises(SagaDefinitionError, match="answer: expected at most 262,144 bytes"):
            answer(engine, key, result="B" * MAX_VALUE)

        answer(engine, key, result="B")
        assert engine.result("x") == ["A", "B", "C"]


# --- as a journal ---------------------------------------------------------------------------------


def test_it_is_found_fit_once(engine: EngineHere) -> None:
    """What is not fit says so before any effect, each time until it is."""
    engine.trouble = SagaDefinitionError("run `dbos migrate`")
    for _ in range(2):
        with pytest.raises(SagaDefinitionError, match="dbos migrate"):
            order().start(engine=engine, saga_id="x")
    assert not engine.flows
    with pytest.raises(SagaDefinitionError, match="dbos migrate"):
        engine.missing()
    with pytest.raises(SagaDefinitionError, match="dbos migrate"):
        engine.health()

    engine.trouble = None

    assert order().start(engine=engine, saga_id="x") == "x"
    assert engine.missing() == ""
    assert engine.health().facts == {"engine": "here", "place": "an engine in this process"}
    assert (engine.who_hangs(), engine.left_mail(0.0), engine.waiting()) == (None, (), ())
    with engine.reader() as view, engine.onlooker() as other:
        assert view is other is engine


def test_a_change_that_fails_says_so_and_no_other(engine: EngineHere) -> None:
    """Each is settled by itself."""
    stuck(engine)
    seen = engine.find("x")
    assert seen is not None
    gone, there = Take(seen._replace(saga_id="y")), Take(seen)

    asyncio.run(engine.awrite(gone, there))

    assert gone.settled
    assert isinstance(gone.error, SagaInProgress)
    assert there.error is None
