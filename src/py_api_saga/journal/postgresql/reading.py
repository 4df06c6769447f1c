"""Reads of a journal in PostgreSQL: short, each in a transaction of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from py_api_saga.journal.changes import (
    NUMBER_OF,
    STATUS_OF,
    Letter,
    Row,
    Summary,
    milliseconds,
    tallied,
)
from py_api_saga.journal.postgresql.exchange import Found
from py_api_saga.journal.postgresql.server import Server
from py_api_saga.journal.postgresql.writes import array
from py_api_saga.journal.prefixes import past
from py_api_saga.status import SagaStatus

_STUCK, _COMPLETED = NUMBER_OF[SagaStatus.STUCK], NUMBER_OF[SagaStatus.COMPLETED]
_COMPENSATED = NUMBER_OF[SagaStatus.COMPENSATED]
_ALL = -1  # what a tally calls them
_BEYOND = (1 << 63) - 1  # the largest number that there could be


class Reads:
    """What a journal in PostgreSQL and a view of it read alike."""

    @property
    def _server(self) -> Server:
        raise NotImplementedError  # pragma: no cover - both have one

    def now(self) -> float:
        """Tell the time, seconds since 1970, by the clock of the database."""
        return self._server.now()

    def lately(self) -> float:
        """Tell the same, by what was found of that clock last."""
        return self._server.lately()

    def find(self, saga_id: str) -> Summary | None:
        """Give the summary of a saga, or None if there is none."""
        if "\0" in saga_id:  # PostgreSQL has no such text
            return None
        found = summaries(self._server.read("find", {"id": saga_id}))
        return found[0] if found else None

    def mail(self, numbers: Collection[int]) -> Mapping[int, Sequence[Letter]]:
        """Give the answers to sagas, by number, that nobody has taken; oldest first."""
        found: dict[int, list[Letter]] = {number: [] for number in numbers}
        if found:
            for saga, key, body in self._server.read("mail", {"numbers": array(found)}):
                found[saga].append(Letter(key, body))
        return found

    def left_mail(self, before: float) -> Sequence[Summary]:
        """List the sagas that have not taken in an answer that came before then, newest first."""
        return summaries(self._server.read("left_mail", {"before": milliseconds(before)}))

    def rows(self, numbers: Collection[int]) -> Mapping[int, Sequence[Row]]:
        """Give the rows of sagas by number, each in order."""
        found: dict[int, list[Row]] = {number: [] for number in numbers}
        if found:
            for saga, n, at, body in self._server.read("rows", {"numbers": array(found)}):
                found[saga].append(Row(n, at / 1000, body))
        return found

    def select(
        self,
        statuses: Collection[SagaStatus] = (),
        name: str | None = None,
        *,
        before: float | None = None,
        after: float | None = None,
        prefix: str | None = None,
        below: int | None = None,
        limit: int | None = None,
    ) -> Sequence[Summary]:
        """List sagas, newest first: of these statuses if any, changed before and after a time.

        With `prefix`, those whose id begins with it; with `below`, those whose number is less.
        """
        given: dict[str, Any] = {
            "name": name,
            "before": None if before is None else milliseconds(before),
            "after": None if after is None else milliseconds(after),
            "prefix": prefix,
            "past": None if prefix is None else past(prefix),
            "below": _BEYOND if below is None else below,
            "limit": limit,
        }
        asked = [
            (query, {**given, "statuses": array(numbers) if numbers else None})
            for query, numbers in _parts({NUMBER_OF[one] for one in statuses}, name, prefix)
        ]
        found = [seen for part in self._server.read_all(asked) for seen in summaries(part)]
        found.sort(key=lambda seen: -seen.number)
        return found[:limit]

    def tally(self, most: int | None = None) -> Mapping[SagaStatus, int]:
        """Count sagas by status, of those that are COMPLETED at most so many."""
        return tallied(completed(self._server.read("tally", {"most": most})), most)


def completed(found: Found) -> Mapping[int, int]:
    """Give what a tally has found by status, with those that are COMPLETED: what is left."""
    counted: dict[int, int] = dict(found)
    counted[_COMPLETED] = counted.pop(_ALL) - sum(counted.values())
    return counted


def _parts(
    numbers: Collection[int], name: str | None, prefix: str | None
) -> Iterable[tuple[str, Collection[int]]]:
    """Give the queries that find sagas of these statuses, each by an index where there is one."""
    if prefix:
        yield "select_like", numbers
        return
    if name is None and {*numbers} == {_COMPENSATED}:
        yield "select_compensated", ()
        return
    if not numbers or max(numbers) > _STUCK:
        yield ("select_all" if name is None else "select_named"), numbers
        return
    if min(numbers) < _STUCK:
        yield "select_open", [number for number in numbers if number < _STUCK]
    if _STUCK in numbers:
        yield "select_stuck", ()


def summaries(found: Found) -> list[Summary]:
    """Make summaries of what was found."""
    return [
        # `_make` takes half the time: there may be hundreds of thousands.
        Summary._make(
            (*row[:3], STATUS_OF[row[3]], *row[4:7], *[ms / 1000 for ms in row[7:10]], row[10])
        )
        for row in found
    ]
