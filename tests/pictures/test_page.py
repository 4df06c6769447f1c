"""The page of a saga: what is on it, whatever has become of the saga."""

import random
from typing import Any

import html5lib
import pytest
import recorded
from written import ended, error, operation, started, story

from py_api_saga import SagaStatus
from py_api_saga.entries import COMPENSATION
from py_api_saga.journal import MemoryJournal
from py_api_saga.pictures.page import page
from py_api_saga.story.saga import Story, read

HOSTILE = "<script>document.title='x'</script><img src=x onerror=y>\"'&amp;\u202e\x00\n</style>"
SVG = "{http://www.w3.org/2000/svg}"
DOUBT = [["builtins.TimeoutError", "no answer in 0.5 s"], None, True, False]


def parsed(html: str) -> Any:
    """Parse a page as strictly as can be."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)


def said(element: Any) -> str:
    """Give the text of an element and of all that is in it."""
    return " ".join(" ".join(element.itertext()).split())


def lanes(tree: Any) -> list[str]:
    """Give the name and the status of each lane."""
    return [
        said(lane.find("b"))
        for lane in tree.iter("li")
        if (lane.get("class") or "").startswith("lane")
    ]


def labels(tree: Any) -> list[str]:
    """Give the words of all that is drawn."""
    return [drawn.get("title") for drawn in tree.iter("div") if drawn.get("role") == "img"]


def undone() -> Story:
    """Tell a saga that failed, and was undone but for what is stuck."""
    return story(
        (0, started(0)),
        (0.1, ended("succeeded", 0, "A")),
        (0.1, started(1)),
        (0.3, ended("retry", 1, [error("busy"), 0.2])),
        (0.5, started(1, 2)),
        (0.6, ended("failed", 1, error("closed"), 2)),
        (0.6, started(0, kind=COMPENSATION)),
        (0.7, ended("failed", 0, error(), kind=COMPENSATION)),
        status=SagaStatus.STUCK,
    )


# --- what a person has to see first ---------------------------------------------------------------


def test_a_stuck_saga_shows_first_why_and_one_command(journal: Any) -> None:
    """The other ways are folded."""
    recorded.stuck(journal)

    tree = parsed(page(read(journal, "x"), "saga --journal j.db"))

    todo = tree.find(".//section[@class='todo stuck']")
    assert "b its compensation raised OSError('no bank')" in said(todo)
    assert said(todo.find("ul")).startswith("saga --journal j.db retry x")
    assert said(todo.find("details/summary")) == "5 other ways, if you know more"
    assert tree.find(".//h1").text == "x"
    assert said(tree.find(".//div[@class='title']")) == "x ■ STUCK"
    assert lanes(tree) == ["a compensated", "b stuck", "c failed"]


def test_what_a_living_process_drives_needs_nothing() -> None:
    """So all that could be done about it is folded."""
    tree = parsed(page(story((0, started(0)), status=SagaStatus.RUNNING, driven=True, now=3)))

    todo = tree.find(".//section[@class='todo']")
    assert "A living process is at it; there is nothing to do" in said(todo)
    assert todo.find("ul") is None
    assert said(todo.find("details/summary")) == "1 way, if you know more"


def test_what_has_ended_has_nothing_to_decide() -> None:
    """It says so."""
    done = story((0, started(0)), (1, ended("succeeded", 0, "A")), operations=["a"])

    tree = parsed(page(done))

    assert tree.find(".//section[@class='todo']") is None
    assert "Every operation succeeded. There is nothing to do." in said(tree.find("body"))


def test_why_recovery_gave_up_is_said_first() -> None:
    """Nobody has to look for it among what happened."""
    parked = story((1, ["parked", {"reason": "no module named shop"}]), status=SagaStatus.STUCK)

    todo = parsed(page(parked)).find(".//section[@class='todo stuck']")

    assert "no module named shop" in said(todo)


def test_how_often_recovery_has_tried_is_said() -> None:
    """It tells whoever looks that waiting alone may not do."""
    told = story(status=SagaStatus.RUNNING)
    tried = told._replace(seen=told.seen._replace(tries=3))

    assert "recovery has tried it 3 times" in said(parsed(page(tried)).find(".//header"))


# --- the timeline ---------------------------------------------------------------------------------


def test_each_attempt_is_a_bar_with_its_words() -> None:
    """So a screen reader tells what the eye sees: what, which attempt, how, when, how long."""
    assert labels(parsed(page(undone()))) == [
        "a, attempt 1: succeeded, from +0 ms, took 100 ms",
        "a, undo, attempt 1: failed, from +600 ms, took 100 ms",
        "b, attempt 1: failed, tried again, from +100 ms, took 200 ms",
        "b, attempt 2: failed, from +500 ms, took 100 ms",
    ]


def test_a_bar_is_where_and_as_long_as_its_attempt_was() -> None:
    """Percent of the width; undos are a row of their own, and waits are dotted."""
    tree = parsed(page(undone()))

    places = {
        (drawn.get("class"), drawn.get("style"))
        for drawn in tree.iter("div")
        if (drawn.get("class") or "").split(" ")[0] in ("bar", "wait")
    }
    assert places == {
        ("bar done", "left:0.00%;width:14.29%"),
        ("bar failed undo", "left:85.71%;width:14.29%"),
        ("bar again", "left:14.29%;width:28.57%"),
        ("wait", "left:42.86%;width:28.57%"),
        ("bar failed", "left:71.43%;width:14.29%"),
    }


def test_a_word_at_the_right_edge_leaves_room_for_the_one_before() -> None:
    """It ends at its place, so it would lie over one that is near: then it is left out."""
    near = story(
        (0, started(0)),
        (0.1, ended("succeeded", 0, "A")),
        (100, started(1)),
        (100.6, ended("succeeded", 1, "B")),
    )

    ticks = [(one.text, one.get("class")) for one in parsed(page(near)).iter("span")]
    ticks = [one for one in ticks if one[1] in ("tick", "tick end")]

    assert ticks[0] == ("0", "tick")
    assert ticks[-1] == ("+1 min 40 s", "tick")


def test_what_its_process_left_fades_and_who_took_over_is_a_line() -> None:
    """The time in which nothing happened is cut out, and says how long it was."""
    tree = parsed(
        page(
            story(
                (0, started(0)),
                (0.1, ended("succeeded", 0, "A")),
                (0.1, started(1)),
                (30, ["recovered", -1, "", 0, 0, []]),
                (30, started(1, 2)),
                (30.1, ended("succeeded", 1, "B", 2)),
            )
        )
    )

    assert labels(tree)[1:] == [
        "b, attempt 1: nobody knows when, or how, it ended, from +100 ms",
        "b, attempt 2: succeeded, from +30 s, took 100 ms",
        "nothing happened for 29.8 s",
    ]
    assert said(tree.find(".//ul[@class='notes']")) == "1 +30 s: recovery took over"
    assert "nobody knows when, or how, it ended" in said(tree.find(".//p[@class='legend']"))


def test_what_landed_late_is_drawn_to_where_it_landed() -> None:
    """With a line from where it was given up."""
    tree = parsed(
        page(
            story(
                (0, started(0)),
                (0.5, ended("in doubt", 0, DOUBT)),
                (0.5, started(0, kind=COMPENSATION)),
                (0.6, ended("succeeded", 0, None, kind=COMPENSATION)),
                (1.0, ended("succeeded", 0, "A")),
                (1.0, started(0, 2, COMPENSATION, 2)),
                (1.1, ended("succeeded", 0, None, 2, COMPENSATION, 2)),
                operations=["a"],
                status=SagaStatus.COMPENSATED,
            )
        )
    )

    assert "a: attempt 1, which had been given up, has landed" in labels(tree)
    assert "landed late" in said(tree.find(".//p[@class='legend']"))


def test_a_wait_that_lasts_is_drawn_until_now() -> None:
    """A retry that is still to come has no other end."""
    waits = story(
        (0, started(0)),
        (1, ended("retry", 0, [error(), 60.0])),
        status=SagaStatus.RUNNING,
        driven=True,
        now=2,
    )

    drawn = [one for one in parsed(page(waits)).iter("div") if one.get("class") == "wait"]

    assert [one.get("style") for one in drawn] == ["left:50.00%;width:50.00%"]
    assert drawn[0].get("title") == "a: waits 60 s before it is tried again"


def test_a_clock_that_was_set_back_is_said() -> None:
    """No length is shown that nobody knows."""
    tree = parsed(page(story((0, started(0)), (-5, ended("succeeded", 0, "A")), operations=["a"])))

    assert labels(tree)[0] == (
        "a, attempt 1: succeeded, from +5 s, the clock was set back meanwhile"
    )
    assert "was set back" in said(tree.find(".//section[@class='timeline']"))
    assert "-5 s" in said(tree.find(".//ol[@class='moments']"))


def test_what_a_call_waited_for_is_no_part_of_its_bar() -> None:
    """Thin lines say that it waited to begin, and then to be written down."""
    tree = parsed(
        page(
            story(
                (0, started(0)),
                (1, ended("succeeded", 0, "A", facts=[200, 300])),
                (1, started(1)),
                (1.5, ended("succeeded", 1, "B", facts=[1000, 500])),
            )
        )
    )

    assert labels(tree) == [
        "a, attempt 1: succeeded, from +200 ms, took 300 ms",
        "b, attempt 1: succeeded, from +1 s, took 500 ms",
    ]
    assert [one.get("title") for one in tree.iter("div") if one.get("class") == "queue"] == [
        "a: waits to begin, 200 ms",
        "a: waits to be written down, 500 ms",
    ]
    body = said(tree.find("body"))
    assert "waits for its turn" in body
    assert "is not on record" not in body
    assert "a succeeded, and returned str (300 ms, written down 500 ms later)" in body


def test_lengths_that_are_not_the_calls_own_are_said_to_be_others() -> None:
    """In journals of before nobody has written them down."""
    assert "is not on record for all of them" in said(parsed(page(undone())).find("body"))


def test_all_kinds_of_ends_have_their_signs() -> None:
    """Also answers to questions, and a call that runs."""
    tree = parsed(
        page(
            story(
                (0, started(0)),
                (1, ended("in doubt", 0, [*DOUBT[:2], False, False])),
                (1, started(0, kind="ask")),
                (2, ended("happened", 0, "A", kind="ask")),
                (2, started(0, kind=COMPENSATION)),
                operations=[operation("a", ask="depot:ask")],
                status=SagaStatus.COMPENSATING,
                driven=True,
                now=4,
            )
        )
    )

    assert labels(tree) == [
        "a, attempt 1: in doubt, from +0 ms, took 1 s",
        "a, asked, attempt 1: asked: it happened, from +1 s, took 1 s",
        "a, undo, attempt 1: runs, from +2 s, took 2 s",
    ]


# --- the graph ------------------------------------------------------------------------------------


def graph_of(operations: int, seed: int = 3) -> Story:
    """Tell a saga whose operations wait for some of those before them."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    made = [
        operation(f"step-{i}", sorted(chance.sample(range(max(0, i - 9), i), min(i, 2))))
        for i in range(operations)
    ]
    rows = [row for i in range(operations) for row in ((i, started(i)), (i + 1, ok(i)))]
    return story(*rows, operations=made, limit=8)


def ok(i: int) -> list[Any]:
    """Say that an action succeeded."""
    return ended("succeeded", i, "X")


def test_what_waits_for_what_is_drawn_if_it_is_not_a_chain() -> None:
    """Each operation once, to the right of all that it comes after; and in words, for all."""
    tree = parsed(page(graph_of(60)))

    boxes = {
        said(box.find(f"{SVG}title")).partition(":")[0]: float(box.find(f"{SVG}rect").get("x"))
        for box in tree.iter(f"{SVG}g")
    }
    assert len(boxes) == 60
    chance = random.Random(3)  # noqa: S311 - as above
    for i in range(60):
        for before in sorted(chance.sample(range(max(0, i - 9), i), min(i, 2))):
            assert boxes[f"step-{before}"] < boxes[f"step-{i}"]
    assert "after step-0, step-1" in said(tree.find(".//ol[@class='ops']"))


def test_a_chain_and_too_many_operations_have_no_graph() -> None:
    """The one needs none, and of the other nobody could follow the lines."""
    assert parsed(page(undone())).find(f".//{SVG}svg") is None
    assert parsed(page(graph_of(61))).find(f".//{SVG}svg") is None
    apart = story(operations=[operation("a", []), operation("b", [])], limit=2)
    assert parsed(page(apart)).find(f".//{SVG}svg") is None


# --- many -----------------------------------------------------------------------------------------


def test_of_very_many_operations_what_is_uneventful_is_folded() -> None:
    """What failed is seen at once, wherever it stands; nothing is left out."""
    rows = [row for i in range(230) for row in ((i, started(i)), (i + 1, ok(i)))]
    rows += [(230, started(230)), (231, ended("failed", 230, error()))]
    made = story(*rows, operations=[f"n{i}" for i in range(300)], status=SagaStatus.COMPENSATING)

    tree = parsed(page(made))

    assert len(lanes(tree)) == 300
    gantt = tree.find(".//ol[@class='lanes']")
    seen = [said(lane.find("b")) for lane in gantt if lane.get("class") == "lane"]
    assert len(seen) == 200
    assert "n230 failed" in seen
    folds = [said(fold) for fold in gantt.findall("li[@class='fold']/details/summary")]
    assert folds == ["31 more operations, uneventful", "69 more operations, uneventful"]


# --- what cannot be shown -------------------------------------------------------------------------


def test_what_cannot_be_read_says_why() -> None:
    """Instead of a picture."""
    damaged = story((0, ok(0)), status=SagaStatus.STUCK)

    body = said(parsed(page(damaged)).find("body"))

    assert damaged.fault is not None
    assert body.count(damaged.fault) == 2


def test_a_saga_whose_details_were_purged_says_so() -> None:
    """Its outcome is known for ever."""
    gone = story()._replace(recorded=None, execution=None, lines=())

    assert "Its details were purged." in said(parsed(page(gone)).find("body"))


def test_a_saga_of_which_nothing_was_called_says_so() -> None:
    """There is no timeline yet."""
    new = story(status=SagaStatus.RUNNING)

    assert "Nothing was called yet." in said(parsed(page(new)).find("body"))


def test_sealed_values_stay_sealed_without_the_codec() -> None:
    """And nothing else of the page is missing."""
    journal = MemoryJournal(modules=["depot"], codec=recorded.Reversed())
    recorded.stuck(journal)
    journal.codec = None
    html = page(read(journal, "x"), whole=True)

    assert "secret" not in html
    assert "depot:do(sealed)" in html
    assert lanes(parsed(html)) == ["a compensated", "b stuck", "c failed"]


@pytest.mark.parametrize("is_graph", [False, True])
def test_hostile_names_and_errors_stay_text(*, is_graph: bool) -> None:
    """Wherever they are said: in names, errors, notes, and types of arguments."""
    after: list[Any] = [None, None] if not is_graph else [[], [0]]
    more: dict[str, Any] = {"limit": 2} if is_graph else {}
    hostile = story(
        (0, started(0)),
        (0.1, ended("succeeded", 0, {"$enum": [HOSTILE, HOSTILE]})),
        (0.1, started(1)),
        (0.2, ended("failed", 1, [HOSTILE, HOSTILE])),
        (0.2, started(0, kind=COMPENSATION)),
        (0.3, ended("failed", 0, [HOSTILE, HOSTILE], kind=COMPENSATION)),
        (0.4, ["note", {"who": HOSTILE, "why": HOSTILE, "did": HOSTILE}]),
        operations=[operation(f"{HOSTILE}{i}", after[i]) for i in (0, 1)],
        name=HOSTILE,
        saga_id=HOSTILE,
        status=SagaStatus.STUCK,
        **more,
    )

    html = page(hostile, HOSTILE)
    tree = parsed(html)

    assert [*tree.iter("script"), *tree.iter("img")] == []
    assert len([*tree.iter("style")]) == 1
    assert all(not name.startswith("on") for element in tree.iter() for name in element.attrib)
    assert html.replace("\n", "").isprintable()
    assert "<script>document.title=" in said(tree.find("body"))


def test_a_page_is_small_and_loads_nothing(journal: Any) -> None:
    """It can be sent to somebody."""
    recorded.stuck(journal)

    html = page(read(journal, "x"))

    assert len(html.encode()) < 17_000
    tree = parsed(html)
    assert not {"script", "link", "img", "iframe", "font"} & {e.tag for e in tree.iter()}
    assert not [e for e in tree.iter() if {"src", "href"} & e.attrib.keys()]
