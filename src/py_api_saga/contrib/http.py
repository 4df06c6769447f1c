"""What HTTP clients have in common that know the operation they are used in.

The clients are in modules of their own: `requests`, `httpx`, `aiohttp`. What an answer means is the
same for all of them, and for errors of plain clients, since it is decided in one place:
`known_errors`. Here it is said which key a request has, what else it tells its service, when a note
of it is struck out, and what is worth another attempt.

| answer | outcome | `transient` tries again |
|---|---|---|
| 2xx | happened | |
| 3xx, which is not followed | in doubt | no |
| 404, 410 in a compensation, with `gone_is_undone=True` | undone | |
| 408 | in doubt | yes, as 429 |
| 409 to a request with a key, without `Saga-Answer: final` | in doubt | yes |
| 425, 429 | not happened | yes, after `Retry-After` |
| any other 4xx | not happened | no |
| 501, 505, 506, 508, 510, 511 | not happened | no |
| any other 5xx | in doubt | yes |
| no connection | not happened | yes |
| no answer, or half of one | in doubt | yes, under the same key |

What is *in doubt* stays a note of the attempt (`current_operation().sending()`): whatever error it
ends with, the action may have happened.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar, Final, Literal, Self, TypeAlias, TypedDict
from urllib.parse import quote as percent_encoded

from py_api_saga import clock
from py_api_saga.contrib.headers import ACTION as _ACTION
from py_api_saga.contrib.headers import SINCE as _SINCE
from py_api_saga.current import current
from py_api_saga.entries import ACTION, ASK, COMPENSATION, index_of
from py_api_saga.error_details import (
    ALONE,
    details,
    header_of,
    is_garbled,
    is_left_open,
    members_of,
    outcome_of,
    status_of,
)
from py_api_saga.evidence import leaves_doubt, links_of
from py_api_saga.executors.running import Notes, Request, Running
from py_api_saga.kinds import lineage, name_of
from py_api_saga.known_errors import (
    ANSWER,
    CONFLICT,
    FINAL,
    REDIRECTS,
    REFUSALS,
    SENT,
    UNSENT,
    WRAPPER,
    hopeless_names,
    known_of,
    leaves_open,
    may_pass,
)
from py_api_saga.process import OwnLock
from py_api_saga.retry import Retry

__all__ = ["TwoAtOnce", "gently", "request_name", "transient"]  # what a journal may name

Timeout: TypeAlias = "tuple[float, float] | float | None"
Conflict: TypeAlias = Literal["in doubt", "refused"]
METHODS: Final = ("POST", "PUT", "PATCH", "DELETE")
TIMEOUT: Final = (5.0, 20.0)  # seconds, to connect and between two reads
MAX_KEY = 255  # characters

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
_OURS = re.compile(r"(.*)(:(?:action|compensation))(:\d{1,9})?(;.*)?")  # a key, with its generation
_GENERATION = 10  # characters
_GONE = frozenset({404, 410})
_LONGEST = 86_400.0  # seconds; a `Retry-After` beyond a day is not one
_numbering = OwnLock()


def library(name: str, extra: str) -> ModuleType:
    """Import what a client needs.

    Raises:
        ImportError: It is not installed; says how to.
    """
    try:
        return import_module(name)
    except ImportError as error:
        message = f"it needs {name}: pip install 'py-api-saga[{extra}]' ({error})"
        raise ImportError(message) from error


# --- which request of the operation it is ---------------------------------------------------------


class TwoAtOnce(RuntimeError):
    """Two requests of one operation are under way at once, and nothing tells which is which.

    So neither could have the same key in every attempt. Give each a name, by `request_name`. The
    action is in doubt: the first one is under way.
    """

    saga_outcome = "in doubt"


_named: ContextVar[str] = ContextVar("py_api_saga_request_name", default="")


@contextmanager
def request_name(name: str) -> Iterator[None]:
    """Name the requests that are sent in a `with` block: needed for those that are made at once.

    Requests of one operation that follow each other are numbered, which gives the n-th the same key
    in every attempt. Of several that are under way together nobody knows which is the n-th, so each
    needs a name, by what it is about: `with request_name("seat-12"):` gives the key `…;seat-12`.

    The name holds in this context, and so in the tasks and threads that it is copied to.

    Args:
        name: Different from those of the operation's other requests, and the same in each attempt.
            Printable ASCII, without `;`, and not a number.

    Raises:
        ValueError: It is not such a name.
    """
    given: object = name  # whatever a caller without a type checker has given
    if not isinstance(given, str) or not re.fullmatch(r"[!-:<-~](?:[ -:<-~]*[!-:<-~])?", given):
        raise ValueError(f"request_name: expected printable ASCII without ';', got {name!r}")
    if name.isdecimal():
        raise ValueError(f"request_name: {name!r} is what a number in sequence looks like")
    token = _named.set(name)
    try:
        yield
    finally:
        _named.reset(token)


def fit(key: str) -> str:
    """Make of a key what a header can hold, of at most 255 characters; another one of another key.

    Any that is printable ASCII without a percent sign stays as it is. Of one that is too long the
    end stays that tells its generation, by which a service knows the undo that it has made before.
    """
    if not key.isascii() or not key.isprintable() or "%" in key or key != key.strip():
        key = percent_encoded(key, safe="!#$&'()*+,/:;=?@[]")
    ours = _OURS.fullmatch(key)
    begin, kind, generation, name = ours.groups("") if ours else (key, "", "", "")
    if len(key) - len(generation) > MAX_KEY - (_GENERATION if ours else 0):  # the same in each
        digest = hashlib.sha256(f"{begin} {name}".encode()).hexdigest()[:32]
        room = MAX_KEY - len(f";{digest}{kind}") - _GENERATION
        key = f"{begin[:room]};{digest}{kind}{generation}"
    return key


def _as_string(key: str) -> str:
    """Write a key as a string of structured fields: RFC 8941, 3.3.3."""
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


# --- the rules of a client, and one request under them --------------------------------------------


class Options(TypedDict, total=False):
    """What each client may be given by name; see `SagaSession`."""

    header: str
    quote: bool
    undoes_header: str | None
    methods: Collection[str]
    gone_is_undone: bool
    conflict: Conflict
    raises: bool


class TimedOptions(Options, total=False):
    """The same for a client that does not know limits of its own."""

    timeout: Timeout


class Rules:
    """The options of a client.

    Raises:
        ValueError: One of them can't be meant.
    """

    OPTIONS: ClassVar = (
        "header", "quote", "undoes_header", "methods", "gone_is_undone", "conflict", "raises",
        "timeout",
    )  # fmt: skip
    __slots__ = OPTIONS

    def __init__(
        self,
        *,
        header: str = "Idempotency-Key",
        quote: bool = False,
        undoes_header: str | None = "Saga-Undoes",
        methods: Collection[str] = METHODS,
        gone_is_undone: bool = False,
        conflict: Conflict = "in doubt",
        raises: bool = True,
        timeout: Timeout = TIMEOUT,
    ) -> None:
        self.header = _header("header", header)
        self.undoes_header = None
        if undoes_header is not None:
            self.undoes_header = _header("undoes_header", undoes_header)
        taken = {self.header.lower(), (self.undoes_header or "").lower()}
        if len(taken) < 2 or taken & {_ACTION.lower(), _SINCE.lower()}:  # noqa: PLR2004 - both
            raise ValueError(
                f"header, undoes_header: expected two names, and neither {_ACTION} nor {_SINCE}, "
                f"got {self.header!r} and {self.undoes_header!r}"
            )
        if isinstance(methods, str) or not methods or not all(map(_is_method, methods)):
            raise ValueError('methods: expected names of methods, as ("POST", "PUT")')
        self.methods = frozenset(methods)
        if conflict not in ("in doubt", "refused"):
            raise ValueError(f'conflict: expected "in doubt" or "refused", got {conflict!r}')
        self.conflict = conflict
        self.quote = _flag("quote", quote)
        self.gone_is_undone = _flag("gone_is_undone", gone_is_undone)
        self.raises = _flag("raises", raises)
        self.timeout = _timeout(timeout)

    def __getstate__(self) -> dict[str, Any]:
        """Give the options."""
        return {name: getattr(self, name) for name in Rules.OPTIONS}

    def __setstate__(self, options: dict[str, Any]) -> None:
        """Take them again."""
        for name, value in options.items():
            setattr(self, name, value)

    def exchange(self, method: str | None, headers: Mapping[str, Any]) -> Exchange | None:
        """Begin a request of the operation that is running; None if none is.

        Args:
            method: Of the request.
            headers: Those that the caller has set; of any case.
        """
        found = current.get()
        if found is None:
            return None
        make, *parts = found
        operation = make(*parts)
        assert isinstance(operation, Running)  # noqa: S101 - all that make one make this
        return Exchange(self, operation, (method or "").upper(), headers)


def _header(where: str, name: object) -> str:
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise ValueError(f"{where}: expected the name of a header, got {name!r}")
    return name


def _is_method(name: object) -> bool:
    return isinstance(name, str) and name.isascii() and name.isalpha() and name.isupper()


def _flag(where: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{where}: expected True or False, got {type(value).__name__}")  # noqa: TRY004
    return value


def _timeout(value: object) -> tuple[float | None, float | None]:
    """Read seconds to connect and between two reads; None does not limit."""
    both = value if isinstance(value, tuple) else (value, value)
    for one in both:
        is_number = isinstance(one, (int, float)) and not isinstance(one, bool)
        if one is not None and not (is_number and 0 < one < math.inf):
            raise ValueError(f"timeout: expected seconds, more than 0, or None, got {one!r}")
    if len(both) != 2:  # noqa: PLR2004 - to connect, to read
        raise ValueError("timeout: expected seconds to connect and between two reads")
    connect, read = both
    return connect, read


class Exchange:
    """One request of an operation, from before it is sent until its answer is judged.

    A context manager around the time in which it is under way: in it the request is noted, and has
    its key.

    Attributes:
        method: Of the request.
        headers: To be set, by name; none that the caller has set.
        number: Which of its attempt's requests of its name it is, from 1; 0 as long as it has no
            key of ours. What is sent once more is to be given its number before.
        was_refused: Nothing has happened, as its answer or an error says.
    """

    __slots__ = (
        "_given", "_name", "_notes", "_operation", "_request", "_rules", "headers", "method",
        "number", "was_refused",
    )  # fmt: skip

    def __init__(
        self,
        rules: Rules,
        operation: Running,
        method: str,
        given: Mapping[str, Any],
    ) -> None:
        """Begin a request whose caller has given it these headers."""
        self._rules, self._operation, self._given = rules, operation, given
        self.method, self.number = method, 0
        self.headers: dict[str, str] = {}
        self._name: str | None = None
        self._request: Request | None = None
        self.was_refused = False
        self._notes = operation.run.notes_of(operation.intent) if self.acts else None

    def __enter__(self) -> Self:
        """Note it, and number it if it needs a key.

        Raises:
            TwoAtOnce: Another one of its name is under way.
        """
        if self._notes is None:
            return self
        given = self._given
        if self._rules.header not in given:
            self._count(self._notes)
            self.headers[self._rules.header] = self.key
        self.headers |= {name: value for name, value in self._told() if name not in given}
        self._request = self._operation.sending()
        self._request.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._name is not None and self._notes is not None:
            with _numbering.own:
                self._notes.under_way.discard(self._name)

    def is_beside(self, other: Exchange) -> bool:
        """Tell whether another one is of the same attempt."""
        return self._notes is not None and self._notes is other._notes

    @property
    def acts(self) -> bool:
        """Whether the request may change something: it is not a question, nor of a safe method."""
        return self.method in self._rules.methods and self._operation.direction != ASK

    @property
    def key(self) -> str:
        """The key under which it is sent, as its header has it."""
        parts = [self._operation.idempotency_key, self._name or ""]
        parts += [str(self.number)] * (self.number > 1)
        key = fit(";".join(part for part in parts if part))
        return _as_string(key) if self._rules.quote else key

    def _count(self, notes: Notes) -> None:
        name = _named.get()
        with _numbering.own:
            if name in notes.under_way:
                raise TwoAtOnce(
                    f"two requests of operation {self._operation.operation!r} are under way at "
                    'once: give each a name, by `with request_name("…"):`, so that it has the same '
                    "key in every attempt"
                )
            notes.under_way.add(name)
            self._name = name
            if not self.number:
                self.number = notes.numbers[name] = notes.numbers.get(name, 0) + 1

    def _told(self) -> Iterator[tuple[str, str]]:
        """Give what the service is told besides: which action it is, or which one it undoes."""
        operation, undoes = self._operation, self._rules.undoes_header
        if undoes is None:
            return
        key, since = operation.run.origin(index_of(operation.intent))
        key = fit(key)
        if operation.direction == ACTION:
            yield _ACTION, key
        else:
            yield undoes, key
            at = datetime.fromtimestamp(since, UTC).isoformat(timespec="milliseconds")
            yield _SINCE, at.replace("+00:00", "Z")

    # --- time -------------------------------------------------------------------------------------

    def remaining(self) -> float | None:
        """Give the seconds that are left for the operation; None if nothing limits it."""
        return self._operation.remaining()

    def too_late(self) -> str | None:
        """Say, if so, that no time is left for the request, which is not sent then."""
        left = self.remaining()
        if left is None or left > 0:
            return None
        self._strike()
        return f"no time is left for operation {self._operation.operation!r}: nothing was sent"

    # --- what came of it --------------------------------------------------------------------------

    def failed(self, error: Exception) -> None:
        """Note that there is no answer, but an error: strikes the note out if nothing was sent.

        An error of which nothing is known may have been raised once the answer had come, by a hook.
        """
        if _is_known(error) and not leaves_doubt(error):
            self._strike()

    def answered(self, status: int, headers: Mapping[str, Any]) -> bool:
        """Note an answer, and tell whether the client is to raise what it has for a bad one.

        Args:
            status: Of the answer.
            headers: Of the answer; of any case.
        """
        rules, direction = self._rules, self._operation.direction
        if status in _GONE and (
            direction == ASK or (rules.gone_is_undone and direction == COMPENSATION)
        ):
            return False
        if not self.acts:
            return rules.raises and status >= REFUSALS
        if status < REDIRECTS:
            return False
        if not self.is_open(status, headers):
            self._strike()
        return rules.raises

    def is_open(self, status: int, headers: Mapping[str, Any]) -> bool:
        """Tell whether an answer leaves open whether what was asked for has happened."""
        if self.is_overruled(status):
            return False
        header, word = FINAL
        final = str(headers.get(header, "")).strip().lower() == word
        return leaves_open(status, self.method, keyed=True, final=final)

    def is_overruled(self, status: int) -> bool:
        """Tell whether an answer means by an option of the client what it would not mean else."""
        return status == CONFLICT and self._rules.conflict == "refused"

    def labelled(self, error: Any, status: int) -> Any:
        """Give an error that says itself what it means, if that is not what its status says."""
        if self.is_overruled(status):
            error.saga_outcome = "not happened"
        return error

    def _strike(self) -> None:
        self.was_refused = True
        if self._request is not None:
            self._request.refused()


def _is_known(error: BaseException) -> bool:
    """Tell whether something is known of an error, or of one below it."""
    return any(
        details(link, ALONE)[0] is not None or outcome_of(link) is not None
        for link in links_of(error)
    )


def bounded(limit: float | None, left: float | None) -> float | None:
    """Give the lesser of two limits, in seconds, and more than 0; None if there is none."""
    limits = [one for one in (limit, left) if one is not None]
    return max(min(limits), 0.001) if limits else None


# --- what is worth another attempt ----------------------------------------------------------------


def transient(error: Exception) -> bool | float:
    """Tell whether another attempt may do better: for `Retry(transient)`.

    For errors of requests, httpx, httpx2, urllib3, aiohttp and the standard library, also below
    errors of your own (`raise PaymentError from error`), whether a session of ours or a plain
    client has raised them. `Retry.timeout` bounds it, and what the service wants to be waited for.

    Args:
        error: What a call has raised. Of a group each member counts.

    Returns:
        True for a connection that could not be made, a reply that was lost, and the answers 408,
        425, 429, most 5xx, and 409 to a request with a key; for an answer with `Retry-After` the
        seconds that it says. False for all else.
    """
    if isinstance(error, ExceptionGroup):
        answers = [isinstance(one, Exception) and transient(one) for one in members_of(error)]
        return max(answers) if all(answer is not False for answer in answers) else False
    for link in links_of(error):
        if isinstance(link, TwoAtOnce):
            return False
        answer = _is_passing(link)
        if answer is not None:
            return answer
    return any(known_of(link)[0] is WRAPPER for link in links_of(error))


def _is_passing(link: BaseException) -> bool | float | None:
    """Tell of an error, or one below it, whether another attempt may do better; None if unknown."""
    kind, _, _ = details(link, ALONE)
    _, name, _ = known_of(link)
    if kind is ANSWER and (status := status_of(link, name)) is not None:
        if outcome_of(link) is False:
            return False
        if is_garbled(link):
            return True
        is_open = is_left_open(link, name, status)
        return may_pass(status, is_open=is_open) and (retry_after(link) or True)
    if kind in (SENT, UNSENT, ANSWER):
        return not any(name_of(base) in hopeless_names() for base in lineage(type(link)))
    return None


def retry_after(error: BaseException) -> float | None:
    """Give the seconds that an answer wants to be waited for; None if it says none that make sense.

    A date is taken by the clock of whoever says it, if the answer has a `Date`.
    """
    value = header_of(error, "Retry-After").strip()
    seconds: float | None = None
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
        seconds = float(value)
    elif (then := _date(value)) is not None:
        now = _date(header_of(error, "Date"))
        seconds = then - (clock.time() if now is None else now)
    return seconds if seconds is not None and 0 < seconds <= _LONGEST else None


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


# Five attempts within a minute. Others: `copy.replace(gently, …)`, or `Retry(transient, …)`.
gently = Retry(transient, attempts=5, timeout=60.0, wait_initial=0.2, wait_max=10.0)
