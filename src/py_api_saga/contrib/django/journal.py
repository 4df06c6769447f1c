"""A journal in a PostgreSQL of Django's: `DjangoJournal("default", modules=["shop.operations"])`.

The alias says where it is and how to get there, and nothing else: what the journal reads and writes
goes over connections of its own, which no request closes and no transaction of a view's holds back.
Only `journal.within()` speaks on the connection of the view.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack
from weakref import WeakSet

from py_api_saga.exceptions import JournalError
from py_api_saga.journal.postgresql.connections import Connection, MadeConnections
from py_api_saga.journal.postgresql.driver import psycopg
from py_api_saga.journal.postgresql.journal import DatabaseJournal, Options
from py_api_saga.journal.postgresql.place import shown
from py_api_saga.journal.postgresql.queries import statements, upgrade
from py_api_saga.journal.postgresql.trouble import cannot
from py_api_saga.journal.postgresql.within import UsersTransaction, by_psycopg
from py_api_saga.journal.protocol import Within

try:
    from django.core.exceptions import ImproperlyConfigured
    from django.db import connections
    from django.db.backends.base.base import NO_DB_ALIAS
    from django.db.backends.signals import connection_created
except ImportError as error:
    message = f"it needs Django: pip install 'py-api-saga[django]' ({error})"
    raise ImportError(message) from error

if TYPE_CHECKING:
    from py_api_saga.journal.postgresql.within import Found, Given, Transactional

_VENDOR = "postgresql"
# What Django gives its connections for its own way of asking; ours ask as psycopg does.
_DJANGO_S = ("context", "cursor_factory", "prepare_threshold")
_PLACES = ("user", "host", "hostaddr", "service", "port", "dbname")


def why_not(alias: str) -> str:
    """Say why no journal can be kept at an alias of Django's; empty if one can. Asks no database.

    Args:
        alias: A key of `DATABASES`.
    """
    try:
        configured = connections.settings
        vendor = connections.create_connection(alias).vendor if alias in configured else ""
    except ImproperlyConfigured as error:
        return f"the database {alias!r} of Django can't be used: {error}"
    if not vendor:
        return f"DATABASES has no {alias!r}; it has {', '.join(map(repr, sorted(configured)))}"
    if vendor != _VENDOR:
        return (
            f"the database {alias!r} is {vendor}, and a DjangoJournal is kept in PostgreSQL; where "
            "one machine is enough, name a file of its own instead: "
            'PY_API_SAGA = {"JOURNAL": BASE_DIR / "sagas.db", …}'
        )
    return ""


class AliasConnections(MadeConnections):
    """Connections as those of an alias, and none of them: nobody else closes or lends them."""

    def __init__(self, alias: str) -> None:
        """Name it; what it means is looked up when it is needed, so that tests may change it."""
        super().__init__()
        self.alias = alias

    def __getstate__(self) -> str:
        """Give what another process needs, which makes connections of its own."""
        return self.alias

    def __setstate__(self, alias: str) -> None:
        self.__init__(alias)  # type: ignore[misc]

    @property
    def key(self) -> Hashable:
        """Of the database that the alias means at this moment."""
        return ("django", self.alias, self._wrapper().settings_dict["NAME"])

    @property
    def place(self) -> str:
        """Where that is."""
        given: Mapping[str, Any] = {}
        with suppress(JournalError):
            given = self.parameters()
        named = {key: str(given[key]) for key in _PLACES if given.get(key)}
        return shown(named) if named else f"{self.alias!r} of Django's databases"

    def parameters(self) -> Mapping[str, Any]:
        """Give what Django would connect with.

        Raises:
            JournalError: No journal can be kept there.
        """
        try:
            given = dict(self._wrapper().get_connection_params())
        except ImproperlyConfigured as error:
            raise self._unfit(str(error)) from error
        for name in _DJANGO_S:
            given.pop(name, None)
        return given

    def connect(self, patience: float) -> Connection:
        """Make a connection, in the role that the alias has."""
        made = super().connect(patience)
        role = self._wrapper().settings_dict["OPTIONS"].get("assume_role")
        if role:
            try:
                made.execute(psycopg.sql.SQL("SET ROLE {}").format(psycopg.sql.Identifier(role)))
            except BaseException:
                made.close()
                raise
        return made

    def apart(self) -> AliasConnections:
        """Give the same with a connection of its own that reads."""
        return AliasConnections(self.alias)

    def _wrapper(self) -> Any:
        """Give what knows how to connect; it is not among `connections`, and never connects."""
        if problem := why_not(self.alias):
            raise self._unfit(problem)
        return connections.create_connection(self.alias)

    def _unfit(self, problem: str) -> JournalError:
        return JournalError(f"DjangoJournal({self.alias!r}): {problem}")


class DjangoJournal(DatabaseJournal):
    """Sagas in a PostgreSQL that Django has, which any number of machines share.

    Attributes:
        alias: Which of `DATABASES` it is in.
    """

    def __init__(self, alias: str = "default", **options: Unpack[Options]) -> None:
        """Say where it is; settings are read and connections made when it is used.

        Args:
            alias: A key of `DATABASES`, of a PostgreSQL. Its host, user, password, role and other
                options are those of the journal's connections too; its pool is not used.
            **options: Those of `PostgreSQLJournal`.

        Raises:
            ValueError: An option is none of what it may be.
            TypeError: `modules` is not a list of names, or `codec` has no `encode` and `decode`.
        """
        self.alias = alias
        super().__init__(AliasConnections(alias), **options)
        _made.add(self)

    def __repr__(self) -> str:
        return f"DjangoJournal({self.alias!r})"

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        _made.add(self)

    def within(self, connection: Transactional | None = None) -> Within:
        """Give what a saga is started in, in a transaction of yours: `start(journal=…)` takes it.

        The saga is there once your transaction has committed, and never if that, or the `atomic`
        block in which it was started, is rolled back. Whoever recovers next runs it, or whoever
        runs a saga with the same id in the journal itself. Nothing can be run in what this gives.

        Args:
            connection: Left out, it is Django's own connection of the alias in the thread that
                calls `start`, with the transaction that is open there: by `ATOMIC_REQUESTS`,
                `atomic` or a `TestCase`. Else as with `PostgreSQLJournal`.

        Raises:
            TypeError: It is nothing that has a transaction.
        """
        if connection is not None:
            return super().within(connection)
        query = statements(self._naming, self._durability)["start"]
        return UsersTransaction(self, self._naming, query, partial(_by_django, self.alias))

    def table(self, name: str) -> str:
        """Name one of its tables, with its schema and quoted: "saga", say."""
        return f'"{self._naming.schema}"."{self._naming.prefix}{name}"'

    def migrate(self, connection: Any) -> None:
        """Make the tables on a connection of Django's, if it leads to this journal; else nothing.

        What the migration of the app calls: what it makes is of the migration's transaction.

        Args:
            connection: The one that is migrated.

        Raises:
            JournalError: The role may not do that, or there are tables of another format.
        """
        if self._leads_here(connection):
            with self._making(connection):
                self._create(connection.connection, self._server)

    def upgrade(self, connection: Any) -> None:
        """Make of tables of an earlier release those of this one, in the same way.

        Outside of a transaction, so that nobody is kept from writing meanwhile.

        Args:
            connection: The one that is migrated.

        Raises:
            JournalError: The role may not do that.
        """
        if self._leads_here(connection):
            with self._making(connection):
                for statement in upgrade(self._naming):
                    connection.connection.execute(statement.encode())

    def _leads_here(self, connection: Any) -> bool:
        return bool(connection.alias == self.alias and connection.vendor == _VENDOR)

    @contextmanager
    def _making(self, connection: Any) -> Iterator[None]:
        connection.ensure_connection()
        try:
            yield
        except JournalError:
            raise
        except Exception as error:
            raise cannot("made", self.place, error) from error


_made: WeakSet[DjangoJournal] = WeakSet()


def _let_go(*, connection: Any, **_: object) -> None:
    """Close what is open on databases of which one is about to be made, copied or dropped.

    That is what Django connects to no database for, and to drop or copy one that somebody else is
    connected to is refused. Test runners do so.
    """
    if connection.alias == NO_DB_ALIAS:
        for journal in list(_made):
            journal.close()


connection_created.connect(_let_go, dispatch_uid="py_api_saga.contrib.django.journal")


def _by_django(alias: str, query: bytes, given: Given) -> Found:
    """Ask within the transaction that is open in this thread.

    Past Django's cursor, whose log would have what is written; but as that does otherwise.
    """
    if _is_in_loop():
        message = (
            "Django's transactions are of a thread, and this is an event loop: start the saga in "
            "the function that has the transaction, `with transaction.atomic(): "
            "saga.start(journal=journal.within(), …)`, and await sync_to_async(that function)()"
        )
        raise JournalError(message)
    connection = connections[alias]
    if not connection.in_atomic_block and connection.get_autocommit():
        message = (
            f"no transaction is open on the database {alias!r} in this thread: what was written "
            f"could not be rolled back with anything. Begin one, with transaction.atomic("
            f"{'' if alias == 'default' else f'using={alias!r}'}) or ATOMIC_REQUESTS, or start the "
            f"saga without one: saga.start(journal=journal)"
        )
        raise JournalError(message)
    connection.ensure_connection()
    connection.validate_no_broken_transaction()
    with connection.wrap_database_errors:
        return by_psycopg(connection.connection, query, given)


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
