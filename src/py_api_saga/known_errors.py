"""Errors of others, by the names of their classes: what each tells of whether a call has happened.

A table, and the end of the way: `evidence` decides, and `error_details` reads what the classes here
leave open. An error of a library that is judged wrongly is put right here, in `_NAMES`.

Nothing is imported for them. The nearest class of an error's counts: a subclass before its base.

Source:
    What each client raises at 37 instants of a request was measured: `python -m tests.matrix`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TypeAlias

from py_api_saga.exceptions import RecordedError, SagaError
from py_api_saga.interrupts import LIMITS
from py_api_saga.kinds import by_class, lineage, name_of

SENT = "sent"  # something may have arrived
UNSENT = "unsent"  # nothing had been sent, and what was built in and is below it tells no more
WRAPPER = "wrapper"  # what is inside tells; if nothing known is inside, doubt
CONNECTION = "connection"  # the same, and what it was raised in the handling of is inside as well
ANSWER = "answer"  # by its status
INTERRUPT = "interrupt"  # a time limit, or what only ends a program
DATABASE = "database"  # by its SQLSTATE or number, or by where it was raised
RPC = "rpc"  # by its code
PROCESS = "process"  # by how that ended
MAIL = "mail"  # by where it was raised
STREAM = "stream"  # as SENT, or as UNSENT below one of these: what a client's own layer raises
SIGN = "sign"  # nothing has gone wrong: it says to wait, or where a loop ends


def _named(modules: Iterable[str], classes: str) -> list[str]:
    return [f"{module}.{name}" for module in modules for name in classes.split()]


_REQUESTS, _URLLIB3, _BUILT_IN = ("requests.exceptions",), ("urllib3.exceptions",), ("builtins",)
_HTTPX, _HTTPCORE = ("httpx", "httpx2"), ("httpcore", "httpcore2")
_AIOHTTP = ("aiohttp.client_exceptions",)
_REDIS = ("redis.exceptions", "valkey.exceptions")

_NAMES = {
    UNSENT: (
        (_BUILT_IN, "ConnectionRefusedError"),
        (("socket",), "gaierror herror"),
        (("ssl",), "SSLCertVerificationError"),
        (("http.client",), "InvalidURL NotConnected"),
        (
            _REQUESTS,
            (
                "ConnectTimeout URLRequired InvalidURL MissingSchema InvalidSchema InvalidHeader"
                " InvalidProxyURL InvalidJSONError"
            ),
        ),
        (
            _URLLIB3,
            (
                "ConnectTimeoutError NewConnectionError NameResolutionError LocationValueError"
                " EmptyPoolError ClosedPoolError HostChangedError ProxySchemeUnsupported"
            ),
        ),
        (
            (*_HTTPX, *_HTTPCORE),
            (
                "ConnectError ConnectTimeout PoolTimeout UnsupportedProtocol LocalProtocolError"
                " ProxyError"
            ),
        ),
        (_HTTPX, "InvalidURL"),
        (_HTTPCORE, "ConnectionNotAvailable"),
        (
            _AIOHTTP,
            (
                "ClientConnectorError ClientConnectorCertificateError ClientConnectorSSLError"
                " ConnectionTimeoutError ClientHttpProxyError InvalidURL NonHttpUrlClientError"
                " ServerFingerprintMismatch"
            ),
        ),
        (
            _REDIS,
            (
                "AuthenticationError AuthorizationError BusyLoadingError MaxConnectionsError"
                " ExternalAuthProviderError"
            ),
        ),
        (("psycopg.errors",), "ConnectionTimeout"),
        (("psycopg_pool.errors",), "PoolTimeout PoolClosed TooManyRequests"),
    ),
    SENT: (
        (
            _BUILT_IN,
            "TimeoutError ConnectionResetError ConnectionAbortedError BrokenPipeError EOFError",
        ),
        (("ssl",), "SSLError"),
        (("http.client",), "HTTPException"),
        (("urllib.error",), "ContentTooShortError"),
        (("asyncio.exceptions",), "IncompleteReadError LimitOverrunError"),
        (
            _REQUESTS,
            (
                "Timeout ReadTimeout ChunkedEncodingError ContentDecodingError TooManyRedirects"
                " StreamConsumedError UnrewindableBodyError JSONDecodeError"
            ),
        ),
        (
            _URLLIB3,
            (
                "TimeoutError ReadTimeoutError ProtocolError IncompleteRead InvalidChunkLength"
                " DecodeError ResponseError InvalidHeader HeaderParsingError UnrewindableBodyError"
            ),
        ),
        ((*_HTTPX, *_HTTPCORE), "TimeoutException NetworkError ProtocolError"),
        (_HTTPX, "DecodingError TooManyRedirects StreamError"),
        (
            _AIOHTTP,
            (
                "ServerDisconnectedError ServerTimeoutError ClientPayloadError ClientOSError"
                " ClientConnectionResetError TooManyRedirects UploadAbortedError"
                " InvalidUrlRedirectClientError NonHttpUrlRedirectClientError"
            ),
        ),
        (("subprocess",), "TimeoutExpired"),
        (("concurrent.futures.process",), "BrokenProcessPool"),
        (("multiprocessing.context", "celery.exceptions"), "TimeoutError"),
        (("huey.exceptions", "dramatiq.results.errors"), "ResultTimeout"),
        (("smtplib",), "SMTPServerDisconnected"),
        (("imaplib",), "IMAP4.abort"),
    ),
    WRAPPER: (
        (_REQUESTS, "ConnectionError SSLError ProxyError RetryError"),
        (_URLLIB3, "MaxRetryError ProxyError SSLError"),
        (("urllib.error",), "URLError"),
        (_AIOHTTP, "ClientConnectionError"),
    ),
    CONNECTION: ((_REDIS, "ConnectionError TimeoutError"),),
    ANSWER: (
        ((*_REQUESTS, "urllib.error"), "HTTPError"),
        (_HTTPX, "HTTPStatusError"),
        (_AIOHTTP, "ClientResponseError"),
        (("xmlrpc.client",), "ProtocolError"),
    ),
    INTERRUPT: (
        (_BUILT_IN, "KeyboardInterrupt SystemExit GeneratorExit"),
        (("asyncio.exceptions",), "CancelledError"),
        *((name.rpartition(".")[:1], name.rpartition(".")[2]) for name in sorted(LIMITS)),
        (("gevent.timeout", "eventlet.timeout"), "Timeout"),
    ),
    DATABASE: (
        (("psycopg", "psycopg2", "pymysql.err", "asyncmy.errors"), "OperationalError"),
        (("MySQLdb", "MySQLdb._exceptions", "mysql.connector.errors"), "OperationalError"),
        (("asyncpg.exceptions._base",), "PostgresError"),
    ),
    STREAM: ((("anyio", "trio"), "BrokenResourceError ClosedResourceError EndOfStream"),),
    SIGN: ((("ssl",), "SSLWantReadError SSLWantWriteError"),),
    RPC: ((("grpc",), "RpcError"),),
    MAIL: ((("smtplib",), "SMTPResponseException"),),
    PROCESS: ((("subprocess",), "CalledProcessError"),),
}


@cache  # made when something has failed, and read again and again
def known_names() -> dict[str, str]:
    """Give what each class tells, by its name."""
    return {
        name: kind
        for kind, rows in _NAMES.items()
        for modules, classes in rows
        for name in _named(modules, classes)
    }


# Where an error holds a status itself; every other error's is that of its `response`.
OWN_STATUS = {
    "urllib.error.HTTPError": "code",
    "aiohttp.client_exceptions.ClientResponseError": "status",
    "xmlrpc.client.ProtocolError": "errcode",
}

# What another attempt does not mend: an address or a request that is wrong, a circle of redirects.
_HOPELESS = (
    (
        _REQUESTS,
        (
            "URLRequired InvalidURL MissingSchema InvalidSchema InvalidHeader InvalidProxyURL"
            " InvalidJSONError TooManyRedirects StreamConsumedError UnrewindableBodyError"
        ),
    ),
    (
        _URLLIB3,
        "LocationValueError HostChangedError ProxySchemeUnsupported UnrewindableBodyError",
    ),
    ((*_HTTPX, *_HTTPCORE), "UnsupportedProtocol LocalProtocolError"),
    (_HTTPX, "InvalidURL TooManyRedirects StreamError"),
    (
        _AIOHTTP,
        (
            "InvalidURL NonHttpUrlClientError TooManyRedirects InvalidUrlRedirectClientError"
            " NonHttpUrlRedirectClientError"
        ),
    ),
    (("http.client",), "InvalidURL NotConnected"),
)


@cache  # made when somebody asks whether to try again
def hopeless_names() -> frozenset[str]:
    """Give the names of the classes of what another attempt does not mend."""
    return frozenset(name for modules, names in _HOPELESS for name in _named(modules, names))


# --- the answers of HTTP ---------------------------------------------------------------------

_REJECTED = frozenset({501, 505, 506, 508, 510, 511})  # of those from 500: it was not even tried
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # methods without effect: RFC 9110, 9.2.1
_LATER = frozenset({425, 429})  # refused for now
REDIRECTS, REFUSALS, _FAILURES = 300, 400, 500  # the first of each
_TOO_LATE, CONFLICT = 408, 409
FINAL = "saga-answer", "final"  # the header of a service that keeps its answer under the key


def leaves_open(status: int, method: object, *, keyed: bool, final: bool) -> bool:
    """Tell whether an answer leaves open whether what was asked for has happened.

    Args:
        status: From 100 to 599; what is below 300 has happened, whoever raises an error for it.
        method: Of the request, or None if nobody knows.
        keyed: Whether the request had an idempotency key; matters for a 409.
        final: Whether the service says that this is its last word under that key; for a 409.
    """
    if status < REDIRECTS:
        return True
    if status < REFUSALS:
        return method not in _SAFE
    if status == CONFLICT:
        return keyed and not final
    return status == _TOO_LATE or (status >= _FAILURES and status not in _REJECTED)


def may_pass(status: int, *, is_open: bool) -> bool:
    """Tell whether another attempt, under the same key, may have a better answer."""
    return status in _LATER or (status >= REFUSALS and is_open)


LOST_STATES = frozenset({"57P01", "57P02", "57P03"})  # and class 08: the connection is gone
LOST_NUMBERS = frozenset({1053, 2006, 2013, 2055})  # MySQL's: shutdown, gone away, lost
# gRPC's: nobody answered in time, or nobody could say what a handler did. The others are refusals.
LOST_CODES = frozenset(
    {"DEADLINE_EXCEEDED", "UNAVAILABLE", "CANCELLED", "UNKNOWN", "INTERNAL", "DATA_LOSS"}
)


# --- the kind of a class ---------------------------------------------------------------------

_contents_of = type.__dict__["__dict__"].__get__

# What is read of an error besides what all have (`error_details` says what for), what all have, and
# what reads either: an odd class has its own of these.
_TELLING = frozenset(
    {
        "saga_outcome", "response", "reason", "original_error", "orig", "args", "__cause__",
        "__context__", "__suppress_context__", "__traceback__", "__dict__", "__getattr__",
        "__getattribute__",
    }
)  # fmt: skip


def _is_bare(kind: type) -> bool:
    """Tell whether none of a class's bases has an attribute that is read, or makes up some."""
    bases = [base for base in lineage(kind) if base is not BaseException and base is not object]
    return all(_TELLING.isdisjoint(_contents_of(base)) for base in bases)


# What it tells, or None; the name of the nearest class that tells it; whether it is bare: nothing
# is known of it, its instances have no attribute by their class that is read, and what all errors
# have is read of them as of any.
Known: TypeAlias = tuple[str | None, str, bool]


@by_class
def known_of(kind: type) -> Known:
    """Tell what is known of an error by its class."""
    told = known_names()
    names = [name for name in map(name_of, lineage(kind)) if name in told]
    if names:
        return told[names[0]], names[0], False
    if not issubclass(kind, (Exception, BaseExceptionGroup)):
        return INTERRUPT, "", False
    if issubclass(kind, (BaseExceptionGroup, SagaError, RecordedError)):
        return None, "", False
    return None, "", _is_bare(kind)
