"""Answers in a file: lost commits, forks, files of earlier releases, and what they cost."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from paths import TESTS
from recorded import Flaky, begin, bodies, seen
from world import PATIENCE, in_child

from py_api_saga.clock import NEVER
from py_api_saga.exceptions import JournalError, SagaInProgress
from py_api_saga.journal.changes import (
    LONGEST_WAIT,
    Append,
    Claim,
    Create,
    Leave,
    Letter,
    Mail,
    Mailing,
    Take,
)
from py_api_saga.journal.sqlite import file as journal_file
from py_api_saga.journal.sqlite.connecting import ADDED, ANEW, MAIL
from py_api_saga.journal.sqlite.journal import SQLiteJournal
from py_api_saga.journal.sqlite.queries import SCHEMA
from py_api_saga.status import SagaStatus

PLAIN = TESTS / "golden" / "journal.1.db"
FIRST = Letter("a:pay:action", '["answered", 1]')
OTHER = Letter("a:pay:action", '["denied", []]')


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SQLiteJournal]:
    """An empty journal in a file."""
    with closing(SQLiteJournal(tmp_path / "sagas.db", durability="process")) as opened:
        yield opened


def row(claim: Claim, *took: str, status: SagaStatus | None = None, body: str = "[2]") -> Append:
    """Make a row that suspends its saga, or ends it, unless there is mail."""
    append = Append(claim, body, status)
    append.mailing = Mailing(took, suspends=status is None)
    return append


def found(append: Append) -> list[Letter] | None:
    """Give what a row has found in the mail; None if it was not written."""
    assert append.mailing is not None
    return None if append.mailing.mail is None else [*append.mailing.mail]


ENDS = pytest.mark.parametrize("status", [None, SagaStatus.COMPLETED, SagaStatus.STUCK])


# --- commits that only seem to fail ---------------------------------------------------------------


class Meanwhile(Flaky):
    """A commit that is on disk when it seems to fail; something happens until it is tried again."""

    def __init__(self, journal: SQLiteJournal, *statements: str, after: bool = True) -> None:
        super().__init__(journal, after=after)
        self.statements = statements

    def rollback(self) -> None:
        """Look as if nothing were open, which is so once the commit is on disk."""

    def execute(self, sql: str, *parameters: object) -> object:
        """Do what somebody else does, before the second transaction begins."""
        if sql == "BEGIN IMMEDIATE" and not self.times:
            for statement in self.statements:
                self.real.execute(statement)
            self.statements = ()
        return super().execute(sql, *parameters)


@ENDS
@pytest.mark.parametrize("after", [False, True])
def test_a_saga_that_was_let_go_by_a_lost_commit_is(
    journal: SQLiteJournal, status: SagaStatus | None, *, after: bool
) -> None:
    """Once, whether the commit was on disk or not; the claim is over, and nobody was in between."""
    claim = begin(journal)
    Flaky(journal, after=after)
    journal.write(append := row(claim, status=status))

    append.check()
    assert found(append) == []
    assert claim.over
    assert bodies(journal) == ["[1]", "[2]"]
    assert (seen(journal).owner, seen(journal).due) == (0, 0 if status else NEVER)
    assert seen(journal).status is (status or SagaStatus.RUNNING)


CLAIMED = "UPDATE saga SET epoch = epoch + 1, owner = 77, due = 0"
GONE_ON = "INSERT INTO entry VALUES(1, 3, 0, '[3]')"
POSTED = "INSERT INTO mail VALUES('a:pay:action', 1, 0, 0, '[]')"


@ENDS
@pytest.mark.parametrize("meanwhile", [(CLAIMED,), (POSTED,), (POSTED, CLAIMED, GONE_ON)])
def test_whoever_comes_after_a_lost_commit_takes_nothing_away(
    journal: SQLiteJournal, status: SagaStatus | None, meanwhile: tuple[str, ...]
) -> None:
    """It had let the saga go: that another one drives it now, or an answer has come, is his."""
    claim = begin(journal)
    Meanwhile(journal, *meanwhile)
    journal.write(append := row(claim, status=status))

    append.check()
    assert found(append) == []
    assert claim.over
    assert seen(journal).owner == 77 * (CLAIMED in meanwhile)
    assert len(bodies(journal)) == 2 + (GONE_ON in meanwhile)
    assert len(journal.mail([1])[1]) == (POSTED in meanwhile)


@ENDS
def test_a_lost_commit_that_has_found_an_answer_keeps_its_saga(
    journal: SQLiteJournal, status: SagaStatus | None
) -> None:
    """It is told of the answer all the same, and of what has come since."""
    claim = begin(journal)
    journal.write(Mail("a", claim.number, FIRST))
    Meanwhile(journal, POSTED.replace("pay", "ask"))
    journal.write(append := row(claim, status=status))

    append.check()
    assert [letter.key for letter in found(append) or ()] == [FIRST.key, "a:ask:action"]
    assert not claim.over
    assert journal.drives(seen(journal))
    journal.write(last := row(claim, FIRST.key, "a:ask:action", status=status, body="[3]"))
    assert found(last) == []
    assert claim.over


@pytest.mark.parametrize("meanwhile", [(CLAIMED,), (CLAIMED, GONE_ON.replace("3", "2"))])
def test_whoever_takes_over_what_was_not_written_has_it(
    journal: SQLiteJournal, meanwhile: tuple[str, ...]
) -> None:
    """Nothing was let go: that is a takeover like any, and nothing is written over it."""
    claim = begin(journal)
    Meanwhile(journal, *meanwhile, after=False)
    journal.write(append := row(claim, body="[9]"))

    with pytest.raises(SagaInProgress, match="taken over"):
        append.check()
    assert claim.over
    assert "[9]" not in bodies(journal)


def test_a_row_that_only_looks_into_the_mail_is_taken_over_like_any(journal: SQLiteJournal) -> None:
    """Though it is on disk: it would have let nothing go."""
    claim = begin(journal)
    Meanwhile(journal, CLAIMED)
    append = Append(claim, "[2]", None)
    append.mailing = Mailing()
    journal.write(append)

    with pytest.raises(SagaInProgress, match="taken over"):
        append.check()
    assert bodies(journal) == ["[1]", "[2]"]


@pytest.mark.parametrize("after", [False, True])
def test_an_answer_in_a_lost_commit_is_given_once(journal: SQLiteJournal, *, after: bool) -> None:
    """And it is new, unless one of the same key was there before."""
    begin(journal)
    Flaky(journal, after=after)
    journal.write(mail := Mail("a", 1, FIRST))
    mail.check()
    assert mail.there is None
    Flaky(journal, after=after)
    journal.write(again := Mail("a", 1, OTHER), create := Create("b", "x", "[1]"))

    again.check()
    assert again.there == FIRST
    assert create.check() is create.claim
    assert journal.mail([1]) == {1: [FIRST]}


def test_an_answer_that_was_not_written_may_come_second(journal: SQLiteJournal) -> None:
    """Whoever was faster until the second attempt is found, even if it says the same."""
    begin(journal)
    posted = POSTED.replace("[]", FIRST.body)
    Meanwhile(journal, posted, after=False)
    journal.write(mail := Mail("a", 1, FIRST))

    mail.check()
    assert mail.there == FIRST


def test_an_answer_that_cannot_be_written_is_an_error(journal: SQLiteJournal) -> None:
    """Whether it is on disk is not known: whoever has it gives it again."""
    begin(journal)
    Flaky(journal, after=True, times=journal_file.TRIES)
    journal.write(mail := Mail("a", 1, FIRST))
    with pytest.raises(JournalError, match="disk I/O error"):
        mail.check()

    journal.write(again := Mail("a", 1, FIRST))
    assert again.check() is again.claim
    assert again.there == FIRST


# --- batches, forks -------------------------------------------------------------------------------


def test_one_batch_has_answers_rows_and_errors(journal: SQLiteJournal) -> None:
    """One that is refused reaches no other, though all of it is written one by one then."""
    claims = {i: begin(journal, i) for i in "abc"}
    journal.leave(claims["c"])
    mails = [Mail(i, claims[i].number, Letter(f"{i}:k", "[]")) for i in "ab"]
    rows = [row(claims[i], body="[2]") for i in "ab"]
    gone = Mail("z", 99, Letter("z:k", "[]"))
    late = Append(claims["c"], "[2]", None)
    stale = Take(seen(journal, "c")._replace(epoch=7))
    journal.write(mails[0], rows[0], rows[1], mails[1], gone, late, stale)

    assert found(rows[0]) == [mails[0].letter]
    assert found(rows[1]) == []
    assert [mail.error for mail in mails] == [None, None]
    assert isinstance(gone.error, LookupError)
    assert isinstance(late.error, SagaInProgress)
    assert isinstance(stale.error, SagaInProgress)
    assert [seen.saga_id for seen in journal.waiting()] == ["c", "b"]


def test_answers_and_suspensions_race_without_a_loss(journal: SQLiteJournal) -> None:
    """Either the row finds the answer, or whoever gave it finds the saga left."""
    claims = [begin(journal, f"{i}") for i in range(100)]
    missed, rows = [], [row(claim) for claim in claims]

    def answer() -> None:
        for claim in claims:
            journal.write(Mail(claim.saga_id, claim.number, Letter(claim.saga_id, "[]")))
            if journal.drives(seen(journal, claim.saga_id)):
                missed.append(claim.saga_id)

    answering = threading.Thread(target=answer)
    answering.start()
    for one in rows:
        journal.write(one)
    answering.join(PATIENCE)

    assert {*missed} <= {one.claim.saga_id for one in rows if found(one)}
    left = {one.claim.saga_id for one in rows if not found(one)}
    assert {seen.saga_id for seen in journal.waiting()} == left


def test_a_child_answers_what_its_parent_drives(journal: SQLiteJournal) -> None:
    """And suspends nothing of its; the parent finds the answer with its next row."""
    claim = begin(journal)

    def child() -> str:
        journal.write(append := row(claim), mail := Mail("a", claim.number, FIRST))
        return f"{append.error!r} {mail.error} {found(append)}"

    said = in_child(child)
    journal.write(append := row(claim))

    assert said.startswith("SagaInProgress(")
    assert said.endswith(" None None")
    assert found(append) == [FIRST]
    assert bodies(journal) == ["[1]", "[2]"]


# --- files of an earlier release ------------------------------------------------------------------


def objects(path: str | Path) -> dict[str, str]:
    """Give what a file is made of, by name, as it was written."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return dict(
            database.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        )


def test_a_file_from_before_there_was_mail_gets_it_from_whoever_writes(tmp_path: Path) -> None:
    """Whoever only looks finds none, and changes nothing; then it is as a new file is."""
    path = tmp_path / "sagas.db"
    shutil.copyfile(PLAIN, path)
    before = objects(path)
    assert not {*MAIL, "saga_later", "saga_tried"} & {*before}
    with closing(SQLiteJournal(path)) as journal:
        with journal.reader() as view:
            assert view.mail([1, 2]) == view.taken_mail([1, 2]) == {1: [], 2: []}
            assert view.left_mail(NEVER) == []
            assert view.tally()[SagaStatus.RUNNING] == 4
            assert len(view.select({SagaStatus.RUNNING, SagaStatus.COMPENSATING})) == 6
            assert view.health().damage == []
        assert objects(path) == before
        waiting = [seen.saga_id for seen in journal.waiting()]
        journal.write(mail := Mail("started", seen(journal, "started").number, FIRST))
        mail.check()
        assert [seen.saga_id for seen in journal.waiting()] == waiting

    assert waiting == ["in-doubt", "in-the-middle", "graph", "rolling-back", "retried", "started"]
    now = objects(path)
    made = {name: now[name] for name in (*ANEW, *MAIL, *ADDED)}
    with closing(SQLiteJournal(tmp_path / "new.db")) as journal:
        begin(journal)
    new = objects(tmp_path / "new.db")
    assert made == {name: new[name] for name in made}
    assert {*now} == {*new}


def test_a_file_that_can_only_be_read_has_no_mail_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal of an earlier release that is mounted by itself: all that is read works."""
    path = tmp_path / "sagas.db"
    shutil.copyfile(PLAIN, path)
    monkeypatch.setattr("py_api_saga.journal.sqlite.shared.mounted_alone", lambda _: "mounted")
    with closing(SQLiteJournal(path)) as journal:
        assert journal.mail([1]) == {1: []}
        assert seen(journal, "started").status is SagaStatus.RUNNING
    assert "mail" not in objects(path)


def test_a_file_is_renewed_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails in the middle of it leaves the file as it was, and is done by the next one."""
    path = tmp_path / "sagas.db"
    shutil.copyfile(PLAIN, path)
    before = objects(path)
    broken = {**SCHEMA, "mail_new": "CREATE INDEX mail_new ON nothing(saga)"}
    with monkeypatch.context() as during:
        during.setattr("py_api_saga.journal.sqlite.connecting.SCHEMA", broken)
        with closing(SQLiteJournal(path)) as journal:
            journal.write(create := Create("more", None, "[1]"))
            assert isinstance(create.error, JournalError)
    assert objects(path) == before

    with closing(SQLiteJournal(path)) as journal:
        journal.write(create := Create("more", None, "[1]"))
        create.check()
    assert {*MAIL} <= {*objects(path)}


# --- who is looked for ----------------------------------------------------------------------------


def test_what_waits_and_is_not_due_needs_nobody(journal: SQLiteJournal) -> None:
    """Neither the check nor the view counts it; once it is due or answered, it is looked for."""
    for saga_id in ("never", "later", "over", "answered", "off"):
        append = row(begin(journal, saga_id))
        assert append.mailing is not None
        append.mailing.due = {
            "later": time.time() + 10 * LONGEST_WAIT,
            "over": time.time() - 1,
        }.get(saga_id, NEVER)
        journal.write(append)
    assert journal.check() == ["1 open sagas have nobody who drives them: recover them"]

    def attention() -> list[str]:
        with closing(sqlite3.connect(journal.path)) as database:
            return [row[0] for row in database.execute("SELECT saga_id FROM needs_attention")]

    assert attention() == ["over"]
    journal.write(take := Take(seen(journal, "off"), counted=True, delay=600.0))
    journal.write(Leave(take.check()))
    assert journal.check() == ["2 open sagas have nobody who drives them: recover them"]
    assert attention() == ["over", "off"]
    journal.write(Mail("answered", seen(journal, "answered").number, Letter("answered:k", "[]")))
    assert [seen.saga_id for seen in journal.waiting()] == ["over", "answered"]


def test_what_is_due_is_listed_in_pages_without_a_gap(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By when it is, down to the millisecond, many at the same moment, and answers behind it."""
    monkeypatch.setattr("py_api_saga.journal.sqlite.shared.PAGE", 4)
    now = 1_795_000_000.0
    monkeypatch.setattr(journal, "now", lambda: now)
    dues = [now - (i * 37 % 25) / 1000 for i in range(200)]
    dues += [NEVER] * 30 + [now + 60.0] * 10
    ids = []
    for i, due in enumerate(dues):
        append = row(begin(journal, f"{i}"))
        assert append.mailing is not None
        append.mailing.due = due
        journal.write(append)
        if due > now and i % 2:
            for key in "kl":
                journal.write(Mail(f"{i}", append.claim.number, Letter(f"{i}:{key}", "[]")))
    in_order = sorted(range(200), key=lambda i: (round(dues[i] * 1000), i))
    ids = [f"{i}" for i in [*in_order, *range(201, 240, 2)]]

    assert [seen.saga_id for seen in journal.waiting()] == ids
    assert [seen.saga_id for seen in journal.waiting(7)] == ids[:7]
