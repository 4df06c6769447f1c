"""The cases: which server, which application, how the saga is run, and what is allowed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Literal, NamedTuple

WORKERS, THREADS = 2, 20  # of a server
Server = Literal["gthread", "sync", "uvicorn"]


class Case(NamedTuple):
    """One server under load.

    Attributes:
        name: What it is called.
        server: "gthread" or "sync", workers of gunicorn, or "uvicorn".
        application: As MODULE:OBJECT for the server, found beside this file.
        path: Of a request, with `{user}`; it answers `{"got": [[user, language], …], "language":
            …}` after having run a saga of four operations, which is to have `id=` of the query.
        environment: What else tells the application how it is to be.
        kills: Whether one worker is killed in the middle.
        recovers: What is run then, by Python.
        left: Connections that may be open in the end: those of a pool.
        peak: Connections that may be open at once, or None.
    """

    name: str
    server: Server
    application: str
    path: str
    environment: Mapping[str, str] = {}
    kills: bool = False
    recovers: tuple[str, ...] = ()
    left: int = 0
    peak: int | None = None


def command(case: Case, listens: int) -> list[str]:
    """Give what starts a server that is to listen at a descriptor."""
    if case.server == "uvicorn":
        return [
            *(sys.executable, "-m", "uvicorn", "--log-level", "warning", "--fd", str(listens)),
            *("--workers", str(WORKERS), case.application),
        ]
    threads = ["--threads", str(THREADS)] if case.server == "gthread" else []
    return [
        *(sys.executable, "-m", "gunicorn", "--log-level", "warning", "-b", f"fd://{listens}"),
        *("-w", str(WORKERS), "-k", case.server, *threads, case.application),
    ]


POOL = 8  # connections of a pool, in each worker
_DJANGO = ("-c", "from load.django_app import manage; manage('saga', 'recover')")
_WSGI, _ASGI = "load.django_app:application", "load.django_app:asynchronous"
DJANGO = (
    Case("Django, gthread, choreography", "gthread", _WSGI, "/graph/{user}"),
    Case(
        "Django, gthread, choreography, connections kept",
        "gthread",
        _WSGI,
        "/graph/{user}",
        {"LOAD_AGE": "600"},
    ),
    Case(
        "Django, gthread, choreography, Django's pool",
        "gthread",
        _WSGI,
        "/graph/{user}",
        {"LOAD_POOL": str(POOL)},
        left=WORKERS * POOL,
        peak=WORKERS * POOL,
    ),
    Case("Django, gthread, one after the other", "gthread", _WSGI, "/chain/{user}"),
    Case("Django, sync, choreography", "sync", _WSGI, "/graph/{user}"),
    Case("Django, uvicorn, asynchronous view", "uvicorn", _ASGI, "/async/{user}"),
    Case(
        "Django, gthread, choreography, killed",
        "gthread",
        _WSGI,
        "/graph/{user}",
        {"LOAD_JOURNAL": "file"},
        kills=True,
        recovers=_DJANGO,
    ),
    Case(
        "Django, gthread, one after the other, killed",
        "gthread",
        _WSGI,
        "/chain/{user}",
        {"LOAD_JOURNAL": "file"},
        kills=True,
        recovers=_DJANGO,
    ),
)
_POOLED = {"LOAD_POOL": str(POOL)}
_DURABLE = {**_POOLED, "LOAD_JOURNAL": "file"}
_BOUND = WORKERS * POOL


def _of_flask(name: str, server: Server, how: str, *, kills: bool = False) -> Case:
    return Case(
        f"Flask, {name}",
        server,
        "load.flask_app:application",
        f"/{how}/{{user}}",
        _DURABLE if kills else _POOLED,
        kills=kills,
        recovers=("-m", "flask", "--app", "load.flask_app:application", "saga", "recover"),
        left=_BOUND,
        peak=_BOUND,
    )


def _of_fastapi(name: str, how: str, *, kills: bool = False) -> Case:
    return Case(
        f"FastAPI, uvicorn, {name}",
        "uvicorn",
        "load.fastapi_app:app",
        f"/{how}/{{user}}",
        _DURABLE if kills else _POOLED,
        kills=kills,
        recovers=("-c", "from load.fastapi_app import what_was_left; what_was_left()"),
        left=_BOUND,
        peak=None if kills else _BOUND,  # the worker that comes back has a pool as well
    )


FLASK = (
    _of_flask("gthread, choreography", "gthread", "graph"),
    _of_flask("gthread, one after the other", "gthread", "chain"),
    _of_flask("sync, choreography", "sync", "graph"),
    _of_flask("gthread, choreography, killed", "gthread", "graph", kills=True)._replace(peak=None),
    _of_flask("gthread, one after the other, killed", "gthread", "chain", kills=True)._replace(
        peak=None
    ),
)
FASTAPI = (
    _of_fastapi("choreography", "graph"),
    _of_fastapi("one after the other", "chain"),
    _of_fastapi("choreography, killed", "graph", kills=True),
    _of_fastapi("one after the other, killed", "chain", kills=True),
)
CASES = (*DJANGO, *FLASK, *FASTAPI)
