"""`saga answer`: what came of a call that waits, told by a person."""

from __future__ import annotations

from pathlib import Path

import depot
import pytest
from commands import Say, append, notes
from depot import fail
from pending import HOUR, KEY, pass_by, pending, undo_pending
from recorded import chain, order, seen, status, stuck

from py_api_saga import SagaPending, SagaStatus, answer, later, recover
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.changes import Take

WHY = ("--note", "seen at the bank")


def test_an_answer_is_put_on_record_and_recovery_goes_on(say: Say, journal: SQLiteJournal) -> None:
    """With the name and the reason; nothing is called here."""
    pending(journal)

    ended, said = say("answer", "x", "b", "--result", '"B"', "--by", "ada", *WHY)

    assert (ended, said) == (
        0,
        "x: RUNNING; the answer is on record; `saga recover` or a worker goes on with it\n",
    )
    assert depot.log == ["a", "b"]
    recover(journal)
    assert status(journal, "x") is SagaStatus.COMPLETED
    assert notes(journal) == [{"who": "ada", "did": "answer", "why": "seen at the bank"}]
    assert chain("a", "b", "c").orchestrator_execute(journal=journal, saga_id="x")["b"] == "B"


def test_an_error_says_that_it_took_no_effect(say: Say, journal: SQLiteJournal) -> None:
    """What was done is undone; the operation's own undo is not called, as it has failed."""
    pending(journal)

    assert say("answer", "x", "b", "--error", "declined", *WHY)[0] == 0
    (recovered,) = recover(journal)

    assert recovered.outcome is SagaStatus.COMPENSATED
    assert depot.log == ["a", "b", "undo a"]
    assert "failed, and has no effect: Denied('declined')" in say("why", "x")[1]


def test_the_same_answer_may_be_given_twice(say: Say, journal: SQLiteJournal) -> None:
    """Before and after it was taken in; another one is refused, and the first one stands."""
    pending(journal)
    known = "it was answered so before\n"
    assert say("answer", "x", "b", "--result", "1", *WHY)[0] == 0

    assert say("answer", "x", "b", "--result", "1", *WHY) == (0, f"x: RUNNING; {known}")
    recover(journal)
    assert say("answer", "x", "b", "--result", "1", *WHY) == (0, f"x: COMPLETED; {known}")
    ended, said = say("answer", "x", "b", "--result", "2", *WHY)

    assert ended == 1
    assert "answered before, and otherwise: that answer stands" in said


def test_it_goes_on_if_that_is_asked_for(say: Say, journal: SQLiteJournal) -> None:
    """To the end, or to what waits next; what is stuck then is an exit status of its own."""
    on = ("--go-on", "--modules", "depot", *WHY)
    for saga_id in ("x", "y", "z"):
        pending(journal, saga_id)
    assert say("answer", "x", "b", "--result", "1", *on) == (0, "x: COMPLETED\n")

    depot.behaviour["c"] = fail(ValueError("no courier"))
    depot.behaviour["undo b"] = lambda: later(timeout=None)
    said = "COMPENSATING, waits for an answer to y:b:compensation\n"
    assert say("answer", "y", "b", "--result", "1", *on) == (0, f"y: {said}")

    depot.behaviour["undo b"] = fail(OSError("no bank"))
    ended, said = say("answer", "z", "b", "--result", "1", *on)
    assert ended == 4
    assert said.startswith("z: STUCK: operation 'c' failed")
    ended, said = say("answer", "y", "b", "--compensation", "--error", "no bank", *on)
    assert ended == 4
    assert "STUCK b: its compensation raised Denied('no bank')" in said


def test_what_is_around_each_call_is_around_those_that_it_makes(
    say: Say, journal: SQLiteJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of any recovery; and what sets the process up is called before."""
    (tmp_path / "answer_frames.py").write_text(FRAMES, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    pending(journal)
    options = ("--setup", "answer_frames:set_up", "--around", "answer_frames:frame")

    ended, _ = say(
        *("answer", "x", "b", "--result", "1", "--go-on", "--modules", "depot"), *options, *WHY
    )

    assert ended == 0
    assert depot.log == ["a", "b", "set up", "around c", "c"]


FRAMES = """
from contextlib import contextmanager

import depot

def set_up():
    depot.log.append("set up")

@contextmanager
def frame(operation):
    depot.log.append(f"around {operation.operation}")
    yield
"""


def test_a_process_that_is_at_it_takes_the_answer_in(say: Say, journal: SQLiteJournal) -> None:
    """With or without `--go-on`."""
    pending(journal)
    journal.write(Take(seen(journal, "x")))

    ended, said = say("answer", "x", "b", "--result", "1", *WHY)

    assert ended == 0
    assert said.endswith("the answer is on record; the process that is at it takes it in\n")
    assert len(journal.mail([seen(journal, "x").number])[seen(journal, "x").number]) == 1


def test_an_undo_is_answered_only_if_it_is_meant(say: Say, journal: SQLiteJournal) -> None:
    """Whoever means the action must not say by mistake that it is undone; and the other way."""
    undo_pending(journal)
    ended, said = say("answer", "x", "b", "--result", "1", *WHY)
    assert ended == 1
    assert "b waits for no answer; its undo does: give --compensation if it is that" in said

    pending(journal, "y")
    ended, said = say("answer", "y", "b", "--result", "1", "--compensation", *WHY)
    assert ended == 1
    assert "the undo of b waits for no answer; its action does: leave out --compensation" in said

    assert say("answer", "x", "b", "--compensation", "--result", "null", *WHY)[0] == 0
    recover(journal)
    assert status(journal, "x") is SagaStatus.COMPENSATED


def test_a_late_answer_is_taken_in(say: Say, journal: SQLiteJournal) -> None:
    """After the call was given up: what happened after all is undone once more."""
    pending(journal)
    pass_by(journal, 2 * HOUR)
    recover(journal)
    assert status(journal, "x") is SagaStatus.COMPENSATED
    before = depot.log.count("undo b")

    ended, said = say("answer", "x", "b", "--result", "1", *WHY)

    assert ended == 0
    assert said.startswith("x: COMPENSATED; the answer is on record; `saga recover`")
    recover(journal)
    assert depot.log.count("undo b") == before + 1
    assert depot.keys[-1] == "x:b:compensation:2"


def test_a_call_that_runs_may_be_answered_before_it_returns(
    say: Say, journal: SQLiteJournal
) -> None:
    """The bank is sometimes faster; whoever comes next takes it in."""
    order().start(journal=journal, saga_id="x")
    append(journal, '[["started",0,"action",1,1,null]]')

    assert say("answer", "x", "a", "--result", '"A"', *WHY)[0] == 0
    recover(journal)
    assert status(journal, "x") is SagaStatus.COMPLETED
    assert "a" not in depot.log


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("x", "b", "--note", "why"), "give one of --result JSON, --error TEXT"),
        (("x", "b", "--result", "1", "--error", "no", *WHY), "give one of --result JSON, --error"),
        (("x", "b", "--result", "{", *WHY), "answer: --result:"),
        (("x", "b", "--result", '{"$enum": ["shop:Size", 1]}', *WHY), "answer: --result:"),
        (("x", "b", "--error", " ", *WHY), "expected some words"),
        (("x", "b", "--result", "1"), "the following arguments are required: --note"),
        (("x", "b", "--result", "1", "--go-on", *WHY), "--go-on makes the calls of the saga"),
        (("x", "b", "--result", "1", "--around", "a:b", *WHY), "it goes with --go-on"),
    ],
)
def test_what_makes_no_answer_is_wrong_usage(
    say: Say, journal: SQLiteJournal, arguments: tuple[str, ...], says: str
) -> None:
    """And changes nothing."""
    pending(journal)

    ended, said = say("answer", *arguments)

    assert ended == 2
    assert says in said
    number = seen(journal, "x").number
    assert list(journal.mail([number])[number]) == []


def test_what_cannot_be_answered_is_refused_in_words(say: Say, journal: SQLiteJournal) -> None:
    """No such saga, no such operation, not begun, over, purged, unreadable."""
    pending(journal)
    assert "there is no saga 'z'" in say("answer", "z", "b", "--result", "1", *WHY)[1]
    said = say("answer", "x", "z", "--result", "1", *WHY)[1]
    assert "there is no operation 'z'; there are a, b, c" in said
    said = say("answer", "x", "c", "--result", "1", *WHY)[1]
    assert "c waits for no answer: the operation is pending; `saga why` says" in said

    chain("a").orchestrator_execute(journal=journal, saga_id="over")
    said = say("answer", "over", "a", "--result", "1", *WHY)[1]
    assert "a waits for no answer: the operation is succeeded" in said

    say("purge", "--older-than", "0s")
    ended, said = say("answer", "over", "a", "--result", "1", *WHY)
    assert ended == 1
    assert "saga 'over' cannot be answered: its details were purged" in said

    order().start(journal=journal, saga_id="bad")
    append(journal, '[["started",9,"action",1,1,null]]', saga_id="bad")
    said = say("answer", "bad", "a", "--result", "1", *WHY)[1]
    assert "saga 'bad' cannot be answered:" in said


def test_what_is_sealed_takes_the_codec(say: Say, sealed: SQLiteJournal) -> None:
    """An answer would be written open, where nobody should read it."""
    pending(sealed)

    ended, said = say("answer", "x", "b", "--result", "1", *WHY)

    assert ended == 1
    assert "give the codec" in said


# --- what is answered instead ---------------------------------------------------------------------


def test_what_waits_is_not_resolved(say: Say, journal: SQLiteJournal) -> None:
    """Nor called once more: the command that it takes is said."""
    pending(journal)
    undo_pending(journal, "y")
    instead = "waits for an answer: answer it, by `saga answer"

    for command in (("resolve", "x", "b", "--succeeded", "1", *WHY), ("retry", "x", "b")):
        ended, said = say(*command)
        assert ended == 1
        assert f"b {instead} x b` with --result JSON or --error TEXT" in said
    said = say("resolve", "y", "b", "--compensated", *WHY)[1]
    assert f"b {instead} y b --compensation` with" in said
    ended, said = say("retry", "x")
    assert ended == 1
    assert "saga 'x' has no operation that is stuck: it waits for an answer" in said


def test_what_recovery_gave_up_on_is_tried_again_though_it_waits(
    say: Say, journal: SQLiteJournal
) -> None:
    """It was parked for another reason."""
    pending(journal)
    append(journal, '[["parked",{"reason":"too often"}]]', SagaStatus.STUCK)

    assert "A person must decide" in say("show", "x", "--html", "-")[1]
    assert say("retry", "x")[0] == 0
    recover(journal)
    assert seen(journal, "x").suspended


def test_what_is_stuck_for_something_else_is_not_answered(say: Say, journal: SQLiteJournal) -> None:
    """It is resolved."""
    stuck(journal)

    ended, said = say("answer", "x", "a", "--result", "1", *WHY)

    assert ended == 1
    assert "a waits for no answer: the operation is compensated" in said


def test_a_saga_that_waits_can_be_cancelled(say: Say, journal: SQLiteJournal) -> None:
    """What is awaited is in doubt then, so its undo is called as well."""
    pending(journal)

    assert say("cancel", "x", "--note", "customer has left")[0] == 0
    recover(journal)

    assert status(journal, "x") is SagaStatus.COMPENSATED
    assert depot.log == ["a", "b", "undo b", "undo a"]
    with pytest.raises(Exception, match="customer has left"):
        chain("a", "b", "c").orchestrator_execute(journal=journal, saga_id="x")


def test_whoever_runs_it_again_is_told_that_it_waits(journal: SQLiteJournal) -> None:
    """As it stands, until somebody answers."""
    pending(journal)

    with pytest.raises(SagaPending):
        chain("a", "b", "c").orchestrator_execute(journal=journal, saga_id="x")
    answer(journal, KEY, result="B")
    assert chain("a", "b", "c").orchestrator_execute(journal=journal, saga_id="x")["b"] == "B"
