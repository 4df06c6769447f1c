"""How a saga is written down, and read again by whoever comes next."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from functools import partial
from typing import Any

import depot
import pytest
from depot import ado, ask, aundo, do, fail, is_busy, is_lost, undo
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import Reversed

from py_api_saga import (
    JournalError,
    Retry,
    SagaAssembler,
    SagaConflict,
    SagaDefinitionError,
    SagaException,
    SagaStatus,
    SagaStuck,
    leaves_doubt,
    recover,
    result_of,
)
from py_api_saga.definition import Definition, Layout
from py_api_saga.entries import ABORT, IN_DOUBT, UNKNOWN, Setback
from py_api_saga.exceptions import RecordedError
from py_api_saga.journal import MemoryJournal
from py_api_saga.journal.changes import Row
from py_api_saga.journal.format import sagas as record
from py_api_saga.journal.format.definitions import MAX_AGE, Plan, write_definition
from py_api_saga.journal.format.entries import read_entry, write_entry
from py_api_saga.journal.format.sagas import digest, read_rows
from py_api_saga.journal.format.values import Trees, Values
from py_api_saga.operation import Operation

PLAIN = MemoryJournal(modules=["depot"])
SEALED = MemoryJournal(modules=["depot"], codec=Reversed())


def plan(saga: SagaAssembler, *, at_once: bool = False, journal: Any = PLAIN) -> Any:
    """Write a saga down and read it again: what was written, and what was read."""
    written = saga._graph() if at_once else saga._chain()  # noqa: SLF001
    about = Plan(saga.name, 12.5, MAX_AGE, 4 if at_once else None, in_loop=False)
    head = write_definition(written, about, Values(journal))
    read = read_rows([Row(1, 0.0, f"[{head}]")], Values(journal), journal.names.callee)
    for field in Plan.__slots__:
        assert getattr(read.plan, field) == getattr(about, field)
    return written, read.definition


def shape(operation: Operation) -> tuple[Any, ...]:
    """Give what of an operation can be compared."""
    policy = operation.policy
    retries = [
        None
        if retry is None
        else [getattr(retry, name) for name in Retry.__slots__ if name != "on"]
        for retry in (policy.retry, policy.compensation_retry)
    ]
    calls = [
        call and (call[0], repr(call[1]), repr(dict(call[2])), call[3], call[4])
        for call in (operation.action, operation.compensation, policy.ask)
    ]
    doubtful = policy.doubtful
    rest = (policy.timeout, policy.pivot, policy.park, {*doubtful.names}, {*doubtful.predicates})
    return (operation.label, operation.scope, calls, retries, rest)


def places(layout: Layout | int | None) -> Any:
    """Give what of a layout can be compared."""
    if not isinstance(layout, Layout):
        return layout
    return dict(layout.places), [places(item) for item in layout.items]


def assert_same(written: Definition, read: Definition) -> None:
    """What was read means what was written."""
    assert list(map(shape, read.operations)) == list(map(shape, written.operations))
    assert read.names.all()[: len(written.operations)] == written.names.all()
    assert [list(edges) for edges in read.after] == [list(edges) for edges in written.after]
    assert [list(edges) for edges in read.followers] == [list(e) for e in written.followers]
    assert places(read.layout) == places(written.layout)
    assert (read.pivot, read.is_chain) == (written.pivot, written.is_chain)


@pytest.mark.parametrize("journal", [PLAIN, SEALED])
def test_all_that_an_operation_may_say_is_kept(journal: Any) -> None:
    """Calls with their arguments, placeholders, retries, timeouts, doubts, the pivot."""
    saga = (
        SagaAssembler.saga(name="depot", retry=Retry(OSError, attempts=None, wait_max=9))
        .operation((do, "a", 1, [2.5, None], {"k": (True,)}), (undo, "a"))
        .operation(
            partial(do, "b", result_of("do")["shelf"].x, key=result_of("do")),
            partial(undo, "b", result_of(), deep=[{"x": result_of("do")}]),
            retry=Retry((ValueError, KeyError), attempts=5, timeout=7.0),
            compensation_retry=Retry(is_busy, wait_initial=0.5),
            timeout=3.5,
            on_doubt=ask,
        )
        .operation(
            (do, "c"),
            name="pivot",
            pivot=True,
            doubtful=[LookupError, "httpx.ReadTimeout", is_lost],
        )
        .operation((ado, "d"), (aundo, "d"), on_doubt="park", doubtful=())
        .operation((do, "e"), doubtful=leaves_doubt)
    )

    assert_same(*plan(saga, journal=journal))


def test_a_graph_keeps_its_edges() -> None:
    """Those that were declared, and those that placeholders make."""
    saga = (
        SagaAssembler.saga()
        .operation((do, "a"), name="a")
        .operation((do, "b"), name="b")
        .operation((do, "c", result_of("a")), name="c", after="b")
    )

    assert_same(*plan(saga, at_once=True))


def test_child_sagas_keep_their_places(open_journal: Any) -> None:
    """The results of a child are one result of its parent, also in a process that comes later."""
    grandchild = SagaAssembler.saga().operation((do, "g"), (undo, "g"), name="g")
    child = (
        SagaAssembler.saga()
        .operation((do, "c"), name="c")
        .operation(grandchild, name="inner")
        .operation((do, "d", result_of("inner")), name="d")
    )
    saga = (
        SagaAssembler.saga()
        .operation((do, "a"), name="a")
        .operation(child, name="packing")
        .operation((do, "z", result_of("packing")), name="z")
    )
    assert_same(*plan(saga))
    journal = open_journal()
    saga.start(journal=journal, saga_id="x")

    (done,) = recover(journal)

    assert done.outcome is SagaStatus.COMPLETED
    results = saga.orchestrator_execute(journal=journal, saga_id="x")
    assert results == ["A", ["C", ["G"], "D"], "Z"]
    assert results["packing"]["inner"]["g"] == "G"


def test_a_retry_read_from_a_journal_knows_its_errors_by_name() -> None:
    """Builtins are themselves; others are matched by the names of their classes."""

    class Busy(Exception):
        pass

    saga = SagaAssembler.saga().operation((do, "a"), retry=Retry((OSError, Busy)), doubtful=[Busy])

    _, read = plan(saga)

    policy = read.operations[0].policy
    assert policy.retry.after(ConnectionError(), 1, 0.0, 0.0) == 0.1
    assert policy.retry.after(Busy(), 1, 0.0, 0.0) == 0.1
    assert policy.retry.after(ValueError(), 1, 0.0, 0.0) is None
    assert policy.retry.after(ExceptionGroup("", [Busy(), OSError()]), 1, 0.0, 0.0) == 0.1
    assert policy.retry.after(ExceptionGroup("", [Busy(), ValueError()]), 1, 0.0, 0.0) is None
    assert policy.doubtful.includes(Busy())
    again = SagaAssembler.saga().operation((do, "a"), retry=policy.retry)
    assert plan(again)[1].operations[0].policy.retry.after(Busy(), 1, 0.0, 0.0) == 0.1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"retry": Retry(lambda _: True)}, "operation 'do': retry: a lambda"),
        ({"compensation_retry": Retry(lambda _: True)}, "operation 'do': compensation_retry"),
        ({"on_doubt": lambda *_: None}, "operation 'do': on_doubt: a lambda"),
    ],
)
def test_a_function_of_a_policy_must_be_found_again_too(
    options: dict[str, Any], words: str
) -> None:
    """It is called by recovery like any other."""
    saga = SagaAssembler.saga().operation((do, "a"), (undo, "a"), **options)

    with pytest.raises(SagaDefinitionError, match=words):
        saga.orchestrator_execute(journal=PLAIN)


def test_a_keyword_that_cannot_be_kept_is_named() -> None:
    """Keywords are named, positions are counted."""
    saga = SagaAssembler.saga().operation((do, "a"), partial(undo, "a", where=object()))

    with pytest.raises(
        SagaDefinitionError, match="the compensation: argument 'where', of type object"
    ):
        saga.orchestrator_execute(journal=PLAIN)


@pytest.mark.parametrize("place", ["action", "compensation"])
def test_what_is_too_large_is_refused(place: str) -> None:
    """A journal holds references to large things."""
    large = ("x", "y" * (1 << 20))
    saga = SagaAssembler.saga()
    saga.operation((do, *large) if place == "action" else (do, "a"), (undo, *large))

    with pytest.raises(SagaDefinitionError, match=f"the {place}: argument 2, of type str"):
        saga.orchestrator_execute(journal=PLAIN)


def test_many_small_arguments_may_be_large_together(open_journal: Any) -> None:
    """The limit is one of each value."""
    saga = SagaAssembler.saga()
    for i in range(8):
        saga.operation((do, f"{i}", "y" * 200_000), (undo, f"{i}") if i else None)

    assert len(saga.orchestrator_execute(journal=open_journal())) == 8


# --- sealed ---------------------------------------------------------------------------------------


def test_with_a_codec_no_value_is_in_the_clear(open_journal: Any) -> None:
    """Arguments, results and the texts of errors; names, statuses and types are."""
    journal = open_journal(codec=Reversed())
    depot.behaviour["a"] = lambda: "secret result"
    depot.behaviour["b"] = fail(ValueError("secret error"))
    saga = (
        SagaAssembler.saga()
        .operation((do, "a", "secret argument"), (undo, "a"), name="a")
        .operation((do, "b"), name="b")
    )
    with pytest.raises(SagaException):
        saga.orchestrator_execute(journal=journal, saga_id="x")

    seen = journal.find("x")
    assert seen is not None
    text = "".join(row.body for row in journal.rows([seen.number])[seen.number])
    assert "secret" not in text
    assert "builtins.ValueError" in text
    with pytest.raises(SagaException) as caught:
        saga.orchestrator_execute(journal=journal, saga_id="x")
    assert str(caught.value.operation_error) == "secret error"
    other = SagaAssembler.saga().operation((do, "a", "another"), name="a")
    with pytest.raises(SagaConflict):
        other.orchestrator_execute(journal=journal, saga_id="x")


def test_without_its_codec_a_sealed_saga_says_what_is_missing() -> None:
    """And is parked, not guessed at."""
    values = Values(PLAIN)
    row = Row(1, 0.0, f"[{write_definition(*_sealed())}]")

    with pytest.raises(JournalError, match="open the journal with the same codec="):
        read_rows([row], values, PLAIN.names.callee)

    shown = read_rows([row], Trees(PLAIN))
    assert shown.definition.names.all() == ["do"]
    assert str(values.read_error(["m.E", {"$sealed": "x"}])) == "(sealed)"


def _sealed() -> tuple[Any, ...]:
    saga = SagaAssembler.saga().operation((do, "a"), (undo, "a"))
    return saga._chain(), Plan(None, None, MAX_AGE, None, in_loop=False), Values(SEALED)  # noqa: SLF001


def test_what_was_written_before_there_was_a_codec_can_be_read() -> None:
    """Each value says whether it is sealed."""
    saga = SagaAssembler.saga().operation((do, "a"))
    head = write_definition(saga._chain(), _sealed()[1], Values(PLAIN))  # noqa: SLF001

    read = read_rows([Row(1, 0.0, f"[{head}]")], Values(SEALED), SEALED.names.callee)

    assert read.definition.operations[0].action[1] == ("a",)


# --- entries --------------------------------------------------------------------------------------


def test_errors_come_back_as_stand_ins() -> None:
    """Their type is a name that is not looked for, and they are written down as they came."""
    values = Values(PLAIN)
    for entry in (
        (ABORT, -1, "", 0, 0, KeyboardInterrupt()),
        (IN_DOUBT, 0, "action", 1, 1, Setback(TimeoutError("late"), 1.5, alive=True)),
        (UNKNOWN, 0, "ask", 1, 1, OSError("no answer")),
        (UNKNOWN, 0, "ask", 1, 1, None),
    ):
        text = write_entry(entry, values)
        read = read_entry(json.loads(text), values, 1)
        assert write_entry(read, values) == text
    error = values.read_error(values.write_error(TimeoutError("late")))
    assert repr(error) == "TimeoutError('late')"
    assert str(error) == "late"
    assert error is not None
    assert error.kind == "builtins.TimeoutError"


def test_a_very_long_error_is_cut() -> None:
    """A traceback in a message does not make a journal of megabytes."""
    written = Values(PLAIN).write_error(ValueError("x" * 10_000))

    assert written is not None
    assert len(written[1]) == 4096


@pytest.mark.parametrize(
    "tree",
    [
        ["started", 1, "action", 1, 1],  # there is no operation 1
        ["started", -1, "action", 1, 1],
        ["started", True, "action", 1, 1],
        ["exploded", 0, "action", 1, 1],
        ["started", 0, "magic", 1, 1],
        ["started", 0, "action", "1", 1],
        ["aborted"],
        [["started"], 0, "action", 1, 1],
        ["recovered", 0, "", 0, 0],
        ["lost", -1, "action", 1, 1],
        "started",
        None,
        7,
    ],
)
def test_an_entry_of_no_known_kind_is_refused(tree: Any) -> None:
    """By whoever reads it, before the machine sees it."""
    with pytest.raises(JournalError):
        read_rows(_rows(tree), Values(PLAIN))


def _rows(*trees: Any) -> list[Row]:
    head = '["defined",{"format":1,"name":null,"operations":[{"name":"a","do":["depot:do"]}]}]'
    return [Row(1, 0.0, f"[{','.join([head, *map(json.dumps, trees)])}]")]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [Row(1, 0.0, "[]")],
        [Row(1, 0.0, "")],
        [Row(1, 0.0, "[")],
        [Row(1, 0.0, '[["started",0,"action",1,1]]')],
        [Row(2, 0.0, '[["defined",{}]]')],
        [Row(1, 0.0, '[["defined",{}]]')],
        [Row(1, 0.0, '[["defined",{"format":99,"operations":[]}]]')],
        [Row(1, 0.0, '[["defined",{"format":1,"operations":[{"name":"a"}]}]]')],
        [Row(1, 0.0, '[["defined",{"format":1,"operations":[{"name":"a","do":["os:system"]}]}]]')],
        [
            Row(
                1,
                0.0,
                '[["defined",{"format":1,"operations":[],"layout":{"places":{},"items":[3]}}]]',
            )
        ],
    ],
)
def test_a_saga_that_cannot_be_read_says_so(rows: list[Row]) -> None:
    """As a JournalError, whatever is wrong."""
    with pytest.raises(JournalError):
        read_rows(rows, Values(PLAIN), PLAIN.names.callee)


TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.sampled_from(["defined", "started", "action", "depot:do", "os:system", "$tuple"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["format", "operations", "name", "do", "undo", "retry", "on", "ask", "$x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.untraced
@settings(deadline=None, max_examples=100)
@given(TREES, TREES)
def test_no_row_makes_a_reader_fail_otherwise(definition: Any, entry: Any) -> None:
    """A journal is input: whatever a row holds, it is read, or refused as a JournalError."""
    head = ["defined", {"format": 1, "operations": [{"name": "a", "do": definition}]}]
    for rows in (
        [Row(1, 0.0, json.dumps([head, entry]))],
        [Row(1, 0.0, json.dumps([["defined", definition], entry]))],
    ):
        with suppress(JournalError):
            read_rows(rows, Values(PLAIN), PLAIN.names.callee)


def test_a_saga_whose_entries_contradict_one_another_is_parked(open_journal: Any) -> None:
    """And answered for as a JournalError."""
    journal = open_journal()
    saga = SagaAssembler.saga().operation((do, "a"), name="a")
    saga.start(journal=journal, saga_id="x")
    number = journal.find("x").number
    good = journal.rows

    def rows(numbers: Any) -> Any:
        found = {**good(numbers)}
        bad = '[["failed",0,"action",1,1,["builtins.ValueError","x"]]]'
        found[number] = [*found[number], Row(2, 0.0, bad)]
        return found

    journal.rows = rows

    (done,) = recover(journal)

    assert done.outcome is SagaStatus.STUCK
    assert "contradict each other" in str(done.error)
    journal.rows = good
    with pytest.raises(SagaStuck, match=r"was parked: .*contradict"):
        saga.orchestrator_execute(journal=journal, saga_id="x")


def test_what_was_not_looked_for_cannot_be_called() -> None:
    """A saga may be shown without importing its functions, and then makes no call by mistake."""
    function = read_rows(_rows(), Values(PLAIN)).definition.operations[0].action[0]

    assert function.__name__ == "do"
    with pytest.raises(LookupError, match="depot:do was not looked for"):
        function()


def test_a_row_that_is_too_large_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size is looked at first."""
    monkeypatch.setattr(record, "MAX_BODY", 99)

    with pytest.raises(JournalError, match="row 2 of the saga is larger than 99 characters"):
        read_rows([Row(1, 0.0, "[]"), Row(2, 0.0, "[" * 100)], Values(PLAIN))


def test_an_error_of_which_nothing_is_known_is_an_error() -> None:
    """So that whoever raises the saga's exception has something to raise it from."""
    for tree in (["failed", 0, "action", 1, 1], ["abort", -1, "", 0, 0]):
        assert repr(read_entry(tree, Values(PLAIN), 1)[5]) == "Exception('unknown')"
    assert Values(PLAIN).write_error(None) is None
    assert Values(PLAIN).read_error(None) is None


@pytest.mark.parametrize("sealed", [7, None, ["x"], "x" * ((4 << 20) + 1)])
def test_a_sealed_value_that_is_none_is_not_given_to_the_codec(sealed: Any) -> None:
    """What it is given is a text, and not too large a one."""
    with pytest.raises(ValueError, match="a sealed value is not a text, or too large"):
        Values(SEALED).read({"$sealed": sealed})


def test_arguments_that_are_too_large_together_are_refused_by_name() -> None:
    """With a codec the arguments of a call are one value."""
    saga = SagaAssembler.saga().operation((do, "a", "x" * 700_000, "y" * 700_000))

    with pytest.raises(SagaDefinitionError, match="operation 'do': the action"):
        saga.orchestrator_execute(journal=SEALED)


def test_a_digest_is_of_the_name_and_the_arguments() -> None:
    """What makes two sagas the same does not depend on what is in the clear."""
    saga = SagaAssembler.saga(name="depot").operation((do, "a", {"x": 1, "y": 2}), name="a")
    other = SagaAssembler.saga(name="depot").operation((do, "a", {"y": 2, "x": 1}), name="a")
    third = SagaAssembler.saga(name="depot").operation((do, "b", {"x": 1, "y": 2}), name="a")

    def of(saga: SagaAssembler, journal: Any) -> str:
        text = write_definition(saga._chain(), _sealed()[1], Values(journal))  # noqa: SLF001
        return digest(json.loads(text)[1], Values(journal))

    assert of(saga, PLAIN) == of(other, PLAIN) == of(saga, SEALED)
    assert of(third, PLAIN) != of(saga, PLAIN)
    assert len(of(saga, PLAIN)) == 64


def test_a_recorded_error_is_recorded_again_as_it_was() -> None:
    """A saga that is recovered twice does not wrap its errors."""
    values = Values(PLAIN)

    assert values.write_error(RecordedError("m.E", "text")) == ["m.E", "text"]


@pytest.mark.untraced
def test_ten_thousand_operations_are_written_and_read() -> None:
    """In time that grows with their number."""
    depot.reset()
    saga = SagaAssembler.saga()
    for i in range(10_000):
        saga.operation((do, f"{i}"), name=f"op{i}")

    began = time.thread_time()
    written, read = plan(saga)

    assert time.thread_time() - began < 30
    assert len(read.operations) == len(written.operations) == 10_000
