"""A shop that a test explores by whatever runs it: one saga that is right, and one that forgets."""

from __future__ import annotations

from typing import Any

from py_api_saga import SagaAssembler

WHATS = ("reserve", "book")


class Kiosk:
    """What was done, and not undone."""

    def __init__(self) -> None:
        self.effects: set[str] = set()

    def state(self) -> dict[str, Any]:
        """Say it, to compare it."""
        return {"effects": sorted(self.effects)}


def right(kiosk: Kiosk) -> SagaAssembler:
    """Do and undo both."""
    saga = SagaAssembler.saga(name="checkout")
    for what in WHATS:
        saga.operation((kiosk.effects.add, what), (kiosk.effects.discard, what), name=what)
    return saga


def forgetful(kiosk: Kiosk) -> SagaAssembler:
    """Forget that the answer of the second may be lost."""
    saga = SagaAssembler.saga(name="checkout")
    for what in WHATS[:-1]:
        saga.operation((kiosk.effects.add, what), (kiosk.effects.discard, what), name=what)
    return saga.operation((kiosk.effects.add, WHATS[-1]), name=WHATS[-1])
