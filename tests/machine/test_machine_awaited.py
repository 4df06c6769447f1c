"""Calls that have only begun something, and answers that come later, in time, late, or never."""

from __future__ import annotations

from typing import Any

import pytest
from dialogue import Dialogue, Op, again, chain, graph, one, resolved

from py_api_saga import Status
from py_api_saga.entries import (
    ACTION,
    AGAIN,
    ANSWERED,
    ASK,
    COMPENSATION,
    DENIED,
    FAILED,
    HAPPENED,
    IN_DOUBT,
    LATER,
    NOT_HAPPENED,
    RETRY,
    SUCCEEDED,
    UNKNOWN,
    UNSTORED,
    Awaited,
    Setback,
    answered,
    succeeded,
)
from py_api_saga.execution import Execution
from py_api_saga.stuck import StuckReason

UNDO: Any = {"kind": COMPENSATION}
ANSWER, TIMER = Awaited(None), Awaited(1.0, is_timer=True)


def why_stuck(d: Dialogue) -> dict[int, StuckReason]:
    """Say why it is stuck."""
    return d.x.stuck_reasons()


# --- waiting --------------------------------------------------------------------------------------


def test_a_call_that_only_began_something_is_awaited() -> None:
    """It is out of the air, its operation RUNNING, and the saga has not ended: it is suspended."""
    d = chain(Op(), Op())

    d.wait("a")

    assert (d.x.flying, list(d.x.awaited), d.ready()) == ({}, [0], "")
    assert (d.x.suspended, d.x.at_rest) == (True, False)
    assert (d.saga, d.stand()) == ("running", "running pending")
    assert d.x.trouble is None


def test_a_saga_is_suspended_only_when_nothing_else_is_to_be_done() -> None:
    """In a graph the others go on, and two may be awaited at once."""
    d = graph(Op(), Op(), Op((0,)))

    d.wait("a")
    assert (d.x.suspended, d.ready()) == (False, "b")
    d.start("b")
    assert not d.x.suspended
    d.begun("b")
    assert d.x.suspended

    d.answer("a", "one")
    assert (d.x.suspended, d.ready()) == (False, "c")
    d.do("c")
    assert d.x.suspended
    d.answer("b", "two")
    assert (d.saga, d.x.results) == ("completed", ["one", "two", "c done"])


def test_what_is_awaited_counts_against_no_limit() -> None:
    """Nothing of it runs: as many others may start as if it had ended."""
    d = graph(Op(), Op(), Op())

    d.wait("a")

    assert [intent[1] for intent in d.x.ready(2)] == [1, 2]


def test_an_answer_is_the_result_and_what_comes_after_goes_on() -> None:
    """As if the call had returned it; that its attempt is another one does not matter."""
    d = chain(Op(), Op())
    d.retry("a")
    d.wait("a")

    d.tell((ANSWERED, 0, ACTION, 1, 1, "paid"))

    assert (d.stand(), d.x.results[0], d.ready()) == ("succeeded pending", "paid", "b")
    assert d.x.trouble is not None
    assert d.x.trouble.errors == {}
    assert not d.expects("a")


def test_a_denial_is_final_and_what_was_done_is_undone() -> None:
    """As if the call had raised it for good."""
    d = chain(Op(), Op())
    d.do("a")
    d.wait("b")
    error = PermissionError("declined")

    d.deny("b", error)

    assert (d.stand(), d.ready()) == ("succeeded failed", "-a")
    assert d.x.trouble is not None
    assert d.x.trouble.errors == {1: error}


def test_a_denial_clears_the_doubt_that_earlier_attempts_have_left() -> None:
    """They had the same key: a refused payment is not refunded."""
    d = one()
    d.start("a")
    d.crash()
    d.wait("a")

    d.deny("a")

    assert (d.stand(), d.saga) == ("failed", "compensated")


def test_a_denial_leaves_the_doubt_about_an_older_key() -> None:
    """That another payment was refused says nothing of the first: the pivot needs a person yet."""
    d = one(pivot=True)
    d.doubt("a")
    d.again("a", new_key=True)
    d.wait("a")

    d.deny("a", generation=2)

    assert (d.stand(), d.saga) == ("stuck", "stuck")
    d.deny("a")
    assert (d.stand(), d.saga) == ("failed", "compensated")


def test_a_timer_succeeds_by_itself_or_is_answered_sooner() -> None:
    """What it was to return is its result, unless an answer came before."""
    by_itself, sooner = one(), one()
    for d in (by_itself, sooner):
        d.wait("a", result="kept")

    by_itself.due("a")
    sooner.answer("a", "confirmed")

    assert (by_itself.saga, by_itself.x.results) == ("completed", ["kept"])
    assert (sooner.saga, sooner.x.results) == ("completed", ["confirmed"])
    assert not by_itself.expects("a")


def test_a_timer_may_be_denied_before_its_time() -> None:
    """The cooling-off period ends with a withdrawal."""
    d = chain(Op(), Op())
    d.do("a")
    d.wait("b", result="kept")

    d.deny("b")

    assert (d.stand(), d.ready()) == ("succeeded failed", "-a")


@pytest.mark.parametrize(
    ("awaited", "entry"),
    [
        (ANSWER, (SUCCEEDED, 0, ACTION, 1, 1, "a")),
        (ANSWER, (FAILED, 0, ACTION, 1, 1, ValueError())),
        (ANSWER, (UNSTORED, 0, ACTION, 1, 1, ("a", TypeError()))),
        (ANSWER, (RETRY, 0, ACTION, 1, 1, Setback(ValueError(), 1.0))),
        (ANSWER, (IN_DOUBT, 0, ACTION, 1, 1, Setback(TimeoutError(), 1.0))),
        (ANSWER, (IN_DOUBT, 0, ACTION, 1, 1, Setback(TimeoutError(), alive=True))),
        (ANSWER, (LATER, 0, ACTION, 1, 1, Awaited(2.0))),
        (TIMER, (IN_DOUBT, 0, ACTION, 1, 1, Setback(TimeoutError()))),
        (TIMER, (UNSTORED, 0, ACTION, 1, 1, ("a", TypeError()))),
        (ANSWER, (HAPPENED, 0, ASK, 1, 1, "a")),
        (ANSWER, (ANSWERED, 0, ACTION, 1, 2, "a")),
        (ANSWER, (ANSWERED, 0, COMPENSATION, 1, 1, "a")),
        (ANSWER, resolved(0, Status.SUCCEEDED)),
        (ANSWER, again(0)),
    ],
)
def test_only_an_answer_or_its_time_ends_what_is_awaited(awaited: Awaited, entry: Any) -> None:
    """Whatever else is told of it is a defect of whoever tells it, and changes nothing."""
    d = one()
    d.start("a")
    d.end(LATER, "a", awaited)

    d.refuse(entry)


def test_a_question_is_answered_at_once() -> None:
    """It can't begin something: it ends with happened, not happened or unknown."""
    d = one(on_doubt="ask")
    d.start("a")
    d.crash()
    d.start("a")

    d.refuse((LATER, 0, ASK, 1, 1, Awaited(None)))


def test_a_person_is_told_to_answer_what_is_awaited() -> None:
    """To resolve it would not end the wait of whoever has been asked."""
    d = one()
    d.wait("a")

    for entry in (resolved(0, Status.SUCCEEDED), again(0)):
        with pytest.raises(Exception, match=r"^a is awaited: answer it$"):
            d.x.tell(entry)


# --- too late -------------------------------------------------------------------------------------


def test_what_is_overdue_is_asked_about_before_anything_is_undone() -> None:
    """It happened: the saga goes forward, and forgets that it took long."""
    d = chain(Op(), Op(on_doubt="ask"), Op())
    d.do("a")
    d.wait("b")

    d.overdue("b")
    assert (d.ready(), d.saga, d.stand()) == ("?b", "running", "succeeded in_doubt pending")
    d.start("b")
    d.end(HAPPENED, "b", "paid")

    assert (d.ready(), d.x.results[1]) == ("c", "paid")
    assert d.x.trouble is not None
    assert d.x.trouble.errors == {}
    assert not d.expects("b"), "its answer is known"


def test_what_is_overdue_and_did_not_happen_has_all_undone() -> None:
    """It is not called again: its time is up."""
    d = chain(Op(), Op(on_doubt="ask"))
    d.do("a")
    d.wait("b")
    d.overdue("b")

    d.start("b")
    d.end(NOT_HAPPENED, "b")

    assert (d.ready(), d.stand()) == ("-a", "succeeded failed")


def test_what_is_overdue_and_unknown_is_undone_without_another_question() -> None:
    """Nothing has changed since it was asked."""
    d = chain(Op(), Op(on_doubt="ask"))
    d.do("a")
    d.wait("b")
    d.overdue("b")

    d.start("b")
    d.end(UNKNOWN, "b")

    assert (d.ready(), d.saga) == ("-b", "compensating")


@pytest.mark.parametrize("on_doubt", ["proceed", "park"])
def test_what_is_overdue_with_nobody_to_ask_has_all_undone(on_doubt: Any) -> None:
    """As any doubt does that is left when an action has ended."""
    d = chain(Op(), Op(on_doubt=on_doubt))
    d.do("a")
    d.wait("b")

    d.overdue("b")

    assert d.saga == "compensating"
    assert d.ready() == ("-b" if on_doubt == "proceed" else "-a")


def test_what_is_overdue_while_a_rollback_is_decided_is_not_asked_about_first() -> None:
    """There is no way forward for it any more; the rollback asks, as of any doubt."""
    d = graph(Op(), Op(on_doubt="ask"), Op())
    d.do("a")
    d.wait("b")
    d.start("c")
    d.abort()

    d.overdue("b")
    assert d.ready() == ""
    d.end(SUCCEEDED, "c")

    assert d.ready() == "-c ?b -a"


def test_what_is_overdue_stays_so_over_a_crash() -> None:
    """It is asked about again, and is not called again by what a crash does for others."""
    d = chain(Op(), Op(on_doubt="ask"))
    d.do("a")
    d.wait("b")
    d.overdue("b")
    d.start("b")

    d.crash()
    assert d.ready() == "?b"
    d.start("b")
    d.end(NOT_HAPPENED, "b")

    assert (d.ready(), d.stand()) == ("-a", "succeeded failed")


@pytest.mark.parametrize("answer", [UNKNOWN, None], ids=["asked in vain", "nobody to ask"])
def test_an_overdue_pivot_needs_a_person_or_its_answer(answer: Any) -> None:
    """It is never called again by itself, nor undone; its answer resolves it."""
    d = chain(Op(), Op(pivot=True, on_doubt="ask" if answer else "proceed"), Op())
    d.do("a")
    d.wait("b")
    d.overdue("b")
    if answer:
        d.start("b")
        d.end(answer, "b")

    assert (d.stand(), d.ready()) == ("succeeded stuck pending", "")
    assert why_stuck(d) == {1: "asked in vain" if answer else "not asked"}
    d.crash()
    assert d.ready() == ""
    d.answer("b", "paid")
    assert (d.stand(), d.ready(), d.x.passed) == ("succeeded succeeded pending", "c", True)


def test_an_overdue_pivot_that_is_denied_has_all_undone() -> None:
    """The answer resolves it in that direction as well."""
    d = chain(Op(), Op(pivot=True))
    d.do("a")
    d.wait("b")
    d.overdue("b")

    d.deny("b")

    assert (d.stand(), d.ready()) == ("succeeded failed", "-a")


def test_what_is_overdue_behind_the_pivot_is_resolved_by_its_answer() -> None:
    """A denial leaves it to a person: behind the pivot nothing is undone."""
    answered, denied = (chain(Op(pivot=True), Op(), Op()) for _ in range(2))
    error = PermissionError("declined")
    for d in (answered, denied):
        d.do("a")
        d.wait("b")
        d.overdue("b")
        assert d.stand() == "succeeded stuck pending"

    answered.answer("b")
    denied.deny("b", error)

    assert answered.ready() == "c"
    assert (denied.ready(), denied.stand()) == ("", "succeeded stuck pending")
    assert denied.x.trouble is not None
    assert denied.x.trouble.errors == {1: error}


def test_a_person_has_what_is_overdue_called_again_and_that_may_be_called_again() -> None:
    """What a person said ends what the lateness meant: the next crash is one like any other."""
    d = one(pivot=True)
    d.wait("a")
    d.overdue("a")
    d.again("a")
    d.start("a")

    d.crash()

    assert d.ready() == "a"


# --- compensations --------------------------------------------------------------------------------


def undoing(*plan: Op) -> Dialogue:
    """Begin to undo a chain, and have the last undo awaited."""
    d = chain(*plan)
    names = "abc"[: len(plan)]
    d.do(*names[:-1])
    d.fail(names[-1])
    d.wait(names[-2])
    return d


def test_an_awaited_compensation_holds_up_what_is_before_it() -> None:
    """The order of a rollback is kept; its answer is what it returned."""
    d = undoing(Op(), Op(), Op())
    assert (d.x.suspended, d.ready(), d.saga) == (True, "", "compensating")

    d.answer("b", "refunded", **UNDO)

    assert (d.ready(), d.stand()) == ("-a", "succeeded compensated failed")
    assert d.x.trouble is not None
    assert d.x.trouble.undone == {1: "refunded"}


def test_an_awaited_compensation_may_be_a_timer() -> None:
    """It succeeds by itself."""
    d = chain(Op(), Op())
    d.do("a")
    d.fail("b")
    d.wait("a", result="expired")

    d.due("a")

    assert d.saga == "compensated"


def test_a_denied_compensation_is_stuck_and_holds_up_nobody() -> None:
    """It is not tried again."""
    d = undoing(Op(), Op(), Op())
    error = PermissionError("no refunds")

    d.deny("b", error, **UNDO)

    assert (d.ready(), d.stand()) == ("-a", "succeeded stuck failed")
    assert d.x.trouble is not None
    assert d.x.trouble.undo_errors == {1: error}


@pytest.mark.parametrize("word", [IN_DOUBT, FAILED])
def test_an_overdue_compensation_is_stuck_until_it_is_answered(word: Any) -> None:
    """As past its `timeout=`; then it is undone, and the saga has ended as if in time."""
    d = undoing(Op(), Op(), Op())
    late = TimeoutError("late")

    d.tell((word, 1, COMPENSATION, 1, 1, Setback(late) if word == IN_DOUBT else late))
    assert d.stand() == "succeeded stuck failed"
    d.do("a")
    assert d.saga == "stuck"
    d.answer("b", "refunded", **UNDO)

    assert (d.saga, d.stand()) == ("compensated", "compensated compensated failed")


def test_a_denial_of_what_is_overdue_says_why_it_is_stuck() -> None:
    """The reason is better than that nobody answered."""
    d = undoing(Op(), Op())
    d.overdue("a")
    error = PermissionError("no refunds")

    d.deny("a", error, **UNDO)

    assert (d.saga, d.stand()) == ("stuck", "stuck failed")
    assert d.x.trouble is not None
    assert d.x.trouble.undo_errors == {0: error}


def test_a_compensation_lost_in_a_crash_is_not_called_again_once_it_is_answered() -> None:
    """Its answer has come before the next attempt."""
    d = chain(Op(), Op())
    d.do("a")
    d.fail("b")
    d.start("a")
    d.crash()

    d.answer("a", "refunded", **UNDO)

    assert (d.ready(), d.saga) == ("", "compensated")


@pytest.mark.parametrize("how", ["lost", "between attempts"])
def test_a_denied_compensation_that_was_to_be_called_again_is_stuck(how: str) -> None:
    """The denial is final: under that key nothing will ever be undone."""
    d = chain(Op(), Op())
    d.do("a")
    d.fail("b")
    if how == "lost":
        d.start("a")
        d.crash()
    else:
        d.retry("a")

    d.deny("a", **UNDO)

    assert (d.ready(), d.stand(), d.saga) == ("", "stuck failed", "stuck")


def test_a_compensation_between_attempts_needs_no_further_one_once_it_is_answered() -> None:
    """It failed by an error of its own, but whoever answers knows better."""
    d = chain(Op(), Op())
    d.do("a")
    d.fail("b")
    d.retry("a")

    d.answer("a", **UNDO)

    assert (d.ready(), d.saga) == ("", "compensated")


def test_what_a_person_has_called_again_was_undone_already_as_the_answer_says() -> None:
    """Resolved as SUCCEEDED it would be undone; then the first undo turns out to have worked."""
    d = undoing(Op(), Op())
    d.overdue("a")
    d.resolve("a", Status.SUCCEEDED)
    assert d.ready() == "-a"

    d.answer("a", **UNDO)

    assert (d.ready(), d.saga) == ("", "compensated")


# --- a rollback begins while something is awaited -------------------------------------------------


def test_a_rollback_puts_what_is_awaited_in_doubt_and_expects_its_answer() -> None:
    """It has no error of its own: that would be taken for the cause."""
    d = graph(Op(), Op(on_doubt="ask"), Op())
    d.wait("a", "b")
    error = ValueError("c")

    d.fail("c", error)

    assert d.stand() == "in_doubt in_doubt failed"
    assert (d.x.awaited, d.ready()) == ({}, "?b -a")
    assert d.expects("a")
    assert d.x.trouble is not None
    assert d.x.trouble.errors == {2: error}


def test_a_rollback_counts_an_awaited_timer_as_a_success() -> None:
    """It would have succeeded by itself: it is undone, or skipped, and asked about by nobody."""
    d = graph(Op(on_doubt="ask"), Op(undo=False), Op())
    d.wait("a", result="kept")
    d.wait("b", result="kept")

    d.abort()

    assert (d.stand(), d.ready()) == ("succeeded skipped pending", "-a")
    assert d.x.results[:2] == ["kept", "kept"]
    assert not d.expects("a")


def test_what_begins_something_after_the_rollback_was_decided_is_undone() -> None:
    """It was in flight then, and the rollback has waited for it."""
    d = one()
    d.start("a")
    d.abort()

    d.begun("a")

    assert (d.ready(), d.stand()) == ("-a", "in_doubt")


def test_an_answer_may_come_while_the_rollback_waits_for_what_runs() -> None:
    """What is awaited is given up only as the rollback begins."""
    d = graph(Op(), Op(), Op())
    d.wait("a", "b")
    d.start("c")
    d.abort()
    assert list(d.x.awaited) == [0, 1]

    d.answer("a")
    d.deny("b")
    d.end(SUCCEEDED, "c")

    assert (d.stand(), d.ready()) == ("succeeded failed succeeded", "-c -a")


def test_nothing_rolls_back_while_the_pivot_is_awaited() -> None:
    """It decides: answered, the saga is past it; denied, all is undone."""
    answered, denied = (chain(Op(), Op(pivot=True), Op()) for _ in range(2))
    for d in (answered, denied):
        d.do("a")
        d.wait("b")
        d.abort()
        assert (d.ready(), d.x.suspended, d.saga) == ("", True, "running")
        assert not d.x.goes_back

    answered.answer("b")
    denied.deny("b")

    assert (answered.ready(), answered.x.passed) == ("c", True)
    assert (denied.ready(), denied.stand()) == ("-a", "succeeded failed pending")


def test_an_awaited_pivot_that_is_overdue_in_an_abort_is_asked_about() -> None:
    """If it did not happen, the rollback begins."""
    d = chain(Op(), Op(pivot=True, on_doubt="ask"))
    d.do("a")
    d.wait("b")
    d.abort()

    d.overdue("b")
    assert d.ready() == "?b"
    d.start("b")
    d.end(NOT_HAPPENED, "b")

    assert d.ready() == "-a"


# --- answers that nobody awaits any more ----------------------------------------------------------


def given_up() -> Dialogue:
    """Have a rollback begin while something is awaited."""
    d = graph(Op(), Op())
    d.wait("a")
    d.fail("b")
    return d


def test_what_is_answered_before_its_undo_has_succeeded_and_is_undone_once() -> None:
    """With the result that it turns out to have, for its compensation."""
    d = given_up()

    d.answer("a", "paid")
    assert (d.stand(), d.x.results[0]) == ("succeeded failed", "paid")
    d.do("a")

    assert d.saga == "compensated"


def test_what_is_denied_before_its_undo_is_not_undone() -> None:
    """Nothing is owed; why the saga failed stays what it was."""
    d = given_up()

    d.deny("a")

    assert (d.ready(), d.stand(), d.saga) == ("", "failed failed", "compensated")
    assert d.x.trouble is not None
    assert list(d.x.trouble.errors) == [1]


@pytest.mark.parametrize("when", ["while it is undone", "once it is undone"])
def test_what_is_answered_behind_its_undo_is_undone_once_more(when: str) -> None:
    """Under the next key: services take it for another request."""
    d = given_up()
    d.start("a")
    if when == "once it is undone":
        d.end(SUCCEEDED, "a")
    d.answer("a")
    if when == "while it is undone":
        d.end(SUCCEEDED, "a")

    assert (d.ready(), d.saga) == ("-a", "compensating")
    assert d.intents("a")[0][4] == 2
    d.do("a")
    assert d.saga == "compensated"
    assert not d.expects("a")


def test_a_denial_behind_the_undo_is_only_recorded() -> None:
    """There was nothing to undo, as it turns out."""
    d = given_up()
    d.do("a")

    d.deny("a")

    assert (d.saga, d.ready(), d.stand()) == ("compensated", "", "compensated failed")


def test_an_answer_between_two_attempts_of_the_undo_is_not_one_to_that() -> None:
    """It is the compensation that waits: it is called again, and for an answer once more."""
    denied, answered = given_up(), given_up()
    for d in (denied, answered):
        d.retry("a")

    denied.deny("a")
    answered.answer("a")
    for d in (denied, answered):
        assert (d.ready(), d.stand()) == ("-a", "compensating failed")
        d.do("a")

    assert denied.saga == "compensated"
    assert (answered.ready(), answered.intents("a")[0][4]) == ("-a", 2)


def test_what_failed_and_is_answered_is_undone() -> None:
    """It failed by an error of its own, but whoever answers knows better."""
    d = chain(Op(), Op())
    d.do("a")
    d.fail("b")

    d.answer("b", "paid")

    assert d.ready() == "-b -a"
    d.do("b", "a")
    assert (d.saga, d.stand()) == ("compensated", "compensated compensated")


def test_what_failed_and_is_answered_before_the_rollback_begins_is_not_forgotten() -> None:
    """It is owed from the first moment on."""
    d = graph(Op(), Op())
    d.start("b")
    d.fail("a")

    d.answer("a")
    assert d.ready() == ""
    d.end(SUCCEEDED, "b")

    assert d.ready() == "-b -a"


def test_what_was_said_not_to_have_happened_and_is_answered_is_undone() -> None:
    """The question was answered too soon."""
    d = graph(Op(on_doubt="ask"), Op())
    d.wait("a")
    d.start("b")
    d.overdue("a")
    d.start("a")
    d.end(NOT_HAPPENED, "a")

    d.answer("a")
    d.end(SUCCEEDED, "b")

    assert d.ready() == "-b -a"


def test_two_keys_that_are_answered_behind_a_failure_are_undone_at_once() -> None:
    """What a person called again under another key: one undo is owed, not one for each key."""
    d = one(pivot=True)
    d.doubt("a")
    d.again("a", new_key=True)
    d.doubt("a")
    d.resolve("a", Status.FAILED)

    d.answer("a")
    d.answer("a", generation=2)

    assert d.ready() == "-a"
    d.do("a")
    assert d.saga == "compensated"


def test_an_answer_between_two_attempts_spares_the_next_one() -> None:
    """Whatever the first attempt has raised."""
    d = chain(Op(), Op())
    d.retry("a")

    d.answer("a", "paid")

    assert (d.ready(), d.x.results[0]) == ("b", "paid")
    assert d.x.trouble is not None
    assert d.x.trouble.errors == {}


def test_a_denial_between_two_attempts_gives_up() -> None:
    """Also if the first one was in doubt: it was the same key."""
    d = chain(Op(), Op())
    d.do("a")
    d.doubt("b", wait=1.0)
    error = PermissionError("declined")

    d.deny("b", error)

    assert (d.ready(), d.stand()) == ("-a", "succeeded failed")
    assert d.x.trouble is not None
    assert d.x.trouble.errors == {1: error}


def test_an_answer_after_a_crash_spares_the_next_call() -> None:
    """What was in flight is in doubt, and expected."""
    d = chain(Op(), Op())
    d.start("a")
    d.crash()
    assert d.expects("a")

    d.answer("a", "paid")

    assert (d.ready(), d.x.results[0]) == ("b", "paid")


def test_a_denial_after_a_crash_is_the_cause_of_the_failure() -> None:
    """Nobody calls again what was refused."""
    d = chain(Op(), Op())
    d.do("a")
    d.start("b")
    d.crash()
    error = PermissionError("declined")

    d.deny("b", error)

    assert (d.ready(), d.stand()) == ("-a", "succeeded failed")
    assert d.x.trouble is not None
    assert d.x.trouble.errors == {1: error}


@pytest.mark.parametrize("word", [ANSWERED, DENIED])
def test_what_a_person_was_to_find_out_is_resolved_by_its_answer(word: Any) -> None:
    """Stuck for its doubt: parked, going forward and in a rollback."""
    forward, back = (chain(Op(), Op(on_doubt="park"), Op()) for _ in range(2))
    for d in (forward, back):
        d.do("a")
        d.start("b")
    forward.crash()
    back.lose("b")
    for d in (forward, back):
        assert d.stand().split()[1] == "stuck"
        d.tell((word, 1, ACTION, 1, 1, "paid" if word == ANSWERED else PermissionError("no")))

    if word == ANSWERED:
        assert (forward.ready(), back.ready()) == ("c", "-b -a")
    else:
        assert (forward.ready(), back.ready()) == ("-a", "-a")
        assert forward.stand() == back.stand() == "succeeded failed pending"


def test_what_is_stuck_for_its_compensation_is_left_to_the_person() -> None:
    """The answer to its action is on record, and tells what is to be undone."""
    for word in (ANSWERED, DENIED):
        d = given_up()
        d.fail("a")
        assert d.stand() == "stuck failed"

        d.tell((word, 0, ACTION, 1, 1, "paid" if word == ANSWERED else PermissionError("no")))

        assert (d.stand(), d.ready()) == ("stuck failed", "")


def test_what_is_answered_once_skipped_or_succeeded_is_only_recorded() -> None:
    """Nothing can be undone of the one, and the other was known."""
    skipped = graph(Op(undo=False), Op())
    skipped.wait("a")
    skipped.fail("b")
    known = chain(Op(pivot=True), Op())
    known.doubt("a")
    known.resolve("a", Status.SUCCEEDED, "known")

    skipped.answer("a")
    known.answer("a")

    assert (skipped.saga, skipped.stand()) == ("compensated", "skipped failed")
    assert known.ready() == "b"


def test_going_on_leaves_in_flight_what_an_answer_has_led_to() -> None:
    """In a chain a rollback has two calls in flight then; from one goes on what is before it."""
    d = chain(Op(), Op(), Op(on_doubt="park"))
    d.do("a", "b")
    d.doubt("c")
    x = Execution(d.definition, d.x.entries)
    first = x.start()
    x.tell(answered((2, ACTION, 1, 1), "paid"))
    second = x.start()
    assert first is not None
    assert second is not None

    next_one = x.go_on(succeeded(first, None))

    assert x.flying == {2: second, 0: next_one}


# --- which answers are expected -------------------------------------------------------------------


def test_nobody_expects_an_answer_to_what_was_not_called() -> None:
    """Nor to what runs: what it returns comes first."""
    d = one()
    assert not d.expects("a")
    d.refuse((ANSWERED, 0, ACTION, 1, 1, "paid"))
    d.start("a")

    assert not d.expects("a")
    d.refuse((ANSWERED, 0, ACTION, 1, 1, "paid"))
    d.end(SUCCEEDED, "a")
    assert not d.expects("a")
    d.refuse((DENIED, 0, ACTION, 1, 1, PermissionError()))


def test_an_answer_waits_while_its_action_is_asked_about() -> None:
    """What the question says comes first; then the answer beats it."""
    d = chain(Op(), Op(on_doubt="ask"))
    d.do("a")
    d.wait("b")
    d.overdue("b")
    d.start("b")

    assert d.x.runs(1, ACTION)
    assert not d.expects("b")
    d.end(UNKNOWN, "b")

    assert d.expects("b")


def test_a_key_is_answered_once_however_many_attempts_it_had() -> None:
    """An answer to the first attempt ends the third, and no other one is expected."""
    d = chain(Op(), Op())
    d.doubt("a", wait=1.0)
    d.retry("a")
    d.wait("a")

    d.tell((ANSWERED, 0, ACTION, 1, 1, "paid"))

    assert d.ready() == "b"
    d.refuse((ANSWERED, 0, ACTION, 2, 1, "paid"))
    d.refuse((DENIED, 0, ACTION, 3, 1, PermissionError()))


def test_a_straggler_that_returns_later_has_ended_and_is_expected() -> None:
    """It was given up when its time was up, and has begun something since."""
    d = chain(Op(), Op(on_doubt="ask"))
    d.do("a")
    late = d.doubt("b", alive=True)
    assert d.ready() == "-b", "while the straggler lives nothing is asked"

    d.land(late, LATER, Awaited(None))

    assert (d.ready(), d.x.awaited, d.expects("b")) == ("?b", {}, True)


def test_a_timer_of_a_straggler_is_expected_too() -> None:
    """Nobody waits for it, so it does not succeed by itself."""
    d = graph(Op(), Op())
    d.do("b")
    late = d.doubt("a", alive=True)

    d.land(late, LATER, Awaited(1.0, is_timer=True))

    assert d.expects("a")


def test_a_straggler_that_lands_when_it_was_answered_tells_nothing_new() -> None:
    """It was one request, and is undone once."""
    d = graph(Op(), Op())
    d.do("b")
    late = d.doubt("a", alive=True)
    d.answer("a", "paid")
    d.do("a")

    d.land(late)

    assert d.ready() == "-b"
    d.do("b")
    assert d.saga == "compensated"


def test_an_undo_that_lands_when_it_was_answered_does_not_count_for_the_next_one() -> None:
    """Its action was answered meanwhile, so that another undo was owed, which is stuck."""
    d = given_up()
    d.start("a")
    d.answer("a")
    late = d.lose("a", alive=True)
    d.answer("a", **UNDO)
    assert d.intents("a")[0][4] == 2
    d.fail("a")

    d.land(late)

    assert (d.saga, d.stand()) == ("stuck", "stuck failed")


def test_what_was_denied_is_called_again_under_another_key() -> None:
    """Nobody would ever answer under the first one: it has its answer."""
    d = chain(Op(pivot=True), Op())
    d.do("a")
    d.wait("b")
    d.deny("b")

    d.again("b")

    assert d.intents("b")[0][4] == 2
    undo = undoing(Op(), Op())
    undo.deny("a", **UNDO)
    undo.resolve("a", Status.SUCCEEDED)
    assert undo.intents("a")[0][4] == 2


def test_an_answer_under_an_older_key_ends_the_wait_under_a_newer_one() -> None:
    """The operation has succeeded; what a person called again has an answer of its own."""
    d = chain(Op(pivot=True), Op())
    d.doubt("a")
    d.again("a", new_key=True)
    d.wait("a")

    d.answer("a", "paid")

    assert (d.ready(), d.x.awaited, d.x.results[0]) == ("b", {}, "paid")
    d.answer("a", "paid twice", generation=2)
    assert d.x.results[0] == "paid", "which others may have been given"


def test_what_is_denied_while_another_key_is_in_doubt_is_not_called_again() -> None:
    """Neither by its retry, nor by what a crash does for others; it needs a person yet."""
    waiting, lost = one(pivot=True), one(pivot=True)
    for d in (waiting, lost):
        d.doubt("a")
        d.again("a", new_key=True)
    waiting.retry("a")
    lost.start("a")
    lost.crash()

    for d in (waiting, lost):
        d.deny("a", generation=2)
        assert (d.stand(), d.ready()) == ("stuck", "")
        d.crash()
        assert d.ready() == ""


def test_an_older_key_that_is_denied_leaves_the_call_under_the_newer_one() -> None:
    """It goes on between its attempts, awaited, and as a person said."""
    waiting, awaited, said = (one(pivot=True) for _ in range(3))
    for d in (waiting, awaited, said):
        d.doubt("a")
        d.again("a", new_key=True)
    waiting.retry("a")
    awaited.wait("a")

    for d in (waiting, awaited, said):
        d.deny("a")

    assert waiting.ready() == said.ready() == "a"
    assert awaited.x.suspended


# --- crashes --------------------------------------------------------------------------------------


def test_what_is_awaited_stays_so_over_a_crash_of_what_runs() -> None:
    """It is in the journal, and no process was needed for it."""
    d = graph(Op(), Op())
    d.wait("a")
    d.start("b")

    d.crash()

    assert (list(d.x.awaited), d.ready(), d.stand()) == ([0], "b", "running in_doubt")


def test_a_crash_that_has_all_undone_gives_up_what_is_awaited() -> None:
    """on_crash="compensate", and something was lost beside it."""
    d = graph(Op(), Op())
    d.definition.on_crash = "compensate"
    d.wait("a")
    d.start("b")

    d.crash()

    assert (d.x.awaited, d.ready(), d.stand()) == ({}, "-b -a", "in_doubt in_doubt")


def test_a_retry_that_was_awaited_by_a_person_is_their_word_again() -> None:
    """Called again by a person it begins anew, and is awaited anew."""
    d = one(pivot=True)
    d.wait("a")
    d.overdue("a")
    d.tell((AGAIN, 0, "", 0, 0, False))

    d.wait("a")
    d.answer("a")

    assert d.saga == "completed"
