"""The pages of the project's sagas behind its login: `path("sagas/", include(dashboard()))`.

They show, and nothing is decided there: the admin does that. The commands that they list are those
of `manage.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, HttpResponseNotAllowed
from django.urls import re_path

from py_api_saga.contrib.django.configured import lasting_journal
from py_api_saga.exceptions import JournalError
from py_api_saga.journal.lasting import View
from py_api_saga.pictures.board import Board

_COMMAND = "python manage.py saga"


def _may_see_sagas(request: Any) -> bool:
    """Tell whether this is somebody of the staff who may see sagas in the admin."""
    user = request.user
    return bool(user.is_active and user.is_staff and user.has_perm("py_api_saga.view_saga"))


def dashboard(
    *, allowed: Callable[[Any], bool] = _may_see_sagas, values: bool = False
) -> list[Any]:
    """Give the URLs of pages on which sagas are seen, and nothing is decided.

    Args:
        allowed: Tells of a request whether it may see them: by default somebody of the staff who
            has the permission `view_saga`, as in the admin, which superusers have. Whoever is not
            logged in is led to the login, all others get a 403.
        values: Whether to show arguments and results; else their types alone.

    Returns:
        What `include` takes; what is before it is to end with a slash.
    """
    board = Board(_view, command=_COMMAND, whole=values)

    def sagas(request: Any, page: str) -> Any:
        if not allowed(request):
            if request.user.is_authenticated:
                raise PermissionDenied
            from django.contrib.auth.views import (  # noqa: PLC0415 - it needs models
                redirect_to_login,
            )

            return redirect_to_login(request.get_full_path())
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        answer = board.answer(page, request.META.get("QUERY_STRING", ""))
        kind = f"{answer.kind}; charset=utf-8"
        return HttpResponse(
            answer.body, content_type=kind, status=answer.status, headers=dict(answer.headers)
        )

    return [re_path(r"^(?P<page>.*)$", sagas, name="py_api_saga_dashboard")]


def _view() -> View:
    journal = lasting_journal()
    if journal is None:
        raise JournalError("PY_API_SAGA names no journal: sagas in memory are not shown")
    return journal.onlooker()
