"""`saga check` for a monitor, and `saga doctor` for a person who trusts the journal no more."""

from __future__ import annotations

import argparse
import platform
from collections import Counter
from collections.abc import Sequence
from typing import Any

from py_api_saga import clock
from py_api_saga.cli.engine import is_engine
from py_api_saga.cli.listing import ATTENTION
from py_api_saga.cli.opening import tell_of_who_hangs, to_read
from py_api_saga.cli.printing import table, write, write_json
from py_api_saga.cli.renewing import new_owners
from py_api_saga.exceptions import JournalError
from py_api_saga.journal.changes import OPEN, PATIENCE, Summary
from py_api_saga.journal.format.values import Trees
from py_api_saga.journal.health import Health
from py_api_saga.journal.holder import Holder
from py_api_saga.journal.lasting import View
from py_api_saga.release import VERSION
from py_api_saga.status import SagaStatus
from py_api_saga.story.attention import MANY, attention
from py_api_saga.story.detail import holder_as_json
from py_api_saga.story.gauges import exposition, gauges
from py_api_saga.story.many import batches
from py_api_saga.story.saga import fold
from py_api_saga.story.words import duration, plural

# --- check -----------------------------------------------------------------------------------


def check(arguments: argparse.Namespace) -> int:
    """Count what needs attention; 4 if anything does, unless for Prometheus, which sees that."""
    with to_read(arguments) as journal:
        found = attention(journal, arguments.grace)
        holder = journal.who_hangs()
    tell_of_who_hangs(holder)
    if arguments.prometheus:
        write(*exposition(gauges(found)).splitlines())
        return 0
    if arguments.json:
        write_json({**found.as_json(), **holder_as_json(holder)})
    else:
        write(
            f"{len(found.stuck):,} stuck, "
            f"{len(found.overdue):,} overdue (open, undriven for {duration(arguments.grace)}), "
            f"{len(found.tried):,} tried {MANY} times or more, "
            f"{len(found.unfinished):,} open in all"
            + f", {len(found.waiting):,} of them waiting for answers" * bool(found.waiting)
            + "; which processes live is unknown" * bool(journal.unsure)
            + "".join(
                f"; {n:,} overdue: waits for {name}"
                for name, n in Counter(found.waits.values()).items()
            )
            + f"; {len(found.unheard):,} overdue: answered, and nobody goes on"
            * bool(found.unheard)
        )
    return ATTENTION if found.concern or _hangs(holder) else 0


def _hangs(holder: Holder | None) -> bool:
    """Tell whether a process has been inside the gate for so long that others give up."""
    since = None if holder is None else holder.since
    return since is not None and clock.time() - since > PATIENCE


# --- doctor ----------------------------------------------------------------------------------


def doctor(arguments: argparse.Namespace) -> int:
    """Examine the file; 1 if it is damaged."""
    if arguments.new_owners is not None:
        return new_owners(arguments)
    with to_read(arguments) as journal:
        health, found = examine(journal)
    if arguments.json:
        write_json(found)
    elif is_engine(journal):
        write(*table([*health.says, _versions(found)]), "it is there, and fit for sagas")
    else:
        _write(health, found)
    return 1 if health.damage else 0


def examine(journal: View) -> tuple[Health, dict[str, Any]]:
    """Give how a journal does, and all that there is to know of it as JSON has it."""
    health, waiting = journal.health(), 0
    if health.sagas:  # else nothing can be read
        try:
            unfinished = journal.select({SagaStatus.STUCK, *OPEN})
            waiting = sum(seen.suspended for seen in unfinished)
            health.damage.extend(_unreadable(journal, unfinished))
        except JournalError as error:
            health.damage.append(str(error))
    found: dict[str, Any] = {
        "journal": journal.place,
        "library": VERSION,
        "python": platform.python_version(),
        **health.facts,
        **health._asdict(),
        "waiting": waiting,
    }
    del found["facts"], found["says"]
    return health, found


def _unreadable(journal: View, unfinished: Sequence[Summary]) -> list[str]:
    """List the unfinished sagas whose entries make no sense."""
    faults = []
    values = Trees(journal)
    for batch in batches(unfinished):
        rows = journal.rows([seen.number for seen in batch])
        for seen in batch:
            try:
                fold(rows[seen.number], values)
            except JournalError as error:
                faults.append(f"saga {seen.saga_id!r}: {error}")
    return faults


def _write(health: Health, found: dict[str, Any]) -> None:
    rows = [
        *health.says,
        _versions(found),
        ("sagas", ", ".join(f"{n:,} {status}" for status, n in health.sagas.items()) or "?"),
        ("waiting", f"{plural(found['waiting'], 'saga')}, for answers"),
        ("left", _left(health.left_by_dead)),
    ]
    write(*table(rows))
    for why in health.refuses:
        write(f"NOT WRITTEN: {why}")
    for fault in health.damage:
        write(f"DAMAGED: {fault}")
    for better in health.advice:
        write(f"ADVICE: {better}")
    if not health.damage:
        write("no damage")


def _versions(found: dict[str, Any]) -> tuple[str, str]:
    return "versions", f"py-api-saga {found['library']}, Python {found['python']}"


def _left(sagas: int | None) -> str:
    if sagas is None:
        return "unknown: nobody can tell which processes live"
    return f"{plural(sagas, 'open saga')} by processes that have died"
