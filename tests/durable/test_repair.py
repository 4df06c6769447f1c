"""What a person decides: about what is stuck, about what was parked, about what nobody drives."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import depot
import pytest
from depot import do, fail, undo
from recorded import WHO, bodies, crashed, order, seen, stuck
from world import PATIENCE

from py_api_saga import (
    UNKNOWN,
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    SagaInProgress,
    SagaStatus,
    SagaStuck,
    Status,
    recover,
    result_of,
    takeover,
)
from py_api_saga.durable.knowing import claim_of
from py_api_saga.journal import MemoryJournal, SQLiteJournal
from py_api_saga.journal.changes import Take
from py_api_saga.repair import DecisionError, again, compensate, purge, purge_all, resolve


def stuck_forward(journal: Any) -> None:
    """Leave a saga that failed after its pivot."""
    depot.behaviour["c"] = fail(ValueError("no courier"))
    with pytest.raises(SagaStuck):
        forward().orchestrator_execute(journal=journal, saga_id="x")
    depot.behaviour.clear()


def forward() -> SagaAssembler:
    """Pass a pivot, and go on with what comes after it."""
    return (
        SagaAssembler.saga(name="depot")
        .operation((do, "a"), (undo, "a"), name="a")
        .operation((do, "b"), name="b", pivot=True)
        .operation((do, "c"), name="c")
        .operation((do, "d", result_of("c")), name="d")
    )


def outcomes(journal: Any) -> list[SagaStatus]:
    """Recover, and tell what came of each saga."""
    return [done.outcome for done in recover(journal)]


def test_what_was_undone_by_hand_ends_the_rollback(journal: Any) -> None:
    """With the last stuck operation resolved, the saga has ended."""
    stuck(journal)

    assert resolve(journal, "x", "b", Status.COMPENSATED, **WHO) is SagaStatus.COMPENSATED

    assert recover(journal) == []
    with pytest.raises(SagaException) as caught:
        order().orchestrator_execute(journal=journal, saga_id="x")
    assert caught.value.outcome is SagaStatus.COMPENSATED
    assert depot.log == ["a", "b", "c", "undo b", "undo a"]


def test_a_compensation_is_tried_once_more(journal: Any) -> None:
    """Under its own key, or a new one for a service that has made up its mind."""
    for new_key, key in ((False, "x:b:compensation"), (True, "x:b:compensation:2")):
        stuck(journal)

        assert again(journal, "x", new_key=new_key, **WHO) is SagaStatus.COMPENSATING
        assert outcomes(journal) == [SagaStatus.COMPENSATED]

        assert depot.standing == []
        assert depot.keys[-1] == key
        purge(journal, journal.find("x"), forget=True)
        depot.reset()


def test_what_lacks_a_result_is_not_called_once_more(journal: Any) -> None:
    """The call could not be made; what else is stuck is called all the same."""
    depot.behaviour.update(
        {"undo a": fail(OSError("no bank")), "b": fail(ConnectionResetError("lost"))}
    )
    saga = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a")
    with pytest.raises(SagaStuck):
        saga.operation((do, "b"), (undo, "b", result_of()), name="b").orchestrator_execute(
            journal=journal, saga_id="x"
        )
    depot.behaviour.clear()

    assert again(journal, "x", **WHO) is SagaStatus.COMPENSATING
    assert outcomes(journal) == [SagaStatus.STUCK]
    assert depot.log == ["a", "b", "undo a", "undo a"]
    for operation in (None, "b"):
        with pytest.raises(DecisionError, match="which nobody knows; resolve it instead"):
            again(journal, "x", operation, **WHO)
    assert resolve(journal, "x", "b", Status.SUCCEEDED, "B", **WHO) is SagaStatus.COMPENSATING
    assert outcomes(journal) == [SagaStatus.COMPENSATED]
    assert depot.standing == []


def test_an_operation_after_the_pivot_is_tried_once_more(journal: Any) -> None:
    """And the saga goes on to its end."""
    stuck_forward(journal)

    assert again(journal, "x", "c", **WHO) is SagaStatus.RUNNING
    assert outcomes(journal) == [SagaStatus.COMPLETED]

    assert depot.log == ["a", "b", "c", "c", "d"]


def test_a_result_is_supplied_by_hand(journal: Any) -> None:
    """What comes after it is given the value."""
    stuck_forward(journal)

    resolve(journal, "x", "c", Status.SUCCEEDED, {"parcel": 7}, **WHO)

    assert outcomes(journal) == [SagaStatus.COMPLETED]
    results = forward().orchestrator_execute(journal=journal, saga_id="x")
    assert results["c"] == {"parcel": 7}
    assert depot.log == ["a", "b", "c", "d"]


def test_what_was_decided_about_is_free_for_workers_of_other_processes(journal: Any) -> None:
    """At once: whoever has decided may live on for days and write nothing more."""
    stuck(journal)
    again(journal, "x", **WHO)

    assert seen(journal, "x").owner == 0


def test_a_decision_is_written_with_who_and_why(journal: Any) -> None:
    """In the row of the entry that it made."""
    stuck(journal)
    resolve(journal, "x", "b", Status.SKIPPED, who="ada", why="ticket 7")

    seen = journal.find("x")
    note, entry = json.loads(journal.rows([seen.number])[seen.number][-1].body)
    assert note == ["note", {"who": "ada", "why": "ticket 7", "did": "resolve b as skipped"}]
    assert entry[:2] == ["resolved", 1]


@pytest.mark.parametrize("who", ["", "  ", None])
def test_a_decision_without_a_name_is_refused(journal: Any, who: Any) -> None:
    """Whatever is decided: nobody could be asked about it later."""
    stuck(journal)
    before = journal.find("x")

    for decide in (again, compensate):
        with pytest.raises(DecisionError, match="who: expected the name of whoever decides, got"):
            decide(journal, "x", who=who, why="looked it up")
    with pytest.raises(DecisionError, match="who: expected the name of whoever decides, got"):
        resolve(journal, "x", "b", Status.COMPENSATED, who=who, why="looked it up")

    assert journal.find("x") == before


@pytest.mark.parametrize("why", ["", " \n", None])
def test_a_resolution_without_a_reason_is_refused(journal: Any, why: Any) -> None:
    """It says what nobody but this person knows; whatever else is decided needs none."""
    stuck(journal)
    before = journal.find("x")

    with pytest.raises(DecisionError, match="why: expected how it is known what came of the"):
        resolve(journal, "x", "b", Status.COMPENSATED, who="ada", why=why)

    assert journal.find("x") == before
    assert again(journal, "x", who="ada", why="") is SagaStatus.COMPENSATING


@pytest.mark.parametrize("why", [None, b"ticket", 7])
def test_a_reason_that_is_no_text_is_refused(journal: Any, why: Any) -> None:
    """Before anything is claimed."""
    stuck(journal)
    before = journal.find("x")

    for decide in (again, compensate):
        with pytest.raises(DecisionError, match="why: expected a text, got"):
            decide(journal, "x", who="ada", why=why)
    if why is not None:
        with pytest.raises(SagaDefinitionError, match="takeover: why: expected a text, got"):
            takeover(journal, "x", who="ada", why=why)

    assert journal.find("x") == before


def test_a_name_that_is_no_unicode_is_written_all_the_same(journal: Any) -> None:
    """The system may know one only as bytes."""
    stuck(journal)
    resolve(journal, "x", "b", Status.SKIPPED, who="ad\udcffa", why="\ud800")

    seen = journal.find("x")
    note = json.loads(journal.rows([seen.number])[seen.number][-1].body)[0]
    assert (note[1]["who"], note[1]["why"]) == ("ad?a", "?")


@pytest.mark.parametrize("wrong", ["sagas.db", SQLiteJournal])
def test_what_is_no_journal_is_refused(wrong: Any) -> None:
    """A path is what one gives first."""
    for decide in (
        lambda: resolve(wrong, "x", "a", Status.FAILED, **WHO),
        lambda: again(wrong, "x", **WHO),
        lambda: compensate(wrong, "x", **WHO),
        lambda: purge_all(wrong, []),
    ):
        with pytest.raises(SagaDefinitionError, match="repair: journal: expected a journal"):
            decide()


def test_what_is_no_status_resolves_nothing(journal: Any) -> None:
    """Its name is none."""
    stuck(journal)
    before = journal.find("x")

    with pytest.raises(DecisionError, match=r"status: expected Status\.SUCCEEDED, .*, got str"):
        resolve(journal, "x", "b", "compensated", **WHO)  # type: ignore[arg-type]

    assert journal.find("x") == before


def test_an_open_saga_that_nobody_drives_is_undone(journal: Any) -> None:
    """Where recovery would have gone forward."""
    order().start(journal=journal, saga_id="new")

    assert compensate(journal, "new", **WHO) is SagaStatus.COMPENSATED
    assert depot.log == []


def test_what_has_passed_its_pivot_is_not_undone(journal: Any) -> None:
    """It can only go forward."""
    stuck_forward(journal)

    words = "c cannot be resolved as failed, only as succeeded: the saga has passed its pivot"
    with pytest.raises(DecisionError, match="has passed its pivot"):
        compensate(journal, "x", **WHO)
    with pytest.raises(DecisionError, match=words):
        resolve(journal, "x", "c", Status.FAILED, **WHO)
    assert journal.find("x").status is SagaStatus.STUCK


def test_what_succeeded_after_all_is_not_said_to_have_failed(journal: Any) -> None:
    """Its effect would stand for ever: a call that was given up is on record as a success."""
    go_on = threading.Event()
    depot.behaviour["a"] = lambda: go_on.wait(PATIENCE)
    saga = SagaAssembler.saga().operation(
        (do, "a"), (undo, "a"), name="a", timeout=0.05, on_doubt="park"
    )
    with pytest.raises(SagaStuck):
        saga.operation((do, "b")).orchestrator_execute(journal=journal, saga_id="x")
    go_on.set()
    limit = time.monotonic() + 60
    while '"succeeded",0' not in bodies(journal, "x")[-1] or journal.drives(journal.find("x")):
        assert time.monotonic() < limit
        time.sleep(0.01)

    with pytest.raises(DecisionError, match="succeeded after all, as is on record"):
        resolve(journal, "x", "a", Status.FAILED, **WHO)

    assert again(journal, "x", **WHO) is SagaStatus.COMPENSATING
    assert outcomes(journal) == [SagaStatus.COMPENSATED]
    assert depot.standing == []


def test_what_is_not_stuck_is_not_resolved(journal: Any) -> None:
    """Nothing is changed."""
    stuck(journal)
    rows = journal.rows([journal.find("x").number])

    with pytest.raises(DecisionError, match="a is compensated, and only what is stuck can be"):
        resolve(journal, "x", "a", Status.COMPENSATED, **WHO)
    with pytest.raises(LookupError, match="no operation 'z'; there are a, b, c"):
        resolve(journal, "x", "z", Status.COMPENSATED, **WHO)
    with pytest.raises(LookupError, match="no saga 'y'"):
        resolve(journal, "y", "a", Status.COMPENSATED, **WHO)

    assert journal.rows([journal.find("x").number]) == rows


def test_what_has_ended_is_not_touched(journal: Any) -> None:
    """No decision is left to make."""
    order().orchestrator_execute(journal=journal, saga_id="x")

    for decide in (again, compensate):
        with pytest.raises(DecisionError, match="has ended: it is completed"):
            decide(journal, "x", **WHO)


def test_what_runs_is_not_touched(journal: Any) -> None:
    """Whoever drives it would not hear of it."""
    errors: list[BaseException] = []

    def decide() -> None:
        with pytest.raises(SagaInProgress) as caught:
            compensate(journal, "x", **WHO)
        errors.append(caught.value)

    depot.behaviour["b"] = decide
    order().orchestrator_execute(journal=journal, saga_id="x")

    assert len(errors) == 1


def test_a_parked_saga_goes_on_when_a_person_says_so(journal: Any) -> None:
    """Its tries are counted anew."""
    order().start(journal=journal, saga_id="x")
    assert outcomes(Elsewhere(journal)) == [SagaStatus.STUCK]
    assert outcomes(journal) == []

    assert again(journal, "x", **WHO) is SagaStatus.RUNNING

    assert journal.find("x").tries == 0
    assert outcomes(journal) == [SagaStatus.COMPLETED]


class Elsewhere:
    """A journal in a process where the functions are not to be found, as in any other."""

    spans_deploys = False

    def __init__(self, journal: Any) -> None:
        self._journal = journal
        self.names = MemoryJournal().names

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


def test_a_saga_that_waits_to_be_tried_again_is_due_when_a_person_says_so(journal: Any) -> None:
    """Nothing of it is stuck: its tries are counted anew, and recovery need not wait."""
    order().start(journal=journal, saga_id="x")
    claim = claim_of(journal, Take(journal.find("x"), counted=True, delay=3600.0))
    journal.leave(claim)
    assert journal.find("x").tries == 1
    assert outcomes(journal) == []

    assert again(journal, "x", **WHO) is SagaStatus.RUNNING

    assert journal.find("x").tries == 0
    assert outcomes(journal) == [SagaStatus.COMPLETED]


def test_what_goes_forward_is_not_resolved_as_undone(journal: Any) -> None:
    """The refusal gives the reason in words."""
    saga = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a", on_doubt="park")
    crashed(journal, saga.operation((do, "b"), name="b"), 1)
    assert outcomes(journal) == [SagaStatus.STUCK]

    for status in (Status.COMPENSATED, Status.SKIPPED):
        words = "only as failed or succeeded: the saga goes forward"
        with pytest.raises(DecisionError, match=f"a cannot be resolved as {status.value}, {words}"):
            resolve(journal, "x", "a", status, **WHO)
    assert resolve(journal, "x", "a", Status.SUCCEEDED, "A", **WHO) is SagaStatus.RUNNING


def test_a_purged_saga_is_remembered(journal: Any) -> None:
    """Its id stays taken: the same saga does not run again, another one is a conflict."""
    from py_api_saga import SagaConflict  # noqa: PLC0415

    order().orchestrator_execute(journal=journal, saga_id="x")
    purge(journal, journal.find("x"))

    assert journal.rows([journal.find("x").number])[journal.find("x").number] == []
    with pytest.raises(SagaConflict, match=r"has run before and was completed; .* was purged"):
        order().orchestrator_execute(journal=journal, saga_id="x")
    other = SagaAssembler.saga(name="depot").operation((do, "z"), name="a")
    with pytest.raises(SagaConflict, match="is that of another saga"):
        other.orchestrator_execute(journal=journal, saga_id="x")
    assert depot.log == ["a", "b", "c"]


def test_a_forgotten_saga_may_run_again(journal: Any) -> None:
    """Its id is free."""
    order().orchestrator_execute(journal=journal, saga_id="x")
    purge(journal, journal.find("x"), forget=True)

    assert journal.find("x") is None
    order().orchestrator_execute(journal=journal, saga_id="x")
    assert depot.log == ["a", "b", "c"] * 2


def test_what_has_not_ended_is_not_purged(journal: Any) -> None:
    """Somebody needs it yet."""
    stuck(journal)

    with pytest.raises(DecisionError, match="has not ended: it is stuck"):
        purge(journal, journal.find("x"))


def test_a_pivot_that_a_person_has_found_not_to_have_happened_is_rolled_back(journal: Any) -> None:
    """Nobody knew when it was asked about."""
    depot.behaviour["p"] = fail(TimeoutError("no answer"))
    depot.behaviour["ask p"] = lambda: UNKNOWN
    saga = (
        SagaAssembler.saga()
        .operation((do, "a"), (undo, "a"), name="a")
        .operation((do, "p"), name="p", pivot=True, on_doubt=depot.ask)
    )
    with pytest.raises(SagaStuck):
        saga.orchestrator_execute(journal=journal, saga_id="x")

    assert resolve(journal, "x", "p", Status.FAILED, **WHO) is SagaStatus.COMPENSATING

    assert [done.outcome for done in recover(journal)] == [SagaStatus.COMPENSATED]
    assert depot.standing == []
