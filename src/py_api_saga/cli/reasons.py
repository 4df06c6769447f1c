"""`saga why`: why a saga stands where it does, and what can be done."""

from __future__ import annotations

import argparse
from typing import Any

from py_api_saga.cli.opening import command, to_read
from py_api_saga.cli.printing import table, write, write_json
from py_api_saga.story.detail import headlines
from py_api_saga.story.saga import Story, read
from py_api_saga.story.why import explained


def main(arguments: argparse.Namespace) -> int:
    """Say why; 1 if the saga can't be read."""
    with to_read(arguments) as journal:
        story = read(journal, arguments.saga_id)
        saga = command(arguments, journal.place)
    found = explained(story, saga)
    if arguments.json:
        write_json(found)
    else:
        _write(story, found)
    return 0 if story.fault is None else 1


def _write(story: Story, found: dict[str, Any]) -> None:
    write(*headlines(story), "", *found["says"])
    if found["operations"]:
        write("")
        rows = [
            [f"  {operation['name']}", operation["status"].upper(), operation["says"]]
            for operation in found["operations"]
        ]
        write(*table(rows))
    if found["remedies"]:
        write("", "What can be done:")
        for remedy in found["remedies"]:
            write(f"  {remedy['command']}", f"      {remedy['does']}")
