"""`saga plan-deploy`: which sagas a deploy would strand."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import depot
import pytest
from commands import Say, alter, run, stuck_forward, written
from depot import ask, do, fail
from recorded import order, stuck

from py_api_saga import SagaAssembler
from py_api_saga.journal import SQLiteJournal


def plan(say: Say, *arguments: str) -> dict[str, Any]:
    """Give what `saga plan-deploy` says, as JSON."""
    ended, said = say("plan-deploy", "--modules", "depot", "--json", *arguments)
    found: dict[str, Any] = json.loads(said)
    assert ended == (4 if found["strand"] else 0)
    return found


def test_a_deploy_that_strands_nothing_is_fine(say: Say, journal: SQLiteJournal) -> None:
    """Open and stuck sagas count, ended ones do not."""
    order().start(journal=journal, saga_id="x")
    stuck(journal, "y")
    run(order(), journal, "z")

    assert plan(say) == {"go_on": 2, "strand": 0, "sagas": []}
    assert say("plan-deploy", "--modules", "depot") == (
        0,
        "2 sagas would go on, 0 would strand\n",
    )


def test_a_function_that_is_gone_strands_its_sagas(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reason with the sagas that have it; a new name cures it."""
    for number in range(7):
        order().start(journal=journal, saga_id=f"x{number}")
    monkeypatch.setattr(depot, "redo", do, raising=False)
    alter(journal, "UPDATE entry SET body = replace(body, 'depot:do', 'depot:make')")

    ended, said = say("plan-deploy", "--modules", "depot")

    assert ended == 4
    assert said.startswith("0 sagas would go on, 7 would strand\n\n'depot:make' is not there")
    assert "  x6, x5, x4, x3, x2 and 2 more" in said
    assert plan(say, "--alias", "depot:make=depot:do")["strand"] == 0
    ended, said = say("plan-deploy", "--modules", "depot", "--alias", "a=b")
    assert (ended, "which is not in modules=" in said) == (2, True)


def test_a_signature_that_no_longer_fits_strands_its_sagas(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only if the call may still be made."""
    order().start(journal=journal, saga_id="open")
    stuck(journal, "undoing")
    stuck_forward(journal, "going")
    SagaAssembler.saga().operation((do, "a"), name="a", on_doubt=ask).start(
        journal=journal, saga_id="asking"
    )
    code = "def do(name, *, shelf): ...\ndef undo(name): ...\ndef ask(): ...\n"
    replaced = runpy.run_path(
        str(written(Path(journal.path).parent / "code.py", code)), {}, "depot"
    )
    for name in ("do", "undo", "ask"):
        monkeypatch.setattr(depot, name, replaced[name])

    said = json.dumps(plan(say)["sagas"]).replace("required keyword-only", "required")  # 3.12 on
    found = {one["saga_id"]: one["reasons"] for one in json.loads(said)}

    def misfit(operation: str, role: str, fault: str) -> str:
        return f"operation {operation!r}: the {role} cannot be called any more: {fault}"

    missing, many = "missing a required argument: 'shelf'", "too many positional arguments"
    assert found == {
        "asking": [misfit("a", "action", missing), misfit("a", "on_doubt", many)],
        "going": [misfit(name, "action", missing) for name in "cd"],
        "undoing": [misfit("b", "compensation", many)],
        "open": [
            misfit("a", "action", many),
            misfit("b", "action", many),
            misfit("b", "compensation", many),
            misfit("c", "action", missing),
        ],
    }


def test_what_has_no_signature_is_taken_to_fit(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many functions in C have none."""
    SagaAssembler.saga().operation((do, "a")).start(journal=journal, saga_id="x")
    monkeypatch.setattr("inspect.signature", lambda *_, **__: fail(ValueError("none"))())

    assert plan(say)["strand"] == 0
