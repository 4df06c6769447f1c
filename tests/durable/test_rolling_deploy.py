"""A release is rolled out machine by machine: the old code meets sagas of the new one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import depot
import pytest
from recorded import bodies, opening, order, seen, status

from py_api_saga import Recovered, SagaAssembler, SagaStatus, arecover, recover, takeover
from py_api_saga.journal import Journal, MemoryJournal, SQLiteJournal
from py_api_saga.journal.format.functions import Functions

Recover = Callable[[Journal], list[Recovered]]


@pytest.fixture(params=["memory", "wal", "postgresql"])
def shared(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A journal that processes of another release use, with a saga that is theirs."""
    depot.reset()
    monkeypatch.setattr(MemoryJournal, "spans_deploys", True)
    monkeypatch.setattr(SQLiteJournal, "spans_deploys", True)
    with opening(request.param) as journal:
        order().start(journal=journal, saga_id="x")
        yield journal
    depot.reset()


def without(journal: Any, *modules: str) -> Any:
    """Give it the names of an old release."""
    journal.names = Functions(modules)
    return journal


RECOVER = pytest.mark.parametrize(
    "go_on",
    [
        recover,
        lambda journal: recover(journal, max_workers=0),
        lambda journal: asyncio.run(arecover(journal)),
    ],
    ids=["threads", "alone", "asyncio"],
)


@RECOVER
def test_what_a_process_lacks_it_leaves_to_others(shared: Any, go_on: Recover) -> None:
    """As it was before the claim, but for a note; and it does not look at it again."""
    before = seen(shared, "x")

    [found] = go_on(without(shared))

    assert (found.saga_id, found.outcome) == ("x", SagaStatus.RUNNING)
    assert str(found.error) == (
        "this process lacks depot:do, which one of another release may have"
    )
    after = seen(shared, "x")
    assert (after.status, after.tries, after.due) == (SagaStatus.RUNNING, 0, before.due)
    assert after.owner == 0
    assert json.loads(bodies(shared, "x")[-1])[0][1]["waits_for"] == "depot:do"
    assert depot.log == []
    assert go_on(shared) == []


@RECOVER
def test_a_process_that_has_it_goes_on(shared: Any, go_on: Recover) -> None:
    """With nothing lost: neither a try nor an entry."""
    go_on(without(shared))
    _another_process(shared)

    [found] = go_on(without(shared, "depot"))

    assert (found.outcome, found.error) == (SagaStatus.COMPLETED, None)


def _another_process(journal: Any) -> None:
    """Forget what this one has found that it lacks."""
    for place in ("_barred", "shared.desk.barred", "bench.desk.barred"):
        found = journal
        for part in place.split("."):
            found = getattr(found, part, None)
        if found is not None:
            found.clear()


def test_one_note_is_enough(shared: Any) -> None:
    """However many processes look: so rows do not grow with them."""
    without(shared)
    for _ in range(3):
        assert len(recover(shared)) == 1
        _another_process(shared)

    assert len(bodies(shared, "x")) == 2
    shared.names = Functions(["json"], {"depot:do": "json:nothing"})
    recover(shared)
    assert len(bodies(shared, "x")) == 2  # by the name that is on record


def test_others_are_gone_on_with_meanwhile(shared: Any) -> None:
    """However many lack something: that says nothing of how this process is set up."""
    for number in range(5):
        order().start(journal=shared, saga_id=f"y{number}")
    SagaAssembler.saga().operation((json.dumps, 1)).start(
        journal=without(shared, "json"), saga_id="z"
    )

    found = {one.saga_id: one.outcome for one in recover(without(shared, "json"), max_workers=1)}

    assert found.pop("z") is SagaStatus.COMPLETED
    assert set(found.values()) == {SagaStatus.RUNNING}


def test_a_rollback_waits_as_well(shared: Any) -> None:
    """Nobody undoes a half of it, nor takes it over for good."""
    error = takeover(without(shared), "x").error
    assert "this process lacks depot:do" in str(error)
    assert seen(shared, "x").tries == 0


def test_what_nobody_can_have_is_parked(shared: Any) -> None:
    """A name that is internal to Python: no release has it."""
    body = bodies(shared, "x")[0]
    [found] = recover(_Altered(shared, body.replace("depot:do", "depot:__class__")))

    assert found.outcome is SagaStatus.STUCK


class _Altered:
    """A journal whose rows are others."""

    def __init__(self, journal: Any, body: str) -> None:
        self._journal, self._body = journal, body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def rows(self, numbers: Any) -> Any:
        """Give rows that begin with this one."""
        found = self._journal.rows(numbers)
        return {number: [rows[0]._replace(body=self._body)] for number, rows in found.items()}


@pytest.mark.parametrize("kind", ["memory", "wal"])
def test_where_one_machine_has_one_release_it_is_parked_at_once(kind: str) -> None:
    """Nobody is to come who has what is lacking: a person is told."""
    depot.reset()
    with opening(kind) as journal:
        order().start(journal=journal, saga_id="x")

        [found] = recover(without(journal))

        assert found.outcome is SagaStatus.STUCK
        assert status(journal, "x") is SagaStatus.STUCK
