"""How the command shows sagas that wait for answers: as what they are, and waking nobody."""

from __future__ import annotations

import json
import time
from typing import Any

import depot
import pytest
from commands import Say, happened, remedies
from depot import ask, do, undo
from pending import HOUR, KEY, pass_by, pending, undo_pending
from recorded import chain, order, seen

from py_api_saga import SagaAssembler, SagaStatus, answer, later, recover
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.changes import Take
from py_api_saga.story.words import minute, moment


def found(say: Say, *arguments: str) -> Any:
    """Give the JSON document that a command prints."""
    return json.loads(say(*arguments, "--json")[1])


def line(say: Say, saga_id: str = "x") -> str:
    """Give the line that `saga list` has of a saga, from its status on."""
    (one,) = (one for one in say("list")[1].splitlines() if one.startswith(f"{saga_id} "))
    return " ".join(one.split()[2:])


# --- saga list ------------------------------------------------------------------------------------


def test_the_list_says_until_when_a_saga_waits(say: Say, journal: SQLiteJournal) -> None:
    """In place of "no": nobody has to drive it."""
    due = pending(journal).due
    assert due is not None

    assert line(say) == f"RUNNING 0s 0 waits until {minute(due)}"
    (saga,) = found(say, "list")["sagas"]
    assert (saga["waits"], saga["answered"], saga["driven"]) == (True, False, False)
    assert saga["due"].startswith(minute(due).replace(" ", "T")[:-1])
    assert say("list")[0] == 0


def test_the_list_tells_what_waits_for_ever_from_what_is_due(
    say: Say, journal: SQLiteJournal
) -> None:
    """And from what is answered: there recovery has something to do."""
    pending(journal, "ever", timeout=None)
    pending(journal, "late", timeout=HOUR)
    pass_by(journal, 2 * HOUR)
    pending(journal)
    answer(journal, KEY, result="B", go_on=False)
    late = seen(journal, "late").due

    assert line(say, "ever").endswith("waits for an answer")
    assert line(say, "late").endswith(f"waits, due since {minute(late)}")
    assert line(say).endswith("waits, answered")
    by_id = {saga["saga_id"]: saga for saga in found(say, "list")["sagas"]}
    assert (by_id["ever"]["due"], by_id["ever"]["waits"]) == (None, True)
    assert {one for one, saga in by_id.items() if saga["answered"]} == {"x"}


def test_what_a_process_drives_does_not_wait(say: Say, journal: SQLiteJournal) -> None:
    """Also if calls of it do: whoever drives it is told of."""
    pending(journal)
    journal.write(Take(seen(journal, "x")))

    assert line(say).endswith(" yes")
    assert found(say, "list")["sagas"][0]["waits"] is False


# --- saga why -------------------------------------------------------------------------------------


def why(say: Say, *arguments: str) -> str:
    """Give what `saga why` says."""
    ended, said = say("why", "x", *arguments)
    assert ended == 0
    return said


def test_why_says_what_a_saga_waits_for_and_how_to_answer(say: Say, journal: SQLiteJournal) -> None:
    """Until when, what comes then, and nothing that would be of no use: to take it over, say."""
    due = pending(journal).due
    assert due is not None
    at = moment(due)

    said = why(say)

    assert f"it waits for b, until {at}\n" in said
    assert f"It goes forward.\nIt waits for an answer, until {at}. Nobody has to drive it" in said
    assert f"was begun and waits for an answer, until {at}; then the saga is undone\n" in said
    assert "if it took no effect, and TEXT is why; what was done is undone" in said
    assert remedies(say, "why", "x") == [
        "saga answer x b --result JSON --note TEXT",
        "saga answer x b --error TEXT --note TEXT",
        "saga cancel x",
    ]


def asked(**more: Any) -> SagaAssembler:
    """Make an order whose second operation can be asked about."""
    return (
        SagaAssembler.saga(name="depot")
        .operation((do, "a"), (undo, "a"), name="a")
        .operation((do, "b"), name="b", on_doubt=ask, **more)
        .operation((do, "c"), name="c")
    )


def pivot() -> SagaAssembler:
    """Make an order whose second operation is its pivot."""
    return SagaAssembler.saga().operation((do, "a")).operation((do, "b"), name="b", pivot=True)


def passed() -> SagaAssembler:
    """Make an order whose second operation is behind its pivot."""
    return SagaAssembler.saga().operation((do, "a"), pivot=True).operation((do, "b"), name="b")


@pytest.mark.parametrize(
    ("made", "then"),
    [
        (asked, "it is asked whether it happened"),
        (lambda: chain("a", "b"), "the saga is undone"),
        (order, "it is stuck"),  # what undoes it needs what it returns
        (pivot, "it is stuck"),
        (passed, "it is stuck"),
    ],
)
def test_why_says_what_comes_of_an_answer_that_is_late(
    say: Say, journal: SQLiteJournal, made: Any, then: str
) -> None:
    """Before that, and once it is; then it can be gone on with at once."""
    due = pending(journal, made=made()).due
    assert due is not None
    assert f"; then {then}\n" in why(say)

    pass_by(journal, 2 * HOUR)

    at = moment(due - 2 * HOUR)
    said = why(say)
    assert f"was begun, and no answer had come by {at}: next {then}\n" in said
    assert f"It waits for an answer, and is due since {at}: the next recovery goes on." in said
    assert remedies(say, "why", "x")[0] == "saga takeover x --modules depot"


def test_why_says_that_past_the_pivot_a_refusal_is_stuck(say: Say, journal: SQLiteJournal) -> None:
    """There is no way back."""
    pending(journal, made=passed())

    assert "if it took no effect, and TEXT is why; it is stuck then" in why(say)


def test_why_says_that_what_waits_for_a_time_succeeds_by_itself(
    say: Say, journal: SQLiteJournal
) -> None:
    """A cooling-off period, which may end sooner."""
    due = time.time() + HOUR
    pending(journal, until=due, result="kept")

    assert f"waits until {moment(due)}; then it succeeds by itself, unless answered" in why(say)
    pass_by(journal, 2 * HOUR)
    assert "its time came by" in why(say)
    recover(journal)
    assert seen(journal, "x").status is SagaStatus.COMPLETED


def test_why_says_that_an_answer_is_there(say: Say, journal: SQLiteJournal) -> None:
    """And asks for no other."""
    pending(journal, timeout=None)
    assert "waits for an answer, however long that takes. Nobody has to drive it." in why(say)
    answer(journal, KEY, result="B", go_on=False)

    said = why(say)

    assert "An answer has come that nobody has taken in yet: the next recovery does." in said
    assert "was begun, and its answer has come, which nobody has taken in yet" in said
    assert remedies(say, "why", "x") == ["saga takeover x --modules depot", "saga cancel x"]
    assert found(say, "show", "x")["awaited"][0]["answered"] is True


def test_why_says_that_a_late_answer_has_come_for_what_has_ended(
    say: Say, journal: SQLiteJournal
) -> None:
    """It is not over then: what happened after all is undone once more."""
    pending(journal)
    assert say("cancel", "x")[0] == 0
    recover(journal)
    assert "There is nothing to do" in why(say)
    answer(journal, KEY, result="B", go_on=False)

    assert "a late answer has come since: recovery acts upon it" in why(say)


def test_why_says_that_an_undo_waits(say: Say, journal: SQLiteJournal) -> None:
    """It is answered by an option of its own: nobody answers it who means the action."""
    due = undo_pending(journal).due
    assert due is not None

    said = why(say)

    assert f"it waits for the undo of b, until {moment(due)}\n" in said
    assert "its undo was begun and waits for an answer, until" in said
    assert "; then it is stuck" in said
    assert remedies(say, "why", "x") == [
        "saga answer x b --compensation --result JSON --note TEXT",
        "saga answer x b --compensation --error TEXT --note TEXT",
    ]


def test_why_says_how_many_answers_a_saga_waits_for(say: Say, journal: SQLiteJournal) -> None:
    """Side by side; the first one says until when."""
    depot.behaviour["b"] = lambda: later(timeout=None)
    made = (
        SagaAssembler.saga(name="depot")
        .operation((do, "a"), name="a")
        .operation((do, "b"), name="b")
    )
    depot.behaviour["a"] = lambda: later(timeout=HOUR)
    with pytest.raises(Exception, match="waits for"):
        made.choreography_execute(journal=journal, saga_id="x")

    assert "It waits for 2 answers, until" in why(say)
    assert "it waits for a, until" in why(say)
    assert ", b\n" in why(say)


# --- saga show ------------------------------------------------------------------------------------


def test_show_tells_that_a_call_waited_and_was_answered(say: Say, journal: SQLiteJournal) -> None:
    """Line by line; with the note of whoever did, and in JSON what it waited for."""
    due = pending(journal).due
    assert due is not None
    (wait,) = found(say, "show", "x")["awaited"]
    assert (wait["operation"], wait["kind"], wait["key"]) == ("b", "action", KEY)
    assert (wait["then"], wait["answered"]) == ("undone", False)
    answer(journal, KEY, result="paid", who="ada", why="seen at the bank")

    lines = happened(say("show", "x")[1])

    assert ("b", f"was begun, and waits for an answer, until {moment(due)}") in lines
    assert ("b", "was answered: it happened, with str") in lines
    assert any("ada decided: answer: seen at the bank" in one[1] for one in lines)
    assert found(say, "show", "x")["awaited"] == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"timeout": None}, "was begun, and waits for an answer, however long that takes"),
        ({"until": 9e9}, "until 2255-03-14 16:00:00Z, when it succeeds by itself"),
    ],
)
def test_show_says_for_how_long_it_waits(
    say: Say, journal: SQLiteJournal, given: dict[str, Any], says: str
) -> None:
    """For ever, or until it succeeds by itself."""
    pending(journal, **given)

    assert says in say("show", "x")[1]


def test_show_tells_of_an_undo_that_was_refused(say: Say, journal: SQLiteJournal) -> None:
    """As of what it is."""
    undo_pending(journal)
    answer(journal, "x:b:compensation", error=ValueError("no"))

    lines = [one[1] for one in happened(say("show", "x")[1]) if one[0] == "b"]
    assert any(one.startswith("its undo was begun, and waits") for one in lines)
    assert "its undo was answered: it failed: ValueError('no')" in lines


def test_the_graph_says_what_waits(say: Say, journal: SQLiteJournal) -> None:
    """Beside its status."""
    pending(journal)

    assert "b<br/>RUNNING - waits" in say("graph", "x")[1]


# --- what wakes somebody, and what does not -------------------------------------------------------


WAITING = (
    "0 stuck, 0 overdue (open, undriven for 5m), 0 tried 3 times or more, 2 open in all, 2 of them "
    "waiting for answers\n"
)


def test_what_waits_wakes_nobody_before_it_is_overdue(say: Say, journal: SQLiteJournal) -> None:
    """However long that takes: it is due when it says, and recovery has the grace as ever."""
    pending(journal, "ever", timeout=None)
    pending(journal, "x", timeout=30 * 24 * HOUR)
    pass_by(journal, 29 * 24 * HOUR)

    ended, said = say("check")
    assert (ended, said) == (
        0,
        WAITING,
    )
    pass_by(journal, 24 * HOUR + 60)
    assert say("check")[0] == 0

    pass_by(journal, 600)

    assert say("check")[0] == 4
    document = found(say, "check")
    assert (document["overdue"], document["waiting"], document["open"]) == (1, 1, 2)
    assert [saga["saga_id"] for saga in document["sagas"]] == ["x"]


def test_an_answer_that_nobody_takes_in_wakes_somebody(say: Say, journal: SQLiteJournal) -> None:
    """Webhooks only post: without a worker nobody goes on; also if the saga has ended."""
    pending(journal, timeout=None)
    pending(journal, "over", timeout=None)
    say("cancel", "over")
    recover(journal)
    for key in (KEY, "over:b:action"):
        answer(journal, key, result="B", go_on=False)
    assert say("check")[0] == 0

    pass_by(journal, 600)

    ended, said = say("check")
    assert ended == 4
    assert said.endswith("; 2 overdue: answered, and nobody goes on\n")
    document = found(say, "check")
    assert (document["overdue"], document["open"]) == (2, 1)
    assert {one["saga_id"]: one["answered"] for one in document["sagas"]} == {
        "x": True,
        "over": True,
    }
    assert 'saga_overdue{saga_name="depot"} 2' in say("check", "--prometheus")[1]
    recover(journal)
    assert say("check")[0] == 0


def test_what_waits_is_measured_by_itself(say: Say, journal: SQLiteJournal) -> None:
    """So an alert on the age of what is open means what a process should be at."""
    pending(journal, timeout=None)
    pass_by(journal, HOUR)
    pending(journal, "y", timeout=None)

    said = say("check", "--prometheus")[1]

    assert 'saga_open{saga_name="depot"} 2' in said
    assert 'saga_waiting{saga_name="depot"} 2' in said
    assert 'saga_open_age_seconds{saga_name="depot"} 0' in said
    (age,) = (one for one in said.splitlines() if one.startswith("saga_waiting_age_seconds{"))
    assert HOUR <= float(age.split()[-1]) < 2 * HOUR


def test_what_waits_is_counted(say: Say, journal: SQLiteJournal) -> None:
    """By name; and nothing of it is in doubt, since nothing was lost."""
    pending(journal)

    row = say("stats")[1].splitlines()[1].split()
    assert row == ["depot", "1", "0", "0", "1", "0s", "0", "0"]
    counts = found(say, "stats")
    assert (counts["waiting"], counts["in_doubt"], counts["names"][0]["waiting"]) == (1, 0, 1)


def test_the_doctor_knows_what_waits(say: Say, journal: SQLiteJournal) -> None:
    """No process has left it."""
    pending(journal)

    assert "waiting   1 saga, for answers" in say("doctor")[1]
    document = found(say, "doctor")
    assert (document["waiting"], document["left_by_dead"]) == (1, 0)


def test_recovery_says_that_a_saga_waits_again(say: Say, journal: SQLiteJournal) -> None:
    """That is not an error, and nothing to be tried again."""
    pending(journal, timeout=None)
    say("takeover", "x", "--modules", "depot")
    answer(journal, KEY, error=ValueError("declined"), go_on=False)
    depot.behaviour["undo a"] = lambda: later(timeout=None)

    ended, said = say("recover", "--modules", "depot")

    assert ended == 0
    assert said == "x: COMPENSATING, waits for an answer to x:a:compensation\n"
    due = pending(journal, "y").due
    assert due is not None
    ended, said = say("takeover", "y", "--modules", "depot")
    assert (ended, said) == (
        0,
        f"y: RUNNING, waits for an answer to y:b:action, until {moment(due)}\n",
    )


def test_the_report_says_until_when_a_saga_waits(say: Say, journal: SQLiteJournal) -> None:
    """Beside its id, before it is opened; and what it waits for inside."""
    due = pending(journal).due
    assert due is not None

    page = say("report", "--html", "-")[1]

    summary = page.partition("<summary>")[2].partition("</summary>")[0]
    assert f"waits until {minute(due)}" in summary
    assert f"it waits for b, until {moment(due)}" in page
