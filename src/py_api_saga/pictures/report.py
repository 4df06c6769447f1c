"""Many sagas as one page: first those that need a person, and each opens where it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from py_api_saga.journal.changes import OPEN
from py_api_saga.pictures.document import badge, document, style
from py_api_saga.pictures.markup import Markup, join, tag
from py_api_saga.pictures.page import below, facts, footer
from py_api_saga.standing import what_is_stuck
from py_api_saga.status import SagaStatus
from py_api_saga.story.saga import Story
from py_api_saga.story.waits import at_a_glance
from py_api_saga.story.words import duration, in_shell, moment, plural

_MOST: Final = 20_000  # lines of all sagas: of those behind, only the headings are in the page
_GROUPS: Final = (
    ("Needs a person", frozenset({SagaStatus.STUCK})),
    ("Not ended yet", OPEN),
    ("Ended", frozenset({SagaStatus.COMPLETED, SagaStatus.COMPENSATED})),
)


def report(
    stories: Iterable[Story],
    command: str = "saga",
    *,
    place: str,
    now: float,
    more: bool = False,
    whole: bool = False,
) -> str:
    """Give one page of many sagas.

    Args:
        stories: The sagas, in the order in which they are to be listed; read one by one.
        command: How the commands begin that it lists.
        place: Where the journal is.
        now: When that was.
        more: Whether there are more than these.
        whole: Whether to show arguments and results; else only their types.

    Raises:
        SagaError: They are to be shown, but were sealed by another codec, or tampered with.
    """
    counts: Counter[SagaStatus] = Counter()
    groups: dict[str, list[Markup]] = {title: [] for title, _ in _GROUPS}
    lines = 0
    for story in stories:
        status = story.seen.status
        counts[status] += 1
        lines += len(story.lines)
        title = next(title for title, statuses in _GROUPS if status in statuses)
        groups[title].append(_saga(story, command, whole=whole, is_short=lines > _MOST))
    shown = plural(sum(counts.values()), "saga")
    head = tag(
        "header",
        tag("div", tag("h1", shown), *_counts(counts), class_="title"),
        tag("p", f"of the journal {place} on {moment(now)}", class_="soft"),
        tag("p", "There are more; this is as many as were asked for.") if more else None,
    )
    sections = [
        tag("section", tag("h2", title), tag("ul", *sagas, class_="sagas"))
        for title, sagas in groups.items()
        if sagas
    ]
    title = f"Sagas · {moment(now)}"
    sheet = tag("style", style("report.css"))
    return document(title, tag("main", head, *sections), footer(now), head=[sheet])


def _counts(counts: Counter[SagaStatus]) -> Sequence[Markup]:
    order = [status for _, group in _GROUPS for status in SagaStatus if status in group]
    return [
        tag("span", badge(status.value), f" {counts[status]:,}")
        for status in order
        if counts[status]
    ]


def _saga(story: Story, command: str, *, whole: bool, is_short: bool) -> Markup:
    seen = story.seen
    name = None if seen.name is None else tag("span", seen.name, class_="soft")
    since = duration(max(story.now - seen.changed, 0))
    since = f"{since} ago" if seen.status in _GROUPS[-1][1] else f"for {since}"
    summary = [badge(seen.status.value, small=True), tag("b", seen.saga_id), name]
    summary.append(tag("span", since, class_="soft"))
    if seen.suspended:
        waits = at_a_glance(seen, story.now, is_answered=bool(story.mail))
        summary.append(tag("span", waits, class_="soft"))
    if (why := _reason(story)) is not None:
        summary.append(tag("span", why, class_="err"))
    if is_short:
        typed = f"{command} show --html FILE -- {in_shell(seen.saga_id)}"
        says = join(["Too much for one page. This draws it: ", tag("code", typed)])
        inside = tag("p", says, class_="soft")
    else:
        inside = join([tag("p", facts(story), class_="soft"), below(story, command, whole=whole)])
    return tag("li", tag("details", tag("summary", *summary), tag("div", inside, class_="one")))


def _reason(story: Story) -> str | None:
    if story.fault is not None:
        return story.fault
    if story.seen.status is not SagaStatus.STUCK or story.recorded is None:
        return None
    return None if story.execution is None else what_is_stuck(story.recorded, story.execution)
