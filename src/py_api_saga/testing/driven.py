"""A saga that was driven in a run that is tried, and a call of it that was given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from py_api_saga.entries import Entry
from py_api_saga.executors.run import Run
from py_api_saga.status import SagaStatus
from py_api_saga.testing.places import within

if TYPE_CHECKING:
    from py_api_saga.testing.answers import Key, Reply

_GOING = (SagaStatus.RUNNING, SagaStatus.COMPENSATING)


class Driven:
    """A saga that was driven in a run.

    Attributes:
        run: Its latest run.
        limit: Calls at once.
        durable: So many of its entries had been written down.
        named: The id that it was given, or None.
        is_known: It has run before, and only what became of it is asked for.
        is_inner: An operation of another saga runs it.
        replies: What becomes of the answers to its calls.
        letters: The answers that have come.
    """

    __slots__ = (
        "durable", "is_inner", "is_known", "letters", "limit", "named", "replies", "run",
    )  # fmt: skip

    def __init__(
        self, run: Run, limit: int | None, named: str | None, *, is_known: bool = False
    ) -> None:
        """Begin with nothing written down."""
        self.run, self.limit, self.named = run, limit or 1, named
        self.is_known, self.is_inner = is_known, within.get() is not None
        self.durable = 0
        self.replies: dict[Key, Reply] = {}
        self.letters: dict[Key, Entry] = {}

    @property
    def is_open(self) -> bool:
        """Whether it was left with something to do, and does not only wait."""
        execution = self.run.execution
        if execution.at_rest:
            return execution.saga in _GOING
        return not execution.suspended


class Late:
    """A call that was given up, and what came of it if it has taken effect."""

    __slots__ = ("intent", "label", "landed")

    def __init__(self, label: str, intent: Entry, landed: Entry | None) -> None:
        """Give up the call that was made at a point."""
        self.label, self.intent, self.landed = label, intent, landed
