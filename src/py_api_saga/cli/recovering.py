"""`saga recover` and `saga takeover`: go on with what was left, and say what became of it."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from py_api_saga.cli.listing import ATTENTION
from py_api_saga.cli.opening import import_modules, refuse_sealed, to_write
from py_api_saga.cli.words import error_words, write
from py_api_saga.exceptions import SagaError, SagaException
from py_api_saga.journal.changes import OPEN
from py_api_saga.recovery import Recovery, run_recovery, takeover
from py_api_saga.status import SagaStatus
from py_api_saga.wording import as_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from py_api_saga.journal.sqlite import SQLiteJournal
    from py_api_saga.recovery import Recovered


def open_to_recover(arguments: argparse.Namespace) -> SQLiteJournal:
    """Import the modules, and open the journal that may name what is in them."""
    import_modules(arguments.modules)
    return to_write(arguments, arguments.modules, arguments.alias)


def recover(arguments: argparse.Namespace) -> int:
    """Go on with all that is due."""
    with closing(open_to_recover(arguments)) as journal:
        recovery = prepare(journal, arguments.limit)
        try:
            run_recovery(recovery, arguments.workers)
        finally:  # also after Ctrl-C
            done = recovery.in_order()
            write(*map(line, done))
    if not done:
        write("nothing to recover")
    return _status(done)


def prepare(journal: SQLiteJournal, limit: int | None) -> Recovery:
    """Look what is due, and that it can be read: what can't is given up on when it is claimed."""
    refuse_sealed(journal, [seen for seen in journal.waiting(time.time(), limit) if not seen.tries])
    return Recovery(journal, limit=limit)


def take_over(arguments: argparse.Namespace) -> int:
    """Go on with one saga."""
    with closing(open_to_recover(arguments)) as journal:
        seen = journal.find(arguments.saga_id)
        refuse_sealed(journal, [] if seen is None else [seen])
        try:
            done = takeover(journal, arguments.saga_id, force=arguments.force)
        except LookupError as error:
            raise SagaError(as_text(error, str)) from error
    if seen is not None and seen.status not in OPEN:
        write(f"{line(done)}: it was left as it is")
    else:
        write(line(done))
    return _status([done])


def line(done: Recovered) -> str:
    """Say what became of a saga."""
    error = done.error
    words = f"{done.saga_id}: {done.outcome.name}"
    if done.outcome in OPEN:
        words += ", to be tried again"
    if isinstance(error, SagaException):
        return f"{words}: {_in_short(error)}"
    return words if error is None else f"{words}: {as_text(error, str) or error_words(error)}"


def _in_short(error: SagaException) -> str:
    return "; ".join(text.strip() for text in str(error).splitlines())


def _status(done: Sequence[Recovered]) -> int:
    outcomes = {recovered.outcome for recovered in done}
    if SagaStatus.STUCK in outcomes:
        return ATTENTION
    return 1 if outcomes & OPEN else 0
