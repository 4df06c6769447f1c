"""Stories of sagas whose rows are written by hand: what has no other way to be so, at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from py_api_saga import SagaStatus
from py_api_saga.journal import MemoryJournal
from py_api_saga.journal.changes import Row, Summary
from py_api_saga.journal.format.values import Trees
from py_api_saga.story.saga import Story, told

BEGIN = 1_799_999_990.0  # seconds since 1970: just before a new day


class Looked(MemoryJournal):
    """A journal that is looked at, at a time, and knows who drives what."""

    def __init__(self, at: float, *, driven: bool | None, **options: Any) -> None:
        super().__init__(modules=["depot"], **options)
        self._at, self._driven = at, driven

    def now(self) -> float:
        return self._at

    def drives(self, _seen: Summary) -> Any:
        return self._driven


def operation(name: str, after: Sequence[int] | None = None, **more: Any) -> dict[str, Any]:
    """Write down an operation that can be undone."""
    made = {"name": name, "do": ["depot:do", [name]], "undo": ["depot:undo", [name]], **more}
    return made if after is None else {**made, "after": [*after]}


def story(
    *rows: tuple[float, list[Any]],
    operations: Sequence[Any] = ("a", "b"),
    status: SagaStatus = SagaStatus.COMPLETED,
    now: float = 60.0,
    driven: bool | None = False,
    saga_id: str = "x",
    name: str | None = "depot",
    **tree: Any,
) -> Story:
    """Tell a saga.

    Args:
        rows: Each entry with when it was written, seconds since the saga was begun.
        operations: Names, or what `operation` gives.
        status: Where the saga stands.
        now: When it is looked at, seconds since it was begun.
        driven: Whether a process drives it.
        saga_id: Its id.
        name: What it is called.
        tree: More of its definition.
    """
    made = [operation(one) if isinstance(one, str) else one for one in operations]
    defined = {"format": 1, "name": name, "operations": made, **tree}
    bodies = [(0.0, ["defined", defined]), *rows]
    written = [Row(n, BEGIN + at, json.dumps([entry])) for n, (at, entry) in enumerate(bodies, 1)]
    changed = BEGIN + bodies[-1][0]
    seen = Summary(1, saga_id, name, status, 0, 1, 0, BEGIN, changed, 0.0, None)
    journal = Looked(BEGIN + now, driven=driven)
    return told(journal, seen, written, Trees(journal), [])


# --- entries --------------------------------------------------------------------------------------


def started(i: int, attempt: int = 1, kind: str = "action", generation: int = 1) -> list[Any]:
    """A call is about to be made."""
    return ["started", i, kind, attempt, generation]


def ended(
    what: str,
    i: int,
    value: Any = None,
    attempt: int = 1,
    kind: str = "action",
    generation: int = 1,
    facts: Sequence[int] | None = None,
) -> list[Any]:
    """A call has ended, as it may; facts are when it began and how long it took."""
    entry = [what, i, kind, attempt, generation, value]
    return entry if facts is None else [*entry, facts]


def error(text: str = "no bank") -> list[Any]:
    """An error, as it is written."""
    return ["builtins.OSError", text]
