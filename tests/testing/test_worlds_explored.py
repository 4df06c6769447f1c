"""Sagas that are explored in worlds as users have them: mocked services, databases, asyncio."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import django_project
import httpx
import httpx2
import pytest
import requests
import requests_mock
import responses
import respx
import shelf
import sqlalchemy as sa
import urllib3
from asgiref.sync import sync_to_async
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, TestCase, override_settings
from shelf import Hold, Paid, Stock
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from sqlalchemy.pool import NullPool, StaticPool
from world import PATIENCE

from py_api_saga import (
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    SagaStatus,
    current_operation,
)
from py_api_saga.contrib.aiohttp import saga_middleware
from py_api_saga.contrib.django import saga as django_saga
from py_api_saga.contrib.django.testing import SagaTestCase, rolled_back
from py_api_saga.contrib.http import request_name
from py_api_saga.contrib.httpx import AsyncSagaTransport, SagaTransport
from py_api_saga.contrib.requests import SagaSession
from py_api_saga.testing import explore, virtual

FILE = "file"
ELSEWHERE = ("twice", "crash-before", "cancelled", "doubt", "flaky", "down")  # of calls


class Declined(Exception):
    """What a bank says."""


def key() -> str:
    """Give the key of the action that is running, or undone."""
    return current_operation().action_key.lower()


# --- services over HTTP, each mocked by one that keeps what it was told ---------------------------

Held = set[tuple[str, str]]


@contextmanager
def by_requests_mock() -> Iterator[Held]:
    """Have services that hold what was posted, by host and key."""
    held: Held = set()

    def post(request: Any, _: Any) -> str:
        held.add((request.hostname, request.text))
        return ""

    def delete(request: Any, _: Any) -> str:
        held.discard((request.hostname, request.path[1:]))
        return ""

    with requests_mock.Mocker() as mock:
        mock.post(requests_mock.ANY, text=post)
        mock.delete(requests_mock.ANY, text=delete)
        yield held


@contextmanager
def by_responses() -> Iterator[Held]:
    """Have the same by another mock of requests."""
    held: Held = set()

    def post(request: Any) -> tuple[int, dict[str, str], str]:
        held.add((urlsplit(request.url).hostname or "", request.body))
        return 200, {}, ""

    def delete(request: Any) -> tuple[int, dict[str, str], str]:
        held.discard((urlsplit(request.url).hostname or "", request.path_url[1:]))
        return 200, {}, ""

    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.add_callback("POST", re.compile(".*"), post)
        mock.add_callback("DELETE", re.compile(".*"), delete)
        yield held


def answering(held: Held, package: Any) -> Callable[[Any], Any]:
    """Give what answers requests of httpx, or httpx2."""

    def answer(request: Any) -> Any:
        if request.method == "POST":
            held.add((request.url.host, request.content.decode()))
        else:
            held.discard((request.url.host, request.url.path[1:]))
        return package.Response(200)

    return answer


@contextmanager
def by_respx() -> Iterator[Held]:
    """Have the same by a mock of httpx."""
    held: Held = set()
    with respx.mock(assert_all_called=False) as mock:
        mock.route().mock(side_effect=answering(held, httpx))
        yield held


@contextmanager
def by_a_transport() -> Iterator[Held]:
    """Have the same by a transport of a client of the module."""
    held: Held = set()
    inner = httpx2.MockTransport(answering(held, httpx2))
    with httpx2.Client(transport=SagaTransport(inner)) as Client.the:
        yield held


HTTPX = httpx.Client(verify=False, trust_env=False)  # noqa: S501 - to make a real one takes long


class Client:
    """The client of the application, made by its world."""

    the: httpx2.Client


def raising(send: Callable[..., Any]) -> Callable[..., Any]:
    """Have a client raise for bad answers."""

    def sent(*args: Any, **options: Any) -> None:
        send(*args, **options).raise_for_status()

    return sent


def over_http(
    post: Callable[..., object], delete: Callable[..., object]
) -> Callable[[object], SagaAssembler]:
    """Make a saga of two services; what they are given is the body, or is in the path."""

    def charge() -> None:
        post("http://bank.test/", key())

    def refund() -> None:
        delete(f"http://bank.test/{key()}")

    def book() -> None:
        post("http://vans.test/", key())

    def cancel() -> None:
        delete(f"http://vans.test/{key()}")

    return lambda _: (
        SagaAssembler.saga(name="order").operation(charge, refund).operation(book, cancel)
    )


SESSION = SagaSession()
RIGHT: dict[str, tuple[Callable[[], Any], Callable[..., object], Callable[..., object]]] = {
    "requests-mock, a session of ours": (by_requests_mock, SESSION.post, SESSION.delete),
    "responses": (by_responses, raising(requests.post), raising(requests.delete)),
    "respx": (
        by_respx,
        lambda url, body: raising(HTTPX.post)(url, content=body),
        raising(HTTPX.delete),
    ),
    "a transport of ours": (
        by_a_transport,
        lambda url, body: Client.the.post(url, content=body),
        lambda url: Client.the.delete(url),  # noqa: PLW0108 - a client of its world
    ),
}


@pytest.mark.parametrize("how", RIGHT)
def test_a_right_saga_over_http_has_no_finding(how: str) -> None:
    """Whatever goes wrong with a request, and whichever mock it is sent to."""
    world, post, delete = RIGHT[how]

    explored = explore(
        over_http(post, delete), world=world, state=sorted, without=ELSEWHERE, blind=False
    )

    reached = {"answers-503", "answers-504", "lost", "refuses", "crash-after"}
    assert reached <= {*explored.kinds}
    assert explored.schedules > 40


@pytest.mark.parametrize(
    ("world", "post", "delete"),
    [
        (by_requests_mock, requests.post, requests.delete),
        (
            by_respx,
            lambda url, body: HTTPX.post(url, content=body),
            HTTPX.delete,
        ),
    ],
)
def test_whoever_does_not_look_at_the_answer_is_told(
    world: Callable[[], Any], post: Callable[..., object], delete: Callable[..., object]
) -> None:
    """A bad answer is taken for a good one: the commonest mistake with these clients."""
    with pytest.raises(AssertionError) as caught:
        explore(
            over_http(post, delete), world=world, state=sorted, without=["crash-after", *ELSEWHERE]
        )

    assert "when charge/POST bank.test answers 503, and does nothing" in str(caught.value)
    assert 'replay="charge/POST bank.test:answers-503"' in str(caught.value)


def test_a_session_that_sends_again_without_a_key_is_told() -> None:
    """A charge that the client sends twice by itself counts twice."""
    charges: list[str] = []

    def charge(*_: object) -> str:
        charges.append("1")
        return ""

    def refund(*_: object) -> str:
        charges.clear()
        return ""

    @contextmanager
    def world() -> Iterator[list[str]]:
        charges.clear()
        with requests_mock.Mocker() as mock:
            mock.post("http://bank.test/", text=charge)
            mock.delete("http://bank.test/", text=refund)
            yield charges

    session = requests.Session()
    retry = urllib3.Retry(2, allowed_methods=None, status_forcelist=[503, 504])
    session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))

    def run(_: object) -> SagaAssembler:
        return SagaAssembler.saga().operation(
            (raising(session.post), "http://bank.test/"),
            (raising(session.delete), "http://bank.test/"),
            name="charge",
        )

    with pytest.raises(AssertionError, match="the client sends it again"):
        explore(run, world=world, state=len, without=["twice", "crash-after"])


def test_a_host_refuses_as_the_test_says() -> None:
    """By `errors=`, as services that are named do."""
    raised: list[str] = []

    def post(url: str, body: str) -> None:
        try:
            SESSION.post(url, body)
        except Declined:
            raised.append(url)
            raise

    explore(
        over_http(post, SESSION.delete),
        world=by_requests_mock,
        state=sorted,
        errors={"bank.test": Declined},
        without=["crash-after", *ELSEWHERE],
        blind=False,
    )

    assert {*raised} == {"http://bank.test/"}


# --- databases --------------------------------------------------------------------------------


def reserve() -> None:
    """Hold a piece, once for each key."""
    with transaction.atomic(using=FILE):
        _, is_new = Hold.objects.using(FILE).get_or_create(key=key())
        if is_new:
            Stock.objects.using(FILE).update(free=models.F("free") - 1)


def release() -> None:
    """Let it go, if it is held."""
    with transaction.atomic(using=FILE):
        if Hold.objects.using(FILE).filter(key=key()).delete()[0]:
            Stock.objects.using(FILE).update(free=models.F("free") + 1)


def release_in_parts() -> None:
    """Do the same, but not as a whole."""
    if Hold.objects.using(FILE).filter(key=key()).delete()[0]:
        Stock.objects.using(FILE).update(free=models.F("free") + 1)


def charge() -> None:
    """Note a payment, in one statement."""
    Paid.objects.using(FILE).get_or_create(key=key())


def refund() -> None:
    """Take it back."""
    Paid.objects.using(FILE).filter(key=key()).delete()


def rows(_: object = None) -> dict[str, int]:
    """Say what the tables hold."""
    return {
        "free": Stock.objects.using(FILE).get().free,
        "held": Hold.objects.using(FILE).count(),
        "paid": Paid.objects.using(FILE).count(),
    }


def of_writes(undo: Callable[[], None] = release) -> Any:
    """Make a saga of a project of Django's."""
    return (
        django_saga("order")
        .operation(reserve, undo, name="reserve")
        .operation(charge, refund, name="charge")
    )


def order(_: HttpRequest) -> HttpResponse:
    """Run it: a view, of which each order has an id."""
    try:
        of_writes().orchestrator_execute(saga_id="order-7")
    except SagaException:
        return HttpResponse(status=409)
    return HttpResponse(status=201)


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[None]:
    """Have the tables in a SQLite in memory."""
    said = {"JOURNAL": str(tmp_path / "sagas.db"), "MODULES": [__name__]}
    with shelf.tables(FILE), override_settings(PY_API_SAGA=said):
        yield
    django_project.let_go(FILE)


def world() -> Any:
    """Take back what a schedule has written."""
    return rolled_back(FILE)


def run_test(kind: type[Any], test: Callable[[Any], object]) -> None:
    """Run a test of a user's, as Django's runner does."""
    case: Any = type("Case", (kind,), {"databases": (FILE,), "runTest": test, "__test__": False})()
    result = case.defaultTestResult()
    case(result)
    assert [text for _, text in (*result.errors, *result.failures)] == []
    assert rows() == {"free": 10, "held": 0, "paid": 0}


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(
    ("kind", "how"), [(TestCase, "orchestrator"), (SagaTestCase, "choreography")]
)
def test_a_right_saga_in_a_test_of_django(kind: type[Any], how: Any) -> None:
    """Has no finding, wherever its process dies, and the test goes on as if nothing had been."""

    def test(_: Any) -> None:
        Stock.objects.using(FILE).update(free=7)
        explored = explore(
            lambda _: of_writes(),
            world=world,
            state=rows,
            how=how,
            without=() if how == "orchestrator" else ELSEWHERE,
            blind=False,
        )
        assert explored.schedules > 40
        assert rows() == {"free": 7, "held": 0, "paid": 0}

    run_test(kind, test)


@pytest.mark.usefixtures("tables")
def test_an_undo_that_is_no_transaction_is_told() -> None:
    """It dies between its two statements, and finds nothing to undo the second time."""

    def test(_: Any) -> None:
        with pytest.raises(AssertionError) as caught:
            explore(
                lambda _: of_writes(release_in_parts), world=world, state=rows, without=ELSEWHERE
            )
        assert "compensated, but free is 9, expected 10" in str(caught.value)
        assert f"just after undo reserve/COMMIT {FILE}" in str(caught.value)

    run_test(TestCase, test)


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("modules", [None, [__name__]])
def test_a_view_that_runs_its_saga_is_explored_to_its_end(modules: list[str] | None) -> None:
    """With what it does after the saga; recorded, in a journal for each schedule, or not."""
    request = RequestFactory().post("/orders")
    statuses: set[int] = set()

    def test(_: Any) -> None:
        explored = explore(
            lambda _: statuses.add(order(request).status_code),
            world=world,
            state=rows,
            modules=modules,
            without=ELSEWHERE,
            blind=False,
        )
        assert explored.schedules > 40

    run_test(SagaTestCase, test)
    assert statuses == {201, 409}


@pytest.mark.usefixtures("tables")
def test_coroutine_functions_use_the_transaction_of_the_test() -> None:
    """Those of the ORM, in a view that is one itself."""

    async def hold() -> None:
        await Hold.objects.using(FILE).aget_or_create(key=key())

    async def let_go() -> None:
        await Hold.objects.using(FILE).filter(key=key()).adelete()

    async def view(_: object) -> None:
        with suppress(SagaException):
            await SagaAssembler.saga().operation(hold, let_go).aorchestrator_execute()
        await sync_to_async(sum, thread_sensitive=False)([])

    def test(_: Any) -> None:
        explored = explore(view, world=world, state=rows, without=["cancelled"])
        assert explored.schedules > 20

    run_test(TestCase, test)


class Base(DeclarativeBase):
    """Of the tables."""


class Mug(Base):
    """A mug that is held, by key."""

    __tablename__ = "mugs"
    key: Mapped[str] = mapped_column(primary_key=True)


def test_sessions_within_a_transaction_that_is_rolled_back() -> None:
    """The world of SQLAlchemy: what commits in it is a savepoint."""
    engine = sa.create_engine("sqlite://", poolclass=StaticPool)
    sa.event.listen(engine, "connect", lambda it, _: setattr(it, "isolation_level", None))
    sa.event.listen(engine, "begin", lambda it: it.exec_driver_sql("BEGIN"))
    Base.metadata.create_all(engine)
    made = sessionmaker(engine)

    @contextmanager
    def world() -> Iterator[None]:
        with engine.connect() as connection, connection.begin() as whole:
            made.configure(bind=connection, join_transaction_mode="create_savepoint")
            yield
            whole.rollback()

    def hold() -> None:
        with made.begin() as session:
            session.merge(Mug(key=key()))

    def let_go() -> None:
        with made.begin() as session:
            session.execute(sa.delete(Mug).where(Mug.key == key()))

    def state(_: object) -> int:
        with made() as session:
            return session.scalar(sa.select(sa.func.count(Mug.key))) or 0

    def run(_: object) -> SagaAssembler:
        saga = SagaAssembler.saga()
        return saga.operation(hold, let_go, name="hold").operation(hold, let_go, name="more")

    explored = explore(run, world=world, state=state, without=ELSEWHERE)
    assert explored.schedules > 30
    with pytest.raises(AssertionError, match="compensated, but the world is 1, expected 0"):
        explore(lambda _: SagaAssembler.saga().operation(hold), world=world, state=state)
    engine.dispose()


def test_sessions_that_are_awaited_on_a_real_server(whole_database: str) -> None:
    """The world, and the state, are awaited too; each schedule is rolled back."""
    url = whole_database.replace("postgresql:", "postgresql+psycopg:")
    engine = create_async_engine(url, poolclass=NullPool)
    made = async_sessionmaker(engine)
    sync = sa.create_engine(url, poolclass=NullPool)
    Base.metadata.create_all(sync)

    async def world() -> AsyncIterator[None]:
        async with engine.connect() as connection, connection.begin() as whole:
            made.configure(bind=connection, join_transaction_mode="create_savepoint")
            yield
            await whole.rollback()

    async def hold() -> None:
        async with made.begin() as session:
            await session.merge(Mug(key=key()))

    async def let_go() -> None:
        async with made.begin() as session:
            await session.execute(sa.delete(Mug).where(Mug.key == key()))

    async def state(_: object) -> int:
        async with made() as session:
            return await session.scalar(sa.select(sa.func.count(Mug.key))) or 0

    async def check(_: object, outcome: SagaStatus) -> None:
        assert await state(None) == (outcome is SagaStatus.COMPLETED)

    explored = explore(
        lambda _: SagaAssembler.saga().operation(hold, let_go, name="hold", timeout=30),
        world=world,
        state=state,
        check=check,
        without=ELSEWHERE,
        blind=False,
    )

    assert explored.schedules > 10
    with sync.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count(Mug.key))) == 0


# --- asyncio ----------------------------------------------------------------------------------


def test_coroutine_functions_wait_in_no_time() -> None:
    """Half a minute in each call, and requests of a client that is awaited."""
    began = time.monotonic()

    @contextmanager
    def world() -> Iterator[Held]:
        held: Held = set()
        transport = AsyncSagaTransport(httpx.MockTransport(answering(held, httpx)))
        client.append(httpx.AsyncClient(transport=transport))
        yield held

    client: list[httpx.AsyncClient] = []

    async def charge() -> None:
        await asyncio.sleep(30)
        await client[-1].post("http://bank.test/", content=key())

    async def refund() -> None:
        await asyncio.sleep(30)
        await client[-1].delete(f"http://bank.test/{key()}")

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            with request_name("a"):
                group.create_task(client[-1].post("http://vans.test/", content=key()))
            with request_name("b"):
                group.create_task(client[-1].post("http://cars.test/", content=key()))

    async def neither() -> None:
        for host in ("vans", "cars"):
            await client[-1].delete(f"http://{host}.test/{key()}")

    def run(_: object) -> SagaAssembler:
        saga = SagaAssembler.saga()
        return saga.operation(charge, refund, timeout=45).operation(both, neither)

    explored = explore(run, world=world, state=sorted, blind=False)

    assert explored.schedules > 100
    assert time.monotonic() - began < 30 * 60


def test_a_real_server_answers_in_real_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a connection is open, time does not jump before the answer is there."""
    monkeypatch.setattr(virtual, "_ANSWER", PATIENCE)
    charges: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            charges.add(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.answer()

        def do_DELETE(self) -> None:
            charges.discard(self.path[1:])
            self.answer()

        def answer(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    def world() -> set[str]:
        charges.clear()
        return charges

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"

        async def charge() -> None:
            async with aiohttp.ClientSession(middlewares=[saga_middleware()]) as session:
                await session.post(url, data=key())

        async def refund() -> None:
            async with aiohttp.ClientSession(middlewares=[saga_middleware()]) as session:
                await session.delete(f"{url}/{key()}")

        try:
            explored = explore(
                lambda _: SagaAssembler.saga().operation(charge, refund, timeout=30),
                world=world,
                state=len,
            )
        finally:
            server.shutdown()
            thread.join()

    assert explored.kinds["answers-504"] == 1


class Entered:
    """A world that is entered by `async with`."""

    async def __aenter__(self) -> set[str]:
        await asyncio.sleep(30)
        return set()

    async def __aexit__(self, *_: object) -> None:
        LEFT.append(await asyncio.sleep(30, "left"))


LEFT: list[str] = []


async def coroutine() -> set[str]:
    """Make a world."""
    return await asyncio.sleep(30, set())


async def generator() -> AsyncIterator[set[str]]:
    """Make a world, and take it away again."""
    yield set()
    LEFT.append(await asyncio.sleep(30, "left"))


@pytest.mark.parametrize("world", [Entered, coroutine, generator])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_world_may_be_awaited(
    world: Callable[[], object],
    is_async: bool,  # noqa: FBT001 - of pytest
) -> None:
    """Whether the operations are or not, and so may be what looks at it."""
    LEFT.clear()

    async def state(world: set[str]) -> int:
        return await asyncio.sleep(30, len(world))

    async def check(world: set[str], outcome: SagaStatus) -> None:
        assert await state(world) == (outcome is SagaStatus.COMPLETED)

    def run(world: set[str]) -> SagaAssembler:
        async def add() -> None:
            world.add(key())

        async def discard() -> None:
            world.discard(key())

        saga = SagaAssembler.saga()
        if is_async:
            return saga.operation(add, discard, name="add")
        return saga.operation((world.add, "a"), (world.discard, "a"), name="add")

    explored = explore(run, world=world, state=state, check=check)

    assert explored.schedules > 10
    assert len(LEFT) >= explored.schedules * (world is not coroutine)

    async def in_a_loop() -> None:
        explore(run, world=world, state=state)

    with pytest.raises(SagaDefinitionError, match="to_thread"):
        asyncio.run(in_a_loop())
