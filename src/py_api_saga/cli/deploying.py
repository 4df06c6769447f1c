"""`saga plan-deploy`: would every unfinished saga go on with the code that is here now?"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from py_api_saga.calls import Call, misfit
from py_api_saga.cli.arguments import UsageError
from py_api_saga.cli.listing import ATTENTION
from py_api_saga.cli.opening import to_read
from py_api_saga.cli.printing import write, write_json
from py_api_saga.cli.sealed import refuse_sealed
from py_api_saga.cli.setting_up import import_modules
from py_api_saga.exceptions import JournalError
from py_api_saga.execution import Execution
from py_api_saga.journal.changes import OPEN, Row
from py_api_saga.journal.format.functions import Functions
from py_api_saga.journal.format.sagas import Recorded, folding, read_rows
from py_api_saga.journal.format.values import Values
from py_api_saga.journal.protocol import Codec
from py_api_saga.status import SagaStatus, Status
from py_api_saga.story.many import batches
from py_api_saga.story.words import plural

_SHOWN = 5  # ids of sagas with the same reason
_FORWARD = {Status.PENDING, Status.RUNNING, Status.IN_DOUBT, Status.STUCK}
_NO_UNDO = {Status.FAILED, Status.COMPENSATED, Status.SKIPPED}


def main(arguments: argparse.Namespace) -> int:
    """Hold every unfinished saga against the code; 4 if one would strand."""
    import_modules(arguments)
    stranded: list[dict[str, Any]] = []
    with to_read(arguments) as journal:
        known = _Known(_names(arguments), journal.codec)
        sagas = journal.select({SagaStatus.STUCK, *OPEN})
        refuse_sealed(journal, sagas)
        for batch in batches(sagas):
            rows = journal.rows([seen.number for seen in batch])
            for seen in batch:
                if reasons := reasons_against(rows[seen.number], Values(known)):
                    saga = {"saga_id": seen.saga_id, "name": seen.name, "reasons": reasons}
                    stranded.append(saga | {"status": seen.status.value})
    go_on = len(sagas) - len(stranded)
    if arguments.json:
        write_json({"go_on": go_on, "strand": len(stranded), "sagas": stranded})
    else:
        _write(go_on, stranded)
    return ATTENTION if stranded else 0


class _Known(NamedTuple):
    """What is in the code here, and what opens what is in the journal."""

    names: Functions
    codec: Codec | None


def _names(arguments: argparse.Namespace) -> Functions:
    try:
        return Functions(arguments.modules, dict(arguments.alias))
    except ValueError as error:
        raise UsageError(str(error)) from error


def reasons_against(rows: Sequence[Row], values: Values) -> list[str]:
    """List why a saga could not go on; empty if it could."""
    try:
        recorded = read_rows(rows, values, values.names.callee)
        with folding():
            execution = Execution(recorded.definition, recorded.entries)
    except JournalError as error:
        return [str(error)]
    return list(_misfits(recorded, execution))


def _misfits(recorded: Recorded, execution: Execution) -> Iterator[str]:
    """Yield the calls that may still be made, and whose arguments no longer fit."""
    names = recorded.definition.names.all()
    for i, operation in enumerate(recorded.definition.operations):
        status = execution.status[i]
        calls: list[tuple[str, Call | None]] = []
        if not execution.rolling and status in _FORWARD:
            calls.append(("action", operation.action))
        if not execution.passed and status not in _NO_UNDO:
            calls.append(("compensation", operation.compensation))
        if status in _FORWARD:
            calls.append(("on_doubt", operation.policy.ask))
            judges = operation.policy.doubtful.predicates
            calls += [("doubtful function", (one, (Exception(),), {}, (), False)) for one in judges]
        for role, call in calls:
            if call is not None and (fault := misfit(*call[:3])):
                yield f"operation {names[i]!r}: the {role} cannot be called any more: {fault}"


def _write(go_on: int, stranded: Sequence[dict[str, Any]]) -> None:
    write(f"{plural(go_on, 'saga')} would go on, {len(stranded):,} would strand")
    by_reason: dict[str, list[str]] = {}
    for saga in stranded:
        for reason in saga["reasons"]:
            by_reason.setdefault(reason, []).append(saga["saga_id"])
    for reason, ids in by_reason.items():
        more = f" and {len(ids) - _SHOWN:,} more" if len(ids) > _SHOWN else ""
        write("", reason, f"  {', '.join(ids[:_SHOWN])}{more}")
