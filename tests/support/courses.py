"""Sagas of the depot as engines drive them, by a course, with whoever makes their calls.

`begin` gives the rows of a saga that was submitted. `Helm` drives its course by hand: it makes
calls start, and says what came of each, at times that it makes up.
"""

from __future__ import annotations

import json
from typing import Any

from depot import do, undo

from py_api_saga import SagaAssembler, SagaStatus
from py_api_saga.engines.course import Asked, Course
from py_api_saga.engines.rows import Rows, readable
from py_api_saga.entries import Attempt
from py_api_saga.execution import Execution
from py_api_saga.journal import MemoryJournal
from py_api_saga.journal.format.sagas import Recorded, read_rows
from py_api_saga.journal.format.values import Trees, Values

ERROR = ["builtins.ValueError", "no"]
_MEMORY = MemoryJournal(modules=["depot"])
TREES = Trees(_MEMORY)


def chain(*names: str, **options: Any) -> SagaAssembler:
    """Make a saga of operations in a row, each with a compensation."""
    saga = SagaAssembler.saga(**options)
    for name in names:
        saga.operation((do, name), (undo, name), name=name)
    return saga


def begin(
    saga: Any,
    *,
    at: float = 0.0,
    at_once: bool = False,
    limit: int | None = None,
    deadline: float | None = None,
    codec: Any = None,
) -> Rows:
    """Give the rows of a saga that was submitted at a time of which nobody has a clock."""
    journal = MemoryJournal(modules=["depot"], codec=codec)
    saga_id = saga.start(journal=journal, at_once=at_once)
    seen = journal.find(saga_id)
    assert seen is not None
    (row,) = journal.rows([seen.number])[seen.number]
    tree = json.loads(row.body)
    if limit is not None:
        tree[0][1]["limit"] = limit
    if deadline is not None:
        tree[0][1]["until"] = at + deadline
    return [(at, json.dumps(tree))]


def told(rows: Rows) -> list[Any]:
    """Give all that was told of a saga, without its definition, parsed."""
    return [line for _, body in rows for line in json.loads(body)][1:]


def plain(lines: list[Any]) -> list[Any]:
    """Leave out what only people read, and the null that stands before it."""
    cut = [line[:6] for line in lines if line[0] != "letter"]
    return [line[:5] if line[5:] == [None] else line for line in cut]


def words(rows: Rows) -> list[str]:
    """Say what was told of a saga, in words: `started a`, `lost undo b`, `abort`."""
    names = [item["name"] for item in json.loads(rows[0][1])[0][1]["operations"]]
    said = []
    for what, *more in told(rows):
        kinds = {"action": "", "compensation": "undo ", "ask": "ask "}
        is_of_call = len(more) > 1 and more[1] in kinds
        said.append(f"{what} {kinds[more[1]]}{names[more[0]]}" if is_of_call else what)
    return said


def folded(rows: Rows, values: Values = TREES) -> tuple[Recorded, Execution]:
    """Read rows as whoever shows or repairs a saga does."""
    recorded = read_rows(readable(rows), values)
    return recorded, Execution(recorded.definition, recorded.entries)


def through_the_wire(rows: Rows) -> Rows:
    """Give rows as they come back from an engine."""
    carried: Rows = [tuple(row) for row in json.loads(json.dumps(rows))]
    return carried


class Helm:
    """Drives a course by hand.

    Attributes:
        course: What is driven.
        now: Seconds since 1970.
        flight: The calls that nobody has told the end of, by operation and kind ("undo a", "ask
            a"); the last one of each.
        asked: All calls that were asked for, in order.
    """

    def __init__(self, rows: Rows, now: float = 1.0, saga_id: str = "x") -> None:
        self.saga_id, self.now = saga_id, now
        self.course = Course(saga_id, rows, now)
        self.flight: dict[str, Asked] = {}
        self.asked: list[Asked] = []

    def start(self) -> list[str]:
        """Have all calls begin that may, and name them."""
        begun = self.course.calls(self.now)
        signs = {"action": "", "compensation": "undo ", "ask": "ask "}
        named = {f"{signs[asked.kind]}{asked.name}": asked for asked in begun}
        self.flight |= named
        self.asked += begun
        return [*named]

    def tell(self, what: str, name: str, *value: Any) -> str:
        """Say what came of a call in flight; gives the line."""
        line = json.dumps([what, *self.flight.pop(name).attempt, *value])
        self.course.tell(line, self.now)
        return line

    def do(self, *names: str, result: Any = None) -> None:
        """Have these calls begin, one after the other, and succeed."""
        for name in names:
            if name not in self.flight:
                self.start()
            self.tell("succeeded", name, f"{name} done" if result is None else result)

    def fail(self, name: str, what: str = "failed", *more: Any) -> None:
        """Have a call begin, and fail; or whatever else an error says."""
        if name not in self.flight:
            self.start()
        value = [ERROR, *more] if more else ERROR
        self.tell(what, name, value)

    def give_up(self, name: str) -> Attempt:
        """Give a call up that goes on."""
        attempt = self.flight[name].attempt
        self.fail(name, "in doubt", None, True, False)
        return attempt

    def give_up_after_start(self, name: str) -> Attempt:
        """Have a call begin, and give it up."""
        self.start()
        return self.give_up(name)

    def cancel(self) -> None:
        """Have the saga stop."""
        self.course.tell(json.dumps(["abort", -1, "", 0, 0, ERROR]), self.now)

    def answer(self, key: str, result: Any = "answer", *, error: Any = None) -> None:
        """Answer a call, by its key without the saga's id."""
        body = ["answered", result, None] if error is None else ["denied", error, None]
        self.course.tell(json.dumps(["letter", f"x:{key}", json.dumps(body)]), self.now)

    def later(self, name: str, due: float | None = None, *, timer: Any = None) -> None:
        """Have a call begin, and say that its answer comes later."""
        if name not in self.flight:
            self.start()
        self.tell("later", name, [due, timer is not None, timer])

    def go_on(self) -> Helm:
        """Go on with what the course has in its rows, as another workflow does."""
        assert not self.flight
        other = Helm(through_the_wire(self.course.rows()), self.now, self.saga_id)
        other.asked = self.asked
        return other

    def finish(self) -> None:
        """Have all calls succeed, and wait where that has to be, until nothing is left."""
        self.finish_at_rest()
        assert self.course.is_over

    def finish_at_rest(self) -> None:
        """Do so until the saga is at rest, whatever may still land."""
        while not self.course.at_rest:
            self.start()
            for name in [*self.flight]:
                self.tell("succeeded", name)
            due = self.course.wakes()
            self.now = self.now if due is None else max(self.now, due)

    @property
    def words(self) -> list[str]:
        """What was told, in words."""
        return words(self.course.rows())

    @property
    def status(self) -> SagaStatus:
        """Where the saga stands by its rows."""
        return folded(self.course.rows())[1].saga

    def stand(self) -> str:
        """Say how its operations stand, in words."""
        return " ".join(status.value for status in folded(self.course.rows())[1].status)
