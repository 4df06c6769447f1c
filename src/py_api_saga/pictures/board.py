"""The pages of a journal behind one another: what is at an address, as text and headers.

Whoever serves them (the command, Django, Flask, Starlette) says where the journal is and who may
look; what a page is does not depend on that. A page is a function of a look into the journal and of
what was asked for, and gives text.
"""

from __future__ import annotations

import json
import pkgutil
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

from py_api_saga import clock
from py_api_saga.exceptions import JournalError, SagaError
from py_api_saga.journal.lasting import View
from py_api_saga.pictures.addresses import HOME, AddressError, Asked, read
from py_api_saga.pictures.decisions import Hand, asked_many, asked_one, offers, offers_of_all
from py_api_saga.pictures.document import document, policy, style
from py_api_saga.pictures.markup import tag
from py_api_saga.pictures.overview import MOST_COUNTED, Overview, listed_as_asked
from py_api_saga.pictures.page import parts
from py_api_saga.repair import DecisionError
from py_api_saga.status import SagaStatus
from py_api_saga.story.attention import attention
from py_api_saga.story.detail import holder_as_json, in_full
from py_api_saga.story.gauges import MEASURED, exposition, gauges
from py_api_saga.story.many import listed
from py_api_saga.story.saga import Story
from py_api_saga.story.saga import read as read_story
from py_api_saga.story.why import explained
from py_api_saga.wording import as_text

HTML, JSON, TEXT = "text/html", "application/json", "text/plain"
_TURN = 10.0  # seconds for which a request waits for others that read
_FRESH = 10.0  # seconds for which a count of many is good enough
_MANY = 10_000  # sagas: fewer are counted in no time

# What every answer says: nobody keeps it, frames it, or guesses what it is.
GUARDED = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Answer(NamedTuple):
    """What is sent.

    Attributes:
        status: Of HTTP.
        kind: The type of the body, without its character set, which is UTF-8.
        body: Text.
        headers: All others.
    """

    status: int
    kind: str
    body: str
    headers: Mapping[str, str]


class Board:
    """The pages of one journal."""

    def __init__(
        self, reader: Callable[[], View], *, command: str = "saga", whole: bool = False
    ) -> None:
        """Say what they show.

        Args:
            reader: Gives a view of the journal, for one page.
            command: How commands begin.
            whole: Whether to show arguments and results; else only their types.
        """
        self._reader, self._command, self._whole = reader, command, whole
        # One reader at a time: those that overlap keep the log of a file from being shortened.
        self._turn = threading.Lock()
        self._ended: tuple[float, Mapping[SagaStatus, int]] = 0.0, {}

    def answer(  # noqa: PLR0911 - one for each thing that can be wrong
        self, page: str, query: str, *, hand: Hand | None = None, nonce: str | None = None
    ) -> Answer:
        """Give a page; whatever is wrong is said on one.

        Args:
            page: Its address, below where the pages are; "" is the first.
            query: What stands behind the question mark.
            hand: With which somebody may decide, or None.
            nonce: With which another policy than that of the pages allows their styles and script.
        """
        shell = Shell(hand, nonce)
        make = _PAGES.get(page)
        if make is None:
            return shell.sorry(404, "There is no such page", "It may have been, or is mistyped.")
        if not self._turn.acquire(timeout=_TURN):
            return shell.sorry(503, "The journal is being read", "By others, and for long.")
        try:
            asked = read(query)
            with self._reader() as view:
                shell.place = view.place
                return make(self, view, asked, shell)
        except AddressError as error:
            return shell.sorry(400, "That address makes no sense", str(error))
        except DecisionError as error:
            return shell.sorry(409, "This cannot be decided", as_text(error, str))
        except JournalError as error:
            return shell.sorry(503, "The journal cannot be read", as_text(error, str))
        except SagaError as error:
            return shell.sorry(404, "There is no such saga", as_text(error, str))
        finally:
            self._turn.release()

    # --- pages -----------------------------------------------------------------------------------

    def _overview(self, view: View, asked: Asked, shell: Shell) -> Answer:
        overview = Overview(view, asked, self._command)
        offer = None if shell.hand is None else offers_of_all(asked)
        return shell.page(overview.title(), overview.parts(self._counted(view), offer))

    def _counted(self, view: View) -> Mapping[SagaStatus, int]:
        """Count the sagas by status; if there are many, as they were a moment ago."""
        until, ended = self._ended
        if clock.monotonic() >= until:
            ended = view.tally(MOST_COUNTED)
            if sum(ended.values()) >= _MANY:
                self._ended = clock.monotonic() + _FRESH, ended
        return ended

    def _saga(self, view: View, asked: Asked, shell: Shell) -> Answer:
        story = read_story(view, asked.saga_id)
        whole, sealed = _whole(story, self._whole)
        title = f"{story.seen.saga_id} · {story.seen.status.value}"
        given = [] if shell.hand is None else offers(story)
        made = parts(story, self._command, whole=whole, offers=given)
        return shell.page(title, tag("p", sealed, class_="err") if sealed else None, made)

    def _decide(self, view: View, asked: Asked, shell: Shell) -> Answer:
        if shell.hand is None:
            return shell.sorry(404, "Nothing is decided here", "These pages only show.")
        if asked.saga_id:
            return shell.page(*asked_one(view, asked, shell.hand, self._command))
        return shell.page(*asked_many(view, asked, shell.hand))

    # --- the same as data ------------------------------------------------------------------------

    def _api_list(self, view: View, asked: Asked, _: Shell) -> Answer:
        found = listed_as_asked(view, asked)
        holder = holder_as_json(view.who_hangs())
        more = {"more": found.below is not None, "below": found.below}
        return _as_json({"sagas": listed(view, found.sagas), **more, **holder})

    def _api_show(self, view: View, asked: Asked, _: Shell) -> Answer:
        story = read_story(view, asked.saga_id)
        return _as_json(in_full(story, whole=_whole(story, self._whole)[0]))

    def _api_why(self, view: View, asked: Asked, _: Shell) -> Answer:
        return _as_json(explained(read_story(view, asked.saga_id), self._command))

    def _api_check(self, view: View, _: Asked, __: Shell) -> Answer:
        return _as_json({**attention(view).as_json(), **holder_as_json(view.who_hangs())})

    def _metrics(self, view: View, _: Asked, __: Shell) -> Answer:
        return Answer(200, MEASURED, exposition(gauges(attention(view))), GUARDED)


_PAGES: Mapping[str, Callable[[Board, View, Asked, Shell], Answer]] = {
    "": Board._overview,  # noqa: SLF001 - the table is of this module
    "saga": Board._saga,  # noqa: SLF001
    "decide": Board._decide,  # noqa: SLF001
    "api/list": Board._api_list,  # noqa: SLF001
    "api/show": Board._api_show,  # noqa: SLF001
    "api/why": Board._api_why,  # noqa: SLF001
    "api/check": Board._api_check,  # noqa: SLF001
    "metrics": Board._metrics,  # noqa: SLF001
}


def _whole(story: Story, whole: bool) -> tuple[bool, str]:  # noqa: FBT001 - both by position
    """Tell whether values can be shown whole, and why not if they should be."""
    if whole:
        try:
            in_full(story, whole=True)
        except SagaError as error:  # what seals them is another codec than the journal's
            return False, as_text(error, str)
    return whole, ""


def _as_json(document: object) -> Answer:
    return Answer(200, JSON, f"{json.dumps(document, indent=2)}\n", GUARDED)


# --- what is around each page ---------------------------------------------------------------------


class Shell:
    """What is around each page: where it leads back to, and what keeps it up to date.

    Attributes:
        hand: With which somebody may decide, or None.
        place: Of the journal, once it is known.
    """

    def __init__(self, hand: Hand | None = None, nonce: str | None = None) -> None:
        """Say who may decide, and what else allows styles and script."""
        self.hand, self._nonce = hand, nonce
        self.place = ""

    def page(self, title: str, *inside: object, status: int = 200) -> Answer:
        """Give a page."""
        script = _script()
        # A form has to say from where it comes, so then the page says it, to its own address.
        told = "no-referrer" if self.hand is None else "same-origin"
        headers = {
            **GUARDED,
            "Referrer-Policy": told,
            "Content-Security-Policy": f"{policy(script, _ALLOWED)}; frame-ancestors 'none'",
        }
        live = tag("label", tag("input", type="checkbox", id="live", checked=True), " live")
        bar = tag(
            "div",
            tag("a", tag("b", "sagas"), href=HOME),
            tag("span", self.place, class_="soft place"),
            None
            if self.hand is None
            else tag("span", f"you decide as {self.hand.who}", class_="who"),
            tag("span", live, class_="live", hidden=True),
            class_="bar-of-all",
        )
        body = document(
            title,
            tag("header", bar),
            tag("p", _GONE, id="gone", role="status", hidden=True),
            tag("main", *inside, id="board"),
            script=script,
            head=[
                tag("meta", name="referrer", content=told),
                tag("style", style("board.css"), nonce=self._nonce),
            ],
            allow=_ALLOWED,
            nonce=self._nonce,
        )
        return Answer(status, HTML, body, headers)

    def sorry(self, status: int, title: str, says: str) -> Answer:
        """Give a page that says what is wrong."""
        back = tag("p", tag("a", "all sagas", href=HOME))
        section = tag("section", tag("h1", title), tag("p", says), back, class_="todo stuck")
        return self.page(title, section, status=status)


_ALLOWED = "connect-src 'self'; form-action 'self'"
_GONE = "No answer: what is shown is how it stood before. It is asked again every 2 seconds."


@cache
def _script() -> str:
    """Give what keeps a page up to date; whoever runs no script reloads it."""
    read = pkgutil.get_data(__package__, "live.js")
    lines = (line.partition("  // ")[0].strip() for line in (read or b"").decode().splitlines())
    return "\n".join(line for line in lines if line)
