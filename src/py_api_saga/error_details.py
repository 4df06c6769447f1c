"""What one error tells by itself: by its class, by what it holds, and by where it was raised.

Its class is looked up in `known_errors`; what is here is for classes of which the name alone does
not tell: the status of an answer, the code of a database. What is decided of a whole chain of
errors is in `evidence`.

The errors are the user's: only what is read by the descriptors of the built-in classes can be
relied on. Any attribute may be missing, of any type, or raise; an interrupt that is raised is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, TypeAlias

from py_api_saga.current import current_operation
from py_api_saga.exceptions import (
    RecordedError,
    SagaDefinitionError,
    SagaError,
    SagaException,
    SagaStuck,
)
from py_api_saga.kinds import lineage, module_of, name_of
from py_api_saga.known_errors import (
    ANSWER,
    CONFLICT,
    CONNECTION,
    DATABASE,
    FINAL,
    INTERRUPT,
    LOST_CODES,
    LOST_NUMBERS,
    LOST_STATES,
    MAIL,
    OWN_STATUS,
    PROCESS,
    REFUSALS,
    RPC,
    SENT,
    STREAM,
    UNSENT,
    WRAPPER,
    known_names,
    known_of,
    leaves_open,
)
from py_api_saga.status import SagaStatus, Status

# Its kind; whether it leaves doubt, None if what is inside decides; the errors that it hides.

Details: TypeAlias = tuple[str | None, bool | None, Sequence[BaseException]]

SAGA = "saga"  # an error of ours, which knows what became of its saga

# How an error stands to the one above it.
ALONE = ""
EXCUSED = "excused"  # below what says that nothing had been sent
TIMED = "timed"  # below a TimeoutError, which asyncio makes of a cancellation

args_of = BaseException.__dict__["args"].__get__
cause_of = BaseException.__dict__["__cause__"].__get__
context_of = BaseException.__dict__["__context__"].__get__
is_suppressed = BaseException.__dict__["__suppress_context__"].__get__
traceback_of = BaseException.__dict__["__traceback__"].__get__
_contents_of = BaseException.__dict__["__dict__"].__get__
members_of = BaseExceptionGroup.__dict__["exceptions"].__get__

_OUTCOMES = {"in doubt": True, "not happened": False}


def read(thing: Any, name: str) -> Any:
    """Read an attribute of an odd object; None if there is none, or reading it fails."""
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - a property may raise anything
        return None


def is_of(thing: object, kind: type | tuple[type, ...]) -> bool:
    """Tell whether a thing is an instance, whatever it says of its class."""
    return issubclass(type(thing), kind)


def outcome_of(error: BaseException) -> bool | None:
    """Tell what an error says by its `saga_outcome`: whether it leaves doubt; None for nothing."""
    said = read(error, "saga_outcome")
    return _OUTCOMES.get(said) if type(said) is str else None


def is_bare(error: BaseException) -> bool:
    """Tell whether an error has nothing that could be read, and is of a class that is not known."""
    return known_of(error)[2] and not _contents_of(error)


def is_plain(error: BaseException, handled: BaseException | None) -> bool:
    """Tell soon of most errors that they tell nothing: of a class that is not known, and alone."""
    _, _, is_plainly_read = known_of(error)
    if not is_plainly_read or error.__dict__ or error.__cause__ is not None:
        return False
    if error.__context__ is not handled and not error.__suppress_context__:
        return False
    for arg in error.args:
        if type(arg) not in _ATOMS:
            return False
    traceback = error.__traceback__ and error.__traceback__.tb_next  # first is who made the call
    while traceback is not None:
        if traceback.tb_frame.f_code.co_name in _TELLING:
            return False
        traceback = traceback.tb_next
    return True


_ATOMS = frozenset({str, int, float, bool, bytes, type(None)})


def details(error: BaseException, stands: str) -> Details:
    """Say what an error tells by itself.

    Args:
        error: What a call raised, or a link below that.
        stands: How it stands to the one above it.
    """
    if not is_bare(error) and outcome_of(error):
        return SENT, True, ()
    kind, name = _kind_of(error)
    if kind in _ASKED:
        return _ASKED[kind](error, name)
    if kind in (SENT, STREAM, INTERRUPT):
        return kind, not _is_excused(type(error), kind, name, stands), ()
    status = None if kind is UNSENT else status_of(error, name)
    if status is not None or kind is ANSWER:
        return ANSWER, *_of_answer(error, name, status)
    tries = _tries_before(error, name)
    if tries is None:
        return SENT, True, ()
    return kind, None if kind is WRAPPER else False, tries


def _is_excused(kind: type, what: str | None, name: str, stands: str) -> bool:
    """Tell whether the error above says enough: nothing was sent, or asyncio has timed it out."""
    if what is INTERRUPT:
        return stands is TIMED and name == "asyncio.exceptions.CancelledError"
    is_inner = what is STREAM or module_of(kind) in ("builtins", "ssl", "socket")
    return is_inner and stands is EXCUSED


def _kind_of(error: BaseException) -> tuple[str | None, str]:
    """Tell what is known of an error's class or, if a journal recorded it, of its name."""
    kind = type(error)
    if kind is RecordedError:
        name = str(read(error, "kind"))
        return SAGA if name.startswith(_OURS) else known_names().get(name), name
    if issubclass(kind, SagaError):
        return SAGA, ""
    known, name, _ = known_of(error)
    return known, name


# --- where it was raised ---------------------------------------------------------------------


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def _frames_of(error: BaseException, packages: str) -> Iterator[FrameType]:
    """Give the frames of some packages that an error has passed, outermost first."""
    traceback = traceback_of(error)
    while traceback is not None:
        if _package_of(traceback.tb_frame) in packages.split():
            yield traceback.tb_frame
        traceback = traceback.tb_next


def _tries_before(error: BaseException, name: str) -> list[BaseException] | None:
    """Give the errors of the tries that a client has made before; None if one may have arrived.

    A client that follows a redirect, or tries again by itself, tells of its last try alone. What it
    did before is to be seen only in the frames that the error has passed.
    """
    tries: list[BaseException] = []
    is_told = name != "urllib3.exceptions.MaxRetryError"
    traceback = traceback_of(error)
    while traceback is not None:
        frame, traceback = traceback.tb_frame, traceback.tb_next
        if frame.f_code.co_name not in _TELLING:
            continue
        match frame.f_code.co_name, _package_of(frame):
            case ("resolve_redirects", "requests") | ("http_error_302", "urllib"):
                return None
            case ("_send_handling_redirects", "httpx" | "httpx2") | ("_request", "aiohttp"):
                known = frame.f_locals
                if _is_filled(known.get("history")) or _was_repeated(known):
                    return None
            case "urlopen", "urllib3":
                is_told = True
                known = frame.f_locals
                past = _errors_of(read(known.get("retries"), "history"))
                if past is None or is_of(known.get("redirect_location"), str):
                    return None
                tries += past
    return tries if is_told else None


_TELLING = frozenset(
    {"resolve_redirects", "http_error_302", "_send_handling_redirects", "_request", "urlopen"}
)


def _is_filled(history: object) -> bool:
    return is_of(history, (list, tuple)) and history not in ([], ())


def _was_repeated(known: dict[str, Any]) -> bool:
    """Tell whether aiohttp has made a request once more, on a new connection."""
    may = known.get("method") in ("PUT", "DELETE") and read(known.get("self"), "_retry_connection")
    return may is True and known.get("retry_persistent_connection") is False


def _errors_of(history: Any) -> list[BaseException] | None:
    """Give the errors in urllib3's history of a request; None if one of its tries had an answer."""
    errors = []
    for past in history if is_of(history, (list, tuple)) else ():
        error = read(past, "error")
        if not is_of(error, BaseException) or read(past, "status") is not None:
            return None
        errors.append(error)
    return errors


def _came_from(error: BaseException, packages: str, functions: str) -> str:
    """Give the first of some functions that an error has passed, or an empty text."""
    names = (frame.f_code.co_name for frame in _frames_of(error, packages))
    return next((name for name in names if name in functions.split()), "")


# --- answers ---------------------------------------------------------------------------------


_FIRST, _LAST = 100, 599


def status_of(error: BaseException, name: str) -> int | None:
    """Read the status of the answer that an error tells of.

    Args:
        error: What was raised, or a link below that.
        name: Of its class, as `known_errors` has it.
    """
    own = OWN_STATUS.get(name)
    if own is not None:
        return _number(read(error, own))
    response = read(error, "response")
    if response is None:
        return None
    if is_of(response, dict):  # botocore's
        meta: Any = dict.get(response, "ResponseMetadata")
        places = [dict.get(meta, "HTTPStatusCode")] if is_of(meta, dict) else []
        places += [dict.get(response, "status_code"), dict.get(response, "status")]
    else:
        places = [read(response, "status_code"), read(response, "status")]
    return next((number for number in map(_number, places) if number is not None), None)


def _number(status: Any) -> int | None:
    if is_of(status, str):  # "503 Service Unavailable"
        digits = str(status)[:3]
        status = int(digits) if digits.isdecimal() else None
    return int(status) if is_of(status, int) and _FIRST <= status <= _LAST else None


def _of_answer(
    error: BaseException, name: str, status: int | None
) -> tuple[bool, Sequence[BaseException]]:
    """Say what an answer means; that after a redirect, or a try before, is not all there was."""
    if status is None or is_garbled(error) or is_left_open(error, name, status):
        return True, ()
    if status < REFUSALS:
        return False, ()
    response = read(error, "response")
    tries = _tries_before(error, name)
    if _is_filled(read(error, "history")) or _is_filled(read(response, "history")):
        tries = None
    for holder in (response, read(response, "raw")):
        past = _errors_of(read(read(holder, "retries"), "history"))
        tries = None if tries is None or past is None else tries + past
    return tries is None, tries or ()


def is_left_open(error: BaseException, name: str, status: int) -> bool:
    """Tell whether an answer leaves open what has happened, by its status and its request."""
    request = _request_of(error, read(error, "response"), name)
    keyed = status == CONFLICT and _has_key(request)
    header, word = FINAL
    final = keyed and header_of(error, header).strip().lower() == word
    return leaves_open(status, _method_of(request), keyed=keyed, final=final)


def header_of(error: BaseException, header: str) -> str:
    """Read a header of the answer that an error tells of; empty if there is none."""
    for holder in (error, read(error, "response")):
        with suppress(Exception):  # there may be no headers, or odd ones
            value = read(holder, "headers").get(header)
            if is_of(value, str):
                return str(value)
    return ""


def is_garbled(error: BaseException) -> bool:
    """Tell whether aiohttp has made up a status for an answer that it could not read."""
    bases = lineage(type(cause_of(error)))
    return "aiohttp.http_exceptions.HttpProcessingError" in map(name_of, bases)


def _request_of(error: BaseException, response: Any, name: str) -> Any:
    """Find the request that was answered; None if nobody has kept it."""
    if name == "urllib.error.HTTPError":
        known = (frame.f_locals for frame in _frames_of(error, "urllib"))
        return next((names["req"] for names in known if "req" in names), None)
    for holder in (error, response):
        for place in ("request", "request_info"):
            if (request := read(holder, place)) is not None:
                return request
    return None


def _method_of(request: Any) -> Any:
    """Give the method of a request; urllib's has a function for it."""
    with suppress(Exception):
        return request.method or request.get_method()
    return None


def _has_key(request: Any) -> bool:
    """Tell whether a request carried an idempotency key: one by the header's name, or ours."""
    with suppress(Exception):  # there may be no request, no headers, and no operation
        listed = getattr(request, "header_items", None) or request.headers.items
        headers = {str(header).lower(): value for header, value in listed()}
        if "idempotency-key" in headers:
            return True
        operation = current_operation()
        ours = operation.action_key, operation.idempotency_key
        return any(key in str(value) for value in headers.values() for key in ours)
    return False


# --- others ----------------------------------------------------------------------------------


def _of_database(error: BaseException, name: str) -> Details:
    """Say whether a connection was lost once it stood: a COMMIT may have got there."""
    package = name.partition(".")[0]
    if read(error, "pgconn") is not None or _came_from(error, package, "connect Connect"):
        return UNSENT, False, ()  # psycopg has it if a connection could not be made
    state = read(error, "sqlstate") or read(error, "pgcode")
    if is_of(state, str):
        return DATABASE, state.startswith("08") or state in LOST_STATES, ()
    if package in ("psycopg", "psycopg2"):
        return DATABASE, True, ()
    number = read(error, "errno") or next(iter(args_of(error)), None)
    return DATABASE, is_of(number, int) and number in LOST_NUMBERS, ()


def _of_redis(error: BaseException, _: str) -> Details:
    """Say by where it was whether redis-py made a connection, or sent a command, maybe again."""
    place = _came_from(error, "redis valkey", "connect send_packed_command read_response")
    if place == "connect":
        return UNSENT, False, ()
    return CONNECTION, True if place else None, ()


def _of_grpc(error: BaseException, _: str) -> Details:
    """Say by its code whether a call may have been made; without one it may."""
    code, said = None, ""
    with suppress(Exception):
        code = read(error, "code")().name
        said = str(read(error, "details")())
    is_unread = code == "RESOURCE_EXHAUSTED" and "larger than max" in said  # the answer is, then
    return RPC, code is None or code in LOST_CODES or is_unread, ()


def _of_mail(error: BaseException, _: str) -> Details:
    """Say whether a refusal came to the QUIT that ends a `with`, after what was accepted."""
    is_farewell = type(error).__name__ == "SMTPResponseException"
    return MAIL, is_farewell and _came_from(error, "smtplib", "__exit__") != "", ()


def _of_process(error: BaseException, _: str) -> Details:
    """Say whether a process was ended by a signal, rather than by itself."""
    code = read(error, "returncode")
    return PROCESS, is_of(code, int) and code < 0, ()


def _of_saga(error: BaseException, name: str) -> Details:
    """Say whether something of a saga stands, or may."""
    if isinstance(error, RecordedError):
        return SAGA, name.removeprefix(_OURS) not in ("SagaDefinitionError", "SagaConflict"), ()
    if not isinstance(error, SagaException):
        return SAGA, bool(read(error, "_may_stand")), ()
    if isinstance(error, SagaDefinitionError):
        return SAGA, False, ()
    if error.outcome is None:  # somebody has made it by hand
        return (SAGA, True, ()) if isinstance(error, SagaStuck) else (None, False, ())
    stands = {report.status for report in error.operations.values()} - _NOTHING_STANDS
    return SAGA, error.outcome is not SagaStatus.COMPENSATED or bool(stands), ()


_OURS = "py_api_saga.exceptions."
_NOTHING_STANDS = {Status.COMPENSATED, Status.FAILED, Status.PENDING}
_ASKED: dict[str | None, Callable[[BaseException, str], Details]] = {
    DATABASE: _of_database,
    CONNECTION: _of_redis,
    RPC: _of_grpc,
    MAIL: _of_mail,
    PROCESS: _of_process,
    SAGA: _of_saga,
}
