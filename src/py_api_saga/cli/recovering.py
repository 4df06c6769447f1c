"""`saga recover` and `saga takeover`: go on with what was left, and say what became of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing

from py_api_saga.cli.deciding import who_decides
from py_api_saga.cli.listing import ATTENTION
from py_api_saga.cli.opening import to_write
from py_api_saga.cli.printing import write
from py_api_saga.cli.sealed import SEALED, refuse_sealed, sealed_among
from py_api_saga.cli.setting_up import around_of, import_modules
from py_api_saga.current import Around
from py_api_saga.durable.recovery import Readiness, Recovered, Recovery, run_recovery, takeover
from py_api_saga.durable.unready import LackingError, unready
from py_api_saga.exceptions import SagaError, SagaException, SagaPending
from py_api_saga.executors.side_loop import SideLoop
from py_api_saga.journal.changes import OPEN, Summary
from py_api_saga.journal.lasting import LastingJournal
from py_api_saga.status import SagaStatus
from py_api_saga.story.many import batches
from py_api_saga.story.words import error_words, moment
from py_api_saga.wording import as_text


def open_to_recover(arguments: argparse.Namespace) -> LastingJournal:
    """Open the journal, which may name what is in the modules that were imported."""
    return to_write(arguments, arguments.modules, arguments.alias)


def recover(arguments: argparse.Namespace) -> int:
    """Go on with all that is due."""
    import_modules(arguments)
    around = around_of(arguments)
    with closing(open_to_recover(arguments)) as journal:
        recovery, sealed = prepare(journal, arguments.limit, around=around)
        try:
            run_recovery(recovery, arguments.workers)
        finally:  # also after Ctrl-C
            done = recovery.in_order()
            write(*map(line, done), *map(left_alone, sealed))
    if not done and not sealed:
        write("nothing to recover")
    if recovery.problem is not None:
        print(f"saga: {begins_nothing(recovery.problem)}", file=sys.stderr)
    return status_of(done) or (1 if sealed else 0)


def prepare(
    journal: LastingJournal,
    limit: int | None,
    readiness: Readiness | None = None,
    loop: SideLoop | None = None,
    around: Sequence[Around] = (),
) -> tuple[Recovery, list[Summary]]:
    """Look what is due, but for what can't be opened here: to claim that would use up its tries."""
    due: list[Summary] = []
    sealed: list[Summary] = []
    for batch in batches(journal.waiting(None if journal.codec is None else limit)):
        shut = [*sealed_among(journal, batch)]
        sealed += shut
        due += [seen for seen in batch if seen not in shut]
        if limit is not None and len(due) >= limit:
            break
    recovery = Recovery(journal, due=due[:limit], readiness=readiness, loop=loop, around=around)
    return recovery, sealed


def take_over(arguments: argparse.Namespace) -> int:
    """Go on with one saga."""
    import_modules(arguments)
    around = around_of(arguments)
    with closing(open_to_recover(arguments)) as journal:
        seen = journal.find(arguments.saga_id)
        refuse_sealed(journal, [] if seen is None else [seen])
        try:
            done = takeover(
                journal,
                arguments.saga_id,
                force=arguments.force,
                around=around,
                who=who_decides(arguments),
                why=arguments.note,
            )
        except LookupError as error:
            raise SagaError(as_text(error, str)) from error
    if seen is not None and seen.status not in OPEN:
        write(f"{line(done)}: it was left as it is")
    else:
        write(line(done))
    return status_of([done])


def left_alone(seen: Summary) -> str:
    """Say why a saga was not gone on with, and what would do it."""
    return f"{seen.saga_id}: {seen.status.name}, left alone: {SEALED}"


def line(done: Recovered) -> str:
    """Say what became of a saga."""
    error = done.error
    words = f"{done.saga_id}: {done.outcome.name}"
    if isinstance(error, SagaPending):
        until = "" if error.due is None else f", until {moment(error.due)}"
        return f"{words}, waits for an answer to {', '.join(error.awaited)}{until}"
    if error is not None and done.outcome in OPEN and unready(error) is not None:
        return f"{words}, left as it was: this process is not set up for it: {_first_line(error)}"
    if done.outcome in OPEN:
        words += ", to be tried again"
    if isinstance(error, LackingError):
        return f"{done.saga_id}: {done.outcome.name}, left as it was: {as_text(error, str)}"
    if isinstance(error, SagaException):
        return f"{words}: {_in_short(error)}"
    return words if error is None else f"{words}: {as_text(error, str) or error_words(error)}"


def begins_nothing(problem: BaseException) -> str:
    """Say why recovery begins nothing more, and what would help."""
    return (
        "this process is not set up for these sagas, which stay as they were; it begins nothing "
        f"more: {_first_line(problem)} (what sets it up can be called first: --setup "
        "MODULE:FUNCTION)"
    )


def _first_line(error: BaseException) -> str:
    text, _, _ = as_text(error, str).strip().partition("\n")
    return f"{type(error).__name__}: {text}"


def _in_short(error: SagaException) -> str:
    return "; ".join(text.strip() for text in str(error).splitlines())


def status_of(done: Sequence[Recovered]) -> int:
    """Give the exit status: 4 if one is stuck, 1 if one is left to be tried again."""
    outcomes = {one.outcome for one in done if not isinstance(one.error, SagaPending)}
    if SagaStatus.STUCK in outcomes:
        return ATTENTION
    return 1 if outcomes & OPEN else 0
