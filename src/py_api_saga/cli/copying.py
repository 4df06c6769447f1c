"""`saga copy`: what has ended in one journal, into another one that takes its place."""

from __future__ import annotations

import argparse
from contextlib import closing

from py_api_saga.cli.opening import copied_from, copied_to
from py_api_saga.cli.printing import write
from py_api_saga.exceptions import JournalError, SagaError
from py_api_saga.journal.changes import LONGEST_WAIT, OPEN, Summary
from py_api_saga.journal.lasting import View
from py_api_saga.repair import ENDED
from py_api_saga.status import SagaStatus
from py_api_saga.story.many import batches
from py_api_saga.story.words import plural

_MANY = 1000  # unfinished sagas that are counted


def main(arguments: argparse.Namespace) -> int:
    """Copy sagas that have ended; 1 if one could not be."""
    new, there, left = 0, 0, 0
    with (
        copied_from(arguments.file) as reading,
        closing(copied_to(arguments.url)) as journal,
    ):
        if why := journal.missing():
            raise JournalError(why)
        _refuse_unfinished(reading)
        for batch in batches(reading.select(ENDED)[::-1]):
            numbers = [seen.number for seen in batch]
            rows, mail = reading.rows(numbers), reading.taken_mail(numbers)
            taken = journal.take_in(
                [(seen, rows[seen.number], mail[seen.number]) for seen in batch]
            )
            new += len(taken)
            for seen in batch:
                if seen.saga_id in taken:
                    continue
                known = journal.find(seen.saga_id)
                if known is None or _what(known) != _what(seen):
                    left += 1
                    why = (
                        "it cannot be kept there" if known is None else "its id is that of another"
                    )
                    write(f"{seen.saga_id}: not copied: {why}")
                else:
                    there += 1
        _refuse_unfinished(reading)  # somebody has begun one since
    write(f"copied {plural(new, 'saga')}; {there:,} were there already, {left:,} were not copied")
    return 1 if left else 0


def _what(seen: Summary) -> tuple[object, ...]:
    """Give what is the same of a saga and its copy."""
    return seen.name, seen.status, seen.created, seen.changed


def _refuse_unfinished(reading: View) -> None:
    unfinished = reading.select({SagaStatus.STUCK, *OPEN}, limit=_MANY)
    if unfinished:
        stuck = sum(seen.status is SagaStatus.STUCK for seen in unfinished)
        more = " or more" * (len(unfinished) == _MANY)
        some = f"{len(unfinished) - stuck:,} open and {plural(stuck, 'stuck saga')}{more}"
        message = (
            f"{reading.place} has {some}, which would be in both journals: let nobody begin one "
            "there, `saga recover` until it is empty, and decide about what is stuck; then copy"
        )
        raise SagaError(message)
    if unheard := reading.left_mail(reading.now() + LONGEST_WAIT):  # whenever they came
        message = (
            f"{reading.place} has answers to {plural(len(unheard), 'saga')} that nobody has taken "
            "in: `saga recover` takes them in; then copy"
        )
        raise SagaError(message)
