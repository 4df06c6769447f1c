"""Open the journal that a command line names: to read it, or to change what is in it.

Nobody else in the command knows what a journal is kept in. What reads uses a view: it waits for
nobody and makes nothing, so that it also works beside a process that hangs; and it knows no names,
so that it imports nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from py_api_saga.cli.arguments import UsageError
from py_api_saga.cli.setting_up import codec_of
from py_api_saga.exceptions import JournalError
from py_api_saga.journal.changes import PATIENCE
from py_api_saga.journal.health import Holder
from py_api_saga.journal.lasting import LastingJournal, View
from py_api_saga.journal.sqlite.journal import SQLiteJournal

_NO_JOURNAL = "which journal? give --journal PATH, or set SAGA_JOURNAL in the environment"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def named(arguments: argparse.Namespace) -> str:
    """Give the path that was given for the journal.

    Raises:
        UsageError: None was, or it is a URL of what this release does not open.
    """
    path = arguments.journal or os.environ.get("SAGA_JOURNAL")
    if not path:
        raise UsageError(_NO_JOURNAL)
    if url := _URL.match(str(path)):  # the rest of it may have a password
        message = f"--journal: expected the path of a file, got {url[0]}…: nothing here opens that"
        raise UsageError(message)
    return str(path)


def to_look_for(arguments: argparse.Namespace) -> LastingJournal:
    """Give the journal as it is named, whether it is there or not, for whoever writes nothing."""
    return _file(arguments)


@contextmanager
def to_read(arguments: argparse.Namespace) -> Iterator[View]:
    """Open the journal for a command that reads; say in the end what could not be told."""
    with _there(to_look_for(arguments)).reader() as view:
        try:
            yield view
        finally:
            if view.unsure:
                print(f"saga: {view.unsure}", file=sys.stderr)


def to_write(
    arguments: argparse.Namespace,
    modules: Iterable[str] = (),
    aliases: Iterable[tuple[str, str]] = (),
) -> LastingJournal:
    """Open the journal for a command that changes it."""
    journal = _there(to_look_for(arguments))
    _tell_of_who_writes(journal)  # it may be in the making
    try:
        return _file_as_it_is(arguments, modules, aliases)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _there(journal: LastingJournal) -> LastingJournal:
    if why := journal.missing():
        raise JournalError(why)
    return journal


# --- a file --------------------------------------------------------------------------------------


def _file(arguments: argparse.Namespace, **options: Any) -> SQLiteJournal:
    try:
        return SQLiteJournal(named(arguments), codec=codec_of(arguments), **options)
    except ValueError as error:
        message = f"--journal: {error}"
        raise UsageError(message) from error


def file_named(arguments: argparse.Namespace) -> str:
    """Give the real path of the journal's file, which is there.

    Raises:
        UsageError: None was given, or what was is not a path.
        JournalError: There is no such file, or it is not a journal.
    """
    return os.path.realpath(_there(to_look_for(arguments)).place)


def _file_as_it_is(
    arguments: argparse.Namespace, modules: Iterable[str], aliases: Iterable[tuple[str, str]]
) -> SQLiteJournal:
    """Give a journal that writes to its file in the mode that the file is in."""
    with _file(arguments).reader() as view:
        mode: Any = view.journal_mode if view.journal_mode == "wal" else "delete"
    return SQLiteJournal(
        named(arguments),
        modules=modules,
        aliases=dict(aliases),
        codec=codec_of(arguments),
        journal_mode=mode,
        network=arguments.network,
    )


# --- who keeps others out ------------------------------------------------------------------------


def _tell_of_who_writes(journal: LastingJournal) -> None:
    """Say for whom the next write waits, if it will: a process that hangs keeps all others out."""
    holder = journal.who_hangs()
    if holder is not None:
        print(
            f"saga: {holder} is writing to the journal; waiting for it for {PATIENCE:g} s; "
            f"{holder.remedy}",
            file=sys.stderr,
        )


def tell_of_who_hangs(holder: Holder | None) -> None:
    """Say beside what was read that nobody can write."""
    if holder is not None:
        print(
            f"saga: {holder} is writing to the journal, and nobody else can; {holder.remedy}",
            file=sys.stderr,
        )


def holder_as_json(holder: Holder | None) -> dict[str, Any]:
    """Give who keeps others out as JSON has it."""
    return {"gate_holder": holder and holder.pid, "gate_held_since": holder and holder.came}
