"""One decision about many sagas: `saga retry --all`, `compensate --all` and `cancel --all`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing

from py_api_saga.cli.arguments import UsageError
from py_api_saga.cli.asking import agreed, somebody_is_there
from py_api_saga.cli.engine import is_engine
from py_api_saga.cli.listing import write_sagas
from py_api_saga.cli.opening import to_read, to_write
from py_api_saga.cli.printing import write
from py_api_saga.exceptions import SagaError
from py_api_saga.journal.changes import OPEN, Summary
from py_api_saga.journal.lasting import LastingJournal, View
from py_api_saga.status import SagaStatus
from py_api_saga.story.many import listed, of_error
from py_api_saga.story.words import plural
from py_api_saga.wording import as_text

_FILTERS = ("name", "error", "limit", "yes")


def is_about_all(arguments: argparse.Namespace) -> bool:
    """Tell whether a decision is about many sagas, or about the one whose id is given.

    Raises:
        UsageError: Neither, or both.
    """
    if not arguments.all:
        if arguments.saga_id is None:
            raise UsageError("give the ID of a saga, or --all")
        for name in _FILTERS:
            if getattr(arguments, name):
                message = f"--{name} chooses among many sagas: it goes with --all"
                raise UsageError(message)
    elif arguments.saga_id is not None:
        message = f"--all goes without the ID of a saga, got {arguments.saga_id!r}"
        raise UsageError(message)
    return bool(arguments.all)


def decide_all(
    arguments: argparse.Namespace,
    verb: str,
    among: Collection[SagaStatus],
    decide: Callable[[LastingJournal, Summary], SagaStatus],
) -> int:
    """List what it is about, ask, and decide about exactly these; 1 if one was skipped.

    Each is taken as it was listed, by its status and its epoch: what has changed since is skipped.

    Args:
        arguments: Of the command.
        verb: What is done to each.
        among: The statuses of those that it can be about.
        decide: Decides about one, and gives where it stands since.

    Raises:
        UsageError: There is nobody to be asked, and `--yes` was not given.
    """
    with to_read(arguments) as journal:
        chosen = list(_chosen(journal, among, arguments.name, arguments.error))
        chosen = chosen[: arguments.limit]
        told = listed(journal, chosen)
    if not chosen:
        write(f"no saga to {verb}")
        return 0
    write_sagas(chosen, told)
    if not arguments.yes:
        if not somebody_is_there():
            message = (
                f"to {verb} {plural(len(chosen), 'saga')} takes --yes where nobody can be asked"
            )
            raise UsageError(message)
        if not agreed(f"{verb} {plural(len(chosen), 'saga')}?"):
            write("nothing was changed")
            return 1
    skipped = 0
    with closing(to_write(arguments)) as writing:
        for seen in chosen:
            try:
                status = decide(writing, seen)
            except (SagaError, LookupError) as error:
                skipped += 1
                write(f"{seen.saga_id}: skipped: {as_text(error, str)}")
            else:
                write(f"{seen.saga_id}: {status.name}")
    write(f"{verb}: {len(chosen) - skipped:,} done, {skipped:,} skipped")
    return 1 if skipped else 0


def _chosen(
    journal: View, among: Collection[SagaStatus], name: str | None, error: str | None
) -> Iterator[Summary]:
    """Give those that a decision can be about, oldest first: not one that a process drives.

    On an engine also those that run, which hear of it.
    """
    found: Sequence[Summary] = journal.select(among, name)[::-1]
    free = [
        seen
        for seen in found
        if seen.status not in OPEN or is_engine(journal) or journal.drives(seen) is False
    ]
    yield from free if error is None else of_error(journal, free, error)
