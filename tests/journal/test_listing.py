"""What a listing of sagas costs: counted in steps of SQLite and in its plans, never in time."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from recorded import begin

import py_api_saga
from py_api_saga import JournalError
from py_api_saga import journal as journals
from py_api_saga.clock import NEVER
from py_api_saga.durable.recovery import recover
from py_api_saga.journal.changes import Append, Create, Letter, Mail, Mailing, Row
from py_api_saga.journal.format.sagas import awaited_in
from py_api_saga.journal.lasting import LastingJournal
from py_api_saga.journal.sqlite.connecting import ADDED
from py_api_saga.journal.sqlite.journal import SQLiteJournal
from py_api_saga.journal.sqlite.reading import Reader
from py_api_saga.status import SagaStatus

HALF = SagaStatus.RUNNING, SagaStatus.COMPENSATING, SagaStatus.STUCK
COLUMN = 3  # of what EXPLAIN QUERY PLAN answers: the text


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SQLiteJournal]:
    """Give a journal in a file."""
    journal = SQLiteJournal(tmp_path / "sagas.db", durability="process")
    yield journal
    journal.close()


def waits(journal: SQLiteJournal, count: int) -> None:
    """Have so many more sagas that wait for somebody."""
    first = len(journal.waiting())
    for start in range(first, first + count, 500):
        ids = range(start, min(start + 500, first + count))
        journal.write(*(Create(f"w{i}", "waits", "[1]", driven=False) for i in ids))


def suspend(journal: SQLiteJournal, count: int, due: float = NEVER) -> None:
    """Have so many sagas wait for answers."""
    for start in range(0, count, 500):
        creates = [Create(f"s{start + i}", "waits", "[1]") for i in range(min(500, count - start))]
        journal.write(*creates)
        rows = [Append(create.check(), "[2]", None) for create in creates]
        for row in rows:
            row.mailing = Mailing(suspends=True, due=due)
        journal.write(*rows)


def test_what_waits_for_an_answer_costs_nothing_until_it_is_due(journal: SQLiteJournal) -> None:
    """Neither does a poll get slower by it, nor whoever opens the file and asks who drives what."""
    waits(journal, 5)
    looks: list[Callable[[], object]] = [journal.waiting, journal.shared.file.reader.owners]
    few = [steps_of(journal, look) for look in looks]
    suspend(journal, 3_000)

    for look, before in zip(looks, few, strict=True):
        assert 0 < steps_of(journal, look) <= 1.2 * before
    assert len(journal.waiting()) == 5


def test_an_answer_costs_what_it_is_not_what_there_is(journal: SQLiteJournal) -> None:
    """Nor does one that is looked for, whatever else waits and however many answers were taken."""
    suspend(journal, 2_000)
    one, *_, last = journal.select(name="waits")
    journal.write(Mail(one.saga_id, one.number, Letter("one", "[]")))
    alone = (
        steps_of(journal, journal.waiting),
        steps_of(journal, lambda: journal.mail([one.number])),
    )
    for seen in journal.select(name="waits")[1:-1]:
        journal.write(Mail(seen.saga_id, seen.number, Letter(seen.saga_id, "[]")))
    listed = steps_of(journal, lambda: journal.waiting(1))
    read = steps_of(journal, lambda: journal.mail([one.number]))

    assert len(journal.waiting()) == 1_999
    assert journal.mail([last.number]) == {last.number: []}
    assert read <= 1.5 * alone[1]
    assert listed < steps_of(journal, journal.waiting) / 5
    query = "UPDATE mail SET taken = 1 WHERE key <> 'one'"
    journal.close()
    with closing(sqlite3.connect(journal.path)) as database, database:
        database.execute(query)
    assert [seen.saga_id for seen in journal.waiting()] == [one.saga_id]
    assert steps_of(journal, journal.waiting) <= 1.5 * alone[0]


def steps_of(journal: SQLiteJournal, look: Callable[[], object]) -> int:
    """Count the steps of SQLite's machine that a reading takes, in tens."""
    connection = journal.shared.file.reader.connection
    assert connection is not None
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.set_progress_handler(count, 10)
    look()
    connection.set_progress_handler(None, 10)
    return steps


def test_what_waits_costs_what_is_asked_for(journal: SQLiteJournal) -> None:
    """A hundred of three hundred are looked up as fast as a hundred of six thousand."""
    waits(journal, 300)
    few = steps_of(journal, lambda: journal.waiting(100))
    waits(journal, 5_700)

    many = steps_of(journal, lambda: journal.waiting(100))

    assert 0 < many <= 1.2 * few
    assert steps_of(journal, journal.waiting) > 10 * many


def test_what_waits_is_listed_in_pages_without_a_gap(journal: SQLiteJournal) -> None:
    """Whatever the number: each once, oldest first, also behind many that are driven."""
    for _ in range(400):
        begin(journal, f"driven{_}")
    waits(journal, 1_700)

    assert [seen.saga_id for seen in journal.waiting()] == [f"w{i}" for i in range(1_700)]
    assert [seen.saga_id for seen in journal.waiting(3)] == ["w0", "w1", "w2"]


def test_a_recovery_with_a_limit_reads_no_more(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes no summary of the thousands that are left for another time."""
    waits(journal, 3_000)
    made: list[int] = []
    real = Reader.summaries

    def summaries(reader: Reader, name: str, parameters: Any) -> Any:
        found = real(reader, name, parameters)
        made.append(len(found))
        return found

    monkeypatch.setattr(Reader, "summaries", summaries)

    recover(journal, limit=5)

    assert 0 < sum(made) < 300


def plan_of(journal: SQLiteJournal, look: Callable[[], object]) -> list[str]:
    """Give SQLite's plan for what a reading asks, line by line."""
    connection = journal.shared.file.reader.connection
    assert connection is not None
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    look()
    connection.set_trace_callback(None)
    return [row[COLUMN] for sql in asked for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]


@pytest.mark.parametrize(
    ("look", "index"),
    [
        (lambda journal: journal.select(name="waits", limit=20), "saga_named"),
        (lambda journal: journal.select({SagaStatus.COMPLETED}, "waits"), "saga_named"),
        (lambda journal: journal.select({SagaStatus.STUCK}), "saga_stuck"),
        (lambda journal: journal.select({SagaStatus.RUNNING}, limit=20), "saga_open"),
        (lambda journal: journal.select(HALF, limit=20), "saga_stuck"),
        (lambda journal: journal.select({SagaStatus.COMPENSATED}, limit=20), "saga_compensated"),
        (lambda journal: journal.select({SagaStatus.STUCK}, below=9, limit=20), "number<?"),
        (lambda journal: journal.select(name="waits", below=9, limit=20), "rowid<?"),
        (lambda journal: journal.select(below=9, limit=20), "rowid<?"),
        (lambda journal: journal.select({SagaStatus.RUNNING}, prefix="w", limit=20), "saga_open"),
        (lambda journal: journal.select({SagaStatus.RUNNING}, limit=20), "saga_later"),
        (lambda journal: journal.select(HALF, below=9, limit=20), "saga_later (number<?)"),
        (lambda journal: journal.waiting(20), "saga_open"),
        (lambda journal: journal.waiting(20), "saga_tried"),
        (lambda journal: journal.waiting(30), "mail_new"),
        (lambda journal: journal.mail([1]), "mail_new"),
    ],
)
def test_what_is_looked_for_often_has_an_index(
    journal: SQLiteJournal, look: Callable[[SQLiteJournal], object], index: str
) -> None:
    """So it does not get slower with all that has ended; nor is anything sorted."""
    waits(journal, 10)
    suspend(journal, 10)

    plan = plan_of(journal, lambda: look(journal))

    assert any(index in line for line in plan), plan
    assert not any(line.endswith("SCAN saga") or "TEMP B-TREE" in line for line in plan), plan


def test_a_page_further_down_costs_what_the_first_one_does(journal: SQLiteJournal) -> None:
    """It goes on where that has ended, and counts nothing that lies before."""
    waits(journal, 3_000)
    first = steps_of(journal, lambda: journal.select(limit=50))

    deep = steps_of(journal, lambda: journal.select(below=100, limit=50))

    assert 0 < deep <= 1.2 * first


def test_sagas_are_counted_by_their_indexes(journal: SQLiteJournal) -> None:
    """So what has ended costs next to nothing: SQLite counts the cells of its pages."""
    waits(journal, 10)
    few = steps_of(journal, journal.tally)
    plan = plan_of(journal, journal.tally)
    for start in range(0, 4_000, 500):
        ended = [Create(f"e{i}", "x", "[1]") for i in range(start, start + 500)]
        journal.write(*ended)
        journal.write(*(Append(one.claim, "[2]", SagaStatus.COMPLETED) for one in ended))

    assert steps_of(journal, journal.tally) <= 1.5 * few
    assert journal.tally()[SagaStatus.COMPLETED] == 4_000
    for index in ("saga_open", "saga_later", "saga_stuck", "saga_compensated", "autoindex_saga_1"):
        assert any(f" {index}" in line or line.endswith(index) for line in plan), plan


def test_ids_that_begin_alike_are_found_by_their_index(journal: SQLiteJournal) -> None:
    """Those alone are sorted, not all that there is."""
    waits(journal, 10)

    plan = plan_of(journal, lambda: journal.select(prefix="w", limit=20))

    assert any("saga_id>? AND saga_id<?" in line for line in plan), plan


def indexes(path: str) -> set[str]:
    """Give the names of the indexes of a file."""
    connection = sqlite3.connect(path)
    found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    connection.close()
    return found


def test_a_file_of_an_earlier_release_gets_its_indexes_from_whoever_writes(
    journal: SQLiteJournal,
) -> None:
    """Whoever only reads it does without them, and finds the same."""
    waits(journal, 3)
    journal.close()
    connection = sqlite3.connect(journal.path)
    for name in ADDED:
        connection.execute(f"DROP INDEX {name}")
    connection.close()
    reader = Reader(journal.path)
    filters = {"before": None, "after": None, "first": None, "past": None}
    assert len(reader.select((), None, None, name="waits", **filters)) == 3
    assert len(reader.select(HALF, None, None, name=None, **filters)) == 3
    assert len(reader.select({SagaStatus.COMPENSATED}, None, None, name=None, **filters)) == 0
    assert reader.tally() == {0: 3, 2: 0, 3: 0, 4: 0}
    with reader.turn:
        reader.close()
    assert not indexes(journal.path) & set(ADDED)

    journal.write(Create("more", None, "[1]"))

    assert indexes(journal.path) >= set(ADDED)


def test_a_reader_sees_what_was_written(journal: SQLiteJournal) -> None:
    """It reads the same file, and drives nothing."""
    waits(journal, 2)

    with journal.reader() as view:
        assert [one.saga_id for one in view.select()] == ["w1", "w0"]
        assert view.place == journal.place


def test_whoever_looks_on_has_a_reader_where_nothing_is_kept(journal: SQLiteJournal) -> None:
    """So a journal of the user's own need not say more."""
    waits(journal, 1)

    with LastingJournal.onlooker(journal) as view:
        assert [one.saga_id for one in view.select()] == ["w0"]


def test_what_is_not_a_journal_is_not_offered_as_one() -> None:
    """The package says so, as a module does."""
    with pytest.raises(AttributeError, match="has no attribute 'RedisJournal'"):
        _ = journals.RedisJournal
    with pytest.raises(AttributeError, match="module 'py_api_saga' has no attribute 'recovery'"):
        _ = py_api_saga.recovery


def test_an_empty_file_is_no_journal_to_be_read(tmp_path: Path) -> None:
    """Whoever writes there first makes one of it; whoever reads makes nothing."""
    path = tmp_path / "empty"
    path.touch()
    with closing(SQLiteJournal(path)) as journal:
        with pytest.raises(JournalError, match="is not a saga journal: it is empty"):
            journal.reader()
        assert path.stat().st_size == 0
        journal.write(Create("a", None, "[1]"))
        with journal.reader() as view:
            assert [one.saga_id for one in view.select()] == ["a"]


@pytest.mark.parametrize("rows", [[], [Row(1, 0.0, "no JSON")], [Row(1, 0.0, "[[1]]")]])
def test_a_saga_that_makes_no_sense_waits_for_no_name(rows: list[Row]) -> None:
    """Nothing is raised on the way to what is shown of it."""
    assert awaited_in(rows) is None
