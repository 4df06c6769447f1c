"""`saga show` and `saga graph`: one saga, without its values unless they are asked for."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from commands import Say, alter, append, happened
from depot import ask, do, undo
from recorded import order, stuck

from py_api_saga import SagaAssembler, SagaStatus
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.format.json_text import dumps
from py_api_saga.story.words import value_type


def test_a_saga_is_shown_without_its_values(say: Say, journal: SQLiteJournal) -> None:
    """Types stand for arguments and results; errors are shown; what happened is in order."""
    stuck(journal)

    ended, said = say("show", "x")

    assert ended == 0
    assert said.startswith("x (depot): STUCK since ")
    assert "secret" not in said
    assert "a  COMPENSATED  depot:do(str, str) -> str" in said
    assert "b  STUCK        depot:do(str, result_of('a')) -> str" in said
    assert "undo: depot:undo(str, result_of())" in said
    assert "builtins.OSError: no bank" in said
    assert happened(said) == [
        ("-", "written down: 3 operations"),
        ("a", "is called, attempt 1"),
        ("a", "succeeded, and returned str"),
        ("b", "is called, attempt 1"),
        ("b", "succeeded, and returned str"),
        ("c", "is called, attempt 1"),
        ("c", "failed: ValueError('no courier')"),
        ("b", "its undo is called, attempt 1"),
        ("b", "its undo failed: OSError('no bank')"),
        ("a", "its undo is called, attempt 1"),
        ("a", "undone; the undo returned str"),
    ]


def test_how_long_a_call_took_is_shown_and_whose_it_was(say: Say, journal: SQLiteJournal) -> None:
    """And, if that was longer than a moment, how long it waited to be written down."""
    SagaAssembler.saga().operation((do, "a"), name="a").start(journal=journal, saga_id="x")
    there = {"host": "web-3", "pid": 4711, "version": "9"}
    days = -2 * 24 * 3600 * 1000
    append(
        journal,
        dumps(
            [
                ["recovered", -1, "", 0, 0, [], there],
                ["started", 0, "action", 1, 1],
                ["retry", 0, "action", 1, 1, [["m.Busy", "b"], 1.0], [days, 1250]],
                ["started", 0, "action", 2, 1],
                ["succeeded", 0, "action", 2, 1, "A", [3600_000, 17]],
            ]
        ),
    )

    lines = say("show", "x")[1].splitlines()

    assert re.search(r"written down: 1 operation \(process \d+ on \S+\)$", lines[-6])
    assert lines[-5].endswith("recovery took over (process 4711 on web-3)")
    assert lines[-4].endswith("is called, attempt 1")
    assert re.search(r"once more in 1 s \(1.25 s, written down (1 d 23 h|2 d) later\)$", lines[-3])
    assert lines[-1].endswith("succeeded, and returned str (17 ms)")


def test_values_are_shown_if_asked_for(say: Say, journal: SQLiteJournal) -> None:
    """As they are written in the journal."""
    stuck(journal)

    said = say("show", "x", "--values")[1]

    assert 'depot:do("a", "secret") -> "A"' in said
    assert "depot:do(\"b\", result_of('a'))" in said
    assert ("a", 'succeeded, and returned "A"') in happened(said)
    operation = json.loads(say("show", "x", "--values", "--json")[1])["operations"][0]
    assert operation["action"]["arguments"] == ["a", "secret"]
    assert operation["result"] == "A"


def test_a_decision_is_shown_with_who_and_why(say: Say, journal: SQLiteJournal) -> None:
    """An audit needs no other place to look."""
    stuck(journal)
    say("resolve", "x", "b", "--skipped", "--note", "ticket 7", "--who", "ada")

    lines = happened(say("show", "x")[1])

    assert lines[-2:] == [
        ("-", "ada decided: resolve b as skipped: ticket 7"),
        ("b", "resolved as SKIPPED"),
    ]


def test_sealed_values_stay_sealed_without_the_codec(
    say: Say, sealed: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors too; with the codec all is as ever."""
    stuck(sealed)

    said = say("show", "x", "--values")[1]
    assert "depot:do(sealed) -> {" in say("show", "x", "--values")[1]
    assert "no courier" not in said
    assert ("c", "failed: ValueError('(sealed)')") in happened(said)
    assert "depot:do(sealed) -> (sealed)" in say("show", "x")[1]

    assert "depot:do(str, str) -> str" in say("show", "x", "--codec", "commands:backwards")[1]
    monkeypatch.setenv("SAGA_CODEC", "commands:backwards")
    said = say("show", "x", "--values")[1]
    assert 'depot:do("a", "secret") -> "A"' in said
    assert ("c", "failed: ValueError('no courier')") in happened(said)
    assert ("c", "failed: ValueError('(sealed)')") in happened(
        say("show", "x", "--codec", "commands:deaf")[1]
    )
    ended, said = say("show", "x", "--values", "--codec", "commands:deaf")
    why = "a sealed value cannot be opened: its codec cannot open what is sealed: ValueError"
    assert (ended, said) == (1, f"saga: {why}\n")


@pytest.mark.parametrize(
    ("name", "ended", "words"),
    [
        ("depot", 2, "expected MODULE:OBJECT"),
        ("nowhere:codec", 1, "cannot import 'nowhere': ModuleNotFoundError"),
        ("depot:nothing.codec", 1, "is not there, or has no encode() and decode()"),
        ("depot:do", 1, "is not there, or has no encode() and decode()"),
    ],
)
@pytest.mark.usefixtures("journal")
def test_a_codec_that_is_none_is_refused(name: str, ended: int, words: str, say: Say) -> None:
    """In words that say what was looked for."""
    refused, said = say("list", "--codec", name)

    assert refused == ended
    assert words in said


ENTRIES: list[tuple[Any, tuple[str, str]]] = [
    (["started", 0, "action", 1, 1], ("a", "is called, attempt 1")),
    (
        ["in doubt", 0, "action", 1, 1, [["m.Lost", "reply"], 2.0, False, False]],
        ("a", "nobody knows what came of it: Lost('reply'); once more in 2 s"),
    ),
    (["recovered", -1, "", 0, 0, []], ("-", "recovery took over")),
    (["started", 0, "ask", 1, 1], ("a", "is asked whether it happened")),
    (["lost", 0, "ask", 1, 1, False], ("a", "the process that was asked about it died")),
    (["started", 0, "ask", 1, 1], ("a", "is asked whether it happened")),
    (["unknown", 0, "ask", 1, 1], ("a", "nobody could say whether it happened")),
    (["started", 0, "action", 2, 1], ("a", "is called, attempt 2")),
    (
        ["retry", 0, "action", 2, 1, [["m.Busy", "later"], 0.5]],
        ("a", "failed: Busy('later'); once more in 0.5 s"),
    ),
    (["started", 0, "action", 3, 1], ("a", "is called, attempt 3")),
    (["recovered", -1, "", 0, 0, [0]], ("-", "recovery took over; too old to be called again: a")),
    (["started", 0, "ask", 3, 1], ("a", "is asked whether it happened")),
    (["not happened", 0, "ask", 3, 1], ("a", "it did not happen")),
    (["started", 0, "action", 4, 1], ("a", "is called, attempt 4")),
    (["recovered", -1, "", 0, 0, [0]], ("-", "recovery took over; too old to be called again: a")),
    (["started", 0, "ask", 4, 1], ("a", "is asked whether it happened")),
    (
        ["happened", 0, "ask", 4, 1, {"$missing": True}],
        ("a", "it happened, with nobody knows what"),
    ),
    (["started", 1, "action", 1, 1], ("b", "is called, attempt 1")),
    (["lost", 1, "action", 1, 1, False], ("b", "the process of its call died")),
    (["started", 1, "action", 2, 1], ("b", "is called, attempt 2")),
    (
        ["unstored", 1, "action", 2, 1, ["builtins.TypeError", "no"]],
        ("b", "succeeded, but: TypeError('no')"),
    ),
    (["started", 1, "compensation", 1, 1], ("b", "its undo is called, attempt 1")),
    (
        ["in doubt", 1, "compensation", 1, 1, [["m.Lost", "reply"], None, False, False]],
        ("b", "nobody knows what came of its undo: Lost('reply')"),
    ),
    (["abort", -1, "", 0, 0, ["builtins.TimeoutError", "late"]], ("-", "told to stop: Timeout…")),
    (["again", 1, "", 0, 0, True], ("b", "once more, under a new key")),
    (
        ["started", 1, "compensation", 2, 2],
        ("b", "its undo is called, attempt 2, under key 2"),
    ),
    (
        ["retry", 1, "compensation", 2, 2, [["m.Busy", "later"], 0.5]],
        ("b", "its undo failed: Busy('later'); once more in 0.5 s"),
    ),
    (["started", 1, "compensation", 3, 2], ("b", "its undo is called, attempt 3, under key 2")),
    (
        ["lost", 1, "compensation", 3, 2, True],
        ("b", "the process of its undo died; too old to be called again"),
    ),
    (["parked", {"reason": "tried 10 times"}], ("-", "recovery gave up: tried 10 times")),
    (["note", {"who": "ada", "why": "", "did": "retry"}], ("-", "ada decided: retry")),
]


def test_every_kind_of_entry_is_put_into_words(say: Say, journal: SQLiteJournal) -> None:
    """Whoever reads a timeline needs no manual."""
    made = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a", on_doubt=ask)
    made.operation((do, "b"), (undo, "b"), name="b").start(journal=journal, saga_id="x")
    append(journal, dumps([entry for entry, _ in ENTRIES]))

    ended, said = say("show", "x")

    assert ended == 0
    expected = [line for _, line in ENTRIES]
    shown = happened(said)[1:]
    assert [line if line[1] != "told to stop: Timeout…" else got for line, got in zip(
        expected, shown, strict=True
    )] == shown  # fmt: skip
    assert ("-", "told to stop: TimeoutError('late')") in shown
    json.loads(say("show", "x", "--json")[1])
    assert say("why", "x")[0] == 0


@pytest.mark.parametrize(
    ("tree", "shown"),
    [
        (None, "None"),
        (True, "bool"),
        ([1], "list"),
        ({"a": 1}, "dict"),
        ({}, "dict"),
        ({"$decimal": "1.2"}, "Decimal"),
        ({"$datetime": "2026-01-01"}, "datetime"),
        ({"$enum": ["shop.kinds:Size", "BIG"]}, "Size"),
        ({"$dataclass": ["shop:Order.Line", {}]}, "Order.Line"),
        ({"$function": "shop:charge"}, "shop:charge"),
        ({"$missing": True}, "no value"),
        ({"$sealed": "x"}, "(sealed)"),
        ({"$result": ["a", [[True, "shelf"], [False, 0]]]}, "result_of('a').shelf[0]"),
        ({"$result": 7}, "(malformed)"),
        ({"$enum": []}, "(malformed)"),
    ],
)
def test_a_value_is_shown_as_its_type(tree: Any, shown: str) -> None:
    """And as nothing of what it is."""
    assert value_type(tree) == shown


def test_a_saga_that_cannot_be_read_is_an_error(say: Say, journal: SQLiteJournal) -> None:
    """What is known of it is shown all the same."""
    contradicts, damaged = '[["succeeded",0,"action",1,1]]', "no JSON"
    for saga_id, body, why in (
        ("x", contradicts, "the journal's entries contradict"),
        ("y", damaged, "the journal's entries cannot be read: row 2 is damaged"),
    ):
        order().start(journal=journal, saga_id=saga_id)
        append(journal, "[]", SagaStatus.STUCK, saga_id)
        alter(journal, "UPDATE entry SET body = ? WHERE n = 2", body)

        ended, said = say("show", saga_id)
        assert ended == 1
        assert f"{saga_id} (depot): STUCK" in said
        assert f"it cannot be read: {why}" in said
        ended, said = say("why", saga_id)
        assert ended == 1
        assert "nobody can go on with it" in said
        ended, said = say("graph", saga_id)
        assert ended == 1
        assert "cannot be drawn" in said
        for decision in ("retry", "compensate"):
            ended, said = say(decision, saga_id)
            assert ended == 1
            assert re.search(rf"saga '{saga_id}'.*(contradict each other|row 2 is damaged)", said)
        ended, said = say("doctor")
        assert ended == 1
        assert f"DAMAGED: saga '{saga_id}': the journal's entries" in said


def test_arguments_of_no_shape_are_not_shown(say: Say, journal: SQLiteJournal) -> None:
    """A journal may hold anything."""
    order().start(journal=journal, saga_id="x")
    alter(journal, """UPDATE entry SET body = replace(body, '["a","secret"]', '7')""")

    assert "depot:do(sealed)" in say("show", "x")[1]


def test_keywords_are_shown(say: Say, journal: SQLiteJournal) -> None:
    """As Python writes them."""
    from functools import partial  # noqa: PLC0415

    SagaAssembler.saga().operation(partial(do, "a", n=2), name="a").start(
        journal=journal, saga_id="x"
    )

    assert "depot:do(str, n=int)" in say("show", "x")[1]
    assert "x: RUNNING" in say("show", "x")[1]


@pytest.mark.parametrize("name", ["show", "why", "graph"])
def test_a_saga_that_is_not_there_is_an_error(name: str, say: Say, journal: SQLiteJournal) -> None:
    """With the id and the journal in which it is not."""
    ended, said = say(name, "nope")

    assert ended == 1
    assert f"there is no saga 'nope' in the journal {journal.path}" in said


def test_a_graph_has_the_statuses(say: Say, journal: SQLiteJournal) -> None:
    """In Mermaid, or in JSON."""
    stuck(journal)

    ended, said = say("graph", "x")

    assert ended == 0
    assert said.startswith("flowchart LR\n")
    assert 'o1["b<br/>STUCK"]' in said
    assert json.loads(say("graph", "x", "--json")[1]) == {"saga_id": "x", "mermaid": said}
