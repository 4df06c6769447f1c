"""What happens to a transaction: a COMMIT whose answer is lost, and what PostgreSQL refuses."""

# ruff: noqa: S608 - the names in the SQL are our own

from __future__ import annotations

import inspect
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from servers.children import package
from servers.postgresql import Cluster, cluster

from .cells import Call
from .databases import DRIVERS, Way
from .drivers import Case, Scenario
from .relays import Ends, relayed

SCHEMA = """
CREATE ROLE stranger LOGIN CONNECTION LIMIT 0;
CREATE TABLE charge (cell text);
CREATE TABLE lot (number int PRIMARY KEY, free int);
INSERT INTO lot VALUES (1, 10), (2, 10);
CREATE TABLE doomed (cell text);
CREATE FUNCTION strike() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(30); RETURN NEW; END $$;
CREATE CONSTRAINT TRIGGER strikes AFTER INSERT ON doomed
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION strike();
CREATE TABLE single (cell text UNIQUE DEFERRABLE INITIALLY DEFERRED);
"""
SETTINGS = {
    "listen_addresses": "",
    "port": "5432",  # of its socket, where drivers look for it
    "fsync": "off",
    # With synchronous_commit "on", a COMMIT waits for a standby that never comes.
    "synchronous_standby_names": "nobody",
    "synchronous_commit": "local",
    "restart_after_crash": "on",
}
READY = b"Z\x00\x00\x00\x05"  # ReadyForQuery: the end of each answer


class Desk:
    """One cell's view of the database: its name, and what others do to it."""

    def __init__(self, database: Cluster, folder: Path, name: str, stack: ExitStack) -> None:
        self.database, self.name, self.stack = database, name, stack
        self.folder = folder
        self.insert = f"INSERT INTO charge VALUES ('{name}')"
        self.named = f"SET application_name TO '{name}'"
        self.host = str(database.folder)

    def stands(self) -> int:
        """Count what stands, when the database is there again."""
        while not self.database.ready():
            threading.Event().wait(0.05)
        count: int = self.database.ask("SELECT count(*) FROM charge WHERE cell = %s", self.name)[0][
            0
        ]
        return count

    def relay(self, word: bytes, ends: Ends) -> str:
        """Give the folder of a socket that drops the answer to what has a word."""
        socket = ".s.PGSQL.5432"
        relayed(self.stack, self.folder / socket, self.database.folder / socket, word, READY, ends)
        return str(self.folder)

    def meanwhile(self, waits_for: str, do: Callable[[int], object]) -> None:
        """When this cell's backend waits for something, do something to it, by its pid."""

        def watch() -> None:
            (pid,) = self.database.wait_until(
                "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND wait_event = %s",
                self.name,
                waits_for,
            )
            do(pid)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        self.stack.callback(thread.join)

    def from_outside(self, query: str) -> Callable[[int], object]:
        """Make a query about a pid."""
        return lambda pid: self.database.ask(query, pid)


def answer_of_commit_lost(desk: Desk) -> tuple[Way, bool]:
    """The answer never comes: the connection ends in its place."""
    return Way(desk.relay(b"COMMIT", "fin"), (desk.insert,)), False


def answer_of_a_lone_insert_lost(desk: Desk) -> tuple[Way, bool]:
    """The same of an INSERT that commits by itself."""
    return Way(desk.relay(b"INSERT 0 1", "fin"), (desk.insert,), lone=True), False


def terminated_after_the_commit(desk: Desk) -> tuple[Way, bool]:
    """The administrator ends a backend that has committed and waits for a standby: 57P01."""
    desk.meanwhile("SyncRep", desk.from_outside("SELECT pg_terminate_backend(%s)"))
    return Way(desk.host, (desk.named, "SET LOCAL synchronous_commit TO on", desk.insert)), False


def killed_after_the_commit(desk: Desk) -> tuple[Way, bool]:
    """`kill -9` of such a backend, after which PostgreSQL starts anew."""
    before = desk.database.checkpointer

    def kill(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        desk.database.wait_until_anew(before)

    desk.meanwhile("SyncRep", kill)
    return Way(desk.host, (desk.named, "SET LOCAL synchronous_commit TO on", desk.insert)), False


def cancelled_after_the_commit(desk: Desk) -> tuple[Way, bool]:
    """A cancelled wait for a standby is a success with a warning."""
    desk.meanwhile("SyncRep", desk.from_outside("SELECT pg_cancel_backend(%s)"))
    return Way(desk.host, (desk.named, "SET LOCAL synchronous_commit TO on", desk.insert)), False


def terminated_in_the_commit(desk: Desk) -> tuple[Way, bool]:
    """The backend ends before it has committed; no answer tells which it was."""
    return Way(desk.host, (desk.insert, f"INSERT INTO doomed VALUES ('{desk.name}')")), False


def terminated_between(desk: Desk) -> tuple[Way, bool]:
    """The backend ends while the transaction is idle."""
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"

    def end() -> None:
        desk.database.ask(query, desk.name)
        gone = (
            "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = %s)"
        )
        desk.database.wait_until(gone, desk.name)

    return Way(desk.host, (desk.named, desk.insert, end, "SELECT 1")), False


def dropped_in_the_handshake(desk: Desk) -> tuple[Way, bool]:
    """The connection ends before it stands."""
    return Way(desk.relay(b"", "at once"), (desk.insert,)), False


def nobody_listens(desk: Desk) -> tuple[Way, bool]:
    """There is no such socket."""
    return Way(str(desk.folder), (desk.insert,)), True


def no_room(desk: Desk) -> tuple[Way, bool]:
    """53300: the server says so in place of a connection."""
    return Way(desk.host, (desk.insert,), user="stranger"), True


def query_cancelled(desk: Desk) -> tuple[Way, bool]:
    """57014, by a limit of time."""
    return Way(desk.host, (desk.insert, "SET statement_timeout TO 20", "SELECT pg_sleep(30)")), True


def lock_not_available(desk: Desk) -> tuple[Way, bool]:
    """55P03, since somebody else has the row."""
    desk.stack.enter_context(_holding(desk.database, "SELECT FROM lot WHERE number = 1 FOR UPDATE"))
    steps = (desk.insert, "SELECT FROM lot WHERE number = 1 FOR UPDATE NOWAIT")
    return Way(desk.host, steps), True


def serialization_failure(desk: Desk) -> tuple[Way, bool]:
    """40001, since somebody else has changed what was read."""
    take = "UPDATE lot SET free = free - 1 WHERE number = 1"
    steps = (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        desk.insert,
        "SELECT free FROM lot",
        lambda: desk.database.ask(take),
        take,
    )
    return Way(desk.host, steps), True


def deadlock(desk: Desk) -> tuple[Way, bool]:
    """40P01: each of two has what the other wants, and this one is chosen to give way."""
    take = "UPDATE lot SET free = free - 1 WHERE number = {}"
    other = f"{desk.name}, the other"

    def cross() -> None:
        query = (
            f"SET LOCAL application_name TO '{other}'; SET LOCAL deadlock_timeout TO '30s';"
            f"{take.format(2)}; {take.format(1)}"
        )
        thread = threading.Thread(target=desk.database.ask, args=(query,), daemon=True)
        thread.start()
        desk.stack.callback(thread.join)
        waits = "application_name = %s AND wait_event_type = 'Lock'"
        desk.database.wait_until(f"SELECT 1 FROM pg_stat_activity WHERE {waits}", other)

    steps = ("SET deadlock_timeout TO 10", desk.insert, take.format(1), cross, take.format(2))
    return Way(desk.host, steps), True


def not_unique_at_the_commit(desk: Desk) -> tuple[Way, bool]:
    """23505, found at the COMMIT itself, which is refused."""
    twice = f"INSERT INTO single VALUES ('{desk.name}')"
    return Way(desk.host, (desk.insert, twice, twice)), True


def statement_refused(desk: Desk) -> tuple[Way, bool]:
    """42P01: there is no such table."""
    return Way(desk.host, (desk.insert, "SELECT * FROM no_such_table")), True


SCENARIOS = (
    answer_of_commit_lost,
    answer_of_a_lone_insert_lost,
    terminated_after_the_commit,
    cancelled_after_the_commit,
    terminated_in_the_commit,
    terminated_between,
    dropped_in_the_handshake,
    nobody_listens,
    no_room,
    query_cancelled,
    lock_not_available,
    serialization_failure,
    deadlock,
    not_unique_at_the_commit,
    statement_refused,
    killed_after_the_commit,
)


def _holding(database: Cluster, query: str) -> ExitStack:
    """Hold what a query locks, for the time of a block."""
    with ExitStack() as stack:
        stack.enter_context(database.connect(autocommit=False)).execute(query)
        return stack.pop_all()


def cells(stack: ExitStack, _: Path) -> Iterator[tuple[str, Scenario]]:
    """Start a PostgreSQL, and give each driver at each of its instants."""
    database = stack.enter_context(cluster(**SETTINGS))
    database.ask(SCHEMA)
    for driver, (work, packages) in DRIVERS.items():
        for scenario in SCENARIOS:
            name = f"{driver}: {scenario.__name__.replace('_', ' ')}"
            yield name, partial(_case, database, name, (work, packages), scenario)


def _case(
    database: Cluster,
    name: str,
    driver: tuple[Callable[[Way], Any], tuple[str, ...]],
    scenario: Callable[[Desk], tuple[Way, bool]],
    stack: ExitStack,
    folder: Path,
) -> Case:
    work, packages = driver
    for needed in packages:
        package(needed)
    desk = Desk(database, folder, name, stack)
    way, refused = scenario(desk)

    async def acharge() -> None:
        await work(way)

    charge: Call = acharge if inspect.iscoroutinefunction(work) else lambda: work(way)
    return Case(charge, desk.stands, refused, scenario is cancelled_after_the_commit)
