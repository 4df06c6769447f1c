"""Views that receive what a service answers later: in Django, Flask, Starlette and FastAPI."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import depot
import django_project
import pytest
from recorded import chain

from py_api_saga import (
    JournalError,
    SagaConflict,
    SagaDefinitionError,
    SagaPending,
    SagaStatus,
    later,
    recover,
)
from py_api_saga.contrib.webhooks import NotVerified, Reply, Verified, areceive, receive
from py_api_saga.journal import Journal, MemoryJournal
from py_api_saga.repair import purge

django_project.set_up()

from asgiref.sync import async_to_sync  # noqa: E402 - only once it is set up
from django.core.exceptions import PermissionDenied  # noqa: E402
from django.core.handlers.asgi import ASGIHandler  # noqa: E402
from django.db import connections  # noqa: E402
from django.test import AsyncClient, Client, override_settings  # noqa: E402
from django.urls import path  # noqa: E402
from fastapi import FastAPI, HTTPException  # noqa: E402
from flask import Flask, abort  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.routing import Route  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402
from werkzeug.test import create_environ, run_wsgi_app  # noqa: E402

from py_api_saga.contrib import flask as of_flask  # noqa: E402
from py_api_saga.contrib.django import get_journal  # noqa: E402
from py_api_saga.contrib.webhooks import django as for_django  # noqa: E402
from py_api_saga.contrib.webhooks import flask as for_flask  # noqa: E402
from py_api_saga.contrib.webhooks import starlette as for_starlette  # noqa: E402

KEY = "x:a:action"
SECRET = b"of the bank"
SIZE = 200  # bytes


class Declined(Exception):
    """The bank said no."""


class Told(NamedTuple):
    """What a view has answered."""

    status: int
    body: Any


def signed(body: bytes) -> dict[str, str]:
    """Give the headers of a request that is the bank's."""
    return {"Bank-Signature": hmac.new(SECRET, body, hashlib.sha256).hexdigest()}


def said(request: Any, body: bytes) -> Any:
    """Tell what the bank says; with what goes wrong as well."""
    good = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(good, request.headers.get("Bank-Signature", "")):
        raise NotVerified("a forgery")
    event = json.loads(body)
    match event["type"]:
        case "paid":
            return Verified(event["key"], result=event["payment"])
    return None


async def asaid(request: Any, body: bytes) -> Any:
    """Await it."""
    await asyncio.sleep(0)
    return said(request, body)


def begin(journal: Journal) -> None:
    """Have a saga wait for the bank."""
    depot.behaviour["a"] = lambda: later(timeout=None)
    with pytest.raises(SagaPending):
        chain("a", "b").orchestrator_execute(journal=journal, saga_id="x")


@pytest.fixture
def journal() -> Iterator[MemoryJournal]:
    """A journal in which a saga waits for the bank."""
    depot.reset()
    journal = MemoryJournal(modules=["depot"])
    begin(journal)
    yield journal
    depot.reset()


def read(content: bytes) -> Any:
    """Give what was answered as JSON; None for a page of a framework's own."""
    try:
        return json.loads(content)
    except ValueError:
        return None


# --- each framework -------------------------------------------------------------------------------

Send = Callable[[bytes, dict[str, str]], Told]
Make = Callable[..., Send]


def urls_of(view: Any) -> Any:
    """Give what a project of Django's has as its addresses."""
    urls: Any = ModuleType("urls_of_a_shop")
    urls.urlpatterns = [path("bank", view)]
    return urls


def in_django(verify: Any, journal: Any, size: int = SIZE) -> Send:
    """Have Django receive, behind its check for forged forms."""
    view = for_django.saga_webhook(journal=journal, max_body=size)(verify)
    urls = urls_of(view)

    def send(body: bytes, headers: dict[str, str]) -> Told:
        with override_settings(ROOT_URLCONF=urls):
            client = Client(enforce_csrf_checks=True)
            reply = client.post("/bank", body, "application/json", headers=headers)
        return Told(reply.status_code, read(reply.content))

    return send


def in_async_django(verify: Any, journal: Any, size: int = SIZE) -> Send:
    """Have Django receive under asyncio."""
    view = for_django.saga_webhook(journal=journal, max_body=size)(verify)
    urls = urls_of(view)

    def send(body: bytes, headers: dict[str, str]) -> Told:
        with override_settings(ROOT_URLCONF=urls):
            client = AsyncClient(enforce_csrf_checks=True)
            post = async_to_sync(client.post)
            reply = post("/bank", body, "application/json", headers=headers)
        return Told(reply.status_code, read(reply.content))

    return send


def in_flask(verify: Any, journal: Any, size: int = SIZE) -> Send:
    """Have Flask receive."""
    app = Flask(__name__)
    app.config["SAGA_JOURNAL"] = journal
    sagas = of_flask.Sagas(app)
    app.post("/bank")(for_flask.saga_webhook(sagas, max_body=size)(verify))

    def send(body: bytes, headers: dict[str, str]) -> Told:
        reply = app.test_client().post("/bank", data=body, headers=headers)
        return Told(reply.status_code, read(reply.data))

    return send


def asked(app: Any) -> Send:
    """Ask an application of ASGI."""

    def send(body: bytes, headers: dict[str, str]) -> Told:
        reply = TestClient(app).post("/bank", content=body, headers=headers)
        return Told(reply.status_code, read(reply.content))

    return send


def in_starlette(verify: Any, journal: Any, size: int = SIZE) -> Send:
    """Have Starlette receive."""
    view = for_starlette.saga_webhook(journal, max_body=size)(verify)
    return asked(Starlette(routes=[Route("/bank", view, methods=["POST"])]))


def in_fastapi(verify: Any, journal: Any, size: int = SIZE) -> Send:
    """Have FastAPI receive."""
    app = FastAPI()
    app.post("/bank")(for_starlette.saga_webhook(journal, max_body=size)(verify))
    return asked(app)


PROJECTS = {
    "django": (in_django, said),
    "django, async": (in_async_django, asaid),
    "flask": (in_flask, said),
    "flask, async": (in_flask, asaid),
    "starlette": (in_starlette, asaid),
    "fastapi": (in_fastapi, said),
}


@pytest.fixture(params=PROJECTS)
def project(request: pytest.FixtureRequest) -> tuple[Make, Any]:
    """A framework, and a function that verifies."""
    found: tuple[Make, Any] = PROJECTS[request.param]
    return found


@pytest.fixture
def send(project: tuple[Make, Any], journal: Journal) -> Callable[..., Told]:
    """Send what the bank says to a project."""
    make, verify = project
    ask = make(verify, journal)

    def send(**event: Any) -> Told:
        body = json.dumps(event).encode()
        return ask(body, signed(body))

    return send


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """Give what was logged of webhooks."""
    return [
        (one.levelno, one.getMessage())
        for one in caplog.records
        if one.getMessage().startswith("webhook: ")
    ]


# --- in each framework ----------------------------------------------------------------------------


def test_an_answer_is_written_down_and_a_worker_goes_on(
    send: Callable[..., Told], journal: Journal
) -> None:
    """Its sender waits for seconds only; what it sends twice counts once."""
    assert send(type="paid", key=KEY, payment="p1") == (200, {"status": "recorded"})
    assert send(type="paid", key=KEY, payment="p1") == (200, {"status": "recorded"})
    assert depot.log == ["a"]

    [recovered] = recover(journal)

    assert recovered.outcome is SagaStatus.COMPLETED
    assert depot.log == ["a", "b"]
    assert [*chain("a", "b").orchestrator_execute(journal=journal, saga_id="x")] == ["p1", "B"]


def test_whatever_else_comes_is_answered_by_the_table(
    project: tuple[Make, Any], send: Callable[..., Told], journal: Journal
) -> None:
    """In the words of `py_api_saga.contrib.webhooks`, in each framework the same."""
    make, verify = project
    forged = json.dumps({"type": "paid", "key": KEY, "payment": "p1"}).encode()

    assert make(verify, journal)(forged, {}) == (403, {"error": "this is not verified"})
    assert send(type="a dispute") == (204, None)
    assert send(type="paid", key="y:a:action", payment="p1").status == 404
    assert recover(journal) == []


def test_what_is_too_long_is_refused_unread(project: tuple[Make, Any], journal: Journal) -> None:
    """Nobody can fill the memory of a server; the longest that may be is read."""
    make, verify = project
    event = json.dumps({"type": "paid", "key": KEY, "payment": "p1"}).encode()

    for longer in (event.ljust(SIZE + 1), event.ljust(9 * SIZE)):
        answered = make(verify, journal)(longer, signed(longer))
        assert answered == (413, {"error": "this is too long"})
    assert recover(journal) == []
    longest = event.ljust(SIZE)
    assert make(verify, journal)(longest, signed(longest)).status == 200


def test_the_body_is_that_which_was_signed(project: tuple[Make, Any], journal: Journal) -> None:
    """Byte by byte, whatever it holds; and the request can still be asked for it."""
    make, awaits = project[0], asyncio.iscoroutinefunction(project[1])
    body, seen = b'\xff{"type": 1 }', list[Any]()

    def look(request: Any, body: bytes) -> None:
        seen.append((request.method, request.headers["X-Other"], body))
        if make is in_flask:
            seen.append(request.get_data())
        elif make in (in_django, in_async_django):
            seen.append(request.body)

    async def alook(request: Any, body: bytes) -> None:
        look(request, body)
        if make is in_starlette:
            seen.append(await request.body())

    answered = make(alook if awaits else look, journal)(body, {"X-Other": "yes"})

    assert answered.status == 204
    assert seen[0] == ("POST", "yes", body)
    assert seen[1:] == ([] if make is in_fastapi else [body])


# --- what is answered -----------------------------------------------------------------------------


def at_once(verify: Any, journal: Any) -> Reply:
    """Receive what a function tells."""
    return receive(verify, lambda: journal)


def awaited(verify: Any, journal: Any) -> Reply:
    """Receive it where a loop runs."""

    async def averify() -> Any:
        await asyncio.sleep(0)
        return verify()

    return asyncio.run(areceive(averify, lambda: journal))


either = pytest.mark.parametrize("told", [at_once, awaited])


@either
def test_a_refusal_undoes_the_saga(told: Callable[..., Reply], journal: Journal) -> None:
    """It has an error in the place of a result, and is final."""
    assert told(lambda: Verified(KEY, error=Declined("no money")), journal).status == 200

    [recovered] = recover(journal)

    assert recovered.outcome is SagaStatus.COMPENSATED
    assert recovered.error.operation_error.kind == f"{__name__}.Declined"  # type: ignore[union-attr]


@either
@pytest.mark.parametrize("status", [400, 401, 403])
def test_whoever_is_not_the_service_is_refused(
    told: Callable[..., Reply], status: int, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """By the status that the function gives, and without its words, which are in the log."""

    def verify() -> None:
        raise NotVerified("the clock is wrong", status=status)

    assert told(verify, journal) == (status, {"error": "this is not verified"})
    assert logged(caplog) == [(logging.WARNING, f"webhook: answered {status}: the clock is wrong")]
    assert recover(journal) == []


@either
def test_what_is_not_ours_is_done_with(
    told: Callable[..., Reply], journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """The service need not send it again, and nobody need hear of it."""
    assert told(lambda: None, journal) == (204, None)
    assert logged(caplog) == []


@either
@pytest.mark.parametrize("key", ["y:a:action", "x:b:action", "x:a:compensation"])
def test_what_is_unknown_or_was_not_started_is_to_come_again(
    told: Callable[..., Reply], key: str, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """It is never a success: whoever sends it would not send it again."""
    answered = told(lambda: Verified(key, result="p1"), journal)

    assert answered == (404, {"error": "this answers nothing that is known"})
    [(level, text)] = logged(caplog)
    assert (level, text[:22]) == (logging.WARNING, "webhook: answered 404:")


@either
def test_a_contradiction_is_a_success_and_in_the_log(
    told: Callable[..., Reply], journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can use it, however often it comes: the first answer counts, and a person hears."""
    told(lambda: Verified(KEY, result="p1"), journal)

    answered = told(lambda: Verified(KEY, error=Declined("no money")), journal)

    assert answered == (200, {"status": "not used: it was answered before"})
    [record] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.getMessage() == "webhook: answered 200, and not used: a person must look"
    assert record.exc_info is not None
    assert record.exc_info[0] is SagaConflict
    assert recover(journal)[0].outcome is SagaStatus.COMPLETED


def test_so_is_an_answer_to_what_was_purged(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for it any more, and never will."""
    refusal = Verified(KEY, error=Declined("no money"))
    at_once(lambda: refusal, journal)
    recover(journal)
    found = journal.find("x")
    assert found is not None
    purge(journal, found)
    caplog.clear()

    assert at_once(lambda: refusal, journal).status == 200
    assert [one.levelno for one in caplog.records] == [logging.ERROR]


@either
def test_what_cannot_be_written_down_is_to_come_again(
    told: Callable[..., Reply],
    journal: Journal,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the disk is full, say; when it comes again it is as if it came first."""

    def full(*_: Any) -> Any:
        raise JournalError("the disk is full")

    async def afull(*_: Any) -> Any:
        full()

    with monkeypatch.context() as broken:
        broken.setattr(journal, "write", full)
        broken.setattr(journal, "awrite", afull)
        answered = told(lambda: Verified(KEY, result="p1"), journal)

    assert answered == (503, {"error": "this could not be recorded"})
    assert (logging.ERROR, "webhook: answered 503: it is to come again") in logged(caplog)
    assert told(lambda: Verified(KEY, result="p1"), journal).status == 200


@either
def test_a_mistake_of_the_function_is_never_taken_for_an_unknown_key(
    told: Callable[..., Reply], journal: Journal
) -> None:
    """A KeyError in it is a LookupError too; it is raised, and so is what is not an answer."""
    with pytest.raises(KeyError):
        told(lambda: json.loads("{}")["key"], journal)
    with pytest.raises(SagaDefinitionError, match=r"expected Verified\(…\) or None, got str"):
        told(lambda: KEY, journal)
    with pytest.raises(SagaDefinitionError, match="answer: key: expected an idempotency key"):
        told(lambda: Verified("sub_1A2b", result="p1"), journal)
    with pytest.raises(SagaDefinitionError, match="either result= or error=, got neither"):
        told(lambda: Verified(KEY), journal)


@either
def test_the_answer_may_come_before_the_call_has_said_that_it_will(
    told: Callable[..., Reply],
) -> None:
    """A bank may be faster than its own answer: the intent of the call is on record."""
    depot.reset()
    journal, replies = MemoryJournal(modules=["depot"]), list[int]()

    def act() -> Any:
        replies.append(told(lambda: Verified(KEY, result="p1"), journal).status)
        return later(timeout=None)

    depot.behaviour["a"] = act
    results = chain("a", "b").orchestrator_execute(journal=journal, saga_id="x")

    assert replies == [200]
    assert [*results] == ["p1", "B"]
    depot.reset()


# --- of one framework -----------------------------------------------------------------------------


def test_django_takes_nothing_but_a_post(journal: Journal) -> None:
    """Whoever looks at the address in a browser has no effect."""
    view = for_django.saga_webhook(journal=journal)(said)

    with override_settings(ROOT_URLCONF=urls_of(view)):
        answered = Client().get("/bank")

    assert (answered.status_code, answered.headers["Allow"]) == (405, "POST")


def test_django_has_its_own_journal_and_no_transaction_around(tmp_path: Path) -> None:
    """With `ATOMIC_REQUESTS`: what is written down has its own transaction."""
    seen = list[bool]()

    @for_django.saga_webhook
    def bank(request: Any, body: bytes) -> Any:
        """Of a bank."""
        seen.append(connections["default"].in_atomic_block)
        return said(request, body)

    body = json.dumps({"type": "paid", "key": KEY, "payment": "p1"}).encode()
    file = {"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / "shop.db"}
    ours = {"JOURNAL": str(tmp_path / "sagas.db"), "MODULES": ["depot"]}
    before = connections.settings["default"], connections["default"]
    depot.reset()
    try:
        connections.settings["default"] = {**before[0], **file, "ATOMIC_REQUESTS": True}
        del connections["default"]
        with override_settings(PY_API_SAGA=ours, ROOT_URLCONF=urls_of(bank)):
            begin(get_journal())
            answered = Client().post("/bank", body, "application/json", headers=signed(body))
            [recovered] = recover(get_journal())
        connections["default"].close()
    finally:
        connections.settings["default"], connections["default"] = before
        depot.reset()

    assert (answered.status_code, seen) == (200, [False])
    assert (bank.__name__, bank.__doc__) == ("bank", "Of a bank.")
    assert recovered.outcome is SagaStatus.COMPLETED


def test_what_comes_in_parts_is_measured_too(journal: Journal) -> None:
    """A request need not say how long it is."""
    event = json.dumps({"type": "paid", "key": KEY, "payment": "p1"}).encode()
    for size, status in ((SIZE + 1, 413), (SIZE, 200)):
        body = event.ljust(size)
        parts = [body[:50], body[50:]]

        urls = urls_of(for_django.saga_webhook(journal=journal, max_body=SIZE)(asaid))
        with override_settings(ROOT_URLCONF=urls):
            assert asyncio.run(posted(ASGIHandler(), parts, signed(body))) == status
        view = for_starlette.saga_webhook(journal, max_body=SIZE)(said)
        starlette = Starlette(routes=[Route("/bank", view, methods=["POST"])])
        assert asyncio.run(posted(starlette, parts, signed(body))) == status

        app = Flask(__name__)
        app.post("/bank")(for_flask.saga_webhook(journal, max_body=SIZE)(said))
        chunked = create_environ("/bank", method="POST", headers=signed(body))
        chunked |= {"wsgi.input_terminated": True, "wsgi.input": BytesIO(body)}
        assert int(run_wsgi_app(app, chunked)[1].split()[0]) == status


async def posted(app: Any, parts: list[bytes], headers: dict[str, str]) -> int:
    """Post parts to an application of ASGI, and give the status of the answer."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/bank",
        "raw_path": b"/bank",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "headers": [
            (b"host", b"localhost"),
            *((name.lower().encode(), value.encode()) for name, value in headers.items()),
        ],
    }
    left, sent = [*parts], list[Any]()

    async def receive() -> Any:
        if not left:
            await asyncio.Event().wait()
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    status: int = sent[0]["status"]
    return status


@pytest.mark.parametrize("make", [in_django, in_flask, in_starlette])
def test_an_answer_of_the_framework_s_own_is_that(make: Make, journal: Journal) -> None:
    """Whoever verifies may say no as in any view."""

    def no(*_: Any) -> None:
        if make is in_flask:
            abort(403)
        raise PermissionDenied if make is in_django else HTTPException(403)

    assert make(no, journal)(b"", {}).status == 403


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: for_django.saga_webhook(max_body=0), "max_body: expected at least 1 byte, got 0"),
        (lambda: for_django.saga_webhook(max_body=True), "max_body: expected a number of bytes"),
        (lambda: for_flask.saga_webhook("sagas.db"), "saga_webhook: journal: expected a journal"),  # type: ignore[arg-type]
        (lambda: for_starlette.saga_webhook(None), "saga_webhook: journal: expected a journal"),  # type: ignore[arg-type]
    ],
)
def test_a_mistake_is_refused_when_the_project_is_made(
    make: Callable[[], object], words: str
) -> None:
    """And not in the first request."""
    with pytest.raises(SagaDefinitionError, match=words):
        make()


def test_only_what_says_no_is_a_status_of_a_refusal() -> None:
    """A 200 would have the sender stop."""
    with pytest.raises(ValueError, match=r"status: expected one of \(400, 401, 403\), got 200"):
        NotVerified("", status=200)
