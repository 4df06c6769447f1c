"""The operations of `durable.py`: they do nothing, and return small results."""

from __future__ import annotations

TYPE_CHECKING = False  # as in `typing`, which takes 7 ms to import

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# What the coroutine functions await before they answer; they get the operation and the order.
pause: Callable[[int, str], Awaitable[object]] | None = None


def reserve(order: str, count: int) -> dict[str, object]:
    """Stand for the first operation."""
    return {"shelf": order[-4:], "count": count}


def release(order: str) -> None:
    """Stand for its compensation."""


def charge(order: str, cents: int) -> dict[str, object]:
    """Stand for the second operation."""
    return {"charge_id": f"ch_{order}", "amount": cents}


def refund(order: str) -> None:
    """Stand for its compensation."""


def book(order: str, weight: int) -> dict[str, object]:
    """Stand for the third operation."""
    return {"courier": weight % 7, "order": order}


def cancel(order: str) -> None:
    """Stand for its compensation."""


def begin_payment(order: str, cents: int) -> object:  # noqa: ARG001 - as `charge`
    """Stand for a second operation whose answer comes within two days."""
    from py_api_saga import later  # noqa: PLC0415 - other contenders have none

    return later(timeout=2 * 86_400)


async def reserve_async(order: str, count: int) -> dict[str, object]:
    """Stand for the first operation, under asyncio."""
    if pause is not None:
        await pause(0, order)
    return reserve(order, count)


async def release_async(order: str) -> None:
    """Stand for its compensation."""


async def charge_async(order: str, cents: int) -> dict[str, object]:
    """Stand for the second operation, under asyncio."""
    if pause is not None:
        await pause(1, order)
    return charge(order, cents)


async def refund_async(order: str) -> None:
    """Stand for its compensation."""


async def book_async(order: str, weight: int) -> dict[str, object]:
    """Stand for the third operation, under asyncio."""
    if pause is not None:
        await pause(2, order)
    return book(order, weight)


async def cancel_async(order: str) -> None:
    """Stand for its compensation."""


ARGUMENTS = (2, 1200, 450)  # of the three actions, after the order
PLAIN = ((reserve, release), (charge, refund), (book, cancel))
COROUTINES = (
    (reserve_async, release_async),
    (charge_async, refund_async),
    (book_async, cancel_async),
)
