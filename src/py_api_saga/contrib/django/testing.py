"""Tests of a Django project that run sagas: `class CheckoutTest(SagaTestCase)`.

Django has each test in a transaction of its own, on one connection, which threads do not see. So
calls are made one after the other in the thread of the test, and what is recorded is in memory.
`fixtures` has the same for pytest-django.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.test import TestCase

from py_api_saga.calls import Call
from py_api_saga.contrib.django.configured import in_place_of_the_journal, settled
from py_api_saga.contrib.django.recovering import recover
from py_api_saga.definition import Results
from py_api_saga.durable.recovery import Recovered
from py_api_saga.exceptions import JournalError
from py_api_saga.executors.around import put_in
from py_api_saga.executors.driving import IN_LINE, standing_in
from py_api_saga.executors.run import Run
from py_api_saga.filling import mapped
from py_api_saga.journal.changes import (
    Change,
    Claim,
    Create,
    Row,
    SagaExistsError,
    Summary,
)
from py_api_saga.journal.format.functions import Functions
from py_api_saga.journal.memory import MemoryJournal
from py_api_saga.journal.protocol import Codec
from py_api_saga.status import SagaStatus

__all__ = ["SagaTestCase", "TestJournal", "rolled_back", "sagas_in_test"]


class TestJournal(MemoryJournal):
    """A journal in memory that stands in for one in the database, as the settings name it."""

    __test__ = False  # for pytest, which would take it for tests

    def within(self, connection: object = None, *, using: str | None = None) -> _InTransaction:
        """Give what a saga is started in, in the transaction that is open in this thread.

        The saga is there once that has committed, and never if it, or the `atomic` block in which
        it was started, is rolled back. A test case of Django's never commits: then it is when
        `captureOnCommitCallbacks(execute=True)` is left.

        Args:
            connection: Nothing: only Django's own is known here.
            using: The alias; by default the one of the journal in the settings, or "default".

        Raises:
            TypeError: A connection was given.
        """
        if connection is not None:
            message = "within: in a test of Django's expected nothing, got a connection"
            raise TypeError(message)
        return _InTransaction(self, using or settled().alias or "default")


class _Kept:
    """A saga that is written once the transaction has committed."""

    def __init__(self, home: TestJournal, create: Create) -> None:
        self.home, self.create = home, create

    def __call__(self) -> None:
        create = self.create
        self.home.write(Create(create.claim.saga_id, create.name, create.body, driven=False))


class _InTransaction:
    """What `within` gives: see `Within`."""

    def __init__(self, home: TestJournal, alias: str) -> None:
        self._home, self._alias = home, alias
        self._body = ""  # of what was found in this very transaction

    @property
    def place(self) -> str:
        return self._home.place

    @property
    def names(self) -> Functions:
        return self._home.names

    @property
    def codec(self) -> Codec | None:
        return self._home.codec

    def now(self) -> float:
        return self._home.now()

    def leave(self, claim: Claim) -> None:
        claim.over = True

    def write(self, *changes: Change) -> None:
        for change in changes:
            change.error = self._problem(change)
            change.settled = change.claim.over = True
            if change.error is None and isinstance(change, Create):
                transaction.on_commit(_Kept(self._home, change), using=self._alias)

    async def awrite(self, *changes: Change) -> None:
        await sync_to_async(self.write)(*changes)

    def _problem(self, change: Change) -> Exception | None:
        if not isinstance(change, Create) or change.driven:
            return JournalError(
                "in a transaction a saga can be started, and not run: write "
                "saga.start(journal=get_journal().within(), saga_id=…), for a worker to run it"
            )
        connection = connections[self._alias]
        if not connection.in_atomic_block and connection.get_autocommit():
            return JournalError(
                f"no transaction is open on the database {self._alias!r} in this thread: begin "
                "one, or start the saga without: saga.start()"
            )
        if self.find(change.claim.saga_id) is not None:
            return SagaExistsError(f"there is a saga {change.claim.saga_id!r}")
        return None

    def find(self, saga_id: str) -> Summary | None:
        there = self._home.find(saga_id)
        waiting = self._waiting(saga_id)
        if there is None and waiting is not None:
            self._body = waiting.body
            now = self.now()
            return Summary(
                0, saga_id, waiting.name, SagaStatus.RUNNING, 0, 0, 0, now, now, 0.0, None
            )
        return there

    def rows(self, numbers: Collection[int]) -> Mapping[int, Sequence[Row]]:
        there = dict(self._home.rows(numbers))
        return there | {0: [Row(1, self.now(), self._body)]} if 0 in numbers else there

    def _waiting(self, saga_id: str) -> Create | None:
        """Find what this very transaction has started, and not rolled back."""
        for _, kept, *_rest in connections[self._alias].run_on_commit:
            is_ours = isinstance(kept, _Kept) and kept.home is self._home
            if is_ours and kept.create.claim.saga_id == saga_id:
                found: Create = kept.create
                return found
        return None


class _InTest:
    """Makes all calls in the thread of the test, one after the other: it has the transaction."""

    def drive(self, run: Run, limit: int | None) -> Results:
        """Run a saga to its end."""
        return IN_LINE.drive(run, limit)

    def adrive(self, run: Run, limit: int | None) -> None:
        """Have plain functions called in the thread that Django uses the database in."""
        put_in(run, [mapped(one, _awaited) for one in run.definition.operations])
        IN_LINE.adrive(run, limit)


def _awaited(call: Call) -> Call:
    function, args, keywords, needs, is_async = call
    if is_async:
        return call
    return sync_to_async(_plain(function)), args, keywords, needs, True


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function that Django's `sync_to_async` takes for one, whatever else is callable."""

    def call(*args: Any, **keywords: Any) -> Any:
        return function(*args, **keywords)

    return call


@contextmanager
def rolled_back(*aliases: str) -> Iterator[None]:
    """Take back, at the end of a `with` block, all that was written in it: `world` of `explore`.

    It is what Django does around each test, so sagas may run in it, and what an operation has in a
    block of `atomic` is a transaction to it. It may be within a test of `TestCase`, or of
    pytest-django's `db`, which then has what was there before. A journal that the settings name has
    a new one in memory in its place.

    Args:
        aliases: Of the databases; without any "default".
    """
    with ExitStack() as stack:
        if settled().journal is not None:
            stack.enter_context(_in_memory())
        for alias in aliases or ("default",):
            block = transaction.atomic(using=alias)
            block._from_testcase = True  # noqa: SLF001 - as in Django's own; it has no public way
            stack.enter_context(block)
            stack.callback(transaction.set_rollback, True, using=alias)  # noqa: FBT003 - Django's
        yield


@contextmanager
def sagas_in_test() -> Iterator[TestJournal]:
    """Have sagas recorded in memory, and their calls made in this thread, in a `with` block.

    What `SagaTestCase` and the fixture `saga_journal` do around each test: a new `TestJournal` is
    in the place of the one that the settings name; a choreography makes its calls one after the
    other; and `recover` of this package works in the thread that calls it.

    A plain function with a `timeout=` still has a thread of its own, with a connection of its own.
    Coroutine functions see the transaction in tests that are coroutine functions themselves.
    """
    with _in_memory() as journal, standing_in(_InTest()):
        yield journal


@contextmanager
def _in_memory() -> Iterator[TestJournal]:
    """Put a new journal in the place of the one that the settings name."""
    said = settled()
    aliases, codec = said.options.get("aliases"), said.options.get("codec")
    journal = TestJournal(said.modules, aliases, codec)
    with in_place_of_the_journal(journal):
        yield journal


class SagaTestCase(TestCase):  # type: ignore[misc]  # Django has no type hints
    """A `TestCase` of Django's, each test of which is in `sagas_in_test()`.

    Attributes:
        saga_journal: The journal of this test, with a `within` as that of `DjangoJournal`.
    """

    saga_journal: TestJournal

    def run(self, result: Any = None) -> Any:
        """Run the test."""
        with sagas_in_test() as self.saga_journal:
            return super().run(result)

    def recover_sagas(self, **options: Any) -> list[Recovered]:
        """Do as a worker does: go on with what was started, or left, in the thread of the test.

        Args:
            options: Those of `recover`.
        """
        return recover(**options)
