"""Views of Django that receive a request once, and ORM writes of operations that count once."""

from __future__ import annotations

import asyncio
import json
import pkgutil
import subprocess
import sys
import textwrap
import threading
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import barrier_shop
import django_project
import pytest
from barrier_shop import Client
from paths import ROOT
from servers.children import Missing
from world import PATIENCE, unmeasured

from py_api_saga import SagaAssembler, SagaException
from py_api_saga.contrib import barrier
from py_api_saga.contrib.barrier import AlreadyUndone, NotKept, OnceError, once
from py_api_saga.testing import operation

django_project.set_up()

from asgiref.sync import sync_to_async  # noqa: E402 - after Django was set up
from django.core.exceptions import BadRequest  # noqa: E402
from django.db import IntegrityError, connections, transaction  # noqa: E402
from django.http import Http404, HttpResponse, JsonResponse, StreamingHttpResponse  # noqa: E402
from django.template.response import SimpleTemplateResponse  # noqa: E402
from django.test import (  # noqa: E402
    AsyncClient,
    AsyncRequestFactory,
    TestCase,
    override_settings,
)
from django.test import Client as DjangoClient  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402

from py_api_saga.contrib.barrier.django import saga_barrier  # noqa: E402


def write(name: str, alias: str = "default") -> str:
    """Make an effect."""
    with connections[alias].cursor() as cursor:
        cursor.execute("INSERT INTO effect (name) VALUES (%s)", [name])
    return name


def effects(name: str, alias: str = "default") -> int:
    """Count what stands under a name."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM effect WHERE name = %s", [name])
        return int(cursor.fetchone()[0])


def _make(alias: str, dialect: str) -> None:
    with connections[alias].cursor() as cursor:
        barrier_shop.make(cursor.execute, dialect)


@pytest.fixture(scope="module")
def _project() -> Iterator[None]:
    try:
        with django_project.database():
            for alias in ("default", "lake"):
                _make(alias, "postgresql")
            django_project.let_go("file")
            _make("file", "sqlite")
            yield
            django_project.let_go("file")
    except Missing as missing:
        pytest.skip(f"there is no {missing}")


@pytest.fixture
def tables(_project: None) -> None:
    """Have empty tables at "default" and "lake", and at "file" in SQLite."""
    for alias in ("default", "lake", "file"):
        with connections[alias].cursor() as cursor:
            cursor.execute("DELETE FROM effect")
            cursor.execute("DELETE FROM saga_barrier")


pytestmark = pytest.mark.usefixtures("tables", "mute")
both = pytest.mark.parametrize("alias", ["default", "file"])


# --- views ---------------------------------------------------------------------------------------


def answered(order: Any) -> Any:
    """Answer in each way in which one may."""
    status = order.get("status", 201)
    if order.get("how") == "raise":
        if status == 404:
            raise Http404
        raise {502: ZeroDivisionError, 400: BadRequest}[status]
    return JsonResponse(
        {"id": order["name"]}, status=status, headers={"Location": f"/charges/{order['name']}"}
    )


class Bank:
    """A bank, whose views are at the paths that `urlpatterns` has."""

    def __init__(self, alias: str) -> None:
        @csrf_exempt  # type: ignore[untyped-decorator]
        @saga_barrier(using=alias)
        def charge(request: Any) -> Any:
            order = json.loads(request.body)
            write(order["name"], alias)
            return answered(order)

        @csrf_exempt  # type: ignore[untyped-decorator]
        @saga_barrier(using=alias)
        def refund(request: Any) -> Any:
            write(json.loads(request.body)["name"], alias)
            return JsonResponse({})

        @csrf_exempt  # type: ignore[untyped-decorator]
        @saga_barrier(using=alias)
        def odd(_: Any, kind: str) -> Any:
            write(kind, alias)
            if kind == "template":
                return SimpleTemplateResponse(Template())
            if kind == "bytes":
                return HttpResponse(b"\xff", content_type="image/png")
            return StreamingHttpResponse(iter("ab"))

        @csrf_exempt  # type: ignore[untyped-decorator]
        @saga_barrier(using=alias, fingerprint=lambda request: request.method.encode())
        def timed(_: Any) -> Any:
            write("timed", alias)
            return JsonResponse({})

        @csrf_exempt  # type: ignore[untyped-decorator]
        @saga_barrier(using=alias)
        def caught(_: Any) -> Any:
            write("caught", alias)
            transaction.set_rollback(True, alias)
            return JsonResponse({})

        self.urlpatterns = [
            path("charges", charge),
            path("refunds", refund),
            path("odd/<kind>", odd),
            path("timed", timed),
            path("caught", caught),
        ]


class Template:
    """A template that renders."""

    def render(self, *_: Any) -> str:
        return "rendered"


class LaterBank:
    """The same, of coroutine functions."""

    def __init__(self) -> None:
        @csrf_exempt  # type: ignore[untyped-decorator]
        @saga_barrier
        async def charge(request: Any) -> Any:
            order = json.loads(request.body)
            await sync_to_async(write)(order["name"])
            return answered(order)

        @csrf_exempt  # type: ignore[untyped-decorator]
        @saga_barrier
        async def refund(request: Any) -> Any:
            await sync_to_async(write)(json.loads(request.body)["name"])
            return JsonResponse({})

        self.urlpatterns = [path("charges", charge), path("refunds", refund)]


def client_of(bank: Any, alias: str = "default") -> Client:
    """Ask through Django's own clients."""

    def send(path: str, headers: dict[str, str], body: Any) -> tuple[int, Any, Any]:
        given: Any = {"content_type": "application/json", "headers": headers}
        with override_settings(ROOT_URLCONF=bank):
            if isinstance(bank, LaterBank):
                later = AsyncClient(raise_request_exception=False)
                reply = asyncio.run(later.post(path, json.dumps(body), **given))
            else:
                at_once = DjangoClient(raise_request_exception=False)
                reply = at_once.post(path, json.dumps(body), **given)
        is_json = reply.headers.get("Content-Type") == "application/json"
        return reply.status_code, reply.json() if is_json else reply.content, reply.headers

    return Client(send, lambda name: effects(name, alias))


@both
def test_charges_and_refunds_count_once(alias: str) -> None:
    """The table of what is received once, through views."""
    barrier_shop.charges_and_refunds_count_once(client_of(Bank(alias), alias))


@both
def test_refusals_are_kept(alias: str) -> None:
    """Also those that Django makes of an exception."""
    client = client_of(Bank(alias), alias)
    barrier_shop.refusals_are_kept(client, raised=False)
    for status in (404, 400):
        for is_replay in (False, True):
            reply = client.post("/charges", f"{status}", name="x", how="raise", status=status)
            assert (reply.status, reply.final, reply.replay) == (status, True, is_replay)
    assert client.post("/charges", "c", name="x", how="raise", status=502)[0::2] == (
        500,
        False,
        None,
    )
    assert client.count("x") == 0


@pytest.mark.parametrize("how", ["answer", "raise"])
def test_a_view_may_be_a_coroutine_function(how: str) -> None:
    """It is in one transaction, in the thread that Django has for the request."""
    client = client_of(LaterBank())
    if how == "answer":
        barrier_shop.charges_and_refunds_count_once(client)
        assert client.post("/charges", "p", name="p", status=429).status == 429
    else:
        assert client.post("/charges", "a", name="a", how="raise", status=404).final
        assert client.post("/charges", "a", name="a", how="raise", status=404).replay
        assert client.post("/charges", "b", name="b", how="raise", status=502).status == 500
    assert client.count("p") == client.count("b") == 0


STAGES = (
    *("py_api_saga.contrib.barrier.django.opened", "py_api_saga.contrib.barrier.table.lock"),
    *("py_api_saga.contrib.barrier.table.add", "django.db.transaction.Atomic.__exit__"),
)


@pytest.mark.parametrize("stage", STAGES)
def test_a_request_whose_client_has_gone_leaves_no_transaction_behind(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its task is cancelled while the thread of the request is in the middle of something."""
    owner, _, name = stage.rpartition(".")
    where: Any = pkgutil.resolve_name(owner)
    asked, inside, go = getattr(where, name), threading.Event(), threading.Event()

    def wait(*args: Any, **keywords: Any) -> Any:
        if not inside.is_set():
            inside.set()
            assert go.wait(PATIENCE)
        return asked(*args, **keywords)

    def close_what_is_idle() -> bool:
        is_idle: bool = connections["default"].get_autocommit()
        connections.close_all()
        return is_idle

    async def leave() -> None:
        given: Any = {"content_type": "application/json", "headers": {"Idempotency-Key": "a"}}
        request = AsyncRequestFactory().post("/charges", '{"name": "a"}', **given)
        task = asyncio.ensure_future(bank.urlpatterns[0].callback(request))
        assert await asyncio.to_thread(inside.wait, PATIENCE)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await sync_to_async(close_what_is_idle)()

    bank = LaterBank()
    with monkeypatch.context() as patch:
        patch.setattr(where, name, wait)
        asyncio.run(leave())

    client = client_of(bank)
    assert client.post("/charges", "a", name="a").status == 201
    assert client.count("a") == 1


def test_an_answer_that_is_rendered_later_is_kept() -> None:
    """And one in bytes; one that is streamed can't be."""
    client = client_of(Bank("default"))

    for kind, body in (("template", b"rendered"), ("bytes", b"\xff")):
        for is_replay in (False, True):
            reply = client.post(f"/odd/{kind}", kind)
            assert (reply.status, reply.body, reply.replay) == (200, body, is_replay)
        assert client.count(kind) == 1
    assert client.post("/odd/stream", "c").status == 500
    assert client.count("stream") == 0


def test_what_differs_in_a_repetition_can_be_left_out() -> None:
    """By a function that gives what counts."""
    client = client_of(Bank("default"))

    assert [client.post("/timed", "a", at=at).replay for at in (1, 2)] == [False, True]


def test_an_effect_that_django_takes_back_in_silence_is_not_answered() -> None:
    """An error was caught in the middle of a block: it would be rolled back, and be said to be."""
    client = client_of(Bank("default"))

    assert client.post("/caught", "a")[0::2] == (500, False, None)
    assert client.count("caught") == 0


def test_atomic_requests_do_not_come_in_between() -> None:
    """The view has a transaction of its own."""
    client = client_of(Bank("default"))
    settings = connections["default"].settings_dict
    settings["ATOMIC_REQUESTS"] = True
    try:
        assert [client.post("/charges", "a", name="a").replay for _ in range(2)] == [False, True]
    finally:
        settings["ATOMIC_REQUESTS"] = False


def test_a_database_that_is_away_is_503() -> None:
    """The next one may be answered."""
    client = client_of(Bank("default"))
    before = dict(connections["default"].settings_dict)
    connections["default"].close()
    connections["default"].settings_dict["PORT"] = 1
    try:
        assert client.post("/charges", "a", name="a")[0::2] == (503, False, None)
    finally:
        connections["default"].settings_dict.update(before)


# --- `received` ----------------------------------------------------------------------------------


@both
def test_an_alias_is_a_connection(alias: str) -> None:
    """Within `atomic`; in autocommit it is refused."""
    ran = []
    with transaction.atomic(alias), barrier.received(alias, "a", "-") as request:
        transaction.on_commit(lambda: ran.append("kept"), alias)
        request.answer(201, None)
    with transaction.atomic(alias), barrier.received(alias, "b", "-") as request:
        transaction.on_commit(lambda: ran.append("refused"), alias)
        request.answer(402, None)
    with (
        pytest.raises(NotKept),
        transaction.atomic(alias),
        barrier.received(alias, "c", "-") as request,
    ):
        request.answer(429, None)
    with pytest.raises(RuntimeError, match="is in autocommit"), barrier.received(alias, "d", "-"):
        pass

    assert ran == ["kept"]
    with transaction.atomic(alias):
        assert barrier.purge(alias, 1e-9) >= 0
        assert barrier.forget(alias) == 0


# --- `once` --------------------------------------------------------------------------------------


@both
def test_an_orm_write_counts_once(alias: str) -> None:
    """By a call; the second one gives the first value."""
    with operation():
        assert once(write, "mug", alias, using=alias) == "mug"
    with operation(attempt=2):
        assert once(write, "other", alias, using=alias) == "mug"
    with operation(direction="compensation"):
        assert once(write, "undo", alias, using=alias) == "undo"
    with operation(saga_id="b", direction="compensation"):
        assert once(write, "undo", alias, using=alias) is None
    with operation(saga_id="b"), pytest.raises(AlreadyUndone):
        once(write, "mug", alias, using=alias)

    assert (effects("mug", alias), effects("undo", alias)) == (1, 1)


@once
def reserve(name: str) -> str:
    """Reserve, as an operation of a project does."""
    return write(name)


@once
def release(name: str) -> None:
    """Release it."""
    write(f"undo {name}")


def test_a_decorated_operation_counts_once_in_a_saga() -> None:
    """And so does its compensation."""

    def courier() -> None:
        raise ValueError

    saga = SagaAssembler.saga().operation((reserve, "mug"), (release, "mug")).operation(courier)
    with pytest.raises(SagaException):
        saga.orchestrator_execute()

    assert (effects("mug"), effects("undo mug")) == (1, 1)


def test_an_error_rolls_back_and_says_what_it_means() -> None:
    """Of the database: that nothing has happened. What is out of COMMIT is in doubt."""

    def twice() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("INSERT INTO effect (name) VALUES ('mug')")
            cursor.execute(
                "INSERT INTO saga_barrier SELECT * FROM saga_barrier WHERE key LIKE ' once%'"
            )

    with operation(), pytest.raises(IntegrityError) as caught:
        once(twice, using="default")
    assert getattr(caught.value, "saga_outcome", None) == "not happened"
    assert effects("mug") == 0

    def hook() -> None:
        raise ConnectionResetError

    def with_hook() -> str:
        transaction.on_commit(hook)
        return write("mug")

    with operation(), pytest.raises(ConnectionResetError) as lost:
        once(with_hook, using="default")
    assert getattr(lost.value, "saga_outcome", None) == "in doubt"
    with operation(attempt=2):
        assert once(with_hook, using="default") == "mug"
    assert effects("mug") == 1


def test_an_error_that_was_caught_too_early_is_refused() -> None:
    """Django would roll back in silence."""

    def caught() -> None:
        write("mug")
        transaction.set_rollback(True)

    with operation(), pytest.raises(RuntimeError, match="was caught where Django"):
        once(caught, using="default")
    assert effects("mug") == 0


def test_within_a_block_of_atomic_it_is_refused() -> None:
    """Its commit would not be ours; but that of a TestCase is nobody's."""
    with (
        transaction.atomic(),
        operation(),
        pytest.raises(OnceError, match="in a block of `atomic`"),
    ):
        once(write, "mug", using="default")
    assert effects("mug") == 0

    class Case(TestCase):  # type: ignore[misc]
        databases = frozenset({"default"})

        def test_it(self) -> None:
            with operation():
                once(write, "mug", using="default")
            self.assertEqual(effects("mug"), 1)  # noqa: PT009 - as a user writes

    result = unittest.TestResult()
    unittest.TestSuite([Case("test_it")]).run(result)
    assert (result.errors, result.failures) == ([], [])
    assert effects("mug") == 0


def test_autocommit_that_is_off_is_refused() -> None:
    """Nobody would commit."""
    transaction.set_autocommit(False)
    try:
        with operation(), pytest.raises(RuntimeError, match="has autocommit off"):
            once(write, "mug", using="default")
    finally:
        transaction.set_autocommit(True)


def test_a_write_to_another_alias_is_refused() -> None:
    """It would not be committed along; to read there is as ever."""

    def elsewhere(*, is_read: bool) -> int:
        write("mug")
        return effects("mug", "lake") if is_read else len(write("mug", "lake"))

    with operation(), pytest.raises(OnceError, match="a write to the alias 'lake' within once"):
        once(lambda: elsewhere(is_read=False), name="a")
    assert effects("mug") == effects("mug", "lake") == 0
    with operation():
        assert once(lambda: elsewhere(is_read=True), name="a") == 0
        assert once(write, "mug", "lake", using="lake", name="b") == "mug"
    assert effects("mug") == effects("mug", "lake") == 1


# --- the app -------------------------------------------------------------------------------------


def test_the_migration_makes_what_the_ddl_makes(tmp_path: Path) -> None:
    """On any alias, and nothing is missing of what the model has."""
    folder = str(tmp_path)
    script = f"""
        import sqlite3, sys
        sys.path.insert(0, {str(ROOT / "src")!r})
        import django
        from django.conf import settings
        from django.core.management import call_command
        settings.configure(
            INSTALLED_APPS=["py_api_saga.contrib.django.barrier"],
            DATABASES={{
                name: {{"ENGINE": "django.db.backends.sqlite3", "NAME": {folder!r} + "/" + name}}
                for name in ("default", "lake")
            }},
        )
        django.setup()
        call_command("makemigrations", check=True, dry_run=True, verbosity=0)
        call_command("migrate", database="lake", verbosity=0)
        from py_api_saga.contrib.django.barrier.models import BarrierRow
        from py_api_saga.contrib import barrier
        from django.db import transaction
        with transaction.atomic("lake"), barrier.received("lake", "a", "-") as request:
            request.answer(201, None)
        row = BarrierRow.objects.using("lake").get()
        print(row, row.at.year > 2000)
        for statement in barrier.ddl("sqlite"):
            sqlite3.connect({folder!r} + "/ddl").execute(statement)
        def columns(name):
            query = "SELECT name, \\"notnull\\", pk FROM pragma_table_info('saga_barrier')"
            return sqlite3.connect({folder!r} + "/" + name).execute(query).fetchall()
        assert columns("lake") == columns("ddl"), (columns("lake"), columns("ddl"))
    """  # noqa: S608 - our own text
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
        env=unmeasured(),
        timeout=120,
    )

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "a: 201 True\n"
