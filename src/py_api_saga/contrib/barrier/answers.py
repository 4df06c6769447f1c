"""What the decorators for views share: to receive a request in a transaction of their own."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

from py_api_saga.contrib.barrier.connections import is_away
from py_api_saga.contrib.barrier.opening import AOpened, Opened
from py_api_saga.contrib.barrier.receiving import (
    AWAY,
    JSON,
    Headers,
    NotKept,
    Received,
    Refused,
    fingerprint,
    said,
)

_HTTP = "$http"  # begins what is kept of a whole answer
# Of one answer alone, or of one connection.
_PASSING = frozenset(
    {
        *("connection", "content-length", "date", "keep-alive"),
        *("server", "set-cookie", "transfer-encoding"),
    }
)


class Delivery(NamedTuple):
    """What a request says, and what tells it from others under its key."""

    said: Mapping[str, str | None]
    fingerprint: str

    def received(self, connection: Any) -> Received:
        """Receive it in a transaction."""
        said = self.said
        return Received(
            connection,
            said["key"] or "",
            self.fingerprint,
            said["undoes"],
            said["action"],
            said["since"],
        )


def delivery(headers: Headers, method: str, path: str, body: bytes) -> Delivery:
    """Read a request; the path with its query."""
    return Delivery(said(headers), fingerprint(method, path, body))


class Answer(NamedTuple):
    """What a view has answered.

    Attributes:
        status: Of it.
        kept: What is kept of it.
        own: As its framework has it.
    """

    status: int
    kept: JSON
    own: Any


class Outcome(NamedTuple):
    """What is to be sent.

    Attributes:
        own: What the view has answered just now, as its framework has it, or None.
        status: Of what is sent in its place.
        kept: What was kept of it, or what the barrier says itself.
        headers: What is to be sent along.
    """

    own: Any
    status: int
    kept: JSON
    headers: Mapping[str, str]


class _RaisedError(Exception):
    """A view has raised something, which is not the database's."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def lasting(headers: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Give the headers that a repetition has as well."""
    return [[name, value] for name, value in headers if name.lower() not in _PASSING]


def packed(headers: Iterable[tuple[str, str]], body: bytes) -> JSON:
    """Make JSON of an answer: its headers, and its body as a text or in base64."""
    kept = lasting(headers)
    try:
        return {_HTTP: [kept, body.decode()]}
    except UnicodeDecodeError:
        return {_HTTP: [kept, None, b64encode(body).decode()]}


def unpacked(kept: JSON) -> tuple[list[tuple[str, str]], bytes] | None:
    """Give the headers and the body of an answer of a view; None if the barrier made it itself."""
    if kept is None:  # purged
        return [], b""
    if _HTTP not in kept:
        return None
    headers, text, *more = kept[_HTTP]
    body = b64decode(more[0]) if more else text.encode()
    return [(name, value) for name, value in headers], body


# --- in a transaction ----------------------------------------------------------------------------


def attend(
    opening: Callable[[], Opened], asked: Delivery, view: Callable[[tuple[Any, ...]], Answer]
) -> Outcome:
    """Receive a request in a transaction of ours.

    Args:
        opening: Opens one.
        asked: The request.
        view: Makes the effect; is given what was opened.

    Raises:
        Exception: What the view has raised.
    """
    answer: list[Answer] = []
    try:
        transaction = opening()
        try:
            with asked.received(transaction.connection) as request:
                if request.known is None:
                    answer.append(_made(view, transaction.given))
                    request.answer(answer[0].status, answer[0].kept)
            transaction.commit()
        except BaseException as error:
            transaction.rollback(error)
            raise
        finally:
            transaction.close()
    except _RaisedError as error:
        raised = error.error
    except Exception as error:
        if (outcome := _told(error, answer)) is None:
            raise
        return outcome
    else:
        return _ended(request.known, request.headers, answer)
    raise raised  # out here, where it is not raised in the handling of ours


def _made(view: Callable[[tuple[Any, ...]], Answer], given: tuple[Any, ...]) -> Answer:
    try:
        return view(given)
    except Exception as error:
        raise _RaisedError(error) from error


async def aattend(
    opening: Callable[[], Awaitable[AOpened]],
    asked: Delivery,
    view: Callable[[tuple[Any, ...]], Awaitable[Answer]],
) -> Outcome:
    """Receive a request in a transaction of ours that is to be awaited; see `attend`."""
    answer: list[Answer] = []
    try:
        transaction = await opening()
        try:
            async with asked.received(transaction.connection) as request:
                if request.known is None:
                    try:
                        answer.append(await view(transaction.given))
                    except Exception as error:
                        raise _RaisedError(error) from error
                    request.answer(answer[0].status, answer[0].kept)
            await transaction.commit()
        except BaseException:
            await transaction.rollback()
            raise
        finally:
            await transaction.close()
    except _RaisedError as error:
        raised = error.error
    except Exception as error:
        if (outcome := _told(error, answer)) is None:
            raise
        return outcome
    else:
        return _ended(request.known, request.headers, answer)
    raise raised


def _ended(
    known: tuple[int, JSON] | None, headers: Mapping[str, str], answer: list[Answer]
) -> Outcome:
    if known is None:
        return Outcome(answer[0].own, answer[0].status, answer[0].kept, headers)
    return Outcome(None, *known, headers)


def _told(error: Exception, answer: list[Answer]) -> Outcome | None:
    """Make an answer of an error of ours or of the database."""
    if isinstance(error, NotKept):
        return Outcome(answer[0].own, error.status, error.body, {})
    if isinstance(error, Refused):
        return Outcome(None, error.status, error.body, error.headers)
    if is_away(error):
        return Outcome(None, 503, {"error": AWAY}, {})
    return None
