"""`saga schema`: the statements that make a journal's tables, for people's own migrations."""

from __future__ import annotations

import argparse

from py_api_saga.cli.arguments import UsageError
from py_api_saga.cli.printing import write
from py_api_saga.journal.postgresql.queries import Naming, schema

_INDEX = "CREATE INDEX IF NOT EXISTS"


def main(arguments: argparse.Namespace) -> int:
    """Print them; or those that add what tables of an earlier release lack."""
    try:
        naming = Naming(arguments.schema, arguments.prefix).check()
    except ValueError as error:
        raise UsageError(str(error)) from error
    statements = list(schema(naming).values())
    if arguments.upgrade:
        write("-- Each by itself, outside of a transaction: what runs goes on meanwhile.")
        statements = [
            text.replace(_INDEX, "CREATE INDEX CONCURRENTLY IF NOT EXISTS", 1)
            for text in statements
            if text.startswith(_INDEX)
        ]
    for text in statements:
        write(*f"{text};".splitlines(), "")
    return 0
