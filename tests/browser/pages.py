"""The pages of sagas: files, of whatever can become of a saga, at any width, in any light."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paths import ROOT
from written import BEGIN, ended, error, operation, started, story

from browser.people import Person
from py_api_saga import SagaStatus
from py_api_saga.entries import ASK, COMPENSATION
from py_api_saga.pictures.page import page
from py_api_saga.pictures.report import report
from py_api_saga.story.saga import Story

WIDTHS = (1200, 768, 360)
HOSTILE = (
    "<script>document.title='seized'</script><img src=x onerror=document.title='seized'>\u202e"
)
LONG = HOSTILE + "x" * 300
DOUBT: list[Any] = [["builtins.TimeoutError", "no answer in 0.5 s"], None, True, False]
DAY = 86_400
DRAWN = ("undone", "recovered")


def good(i: int, at: float, length: float = 0.1) -> tuple[tuple[float, list[Any]], ...]:
    """Call an action that succeeds."""
    return (at, started(i)), (at + length, ended("succeeded", i, "X"))


def undo(i: int, at: float, attempt: int = 1, generation: int = 1) -> Iterator[Any]:
    """Call an undo that succeeds."""
    yield at, started(i, attempt, COMPENSATION, generation)
    yield at + 0.1, ended("succeeded", i, None, attempt, COMPENSATION, generation)


def side_by_side(graph: Sequence[Sequence[int]]) -> list[tuple[float, list[Any]]]:
    """Call each action as soon as those before it have succeeded."""
    ends: list[float] = []
    rows: list[tuple[float, list[Any]]] = []
    for i, after in enumerate(graph):
        begin = max((ends[j] for j in after), default=0.0)
        rows += good(i, begin, 0.1 + i % 5 * 0.03)
        ends.append(rows[-1][0])
    return sorted(rows, key=lambda row: (row[0], row[1][0] == "started"))


def sagas() -> Mapping[str, Story]:
    """Tell one of each kind."""
    retried = [(0.0, started(0))]
    for n in range(1, 41):
        at = 60.0 * n
        retried.append((at - 59.9, ended("retry", 0, [error(), 59.9], n)))
        retried.append((at, started(0, n + 1)))
    graph = [sorted({max(0, i - 9), i // 2} - {i}) for i in range(60)]
    many = [row for i in range(2000) for row in good(i, i * 0.01, 0.01)]
    many[3001:] = [(15.01, ended("failed", 1500, error("no van")))]
    return {
        "completed": story(*good(0, 0), *good(1, 0.1, 0.3)),
        "running": story(
            *good(0, 0), (0.1, started(1)), status=SagaStatus.RUNNING, driven=True, now=0.5
        ),
        "left": story(*good(0, 0), (0.1, started(1)), status=SagaStatus.RUNNING, now=50_000),
        "killed-and-recovered": story(
            *good(0, 0),
            (0.1, started(1)),
            (30, ["recovered", -1, "", 0, 0, []]),
            (30, started(1, 2)),
            (30.1, ended("succeeded", 1, "B", 2)),
        ),
        "stuck": story(
            *good(0, 0),
            (0.1, started(1)),
            (0.3, ended("retry", 1, [error("busy"), 0.2])),
            (0.5, started(1, 2)),
            (0.6, ended("failed", 1, error("closed"), 2)),
            (0.6, started(0, kind=COMPENSATION)),
            (0.7, ended("failed", 0, error(), kind=COMPENSATION)),
            status=SagaStatus.STUCK,
        ),
        "landed-late": story(
            *good(0, 0),
            (0.1, started(1)),
            (0.6, ended("in doubt", 1, DOUBT)),
            *undo(1, 0.6),
            *undo(0, 0.7),
            (1.4, ended("succeeded", 1, "B")),
            *undo(1, 1.4, 2, 2),
            status=SagaStatus.COMPENSATED,
        ),
        "asked": story(
            (0, started(0)),
            (0.5, ended("in doubt", 0, [*DOUBT[:2], False, False])),
            (0.5, started(0, kind=ASK)),
            (0.7, ended("happened", 0, "A", kind=ASK)),
            (0.7, started(0, kind=COMPENSATION)),
            (0.9, ended("retry", 0, [error(), 2.0], kind=COMPENSATION)),
            operations=[operation("a", ask="depot:ask")],
            status=SagaStatus.COMPENSATING,
            driven=True,
            now=1.8,
        ),
        "waiting": story(
            *good(0, 0),
            (0.1, started(1)),
            (0.4, ended("later", 1, [BEGIN + 9 * DAY, False, None])),
            status=SagaStatus.RUNNING,
            now=2 * DAY,
        ),
        "answered": story(
            *good(0, 0),
            (0.1, started(1)),
            (0.4, ended("later", 1, [BEGIN + 9 * DAY, False, None])),
            (2 * DAY, ended("denied", 1, error("declined"))),
            (2 * DAY, started(0, kind=COMPENSATION)),
            (2 * DAY + 0.2, ended("later", 0, [None, False, None], kind=COMPENSATION)),
            (3 * DAY, ended("answered", 0, None, kind=COMPENSATION)),
            status=SagaStatus.COMPENSATED,
        ),
        "tried-often": story(*retried, status=SagaStatus.RUNNING, driven=True, now=2400.5),
        "at-once": story(
            *side_by_side(graph),
            operations=[operation(f"step-{i}", after) for i, after in enumerate(graph)],
            limit=8,
        ),
        "many": story(
            *many, operations=[f"n{i}" for i in range(2000)], status=SagaStatus.COMPENSATING
        ),
        "clock-set-back": story((0, started(0)), (-5, ended("succeeded", 0, "A"))),
        "hostile": story(
            *good(0, 0),
            (0.1, started(1)),
            (0.2, ended("failed", 1, error(LONG))),
            (0.2, started(0, kind=COMPENSATION)),
            (0.3, ended("failed", 0, error(LONG), kind=COMPENSATION)),
            (0.4, ["note", {"who": LONG, "why": LONG, "did": LONG}]),
            operations=[f"{HOSTILE}{'y' * 120}", LONG],
            name=HOSTILE,
            saga_id="z" * 128,
            status=SagaStatus.STUCK,
        ),
        "unreadable": story((0, ended("succeeded", 0)), status=SagaStatus.STUCK),
    }


def name_of(saga: str) -> str:
    """Name the file of a saga."""
    return f"{saga}.html"


@contextmanager
def visit(driver: Any, pictures: Path | None) -> Iterator[Person]:
    """Write the pages into a folder, for the time of a block, and have somebody look at them."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:
        folder = Path(made)
        told = sagas()
        for name, one in told.items():
            (folder / name_of(name)).write_text(page(one, f"saga --journal {'j' * 80}"))
        named = [one._replace(seen=one.seen._replace(saga_id=name)) for name, one in told.items()]
        many = report(named[:-1], place="sagas.db", now=BEGIN, more=True)
        (folder / "report.html").write_text(many)
        for drawn in DRAWN:
            image = (ROOT / f"docs/_generated/saga_{drawn}.svg").read_text(encoding="utf-8")
            (folder / f"{drawn}.svg").write_text(image)
        yield Person(driver, f"{folder.as_uri()}/", pictures)


MANY = "many.html"
PAGES = (*(name for name in map(name_of, sagas()) if name != MANY), "report.html")


# --- what is tried --------------------------------------------------------------------------------


def nothing_lies_beside_the_page_or_its_lane(person: Person) -> None:
    """On a screen, a tablet and a phone, with all folds open as well; no word in a bar is cut."""
    inside = """
        const wrong = [];
        for (const bar of document.querySelectorAll(".track > *, .over > *, .axis > *")) {
            if (!bar.getClientRects().length) continue;
            const [own, lane] = [bar, bar.parentElement].map(e => e.getBoundingClientRect());
            if (own.left < lane.left - 2 || own.right > lane.right + 6) wrong.push(bar.outerHTML);
        }
        for (const bar of document.querySelectorAll(".track > .bar")) {
            const own = bar.getBoundingClientRect();
            for (const word of bar.querySelectorAll("span")) {
                const at = word.getBoundingClientRect();
                if (at.top < own.bottom - 2 && at.right > own.right + 1) wrong.push(bar.outerHTML);
            }
        }
        return wrong;
    """
    for width in WIDTHS:
        for name in PAGES:
            person.look_at(width)
            person.go(name)
            assert person.too_wide() <= 0, (name, width)
            person.picture(f"{name.removesuffix('.html')}-{width}")
            person.script("document.querySelectorAll('details').forEach(e => e.open = true)")
            assert person.too_wide() <= 0, (name, width, "open")
            wrong = person.script(inside)
            assert wrong == [], (name, width, wrong[:3])


def what_is_written_can_be_read_in_any_light(person: Person) -> None:
    """Each text has contrast enough to what is behind it."""
    for dark in (False, True):
        person.look_at(1200, dark=dark)
        for name in PAGES:
            person.go(name)
            faint = person.faint()
            assert faint == [], (name, dark, faint[:3])
            if dark:
                person.picture(f"{name.removesuffix('.html')}-dark")


def print_is_on_white_paper(person: Person) -> None:
    """Also for whoever's screen is dark; the graph is not cut off."""
    person.look_at(794, dark=True, media="print")
    for name in PAGES:
        person.go(name)
        background = "return getComputedStyle(document.body).backgroundColor"
        assert person.script(background) == "rgb(255, 255, 255)", name
        assert person.too_wide() <= 0, name
        person.picture(f"{name.removesuffix('.html')}-print")
    person.go("at-once.html")
    box = "const b = document.querySelector('.graph'); return b.scrollWidth - b.clientWidth"
    assert person.script(box) <= 0
    person.look_at(WIDTHS[0])


def a_fold_opens_by_the_keyboard(person: Person) -> None:
    """It is reached by the tabulator, shows that it is, and opens by the return key."""
    person.go("stuck.html")
    person.press("TAB")
    assert person.script("return document.activeElement.tagName") == "SUMMARY"
    assert person.script("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert not person.find(".todo details").get_attribute("open")
    assert "--compensated" not in person.text
    person.press("ENTER")
    assert "--compensated" in person.text

    person.go("report.html")
    person.press("TAB", "ENTER")
    assert "A PERSON MUST DECIDE" in person.text


def a_screen_reader_tells_each_bar(person: Person) -> None:
    """By its role and its words, in the order of the page; signs alone are told to nobody."""
    person.go("stuck.html")

    told = person.heard()

    names = [name for role, name in told if role in ("heading", "img", "image")]
    assert names[0] == "x"
    order = ["A person must decide", "Timeline", "Operations", "Moment by moment"]
    assert [name.capitalize() for name in names if name.capitalize() in order] == order
    assert "a, undo, attempt 1: failed, from +600 ms, took 100 ms" in names
    nameless = [role for role, name in told if role in ("img", "image", "heading") and not name]
    assert nameless == []


def hostile_texts_stay_texts(person: Person) -> None:
    """No script runs, no address is asked for, and the console has nothing to say."""
    person.complaints()
    for name in PAGES:
        person.asked_for()
        person.go(name)
        asked = person.asked_for()
        assert [url for url in asked if not url.endswith(f"/{name}")] == [], name
        assert "seized" not in person.driver.title
        assert person.count("script, img, link, iframe") == 0
    assert person.complaints() == []
    person.go("hostile.html")
    assert "<script>document.title=" in person.text


def of_thousands_of_operations_what_failed_is_seen(person: Person) -> None:
    """The others are folded, and open."""
    person.look_at(WIDTHS[0])
    person.go(MANY)
    person.picture("many")
    assert person.too_wide() <= 0
    assert person.count(".lanes > .lane") == 2000
    seen = (
        "return [...document.querySelectorAll('.lanes > .lane')].filter(e => e.checkVisibility())"
    )
    assert person.script(f"{seen}.length") == 200
    assert "n1500" in person.find(".timeline").text
    person.find(".timeline .fold summary").click()
    assert person.script(f"{seen}.length") > 200


def the_pictures_in_the_documentation_are_whole(person: Person) -> None:
    """Their height is fixed, so nothing that is drawn may lie below it, in any light."""
    for dark in (False, True):
        for drawn in DRAWN:
            person.look_at(900, dark=dark)
            person.go(f"{drawn}.svg")
            room = """
                const body = document.querySelector("foreignObject > *");
                const frame = document.querySelector("foreignObject").getBoundingClientRect();
                const last = body.lastElementChild.getBoundingClientRect();
                return frame.bottom - last.bottom;
            """
            assert 0 <= person.script(room) < 60, (drawn, person.script(room))


CASES: tuple[Callable[[Person], None], ...] = (
    nothing_lies_beside_the_page_or_its_lane,
    what_is_written_can_be_read_in_any_light,
    print_is_on_white_paper,
    a_fold_opens_by_the_keyboard,
    a_screen_reader_tells_each_bar,
    hostile_texts_stay_texts,
    of_thousands_of_operations_what_failed_is_seen,
    the_pictures_in_the_documentation_are_whole,
)
