"""Requests that are received once, however often they come, in the transaction of the effect."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias, TypeVar

from py_api_saga import clock
from py_api_saga.contrib.barrier import table
from py_api_saga.contrib.barrier.connections import (
    Hands,
    Savepoint,
    hands_of,
    is_awaited,
    is_away,
    is_busy,
    unknown,
)
from py_api_saga.contrib.barrier.table import DAY, MAX_KEY, UNDONE, Kept, first_of, own, tombstone
from py_api_saga.contrib.headers import ACTION, ANSWER, KEY, REPLAY, SINCE, UNDOES

JSON: TypeAlias = Any  # what json.dumps takes
T = TypeVar("T")

FINAL = {ANSWER: "final"}

_LOWEST, _REFUSES, _FAILS, _HIGHEST = 200, 300, 500, 599
# Another try may be answered otherwise, so that nothing is kept.
_PASSING = frozenset({401, 403, 408, 423, 425, 429})
AWAY = "the database is not there, or has no room"
_NOTHING = {"undone": "nothing"}
_ISOLATION = frozenset({"", "read committed"})


class Headers(Protocol):
    """The headers of a request, as a framework has them: names are found in any case."""

    def get(self, name: str, /) -> str | None:
        """Give one of them."""


class Refused(Exception):
    """The barrier answers for itself, and the effect must not be made: roll back, and send this.

    Attributes:
        status: Of the answer: 400, 409, 410, 422 or 503; or what was answered and is not kept.
        body: Of the answer, to be sent as JSON.
        headers: Of the answer, by name; those of the application are not among them.
    """

    def __init__(self, status: int, body: JSON, headers: Mapping[str, str] | None = None) -> None:
        """Answer so."""
        why = body.get("error") if isinstance(body, dict) else None
        super().__init__(f"{status}: {why}" if isinstance(why, str) else f"{status}")
        self.status, self.body, self.headers = status, body, dict(headers or {})


class NotKept(Refused):
    """What was answered is not kept, so that another try is a first one: roll back, and send it.

    It is a 5xx, or one of 401, 403, 408, 423, 425 and 429.
    """


def _refused(status: int, why: str, **headers: str) -> Refused:
    return Refused(status, {"error": why}, {n.replace("_", "-"): v for n, v in headers.items()})


def fingerprint(method: str, path: str, body: bytes) -> str:
    """Give what tells one request from another that comes under the same key.

    Args:
        method: Of the request, such as "POST".
        path: Of the request, with its query if it has one.
        body: Of the request; leave out what differs in a repetition, such as a time of sending.

    Returns:
        64 characters.
    """
    parts = (method.upper().encode(), path.encode(), body)
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def said(headers: Headers) -> dict[str, str | None]:
    """Give what the headers of a request say, as keyword arguments for `received`.

    Args:
        headers: Of the request, as a framework has them: names are found in any case.
    """
    return {
        "key": _unquoted(headers.get(KEY)) or "",
        "undoes": _unquoted(headers.get(UNDOES)),
        "action": _unquoted(headers.get(ACTION)),
        "since": headers.get(SINCE),
    }


def _unquoted(text: str | None) -> str | None:
    """Give what is in quotes, as the draft of the IETF has it, or the text itself."""
    if text is not None and len(text) > 1 and text[0] == text[-1] == '"':
        return re.sub(r'\\(["\\])', r"\1", text[1:-1])
    return text


class Request:
    """A request that is being received: what `received` gives.

    Attributes:
        known: The first answer, `(status, body)`, if it was answered before or there is nothing to
            undo: send it, and make no effect. Else None. Of an answer that was purged the body is
            None.
        headers: What is to be sent along with the answer, by name; complete once the block is left.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.known: tuple[int, JSON] | None = None
        self.headers: dict[str, str] = {}
        self.status: int | None = None
        self.body: JSON = None

    def answer(self, status: int, body: JSON) -> tuple[int, JSON]:
        """Say what is answered; it is kept when the block is left.

        A 3xx or 4xx is kept and the effect of the block is taken back, but for 401, 403, 408, 423,
        425 and 429, which are not kept, as a 5xx is not: these raise `NotKept` when the block is
        left.

        Args:
            status: From 200 to 599.
            body: What `json.dumps` takes, which is what a repetition is answered with.

        Returns:
            Both.

        Raises:
            ValueError: There is no such status.
            TypeError: The body is not JSON.
        """
        if not _LOWEST <= status <= _HIGHEST:
            message = f"answer: expected a status from 200 to 599, got {status}"
            raise ValueError(message)
        try:
            json.dumps(body, allow_nan=False)
        except (TypeError, ValueError):  # without what it says, which may hold the body
            message = f"answer: expected what JSON has, got a {type(body).__name__} that is not so"
            raise TypeError(message) from None
        self.status, self.body = status, body
        return status, body


class Received:
    """A context manager, also an asynchronous one: what `received` makes."""

    def __init__(
        self,
        connection: Any,
        key: str,
        print_: str,
        undoes: str | None,
        action: str | None,
        since: str | datetime | None,
    ) -> None:
        """Receive a request in the transaction of a connection; nothing is asked yet."""
        self._connection = connection
        self._key, self._print = key or "", print_
        self._undoes, self._action, self._since = undoes, action, since
        self._request = Request()
        self._savepoint: Savepoint | None = None

    def __enter__(self) -> Request:
        """Look what is known of it.

        Raises:
            Refused: The effect must not be made; see `received`.
        """
        if is_awaited(self._connection):
            message = "this connection is one to await: write `async with barrier.received(…)`"
            raise TypeError(message)
        return self._begin(self._connection)

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Keep the answer, or take the effect back if the block has raised."""
        self._end(error)

    async def __aenter__(self) -> Request:
        """Do the same on a connection that is to be awaited."""
        if not hasattr(self._connection, "run_sync"):
            raise unknown(self._connection)
        try:
            return await self._connection.run_sync(self._begin)  # type: ignore[no-any-return]
        except BaseException as error:
            if self._savepoint is not None:  # cancelled while a thread has begun it
                await self.__aexit__(None, error, None)
            raise

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Do the same on a connection that is to be awaited."""
        await self._connection.run_sync(lambda _: self._end(error))

    # --- the beginning ---------------------------------------------------------------------------

    def _begin(self, connection: Any) -> Request:
        self._check()
        return unless_away(self._look, connection)

    def _check(self) -> None:
        """Refuse keys that are none."""
        if not self._key:
            raise _refused(400, f"{KEY} is missing")
        for name, key in ((KEY, self._key), (UNDOES, self._undoes), (ACTION, self._action)):
            if key is not None and len(key) > MAX_KEY:
                raise _refused(400, f"{name} is longer than {MAX_KEY} characters")
            if key is not None and (not key.isprintable() or key != key.strip() or not key):
                raise _refused(400, f"{name} is empty, or has characters that no key has")
        self._moment = _read_moment(self._since)

    def _look(self, connection: Any) -> Request:
        hands = self._hands = hands_of(connection)
        hands.check()
        self._lock(hands)
        if (kept := table.find(hands, self._key)) is not None:
            if kept.fingerprint != self._print:
                raise _refused(422, f"this {KEY} was used for another request")
            return self._replayed(kept)
        if self._undoes is not None:
            if not self._is_to_be_undone(hands, self._undoes):
                return self._request
        elif table.find(hands, tombstone(self._action or self._key)) is not None:
            raise _refused(UNDONE, "this was undone before it came", Saga_Answer="final")
        self._savepoint = hands.savepoint()
        return self._request

    def _lock(self, hands: Hands) -> None:
        """Have the key, and its action, alone; requests of one action do not exclude each other."""
        action = self._undoes if self._undoes is not None else self._action or self._key
        locks = [(f"key {self._key}", False), (f"action {action}", self._undoes is None)]
        try:
            isolation = table.lock(hands, locks)
        except table.InFlightError:
            raise _refused(409, "a request with this key is being answered") from None
        except Exception as error:
            if is_busy(error):
                raise _refused(409, "another request is being answered") from error
            raise
        if isolation not in _ISOLATION:
            message = (
                "the barrier: expected a transaction at READ COMMITTED, which sees what was "
                f"committed before it has its locks; got {isolation.upper()}"
            )
            raise RuntimeError(message)

    def _replayed(self, kept: Kept) -> Request:
        body = None if kept.answer is None else json.loads(kept.answer)
        self._request.known = kept.status, body
        self._request.headers = {**FINAL, REPLAY: "true"}
        return self._request

    def _is_to_be_undone(self, hands: Hands, action: str) -> bool:
        """Tell whether there is something to undo; if there is not, the answer is known."""
        before = table.find_done(hands, self._own_action)
        if before is not None:  # under the key of an earlier generation
            self._replayed(before)
            return False
        is_done = table.find_done(hands, action) is not None
        if not is_done and table.may_be_forgotten(hands, self._moment):
            raise _refused(409, "this may have been so long ago that nobody remembers it")
        # From now on nothing of that action may come any more, whatever the undo is answered.
        table.add_if_missing(hands, tombstone(action), "", Kept("-", UNDONE, None))
        if not is_done:
            self._request.known = 200, _NOTHING
            self._keep(hands, 200, _NOTHING)
        return is_done

    @property
    def _own_action(self) -> str:
        """What the row belongs to: an action, or the undo of one, in whatever generation."""
        if self._undoes is None:
            return self._action or self._key
        return own("undo", first_of(self._key))

    # --- the end ---------------------------------------------------------------------------------

    def _end(self, error: BaseException | None) -> None:
        savepoint, request = self._savepoint, self._request
        if savepoint is None:
            return
        if error is not None:
            with suppress(Exception):  # of a connection that is lost; all is rolled back anyhow
                savepoint.undo()
            return
        if request.status is None:
            with suppress(Exception):
                savepoint.undo()
            message = "the block has given no answer: call request.answer(status, body) in it"
            raise RuntimeError(message)
        unless_away(self._settle, savepoint, request.status, request.body)

    def _settle(self, savepoint: Savepoint, status: int, body: JSON) -> None:
        if status < _REFUSES:
            savepoint.keep()
        else:
            savepoint.undo()
        if status >= _FAILS or status in _PASSING:
            raise NotKept(status, body)
        self._keep(self._hands, status, body)

    def _keep(self, hands: Hands, status: int, body: JSON) -> None:
        kept = Kept(self._print, status, json.dumps(body))
        table.add(hands, self._key, self._own_action, kept)
        self._request.headers = dict(FINAL)


def _read_moment(since: str | datetime | None) -> float | None:
    """Give when an action began, by its caller's clock, if that was said."""
    if since is None:
        return None
    try:
        moment = since if isinstance(since, datetime) else datetime.fromisoformat(since)
    except ValueError:
        raise _refused(400, f"{SINCE} is not a time as ISO 8601 has it") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def unless_away(ask: Callable[..., T], *args: Any) -> T:
    """Ask the database something; if that is away, it is a 503."""
    try:
        return ask(*args)
    except Refused:
        raise
    except Exception as error:
        if is_away(error):
            raise _refused(503, AWAY) from error
        raise


def received(
    connection: Any,
    key: str | None,
    fingerprint: str,
    undoes: str | None = None,
    *,
    action: str | None = None,
    since: str | datetime | None = None,
) -> Received:
    """Receive a request once, in your transaction, which commits the answer with the effect.

    A context manager; with an `AsyncSession` or `AsyncConnection` an asynchronous one. Its block
    makes the effect on the same connection and says `request.answer(status, body)`, unless
    `request.known` says what was answered before. Commit after the block, and roll back whatever
    it raises: `with psycopg.connect(…) as c, received(c, …) as request:` does both.

    Args:
        connection: Of psycopg 3, psycopg2 or sqlite3; a `Session`, `scoped_session`, `Connection`,
            `AsyncSession` or `AsyncConnection` of SQLAlchemy's, to PostgreSQL or SQLite; or an
            alias of Django's, within `atomic`.
        key: The `Idempotency-Key`.
        fingerprint: What tells this request from another one under that key, at most 255
            characters: see `fingerprint`.
        undoes: The `Saga-Undoes`: the request is the undo of that action.
        action: The `Saga-Action`: what the request belongs to; without one, its own key.
        since: The `Saga-Since`: when that action began.

    Raises:
        Refused: As the block is entered: the key is missing or malformed (400), the same request is
            being answered or nobody remembers the action (409), the action was undone before it
            came (410), the key was used for another request (422), the database is away (503).
        NotKept: As it is left: the answer was a 5xx, or a 4xx that passes.
        TypeError: The connection is of no kind that is known.
        RuntimeError: It is in autocommit, or its isolation is not READ COMMITTED; or the block
            gave no answer.
    """
    return Received(connection, key or "", fingerprint, undoes, action, since)


# --- what is forgotten ---------------------------------------------------------------------------


def purge(connection: Any, seconds: float = 7 * DAY) -> int:
    """Clear the answers to requests that are older than so many seconds, in your transaction.

    A repetition of one is still not an effect, and is answered with its status and no body.

    Args:
        connection: As for `received`, but not one to await.
        seconds: How old.

    Returns:
        How many were cleared.
    """
    return table.purge(hands_of(connection), clock.time() - _positive("purge", seconds))


def forget(connection: Any, seconds: float = 400 * DAY) -> int:
    """Forget what is older than so many seconds, in your transaction.

    From then on an undo of what may have been forgotten is answered with 409, and a repetition that
    old would be a new request. So it must never be less than the longest time that a saga of your
    callers may stay open or stuck.

    Args:
        connection: As for `received`, but not one to await.
        seconds: How old.

    Returns:
        How many rows are gone.
    """
    return table.forget(hands_of(connection), clock.time() - _positive("forget", seconds))


def _positive(what: str, seconds: float) -> float:
    if not seconds > 0:
        message = f"{what}: expected more than 0 seconds, got {seconds:g}"
        raise ValueError(message)
    return seconds
