"""The dashboard in a real browser: on a phone, in the dark, by keyboard; live, paused or gone."""

from __future__ import annotations

import http.server
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import depot
from boards import deciding, serving
from depot import do, fail, undo
from recorded import order, stuck

from browser.people import Person
from py_api_saga import SagaAssembler, SagaException, SagaStatus, recover
from py_api_saga.journal import SQLiteJournal

EVIL = "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
WIDTHS = (1200, 768, 360)
LOOKS = 2.0  # seconds between two looks of a page


class Stage(NamedTuple):
    """A journal, and somebody at a browser."""

    driver: Any
    pictures: Path | None
    journal: SQLiteJournal

    @contextmanager
    def looking(self) -> Iterator[Person]:
        """Have somebody look at the pages, who decides nothing; the console stays empty."""
        with serving(self.journal, command="saga --journal sagas.db") as served:
            yield from self._person(f"http://127.0.0.1:{served.port}/")

    @contextmanager
    def deciding(self) -> Iterator[Person]:
        """Have somebody decide on them, who has opened the address."""
        opened = lambda: SQLiteJournal(self.journal.path)  # noqa: E731 - as the command does
        with deciding(self.journal, opened) as looker:
            assert looker.acts is not None
            person = self._person(f"http://127.0.0.1:{looker.port}")
            for one in person:
                one.go(looker.acts.lock.address)
                one.home = one.driver.current_url
                yield one

    def _person(self, home: str) -> Iterator[Person]:
        person = Person(self.driver, home, self.pictures)
        person.look_at()
        person.complaints()
        yield person
        assert person.complaints() == []


@contextmanager
def stage(driver: Any, pictures: Path | None) -> Iterator[Stage]:
    """Make a journal with sagas that stand in every way, for the time of a block."""
    depot.reset()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        closing(SQLiteJournal(Path(folder, "sagas.db"), modules=["depot"])) as journal,
    ):
        for number in range(40):
            order().orchestrator_execute(journal=journal, saga_id=f"order-{number}")
        for number in range(3):
            stuck(journal, f"stuck-{number}")
        hostile(journal)
        order().start(journal=journal, saga_id="waits")
        yield Stage(driver, pictures, journal)
    depot.reset()


def hostile(journal: SQLiteJournal) -> None:
    """Leave a saga whose name, operations and errors are markup, or very long."""
    depot.behaviour["c"] = fail(ValueError(EVIL))
    depot.behaviour["undo b"] = fail(RuntimeError(f"{EVIL}\u202e{'x' * 500}"))
    made = SagaAssembler.saga(name="<i>name</i>")
    for name in ("a", "b", "c"):
        made.operation((do, name), (undo, name), name=f"op<b>{name}{'y' * 40}")
    try:
        made.orchestrator_execute(journal=journal, saga_id="e" * 128)
    except SagaException:
        depot.behaviour.clear()


def shows(person: Person, words: str) -> Callable[[], bool]:
    """Ask whether a page shows something."""
    return lambda: words in person.text


# --- what is tried --------------------------------------------------------------------------------


def whatever_is_on_record_is_text(stage: Stage) -> None:
    """Neither a name nor an error becomes a part of the page, also when it is swapped."""
    with stage.looking() as person:
        for address in ("", f"saga?saga={'e' * 128}", "?status=stuck"):
            person.go(address)
            time.sleep(1.5 * LOOKS)  # it is swapped once
            assert "<script>document.title=" in person.text
            assert "pwned" not in person.driver.title
            assert person.count("main img, main script") == 0
        person.go("")
        assert "<i>name</i>" in person.text
        person.picture("dashboard")


def nothing_scrolls_sideways(stage: Stage) -> None:
    """On a screen, on a tablet, on a phone; in the light and in the dark."""
    pages = {"list": "", "stuck": "?status=stuck&error=OSError", "one": f"saga?saga={'e' * 128}"}
    with stage.deciding() as person:
        pages |= {"asked": "decide?saga=stuck-0&verb=retry", "many": "decide?verb=retry"}
        pages |= {"wrong": "?status=broken"}
        for width in WIDTHS:
            person.look_at(width, dark=width == min(WIDTHS))
            for name, address in pages.items():
                person.go(address)
                over = person.too_wide()
                assert over <= 0, (width, name, over)
                person.picture(f"dashboard-{name}-{width}")
        told = [one for one in person.complaints() if "400 (Bad Request)" not in one]
        assert told == []


def a_new_saga_shows_by_itself(stage: Stage) -> None:
    """Within seconds; the page does not move, and the focus stays where it was."""
    with stage.looking() as person:
        person.go("")
        person.script("document.querySelector('a[href=\"saga?saga=order-20\"]').focus()")
        person.script("scrollTo(0, 500)")
        order().orchestrator_execute(journal=stage.journal, saga_id="comes-later")
        person.until(shows(person, "comes-later"), "a new saga")
        assert person.script("return scrollY") == 500
        focused = "return document.activeElement.textContent"
        assert person.script(focused) == "order-20"
        stuck(stage.journal, "stuck-later")
        person.until(lambda: person.driver.title == "(5) sagas", "the title")


def what_is_read_is_not_swapped(stage: Stage) -> None:
    """While it is paused, something is selected, unfolded, or typed in."""
    pause = ("document.getElementById('live').click()",) * 2
    fold = ("document.querySelector('summary').click()",) * 2
    select = ("getSelection().selectAllChildren(document.querySelector('h2'))", _DESELECT)
    field = ("document.querySelector('main input').focus()", "document.activeElement.blur()")
    with stage.looking() as person:
        for number, (address, (begin, end)) in enumerate(
            (("", pause), ("saga?saga=stuck-0", fold), ("", select), ("", field))
        ):
            person.go(address)
            time.sleep(1.5 * LOOKS)  # it is swapped once, and then only if it has changed
            person.script(f"{begin}; document.querySelector('main').title = 'kept'")
            order().orchestrator_execute(journal=stage.journal, saga_id=f"unseen-{number}")
            time.sleep(2 * LOOKS)
            assert person.count("[title=kept]") == 1, begin
            person.script(end)
            if not address:
                person.until(shows(person, f"unseen-{number}"), "what came meanwhile")


_DESELECT = "getSelection().removeAllRanges()"


def it_says_when_nobody_answers(stage: Stage) -> None:
    """And takes it back; a screen reader is told as well."""
    with serving(stage.journal) as served:
        person = Person(stage.driver, f"http://127.0.0.1:{served.port}/", stage.pictures)
        person.go("")
        assert not person.find("#gone").is_displayed()
    person.until(lambda: person.find("#gone").is_displayed(), "that it is gone")
    assert "No answer: what is shown is how it stood before." in person.text
    assert person.find("#gone").get_attribute("role") == "status"
    person.picture("dashboard-gone")
    with serving(stage.journal, port=served.port):
        person.until(lambda: not person.find("#gone").is_displayed(), "that it is back")
    person.complaints()  # that a connection was refused


def without_scripts_it_is_a_plain_page(stage: Stage) -> None:
    """All is there, and leads somewhere; nothing is offered that would do nothing."""
    with stage.looking() as person:
        person.look_at(script=False)
        person.go("")
        assert "its compensation raised OSError" in person.text
        assert person.count("button.copy") == 0
        assert not person.find("#live").is_displayed()
        person.find(".filters [name=id]").send_keys("order-1")
        person.find(".filters button").click()
        person.until(lambda: "id=order-1" in person.driver.current_url, "the filter")
        assert person.count("tbody tr") == 11
        person.look_at()


def it_is_used_by_keyboard(stage: Stage) -> None:
    """What has the focus can be seen, and each field has a name."""
    with stage.looking() as person:
        person.go("")
        person.press("TAB", "TAB")
        assert person.script("return document.activeElement.id") == "live"
        person.press("SPACE")
        assert not person.find("#live").is_selected()
        person.press("TAB")
        outline = "return getComputedStyle(document.activeElement).outlineStyle"
        assert person.script(outline) == "solid"
        person.press("ENTER")
        person.until(lambda: "saga?saga=" in person.driver.current_url, "the page of a saga")
        unnamed = """
            const all = "input:not([type=hidden]), button, a, summary, textarea";
            return [...document.querySelectorAll(all)]
                .filter(one => !(one.textContent.trim() || one.labels?.[0]?.textContent.trim()))
                .map(one => one.outerHTML)
        """
        assert person.script(unnamed) == []
        bars = """
            return [...document.querySelectorAll(".track .bar")]
                .map(one => one.title || one.ariaLabel)
        """
        assert person.script(bars)
        assert all(person.script(bars))
        assert person.count("h1") == person.count("main") == 1
        assert person.script("return document.documentElement.lang") == "en"


def it_can_be_read_in_the_dark(stage: Stage) -> None:
    """What is written has a contrast of 4.5 to what is behind it, in both schemes."""
    with stage.deciding() as person:
        for dark in (False, True):
            person.look_at(dark=dark)
            for address in ("", "saga?saga=stuck-0", "decide?saga=stuck-0&verb=retry"):
                person.go(address)
                faint = person.faint()
                assert faint == [], (dark, address, faint)
            background = person.script("return getComputedStyle(document.body).backgroundColor")
            assert (background == "rgb(21, 24, 27)") is dark


def nothing_is_asked_of_anybody_else(stage: Stage) -> None:
    """Whatever a page loads comes from where it is itself."""
    with stage.looking() as person:
        for address in ("", "saga?saga=stuck-0"):
            person.go(address)
            time.sleep(1.5 * LOOKS)
            names = "return performance.getEntriesByType('resource').map(one => one.name)"
            asked = person.script(names)
            assert asked
            assert all(one.startswith(person.home) for one in asked), asked


def a_command_is_copied(stage: Stage) -> None:
    """By a button, which says so."""
    with stage.looking() as person:
        person.go("saga?saga=stuck-0")
        person.driver.execute_cdp_cmd(
            "Browser.grantPermissions",
            {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
        )
        person.find("button.copy").click()
        person.until(lambda: person.find("button.copy").text == "copied", "that it was copied")
        copied = person.driver.execute_async_script(
            "navigator.clipboard.readText().then(arguments[arguments.length - 1])"
        )
        assert copied == "saga --journal sagas.db retry stuck-0"


def a_decision_is_asked_for_and_written_down(stage: Stage) -> None:
    """The browser itself asks for the note; nothing is called before somebody recovers."""
    called = [*depot.log]
    with stage.deciding() as person:
        person.go("saga?saga=stuck-0")
        person.click(".todo a.act")
        assert "It calls once more what is stuck" in person.text
        person.find("button.go").click()  # without a note
        assert person.script("return document.querySelector('[name=note]').matches(':invalid')")
        person.find("[name=note]").send_keys("the bank is back")
        person.picture("dashboard-asked")
        person.click("button.go")
        assert person.driver.current_url.endswith("/saga?saga=stuck-0")
        assert "ada@here decided: retry: the bank is back" in person.text
        assert depot.log == called
        assert [one.outcome for one in recover(stage.journal) if one.saga_id == "stuck-0"] == [
            SagaStatus.COMPENSATED
        ]


def all_of_an_error_are_decided_at_once(stage: Stage) -> None:
    """They are counted first."""
    with stage.deciding() as person:
        person.go("?status=stuck&error=OSError")
        number = person.count("tbody tr")
        person.click(".ways a.act")
        assert f"Try again: {number} sagas" in person.text
        person.find("[name=note]").send_keys("all of them")
        person.click("button.go")
        assert f"{number} written down, 0 not" in person.driver.title


def nobody_else_decides(stage: Stage) -> None:
    """Neither whoever has no cookie, nor a page elsewhere, nor one on another port of ours."""
    stuck(stage.journal, "guarded")
    with stage.deciding() as person, _elsewhere() as other:
        person.go("decide?saga=guarded&verb=retry")
        form = person.find("form.decide").get_attribute("outerHTML")
        form = form.replace('action="decide"', f'action="{person.home}decide"')
        other.page = f"<title>evil</title>{form}<script>document.forms[0].note.value = 1</script>"
        elsewhere = Person(stage.driver, f"http://127.0.0.1:{other.server_port}/", None)
        elsewhere.go("")
        assert "token" in elsewhere.find("form").get_attribute("outerHTML")
        elsewhere.click("button.go")
        assert "expected a form of these pages" in elsewhere.text
        fetched = """
            const done = arguments[arguments.length - 1];
            fetch(arguments[0]).then(() => done("read"), () => done("refused"));
        """
        elsewhere.go("")
        assert stage.driver.execute_async_script(fetched, person.home) == "refused"
        cookies = [one["name"] for one in stage.driver.get_cookies()]
        assert "saga" not in cookies  # ours is for a path that nobody else knows
        stage.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        person.go("decide?saga=guarded&verb=retry")
        assert "open the address that `saga dashboard --act` has printed" in person.text
        person.complaints()  # what was refused
    (seen,) = stage.journal.select([SagaStatus.STUCK], prefix="guarded")
    assert seen.epoch == 1


class _Other(http.server.HTTPServer):
    """A server of somebody else's on the same machine."""

    page = ""


class _OtherPage(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(getattr(self.server, "page", "").encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _elsewhere() -> Iterator[_Other]:
    with _Other(("127.0.0.1", 0), _OtherPage) as other:
        thread = threading.Thread(target=other.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield other
        finally:
            other.shutdown()
            thread.join()


CASES: tuple[Callable[[Stage], None], ...] = (
    whatever_is_on_record_is_text,
    nothing_scrolls_sideways,
    a_new_saga_shows_by_itself,
    what_is_read_is_not_swapped,
    it_says_when_nobody_answers,
    without_scripts_it_is_a_plain_page,
    it_is_used_by_keyboard,
    it_can_be_read_in_the_dark,
    nothing_is_asked_of_anybody_else,
    a_command_is_copied,
    a_decision_is_asked_for_and_written_down,
    all_of_an_error_are_decided_at_once,
    nobody_else_decides,
)
