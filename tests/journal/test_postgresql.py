"""What is PostgreSQL's own about a journal there: races of transactions, leases, lost answers.

Another machine is played by a second journal with another connection string: it is another owner.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from itertools import pairwise
from typing import Any

import depot
import psycopg
import pytest
from depot import ado, aundo
from machines import (
    Boottime,
    Losing,
    Slow,
    away,
    expire,
    stand_still,
    transaction,
    write,
    written,
)
from recorded import begin, bodies, chain, order, seen
from servers.children import Missing
from servers.pgbouncer import pgbouncer
from servers.proxy import proxy
from servers.shared import Database
from sqlalchemy import create_engine
from world import PATIENCE, until

from py_api_saga import (
    JournalError,
    SagaAssembler,
    SagaInProgress,
    SagaStatus,
    clock,
    recover,
    takeover,
)
from py_api_saga.journal import PostgreSQLJournal, SQLAlchemyJournal
from py_api_saga.journal.changes import (
    Append,
    Change,
    Claim,
    Create,
    Leave,
    Purge,
    SagaExistsError,
    Take,
)
from py_api_saga.journal.postgresql.server import Server
from py_api_saga.journal.postgresql.trouble import UnreachableError
from py_api_saga.journal.postgresql.writes import Script

Open = Callable[..., PostgreSQLJournal]


@pytest.fixture
def journal(open_at: Open) -> PostgreSQLJournal:
    """An empty one."""
    return open_at()


@pytest.fixture
def other(open_at: Open) -> PostgreSQLJournal:
    """The same, on another machine."""
    return open_at("other")


# --- the fence -----------------------------------------------------------------------------------


def asking(journal: PostgreSQLJournal, change: Change, owner: int) -> tuple[Any, Any]:
    """Give the statement that makes a change, and what an owner asks it with."""
    script = Script(owner, [change], (), ())
    name, given = [*script.before_claims(), *script.claiming(owner)][0]
    return journal.bench.server.queries[name], given


def appending(journal: PostgreSQLJournal, claim: Claim) -> tuple[Any, Any]:
    """Give the statement that appends the second row, and what it is asked with."""
    return asking(journal, Append(claim, "[2]", None), claim.owner)


def test_nobody_claims_a_saga_while_a_row_is_being_written(
    journal: PostgreSQLJournal, other: PostgreSQLJournal, database: Database
) -> None:
    """Else whoever claims it reads all rows, and then there is one more: an intent nobody knows."""
    claim = begin(journal)
    with transaction(database) as writer:
        writer.execute(*appending(journal, claim))
        early = write(other, Take(seen(other), force=True))
        writer.commit()
    late = write(other, Take(seen(other), force=True))

    with pytest.raises(SagaInProgress):
        early.check()
    assert late.check().rows == 2
    assert write(journal, Append(claim, "[3]", None)).error is not None
    assert bodies(journal) == ["[1]", "[2]"]


def test_a_claim_counts_rows_that_were_committed_before_its_lock(
    journal: PostgreSQLJournal, other: PostgreSQLJournal, database: Database
) -> None:
    """The statement that claims may have begun before: what it sees is older than its locks."""
    claim = begin(journal)
    queries = other.bench.server.queries
    other.bench.server.queries = {**queries, "take": queries["take"].replace(b" SKIP LOCKED", b"")}
    take = Take(seen(other), force=True)
    with transaction(database) as writer:
        writer.execute(*appending(journal, claim))
        taking = written(other, take)
        until(lambda: database.ask("SELECT 1 FROM pg_locks WHERE NOT granted"))
        writer.commit()
    taking.join(PATIENCE)

    assert take.check().rows == 2


def test_many_races_of_a_row_and_a_claim(
    journal: PostgreSQLJournal, other: PostgreSQLJournal
) -> None:
    """Whichever comes first, whoever claims knows of every row there is."""
    for i in range(15):
        claim = begin(journal, f"s{i}")
        append, take = Append(claim, "[2]", None), Take(seen(other, f"s{i}"), force=True)
        threads = [written(journal, append), written(other, take)]
        for thread in threads:
            thread.join(PATIENCE)
        rows = len(bodies(journal, f"s{i}"))
        assert rows == 1 + (append.error is None)
        assert take.error is not None or take.claim.rows == rows


# --- what somebody else holds --------------------------------------------------------------------


@pytest.mark.parametrize("way", ["write", "awrite"])
def test_a_row_that_a_person_has_locked_keeps_nobody_else_waiting(
    journal: PostgreSQLJournal, database: Database, way: str
) -> None:
    """`SELECT … FOR UPDATE` in psql: that saga waits, and is not taken for somebody else's."""
    held, free = begin(journal, "held"), begin(journal, "free")
    with transaction(database) as person:
        person.execute("SELECT FROM saga_saga WHERE saga_id = 'held' FOR UPDATE")
        append = Append(held, "[2]", None)

        def waits() -> None:
            if way == "write":
                journal.write(append)
            else:
                asyncio.run(journal.awrite(append))

        waiting = threading.Thread(target=waits, daemon=True)
        waiting.start()
        for n in range(2, 12):
            write(journal, Append(free, f"[{n}]", None)).check()
        assert not append.settled
        assert waiting.is_alive()
    waiting.join(PATIENCE)

    assert append.check().rows == 2
    assert bodies(journal, "held") == ["[1]", "[2]"]


@pytest.mark.parametrize("way", ["write", "awrite"])
def test_what_is_locked_for_very_long_is_given_up(
    open_at: Open, database: Database, way: str
) -> None:
    """Then the saga stays as it is, and whoever waited hears why."""
    journal = open_at(patience=1)
    claim = begin(journal)
    append = Append(claim, "[2]", None)
    with transaction(database) as person:
        person.execute("SELECT FROM saga_saga FOR UPDATE")
        if way == "write":
            journal.write(append)
        else:
            asyncio.run(journal.awrite(append))

    with pytest.raises(JournalError, match="a transaction that has not ended holds it"):
        append.check()


def test_what_was_left_is_released_once_nobody_holds_it(
    journal: PostgreSQLJournal, database: Database
) -> None:
    """A release is not lost because a person was looking at the row."""
    claim = begin(journal)
    with transaction(database) as person:
        person.execute("SELECT FROM saga_saga FOR UPDATE")
        write(journal, Leave(claim))
        assert seen(journal).owner
    write(journal, Leave(Claim("")))

    assert seen(journal).owner == 0


def test_a_purge_waits_for_whoever_has_locked_the_row(
    journal: PostgreSQLJournal, database: Database
) -> None:
    """A summary that is locked is neither claimed nor changed."""
    claim = begin(journal)
    write(journal, Append(claim, "[2]", SagaStatus.COMPLETED))
    purge = Purge(seen(journal), "digest")
    with transaction(database) as person:
        person.execute("SELECT FROM saga_saga FOR UPDATE")
        waiting = written(journal, purge)
        until(lambda: journal.bench.commits > 3)
        assert not purge.settled
    waiting.join(PATIENCE)

    purge.check()
    assert seen(journal).digest == "digest"


def test_an_id_that_an_open_transaction_has_begun_is_not_waited_for(
    open_at: Open, database: Database
) -> None:
    """`ON CONFLICT` would wait for it, and all sagas of this process with it."""
    journal = open_at(patience=1)
    with transaction(database) as user:
        user.execute(*asking(journal, Create("taken", None, "[1]", driven=False), 0))
        taken, free = Create("taken", None, "[1]"), Create("free", None, "[1]")
        journal.write(taken, free)

        assert free.check().number
        with pytest.raises(SagaInProgress, match="'taken' is being started by a transaction"):
            taken.check()
        user.commit()
    with pytest.raises(SagaExistsError):
        write(journal, Create("taken", None, "[1]")).check()


# --- leases --------------------------------------------------------------------------------------


def test_a_saga_is_taken_when_the_lease_of_its_process_has_ended(
    journal: PostgreSQLJournal, other: PostgreSQLJournal, database: Database
) -> None:
    """Not before; and by the clock of the database alone."""
    stand_still(journal)
    begin(journal)
    early = write(other, Take(seen(other)))
    assert other.drives(seen(other))
    assert [*other.waiting()] == []
    expire(journal, database)

    assert not other.drives(seen(other))
    assert [waiting.saga_id for waiting in other.waiting()] == ["a"]
    with pytest.raises(SagaInProgress):
        early.check()
    assert write(other, Take(seen(other))).check().epoch == 2


def test_a_process_that_was_away_loses_what_others_have_taken(
    journal: PostgreSQLJournal, other: PostgreSQLJournal, database: Database, boottime: Boottime
) -> None:
    """And goes on with the rest."""
    stand_still(journal)
    lost, kept = begin(journal, "lost"), begin(journal, "kept")
    expire(journal, database)
    write(other, Take(seen(other, "lost"))).check()
    boottime.ahead = 60
    assert not journal.is_in_time()
    write(journal, Append(kept, "[2]", None)).check()

    assert journal.is_in_time()
    assert lost.over
    assert not kept.over
    with pytest.raises(SagaInProgress):
        write(journal, Append(lost, "[2]", None)).check()
    assert bodies(journal, "lost") == ["[1]"]


@pytest.mark.parametrize("way", ["write", "awrite"])
def test_a_write_returns_to_nobody_under_a_lease_that_has_run_out(
    journal: PostgreSQLJournal,
    other: PostgreSQLJournal,
    database: Database,
    boottime: Boottime,
    way: str,
) -> None:
    """Its COMMIT hung for longer than the lease: the row is there, but others have the saga now."""
    stand_still(journal)
    claim = begin(journal)

    def meanwhile() -> None:
        boottime.ahead += 60
        expire(journal, database)
        write(other, Take(seen(other))).check()

    Slow(journal, "append", meanwhile)
    append = Append(claim, "[2]", None)
    if way == "write":
        journal.write(append)
    else:
        asyncio.run(journal.awrite(append))

    with pytest.raises(SagaInProgress, match="taken over"):
        append.check()
    assert claim.over


@pytest.mark.parametrize("way", ["write", "awrite"])
def test_a_lease_that_runs_out_after_the_commit_is_seen_at_the_return_of_write(
    journal: PostgreSQLJournal,
    other: PostgreSQLJournal,
    database: Database,
    boottime: Boottime,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread that waited for it may have been paused."""
    stand_still(journal)
    claim, bench = begin(journal), journal.bench
    real = bench.record

    def record(batch: Any) -> bool:
        answer = real(batch)
        monkeypatch.setattr(bench, "record", real)
        boottime.ahead += 60
        expire(journal, database)
        write(other, Take(seen(other))).check()
        return answer

    monkeypatch.setattr(bench, "record", record)
    append = Append(claim, "[2]", None)
    if way == "write":
        journal.write(append)
    else:
        asyncio.run(journal.awrite(append))

    with pytest.raises(SagaInProgress, match="taken over"):
        append.check()


def test_a_renewal_that_is_answered_late_counts_for_nothing(
    journal: PostgreSQLJournal, database: Database, boottime: Boottime
) -> None:
    """Until it was committed others saw that the lease had ended: all claims are compared."""
    stand_still(journal)
    lost, kept = begin(journal, "lost"), begin(journal, "kept")
    boottime.ahead += 20  # a renewal is due

    def meanwhile() -> None:
        boottime.ahead += 20
        database.ask("UPDATE saga_saga SET owner = 1, epoch = 2 WHERE saga_id = 'lost'")

    Slow(journal, "renew", meanwhile)
    write(journal, Append(kept, "[2]", None)).check()

    assert lost.over
    assert journal.is_in_time()


@pytest.mark.parametrize("change", ["claim", "row"])
def test_a_heartbeat_does_not_take_what_is_being_written_for_lost(
    journal: PostgreSQLJournal, boottime: Boottime, change: str
) -> None:
    """It holds the turn of whoever writes while it compares: a claim, and its number of rows."""
    stand_still(journal)
    claim = begin(journal, "a")
    boottime.ahead += 60
    entered, goes_on = threading.Event(), threading.Event()

    def meanwhile() -> None:
        entered.set()
        assert goes_on.wait(PATIENCE)

    Slow(journal, "mine", meanwhile)
    beating = threading.Thread(target=journal.bench.renew, daemon=True)
    beating.start()
    assert entered.wait(PATIENCE)
    changes = {"claim": Create("b", None, "[1]"), "row": Append(claim, "[2]", None)}
    writing = written(journal, made := changes[change])
    writing.join(0.5)  # seconds, in which it would be written if nobody had the turn
    goes_on.set()
    for thread in (beating, writing):
        thread.join(PATIENCE)
    journal.bench.hang_up()

    assert not made.check().over
    assert not claim.over
    assert write(journal, Append(made.claim, "[3]", None)).error is None


def test_a_process_that_nobody_knows_of_any_more_begins_anew(
    journal: PostgreSQLJournal, database: Database, boottime: Boottime
) -> None:
    """Away for an hour, say: its claims are over, and it has another number."""
    stand_still(journal)
    claim, before = begin(journal), journal.bench.desk.owner
    database.ask("DELETE FROM saga_owner")
    boottime.ahead += 60
    create = write(journal, Create("b", None, "[1]"))

    assert claim.over
    assert create.check().owner == journal.bench.desk.owner != before
    assert [waiting.saga_id for waiting in journal.waiting()] == ["a"]


def test_a_row_that_went_while_its_lease_ran_is_missed_with_the_next_renewal(
    journal: PostgreSQLJournal, database: Database, boottime: Boottime
) -> None:
    """A backup was restored, say. What was begun in the same moment is gone as well."""
    stand_still(journal)
    claim = begin(journal)
    database.ask("DELETE FROM saga_owner")
    boottime.ahead += 15
    create = write(journal, Create("b", None, "[1]"))

    assert claim.over
    with pytest.raises(SagaInProgress):
        create.check()
    assert [waiting.saga_id for waiting in journal.waiting()] == ["a", "b"]


def test_a_claim_locks_the_lease_that_it_has_found_ended(
    journal: PostgreSQLJournal, other: PostgreSQLJournal, database: Database, boottime: Boottime
) -> None:
    """So whoever comes back to life waits until the claim is there to be seen."""
    stand_still(journal)
    claim = begin(journal)
    expire(journal, database)
    boottime.ahead += 60
    summary = seen(other)
    with transaction(database) as taking:
        found = taking.execute(*asking(other, Take(summary, counted=True), 99)).fetchall()
        assert found == [(summary.number,)]
        coming_back = written(journal, append := Append(claim, "[2]", None))
        until(lambda: database.ask("SELECT 1 FROM pg_locks WHERE NOT granted"))
        taking.commit()
    coming_back.join(PATIENCE)

    with pytest.raises(SagaInProgress):
        append.check()


def test_a_renewed_lease_is_not_found_ended_by_who_has_looked_before(
    journal: PostgreSQLJournal, other: PostgreSQLJournal, database: Database
) -> None:
    """While a renewal is on its way nobody takes what it is for."""
    stand_still(journal)
    begin(journal)
    expire(journal, database)
    with transaction(database) as renewing:
        renewing.execute(journal.bench.server.queries["renew"], journal.bench._me())  # noqa: SLF001
        take = write(other, Take(seen(other)))
        renewing.commit()

    with pytest.raises(SagaInProgress):
        take.check()


def test_the_heart_beats_on_a_connection_of_its_own(open_at: Open, database: Database) -> None:
    """While a call takes long, and ends when nothing is driven."""
    journal = open_at(lease=1)
    claim = begin(journal)
    before = database.ask("SELECT until FROM saga_owner")[0][0]
    until(lambda: database.ask("SELECT until FROM saga_owner")[0][0] > before + 500)
    assert journal.is_in_time()
    write(journal, Append(claim, "[2]", SagaStatus.COMPLETED))
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'one'"
    until(lambda: database.ask(query) <= [(2,)])


def test_a_heart_that_is_stopped_closes_its_connection(open_at: Open) -> None:
    """Once the journal is closed, whatever its thread was at."""
    journal = open_at(lease=1)
    claim = begin(journal)
    bench = journal.bench
    until(lambda: bench._beating)  # noqa: SLF001 - nothing else tells
    connection = bench._beating  # noqa: SLF001
    write(journal, Append(claim, "[2]", SagaStatus.COMPLETED))
    journal.close()

    assert connection is not None
    until(lambda: connection.closed)


# --- the last moment before a call ---------------------------------------------------------------


def coroutines(*names: str) -> SagaAssembler:
    """Make a chain whose calls are awaited, not made in threads."""
    saga = SagaAssembler.saga(name="depot")
    for index, name in enumerate(names):
        after = names[index - 1 : index] if index else ()
        saga.operation((ado, name), (aundo, name), name=name, after=after)
    return saga


WAYS: list[tuple[str, Callable[..., SagaAssembler]]] = [
    ("orchestrator_execute", chain), ("choreography_execute", chain),
    ("aorchestrator_execute", chain), ("achoreography_execute", chain),
    ("aorchestrator_execute", coroutines), ("achoreography_execute", coroutines),
]  # fmt: skip
each_way = pytest.mark.parametrize(
    ("execute", "make"), WAYS, indirect=["execute"], ids=[f"{m}-{f.__name__}" for m, f in WAYS]
)


@each_way
@pytest.mark.parametrize("lapse", ["taken", "unknown"])
def test_no_call_starts_under_a_lease_that_ended_while_it_waited_for_its_thread(
    journal: PostgreSQLJournal,
    other: PostgreSQLJournal,
    database: Database,
    boottime: Boottime,
    lapse: str,
    execute: Any,
    make: Callable[..., SagaAssembler],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or for its turn in a loop: it is asked for as the last thing, where the call is made."""
    stand_still(journal)
    names = ["a", "b", "c"]
    asked: list[str] = []
    real = PostgreSQLJournal.is_in_time

    def is_in_time(self: PostgreSQLJournal) -> bool:
        asked.append("asked")
        if len(asked) == 2:
            boottime.ahead += 60
            expire(journal, database)
            if lapse == "taken":
                write(other, Take(seen(other, "x"))).check()
            else:
                monkeypatch.setattr(Server, "transact", away)
        return real(self)

    monkeypatch.setattr(journal.bench.server, "patience", 0.05)
    monkeypatch.setattr(PostgreSQLJournal, "is_in_time", is_in_time)
    with pytest.raises(SagaInProgress if lapse == "taken" else JournalError):
        execute(make(*names), journal=journal, saga_id="x")
    monkeypatch.undo()

    assert depot.log == ["a"]


@each_way
def test_a_call_waits_at_its_gate_until_the_lease_is_renewed(
    journal: PostgreSQLJournal,
    database: Database,
    boottime: Boottime,
    execute: Any,
    make: Callable[..., SagaAssembler],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If nobody has taken the saga meanwhile, it is made."""
    stand_still(journal)
    real = PostgreSQLJournal.is_in_time

    def is_in_time(self: PostgreSQLJournal) -> bool:
        boottime.ahead += 60
        expire(journal, database)
        return real(self)

    monkeypatch.setattr(PostgreSQLJournal, "is_in_time", is_in_time)
    assert [*execute(make("a", "b"), journal=journal, saga_id="x")] == ["A", "B"]
    assert depot.log == ["a", "b"]


@pytest.mark.parametrize("way", ["write", "awrite"])
def test_a_call_of_a_saga_that_is_lost_already_is_refused_at_its_gate(
    journal: PostgreSQLJournal, way: str
) -> None:
    """Whatever the lease says: the saga was left, or taken over, while the call waited."""
    claim = begin(journal)
    journal.leave(claim)
    assert journal.is_in_time()
    sees = journal.see_in_time if way == "write" else lambda c: asyncio.run(journal.asee_in_time(c))
    with pytest.raises(SagaInProgress, match="taken over"):
        sees(claim)


def test_what_is_left_once_its_journal_is_closed_is_over(journal: PostgreSQLJournal) -> None:
    """There is nothing to be released any more: the lease ends by itself."""
    claim = begin(journal)
    write(journal, Append(claim, "[2]", SagaStatus.COMPLETED)).check()
    journal.close()
    again = Claim("a")
    journal.leave(again)

    assert again.over
    assert journal.find("a") is not None


# --- connections ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize("of", ["create", "append", "take", "purge", "forget", "release", "start"])
def test_a_commit_whose_answer_is_lost_counts_once(
    journal: PostgreSQLJournal, how: str, of: str
) -> None:
    """Whether it is on disk or not: that is looked up before it is written again."""
    stand_still(journal)
    claim = begin(journal)
    write(journal, Append(begin(journal, "done"), "[2]", SagaStatus.COMPLETED))
    makes: dict[str, Callable[[], Change]] = {
        "create": lambda: Create("b", None, "[1]"),
        "start": lambda: Create("b", None, "[1]", driven=False),
        "append": lambda: Append(claim, "[2]", SagaStatus.COMPENSATING),
        "take": lambda: Take(seen(journal), counted=True),
        "purge": lambda: Purge(seen(journal, "done"), "digest"),
        "forget": lambda: Purge(seen(journal, "done"), "digest", forget=True),
        "release": lambda: Leave(claim),
    }
    if of == "take":
        write(journal, Leave(claim))
    change = makes[of]()
    losing = Losing(journal, how, "create" if of == "start" else of)
    journal.write(change)

    assert losing.lost
    if of == "start" and how == "after":  # whoever starts it sees that it is the same
        with pytest.raises(SagaExistsError):
            change.check()
    else:
        change.check()
    if of == "append":
        write(journal, Append(claim, "[3]", None)).check()
        assert bodies(journal) == ["[1]", "[2]", "[3]"]
    if of in ("create", "start"):
        assert bodies(journal, "b") == ["[1]"]
        assert journal.drives(seen(journal, "b")) is (of == "create")
    if of == "take":
        assert (seen(journal).epoch, seen(journal).tries) == (2, 1)
        assert change.claim.rows == 1
        write(journal, Append(change.claim, "[2]", None)).check()
    if of == "release":
        write(journal, Leave(Claim("")))
        assert seen(journal).owner == 0
    if of == "purge":
        assert seen(journal, "done").digest == "digest"
    if of == "forget":
        assert journal.find("done") is None


def test_a_row_that_nobody_tried_again_is_followed_by_the_next(
    journal: PostgreSQLJournal, database: Database
) -> None:
    """It is the last word of a commit that seemed to fail."""
    claim = begin(journal)
    database.ask(
        "INSERT INTO saga_entry(saga, n, at, body) SELECT number, 2, 0, '[2]' FROM saga_saga"
    )
    write(journal, Append(claim, "[3]", None)).check()

    assert bodies(journal) == ["[1]", "[2]", "[3]"]


def test_a_row_that_is_committed_while_it_is_written_again_counts_once(
    journal: PostgreSQLJournal, database: Database
) -> None:
    """By a commit that seemed to fail, and what is written with it is written all the same."""
    claim, also = begin(journal), begin(journal, "also")
    server = journal.bench.server
    append = server.queries["append"].replace(b" SKIP LOCKED", b"")  # it waits: what it sees is old
    server.queries = {**server.queries, "append": append}
    change, other = Append(claim, "[2]", None), Append(also, "[2]", None)
    with transaction(database) as lost:
        lost.execute(*appending(journal, claim))
        writing = threading.Thread(target=journal.write, args=(change, other), daemon=True)
        writing.start()
        until(lambda: database.ask("SELECT 1 FROM pg_locks WHERE NOT granted"))
        lost.commit()
    writing.join(PATIENCE)

    assert change.check().rows == other.check().rows == 2
    assert bodies(journal) == bodies(journal, "also") == ["[1]", "[2]"]


def test_an_id_that_this_process_has_tried_is_tried_again(
    open_at: Open, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction of its own, of which nobody has heard since, may hold it till it ends."""
    journal = open_at(patience=1)
    write(journal, Create("first", None, "[1]"))
    with monkeypatch.context() as patched:
        patched.setattr(journal.bench.server, "transact", away)
        with pytest.raises(JournalError, match="cannot be written"):
            write(journal, Create("a", None, "[1]")).check()
    with transaction(database) as ours:
        prefix = str(journal.bench.server.naming)
        ours.execute(f"SELECT pg_advisory_xact_lock(hashtextextended('{prefix}a', 0))")
        create = Create("a", None, "[1]")
        writing = written(journal, create)
        until(lambda: journal.bench.commits > 3)
        assert not create.settled
        ours.commit()
    writing.join(PATIENCE)

    assert create.check().number
    assert journal.bench._unsure == set()  # noqa: SLF001


@pytest.mark.parametrize("how", ["fast", "answer", "question"])
def test_sagas_go_on_when_connections_break(
    open_at: Open, database: Database, execute: Any, how: str
) -> None:
    """Each call is made once, whatever is lost on the way."""
    depot.reset()
    with proxy(int(database.url.rpartition(":")[2].partition("/")[0])) as network:
        address = f"@127.0.0.1:{network.port}/"
        url = database.url[: database.url.rindex("@")] + address + database.url.rpartition("/")[2]
        journal = open_at(url=url)
        begin(journal, "warm")
        if how == "fast":
            depot.behaviour["b"] = lambda *_: network.cut()
        else:
            network.lose(how, 2)  # type: ignore[arg-type]
        execute(chain("a", "b", "c"), journal=journal, saga_id="x")
        journal.close()

    assert depot.log == ["a", "b", "c"]


def test_a_server_that_does_not_answer_is_cut_off(open_at: Open, database: Database) -> None:
    """Nothing raises while it hangs: the heartbeat shuts the socket down, after the patience."""
    with proxy(int(database.url.rpartition(":")[2].partition("/")[0])) as network:
        address = f"@127.0.0.1:{network.port}/"
        url = database.url[: database.url.rindex("@")] + address + database.url.rpartition("/")[2]
        journal = open_at(url=url, patience=1, lease=1)
        claim = begin(journal)
        network.swallow()
        append = write(journal, Append(claim, "[2]", None))
        network.pass_on()

        with pytest.raises(JournalError):
            append.check()
        write(journal, Leave(Claim("")))


def test_whoever_reads_gives_up_on_a_server_that_does_not_answer(
    open_at: Open, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own clock, on whatever system; and reads again when there is an answer."""
    monkeypatch.setattr(f"{Server.__module__}.STATEMENT_TIMEOUT", 0.1)  # each may take that long
    with proxy(int(database.url.rpartition(":")[2].partition("/")[0])) as network:
        address = f"@127.0.0.1:{network.port}/"
        url = database.url[: database.url.rindex("@")] + address + database.url.rpartition("/")[2]
        journal = open_at(url=url, patience=1)
        begin(journal)
        network.swallow()
        with pytest.raises(JournalError, match=r"cannot be read: .* does not answer"):
            journal.find("a")
        network.pass_on()

        assert bodies(journal) == ["[1]"]


def test_what_is_larger_than_the_network_takes_at_once_is_written(
    journal: PostgreSQLJournal,
) -> None:
    """The rest is sent as soon as there is room for it."""
    large = f'["{"x" * 8_000_000}"]'
    write(journal, Create("large", None, large)).check()

    assert bodies(journal, "large") == [large]


def test_nobody_waits_for_a_connection_longer_than_it_likes(
    open_at: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new saga gives up by itself; the journal goes on trying for those that run."""
    journal = open_at()
    claim = begin(journal)
    bench = journal.bench
    bench._drop()  # noqa: SLF001 - as when the server ends it
    real = bench.server.connections.connect
    is_down = threading.Event()
    is_down.set()

    def connect(patience: float) -> Any:
        if is_down.is_set():
            raise UnreachableError("nobody listens there", is_passing=False)
        return real(patience)

    monkeypatch.setattr(bench.server.connections, "connect", connect)
    create = Create("b", None, "[1]")
    create.until = clock.monotonic() + 0.2
    running = written(journal, append := Append(claim, "[2]", None))
    journal.write(create)
    with pytest.raises(JournalError, match=r"'b' was not started.*there is no connection"):
        create.check()
    assert not append.settled
    is_down.clear()
    running.join(PATIENCE)

    assert append.check().rows == 2


def test_what_can_not_be_prepared_is_not_prepared_again(journal: PostgreSQLJournal) -> None:
    """A pooler gives each transaction to another session."""
    stand_still(journal)
    server = journal.bench.server
    real = server.transact

    def transact(*_: Any) -> Any:
        server.transact = real  # type: ignore[method-assign]
        raise psycopg.errors.InvalidSqlStatementName

    assert server.can_prepare
    server.transact = transact  # type: ignore[method-assign,assignment]
    begin(journal)

    assert not server.can_prepare
    assert journal.bench._connection is not None  # noqa: SLF001
    write(journal, Leave(Claim("")))
    assert bodies(journal) == ["[1]"]


def test_no_statement_is_taken_for_what_another_process_has_prepared(
    open_at: Open, database: Database
) -> None:
    """A pooler may give a transaction to a session in which others have prepared theirs."""
    with ExitStack() as stack:
        try:
            pooler = stack.enter_context(pgbouncer(database.url, default_pool_size=2))
        except Missing as missing:
            pytest.skip(f"there is no {missing}")
        somebody = stack.enter_context(psycopg.connect(pooler.url))
        one = open_at(url=pooler.url, prefix="one_")
        two = open_at("other", url=pooler.url, prefix="two_")
        for journal in (one, two):
            stack.callback(journal.close)
            stand_still(journal)
        for number in range(5):
            begin(one, str(number))
        somebody.execute("SELECT 1")  # has the session in which `one` has prepared
        for number in range(5):
            begin(two, str(number))

        begin(one, "next")  # has to go where `two` has prepared as much

        assert not one.bench.server.can_prepare
        assert two.bench.server.can_prepare
        somebody.rollback()
    ids = "SELECT string_agg(saga_id, ' ' ORDER BY number) FROM {}_saga"
    assert database.ask(ids.format("one")) == [("0 1 2 3 4 next",)]
    assert database.ask(ids.format("two")) == [("0 1 2 3 4",)]


def test_an_engine_that_prepares_nothing_is_left_at_that(database: Database) -> None:
    """So does whoever knows of the pooler before it."""
    engine = create_engine(
        database.url.replace("postgresql:", "postgresql+psycopg:"),
        connect_args={"prepare_threshold": None},
    )
    with closing(SQLAlchemyJournal(engine, modules=["depot"], schema=database.schema)) as journal:
        journal.create_schema()
        stand_still(journal)
        for number in range(5):
            begin(journal, str(number))
        connection = journal.bench._connection  # noqa: SLF001 - where it would be prepared
        assert connection is not None
        assert connection.execute("SELECT name FROM pg_prepared_statements").fetchall() == []
    engine.dispose()


def test_a_saga_that_one_saga_spoils_is_written_without_it(journal: PostgreSQLJournal) -> None:
    """Its error is its own: a NUL is in no text of PostgreSQL, and 3 KB are in no index."""
    good, nul, long = (Create(i, "x", "[1]") for i in ("good", "n\0l", os.urandom(3000).hex()))
    claim = begin(journal, "left")
    journal.write(Leave(claim), good, nul, long)

    assert good.check().number
    for bad in (nul, long):
        with pytest.raises(JournalError, match="could not be written"):
            bad.check()
    assert seen(journal, "left").owner == 0
    assert journal.find("n\0l") is None


def test_a_transaction_takes_one_round_trip(journal: PostgreSQLJournal) -> None:
    """However many sagas there are in it, and whatever it does with them."""
    stand_still(journal)
    claims = [begin(journal, f"s{i}") for i in range(5)]
    journal.leave(claims[4])
    connection = journal.bench._connection  # noqa: SLF001
    assert connection is not None
    read_end, write_end = os.pipe()
    connection.pgconn.trace(write_end)
    commits = journal.bench.commits
    journal.write(
        *(Append(claim, "[2]", None) for claim in claims[:4]),
        Create("new", None, "[1]"),
        Take(seen(journal, "s4")),
    )
    connection.pgconn.untrace()
    os.close(write_end)
    with os.fdopen(read_end) as lines:
        ways = [line.split("\t")[1] for line in lines if line.count("\t") > 1]
    trips = sum(pair == ("F", "B") for pair in pairwise(ways))  # it was asked, and has answered

    assert journal.bench.commits - commits == trips == 1


# --- forks ---------------------------------------------------------------------------------------


def in_child(action: Callable[[], bool]) -> bool:
    """Do something in a forked child, and tell what it said."""
    pid = os.fork()
    if pid == 0:  # pragma: no cover - coverage is not told of it
        done = False
        with suppress(BaseException):
            done = action()
        os._exit(0 if done else 1)
    return os.waitpid(pid, 0)[1] == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_child_of_a_fork_is_another_owner(journal: PostgreSQLJournal) -> None:
    """It has connections of its own, and writes nothing to what it has inherited."""
    claim = begin(journal)
    assert journal.find("a") is not None

    def child() -> bool:
        mine = begin(journal, "child")
        late = write(journal, Append(claim, "[2]", None))
        journal.leave(claim)
        refused = isinstance(late.error, SagaInProgress) and "before a fork" in str(late.error)
        return refused and mine.owner != claim.owner and journal.find("child") is not None

    assert in_child(child)
    write(journal, Append(claim, "[3]", None)).check()
    assert bodies(journal) == ["[1]", "[3]"]
    assert seen(journal, "child").owner != seen(journal).owner


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_call_of_a_saga_that_was_inherited_is_not_made(journal: PostgreSQLJournal) -> None:
    """It goes on in the parent."""
    pids: list[int] = []

    def forks(*_: Any) -> None:
        pids.append(os.fork())

    depot.behaviour["a"] = forks
    try:
        results = [*chain("a", "b").orchestrator_execute(journal=journal, saga_id="x")]
    except SagaInProgress:  # pragma: no cover - in the child
        os._exit(0 if depot.log == ["a"] else 1)
    except BaseException:  # noqa: BLE001  # pragma: no cover - as above
        os._exit(2)
    if not pids[0]:  # pragma: no cover - as above
        os._exit(3)

    assert os.waitpid(pids[0], 0)[1] == 0
    assert len(results) == 2
    assert seen(journal, "x").status is SagaStatus.COMPLETED


# --- sagas on two machines -----------------------------------------------------------------------


def test_another_machine_goes_on_with_what_a_dead_one_has_left(
    journal: PostgreSQLJournal, other: PostgreSQLJournal, database: Database
) -> None:
    """Once its lease has ended."""
    stand_still(journal)
    order().start(journal=journal, saga_id="waits")
    begin(journal, "dead", '[["defined",{}]]')
    assert [done.saga_id for done in recover(other)] == ["waits"]
    assert recover(other) == []
    with pytest.raises(SagaInProgress):
        takeover(other, "dead")
    expire(journal, database)

    assert [done.outcome for done in recover(other)] == [SagaStatus.STUCK]  # it can't be read


def test_a_deadline_is_told_by_the_clock_of_the_database(
    journal: PostgreSQLJournal, other: PostgreSQLJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is an hour ahead rolls nothing back that has time."""
    order().start(journal=journal, saga_id="x", deadline=600)
    real = time.time
    monkeypatch.setattr(clock, "time", lambda: real() + 3600)

    assert abs(other.now() - real()) < 60
    assert [done.outcome for done in recover(other)] == [SagaStatus.COMPLETED]


def test_what_is_put_off_is_so_by_the_clock_of_the_database(
    journal: PostgreSQLJournal, other: PostgreSQLJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the clock of the machine that put it off says, and of that which looks."""
    real = time.time
    claim = begin(journal)
    journal.leave(claim)
    write(journal, Leave(Claim("")))
    monkeypatch.setattr(clock, "time", lambda: real() - 3600)
    take = write(journal, Take(seen(journal), delay=60.0))
    write(journal, Leave(take.check()))
    monkeypatch.setattr(clock, "time", lambda: real() + 3600)

    assert [*other.waiting()] == []
    assert 50 < seen(other).due - other.now() <= 60


# --- closing -------------------------------------------------------------------------------------


def test_a_journal_that_was_closed_opens_again(
    journal: PostgreSQLJournal, database: Database
) -> None:
    """Nobody is its owner any more; while sagas run it stays theirs."""
    claim = begin(journal)
    bench = journal.bench
    journal.close()
    assert journal.bench is bench
    write(journal, Append(claim, "[2]", None)).check()
    journal.leave(claim)
    journal.close()
    assert database.ask("SELECT 1 FROM saga_owner") == []
    assert seen(journal).owner == 0
    assert journal.bench is not bench
    begin(journal, "b")


def test_two_journals_share_what_one_process_has(open_at: Open) -> None:
    """And can't have it with other options."""
    first, second = open_at(), open_at()
    assert first.bench is second.bench
    with pytest.raises(JournalError, match=r"lease=30, patience=30.*can't have.*lease=5"):
        open_at(lease=5)
