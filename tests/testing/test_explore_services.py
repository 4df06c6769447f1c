"""Services of a world, of whatever kind that is: they are used as before, and are put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import pytest

from py_api_saga import SagaAssembler, current_operation
from py_api_saga.testing import explore
from py_api_saga.testing.boundaries import Proxy


class Bank:
    """A service with more than methods."""

    def __init__(self) -> None:
        self.charges: dict[str, int] = {}
        self.depth = 0

    def charge(self, key: str) -> None:
        self.charges[key] = 1

    def refund(self, key: str) -> None:
        self.charges.pop(key, None)

    def __len__(self) -> int:
        return len(self.charges)

    def __contains__(self, key: str) -> bool:
        return key in self.charges

    def __enter__(self) -> Self:
        self.depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.depth -= 1

    def __repr__(self) -> str:
        return "the bank"

    @contextmanager
    def opened(self) -> Iterator[Bank]:
        """Open it in another way."""
        yield self


@dataclass(frozen=True)
class Frozen:
    """A world that can't be changed."""

    bank: Bank = field(default_factory=Bank)


@dataclass(frozen=True, slots=True)
class FrozenSlots:
    """One that has no dict either."""

    bank: Bank = field(default_factory=Bank)


class Slots:
    """One with a slot."""

    __slots__ = ("bank",)

    def __init__(self) -> None:
        self.bank = Bank()


class InBoth(Slots):
    """One with a slot, and a dict."""


class OfClass:
    """One that has it from its class."""

    bank = Bank()

    def __init__(self) -> None:
        type(self).bank.charges.clear()


@dataclass(frozen=True)
class FrozenOfClass:
    """One that has it from its class, and can't be changed."""

    bank: ClassVar[Bank] = Bank()

    def __post_init__(self) -> None:
        type(self).bank.charges.clear()


def charges(world: Any) -> dict[str, int]:
    """Give what stands."""
    return dict(world.bank.charges)


def paying(world: Any) -> SagaAssembler:
    """Pay, and look at the bank in all ways."""

    def pay() -> None:
        with world.bank as bank:
            bank.charge(current_operation().idempotency_key)

    def look() -> None:
        bank = world.bank
        assert isinstance(bank, Bank)
        assert len(bank) == 1
        assert all(key in bank for key in bank.charges)
        assert bank == bank.opened().__enter__()
        assert {bank: 1}[bank] == 1
        assert (repr(bank), str(bank), bank.depth) == ("the bank", "the bank", 0)

    return (
        SagaAssembler.saga()
        .operation(pay, lambda: world.bank.refund(current_operation().action_key), name="pay")
        .operation(look, name="look")
    )


@pytest.mark.parametrize("world", [Frozen, FrozenSlots, Slots, InBoth, OfClass, FrozenOfClass])
def test_a_service_of_any_world_may_fail(world: Callable[[], Any]) -> None:
    """At each call of it, also in a `with`; and it is used as it always is."""
    worlds: list[Any] = []

    def noted() -> Any:
        worlds.append(world())
        return worlds[-1]

    explored = explore(paying, world=noted, state=charges, services=["bank"])

    assert explored.kinds["refuses"] > 3  # at the operations, and at the calls in them
    assert not any(isinstance(made.bank, Proxy) for made in worlds)
    assert {type(made.bank) for made in worlds} == {Bank}


def test_the_name_of_a_service_stands_in_the_points() -> None:
    """Of a call in a `with` as well."""
    explore(paying, world=Frozen, state=charges, services=["bank"], replay="pay/bank.charge:lost")
