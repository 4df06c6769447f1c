"""The page of a saga: what is on it, whatever has become of the saga."""

from typing import Any

import html5lib
import recorded

from py_api_saga.pictures.page import page
from py_api_saga.story.saga import read


def parsed(html: str) -> Any:
    """Parse a page as strictly as can be."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)


def said(element: Any) -> str:
    """Give the text of an element and of all that is in it."""
    return " ".join("".join(element.itertext()).split())


def test_a_stuck_saga_shows_first_why_and_one_command(journal: Any) -> None:
    """The other ways are folded; it says at which operation, and each bar has words."""
    recorded.stuck(journal)

    tree = parsed(page(read(journal, "x"), "saga --journal j.db"))

    todo = tree.find(".//section[@class='todo stuck']")
    assert "b its compensation raised OSError('no bank')" in said(todo)
    assert said(todo.find("ul")).startswith("saga --journal j.db retry x")
    assert said(todo.find("details/summary")) == "5 other ways, if you know more"
    assert tree.find(".//h1").text == "x"
    assert [said(lane) for lane in tree.findall(".//li[@class='lane']/b")] == [
        "a compensated",
        "c failed",
    ]
    labels = [bar.get("title") for bar in tree.findall(".//div[@role='img']")]
    assert any(label.startswith("b, undo, attempt 1: failed, from +") for label in labels)
