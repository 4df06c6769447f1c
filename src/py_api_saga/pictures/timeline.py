"""The timeline of a saga: a lane for each operation, actions above and undos below."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from py_api_saga.entries import ASK, COMPENSATION
from py_api_saga.pictures.axis import Axis, awaited
from py_api_saga.pictures.markup import Markup, join, tag
from py_api_saga.status import Status
from py_api_saga.story.attempts import Attempt, End, History, Moment, history
from py_api_saga.story.saga import Story
from py_api_saga.story.words import plural, span

MOST: Final = 200  # lanes, or lines, that are shown; the others are folded

_DENSE: Final = 20  # lanes: more are drawn in less room
_SEEN: Final = 0.5  # percent of the width: what waits for less is not drawn
_LEAST: Final = 0.3  # percent of the width: no bar is shorter
_LATE: Final = 88.0  # percent: a word in the middle of this would not fit, so it ends there
_BEFORE_LATE: Final = 14.0  # percent: what such a word takes, with half of the one before
_ROOM: Final = 4.0  # percent: what is cut out says for how long if it is so wide


class Look(NamedTuple):
    """How the end of an attempt looks."""

    style: str  # the class
    sign: str
    words: str


LOOKS: Final[dict[End, Look]] = {
    "succeeded": Look("done", "✓", "succeeded"),
    "failed": Look("failed", "✗", "failed"),
    "failed, tried again": Look("again", "↻", "failed, tried again"),
    "in doubt": Look("doubt", "?", "in doubt"),
    "lost": Look("lost", "?", "nobody knows when, or how, it ended"),
    "running": Look("running", "▶", "runs"),
    "begun": Look("begun", "…", "begun, and its answer comes later"),
    "happened": Look("asked", "✓", "asked: it happened"),
    "did not happen": Look("asked", "✗", "asked: it did not happen"),
    "nobody could say": Look("doubt", "?", "asked: nobody could say"),
}
_QUIET = frozenset({Status.PENDING, Status.SUCCEEDED, Status.COMPENSATED})


def timeline(story: Story) -> Markup:
    """Draw what a saga has gone through, or say why it cannot be drawn."""
    if story.recorded is None or story.execution is None:
        why = "Its details were purged." if story.fault is None else f"Unreadable: {story.fault}"
        return _section(tag("p", why, class_="soft" if story.fault is None else "err"))
    told = history(story)
    if not told.attempts:
        return _section(tag("p", "Nothing was called yet.", class_="soft"))
    axis = Axis(told)
    of: dict[int, list[Attempt]] = defaultdict(list)
    for one in told.attempts:
        of[one.operation].append(one)
    undone = any(one.kind == COMPENSATION for one in told.attempts)
    awaits = story.execution.awaited
    names, status = story.recorded.definition.names.all(), story.execution.status

    def lane(i: int) -> Markup:
        return _lane(names[i], status[i], of[i], axis, told, waits=i in awaits)

    notable = [status[i] not in _QUIET or len(of[i]) > 1 + undone for i in range(len(names))]
    is_tall = undone or len(names) > 1
    over = [
        tag("ol", *folded(notable, lane, "operation"), class_="lanes"),
        tag(
            "div",
            *_cuts(axis, is_tall=is_tall),
            *_rules(told, axis),
            class_="over",
        ),
        tag("div", *_ticks(axis), class_="axis", aria_hidden="true"),
    ]
    style = f"gantt{' flat' * (not undone)}{' marked' * bool(told.moments)}"
    style += " dense" * (len(names) > _DENSE)
    return _section(
        tag("div", *over, class_=style),
        _notes(told),
        _legend(told, axis),
        None if not told.set_back else tag("p", _SET_BACK, class_="soft"),
        None if told.is_own else tag("p", _NOT_OWN, class_="soft"),
    )


def _section(*inside: object) -> Markup:
    return tag("section", tag("h2", "Timeline"), *inside, class_="timeline")


_SET_BACK = (
    "The clock that dates this was set back meanwhile: what seems to have taken no time may have "
    "taken some."
)
_NOT_OWN = (
    "How long a call itself took is not on record for all of them: those are drawn from when they "
    "were announced to when what came of them was written down, which may be longer."
)


def folded(
    notable: Sequence[bool], show: Callable[[int], Markup], noun: str, most: int = MOST
) -> Iterator[Markup]:
    """Show so many of a list in their order, first those that are notable; fold the others."""
    ranked = sorted(range(len(notable)), key=lambda i: not notable[i])
    open_ = frozenset(ranked[:most])
    for is_open, group in groupby(range(len(notable)), key=open_.__contains__):
        shown = [*group]
        if is_open:
            yield from map(show, shown)
        else:
            summary = tag("summary", f"{plural(len(shown), f'more {noun}')}, uneventful")
            inside = tag("ol", *map(show, shown), class_="lanes")
            yield tag("li", tag("details", summary, inside), class_="fold")


# --- a lane ---------------------------------------------------------------------------------------


def _lane(
    name: str,
    status: Status,
    attempts: Iterable[Attempt],
    axis: Axis,
    told: History,
    *,
    waits: bool,
) -> Markup:
    bars = [join(_bar(one, name, axis, told)) for one in attempts]
    word = tag("small", status.value.replace("_", " "), ", waits" * waits)
    style = f"lane{' is-stuck' * (status is Status.STUCK)}"
    return tag("li", tag("b", name, " ", word), tag("div", *bars, class_="track"), class_=style)


def _bar(one: Attempt, name: str, axis: Axis, told: History) -> Iterator[Markup]:
    """Draw an attempt, how long was waited behind it, and when it landed."""
    look = LOOKS[one.how]
    row = " undo" * (one.kind == COMPENSATION)
    end = axis.until(one.start, one.end) if one.how == "lost" or one.end is None else one.end
    left = axis.x(one.start)
    width = max(axis.x(end) - left, _LEAST)
    took = "" if one.length is None else span(one.length)
    again = f"try {one.number}" * (one.number > 1 and one.kind != ASK)
    yield tag(
        "div",
        *(tag("span", word) for word in (look.sign, took, "undo" * bool(row), again) if word),
        class_=f"bar {look.style}{row}",
        style=_place(left, width),
        role="img",
        title=_in_words(one, name, told),
    )
    yield from _waits(one, name, row, axis)
    yield from _awaits(one, name, row, axis, told)
    if one.wait is not None:
        until = min(end + one.wait, told.end) if one.again is None else one.again
        if (width := axis.x(until) - axis.x(end)) > 0:
            waits = f"{name}: waits {one.wait:g} s before it is tried again"
            yield tag("div", class_=f"wait{row}", style=_place(axis.x(end), width), title=waits)
    if one.landed is not None:
        says = f"{name}: attempt {one.number}, which had been given up, has landed"
        left = axis.x(end)
        yield tag(
            "div",
            class_=f"late{row}",
            style=_place(left, max(axis.x(one.landed) - left, _LEAST)),
            role="img",
            title=says,
        )


def _awaits(one: Attempt, name: str, row: str, axis: Axis, told: History) -> Iterator[Markup]:
    """Draw for how long an attempt has waited for its answer, and what that was."""
    if (waited := awaited(one, told)) is None:
        return
    since, until = waited
    says, style = f"{name}: waits for an answer, {span(until - since)} so far", ""
    if one.answer is not None:
        look = LOOKS[one.answer]
        says = f"{name}: has waited for an answer, {span(until - since)}; then: {look.words}"
        style = f" {look.style}"
    left = axis.x(since)
    place = _place(left, max(axis.x(until) - left, _LEAST))
    yield tag("div", class_=f"await{row}{style}", style=place, role="img", title=says)


def _waits(one: Attempt, name: str, row: str, axis: Axis) -> Iterator[Markup]:
    """Draw for how long a call waited to begin, and what came of it to be written down."""
    for begin, end, what in (
        (one.announced, one.start, "waits to begin"),
        (one.end, one.written, "waits to be written down"),
    ):
        if not one.is_own or begin is None or end is None:
            continue
        left = axis.x(begin)
        if (width := axis.x(end) - left) >= _SEEN:
            says = f"{name}: {what}, {span(end - begin)}"
            yield tag("div", class_=f"queue{row}", style=_place(left, width), title=says)


def _in_words(one: Attempt, name: str, told: History) -> str:
    what = {COMPENSATION: ", undo", ASK: ", asked"}.get(one.kind, "")
    after = span(max(one.start - told.begin, 0))
    took = "" if one.length is None else f", took {span(one.length)}"
    took = ", the clock was set back meanwhile" if one.set_back else took
    return f"{name}{what}, attempt {one.number}: {LOOKS[one.how].words}, from +{after}{took}"


def _place(left: float, width: float | None = None) -> str:
    wide = "" if width is None else f";width:{width:.2f}%"
    return f"left:{left:.2f}%{wide}"


# --- what lies across all lanes -------------------------------------------------------------------


def _cuts(axis: Axis, *, is_tall: bool) -> Iterator[Markup]:
    for cut in axis.cuts:
        long = span(cut.seconds)
        says = f"waits for an answer, {long}" if cut.waits else f"nothing happened for {long}"
        word = f"waits {long}" if cut.waits and is_tall else long
        yield tag(
            "div",
            tag("span", word) if cut.width >= _ROOM else None,
            class_=f"cut{' waits' * cut.waits}",
            style=_place(cut.x, cut.width),
            role="img",
            title=says,
        )


def _rules(told: History, axis: Axis) -> Iterator[Markup]:
    for n, moment in enumerate(told.moments, 1):
        sign = tag("i", _sign(n, moment), aria_hidden="true")
        x = axis.x(moment.at)
        style = f"rule {_style(moment)}{' end' * (x > _LATE)}"
        yield tag("div", sign, class_=style, style=_place(x), title=moment.says)


def _ticks(axis: Axis) -> Iterator[Markup]:
    last = -_BEFORE_LATE
    for x, seconds in axis.ticks():
        style = "tick" if x <= _LATE else "tick end"
        if x <= _LATE or x - last >= _BEFORE_LATE:
            words = f"+{span(seconds)}" if seconds else "0"
            yield tag("span", words, class_=style, style=_place(x))
            last = x


def _notes(told: History) -> Markup | None:
    """List what the lines across the lanes are, by their numbers."""
    notes = []
    for n, moment in enumerate(told.moments, 1):
        number = tag("i", _sign(n, moment), class_=_style(moment))
        after = span(abs(moment.at - told.begin))
        notes.append(tag("li", number, f" +{after}: {moment.says}"))
    return tag("ul", *notes, class_="notes") if notes else None


def _sign(n: int, moment: Moment) -> str:
    return "now" if moment.what == "now" else str(n)


def _style(moment: Moment) -> str:
    return moment.what.replace(" ", "-")


def _legend(told: History, axis: Axis) -> Markup:
    """Say what the bars that there are mean."""
    seen = {(LOOKS[one.how].style, one.kind == COMPENSATION) for one in told.attempts}
    words = [
        tag("span", tag("i", class_=f"bar {style}{' undo' * undo}"), says)
        for style, undo, says in _MEANINGS
        if (style, undo) in seen or (style != "done" and not undo and (style, True) in seen)
    ]
    if any(one.wait is not None for one in told.attempts):
        words.append(tag("span", tag("i", class_="wait"), "waits before it is tried again"))
    if any(one.waits for one in told.attempts):
        words.append(tag("span", tag("i", class_="await"), "waits for an answer"))
    if any(one.landed is not None for one in told.attempts):
        words.append(tag("span", tag("i", class_="late"), "landed late: given up, and ended later"))
    if any(1 for one in told.attempts for _ in _waits(one, "", "", axis)):
        words.append(tag("span", tag("i", class_="queue"), "waits for its turn"))
    if any(cut.waits for cut in axis.cuts):
        words.append(tag("span", tag("i", class_="cut waits"), "waits for an answer: left out"))
    if not all(cut.waits for cut in axis.cuts):
        words.append(tag("span", tag("i", class_="cut"), "nothing happened: left out"))
    return tag("p", *words, class_="legend")


_MEANINGS = (
    ("done", False, "action"),
    ("done", True, "undo"),
    ("again", False, "failed, tried again"),
    ("failed", False, "failed"),
    ("doubt", False, "in doubt"),
    ("lost", False, "nobody knows when, or how, it ended"),
    ("running", False, "runs"),
    ("begun", False, "begun, and its answer comes later"),
    ("asked", False, "asked whether it happened"),
)
