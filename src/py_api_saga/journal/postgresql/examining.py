"""What there is to know of a database and of the journal in it, for a person: `saga doctor`."""

from __future__ import annotations

from typing import Any

from py_api_saga import clock
from py_api_saga.journal.changes import tallied
from py_api_saga.journal.health import Health
from py_api_saga.journal.postgresql.exchange import Found
from py_api_saga.journal.postgresql.queries import VERSION
from py_api_saga.journal.postgresql.reading import completed
from py_api_saga.journal.postgresql.server import Server

_LONG = 3600  # seconds for which a transaction may be open
_APART = 5.0  # seconds by which clocks may differ before it is said
_FACTS = (
    "server_version", "synchronous_commit", "fsync", "standby", "asynchronous_standbys", "backend",
    "size", "oldest_transaction",
)  # fmt: skip


def examined(server: Server) -> Health:
    """Look at all of it.

    Raises:
        JournalError: It can't be read.
    """
    asked = ("facts", "living", "owners", "lacking_indexes", "slow_vacuum")
    found, living, owners, indexes, tables, tally = server.read_all(
        [*((name, None) for name in asked), ("tally", {"most": None})]
    )
    with server.connections.reading(server.patience) as connection:
        told = connection.info.backend_pid
    facts: dict[str, Any] = dict(zip(_FACTS, found[0], strict=True))
    facts["pooler"] = facts.pop("backend") != told  # which tells a number of its own
    facts["format"] = VERSION
    facts["clock_ahead"] = round(server.now() - clock.time(), 1)
    facts["processes"] = [
        {"host": host, "pid": pid, "lease": ms / 1000} for _, host, pid, ms in living
    ]
    sagas = {status.value: number for status, number in tallied(completed(tally)).items()}
    live = {row[0] for row in living}
    dead = sum(count for owner, count in owners if owner and owner not in live)
    return Health(
        facts, in_words(server, facts), sagas, dead, why_not_written(server, facts), [],
        advice_on(facts, indexes, tables),
    )  # fmt: skip


def in_words(server: Server, facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Say what there is to say of it."""
    oldest, ahead = facts["oldest_transaction"], facts["clock_ahead"]
    commits = f"synchronous_commit={facts['synchronous_commit']}"
    if server.durability == "power" and facts["synchronous_commit"] == "off":
        commits += ", which each transaction of the journal overrules"
    clocks = f"{abs(ahead):g} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
    return [
        ("database", f"{server.place}, tables {server.naming}…, {facts['size']:,} bytes"),
        ("format", str(facts["format"])),
        ("server", f"PostgreSQL {facts['server_version']}, fsync={facts['fsync']}, {commits}"),
        ("reached", "through a pooler" if facts["pooler"] else "directly"),
        ("clock", clocks if abs(ahead) > _APART else "that of this machine, nearly"),
        ("oldest", "no other transaction" if oldest is None else f"transaction: {oldest:,} s"),
        *(
            ("process", f"{one['pid']} on {one['host']}, its lease runs {one['lease']:.0f} s more")
            for one in facts["processes"]
        ),
    ]


def why_not_written(server: Server, facts: dict[str, Any]) -> list[str]:
    """Say why nothing is written there, if nothing is."""
    why = []
    if facts["standby"]:
        why.append("it is a standby, which can only be read")
    if facts["fsync"] == "off" and server.durability == "power":
        why.append('the server has fsync=off: set it, or say durability="process"')
    return why


def advice_on(facts: dict[str, Any], indexes: Found, tables: Found) -> list[str]:
    """Say what would be better otherwise."""
    advice = [
        f"the index {name} is missing: run what `saga schema postgresql --upgrade` prints"
        for (name,) in indexes
    ]
    advice += [
        f"let dead rows be cleared sooner: ALTER TABLE {table} SET "
        "(autovacuum_vacuum_scale_factor = 0.02)"
        for (table,) in tables
    ]
    if (facts["oldest_transaction"] or 0) > _LONG:
        advice.append(
            f"a transaction has been open for {facts['oldest_transaction']:,} s, and keeps all "
            "rows that died since: end it (pg_stat_activity names it)"
        )
    if facts["asynchronous_standbys"]:
        advice.append(
            "a standby follows asynchronously: a failover to it loses what it has not got yet, "
            "also what was on record; name it in synchronous_standby_names"
        )
    return advice
