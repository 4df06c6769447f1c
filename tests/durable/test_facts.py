"""What a journal has of a call besides what came of it: its own time, and whose process it was."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import depot
import pytest
from depot import ado, do, fail, undo
from recorded import Wrapped, bodies, chain, crashed
from world import HOUR, PATIENCE, Clock, Execute

from py_api_saga import UNKNOWN, Retry, SagaAssembler, SagaException, recover
from py_api_saga import clock as clock_of_ours
from py_api_saga.journal import MemoryJournal, SQLiteJournal
from py_api_saga.journal.changes import Append, Take
from py_api_saga.process import HOST
from py_api_saga.release import VERSION
from py_api_saga.story.detail import in_full
from py_api_saga.story.saga import Line, read

SLACK = 0.0011  # seconds: times are written to the millisecond
TRIP = 1.0  # seconds: the clock of a database is known to within a round trip


def slack(journal: Any) -> float:
    """Say by how much the times that a journal tells may differ from those of this process."""
    return SLACK if isinstance(journal, (MemoryJournal, SQLiteJournal)) else TRIP


def ends(journal: Any, saga_id: str = "x") -> list[Line]:
    """Give the lines that say how a call ended."""
    lines = read(journal, saga_id).lines
    return [line for line in lines if line.entry is not None and line.kind != "started"]


def lasting(clock: Clock, hours: float, then: Callable[[], Any] = lambda: "R") -> Callable[[], Any]:
    """Make a call that takes so many hours."""

    def call() -> Any:
        clock.forward(hours * HOUR)
        return then()

    return call


def hours_of(line: Line) -> float:
    """Give how many hours a call took, and see that nothing else is in there."""
    assert line.took is not None
    hours = line.took // HOUR
    assert line.took - hours * HOUR < PATIENCE
    return hours


def test_the_end_of_each_call_says_how_long_the_call_itself_took(
    execute: Execute, journal: Any, clock: Clock
) -> None:
    """Its action and its undo, in whichever thread or task; and what fails as well."""
    depot.behaviour["a"] = lasting(clock, 2)
    depot.behaviour["b"] = lasting(clock, 3)
    depot.behaviour["c"] = lasting(clock, 5, fail(ValueError("no")))
    depot.behaviour["undo b"] = lasting(clock, 7)
    began = time.time()

    with pytest.raises(SagaException):
        execute(chain("a", "b", "c"), journal=journal, saga_id="x")

    lines = ends(journal)
    assert [line.kind for line in lines] == ["succeeded", "succeeded", "failed"] + ["succeeded"] * 2
    assert [*map(hours_of, lines)] == [2, 3, 5, 7, 0]
    starts = [line.began or 0.0 for line in lines]
    assert all(before < after + slack(journal) for before, after in pairwise(starts))
    assert began - slack(journal) < starts[0]
    assert starts[-1] < time.time() + slack(journal)
    assert all(line.began is not None and line.began < line.at + slack(journal) for line in lines)


def test_coroutines_too(execute_async: Execute, in_memory: Any, clock: Clock) -> None:
    """Also one whose time is up, which ends then."""

    async def never() -> None:
        clock.forward(3 * HOUR)
        await asyncio.sleep(PATIENCE)

    depot.behaviour["a"] = lasting(clock, 2)
    depot.behaviour["b"] = never
    saga = (
        SagaAssembler.saga()
        .operation((ado, "a"), name="a")
        .operation((ado, "b"), name="b", after="a", timeout=0.01)
    )

    with pytest.raises(SagaException):
        execute_async(saga, journal=in_memory, saga_id="x")

    assert [(line.kind, hours_of(line)) for line in ends(in_memory)] == [
        ("succeeded", 2),
        ("in doubt", 3),
    ]


def test_side_by_side_each_has_its_own(journal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However late its thread is looked at: what others take, and the journal, is not in it.

    Forty calls that were shown as five times as long, by the times of their rows.
    """
    own = threading.local()
    monotonic = clock_of_ours.monotonic
    monkeypatch.setattr(clock_of_ours, "monotonic", lambda: monotonic() + getattr(own, "ahead", 0))
    together = threading.Barrier(40)
    noted: dict[str, tuple[float, float]] = {}

    def take(name: str, number: int) -> Callable[[], None]:
        def call() -> None:
            began = time.time()
            together.wait(PATIENCE)
            own.ahead = getattr(own, "ahead", 0) + number * HOUR
            noted[name] = began, time.time()

        return call

    saga = SagaAssembler.saga()
    for number in range(40):
        depot.behaviour[f"n{number}"] = take(f"n{number}", number)
        saga.operation((do, f"n{number}"), name=f"n{number}")

    saga.choreography_execute(journal=journal, saga_id="x", max_workers=40)

    story = read(journal, "x")
    assert story.recorded is not None
    names = story.recorded.definition.names.all()
    found = {names[line.entry[1]]: line for line in ends(journal) if line.entry is not None}
    assert {name: hours_of(line) for name, line in found.items()} == {
        f"n{number}": number for number in range(40)
    }
    latest = max(began for began, _ in noted.values())
    for name, line in found.items():
        assert line.began is not None
        assert line.began < noted[name][0] + slack(journal)
        assert line.began < latest + slack(journal)  # they are shown as what they were: at once
        assert line.at > noted[name][1] - slack(journal)


def test_another_attempt_has_a_time_of_its_own(in_memory: Any, clock: Clock) -> None:
    """And so has the question, whose answer is an entry like any other."""
    hours, answers = iter((2, 3)), iter((fail(OSError("busy")), str))
    depot.behaviour["a"] = lambda: lasting(clock, next(hours), next(answers))()  # noqa: PLW0108 - anew each time
    depot.behaviour["b"] = lasting(clock, 5, fail(TimeoutError("lost")))
    depot.behaviour["ask b"] = lasting(clock, 7, lambda: UNKNOWN)
    again = Retry(OSError, attempts=2, wait_initial=0.0)
    saga = (
        SagaAssembler.saga()
        .operation((do, "a"), name="a", retry=again)
        .operation((do, "b"), (undo, "b"), name="b", on_doubt=depot.ask)
    )

    with pytest.raises(SagaException):
        saga.orchestrator_execute(journal=in_memory, saga_id="x")

    assert [(line.kind, hours_of(line)) for line in ends(in_memory)[:4]] == [
        ("retry", 2),
        ("succeeded", 3),
        ("in doubt", 5),
        ("unknown", 7),
    ]


def test_what_was_given_up_has_none_until_it_lands(in_memory: Any) -> None:
    """Nobody knows how long it takes before it has ended: then it has its true beginning."""
    gate, landed = threading.Event(), threading.Event()
    depot.behaviour["a"] = lambda: gate.wait(PATIENCE)
    depot.behaviour["undo a"] = landed.set
    saga = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a", timeout=0.01)
    before = time.time()
    with pytest.raises(SagaException):
        saga.orchestrator_execute(journal=in_memory, saga_id="x")
    first = time.time()
    landed.clear()
    gate.set()
    assert landed.wait(PATIENCE)

    lines = ends(in_memory)
    given_up = next(line for line in lines if line.kind == "in doubt")
    late = next(line for line in lines if line.kind == "succeeded" and line.at >= first - SLACK)
    assert (given_up.began, given_up.took, given_up.waited) == (None, None, None)
    assert late.began is not None
    assert before - SLACK < late.began < first + SLACK


class Leased(Wrapped):
    """A journal whose lease has just run out, and comes back after hours."""

    def __init__(self, journal: Any, clock: Clock) -> None:
        super().__init__(journal)
        self._clock = clock

    def is_in_time(self) -> bool:
        """It is not."""
        return False

    def see_in_time(self, _: Any) -> None:
        """Take a while."""
        self._clock.forward(9 * HOUR)

    async def asee_in_time(self, _: Any) -> None:
        """Take as long."""
        self._clock.forward(9 * HOUR)


def test_what_holds_a_call_up_is_not_in_its_time(
    execute: Execute, in_memory: Any, clock: Clock
) -> None:
    """A call begins once its process may make it."""
    depot.behaviour["a"] = lasting(clock, 2)
    saga = chain("a")
    if execute.__name__.startswith("a"):
        saga = SagaAssembler.saga().operation((ado, "a"), name="a")

    execute(saga, journal=Leased(in_memory, clock), saga_id="x")

    assert [*map(hours_of, ends(in_memory))] == [2]


def test_where_nobody_knows_when_a_saga_was_created_there_are_no_times(in_memory: Any) -> None:
    """As with a journal of one's own that does not say so: its entries are those of before."""

    class Silent(Wrapped):
        def write(self, *changes: Any) -> None:
            in_memory.write(*changes)
            for change in changes:
                change.claim.created = 0.0

    chain("a").orchestrator_execute(journal=Silent(in_memory), saga_id="x")

    assert bodies(in_memory, "x")[1] == '[["succeeded",0,"action",1,1,"A"]]'


# --- whose process --------------------------------------------------------------------------------


def me() -> tuple[str, int, str]:
    """Name this process."""
    return (HOST, os.getpid(), VERSION)


def test_a_saga_says_which_process_has_begun_it(execute: Execute, journal: Any) -> None:
    """In its definition, where nothing that decides looks at it."""
    execute(chain("a"), journal=journal, saga_id="x")

    story = read(journal, "x")
    assert story.process == me()
    assert [line.process for line in story.lines] == [None] * len(story.lines)
    assert execute(chain("a"), journal=journal, saga_id="x") == ["A"]


@pytest.mark.parametrize("limit", [None, 2])
def test_whoever_takes_over_says_who_it_is(journal: Any, limit: int | None) -> None:
    """With RECOVERED, the first thing that it tells."""
    crashed(journal, chain("a", "b"), 1)
    recover(journal, max_workers=limit or 1)

    lines = read(journal, "x").lines
    assert [line.process for line in lines if line.kind == "recovered"] == [me()]
    assert sum(line.process is not None for line in lines) == 1


def test_whoever_begins_what_was_only_started_says_so(journal: Any) -> None:
    """With its first entry, as there is nothing that it recovers; the rest is as ever."""
    chain("a").start(journal=journal, saga_id="x")
    recover(journal)

    story = read(journal, "x")
    assert [line.kind for line in story.lines] == ["started", "succeeded"]
    assert [line.process for line in story.lines] == [me(), None]
    assert chain("a").orchestrator_execute(journal=journal, saga_id="x") == ["A"]


# --- read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "facts",
    ["no", 7, None, True, [], [1], ["a", 2], [1, "b"], [True, 2], {}, {"host": "h"}, {"host": 1},
     {"host": "h", "pid": "p", "version": "v"}, {"host": "h", "pid": 1, "version": None}],
)  # fmt: skip
def test_facts_that_are_none_are_passed_over(journal: Any, facts: Any) -> None:
    """A journal is input; and a later release may write more than this one knows."""
    entries = [
        ["started", 0, "action", 1, 1, None, facts],
        ["succeeded", 0, "action", 1, 1, 1, facts],
    ]
    lines = _written(journal, entries)

    assert [(line.began, line.took, line.process) for line in lines] == [(None, None, None)] * 2


def test_more_than_is_known_is_passed_over_too(journal: Any) -> None:
    """As every release does with what it does not know; and a length is never below nothing."""
    entries = [
        ["started", 0, "action", 1, 1, None, {"host": "h", "pid": 1, "version": "v", "more": 1}, 5],
        ["succeeded", 0, "action", 1, 1, 1, [-1500, -20, "more"], 5],
    ]
    started, succeeded = _written(journal, entries)

    assert started.process == ("h", 1, "v")
    assert succeeded.took == 0
    assert succeeded.began == pytest.approx(read(journal, "x").seen.created - 1.5)


def _written(journal: Any, entries: list[Any]) -> tuple[Line, ...]:
    """Write down a saga with these entries."""
    chain("a").start(journal=journal, saga_id="x")
    take = Take(journal.find("x"))
    journal.write(take)
    journal.write(Append(take.check(), json.dumps(entries), None))
    return read(journal, "x").lines


def test_the_timeline_has_it_all(in_memory: Any, clock: Clock) -> None:
    """As JSON has it: seconds, and the time in words that a program can read."""
    depot.behaviour["a"] = lasting(clock, 2)
    chain("a").orchestrator_execute(journal=in_memory, saga_id="x")

    defined, started, succeeded = in_full(read(in_memory, "x"), whole=False)["timeline"]

    assert defined["process"] == dict(zip(("host", "pid", "version"), me(), strict=True))
    assert (started["began"], started["took"], started["waited"]) == (None, None, None)
    assert 2 * HOUR <= succeeded["took"] < 2 * HOUR + PATIENCE
    assert succeeded["began"].endswith("Z")
    assert succeeded["waited"] == 0  # the clock of this test is ahead of that of the rows
    assert succeeded["process"] is None
