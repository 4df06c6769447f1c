"""A page of many sagas."""

from typing import Any

import html5lib
import pytest
from written import BEGIN, ended, started, story

from py_api_saga import SagaStatus
from py_api_saga.pictures import report as module
from py_api_saga.pictures.report import report
from py_api_saga.story.saga import Story


def parsed(html: str) -> Any:
    """Parse a page as strictly as can be."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)


def done(saga_id: str, status: SagaStatus = SagaStatus.COMPLETED, **more: Any) -> Story:
    """Tell a saga of one operation."""
    rows = [(0, started(0)), (1, ended("succeeded", 0, "A"))]
    return story(*rows, operations=["a"], saga_id=saga_id, status=status, **more)


def groups(tree: Any) -> dict[str, list[str]]:
    """Give the ids in each group."""
    return {
        section.find("h2").text: [one.text for one in section.findall("ul/li/details/summary/b")]
        for section in tree.iter("section")
        if section.find("ul[@class='sagas']") is not None
    }


def test_those_that_need_a_person_come_first() -> None:
    """Then those that have not ended; in each group in the order in which they are given."""
    parked = story((1, ["parked", {"reason": "no module"}]), saga_id="p", status=SagaStatus.STUCK)
    damaged = story((0, ended("succeeded", 0)), saga_id="d", status=SagaStatus.RUNNING)
    gone = done("g")._replace(recorded=None, execution=None, lines=())
    stuck_and_gone = done("s", SagaStatus.STUCK)._replace(recorded=None, execution=None, lines=())
    told = [done("1"), damaged, parked, gone, done("2", SagaStatus.COMPENSATED), stuck_and_gone]

    tree = parsed(report(told, place="sagas.db", now=BEGIN))

    assert groups(tree) == {
        "Needs a person": ["p", "s"],
        "Not ended yet": ["d"],
        "Ended": ["1", "g", "2"],
    }
    assert [" ".join("".join(one.itertext()).split()) for one in tree.find(".//header/div")] == [
        "6 sagas",
        "■ STUCK 2",
        "▶ RUNNING 1",
        "✓ COMPLETED 2",
        "↩ COMPENSATED 1",
    ]
    reasons = [one.text for one in tree.iter("span") if one.get("class") == "err"]
    assert reasons[0] == "recovery gave up: no module"
    assert damaged.fault in reasons


def test_a_page_of_no_saga_says_so() -> None:
    """Which is good news, perhaps."""
    tree = parsed(report([], place="sagas.db", now=BEGIN))

    assert tree.find(".//h1").text == "0 sagas"
    assert groups(tree) == {}


def test_of_too_many_lines_only_the_headings_are_on_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And how to see the rest; its id is written as a shell takes it."""
    monkeypatch.setattr(module, "_MOST", 3)

    html = report([done("1"), done("it's")], "saga -j x", place="sagas.db", now=BEGIN)

    tree = parsed(html)
    assert groups(tree) == {"Ended": ["1", "it's"]}
    assert len([*tree.iterfind(".//section[@class='timeline']")]) == 1
    assert [code.text for code in tree.iterfind(".//p/code")] == [
        "saga -j x show --html FILE -- 'it'\"'\"'s'"
    ]
