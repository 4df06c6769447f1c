"""A journal that outlasts its process: what whoever comes later, a command say, asks of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, Self

from py_api_saga.journal.changes import Letter, Row, Summary
from py_api_saga.journal.health import Health
from py_api_saga.journal.holder import Holder
from py_api_saga.journal.protocol import Journal, Vocabulary
from py_api_saga.status import SagaStatus


class View(Vocabulary, Protocol):
    """A journal to be read by whoever drives nothing in it.

    It waits for nobody, so that it also works beside a process that hangs; and it knows no names,
    so that nothing is imported. What it reads is what `Journal` says of a read.

    Attributes:
        place: Where it is, for messages; never with a password.
        unsure: Why nobody can tell which processes live; empty if it can be told, or if nobody has
            asked yet.
    """

    @property
    def place(self) -> str: ...  # noqa: D102 - described above
    @property
    def unsure(self) -> str: ...  # noqa: D102

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def now(self) -> float:
        """Tell the time by the journal's clock, seconds since 1970."""

    def find(self, saga_id: str) -> Summary | None:
        """Give the summary of a saga, or None if there is none."""

    def rows(self, numbers: Collection[int]) -> Mapping[int, Sequence[Row]]:
        """Give the rows of sagas by number, each in order."""

    def mail(self, numbers: Collection[int]) -> Mapping[int, Sequence[Letter]]:
        """Give the answers to sagas, by number, that nobody has taken; oldest first."""

    def left_mail(self, before: float) -> Sequence[Summary]:
        """List the sagas that have not taken in an answer that came before then, newest first.

        Also if they have ended.
        """

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
        """List sagas, as `Journal.select`."""

    def tally(self, most: int | None = None) -> Mapping[SagaStatus, int]:
        """Count sagas by status, as `Journal.tally`."""

    def drives(self, seen: Summary) -> bool | None:
        """Tell whether a living process drives a saga; None if that is unknown."""

    def counts(self) -> Mapping[tuple[str | None, SagaStatus], int]:
        """Count sagas by name and status; looks at all that there are."""

    def who_hangs(self) -> Holder | None:
        """Tell who has been writing for longer than a moment, so that nobody else can."""

    def health(self) -> Health:
        """Examine the journal; may read all of it."""


class LastingJournal(Journal, Protocol):
    """A journal that other processes find where this one has left it.

    Attributes:
        poll: Seconds between two looks of a worker at it that was told nothing else.
    """

    @property
    def poll(self) -> float: ...  # noqa: D102 - described above

    def missing(self) -> str:
        """Say why there is no journal here, or not yet; empty if there is one. Makes none.

        Raises:
            JournalError: What is there can't be looked at, or can't become one.
        """

    def reader(self) -> View:
        """Give a view of it.

        Raises:
            JournalError: There is none, or none of this format.
        """

    def onlooker(self) -> View:
        """Give a view for whoever looks again and again, and closes the journal in the end.

        What is costly to open may be kept until then.

        Raises:
            JournalError: There is none, or none of this format.
        """
        return self.reader()

    def who_hangs(self) -> Holder | None:
        """Tell who has been writing for longer than a moment, so that nobody else can."""

    def close(self) -> None:
        """Close it, also for the other journals of this process on it; it is opened when needed."""
