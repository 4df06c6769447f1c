"""What there is in a journal: what needs a person, how many stand how, and a list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from py_api_saga.journal.changes import OPEN, Summary
from py_api_saga.journal.holder import Holder
from py_api_saga.journal.lasting import View
from py_api_saga.pictures.addresses import HOME, Asked, of_saga
from py_api_saga.pictures.document import badge
from py_api_saga.pictures.markup import Markup, join, tag, text
from py_api_saga.status import SagaStatus
from py_api_saga.story.attention import Attention, Retrying, attention, retrying
from py_api_saga.story.many import answered_of, kinds_of_error, of_error, reasons_of, stories
from py_api_saga.story.saga import Story
from py_api_saga.story.waits import at_a_glance
from py_api_saga.story.why import explained
from py_api_saga.story.words import duration, moment, plural

PAGE = 50  # sagas in a list
_SHOWN = 10  # that are overdue, and as many that were tried in vain
_LOOKED_INTO = 20  # that are stuck; those for the same reason are shown as one
_LOOKED_AT = 50  # open ones, for those that only try again: the oldest
_SEARCHED = 500  # stuck ones, for those of an error
_LONGEST = 200  # characters of a reason in the list
MOST_COUNTED = 1_000_000


class _Need(NamedTuple):
    """A saga that needs a person, why, what to type, and the class of what it raised."""

    seen: Summary
    says: tuple[object, ...]
    command: str | None
    error: str


class Overview:
    """The page, from one look into the journal."""

    def __init__(self, journal: View, asked: Asked, command: str) -> None:
        """Look at what was asked for; `command` is how each command begins."""
        self._journal, self._asked, self._command = journal, asked, command
        self._now = journal.now()
        self._found = attention(journal, most=_SHOWN)
        self._listed = listed_as_asked(journal, asked)
        self._answered = answered_of(journal, self._listed.sagas)

    def title(self) -> str:
        """Give the title, with how many need a person."""
        concern = len(self._found.concern)
        return f"({concern:,}) sagas" if concern else "sagas"

    def parts(self, counts: Mapping[SagaStatus, int], offer: Markup | None = None) -> Markup:
        """Give what is on the page.

        Args:
            counts: How many sagas there are, by their status; of those that have not ended it does
                not matter, as they are all known.
            offer: What may be decided about all that are listed.
        """
        return join(
            [
                tag("h1", "Sagas", class_="off"),
                self._held(self._journal.who_hangs()),
                self._needs(),
                self._retrying(),
                self._waiting(),
                self._counts(counts),
                self._list(offer),
            ]
        )

    # --- what needs a person ---------------------------------------------------------------------

    def _held(self, holder: Holder | None) -> Markup | None:
        if holder is None:
            return None
        says = f"{holder} is writing to the journal, and nobody else can; {holder.remedy}"
        return tag("section", tag("p", says, class_="err"), class_="todo stuck")

    def _needs(self) -> Markup:
        found = self._found
        those = [*found.stuck[:_LOOKED_INTO], *found.overdue[:_SHOWN]]
        those += [*found.tried[:_SHOWN], *found.unsure[:_SHOWN]]
        if not those:
            return tag("section", tag("p", "✓ Nothing needs a person."), class_="fine")
        alike: dict[object, list[_Need]] = {}
        shown = list({one.number: one for one in those}.values())
        for story in stories(self._journal, shown):
            need = self._look_into(story)
            alike.setdefault((story.seen.status, story.seen.name, need.says), []).append(need)
        left = len(found.stuck) - _LOOKED_INTO
        more = tag("a", f"{left:,} more are stuck", href=Asked(status=SagaStatus.STUCK).address())
        return tag(
            "section",
            tag("h2", f"Needs a person: {', '.join(_amounts(found))}"),
            tag("ul", *map(self._need, alike.values())),
            tag("p", more) if left > 0 else None,
            tag("p", self._journal.unsure, class_="err") if self._journal.unsure else None,
            class_="todo stuck" if found.stuck else "todo",
            id="needs",
        )

    def _look_into(self, story: Story) -> _Need:
        """Say why a saga needs a person, and what to type."""
        why = explained(story, self._command)
        kinds = () if story.execution is None else kinds_of_error(story.execution)
        says = [
            join([tag("b", one["name"]), " ", _cut(one["says"])])
            for one in why["operations"]
            if one["status"] == "stuck"
        ]
        if story.parked is not None:
            says.append(text(_cut(story.parked)))
        if story.fault is not None:
            says.append(text(_cut(story.fault)))
        said = tuple(says or [text(_cut(one)) for one in why["says"][-1:]])
        command = next((remedy["command"] for remedy in why["remedies"]), None)
        return _Need(story.seen, said, command, next(iter(kinds), ""))

    def _need(self, alike: Sequence[_Need]) -> Markup:
        """Show sagas that need a person for the same reason, as one."""
        seen, says, command, error = alike[0]
        links = [tag("a", one.seen.saga_id, href=of_saga(one.seen.saga_id)) for one in alike[1:]]
        if links and seen.status is SagaStatus.STUCK and error:
            all_of_it = Asked(status=SagaStatus.STUCK, name=seen.name or "", error=error)
            links.append(tag("a", f"all with {error.rpartition('.')[2]}", href=all_of_it.address()))
        others = [part for link in links for part in (" · ", link)][1:]
        look = "err" if seen.status is SagaStatus.STUCK else None
        return tag(
            "li",
            self._heading(seen, self._since(seen)),
            *[tag("p", one, class_=look) for one in says],
            None if command is None else tag("code", command, class_="cmd"),
            tag("p", "the same: ", *others, class_="soft") if others else None,
        )

    def _since(self, seen: Summary) -> str:
        age = duration(max(0.0, self._now - seen.changed))
        if seen.number in self._found.unheard:
            return "answered, and nobody goes on"
        if seen.status not in OPEN:
            return f"for {age}"
        words = f"open for {duration(max(0.0, self._now - seen.created))}"
        if seen.suspended:
            return f"{words}, {at_a_glance(seen, self._now)}"
        if seen.tries:
            words += f", recovery has tried it {plural(seen.tries, 'time')}"
        if (name := self._found.waits.get(seen.number)) is not None:
            return f"{words}, waits for {name}"
        return words if self._found.driven[seen.number] else f"{words}, left lying for {age}"

    def _heading(self, seen: Summary, says: str) -> Markup:
        link = tag("a", seen.saga_id, href=of_saga(seen.saga_id))
        name = None if seen.name is None else join([tag("b", seen.name), " · "])
        facts = tag("span", name, says, class_="soft")
        return tag("div", link, badge(seen.status.value, small=True), facts, class_="line")

    def _retrying(self) -> Markup | None:
        found = retrying(self._journal, self._found, _LOOKED_AT)
        if not found:
            return None
        return tag(
            "section",
            tag("h2", f"Tries again: {plural(len({one.seen.number for one in found}), 'saga')}"),
            tag("ul", *map(self._one_retrying, found[:_SHOWN]), class_="plain"),
            class_="todo",
            id="retrying",
        )

    def _waiting(self) -> Markup | None:
        """Say how many wait for answers, and show those that are due first, folded."""
        waiting = self._found.waiting
        if not waiting:
            return None
        first = sorted(waiting, key=lambda seen: seen.due)[:_SHOWN]
        says = [tag("li", self._heading(seen, at_a_glance(seen, self._now))) for seen in first]
        more = len(waiting) - len(first)
        fold = tag(
            "details",
            tag("summary", f"{plural(len(waiting), 'saga')} waiting for answers"),
            tag("ul", *says, class_="plain"),
            tag("p", f"and {more:,} more, due later", class_="soft") if more else None,
        )
        return tag("section", fold, class_="todo", id="waiting")

    def _one_retrying(self, one: Retrying) -> Markup:
        age = duration(max(0.0, self._now - one.seen.created))
        says = f"{_cut(one.says)}, {plural(one.attempts, 'attempt')} so far"
        return tag(
            "li",
            self._heading(one.seen, f"open for {age}"),
            tag("p", tag("b", one.operation), " ", says),
        )

    # --- how many --------------------------------------------------------------------------------

    def _counts(self, counts: Mapping[SagaStatus, int]) -> Markup:
        found = self._found
        counts = {
            **counts,
            SagaStatus.STUCK: len(found.stuck),
            **{status: sum(one.status is status for one in found.unfinished) for status in OPEN},
        }
        every = self._count(sum(counts.values()), None)
        each = [self._count(counts.get(status, 0), status) for status in _IN_ORDER]
        return tag("nav", every, *each, class_="counts", aria_label="by status")

    def _count(self, number: int, status: SagaStatus | None) -> Markup:
        """Give how many there are, as a filter that keeps the others."""
        asked = self._asked
        most = f"{number:,}" if number < MOST_COUNTED else f"{MOST_COUNTED:,}+"
        error = asked.error if status is SagaStatus.STUCK else ""
        return tag(
            "a",
            tag("strong", most),
            " ",
            "all" if status is None else badge(status.value, small=True),
            href=asked.address(status=status and status.value, below=None, error=error),
            aria_current="page" if asked.status is status else None,
        )

    # --- the list --------------------------------------------------------------------------------

    def _list(self, offer: Markup | None) -> Markup:
        listed, asked = self._listed, self._asked
        reasons = reasons_of(
            self._journal, [one for one in listed.sagas if one.status is SagaStatus.STUCK]
        )
        rows = [self._row(seen, reasons.get(seen.number)) for seen in listed.sagas]
        heads = ("saga", "name", "status", "since", "begun", "why")
        table = tag(
            "table",
            tag("thead", tag("tr", *[tag("th", head, scope="col") for head in heads])),
            tag("tbody", *rows),
        )
        ways = []
        if asked.below is not None:
            ways.append(tag("a", "newest", href=asked.address(below=None)))
        if listed.below is not None:
            ways.append(tag("a", "older", href=asked.address(below=listed.below)))
        none = "There is no such saga."
        if listed.below is not None:
            none = f"There is no such saga among the {_SEARCHED:,} that were looked into."
        return tag(
            "section",
            self._filters(),
            offer,
            table if rows else tag("p", none, class_="soft"),
            tag("nav", *ways, class_="ways", aria_label="pages") if ways else None,
            class_="list",
        )

    def _filters(self) -> Markup:
        asked = self._asked
        fields = [("id", "id begins with", asked.prefix), ("name", "name", asked.name)]
        kept = None
        if asked.status is not None:
            kept = tag("input", type="hidden", name="status", value=asked.status.value)
        if asked.status is SagaStatus.STUCK:
            fields.append(("error", "error, such as ValueError", asked.error))
        return tag(
            "form",
            *[_field(*field) for field in fields],
            kept,
            tag("button", "Filter"),
            tag("a", "all", href=HOME) if asked != Asked() else None,
            class_="filters",
            action=HOME,
            method="get",
        )

    def _row(self, seen: Summary, reason: str | None) -> Markup:
        why = reason or ""
        if seen.suspended:
            why = at_a_glance(seen, self._now, is_answered=seen.number in self._answered)
        elif seen.status in OPEN and not self._journal.drives(seen):
            why = "no process drives it"
        if seen.status in OPEN and seen.tries:
            why += f"{', ' * bool(why)}tried {plural(seen.tries, 'time')}"
        cells = (
            ("id", tag("a", seen.saga_id, href=of_saga(seen.saga_id))),
            ("name", seen.name or "-"),
            ("status", badge(seen.status.value, small=True)),
            ("since", duration(max(0.0, self._now - seen.changed))),
            ("begun", moment(seen.created)),
            ("why", _cut(why)),
        )
        return tag("tr", *[tag("td", what, class_=f"of-{name}") for name, what in cells])


_IN_ORDER = (
    SagaStatus.STUCK,
    SagaStatus.RUNNING,
    SagaStatus.COMPENSATING,
    SagaStatus.COMPLETED,
    SagaStatus.COMPENSATED,
)


def _amounts(found: Attention) -> Iterator[str]:
    """Say how many there are of what."""
    if found.stuck:
        yield f"{len(found.stuck):,} stuck"
    if found.overdue:
        or_more = " or more" * (len(found.overdue) >= _SHOWN)
        yield f"{len(found.overdue):,}{or_more} left lying"
    if found.tried:
        yield f"{len(found.tried):,} tried in vain"
    if found.unsure:
        yield f"{len(found.unsure):,} that a process may drive or not: nobody can tell"


class Listed(NamedTuple):
    """A page of sagas.

    Attributes:
        sagas: Newest first.
        below: The number from where older ones are listed, or None if there are no more. Those of
            an error are looked for among so many; so it may be that no older one is of it.
    """

    sagas: Sequence[Summary]
    below: int | None


def listed_as_asked(journal: View, asked: Asked) -> Listed:
    """Give a page of sagas."""
    statuses = {asked.status} if asked.status else set[SagaStatus]()
    if asked.error:  # of what is stuck
        if statuses - {SagaStatus.STUCK}:
            return Listed([], None)
        statuses = {SagaStatus.STUCK}
    found = journal.select(
        statuses,
        asked.name or None,
        prefix=asked.prefix or None,
        below=asked.below,
        limit=_SEARCHED if asked.error else PAGE + 1,
    )
    those = list(of_error(journal, found, asked.error)) if asked.error else found
    if len(those) > PAGE:
        return Listed(those[:PAGE], those[PAGE - 1].number)
    is_all = not asked.error or len(found) < _SEARCHED
    return Listed(those, None if is_all else found[-1].number)


def _field(name: str, words: str, value: str) -> Markup:
    options = {"spellcheck": "false", "autocomplete": "off"}
    return tag("label", words, tag("input", name=name, value=value, **options))


def _cut(text: str) -> str:
    """Leave out the end of a text that is long."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
