"""Write a journal into this folder: sagas in every state, for all later versions to read.

    PYTHONPATH=tests/golden python tests/golden/make_journal.py tests/golden/journal.1.facts.db

There are two: `journal.1.db` is from before entries had facts. And three that are made in the same
way: `journal.1.trace.db` has one saga, which was begun in a trace, `journal.1.later.db` those that
wait for answers, or have had them, and `journal.1.lost.db` those of which calls were lost. What a
released version wrote is kept for ever and never written again: when the format changes, a new one
is made beside it.
"""

from __future__ import annotations

import datetime as dt
import decimal
import sys
import uuid
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import golden_shop
from golden_shop import Parcel, Size, ask, do, is_busy, pair, undo, waiting
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from py_api_saga import (
    JournalError,
    Retry,
    SagaAssembler,
    SagaException,
    SagaPending,
    SagaStatus,
    answer,
    process,
    recover,
    result_of,
)
from py_api_saga.contrib.opentelemetry import instrument
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.changes import Append, Change, Create, Take
from py_api_saga.journal.format.json_text import dumps
from py_api_saga.repair import again, compensate, purge

SAMPLED = TraceFlags(TraceFlags.SAMPLED)
VALUES: list[Any] = [
    None, True, 7, 2.5, "ä", [1, [2]], {"k": "v", "l": None}, (1, "x"), {3}, frozenset({4}),
    decimal.Decimal("1.20"), dt.datetime(2026, 11, 25, 12, 30, tzinfo=dt.UTC),
    dt.date(2026, 11, 25), dt.time(12, 30), dt.timedelta(days=1, seconds=2),
    uuid.UUID(int=5), b"\x00\xff", {1: "one"}, {"$odd": 1}, float("inf"), Parcel(6, Size.SMALL),
]  # fmt: skip


class Dying:
    """A journal that can't be written any more after so many rows: as if the process had died."""

    def __init__(self, journal: SQLiteJournal, good: int) -> None:
        self._journal, self._good = journal, good

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def write(self, *changes: Change) -> None:
        """Write, or fail."""
        for change in changes:
            if isinstance(change, (Create, Append)):
                self._good -= 1
                if self._good < 0:
                    change.error, change.settled = JournalError("dead"), True
                    return
        self._journal.write(*changes)


def everything() -> SagaAssembler:
    """Make a saga that uses all that an operation may say, as a graph, with a child."""
    child = SagaAssembler.saga().operation((do, "c"), (undo, "c", result_of()), name="c")
    return (
        SagaAssembler.saga(name="everything", on_crash="compensate", max_doubt_age=1e9)
        .operation((do, "a", *VALUES), (undo, "a", result_of()[0]), name="a", on_doubt=ask)
        .operation(
            partial(do, "b", key=[result_of("a")]),
            name="b",
            retry=Retry((OSError, KeyError), attempts=5, timeout=9.0),
            compensation_retry=Retry(is_busy),
            timeout=30.0,
            doubtful=["httpx.ReadTimeout", LookupError],
        )
        .operation(child, name="child", after="b")
        .operation((do, "p"), name="p", pivot=True, after="child")
        .operation((do, "z", result_of("child")), name="z", after="p", on_doubt="park")
    )


def main(path: str) -> None:
    """Write it, on a machine of this name."""
    process.HOST = "warehouse-1"  # type: ignore[misc]  # what it is called says where it was made
    Path(path).unlink(missing_ok=True)
    journal = SQLiteJournal(path, modules=["golden_shop"], journal_mode="delete")
    pair().orchestrator_execute(journal=journal, saga_id="completed")
    everything().choreography_execute(journal=journal, saga_id="everything")
    for good, saga_id in ((1, "in-doubt"), (2, "in-the-middle")):
        with suppress(JournalError):
            pair().orchestrator_execute(journal=Dying(journal, good), saga_id=saga_id)
    with suppress(JournalError):
        everything().choreography_execute(journal=Dying(journal, 2), saga_id="graph")
    golden_shop.broken.add("b")
    with suppress(SagaException):
        pair().orchestrator_execute(journal=journal, saga_id="compensated")
    with suppress(JournalError):
        pair().orchestrator_execute(journal=Dying(journal, 3), saga_id="rolling-back")
    golden_shop.broken.add("undo a")
    for saga_id in ("stuck", "retried"):
        with suppress(SagaException):
            pair().orchestrator_execute(journal=journal, saga_id=saga_id)
    again(journal, "retried", "a", new_key=True, who="ada", why="the warehouse is back")
    for saga_id in ("parked", "started"):
        pair().start(journal=journal, saga_id=saga_id)
    park(path)
    golden_shop.broken.clear()
    pair().orchestrator_execute(journal=journal, saga_id="purged")
    seen = journal.find("purged")
    if seen is not None:
        purge(journal, seen)
    journal.close()
    for end in ("-gate", "-owners"):
        Path(path + end).unlink()


def park(path: str) -> None:
    """Let somebody recover the saga that is to be parked who does not know its functions."""
    stranger = SQLiteJournal(path, journal_mode="delete")
    oldest = stranger.find("parked")

    class OnlyOne:
        def __getattr__(self, name: str) -> Any:
            return getattr(stranger, name)

        def waiting(self, *_: object) -> Any:
            return [oldest]

    only: Any = OnlyOne()
    recover(only)


def trace(path: str) -> None:
    """Write a saga that was begun in a span."""
    process.HOST = "warehouse-1"  # type: ignore[misc]  # as above
    Path(path).unlink(missing_ok=True)
    instrument()
    there = SpanContext(int("a1" * 16, 16), int("b2" * 8, 16), is_remote=False, trace_flags=SAMPLED)
    journal = SQLiteJournal(path, modules=["golden_shop"], journal_mode="delete")
    with use_span(NonRecordingSpan(there)):
        pair().start(journal=journal, saga_id="traced")
    journal.close()
    for end in ("-gate", "-owners"):
        Path(path + end).unlink()


IN_2100 = 4_102_444_800.0


def later(path: str) -> None:
    """Write sagas that wait, and some that were answered."""
    process.HOST = "warehouse-1"  # type: ignore[misc]  # as above
    Path(path).unlink(missing_ok=True)
    journal = SQLiteJournal(path, modules=["golden_shop"], journal_mode="delete")
    for saga_id in ("waits", "timer", "answered", "denied", "unheard", "late"):
        until = IN_2100 if saga_id == "timer" else None
        with suppress(SagaPending):
            waiting(until).orchestrator_execute(journal=journal, saga_id=saga_id)
    answer(journal, "answered:b:action", result=Parcel(7, Size.SMALL))
    answer(journal, "denied:b:action", error=ValueError("too dear"))
    compensate(journal, "late", who="ada", why="nobody answers")
    recover(journal)
    for saga_id in ("unheard", "late"):
        answer(journal, f"{saga_id}:b:action", result=Parcel(8, Size.SMALL), go_on=False)
    journal.close()
    for end in ("-gate", "-owners"):
        Path(path + end).unlink()


ACTION, UNDO = ("action", 1, 1), ("compensation", 1, 1)
# Where each stands, and what was told of it; no run writes this by itself: processes that an engine
# calls do, of which one may die while others live.
LOST: dict[str, tuple[SagaStatus, list[list[Any]]]] = {
    "lost": (SagaStatus.RUNNING, [["started", 0, *ACTION], ["lost", 0, *ACTION, False]]),
    "too-old": (SagaStatus.STUCK, [["started", 0, *ACTION], ["lost", 0, *ACTION, True]]),
    "late": (
        SagaStatus.COMPENSATED,
        [
            ["started", 0, *ACTION],
            ["in doubt", 0, *ACTION, [["builtins.TimeoutError", "late"], None, True, False]],
            ["started", 0, *UNDO],
            ["succeeded", 0, *UNDO],
            ["lost", 0, *ACTION, False],
        ],
    ),
    "undo": (
        SagaStatus.COMPENSATING,
        [
            ["started", 0, *ACTION],
            ["succeeded", 0, *ACTION, 1],
            ["started", 1, *ACTION],
            ["failed", 1, *ACTION, ["builtins.ValueError", "b is broken"]],
            ["started", 0, *UNDO],
            ["lost", 0, *UNDO, False],
        ],
    ),
}


def lost(path: str) -> None:
    """Write sagas of which calls were lost, in flight or given up."""
    process.HOST = "warehouse-1"  # type: ignore[misc]  # as above
    Path(path).unlink(missing_ok=True)
    journal = SQLiteJournal(path, modules=["golden_shop"], journal_mode="delete")
    for saga_id, (status, told) in LOST.items():
        pair().start(journal=journal, saga_id=saga_id)
        seen = journal.find(saga_id)
        assert seen is not None
        take = Take(seen)
        journal.write(take)
        append = Append(take.check(), dumps(told), status)
        journal.write(append)
        append.check()
        journal.leave(append.claim)
    journal.close()
    for end in ("-gate", "-owners"):
        Path(path + end).unlink()


if __name__ == "__main__":
    ends = {".trace.db": trace, ".later.db": later, ".lost.db": lost}
    make = next((make for end, make in ends.items() if sys.argv[1].endswith(end)), main)
    make(sys.argv[1])
