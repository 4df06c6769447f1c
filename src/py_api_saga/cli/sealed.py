"""Sagas with sealed values, which only a codec opens: found, left alone or refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from py_api_saga.exceptions import SagaError
from py_api_saga.journal.changes import Row, Summary
from py_api_saga.journal.format.sealing import SEALED as SEAL
from py_api_saga.journal.lasting import View
from py_api_saga.journal.protocol import Journal
from py_api_saga.story.many import each_read

SEALED = (
    "its values are sealed: give the codec that they were written with, as --codec MODULE:OBJECT, "
    "or set SAGA_CODEC in the environment"
)
_SEAL = f'"{SEAL}":'  # as a key: it may be in a text as well


def is_sealed(rows: Iterable[Row]) -> bool:
    """Tell whether any value of a saga is sealed."""
    return any(_SEAL in row.body for row in rows)


def sealed_among(journal: Journal | View, sagas: Sequence[Summary]) -> Iterable[Summary]:
    """Give those that can't be opened here: they have sealed values, and no codec was given."""
    found = each_read(journal, sagas if journal.codec is None else ())
    return (seen for seen, rows in found if rows is not None and is_sealed(rows))


def refuse_sealed(journal: Journal | View, sagas: Sequence[Summary]) -> None:
    """See that what is sealed can be opened: recovery would give up on it for want of a codec.

    Raises:
        SagaError: A saga has sealed values, and no codec was given.
    """
    for seen in sealed_among(journal, sagas):
        message = f"saga {seen.saga_id!r}: {SEALED}"
        raise SagaError(message)
