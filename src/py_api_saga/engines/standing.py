"""Where a saga on an engine stands, as its rows tell: what a journal would have of it."""

from __future__ import annotations

from typing import NamedTuple

from py_api_saga.clock import NEVER
from py_api_saga.engines.rows import TREES, Rows, letters_in, readable, useless_in
from py_api_saga.entries import ANSWERED, DENIED
from py_api_saga.exceptions import JournalError
from py_api_saga.execution import Execution
from py_api_saga.journal.changes import OPEN, Letter, Summary
from py_api_saga.journal.format.json_text import dumps
from py_api_saga.journal.format.sagas import folding, read_lines, read_rows
from py_api_saga.keys import key_of
from py_api_saga.standing import due_of, parked
from py_api_saga.status import SagaStatus


class Standing(NamedTuple):
    """How a workflow stands.

    Attributes:
        rows: All that is on record of its saga.
        is_open: It has not ended.
        lacks: What no worker has that it waits for, such as "shop2:charge2"; empty if nothing.
    """

    rows: Rows
    is_open: bool
    lacks: str = ""


class SagaNumber(int):
    """The number of a saga, which an engine does not have, with how it stood when it was read.

    A hack: whoever asks a journal for rows gives it numbers that it has given before. A table of
    these would have to be emptied by somebody.
    """

    _standing: Standing

    @classmethod
    def of(cls, created: float, standing: Standing) -> SagaNumber:
        """Number a saga: by when it was begun, to the microsecond, so that later ones are more."""
        number = cls(created * 1_000_000)
        number._standing = standing
        return number

    @staticmethod
    def rows_of(number: int) -> Rows:
        """Give the rows that were read of a saga with this number."""
        return SagaNumber.standing_of(number).rows

    @staticmethod
    def standing_of(number: int) -> Standing:
        """Give how the saga with this number stood."""
        assert isinstance(number, SagaNumber)  # noqa: S101 - nobody else numbers sagas of an engine
        return number._standing  # noqa: SLF001 - of its own class


def workflow_id(saga_id: str, number: int) -> str:
    """Give the id of a saga's first workflow, or of a successor; "~" is in no saga's id."""
    return saga_id if number == 1 else f"{saga_id}~{number}"


def number_of(workflow: str) -> int:
    """Tell which of the workflows of its saga one is, from 1."""
    return int(workflow.partition("~")[2] or 1)


def saga_id_of(workflow: str) -> str:
    """Give the id of the saga that a workflow is of."""
    return workflow.partition("~")[0]


def summary_of(workflow: str, standing: Standing) -> Summary:
    """Sum up a saga."""
    saga_id, _, number = workflow.partition("~")
    rows = readable(standing.rows)
    created, changed = rows[0].at, rows[-1].at
    numbered = SagaNumber.of(created, standing)
    seen = Summary(
        numbered, saga_id, None, SagaStatus.RUNNING if standing.is_open else SagaStatus.STUCK,
        int(standing.is_open), int(number or 1), 0, created, changed, 0.0, None,
    )  # fmt: skip
    try:
        recorded = read_rows(rows, TREES)
        with folding(f"the entries of saga {saga_id!r}"):
            execution = Execution(recorded.definition, recorded.entries)
    except JournalError:  # it is of a newer release, say: whoever reads its rows is told why
        return seen
    status = execution.standing
    if status in OPEN and not standing.is_open and parked(recorded) is not None:
        status = SagaStatus.STUCK
    seen = seen._replace(name=recorded.plan.name, status=status)
    if standing.is_open and execution.suspended:  # which nobody is at, as in a journal
        return seen._replace(owner=0, due=due_of(recorded, execution) or NEVER)
    return seen


def straggling(rows: Rows) -> list[tuple[str, str, float]]:
    """List the calls of a saga that were given up and may still run: operation, kind, and since."""
    recorded = read_rows(readable(rows), TREES)
    execution = Execution(recorded.definition, recorded.entries)
    if execution.trouble is None:
        return []
    names, late = recorded.definition.names.all(), execution.trouble.stragglers
    return [
        (names[entry[1]], entry[2], at)
        for entry, at in zip(recorded.entries, recorded.times, strict=True)
        if entry[0] == "started" and entry[1:5] in late
    ]


def answer_there(saga_id: str, rows: Rows, key: str) -> Letter | None:
    """Give the answer that a call had under this key, whatever came of it; None if it had none."""
    tree, lines = read_lines(readable(rows))
    names = [item["name"] for item in tree["operations"]]
    for _, (what, *rest) in lines:
        if what in (ANSWERED, DENIED):
            i, kind, _, generation, *value = rest
            if key_of(saga_id, names[i], kind, generation) == key:
                return Letter(key, dumps([what, next(iter(value), None), None]))
    others = [*letters_in(rows), *useless_in(rows)]
    return next((letter for letter in others if letter.key == key), None)
