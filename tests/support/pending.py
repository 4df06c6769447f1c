"""Sagas of the depot that wait for answers, and what was made of time since."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

import depot
import pytest
from depot import fail
from recorded import chain

from py_api_saga import SagaAssembler, SagaPending, later
from py_api_saga.entries import LATER

HOUR = 3600.0
KEY = "x:b:action"  # of what `pending` leaves to be answered


def pending(
    journal: Any,
    saga_id: str = "x",
    made: SagaAssembler | None = None,
    of: str = "b",
    deadline: float | None = None,
    **given: Any,
) -> SagaPending:
    """Leave a saga that waits for an answer to an action, for an hour unless it is said how."""
    depot.behaviour[of] = lambda: later(**(given or {"timeout": HOUR}))
    return _left(journal, saga_id, chain("a", "b", "c") if made is None else made, deadline)


def undo_pending(journal: Any, saga_id: str = "x", **given: Any) -> SagaPending:
    """Leave a saga whose third action has failed, and which waits for the undo of the second."""
    depot.behaviour["c"] = fail(ValueError("no courier"))
    depot.behaviour["undo b"] = lambda: later(**(given or {"timeout": HOUR}))
    return _left(journal, saga_id, chain("a", "b", "c"))


def _left(
    journal: Any, saga_id: str, made: SagaAssembler, deadline: float | None = None
) -> SagaPending:
    with pytest.raises(SagaPending) as waits:
        made.orchestrator_execute(journal=journal, saga_id=saga_id, deadline=deadline)
    depot.behaviour.clear()
    return waits.value


def pass_by(journal: Any, seconds: float) -> None:
    """Let time pass on a journal in a file: all that is on record is so many seconds older."""
    journal.close()
    by = int(seconds * 1000)
    with closing(sqlite3.connect(journal.path)) as connection, connection:
        connection.execute("UPDATE saga SET created = created - ?, changed = changed - ?", (by, by))
        connection.execute(
            "UPDATE saga SET due = max(due - ?, 1) WHERE due BETWEEN 1 AND 253402300798999", (by,)
        )
        connection.execute("UPDATE entry SET at = at - ?", (by,))
        connection.execute("UPDATE mail SET at = at - ?", (by,))
        rows = connection.execute("SELECT rowid, body FROM entry").fetchall()
        aged = [(_aged(body, seconds), row) for row, body in rows]
        connection.executemany("UPDATE entry SET body = ? WHERE rowid = ?", aged)


def _aged(body: str, seconds: float) -> str:
    """Give a row whose calls wait until so much sooner."""
    lines = json.loads(body)
    for line in lines:
        if line[0] == LATER and line[5][0] is not None:
            line[5][0] -= seconds
    return json.dumps(lines)
