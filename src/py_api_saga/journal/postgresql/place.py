"""Where a database is, as its connection string says, without showing a password to anybody.

A password that is not percent-encoded is read as the name of a host, a port or a database, as the
driver says in its errors. So nothing of such a string is shown but what looks like what it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from py_api_saga.exceptions import JournalError
from py_api_saga.journal.postgresql.driver import psycopg

_SCHEMES = ("postgresql://", "postgres://")
_HOST = re.compile(r"[A-Za-z0-9._:*%-]*|/[A-Za-z0-9._/ -]*|@[A-Za-z0-9._-]+")
_NAME = re.compile(r"[\w.@$ -]+")
_PORT = re.compile(r"[0-9]{0,5}")
_ENCODE = (
    "percent-encode what a user name or a password has of : / ? # [ ] @ % and blanks "
    "(urllib.parse.quote does), or leave the password out and name a file by PGPASSFILE"
)
_QUOTE = "put values that have blanks between single quotes"


def normal(conninfo: str) -> str:
    """Give a connection string as libpq reads it: SQLAlchemy has a driver in its scheme."""
    scheme, colon, rest = conninfo.partition("://")
    if colon and scheme.partition("+")[0] in ("postgres", "postgresql"):
        return f"postgresql://{rest}"
    return conninfo


def parsed(conninfo: str) -> Mapping[str, str]:
    """Give the parameters of a connection string.

    Raises:
        JournalError: It is none; says which part, and quotes nothing of it.
    """
    problem = ""
    parameters: dict[str, str] = {}
    text = normal(conninfo)
    is_url = text.startswith(_SCHEMES)
    if is_url:
        problem = _odd(text)
    if not problem:
        try:
            parameters = {
                key: str(value) for key, value in psycopg.conninfo.conninfo_to_dict(text).items()
            }
        except (psycopg.Error, ValueError):  # what it says may quote a password
            problem = _ENCODE if is_url else _QUOTE
            problem = f"it can't be read: {problem}"
        else:
            problem = _doubtful(parameters, _ENCODE if is_url else _QUOTE)
    if problem:  # out here nothing of the driver's is its context
        message = f"the connection string of a PostgreSQLJournal is not right: {problem}"
        raise JournalError(message)
    return parameters


def _odd(url: str) -> str:
    """Say what does not belong in a URL: libpq takes parts of a password for something else."""
    rest = url.partition("://")[2]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if rest.count("@") > 1 or ("@" in rest and "@" not in authority):
        return f"there is an @, or a / ? or # before one, in the user or the password: {_ENCODE}"
    user = authority.rpartition("@")[0]
    if re.search(r"[\s\[\]]", user):
        return f"there is a blank or a bracket in the user or the password: {_ENCODE}"
    if re.search(r"%(?![0-9A-Fa-f]{2})", rest):
        return f"there is a % that encodes nothing: {_ENCODE}"
    return ""


def _doubtful(parameters: Mapping[str, str], advice: str) -> str:
    for key, form, what in (
        ("host", _HOST, "the host"),
        ("hostaddr", _HOST, "the address of the host"),
        ("port", _PORT, "the port"),
        ("dbname", _NAME, "the name of the database"),
        ("user", _NAME, "the user"),
    ):
        value = parameters.get(key, "")
        parts = value.split(",") if key in ("host", "hostaddr", "port") else [value]
        if value and not all(form.fullmatch(part) for part in parts):
            return f"{what} is none: {advice}"
    return ""


def shown(parameters: Mapping[str, str]) -> str:
    """Give the place that a connection goes to, without a password, as a URL."""
    user = parameters.get("user")
    host = parameters.get("host") or parameters.get("hostaddr") or ""
    service, port = parameters.get("service"), parameters.get("port", "").strip(",")
    where = "" if host.startswith(("/", "@")) else host
    text = f"postgresql://{f'{user}@' if user else ''}{where}{f':{port}' if port else ''}"
    text += f"/{parameters.get('dbname', '')}"
    more = [f"host={host}"] if host != where else []
    more += [f"service={service}"] if service else []
    return f"{text}?{'&'.join(more)}" if more else text
