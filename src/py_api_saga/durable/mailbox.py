"""What has come for a run from elsewhere, and what it has made of that."""

from __future__ import annotations

from collections.abc import Iterable

from py_api_saga.entries import Entry
from py_api_saga.events import EventKind
from py_api_saga.journal.changes import Letter


class Mailbox:
    """The mail of a run that waits, or has waited; most runs have none.

    Attributes:
        letters: Answers by key that nobody has looked at, or that are left for now: their call is
            in flight.
        took: Keys of those of which the next row says all.
        notes: What persons have noted with them, JSON, for the next row.
        is_suspended: It is on record that the saga waits, and nobody drives it.
        looks: The mail is to be read, since something is due; with the next row, if there is none
            to be written otherwise.
        looked: When it was read last, seconds since 1970 by the journal's clock.
        news: What observers are to hear once it is on record, and behind how many of the moves that
            they are to hear of as well.
    """

    __slots__ = ("is_suspended", "letters", "looked", "looks", "news", "notes", "took")

    def __init__(self, letters: Iterable[Letter] = (), looked: float = 0.0) -> None:
        """Begin with what has come."""
        self.letters = {letter.key: letter.body for letter in letters}
        self.took: tuple[str, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.is_suspended = self.looks = False
        self.looked = looked
        self.news: list[tuple[EventKind, Entry, int]] = []

    def is_to_say(self, *, suspends: bool) -> bool:
        """Tell whether a row is to be written, be there nothing else to say."""
        return (
            bool(self.took) or self.looks or (suspends and not (self.is_suspended or self.letters))
        )

    def take(self, key: str) -> None:
        """Note that all is said of a letter; harmless if done again."""
        if key not in self.took:
            self.took += (key,)
        self.letters.pop(key, None)
