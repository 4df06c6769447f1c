"""How a wait for an answer is drawn: as a line, cut out where it is long, with what it was."""

from __future__ import annotations

from typing import Any

import html5lib
import pytest
from written import BEGIN, ended, error, operation, started, story

from py_api_saga import SagaStatus
from py_api_saga.entries import COMPENSATION
from py_api_saga.pictures.axis import Axis
from py_api_saga.pictures.page import page
from py_api_saga.story.attempts import Attempt, history
from py_api_saga.story.saga import Story

DAY = 86400.0
UNTIL = BEGIN + 10 * DAY


def begun(i: int, due: float | None = UNTIL, *, timer: bool = False, **more: Any) -> list[Any]:
    """A call has only begun something."""
    return ended("later", i, [due, timer, "kept"], **more)


def waiting(*rows: tuple[float, list[Any]], timer: Any = False, **given: Any) -> Story:
    """Tell of a call that waits, and of what came then."""
    before = [(0, started(0)), (0.2, ended("succeeded", 0, "A")), (0.2, started(1))]
    return story(*before, (0.5, begun(1, timer=timer)), *rows, **given)


def waited(told: Story) -> tuple[float | None, str | None]:
    """Give when the wait was over, and what came of it."""
    (one,) = (one for one in history(told).attempts if one.waits)
    return one.answered, one.answer


def parsed(told: Story) -> Any:
    """Draw it, and parse the page as strictly as can be."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page(told))


def drawn(tree: Any, style: str) -> list[Any]:
    """Give what is drawn of a class, the first of its classes."""
    return [one for one in tree.iter("div") if (one.get("class") or "").split()[:1] == [style]]


# --- what became of it ----------------------------------------------------------------------------


def test_a_call_that_has_only_begun_something_is_as_long_as_the_call() -> None:
    """Not as its wait, which nobody was busy with."""
    told = waiting(status=SagaStatus.RUNNING, now=3 * DAY)
    one = history(told).attempts[1]

    assert (one.how, one.waits) == ("begun", True)
    assert one.length == pytest.approx(0.3)
    assert waited(told) == (None, None)


@pytest.mark.parametrize(
    ("came", "answer"),
    [
        (ended("answered", 1, "B"), "succeeded"),
        (ended("denied", 1, error("no")), "failed"),
        (ended("succeeded", 1, "kept"), "succeeded"),  # by itself
        (ended("in doubt", 1, [error("late"), None, False, False]), "in doubt"),
    ],
)
def test_it_waits_until_something_comes_of_it(came: list[Any], answer: str) -> None:
    """An answer, or its time."""
    timer = came[0] == "succeeded"
    told = waiting((2 * DAY, came), status=SagaStatus.RUNNING, now=3 * DAY, timer=timer)

    assert waited(told) == (BEGIN + 2 * DAY, answer)
    assert history(told).attempts[1].landed is None


@pytest.mark.parametrize(("timer", "answer"), [(False, "in doubt"), (True, "succeeded")])
def test_a_rollback_waits_for_no_answer(timer: Any, answer: str) -> None:
    """What is awaited is given up as it begins, or, if it is a time, taken for over."""
    told = story(
        (0, started(0)),
        (0.2, ended("succeeded", 0, "A")),
        (0.2, started(1)),
        (0.5, begun(1, timer=timer)),
        (DAY, ["abort", -1, "", 0, 0, error("the deadline")]),
        (DAY, started(1, kind=COMPENSATION)),
        (DAY + 1, ended("succeeded", 1, None, kind=COMPENSATION)),
        (DAY + 1, started(0, kind=COMPENSATION)),
        (DAY + 2, ended("succeeded", 0, None, kind=COMPENSATION)),
        status=SagaStatus.COMPENSATED,
    )

    assert waited(told) == (BEGIN + DAY, answer)


def test_an_undo_waits_on_as_others_begin() -> None:
    """Side by side: only what goes forward is given up."""
    told = story(
        (0, started(0)),
        (0, started(1)),
        (0, started(2)),
        (0.2, ended("succeeded", 0, "A")),
        (0.2, ended("succeeded", 1, "B")),
        (0.2, ended("failed", 2, error())),
        (0.3, started(0, kind=COMPENSATION)),
        (0.4, begun(0, kind=COMPENSATION)),
        (0.5, started(1, kind=COMPENSATION)),
        (0.6, ended("succeeded", 1, None, kind=COMPENSATION)),
        operations=[operation(name, after=[]) for name in "abc"],
        limit=8,
        status=SagaStatus.COMPENSATING,
    )

    assert waited(told) == (None, None)


def test_where_nothing_is_undone_it_waits_until_the_end() -> None:
    """Of a saga that has ended nothing waits any more."""
    told = story(
        (0, started(0)),
        (0.5, begun(0)),
        (DAY, ["abort", -1, "", 0, 0, error("the deadline")]),
        operations=[operation("a", undo=[None])],
        status=SagaStatus.COMPENSATED,
    )

    assert waited(told) == (BEGIN + DAY, "in doubt")


def test_an_answer_that_comes_late_has_landed() -> None:
    """What was given up had been so."""
    told = waiting(
        (DAY, ended("in doubt", 1, [error("late"), None, False, False])),
        (DAY, started(1, kind=COMPENSATION)),
        (DAY + 1, ended("succeeded", 1, None, kind=COMPENSATION)),
        (2 * DAY, ended("answered", 1, "B")),
        status=SagaStatus.COMPENSATING,
        now=2 * DAY,
    )

    one = history(told).attempts[1]
    assert (one.answer, one.landed) == ("in doubt", BEGIN + 2 * DAY)


def test_an_answer_may_come_before_its_call_has_returned() -> None:
    """Then that is what came of the call, when it was lost with its process."""
    told = story(
        (0, started(0)),
        (9, ["recovered", -1, "", 0, 0, []]),
        (9, ended("answered", 0, "A")),
        operations=["a"],
    )

    one: Attempt = history(told).attempts[0]
    assert (one.how, one.landed) == ("lost", BEGIN + 9)


# --- how it is drawn ------------------------------------------------------------------------------


def test_a_long_wait_is_a_labelled_gap() -> None:
    """What was done before and after stays as readable as if there had been none."""
    told = waiting((2 * DAY, ended("answered", 1, "B")))
    tree = parsed(told)

    (cut,) = drawn(tree, "cut")
    assert cut.get("class") == "cut waits"
    assert "".join(cut.itertext()) == "waits 1 d 23 h"
    assert cut.get("title") == "waits for an answer, 1 d 23 h"
    axis = Axis(history(told))
    assert axis.x(BEGIN + 0.5) > 90
    assert [cut.waits for cut in axis.cuts] == [True]


def test_a_gap_in_which_nothing_waits_is_another() -> None:
    """It is called so, and stands in the legend beside it."""
    told = waiting(
        (2 * DAY, ended("answered", 1, "B")),
        (4 * DAY, started(2)),
        (4 * DAY + 0.2, ended("succeeded", 2, "C")),
        operations=["a", "b", "c"],
    )
    tree = parsed(told)

    assert [cut.get("class") for cut in drawn(tree, "cut")] == ["cut waits", "cut"]
    legend = " ".join(tree.find(".//p[@class='legend']").itertext())
    assert "waits for an answer: left out" in legend
    assert "nothing happened: left out" in legend


def test_a_short_wait_is_drawn_as_long_as_it_was() -> None:
    """As waits between attempts are."""
    told = waiting((1.0, ended("answered", 1, "B")))

    assert Axis(history(told)).cuts == []
    (line,) = drawn(parsed(told), "await")
    assert line.get("title") == "b: has waited for an answer, 500 ms; then: succeeded"
    assert line.get("class") == "await done"


def test_what_still_waits_is_drawn_until_now() -> None:
    """Beside its status, in its bar and its line; and the page says what can be done."""
    tree = parsed(waiting(status=SagaStatus.RUNNING, now=3 * DAY))

    (line,) = drawn(tree, "await")
    assert line.get("title") == "b: waits for an answer, 2 d 23 h so far"
    assert line.get("class") == "await"
    names = [" ".join(one.itertext()) for one in tree.iter("b")]
    assert "b  running, waits" in names
    headings = [one.text for one in tree.iter("h2")]
    assert "Waits for an answer" in headings
    bars = [one.get("title") for one in drawn(tree, "bar")]
    assert any(one.startswith("b, attempt 1: begun, and its answer comes later") for one in bars)
    notes = " ".join(tree.find(".//ul[@class='notes']").itertext())
    assert "it waits for b, until" in notes


@pytest.mark.parametrize("operations", [["a"], [*"abc"]])
def test_a_gap_has_room_for_its_label(operations: list[str]) -> None:
    """In a single lane it says how long alone."""
    told = story(
        (0, started(0)), (0.5, begun(0)), (DAY, ended("answered", 0, "A")), operations=operations
    )

    (cut,) = drawn(parsed(told), "cut")
    assert "".join(cut.itertext()) == "waits 23 h 59 min"[6 * (len(operations) == 1) :]
