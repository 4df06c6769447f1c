"""Sagas on DBOS, and what comes at the worst moment: none is lost, and no call is alive twice."""

from __future__ import annotations

import asyncio
import posixpath
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from world import PATIENCE, until

from py_api_saga import SagaAssembler, SagaDefinitionError, answer, result_of

pytest.importorskip("dbos")

from dbos._sys_db import SystemDatabase

from py_api_saga.engines import dbos_lease, dbos_watch
from py_api_saga.engines.dbos import DBOSEngine
from py_api_saga.engines.dbos_incarnation import Incarnation
from py_api_saga.engines.dbos_lease import Alone, Leased
from py_api_saga.engines.dbos_loop import WORKFLOW
from py_api_saga.engines.dbos_server import Server
from py_api_saga.engines.dbos_shift import LeftError
from py_api_saga.engines.worker import Work

from . import temporal_calls as shop
from .test_dbos import ask, at_work, chain, status

ELSEWHERE = "posixpath"  # a module that some workers do not know
SOON = 0.2  # seconds after which what nobody drives is given back


@pytest.fixture
def engine(dbos_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[DBOSEngine]:
    """An engine of a database of its own, without a worker."""
    shop.forget()
    monkeypatch.setattr(dbos_watch, "ORPHANED", SOON)
    with closing(DBOSEngine(dbos_database, modules=[shop.__name__])) as made:
        yield made


@pytest.fixture
def both(dbos_database: str) -> Iterator[DBOSEngine]:
    """One that knows a module more."""
    with closing(DBOSEngine(dbos_database, modules=[shop.__name__, ELSEWHERE])) as made:
        yield made


@pytest.mark.parametrize("method", ["_record_operation_result_txn", "update_workflow_outcome"])
def test_an_error_of_the_database_is_not_what_came_of_a_saga(
    engine: DBOSEngine, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """As DBOS records a step, or the end: it would be replayed for ever, or be the end."""
    real, fails = getattr(SystemDatabase, method), [True]

    def failing(*args: Any, **options: Any) -> Any:
        if fails:
            fails.clear()
            timeout = psycopg.errors.LockNotAvailable("canceling statement due to lock timeout")
            raise sa.exc.DBAPIError("x", {}, timeout)
        return real(*args, **options)

    monkeypatch.setattr(SystemDatabase, method, failing)
    chain((shop.do, "a"), (shop.do, "b")).start(engine=engine, saga_id="x")

    with at_work(engine):
        assert engine.result("x", wait=PATIENCE) == ["a", "b"]

    assert not fails
    assert {attempt for _, attempt in shop.calls} == {1}


def test_a_saga_that_was_taken_and_is_not_driven_is_given_back(
    engine: DBOSEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the claim was lost; its worker lives, so nobody else would take it over."""
    real, fails = SystemDatabase.start_queued_workflows, [True]

    def failing(*args: Any, **options: Any) -> Any:
        taken = real(*args, **options)
        if fails and taken[0]:
            fails.clear()
            raise sa.exc.DBAPIError("COMMIT", {}, psycopg.OperationalError("the server closed it"))
        return taken

    monkeypatch.setattr(SystemDatabase, "start_queued_workflows", failing)
    chain((shop.do, "a")).start(engine=engine, saga_id="x")

    with at_work(engine, takeover=True):
        assert engine.result("x", wait=PATIENCE) == ["a"]

    assert not fails


def test_whoever_has_lost_its_name_begins_no_call(engine: DBOSEngine) -> None:
    """Its connection was cut, and another worker of the same name has what it had."""
    first, second = Alone(engine.server, "same"), Alone(engine.server, "same")
    first.begin()
    ask(
        engine,
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )

    def taken() -> bool:
        try:
            second.begin()
        except SagaDefinitionError:
            return False
        return True

    until(taken)
    first.beat()
    assert (first.state()[0], second.state()[0]) == (False, True)

    second.end()

    def has_it_again() -> bool:
        first.beat()
        return first.state() == (True, 1)

    until(has_it_again)
    first.end()


def test_a_lease_is_not_renewed_while_what_it_was_for_is_taken(engine: DBOSEngine) -> None:
    """Else both would go on: one has not seen yet that the other has taken it."""
    chain((shop.do, "a")).start(engine=engine, saga_id="x")
    late = Leased(engine.server, "late", 30.0)
    late.begin()
    ask(engine, "UPDATE dbos.workflow_status SET status = 'PENDING', executor_id = 'late'")
    ask(engine, "UPDATE saga_worker SET until = now() - interval '1 s'")
    renewed = threading.Event()

    def renew() -> None:
        late._lease.until = float("-inf")  # noqa: SLF001 - it is due
        late.beat()
        renewed.set()

    values = {"executor": "other", "name": WORKFLOW}
    with engine.server.engine.connect() as connection:
        taken = connection.execute(sa.text(dbos_lease._TAKE), values).all()  # noqa: SLF001
        threading.Thread(target=renew, daemon=True).start()
        blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        until(lambda: ask(engine, blocked) != [(0,)])
        assert not renewed.is_set()
        connection.commit()

    assert taken == [("late",)]
    assert renewed.wait(PATIENCE)
    assert not engine.server.is_mine("x", "late")


def test_each_call_sees_for_itself_that_its_saga_was_taken() -> None:
    """Also those at once, of which one asks already."""
    began: list[int] = []

    class Taken:
        """A shift whose lease has run out, and whose saga is another's by now."""

        executor, count = "x", 0

        def __init__(self) -> None:
            self.sagas: dict[str, Incarnation] = {}
            self.server = self.ends = self

        def is_set(self) -> bool:
            return False

        def lease(self) -> tuple[bool, int]:
            return True, self.count

        def is_mine(self) -> bool:
            return False

        async def asked(self, *_: object) -> bool:
            await asyncio.sleep(0)
            return False

    async def main() -> None:
        shift: Any = Taken()
        shift.sagas["x"] = here = Incarnation(shift, "x", 0.0)
        shift.count = 1

        async def call(number: int) -> None:
            with suppress(LeftError):
                await here._may_go_on()  # noqa: SLF001 - as its calls do
                began.append(number)

        await asyncio.gather(call(1), call(2))

    asyncio.run(main())
    assert began == []


def test_what_no_worker_has_does_not_keep_others_from_their_turn(
    engine: DBOSEngine, both: DBOSEngine, dbos_database: str
) -> None:
    """However many of these came first."""
    for number in range(3):
        chain((shop.do, "a")).start(engine=engine, saga_id=f"lacking{number}")
    name_of: Any = posixpath.basename
    fresh = SagaAssembler.saga(name="fresh").operation((name_of, "/a/b"))
    fresh.start(engine=both, saga_id="fresh")

    with (
        closing(DBOSEngine(dbos_database, modules=[ELSEWHERE])) as poor,
        at_work(poor, grace=1.0) as worker,
    ):
        assert worker is not None
        assert both.result("fresh", wait=PATIENCE) == ["b"]


def test_no_call_begins_of_a_saga_that_is_being_given_back(
    engine: DBOSEngine, both: DBOSEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer comes just then: whoever takes the saga next makes the call that follows."""
    real, giving, may_go = Server.give_back, threading.Event(), threading.Event()

    def slow(*args: Any) -> None:
        giving.set()
        may_go.wait(PATIENCE)
        real(*args)

    monkeypatch.setattr(Server, "give_back", slow)
    saga = SagaAssembler.saga(name="race")
    saga.operation((shop.begin, "a"), (shop.undo, "a"), name="later")
    name_of: Any = posixpath.basename
    saga.operation((name_of, "/x/y"), name="lacking", after=())
    saga.operation((shop.wait, result_of("later"), "race"), (shop.undo, "c"), name="charge")
    saga.start(engine=both, saga_id="x", at_once=True)

    with at_work(engine, grace=1.0):
        assert giving.wait(PATIENCE)
        answer(both, "x:later:action", result="paid")
        until(lambda: '"answered"' in str(_standing(both)) or '"letter"' in str(_standing(both)))
        assert [key for key, _ in shop.calls] == ["x:later:action"]
        may_go.set()
        until(lambda: "x:charge:action" in [key for key, _ in shop.calls])
        shop.gates["race"].set()
        until(lambda: '["succeeded",2' in str(_standing(both)))

    assert [key for key, _ in shop.calls].count("x:charge:action") == 1


def _standing(engine: DBOSEngine) -> Any:
    standing = engine.standing("x")
    return standing and standing.rows


def test_a_worker_makes_as_many_calls_at_once_as_it_is_told(engine: DBOSEngine) -> None:
    """Those beyond would wait for a thread, be told as lost, and begin after that."""
    saga = chain(*[(shop.wait, f"a{number}", "many") for number in range(70)])
    saga.start(engine=engine, saga_id="x", at_once=True)
    worker = engine.worker(Work(concurrency=70))
    worker.begin()
    try:
        until(lambda: len(shop.calls) == 70)
        shop.gates["many"].set()
        assert len(engine.result("x", wait=PATIENCE)) == 70
    finally:
        worker.end()


def test_a_worker_that_ends_waits_for_no_call_that_has_no_turn(engine: DBOSEngine) -> None:
    """It hands them on as not begun, and none of them counts as lost."""
    saga = chain(*[(shop.wait, name, "turn") for name in "abcd"])
    saga.start(engine=engine, saga_id="x", at_once=True)
    worker = engine.worker(Work(concurrency=1, grace=PATIENCE))
    worker.begin()
    until(lambda: len(shop.calls) == 1)
    threading.Timer(0.1, shop.gates["turn"].set).start()

    assert worker.end() == 0

    assert len(shop.calls) == 1
    assert status(engine, "x") == "ENQUEUED"
    with at_work(engine):
        assert engine.result("x", wait=PATIENCE) == ["a", "b", "c", "d"]
    assert sorted(shop.calls) == [(f"x:wait{place}:action", 1) for place in range(4)]


def test_a_connection_that_commits_each_statement_starts_no_saga(
    engine: DBOSEngine, dbos_database: str
) -> None:
    """A worker would find half of it; within a transaction it may."""
    saga = chain((shop.do, "a"))
    with psycopg.connect(dbos_database, autocommit=True) as connection:
        with pytest.raises(SagaDefinitionError, match="expected one in a transaction"):
            engine.start_in_transaction(connection, saga, saga_id="x")
        with connection.transaction():
            engine.start_in_transaction(connection, saga, saga_id="x")

    assert status(engine, "x") == "ENQUEUED"
