"""The demo's proof: what the services' own ledgers say, and whether it is right."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_READ = """
SELECT COALESCE(effect.order_id, undo.order_id), COALESCE(effect.what, ''), COALESCE(undo.what, '')
FROM (SELECT DISTINCT action_key FROM entry) AS action
LEFT JOIN entry AS effect ON effect.action_key = action.action_key AND effect.kind = 'effect'
LEFT JOIN entry AS undo ON undo.action_key = action.action_key AND undo.kind = 'undo'
ORDER BY COALESCE(effect.number, undo.number)
"""


class Line(NamedTuple):
    """An effect on an order, and what undid it; "" for none."""

    order: str
    effect: str
    undo: str

    @property
    def stands(self) -> bool:
        """Whether the effect is there and was not undone."""
        return bool(self.effect) and not self.undo


def read(path: Path) -> list[Line]:
    """Everything that a service wrote into its ledger, effects beside their undos."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        return [Line(*row) for row in database.execute(_READ)]


def table(lines: Sequence[Line]) -> Iterator[str]:
    """The ledger as text, a line for each effect, in columns that fit."""
    rows = [Line("order", "effect", "undo"), *lines]
    order, effect, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    for row in rows:
        yield f"{row.order:<{order}}   {row.effect:<{effect}}   {row.undo}".rstrip()


def faults(ledgers: Mapping[str, Sequence[Line]], completed: Iterable[str]) -> list[str]:
    """What is wrong, in words; empty if everything is right.

    Right is: an order that was completed stands in every ledger exactly once, and of any other
    order nothing stands anywhere.
    """
    kept = set(completed)
    found = []
    for service, lines in ledgers.items():
        standing = [line.order for line in lines if line.stands]
        for order in sorted(kept | set(standing)):
            times, right = standing.count(order), int(order in kept)
            if times != right:
                found.append(f"{order} stands {times} times in {service} instead of {right}")
    return found
