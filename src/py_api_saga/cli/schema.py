"""`saga schema`: the statements that make a journal's tables, for people's own migrations."""

from __future__ import annotations

import argparse

from py_api_saga.cli.arguments import UsageError
from py_api_saga.cli.printing import write
from py_api_saga.journal.postgresql.queries import Naming, schema, upgrade


def main(arguments: argparse.Namespace) -> int:
    """Print them; or those that make of an earlier release's tables those of this one."""
    try:
        naming = Naming(arguments.schema, arguments.prefix).check()
    except ValueError as error:
        raise UsageError(str(error)) from error
    statements = list(schema(naming).values())
    if arguments.upgrade:
        write(
            "-- Each by itself, outside of a transaction. First end the processes of the earlier",
            "-- release: the last two statements keep them from going on. Then grant "
            f"{naming.prefix}mail.",
        )
        statements = [*upgrade(naming)]
    for text in statements:
        write(*f"{text};".splitlines(), "")
    return 0
