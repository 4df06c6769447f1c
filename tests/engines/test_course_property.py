"""Any saga, any outcome: a course and a run in this process make of it the same entries.

One script drives both, call by call, under one clock that stands still in between: what the calls
come to, in which order, how long it takes, and which answers come. And where nothing is in flight
another course may go on, from the rows of the first.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from courses import ERROR, Helm, begin, plain, told
from depot import ask, do, undo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from py_api_saga import SagaAssembler, clock, result_of
from py_api_saga.durable.knowing import claim_of, taken
from py_api_saga.durable.run import DurableRun
from py_api_saga.entries import (
    ACTION,
    ASK,
    FAILED,
    HAPPENED,
    IN_DOUBT,
    LATER,
    NOT_HAPPENED,
    RETRY,
    STARTED,
    SUCCEEDED,
    UNKNOWN,
    UNSTORED,
    Attempt,
    Entry,
)
from py_api_saga.executors.turns import WAIT, WRITE, Turn, turns
from py_api_saga.journal import MemoryJournal
from py_api_saga.journal.changes import Letter, Mail, Take
from py_api_saga.journal.format.entries import read_entry
from py_api_saga.journal.format.values import Values
from py_api_saga.keys import key_of

EXAMPLES = int(os.environ.get("SAGA_EXAMPLES", "0"))
NAMES = "abcdef"


class Run:
    """The saga in this process, with a journal in memory; whatever makes its calls is the test."""

    def __init__(self, saga: SagaAssembler, *, at_once: bool, deadline: float | None) -> None:
        self.journal = MemoryJournal(modules=["depot"])
        self.values = Values(self.journal)
        saga.start(saga_id="x", journal=self.journal, at_once=at_once, deadline=deadline)
        self.number = self._seen.number
        self.has_ended = True
        self._take()

    @property
    def _seen(self) -> Any:
        return self.journal.find("x")

    def _take(self) -> None:
        """Go on with the saga, as recovery does."""
        seen = self._seen
        claim = claim_of(self.journal, Take(seen))
        self.run: DurableRun
        self.run, limit = taken(self.journal, self.values, claim, seen, ())
        self.limit = limit or 1
        self._turn()

    def _turn(self) -> None:
        self._turns: Iterator[Turn] = turns(self.run, self.limit)
        self.has_ended = False

    def start(self) -> list[Attempt]:
        """Go as far as can be without the end of a call; give the calls that begin."""
        begun: list[Attempt] = []
        while not self.has_ended or self._is_due():
            if self.has_ended:
                self._take()
            turn = next(self._turns, None)
            if turn == WRITE:
                self.run.write()
            elif turn is None:
                self.has_ended = True
                self.run.leave()
            elif turn != WAIT:
                begun += [intent[1:5] for intent in turn]
            elif not self._is_woken():
                break
        return begun

    def _is_due(self) -> bool:
        """Tell whether somebody goes on with it, since it has waited, or was answered."""
        if not self.run.execution.suspended:
            return False
        mail = self.journal.mail([self.number])[self.number]
        return bool(mail) or self._seen.due <= clock.time()

    def _is_woken(self) -> bool:
        """Tell whether a run that waits goes on at once; or for its mail, when its wait is over."""
        box = self.run.mailbox
        has_news = box is not None and bool(box.letters)
        return not self.run.awaits and (has_news or self.run.patience() == 0)

    def tell(self, line: list[Any]) -> None:
        """Say what came of a call, as whoever has made it."""
        entry: Entry = read_entry(line, self.values, len(self.run.operations))
        if self.has_ended:  # of a straggler
            assert self.run.claim_again(entry)
            self._turn()
        self.run.receive(entry)

    def post(self, key: str, body: str) -> None:
        """Put an answer into the mail."""
        self.journal.write(Mail("x", self.number, Letter(key, body)))

    @property
    def patience(self) -> float | None:
        """How long nothing is to be done."""
        if self.has_ended:
            due = self._seen.due - clock.time()
            return due if due < 1e9 else None
        return self.run.patience()

    def told(self) -> list[Any]:
        """Give all entries on record, without what people may know of each."""
        rows = [(row.at, row.body) for row in self.journal.rows([self.number])[self.number]]
        return plain(told(rows))


class Script:
    """What happens, by chance; it is peaceful in the end."""

    def __init__(self, seed: int, wild: int, *, waits: bool, lives: bool) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._wild = wild
        self.waits, self._lives = waits, lives
        self.is_answered = False  # the call in flight, though it has not returned yet

    def choose(self, *options: Any) -> Any:
        """Choose one; the first if it has become peaceful."""
        self._wild -= 1
        return options[self._random.randrange(len(options))] if self._wild > 0 else options[0]

    def end_of(self, attempt: Attempt, now: float) -> list[Any]:
        """Say what came of a call."""
        _, kind, number, _ = attempt
        if kind == ASK:
            what = self.choose(NOT_HAPPENED, HAPPENED, UNKNOWN)
            return [what, *attempt, *(["asked"] if what == HAPPENED else [])]
        ways = [SUCCEEDED, SUCCEEDED, SUCCEEDED, RETRY]
        ways += [LATER, LATER, "timer"] * self.waits
        # A run reads its mail where it may be waited for, and a course at once.
        ways += [] if self.is_answered else [FAILED, IN_DOUBT, UNSTORED]
        self.is_answered = False
        what = self.choose(*ways)
        if what in (LATER, "timer"):
            due = self.choose(now + 5.0, now + 50.0, *[None] * (what == LATER))
            timer = what == "timer"
            return [LATER, *attempt, [due, timer, "in time" if timer else None]]
        wait = self.choose(1.0, 4.0, 20.0)
        alive = self._lives and self.choose(False, True)
        values: dict[str, list[Any]] = {
            SUCCEEDED: [f"result {number}"] if kind == ACTION else [],
            FAILED: [ERROR],
            UNSTORED: [ERROR],
            RETRY: [[ERROR, wait]],
            IN_DOUBT: [[ERROR, self.choose(None, wait), alive, False]],
        }
        return [what, *attempt, *values[what]]

    def landing_of(self, attempt: Attempt) -> list[Any]:
        """Say how a call ends that was given up."""
        what = self.choose(FAILED, SUCCEEDED)
        return [what, *attempt, *([ERROR] if what == FAILED else ["late"])]


@st.composite
def sagas(draw: st.DrawFn, *, at_once: bool) -> SagaAssembler:
    """Draw a saga of up to six operations, with or without a pivot."""
    size = draw(st.integers(1, len(NAMES)))
    pivot = draw(st.sampled_from([-1, -1, *range(size)]))
    saga = SagaAssembler.saga(on_crash=draw(st.sampled_from(["resume", "compensate"])))
    for i in range(size):
        after = draw(st.sets(st.integers(0, i - 1), max_size=3)) if i and at_once else set()
        if pivot >= 0 and at_once:
            after = set(range(i)) if i == pivot else after | {pivot} if i > pivot else after
        undoing = {"plain": (undo, NAMES[i]), "result": (undo, NAMES[i], result_of()), "none": None}
        doubt: Any = draw(st.sampled_from(["proceed", "proceed", "park", ask]))
        saga.operation(
            (do, NAMES[i]),
            undoing[draw(st.sampled_from(["plain", "plain", "result", "none"]))],
            name=NAMES[i],
            after=[NAMES[j] for j in sorted(after)],
            pivot=i == pivot,
            on_doubt=doubt,
        )
    return saga


class Both:
    """A saga in this process, and the same one by a course."""

    def __init__(
        self, saga: SagaAssembler, script: Script, *, at_once: bool, deadline: float | None
    ) -> None:
        self.run = Run(saga, at_once=at_once, deadline=deadline)
        limit = self.run.limit if at_once else None
        rows = begin(saga, at=clock.time(), at_once=at_once, limit=limit, deadline=deadline)
        self.helm, self.script = Helm(rows, clock.time()), script
        self.flight: list[Attempt] = []
        self.answered: set[str] = set()

    def live(self) -> None:
        """Let it all happen."""
        for _ in range(400):
            self.start()
            course = self.helm.course
            late = [*course.stragglers]
            moves = [self.end] * bool(self.flight) + [self.land] * bool(late)
            if not (self.flight or course.at_rest):
                moves = [self.wait, *moves]
            moves += [self.answer] * bool(self.answerable())
            if not moves:
                break
            self.script.choose(*moves)()
        else:
            pytest.fail("the saga does not end")
        assert self.helm.course.is_over

    def start(self) -> None:
        """Have calls begin: the same ones, in the same order."""
        if not (self.flight or self.helm.course.stragglers) and self.script.choose(False, True):
            self.helm = self.helm.go_on()
        begun = self.run.start()
        self.helm.now = clock.time()
        before = len(self.helm.asked)
        self.helm.start()
        assert [asked.attempt for asked in self.helm.asked[before:]] == begun
        self.helm.flight.clear()
        self.flight += begun
        assert plain(told(self.helm.course.rows())) == self.run.told()
        assert self.helm.course.at_rest is self.run.run.execution.at_rest

    def tell(self, line: list[Any]) -> None:
        """Tell both of them."""
        self.run.tell(line)
        self.helm.course.tell(json.dumps(line), clock.time())

    def end(self) -> None:
        """End a call."""
        attempt = self.script.choose(*self.flight)
        self.flight.remove(attempt)
        pass_by(self.script.choose(0.0, 0.0, 1.0, 30.0))
        self.tell(self.script.end_of(attempt, clock.time()))

    def land(self) -> None:
        """Let a straggler end."""
        self.tell(self.script.landing_of(self.script.choose(*self.helm.course.stragglers)))

    def wait(self) -> None:
        """Wait until something is due, or until somebody answers."""
        wakes = self.helm.course.wakes()
        patience = self.run.patience
        assert wakes == (None if patience is None else clock.time() + patience)
        if wakes is None:
            self.answer()
        else:
            pass_by(wakes - clock.time())

    def answerable(self) -> list[str]:
        """Give the keys that may be answered now, so that both of them hear it at one moment.

        That of the call in flight, which comes first; or any one, while the saga only waits.
        """
        waits = self.run.run.execution.suspended or (self.flight and self.run.run.deadline is None)
        if not (waits and self.script.waits):
            return []
        calls = self.flight or [line[1:5] for line in self.run.told() if line[0] == STARTED]
        keys = [key_of("x", NAMES[i], kind, key) for i, kind, _, key in calls if kind != ASK]
        return [key for key in dict.fromkeys(keys) if key not in self.answered]

    def answer(self) -> None:
        """Answer a call."""
        awaited = [
            key_of("x", NAMES[later[1]], later[2], later[4])
            for later in self.run.run.execution.awaited.values()
        ]
        key = self.script.choose(*awaited, *self.answerable())
        if key in self.answered:
            return
        self.answered.add(key)
        self.script.is_answered = bool(self.flight)
        denied = f'["denied",{json.dumps(ERROR)},null]'
        body = self.script.choose('["answered","answer",null]', denied)
        self.run.post(key, body)
        self.helm.course.tell(json.dumps(["letter", key, body]), clock.time())


def pass_by(seconds: float) -> None:
    """Let time pass."""
    Stopped.now += seconds


class Stopped:
    """A clock that stands still."""

    now = 1000.0

    def __call__(self) -> float:
        """Give the time, in seconds."""
        return Stopped.now


@pytest.fixture(autouse=True)
def _stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "monotonic", Stopped())
    monkeypatch.setattr(clock, "time", Stopped())


SETTINGS = settings(
    max_examples=EXAMPLES or 150,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
SEEDS = st.integers(0, 1 << 32)
WILD = st.integers(0, 120)


@pytest.mark.untraced
@SETTINGS
@given(sagas(at_once=True), SEEDS, WILD, st.sampled_from([None, None, 40.0]))
def test_a_graph_is_the_same(saga: Any, seed: int, wild: int, deadline: float | None) -> None:
    """Failures, doubts, retries, landings and a deadline, in any order."""
    Stopped.now = 1000.0
    script = Script(seed, wild, waits=False, lives=True)
    Both(saga, script, at_once=True, deadline=deadline).live()


@pytest.mark.untraced
@SETTINGS
@given(sagas(at_once=False), SEEDS, WILD, st.sampled_from([None, None, 40.0]))
def test_a_chain_is_the_same(saga: Any, seed: int, wild: int, deadline: float | None) -> None:
    """And answers that come later, or too late, and timers."""
    Stopped.now = 1000.0
    script = Script(seed, wild, waits=True, lives=False)
    Both(saga, script, at_once=False, deadline=deadline).live()
