"""What people are told of a saga that waits for a process of another release."""

from __future__ import annotations

import json

import pytest
from commands import Say, meanwhile, tell
from depot import do, undo
from recorded import status
from world import until

from py_api_saga import SagaAssembler, SagaStatus
from py_api_saga.journal import SQLiteJournal


def test_people_are_told_what_a_saga_waits_for(
    say: Say, monkeypatch: pytest.MonkeyPatch, journal: SQLiteJournal
) -> None:
    """By the command that recovers, by why, by show and by the monitor; until somebody goes on."""
    monkeypatch.setattr(SQLiteJournal, "spans_deploys", True)
    SagaAssembler.saga(name="new").operation((do, "a"), (undo, "a")).start(
        journal=journal, saga_id="x"
    )

    ended, said = say("recover", "--modules", "json")
    assert ended == 1
    assert said == (
        "x: RUNNING, left as it was: this process lacks depot:do, which one of another release may "
        "have\n"
    )
    assert "It waits for depot:do, which the last one that looked lacked." in say("why", "x")[1]
    assert "left by a process that lacks depot:do, to one that has it" in say("show", "x")[1]
    ended, said = say("check", "--grace", "0s")
    assert (ended, said.rstrip().endswith("; 1 overdue: waits for depot:do")) == (4, True)
    found = json.loads(say("check", "--grace", "0s", "--json")[1])["sagas"]
    assert [one["waits_for"] for one in found] == ["depot:do"]

    def proceed() -> None:
        until(lambda: status(journal, "x") is SagaStatus.COMPLETED)
        tell()

    journal.shared.desk.barred.clear()  # as if this was another process
    with meanwhile(proceed):
        assert say("worker", "--modules", "depot", "--interval", "0.02")[0] == 0
    assert "It waits for" not in say("why", "x")[1]
