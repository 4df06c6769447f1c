"""Several statements sent at once, and what they have found: one packet, and one wait for answers.

A pipeline of psycopg's sends each statement by itself and looks for answers each time, which takes
longer than all else that a commit does here. So this speaks to libpq, by what psycopg gives of it.
Values go as texts without a type, which each statement says itself; what comes back psycopg reads.
https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
"""

from __future__ import annotations

import re
import selectors
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector
from typing import Any, NamedTuple, TypeAlias

from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus

from py_api_saga import clock
from py_api_saga.journal.postgresql.connections import Connection
from py_api_saga.journal.postgresql.driver import psycopg

Found: TypeAlias = "list[tuple[Any, ...]]"
Given: TypeAlias = Mapping[str, Any]

# Of one descriptor, whatever its number; Windows has no other than the second.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)
_PARAMETER = re.compile(rb"%\((\w+)\)s")
_SILENT = "the server does not answer"
_GONE = "the server has closed the connection"


class _Statement(NamedTuple):
    """A query as the server has it.

    Attributes:
        name: What it is prepared as. It is made of the text: through a pooler that gives a
            transaction to another session, a name that is counted would mean what another process
            has prepared there by it, and that would run in its place, unnoticed.
        text: With numbers for its parameters.
        parameters: Their names, in order.
    """

    name: bytes
    text: bytes
    parameters: tuple[str, ...]


@lru_cache(maxsize=256)
def _statement(query: bytes) -> _Statement:
    names: list[str] = []

    def numbered(match: re.Match[bytes]) -> bytes:
        name = match[1].decode()
        if name not in names:
            names.append(name)
        return b"$%d" % (names.index(name) + 1)

    text = _PARAMETER.sub(numbered, query)
    name = f"py_api_saga_{sha256(text).hexdigest()[:20]}"
    return _Statement(name.encode(), text, tuple(names))


def _as_text(value: Any) -> bytes | None:
    if value is None:
        return None
    text = (value if type(value) is str else str(value)).encode()
    if b"\0" in text:  # it would end there
        message = "PostgreSQL has no text with a NUL in it"
        raise psycopg.DataError(message)
    return text


def exchange(
    connection: Connection,
    asked: Iterable[tuple[bytes, Given | None]],
    prepared: set[bytes] | None,
    patience: float,
) -> list[Found]:
    """Send queries with what they are asked with, and give what each has found.

    Args:
        connection: On which nothing else is under way.
        asked: What comes after one that fails is not done.
        prepared: What this session has prepared, which is added to; None to prepare nothing.
        patience: Seconds after which a server that says nothing is taken for gone.

    Raises:
        psycopg.Error: One has failed, or the connection has.
    """
    calls = [
        (one := _statement(query), [_as_text(given[p]) for p in one.parameters] if given else None)
        for query, given in asked
    ]
    pgconn = connection.pgconn
    pgconn.enter_pipeline_mode()
    try:
        new: list[bytes] = []  # for each answer what it has prepared, if that is what it answers
        for (name, text, _), values in calls:
            if prepared is None:
                pgconn.send_query_params(text, values)
            else:
                if name not in prepared:
                    pgconn.send_prepare(name, text)
                    new.append(name)
                pgconn.send_query_prepared(name, values)
            new.append(b"")
        pgconn.pipeline_sync()
        results = _answers(pgconn, patience)
        found: list[Found] = []
        rows = Transformer(connection)
        for name, result in zip(new, results, strict=False):  # or fewer
            if result.status == ExecStatus.FATAL_ERROR:
                raise psycopg.errors.error_from_result(result)
            if name:
                assert prepared is not None  # noqa: S101 - else there are no names
                prepared.add(name)
            elif result.status == ExecStatus.TUPLES_OK:
                rows.set_pgresult(result)
                found.append(rows.load_rows(0, result.ntuples, tuple))
            else:
                found.append([])
        return found
    finally:
        if pgconn.status != ConnStatus.BAD:
            with suppress(psycopg.Error):  # interrupted: nobody uses it any more
                pgconn.exit_pipeline_mode()


def _answers(pgconn: Any, patience: float) -> list[Any]:
    """Send what is to be sent, and take in answers until all is done, or nothing more comes."""
    until = clock.boottime() + patience
    results: list[Any] = []
    with _Selector() as selector:
        selector.register(pgconn.socket, EVENT_READ)
        try:
            while pgconn.flush():
                selector.modify(pgconn.socket, EVENT_READ | EVENT_WRITE)
                if _ready(selector, until) & EVENT_READ:
                    pgconn.consume_input()
            selector.modify(pgconn.socket, EVENT_READ)
            nones = 0  # in a row: there is one after each answer
            while nones < 2:  # noqa: PLR2004 - libpq says before that the connection is lost
                while pgconn.is_busy():
                    _ready(selector, until)
                    pgconn.consume_input()
                result = pgconn.get_result()
                nones = nones + 1 if result is None else 0
                if result is None:
                    continue
                if result.status == ExecStatus.PIPELINE_SYNC:
                    return results
                results.append(result)
            raise psycopg.OperationalError(_GONE)  # noqa: TRY301  # pragma: no cover - as said
        except psycopg.OperationalError:
            # The server has said why, before it closed the connection.
            if not any(result.status == ExecStatus.FATAL_ERROR for result in results):
                raise
    return results


def _ready(selector: BaseSelector, until: float) -> int:
    """Wait until something can be read or written."""
    found = selector.select(max(0.0, until - clock.boottime()))
    if not found:
        raise psycopg.OperationalError(_SILENT)
    return found[0][1]
