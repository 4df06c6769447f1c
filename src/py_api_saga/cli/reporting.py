"""`saga report`: many sagas as one page."""

from __future__ import annotations

import argparse

from py_api_saga.cli.listing import ATTENTION, selected
from py_api_saga.cli.opening import command, to_read
from py_api_saga.cli.printing import write_page
from py_api_saga.pictures.report import report
from py_api_saga.status import SagaStatus
from py_api_saga.story.many import stories


def main(arguments: argparse.Namespace) -> int:
    """Write the page; 4 if a saga on it is stuck."""
    with to_read(arguments) as journal:
        sagas, more = selected(journal, arguments)
        made = report(
            stories(journal, sagas),
            command(arguments, journal.place),
            place=journal.place,
            now=journal.now(),
            more=more,
            whole=arguments.values,
        )
    write_page(arguments.html, made)
    return ATTENTION if any(seen.status is SagaStatus.STUCK for seen in sagas) else 0
