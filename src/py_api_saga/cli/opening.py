"""Open the journal or engine that a command line names: to read it, or to change what is in it.

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
from typing import TYPE_CHECKING, Any, cast

from py_api_saga.cli.arguments import UsageError
from py_api_saga.cli.engine import (
    engine_of,
    is_engine,
    is_named,
    see_possible,
    typed_for_engine,
)
from py_api_saga.cli.setting_up import codec_of, look_here, named_object
from py_api_saga.exceptions import JournalError, SagaError
from py_api_saga.journal.changes import PATIENCE
from py_api_saga.journal.holder import Holder
from py_api_saga.journal.lasting import LastingJournal, View
from py_api_saga.journal.sqlite.journal import SQLiteJournal
from py_api_saga.journal.sqlite.view import SQLiteView
from py_api_saga.story.words import in_shell

if TYPE_CHECKING:
    from py_api_saga.journal.postgresql.journal import DatabaseJournal

_NO_JOURNAL = (
    "which journal? give --journal PATH, or set SAGA_JOURNAL in the environment; sagas on an "
    "engine: --engine"
)
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_DATABASES = {"postgres", "postgresql", "postgresql+psycopg"}
_OBJECT = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")
_METHODS = ("write", "find", "missing", "reader", "who_hangs", "close")


def named(arguments: argparse.Namespace) -> str:
    """Give what was given for the journal; it may have a password.

    Raises:
        UsageError: Nothing was.
    """
    name = arguments.journal or os.environ.get("SAGA_JOURNAL")
    if not name:
        raise UsageError(_NO_JOURNAL)
    return str(name)


def to_look_for(arguments: argparse.Namespace) -> LastingJournal:
    """Give the journal as it is named, whether it is there or not, for whoever writes nothing.

    Raises:
        UsageError: None was named, or a URL of what this release does not open; or what is typed
            does not go together.
        SagaError: The object that was named can't be imported, or is not a journal.
    """
    return engine_of(arguments) if is_named(arguments) else _opened(arguments)


@contextmanager
def to_read(arguments: argparse.Namespace) -> Iterator[View]:
    """Open the journal for a command that reads; say in the end what could not be told."""
    with _closing_engine(to_look_for(arguments)) as journal, there(journal).reader() as view:
        try:
            yield view
        finally:
            if view.unsure:
                print(f"saga: {view.unsure}", file=sys.stderr)


@contextmanager
def _closing_engine(journal: LastingJournal) -> Iterator[LastingJournal]:
    """Close an engine, which connects also to be read; a journal is not even open."""
    try:
        yield journal
    finally:
        if is_engine(journal):
            journal.close()


def to_write(
    arguments: argparse.Namespace,
    modules: Iterable[str] = (),
    aliases: Iterable[tuple[str, str]] = (),
) -> LastingJournal:
    """Open the journal for a command that changes it."""
    if is_named(arguments):
        return there(engine_of(arguments, modules, aliases))
    journal = there(_opened(arguments))
    _tell_of_who_writes(journal)  # it may be in the making
    try:
        return _opened(arguments, journal, modules=modules, aliases=dict(aliases))
    except ValueError as error:
        raise UsageError(str(error)) from error


def there(journal: LastingJournal) -> LastingJournal:
    """Give a journal that is there.

    Raises:
        JournalError: It is not.
    """
    if why := journal.missing():
        raise JournalError(why)
    return journal


def _opened(
    arguments: argparse.Namespace, seen: LastingJournal | None = None, **options: Any
) -> LastingJournal:
    """Make a journal of what was named: to write, if it was seen before, with these options."""
    name = named(arguments)
    url = _URL.match(name)
    if url is None and _OBJECT.fullmatch(name) and not os.path.lexists(name):
        journal = _object(name)
        if is_engine(journal):
            see_possible(arguments, journal.kind)
        return journal
    options["codec"] = codec_of(arguments)
    if url is not None:
        return _database(url[1], name[url.end() :], **options)
    if isinstance(seen, SQLiteJournal):
        with seen.reader() as view:  # in the mode in which it is
            options["journal_mode"] = "wal" if view.journal_mode == "wal" else "delete"
        return SQLiteJournal(name, network=arguments.network, **options)
    try:
        return SQLiteJournal(name, **options)
    except ValueError as error:
        message = f"--journal: {error}"
        raise UsageError(message) from error


def _database(scheme: str, rest: str, **options: Any) -> LastingJournal:
    """Give the journal in a database; the rest of its URL may have a password."""
    if scheme not in _DATABASES:
        message = (
            f"--journal: expected postgresql://…, the path of a file or MODULE:OBJECT, got "
            f"{scheme}://…: nothing here opens that"
        )
        raise UsageError(message)
    try:
        from py_api_saga.journal.postgresql.journal import (  # noqa: PLC0415 - its driver is an extra
            PostgreSQLJournal,
        )
    except ImportError as error:
        message = f"--journal: {error}"
        raise SagaError(message) from error
    return PostgreSQLJournal(f"postgresql://{rest}", **options)


def copied_from(path: str) -> SQLiteView:
    """Open a file whose sagas are to be copied."""
    journal = SQLiteJournal(path)
    there(journal)
    return journal.reader()


def copied_to(name: str) -> DatabaseJournal:
    """Open the journal in a database that takes them in.

    Raises:
        UsageError: It is not a journal in a database.
    """
    arguments = argparse.Namespace(journal=name, codec=None, command="copy", not_on_engine="")
    journal = None if not (_URL.match(name) or _OBJECT.fullmatch(name)) else _opened(arguments)
    if journal is None or not hasattr(journal, "take_in"):
        message = "expected the URL of a PostgreSQL database, or MODULE:OBJECT for a journal in one"
        raise UsageError(message)
    database: DatabaseJournal = cast("DatabaseJournal", journal)
    return database


def typed(arguments: argparse.Namespace, place: str) -> str:
    """Give what names this journal again, to be shown: of a URL, where it leads, no password."""
    name = named(arguments)
    return place if _URL.match(name) else name


def command(arguments: argparse.Namespace, place: str) -> str:
    """Give how a command on this journal begins, to be shown and typed; see `typed`."""
    words = [arguments.prog]
    if arguments.engine is not None:
        words += typed_for_engine(arguments)
    elif arguments.journal and arguments.journal != arguments.known_journal:
        words += ["--journal", in_shell(typed(arguments, place))]
    if arguments.codec:
        words += ["--codec", in_shell(arguments.codec)]
    return " ".join(words)


def _object(name: str) -> LastingJournal:
    """Give a journal that a module has made, with all that it was made with."""
    look_here()
    found = named_object("--journal", name, "MODULE:OBJECT")
    if found is None or not all(callable(getattr(found, method, None)) for method in _METHODS):
        message = f"--journal: {name!r} is not there, or is not a journal that other processes find"
        raise SagaError(message)
    journal: LastingJournal = found
    return journal


def path_of_file(arguments: argparse.Namespace) -> str:
    """Give the real path of the journal's file, which is there.

    Raises:
        UsageError: The journal is not kept in a file.
        JournalError: There is no such file, or it is not a journal.
    """
    journal = there(to_look_for(arguments))
    if not isinstance(journal, SQLiteJournal):
        message = f"expected a journal that is a file, got {journal.place}"
        raise UsageError(message)
    return os.path.realpath(journal.path)


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
