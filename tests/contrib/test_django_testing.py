"""Tests of a user's project: `SagaTestCase`, the fixture, and the `within` of their journal."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import depot
import django_project
import pytest
from asgiref.sync import sync_to_async
from depot import ado, aundo, do, undo
from django.db import connections, transaction
from django.test import TestCase, override_settings
from paths import SUPPORT
from world import PATIENCE

from py_api_saga import (
    SagaConflict,
    SagaException,
    SagaStatus,
    current_operation,
    saga_status,
)
from py_api_saga.contrib.django import arecover, get_journal, recover, saga
from py_api_saga.contrib.django.testing import SagaTestCase, TestJournal, sagas_in_test
from py_api_saga.exceptions import JournalError
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.changes import Claim
from py_api_saga.testing import assert_compensated, fail_at

django_project.set_up()

FILE = "file"


class Rollback(Exception):
    """What a view raises."""


@pytest.fixture(autouse=True)
def world(tmp_path: Path) -> Iterator[None]:
    """Begin with an empty table in a SQLite of the test's own, which threads would not see."""
    depot.reset()
    for name in ("a", "b"):
        depot.behaviour[name] = partial(put, name)
    said = {"JOURNAL": str(tmp_path / "sagas.db"), "MODULES": ["depot"]}
    with django_project.file_at(tmp_path / "shop.sqlite3"), override_settings(PY_API_SAGA=said):
        with connections[FILE].cursor() as cursor:
            cursor.execute("CREATE TABLE stock (name TEXT, thread INTEGER)")
        yield
    depot.reset()


def put(name: str) -> None:
    """Write a row, as an operation does."""
    thread = threading.get_ident()
    with connections[FILE].cursor() as cursor:
        cursor.execute("INSERT INTO stock VALUES (%s, %s)", [name, thread])


def stock() -> list[tuple[str, int]]:
    """Read what this connection sees."""
    with connections[FILE].cursor() as cursor:
        cursor.execute("SELECT name, thread FROM stock ORDER BY name")
        return [*cursor.fetchall()]


def two(made: Any = None, *, is_async: bool = False) -> Any:
    """Make a saga of two operations, of which nothing comes after the other."""
    act, back = (ado, aundo) if is_async else (do, undo)
    return (
        (made or saga("checkout"))
        .operation((act, "a"), (back, "a"), name="a")
        .operation((act, "b"), (back, "b"), name="b")
    )


def run(test: Callable[[Any], Any], kind: Any = SagaTestCase, **more: Any) -> Any:
    """Run a test of a user's, fail as it does, and see that nothing of it is left."""
    made = type("Case", (kind,), {"databases": (FILE,), "runTest": test, "__test__": False, **more})
    case: Any = made()
    result = case.defaultTestResult()
    case(result)
    assert [text for _, text in (*result.errors, *result.failures)] == []
    assert result.testsRun == 1
    assert stock() == []
    assert isinstance(get_journal(), SQLiteJournal)
    return case


def lasting() -> SQLiteJournal:
    """Give the journal that the settings name."""
    found = get_journal()
    assert isinstance(found, SQLiteJournal)
    return found


HERE = threading.get_ident()


@pytest.mark.parametrize("method", ["orchestrator_execute", "choreography_execute"])
def test_all_is_in_the_transaction_of_the_test(method: str) -> None:
    """In its thread, on its connection, and in a journal of its own."""

    def test(case: Any) -> None:
        getattr(two(), method)(saga_id="x")
        assert stock() == [("a", HERE), ("b", HERE)]
        assert case.saga_journal.find("x").status is SagaStatus.COMPLETED
        assert get_journal() is case.saga_journal

    run(test)
    assert saga_status(lasting(), "x") is None


def test_what_is_undone_is_so_there() -> None:
    """With what the user looks at."""

    def test(_: Any) -> None:
        made = two().operation((do, "c"), name="c")
        depot.behaviour["c"] = depot.fail(ValueError("no"))
        with pytest.raises(made.SagaException):
            made.choreography_execute()
        assert [name for name, _ in stock()] == ["a", "b"]
        assert depot.standing == []

    run(test)


@pytest.mark.parametrize(
    "method", ["choreography_execute", "aorchestrator_execute", "achoreography_execute"]
)
def test_one_fault_is_in_the_transaction_of_the_test(method: str) -> None:
    """Put into calls that are made where Django uses the database, under asyncio as well."""

    def test(case: Any) -> None:
        with fail_at("b", ConnectionResetError, after=True), pytest.raises(SagaException):
            getattr(two(), method)(saga_id="x")
        assert stock() == [("a", HERE), ("b", HERE)]
        assert_compensated(case.saga_journal, "x", "a", "b")

    async def atest(case: Any) -> None:
        with fail_at("b", ConnectionResetError, after=True), pytest.raises(SagaException):
            await getattr(two(), method)(saga_id="x")
        assert [name for name, _ in await sync_to_async(stock)()] == ["a", "b"]
        assert_compensated(case.saga_journal, "x", "a", "b")

    run(atest if method.startswith("a") else test)
    assert depot.standing == []


def test_a_worker_is_played_by_the_test() -> None:
    """Whatever number of threads the code under test would recover with."""

    def test(case: Any) -> None:
        two().start(saga_id="x")
        assert stock() == []
        assert [one.saga_id for one in case.recover_sagas()] == ["x"]
        two().start(saga_id="y", at_once=True)
        assert [one.outcome for one in recover(max_workers=8)] == [SagaStatus.COMPLETED]
        assert {thread for _, thread in stock()} == {HERE}
        assert len(stock()) == 4

    run(test)


@pytest.mark.parametrize("method", ["aorchestrator_execute", "achoreography_execute"])
@pytest.mark.parametrize("is_recovered", [False, True])
@pytest.mark.parametrize("make", [saga, saga("checkout").saga])
def test_plain_functions_are_called_where_django_uses_the_database(
    method: str, make: Any, *, is_recovered: bool
) -> None:
    """In a test that is a coroutine function: in the thread that has its transaction."""

    async def test(case: Any) -> None:
        made = two(make())
        if is_recovered:
            await made.astart(saga_id="x")
            await arecover()
        else:
            await getattr(made, method)(saga_id="x")
        from asgiref.sync import sync_to_async  # noqa: PLC0415 - as a user has it in such a test

        assert await sync_to_async(stock)() == [("a", HERE), ("b", HERE)]
        assert case.saga_journal.find("x").status is SagaStatus.COMPLETED

    run(test)


def test_coroutine_functions_and_plain_sagas_go_on_as_they_are() -> None:
    """A saga that is not of this package has nothing around its calls."""
    from asgiref.sync import sync_to_async  # noqa: PLC0415 - as above

    from py_api_saga import SagaAssembler  # noqa: PLC0415 - as above

    async def test(_: Any) -> None:
        for name in ("a", "b"):
            depot.behaviour[name] = partial(sync_to_async(put), name)
        await two(is_async=True).achoreography_execute()
        for name in ("a", "b"):
            depot.behaviour[name] = partial(put, name)
        await two(SagaAssembler.saga()).achoreography_execute()
        assert await sync_to_async(stock)() == [(name, HERE) for name in ("a", "a", "b", "b")]

    run(test)


# --- start in the transaction of the view ---------------------------------------------------------


def test_a_saga_that_is_started_in_a_transaction_is_there_once_that_commits() -> None:
    """Not before; a test of Django's says when that is."""

    def test(case: Any) -> None:
        journal = get_journal()
        assert isinstance(journal, TestJournal)
        with case.captureOnCommitCallbacks(using=FILE, execute=True):
            two().start(journal=journal.within(using=FILE), saga_id="x")
            assert journal.find("x") is None
            assert recover() == []
        assert [one.saga_id for one in recover()] == ["x"]

    run(test)


@pytest.mark.parametrize("is_whole", [True, False])
def test_it_is_never_there_if_that_is_rolled_back(*, is_whole: bool) -> None:
    """The transaction, or the block in it in which it was started."""

    def test(case: Any) -> None:
        def fail() -> None:
            with transaction.atomic(using=FILE):
                two().start(journal=case.saga_journal.within(using=FILE), saga_id="x")
                raise Rollback

        with case.captureOnCommitCallbacks(using=FILE, execute=True):
            if is_whole:
                with pytest.raises(Rollback):
                    fail()
            else:
                with transaction.atomic(using=FILE), pytest.raises(Rollback):
                    fail()
            two().start(journal=case.saga_journal.within(using=FILE), saga_id="y")
        assert [one.saga_id for one in recover()] == ["y"]

    run(test)


def test_an_id_is_used_once_there_as_well() -> None:
    """The same saga again is fine, another one a conflict; whether it is there yet or not."""

    def test(case: Any) -> None:
        within = case.saga_journal.within(using=FILE)
        other = saga("other").operation((do, "a"), name="a")
        with case.captureOnCommitCallbacks(using=FILE, execute=True):
            two().start(journal=within, saga_id="x")
            two().start(journal=within, saga_id="y")
            assert two().start(journal=within, saga_id="x") == "x"
            with pytest.raises(SagaConflict):
                other.start(journal=within, saga_id="y")
        assert two().start(journal=within, saga_id="x") == "x"
        with pytest.raises(SagaConflict):
            other.start(journal=within, saga_id="x")
        assert [one.saga_id for one in recover()] == ["x", "y"]

    run(test)


def test_nothing_can_be_run_in_it() -> None:
    """As with the journal that it stands in for."""

    def test(case: Any) -> None:
        within = case.saga_journal.within(using=FILE)
        with pytest.raises(JournalError, match="a saga can be started, and not run"):
            two().orchestrator_execute(journal=within)
        with pytest.raises(TypeError, match="expected nothing, got a connection"):
            case.saga_journal.within(connections[FILE])
        assert within.place == "in memory"
        within.leave(claim := Claim("x"))
        assert claim.over
        assert within.codec is None
        assert depot.log == []

    run(test)


def test_it_is_awaited_too() -> None:
    """In a coroutine function of the test."""

    async def test(case: Any) -> None:
        await two().astart(journal=case.saga_journal.within(using=FILE), saga_id="x")
        assert case.saga_journal.find("x") is None

    run(test)


def test_without_a_transaction_it_is_refused() -> None:
    """As with the journal that it stands in for: nothing could be rolled back with it."""
    with sagas_in_test() as journal, pytest.raises(JournalError, match="no transaction is open"):
        two().start(journal=journal.within(using=FILE))


def test_the_alias_is_that_of_the_journal() -> None:
    """Or the default one."""
    said = {"JOURNAL": "alias:lake", "MODULES": ["depot"], "OPTIONS": {"aliases": {"old": "depot"}}}
    with override_settings(PY_API_SAGA=said), sagas_in_test() as journal:
        assert vars(journal.within())["_alias"] == "lake"
        assert vars(journal.names)["_aliases"] == {"old": "depot"}
    with sagas_in_test() as journal:
        assert vars(journal.within())["_alias"] == "default"


# --- others ---------------------------------------------------------------------------------------


def test_a_plain_test_case_has_the_project_s_journal() -> None:
    """Whoever wants that uses it as it is."""

    def test(_: Any) -> None:
        two().orchestrator_execute(saga_id="x")
        assert isinstance(get_journal(), SQLiteJournal)

    run(test, TestCase)
    found = saga_status(lasting(), "x")
    assert found is not None
    assert found.status is SagaStatus.COMPLETED


def test_a_choreography_outside_of_tests_has_threads_again() -> None:
    """Nothing is left of it."""
    with sagas_in_test():
        pass
    where: list[str] = []
    depot.behaviour["a"] = lambda: where.append(current_operation().where)
    saga().operation((do, "a"), name="a").choreography_execute()
    asyncio.run(saga().operation((do, "a"), name="a").aorchestrator_execute())

    assert where == ["thread", "thread"]


SUITE = """
import pytest
from depot import do, undo
from django.core.exceptions import ImproperlyConfigured
from django.contrib.contenttypes.models import ContentType
from py_api_saga.contrib.django import get_journal, recover, saga

def write(name):
    ContentType.objects.create(app_label=name, model="x")

def test_it(saga_journal):
    write("here")
    saga().operation((do, "a"), name="a").operation((write, "b")).choreography_execute(saga_id="x")
    assert ContentType.objects.filter(app_label="b").exists()
    assert get_journal() is saga_journal
    assert saga_journal.find("x").status.value == "completed"

def test_nothing_is_left_of_that(saga_journal):
    assert not ContentType.objects.filter(app_label="b").exists()
    assert saga_journal.find("x") is None

@pytest.mark.django_db
def test_without_it_the_journal_is_the_project_s():
    with pytest.raises(ImproperlyConfigured):
        get_journal()
"""


SETTINGS = """
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = ["django.contrib.contenttypes"]
PY_API_SAGA = {"MODULES": ["depot", "test_suite"]}
USE_TZ = True
"""


def test_the_fixture_of_pytest_django(tmp_path: Path) -> None:
    """The same for whoever writes functions."""
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "suite_settings.py").write_text(SETTINGS)
    (tmp_path / "conftest.py").write_text(
        'pytest_plugins = ["py_api_saga.contrib.django.fixtures"]\n'
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "django", "--ds", "suite_settings"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(SUPPORT),
            "PYTEST_ADDOPTS": "",  # such as --cov, which no plugin here would know
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert "3 passed" in ran.stdout, ran.stdout
