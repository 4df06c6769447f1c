"""Pages of whatever can become of a saga: under each fault, at each place."""

from typing import Any

import depot
import html5lib
from depot import ask, do, undo

from py_api_saga import Retry, SagaAssembler, SagaStatus
from py_api_saga.journal import MemoryJournal
from py_api_saga.pictures.page import page
from py_api_saga.story.saga import read
from py_api_saga.testing import explore


class World:
    """A journal, and the depot that its sagas name."""

    def __init__(self) -> None:
        depot.reset()
        self.journal = MemoryJournal(modules=["depot"])


def order(world: World) -> SagaAssembler:
    """Try twice, ask, and undo."""
    return (
        SagaAssembler.saga(name="order", journal=world.journal)
        .operation((do, "a"), (undo, "a"), name="a", retry=Retry(on=OSError, attempts=2))
        .operation((do, "b"), (undo, "b"), name="b", on_doubt=ask, timeout=5.0)
    )


def shown(journal: MemoryJournal, saga_id: str) -> tuple[Any, dict[str, str]]:
    """Parse a page strictly; give it, with the status that each operation has on it."""
    html = page(read(journal, saga_id))
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)
    rows = tree.findall(".//ol[@class='ops']/li")
    said = {row.find("div/b").text: "".join(row.find("div/span").itertext()) for row in rows}
    return tree, {name: words.split(" ", 1)[1] for name, words in said.items()}


def test_each_page_parses_and_shows_where_each_operation_stands() -> None:
    """Also of what was lost, asked for, mended by a person, or landed late."""
    pages = []

    def check(world: World, outcome: SagaStatus) -> None:
        (seen,) = world.journal.select()
        execution = read(world.journal, seen.saga_id).execution
        tree, statuses = shown(world.journal, seen.saga_id)
        assert execution is not None
        words = [one.value.replace("_", " ").upper() for one in execution.status]
        assert statuses == dict(zip(["a", "b"], words, strict=True))
        assert outcome.value in tree.find(".//title").text
        calls = [entry for entry in execution.entries if entry[0] == "started"]
        bars = [one for one in tree.iter("div") if (one.get("class") or "").startswith("bar ")]
        assert len(bars) == len(calls)
        pages.append(statuses)

    explored = explore(order, world=World, check=check, modules=["depot"], blind=False)

    assert len(pages) >= explored.schedules > 30
    assert len({str(statuses) for statuses in pages}) > 1
