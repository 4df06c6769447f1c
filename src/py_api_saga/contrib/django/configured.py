"""What the settings say: `PY_API_SAGA = {"JOURNAL": …, "MODULES": […], "OPTIONS": {…}}`.

`JOURNAL` is the path of a file, `"alias:default"` for the database of an alias, which is to be a
PostgreSQL, or the URL of one; without it sagas are kept in memory. `MODULES` are those of the
operations, and `OPTIONS` what else the journal takes: a codec may be named by where it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import connections
from django.utils.module_loading import import_string

from py_api_saga.exceptions import JournalError
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.lasting import LastingJournal
from py_api_saga.journal.protocol import Journal

NAME = "PY_API_SAGA"
APP = "py_api_saga.contrib.django"
ALIAS = "alias:"
_KEYS = ("JOURNAL", "MODULES", "OPTIONS")
_EXPECTED = {
    "JOURNAL": 'the path of a file, "alias:NAME" or the URL of a PostgreSQL',
    "MODULES": "a list of the names of modules",
    "OPTIONS": "a dict of the options of the journal",
}


class Problem(NamedTuple):
    """What is wrong with the settings.

    Attributes:
        code: Of the system check that says so.
        text: What was expected, and what came.
        hint: What to do about it.
    """

    code: str
    text: str
    hint: str


def problems() -> Iterator[Problem]:
    """Yield what can be seen to be wrong by looking at the settings alone."""
    given = getattr(settings, NAME, None)
    if given is None:
        return
    if not isinstance(given, Mapping):
        text = f"{NAME}: expected a dict, got {type(given).__name__}"
        yield Problem("E001", text, f'Write {NAME} = {{"JOURNAL": …, "MODULES": […]}}.')
        return
    for key in given:
        if key not in _KEYS:
            yield Problem("E002", f"{NAME}: unknown key {key!r}", f"It has {', '.join(_KEYS)}.")
    wrong = [key for key in _KEYS if not _fits(key, given.get(key))]
    for key in wrong:
        text = f"{NAME}: {key}: expected {_EXPECTED[key]}, got {_kind(given[key])}"
        yield Problem("E003", text, "Correct the settings.")
    if "JOURNAL" not in wrong:
        yield from _of_the_alias(given.get("JOURNAL"))


def _fits(key: str, value: object) -> bool:
    if value is None:
        return True
    if key == "JOURNAL":
        return isinstance(value, (str, os.PathLike)) and bool(os.fspath(value))
    if key == "OPTIONS":
        return isinstance(value, Mapping)
    return isinstance(value, (list, tuple)) and all(isinstance(one, str) and one for one in value)


def _kind(value: object) -> str:
    kind = type(value).__name__
    return kind if value or not isinstance(value, str) else "an empty text"


def _of_the_alias(journal: object) -> Iterator[Problem]:
    """Yield what is wrong with the database that an alias stands for."""
    if not (isinstance(journal, str) and journal.startswith(ALIAS)):
        return
    alias = journal.removeprefix(ALIAS)
    if alias not in connections:
        text = f"{NAME}: JOURNAL: there is no database {alias!r}"
        yield Problem("E004", text, f"DATABASES has {', '.join(connections)}.")
        return
    vendor = connections[alias].vendor
    if vendor != "postgresql":
        yield Problem(
            "E005",
            f"{NAME}: JOURNAL: {journal!r}: a journal in the database of an alias needs "
            f"PostgreSQL, and that one is {vendor}",
            'Give the path of a file: "JOURNAL": BASE_DIR / "sagas.db". Processes of one machine '
            "may share it.",
        )
    if not apps.is_installed(APP):
        yield Problem(
            "E006",
            f"{NAME}: JOURNAL: {journal!r} needs the app that makes its tables",
            f'Add "{APP}" to INSTALLED_APPS, and run `manage.py migrate`.',
        )


_made: dict[str, LastingJournal | None] = {}  # the one that the settings name
_in_its_place: list[Journal] = []  # those that tests have put there, the newest last


def get_journal() -> Journal | None:
    """Give the journal that the settings name, or None if they name none; always the same one.

    Raises:
        ImproperlyConfigured: They are wrong; `manage.py check` says all that is.
    """
    if _in_its_place:
        return _in_its_place[-1]
    return lasting_journal()


def lasting_journal() -> LastingJournal | None:
    """Give that journal, whatever a test has put in its place."""
    if NAME not in _made:
        for problem in problems():
            message = f"{problem.text}. {problem.hint}"
            raise ImproperlyConfigured(message)
        _made[NAME] = _make()
    return _made[NAME]


def modules() -> tuple[str, ...]:
    """Give the names of the modules in which the operations are."""
    return tuple((getattr(settings, NAME, None) or {}).get("MODULES") or ())


def _make() -> LastingJournal | None:
    given = getattr(settings, NAME, None) or {}
    journal, options = given.get("JOURNAL"), dict(given.get("OPTIONS") or {})
    if journal is None:
        return None
    options["modules"] = modules()
    try:
        if isinstance(options.get("codec"), str):
            options["codec"] = import_string(options["codec"])
        return _kept_in(journal, options)
    except (TypeError, ValueError, ImportError, JournalError) as error:
        message = f"{NAME}: {error}"
        raise ImproperlyConfigured(message) from error


def _kept_in(journal: str | os.PathLike[str], options: dict[str, Any]) -> LastingJournal:
    made: LastingJournal
    if isinstance(journal, str) and journal.startswith(ALIAS):
        module: Any = import_module(f"{APP}.journal")  # its driver is an extra
        made = module.DjangoJournal(journal.removeprefix(ALIAS), **options)
    elif isinstance(journal, str) and "://" in journal:
        module = import_module("py_api_saga.journal.postgresql.journal")  # as above
        made = module.PostgreSQLJournal(journal, **options)
    else:
        made = SQLiteJournal(journal, **options)
    return made


def _forget(*, setting: str, **_: object) -> None:
    """Read the settings again, since a test has changed them."""
    if setting in (NAME, "DATABASES"):
        made = _made.pop(NAME, None)
        if made is not None:
            made.close()


setting_changed.connect(_forget, dispatch_uid=f"{__name__}.forget")
