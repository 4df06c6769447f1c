"""What the settings say: `PY_API_SAGA = {"JOURNAL": …, "MODULES": […], "OPTIONS": {…}}`.

`JOURNAL` is the path of a file, `"alias:default"` for the database of an alias, which is to be a
PostgreSQL, or the URL of one; without it sagas are kept in memory. `MODULES` are those of the
operations, and `OPTIONS` what else the journal takes: a codec may be named by where it is.
`REFUSALS` names the errors by which an operation says a final no, for `SagaAnswers`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import connections
from django.utils.module_loading import import_string

from py_api_saga.contrib.django.atomic import why_held
from py_api_saga.exceptions import JournalError
from py_api_saga.executors import driving
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.lasting import LastingJournal
from py_api_saga.journal.protocol import Journal

NAME = "PY_API_SAGA"
APP = "py_api_saga.contrib.django"
ALIAS = "alias:"
_KEYS = ("JOURNAL", "MODULES", "OPTIONS", "REFUSALS")
_EXPECTED = {
    "JOURNAL": 'the path of a file, "alias:NAME" or the URL of a PostgreSQL',
    "MODULES": "a list of the names of modules",
    "OPTIONS": "a dict of the options of the journal",
    "REFUSALS": "a list of the names of classes",
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


class Settled(NamedTuple):
    """What the settings say, once it is known to be right.

    Attributes:
        journal: The path of its file, a URL or an alias with its mark; or None.
        alias: Of the database that has the journal; or empty.
        modules: Those of the operations.
        options: What else the journal takes.
        refusals: The errors by which an operation says a final no.
    """

    journal: str | os.PathLike[str] | None
    alias: str
    modules: tuple[str, ...]
    options: Mapping[str, Any]
    refusals: tuple[type[BaseException], ...]


_read: list[Settled] = []  # at most one
_made: list[LastingJournal] = []  # the one that the settings name
_in_its_place: list[Journal] = []  # those that tests have put there, the newest last


def settled() -> Settled:
    """Read the settings.

    Raises:
        ImproperlyConfigured: They are wrong; `manage.py check` says all that is.
    """
    if not _read:
        for problem in problems():
            message = f"{problem.text}. {problem.hint}"
            raise ImproperlyConfigured(message)
        given = getattr(settings, NAME, None) or {}
        journal, options = given.get("JOURNAL"), dict(given.get("OPTIONS") or {})
        if isinstance(options.get("codec"), str):
            options["codec"] = _imported(options["codec"], "OPTIONS: codec")
        refusals = [_imported(one, "REFUSALS") for one in given.get("REFUSALS") or ()]
        for one in refusals:
            if not (isinstance(one, type) and issubclass(one, Exception)):
                message = f"{NAME}: REFUSALS: expected classes of exceptions, got {one!r}"
                raise ImproperlyConfigured(message)
        alias = journal if isinstance(journal, str) and journal.startswith(ALIAS) else ""
        modules = tuple(given.get("MODULES") or ())
        _read[:] = [Settled(journal, alias.removeprefix(ALIAS), modules, options, tuple(refusals))]
    return _read[0]


def _imported(name: str, where: str) -> Any:
    try:
        return import_string(name)
    except ImportError as error:
        message = f"{NAME}: {where}: {error}"
        raise ImproperlyConfigured(message) from error


def get_journal() -> Any:  # `within` is a method of some, as the settings have it
    """Give the journal that the settings name: a `Journal`, and always the same one.

    In a test, that of the test: see `SagaTestCase`.

    Raises:
        ImproperlyConfigured: They name none, or are wrong; `manage.py check` says all that is.
    """
    found = journal_if_any()
    if found is None:
        message = f'{NAME} has no "JOURNAL": sagas are kept in memory, as long as their process'
        raise ImproperlyConfigured(message)
    return found


def journal_if_any() -> Journal | None:
    """Give it, or None if they name none."""
    return _in_its_place[-1] if _in_its_place else lasting_journal()


def lasting_journal() -> LastingJournal | None:
    """Give that journal, whatever a test has put in its place."""
    said = settled()
    if not _made and said.journal is not None:
        try:
            _made[:] = [_kept_in(said.journal, said)]
        except (TypeError, ValueError, ImportError, JournalError) as error:
            message = f"{NAME}: {error}"
            raise ImproperlyConfigured(message) from error
    return _made[0] if _made else None


def _kept_in(journal: str | os.PathLike[str], said: Settled) -> LastingJournal:
    made: LastingJournal
    options = {**said.options, "modules": said.modules}
    if said.alias:
        module: Any = import_module(f"{APP}.journal")  # its driver is an extra
        made = module.DjangoJournal(said.alias, **options)
    elif isinstance(journal, str) and "://" in journal:
        module = import_module("py_api_saga.journal.postgresql.journal")  # as above
        made = module.PostgreSQLJournal(journal, **options)
    else:
        made = SQLiteJournal(journal, **options)
    return made


@contextmanager
def in_place_of_the_journal(journal: Journal) -> Iterator[None]:
    """Have sagas recorded in another journal, for the time of a block."""
    _in_its_place.append(journal)
    try:
        yield
    finally:
        _in_its_place.remove(journal)


def is_in_test() -> bool:
    """Tell whether a test has put another journal in its place."""
    return bool(_in_its_place)


def _forget(*, setting: str, **_: object) -> None:
    """Read the settings again, since a test has changed them."""
    if setting in (NAME, "DATABASES", "INSTALLED_APPS"):
        _read.clear()
        while _made:
            _made.pop().close()


setting_changed.connect(_forget, dispatch_uid=f"{__name__}.forget")
driving.holds.append(why_held)  # whether the project has the app in its settings or not
