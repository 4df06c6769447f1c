"""Values that turn on us: results that cannot be kept, codecs that fail, errors that quote."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import depot
import pytest
from depot import ask, do, fail, undo
from recorded import WHO, Faulty, Reversed, Wrapped, bodies, chain, crashed, status
from world import Watch

from py_api_saga import (
    JournalError,
    Retry,
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    SagaStatus,
    SagaStuck,
    Status,
    happened,
    recover,
    result_of,
    takeover,
)
from py_api_saga.journal import Journal, SQLiteJournal
from py_api_saga.journal.changes import Create
from py_api_saga.repair import DecisionError, again, resolve

Execute = Callable[..., Any]
MODULES = ["depot"]


def test_an_undo_of_a_result_that_cannot_be_kept_can_be_read_again(journal: Any) -> None:
    """Live it is given the result; in another process it says what it lacks, and is stuck."""
    depot.behaviour["b"] = object
    saga = (
        SagaAssembler.saga(name="depot")
        .operation((do, "a"), (undo, "a"), name="a")
        .operation((do, "b"), (undo, "b", result_of()), name="b")
    )
    for _ in range(2):
        with pytest.raises(SagaException) as caught:
            saga.orchestrator_execute(journal=journal, saga_id="x")
        assert caught.value.outcome is SagaStatus.COMPENSATED
        assert caught.value.operation_name == "b"
    with pytest.raises(JournalError):
        saga.orchestrator_execute(journal=Faulty(journal, 3), saga_id="y")

    (done,) = recover(journal)

    assert done.outcome is SagaStatus.STUCK
    assert isinstance(done.error, SagaException)
    assert list(done.error.stuck) == ["b"]
    assert resolve(journal, "y", "b", Status.COMPENSATED, **WHO) is SagaStatus.COMPENSATED


def test_an_operation_that_was_resolved_without_a_result_can_be_undone_later(journal: Any) -> None:
    """Its undo says what it lacks; the others are undone."""
    depot.behaviour["b"] = fail(ValueError("no"))
    saga = (
        SagaAssembler.saga(name="depot")
        .operation((do, "a"), (undo, "a", result_of()), name="a", on_doubt="park")
        .operation((do, "b"), name="b")
    )
    crashed(journal, saga, 1)
    assert [done.outcome for done in recover(journal)] == [SagaStatus.STUCK]
    resolve(journal, "x", "a", Status.SUCCEEDED, **WHO)

    (done,) = recover(journal)

    assert done.outcome is SagaStatus.STUCK
    assert "needs what the action returned, which nobody knows" in str(done.error)


def test_a_result_that_nobody_knows_is_none(journal: Any) -> None:
    """A person has said that it happened, and not what came of it."""
    crashed(journal, SagaAssembler.saga().operation((do, "a"), name="a", on_doubt="park"), 1)
    recover(journal)
    resolve(journal, "x", "a", Status.SUCCEEDED, **WHO)

    saga = SagaAssembler.saga().operation((do, "a"), name="a", on_doubt="park")
    assert saga.orchestrator_execute(journal=journal, saga_id="x") == [None]


class Away(Reversed):
    """A codec whose key service can be away."""

    def __init__(self) -> None:
        self.away = ""

    def encode(self, text: str) -> str:
        """Hide, or fail."""
        if self.away and self.away in text:
            raise OSError("the key service is away")
        return super().encode(text)

    def decode(self, text: str) -> str:
        """Find, or fail."""
        plain = super().decode(text)
        if self.away == "decode" or (self.away and self.away in plain):
            raise OSError("the key service is away")
        return plain


def test_a_codec_that_fails_on_a_result_undoes_the_saga(open_journal: Any) -> None:
    """As for any value that can't be kept; what runs beside it is awaited."""
    codec = Away()
    journal = open_journal(codec=codec)
    depot.behaviour.update(a=lambda: "boom", b=lambda: time.sleep(0.05))
    codec.away = "boom"
    saga = SagaAssembler.saga()
    saga.operation((do, "a"), (undo, "a"), name="a").operation((do, "b"), (undo, "b"), name="b")

    with pytest.raises(
        SagaException, match="cannot be kept: its codec cannot seal it: OSError"
    ) as caught:
        saga.choreography_execute(journal=journal, saga_id="x")

    assert caught.value.outcome is SagaStatus.COMPENSATED
    assert depot.standing == []


def test_a_codec_that_fails_on_an_error_does_not_hide_it(open_journal: Any) -> None:
    """Its text is left out, and all is undone."""
    codec = Away()
    journal = open_journal(codec=codec)
    depot.behaviour["b"] = fail(ValueError("boom"))
    codec.away = "boom"

    for text in ("boom", "could not be sealed"):
        with pytest.raises(SagaException, match=text):
            chain("a", "b").orchestrator_execute(journal=journal, saga_id="x")

    assert depot.standing == []


def test_what_cannot_be_opened_here_is_not_parked(open_journal: Any) -> None:
    """The key may come back: nothing is wrong with the saga."""
    codec = Away()
    journal = open_journal(codec=codec)
    chain("a").start(journal=journal, saga_id="x")
    codec.away = "decode"

    (done,) = recover(journal)

    assert (done.outcome, status(journal, "x")) == (SagaStatus.RUNNING, SagaStatus.RUNNING)
    assert "its codec cannot open" in str(done.error)
    codec.away = ""
    assert takeover(journal, "x").outcome is SagaStatus.COMPLETED


@pytest.mark.parametrize("sealed", [None, '{"$sealed":7}'])
def test_who_cannot_open_the_text_of_an_error_goes_on_all_the_same(
    open_journal: Any, sealed: str | None
) -> None:
    """No call needs it; the key that it was sealed with may be gone for good."""
    codec = Away()
    journal = open_journal(codec=codec)
    depot.behaviour["b"] = fail(ValueError("boom"))
    crashed(journal, chain("a", "b"), good=3)
    codec.away = "boom"
    seen = journal.find("x")
    rows = journal.rows([seen.number])[seen.number]
    if sealed is not None:  # as nobody has written it
        body = re.sub(r'{"\$sealed":"[^"]*"}', sealed, rows[-1].body)
        rows = [*rows[:-1], rows[-1]._replace(body=body)]

    (done,) = recover(Wrapped(journal, rows=lambda _: {seen.number: rows}))

    assert (done.outcome, depot.standing) == (SagaStatus.COMPENSATED, [])
    assert "ValueError('(sealed)')" in str(done.error)


def test_a_codec_that_opens_no_text_parks_nothing(open_journal: Any) -> None:
    """It is the codec that is wrong, not the saga."""
    codec = Away()
    journal = open_journal(codec=codec)
    chain("a").start(journal=journal, saga_id="x")
    codec.decode = str.encode  # type: ignore[assignment,method-assign]

    (done,) = recover(journal)

    assert (done.outcome, status(journal, "x")) == (SagaStatus.RUNNING, SagaStatus.RUNNING)
    assert "its codec gave bytes: decode must return text" in str(done.error)


class Odd:
    """What has the methods of a codec and is not one."""

    def __init__(self, made: Any) -> None:
        self.made = made

    def encode(self, text: str) -> Any:
        """Make what cannot be kept."""
        return self.made(text)

    def decode(self, text: str) -> str:
        """Never be called."""
        raise AssertionError(text)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (str.encode, "its codec gave bytes: encode must return text"),
        (lambda _: "\ud800", "its codec gave text that is not valid Unicode"),
        (lambda _: "x" * (4 << 20) + "x", "its codec made more than 4,194,304 characters of it"),
        (int, "its codec cannot seal it: ValueError"),
    ],
)
def test_a_codec_that_makes_no_text_is_refused_before_anything_runs(
    open_journal: Any, made: Any, says: str
) -> None:
    """In words that say which value it was."""
    saga = SagaAssembler.saga().operation((do, "a"), name="a")

    with pytest.raises(SagaDefinitionError, match=f"'a'.*action.*{says}"):
        saga.orchestrator_execute(journal=open_journal(codec=Odd(made)), saga_id="x")

    assert depot.log == []


@pytest.mark.parametrize("made", [str.encode, lambda _: "\ud800"])
def test_what_cannot_be_sealed_after_a_call_is_undone(open_journal: Any, made: Any) -> None:
    """Nothing of it is left, and the saga says why."""
    calls: list[str] = []

    def give() -> str:
        calls.append("give")
        return calls[-1]

    depot.behaviour["give"] = give
    saga = SagaAssembler.saga().operation(depot.give, depot.give, name="a")

    with pytest.raises(SagaException, match="cannot be kept: its codec gave") as caught:
        saga.orchestrator_execute(journal=open_journal(codec=Odd(made)), saga_id="x")

    assert (caught.value.outcome, len(calls)) == (SagaStatus.COMPENSATED, 2)


@pytest.mark.parametrize("codec", ["aes", b"key", object()])
def test_what_is_no_codec_is_refused_at_once(open_journal: Any, codec: Any) -> None:
    """Not when the first value has been made."""
    with pytest.raises(TypeError, match="codec: expected an object with encode and decode, got"):
        open_journal(codec=codec)


def test_a_pivot_whose_result_cannot_be_kept_is_passed_all_the_same(journal: Any) -> None:
    """Though recovery was to go backward: all that follows is tried again until it is done."""
    soon = Retry(OSError, attempts=9, wait_initial=0.001, wait_jitter=0)
    saga = SagaAssembler.saga(on_crash="compensate")
    saga.operation((do, "a"), (undo, "a"), name="a")
    saga.operation((do, "b"), name="b", pivot=True, retry=soon).operation((do, "c"), name="c")
    crashed(journal, saga, 2)
    answers: list[Any] = [object, fail(OSError("busy")), lambda: "B"]

    def answer() -> Any:
        return answers.pop(0)()

    depot.behaviour["b"] = answer

    (done,) = recover(journal)
    assert done.outcome is SagaStatus.STUCK
    again(journal, "x", "b", **WHO)

    assert [done.outcome for done in recover(journal)] == [SagaStatus.COMPLETED]
    assert depot.standing == ["a", "b", "c"]


def test_a_decision_with_a_value_that_cannot_be_kept_is_refused(journal: Any) -> None:
    """And nothing is changed."""
    crashed(journal, SagaAssembler.saga().operation((do, "a"), name="a", on_doubt="park"), 1)
    recover(journal)

    with pytest.raises(DecisionError, match="the result cannot be kept"):
        resolve(journal, "x", "a", Status.SUCCEEDED, object(), **WHO)


def test_half_a_character_in_a_name_is_refused(journal: Any) -> None:
    """No file can hold it; no argument is quoted."""
    saga = SagaAssembler.saga(name="n\ud800").operation((do, "secret"))

    with pytest.raises(SagaDefinitionError, match="an unpaired surrogate") as caught:
        saga.orchestrator_execute(journal=journal, saga_id="x")

    assert "secret" not in str(caught.value)
    assert depot.log == []


def test_an_error_of_the_journal_never_quotes_a_row(journal: Any) -> None:
    """Not even one about half a character in it."""
    journal.write(create := Create("x", "x", '["secret \ud800"]'))

    if isinstance(journal, SQLiteJournal):
        with pytest.raises(JournalError) as caught:
            create.check()
        assert "secret" not in str(caught.value)


def test_an_answer_in_a_rollback_may_hold_what_cannot_be_kept(journal: Any) -> None:
    """It happened, so it is undone, with the result in memory."""
    depot.behaviour["a"] = fail(TimeoutError("no answer"))
    depot.behaviour["ask a"] = lambda: happened(object())
    saga = SagaAssembler.saga().operation(
        (do, "a"), (undo, "a", result_of()), name="a", on_doubt=depot.ask
    )

    for _ in range(2):
        with pytest.raises(SagaException) as caught:
            saga.orchestrator_execute(journal=journal, saga_id="x")
        assert caught.value.outcome is SagaStatus.COMPENSATED

    assert depot.log == ["a", "ask a", "undo a"]


def test_a_sealed_journal_holds_what_nobody_knows_in_the_clear(open_journal: Any) -> None:
    """So that whoever decides about a saga, without a key, sees the same as whoever recovers it."""
    journal = open_journal(codec=Reversed())
    crashed(journal, SagaAssembler.saga().operation((do, "a"), name="a", on_doubt="park"), 1)
    recover(journal)
    resolve(journal, "x", "a", Status.SUCCEEDED, **WHO)

    seen = journal.find("x")
    assert seen is not None
    assert journal.rows([seen.number])[seen.number][-1].body.endswith('{"$missing":true}]]]')


def test_a_definition_is_no_larger_than_what_can_be_read(
    journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be accepted, and parked by whoever is to run it."""
    monkeypatch.setattr("py_api_saga.journal.format.definitions.MAX_DEFINITION", 300)
    saga = SagaAssembler.saga()
    for i in range(5):
        saga.operation((do, f"{i}", "x" * 50), name=f"{i}")

    with pytest.raises(SagaDefinitionError, match="all arguments together are larger than 300"):
        saga.start(journal=journal, saga_id="x")

    assert journal.find("x") is None


def test_an_argument_that_cannot_be_kept_is_refused_before_anything_runs(
    execute: Execute, journal: Journal
) -> None:
    """The message names the operation, the position and the type."""
    saga = chain("a").operation((do, "b", 1, object()), name="b")

    with pytest.raises(
        SagaDefinitionError, match=r"operation 'b': the action: argument 3, of type object"
    ):
        execute(saga, journal=journal, saga_id="x")

    assert depot.log == []
    assert journal.find("x") is None


def test_a_function_that_cannot_be_found_again_is_refused(
    execute: Execute, journal: Journal
) -> None:
    """What recovery could not resolve does not start."""
    for function in (lambda: 1, Watch().of, Watch, len):
        saga = SagaAssembler.saga().operation((do, "a")).operation(partial_of(function), name="b")
        with pytest.raises(SagaDefinitionError, match="operation 'b': the action"):
            execute(saga, journal=journal, saga_id="x")

    assert depot.log == []


def partial_of(function: Any) -> Any:
    """Give it arguments that fit."""
    return {len: (len, "abc")}.get(
        function, (function, "x") if function.__name__ == "of" else function
    )


def test_a_result_that_cannot_be_kept_rolls_back(execute: Execute, journal: Any) -> None:
    """It happened, and nobody could go on from it: it is undone with the result in memory."""
    depot.behaviour["a"] = object
    with pytest.raises(SagaException) as caught:
        execute(
            SagaAssembler.saga()
            .operation((do, "a"), (undo, "a", result_of()), name="a")
            .operation((do, "b"), name="b", after="a"),
            journal=journal,
            saga_id="x",
        )

    assert caught.value.operation_name == "a"
    assert "cannot be kept" in str(caught.value)
    assert caught.value.outcome is SagaStatus.COMPENSATED
    assert depot.log == ["a", "undo a"]


def test_a_result_of_the_pivot_that_cannot_be_kept_is_stuck(
    execute: Execute, journal: Journal
) -> None:
    """Nothing may be undone after it: a person resolves it with a value."""
    depot.behaviour["b"] = object
    saga = (
        SagaAssembler.saga()
        .operation((do, "a"), (undo, "a"), name="a")
        .operation((do, "b"), name="b", pivot=True, after="a")
        .operation((do, "c"), name="c", after="b")
    )
    for _ in range(2):
        with pytest.raises(SagaStuck) as caught:
            execute(saga, journal=journal, saga_id="x")

        assert list(caught.value.stuck) == ["b"]
    assert depot.log == ["a", "b"]


def test_an_undo_may_return_anything(execute: Execute, journal: Journal) -> None:
    """What it returns is told here, and forgotten by the journal."""
    kept = object()
    depot.behaviour["b"] = fail(ValueError("no courier"))
    saga = (
        SagaAssembler.saga()
        .operation((do, "a"), depot.give, name="a")
        .operation((do, "b"), name="b", after="a")
    )
    depot.behaviour["give"] = lambda: kept
    with pytest.raises(SagaException) as first:
        execute(saga, journal=journal, saga_id="x")
    with pytest.raises(SagaException) as again:
        execute(saga, journal=journal, saga_id="x")

    assert first.value.compensation_success_result == [kept]
    assert again.value.outcome is SagaStatus.COMPENSATED


def test_an_answer_may_hold_what_cannot_be_kept(journal: Any) -> None:
    """That it happened is known all the same; nobody could go on from it, so it is undone."""
    saga = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a", on_doubt=ask)
    crashed(journal, saga, 1)
    depot.behaviour["ask a"] = lambda: happened(object())

    (done,) = recover(journal)

    assert done.outcome is SagaStatus.COMPENSATED
    assert depot.log == ["a", "ask a", "undo a"]
    assert '["unstored",0,"ask",1,1,["builtins.TypeError"' in "".join(bodies(journal, "x"))
    with pytest.raises(SagaException, match="cannot be kept"):
        saga.orchestrator_execute(journal=journal, saga_id="x")
