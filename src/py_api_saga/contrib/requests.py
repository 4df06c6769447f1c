"""A session of `requests` that knows the operation it is used in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Unpack

from py_api_saga.contrib.http import Exchange, Rules, TimedOptions, bounded, library
from py_api_saga.evidence import leaves_doubt

if TYPE_CHECKING:
    import requests
    from requests.adapters import BaseAdapter
else:
    requests = library("requests", "requests")

__all__ = ["SagaSession"]

_ASKING = frozenset({401, 407})


class SagaSession(requests.Session):
    """A `requests.Session` that knows the operation it is used in; elsewhere it is a plain one.

    Make one for a module, as with any session; threads may share it. Within an operation

    - each POST, PUT, PATCH and DELETE has the operation's idempotency key, or one derived from it,
      and tells the service which action it belongs to, or which one it undoes;
    - a bad answer raises what `raise_for_status()` raises, and a redirect of one of these methods
      is not followed, but raises as well;
    - an answer or an error after which nobody knows what happened leaves the action in doubt,
      whatever becomes of the error;
    - to connect, and each read, takes no longer than the time that is left for the operation.

    It tries nothing again: that is what `retry=` of the operation is for.

    Args:
        header: In which header the key is sent. One that the caller has set is kept.
        quote: Whether the key is sent in quotes, as RFC 8941 writes a string.
        undoes_header: In which header a compensation says which action it undoes, by the key of
            that; with it `Saga-Since` says when that key was used first. An action says its key in
            `Saga-Action`. None for services that are to be told none of this.
        methods: What may change something, in capital letters.
        gone_is_undone: Whether a 404 or 410 is a success in a compensation.
        conflict: What a 409 means: "in doubt" (an earlier request under that key is in flight), or
            "refused", for services that say no by it.
        raises: Whether a bad answer raises. If not, read the status; in doubt is the action anyway.
        timeout: Seconds to connect and between two reads where a call gives none; one number is for
            both, None for no limit.

    Raises:
        ValueError: An option can't be meant.
    """

    __attrs__ = (*requests.Session.__attrs__, "saga")  # what is in a pickle
    _sends: Callable[..., requests.Response] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; what a test puts in the place of `send` is below the rules.

        So does `requests_mock.Mocker(session=…)`, and puts back what it has found.
        """
        if name == "send":
            is_ours = getattr(value, "__func__", None) is type(self).send
            name, value = "_sends", None if is_ours else value
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        """Take an attribute away; of `send`, what a test has put there."""
        super().__delattr__("_sends" if name == "send" else name)

    def __init__(self, **options: Unpack[TimedOptions]) -> None:
        self.saga = Rules(**options)
        super().__init__()

    def mount(self, prefix: str | bytes, adapter: BaseAdapter) -> None:
        """Register an adapter, unless it tries again by itself.

        Raises:
            ValueError: It does: what became of its first try could not be told.
        """
        if _tries_again(getattr(adapter, "max_retries", None)):
            raise ValueError(
                "a SagaSession mounts no adapter with max_retries: a second try hides what became "
                "of the first; say retry= of the operation, which tries again under the same key"
            )
        super().mount(prefix, adapter)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a prepared request, as any session does, and judge the answer.

        Raises:
            requests.RequestException: As any session does, and `HTTPError` for a bad answer.
            TwoAtOnce: Another request of the operation is under way, and they have no names.
        """
        sends = self._sends or super().send
        exchange = self.saga.exchange(request.method, request.headers)
        if exchange is None:
            return sends(request, **kwargs)
        with exchange:
            if (late := exchange.too_late()) is not None:
                raise requests.ConnectTimeout(late, request=request)
            timeout = kwargs.get("timeout")
            kwargs["timeout"] = _limits(
                self.saga.timeout if timeout is None else timeout, exchange.remaining()
            )
            if exchange.acts:
                kwargs["allow_redirects"] = False
            request = request.copy()  # which may be sent again, as another one
            request.headers.update(exchange.headers)
            answers: list[requests.Response] = []
            hooks, request.hooks = request.hooks, _before(request.hooks, answers)
            try:
                response = sends(request, **kwargs)
            except Exception as error:
                if answers and not leaves_doubt(error):  # a hook has raised it
                    exchange.answered(answers[0].status_code, answers[0].headers)
                else:
                    exchange.failed(error)
                raise
            finally:
                request.hooks = hooks  # ours can't be pickled, and an answer has its request
            is_bad = exchange.answered(response.status_code, response.headers)
        if is_bad:
            raise _bad(response, exchange)
        return response


def _bad(response: requests.Response, exchange: Exchange) -> requests.HTTPError:
    """Make what says that an answer is bad, as `raise_for_status()` does."""
    with suppress(Exception):  # so that the connection is free again, and the body can be read
        response.content  # noqa: B018 - reading it is the point
    status = response.status_code
    try:
        response.raise_for_status()
    except requests.HTTPError as bad:
        error = bad
    else:
        message = f"{status} {response.reason}: the redirect of a {exchange.method} is not followed"
        error = requests.HTTPError(message, response=response)
    error.__traceback__ = None  # which knows this frame, and that the error
    labelled: requests.HTTPError = exchange.labelled(error, status)
    return labelled


def _before(hooks: Any, answers: list[requests.Response]) -> Any:
    """Give the hooks of a request, with one before them that notes its answer.

    But for one that asks for credentials: a hook may send the request with these.
    """

    def note(response: requests.Response, **_: object) -> None:
        if response.status_code not in _ASKING:
            answers.append(response)

    return {**hooks, "response": [note, *hooks.get("response", ())]}


def _limits(timeout: Any, left: float | None) -> Any:
    """Bound a timeout, of whichever form, by what is left."""
    if left is None:
        return timeout
    if isinstance(timeout, tuple):
        return tuple(bounded(limit, left) for limit in timeout)
    if hasattr(timeout, "clone"):  # urllib3's, whose total bounds the others
        timeout = timeout.clone()
        timeout.total = bounded(timeout.total, left)
        return timeout
    return bounded(timeout, left)


def _tries_again(retries: Any) -> bool:
    """Tell whether urllib3 would send a request more than once."""
    total = getattr(retries, "total", retries)
    if total is None:
        kinds = ("connect", "read", "redirect", "status", "other")
        return any((getattr(retries, kind, None) or 0) > 0 for kind in kinds)
    return int(total) > 0
