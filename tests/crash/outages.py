"""What befalls a database that processes share, and these processes, and the way between them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from servers.children import PATIENCE, package

from . import sweeps
from .bases import ROLE, Bases, Kind
from .harness import Process, Yard

AHEAD = (0, 0, 3_600, -3_600, 13 * 3_600, -13 * 3_600)  # seconds that clocks of machines go wrong
JUMP = 60  # seconds that the database's clock leaps at a time; a leap back only delays takeovers
OURS = f"FROM pg_stat_activity WHERE usename = '{ROLE}'"


class Crowd:
    """Processes that run and recover sagas at one place; whoever is killed is replaced."""

    def __init__(self, yard: Yard, place: Path, chance: random.Random, number: int) -> None:
        self.yard, self.place, self.chance = yard, place, chance
        self._seeds = count(chance.randrange(1 << 30))
        self.living = [self._start() for _ in range(number)]

    def _start(self) -> Process:
        ahead = self.chance.choice(AHEAD)
        if ahead:
            self.yard.faults[f"a process's clock is {abs(ahead) // 3600} h off"] += 1
        return self.yard.start("work", self.place, seed=next(self._seeds), ahead=ahead)

    def any(self) -> Process:
        """Give one of them."""
        return self.chance.choice(self.living)

    def kill(self) -> None:
        """Kill one, and start another."""
        k = self.chance.randrange(len(self.living))
        self.living[k].kill()
        self.yard.faults["a process is killed"] += 1
        self.living[k] = self._start()

    def end(self) -> None:
        """Kill all."""
        for process in self.living:
            process.kill()
            self.yard.faults["a process is killed"] += 1


class Wound(NamedTuple):
    """What heals at a time, by being undone."""

    at: float
    undo: Callable[[], object]


class Outages:
    """Strikes one place."""

    def __init__(self, bases: Bases, crowd: Crowd) -> None:
        self.bases, self.crowd = bases, crowd
        self.network, self.faults = bases.network, crowd.yard.faults
        self.chance, self.name = crowd.chance, crowd.place.name
        self._wounds: list[Wound] = []
        self._lost = self.network.lost
        self._lock = threading.Lock()

    # --- how it strikes and heals ----------------------------------------------------------------

    def play(self, kinds: Iterable[str]) -> None:
        """Let these happen, one soon after the other, each healed after a while."""
        over = threading.Event()
        # By itself: what strikes next may wait for what a frozen backend has locked.
        healing = threading.Thread(target=self._heal, args=(over,))
        healing.start()
        try:
            for kind in kinds:
                time.sleep(self.chance.uniform(0.1, 0.5))
                KINDS[kind](self)
            while self._wounds:
                time.sleep(0.05)
        finally:
            over.set()
            healing.join()
            self.heal_all()

    def _heal(self, over: threading.Event) -> None:
        """Undo what has lasted."""
        while not over.wait(0.05):
            with self._lock:
                now = time.monotonic()
                for wound in [wound for wound in self._wounds if wound.at < now]:
                    self._wounds.remove(wound)
                    wound.undo()

    def heal_all(self) -> None:
        """Undo all, at once."""
        with self._lock:
            while self._wounds:
                self._wounds.pop().undo()
        self.network.lose_no_more()
        self.faults["a COMMIT or its answer is lost"] += self.network.lost - self._lost
        self._lost = self.network.lost

    def _for(self, seconds: float, undo: Callable[[], object]) -> None:
        """Undo something in about so many seconds."""
        lasts = seconds * self.chance.uniform(0.7, 1.5)
        with self._lock:
            self._wounds.append(Wound(time.monotonic() + lasts, undo))

    def _ask(self, query: str) -> list[Any]:
        """Ask the database as soon as it can be asked."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return self.bases.cluster.ask(query)
            except package("psycopg").OperationalError:
                assert time.monotonic() < until, query
                time.sleep(0.05)

    # --- processes -------------------------------------------------------------------------------

    def kill(self) -> None:
        """One of the processes is killed."""
        self.crowd.kill()

    def pause(self) -> None:
        """One of the processes is stopped beyond its lease."""
        process = self.crowd.any()
        process.send(signal.SIGSTOP)
        self.faults["a process is stopped beyond its lease"] += 1
        self._for(self.bases.lease * 1.6, partial(process.send, signal.SIGCONT))

    # --- the server ------------------------------------------------------------------------------

    def terminate(self) -> None:
        """An administrator ends all connections."""
        ended = self._ask(f"SELECT pg_terminate_backend(pid) {OURS}")
        self.faults["a backend is terminated"] += len(ended)

    def freeze(self) -> None:
        """The server's side of a connection does nothing any more."""
        pids = [pid for (pid,) in self._ask(f"SELECT pid {OURS}")]
        if pids:
            pid = self.chance.choice(pids)
            _send(pid, signal.SIGSTOP)
            self.faults["a backend is frozen"] += 1
            self._for(self.bases.patience * 1.5, partial(_send, pid, signal.SIGCONT))

    def restart(self, how: str) -> None:
        """The server is stopped, and started again."""
        self.heal_all()  # a frozen backend would keep it from ending, a full disk from beginning
        self.bases.cluster.stop(how)
        self.bases.cluster.start()
        self.faults[f"the server is restarted, {how}"] += 1

    def crowded(self) -> None:
        """Others have all connections, and those who had one lose it."""
        psycopg, hogs = package("psycopg"), list[Any]()
        with suppress(psycopg.OperationalError):
            while True:
                hogs.append(self.bases.cluster.connect(user=ROLE, application_name="hog"))
        self._ask(f"SELECT pg_terminate_backend(pid) {OURS} AND application_name <> 'hog'")
        with suppress(psycopg.OperationalError):
            while True:
                hogs.append(self.bases.cluster.connect(user=ROLE, application_name="hog"))
        self.faults["max_connections is reached"] += 1
        self._for(1.5, lambda: _close(*hogs))

    def full(self) -> None:
        """The server's disk is full."""
        disk = self.bases.cluster.disk
        assert disk
        disk.fill()
        self.faults["the server's disk is full"] += 1
        self._for(1.5, self._clear)

    def _clear(self) -> None:
        cluster = self.bases.cluster
        assert cluster.disk
        cluster.disk.clear()
        if cluster.has_ended():  # it could not write its log, nor recover
            cluster.stop()
            cluster.start()

    def leap(self) -> None:
        """The server's clock leaps."""
        cluster = self.bases.cluster
        assert cluster.clock
        cluster.clock.ahead(cluster.clock.seconds + JUMP)
        self.faults[f"the server's clock leaps {JUMP} s"] += 1

    def promote(self) -> None:
        """The server dies, and its standby takes its place; and gets a standby of its own."""
        self.heal_all()
        bases, old = self.bases, self.bases.cluster
        assert bases.standby
        old.stop("immediate")
        bases.standby.ask("SELECT pg_promote()")
        bases.cluster, bases.standby = bases.standby, None
        self.network.lead_to(bases.cluster.port)
        self.network.cut()
        bases.moved([self.crowd.place])
        self.faults["a standby is promoted"] += 1
        shutil.rmtree(old.folder)
        bases.stand_by()

    # --- other people ----------------------------------------------------------------------------

    def _others(self, seconds: float, *queries: str) -> bool:
        """Let somebody else have a transaction open for some time; they wait for no lock long."""
        errors = package("psycopg").OperationalError
        with suppress(errors):  # no connection is left for them either
            other = self.bases.cluster.connect(dbname=self.name, autocommit=False)
            try:
                other.execute("SET lock_timeout = '1s'")
                for query in queries:
                    other.execute(query)
            except errors:
                _close(other)
            else:
                self._for(seconds, partial(_close, other))
                return True
        return False

    def look_long(self) -> None:
        """Somebody's transaction reads for long."""
        isolation = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
        if self._others(4, isolation, "SELECT count(*) FROM saga_entry"):
            self.faults["somebody's transaction is long"] += 1

    def hold_rows(self) -> None:
        """Somebody's transaction holds the rows of sagas."""
        rows = "SELECT FROM saga_saga WHERE status < 2 ORDER BY number FOR UPDATE"
        if self._others(self.bases.patience, rows):
            self.faults["somebody holds the sagas that are open"] += 1

    def hold_table(self) -> None:
        """Somebody's transaction holds the whole table, as a migration does."""
        if self._others(1.2, "LOCK TABLE saga_saga IN ACCESS EXCLUSIVE MODE"):
            self.faults["somebody holds the table"] += 1

    # --- the network -----------------------------------------------------------------------------

    def swallow(self) -> None:
        """What is sent either way does not arrive, or late."""
        self.network.swallow()
        self.faults["the network swallows"] += 1
        self._for(self.bases.patience, self._pass_on)

    def _pass_on(self) -> None:
        if self.chance.random() < 0.5:
            self.network.cut()
        self.network.pass_on()

    def cut(self) -> None:
        """All connections break."""
        self.faults["a connection is cut"] += self.network.cut()

    def lag(self) -> None:
        """The network is slow."""
        self.network.delay = 0.1
        self.faults["the network is slow"] += 1
        self._for(1.5, lambda: vars(self.network).update(delay=0.0))

    def lose(self) -> None:
        """Some COMMITs do not arrive, or are not answered."""
        self.network.lose("answer", 4)
        self.network.lose("question", 2)


KINDS: dict[str, Callable[[Outages], None]] = {
    "kill": Outages.kill,
    "pause": Outages.pause,
    "terminate": Outages.terminate,
    "freeze": Outages.freeze,
    "fast": partial(Outages.restart, how="fast"),
    "immediate": partial(Outages.restart, how="immediate"),
    "crowded": Outages.crowded,
    "full": Outages.full,
    "leap": Outages.leap,
    "look": Outages.look_long,
    "rows": Outages.hold_rows,
    "table": Outages.hold_table,
    "swallow": Outages.swallow,
    "cut": Outages.cut,
    "lag": Outages.lag,
    "lose": Outages.lose,
    "promote": Outages.promote,
}


# What does not befall each: the standby has a clock of its own, and pgbouncer leads to one server
# and waits for it, so that who has no connection left there is not told so.
NEVER: dict[Kind, set[str]] = {
    "alone": {"promote"},
    "with a standby": {"full", "leap"},
    "through pgbouncer": {"promote", "full", "leap", "crowded"},
}


def kinds(of: Kind) -> list[str]:
    """Give what may happen."""
    return [kind for kind in KINDS if kind not in NEVER[of]]


def every_point(yard: Yard, mode: str) -> None:
    """Kill a run of a mode at each point, and recoveries at as many of theirs."""
    total = len(sweeps.undisturbed(yard, mode))
    place = yard.place()
    for at in range(1, total + 1):
        yard.do("run", place, ends="", at=at, sagas=[(f"{place.name}-{at}", mode, {})])
    yard.outlive()
    for at in range(1, total + 1, 2):
        yard.do("recover", place, ends="", at=at, coroutine=at % 4 == 1)
    yard.outlive()
    yard.look(place)
    yard.do("recover", place)
    yard.check(place)


def lot(bases: Bases, yard: Yard, chance: random.Random, kinds: Sequence[str]) -> None:
    """Let processes run and recover sagas at a place of their own while these kinds happen."""
    place = yard.place()
    crowd = Crowd(yard, place, chance, 4)
    outages = Outages(bases, crowd)
    try:
        outages.play(kinds)
        time.sleep(1)  # others go on
    finally:
        crowd.end()
    yard.outlive()
    yard.look(place)
    yard.do("recover", place)
    yard.check(place)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _close(*connections: Any) -> None:
    for connection in connections:
        with suppress(Exception):
            connection.close()
