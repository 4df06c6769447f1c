"""`answer`: an answer to a call goes on with the saga that waits for it, whenever it comes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import depot
import pytest
from depot import ado, aundo, do, fail, undo
from letterbox import Lost, RefusedError, begun, failure, letters, order, recovered, run_out, wait
from recorded import Reversed, Salted, Wrapped, bodies, crashed, seen, status
from strikes import KINDS, Tracer, files_of, line_of
from world import HOUR, PATIENCE, Watch, in_child, in_time, until

from py_api_saga import (
    JournalError,
    Retry,
    SagaAssembler,
    SagaConflict,
    SagaDefinitionError,
    SagaException,
    SagaPending,
    SagaStatus,
    aanswer,
    answer,
    arecover,
    clock,
    later,
    recover,
    repair,
    result_of,
    saga_status,
)
from py_api_saga.durable.recovery import MAX_TRIES
from py_api_saga.exceptions import RecordedError
from py_api_saga.journal import MemoryJournal
from py_api_saga.journal.changes import Change, Mail

Execute = Callable[..., Any]
KEY = "x:b:action"
COMPLETED, COMPENSATED = SagaStatus.COMPLETED, SagaStatus.COMPENSATED


# --- in time --------------------------------------------------------------------------------------


def test_an_answer_goes_on_with_the_saga(execute: Execute, journal: Any) -> None:
    """The result of the call is what was answered, and whoever runs the saga again is told."""
    wait(execute, order(), journal)
    answered = answer(journal, KEY, result="paid")

    assert (answered.saga_id, answered.known, answered.status) == ("x", False, COMPLETED)
    assert answered.error is None
    assert depot.log == ["a", "b", "c"]
    assert execute(order(), journal=journal, saga_id="x") == ["A", "paid", "C"]
    assert depot.log == ["a", "b", "c"]


def test_a_refusal_undoes_what_was_done(execute: Execute, journal: Any) -> None:
    """But nothing of what was refused; the caller is told the reason, as any other process is."""
    wait(execute, order(), journal)
    answered = answer(journal, KEY, error=RefusedError("no money"))

    assert answered.status is COMPENSATED
    assert isinstance(answered.error, SagaException)
    assert depot.log == ["a", "b", "undo a"]
    error = failure(execute, order(), journal)
    assert error.operation_name == "b"
    assert isinstance(error.operation_error, RecordedError)
    assert "no money" in str(error.operation_error)


def test_a_refusal_is_final(execute: Execute, journal: Any) -> None:
    """The call is not made again, whatever its retry says, and nothing is in doubt."""
    saga = order(retry=Retry(RefusedError, attempts=5, wait_initial=0), doubtful=RefusedError)
    wait(execute, saga, journal)
    answer(journal, KEY, error=RefusedError())

    assert depot.log == ["a", "b", "undo a"]
    assert status(journal) is COMPENSATED


def test_what_only_posts_leaves_the_rest_to_a_worker(execute: Execute, journal: Any) -> None:
    """The saga stays as it is; recovery lists it, and goes on."""
    wait(execute, order(), journal)
    assert recover(journal) == []
    answered = answer(journal, KEY, result="paid", go_on=False)

    assert (answered.status, answered.error) == (SagaStatus.RUNNING, None)
    assert depot.log == ["a", "b"]
    assert [done.outcome for done in recover(journal)] == [COMPLETED]
    assert recover(journal) == []


def test_the_same_answer_again_changes_nothing(journal: Any) -> None:
    """Before the saga goes on, and after its end: it is known."""
    wait(SagaAssembler.orchestrator_execute, order(), journal)
    known = [
        answer(journal, KEY, result={"id": 7}, go_on=go_on).known
        for go_on in (False, False, True, True)
    ]

    assert known == [False, True, True, True]
    assert status(journal) is COMPLETED
    assert depot.log == ["a", "b", "c"]


@pytest.mark.parametrize("go_on", [False, True])
@pytest.mark.parametrize(
    "other", [{"result": {"id": 8}}, {"error": RefusedError()}, {"result": None}], ids=str
)
def test_another_answer_is_a_conflict(journal: Any, other: Any, go_on: bool) -> None:  # noqa: FBT001
    """The first one stands, before and after the end of the saga."""
    wait(SagaAssembler.orchestrator_execute, order(), journal)
    answer(journal, KEY, result={"id": 7}, go_on=go_on)
    with pytest.raises(SagaConflict):
        answer(journal, KEY, **other)
    recover(journal)

    results = order().orchestrator_execute(journal=journal, saga_id="x")
    assert results["b"] == {"id": 7}


def test_an_answer_is_read_and_compared_behind_a_codec(open_journal: Callable[..., Any]) -> None:
    """What is stored is hidden, also of the mail; the same answer is known all the same."""
    journal = open_journal(codec=Reversed())
    wait(SagaAssembler.orchestrator_execute, order(), journal)
    answer(journal, KEY, result="a secret", go_on=False)

    assert "secret" not in str(letters(journal))
    assert answer(journal, KEY, result="a secret").known
    assert "secret" not in str(bodies(journal, "x"))
    assert order().orchestrator_execute(journal=journal, saga_id="x")["b"] == "a secret"


def test_the_same_answer_is_known_however_it_was_sealed(
    open_journal: Callable[..., Any],
) -> None:
    """A codec may write the same in another way each time."""
    journal = open_journal(codec=Salted())
    wait(SagaAssembler.orchestrator_execute, order(), journal)

    known = [answer(journal, KEY, result={"id": 7}, go_on=False).known for _ in range(2)]
    assert known == [False, True]
    with pytest.raises(SagaConflict):
        answer(journal, KEY, result={"id": 8})


def test_observers_hear_of_the_answer_from_whoever_goes_on(journal: Any) -> None:
    """And of all that follows, as in any recovery."""
    wait(SagaAssembler.orchestrator_execute, order(), journal)
    watch = Watch()
    answer(journal, KEY, result=1, observers=[watch])

    assert "b: answered" in watch.lines
    assert watch.lines[-1] == "saga: saga ended"


# --- early ----------------------------------------------------------------------------------------


def test_an_answer_may_come_before_its_call_has_returned(execute: Execute, journal: Any) -> None:
    """The call is overtaken: its saga goes on with the answer, and never waits."""
    saga = order()

    def ask() -> Any:
        answered = answer(journal, KEY, result="paid")
        assert not answered.known
        return later(timeout=None)

    depot.behaviour["b"] = ask

    assert execute(saga, journal=journal, saga_id="x") == ["A", "paid", "C"]
    assert depot.log == ["a", "b", "c"]


def test_an_answer_between_two_attempts_makes_a_third_needless(
    execute: Execute, journal: Any
) -> None:
    """The call has raised, and would be made again under the same key."""
    saga = order(retry=Retry(ConnectionError, attempts=3, wait_initial=5, wait_jitter=0))

    def ask() -> Any:
        answer(journal, KEY, result="paid", go_on=False)
        raise ConnectionError("reset by peer")

    depot.behaviour["b"] = ask

    assert execute(saga, journal=journal, saga_id="x") == ["A", "paid", "C"]
    assert depot.log == ["a", "b", "c"]


def test_an_answer_after_a_crash_makes_its_call_needless(journal: Any) -> None:
    """It is not known what came of the call, which would be made again: now it is known."""
    crashed(journal, order(), good=2)
    assert depot.log == ["a", "b"]

    assert answer(journal, KEY, result="paid").status is COMPLETED
    assert depot.log == ["a", "b", "c"]


def test_a_refusal_after_a_crash_leaves_no_doubt(journal: Any) -> None:
    """Nothing is undone of what was refused, though the call was lost with its process."""
    crashed(journal, order(), good=2)

    assert answer(journal, KEY, error=RefusedError()).status is COMPENSATED
    assert depot.log == ["a", "b", "undo a"]


def test_an_answer_that_came_in_time_is_in_time_whenever_it_is_read(
    in_memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its saga is due when it is recovered, and the answer was there before."""
    wait(SagaAssembler.orchestrator_execute, order(timeout=HOUR), in_memory)
    answer(in_memory, KEY, result="paid", go_on=False)
    monkeypatch.setattr(clock, "time", lambda: time.time() + 2 * HOUR)

    assert [done.outcome for done in recover(in_memory)] == [COMPLETED]
    assert depot.log == ["a", "b", "c"]


def test_an_answer_is_left_while_its_call_is_in_flight(
    execute_graph: Execute, journal: Any
) -> None:
    """Though the saga writes meanwhile, it is not lost: it counts once the call has returned."""
    asked, written = threading.Event(), threading.Event()
    saga = SagaAssembler.saga(name="depot").operation((do, "a"), name="a")
    saga.operation((do, "b"), name="b").operation((do, "d"), name="d", after="a")
    saga.operation((do, "c", result_of("b")), name="c", after=("b", "d"))

    def a() -> str:
        assert asked.wait(PATIENCE)
        return "A"

    def b() -> Any:
        answer(journal, KEY, result="paid", go_on=False)
        asked.set()  # now a returns, and this is written while b still runs
        assert written.wait(PATIENCE)
        return later(timeout=None)

    def d() -> str:
        written.set()
        return "D"

    depot.behaviour.update(a=a, b=b, d=d)

    results = in_time(
        lambda: execute_graph(_in_threads(saga, execute_graph), journal=journal, saga_id="x")
    )
    assert (results["b"], results["c"]) == ("paid", "C")


def _in_threads(saga: SagaAssembler, execute: Execute) -> SagaAssembler:
    """Give all operations a time limit where they would run in the loop, one after the other."""
    if not execute.__name__.startswith("a"):
        return saga
    made = SagaAssembler.saga(name="depot")
    made.operation((do, "a"), name="a", timeout=PATIENCE)
    made.operation((do, "b"), name="b", timeout=PATIENCE)
    made.operation((do, "d"), name="d", after="a", timeout=PATIENCE)
    return made.operation((do, "c", result_of("b")), name="c", after=("b", "d"), timeout=PATIENCE)


def test_whoever_drives_the_saga_takes_the_answer(journal: Any) -> None:
    """Another operation still runs: the answer is only posted, and its thread goes on."""
    runs, go = threading.Event(), threading.Event()
    saga = SagaAssembler.saga(name="depot").operation((do, "b"), name="b")
    saga.operation((do, "slow"), name="slow").operation((do, "c"), name="c", after=("b", "slow"))

    def slow() -> None:
        until(lambda: (found := saga_status(journal, "x")) and found.awaited)
        runs.set()
        assert go.wait(PATIENCE)

    depot.behaviour.update(b=begun(), slow=slow)
    results: list[Any] = []
    driver = threading.Thread(
        target=lambda: results.append(saga.choreography_execute(journal=journal, saga_id="x"))
    )
    driver.start()
    assert runs.wait(PATIENCE)
    answered = answer(journal, KEY, result="paid")
    go.set()
    driver.join(PATIENCE)

    assert (answered.status, answered.known, answered.error) == (SagaStatus.RUNNING, False, None)
    assert results[0]["b"] == "paid"
    assert depot.log.count("c") == 1


def test_whoever_drives_the_saga_looks_into_the_mail_before_it_is_too_late(
    in_memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another operation still ran when the answer came, and until after its time."""
    ahead = [0.0]
    monkeypatch.setattr(clock, "time", lambda: time.time() + ahead[0])
    saga = SagaAssembler.saga(name="depot").operation((do, "b"), (undo, "b"), name="b")
    saga.operation((do, "slow"), name="slow")

    def slow() -> None:
        until(lambda: (found := saga_status(in_memory, "x")) and found.awaited)
        answer(in_memory, KEY, result="paid", go_on=False)
        ahead[0] = 2 * HOUR

    depot.behaviour.update(b=begun(HOUR), slow=slow)

    assert saga.choreography_execute(journal=in_memory, saga_id="x")["b"] == "paid"


def test_whoever_answers_looks_who_drives_once_the_answer_is_on_disk(journal: Any) -> None:
    """The saga was driven before that, and then left by whoever drove it, who found no mail."""
    saga, answers, answered = order(), threading.Event(), list[Any]()

    class Late(Wrapped):
        def write(self, *changes: Change) -> None:
            if isinstance(changes[0], Mail):
                answers.set()
                until(lambda: not journal.drives(seen(journal, "x")))
            journal.write(*changes)

    def reply() -> None:
        answered.append(answer(Late(journal), KEY, result="paid"))

    def ask() -> Any:
        thread.start()
        assert answers.wait(PATIENCE)
        return later(timeout=None)

    thread = threading.Thread(target=reply)
    depot.behaviour["b"] = ask
    wait(SagaAssembler.orchestrator_execute, saga, journal)
    thread.join(PATIENCE)

    assert answered[0].status is COMPLETED


# --- late -----------------------------------------------------------------------------------------


def test_what_succeeded_after_its_rollback_is_undone_once_more(
    execute: Execute, journal: Any
) -> None:
    """Under the next key, since the first undo found nothing; and once, though it comes twice."""
    run_out(execute, order(timeout=0.001), journal)
    recovered(journal, COMPENSATED)
    for known in (False, True):
        assert answer(journal, KEY, result="paid").known is known

    assert status(journal) is COMPENSATED
    assert [key for key in depot.keys if ":b:compensation" in key] == [
        "x:b:compensation",
        "x:b:compensation:2",
    ]
    assert depot.log.count("undo a") == 1


def test_any_number_of_late_answers_are_no_tries(journal: Any) -> None:
    """Each undoes what has succeeded after all; none is given up for those that came before."""
    names = [f"p{i}" for i in range(MAX_TRIES + 1)]
    saga = SagaAssembler.saga(name="depot")
    for name in names:
        depot.behaviour[name] = begun(0)
        saga.operation((do, name), (undo, name), name=name)
    with contextlib.suppress(SagaException, SagaPending):
        saga.choreography_execute(journal=journal, saga_id="x")
    recover(journal)
    assert status(journal) is COMPENSATED
    depot.log.clear()

    for name in names:
        answer(journal, f"x:{name}:action", result="paid after all")

    assert status(journal) is COMPENSATED
    assert depot.log == [f"undo {name}" for name in names]


def test_what_was_refused_after_its_rollback_changes_nothing(journal: Any) -> None:
    """It is on record, and that is all."""
    run_out(SagaAssembler.orchestrator_execute, order(timeout=0.001), journal)
    recovered(journal, COMPENSATED)
    before = [*depot.log]
    answered = answer(journal, KEY, error=RefusedError())

    assert (answered.known, answered.status) == (False, COMPENSATED)
    assert depot.log == before
    assert recover(journal) == []


def test_a_late_answer_that_was_only_posted_is_seen_by_a_worker(journal: Any) -> None:
    """Though its saga has ended."""
    run_out(SagaAssembler.orchestrator_execute, order(timeout=0.001), journal)
    recovered(journal, COMPENSATED)
    answer(journal, KEY, result="paid", go_on=False)

    assert [done.outcome for done in recover(journal)] == [COMPENSATED]
    assert depot.log.count("undo b") == 2
    assert recover(journal) == []


def test_an_answer_in_the_last_compensation_is_not_left(journal: Any) -> None:
    """It comes while the last row is on its way: whoever drives the saga goes on, not a worker."""
    run_out(SagaAssembler.orchestrator_execute, order(timeout=0.001), journal)
    depot.behaviour["undo a"] = lambda: answer(journal, KEY, result="paid", go_on=False)
    recovered(journal, COMPENSATED)

    assert depot.log.count("undo b") == 2
    assert recover(journal) == []


def test_an_answer_to_a_parked_call_resolves_it(journal: Any) -> None:
    """Nobody has to say what came of it any more."""
    saga = order(timeout=0.001, on_doubt="park")
    run_out(SagaAssembler.orchestrator_execute, saga, journal)
    recovered(journal, SagaStatus.STUCK)
    answered = answer(journal, KEY, error=RefusedError())

    assert answered.status is COMPENSATED
    assert depot.log == ["a", "b", "undo a"]


# --- in a loop, in a fork -------------------------------------------------------------------------


def coroutines() -> SagaAssembler:
    """A saga of coroutine functions that waits."""
    depot.behaviour["b"] = begun()
    return (
        SagaAssembler.saga(name="depot")
        .operation((ado, "a"), (aundo, "a"), name="a")
        .operation((ado, "b"), (aundo, "b"), name="b", after="a")
        .operation((ado, "c", result_of("b")), name="c", after="b")
    )


def test_coroutine_functions_are_gone_on_with_outside_a_loop(
    execute_async: Execute, journal: Any
) -> None:
    """As recovery does."""
    wait(execute_async, coroutines(), journal)

    assert answer(journal, KEY, result="paid").status is COMPLETED
    assert depot.log == ["a", "b", "c"]


def test_coroutine_functions_are_gone_on_with_in_a_loop(
    execute_async: Execute, journal: Any
) -> None:
    """By `aanswer`; and an answer before them is left to others by `answer`, which would block."""
    wait(execute_async, coroutines(), journal)

    async def main() -> Any:
        return await aanswer(journal, KEY, result="paid")

    answered = asyncio.run(main())
    assert (answered.status, answered.known, answered.error) == (COMPLETED, False, None)
    assert depot.log == ["a", "b", "c"]


def test_an_answer_given_in_a_loop_is_on_record(journal: Any) -> None:
    """Whoever recovers in the loop goes on, if nobody has."""
    wait(
        lambda saga, **options: asyncio.run(saga.aorchestrator_execute(**options)),
        coroutines(),
        journal,
    )

    async def main() -> None:
        answer(journal, KEY, result="paid", go_on=False)
        await arecover(journal)

    asyncio.run(main())
    assert status(journal) is COMPLETED


def test_a_child_of_a_fork_answers(open_journal: Callable[..., Any]) -> None:
    """With the journal of its parent, who sees what became of it."""
    journal = open_journal()
    if isinstance(journal, MemoryJournal):
        pytest.skip("what is in memory is not shared")
    wait(SagaAssembler.orchestrator_execute, order(), journal)

    assert in_child(lambda: answer(journal, KEY, result="paid").status) == str(COMPLETED)
    assert status(journal) is COMPLETED
    assert answer(journal, KEY, result="paid").known


# --- what goes wrong ------------------------------------------------------------------------------


def test_what_is_not_on_disk_is_an_error(journal: Any) -> None:
    """So that whoever has the answer gives it again; nothing of it is there."""
    wait(SagaAssembler.orchestrator_execute, order(), journal)
    with pytest.raises(JournalError, match="the disk is full"):
        answer(Lost(journal), KEY, result="paid")
    assert not letters(journal)
    assert status(journal) is SagaStatus.RUNNING

    assert not answer(journal, KEY, result="paid").known


def test_what_the_saga_raises_then_is_not_raised(journal: Any) -> None:
    """It is given: the answer is on record, whatever comes of it."""
    wait(SagaAssembler.orchestrator_execute, order(), journal)
    depot.behaviour["c"] = fail(ValueError("no courier"))
    answered = answer(journal, KEY, result="paid")

    assert answered.status is COMPENSATED
    assert isinstance(answered.error, SagaException)
    assert answered.error.operation_name == "c"
    assert depot.log == ["a", "b", "c", "undo b", "undo a"]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_raised_once_the_saga_was_let_go(
    journal: Any, interrupt: type[BaseException]
) -> None:
    """The answer is on record, nobody drives the saga, and recovery goes on with it."""
    wait(SagaAssembler.orchestrator_execute, order(), journal)
    depot.behaviour["c"] = fail(interrupt())
    with pytest.raises(interrupt):
        answer(journal, KEY, result="paid")
    del depot.behaviour["c"]

    assert not journal.drives(seen(journal, "x"))
    assert answer(journal, KEY, result="paid", go_on=False).known
    recovered(journal, COMPLETED, COMPENSATED)


@pytest.mark.usefixtures("mute")
@pytest.mark.parametrize("struck_by", KINDS)
def test_an_interrupt_anywhere_in_an_answer_lets_the_saga_go(
    struck_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two steps of its own as well: nobody drives it then, though this process lives."""
    monkeypatch.setattr("strikes.PLACES", files_of("durable/answering"))

    def struck(target: Any = None) -> tuple[Tracer, MemoryJournal]:
        depot.reset()
        journal = MemoryJournal(modules=["depot"])
        wait(SagaAssembler.orchestrator_execute, order(), journal)
        tracer = Tracer(target, KINDS[struck_by])
        tracer.during(lambda: answer(journal, KEY, result="paid"))
        return tracer, journal

    undisturbed, _ = struck()
    held, strikes = [], 0
    for place in undisturbed.places():
        tracer, journal = struck(place)
        strikes += tracer.struck
        if journal.drives(seen(journal, "x")):
            held.append(line_of(*place[:2]))
        answer(journal, KEY, result="paid", go_on=False)
        recovered(journal, COMPLETED)
    assert not held
    assert strikes


def test_whoever_answers_in_a_loop_that_is_closed_wakes_nobody(journal: Any) -> None:
    """Nor is that an error: the answer is on record."""
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(order().aorchestrator_execute(journal=journal, saga_id="x", wait=60))

    def is_awaited() -> bool:
        found = saga_status(journal, "x")
        return found is not None and bool(found.awaited)

    async def begun_to_wait() -> None:
        await asyncio.to_thread(until, is_awaited)

    loop.run_until_complete(begun_to_wait())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()

    assert answer(journal, KEY, result="paid").status is COMPLETED
    del waiting


def test_who_is_cancelled_while_going_on_undoes_nothing(journal: Any) -> None:
    """As with a client that hangs up: what was answered stands, and that is raised in the end."""
    wait(SagaAssembler.orchestrator_execute, order(), journal)

    async def main() -> None:
        watch = asyncio.Event()
        loop = asyncio.get_running_loop()

        def cancel() -> None:
            loop.call_soon_threadsafe(watch.set)
            until(answering.cancelling)

        depot.behaviour["c"] = cancel
        answering = asyncio.create_task(aanswer(journal, KEY, result="paid"))
        await watch.wait()
        answering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answering

    asyncio.run(main())
    assert status(journal) is COMPLETED
    assert depot.log == ["a", "b", "c"]


def test_a_purged_saga_takes_no_answer(journal: Any) -> None:
    """Nobody can use it: whoever has it is to look."""
    run_out(SagaAssembler.orchestrator_execute, order(timeout=0.001), journal)
    recovered(journal, COMPENSATED)
    repair.purge(journal, seen(journal, "x"))
    with pytest.raises(SagaConflict, match="purged"):
        answer(journal, KEY, result="paid")
    repair.purge(journal, seen(journal, "x"), forget=True)
    with pytest.raises(LookupError):
        answer(journal, KEY, result="paid")


# --- bad input ------------------------------------------------------------------------------------

BAD: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "no key": ("", {"result": 1}, SagaDefinitionError, "key"),
    "no id": ("\ud800:b:action", {"result": 1}, SagaDefinitionError, "key"),
    "not text": (b"x:b:action", {"result": 1}, SagaDefinitionError, "bytes"),
    "no idempotency key": ("x", {"result": 1}, SagaDefinitionError, "key"),
    "no such saga": ("nope:b:action", {"result": 1}, LookupError, "nope"),
    "no such operation": ("x:nope:action", {"result": 1}, LookupError, "not begun"),
    "not started": ("x:c:action", {"result": 1}, LookupError, "not begun"),
    "not undone": ("x:b:compensation", {"result": 1}, LookupError, "not begun"),
    "another generation": ("x:b:compensation:2", {"result": 1}, LookupError, "not begun"),
    "neither": (KEY, {}, SagaDefinitionError, "neither|result"),
    "both": (KEY, {"result": 1, "error": ValueError()}, SagaDefinitionError, "both|result"),
    "no error": (KEY, {"error": "no"}, SagaDefinitionError, "error"),
    "a class": (KEY, {"error": ValueError}, SagaDefinitionError, "error"),
    "an interrupt": (KEY, {"error": KeyboardInterrupt()}, SagaDefinitionError, "error"),
    "not storable": (KEY, {"result": object()}, SagaDefinitionError, "object"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_anything_is_written(journal: Any, case: str) -> None:
    """The answer can be given again, and the saga is as it was."""
    key, outcome, error, words = BAD[case]
    wait(SagaAssembler.orchestrator_execute, order(), journal)
    before = bodies(journal, "x"), seen(journal, "x")
    with pytest.raises(error, match=words):
        answer(journal, key, **outcome)

    assert (bodies(journal, "x"), seen(journal, "x")) == before
    assert not letters(journal)
    assert answer(journal, KEY, result="paid").status is COMPLETED


def test_a_key_may_come_as_a_header_has_it(journal: Any) -> None:
    """Between quotes, and with what names one request of the call behind it."""
    wait(SagaAssembler.orchestrator_execute, order(), journal)

    assert not answer(journal, f'"{KEY}"', result="paid", go_on=False).known
    assert answer(journal, f'"{KEY};POST /charges"', result="paid").known
    assert status(journal) is COMPLETED


@pytest.mark.parametrize("asked", ["answer", "aanswer"])
def test_an_answer_on_record_raises_nothing_of_the_journals(journal: Any, asked: str) -> None:
    """What can't be gone on with, or even looked at, is told; the answer is there for a worker."""
    wait(SagaAssembler.orchestrator_execute, order(), journal)

    class Shut(Wrapped):
        posted = False

        def write(self, *changes: Change) -> None:
            self._journal.write(*changes)
            self.posted |= any(isinstance(change, Mail) for change in changes)

        async def awrite(self, *changes: Change) -> None:
            self.write(*changes)

        def find(self, saga_id: str) -> Any:
            if self.posted:
                message = "the disk is gone"
                raise JournalError(message)
            return self._journal.find(saga_id)

    shut: Any = Shut(journal)
    if asked == "answer":
        told = answer(shut, KEY, result="paid")
    else:
        told = asyncio.run(aanswer(shut, KEY, result="paid"))

    assert isinstance(told.error, JournalError)
    assert (told.status, told.known) == (SagaStatus.RUNNING, False)
    recovered(journal, SagaStatus.COMPLETED)
    assert depot.log == ["a", "b", "c"]
