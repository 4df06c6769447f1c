"""Whatever is looked up by a status, a word, a kind or an event is there: a new one is missed.

The type checker says so of each `match`, which ends with `assert_never`; this of each table.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any, get_args

import django_project
import pytest

import py_api_saga
from py_api_saga import SagaStatus, Status, events
from py_api_saga.entries import KINDS, STARTED, SUCCEEDED, WORDS
from py_api_saga.execution import Execution

WHOLE: dict[str, set[Any]] = {
    "a status of an operation": set(Status),
    "a status of a saga": set(SagaStatus),
    "a word": set(WORDS),
    "a kind of call": set(KINDS),
    "a kind of event": set(get_args(events.EventKind)),
}
# Tables of a part, each with the reason why the rest is none of their business.
PARTIAL = {
    "demo.timeline._ENDS": "of sagas that have ended",
    "error_details._OUTCOMES": "of what an error may say of itself, in two words of its own",
    "execution._TAKE": "the two that are most often told are taken in by `tell` itself",
    "pictures.decisions._SAID": "only these can be said of what is stuck",
    "story.attempts._ENDS": "only these are told of a call that has ended",
    "story.remedies._SAYS": "an answer is that it took effect, or not",
    "story.remedies._OPTIONS": "only these can be said of what is stuck",
    "story.why._ENDS": "of sagas that have ended",
}


def tables() -> Iterator[tuple[str, dict[Any, Any]]]:
    """Find all tables of the library that are looked up by one of those."""
    django_project.set_up()  # or its models can't be imported
    package = py_api_saga.__name__
    for found in pkgutil.walk_packages(py_api_saga.__path__, f"{package}."):
        if not found.name.endswith("__main__"):
            module = importlib.import_module(found.name)
            for name, value in vars(module).items():
                if issubclass(type(value), dict) and len(value) > 1:  # not Django's settings
                    yield f"{found.name.removeprefix(f'{package}.')}.{name}", value


def kind_of(table: dict[Any, Any]) -> str | None:
    """Tell what a table is looked up by, if that is one of those."""
    for kind, whole in WHOLE.items():
        if table.keys() <= whole:
            return kind
    return None


TABLES = [(name, table, kind) for name, table in tables() if (kind := kind_of(table))]


def test_the_tables_are_found() -> None:
    """Those of the machine, the journal, the log and the story; and none has gone unseen."""
    names = {name for name, *_ in TABLES}

    assert {"status.LEGAL", "status.SAGA_LEGAL", "journal.changes.NUMBER_OF"} <= names
    assert {"executors.run._EVENTS", "events._LEVELS", "story.timeline._SAY"} <= names
    assert PARTIAL.keys() <= names


@pytest.mark.parametrize(("name", "table", "kind"), TABLES, ids=[name for name, *_ in TABLES])
def test_no_table_forgets_one(name: str, table: dict[Any, Any], kind: str) -> None:
    """A new status, word, kind or event is in each table, or the reason why not is here."""
    assert (table.keys() == WHOLE[kind]) is (name not in PARTIAL)


def test_the_machine_takes_in_every_word() -> None:
    """Two of them in `tell` itself, and the others as its table says."""
    assert {STARTED, SUCCEEDED, *Execution.TAKE} == set(WORDS)
