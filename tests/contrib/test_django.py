"""Sagas in a Django project: what goes with their calls, what is closed, and what is refused."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import depot
import django
import django_project
import pytest
from asgiref.sync import SyncToAsync, async_to_sync, sync_to_async
from depot import ado, aundo, do, undo
from django.apps import apps
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.base import BaseHandler as Handler
from django.core.management import CommandError, call_command, load_command_class
from django.db import connections, transaction
from django.http import HttpResponse
from django.test import TestCase, override_settings
from django.urls import get_urlconf, set_urlconf
from django.utils import timezone, translation

import py_api_saga
from py_api_saga import (
    SagaDefinitionError,
    SagaPending,
    SagaStatus,
    current_operation,
    given,
    later,
    saga_status,
)
from py_api_saga.contrib import django as ours
from py_api_saga.contrib.django import (
    DjangoSaga,
    SagaInAtomicBlock,
    aanswer,
    answer,
    arecover,
    get_journal,
    recover,
    saga,
)
from py_api_saga.durable import answering
from py_api_saga.journal import MemoryJournal, PostgreSQLJournal, SQLiteJournal

django_project.set_up()

Execute = Callable[..., Any]
FILE = "file"  # the alias of a SQLite
CALLS = ("orchestrator_execute", "choreography_execute")


def project(**said: Any) -> AbstractContextManager[None]:
    """Have the settings say this of sagas, for the time of a block."""
    changed: AbstractContextManager[None] = override_settings(PY_API_SAGA=said)
    return changed


@pytest.fixture(autouse=True)
def world(tmp_path: Path) -> Iterator[None]:
    """Begin with an empty world, a SQLite of the test's own, and no journal."""
    depot.reset()
    with django_project.file_at(tmp_path / "shop.sqlite3"), project():
        yield
    depot.reset()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SQLiteJournal]:
    """The journal of a project that keeps it in a file."""
    with project(JOURNAL=str(tmp_path / "sagas.db"), MODULES=["depot"]):
        found = get_journal()
        assert isinstance(found, SQLiteJournal)
        yield found


def surroundings() -> tuple[str | None, str, str | None]:
    """Tell the language, the time zone and the urlconf that hold here."""
    return translation.get_language(), timezone.get_current_timezone_name(), get_urlconf()


class Elsewhere:
    """A request in German, of a customer in Tokyo, to a site with views of its own."""

    def __enter__(self) -> None:
        self._language = translation.override("de")
        self._zone = timezone.override("Asia/Tokyo")
        self._language.__enter__()
        self._zone.__enter__()
        set_urlconf("urls_of_a_site")

    def __exit__(self, *_: object) -> None:
        set_urlconf(None)
        self._zone.__exit__(*_)
        self._language.__exit__(*_)


ELSEWHERE = ("de", "Asia/Tokyo", "urls_of_a_site")


def noting(seen: dict[str, Any], what: Callable[[], Any]) -> None:
    """Have the depot note something of each call, and where that was made."""

    def note(name: str) -> Any:
        value = what()
        where = current_operation().where
        if hasattr(value, "__await__"):
            return note_awaited(name, value)
        seen[name] = where, value
        return None

    async def note_awaited(name: str, value: Any) -> None:
        seen[name] = current_operation().where, await value

    for name in ("a", "b", "undo a", "undo b"):
        depot.behaviour[name] = partial(note, name)


def two(made: Any, *, is_async: bool = False) -> Any:
    """Add two operations, of which nothing comes after the other."""
    act, back = (ado, aundo) if is_async else (do, undo)
    return made.operation((act, "a"), (back, "a"), name="a").operation(
        (act, "b"), (back, "b"), name="b"
    )


# --- what goes with a call ------------------------------------------------------------------------


def test_threads_are_where_the_saga_was_made(execute: Execute) -> None:
    """Though it is run elsewhere; a call in the caller's own thread sees what holds there."""
    seen: dict[str, Any] = {}
    noting(seen, surroundings)
    with Elsewhere():
        made = two(saga("checkout"))
    before = surroundings()

    execute(made)

    assert surroundings() == before
    there: tuple[str, Any] = ("thread", ELSEWHERE)
    if execute.__name__ == "orchestrator_execute":
        there = ("caller", before)
    assert seen == {"a": there, "b": there}


def test_the_loop_is_where_the_saga_was_made(execute_async: Execute) -> None:
    """For coroutine functions; the task of the caller, in which they may be, is as it was."""
    seen: dict[str, Any] = {}
    noting(seen, surroundings)
    with Elsewhere():
        made = two(saga("checkout"), is_async=True)

    async def main() -> tuple[str | None, str, str | None]:
        await getattr(made, execute_async.__name__)()
        return surroundings()

    assert asyncio.run(main()) == surroundings()
    assert seen == {"a": ("loop", ELSEWHERE), "b": ("loop", ELSEWHERE)}


@pytest.mark.parametrize("is_bound", [False, True])
def test_a_saga_that_is_written_once_is_where_it_was_given_its_arguments(*, is_bound: bool) -> None:
    """It may have been made when its module was imported."""
    seen: dict[str, Any] = {}
    noting(seen, surroundings)
    outer: list[str] = []

    def around(_: Any) -> Any:
        outer.append(str(translation.get_language()))
        return translation.override(None)

    written = saga("checkout", around=[around])
    written.operation((do, given("name")), (undo, given("name")), name="a")
    with Elsewhere():
        bound = written.given(name="a")
    if is_bound:
        bound.choreography_execute()
    else:
        bound.orchestrator_execute()

    assert seen["a"][1][0] is None
    assert outer == ["de" if is_bound else "en-us"]


def test_the_caller_may_have_switched_languages_off() -> None:
    """Then they are off in threads as well."""
    seen: dict[str, Any] = {}
    noting(seen, translation.get_language)
    with translation.override(None):
        two(saga()).choreography_execute()

    assert seen["a"] == ("thread", None)


def opened() -> Any:
    """Use the database, and give the connection of this thread."""
    with connections[FILE].cursor() as cursor:
        cursor.execute("SELECT 1")
    return connections[FILE]


def test_connections_are_closed_in_threads_and_nowhere_else(execute: Execute) -> None:
    """Django would do it in the thread of a request only, and PostgreSQL would run out of them."""
    seen: dict[str, Any] = {}
    noting(seen, opened)
    mine = opened()

    execute(two(saga()))

    left = {name: found.connection is not None for name, (_, found) in seen.items()}
    if execute.__name__ == "orchestrator_execute":
        assert [found for _, found in seen.values()] == [mine, mine]
        assert set(left.values()) == {True}
    else:
        assert set(left.values()) == {False}
    assert mine.connection is not None


def test_a_compensation_and_a_call_with_a_time_limit_close_theirs() -> None:
    """Also where the saga does not complete."""
    seen: dict[str, Any] = {}
    noting(seen, opened)
    made = saga().operation((do, "a"), (undo, "a"), name="a", timeout=60)
    made.operation(depot.fail(ValueError("no")), name="b")

    with pytest.raises(made.SagaException):
        made.orchestrator_execute()

    assert {name: where for name, (where, _) in seen.items()} == dict.fromkeys(
        ("a", "undo a"), "thread"
    )
    assert [found.connection for _, found in seen.values()] == [None, None]


def test_other_options_are_those_of_a_saga(journal: SQLiteJournal) -> None:
    """A class of the user's may have them too."""
    heard: list[str] = []

    class ShopSaga(DjangoSaga):
        observers = (lambda event: heard.append(event.kind),)

    ShopSaga.saga(name="checkout").operation((do, "a"), name="a").orchestrator_execute(saga_id="x")
    saga(observers=ShopSaga.observers).operation(
        saga().operation((do, "b"), name="b"), name="child"
    ).orchestrator_execute()

    assert depot.log == ["a", "b"]
    assert heard
    found = saga_status(journal, "x")
    assert found is not None
    assert found.status is SagaStatus.COMPLETED


# --- in a transaction of the caller's -------------------------------------------------------------


def test_a_saga_is_not_run_in_an_atomic_block(execute_sync: Execute) -> None:
    """It may be made there; nothing has run when it is refused, and the cures are named.

    In an event loop there are no atomic blocks, for Django.
    """
    with transaction.atomic(using=FILE):
        made = two(saga())
        with pytest.raises(SagaInAtomicBlock, match="'file' is in an atomic block") as refused:
            execute_sync(made)
    assert depot.log == []
    for cure in ("non_atomic_requests", "within()", "on_commit", "atomic=True"):
        assert cure in str(refused.value)

    execute_sync(made)
    assert sorted(depot.log) == ["a", "b"]


def test_nor_where_autocommit_is_off() -> None:
    """What is written there waits for a COMMIT of the caller's as well."""
    opened().set_autocommit(False)
    try:
        with pytest.raises(SagaInAtomicBlock, match="autocommit is off on the database 'file'"):
            two(saga()).orchestrator_execute()
    finally:
        connections[FILE].set_autocommit(True)
    assert depot.log == []


def test_what_is_given_its_arguments_is_refused_as_well(journal: SQLiteJournal) -> None:
    """And written down for others, which takes no part in the transaction, it is not."""
    bound = saga().operation((do, given("name")), name="a").given(name="a")
    with transaction.atomic(using=FILE):
        with pytest.raises(SagaInAtomicBlock):
            bound.orchestrator_execute()
        bound.start(saga_id="x")
        two(saga()).start(saga_id="y")
        asyncio.run(two(saga(), is_async=True).astart())

    assert len(recover()) == 3
    assert len(depot.log) == 5
    assert {s.status for s in journal.select()} == {SagaStatus.COMPLETED}


def test_an_atomic_block_can_be_meant(execute: Execute) -> None:
    """Whoever writes `atomic=True` knows what a rollback takes with it."""
    with transaction.atomic(using=FILE):
        execute(two(saga(atomic=True)))

    assert sorted(depot.log) == ["a", "b"]


class InATestCase(TestCase):  # type: ignore[misc]  # Django has no type hints
    """What is around each of its tests is not the caller's; what a test begins in it is."""

    databases = (FILE,)
    is_collected = False
    __test__ = False

    def runTest(self) -> None:  # noqa: N802 - unittest's
        """Run one in each."""
        two(saga()).orchestrator_execute()
        with transaction.atomic(using=FILE), pytest.raises(SagaInAtomicBlock):
            two(saga()).orchestrator_execute()


def run_case(case: Any) -> None:
    """Run a test of Django's, and fail as it does."""
    result = case.defaultTestResult()
    case(result)
    problems = [text for _, text in (*result.errors, *result.failures)]
    assert problems == []
    assert result.testsRun == 1


def test_a_test_case_of_django_s_is_not_an_atomic_block_of_the_user_s() -> None:
    """Else nothing could be tested in one."""
    run_case(InATestCase())

    assert depot.log == ["a", "b"]


# --- recovery -------------------------------------------------------------------------------------


def test_recovery_closes_the_connections_of_its_threads(journal: SQLiteJournal) -> None:
    """No request ends there; nor is the language that of whoever was served last."""
    seen: dict[str, Any] = {}
    noting(seen, lambda: (opened(), translation.get_language()))
    two(saga()).start(saga_id="x")
    with translation.override("de"):
        done = recover()

    assert [one.outcome for one in done] == [SagaStatus.COMPLETED]
    assert [(where, found[0].connection) for where, found in seen.values()] == [
        ("thread", None),
        ("thread", None),
    ]
    assert seen["a"][1][1] == "de"
    assert saga_status(journal, "x") is not None


@pytest.mark.parametrize("is_async", [False, True])
def test_recovery_closes_what_coroutine_functions_have_opened(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch, *, is_async: bool
) -> None:
    """Django uses the database for them in a thread of its own, whose requests never end."""
    seen: dict[str, Any] = {}
    noting(seen, sync_to_async(opened))
    two(saga(), is_async=True).start(saga_id="y", journal=journal)
    # Django lets go at the end of a request what is older than CONN_MAX_AGE allows.
    monkeypatch.setitem(connections.settings[FILE], "CONN_MAX_AGE", None)
    thread = SyncToAsync.single_thread_executor
    thread.submit(lambda: connections[FILE].close()).result()  # noqa: PLW0108 - in that thread

    done = asyncio.run(arecover()) if is_async else recover()

    assert [one.outcome for one in done] == [SagaStatus.COMPLETED]
    assert [where for where, _ in seen.values()] == ["loop", "loop"]
    assert thread.submit(lambda: connections[FILE].connection).result() is None


def test_recovery_needs_a_journal() -> None:
    """What is kept in memory is gone with its process."""
    with pytest.raises(ImproperlyConfigured, match='PY_API_SAGA has no "JOURNAL"'):
        recover()
    with pytest.raises(ImproperlyConfigured, match="JOURNAL"):
        asyncio.run(arecover())

    assert recover(MemoryJournal()) == []


# --- settings -------------------------------------------------------------------------------------


def test_the_journal_is_the_same_until_the_settings_change(tmp_path: Path) -> None:
    """It is made when it is first asked for."""
    with project(JOURNAL=tmp_path / "one.db", OPTIONS={"durability": "process"}):
        first = get_journal()
        assert first is get_journal()
        assert isinstance(first, SQLiteJournal)
        assert first.path == str(tmp_path / "one.db")
    with project(JOURNAL="postgresql://shop@db/shop", OPTIONS={"codec": "commands.backwards"}):
        second = get_journal()
        assert isinstance(second, PostgreSQLJournal)
        assert type(second.codec).__name__ == "Reversed"
    with project(JOURNAL="alias:default", MODULES=["depot"]):
        assert repr(get_journal()) == "DjangoJournal('default')"
    with override_settings(PY_API_SAGA=None), pytest.raises(ImproperlyConfigured, match='no "JO'):
        get_journal()


def found(said: Any) -> list[tuple[str, str, str]]:
    """Give what `manage.py check` says."""
    with override_settings(PY_API_SAGA=said):
        errors = checks.run_checks(tags=["py_api_saga"])
    return [(error.id.rpartition(".")[2], error.msg, error.hint) for error in errors]


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        (["sagas.db"], "E001", "expected a dict, got list"),
        ({"JOURNAL": "/x/s.db", "MODULE": ["shop"]}, "E002", "unknown key 'MODULE'"),
        ({"JOURNAL": 7}, "E003", 'the path of a file, "alias:NAME" or the URL .* got int'),
        ({"JOURNAL": ""}, "E003", "got an empty text"),
        ({"MODULES": "shop.operations"}, "E003", "a list of the names of modules, got str"),
        ({"MODULES": ["shop", 7]}, "E003", "a list of the names of modules, got list"),
        ({"OPTIONS": ["lease"]}, "E003", "a dict of the options of the journal, got list"),
        ({"JOURNAL": "alias:nowhere"}, "E004", "there is no database 'nowhere'"),
        ({"JOURNAL": "alias:file"}, "E005", "needs PostgreSQL, and that one is sqlite"),
        ({"JOURNAL": "/x/s.db", "OPTIONS": {"lease": 3}}, "E007", "unexpected keyword.*'lease'"),
        ({"JOURNAL": "/x/s.db", "OPTIONS": {"codec": "no.where"}}, "E007", "No module named 'no'"),
        ({"JOURNAL": "/proc/s.db"}, "E008", "nothing can be written in /proc: "),
        ({"JOURNAL": "/no/where/s.db"}, "E008", "nothing can be written in /no/where: "),
        ({"MODULES": ["depot", "shop.nowhere.*"]}, "E009", "cannot import 'shop.nowhere"),
    ],
)
def test_a_check_says_what_is_wrong_with_the_settings(said: Any, code: str, words: str) -> None:
    """At each start of a server, in words that say what was expected, what came, what to do."""
    [(of, message, hint)] = found(said)

    assert of == code
    assert message.startswith("PY_API_SAGA")
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(message)
    assert hint


@pytest.mark.parametrize("said", [["sagas.db"], {"JOURNAL": "alias:file"}, {"MODULE": []}])
def test_who_asks_for_the_journal_is_told_the_same(said: Any) -> None:
    """Where nobody looks at checks: a server that imports the project alone."""
    [(_, message, hint)] = found(said)
    with override_settings(PY_API_SAGA=said), pytest.raises(ImproperlyConfigured) as raised:
        two(saga()).orchestrator_execute()

    assert str(raised.value) == f"{message}. {hint}"
    assert depot.log == []


def test_settings_that_are_right_say_nothing(tmp_path: Path) -> None:
    """Nor do those of a project that keeps its sagas in memory."""
    assert found({"JOURNAL": tmp_path / "s.db", "MODULES": ["depot", "recorded.*"]}) == []
    assert found({"JOURNAL": "postgresql://shop@db/shop"}) == []
    assert found(None) == []
    assert found({}) == []


def test_the_checks_come_with_the_app() -> None:
    """Whoever has it in the settings need not import anything."""
    apps.get_app_config("py_api_saga").ready()

    assert "py_api_saga" in checks.registry.registry.tags_available()


def test_a_journal_in_the_database_needs_the_app() -> None:
    """It makes the tables."""
    others = [app for app in settings.INSTALLED_APPS if app != "py_api_saga.contrib.django"]
    with override_settings(INSTALLED_APPS=others):
        assert [code for code, _, _ in found({"JOURNAL": "alias:default"})] == ["E006"]


def of_tables(said: Any, databases: list[str] | None) -> list[str]:
    """Give what `manage.py check --database` says."""
    with override_settings(PY_API_SAGA=said):
        errors = checks.run_checks(tags=["database"], databases=databases)
    return [error.msg for error in errors if error.id.startswith("py_api_saga.")]


def test_tables_that_are_not_there_are_said(database: Any, tmp_path: Path) -> None:
    """Where databases are looked at; `migrate` itself is not stopped by it."""
    said = {"JOURNAL": database.url, "OPTIONS": {"schema": database.schema}}
    if django.VERSION < (6, 1):  # later ones look at databases in each check
        assert of_tables(said, None) == []
    [message] = of_tables(said, ["default"])
    assert message.startswith("PY_API_SAGA: ")
    [message] = of_tables({"JOURNAL": f"postgresql:///x?host={tmp_path}"}, ["default"])
    assert str(tmp_path) in message

    PostgreSQLJournal(database.url, schema=database.schema).create_schema()
    assert of_tables(said, ["default"]) == []
    assert of_tables({"JOURNAL": tmp_path / "s.db"}, ["default"]) == []
    assert of_tables({"JOURNAL": 7}, ["default"]) == []


# --- manage.py saga … -----------------------------------------------------------------------------


def manage(*words: str) -> int:
    """Run `manage.py saga …` as a shell does, and give its status."""
    command = load_command_class("py_api_saga.contrib.django", "saga")
    with pytest.raises(SystemExit) as ended:
        command.run_from_argv(["manage.py", "saga", *words])
    return int(str(ended.value.code))


def test_the_command_knows_the_journal_and_the_modules(
    journal: SQLiteJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody types them, nor what is around each call."""
    seen: dict[str, Any] = {}
    noting(seen, opened)
    two(saga("checkout")).start(saga_id="x", journal=journal)

    assert manage("list", "--json") == 0
    assert json.loads(capsys.readouterr().out)["sagas"][0]["saga_id"] == "x"
    assert manage("recover", "--workers", "2") == 0
    assert capsys.readouterr().out == "x: COMPLETED\n"
    assert [(where, at.connection) for where, at in seen.values()] == [("thread", None)] * 2
    assert manage("list", "--status", "nonsense") == 2
    assert "usage: manage.py saga list" in capsys.readouterr().err


def test_the_command_is_run_by_code(
    journal: SQLiteJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    """A status that is not 0 is raised."""
    two(saga("checkout")).orchestrator_execute(saga_id="x", journal=journal)

    call_command("saga", "show", "x")
    assert "COMPLETED" in capsys.readouterr().out
    call_command("saga", "show", "x", "--html", "-")
    assert "COMPLETED" in capsys.readouterr().out.partition("<!doctype html>")[2]
    call_command("saga", "report", "--html", "-")
    assert "1 saga" in capsys.readouterr().out.partition("<!doctype html>")[2]
    with pytest.raises(CommandError, match="exit status 1") as raised:
        call_command("saga", "show", "nowhere")
    assert raised.value.returncode == 1


def test_the_command_of_a_project_without_a_journal_takes_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the `saga` command does."""
    path = str(tmp_path / "other.db")
    two(saga()).orchestrator_execute(saga_id="x", journal=SQLiteJournal(path, modules=["depot"]))

    assert manage("list") == 2
    assert "which journal?" in capsys.readouterr().err
    assert manage("--journal", path, "list") == 0
    assert "x" in capsys.readouterr().out


def test_the_command_says_what_is_wrong_with_the_settings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before it does anything."""
    with project(JOURNAL="alias:file"):
        assert manage("list") == 1
    assert "needs PostgreSQL" in capsys.readouterr().err


def test_under_atomic_requests_a_view_has_to_be_marked() -> None:
    """Else it is refused with the cure, before anything has run."""
    databases = {FILE: connections.settings[FILE] | {"ATOMIC_REQUESTS": True}}
    handler = Handler()
    handler.load_middleware()

    def view(_: Any) -> HttpResponse:
        two(saga()).orchestrator_execute()
        return HttpResponse("done")

    with patch.dict(connections.settings, databases):
        with pytest.raises(SagaInAtomicBlock, match="non_atomic_requests"):
            handler.make_view_atomic(view)(None)
        assert depot.log == []
        marked = transaction.non_atomic_requests(using=FILE)(view)
        assert handler.make_view_atomic(marked)(None).content == b"done"


def test_names_that_are_not_there_are_not_found() -> None:
    """Where names come late."""
    module = load_command_class("py_api_saga.contrib.django", "saga").__module__
    for path in (ours, __import__(module, fromlist=["Command"])):
        with pytest.raises(AttributeError, match="has no attribute 'nowhere'"):
            path.nowhere  # noqa: B018 - to look for it is the case
    assert {*ours.__all__} <= {*dir(ours)}


def test_no_threads_are_left() -> None:
    """So that the tests above may be believed."""
    names = {thread.name for thread in threading.enumerate()}
    assert not [name for name in names if name.startswith("saga-recovery")]
    assert issubclass(SagaInAtomicBlock, SagaDefinitionError)


# --- answers that come later ----------------------------------------------------------------------

KEY = "x:a:action"


def wait_for_an_answer(*, is_async: bool = False) -> None:
    """Run a saga whose first call has only begun something."""

    async def begin() -> Any:
        return later(timeout=None)

    depot.behaviour["a"] = begin if is_async else lambda: later(timeout=None)
    made = two(saga("checkout"), is_async=is_async)
    run = made.orchestrator_execute
    if is_async:
        run = async_to_sync(made.aorchestrator_execute)
    with pytest.raises(SagaPending) as pending:
        run(saga_id="x")
    assert pending.value.awaited == (KEY,)


@pytest.mark.usefixtures("journal")
def test_whoever_answers_goes_on_with_what_the_project_has_around_each_call() -> None:
    """In the journal that the settings name; what threads have opened is closed."""
    seen: dict[str, Any] = {}
    wait_for_an_answer()
    noting(seen, surroundings)

    with Elsewhere():
        answered = answer(KEY, result="A")

    assert (answered.status, answered.error) == (SagaStatus.COMPLETED, None)
    assert seen["b"][1] == ELSEWHERE


@pytest.mark.usefixtures("journal")
def test_whoever_awaits_the_answer_goes_on_in_the_loop() -> None:
    """In the same way."""
    seen: dict[str, Any] = {}
    wait_for_an_answer(is_async=True)
    noting(seen, surroundings)

    async def main() -> Any:
        with Elsewhere():
            return await aanswer(KEY, result="A")

    assert asyncio.run(main()).status is SagaStatus.COMPLETED
    assert seen["b"] == ("loop", ELSEWHERE)


def test_in_an_atomic_block_an_answer_is_only_written_down(
    journal: SQLiteJournal, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What operations write there could be wiped; the log says once that a worker goes on."""
    monkeypatch.setattr(answering, "_told", set())
    wait_for_an_answer()

    with transaction.atomic(using=FILE):
        answered = [answer(KEY, result="A"), py_api_saga.answer(journal, KEY, result="A")]
        transaction.set_rollback(True, using=FILE)

    assert [(one.status, one.known) for one in answered] == [
        (SagaStatus.RUNNING, False),
        (SagaStatus.RUNNING, True),
    ]
    assert depot.log == ["a"]
    assert caplog.text.count("answer() leaves sagas to a worker: a database is in an atomic") == 1
    assert [one.outcome for one in recover()] == [SagaStatus.COMPLETED]
    assert depot.log == ["a", "b"]
