"""What may befall a saga on an engine, as dice say: a world around its course.

A process in which texts have other hashes must see the same: `python voyage.py 40` prints what it
saw of forty sagas.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from typing import Any

from courses import begin, folded, told
from depot import ask, do, undo

from py_api_saga import SagaAssembler, result_of
from py_api_saga.engines.course import Course
from py_api_saga.entries import ASK, LOST, STARTED, Attempt
from py_api_saga.execution import Execution
from py_api_saga.keys import key_of
from py_api_saga.status import MISSING

ERROR = ["builtins.ValueError", "no"]
PATIENCE = 400  # pieces of news
DAY = 86_400.0  # seconds: longer than services keep keys


def cast(dice: random.Random) -> Any:
    """Throw a saga of up to six operations."""
    count = dice.randint(1, 6)
    pivot = dice.choice([-1, -1, *range(count)])
    is_graph = dice.random() < 0.7
    saga = SagaAssembler.saga(
        name="voyage", on_crash=dice.choice(["resume", "resume", "compensate"])
    )
    names: list[str] = []
    for i in range(count):
        after = dice.sample(names, dice.randint(0, min(i, 2)))
        if pivot >= 0 and i >= pivot:  # all others come before or after it
            after = names if i == pivot else [*{*after, names[pivot]}]
        name = f"{chr(97 + i)}"
        needed = [result_of(names[-1])] if names and dice.random() < 0.3 and not is_graph else []
        undoing: Any = (undo, name, *[result_of()] * dice.randint(0, 1))
        saga.operation(
            (do, name, *needed),
            dice.choice([undoing, undoing, undoing, None]),
            name=name,
            after=sorted(after) if is_graph else (),
            pivot=i == pivot,
            on_doubt=dice.choice(["proceed", "proceed", "park", ask]),
            timeout=dice.choice([None, 5.0]),
        )
        names.append(name)
    return saga, is_graph


class Voyage:
    """One saga, from its submission to its end.

    Attributes:
        course: What drives it now.
        seen: All that its courses have said, one text for each thing.
    """

    def __init__(self, seed: int) -> None:
        """Submit it."""
        self.dice = random.Random(seed)  # noqa: S311 - no secret
        saga, is_graph = cast(self.dice)
        until = self.dice.choice([None, None, None, 30.0])
        ((at, body),) = begin(saga, at=1.0, at_once=is_graph, deadline=until)
        ((_, tree),) = json.loads(body)
        self.names = [op["name"] for op in tree["operations"]]
        ours = {name: tree[name] for name in tree if name not in ("host", "pid")}
        self.now = 2.0
        self.seen: list[str] = []
        self.flight: list[Attempt] = []
        self.late: list[Attempt] = []
        self.lines: list[str] = []  # that were told
        self.course = Course("x", [(at, json.dumps([["defined", ours]]))], self.now)
        self.left = self.dice.randint(0, 60)  # how long it is wild

    # --- what happens ---

    def live(self) -> None:
        """Let it all happen."""
        for _ in range(PATIENCE):
            self.look()
            for asked in self.course.calls(self.now):
                self.seen.append(repr(asked))
                self.flight.append(asked.attempt)
            self.look()
            if not self.step():
                return
        message = "the saga does not end"
        raise AssertionError(message)

    def step(self) -> bool:
        """Let one thing happen; False if nothing can."""
        self.left -= 1
        wild, dice = self.left > 0, self.dice
        self.now += dice.choice([0.0, 0.5, 1.0])
        if wild and dice.random() < 0.25:
            strokes = [self.note, self.post, self.repeat] * 3
            dice.choice([*strokes, self.cancel, self.crash, self.age])()
        elif self.flight and (not self.late or dice.random() < 0.9):
            self.end(self.flight.pop(dice.randrange(len(self.flight))), wild=wild)
        elif self.late:
            self.land(self.late.pop(dice.randrange(len(self.late))))
        elif (due := self.course.wakes()) is not None:
            self.now = max(self.now, due)
        elif not self.course.at_rest:
            self.answer_all()
        else:
            return False
        if not (self.flight or self.late):
            self.hand_over()
        return True

    def tell(self, *line: Any) -> None:
        """Tell the course."""
        text = json.dumps(line, separators=(",", ":"))
        self.lines.append(text)
        self.course.tell(text, self.now)

    def end(self, call: Attempt, *, wild: bool) -> None:
        """Let a call end."""
        _, kind, *_ = call
        dice = self.dice
        peace = "happened" if kind == ASK else "succeeded"
        ways = [peace]
        if wild and kind == ASK:
            ways = [peace, "not happened", "unknown", LOST]
        elif wild:
            ways = [*["retry", "in doubt", "later", LOST] * 2, "failed", "unstored", *[peace] * 6]
        what = dice.choice(ways)
        wait = dice.choice([0.0, 3.0])
        alive = dice.random() < 0.6
        values: dict[str, tuple[Any, ...]] = {
            "succeeded": (dice.choice([7, "seven", [7], {"$date": "2026-01-01"}]),),
            "happened": ("asked",),
            "failed": (ERROR,),
            "unstored": (ERROR,),
            "retry": ([ERROR, wait],),
            "in doubt": ([ERROR, None if alive else dice.choice([None, wait]), alive, False],),
            "later": ([dice.choice([None, self.now + 4.0]), False, None],),
        }
        if what == "later" and dice.random() < 0.4:
            values["later"] = ([self.now + 4.0, True, "in time"],)
        if what == "in doubt" and alive:
            self.late.append(call)
        self.tell(what, *call, *values.get(what, ()))

    def land(self, call: Attempt) -> None:
        """Let what was given up end."""
        what = self.dice.choice(["succeeded", "failed", LOST])
        self.tell(what, *call, *{"succeeded": ("late",), "failed": (ERROR,)}.get(what, ()))

    def key(self, call: Attempt) -> str:
        """Give the key of a call."""
        i, kind, _, generation = call
        return key_of("x", self.names[i], kind, generation)

    def post(self, key: str | None = None) -> None:
        """Answer a call, whether anybody waits for that or not."""
        used = [e for e in told(self.course.rows()) if e[0] == STARTED and e[2] != ASK]
        if key is None:
            if not used:
                return
            key = self.key(tuple(self.dice.choice(used)[1:5]))
        body = self.dice.choice([["answered", "an answer", None], ["denied", ERROR, None]])
        self.tell("letter", key, json.dumps(body))

    def answer_all(self) -> None:
        """Answer all that is awaited."""
        answers = [*self.execution.awaited.values()]
        assert answers, "what is neither called nor awaited is at rest"
        for later in answers:
            self.post(self.key(later[1:5]))

    def cancel(self) -> None:
        """Have it stop."""
        self.tell("abort", -1, "", 0, 0, ERROR)

    def note(self) -> None:
        """Note something."""
        self.tell("note", {"who": "eve", "why": "", "did": "look"})

    def repeat(self) -> None:
        """Tell something once more: an engine delivers at least once."""
        lines = [line for line in self.lines if '"ask"' not in line]  # asked again, it is the same
        if lines:
            before = self.course.rows()
            line = self.dice.choice(lines)
            self.course.tell(line, self.now)
            if not line.startswith(('["note"', '["abort"', '["letter"')):
                assert self.course.rows() == before, line

    def crash(self) -> None:
        """Lose everything that is in flight, with the workflow."""
        self.flight.clear()
        self.late.clear()
        self.course = Course("x", carried(self.course), self.now)

    def age(self) -> None:
        """Let keys become too old."""
        self.now += DAY

    def hand_over(self) -> None:
        """Go on in another workflow, which is as good: nobody sees that from what it says."""
        if self.dice.random() < 0.5:
            before = describe(self.course, self.now)
            self.course = Course("x", carried(self.course), self.now)
            assert describe(self.course, self.now) == before

    # --- what must hold ---

    @property
    def execution(self) -> Execution:
        """The machine."""
        assert self.course.execution is not None
        return self.course.execution

    def look(self) -> None:
        """See that what is in the rows is what the course knows."""
        rows, x = self.course.rows(), self.execution
        _, fold = folded(rows)
        assert [fold.status, fold.tries, fold.saga] == [x.status, x.tries, x.saga]
        assert "parked" not in [line[0] for line in told(rows)], told(rows)[-1]
        assert sorted(self.flight) == sorted(e[1:5] for e in x.flying.values())
        assert sorted(self.course.stragglers) == sorted(self.late)
        assert self.course.is_over is (self.course.at_rest and not self.late)
        assert not self.course.at_rest or x.at_rest
        self.seen.append(describe(self.course, self.now))


def carried(course: Course) -> Any:
    """Give its rows as they come from an engine."""
    return [tuple(row) for row in json.loads(json.dumps(course.rows()))]


def describe(course: Course, now: float) -> str:
    """Say all that a workflow asks of a course."""
    x = course.execution
    assert x is not None
    results = [None if result is MISSING else result for result in x.results]
    return repr(
        (
            *(now, course.wakes(), course.at_rest, course.is_over, course.stragglers),
            *(course.must_know, x.ready(), x.saga, x.status, results),
            course.rows(),
        )
    )


def main(count: int) -> None:
    """Print what was seen of so many sagas."""
    for seed in range(count):
        voyage = Voyage(seed)
        voyage.live()
        digest = hashlib.sha256("\n".join(voyage.seen).encode()).hexdigest()
        print(seed, len(voyage.seen), voyage.execution.saga.value, digest)  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]))
