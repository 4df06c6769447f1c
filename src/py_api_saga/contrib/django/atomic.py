"""A saga is not run in a transaction of the caller's, which may wipe what it has said is done."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import connections

from py_api_saga.exceptions import SagaDefinitionError

_CURES = (
    "What an operation writes there is wiped if that is rolled back, also after the saga has said "
    "that it is done; and threads do not see it. Run the saga outside: with ATOMIC_REQUESTS, put "
    "@transaction.non_atomic_requests on the view. Or write it down here for a worker to run: "
    "start(journal=get_journal().within()) of a journal in this database, or start() in "
    "transaction.on_commit(…). If it is meant: saga(…, atomic=True)"
)


class SagaInAtomicBlock(SagaDefinitionError):
    """A saga was to run in a database transaction of its caller's; nothing has run."""


def refuse_atomic() -> None:
    """Refuse to go on in a transaction of this thread's, but for that of a test case of Django's.

    Raises:
        SagaInAtomicBlock: One is open, on any alias, or autocommit is off.
    """
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            if not _is_a_tests(connection):
                message = f"the database {connection.alias!r} is in an atomic block. {_CURES}"
                raise SagaInAtomicBlock(message)
        elif _waits_for_commit(connection):
            message = f"autocommit is off on the database {connection.alias!r}. {_CURES}"
            raise SagaInAtomicBlock(message)


def why_held() -> str | None:
    """Say why no saga may be gone on with in this thread now, or None."""
    if not settings.configured:  # this was imported, and nothing has been asked of Django
        return None
    try:
        refuse_atomic()
    except SagaInAtomicBlock:
        return (
            "a database is in an atomic block, or its autocommit is off: what operations write "
            "there would be wiped if that is rolled back"
        )
    return None


def _is_a_tests(connection: Any) -> bool:
    """Tell whether the innermost block is one that a `TestCase` has around each of its tests."""
    blocks = connection.atomic_blocks
    return bool(blocks) and bool(getattr(blocks[-1], "_from_testcase", False))


def _waits_for_commit(connection: Any) -> bool:
    """Tell whether what is written needs a COMMIT; a connection that is not open yet says no."""
    return connection.connection is not None and not connection.autocommit
