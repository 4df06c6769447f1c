"""`saga retry`, `resolve`, `compensate` and `cancel`: what a person decides."""

from __future__ import annotations

import os
import re
import sys
import threading
from pathlib import Path

import depot
import pytest
from commands import Say, alter, append, backwards, notes, remedies, run, stuck_forward
from depot import do, fail, undo
from recorded import chain, order, seen, status, stuck
from world import PATIENCE

from py_api_saga import SagaAssembler, SagaStatus, SagaStuck
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.format.json_text import dumps


def test_what_is_stuck_is_retried(say: Say, journal: SQLiteJournal) -> None:
    """It is a decision, on record; recovery does the rest."""
    stuck(journal)

    assert say("retry", "x", "--who", "ada", "--note", "bank is up") == (
        0,
        "x: COMPENSATING; `saga recover` undoes what is left of it\n",
    )

    assert notes(journal) == [{"who": "ada", "why": "bank is up", "did": "retry"}]
    assert "undo b" not in depot.log[-1]
    assert say("recover", "--modules", "depot")[0] == 0
    assert status(journal) is SagaStatus.COMPENSATED
    assert depot.keys[-1] == "x:b:compensation"


def test_what_a_person_has_said_of_one_operation_is_told(say: Say, journal: SQLiteJournal) -> None:
    """Until recovery has called it once more; of the other, nothing was said."""
    depot.behaviour.update({name: fail(OSError("down")) for name in ("undo a", "undo b", "c")})
    run(chain("a", "b", "c"), journal)

    assert say("retry", "x", "b")[0] == 0

    raised = "STUCK   its compensation raised OSError('down')"
    told = f"b  {raised}; retry was requested: the next recovery calls it"
    assert told in say("why", "x")[1]
    assert f"a  {raised}\n" in say("why", "x")[1]
    say("recover", "--modules", "depot")
    assert "said once more" not in say("why", "x")[1]
    assert depot.log[3:] == ["undo b", "undo a", "undo b"]


def test_what_is_not_stuck_anywhere_is_not_retried(say: Say, journal: SQLiteJournal) -> None:
    """A saga that was parked though it had ended leaves nothing to call."""
    run(order(), journal)
    alter(journal, "UPDATE saga SET status = 2")

    ended, said = say("retry", "x")

    assert (ended, "has no operation that is stuck" in said) == (1, True)


def test_one_operation_is_retried_under_a_new_key(say: Say, journal: SQLiteJournal) -> None:
    """For a service that has made up its mind."""
    stuck(journal)

    assert say("retry", "x", "b", "--new-key")[0] == 0

    say("recover", "--modules", "depot")
    assert depot.keys[-1] == "x:b:compensation:2"
    who = notes(journal)[0]["who"]
    assert re.fullmatch(r".+@.+", who)


def test_who_decides_has_a_name_even_in_a_container(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody has a login name, the number of the user will do."""
    stuck(journal)
    monkeypatch.setattr("getpass.getuser", fail(KeyError("uid not found")))

    say("retry", "x")

    assert notes(journal)[0]["who"].startswith(f"user {os.getuid()}@")


def test_a_stuck_operation_is_resolved(say: Say, journal: SQLiteJournal) -> None:
    """With what a person has found out, or done."""
    stuck(journal)

    assert say("resolve", "x", "b", "--compensated", "--note", "by hand") == (
        0,
        "x: COMPENSATED; it has ended\n",
    )
    assert status(journal) is SagaStatus.COMPENSATED
    stuck_forward(journal, "y")
    told = '{"price": {"$decimal": "1.20"}}'
    assert say("resolve", "y", "c", "--succeeded", told, "--note", "asked")[0] == 0
    assert 'with {"price":{"$decimal":"1.20"}}' in say("show", "y", "--values")[1]
    say("recover", "--modules", "depot")
    assert status(journal, "y") is SagaStatus.COMPLETED
    stuck(journal, "z")
    assert say("resolve", "z", "b", "--failed", "--note", "never was")[0] == 0
    assert status(journal, "z") is SagaStatus.COMPENSATED


def test_a_value_of_a_type_that_lies_where_one_stands_is_resolved(
    say: Say, journal: SQLiteJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its module is found as recovery finds it, and one that is not there is said at once."""
    (tmp_path / "parcels.py").write_text(
        "from dataclasses import dataclass\n\n\n@dataclass\nclass Parcel:\n    number: int\n"
    )
    monkeypatch.chdir(tmp_path)
    stuck_forward(journal)
    value = '{"$dataclass":["parcels:Parcel",{"number":7}]}'
    decision = ["resolve", "x", "c", "--succeeded", value, "--note", "asked them"]

    ended, said = say(*decision, "--modules", "parcel")
    assert (ended, "cannot import 'parcel'" in said) == (1, True)
    assert status(journal) is SagaStatus.STUCK

    assert say(*decision, "--modules", "parcels")[0] == 0
    sys.modules.pop("parcels")
    number = seen(journal, "x").number
    assert value in journal.rows([number])[number][-1].body


def test_a_person_says_that_a_call_which_was_given_up_has_ended(
    say: Say, journal: SQLiteJournal
) -> None:
    """The journal can't know: until then nothing is decided that it would contradict."""
    go_on = threading.Event()
    depot.behaviour.update({"undo a": lambda: go_on.wait(PATIENCE), "b": fail(ValueError())})
    made = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a", timeout=0.05)
    with pytest.raises(SagaStuck):
        made.operation((do, "b")).orchestrator_execute(journal=journal, saga_id="x")
    decision = ["resolve", "x", "a", "--succeeded", '"A"', "--note", "its undo is dead"]

    ended, said = say(*decision)
    assert (ended, "may still be running" in said) == (1, True)
    ended, said = say("retry", "x")
    assert (ended, "--ended" in said) == (1, True)
    assert "only if the calls that were given up have ended for sure" in say("why", "x")[1]
    assert remedies(say, "why", "x") == [
        "saga retry x --ended",
        "saga resolve x a --succeeded JSON --ended --note TEXT",
        "saga resolve x a --failed --note TEXT",
        "saga resolve x a --compensated --note TEXT",
        "saga resolve x a --skipped --note TEXT",
        "saga takeover x --modules depot",
    ]
    assert say(*decision, "--ended") == (
        0,
        "x: COMPENSATING; `saga recover` undoes what is left of it\n",
    )

    depot.behaviour.clear()
    say("recover", "--modules", "depot")
    assert (status(journal), depot.standing) == (SagaStatus.COMPENSATED, [])
    go_on.set()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give one of --succeeded JSON, --failed, --compensated, --skipped"),
        (["--failed", "--skipped"], "give one of"),
        (["--succeeded", "{"], "--succeeded: not JSON"),
        (["--succeeded", '{"$enum": ["shop:Size", "BIG"]}'], "does not list in modules="),
        (["--failed", "--note", " "], "argument --note: expected some words, got ' '"),
        (["--failed", "--who", ""], "argument --who: expected some words, got ''"),
    ],
)
def test_a_resolution_must_say_what_came_of_it(
    arguments: list[str], words: str, say: Say, journal: SQLiteJournal
) -> None:
    """Exactly one thing, and in JSON; nothing is changed otherwise."""
    stuck(journal)

    ended, said = say("resolve", "x", "b", "--note", "n", *arguments)

    assert (ended, words in said) == (2, True)
    assert notes(journal) == []


def test_a_decision_that_makes_no_sense_is_refused(say: Say, journal: SQLiteJournal) -> None:
    """Nothing is changed, and the message says why."""
    stuck_forward(journal)
    stuck(journal, "y")
    before = [seen(journal, saga_id) for saga_id in ("x", "y")]

    for arguments, expected in (
        (["compensate", "x"], "has passed its pivot"),
        (["compensate", "nope"], "there is no saga 'nope'"),
        (["resolve", "x", "z", "--failed", "--note", "n"], "there is no operation 'z'"),
        (["resolve", "nope", "z", "--succeeded", "1", "--note", "n"], "there is no saga 'nope'"),
        (["compensate", "y"], "is being undone already"),
        (["cancel", "x"], "is stuck, so nothing is to come that could be cancelled"),
        (["cancel", "nope"], "there is no saga 'nope'"),
    ):
        ended, said = say(*arguments)
        assert (ended, expected in said) == (1, True), said
    assert notes(journal) == []
    assert [seen(journal, saga_id) for saga_id in ("x", "y")] == before


def test_a_stuck_saga_is_given_up(say: Say, journal: SQLiteJournal) -> None:
    """Whichever way it was going; `saga recover` undoes it."""
    order().start(journal=journal, saga_id="x")
    append(journal, dumps([["parked", {"reason": "why"}]]), SagaStatus.STUCK)

    assert say("compensate", "x", "--note", "no more")[0] == 0

    assert status(journal) is SagaStatus.COMPENSATED
    assert depot.log == []


def test_an_open_saga_that_nobody_drives_is_cancelled(say: Say, journal: SQLiteJournal) -> None:
    """Before it has begun, that is all."""
    order().start(journal=journal, saga_id="x")

    assert say("cancel", "x", "--note", "changed my mind") == (0, "x: COMPENSATED; it has ended\n")

    assert notes(journal)[0]["why"] == "changed my mind"
    assert "It was told to stop: InterruptedError(" in say("why", "x")[1]
    ended, said = say("cancel", "x")
    assert (ended, "has ended: it is compensated" in said) == (1, True)


def test_what_is_sealed_is_not_resolved_with_a_value_in_the_open(
    say: Say, sealed: SQLiteJournal
) -> None:
    """The codec must be given; then the value is sealed like the others."""
    stuck_forward(sealed)

    ended, said = say("resolve", "x", "c", "--succeeded", '"plain"', "--note", "n")
    assert ended == 1
    assert "--codec MODULE:OBJECT" in said
    assert "SAGA_CODEC" in said

    codec = ["--codec", "commands:backwards"]
    assert say("resolve", "x", "c", "--succeeded", '"plain"', "--note", "n", *codec)[0] == 0
    rows = sealed.rows([seen(sealed, "x").number])[seen(sealed, "x").number]
    assert '"plain"' not in rows[-1].body
    assert backwards.encode('"plain"') in rows[-1].body
