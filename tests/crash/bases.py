"""Places whose journal is a database of its own, in a PostgreSQL behind a network of the tests'.

A file of a place names its database; without one its journal is a file there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

from servers.children import package
from servers.pgbouncer import pgbouncer
from servers.postgresql import Cluster, clusters
from servers.proxy import Proxy, proxy

NAMED = "database"
# What runs sagas may do as much as an application may, so that it finds no connection reserved.
ROLE, SECRET = "shop", "not a secret"


Kind = Literal["alone", "with a standby", "through pgbouncer"]


class Base(NamedTuple):
    """The database of a place.

    Attributes:
        url: For processes that run sagas, over the network.
        direct: For whoever looks from outside, past it.
        lease: Of the processes, in seconds.
        patience: Of theirs.
    """

    url: str
    direct: str
    lease: float
    patience: float

    def ask(self, query: str, *values: object) -> list[Any]:
        """Ask from outside."""
        with package("psycopg").connect(self.direct, autocommit=True) as connection:
            cursor = connection.execute(query, values or None)
            rows: list[Any] = cursor.fetchall() if cursor.description else []
            return rows


def base_of(place: Path) -> Base | None:
    """Give the database of a place, if it has one."""
    named = place / NAMED
    return Base(*json.loads(named.read_text())) if named.exists() else None


class Bases:
    """Makes databases in a cluster.

    Attributes:
        cluster: Where they are now; another one, once a standby has been promoted.
        network: What is before it.
        standby: What has all that is committed, if there is one.
        lease: Of the processes, in seconds.
        patience: Of theirs.
    """

    lease = patience = 2.0

    def __init__(self, cluster: Cluster, network: Proxy, make: Callable[..., Cluster]) -> None:
        self.cluster, self.network, self._make_cluster = cluster, network, make
        self.standby: Cluster | None = None
        cluster.ask(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{SECRET}'")
        self._template = ""

    def make(self, place: Path, prepare: Callable[[], None]) -> None:
        """Make the database of a place; `prepare` makes the tables of the first one."""
        name = place.name
        template = f" TEMPLATE {self._template}" if self._template else ""
        self.cluster.ask(f"CREATE DATABASE {name} OWNER {ROLE}{template}")
        url = f"postgresql://{ROLE}:{quote(SECRET)}@127.0.0.1:{self.network.port}/{name}"
        self._write(place, url)
        if not self._template:
            prepare()
            # A pooler may still be connected.
            self.cluster.ask(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name
            )
            self._template = f"template_{name}"
            self.cluster.ask(f"CREATE DATABASE {self._template} OWNER {ROLE} TEMPLATE {name}")

    def _write(self, place: Path, url: str) -> None:
        direct = f"host={self.cluster.folder} port={self.cluster.port} user=postgres"
        direct += f" dbname={place.name}"
        base = Base(url, direct, self.lease, self.patience)
        (place / NAMED).write_text(json.dumps(base))

    def moved(self, places: list[Path]) -> None:
        """Let whoever looks from outside find the databases where they are now."""
        for place in places:
            if base := base_of(place):
                self._write(place, base.url)

    def drop(self, place: Path) -> None:
        """Drop the database of a place; nobody is connected to it any more."""
        self.cluster.ask(f"DROP DATABASE {place.name} WITH (FORCE)")

    def stand_by(self) -> None:
        """Give the cluster a standby, without which nothing is committed any more."""
        self.standby = self._make_cluster(**MANY_ARE_REFUSED)
        self.standby.follow(self.cluster)
        self.standby.start()
        self.cluster.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.cluster.ask("SELECT pg_reload_conf()")
        self.cluster.wait_until("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'")


MANY_ARE_REFUSED = {"max_connections": "30"}
ROOM = 200 << 20  # bytes of a disk that is to be full now and then


@contextmanager
def bases(kind: Kind) -> Iterator[Bases]:
    """Start a cluster for databases, behind a network.

    "alone" it has a disk that can be full, and a clock that can be wrong; "with a standby" it has
    one; "through pgbouncer" all connections but those from outside go through a pooler.
    """
    with clusters() as make, ExitStack() as stack:
        more = {"size": ROOM, "has_clock": True} if kind == "alone" else {}
        first = make(**MANY_ARE_REFUSED, **more)
        first.make()
        first.start()
        port = first.port
        if kind == "through pgbouncer":
            behind = f"postgresql://{ROLE}:{quote(SECRET)}@127.0.0.1:{port}/postgres"
            port = stack.enter_context(pgbouncer(behind)).port
        made = Bases(first, stack.enter_context(proxy(port)), make)
        if kind == "with a standby":
            made.stand_by()
        yield made
