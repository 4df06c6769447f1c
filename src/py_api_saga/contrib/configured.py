"""The journal that an application's settings name, checked when the application is made."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from py_api_saga.exceptions import SagaDefinitionError, refused
from py_api_saga.journal.sqlite.journal import SQLiteJournal

if TYPE_CHECKING:
    from py_api_saga.journal.postgresql.journal import PostgreSQLJournal

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_DATABASES = ("postgresql", "postgres", "postgresql+psycopg")
EXPECTED = 'the path of a file, or "postgresql://…"'


def journal_at(
    name: str | os.PathLike[str], modules: Sequence[str], where: str, folder: str
) -> SQLiteJournal | PostgreSQLJournal:
    """Make the journal that a setting names; nothing is opened before it is used.

    Args:
        name: The path of a file, or the URL of a PostgreSQL database.
        modules: Where the functions and types of its sagas are.
        where: What the setting is called, for messages.
        folder: Where a relative path begins; made if it is not there.

    Raises:
        SagaDefinitionError: It is neither, or no file can be written there.
    """
    scheme = _SCHEME.match(name) if isinstance(name, str) else None
    try:
        if scheme is not None:
            return _database(str(name), scheme[1], modules, where)
        if name == ":memory:":  # else it would be the name of a file
            return SQLiteJournal(name)
        path = Path(folder, name)
        if not Path(name).is_absolute():
            path.parent.mkdir(parents=True, exist_ok=True)
        _check_folder(path.parent, where)
        return SQLiteJournal(path, modules=modules)
    except (ValueError, OSError) as error:
        message = f"{where}: {error}"
        raise SagaDefinitionError(message) from error


def _database(url: str, scheme: str, modules: Sequence[str], where: str) -> PostgreSQLJournal:
    if scheme not in _DATABASES:
        message = f"{where}: expected {EXPECTED}, got {scheme}://…: no journal is kept there"
        raise SagaDefinitionError(message)
    try:
        from py_api_saga.journal.postgresql.journal import (  # noqa: PLC0415 - its driver is an extra
            PostgreSQLJournal,
        )
    except ImportError as error:
        message = f"{where}: {error}"
        raise SagaDefinitionError(message) from error
    return PostgreSQLJournal(f"postgresql{url.removeprefix(scheme)}", modules=modules)


def _check_folder(folder: Path, where: str) -> None:
    if not folder.is_dir():
        message = f"{where}: expected a folder to write to, got {folder}, which is not there"
        raise SagaDefinitionError(message)
    if not os.access(folder, os.W_OK | os.X_OK):
        message = f"{where}: expected a folder to write to, got {folder}, which this user may not"
        raise SagaDefinitionError(message)


def check_modules(modules: object, where: str) -> tuple[str, ...]:
    """Refuse what is not a list of names of modules.

    Raises:
        SagaDefinitionError: It is not, or has none.
    """
    if isinstance(modules, (list, tuple)) and modules:
        for name in modules:
            if not isinstance(name, str):
                raise refused(where, "names of modules", name)
        return tuple(modules)
    expected = 'a list of the modules in which the operations are, such as ["shop.operations"]'
    raise refused(where, expected, modules)
