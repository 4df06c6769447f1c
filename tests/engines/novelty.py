"""What only workers of a later release have."""

from __future__ import annotations

from .shop import buy, give_back


def wrap(goods: str) -> dict[str, str]:
    """Wrap an order."""
    return buy(goods, "wrap")


def unwrap(goods: str) -> str:
    """Take the paper off."""
    return give_back(goods, "wrap")
