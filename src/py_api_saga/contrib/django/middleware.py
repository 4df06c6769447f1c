"""What is answered when a saga has raised out of a view, as a middleware of Django's.

In `MIDDLEWARE`, `"py_api_saga.contrib.django.middleware.SagaAnswers"` stands last, or at least
behind whatever is to see its answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import JsonResponse
from django.utils.deprecation import MiddlewareMixin

from py_api_saga.contrib.answers import Answers
from py_api_saga.contrib.django.configured import settled
from py_api_saga.exceptions import SagaError


class SagaAnswers(MiddlewareMixin):  # type: ignore[misc]  # Django has no type hints
    """Answers for the errors that sagas raise out of views, sync and async ones.

    The table is that of `py_api_saga.contrib.answers`. The errors by which an operation says a
    final no are those that `PY_API_SAGA["REFUSALS"]` names, such as `["shop.errors.Refused"]`.
    """

    def __init__(self, get_response: Callable[..., Any]) -> None:
        """Take in what the settings name.

        Raises:
            ImproperlyConfigured: They name what is not the class of an exception.
        """
        super().__init__(get_response)
        self._answers = Answers(settled().refusals)

    def process_exception(self, _: Any, exception: Exception) -> Any:
        """Give an answer; nothing for whatever no saga has raised."""
        if not isinstance(exception, SagaError):
            return None
        answer = self._answers.to(exception)
        return JsonResponse(dict(answer.body), status=answer.status, headers=dict(answer.headers))
