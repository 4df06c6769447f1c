"""`saga purge`: drop the details of sagas that ended long ago."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing

from py_api_saga.cli.opening import to_read, to_write
from py_api_saga.cli.printing import write
from py_api_saga.cli.sealed import SEALED
from py_api_saga.journal.changes import Summary
from py_api_saga.journal.format.sealing import SealedError
from py_api_saga.journal.lasting import LastingJournal, View
from py_api_saga.repair import purge_all
from py_api_saga.story.many import batches
from py_api_saga.story.words import error_words, plural


def main(arguments: argparse.Namespace) -> int:
    """Purge what ended long enough ago; 1 if something could not be."""
    if arguments.dry_run:
        with to_read(arguments) as reading:
            write(f"would purge {plural(len(_chosen(arguments, reading)), 'saga')}")
        return 0
    done, left = 0, []
    with closing(to_write(arguments)) as journal:
        chosen = _chosen(arguments, journal)
        for batch in batches(chosen):
            refused = purge_all(journal, batch, forget=arguments.forget)
            done += len(batch) - len(refused)
            left += refused
    write(f"purged {plural(done, 'saga')}")
    for seen, error in left:
        is_shut = journal.codec is None and isinstance(error.__cause__, SealedError)
        write(f"{seen.saga_id}: left as it is: {SEALED if is_shut else error_words(error)}")
    return 1 if left else 0


def _chosen(arguments: argparse.Namespace, journal: View | LastingJournal) -> Sequence[Summary]:
    """List the sagas that are to be purged; those that were are left out, unless forgotten now."""
    before = journal.now() - arguments.older_than
    ended = journal.select(arguments.status, before=before)
    return [seen for seen in ended if arguments.forget or seen.digest is None]
