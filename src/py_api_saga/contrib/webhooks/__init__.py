"""Answers that come by webhook: what a view of each framework makes of one, and says to its sender.

A saga waits for an answer (`later`), and a service gives it by a request of its own. `saga_webhook`
of the module that is named after a framework makes a view of a function of yours, which tells
whether the request is the service's, and what it answers. The answer is written down, and nothing
more is done in the request, since its sender waits for seconds only: a worker (`saga worker`, or
`recover` from time to time) goes on with the saga.

| the request                                                    | is answered       |
|----------------------------------------------------------------|-------------------|
| answers a call, now or once more                               | 200               |
| is none of ours: the function returns None                     | 204               |
| is not the service's: `NotVerified`                            | 400, 401 or 403   |
| is longer than `max_body`                                      | 413               |
| answers a call that is unknown, or was not started             | 404, logged       |
| answers what was answered otherwise, or is purged              | 200, logged       |
| can't be written down: `JournalError`                          | 503, logged       |
| has the function give or raise anything else                   | by the framework  |

Whatever is not a success is sent again, by most services for hours or days. So a 404 is right for a
call that is not there *yet*, and a success would lose it for good; while of two answers to one call
the second can be used by nobody, however often it comes: it is for a person, in the log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from py_api_saga.durable.answering import aanswer, answer
from py_api_saga.exceptions import JournalError, SagaConflict, SagaDefinitionError, refused
from py_api_saga.journal.protocol import Journal
from py_api_saga.log import complain
from py_api_saga.status import MISSING

__all__ = ["MAX_BODY", "NotVerified", "Verified"]

MAX_BODY: Final = 1 << 20  # bytes
_REFUSALS = (400, 401, 403)


class Verified:
    """What a webhook says, once it is known whose it is: the arguments of `py_api_saga.answer`.

    Attributes:
        key: The idempotency key of the call.
        result: What the call returns.
        error: Or why it failed.
    """

    __slots__ = ("error", "key", "result")

    def __init__(
        self, key: str, *, result: object = MISSING, error: Exception | None = None
    ) -> None:
        """Take the answer to one call: either `result` or `error`.

        Args:
            key: The idempotency key of the call, as the service was given it.
            result: What the call returns. The id of what was made, rather than the whole message:
                that differs from delivery to delivery, and would be another answer.
            error: Instead: why it failed, for good.
        """
        self.key, self.result, self.error = key, result, error


class NotVerified(Exception):
    """The request is not from whom it should be; nothing was written down."""

    def __init__(self, why: str = "", *, status: int = 403) -> None:
        """Refuse it.

        Args:
            why: For the log; the sender is not told.
            status: 400, 401 or 403.

        Raises:
            ValueError: `status` is another one.
        """
        super().__init__(why)
        if status not in _REFUSALS:
            message = f"NotVerified: status: expected one of {_REFUSALS}, got {status!r}"
            raise ValueError(message)
        self.status = status


class Reply(NamedTuple):
    """What to answer.

    Attributes:
        status: The number of the status.
        body: What to send as JSON; None for nothing.
    """

    status: int
    body: Mapping[str, str] | None


TOO_LONG: Final = Reply(413, {"error": "this is too long"})
_NONE_OF_OURS: Final = Reply(204, None)
_RECORDED: Final = Reply(200, {"status": "recorded"})


def check_size(max_body: object) -> int:
    """Refuse what is not a number of bytes.

    Raises:
        SagaDefinitionError: It is not, or is less than 1.
    """
    if not isinstance(max_body, int) or isinstance(max_body, bool):
        raise refused("saga_webhook: max_body", "a number of bytes", max_body)
    if max_body < 1:
        message = f"saga_webhook: max_body: expected at least 1 byte, got {max_body}"
        raise SagaDefinitionError(message)
    return max_body


def receive(verify: Callable[[], object], journal: Callable[[], Journal]) -> Reply:
    """Write down what a request answers, and say what its sender is to be told."""
    try:
        told = _checked(verify())
    except NotVerified as error:
        return _not_verified(error)
    if told is None:
        return _NONE_OF_OURS
    where = journal()
    try:
        answer(where, told.key, result=told.result, error=told.error, go_on=False)
    except (LookupError, SagaConflict, JournalError) as error:
        return _not_used(error)
    return _RECORDED


async def areceive(
    verify: Callable[[], Awaitable[object]], journal: Callable[[], Journal]
) -> Reply:
    """Do the same where a loop runs, which nothing of it holds up."""
    try:
        told = _checked(await verify())
    except NotVerified as error:
        return _not_verified(error)
    if told is None:
        return _NONE_OF_OURS
    where = journal()
    try:
        await aanswer(where, told.key, result=told.result, error=told.error, go_on=False)
    except (LookupError, SagaConflict, JournalError) as error:
        return _not_used(error)
    return _RECORDED


def _checked(told: object) -> Verified | None:
    if told is None or isinstance(told, Verified):
        return told
    got = type(told).__name__
    message = f"saga_webhook: what the function returns: expected Verified(…) or None, got {got}"
    raise SagaDefinitionError(message)


def _not_verified(error: NotVerified) -> Reply:
    complain("webhook: answered %d: %s", error.status, error)
    return Reply(error.status, {"error": "this is not verified"})


def _not_used(error: Exception) -> Reply:
    if isinstance(error, LookupError):
        complain("webhook: answered 404: %s", error)
        return Reply(404, {"error": "this answers nothing that is known"})
    if isinstance(error, SagaConflict):
        complain("webhook: answered 200, and not used: a person must look", error=error)
        return Reply(200, {"status": "not used: it was answered before"})
    complain("webhook: answered 503: it is to come again", error=error)
    return Reply(503, {"error": "this could not be recorded"})
