"""`saga list`: sagas at a glance."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from py_api_saga.cli.opening import holder_as_json, tell_of_who_hangs, to_read
from py_api_saga.cli.printing import table, write, write_json
from py_api_saga.journal.changes import OPEN, Summary
from py_api_saga.status import SagaStatus
from py_api_saga.story.detail import at_a_glance
from py_api_saga.story.words import age, moment

ATTENTION = 4
_DRIVEN = {True: "yes", False: "no", None: "?"}


def main(arguments: argparse.Namespace) -> int:
    """List sagas; 4 if one of them is stuck."""
    older, newer, limit = arguments.older_than, arguments.newer_than, arguments.limit
    with to_read(arguments) as journal:
        now = journal.now()
        sagas = journal.select(
            arguments.status,
            arguments.name,
            before=None if older is None else now - older,
            after=None if newer is None else now - newer,
            limit=limit + 1,
        )
        more, sagas = len(sagas) > limit, sagas[:limit]
        listed = [at_a_glance(seen, driven=journal.drives(seen)) for seen in sagas]
        holder = journal.who_hangs()
    tell_of_who_hangs(holder)
    if arguments.json:
        write_json({"sagas": listed, "more": more, **holder_as_json(holder)})
    else:
        _write(sagas, listed)
        if more:
            print(f"saga: there are more; --limit is {limit}", file=sys.stderr)
    return ATTENTION if any(seen.status is SagaStatus.STUCK for seen in sagas) else 0


def _write(sagas: Sequence[Summary], listed: Sequence[dict[str, Any]]) -> None:
    if not sagas:
        write("no sagas")
        return
    rows = [["ID", "NAME", "STATUS", "SINCE", "AGE", "TRIES", "DRIVEN"]]
    for seen, saga in zip(sagas, listed, strict=True):
        driven = "-" if seen.status not in OPEN else _DRIVEN[saga["driven"]]
        rows.append(
            [
                seen.saga_id,
                seen.name or "-",
                seen.status.name,
                moment(seen.changed),
                age(seen.changed),
                str(seen.tries),
                driven,
            ]
        )
    write(*table(rows))
