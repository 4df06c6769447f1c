"""A shop whose sagas can be on record: functions of a module, and the world that they are in."""

from __future__ import annotations

import asyncio
from typing import Any

from till import Shop, action_key, key

from py_api_saga import NOT_HAPPENED, Retry, SagaAssembler, happened
from py_api_saga.journal import MemoryJournal

worlds: list[World] = []  # the last one is the one that is there


class World(Shop):
    """A shop with vans, whose sagas are in a journal."""

    def __init__(self) -> None:
        super().__init__()
        self.vans: dict[str, str] = {}
        self.cancelled: set[str] = set()
        self.journal = MemoryJournal(modules=[__name__])
        worlds[:] = [self]

    def ledgers(self) -> dict[str, Any]:
        """What stands."""
        return {**super().ledgers(), "vans": len(self.vans)}


def reserve() -> str:
    """Take two pieces."""
    return worlds[-1].stock.reserve(key(), 2)


def release() -> None:
    """Give them back."""
    worlds[-1].stock.release(action_key())


def charge() -> str:
    """Take money."""
    return worlds[-1].bank.charge(key(), 1200)


def refund() -> None:
    """Give it back."""
    worlds[-1].bank.refund(action_key())


def look() -> Any:
    """Say whether money was taken."""
    there = action_key() in worlds[-1].bank.charges
    return happened(action_key()) if there else NOT_HAPPENED


def book() -> str:
    """Send a van."""
    world = worlds[-1]
    if key() in world.cancelled:
        message = "it was cancelled"
        raise PermissionError(message)
    world.vans[key()] = "on its way"
    return key()


def cancel() -> None:
    """Call it back."""
    worlds[-1].cancelled.add(action_key())
    worlds[-1].vans.pop(action_key(), None)


async def areserve() -> str:
    """Take two pieces, as a coroutine function."""
    await asyncio.sleep(1)
    return reserve()


async def arelease() -> None:
    """Give them back so."""
    await asyncio.sleep(1)
    release()


async def abook() -> str:
    """Send a van so."""
    await asyncio.sleep(1)
    return book()


TWICE = Retry(ConnectionError, attempts=2, wait_initial=1.0, wait_jitter=0)
AGAIN = Retry(Exception, attempts=2, wait_initial=1.0, wait_jitter=0)


def chain(world: World) -> SagaAssembler:
    """Reserve, charge, of which one can ask what came of it, and book, which may take too long."""
    return (
        SagaAssembler.saga(name="chain", journal=world.journal)
        .operation(reserve, release, compensation_retry=AGAIN)
        .operation(charge, refund, after="reserve", retry=TWICE, on_doubt=look)
        .operation(book, cancel, after="charge", timeout=5.0)
    )


def fan(world: World) -> SagaAssembler:
    """Reserve and charge at once, then book."""
    return (
        SagaAssembler.saga(name="fan", journal=world.journal)
        .operation(reserve, release)
        .operation(charge, refund, retry=TWICE)
        .operation(book, cancel, after=("reserve", "charge"), timeout=5.0)
    )


def awaited(world: World) -> SagaAssembler:
    """Coroutine functions, and a plain one between them."""
    return (
        SagaAssembler.saga(name="awaited", journal=world.journal)
        .operation(areserve, arelease, compensation_retry=AGAIN)
        .operation(charge, refund, after="areserve", retry=TWICE)
        .operation(abook, cancel, after="charge", timeout=5.0)
    )
