"""The driver, psycopg 3, which is an extra."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from py_api_saga import chance

if TYPE_CHECKING:
    from psycopg import Connection

try:
    import psycopg as psycopg  # noqa: PLC0414 - for the modules beside this one
except ImportError as error:
    message = (
        "a journal in PostgreSQL needs psycopg 3: pip install 'py-api-saga[postgresql]', and "
        f"'psycopg[binary]' where there is no libpq ({error})"
    )
    raise ImportError(message) from error

# A private attribute, for want of a public one. To prepare nothing at all, as the driver's authors
# advise behind a pooler, would have the server plan each commit of everybody else anew.
_COUNTER = "_prepared_idx"


def name_apart(connection: Connection[Any]) -> None:
    """Give what is prepared on a connection names that no other connection has.

    The driver counts from 0 on each. Through a pooler that gives a transaction to another session,
    a name would mean what another connection has prepared there by it: its statement would run in
    the place of this one, unnoticed. A name that is nobody else's is not found there, which is an
    error, and told (see `Server.note`).
    """
    prepared = getattr(connection, "_prepared", None)
    if hasattr(prepared, _COUNTER):
        setattr(prepared, _COUNTER, chance.number())
    else:
        connection.prepare_threshold = None
