"""One saga as a page: what to decide, the timeline, the operations, moment by moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, TypeAlias

from py_api_saga.pictures.document import badge, document
from py_api_saga.pictures.graph import graph
from py_api_saga.pictures.markup import Markup, join, tag, text
from py_api_saga.pictures.timeline import folded, timeline
from py_api_saga.status import SagaStatus
from py_api_saga.story.detail import call_words, in_full
from py_api_saga.story.saga import Story
from py_api_saga.story.timeline import Chronicler, besides
from py_api_saga.story.waits import is_due, is_suspended
from py_api_saga.story.why import explained
from py_api_saga.story.words import duration, exact, moment, plural, shown_words, span

Offers: TypeAlias = Sequence[Markup | None]

_ENDED = frozenset({SagaStatus.COMPLETED, SagaStatus.COMPENSATED})


def page(story: Story, command: str = "saga", *, whole: bool = False) -> str:
    """Give the page of a saga.

    Args:
        story: The saga.
        command: How the commands begin that it lists.
        whole: Whether to show arguments and results; else only their types.

    Raises:
        SagaError: They are to be shown, but were sealed by another codec, or tampered with.
    """
    title = f"{story.seen.saga_id} · {story.seen.status.value}"
    return document(title, tag("main", parts(story, command, whole=whole)), footer(story.now))


def parts(
    story: Story, command: str = "saga", *, whole: bool = False, offers: Offers = ()
) -> Markup:
    """Give what is on the page of a saga, for a page of whoever shows it.

    Args:
        story: The saga.
        command: How the commands begin that it lists.
        whole: Whether to show arguments and results; else only their types.
        offers: What stands behind each of these commands, if anything does.
    """
    return join([head(story), below(story, command, whole=whole, offers=offers)])


def below(
    story: Story, command: str = "saga", *, whole: bool = False, offers: Offers = ()
) -> Markup:
    """Give all that is below the heading."""
    shown, why = in_full(story, whole=whole), explained(story, command)
    return join(
        [
            to_decide(story, why, offers),
            timeline(story),
            graph(story),
            _operations(story, shown, why, whole=whole),
            _moments(story, whole=whole),
        ]
    )


def footer(now: float) -> Markup:
    """Say when a page was made."""
    return tag("footer", f"As it stood on {moment(now)}. All times are UTC.")


# --- what it is, and what can be done -------------------------------------------------------------


def head(story: Story) -> Markup:
    """Say which saga it is, and where it stands."""
    seen = story.seen
    title = tag("div", tag("h1", seen.saga_id), badge(seen.status.value), class_="title")
    return tag("header", title, tag("p", facts(story), class_="soft"))


def facts(story: Story) -> Markup:
    """Say in a line what is known of it: its name, its size, when it was begun, for how long."""
    name = None if story.seen.name is None else tag("b", story.seen.name)
    known = [fact for fact in (name, *_facts(story)) if fact is not None]
    return join([part for fact in known for part in (" · ", fact)][1:])


def _facts(story: Story) -> Iterator[str]:
    seen = story.seen
    if story.recorded is not None:
        definition = story.recorded.definition
        yield plural(len(definition.operations), "operation")
        if not definition.is_chain:
            yield "side by side where their order allows"
    yield f"begun {exact(seen.created).replace('T', ' ')}"
    if seen.status in _ENDED:
        if story.lines:
            yield f"took {span(max(story.lines[-1].at - seen.created, 0))}"
        yield f"ended {duration(max(story.now - seen.changed, 0))} ago"
    else:
        yield f"{seen.status.value} for {duration(max(story.now - seen.changed, 0))}"
    if seen.tries:
        yield f"recovery has tried it {plural(seen.tries, 'time')}"


def to_decide(story: Story, why: dict[str, Any], offers: Offers = ()) -> Markup:
    """Say why a saga stands where it does, and what can be done: one way; the others folded."""
    says = tag("p", " ".join(why["says"])) if why["says"] else None
    if story.seen.status in _ENDED:
        return join([says])
    is_stuck = story.seen.status is SagaStatus.STUCK
    ways = [
        tag("li", tag("code", remedy["command"], class_="cmd"), remedy["does"], offer)
        for remedy, offer in zip_longest(why["remedies"], offers)
    ]
    # What a living process drives needs nothing, so all is folded that could be done about it.
    first, others = ([], ways) if story.driven else (ways[:1], ways[1:])
    words = plural(len(others), "other way" if first else "way")
    fold = tag("details", tag("summary", f"{words}, if you know more"), tag("ul", *others))
    return tag(
        "section",
        tag("h2", _TITLES[is_stuck, is_suspended(story) and not is_due(story)]),
        says,
        *(tag("p", cause, class_="err") for cause in _causes(story, why)),
        tag("ul", *first) if first else None,
        fold if others else None,
        class_="todo stuck" if is_stuck else "todo",
    )


_TITLES = {
    (True, False): "A person must decide",
    (True, True): "A person must decide",  # as recovery gave up
    (False, False): "What can be done",
    (False, True): "Waits for an answer",
}


def _causes(story: Story, why: dict[str, Any]) -> Iterator[Markup]:
    """Yield what a person has to know first: what failed, and why it cannot be read."""
    for operation in why["operations"]:
        if operation["status"] == "stuck":
            yield join([tag("b", operation["name"]), " ", operation["says"]])
    for cause in (story.parked, story.fault):
        if cause is not None:
            yield text(cause)


# --- what it is made of ---------------------------------------------------------------------------


def _operations(
    story: Story, shown: dict[str, Any], why: dict[str, Any], *, whole: bool
) -> Markup | None:
    operations = shown["operations"]
    if not operations or story.recorded is None:
        return None
    is_chain = story.recorded.definition.is_chain

    def row(i: int) -> Markup:
        return _operation(operations[i], why["operations"][i]["says"], is_chain, whole=whole)

    notable = [one["error"] is not None or one["status"] == "stuck" for one in operations]
    hint = "Arguments and results are shown as their types only."
    return tag(
        "section",
        tag("h2", "Operations"),
        tag("ol", *folded(notable, row, "operation"), class_="ops"),
        None if whole else tag("p", hint, class_="soft"),
    )


def _operation(one: dict[str, Any], says: str, is_chain: bool, *, whole: bool) -> Markup:  # noqa: FBT001
    call = call_words(one["action"], whole=whole)
    if one["result"] is not None:
        call += f" → {shown_words(one['result'], whole=whole)}"
    undo, error = one["compensation"], one["error"]
    undo = None if undo is None else tag("code", f"undo: {call_words(undo, whole=whole)}")
    after = f"after {', '.join(one['after'])}" if one["after"] and not is_chain else None
    raised = None
    if error is not None and error["text"] not in says:
        kind = error["type"].rpartition(".")[2]
        raised = tag("div", f"raised last: {kind}: {error['text']}", class_="soft")
    return tag(
        "li",
        tag("div", tag("b", one["name"]), " ", badge(one["status"], small=True)),
        tag(
            "div",
            tag("div", says, " · the pivot" if one["pivot"] else None),
            tag("code", call),
            tag("div", undo or "nothing undoes it", class_="soft"),
            None if after is None else tag("div", after, class_="soft"),
            raised,
        ),
    )


# --- moment by moment -----------------------------------------------------------------------------


def _moments(story: Story, *, whole: bool) -> Markup | None:
    if story.recorded is None:
        return None
    begin, lines = story.seen.created, story.lines
    teller = Chronicler(story.recorded.definition.names.all(), story.opens, whole=whole)
    operations = plural(len(story.recorded.definition.operations), "operation")

    def row(n: int) -> Markup:
        if n == 0:
            who = besides(None, None, story.process)
            return _moment(begin, begin, None, f"written down: {operations}{who}")
        line = lines[n - 1]
        says = teller.tell(line) + besides(line.took, line.waited, line.process)
        return _moment(line.at, begin, teller.operation(line), says)

    notable = [n <= _FIRST or n > len(lines) - _FIRST for n in range(len(lines) + 1)]
    rows = tag("ol", *folded(notable, row, "moment"), class_="moments")
    return tag("section", tag("h2", "Moment by moment"), rows)


_FIRST = 100  # moments, and as many of the last, are shown of a long saga


def _moment(at: float, begin: float, operation: str | None, says: str) -> Markup:
    day, _, hour = exact(at).partition("T")
    when = hour if day == exact(begin)[:10] else f"{day} {hour}"
    sign = "+" if at >= begin else "-"
    name = None if operation is None else tag("b", operation)
    return tag(
        "li",
        tag("i", when),
        tag("i", f"{sign}{span(abs(at - begin))}"),
        tag("span", name, " " if name else None, says),
    )
