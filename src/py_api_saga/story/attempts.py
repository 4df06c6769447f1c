"""When each attempt of a saga began and ended, and what befell the saga meanwhile: for pictures."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from py_api_saga.entries import (
    ABORT,
    ACTION,
    ANSWERED,
    COMPENSATION,
    DENIED,
    FAILED,
    HAPPENED,
    IN_DOUBT,
    LATER,
    LOST,
    NOT_HAPPENED,
    RECOVERED,
    RETRY,
    STARTED,
    SUCCEEDED,
    UNKNOWN,
    UNSTORED,
    Awaited,
    Entry,
    Kind,
    attempt_of,
    value_of,
    what_of,
)
from py_api_saga.journal.changes import OPEN
from py_api_saga.journal.format.sagas import NOTE, awaited
from py_api_saga.story.detail import stands_open
from py_api_saga.story.saga import Line, Story
from py_api_saga.story.timeline import Chronicler, besides

End = Literal[
    "succeeded",
    "failed",
    "failed, tried again",
    "in doubt",
    "lost",
    "running",
    "begun",
    "happened",
    "did not happen",
    "nobody could say",
]
Kinds = Literal["takeover", "person", "stop", "left", "gave up", "now"]

_ENDS: Final[dict[str, End]] = {
    SUCCEEDED: "succeeded",
    UNSTORED: "succeeded",
    FAILED: "failed",
    LATER: "begun",
    ANSWERED: "succeeded",
    DENIED: "failed",
    RETRY: "failed, tried again",
    IN_DOUBT: "in doubt",
    HAPPENED: "happened",
    NOT_HAPPENED: "did not happen",
    UNKNOWN: "nobody could say",
}


@dataclass(slots=True)
class Attempt:
    """One call of a user's function; times are seconds since 1970.

    Attributes:
        operation: Its index.
        kind: Of the call.
        number: Which attempt of this kind, from 1.
        generation: Of its key.
        start: When it began; if nobody has written that down, when it was announced.
        end: When it ended; if nobody has written that down, when it was told. Of one that was lost,
            when that was told or somebody else took over, and of one that runs, when it was looked
            at: None if nobody has, or does.
        how: How it ended. Lost: nobody knows when or how, since its process died or left. Begun:
            it has only begun something, and waits for an answer.
        answered: Of one that was begun, when it waited no longer; None if it does.
        answer: Of one that was begun, what came of it then.
        wait: Seconds until it was to be made again; None if it was not.
        again: When it was made again; None if it was not, or not yet.
        landed: When it ended after all, having been given up.
        set_back: The clock that dates it was set back meanwhile, so its length is not known.
        announced: When it was written down that it would be made.
        written: When what came of it was; None if nothing was.
        is_own: `start` and `end` are those of the call itself.
    """

    operation: int
    kind: Kind
    number: int
    generation: int
    start: float
    end: float | None = None
    how: End = "running"
    answered: float | None = None
    answer: End | None = None
    wait: float | None = None
    again: float | None = None
    landed: float | None = None
    set_back: bool = False
    announced: float | None = None
    written: float | None = None
    is_own: bool = False

    @property
    def waits(self) -> bool:
        """Whether it has only begun something, and its answer came later, or comes."""
        return self.how == "begun"

    @property
    def length(self) -> float | None:
        """How many seconds it took; None if nobody knows."""
        if self.end is None or self.set_back or self.how == "lost":
            return None
        return self.end - self.start


class Moment(NamedTuple):
    """What befell a saga as a whole."""

    at: float  # seconds since 1970
    what: Kinds
    says: str


class History(NamedTuple):
    """What a saga has gone through.

    Attributes:
        attempts: In the order in which they were begun.
        moments: In the order in which they were written down.
        begin: When it was begun, seconds since 1970.
        end: When the last of it happened; of an open one, when it was looked at.
        set_back: Whether the clock that dates it was set back, for whatever reason.
        is_own: Whether all attempts that have ended are as long as their calls were; if not, some
            may seem longer, by what it took to write down that they began and ended.
    """

    attempts: list[Attempt]
    moments: list[Moment]
    begin: float
    end: float
    set_back: bool
    is_own: bool = True


def history(story: Story) -> History:
    """Tell what a saga has gone through; nothing if its details were purged or can't be read."""
    seen = story.seen
    if story.recorded is None:
        return History([], [], seen.created, seen.changed, set_back=False)
    teller = Chronicler(story.recorded.definition.names.all(), None, whole=False)
    book = _Book(teller)
    for line in story.lines:
        book.take(line)
    is_open = seen.status in OPEN
    times = [seen.created, *(line.at for line in story.lines)]
    end = max(story.now if is_open else times[0], *times)
    book.close(end if story.driven else None, "running" if story.driven else "lost")
    if is_open:
        book.moments.append(Moment(end, "now", stands_open(story)))
    else:
        book.give_up_waiting(end)
    backwards = any(later < sooner for sooner, later in pairwise(times))
    begin = min([*times, *(one.start for one in book.attempts)])
    own = all(one.is_own for one in book.attempts if one.written is not None)
    return History(book.attempts, book.moments, begin, end, set_back=backwards, is_own=own)


class _Book:
    """Brings together what was told of each attempt."""

    def __init__(self, teller: Chronicler) -> None:
        self.attempts: list[Attempt] = []
        self.moments: list[Moment] = []
        self._teller = teller
        self._open: dict[tuple[int, Kind, int, int], Attempt] = {}
        self._ended: dict[tuple[int, Kind, int, int], Attempt] = {}
        self._last: dict[tuple[int, Kind], Attempt] = {}
        self._waiting: dict[tuple[int, Kind, int], tuple[Attempt, Awaited]] = {}

    def take(self, line: Line) -> None:
        """Take in one thing that was written down."""
        what = None if line.entry is None else what_of(line.entry)
        if line.entry is None:
            left = awaited(line.kind, line.says) is not None
            self._mark(line, "left" if left else "person" if line.kind == NOTE else "gave up")
        elif what in _ENDS:
            self._end(line.entry, line)
        elif what == STARTED:
            self._begin(line.entry, line.at)
        elif what == RECOVERED:
            self.close(line.at, "lost")
            self._mark(line, "takeover")
        elif what == LOST:
            self.close(line.at, "lost", attempt_of(line.entry))
        elif what == ABORT:
            self._mark(line, "stop")
        if line.process is not None and what != RECOVERED:
            self._mark(line, "takeover")
        # What a person decided has a note beside it, which says who and why.

    def close(self, at: float | None, how: End, *keys: tuple[int, Kind, int, int]) -> None:
        """Note of these attempts, if open, that they run until then, or that nobody knows.

        Of all, if none is named.
        """
        for key in self._open.keys() & (keys or self._open.keys()):  # else it was given up before
            one = self._ended[key] = self._open.pop(key)
            one.end = at if at is None else max(at, one.start)
            one.how = how

    def give_up_waiting(self, at: float) -> None:
        """Note that no action waits any more, since a rollback has begun, or all is over."""
        for call, (one, waits) in [*self._waiting.items()]:
            if one.kind == ACTION:
                del self._waiting[call]
                one.answered, one.answer = at, "succeeded" if waits.is_timer else "in doubt"

    def _begin(self, entry: Entry, at: float) -> None:
        i, kind, number, generation = key = attempt_of(entry)
        if kind == COMPENSATION:
            self.give_up_waiting(at)
        before = self._last.get((i, kind))
        if before is not None and before.wait is not None and before.again is None:
            before.again = at
        self._last[i, kind] = self._open[key] = Attempt(
            i, kind, number, generation, at, announced=at
        )
        self.attempts.append(self._open[key])

    def _end(self, entry: Entry, line: Line) -> None:
        key = attempt_of(entry)
        i, kind, _, generation = key
        what, value = what_of(entry), value_of(entry)
        waiting = self._waiting.pop((i, kind, generation), None)
        if waiting is not None:
            waiting[0].answered, waiting[0].answer = line.at, _ENDS[what]
            return
        one = self._open.pop(key, None)
        ended = line.at if line.began is None or line.took is None else line.began + line.took
        if one is None:
            self._ended[key].landed = ended
            return
        self._ended[key] = one
        if what == LATER:
            self._waiting[i, kind, generation] = one, value
        one.how, one.written = _ENDS[what], line.at
        if line.began is not None and line.took is not None:
            one.start, one.end, one.is_own = line.began, ended, True
        else:
            one.set_back, one.end = ended < one.start, max(ended, one.start)
        if what in (RETRY, IN_DOUBT):
            one.wait = value.wait

    def _mark(self, line: Line, what: Kinds) -> None:
        is_told = line.process is None or line.entry is None or what_of(line.entry) == RECOVERED
        says = self._teller.tell(line) if is_told else "another process goes on"
        says += besides(None, None, line.process)
        self.moments.append(Moment(line.at, what, says))
