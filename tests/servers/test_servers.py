"""Servers of the tests: they are there when asked for, and gone when whoever asked is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from servers import children, postgresql, shared, temporal
from servers.children import PATIENCE, Missing
from servers.pgbouncer import pgbouncer
from servers.proxy import Proxy, proxy

TESTS = Path(__file__).parent.parent
A_RUN = """
import sys
from servers import shared
with shared.run():
    print(shared.FOLDER in shared.os.environ, getattr(shared, sys.argv[1])(), flush=True)
    sys.stdin.read()
"""


@contextmanager
def run_of_its_own(what: str = "server") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Have another process begin a run and ask for a server of it; give it, with where that is."""
    others = {name: value for name, value in os.environ.items() if name != shared.FOLDER}
    with subprocess.Popen(
        [sys.executable, "-c", A_RUN, what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**others, "PYTHONPATH": str(TESTS)},
        text=True,
    ) as process:
        assert process.stdout
        yield process, process.stdout.readline().split()[-1]


def takes_connections(url: str) -> bool:
    """Tell whether a server is there."""
    psycopg = children.package("psycopg")
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def listens(address: str) -> bool:
    """Tell whether anything is at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port))).close()
    except ConnectionRefusedError:
        return False
    return True


def test_each_test_has_a_schema_of_its_own(database: shared.Database) -> None:
    """What it makes is in there, and goes with it."""
    with shared.database() as other:
        for place in (database, other):
            assert place.ask("SELECT current_schema()") == [(place.schema,)]
            place.ask("CREATE TABLE saga ()")
    found = database.ask("SELECT count(*) FROM pg_namespace WHERE nspname = %s", other.schema)

    assert database.schema != other.schema
    assert found == [(0,)]


@pytest.mark.parametrize("killed", [False, True])
def test_a_server_ends_with_the_run_that_has_asked_for_it(
    database: shared.Database, *, killed: bool
) -> None:
    """Also if that is killed, and can do nothing more about it."""
    if "://" in os.environ.get(postgresql.CHOSEN, ""):
        pytest.skip("the server is not ours")
    with run_of_its_own() as (process, url):
        assert url != database.url
        assert takes_connections(url)
        if killed:
            process.send_signal(signal.SIGKILL)
    until = time.monotonic() + PATIENCE
    while takes_connections(url):
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.usefixtures("namespace")  # there is a Temporal, and its program is in memory
def test_a_temporal_ends_with_the_run_that_is_killed() -> None:
    """A process that can do nothing more about it leaves none behind."""
    with run_of_its_own("temporal") as (process, address):
        assert listens(address)
        process.send_signal(signal.SIGKILL)
    until = time.monotonic() + PATIENCE
    while listens(address):
        assert time.monotonic() < until
        time.sleep(0.005)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder without the programs, a version that nobody has."""
    monkeypatch.setenv(postgresql.CHOSEN, str(tmp_path))
    with pytest.raises(Missing, match="which SAGA_TEST_POSTGRESQL names"):
        postgresql.programs()
    monkeypatch.setenv(temporal.CHOSEN, str(tmp_path / "temporal"))
    with pytest.raises(Missing, match="which TEMPORAL_CLI names"):
        temporal.program()
    monkeypatch.setenv(postgresql.CHOSEN, "7")
    with pytest.raises(Missing, match="PostgreSQL 7"):
        postgresql.programs()


@pytest.fixture
def own_temporal() -> Iterator[temporal.Temporal]:
    """A Temporal for a test alone, which keeps what it has in a file."""
    with ExitStack() as opened:
        try:
            made = opened.enter_context(temporal.temporal())
        except Missing as missing:
            pytest.skip(f"there is no {missing}")
        yield made


async def begun(place: temporal.Namespace) -> list[str]:
    """Give the ids of what was begun in a namespace, after one more was."""
    client = await children.package("temporalio.client").Client.connect(
        place.address, namespace=place.name
    )
    mine = f"a{time.monotonic_ns()}"
    await client.start_workflow("saga", id=mine, task_queue="nobody")
    async with asyncio.timeout(PATIENCE):
        while True:  # it is listed some time after it has begun
            listed = [one.id async for one in client.list_workflows()]
            if mine in listed:
                return listed
            await asyncio.sleep(0.01)


def test_a_temporal_that_crashes_has_all_that_it_had(own_temporal: temporal.Temporal) -> None:
    """It is where it was, and knows of what was begun before."""
    place, before = temporal.namespace(own_temporal.address), own_temporal.address
    asyncio.run(begun(place))
    own_temporal.kill()
    assert not own_temporal.ready()
    own_temporal.start()

    assert len(asyncio.run(begun(place))) == 2
    assert own_temporal.address == before


def test_each_test_has_a_namespace_of_its_own(namespace: temporal.Namespace) -> None:
    """Nobody sees what others have begun in theirs."""
    other = temporal.namespace(namespace.address)

    assert [len(asyncio.run(begun(place))) for place in (namespace, other)] == [1, 1]


def test_each_test_has_a_database_for_dbos_of_its_own(dbos_database: str) -> None:
    """It is migrated, and empty."""
    connect, found = children.package("psycopg").connect, "SELECT count(*) FROM dbos.queues"
    with shared.dbos_database() as other:
        for url in (dbos_database, other):
            with connect(url) as connection:
                assert connection.execute(found).fetchall() == [(0,)]
                connection.execute("INSERT INTO dbos.queues (name) VALUES ('a')")
    with pytest.raises(children.package("psycopg").OperationalError, match="does not exist"):
        connect(other)


# --- a cluster of one's own -----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
def test_a_cluster_is_stopped_in_each_way_and_started_again(
    cluster: postgresql.Cluster, how: str
) -> None:
    """What was committed is there again, and where it was."""
    before = cluster.url
    cluster.ask(f"COMMENT ON DATABASE postgres IS '{how}'")
    cluster.stop(how)
    assert not cluster.ready()
    cluster.start()

    kept = (
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'postgres'"
    )
    assert cluster.ask(kept) == [(how,)]
    assert cluster.url == before


@pytest.fixture(scope="module")
def cluster() -> Iterator[postgresql.Cluster]:
    """A PostgreSQL for these tests alone."""
    try:
        with postgresql.cluster() as made:
            yield made
    except Missing as missing:
        pytest.skip(f"there is no {missing}")


def test_a_standby_has_what_was_committed(clusters: Callable[..., postgresql.Cluster]) -> None:
    """Once it is promoted, it is written to."""
    first, second = clusters(), clusters()
    first.make()
    first.start()
    second.follow(first)
    second.start()
    first.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
    first.ask("SELECT pg_reload_conf()")
    first.wait_until("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'")
    first.ask("CREATE TABLE kept ()")
    first.stop("kill")
    second.ask("SELECT pg_promote()")
    second.ask("INSERT INTO kept DEFAULT VALUES")

    assert second.ask("SELECT count(*) FROM kept") == [(1,)]


def test_a_disk_is_full_and_has_room_again(clusters: Callable[..., postgresql.Cluster]) -> None:
    """The server says so, of what needs more of it."""
    made = clusters(size=100 << 20)
    made.make()
    made.start()
    more = "CREATE TABLE {} AS SELECT repeat('x', 500) FROM generate_series(1, 3000)"
    assert made.disk
    made.disk.fill()
    with pytest.raises(children.package("psycopg").errors.DiskFull):
        made.ask(more.format("refused"))
    made.disk.clear()
    made.ask(more.format("taken"))


def test_the_clock_of_a_server_is_what_it_is_told(
    clusters: Callable[..., postgresql.Cluster],
) -> None:
    """Ahead or behind, from one statement to the next."""
    made = clusters(has_clock=True)
    made.make()
    made.start()
    assert made.clock
    for ahead in (60, -3600, 0):
        made.clock.ahead(ahead)
        ((now,),) = made.ask("SELECT extract(epoch FROM clock_timestamp())::float")
        assert abs(now - time.time() - ahead) < 30


@pytest.fixture
def clusters() -> Iterator[Callable[..., postgresql.Cluster]]:
    """Makes more of them; what they need is not on every machine."""
    with postgresql.clusters() as make:

        def made(**options: Any) -> postgresql.Cluster:
            try:
                return make(**options)
            except Missing as missing:
                pytest.skip(f"there is no {missing}")

        yield made


# --- what is before it ----------------------------------------------------------------------------


@pytest.fixture
def network(cluster: postgresql.Cluster) -> Iterator[Proxy]:
    """A network of ours before it."""
    with proxy(cluster.port) as made:
        yield made


def connected(cluster: postgresql.Cluster, network: Proxy) -> Any:
    """Connect through it."""
    return children.package("psycopg").connect(cluster.url_at(network.port))


def test_what_asks_and_is_answered_is_a_round_trip(
    cluster: postgresql.Cluster, network: Proxy
) -> None:
    """One per question; however many are in a pipeline, they are one."""
    with connected(cluster, network) as connection:
        connection.autocommit = True
        before = network.trips
        connection.execute("SELECT 1")
        assert network.trips == before + 1
        with connection.pipeline():
            for _ in range(5):
                connection.execute("SELECT 1")
        assert network.trips == before + 2


@pytest.mark.parametrize(("what", "committed"), [("question", 0), ("answer", 1)])
def test_a_commit_is_lost_on_its_way_there_or_back(
    cluster: postgresql.Cluster, network: Proxy, what: Any, committed: int
) -> None:
    """Who asked for it learns that the connection is gone, and no more."""
    psycopg = children.package("psycopg")
    cluster.ask("CREATE TABLE lost ()")
    try:
        with connected(cluster, network) as connection:
            connection.execute("INSERT INTO lost DEFAULT VALUES")
            network.lose(what)
            with pytest.raises(psycopg.OperationalError):
                connection.commit()
        gone = "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE client_port > 0)"
        cluster.wait_until(gone)
        assert cluster.ask("SELECT count(*) FROM lost") == [(committed,)]
    finally:
        cluster.ask("DROP TABLE lost")
    assert network.lost == 1


def test_what_is_swallowed_arrives_late(cluster: postgresql.Cluster, network: Proxy) -> None:
    """Until then nobody hears of anything, not even that it is gone."""
    with connected(cluster, network) as connection, ThreadPoolExecutor(2) as pool:
        connection.autocommit = True
        network.swallow()
        asked = pool.submit(connection.execute, "SELECT 1")
        new = pool.submit(connected, cluster, network)
        assert not wait([asked, new], timeout=0.05).done
        network.pass_on()
        assert asked.result().fetchall() == [(1,)]
        new.result().close()


def test_a_network_that_is_cut_breaks_what_is_there(
    cluster: postgresql.Cluster, network: Proxy
) -> None:
    """And takes new connections."""
    with connected(cluster, network) as connection:
        assert network.cut() == 1
        with pytest.raises(children.package("psycopg").OperationalError):
            connection.execute("SELECT 1")
    connected(cluster, network).close()


def test_a_pooler_lends_its_connections_for_a_transaction_each(cluster: postgresql.Cluster) -> None:
    """Two clients share one, and neither finds there what the other has prepared."""
    try:
        with pgbouncer(cluster.url, default_pool_size=1) as pooler, ExitStack() as stack:
            connect = children.package("psycopg").connect
            both = [stack.enter_context(connect(pooler.url, autocommit=True)) for _ in range(2)]
            pids = {
                one.execute("SELECT pg_backend_pid()", prepare=False).fetchone() for one in both
            }
    except Missing as missing:
        pytest.skip(f"there is no {missing}")

    assert len(pids) == 1
