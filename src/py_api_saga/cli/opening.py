"""Open the journal that a command line names: to read it, or to change what is in it.

What reads uses a view: it waits for nobody and makes no file, so that it also works beside a
process that hangs; and it knows no names, so that it imports nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any

from py_api_saga.cli.arguments import UsageError
from py_api_saga.current import Around
from py_api_saga.exceptions import JournalError, SagaError
from py_api_saga.journal.changes import PATIENCE, Row, Summary
from py_api_saga.journal.format.sealing import SEALED as SEAL
from py_api_saga.journal.protocol import Codec, Journal
from py_api_saga.journal.sqlite.connecting import check_kind
from py_api_saga.journal.sqlite.gate import Holder
from py_api_saga.journal.sqlite.journal import SQLiteJournal
from py_api_saga.journal.sqlite.view import View, who_hangs
from py_api_saga.story.words import exact
from py_api_saga.wording import as_text

_NO_JOURNAL = "which journal? give --journal PATH, or set SAGA_JOURNAL in the environment"
SEALED = (
    "its values are sealed: give the codec that they were written with, as --codec MODULE:OBJECT, "
    "or set SAGA_CODEC in the environment"
)
_HINT = (
    "; if something must be set up before, say what to call: --setup MODULE:FUNCTION, such as "
    "--setup django:setup"
)
_SEAL = f'"{SEAL}":'  # as a key: it may be in a text as well
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_BATCH = 100  # sagas whose rows are read together


# --- what the command line says ------------------------------------------------------------------


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


def path_of(arguments: argparse.Namespace) -> str:
    """Give the path of the journal.

    Raises:
        UsageError: None was given.
        JournalError: There is no such file, or it is not a journal.
    """
    path = named(arguments)
    try:
        check_kind(path, os.stat(path))  # noqa: PTH116 - paths are text here
    except FileNotFoundError as error:
        message = f"there is no journal {path}"
        raise JournalError(message) from error
    return path


@contextmanager
def to_read(arguments: argparse.Namespace) -> Iterator[View]:
    """Open the journal for a command that reads; say in the end what could not be told."""
    with View(path_of(arguments), codec_of(arguments)) as view:
        try:
            yield view
        finally:
            if view.unsure:
                print(f"saga: {view.unsure}", file=sys.stderr)


def to_write(
    arguments: argparse.Namespace,
    modules: Iterable[str] = (),
    aliases: Iterable[tuple[str, str]] = (),
) -> SQLiteJournal:
    """Open the journal for a command that changes it, in the mode that it is in."""
    path = path_of(arguments)
    _tell_of_who_writes(path)  # it may be in the making
    with View(path) as view:
        journal_mode = view.journal_mode
    codec = codec_of(arguments)
    try:
        journal = SQLiteJournal(
            path,
            modules=modules,
            aliases=dict(aliases),
            codec=codec,
            journal_mode="wal" if journal_mode == "wal" else "delete",
            network=arguments.network,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    return journal


def _tell_of_who_writes(path: str) -> None:
    """Say for whom the next write waits, if it will: a process that hangs keeps all others out."""
    holder = who_hangs(os.path.realpath(path))
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
    since = None if holder is None or holder.since is None else exact(holder.since)
    return {"gate_holder": holder and holder.pid, "gate_held_since": since}


def import_modules(arguments: argparse.Namespace) -> None:
    """Set the process up as was asked for, and import modules as `python -m` finds them.

    All before anything is done with a saga.

    Raises:
        UsageError: What is to be called is not given as MODULE:FUNCTION.
        SagaError: A module can't be imported, or what sets the process up is none, or raised.
    """
    _look_here()
    for name in arguments.setup:
        _set_up(name)
    hint = "" if arguments.setup else _HINT
    for name in arguments.modules:
        _import(name.removesuffix(".*"), hint)


def _set_up(name: str) -> None:
    function = _named("--setup", name, "MODULE:FUNCTION")
    if not callable(function) or iscoroutinefunction(function):
        kind = "is not there" if function is None else f"is not a plain function: {_kind(function)}"
        message = f"--setup: {name!r} {kind}"
        raise SagaError(message)
    try:
        function()
    except (Exception, SystemExit) as error:
        message = f"--setup: {name!r} raised {_in_short(error)}"
        raise SagaError(message) from error


def around_of(arguments: argparse.Namespace) -> tuple[Around, ...]:
    """Import what is to be around each call, the outermost first; after `import_modules`.

    Raises:
        UsageError: One is not given as MODULE:FUNCTION.
        SagaError: Its module can't be imported, or it is not a plain function.
    """
    return tuple(map(_around, arguments.around))


def _around(name: str) -> Around:
    function = _named("--around", name, "MODULE:FUNCTION")
    if callable(function) and not iscoroutinefunction(function):
        around: Around = function
        return around
    kind = "is not there" if function is None else f"is not a plain function: {_kind(function)}"
    message = f"--around: {name!r} {kind}"
    raise SagaError(message)


def _kind(thing: object) -> str:
    return "it has to be awaited" if callable(thing) else type(thing).__name__


def _look_here() -> None:
    here = os.getcwd()  # noqa: PTH109 - entries of sys.path are text
    if not sys.flags.safe_path and here not in sys.path:
        sys.path.insert(0, here)


def _import(name: str, hint: str = "") -> Any:
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:  # whatever a module raises on being imported
        message = f"cannot import {name!r}: {_in_short(error)}{hint}"
        raise SagaError(message) from error


def _in_short(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {as_text(error, str)}".split())


def _named(option: str, name: str, form: str) -> Any:
    """Import what an option names, as a module and a path in it; None if it is not there.

    Raises:
        UsageError: It is not of this form.
        SagaError: The module can't be imported.
    """
    module, _, path = name.partition(":")
    if not module or not path:
        message = f"{option}: expected {form}, got {name!r}"
        raise UsageError(message)
    found = _import(module)
    try:
        for part in path.split("."):
            found = getattr(found, part, None)
    except Exception as error:  # as settings do that are read too early
        message = f"{option}: cannot look for {name!r}: {_in_short(error)}"
        raise SagaError(message) from error
    return found


def codec_of(arguments: argparse.Namespace) -> Codec | None:
    """Import what opens sealed values, if any was given."""
    name = arguments.codec or os.environ.get("SAGA_CODEC")
    if not name:
        return None
    _look_here()
    found = _named("--codec", name, "MODULE:OBJECT")
    if not callable(getattr(found, "encode", None)) or not callable(getattr(found, "decode", None)):
        message = f"--codec: {name!r} is not there, or has no encode() and decode()"
        raise SagaError(message)
    codec: Codec = found
    return codec


# --- sagas that are sealed -----------------------------------------------------------------------


def is_sealed(rows: Iterable[Row]) -> bool:
    """Tell whether any value of a saga is sealed."""
    return any(_SEAL in row.body for row in rows)


def sealed_among(journal: Journal, sagas: Sequence[Summary]) -> Iterable[Summary]:
    """Give those that can't be opened here: they have sealed values, and no codec was given."""
    found = each_read(journal, sagas if journal.codec is None else ())
    return (seen for seen, rows in found if rows is not None and is_sealed(rows))


def refuse_sealed(journal: Journal, sagas: Sequence[Summary]) -> None:
    """See that what is sealed can be opened: recovery would give up on it for want of a codec.

    Raises:
        SagaError: A saga has sealed values, and no codec was given.
    """
    for seen in sealed_among(journal, sagas):
        message = f"saga {seen.saga_id!r}: {SEALED}"
        raise SagaError(message)


def each_read(
    journal: Journal | View, sagas: Sequence[Summary]
) -> Iterable[tuple[Summary, Sequence[Row] | None]]:
    """Give each saga with its rows; None where they can't be read, which keeps no other back."""
    for batch in batches(sagas):
        try:
            rows = journal.rows([seen.number for seen in batch])
        except JournalError:
            if len(batch) == 1:
                yield batch[0], None
            else:
                for seen in batch:
                    yield from each_read(journal, [seen])
        else:
            yield from ((seen, rows[seen.number]) for seen in batch)


def batches(sagas: Sequence[Summary], size: int = _BATCH) -> Iterable[Sequence[Summary]]:
    """Cut a list into pieces, so that not all rows are in memory at once."""
    return (sagas[start : start + size] for start in range(0, len(sagas), size))
