"""Writes of Django's ORM in an operation: what may go wrong, and what a transaction is then."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import django_project
import pytest
import shelf
from asked import Asked, Died, in_operation
from django.db import IntegrityError, OperationalError, connections, models, transaction
from django.test import override_settings
from shelf import Hold, Stock

from py_api_saga.contrib.django.configured import journal_if_any
from py_api_saga.contrib.django.testing import rolled_back
from py_api_saga.evidence import leaves_doubt
from py_api_saga.testing.django_writes import writes_of_django
from py_api_saga.testing.virtual import replaced

FILE = "file"


@pytest.fixture(autouse=True)
def project() -> Iterator[None]:
    """Have the tables in a SQLite in memory."""
    with shelf.tables(FILE):
        yield
    django_project.let_go(FILE)


@contextmanager
def wrong(fault: str | None, where: str = "", alias: str = FILE) -> Iterator[Asked]:
    """Have something go wrong in an operation of a test, which is in a transaction."""
    with replaced(writes_of_django()), rolled_back(alias), in_operation(fault, where) as here:
        yield here


def free(alias: str = FILE) -> int:
    """Count the pieces that are free."""
    found: int = Stock.objects.using(alias).get().free
    return found


def take(alias: str = FILE) -> None:
    """Take one away, in one statement."""
    Stock.objects.using(alias).update(free=models.F("free") - 1)


def hold(alias: str = FILE) -> None:
    """Hold one, in a transaction of two."""
    with transaction.atomic(using=alias):
        Hold.objects.using(alias).create(key="order")
        take(alias)


def held(alias: str = FILE) -> int:
    """Count those that are held."""
    found: int = Hold.objects.using(alias).count()
    return found


def test_each_write_is_a_place_and_so_is_a_commit() -> None:
    """Named by what is written; reading is none, and neither is a block in which nothing is."""
    with wrong(None) as here:
        hold()
        with transaction.atomic(using=FILE):
            assert free() == 9
        take()

    assert here.places == [
        ("INSERT shelf_hold", ("refuses", "crash-after")),
        ("UPDATE shelf_stock", ("refuses", "crash-after")),
        (f"COMMIT {FILE}", ("crash-after",)),
        ("UPDATE shelf_stock", ("refuses", "crash-after")),
    ]


def test_what_a_process_has_left_in_a_block_is_not_of_the_next() -> None:
    """It has died in there: a block in which another one only reads has nothing to commit."""

    def died() -> None:
        raise Died

    def die_in_a_block(here: Asked) -> None:
        with transaction.atomic(using=FILE):
            take()
            here.check_alive = died  # type: ignore[method-assign]

    with replaced(writes_of_django()), rolled_back(FILE):
        with in_operation(None) as here, pytest.raises(Died):
            die_in_a_block(here)
        with in_operation(None) as here, transaction.atomic(using=FILE):
            assert free() == 10

    assert here.places == []


def test_a_statement_by_itself_that_fails_has_done_nothing() -> None:
    """And the transaction of the test is as good as before, as it would be without one."""
    with wrong("refuses", "INSERT"):
        with pytest.raises(OperationalError) as caught:
            Hold.objects.using(FILE).create(key="order")
        assert not leaves_doubt(caught.value)
        assert held() == 0
        hold_again()


def hold_again() -> None:
    """Write where nothing goes wrong any more."""
    with transaction.atomic(using=FILE):
        take()
    assert free() == 9


def test_an_error_of_the_user_s_own_database_stays_what_it_is() -> None:
    """A test's transaction that the database has given up is not called usable."""
    with wrong(None):
        Hold.objects.using(FILE).create(key="order")
        with pytest.raises(IntegrityError):
            Hold.objects.using(FILE).create(key="order")
        with pytest.raises(transaction.TransactionManagementError):
            free()


def test_a_statement_by_itself_stands_when_the_process_dies_after_it() -> None:
    """Since it has committed."""
    with wrong("crash-after"):
        with pytest.raises(Died):
            take()
        assert free() == 9


@pytest.mark.parametrize(
    ("fault", "raised"), [("refuses", OperationalError), ("crash-after", Died)]
)
@pytest.mark.parametrize("where", ["INSERT", "UPDATE"])
def test_a_block_is_undone_as_a_whole(where: str, fault: str, raised: type[BaseException]) -> None:
    """Whichever of its statements fails, or is the last one of its process."""
    with wrong(fault, where):
        with pytest.raises(raised):
            hold()
        assert (free(), held()) == (10, 0)


@pytest.mark.parametrize("fault", ["refuses", "crash-after"])
def test_so_is_what_django_writes_in_a_block_without_a_savepoint(fault: str) -> None:
    """As it does for what takes several statements: outside of a test it is a transaction."""

    def both() -> None:
        with transaction.atomic(using=FILE, savepoint=False):
            Hold.objects.using(FILE).create(key="order")
            take()

    with wrong(fault, "UPDATE"):
        with pytest.raises((OperationalError, Died)):
            both()
        assert (free(), held()) == (10, 0)


def test_a_block_stands_when_the_process_dies_after_its_commit() -> None:
    """And what waits for the commit is not called."""
    called: list[str] = []

    def take_and_tell() -> None:
        with transaction.atomic(using=FILE):
            take()
            transaction.on_commit(lambda: called.append("mail"), using=FILE)

    with wrong("crash-after", "COMMIT"):
        with pytest.raises(Died):
            take_and_tell()
        assert free() == 9
    assert called == []


def test_a_block_within_a_block_is_no_transaction() -> None:
    """What it writes is there once the outer one has committed."""

    def hold_and_take() -> None:
        with transaction.atomic(using=FILE):
            hold()
            take()

    with wrong("crash-after", "COMMIT") as here:
        with pytest.raises(Died):
            hold_and_take()
        assert free() == 8
    assert [name for name, _ in here.places].count(f"COMMIT {FILE}") == 1


def test_what_waits_for_the_commit_is_called_after_it() -> None:
    """As outside of a test: after the outermost block, or at once where there is none."""
    called: list[str] = []

    def later(what: str, **options: Any) -> None:
        transaction.on_commit(lambda: called.append(what), using=FILE, **options)

    with wrong(None):
        with transaction.atomic(using=FILE):
            with transaction.atomic(using=FILE):
                later("a")
            later("b")
            assert called == []
        assert called == ["a", "b"]
        later("c")
        assert called == ["a", "b", "c"]
        with suppress(KeyError), transaction.atomic(using=FILE):
            later("never")
            raise KeyError
        transaction.on_commit(lambda: called.index("x"), using=FILE, robust=True)
        with pytest.raises(ValueError, match="x"):
            transaction.on_commit(lambda: called.index("x"), using=FILE)
    assert called == ["a", "b", "c"]


def test_a_block_that_is_to_be_rolled_back_is_no_commit() -> None:
    """Though nothing was raised in it."""
    with wrong(None) as here:
        with transaction.atomic(using=FILE):
            take()
            transaction.set_rollback(True, using=FILE)
        assert free() == 10
    assert [name for name, _ in here.places] == ["UPDATE shelf_stock"]


def test_a_block_of_its_own_may_be_a_durable_one() -> None:
    """What is around it is the transaction of a test."""
    with wrong(None):
        with transaction.atomic(using=FILE, durable=True):
            take()
        assert free() == 9


def test_outside_of_an_operation_nothing_is_changed() -> None:
    """A world writes what it likes, and waits for a commit that does not come."""
    called: list[str] = []
    with replaced(writes_of_django()), rolled_back(FILE):
        with transaction.atomic(using=FILE):
            take()
            transaction.on_commit(lambda: called.append("mail"), using=FILE)
        assert free() == 9
        with pytest.raises(IntegrityError), transaction.atomic(using=FILE):
            Hold.objects.using(FILE).bulk_create([Hold(key="a"), Hold(key="a")])
    assert free() == 10
    assert called == []


def test_a_world_that_is_rolled_back_leaves_nothing() -> None:
    """Also within another one, of which everything is there still."""
    with rolled_back(FILE):
        take()
        with rolled_back(FILE):
            take()
            assert free() == 8
        assert free() == 9
    assert free() == 10


@pytest.fixture
def server(whole_database: str) -> Iterator[str]:
    """Have the tables in a PostgreSQL: its alias."""
    django_project.lead("default", **django_project.at(whole_database))
    with shelf.tables("default"):
        yield "default"
    connections["default"].close()


def test_a_project_without_a_journal_has_none_in_such_a_world() -> None:
    """Its sagas live in memory, there as elsewhere."""
    with override_settings(PY_API_SAGA=None), rolled_back(FILE):
        assert journal_if_any() is None
        take()
    assert free() == 10


def test_a_server_may_lose_the_answer_to_a_commit(server: str) -> None:
    """What was written stands, and the error says that nobody knows."""
    with wrong("lost", "COMMIT", server) as here:
        with pytest.raises(OperationalError) as caught:
            hold(server)
        assert leaves_doubt(caught.value)
        assert (free(server), held(server)) == (9, 1)
        take(server)
    assert here.places[-2:] == [
        ("COMMIT default", ("lost", "crash-after")),
        ("UPDATE shelf_stock", ("refuses", "lost", "crash-after")),
    ]


def test_a_server_may_lose_the_answer_to_a_statement(server: str) -> None:
    """That was a transaction by itself."""
    with wrong("lost", "INSERT", server):
        with pytest.raises(OperationalError):
            Hold.objects.using(server).create(key="order")
        assert held(server) == 1
        take(server)


def test_afterwards_django_is_as_it_was() -> None:
    """Its connections, and its blocks."""
    places = [(thing, name) for thing, name, _ in writes_of_django()]
    before = [vars(thing).get(name) for thing, name in places]
    with replaced(writes_of_django()):
        pass

    assert [vars(thing).get(name) for thing, name in places] == before
    assert connections[FILE].execute_wrappers == []


def test_without_a_project_nothing_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django may be installed, and even be loaded."""
    monkeypatch.delitem(sys.modules, "django.conf")
    assert [*writes_of_django()] == []
