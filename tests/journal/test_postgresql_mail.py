"""Answers that come later, where transactions run at the same time: each is found by somebody.

Under READ COMMITTED who suspends a saga and who answers it may each look before the other one has
committed. A lock on the row of the saga lets one of them wait, and a statement that comes after the
lock see what was committed before.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any, NamedTuple

import depot
import letterbox
import pytest
from letterbox import wait
from machines import Boottime, Losing, Slow, expire, stand_still, transaction, write, written
from recorded import begin, bodies, seen
from servers.children import Missing
from servers.pgbouncer import pgbouncer
from servers.shared import Database
from world import PATIENCE, until

from py_api_saga import JournalError, SagaConflict, SagaInProgress, SagaStatus, answer, clock
from py_api_saga.clock import NEVER
from py_api_saga.journal import PostgreSQLJournal
from py_api_saga.journal.changes import (
    Append,
    Change,
    Claim,
    Create,
    Letter,
    Mail,
    Mailing,
    Purge,
    Take,
)
from py_api_saga.journal.postgresql.writes import Script

Open = Callable[..., PostgreSQLJournal]
BODY = '["answered",1]'
TABLES = ("saga", "entry", "mail", "owner", "format")


@pytest.fixture
def journal(open_at: Open) -> PostgreSQLJournal:
    """An empty one."""
    return open_at()


@pytest.fixture
def other(open_at: Open) -> PostgreSQLJournal:
    """The same, on another machine."""
    return open_at("other")


def waits(claim: Claim, *took: str, body: str = "[2]", **what: Any) -> Append:
    """Make the row that suspends a saga, or looks into its mail."""
    append = Append(claim, body, what.pop("status", None))
    append.mailing = Mailing(took, **{"suspends": True, **what})
    return append


def answers(claim: Claim, key: str = "pay", body: str = BODY) -> Mail:
    """Make an answer to a saga."""
    return Mail(claim.saga_id, claim.number, Letter(f"{claim.saga_id}:{key}:action", body))


def keys(append: Append) -> list[str]:
    """Give the operations whose answers a row has found."""
    append.check()
    assert append.mailing is not None
    assert append.mailing.mail is not None
    return [letter.key.split(":")[1] for letter in append.mailing.mail]


class Asking(NamedTuple):
    """The statements of one change, as a journal asks them; each is sent when a test says so."""

    journal: PostgreSQLJournal
    change: Change

    def ask(self, connection: Any, *names: str) -> list[Any]:
        """Ask those of these names, and give what the last one has found."""
        found: list[Any] = []
        script = Script(self.journal.bench.desk.owner, [self.change], (), ())
        asked = dict([*script.before_claims(), *script.claiming(self.journal.bench.desk.owner)])
        for name in names:
            query = self.journal.bench.server.queries[name]
            found = connection.execute(query, asked[name]).fetchall()
        return found


# --- the race -------------------------------------------------------------------------------------


def test_an_answer_does_not_slip_in_while_its_saga_is_being_suspended(
    journal: PostgreSQLJournal, other: PostgreSQLJournal, database: Database
) -> None:
    """It is on record after the suspension: whoever has given it sees that nobody drives it."""
    claim = begin(journal)
    mail = answers(claim)
    with transaction(database) as driver:
        suspending = Asking(journal, waits(claim))
        suspending.ask(driver, "append")
        posting = written(other, mail)
        until(lambda: mail.settled or other.bench.commits > 2)
        assert not mail.settled
        assert suspending.ask(driver, "mailing") == [(claim.number, None, None)]
        driver.commit()
    posting.join(PATIENCE)

    assert mail.check() is mail.claim
    assert not other.drives(seen(other))
    assert [found.saga_id for found in other.waiting()] == ["a"]


def test_a_saga_is_not_suspended_over_an_answer_that_is_being_given(
    journal: PostgreSQLJournal, other: PostgreSQLJournal, database: Database
) -> None:
    """Whoever drives it waits for that to be on record, finds it, and goes on driving."""
    claim = begin(journal)
    suspending = waits(claim)
    with transaction(database) as answerer:
        assert Asking(other, answers(claim)).ask(answerer, "post") == [(claim.number,)]
        writing = written(journal, suspending)
        until(lambda: suspending.settled or journal.bench.commits > 2)
        assert not suspending.settled
        answerer.commit()
    writing.join(PATIENCE)

    assert keys(suspending) == ["pay"]
    assert journal.drives(seen(other))
    assert not claim.over
    assert bodies(journal) == ["[1]", "[2]"]


def test_what_is_read_of_the_mail_was_committed_before_the_lock(
    journal: PostgreSQLJournal, other: PostgreSQLJournal, database: Database
) -> None:
    """The statement that locks may have begun before: what it sees is older than its lock."""
    claim = begin(journal)
    queries = journal.bench.server.queries
    waiting = queries["append"].replace(b" SKIP LOCKED", b"")
    journal.bench.server.queries = {**queries, "append": waiting}
    suspending = waits(claim)
    with transaction(database) as answerer:
        Asking(other, answers(claim)).ask(answerer, "post")
        writing = written(journal, suspending)
        until(lambda: database.ask("SELECT 1 FROM pg_locks WHERE NOT granted"))
        answerer.commit()
    writing.join(PATIENCE)

    assert keys(suspending) == ["pay"]


class Race:
    """Races of a suspension and an answer, on two connections; how each went is counted.

    Both hold their transactions open for a moment, as a network does.
    """

    def __init__(self, journal: PostgreSQLJournal, database: Database) -> None:
        self._journal, self._database = journal, database
        self._chance = random.Random(3)  # noqa: S311 - the same each time
        self.went: Counter[str] = Counter()

    def run(self, rounds: int) -> Counter[str]:
        """Make so many."""
        with transaction(self._database) as driver, transaction(self._database) as answerer:
            for _ in range(rounds):
                claim = begin(self._journal, f"s{secrets.token_hex(6)}")
                found: dict[str, bool] = {}
                threads = [
                    threading.Thread(target=self._suspends, args=(driver, claim, found)),
                    threading.Thread(target=self._answers, args=(answerer, claim, found)),
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join(PATIENCE)
                self._journal.leave(claim)
                who = [name for name in ("driver", "answerer") if found[name]]
                self.went[who[0] if who else "missed"] += 1
        return self.went

    def _pause(self) -> None:
        time.sleep(self._chance.random() * 0.003)

    def _suspends(self, connection: Any, claim: Claim, found: dict[str, bool]) -> None:
        asking = Asking(self._journal, waits(claim))
        while not asking.ask(connection, "append"):  # it is being answered
            connection.commit()
        self._pause()
        found["driver"] = asking.ask(connection, "mailing") != [(claim.number, None, None)]
        self._pause()
        connection.commit()

    def _answers(self, connection: Any, claim: Claim, found: dict[str, bool]) -> None:
        self._pause()
        asking = Asking(self._journal, answers(claim))
        while not asking.ask(connection, "post"):  # it is being suspended
            connection.commit()
        self._pause()
        connection.commit()
        owner = "SELECT owner FROM saga_saga WHERE number = %s"
        found["answerer"] = connection.execute(owner, (claim.number,)).fetchone() == (0,)
        connection.commit()


def test_many_races_of_an_answer_and_a_suspension(
    journal: PostgreSQLJournal, database: Database
) -> None:
    """Whichever comes first, one of the two finds the other."""
    stand_still(journal)
    went = Race(journal, database).run(40)

    assert went["missed"] == 0
    assert went["driver"] + went["answerer"] == 40


def test_two_machines_that_answer_each_others_sagas_do_not_wait_for_each_other(
    journal: PostgreSQLJournal, other: PostgreSQLJournal, database: Database
) -> None:
    """In transactions that write what each drives as well: the server would have to end one."""
    mine, theirs = begin(journal, "mine"), begin(other, "theirs")
    with transaction(database) as one, transaction(database) as two:
        for connection in (one, two):
            connection.execute("SET lock_timeout = '2s'")
        assert Asking(journal, waits(mine)).ask(one, "append") == [(mine.number,)]
        assert Asking(other, waits(theirs)).ask(two, "append") == [(theirs.number,)]
        assert Asking(journal, answers(theirs)).ask(one, "post") == []
        assert Asking(other, answers(mine)).ask(two, "post") == []


def test_many_answers_of_two_machines_stand_in_nobodys_way(
    journal: PostgreSQLJournal, other: PostgreSQLJournal
) -> None:
    """Nobody waits for a lock, so no two wait for each other: all is on record, each once."""
    claims = [begin(journal, f"s{i}") for i in range(12)]
    rows = [waits(claim) for claim in claims]
    mails = [
        [answers(claim, "pay" if same else f"of{machine}") for claim in order for same in (0, 1)]
        for machine, order in ((1, claims), (2, claims[::-1]))
    ]
    failed: list[BaseException] = []
    for one in (journal, other):
        one.bench.server.note = failed.append  # type: ignore[method-assign,assignment]
    threads = [
        threading.Thread(target=where.write, args=what, daemon=True)
        for where, what in ((journal, mails[0]), (other, mails[1]), (journal, rows))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    for mail in (mail for part in mails for mail in part):
        mail.check()
    there = [
        [mail.there for mail in part if mail.letter.key.endswith("pay:action")] for part in mails
    ]
    assert all(
        (one is None) != (two is None) for one, two in zip(there[0], there[1][::-1], strict=True)
    )
    found = journal.mail([claim.number for claim in claims])
    assert {len(letters) for letters in found.values()} == {3}
    assert failed == []


# --- what somebody else holds ---------------------------------------------------------------------


def test_an_answer_to_a_saga_whose_row_is_locked_keeps_nobody_waiting(
    journal: PostgreSQLJournal, database: Database
) -> None:
    """`SELECT … FOR UPDATE` in psql: that answer is written once nobody holds the row."""
    held, free = begin(journal, "held"), begin(journal, "free")
    mail = answers(held)
    with transaction(database) as person:
        person.execute("SELECT FROM saga_saga WHERE saga_id = 'held' FOR UPDATE")
        waiting = written(journal, mail)
        for n in range(2, 6):
            write(journal, Append(free, f"[{n}]", None)).check()
            write(journal, answers(free, f"of{n}")).check()
        assert not mail.settled
    waiting.join(PATIENCE)

    assert mail.check() is mail.claim
    assert mail.there is None
    assert [letter.key for letter in journal.mail([held.number])[held.number]] == [mail.letter.key]


def test_an_answer_that_can_not_be_written_for_long_is_refused(
    journal: PostgreSQLJournal, database: Database
) -> None:
    """Whoever has sent it hears so in time, and it is not written afterwards."""
    claim = begin(journal)
    mail = answers(claim)
    mail.until = clock.monotonic() + 0.2
    with transaction(database) as person:
        person.execute("SELECT FROM saga_saga FOR UPDATE")
        journal.write(mail)

    with pytest.raises(JournalError, match="'a' was not given the answer, which is not in the"):
        mail.check()
    write(journal, Append(claim, "[2]", None)).check()
    assert [*journal.mail([claim.number])[claim.number]] == []


def test_a_purge_sees_an_answer_that_was_given_before_its_lock(
    open_at: Open, other: PostgreSQLJournal, database: Database
) -> None:
    """And waits for one that is being given: else the answer would be nobody's, for ever."""
    journal = open_at(patience=5)
    for forget in (False, True):
        saga_id = f"{forget}"
        claim = begin(journal, saga_id)
        write(journal, Append(claim, "[2]", SagaStatus.COMPENSATED))
        purge = Purge(seen(journal, saga_id), "digest", forget=forget)
        commits = journal.bench.commits
        with transaction(database) as answerer:
            Asking(other, answers(claim)).ask(answerer, "post")
            purging = written(journal, purge)
            until(lambda: purge.settled or journal.bench.commits > commits + 1)  # noqa: B023 - now
            assert not purge.settled
            answerer.commit()
        purging.join(PATIENCE)

        with pytest.raises(SagaInProgress, match="has an answer in its mail"):
            purge.check()
        assert bodies(journal, saga_id) == ["[1]", "[2]"]


def test_an_answer_is_not_given_to_a_saga_that_is_being_purged(
    journal: PostgreSQLJournal, other: PostgreSQLJournal, database: Database
) -> None:
    """What comes of that is seen first."""
    claim = begin(journal)
    write(journal, Append(claim, "[2]", SagaStatus.COMPLETED))
    purging = Asking(journal, Purge(seen(journal), "digest"))
    mail = answers(claim)
    with transaction(database) as purger:
        purging.ask(purger, "hold")
        posting = written(other, mail)
        until(lambda: mail.settled or other.bench.commits > 1)
        assert not mail.settled
        assert purging.ask(purger, "purge") == [(claim.number,)]
        purger.commit()
    posting.join(PATIENCE)

    with pytest.raises(SagaConflict, match="was purged"):
        mail.check()
    assert database.ask("SELECT FROM saga_mail") == []


# --- answers of the server that are lost ----------------------------------------------------------


@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize("since", ["nobody", "somebody"])
def test_a_suspension_whose_answer_is_lost_counts_once(
    journal: PostgreSQLJournal, other: PostgreSQLJournal, how: str, since: str
) -> None:
    """If it is on disk the saga waits, or is driven by whoever has claimed it since: not lost."""
    stand_still(journal)
    claim = begin(journal)
    takes: list[Take] = []

    def meanwhile() -> None:
        if since == "somebody" and how == "after":
            takes.append(write(other, Take(seen(other))))

    losing = Losing(journal, how, "mailing", meanwhile)
    due = journal.now() + 600
    suspending = write(journal, waits(claim, due=due))

    assert losing.lost
    assert keys(suspending) == []
    assert suspending.mailing is not None
    assert suspending.mailing.has_suspended
    assert claim.over
    assert bodies(journal) == ["[1]", "[2]"]
    found = seen(journal)
    if takes:
        assert takes[0].check().rows == found.epoch == 2
        assert journal.drives(found)
    else:
        assert (found.owner, found.epoch) == (0, 1)
        assert abs(found.due - due) < 0.01


@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize("status", [None, SagaStatus.COMPLETED])
def test_a_row_that_has_found_mail_finds_it_again_if_its_answer_is_lost(
    journal: PostgreSQLJournal, how: str, status: SagaStatus | None
) -> None:
    """What it has marked as taken is not told twice, and the claim stays."""
    stand_still(journal)
    claim = begin(journal)
    for name in ("a", "b"):
        write(journal, answers(claim, name)).check()
    losing = Losing(journal, how, "mailing")
    row = write(journal, waits(claim, "a:a:action", status=status))

    assert losing.lost
    assert keys(row) == ["b"]
    assert not claim.over
    assert seen(journal).owner == claim.owner
    last = write(journal, waits(claim, "a:b:action", status=status, body="[3]"))
    assert keys(last) == []
    assert bodies(journal) == ["[1]", "[2]", "[3]"]
    assert seen(journal).owner == 0


@pytest.mark.parametrize("how", ["before", "after"])
def test_an_answer_whose_own_answer_is_lost_is_the_first(
    journal: PostgreSQLJournal, how: str
) -> None:
    """It is not taken for somebody else's; and a real one of somebody else's is."""
    stand_still(journal)
    claim = begin(journal)
    losing = Losing(journal, how, "post")
    mail = write(journal, answers(claim))

    assert losing.lost
    assert mail.check() is mail.claim
    assert mail.there is None
    late = write(journal, answers(claim))
    assert late.there == mail.letter
    Losing(journal, "after", "post")
    assert write(journal, answers(claim, body='["answered",2]')).there == mail.letter
    assert [*journal.mail([claim.number])[claim.number]] == [mail.letter]


def test_a_suspension_after_a_row_that_nobody_tried_again_is_a_row_of_its_own(
    journal: PostgreSQLJournal, database: Database
) -> None:
    """Of a commit that seemed to fail: the saga does not wait before its own row is there."""
    claim = begin(journal)
    database.ask(
        "INSERT INTO saga_entry(saga, n, at, body) SELECT number, 2, 0, '[2]' FROM saga_saga"
    )
    suspending = write(journal, waits(claim, body="[3]"))

    assert keys(suspending) == []
    assert bodies(journal) == ["[1]", "[2]", "[3]"]
    assert seen(journal).owner == 0


def test_a_suspension_under_a_claim_that_was_taken_over_is_refused(
    journal: PostgreSQLJournal, other: PostgreSQLJournal, database: Database
) -> None:
    """Also if whoever has it now has written the very same row."""
    stand_still(journal)
    claim = begin(journal)
    expire(journal, database)
    taken = write(other, Take(seen(other))).check()
    write(other, Append(taken, "[2]", None)).check()
    suspending = write(journal, waits(claim))

    with pytest.raises(SagaInProgress, match="taken over"):
        suspending.check()
    assert seen(journal).owner == taken.owner


def test_a_saga_that_somebody_else_has_ended_and_forgotten_is_not_suspended(
    journal: PostgreSQLJournal, other: PostgreSQLJournal, database: Database
) -> None:
    """There is nothing left that could wait."""
    stand_still(journal)
    claim = begin(journal)
    expire(journal, database)
    taken = write(other, Take(seen(other))).check()
    write(other, Append(taken, "[2]", SagaStatus.COMPLETED)).check()
    write(other, Purge(seen(other), "digest", forget=True)).check()

    with pytest.raises(SagaInProgress, match="taken over"):
        write(journal, waits(claim)).check()
    assert journal.find("a") is None
    assert journal.mail([]) == {}


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_run_whose_suspension_is_lost_is_told_that_its_saga_waits(
    journal: PostgreSQLJournal, execute: Any, how: str
) -> None:
    """It is not told that somebody has taken the saga over; and an answer goes on with it."""
    stand_still(journal)
    losing = Losing(journal, how, "mailing")
    pending = wait(execute, letterbox.order(timeout=600), journal)

    assert losing.lost
    assert pending.awaited == ("x:b:action",)
    assert not journal.drives(seen(journal, "x"))
    assert answer(journal, "x:b:action", result="paid").status is SagaStatus.COMPLETED
    assert depot.log == ["a", "b", "c"]


# --- leases ---------------------------------------------------------------------------------------


def test_a_saga_that_waits_needs_no_lease(
    journal: PostgreSQLJournal, other: PostgreSQLJournal, database: Database, boottime: Boottime
) -> None:
    """Its process may be gone for days; it is due when it says, by the clock of the database."""
    stand_still(journal)
    claim = begin(journal)
    assert keys(write(journal, waits(claim))) == []
    expire(journal, database)
    boottime.ahead += 86_400
    assert [*other.waiting()] == []
    assert not other.drives(seen(other))
    write(other, answers(claim)).check()
    assert [found.saga_id for found in other.waiting()] == ["a"]

    take = write(other, Take(seen(other)))
    assert keys(write(other, waits(take.check(), "a:pay:action"))) == []
    assert [*other.waiting()] == []
    write(journal, Create("b", None, "[1]")).check()  # a late process begins anew
    assert journal.is_in_time()


def test_a_suspension_that_is_answered_late_has_suspended(
    journal: PostgreSQLJournal, database: Database, boottime: Boottime
) -> None:
    """Its COMMIT hung for longer than the lease; nobody has lost anything by that."""
    stand_still(journal)
    claim, kept = begin(journal), begin(journal, "kept")

    def meanwhile() -> None:
        boottime.ahead += 60
        expire(journal, database)

    Slow(journal, "mailing", meanwhile)
    suspending = write(journal, waits(claim))

    assert keys(suspending) == []
    assert suspending.mailing is not None
    assert suspending.mailing.has_suspended
    assert not kept.over


# --- connections ----------------------------------------------------------------------------------


def test_mail_is_of_the_same_round_trip(journal: PostgreSQLJournal) -> None:
    """Of any number of sagas; and sagas that never wait are asked no statement more."""
    stand_still(journal)
    claims = [begin(journal, f"s{i}") for i in range(5)]
    write(journal, answers(claims[3]))
    asked = Counted(journal)
    journal.write(*(Append(claim, "[2]", None) for claim in claims[:2]))
    assert asked.names == [["append"]]
    rows = [waits(claims[2]), waits(claims[3]), Append(claims[4], "[2]", None)]
    mail = answers(claims[0])
    asked.names.clear()
    journal.write(*rows, mail)

    assert asked.names == [["append", "post", "mailing"]]
    assert keys(rows[0]) == []
    assert keys(rows[1]) == ["pay"]
    assert rows[2].check().rows == 2
    assert mail.check() is mail.claim


class Counted:
    """What a server is asked, a list for each transaction."""

    def __init__(self, journal: PostgreSQLJournal) -> None:
        self.names: list[list[str]] = []
        self._real = journal.bench.server.transact
        journal.bench.server.transact = self  # type: ignore[method-assign,assignment]

    def __call__(self, connection: Any, asked: Any, *more: Any) -> Any:
        """Note what is asked, and ask it."""
        asked = [*asked]
        self.names.append([name for name, _ in asked])
        return self._real(connection, asked, *more)


def test_a_pooler_may_lie_between(open_at: Open, database: Database) -> None:
    """All that is found of the mail is found within one transaction."""
    with ExitStack() as stack:
        try:
            pooler = stack.enter_context(pgbouncer(database.url, default_pool_size=2))
        except Missing as missing:
            pytest.skip(f"there is no {missing}")
        journal, other = open_at(url=pooler.url), open_at("other", url=pooler.url)
        for one in (journal, other):
            stack.callback(one.close)
            stand_still(one)
        claims = [begin(journal, f"s{i}") for i in range(4)]
        for claim in claims[:2]:
            write(other, answers(claim)).check()
        rows = [write(journal, waits(claim)) for claim in claims]
        for claim in claims[2:]:
            write(other, answers(claim)).check()

        assert [keys(row) for row in rows] == [["pay"], ["pay"], [], []]
        assert {found.saga_id for found in other.waiting()} == {"s2", "s3"}


# --- what the role may do -------------------------------------------------------------------------


def test_a_role_that_only_answers_needs_little(
    journal: PostgreSQLJournal, database: Database
) -> None:
    """That of the process which the network reaches: it can't change what is on record."""
    claim = begin(journal)
    role, tables = f"role_{secrets.token_hex(6)}", f"{database.schema}.saga"
    database.ask(f"CREATE ROLE {role} LOGIN PASSWORD '{role}'")
    try:
        for right in (
            f"USAGE ON SCHEMA {database.schema}",
            f"SELECT ON {', '.join(f'{tables}_{name}' for name in TABLES)}",
            f"INSERT ON {tables}_mail",
            f"UPDATE (tries) ON {tables}_saga",  # to lock a row
        ):
            database.ask(f"GRANT {right} TO {role}")
        url = f"postgresql://{role}:{role}@{database.url.rpartition('@')[2]}"
        with closing(PostgreSQLJournal(url, schema=database.schema)) as public:
            assert write(public, answers(claim)).check().saga_id == "a"
            assert public.drives(seen(public))
            assert bodies(public) == ["[1]"]
            assert write(public, answers(claim)).there is not None
            with pytest.raises(JournalError, match="the role may not do that"):
                write(public, Create("b", None, "[1]")).check()
    finally:
        database.ask(f"DROP OWNED BY {role}")
        database.ask(f"DROP ROLE {role}")


# --- what people see ------------------------------------------------------------------------------


def test_what_waits_in_time_needs_nobody(journal: PostgreSQLJournal, database: Database) -> None:
    """The view for people has what is too late, not what only waits."""
    for saga_id, due in (("never", NEVER), ("later", journal.now() + 600), ("late", 1.0)):
        write(journal, waits(begin(journal, saga_id), due=due)).check()

    assert database.ask("SELECT saga_id FROM saga_needs_attention") == [("late",)]
