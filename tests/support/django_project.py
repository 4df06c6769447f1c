"""A project of Django's, which a process can have once; its database is where a test has put it.

"default" and "lake" are each a PostgreSQL, wherever `lead` or `database` has them; "file" is a
SQLite, as a project may have as well.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from servers import shared

_POSTGRESQL = {"ENGINE": "django.db.backends.postgresql", "NAME": "nowhere"}
SETTINGS: dict[str, Any] = {
    "ALLOWED_HOSTS": ["testserver", "localhost", "127.0.0.1"],
    "DATABASES": {
        "default": dict(_POSTGRESQL),
        "lake": dict(_POSTGRESQL),
        "file": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    },
    "INSTALLED_APPS": [
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "django.contrib.staticfiles",
        "py_api_saga.contrib.django",
    ],
    "LOGGING_CONFIG": None,
    "MIDDLEWARE": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    # Those of Django's own apps take most of the time, and are not what is tested.
    "MIGRATION_MODULES": dict.fromkeys(("admin", "auth", "contenttypes", "sessions")),
    "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
    "PY_API_SAGA": {"JOURNAL": "alias:default", "MODULES": ["depot"]},
    "ROOT_URLCONF": "django_project",
    "SECRET_KEY": "of a test",
    "STATIC_URL": "static/",
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ],
            },
        }
    ],
    "USE_TZ": True,
}


def set_up() -> None:
    """Set the project up, unless it is. Nobody else has Django loaded."""
    import django  # noqa: PLC0415 - as it says
    from django.conf import settings  # noqa: PLC0415

    if not settings.configured:
        settings.configure(**SETTINGS)
        django.setup()


def at(url: str) -> dict[str, Any]:
    """Give what `DATABASES` says of a database."""
    parts = urlsplit(url)
    return {
        "ENGINE": _POSTGRESQL["ENGINE"],
        "HOST": parts.hostname or "",
        "NAME": parts.path.removeprefix("/"),
        "OPTIONS": {},  # those of the test before are none of this one's
        "PASSWORD": unquote(parts.password or ""),
        "PORT": parts.port or "",
        "USER": unquote(parts.username or ""),
    }


def lead(alias: str, **database: Any) -> None:
    """Have an alias mean a database from now on."""
    from django.db import connections  # noqa: PLC0415 - only where there is a project

    connections[alias].close()
    connections.settings[alias].update(database)


@contextmanager
def file_at(path: object) -> Iterator[None]:
    """Have "file" be a SQLite that threads share, for the time of a block; else it is in memory."""
    from django.db import connections  # noqa: PLC0415 - as above

    it = connections["file"]
    let_go("file")
    for settings in (connections.settings["file"], it.settings_dict):
        settings["NAME"] = str(path)
    try:
        yield
    finally:
        let_go("file")
        for settings in (connections.settings["file"], it.settings_dict):
            settings["NAME"] = ":memory:"


def let_go(alias: str) -> None:
    """Close the connection of this thread, also to what is in memory, which Django would keep."""
    from django.db import connections  # noqa: PLC0415 - as above

    it = connections[alias]
    if it.connection is not None:
        it.connection.close()
        it.connection = None


@contextmanager
def database() -> Iterator[str]:
    """Have "default" and "lake" be new databases, without tables, for the time of a block.

    Raises:
        Missing: There is no PostgreSQL.
    """
    from django.db import connections  # noqa: PLC0415 - as above

    set_up()
    server = shared.Database(shared.server(), "public")
    made = f"project_{secrets.token_hex(6)}"
    names = {"default": made, "lake": f"{made}_lake"}
    for alias, name in names.items():
        server.ask(f"CREATE DATABASE {name}")
        lead(alias, **at(server.url) | {"NAME": name})
    try:
        yield f"{server.url.rpartition('/')[0]}/{made}"
    finally:
        for alias, name in names.items():
            connections[alias].close()
            server.ask(f"DROP DATABASE {name} WITH (FORCE)")


def __getattr__(name: str) -> Any:
    """Give the URLs of the project when they are asked for: not before it is set up."""
    if name != "urlpatterns":
        raise AttributeError(name)
    from django.contrib import admin  # noqa: PLC0415 - as said
    from django.urls import include, path  # noqa: PLC0415

    from py_api_saga.contrib.django.dashboard import dashboard  # noqa: PLC0415

    return [path("admin/", admin.site.urls), path("sagas/", include(dashboard()))]
