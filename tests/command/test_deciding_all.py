"""`saga retry --all`, `compensate --all` and `cancel --all`: one decision about many sagas."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import depot
import pytest
from commands import Say, alter, append, forward, notes, run, stuck_forward
from depot import fail
from recorded import begin, order, status, stuck

from py_api_saga import SagaStatus, Status, repair
from py_api_saga.cli import asking, deciding_all
from py_api_saga.journal import SQLiteJournal


class Refused(Exception):
    """What a bank says."""


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Somebody is at the terminal, and gives this answer; the questions are noted."""

    def answer(word: str) -> list[str]:
        asked: list[str] = []

        def ask(question: str) -> str:
            asked.append(question)
            return word

        monkeypatch.setattr("builtins.input", ask)
        monkeypatch.setattr(deciding_all, "somebody_is_there", lambda: True)
        return asked

    return answer


def refused(journal: Any, saga_id: str, error: Exception | None = None) -> None:
    """Leave an order whose undo was refused."""
    depot.behaviour["c"] = fail(ValueError("no courier"))
    depot.behaviour["undo b"] = fail(error or Refused("card expired"))
    run(order(), journal, saga_id)


def test_those_that_were_listed_are_called_again_once_somebody_has_agreed(
    say: Say, journal: SQLiteJournal, answer: Callable[[str], list[str]]
) -> None:
    """Each with a name and a reason; oldest first, and no more than the limit."""
    for saga_id in ("x", "y", "z"):
        refused(journal, saga_id)
    asked = answer("y")

    ended, said = say("retry", "--all", "--limit", "2", "--note", "bank is back", "--who", "ada")

    assert ended == 0
    assert asked == ["retry 2 sagas? [y/N] "]
    lines = said.splitlines()
    assert [line.split()[0] for line in lines[1:5:2]] == ["x", "y"]
    assert lines[2] == "  b: its compensation raised Refused('card expired')"
    assert lines[5:] == ["x: COMPENSATING", "y: COMPENSATING", "retry: 2 done, 0 skipped"]
    assert (notes(journal, "x")[0]["who"], notes(journal, "x")[0]["why"]) == ("ada", "bank is back")
    assert status(journal, "z") is SagaStatus.STUCK


def test_nothing_is_done_unless_somebody_agrees(
    say: Say, journal: SQLiteJournal, answer: Callable[[str], list[str]]
) -> None:
    """Whoever asks and gets no yes, ends with 1; whoever can ask nobody, with 2."""
    refused(journal, "x")

    ended, said = say("retry", "--all")
    assert ended == 2
    assert "to retry 1 saga takes --yes where nobody can be asked" in said
    assert "its compensation raised Refused" in said  # so it also tells what would be done
    answer("n")
    ended, said = say("retry", "--all")
    assert (ended, said.splitlines()[-1]) == (1, "nothing was changed")
    assert status(journal) is SagaStatus.STUCK

    assert say("retry", "--all", "--yes")[0] == 0
    assert say("retry", "--all", "--yes") == (0, "no saga to retry\n")


def test_what_was_raised_chooses_by_its_very_class(say: Say, journal: SQLiteJournal) -> None:
    """With its module or without it; of what is stuck, not of what has made it roll back."""
    refused(journal, "x")
    refused(journal, "y", OSError("no bank"))
    stuck_forward(journal, "z")
    append(journal, '[["parked",{"reason":"?"}]]', SagaStatus.STUCK, started(journal, "w"))

    def chosen(*arguments: str) -> list[str]:
        said = say("retry", "--all", *arguments)[1]
        return [line.split()[0] for line in said.splitlines() if " STUCK " in line]

    assert chosen() == ["x", "y", "z", "w"]
    assert chosen("--error", "Refused") == ["x"]
    assert chosen("--error", f"{__name__}.Refused") == ["x"]
    assert chosen("--error", "efused") == []
    assert chosen("--error", "OSError") == ["y"]
    assert chosen("--error", "ValueError") == ["z"]
    assert chosen("--name", "forward") == ["z", "w"]
    alter(journal, "UPDATE entry SET body = '[]'")
    assert chosen("--error", "Refused") == []


def started(journal: SQLiteJournal, saga_id: str) -> str:
    """Leave a saga that nobody has begun."""
    forward().start(journal=journal, saga_id=saga_id)
    return saga_id


def test_what_has_changed_since_it_was_listed_is_skipped(
    say: Say,
    journal: SQLiteJournal,
    answer: Callable[[str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By its status or by its epoch: somebody else was at it meanwhile. The others are done."""
    for saga_id in ("w", "x", "y", "z"):
        refused(journal, saga_id)
    answer("y")

    def meanwhile(_: str) -> str:
        repair.again(journal, "w", who="bob", why="")
        repair.resolve(journal, "x", "b", Status.SKIPPED, who="bob", why="seen")
        return "y"

    monkeypatch.setattr("builtins.input", meanwhile)
    ended, said = say("retry", "--all")

    assert ended == 1
    assert [line.partition(":")[0::2] for line in said.splitlines()[-5:]] == [
        ("w", " skipped: saga 'w' has changed since it was looked at"),
        ("x", " skipped: saga 'x' has changed since it was looked at"),
        ("y", " COMPENSATING"),
        ("z", " COMPENSATING"),
        ("retry", " 2 done, 2 skipped"),
    ]
    assert [note["who"] for note in notes(journal, "w")] == ["bob"]


def test_many_are_undone_that_are_stuck_or_that_wait(say: Say, journal: SQLiteJournal) -> None:
    """`compensate` is about those that are stuck, `cancel` about those that nobody drives."""
    begin(journal, "driven")
    append(journal, '[["parked",{"reason":"?"}]]', SagaStatus.STUCK, started(journal, "parked"))
    started(journal, "waits")

    assert say("compensate", "--all", "--yes")[1].splitlines()[-2:] == [
        "parked: COMPENSATED",
        "compensate: 1 done, 0 skipped",
    ]
    assert say("cancel", "--all", "--yes")[1].splitlines()[-2:] == [
        "waits: COMPENSATED",
        "cancel: 1 done, 0 skipped",
    ]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["retry"], "give the ID of a saga, or --all"),
        (["cancel"], "give the ID of a saga, or --all"),
        (["retry", "--all", "x"], "--all goes without the ID of a saga, got 'x'"),
        (["retry", "x", "--name", "depot"], "--name chooses among many sagas"),
        (["compensate", "x", "--error", "E"], "--error chooses among many sagas"),
        (["compensate", "x", "--limit", "3"], "--limit chooses among many sagas"),
        (["cancel", "x", "--yes"], "--yes chooses among many sagas"),
        (["resolve", "--all", "--failed", "--note", "n"], "the following arguments are required"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
@pytest.mark.usefixtures("journal")
def test_one_or_many_must_be_said(arguments: list[str], why: str, say: Say) -> None:
    """And nobody resolves many: what came of each, somebody has to look up."""
    ended, said = say(*arguments)

    assert ended == 2
    assert why in said


def test_another_id_is_not_taken_for_an_operation(say: Say, journal: SQLiteJournal) -> None:
    """Whoever types two ids is told so."""
    stuck(journal, "x")
    stuck(journal, "y")

    ended, said = say("retry", "x", "y")

    assert ended == 1
    assert "'y' is another saga: one at a time, or many with --all" in said
    assert "another saga" not in say("retry", "x", "nothing")[1]


def test_whoever_ends_the_input_does_not_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """By Ctrl-D, say."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert not asking.agreed("Really?")


def test_nobody_is_at_a_terminal_where_there_is_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a service that has closed it."""
    monkeypatch.setattr(sys, "stdin", None)
    assert not asking.somebody_is_there()
