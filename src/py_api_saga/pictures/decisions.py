"""What a person may decide on the pages: where it is offered, and how it is asked once more.

Nothing is decided here. What is offered is what the machine would accept as a saga stands, and what
it leads to is said in the words of `saga why`. What would have to import anything, to go on with a
saga, is left to the command.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from py_api_saga.exceptions import SagaError
from py_api_saga.journal.changes import Summary
from py_api_saga.journal.lasting import View
from py_api_saga.pictures.addresses import HOME, AddressError, Asked, address, of_saga
from py_api_saga.pictures.document import badge
from py_api_saga.pictures.markup import Markup, join, tag
from py_api_saga.repair import DecisionError
from py_api_saga.status import SagaStatus, Status
from py_api_saga.story.many import of_error
from py_api_saga.story.remedies import Way, typed, ways
from py_api_saga.story.saga import Story, read
from py_api_saga.story.words import plural

MOST = 500  # sagas about which one decision may be
_SHOWN = 20  # of many sagas
NOTE = 2000  # characters

TITLES = {
    "retry": "Try again",
    "compensate": "Give up and undo",
    "cancel": "Undo",
    "resolve": "Say what came of it",
    "answer": "Answer",
}
OF_ALL = ("retry", "compensate")  # what can be decided about all that are stuck
_SAID = {
    Status.SUCCEEDED: "it took effect",
    Status.FAILED: "it took no effect",
    Status.COMPENSATED: "it was undone by hand",
    Status.SKIPPED: "its effect is to stand",
}


_ANSWERED = {True: "it took effect", False: "it took no effect"}


class Hand(NamedTuple):
    """Somebody who may decide.

    Attributes:
        who: As it is written down.
        token: What proves that a form comes from these pages.
    """

    who: str
    token: str


# --- where it is offered --------------------------------------------------------------------------


def offers(story: Story) -> list[Markup | None]:
    """Give a link for each way, in the order of `remedies`; None for what only the command does."""
    return [_offer(story.seen.saga_id, way) for way in ways(story)]


def _offer(saga_id: str, way: Way) -> Markup | None:
    if way.verb not in TITLES:
        return None
    said = way.status and way.status.value
    href = address("decide", saga=saga_id, verb=way.verb, operation=way.operation, said=said)
    return tag("div", tag("a", f"{title_of(way)}…", href=href, class_="act"))


def title_of(way: Way) -> str:
    """Say what is decided, in a few words."""
    if way.verb == "answer":
        what = f"the undo of {way.operation}" if way.is_undo else way.operation
        return f"{what}: {_ANSWERED[way.status is Status.SUCCEEDED]}"
    if way.status is not None:
        return f"{way.operation}: {_SAID[way.status]}"
    return TITLES[way.verb]


def offers_of_all(asked: Asked) -> Markup | None:
    """Give links for what can be decided about all that are listed, if all of them are stuck."""
    if asked.status is not SagaStatus.STUCK:
        return None
    chosen = {"name": asked.name, "id": asked.prefix, "error": asked.error}
    links = [
        tag("a", _all_of_these(verb), href=address("decide", verb=verb, **chosen), class_="act")
        for verb in OF_ALL
    ]
    return tag("nav", *links, class_="ways", aria_label="decide about all")


def _all_of_these(verb: str) -> str:
    return f"{TITLES[verb]}: all of these…"


# --- how it is asked ------------------------------------------------------------------------------


def asked_one(view: View, asked: Asked, hand: Hand, command: str) -> tuple[str, Markup]:
    """Give the title of the page on which one decision is confirmed, and what is on it.

    Raises:
        SagaError: There is no such saga, or this can't be decided as it stands.
    """
    story = read(view, asked.saga_id)
    way = way_of(story, asked.verb, asked.operation, asked.said)
    saga_id = story.seen.saga_id
    said = way.status and way.status.value
    title = title_of(way)
    form = _form(
        "decide",
        hand,
        [*_given(way), *_checks(way)],
        verb=way.verb,
        operation=way.operation,
        said=said,
        saga=field_of(story.seen),
        back=of_saga(saga_id),
    )
    section = tag(
        "section",
        tag(
            "div",
            tag("a", saga_id, href=of_saga(saga_id)),
            badge(story.seen.status.value, small=True),
            class_="line",
        ),
        tag("p", _leads(way)),
        tag("p", "As it would be typed:", class_="soft"),
        tag("code", typed(way, saga_id, command), class_="cmd"),
        form,
        class_="todo",
    )
    return f"{title}: {saga_id}", join([tag("h1", title), section])


def _leads(way: Way) -> str:
    """Say in a sentence what a decision leads to, or when it is the right one."""
    does = way.does
    return f"{does[0].upper()}{does[1:]}." if does.startswith(_WHEN) else f"It {does}."


_WHEN = ("if ", "only if ")


def asked_many(view: View, asked: Asked, hand: Hand) -> tuple[str, Markup]:
    """Give the page on which a decision about many is confirmed, with how many they are.

    Raises:
        AddressError: It can't be about many.
        DecisionError: There is none for which it is possible.
    """
    if asked.verb not in OF_ALL:
        message = f"verb: expected one of {', '.join(OF_ALL)}"
        raise AddressError(message)
    found = view.select({SagaStatus.STUCK}, asked.name or None, prefix=asked.prefix or None)
    those = of_error(view, found, asked.error) if asked.error else iter(found)
    able, unable, is_all = _divided(view, those, asked.verb)
    if not able:
        message = f"there is no saga among these for which this is possible: {TITLES[asked.verb]}"
        raise DecisionError(message)
    title = f"{TITLES[asked.verb]}: {plural(len(able), 'saga')}"
    shown = [tag("li", tag("a", one.saga_id, href=of_saga(one.saga_id))) for one in able[:_SHOWN]]
    says = [] if is_all else [f"These are the newest {MOST:,}: the others come next."]
    if unable:
        says.append(f"{plural(unable, 'other')} among them: this is not possible as they stand.")
    form = _form(
        "decide",
        hand,
        [_new_key()] if asked.verb == "retry" else [],
        *[field_of(one) for one in able],
        verb=asked.verb,
        back=asked._replace(verb="", status=SagaStatus.STUCK).address(),
    )
    section = tag(
        "section",
        tag("ul", *shown, class_="plain"),
        tag("p", f"and {len(able) - _SHOWN:,} more") if len(able) > _SHOWN else None,
        *[tag("p", one, class_="soft") for one in says],
        tag("p", "It is decided about each by itself; what has changed meanwhile is left."),
        form,
        class_="todo",
    )
    return title, join([tag("h1", title), section])


def _divided(
    view: View, those: Iterator[Summary], verb: str
) -> tuple[Sequence[Summary], int, bool]:
    """Give those for which a decision is possible, how many there are besides, and if it is all."""
    able: list[Summary] = []
    unable = 0
    for seen in those:
        if len(able) == MOST:
            return able, unable, False
        try:
            possible = any(way.verb == verb for way in ways(read(view, seen.saga_id)))
        except SagaError:  # it is gone
            possible = False
        if possible:
            able.append(seen)
        else:
            unable += 1
    return able, unable, True


def way_of(story: Story, verb: str, operation: str, said: Status | None) -> Way:
    """Find what is to be decided among what is possible.

    Raises:
        DecisionError: It is not, or not any more.
    """
    for way in ways(story):
        if verb in TITLES and (way.verb, way.operation, way.status) == (verb, operation, said):
            return way
    message = (
        f"saga {story.seen.saga_id!r} is {story.seen.status.value}: this cannot be decided as it "
        "stands"
    )
    raise DecisionError(message)


def field_of(seen: Summary) -> str:
    """Give a saga as a form has it: with what is another once anybody has done anything to it."""
    return f"{seen.number}.{seen.status.value}.{seen.epoch}:{seen.saga_id}"


def _given(way: Way) -> Iterator[Markup]:
    """Yield what has to be filled in besides the note."""
    if way.status is Status.SUCCEEDED:
        yield tag(
            "label",
            "What it returned, as plain JSON: null if nothing",
            tag("textarea", name="result", rows=2, required=True, spellcheck="false"),
        )
    elif way.verb == "answer":
        yield tag(
            "label",
            "What it failed with: it is on record as the error",
            tag("textarea", name="result", rows=2, required=True, maxlength=NOTE),
        )


def _checks(way: Way) -> Iterator[Markup]:
    """Yield what can be ticked, or has to be."""
    if way.verb == "retry":
        yield _new_key()
    if way.ended:
        words = " The calls that were given up have ended for sure, with their process or otherwise"
        yield tag(
            "label",
            tag("input", type="checkbox", name="ended", value="yes", required=True),
            words,
            class_="check",
        )


def _new_key() -> Markup:
    words = (
        " Under a new idempotency key: services take it for a new call, also if the first one has "
        "taken effect"
    )
    return tag(
        "label", tag("input", type="checkbox", name="new_key", value="yes"), words, class_="check"
    )


def _form(
    action: str, hand: Hand, more: Sequence[Markup], *sagas: str, back: str, **hidden: object
) -> Markup:
    """Give a form that is posted, with a note that it takes."""
    fields = [("saga", one) for one in sagas]
    fields += [(name, str(value)) for name, value in hidden.items() if value]
    note = tag("textarea", name="note", rows=3, required=True, maxlength=NOTE)
    return tag(
        "form",
        tag("input", type="hidden", name="token", value=hand.token),
        *[tag("input", type="hidden", name=name, value=value) for name, value in fields],
        *more,
        tag("label", "Why: it is on record with your name", note),
        tag(
            "div",
            tag("button", f"Write it down as {hand.who}", class_="go"),
            tag("a", "back", href=back or HOME),
            class_="line",
        ),
        method="post",
        action=action,
        class_="decide",
    )


# --- what came of it ------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What came of a decision about one saga.

    Attributes:
        saga_id: Which one.
        problem: Why nothing was changed, or "".
    """

    saga_id: str
    problem: str


def decided(verb: str, outcomes: Sequence[Outcome]) -> tuple[str, Markup]:
    """Give the title of the page that says what came of a decision, and what is on it."""
    left = [one for one in outcomes if one.problem]
    title = f"{TITLES[verb]}: {len(outcomes) - len(left):,} written down, {len(left):,} not"
    rows = [
        tag(
            "li",
            tag("a", one.saga_id, href=of_saga(one.saga_id)),
            tag("p", one.problem, class_="err"),
        )
        for one in left
    ]
    section = tag(
        "section",
        tag("p", "`saga recover`, or a worker, goes on with them."),
        tag("ul", *rows) if rows else None,
        tag("p", tag("a", "back", href=HOME)),
        class_="todo",
    )
    return title, join([tag("h1", title), section])
