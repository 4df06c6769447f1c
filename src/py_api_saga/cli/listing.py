"""`saga list`: sagas at a glance, and why those are stuck that are."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from py_api_saga import clock
from py_api_saga.cli.opening import tell_of_who_hangs, to_read
from py_api_saga.cli.printing import table, write, write_json
from py_api_saga.journal.changes import OPEN, Summary
from py_api_saga.journal.lasting import View
from py_api_saga.status import SagaStatus
from py_api_saga.story.detail import holder_as_json
from py_api_saga.story.many import listed
from py_api_saga.story.waits import at_a_glance
from py_api_saga.story.words import age
from py_api_saga.wording import in_line

ATTENTION = 4
_DRIVEN = {True: "yes", False: "no", None: "?"}
_WIDTH = 80  # of a terminal
_LEAST = 8  # characters of a name


def main(arguments: argparse.Namespace) -> int:
    """List sagas; 4 if one of them is stuck."""
    with to_read(arguments) as journal:
        sagas, more = selected(journal, arguments)
        told = listed(journal, sagas)
        holder = journal.who_hangs()
    tell_of_who_hangs(holder)
    if arguments.json:
        write_json({"sagas": told, "more": more, **holder_as_json(holder)})
    else:
        write_sagas(sagas, told)
        if more:
            print(f"saga: there are more; --limit is {arguments.limit}", file=sys.stderr)
    return ATTENTION if any(seen.status is SagaStatus.STUCK for seen in sagas) else 0


def selected(journal: View, arguments: argparse.Namespace) -> tuple[Sequence[Summary], bool]:
    """List the sagas that were asked for, and tell whether there are more."""
    now, limit = journal.now(), arguments.limit
    older, newer = arguments.older_than, arguments.newer_than
    sagas = journal.select(
        arguments.status,
        arguments.name,
        before=None if older is None else now - older,
        after=None if newer is None else now - newer,
        prefix=arguments.id_prefix,
        limit=limit + 1,
    )
    return sagas[:limit], len(sagas) > limit


def write_sagas(sagas: Sequence[Summary], told: Sequence[dict[str, Any]]) -> None:
    """Write a line for each saga, and one more for what is stuck: why."""
    if not sagas:
        write("no sagas")
        return
    rows = [["ID", "NAME", "STATUS", "AGE", "TRIES", "DRIVEN"]]
    for seen, saga in zip(sagas, told, strict=True):
        driven = "-" if seen.status not in OPEN else _DRIVEN[saga["driven"]]
        if saga["waits"]:
            driven = at_a_glance(seen, clock.time(), is_answered=saga["answered"])
        rows.append(
            [
                in_line(seen.saga_id),
                in_line(seen.name or "-"),
                seen.status.name,
                age(seen.changed),
                str(seen.tries),
                driven,
            ]
        )
    # An id is to be copied, so it is whole; a name may lose its end.
    taken = sum(max(map(len, column)) + 2 for column in zip(*rows, strict=True))
    room = max(_LEAST, _WIDTH + 2 - taken + max(len(row[1]) for row in rows))
    lines = list(table([[row[0], cut(row[1], room), *row[2:]] for row in rows]))
    write(lines[0])
    for line, saga in zip(lines[1:], told, strict=True):
        write(line)
        if saga["reason"] is not None:
            write(cut(f"  {in_line(saga['reason'])}", _WIDTH))


def cut(text: str, most: int) -> str:
    """Leave out the end of a text that is longer."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
