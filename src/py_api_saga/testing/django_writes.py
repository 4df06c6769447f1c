"""Writes of Django's ORM in an operation, each of which is a place where something may go wrong.

A test is in a transaction, in which what is a transaction for an operation is only a savepoint. So
what Django would do without that one is done here: the outermost block of `atomic` of an operation
is undone as a whole, and once it is left, what waits for that is called (`on_commit`); and an error
outside of such a block does not make the transaction of the test unusable. Coroutine functions use
the connection of the test as well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from py_api_saga.evidence import leaves_doubt
from py_api_saga.executors.driving import stand_in
from py_api_saga.testing.awaiting import outside
from py_api_saga.testing.http_clients import Patch
from py_api_saga.testing.places import asked, check_alive
from py_api_saga.testing.statements import UNREACHABLE, write_in


def writes_of_django() -> Iterator[Patch]:
    """Give what is to be put in place, if a project of Django's is set up."""
    settings = getattr(sys.modules.get("django.conf"), "settings", None)
    if settings is None or not settings.configured:
        return
    from django.db import connections, transaction  # noqa: PLC0415 - only where there is a project

    blocks = _Blocks(transaction.Atomic)
    for connection in connections.all():
        yield connection, "execute_wrappers", [*connection.execute_wrappers, blocks.executed]
        yield connection, "on_commit", blocks.waiting(connection)
    yield transaction.Atomic, "__enter__", blocks.entering()
    yield transaction.Atomic, "__exit__", blocks.leaving()
    asgiref: Any = sys.modules["asgiref.sync"]  # which Django has loaded
    yield asgiref.SyncToAsync, "__call__", _in_this_thread(asgiref.SyncToAsync.__call__)


def _in_this_thread(calls: Callable[..., Any]) -> Callable[..., Any]:
    """Have what coroutine functions call of the ORM see the transaction of the test.

    That is bound to this thread, and to no loop in it: what Django would call it in has another
    connection.
    """

    async def call(made: Any, *args: Any, **options: Any) -> Any:
        if stand_in.get() is None or not made._thread_sensitive:  # noqa: SLF001 - no public name
            return await calls(made, *args, **options)
        return outside(made.func, *args, **options)

    return call


class _Blocks:
    """The blocks of `atomic` that the operation which is running is in."""

    def __init__(self, kind: Any) -> None:
        self._enter, self._leave = kind.__enter__, kind.__exit__
        self._open: dict[Any, list[int]] = {}  # by connection, what waited for its commit before
        self._has_written: set[Any] = set()
        self._injected: Exception | None = None

    # --- statements -----------------------------------------------------------------------------

    def executed(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: Any, context: Any
    ) -> Any:
        """Execute a statement, unless something goes wrong with it: a wrapper of Django's."""
        connection = context["connection"]
        self._mend(connection)
        name = write_in(sql)
        here = None if name is None else asked()  # a savepoint ends also in a process that has died
        if here is None or name is None:
            return execute(sql, params, many, context)
        is_open = bool(self._open.get(connection))
        error = _error(connection)
        kinds: tuple[str, ...] = ("refuses", "lost", "crash-after")
        if is_open or not leaves_doubt(error):
            kinds = ("refuses", "crash-after")
        fault = here.at(name, kinds)
        if fault == "refuses":
            raise self._noted(here.refusal(name.rpartition(" ")[2], error))
        value = execute(sql, params, many, context)
        if is_open:
            self._has_written.add(connection)
        if fault == "crash-after":
            here.die()
        if fault == "lost":
            raise self._noted(error)
        return value

    def _noted(self, error: Exception) -> Exception:
        self._injected = error
        return error

    def _mend(self, connection: Any) -> None:
        """Take back what Django makes of an error that the transaction of the test never had."""
        if connection.needs_rollback and not self._open.get(connection):
            error = connection.rollback_exc
            if error is not None and error is self._injected:
                connection.needs_rollback = False
                connection.rollback_exc = None

    # --- blocks ---------------------------------------------------------------------------------

    def entering(self) -> Callable[[Any], Any]:
        """Give what enters a block; the outermost one of an operation has a savepoint always."""

        def enter(block: Any) -> Any:
            if asked() is None:
                return self._enter(block)
            connection = _connection(block)
            self._mend(connection)
            opened, is_savepoint = self._open.setdefault(connection, []), block.savepoint
            block.savepoint = is_savepoint or not opened
            try:
                value = self._enter(block)
            finally:
                block.savepoint = is_savepoint
            opened.append(len(connection.run_on_commit))
            return value

        return enter

    def leaving(self) -> Callable[..., Any]:
        """Give what leaves one; out of the outermost one of an operation an error may come."""

        def leave(block: Any, kind: Any, raised: Any, trace: Any) -> Any:
            connection = _connection(block)
            opened = self._open.get(connection)
            if not opened:
                return self._leave(block, kind, raised, trace)
            before = opened.pop()
            has_written = not opened and connection in self._has_written
            if not opened:
                self._has_written.discard(connection)
            try:
                check_alive()
            except BaseException as dead:  # which somebody has caught in the block
                self._leave(block, type(dead), dead, trace)
                raise
            is_kept = kind is None and not connection.needs_rollback
            value = self._leave(block, kind, raised, trace)
            if is_kept and not opened:
                self._committed(connection, before, has_written=has_written)
            return value

        return leave

    def waiting(self, connection: Any) -> Callable[..., None]:
        """Give what calls a function once the operation has committed: at once, without a block."""
        later = connection.on_commit

        def on_commit(called: Callable[[], object], robust: bool = False) -> None:  # noqa: FBT001, FBT002 - Django's
            later(called, robust)
            if asked() is not None and not self._open.get(connection):
                self._call(connection, len(connection.run_on_commit) - 1)

        return on_commit

    def _committed(self, connection: Any, before: int, *, has_written: bool) -> None:
        """Do what comes with a commit, unless something goes wrong with it."""
        if has_written and (here := asked()) is not None:
            error = _error(connection)
            kinds = ("lost", "crash-after") if leaves_doubt(error) else ("crash-after",)
            fault = here.at(f"COMMIT {connection.alias}", kinds)
            if fault is not None:
                del connection.run_on_commit[before:]
            if fault == "crash-after":
                here.die()
            if fault == "lost":
                raise error
        self._call(connection, before)

    def _call(self, connection: Any, before: int) -> None:
        """Call what waited for a commit; outside of a transaction it may not be there."""
        waiting = connection.run_on_commit[before:]
        del connection.run_on_commit[before:]
        for _, called, is_robust in waiting:
            with suppress(*[Exception] * is_robust):
                called()


def _connection(block: Any) -> Any:
    from django.db import transaction  # noqa: PLC0415 - as above

    return transaction.get_connection(block.using)


def _error(connection: Any) -> Exception:
    """Make what Django raises if its driver has lost the server, or the file is locked."""
    from django.db.utils import OperationalError  # noqa: PLC0415 - as above

    error: Exception = OperationalError(UNREACHABLE)
    error.__cause__ = connection.Database.OperationalError(*error.args)
    return error
