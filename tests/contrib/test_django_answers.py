"""What the middleware answers when a saga has raised out of a view."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import django_project
import pytest
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.test import AsyncClient, Client, override_settings
from django.urls import path
from django.utils.functional import empty

from py_api_saga import SagaInProgress, SagaPending, SagaStuck
from py_api_saga.contrib.django import saga
from py_api_saga.contrib.django.atomic import why_held

django_project.set_up()


class Refused(Exception):
    """A service said no."""


def fail(error: Exception) -> Callable[[], None]:
    """Make an operation that raises."""

    def operation() -> None:
        raise error

    return operation


ERRORS: dict[str, Exception] = {
    "refused": Refused("card 4242"),
    "failed": OSError("10.0.0.7"),
    "in-progress": SagaInProgress("x"),
    "waiting": SagaPending("x", ["x:a:action"], None),
    "none-of-a-saga": KeyError("x"),
}


def view(_: Any, kind: str) -> Any:
    """Run a saga that raises."""
    if kind == "stuck":
        made = saga().operation(lambda: None, fail(OSError("a")), name="a")
        made.operation(fail(OSError("b")), name="b").orchestrator_execute()
    error = ERRORS[kind]
    if kind in ("in-progress", "waiting", "none-of-a-saga"):
        raise error
    return saga().operation(fail(error)).orchestrator_execute()


async def aview(_: Any, kind: str) -> Any:
    """Await one."""
    return await saga().operation(fail(ERRORS[kind])).aorchestrator_execute()


urlpatterns = [path("sync/<kind>", view), path("async/<kind>", aview)]
SETTINGS = {
    "MIDDLEWARE": ["py_api_saga.contrib.django.middleware.SagaAnswers"],
    "PY_API_SAGA": {"REFUSALS": [f"{__name__}.Refused"]},
    "ROOT_URLCONF": __name__,
}
ANSWERS = {
    "refused": (409, "this was refused"),
    "failed": (502, "this could not be done"),
    "in-progress": (409, "this is being worked on"),
    "waiting": (202, "this waits for an answer"),
    "stuck": (500, "this has failed"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_saga_error_is_answered(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """By the table of all frameworks, without a word of what was raised."""
    with override_settings(**SETTINGS):
        answer = Client().get(f"/sync/{kind}")

    [said] = json.loads(answer.content).values()
    assert (answer.status_code, said) == ANSWERS[kind]
    assert answer.headers.get("Retry-After") == {"in-progress": "2", "waiting": "60"}.get(kind)
    assert answer.headers.get("Saga-Answer") == ("final" if kind == "refused" else None)
    assert ("a request ran: answered 500" in caplog.text) is (kind == "stuck")


@pytest.mark.parametrize("kind", ["refused", "failed"])
def test_so_is_that_of_an_asynchronous_view(kind: str) -> None:
    """In the same way."""
    with override_settings(**SETTINGS):
        answer = asyncio.run(AsyncClient().get(f"/async/{kind}"))

    assert (answer.status_code, json.loads(answer.content)["error"]) == ANSWERS[kind]


def test_other_errors_are_none_of_its_business() -> None:
    """Django has an answer of its own."""
    with override_settings(**SETTINGS), pytest.raises(KeyError):
        Client().get("/sync/none-of-a-saga")


@pytest.mark.parametrize(
    ("refusals", "words"),
    [
        (["not_there.Refused"], "PY_API_SAGA: REFUSALS: No module named 'not_there'"),
        ([f"{__name__}.view"], "PY_API_SAGA: REFUSALS: expected classes of exceptions, got <f"),
    ],
)
def test_refusals_that_are_no_errors_are_said_at_the_start(refusals: list[str], words: str) -> None:
    """By a check, and by the server when it begins."""
    with override_settings(**SETTINGS | {"PY_API_SAGA": {"REFUSALS": refusals}}):
        [error] = checks.run_checks(tags=["py_api_saga"])
        with pytest.raises(ImproperlyConfigured) as refused:
            Client().get("/sync/failed")

    assert error.msg.startswith(words)
    assert str(refused.value) == error.msg
    assert issubclass(SagaStuck, Exception)


def test_without_a_project_nothing_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may have the app imported and no settings, so no database of Django's either."""
    monkeypatch.setattr(settings, "_wrapped", empty)

    assert why_held() is None
