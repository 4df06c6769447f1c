"""The pages of sagas in a project of Django, Flask or Starlette, behind a login of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import depot
import django_project
import pytest
from boards import Page
from recorded import order, stuck

from py_api_saga import SagaDefinitionError
from py_api_saga.journal import MemoryJournal, SQLiteJournal

django_project.set_up()

from django.core.exceptions import PermissionDenied  # noqa: E402 - only once it is set up
from django.test import RequestFactory, override_settings  # noqa: E402
from django.urls import include, path, resolve  # noqa: E402
from fastapi import FastAPI, HTTPException  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402
from flask import Flask, redirect  # noqa: E402

from py_api_saga.contrib.django.dashboard import dashboard as of_django  # noqa: E402
from py_api_saga.contrib.flask import Sagas  # noqa: E402
from py_api_saga.contrib.starlette import dashboard as of_starlette  # noqa: E402

Ask = Callable[..., Page]
STAFF = {"staff": True, "perms": ["py_api_saga.view_saga"]}


class User:
    """Somebody who is known, or not."""

    is_active = True

    def __init__(self, *, known: bool = True, staff: bool = False, perms: Any = ()) -> None:
        self.is_authenticated, self.is_staff, self._perms = known, staff, perms

    def has_perm(self, name: str) -> bool:
        return name in self._perms


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SQLiteJournal]:
    """A journal with a saga that is stuck, and one that has ended."""
    depot.reset()
    with closing(SQLiteJournal(tmp_path / "sagas.db", modules=["depot"])) as journal:
        stuck(journal, "bad")
        order().orchestrator_execute(journal=journal, saga_id="fine")
        yield journal
    depot.reset()


@pytest.fixture(params=["django", "flask", "starlette"])
def ask(request: pytest.FixtureRequest, journal: SQLiteJournal) -> Iterator[Ask]:
    """Ask a project that has mounted the pages, as somebody who may see them or not."""
    if request.param == "django":
        with override_settings(PY_API_SAGA={"JOURNAL": journal.path, "MODULES": ["depot"]}):
            yield in_django(of_django())
    elif request.param == "flask":
        yield in_flask(journal)
    else:
        yield in_starlette(journal)


def in_django(urls: Any) -> Ask:
    """Mount them as a project does, and give who asks."""
    urlconf: Any = SimpleNamespace(urlpatterns=[path("sagas/", include(urls))])

    def ask(address: str, method: str = "GET", **user: Any) -> Page:
        request = RequestFactory().generic(method, f"/sagas/{address}")
        request.user = User(**{**STAFF, **user})
        found = resolve(request.path_info, urlconf=tuple(urlconf.urlpatterns))
        answer = found.func(request, *found.args, **found.kwargs)
        return Page(answer.status_code, answer.headers, answer.content.decode())

    return ask


def in_flask(journal: Any, **options: Any) -> Ask:
    """Mount them as an application does, and give who asks."""
    app = Flask(__name__)
    app.config["SAGA_JOURNAL"] = journal
    may = [True]
    sagas = Sagas(app)
    pages = sagas.dashboard(allowed=lambda: may[0], **options)
    app.register_blueprint(pages, url_prefix="/sagas")

    def ask(address: str, method: str = "GET", *, staff: bool = True) -> Page:
        may[0] = staff
        answer = app.test_client().open(f"/sagas/{address}", method=method)
        return Page(answer.status_code, answer.headers, answer.get_data(as_text=True))

    return ask


def in_starlette(journal: Any) -> Ask:
    """Mount them as an application does, and give who asks."""
    app = FastAPI()

    async def allowed(request: Any) -> bool:
        return bool(request.headers.get("staff") == "yes")

    app.mount("/sagas", of_starlette(journal, allowed=allowed))

    def ask(address: str, method: str = "GET", *, staff: bool = True) -> Page:
        headers = {"staff": "yes" if staff else "no"}
        answer = TestClient(app).request(method, f"/sagas/{address}", headers=headers)
        return Page(answer.status_code, answer.headers, answer.text)

    return ask


def test_the_same_pages_are_there_below_a_path(ask: Ask) -> None:
    """With their own policy; all links stay below it."""
    page = ask("")

    assert (page.status, page.title) == (200, "(1) sagas")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cache-Control"] == "no-store"
    assert all(not href.startswith(("/", "http", "..")) for href in page.links().values())
    one = ask("saga?saga=bad")
    assert (one.status, one.title) == (200, "bad · stuck")
    assert "secret" not in one.html
    assert ask("?status=broken").status == 400
    assert ask("saga?saga=none").status == 404
    assert ask("nowhere/at/all").status == 404
    assert json.loads(ask("api/check").html)["stuck"] == 1


def test_nothing_is_decided_there(ask: Ask) -> None:
    """Whoever asks how."""
    assert ask("saga?saga=bad").all("a", class_="act") == []
    assert ask("decide?saga=bad&verb=retry").status == 404
    assert ask("", "POST").status == 405
    assert ask("", "HEAD").status == 200


def test_whoever_may_not_see_them_is_refused(ask: Ask) -> None:
    """Whatever they ask for."""
    for address in ("", "saga?saga=bad", "api/list", "nowhere"):
        try:
            status = ask(address, staff=False).status
        except PermissionDenied:  # of which Django makes a page
            status = 403
        assert status == 403


def test_django_leads_to_the_login(journal: SQLiteJournal) -> None:
    """Whoever is not logged in; and by default it takes the permission of the admin."""
    with override_settings(PY_API_SAGA={"JOURNAL": journal.path, "MODULES": ["depot"]}):
        ask = in_django(of_django())
        led = ask("?status=stuck", known=False, staff=False)
        assert led.status == 302
        assert led.headers["Location"].endswith("?next=/sagas/%3Fstatus%3Dstuck")
        with pytest.raises(PermissionDenied):
            ask("", perms=[])
        open_to_all = in_django(of_django(allowed=lambda _: True, values=True))
        page = open_to_all("saga?saga=bad", perms=[])
        assert "secret" in page.html
        assert "python manage.py saga retry bad" in page.html


def test_django_says_if_there_is_no_journal() -> None:
    """Sagas that are in memory are in one process alone."""
    with override_settings(PY_API_SAGA={}):
        page = in_django(of_django())("")
    assert page.status == 503
    assert "sagas in memory are not shown" in page.says


def test_flask_may_lead_to_a_login_and_give_a_nonce(journal: SQLiteJournal) -> None:
    """For another policy that an extension sets."""
    app = Flask(__name__)
    app.config["SAGA_JOURNAL"] = journal
    sagas = Sagas(app)
    app.register_blueprint(sagas.dashboard(allowed=lambda: True, values=True), url_prefix="/s")

    @app.before_request
    def login() -> Any:
        from flask import request  # noqa: PLC0415 - for this view alone

        request.csp_nonce = "r4nd0m"  # type: ignore[attr-defined]
        return redirect("/login") if "stranger" in request.args else None

    client = app.test_client()
    answer = client.get("/s/saga?saga=bad")
    page = Page(answer.status_code, answer.headers, answer.get_data(as_text=True))
    assert [one.get("nonce") for one in page.all("script")] == ["r4nd0m"]
    assert [one.get("nonce") for one in page.all("style")] == ["r4nd0m"] * 2
    assert "flask saga retry bad" in page.html
    assert "secret" in page.html
    assert client.get("/s/?stranger").status_code == 302
    assert client.get("/s").status_code == 308


def test_flask_says_if_sagas_are_in_memory() -> None:
    """They are in one process alone."""
    page = in_flask(None)("")
    assert page.status == 503
    assert "sagas in memory are not shown" in page.says


def test_starlette_may_ask_at_once_and_refuses_a_journal_in_memory(journal: SQLiteJournal) -> None:
    """What it is given may raise as well."""

    def nobody(_: Any) -> bool:
        raise HTTPException(418)

    app = FastAPI()
    app.mount("/none", of_starlette(journal, allowed=nobody))
    app.mount("/all", of_starlette(journal, allowed=lambda _: True, command="app saga"))
    with TestClient(app) as client:
        assert client.get("/none/").status_code == 418
        assert "app saga retry bad" in client.get("/all").text
    with pytest.raises(SagaDefinitionError, match="expected one in a file or a database"):
        of_starlette(MemoryJournal(), allowed=nobody)  # type: ignore[arg-type]
