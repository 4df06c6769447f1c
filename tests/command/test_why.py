"""`saga why`: why a saga stands where it does, and what a person can type."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import depot
import pytest
from commands import (
    Say,
    alter,
    append,
    errand,
    forward,
    remedies,
    run,
    stuck_forward,
    written,
)
from depot import ask, do, fail, undo
from recorded import order, seen, status, stuck
from world import PATIENCE, until

from py_api_saga import Retry, SagaAssembler, SagaStatus, SagaStuck, Status, repair, result_of
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.format.json_text import dumps


def test_why_names_exactly_what_is_possible_in_a_rollback(say: Say, journal: SQLiteJournal) -> None:
    """Each with what it leads to."""
    stuck(journal)

    ended, said = say("why", "x")

    assert ended == 0
    assert "its compensation raised OSError('no bank')" in said
    assert "failed, and has no effect: ValueError('no courier')" in said
    assert "if you have undone it by hand; the saga is then compensated" in said
    assert remedies(say, "why", "x") == [
        "saga retry x",
        "saga resolve x b --succeeded JSON --note TEXT",
        "saga resolve x b --failed --note TEXT",
        "saga resolve x b --compensated --note TEXT",
        "saga resolve x b --skipped --note TEXT",
        "saga takeover x --modules depot",
    ]


def test_why_names_exactly_what_is_possible_after_the_pivot(
    say: Say, journal: SQLiteJournal
) -> None:
    """There is no way back."""
    stuck_forward(journal)

    assert "It has passed its pivot" in say("why", "x")[1]
    path = journal.path
    assert remedies(say, "why", "x", "--journal", path) == [
        f"saga --journal {path} retry x",
        f"saga --journal {path} resolve x c --succeeded JSON --note TEXT",
        f"saga --journal {path} takeover x --modules depot",
    ]


ROUND_ABOUT = {
    "goods": "import dataclasses\n@dataclasses.dataclass\nclass Mug:\n    size: object\n",
    "sizes": "import enum\nclass Size(enum.Enum):\n    BIG = 1\n",
    "clerks": "class Clerk: pass\n",
    "manners": "def greet(): pass\n",
    "receipts": "import dataclasses\n@dataclasses.dataclass\nclass Receipt:\n    cents: int\n",
    "patience": "def is_busy(error): return False\n",
    "remorse": "def is_busy(error): return False\n",
    "doubts": "def ask(*_): pass\n",
    "undoing": "def undo(_): pass\n",
}


def test_why_names_the_modules_of_all_that_a_saga_names(
    say: Say, journal: SQLiteJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of functions, and of types in arguments and results: for want of one it would be parked."""
    monkeypatch.syspath_prepend(str(tmp_path))
    found: dict[str, Any] = {}
    for name, code in ROUND_ABOUT.items():
        written(tmp_path / f"{name}.py", code)
        found[name] = importlib.import_module(name)
    with closing(SQLiteJournal(journal.path, modules=["depot", *ROUND_ABOUT])) as wide:
        made = SagaAssembler.saga().operation(
            (do, "a", [found["goods"].Mug(found["sizes"].Size.BIG)], found["clerks"].Clerk),
            (found["undoing"].undo, found["manners"].greet),
            name="a",
            retry=Retry(found["patience"].is_busy),
            compensation_retry=Retry(found["remorse"].is_busy),
            on_doubt=found["doubts"].ask,
        )
        made.operation((do, "b"), name="b", pivot=True).operation((do, "c"), name="c")
        depot.behaviour.update({"a": lambda: found["receipts"].Receipt(7), "c": fail(ValueError())})
        run(made, wide)

    *_, last = remedies(say, "why", "x")

    assert set(re.findall(r"--modules (\w+)", last)) == {"depot", *ROUND_ABOUT}
    assert say("retry", "x")[0] == 0
    assert say(*shlex.split(last)[1:]) == (0, "x: COMPLETED\n")
    for name in ROUND_ABOUT:
        sys.modules.pop(name)


def test_why_says_if_sealed_values_may_name_modules(say: Say, sealed: SQLiteJournal) -> None:
    """Without the codec nobody can tell; with it, all are there."""
    order().start(journal=sealed, saga_id="x")

    for codec in ([], ["--codec", "commands:deaf"]):
        assert "to see which modules its sealed values name" in say("why", "x", *codec)[1]
    assert "sealed" not in say("why", "x", "--codec", "commands:backwards")[1]

    stuck(sealed, "y")
    hint = r"resolve y b --succeeded JSON --note TEXT\n .*; give the codec\n"
    assert re.search(hint, say("why", "y")[1])
    assert not re.search(hint, say("why", "y", "--codec", "commands:backwards")[1])


def test_what_goes_on_with_one_saga_leaves_all_others_alone(
    say: Say, journal: SQLiteJournal, tmp_path: Path
) -> None:
    """Those whose modules it does not list would be parked by a recovery."""
    errand(tmp_path, "one").start(journal=journal, saga_id="other")
    order().start(journal=journal, saga_id="x")

    type_in(say, "x", "takeover")

    assert status(journal) is SagaStatus.COMPLETED
    assert status(journal, "other") is SagaStatus.RUNNING


def test_what_why_prints_can_be_typed(say: Say, journal: SQLiteJournal) -> None:
    """Also where an id or the name of an operation begins as an option does."""
    made = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="-a")
    made.operation((do, "b"), name="b").start(journal=journal, saga_id="x")
    alter(journal, "UPDATE saga SET saga_id = '-x'")  # as it may be in an older journal
    type_in(say, "-x", "cancel")
    assert status(journal, "-x") is SagaStatus.COMPENSATED

    depot.behaviour.update({"b": fail(ValueError()), "undo a": fail(OSError())})
    run(made, journal, "force")
    alter(journal, "UPDATE saga SET saga_id = '--force' WHERE saga_id = 'force'")
    type_in(say, "--force", "retry")
    assert status(journal, "--force") is SagaStatus.COMPENSATING
    depot.behaviour["undo a"] = fail(OSError())
    say("recover", "--modules", "depot")
    type_in(say, "--force", "--compensated")
    assert status(journal, "--force") is SagaStatus.COMPENSATED


def test_what_why_prints_can_be_typed_into_a_shell(say: Say, journal: SQLiteJournal) -> None:
    """Whatever characters the name of an operation is made of: it is one line, and that name."""
    names = ["it's", "a\nb", "\x1b[31m'\\", "$(id)", "\u202e\xa0e\xe9"]
    saga = SagaAssembler.saga()
    for name in names:
        saga.operation((do, name), (undo, name), name=name)
        depot.behaviour[f"undo {name}"] = fail(OSError())
    depot.behaviour["last"] = fail(ValueError())
    run(saga.operation((do, "last"), name="last"), journal, "x")
    commands = [one["command"] for one in json.loads(say("why", "--json", "x")[1])["remedies"]]
    typed = [command for command in commands if "--skipped" in command]
    assert all(command.isprintable() for command in typed)

    script = "\n".join(f"printf '%s\\0' {command.partition(' x ')[2]}" for command in typed)
    if (bash := shutil.which("bash")) is None:
        pytest.skip("there is no bash")
    read = subprocess.run([bash, "-c", script], check=True, capture_output=True).stdout.decode()

    assert read.split("\0")[:-1:4] == names
    ended, said = say("resolve", "x", "none", "--skipped", "--note", "none")
    assert ended == 1
    assert "a\\nb" in said


def type_in(say: Say, saga_id: str, word: str) -> tuple[int, str]:
    """Type the command with a word in it that `saga why` prints for a saga."""
    ended, said = say("why", "--json", "--", saga_id)
    assert ended == 0
    commands = [remedy["command"] for remedy in json.loads(said)["remedies"]]
    (command,) = [command for command in commands if word in command.split()]
    name, *arguments = shlex.split(command)
    assert name == "saga"
    ended, said = say(*arguments)
    assert ended == 0, said
    return ended, said


def test_why_names_the_codec_that_it_was_given(say: Say, sealed: SQLiteJournal) -> None:
    """Nothing that reads a value goes on without it."""
    order().start(journal=sealed, saga_id="x")
    codec = "commands:backwards"

    first, *_ = remedies(say, "why", "x", "--codec", codec)

    assert f"saga --codec {codec} " in first
    assert say(*shlex.split(first)[1:]) == (0, "x: COMPLETED\n")


def test_why_of_a_saga_that_waits(say: Say, journal: SQLiteJournal) -> None:
    """Recovery goes on; or it is cancelled, as long as that is possible."""
    order().start(journal=journal, saga_id="x")

    said = say("why", "x")[1]
    assert "It goes forward." in said
    assert "is still to be done" in said
    assert remedies(say, "why", "x") == ["saga takeover x --modules depot", "saga cancel x"]

    say("cancel", "x")
    assert say("why", "x")[1].count("is to be undone") == 0
    assert remedies(say, "why", "x") == []


def test_why_of_a_saga_whose_process_has_died(say: Say, journal: SQLiteJournal) -> None:
    """What was called is in doubt; what is owed is named."""
    order().start(journal=journal, saga_id="x")
    alter(journal, "UPDATE saga SET tries = 2, due = 4000000000000")
    called = ["started", 0, "action", 1, 1]
    append(journal, dumps([called]))
    said = say("why", "x")[1]
    assert "was called, and nobody knows what came of it: its process died or left" in said
    assert "recovery may try it again from" in said
    assert "recovery has tried it 2 times" in say("show", "x")[1]

    append(journal, dumps([["retry", 0, "action", 1, 1, [["m.Busy", "x"], 9.0]]]))
    assert "is tried again: Busy('x')" in say("why", "x")[1]
    rest = [
        ["started", 0, "action", 2, 1],
        ["succeeded", 0, "action", 2, 1, "A"],
        ["started", 1, "action", 1, 1],
    ]
    append(journal, dumps([*rest, ["abort", -1, "", 0, 0, ["m.Stop", "now"]]]))
    said = say("why", "x")[1]
    assert "It was told to stop: Stop('now')" in said
    assert "It is being undone." in said
    assert "stands, and is still to be undone" in said
    assert "was never started" in said
    assert "takeover" in remedies(say, "why", "x")[0]


@pytest.mark.parametrize("why", ["on_crash", "deadline"])
def test_why_of_a_saga_that_recovery_is_to_undo(say: Say, journal: SQLiteJournal, why: str) -> None:
    """Nobody has told it to stop: whoever goes on with it will."""
    saga = order(on_crash="compensate" if why == "on_crash" else "resume")
    saga.start(journal=journal, saga_id="x", deadline=0 if why == "deadline" else None)
    append(journal, dumps([["started", 0, "action", 1, 1], ["succeeded", 0, "action", 1, 1, "A"]]))

    said = say("why", "x")[1]
    assert (
        "It is to be undone, since its deadline has passed or it was left by its process." in said
    )
    assert "stands, and is still to be undone" in said
    assert said.count("was never started") == 2
    assert remedies(say, "why", "x") == ["saga takeover x --modules depot"]


def test_why_of_a_rollback_that_was_left(say: Say, journal: SQLiteJournal) -> None:
    """What stands, what is undone and what is on its way."""
    made = SagaAssembler.saga().operation((do, "a"), name="a")
    made.operation((do, "b"), (undo, "b"), name="b").operation((do, "c"), name="c")
    made.start(journal=journal, saga_id="x")
    rows: list[Any] = []
    for i in (0, 1):
        rows += [["started", i, "action", 1, 1], ["succeeded", i, "action", 1, 1, "R"]]
    rows += [["started", 2, "action", 1, 1], ["failed", 2, "action", 1, 1, ["m.No", "n"]]]
    append(journal, dumps([*rows, ["started", 1, "compensation", 1, 1]]))
    said = say("why", "x")[1]
    assert "stands; nothing undoes it" in said
    assert "its undo was called, and nobody knows what came of it" in said

    busy = ["retry", 1, "compensation", 1, 1, [["m.Busy", "x"], 9.0]]
    append(journal, dumps([busy]), SagaStatus.COMPENSATING)
    assert "its undo is tried again after Busy('x')" in say("why", "x")[1]

    undone = [["started", 1, "compensation", 2, 1], ["succeeded", 1, "compensation", 2, 1]]
    append(journal, dumps(undone), SagaStatus.COMPENSATED)
    said = say("why", "x")[1]
    assert "is undone" in said
    assert "a  SKIPPED" in said
    assert "All that can be undone is undone" in said


def test_why_of_a_doubt_while_something_else_runs(say: Say, journal: SQLiteJournal) -> None:
    """The rollback waits for that, so the doubt is told as what it is."""
    made = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a")
    made.operation((do, "b"), (undo, "b"), name="b")
    made.start(journal=journal, saga_id="x", at_once=True)
    lost = ["in doubt", 0, "action", 1, 1, [["m.Lost", "reply"], None, False, False]]
    append(journal, dumps([["started", i, "action", 1, 1] for i in (0, 1)] + [lost]))

    assert "may have happened; nobody knows: Lost('reply')" in say("why", "x")[1]


def test_why_of_what_may_have_happened(say: Say, journal: SQLiteJournal) -> None:
    """Doubt is not hidden, and the exception says of it what the command says."""
    lost = ["in doubt", 0, "action", 1, 1, [["m.Lost", "reply"], None, True, False]]
    called = ["started", 0, "action", 1, 1]
    recovered = ["recovered", -1, "", 0, 0, []]
    asked = [["started", 0, "ask", 1, 1], ["unknown", 0, "ask", 1, 1]]
    unknown = "nobody knows whether it happened"
    pivot = f"{unknown}, and it is the pivot"
    park = 'on_doubt="park" asks for a person'
    needs = "its compensation needs what the action returned, which nobody knows"
    cases: list[tuple[str, dict[str, Any], list[Any], str]] = [
        (
            "park",
            {"on_doubt": "park"},
            [called, lost],
            f"its action raised Lost('reply'), so {unknown}, and {park}",
        ),
        ("crash", {"on_doubt": "park"}, [called, recovered], f"{unknown}, and {park}"),
        ("old", {}, [called, ["recovered", -1, "", 0, 0, [0]]], "the service may have forgotten"),
        ("lost", {}, [called, lost], f"its action raised Lost('reply'), and {needs}"),
        (
            "pivot",
            {"pivot": True},
            [called, lost],
            f"its action raised Lost('reply'), so {pivot}: a function in on_doubt= can tell",
        ),
        (
            "vain",
            {"pivot": True, "on_doubt": ask},
            [called, [*lost[:5], [["m.Lost", "reply"], None, False, False]], *asked],
            f"its action raised Lost('reply'), so {pivot}: on_doubt= could not tell either",
        ),
    ]
    for saga_id, options, rows, expected in cases:
        made = SagaAssembler.saga()
        result = result_of() if saga_id == "lost" else 1
        undoing = {} if "pivot" in options else {"compensation": (undo, "a", result)}
        made.operation((do, "a"), *undoing.values(), name="a", **options)
        made.operation((do, "b"), name="b").start(journal=journal, saga_id=saga_id)
        append(journal, dumps(rows), SagaStatus.STUCK, saga_id)
        ended, said = say("why", saga_id)
        assert (ended, f"  a  STUCK    {expected}" in said) == (0, True), said
        with pytest.raises(SagaStuck, match=re.escape(f"STUCK a: {expected}")):
            made.orchestrator_execute(journal=journal, saga_id=saga_id)
    assert "the attempt was abandoned and may still land" in say("show", "lost")[1]

    made = SagaAssembler.saga().operation((do, "a"), name="a").operation((do, "b"), name="b")
    made.start(journal=journal, saga_id="skip")
    append(journal, dumps([called, lost]), SagaStatus.COMPENSATED, "skip")
    assert "may stand; nothing undoes it: Lost('reply')" in say("why", "skip")[1]


def test_why_of_what_cannot_be_undone_for_want_of_a_result(
    say: Say, journal: SQLiteJournal
) -> None:
    """To call it once more would not help, so it is neither listed nor done; to say it does."""
    made = SagaAssembler.saga().operation((do, "z"), (undo, "z"), name="z")
    made.operation((do, "a"), (undo, "a", result_of()), name="a")
    depot.behaviour.update({"a": fail(ConnectionResetError("lost")), "undo z": fail(OSError())})
    run(made, journal)
    raised = "its action raised ConnectionResetError('lost')"
    true = f"{raised}, and its compensation needs what the action returned, which nobody knows"

    said = say("why", "x")[1]
    assert "calls once more what is stuck and can be called" in said
    assert true in said
    say("retry", "x")
    say("recover", "--modules", "depot")
    assert remedies(say, "why", "x")[0] == "saga resolve x a --succeeded JSON --note TEXT"
    ended, said = say("retry", "x")
    assert (ended, "no call can undo what is stuck" in said) == (1, True)

    repair.resolve(journal, "x", "a", Status.SUCCEEDED, who="ada", why="without its result")
    say("recover", "--modules", "depot")
    assert true in say("why", "x")[1]
    say("resolve", "x", "a", "--succeeded", '"A"', "--note", "found it")
    say("recover", "--modules", "depot")
    assert (status(journal), depot.log[-1]) == (SagaStatus.COMPENSATED, "undo a")


def test_why_of_what_was_given_up_and_succeeded_after_all(say: Say, journal: SQLiteJournal) -> None:
    """Nobody is asked whether it happened, nor is it offered, or believed, that it did not."""
    go_on = threading.Event()
    depot.behaviour["a"] = lambda: go_on.wait(PATIENCE) and "A"
    made = SagaAssembler.saga().operation(
        (do, "a"), (undo, "a"), name="a", timeout=0.05, on_doubt="park"
    )
    with pytest.raises(SagaStuck):
        made.operation((do, "b"), name="b").orchestrator_execute(journal=journal, saga_id="x")
    assert "nobody knows whether it happened" in say("why", "x")[1]
    go_on.set()
    until(lambda: "succeeded, and returned" in say("show", "x")[1])
    until(lambda: not journal.drives(seen(journal, "x")))

    assert "a  STUCK    it was given up, and succeeded after all" in say("why", "x")[1]
    assert remedies(say, "why", "x") == [
        "saga retry x",
        "saga resolve x a --succeeded JSON --note TEXT",
        "saga resolve x a --compensated --note TEXT",
        "saga resolve x a --skipped --note TEXT",
        "saga takeover x --modules depot",
    ]
    ended, said = say("resolve", "x", "a", "--failed", "--note", "n")
    assert (ended, "given up, but succeeded after all, as is on record" in said) == (1, True)

    assert say("retry", "x")[0] == 0
    say("recover", "--modules", "depot")
    assert (status(journal), depot.standing) == (SagaStatus.COMPENSATED, [])


def test_why_of_a_saga_that_needs_a_decision_before_either_way(
    say: Say, journal: SQLiteJournal
) -> None:
    """A pivot in doubt: nobody knows whether it was passed."""
    made = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a")
    made.operation((do, "b"), name="b", pivot=True, on_doubt="park")
    made.start(journal=journal, saga_id="x")
    rows = [["started", 0, "action", 1, 1], ["succeeded", 0, "action", 1, 1, "A"]]
    rows += [["started", 1, "action", 1, 1], ["recovered", -1, "", 0, 0, []]]
    append(journal, dumps(rows), SagaStatus.STUCK)

    said = say("why", "x")[1]

    assert "It can go neither forward nor back before a person decides." in said
    assert "and it is the pivot: a function in on_doubt= can tell" in said
    assert "saga resolve x b --failed --note TEXT" in said
    assert "saga compensate" not in said


def began(*operations: int) -> list[Any]:
    """Give entries in which these operations succeeded, one after the other."""
    rows: list[Any] = []
    for i in operations:
        rows += [["started", i, "action", 1, 1], ["succeeded", i, "action", 1, 1, "R"]]
    return rows


@pytest.mark.parametrize(("came", "ends"), [(True, "COMPLETED"), (False, "COMPENSATED")])
def test_why_of_a_saga_whose_process_died_in_its_pivot(
    say: Say, journal: SQLiteJournal, *, came: bool, ends: str
) -> None:
    """That it is undone is a promise only if the pivot turns out not to have happened."""
    made = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a")
    made.operation((do, "b"), name="b", pivot=True, on_doubt=ask).operation((do, "c"), name="c")
    made.start(journal=journal, saga_id="x")
    append(journal, dumps([*began(0), ["started", 1, "action", 1, 1]]))
    depot.standing.extend(["a", "b"] if came else ["a"])

    said = say("why", "x")[1]
    assert "It goes forward.\n" in said
    assert "has it undone instead, if it turns out that its pivot did not happen" in said
    ended, said = say("cancel", "x")
    assert (ended, said) == (
        0,
        "x: RUNNING; `saga recover` finds out whether its pivot happened, and undoes it if not\n",
    )
    said = say("why", "x")[1]
    assert "If it did not, the saga is undone; if it did, it goes forward." in said
    assert "is done, and is undone if the pivot did not happen" in said
    assert "is still to be done, if the pivot happened" in said
    assert "being undone" not in said
    assert "saga cancel" not in said
    assert say("recover", "--modules", "depot")[1].startswith(f"x: {ends}")


def test_a_cancelled_saga_that_was_in_a_call_will_be_undone(
    say: Say, journal: SQLiteJournal
) -> None:
    """It is open until recovery has done so, and does not go on."""
    order().start(journal=journal, saga_id="x")
    append(journal, dumps([["started", 0, "action", 1, 1]]))

    assert say("cancel", "x") == (0, "x: RUNNING; it will be undone: `saga recover` does it\n")
    assert "It is being undone." in say("why", "x")[1]
    assert say("recover", "--modules", "depot")[1].startswith("x: COMPENSATED")


def test_why_names_no_way_back_past_the_pivot(say: Say, journal: SQLiteJournal) -> None:
    """Neither of a saga that waits, nor of one that recovery gave up."""
    forward().start(journal=journal, saga_id="x")
    append(journal, dumps(began(0, 1)))

    said = say("why", "x")[1]
    assert "It goes forward. It has passed its pivot, so it cannot be undone any more." in said
    assert remedies(say, "why", "x") == ["saga takeover x --modules depot"]
    assert say("cancel", "x")[0] == 1

    append(journal, dumps([["parked", {"reason": "why"}]]), SagaStatus.STUCK)
    assert remedies(say, "why", "x") == ["saga retry x", "saga takeover x --modules depot"]
    assert say("compensate", "x")[0] == 1


def test_why_of_a_saga_that_recovery_gave_up(say: Say, journal: SQLiteJournal) -> None:
    """The reason, and how to let it go on or be undone."""
    order().start(journal=journal, saga_id="x")
    append(journal, dumps([["parked", {"reason": "no such function"}]]), SagaStatus.STUCK)

    said = say("why", "x")[1]

    assert "recovery gave up: no such function" in said
    assert "until a person says go on" in said
    assert remedies(say, "why", "x") == [
        "saga retry x",
        "saga compensate x",
        "saga takeover x --modules depot",
    ]
    say("retry", "x")
    assert "gave up" not in say("why", "x")[1]


def test_why_of_a_saga_that_has_ended(say: Say, journal: SQLiteJournal) -> None:
    """There is nothing to do, whether its details are there or not."""
    run(order(), journal)
    said = say("why", "x")[1]
    assert "There is nothing to do." in said
    assert "is done" in said

    say("purge", "--older-than", "0s")
    said = say("why", "x")[1]
    assert "its details were purged" in said
    assert "There is nothing to do." in said
    assert "its details were purged" in say("show", "x")[1]
    assert say("graph", "x") == (1, "saga: saga 'x' cannot be drawn: its details were purged\n")


def test_what_needs_nobody_is_not_explained_away(say: Say, journal: SQLiteJournal) -> None:
    """Rows that are gone, of a saga that should be open, are a fault."""
    order().start(journal=journal, saga_id="x")
    alter(journal, "DELETE FROM entry")
    assert say("show", "x")[0] == 1
    alter(journal, "UPDATE saga SET digest = 'd'")
    ended, said = say("why", "x", "--json")
    assert (ended, json.loads(said)["says"]) == (0, [])
