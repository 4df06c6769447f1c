"""Time as places between 0 and 100: where nothing happens for long, the axis is cut."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

from py_api_saga.story.attempts import Attempt, History

_CUT: Final = 5.0  # percent of the width for a piece that is cut out
_MOST_CUT: Final = 40.0  # percent for all of them
_LONG: Final = 2.0  # times the usual length of a call: what is longer is cut out
_WAIT: Final = 20.0  # times that: what waits longer than this may be cut
_LEAST: Final = 0.001  # seconds: no call is taken to be usually shorter
_INSTANT: Final = 1e-6  # seconds
_TICKS: Final = 7  # at most, about
_APART: Final = 9.0  # percent between two of them
_STEPS: Final = (
    *(1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
    *(60, 120, 300, 900, 3600, 4 * 3600, 86400, 7 * 86400, 30 * 86400, 365 * 86400),
)


class Cut(NamedTuple):
    """A piece of time that is left out."""

    x: float  # where it is drawn, percent
    width: float  # how wide, percent
    seconds: float  # how long it was
    waits: bool  # something waited for an answer all the while


class Axis:
    """Where each moment of a history is drawn.

    Attributes:
        usual: Seconds that its calls usually take.
        cuts: What is left out.
    """

    def __init__(self, told: History) -> None:
        lengths = sorted(one.length for one in told.attempts if one.length is not None)
        self.usual = max(lengths[len(lengths) // 2] if lengths else 0.1, _LEAST)
        self._begin = told.begin
        awaits = [span for one in told.attempts if (span := awaited(one, told)) is not None]
        self._pieces = _merged(sorted(self._busy(told)), _LONG * self.usual)
        gaps = len(self._pieces) - 1
        width = min(_CUT, _MOST_CUT / gaps) if gaps else 0.0
        total = self._total = self._added()
        # Where nothing takes any time, what is cut is all that there is.
        width = width if total else 100.0 / max(gaps, 1)
        self._scale = (100.0 - width * gaps) / total if total else 0.0
        self._starts: list[float] = []
        self.cuts: list[Cut] = []
        x = 0.0
        for n, (start, stop) in enumerate(self._pieces):
            self._starts.append(x)
            x += (stop - start) * self._scale
            if n < gaps:
                begins = self._pieces[n + 1][0]
                waits = any(since <= stop and begins <= until for since, until in awaits)
                self.cuts.append(Cut(x, width, begins - stop, waits))
                x += width

    def _added(self) -> float:
        """Add up all time that is not cut out; what no clock could tell apart is none."""
        total = sum(stop - start for start, stop in self._pieces)
        return total if total > _INSTANT else 0.0

    def _busy(self, told: History) -> Iterator[tuple[float, float]]:
        """Yield the times in which something happens."""
        for one in told.attempts:
            end = self.until(one.start, one.end) if one.how == "lost" else one.end
            yield one.start, one.start if end is None else end
            for at, other in ((one.announced, one.start), (end, one.written)):
                if at is not None and other is not None:
                    yield min(at, other), max(at, other)
            again = end if one.again is None else one.again
            if end is not None and again is not None and again - end < _WAIT * self.usual:
                yield end, max(end, again)
            if (wait := awaited(one, told)) is not None:
                since, until = wait
                yield until, until
                if until - since < _WAIT * self.usual:
                    yield since, until
            if one.landed is not None:
                yield one.landed, one.landed
        for moment in told.moments:
            yield moment.at, moment.at
        yield told.begin, told.begin
        yield told.end, told.end

    def until(self, start: float, end: float | None) -> float:
        """Tell how far to draw what nobody knows the end of: as long as calls usually take."""
        guess = start + self.usual
        return guess if end is None else min(guess, end)

    def x(self, at: float) -> float:
        """Give the place of a time, percent of the width."""
        n = max(bisect_right(self._pieces, at, key=lambda piece: piece[0]) - 1, 0)
        start, stop = self._pieces[n]
        if at > stop and n < len(self.cuts):
            return self.cuts[n].x + self.cuts[n].width / 2
        return self._starts[n] + (min(max(at, start), stop) - start) * self._scale

    def ticks(self) -> Iterator[tuple[float, float]]:
        """Yield places for marks, each with its seconds since the beginning."""
        many = self._total // (_STEPS[-1] * _TICKS) + 1  # more than 1 where a time is damaged
        step = next((size for size in _STEPS if self._total / size <= _TICKS), _STEPS[-1] * many)
        last = -_APART
        for start, stop in self._pieces:
            n = round((start - self._begin) / step + 0.499999)
            while self._begin + n * step <= stop + step * 1e-6:
                x = self.x(self._begin + n * step)
                if x - last >= _APART:
                    yield x, n * step
                    last = x
                n += 1


def awaited(one: Attempt, told: History) -> tuple[float, float] | None:
    """Give from when to when an attempt has waited for an answer, or None if it did not."""
    if not one.waits or one.end is None:
        return None
    return one.end, max(one.end, told.end if one.answered is None else one.answered)


def _merged(spans: list[tuple[float, float]], least: float) -> list[tuple[float, float]]:
    """Join what overlaps, or has less than so many seconds between."""
    merged: list[tuple[float, float]] = []
    for start, stop in spans:
        if merged and start <= merged[-1][1] + least:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((start, stop))
    return merged
