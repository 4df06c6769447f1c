"""A saga that waits: it lies in its journal, as one row that nobody drives, until it goes on."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import depot
import pytest
from depot import do, fail, undo
from letterbox import RefusedError, begun, failure, order, recovered, run_out, wait
from recorded import WHO, bodies, chain, seen, status
from world import HOUR, PATIENCE, Watch, until

from py_api_saga import (
    NOT_HAPPENED,
    UNKNOWN,
    Event,
    SagaAssembler,
    SagaPending,
    SagaStatus,
    SagaStuck,
    Status,
    answer,
    clock,
    happened,
    later,
    leaves_doubt,
    recover,
    repair,
    result_of,
    saga_status,
    takeover,
)
from py_api_saga.journal import SQLiteJournal

Execute = Callable[..., Any]
KEY = "x:b:action"
RUNNING, COMPENSATING = SagaStatus.RUNNING, SagaStatus.COMPENSATING
COMPLETED, COMPENSATED, STUCK = SagaStatus.COMPLETED, SagaStatus.COMPENSATED, SagaStatus.STUCK
orchestrate = SagaAssembler.orchestrator_execute


# --- it waits -------------------------------------------------------------------------------------


def test_a_saga_that_waits_is_driven_by_nobody(execute: Execute, journal: Any) -> None:
    """Its caller is told for what it waits, and until when; nothing is decided."""
    begin = time.time()
    pending = wait(execute, order(timeout=3600), journal)

    assert (pending.saga_id, pending.awaited) == ("x", (KEY,))
    assert pending.due is not None
    assert begin + 3500 < pending.due < time.time() + 3700
    assert leaves_doubt(pending)
    found = seen(journal, "x")
    assert (found.status, found.owner, found.tries) == (RUNNING, 0, 0)
    assert not journal.drives(found)
    assert list(journal.waiting()) == []
    standing = saga_status(journal, "x")
    assert standing is not None
    assert standing.awaited == (KEY,)
    assert standing.due == pytest.approx(pending.due, abs=1)


def test_a_saga_may_wait_for_ever(execute: Execute, journal: Any) -> None:
    """If that was said aloud."""
    assert wait(execute, order(), journal).due is None
    standing = saga_status(journal, "x")
    assert standing is not None
    assert (standing.awaited, standing.due) == ((KEY,), None)


def test_the_same_id_again_is_told_the_same_and_claims_nothing(
    execute: Execute, journal: Any
) -> None:
    """However often, while nothing is due."""
    first = wait(execute, order(), journal)
    before = seen(journal, "x"), bodies(journal, "x")
    for _ in range(2):
        again = wait(execute, order(), journal)
        assert (again.awaited, again.due) == (first.awaited, first.due)

    assert (seen(journal, "x"), bodies(journal, "x")) == before
    assert depot.log == ["a", "b"]


def test_the_same_id_again_goes_on_with_what_was_answered(execute: Execute, journal: Any) -> None:
    """The answer was only posted: whoever asks for the saga takes it over, as any orphan."""
    wait(execute, order(), journal)
    answer(journal, KEY, result="paid", go_on=False)

    assert execute(order(), journal=journal, saga_id="x") == ["A", "paid", "C"]


def test_whoever_waits_for_it_has_the_results(execute: Execute, journal: Any) -> None:
    """The answer comes within the seconds that the caller has."""
    saga = order()

    def reply() -> None:
        until(lambda: (found := saga_status(journal, "x")) and found.awaited)
        answer(journal, KEY, result="paid")

    thread = threading.Thread(target=reply)
    thread.start()
    results = execute(saga, journal=journal, saga_id="x", wait=PATIENCE)
    thread.join(PATIENCE)

    assert results == ["A", "paid", "C"]
    assert depot.log == ["a", "b", "c"]


def test_whoever_waits_in_vain_is_told(execute: Execute, journal: Any) -> None:
    """When the seconds are over."""
    assert wait(execute, order(), journal, wait=0.01).awaited == (KEY,)
    assert depot.log == ["a", "b"]


def test_what_else_is_ready_goes_on_meanwhile(execute_graph: Execute, journal: Any) -> None:
    """And counts against no limit of how many run at once."""
    depot.behaviour["b"] = begun()
    saga = SagaAssembler.saga(name="depot").operation((do, "b"), name="b")
    saga.operation((do, "d"), name="d").operation((do, "e"), name="e", after="d")
    saga.operation((do, "c"), name="c", after=("b", "e"))
    pending = wait(execute_graph, saga, journal, max_workers=1)

    assert pending.awaited == (KEY,)
    assert sorted(depot.log) == ["b", "d", "e"]
    assert answer(journal, KEY, result="paid").status is COMPLETED
    assert depot.log[-1] == "c"


def test_two_answers_in_either_order_let_what_comes_after_both_begin(
    execute_graph: Execute, journal: Any
) -> None:
    """The first one leaves the saga waiting for the other."""
    depot.behaviour.update(b=begun(), d=begun())
    saga = SagaAssembler.saga(name="depot").operation((do, "b"), name="b")
    saga.operation((do, "d"), name="d")
    saga.operation((do, "c", result_of("b"), result_of("d")), name="c", after=("b", "d"))
    assert wait(execute_graph, saga, journal).awaited == (KEY, "x:d:action")
    first = answer(journal, "x:d:action", result=2)

    assert first.status is RUNNING
    assert isinstance(first.error, SagaPending)
    assert first.error.awaited == (KEY,)
    assert answer(journal, KEY, result=1).status is COMPLETED
    assert execute_graph(saga, journal=journal, saga_id="x") == [1, 2, "C"]


def test_waiting_is_not_a_crash(journal: Any) -> None:
    """A saga that goes back after a crash goes forward after an answer."""
    saga = order(saga=SagaAssembler.saga(name="depot", on_crash="compensate"))
    wait(orchestrate, saga, journal)
    answer(journal, KEY, result="paid", go_on=False)

    assert [done.outcome for done in recover(journal)] == [COMPLETED]
    assert depot.log == ["a", "b", "c"]


def test_recovery_reports_what_waits_again(journal: Any) -> None:
    """As running, with what it waits for; and then leaves it alone."""
    depot.behaviour["c"] = begun()
    wait(orchestrate, order(), journal)
    depot.behaviour["c"] = begun()
    answer(journal, KEY, result="paid", go_on=False)
    (done,) = recover(journal)

    assert done.outcome is RUNNING
    assert isinstance(done.error, SagaPending)
    assert done.error.awaited == ("x:c:action",)
    assert recover(journal) == []


def test_observers_hear_that_it_waits(execute: Execute, journal: Any) -> None:
    """Of the operation that does."""
    watch = Watch()
    wait(execute, order(saga=SagaAssembler.saga(name="depot", observers=[watch])), journal)

    assert "b: waiting" in watch.lines


# --- timers ---------------------------------------------------------------------------------------


def test_a_timer_succeeds_by_itself(execute: Execute, journal: Any) -> None:
    """With the result that it was given, once its time has come and somebody looks."""
    saga = order()
    depot.behaviour["b"] = lambda: later(until=time.time() + 0.02, result="kept")
    run_out(execute, saga, journal)
    recovered(journal, COMPLETED)

    assert execute(order(), journal=journal, saga_id="x")["b"] == "kept"
    assert depot.log == ["a", "b", "c"]


def test_a_timer_may_be_answered_sooner(execute: Execute, journal: Any) -> None:
    """Or refused: a person has withdrawn within the time."""
    saga = order()
    depot.behaviour["b"] = lambda: later(until=time.time() + 3600, result="kept")
    wait(execute, saga, journal)

    assert answer(journal, KEY, error=RefusedError("withdrawn")).status is COMPENSATED
    assert depot.log == ["a", "b", "undo a"]


@pytest.mark.parametrize("timers", [12])
def test_timers_one_after_another_are_no_tries(journal: Any, timers: int) -> None:
    """More of them than a saga is tried: each has done its work, and the count begins anew."""
    names = [f"t{n}" for n in range(timers)]
    for name in names:
        depot.behaviour[name] = lambda: later(until=time.time() + 0.002, result=1)
    run_out(orchestrate, chain(*names), journal)
    until(lambda: recover(journal, max_tries=10) is not None and status(journal) is not RUNNING)

    assert status(journal) is COMPLETED
    assert depot.log == names


# --- when the answer is too late ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "end", "log"),
    [
        (happened("paid"), COMPLETED, ["a", "b", "ask b", "c"]),
        (NOT_HAPPENED, COMPENSATED, ["a", "b", "ask b", "undo a"]),
        (UNKNOWN, COMPENSATED, ["a", "b", "ask b", "undo b", "undo a"]),
    ],
    ids=["happened", "not happened", "unknown"],
)
def test_what_is_overdue_is_asked_about_first(
    execute: Execute, journal: Any, said: Any, end: SagaStatus, log: list[str]
) -> None:
    """If it happened the saga goes forward; else back, and it is not asked twice."""
    saga = order(timeout=0.001, on_doubt=depot.ask)
    depot.behaviour["ask b"] = lambda: said
    run_out(execute, saga, journal)
    recovered(journal, COMPLETED, COMPENSATED)

    assert (status(journal), depot.log) == (end, log)


def test_what_is_overdue_is_undone_if_nobody_can_be_asked(execute: Execute, journal: Any) -> None:
    """It is in doubt, as after a timeout."""
    run_out(execute, order(timeout=0.001), journal)
    recovered(journal, COMPENSATED)

    assert depot.log == ["a", "b", "undo b", "undo a"]
    assert failure(execute, order(), journal).operation_name == "b"


@pytest.mark.parametrize("named", [False, True])
def test_an_overdue_pivot_is_stuck_until_it_is_answered(journal: Any, named: bool) -> None:  # noqa: FBT001
    """Nothing is undone, and it is never called again by itself, asked or not."""
    options: dict[str, Any] = {"on_doubt": depot.ask} if named else {}
    depot.behaviour["ask b"] = lambda: UNKNOWN
    run_out(orchestrate, order(timeout=0.001, pivot=True, **options), journal)
    recovered(journal, STUCK)
    assert depot.log == ["a", "b", *["ask b"] * named]

    assert answer(journal, KEY, result="paid").status is COMPLETED
    assert depot.log[-1] == "c"


def later_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an hour pass, by both clocks."""
    monkeypatch.setattr(clock, "time", lambda: time.time() + HOUR)
    monkeypatch.setattr(clock, "monotonic", lambda: time.monotonic() + HOUR)


def test_an_awaited_pivot_keeps_all_as_it_is(
    execute: Execute, in_memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deadline passes meanwhile: nothing rolls back until it is known whether the pivot has."""
    wait(execute, order(pivot=True), in_memory, deadline=HOUR / 2)
    later_on(monkeypatch)
    recover(in_memory)
    assert depot.log == ["a", "b"]
    assert status(in_memory) in (RUNNING, COMPENSATING)

    assert answer(in_memory, KEY, error=RefusedError()).status is COMPENSATED
    assert depot.log == ["a", "b", "undo a"]


def test_a_deadline_undoes_what_is_awaited(
    execute: Execute, in_memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saga is due then, though the call itself may take for ever."""
    pending = wait(execute, order(), in_memory, deadline=HOUR / 2)
    assert pending.due is not None
    assert pending.due < time.time() + HOUR
    later_on(monkeypatch)
    recover(in_memory)

    assert depot.log == ["a", "b", "undo b", "undo a"]
    assert answer(in_memory, KEY, error=RefusedError()).status is COMPENSATED
    assert depot.log == ["a", "b", "undo b", "undo a"]


def test_a_person_undoes_what_is_awaited(journal: Any) -> None:
    """`compensate`: it is in doubt at once; what succeeds later is undone once more."""
    wait(orchestrate, order(), journal)
    repair.compensate(journal, "x", **WHO)
    recovered(journal, COMPENSATED)
    assert depot.log == ["a", "b", "undo b", "undo a"]

    assert answer(journal, KEY, result="paid").status is COMPENSATED
    assert depot.log == ["a", "b", "undo b", "undo a", "undo b"]


def test_a_failure_beside_it_undoes_what_is_awaited(execute_graph: Execute, journal: Any) -> None:
    """The cause is the failure, and not that nobody has answered."""
    depot.behaviour.update(b=begun(), d=fail(ValueError("no stock")))
    saga = SagaAssembler.saga(name="depot").operation((do, "b"), (undo, "b"), name="b")
    saga.operation((do, "d"), name="d", after=())
    error = failure(execute_graph, saga, journal)

    assert error.operation_name == "d"
    assert depot.log.count("undo b") == depot.log.count("b")
    assert status(journal) is COMPENSATED


def test_resolve_of_what_is_awaited_says_what_to_do(journal: Any) -> None:
    """Its answer is not a person's word about it; taking the saga over does nothing to it."""
    wait(orchestrate, order(), journal)
    with pytest.raises(Exception, match="answer"):
        repair.resolve(journal, "x", "b", Status.SUCCEEDED, 1, **WHO)
    done = takeover(journal, "x")

    assert done.outcome is RUNNING
    assert isinstance(done.error, SagaPending)
    assert answer(journal, KEY, result="paid").status is COMPLETED


# --- compensations that wait ----------------------------------------------------------------------


def undone_later(timeout: float | None = None) -> SagaAssembler:
    """A saga that is undone, of which one compensation waits."""
    depot.behaviour.update({"take back b": begun(timeout), "c": fail(ValueError("no courier"))})
    return (
        SagaAssembler.saga(name="depot")
        .operation((do, "a"), (undo, "a"), name="a")
        .operation((do, "b"), (do, "take back b"), name="b", after="a")
        .operation((do, "c"), name="c", after="b")
    )


def test_a_compensation_waits_as_well(execute: Execute, journal: Any) -> None:
    """The saga is being undone meanwhile, and what comes before it is undone after the answer."""
    pending = wait(execute, undone_later(), journal)
    assert pending.awaited == ("x:b:compensation",)
    assert status(journal) is COMPENSATING
    assert depot.log == ["a", "b", "c", "take back b"]
    answered = answer(journal, "x:b:compensation", result="back")

    assert answered.status is COMPENSATED
    assert depot.log == ["a", "b", "c", "take back b", "undo a"]
    assert failure(execute, undone_later(), journal).operation_name == "c"


def test_a_compensation_that_is_refused_is_stuck(execute: Execute, journal: Any) -> None:
    """It is not made again, whatever its retry says."""
    wait(execute, undone_later(), journal)
    answered = answer(journal, "x:b:compensation", error=RefusedError("no refunds"))

    assert answered.status is STUCK
    assert isinstance(answered.error, SagaStuck)
    assert depot.log == ["a", "b", "c", "take back b", "undo a"]


def test_a_compensation_that_is_overdue_is_stuck_until_it_is_answered(journal: Any) -> None:
    """As one past its timeout: it is not made again, and the answer resolves it."""
    run_out(orchestrate, undone_later(0.001), journal)
    recovered(journal, STUCK)

    assert answer(journal, "x:b:compensation", result="back").status is COMPENSATED
    assert depot.log == ["a", "b", "c", "take back b", "undo a"]


# --- and what was given up lands meanwhile --------------------------------------------------------


@pytest.mark.parametrize("moment", ["just as it is put down", "afterwards"])
def test_what_lands_while_an_undo_waits_is_undone_once_more(journal: Any, moment: str) -> None:
    """The action had its time and was given up; its undo has only begun something."""
    go_on, waits = threading.Event(), threading.Event()

    def slow() -> str:
        assert go_on.wait(PATIENCE)
        return "A"

    def land() -> None:
        go_on.set()
        for thread in threading.enumerate():
            if thread.name == "saga a":
                thread.join(PATIENCE)

    def heard(event: Event) -> None:
        if event.kind == "waiting" and not waits.is_set():
            waits.set()
            if moment != "afterwards":
                land()

    depot.behaviour.update({"a": slow, "undo a": lambda: later(timeout=None)})
    saga = SagaAssembler.saga(observers=[heard]).operation(
        (do, "a"), (undo, "a"), name="a", timeout=0.05
    )
    with pytest.raises(SagaPending) as caught:
        saga.orchestrator_execute(journal=journal, saga_id="x")
    assert caught.value.awaited == ("x:a:compensation",)
    land()

    assert status(journal, "x") is COMPENSATING
    assert answer(journal, "x:a:compensation", result=None).status is COMPENSATING
    assert depot.log == ["a", "undo a", "undo a"]
    assert answer(journal, "x:a:compensation:2", result=None).status is COMPENSATED
    assert list(journal.waiting()) == []


# --- a COMMIT that seemed to fail -----------------------------------------------------------------


def test_a_suspension_that_seemed_to_fail_is_one(tmp_path: Path) -> None:
    """It is on disk, and somebody has claimed the saga since: its caller is told that it waits."""
    with closing(SQLiteJournal(tmp_path / "sagas.db", modules=["depot"])) as journal:
        saga = order()
        depot.behaviour["b"] = lambda: (Lost(journal), later(timeout=None))[1]
        pending = wait(orchestrate, saga, journal)

        assert pending.awaited == (KEY,)
        assert (seen(journal, "x").owner, len(bodies(journal, "x"))) == (0, 3)
        assert answer(journal, KEY, result="paid").status is COMPLETED


class Lost:
    """A connection of which the next COMMIT seems to fail once it is on disk."""

    def __init__(self, journal: SQLiteJournal) -> None:
        self._real: Any = journal.shared.file.connection
        self._file = journal.shared.file
        self._file.connection = self  # type: ignore[assignment]

    def execute(self, sql: str, *parameters: Any) -> Any:
        if sql == "COMMIT":
            self._file.connection = self._real
            self._real.execute(sql)
            message = "disk I/O error"
            raise sqlite3.OperationalError(message)
        return self._real.execute(sql, *parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def test_what_lands_when_others_have_gone_on_answers_for_itself(
    journal: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Its saga was left while it waited, and is over: the effect is undone once more."""
    go_on, log = threading.Event(), logging.getLogger("py_api_saga")

    def slow() -> str:
        assert go_on.wait(PATIENCE)
        return "A"

    depot.behaviour.update({"a": slow, "undo a": lambda: later(timeout=None)})
    saga = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a", timeout=0.05)
    wait(orchestrate, saga, journal)
    assert answer(journal, "x:a:compensation", result=None).status is COMPENSATED
    del depot.behaviour["undo a"]
    with caplog.at_level("WARNING", log.name):
        go_on.set()
        until(lambda: "finished after its timeout" in caplog.text)
        until(journal.waiting)
    recover(journal)

    assert depot.log == ["a", "undo a", "undo a"]
    assert depot.keys[-1] == "x:a:compensation:2"
    assert status(journal, "x") is COMPENSATED
    assert list(journal.waiting()) == []
