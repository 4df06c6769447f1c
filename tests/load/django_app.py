"""A Django project whose views book four things at once, or one after the other."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

import django
from django.conf import settings

URL = urlsplit(os.environ["LOAD_DATABASE"])
POOL = os.environ.get("LOAD_POOL")
settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": URL.hostname or "",
            "NAME": URL.path.removeprefix("/"),
            "PASSWORD": URL.password or "",
            "PORT": URL.port or "",
            "USER": URL.username or "",
            "CONN_MAX_AGE": int(os.environ.get("LOAD_AGE", "0")),
            "OPTIONS": {
                "application_name": os.environ["LOAD_NAME"],
                "options": f"-csearch_path={os.environ['LOAD_SCHEMA']}",
                **({"pool": {"min_size": 2, "max_size": int(POOL)}} if POOL else {}),
            },
        }
    },
    INSTALLED_APPS=["py_api_saga.contrib.django"],
    PY_API_SAGA={"JOURNAL": os.environ.get("LOAD_JOURNAL"), "MODULES": ["load.django_app"]},
    ROOT_URLCONF="load.django_app",
    SECRET_KEY="of a test",  # noqa: S106 - it is
    USE_TZ=True,
)
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402 - once the project is set up
from django.core.management import execute_from_command_line  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils import translation  # noqa: E402

from py_api_saga import current_operation  # noqa: E402
from py_api_saga.contrib.django import DjangoSaga, saga  # noqa: E402

BOOKINGS = 4


def book(user: str, number: int) -> list[str | None]:
    """Book something, once for its key, which takes a while."""
    key = current_operation().action_key
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO bookings (key, person) VALUES (%s, %s) ON CONFLICT (key) DO NOTHING",
            [key, user],
        )
        cursor.execute("SELECT pg_sleep(0.01)")
    return [user, translation.get_language(), str(number)]


def cancel(*_: object) -> None:
    """Take it back."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM bookings WHERE key = %s", [current_operation().action_key])


def checkout(user: str) -> DjangoSaga:
    """Make the saga of one request."""
    made = saga("checkout")
    for number in range(BOOKINGS):
        made.operation((book, user, number), cancel, name=f"book-{number}")
    return made


def language_of(user: str) -> str:
    """Each second customer reads German, the others French."""
    return "de" if int(user) % 2 else "fr"


def _answer(results: Any, language: str) -> JsonResponse:
    return JsonResponse({"got": [result[:2] for result in results], "language": language})


def graph(request: Any, user: str) -> JsonResponse:
    """Book all at once, in threads."""
    with translation.override(language_of(user)):
        made = checkout(user)
        return _answer(made.choreography_execute(saga_id=request.GET["id"]), language_of(user))


def chain(request: Any, user: str) -> JsonResponse:
    """Book one after the other, in the thread of the request."""
    with translation.override(language_of(user)):
        made = checkout(user)
        return _answer(made.orchestrator_execute(saga_id=request.GET["id"]), language_of(user))


async def awaited(request: Any, user: str) -> JsonResponse:
    """Await all at once."""
    with translation.override(language_of(user)):
        made = checkout(user)
        results = await made.achoreography_execute(saga_id=request.GET["id"])
        return _answer(results, language_of(user))


def is_up(_: Any) -> JsonResponse:
    """Answer once the server does."""
    return JsonResponse({})


urlpatterns = [
    path("chain/<user>", chain),
    path("graph/<user>", graph),
    path("async/<user>", awaited),
    path("up", is_up),
]
application = get_wsgi_application()
asynchronous = get_asgi_application()


def manage(*words: str) -> None:
    """Run a command of `manage.py`; this module is not the main one, whose names none knows."""
    execute_from_command_line(["manage.py", *words])
