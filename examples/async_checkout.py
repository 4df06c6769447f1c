"""Check out many customers at once under asyncio.

Run it with `python examples/async_checkout.py`. Four customers check out at the same time, on one
event loop: the bank is busy at first and is asked again; one courier never answers, so its time
runs out; and one customer hangs up in the middle, which cancels the task. In both cases nobody
knows whether the courier was booked: the library logs the doubt, and undoes the booking as well.
"""

import asyncio
from collections import defaultdict

from py_api_saga import Retry, SagaAssembler, SagaException, current_operation, result_of


class Busy(Exception):
    """The service did nothing and asks to be called again later."""


class Ledger:
    """Stands for a remote service: one entry for each idempotency key.

    An entry is made without awaiting anything in between, so the event loop needs no lock here.
    """

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    async def add(self, text: str) -> str:
        """Make the entry, once for each key."""
        await asyncio.sleep(0.01)
        return self.entries.setdefault(current_operation().idempotency_key, text)

    async def remove(self) -> None:
        """Take back what the action entered under its key, if it did."""
        await asyncio.sleep(0.01)
        self.entries.pop(current_operation().action_key, None)


stock = Ledger()
payments = Ledger()
parcels = Ledger()
booked: dict[str, asyncio.Event] = defaultdict(asyncio.Event)  # customer -> there is a courier


async def reserve(customer: str) -> dict[str, str]:
    """Reserve a mug."""
    return {"reservation": await stock.add(f"mug for {customer}"), "shelf": "M7"}


async def charge(customer: str, cents: int) -> str:
    """Charge the card. The bank is always too busy for the first attempt."""
    if current_operation().attempt == 1:
        raise Busy
    return await payments.add(f"{cents} cents from {customer}")


async def book_courier(customer: str, address: str, shelf: str) -> str:
    """Book a courier. It books one for the moon as well, but never says so."""
    parcel = await parcels.add(f"{customer}'s parcel from {shelf} to {address}")
    booked[customer].set()
    if address == "the moon":
        await asyncio.sleep(3600)
    return parcel


def checkout_of(customer: str, address: str, patience: float) -> SagaAssembler:
    """Say what to do and how to undo it; nothing runs yet. `patience` is in seconds."""
    return (
        SagaAssembler.saga(name="checkout")
        .operation((reserve, customer), stock.remove)
        .operation(
            (charge, customer, 1200),
            payments.remove,
            retry=Retry(Busy, attempts=3, wait_initial=0.01, wait_jitter=0.0),
        )
        .operation(
            (book_courier, customer, address, result_of("reserve")["shelf"]),
            parcels.remove,
            timeout=patience,
        )
    )


async def check_out(customer: str, address: str, patience: float) -> None:
    """Run one checkout and print how it ended."""
    saga = checkout_of(customer, address, patience)
    try:
        results = await saga.aorchestrator_execute(deadline=60)
    except SagaException as error:
        statuses = ", ".join(f"{name} {op.status.value}" for name, op in error.operations.items())
        print(f"{customer}: undone, because of {error.operation_error!r}: {statuses}")
    except asyncio.CancelledError:
        # By now everything is undone: a cancellation goes on only after the rollback.
        print(f"{customer}: hung up")
        raise
    else:
        print(f"{customer}: {results['book_courier']}")


async def main() -> None:
    """Let four customers check out together, then look into every ledger."""
    customers = {
        "Ada": ("Elm Street", 30.0),
        "Bob": ("the moon", 0.5),
        "Cleo": ("Oak Lane", 30.0),
        "Dan": ("the moon", 30.0),
    }
    tasks = {
        name: asyncio.create_task(check_out(name, address, patience))
        for name, (address, patience) in customers.items()
    }
    await booked["Dan"].wait()
    tasks["Dan"].cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    print("reserved:", ", ".join(stock.entries.values()))
    print("paid:    ", ", ".join(payments.entries.values()))
    print("parcels: ", ", ".join(parcels.entries.values()))


if __name__ == "__main__":
    asyncio.run(main())
