"""The machine: what is ready, what may be told, and how every saga ends.

The first part lets a world loose on it: any graph, any outcomes, crashes, late landings, aborts,
persons (`machine_world.World` holds the promises). `SAGA_EXAMPLES=20000` tries new ones for longer.
The rest tells one story for each rule.
"""

import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from machine_world import (
    Dialogue,
    Op,
    World,
    again,
    define,
    replayed,
    resolved,
    state,
)
from world import HOUR, Clock

from py_api_saga import (
    Event,
    Retry,
    SagaAssembler,
    SagaException,
    SagaStatus,
    SagaStuck,
    Status,
    happened,
)
from py_api_saga.definition import Definition
from py_api_saga.entries import (
    ABORT,
    ACTION,
    ASK,
    COMPENSATION,
    FAILED,
    HAPPENED,
    IN_DOUBT,
    NOT_HAPPENED,
    RETRY,
    STARTED,
    SUCCEEDED,
    UNKNOWN,
    Entry,
    Setback,
)
from py_api_saga.execution import Execution, IllegalMoveError
from py_api_saga.status import LEGAL, MISSING, SAGA_LEGAL

Execute = Callable[..., Any]

EXAMPLES = int(os.environ.get("SAGA_EXAMPLES", "0"))


# --- any graph, any outcome -----------------------------------------------------------------------


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    """Draw a saga of up to six operations, with or without a pivot."""
    count = draw(st.integers(1, 6))
    pivot = draw(st.sampled_from([-1, -1, *range(count)]))
    plan = []
    for i in range(count):
        after = draw(st.sets(st.integers(0, i - 1), max_size=3)) if i else set()
        if pivot >= 0:  # all others come before or after it
            after = set(range(i)) if i == pivot else after | {pivot} if i > pivot else after
        undo = draw(st.sampled_from(["plain", "plain", "needs result", "none"]))
        doubt: Any = draw(st.sampled_from(["proceed", "proceed", "park", "ask"]))
        plan.append(
            Op(tuple(sorted(after)), undo != "none", undo == "needs result", doubt, i == pivot)
        )
    on_crash: Any = draw(st.sampled_from(["resume", "resume", "compensate"]))
    return define(*plan, chain=draw(st.sampled_from([False, False, True])), on_crash=on_crash)


@pytest.mark.untraced
@settings(
    max_examples=EXAMPLES or 500,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(definitions(), st.integers(0, 1 << 32), st.integers(0, 150))
def test_every_promise_holds_in_any_world(definition: Definition, seed: int, wild: int) -> None:
    """Failures, doubts, crashes, landings and persons, in any order: `World` says what holds.

    Its script is random and `wild` bytes long: drawn by Hypothesis it would be rather peaceful.
    """
    World(definition, random.Random(seed).randbytes(wild)).live()  # noqa: S311  # no secret


@pytest.mark.untraced
@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(definitions())
def test_in_peace_every_saga_completes(definition: Definition) -> None:
    """Without trouble each operation is started once, in an order that respects the edges."""
    world = World(definition, b"")

    world.live()

    assert world.x.saga is SagaStatus.COMPLETED
    assert [entry[0] for entry in world.x.entries].count(STARTED) == len(definition.operations)
    assert world.x.trouble is None


# --- the table of moves ---------------------------------------------------------------------------


def one(**options: Any) -> Dialogue:
    """Begin a saga of one operation."""
    return Dialogue(define(Op(**options)))


def chain(*plan: Op) -> Dialogue:
    """Begin a saga of operations in a row."""
    return Dialogue(define(*plan, chain=True))


def graph(*plan: Op) -> Dialogue:
    """Begin a saga of operations that wait for what they declare."""
    return Dialogue(define(*plan))


def all_goes_well() -> Dialogue:
    """Succeed."""
    d = chain(Op(), Op())
    d.do("a", "b")
    return d


def a_failure_undoes_what_was_done() -> Dialogue:
    """Fail after a retry, and retry an undo as well."""
    d = chain(Op(), Op(undo=False), Op())
    d.do("a", "b")
    d.retry("c")
    d.fail("c")
    d.start("a")
    d.end(RETRY, "a", Setback(ValueError(), 0.0))
    d.do("a")
    return d


def a_person_finishes_what_stuck_behind_the_pivot() -> Dialogue:
    """Call again, then say that it happened."""
    d = chain(Op(pivot=True), Op(), Op())
    d.do("a")
    d.fail("b")
    d.again("b")
    d.fail("b")
    d.resolve("b", Status.SUCCEEDED)
    d.fail("c")
    d.resolve("c", Status.SUCCEEDED)
    return d


def what_was_parked_is_undone_by_a_person() -> Dialogue:
    """Say that it did not happen."""
    d = chain(Op(undo=False), Op(on_doubt="park"))
    d.do("a")
    d.start("b")
    d.crash()
    d.crash()
    d.resolve("b", Status.FAILED)
    return d


def a_parked_operation_is_compensated() -> Dialogue:
    """Compensate what is stuck; when that fails, say that it is undone."""
    d = one(on_doubt="park")
    d.start("a")
    d.crash()
    d.abort()
    d.fail("a")
    d.resolve("a", Status.COMPENSATED)
    return d


def a_parked_operation_has_nothing_to_undo() -> Dialogue:
    """Compensate what is stuck, where nothing can be undone."""
    d = one(on_doubt="park", undo=False)
    d.start("a")
    d.crash()
    d.abort()
    return d


def doubt_is_resolved_in_every_way() -> Dialogue:
    """Roll back with six operations in doubt, of every kind."""
    d = graph(*[Op(on_doubt="ask")] * 3, Op(undo=False), Op(on_doubt="park"), Op(), Op())
    d.start(*"abcdefg")
    for name in "abcdef":
        d.lose(name)
    d.end(FAILED, "g", ValueError("g"))
    for name, answer in zip("abc", (HAPPENED, NOT_HAPPENED, UNKNOWN), strict=True):
        d.start(name)
        d.end(answer, name)
    for name in "acf":
        d.do(name)
    return d


def a_crash_calls_again() -> Dialogue:
    """Die, and go on."""
    d = one()
    d.start("a")
    d.crash()
    d.do("a")
    return d


def late_landings() -> Dialogue:
    """Land after an undo, and after a person said that it failed."""
    d = graph(Op(), Op(on_doubt="park"))
    d.start("a", "b")
    undone, failed = d.lose("a", alive=True), d.lose("b", alive=True)
    d.do("a")
    d.resolve("b", Status.FAILED)
    d.land(undone)
    d.do("a")
    d.land(failed)
    d.do("b")
    return d


STORIES = (
    all_goes_well, a_failure_undoes_what_was_done, a_person_finishes_what_stuck_behind_the_pivot,
    what_was_parked_is_undone_by_a_person, a_parked_operation_is_compensated,
    a_parked_operation_has_nothing_to_undo, doubt_is_resolved_in_every_way, a_crash_calls_again,
    late_landings,
)  # fmt: skip


@pytest.fixture(scope="module")
def told() -> list[Dialogue]:
    """Tell all the stories."""
    return [story() for story in STORIES]


def moves(table: Mapping[Any, Iterable[Any]]) -> list[Any]:
    """List a table's moves, each with a name for the test."""
    return [
        pytest.param((a, b), id=f"{a.value} to {b.value}")
        for a in table
        for b in table
        if b in table[a]
    ]


@pytest.mark.parametrize("move", moves(LEGAL))
def test_every_listed_move_of_an_operation_is_made(move: object, told: list[Dialogue]) -> None:
    """The table lists no move that nothing leads to; the world shows that it lists all others."""
    assert [d for d in told if move in d.x.seen]


@pytest.mark.parametrize("move", moves(SAGA_LEGAL))
def test_every_listed_move_of_a_saga_is_made(move: object, told: list[Dialogue]) -> None:
    """The table lists no move that nothing leads to."""
    assert [d for d in told if move in d.x.saga_seen]


def test_the_tables_know_every_status() -> None:
    """Every status says what it may become; SKIPPED and COMPLETED are for ever."""
    assert set(LEGAL) == set(Status)
    assert set(SAGA_LEGAL) == set(SagaStatus)
    assert [status for status in Status if not LEGAL[status]] == [Status.SKIPPED]
    assert [status for status in SagaStatus if not SAGA_LEGAL[status]] == [SagaStatus.COMPLETED]


def test_a_move_that_is_not_listed_raises() -> None:
    """Should a rule of the machine ever contradict the table, the table wins."""
    d = one()
    d.start("a")
    d.x.status[0] = Status.SKIPPED

    with pytest.raises(IllegalMoveError, match="a: SKIPPED -> FAILED"):
        d.end(FAILED, "a", ValueError("a"))

    e = one()
    e.start("a")
    e.x.saga = SagaStatus.COMPLETED

    with pytest.raises(IllegalMoveError, match="saga: COMPLETED -> COMPENSATING"):
        e.end(FAILED, "a", ValueError("a"))


# --- entries --------------------------------------------------------------------------------------


def test_entries_are_what_was_told_and_no_more() -> None:
    """What needs no call follows: no entry says SKIPPED, or how the saga stands."""
    d = graph(Op(undo=False), Op())
    d.do("a")
    d.fail("b", error := ValueError("b"))

    assert d.stand() == "skipped failed"
    assert d.saga == "compensated"
    assert d.x.entries == [
        (STARTED, 0, ACTION, 1, 1, None),
        (SUCCEEDED, 0, ACTION, 1, 1, "a done"),
        (STARTED, 1, ACTION, 1, 1, None),
        (FAILED, 1, ACTION, 1, 1, error),
    ]


def test_folding_changes_nothing() -> None:
    """Recovery is the constructor: entries give the same machine, and stay what they were."""
    d = late_landings()
    entries = list(d.x.entries)

    again_ = Execution(d.definition, entries)

    assert state(again_) == state(d.x)
    assert again_.entries == entries
    assert again_.entries is not entries


def test_who_does_not_watch_is_told_of_what_is_unexpected() -> None:
    """Without a watcher a run that goes well notes no move; doubt and what sticks are noted."""
    definition = define(Op(pivot=True), Op(), chain=True)
    x = Execution(definition)
    for entry in (
        (STARTED, 0, ACTION, 1, 1, None),
        (SUCCEEDED, 0, ACTION, 1, 1, None),
        (STARTED, 1, ACTION, 1, 1, None),
    ):
        x.tell(entry)
    assert x.moves == []

    x.tell((FAILED, 1, ACTION, 1, 1, ValueError()))

    assert x.moves == [(1, Status.STUCK)]


@pytest.mark.parametrize(
    "entry",
    [
        (STARTED, 0, ACTION, 1, 1, None),  # it is in flight
        (STARTED, 1, ACTION, 1, 1, None),  # what it waits for is not done
        (STARTED, 2, ACTION, 2, 1, None),  # the first attempt is the next one
        (STARTED, 2, ACTION, 1, 2, None),  # nobody asked for a new key
        (STARTED, 2, COMPENSATION, 1, 1, None),
        (STARTED, 2, ASK, 0, 1, None),
        (SUCCEEDED, 0, ACTION, 2, 1, None),
        (SUCCEEDED, 0, ACTION, 1, 2, None),
        (SUCCEEDED, 0, COMPENSATION, 1, 1, None),
        (SUCCEEDED, 2, ACTION, 1, 1, None),
        (FAILED, 0, ACTION, 2, 1, ValueError()),
        (FAILED, 2, ACTION, 1, 1, ValueError()),
        (RETRY, 0, COMPENSATION, 1, 1, Setback(ValueError(), 1.0)),
        (IN_DOUBT, 2, ACTION, 1, 1, Setback(ValueError())),
        (HAPPENED, 0, ACTION, 1, 1, None),
        (NOT_HAPPENED, 0, ASK, 1, 1, None),
        (UNKNOWN, 2, ASK, 1, 1, None),
        resolved(0, Status.SUCCEEDED),
        resolved(2, Status.FAILED),
        again(0),
        again(2),
    ],
    ids=lambda entry: str(entry[:5]),
)
def test_what_contradicts_the_run_is_refused(entry: Entry) -> None:
    """An illegal entry raises IllegalMoveError and changes nothing."""
    d = graph(Op(), Op((0,)), Op())
    d.start("a")

    d.refuse(entry)

    d.do("c")
    d.end(SUCCEEDED, "a")
    d.do("b")
    assert d.saga == "completed"


def test_a_question_has_no_result() -> None:
    """A question ends with happened, not happened or unknown, and nothing else."""
    d = one(on_doubt="ask")
    d.doubt("a")
    question = d.start("a")

    for what, value in (
        (SUCCEEDED, None),
        (FAILED, ValueError()),
        (RETRY, Setback(ValueError(), 1.0)),
        (IN_DOUBT, Setback(ValueError())),
    ):
        d.refuse((what, *question[1:5], value))

    d.end(UNKNOWN, "a")
    assert d.ready() == "-a"


def test_attempts_count_per_kind_and_never_restart() -> None:
    """Retries, crashes, a person and a new key all count on; a compensation counts by itself."""
    d = one(pivot=True)
    d.retry("a")
    d.start("a")
    d.crash()
    d.fail("a")  # in doubt, and a pivot in a live run: stuck
    d.again("a", new_key=True)
    assert d.intents("a") == [(STARTED, 0, ACTION, 4, 2, None)]
    d.start("a")
    d.crash()
    d.fail("a")
    assert d.x.tries == [5]
    d.resolve("a", Status.FAILED)

    e = graph(Op(), Op())
    e.retry("a")
    e.do("a")
    e.abort()
    e.retry("a")
    e.fail("a")
    e.again("a")
    assert e.intents("a") == [(STARTED, 0, COMPENSATION, 3, 1, None)]
    e.fail("a")
    e.resolve("a", Status.SUCCEEDED)
    assert e.intents("a") == [(STARTED, 0, COMPENSATION, 4, 1, None)]


# --- what is ready --------------------------------------------------------------------------------


def test_what_is_ready_comes_in_declaration_order() -> None:
    """Forward as declared, waiting retries last; in a rollback the reverse."""
    d = graph(*[Op()] * 4, Op((0, 1, 2, 3)))
    assert d.ready() == "a b c d"
    d.retry("a")
    d.retry("c")
    assert d.ready() == "b d a c"
    d.do("d", "c", "b", "a")
    d.fail("e")
    assert d.ready() == "-d -c -b -a"
    d.retry("d")
    d.retry("b")
    assert d.ready() == "-c -a -d -b"


def test_a_part_of_what_is_ready_is_its_beginning() -> None:
    """`ready(limit)` gives as many as asked for, from the front, waiting retries included."""
    d = graph(*[Op()] * 5)
    d.retry("a")
    d.retry("b")
    everything = d.x.ready()

    assert [d.x.ready(limit) for limit in range(7)] == [everything[:limit] for limit in range(7)]


def test_a_call_stays_ready_until_its_intent_is_told() -> None:
    """Asking changes nothing, and neither does the end of another call."""
    d = graph(*[Op()] * 3)
    d.start("b")
    before = d.x.ready()

    assert d.x.ready() == before
    d.end(SUCCEEDED, "b")
    assert d.x.ready() == before
    d.start("a")
    assert d.ready() == "c"


def test_what_is_ready_first_is_started_in_one_step() -> None:
    """`start` tells the first intent and gives it; it never starts what has to wait."""
    d = graph(Op(), Op())
    assert d.x.start() == (STARTED, 0, ACTION, 1, 1, None)
    d.end(RETRY, "a", Setback(ValueError("a"), 0.0))
    assert d.x.start() == (STARTED, 1, ACTION, 1, 1, None)
    assert d.x.start() is None
    assert [entry[:2] for entry in d.x.entries] == [(STARTED, 0), (RETRY, 0), (STARTED, 1)]
    d.look()


def test_what_is_built_on_others_waits_for_all_of_them() -> None:
    """An action starts when all it comes after have succeeded; the rest goes on meanwhile."""
    d = graph(Op(), Op(), Op((0, 1)), Op((0,)))
    d.start("a", "b")
    assert d.ready() == ""
    d.end(SUCCEEDED, "a")
    assert d.ready() == "d"
    d.end(SUCCEEDED, "b")
    assert d.ready() == "c d"


def test_a_chain_is_in_order_whatever_it_declares() -> None:
    """Without edges a chain runs one by one, and a graph all at once."""
    assert chain(Op(), Op(), Op()).ready() == "a"
    assert graph(Op(), Op(), Op()).ready() == "a b c"


def test_an_undo_waits_for_all_that_was_built_on_it() -> None:
    """Reverse order along the edges, and no more order than that."""
    d = graph(Op(), Op((0,)), Op((0,)), Op((1, 2)), Op())
    d.do("a", "b", "c", "d")
    d.fail("e")
    assert d.ready() == "-d"
    d.do("d")
    assert d.ready() == "-c -b"
    d.do("b")
    assert d.ready() == "-c"
    d.do("c")
    assert d.ready() == "-a"


def test_what_owes_nothing_holds_nobody_up() -> None:
    """Operations without a compensation, stuck or failed ones are passed over in a rollback."""
    d = graph(Op(), Op((0,)), Op((1,), undo=False), Op((2,)), Op((3,)))
    d.do("a", "b", "c", "d")
    d.fail("e")
    assert d.ready() == "-d"
    d.fail("d")
    assert d.stand() == "succeeded succeeded skipped stuck failed"
    assert d.ready() == "-b"


def test_no_undo_while_an_action_is_in_flight() -> None:
    """Running actions are awaited first, and nothing more starts meanwhile."""
    d = graph(Op(), Op(), Op(), Op((0,)))
    d.do("a")
    d.start("b")
    d.fail("c")
    assert d.ready() == ""
    d.end(SUCCEEDED, "b")
    assert d.ready() == "-b -a"


def test_between_attempts_an_operation_is_running_but_not_in_flight() -> None:
    """It waits; `at_rest` and `is_flying` say so."""
    d = one()
    intent = d.start("a")
    assert d.x.is_flying(intent)
    d.end(RETRY, "a", Setback(ValueError("a"), 2.5))

    assert d.stand() == "running"
    assert d.x.flying == {}
    assert not d.x.is_flying(intent)
    assert not d.x.at_rest
    assert d.x.ready() == [(STARTED, 0, ACTION, 2, 1, 2.5)]


def test_who_waits_for_a_retry_has_failed_when_a_rollback_starts() -> None:
    """FAILED without a doubt; in doubt, if an attempt ended in doubt."""
    d = graph(Op(), Op(), Op())
    d.retry("a")
    d.doubt("b", wait=1.0)
    assert d.ready() == "c a b"
    d.fail("c")
    assert d.stand() == "failed in_doubt failed"
    assert d.ready() == "-b"


def test_after_a_crash_a_retry_is_due_at_once() -> None:
    """Whatever its wait was, and though the policy may have no attempt left."""
    d = graph(Op(), Op())
    d.retry("a", wait=60.0)
    d.crash()

    assert d.x.ready()[-1] == (STARTED, 0, ACTION, 2, 1, 0.0)


# --- failures -------------------------------------------------------------------------------------


def test_a_failure_undoes_what_was_done_but_not_itself() -> None:
    """An operation that declared failure has no effect, so its compensation is not run."""
    d = chain(Op(), Op(), Op())
    d.do("a")
    d.fail("b")
    assert d.saga == "compensating"
    assert d.ready() == "-a"
    d.do("a")

    assert d.stand() == "compensated failed pending"
    assert d.saga == "compensated"
    assert d.x.at_rest


def test_an_operation_that_ended_in_doubt_is_compensated() -> None:
    """Its compensation is run as well, since it may have happened."""
    d = chain(Op(), Op())
    d.do("a")
    d.doubt("b")
    assert d.stand() == "succeeded in_doubt"
    assert d.ready() == "-b"
    d.do("b", "a")
    assert d.saga == "compensated"


def test_doubt_is_sticky() -> None:
    """Once an attempt ended in doubt, a later failure proves nothing about it."""
    d = one()
    d.doubt("a", wait=0.0)
    d.retry("a")
    d.fail("a")

    assert d.stand() == "in_doubt"
    assert d.ready() == "-a"


def test_a_success_clears_the_doubt() -> None:
    """The attempt that succeeds says what came of it."""
    d = chain(Op(pivot=True), Op())
    d.doubt("a", wait=0.0)
    d.do("a", "b")

    assert d.saga == "completed"
    assert d.x.trouble is not None
    assert d.x.trouble.errors == {}


@pytest.mark.parametrize("on_doubt", ["ask", "park"])
def test_a_retry_in_a_live_run_is_neither_asked_nor_parked(on_doubt: Any) -> None:
    """`on_doubt` is for what is left in doubt, not for the next attempt."""
    d = one(on_doubt=on_doubt)
    d.doubt("a", wait=1.0)
    assert d.x.ready() == [(STARTED, 0, ACTION, 2, 1, 1.0)]
    d.do("a")
    assert d.saga == "completed"


def test_several_failures_are_all_kept() -> None:
    """No further attempt starts, running ones are awaited, and every error is remembered."""
    d = graph(Op(), Op(), Op(), Op())
    d.start("a", "b", "c")
    d.end(FAILED, "b", second := ValueError("b"))
    d.end(RETRY, "c", Setback(third := ValueError("c"), 0.0))
    assert d.ready() == ""
    d.end(FAILED, "a", first := ValueError("a"))

    assert d.stand() == "failed failed failed pending"
    assert d.saga == "compensated"
    assert d.x.trouble is not None
    assert d.x.trouble.errors == {0: first, 1: second, 2: third}


def test_a_compensation_that_raises_is_retried_and_then_stuck() -> None:
    """The others still run, and no error replaces another."""
    d = chain(Op(), Op(), Op())
    d.do("a", "b")
    d.fail("c", cause := ValueError("c"))
    d.retry("b", wait=3.0)
    assert d.x.ready() == [(STARTED, 1, COMPENSATION, 2, 1, 3.0)]
    d.fail("b", undo := ValueError("undo b"))
    assert d.ready() == "-a"
    d.do("a")

    assert d.stand() == "compensated stuck failed"
    assert d.saga == "stuck"
    assert d.x.trouble is not None
    assert d.x.trouble.errors == {2: cause}
    assert d.x.trouble.undo_errors == {1: undo}


def test_a_compensation_in_doubt_may_be_retried() -> None:
    """A coroutine past its timeout was cancelled: nothing lives, so the policy decides."""
    d = chain(Op(), Op())
    d.do("a")
    d.fail("b")
    d.doubt("a", wait=1.0)
    assert d.x.ready() == [(STARTED, 0, COMPENSATION, 2, 1, 1.0)]


# --- doubt ----------------------------------------------------------------------------------------


def test_asked_in_a_rollback_and_it_happened() -> None:
    """It is compensated, with the result that the answer gave."""
    d = one(on_doubt="ask", needs_result=True)
    d.doubt("a")
    assert d.x.ready() == [(STARTED, 0, ASK, 1, 1, None)]
    d.start("a")
    d.end(HAPPENED, "a", "the result")

    assert d.stand() == "succeeded"
    assert d.x.results == ["the result"]
    assert d.ready() == "-a"


def test_asked_in_a_rollback_and_it_did_not_happen() -> None:
    """Nothing is owed for it."""
    d = chain(Op(), Op(on_doubt="ask"))
    d.do("a")
    d.doubt("b")
    assert d.ready() == "?b"
    d.start("b")
    d.end(NOT_HAPPENED, "b")

    assert d.stand() == "succeeded failed"
    assert d.ready() == "-a"


@pytest.mark.parametrize(("needs_result", "ready"), [(False, "-a"), (True, "")])
def test_asked_in_a_rollback_and_nobody_knows(needs_result: bool, ready: str) -> None:  # noqa: FBT001
    """Compensated as without a question, if that can be done without the result."""
    d = one(on_doubt="ask", needs_result=needs_result)
    d.doubt("a")
    d.start("a")
    d.end(UNKNOWN, "a")

    assert d.ready() == ready
    assert d.stand() == ("stuck" if needs_result else "in_doubt")


def test_nobody_to_ask_in_a_rollback() -> None:
    """Compensate; stuck if that needs a result nobody knows, or if it was to be parked."""
    d = graph(Op(), Op(needs_result=True), Op(on_doubt="park"), Op(undo=False), Op())
    d.start(*"abcde")
    for name in "abcd":
        d.lose(name)
    d.end(FAILED, "e", ValueError("e"))

    assert d.stand() == "in_doubt stuck stuck skipped failed"
    assert d.ready() == "-a"
    d.do("a")
    assert d.saga == "stuck"


def test_what_could_not_be_asked_is_not_asked_twice() -> None:
    """One question in a rollback; a crash in it asks again."""
    d = one(on_doubt="ask")
    d.doubt("a")
    d.start("a")
    d.end(UNKNOWN, "a")
    assert d.ready() == "-a"
    d.crash()
    assert d.ready() == "?a"
    d.start("a")
    d.crash()
    assert d.x.ready() == [(STARTED, 0, ASK, 1, 1, None)]


# --- a process died -------------------------------------------------------------------------------


def test_after_a_crash_what_was_started_is_called_again() -> None:
    """With the same key, counted on, though nobody knows what came of the first call."""
    d = chain(Op(), Op())
    d.do("a")
    d.start("b")
    d.crash()

    assert d.stand() == "succeeded in_doubt"
    assert d.x.ready() == [(STARTED, 1, ACTION, 2, 1, None)]
    d.do("b")
    assert d.saga == "completed"


@pytest.mark.parametrize(
    ("answer", "stands", "ready"),
    [(HAPPENED, "succeeded", ""), (NOT_HAPPENED, "in_doubt", "a"), (UNKNOWN, "in_doubt", "a")],
)
def test_after_a_crash_it_is_asked_first(answer: str, stands: str, ready: str) -> None:
    """What happened is not called again; what did not, or who knows, is."""
    d = one(on_doubt="ask")
    d.start("a")
    d.crash()
    assert d.ready() == "?a"
    d.start("a")
    d.end(answer, "a", "asked")

    assert d.stand() == stands
    assert d.ready() == ready
    assert d.x.results == ["asked" if answer == HAPPENED else MISSING]


@pytest.mark.parametrize(("answer", "stands"), [(NOT_HAPPENED, "failed"), (UNKNOWN, "in_doubt")])
def test_not_happened_clears_the_doubt(answer: str, stands: str) -> None:
    """A failure after it counts as one; after "unknown" it proves nothing."""
    d = one(on_doubt="ask")
    d.start("a")
    d.crash()
    d.start("a")
    d.end(answer, "a")
    d.fail("a")

    assert d.stand() == stands


def test_what_did_not_happen_is_not_undone() -> None:
    """Answered after a crash, and aborted before it was called again: nothing is owed."""
    d = graph(Op(on_doubt="ask", needs_result=True), Op(on_doubt="ask"))
    d.start("a", "b")
    d.crash()
    for name, answer in (("a", NOT_HAPPENED), ("b", UNKNOWN)):
        d.start(name)
        d.end(answer, name)
    d.abort()

    assert d.stand() == "failed in_doubt"
    assert d.ready() == "?b"


def test_a_doubt_between_two_attempts_outlives_a_crash() -> None:
    """It is asked first, or parked: nobody knows what came of the attempt before."""
    d = graph(Op(on_doubt="ask"), Op(on_doubt="park"), Op())
    for name in "abc":
        d.doubt(name, wait=1.0)
    d.crash()

    assert d.stand() == "in_doubt stuck in_doubt"
    assert d.ready() == "?a c"


def test_an_answer_that_comes_when_a_rollback_was_decided() -> None:
    """It counts: what happened is undone with the rest."""
    d = graph(Op(on_doubt="ask"), Op(on_doubt="ask"), Op())
    d.start("a", "b", "c")
    d.crash()
    d.start("a", "b")
    d.fail("c")
    d.end(HAPPENED, "a", "asked")
    assert d.ready() == ""
    d.end(NOT_HAPPENED, "b")

    assert d.stand() == "succeeded failed in_doubt"
    assert d.ready() == "-c -a"


def test_after_a_crash_what_is_to_be_parked_is_stuck() -> None:
    """It is left to a person; what does not depend on it goes on."""
    d = graph(Op(on_doubt="park"), Op(), Op((0,)))
    d.start("a")
    d.crash()

    assert d.stand() == "stuck pending pending"
    assert d.saga == "running"
    d.do("b")
    assert d.saga == "stuck"


@pytest.mark.parametrize(
    ("answer", "stands"),
    [(HAPPENED, "succeeded"), (NOT_HAPPENED, "in_doubt"), (UNKNOWN, "stuck")],
)
def test_what_is_too_old_is_not_called_again(answer: str, stands: str) -> None:
    """Services forget keys: only "it did not happen" lets it be called again."""
    d = one()
    d.start("a")
    d.crash("a")
    assert d.stand() == "stuck"

    e = one(on_doubt="ask")
    e.start("a")
    e.crash("a")
    assert e.ready() == "?a"
    e.start("a")
    e.end(answer, "a")
    assert e.stand() == stands


def test_what_is_too_old_may_still_be_undone() -> None:
    """The compensation has a key of its own."""
    d = graph(Op(), Op())
    d.do("b")
    d.start("a")
    d.abort()
    d.crash("a", "b")

    assert d.ready() == "-b -a"


def test_a_compensation_that_a_crash_interrupted_is_called_again() -> None:
    """Never asked; stuck if it is too old."""
    d = chain(Op(on_doubt="ask"), Op(on_doubt="ask"))
    d.do("a")
    d.doubt("b")
    d.start("b")
    d.end(UNKNOWN, "b")
    d.start("b")
    d.crash("a")
    assert d.x.ready() == [(STARTED, 1, COMPENSATION, 2, 1, None)]
    d.start("b")
    d.crash("b")

    assert d.stand() == "succeeded stuck"
    assert d.ready() == "-a"


@pytest.mark.parametrize("on_crash", ["resume", "compensate"])
def test_recovery_goes_forward_or_backward(on_crash: Any) -> None:
    """As the saga says; backward, nothing more starts."""
    d = Dialogue(define(Op(), Op((0,)), Op(), on_crash=on_crash))
    d.do("a")
    d.retry("c")
    d.start("b")
    d.crash()

    assert d.ready() == ("b c" if on_crash == "resume" else "-b")
    assert d.stand().endswith("running" if on_crash == "resume" else "failed")


def test_after_the_pivot_recovery_goes_forward_whatever_the_saga_says() -> None:
    """Nothing rolls back after the pivot."""
    d = Dialogue(define(Op(pivot=True), Op((0,)), on_crash="compensate"))
    d.do("a")
    d.start("b")
    d.crash()

    assert d.ready() == "b"


def test_a_rollback_that_had_begun_is_finished() -> None:
    """Though the saga resumes after a crash."""
    d = chain(Op(), Op(), Op())
    d.do("a", "b")
    d.fail("c")
    d.retry("b")
    d.crash()
    assert d.x.ready() == [(STARTED, 1, COMPENSATION, 2, 1, 0.0)]
    d.do("b", "a")
    assert d.saga == "compensated"


def test_a_crash_takes_the_stragglers_with_it() -> None:
    """They can't land any more, so it can be asked, and called again."""
    d = chain(Op(on_doubt="ask"))
    late = d.doubt("a", alive=True)
    assert d.ready() == "-a"
    d.crash()

    d.refuse((SUCCEEDED, *late, "late"))
    assert d.ready() == "?a"


@pytest.mark.parametrize("on_crash", ["resume", "compensate"])
def test_a_crash_wakes_no_stuck_saga(on_crash: Any) -> None:
    """A saga that needs a person is not resumed, in whatever direction."""
    d = Dialogue(define(Op(pivot=True), chain=True, on_crash=on_crash))
    d.doubt("a")
    assert d.saga == "stuck"
    d.crash()
    assert d.saga == "stuck"
    assert d.x.at_rest


# --- stragglers -----------------------------------------------------------------------------------


def test_an_attempt_past_its_timeout_is_not_called_again() -> None:
    """Not while it may still land, whatever the policy says; it is undone instead."""
    d = one()
    d.doubt("a", wait=1.0, alive=True)

    assert d.stand() == "in_doubt"
    assert d.ready() == "-a"


def test_while_a_straggler_lives_nothing_is_asked() -> None:
    """The answer is unknown, and when the straggler has failed it can be asked."""
    d = graph(Op(on_doubt="ask"), Op(on_doubt="ask", needs_result=True))
    d.start("a", "b")
    late = d.lose("a", alive=True)
    d.lose("b", alive=True)

    assert d.stand() == "in_doubt stuck"
    assert d.ready() == "-a"
    d.land(late, FAILED, ValueError("late"))
    assert d.ready() == "?a"


@pytest.mark.parametrize(
    ("what", "value"),
    [
        (FAILED, ValueError()),
        (RETRY, Setback(ValueError(), 1.0)),
        (IN_DOUBT, Setback(TimeoutError())),
    ],
)
def test_a_late_failure_only_ends_the_straggler(what: str, value: Any) -> None:
    """Doubt stays: an earlier effect is not disproved."""
    d = graph(Op(), Op())
    d.start("b")
    late = d.doubt("a", alive=True)
    d.land(late, what, value)
    assert d.stand() == "in_doubt running"
    d.end(SUCCEEDED, "b")

    assert d.ready() == "-b -a"
    d.refuse((SUCCEEDED, *late, "twice"))


def test_landing_while_in_doubt_means_success() -> None:
    """It is undone all the same, since its timeout failed the saga, but with its result."""
    d = chain(Op(), Op(needs_result=True), Op())
    d.do("a")
    e = graph(Op(needs_result=True), Op())
    e.start("b")
    late = e.doubt("a", alive=True)
    e.land(late)
    assert e.stand() == "succeeded running"
    assert e.x.results[0] == "late"
    assert e.ready() == ""
    e.end(SUCCEEDED, "b")
    assert e.ready() == "-b -a"

    late = d.doubt("b", alive=True)
    assert d.stand() == "succeeded stuck pending"  # nobody knew the result in time


def test_landing_while_its_undo_waits_for_its_turn() -> None:
    """It is listed once, as what has succeeded, after what was built on it."""
    d = graph(Op(), Op())
    late = d.doubt("b", alive=True)
    assert d.ready() == "-b"
    d.land(late)
    assert d.stand() == "pending succeeded"
    assert d.x.ready() == [(STARTED, 1, COMPENSATION, 1, 1, None)]


def test_landing_while_being_undone() -> None:
    """Undone once more, under the next generation of the key, after the running one."""
    d = one()
    late = d.doubt("a", alive=True)
    d.start("a")
    d.land(late)
    assert d.stand() == "compensating"
    assert d.ready() == ""
    d.end(RETRY, "a", Setback(ValueError(), 0.0))
    assert d.intents("a") == [(STARTED, 0, COMPENSATION, 2, 1, 0.0)]
    d.do("a")
    assert d.saga == "compensating"
    assert d.x.ready() == [(STARTED, 0, COMPENSATION, 3, 2, None)]
    assert d.x.generation(0, COMPENSATION) == 2
    assert d.x.generation(0, ACTION) == 1
    d.do("a")
    assert d.saga == "compensated"


def test_landing_after_it_was_undone() -> None:
    """The saga had ended, and goes on: once for each landing."""
    d = one()
    late = d.doubt("a", alive=True)
    d.do("a")
    assert d.saga == "compensated"
    d.land(late)
    assert d.saga == "compensating"
    assert d.x.ready() == [(STARTED, 0, COMPENSATION, 2, 2, None)]
    d.refuse((SUCCEEDED, *late, "twice"))
    d.do("a")
    assert d.saga == "compensated"


def test_landing_after_a_person_said_that_it_failed() -> None:
    """The person was wrong: compensated under the next generation."""
    d = one(on_doubt="park")
    late = d.doubt("a", alive=True)
    d.resolve("a", Status.FAILED)
    assert d.saga == "compensated"
    d.land(late)
    assert d.stand() == "failed"
    assert d.x.ready() == [(STARTED, 0, COMPENSATION, 1, 2, None)]
    d.do("a")
    assert d.stand() == "compensated"


def test_landing_on_a_pivot_that_a_person_failed() -> None:
    """It is undone like the rest, before what it was built on."""
    d = chain(Op(), Op(pivot=True))
    d.do("a")
    late = d.doubt("b", alive=True)
    assert d.stand() == "succeeded stuck"
    d.resolve("b", Status.FAILED)
    d.land(late)

    assert d.x.ready(1) == [(STARTED, 1, COMPENSATION, 1, 2, None)]


@pytest.mark.parametrize("status", ["skipped", "stuck", "succeeded"])
def test_landing_elsewhere_is_only_recorded(status: str) -> None:
    """SUCCEEDED, SKIPPED and STUCK stay so, and the result is known."""
    d = one(undo=status != "skipped", pivot=status == "succeeded", on_doubt="park")
    late = d.doubt("a", alive=True)
    if status == "succeeded":
        d.resolve("a", Status.SUCCEEDED, "said")
    assert d.stand() == status
    saga = d.x.saga
    d.land(late)

    assert d.stand() == status
    assert d.x.saga is saga
    assert d.x.results == ["late"]
    assert d.ready() == ""


def test_a_compensation_past_its_timeout_is_stuck_until_it_lands() -> None:
    """It is never called again while it lives; landing, it was undone after all."""
    d = chain(Op(), Op(), Op())
    d.do("a", "b")
    d.fail("c")
    late = d.doubt("b", wait=1.0, alive=True)
    assert d.stand() == "succeeded stuck failed"
    d.do("a")
    assert d.saga == "stuck"
    d.refuse(again(1))
    d.refuse(resolved(1, Status.SUCCEEDED))
    d.land(late, value="undone late")

    assert d.stand() == "compensated compensated failed"
    assert d.saga == "compensated"
    assert d.x.trouble is not None
    assert d.x.trouble.undo_errors == {}
    assert d.x.trouble.undone == {0: "a done", 1: "undone late"}


def test_a_late_compensation_does_not_count_for_a_landing_behind_it() -> None:
    """The action landed while it was undone, so it is owed once more, however late that ends."""
    d = one()
    action = d.doubt("a", alive=True)
    undo = d.start("a")[1:5]
    d.land(action)
    d.lose("a", alive=True)
    assert d.saga == "stuck"
    d.land(undo)

    assert d.saga == "compensating"
    assert d.x.ready() == [(STARTED, 0, COMPENSATION, 2, 2, None)]


def test_a_compensation_that_lands_when_a_person_has_decided() -> None:
    """It changes nothing any more."""
    d = chain(Op(), Op())
    d.do("a")
    d.fail("b")
    late = d.doubt("a", alive=True)
    d.resolve("a", Status.SKIPPED)
    d.land(late)

    assert d.stand() == "skipped failed"
    assert d.saga == "compensated"


# --- abort ----------------------------------------------------------------------------------------


def test_an_abort_lets_running_calls_count() -> None:
    """Nothing more starts, running calls are awaited, then all is undone."""
    d = graph(Op(), Op(), Op())
    d.start("a")
    d.retry("b")
    d.abort()
    assert d.stand() == "running failed pending"
    assert d.ready() == ""
    d.end(SUCCEEDED, "a")
    assert d.ready() == "-a"


def test_an_abort_rolls_back_though_nothing_was_left_to_start() -> None:
    """The last operation was running already: it succeeds, and is undone."""
    d = chain(Op(), Op())
    d.do("a")
    d.start("b")
    d.abort()
    d.end(SUCCEEDED, "b")

    assert d.saga == "compensating"
    d.do("b", "a")
    assert d.saga == "compensated"


def test_an_abort_ends_the_retries() -> None:
    """An attempt that fails after it is the last, whatever its policy says."""
    d = one()
    d.start("a")
    d.abort()
    d.end(RETRY, "a", Setback(ValueError("a"), 0.0))

    assert d.stand() == "failed"
    assert d.saga == "compensated"


def test_an_abort_before_anything_has_started() -> None:
    """Nothing is owed, so all is undone."""
    d = one()
    d.abort()
    assert d.stand() == "pending"
    assert d.saga == "compensated"


def test_an_abort_after_the_pivot_is_only_recorded() -> None:
    """Nothing rolls back any more."""
    d = chain(Op(), Op(pivot=True), Op())
    d.do("a", "b")
    d.abort()
    assert d.ready() == "c"
    d.do("c")
    assert d.saga == "completed"
    assert d.x.trouble is not None
    assert len(d.x.trouble.reasons) == 1


@pytest.mark.parametrize("end", [SUCCEEDED, FAILED])
def test_an_abort_while_the_pivot_runs_waits_for_it(end: str) -> None:
    """The pivot decides: once it has succeeded the saga goes on."""
    d = chain(Op(), Op(pivot=True), Op())
    d.do("a")
    d.start("b")
    d.abort()
    assert d.ready() == ""
    d.end(end, "b", ValueError("b"))

    assert d.ready() == ("c" if end == SUCCEEDED else "-a")


def test_an_abort_between_two_attempts_of_a_doubtful_pivot() -> None:
    """It counts as passed until it is known not to have happened."""
    d = chain(Op(), Op(pivot=True, on_doubt="ask"), Op())
    d.do("a")
    d.doubt("b", wait=1.0)
    d.abort()
    assert d.stand() == "succeeded in_doubt pending"
    assert d.ready() == "?b"
    d.start("b")
    d.end(NOT_HAPPENED, "b")
    assert d.stand() == "succeeded failed pending"
    assert d.ready() == "-a"


def a_pivot_did_not_happen() -> Dialogue:
    """A process died within it, and the next one has asked."""
    d = chain(Op(), Op(pivot=True, on_doubt="ask"), Op())
    d.do("a")
    d.start("b")
    d.crash()
    d.start("b")
    d.end(NOT_HAPPENED, "b")
    return d


def test_an_abort_once_the_pivot_is_known_not_to_have_happened_undoes_all() -> None:
    """It was to be called again after a crash, and is not."""
    d = a_pivot_did_not_happen()
    assert d.ready() == "b"
    d.abort()

    assert d.stand() == "succeeded failed pending"
    assert d.ready() == "-a"


@pytest.mark.parametrize("answer", [HAPPENED, NOT_HAPPENED, UNKNOWN])
def test_an_abort_while_the_pivot_is_asked_about_once_more_waits_for_the_answer(
    answer: str,
) -> None:
    """Who knows nothing now adds nothing to what was known before the second crash."""
    d = a_pivot_did_not_happen()
    d.crash()
    d.start("b")
    d.abort()
    assert d.stand() == "succeeded in_doubt pending"
    d.end(answer, "b")

    assert d.ready() == ("c" if answer == HAPPENED else "-a")


@pytest.mark.parametrize("ending", [all_goes_well, a_failure_undoes_what_was_done])
def test_a_saga_that_has_ended_cannot_be_aborted(ending: Callable[[], Dialogue]) -> None:
    """COMPLETED and COMPENSATED are ends."""
    ending().refuse((ABORT, -1, "", 0, 0, TimeoutError()))


# --- the pivot ------------------------------------------------------------------------------------


def test_after_the_pivot_a_failure_is_stuck() -> None:
    """Nothing rolls back; what does not depend on it goes on, and a person resumes the rest."""
    d = graph(Op(), Op((0,), pivot=True), Op((1,)), Op((1,)), Op((2,)))
    d.do("a", "b")
    d.retry("c")
    d.fail("c")
    assert d.stand() == "succeeded succeeded stuck pending pending"
    assert d.ready() == "d"
    d.do("d")
    assert d.saga == "stuck"
    d.again("c")
    assert d.saga == "stuck"
    d.start("c")
    assert d.saga == "running"
    d.end(SUCCEEDED, "c")
    d.do("e")
    assert d.saga == "completed"


def test_before_the_pivot_a_failure_rolls_back() -> None:
    """The pivot itself included: it is the last that can."""
    d = chain(Op(), Op(pivot=True), Op())
    d.do("a")
    d.fail("b")
    assert d.ready() == "-a"


@pytest.mark.parametrize(
    ("answer", "stands", "ready"),
    [
        (HAPPENED, "succeeded succeeded pending", "c"),
        (NOT_HAPPENED, "succeeded failed pending", "-a"),
        (UNKNOWN, "succeeded stuck pending", ""),
    ],
)
def test_a_pivot_in_doubt_in_a_live_run(answer: str, stands: str, ready: str) -> None:
    """It is asked; the saga goes on, rolls back, or needs a person."""
    d = chain(Op(), Op(pivot=True, on_doubt="ask"), Op())
    d.do("a")
    d.doubt("b")
    assert d.ready() == "?b"
    d.start("b")
    d.end(answer, "b")

    assert d.stand() == stands
    assert d.ready() == ready


def test_what_is_behind_the_pivot_and_in_doubt_is_asked_too() -> None:
    """Known not to have happened, it has failed for good: stuck."""
    d = chain(Op(pivot=True), Op(on_doubt="ask"))
    d.do("a")
    d.doubt("b")
    assert d.ready() == "?b"
    d.start("b")
    d.end(NOT_HAPPENED, "b")
    assert d.stand() == "succeeded stuck"
    assert d.saga == "stuck"


def test_a_pivot_in_doubt_that_nobody_can_ask_is_stuck_in_a_live_run() -> None:
    """It counts as passed, so nothing is undone, and what came before it stands."""
    d = chain(Op(), Op(pivot=True), Op())
    d.do("a")
    d.doubt("b", alive=True)
    assert d.stand() == "succeeded stuck pending"
    assert d.saga == "stuck"


def test_a_pivot_in_doubt_is_called_again_by_recovery() -> None:
    """Also if an abort was recorded, which decides only if the pivot has not happened."""
    d = chain(Op(), Op(pivot=True), Op())
    d.do("a")
    d.start("b")
    d.abort()
    d.crash()
    assert d.ready() == "b"
    d.do("b")
    assert d.ready() == "c"


@pytest.mark.parametrize(("aborted", "ready"), [(False, "b"), (True, "-a")])
def test_a_pivot_that_did_not_happen(aborted: bool, ready: str) -> None:  # noqa: FBT001
    """After a crash it is called again, unless an abort was recorded."""
    d = chain(Op(), Op(pivot=True, on_doubt="ask"), Op())
    d.do("a")
    d.start("b")
    if aborted:
        d.abort()
    d.crash()
    assert d.ready() == "?b"
    d.start("b")
    d.end(NOT_HAPPENED, "b")

    assert d.ready() == ready


def test_the_error_of_a_pivot_that_happened_is_not_the_cause() -> None:
    """What raised and yet succeeded, by answer or by a person, has not failed the saga."""
    d = chain(Op(pivot=True, on_doubt="ask"), Op(), Op())
    d.doubt("a")
    d.start("a")
    d.end(HAPPENED, "a", "asked")
    d.fail("b")
    d.resolve("b", Status.SUCCEEDED, "said")
    d.fail("c", error := ValueError("c"))

    assert d.x.trouble is not None
    assert d.x.trouble.errors == {2: error}
    assert d.x.results == ["asked", "said", MISSING]


# --- a person -------------------------------------------------------------------------------------


def stuck(*, forward: bool = True, undo: bool = True) -> Dialogue:
    """Begin a saga of two in which b is stuck."""
    if forward:
        d = chain(Op(), Op(on_doubt="park", undo=undo))
        d.do("a")
        d.start("b")
        d.crash()
    else:
        d = chain(Op(), Op(undo=undo), Op())
        d.do("a", "b")
        d.fail("c")
        d.fail("b")
        d.do("a")
    assert d.saga == "stuck"
    return d


@pytest.mark.parametrize(
    ("forward", "legal"),
    [
        (True, {Status.SUCCEEDED, Status.FAILED}),
        (False, {Status.SUCCEEDED, Status.FAILED, Status.COMPENSATED, Status.SKIPPED}),
    ],
)
def test_what_a_person_may_say(forward: bool, legal: set[Status]) -> None:  # noqa: FBT001
    """It happened, or it did not; in a rollback also that it is undone, or may stand."""
    for status in Status:
        d = stuck(forward=forward)
        if status in legal:
            d.resolve("b", status, "said")
            assert Status.STUCK not in d.x.status
        else:
            d.refuse(resolved(1, status))


def test_a_person_says_that_it_happened() -> None:
    """With its result; the saga goes on from there, or undoes it."""
    d = stuck()
    d.resolve("b", Status.SUCCEEDED, "said")
    assert d.saga == "completed"
    assert d.x.results == ["a done", "said"]

    e = stuck(forward=False)
    e.resolve("b", Status.SUCCEEDED, "said")
    assert e.x.ready() == [(STARTED, 1, COMPENSATION, 2, 1, None)]
    e.do("b")
    assert e.saga == "compensated"


def test_a_person_says_that_it_failed() -> None:
    """Before the pivot that rolls the saga back; after it, it is refused."""
    d = stuck()
    d.resolve("b", Status.FAILED)
    assert d.ready() == "-a"

    e = chain(Op(pivot=True), Op())
    e.do("a")
    e.fail("b")
    e.refuse(resolved(1, Status.FAILED))


def test_a_person_compensates() -> None:
    """`compensate` is an abort: what is stuck is undone as well, first."""
    d = stuck()
    d.abort()
    assert d.saga == "compensating"
    assert d.ready() == "-b"
    d.do("b", "a")
    assert d.saga == "compensated"


def test_a_person_cannot_compensate_once_the_pivot_has_passed() -> None:
    """Nor while it may have happened: it must be resolved first."""
    d = chain(Op(pivot=True), Op())
    d.do("a")
    d.fail("b")
    d.refuse((ABORT, -1, "", 0, 0, None))

    e = chain(Op(), Op(pivot=True))
    e.do("a")
    e.doubt("b")
    e.refuse((ABORT, -1, "", 0, 0, None))
    e.resolve("b", Status.FAILED)
    assert e.ready() == "-a"


def test_an_abort_of_a_stuck_saga_before_its_pivot_is_taken() -> None:
    """Nothing decided has happened yet."""
    d = chain(Op(on_doubt="park"), Op(pivot=True))
    d.start("a")
    d.crash()
    d.abort()
    assert d.ready() == "-a"


def test_a_person_says_again() -> None:
    """The direction stays, the attempts count on, and a new key only if asked for."""
    d = stuck()
    d.again("b")
    assert d.x.ready() == [(STARTED, 1, ACTION, 2, 1, None)]
    d.refuse(again(1))
    d.do("b")
    assert d.saga == "completed"

    e = stuck(forward=False)
    e.again("b", new_key=True)
    assert e.x.ready() == [(STARTED, 1, COMPENSATION, 2, 2, None)]
    e.start("b")
    assert e.saga == "compensating"
    e.end(SUCCEEDED, "b")
    assert e.saga == "compensated"


def test_a_person_may_say_again_twice() -> None:
    """Each time that it is stuck."""
    d = graph(Op(pivot=True), Op((0,)), Op((0,)))
    d.do("a")
    d.fail("b")
    d.fail("c")
    d.again("b")
    d.again("c")
    d.fail("b")
    d.fail("c")
    d.again("c")
    d.again("b")
    assert d.ready() == "b c"


def test_again_is_refused_while_a_straggler_lives() -> None:
    """Or it would run twice at once."""
    d = one(pivot=True)
    late = d.doubt("a", alive=True)
    d.refuse(again(0))
    d.land(late, FAILED, ValueError("late"))
    d.again("a")
    assert d.ready() == "a"


def test_again_is_refused_while_a_rollback_waits_for_running_calls() -> None:
    """It would start an action after the abort."""
    d = graph(Op(on_doubt="park"), Op())
    d.start("a")
    d.crash()
    d.start("b")
    d.abort()
    d.refuse(again(0))
    d.end(SUCCEEDED, "b")
    assert d.ready() == "-b -a"
    d.refuse(again(0))


def test_a_person_may_resolve_while_a_rollback_waits_for_running_calls() -> None:
    """What happened is undone with the rest."""
    d = graph(Op(on_doubt="park"), Op())
    d.start("a")
    d.crash()
    d.start("b")
    d.abort()
    d.resolve("a", Status.SUCCEEDED, "said")
    assert d.ready() == ""
    d.end(SUCCEEDED, "b")
    assert d.ready() == "-b -a"


def test_a_stuck_pivot_may_be_called_again_after_an_abort() -> None:
    """The abort waits for it, and decides if it fails."""
    d = chain(Op(), Op(pivot=True))
    d.do("a")
    d.start("b")
    d.abort()
    d.lose("b")
    assert d.stand() == "succeeded stuck"
    d.again("b")
    assert d.ready() == "b"
    d.do("b")
    assert d.saga == "completed"


@pytest.mark.parametrize("status", [Status.FAILED, Status.COMPENSATED, Status.SKIPPED])
def test_what_a_person_settles_in_a_rollback_frees_what_it_was_built_on(status: Status) -> None:
    """It was listed to be undone; now what came before it is."""
    d = stuck()
    d.abort()
    assert d.ready() == "-b"
    d.resolve("b", status)

    assert d.ready() == "-a"


def test_what_a_person_resolves_is_no_longer_ready() -> None:
    """It was to be called "again", and then better known."""
    d = stuck()
    d.again("b")
    d.resolve("b", Status.SUCCEEDED)
    assert d.ready() == ""
    assert d.saga == "completed"


def test_only_what_is_stuck_is_a_persons_business() -> None:
    """What runs, waits or has ended is not."""
    d = graph(Op(), Op(), Op())
    d.do("a")
    d.start("b")
    for i in range(3):
        d.refuse(again(i))
        for status in Status:
            d.refuse(resolved(i, status))


def test_what_is_called_again_cannot_be_resolved_meanwhile() -> None:
    """The call in flight will say."""
    d = stuck(forward=False)
    d.again("b")
    d.start("b")
    d.refuse(resolved(1, Status.COMPENSATED))


# --- how much it costs ----------------------------------------------------------------------------


def drive(x: Execution, width: int, *, fail: int = -1) -> None:
    """Drive a saga to its end, with at most so many calls at once; the oldest ends first."""
    flight: list[Entry] = []
    while not x.at_rest:
        for intent in x.ready(width - len(flight)) if width > len(flight) else ():
            x.tell(intent)
            flight.append(intent)
        _, i, kind, attempt, generation, _ = flight.pop(0)
        failed = i == fail and kind == ACTION
        x.tell((FAILED if failed else SUCCEEDED, i, kind, attempt, generation, ValueError()))


def saga_of(count: int, shape: str) -> Definition:
    """Write a chain, a graph without edges, or one in which the last operation waits for all."""
    saga = SagaAssembler.saga()
    for i in range(count):
        after = [str(j) for j in range(i)] if shape == "fan" and i == count - 1 else ()
        saga.operation(int, int, name=str(i), after=after)
    return saga._chain() if shape == "chain" else saga._graph()  # noqa: SLF001


def calls_of(function: Callable[[], object]) -> int:
    """Count the calls that a function makes, of functions in Python and in C."""
    count = 0

    def note(*args: object) -> None:
        nonlocal count
        count += args[1] in ("call", "c_call")

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.untraced
@pytest.mark.parametrize("fails", [False, True], ids=["success", "rollback"])
@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("shape", ["chain", "wide", "fan"])
def test_a_turn_makes_as_many_calls_in_a_large_saga(shape: str, width: int, fails: bool) -> None:  # noqa: FBT001
    """Eight times the operations take eight times the calls, and not 64."""
    small, large = (
        calls_of(partial(drive, Execution(saga_of(n, shape)), width, fail=n - 1 if fails else -1))
        for n in (50, 400)
    )

    assert large < 8.5 * small


@pytest.mark.untraced
@pytest.mark.parametrize("fails", [False, True], ids=["success", "rollback"])
@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("shape", ["chain", "wide", "fan"])
def test_a_turn_takes_as_long_in_a_large_saga(shape: str, width: int, fails: bool) -> None:  # noqa: FBT001
    """What scans all operations at each turn would take twenty times as long in 4,000 of them.

    Time of this thread, the best of three, and a generous bound: nothing else can fail it.
    """

    def cost_of(definition: Definition) -> float:
        count = len(definition.operations)
        x = Execution(definition)
        began = time.thread_time()
        drive(x, width, fail=count - 1 if fails else -1)
        return (time.thread_time() - began) / count

    small, large = saga_of(200, shape), saga_of(4000, shape)
    bound = 8 * min(cost_of(small) for _ in range(3))

    assert any(cost_of(large) < bound for _ in range(3))


# --- what its executors owe it --------------------------------------------------------------------


def now(attempts: int = 3) -> Retry:
    """Try again without waiting."""
    return Retry(Exception, attempts=attempts, wait_initial=0, wait_jitter=0)


def noting(log: list[Any], what: object, *, raises: BaseException | None = None) -> Any:
    """Make a function that notes its call."""

    def function() -> object:
        log.append(what)
        if raises is not None:
            raise raises
        return what

    return function


def test_an_intent_is_told_before_its_call(execute: Execute, log: list[Any]) -> None:
    """So that a crash leaves it in doubt, never unknown; the result is told after it."""

    def watch(event: Event) -> None:
        if event.operation == "b":
            log.append(event.kind)

    saga = SagaAssembler.saga(observers=[watch])
    saga.operation(noting(log, "a"), noting(log, "undo a"), name="a")
    saga.operation(noting(log, "b"), noting(log, "undo b"), name="b", after="a")
    saga.operation(noting(log, "c", raises=ValueError("c")), name="c", after="b")

    with pytest.raises(SagaException):
        execute(saga)

    assert log == [
        "a", "operation started", "b", "succeeded", "c", "compensating", "undo b", "compensated",
        "undo a",
    ]  # fmt: skip


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_undoes_and_is_raised_again(
    execute_sync: Execute, log: list[Any], interrupt: type[BaseException]
) -> None:
    """The operation that it struck is in doubt, so it is undone as well; then it goes on."""
    saga = SagaAssembler.saga()
    saga.operation(noting(log, "a"), noting(log, "undo a"), name="a")
    struck = noting(log, "b", raises=interrupt("stop"))
    saga.operation(struck, noting(log, "undo b"), name="b", after="a")
    saga.operation(noting(log, "c"), name="c", after="b")

    with pytest.raises(interrupt, match="stop"):
        execute_sync(saga)

    assert log == ["a", "b", "undo b", "undo a"]


def test_a_doubtful_call_is_not_called_again_while_it_lives(execute: Execute) -> None:
    """It has a retry policy, and its first attempt still runs: it is undone instead."""
    calls, go_on, landed = list[str](), threading.Event(), threading.Event()

    def slow() -> None:
        calls.append("slow")
        go_on.wait(10)

    def undo() -> None:
        calls.append("undo")
        if calls.count("undo") == 2:
            landed.set()

    saga = SagaAssembler.saga().operation(slow, undo, timeout=0.02, retry=now())

    with pytest.raises(SagaException):
        execute(saga)

    assert calls == ["slow", "undo"]
    go_on.set()
    assert landed.wait(10), "the landing is undone as well"
    assert calls == ["slow", "undo", "undo"]


def test_a_doubtful_exception_is_retried_and_sticky(execute: Execute, log: list[Any]) -> None:
    """A reply that was lost, then a refusal: it may have happened, so it is undone."""
    errors: list[BaseException] = [ConnectionResetError(), ValueError("no")]

    def charge() -> None:
        raise errors.pop(0)

    with pytest.raises(SagaException) as caught:
        execute(SagaAssembler.saga().operation(charge, noting(log, "refund"), retry=now(2)))

    assert log == ["refund"]
    assert caught.value.operations["charge"].status is Status.COMPENSATED
    assert isinstance(caught.value.__cause__, ValueError)


def test_the_answer_of_on_doubt_reaches_the_machine(execute: Execute, log: list[Any]) -> None:
    """What happened after all goes on with the result that the answer gave."""
    saga = SagaAssembler.saga()
    lost = noting(log, "pay", raises=TimeoutError())
    saga.operation(lost, name="pay", pivot=True, on_doubt=lambda: happened("paid"))
    saga.operation(noting(log, "ship"), name="ship", after="pay")

    assert execute(saga) == ["paid", "ship"]


def test_the_exception_names_the_first_error_in_operation_order(execute_graph: Execute) -> None:
    """Several fail at once: all errors are kept, the first operation's is the cause."""
    both = threading.Barrier(2)

    def fail(name: str) -> None:
        both.wait(10)
        if name == "a":
            time.sleep(0.02)
        raise ValueError(name)

    saga = SagaAssembler.saga().operation((fail, "a"), name="a").operation((fail, "b"), name="b")

    with pytest.raises(SagaException) as caught:
        execute_graph(saga)

    assert str(caught.value.__cause__) == "a"
    assert list(map(str, caught.value.operation_errors.values())) == ["a", "b"]
    assert list(caught.value.operation_errors) == ["a", "b"]


def test_the_exception_of_a_stuck_saga_keeps_every_error(execute_chain: Execute) -> None:
    """The cause is the action's error; each compensation's stands beside it, the last one first."""
    saga = SagaAssembler.saga()
    saga.operation(int, noting([], "", raises=ValueError("undo a")), name="a")
    saga.operation(int, noting([], "undone b"), name="b")
    saga.operation(int, noting([], "", raises=ValueError("undo c")), name="c")
    saga.operation(noting([], "", raises=ValueError("d")), name="d")

    with pytest.raises(SagaStuck) as caught:
        execute_chain(saga)

    assert str(caught.value.__cause__) == "d"
    assert caught.value.compensation_success_result == ["undone b"]
    assert caught.value.compensation_errors == ["undo c", "undo a"]
    assert list(map(str, caught.value.stuck.values())) == ["undo a", "undo c"]


def test_a_run_that_was_stopped_names_what_it_did_not_start(
    execute_chain: Execute, clock: Clock
) -> None:
    """A deadline is nobody's failure: the first operation that was not started is named."""
    saga = (
        SagaAssembler.saga().operation((clock.forward, 2 * HOUR), name="a").operation(int, name="b")
    )

    with pytest.raises(SagaException) as caught:
        execute_chain(saga, deadline=HOUR)

    assert isinstance(caught.value.__cause__, TimeoutError)
    assert caught.value.operations["b"].status is Status.PENDING
    assert caught.value.operation_name == "b"


def test_the_world_replays_with_strings_of_its_own() -> None:
    """The machine compares by value: what a journal gives back is no constant of ours."""
    d = late_landings()
    assert all(
        entry[0] is not original[0]
        for entry, original in zip(replayed(d.x).entries, d.x.entries, strict=True)
    )
