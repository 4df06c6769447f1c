"""Sagas that are started in a transaction of the user's: there if and when that commits."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import depot
import pytest
from depot import do, undo
from recorded import Reversed, chain, order
from servers.children import Missing, package
from servers.shared import Database, pooler
from users import KINDS, LATER_PLAIN, PLAIN, User, user
from world import PATIENCE, until

from py_api_saga import (
    JournalError,
    SagaAssembler,
    SagaConflict,
    SagaDefinitionError,
    SagaError,
    SagaInProgress,
    SagaStatus,
    answer,
    recover,
    repair,
    takeover,
)
from py_api_saga.journal import PostgreSQLJournal, SQLAlchemyJournal
from py_api_saga.journal.changes import Claim
from py_api_saga.journal.postgresql.trouble import code_of

# `SAGA_TEST_USERS=all pytest tests/journal/test_within.py` has all tests with everybody; else there
# is one of each library and driver where they differ, and two where all show the same.
EACH: tuple[str, ...] = (
    *("Session psycopg", "Connection psycopg2", PLAIN),
    *("AsyncSession asyncpg", LATER_PLAIN),
)
TWO: tuple[str, ...] = ("Session psycopg2", "AsyncConnection asyncpg")
if os.environ.get("SAGA_TEST_USERS") == "all":
    EACH = TWO = KINDS
Users = Callable[..., User]


@pytest.fixture
def journal(database: Database) -> Iterator[PostgreSQLJournal]:
    """A journal in PostgreSQL, and a depot where nothing stands."""
    depot.reset()
    with closing(_journal(database)) as journal:
        journal.create_schema()
        yield journal
    depot.reset()


def _journal(database: Database, **options: Any) -> PostgreSQLJournal:
    return PostgreSQLJournal(database.url, schema=database.schema, modules=["depot"], **options)


@pytest.fixture
def users(database: Database) -> Iterator[Users]:
    """Make users of this database."""
    with ExitStack() as opened:
        yield lambda kind, *more: opened.enter_context(user(kind, database.url, *more))


@pytest.fixture(params=EACH)
def one(request: pytest.FixtureRequest, users: Users) -> User:
    """Somebody with a transaction, of each library and driver."""
    return users(request.param)


@pytest.fixture(params=TWO)
def somebody(request: pytest.FixtureRequest, users: Users) -> User:
    """Somebody with a transaction, whoever that is."""
    return users(request.param)


def another() -> SagaAssembler:
    """Make a saga that is none of the others, whatever its id."""
    return SagaAssembler.saga(name="another").operation((do, "z"), (undo, "z"), name="z")


def sagas(database: Database) -> int:
    """Count what is in the journal."""
    found: int = database.ask("SELECT count(*) FROM saga_saga")[0][0]
    return found


# --- there with the commit, and only then ---------------------------------------------------------


def test_a_saga_is_there_once_the_transaction_has_committed(
    journal: PostgreSQLJournal, one: User
) -> None:
    """Before nobody sees it; afterwards whoever recovers runs it."""
    assert one.start(order(), journal, saga_id="x") == "x"
    assert journal.find("x") is None
    assert [*recover(journal)] == []

    one.commit()

    assert [(run.saga_id, run.outcome) for run in recover(journal)] == [("x", SagaStatus.COMPLETED)]
    assert depot.standing == ["a", "b", "c"]


def test_what_is_rolled_back_has_never_been(
    journal: PostgreSQLJournal, one: User, database: Database
) -> None:
    """The saga goes with all else that the transaction did."""
    one.start(order(), journal, saga_id="x")

    one.rollback()
    one.commit()

    assert sagas(database) == 0
    assert [*recover(journal)] == []


def test_a_savepoint_takes_its_saga_with_it(
    journal: PostgreSQLJournal, one: User, database: Database
) -> None:
    """What is around the savepoint commits, and a saga of the same id may be begun there."""
    one.ask("SELECT 1")
    one.ask("SAVEPOINT mine")
    one.start(chain("a"), journal, saga_id="x")
    one.ask("ROLLBACK TO SAVEPOINT mine")
    one.start(chain("b"), journal, saga_id="x")
    one.commit()

    assert sagas(database) == 1
    recover(journal)
    assert depot.standing == ["b"]


def test_a_saga_is_run_here_by_its_id_after_the_commit(
    journal: PostgreSQLJournal, somebody: User
) -> None:
    """No word of its own is needed: the same saga with the same id takes it."""
    somebody.start(order(), journal, saga_id="x")
    somebody.commit()

    results = order().orchestrator_execute(journal=journal, saga_id="x")

    assert list(results) == ["A", "B", "C"]
    assert depot.log == ["a", "b", "c"]


def test_before_the_commit_nobody_runs_it(journal: PostgreSQLJournal, somebody: User) -> None:
    """Whoever would run it in the journal itself is told so, and nothing is called."""
    somebody.start(order(), journal, saga_id="x")

    with pytest.raises(SagaInProgress, match="transaction that has not ended"):
        order().orchestrator_execute(journal=journal, saga_id="x")

    assert depot.log == []
    somebody.commit()
    assert list(order().orchestrator_execute(journal=journal, saga_id="x")) == ["A", "B", "C"]


def test_an_id_is_made_if_none_is_given(journal: PostgreSQLJournal, somebody: User) -> None:
    """It is returned, as ever."""
    first, second = (somebody.start(order(), journal) for _ in range(2))
    somebody.commit()

    assert first != second
    assert {run.saga_id for run in recover(journal)} == {first, second}


def test_a_deadline_counts_from_the_start(journal: PostgreSQLJournal, somebody: User) -> None:
    """What is run later than that is undone without having been begun."""
    somebody.start(order(), journal, saga_id="x", deadline=0)
    somebody.commit()

    assert [run.outcome for run in recover(journal)] == [SagaStatus.COMPENSATED]
    assert depot.log == []


@pytest.mark.usefixtures("journal")
def test_values_pass_through_the_codec(database: Database, somebody: User) -> None:
    """Also in the comparison with what is there."""
    with closing(_journal(database, codec=Reversed())) as sealed:
        somebody.start(order(), sealed, saga_id="x")
        somebody.start(order(), sealed, saga_id="x")
        somebody.commit()
        recover(sealed)

    assert "secret" not in database.ask("SELECT body FROM saga_entry WHERE n = 1")[0][0]
    assert depot.standing == ["a", "b", "c"]


# --- the same id ----------------------------------------------------------------------------------


def test_the_same_id_twice_is_one_saga(
    journal: PostgreSQLJournal, one: User, database: Database
) -> None:
    """No error, in one transaction or in a later one, and the transaction goes on."""
    assert [one.start(order(), journal, saga_id="x") for _ in range(2)] == ["x", "x"]
    one.commit()
    assert one.start(order(), journal, saga_id="x") == "x"
    assert one.ask("SELECT 7") == 7
    one.commit()

    assert sagas(database) == 1
    assert [run.saga_id for run in recover(journal)] == ["x"]
    assert one.start(order(), journal, saga_id="x") == "x"  # it has ended


def test_another_saga_of_the_same_id_is_refused(
    journal: PostgreSQLJournal, somebody: User, database: Database
) -> None:
    """As anywhere, by what it is to do; what else the transaction does is not touched."""
    somebody.start(chain("a"), journal, saga_id="x")
    with pytest.raises(SagaConflict, match="its name is 'depot', got 'another'"):
        somebody.start(another(), journal, saga_id="x")
    somebody.start(another(), journal, saga_id="y")
    somebody.commit()

    assert sagas(database) == 2


def test_what_has_run_and_was_purged_is_known(journal: PostgreSQLJournal, somebody: User) -> None:
    """Its rows are gone, its id and its digest are not."""
    order().orchestrator_execute(journal=journal, saga_id="x")
    assert not repair.purge_all(journal, journal.select())

    with pytest.raises(SagaConflict, match="has run before"):
        somebody.start(order(), journal, saga_id="x")
    assert somebody.ask("SELECT 7") == 7


def test_an_id_that_another_transaction_has_is_in_progress(
    journal: PostgreSQLJournal, somebody: User, users: Users
) -> None:
    """Nobody waits for it; the transaction goes on, and once the other has ended it is known."""
    other = users(PLAIN)
    other.start(order(), journal, saga_id="x")

    with pytest.raises(SagaInProgress, match="'x' is being started by a transaction that has not"):
        somebody.start(order(), journal, saga_id="x")
    assert somebody.start(order(), journal, saga_id="y") == "y"
    other.commit()
    assert somebody.start(order(), journal, saga_id="x") == "x"
    somebody.commit()

    assert {run.saga_id for run in recover(journal)} == {"x", "y"}


def test_what_the_other_transaction_gives_up_is_free(
    journal: PostgreSQLJournal, somebody: User, users: Users
) -> None:
    """Rolled back, it has never been."""
    other = users(PLAIN)
    other.start(chain("a"), journal, saga_id="x")
    other.rollback()

    somebody.start(chain("b"), journal, saga_id="x")
    somebody.commit()

    recover(journal)
    assert depot.standing == ["b"]


@pytest.mark.parametrize("kind", [PLAIN, LATER_PLAIN])
def test_an_id_that_is_committed_meanwhile_is_looked_for_again(
    journal: PostgreSQLJournal, database: Database, users: Users, kind: str
) -> None:
    """A statement sees what was there when it began; so it is asked once more."""
    mine, held = users(kind), users(PLAIN)
    slow: Any = journal.within(mine.it)
    waiting = f"(SELECT pg_advisory_xact_lock(hashtext('{database.schema}')))"
    where = b"AND version\n"
    query = slow._query  # noqa: SLF001 - to have it wait
    more = f"AND {waiting} IS NOT NULL\n".encode()
    slow._query = query.replace(where, where + more)  # noqa: SLF001 - as above
    held.ask(f"SELECT {waiting}")
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory' AND pid = %s"
    pid = mine.ask("SELECT pg_backend_pid()")

    with ThreadPoolExecutor() as threads:
        started = threads.submit(mine.start, order(), slow, saga_id="x")
        until(lambda: bool(database.ask(waits, pid)))
        order().start(journal=journal, saga_id="x")
        held.rollback()
        assert started.result(PATIENCE) == "x"

    mine.commit()
    assert sagas(database) == 1


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EACH)
def test_a_connection_in_autocommit_is_refused(
    journal: PostgreSQLJournal, users: Users, database: Database, kind: str
) -> None:
    """Nothing could be rolled back there."""
    somebody = users(kind, "AUTOCOMMIT")

    with pytest.raises(JournalError, match=r"autocommit.*Begin a transaction first"):
        somebody.start(order(), journal, saga_id="x")

    assert sagas(database) == 0
    assert somebody.ask("SELECT 7") == 7


def test_a_block_of_psycopg_is_a_transaction(
    journal: PostgreSQLJournal, users: Users, database: Database
) -> None:
    """Many have all connections in autocommit, and say where a transaction begins and ends."""
    somebody = users(PLAIN, "AUTOCOMMIT")

    with somebody.it.transaction(force_rollback=True):
        somebody.start(order(), journal, saga_id="gone")
    with somebody.it.transaction():
        somebody.start(order(), journal, saga_id="x")

    assert database.ask("SELECT saga_id FROM saga_saga") == [("x",)]


def test_a_run_is_refused_before_any_effect(
    journal: PostgreSQLJournal,
    users: Users,
    database: Database,
    execute: Callable[..., Any],
) -> None:
    """In each way to run one: it would be on record only after all was called."""
    heard: list[object] = []
    for kind in (PLAIN, "Session psycopg", LATER_PLAIN):
        somebody = users(kind)
        saga = order(observers=[heard.append])
        with pytest.raises(JournalError, match=r"can be started, and not run.*saga\.start") as told:
            execute(saga, journal=journal.within(somebody.it), saga_id="x")
        assert getattr(told.value, "__notes__", []) == []
        assert somebody.ask("SELECT 7") == 7
        somebody.commit()

    assert (depot.log, heard, sagas(database)) == ([], [], 0)


def test_to_leave_what_was_never_begun_is_harmless(
    journal: PostgreSQLJournal, users: Users
) -> None:
    """As whoever is interrupted before it is refused does: it asks the server nothing."""
    somebody = users(PLAIN)
    journal.within(somebody.it).leave(claim := Claim("x"))

    assert claim.over
    assert not somebody.it.info.transaction_status


def test_nothing_else_is_done_in_a_transaction_of_yours(
    journal: PostgreSQLJournal, users: Users
) -> None:
    """Who recovers or decides needs the journal itself, and is told so."""
    within: Any = journal.within(users(PLAIN).it)
    expected = pytest.raises(SagaDefinitionError, match="expected the journal itself")
    with expected:
        recover(within)
    with expected:
        takeover(within, "x")
    with expected:
        repair.again(within, "x", who="ada", why="")
    with expected:
        answer(within, "x:a:action", result=1)


def test_what_is_to_be_awaited_needs_astart(journal: PostgreSQLJournal, users: Users) -> None:
    """`start` can't await, and says what can."""
    for kind in ("AsyncSession asyncpg", "AsyncConnection psycopg", LATER_PLAIN):
        somebody = users(kind)
        with pytest.raises(JournalError, match=r"write await saga\.astart"):
            order().start(journal=journal.within(somebody.it), saga_id="x")
        assert somebody.start(order(), journal, saga_id="x") == "x"
        somebody.rollback()


def test_astart_takes_a_connection_that_blocks(journal: PostgreSQLJournal, users: Users) -> None:
    """As all else on it does, in a program with a loop."""
    somebody = users("Session psycopg")

    started = asyncio.run(order().astart(journal=journal.within(somebody.it), saga_id="x"))
    somebody.commit()

    assert started == "x"
    assert [run.saga_id for run in recover(journal)] == ["x"]


def test_what_has_no_transaction_is_refused(journal: PostgreSQLJournal, database: Database) -> None:
    """By name, and what would do."""
    sqlalchemy = package("sqlalchemy")
    url = database.url.replace("://", "+psycopg://")
    for wrong in (sqlalchemy.create_engine(url), database.url, None, PostgreSQLJournal):
        with pytest.raises(TypeError, match=r"expected a Session, Connection.*, got .*\w+\.\w+"):
            journal.within(wrong)  # type: ignore[arg-type]
    elsewhere = package("sqlalchemy.orm").Session(sqlalchemy.create_engine("sqlite://"))
    with closing(elsewhere), pytest.raises(JournalError, match="to PostgreSQL, got one to sqlite"):
        order().start(journal=journal.within(elsewhere))


def test_a_connection_of_psycopg2_alone_is_refused(
    journal: PostgreSQLJournal, database: Database
) -> None:
    """Within SQLAlchemy it will do."""
    plain = package("psycopg2").connect(database.url)
    with closing(plain), pytest.raises(TypeError, match="got psycopg2"):
        journal.within(plain)


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("kind", EACH)
def test_a_serialization_failure_goes_out_as_it_is(
    journal: PostgreSQLJournal, users: Users, kind: str, isolation: str
) -> None:
    """It is about the whole transaction, which its own code makes again; and tells no arguments."""
    somebody = users(kind, isolation)
    somebody.ask("SELECT 1")  # what it sees is fixed from here on
    order().start(journal=journal, saga_id="x")

    with pytest.raises(Exception, match="could not serialize access") as told:
        somebody.start(order(), journal, saga_id="x")

    assert not isinstance(told.value, SagaError)
    assert code_of(getattr(told.value, "orig", told.value)) == "40001"
    assert "secret" not in str(told.value)
    somebody.rollback()
    assert somebody.start(order(), journal, saga_id="x") == "x"


def test_a_transaction_that_has_failed_says_so_itself(
    journal: PostgreSQLJournal, somebody: User
) -> None:
    """Nothing that the journal could say is nearer to the cause."""
    with pytest.raises(Exception, match="division by zero"):
        somebody.ask("SELECT 1 / 0")

    with pytest.raises(Exception, match="current transaction is aborted") as told:
        somebody.start(order(), journal, saga_id="x")

    assert not isinstance(told.value, SagaError)
    somebody.rollback()
    assert somebody.start(order(), journal, saga_id="x") == "x"


def test_a_connection_that_is_lost_says_so_itself(
    journal: PostgreSQLJournal, somebody: User, database: Database
) -> None:
    """In the words of its driver: so its pool learns of it."""
    pid = somebody.ask("SELECT pg_backend_pid()")
    database.ask("SELECT pg_terminate_backend(%s, 5000)", pid)

    with pytest.raises(Exception, match=r"terminat|closed") as told:
        somebody.start(order(), journal, saga_id="x")

    assert not isinstance(told.value, SagaError)
    assert sagas(database) == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("ALTER TABLE saga_entry RENAME TO saga_other", r"create_schema\(\)"),
        (
            "UPDATE saga_format SET version = 4, readable_from = 3",
            "format 4, .* update py-api-saga",
        ),
        ("UPDATE saga_format SET version = 1, readable_from = 1", r"has format 1.*--upgrade"),
        ("DELETE FROM saga_format", "has format 0"),
    ],
)
@pytest.mark.parametrize("kind", TWO)
def test_a_journal_that_is_not_as_it_should_be_is_told_of(
    journal: PostgreSQLJournal, users: Users, database: Database, kind: str, change: str, says: str
) -> None:
    """One clear error with what helps, no argument in it, and the transaction goes on."""
    somebody = users(kind)
    database.ask(change)

    with pytest.raises(JournalError, match=says) as told:
        somebody.start(order(), journal, saga_id="x")

    error: BaseException | None = told.value
    while error is not None:
        assert "secret" not in str(error)
        error = error.__cause__ or error.__context__
    assert somebody.ask("SELECT 7") == 7


@pytest.mark.parametrize("kind", [PLAIN, LATER_PLAIN])
def test_what_is_sent_at_once_holds_a_saga_too(
    journal: PostgreSQLJournal, users: Users, database: Database, kind: str
) -> None:
    """In a pipeline of psycopg's: it is there with the rest, and what fails spoils nothing else."""
    somebody = users(kind)
    run, it = somebody.run, somebody.it
    run(it.execute("CREATE TABLE pg_temp.goods (name text)"))
    absent = _journal(database, prefix="absent_")

    with ExitStack() as stack:
        pipeline = it.pipeline()
        if kind == PLAIN:
            stack.enter_context(pipeline)
        else:
            run(pipeline.__aenter__())
            stack.callback(lambda: run(pipeline.__aexit__(None, None, None)))
        run(it.execute("INSERT INTO goods VALUES ('mug')"))
        assert somebody.start(order(), journal, saga_id="x") == "x"
        with pytest.raises(JournalError, match=r"create_schema\(\)"):
            somebody.start(order(), absent, saga_id="y")
        run(it.execute("INSERT INTO goods VALUES ('cup')"))
    somebody.commit()

    assert somebody.ask("SELECT count(*) FROM goods") == 2
    assert sagas(database) == 1


def test_a_role_that_may_not_write_is_told_so(
    journal: PostgreSQLJournal, somebody: User, database: Database
) -> None:
    """With the rights that it needs."""
    guest = f"guest_of_{database.schema}"
    for statement in (
        f"CREATE ROLE {guest}",
        f"GRANT USAGE ON SCHEMA {database.schema} TO {guest}",
        f"SET LOCAL ROLE {guest}",
    ):
        somebody.ask(statement)

    with pytest.raises(JournalError, match="the role may not do that: it needs"):
        somebody.start(order(), journal, saga_id="x")

    assert somebody.ask("SELECT current_user") == guest
    somebody.rollback()


# --- SQLAlchemy and psycopg, as people have them --------------------------------------------------


def test_what_is_pending_in_a_session_stays_pending(
    journal: PostgreSQLJournal, database: Database, users: Users
) -> None:
    """No flush in the middle of a unit of work, and nothing is expired."""
    things = _things(database)
    somebody = users("Session psycopg")
    loaded, pending = things(id=1), things(id=2)
    somebody.it.add(loaded)
    somebody.it.flush()
    somebody.it.add(pending)

    somebody.start(order(), journal, saga_id="x")
    with pytest.raises(SagaConflict):
        somebody.start(another(), journal, saga_id="x")

    assert list(somebody.it.new) == [pending]
    assert "id" in loaded.__dict__
    somebody.commit()
    assert database.ask("SELECT id FROM things ORDER BY id") == [(1,), (2,)]
    assert sagas(database) == 1


def _things(database: Database) -> Any:
    """Make a table of the user's, and its class."""
    database.ask("CREATE TABLE things(id integer PRIMARY KEY)")
    orm, sqlalchemy = package("sqlalchemy.orm"), package("sqlalchemy")
    column = sqlalchemy.Column(sqlalchemy.Integer, primary_key=True)
    body = {"__tablename__": "things", "__table_args__": {"schema": database.schema}, "id": column}
    return type("Thing", (orm.declarative_base(),), body)


def test_a_journal_and_a_session_may_have_one_engine(database: Database) -> None:
    """As in most programs: the journal reads and writes beside the session's transaction."""
    depot.reset()
    engine = package("sqlalchemy").create_engine(database.url.replace("://", "+psycopg://"))
    journal = SQLAlchemyJournal(engine, schema=database.schema, modules=["depot"])
    with closing(journal), package("sqlalchemy.orm").Session(engine) as session:
        journal.create_schema()
        order().start(journal=journal.within(session), saga_id="x", deadline=60)
        assert journal.find("x") is None
        session.commit()
        assert list(order().orchestrator_execute(journal=journal, saga_id="x")) == ["A", "B", "C"]
    engine.dispose()


def test_a_savepoint_of_a_session_takes_its_saga_with_it(
    journal: PostgreSQLJournal, users: Users, database: Database
) -> None:
    """In the session's own words."""
    somebody = users("Session psycopg")
    with somebody.it.begin_nested() as nested:
        somebody.start(order(), journal, saga_id="gone")
        nested.rollback()
    with somebody.it.begin_nested():
        somebody.start(order(), journal, saga_id="x")
    somebody.commit()

    assert database.ask("SELECT saga_id FROM saga_saga") == [("x",)]


def test_a_registry_of_sessions_will_do(
    journal: PostgreSQLJournal, users: Users, database: Database
) -> None:
    """Flask has one."""
    session = users("Session psycopg").it
    scoped = package("sqlalchemy.orm").scoped_session(lambda: session)
    order().start(journal=journal.within(scoped), saga_id="x")
    session.commit()

    somebody = users("AsyncSession asyncpg")
    later = package("sqlalchemy.ext.asyncio").async_scoped_session(
        lambda: somebody.it, scopefunc=lambda: 1
    )
    somebody.run(order().astart(journal=journal.within(later), saga_id="y"))
    somebody.commit()

    assert sagas(database) == 2


def test_a_session_within_run_sync_is_a_session(
    journal: PostgreSQLJournal, users: Users, database: Database
) -> None:
    """Whoever goes on from asyncio in plain functions starts it there with `start`."""
    somebody = users("AsyncSession asyncpg")

    def work(session: Any) -> str:
        return order().start(journal=journal.within(session), saga_id="x")

    assert somebody.run(somebody.it.run_sync(work)) == "x"
    somebody.commit()

    assert sagas(database) == 1


def test_rows_and_placeholders_are_read_in_our_own_way(
    journal: PostgreSQLJournal, users: Users, database: Database
) -> None:
    """Whatever a connection of psycopg makes of its cursors."""
    psycopg, rows = package("psycopg"), package("psycopg.rows")
    somebody = users(PLAIN)
    somebody.it.row_factory = rows.dict_row
    for factory in (psycopg.RawCursor, psycopg.ClientCursor):
        somebody.it.cursor_factory = factory
        for _ in range(2):
            order().start(journal=journal.within(somebody.it), saga_id="x")
    somebody.commit()

    assert sagas(database) == 1


def test_a_transaction_is_made_of_one_statement_and_a_savepoint(
    journal: PostgreSQLJournal, users: Users
) -> None:
    """So that it costs the user's transaction little, and sets nothing in it."""
    somebody = users("Connection psycopg")
    sent: list[str] = []
    package("sqlalchemy").event.listen(
        somebody.it, "before_cursor_execute", lambda *given: sent.append(given[2].split()[0])
    )
    before = somebody.ask("SELECT string_agg(name || setting, ',' ORDER BY name) FROM pg_settings")
    sent.clear()

    somebody.start(order(), journal, saga_id="x")
    somebody.start(order(), journal, saga_id="x")

    assert sent == 2 * ["SAVEPOINT", "WITH", "RELEASE"]
    after = somebody.ask("SELECT string_agg(name || setting, ',' ORDER BY name) FROM pg_settings")
    assert after == before


@pytest.mark.parametrize("kind", ["Session psycopg2", PLAIN])
def test_a_pooler_may_lie_between(
    journal: PostgreSQLJournal, database: Database, kind: str
) -> None:
    """Each transaction is another session's, and one begins where another was rolled back."""
    try:
        pooled = pooler()
    except Missing as missing:
        pytest.skip(f"there is no {missing}")
    with user(kind, pooled) as first, user(kind, pooled) as second:
        for one in (first, second):
            if kind == PLAIN:
                one.it.prepare_threshold = None  # as whoever has a pooler says
        for number in range(12):
            first.start(chain("a"), journal, saga_id=f"first{number}")
            second.start(chain("a"), journal, saga_id=f"second{number}")
            with pytest.raises(SagaInProgress):
                second.start(chain("a"), journal, saga_id=f"first{number}")
            first.commit()
            second.rollback()

    found = database.ask("SELECT saga_id FROM saga_saga ORDER BY number")
    assert found == [(f"first{number}",) for number in range(12)]


def test_no_table_is_read_from_end_to_end(
    journal: PostgreSQLJournal, users: Users, database: Database
) -> None:
    """Also where nobody has analyzed it, and by a plan that was made while it was empty."""
    somebody = users(PLAIN)
    somebody.it.prepare_threshold = 0
    for number in range(12):
        somebody.start(chain("a"), journal, saga_id=f"before{number}")
        somebody.commit()
    database.ask(
        "INSERT INTO saga_saga(saga_id, status, epoch, owner, tries, created, changed, due)"
        " SELECT 'old' || i, 3, 1, 0, 0, 0, 0, 0 FROM generate_series(1, 20000) AS i"
    )
    database.ask(
        "INSERT INTO saga_entry(saga, n, at, body) SELECT number, 1, 0, '[]' FROM saga_saga"
        " ON CONFLICT DO NOTHING"
    )
    count = (
        "SELECT sum(seq_scan) FROM pg_stat_user_tables"
        " WHERE schemaname = %s AND relname IN ('saga_saga', 'saga_entry')"
    )
    [(before,)] = database.ask(count, database.schema)

    for number in range(12):
        somebody.start(chain("a"), journal, saga_id=f"after{number}")
        somebody.commit()
    somebody.ask("SELECT pg_stat_force_next_flush()")
    somebody.commit()

    assert database.ask(count, database.schema) == [(before,)]
