"""What PostgreSQL and its driver say, and what it means: try again, or say what helps.

Of what is raised while a connection is made nothing is shown, nor kept as a cause, but what the
server itself has said: a driver quotes what it can't read or resolve, which may be a password.

https://www.postgresql.org/docs/current/errcodes-appendix.html is the source of the codes.
"""

from __future__ import annotations

from py_api_saga.exceptions import JournalError, SagaError
from py_api_saga.journal.changes import SagaExistsError
from py_api_saga.journal.postgresql.driver import psycopg

LOCKED = "55P03"
CANCELLED = "57014"  # by statement_timeout, or by a person
_AGAIN = frozenset({"40001", "40P01", LOCKED, CANCELLED})  # the connection is as good as before
# A pooler has given the transaction to another session than the one that prepared its statements.
UNPREPARED = frozenset({"26000", "42P05"})
# The server or the way to it: another connection may find another one. 0A000 is a standby that is
# asked to write; 53 is room, memory and connections.
_GONE = ("08", "53", "57P")
_GONE_CODES = frozenset({"25006", "0A000"})
# What one change brings: a NUL, an id that is longer than an index can hold.
_VALUE = ("22", "23", "54")

_DDL = "call journal.create_schema() once, or run what `saga schema postgresql` prints"
_ADVICE = {
    "42P01": f"its tables are not there: {_DDL}",
    "3F000": f"that schema is not there: {_DDL}",
    "42501": "the role may not do that: it needs USAGE on the schema, and SELECT, INSERT, UPDATE "
    "and DELETE on the tables of the journal",
    "42703": "its tables are not as this release makes them: compare them with what `saga schema "
    "postgresql` prints",
    "53300": "the server has no connection left: raise max_connections, or put a pooler before it",
    "53100": "make room on the server's disk",
    LOCKED: "another transaction holds what it needs",
    CANCELLED: "it took the server too long",
}
# Of errors that have no code, since no connection was made: what the words of libpq mean.
_SPEECH = (
    ("password authentication failed", "the server refuses the user or the password"),
    ("no password supplied", "the server asks for a password, and none was given: see PGPASSFILE"),
    ("no pg_hba.conf entry", "the server lets nobody in from here with this user and database"),
    ("too many clients", _ADVICE["53300"]),
    ("remaining connection slots", _ADVICE["53300"]),
    ("too many connections", _ADVICE["53300"]),
    ("starting up", "the server is starting up"),
    ("shutting down", "the server is shutting down"),
    ("recovery mode", "the server is recovering from a crash"),
    ("not accepting connections", "the server does not accept connections yet"),
    ("does not exist", "the server knows no such database, or no such user"),
    ("Connection refused", "nobody listens there: is it running, and is that its port?"),
    ("No such file or directory", "nobody listens there: is it running, and is that its socket?"),
    ("timeout", "it does not answer"),
    ("timed out", "it does not answer"),
    ("translate host name", "there is no such host"),
    ("resolve", "there is no such host"),
    ("Name or service", "there is no such host"),
    ("getaddrinfo", "there is no such host"),
    ("certificate", "its certificate, or ours, is not accepted"),
    ("SSL", "there is no agreement on TLS: see sslmode"),
    ("session is read-only", "it can only be read"),
    ("closed the connection", "the server has closed the connection"),
    ("reset by peer", "the server has closed the connection"),
)
# What passes by itself, soon: worth to be waited for even if there never was a connection.
_PASSING = (
    "too many clients", "remaining connection slots", "starting up", "shutting down",
    "recovery mode", "not accepting connections", "too many connections",
)  # fmt: skip


class UnreachableError(Exception):
    """No connection could be made: in our own words alone.

    Attributes:
        is_passing: The server is there, and will have one soon.
    """

    def __init__(self, says: str, *, is_passing: bool) -> None:
        super().__init__(says)
        self.is_passing = is_passing


_OWN = (
    *(psycopg.Error, SagaError, SagaExistsError, UnreachableError),
    *(ValueError, TypeError, OverflowError),
)


def unreachable(error: BaseException) -> UnreachableError:
    """Say why no connection was made; not to be raised where the driver's error is handled."""
    text = str(error)
    says = next((says for words, says in _SPEECH if words in text), "no connection can be made")
    return UnreachableError(says, is_passing=any(words in text for words in _PASSING))


def code_of(error: BaseException) -> str:
    """Give the code of an error; empty if there is none."""
    # psycopg2, in whose words a user's transaction may be, has a name of its own for it
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""


def has_struck(error: Exception) -> bool:
    """Tell whether an error is none of the driver, nor of what is written: a signal handler's.

    What the system raises has its number; a `TimeoutError` of a handler's has none.
    """
    if isinstance(error, OSError):
        return error.errno is None
    return not isinstance(error, _OWN)


def is_of_value(error: Exception) -> bool:
    """Tell whether it is about what one change brings, so the others may be written without it."""
    code = code_of(error)
    if code:
        return code.startswith(_VALUE)
    return isinstance(error, (psycopg.DataError, ValueError, TypeError, OverflowError))


def is_again(error: Exception) -> bool:
    """Tell whether the same may succeed when it is tried again on the same connection."""
    return code_of(error) in _AGAIN


def is_gone(error: Exception) -> bool:
    """Tell whether the same may succeed on another connection."""
    code = code_of(error)
    if code:
        return code in _GONE_CODES or code in UNPREPARED or code.startswith(_GONE)
    return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError, UnreachableError))


def words_of(error: BaseException) -> str:
    """Say what went wrong, and what helps; of a connection that was there."""
    if isinstance(error, UnreachableError):
        return str(error)
    code = code_of(error)
    said = getattr(getattr(error, "diag", None), "message_primary", None)
    if said is None:
        text = str(error).strip()
        said = text.splitlines()[0] if text else type(error).__name__
    advice = _ADVICE.get(code)
    return f"{said}; {advice}" if advice else said


def cannot(verb: str, place: str, error: BaseException) -> JournalError:
    """The journal cannot be opened, read or written; with what may help."""
    return JournalError(f"the journal {place} cannot be {verb}: {words_of(error)}")
