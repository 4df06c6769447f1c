"""Journals that earlier versions wrote are read by this one, for ever."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import golden_shop
import pytest
from golden_shop import Parcel, Size, pair, waiting
from make_journal import IN_2100, VALUES, everything
from paths import search_path
from spans import telling
from world import unmeasured

from py_api_saga import (
    SagaConflict,
    SagaException,
    SagaPending,
    SagaStatus,
    SagaStuck,
    Status,
    answer,
    recover,
)
from py_api_saga.clock import NEVER
from py_api_saga.definition import Results
from py_api_saga.journal import SQLiteJournal
from py_api_saga.story.saga import read

HERE = Path(__file__).parent
PLAIN, WITH_FACTS = HERE / "journal.1.db", HERE / "journal.1.facts.db"
STATUSES = {
    "completed": SagaStatus.COMPLETED,
    "everything": SagaStatus.COMPLETED,
    "in-doubt": SagaStatus.RUNNING,
    "in-the-middle": SagaStatus.RUNNING,
    "graph": SagaStatus.RUNNING,
    "compensated": SagaStatus.COMPENSATED,
    "rolling-back": SagaStatus.COMPENSATING,
    "stuck": SagaStatus.STUCK,
    "retried": SagaStatus.COMPENSATING,
    "parked": SagaStatus.STUCK,
    "started": SagaStatus.RUNNING,
    "purged": SagaStatus.COMPLETED,
}


@pytest.fixture(params=[PLAIN, WITH_FACTS], ids=["plain", "with facts"])
def golden(request: pytest.FixtureRequest) -> Path:
    """Each golden journal."""
    file: Path = request.param
    return file


@pytest.fixture
def path(golden: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    copy = tmp_path / "journal.db"
    shutil.copyfile(golden, copy)
    return copy


@pytest.fixture
def journal(path: Path) -> Iterator[SQLiteJournal]:
    """The copy, opened by this version."""
    golden_shop.broken.clear()
    golden_shop.keys.clear()
    with closing(SQLiteJournal(path, modules=["golden_shop"])) as opened:
        yield opened


def ask(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Read a file with nothing but sqlite3, and leave nothing beside it."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return database.execute(query).fetchall()


def test_a_saga_that_was_begun_in_a_trace_leads_there(tmp_path: Path) -> None:
    """Whoever goes on with it, however much later; and without a trace, it is gone on with."""
    golden_shop.broken.clear()
    for name in ("one.db", "other.db"):
        shutil.copyfile(HERE / "journal.1.trace.db", tmp_path / name)
    with closing(SQLiteJournal(tmp_path / "one.db", modules=["golden_shop"])) as opened:
        assert [done.outcome for done in recover(opened)] == [SagaStatus.COMPLETED]
    with (
        telling() as spans,
        closing(SQLiteJournal(tmp_path / "other.db", modules=["golden_shop"])) as opened,
    ):
        recover(opened)

    (run,) = [span for span in spans.all if "saga.outcome" in (span.attributes or {})]
    (link,) = run.links
    assert (link.context.trace_id, link.context.span_id) == (int("a1" * 16, 16), int("b2" * 8, 16))


# --- sagas that wait for answers ------------------------------------------------------------------

LATER = HERE / "journal.1.later.db"
WAITING = {
    "waits": SagaStatus.RUNNING,
    "timer": SagaStatus.RUNNING,
    "answered": SagaStatus.COMPLETED,
    "denied": SagaStatus.COMPENSATED,
    "unheard": SagaStatus.RUNNING,
    "late": SagaStatus.COMPENSATED,
}


@pytest.fixture
def waits(tmp_path: Path) -> Iterator[SQLiteJournal]:
    """A copy of the journal of those that wait, opened by this version."""
    golden_shop.broken.clear()
    golden_shop.keys.clear()
    copy = shutil.copyfile(LATER, tmp_path / "later.db")
    with closing(SQLiteJournal(copy, modules=["golden_shop"])) as opened:
        yield opened


def test_sagas_that_wait_stand_as_they_were_left(waits: SQLiteJournal) -> None:
    """With what they wait for, and the answers that nobody has taken."""
    found = {name: waits.find(name) for name in WAITING}
    assert {name: seen and seen.status for name, seen in found.items()} == WAITING
    dues = {seen.saga_id: seen.due for seen in found.values() if seen and seen.suspended}
    assert dues == {"waits": NEVER, "timer": IN_2100, "unheard": NEVER}
    assert [seen.saga_id for seen in waits.waiting()] == ["unheard", "late"]
    words = "SELECT DISTINCT json_extract(value, '$[0]') FROM entry, json_each(body)"
    assert {"later", "answered", "denied"} <= {word for (word,) in ask(LATER, words)}

    for name, due in (("waits", None), ("timer", IN_2100)):
        with pytest.raises(SagaPending) as pending:
            waiting(None if due is None else due).orchestrator_execute(journal=waits, saga_id=name)
        assert (pending.value.awaited, pending.value.due) == ((f"{name}:b:action",), due)
    assert golden_shop.keys == []


def test_sagas_that_were_answered_are_remembered(waits: SQLiteJournal) -> None:
    """Results and errors are those of the answers, which are known when they come again."""
    again = waiting().orchestrator_execute(journal=waits, saga_id="answered")
    assert_same(again["b"], Parcel(7, Size.SMALL))
    with pytest.raises(SagaException) as caught:
        waiting().orchestrator_execute(journal=waits, saga_id="denied")
    assert repr(caught.value.operation_error) == "ValueError('too dear')"

    assert answer(waits, "answered:b:action", result=Parcel(7, Size.SMALL)).known
    assert answer(waits, "denied:b:action", error=ValueError("too dear")).known
    with pytest.raises(SagaConflict):
        answer(waits, "denied:b:action", result=1)
    assert golden_shop.keys == []


def test_recovery_takes_the_answers_in(waits: SQLiteJournal) -> None:
    """What was undone before its answer came is undone once more, under the next key."""
    done = {one.saga_id: one.outcome for one in recover(waits, max_workers=1)}

    assert done == {"unheard": SagaStatus.COMPLETED, "late": SagaStatus.COMPENSATED}
    assert golden_shop.keys == ["late:b:compensation:2"]
    assert recover(waits) == []
    gone_on = answer(waits, "waits:b:action", result="at last")
    assert (gone_on.known, gone_on.status) == (False, SagaStatus.COMPLETED)


def test_the_script_writes_sagas_that_wait(tmp_path: Path) -> None:
    """What this version writes stands as what the golden file holds."""
    assert_made_again(LATER, tmp_path)


# --- sagas of which calls were lost ---------------------------------------------------------------

LOST = HERE / "journal.1.lost.db"


@pytest.fixture
def lost(tmp_path: Path) -> Iterator[SQLiteJournal]:
    """A copy of the journal of those of which calls were lost, opened by this version."""
    golden_shop.broken.clear()
    golden_shop.keys.clear()
    copy = shutil.copyfile(LOST, tmp_path / "lost.db")
    with closing(SQLiteJournal(copy, modules=["golden_shop"])) as opened:
        yield opened


def test_what_was_lost_is_gone_on_with(lost: SQLiteJournal) -> None:
    """Called again under its key, or undone; unless it was too old, or had been given up."""
    assert {one.saga_id: one.outcome for one in recover(lost, max_workers=1)} == {
        "lost": SagaStatus.COMPLETED,
        "undo": SagaStatus.COMPENSATED,
    }
    assert golden_shop.keys == ["lost:a:action", "lost:b:action", "undo:a:compensation"]
    with pytest.raises(SagaStuck, match="may have forgotten its idempotency key"):
        pair().orchestrator_execute(journal=lost, saga_id="too-old")
    with pytest.raises(SagaException) as late:
        pair().orchestrator_execute(journal=lost, saga_id="late")
    assert late.value.operations["a"].status is Status.COMPENSATED
    numbers = {name: read(lost, name).execution for name in ("lost", "late")}
    tries = {name: fold and fold.tries for name, fold in numbers.items()}
    assert tries == {"lost": [2, 1], "late": [1, 0]}


def test_the_script_writes_sagas_of_which_calls_were_lost(tmp_path: Path) -> None:
    """What this version writes stands as what the golden file holds."""
    assert_made_again(LOST, tmp_path)


def assert_made_again(golden: Path, folder: Path) -> None:
    """Run the script, which writes just that."""
    made = folder / golden.name
    subprocess.run(
        [sys.executable, HERE / "make_journal.py", made],
        check=True,
        env={**unmeasured(), "PYTHONPATH": search_path(HERE)},
    )

    told = "SELECT saga, n, json_extract(value, '$[0]', '$[1]', '$[2]', '$[3]', '$[4]') "
    for query in (
        "SELECT saga_id, name, status, owner, epoch, tries FROM saga ORDER BY number",
        "SELECT key, saga, taken, body FROM mail ORDER BY rowid",
        told + "FROM entry, json_each(body) WHERE n > 1 ORDER BY saga, n, key",
    ):
        assert ask(made, query) == ask(golden, query)


def assert_same(one: Any, other: Any) -> None:
    """Two values are equal, and so are the types of all that is in them."""
    assert type(one) is type(other)
    assert one == other
    if isinstance(one, dict):
        assert_same(list(one), list(other))
        assert_same(list(one.values()), list(other.values()))
    elif isinstance(one, (list, tuple, set, frozenset)):
        for pair_of_items in zip(one, other, strict=True):
            assert_same(*pair_of_items)
    elif is_dataclass(one):
        for field in fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))


def test_every_saga_stands_as_it_was_left(golden: Path, journal: SQLiteJournal) -> None:
    """One of each status, and of each way to be open."""
    found = {saga_id: journal.find(saga_id) for saga_id in STATUSES}

    assert {name: seen and seen.status for name, seen in found.items()} == STATUSES
    assert len(ask(golden, "SELECT 1 FROM saga")) == len(STATUSES)


def test_a_completed_saga_gives_its_results_again(journal: SQLiteJournal) -> None:
    """By position and by name, and nothing is called."""
    results = pair().orchestrator_execute(journal=journal, saga_id="completed")

    assert results == [1, 2]
    assert results["b"] == 2
    assert golden_shop.keys == []


def test_every_kind_of_value_comes_back_equal_and_of_the_same_types(
    journal: SQLiteJournal,
) -> None:
    """Arguments are compared and results are given again, those of a child saga too."""
    results = everything().choreography_execute(journal=journal, saga_id="everything")

    assert golden_shop.keys == []
    assert_same(results["a"], tuple(VALUES))
    assert_same(results["b"], {"key": [tuple(VALUES)]})
    assert_same(results["child"], Results.of(["c"], {"c": 0}))
    assert_same(results["z"], results["child"])
    assert results["p"] == "p"
    assert results["child"]["c"] == results["z"]["c"] == "c"
    assert_same(results, everything().choreography_execute())


def test_a_compensated_saga_raises_the_same_exception(journal: SQLiteJournal) -> None:
    """It says what it would say if it were raised now, with a stand-in for the error."""
    with pytest.raises(SagaException) as recorded:
        pair().orchestrator_execute(journal=journal, saga_id="compensated")

    assert golden_shop.keys == []
    golden_shop.broken.add("b")
    with pytest.raises(SagaException) as raised:
        pair().orchestrator_execute(saga_id="compensated")
    old, new = recorded.value, raised.value
    assert type(old) is SagaException
    assert str(old) == str(new)
    assert repr(old.operation_error) == repr(new.operation_error) == "ValueError('b is broken')"
    assert old.__cause__ is old.operation_error
    assert (old.saga_id, old.operation_name, old.outcome) == (
        "compensated",
        "b",
        SagaStatus.COMPENSATED,
    )
    assert old.compensation_success_result == new.compensation_success_result == ["a undone"]
    assert {name: record.status for name, record in old.operations.items()} == {
        "a": Status.COMPENSATED,
        "b": Status.FAILED,
    }


def test_a_stuck_saga_is_stuck_still(journal: SQLiteJournal) -> None:
    """It names what could not be undone, and why."""
    with pytest.raises(
        SagaStuck, match=r"its compensation raised OSError\('undo a is broken'\)"
    ) as caught:
        pair().orchestrator_execute(journal=journal, saga_id="stuck")

    assert list(caught.value.stuck) == ["a"]
    assert golden_shop.keys == []


def test_recovery_finishes_each_open_one(journal: SQLiteJournal) -> None:
    """Forward or backward, as each was made or as far as it had come, under the recorded keys."""
    done = recover(journal, max_workers=1)

    assert [(one.saga_id, one.outcome) for one in done] == [
        ("in-doubt", SagaStatus.COMPLETED),
        ("in-the-middle", SagaStatus.COMPLETED),
        ("graph", SagaStatus.COMPENSATED),
        ("rolling-back", SagaStatus.COMPENSATED),
        ("retried", SagaStatus.COMPENSATED),
        ("started", SagaStatus.COMPLETED),
    ]
    assert golden_shop.keys == [
        "in-doubt:a:action",
        "in-doubt:b:action",
        "in-the-middle:b:action",
        "graph:a:compensation",
        "rolling-back:a:compensation",
        "retried:a:compensation:2",
        "started:a:action",
        "started:b:action",
    ]
    assert recover(journal) == []
    for saga_id in ("in-doubt", "in-the-middle", "started"):
        assert pair().orchestrator_execute(journal=journal, saga_id=saga_id) == [1, 2]


def test_a_parked_saga_says_so(journal: SQLiteJournal) -> None:
    """With the reason that was given when it was parked."""
    with pytest.raises(SagaStuck, match=r"it was parked: .*golden_shop:do"):
        pair().orchestrator_execute(journal=journal, saga_id="parked")

    assert golden_shop.keys == []


def test_a_purged_saga_is_remembered(journal: SQLiteJournal) -> None:
    """The same saga is told what became of it, and another one that the id is taken."""
    with pytest.raises(SagaConflict, match="has run before and was completed"):
        pair().orchestrator_execute(journal=journal, saga_id="purged")
    with pytest.raises(SagaConflict, match="its name or its arguments differ"):
        everything().choreography_execute(journal=journal, saga_id="purged")


def test_the_views_answer(golden: Path, path: Path, journal: SQLiteJournal) -> None:
    """For a person with nothing but sqlite3, before and after it was opened by this version."""
    for file in (golden, path):
        assert ask(file, "SELECT saga_id, status, tries FROM needs_attention") == [
            ("stuck", "stuck", 0),
            ("parked", "stuck", 1),
        ]
        timeline = "SELECT n, what, name, kind FROM timeline WHERE saga_id = 'compensated'"
        assert ask(file, timeline) == [
            (1, "defined", None, None),
            (1, "started", "a", "action"),
            (2, "succeeded", "a", "action"),
            (2, "started", "b", "action"),
            (3, "failed", "b", "action"),
            (3, "started", "a", "compensation"),
            (4, "succeeded", "a", "compensation"),
        ]
    assert journal.find("stuck") is not None


def test_opening_it_leaves_its_version_as_it_is(
    golden: Path, path: Path, journal: SQLiteJournal
) -> None:
    """The version that wrote it can read it again."""
    recover(journal)

    for pragma, number in (("application_id", 0x73616761), ("user_version", 1)):
        assert ask(path, f"PRAGMA {pragma}") == ask(golden, f"PRAGMA {pragma}") == [(number,)]


def test_the_script_writes_such_a_journal(tmp_path: Path) -> None:
    """What this version writes stands as what the golden file holds."""
    made = tmp_path / "made.db"

    subprocess.run(
        [sys.executable, HERE / "make_journal.py", made],
        check=True,
        env={**unmeasured(), "PYTHONPATH": search_path(HERE)},
    )

    query = "SELECT saga_id, name, status, owner, epoch, tries, digest FROM saga ORDER BY number"
    assert ask(made, query) == ask(PLAIN, query) == ask(WITH_FACTS, query)
    told = "SELECT saga, n, json_extract(value, '$[0]', '$[1]', '$[2]', '$[3]', '$[4]') "
    told += "FROM entry, json_each(body) WHERE n > 1 ORDER BY saga, n, key"
    assert ask(made, told) == ask(WITH_FACTS, told) == ask(PLAIN, told)
    assert [file.name for file in tmp_path.iterdir()] == ["made.db"]


def test_what_was_written_down_of_calls_and_processes_is_shown(tmp_path: Path) -> None:
    """Where there is something; a file from before has nothing, and says nothing."""
    copies = {golden: tmp_path / golden.name for golden in (PLAIN, WITH_FACTS)}
    stories = {}
    for golden, copy in copies.items():
        shutil.copyfile(golden, copy)
        with SQLiteJournal(copy).reader() as view:
            stories[golden] = [read(view, name) for name in STATUSES if name != "purged"]

    for story in stories[PLAIN]:
        assert story.process is None
        assert {(line.began, line.took, line.process) for line in story.lines} <= {(None,) * 3}
    for story in stories[WITH_FACTS]:
        assert story.process is not None
        assert (story.process.host, story.process.version) == ("warehouse-1", "0.1.0")
        ended = [line for line in story.lines if line.kind in ("succeeded", "failed")]
        assert all(line.took is not None and line.waited is not None for line in ended)
        since = [(line.began or 0) - story.seen.created for line in ended]
        assert all(
            0 <= begin < line.at - story.seen.created + 1e-6
            for begin, line in zip(since, ended, strict=True)
        )
