"""What recovery can make nothing of: it is parked, or left as it is, and nobody is kept waiting."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import depot
import pytest
from pending import KEY, pending
from recorded import Faulty, Wrapped, chain, crashed, seen, status
from world import PATIENCE

from py_api_saga import (
    JournalError,
    SagaDefinitionError,
    SagaStatus,
    answer,
    arecover,
    recover,
    takeover,
)
from py_api_saga.durable import recovery
from py_api_saga.journal import MemoryJournal, SQLiteJournal
from py_api_saga.journal.changes import Take
from py_api_saga.journal.format.json_text import dumps, loads
from py_api_saga.repair import purge


def test_a_journal_that_cannot_be_read_parks_nothing(journal: Any) -> None:
    """It is tried again later."""
    chain("a").start(journal=journal, saga_id="x")

    def rows(_: object) -> Any:
        raise JournalError("too many open files")

    (done,) = recover(Wrapped(journal, rows=rows))

    assert done.outcome is SagaStatus.RUNNING
    assert takeover(journal, "x").outcome is SagaStatus.COMPLETED


def test_what_is_parked_over_an_answer_is_left_to_a_person(journal: Any) -> None:
    """It has ended, and has mail: it is not claimed and parked again at each look."""
    pending(journal)
    answer(journal, KEY, result=1, go_on=False)
    for _ in range(2):  # as if processes had died over it
        journal.write(take := Take(seen(journal, "x"), counted=True))
        journal.leave(take.check())
    (done,) = recover(journal, max_tries=2)
    assert done.outcome is SagaStatus.STUCK
    parked = seen(journal, "x")

    assert recover(journal, max_tries=2) == []
    assert seen(journal, "x") == parked
    assert [one.saga_id for one in journal.waiting()] == ["x"]
    assert answer(journal, KEY, result=1).known


def test_a_park_that_cannot_be_written_is_not_reported(journal: Any) -> None:
    """The saga is as it was, and nobody drives it."""
    chain("a").start(journal=journal, saga_id="x")
    stranger = Wrapped(Faulty(journal, 0), names=MemoryJournal().names, spans_deploys=False)

    (done,) = recover(stranger)

    assert (done.outcome, type(done.error)) == (SagaStatus.RUNNING, JournalError)
    assert takeover(journal, "x").outcome is SagaStatus.COMPLETED


def test_a_takeover_does_not_count_tries(journal: Any) -> None:
    """Whoever takes a saga over knows what they do."""
    chain("a").start(journal=journal, saga_id="x")
    assert recover(Faulty(journal, 0), max_tries=1)[0].outcome is SagaStatus.RUNNING

    assert takeover(journal, "x").outcome is SagaStatus.COMPLETED


@pytest.mark.parametrize(
    "options",
    [
        {"max_workers": -1},
        {"max_workers": 2.5},
        {"limit": -1},
        {"max_tries": 0},
        {"max_tries": "10"},
    ],
)
def test_numbers_that_make_no_sense_are_refused(journal: Any, options: dict[str, Any]) -> None:
    """Before anything is claimed."""
    chain("a").start(journal=journal, saga_id="x")

    with pytest.raises(SagaDefinitionError, match=r"a whole number of at least [01]"):
        recover(journal, **options)
    with pytest.raises((SagaDefinitionError, ExceptionGroup)):
        asyncio.run(arecover(journal, **options))

    assert depot.log == []
    assert status(journal) is SagaStatus.RUNNING


@pytest.mark.parametrize("wrong", ["sagas.db", None, SQLiteJournal])
def test_what_is_no_journal_is_refused_in_words(wrong: Any) -> None:
    """A path is what one gives first."""
    for use in (
        recover,
        lambda journal: asyncio.run(arecover(journal)),
        lambda journal: takeover(journal, "x"),
    ):
        with pytest.raises(
            SagaDefinitionError, match="journal: expected a journal, such as SQLiteJournal"
        ):
            use(wrong)


@pytest.mark.parametrize("journal", [MemoryJournal, partial(SQLiteJournal, "sagas.db")])
def test_one_name_is_no_list_of_modules(journal: Any) -> None:
    """Each of its letters would be one."""
    with pytest.raises(TypeError, match="modules: expected a list of names, got the string"):
        journal(modules="depot")


def test_what_waits_for_a_worker_may_run_elsewhere(journal: Any) -> None:
    """No more is claimed than there are workers."""
    for saga_id in ("x", "y", "z"):
        chain("a").start(journal=journal, saga_id=saga_id)
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        if not begun.is_set():
            begun.set()
            assert go_on.wait(PATIENCE)

    depot.behaviour["a"] = slow
    thread = threading.Thread(target=recover, args=(journal,), kwargs={"max_workers": 1})
    thread.start()
    assert begun.wait(PATIENCE)

    elsewhere = {done.saga_id for done in recover(journal)}
    go_on.set()
    thread.join(PATIENCE)

    assert elsewhere == {"y", "z"}


def test_a_person_may_take_over_what_recovery_no_longer_tries(journal: Any) -> None:
    """However often its process has died."""
    crashed(journal, chain("a"), 1)
    for _ in range(recovery.MAX_TRIES):
        journal.write(take := Take(seen(journal, "x"), counted=True))
        journal.leave(take.check())

    assert takeover(journal, "x").outcome is SagaStatus.COMPLETED


def test_a_saga_of_no_shape_is_not_purged(journal: Any) -> None:
    """What it was to do could not be remembered."""
    chain("a").orchestrator_execute(journal=journal, saga_id="x")
    seen = journal.find("x")
    (first, *_) = journal.rows([seen.number])[seen.number]
    broken = first._replace(body='[["defined",{"format":1}]]')

    wrapped: Any = Wrapped(journal, rows=lambda _: {seen.number: [broken]})
    with pytest.raises(JournalError, match="saga 'x' cannot be read"):
        purge(wrapped, seen)

    assert journal.find("x").digest is None


DAMAGED = [
    "3",
    "[3]",
    "[[]]",
    '[["defined",3]]',
    '[["defined",{}]]',
    '[["defined",{"format":1,"name":"depot"}]]',
    '[["defined",{"format":1,"name":"depot","operations":3}]]',
    '[["defined",{"format":1,"name":"depot","operations":[{"do":["depot:do"]}]}]]',
]


@pytest.mark.parametrize("body", DAMAGED)
def test_who_gives_the_id_of_a_saga_that_is_damaged_is_told_so(journal: Any, body: str) -> None:
    """Whatever is in its rows; nothing of it is called."""
    chain("a").start(journal=journal, saga_id="x")
    seen = journal.find("x")
    (first,) = journal.rows([seen.number])[seen.number]
    broken = Wrapped(journal, rows=lambda _: {seen.number: [first._replace(body=body)]})

    with pytest.raises(JournalError, match="saga 'x' cannot be read"):
        chain("a").orchestrator_execute(journal=broken, saga_id="x")

    assert depot.log == []


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree.update(operations=[]),
        lambda tree: tree.update(until="soon"),
        lambda tree: tree["operations"][0].update(timeout="long"),
        lambda tree: tree.update(layout={"items": [1], "places": {}}),
    ],
)
def test_a_definition_that_makes_no_sense_is_parked_at_once(journal: Any, change: Any) -> None:
    """To try it again would help nobody."""
    chain("a").start(journal=journal, saga_id="x")
    seen = journal.find("x")
    (first,) = journal.rows([seen.number])[seen.number]
    entries = loads(first.body)
    change(entries[0][1])
    row = first._replace(body=dumps(entries))

    (done,) = recover(Wrapped(journal, rows=lambda _: {seen.number: [row]}))

    assert (done.outcome, status(journal, "x")) == (SagaStatus.STUCK, SagaStatus.STUCK)
    assert "cannot be read" in str(done.error)
