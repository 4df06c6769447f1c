"""`saga show` and `saga graph`: a saga as it was written down."""

from __future__ import annotations

import argparse
from typing import Any

from py_api_saga.cli.arguments import UsageError
from py_api_saga.cli.opening import command, to_read
from py_api_saga.cli.printing import table, write, write_json, write_page
from py_api_saga.journal.format.facts import Process
from py_api_saga.story.detail import call_words, headlines, in_full, picture
from py_api_saga.story.saga import read
from py_api_saga.story.timeline import besides
from py_api_saga.story.words import shown_words


def main(arguments: argparse.Namespace) -> int:
    """Show a saga; 1 if it can't be read."""
    if arguments.json and arguments.html is not None:
        message = "--json and --html: give one of them"
        raise UsageError(message)
    with to_read(arguments) as journal:
        story = read(journal, arguments.saga_id)
        begins = command(arguments, journal.place)
    if arguments.html is not None:
        from py_api_saga.pictures.page import page  # noqa: PLC0415 - most want words

        write_page(arguments.html, page(story, begins, whole=arguments.values))
        return 0 if story.fault is None else 1
    saga = in_full(story, whole=arguments.values)
    if arguments.json:
        write_json(saga)
    else:
        write(*headlines(story))
        _write_operations(saga, whole=arguments.values)
        _write_timeline(saga)
    return 0 if story.fault is None else 1


def graph(arguments: argparse.Namespace) -> int:
    """Draw a saga."""
    with to_read(arguments) as journal:
        story = read(journal, arguments.saga_id)
    drawn = picture(story)
    if arguments.json:
        write_json({"saga_id": story.seen.saga_id, "mermaid": drawn})
    else:
        write(*drawn.splitlines())
    return 0


def _write_operations(saga: dict[str, Any], *, whole: bool) -> None:
    if not saga["operations"]:
        return
    write("", "operations")
    rows, errors = [], []
    for operation in saga["operations"]:
        result = ""
        if operation["result"] is not None:
            result = f" -> {shown_words(operation['result'], whole=whole)}"
        undo = operation["compensation"]
        words = call_words(operation["action"], whole=whole) + result
        words += " [pivot]" * operation["pivot"]
        rows.append(
            [
                f"  {operation['name']}",
                operation["status"].upper(),
                words,
                "" if undo is None else f"undo: {call_words(undo, whole=whole)}",
            ]
        )
        errors.append(operation["error"])
    for line, error in zip(table(rows), errors, strict=True):
        write(line)
        if error is not None:
            write(f"      {error['type']}: {error['text']}")


def _write_timeline(saga: dict[str, Any]) -> None:
    if not saga["timeline"]:
        return
    write("", "timeline")
    rows = [
        [f"  {line['at']}", line["operation"] or "-", line["says"] + _known(line)]
        for line in saga["timeline"]
    ]
    write(*table(rows))


def _known(line: dict[str, Any]) -> str:
    """Say of the end of a call how long it took, and of what a process begins which one it is."""
    process = None if line["process"] is None else Process(**line["process"])
    return besides(line["took"], line["waited"], process)
