"""System checks of what the settings say: `manage.py check`, and each start of a server."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import router

from py_api_saga.contrib.django.configured import APP, NAME, lasting_journal, problems, settled
from py_api_saga.exceptions import JournalError
from py_api_saga.journal import SQLiteJournal
from py_api_saga.wording import as_text


@checks.register("py_api_saga")  # type: ignore[untyped-decorator]  # Django has no type hints
def check_settings(**_: Any) -> list[Any]:
    """Say all that is wrong with `PY_API_SAGA`."""
    found = [_error(p.code, p.text, p.hint) for p in problems()]
    return found or [*_of_the_journal()]


@checks.register(checks.Tags.database)  # type: ignore[untyped-decorator]  # as above
def check_tables(*, databases: Sequence[str] | None = None, **_: Any) -> list[Any]:
    """Say that the tables are not there, where databases are looked at: `check --database`."""
    if not databases or any(problems()) or sys.argv[1:2] == ["migrate"]:  # which makes them
        return []
    journal = lasting_journal()
    if journal is None or isinstance(journal, SQLiteJournal):  # a file is made by its first saga
        return []
    try:
        why = journal.missing()
    except JournalError as error:
        why = str(error)
    hint = "Run `manage.py migrate`."
    return [checks.Warning(f"{NAME}: {why}", hint=hint, id="py_api_saga.W001")] if why else []


def _error(code: str, text: str, hint: str) -> Any:
    return checks.Error(text, hint=hint, id=f"py_api_saga.{code}")


def _of_the_journal() -> Iterator[Any]:
    try:
        journal = lasting_journal()
    except ImproperlyConfigured as error:
        yield _error("E007", as_text(error, str), "See what these settings are to be.")
        return
    yield from _of_the_modules()
    yield from _of_the_router()
    if isinstance(journal, SQLiteJournal):
        folder = os.path.dirname(journal.path)  # noqa: PTH120 - a text, as there
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            text = f"{NAME}: JOURNAL: nothing can be written in {folder}: {error.strerror}"
            yield _error("E008", text, "Make the folder, for the user that the server runs as.")


def _of_the_router() -> Iterator[Any]:
    """Say that Django looks for the journal's tables where they are not."""
    alias = settled().alias
    looked = router.db_for_read(import_module(f"{APP}.models").Saga) if alias else alias
    if looked != alias:
        text = f"{NAME}: JOURNAL: its tables are in {alias!r}, and Django looks for them in "
        hint = f'Add "{APP}.routers.JournalRouter" to DATABASE_ROUTERS.'
        yield _error("E010", f"{text}{looked!r}", hint)


def _of_the_modules() -> Iterator[Any]:
    for name in settled().modules:
        try:
            import_module(name.removesuffix(".*"))
        except Exception as error:  # noqa: BLE001 - whatever a module raises on being imported
            text = f"{NAME}: MODULES: cannot import {name!r}: {as_text(error, repr)}"
            yield _error("E009", text, "Recovery could not go on with the sagas that name it.")
