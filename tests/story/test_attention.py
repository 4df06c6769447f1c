"""Which sagas need a person, as data: what a monitor counts, and what a page shows first."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import depot
import pytest
import recorded
from depot import do
from pending import KEY, pending

from py_api_saga import Retry, SagaAssembler, answer, recover, repair
from py_api_saga.journal.changes import Append
from py_api_saga.story.attention import attention, retrying


@pytest.fixture
def journal() -> Iterator[Any]:
    """A journal in a file, which a view reads."""
    with recorded.opening("wal") as journal:
        yield journal


def age(journal: Any, seconds: int) -> None:
    """Have all that is on record be older."""
    journal.close()
    with closing(sqlite3.connect(journal.path)) as connection, connection:
        connection.execute("UPDATE saga SET changed = changed - ?", (seconds * 1000,))
        connection.execute("UPDATE entry SET at = at - ?", (seconds * 1000,))


def test_of_what_is_overdue_a_few_are_enough(journal: Any) -> None:
    """For a page: the oldest, and no more are read; all that are stuck are told without a look."""
    recorded.begun(journal, 50, recorded.order)
    recorded.stuck(journal, "bad")
    age(journal, 600)
    read: list[int] = []

    with journal.reader() as view:
        all_of_them = attention(view)

        def rows(numbers: Any) -> Any:
            read.extend(numbers)
            return view.rows(numbers)

        watched: Any = recorded.Wrapped(view, rows=rows)
        few = attention(watched, most=5)

    assert [seen.saga_id for seen in few.stuck] == ["bad"]
    assert [seen.saga_id for seen in few.overdue] == [f"x{n}" for n in range(20)]
    assert len(read) == 20
    assert (len(all_of_them.overdue), len(few.unfinished), len(all_of_them.unfinished)) == (
        50,
        50,
        50,
    )
    assert [seen.saga_id for seen in few.concern][:2] == ["bad", "x0"]


def driven(journal: Any, saga_id: str, *rows: str) -> None:
    """Have this process drive a saga that has come so far."""
    again = Retry(ValueError, attempts=9)
    made = SagaAssembler.saga(name="flaky").operation((do, "a"), name="pay", retry=again)
    made.start(journal=journal, saga_id=f"like-{saga_id}")
    claim = recorded.begin(journal, saga_id, recorded.bodies(journal, f"like-{saga_id}")[0])
    for row in rows:
        journal.write(change := Append(claim, row, None))
        change.check()


STARTED = '[["started",0,"action",1,1]]'
SETBACK = '[["retry",0,"action",1,1,[["builtins.ValueError","not yet"],9.0]]]'


def test_what_only_tries_again_is_told(journal: Any) -> None:
    """By its status it runs, like all others that are open."""
    driven(journal, "runs", STARTED)
    driven(journal, "tries", STARTED, SETBACK)
    driven(journal, "goes-on", STARTED, SETBACK, '[["started",0,"action",2,1]]')
    driven(journal, "odd", STARTED, '[["retry"]]')
    driven(journal, "named-so", '[["note",{"who":"ada","did":"\\"retry\\"","why":"retry"}]]')

    with journal.reader() as view:
        found = attention(view)
        (one,) = retrying(view, found, 5)

    assert (one.seen.saga_id, one.operation, one.attempts) == ("tries", "pay", 1)
    assert one.says == "ValueError('not yet')"


@pytest.mark.parametrize("kind", ["wal", *recorded.SERVED])
def test_an_answer_that_nobody_takes_in_is_overdue(kind: str) -> None:
    """In whatever a journal is kept; ended or not, and as long as nobody goes on."""
    depot.reset()
    with recorded.opening(kind) as journal:
        pending(journal, timeout=None)
        pending(journal, "over", timeout=None)
        repair.compensate(journal, "over", **recorded.WHO)
        recover(journal)
        pending(journal, "waits", timeout=None)

        def told(grace: float) -> tuple[list[str], list[str], int]:
            with journal.reader() as view:
                found = attention(view, grace)
            names = [seen.saga_id for seen in found.overdue if seen.number in found.unheard]
            return names, [seen.saga_id for seen in found.waiting], len(found.unfinished)

        assert told(-1.0) == ([], ["waits", "x"], 2)
        for key in (KEY, "over:b:action"):
            answer(journal, key, result="B", go_on=False)
        assert told(300.0)[0] == []
        assert told(-1.0) == (["over", "x"], ["waits", "x"], 2)
        recover(journal)
        assert told(-1.0) == ([], ["waits"], 1)
    depot.reset()
