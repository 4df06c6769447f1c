"""Sagas on DBOS: what is DBOS's own, beside what all engines promise."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session
from world import PATIENCE, until

from py_api_saga import (
    JournalError,
    Retry,
    SagaAssembler,
    SagaConflict,
    SagaDefinitionError,
    SagaException,
    SagaStatus,
    SagaStuck,
    answer,
    clock,
)

pytest.importorskip("dbos")

from dbos import DBOS, DBOSClient

from py_api_saga.engines import dbos_awaiting, dbos_incarnation, dbos_loop
from py_api_saga.engines.dbos import DBOSEngine
from py_api_saga.engines.dbos_lease import Alone, Leased
from py_api_saga.engines.dbos_loop import WORKFLOW
from py_api_saga.engines.dbos_server import SERIALIZER
from py_api_saga.engines.worker import Work
from py_api_saga.journal import PostgreSQLJournal

from . import temporal_calls as shop


@pytest.fixture
def engine(dbos_database: str) -> Iterator[DBOSEngine]:
    """An engine of a database of its own, without a worker."""
    shop.forget()
    with closing(DBOSEngine(dbos_database, modules=[shop.__name__])) as made:
        yield made


@contextmanager
def at_work(engine: DBOSEngine, *, grace: float = PATIENCE, **options: Any) -> Iterator[Any]:
    """Have a worker in this process, for the time of a block."""
    worker = engine.worker(Work(grace=grace), **options)
    worker.begin()
    try:
        yield worker
    finally:
        worker.end()


def ask(engine: DBOSEngine, query: str, *values: object) -> list[Any]:
    """Ask the database itself."""
    with psycopg.connect(engine.server.url.replace("+psycopg", ""), autocommit=True) as connection:
        cursor = connection.execute(query, values or None)
        return cursor.fetchall() if cursor.description else []


def steps(engine: DBOSEngine, workflow: str) -> list[str]:
    """Give the names of the steps of a workflow."""
    query = "SELECT function_name FROM dbos.operation_outputs WHERE workflow_uuid = %s ORDER BY 1"
    query = query.replace("ORDER BY 1", "ORDER BY function_id")
    return [name for (name,) in ask(engine, query, workflow)]


def status(engine: DBOSEngine, workflow: str) -> str:
    """Give what DBOS says of a workflow."""
    query = "SELECT status FROM dbos.workflow_status WHERE workflow_uuid = %s"
    return str(ask(engine, query, workflow)[0][0])


def chain(*operations: Any, **options: Any) -> SagaAssembler:
    """Make a saga of what is called, each undone by name."""
    saga = SagaAssembler.saga(name="order", **options)
    for place, call in enumerate(operations):
        saga = saga.operation(call, (shop.undo, call[1]), name=f"{call[0].__name__}{place}")
    return saga


def left(engine: DBOSEngine, workflow: str, *lines: str, attributes: str = "null") -> None:
    """Have it on record that somebody has taken a workflow, has come so far with it, and died."""
    for number, line in enumerate(lines, 1):
        ask(
            engine,
            "INSERT INTO dbos.operation_outputs (workflow_uuid, function_id, function_name, "
            "output, serialization, retention_timestamp) VALUES (%s, %s, %s, %s, %s, 0)",
            *(workflow, number, f"do{number - 1}" if line else "saga:begin"),
            json.dumps([clock.time(), [], line] if line else [clock.time(), []]),
            SERIALIZER.name(),
        )
    ask(
        engine,
        "UPDATE dbos.workflow_status SET recovery_attempts = 1, attributes = %s "
        "WHERE workflow_uuid = %s",
        *(attributes, workflow),
    )


def pending(engine: DBOSEngine, workflow: str, executor: str) -> None:
    """Have it on record that an executor runs a workflow."""
    ask(
        engine,
        "UPDATE dbos.workflow_status SET status = 'PENDING', executor_id = %s, owner_xid = 'x' "
        "WHERE workflow_uuid = %s",
        *(executor, workflow),
    )


DONE = '["succeeded",0,"action",1,1,"a",[0,0]]'

# --- what is kept ---------------------------------------------------------------------------------


def test_steps_are_those_of_a_workflow_written_by_hand(engine: DBOSEngine) -> None:
    """One for each call, and all of it JSON: nothing that is pickled."""
    saga = chain((shop.do, "a"), (shop.do, "b"), (shop.refuse, "c"))
    with at_work(engine), pytest.raises(SagaException):
        saga.orchestrator_execute(engine=engine, saga_id="plain", wait=PATIENCE)

    assert steps(engine, "plain") == ["do0", "do1", "refuse2", "do1", "do0"]
    query = (
        "SELECT serialization FROM dbos.workflow_status UNION "
        "SELECT serialization FROM dbos.operation_outputs"
    )
    assert ask(engine, query) == [("portable_json",)]


def test_waiter_is_told_though_many_wait_for_one_saga(engine: DBOSEngine) -> None:
    """Each gets the results, by one query for all; one whose time is up waits no longer."""
    saga = chain((shop.wait, "a", "many"))
    saga.start(engine=engine, saga_id="many")
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(engine.result("many", wait=PATIENCE)))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    assert engine.await_rest("many", 0.05) is None

    with at_work(engine):
        shop.gates["many"].set()
        for thread in threads:
            thread.join(PATIENCE)

    assert found == [["a"]] * 5


def test_waiter_has_patience_with_a_database_that_starts_anew(
    engine: DBOSEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And none without an end: then it is told that nothing is known of the saga."""
    chain((shop.do, "a")).start(engine=engine, saga_id="patient")
    real, down = engine.server.resting, [JournalError("it is down")] * 3

    def failing(workflows: Sequence[str]) -> dict[str, Any]:
        if down:
            raise down.pop()
        return real(workflows)

    monkeypatch.setattr(engine.server, "resting", failing)
    with at_work(engine):
        assert engine.result("patient", wait=PATIENCE) == ["a"]

    down += [JournalError("it is down")] * 3
    monkeypatch.setattr(dbos_awaiting, "PATIENCE", -1.0)
    with pytest.raises(JournalError, match="it is down"):
        engine.result("patient", wait=PATIENCE)


# --- in a transaction -----------------------------------------------------------------------------


def by_psycopg(url: str) -> Any:
    """Connect as the driver does."""
    return psycopg.connect(url)


@contextmanager
def by_sqlalchemy(url: str) -> Iterator[Any]:
    """Connect as SQLAlchemy's core does."""
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@contextmanager
def by_session(url: str) -> Iterator[Any]:
    """Connect as an ORM does."""
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with Session(engine) as session:
        yield session
    engine.dispose()


@pytest.mark.parametrize("connect", [by_psycopg, by_sqlalchemy, by_session])
def test_saga_is_started_with_a_transaction(
    engine: DBOSEngine, dbos_database: str, connect: Callable[[str], Any]
) -> None:
    """It is there once that has committed, and not if that is rolled back."""
    mine, other = chain((shop.do, "a")), chain((shop.do, "b"))
    with connect(dbos_database) as connection:
        assert engine.start_in_transaction(connection, mine, saga_id="kept") == "kept"
        assert engine.find("kept") is None
        connection.commit()
    assert engine.find("kept").status is SagaStatus.RUNNING  # type: ignore[union-attr]

    with connect(dbos_database) as connection:
        engine.start_in_transaction(connection, mine, saga_id="gone")
        connection.rollback()
    assert engine.find("gone") is None

    with connect(dbos_database) as connection:
        engine.start_in_transaction(connection, mine, saga_id="kept")
        with pytest.raises(SagaConflict):
            engine.start_in_transaction(connection, other, saga_id="kept")
        engine.start_in_transaction(connection, mine, saga_id="after")  # it goes on
        connection.commit()
    assert engine.find("after") is not None


def test_what_is_no_connection_is_refused(engine: DBOSEngine) -> None:
    """Before anything is written."""
    with pytest.raises(SagaDefinitionError, match="a connection of psycopg"):
        engine.start_in_transaction(object(), chain((shop.do, "a")), saga_id="x")
    assert ask(engine, "SELECT * FROM dbos.workflow_status") == []


# --- what others have left ------------------------------------------------------------------------


def test_call_without_a_record_is_lost_if_others_came_so_far(engine: DBOSEngine) -> None:
    """It is attempt 2, though DBOS runs the step anew as if it were the first."""
    chain((shop.do, "a"), (shop.do, "b")).start(engine=engine, saga_id="heir")
    left(engine, "heir", DONE)

    with at_work(engine):
        engine.result("heir", wait=PATIENCE)

    assert shop.calls == [("heir:do1:action", 2)]


def test_call_is_not_lost_that_was_given_back(engine: DBOSEngine) -> None:
    """Whoever gave the saga back has said that the step was not begun; once, for this one."""
    chain((shop.do, "a"), (shop.do, "b")).start(engine=engine, saga_id="given")
    left(engine, "given", DONE, attributes='{"saga.left": ["shop:do", [2]]}')
    assert engine.standing("given").lacks == "shop:do"  # type: ignore[union-attr]

    with at_work(engine):
        engine.result("given", wait=PATIENCE)

    assert shop.calls == [("given:do1:action", 1)]
    assert engine.standing("given").lacks == ""  # type: ignore[union-attr]


def test_first_call_is_lost_if_the_saga_must_know(engine: DBOSEngine) -> None:
    """A step before it leaves a trace, so that a person is asked instead of the call being made."""
    saga = SagaAssembler.saga().operation((shop.do, "a"), (shop.undo, "a"), on_doubt="park")
    saga.start(engine=engine, saga_id="traced")
    left(engine, "traced", "")

    with at_work(engine), pytest.raises(SagaStuck):
        engine.result("traced", wait=PATIENCE)

    assert shop.calls == []


@pytest.mark.parametrize(("taken", "age", "made"), [(1, 0.0, 1), (0, 99.0, 1), (1, 99.0, 0)])
def test_first_call_is_repeated_while_its_key_is_remembered(
    engine: DBOSEngine, taken: int, age: float, made: int
) -> None:
    """Nobody knows whether it was begun; it is not made anew if that may have been long ago."""
    chain((shop.do, "a"), max_doubt_age=60.0).start(engine=engine, saga_id="first")
    seen = engine.server.look("first")
    assert seen is not None
    rows, began = seen.given
    given = {"positionalArgs": [rows, began - age], "namedArgs": {}}
    ask(engine, "UPDATE dbos.workflow_input SET inputs = %s", json.dumps(given))
    ask(engine, "UPDATE dbos.workflow_status SET recovery_attempts = %s", taken)

    with at_work(engine):
        engine.await_rest("first", PATIENCE)

    assert len(shop.calls) == made


def test_saga_is_given_back_if_the_worker_lacks_what_it_names(
    engine: DBOSEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has it makes its first attempt; meanwhile it is said what is lacked."""
    monkeypatch.setattr(dbos_incarnation, "HANDED_ON", 0.01)
    lacking = DBOSEngine(engine.server.url, modules=["py_api_saga"])
    chain((shop.do, "a")).start(engine=engine, saga_id="lacks")
    with closing(lacking), at_work(lacking):
        until(lambda: engine.standing("lacks").lacks)  # type: ignore[union-attr]
        assert "temporal_calls:do" in engine.standing("lacks").lacks  # type: ignore[union-attr]

    with at_work(engine):
        assert engine.result("lacks", wait=PATIENCE) == ["a"]

    assert shop.calls == [("lacks:do0:action", 1)]


def test_saga_that_waits_long_leaves_its_worker(
    engine: DBOSEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is nobody's then, and goes on with an answer at once, or when its time has come."""
    monkeypatch.setattr(dbos_incarnation, "LINGER", 0.0)
    again = Retry(ConnectionError, wait_initial=0.01, wait_jitter=0)
    saga = chain((shop.begin, "a")).operation((shop.fail_once, "b"), retry=again)
    saga.start(engine=engine, saga_id="long")
    with at_work(engine) as worker:
        until(lambda: status(engine, "long") == "DELAYED")
        until(lambda: not worker._shift.sagas)  # noqa: SLF001 - it costs nothing there
        answer(engine, "long:begin0:action", result="given")
        assert engine.result("long", wait=PATIENCE) == ["given", "b"]

    assert shop.calls[-1] == ("long:fail_once:action", 2)


def test_worker_that_ends_tells_what_is_lost_and_leaves_nothing(engine: DBOSEngine) -> None:
    """A call that outlives the grace is LOST; the saga is back in its queue, for others."""
    chain((shop.wait_once, "a", "never")).start(engine=engine, saga_id="ends")
    worker = engine.worker(Work(grace=0.01))
    worker.begin()
    until(lambda: shop.calls)
    assert worker.running == 1

    assert worker.end() == 1

    assert status(engine, "ends") == "ENQUEUED"
    with at_work(engine):
        assert engine.result("ends", wait=PATIENCE) == ["a"]
    assert shop.calls == [("ends:wait_once0:action", 1), ("ends:wait_once0:action", 2)]
    shop.gates["never"].set()


def test_saga_goes_on_though_the_database_was_away(engine: DBOSEngine) -> None:
    """Connections that are cut while a call runs are not an outcome of it."""
    chain((shop.wait, "a", "away"), (shop.do, "b")).start(engine=engine, saga_id="away")
    with at_work(engine) as worker:
        until(lambda: shop.calls)
        ask(
            engine,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        shop.gates["away"].set()
        assert engine.result("away", wait=PATIENCE) == ["a", "b"]
        assert worker.fault is None


def test_what_went_on_after_others_have_taken_a_saga_is_not_kept(engine: DBOSEngine) -> None:
    """Whoever has it makes its calls, under their keys; who was late makes none any more."""
    chain((shop.wait, "a", "taken"), (shop.do, "b")).start(engine=engine, saga_id="taken")
    with at_work(engine, takeover=True, lease=60.0) as worker:
        until(lambda: shop.calls)
        pending(engine, "taken", "another")
        worker._identity._lease.end()  # noqa: SLF001 - as after a freeze
        shop.gates["taken"].set()
        until(lambda: not worker._shift.sagas)  # noqa: SLF001 - it has left
        assert steps(engine, "taken") == []
        ask(engine, "UPDATE dbos.workflow_status SET status = 'ENQUEUED', owner_xid = NULL")
        assert engine.result("taken", wait=PATIENCE) == ["a", "b"]

    first = ("taken:wait0:action", 1)
    assert shop.calls == [first, first, ("taken:do1:action", 1)]


def test_saga_is_given_back_if_the_worker_does_not_know_its_format(
    engine: DBOSEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is of a newer version, and is left to that."""
    monkeypatch.setattr(dbos_incarnation, "HANDED_ON", 0.01)
    chain((shop.do, "a")).start(engine=engine, saga_id="newer")
    inputs = ask(engine, "SELECT inputs FROM dbos.workflow_input")[0][0]
    newer = inputs.replace('"format\\":1', '"format\\":99')
    assert newer != inputs
    ask(engine, "UPDATE dbos.workflow_input SET inputs = %s", newer)
    with at_work(engine):
        until(lambda: engine.standing("newer").lacks)  # type: ignore[union-attr]

    assert status(engine, "newer") == "ENQUEUED"
    assert shop.calls == []


def test_saga_is_given_back_if_the_loop_fails(
    engine: DBOSEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of ours is not the end of a saga: another worker, or a later one, tries again."""
    monkeypatch.setattr(dbos_incarnation, "HANDED_ON", 0.01)
    real, failures = dbos_loop.drive, iter([RuntimeError("a mistake")])

    def fails_once(*args: Any) -> Any:
        for failure in failures:
            raise failure
        return real(*args)

    monkeypatch.setattr(dbos_incarnation, "drive", fails_once)
    chain((shop.do, "a")).start(engine=engine, saga_id="fails")
    with at_work(engine):
        assert engine.result("fails", wait=PATIENCE) == ["a"]

    assert shop.calls == [("fails:do0:action", 1)]


# --- who a worker is ------------------------------------------------------------------------------


def test_lease_that_has_run_out_is_taken_over(engine: DBOSEngine) -> None:
    """And not before; whoever had it may begin no call then, and looks before the next one."""
    one, other = Leased(engine.server, "one", 60.0), Leased(engine.server, "other", 60.0)
    one.begin()
    other.begin()
    chain((shop.do, "a")).start(engine=engine, saga_id="taken")
    pending(engine, "taken", "one")
    for identity in (one, other):
        identity.beat()
    assert status(engine, "taken") == "PENDING"
    assert one.state() == (True, 1)  # once it had none

    ask(engine, "UPDATE saga_worker SET until = now() - interval '1 s' WHERE executor = 'one'")
    other._swept = float("-inf")  # noqa: SLF001 - it is time to look again
    other.beat()

    assert status(engine, "taken") == "ENQUEUED"
    one._lease.end()  # noqa: SLF001 - as after a freeze
    assert one.state() == (False, 1)
    one.beat()
    assert one.state() == (True, 2)
    assert not engine.server.is_mine("taken", "one")


def test_worker_that_ends_lets_go_of_its_lease(engine: DBOSEngine) -> None:
    """Others need not wait for it to run out."""
    one = Leased(engine.server, "one", 60.0)
    one.begin()
    one.end()
    assert ask(engine, "SELECT until <= now() FROM saga_worker") == [(True,)]


def test_lease_needs_no_table_of_a_journal(engine: DBOSEngine) -> None:
    """A journal in the same database has a table of owners too, which is another one."""
    with closing(PostgreSQLJournal(engine.server.url, modules=["py_api_saga"])) as journal:
        journal.create_schema()
    one = Leased(engine.server, "one", 60.0)
    one.begin()
    assert ask(engine, "SELECT executor FROM saga_worker") == [("one",)]


def test_who_may_not_make_the_table_is_told_how_it_is_made(engine: DBOSEngine) -> None:
    """With the statement for whoever may."""
    name = urlsplit(engine.server.url).path[1:]
    ask(engine, f"CREATE ROLE {name} LOGIN PASSWORD 'x' IN ROLE pg_read_all_data")
    try:
        url = urlsplit(engine.server.url)
        poor = url._replace(netloc=f"{name}:x@{url.hostname}:{url.port}").geturl()
        with (
            closing(DBOSEngine(poor, modules=["py_api_saga"])) as small,
            pytest.raises(SagaDefinitionError, match="CREATE TABLE IF NOT EXISTS saga_worker"),
        ):
            Leased(small.server, "poor", 60.0).begin()
    finally:
        ask(engine, f"DROP ROLE {name}")


def test_id_of_an_executor_is_had_by_one(engine: DBOSEngine) -> None:
    """A second worker with it would take what the first one runs; one that comes back may."""
    one, other = Alone(engine.server, "same"), Alone(engine.server, "same")
    one.begin()
    with pytest.raises(SagaDefinitionError, match="DBOS__VMID"):
        other.begin()
    one.beat()
    one.end()
    other.end()
    other.begin()
    ask(
        engine,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    other.beat()  # the lock was lost with the connection
    with pytest.raises(SagaDefinitionError):
        one.begin()
    other.end()


@pytest.mark.parametrize("lease", [0, -1.0, "long"])
def test_lease_without_sense_is_refused(engine: DBOSEngine, lease: Any) -> None:
    """Before anything is begun."""
    with pytest.raises(SagaDefinitionError, match="lease"):
        engine.worker(Work(), takeover=True, lease=lease)


# --- what is not fit ------------------------------------------------------------------------------


def test_database_without_tables_is_refused(dbos_database: str) -> None:
    """With the command that makes them."""
    url = urlsplit(dbos_database)._replace(path="/postgres").geturl()
    with (
        closing(DBOSEngine(url, modules=[shop.__name__])) as engine,
        pytest.raises(SagaDefinitionError, match="dbos migrate"),
    ):
        chain((shop.do, "a")).start(engine=engine, saga_id="x")


def test_database_that_may_forget_is_refused(engine: DBOSEngine) -> None:
    """A saga would be gone whose charge stood."""
    name = urlsplit(engine.server.url).path[1:]
    ask(engine, f"ALTER DATABASE {name} SET synchronous_commit = off")

    with pytest.raises(SagaDefinitionError, match="synchronous_commit"):
        chain((shop.do, "a")).start(engine=engine, saga_id="x")

    with pytest.raises(SagaDefinitionError, match="synchronous_commit"):
        engine.worker(Work()).begin()


def test_what_is_pickled_is_not_read(engine: DBOSEngine) -> None:
    """It would run; the cure is named instead."""
    client = DBOSClient(system_database_url=engine.server.url)
    options: Any = {
        "queue_name": "sagas", "workflow_name": WORKFLOW, "workflow_id": "pickled",
        "app_version": WORKFLOW,
    }  # fmt: skip
    client.enqueue(options, [])
    client.destroy()

    with pytest.raises(JournalError, match="DBOSPortableJSONSerializer"):
        engine.find("pickled")


def test_workflow_that_dbos_has_ended_is_said_to_be(engine: DBOSEngine) -> None:
    """Nothing was undone: its waiter is told so, and how it goes on; it can be looked at."""
    chain((shop.do, "a")).start(engine=engine, saga_id="ended")
    ask(engine, "UPDATE dbos.workflow_status SET status = 'CANCELLED'")

    with pytest.raises(JournalError, match="dbos workflow resume ended"):
        engine.result("ended", wait=PATIENCE)
    standing = engine.standing("ended")
    assert standing is not None
    assert not standing.is_open
    assert [workflow for workflow, _ in engine.workflows()] == ["ended"]


@pytest.mark.parametrize("url", ["sqlite:///x.db", "no url", "mysql://u:secret@h/d"])
def test_other_databases_are_refused(url: str) -> None:
    """And nobody sees a password."""
    with pytest.raises(SagaDefinitionError, match="postgresql://") as caught:
        DBOSEngine(url, modules=[shop.__name__])
    assert "secret" not in str(caught.value)


def test_password_is_not_shown() -> None:
    """Neither in the place nor in an error."""
    with closing(
        DBOSEngine("postgresql://u:secret@127.0.0.1:1/d", modules=[shop.__name__])
    ) as engine:
        with pytest.raises(JournalError) as caught:
            engine.check()
        assert "secret" not in f"{engine!r} {engine.place} {caught.value}"


def test_process_with_another_dbos_has_no_worker(engine: DBOSEngine) -> None:
    """Its records would be that one's."""
    DBOS(config={"name": "another", "system_database_url": engine.server.url})
    try:
        with pytest.raises(SagaDefinitionError, match="a process of its own"):
            engine.worker(Work()).begin()
    finally:
        DBOS.destroy(destroy_registry=True)


def test_engine_is_not_used_after_a_fork(engine: DBOSEngine) -> None:
    """Its connections are those of the process that has made it."""
    engine.check()
    reading, writing = os.pipe()
    if not os.fork():
        try:
            engine.find("x")
        except SagaDefinitionError as error:
            os.write(writing, str(error).encode()[:100])
        finally:
            os._exit(0)
    os.close(writing)
    assert b"got a fork" in os.read(reading, 100)
    os.wait()


def test_sagas_are_listed_newest_first(engine: DBOSEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page, of those that were begun between two moments and begin with a word."""
    monkeypatch.setattr("py_api_saga.engines.dbos._PAGE", 2)
    begun: list[float] = []
    for number in range(5):
        begun.append(clock.time())
        chain((shop.do, "a")).start(engine=engine, saga_id=f"list-{number}")
        until(lambda: clock.time() - begun[-1] > 0.002)
    chain((shop.do, "a")).start(engine=engine, saga_id="other")

    def listed(**limits: Any) -> Sequence[str]:
        return [workflow for workflow, _ in engine.workflows(**limits)]

    assert listed(prefix="list-") == [f"list-{number}" for number in (4, 3, 2, 1, 0)]
    assert listed(before=begun[3], after=begun[1] - 0.001) == ["list-2", "list-1"]
