"""Recovery and answers in a Django project, without a worker of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from py_api_saga.contrib.django.around import Recovering
from py_api_saga.contrib.django.configured import get_journal, is_in_test
from py_api_saga.current import Around
from py_api_saga.durable import answering, recovery
from py_api_saga.durable.answering import Answered
from py_api_saga.durable.recovery import MAX_TRIES, Recovered
from py_api_saga.journal.protocol import Journal
from py_api_saga.observer import Observer
from py_api_saga.status import MISSING


def recover(
    journal: Journal | None = None,
    *,
    max_workers: int = 32,
    limit: int | None = None,
    max_tries: int = MAX_TRIES,
    observers: Iterable[Observer] = (),
    around: Sequence[Around] = (),
) -> list[Recovered]:
    """Finish or undo every saga that a dead process has left, or that was started; oldest first.

    All as `py_api_saga.recover`, with what this project has around each call, and in the journal
    that its settings name. No connection is left open that it has opened. In a test, all is done in
    the thread of the test: see `SagaTestCase`.

    Raises:
        ImproperlyConfigured: The settings name no journal.
        Exception: What `py_api_saga.recover` raises.
    """
    surroundings = Recovering()
    try:
        return recovery.recover(
            journal or get_journal(),
            max_workers=0 if is_in_test() else max_workers,
            limit=limit,
            max_tries=max_tries,
            observers=observers,
            around=(surroundings, *around),
        )
    finally:
        surroundings.end()


async def arecover(
    journal: Journal | None = None,
    *,
    max_workers: int = 32,
    limit: int | None = None,
    max_tries: int = MAX_TRIES,
    observers: Iterable[Observer] = (),
    around: Sequence[Around] = (),
) -> list[Recovered]:
    """Like `recover`, under asyncio: sagas are tasks, and plain functions run in threads."""
    surroundings = Recovering()
    try:
        return await recovery.arecover(
            journal or get_journal(),
            max_workers=max_workers,
            limit=limit,
            max_tries=max_tries,
            observers=observers,
            around=(surroundings, *around),
        )
    finally:
        await surroundings.aend()


def answer(
    key: str,
    *,
    journal: Journal | None = None,
    result: object = MISSING,
    error: Exception | None = None,
    go_on: bool = True,
    around: Sequence[Around] = (),
    observers: Iterable[Observer] = (),
    who: str | None = None,
    why: str = "",
) -> Answered:
    """Say what came of a call that returned `later(…)`, and go on with its saga.

    All as `py_api_saga.answer`, with what this project has around each call, and in the journal
    that its settings name. In an atomic block, as with ATOMIC_REQUESTS, it only puts the answer on
    record, in a transaction of its own, and a worker goes on.

    Raises:
        ImproperlyConfigured: The settings name no journal.
        Exception: What `py_api_saga.answer` raises.
    """
    surroundings = Recovering()
    try:
        return answering.answer(
            journal or get_journal(),
            key,
            result=result,
            error=error,
            go_on=go_on,
            around=(surroundings, *around),
            observers=observers,
            who=who,
            why=why,
        )
    finally:
        surroundings.end()


async def aanswer(
    key: str,
    *,
    journal: Journal | None = None,
    result: object = MISSING,
    error: Exception | None = None,
    go_on: bool = True,
    around: Sequence[Around] = (),
    observers: Iterable[Observer] = (),
    who: str | None = None,
    why: str = "",
) -> Answered:
    """Like `answer`, under asyncio."""
    surroundings = Recovering()
    try:
        return await answering.aanswer(
            journal or get_journal(),
            key,
            result=result,
            error=error,
            go_on=go_on,
            around=(surroundings, *around),
            observers=observers,
            who=who,
            why=why,
        )
    finally:
        await surroundings.aend()
