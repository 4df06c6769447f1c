"""Who writes for the journals of a process, when it is struck, kept waiting, closed or forked."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from machines import away, expire, stand_still, write
from recorded import begin, bodies, seen
from servers.shared import Database
from world import PATIENCE, output_of, until

from py_api_saga import JournalError, SagaInProgress, SagaStatus, clock
from py_api_saga.journal import PostgreSQLJournal
from py_api_saga.journal.changes import Append, Change, Create, Purge
from py_api_saga.journal.postgresql import bench as bench_module
from py_api_saga.journal.postgresql import benches
from py_api_saga.journal.postgresql.trouble import UnreachableError

Open = Callable[..., PostgreSQLJournal]
Write = Callable[[PostgreSQLJournal, Change], None]


@pytest.fixture
def journal(open_at: Open) -> PostgreSQLJournal:
    """An empty one, whose heart beats when a test lets it."""
    made = open_at()
    stand_still(made)
    return made


@pytest.fixture(params=["write", "awrite"])
def writes(request: pytest.FixtureRequest) -> Write:
    """Write a change by a thread, and by a task."""

    def awrites(journal: PostgreSQLJournal, change: Change) -> None:
        async def main() -> None:
            await journal.awrite(change)

        asyncio.run(main())

    return awrites if request.param == "awrite" else lambda journal, change: journal.write(change)


class Struck(BaseException):
    """What a signal handler raises, as that of Ctrl-C."""


class StruckError(Exception):
    """What another one raises, as that of a time limit."""


def instead(journal: PostgreSQLJournal, action: Callable[..., Any]) -> None:
    """Have something else happen at the next transaction."""
    server = journal.bench.server
    real = server.transact

    def transact(*given: Any) -> Any:
        server.transact = real  # type: ignore[method-assign]
        return action(lambda: real(*given), *given)

    server.transact = transact  # type: ignore[method-assign,assignment]


# --- struck --------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", [Struck, StruckError, TimeoutError])
def test_what_a_signal_handler_raises_while_we_write_is_raised_once_all_is_written(
    journal: PostgreSQLJournal, when: str, kind: type[BaseException]
) -> None:
    """The transaction that was struck is made again, and its row is there once."""
    claim = begin(journal)

    def strike(real: Callable[[], Any], *_: Any) -> None:
        if when == "after":
            real()
        raise kind

    instead(journal, strike)
    append = Append(claim, "[2]", None)
    with pytest.raises(kind):
        journal.write(append)

    assert append.check().rows == 2
    assert bodies(journal) == ["[1]", "[2]"]


def test_a_transaction_in_whose_middle_we_were_struck_is_given_up_with_its_connection(
    journal: PostgreSQLJournal, database: Database
) -> None:
    """What was done in it would come with what is written next."""
    claim = begin(journal)
    connection = journal.bench._connection  # noqa: SLF001
    assert connection is not None

    def strike(_: Any, connection: Any, *__: Any) -> None:
        connection.execute("BEGIN")
        connection.execute(f"CREATE TABLE {database.schema}.half_done ()")
        raise Struck

    instead(journal, strike)
    with pytest.raises(Struck):
        journal.write(append := Append(claim, "[2]", None))

    append.check()
    assert connection.closed
    assert bodies(journal) == ["[1]", "[2]"]
    assert database.ask("SELECT to_regclass('half_done')") == [(None,)]


def test_a_connection_that_breaks_while_each_saga_is_written_by_itself_is_no_fault_of_theirs(
    journal: PostgreSQLJournal,
) -> None:
    """One has spoilt what was written together; the others are written by the next connection."""

    def spoilt(real: Callable[[], Any], *_: Any) -> Any:
        instead(journal, away)
        return real()

    instead(journal, spoilt)
    good, nul = Create("good", None, "[1]"), Create("n\0l", None, "[1]")
    journal.write(good, nul)

    assert good.check().number
    with pytest.raises(JournalError, match="could not be written: DataError"):
        nul.check()
    assert bodies(journal, "good") == ["[1]"]


def test_a_signal_handler_that_uses_what_it_has_interrupted_is_told_so(
    journal: PostgreSQLJournal, writes: Write
) -> None:
    """It would wait for itself: nothing is written, and what it closes stays open."""
    claim = begin(journal)
    bench = journal.bench
    connection = bench._connection  # noqa: SLF001
    assert connection is not None
    append = Append(claim, "[2]", None)
    with bench.turn:
        writes(journal, append)
        journal.close()
    with (
        bench.server.connections.reading(1.0),
        pytest.raises(JournalError, match="in a signal handler"),
    ):
        journal.find("a")
    with benches._lock, pytest.raises(JournalError, match="in a signal handler"):  # noqa: SLF001
        PostgreSQLJournal(bench.server.place).find("a")

    with pytest.raises(JournalError, match="in a signal handler"):
        append.check()
    assert journal.bench is bench
    assert not connection.closed
    assert bodies(journal) == ["[1]"]


def test_what_a_signal_handler_raises_while_we_read_is_raised_as_it_is(
    journal: PostgreSQLJournal,
) -> None:
    """The journal has not failed; and the next one reads on another connection."""
    begin(journal)

    def strike(*_: Any) -> None:
        raise StruckError

    instead(journal, strike)
    with pytest.raises(StruckError):
        journal.find("a")
    assert seen(journal).saga_id == "a"


# --- while there is no connection ----------------------------------------------------------------


class Down:
    """A server that nobody can reach until it comes."""

    def __init__(self, journal: PostgreSQLJournal, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.comes = threading.Event()
        self._connections = journal.bench.server.connections
        self._real = self._connections.connect
        journal.bench._drop()  # noqa: SLF001 - as when the server ends it
        monkeypatch.setattr(self._connections, "connect", self)

    def __call__(self, patience: float) -> Any:
        """Make a connection, or none."""
        self.asked += 1
        if self.comes.is_set():
            return self._real(patience)
        raise UnreachableError("nobody listens there", is_passing=False)


def test_patience_with_a_server_that_is_gone_ends(
    open_at: Open, monkeypatch: pytest.MonkeyPatch, writes: Write
) -> None:
    """Then whoever waits hears why; and who comes later finds new patience."""
    journal = open_at(patience=1)
    claim = begin(journal)
    down = Down(journal, monkeypatch)
    append = Append(claim, "[2]", None)
    writes(journal, append)
    with pytest.raises(JournalError, match="cannot be written: nobody listens there"):
        append.check()
    coming = threading.Timer(0.1, down.comes.set)
    coming.start()
    again = Append(claim, "[2]", None)
    writes(journal, again)
    coming.join(PATIENCE)

    assert again.check().rows == 2


def test_of_several_hosts_one_that_can_be_written_is_wanted(
    open_at: Open, database: Database
) -> None:
    """The others are standbys; unless the connection string says otherwise."""
    who, _, where = database.url.rpartition("@")
    host, _, name = where.partition("/")
    journal = open_at(url=f"{who}@{host},{host}/{name}")
    begin(journal)
    connection = journal.bench._connection  # noqa: SLF001
    assert connection is not None

    assert connection.info.get_parameters()["target_session_attrs"] == "read-write"
    assert bodies(journal) == ["[1]"]


def test_a_server_that_comes_back_as_one_that_will_not_do_is_told_of(
    journal: PostgreSQLJournal, monkeypatch: pytest.MonkeyPatch, writes: Write
) -> None:
    """Nobody waits for it any longer: an older one in its place, say."""
    claim = begin(journal)
    Down(journal, monkeypatch)
    server, down = journal.bench.server, journal.bench.server.connections.connect
    problem = JournalError("it is PostgreSQL 14, older than 15")
    in_line = threading.Event()

    def connect() -> Any:
        if threading.current_thread().name == "py-api-saga-journal":
            in_line.set()
        if in_line.is_set():
            raise problem
        return down(1.0)

    monkeypatch.setattr(server, "connect", connect)
    append = Append(claim, "[2]", None)
    writes(journal, append)

    with pytest.raises(JournalError, match="it is PostgreSQL 14") as caught:
        append.check()
    assert caught.value is not problem  # each has its own


def test_a_journal_that_is_closed_makes_no_connection_any_more(
    journal: PostgreSQLJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would ever close it: whoever stood in line for one goes."""
    write(journal, Append(begin(journal), "[2]", SagaStatus.COMPLETED)).check()
    bench = journal.bench
    down = Down(journal, monkeypatch)
    create = Create("b", None, "[1]")
    create.until = clock.monotonic() + 0.1
    journal.write(create)
    in_line = bench.queue._thread  # noqa: SLF001 - nothing else tells
    journal.close()
    asked = down.asked
    down.comes.set()
    assert in_line is not None
    in_line.join(PATIENCE)

    with pytest.raises(JournalError, match="'b' was not started"):
        create.check()
    assert down.asked == asked
    assert bench._connection is None  # noqa: SLF001


@pytest.mark.parametrize("comes", [True, False])
def test_what_was_given_up_while_a_connection_was_made_is_not_written(
    journal: PostgreSQLJournal, monkeypatch: pytest.MonkeyPatch, *, comes: bool
) -> None:
    """Whether there is one in the end or not; and what comes then is written as ever."""
    down = Down(journal, monkeypatch)
    asked = threading.Event()
    first, second = Create("first", None, "[1]"), Create("second", None, "[1]")

    def connect(patience: float) -> Any:
        asked.set()
        until(lambda: first.settled and second.settled)
        if comes:
            down.comes.set()
        return down(patience)

    monkeypatch.setattr(journal.bench.server.connections, "connect", connect)
    journal.bench.server.was_reached = False

    async def main() -> None:
        first.until = second.until = clock.monotonic() + 0.2
        waiting = asyncio.create_task(journal.awrite(first))
        await asyncio.to_thread(asked.wait, PATIENCE)
        await journal.awrite(second)
        await waiting

    asyncio.run(main())
    until(lambda: journal.bench.queue._thread is None)  # noqa: SLF001 - it has tried, and ended
    down.comes.set()
    write(journal, Create("third", None, "[1]")).check()

    for change in (first, second):
        with pytest.raises(JournalError, match="was not started"):
            change.check()
    assert journal.find("first") is journal.find("second") is None
    assert seen(journal, "third").owner == journal.bench.desk.owner


# --- together ------------------------------------------------------------------------------------


def test_what_one_saga_has_twice_is_written_one_after_the_other(
    journal: PostgreSQLJournal,
) -> None:
    """A row is to be known before the next one is tried: each in a transaction of its own."""
    claim, other = begin(journal), begin(journal, "b")
    before = journal.bench.commits
    appends = [Append(c, f"[{n}]", None) for c, n in ((claim, 2), (claim, 3), (other, 2))]
    journal.write(*appends)

    assert [append.check().rows for append in appends] == [3, 3, 2]
    assert journal.bench.commits == before + 2
    assert bodies(journal) == ["[1]", "[2]", "[3]"]
    assert bodies(journal, "b") == ["[1]", "[2]"]


def test_very_many_sagas_are_written_in_several_transactions(
    journal: PostgreSQLJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement about all of them would take longer than it may: its time grows by the square."""
    monkeypatch.setattr(bench_module, "MOST", 2)
    begin(journal)
    before = journal.bench.commits
    creates = [Create(f"s{i}", None, "[1]") for i in range(5)]
    journal.write(*creates)

    assert all(create.check().number for create in creates)
    assert journal.bench.commits == before + 3


def test_a_heart_beats_on_one_connection_as_long_as_that_is_good(
    journal: PostgreSQLJournal,
) -> None:
    """It makes another one only in the place of one that has broken."""
    begin(journal)
    bench = journal.bench
    connections = []
    for breaks in (False, True, False):
        bench.renew()
        connections.append(bench._beating)  # noqa: SLF001
        if breaks:
            assert bench._beating is not None  # noqa: SLF001
            bench._beating.close()  # noqa: SLF001
    bench.hang_up()
    first, second, third = connections

    assert first is second is not third
    assert third is not None
    assert third.closed
    assert journal.is_in_time()


def test_what_others_have_purged_or_drive_is_not_purged_again(
    journal: PostgreSQLJournal, open_at: Open
) -> None:
    """By what was seen of it before; whoever has seen that it is purged changes nothing."""
    other = open_at("other")
    write(journal, Append(begin(journal), "[2]", SagaStatus.COMPLETED)).check()
    begin(journal, "driven")
    before = seen(journal)
    write(other, Purge(before, "theirs")).check()
    late, again = write(journal, Purge(before, "ours")), Purge(seen(journal), "ours")
    write(journal, again).check()
    driven = seen(other, "driven")._replace(status=SagaStatus.COMPLETED)

    with pytest.raises(SagaInProgress, match="has changed"):
        late.check()
    assert seen(journal).digest == "theirs"
    with pytest.raises(SagaInProgress):
        write(other, Purge(driven, "theirs")).check()


def test_a_reader_asks_once_who_lives(journal: PostgreSQLJournal, database: Database) -> None:
    """A page of sagas is of one moment."""
    for name in ("a", "b"):
        begin(journal, name)
    with journal.reader() as view:
        assert view.drives(seen(journal, "a"))
        expire(journal, database)
        assert view.drives(seen(journal, "b"))
    with journal.reader() as view:
        assert not view.drives(seen(journal, "b"))


# --- closed --------------------------------------------------------------------------------------


def test_what_is_written_while_somebody_closes_the_journal_is_written_by_the_next(
    journal: PostgreSQLJournal, writes: Write
) -> None:
    """It opens again, as ever."""
    bench = journal.bench
    for name in ("write", "submit"):
        real = getattr(bench.queue, name)

        def close(*given: Any, real: Any = real) -> Any:
            journal.close()
            return real(*given)

        setattr(bench.queue, name, close)
    create = Create("a", None, "[1]")
    writes(journal, create)

    assert create.check().number
    assert bench.is_closed
    assert journal.bench is not bench


def test_a_program_that_ends_leaves_no_owner(database: Database) -> None:
    """Its exit hook says so to each database, also if another one can't be told."""
    code = f"""
from py_api_saga.journal import PostgreSQLJournal
from py_api_saga.journal.changes import Append, Create
from py_api_saga.status import SagaStatus
for prefix in ("gone_", "saga_"):
    journal = PostgreSQLJournal({database.url!r}, schema={database.schema!r}, prefix=prefix)
    journal.create_schema()
    journal.write(create := Create("a", None, "[1]"))
    journal.write(Append(create.check(), "[2]", SagaStatus.COMPLETED))
    if prefix == "gone_":
        journal.bench.close = None  # it can't be called
print(journal.find("a").status.name)
"""
    assert output_of(code, measured=True) == ["COMPLETED"]
    assert len(database.ask("SELECT 1 FROM gone_owner")) == 1
    assert database.ask("SELECT 1 FROM saga_owner") == []


def test_the_child_of_a_fork_keeps_what_it_has_inherited_and_closes_nothing_of_it(
    journal: PostgreSQLJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is closed there says so to the server, which ends it for the parent."""
    claim = begin(journal)
    assert journal.find("a") is not None
    bench, process = journal.bench, os.getpid()
    reader = bench.server.connections._readers[-1]  # type: ignore[attr-defined]  # noqa: SLF001
    inherited = [bench._connection, reader.connection]  # noqa: SLF001
    with monkeypatch.context() as forked:
        forked.setattr(os, "getpid", lambda: process + 1)  # as if this was the child
        child = journal.bench
        mine = begin(journal, "child")
        assert journal.find("child") is not None
        write(journal, Append(mine, "[2]", SagaStatus.COMPLETED)).check()
        journal.close()

    assert child is not bench
    assert child.is_closed
    assert mine.owner != claim.owner
    for connection in inherited:
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
        connection.close()
    benches._inherited.remove(bench)  # noqa: SLF001 - it is of this process after all
